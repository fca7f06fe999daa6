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
