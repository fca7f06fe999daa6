"""How much time has certainly passed since files were taken, whatever the wall clock says.

A wall clock that runs ahead for a minute would make every file in quarantine old enough to be
deleted for good. So the clock of the boot, which nobody can set, is a second witness: each clean-up
adds to a sum what that clock has measured since the last one. Between two boots nobody measured,
and the wall clock is believed for a day at most.
"""

import json
import os
import time
from typing import Any, Dict, Tuple

from common import read_own, sc

CLOCK_NAME = "clock"
UNMEASURED_S = sc.DAY  # at most, between the last clean-up of one boot and the first of the next
WORTH_WRITING_S = 60.0
LARGEST_CLOCK = 1 << 20

LARGEST_SUM = 1e12  # seconds


def is_sum(value: "Any") -> bool:
    """Whether this can be a number of seconds that have passed. NaN and -1 would make files old."""
    return type(value) in (int, float) and 0 <= value < LARGEST_SUM


Boot = Tuple[str, float]  # (the boot's id, '' if unknown; seconds since it began)


def boot_now() -> Boot:
    """The boot and its age. A container that shows its own uptime begins a boot when it starts."""
    try:
        boot_id = sc.current_boot_id()
    except sc.ConductorError:
        boot_id = ""
    try:  # proc_uptime(5) counts suspends
        return boot_id, float(sc.proc_text("uptime").split()[0])
    except (OSError, ValueError, IndexError):
        return boot_id, time.monotonic()


class Witness:
    """The sum of certain seconds, in a file of the quarantine.

    Without a file, or with a damaged one, the sum begins anew: then files are kept for longer.
    """

    def __init__(self, folder: str, wall: float, boot: Boot) -> None:
        self.path = os.path.join(folder, CLOCK_NAME)
        self._before = self._read()
        self._wall, self._boot = wall, boot
        self.certain = self._certain()
        # The sums at which runs were first seen whose own files do not tell.
        self._first_seen: "Dict[str, float]" = dict(self._before.get("first_seen", {}))

    def _read(self) -> "Dict[str, Any]":
        try:
            document = json.loads(read_own(self.path, LARGEST_CLOCK).decode("ascii"))
            sound = (all(is_sum(document[key]) for key in ("certain", "wall", "uptime"))
                     and isinstance(document["boot_id"], str)
                     and all(map(is_sum, document["first_seen"].values())))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}
        return document if sound else {}

    def _certain(self) -> float:
        if not self._before:
            return 0.0
        boot_id, uptime = self._boot
        passed = uptime - float(self._before["uptime"])
        # Without an id, a clock that went on is believed: after a boot it would show less time.
        if boot_id != self._before["boot_id"] or passed < 0:
            passed = min(max(0.0, self._wall - float(self._before["wall"])), UNMEASURED_S)
        return float(self._before["certain"]) + passed

    def age(self, run_id: str, taken_at: "float | None") -> float:
        """The seconds that have certainly passed since a run began.

        `taken_at` is the sum that it wrote down, None if it did not: then it counts from when it
        was first seen.
        """
        if taken_at is None or taken_at > self.certain:  # of a clock file that was lost since
            taken_at = self._first_seen.setdefault(run_id, self.certain)
        return max(0.0, self.certain - taken_at)

    def save(self, runs: "Tuple[str, ...]") -> None:
        """Write the sum, once it is worth it, without runs that are gone. Raises StorageError."""
        first_seen = {run: at for run, at in self._first_seen.items() if run in runs}
        before = self._before
        if (before and self._boot[0] == before["boot_id"] and first_seen == before["first_seen"]
                and abs(self._boot[1] - before["uptime"]) < WORTH_WRITING_S):
            return
        document = {"format": 1, "certain": round(self.certain, 1), "wall": round(self._wall, 1),
                    "boot_id": self._boot[0], "uptime": self._boot[1], "first_seen": first_seen}
        sc.write_atomic(self.path, (json.dumps(document) + "\n").encode("ascii"), durable=False)
