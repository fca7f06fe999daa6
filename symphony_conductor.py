#!/usr/bin/env python3
"""Symphony Conductor: maintenance tasks on cron schedules, driven by one crontab line.

There is no resident process. Cron calls `symphony_conductor.py tick` every minute; a tick decides what is
due, starts one small supervisor per task, and is gone. State, history, logs and health files live under
the project root.

    symphony_conductor.py tick                 what cron calls
    symphony_conductor.py run --task NAME      run one task now, in the foreground
    symphony_conductor.py status               how things stand (JSON when piped)
    symphony_conductor.py check                every problem of the configuration
    symphony_conductor.py next                 the coming slots
    symphony_conductor.py explain "0 2 * * *"  a schedule in words
    symphony_conductor.py install, uninstall   the crontab line

Exit codes: 0 ok; 1 a task failed; 2 usage; 69 a needed program is missing; 70 a defect of the conductor;
74 a file could not be read or written; 75 busy, or a dependency is not met; 78 bad configuration.
`run` passes on the command's own status; 124 on timeout, 128+N when signal N ended it.

The map is `grep -n '^# == ' symphony_conductor.py`. Each section uses only those above it; nothing above
*Clock* reads a clock, the disk or the environment (but for *Zones*, which asks the C library for its zone
data). Python 3.6 and newer, standard library only.
"""

# Built into every interpreter, so they cost a start nothing.
import gc
import posix
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import bisect
    import datetime
    import difflib
    import errno
    import fcntl
    import json
    import os
    import re
    import select
    import shlex
    import shutil
    import signal
    import socket
    import stat
    import subprocess
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Set, Tuple
else:
    class _Late:
        """A module that is imported when it is first used: a tick with nothing to do pays for none of these."""

        def __init__(self, name):
            self.__dict__["name"] = name

        def __getattr__(self, attribute):
            module = globals()[self.name] = __import__(self.name)
            return getattr(module, attribute)

    argparse, bisect, datetime, difflib, errno, fcntl, json, os, re = map(
        _Late, ("argparse", "bisect", "datetime", "difflib", "errno", "fcntl", "json", "os", "re"))
    select, shlex, shutil, signal, socket, stat, subprocess = map(
        _Late, ("select", "shlex", "shutil", "signal", "socket", "stat", "subprocess"))

__version__ = "1.0.0"


# == Constants and errors ==

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69  # these five as in sysexits.h
EXIT_SOFTWARE = 70
EXIT_IOERR = 74
EXIT_TEMPFAIL = 75
EXIT_CONFIG = 78
EXIT_TIMEOUT = 124     # as timeout(1) has it
EXIT_CANNOT_RUN = 126  # these two as the shell has them
EXIT_NOT_FOUND = 127
EXIT_UNKNOWN = 255     # the end of a command that nobody saw

MINUTE, HOUR, DAY = 60, 3600, 86400

# Debian cron(8): changes of the clock up to three hours are bridged, larger ones are corrections.
CLOCK_CORRECTION_S = 3 * HOUR
TICK_STALE_S = 3 * MINUTE
CLOCK_OFFSET_TOLERANCE_S = 5
LATE_AFTER_S = MINUTE  # a slot decided after its own minute is a catch-up

TICK_LOCK_WAIT_S = 2.0
SETTLE_LOCK_WAIT_S = 60.0
STORAGE_RETRY_S = 5.0
OUTPUT_TAIL_BYTES = 2048
LOG_ROTATE_BYTES = 5 * 1024 * 1024
TASK_LOG_ROTATE_BYTES = 20 * 1024 * 1024
LOG_GENERATIONS = 5
RECENT_RESULTS = 20
ATTEMPTS_KEPT = 20

CONFIG_NAME = "config/conductor_config.json"
DROP_IN_DIR = "config/tasks.d"
STATE_NAME = "conductor_state.json"
LOCK_NAME = "conductor.pid"
HEARTBEAT_NAME = "status/heartbeat"


class ConductorError(Exception):
    """Something the user has to know: one line, what to do about it, and the exit code that goes with it."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message + (" (%s)" % hint if hint else ""))
        self.message = message
        self.hint = hint


class UsageError(ConductorError):
    exit_code = EXIT_USAGE


class UnavailableError(ConductorError):
    exit_code = EXIT_UNAVAILABLE


class StorageError(ConductorError):
    exit_code = EXIT_IOERR

    @classmethod
    def of(cls, doing: str, path: str, error: OSError) -> "StorageError":
        return cls("cannot %s %s: %s" % (doing, path, error.strerror or error))


class BusyError(ConductorError):
    exit_code = EXIT_TEMPFAIL


class ConfigError(ConductorError):
    """The configuration cannot be used. `problems` holds every reason found."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: "Sequence[Problem]") -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


class CronSyntaxError(ConductorError, ValueError):
    """A schedule that is wrong: the field, the value and what is allowed, and a suggestion where there is one."""

    exit_code = EXIT_CONFIG


# == Values ==

class Value:
    """A record of facts. Fields and defaults stand at class level; `replace` makes a changed copy.

    An instance stores only what differs from the defaults, which keeps ten thousand of them small, both
    in memory and as JSON.
    """

    def __init__(self, **fields: "Any") -> None:
        self.__dict__.update(fields)

    def replace(self, **changes: "Any") -> "Any":
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.__dict__.update(changes)
        return other

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("%s is a value; use replace()" % type(self).__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.stored() == other.stored()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "%s(%s)" % (type(self).__name__, ", ".join("%s=%r" % item for item in self.stored().items()))

    def stored(self) -> "Dict[str, Any]":
        """The fields that differ from their defaults."""
        cls = type(self)
        return {name: value for name, value in self.__dict__.items() if value != getattr(cls, name)}


class Problem(Value):
    """One thing wrong with the configuration: where, what, and what to do about it."""

    place: str = ""
    text: str = ""
    hint: str = ""
    warning: bool = False
    task: str = ""
    field: str = ""

    def __str__(self) -> str:
        label = "warning: " if self.warning else ""
        hint = " (%s)" % self.hint if self.hint else ""
        return "%s%s: %s%s" % (label, self.place, self.text, hint)


class Task(Value):
    """A task as the configuration has it. Times are seconds."""

    name: str = ""
    command: "str | Tuple[str, ...]" = ""
    schedule: "CronSchedule | None" = None
    dependencies: "Tuple[str, ...]" = ()
    timeout: float = 3600
    retry_count: int = 3
    retry_delay: float = 300
    retry_backoff: float = 1
    enabled: bool = True
    description: str = ""
    owner: str = ""
    review_by: str = ""
    env: "Dict[str, str]" = {}
    cwd: str = ""
    timezone: "str | None" = None
    start_deadline: "float | None" = None
    overlap: str = "skip"
    kill_grace: float = 10
    nice: int = 0
    max_output_bytes: int = 10 * 1024 * 1024
    order: int = 0
    place: str = ""

    @property
    def schedule_key(self) -> str:
        """Changes when the slots of the task do."""
        return "%s %s" % (self.schedule.text, self.timezone or "") if self.schedule else "none"

    def retry_wait(self, attempt: int) -> float:
        """Seconds between the end of `attempt` and the start of the next."""
        longest = 366.0 * DAY
        try:
            return min(self.retry_delay * float(self.retry_backoff) ** (attempt - 1), longest)
        except OverflowError:
            return longest if self.retry_delay else 0.0


class Config(Value):
    tasks: "Dict[str, Task]" = {}
    invalid: "Dict[str, str]" = {}  # task name -> why it cannot run
    max_concurrent_tasks: int = 3
    task_timeout_default: float = 3600
    task_history_retention_days: float = 30
    notification_webhook: "str | None" = None
    enable_notifications: bool = False
    timezone: "str | None" = None
    env: "Dict[str, str]" = {}
    problems: "List[Problem]" = []


class Run(Value):
    """A command that was started (or is about to be) and whose end has not been recorded."""

    run_id: str = ""
    trigger: str = "schedule"
    slot: "int | None" = None
    attempt: int = 1
    started_at: float = 0.0
    absorbed: "int | None" = None  # newest slot skipped because this run was still going


class Cycle(Value):
    """A slot that has no verdict yet."""

    slot: int = 0
    phase: str = "waiting"  # waiting (for a dependency), queued, running, retrying
    trigger: str = "schedule"
    attempt: int = 1
    waiting_for: str = ""
    since: float = 0.0      # when the phase began
    retry_at: float = 0.0
    merged_since: "int | None" = None
    absorbed: "int | None" = None
    attempts: "List[Dict[str, Any]]" = []


class TaskState(Value):
    schedule_key: str = ""
    cursor: int = 0                    # the newest slot decided
    next_slot: "int | None" = None     # the first one after the cursor
    boot_id: str = ""                  # the boot that @reboot was last decided for
    run: "Run | None" = None
    cycle: "Cycle | None" = None
    queued_slot: "int | None" = None   # overlap "queue": the one slot that waits for the open cycle
    queued_since: "int | None" = None
    satisfied_until: "int | None" = None  # slots up to here are answered for by a success
    success_seq: int = 0               # the number of the newest success; numbers grow over all tasks
    consumed: "Dict[str, int]" = {}    # dependency -> the success_seq that the newest start used
    consecutive_failures: int = 0
    last: "Dict[str, Any]" = {}        # the newest result


class State(Value):
    tasks: "Dict[str, TaskState]" = {}
    seq: int = 0
    runs_started: int = 0
    last_now: float = 0.0
    zone_stamp: str = ""
    config_stamp: str = ""             # the version of the configuration whose problems were last logged
    pending: "List[Dict[str, Any]]" = []  # verdicts committed here, but perhaps not yet in the history


class RunFact(Value):
    """What the disk and the kernel say of a run that the state holds for unfinished."""

    kind: str = "held"  # held, ended, never (started), orphan (the command outlives its supervisor), vanished
    result: "Dict[str, Any]" = {}


class Facts(Value):
    boot_id: str = ""
    boot_at: int = 0
    zone_stamp: str = ""
    runs: "Dict[str, RunFact]" = {}
    busy: "frozenset[str]" = frozenset()  # tasks whose lock is held by a run that the state does not know


class Decision(Value):
    """The outcome of a tick's thinking: everything else carries it out."""

    state: State = State()
    changed: bool = False
    starts: "List[Tuple[Task, Run]]" = []
    adoptions: "List[str]" = []
    records: "List[Dict[str, Any]]" = []
    notes: "List[str]" = []
    wake_at: float = 0.0


# == Zones ==

SPAN_BLOCK_BITS = 25  # 2**25 s, a little over a year: the stretch of zone data that is looked up at a time
PROBE_S = 6 * DAY     # no zone has changed its offset and changed it back so soon since 1970


class Zone:
    """A time zone, as spans of constant offset from UTC, read from the C library by way of TZ and tzset."""

    def __init__(self, name: "str | None") -> None:
        self.name = name
        self._blocks: "Dict[int, List[Tuple[int, int, int, int]]]" = {}
        self._last = (0, 0, 0, 0)

    def span(self, at: int) -> "Tuple[int, int, int, int]":
        """(start, end, offset, offset before start) of the span that holds `at`, all in seconds.

        Spans also end where a block of zone data does; there the two offsets are the same.
        """
        if self._last[0] <= at < self._last[1]:
            return self._last
        block = at >> SPAN_BLOCK_BITS
        spans = self._blocks.get(block)
        if spans is None:
            spans = self._blocks[block] = self._read_block(block << SPAN_BLOCK_BITS)
        for span in spans:
            if at < span[1]:
                self._last = span
                return span
        raise AssertionError("the spans of a block cover it")

    def local(self, at: float) -> "Tuple[int, ...]":
        """(year, month, day, hour, minute, second) on this zone's clocks."""
        return tuple(time.gmtime(at + self.span(int(at))[2])[:6])

    def _read_block(self, start: int) -> "List[Tuple[int, int, int, int]]":
        saved = os.environ.get("TZ")
        if self.name is not None:
            _set_tz(self.name)
        try:
            return list(self._spans_between(start, start + (1 << SPAN_BLOCK_BITS)))
        finally:
            if self.name is not None:
                _set_tz(saved)

    @staticmethod
    def _spans_between(start: int, end: int) -> "Iterator[Tuple[int, int, int, int]]":
        def offset(at: int) -> int:
            return time.localtime(at).tm_gmtoff

        before, current = offset(start - 1), offset(start)
        span_start = probe = start
        while probe < end:
            ahead = min(probe + PROBE_S, end)
            if offset(ahead - 1) == current:
                probe = ahead
                continue
            low, high = max(probe - 1, start), ahead - 1  # the offset changes in (low, high]
            while high - low > 1:
                middle = (low + high) // 2
                if offset(middle) == current:
                    low = middle
                else:
                    high = middle
            yield span_start, high, current, before
            before, current = current, offset(high)
            span_start = probe = high
        yield span_start, end, current, before


def _set_tz(name: "str | None") -> None:
    if name is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = name
    time.tzset()


_ZONES: "Dict[str | None, Zone]" = {None: Zone(None)}


def zone_named(name: "str | None") -> Zone:
    """The zone with this IANA name; None is the system's. An unknown name is a ConductorError, never UTC."""
    zone = _ZONES.get(name)
    if zone is None:
        if not name or not _zone_exists(name):
            raise ConductorError("unknown time zone %.60r" % name, "use an IANA name such as Europe/Paris or UTC")
        zone = _ZONES[name] = Zone(name)
    return zone


def _zone_exists(name: str) -> bool:
    """The C library takes an unknown TZ for UTC without a word, so look for the file it would read."""
    if name in ("UTC", "GMT"):
        return True
    if not re.match(r"(?!right/|posixrules)[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*\Z", name):
        return False
    folders = [os.environ.get("TZDIR", ""), "/usr/share/zoneinfo", "/usr/lib/zoneinfo",
               "/usr/share/lib/zoneinfo", "/etc/zoneinfo", "/var/db/timezone/zoneinfo"]
    for folder in filter(None, folders):
        try:
            with open(os.path.join(folder, name), "rb") as handle:
                if handle.read(4) == b"TZif":
                    return True
        except (OSError, ValueError):
            continue
    return False


def iso(at: "float | None") -> "str | None":
    """UTC epoch seconds as ISO 8601 with Z, as every stored time is."""
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def from_iso(text: "str | None", zone: "Zone | None" = None) -> "int | None":
    """The reverse of `iso`; also takes offsets, and times without one as wall time of `zone`.

    None for None; ValueError for what is no such time.
    """
    if text is None:
        return None
    match = re.match(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?(?:\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?\Z", text)
    if not match:
        raise ValueError("%r is not a time such as 2025-06-02T10:00 or 2025-06-02T10:00:00Z" % text)
    parts = [int(part or 0) for part in match.groups()[:6]]
    since_epoch = datetime.datetime(*parts) - datetime.datetime(1970, 1, 1)  # type: ignore[arg-type]
    wall = since_epoch.days * DAY + since_epoch.seconds
    suffix = match.group(7)
    if suffix is None and zone is not None:
        return wall - zone.span(wall - zone.span(wall)[2])[2]
    if suffix in (None, "Z"):
        return wall
    sign = -1 if suffix[0] == "-" else 1
    return wall - sign * (int(suffix[1:3]) * HOUR + int(suffix[-2:]) * MINUTE)


# == Cron ==

MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

NICKNAMES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@reboot": "",
}

EPOCH_ORDINAL = 719163       # datetime.date(1970, 1, 1).toordinal()
SEARCH_MONTHS = 12 * 60      # February 29th on a given weekday can be 40 years away
LAST_ORDINAL = 3652059 - 800  # two years before datetime.date.max


class CronField(Value):
    name: str = ""
    low: int = 0
    high: int = 0
    names: "Tuple[str, ...]" = ()
    special: str = ""  # what the field takes besides numbers, names, lists, ranges and steps

    def allowed(self) -> str:
        names = ", %s-%s" % (self.names[0], self.names[-1]) if self.names else ""
        return "%d-%d%s, *, lists, ranges, steps%s" % (self.low, self.high, names, self.special)


FIELDS = (
    CronField(name="minute", low=0, high=59),
    CronField(name="hour", low=0, high=23),
    CronField(name="day-of-month", low=1, high=31, special=", L, LW"),
    CronField(name="month", low=1, high=12, names=MONTH_NAMES),
    CronField(name="day-of-week", low=0, high=7, names=DAY_NAMES, special=", 5L, 1#2"),
)


def stable_hash(text: str) -> int:
    """FNV-1a, 32 bits, mixed once more: the same on every machine and version, unlike hash()."""
    value = 0x811C9DC5
    for byte in text.encode("utf-8", "surrogateescape"):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    value ^= value >> 16
    value = value * 0x45D9F3B & 0xFFFFFFFF
    return value ^ value >> 16


class _FieldParser:
    """One field of an expression: text to a set of numbers, and the day rules that are no numbers."""

    def __init__(self, field: CronField, text: str, name: str) -> None:
        self.field = field
        self.text = text
        self.task_name = name
        self.values: "Set[int]" = set()
        self.last_day = self.last_weekday = False          # L, LW
        self.nth: "Set[Tuple[int, int]]" = set()           # (weekday, n), n = -1 for the last
        # The same for the calendar's arithmetic; each is filled for its own field only.
        self.day_bits = 0                     # bit 1 is the first of the month
        self.week_bits: "List[int]" = []      # for each weekday a month may begin with: its matching days as bits
        self.months_ahead: "List[int]" = []   # for each month, January = 0: how far the next matching one is

    def error(self, value: str, why: str, hint: str = "") -> CronSyntaxError:
        return CronSyntaxError("%s '%s' %s" % (self.field.name, value, why), hint)

    def parse(self) -> "_FieldParser":
        for item in self.text.split(","):
            if not item:
                raise self.error(self.text, "has an empty entry in its list", "remove the extra comma")
            if not self._special(item):
                self._plain(item)
        if self.field.name == "day-of-month":
            self.day_bits = sum(1 << day for day in self.values)
        elif self.field.name == "day-of-week":
            self.values = {day % 7 for day in self.values}
            weeks = [sum(2 << (day - first) % 7 for day in self.values) for first in range(7)]
            self.week_bits = [week | week << 7 | week << 14 | week << 21 | week << 28 for week in weeks]
        elif self.field.name == "month":
            self.months_ahead = [next(ahead for ahead in range(12) if (month + ahead) % 12 + 1 in self.values)
                                 for month in range(12)]
        return self

    def _special(self, item: str) -> bool:
        upper = item.upper()
        if self.field.name == "day-of-month" and upper in ("L", "LW"):
            self.last_day |= upper == "L"
            self.last_weekday |= upper == "LW"
            return True
        if self.field.name != "day-of-week":
            return False
        if upper == "L":
            raise self.error(item, "needs a weekday in front", "5L is the last Friday of the month")
        if "#" in item:
            day, _, nth = item.partition("#")
            if nth not in ("1", "2", "3", "4", "5"):
                raise self.error(item, "is not WEEKDAY#N with N in 1-5", "1#2 is the second Monday")
            self.nth.add((self._number(day, item) % 7, int(nth)))
            return True
        if len(item) > 1 and upper.endswith("L") and upper not in self.field.names:
            self.nth.add((self._number(item[:-1], item) % 7, -1))
            return True
        return False

    def _plain(self, item: str) -> None:
        span, slash, step_text = item.partition("/")
        step = self._step(item, step_text) if slash else 1
        low, high = self.field.low, self.field.high
        if span == "*":
            # 7 is another name of Sunday: '*/2' counts 0, 2, 4, 6 and must not reach it.
            high -= self.field.name == "day-of-week"
            largest = high - low + (low > 0)
            if step > largest:
                raise self.error(item, "has a step larger than the field", self._large_step_hint(largest))
        elif span == "H" or span.startswith("H("):
            return self._hashed(item, span, step, bool(slash))
        elif "-" in span:
            first, _, last = span.partition("-")
            low, high = self._number(first, item), self._number(last, item)
            if low > high:
                raise self.error(item, "starts after it ends", self._wrapped_hint(low, high))
        else:
            low = self._number(span, item)
            high = low
        if slash and low == high:
            # One value with a step goes on to the end of the field: 5/15 is 5-59/15.
            high = 6 if self.field.name == "day-of-week" and low < 7 else self.field.high
        self.values.update(range(low, high + 1, step))

    def _hashed(self, item: str, span: str, step: int, stepped: bool) -> None:
        low, high = self.field.low, self.field.high
        if self.field.name == "day-of-month":
            high = 28  # every month has it
        elif self.field.name == "day-of-week":
            high = 6
        if span != "H":
            match = re.match(r"H\((\w+)-(\w+)\)\Z", span)
            if not match:
                raise self.error(item, "is not H, H/STEP, H(LOW-HIGH) or H(LOW-HIGH)/STEP")
            low, high = self._number(match.group(1), item), self._number(match.group(2), item)
            if low > high:
                raise self.error(item, "starts after it ends")
        if stepped and step > high - low + 1:
            raise self.error(item, "has a step larger than the field", self._large_step_hint(high - low + 1))
        spread = stable_hash("%s\0%s" % (self.task_name, self.field.name))
        if not stepped:
            self.values.add(low + spread % (high - low + 1))
        else:
            self.values.update(range(low + spread % step, high + 1, step))

    def _number(self, text: str, item: str) -> int:
        if text.upper() in self.field.names:
            return self.field.names.index(text.upper()) + self.field.low
        if not text or text.strip("0123456789"):  # isdigit() would let other scripts' digits in
            raise self.error(item, "is not understood; allowed are %s" % self.field.allowed(), self._typo_hint(item))
        value = int(text)
        if not self.field.low <= value <= self.field.high:
            raise self.error(text, "is outside %d-%d" % (self.field.low, self.field.high), self._range_hint(value))
        return value

    def _step(self, item: str, text: str) -> int:
        if not text or text.strip("0123456789"):
            raise self.error(item, "has no whole number after '/'", "'*/5' is every fifth")
        if int(text) == 0:
            raise self.error(item, "has step 0", "a step is 1 or more")
        return int(text)

    def _large_step_hint(self, largest: int) -> str:
        if self.field.name in ("minute", "hour"):
            return "a step counts within one %s; for longer intervals list the %s" % (
                {"minute": "hour", "hour": "day"}[self.field.name], "hours" if self.field.name == "minute" else "days")
        return "allowed are steps of 1-%d" % largest

    def _wrapped_hint(self, low: int, high: int) -> str:
        def show(number: int) -> str:
            return self.field.names[number - self.field.low].lower() if self.field.names else str(number)

        top = self.field.high
        if self.field.name == "day-of-week":
            if low == 7:
                return "write '%s'" % ("0-%d" % high if high else "0")
            top = 6
        parts = ["%s-%s" % (show(a), show(b)) if a != b else show(a) for a, b in ((low, top), (self.field.low, high))]
        return "write '%s'" % ",".join(parts)

    def _range_hint(self, value: int) -> str:
        if self.field.name == "hour" and value == 24:
            return "midnight is hour 0"
        if self.field.name == "minute" and value == 60:
            return "the full hour is minute 0"
        return ""

    def _typo_hint(self, item: str) -> str:
        if re.match(r"\*\d+\Z", item):
            return "did you mean '*/%s'?" % item[1:]
        if re.match(r"\d+\.\d+\Z", item):
            return "did you mean '%s'?" % item.replace(".", ",")
        if re.match(r"\d+:\d+\Z", item):
            return "minute and hour are two fields: '%d %d'" % (int(item.split(":")[1]), int(item.split(":")[0]))
        close = difflib.get_close_matches(item[:3].upper(), self.field.names, 1, 0.5)
        return "did you mean '%s'?" % close[0].lower() if close else ""


_FIELDS_PARSED: "Dict[Tuple[str, str], _FieldParser]" = {}


def _parsed_field(field: CronField, text: str, name: str) -> _FieldParser:
    """A field, parsed once for all the schedules that have it; only `H` depends on the task."""
    if "H" in text:
        return _FieldParser(field, text, name).parse()
    key = (field.name, text)
    if key not in _FIELDS_PARSED:
        _FIELDS_PARSED[key] = _FieldParser(field, text, name).parse()
    return _FIELDS_PARSED[key]


_MONTH_SHAPES: "Dict[int, Tuple[int, int, int]]" = {}


def _month_shape(key: int) -> "Tuple[int, int, int]":
    """Of the month `key` (years * 12 + months, January = 0): the day before its first, its length, the first's weekday.

    Days are counted from 1970-01-01.
    """
    shape = _MONTH_SHAPES.get(key)
    if shape is None:
        eve, following = (datetime.date(each // 12, each % 12 + 1, 1).toordinal() - EPOCH_ORDINAL - 1
                          for each in (key, key + 1))
        shape = _MONTH_SHAPES[key] = eve, following - eve, (eve + 5) % 7
    return shape


class CronSchedule:
    """A cron expression and its slots.

    Five fields or a nickname, as the README's dialect has them; `name` seeds `H`. Raises CronSyntaxError.
    The day rule and the treatment of daylight saving time are those of Debian cron(8): a schedule whose
    minute or hour starts with `*` follows elapsed time; any other starts once for each wall-clock time,
    after the gap when the time is skipped, at the first occurrence when it is repeated.
    """

    def __init__(self, text: str, name: str = "") -> None:
        self.text = " ".join(text.split())
        self.reboot = self.text.lower() == "@reboot"
        self.wildcard = False
        if self.reboot:
            return
        fields = [_parsed_field(field, part, name) for field, part in zip(FIELDS, self._split())]
        minute, hour, self._dom, month, self._dow = fields
        self.fields = fields
        self.wildcard = minute.text.startswith("*") or hour.text.startswith("*")
        self._times = _times_of_day(frozenset(minute.values), frozenset(hour.values))
        self._month = month
        # Vixie cron: if either day field starts with '*', both must match; otherwise either may.
        self._both_days = self._dom.text.startswith("*") or self._dow.text.startswith("*")
        self._every_day = (len(self._dom.values) == 31 and len(self._dow.values) == 7 and self._both_days
                           and len(month.values) == 12)
        self._month_memo = (0, 0, 0)
        if not self._every_day and self._day_from(0) is None:
            raise CronSyntaxError("schedule '%s' never fires: %s" % (self.text, self._why_never()),
                                  "no month it names has such a day")

    def __repr__(self) -> str:
        return "CronSchedule(%r)" % self.text

    def _split(self) -> "List[str]":
        text = self.text
        if text.startswith("@"):
            if text.lower() in NICKNAMES:
                return NICKNAMES[text.lower()].split()
            close = [] if text.lower().startswith("@every") else difflib.get_close_matches(text.lower(), NICKNAMES, 1)
            raise CronSyntaxError("schedule '%s' is not known; allowed are %s" % (text, " ".join(sorted(NICKNAMES))),
                                  "did you mean '%s'?" % close[0] if close else "'*/5 * * * *' is every 5 minutes")
        parts = text.split()
        if len(parts) != 5:
            hint = {0: "'0 2 * * *' is every day at 02:00", 6: "there is no field for seconds or years"}.get(
                len(parts), "use * for a field that does not matter")
            raise CronSyntaxError("schedule '%s' has %d field%s; it takes five: minute hour day-of-month month "
                                  "day-of-week" % (text, len(parts), "" if len(parts) == 1 else "s"), hint)
        return parts

    def _why_never(self) -> str:
        months = " or ".join(MONTHS[month - 1] for month in sorted(self._month.values))
        days = " or ".join(str(day) for day in sorted(self._dom.values)) or self._dom.text
        return "day-of-month %s does not come in %s%s" % (
            days, months, "" if len(self._dow.values) == 7 else " on the weekdays named")

    # Days are counted from 1970-01-01, wall minutes from its midnight on the zone's own clocks.

    def _days_of(self, key: int) -> "Tuple[int, int]":
        """The day before the first of a month, and the matching days of the month as bits."""
        if self._month_memo[0] == key:
            return self._month_memo[1:]
        eve, length, weekday = _month_shape(key)
        days = self._dom.day_bits
        if self._dom.last_day:
            days |= 1 << length
        if self._dom.last_weekday:
            days |= 1 << length - max(0, (weekday + length - 2) % 7 - 4)  # Saturday and Sunday give way to Friday
        week = self._dow.week_bits[weekday]
        for nth_weekday, nth in self._dow.nth:
            first = 1 + (nth_weekday - weekday) % 7
            week |= 1 << first + 7 * (nth - 1 if nth > 0 else (length - first) // 7)
        days = (days & week if self._both_days else days | week) & (2 << length) - 1
        self._month_memo = (key, eve, days)
        return eve, days

    def _day_from(self, day: int) -> "int | None":
        """The first matching day at or after `day`."""
        if self._every_day:
            return day
        if not 0 <= day + EPOCH_ORDINAL < LAST_ORDINAL:
            return None
        date = datetime.date.fromordinal(day + EPOCH_ORDINAL)
        key = date.year * 12 + date.month - 1
        last = min(key + SEARCH_MONTHS, datetime.MAXYEAR * 12)
        key += self._month.months_ahead[key % 12]
        while key < last:
            eve, days = self._days_of(key)
            if day > eve:
                days = days >> day - eve << day - eve
            if days:
                return eve + (days & -days).bit_length() - 1
            key += 1 + self._month.months_ahead[(key + 1) % 12]
        return None

    def _day_until(self, day: int) -> "int | None":
        """The last matching day at or before `day`."""
        if self._every_day:
            return day
        if not 366 < day + EPOCH_ORDINAL < LAST_ORDINAL:
            return None
        date = datetime.date.fromordinal(day + EPOCH_ORDINAL)
        newest = date.year * 12 + date.month - 1
        for key in range(newest, max(newest - SEARCH_MONTHS, 24), -1):
            if self._month.months_ahead[key % 12]:
                continue
            eve, days = self._days_of(key)
            if day - eve < 31:
                days &= (2 << day - eve) - 1
            if days:
                return eve + days.bit_length() - 1
        return None

    def _wall_from(self, wall: int) -> "int | None":
        """The first matching wall minute at or after `wall`."""
        day, minute = divmod(wall, 1440)
        if self._every_day or self._day_from(day) == day:
            index = bisect.bisect_left(self._times, minute)
            if index < len(self._times):
                return day * 1440 + self._times[index]
        found = self._day_from(day + 1)
        return None if found is None else found * 1440 + self._times[0]

    def _wall_until(self, wall: int) -> "int | None":
        """The last matching wall minute at or before `wall`."""
        day, minute = divmod(wall, 1440)
        if self._every_day or self._day_until(day) == day:
            index = bisect.bisect_right(self._times, minute)
            if index:
                return day * 1440 + self._times[index - 1]
        found = self._day_until(day - 1)
        return None if found is None else found * 1440 + self._times[-1]

    def next(self, after: float, zone: "str | None" = None) -> "int | None":
        """The first slot strictly after `after`, both in UTC epoch seconds; None when there is none.

        `zone` is an IANA name; None is the system's zone. Raises ConductorError for an unknown zone.
        """
        if self.reboot:
            return None
        spans = zone_named(zone)
        at = int(after // 1) + 1
        while True:
            start, end, offset, before = spans.span(at)
            wall_s = at + offset
            if not self.wildcard:
                # Wall times up to start + before were already met ahead of the change of offset; on entering
                # the span, those that the change skipped are still to be met, at its start.
                wall_s = start + before if at == start else max(wall_s, start + before)
            found = self._wall_from(-(-wall_s // 60))
            if found is None:
                return None
            slot = max(found * 60 - offset, start)
            if slot < end:
                return slot
            # A fixed wall time lies where it lies; only a wildcard can match in the hour that a change repeats.
            at = end if self.wildcard else max(end, slot - 2 * DAY)

    def previous(self, at: float, zone: "str | None" = None) -> "int | None":
        """The newest slot at or before `at`; the mirror of `next`."""
        if self.reboot:
            return None
        spans = zone_named(zone)
        at = int(at // 1)
        while True:
            start, end, offset, before = spans.span(at)
            found = self._wall_until((at + offset) // 60)
            if found is None:
                return None
            slot = found * 60 - offset
            if self.wildcard:
                if slot >= start:
                    return slot
                at = start - 1
            else:
                if found * 60 >= start + before:
                    return max(slot, start)
                # Ahead of a repeated hour there may be later wall times than the one that was searched from.
                at = start - 1 if before > offset else min(start - 1, slot + 2 * DAY)


_TIMES: "Dict[Tuple[frozenset[int], frozenset[int]], Tuple[int, ...]]" = {}


def _times_of_day(minutes: "frozenset[int]", hours: "frozenset[int]") -> "Tuple[int, ...]":
    """The matching minutes of a day, shared between the schedules that have the same ones."""
    key = (minutes, hours)
    times = _TIMES.get(key)
    if times is None:
        times = _TIMES[key] = tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes))
    return times


def describe(text: str, name: str = "") -> str:
    """The schedule in plain English, e.g. 'at 02:30 on Mondays'. Raises CronSyntaxError."""
    schedule = CronSchedule(text, name)
    if schedule.reboot:
        return "once after each boot"
    minute, hour, dom, month, dow = schedule.fields
    times, days = _describe_time(minute, hour), _describe_days(dom, dow)
    months = [MONTHS[number - 1] for number in sorted(month.values)] if len(month.values) < 12 else []
    if months and re.match(r"on the \d+\w\w of the month\Z", days) and len(months) <= 3:
        day = sorted(dom.values)[0]
        return "%s on %s" % (times, _join(["%d %s" % (day, each) for each in months]))
    if days == "every day" and "every" in times:
        days = ""  # 'every 5 minutes' says it
    return " ".join(filter(None, (times, days, "in " + _join(months) if months else "")))


def _describe_time(minute: _FieldParser, hour: _FieldParser) -> str:
    minutes, hours = sorted(minute.values), sorted(hour.values)
    if len(minutes) * len(hours) <= 6:
        return "at " + _join(["%02d:%02d" % (h, m) for h in hours for m in minutes])
    steady = "every minute" if len(minutes) == 60 else ""
    step = _even_step(minutes, 60)
    if step and not steady:
        steady = "every %d minutes" % step
    if len(minutes) == 1:
        hour_step = _even_step(hours, 24)
        steady = "every hour" if len(hours) in (24, hours[-1] - hours[0] + 1) else (
            "every %d hours" % hour_step if hour_step else "")
        if steady and len(hours) == 24:
            return "every hour on the hour" if minutes == [0] else "at minute %d of every hour" % minutes[0]
    if steady and len(hours) == 24:
        return steady
    if steady and (len(minutes) == 1 or hours[-1] - hours[0] + 1 == len(hours)):
        return "%s from %02d:%02d to %02d:%02d" % (steady, hours[0], minutes[0], hours[-1], minutes[-1])
    text = steady or "at minute%s %s" % ("s" * (len(minutes) > 1), _join(_span_texts(minutes, str)))
    if len(hours) == 24:
        return text + " of every hour"
    return "%s of hour%s %s" % (text, "s" * (len(hours) > 1), _join(_span_texts(hours, str)))


def _describe_days(dom: _FieldParser, dow: _FieldParser) -> str:
    either = not (dom.text.startswith("*") or dow.text.startswith("*"))
    if either and (len(dom.values) == 31 or len(dow.values) == 7):
        return "every day"
    month_days: "List[str]" = []
    if dom.values and len(dom.values) < 31:
        month_days = _span_texts(sorted(dom.values), _ordinal)
        step = min(dom.values - {1}) - 1 if len(month_days) > 6 else 0
        if step and sorted(dom.values) == list(range(1, 32, step)):
            month_days = ["every %s day from the 1st" % _ordinal(step)]
    month_days += ["last day"] * dom.last_day + ["last working day"] * dom.last_weekday
    weekdays: "List[str]" = []
    if dow.values and len(dow.values) < 7:
        weekdays = _weekday_spans(sorted(day or 7 for day in dow.values))
    nths = ["%s %s" % ("last" if nth < 0 else _ordinal(nth), WEEKDAYS[weekday]) for weekday, nth in sorted(dow.nth)]
    if nths:
        weekdays.append("the %s of the month" % _join(nths))
    by_month = _join(month_days) + " of the month" if month_days else ""
    if by_month and not by_month.startswith("every"):
        by_month = "the " + by_month
    by_week = _join(weekdays) if weekdays else ""
    if by_month and by_week:
        return ("on %s, and also on %s" if either else "on %s that fall on %s") % (
            (by_month, by_week) if either else (by_week, by_month))
    if len(weekdays) == 1 and " to " in by_week and not nths:
        return by_week
    return "on " + (by_month or by_week) if by_month or by_week else "every day"


def _even_step(numbers: "List[int]", size: int) -> int:
    """The step of numbers that are spread evenly from 0 over a circle of `size`, else 0."""
    if len(numbers) < 2 or numbers[0]:
        return 0
    step = numbers[1]
    return step if size % step == 0 and numbers == list(range(0, size, step)) else 0


def _spans(numbers: "Sequence[int]") -> "Iterator[Tuple[int, int]]":
    start = previous = numbers[0]
    for number in list(numbers[1:]) + [-1]:
        if number != previous + 1:
            yield start, previous
            start = number
        previous = number


def _span_texts(numbers: "List[int]", show: "Callable[[int], str]") -> "List[str]":
    texts: "List[str]" = []
    for first, last in _spans(numbers):
        if last - first >= 2:
            texts.append("%s to %s" % (show(first), show(last)))
        else:
            texts += [show(number) for number in range(first, last + 1)]
    return texts


def _weekday_spans(days: "List[int]") -> "List[str]":
    """Weekdays 1 (Monday) to 7 (Sunday) as words."""
    spans = _span_texts(days, lambda day: WEEKDAYS[day % 7])
    return [text if " to " in text else text + "s" for text in spans]


def _ordinal(number: int) -> str:
    suffix = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return "%d%s" % (number, suffix)


def _join(words: "Sequence[str]") -> str:
    return words[0] if len(words) == 1 else "%s and %s" % (", ".join(words[:-1]), words[-1])


# == Configuration rules ==

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z"
NAME_LIMIT = 100       # a name becomes a file name with a suffix
LONGEST_S = 10 * 366 * DAY


class Rule(Value):
    """What one key of the configuration takes. `check` says whether a value fits; `allowed` says it in words."""

    key: str = ""
    allowed: str = ""
    check: "Callable[[Any], bool]" = bool
    required: bool = False
    null: bool = False     # null stands for the default
    secret: bool = False   # never shown in a message


def _text(value: "Any") -> bool:
    """Text that a file, a command line and an environment can hold."""
    return isinstance(value, str) and "\0" not in value and not re.search("[\ud800-\udfff]", value)


def _filled(value: "Any") -> bool:
    return _text(value) and bool(value.strip())


def _flag(value: "Any") -> bool:
    return value is True or value is False


def _whole(low: int, high: int) -> "Callable[[Any], bool]":
    return lambda value: type(value) is int and low <= value <= high


def _seconds(low: float, high: float = LONGEST_S) -> "Callable[[Any], bool]":
    return lambda value: type(value) in (int, float) and low <= value <= high


def _name(value: "Any") -> bool:
    return isinstance(value, str) and bool(re.match(NAME_PATTERN, value)) and len(value) <= NAME_LIMIT


def _command(value: "Any") -> bool:
    return _filled(value) or (isinstance(value, list) and bool(value) and all(map(_text, value)) and _filled(value[0]))


def _names(value: "Any") -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _environment(value: "Any") -> bool:
    return isinstance(value, dict) and all(
        re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", key) and _text(text) for key, text in value.items())


def _webhook(value: "Any") -> bool:
    return _text(value) and bool(re.match(r"https?://[^\s/]+\S*\Z", value))


_SECONDS_TEXT = "a number of seconds from %s to 10 years"

TASK_RULES = {rule.key: rule for rule in (
    Rule(key="name", allowed="letters, digits, '_', '.', '-', at most 100, a letter or digit first", check=_name,
         required=True),
    Rule(key="command", allowed="a string for /bin/sh, or a list of strings", check=_command, required=True),
    Rule(key="schedule", allowed="a cron expression such as \"0 2 * * *\"", check=_text, null=True),
    Rule(key="dependencies", allowed="a list of task names", check=_names),
    Rule(key="timeout", allowed=_SECONDS_TEXT % "1", check=_seconds(1)),
    Rule(key="retry_count", allowed="a whole number from 0 to 1000", check=_whole(0, 1000)),
    Rule(key="retry_delay", allowed=_SECONDS_TEXT % "0", check=_seconds(0)),
    Rule(key="retry_backoff", allowed="a number from 1 to 100", check=_seconds(1, 100)),
    Rule(key="enabled", allowed="true or false", check=_flag),
    Rule(key="description", allowed="a string", check=_text),
    Rule(key="owner", allowed="a string", check=_text),
    Rule(key="review_by", allowed="a string", check=_text),
    Rule(key="env", allowed="an object of strings, each key a variable's name", check=_environment, secret=True),
    Rule(key="cwd", allowed="a folder, relative to the root or absolute", check=_filled, null=True),
    Rule(key="timezone", allowed="an IANA name such as \"Europe/Paris\"", check=_filled, null=True),
    Rule(key="start_deadline", allowed=_SECONDS_TEXT % "1" + ", or null", check=_seconds(1), null=True),
    Rule(key="overlap", allowed='"skip" or "queue"', check=lambda value: value in ("skip", "queue")),
    Rule(key="kill_grace", allowed=_SECONDS_TEXT % "0", check=_seconds(0)),
    Rule(key="nice", allowed="a whole number from -20 to 19", check=_whole(-20, 19)),
    Rule(key="max_output_bytes", allowed="a whole number from 0 to 1099511627776", check=_whole(0, 1 << 40)),
)}

SETTING_RULES = {rule.key: rule for rule in (
    Rule(key="max_concurrent_tasks", allowed="a whole number from 1 to 1000", check=_whole(1, 1000)),
    Rule(key="task_timeout_default", allowed=_SECONDS_TEXT % "1", check=_seconds(1)),
    Rule(key="task_history_retention_days", allowed="a number of days from 1 to 36500", check=_seconds(1, 36500)),
    Rule(key="notification_webhook", allowed="an http or https address, or null", check=_webhook, null=True,
         secret=True),
    Rule(key="enable_notifications", allowed="true or false", check=_flag),
    TASK_RULES["timezone"],
    TASK_RULES["env"],
)}

DOCUMENT_KEYS = ("tasks", "settings")


def _did_you_mean(word: str, known: "Iterable[str]") -> str:
    close = difflib.get_close_matches(word, list(known), 1, 0.6)
    return "did you mean '%s'?" % close[0] if close else ""


def _shown(value: "Any", rule: Rule) -> str:
    if rule.secret:
        return "the value"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "a value nested too deeply"
    return text if len(text) <= 60 else text[:57] + "..."


def _check_fields(raw: "Dict[str, Any]", rules: "Dict[str, Rule]", place: str, task: str) -> "List[Problem]":
    """Everything wrong with the keys and values of one object."""
    problems = []

    def problem(key: str, text: str, hint: str = "") -> None:
        problems.append(Problem(place=place, text=text, hint=hint, task=task, field=key))

    for key, value in raw.items():
        rule = rules.get(key)
        if rule is None:
            problem(key, "unknown key '%s'" % key,
                    _did_you_mean(key, rules) or "allowed are %s" % ", ".join(sorted(rules)))
        elif not (value is None and rule.null) and not rule.check(value):
            problem(key, "%s: %s is not allowed" % (key, _shown(value, rule)), "use %s" % rule.allowed)
    for key, rule in rules.items():
        if rule.required and key not in raw:
            problem(key, "%s is missing" % key, "use %s" % rule.allowed)
    return problems


class _TaskBuilder:
    """Turns the objects of the configuration into tasks, collecting every problem on the way."""

    def __init__(self, settings: "Dict[str, Any]") -> None:
        self.settings = settings
        self.tasks: "Dict[str, Task]" = {}
        self.invalid: "Dict[str, str]" = {}
        self.places: "Dict[str, str]" = {}
        self.problems: "List[Problem]" = []
        self._schedules: "Dict[str, CronSchedule]" = {}

    def add(self, raw: "Any", place: str) -> None:
        if not isinstance(raw, dict):
            self.problems.append(Problem(place=place, text="a %s is not a task" % type(raw).__name__,
                                         hint="use an object with name, command and schedule"))
            return
        name: str = raw["name"] if _name(raw.get("name")) else ""
        place = "%s '%s'" % (place, name) if name else place
        problems = _check_fields(raw, TASK_RULES, place, name)
        if name in self.places:
            problems.append(Problem(place=place, task=name, field="name", hint="names are unique over all files",
                                    text="name '%s' is used already by %s" % (name, self.places[name])))
        values = {key: value for key, value in raw.items() if value is not None}
        if not problems:
            problems = self._convert(values, place, name)
        if name:
            self.places.setdefault(name, place)
        if problems:
            self.problems += problems
            if name:
                self.invalid.setdefault(name, problems[0].text)
                self.tasks.pop(name, None)
            return
        self.tasks[name] = Task(order=len(self.places), place=place, **values)

    def _convert(self, values: "Dict[str, Any]", place: str, name: str) -> "List[Problem]":
        """Replace the values of the document by those of a Task, in place."""
        problems = []
        for key in ("dependencies", "command"):
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        values.setdefault("timeout", self.settings.get("task_timeout_default", Task.timeout))
        if values.get("timezone", self.settings.get("timezone")):
            values.setdefault("timezone", self.settings.get("timezone"))
        try:
            zone_named(values.get("timezone"))
        except ConductorError as error:
            problems.append(Problem(place=place, text="timezone: %s" % error.message, hint=error.hint, task=name,
                                    field="timezone"))
        if "schedule" in values:
            try:
                values["schedule"] = self._schedule(values["schedule"], name)
            except CronSyntaxError as error:
                problems.append(Problem(place=place, text="schedule: %s" % error.message, hint=error.hint, task=name,
                                        field="schedule"))
        return problems

    def _schedule(self, text: str, name: str) -> CronSchedule:
        if "H" in text:
            return CronSchedule(text, name)
        schedule = self._schedules.get(text)
        if schedule is None:
            schedule = self._schedules[text] = CronSchedule(text)
        return schedule

    def check_dependencies(self) -> None:
        for task in list(self.tasks.values()):
            for dependency in task.dependencies:
                if dependency == task.name:
                    self._reject(task, "the task depends on itself", "remove '%s' from its dependencies" % task.name)
                elif dependency not in self.tasks and dependency not in self.invalid:
                    others = [name for name in self.places if name != task.name]
                    self._reject(task, "unknown task '%s'" % dependency, _did_you_mean(dependency, others))
        sound = dict(self.tasks)
        for path in dependency_cycles({name: task.dependencies for name, task in sound.items()}):
            for name in path[:-1]:
                self._reject(sound[name], "the tasks wait for each other: %s" % " -> ".join(path),
                             "remove one of these dependencies")

    def _reject(self, task: Task, text: str, hint: str) -> None:
        self.problems.append(Problem(place=task.place, text="dependencies: " + text, hint=hint, task=task.name,
                                     field="dependencies"))
        self.invalid.setdefault(task.name, "dependencies: " + text)
        self.tasks.pop(task.name, None)


def dependency_cycles(graph: "Dict[str, Tuple[str, ...]]") -> "List[List[str]]":
    """Each cycle found, as a path that ends where it starts."""
    cycles = []
    done: "Set[str]" = set()
    for root in graph:
        path: "List[str]" = []
        on_path: "Set[str]" = set()
        stack = [] if root in done else [(root, iter(graph[root]))]
        if stack:
            path.append(root)
            on_path.add(root)
        while stack:
            name, rest = stack[-1]
            for dependency in rest:
                if dependency in on_path:
                    cycles.append(path[path.index(dependency):] + [dependency])
                elif dependency in graph and dependency not in done:
                    stack.append((dependency, iter(graph[dependency])))
                    path.append(dependency)
                    on_path.add(dependency)
                    break
            else:
                stack.pop()
                on_path.discard(path.pop())
                done.add(name)
    return cycles


def build_config(documents: "Sequence[Tuple[str, Any]]") -> Config:
    """The configuration from its parsed documents, each with the name of its file; the main one comes first.

    A bad task is left out and listed in `invalid` and `problems`. What concerns the whole raises ConfigError,
    with every problem of the documents.
    """
    place, main = documents[0]
    if not isinstance(main, dict):
        raise ConfigError([Problem(place=place, text="the document is not an object",
                                   hint='use {"tasks": [...], "settings": {...}}')])
    problems = [Problem(place=place, text="unknown key '%s'" % key, field=key,
                        hint=_did_you_mean(key, DOCUMENT_KEYS) or "allowed are tasks and settings")
                for key in main if key not in DOCUMENT_KEYS]
    raw_tasks, settings = main.get("tasks", []), main.get("settings", {})
    if not isinstance(raw_tasks, list):
        problems.append(Problem(place=place, text="tasks is not a list", field="tasks", hint="use [{...}, {...}]"))
        raw_tasks = []
    if not isinstance(settings, dict):
        problems.append(Problem(place=place, text="settings is not an object", field="settings", hint="use {...}"))
        settings = {}
    problems += _check_fields(settings, SETTING_RULES, "%s: settings" % place, "")
    settings = {key: value for key, value in settings.items() if value is not None}
    try:
        zone_named(settings["timezone"] if _filled(settings.get("timezone")) else None)
    except ConductorError as error:
        problems.append(Problem(place="%s: settings" % place, text="timezone: %s" % error.message, hint=error.hint,
                                field="timezone"))
    builder = _TaskBuilder({} if problems else settings)
    for index, raw in enumerate(raw_tasks):
        builder.add(raw, "%s: tasks[%d]" % (place, index))
    for place, document in documents[1:]:
        if isinstance(document, list):
            for index, raw in enumerate(document):
                builder.add(raw, "%s: [%d]" % (place, index))
        else:
            builder.add(document, place)
    builder.check_dependencies()
    if problems:
        raise ConfigError(problems + builder.problems)
    return Config(tasks=builder.tasks, invalid=builder.invalid, problems=builder.problems, **settings)


def suspicions(config: Config, now: float) -> "List[Problem]":
    """Warnings for what is legal, but probably not meant."""
    found = []

    def suspect(task: Task, field: str, text: str, hint: str) -> None:
        found.append(Problem(place=task.place, text="%s: %s" % (field, text), hint=hint, warning=True, task=task.name,
                             field=field))

    for task in config.tasks.values():
        interval = shortest_interval(task, now)
        if interval and task.timeout > interval:
            suspect(task, "timeout", "%g s is longer than the schedule's interval of %d s" % (task.timeout, interval),
                    "a run that takes so long makes the next one %s" % (
                        "wait" if task.overlap == "queue" else "be skipped"))
        for name in task.dependencies:
            dependency = config.tasks.get(name)
            if dependency and not dependency.enabled and task.enabled:
                suspect(task, "dependencies", "'%s' is disabled" % name,
                        "'%s' waits until '%s' succeeds by hand" % (task.name, name))
        if not task.schedule and not task.dependencies:
            suspect(task, "schedule", "there is none and no dependency either", "it starts only by hand")
    return found


def shortest_interval(task: Task, now: float, slots: int = 8) -> "int | None":
    """The shortest gap between the task's coming slots, in seconds."""
    if task.schedule is None or task.schedule.reboot:
        return None
    gaps = []
    at = task.schedule.next(now, task.timezone)
    for _ in range(slots):
        following = None if at is None else task.schedule.next(at, task.timezone)
        if at is None or following is None:
            break
        gaps.append(following - at)
        at = following
    return min(gaps) if gaps else None


# == Planning ==

def is_met(config: Config, tasks: "Dict[str, TaskState]", waiter: str, name: str, slot: int) -> bool:
    """Whether `waiter` may go ahead at `slot` as far as its dependency `name` is concerned.

    A success counts when it is for the dependency's newest slot at or before `slot`, or later. A dependency
    without a schedule has no slots: it must have succeeded since its own dependencies did, or, having none,
    since `waiter` last started.
    """
    seen, stack = {name}, [name]
    while stack:
        current = stack.pop()
        dependency, state = config.tasks.get(current), tasks.get(current)
        if dependency is None or state is None:
            return False
        needed = _needed_slot(dependency, state, slot)
        if needed is not None:
            if state.satisfied_until is None or state.satisfied_until < needed:
                return False
        elif dependency.schedule is None and dependency.dependencies:
            for other in dependency.dependencies:
                if other not in tasks or state.success_seq <= tasks[other].success_seq:
                    return False
                if other not in seen:
                    seen.add(other)
                    stack.append(other)
        elif current == name:
            consumed = tasks[waiter].consumed if waiter in tasks else {}
            if state.success_seq <= consumed.get(name, 0):
                return False
    return True


def _needed_slot(dependency: Task, state: TaskState, slot: int) -> "int | None":
    """The newest slot of a dependency at or before `slot`."""
    if dependency.schedule is None:
        return None
    if dependency.schedule.reboot:
        return min(state.cursor, slot)
    return dependency.schedule.previous(slot, dependency.timezone)


def first_unmet(config: Config, tasks: "Dict[str, TaskState]", task: Task, slot: int) -> str:
    """The first dependency that is not met at `slot`, or ''."""
    return next((name for name in task.dependencies if not is_met(config, tasks, task.name, name, slot)), "")


def missing_dependencies(config: Config, tasks: "Dict[str, TaskState]", task: Task, slot: int) -> "List[str]":
    """What has to run before `task` may, in the order to run it."""
    order: "List[str]" = []
    stack = [(task, iter(task.dependencies))]
    while stack:
        current, rest = stack[-1]
        for name in rest:
            if name not in order and not is_met(config, tasks, current.name, name, slot):
                if name not in config.tasks:
                    raise ConfigError([Problem(place=current.place, text="dependencies: '%s' is invalid: %s" % (
                        name, config.invalid.get(name, "unknown")))])
                stack.append((config.tasks[name], iter(config.tasks[name].dependencies)))
                break
        else:
            stack.pop()
            if stack and current.name not in order:
                order.append(current.name)
    return order


def explain_unmet(config: Config, tasks: "Dict[str, TaskState]", name: str, slot: int) -> str:
    """Why the dependency `name` is not met at `slot`, down to the root cause."""
    seen: "Set[str]" = set()
    while name not in seen:
        seen.add(name)
        state = tasks.get(name, TaskState())
        cycle = state.cycle
        if cycle is None or cycle.phase != "waiting" or not cycle.waiting_for:
            break
        name, slot = cycle.waiting_for, cycle.slot
    return "'%s' %s" % (name, _standing(config, name, state, slot))


def _standing(config: Config, name: str, state: TaskState, slot: int) -> str:
    dependency = config.tasks.get(name)
    if dependency is None:
        return "is invalid: %s" % config.invalid.get(name, "it is not in the configuration")
    if state.run is not None:
        return "is running"
    if state.cycle is not None and state.cycle.phase == "queued":
        return "is queued"
    if state.cycle is not None and state.cycle.phase == "retrying":
        return "%s and is tried again at %s" % (_outcome(state.last), iso(state.cycle.retry_at))
    if not dependency.enabled:
        return "is disabled"
    needed = dependency.schedule.previous(slot, dependency.timezone) if dependency.schedule else None
    if state.last and state.last.get("status") != "success":
        return "%s at %s" % (_outcome(state.last), state.last.get("ended_at"))
    if needed is None:
        return "has no new success"
    return "has no success for its slot %s" % iso(needed)


def _outcome(result: "Dict[str, Any]") -> str:
    status = str(result.get("status"))
    if status == "failed":
        return "failed (exit %s)" % result.get("exit_code")
    return {"timeout": "timed out", "interrupted": "was interrupted"}.get(status, "was " + status.replace("_", " "))


class _Draft:
    """One decision in the making. Each step reads and changes `tasks`; nothing else is touched."""

    def __init__(self, config: Config, state: State, now: float, facts: Facts, last_seen: float) -> None:
        self.config = config
        self.before = state
        self.now = now
        self.facts = facts
        self.jumped_back_s = max(state.last_now, last_seen) - now
        self.tasks = dict(state.tasks)
        self.seq = state.seq
        self.runs_started = state.runs_started
        self.changed = state.zone_stamp != facts.zone_stamp
        self.starts: "List[Tuple[Task, Run]]" = []
        self.adoptions: "List[str]" = []
        self.records: "List[Dict[str, Any]]" = []
        self.notes: "List[str]" = []

    def put(self, name: str, **changes: "Any") -> TaskState:
        state: TaskState = self.tasks.get(name, TaskState()).replace(**changes)
        self.tasks[name] = state
        self.changed = True
        return state

    # -- what ended

    def settle(self) -> None:
        for name, state in list(self.tasks.items()):
            if state.run is None:
                continue
            fact = self.facts.runs.get(name, RunFact(kind="vanished"))
            if fact.kind == "orphan":
                self.adoptions.append(name)
            elif fact.kind == "never":
                self.notes.append("%s: run %s was never started; it is due still" % (name, state.run.run_id))
                cycle = state.cycle and state.cycle.replace(phase="queued")
                self.put(name, run=None, cycle=cycle if state.run.trigger != "manual" else state.cycle)
            elif fact.kind != "held":
                self._finish(name, state, fact.result or {
                    "status": "interrupted", "exit_code": None, "ended_at": self.now,
                    "reason": "the command and its supervisor are gone (reboot, power cut or kill -9)"})

    def _finish(self, name: str, state: TaskState, result: "Dict[str, Any]") -> None:
        run, cycle, task = state.run, state.cycle, self.config.tasks.get(name)
        assert run is not None
        ended_at = float(result["ended_at"])
        record = dict(result, task=name, run_id=run.run_id, trigger=run.trigger, attempt=run.attempt,
                      scheduled_for=iso(run.slot), started_at=iso(run.started_at), ended_at=iso(ended_at),
                      log="logs/automation/%s.log" % name)
        record.setdefault("duration_s", round(max(0.0, ended_at - run.started_at), 3))
        record.setdefault("output_tail", "")
        changes: "Dict[str, Any]" = {"run": None, "last": {key: record[key] for key in (
            "status", "scheduled_for", "started_at", "ended_at", "duration_s", "exit_code", "attempt", "trigger",
            "run_id")}}
        of_cycle = cycle is not None and run.trigger != "manual"
        success = result["status"] == "success"
        retry = (not success and of_cycle and cycle is not None and task is not None and task.enabled
                 and run.attempt <= task.retry_count)
        changes["consecutive_failures"] = 0 if success else state.consecutive_failures + 1
        if success:
            self.seq += 1
            answered = [state.satisfied_until, run.slot, int(run.started_at), run.absorbed]
            answered += [cycle.absorbed] if of_cycle and cycle is not None else []
            changes.update(success_seq=self.seq,
                           satisfied_until=max(slot for slot in answered if slot is not None))
        if retry and cycle is not None and task is not None:
            changes["cycle"] = cycle.replace(phase="retrying", attempt=run.attempt + 1, since=self.now,
                                             retry_at=ended_at + task.retry_wait(run.attempt),
                                             attempts=(cycle.attempts + [record])[-ATTEMPTS_KEPT:])
        else:
            if of_cycle and cycle is not None:
                record.update(_cycle_facts(cycle))
                changes["cycle"] = None
            self.records.append(record)
        self.notes.append("%s: run %s %s after %s s%s" % (
            name, run.run_id, "succeeded" if success else _outcome(record), record["duration_s"],
            "; next attempt at %s" % iso(changes["cycle"].retry_at) if retry else ""))
        state = self.put(name, **changes)
        if state.cycle is None and state.queued_slot is not None:
            self.put(name, queued_slot=None, queued_since=None, cycle=Cycle(
                slot=state.queued_slot, merged_since=state.queued_since, since=self.now,
                trigger=self._trigger(state.queued_slot)))

    def _skip(self, name: str, status: str, slot: int, reason: str, **more: "Any") -> None:
        record = {"task": name, "status": status, "scheduled_for": iso(slot), "started_at": None,
                  "ended_at": iso(self.now), "duration_s": 0, "exit_code": None, "attempt": 0, "trigger": "schedule",
                  "run_id": None, "log": None, "output_tail": "", "reason": reason}
        record.update(more)
        self.records.append(record)
        self.notes.append("%s: slot %s %s: %s" % (name, iso(slot), status, reason))

    def _close(self, name: str, status: str, reason: str) -> None:
        """End an open cycle that is not running: by what its attempts came to, or else by a skip."""
        cycle = self.tasks[name].cycle
        assert cycle is not None
        facts = _cycle_facts(cycle)
        if cycle.attempts:
            last = facts.pop("attempts").pop()
            self.records.append(dict(last, reason=reason, **facts))
            self.notes.append("%s: slot %s stays %s: %s" % (name, iso(cycle.slot), last["status"], reason))
        else:
            self._skip(name, status, cycle.slot, reason, **facts)
        self.put(name, cycle=None)

    # -- what is due

    def open_due_slots(self) -> None:
        for name in [name for name in self.tasks if name not in self.config.tasks and name not in self.config.invalid]:
            self._forget(name)
        rezoned = self.before.zone_stamp != self.facts.zone_stamp
        for name, task in self.config.tasks.items():
            state = self.tasks.get(name)
            if not task.enabled:
                self._rest(task, state)
            elif state is None or state.schedule_key != task.schedule_key:
                self._anchor(task, state)
            else:
                if rezoned and task.schedule is not None:
                    state = self.put(name, next_slot=task.schedule.next(state.cursor, task.timezone))
                if state.cursor > self.now or (state.satisfied_until or 0) > self.now:
                    state = self._heed_the_clock(task, state)
                if state.next_slot is not None and state.next_slot <= self.now:
                    self._slot_due(task, state)
                elif task.schedule is None:
                    self._join_due(task, state)
                elif task.schedule.reboot and state.boot_id != self.facts.boot_id:
                    slot = min(self.facts.boot_at, int(self.now))
                    self._arrive(task, self.put(name, cursor=slot, boot_id=self.facts.boot_id), slot, None)

    def _forget(self, name: str) -> None:
        if self.tasks[name].run is not None:
            return  # its supervisor will report, and the record wants a place to go
        if self.tasks[name].cycle is not None:
            self._close(name, "skipped_removed", "the task is no longer in the configuration")
        del self.tasks[name]
        self.changed = True

    def _rest(self, task: Task, state: "TaskState | None") -> None:
        if state is None:
            return
        if state.cycle is not None and state.cycle.phase != "running":
            self._close(task.name, "skipped_disabled", "the task was disabled")
        if state.schedule_key or state.queued_slot is not None:
            # Without a key it is anchored anew when it is enabled: what it missed meanwhile was meant to be missed.
            self.put(task.name, schedule_key="", next_slot=None, queued_slot=None, queued_since=None)

    def _anchor(self, task: Task, state: "TaskState | None") -> None:
        now = int(self.now)
        changes: "Dict[str, Any]" = {"schedule_key": task.schedule_key, "cursor": now, "boot_id": self.facts.boot_id,
                                     "next_slot": task.schedule and task.schedule.next(now, task.timezone)}
        if state is None or task.schedule is None:
            changes["consumed"] = self._successes(task)
        self.put(task.name, **changes)

    def _successes(self, task: Task) -> "Dict[str, int]":
        return {name: self.tasks[name].success_seq for name in task.dependencies
                if name in self.tasks and self.tasks[name].success_seq}

    def _heed_the_clock(self, task: Task, state: TaskState) -> TaskState:
        """The clock was set back. Up to three hours are bridged, more is a correction (Debian cron(8))."""
        now = int(self.now)
        correction = self.jumped_back_s > CLOCK_CORRECTION_S
        changes: "Dict[str, Any]" = {}
        if (state.satisfied_until or 0) > (now if correction else now + CLOCK_CORRECTION_S):
            changes["satisfied_until"] = now
        if state.cursor > now:
            correction = correction or state.cursor - now > CLOCK_CORRECTION_S
            if correction:
                self.notes.append("WARNING %s: the clock was set back to %s, more than three hours before the last "
                                  "slot decided (%s); slots count from now" % (task.name, iso(now), iso(state.cursor)))
            if correction or (task.schedule is not None and task.schedule.wildcard):
                changes["cursor"] = now
                changes["next_slot"] = task.schedule and task.schedule.next(now, task.timezone)
        return self.put(task.name, **changes) if changes else state

    def _slot_due(self, task: Task, state: TaskState) -> None:
        assert task.schedule is not None and state.next_slot is not None
        slot = task.schedule.previous(self.now, task.timezone)
        slot = state.next_slot if slot is None else max(slot, state.next_slot)
        merged_since = state.next_slot if state.next_slot < slot else None
        state = self.put(task.name, cursor=slot, next_slot=task.schedule.next(max(slot, self.now), task.timezone))
        self._arrive(task, state, slot, merged_since)

    def _join_due(self, task: Task, state: TaskState) -> None:
        """A task without a schedule runs when all its dependencies have a success it has not used yet."""
        if not task.dependencies or state.cycle is not None or state.run is not None:
            return
        fresh = self._successes(task)
        if all(fresh.get(name, 0) > state.consumed.get(name, 0) for name in task.dependencies):
            slot = max(self.tasks[name].satisfied_until or 0 for name in task.dependencies)
            self.put(task.name, cycle=Cycle(slot=slot, trigger="dependency", phase="queued", since=self.now))

    def _arrive(self, task: Task, state: TaskState, slot: int, merged_since: "int | None") -> None:
        """A slot has come: open a cycle for it, or say why not."""
        name, cycle = task.name, state.cycle
        if cycle is not None and cycle.phase == "waiting":
            self._give_up_waiting(task, cycle, "its next slot %s came first" % iso(slot))
            cycle = None
        merged = {"merged_since": iso(merged_since)} if merged_since is not None else {}
        if self._too_late(task, slot):
            self._skip(name, "skipped_late", slot, "%d s late, start_deadline is %g s" % (
                self.now - slot, task.start_deadline or 0), **merged)
        elif cycle is None and state.run is None and name not in self.facts.busy:
            fields = {} if merged_since is None else {"merged_since": merged_since}
            self.put(name, cycle=Cycle(slot=slot, phase="waiting" if task.dependencies else "queued", since=self.now,
                                       trigger=self._trigger(slot), **fields))
        elif task.overlap == "queue":
            since = state.queued_since if state.queued_since is not None else state.queued_slot
            self.put(name, queued_slot=slot, queued_since=since if since is not None else merged_since)
        else:
            going = "run %s is still going" % state.run.run_id if state.run else "the slot %s is still %s" % (
                iso(cycle.slot), cycle.phase) if cycle else "another run is still going"
            self._skip(name, "skipped_overlap", slot, going, **merged)
            if cycle is not None:
                self.put(name, cycle=cycle.replace(absorbed=slot))
            elif state.run is not None:
                self.put(name, run=state.run.replace(absorbed=slot))

    def _trigger(self, slot: int) -> str:
        return "catch_up" if self.now - slot >= LATE_AFTER_S else "schedule"

    def _too_late(self, task: Task, slot: int) -> bool:
        return task.start_deadline is not None and self.now - slot > task.start_deadline

    # -- what may start

    def weigh_dependencies(self) -> None:
        for name, state in list(self.tasks.items()):
            cycle, task = state.cycle, self.config.tasks.get(name)
            if cycle is None or cycle.phase != "waiting" or task is None:
                continue
            blocker = first_unmet(self.config, self.tasks, task, cycle.slot)
            if not blocker:
                trigger = "dependency" if cycle.waiting_for else cycle.trigger
                self.put(name, cycle=cycle.replace(phase="queued", trigger=trigger, waiting_for="", since=self.now))
            elif self._too_late(task, cycle.slot):
                self._give_up_waiting(task, cycle, "its start_deadline of %g s passed" % (task.start_deadline or 0))
            elif cycle.waiting_for != blocker:
                self.notes.append("%s: slot %s waits: %s" % (
                    name, iso(cycle.slot), explain_unmet(self.config, self.tasks, blocker, cycle.slot)))
                self.put(name, cycle=cycle.replace(waiting_for=blocker))

    def _give_up_waiting(self, task: Task, cycle: Cycle, event: str) -> None:
        blocker = cycle.waiting_for or first_unmet(self.config, self.tasks, task, cycle.slot)
        cause = explain_unmet(self.config, self.tasks, blocker, cycle.slot) if blocker else "a dependency"
        self._skip(task.name, "skipped_dependency", cycle.slot, "waited for '%s' until %s: %s" % (
            blocker, event, cause), dependency=blocker, **_cycle_facts(cycle))
        self.put(task.name, cycle=None)

    def choose_starts(self) -> None:
        free = self.config.max_concurrent_tasks
        ready = []
        for name, state in self.tasks.items():
            if state.run is not None:
                free -= state.run.trigger != "manual"
            elif state.cycle is not None and name in self.config.tasks:
                task, cycle = self.config.tasks[name], state.cycle
                if cycle.phase == "retrying" and min(cycle.retry_at, self._latest_retry(task, cycle)) <= self.now:
                    ready.append((cycle.slot, task.order, task, cycle))
                elif cycle.phase == "queued":
                    ready.append((cycle.slot, task.order, task, cycle))
        for _slot, _order, task, cycle in sorted(ready, key=lambda entry: entry[:2]):
            if cycle.attempt == 1 and self._too_late(task, cycle.slot):
                self._close(task.name, "skipped_late", "%d s late after waiting for a free place, start_deadline is "
                            "%g s" % (self.now - cycle.slot, task.start_deadline or 0))
            elif free > 0 and task.name not in self.facts.busy:
                self._start(task, cycle)
                free -= 1

    def _latest_retry(self, task: Task, cycle: Cycle) -> float:
        """A clock that was set back must not hold a retry back for longer than its delay."""
        return self.now if cycle.retry_at > self.now + task.retry_wait(cycle.attempt - 1) else cycle.retry_at

    def _start(self, task: Task, cycle: Cycle) -> None:
        self.runs_started += 1
        run = Run(run_id=run_id_of(self.now, self.runs_started), slot=cycle.slot, attempt=cycle.attempt,
                  trigger="retry" if cycle.attempt > 1 else cycle.trigger, started_at=self.now)
        self.put(task.name, run=run, cycle=cycle.replace(phase="running", since=self.now),
                 consumed=self._successes(task))
        self.starts.append((task, run))
        self.notes.append("%s: starting run %s, attempt %d of %d, slot %s, %s" % (
            task.name, run.run_id, run.attempt, task.retry_count + 1, iso(run.slot), run.trigger))

    def decision(self) -> Decision:
        state = self.before
        if self.changed or self.records:
            state = state.replace(tasks=self.tasks, seq=self.seq, runs_started=self.runs_started, last_now=self.now,
                                  zone_stamp=self.facts.zone_stamp, pending=self.records)
        return Decision(state=state, changed=self.changed, starts=self.starts, adoptions=self.adoptions,
                        records=self.records, notes=self.notes, wake_at=self._wake_at())

    def _wake_at(self) -> float:
        """When the next decision is due if nothing else happens; 0 while a run wants to be watched."""
        wake = float("inf")
        for name, state in self.tasks.items():
            if state.run is not None:
                return 0.0
            if state.next_slot is not None and state.next_slot < wake and name in self.config.tasks:
                wake = state.next_slot
            cycle, task = state.cycle, self.config.tasks.get(name)
            if cycle is None or task is None:
                continue
            if cycle.phase == "queued":
                return 0.0
            if cycle.phase == "retrying":
                wake = min(wake, cycle.retry_at)
            elif task.start_deadline is not None:
                wake = min(wake, cycle.slot + task.start_deadline)
        return wake


def decide(config: Config, state: State, now: float, facts: Facts, last_seen: float = 0.0,
           settle_only: bool = False) -> Decision:
    """What to record and what to start: the whole of a tick's thinking, without clock, disk or processes.

    `facts` says what became of the runs in `state`; `last_seen` is the newest time that the conductor is known
    to have been alive, by which a clock that was set back is noticed. `settle_only` records what ended and
    starts nothing.
    """
    draft = _Draft(config, state, now, facts, last_seen)
    draft.settle()
    if settle_only:
        return draft.decision()
    draft.open_due_slots()
    draft.weigh_dependencies()
    draft.choose_starts()
    return draft.decision()


def begin_manual(state: State, task: Task, now: float) -> "Tuple[State, Run]":
    """The state with a run started by hand, and that run."""
    before = state.tasks.get(task.name, TaskState())
    run = Run(run_id=run_id_of(now, state.runs_started + 1), trigger="manual", started_at=now)
    consumed = {name: state.tasks[name].success_seq for name in task.dependencies if name in state.tasks}
    tasks = dict(state.tasks)
    tasks[task.name] = before.replace(run=run, consumed=dict(before.consumed, **consumed))
    return state.replace(tasks=tasks, runs_started=state.runs_started + 1), run


def run_id_of(now: float, number: int) -> str:
    return "%s-%d" % (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)), number)


def _cycle_facts(cycle: Cycle) -> "Dict[str, Any]":
    """What a verdict says about its cycle beyond its last attempt."""
    facts: "Dict[str, Any]" = {}
    if cycle.merged_since is not None:
        facts["merged_since"] = iso(cycle.merged_since)
    if cycle.absorbed is not None:
        facts["absorbed"] = iso(cycle.absorbed)
    if cycle.attempts:
        facts["attempts"] = list(cycle.attempts)
    return facts


# == Rendering ==

FAILURES = ("failed", "timeout", "interrupted")
HEALTH_EXIT_SKIPPED = EXIT_TEMPFAIL
HEALTH_SKIPS = ("skipped_dependency", "skipped_late")
RESULT_KEYS = ("task", "status", "scheduled_for", "started_at", "ended_at", "duration_s", "exit_code", "attempt",
               "trigger", "log", "output_tail", "run_id", "reason")


def health_line(record: "Dict[str, Any]") -> "str | None":
    """`status:timestamp:exit_code` for a result, or None for one that leaves the health file as it is."""
    if record["status"] in HEALTH_SKIPS:
        return "skipped:%s:%d\n" % (record["ended_at"], HEALTH_EXIT_SKIPPED)
    if not record["run_id"]:
        return None
    code = record.get("exit_code")
    return "%s:%s:%d\n" % (record["status"], record["ended_at"], EXIT_UNKNOWN if code is None else code)


def task_standing(state: TaskState) -> str:
    """idle, running, queued, waiting or retrying."""
    if state.run is not None:
        return "running"
    return state.cycle.phase if state.cycle is not None else "idle"


def task_document(config: Config, state: State, task: Task, now: float) -> "Dict[str, Any]":
    known = state.tasks.get(task.name, TaskState())
    cycle = known.cycle
    standing = task_standing(known)
    next_run: "float | None" = known.next_slot
    if task.schedule is not None and known.schedule_key != task.schedule_key:
        next_run = task.schedule.next(now, task.timezone)  # the next tick will see it so
    reason = ""
    waiting_for = cycle.waiting_for if cycle is not None and standing == "waiting" else ""
    if cycle is not None and standing == "waiting":
        reason = explain_unmet(config, state.tasks, waiting_for, cycle.slot)
    elif cycle is not None and standing == "retrying":
        next_run = cycle.retry_at
        reason = "%s, attempt %d of %d" % (_outcome(known.last), cycle.attempt, task.retry_count + 1)
    elif cycle is not None and standing == "queued":
        reason = "waits for a free place since %s" % iso(cycle.since)
    return {
        "name": task.name, "enabled": task.enabled, "schedule": task.schedule.text if task.schedule else None,
        "description": task.description, "state": standing if task.enabled or standing == "running" else "disabled",
        "waiting_for": waiting_for or None, "reason": reason, "owner": task.owner,
        "dependencies": list(task.dependencies), "next_run": iso(next_run) if task.enabled else None,
        "last_run": known.last or None, "consecutive_failures": known.consecutive_failures,
    }


def invalid_document(name: str, reason: str, state: State) -> "Dict[str, Any]":
    known = state.tasks.get(name, TaskState())
    return {"name": name, "enabled": True, "schedule": None, "description": "", "state": "invalid",
            "waiting_for": None, "reason": reason, "owner": "", "dependencies": [], "next_run": None,
            "last_run": known.last or None, "consecutive_failures": known.consecutive_failures}


def status_document(config: Config, state: State, now: float, last_tick: "float | None",
                    history: "List[Dict[str, Any]]", notices: "List[str]") -> "Dict[str, Any]":
    """Everything `status` knows. `history` is verdicts, newest first; `notices` are problems found on the way."""
    problems = list(notices)
    if last_tick is None:
        problems.append("No tick has run yet: is the crontab line installed? (symphony_conductor.py install)")
    elif now - last_tick > TICK_STALE_S:
        problems.append("The last tick was %s ago: cron does not call the conductor." % span_text(now - last_tick))
    problems += [str(problem) for problem in config.problems if not problem.warning]
    tasks = [task_document(config, state, task, now) for task in config.tasks.values()]
    tasks += [invalid_document(name, reason, state) for name, reason in config.invalid.items()]
    for task in tasks:
        if task["consecutive_failures"] and task["enabled"] and task["last_run"]:
            problems.append("%s: the last run %s at %s (%d in a row)." % (
                task["name"], _outcome(task["last_run"]), task["last_run"]["ended_at"], task["consecutive_failures"]))
        if task["state"] == "waiting":
            problems.append("%s waits: %s." % (task["name"], task["reason"]))
    running = [{"task": name, "run_id": known.run.run_id, "attempt": known.run.attempt, "trigger": known.run.trigger,
                "scheduled_for": iso(known.run.slot), "started_at": iso(known.run.started_at),
                "duration_s": round(max(0.0, now - known.run.started_at), 1)}
               for name, known in state.tasks.items() if known.run is not None]
    return {"now": iso(now), "version": __version__, "healthy": not problems, "problems": problems,
            "last_tick": iso(last_tick), "max_concurrent_tasks": config.max_concurrent_tasks, "tasks": tasks,
            "running": running, "recent_results": recent_results(state, history)}


def recent_results(state: State, history: "List[Dict[str, Any]]") -> "List[Dict[str, Any]]":
    """The newest results, each attempt by itself, newest first."""
    found = []
    for record in history:
        found += list(record.get("attempts", ())) + [record]
    for known in state.tasks.values():
        if known.cycle is not None:
            found += known.cycle.attempts
    found += [record for record in state.pending if record not in history]
    found.sort(key=lambda record: record["ended_at"] or "", reverse=True)
    return [{key: record.get(key) for key in RESULT_KEYS} for record in found[:RECENT_RESULTS]]


def span_text(seconds: float) -> str:
    """A length of time in two units at most: 45s, 5m, 3h 20m, 12d 4h."""
    seconds = int(max(0.0, seconds))
    if seconds < MINUTE:
        return "%ds" % seconds
    if seconds < HOUR:
        return "%dm" % (seconds // MINUTE)
    if seconds < DAY:
        hours, rest = divmod(seconds, HOUR)
        return "%dh %dm" % (hours, rest // MINUTE) if rest >= MINUTE else "%dh" % hours
    days, rest = divmod(seconds, DAY)
    return "%dd %dh" % (days, rest // HOUR) if rest >= HOUR else "%dd" % days


def status_table(document: "Dict[str, Any]", width: int) -> str:
    """The status for people; no line is longer than `width`, but for a reason that would lose its end."""
    now = from_iso(document["now"]) or 0
    last_tick = document["last_tick"]
    starts = sorted((task["next_run"], task["name"]) for task in document["tasks"] if task["next_run"])
    head = ["healthy" if document["healthy"] else "NOT healthy",
            "last tick %s ago" % span_text(now - (from_iso(last_tick) or 0)) if last_tick else "no tick yet",
            "running %d of %d" % (len(document["running"]), document["max_concurrent_tasks"])]
    if starts:
        head.append("next: %s in %s" % (starts[0][1], span_text((from_iso(starts[0][0]) or 0) - now)))
    lines = [" | ".join(head)]
    lines += ["  ! " + problem for problem in document["problems"]]
    rows = [("TASK", "STATE", "LAST", "NEXT", "SCHEDULE")]
    for task in document["tasks"]:
        last = task["last_run"]
        ago = last and "%s %s ago" % (last["status"], span_text(now - (from_iso(last["ended_at"]) or 0)))
        rows.append((task["name"], task["state"], ago or "never",
                     "in " + span_text((from_iso(task["next_run"]) or 0) - now) if task["next_run"] else "-",
                     describe(task["schedule"], task["name"]) if task["schedule"] else
                     "after %s" % _join(task["dependencies"]) if task["dependencies"] else "by hand"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines.append("")
    for row in rows:
        line = "  ".join([cell.ljust(widths[column]) for column, cell in enumerate(row[:4])] + [row[4]])
        lines.append(line if len(line) <= width else line[:max(width - 3, 0)] + "...")
    if len(rows) == 1:
        lines.append("(no tasks)")
    return "\n".join(lines)


def coming_slots(config: Config, now: float, count: int, only: str = "") -> "List[Tuple[int, str]]":
    """The next `count` slots of all enabled tasks, in time order."""
    upcoming = []
    for task in config.tasks.values():
        if task.enabled and task.schedule is not None and only in ("", task.name):
            slot = task.schedule.next(now, task.timezone)
            if slot is not None:
                upcoming.append((slot, task.order, task))
    upcoming.sort(key=lambda entry: entry[:2])
    slots: "List[Tuple[int, str]]" = []
    while upcoming and len(slots) < count:
        slot, order, task = upcoming.pop(0)
        slots.append((slot, task.name))
        assert task.schedule is not None
        following = task.schedule.next(slot, task.timezone)
        if following is not None:
            bisect.insort(upcoming, (following, order, task))
    return slots


def local_text(at: float, zone: "str | None") -> str:
    """A time as the clocks of the zone show it, with its offset: Sun 2025-06-01 03:00 +0200."""
    offset = zone_named(zone).span(int(at))[2]
    sign = "-" if offset < 0 else "+"
    minutes = abs(offset) // MINUTE
    return "%s %s%02d%02d" % (time.strftime("%a %Y-%m-%d %H:%M", time.gmtime(at + offset)), sign, minutes // 60,
                              minutes % 60)


BLOCK_BEGIN = "# BEGIN symphony-conductor "
BLOCK_END = "# END symphony-conductor "
BOOT_CODE = "import sys; sys.path.append(%s); import %s as c; c.command_line()"


def crontab_line(root: str, python: str, folder: str, module: str) -> str:
    """The line that calls `tick` for `root`. It imports the file, so that Python's bytecode cache serves it.

    Debian crontab(5): a % in the command is a newline unless a backslash precedes it.
    """
    same = folder == root
    code = BOOT_CODE % ('"."' if same else ascii(folder), module)
    command = "cd %s && { [ -d logs ] || mkdir -m 700 logs; } && exec %s -I -S -c %s %stick" % (
        shlex.quote(root), shlex.quote(python), shlex.quote(code), "" if same else "--root=. ")
    return "* * * * * %s >>logs/conductor_cron.log 2>&1" % command.replace("%", "\\%")


def split_at_block(crontab: str, root: str) -> "Tuple[str, str, str]":
    """What stands before the block of this root, the block, and what follows; the block is '' when there is none.

    A block without its END raises ConfigError: where it stops is for a person to say.
    """
    lines = crontab.splitlines(True)
    texts = [line.rstrip("\r\n") for line in lines]
    if BLOCK_BEGIN + root not in texts:
        return crontab, "", ""
    begin = texts.index(BLOCK_BEGIN + root)
    for end in range(begin + 1, len(texts)):
        if texts[end] == BLOCK_END + root:
            return "".join(lines[:begin]), "".join(lines[begin:end + 1]), "".join(lines[end + 1:])
        if texts[end].startswith(BLOCK_BEGIN):
            break
    raise ConfigError([Problem(place="crontab", text="the block '%s%s' has no END line" % (BLOCK_BEGIN, root),
                               hint="add '%s%s' after its last line with crontab -e" % (BLOCK_END, root))])


def without_block(crontab: str, root: str) -> str:
    """The crontab less every block of this root; every other byte stays."""
    before, block, after = split_at_block(crontab, root)
    return before + without_block(after, root) if block else crontab


def with_block(crontab: str, root: str, line: str) -> str:
    """The crontab with exactly one block for this root, at its old place if it had one."""
    before, _, after = split_at_block(crontab, root)
    if before and not before.endswith("\n"):
        before += "\n"
    return "%s%s%s\n%s\n%s%s\n%s" % (before, BLOCK_BEGIN, root, line, BLOCK_END, root, without_block(after, root))
