#!/usr/bin/env python3
"""Symphony Conductor: maintenance tasks on cron schedules, driven by one crontab line.

There is no resident process. Cron calls `symphony_conductor.py tick` every minute; a tick decides
what is due, starts one small supervisor per task, and exits. State, history, logs and health files
live under the project root.

Exit codes: 0 success; 1 a task failed; 2 usage error; 69 a required program is missing;
70 internal error; 74 a file could not be read or written; 75 busy, or a dependency is not met;
78 invalid configuration. `run` exits with the command's own status: 124 on a timeout, 128+N if
signal N ended it.
"""

# Contents: grep -n '^# == ' symphony_conductor.py. Each section uses only those above it. Nothing
# above *Clock* reads a clock, the disk or the environment, except that *Heartbeat* ends an idle
# tick, and *Zones* asks the C library for its zone data. Python 3.6 and newer, standard library
# only.

# Built into every interpreter, so they cost a start nothing.
import gc
import posix
import sys
import time

# What a module creates at import stays alive, so collecting meanwhile finds nothing: it would only
# cost every tick a thirtieth of its time.
collects_garbage = gc.isenabled()
gc.disable()

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
    from typing import (
        Any,
        Callable,
        ClassVar,
        Collection,
        Container,
        Dict,
        Iterable,
        Iterator,
        List,
        NoReturn,
        Required,
        Sequence,
        Set,
        Tuple,
        TypedDict,
        TypeVar,
        Union,
        dataclass_transform,
        final,
        overload,
    )
else:
    def dataclass_transform(**_):
        """Tells a type checker that the fields of a class are what its constructor takes."""
        return lambda cls: cls

    class _Late:
        """A module that is imported when it is first used: an idle tick needs none of these."""

        def __init__(self, name, source=""):
            self.__dict__.update(name=name, source=source or name)

        def __getattr__(self, attribute):
            try:
                module = globals()[self.name] = __import__(self.source)
            except ImportError as error:  # its file could not be read just now: EIO
                raise OSError(5, "cannot be imported (%s)" % error, "the module " + self.name)
            return getattr(module, attribute)

    argparse, bisect, datetime, difflib, errno, fcntl, json, os, re = map(
        _Late, ("argparse", "bisect", "datetime", "difflib", "errno", "fcntl", "json", "os", "re"))
    select, shlex, shutil, stat, subprocess = map(
        _Late, ("select", "shlex", "shutil", "stat", "subprocess"))
    # The modules that these wrap: making enums takes as long as planning a hundred tasks.
    signal, socket = _Late("signal", "_signal"), _Late("socket", "_socket")

__version__ = "1.1.0"


# == Constants ==

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
EXIT_STOPPED = 143     # as the shell has it of a command that SIGTERM ended
EXIT_UNKNOWN = 255     # the end of a command that nobody saw

MINUTE, HOUR, DAY = 60, 3600, 86400

# Debian cron(8): changes of the clock up to three hours are bridged, larger ones are corrections.
CLOCK_CORRECTION_S = 3 * HOUR
TICK_STALE_S = 3 * MINUTE
CLOCK_OFFSET_TOLERANCE_S = 5
LATE_AFTER_S = MINUTE  # a slot decided after its own minute is a catch-up

TICK_LOCK_WAIT_S = 2.0
SETTLE_LOCK_WAIT_S = 60.0
RELEASE_WAIT_S = 1.0
STORAGE_RETRY_S = 5.0
LOCK_POLL_S = 0.01
CLOCK_STEP_S = 0.02
OUTPUT_TAIL_BYTES = 2048
LOG_ROTATE_BYTES = 5 * 1024 * 1024
TASK_LOG_ROTATE_BYTES = 20 * 1024 * 1024
LOG_GENERATIONS = 5
RECENT_RESULTS = 20
ATTEMPTS_KEPT = 20
STARTS_LOST = 3      # so many lost starts in a row are a failed attempt
STARTS_AT_ONCE = 64  # each holds a descriptor for a moment; the next tick starts the others

OVERRIDE = "SYMPHONY_ALLOW_INSECURE"

CONFIG_NAME = "config/conductor_config.json"
DROP_IN_DIR = "config/tasks.d"
SCHEMA_FILE = "conductor_config.schema.json"  # beside the configuration
STATE_NAME = "conductor_state.json"
LOCK_NAME = "conductor.pid"
SECOND_LOCK_NAME = "status/locks/.tick.lock"  # no task's name begins with a dot
HEARTBEAT_NAME = "status/heartbeat"
EVENTS_NAME = "status/events.jsonl"
SPOOL_DIR = "status/spool"
ENVIRONMENT_NAME = "status/tick_environment.json"
FAILURE_NAME = "status/tick_failure"
REPORT_LOCK_NAME = "status/locks/.report.lock"  # held while the page of report_file is made
UNWRITTEN_NAME = "status/unwritten.%s"  # why the file of a setting could not be written
INSTALLED_NAME = "status/crontab.installed"  # touched by each `install`
IMPORTED_NAME = "status/crontab.imported"    # from which lines import-crontab made tasks
IMPORTER = "import-crontab"                  # who pauses the tasks of lines that cron has back
FAILURE_BYTES = 4096  # more than its text takes, whatever letters it is of

PROC = "/proc"  # where there is none, ps and sysctl answer

# Appended, not put first: no file beside the program may stand in for one of the standard library.
# `command_line` takes it away again before it imports anything (leave_search_path).
BOOT_CODE = "import sys; sys.path.append(%s); import %s as c; c.command_line()"


# == Heartbeat ==

def signature(path: "str | bytes") -> str:
    """What stat(2) says of a file, as far as it tells one version from another.

    '-' when there is none, '?' when it cannot be read.
    """
    try:
        info = posix.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "-"
    except OSError:
        return "?"
    return "%d %d %d %o %d" % (
        info.st_mtime_ns, info.st_size, info.st_ino, info.st_mode, info.st_uid)


def init_start_ticks() -> str:
    """When process 1 began, in clock ticks since the boot (proc(5)); '' if that cannot be read."""
    try:
        fd = posix.open(PROC + "/1/stat", posix.O_RDONLY)
        try:
            text = posix.read(fd, 4096)
        finally:
            posix.close(fd)
        return text.rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


LARGEST_HEARTBEAT = 1 << 24  # 100,000 drop-ins


def nothing_to_do(heartbeat: bytes, now: float, monotonic: float) -> bool:
    """Whether a tick may leave at once: nothing is due and nothing changed.

    This is the path of nearly every tick. It reads one small file, calls stat(2) for the files that
    it names, touches it and parses nothing: the cost does not grow with the number of tasks. It
    takes no lock, because it decides nothing; whoever changes the state changes its signature.
    """
    try:
        fd = posix.open(heartbeat, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK)
        try:
            info = posix.fstat(fd)
            lines = posix.read(fd, min(info.st_size, LARGEST_HEARTBEAT)).split(b"\n")
        finally:
            posix.close(fd)
        version, wake_at, clock_offset, _, start_id = lines[0].split(b" ")[:5]
        if version != b"2" or now >= float(wake_at):
            return False
        if not -1 < now - info.st_mtime <= TICK_STALE_S:
            return False  # a gap, which a whole tick records
        # A reboot, a suspend or a clock that was set moves one clock against the other.
        if abs(now - monotonic - float(clock_offset)) > CLOCK_OFFSET_TOLERANCE_S:
            return False
        if start_id.partition(b"+")[2] != init_start_ticks().encode():
            return False  # the container was started again, or what could be seen has changed
        recorded = b""
        for line in lines[1:]:
            recorded, path = line.split(b" /", 1)
            # '?': the last tick could not read it, so this one has to try.
            if recorded == b"?" or signature(b"/" + path).encode() != recorded:
                return False
        # The last of them is the state: in the copy of a root, all these paths are of the original.
        state = heartbeat[:-len(HEARTBEAT_NAME)] + STATE_NAME.encode()
        if signature(state).encode() != recorded:
            return False
        posix.utime(heartbeat, (now, now))
        return True
    except (OSError, ValueError):
        return False


def _fsencode(path: str) -> bytes:
    """os.fsencode, without the import of os."""
    return path.encode(sys.getfilesystemencoding(), "surrogateescape")


def plain_tick_root(argv: "Sequence[str]") -> "str | None":
    """The root that a tick without other options names, '' if it names none; None for all else.

    Such a tick, as the crontab line has it, needs no parser, whose import alone costs as much as a
    decision.
    """
    if argv[-1:] != ["tick"]:
        return None
    options = list(argv[:-1])
    if not options:
        return ""
    if len(options) == 1 and options[0].startswith("--root="):
        return options[0][len("--root="):]
    if len(options) == 2 and options[0] == "--root" and not options[1].startswith("-"):
        return options[1]
    return None


def is_idle_tick(argv: "Sequence[str]") -> bool:
    """Whether this is a plain tick with nothing to do."""
    option = plain_tick_root(argv)
    if option is None:
        return False
    root = _fsencode(option) or posix.environ.get(b"SYMPHONY_ROOT", b"")
    root = root or _fsencode(__file__.rpartition("/")[0] or ".")
    heartbeat = root + b"/" + HEARTBEAT_NAME.encode()
    return nothing_to_do(heartbeat, time.time(), time.monotonic())


def _own_command() -> "Sequence[str]":
    """The command line of this interpreter, options and all; () where that cannot be told."""
    arguments: "Sequence[str]" = getattr(sys, "orig_argv", ())
    if arguments:
        return arguments
    try:  # before Python 3.10
        fd = posix.open(PROC + "/self/cmdline", posix.O_RDONLY)
        try:
            text = posix.read(fd, 1 << 16)
        finally:
            posix.close(fd)
    except OSError:
        return ()
    encoding = sys.getfilesystemencoding()
    return text.decode(encoding, "surrogateescape").split("\0")[:-1]


def runs_boot_code() -> bool:
    """Whether BOOT_CODE is all that this interpreter was started for, as by the crontab line."""
    if sys.argv[:1] != ["-c"]:
        return False
    arguments = _own_command()
    if len(arguments) <= len(sys.argv):
        return False
    code = arguments[-len(sys.argv)]  # sys.argv has "-c" in its place
    begin, middle, end = BOOT_CODE.split("%s")
    return code.startswith(begin) and code.endswith(middle + __name__ + end)


def leave_if_idle() -> None:
    """End the process if it is a plain tick with nothing to do."""
    if is_idle_tick(sys.argv[1:]):
        posix._exit(EXIT_OK)  # nothing was opened or printed: taking Python down takes longer


# BOOT_CODE calls `command_line` next, which would ask the same, but only after the classes and
# tables below were made: a fifth of what an idle tick costs.
if runs_boot_code():
    leave_if_idle()


# == Errors ==

class ConductorError(Exception):
    """Something the user has to know: one line, what to do about it, and the exit code."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message + (" (%s)" % hint if hint else ""))
        self.message = message
        self.hint = hint


class UsageError(ConductorError):
    """A command line that asks for what is not there."""

    exit_code = EXIT_USAGE


class UnavailableError(ConductorError):
    """A program that is needed is missing."""

    exit_code = EXIT_UNAVAILABLE


class StorageError(ConductorError):
    """A file of the conductor could not be read or written: what, where and why."""

    exit_code = EXIT_IOERR
    is_permission = False  # whether another user might have been let

    @classmethod
    def of(cls, what: str, place: str, error: OSError) -> "StorageError":
        """`what` and `place` follow the word "cannot"; `./`, the held root, is dropped."""
        if place == "." or place.startswith("./"):
            place = place[2:] or "the root folder"
        made = cls("cannot %s %s: %s" % (what, place, error.strerror or error))
        made.is_permission = isinstance(error, PermissionError)
        return made


class doing:
    """Turns an OSError into a StorageError that says what was being done, and to what.

    `with doing("start", "the supervisor of x"):`
    """

    def __init__(self, what: str, place: str) -> None:
        self.what, self.place = what, place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: "Any", error: "Any", trace: "Any") -> None:
        if isinstance(error, OSError):
            raise StorageError.of(self.what, self.place, error)


class BusyError(ConductorError):
    """Not now: a lock is held, a task runs already, or a dependency is not met."""

    exit_code = EXIT_TEMPFAIL


class ConfigError(ConductorError):
    """The configuration cannot be used. `problems` holds every reason found.

    `partial` is what could be made of it all the same, a document or a Config: it is only good for
    finding what else is wrong.
    """

    exit_code = EXIT_CONFIG

    def __init__(self, problems: "Sequence[Problem]", partial: "Any" = None) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)
        self.partial = partial


class VersionError(ConductorError):
    """A file that a later version of this program wrote: it is left as it is."""

    exit_code = EXIT_CONFIG

    @classmethod
    def of(cls, place: str, by: str) -> "VersionError":
        return cls("%s was written by %s; this is %s" % (
            place, by or "a later version", __version__),
            "use the newer symphony_conductor.py again; nothing was changed")


class CronSyntaxError(ConductorError, ValueError):
    """A schedule that is wrong: the field, the value, what is allowed and, if possible, a fix."""

    exit_code = EXIT_CONFIG


# == Text and units ==

UNITS_S = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


def seconds_of(text: str) -> float:
    """Seconds in '90s', '30m', '26h', '14d' or '2w'. Raises ValueError."""
    match = re.match(r"([0-9]{1,6}(?:\.[0-9]+)?)([smhdw])\Z", text)
    if not match:
        example = "26h"
        if re.match(r"[0-9]{1,6}\Z", text):
            example = text + "d"
        raise ValueError(
            "%r is not a duration; write a number and a unit (s, m, h, d, w), such as %s" % (
                cut_text(text, 60), example))
    return float(match.group(1)) * UNITS_S[match.group(2)]


def plural(number: int, noun: str, many: str = "") -> str:
    """'1 file', '2 files'; `many` is a plural that is not the noun with an s."""
    if number == 1:
        return "1 %s" % noun
    return "%d %s" % (number, many or noun + "s")


if TYPE_CHECKING:
    @overload
    def iso(at: float) -> str: ...
    @overload
    def iso(at: "float | None") -> "str | None": ...


def iso(at: "float | None") -> "str | None":
    """UTC epoch seconds as ISO 8601 with Z, as every stored time is."""
    if at is None:
        return None
    # Not by strftime(3), which writes years before 1000 with fewer digits.
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime(at)[:6]


def duration_text(seconds: float) -> str:
    """A length of time in two units at most: 45s, 5m, 3h 20m, 12d 4h."""
    rest = int(max(0.0, seconds))
    if rest < MINUTE:
        return "%ds" % rest
    if rest < HOUR:
        return "%dm" % (rest // MINUTE)
    large, small = (HOUR, MINUTE) if rest < DAY else (DAY, HOUR)
    letters = {MINUTE: "m", HOUR: "h", DAY: "d"}
    text = "%d%s" % (rest // large, letters[large])
    if rest % large >= small:
        text += " %d%s" % (rest % large // small, letters[small])
    return text


def join_words(words: "Sequence[str]") -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(words) == 1:
        return words[0]
    return "%s and %s" % (", ".join(words[:-1]), words[-1])


WORDS_SHOWN = 5


def some_words(words: "Sequence[str]") -> str:
    """`join_words` of the first few, and how many more there are."""
    if len(words) <= WORDS_SHOWN:
        return join_words(words)
    return "%s and %d more" % (", ".join(words[:WORDS_SHOWN]), len(words) - WORDS_SHOWN)


def command_text(command: "str | Sequence[str]") -> str:
    """A command as one text, the words of a list quoted for a shell."""
    if isinstance(command, str):
        return command
    return " ".join(map(shlex.quote, command))


def columns(rows: "Sequence[Sequence[str]]") -> str:
    """Rows of cells as text, each column as wide as its widest cell; the last is not padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append("  ".join(cells + [row[-1]]).rstrip())
    return "\n".join(lines)


def size_text(number: int) -> str:
    """A number of bytes: 512 B, 1.3 MiB, 62.0 GiB."""
    size, units = float(number), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return "%.*f %s" % (0 if units[0] == "B" else 1, size, units[0])


def plain_line(text: str, limit: int = 200) -> str:
    """A text as one line that a terminal takes as it is: what is not printable becomes a blank."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[:4 * limit])
    return cut_text(" ".join(line.split()), limit)


def last_line(text: str) -> str:
    """The last line of a text that is not empty, as `plain_line` has it."""
    lines = [line for line in text.splitlines() if line.strip()]
    return plain_line(lines[-1]) if lines else ""


def cut_text(text: str, width: int) -> str:
    """The text in at most `width` columns; what is left out is marked by dots."""
    if len(text) <= width:
        return text
    return text[:max(width - 3, 0)] + "..."


def wrap_words(text: str, width: int, indent: str = "  ") -> str:
    """The text in lines of at most `width` columns, broken at blanks; `indent` begins all but one.

    A word that is longer than a line stays whole.
    """
    words = text.lstrip(" ").split(" ")
    lines = [" " * (len(text) - len(text.lstrip(" "))) + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(indent + word)
        else:
            lines[-1] += " " + word
    return "\n".join(lines)


# Characters that a terminal acts on (ECMA-48, also as single C1 characters), and those that make it
# show a text in another order (UAX #9). U+2028 and U+2029 break lines, as Python splits them too.
CONTROLS = r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"


def printable(text: str, kept: str = "\n\t") -> str:
    """Text as a terminal may get it, whoever wrote it.

    Colours are dropped, and control characters other than `kept` are written as escapes: \\x1b.
    """
    text = re.sub(r"\x1b\[[0-9;:]*m", "", text)

    def escaped(match: "re.Match[str]") -> str:
        letter: str = match.group()
        return letter if letter in kept else ascii(letter)[1:-1]
    return re.sub(CONTROLS, escaped, text)


# == Values ==

if TYPE_CHECKING:  # what is stored as JSON; at run time these are plain dictionaries
    AnyValue = TypeVar("AnyValue", bound="Value")
    Document = Dict[str, Any]  # a JSON object that is made for output, or has any fields

    class Result(TypedDict, total=False):
        """What became of a command, as its supervisor reports it; `ended_at` in epoch seconds."""

        status: str
        exit_code: "int | None"
        ended_at: float
        duration_s: float
        output_tail: str
        output_bytes: int
        dropped_bytes: int
        signal: int
        reason: str
        definition: "str | None"  # the name under which the task's definition is kept
        abandoned: bool  # what its launcher started may still run, so no retry follows

    @final
    class Verdict(TypedDict, total=False):
        """A line of the history: what became of a slot, or of one attempt (`interim`).

        Times are ISO 8601.
        """

        task: str
        status: str
        scheduled_for: "str | None"
        started_at: "str | None"
        ended_at: str
        duration_s: float
        exit_code: "int | None"
        attempt: int
        trigger: str
        run_id: "str | None"
        log: "str | None"
        output_tail: str
        last_line: str  # of the output, as the state keeps it
        output_bytes: int
        dropped_bytes: int
        signal: int
        reason: "str | None"
        definition: "str | None"
        abandoned: bool
        interim: bool
        backfill: bool  # a run by hand for an older slot than the newest
        merged_since: "str | None"
        absorbed: "str | None"
        attempts: "List[Verdict]"
        dependency: str
        root: str

    class Skip(TypedDict, total=False):
        """The part of a skipped slot's verdict that the state keeps."""

        status: str
        scheduled_for: str
        dependency: str

    class ScheduleChange(TypedDict, total=False):
        """What an event did to the slots of one task. `was` and `key` are schedule keys."""

        key: str
        was: str  # of the event clock: the time before it was set back
        since: str
        reason: str
        undecided_since: str

    @final
    class Event(TypedDict, total=False):
        """A line of `status/events.jsonl`: what an audit has to know beside the verdicts."""

        event: Required[str]
        at: str
        since: str
        cause: str
        pauses: "Dict[str, Pause]"
        tasks: "Dict[str, ScheduleChange]"

    class News(TypedDict, total=False):
        """What a message tells. Times are ISO 8601."""

        event: Required[str]
        kind: str
        id: str
        outcome: str
        dependents: "List[str]"
        since: "str | None"
        status: str
        exit_code: "int | None"
        attempts: "int | None"
        scheduled_for: "str | None"
        started_at: "str | None"
        ended_at: str
        duration_s: float
        run_id: "str | None"
        reason: "str | None"
        output_tail: "str | None"
        tries: int
        next_try_at: float
        done: "List[str]"
        version: int
        by: str

    @final
    class Message(News):
        """A notification (`channel` notify), or the ping of a dead-man switch (ping)."""

        channel: str
        at: str
        task: "str | None"

    Line = Union[Verdict, Event, Message]  # what a decision writes down, as a line or a file

    class RunFields(TypedDict, total=False):
        """What a supervisor is told of a task and its run, and a record repeats."""

        version: int
        by: str
        task: str
        run_id: str
        trigger: str
        slot: "int | None"
        scheduled_for: str
        attempt: int
        retries_left: bool
        started_at: float
        command: "str | Sequence[str]"
        cwd: str
        nice: int
        umask: "str | None"
        ionice: "str | None"
        memory_limit: "int | str | None"
        timeout: float
        kill_grace: float
        max_output_bytes: int
        success_exit_codes: "Sequence[int]"
        skip_exit_codes: "Sequence[int]"
        condition: "str | Sequence[str] | None"
        condition_timeout: float
        launcher: "Sequence[str] | None"
        cancel_command: "str | Sequence[str] | None"
        env: "Dict[str, str]"
        locks: "Sequence[str]"
        env_file: "Sequence[str]"       # those of the settings, which env overrides
        task_env_file: "Sequence[str]"  # those of the task, which override env
        task_env: "Sequence[str]"       # but for these names: the task's own env has them

    @final
    class Spec(RunFields, total=False):
        """What a supervisor is told to start (`spec_of`)."""

        definition: "Document"

    @final
    class RunRecord(RunFields, total=False):
        """A file of `status/runs/`: a command that was started, and how to find what came of it."""

        definition: "str | None"  # its name in `status/definitions/`
        started_mono: float
        command_started_at: float
        root: str
        mark: str
        frame: str     # ends the lines around its output (RUN_HEADER)
        supervisor: int
        supervisor_start: str  # as Process has it
        boot_id: str
        pid: int
        pid_start: str
        variables: str  # where its secret values came from, as `Supervisor` has it
        unended: str   # which of its processes cannot be killed
        cgroup: str    # the folder of the command's cgroup, where systemd gave it a scope
        result: Result
        settled: bool  # the state is done with it

    class Pause(TypedDict, total=False):
        """A pause. Times are epoch seconds; `until` is None where it has no end."""

        since: Required[float]
        until: "Required[float | None]"
        reason: Required[str]
        by: str  # the user who made it; 1.0.0 did not keep it


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """A record of facts. Fields and defaults stand at class level; `replace` makes a changed copy.

    An instance stores only what differs from the defaults, which keeps ten thousand of them small,
    both in memory and as JSON.
    """

    unknown: "ClassVar[Document]" = {}  # what a later version stored beside these fields
    STORED_AS: "ClassVar[Dict[str, str]]" = {}  # field -> its key, where that is another name

    if not TYPE_CHECKING:  # there, the constructor takes the fields and nothing else
        def __init__(self, **fields):
            self.__dict__.update(fields)

    def replace(self: "AnyValue", **changes: "Any") -> "AnyValue":
        """A copy with these fields changed."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.__dict__.update(changes)
        return other

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("%s is a value; use replace()" % type(self).__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.stored() == other.stored()

    def __repr__(self) -> str:
        fields = ", ".join("%s=%r" % item for item in self.stored().items())
        return "%s(%s)" % (type(self).__name__, fields)

    def stored(self) -> "Document":
        """The fields that differ from their defaults."""
        cls = type(self)
        return {name: value for name, value in self.__dict__.items()
                if value != getattr(cls, name)}


LONGEST_PROBLEM = 600  # characters of each of its parts, as it is printed


class Problem(Value):
    """One thing wrong with the configuration: where, what, and what to do about it."""

    place: str = ""
    text: str = ""
    hint: str = ""
    warning: bool = False
    task: str = ""
    field: str = ""

    def __str__(self) -> str:
        # What a file has in the place of a name may be long, and break lines.
        line = ": ".join(cut_text(part, LONGEST_PROBLEM) for part in (self.place, self.text))
        if self.warning:
            line = "warning: " + line
        if self.hint:
            line += " (%s)" % cut_text(self.hint, LONGEST_PROBLEM)
        return printable(line, kept="\t")


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
    ping_url: "str | None" = None
    success_exit_codes: "Tuple[int, ...]" = (0,)
    skip_exit_codes: "Tuple[int, ...]" = ()
    locks: "Tuple[str, ...]" = ()  # no two tasks with the same lock run at the same time
    condition: "str | Tuple[str, ...] | None" = None
    condition_timeout: float = 30
    launcher: "Tuple[str, ...] | None" = None
    cancel_command: "str | Tuple[str, ...] | None" = None
    not_on: "Tuple[str, ...]" = ()
    only_between: "str | None" = None
    env_file: "Tuple[str, ...]" = ()
    tags: "Tuple[str, ...]" = ()
    umask: "str | None" = None
    ionice: "str | None" = None
    memory_limit: "int | str | None" = None
    calendar: "Calendar | None" = None      # what not_on and its files say
    window: "Window | None" = None          # what only_between says
    order: int = 0
    place: str = ""
    written: "Tuple[str, ...]" = ()         # the keys that stand in the configuration
    changed_at: "float | None" = None       # when the file that holds it changed; None: not known
    zone_changed_at: "float | None" = None  # the same for the files that its time zone comes from

    @property
    def schedule_key(self) -> str:
        """Changes when the slots of the task do."""
        if self.schedule is None:
            return "none"
        return "%s %s" % (self.schedule.text, self.timezone or "")

    def retry_wait(self, attempt: int) -> float:
        """Seconds between the end of `attempt` and the start of the next."""
        longest = 366.0 * DAY
        try:
            return min(self.retry_delay * float(self.retry_backoff) ** (attempt - 1), longest)
        except OverflowError:
            return longest if self.retry_delay else 0.0


class Config(Value):
    """The configuration in force: tasks in order, settings, and every problem of its files."""

    tasks: "Dict[str, Task]" = {}
    invalid: "Dict[str, str]" = {}  # task name -> why it cannot run
    max_concurrent_tasks: int = 3
    task_timeout_default: float = 3600
    task_history_retention_days: float = 30
    notification_webhook: "str | None" = None
    notification_command: "str | Tuple[str, ...] | None" = None
    enable_notifications: bool = False
    renotify_hours: float = 24
    timezone: "str | None" = None
    env: "Dict[str, str]" = {}
    env_file: "Tuple[str, ...]" = ()
    defaults: "Document" = {}  # fields of every task that does not have them itself
    notification_email: "str | Tuple[str, ...] | None" = None
    log_to: str = "file"
    metrics_file: "str | None" = None
    report_file: "str | None" = None
    launcher: "Tuple[str, ...] | None" = None
    cancel_command: "str | Tuple[str, ...] | None" = None
    problems: "List[Problem]" = []
    drafts: "Tuple[Task, ...]" = ()  # invalid tasks, as far as they could be read; for `check`


class Run(Value):
    """A command that was started (or is about to be) and whose end has not been recorded."""

    run_id: str = ""
    trigger: str = "schedule"
    slot: "int | None" = None
    attempt: int = 1
    started_at: float = 0.0
    absorbed: "int | None" = None  # newest slot skipped because this run was still going
    unended: str = ""              # which of its processes cannot be killed, once that was reported
    trouble: str = ""              # why its supervisor could not be started
    locks: "List[str]" = []        # those that its task had when it started


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
    lost_starts: int = 0    # supervisors in a row that ended before they could start the command
    attempts: "List[Verdict]" = []


class TaskState(Value):
    """What is remembered of one task between ticks. Slots are UTC epoch seconds."""

    schedule_key: str = ""
    cursor: int = 0                       # the newest slot decided
    next_slot: "int | None" = None        # the first one after the cursor
    boot_id: str = ""                     # the boot that @reboot was last decided for
    run: "Run | None" = None
    cycle: "Cycle | None" = None
    queued_slot: "int | None" = None      # overlap "queue": the slot that waits for the open cycle
    queued_since: "int | None" = None     # the oldest slot merged into it
    decided_until: int = 0                # newest slot decided before the clock was corrected
    satisfied_until: "int | None" = None  # slots up to here are covered by a success
    success_seq: int = 0                  # number of the newest success, counted over all tasks
    skips: "Dict[str, str]" = {}          # slot to come (ISO 8601) -> who had it skipped
    consumed: "Dict[str, int]" = {}       # dependency -> success_seq that the newest start used
    consecutive_failures: int = 0         # slots, however many attempts each had
    failing_since: float = 0.0            # when the first of these ended
    last: "Verdict" = {}                  # the newest result
    skipped: "Skip" = {}                  # the newest skip since then
    marks: str = ""                       # a letter for each of the newest verdicts, oldest first
    usual_s: float = 0.0                  # what a success takes, the newer ones counting more
    notified_at: float = 0.0              # when its failure was last notified; 0 once it recovered
    blocking_at: float = 0.0              # when it was last notified that it blocks other tasks
    last_success: float = 0.0             # when the newest success ended
    totals: "Dict[str, int]" = {}         # verdict -> how many there ever were


STATE_VERSION = 1


class State(Value):
    """Everything that is remembered between ticks; `conductor_state.json` holds it."""

    STORED_AS = {"messages_made": "told"}  # as older versions read it

    version: int = STATE_VERSION
    tasks: "Dict[str, TaskState]" = {}
    seq: int = 0
    runs_started: int = 0
    last_now: float = 0.0
    zone_stamp: str = ""    # of the zone data that every next_slot was computed with
    config_stamp: str = ""  # the version of the configuration whose problems were last logged
    # Verdicts, events and messages that were committed here, but are perhaps not yet on file.
    pending: "List[Line]" = []
    messages_made: int = 0  # how many, ever; part of each message's id
    pauses: "Dict[str, Pause]" = {}  # by task name, or * for all tasks


class Evidence(Value):
    """What clocks and kernel say at one moment: it explains a time without a tick. Seconds."""

    clock_offset: float = 0.0         # the wall clock less the one that stops in suspend
    suspended: "float | None" = None  # since boot; None where the system does not tell
    boot_id: str = ""


class Gap(Value):
    """A time without a tick, and its cause as far as the evidence tells; '' where it does not."""

    since: float = 0.0
    until: float = 0.0
    cause: str = ""


class RunFact(Value):
    """What the disk and the kernel say of a run that, by the state, has not ended."""

    # held, ended, never (started), orphan (the command outlives its supervisor), vanished, unknown
    kind: str = "held"
    result: "Result" = {}
    run: "Run | None" = None  # which run, where the state only knew that the task's lock was held
    unended: str = ""         # which of its processes cannot be killed
    stopped: str = ""         # by whom it was to be stopped, in words
    may_go_on: bool = False   # what a launcher started elsewhere outlives all that is seen here


class Facts(Value):
    """What a decision has to know of the machine, gathered before it."""

    boot_id: str = ""
    boot_at: int = 0
    zone_stamp: str = ""
    runs: "Dict[str, RunFact]" = {}
    busy: "frozenset[str]" = frozenset()  # tasks whose lock a run holds that the state lacks
    gap: "Gap | None" = None
    # What is wrong with a new version of the configuration ('' if nothing); None: no new version.
    trouble: "str | None" = None


class Agenda(Value):
    """The tasks that the next decision has to look at; the others are at rest.

    It is valid only for the same `config` and `tasks` objects, from `made_at` until `next_slot`,
    and while boot, zone data and pauses stay as they are.
    """

    config: Config = Config()
    tasks: "Dict[str, TaskState]" = {}
    pauses: "Dict[str, Pause]" = {}
    boot_id: str = ""
    made_at: float = 0.0
    active: "Sequence[str]" = ()               # those with a run or a cycle, in the state's order
    due: "frozenset[str]" = frozenset()        # those with something for `open_due_slots` to do
    unchecked: "frozenset[str]" = frozenset()  # those whose dependencies changed since the check
    next_slot: float = float("inf")            # the first one of the tasks that are not due
    dependents: "Dict[str, List[str]] | None" = None  # by dependency; None until it is needed


class Decision(Value):
    """The outcome of `decide`: the conductor carries it out and decides nothing more."""

    state: State = State()
    changed: bool = False
    starts: "List[Tuple[Task, Run]]" = []
    adoptions: "List[str]" = []
    records: "List[Verdict]" = []
    events: "List[Event]" = []      # what an audit has to know beside them
    messages: "List[Message]" = []  # notifications and pings

    notes: "List[str]" = []         # lines for the log
    wake_at: float = 0.0            # until then, no tick has anything to do
    agenda: "Agenda | None" = None  # for the next decision of this process

    @property
    def lines(self) -> "List[Line]":
        """All that is to be written down."""
        return self.records + self.events + self.messages


# == Zones ==

SPAN_BLOCK_BITS = 25  # zone data is looked up in blocks of 2**25 s, a little over a year
PROBE_S = 6 * DAY     # since 1970 no zone has changed its offset and changed it back so soon


class Zone:
    """A time zone as spans of constant offset from UTC, read from the C library by TZ and tzset."""

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
        raise AssertionError("no span")  # pragma: no cover - the spans of a block cover it

    def _read_block(self, start: int) -> "List[Tuple[int, int, int, int]]":
        # The system's zone is the machine's: a TZ in a person's shell must not move any slot.
        saved = os.environ.get("TZ")
        _set_tz(self.name)
        try:
            return list(self._spans_between(start, start + (1 << SPAN_BLOCK_BITS)))
        finally:
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
    try:
        time.tzset()
    except (UnicodeDecodeError, RuntimeError):
        pass  # the name of the time, or the offset, of a damaged file; the zone is set by then


_ZONES: "Dict[str | None, Zone]" = {None: Zone(None)}


def zone_named(name: "str | None") -> Zone:
    """The zone with this IANA name; None is the system's.

    An unknown name raises ConductorError; the C library would take it for UTC without a word.
    """
    zone = _ZONES.get(name)
    if zone is None:
        if not name or not _zone_exists(name):
            raise ConductorError("unknown time zone %r" % cut_text(name or "", 60),
                                 _zone_hint(name or ""))
        zone = _ZONES[name] = Zone(name)
    return zone


def _zone_folders() -> "List[str]":
    folders = [os.environ.get("TZDIR", ""), "/usr/share/zoneinfo", "/usr/lib/zoneinfo",
               "/usr/share/lib/zoneinfo", "/etc/zoneinfo", "/var/db/timezone/zoneinfo"]
    return [folder for folder in folders if folder]


def has_zone_data() -> bool:
    """Whether this system has the time zone database, which containers often lack."""
    return any(_zone_exists(name) for name in ("Europe/Paris", "America/New_York", "Asia/Tokyo"))


def _zone_hint(name: str) -> str:
    """What to do about a zone that is unknown: not to use its very name."""
    if not has_zone_data():
        return "no zone data on this machine: install tzdata"
    names = {zone.lower(): zone for zone in sorted(_zone_names())}
    wanted = re.sub(r"\s+", "_", name.strip()[:60]).lower()
    close = difflib.get_close_matches(wanted, names, 1, 0.8)
    if wanted and wanted not in names:  # a city alone
        close = [zone for zone in names if zone.endswith("/" + wanted)] or close
    for zone in close:
        if names[zone] != name:  # a damaged file is no zone, whatever its name
            return "did you mean '%s'?" % names[zone]
    return "use an IANA name such as Europe/Paris or UTC"


def _zone_names() -> "Iterator[str]":
    """The names of all zones of this system."""
    for top in _zone_folders():
        for folder, subfolders, files in os.walk(top):
            # These hold second copies of all zones.
            subfolders[:] = [name for name in subfolders if name not in ("posix", "right")]
            for file in files:
                name = os.path.join(folder, file)[len(top):].lstrip("/")
                if name[0].isupper() and "." not in name:
                    yield name


LARGEST_ZONE = 1 << 20   # bytes of a file; the largest zone has 4 KiB
LONGEST_OFFSET_S = 26 * HOUR  # RFC 9636


def _is_zone_data(data: bytes) -> bool:
    """Whether this is a whole file of a zone (tzfile(5)): a damaged one can crash the C library."""
    import struct
    end, width = 0, 4
    while True:
        begin = end + 44
        if len(data) < begin or data[end:end + 4] != b"TZif":
            return False
        version, utcs, stds, leaps, times, types, letters = struct.unpack_from(
            ">c15x6L", data, end + 4)
        end = begin + times * (width + 1) + types * 6 + letters + leaps * (width + 4) + stds + utcs
        if len(data) < end:
            return False
        if version < b"2" or width == 8:
            break
        width = 8  # from version 2 on, the same follows with times of 64 bits
    moments = struct.unpack_from(">%d%s" % (times, "lq"[width // 8]), data, begin)
    begin += times * width
    indices, names = data[begin:begin + times], data[begin + times + types * 6:][:letters]
    if not types or max(indices, default=0) >= types or {utcs, stds} - {0, types}:
        return False
    for place in range(types):
        offset, is_dst, name = struct.unpack_from(">lBB", data, begin + times + place * 6)
        if abs(offset) > LONGEST_OFFSET_S or is_dst > 1 or name >= letters:
            return False
    is_ascii = max(names) < 128
    return is_ascii and names.endswith(b"\0") and list(moments) == sorted(set(moments))


def _zone_exists(name: str) -> bool:
    """Whether the file is there that the C library would read for this TZ."""
    if name in ("UTC", "GMT"):
        return True
    if not re.match(r"(?!right/|posixrules)[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*\Z", name):
        return False
    for folder in _zone_folders():
        try:
            with open(os.path.join(folder, name), "rb") as handle:
                if _is_zone_data(handle.read(LARGEST_ZONE)):
                    return True
        except (OSError, ValueError):
            continue
    return False


# ASCII: \d would let the digits of other scripts in.
TIME_PATTERN = (r"(?a)(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?(?:\.\d+)?)?"
                r"\s*(Z|[+-]\d\d:?\d\d)?\Z")
FIRST_YEAR_S, LAST_YEAR_END_S = -62135596800, 253402300800  # the years 1 to 9999, which have dates


# '2025-06-02' -> its midnight in epoch seconds, as an audit reads the same days 100,000 times.
_DAY_STARTS: "Dict[str, int]" = {}


def from_iso(text: "str | None", zone: "Zone | None" = None) -> "int | None":
    """The reverse of `iso`; also takes offsets, and times without one as wall time of `zone`.

    As RFC 5545 and PEP 495 have it, a wall time that comes twice is the first of the two, and one
    that is skipped has the offset from before the gap. None for None; ValueError for what is no
    such time.
    """
    if text is None:
        return None
    if text[:10] in _DAY_STARTS and text[10::3] == "T::Z" and len(text) == 20:
        hour, minute, second = text[11:13], text[14:16], text[17:19]
        if hour < "24" and max(minute, second) < "60" and not (
                hour + minute + second).strip("0123456789"):
            return _DAY_STARTS[text[:10]] + int(hour) * HOUR + int(minute) * MINUTE + int(second)
    match = re.match(TIME_PATTERN, text)
    if not match:
        raise ValueError("%r is not a time such as 2025-06-02T10:00 or 2025-06-02T10:00:00Z" %
                         cut_text(text, 60))
    parts = [int(part or 0) for part in match.groups()[:6]]
    at = datetime.datetime(*parts)  # type: ignore[arg-type]
    since_epoch = at - datetime.datetime(1970, 1, 1)
    wall = since_epoch.days * DAY + since_epoch.seconds
    _DAY_STARTS[text[:10]] = wall - wall % DAY
    instant, suffix = wall, match.group(7)
    if suffix is None and zone is not None:
        instant = instant_of(wall, zone)
    elif suffix not in (None, "Z"):
        ahead_s = int(suffix[1:3]) * HOUR + int(suffix[-2:]) * MINUTE
        instant += ahead_s if suffix[0] == "-" else -ahead_s
    if not FIRST_YEAR_S <= instant < LAST_YEAR_END_S:  # `iso` could not write it
        raise ValueError("%r is not in the years 1 to 9999 of UTC" % cut_text(text, 60))
    return instant


def instant_of(wall: int, zone: Zone) -> int:
    """The instant when the clock of a zone shows `wall`, in seconds since 1970 by that clock."""
    at = wall - zone.span(wall - DAY)[2]  # by the offset that is in force ahead of any change
    offset = zone.span(at)[2]
    if zone.span(wall - offset)[2] == offset:
        return wall - offset
    return at  # skipped: no offset leads there


# == Cron ==

MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

NICKNAMES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@reboot": "",
}

LONGEST_SHOWN = 60           # of an expression, in messages
EPOCH_ORDINAL = 719163       # datetime.date(1970, 1, 1).toordinal()
SEARCH_MONTHS = 12 * 60      # February 29th on a given weekday can be 40 years away
LAST_ORDINAL = 3652059 - 800  # two years before datetime.date.max


def _named_numbers(low: int, short: "Sequence[str]", full: "Sequence[str]") -> "Dict[str, int]":
    numbers = {name: number for number, name in enumerate(short, low)}
    numbers.update({name.upper(): number for number, name in enumerate(full, low)})
    return numbers


class CronField(Value):
    """One of the five fields of an expression, and what it takes."""

    name: str = ""
    low: int = 0
    high: int = 0
    size: int = 0
    names: "Tuple[str, ...]" = ()
    numbers: "Dict[str, int]" = {}  # of the short names and the full ones, in capitals
    special: str = ""  # what the field takes besides numbers, names, lists, ranges and steps

    def allowed(self) -> str:
        names = ""
        if self.names:
            names = ", %s-%s" % (self.names[0], self.names[-1])
        return "%d-%d%s, *, lists, ranges, steps%s" % (self.low, self.high, names, self.special)


FIELDS = (
    CronField(name="minute", low=0, high=59, size=60),
    CronField(name="hour", low=0, high=23, size=24),
    CronField(name="day-of-month", low=1, high=31, size=31, special=", L, L-3, 15W, LW, ?"),
    CronField(name="month", low=1, high=12, size=12, names=MONTH_NAMES,
              numbers=_named_numbers(1, MONTH_NAMES, MONTHS)),
    CronField(name="day-of-week", low=0, high=7, size=7, names=DAY_NAMES,
              numbers=_named_numbers(0, DAY_NAMES, WEEKDAYS), special=", 5L, 1#2, ?"),
)


def stable_hash(text: str) -> int:
    """FNV-1a, 32 bits, mixed once more: the same on every machine and version, unlike `hash`."""
    value = 0x811C9DC5
    for byte in text.encode("utf-8", "surrogateescape"):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    value ^= value >> 16
    value = value * 0x45D9F3B & 0xFFFFFFFF
    return value ^ value >> 16


DID_YOU_MEAN = "did you mean '%s'?"
WRITE = "write '%s'"
SPREAD = "write '%s', which gives each task a fixed time of its own"
TWO_FIELDS = "minute and hour are two fields: '%s'"
SHORTEST = "a minute is the shortest interval: write '%s'"
_CLOCK = r"0?([0-9]|1[0-9]|2[0-3]):0?([0-9]|[1-5][0-9])"
_DAY = r"(%s)(?:[A-Z]*DAY)?" % "|".join(DAY_NAMES)
_ON = "(?:ONCALENDAR=)?"  # systemd's: Mon..Fri 22:30, *-*-* 02:00:00
_CLOCK_S = r"(?:\*-\*-\* )?" + _CLOCK + "(?::00)?"
# What other crons take, or people write: the field ('' for any, or the whole schedule), its form in
# capitals, what to write instead, and the hint around it. LOW and HIGH are the bounds of the field.
# Only what has one meaning is here: a wrong guess would be worse than none.
OTHER_FORMS = (
    ("schedule", r"@EVERY_MINUTE|@MINUTELY|@?EVERY MINUTE", "* * * * *", WRITE),
    ("schedule", r"@EVERY_SECOND|@SECONDLY|@?EVERY SECOND", "* * * * *", SHORTEST),
    ("schedule", r"(HOURLY|DAILY|MIDNIGHT|WEEKLY|MONTHLY|YEARLY|REBOOT)", r"@\1", WRITE),
    ("schedule", r"@?EVERY (HOUR|WEEK|MONTH|YEAR)", r"@\1ly", WRITE),
    ("schedule", r"@?EVERY DAY", "@daily", WRITE),
    ("schedule", r"@(?:STARTUP|BOOT)", "@reboot", WRITE),
    ("schedule", r"@?NOON", "0 12 * * *", WRITE),
    ("schedule", r"@QUARTERLY", "0 0 1 */3 *", WRITE),
    ("schedule", r"@WEEKDAYS?", "0 0 * * 1-5", WRITE),
    ("schedule", r"@WEEKENDS?", "0 0 * * 6,0", WRITE),
    ("schedule", r"@?(?:FORTNIGHTLY|BI-?WEEKLY)", None,
     "no cron expression says every two weeks; for twice a week list two weekdays"),
    ("schedule", r"(?:@?DAILY |@?EVERY DAY )?(?:AT )?" + _CLOCK, r"\2 \1 * * *", WRITE),
    ("schedule", _ON + _CLOCK_S, r"\2 \1 * * *", WRITE),
    ("schedule", _ON + _DAY + " " + _CLOCK_S, r"\3 \2 * * \1", WRITE),
    ("schedule", _ON + _DAY + r"(?:\.\.|-)" + _DAY + " " + _CLOCK_S, r"\4 \3 * * \1-\2", WRITE),
    ("schedule", r"ONCALENDAR=(HOURLY|DAILY|MONTHLY|YEARLY|ANNUALLY)", r"@\1", WRITE),
    ("schedule", r"ONCALENDAR=WEEKLY", "0 0 * * 1", WRITE),  # systemd's week begins on Monday
    ("schedule", r"CRON\((\S+ \S+ \S+ \S+ [^0-9 ]+) \*\)", r"\1", WRITE),  # 1 is Sunday there
    ("schedule", r"[*0]/90 \* \* \* \*|(?:@?EVERY |RATE\()?90 ?M(?:IN(?:UTE)?S?)?\)?", None,
     "every 90 minutes takes two schedules: '0 */3 * * *' and '30 1-22/3 * * *'"),
    ("schedule", r"(?:[0*] )?" + _CLOCK + r"(?: \*)?((?: \S+){3})", r"\2 \1\3", TWO_FIELDS),
    ("schedule", r"(\S+ \S+ [*?] \S+ )FIRST " + _DAY, r"\1\2#1", WRITE),
    ("schedule", r"(\S+ \S+ [*?] \S+ )([1-4])(?:ST|ND|RD|TH) " + _DAY, r"\1\3#\2", WRITE),
    ("schedule", r"(\S+ \S+ [*?] \S+ )LAST " + _DAY, r"\1\2L", WRITE),
    ("", r"\*([0-9]+)", r"*/\1", DID_YOU_MEAN),
    ("", r"/([0-9]+)", r"*/\1", DID_YOU_MEAN),
    ("", r"\?(/[0-9]+)?", r"*\1", WRITE),
    ("", r"(\w+)\.\.(\w+)(/[0-9]+)?", r"\1-\2\3", WRITE),
    # cronie and OpenBSD: a random time of each start of the daemon; R is croniter's.
    ("", r"[~R](/[0-9]+)?", r"H\1", SPREAD),
    ("", r"([0-9]+)~([0-9]+)(/[0-9]+)?", r"H(\1-\2)\3", SPREAD),
    ("", r"([0-9]+)~(/[0-9]+)?", r"H(\1-HIGH)\2", SPREAD),
    ("", r"~([0-9]+)(/[0-9]+)?", r"H(LOW-\1)\2", SPREAD),
    ("", r"[HR](\(\w+-\w+\))?(/[0-9]+)?", r"H\1\2", SPREAD),
    ("day-of-week", r"L([0-7])", r"\1L", WRITE),
    ("day-of-week", "L" + _DAY, r"\1L", WRITE),
    ("day-of-week", r"(?:WEEK|WORK)DAYS?", "MON-FRI", WRITE),
    ("day-of-week", r"WEEKENDS?", "SAT,SUN", WRITE),
    ("day-of-week", r"L", "6",
     "write 5L for the last Friday of the month, or, for Saturdays as in Quartz, '%s'"),
    ("day-of-week", r"\+.+", "*", "write '%s', and let the command test the weekday (date +%%u)"),
    ("day-of-month", r"WL", "LW", DID_YOU_MEAN),
    ("day-of-month", r"W([0-9]+)", r"\1W", WRITE),
    ("day-of-month", r"([0-9]+)-L(/[0-9]+)?", r"\1-31\2", WRITE),
    ("day-of-month", r"(LW?)/[0-9]+", r"\1", DID_YOU_MEAN),
    ("hour", r"24(/[0-9]+)?", r"0\1", "midnight is hour 0: '%s'"),
    ("minute", r"60(/[0-9]+)?", r"0\1", "the full hour is minute 0: '%s'"),
    ("hour", r"0-24(/[0-9]+)?", r"0-23\1", WRITE),  # but 8-24 may mean midnight as well
    ("minute", r"0-60(/[0-9]+)?", r"0-59\1", WRITE),
    ("day-of-month", r"([0-9]+)-32(/[0-9]+)?", r"\1-31\2", WRITE),
)


def _other_form(field: str, text: str) -> "Tuple[str, str | None]":
    """The hint for a form of other crons, and what to write instead; '' and None if it is none."""
    for place, form, instead, hint in OTHER_FORMS:
        match = re.match("(?:%s)\\Z" % form, text.upper())
        if match and (place == field or not place and field != "schedule"):
            return hint, instead and match.expand(instead)
    return "", None


class _FieldError(CronSyntaxError):
    """An item that is wrong; '%s' in the hint stands for the expression mended.

    `instead` is what to write for the item, and `mended` the whole field then; None if nothing
    says the same.
    """

    def __init__(self, message: str, hint: str, field: CronField, instead: "str | None") -> None:
        super().__init__(message, hint)
        self.field = field
        self.instead = instead
        self.mended: "str | None" = None


def _leading_number(digits: str) -> int:
    """The number that digits say; of more than nine, one that is as far outside of every field."""
    return int(digits.lstrip("0")[:9] or "0")


class _FieldParser:
    """One field of an expression: its numbers, and the day rules that are no numbers (L, 1#2)."""

    def __init__(self, field: CronField, text: str, name: str, recorded: bool) -> None:
        self.field = field
        self.text = text
        self.task_name = name
        self.recorded = recorded
        self.values: "Set[int]" = set()
        # L, L-3, 15W, LW: (day, whether the weekday nearest to it); 0 is the last day, -3 three
        # days before it.
        self.anchors: "Set[Tuple[int, bool]]" = set()
        self.nth: "Set[Tuple[int, int]]" = set()           # (weekday, n), n = -1 for the last
        self.large_steps: "List[str]" = []                 # accepted though they step past its end
        # The same for the calendar's arithmetic; each is filled for its own field only.
        self.day_bits = 0  # bit 1 is the first of the month
        # For each weekday that a month may begin with: its matching days as bits.
        self.week_bits: "List[int]" = []
        # For each month, January = 0: how many months ahead the next matching one is.
        self.months_ahead: "List[int]" = []

    def error(self, value: str, why: str, hint: str = "",
              instead: "str | None" = None) -> _FieldError:
        return _FieldError("%s '%s' %s" % (self.field.name, cut_text(value, 40), why), hint,
                           self.field, instead)

    def parse(self) -> "_FieldParser":
        items = self.text.split(",")
        for item in items:
            try:
                if not item:
                    raise self.error(self.text, "has an empty entry in its list",
                                     "remove the extra comma: '%s'", instead="")
                if not self._special(item):
                    self._plain(item)
            except _FieldError as error:
                if error.instead is not None:
                    others = [error.instead if other == item else other for other in items]
                    error.mended = ",".join(filter(None, others))
                raise
        if self.field.name == "day-of-month":
            self.day_bits = sum(1 << day for day in self.values)
        elif self.field.name == "day-of-week":
            self.values = {day % 7 for day in self.values}
            weeks = [sum(2 << (day - first) % 7 for day in self.values) for first in range(7)]
            self.week_bits = [
                week | week << 7 | week << 14 | week << 21 | week << 28 for week in weeks]
        elif self.field.name == "month":
            for month in range(12):
                self.months_ahead.append(next(
                    ahead for ahead in range(12) if (month + ahead) % 12 + 1 in self.values))
        return self

    def _special(self, item: str) -> bool:
        if self.field.name == "day-of-month":
            return self._anchor(item)
        if self.field.name != "day-of-week":
            return False
        upper = item.upper()
        if "#" in item:
            day, _, nth = upper.partition("#")
            if nth not in ("1", "2", "3", "4", "5", "L", "-1"):
                raise self.error(item, "is not WEEKDAY#N with N in 1-5", "1#2 is the second Monday")
            is_foreign = nth in ("L", "-1")
        elif len(item) > 1 and upper.endswith("L"):
            day, nth, is_foreign = upper[:-1], "L", False
        else:
            return False
        first, is_range, last = day.partition("-")
        low = high = self._number(first, item)
        if is_range:
            high = self._number(last, item)
        if is_range or is_foreign:  # as croner has them
            suffix = "L" if nth in ("L", "-1") else "#" + nth
            days = range(low, high + 1 + 7 * (low > high))
            raise self.error(item, "is not WEEKDAY#N or WEEKDAYL", WRITE, ",".join(
                "%s%s" % (DAY_NAMES[number % 7], suffix) for number in days))
        self.nth.add((low % 7, -1 if nth == "L" else int(nth)))
        return True

    def _anchor(self, item: str) -> bool:
        """Whether an item is one of L, L-3, 15W, LW and L-3W."""
        upper = item.upper()
        match = None
        if "L" in upper or "W" in upper:
            match = re.match(r"(L(?:-([0-9]+))?|[0-9]+)(W?)\Z", upper)
        if not match:
            return False
        text, before, nearest = match.groups()
        if before and not 0 < _leading_number(before) <= 30:
            raise self.error(
                item, "is outside L-1 to L-30", "for the last day write '%s'", "L" + nearest)
        if text[0] == "L":
            day = -int(before or 0)
        else:
            day = self._number(text, item)
        self.anchors.add((day, bool(nearest)))
        return True

    def _plain(self, item: str) -> None:
        base, slash, step_text = item.partition("/")
        step = 1
        if slash:
            step = self._step(item, step_text)
        low, high = self.field.low, self.field.high
        top = high
        if self.field.name == "day-of-week":
            top = 6  # 7 is another name for Sunday: '*/2' counts 0, 2, 4, 6 and must not reach it
        if base == "*":
            high = top
        elif base == "H" or base.startswith("H("):
            return self._hashed(item, base, step, bool(slash))
        elif "-" in base:
            first, _, last = base.partition("-")
            low, high = self._number(first, item), self._number(last, item)
        else:
            low = high = self._number(base, item)
            if slash:  # One value with a step goes on to the end of the field: 5/15 is 5-59/15.
                high = max(low, top)
        if step > top:
            self._take_large_step(item, step)
        if low > high:
            return self._wrapped(low, high, step)
        self.values.update(range(low, high + 1, step))

    def _wrapped(self, low: int, high: int, step: int) -> None:
        """A range that goes round the end of its field, as 22-6 or fri-mon; so do its steps."""
        size, first = self.field.size, self.field.low
        through = (high - low) % size
        self.values.update(
            (number - first) % size + first for number in range(low, low + through + 1, step))

    def _take_large_step(self, item: str, step: int) -> None:
        """Refuse a step past the end of the field, unless plain cron's users rely on it.

        Such a step leaves the first value alone. Mostly an interval was meant that cron cannot
        count (`*/90`, `0 0/36`), so it is an error, whatever it steps through. Taken as cron takes
        them, with a warning from `check`, are
        - `*/60` and `*/24`: once an hour, once a day, as they say;
        - every step in day-of-week: `*/7` is Sunday, and often stands there for its `*` alone;
        - `*/100,1-7` in day-of-month: the field starts with `*`, so both day fields must match.
        """
        taken = self.recorded or self.field.name == "day-of-week"
        if item.startswith("*"):
            taken |= step == self.field.size
            taken |= self.field.name == "day-of-month" and self.text.startswith(item + ",")
        if not taken:
            raise self._large_step_error(item)
        self.large_steps.append(item)

    def _hashed(self, item: str, base: str, step: int, stepped: bool) -> None:
        low, high = self.field.low, self.field.high
        if self.field.name == "day-of-month":
            high = 28  # every month has it
        elif self.field.name == "day-of-week":
            high = 6
        if base != "H":
            match = re.match(r"H\((\w+)-(\w+)\)\Z", base)
            if not match:
                raise self.error(item, "is not H, H/STEP, H(LOW-HIGH) or H(LOW-HIGH)/STEP")
            low = self._number(match.group(1), item)
            high = self._number(match.group(2), item)
            if low > high:
                raise self.error(item, "starts after it ends")
        if stepped and step > high - low + 1:
            raise self._large_step_error(item)
        spread = stable_hash("%s\0%s" % (self.task_name, self.field.name))
        if not stepped:
            self.values.add(low + spread % (high - low + 1))
        else:
            self.values.update(range(low + spread % step, high + 1, step))

    def _number(self, text: str, item: str) -> int:
        if not text or text.strip("0123456789"):  # isdigit() would let other scripts' digits in
            if text.upper() in self.field.numbers:
                return self.field.numbers[text.upper()]
            hint, instead = self._typo(text, item)
            raise self.error(item, "is not understood; allowed are %s" % self.field.allowed(),
                             hint, instead)
        value = int(text[:9])
        if not self.field.low <= value <= self.field.high or len(text) > 9:
            hint, instead = self._typo(text, item)
            raise self.error(text, "is outside %d-%d" % (self.field.low, self.field.high),
                             hint, instead)
        return value

    def _step(self, item: str, text: str) -> int:
        if not text or text.strip("0123456789"):
            raise self.error(item, "has no whole number after '/'", "'*/5' is every fifth")
        if not text.strip("0"):
            raise self.error(item, "has step 0", "a step is 1 or more")
        return _leading_number(text)

    def _large_step_error(self, item: str) -> "_FieldError":
        hint = "write '%s', which means the same"
        within = {"minute": "hour", "hour": "day"}.get(self.field.name)
        if within:
            hint += "; a step counts within one %s: for longer intervals list the %ss" % (
                within, within)
        return self.error(item, "has a step larger than the field", hint, self.first_of(item))

    def first_of(self, item: str) -> str:
        """What says the same as an item whose step is larger than the field."""
        base = item.partition("/")[0]
        if base.startswith("H"):
            return base
        if base != "*":
            return base.partition("-")[0]
        if self.field.name == "day-of-month":
            return "*/31"  # without its '*' the field would no longer ask for the weekday as well
        return str(self.field.low)

    def _typo(self, text: str, item: str) -> "Tuple[str, str | None]":
        """Hint and replacement for an item of which `text` is wrong."""
        hint, instead = _other_form(self.field.name, item)
        if instead and instead != item:
            high = 6 if self.field.size == 7 else self.field.high
            instead = instead.replace("LOW", str(self.field.low))
            return hint, instead.replace("HIGH", str(high))
        word = text.upper().rstrip("S")  # tues, janu, fridays
        for name, number in self.field.numbers.items():
            if len(word) >= 3 and name.startswith(word):
                short = self.field.names[number - self.field.low]
                return DID_YOU_MEAN, item.replace(text, short.lower())
        return "", None


_FIELDS_PARSED: "Dict[Tuple[str, str, bool], _FieldParser]" = {}


def _parsed_field(field: CronField, text: str, name: str, recorded: bool) -> _FieldParser:
    """A field, parsed once for all the schedules that have it; only `H` depends on the task."""
    if "H" in text:
        return _FieldParser(field, text, name, recorded).parse()
    key = (field.name, text, recorded)
    if key not in _FIELDS_PARSED:
        _FIELDS_PARSED[key] = _FieldParser(field, text, name, recorded).parse()
    return _FIELDS_PARSED[key]


def _parsed_fields(parts: "Sequence[str]", name: str, recorded: bool) -> "List[_FieldParser]":
    return [_parsed_field(field, part, name, recorded) for field, part in zip(FIELDS, parts)]


MOST_REWRITTEN = 20
LONGEST_REWRITTEN = 120


def _rewritten(parts: "Sequence[str]", name: str) -> str:
    """The expression with all that is wrong in it mended; '' if that cannot be done."""
    parts = list(parts)
    for _ in range(MOST_REWRITTEN):
        try:
            _parsed_fields(parts, name, False)
            text = CronSchedule(" ".join(parts), name).text
            return text if len(text) <= LONGEST_REWRITTEN else ""
        except _FieldError as error:
            if error.mended is None:
                break
            parts[FIELDS.index(error.field)] = error.mended
        except CronSyntaxError:
            break
    return ""


# What begins a command behind a schedule: a path, perhaps after a user.
_COMMAND = r"root\b|(?:[a-z_][\w-]* )?(?:[a-z_~.]\S*)?[/.]"
_INTERVAL = r"([0-9]{1,9}) ?([smhdw]|(?:sec|second|min|minute|hour|day|week)s?) ?(?![a-z])"
_EVERY = {1: "* * * * *", 60: "0 * * * *", 1440: "0 0 * * *", 10080: "0 0 * * 0"}


def _interval_hint(text: str) -> str:
    """What to write for an interval such as 5m, 6h0m0s or '2 hours'; '' for what is none."""
    if re.sub(_INTERVAL, "", text):
        return ""
    seconds = sum(int(number) * UNITS_S[unit[0]] for number, unit in re.findall(_INTERVAL, text))
    if seconds < MINUTE:
        return SHORTEST % "* * * * *" if seconds else ""
    minutes, odd = divmod(seconds, MINUTE)
    expression = _EVERY.get(minutes, "")
    if not expression and 60 % minutes == 0:
        expression = "*/%d * * * *" % minutes
    elif not expression and 1440 % minutes == 0 and minutes % 60 == 0:
        expression = "0 */%d * * *" % (minutes // 60)
    if odd or not expression:
        return "no cron expression says that: an interval must divide an hour or a day evenly"
    return WRITE % expression


def _words_hint(text: str, name: str) -> str:
    """What to write for a whole schedule in words or with a nickname of others; or ''."""
    hint, instead = _other_form("schedule", text)
    if hint and instead is None:
        return hint
    if instead and instead.startswith("@"):
        return hint % instead.lower()
    if instead and _rewritten(instead.split(), name):
        return hint % _rewritten(instead.split(), name)
    word, _, rest = text.lower().partition(" ")
    if word in NICKNAMES and re.match(_COMMAND, rest):
        return "write '%s'; the rest belongs in the command" % word
    text = re.sub(r"[*0]/([0-9]+)( \*){4}\Z", r"\1m", text.lower())
    text = re.sub(r"0 [*0]/([0-9]+)( \*){3}\Z", r"\1h", text)
    interval = re.match(r"(?:@?every[ _]?|(rate\())?([0-9][^)]*)(?(1)\))\Z", text)
    return _interval_hint(interval.group(2)) if interval else ""


def _count_hint(parts: "List[str]", name: str) -> str:
    """What to write instead of an expression that has not five fields."""
    if not parts:
        return "'0 2 * * *' is every day at 02:00"
    hint = _words_hint(" ".join(parts), name)
    if hint:
        return hint
    zone = re.match(r"(?:CRON_)?TZ=(\S+)", parts[0])
    if zone:
        zone_hint = 'set "timezone": "%s"' % cut_text(zone.group(1), LONGEST_SHOWN)
        text = " ".join(parts[1:])
        if text.lower() not in NICKNAMES:
            text = _rewritten(parts[1:6], name)
        if text and len(parts) <= 6:
            hint = WRITE % text
        elif len(parts) != 6 and "TZ=" not in "".join(parts[1:2]):  # not once for each of thousands
            hint = _count_hint(parts[1:], name)
        return "%s, and %s" % (hint, zone_hint) if hint else zone_hint
    joined = re.sub(r", (?=\w)| ,|(?<=\d) - (?=\d)| ?/ ", lambda gap: gap.group(0).strip(),
                    " ".join(parts)).split()
    if len(joined) == 5 and _rewritten(joined, name):
        return "a field has no blanks: " + WRITE % _rewritten(joined, name)
    if len(parts) < 5:
        hint = "use * for a field that does not matter"
        padded = _rewritten(parts + ["*"] * (5 - len(parts)), name)
        return "%s, as in '%s'" % (hint, padded) if padded else hint
    hint = _seconds_hint(parts, name) if len(parts) <= 7 else ""
    first = _rewritten(parts[:5], name)
    if not hint and first and re.match(_COMMAND, " ".join(parts[5:])):
        return "write '%s'; the rest belongs in the command" % first
    if not hint and all(re.search(r"[0-9*?]", part) for part in parts):
        return "there is no field for seconds or years"
    return hint


def _seconds_hint(parts: "List[str]", name: str) -> str:
    """What comes closest to six or seven fields, of which some are seconds or years; or ''."""
    seconds, fields, year = parts[0], parts[1:6], "".join(parts[6:])
    text, other = _rewritten(fields, name), _rewritten(parts[:5], name)
    if other and not text:  # supercronic's sixth, croniter's sixth and seventh: a year, no weekday
        if not all(re.match(r"[0-9*?,/-]+\Z", part) for part in parts[5:]):
            return ""
        return "there is no field for seconds or years: write '%s'%s" % (
            other, _year_remark(parts[-1]))
    if not text:
        return ""
    choice = "'%s'" % text
    quartz = re.sub(r"(?<![#/0-9])[1-7](?![0-9])",
                    lambda day: str(int(day.group(0)) - 1), fields[4])
    if "?" in fields and quartz != fields[4]:
        choice += " or, if Sunday is 1 as in Quartz, '%s'" % (
            _rewritten(fields[:4] + [quartz], name) or text)
    elif seconds.strip("0") and parts[5:] == ["*"] and other not in ("", text):
        choice += " or, if the last field is the year, '%s'" % other
    remark = _year_remark(year)
    if not seconds.strip("0"):
        return "there is no field for seconds: write %s%s" % (choice, remark)
    if re.match(r"[0-9]{1,2}\Z", seconds):
        return "there is no field for seconds: write %s, and begin the command with sleep %d;%s" % (
            choice, int(seconds), remark)
    return "a minute is the shortest interval: write %s%s" % (choice, remark)


def _year_remark(year: str) -> str:
    if re.match(r"[0-9]{4}\Z", year):
        return ", and begin the command with [ $(date +%%Y) = %s ] || exit 0;" % year
    if re.match(r"[0-9*]{4}|\*/|\w\(", year):
        return ", and let the command test the year (date +%Y)"
    return ""


_MONTH_SHAPES: "Dict[int, Tuple[int, int, int]]" = {}


def _month_shape(key: int) -> "Tuple[int, int, int]":
    """A month's shape: the day before its first, its length in days, the weekday of its first.

    `key` is years * 12 + months, January = 0; days are counted from 1970-01-01.
    """
    shape = _MONTH_SHAPES.get(key)
    if shape is None:
        firsts = [datetime.date(month // 12, month % 12 + 1, 1) for month in (key, key + 1)]
        eve, next_eve = [first.toordinal() - EPOCH_ORDINAL - 1 for first in firsts]
        shape = _MONTH_SHAPES[key] = eve, next_eve - eve, (eve + 5) % 7
    return shape


def _longest_month(months: "Iterable[int]") -> int:
    """The days of the longest of these months, 1 to 12."""
    return max(31 - (month in (4, 6, 9, 11)) - 2 * (month == 2) for month in months)


def _nearest_weekday(day: int, weekday: int, length: int) -> int:
    """The working day nearest to a day of this weekday, within its month of `length` days."""
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


class CronSchedule:
    """A cron expression and its slots.

    Five fields or a nickname (config/README.md has the dialect); `name` seeds `H`. Raises
    CronSyntaxError. The day rule and the treatment of daylight saving time are those of Debian
    cron(8): a schedule whose minute or hour starts with `*` follows elapsed time; any other starts
    once for each wall-clock time, after the gap when the time is skipped, at the first occurrence
    when it is repeated.
    A schedule `recorded` in the history may have any step: the version that ran it took it.
    """

    def __init__(self, text: str, name: str = "", recorded: bool = False) -> None:
        self.text = " ".join(text.split())
        self.written: "str | List[str]" = self.text  # as the configuration and JSON have it
        self.reboot = self.text.lower() == "@reboot"
        self.wildcard = False
        self.fields: "List[_FieldParser]" = []
        if self.reboot:
            return
        parts = self._split(name)
        try:
            self.fields = _parsed_fields(parts, name, recorded)
        except _FieldError as error:
            hint = error.hint
            if "%s" in hint:
                mended = _rewritten(parts, name)
                hint = hint % mended if mended else ""
            hint = _words_hint(self.text, name) or hint
            raise CronSyntaxError(error.message, hint)
        minute, hour, self._dom, month, self._dow = self.fields  # dom, dow: day of month, of week
        self.wildcard = minute.text.startswith("*") or hour.text.startswith("*")
        self._times = _times_of_day(frozenset(minute.values), frozenset(hour.values))
        self._month = month
        # Vixie cron: if either day field starts with '*', both must match; otherwise either may.
        self.both_days = self._dom.text.startswith("*") or self._dow.text.startswith("*")
        self._every_day = (len(self._dom.values) == 31 and len(self._dow.values) == 7
                           and self.both_days and len(month.values) == 12)
        self._month_memo = (0, 0, 0)
        if not self._every_day and self._day_from(0) is None:
            reason, hint = self._why_never()
            raise CronSyntaxError("'%s' never fires: %s" % (
                cut_text(self.text, LONGEST_SHOWN), reason), hint)

    def __repr__(self) -> str:
        return "%s(%r)" % (type(self).__name__, self.text)

    @property
    def expressions(self) -> "Sequence[CronSchedule]":
        """The single expressions that it consists of."""
        return (self,)

    def _split(self, name: str) -> "List[str]":
        text = self.text
        if text.startswith("@"):
            if text.lower() in NICKNAMES:
                return NICKNAMES[text.lower()].split()
            message = "unknown schedule '%s'; the nicknames are %s" % (
                cut_text(text, LONGEST_SHOWN), " ".join(sorted(NICKNAMES)))
            raise CronSyntaxError(message, _words_hint(text, name))
        parts = text.split()
        if len(parts) != 5:
            raise CronSyntaxError(
                "'%s' has %s; a schedule has five: "
                "minute hour day-of-month month day-of-week" % (
                    cut_text(text, LONGEST_SHOWN), plural(len(parts), "field")),
                _count_hint(parts, name))
        if "?" in text:  # as in Quartz: a day field that does not restrict the days
            parts[2::2] = ["*" if part == "?" else part for part in parts[2::2]]
        return parts

    def _why_never(self) -> "Tuple[str, str]":
        """The reason, and a hint, for a schedule whose day fields match no day."""
        dom, dow = self._dom, self._dow
        months = " or ".join(MONTHS[month - 1] for month in sorted(self._month.values))
        longest = _longest_month(self._month.values)
        days_asked = dom.values.union(day for day, _ in dom.anchors)
        if any(-longest < day <= longest for day in days_asked):
            return "day-of-month '%s' and day-of-week '%s' never fall on the same day in %s" % (
                cut_text(dom.text, 40), cut_text(dow.text, 40), months), ""
        days = " or ".join(str(day) for day in sorted(dom.values)) or dom.text
        reason = "day-of-month %s does not occur in %s" % (cut_text(days, 40), months)
        parts = [field.text for field in self.fields]
        parts[2] = "L"
        hint = "for the last day of the month write '%s'" % " ".join(parts)
        if len(hint) > LONGEST_REWRITTEN:
            hint = "L is the last day of the month"
        return reason, hint

    # Days are counted from 1970-01-01, wall minutes from its midnight on the zone's own clocks.

    def _days_of(self, key: int) -> "Tuple[int, int]":
        """The day before the first of a month, and the matching days of the month as bits."""
        if self._month_memo[0] == key:
            return self._month_memo[1:]
        eve, length, weekday = _month_shape(key)
        days = self._dom.day_bits
        for day, is_nearest in self._dom.anchors:
            if day <= 0:
                day += length
            if not 1 <= day <= length:
                continue
            if is_nearest:
                day = _nearest_weekday(day, (weekday + day - 1) % 7, length)
            days |= 1 << day
        week = self._dow.week_bits[weekday]
        for nth_weekday, nth in self._dow.nth:
            first = 1 + (nth_weekday - weekday) % 7
            weeks_later = nth - 1
            if nth < 0:  # the last one
                weeks_later = (length - first) // 7
            week |= 1 << first + 7 * weeks_later
        if self.both_days:
            days &= week
        else:
            days |= week
        days &= (2 << length) - 1
        self._month_memo = (key, eve, days)
        return eve, days

    def _day_from(self, day: int) -> "int | None":
        """The first matching day at or after `day`."""
        if self._every_day:
            return day
        if not 0 < day + EPOCH_ORDINAL < LAST_ORDINAL:
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
        later = self._day_from(day + 1)
        if later is None:
            return None
        return later * 1440 + self._times[0]

    def _wall_until(self, wall: int) -> "int | None":
        """The last matching wall minute at or before `wall`."""
        day, minute = divmod(wall, 1440)
        if self._every_day or self._day_until(day) == day:
            index = bisect.bisect_right(self._times, minute)
            if index:
                return day * 1440 + self._times[index - 1]
        earlier = self._day_until(day - 1)
        if earlier is None:
            return None
        return earlier * 1440 + self._times[-1]

    def next(self, after: float, zone: "str | None" = None) -> "int | None":
        """The first slot strictly after `after`, in UTC epoch seconds; None when there is none.

        `zone` is an IANA name; None is the system's. Raises ConductorError for an unknown zone.
        """
        if self.reboot:
            return None
        time_zone = zone_named(zone)
        at = int(after // 1) + 1
        while True:
            start, end, offset, before = time_zone.span(at)
            wall_s = at + offset
            if not self.wildcard:
                # Wall times up to start + before were met ahead of the change of offset. Those that
                # the change skipped are met on entering the span, at its start.
                wall_s = start + before if at == start else max(wall_s, start + before)
            wall = self._wall_from(-(-wall_s // 60))
            if wall is None:
                return None
            slot = max(wall * 60 - offset, start)
            if slot < end:
                return slot
            at = end
            if not self.wildcard:
                # Only a wildcard can match in the hour that a change repeats; a fixed wall time is
                # at most two days from where this span's offset puts it.
                at = max(end, slot - 2 * DAY)

    def previous(self, at: float, zone: "str | None" = None) -> "int | None":
        """The newest slot at or before `at`; the mirror of `next`."""
        if self.reboot:
            return None
        time_zone = zone_named(zone)
        at = int(at // 1)
        while True:
            start, end, offset, before = time_zone.span(at)
            wall = self._wall_until((at + offset) // 60)
            if wall is None:
                return None
            slot = wall * 60 - offset
            if self.wildcard:
                if slot >= start:
                    return slot
                at = start - 1
                continue
            if wall * 60 >= start + before:
                return max(slot, start)
            at = start - 1
            if before <= offset:  # ahead of a repeated hour there may be later wall times than this
                at = min(at, slot + 2 * DAY)

    def is_shifted(self, slot: int, zone: "str | None" = None) -> bool:
        """Whether a slot stands for wall-clock times that the zone skipped just before it."""
        if self.reboot or self.wildcard:
            return False
        start, _, offset, before = zone_named(zone).span(slot)
        if slot != start or offset <= before:
            return False
        wall = self._wall_from((start + before) // 60)
        return wall is not None and wall < (start + offset) // 60


LIST_MARK = "; "  # between the expressions of a list; no expression holds it


class ScheduleList(CronSchedule):
    """Several expressions as one schedule: the slots of all, merged where they coincide."""

    def __init__(self, expressions: "Sequence[CronSchedule]") -> None:
        self._expressions = tuple(expressions)
        self.written = [expression.text for expression in expressions]
        self.text = LIST_MARK.join(self.written)
        self.reboot = False
        self.fields = []
        # When the clock is set back, no fixed time may run twice: with one among them, all wait
        # until the clock is past the newest slot again.
        self.wildcard = all(expression.wildcard for expression in expressions)

    @property
    def expressions(self) -> "Sequence[CronSchedule]":
        return self._expressions

    def next(self, after: float, zone: "str | None" = None) -> "int | None":
        slots = [expression.next(after, zone) for expression in self._expressions]
        return min((slot for slot in slots if slot is not None), default=None)

    def previous(self, at: float, zone: "str | None" = None) -> "int | None":
        slots = [expression.previous(at, zone) for expression in self._expressions]
        return max((slot for slot in slots if slot is not None), default=None)

    def is_shifted(self, slot: int, zone: "str | None" = None) -> bool:
        return any(expression.is_shifted(slot, zone) for expression in self._expressions)


def schedule_of(text: str, name: str = "", recorded: bool = False) -> CronSchedule:
    """The schedule with this `text`: one expression or several. Raises CronSyntaxError."""
    texts = text.split(LIST_MARK)
    if len(texts) == 1:
        return CronSchedule(text, name, recorded)
    return ScheduleList([CronSchedule(part, name, recorded) for part in texts])


_TIMES: "Dict[Tuple[frozenset[int], frozenset[int]], Tuple[int, ...]]" = {}


def _times_of_day(minutes: "frozenset[int]", hours: "frozenset[int]") -> "Tuple[int, ...]":
    """The matching minutes of a day, shared between the schedules that have the same ones."""
    key = (minutes, hours)
    times = _TIMES.get(key)
    if times is None:
        times = tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes))
        _TIMES[key] = times
    return times


def describe(text: "str | Sequence[str]", name: str = "") -> str:
    """The schedule in plain English, e.g. 'at 02:30 on Mondays'. Raises CronSyntaxError.

    Of a list, each expression is described. Schedules with the same words match the same times of
    the same days. They may still differ when the clocks change: whether a schedule starts with `*`
    is not said.
    """
    texts = text.split(LIST_MARK) if isinstance(text, str) else text
    if len(texts) != 1:
        return LIST_MARK.join(describe(part, name) for part in texts)
    schedule = CronSchedule(texts[0], name)
    if schedule.reboot:
        return "once after each boot"
    minute, hour, dom, month, dow = schedule.fields
    times = _describe_time(sorted(minute.values), sorted(hour.values))
    days = _describe_days(dom, dow, sorted(month.values), schedule.both_days)
    if days == "every day" and "every" in times:  # 'every 5 minutes' says it
        return times
    return "%s %s" % (times, days.replace("every day ", "") if "every" in times else days)


def _describe_time(minutes: "List[int]", hours: "List[int]") -> str:
    if len(minutes) * len(hours) <= 6:
        return "at " + join_words(["%02d:%02d" % (h, m) for h in hours for m in minutes])
    steady = _steady_minutes(minutes)
    if len(hours) == 24:
        if minutes == [0]:
            return "every hour on the hour"
        return steady or _minute_list(minutes) + " of every hour"
    spans = ["from %02d:%02d to %02d:%02d" % (first, minutes[0], last, minutes[-1])
             for first, last in _ranges(hours)]
    if steady and len(spans) <= 3:
        return "%s %s" % (steady, join_words(spans))
    if minutes == [0] and _even_step(hours, 24):
        return "every %d hours" % hours[1]
    span = " from %02d:%02d to %02d:%02d" % (hours[0], minutes[0], hours[-1], minutes[-1])
    if len(minutes) == 1:
        step = _constant_step(hours)
        if step == 1:
            return "every hour" + span
        if step > 2 or step == 2 and not hours[0]:
            return "every %d hours%s" % (step, span)
    noun = "hour " if len(hours) == 1 else "hours "
    texts = _stepped(hours, 0, 23, "hour", str) or noun + join_words(_range_texts(hours, str))
    return "%s of %s" % (steady or _minute_list(minutes), texts)


def _steady_minutes(minutes: "List[int]") -> str:
    """'every 5 minutes' and the like, or '' for minutes that are no even steps through the hour."""
    if len(minutes) == 60:
        return "every minute"
    step = _even_step(minutes, 60)
    if not step:
        return ""
    return "every %d minutes" % step


def _minute_list(minutes: "List[int]") -> str:
    text = _stepped(minutes, 0, 59, "minute", str)
    if text:
        return "at " + text
    noun = "minute" if len(minutes) == 1 else "minutes"
    return "at %s %s" % (noun, join_words(_range_texts(minutes, str)))


def _is_consecutive(numbers: "List[int]") -> bool:
    return numbers[-1] - numbers[0] + 1 == len(numbers)


def _constant_step(numbers: "Sequence[int]") -> int:
    """The step between numbers that are evenly spaced, of which there are at least two; else 0."""
    steps = {second - first for first, second in zip(numbers, numbers[1:])}
    return steps.pop() if len(steps) == 1 else 0


MANY = 6  # evenly spaced values are listed up to here, and told by their step from here on


def _stepped(numbers: "Sequence[int]", low: int, high: int, noun: str,
             show: "Callable[[int], str]") -> str:
    """'every odd hour', 'every 3rd minute from 2 to 59', or '' for few or uneven numbers."""
    step = _constant_step(numbers)
    if step < 2 or len(numbers) < MANY:
        return ""
    if step == 2 and numbers[0] - low < 2 and high - numbers[-1] < 2:
        return "every %s %s" % ("odd" if numbers[0] % 2 else "even", noun)
    return "every %s %s from %s to %s" % (
        _ordinal(step), noun, show(numbers[0]), show(numbers[-1]))


def _describe_days(dom: _FieldParser, dow: _FieldParser, months: "List[int]",
                   both_days: bool) -> str:
    """The days of a schedule with their months: 'on the 1st of June and on Mondays in June'."""
    by_month = _describe_month_days(dom, _longest_month(months))
    by_week = _describe_weekdays(dow)
    both_days |= not by_month and len(dom.values) < 31  # no such month has the days: as 31 in April
    if not both_days and not (by_month and by_week):
        by_month = by_week = ""  # one of the two is every day
    within = _months_within(months)
    if not by_month and not by_week:
        return "every day" + within
    if not by_week and len(months) <= 3 and re.match(r"the \d+\w\w\Z", by_month):
        return "on " + join_words([
            "%d %s" % (day, MONTHS[month - 1]) for day in dom.values for month in months
            if day <= _longest_month([month])])
    of_month, week_within = "of the month", within
    if len(months) == 1:  # its name stands in place of 'the month', and need not come again
        of_month, within = "of " + MONTHS[months[0] - 1], ""
        if not dow.values:
            by_week, week_within = by_week.replace("of the month", of_month), ""
    by_month = "on %s %s" % (by_month, of_month) if by_month else ""
    is_range = re.match(r"\w+ to \w+\Z", by_week)  # Monday to Friday
    if not by_week:
        return by_month + within
    if not by_month:
        return (by_week if is_range else "on " + by_week) + week_within
    if both_days:
        return "on %s %s %s%s" % (by_week, _falls(dow), by_month, within)
    text = "%s and %s %s" % (by_month, "from" if is_range else "on", by_week)
    if len(months) > 1 and within:
        text += ","  # the months are those of both
    return text + week_within


def _falls(dow: _FieldParser) -> str:
    if dow.values:
        return "that fall"
    return "if it falls" if len(dow.nth) == 1 else "if they fall"


def _months_within(months: "List[int]") -> str:
    """' in June and July', ' from November to February', or '' for the whole year."""
    if len(months) == 12:
        return ""
    texts = _circular_texts(months, 1, 12, lambda month: MONTHS[month - 1])
    if len(texts) == 1 and len(months) > 1:
        return " from " + texts[0]
    return " in " + join_words(texts)


def _describe_month_days(dom: _FieldParser, longest: int) -> str:
    """'the 1st and last day' of months of up to `longest` days; '' if it restricts or has none."""
    days: "List[str]" = []
    numbers = [day for day in sorted(dom.values) if day <= longest]
    if len(dom.values) == 31:
        return ""
    if numbers:
        days = _range_texts(numbers, _ordinal)
    anchors = [_anchor_text(day, is_nearest) for day, is_nearest in sorted(
        dom.anchors, key=lambda anchor: (anchor[0] <= 0, anchor)) if -longest < day <= longest]
    stepped = _stepped(numbers, 1, longest, "day", lambda day: "the " + _ordinal(day))
    if not numbers and not anchors:
        return ""
    if not stepped:
        return "the " + join_words(days + anchors)
    if not stepped.startswith("every %s" % _ordinal(_constant_step(numbers))):
        stepped = stepped[len("every "):] + "s"  # odd days
    return join_words([stepped] + ["the " + anchor for anchor in anchors])


def _anchor_text(day: int, is_nearest: bool) -> str:
    """The words for L, L-3, 15W, LW and L-3W."""
    if day > 0:
        text = _ordinal(day)
    elif day == -1:
        text = "day before the last"
    elif day:
        text = "%s day before the last" % _ordinal(-day)
    elif is_nearest:
        return "last working day"
    else:
        return "last day"
    return "working day nearest the " + text if is_nearest else text


def _describe_weekdays(dow: _FieldParser) -> str:
    """'Mondays and the last Friday of the month', or '' for a field that does not restrict them."""
    if len(dow.values) == 7:
        return ""
    weekdays: "List[str]" = []
    if dow.values:
        weekdays = _weekday_texts(sorted(day or 7 for day in dow.values))
    nths = []
    for weekday, nth in sorted(dow.nth):
        which = "last" if nth < 0 else _ordinal(nth)
        if weekday not in dow.values:
            nths.append("%s %s" % (which, WEEKDAYS[weekday]))
    if nths:
        weekdays.append("the %s of the month" % join_words(nths))
    return join_words(weekdays)


def schedule_advice(schedule: CronSchedule, name: str = "") -> "List[Tuple[str, str]]":
    """What is legal in a schedule, but seldom meant: (what it comes to, what to write instead)."""
    advice = []
    for expression in schedule.expressions:
        advice += [large_step_advice(expression, name), every_minute_advice(expression),
                   either_day_advice(expression, name)]
    return [(text, hint) for text, hint in advice if text]


def every_minute_advice(schedule: CronSchedule) -> "Tuple[str, str]":
    """What `* 3 * * *` comes to, where 03:00 was meant; else '' twice."""
    fields = [field.text for field in schedule.fields]
    if fields[:1] != ["*"] or not re.match(r"[0-9]+(,[0-9]+)*\Z", fields[1]):
        return "", ""
    hours = sorted(schedule.fields[1].values)
    instead = "write 0 in minute"
    if len(schedule.text) <= LONGEST_REWRITTEN:
        instead = "'%s'" % " ".join(["0"] + fields[1:])
    return ("the task runs " + _describe_time(list(range(60)), hours),
            "for a run %s only: %s" % (_describe_time([0], hours), instead))


def either_day_advice(schedule: CronSchedule, name: str = "") -> "Tuple[str, str]":
    """What two day fields come to of which either is enough, as in `1-7 * 1`; else '' twice."""
    if schedule.reboot or schedule.both_days:
        return "", ""
    minute, hour, dom, month, dow = schedule.fields
    is_any_dom, is_any_dow = len(dom.values) == 31, len(dow.values) == 7
    if is_any_dom and is_any_dow:
        return "", ""
    text = "cron reads day-of-month '%s' and day-of-week '%s' as 'or': the task runs %s" % (
        cut_text(dom.text, LONGEST_SHOWN), cut_text(dow.text, LONGEST_SHOWN),
        describe(schedule.text, name))
    times = "%s %s" % (minute.text, hour.text)

    def rewritten(days: str, weekdays: str) -> str:
        expression = "%s %s %s %s" % (times, days, month.text, weekdays)
        if len(expression) <= LONGEST_REWRITTEN:
            return "'%s'" % expression
        return "write " + " and ".join(
            "%s in %s" % (instead, field.field.name)
            for field, instead in ((dom, days), (dow, weekdays)) if instead != field.text)

    by_month = _describe_month_days(dom, _longest_month(month.values))
    if not by_month or (dow.nth and not dow.values):
        return text, "for %s only: %s" % (_describe_weekdays(dow), rewritten("*", dow.text))
    if is_any_dow:
        return text, "for %s of the month only: %s" % (
            by_month, rewritten(dom.text, "*"))
    weekdays = _nth_weekdays(dom, dow)
    if weekdays:
        only = _describe_weekdays(_FieldParser(dow.field, weekdays, name, False).parse())
        return text, "for %s only: %s" % (only, rewritten("*", weekdays))
    hint = "for both at once: %s, and begin the command with " % rewritten(dom.text, "*")
    if dow.nth:
        return text, hint + "a test of the weekday (date +%u)"
    days = "|".join(str(day or 7) for day in sorted(dow.values))
    if len(dow.values) == 1:
        return text, hint + "[ $(date +%%u) = %s ] || exit 0;" % days
    return text, hint + "case $(date +%%u) in %s) ;; *) exit 0;; esac;" % days


def _nth_weekdays(dom: _FieldParser, dow: _FieldParser) -> str:
    """'1#1' for the 1st to 7th and Mondays, '5L' for the last week and Fridays; '' for others."""
    week = _week_of_month(dom)
    is_last_day = dom.anchors == {(0, False)} and not dom.values
    if is_last_day or dom.values == set(range(25, 32)) and not dom.anchors:
        suffix = "L"
    elif week:
        suffix = "#%d" % week
    else:
        return ""
    if dow.nth:
        return ""
    days = [str(day) for day in sorted(dow.values)]
    if not dow.text[0].isdigit():
        days = [DAY_NAMES[day] for day in sorted(dow.values)]
    return ",".join(day + suffix for day in days)


def large_step_advice(schedule: CronSchedule, name: str = "") -> "Tuple[str, str]":
    """What steps past the end of a field come to, and what to write instead; else '' twice."""
    items = ["%s '%s'" % (field.field.name, cut_text(item, LONGEST_SHOWN))
             for field in schedule.fields for item in field.large_steps]
    if not items:
        return "", ""
    verb = "steps" if len(items) == 1 else "step"
    text = "%s %s past the end of the field; as cron reads it, the task runs %s" % (
        some_words(items), verb, describe(schedule.text, name))
    return text, _large_step_hint(schedule, name)


def _large_step_hint(schedule: CronSchedule, name: str) -> str:
    parts = []
    for field in schedule.fields:
        items = field.text.split(",")
        parts.append(",".join(
            field.first_of(item) if item in field.large_steps else item for item in items))
    plain = CronSchedule(" ".join(parts), name)
    dom, dow = schedule.fields[2], schedule.fields[4]
    if plain.both_days != schedule.both_days:
        # The '*' that had both fields match went with its step: one that has all days may have it.
        parts[2::2] = ["*" if len(days.values) == days.field.size else part
                       for days, part in zip(schedule.fields[2::2], parts[2::2])]
        plain = CronSchedule(" ".join(parts), name)
    if len(dom.values) < 31 and len(dow.values) < 7 and (dom.large_steps or dow.large_steps):
        # Where both day fields must match, only one week of the month can be said in another way.
        week = _week_of_month(dom)
        if schedule.both_days and week and dow.values and not dow.nth:
            parts[2] = "*"
            parts[4] = ",".join("%s#%d" % (DAY_NAMES[day], week) for day in sorted(dow.values))
            plain = CronSchedule(" ".join(parts), name)
        elif plain.both_days != schedule.both_days or dom.large_steps:
            return "for the second Monday of the month write 'MON#2' in day-of-week"
    hint = WRITE % plain.text
    if len(plain.text) > LONGEST_REWRITTEN:
        hint = "write the first value without its step"
    if schedule.wildcard and not plain.wildcard:
        hint += ", which keeps its time of day when daylight saving begins and ends"
    return hint


def _week_of_month(dom: _FieldParser) -> int:
    """Which week of the month a field names, 1 for the 1st to the 7th; 0 for other days."""
    if dom.anchors:
        return 0
    for week in (1, 2, 3, 4):
        if dom.values == set(range(7 * week - 6, 7 * week + 1)):
            return week
    return 0


def _even_step(numbers: "List[int]", size: int) -> int:
    """The step of numbers that are spread evenly from 0 over a circle of `size`, else 0."""
    if len(numbers) < 2 or numbers[0]:
        return 0
    step = numbers[1]
    if size % step or numbers != list(range(0, size, step)):
        return 0
    return step


def _ranges(numbers: "Sequence[int]") -> "Iterator[Tuple[int, int]]":
    """First and last of each stretch of consecutive numbers."""
    start = previous = numbers[0]
    for number in list(numbers[1:]) + [-1]:
        if number != previous + 1:
            yield start, previous
            start = number
        previous = number


def _range_texts(numbers: "List[int]", show: "Callable[[int], str]") -> "List[str]":
    texts: "List[str]" = []
    for first, last in _ranges(numbers):
        if last - first >= 2:
            texts.append("%s to %s" % (show(first), show(last)))
        else:
            texts += [show(number) for number in range(first, last + 1)]
    return texts


def _circular_texts(numbers: "List[int]", low: int, high: int,
                    show: "Callable[[int], str]") -> "List[str]":
    """As `_range_texts`; a single stretch may go round the end: 'November to February'."""
    gap = sorted(set(range(low, high + 1)) - set(numbers))
    if len(numbers) > 2 and numbers[0] == low and numbers[-1] == high and _is_consecutive(gap):
        return ["%s to %s" % (show(gap[-1] + 1), show(gap[0] - 1))]
    return _range_texts(numbers, show)


def _weekday_texts(days: "List[int]") -> "List[str]":
    """Weekdays 1 (Monday) to 7 (Sunday) as words."""
    texts = _circular_texts(days, 1, 7, lambda day: WEEKDAYS[day % 7])
    return [text if " to " in text else text + "s" for text in texts]


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    if number in (11, 12, 13):
        suffix = "th"
    return "%d%s" % (number, suffix)


# -- days off (`not_on`) and times of day (`only_between`)

DAYS_HINT = ("use 2026-12-25, 12-25, 2026-12-24..2027-01-02, 12-24..01-02, sunday, or a file such"
             " as holidays.ics")
SEARCH_DAYS = 20 * 366  # so far, a slot that is not on a day off is looked for


def day_number(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01. Raises ValueError for what is no date."""
    return datetime.date(year, month, day).toordinal() - EPOCH_ORDINAL


class DaysOff(Value):
    """What an entry of `not_on`, or of a file, stands for; `words` name it.

    `in_year` gives the stretches (first day, last day) that begin in a year or reach into it, maybe
    others as well.
    """

    words: str = ""
    in_year: "Callable[[int], Iterable[Tuple[int, int]]]" = lambda year: ()
    last: "int | None" = None  # no later day is one of these; None: they never end
    foreign_zone: str = ""  # that of its times, where only the file knows it: see `_IcsEvent`


def _weekday_off(words: str, weekday: int) -> DaysOff:
    def in_year(year: int) -> "Iterator[Tuple[int, int]]":
        first = day_number(year, 1, 1)
        first += (weekday - first - 4) % 7  # 1970-01-01 was a Thursday
        for day in range(first, first + 366, 7):
            yield day, day

    return DaysOff(words=words, in_year=in_year)


def _yearly_off(words: str, begins: "List[int]", ends: "List[int]") -> DaysOff:
    """The days from one (month, day) to another of every year, maybe beyond its end."""
    def in_year(year: int) -> "Iterator[Tuple[int, int]]":
        for start in (year - 1, year):
            end = start + (ends < begins)
            # Where there is no February 29th, it ends before March and begins with it.
            first, last = day_number(start, 3, 1), day_number(end, 2, 28)
            if _is_date(start, *begins):
                first = day_number(start, *begins)
            if _is_date(end, *ends):
                last = day_number(end, *ends)
            yield first, last

    return DaysOff(words=words, in_year=in_year)


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def date_of(day: int) -> "datetime.date":
    return datetime.date.fromordinal(day + EPOCH_ORDINAL)


class Calendar:
    """The days off of a task in its time zone.

    `files` has each file of dates with its last day, None where its dates have no end, and
    `foreign_zones` those with times of a zone that only they know, with its name.
    """

    def __init__(self, parts: "Sequence[DaysOff]", zone: "str | None",
                 files: "Dict[str, int | None]", foreign_zones: "Dict[str, str]") -> None:
        self.zone = zone_named(zone)
        self.files = files
        self.foreign_zones = foreign_zones
        self._parts = parts
        self._years: "Dict[int, Dict[int, str]]" = {}  # of each year, the days off and their words
        # The days off found last, up to a day and from a day on: thousands of tasks ask for one.
        self._before = self._after = (0, -1)

    def words_on(self, day: int) -> str:
        """The entry that has this day, or ''."""
        year = date_of(day).year
        if year not in self._years:
            low, high = day_number(year, 1, 1), day_number(year, 12, 31)
            days = self._years[year] = {}
            for part in self._parts:
                for first, last in part.in_year(year):
                    for number in range(max(first, low), min(last, high) + 1):
                        days.setdefault(number, part.words)
        return self._years[year].get(day, "")

    def day_of(self, at: float) -> int:
        """The day that the clocks of the zone show."""
        return int(at + self.zone.span(int(at))[2]) // DAY

    def reason(self, at: float) -> str:
        """Why there are no runs at this time, or ''."""
        day = self.day_of(at)
        words = self.words_on(day)
        return words and "%s is in not_on: %s" % (date_of(day).isoformat(), words)

    def end_of_day(self, at: int) -> int:
        """When the day of this time will be over."""
        return max(instant_of((self.day_of(at) + 1) * DAY, self.zone), at + 1)

    def start_of_days_off(self, at: int) -> int:
        """When the days off around this time, which is within them, began."""
        day = self.day_of(at)
        first, last = self._before
        if not first <= day <= last:
            first = last = day
            while self.words_on(first - 1) and last - first < SEARCH_DAYS:
                first -= 1
            self._before = first, last
        return min(instant_of(first * DAY, self.zone), at)

    def end_of_days_off(self, at: int) -> int:
        """When the days off around this time will be over."""
        day = self.day_of(at)
        first, last = self._after
        if not first <= day <= last:
            first = last = day
            while self.words_on(last + 1) and last - first < SEARCH_DAYS:
                last += 1
            self._after = first, last
        return max(instant_of((last + 1) * DAY, self.zone), at + 1)


def days_off_of(entry: str) -> "DaysOff | None":
    """What an entry other than a file stands for; None for what may be a file.

    Raises ConductorError.
    """
    text = entry.strip()
    weekday = FIELDS[4].numbers.get(text.upper())
    if weekday is not None:
        return _weekday_off(text, weekday)
    if not re.match(r"[\d./-]+\Z", text):
        ends = re.split(r"-|\.\.", text.upper())
        if len(ends) == 2 and all(end in FIELDS[4].numbers for end in ends):
            raise ConductorError("'%s' is a range of weekdays" % text,
                                 'list each of them, such as "sat", "sun"')
        if "/" in text or "." in text:
            return None
        hint = DAYS_HINT
        for name in difflib.get_close_matches(text.capitalize()[:60], WEEKDAYS, 1, 0.6):
            hint = DID_YOU_MEAN % name.lower()
        raise ConductorError("'%s' is neither a date nor a weekday" % cut_text(text, 60), hint)
    dates = []
    for part in text.split(".."):
        match = re.match(r"(?:([1-9]\d{3})-)?(\d\d)-(\d\d)\Z", part)
        numbers = [int(number or 0) for number in match.groups()] if match else [0, 0, 0]
        if not _is_date(numbers[0] or 2000, *numbers[1:]):
            raise ConductorError("'%s' is not a date" % cut_text(part, 60), DAYS_HINT)
        dates.append(numbers)
    first, last = dates[0], dates[-1]
    if len(dates) > 2 or bool(first[0]) != bool(last[0]):
        raise ConductorError("'%s' is not a range of dates" % cut_text(text, 60), DAYS_HINT)
    if first[0]:
        if last < first:
            raise ConductorError("'%s' ends before it begins" % text)
        span = day_number(*first), day_number(*last)
        return DaysOff(words=text, in_year=lambda year: [span], last=span[1])
    return _yearly_off(text, first[1:], last[1:])


def days_off_in(text: str, name: str, zone: "Zone") -> "List[DaysOff]":
    """What a file of dates stands for: one a line, or an iCalendar file. Raises ConductorError."""
    if name.lower().endswith(".ics"):
        return events_off(text, zone)
    parts = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        entry, _, comment = line.partition("#")
        if not entry.strip():
            continue
        try:
            part = days_off_of(entry)
        except ConductorError as error:
            raise ConductorError("line %d: %s" % (number, error.message), error.hint)
        if part is None:
            raise ConductorError("line %d: '%s' is not a date" % (
                number, cut_text(entry.strip(), 60)), "a remark goes behind #")
        words = cut_text(comment.strip(), 60) or part.words
        parts.append(part.replace(words=words))
    return parts


# RFC 5545, as far as calendars of holidays go.
_ICS_LINE = r"([A-Za-z0-9-]+)((?:;[^=:;]+=(?:\"[^\"]*\"|[^\":;])*)*):(.*)\Z"
_ICS_RULE_KEYS = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "BYMONTH", "BYMONTHDAY", "BYDAY", "WKST")
_ICS_DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_ICS_TIME = r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?\Z"
_ICS_DURATION = r"\+?P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?\Z"
LONGEST_EVENT = 366  # days of an event that comes every year


def _ics_text(value: str) -> str:
    text = re.sub(r"\\[nN]", " ", value)
    return " ".join(re.sub(r"\\(.)", r"\1", text).split())


class _IcsEvent:
    """A VEVENT as it is written: name -> [(number of the line, parameters, value)].

    A zone that is no IANA name, such as Outlook's "W. Europe Standard Time", has to be one that a
    VTIMEZONE defines. Its times are taken for those of the task's zone, not converted: a holiday
    from midnight to midnight there is that day here.
    """

    def __init__(self, number: int, zone: Zone, defined_zones: "Collection[str]") -> None:
        self.number = number
        self.zone = zone  # of the days
        self.defined_zones = defined_zones
        self.foreign_zone = ""
        self.lines: "Dict[str, List[Tuple[int, Dict[str, str], str]]]" = {}

    def add(self, number: int, name: str, parameters: str, value: str) -> None:
        pairs = re.findall(r";([^=:;]+)=((?:\"[^\"]*\"|[^\":;])*)", parameters)
        self.lines.setdefault(name, []).append(
            (number, {key.upper(): text.strip('"') for key, text in pairs}, value.strip()))

    def text(self, name: str) -> str:
        lines = self.lines.get(name)
        if not lines:
            return ""
        return _ics_text(lines[0][2])

    def times(self, name: str) -> "List[Tuple[int, int | None]]":
        """(day, instant) of each time of a property; a date has no instant."""
        times = []
        for number, parameters, values in self.lines.get(name, ()):
            for value in values.split(","):
                try:
                    times.append(self._time(value.strip(), parameters.get("TZID")))
                except (ValueError, ConductorError) as error:
                    raise ConductorError("line %d: %s:%s: %s" % (
                        number, name, cut_text(value, 40), error))
        return times

    def only_time(self, name: str) -> "Tuple[int, int | None]":
        """(day, instant) of a property that there is, and that has one time. Raises ConductorError.
        """
        first, *others = self.times(name)
        if others:
            raise ConductorError("line %d: %s has several times" % (self.lines[name][0][0], name))
        return first

    def _time(self, value: str, zone_name: "str | None") -> "Tuple[int, int | None]":
        match = re.match(_ICS_TIME, value)
        if not match:
            raise ConductorError("this is not a date or time")
        day = day_number(*map(int, match.groups()[:3]))
        if match.group(4) is None:
            return day, None
        hour, minute, second = map(int, match.groups()[3:6])
        at = day * DAY + hour * HOUR + minute * MINUTE + second
        if not match.group(7):
            at = instant_of(at, self._zone_of_times(zone_name))
        return self.day_of(at), at

    def _zone_of_times(self, name: "str | None") -> Zone:
        if not name:
            return self.zone
        try:
            return zone_named(name)
        except ConductorError:
            if _ics_text(name) not in self.defined_zones:
                raise
        self.foreign_zone = _ics_text(name)
        return self.zone

    def day_of(self, at: int) -> int:
        return (at + self.zone.span(at)[2]) // DAY

    def days_off(self, moved: "Sequence[int]") -> "DaysOff | None":
        """The days of the event; `moved` are those for which other events stand."""
        if self.text("STATUS").upper() == "CANCELLED":
            return None
        for name in ("RRULE", "DTSTART", "DTEND", "DURATION"):
            if len(self.lines.get(name, ())) > 1:
                raise ConductorError("line %d: a second %s" % (self.lines[name][1][0], name))
        if not self.lines.get("DTSTART"):
            raise ConductorError("line %d: the event has no DTSTART" % self.number)
        start, at = self.only_time("DTSTART")
        length = self._length(start, at)
        starts = [start] + [day for day, _ in self.times("RDATE")]
        excluded = {day for day, _ in self.times("EXDATE")}.union(moved)
        by_rule, until = self._rule(start, length)

        def in_year(year: int) -> "Iterator[Tuple[int, int]]":
            for day in starts + by_rule(year - 1) + by_rule(year):
                if day not in excluded:
                    yield day, day + length - 1

        last = None
        if until is not None:
            last = max(until, *starts) + length - 1
        words = cut_text(self.text("SUMMARY"), 60) or "event of line %d" % self.number
        return DaysOff(words=words, in_year=in_year, last=last, foreign_zone=self.foreign_zone)

    def _length(self, start: int, at: "int | None") -> int:
        """How many days it touches. The end is exclusive; without one, it is a single day."""
        end = start
        if self.lines.get("DTEND"):
            end_day, end_at = self.only_time("DTEND")
            end = end_day - 1 if end_at is None else self.day_of(end_at - 1)
        elif self.lines.get("DURATION"):
            (number, _, value), = self.lines["DURATION"]
            match = re.match(_ICS_DURATION, value)
            if not match:
                raise ConductorError("line %d: DURATION:%s is not a duration" % (
                    number, cut_text(value, 40)))
            # Python converts no more than 4,300 digits.
            numbers = [int((group or "").lstrip("0")[:15] or 0) for group in match.groups()]
            took_s = sum(count * unit for count, unit in zip(
                numbers, (7 * DAY, DAY, HOUR, MINUTE, 1)))
            if took_s > SEARCH_DAYS * DAY:  # the zone has no offset for the end of some
                raise ConductorError("line %d: DURATION:%s is too long" % (
                    number, cut_text(value, 40)))
            end = start + -(-took_s // DAY) - 1 if at is None else self.day_of(at + took_s - 1)
        return max(end - start, 0) + 1

    def _rule(self, first: int,
              length: int) -> "Tuple[Callable[[int], List[int]], int | None]":
        """When it begins in a year by its RRULE, and the last time that it does so."""
        if not self.lines.get("RRULE"):
            return lambda year: [], first
        number, _, text = self.lines["RRULE"][0]
        try:
            if length > LONGEST_EVENT:
                raise ConductorError("the event is longer than a year")
            rule = _yearly_rule(text)
            interval, = _numbers(rule.get("INTERVAL", "1"), 1, 1000)
            by_rule = _days_by_rule(rule, first, interval)
            until = None
            if "UNTIL" in rule:
                until, _ = self._time(rule["UNTIL"], None)
                if self.foreign_zone and rule["UNTIL"].endswith("Z"):
                    until += 1  # by the clocks of that zone, it may be the next day
            elif "COUNT" in rule:
                count, = _numbers(rule["COUNT"], 1, 10000)
                until = _last_of(by_rule, first, interval, count)
        except (ValueError, ConductorError) as error:
            raise ConductorError("line %d: RRULE:%s: %s" % (number, cut_text(text, 60), error),
                                 "only yearly rules are read; list the other dates instead")
        return lambda year: [day for day in by_rule(year) if until is None or day <= until], until


def _yearly_rule(text: str) -> "Dict[str, str]":
    pairs = [part.partition("=") for part in text.upper().split(";") if part]
    rule = {key: value for key, _, value in pairs}
    for key in rule:
        if key not in _ICS_RULE_KEYS:
            raise ConductorError("%s is not understood" % key)
    if rule.get("FREQ") != "YEARLY":
        raise ConductorError("FREQ=%s is not understood" % rule.get("FREQ"))
    if "BYDAY" in rule and "BYMONTH" not in rule and "BYMONTHDAY" not in rule:
        raise ConductorError("BYDAY without BYMONTH is not understood")
    return rule


def _days_by_rule(rule: "Dict[str, str]", first: int,
                  interval: int) -> "Callable[[int], List[int]]":
    """The days of a year, in order, on which an event begins that begins for the first time then.
    """
    begun = date_of(first)
    months = _numbers(rule.get("BYMONTH"), 1, 12)
    dates = _numbers(rule.get("BYMONTHDAY"), -31, 31)
    weekdays = [_nth_weekday(part) for part in rule.get("BYDAY", "").split(",") if part]
    if not months:
        months = tuple(range(1, 13)) if dates else (begun.month,)
    if not dates and not weekdays:
        dates = (begun.day,)

    def has_day(eve: int, day: int, length: int) -> bool:
        if dates and day not in dates and day - length - 1 not in dates:
            return False
        weekday = (eve + day + 4) % 7
        nths = (0, (day + 6) // 7, -1 - (length - day) // 7)
        return not weekdays or any(
            weekday == wanted and nth in nths for nth, wanted in weekdays)

    def by_rule(year: int) -> "List[int]":
        if year < begun.year or (year - begun.year) % interval:
            return []
        days = []
        for month in sorted(set(months)):
            eve, length, _ = _month_shape(year * 12 + month - 1)
            days += [eve + day for day in range(1, length + 1)
                     if has_day(eve, day, length) and eve + day >= first]
        return days

    return by_rule


def _last_of(by_rule: "Callable[[int], List[int]]", first: int, interval: int, count: int) -> int:
    """The day on which a rule begins for the last time if it does so `count` times."""
    days = [first]
    begun = date_of(first).year
    for year in range(begun, min(begun + 400 * interval, datetime.MAXYEAR - 1)):
        if len(days) >= count:
            break
        days += [day for day in by_rule(year) if day > first]
    return days[:count][-1]


def _numbers(text: "str | None", low: int, high: int) -> "Tuple[int, ...]":
    """The numbers of a list within the bounds, none of them 0. Raises ValueError."""
    if text is None:
        return ()
    numbers = tuple(map(int, text.split(",")))
    for number in numbers:
        if not low <= number <= high or not number:
            raise ValueError("%d is out of range" % number)
    return numbers


def _nth_weekday(text: str) -> "Tuple[int, int]":
    """'4TH' as (4, 4), 'SU' as (0, 0). Raises ConductorError."""
    number, name = text[:-2], text[-2:]
    if name not in _ICS_DAYS or not re.match(r"([+-]?[1-5])?\Z", number):
        raise ConductorError("BYDAY=%s is not understood" % cut_text(text, 20))
    return int(number or 0), _ICS_DAYS.index(name)


def events_off(text: str, zone: Zone) -> "List[DaysOff]":
    """The days of the events of an iCalendar file. Raises ConductorError.

    What cannot be understood of an event is an error: a holiday must not get lost.
    """
    events: "List[_IcsEvent]" = []
    defined_zones: "Set[str]" = set()
    stack: "List[str]" = []
    if text.lstrip("\ufeff \t\r\n")[:15].upper() != "BEGIN:VCALENDAR":
        raise ConductorError("it does not begin with BEGIN:VCALENDAR")
    for number, line in _unfolded(text.lstrip("\ufeff")):
        match = re.match(_ICS_LINE, line)
        if not match:
            raise ConductorError("line %d: '%s' is not a line of a calendar" % (
                number, cut_text(line, 40)))
        name, parameters, value = match.group(1).upper(), match.group(2), match.group(3)
        if name == "BEGIN":
            stack.append(value.strip().upper())
            if stack[-1] == "VEVENT":
                events.append(_IcsEvent(number, zone, defined_zones))
        elif name == "END":
            if not stack or stack.pop() != value.strip().upper():
                raise ConductorError("line %d: END:%s does not fit" % (number, cut_text(value, 40)))
        elif stack[-1:] == ["VEVENT"]:
            events[-1].add(number, name, parameters, value)
        elif stack[-1:] == ["VTIMEZONE"] and name == "TZID":
            defined_zones.add(_ics_text(value.strip().strip('"')))
    if stack:
        raise ConductorError("the file is cut off: END:%s is missing" % stack[-1])
    moved: "Dict[str, List[int]]" = {}  # by UID, the days for which an event of their own stands
    for event in events:
        for number, parameters, _ in event.lines.get("RECURRENCE-ID", ()):
            if "RANGE" in parameters:
                raise ConductorError("line %d: RECURRENCE-ID with RANGE is not understood" % number)
            day, _at = event.only_time("RECURRENCE-ID")
            moved.setdefault(event.text("UID"), []).append(day)
    parts = []
    for event in events:
        days = () if "RECURRENCE-ID" in event.lines else moved.get(event.text("UID"), ())
        part = event.days_off(days)
        if part is not None:
            parts.append(part)
    return list(parts)


def _unfolded(text: str) -> "List[Tuple[int, str]]":
    """The lines and their numbers: one that begins with a blank continues the one before."""
    lines: "List[Tuple[int, str]]" = []
    for number, line in enumerate(re.split("\r\n|\n|\r", text), 1):
        if line[:1] in (" ", "\t") and lines:
            lines[-1] = lines[-1][0], lines[-1][1] + line[1:]
        elif line.strip():
            lines.append((number, line))
    return lines


class Window:
    """The times of day at which a task may start (`only_between`), in its time zone.

    '22:00-06:00' begins at 22:00 and is over at 06:00; a comma separates several. Raises
    ConductorError.
    """

    def __init__(self, text: str, zone: "str | None") -> None:
        self.text = " ".join(text.split())
        self.zone = zone_named(zone)
        self._spans: "List[Tuple[int, int]]" = []  # seconds since midnight
        for part in self.text.split(","):
            match = re.match(r" ?(\d?\d):(\d\d) ?- ?(\d?\d):(\d\d) ?\Z", part)
            first = last = 0
            if match:
                hour, minute, end_hour, end_minute = map(int, match.groups())
                first, last = hour * HOUR + minute * MINUTE, end_hour * HOUR + end_minute * MINUTE
                if max(minute, end_minute) >= 60 or hour >= 24 or last > DAY:
                    match = None
            if not match:
                raise ConductorError("'%s' is not a range of times" % cut_text(part, 40),
                                     'use "22:00-06:00", or several with commas')
            if first == last % DAY:
                raise ConductorError("'%s' starts and ends at the same time" % part,
                                     "for the whole day, omit only_between")
            self._spans.append((first, last))

    def is_open(self, at: float) -> bool:
        """Whether a run may start at this time."""
        wall = (at + self.zone.span(int(at))[2]) % DAY
        for first, last in self._spans:
            if first <= wall < last or first > last and (wall >= first or wall < last):
                return True
        return False

    def opening(self, at: float) -> float:
        """The first time from `at` on when a run may start."""
        while not self.is_open(at):
            second = int(at)
            _, end, offset, _ = self.zone.span(second)
            wait_s = min((first - second - offset) % DAY for first, _ in self._spans)
            at = min(second + wait_s, end)  # a change of the offset may skip the time
        return at

    def words(self) -> str:
        return "only_between %s" % self.text


# == Configuration rules ==

NAME_LIMIT = 100       # a name becomes a file name with a suffix
LONGEST_S = 10 * 366 * DAY
LONGEST_RETENTION_DAYS = 36500

# What a value may be, in words of JSON Schema: `fits` goes by it, and so do editors (the command
# beside this file, schema). Each pattern is anchored at both ends, and means the same to Python's
# `re.fullmatch` and to ECMA-262. Their \s differs in a few characters, hence _BLANK.
_BLANK = r"\x00-\x20\x7f-\xa0\s\ufeff"
TEXT: "Document" = {"type": "string", "pattern": r"^[^\x00]*$"}
FILLED: "Document" = {"type": "string", "pattern": r"^[^\x00]*[^%s][^\x00]*$" % _BLANK}
FLAG: "Document" = {"type": "boolean"}
NAME: "Document" = {
    "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$", "maxLength": NAME_LIMIT}
NAMES: "Document" = {"type": "array", "items": NAME}
TEXTS: "Document" = {"anyOf": [FILLED, {"type": "array", "minItems": 1, "items": FILLED}]}
COMMAND: "Document" = {"anyOf": [
    FILLED, {"type": "array", "minItems": 1, "prefixItems": [FILLED], "items": TEXT}]}
# Words in which the names in braces are filled in; {{ and }} stand for braces.
RUN_PLACES = "task|run_id|timeout"
_PLAIN = r"[^\x00{}]*"
_BRACES = r"(\{\{|\}\}|\{(%s)\})"
_SOME = r"[\x01-\x20\x7f-\xa0\s\ufeff]*([^%s{}]|%s)" % (_BLANK, _BRACES)


def _words_with(places: str) -> "Document":
    """A list of words with these names in braces; the first one is not blank, and no command."""
    some = _SOME % RUN_PLACES
    rest = _PLAIN + "(" + _BRACES + _PLAIN + ")*$"
    return {
        "type": "array", "minItems": 1,
        "prefixItems": [{"type": "string", "pattern": "^" + some + rest % RUN_PLACES}],
        "items": {"type": "string", "pattern": "^" + rest % places}}


LAUNCHER = _words_with(RUN_PLACES + "|command")
CANCEL_COMMAND: "Document" = {"anyOf": [
    _words_with(RUN_PLACES)["prefixItems"][0], _words_with(RUN_PLACES)]}
ENVIRONMENT: "Document" = {
    "type": "object", "propertyNames": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "additionalProperties": TEXT}
DATE: "Document" = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
# The name of a mailbox, with or without a domain: nothing that a mail program takes for an option,
# a file, a program, a list or another header.
MAIL_ADDRESS: "Document" = {"type": "string", "pattern": (
    r"^[A-Za-z0-9_][A-Za-z0-9_.+=%#$&'*/?^{}~-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?$")}
MAIL_ADDRESSES: "Document" = {
    "anyOf": [MAIL_ADDRESS, {"type": "array", "minItems": 1, "items": MAIL_ADDRESS}]}
WEB_ADDRESS: "Document" = {"type": "string", "pattern": (
    r"^https?://(\[[0-9A-Fa-f:.]+\]|[^%s/@?#:\[\]]+)(:[0-9]{1,5})?([/?#][^%s]*)?$" % (
        _BLANK, _BLANK))}


def _whole(low: int, high: int) -> "Document":
    return {"type": "integer", "minimum": low, "maximum": high}


def _number(low: float, high: float = LONGEST_S) -> "Document":
    return {"type": "number", "minimum": low, "maximum": high}


def file_ending(ending: str) -> "Document":
    """What takes the names of files with this ending."""
    return {"type": "string", "pattern": r"^[^\x00]*\.%s$" % ending}


EXIT_CODES: "Document" = {"type": "array", "items": _whole(0, 255)}


class Rule(Value):
    """What one key of the configuration takes: `schema`, and what `check` says beyond that.

    `allowed` says both in words.
    """

    key: str = ""
    allowed: str = ""
    schema: "Document" = {}
    check: "Callable[[Any], bool] | None" = None
    required: bool = False
    null: bool = False     # null stands for the default
    secret: bool = False   # never shown in a message

    def takes(self, value: "Any") -> bool:
        """Whether the key may have this value."""
        if value is None and self.null:
            return True
        if self.schema and not fits(value, self.schema):
            return False
        return self.check is None or self.check(value)


def fits(value: "Any", schema: "Document") -> bool:
    """Whether a value is as this part of a JSON Schema says; it uses the words below, no others."""
    name = schema.get("type")
    if name == "string":
        return isinstance(value, str) and _fits_text(value, schema)
    if name is None:
        for part in schema["anyOf"]:
            if fits(value, part):
                return True
        return False
    if name == "boolean":
        return value is True or value is False
    if name == "array":
        return isinstance(value, list) and _fits_list(value, schema)
    if name == "object":
        return isinstance(value, dict) and _fits_object(value, schema)
    if type(value) is not int:
        # JSON has one kind of number only: 1.0 is an integer.
        if type(value) is not float or name == "integer" and not value.is_integer():
            return False
    return bool(schema["minimum"] <= value <= schema["maximum"])


# The patterns of the rules, compiled when a value first meets them: a load compiles none.
_MATCHERS: "Dict[str, Callable[[str], Any]]" = {}


def _fits_text(value: str, schema: "Document") -> bool:
    if not value.isprintable() and re.search("[\ud800-\udfff]", value):
        return False  # half of a surrogate pair is no text that a file could hold
    pattern = schema.get("pattern")
    if pattern is not None:
        matcher = _MATCHERS.get(pattern)
        if matcher is None:
            matcher = _MATCHERS[pattern] = re.compile(pattern).fullmatch
        if not matcher(value):
            return False
    if "enum" in schema:
        return bool(value in schema["enum"])
    return "maxLength" not in schema or bool(len(value) <= schema["maxLength"])


def _fits_list(value: "List[Any]", schema: "Document") -> bool:
    if len(value) < schema.get("minItems", 0):
        return False
    first = schema.get("prefixItems", ())
    for item, part in zip(value, first):
        if not fits(item, part):
            return False
    for item in value[len(first):]:
        if not fits(item, schema["items"]):
            return False
    return True


def _fits_object(value: "Document", schema: "Document") -> bool:
    if "propertyNames" not in schema:
        return True
    keys, values = schema["propertyNames"], schema["additionalProperties"]
    return all(fits(key, keys) and fits(item, values) for key, item in value.items())


def plain_number(value: "Any") -> "Any":
    """A value of the configuration with each whole number as an int, also one written as 1.0."""
    if isinstance(value, list):
        return [plain_number(item) if type(item) is float else item for item in value]
    return int(value) if type(value) is float and value.is_integer() else value


def is_text(value: "Any") -> bool:
    """Text that a file, a command line and an environment can hold."""
    return fits(value, TEXT)


def is_filled(value: "Any") -> bool:
    """Text that is not blank."""
    return fits(value, FILLED)


def is_flag(value: "Any") -> bool:
    """A JSON boolean; 0 and 1 are none."""
    return fits(value, FLAG)


def is_name(value: "Any") -> bool:
    """A task's name, which is also the name of its files."""
    return fits(value, NAME)


def is_web_address(value: "Any") -> bool:
    """An http or https address, without user or password."""
    return fits(value, WEB_ADDRESS)


def is_day(value: str) -> bool:
    """Whether the calendar has this date."""
    try:
        return from_iso(value) is not None
    except ValueError:
        return False


SECONDS_TEXT = "a number of seconds from %s to 10 years"
COMMAND_TEXT = "a string for /bin/sh, or a list of strings"
ADDRESS_TEXT = "an http or https address, or null"
NAMES_TEXT = 'a list of names of letters, digits and _ . -, such as ["%s"]'
FILE_TEXT = "a file, relative to the root or absolute, or null"


def _rules(*rules: Rule) -> "Dict[str, Rule]":
    return {rule.key: rule for rule in rules}


TASK_RULES = _rules(
    Rule(key="name", schema=NAME, required=True,
         allowed="letters, digits, '_', '.', '-', at most 100, a letter or digit first"),
    Rule(key="command", schema=COMMAND, required=True, allowed=COMMAND_TEXT),
    Rule(key="schedule", schema=TEXTS, null=True,
         allowed="a cron expression such as \"0 2 * * *\", or a list of them"),
    Rule(key="dependencies", schema={"type": "array", "items": {"type": "string"}},
         allowed="a list of task names"),
    Rule(key="timeout", schema=_number(1), allowed=SECONDS_TEXT % "1"),
    Rule(key="retry_count", schema=_whole(0, 1000), allowed="a whole number from 0 to 1000"),
    Rule(key="retry_delay", schema=_number(0), allowed=SECONDS_TEXT % "0"),
    Rule(key="retry_backoff", schema=_number(1, 100), allowed="a number from 1 to 100"),
    Rule(key="enabled", schema=FLAG, allowed="true or false"),
    Rule(key="description", schema=TEXT, allowed="a string"),
    Rule(key="owner", schema=TEXT, allowed="a string"),
    Rule(key="review_by", schema=DATE, check=is_day, null=True,
         allowed="a date such as \"2026-12-31\""),
    Rule(key="env", schema=ENVIRONMENT, secret=True,
         allowed="an object of strings, each key a variable's name"),
    Rule(key="cwd", schema=FILLED, null=True,
         allowed="a folder, relative to the root or absolute"),
    Rule(key="timezone", schema=FILLED, null=True,
         allowed="an IANA name such as \"Europe/Paris\""),
    Rule(key="start_deadline", schema=_number(1), null=True,
         allowed=SECONDS_TEXT % "1" + ", or null"),
    Rule(key="overlap", schema={"type": "string", "enum": ["skip", "queue"]},
         allowed='"skip" or "queue"'),
    Rule(key="kill_grace", schema=_number(0), allowed=SECONDS_TEXT % "0"),
    Rule(key="nice", schema=_whole(-20, 19), allowed="a whole number from -20 to 19"),
    Rule(key="max_output_bytes", schema=_whole(0, 1 << 40),
         allowed="a whole number from 0 to 1099511627776"),
    Rule(key="ping_url", schema=WEB_ADDRESS, null=True, secret=True, allowed=ADDRESS_TEXT),
    Rule(key="success_exit_codes", schema=dict(EXIT_CODES, minItems=1),
         allowed="a list of exit codes from 0 to 255, such as [0, 1]"),
    Rule(key="skip_exit_codes", schema=EXIT_CODES,
         allowed="a list of exit codes from 0 to 255, such as [75]"),
    Rule(key="locks", schema=NAMES, allowed=NAMES_TEXT % "database"),
    Rule(key="condition", schema=COMMAND, null=True,
         allowed="a string for /bin/sh, a list of strings, or null"),
    Rule(key="condition_timeout", schema=_number(1, HOUR),
         allowed="a number of seconds from 1 to 3600"),
    Rule(key="launcher", schema=LAUNCHER, null=True,
         allowed="a list of strings, in which {task}, {run_id}, {timeout} and, after the first,"
         " {command} are filled in, {{ and }} are braces, or null"),
    Rule(key="cancel_command", schema=CANCEL_COMMAND, null=True,
         allowed="a string for /bin/sh or a list of strings, in which {task}, {run_id} and"
         " {timeout} are filled in, {{ and }} are braces, or null"),
    Rule(key="not_on", schema=TEXTS,
         allowed="a date, a range, a weekday or a file of dates, or a list of them"),
    Rule(key="only_between", schema=FILLED, null=True,
         allowed="times such as \"22:00-06:00\", or null"),
    Rule(key="env_file", schema=TEXTS,
         allowed="a file of NAME=VALUE lines, or a list of them; '-' first if it may be missing"),
    Rule(key="tags", schema=NAMES, allowed=NAMES_TEXT % "nightly"),
    Rule(key="umask", schema={"type": "string", "pattern": "^0?[0-7]{3}$"}, null=True,
         allowed="an octal number in quotes such as \"027\", or null"),
    Rule(key="ionice", null=True,
         schema={"type": "string", "pattern": "^(idle|(best-effort|realtime)(:[0-7])?)$"},
         allowed='"idle", "best-effort", "realtime", the last two also with ":0" to ":7", or null'),
    Rule(key="memory_limit", null=True, schema={"anyOf": [
         _whole(1 << 20, 1 << 50), {"type": "string", "pattern": "^[1-9][0-9]{0,6}[MGT]$"}]},
         allowed="a number of bytes from 1048576, or a string such as \"512M\" or \"2G\""),
)

SETTING_RULES = _rules(
    Rule(key="max_concurrent_tasks", schema=_whole(1, 1000),
         allowed="a whole number from 1 to 1000"),
    Rule(key="task_timeout_default", schema=_number(1), allowed=SECONDS_TEXT % "1"),
    Rule(key="task_history_retention_days", schema=_number(1, LONGEST_RETENTION_DAYS),
         allowed="a number of days from 1 to 36500"),
    Rule(key="notification_webhook", schema=WEB_ADDRESS, null=True, secret=True,
         allowed=ADDRESS_TEXT),
    Rule(key="notification_command", schema=COMMAND, null=True, secret=True,
         allowed="a string for /bin/sh, a list of strings, or null"),
    Rule(key="enable_notifications", schema=FLAG, allowed="true or false"),
    Rule(key="renotify_hours", schema=_number(0.1, 8760),
         allowed="a number of hours from 0.1 to 8760"),
    TASK_RULES["timezone"],
    TASK_RULES["env"],
    TASK_RULES["env_file"],
    TASK_RULES["launcher"],
    TASK_RULES["cancel_command"],
    Rule(key="defaults", schema={"type": "object"}, secret=True,
         allowed="an object of fields for all tasks"),
    Rule(key="notification_email", schema=MAIL_ADDRESSES, null=True,
         allowed="an address such as \"ops@example.org\", a list of them, or null"),
    Rule(key="log_to", schema={"type": "string", "enum": ["file", "syslog", "journal"]},
         allowed='"file", "syslog" or "journal"'),
    # The ending is what the reader of the file goes by, and no file of the conductor's has it.
    Rule(key="metrics_file", schema=file_ending("prom"), null=True,
         allowed="a file that ends in .prom, relative to the root or absolute, or null"),
    Rule(key="report_file", schema=file_ending("html"), null=True,
         allowed="a file that ends in .html, relative to the root or absolute, or null"),
)

NOTIFICATION_TARGETS = ("notification_webhook", "notification_command", "notification_email")
NO_TARGET = "no notification target is configured"
NO_TARGET_HINT = "set notification_email, notification_webhook or notification_command"

DEFAULT_RULES = dict(TASK_RULES, command=TASK_RULES["command"].replace(required=False))
del DEFAULT_RULES["name"]
SCHEMA_KEY = "$schema"  # tells an editor what the file may hold; nothing here reads it
DOCUMENT_KEYS = ("tasks", "settings", SCHEMA_KEY)

# What other tools call our keys: the key, their names for it as `_bare` has them, and a hint where
# there is more to say than the right name.
_OTHER_NAMES = (
    ("name", "id title job jobname taskname label", ""),
    ("command", "cmd script exec execstart run program commandline shellcommand bashcommand", ""),
    ("schedule", "cron cronexpression cronexpr cronschedule crontab when timespec time at trigger"
     " oncalendar calendar scheduleinterval", ""),
    ("schedule", "interval every period frequency",
     "use 'schedule', as in cron: \"*/5 * * * *\" is every 5 minutes"),
    ("schedule", "onboot runonboot runatload reboot", 'use "schedule": "@reboot"'),
    ("schedule", "jitter splay randomdelay randomizeddelaysec",
     "put H in the schedule: \"H * * * *\" spreads the tasks over the hour"),
    ("retry_count", "retries maxretries retry numretries retrylimit backofflimit", ""),
    ("retry_count", "attempts maxattempts tries maxtries",
     "use 'retry_count': the attempts less 1"),
    ("retry_delay", "retryinterval retrydelayseconds retrywait retryafter",
     "use 'retry_delay', in seconds"),
    ("retry_backoff", "backoff backofffactor retryexponentialbackoff exponentialbackoff",
     "use 'retry_backoff', the factor by which each further delay grows"),
    ("dependencies", "dependson depends requires after needs upstream waitfor parent parents", ""),
    ("timeout", "timeoutseconds timeoutsec maxruntime executiontimeout maxduration timelimit"
     " activedeadlineseconds runtimemaxsec", "use 'timeout', in seconds"),
    ("kill_grace", "graceperiod killtimeout stoptimeout timeoutstopsec killafter"
     " terminationgraceperiodseconds", "use 'kill_grace', in seconds"),
    ("start_deadline", "catchup misfiregracetime startingdeadlineseconds maxlateness persistent",
     "use 'start_deadline': how late a run may start, in seconds"),
    ("overlap", "concurrency concurrencypolicy singleton maxinstances maxactiveruns allowoverlap"
     " nooverlap multiple", 'use "overlap": "skip" or "queue"; a task never runs twice at a time'),
    ("enabled", "active", ""),
    ("enabled", "disabled paused suspend suspended disable ispaused",
     "use 'enabled', its opposite"),
    ("env", "environment envvars environ variables", ""),
    ("cwd", "workingdir workingdirectory cwddir workdir directory dir folder chdir", ""),
    ("timezone", "tz crontz zone", ""),
    ("description", "comment desc summary notes doc", ""),
    ("owner", "maintainer team contact author", ""),
    ("nice", "priority niceness", ""),
    ("ionice", "iopriority ioclass ioschedulingclass", ""),
    ("memory_limit", "memory memorymax maxmemory memlimit limitas", ""),
    ("env_file", "environmentfile dotenv envfrom", ""),
    ("tags", "tag labels groups group category", ""),
    ("locks", "lock mutex mutexes pool semaphore resource", ""),
    ("condition", "if onlyif execcondition precondition", ""),
    ("launcher", "wrapper prefix runner executor launch", ""),
    ("cancel_command", "cancel cancelcmd execstop stopcommand killcommand", ""),
    ("not_on", "holidays exclude excludedates blackout", ""),
    ("only_between", "window maintenancewindow", ""),
    ("success_exit_codes", "successexitstatus okexitcodes successcodes", ""),
    ("skip_exit_codes", "skipexitcode skiponexitcode", ""),
    ("ping_url", "healthcheck healthcheckurl heartbeaturl pinguri", ""),
    ("max_concurrent_tasks", "maxparallel maxconcurrency concurrency parallelism parallel workers"
     " maxworkers maxjobs concurrencylimit", ""),
    ("notification_webhook", "webhook slackwebhook webhookurl slackurl discordwebhook alertwebhook"
     " slackwebhookurl notifyurl", ""),
    ("notification_email", "mailto email mail emailto emails mailaddress", ""),
    ("notification_command", "onfailure onerror", ""),
    ("enable_notifications", "notify notifications notificationsenabled", ""),
    ("renotify_hours", "renotify repeatinterval repeathours reminderhours",
     "use 'renotify_hours', in hours"),
    ("task_history_retention_days", "retention retentiondays historydays keepdays historyretention",
     "use 'task_history_retention_days', in days"),
    ("task_timeout_default", "timeout defaulttimeout tasktimeout", ""),
    ("tasks", "jobs cron crons crontab entries schedules cronjobs", ""),
    ("settings", "config configuration options global globals", ""),
    ("defaults", "taskdefaults defaultargs jobdefaults", ""),
)
# What other tools have for a task, and this one elsewhere or not at all.
_NO_KEYS = (
    ("args arguments argv", 'put them into command: ["PROGRAM", "ARGUMENT"]'),
    ("shell interpreter", 'for another shell use "command": ["bash", "-c", "..."]'),
    ("user runas username uid runasuser account", "tasks run as the user who runs the tick"),
    ("log logfile stdout stderr output outputfile", "the output goes to logs/automation/NAME.log"),
    ("mailto email mail notify onfailure onerror alert webhook notifications",
     "'notification_email', 'notification_webhook' and 'notification_command' in settings serve"
     " all tasks"),
)
# Where a key is unknown, where it is not, and what to do about it.
_ELSEWHERE = (
    (TASK_RULES, SETTING_RULES, "it belongs in settings"),
    (DEFAULT_RULES, SETTING_RULES, "it belongs in settings"),
    (DEFAULT_RULES, TASK_RULES, "each task has its own"),
    (SETTING_RULES, TASK_RULES, "it belongs in each task"),
    (DOCUMENT_KEYS, SETTING_RULES, "it belongs in settings"),
    (DOCUMENT_KEYS, TASK_RULES, 'it belongs in a task: {"tasks": [{...}]}'),
)


def did_you_mean(word: str, names: "Iterable[str]") -> str:
    """A suggestion for a misspelt word, '' where none is close."""
    for close in difflib.get_close_matches(word, list(names), 1, 0.6):
        return "did you mean '%s'?" % close
    return ""


def _bare(key: str) -> str:
    """A key without what differs between camelCase, kebab-case and ours."""
    return re.sub(r"[-_ ]", "", key).lower()


def key_advice(key: str, keys: "Iterable[str]") -> "Tuple[str, str]":
    """What was meant by a key that is none of these: one of them, or '', and a hint, or ''."""
    bare = _bare(key)
    for name in keys:
        if _bare(name) == bare:
            return name, "did you mean '%s'?" % name
    for name, others, hint in _OTHER_NAMES:
        if name in keys and bare in others.split():
            return name, hint or "did you mean '%s'?" % name
    for here, there, hint in _ELSEWHERE:
        if keys is here and key in there:
            return "", hint
    for others, hint in _NO_KEYS:
        if keys in (TASK_RULES, DEFAULT_RULES) and bare in others.split():
            return "", hint
    for name in difflib.get_close_matches(key, list(keys), 1, 0.6):
        return name, "did you mean '%s'?" % name
    return "", ""


def _shown(value: "Any", rule: Rule) -> str:
    if rule.secret:
        return "the value"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "a value nested too deeply"
    return cut_text(text, 60)


def _value_hint(value: "Any", rule: Rule) -> str:
    """What to write in place of a value."""
    hint = "use %s" % rule.allowed
    if rule.secret or not is_text(value):
        return hint
    if rule.takes([value]) and value.strip():
        return hint + ": %s" % json.dumps([value])
    try:
        meant = json.loads(value)
    except (ValueError, RecursionError):
        meant = None
    if meant is not None and rule.takes(meant):
        return "write %s without quotes" % value.strip()
    if rule.allowed.startswith("a number of seconds") and re.match(r"[0-9.]+[smhdw]\Z", value):
        return hint + ": %g" % seconds_of(value)
    return hint


def required_keys(rules: "Dict[str, Rule]") -> "List[str]":
    """The keys that an object of these rules must have."""
    return [key for key, rule in rules.items() if rule.required]


def check_fields(raw: "Document", rules: "Dict[str, Rule]", place: str, task: str,
                 required: "Iterable[str] | None" = None) -> "List[Problem]":
    """Everything wrong with the keys and values of one object.

    The `required` keys must stand in it: by default, those that the rules call so.
    """
    if required is None:
        required = required_keys(rules)
    problems = []
    meant = set()
    for key, value in raw.items():
        rule = rules.get(key)
        if rule is None:
            name, hint = key_advice(key, rules)
            meant.add(name)
            hint = hint or "allowed are %s" % ", ".join(sorted(rules))
            problems.append((key, "unknown key '%s'" % key, hint))
        elif not rule.takes(value):
            text = "%s: %s is not allowed" % (key, _shown(value, rule))
            problems.append((key, text, _value_hint(value, rule)))
    for key in required:
        if key not in raw and key not in meant:
            problems.append((key, "%s is missing" % key, "use %s" % rules[key].allowed))
    return [Problem(place=place, text=text, hint=hint, task=task, field=key)
            for key, text, hint in problems]


def check_schema_key(raw: "Document", place: str) -> "List[Problem]":
    """Take "$schema" out of an object that may have it; the problem, if it is no string."""
    if is_text(raw.pop(SCHEMA_KEY, "")):
        return []
    return [Problem(place=place, text=SCHEMA_KEY + " is not a string", field=SCHEMA_KEY,
                    hint='use a path such as "%s"' % SCHEMA_FILE)]


def _good_values(raw: "Document", problems: "Sequence[Problem]") -> "Document":
    """The values that are none of these problems, without null, which means the default."""
    bad_keys = {problem.field for problem in problems}
    return {key: value if type(value) is str else plain_number(value)
            for key, value in raw.items() if value is not None and key not in bad_keys}


def _problem_of(field: str, error: ConductorError, place: str, task: str = "") -> Problem:
    return Problem(place=place, text="%s: %s" % (field, error.message), hint=error.hint, task=task,
                   field=field)


class _TaskBuilder:
    """Turns the objects of the configuration into tasks, collecting every problem on the way."""

    def __init__(self, settings: "Document", settings_changed_at: "float | None",
                 read_dates: "Callable[[str], str]") -> None:
        self.settings = settings
        self.defaults: "Document" = settings.get("defaults", {})
        self._read_dates = read_dates
        self.settings_changed_at = settings_changed_at
        self.tasks: "Dict[str, Task]" = {}
        self.invalid: "Dict[str, str]" = {}
        self.drafts: "List[Task]" = []  # the tasks with problems, those without a name among them
        self.places: "Dict[str, str]" = {}
        self.bad_names: "List[str]" = []
        self._required = required_keys(TASK_RULES)
        self._problems: "Dict[str, List[Problem]]" = {}
        self._schedules: "Dict[str, CronSchedule]" = {}
        self._calendars: "Dict[Tuple[Tuple[str, ...], str | None], Calendar]" = {}

    def add(self, raw: "Any", place: str, changed_at: "float | None") -> None:
        """Build the task of one object; `changed_at` is when its file changed."""
        if not isinstance(raw, dict):
            self._note(place, [Problem(
                place=place, text="a task cannot be of type %s" % type(raw).__name__,
                hint="use an object with name, command and schedule")])
            return
        if "tasks" in raw and not {"name", "command"} & set(raw):
            self._note(place, [Problem(
                place=place, text="unknown key 'tasks'", field="tasks",
                hint="a file of %s is one task, or a list of tasks: [{...}, {...}]" % DROP_IN_DIR)])
            return
        name = ""
        if is_name(raw.get("name")):
            name = raw["name"]
            place = "%s '%s'" % (place, name)
        elif isinstance(raw.get("name"), str):
            self.bad_names.append(raw["name"])
        problems = []
        if SCHEMA_KEY in raw:
            raw = dict(raw)
            problems += check_schema_key(raw, place)
        required = self._required
        if self.defaults:
            required = [key for key in required if key not in self.defaults]
        problems += check_fields(raw, TASK_RULES, place, name, required)
        values = _good_values(raw, problems)
        if self.defaults:
            values = self._with_defaults(values, raw)
        self._add_launcher(values, raw)
        if name in self.places:
            problems.append(Problem(
                place=place, task=name, field="name", hint="names are unique over all files",
                text="name '%s' is already used by %s" % (name, self.places[name])))
        problems += self._convert(values, place, name)
        self._note(place, problems)  # without problems too: it keeps the order of the files
        if name:
            self.places.setdefault(name, place)
        changed_at, zone_changed_at = self._times_of(raw, changed_at)
        task = Task(order=len(self.places), place=place, written=tuple(raw), changed_at=changed_at,
                    zone_changed_at=zone_changed_at, **values)
        if not problems:
            self.tasks[name] = task
            return
        self.drafts.append(task)
        if name:
            self._invalidate(name, problems[0].text)

    def _times_of(self, raw: "Document",
                  changed_at: "float | None") -> "Tuple[float | None, float | None]":
        """When the schedule and the zone of a task changed last: with its file, or the settings.

        Which of the two files changed what a task has from both cannot be told; the later time is
        safe.
        """
        if changed_at is None:
            return None, None
        later = max(changed_at, self.settings_changed_at or changed_at)
        if "schedule" not in raw and "schedule" in self.defaults:
            return later, later
        if raw.get("timezone") is None:
            return changed_at, later
        return changed_at, changed_at

    def _with_defaults(self, values: "Document", raw: "Document") -> "Document":
        """The values of a task, with those of `defaults` where it has none; env takes both.

        Where the object of the task, `raw`, has null, the field is as without `defaults`.
        """
        values = {**self.defaults, **values}
        if "env" in values:
            values["env"] = {**self.defaults.get("env", {}), **values["env"]}
        for key in raw:
            if raw[key] is None:
                values.pop(key, None)
        return values

    def _add_launcher(self, values: "Document", raw: "Document") -> None:
        """Give a task the launcher of the settings, unless it has its own or, by null, none.

        Who brings the launcher brings its cancel_command: that of another one would find nothing to
        end, and say that all is well.
        """
        if "launcher" in raw:
            if "cancel_command" not in raw:
                values.pop("cancel_command", None)
        elif "launcher" not in self.defaults and self.settings.get("launcher"):
            values["launcher"] = self.settings["launcher"]
            if "cancel_command" not in raw and self.settings.get("cancel_command"):
                values.setdefault("cancel_command", self.settings["cancel_command"])

    def convert_defaults(self, place: str) -> "Tuple[Document, List[Problem]]":
        """`defaults` with the values of a Task, and what is wrong with them beyond their types."""
        values = dict(self.defaults)
        problems = self._convert(values, place, "")
        kept = [*self.defaults, "calendar", "window"]
        return {key: value for key, value in values.items() if key in kept}, problems

    def _note(self, place: str, problems: "List[Problem]") -> None:
        self._problems.setdefault(place, []).extend(problems)

    @property
    def problems(self) -> "List[Problem]":
        """Those of each task together, in the order of the files."""
        return [problem for problems in self._problems.values() for problem in problems]

    def _invalidate(self, name: str, reason: str) -> None:
        self.invalid.setdefault(name, reason)
        if name in self.tasks:
            self.drafts.append(self.tasks.pop(name))

    def _convert(self, values: "Document", place: str, name: str) -> "List[Problem]":
        """Replace the values of the document by those of a Task, in place; drop the bad ones."""
        problems = []
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = tuple(value)
            elif key in ("not_on", "env_file") and isinstance(value, str):
                values[key] = (value,)
        if "skip_exit_codes" in values:
            problems += _exit_code_problems(values, place, name)
        values.setdefault("timeout", self.settings.get("task_timeout_default", Task.timeout))
        if values.get("timezone", self.settings.get("timezone")):
            values.setdefault("timezone", self.settings.get("timezone"))
        try:
            zone_named(values.get("timezone"))
        except ConductorError as error:
            problems.append(_problem_of("timezone", error, place, name))
            del values["timezone"]
        if "schedule" in values:
            schedule, bad_schedule = self._schedule(values.pop("schedule"), place, name)
            problems += bad_schedule
            if schedule is not None:
                values["schedule"] = schedule
        if "not_on" in values:
            values["calendar"], bad_days = self._calendar(
                values["not_on"], values.get("timezone"), place, name)
            problems += bad_days
        if "only_between" in values:
            try:
                values["window"] = Window(values["only_between"], values.get("timezone"))
            except ConductorError as error:
                problems.append(_problem_of("only_between", error, place, name))
        return problems

    def _schedule(self, written: "str | Tuple[str, ...]", place: str,
                  name: str) -> "Tuple[CronSchedule | None, List[Problem]]":
        """The schedule of one expression or of a list, or what is wrong with each of these."""
        if isinstance(written, str) and written in self._schedules:
            return self._schedules[written], []
        texts = [written] if isinstance(written, str) else written
        is_list = len(texts) > 1
        expressions: "Dict[str, CronSchedule]" = {}
        problems = []
        for index, text in enumerate(texts):
            try:
                expression = self._expression(text, name)
                if expression.reboot and is_list:
                    raise CronSyntaxError("@reboot cannot be combined with others",
                                          "use a second task for it")
                expressions.setdefault(expression.text, expression)
            except CronSyntaxError as error:
                problem = _problem_of("schedule", error, place, name)
                if is_list:
                    problem = problem.replace(text="schedule[%d]: %s" % (index, error.message))
                problems.append(problem)
        if problems:
            return None, problems
        if len(expressions) == 1:
            return next(iter(expressions.values())), []
        return ScheduleList(list(expressions.values())), []

    def _calendar(self, entries: "Tuple[str, ...]", zone: "str | None", place: str,
                  name: str) -> "Tuple[Calendar | None, List[Problem]]":
        """The calendar of these entries of `not_on`, or what is wrong with each of them."""
        if (entries, zone) in self._calendars:
            return self._calendars[entries, zone], []
        parts: "List[DaysOff]" = []
        files: "Dict[str, int | None]" = {}
        foreign_zones: "Dict[str, str]" = {}
        problems = []
        for entry in entries:
            try:
                part = days_off_of(entry)
                if part is not None:
                    parts.append(part)
                    continue
            except ConductorError as error:
                problems.append(_problem_of("not_on", error, place, name))
                continue
            try:
                dates = days_off_in(self._read_dates(entry), entry, zone_named(zone))
            except ConductorError as error:
                problem = _problem_of("not_on", error, place, name)
                problems.append(problem.replace(text="not_on: %s: %s" % (entry, error.message)))
                continue
            ends = [part.last for part in dates]
            files[entry] = None
            if None not in ends:
                files[entry] = max((end for end in ends if end is not None), default=0)
            for part in dates:
                parts.append(part.replace(words="%s (%s)" % (entry, part.words)))
                if part.foreign_zone:
                    foreign_zones[entry] = part.foreign_zone
        if problems:
            return None, problems
        calendar = self._calendars[entries, zone] = Calendar(
            parts, zone, files, foreign_zones)
        return calendar, []

    def _expression(self, text: str, name: str) -> CronSchedule:
        if "H" in text:
            return CronSchedule(text, name)
        schedule = self._schedules.get(text)
        if schedule is None:
            schedule = self._schedules[text] = CronSchedule(text)
        return schedule

    def check_dependencies(self, is_complete: bool) -> None:
        """Reject tasks whose dependencies do not exist or form a cycle. Comes after every `add`.

        Unless the configuration `is_complete`, what is unknown may stand in a file that is missing.
        """
        tasks = list(self.tasks.values()) + self.drafts
        graph: "Dict[str, Tuple[str, ...]]" = {}
        for task in tasks:
            others = tuple(name for name in dict.fromkeys(task.dependencies) if name != task.name)
            if task.name in task.dependencies:
                hint = "remove '%s' from its dependencies" % task.name
                if "dependencies" not in task.written:
                    hint = 'they are those of "defaults"; give the task its own, such as []'
                self._reject(task, "the task depends on itself", hint)
            for name in others:
                if name not in self.places and (is_complete or name in self.bad_names):
                    self._reject(task, "unknown task '%s'" % name, self._unknown_hint(name, task))
            if task.name:
                graph[task.name] = graph.get(task.name, ()) + others
        by_name = {task.name: task for task in reversed(tasks)}
        for path in dependency_cycles(graph):
            for name in path[:-1]:
                self._reject(by_name[name],
                             "the tasks wait for each other: %s" % " -> ".join(path),
                             "remove one of these dependencies")

    def _unknown_hint(self, name: str, task: Task) -> str:
        if name in self.bad_names:
            return "a name takes %s" % TASK_RULES["name"].allowed
        return did_you_mean(name, [other for other in self.places if other != task.name])

    def _reject(self, task: Task, text: str, hint: str) -> None:
        self._note(task.place, [Problem(
            place=task.place, text="dependencies: " + text, hint=hint, task=task.name,
            field="dependencies")])
        if task.name:
            self._invalidate(task.name, "dependencies: " + text)


def _exit_code_problems(values: "Document", place: str, task: str) -> "List[Problem]":
    """That a code is said to be both a success and a skip."""
    successes = values.get("success_exit_codes", Task.success_exit_codes)
    skips = values.get("skip_exit_codes", Task.skip_exit_codes)
    return [Problem(place=place, text="skip_exit_codes: %d is also a success" % code, task=task,
                    field="skip_exit_codes", hint="remove it here or from success_exit_codes")
            for code in dict.fromkeys(skips) if code in successes]


def dependency_cycles(graph: "Dict[str, Tuple[str, ...]]") -> "List[List[str]]":
    """Each cycle found, as a path that ends where it starts."""
    cycles = []
    done: "Set[str]" = set()
    for root in graph:
        if root in done:
            continue
        path = [root]
        on_path = {root}
        stack = [(root, iter(graph[root]))]  # a deep chain must not meet Python's recursion limit
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


def _no_dates(name: str) -> str:
    raise ConductorError("files of dates cannot be read here")


def build_config(documents: "Sequence[Tuple[str, Any]]",
                 changed_at: "Dict[str, float] | None" = None,
                 is_complete: bool = True,
                 read_dates: "Callable[[str], str]" = _no_dates) -> Config:
    """The configuration from its parsed documents: (file name, document), the main one first.

    `read_dates` gives the text of a file that `not_on` names, or raises a ConductorError.
    `changed_at` says when each file changed, as far as that is known. It `is_complete` unless a
    file could not be read: then no dependency is called unknown.
    A bad task is left out and listed in `invalid` and `problems`. What is wrong with the whole
    raises ConfigError, with every problem of the documents.
    """
    place, main = documents[0]
    problems, raw_tasks, settings = _parts_of(main, place)
    # Where the settings are wrong, the tasks are still read for their own problems.
    times = changed_at or {}
    defaults = settings.get("defaults", {})
    builder = _TaskBuilder({"defaults": defaults} if problems else settings, times.get(place),
                           read_dates)
    if defaults:
        settings["defaults"], bad_defaults = builder.convert_defaults(
            place + ": settings: defaults")
        problems += bad_defaults
        for problem in bad_defaults:  # said once, and not of every task
            defaults.pop(problem.field, None)
    for index, raw in enumerate(raw_tasks):
        builder.add(raw, "%s: tasks[%d]" % (place, index), times.get(place))
    for place, document in documents[1:]:
        if isinstance(document, list):
            for index, raw in enumerate(document):
                builder.add(raw, "%s: [%d]" % (place, index), times.get(place))
        else:
            builder.add(document, place, times.get(place))
    builder.check_dependencies(is_complete)
    config = Config(tasks=builder.tasks, invalid=builder.invalid, problems=builder.problems,
                    drafts=tuple(builder.drafts), **settings)
    if problems:
        raise ConfigError(problems + builder.problems, config)
    return config


def _parts_of(main: "Any", place: str) -> "Tuple[List[Problem], List[Any], Document]":
    """The problems of the main document as a whole, its tasks, and its settings without bad ones.
    """
    if not isinstance(main, dict):
        return [Problem(place=place, text="the document is not an object",
                        hint='use {"tasks": [...], "settings": {...}}')], [], {}
    problems = check_schema_key(dict(main), place)
    problems += [Problem(place=place, text="unknown key '%s'" % key, field=key,
                        hint=key_advice(key, DOCUMENT_KEYS)[1] or "allowed are tasks and settings")
                for key in main if key not in DOCUMENT_KEYS]
    raw_tasks, settings = main.get("tasks", []), main.get("settings", {})
    if not isinstance(raw_tasks, list):
        problems.append(Problem(place=place, text="tasks is not a list", field="tasks",
                                hint="use [{...}, {...}]"))
        raw_tasks = []
    if not isinstance(settings, dict):
        problems.append(Problem(place=place, text="settings is not an object", field="settings",
                                hint="use {...}"))
        settings = {}
    place += ": settings"
    bad_settings = check_fields(settings, SETTING_RULES, place, "")
    if is_filled(settings.get("timezone")):
        try:
            zone_named(settings["timezone"])
        except ConductorError as error:
            bad_settings.append(_problem_of("timezone", error, place))
    settings = _good_values(settings, bad_settings)
    if "defaults" in settings:
        defaults = settings["defaults"]
        bad_defaults = check_fields(defaults, DEFAULT_RULES, place + ": defaults", "")
        settings["defaults"] = _good_values(defaults, bad_defaults)
        bad_settings += bad_defaults
    if isinstance(settings.get("env_file"), str):
        settings["env_file"] = [settings["env_file"]]
    settings = {key: tuple(value) if isinstance(value, list) else value
                for key, value in settings.items()}
    return problems + bad_settings, raw_tasks, settings


# A line of a file for `env_file`, by the rules that systemd.exec(5) has for EnvironmentFile=.
_ENV_LINE = r"""(?sx)
    [ \t]* (?: [#;] [^\r\n]* |
        (?P<name> [A-Za-z_][A-Za-z0-9_]* ) [ \t]* = [ \t]*
        (?P<quoted> (?: '[^']*' | "(?: \\. | [^"\\] )*" | [ \t] )* )
        (?P<plain> (?: (?! ['"\s] ) (?: \\. | [^\\\r\n] )+? )? ) [ \t]*
    )? (?: [\r\n] | \Z )"""


def parse_env_file(text: str) -> "Dict[str, str]":
    """The variables of NAME=VALUE lines; of a name that comes twice, the later value.

    Raises ValueError with the number of a line that is none; it never shows what that holds.
    """
    variables = {}
    at = 0
    while at < len(text):
        line = re.match(_ENV_LINE, text[at:])
        if line is None or "\0" in line.group():
            hint = ""
            if re.match(r"\s*export\s", text[at:]):
                hint = ", without export"
            number = text.count("\n", 0, at) + 1
            raise ValueError("line %d is not NAME=VALUE%s" % (number, hint))
        if line.group("name"):
            quoted = re.findall("(?s)'[^']*'|\"(?:\\\\.|[^\"\\\\])*\"", line.group("quoted"))
            plain = re.sub(r"(?s)\\(.)", _unescaped, line.group("plain"))
            variables[line.group("name")] = "".join(map(_unquoted, quoted)) + plain
        at += line.end()
    return variables


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1]
    return re.sub(r'(?s)\\(["\\`$\n])', _unescaped, text[1:-1])


def _unescaped(escape: "Any") -> str:
    """The character that a backslash stands before; nothing for a line that goes on."""
    return str(escape.group(1)).strip("\r\n")


def bytes_of(limit: "int | str") -> int:
    """The bytes of a memory_limit such as 2G."""
    if isinstance(limit, int):
        return limit
    return int(limit[:-1]) << {"M": 20, "G": 30, "T": 40}[limit[-1]]


def suspicions(config: Config, now: float) -> "List[Problem]":
    """Warnings for what is legal, but probably not meant. Defaults are never suspicious."""
    warnings = []
    places = [("settings", "env", text, hint) for text, hint in _unexpanded_in_env(config.env)]
    said = set()  # of the settings and defaults, which is not repeated for every task
    cancel_command = config.cancel_command
    if config.launcher and not cancel_command:  # each task may have it from defaults
        cancel_command = config.defaults.get("cancel_command")
    for field, text, hint in _launcher_advice(config.launcher, cancel_command):
        places.append(("settings", field, text, hint))
        said.add((field, text))
    if config.defaults:
        # Not enabled: it waits for nothing itself.
        shared = Task(written=tuple(config.defaults), **dict(config.defaults, enabled=False))
        for field, text, hint in _suspicions_of(shared, config, now):
            if field in config.defaults:
                places.append(("settings: defaults", field, text, hint))
                said.add((field, text))
    for task in config.tasks.values():
        warnings += [
            Problem(place=task.place, text="%s: %s" % (field, text), hint=hint, warning=True,
                    task=task.name, field=field)
            for field, text, hint in _suspicions_of(task, config, now)
            if field in task.written or (field, text) not in said]
    warnings += [Problem(place=place, text="%s: %s" % (field, text), hint=hint, warning=True,
                         field=field) for place, field, text, hint in places]
    return warnings


def _suspicions_of(task: Task, config: Config, now: float) -> "Iterator[Tuple[str, str, str]]":
    """Field, text and hint of what is suspicious in a task."""
    for text, hint in _unexpanded_in_command(task.command):
        yield "command", text, hint
    if "timeout" in task.written:
        interval = shortest_interval(task, now)
        if interval and task.timeout > interval:
            effect = "queued" if task.overlap == "queue" else "skipped"
            yield ("timeout", "%g s is longer than the schedule's interval of %d s" % (
                task.timeout, interval), "after a run that long, the next one is %s" % effect)
    for name in task.dependencies:
        dependency = config.tasks.get(name)
        if dependency and not dependency.enabled and task.enabled:
            yield ("dependencies", "'%s' is disabled" % name,
                   "'%s' waits until '%s' succeeds by hand" % (task.name, name))
    if task.schedule is not None:
        for text, hint in schedule_advice(task.schedule, task.name):
            yield "schedule", text, hint
    elif not {"schedule", "dependencies"} & set(map(_meant, task.written + tuple(config.defaults))):
        yield ("schedule", "missing, and there are no dependencies",
               'it runs only by hand; if so, say "schedule": null')
    own_env = task.env
    if task.name:
        shared_env = config.defaults.get("env", {})
        own_env = {name: text for name, text in own_env.items() if shared_env.get(name) != text}
    if task.calendar is not None:
        for text, hint in _calendar_advice(task, task.calendar, now):
            yield "not_on", text, hint
    if _is_always_late(task, now):
        yield ("only_between", "no slot starts within its start_deadline of %g s" % (
            task.start_deadline or 0), "the task never runs")
    if 0 not in task.success_exit_codes + task.skip_exit_codes:
        yield ("success_exit_codes", "without 0 in it, exit code 0 is a failure",
               "add 0: the list replaces the default")
    if task.name and "condition_timeout" in task.written and not task.condition:
        yield ("condition_timeout", "there is no condition",
               "for a time limit of the command, use timeout")
    # Defaults may add a cancel_command to the launcher of the settings.
    if task.name or task.launcher or not config.launcher:
        yield from _launcher_advice(task.launcher, task.cancel_command)
    if task.launcher:
        for field in ("success_exit_codes", "skip_exit_codes"):
            if EXIT_UNKNOWN in getattr(task, field):
                yield (field, "255 is also what a launcher says when its connection breaks",
                       "remove 255; of ssh, it is a failure whatever stands here")
    for text, hint in _unexpanded_in_env(own_env):
        yield "env", text, hint
    for field, paths in (("cwd", (task.cwd,)), ("env_file", task.env_file)):
        for path in paths:
            expansion = unexpanded(path.lstrip("-"))
            if expansion:
                yield field, "%s is not expanded" % expansion, "write the whole path"


# Clients whose death or loss leaves what they started running.
LEAVE_WORK = ("ssh", "srun", "sbatch", "salloc", "kubectl", "oc", "systemd-run", "docker", "podman",
              "nomad")


def _programs_in(words: "Iterable[str]") -> "List[str]":
    """The words as names of programs: the client may come after sudo or env."""
    return [word.rpartition("/")[2] for word in words]


def is_by_ssh(launcher: "Sequence[str] | None") -> bool:
    """Whether a launcher is ssh, whose exit code 255 is that of no command (ssh(1))."""
    return "ssh" in _programs_in(launcher or ())


def takes_command(launcher: "Sequence[str]") -> bool:
    """Whether a word of the launcher has a place for the command."""
    return any(re.search(r"(?<!\{)(\{\{)*\{command\}", word) for word in launcher)


def _launcher_advice(launcher: "Sequence[str] | None", cancel_command: "str | Sequence[str] | None",
                     ) -> "Iterator[Tuple[str, str, str]]":
    """Field, text and hint of what is suspicious in a launcher and its cancel_command."""
    if not launcher:
        if cancel_command:
            yield ("cancel_command", "there is no launcher",
                   "it ends what a launcher started; remove it, or add launcher")
        return
    clients = [name for name in _programs_in(launcher) if name in LEAVE_WORK]
    if clients and not cancel_command:
        yield ("launcher", "what %s started may outlive it, and there is no cancel_command" % (
            clients[0]), "add a cancel_command; config/README.md has one")
    if is_by_ssh(launcher) and not takes_command(launcher):
        yield ("launcher", "a shell at the other end reads the command once more",
               'add "{command}" as the last word: it is the command, quoted for that shell')
    for text, hint in _unexpanded_in_command(tuple(launcher)):
        yield "launcher", text, hint


def _calendar_advice(task: Task, calendar: Calendar, now: float) -> "Iterator[Tuple[str, str]]":
    for name, last in calendar.files.items():
        if last is not None and last < calendar.day_of(now):
            text = "%s has no dates" % name
            if last:
                text = "%s has no dates after %s" % (name, date_of(last).isoformat())
            yield text, "add those to come, or remove it"
    for name, zone in calendar.foreign_zones.items():
        yield ("%s: '%s' is no IANA time zone; its times are read in the task's zone" % (
            name, cut_text(zone, 60)), "if the two differ, check the days: simulate")
    is_timed = task.schedule is not None and not task.schedule.reboot
    if is_timed and slot_after(task, now) is None:
        yield "every slot to come is on a day off", "the task never runs"


def is_too_late_for_window(task: Task, slot: int) -> bool:
    """Whether `only_between` delays a slot beyond its start_deadline."""
    if task.window is None or task.start_deadline is None:
        return False
    return task.window.opening(slot) - slot > task.start_deadline


def _is_always_late(task: Task, now: float) -> bool:
    """Whether `only_between` delays each slot of the next days beyond its start_deadline."""
    if task.window is None or task.schedule is None or task.schedule.reboot:
        return False
    first = slot = slot_after(task, now)
    count = 0
    while first is not None and slot is not None:
        if not is_too_late_for_window(task, slot):
            return False
        count += 1
        if count >= 10 and slot - first > 8 * DAY:
            break
        slot = slot_after(task, slot)
    return count > 0


def _meant(key: str) -> str:
    """The key of a task that stands in the configuration under this name, rightly or not."""
    if key in TASK_RULES:
        return key
    return key_advice(key, TASK_RULES)[0]


# What a shell would expand. A $ within a word is none of it: it may be part of a password.
_EXPANSIONS = (
    ("$VARIABLE", r"(?:^|[\s/:=,'\"])\$[A-Z_][A-Z0-9_]+(?:$|[\s/:=,'\".])|\$\{[A-Za-z_]\w*\}"),
    ("$(COMMAND)", r"\$\([a-z/]|`[a-z/][^`]+`"),
    ("~", r"(?:^|[:=])~(?:$|[/:])"))
# Programs that take code, in which a $ is their own.
_TAKE_CODE = r"(?:ssh|su|[gmn]?awk|perl|ruby|php|sed|jq|expect)\Z"
_SHELL_MARKS = ("|", "||", "&&", "&", ">", ">>", "<", "2>&1")


def unexpanded(text: str) -> str:
    """What in a text only a shell would expand: '$VARIABLE', '$(COMMAND)', '~' or ''.

    The text itself is not shown anywhere: it may be secret.
    """
    for expansion, pattern in _EXPANSIONS:
        if re.search(pattern, text):
            return expansion
    return ""


def _unexpanded_in_env(env: "Dict[str, str]") -> "Iterator[Tuple[str, str]]":
    for name, text in env.items():
        expansion = unexpanded(text)
        if expansion:
            yield "%s in %s is not expanded" % (expansion, name), "write what it stands for"


def _unexpanded_in_command(
        command: "str | Tuple[str, ...]") -> "Iterator[Tuple[str, str]]":
    """What only a shell would expand in a list, or only cron in a string."""
    if isinstance(command, str):
        if "\\%" in command:
            yield "the backslash in '\\%' is needed in a crontab only", "write %"
        return
    for word in command:
        if re.match(r"-\w*[ce]\Z", word) or re.match(_TAKE_CODE, word.rpartition("/")[2]):
            return  # what follows is code
        expansion = unexpanded(word)
        if expansion or word in _SHELL_MARKS:
            yield ("no shell runs a list, so %s is passed on as it is" % (expansion or word),
                   "write the command as one string")
            return


def slot_after(task: Task, after: float) -> "int | None":
    """The first slot of a task after `after` that is not on a day off; None without one."""
    if task.schedule is None:
        return None
    slot = task.schedule.next(after, task.timezone)
    while slot is not None and task.calendar is not None and task.calendar.reason(slot):
        if slot - after > SEARCH_DAYS * DAY:
            return None
        slot = task.schedule.next(task.calendar.end_of_days_off(slot) - 1, task.timezone)
    return slot


def slot_until(task: Task, at: float) -> "int | None":
    """The newest slot of a task at or before `at` that is not on a day off; None without one."""
    if task.schedule is None:
        return None
    slot = task.schedule.previous(at, task.timezone)
    while slot is not None and task.calendar is not None and task.calendar.reason(slot):
        if at - slot > SEARCH_DAYS * DAY:
            return None
        slot = task.schedule.previous(task.calendar.start_of_days_off(slot) - 1, task.timezone)
    return slot


def shortest_interval(task: Task, now: float, slots: int = 8) -> "int | None":
    """The shortest gap between the task's coming slots, in seconds."""
    if task.schedule is None or task.schedule.reboot:
        return None
    gaps: "List[int]" = []
    at = task.schedule.next(now, task.timezone)
    while at is not None and len(gaps) < slots:
        following = task.schedule.next(at, task.timezone)
        if following is not None:
            gaps.append(following - at)
        at = following
    return min(gaps, default=None)


# == Messages ==

# Shapes of secrets in what a command printed: the word stays, what follows it goes.
_SECRET_WORD = (r"(?:password|passwd|passphrase|\bpass|\bpwd|secret|token"
                r"|api[_-]?key|access[_-]?key|credentials?)")
_SECRET_VALUE = r"(?:\"[^\"\n]*\"?|'[^'\n]*'?|\{[^}\n]*\}|[^\s,;\"'{}]+)"
SECRET_SHAPES = (
    (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", "***"),
    (r"(?i)(authorization[\"']?\s*[=:]\s*[\"']?)[^\"'\n]+", r"\1***"),
    (r"(?i)(%s[\"']?\s*[=:]\s*)(?:(?:bearer|basic)\s+)?%s" % (_SECRET_WORD, _SECRET_VALUE),
     r"\1***"),
    (r"(?i)(\s--?[a-z-]*%s\s+)(?!-)%s" % (_SECRET_WORD, _SECRET_VALUE), r"\1***"),
    (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", r"\1 ***"),
    (r"://[^/\s@]+@", "://***@"),
    (r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|AKIA|ASIA|eyJ)[A-Za-z0-9_./=-]{10,}",
     "***"),
)
LEAST_SECRET = 6  # shorter values of env would blank out half of what was said


def masked(text: str, secrets: "Iterable[str]") -> str:
    """The end of a command's output, with these values and whatever looks like a secret masked."""
    text = without_values(text, secrets)
    for shape, instead in SECRET_SHAPES:
        text = re.sub(shape, instead, text)
    return text


def without_values(text: str, secrets: "Iterable[str]") -> str:
    """The end of a command's output with these values masked."""
    values = [secret for secret in secrets if len(secret) >= LEAST_SECRET]
    for secret in sorted(values, key=len, reverse=True):
        text = text.replace(secret, "***")
        for length in range(len(secret) - 1, 2, -1):
            if text.startswith(secret[-length:]):  # the end that was kept begins within the secret
                text = "***" + text[length:]
                break
    return text


def secrets_of(config: Config, task: "Task | None") -> "List[str]":
    """The values of the configuration that must not leave it."""
    values = list(config.env.values()) + [config.notification_webhook or ""]
    if task is not None:
        values += list(task.env.values()) + [task.ping_url or ""]
    return [value for value in values if value]


# Event -> the text that it begins with; the fields of the message fill it in.
MESSAGE_TEXTS = {
    "failed": "%(task)s %(outcome)s; no retries left",
    "recovered": "%(task)s has recovered",
    "unended": "%(task)s %(outcome)s; no further attempt starts until it is gone",
    "blocked": "%(task)s is blocking %(dependents)s: it %(outcome)s",
    "configuration": "the configuration has problems: %(outcome)s",
    "configuration_good": "the configuration is valid again",
    "gap": "no tick from %(since)s to %(at)s: %(outcome)s",
    "test": "this is a test notification",
}
# Event -> what to type then, after the name of this program. A finding of the kind says the same.
NEXT_WORDS = {
    "failed": "logs %(task)s",
    "unended": "logs %(task)s",
    "blocked": "run --task %(task)s",
    "configuration": "check",
    "gap": "doctor",
}
MESSAGE_KEYS = ("event", "task", "status", "exit_code", "attempts", "scheduled_for", "started_at",
                "ended_at", "duration_s", "run_id", "reason", "dependents", "output_tail", "at")
TEXT_LIMIT = 2000        # Discord takes so many characters
TAIL_LINES_SENT = 10
TAIL_LIMIT = 1500


def event_text(message: "Message | Document", host: str) -> str:
    """What happened; the problems of a configuration have a line each."""
    fields: "Document" = dict.fromkeys(("task", "outcome", "since", "at"), "")
    fields.update(message)
    fields["dependents"] = ", ".join(message.get("dependents") or ())
    return "[%s] %s" % (host, MESSAGE_TEXTS.get(message["event"], "%(event)s") % fields)


def message_body(message: "Message", host: str, root: str, program: str = "") -> "Document":
    """What is sent: a text for people, under the names that Slack, Mattermost and Discord look for,
    and the facts for programs. `program` is how a person calls this file.
    """
    text = event_text(message, host)
    tail = (message.get("output_tail") or "").strip()
    if tail:
        lines = tail.splitlines()[-TAIL_LINES_SENT:]
        text += "\n```\n%s\n```" % "\n".join(lines).replace("`", "'")[-TAIL_LIMIT:]
    command = None
    if message["event"] in NEXT_WORDS and program:
        command = "%s %s" % (program, NEXT_WORDS[message["event"]] % message)
        text += "\ntry: " + command
    body = {key: message.get(key) for key in MESSAGE_KEYS}
    return dict(body, text=text, content=text[:TEXT_LIMIT], host=host, root=root, command=command)


MAIL_FACTS = ("scheduled_for", "started_at", "ended_at", "attempts", "exit_code", "run_id", "root")


def mail_text(facts: "Document", program: str) -> str:
    """What a mail says: what happened, the end of the output, and what to type next.

    `facts`: a message with its body.
    """
    paragraphs = [event_text(facts, facts["host"]).splitlines()]
    paragraphs.append(["%-14s %s" % (key.replace("_", " ") + ":", facts[key])
                       for key in MAIL_FACTS if facts.get(key) is not None])
    tail = (facts.get("output_tail") or "").strip("\n")
    if tail:
        lines = tail[-TAIL_LIMIT:].splitlines()[-TAIL_LINES_SENT:]
        paragraphs.append(["the end of its output:"] + ["  " + line for line in lines])
    commands = []
    if facts.get("task"):
        commands.append("%s why %s" % (program, facts["task"]))
    if facts.get("command"):
        commands.append(facts["command"])
    if commands:
        paragraphs.append(["try:"] + ["  " + command for command in commands])
    text = "\n\n".join("\n".join(lines) for lines in paragraphs) + "\n"
    return printable(text).encode("utf-8", "replace").decode()


PING_PATHS = {"start": "/start", "success": "", "fail": "/fail"}


def ping_address(url: str, kind: str) -> str:
    """The address of a dead-man switch for start, success or fail; a query stays at the end."""
    base, mark, query = url.partition("?")
    return base.rstrip("/") + PING_PATHS[kind] + mark + query


# == Planning ==

ALL_TASKS = "*"  # the name under which all tasks are paused; no task can have it


def pause_scope(name: str) -> str:
    """What the pause of this name suspends, in words: 'all tasks', or the task's name."""
    if name == ALL_TASKS:
        return "all tasks"
    return name


def pause_words(pause: "Pause") -> str:
    """A pause in words: since when, until when, by whom and why, as far as it says so."""
    text = "paused since %s until %s" % (iso(pause["since"]), iso(pause.get("until")) or "resumed")
    if pause.get("by"):
        text += " by %s" % pause.get("by")
    if pause["reason"]:
        text += " (%s)" % pause["reason"]
    return text


# What a time without a tick may have come from, each only when the evidence says so.
GAP_CAUSES = {
    "reboot": "the machine or container was off or restarted",
    "suspend": "the machine was suspended (the monotonic clock fell behind)",
    "clock": "the clock was set forward (the monotonic clock did not move as far)",
    "cron": "cron did not run the tick (cron stopped, or the crontab line missing)",
    "engine": "the scheduler of the engine did not run",
    "": "cause unknown",
}

MARKS = {"success": "+", "failed": "F", "timeout": "T", "interrupted": "I", "stopped": "S"}
SKIP_MARK = "-"
MARKS_KEPT = 10
MAY_GO_ON = "what its launcher started may still run"
VANISHED = "the command and its supervisor are gone (reboot, power cut or kill -9)"
USUAL_WEIGHT = 0.2  # of the newest success in what is usual

LAST_KEYS = ("status", "scheduled_for", "started_at", "ended_at", "duration_s", "exit_code",
             "attempt", "trigger", "run_id")


def is_backfill(state: TaskState, run: Run) -> bool:
    """Whether a run by hand is for an older slot than the newest that was decided."""
    return run.trigger == "manual" and run.slot is not None and run.slot < state.cursor


def pings_start(task: Task) -> bool:
    """Whether the dead-man switch of a task is told of a start: only where an end follows.

    A skip sends no ping, and to the switch a start without an end is a failure.
    """
    return task.ping_url is not None and not task.condition and not task.skip_exit_codes


def is_failure(status: "str | None") -> bool:
    """Whether a result counts as a failure; a skip and a stop by hand are neither that nor a
    success.
    """
    return status not in (None, "success", "stopped") and not str(status).startswith("skipped_")


# -- dependencies

def is_met(config: Config, tasks: "Dict[str, TaskState]", waiter: str, name: str,
           slot: int) -> bool:
    """Whether `waiter` may go ahead at `slot` as far as its dependency `name` is concerned.

    A success counts when it is for the dependency's newest slot at or before `slot`, or later. A
    dependency without a schedule has no slots: it must have succeeded since its own dependencies
    did, or, having none, since `waiter` last started.
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
            # A success of its own is stale where the tasks before it are due again: ask them too.
            for upstream in dependency.dependencies:
                if upstream not in tasks or state.success_seq <= tasks[upstream].success_seq:
                    return False
                if upstream not in seen:
                    seen.add(upstream)
                    stack.append(upstream)
        elif current == name:
            consumed = tasks[waiter].consumed if waiter in tasks else {}
            if state.success_seq <= consumed.get(name, 0):
                return False
    return True


def _needed_slot(dependency: Task, state: TaskState, slot: int) -> "int | None":
    """The newest slot of a dependency at or before `slot`; one on a day off is never needed."""
    if dependency.schedule is None:
        return None
    if dependency.schedule.reboot:
        return min(state.cursor, slot)
    return slot_until(dependency, slot)


def first_unmet(config: Config, tasks: "Dict[str, TaskState]", task: Task, slot: int) -> str:
    """The first dependency that is not met at `slot`, or ''."""
    for name in task.dependencies:
        if not is_met(config, tasks, task.name, name, slot):
            return name
    return ""


def missing_dependencies(config: Config, tasks: "Dict[str, TaskState]", task: Task,
                         slot: int) -> "List[str]":
    """What has to run before `task` may, in the order to run it.

    Raises ConfigError for a dependency that is invalid.
    """
    order: "List[str]" = []
    stack = [(task, iter(task.dependencies))]  # a chain may be longer than Python recurses
    while stack:
        current, rest = stack[-1]
        for name in rest:
            if name in order or is_met(config, tasks, current.name, name, slot):
                continue
            if name not in config.tasks:
                reason = config.invalid.get(name, "unknown")
                raise ConfigError([Problem(place=current.place, text=(
                    "dependencies: '%s' is invalid: %s" % (name, reason)))])
            stack.append((config.tasks[name], iter(config.tasks[name].dependencies)))
            break
        else:
            stack.pop()
            if stack and current.name not in order:
                order.append(current.name)
    return order


def in_dependency_order(config: Config, names: "Collection[str]") -> "List[str]":
    """These tasks, each after those of them that it depends on, be it through others."""
    order: "Dict[str, None]" = {}
    for first in names:
        stack = [first]
        while stack:
            rest = [name for name in config.tasks[stack[-1]].dependencies
                    if name in config.tasks and name not in order]
            if rest:
                stack.append(rest[0])
            else:
                order.setdefault(stack.pop())
    return [name for name in order if name in names]


def successes(tasks: "Dict[str, TaskState]", task: Task) -> "Dict[str, int]":
    """The number of the newest success of each dependency that has one."""
    numbers = ((name, tasks[name].success_seq) for name in task.dependencies if name in tasks)
    return {name: number for name, number in numbers if number}


def root_cause(config: Config, tasks: "Dict[str, TaskState]", name: str, slot: int,
               roots: "Dict[str, Tuple[str, int]] | None" = None) -> "Tuple[str, int]":
    """The task that the unmet dependency `name` comes down to, and the slot that matters for it.

    `roots` keeps the answers for tasks that wait, from one question about the same state to the
    next: a thousand tasks may wait for one.
    """
    roots = {} if roots is None else roots
    visited: "Set[str]" = set()
    waiting = []
    while name not in visited:
        if name in roots:
            name, slot = roots[name]
            break
        visited.add(name)
        state = tasks.get(name, TaskState())
        if state.cycle is not None and state.cycle.phase == "waiting":
            blocker, slot = state.cycle.waiting_for, state.cycle.slot
            waiting.append(name)
        else:
            blocker = _blocker_of(config, tasks, name, slot)
        if not blocker:
            break
        name = blocker
    roots.update(dict.fromkeys(waiting, (name, slot)))
    return name, slot


def _blocker_of(config: Config, tasks: "Dict[str, TaskState]", name: str, slot: int) -> str:
    """The dependency for want of which a task that does not wait has no success, or ''."""
    state, task = tasks.get(name, TaskState()), config.tasks.get(name)
    if state.run is not None or state.cycle is not None:
        return ""
    if state.skipped.get("dependency"):
        return str(state.skipped["dependency"])
    if task is None or task.schedule is not None or not task.enabled or not state.schedule_key:
        return ""
    return first_unmet(config, tasks, task, slot)


def explain_unmet(config: Config, tasks: "Dict[str, TaskState]", name: str, slot: int) -> str:
    """Why the dependency `name` is not met at `slot`, down to the root cause."""
    root, slot = root_cause(config, tasks, name, slot)
    return "'%s' %s" % (root, _why_no_success(config, root, tasks.get(root, TaskState()), slot))


def _why_no_success(config: Config, name: str, state: TaskState, slot: int) -> str:
    """What follows the name of a root cause: how its task stands, and how it ended last."""
    task = config.tasks.get(name)
    if task is None:
        return "is invalid: %s" % config.invalid.get(name, "not in the configuration")
    failure = ""
    if state.last.get("status", "success") != "success":
        failure = "%s at %s" % (outcome_text(state.last), state.last.get("ended_at"))
    standing = task_standing(state)
    if standing in ("running", "queued"):
        if state.cycle is not None and standing == "queued":
            standing += window_words(task, state.cycle.since)
        return "%s; %s again" % (failure, standing) if failure else "is " + standing
    if state.cycle is not None and standing == "retrying":
        last = state.cycle.attempts[-1] if state.cycle.attempts else state.last
        return "%s at %s; retry due at %s%s" % (
            outcome_text(last), last.get("ended_at"),
            iso(start_time(task, state.cycle.retry_at)),
            window_words(task, state.cycle.retry_at))
    if not task.enabled:
        return "is disabled"
    if not state.schedule_key and state.cursor:
        return "is paused"
    if state.skipped:
        status = state.skipped["status"]
        words = SKIP_WORDS.get(status, "was skipped (%s)" % status.replace("skipped_", ""))
        return "%s at its slot %s" % (words, state.skipped["scheduled_for"])
    if failure:
        return failure
    needed = _needed_slot(task, state, slot)
    if needed is None:
        return "has not succeeded since the last run"
    return "has not succeeded for its slot %s" % iso(needed)


def is_skip_chosen(task: "Task | None", state: TaskState) -> bool:
    """Whether the newest slot of a task has no success because it or a person chose so.

    Others that wait for it wait as long, but nothing has failed.
    """
    if task is None or not task.enabled or not state.schedule_key:
        return False  # which is why it does not run, whatever became of its last slot
    if state.failing_since or is_failure(state.last.get("status")):
        return False  # no skip ends a failure
    return state.skipped.get("status") in SKIP_WORDS


def task_standing(state: TaskState) -> str:
    """idle, running, queued, waiting or retrying."""
    if state.run is not None:
        return "running"
    return state.cycle.phase if state.cycle is not None else "idle"


def retry_text(cycle: Cycle, task: "Task | None") -> str:
    """When a retry starts, as texts have it: no process waits for it, a tick does it."""
    return "at the first tick after %s%s" % (
        iso(start_time(task, cycle.retry_at)), window_words(task, cycle.retry_at))


def first_tick_after(at: float) -> int:
    """The minute in which cron calls the first tick that is not before `at`."""
    return int(at) + -int(at) % MINUTE


OUTCOMES = {"success": "succeeded", "timeout": "timed out", "interrupted": "was interrupted",
            "skipped_exit": "was skipped", "skipped_condition": "was skipped"}
# The ends of a slot without a success that its task or a person chose; other skips are named.
SKIP_WORDS = {"stopped": "was stopped", "skipped_manual": "was skipped by hand",
              "skipped_exit": "was skipped by its exit code",
              "skipped_condition": "was skipped by its condition"}
SAY_EXIT_CODE = ("success", "failed", "skipped_exit")


def outcome_text(result: "Verdict") -> str:
    """What became of a run, after the task's name: succeeded, failed (exit 3), timed out."""
    status, code = str(result.get("status")), result.get("exit_code")
    text = OUTCOMES.get(status, "was " + status.replace("_", " "))
    if status == "failed":
        text = "failed"
    if status == "failed" or code and status in SAY_EXIT_CODE:
        text += " (exit %s)" % code
    return text


# -- locks that tasks share

def locks_held(config: Config, tasks: "Dict[str, TaskState]",
               names: "Iterable[str]") -> "Dict[str, str]":
    """The locks that runs of these tasks hold, each with the task that holds it.

    A run holds those with which it started, and those that its task has got since.
    """
    holders = {}
    for name in names:
        run = tasks[name].run
        if run is not None:
            task = config.tasks.get(name, Task())
            holders.update(dict.fromkeys([*run.locks, *task.locks], name))
    return holders


def lock_in_the_way(task: Task, holders: "Dict[str, str]") -> str:
    """The first lock of a task that another one holds or is to have first, or ''."""
    for lock in task.locks:
        if holders.get(lock, task.name) != task.name:
            return lock
    return ""


def lock_reason(task: Task, held: "Dict[str, str]", claimed: "Dict[str, str]") -> str:
    """Why a task cannot have its locks: a run holds one, or an older slot has it first; or ''."""
    lock = lock_in_the_way(task, held)
    if lock:
        return "lock '%s' is held by '%s'" % (lock, held[lock])
    lock = lock_in_the_way(task, claimed)
    if lock:
        return "lock '%s' goes to '%s' first" % (lock, claimed[lock])
    return ""


# -- what is ready to start

def is_ready(task: Task, cycle: Cycle, now: float) -> bool:
    """Whether a cycle is queued, or its retry due."""
    if cycle.phase != "retrying":
        return cycle.phase == "queued"
    wait_s = cycle.retry_at - now
    # A clock that was set back must not hold a retry back for longer than its delay.
    return wait_s <= 0 or wait_s > task.retry_wait(cycle.attempt - 1)


def ready_cycles(config: Config, tasks: "Dict[str, TaskState]", names: "Iterable[str]",
                 now: float) -> "Tuple[List[Tuple[int, int, Task, Cycle]], int]":
    """What of these tasks is ready to start, and how many more may run.

    An entry is (slot, order of the task, task, cycle); the oldest slot comes first.
    """
    free = config.max_concurrent_tasks
    ready = []
    for name in names:
        state = tasks[name]
        task, cycle = config.tasks.get(name), state.cycle
        if state.run is not None:
            if state.run.trigger != "manual":
                free -= 1
        elif task is not None and cycle is not None and is_ready(task, cycle, now):
            ready.append((cycle.slot, task.order, task, cycle))
    ready.sort(key=lambda entry: entry[:2])
    return ready, free


NEXT_TICK = "the next tick starts it"


def queue_reasons(config: Config, tasks: "Dict[str, TaskState]", now: float) -> "Dict[str, str]":
    """What each task that is ready waits for: a lock, its turn, or only the next tick.

    Those whose window is closed are left out.
    """
    held = locks_held(config, tasks, tasks)
    claimed: "Dict[str, str]" = {}
    ready, free = ready_cycles(config, tasks, tasks, now)
    reasons = {}
    for _slot, _order, task, _cycle in ready:
        if start_time(task, now) > now:
            continue
        reason = lock_reason(task, held, claimed)
        for lock in task.locks:
            claimed.setdefault(lock, task.name)
        if not reason:
            reason = NEXT_TICK
            if free <= 0:
                reason = "max_concurrent_tasks reached"
            free -= 1
        reasons[task.name] = reason
    return reasons


# -- slots to come

def counts_from(task: Task, state: State, last_tick: float, now: float,
                resumed_at: float = 0.0) -> int:
    """Since when the slots of a task count whose schedule is new or another one, or which had none.

    That is when the file that holds it changed, or when its pause ended (`resumed_at`). Decisions
    and previews both go by this, so that a slot that was shown is the slot that runs.
    """
    if not state.last_now:
        return int(now)  # nothing is remembered: nothing may start by surprise
    task_state = state.tasks.get(task.name, TaskState())
    looked_at = max(state.last_now, last_tick)
    if looked_at > now:
        looked_at = now - MINUTE  # the clock was set back; a tick comes every minute
    changed_at = task.changed_at
    had_schedule = task_state.schedule_key not in ("", "none")
    if had_schedule and task_state.schedule_key.rpartition(" ")[2] != (task.timezone or ""):
        changed_at = task.zone_changed_at
    if changed_at is None:
        changed_at = resumed_at or now
    # A cursor ahead of a clock that was set back: what lies before it runs no second time.
    return int(min(now, max(looked_at, changed_at, resumed_at, task_state.cursor)))


def undecided_slot(task: Task, state: State, last_tick: "float | None",
                   now: float) -> "int | None":
    """The first slot of a task that no tick has decided; it is due when it is not after `now`.

    None for a task that has none to come: it is without a schedule, disabled, or paused for good.
    """
    if task.schedule is None or not task.enabled:
        return None
    resumed_at = 0.0
    for name in (task.name, ALL_TASKS):
        if name in state.pauses:
            until = state.pauses[name]["until"]
            if until is None:
                return None
            resumed_at = max(resumed_at, until)
    if resumed_at > now:
        return task.schedule.next(resumed_at, task.timezone)
    task_state = state.tasks.get(task.name, TaskState())
    if task_state.schedule_key == task.schedule_key:
        return task_state.next_slot
    since = counts_from(task, state, last_tick or 0.0, now, resumed_at)
    return task.schedule.next(since, task.timezone)


def coming_slot(task: Task, state: State, last_tick: "float | None", now: float) -> "int | None":
    """The slot that runs next: of those that are due the newest, as the rest merge into it."""
    slot = undecided_slot(task, state, last_tick, now)
    if slot is None or task.schedule is None:
        return None
    if slot <= now:
        skips = state.tasks.get(task.name, TaskState()).skips
        newest = max(slot, task.schedule.previous(now, task.timezone) or slot)
        due = slot_to_run(task, slot, newest, {from_iso(text) for text in skips})
        if due is not None:
            return due
        slot = slot_after(task, now)
    elif task.calendar is not None and task.calendar.reason(slot):
        slot = slot_after(task, slot)
    return first_not_skipped(task, state, slot)


def slot_to_run(task: Task, first: int, newest: int,
                skipped: "Container[int | None]") -> "int | None":
    """The newest of these slots that is neither on a day off nor `skipped` by hand."""
    slot = slot_until(task, newest)
    while slot is not None and slot in skipped:
        slot = slot_until(task, slot - 1)
    if slot is None or slot < first:
        return None
    return slot


def first_not_skipped(task: Task, state: State, slot: "int | None") -> "int | None":
    """The first slot from this one on that `skip` did not take."""
    skips = state.tasks.get(task.name, TaskState()).skips
    while skips and slot is not None and iso(slot) in skips:
        slot = slot_after(task, slot)
    return slot


def start_time(task: "Task | None", at: float) -> float:
    """When a task may start that is ready at `at`: then, or when its window opens."""
    if task is None or task.window is None:
        return at
    return task.window.opening(at)


def window_words(task: "Task | None", at: float) -> str:
    """' (only_between ...)' behind a time to which a start at `at` is put off, else ''."""
    if task is None or task.window is None or task.window.is_open(at):
        return ""
    return " (%s)" % task.window.words()


def queue_text(config: Config, tasks: "Dict[str, TaskState]", task: Task, now: float,
               reasons: "Dict[str, str] | None" = None) -> str:
    """Since when a cycle that is ready waits, and for what; `reasons`: those of `queue_reasons`."""
    cycle = tasks[task.name].cycle
    assert cycle is not None
    since = cycle.since
    if cycle.phase == "retrying":
        since = min(cycle.retry_at, now)
    text = "since %s" % iso(since)
    if start_time(task, now) > now:
        return "%s until %s%s" % (text, iso(start_time(task, now)), window_words(task, now))
    if tasks[task.name].run is not None:
        return "%s (a run by hand is still going)" % text
    if reasons is None:
        reasons = queue_reasons(config, tasks, now)
    return "%s (%s)" % (text, reasons[task.name])


def attempt_text(config: Config, tasks: "Dict[str, TaskState]", task: Task, now: float,
                 reasons: "Dict[str, str] | None" = None) -> str:
    """How the next attempt at an open slot stands: attempt 2 of 4 starts at ..., or waits."""
    cycle = tasks[task.name].cycle
    assert cycle is not None
    text = "attempt %d of %d" % (cycle.attempt, task.retry_count + 1)
    if cycle.phase != "retrying":
        return "%s is %s" % (text, cycle.phase)
    if is_ready(task, cycle, now):
        return "%s: waiting %s" % (text, queue_text(config, tasks, task, now, reasons))
    return "%s starts %s" % (text, retry_text(cycle, task))


# -- the decision of a tick

def decide(config: Config, state: State, now: float, facts: Facts, last_seen: float = 0.0,
           settle_only: bool = False, agenda: "Agenda | None" = None) -> Decision:
    """What to record and what to start: the decision of a tick, a pure function.

    `facts` says what became of the runs in `state`; `last_seen` is the newest time that the
    conductor is known to have been alive, by which a clock that was set back is noticed.
    `settle_only` records what ended and starts nothing. The `agenda` of the previous decision saves
    a look at every task; the outcome is the same without it.
    """
    draft = _Draft(config, state, now, facts, last_seen, agenda)
    draft.settle_runs(configured_only=settle_only)
    if settle_only:
        return draft.decision()
    draft.note_lost_state()
    draft.note_gap()
    draft.notify_of_configuration()
    # Before the slots: what ended just now may let a task go before its next slot takes its place.
    draft.check_dependencies()
    draft.open_due_slots()
    draft.check_dependencies()
    draft.start_ready()
    draft.notify_of_blockers()
    return draft.decision()


# What `is_met` reads of a dependency: a change of these may let its dependents go.
DEPENDENCY_FIELDS = frozenset(("satisfied_until", "success_seq", "cursor"))


class _Draft:
    """One decision in the making; its methods stand in the order in which `decide` calls them.

    Each step reads and changes `tasks` and adds to the lists; nothing else is changed. It looks at
    the tasks that the agenda names and those that an earlier step changed: the others are at rest.
    A helper of several steps stands at the end.
    """

    def __init__(self, config: Config, state: State, now: float, facts: Facts,
                 last_seen: float, agenda: "Agenda | None" = None) -> None:
        self.config = config
        self.before = state
        self.now = now
        self.at = iso(now)
        self.facts = facts
        self.last_seen = last_seen
        self.last_now = state.last_now
        self.jumped_back_s = max(state.last_now, last_seen) - now
        self.tasks = dict(state.tasks)
        # The tasks before this decision opened any slot; the same object until it does.
        self.tasks_before_slots = self.tasks
        self.pauses = dict(state.pauses)
        self.pause_ends: "Dict[str, float]" = {}  # of the pauses that are over
        self.seq = state.seq
        self.runs_started = state.runs_started
        self.zone_stamp = state.zone_stamp
        self.changed = False
        self.starts: "List[Tuple[Task, Run]]" = []
        self.adoptions: "List[str]" = []
        self.records: "List[Verdict]" = []
        self.events: "List[Event]" = []
        self.task_events: "Dict[str, Dict[str, ScheduleChange]]" = {}  # by the kind of event
        self.messages: "List[Message]" = []
        self.notes: "List[str]" = []
        if agenda is None or not self._is_current(agenda):
            agenda = self._survey()
        self.active = agenda.active
        self.due = set(agenda.due)
        self.unchecked = set(agenda.unchecked)
        self.next_slot = agenda.next_slot
        self.dependents = agenda.dependents
        self.touched: "Set[str]" = set()  # the tasks that changed

    def put(self, name: str, **changes: "Any") -> TaskState:
        """Change the state of a task: the new one."""
        state = self.tasks.get(name, TaskState()).replace(**changes)
        self.tasks[name] = state
        self.changed = True
        self.touched.add(name)
        if not DEPENDENCY_FIELDS.isdisjoint(changes):
            self._look_at_dependents(name)
        return state

    # -- which tasks to look at

    def _is_current(self, agenda: Agenda) -> bool:
        """Whether the agenda is valid for this decision."""
        if agenda.config is not self.config or agenda.tasks is not self.before.tasks:
            return False
        if not agenda.made_at <= self.now < agenda.next_slot:
            return False
        if agenda.boot_id != self.facts.boot_id or self.zone_stamp != self.facts.zone_stamp:
            return False
        if agenda.pauses != self.pauses:
            return False
        return all(_end_of(pause) > self.now for pause in self.pauses.values())

    def _survey(self) -> Agenda:
        """The agenda, from a look at every task."""
        active = [name for name, state in self.tasks.items() if _is_active(state)]
        names = list(self.tasks)
        names += [name for name in self.config.tasks if name not in self.tasks]
        due, next_slot = frozenset(names), float("inf")
        if self.zone_stamp == self.facts.zone_stamp:  # else every slot is computed anew
            due, next_slot = self._due_among(names, next_slot)
        return Agenda(active=active, due=due, unchecked=frozenset(active), next_slot=next_slot)

    def _due_among(self, names: "Iterable[str]",
                   next_slot: float) -> "Tuple[frozenset[str], float]":
        """Which of these tasks are due; the first slot of the others, at most `next_slot`."""
        tasks, configured = self.tasks, self.config.tasks
        due = []
        for name in names:
            state, task = tasks.get(name), configured.get(name)
            if task is None:
                if state is not None and name not in self.config.invalid:
                    due.append(name)  # it was removed
            elif self._is_due(task, state):
                due.append(name)
            elif state is not None and state.next_slot is not None and state.next_slot < next_slot:
                next_slot = state.next_slot
        return frozenset(due), next_slot

    def _is_due(self, task: Task, state: "TaskState | None") -> bool:
        """Whether `open_due_slots` may have something to do for a task that no step has changed.

        A slot that is still to come does not count: no agenda is valid beyond it.
        """
        # A survey asks this of every task, ten thousand maybe: calls are avoided.
        is_suspended = not task.enabled
        if self.pauses and self._pause_of(task.name) is not None:
            is_suspended = True
        if state is None:
            return not is_suspended
        if state.next_slot is not None and state.next_slot <= self.now:
            return True
        if state.queued_slot is not None:
            return True
        if is_suspended:
            return bool(state.schedule_key) or state.cycle is not None
        if state.schedule_key != task.schedule_key:
            return True
        if state.cursor > self.now or (state.satisfied_until or 0) > self.now:
            return True
        if task.schedule is None:
            return self._have_all_succeeded(task, state)
        return task.schedule.reboot and state.boot_id != self.facts.boot_id

    def _look_at_dependents(self, name: str) -> None:
        """Have the later steps look at the tasks that depend on this one."""
        if self.dependents is None:
            self.dependents = {}
            for task in self.config.tasks.values():
                for dependency in task.dependencies:
                    self.dependents.setdefault(dependency, []).append(task.name)
        if name not in self.dependents:
            return
        self.due.update(self.dependents[name])
        reached: "Set[str]" = set()
        stack = [name]
        while stack:
            for dependent in self.dependents.get(stack.pop(), ()):
                if dependent in reached:
                    continue
                reached.add(dependent)
                # A task without a schedule answers for its dependencies as well: see is_met.
                if self.config.tasks[dependent].schedule is None:
                    stack.append(dependent)
        self.unchecked |= reached

    def _agenda(self, tasks: "Dict[str, TaskState]") -> Agenda:
        """The agenda of the next decision."""
        due, next_slot = self._due_among(self.due | self.touched, self.next_slot)
        active = [name for name in self.active if name in tasks and _is_active(tasks[name])]
        return Agenda(config=self.config, tasks=tasks, pauses=self.pauses, made_at=self.now,
                      boot_id=self.facts.boot_id, active=active, due=due, next_slot=next_slot,
                      unchecked=frozenset(self.unchecked), dependents=self.dependents)

    # -- what ended

    def settle_runs(self, configured_only: bool) -> None:
        """Record what ended; with `configured_only`, only of tasks that the configuration names."""
        for name in self.active:
            state = self.tasks[name]
            is_configured = name in self.config.tasks or name in self.config.invalid
            if state.run is None or (configured_only and not is_configured):
                continue
            fact = self.facts.runs[name]
            if fact.run is not None:
                state = self._identify(name, state, fact.run)
            if fact.kind == "orphan":
                self.adoptions.append(name)
            elif fact.kind == "never" and fact.stopped:
                self._finish(name, state, {
                    "status": "stopped", "exit_code": EXIT_STOPPED, "ended_at": self.now,
                    "reason": fact.stopped})
            elif fact.kind == "never":
                self._start_again(name, state)
            elif fact.kind == "held" and fact.unended:
                self._note_unended(name, state, fact.unended)
            elif fact.kind not in ("held", "unknown"):
                reason = joined_reason(VANISHED, MAY_GO_ON) if fact.may_go_on else VANISHED
                self._finish(name, state, fact.result or {
                    "status": "interrupted", "exit_code": None, "ended_at": self.now,
                    "reason": reason}, fact.stopped)

    def _identify(self, name: str, state: TaskState, run: Run) -> TaskState:
        """Name a run of which only the held lock was known: its slot is the one it started for."""
        cycle = state.cycle
        if cycle is None or cycle.phase != "running":
            return self.put(name, run=run)
        if run.trigger == "manual" or run.slot is None:
            return self.put(name, run=run, cycle=cycle.replace(phase="queued"))
        if run.slot < cycle.slot:
            self._skip(name, "skipped_overlap", cycle.slot, "run %s was still going" % run.run_id)
        return self.put(name, run=run, cycle=cycle.replace(slot=run.slot, attempt=run.attempt))

    def _start_again(self, name: str, state: TaskState) -> None:
        """A run was committed and its command never started: queue its slot again, a few times."""
        run, cycle = state.run, state.cycle
        assert run is not None
        if run.run_id:
            self.notes.append("%s: run %s did not start" % (name, run.run_id))
        if run.trigger == "manual" or cycle is None:
            self.put(name, run=None)
        elif cycle.lost_starts + 1 < STARTS_LOST:
            cycle = cycle.replace(phase="queued", lost_starts=cycle.lost_starts + 1)
            self.put(name, run=None, cycle=cycle)
        else:
            trouble = run.trouble or "its supervisor ended before it could start the command"
            self._finish(name, state, {
                "status": "failed", "exit_code": EXIT_IOERR, "ended_at": self.now,
                "reason": "%s (%d times in a row)" % (trouble, STARTS_LOST)})

    def _note_unended(self, name: str, state: TaskState, text: str) -> None:
        """Report once that processes of a run should have ended and cannot be killed."""
        run = state.run
        assert run is not None
        if run.unended == text:
            return
        if not run.unended:
            self.notes.append("WARNING %s: run %s %s; no further attempt starts until it is gone"
                              % (name, run.run_id, text))
            self._notify(name, {"event": "unended", "outcome": text, "run_id": run.run_id})
        self.put(name, run=run.replace(unended=text))

    def _finish(self, name: str, state: TaskState, result: "Result", stopped: str = "") -> None:
        """A run ended: its slot waits for a retry, or has a verdict.

        `stopped` says by whom the run was to be stopped. Its own end may have come first.
        """
        run = state.run
        assert run is not None
        cycle = None if run.trigger == "manual" else state.cycle
        record = _result_record(name, run, result)
        if stopped and record["status"] == "interrupted":
            if MAY_GO_ON in str(record.get("reason")):
                stopped = joined_reason(stopped, MAY_GO_ON)
            record = {**record, "status": "stopped", "exit_code": EXIT_STOPPED, "reason": stopped}
        elif stopped and is_failure(record["status"]):
            record["reason"] = joined_reason(record.get("reason"), "no further attempt: " + stopped)
        if is_backfill(state, run):
            self._finish_backfill(name, run, record)
            return
        if record["status"] == "skipped_condition" and cycle is not None and cycle.attempts:
            self.put(name, run=None)
            self._close(name, record["status"], str(record.get("reason")))
            return
        retry = None
        is_last = bool(stopped or record.get("abandoned"))
        if cycle is not None and is_failure(record["status"]) and not is_last:
            retry = self._retry_of(name, cycle, result["ended_at"], record)

        last = {key: record.get(key) for key in LAST_KEYS}
        if record.get("reason"):
            last["reason"] = record["reason"]
        if is_failure(record["status"]):
            secrets = secrets_of(self.config, self.config.tasks.get(name))
            line = last_line(masked(record["output_tail"], secrets))  # status and reports show it
            if line:
                last["last_line"] = line
        self.put(name, run=None, skipped=_skip_in(record, cycle))
        is_neutral = record["status"] != "success" and not is_failure(record["status"])
        if not (is_neutral and state.failing_since):  # only a success ends a failure
            self.put(name, last=last)
        if record["status"] == "success":
            self._count_success(name, run, cycle, record["duration_s"])
            self.put(name, last_success=round(float(result["ended_at"]), 3))
        if cycle is not None:
            self.put(name, cycle=retry)
        note = _end_note(name, record)
        if retry is not None:
            self.records.append({**record, "interim": True})
            note += "; retry %s" % retry_text(retry, self.config.tasks.get(name))
        else:
            self._give_verdict(name, {**record, **_cycle_fields(cycle)}, record)
        self.notes.append(note)

    def _finish_backfill(self, name: str, run: Run, record: "Verdict") -> None:
        """A run for an old slot answers for that slot alone: how the task stands is another matter.
        """
        state = self.tasks[name]
        satisfied_until = state.satisfied_until
        if record["status"] == "success":
            satisfied_until = max(satisfied_until or 0, run.slot or 0)
        self.put(name, run=None, satisfied_until=satisfied_until,
                 totals=_counted(state, record["status"]))
        self.records.append({**record, "backfill": True})
        self.notes.append(_end_note(name, record))

    def _retry_of(self, name: str, cycle: Cycle, ended_at: float,
                  record: "Verdict") -> "Cycle | None":
        """The cycle as it waits for its next attempt, or None when there is none left."""
        task = self.config.tasks.get(name)
        if task is not None:
            is_allowed = task.enabled and cycle.attempt <= task.retry_count
            wait_s = task.retry_wait(cycle.attempt)
        else:
            # An invalid task keeps its cycle: its retry rule shows when it is fixed.
            is_allowed = name in self.config.invalid
            wait_s = 0.0
        if not is_allowed:
            return None
        # An end may lie after `now`: it is rounded, and may have come since this decision began.
        ended_at = min(ended_at, self.now)
        return cycle.replace(phase="retrying", attempt=cycle.attempt + 1, since=self.now,
                             lost_starts=0, retry_at=ended_at + wait_s,
                             attempts=(cycle.attempts + [record])[-ATTEMPTS_KEPT:])

    def _count_success(self, name: str, run: Run, cycle: "Cycle | None", took_s: float) -> None:
        """Number a success, and let it answer for every slot it stands for."""
        state = self.tasks[name]
        self.seq += 1
        # A run by hand answers for the slots before its start, a late one for those it kept away.
        answered = [state.satisfied_until, run.slot, int(run.started_at), run.absorbed]
        if run.trigger == "manual" and run.slot is not None:
            answered = [state.satisfied_until, run.slot]  # it was for that slot alone
        if cycle is not None:
            answered.append(cycle.absorbed)
        usual_s = took_s
        if state.usual_s:
            usual_s = state.usual_s + USUAL_WEIGHT * (took_s - state.usual_s)
        self.put(name, consecutive_failures=0, failing_since=0.0, success_seq=self.seq,
                 usual_s=round(usual_s, 3),
                 satisfied_until=max(slot for slot in answered if slot is not None))

    # -- what happened between the ticks

    def note_lost_state(self) -> None:
        """Record for audits which pauses exist when there is no state: any others were lost."""
        if not self.before.last_now:
            self._note_event({"event": "begun", "pauses": self.before.pauses})

    def note_gap(self) -> None:
        """Record and notify that no tick ran for a while."""
        gap = self.facts.gap
        if gap is None:
            return
        cause = GAP_CAUSES[gap.cause]
        self._note_event({
            "event": "gap", "since": iso(gap.since), "cause": gap.cause or "unknown"})
        self.notes.append("WARNING no tick from %s to %s: %s" % (
            iso(gap.since), iso(gap.until), cause))
        self._notify("", {"event": "gap", "since": iso(gap.since), "outcome": cause,
                          "reason": gap.cause or None})

    def notify_of_configuration(self) -> None:
        """Notify when the problems of the configuration have changed, or are all fixed."""
        trouble = self.facts.trouble
        if trouble:
            self._notify("", {"event": "configuration", "outcome": trouble.splitlines()[0]})
        elif trouble is not None:
            self._notify("", {"event": "configuration_good", "outcome": ""})

    # -- what waits for a dependency

    def check_dependencies(self) -> None:
        """Queue the cycles whose dependencies are met, and give up those that are too late."""
        late = []
        unchecked, self.unchecked = self.unchecked, set()
        for name in self.active:
            cycle, task = self.tasks[name].cycle, self.config.tasks.get(name)
            if cycle is None or cycle.phase != "waiting" or task is None:
                continue
            is_late = self._is_too_late(task, cycle.slot)
            if name not in unchecked and name not in self.touched and not is_late:
                continue  # its dependencies have not changed since it was last checked
            blocker = first_unmet(self.config, self.tasks, task, cycle.slot)
            if not blocker:
                trigger = "dependency" if cycle.waiting_for else cycle.trigger
                self.put(name, cycle=cycle.replace(
                    phase="queued", trigger=trigger, waiting_for="", since=self.now))
                continue
            if is_late:
                late.append(task)
            elif cycle.waiting_for != blocker:
                self.notes.append("%s: slot %s is waiting: %s" % (
                    name, iso(cycle.slot),
                    explain_unmet(self.config, self.tasks, blocker, cycle.slot)))
            if cycle.waiting_for != blocker:
                self.put(name, cycle=cycle.replace(waiting_for=blocker))
        # Only now: the root cause follows from `waiting_for` of every task, which is now current.
        for task in late:
            self._give_up_waiting(task, "its start_deadline of %g s passed" % (
                task.start_deadline or 0))

    def _give_up_waiting(self, task: Task, event: str) -> None:
        """End a wait. Its reason is as of before this tick: the blocker may have a new slot."""
        cycle = self.tasks[task.name].cycle
        assert cycle is not None
        tasks, blocker = self.tasks_before_slots, cycle.waiting_for
        root, _ = root_cause(self.config, tasks, blocker, cycle.slot)
        reason = "waited for '%s' until %s: %s" % (
            blocker, event, explain_unmet(self.config, tasks, blocker, cycle.slot))
        self._skip(task.name, "skipped_dependency", cycle.slot, reason, {
            **_cycle_fields(cycle), "dependency": blocker, "root": root})
        self.put(task.name, cycle=None)

    # -- what is due

    def open_due_slots(self) -> None:
        """Open a cycle for every task with a due slot, or record why the slot is skipped."""
        self.last_now = self.now  # not earlier: a decision that only settles reads no schedules
        self.tasks_before_slots = dict(self.tasks)
        self._forget_removed()
        self._end_pauses()
        zone_changed = self._note_zone()
        for name in _in_order(self.config.tasks, self.due | self.touched):
            task = self.config.tasks[name]
            pause = self.pauses.get(name) or self.pauses.get(ALL_TASKS)
            fact = self.facts.runs.get(name)
            if fact is not None and fact.kind == "unknown":
                continue  # a slot may overlap with that run or not: it stays undecided
            if not task.enabled:
                self._suspend(name, "disabled", "the task was disabled", self.now)
            elif pause is not None:
                self._suspend(name, "paused", pause_words(pause), pause["since"])
            else:
                self._open_slots_of(task, zone_changed)
        names = _in_order(self.tasks, self.touched.union(self.active))
        self.active = [name for name in names if _is_active(self.tasks[name])]

    def _forget_removed(self) -> None:
        """Drop removed tasks from the state, each as soon as its run has ended."""
        removed = {name for name in self.due
                   if name not in self.config.tasks and name not in self.config.invalid}
        for name in _in_order(self.tasks, removed):
            self._suspend(name, "removed", "the task is no longer in the configuration", self.now)
            if self.tasks[name].run is None:
                del self.tasks[name]
                self.changed = True

    def _end_pauses(self) -> None:
        """Drop the pauses whose time is over."""
        for name, pause in self.before.pauses.items():
            if _end_of(pause) <= self.now:
                self.pause_ends[name] = _end_of(pause)
                del self.pauses[name]
                self.changed = True
                self.notes.append("%s: the pause has ended" % pause_scope(name))

    def _pause_of(self, name: str) -> "Pause | None":
        """The pause that suspends a task."""
        for scope in (name, ALL_TASKS):
            pause = self.pauses.get(scope)
            if pause is not None and _end_of(pause) > self.now:
                return pause
        return None

    def _note_zone(self) -> bool:
        """Whether the zone data is other than at the last tick, so that slots are computed anew."""
        self.zone_stamp = self.facts.zone_stamp
        if self.zone_stamp == self.before.zone_stamp:
            return False
        if is_other_zone(self.before.zone_stamp, self.zone_stamp):
            self._note_event({"event": "rezoned"})
        self.changed = True
        return True

    def _suspend(self, name: str, how: str, reason: str, since: float) -> None:
        """Close the slots of a task; `how` is disabled, paused or removed."""
        state = self.tasks.get(name)
        if state is None:
            return
        if state.cycle is not None and state.cycle.phase != "running":
            self._close(name, "skipped_" + how, reason)
        self._drop_queued(name, "skipped_" + how, reason)
        if state.schedule_key:
            # Without a key it is anchored anew, so that slots missed meanwhile are not made up.
            self._note_change("rested", name, state, {"reason": how, "since": iso(since)})
            self.put(name, schedule_key="", next_slot=None)

    def _open_slots_of(self, task: Task, zone_changed: bool) -> None:
        state = self.tasks.get(task.name)
        if state is None or state.schedule_key != task.schedule_key:
            state = self._anchor(task, state)
        elif zone_changed and task.schedule is not None:
            next_slot = task.schedule.next(state.cursor, task.timezone)
            state = self.put(task.name, next_slot=next_slot)
        if state.cursor > self.now or (state.satisfied_until or 0) > self.now:
            state = self._handle_clock_set_back(task, state)
        if state.queued_slot is not None and state.cycle is None and state.run is None:
            state = self._open_queued(task, state)
        if state.next_slot is not None and state.next_slot <= self.now:
            self._open_newest(task, state)
        elif task.schedule is None:
            self._open_when_all_succeeded(task, state)
        elif task.schedule.reboot and state.boot_id != self.facts.boot_id:
            self._open_after_start(task, state)

    def _open_after_start(self, task: Task, state: TaskState) -> None:
        """Open the slot of `@reboot`, if this is another start than it was decided for."""
        is_new, boot_id = is_new_start(state.boot_id, self.facts.boot_id), self.facts.boot_id
        if not is_new and "+" not in boot_id:
            return
        state = self.put(task.name, boot_id=boot_id)
        if is_new:
            slot = min(self.facts.boot_at, int(self.now))
            if task.calendar is not None and task.calendar.reason(slot):
                self._skip_days_off(task, slot, slot)
                return
            state = self.put(task.name, cursor=slot)
            self._open_cycle(task, state, slot, None)

    def _anchor(self, task: Task, state: "TaskState | None") -> TaskState:
        """Let a task's slots count from the change of its schedule, or the end of its pause."""
        since = int(self.now)
        next_slot = None
        if task.schedule is not None:
            if not task.schedule.reboot:
                resumed_at = max(self.pause_ends.get(name, 0.0) for name in (task.name, ALL_TASKS))
                since = counts_from(task, self.before, self.last_seen, self.now, resumed_at)
                self._note_change("anchored", task.name, state, {
                    "key": task.schedule_key, "since": iso(since)})
            next_slot = task.schedule.next(since, task.timezone)
        if state is None or task.schedule is None:
            # Successes from before the task existed do not start it.
            self.put(task.name, consumed=successes(self.tasks, task))
        if state is not None and state.skips:
            skips = {text: by for text, by in state.skips.items() if (from_iso(text) or 0) > since}
            self.put(task.name, skips=skips)
        return self.put(task.name, schedule_key=task.schedule_key, cursor=since,
                        next_slot=next_slot, boot_id=self.facts.boot_id)

    def _handle_clock_set_back(self, task: Task, state: TaskState) -> TaskState:
        """Up to three hours are bridged, more is a correction (Debian cron(8))."""
        now = int(self.now)
        is_correction = self.jumped_back_s > CLOCK_CORRECTION_S
        bridged_until = now if is_correction else now + CLOCK_CORRECTION_S
        if (state.satisfied_until or 0) > bridged_until:
            state = self.put(task.name, satisfied_until=now)
        if state.cursor <= now:
            return state
        if is_correction or state.cursor - now > CLOCK_CORRECTION_S:
            self.notes.append(
                "WARNING %s: the clock was set back to %s, more than three hours before the last "
                "slot decided (%s); the schedule continues from now" % (
                    task.name, iso(now), iso(state.cursor)))
            self.put(task.name, decided_until=max(state.decided_until, state.cursor))
        elif task.schedule is None or not task.schedule.wildcard:
            return state  # a fixed time that has had its run gets no second one
        self._note_change("clock", task.name, None, {"since": iso(now), "was": iso(state.cursor)})
        next_slot = task.schedule and task.schedule.next(now, task.timezone)
        return self.put(task.name, cursor=now, next_slot=next_slot)

    def _open_queued(self, task: Task, state: TaskState) -> TaskState:
        """Open the slot that was queued behind the previous cycle."""
        slot = state.queued_slot
        assert slot is not None
        # Asked here: the next slot may be due in this tick, and ends a wait by its blocker's name.
        blocker = first_unmet(self.config, self.tasks, task, slot)
        cycle = Cycle(slot=slot, phase="waiting" if blocker else "queued", waiting_for=blocker,
                      since=self.now, trigger=self._trigger(slot), merged_since=state.queued_since)
        return self.put(task.name, queued_slot=None, queued_since=None, cycle=cycle)

    def _open_newest(self, task: Task, state: TaskState) -> None:
        """Of the slots that have come, the newest runs, and the older ones merge into it."""
        first = state.next_slot
        assert task.schedule is not None and first is not None
        slot, next_slot = first, task.schedule.next(first, task.timezone)
        if next_slot is not None and next_slot <= self.now:
            slot = max(first, task.schedule.previous(self.now, task.timezone) or first)
            next_slot = task.schedule.next(self.now, task.timezone)
        state = self.put(task.name, cursor=slot, next_slot=next_slot)
        if slot <= state.decided_until < self.now:
            return  # the clock was wrong for a while and is right again: this slot has its verdict
        if task.calendar is None and not state.skips:
            merged_since = None
            if first < slot:
                merged_since = first
            self._open_cycle(task, state, slot, merged_since)
            return
        skipped = self._record_skips(task, state, first, slot)
        self._open_but_skipped(task, task.schedule, first, slot, skipped)

    def _open_but_skipped(self, task: Task, schedule: CronSchedule, first: int, newest: int,
                          skipped: "Set[int]") -> None:
        """Open the newest slot that is neither on a day off nor `skipped` by hand.

        Of those beside it, the ones on days off get their verdict here, one for each stretch.
        Between the oldest and the newest slot that could run, all merge, whatever their days: years
        without a tick cost no more.
        """
        slot = slot_to_run(task, first, newest, skipped)
        if slot is None:
            self._skip_days_off(task, first, newest, skipped)
            return
        oldest = slot_after(task, first - 1) or slot
        while oldest in skipped:
            oldest = slot_after(task, oldest) or slot
        before = schedule.previous(oldest - 1, task.timezone)
        if before is not None and first <= before:
            self._skip_days_off(task, first, before, skipped)
        merged_since = None
        if oldest < slot:
            merged_since = oldest
        self._open_cycle(task, self.tasks[task.name], slot, merged_since)
        after = schedule.next(slot, task.timezone)
        if after is not None and after <= newest:
            self._skip_days_off(task, after, newest, skipped)

    def _skip_days_off(self, task: Task, first: int, newest: int,
                       skipped: "Container[int]" = ()) -> None:
        """Skip these slots, which are on days off if they are not `skipped` by hand."""
        while task.schedule is not None and newest in skipped:
            newest = task.schedule.previous(newest - 1, task.timezone) or 0
        if newest < first:
            return
        # Those have a verdict of their own, and are not to be taken for merged into this one.
        while task.schedule is not None and first in skipped:
            first = task.schedule.next(first, task.timezone) or newest
        assert task.calendar is not None
        merged_since = None
        if first < newest:
            merged_since = first
        self._skip(task.name, "skipped_not_on", newest, task.calendar.reason(newest),
                   _merged_fields(merged_since))

    def _open_when_all_succeeded(self, task: Task, state: TaskState) -> None:
        """A task without a schedule runs when each dependency has a success not used yet."""
        if not self._have_all_succeeded(task, state):
            return
        if task.calendar is not None and task.calendar.reason(self.now):
            self.put(task.name, consumed=successes(self.tasks, task))
            self._skip_days_off(task, int(self.now), int(self.now))
        else:
            self.put(task.name, consumed=successes(self.tasks, task), cycle=Cycle(
                slot=int(self.now), trigger="dependency", phase="queued", since=self.now))

    def _have_all_succeeded(self, task: Task, state: TaskState) -> bool:
        if not task.dependencies or _is_active(state):
            return False
        numbers = successes(self.tasks, task)
        return all(numbers.get(name, 0) > state.consumed.get(name, 0)
                   for name in task.dependencies)

    def _open_cycle(self, task: Task, state: TaskState, slot: int,
                    merged_since: "int | None") -> None:
        """Open a cycle for a due slot, or record why it is skipped."""
        name, cycle = task.name, state.cycle
        if cycle is not None and cycle.phase == "waiting":
            self._give_up_waiting(task, "its next slot %s was due" % iso(slot))
            cycle = None
        if self._is_too_late(task, slot):
            if state.queued_slot is not None:  # it is older, so later still
                self._drop_queued(name, "skipped_late", self._lateness(task, state.queued_slot))
            self._skip(name, "skipped_late", slot, self._lateness(task, slot),
                       _merged_fields(merged_since))
        elif cycle is None and state.run is None:
            phase = "waiting" if task.dependencies else "queued"
            self.put(name, cycle=Cycle(slot=slot, phase=phase, since=self.now,
                                       trigger=self._trigger(slot), merged_since=merged_since))
        elif task.overlap == "queue":
            # One slot is queued; it stands for those queued or merged before it.
            firsts = (state.queued_since, state.queued_slot, merged_since)
            first = next((first for first in firsts if first is not None), None)
            self.put(name, queued_slot=slot, queued_since=first)
        else:
            self._skip_overlap(name, cycle, state.run, slot, merged_since)

    def _skip_overlap(self, name: str, cycle: "Cycle | None", run: "Run | None", slot: int,
                      merged_since: "int | None") -> None:
        """Skip a slot that overlaps with the previous one, whose success then counts for both."""
        reason = ""
        if cycle is not None:
            reason = "the slot %s was still %s" % (iso(cycle.slot), cycle.phase)
        if run is not None:
            reason = "run %s was still going" % run.run_id
        self._skip(name, "skipped_overlap", slot, reason, _merged_fields(merged_since))
        if cycle is not None:
            self.put(name, cycle=cycle.replace(absorbed=slot))
        else:
            assert run is not None  # one of the two overlaps
            self.put(name, run=run.replace(absorbed=slot))

    def _trigger(self, slot: int) -> str:
        return "catch_up" if self.now - slot >= LATE_AFTER_S else "schedule"

    # -- what may start

    def start_ready(self) -> None:
        """Start what is queued or due for a retry, oldest slot first, while there is room.

        A task starts with all its locks or waits without any: no order of names can deadlock. One
        that waits has its locks before any with a newer slot: none is overtaken for ever.
        """
        ready, free = ready_cycles(self.config, self.tasks, self.active, self.now)
        free = min(free, STARTS_AT_ONCE)
        held = self._lock_holders()
        claimed: "Dict[str, str]" = {}
        for _slot, _order, task, cycle in ready:
            if cycle.attempt > task.retry_count + 1:
                self._close(task.name, "failed", "no retries left")
                continue
            reason = ""
            if task.locks:  # ten thousand may be ready, most of them without any
                reason = lock_reason(task, held, claimed)
            if cycle.attempt == 1 and self._is_too_late(task, cycle.slot):
                cause = reason or "max_concurrent_tasks reached"
                if window_words(task, cycle.since):
                    cause = window_words(task, cycle.since).strip(" ()")
                self._close(task.name, "skipped_late", "queued too long (%s): %s" % (
                    cause, self._lateness(task, cycle.slot)))
                continue
            if task.window is not None and start_time(task, self.now) > self.now:
                continue  # until its window opens it holds nothing
            for lock in task.locks:
                claimed.setdefault(lock, task.name)
            if free > 0 and not reason and task.name not in self.facts.busy:
                self._start(task, cycle)
                free -= 1

    def _lock_holders(self) -> "Dict[str, str]":
        """The locks that are held, each with the task that holds it."""
        holders = locks_held(self.config, self.tasks, self.active)
        for name in self.facts.busy:
            holders.update(dict.fromkeys(self.config.tasks.get(name, Task()).locks, name))
        return holders

    def _start(self, task: Task, cycle: Cycle) -> None:
        self.runs_started += 1
        run = Run(run_id=run_id_of(self.now, self.runs_started), slot=cycle.slot,
                  trigger="retry" if cycle.attempt > 1 else cycle.trigger,
                  attempt=cycle.attempt, started_at=self.now, locks=list(task.locks))
        self.put(task.name, run=run, cycle=cycle.replace(phase="running", since=self.now),
                 consumed=successes(self.tasks, task))
        self.starts.append((task, run))
        if run.attempt == 1 and pings_start(task):
            self._ping(task, "start")
        self.notes.append("%s: starting run %s, attempt %d of %d, slot %s, %s" % (
            task.name, run.run_id, run.attempt, task.retry_count + 1, iso(run.slot), run.trigger))

    # -- what holds others up

    def notify_of_blockers(self) -> None:
        """Send one message for a root cause, however many tasks wait for it."""
        if not self._has_target():
            return
        waiting: "Dict[str, List[Tuple[str, int]]]" = {}  # root -> the tasks and slots that wait
        roots: "Dict[str, Tuple[str, int]]" = {}
        for name in self.active:
            cycle = self.tasks[name].cycle
            if cycle is not None and cycle.phase == "waiting" and cycle.waiting_for:
                root, _ = root_cause(self.config, self.tasks, cycle.waiting_for, cycle.slot, roots)
                waiting.setdefault(root, []).append((name, cycle.slot))
        for root, waiters in waiting.items():
            root_state = self.tasks.get(root)
            if root_state is None:
                continue  # it is invalid, which is reported as a configuration problem
            if root_state.run is not None or root_state.cycle is not None:
                continue  # it is running, or about to
            if is_skip_chosen(self.config.tasks.get(root), root_state):
                continue  # it does as it was told
            if not self._is_news(root_state.blocking_at):
                continue
            slot = min(slot for _, slot in waiters)
            outcome = _why_no_success(self.config, root, root_state, slot)
            dependents = sorted(name for name, _ in waiters)
            self._notify(root, {
                "event": "blocked", "dependents": dependents, "outcome": outcome})
            self.put(root, blocking_at=self.now)

    # -- the outcome

    def decision(self) -> Decision:
        """The decision that the steps so far come to."""
        events = list(self.events)
        for kind, tasks in self.task_events.items():
            events.append({"event": kind, "tasks": tasks, "at": self.at})
        for number, message in enumerate(self.messages, 1):
            message["id"] = run_id_of(self.now, self.before.messages_made + number)
        is_changed = bool(self.changed or events or self.messages)
        state = self.before
        if is_changed or self.records:
            state = state.replace(
                tasks=self.tasks, seq=self.seq, runs_started=self.runs_started,
                last_now=self.last_now, zone_stamp=self.zone_stamp, pauses=self.pauses,
                messages_made=state.messages_made + len(self.messages),
                pending=self.records + events + self.messages)
        agenda = self._agenda(state.tasks)
        return Decision(state=state, changed=is_changed, starts=self.starts,
                        adoptions=self.adoptions, records=self.records, events=events,
                        messages=self.messages, notes=self.notes, agenda=agenda,
                        wake_at=self._wake_at(agenda))

    def _wake_at(self, agenda: Agenda) -> float:
        """When the next decision is due if nothing else happens; 0 while a run is to be watched."""
        wake_at = agenda.next_slot
        for pause in self.pauses.values():
            wake_at = min(wake_at, _end_of(pause))
        for name in [*agenda.active, *agenda.due]:
            task, state = self.config.tasks.get(name), self.tasks.get(name)
            if state is not None and state.run is not None:
                return 0.0
            if task is None or state is None:
                continue
            cycle = state.cycle
            if state.next_slot is not None and state.next_slot < wake_at:
                wake_at = state.next_slot
            if cycle is None:
                if state.queued_slot is not None:
                    return 0.0
                continue
            if cycle.phase == "queued":
                if start_time(task, self.now) <= self.now:
                    return 0.0
                wake_at = min(wake_at, start_time(task, self.now))
            elif cycle.phase == "retrying":
                wake_at = min(wake_at, start_time(task, max(cycle.retry_at, self.now)))
            if cycle.phase != "retrying" and task.start_deadline is not None:
                wake_at = min(wake_at, cycle.slot + task.start_deadline)
        return wake_at

    # -- a slot without a run, and the end of one

    def _skip(self, name: str, status: str, slot: int, reason: str,
              more: "Verdict | None" = None) -> None:
        """Record a slot that does not run; `more` are fields of the verdict beside the usual."""
        record: "Verdict" = {
            "task": name, "status": status, "scheduled_for": iso(slot), "started_at": None,
            "ended_at": self.at, "duration_s": 0, "exit_code": None, "attempt": 0,
            "trigger": "schedule", "run_id": None, "log": None, "output_tail": "",
            "reason": reason}
        if more is not None:
            record = {**record, **more}
        self.records.append(record)
        state = self.tasks[name]
        self.put(name, marks=_marked(state, status), totals=_counted(state, status))
        # No dependent needs a slot on a day off: how the one before it ended is what counts.
        if status != "skipped_not_on":
            self.put(name, skipped={"status": status, "scheduled_for": iso(slot),
                                    "dependency": record.get("dependency", "")})
        self.notes.append("%s: slot %s %s: %s" % (name, iso(slot), status, reason))

    def _drop_queued(self, name: str, status: str, reason: str) -> None:
        state = self.tasks[name]
        if state.queued_slot is not None:
            self._skip(name, status, state.queued_slot, reason, _merged_fields(state.queued_since))
            self.put(name, queued_slot=None, queued_since=None)

    def _record_skips(self, task: Task, state: TaskState, first: int, newest: int) -> "Set[int]":
        """The due slots that `skip` took; they get their verdict."""
        skipped: "Set[int]" = set()
        if not state.skips:
            return skipped
        later = {}
        for text, reason in sorted(state.skips.items()):
            at = from_iso(text) or 0
            if at > newest:
                later[text] = reason
            # It may be no slot by now: the schedule has changed, or the day is off.
            elif at >= first and self._is_slot(task, at):
                skipped.add(at)
                self._skip(task.name, "skipped_manual", at, reason)
        self.put(task.name, skips=later)
        return skipped

    @staticmethod
    def _is_slot(task: Task, at: int) -> bool:
        """Whether this is still a slot of the schedule, and on no day off."""
        return slot_until(task, at) == at

    def stop(self, name: str, reason: str) -> None:
        """End what waits of a task: its open cycle, and the slot queued behind that."""
        state = self.tasks[name]
        cycle = state.cycle
        if cycle is not None and cycle.phase != "running":
            self._skip(name, "stopped", cycle.slot, reason, _cycle_fields(cycle))
            last = state.last
            if cycle.attempts and not state.failing_since:
                last = {**last, "status": "stopped", "ended_at": self.at, "reason": reason}
            self.put(name, cycle=None, last=last)
        self._drop_queued(name, "stopped", reason)

    def _close(self, name: str, status: str, reason: str) -> None:
        """End an open cycle that is not running: with its last attempt's result, or a skip."""
        cycle = self.tasks[name].cycle
        assert cycle is not None
        if cycle.attempts:
            *earlier, last = cycle.attempts
            fields = _cycle_fields(cycle.replace(attempts=earlier))
            self._give_verdict(name, {**last, "reason": reason, **fields}, last)
            self.put(name, last={**self.tasks[name].last, "reason": reason})
            self.notes.append("%s: slot %s %s; no further attempt: %s" % (
                name, iso(cycle.slot), outcome_text(last), reason))
        else:
            self._skip(name, status, cycle.slot, reason, _cycle_fields(cycle))
        self.put(name, cycle=None)

    def _give_verdict(self, name: str, verdict: "Verdict", last: "Verdict") -> None:
        """Record what became of a slot, and notify of its last attempt."""
        self.records.append(verdict)
        state = self.tasks[name]
        status = verdict["status"]
        self.put(name, marks=_marked(state, status), totals=_counted(state, status))
        if is_failure(last["status"]):
            is_slot = last.get("trigger") != "manual"
            self.put(name, consecutive_failures=state.consecutive_failures + is_slot,
                     failing_since=state.failing_since or self.now)
        self._notify_of_end(name, last)

    def _is_too_late(self, task: Task, slot: int) -> bool:
        return task.start_deadline is not None and self.now - slot > task.start_deadline

    def _lateness(self, task: Task, slot: int) -> str:
        return "%d s late, start_deadline is %g s" % (self.now - slot, task.start_deadline or 0)

    # -- what an audit has to know beside the verdicts

    def _note_event(self, event: "Event") -> None:
        self.events.append({**event, "at": self.at})

    def _note_change(self, kind: str, name: str, state: "TaskState | None",
                     facts: "ScheduleChange") -> None:
        """Record a change of a task's schedule, with the old one and its undecided slots."""
        if state is not None and state.schedule_key:
            facts["was"] = state.schedule_key
            if state.next_slot is not None and state.next_slot <= self.now:
                facts["undecided_since"] = iso(state.next_slot)
        self.task_events.setdefault(kind, {})[name] = facts

    # -- messages

    def _notify(self, name: str, facts: "News") -> bool:
        """Make a message on a task, or on none; False when the configuration names no target."""
        if not self._has_target():
            return False
        message: "Message" = {**facts, "task": name or None, "at": self.at, "channel": "notify"}
        if "output_tail" in message:
            secrets = secrets_of(self.config, self.config.tasks.get(name))
            message["output_tail"] = masked(message["output_tail"] or "", secrets)
        self.messages.append(message)
        return True

    def _has_target(self) -> bool:
        config = self.config
        has_target = any(getattr(config, name) for name in NOTIFICATION_TARGETS)
        return config.enable_notifications and has_target

    def _ping(self, task: "Task | None", kind: str) -> None:
        if task is not None and task.ping_url:
            self.messages.append({"event": "ping", "task": task.name, "at": self.at,
                                  "channel": "ping", "kind": kind})

    def _is_news(self, notified_at: float) -> bool:
        """Whether to notify of a lasting problem that was last notified then (0: never)."""
        since_s = self.now - notified_at  # below 0 when the clock was set back
        return not notified_at or not 0 <= since_s < self.config.renotify_hours * HOUR

    def _notify_of_end(self, name: str, record: "Verdict") -> None:
        """Notify of a first failure, again every `renotify_hours`, and of the recovery."""
        state, task = self.tasks[name], self.config.tasks.get(name)
        is_success = record["status"] == "success"
        if not is_success and not is_failure(record["status"]):
            return  # skipped or stopped, which no ping tells either
        self._ping(task, "success" if is_success else "fail")
        facts: "News" = {
            "event": "recovered" if is_success else "failed", "outcome": outcome_text(record),
            "attempts": record.get("attempt"), "status": record["status"],
            "scheduled_for": record.get("scheduled_for"), "started_at": record.get("started_at"),
            "ended_at": record["ended_at"], "duration_s": record.get("duration_s", 0.0),
            "exit_code": record.get("exit_code"), "run_id": record.get("run_id"),
            "reason": record.get("reason"), "output_tail": record.get("output_tail")}
        if is_success:
            if state.notified_at:
                self._notify(name, facts)
            self.put(name, notified_at=0.0, blocking_at=0.0)
        elif self._is_news(state.notified_at) and self._notify(name, facts):
            self.put(name, notified_at=self.now)


def _end_note(name: str, record: "Verdict") -> str:
    """What the log says of the end of a run."""
    note = "%s: run %s %s after %s s" % (
        name, record["run_id"], outcome_text(record), record["duration_s"])
    if record.get("reason"):
        note += ": %s" % record["reason"]
    return note


def _is_active(state: TaskState) -> bool:
    return state.run is not None or state.cycle is not None


def _in_order(names: "Iterable[str]", chosen: "Set[str]") -> "List[str]":
    """Those of the names that are chosen, in their order."""
    if not chosen:
        return []
    return [name for name in names if name in chosen]


def _end_of(pause: "Pause") -> float:
    until = pause.get("until")
    if until is None:
        return float("inf")
    return until


def is_other_zone(before: str, after: str) -> bool:
    """Whether the system's zone is another one, by two stamps of the same version."""
    old, new = before.partition(" ")[0], after.partition(" ")[0]
    return bool(old) and old.count(",") == new.count(",") and old != new


def is_new_start(before: str, after: str) -> bool:
    """Whether two ids (current_start_id) are of different starts of the machine or container.

    One that does not say when process 1 began proves no start within the same boot.
    """
    old_boot, _, old_init = before.partition("+")
    new_boot, _, new_init = after.partition("+")
    if old_boot != new_boot:
        return True
    return bool(old_init and new_init) and old_init != new_init


def gap_cause(before: Evidence, after: Evidence, length_s: float) -> str:
    """Why there was no tick for so long, a key of GAP_CAUSES; '' if the evidence does not say."""
    if is_new_start(before.boot_id, after.boot_id):
        return "reboot"
    moved_s = after.clock_offset - before.clock_offset
    if before.suspended is None or after.suspended is None:
        return "cron" if abs(moved_s) < length_s / 2 else ""
    suspended_s = after.suspended - before.suspended
    if suspended_s >= length_s / 2:
        return "suspend"
    return "clock" if moved_s - suspended_s >= length_s / 2 else "cron"


# -- what a person asks for

def stop_waiting(config: Config, state: State, name: str, now: float, reason: str) -> Decision:
    """The decision that nothing of a task waits any more; a run goes on for now."""
    draft = _Draft(config, state, now, Facts(zone_stamp=state.zone_stamp), 0.0)
    draft.stop(name, reason)
    return draft.decision()


def skip_slot(state: State, task: Task, last_tick: "float | None", now: float,
              reason: str) -> "Tuple[State, int | None]":
    """The state with the next slot of a task to be skipped, and that slot; None without one."""
    slot = coming_slot(task, state, last_tick, now)
    if slot is None:
        return state, None
    task_state = state.tasks.get(task.name, TaskState())
    task_state = task_state.replace(skips=dict(task_state.skips, **{iso(slot): reason}))
    return state.replace(tasks=dict(state.tasks, **{task.name: task_state})), slot


def undo_skip(state: State, task: Task) -> "Tuple[State, int | None]":
    """The state with the last of the slots to be skipped given back, and it; None without one."""
    task_state = state.tasks.get(task.name, TaskState())
    slots = [from_iso(text) or 0 for text in task_state.skips]
    # A change of the schedule or of its days off may have left some that are none any more.
    slots = [slot for slot in slots if slot_until(task, slot) == slot]
    if not slots:
        return state, None
    skips = dict(task_state.skips)
    del skips[iso(max(slots))]
    task_state = task_state.replace(skips=skips)
    return state.replace(tasks=dict(state.tasks, **{task.name: task_state})), max(slots)


# -- runs and their records

def begin_manual(state: State, task: Task, now: float,
                 slot: "int | None" = None) -> "Tuple[State, Run]":
    """The state with a run started by hand, and that run; it may be for a past slot."""
    before = state.tasks.get(task.name, TaskState())
    run = Run(run_id=run_id_of(now, state.runs_started + 1), trigger="manual", slot=slot,
              started_at=now, locks=list(task.locks))
    consumed = successes(state.tasks, task)
    tasks = dict(state.tasks)
    tasks[task.name] = before.replace(run=run, consumed=dict(before.consumed, **consumed))
    return state.replace(tasks=tasks, runs_started=state.runs_started + 1), run


def run_id_of(now: float, number: int) -> str:
    """The name of a run: its start in UTC and a number that grows with every run of the root."""
    return "%s-%d" % (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)), number)


def _result_record(name: str, run: Run, result: "Result") -> "Verdict":
    """A run that ended, as history and status have it."""
    ended_at = float(result["ended_at"])
    record: "Verdict" = {
        **result,  # type: ignore[typeddict-item]  # it has no fields of a cycle
        "task": name, "run_id": run.run_id, "trigger": run.trigger, "attempt": run.attempt,
        "scheduled_for": iso(run.slot), "started_at": iso(run.started_at),
        "ended_at": iso(ended_at), "log": "logs/automation/%s.log" % name}
    record.setdefault("duration_s", round(max(0.0, ended_at - run.started_at), 3))
    record.setdefault("output_tail", "")
    return record


def _skip_in(record: "Verdict", cycle: "Cycle | None") -> "Skip":
    """What the state keeps of a run that skipped its slot or was stopped; one by hand has none."""
    slot = record.get("scheduled_for")
    is_skip = record["status"].startswith("skipped_") or record["status"] == "stopped"
    if cycle is None or slot is None or not is_skip:
        return {}
    return {"status": record["status"], "scheduled_for": slot, "dependency": ""}


def joined_reason(reason: "str | None", more: str) -> str:
    return "%s; %s" % (reason, more) if reason else more


def _cycle_fields(cycle: "Cycle | None") -> "Verdict":
    """What a verdict says about its cycle beyond its last attempt; a run by hand has none."""
    if cycle is None:
        return {}
    fields = _merged_fields(cycle.merged_since)
    if cycle.absorbed is not None:
        fields["absorbed"] = iso(cycle.absorbed)
    if cycle.attempts:
        fields["attempts"] = list(cycle.attempts)
    return fields


def _merged_fields(first: "int | None") -> "Verdict":
    """What a verdict says of the older slots that were merged into its own, from `first` on."""
    return {} if first is None else {"merged_since": iso(first)}


def _marked(state: TaskState, status: str) -> str:
    return (state.marks + MARKS.get(status, SKIP_MARK))[-MARKS_KEPT:]


def _counted(state: TaskState, status: str) -> "Dict[str, int]":
    """The totals with one more verdict."""
    return {**state.totals, status: state.totals.get(status, 0) + 1}


def counters_of(state: State) -> "Dict[str, TaskState]":
    """What metrics must not lose together with a state: totals, and when each task succeeded."""
    return {name: TaskState(last_success=task_state.last_success, totals=task_state.totals)
            for name, task_state in state.tasks.items()
            if task_state.last_success or task_state.totals}


# == Audit and why ==

class Period(Value):
    """A stretch in which a task had one schedule. Its slots lie in (start, end]."""

    start: float = 0.0
    end: float = 0.0
    key: str = ""
    is_open: bool = False  # the schedule that holds now
    is_lost: bool = False  # the state was deleted at its end: to the next tick, the task was new
    ended_by: str = ""     # what was done to the task: rescheduled, paused, disabled or removed
    undecided_since: "int | None" = None  # from here to the end no tick had decided yet


class Slot(Value):
    """A due slot and what became of it: `fate` is a status of the history or a word of FATES."""

    task: str = ""
    at: int = 0
    fate: str = "unexplained"
    reason: str = ""
    was_off: bool = False  # no tick ran at the time
    shifted: bool = False  # it stands for times that the clocks skipped


UNEXPLAINED = ("unexplained", "double")


class Ledger:
    """What is known of the slots of one task, ordered for questions about each.

    `jumps` say where the clock was set back: (to, from). Up to `decided_until` a tick has looked;
    `undecided` is why later slots have no verdict.
    """

    def __init__(self, verdicts: "Iterable[Verdict]", state: TaskState,
                 jumps: "Sequence[Tuple[int, int]]" = (), decided_until: float = 0.0,
                 undecided: str = "") -> None:
        self.by_slot: "Dict[int, List[Verdict]]" = {}
        self.by_hand: "Dict[int, Verdict]" = {}  # the newest run for a past slot
        self.merged: "List[Tuple[int, int]]" = []  # (first slot merged, the slot it merged into)
        self.open: "Dict[int, str]" = {}  # the slots that have no verdict yet, and why
        self.jumps = jumps
        self.decided_until = max(state.cursor, decided_until)
        self.undecided = undecided
        for verdict in verdicts:
            slot = from_iso(verdict.get("scheduled_for"))
            if slot is not None and verdict.get("trigger") == "manual":
                self.by_hand[slot] = verdict
            elif slot is not None:
                self.by_slot.setdefault(slot, []).append(verdict)
                self._merge(from_iso(verdict.get("merged_since")), slot)
        if state.cycle is not None:
            self.open[state.cycle.slot] = state.cycle.phase
            self._merge(state.cycle.merged_since, state.cycle.slot)
        if state.queued_slot is not None:
            self.open[state.queued_slot] = "queued behind the previous slot"
            self._merge(state.queued_since, state.queued_slot)
        self.merged.sort()
        self._starts = [first for first, _ in self.merged]
        # Up to each stretch, how far the longest reaches: one may lie within another.
        self._reach: "List[int]" = []
        reach = 0
        for _, into in self.merged:
            reach = max(reach, into)
            self._reach.append(reach)

    def _merge(self, first: "int | None", slot: int) -> None:
        if first is not None:
            self.merged.append((first, slot))

    def merged_into(self, slot: int) -> "int | None":
        """The slot whose run answered for this one as well."""
        index = bisect.bisect_right(self._starts, slot)
        while index and self._reach[index - 1] > slot:
            index -= 1
            if self.merged[index][1] > slot:
                return self.merged[index][1]
        return None

    def fate(self, slot: int, period: Period) -> "Tuple[str, str]":
        """What became of a slot, and the reason."""
        verdicts = self.by_slot.get(slot, [])
        if len(verdicts) > 1 and not any(to <= slot <= before for to, before in self.jumps):
            return "double", "%d results were recorded" % len(verdicts)
        by_hand = self.by_hand.get(slot)
        if by_hand is not None and "success" not in [verdict["status"] for verdict in verdicts]:
            return by_hand["status"], "run by hand at %s" % by_hand.get("started_at")
        if verdicts:
            return verdicts[-1]["status"], verdicts[-1].get("reason") or ""
        if slot in self.open:
            return "open", self.open[slot]
        into = self.merged_into(slot)
        if into is not None:
            return "merged", "into %s" % iso(into)
        if period.undecided_since is not None and slot >= period.undecided_since:
            return "edited", "the task was %s before a tick could decide" % period.ended_by
        if period.is_open and slot > self.decided_until:
            return "due", self.undecided
        reason = "no result was recorded"
        if period.is_lost:
            reason += "; the state was lost before %s" % iso(period.end)
        return "unexplained", reason


def periods_of(events: "Iterable[Tuple[str, float, ScheduleChange]]", state: TaskState,
               now: float) -> "List[Period]":
    """The periods of one task, by its events (kind, time, facts), oldest first."""
    periods: "List[Period]" = []
    current: "Period | None" = None
    is_first = True
    for kind, at, facts in events:
        if kind not in ("anchored", "rested"):
            continue
        since = float(from_iso(facts.get("since")) or at)
        if is_first and facts.get("was"):
            current = Period(key=facts["was"])  # the event that began it is no longer kept
        is_first = False
        is_anchor = kind == "anchored"
        if current is not None:
            periods.append(current.replace(
                end=since, is_lost=is_anchor and not facts.get("was"),
                ended_by="rescheduled" if is_anchor else facts.get("reason", "suspended"),
                undecided_since=from_iso(facts.get("undecided_since"))))
        current = Period(start=since, key=facts.get("key", "")) if is_anchor else None
    if is_first and state.schedule_key:
        current = Period(key=state.schedule_key)
    if current is not None:
        periods.append(current.replace(end=now, is_open=True))
    return periods


def audit(name: str, periods: "Iterable[Period]", ledger: Ledger,
          gaps: "Sequence[Tuple[float, float]]", since: float,
          zone_changed_at: float) -> "Iterator[Slot]":
    """Every due slot of a task from `since` on, recomputed and held against the history.

    `gaps` are the times without a tick. `zone_changed_at` is when the system came by its time zone:
    in the one before, nothing can be recomputed.
    """
    for period in periods:
        text, _, zone = period.key.rpartition(" ")
        if not text:
            continue  # the key of a task without a schedule has no blank
        schedule = schedule_of(text, name, recorded=True)
        start = max(period.start, since - 1)
        if not zone:
            start = max(start, zone_changed_at)
        at = schedule.next(int(start), zone or None)
        while at is not None and at <= period.end:
            fate, reason = ledger.fate(at, period)
            yield Slot(task=name, at=at, fate=fate, reason=reason,
                       shifted=schedule.is_shifted(at, zone or None),
                       was_off=any(low < at <= high - LATE_AFTER_S for low, high in gaps))
            at = schedule.next(at, zone or None)


def audit_all(config: Config, state: State, verdicts: "Iterable[Verdict]",
              events: "Iterable[Event]", since: float, now: float,
              last_tick: "float | None", only: str = "") -> "Iterator[Slot]":
    """The audit of every task that the configuration, the state or the history has, or of one."""
    verdicts_of: "Dict[str, List[Verdict]]" = {}
    for verdict in verdicts:
        verdicts_of.setdefault(verdict["task"], []).append(verdict)
    events_of: "Dict[str, List[Tuple[str, float, ScheduleChange]]]" = {}
    gaps: "List[Tuple[float, float]]" = []
    zone_changed_at = 0.0
    for event in events:
        kind, at = event["event"], float(from_iso(event["at"]) or 0)
        if kind == "gap":
            gaps.append((float(from_iso(event["since"]) or 0), at))
        elif kind == "rezoned":
            zone_changed_at = max(zone_changed_at, at)
        for name, facts in event.get("tasks", {}).items():
            events_of.setdefault(name, []).append((kind, at, facts))
    names = [only] if only else list(dict.fromkeys([*config.tasks, *state.tasks, *events_of]))
    for name in names:
        task_state, task_events = state.tasks.get(name, TaskState()), events_of.get(name, [])
        jumps = [(from_iso(facts["since"]) or 0, from_iso(facts["was"]) or 0)
                 for kind, _, facts in task_events if kind == "clock"]
        decided_until = 0.0
        if last_tick and name in config.tasks:
            decided_until = last_tick - TICK_STALE_S
        ledger = Ledger(verdicts_of.get(name, ()), task_state, jumps, decided_until,
                        _why_undecided(config, name, last_tick))
        periods = periods_of(task_events, task_state, now)
        yield from audit(name, periods, ledger, gaps, since, zone_changed_at)


def _why_undecided(config: Config, name: str, last_tick: "float | None") -> str:
    if name in config.invalid:
        return "the task is invalid: %s" % config.invalid[name]
    if last_tick:
        return "no tick since %s" % iso(last_tick)
    return "no tick has run yet"


def dropped_slot(task: Task, state: State, events: "Sequence[Event]", at: float) -> "Slot | None":
    """The newest slot of the schedule up to `at`, if it came while the task was suspended.

    The history has no verdict on such a slot, and an audit asks for none.
    """
    slot = None
    if task.schedule is not None:
        slot = task.schedule.previous(at, task.timezone)
    if slot is None:
        return None
    rest: "ScheduleChange | None" = None
    for event in events:
        facts = event.get("tasks", {}).get(task.name)
        if facts is None or (from_iso(facts.get("since")) or 0) >= slot:
            continue
        if event["event"] == "rested":
            rest = facts
        elif event["event"] == "anchored":
            rest = None
    if rest is None or rest.get("was") != task.schedule_key:
        return None  # by another schedule, it may not have been a slot
    how = rest.get("reason", "")
    reason = "it was %s at %s" % (how, rest.get("since"))
    pause = _pause_at(task.name, state, events, slot)
    if how == "paused" and pause is not None:
        reason = pause_words(pause)
    return Slot(task=task.name, at=slot, fate="skipped_" + how, reason=reason)


def _pause_at(name: str, state: State, events: "Iterable[Event]", at: float) -> "Pause | None":
    """The pause that a task was under at that time; its `until` is when it ended, or is to."""
    pauses: "Dict[Tuple[str, float], Pause]" = {}  # an event repeats the pauses of those before it
    for snapshot in [event.get("pauses", {}) for event in events] + [state.pauses]:
        for scope in (ALL_TASKS, name):
            if scope in snapshot:
                pauses[scope, snapshot[scope]["since"]] = snapshot[scope]
    newest = None
    for pause in pauses.values():
        until = pause.get("until")
        if pause["since"] < at and (until is None or at <= until):
            newest = pause
    return newest


def lost_pauses(events: "Iterable[Event]", since: float) -> "List[Document]":
    """The pauses that went with a state, each with the time of the first decision without it."""
    lost = []
    pauses: "Dict[str, Pause]" = {}
    for event in events:
        at = from_iso(event["at"]) or 0
        if event["event"] == "begun" and at >= since:
            for name, pause in pauses.items():
                until = pause.get("until")
                is_over = until is not None and until <= at
                if name not in event["pauses"] and not is_over:
                    lost.append({"task": name, "at": event["at"], "reason": pause["reason"]})
        pauses = event.get("pauses", pauses)
    return lost


# == Health ==

# The limits that health goes by; scripts/quick_health_check.sh has the same ones as its defaults.
TICK_DEAD_S = 10 * MINUTE  # without a known cause; from TICK_STALE_S on, ticks are late
FREE_WARNING_PERCENT = 5   # of the disk, and of its inodes
FREE_PROBLEM_PERCENT = 2
UNDELIVERED_AFTER_S = HOUR
SHORTEST_GRACE_S = 5 * MINUTE  # for a slot to have a success
STARTED_BY = {"manual": ", started by hand"}

PROBLEM, WARNING, NOTICE = "problem", "warning", "notice"

# Code -> how bad it is, and the check of `doctor` that it belongs to. The codes are stable.
FINDINGS = {
    "not-called": (PROBLEM, "ticks"),         # no tick yet, or none for TICK_DEAD_S; cause unknown
    "ticks-late": (WARNING, "ticks"),
    "ticks-fail": (PROBLEM, "ticks"),
    "no-cron-daemon": (PROBLEM, "ticks"),
    "line-missing": (PROBLEM, "crontab"),
    "line-broken": (PROBLEM, "crontab"),      # it cannot run: its Python or its shell
    "line-not-seen": (NOTICE, "crontab"),     # ticks come, and not by a line of this user's crontab
    "line-changed": (WARNING, "crontab"),
    "lines-doubled": (PROBLEM, "crontab"),    # cron runs them, and so do the tasks made from them
    "crontab-unreadable": (WARNING, "crontab"),
    "no-configuration": (PROBLEM, "configuration"),
    "configuration-broken": (PROBLEM, "configuration"),
    "configuration": (PROBLEM, "configuration"),
    "insecure": (PROBLEM, "configuration"),
    "no-zone-data": (PROBLEM, "clock"),
    "clock-behind": (PROBLEM, "clock"),
    "clock-set-back": (WARNING, "clock"),
    "disk-full": (PROBLEM, "disk"),
    "disk-nearly-full": (PROBLEM, "disk"),
    "disk-low": (WARNING, "disk"),
    "inodes-low": (WARNING, "disk"),
    "inodes-full": (PROBLEM, "disk"),
    "not-writable": (PROBLEM, "disk"),
    "unreadable": (PROBLEM, "files"),
    "state-damaged": (PROBLEM, "files"),
    "not-written": (WARNING, "files"),        # the file of a setting: metrics, the report
    "undelivered": (WARNING, "messages"),
    "paused-for-good": (PROBLEM, "pauses"),   # all tasks, and nothing ends it
    "paused-all": (WARNING, "pauses"),
    "paused": (NOTICE, "pauses"),
    "failing": (PROBLEM, "tasks"),
    "retrying": (WARNING, "tasks"),
    "not-started": (WARNING, "tasks"),        # its last start failed, and is repeated
    "unended": (PROBLEM, "tasks"),
    "blocking": (PROBLEM, "tasks"),
    "skip-blocks": (WARNING, "tasks"),        # others wait for it, and nothing failed
    "overdue": (PROBLEM, "tasks"),
    "skipping": (WARNING, "tasks"),           # its condition or exit codes keep it from running
    "run-unclear": (WARNING, "tasks"),
    # `doctor` alone finds these: they take longer, or differ from one reader to the next.
    "no-daemon-seen": (NOTICE, "ticks"),
    "old-daemon": (PROBLEM, "ticks"),
    "lost-block": (WARNING, "crontab"),
    "suspicion": (WARNING, "configuration"),
    "cannot-start": (PROBLEM, "configuration"),  # for a file of env_file
    "environment-unknown": (WARNING, "environment"),
    "zone-differs": (WARNING, "clock"),
    "foreign-files": (PROBLEM, "files"),
    "not-accessible": (PROBLEM, "files"),
    "not-reaped": (WARNING, "tasks"),
}


# While one of these lasts, no task starts.
STANDSTILL = ("not-called", "ticks-fail", "no-cron-daemon", "line-missing", "line-broken",
              "no-configuration", "insecure", "disk-full", "not-writable", "paused-for-good")


class Finding(Value):
    """Something that is wrong, or worth knowing.

    `text` is one sentence without its full stop, `command` what to type next ('' for nothing),
    `since` epoch seconds, and `output` the last line that a failed task printed.
    """

    code: str = ""
    text: str = ""
    command: str = ""
    task: str = ""
    place: str = ""
    since: "float | None" = None
    output: str = ""

    @property
    def severity(self) -> str:
        """problem, warning or notice."""
        return FINDINGS[self.code][0]


class TickFailure(Value):
    """How the last tick failed; `since` is when the first of such ticks in a row did."""

    at: float = 0.0
    since: float = 0.0
    exit_code: int = 0
    text: str = ""


class Machine(Value):
    """What the machine says. None: it was not asked, or could not tell."""

    now: float = 0.0
    last_tick: "float | None" = None
    is_tick_unreadable: bool = False
    awake_s: "float | None" = None        # of the time since then, when a tick could have come
    failure: "TickFailure | None" = None  # of the newest tick, if that failed
    cron_log: str = ""                    # what cron's own call printed since the last tick
    line: "Finding | None" = None         # what is wrong with the crontab line or the timer
    has_line: "bool | None" = None
    timer: str = ""                       # what shows the systemd timer, where that calls
    daemon: "str | None" = None           # the cron daemon that runs; '' for none
    daemon_command: str = ""              # what starts one here
    free_bytes: "int | None" = None
    total_bytes: int = 0
    free_inodes: "int | None" = None
    total_inodes: int = 0
    write_error: str = ""
    has_zone_data: bool = True
    undelivered: "Sequence[float]" = ()   # when each message was made
    unreadable: "Sequence[str]" = ()      # what could not be read, and why
    state_notes: "Sequence[str]" = ()     # what is wrong with the state
    unwritten: "Dict[str, str]" = {}      # setting -> why its file could not be written
    insecure: "Sequence[Problem]" = ()
    broken: "Sequence[Problem]" = ()      # why the configuration cannot be used as a whole
    runs: "Dict[str, str]" = {}           # task -> what is odd about its run
    pids: "Dict[str, List[int]]" = {}     # task -> the processes of its run that can be seen
    root: str = ""
    mount: str = ""                       # where the disk of the root is mounted
    program: str = "symphony_conductor.py"  # how the reader calls it

    @property
    def silent_s(self) -> float:
        """How long ticks have been missing."""
        if self.awake_s is not None:
            return self.awake_s
        return float("inf") if self.last_tick is None else self.now - self.last_tick


def examine(config: "Config | None", state: State, machine: Machine) -> "List[Finding]":
    """Everything that is wrong, the worst first.

    This is the one judgement of health: what shows it adds none of its own.
    """
    findings = _disk_findings(machine) + _tick_findings(machine) + _file_findings(machine)
    findings += _configuration_findings(config, machine) + _clock_findings(config, state, machine)
    findings += _pause_findings(config or Config(), state, machine)
    findings += _task_findings(config or Config(), state, machine)
    findings += _message_findings(machine)
    order = (PROBLEM, WARNING, NOTICE)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def level_of(findings: "Sequence[Finding]") -> str:
    """OK, WARNING, CRITICAL, or UNKNOWN where all that is wrong is that something is unreadable.

    These are the words of monitoring plugins.
    """
    severities = {finding.severity for finding in findings if finding.code != "unreadable"}
    if PROBLEM in severities:
        return "CRITICAL"
    if any(finding.code == "unreadable" for finding in findings):
        return "UNKNOWN"
    return "WARNING" if WARNING in severities else "OK"


def _called(machine: Machine, words: str) -> str:
    """A command line of the conductor, as the reader can type it."""
    return "%s %s" % (machine.program, words)


def _tick_findings(machine: Machine) -> "List[Finding]":
    """Whether ticks come and do their work; where they do not, the cause if there is evidence."""
    last, now = machine.last_tick, machine.now
    if machine.is_tick_unreadable:
        return []  # which is a finding of its own
    if last is not None and last - now > TICK_STALE_S:
        return [Finding(code="clock-behind", since=None, command="date", text=(
            "the last tick is %s ahead of the clock: the clock was set back, and no tick has run"
            " since" % duration_text(last - now)))]
    findings = []
    if machine.failure is not None:
        findings.append(_failed_ticks(machine, machine.failure))
    silence = "no tick has run yet"
    if last is not None:
        silence = "no tick for %s" % duration_text(now - last)
    is_silent = machine.silent_s > TICK_STALE_S
    if (is_silent or last is None) and machine.daemon == "" and machine.failure is None:
        findings.append(Finding(
            code="no-cron-daemon", text="no cron daemon is running; " + silence, since=last,
            command=machine.daemon_command))
    if machine.line is not None:
        # What came of it is said once, of what stops the ticks first.
        findings.append(_line_finding(machine.line, is_silent, silence if not findings else ""))
    if not is_silent or machine.failure is not None:
        return findings
    if any(finding.severity == PROBLEM for finding in findings):
        return findings  # the cause is known
    if last is None:
        findings.append(Finding(code="not-called", text=silence, command=machine.timer or _called(
            machine, "doctor" if machine.has_line else "install")))
    elif machine.cron_log:
        findings.append(Finding(
            code="ticks-fail", since=last, command="tail %s" % shlex.quote(
                machine.root + "/logs/conductor_cron.log"),
            text="cron calls the tick, which fails: " + machine.cron_log))
    else:
        is_dead = machine.silent_s > TICK_DEAD_S
        findings.append(Finding(
            code="not-called" if is_dead else "ticks-late", since=last,
            text="%s; cause unknown" % silence,
            command=machine.timer or _called(machine, "doctor")))
    return findings


def _failed_ticks(machine: Machine, failure: TickFailure) -> Finding:
    text = "the last tick failed: " + failure.text.rstrip(".")
    if failure.at - failure.since >= MINUTE:
        text = "ticks fail: " + failure.text.rstrip(".")
    return Finding(code="ticks-fail", since=failure.since, text=text,
                   command=_called(machine, "doctor"))


def _line_finding(finding: Finding, is_silent: bool, silence: str) -> Finding:
    """What is wrong with the crontab line, together with what came of it."""
    if is_silent and silence:
        return finding.replace(text="%s; %s" % (finding.text, silence))
    if finding.code == "line-missing" and not is_silent:  # something else calls the ticks
        return finding.replace(code="line-not-seen", text=finding.text + ", but ticks come")
    return finding


def _disk_findings(machine: Machine) -> "List[Finding]":
    findings = []
    command = "du -xh %s | sort -h | tail" % shlex.quote(machine.mount)
    if machine.free_bytes is not None and machine.total_bytes:
        share = 100.0 * machine.free_bytes / machine.total_bytes
        text = "the disk has %s of %s free (%.1f %%)" % (
            size_text(machine.free_bytes), size_text(machine.total_bytes), share)
        if share < FREE_PROBLEM_PERCENT:
            code = "disk-nearly-full"
            if machine.write_error or not machine.free_bytes:
                code = "disk-full"
                text = "the disk is full (%s of %s free), so tasks cannot start" % (
                    size_text(machine.free_bytes), size_text(machine.total_bytes))
            findings.append(Finding(code=code, text=text, command=command))
        elif share < FREE_WARNING_PERCENT:
            findings.append(Finding(code="disk-low", text=text, command=command))
    if machine.free_inodes is not None and machine.total_inodes:
        share = 100.0 * machine.free_inodes / machine.total_inodes
        if share < FREE_WARNING_PERCENT:
            findings.append(Finding(
                code="inodes-full" if share < FREE_PROBLEM_PERCENT else "inodes-low",
                command="du -x --inodes %s | sort -n | tail" % shlex.quote(machine.mount),
                text="the disk has %d of %d inodes free" % (
                    machine.free_inodes, machine.total_inodes)))
    is_explained = any(finding.severity == PROBLEM for finding in findings)
    if machine.write_error and not is_explained:
        findings.append(Finding(code="not-writable",
                                command="ls -ld %s/*" % shlex.quote(machine.root),
                                text="ticks cannot write to " + machine.write_error))
    return findings


def _file_findings(machine: Machine) -> "List[Finding]":
    findings = []
    if machine.unreadable:
        text = machine.unreadable[0].rstrip(".")
        if len(machine.unreadable) > 1:
            text += " (and %d more)" % (len(machine.unreadable) - 1)
        findings.append(Finding(code="unreadable", text=text, command=_called(machine, "doctor")))
    if machine.state_notes:
        notes = [note.replace("WARNING ", "", 1) for note in machine.state_notes]
        findings.append(Finding(code="state-damaged", text="; ".join(notes),
                                command=_called(machine, "doctor")))
    return findings + [
        Finding(code="not-written", text="%s: %s" % (setting, text.rstrip(".")),
                command=_called(machine, "check"))
        for setting, text in machine.unwritten.items()]


def _configuration_findings(config: "Config | None", machine: Machine) -> "List[Finding]":
    findings = [Finding(code="insecure", text=str(problem), place=problem.place,
                        command=problem.hint if problem.hint.startswith("chmod") else "")
                for problem in machine.insecure]
    check = _called(machine, NEXT_WORDS["configuration"])
    broken = [problem for problem in machine.broken if problem not in machine.insecure]
    if config is None:
        if broken:
            problem = broken[0]
            text, command = str(problem), check
            if problem.hint.endswith(" init"):
                text, command = str(problem.replace(hint="")), _called(machine, "init")
            findings.append(Finding(
                code="no-configuration", place=problem.place, command=command,
                text="there is no usable configuration, so nothing runs: %s" % text))
        return findings
    if broken:
        text = "changes are ignored and the last valid configuration is in force: %s" % broken[0]
        if len(broken) > 1:
            text += " (and %s)" % plural(len(broken) - 1, "more problem")
        findings.append(Finding(code="configuration-broken", place=broken[0].place, command=check,
                                text=text))
    return findings + [
        Finding(code="configuration", text=str(problem), place=problem.place, task=problem.task,
                command=check) for problem in config.problems if not problem.warning]


def _clock_findings(config: "Config | None", state: State, machine: Machine) -> "List[Finding]":
    findings = []
    ahead_s = state.last_now - machine.now
    is_tick_ahead = (machine.last_tick or 0) - machine.now > TICK_STALE_S
    if ahead_s > TICK_STALE_S and not is_tick_ahead:  # of which the tick's own finding tells
        findings.append(Finding(
            code="clock-behind" if ahead_s > CLOCK_CORRECTION_S else "clock-set-back",
            command="date", text="the clock is %s behind the last recorded decision (%s)" % (
                duration_text(ahead_s), iso(state.last_now))))
    problems = list(machine.broken) + (config.problems if config is not None else [])
    if not machine.has_zone_data and any("time zone" in problem.text for problem in problems):
        findings.append(Finding(code="no-zone-data", text=(
            "this system has no time zone data, so tasks with a timezone cannot be scheduled"
            " (install the package tzdata)"), command=_called(machine, "check")))
    return findings


def _message_findings(machine: Machine) -> "List[Finding]":
    old = [at for at in machine.undelivered if machine.now - at > UNDELIVERED_AFTER_S]
    if not old:
        return []
    return [Finding(code="undelivered", since=min(old), command=_called(machine, "notify-test"),
                    text="%s not delivered" % plural(
                        len(old), "notification was", "notifications were"))]


def _pause_findings(config: Config, state: State, machine: Machine) -> "List[Finding]":
    findings = []
    for name, pause in sorted(state.pauses.items()):
        until = pause["until"]
        task = config.tasks.get(name)
        if until is not None and until <= machine.now or task is not None and not task.enabled:
            continue
        verb = "are" if name == ALL_TASKS else "is"
        end = "until %s" % iso(until) if until is not None else "indefinitely"
        text = "%s %s paused %s" % (pause_scope(name), verb, end)
        if pause.get("by"):
            text += " by %s" % pause["by"]
        if pause["reason"]:
            text += ": %s" % pause["reason"]
        code, words = "paused", name
        if name == ALL_TASKS:
            code, words = "paused-for-good" if until is None else "paused-all", "--all"
        findings.append(Finding(code=code, task="" if name == ALL_TASKS else name, text=text,
                                since=pause["since"], command=_called(machine, "resume " + words)))
    return findings


# -- the health of tasks

def pause_document(state: State, task: Task) -> "Document | None":
    """The pause that a task is under, its own or that of all; None without one."""
    names = [name for name in (task.name, ALL_TASKS) if name in state.pauses]
    if not names:
        return None
    # The one that lasts longest counts; a pause without an end outlasts every other.
    pause = max((state.pauses[name] for name in names),
                key=lambda pause: (pause["until"] is None, pause["until"] or 0))
    return {"since": iso(pause["since"]), "until": iso(pause["until"]), "reason": pause["reason"],
            "names": sorted(names)}


def grace_of(task: Task) -> float:
    """Seconds until a slot must have a success: one run, and all delays between its attempts."""
    delays = sum(task.retry_wait(attempt) for attempt in range(1, task.retry_count + 1))
    return max(float(SHORTEST_GRACE_S), task.timeout + task.kill_grace + delays)


def _task_findings(config: Config, state: State, machine: Machine) -> "List[Finding]":
    waiting = waiting_for_roots(config, state)
    held = {name for names in waiting.values() for name in names}
    reasons = queue_reasons(config, state.tasks, machine.now)
    findings = []
    for name, task_state in state.tasks.items():
        task = config.tasks.get(name)
        run = task_state.run
        if run is not None and run.unended:
            findings.append(Finding(
                code="unended", task=name, since=run.started_at,
                text=MESSAGE_TEXTS["unended"] % {"task": name, "outcome": run.unended},
                command=_called(machine, NEXT_WORDS["unended"] % {"task": name})))
        elif name in machine.runs:
            findings.append(Finding(
                code="run-unclear", task=name, text=machine.runs[name].rstrip("."), command="tail "
                + shlex.quote(machine.root + "/logs/symphony_conductor.log")))
        if task is not None and task.enabled:
            findings += _skipping_findings(task, task_state, machine)
            failures = _failure_findings(
                config, state, task, machine, waiting.get(name, []), reasons)
            if any(finding.code == "failing" for finding in failures):
                waiting.pop(name, None)  # its finding says whom it blocks
            findings += failures
            if name not in held:
                findings += _overdue_findings(config, task, state, machine, reasons)
    return findings + [_blocking_finding(config, state, machine, root, names)
                       for root, names in waiting.items()]


def _failure_findings(config: Config, whole: State, task: Task, machine: Machine,
                      blocked: "Sequence[str]", reasons: "Dict[str, str]") -> "List[Finding]":
    """A task whose last slot failed, or whose open one did so far; `blocked` wait for it."""
    state = whole.tasks[task.name]
    cycle, last = state.cycle, state.last
    is_open = cycle is not None and bool(cycle.attempts)
    findings = []
    if cycle is not None and cycle.lost_starts:
        findings.append(Finding(
            code="not-started", task=task.name, since=cycle.since, command="tail " + shlex.quote(
                machine.root + "/logs/symphony_conductor.log"),
            text="%s could not be started (%d of %d tries)" % (
                task.name, cycle.lost_starts, STARTS_LOST)))
    if not is_failure(last.get("status")):
        return findings
    text = "%s %s%s" % (task.name, outcome_text(last),
                        STARTED_BY.get(last.get("trigger") or "", ""))
    if last.get("reason"):
        text += ": " + str(last["reason"]).rstrip(".")
    if cycle is not None and is_open:
        text += "; %s" % attempt_text(config, whole.tasks, task, machine.now, reasons)
    elif last.get("trigger") != "manual" and (last.get("attempt") or 0) > task.retry_count:
        text = MESSAGE_TEXTS["failed"] % {"task": task.name, "outcome": text[len(task.name) + 1:]}
    if state.consecutive_failures > 1:
        text += "; %d in a row" % state.consecutive_failures
    if blocked:
        text += "; it blocks " + some_words(blocked)
    code, since = "retrying", from_iso(last.get("ended_at"))
    if state.consecutive_failures or not is_open:
        code, since = "failing", int(state.failing_since) or since
    findings.append(Finding(
        code=code, task=task.name, place=" ".join(blocked), text=text, since=since,
        output=last.get("last_line", ""),
        command=_called(machine, NEXT_WORDS["failed"] % {"task": task.name})))
    return findings


def _skipping_findings(task: Task, state: TaskState, machine: Machine) -> "List[Finding]":
    """A task that has only decided not to run for its last slots."""
    if state.skipped.get("status") not in ("skipped_exit", "skipped_condition"):
        return []
    if state.marks != SKIP_MARK * MARKS_KEPT:
        return []
    return [Finding(code="skipping", task=task.name,
                    text="%s was skipped %d times in a row, by its condition or exit code" % (
                        task.name, MARKS_KEPT),
                    command=_called(machine, "why %s" % task.name))]


def _overdue_findings(config: Config, task: Task, state: State, machine: Machine,
                      reasons: "Dict[str, str]") -> "List[Finding]":
    """A slot without a success although there was time for one, which nothing else explains."""
    task_state, cycle = state.tasks[task.name], state.tasks[task.name].cycle
    if pause_document(state, task) is not None:
        return []
    if task_state.run is None and cycle is not None and cycle.phase in ("queued", "waiting"):
        since = cycle.since
        if cycle.phase == "queued":
            since = start_time(task, since)
        if machine.now - since <= grace_of(task):
            return []
        if cycle.phase == "waiting":
            reason = "waiting for '%s' since %s" % (cycle.waiting_for, iso(cycle.since))
        else:
            reason = "queued " + queue_text(config, state.tasks, task, machine.now, reasons)
        return [Finding(code="overdue", task=task.name, since=cycle.slot,
                        text="%s is overdue: %s" % (task.name, reason),
                        command=_called(machine, "why %s" % task.name))]
    slot = undecided_slot(task, state, machine.last_tick, machine.now)
    ticks_come = machine.last_tick is not None and machine.now - machine.last_tick <= TICK_STALE_S
    if slot is None or machine.now - slot <= TICK_STALE_S or not ticks_come:
        return []  # where no tick comes, that is what is wrong
    return [Finding(code="overdue", task=task.name, since=slot,
                    text="%s is overdue: due since %s, and no tick has started it" % (
                        task.name, iso(slot)),
                    command=_called(machine, "why %s" % task.name))]


def waiting_for_roots(config: Config, state: State) -> "Dict[str, List[str]]":
    """For each task that others wait for and that will not run by itself: who they are."""
    waiting: "Dict[str, List[str]]" = {}
    roots: "Dict[str, Tuple[str, int]]" = {}
    for name, task_state in state.tasks.items():
        cycle = task_state.cycle
        if cycle is None or cycle.phase != "waiting" or name not in config.tasks:
            continue
        root = root_cause(config, state.tasks, cycle.waiting_for, cycle.slot, roots)[0]
        root_state = state.tasks.get(root, TaskState())
        if root_state.run is None and root_state.cycle is None:
            waiting.setdefault(root, []).append(name)
    return waiting


def _blocking_finding(config: Config, state: State, machine: Machine, root: str,
                      names: "Sequence[str]") -> Finding:
    """A task that holds up others. `place` has the names of those who wait."""
    code = "blocking"
    if is_skip_chosen(config.tasks.get(root), state.tasks.get(root, TaskState())):
        code = "skip-blocks"
    cycles = [state.tasks[name].cycle or Cycle() for name in names]
    why = explain_unmet(config, state.tasks, cycles[0].waiting_for, cycles[0].slot)
    words = _way_out(config, state, root, machine.now)
    if root in config.tasks and not config.tasks[root].enabled:
        why += ' (to enable it, set "enabled": true)'
    if machine.broken:
        words = "check"  # no other is accepted before
    return Finding(
        code=code, task=root, place=" ".join(names),
        since=min(cycle.since for cycle in cycles),
        text="%s cannot run: %s" % (some_words(names), why),
        command=_called(machine, words))


def run_command(config: Config, state: State, task: Task, now: float) -> str:
    """The command that runs a task now without being refused, after what it needs; '' for none."""
    command = "run --task " + task.name
    try:
        missing = missing_dependencies(config, state.tasks, task, int(now))
    except ConfigError:
        return ""  # a dependency is invalid
    if any(state.tasks.get(name, TaskState()).run is not None for name in missing):
        return ""
    if is_any_locked(config, state, [*missing, task.name]):
        return ""
    return command + " --with-dependencies" if missing else command


def is_any_locked(config: Config, state: State, names: "Iterable[str]") -> bool:
    """Whether a run by hand of one of these tasks is refused, as another one holds a lock."""
    names = [name for name in names if config.tasks[name].locks]
    if not names:
        return False  # without a look at every task: this is asked of thousands
    holders = locks_held(config, state.tasks, state.tasks)
    return any(lock_in_the_way(config.tasks[name], holders) for name in names)


def _way_out(config: Config, state: State, root: str, now: float) -> str:
    """What to type so that a task which others wait for can succeed."""
    task = config.tasks.get(root)
    if task is None:
        return "check"
    pause = pause_document(state, task)
    if pause is not None:
        return "resume %s" % ("--all" if ALL_TASKS in pause["names"] else root)
    return run_command(config, state, task, now) or "why " + root


# == Rendering ==

HEALTH_EXIT_SKIPPED = EXIT_TEMPFAIL
# The skips that mean trouble; a skip for an overlap or a pause leaves the last result in place.
HEALTH_SKIPS = ("skipped_dependency", "skipped_late", "skipped_exit", "skipped_condition")
RESULT_KEYS = ("task", "status", "scheduled_for", "started_at", "ended_at", "duration_s",
               "exit_code", "attempt", "trigger", "log", "output_tail", "run_id", "reason")


def code_of_run(result: "Verdict | Result") -> int:
    """What `run` exits with after this: 0 after a success, and only after one or a skip."""
    code = result.get("exit_code")
    if result["status"] == "success":
        return EXIT_OK  # whichever of the success_exit_codes it was
    if code is None:
        return EXIT_UNKNOWN
    if result["status"] == "failed" and code == EXIT_OK:
        return EXIT_FAILED  # 0 need not be one of them
    return code


def health_line(verdict: "Verdict") -> "str | None":
    """`status:timestamp:exit_code`; None for a verdict that leaves the health file as it is."""
    status = verdict["status"]
    if verdict.get("backfill"):
        return None
    if status in HEALTH_SKIPS:
        return "skipped:%s:%d\n" % (verdict["ended_at"], HEALTH_EXIT_SKIPPED)
    if status == "stopped":
        return "stopped:%s:%d\n" % (verdict["ended_at"], EXIT_STOPPED)
    if not verdict["run_id"]:
        return None
    return "%s:%s:%d\n" % (status, verdict["ended_at"], code_of_run(verdict))


# -- status

def task_document(config: Config, state: State, task: Task, now: float,
                  last_tick: "float | None" = None,
                  reasons: "Dict[str, str] | None" = None) -> "Document":
    """What `status` tells of one task; `reasons`: those of `queue_reasons`, for many tasks.

    Its next run comes from the functions that ticks decide by, so that what is shown is what runs.
    """
    task_state = state.tasks.get(task.name, TaskState())
    cycle = task_state.cycle
    standing = task_standing(task_state)
    pause = pause_document(state, task)
    shown = standing
    if standing != "running":  # which neither a pause nor "enabled": false ends
        if not task.enabled:
            shown = "disabled"
        elif pause is not None:
            shown = "paused"

    reason = _open_reason(config, state, task, now, reasons)
    if not reason and pause is not None:
        reason = _pause_text(pause)
        if shown != "paused":
            reason = "paused " + reason
    elif not reason:
        reason = _late_reason(undecided_slot(task, state, last_tick, now), now)

    waiting_for = None
    next_run = coming_slot(task, state, last_tick, now)
    if cycle is not None and standing == "waiting":
        waiting_for = cycle.waiting_for or None
    elif cycle is not None and standing == "retrying":
        next_run = _next_retry(task, cycle, reason, now) or next_run
    elif cycle is not None and standing == "queued" and start_time(task, now) > now:
        next_run = first_tick_after(start_time(task, now))
    schedule = None
    if task.schedule is not None:
        schedule = task.schedule.written
    document = {
        "name": task.name, "enabled": task.enabled, "schedule": schedule,
        "description": task.description, "state": shown, "waiting_for": waiting_for,
        "reason": reason, "owner": task.owner, "dependencies": list(task.dependencies),
        "locks": list(task.locks), "tags": list(task.tags), "paused": pause,
        "next_run": iso(next_run) if task.enabled else None,
    }
    if task_state.skips:
        document["skips"] = dict(task_state.skips)
    document.update(_past_runs(task_state))
    return document


def _next_retry(task: Task, cycle: Cycle, reason: str, now: float) -> "int | None":
    """When a retry starts; None while it waits for a lock or its turn: nobody can tell."""
    at = cycle.retry_at
    if is_ready(task, cycle, now):
        at = now
        if start_time(task, now) <= now and not reason.endswith("(%s)" % NEXT_TICK):
            return None
    return first_tick_after(start_time(task, at))


def _past_runs(task_state: TaskState) -> "Document":
    """The part of a task's document that a task without a valid definition has as well."""
    return {"last_run": task_state.last or None,
            "consecutive_failures": task_state.consecutive_failures,
            "recent": task_state.marks, "usual_duration_s": task_state.usual_s or None}


def _open_reason(config: Config, state: State, task: Task, now: float,
                 reasons: "Dict[str, str] | None" = None) -> str:
    """What holds up the open slot of a task, or what outlives its run; '' for nothing."""
    task_state = state.tasks.get(task.name, TaskState())
    cycle = task_state.cycle
    if task_state.run is not None:
        return task_state.run.unended
    if cycle is None:
        return ""
    if cycle.phase == "waiting":
        return explain_unmet(config, state.tasks, cycle.waiting_for, cycle.slot)
    if cycle.phase == "queued":
        return queue_text(config, state.tasks, task, now, reasons)
    if cycle.phase == "retrying":
        last = cycle.attempts[-1] if cycle.attempts else task_state.last
        outcome = outcome_text(last)
        if last.get("reason"):
            outcome += ": %s" % last["reason"]
        return "%s; %s" % (outcome, attempt_text(config, state.tasks, task, now, reasons))
    return ""


def _pause_text(pause: "Document") -> str:
    text = "until %s" % (pause["until"] or "resumed")
    if pause["reason"]:
        text += " (%s)" % pause["reason"]
    return text


def _late_reason(slot: "int | None", now: float) -> str:
    # A tick that is only a little late is no news: cron may be busy.
    if slot is None or now - slot <= TICK_STALE_S:
        return ""
    return "due since %s; no tick has started it" % iso(slot)


def invalid_document(name: str, reason: str, state: State) -> "Document":
    """What `status` tells of an invalid task."""
    document: "Document" = {
        "name": name, "enabled": True, "schedule": None, "description": "", "state": "invalid",
        "waiting_for": None, "reason": reason, "owner": "", "dependencies": [], "locks": [],
        "tags": [], "paused": None, "next_run": None,
    }
    document.update(_past_runs(state.tasks.get(name, TaskState())))
    return document


def _removed_documents(config: Config, state: State, reason: str) -> "List[Document]":
    """What `status` tells of tasks that run and that the configuration does not have."""
    return [dict(invalid_document(name, reason, state), state="running")
            for name, task_state in state.tasks.items()
            if task_state.run is not None
            and name not in config.tasks and name not in config.invalid]


def status_document(config: "Config | None", state: State, machine: Machine,
                    history: "List[Verdict]", findings: "Sequence[Finding]") -> "Document":
    """Everything `status` knows. `history` is verdicts, newest first."""
    now, last_tick = machine.now, machine.last_tick
    left = "removed from the configuration"
    if config is None:
        config, left = Config(), "there is no configuration to tell what it is"
    reasons = queue_reasons(config, state.tasks, now)
    tasks = [task_document(config, state, task, now, last_tick, reasons)
             for task in config.tasks.values()]
    tasks += [invalid_document(name, reason, state) for name, reason in config.invalid.items()]
    tasks += _removed_documents(config, state, left)
    problems = [finding.text for finding in findings if finding.severity == PROBLEM]
    running = [_run_document(name, task_state.run, now, machine.pids.get(name, []))
               for name, task_state in state.tasks.items() if task_state.run is not None]
    return {"now": iso(now), "version": __version__, "healthy": not problems,
            "verdict": verdict_words(findings), "problems": problems,
            "findings": [finding_document(finding) for finding in findings],
            "last_tick": iso(last_tick), "max_concurrent_tasks": config.max_concurrent_tasks,
            "tasks": tasks, "running": running, "running_now": len(running),
            "recent_results": recent_results(state, history)}


def verdict_words(findings: "Sequence[Finding]") -> str:
    """All findings in a few words: healthy, retrying b, NOT healthy: 2 problems."""
    severities = [finding.severity for finding in findings]
    if PROBLEM in severities:
        text = "NOT healthy: " + plural(severities.count(PROBLEM), "problem")
        is_stopped = any(finding.code in STANDSTILL for finding in findings)
        return text + (", nothing starts" if is_stopped else "")
    retrying = [finding.task for finding in findings if finding.code == "retrying"]
    if retrying:
        return "retrying " + (retrying[0] if len(retrying) == 1 else "%d tasks" % len(retrying))
    if WARNING in severities:
        return "healthy, " + plural(severities.count(WARNING), "warning")
    return "healthy"


def finding_document(finding: Finding) -> "Document":
    """A finding as JSON."""
    return {"code": finding.code, "severity": finding.severity, "task": finding.task or None,
            "place": finding.place or None, "text": finding.text,
            "command": finding.command or None, "since": iso(finding.since),
            "output": finding.output or None}


def finding_text(finding: "Document", now: float) -> str:
    """A finding in a sentence, with the time that it has lasted."""
    since, text = from_iso(finding["since"]), printable(finding["text"], kept="")
    if since is None or now - since < MINUTE or finding["code"] in SINCE_IS_SAID:
        return text
    return "%s (for %s)" % (text, duration_text(now - since))


def _run_document(name: str, run: Run, now: float, pids: "List[int]") -> "Document":
    return {"task": name, "run_id": run.run_id, "attempt": run.attempt, "trigger": run.trigger,
            "scheduled_for": iso(run.slot), "started_at": iso(run.started_at), "pids": pids,
            "duration_s": round(max(0.0, now - run.started_at), 1)}


def recent_results(state: State, history: "List[Verdict]") -> "List[Document]":
    """The newest results, each attempt by itself, newest first.

    `history` is verdicts, as many as there are results to show; the state has the attempts of open
    cycles, and verdicts that are perhaps not on file yet.
    """
    results: "List[Verdict]" = []
    for verdict in history:
        results += verdict.get("attempts") or []
        results.append(verdict)
    for task_state in state.tasks.values():
        if task_state.cycle is not None:
            results += task_state.cycle.attempts
    results += [record for record in state.pending if "event" not in record
                and not record.get("interim") and record not in history]
    results.sort(key=lambda result: result["ended_at"] or "", reverse=True)
    return [{key: result.get(key) for key in RESULT_KEYS} for result in results[:RECENT_RESULTS]]


# -- status for people

SINCE_IS_SAID = ("not-called", "ticks-late", "no-cron-daemon", "overdue")
COLOURS = {"bad": "31", "good": "32", "wait": "33", "dim": "2", "head": "1"}  # ECMA-48, SGR
STATE_COLOURS = {"running": "good", "invalid": "bad", "waiting": "wait", "retrying": "bad",
                 "queued": "wait", "paused": "wait", "disabled": "dim"}
WIDE = 110           # columns from which on every duration is shown
UNUSUAL_FACTOR = 2   # so many times the usual duration is shown in a narrow table as well


def status_table(document: "Document", width: int, coloured: bool = False,
                 only_problems: bool = False) -> str:
    """The status for people: a headline, what is wrong, and a row a task with its reason below it.

    No row is longer than `width`; in a reason or a finding, nothing is cut. With `only_problems`,
    there are no rows.
    """
    now = from_iso(document["now"]) or 0
    name_width = max(12, width // 3)
    # The verdict comes first: a reader woken at night stops after a few lines.
    lines = [_headline(document, now, name_width, width, coloured)]
    for finding in document["findings"]:
        lines += finding_lines(finding, now, width, coloured)
    tasks = document["tasks"]
    if only_problems:
        return "\n".join(lines)
    lines.append("")
    rows: "List[Tuple[str, ...]]" = [("TASK", "STATE", "LAST", "RECENT", "NEXT", "SCHEDULE")]
    for task in tasks:
        name = cut_text(task["name"], name_width)
        rows.append((name,) + _status_row(task, now, width >= WIDE))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for task, row in zip([None] + tasks, rows):
        cells = [cell.ljust(widths[column]) for column, cell in enumerate(row[:5])]
        line = cut_text("  ".join(cells + [row[5]]).rstrip(), width)
        if coloured:  # only now: the escapes count for no column
            line = _painted_row(task, row, widths, line)
        lines.append(line)
        if task is not None and task["reason"]:
            lines.append(wrap_words("  " + _standing_text(task), width, "    "))
        if task is not None and task.get("skips"):
            line = "  will be skipped: " + ", ".join(sorted(task["skips"]))
            lines.append(wrap_words(line, width, "    "))
    if not tasks:
        lines.append("(no tasks)")
    legend = _legend(tasks)
    if legend:
        lines += ["", _painted(legend, "dim" if coloured else "")]
    return "\n".join(lines)


FINDING_MARKS = {PROBLEM: ("!", "bad"), WARNING: ("-", "wait"), NOTICE: ("-", "")}


def finding_lines(finding: "Document", now: float, width: int,
                  coloured: bool = False) -> "List[str]":
    """A finding for people: the sentence, the last line of output, and what to type next."""
    mark, colour = FINDING_MARKS[finding["severity"]]
    text = wrap_words("  %s %s" % (mark, finding_text(finding, now)), width, "    ")
    if coloured:
        text = text.replace(mark, _painted(mark, colour), 1)
    lines = [text]
    if finding["output"]:
        line = "      last output: " + printable(finding["output"], kept="")
        lines.append(cut_text(line, width))
    if finding["command"]:
        # Whole: it is there to be copied.
        lines.append("      try: " + printable(finding["command"], kept=""))
    return lines


def _legend(tasks: "Sequence[Document]") -> str:
    """What the marks of the column RECENT mean, of those that there are."""
    marks = {mark for task in tasks for mark in task["recent"]}
    words = ["%s %s" % (mark, status) for status, mark in list(MARKS.items())
             + [("skipped", SKIP_MARK)] if mark in marks]
    return "RECENT, newest last: " + ", ".join(words) if words else ""


def _headline(document: "Document", now: float, name_width: int, width: int,
              coloured: bool) -> str:
    verdict = document["verdict"]
    colour = "good"
    if not document["healthy"]:
        colour = "bad"
    elif verdict.startswith("retrying"):
        colour = "wait"
    parts = [_tick_text(document["last_tick"], now),
             "running %d of %d" % (document["running_now"], document["max_concurrent_tasks"])]
    starts = [(task["next_run"], task["name"]) for task in document["tasks"] if task["next_run"]]
    if starts and not verdict.endswith("nothing starts"):
        next_run, name = min(starts)
        parts.append("next: %s %s" % (cut_text(name, name_width), _coming_text(next_run, now)))
    line = cut_text(verdict, width)
    for part in parts:  # each whole: without its unit, a number misleads
        if len(line) + 3 + len(part) <= width:
            line += " | " + part
    if coloured:
        line = line.replace(verdict, _painted(verdict, colour), 1)
    return line


def _tick_text(last_tick: "str | None", now: float) -> str:
    at = from_iso(last_tick)
    if at is None:
        return "no tick yet"
    if at - now >= MINUTE:  # less is no more than the two clocks' rounding
        return "last tick %s ahead" % duration_text(at - now)
    return "last tick %s ago" % duration_text(now - at)


def _status_row(task: "Document", now: float, wide: bool) -> "Tuple[str, ...]":
    return (task["state"], _last_text(task, now, wide), task["recent"] or "-",
            _coming_text(task["next_run"], now), _schedule_words(task))


def _last_text(task: "Document", now: float, wide: bool) -> str:
    last, usual_s = task["last_run"], task["usual_duration_s"]
    if not last:
        return "never"
    status = last["status"].partition("_")[0]  # history and why say what kind of skip it was
    text = "%s %s ago" % (status, duration_text(now - (from_iso(last["ended_at"]) or 0)))
    took_s = last.get("duration_s") or 0
    is_unusual = usual_s and took_s >= 1 and took_s > UNUSUAL_FACTOR * usual_s
    if wide or is_unusual:
        text += ", took %s" % duration_text(took_s)
        if usual_s:
            text += " (usually %s)" % duration_text(usual_s)
    return text


def _standing_text(task: "Document") -> str:
    """A state and its reason: 'waiting: ...', 'paused until ...', 'late: ...'."""
    state, reason = task["state"], printable(task["reason"], kept="")
    if not reason:
        return str(state)
    if state == "idle":
        state = "late"  # nothing else gives an idle task a reason
    if reason.startswith(("until ", "since ")):
        return "%s %s" % (state, reason)
    return "%s: %s" % (state, reason)


def _coming_text(next_run: "str | None", now: float) -> str:
    at = from_iso(next_run)
    if at is None:
        return "-"
    if at <= now:
        return "due"
    return "in " + duration_text(at - now)


def _painted(text: str, colour: str) -> str:
    if not colour or not text.strip():
        return text
    return "\x1b[%sm%s\x1b[0m" % (COLOURS[colour], text)


def _painted_row(task: "Document | None", row: "Sequence[str]", widths: "Sequence[int]",
                 line: str) -> str:
    """A row that is cut to its length already, with the cells that matter in colour."""
    if task is None:
        return _painted(line, "head")
    last_colour = recent_colour = ""
    if task["last_run"]:
        last_colour = "bad" if is_failure(task["last_run"]["status"]) else "good"
    if set(task["recent"]) - {MARKS["success"], MARKS["stopped"], SKIP_MARK}:
        recent_colour = "bad"
    colours = ("", STATE_COLOURS.get(task["state"], ""), last_colour, recent_colour, "", "dim")
    painted, start = "", 0
    for column, cell in enumerate(row):
        end = len(line)
        if column < len(widths):
            end = start + widths[column] + 2
        # A cell that the width cut short is not in its piece, and stays as it is.
        painted += line[start:end].replace(cell, _painted(cell, colours[column]), 1)
        start = end
    return painted


def _schedule_words(task: "Document") -> str:
    if task["state"] == "invalid":
        return "-"
    if task["schedule"]:
        return describe(task["schedule"], task["name"])
    return _unscheduled_words(task["dependencies"])


def _unscheduled_words(dependencies: "Sequence[str]") -> str:
    if dependencies:
        return "after %s" % join_words(dependencies)
    return "by hand"


# -- audit and history

# What became of a slot, by its fate: phrases that fit behind a count in an audit, and behind "was",
# "is" or, if they begin with "ran", nothing in an answer of `why`.
FATES = {
    "success": "ran and succeeded",
    "failed": "ran and failed",
    "timeout": "ran and timed out",
    "interrupted": "ran and was interrupted",
    "stopped": "stopped by hand",
    "merged": "merged into a later slot",
    "skipped_overlap": "skipped: previous run still going",
    "skipped_dependency": "skipped: dependency not met in time",
    "skipped_late": "skipped: too late to start",
    "skipped_not_on": "skipped: a day off (not_on)",
    "skipped_exit": "skipped: by the command's exit code",
    "skipped_condition": "skipped: condition not met",
    "skipped_manual": "skipped: by hand",
    "skipped_paused": "skipped: the task was paused",
    "skipped_disabled": "skipped: the task was disabled",
    "skipped_removed": "skipped: the task was removed",
    "edited": "not run: paused, disabled or rescheduled before a tick",
    "open": "not finished yet",
    "due": "due, not decided yet",
    "double": "recorded more than once",
    "unexplained": "unexplained",
}
# The fates whose recorded reason says the same and more, and what comes before it in a sentence.
REASON_OPENINGS = {"stopped": "", "skipped_manual": "", "skipped_exit": "skipped: ",
                   "skipped_condition": "skipped: ", "skipped_not_on": "skipped: "}


def audit_document(slots: "Iterable[Slot]", events: "Sequence[Event]", since: float,
                   until: float) -> "Document":
    """The audit as JSON: counts, the times without a tick, and every slot that is unexplained."""
    recent = [event for event in events if (from_iso(event["at"]) or 0) >= since]
    counts = dict.fromkeys(FATES, 0)
    shifted = was_off = 0
    findings = []
    for slot in slots:
        counts[slot.fate] = counts.get(slot.fate, 0) + 1
        shifted += slot.shifted
        was_off += slot.was_off
        if slot.fate in UNEXPLAINED:
            findings.append({"task": slot.task, "scheduled_for": iso(slot.at), "fate": slot.fate,
                             "reason": slot.reason})
    return {"since": iso(since), "until": iso(until), "slots": sum(counts.values()),
            "unexplained": len(findings),
            "fates": {fate: counts[fate] for fate in FATES if counts[fate]},
            "while_no_tick_ran": was_off, "shifted_by_daylight_saving": shifted,
            "gaps": [event for event in recent if event["event"] == "gap"],
            "zone_changes": [event["at"] for event in recent if event["event"] == "rezoned"],
            "lost_pauses": lost_pauses(events, since), "findings": findings}


FINDINGS_SHOWN = 40


def audit_text(document: "Document", width: int = 80) -> str:
    """The audit for people, verdict first, in lines of at most `width` columns."""
    findings = document["findings"]
    lines = ["%s, %d unexplained, %s to %s" % (
        plural(document["slots"], "slot"), document["unexplained"], document["since"],
        document["until"])]
    lines += ["  ! %s: slot %s: %s" % (finding["task"], finding["scheduled_for"], finding["reason"])
              for finding in findings[:FINDINGS_SHOWN]]
    if len(findings) > FINDINGS_SHOWN:
        lines.append("  ! and %d more (--json lists them all)" % (len(findings) - FINDINGS_SHOWN))
    counts = [(count, FATES[fate]) for fate, count in document["fates"].items()]
    counts += [(document["while_no_tick_ran"], "of these were due while no tick ran"),
               (document["shifted_by_daylight_saving"],
                "of these were moved by daylight saving time")]
    lines += ["  %6d  %s" % (count, text) for count, text in counts if count]
    for lost in document["lost_pauses"]:
        line = "  the state was lost before %s, and with it the pause of %s" % (
            lost["at"], pause_scope(lost["task"]))
        if lost["reason"]:
            line += " (%s)" % lost["reason"]
        lines.append(line)
    for gap in document["gaps"]:
        cause = GAP_CAUSES.get(gap.get("cause"), GAP_CAUSES[""])
        lines.append("  no tick from %s to %s: %s" % (gap["since"], gap["at"], cause))
    if document["zone_changes"]:
        lines.append("  the system's time zone changed at %s: earlier slots of tasks without a "
                     "timezone of their own cannot be recomputed" % document["zone_changes"][-1])
    return "\n".join(wrap_words(line, width, "    ") for line in lines)


WIDE_HISTORY = 100  # columns from which on the history has the run IDs
# By the width from which on they fit, with room for reasons.
HISTORY_HEADS = (
    (120, "ENDED (UTC),TASK,RESULT,SLOT,TOOK,TRY,RUN,REASON"),
    (WIDE_HISTORY, "ENDED (UTC),TASK,RESULT,SLOT,TOOK,RUN,REASON"),
    (0, "ENDED (UTC),TASK,RESULT,SLOT,TOOK,REASON"))
NARROW_HEADS_WITH_RUNS = "ENDED (UTC),TASK,RESULT,RUN,REASON"
REASON_WIDTH = 24   # what a long name leaves to the reasons, if it can
NAME_WIDTH = 18     # what a name gets in any case


def history_rows(verdicts: "Sequence[Verdict]", width: int = 80, has_runs: bool = False) -> str:
    """A table of one line a verdict, no line longer than `width`: names and reasons are cut.

    With `has_runs`, a narrow table has the run IDs instead of slots and durations.
    """
    heads = next(heads for least, heads in HISTORY_HEADS if width >= least).split(",")
    if has_runs and width < WIDE_HISTORY:
        heads = NARROW_HEADS_WITH_RUNS.split(",")
    year = verdicts[0]["ended_at"][:4] if verdicts else ""
    cells_of = [_history_cells(verdict, year) for verdict in verdicts]
    taken = 0
    for head in heads:
        if head not in ("TASK", "REASON"):
            taken += 2 + max(len(cells[head]) for cells in [{head: head}] + cells_of)
    name_width = max(width - taken - REASON_WIDTH - 2, min(NAME_WIDTH, width // 4))
    rows = [heads]
    for cells in cells_of:
        cells["TASK"] = cut_text(cells["TASK"], name_width)
        rows.append([cells[head] for head in heads])
    return "\n".join(cut_text(line, width) for line in columns(rows).split("\n"))


def _history_cells(verdict: "Verdict", year: str) -> "Dict[str, str]":
    """What the history shows of a verdict, by the head of the column."""
    ended_at, slot = verdict["ended_at"], verdict.get("scheduled_for")
    status, reason = verdict["status"], verdict.get("reason") or ""
    result, took = status, "-"
    if status.startswith("skipped_"):
        result, _, cause = status.partition("_")
        if status not in REASON_OPENINGS:
            reason = "%s: %s" % (cause, reason)
    elif status == "failed" or status == "success" and verdict.get("exit_code"):
        result = "%s (%s)" % (status, verdict.get("exit_code"))
    if verdict.get("run_id"):
        took = duration_text(verdict.get("duration_s") or 0)
    return {
        "ENDED (UTC)": _short_time(ended_at, year), "TASK": printable(verdict["task"], kept=""),
        "RESULT": printable(result, kept=""), "TOOK": took,
        "SLOT": _short_time(slot, ended_at) if slot else "by hand",
        "TRY": str(verdict.get("attempt") or "-"), "RUN": verdict.get("run_id") or "-",
        "REASON": printable(reason, kept="")}  # a line break in it would break the row


def _short_time(at: str, near: str) -> str:
    """A time to the minute on the day of `near`, also with the day in its year, else the date."""
    if at[:10] == near[:10]:
        return at[11:16]
    if at[:4] == near[:4]:
        return "%s %s" % (at[5:10], at[11:16])
    return at[:10]


# -- why

ENABLE = 'set "enabled": true'  # in the configuration: no command does it


def why_text(config: Config, state: State, task: Task, slot: "Slot | None",
             verdict: "Verdict | None", now: float, last_tick: "float | None" = None,
             width: int = 80, program: str = "", is_broken: bool = False) -> str:
    """A paragraph on a slot of a task: what it was, what decided it, what comes next.

    Commands that help follow, a line each, after `program`: how the reader calls it. Without a
    slot, or where it has no verdict because the task was suspended, `verdict` is that of the latest
    run. `is_broken`: the configuration in force is not the one in the files.
    """
    document = task_document(config, state, task, now, last_tick)
    sentences = [_slot_sentence(task, slot, verdict)]
    is_of_slot = slot is not None and verdict is not None and (
        verdict.get("scheduled_for") == iso(slot.at))
    if slot is not None and is_of_slot:
        assert verdict is not None
        sentences += _verdict_sentences(task, slot, verdict)
    elif slot is not None and slot.reason not in ("", document["state"]):  # the state is told below
        sentences.append(_as_sentence(slot.reason))
    if verdict is not None and not is_of_slot:
        sentences.append(_latest_run_sentence(verdict, now))
    if document["reason"] or document["state"] != "idle":
        sentences.append("It is now %s." % _standing_text(document).rstrip("."))
    for text, reason in sorted(document.get("skips", {}).items()):
        slot_text = local_text(from_iso(text) or 0, task.timezone)
        sentences.append("Its slot %s will be %s." % (slot_text, reason))
    sentences.append(_next_run_sentence(state, task, from_iso(document["next_run"]), now))
    sentences += _terms_sentence(task)
    advice = [(label, command) for label, command
              in _advice(config, state, task, document, verdict, now) if command]
    if is_broken:
        advice = [("No command works until the configuration is fixed", "check")]
    return _why_screen(task.name, sentences, advice, width, program)


# What the fields of a task mean for its runs, in the order in which they are told.
TERMS = (
    ("not_on", "not on %s"), ("only_between", "only between %s"),
    ("start_deadline", "at most %s late"), ("locks", "with the lock %s"),
    ("condition", "if its condition exits 0"), ("launcher", "launched by %s"),
    ("cancel_command", "cancelled by %s"), ("success_exit_codes", "exit code %s is a success"),
    ("skip_exit_codes", "exit code %s is a skip"), ("env_file", "with variables from %s"),
    ("nice", "niceness %s"), ("ionice", "I/O class %s"), ("umask", "umask %s"),
    ("memory_limit", "at most %s of address space a process"))


def _terms_sentence(task: Task) -> "List[str]":
    """The fields of a task that say when and how it runs, those at their defaults left out."""
    terms = []
    for field, text in TERMS:
        value = getattr(task, field)
        if value == getattr(Task, field):
            continue
        if field == "start_deadline":
            value = duration_text(value)
        elif isinstance(value, tuple) and field.endswith("exit_codes"):
            value = join_words([str(code) for code in value]).replace(" and ", " or ")
        elif field in ("launcher", "cancel_command"):
            value = command_text(value)
        elif isinstance(value, tuple):
            value = some_words(value)
        terms.append(text % value if "%s" in text else text)
    if not terms:
        return []
    return ["It runs as configured: %s." % "; ".join(terms)]


def removed_text(name: str, verdict: "Verdict | None", now: float, width: int = 80,
                 program: str = "") -> str:
    """What there is to say of a task that the configuration no longer has, as `why_text` does."""
    sentences = ["it is no longer in the configuration."]
    advice = []
    if verdict is not None:
        sentences.append(_latest_run_sentence(verdict, now))
        advice = [("Its results", "history --task %s" % name)]
    return _why_screen(name, sentences, advice, width, program)


def _why_screen(name: str, sentences: "Sequence[str]", advice: "Sequence[Tuple[str, str]]",
                width: int, program: str) -> str:
    lines = [wrap_words("%s: %s" % (name, " ".join(sentences)), width)]
    for label, command in advice:
        if program and command != ENABLE:
            command = "%s %s" % (program, command)
        line = "  %s: %s" % (label, command)
        if len(line) > width:  # a command that is copied must be in one piece
            line = "  %s:\n    %s" % (label, command)
        lines.append(line)
    return "\n".join(lines)


def _slot_sentence(task: Task, slot: "Slot | None", verdict: "Verdict | None") -> str:
    if slot is not None:
        return "the slot %s%s %s." % (
            local_text(slot.at, task.timezone), _shift_text(slot), _fate_text(slot, verdict))
    if task.schedule is None:
        return "it has no schedule and runs %s." % _unscheduled_words(task.dependencies)
    if task.schedule.reboot:
        return "it runs once after each boot."
    return "it has never been due."


def _shift_text(slot: Slot) -> str:
    if slot.shifted:
        return " (moved by daylight saving time)"
    if slot.was_off:
        return " (no tick ran at the time)"
    return ""


def _fate_text(slot: Slot, verdict: "Verdict | None") -> str:
    text = FATES.get(slot.fate, slot.fate)
    if slot.fate in ("open", "due") + UNEXPLAINED:
        return "is " + text
    if verdict is not None and verdict["status"] == slot.fate and slot.fate in REASON_OPENINGS:
        return "was " + REASON_OPENINGS[slot.fate] + (verdict.get("reason") or text).rstrip(".")
    if slot.fate not in MARKS or slot.fate == "stopped":
        return "was " + text
    late_s = 0
    if verdict is not None:
        # A retry is no late start: what counts is the first attempt.
        first = (verdict.get("attempts") or [verdict])[0]
        late_s = (from_iso(first.get("started_at")) or slot.at) - slot.at
    if late_s < LATE_AFTER_S:
        return text
    return text.replace("ran", "ran %s late" % duration_text(late_s), 1)


def _as_sentence(text: str) -> str:
    return "%s%s." % (text[0].upper(), text[1:].rstrip("."))


def _latest_run_sentence(verdict: "Verdict", now: float) -> str:
    outcome = outcome_text(verdict)
    trigger = ", started by hand," if verdict.get("trigger") == "manual" else ""
    ago_s = now - (from_iso(verdict["ended_at"]) or now)
    text = "Its latest run%s %s %s ago" % (trigger, outcome, duration_text(ago_s))
    if verdict.get("reason"):
        text += ": %s" % verdict["reason"]
    return text + "."


def _verdict_sentences(task: Task, slot: Slot, verdict: "Verdict") -> "List[str]":
    sentences = []
    if verdict.get("trigger") == "dependency":
        sentences.append("It waited for its dependencies, and started when the last of them had "
                         "succeeded.")
    elif verdict.get("trigger") == "catch_up":
        sentences.append("It ran late, as a catch-up.")
    first = (verdict.get("attempts") or [verdict])[0]
    opening = start_time(task, slot.at)
    if slot.at < opening <= (from_iso(first.get("started_at")) or 0):
        sentences.append("It waited until %s (%s)." % (
            local_text(opening, task.timezone), task.window.words() if task.window else ""))
    if verdict.get("merged_since"):
        sentences.append("It also covers every slot since %s." % verdict["merged_since"])
    if verdict.get("run_id") and verdict["status"] != "skipped_condition":  # no command ran
        attempt = verdict.get("attempt") or 0
        text = "Attempt %d" % attempt
        if attempt > 1:
            text += " of %d" % (task.retry_count + 1)
        text += " took %s" % duration_text(verdict.get("duration_s") or 0)
        code = verdict.get("exit_code")
        if code is not None:
            text += " and ended with exit code %d" % code
        sentences.append(text + ".")
    reason = verdict.get("reason")
    is_said = slot.fate in REASON_OPENINGS or reason and reason in FATES.get(slot.fate, "")
    if reason and not is_said:
        sentences.append(_as_sentence(reason))
    return sentences


def _next_run_sentence(state: State, task: Task, at: "int | None", now: float) -> str:
    if at is None:
        return "No run is scheduled."
    cycle = state.tasks.get(task.name, TaskState()).cycle
    is_due = cycle is not None and cycle.phase == "retrying" and is_ready(task, cycle, now)
    if is_due and at == first_tick_after(now):
        return "Its retry is due now; the next tick decides it."
    if at - now < 1:
        return "Its slot %s is due now; the next tick decides it." % local_text(at, task.timezone)
    text = "Next run: %s (in %s)" % (local_text(at, task.timezone), duration_text(at - now))
    if is_too_late_for_window(task, at):
        text += "; it will be skipped: too late to start%s" % window_words(task, at)
    elif window_words(task, at):
        text += "; it waits until %s%s" % (
            local_text(start_time(task, at), task.timezone), window_words(task, at))
    return text + "."


def _advice(config: Config, state: State, task: Task, document: "Document",
            verdict: "Verdict | None", now: float) -> "List[Tuple[str, str]]":
    """(what for, command): what helps a task in this state. Each command is accepted as it is.

    '' stands for one that would be refused now.
    """
    name, standing = task.name, document["state"]
    if standing == "running":
        return [("Its output", "logs %s --follow" % name)]
    if standing == "paused":
        return _ways_to_resume(document["paused"])
    if standing == "disabled":
        return [("To re-enable it", ENABLE)]
    if standing == "waiting":
        return _advice_on_wait(config, state, task, document["waiting_for"], now)
    command = run_command(config, state, task, now)
    if standing == "retrying":
        return [("Its output", "logs " + name), ("To retry it now", command)]
    if verdict is None or verdict["status"] in ("success", "skipped_overlap", "skipped_not_on"):
        return []
    blocker = first_unmet(config, state.tasks, task, int(now))
    if blocker:
        return _advice_on_wait(config, state, task, blocker, now)
    advice = [("To run it now", command)]
    if verdict.get("run_id"):
        advice.insert(0, ("Its output", "logs " + name))
    return advice


def _advice_on_wait(config: Config, state: State, task: Task, blocker: str,
                    now: float) -> "List[Tuple[str, str]]":
    """What helps a task whose dependency `blocker` is not met: begin with the root cause."""
    root, _ = root_cause(config, state.tasks, blocker, int(now))
    root_task, root_state = config.tasks.get(root), state.tasks.get(root, TaskState())
    advice = []
    if is_failure(root_state.last.get("status")):
        advice.append(("The output of '%s'" % root, "logs " + root))
    if root_task is None:
        advice.append(("To fix '%s', correct its definition" % root, "check"))
    elif task_standing(root_state) not in ("running", "queued"):  # those end by themselves
        pause = pause_document(state, root_task)
        if pause is not None:
            advice += _ways_to_resume(pause)
        elif not root_task.enabled:
            advice.append(("To re-enable '%s'" % root, ENABLE))
        advice.append(("To run the cause again", run_command(config, state, root_task, now)))
    if root != blocker:
        command = run_command(config, state, task, now)
        advice.append(("To run all that it waits for, then it", command))
    if not is_any_locked(config, state, [task.name]):
        advice.append(("To run it anyway", "run --task %s --ignore-dependencies" % task.name))
    return advice


def _ways_to_resume(pause: "Document") -> "List[Tuple[str, str]]":
    scopes = ["--all" if name == ALL_TASKS else name for name in pause["names"]]
    return [("To end the pause", "resume " + scope) for scope in scopes]


# -- upcoming runs

def coming_slots(config: Config, state: State, last_tick: "float | None", now: float, count: int,
                 only: str = "") -> "List[Tuple[int, str]]":
    """The next `count` slots of all enabled tasks, in time order.

    Those within a pause or on a day off (`not_on`) are none. One that is not after `now` is due,
    and the next tick decides it.
    """
    upcoming = []
    for task in config.tasks.values():
        if only in ("", task.name):
            slot = coming_slot(task, state, last_tick, now)
            if slot is not None:
                upcoming.append((slot, task.order, task))
    # One entry a task: its next slot is computed when this one is taken, for a schedule has no end.
    upcoming.sort(key=lambda entry: entry[:2])
    slots: "List[Tuple[int, str]]" = []
    while upcoming and len(slots) < count:
        slot, order, task = upcoming.pop(0)
        slots.append((slot, task.name))
        following = first_not_skipped(task, state, slot_after(task, slot))
        if following is not None:
            bisect.insort(upcoming, (following, order, task))
    return slots


def waiting_starts(config: Config, state: State, now: float,
                   only: str = "") -> "List[Tuple[float, str, int]]":
    """(start, task, slot) of the slots that have come and wait for `only_between`."""
    starts = []
    for name, task_state in state.tasks.items():
        task, cycle = config.tasks.get(name), task_state.cycle
        if task is None or cycle is None or only not in ("", name):
            continue
        if cycle.phase == "queued" and start_time(task, now) > now:
            starts.append((start_time(task, now), name, cycle.slot))
    return sorted(starts)


def skipped_days(config: Config, slots: "Sequence[Tuple[int, str]]", now: float) -> "List[str]":
    """For each task with slots on days off from now to the last of `slots`: the first of them."""
    last = max((slot for slot, _ in slots), default=0)
    lines = []
    for name in dict.fromkeys(name for _, name in slots):
        task = config.tasks[name]
        if task.calendar is None or task.schedule is None:
            continue
        reasons = []
        slot = task.schedule.next(now, task.timezone)
        while slot is not None and slot <= last:  # one a day
            if task.calendar.reason(slot):
                reasons.append(task.calendar.reason(slot))
            slot = task.schedule.next(task.calendar.end_of_day(slot) - 1, task.timezone)
        if reasons:
            line = "%s: %s" % (name, reasons[0])
            if len(reasons) > 1:
                line += " (and %s)" % plural(len(reasons) - 1, "more day")
            lines.append(line)
    return lines


def local_text(at: float, zone: "str | None") -> str:
    """A time as the clocks of the zone show it, with its offset: Sun 2025-06-01 03:00 +0200."""
    offset = zone_named(zone).span(int(at))[2]
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset) // MINUTE, 60)
    wall_time = time.strftime("%a %Y-%m-%d %H:%M", time.gmtime(at + offset))
    return "%s %s%02d%02d" % (wall_time, sign, hours, minutes)


# -- what cron reads

# cron/symphony.crontab explains each part, and ends with this very line; it stands here as well
# because this file works without any other.
CRONTAB_LINE = ("* * * * * cd @ROOT@ && { [ -d logs ] || mkdir -m 700 logs; } && "
                "exec @PYTHON@ -I -S @PROGRAM@ tick @OUTPUT@")
OUTPUT_LOGGED = ">>logs/conductor_cron.log 2>&1"
OUTPUT_MAILED = "2>&1 | PATH=/usr/bin:/bin tee -a logs/conductor_cron.log"

BLOCK_BEGIN = "# BEGIN symphony-conductor "
BLOCK_END = "# END symphony-conductor "
# Before a line that `import-crontab --switch` has handed over: this, the root as JSON, and a colon.
HANDED_OVER = "# run by symphony-conductor "


def program_arguments(script: str, root: str = "") -> "List[str]":
    """What follows `python3 -I -S` to run the script: an import, which the bytecode cache serves.

    A file whose name no import could take is run as it is, and compiled anew each time.
    """
    folder, _, name = script.rpartition("/")
    module, suffix = name[:-3], name[-3:]
    if suffix != ".py" or not module.isidentifier():
        return [script]
    code = ascii(folder)
    if folder == root:
        code = '"."'
    elif any(ord(letter) > 126 for letter in folder):  # cron's locale may decode them otherwise
        code = "%r.decode(sys.getfilesystemencoding(), 'surrogateescape')" % folder.encode(
            "utf-8", "surrogateescape")
    return ["-c", BOOT_CODE % (code, module)]


def cron_word(text: str) -> str:
    """A word for the shell in a command that every cron leaves as it is.

    Vixie's cron and its descendants end a command at a %, and take a backslash before one or before
    another backslash away; busybox's does neither. So the two are spelt for printf where that could
    matter.
    """
    if not re.search(r"%|\\\\", text):
        return shlex.quote(text)
    return '"$(printf %s)"' % shlex.quote(text.replace("\\", "\\134").replace("%", "\\045"))


def crontab_line(root: str, python: str, script: str, mailed: bool = False,
                 allows_insecure: bool = False) -> str:
    """The line that runs `tick` for `root`; `mailed`: cron also mails what a tick prints.

    `allows_insecure`: with the variable without which a tick would refuse this root.
    """
    program = " ".join(map(cron_word, program_arguments(script, root)))
    if script.rpartition("/")[0] != root:
        program += " --root=."
    parts = {"ROOT": cron_word(root), "PYTHON": cron_word(python), "PROGRAM": program,
             "OUTPUT": OUTPUT_MAILED if mailed else OUTPUT_LOGGED}
    template = CRONTAB_LINE
    if allows_insecure:
        template = template.replace("exec ", "export %s=1 && exec " % OVERRIDE)
    return re.sub("@([A-Z]+)@", lambda match: parts[match.group(1)], template)


def block_variables(above: str, mailto: str = "",
                    owner: str = "") -> "List[Tuple[str, str, str]]":
    """What the line of a block needs: (variable, its value, the value in force above the block).

    Without a MAILTO there, mail goes to the `owner` of the table (crontab(5)).
    """
    needed: "List[Tuple[str, str, str]]" = []
    shell, delay = shell_of(above), (variable_values(above, "RANDOM_DELAY") or ["0"])[-1]
    if shell not in ("", "/bin/sh"):  # csh and fish cannot run the line
        needed.append(("SHELL", "/bin/sh", shell))
    if delay != "0":  # of cronie: minutes by which every line below it is late
        needed.append(("RANDOM_DELAY", "0", delay))
    if mailto:
        needed.append(("MAILTO", mailto, (variable_values(above, "MAILTO") or [owner])[-1]))
    return needed


def block_lines(line: str, above: str, mailto: str = "", owner: str = "") -> "List[str]":
    """What goes between BEGIN and END: the line, within the variables that it needs.

    A variable holds for every line below it, so those that were in force `above` the block are put
    back. crontab takes an empty value in quotes only (crontab(5)).
    """
    needed = block_variables(above, mailto, owner)
    before = ["%s=%s" % (name, value) for name, value, _ in needed]
    after = ["%s=%s" % (name, former or '""') for name, _, former in needed]
    return before + [line] + after


def variable_values(crontab: str, name: str) -> "List[str]":
    """The values that a table gives a variable, in the order of its lines (crontab(5))."""
    lines = re.findall(r"(?m)^[ \t]*[\"']?%s[\"']?[ \t]*=(.*)$" % name, crontab)
    values = [line.strip(" \t\r") for line in lines]
    return [re.sub(r"\A([\"'])(.*)\1\Z", r"\2", value) for value in values]


def shell_of(crontab: str) -> str:
    """The shell that a table has chosen at its end; '' where it leaves it to cron (crontab(5))."""
    return (variable_values(crontab, "SHELL") or [""])[-1]


def crontab_lines(crontab: str) -> "List[str]":
    """The lines of a table, each with its line break: for cron nothing but a newline ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+\Z", crontab)


# Of Vixie cron and cronie, which begin a table with up to three lines of their own; some show them.
TABLE_HEADER = (r"# DO NOT EDIT THIS FILE - edit the master and reinstall\.\n"
                r"|# \(.* installed on .*\)\n|# \((?:Cron|Cronie) version.*\)\n")


def without_header(crontab: str) -> str:
    """The table less the lines that crontab(1) itself put at its top, however often it did."""
    return crontab[re.match("(?:%s)*" % TABLE_HEADER, crontab).end():]  # type: ignore[union-attr]


def handed_over_mark(root: str) -> str:
    """What stands before a line of the crontab that the conductor of this root runs.

    The root is quoted, so that no mark begins with the one of another root.
    """
    return "%s%s: " % (HANDED_OVER, json.dumps(root))


# The mark as an editor may have left it: indented, or without the blank behind the '#'.
LOOSE_MARK = r"[ \t]*#[ \t]*run by symphony-conductor[ \t]+%s: ?"
QUOTED = r'("(?:\\(?:u[0-9a-f]{4}|["\\bfnrt])|[^"\\\n])*")'


def handed_over_pattern(root: str) -> str:
    """Matches the mark of this root at the beginning of a line."""
    return LOOSE_MARK % re.escape(json.dumps(root))


def marked_roots(crontab: str) -> "List[str]":
    """The roots that lines were handed over to."""
    return sorted(set(map(json.loads, re.findall("(?m)^" + LOOSE_MARK % QUOTED, crontab))))


def split_at_block(crontab: str, root: str) -> "Tuple[str, str, str]":
    """What stands before the block of this root, the block ('' if there is none), and what follows.

    A block without its END raises ConfigError: where it stops is for a person to say.
    """
    lines = crontab_lines(crontab)
    texts = [line.rstrip("\r\n") for line in lines]
    if BLOCK_BEGIN + root not in texts:
        return crontab, "", ""
    begin = texts.index(BLOCK_BEGIN + root)
    for end in range(begin + 1, len(texts)):
        if texts[end] == BLOCK_END + root:
            block, after = lines[begin:end + 1], lines[end + 1:]
            return "".join(lines[:begin]), "".join(block), "".join(after)
        if texts[end].startswith(BLOCK_BEGIN):
            break
    raise ConfigError([Problem(
        place="crontab", text="the block '%s%s' has no END line" % (BLOCK_BEGIN, root),
        hint="add '%s%s' after its last line with crontab -e" % (BLOCK_END, root))])


def without_block(crontab: str, root: str) -> str:
    """The crontab less every block of this root; every other byte stays."""
    before, block, after = split_at_block(crontab, root)
    if not block:
        return crontab
    return before + without_block(after, root)


def with_block(crontab: str, root: str, lines: "Sequence[str]") -> str:
    """The crontab with exactly one block for this root, at its old place if it had one."""
    before, _, after = split_at_block(crontab, root)
    if before and not before.endswith("\n"):
        before += "\n"
    block = [BLOCK_BEGIN + root] + list(lines) + [BLOCK_END + root]
    return "%s%s\n%s" % (before, "\n".join(block), without_block(after, root))


def python_of_block(block: str) -> str:
    """The interpreter that the line of a block names; '' when only a shell could tell."""
    for line in block.split("\n"):
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        if "exec" in words[:-1]:
            python = words[words.index("exec") + 1]
            if "$(" not in python:  # as cron_word spells what cron would change
                return python
    return ""


# --------------------------------------------------------------------------------------------------
# Below this line: clock, disk, processes.
# --------------------------------------------------------------------------------------------------

# == Clock ==

# Of clock_gettime(2); Python has a name for it from 3.7 on. Elsewhere, -1 is an error to the call.
CLOCK_BOOTTIME = 7 if sys.platform.startswith("linux") else -1


def sleep(seconds: float) -> None:
    """Wait, by poll(2): time.sleep waits for an absolute time, and fails under a faked clock."""
    try:
        select.poll().poll(max(0, int(seconds * 1000)))
    except (OSError, AttributeError):  # no memory; no poll(2)
        time.sleep(max(0.0, seconds))


class TimeIsUp(Exception):
    """What was to be done within a `time_limit` has taken longer."""


class time_limit:
    """Raises TimeIsUp in the midst of what takes longer than this, by SIGALRM.

    `with time_limit(seconds):`, in the main thread; anywhere else, entering raises ValueError.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = max(0.001, seconds)  # setitimer(2) takes 0 for never

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, kind: "Any", error: "Any", trace: "Any") -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    @staticmethod
    def _stop(number: int, frame: object) -> None:
        raise TimeIsUp


class Clock:
    """Time of day for schedules and records, monotonic time for durations. Tests pass their own."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def suspended(self) -> "float | None":
        """Seconds that this machine was suspended since its boot; None where that is unknown."""
        try:  # CLOCK_BOOTTIME counts them, CLOCK_MONOTONIC does not
            return time.clock_gettime(CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        except (AttributeError, OSError):
            return None


def command_output(*argv: str) -> str:
    """The output of a helper program; '' when it fails or is missing."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=10, env=dict(os.environ, LC_ALL="C", TZ="UTC0"))
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def proc_text(name: str) -> str:
    """A file of /proc; '' where there is none. Raises OSError when it cannot be read."""
    try:
        fd = os.open("%s/%s" % (PROC, name), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    text = b""
    try:
        while True:  # by read(2): the layers of open() would double what a forked process costs
            piece = os.read(fd, 1 << 16)
            if not piece:
                return text.decode("utf-8", "replace")
            text += piece
    except ProcessLookupError:
        return ""  # it has ended meanwhile
    finally:
        os.close(fd)


def current_boot_id() -> str:
    """A text that differs after every boot. Raises StorageError when it cannot be determined."""
    with doing("read", "%s/sys/kernel/random/boot_id" % PROC):
        boot_id = proc_text("sys/kernel/random/boot_id").strip()
        if boot_id:
            return boot_id
        match = re.search(r"(?m)^btime (\d+)$", proc_text("stat"))
    if match:
        return match.group(1)
    for name in ("kern.bootsessionuuid", "kern.boot_id"):  # macOS, FreeBSD
        boot_id = command_output("sysctl", "-n", name).strip()
        if boot_id:
            return boot_id
    booted_at = boot_time(0.0)
    # A guess here would read as a reboot, and every run would count as gone.
    if not booted_at and shutil.which("sysctl"):
        raise StorageError("cannot determine the boot ID: sysctl failed")
    return str(booted_at)


def current_start_id() -> str:
    """A text that differs after every start of the machine, or of this container.

    A container has the boot id of its host, but a process 1 of its own. What follows the `+` is
    when that began; nothing where other users' processes are hidden (is_new_start).
    """
    boot_id, init_start = current_boot_id(), init_start_ticks()
    return "%s+%s" % (boot_id, init_start) if init_start else boot_id


def boot_time(now: float) -> int:
    """When this machine was booted, or this container started, in epoch seconds."""
    init_start = init_start_ticks()
    if init_start:
        try:  # not by /proc/uptime, which some containers have of their own
            uptime_s = time.clock_gettime(CLOCK_BOOTTIME)
            return int(now - uptime_s + int(init_start) / os.sysconf("SC_CLK_TCK"))
        except (AttributeError, OSError, ValueError, OverflowError):
            pass
    with doing("read", "%s/uptime" % PROC):
        uptime = proc_text("uptime").split()
    if uptime:
        try:
            return int(now - float(uptime[0]))
        except (ValueError, OverflowError):
            raise StorageError("cannot tell when this machine was booted: %s/uptime is not as "
                               "proc(5) has it" % PROC)
    match = re.search(r"sec\s*=\s*(\d+)", command_output("sysctl", "-n", "kern.boottime"))
    return int(match.group(1)) if match else 0


# Raise it when some expression gets other slots than before: every next slot is computed anew.
CRON_READING = "3"


def current_zone_stamp() -> str:
    """Changes when a schedule may get other slots. Its first word changes with the zone alone."""
    # The offsets of 2024: fixed months, and past ones, so that time alone changes nothing.
    months = (1704067200 + month * 30 * DAY for month in range(12))
    texts = [",".join(str(zone_named(None).span(at)[2]) for at in months)]
    for path in ("/etc/localtime", "/usr/share/zoneinfo/tzdata.zi", "/usr/share/zoneinfo/Etc/UTC"):
        try:
            info = os.stat(path)
            texts.append("%d.%d" % (info.st_mtime_ns, info.st_size))
        except OSError:
            texts.append("-")
    return " ".join(texts + [CRON_READING])


# == Files ==

def error_text(error: Exception) -> str:
    """What an exception says, without its errno and path; its type if it says nothing."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def place_of_error(error: OSError) -> str:
    """Where an error came from: the file it names or, failing that, the function it stopped."""
    if error.filename:
        return os.fsdecode(error.filename)
    import traceback
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame[0] == __file__:
            return "in %s()" % frame[2]
    return "in the Python library"


def user_name(uid: int) -> str:
    """The name of a user; the number of one who has none."""
    import pwd
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def owner_name(path: str) -> str:
    """The owner of a file or folder as sudo(8) takes it; '' if that cannot be told."""
    try:
        name = user_name(os.stat(path).st_uid)
    except OSError:
        return ""
    return "'#%s'" % name if name.isdigit() else name


def as_owner_hint(path: str) -> str:
    """How to go on with a file or folder of another user; '' if it is one's own or not there.

    Not by chown: the owner's cron, which uses it every minute, would then be locked out.
    """
    owner = owner_name(path)
    if not owner or os.stat(path).st_uid == os.geteuid():
        return ""
    return "run it as its owner: sudo -u %s ..." % owner


def own_command(root: str, is_short: bool = False) -> str:
    """How a person calls this file for this root: from anywhere, or `is_short` from here."""
    path = os.path.abspath(__file__)
    folder, name = os.path.split(path)
    command, prefix = shlex.quote(path), ""
    if is_short and os.path.realpath(os.curdir) == os.path.realpath(folder):
        command, prefix = shlex.quote(name), "./"
    command = (prefix if os.access(path, os.X_OK) else "python3 ") + command
    is_default = os.path.realpath(root) == os.path.realpath(folder)
    if not is_default or os.environ.get("SYMPHONY_ROOT"):
        command += " --root " + shlex.quote(root)
    return command


class FileLock:
    """A flock on a file: held until each process that has it called `release` or ended, or until
    one of them calls `unlock`.

    With `second`, that file is locked as well: deleting only one of them lets nobody in.
    """

    def __init__(self, path: str, second: str = "") -> None:
        self.path = path
        self.paths = [path] + ([second] if second else [])
        self.fds: "List[int]" = []
        self.refused = path  # the one that another process holds, after `acquire` failed

    @property
    def fd(self) -> int:
        """The descriptor of the lock file while it is held, else -1."""
        return self.fds[0] if self.fds else -1

    def acquire(self, wait_s: float = 0.0) -> bool:
        """Whether the lock could be had within `wait_s` seconds."""
        deadline = time.monotonic() + wait_s
        while not self._try(deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                return False
            sleep(LOCK_POLL_S)  # the file was replaced, or the kernel could not be waited for
        return True

    def _try(self, wait_s: float) -> bool:
        try:
            is_mine = all(self._lock(path, wait_s) for path in self.paths) and self.is_current()
        except ConductorError:
            self.release()
            raise
        if not is_mine:
            self.release()
        return is_mine

    def _lock(self, path: str, wait_s: float) -> bool:
        with doing("open the lock", path):
            fd = open_making_folder(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        self.fds.append(fd)
        with doing("lock", path):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            self.refused = path
            return wait_s > 0 and self._wait(fd, wait_s)

    @staticmethod
    def _wait(fd: int, wait_s: float) -> bool:
        """Have the kernel wake this process when the lock is its own; to poll costs far more."""
        try:
            with time_limit(wait_s):
                fcntl.flock(fd, fcntl.LOCK_EX)
            return True
        except (TimeIsUp, ValueError):
            return False

    def is_current(self) -> bool:
        """Whether each path still is the locked file: it may have been deleted after the open."""
        try:
            return all(os.path.samestat(os.fstat(fd), os.lstat(path))
                       for fd, path in zip(self.fds, self.paths))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError.of("check the lock", self.path, error)

    def take_over(self, fd: int) -> None:
        """Go on with the lock that another process took and passed on as this descriptor."""
        self.fds = [fd]
        with doing("take over the lock", self.path):
            os.set_inheritable(fd, False)

    def note(self, text: str) -> None:
        """Write who holds the lock, for people: no decision depends on it."""
        try:
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, text.encode(), 0)
        except OSError:
            pass  # the lock is held all the same

    def release(self) -> None:
        """Let go of the lock; processes that inherited it go on holding it."""
        # Never unlink: a waiter may hold the old inode, and then two would own the lock.
        fds, self.fds = self.fds, []
        for fd in fds:
            close_quietly(fd)

    def unlock(self) -> None:
        """Release the lock for processes that inherited it as well: see flock(2)."""
        for fd in self.fds:
            try:
                fcntl.flock(fd, fcntl.LOCK_UN)
            except OSError:
                pass  # a forked supervisor closes it first of all, so it is held for no longer
        self.release()


def close_quietly(fd: int) -> None:
    """Close a descriptor that nothing of value was written to."""
    try:
        os.close(fd)
    except OSError:
        pass  # it is closed all the same: close(2)


def close_written(fd: int) -> None:
    """Close a descriptor that was written to. Raises OSError.

    A network file system may report only here that a write was lost.
    """
    try:
        os.close(fd)
    except InterruptedError:
        pass  # it is closed all the same: close(2)


def open_making_folder(path: str, flags: int) -> int:
    """Open a file of the conductor, for the owner alone, making its folder when there is none.

    Raises OSError, also for anything but a regular file.
    """
    flags |= os.O_NONBLOCK  # a pipe that somebody put there would block until it has a reader
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        make_folder(os.path.dirname(path))
        fd = os.open(path, flags, 0o600)
    try:
        info = os.fstat(fd)
        _check_regular(info, path)
        if flags & os.O_CREAT and info.st_mode & 0o600 != 0o600 and info.st_uid == os.geteuid():
            os.fchmod(fd, 0o600)  # made just now, under a umask that shuts out its owner
    except OSError:
        close_quietly(fd)
        raise
    return fd


def make_folder(path: str) -> None:
    """Make a folder of the conductor, and those above it, for the owner alone."""
    if os.path.isdir(path):
        return
    make_folder(os.path.dirname(path))  # os.makedirs would give these the caller's umask
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # whatever the umask is
    except OSError as error:
        if not os.path.isdir(path):
            raise StorageError.of("create the folder", path, error)
    # Otherwise a power failure may lose the folder, with all that was synced inside.
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Make a rename in this folder survive a power cut, where the file system can."""
    with doing("sync", path + "/"):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        except OSError as error:
            # These three come from file systems that cannot sync a folder.
            if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
                raise
        finally:
            close_quietly(fd)


def sync_file(path: str) -> None:
    """Make the content of a file survive a power cut. Raises StorageError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.fsync(fd)
        finally:
            close_quietly(fd)
    except FileNotFoundError:
        pass  # it was deleted: nothing is left to keep
    except OSError as error:
        raise StorageError.of("sync", path, error)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however many calls it takes. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def write_atomic(path: str, data: "bytes | Iterable[bytes]", durable: bool = True,
                 keep: str = "") -> None:
    """Replace a file by write, fsync and rename: readers and crashes see the old or the new one.

    With `keep` the old one stays under that name; the path itself is never missing. One writer at
    a time: the temporary name is fixed, so that a crash leaves no more than one stray file.
    Raises StorageError.
    """
    pieces = (data,) if isinstance(data, bytes) else data
    temporary = path + ".tmp"
    try:
        fd = open_making_folder(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            for piece in pieces:
                write_all(fd, piece)
            if durable:
                os.fsync(fd)
        except OSError:
            os.ftruncate(fd, 0)  # the disk may be full: give back what was written so far
            raise
        finally:
            close_written(fd)
        if keep and os.path.lexists(path):
            _keep_copy(path, keep)
        os.rename(temporary, path)
        if durable:
            sync_folder(os.path.dirname(path))
    except OSError as error:
        raise StorageError.of("write", path, error)


def check_replaceable(path: str) -> None:
    """Raises OSError unless the path is a file, which may be replaced, or nothing."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(info.st_mode):  # to replace it would hardly be meant
        raise ForeignFile(errno.ELOOP, "Is a symbolic link", path)
    _check_regular(info, path)


def write_public(path: str, data: bytes, at: "float | None" = None) -> None:
    """Replace a file that others read, in a folder that others may write to as well.

    One writer at a time, as for `write_atomic`. `at` is the time that the file gets, in epoch
    seconds. It is not flushed to disk: what it shows is made anew. Raises StorageError.
    """
    temporary = path + ".tmp"
    try:
        check_replaceable(path)
        try:
            os.unlink(temporary)  # whatever it is: written into, a hard link would be another file
        except FileNotFoundError:
            pass
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            os.fchmod(fd, 0o644)  # whatever the umask is
            write_all(fd, data)
            if at is not None:
                os.utime(fd, (at, at))
        except OSError:
            os.unlink(temporary)
            raise
        finally:
            close_written(fd)
        os.rename(temporary, path)
    except OSError as error:
        raise StorageError.of("write", path, error)


def modified_at(path: str) -> "float | None":
    """When a file was last written, in epoch seconds; None where that cannot be told."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _keep_copy(path: str, keep: str) -> None:
    """Give the file a second name, without a moment in which the first is missing."""
    if not os.path.isfile(path):  # a folder or a dangling link in the file's place
        os.rename(path, keep)
        return
    temporary = keep + ".tmp"
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    try:
        os.link(path, temporary)
        os.rename(temporary, keep)
    except OSError:
        write_atomic(keep, read_bytes(path))  # a file system without hard links


def mount_of(path: str) -> str:
    """Where the file system of a folder is mounted."""
    path = os.path.realpath(path)
    while not os.path.ismount(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def probe_write(folder: str) -> None:
    """Write a block into a folder and leave nothing behind. Raises OSError where that fails."""
    path = os.path.join(folder, "probe.%d.tmp" % os.getpid())
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)  # it has no name at all
    except (OSError, AttributeError):  # not on this system, or not on this file system
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
    try:
        write_all(fd, b"\0" * 4096)
    finally:
        os.close(fd)  # some file systems report here that there is no room


def append_lines(path: str, lines: "Sequence[str]", max_bytes: int = 0) -> None:
    """Append whole lines with one write; a file over `max_bytes` is rotated first.

    Raises StorageError.
    """
    text = "".join(line.rstrip("\n").replace("\n", " ") + "\n" for line in lines)
    data = text.encode("utf-8", "backslashreplace")
    try:
        if max_bytes:
            rotate(path, max_bytes)
        fd = open_append(path)
        try:
            write_all(fd, data)
        finally:
            close_written(fd)
    except OSError as error:
        raise StorageError.of("append to", path, error)


def open_append(path: str) -> int:
    """Open a file of the conductor for appending. Raises OSError."""
    return open_making_folder(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)


def is_journal(fd: int) -> bool:
    """Whether this descriptor leads to systemd's journal (systemd.exec(5): $JOURNAL_STREAM)."""
    stream = os.environ.get("JOURNAL_STREAM")  # device:inode
    if not stream:
        return False
    try:
        info = os.fstat(fd)
    except OSError:
        return False
    return stream == "%d:%d" % (info.st_dev, info.st_ino)


# -- the system's log

JOURNAL_SOCKET = "/run/systemd/journal/socket"
SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")  # Linux, macOS, BSD
LOGGED_ANYWAY = "the file in logs/ has every line"
LOG_NAME = "symphony_conductor"
LOG_FACILITY = 9   # cron's, as in RFC 5424
LOG_SEVERITIES = {"ERROR": "3", "WARNING": "4"}
LOG_INFO = "6"
LOG_LINE_LIMIT = 32000  # characters: whatever they are, a datagram of Linux holds them


def log_fields(line: str, tasks: "Container[str]") -> "Dict[str, str]":
    """A line of the log as the fields of an entry in systemd's journal; `tasks` has all names."""
    fields = {"MESSAGE": cut_text(line, LOG_LINE_LIMIT),
              "PRIORITY": LOG_SEVERITIES.get(line.partition(" ")[0], LOG_INFO)}
    match = re.match(r"(?:WARNING |ERROR )?(?:(?:giving up on )?message '\w+ )?"
                     r"([A-Za-z0-9][A-Za-z0-9_.-]*)[:'] ", line)
    if match and match.group(1) in tasks:
        fields["SYMPHONY_TASK"] = match.group(1)
        run = re.search(r"\brun ([0-9]{8}T[0-9]{6}Z-[0-9]+)\b", line)
        if run:
            fields["SYMPHONY_RUN_ID"] = run.group(1)
    return fields


def journal_entry(fields: "Dict[str, str]") -> bytes:
    """An entry in systemd's native journal protocol."""
    entry = b""
    fields = dict(fields, SYSLOG_IDENTIFIER=LOG_NAME, SYSLOG_FACILITY=str(LOG_FACILITY))
    for key, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            entry += b"%s\n%s%s\n" % (key.encode(), len(value).to_bytes(8, "little"), value)
        else:
            entry += b"%s=%s\n" % (key.encode(), value)
    return entry


def syslog_entry(fields: "Dict[str, str]", now: float) -> bytes:
    """An entry as syslog(3) of the C library writes it: not RFC 5424, which rsyslog and journald do
    not read from their local socket. So the fields stand at its end, as key=value.
    """
    text = " ".join(fields["MESSAGE"].splitlines())
    for key, name in (("SYMPHONY_TASK", "task"), ("SYMPHONY_RUN_ID", "run_id")):
        if key in fields:
            text += " %s=%s" % (name, fields[key])
    priority = LOG_FACILITY * 8 + int(fields["PRIORITY"])
    at = time.strftime("%b %e %H:%M:%S", time.localtime(now))
    line = "<%d>%s %s[%d]: %s" % (priority, at, LOG_NAME, os.getpid(), text)
    return line.replace("\0", " ").encode("utf-8", "backslashreplace")


def log_sockets(log_to: str) -> "Tuple[str, ...]":
    """Where the sockets of this setting may be; the first that is there counts."""
    if log_to == "journal":
        return (JOURNAL_SOCKET,)
    return SYSLOG_SOCKETS if log_to == "syslog" else ()


def log_path(paths: "Sequence[str]") -> str:
    return next((path for path in paths if os.path.exists(path)), paths[0])


def connect_log(paths: "Sequence[str]") -> "Tuple[socket.socket, bool]":
    """A socket that never blocks, to the first of these paths that is there; whether it is a
    stream. Raises OSError.
    """
    path = log_path(paths)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        made = socket.socket(socket.AF_UNIX, kind)
        try:
            made.setblocking(False)
            made.connect(path)
            return made, kind == socket.SOCK_STREAM
        except OSError as error:
            made.close()
            if error.errno != errno.EPROTOTYPE:
                raise
    raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE), path)


def send_to_log(paths: "Sequence[str]", entries: "Sequence[bytes]") -> int:
    """Hand entries to a daemon that logs: how many it did not take, because its buffer is full.

    Where no daemon listens, nothing is counted: doctor says so.
    """
    try:
        connection, is_stream = connect_log(paths)
    except BlockingIOError:
        return len(entries)
    except OSError:
        return 0
    taken = 0
    try:
        for entry in entries:
            if is_stream:
                entry += b"\0"
            try:
                size = connection.send(entry)
            except OSError:
                continue
            if size < len(entry):
                break  # of a stream: what follows would be read as the rest of it
            taken += 1
    finally:
        connection.close()
    return len(entries) - taken


def log_trouble_of(log_to: str) -> "Tuple[str, str]":
    """Why the daemon of this setting gets no lines, and what to do; two empty strings if it does.
    """
    paths = log_sockets(log_to)
    if not paths:
        return "", ""
    try:
        connect_log(paths)[0].close()
    except BlockingIOError:
        pass  # it is there, and busy
    except PermissionError:
        return ("this user may not write to %s" % log_path(paths),
                "ask the administrator for access, or use another log; " + LOGGED_ANYWAY)
    except OSError as error:
        return ("nothing listens at %s (%s)" % (paths[0], error.strerror),
                "start the daemon, or use another log; " + LOGGED_ANYWAY)
    return "", ""


def rotate(path: str, max_bytes: int) -> None:
    """Rename path -> path.1 -> ... -> path.5, when it has grown over `max_bytes`."""
    try:
        if os.stat(path).st_size <= max_bytes:
            return
    except FileNotFoundError:
        return
    for number in range(LOG_GENERATIONS - 1, 0, -1):
        try:
            os.rename("%s.%d" % (path, number), "%s.%d" % (path, number + 1))
        except FileNotFoundError:
            continue
    os.rename(path, path + ".1")


class ForeignFile(OSError):
    """What stands under a name of the conductor's is nothing that it ever writes there."""


READ_AT_ONCE = 1 << 16
LARGEST_FILE = 1 << 30  # no state, record or day of history comes near it


def read_bytes(path: str, limit: int = -1, follow: bool = False) -> bytes:
    """The file, or its last `limit` bytes.

    It has to be as the conductor writes its files: regular, no link (unless `follow`) and of a
    possible size; anything else is a ForeignFile. Raises OSError, always with the path.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK
    if not follow:
        flags |= os.O_NOFOLLOW
    try:
        fd = os.open(path, flags)
        try:
            return read_descriptor(fd, path, limit)
        finally:
            close_quietly(fd)
    except ForeignFile:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise ForeignFile(errno.ELOOP, "Is a symbolic link", path)
        raise OSError(error.errno, error.strerror, path)


def read_descriptor(fd: int, path: str, limit: int = -1) -> bytes:
    """As `read_bytes`, of a file that is open already."""
    info = os.fstat(fd)
    _check_regular(info, path)
    if limit >= 0:
        os.lseek(fd, max(0, info.st_size - limit), os.SEEK_SET)
    elif info.st_size > LARGEST_FILE:
        raise ForeignFile(errno.EFBIG, os.strerror(errno.EFBIG), path)
    pieces: "List[bytes]" = []
    while True:  # by its end and not by its size: it may be growing
        piece = os.read(fd, max(READ_AT_ONCE, min(info.st_size, LARGEST_FILE)))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _check_regular(info: "os.stat_result", path: str) -> None:
    """Raises ForeignFile for anything but a regular file."""
    if stat.S_ISDIR(info.st_mode):
        raise ForeignFile(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(info.st_mode):
        raise ForeignFile(errno.EINVAL, "Not a regular file", path)


# -- why a program cannot start

SHELL_WORDS = (
    "if for while until case { ( ! : . [ alias bg break cd command continue echo eval exec exit"
    " export false fg getopts hash jobs kill printf pwd read readonly return set shift test times"
    " trap true type ulimit umask unset wait").split()
_SHELLS = r"(?:sh|bash|dash|ksh|zsh)\Z"
_INTERPRETERS = r"(?:sh|bash|dash|ksh|zsh|python[0-9.]*|perl|ruby|php)\Z"
_HEAD_BYTES = 256  # of a script: the kernel reads no more of its first line (BINPRM_BUF_SIZE)
_UTF8_MARK = b"\xef\xbb\xbf"


def start_trouble(command: "str | Sequence[str]", folder: str, path: str,
                  whose: str = "the task's") -> "Tuple[str, str]":
    """What keeps a command from starting in this folder with this PATH, and a fix.

    Two empty strings if nothing does, or if only the shell can tell. `whose` PATH it is, in words.
    """
    words = _program_and_arguments(command)
    is_for_shell = isinstance(command, str)
    if not words or is_for_shell and words[0] in SHELL_WORDS or unexpanded(words[0]):
        return "", ""
    program = words[0]
    if "/" in program:  # then PATH is not searched (execvp(3)), and `folder` is where it starts
        text, hint = _file_trouble(program, folder)
        full = os.path.join(folder, program)
    else:
        full = shutil.which(program, path=path) or ""
        text, hint = "", ""
        if not full:
            text, hint = _search_trouble(program, path, whose)
            if os.path.isfile(os.path.join(folder, program)):
                hint = "write ./%s" % program
    if not text:
        text, hint = _script_trouble(program, full, path, whose, is_for_shell)
    if not text:
        text, hint = _argument_trouble(words, folder, path)
    return text, hint


def _program_and_arguments(command: "str | Sequence[str]") -> "List[str]":
    """A command's first words up to one that only a shell can read; none if that is the program."""
    if not isinstance(command, str):
        return list(command)
    words: "List[str]" = []
    for word in re.split(r"[;&|<>()\n]", command)[0].split():
        is_assignment = re.match(r"([A-Za-z_][A-Za-z0-9_]*)=[^\s'\"$`]*\Z", word)
        if not words and is_assignment and is_assignment.group(1) != "PATH":
            continue
        if not re.match(r"[A-Za-z0-9_./+-]+\Z", word) and (words or word not in SHELL_WORDS):
            break
        words.append(word)
    return words


def _search_trouble(program: str, path: str, whose: str) -> "Tuple[str, str]":
    """For a program that is in no folder of PATH."""
    for folder in path.split(":"):
        if os.path.isfile(os.path.join(folder, program)):
            return _file_trouble(os.path.join(folder, program), "")
    elsewhere = shutil.which(program)
    hint = "install it, or set PATH in env"
    if program == "python" and shutil.which("python3", path=path):
        hint = "use python3"
    elif elsewhere:
        hint = "use %s, or set PATH in env" % elsewhere
    return "'%s' is not on %s PATH (%s)" % (program, whose, path), hint


def _path_trouble(name: str, folder: str) -> "Tuple[str, str]":
    """Why a path, as a command names it, leads to no file."""
    full = os.path.join(folder, name)
    try:
        if not stat.S_ISDIR(os.stat(full).st_mode):
            return "", ""
        return "'%s' is a folder" % name, "name the program in it"
    except PermissionError:
        above = os.path.dirname(os.path.abspath(full))
        while not os.path.isdir(above):  # for a folder within one that is closed, no answer comes
            above = os.path.dirname(above)
        return ("'%s' cannot be reached: no permission to enter the folder %s" % (name, above),
                "move it, or ask the folder's owner for access")
    except OSError as error:
        if os.path.islink(full) and error.errno == errno.ELOOP:
            return "'%s' is a link that leads to itself" % name, "correct the link"
        if os.path.islink(full):
            return ("'%s' is a broken link to %s" % (name, os.readlink(full)),
                    "correct the link or the path")
    return "'%s' does not exist" % name, near_path(name, folder) or "correct the path"


def near_path(name: str, folder: str, is_folder: bool = False) -> str:
    """A suggestion for a path that does not exist: one in which a single part differs; or ''."""
    parts = name.split("/")
    for number in range(1, len(parts) + 1):
        above, missing = "/".join(parts[:number - 1] + [""]), parts[number - 1]
        if os.path.lexists(os.path.join(folder, above + missing)):
            continue
        try:
            names = os.listdir(os.path.join(folder, above))[:5000]  # comparing takes time
        except OSError:
            return ""
        for close in difflib.get_close_matches(missing, names, 3, 0.6):
            other = above + "/".join([close] + parts[number:])
            if os.path.isdir(os.path.join(folder, other)) == is_folder:
                return "did you mean '%s'?" % other
        return ""
    return ""


def _file_trouble(name: str, folder: str) -> "Tuple[str, str]":
    """Why the file at a path is no program for this user."""
    text, hint = _path_trouble(name, folder)
    full = os.path.abspath(os.path.join(folder, name))
    if text or os.access(full, os.X_OK):
        return text, hint
    info = os.stat(full)
    no_exec = getattr(os, "ST_NOEXEC", 0)
    if info.st_mode & 0o111 and os.statvfs(full).f_flag & no_exec:
        return ("'%s' is on a file system that is mounted noexec" % name,
                "move it, or name the interpreter: sh %s" % name)
    hint = "chmod +x %s" % shlex.quote(full)
    if os.geteuid() not in (0, info.st_uid):
        hint = "its owner can allow it: " + hint
    return "'%s' is not executable" % name, hint


def _head_of(full: str) -> bytes:
    try:
        with open(full, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""  # a program need not be readable to be run


def _line_end_trouble(name: str, full: str) -> "Tuple[str, str]":
    return ("'%s' has Windows line ends, which its interpreter cannot read" % name,
            "to fix: sed -i 's/\\r$//' %s" % shlex.quote(os.path.abspath(full)))


def _script_trouble(name: str, full: str, path: str, whose: str,
                    is_for_shell: bool) -> "Tuple[str, str]":
    """What is wrong with the first line of a program, where it is a script."""
    head = _head_of(full)
    line = head.partition(b"\n")[0]
    if head.startswith(_UTF8_MARK + b"#!"):
        return ("'%s' has a byte order mark before its #! line" % name,
                "to fix: sed -i '1s/^\\xef\\xbb\\xbf//' %s" % shlex.quote(os.path.abspath(full)))
    if not line.startswith(b"#!"):
        # A shell runs such a file itself; a file with a NUL is a program for some machine.
        if is_for_shell or b"\0" in head or not head:
            return "", ""
        return ("'%s' has no #! line, and a list is not run by a shell" % name,
                'begin it with #!/bin/sh, or put "sh" in front of it')
    if line.endswith(b"\r"):
        return _line_end_trouble(name, full)
    if b"\0" in line:
        return "", ""  # no path holds it; what the kernel makes of it is its own affair
    words = os.fsdecode(line[2:]).split()
    if not words:
        return "'%s' names no interpreter after #!" % name, "begin it with #!/bin/sh"
    interpreter = words[0]
    if not os.path.exists(interpreter):
        hint = "install it, or correct the first line of the file"
        elsewhere = shutil.which(os.path.basename(interpreter), path=path)
        if elsewhere:
            hint = "begin the file with #!%s" % elsewhere
        return "'%s': missing interpreter %s" % (name, interpreter), hint
    if not os.access(interpreter, os.X_OK):
        return ("'%s': its interpreter %s is not executable" % (name, interpreter),
                "correct the first line of the file")
    if os.path.basename(interpreter) == "env":
        return _env_trouble(name, words[1:], path, whose)
    return "", ""


def _env_trouble(name: str, words: "List[str]", path: str, whose: str) -> "Tuple[str, str]":
    """For a script whose first line is `#!/usr/bin/env WORDS`."""
    is_split = words[:1] == ["-S"]
    if is_split:
        words = words[1:]
    elif len(words) > 1 and sys.platform.startswith("linux") and words[0][0] != "-":
        # Linux passes all that follows the interpreter as one argument: execve(2).
        return ("'%s': env takes '%s' for one name" % (name, " ".join(words)),
                "begin the file with #!/usr/bin/env -S %s" % " ".join(words))
    program = next((word for word in words if word[0] != "-" and "=" not in word), "")
    if not program or shutil.which(program, path=path):
        return "", ""
    text, hint = _search_trouble(program, path, whose)
    return "'%s': its interpreter %s" % (name, text), hint


def _argument_trouble(words: "List[str]", folder: str, path: str) -> "Tuple[str, str]":
    """For `sh SCRIPT`, `python3 SCRIPT` and the like: what is wrong with the script."""
    name = os.path.basename(words[0])
    script = ""
    if re.match(_INTERPRETERS, name):
        script = _script_argument(name, words[1:])
    if not script or unexpanded(script):
        return "", ""
    full = os.path.join(folder, script)
    is_shell = re.match(_SHELLS, name) is not None
    if is_shell and "/" not in script and shutil.which(script, path=path):
        return "", ""  # a shell searches PATH too
    text, hint = _path_trouble(script, folder)
    if os.path.isdir(full) and not is_shell:
        return "", ""  # Python runs the __main__.py in it
    if not text and not os.access(full, os.R_OK):
        text = "'%s' cannot be read: permission denied" % script
        hint = "chmod u+r %s" % shlex.quote(os.path.abspath(full))
    if not text and is_shell and _head_of(full).partition(b"\n")[0].endswith(b"\r"):
        return _line_end_trouble(script, full)
    return text, hint


def _script_argument(interpreter: str, words: "List[str]") -> str:
    """The script among an interpreter's arguments; '' for code, a module or unknown options."""
    takes_code, takes_value = "", ""
    if re.match(_SHELLS, interpreter):
        takes_code, takes_value = "cs", "oO"
    elif interpreter.startswith("python"):
        takes_code, takes_value = "cmV", "WX"
    rest = iter(words)
    for word in rest:
        if word[:1] not in ("-", "+"):
            return word
        letters = word[1:]
        if not letters.isalpha() or not takes_code or set(letters) & set(takes_code):
            return ""
        if letters[-1] in takes_value:
            next(rest, "")
    return ""


# == Stored shapes ==

def parse_document(text: str, place: str) -> "Any":
    """JSON with // comments. Raises ConfigError with the line and column of what is wrong."""
    has_repeated_keys = False

    def read_object(pairs: "List[Tuple[str, Any]]") -> "Document":
        nonlocal has_repeated_keys
        document = dict(pairs)
        has_repeated_keys |= len(document) < len(pairs)
        return document

    def refuse_constant(name: str) -> "Any":  # NaN, Infinity, -Infinity: json takes them by default
        tokens = re.finditer(r'"(?:[^"\\]|\\.)*"|' + name, text)
        at = next(token.start() for token in tokens if token.group() == name)
        raise json.JSONDecodeError("Expecting value", text, at)

    if "//" in text:
        # The first alternative keeps strings, so that a // inside one begins no comment.
        text = re.sub(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*', lambda match: match.group(1) or "", text)
    try:
        document = json.loads(text, object_pairs_hook=read_object, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise ConfigError([_syntax_problem(place, error)])
    except ValueError as error:  # a number with more digits than Python converts
        raise ConfigError([Problem(place=place, text="not valid JSON: %s" % error)])
    except RecursionError:
        raise ConfigError([Problem(place=place, text="not valid JSON: nested too deeply")])
    if has_repeated_keys:
        raise ConfigError(_repeated_keys(text, place), document)
    return document


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _position_text(text: str, position: int) -> str:
    column = position - text.rfind("\n", 0, position)
    return "line %d column %d" % (_line_of(text, position), column)


def _repeated_keys(text: str, place: str) -> "List[Problem]":
    """A problem for each key that its object has already; the text is valid JSON."""
    problems = []
    keys: "List[Dict[str, int]]" = []  # for each object that is open: the key and where it stands
    for token in re.finditer(r'("(?:[^"\\]|\\.)*")\s*(:)?|[{}]', text):
        if token.group() == "{":
            keys.append({})
        elif token.group() == "}":
            keys.pop()
        elif token.group(2):
            key = json.loads(token.group(1))
            if key in keys[-1]:
                problems.append(Problem(
                    place="%s: %s" % (place, _position_text(text, token.start())), field=key,
                    text="key '%s' is used twice in one object" % key,
                    hint="keep one of them; the first is on line %d" % (
                        _line_of(text, keys[-1][key]))))
            keys[-1].setdefault(key, token.start())
    return problems


# What other languages write where JSON has a value.
_OTHER_VALUES = {
    "true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false",
    "null": "null", "none": "null", "nil": "null", "undefined": "null", "nan": "null",
    "infinity": "null"}
# What begins nothing in JSON, and what was meant by it.
_OTHER_MARKS = {
    "'": ("single quotes", "use double quotes"),
    "`": ("backquotes", "use double quotes"),
    "\u201c": ("typographic quotes", 'use straight ones: "'),
    "\u201d": ("typographic quotes", 'use straight ones: "'),
    "\u201e": ("typographic quotes", 'use straight ones: "'),
    "#": ("# begins no comment", "use // for comments"),
    "/": ("/ begins no comment", "use // for comments, to the end of the line"),
    ";": ("a semicolon", "entries are separated by commas"),
    "=": ("an equals sign", "use ':' between key and value"),
    "\u00a0": ("a no-break space", "replace it by a space"),
}


def _syntax_problem(place: str, error: "json.JSONDecodeError") -> Problem:
    """What is wrong with a text that is no JSON. Values are not shown: they may be secret."""
    text, hint, position = _syntax_advice(error.doc, error.pos, error.msg)
    return Problem(place="%s: %s" % (place, _position_text(error.doc, position)), hint=hint,
                   text="not valid JSON: " + text)


def _syntax_advice(doc: str, position: int, message: str) -> "Tuple[str, str, int]":
    """In plain words, for a message of json at a position: what is wrong, a fix, and where."""
    before, rest = doc[:position].rstrip(), doc[position:].lstrip(" \t\r\n")
    start = len(doc) - len(rest)
    if message.startswith(("Unterminated string", "Invalid")):
        text, hint = _string_advice(doc[position:position + 1], message)
        return text, hint, position
    if not doc.strip():
        return "the file is empty", "write {} at least", position
    if "trailing comma" in message:  # said by Python 3.13 and later, at the comma
        return "a comma after the last entry", "remove the comma", position
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return "a comma after the last entry", "remove the comma", len(before) - 1
    if rest[:1] in _OTHER_MARKS:
        return _OTHER_MARKS[rest[0]] + (start,)
    if not rest:
        text, hint = _unclosed_advice(doc)
        return text, hint, len(before)
    if message.startswith("Extra data"):
        return "text after the end of the document", _extra_hint(rest), start
    if "',' delimiter" in message:
        return _comma_advice(before, rest, start)
    if "':' delimiter" in message:
        return "no ':' between key and value", "", start
    if rest[0] == "," and before[-1:] in (",", "{", "["):
        return "a comma with no entry before it", "remove the comma", start
    if message.startswith("Expecting property name"):
        word = re.match(r"\w*", rest)
        hint = 'write "%s"' % cut_text(word.group(), 40) if word and word.group() else ""
        return "a key needs double quotes", hint, start
    text, hint = _value_advice(before, rest)
    return text, hint, start


def _string_advice(letter: str, message: str) -> "Tuple[str, str]":
    if message.startswith("Unterminated"):
        return "a string has no closing quote", 'end it with "'
    if "escape" in message:
        return "a backslash in a string escapes nothing", "write two for one: \\\\"
    if letter in ("\n", "\r"):
        return ("a string has no closing quote on its line",
                'end it with ", or write \\n for a line break')
    if letter == "\t":
        return "a tab in a string", "write \\t"
    return "a control character in a string", "write \\u%04x" % ord(letter)


_CLOSING = {"{": "}", "[": "]"}


def _open_mark(doc: str) -> "Tuple[str, int]":
    """The innermost bracket that is open at the end of a text, and its line; '' when none is."""
    marks: "List[Tuple[str, int]]" = []
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', doc):
        if token.group() in _CLOSING:
            marks.append((token.group(), _line_of(doc, token.start())))
        elif token.group() in ("}", "]") and marks:
            marks.pop()
    return marks[-1] if marks else ("", 0)


def _unclosed_advice(doc: str) -> "Tuple[str, str]":
    mark, line = _open_mark(doc)
    if not mark:
        return "the text ends where a value is missing", ""
    return "the '%s' of line %d is never closed" % (mark, line), "add '%s'" % _CLOSING[mark]


def _extra_hint(rest: str) -> str:
    if rest[0] in ("}", "]"):
        return "remove the extra '%s'" % rest[0]
    if rest[0] == ":":
        return "begin the file with { and end it with }"
    if rest[0] in (",", "{", "["):
        return "put several entries in a list: [{...}, {...}]"
    return "remove it"


def _comma_advice(before: str, rest: str, start: int) -> "Tuple[str, str, int]":
    """For an entry that is followed by neither a comma nor the end of its list or object."""
    if rest[0] in ("}", "]"):
        mark, line = _open_mark(before)
        return ("'%s' does not close the '%s' of line %d" % (rest[0], mark, line),
                "write '%s' first" % _CLOSING.get(mark, ""), start)
    is_adjacent = len(before) == start
    if is_adjacent and before.endswith('"') and rest[0] != '"':
        return "text after the end of a string", 'write \\" for a quote within a string', start
    if is_adjacent and before[-1].isdigit() and rest[0].isdigit():
        return "a number begins with 0", "remove the 0", start
    if is_adjacent and before[-1].isdigit():
        return "a unit after a number", "write the number alone: times are in seconds", start
    return "no comma between two entries", "add one here", len(before)


def _value_advice(before: str, rest: str) -> "Tuple[str, str]":
    """For what is no value, though one has to stand there."""
    if not before:
        return "the text begins with neither { nor [", "JSON begins with one of them"
    word = re.match(r"-?([A-Za-z]\w*)", rest)
    if word and word.group(1).lower() in _OTHER_VALUES:
        value = _OTHER_VALUES[word.group(1).lower()]
        return "%s is not a JSON value" % word.group(), "write %s" % value
    if word:
        return "text needs double quotes", 'write "..."'
    if rest[0] in ".+":
        return "a number begins with a digit or '-'", "write 0.5 for .5"
    return "a value is missing", 'a value is "text", a number, true, false, null, [...] or {...}'


LARGEST_NUMBER = 10 ** 11  # no time, count or length that is stored comes near it
RUN_VERSION = 1      # of the record of a run, and of what its supervisor is told
MESSAGE_VERSION = 1  # of a message that waits to be sent

# Python's types of a JSON value. `type(value) in` and not isinstance: True is an int to the latter.
_TEXT, _INT, _NUMBER, _LIST, _NULL = (str,), (int,), (int, float), (list,), (type(None),)

# What a record must hold to be worked with; other fields are as they come.
RUN_TYPES = (
    ("run_id", _TEXT), ("trigger", _TEXT), ("attempt", _INT), ("slot", _INT + _NULL),
    ("started_at", _NUMBER), ("started_mono", _NUMBER), ("pid", _INT), ("pid_start", _TEXT),
    ("boot_id", _TEXT), ("supervisor", _INT))
RESULT_TYPES = (("status", _TEXT), ("ended_at", _NUMBER), ("exit_code", _INT + _NULL))
# What else of a result goes into its verdict, and so into the state, which takes no other types.
_RESULT_EXTRAS = (
    ("duration_s", _NUMBER), ("reason", _TEXT), ("output_tail", _TEXT), ("attempts", _LIST),
    ("abandoned", (bool,)))
_VERDICT_TYPES = (
    ("status", _TEXT), ("ended_at", _TEXT), ("exit_code", _INT + _NULL), ("run_id", _TEXT + _NULL),
    ("reason", _TEXT + _NULL), ("attempt", _INT + _NULL), ("duration_s", _NUMBER + _NULL),
    ("attempts", _LIST + _NULL))
_VERDICT_TIMES = ("ended_at", "started_at", "scheduled_for", "merged_since", "absorbed")
_SKIP_TYPES = (("status", _TEXT), ("scheduled_for", _TEXT))
_EVENT_TYPES = (("event", _TEXT), ("at", _TEXT))
STOP_TYPES = (("run_id", _TEXT), ("reason", _TEXT))
FAILURE_TYPES = (("at", _NUMBER), ("since", _NUMBER), ("exit_code", _INT), ("text", _TEXT))
_MESSAGE_TYPES = _EVENT_TYPES + (
    ("channel", _TEXT), ("task", _TEXT + _NULL), ("tries", _INT), ("next_try_at", _NUMBER))


def has_types(document: "Any", types: "Tuple[Tuple[str, Tuple[type, ...]], ...]") -> bool:
    """Whether this is an object whose fields have these types; a missing one counts as null.

    A number must be one that can be worked with: json takes NaN and Infinity, and reads 1e400.
    """
    if type(document) is not dict:
        return False
    for key, allowed in types:
        value: "Any" = document.get(key)
        if type(value) not in allowed:
            return False
        if type(value) in _NUMBER and not abs(value) < LARGEST_NUMBER:
            return False
    return True


def sound_result(raw: "Any") -> "Result | None":
    """The result in a run's record, without damaged fields; None for what is no result."""
    if not has_types(raw, RESULT_TYPES):
        return None
    damaged = {extra[0] for extra in _RESULT_EXTRAS if not has_types(raw, (extra,))}
    result: "Result" = {  # type: ignore[assignment]
        key: value for key, value in raw.items() if key not in damaged}
    return result


def _is_int(value: "Any") -> bool:
    return type(value) is int and abs(value) < LARGEST_NUMBER


def _is_number(value: "Any") -> bool:
    return type(value) in _NUMBER and bool(abs(value) < LARGEST_NUMBER)  # NaN is not


def _is_iso(text: "Any") -> bool:
    try:
        return type(text) is str and from_iso(text) is not None
    except ValueError:
        return False


def _is_verdict(record: "Any") -> bool:
    if not has_types(record, _VERDICT_TYPES):
        return False
    for key in _VERDICT_TIMES:
        if record.get(key) is not None and not _is_iso(record[key]):
            return False
    return True


def _is_pause(pause: "Any") -> bool:
    def is_time(at: "Any") -> bool:
        return _is_number(at) and at >= 0

    if type(pause) is not dict or type(pause.get("reason")) is not str or "until" not in pause:
        return False
    if type(pause.get("by", "")) is not str:
        return False
    return is_time(pause.get("since")) and (pause["until"] is None or is_time(pause["until"]))


def _can_be_recorded(record: "Any") -> bool:
    """Whether this is a verdict, an event or a message, and says in which file it belongs."""
    if has_types(record, _EVENT_TYPES):
        message_id = record.get("id", "")  # it becomes the name of a file
        return "channel" not in record or (
            type(message_id) is str and bool(re.match(r"[0-9TZ-]+\Z", message_id)))
    return _is_verdict(record) and is_name(record.get("task")) and (
        "run_id" in record and "scheduled_for" in record)


# What a value of the state must pass: by its field, or else by the annotation. In a List it is
# each item that must, and in a Dict the value of each key.
VALIDATORS: "Dict[str, Callable[[Any], bool]]" = {
    "int": _is_int,
    "float": _is_number,
    "str": lambda value: type(value) is str,
    "State.pending": _can_be_recorded,
    "State.pauses": _is_pause,
    "TaskState.last": lambda value: value == {} or _is_verdict(value),
    "TaskState.skipped": lambda value: value == {} or has_types(value, _SKIP_TYPES),
    "Cycle.attempts": _is_verdict,
}
_STORED_CLASSES = {cls.__name__: cls for cls in (State, TaskState, Run, Cycle)}
# For each class, made when it is first read: stored key -> the field's name and its reader.
_READERS: "Dict[str, Dict[str, Tuple[str, Callable[[Any], Any]]]]" = {}


def _reader(field: str, annotation: str) -> "Callable[[Any], Any]":
    """The function that makes a field's value from its stored form, or raises ValueError.

    Raises KeyError for a field that VALIDATORS lacks: whoever adds one says there what it may hold.
    """
    wrong = "%s is malformed" % field
    if annotation.endswith(" | None"):
        read = _reader(field, annotation[:-len(" | None")])
        return lambda raw: None if raw is None else read(raw)
    if annotation in _STORED_CLASSES:
        return lambda raw: load_value(_STORED_CLASSES[annotation], raw)

    if annotation.startswith("List["):
        read_item = _reader(field, annotation[len("List["):-1])

        def read_list(raw: "Any") -> "Any":
            if type(raw) is not list:
                raise ValueError(wrong)
            return [read_item(item) for item in raw]
        return read_list

    if annotation.startswith("Dict[str, "):
        read_item = _reader(field, annotation[len("Dict[str, "):-1])

        def read_dict(raw: "Any") -> "Any":
            if type(raw) is not dict:
                raise ValueError(wrong)
            return {key: read_item(item) for key, item in raw.items()}
        return read_dict

    is_valid = VALIDATORS.get(field) or VALIDATORS[annotation]

    def read_plain(raw: "Any") -> "Any":
        if not is_valid(raw):
            raise ValueError(wrong)
        return raw
    return read_plain


def _readers_of(cls: "Any") -> "Dict[str, Tuple[str, Callable[[Any], Any]]]":
    name = cls.__name__
    if name not in _READERS:
        _READERS[name] = {}
        for field, annotation in cls.__annotations__.items():
            text = getattr(annotation, "__name__", annotation)  # int itself, or "int | None"
            key = cls.STORED_AS.get(field, field)
            _READERS[name][key] = (field, _reader("%s.%s" % (name, field), text))
    return _READERS[name]


def load_value(cls: "Any", raw: "Any") -> "Any":
    """A value from its stored form; what a later version added is kept. Raises ValueError."""
    if type(raw) is not dict:
        raise ValueError("%s is not a JSON object" % cls.__name__)
    readers = _readers_of(cls)
    fields, unknown = {}, {}
    for key, value in raw.items():
        if key in readers:
            name, read = readers[key]
            fields[name] = read(value)
        else:
            unknown[key] = value
    if unknown:
        fields["unknown"] = unknown
    return cls(**fields)


def dump_value(value: Value) -> "Document":
    """The fields as `load_value` reads them; values among them stay as they are, for json.dumps."""
    fields = value.stored()
    if value.STORED_AS:
        fields = {value.STORED_AS.get(name, name): field for name, field in fields.items()}
    unknown = fields.pop("unknown", None)
    if unknown:
        fields = dict(unknown, **fields)
    return fields


def check_version(document: "Any", newest: int, place: str) -> None:
    """Raises VersionError for what a later version wrote in a form that this one does not know."""
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is int and version > newest:
        raise VersionError.of(place, str(document.get("by") or ""))


def load_state(text: str, place: str = STATE_NAME) -> State:
    """The state from its file. Raises ValueError for what is none, VersionError for a later one."""
    try:
        document = json.loads(text)
        check_version(document, STATE_VERSION, place)  # ahead of all else: its fields may be others
        if isinstance(document, dict):
            document.pop("by", None)
        state: State = load_value(State, document)
    except RecursionError:
        raise ValueError("nested too deeply")
    return state


class StateDumper:
    """Makes the bytes of the state's file, which is JSON with each task on a line of its own.

    It keeps these lines, and makes a new one only for a TaskState that is not the same object as
    last time: a value never changes. That takes as much memory as the file.
    """

    def __init__(self) -> None:
        self._encode = json.JSONEncoder(separators=(",", ":"), default=dump_value).encode
        self._kept: "Dict[str, Tuple[TaskState, bytes]]" = {}

    def dump(self, state: State) -> bytes:
        """The bytes of the state's file."""
        document = dict(dump_value(state), version=STATE_VERSION, by=__version__)
        lines = []  # joined only once: they may be megabytes
        for key, value in document.items():
            if key == "tasks":
                lines += self._task_lines(value)
            else:
                lines.append(self._line(key, value))
        return b"{%s}\n" % b",".join(lines)

    def _task_lines(self, tasks: "Dict[str, TaskState]") -> "List[bytes]":
        before, self._kept = self._kept, {}
        for name, state in tasks.items():
            kept = before.get(name)
            if kept is None or kept[0] is not state:
                kept = (state, b"\n" + self._line(name, state))
            self._kept[name] = kept
        lines = [line for _, line in self._kept.values()]
        lines[0] = b'"tasks":{' + lines[0]
        lines[-1] += b"\n}"
        return lines

    def _line(self, key: str, value: object) -> bytes:
        return ("%s:%s" % (self._encode(key), self._encode(value))).encode("ascii")


def dump_state(state: State) -> bytes:
    """The bytes of the state's file."""
    return StateDumper().dump(state)


def _is_schedule_key(key: str) -> bool:
    """Whether a schedule, as events name it, can be read."""
    text, _, zone = key.rpartition(" ")
    try:
        if text:
            schedule_of(text, recorded=True)
            zone_named(zone or None)
    except ConductorError:  # also when the zone was removed from the system since
        return False
    return True


def is_message(message: "Any") -> bool:
    """Whether this is a message as `enqueue` keeps them."""
    if not has_types(message, _MESSAGE_TYPES) or "task" not in message:
        return False
    if type(message.get("done", [])) is not list or type(message.get("version", 1)) is not int:
        return False
    return _is_number(message["next_try_at"]) and _is_iso(message["at"])


def verdict_of(line: bytes) -> "Verdict | None":
    """A line of the history; None for what a crash, or somebody, left there instead."""
    try:
        verdict: "Verdict" = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not _is_verdict(verdict) or type(verdict.get("task")) is not str:
        return None
    if verdict.get("attempts"):
        verdict["attempts"] = list(filter(_is_verdict, verdict["attempts"]))
    return verdict


def event_of(line: bytes) -> "Event | None":
    """A line of the events; None for what a crash, or somebody, left there instead."""
    try:
        event: "Event" = json.loads(line.decode("utf-8"))
        if has_types(event, _EVENT_TYPES) and _is_event(event):
            return event
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None


def _is_event(event: "Any") -> bool:
    """Whether an audit can read its parts. A wrong type may also raise what Python raises then."""
    kind = event["event"]
    times, keys, pauses, texts = [event["at"]], [], [], [event.get("cause")]
    if kind == "gap":
        times.append(event["since"])
    elif kind in ("begun", "paused"):
        pauses += event["pauses"].values()
    for facts in event.get("tasks", {}).values():
        texts.append(facts.get("reason"))
        times += [facts[key] for key in ("since", "undecided_since") if facts.get(key) is not None]
        if kind == "clock":
            times += [facts["since"], facts["was"]]  # `was` is a time here, else a schedule
            continue
        keys.append(facts.get("was") or "")
        if kind == "anchored":
            keys.append(facts["key"])
    if not all(type(text) in _TEXT + _NULL for text in texts):
        return False
    return all(map(_is_iso, times)) and all(map(_is_schedule_key, keys)) and (
        all(map(_is_pause, pauses)))


# == Store ==

# What the conductor writes for itself: folder under the root, pattern of the names.
OWN_FILES = (
    ("", r"conductor_state\.json(\.bak|\.tmp|\.bad-[0-9TZ]+)*|conductor\.pid"),
    ("__pycache__", r"symphony_conductor\..*\.pyc"),
    ("logs", r"(symphony_conductor|conductor_cron)\.log(\.[0-9])?"),
    ("logs/automation", r"[^.].*\.log(\.[0-9])?"),
    ("status", r"(crontab\.(before|imported|installed)|heartbeat|tick_failure|probe\.[0-9]+|"
               r"(disk|events)\.jsonl|(last_good_config|tick_environment)\.json|"
               r"unwritten\.(metrics|report)_file|metrics\.prom|report\.html)(\.tmp)?"),
    ("status/automation_health", r"[^.].*\.health(\.tmp)?"),
    ("status/definitions", r"[0-9a-f]{16}\.json(\.tmp)?"),
    ("status/history", r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.jsonl"),
    ("status/spool", r"[0-9TZ-]+\.json(\.sent|\.tmp)?"),
    ("status/locks", r"(\.delivery|\.report|\.tick|[^.].*)\.lock"),
    ("status/runs", r"[^.].*\.(json|out|stop)(\.tmp)?"),
)


def _is_private_group(info: "os.stat_result") -> bool:
    """Whether a file's group is the owner's own and has no other member.

    Distributions whose umask is 002 set every user up that way, so its write bit lets nobody in.
    """
    import grp
    import pwd
    try:
        owner, group = pwd.getpwuid(info.st_uid), grp.getgrgid(info.st_gid)
    except KeyError:
        return False
    is_own = owner.pw_gid == info.st_gid and group.gr_name == owner.pw_name
    return is_own and set(group.gr_mem) <= {owner.pw_name}


def lines_backwards(path: str, wanted: "Sequence[bytes]" = ()) -> "Iterator[bytes]":
    """The lines of a file that hold each of the texts `wanted`, the last line first.

    Blocks are read from the end, no more of them than the lines that the caller takes need. A last
    line without a line break is one as well; empty lines are none. Raises OSError with the path.
    """
    read_bytes(path, 0)  # refuses a link, a folder or a pipe in words of its own
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        end = os.fstat(fd).st_size
        if end > LARGEST_FILE:
            raise ForeignFile(errno.EFBIG, os.strerror(errno.EFBIG), path)
        # The end of a line whose beginning lies ahead of `end`, the last piece first. The zeros of
        # a power cut are a single line, perhaps a long one: to join it at each block takes hours.
        pieces: "List[bytes]" = []
        while end:
            start = max(0, end - READ_AT_ONCE)
            block = _read_between(fd, start, end)
            end = start
            head, line_break, rest = block.partition(b"\n")
            if not line_break:
                pieces.append(block)
                continue
            yield from _matching_lines(rest + b"".join(reversed(pieces)), wanted)
            pieces = [head]
        yield from _matching_lines(b"".join(reversed(pieces)), wanted)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path)
    finally:
        close_quietly(fd)


def _read_between(fd: int, start: int, end: int) -> bytes:
    """These bytes of a file, however many calls it takes. Raises OSError when they are gone."""
    block = b""
    while start + len(block) < end:
        piece = os.pread(fd, end - start - len(block), start + len(block))
        if not piece:
            raise OSError(errno.EIO, "Truncated while it was read")
        block += piece
    return block


def _matching_lines(text: bytes, wanted: "Sequence[bytes]") -> "Iterator[bytes]":
    """The lines of a text that hold each of the texts `wanted`, the last one first."""
    # Nearly every block of a long history holds nothing of a rare task: then none of it is split.
    if all(part in text for part in wanted):
        for line in reversed(text.split(b"\n")):
            if line and all(part in line for part in wanted):
                yield line


def verdicts_among(lines: "Iterable[bytes]", first: str, only: str = "",
                   status: str = "") -> "Iterator[Verdict]":
    """The verdicts on lines of the history that ended at `first` (ISO 8601) or later.

    `only` is the task they are of, `status` what their status begins with. A line that a crash cut
    short, or somebody damaged, costs only itself.
    """
    earliest = first.encode()
    for line in lines:
        # To parse a line takes twenty times as long as to see that neither the verdict nor one of
        # its attempts ended late enough.
        ends = re.findall(b'"ended_at": "([^"]*)"', line)
        if ends and max(ends) < earliest:
            continue
        verdict = verdict_of(line)
        if verdict is None or verdict["ended_at"] < first:
            continue
        if only in ("", verdict["task"]) and verdict["status"].startswith(status):
            yield verdict


# The lines around what a run printed. The frame is random, and the command does not get it: so it
# cannot print a line that would count as one of these. Older versions wrote none.
RUN_HEADER = br"--- \S+ start run=(\S+) ([^\n]*)"
RUN_FOOTER = br"(?m)^--- \S+ end run=%s [^\n]*%s$"
FRAME = br" frame=[0-9a-f]{8}\Z"


def output_of_run(log: bytes, run_id: bytes) -> "bytes | None":
    """What a run printed, from its header to its footer; None if the log does not hold it.

    The runs are gone through one by one, as what one of them printed may look like another.
    """
    stop = 0
    while True:
        header = re.compile(RUN_HEADER).search(log, stop)
        if header is None:
            return None
        frame = re.search(FRAME, header.group(2))
        last_part = frame.group() if frame else b""
        footer_form = RUN_FOOTER % (re.escape(header.group(1)), last_part)
        footer = re.compile(footer_form).search(log, header.end())
        if footer:
            stop = footer.end() + 1
        else:  # it runs, or was killed together with its supervisor: up to the next run
            following = re.compile(RUN_HEADER).search(log, header.end())
            stop = following.start() if following else len(log)
        if header.group(1) == run_id:
            return log[header.start():stop]


class Reader:
    """Every file of the conductor under one root, to be read.

    `root` is the folder's name for people; `base` is what every path begins with. They are the same
    until `hold`.
    """

    def __init__(self, root: str, config_path: str = "") -> None:
        self.root = root
        self.script = os.path.abspath(__file__)
        self.script_signature = signature(self.script)
        self.allows_insecure = os.environ.get(OVERRIDE) == "1"
        self.trusted_owner = 0  # whose files are as good as one's own
        # What read_config read: (place, text), and when the file of each place changed.
        self.sources: "List[Tuple[str, str]]" = []
        self.changed_at: "Dict[str, float]" = {}
        # The files of dates that it read besides: path -> the signature that each had before.
        self.date_files: "Dict[str, str]" = {}
        self.newest_config: "Config | None" = None  # of those that were read
        # The newest state that was read or written, and the bytes of its file.
        self._newest: "Tuple[bytes, State | None]" = (b"", None)
        self._name_files(root, config_path or os.path.join(root, CONFIG_NAME))

    # -- the root and what lies under it

    def _name_files(self, base: str, config_path: str) -> None:
        self.base = base
        self.config_path = config_path
        self.state_path = self.path(STATE_NAME)
        self.backup_path = self.state_path + ".bak"
        self.last_good_path = self.path("status/last_good_config.json")

    def hold(self, is_here: bool = False) -> None:
        """Make this very folder the current one, and stay with it whatever becomes of its name.

        A root that is renamed takes its ticks and supervisors along, and none of them writes into
        another folder that got the name meanwhile. `is_here`: it is the current folder already.
        """
        if not is_here:
            with doing("enter", self.root):
                os.chdir(self.root)
        if self.script.startswith(self.root + "/"):
            self.script = "." + self.script[len(self.root):]
        config_path = self.config_path
        if config_path.startswith(self.root + "/"):
            config_path = "." + config_path[len(self.root):]
        self._name_files(".", config_path)

    @property
    def compiled(self) -> str:
        """Where Python keeps this file compiled."""
        return os.path.join(os.path.dirname(self.script), "__pycache__")

    def is_removed(self) -> bool:
        """Whether the root folder is gone; while that cannot be told, it is not."""
        try:
            return not (os.getcwd() if self.base == "." else os.path.isdir(self.base))
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def mark(self, run_id: str) -> str:
        """What tells a run from those of all other roots, whatever this one is called.

        Raises StorageError.
        """
        with doing("stat", self.base):
            info = os.stat(self.base)
        return "%x-%x-%s" % (info.st_dev, info.st_ino, run_id)

    def path(self, name: str) -> str:
        return os.path.join(self.base, name)

    def shown(self, path: str) -> str:
        """The path as messages name it: relative where it lies under the root."""
        return path[len(self.base) + 1:] if path.startswith(self.base + "/") else path

    def log_path(self, name: str) -> str:
        return self.path("logs/automation/%s.log" % name)

    def run_path(self, name: str) -> str:
        return self.path("status/runs/%s.json" % name)

    def pipe_path(self, name: str, run_id: str) -> str:
        return self.path("status/runs/%s.%s.out" % (name, run_id))

    def stop_path(self, name: str) -> str:
        return self.path("status/runs/%s.stop" % name)

    def history_path(self, day: str) -> str:
        return self.path("status/history/%s.jsonl" % day)

    def _names_in(self, folder: str) -> "List[str]":
        """What a folder holds, sorted; nothing when there is none. Raises StorageError."""
        path = self.path(folder)
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError.of("read the folder", path, error)

    def own_files(self) -> "List[Tuple[str, int]]":
        """(path, size) of state, logs and records, by the names the conductor gives them.

        No link is followed.
        """
        files = []
        for folder, pattern in OWN_FILES:
            parts = folder.split("/")
            ancestors = [self.path("/".join(parts[:depth + 1])) for depth in range(len(parts))]
            if any(map(os.path.islink, ancestors)):
                continue
            try:
                names = sorted(os.listdir(self.path(folder)))
            except OSError:
                continue
            for name in names:
                path = os.path.join(self.path(folder), name) if folder else self.path(name)
                try:
                    info = os.lstat(path)
                except FileNotFoundError:
                    continue  # the temporary file of a tick that is running
                if re.match("(?:%s)\\Z" % pattern, name) and stat.S_ISREG(info.st_mode):
                    files.append((path, info.st_size))
        return files

    # -- who else may write

    def insecure(self, path: str, owner: int = 0) -> "List[Problem]":
        """What lets other users write to a file or folder that decides what runs as this user.

        `owner`: the one user besides root and this one that it may belong to.
        """
        place = self.shown(path) if path != self.base else self.root
        try:
            info = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            return [self._unreadable(place, error)]
        if self.allows_insecure:
            return []
        if info.st_uid not in (0, owner, self.trusted_owner, os.geteuid()):
            return [self._foreign(path, info.st_uid)]
        is_open_to_group = info.st_mode & stat.S_IWGRP and not _is_private_group(info)
        if not is_open_to_group and not info.st_mode & stat.S_IWOTH:
            return []
        mode = "go-w" if info.st_mode & stat.S_IWGRP else "o-w"
        return [Problem(place=place, text="others can write to it",
                        hint="chmod %s %s" % (mode, shlex.quote(os.path.abspath(path))))]

    def _foreign(self, path: str, owner: int) -> Problem:
        """That a path is another user's; of a root that is, all its paths are one problem."""
        place, text = self.shown(path), "belongs to another user (uid %d)"
        root_owner = os.stat(self.base).st_uid
        is_outside = path != self.base and place == path
        if is_outside:
            hint = "use a copy that belongs to you"
        elif root_owner not in (0, os.geteuid()):
            place, owner, hint = self.root, root_owner, as_owner_hint(self.base)
        else:
            hint = "to make it yours: %schown %s %s" % (
                "sudo " if os.geteuid() else "", user_name(os.geteuid()),
                shlex.quote(os.path.abspath(path)))
        return Problem(place=place, text=text % owner, hint=hint)

    def _unreadable(self, place: str, error: OSError, hint: str = "") -> Problem:
        if isinstance(error, PermissionError):
            hint = as_owner_hint(self.base)
        return Problem(place=place, text="cannot be read: %s" % error.strerror, hint=hint)

    def insecure_among(self, paths: "Iterable[str]", owner: int = 0) -> "List[Problem]":
        """What `insecure` finds for these paths, each problem once."""
        problems: "List[Problem]" = []
        for path in paths:
            problems += [problem for problem in self.insecure(path, owner)
                         if problem not in problems]
        return problems

    def path_of_variables(self, path: str) -> str:
        """The path of a file of `env_file`, in which a '-' says that it may be missing."""
        return os.path.join(self.base, path[1:] if path.startswith("-") else path)

    def variables(self, paths: "Iterable[str]") -> "Dict[str, str]":
        """The variables in the files of `env_file`, the later ones winning.

        Raises ConfigError, which shows no value, for a file that is missing (unless its path
        begins with '-'), malformed, or open to others.
        """
        variables: "Dict[str, str]" = {}
        for path in paths:
            may_be_missing = path.startswith("-")
            path = self.path_of_variables(path)
            try:
                variables.update(parse_env_file(self._private_text(path)))
            except FileNotFoundError as error:
                if not may_be_missing:
                    hint = "correct the path, or begin it with '-' if the file may be missing"
                    raise ConfigError([self._unreadable(self.shown(path), error, hint)])
            except OSError as error:
                raise ConfigError([self._unreadable(self.shown(path), error)])
            except UnicodeDecodeError as error:
                number = error.object.count(b"\n", 0, error.start) + 1
                raise ConfigError([Problem(
                    place=self.shown(path), text="line %d is not UTF-8 text" % number)])
            except ValueError as error:
                hint = "a value over several lines stands in quotes"
                raise ConfigError([Problem(place=self.shown(path), text=str(error), hint=hint)])
        return variables

    def _private_text(self, path: str) -> str:
        """A file of secrets. Raises OSError, ValueError, or ConfigError if it is open to others."""
        # Links are followed: secrets that are mounted into a container are links.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(fd)
            problems = []
            if info.st_uid not in (0, self.trusted_owner, os.geteuid()):
                problems = [self._foreign(path, info.st_uid)]
            elif stat.S_ISREG(info.st_mode) and info.st_mode & 0o066:
                verb = "write to" if info.st_mode & 0o022 else "read"
                problems = [Problem(place=self.shown(path), text="others can %s it" % verb,
                                    hint="chmod go= " + shlex.quote(os.path.abspath(path)))]
            if problems and not self.allows_insecure:
                raise ConfigError(problems)
            return read_descriptor(fd, path).decode("utf-8-sig")
        finally:
            close_quietly(fd)

    def check_root(self) -> None:
        """Raises ConfigError when others could swap the files of the conductor."""
        problems = self.insecure_among(self._own_paths())
        if problems:
            raise ConfigError(problems)

    def _own_paths(self) -> "List[str]":
        paths = {self.base, os.path.dirname(self.config_path), self.path(DROP_IN_DIR), self.script,
                 os.path.dirname(self.script), self.compiled}
        try:
            paths.update(os.path.join(self.compiled, name) for name in os.listdir(self.compiled)
                         if name.startswith(os.path.basename(self.script)[:-2]))
        except OSError:
            pass  # there is none, or nobody reads it
        return sorted(paths)

    def needs_override(self) -> bool:
        """Whether a tick refuses this root unless SYMPHONY_ALLOW_INSECURE is 1."""
        allows_insecure, self.allows_insecure = self.allows_insecure, False
        try:
            return bool(self.insecure_among(self._own_paths() + self.config_files()))
        finally:
            self.allows_insecure = allows_insecure

    # -- the configuration

    def config_files(self) -> "List[str]":
        """The main file, then the drop-ins in the order of their names. Raises StorageError."""
        folder = self.path(DROP_IN_DIR)
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise StorageError.of("read the folder", folder, error)
        return [self.config_path] + [os.path.join(folder, name) for name in names
                                     if name.endswith(".json") and not name.startswith(".")]

    def watched(self) -> "List[Tuple[str, str]]":
        """(path, signature) of all whose change the next tick must notice, but the state."""
        try:
            paths = self.config_files()
        except StorageError:  # read_config reports it
            paths = [self.config_path]
        paths += [self.path(DROP_IN_DIR), "/etc/localtime", self.compiled]
        paths += [path for path in (globals().get("__cached__"),) if path]
        return [(os.path.abspath(path), signature(path)) for path in paths]

    def version_of(self, watched: "List[Tuple[str, str]]") -> str:
        """A text that differs for each version of the configuration: of the files less the program.
        """
        program = {os.path.abspath(path)
                   for path in (self.compiled, globals().get("__cached__")) if path}
        files = [(path, seen) for path, seen in watched if path not in program]
        return "%08x" % stable_hash(repr(files))

    @staticmethod
    def may_hide_a_change(watched: "List[Tuple[str, str]]") -> bool:
        """Whether a file changed so recently that a second change could leave the same signature.

        A file system's clock moves in steps of up to 10 ms: of two changes in one step, the second
        shows nowhere.
        """
        changes_ns = [int(seen.split()[0]) for _, seen in watched if seen not in ("-", "?")]
        return abs(time.time() - max(changes_ns, default=0) / 1e9) < CLOCK_STEP_S

    def read_config(self) -> Config:
        """The configuration as the files have it.

        Raises ConfigError when it cannot be used as a whole.
        """
        documents: "List[Tuple[str, Any]]" = []
        problems: "List[Problem]" = []
        is_complete = True
        self.sources, self.changed_at, self.date_files = [], {}, {}
        try:
            paths = self.config_files()
        except StorageError as error:  # tasks that cannot be seen are not removed
            reason = error.message.rpartition(": ")[2]
            problems.append(Problem(place=DROP_IN_DIR, text="cannot be read: %s" % reason))
            paths, is_complete = [self.config_path], False
        for path in paths:
            document = None
            try:
                problems += [problem for problem in self.insecure(path)
                             if problem not in problems]
                self._note_change(path)
                document = self._read_document(path)
            except ConfigError as error:
                problems += [problem for problem in error.problems if problem not in problems]
                document = error.partial
                if document is None:
                    is_complete = False
                    if path != self.config_path:
                        continue
                    document = {}
            documents.append((self.shown(path), document))
        # What is wrong with one file hides nothing of what is wrong with another.
        try:
            config = build_config(documents, self.changed_at, is_complete, self.read_dates)
        except ConfigError as error:
            raise ConfigError(problems + error.problems, error.partial)
        if problems:
            raise ConfigError(problems + config.problems, config)
        self.newest_config = config
        return config

    def _note_change(self, path: str) -> None:
        try:
            # A link that is replaced changes what the name holds, and not the file behind it.
            changed_at = max(os.stat(path).st_ctime, os.lstat(path).st_ctime)
        except OSError:
            return  # reading it fails as well, and that is reported
        self.changed_at[self.shown(path)] = changed_at

    def _read_document(self, path: str) -> "Any":
        place = self.shown(path)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ConfigError([Problem(place=place, text="is not a regular file")])
            text = read_bytes(path, follow=True).decode("utf-8")
        except FileNotFoundError:
            hint = ""
            if path == self.path(CONFIG_NAME):  # another name is more likely a mistyped one
                hint = "to create one: %s init" % own_command(self.root)
            raise ConfigError([Problem(place=place, text="no such file", hint=hint)])
        except OSError as error:
            raise ConfigError([self._unreadable(place, error)])
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ConfigError([Problem(place="%s: line %d" % (place, line), hint="save it as UTF-8",
                                       text="a byte that is not UTF-8")])
        if text.startswith("\ufeff"):  # a byte order mark, as editors on Windows write it
            text = text[1:]
        self.sources.append((place, text))
        return parse_document(text, place)

    def read_dates(self, name: str) -> str:
        """The text of a file that `not_on` names. Raises ConductorError."""
        if not name.isprintable():  # the heartbeat names it in a line of its own
            raise ConductorError("this is not the name of a file")
        path = os.path.abspath(self.path(name))
        self.date_files.setdefault(path, signature(path))
        for problem in self.insecure(path):
            raise ConductorError(problem.text, problem.hint)
        try:
            return read_bytes(path, follow=True).decode("utf-8")
        except OSError as error:
            raise ConductorError("cannot be read: %s" % (error.strerror or error),
                                 "correct the path, or create the file")
        except UnicodeDecodeError:
            raise ConductorError("a byte that is not UTF-8", "save it as UTF-8")

    def config_in_force(self) -> "Tuple[Config | None, List[Problem]]":
        """The configuration that ticks go by, and why it is not the one in the files.

        While the files cannot be used as a whole, the last good configuration stays in force; it is
        None when none was kept. Problems of single tasks are in the configuration itself.
        """
        try:
            return self.read_config(), []
        except ConfigError as error:
            return self.read_last_good(), error.problems

    def read_last_good(self) -> "Config | None":
        """The configuration that was last read without an error of the whole, or None."""
        try:
            document = json.loads(read_bytes(self.last_good_path).decode("utf-8"))
            documents = [(place, parse_document(text, place))
                         for place, text in document["documents"]]
            changed_at = {place: float(at) for place, at in document.get("changed_at", {}).items()
                          if abs(float(at)) < LARGEST_NUMBER}
            self.newest_config = build_config(documents, changed_at, read_dates=self.read_dates)
            return self.newest_config
        except (FileNotFoundError, ForeignFile):
            return None
        except OSError as error:
            raise StorageError.of("read", self.last_good_path, error)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
                RecursionError, ConfigError):
            return None

    def last_good_stamp(self) -> str:
        """The stamp under which `save_last_good` kept the last good configuration, or ''."""
        try:
            head = read_bytes(self.last_good_path)[:4096].decode("utf-8", "replace")
        except OSError:
            return ""
        match = re.match(r'\{"stamp": "([^"]*)"', head)
        return match.group(1) if match else ""

    # -- the state

    def read_state(self) -> "Tuple[State, List[str], bool]":
        """The state, notes on what is wrong with its file, and whether a newer one may be lost.

        A state that is missing was deleted by somebody who wants a fresh start; that paused tasks
        run again is hardly meant, nor that totals begin anew. One whose content does not parse
        gives way to the copy before it.

        Raises StorageError when a file is there and cannot be read, which proves no damage, and
        VersionError for the state of a later version.
        """
        try:
            return self._read_state(self.state_path), [], False
        except FileNotFoundError:
            copy = self._copied_state()
            return State(pauses=copy.pauses, tasks=counters_of(copy)), [], True
        except ValueError as error:
            notes = ["WARNING %s cannot be used (%s)" % (STATE_NAME, error_text(error))]
        try:
            state = self._read_state(self.backup_path)
            notes.append("WARNING the previous copy, %s.bak, is used instead" % STATE_NAME)
        except (FileNotFoundError, ValueError) as error:
            state = State()
            notes.append("WARNING %s.bak cannot be used either (%s): every schedule starts anew "
                         "from now; runs missed before are lost" % (STATE_NAME, error_text(error)))
        return state, notes, True

    def _read_state(self, path: str) -> State:
        """A state by its path. Raises FileNotFoundError, and ValueError for what is no state."""
        try:
            data = read_bytes(path)
            newest, state = self._newest
            if state is None or data != newest:  # a comparison costs a hundredth of parsing
                state = load_state(data.decode("ascii"), self.shown(path))
                self._newest = (data, state)
            return state
        except FileNotFoundError:
            raise
        except ForeignFile as error:
            raise ValueError(error_text(error))
        except OSError as error:
            raise StorageError.of("read", path, error)

    def _copied_state(self) -> State:
        try:
            return self._read_state(self.backup_path)
        except (FileNotFoundError, ValueError):
            return State()  # an audit names the pauses that were lost

    # -- runs and what they printed

    def read_run(self, name: str) -> "RunRecord | None":
        """The newest run of a task as its supervisor recorded it; None without one.

        A damaged record is {}. Raises StorageError when it cannot be read, which says nothing of
        the run.
        """
        path = self.run_path(name)
        try:
            record: "RunRecord" = json.loads(read_bytes(path).decode("utf-8"))
        except FileNotFoundError:
            return None
        except (ForeignFile, ValueError, RecursionError):
            return {}
        except OSError as error:
            raise StorageError.of("read", path, error)
        check_version(record, RUN_VERSION, self.shown(path))
        return record if has_types(record, RUN_TYPES) else {}

    def has_result(self, name: str) -> bool:
        """Whether the record of a task's newest run has a result, or cannot be read."""
        try:
            # As JSON escapes quotes, this cannot be part of a string; to parse it would cost more.
            return b'"result": {' in read_bytes(self.run_path(name))
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def is_settled(self, name: str, run_id: str) -> bool:
        """Whether a decision has recorded the end of a run whose result is on disk."""
        try:
            record = read_bytes(self.run_path(name))
        except OSError:
            return False
        # Where it is that of a later run, the end was recorded before that one started.
        return b'"settled": true' in record or run_id.encode() not in record

    def run_with_id(self, name: str, run_id: str) -> "RunRecord":
        """The record of this very run, {} when there is none. Raises StorageError."""
        record = self.read_run(name) or {}
        return record if record.get("run_id") == run_id else {}

    def stop_reason(self, name: str, run_id: str) -> str:
        """By whom a run is to be stopped, in words; '' if by nobody. Raises StorageError."""
        path = self.stop_path(name)
        try:
            request = json.loads(read_bytes(path).decode("utf-8"))
        except (FileNotFoundError, ForeignFile, ValueError, RecursionError):
            return ""
        except OSError as error:
            raise StorageError.of("read", path, error)
        if not has_types(request, STOP_TYPES) or request["run_id"] != run_id:
            return ""
        return str(request["reason"])

    def runs_on_disk(self) -> "Iterator[Tuple[str, RunRecord]]":
        """(task, record) of every newest run, {} for a damaged one. Raises StorageError."""
        for name in self._names_in("status/runs"):
            if name.endswith(".json"):
                yield name[:-5], self.read_run(name[:-5]) or {}

    def definition(self, name: "str | None") -> "Document":
        """A definition by its name; {} when it is not kept any more."""
        try:
            path = self.path("status/definitions/%s.json" % name)
            definition = json.loads(read_bytes(path).decode("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return definition if isinstance(definition, dict) else {}

    def run_output(self, name: str, run_id: str) -> "bytes | None":
        """What a run printed, from its header to its footer; None when no log holds it any more.

        Raises StorageError.
        """
        # A damaged history, or a shell, may give what is not UTF-8.
        wanted = run_id.encode("utf-8", "surrogatepass")
        generations = [""] + [".%d" % number for number in range(1, LOG_GENERATIONS + 1)]
        for suffix in generations:
            path = self.log_path(name) + suffix
            try:
                log = read_bytes(path, LARGEST_FILE)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError.of("read", path, error)
            output = output_of_run(log, wanted)
            if output is not None:
                return output
        return None

    # -- the history and the events

    def history_days(self, first: str = "") -> "List[str]":
        """The days with a file in the history, from day `first` on, oldest first.

        Raises StorageError.
        """
        return [name[:-len(".jsonl")] for name in self._names_in("status/history")
                if name.endswith(".jsonl") and name[:10] >= first]

    def history_lines(self, day: str, only: str = "", status: str = "") -> "Iterator[bytes]":
        """The lines of a day that can hold verdicts of a task, with a status, the last one first.

        They hold the words; whether as what they are meant, `verdicts_among` tells. Raises
        StorageError.
        """
        wanted = []
        if only:
            wanted.append(json.dumps(only).encode())
        if status:
            wanted.append(json.dumps(status).encode()[:-1])  # a status may go on behind it
        path = self.history_path(day)
        try:
            yield from lines_backwards(path, wanted)
        except FileNotFoundError:
            pass  # it was pruned just now
        except OSError as error:
            raise StorageError.of("read", path, error)

    def verdicts(self, since: float = 0.0, only: str = "", status: str = "",
                 newest_first: bool = False) -> "Iterator[Verdict]":
        """The verdicts on file that ended at `since` or later, of one task or of all, oldest first.

        `status` is what theirs begins with. A verdict is filed under the day of its end, behind
        those that were recorded before it. With `newest_first`, only as much is read as the
        caller takes. Raises StorageError.
        """
        first = iso(since)
        days = self.history_days(first[:10])
        if newest_first:
            days.reverse()
        for day in days:
            lines: "Iterable[bytes]" = self.history_lines(day, only, status)
            if not newest_first:
                lines = reversed(list(lines))
            yield from verdicts_among(lines, first, only, status)

    def history(self, limit: int, only: str = "") -> "List[Verdict]":
        """The newest verdicts on file, of one task or of all, newest first. Raises StorageError."""
        newest = self.verdicts(only=only, newest_first=True)
        return [verdict for _, verdict in zip(range(limit), newest)]

    def has_verdict(self, name: str, record: "RunRecord") -> bool:
        """Whether the history holds the end of this run. Raises StorageError."""
        since = max(0.0, record["started_at"] - DAY)  # the clock may have been set back since
        return any(verdict.get("run_id") == record["run_id"]
                   for verdict in self.verdicts(since, name, newest_first=True))

    def events(self) -> "List[Event]":
        """What happened to schedules, pauses and clocks, oldest first; damaged lines are left out.

        Raises StorageError.
        """
        path = self.path(EVENTS_NAME)
        try:
            lines = read_bytes(path).splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError.of("read", path, error)
        return [event for event in map(event_of, lines) if event is not None]

    # -- messages that wait to be sent

    def spooled(self) -> "List[Tuple[str, Message]]":
        """(path, message) of what waits to be sent, oldest first. Raises StorageError."""
        messages = []
        names = [name for name in self._names_in(SPOOL_DIR) if name.endswith(".json")]
        # Within a second they are numbered, and 10 comes after 9.
        for name in sorted(names, key=lambda name: (name[:17], len(name), name)):
            path = self.path("%s/%s" % (SPOOL_DIR, name))
            try:
                message = json.loads(read_bytes(path).decode("utf-8"))
            except (FileNotFoundError, ForeignFile, ValueError, RecursionError):
                continue
            except OSError as error:
                raise StorageError.of("read", path, error)
            if is_message(message) and message.get("version", 1) <= MESSAGE_VERSION:
                messages.append((path, message))
        return messages

    def next_message_at(self) -> float:
        """When the next try of a message is due; at once while that cannot be told."""
        try:
            tries = [float(message["next_try_at"]) for _, message in self.spooled()]
        except StorageError:
            return 0.0
        return min(tries, default=float("inf"))

    # -- the last tick

    def last_tick(self) -> "float | None":
        """When the last tick was, in epoch seconds; None before the first. Raises StorageError."""
        path = self.path(HEARTBEAT_NAME)
        try:
            return os.stat(path).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError.of("stat", path, error)

    def tick_failure(self) -> "TickFailure | None":
        """How the newest tick that failed did; None without one. Raises StorageError."""
        try:
            document = json.loads(read_bytes(self.path(FAILURE_NAME), FAILURE_BYTES))
        except (FileNotFoundError, NotADirectoryError, ForeignFile):
            return None
        except OSError as error:
            raise StorageError.of("read", self.path(FAILURE_NAME), error)
        except (ValueError, RecursionError):
            return None  # nothing but blanks, as a rule: none has failed
        if not has_types(document, FAILURE_TYPES):
            return None
        return TickFailure(at=document["at"], since=document["since"],
                           exit_code=document["exit_code"], text=plain_line(document["text"], 500))

    def unwritten(self, setting: str) -> str:
        """Why the file of a setting could not be written, the last time; '' if it could."""
        try:
            text = read_bytes(self.path(UNWRITTEN_NAME % setting), 4096)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return "cannot tell: %s: %s" % (UNWRITTEN_NAME % setting, error_text(error))
        return plain_line(text.decode("utf-8", "replace"), 500)

    def last_evidence(self) -> "Evidence | None":
        """What the clocks said at the last decision; None before the first."""
        try:
            head = read_bytes(self.path(HEARTBEAT_NAME)).split(b"\n")[0]
            _, _, clock_offset, suspended, boot_id = head.decode("ascii").split(" ")[:5]
            return Evidence(clock_offset=float(clock_offset), boot_id=boot_id,
                            suspended=float(suspended) if suspended else None)
        except (OSError, ValueError):
            return None

    def tick_environment(self) -> "Tuple[List[str], str] | None":
        """The names and the PATH that `note_environment` kept; None while there are none."""
        try:
            document = json.loads(read_bytes(self.path(ENVIRONMENT_NAME)).decode("utf-8"))
            return [str(name) for name in document["names"]], str(document["PATH"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None


class Store(Reader):
    """Every file of the conductor under one root, to be read and written, and the locks."""

    def __init__(self, root: str, config_path: str = "") -> None:
        # Files that `record` brought up to date since the last commit.
        self._recorded: "Set[str]" = set()
        self._dumper = StateDumper()
        super().__init__(root, config_path)

    def _name_files(self, base: str, config_path: str) -> None:
        super()._name_files(base, config_path)
        self.lock = FileLock(self.path(LOCK_NAME), self.path(SECOND_LOCK_NAME))

    def task_lock(self, name: str) -> FileLock:
        """The lock that is held while the task runs, not acquired yet."""
        return FileLock(self.path("status/locks/%s.lock" % name))

    # -- configuration and state

    def save_last_good(self, stamp: str) -> None:
        """Keep the sources of the configuration that `read_config` just read."""
        document = {"stamp": stamp, "documents": self.sources, "changed_at": self.changed_at}
        write_atomic(self.last_good_path, json.dumps(document).encode())

    def save_state(self, state: State, aside: str = "") -> None:
        """Commit a state, and keep the one before as the copy or, when it is bad, as `aside`.

        What the one before had `pending` was recorded by now, and this one forgets it: so the
        records go to disk first.
        """
        self._sync_records()
        data = self._dumper.dump(state)
        write_atomic(self.state_path, data, keep=aside or self.backup_path)
        self._newest = (data, state)

    def _sync_records(self) -> None:
        """Make what `record` put on file survive a power cut: one fsync a file and one a folder."""
        for path in sorted(self._recorded):
            sync_file(path)
        for folder in sorted({os.path.dirname(path) for path in self._recorded}):
            sync_folder(folder)
        self._recorded.clear()

    # -- runs

    def write_run(self, name: str, record: "RunRecord", durable: bool = True) -> None:
        document = dict(record, version=RUN_VERSION, by=__version__)
        write_atomic(self.run_path(name), json.dumps(document).encode(), durable)

    def request_stop(self, name: str, run_id: str, reason: str) -> None:
        """Note that a run is to be stopped, for its supervisor and whoever takes it over."""
        write_atomic(self.stop_path(name), json.dumps(
            {"run_id": run_id, "reason": reason}).encode())

    def sync_run(self, name: str) -> None:
        """Make the newest record of a task survive a power cut. Raises StorageError."""
        sync_file(self.run_path(name))
        sync_folder(self.path("status/runs"))

    def keep_definition(self, definition: "Document") -> str:
        """Keep a task's definition on disk, once for all runs that have it: its name there."""
        text = json.dumps(definition, sort_keys=True)
        name = "%08x%08x" % (stable_hash(text), stable_hash(text[::-1]))
        path = self.path("status/definitions/%s.json" % name)
        try:
            os.utime(path)  # what is in use is not pruned
        except OSError:
            try:
                # Durable: once it is there, nobody looks whether it is whole.
                write_atomic(path, text.encode())
            except StorageError:
                return ""  # the run matters more than a record of its definition
        return name

    # -- history, events and health files

    def record(self, records: "Sequence[Line]", retention_days: float) -> None:
        """Put committed verdicts, events and messages on file, unless they are there already.

        The state still holds them, so nothing is flushed to disk here: the next commit does that.
        """
        events: "List[str]" = []
        verdicts: "List[Verdict]" = []
        for record in records:
            if "channel" in record:
                self.enqueue(record)
            elif "event" in record:
                events.append(json.dumps(record, sort_keys=True))
            else:
                verdicts.append(record)
        if events:
            self._append_missing(self.path(EVENTS_NAME), events)
        by_day: "Dict[str, List[str]]" = {}
        for verdict in verdicts:
            if not verdict.get("interim"):  # an attempt that will be retried shows in the verdict
                line = json.dumps(verdict, sort_keys=True)
                by_day.setdefault(verdict["ended_at"][:10], []).append(line)
        for day, lines in by_day.items():
            path = self.history_path(day)
            if not os.path.exists(path):
                self._prune(day, retention_days)
            self._append_missing(path, lines)
        for verdict in verdicts:
            self.write_health(verdict)

    def _append_missing(self, path: str, lines: "List[str]") -> None:
        # Everything behind the newest commit was written since then, so the end of the file tells.
        try:
            tail = read_bytes(path, sum(map(len, lines)) + 65536)
        except FileNotFoundError:
            tail = b""
        except OSError as error:
            raise StorageError.of("read", path, error)
        on_file = set(tail.split(b"\n"))
        missing = [line for line in lines if line.encode("ascii") not in on_file]
        if missing and tail and not tail.endswith(b"\n"):
            missing.insert(0, "")  # a crash cut the last line short: end it
        self._recorded.add(path)  # also when nothing is missing: whoever wrote it did not flush it
        if missing:
            append_lines(path, missing)

    def forget_health(self, name: str) -> None:
        """Remove the health file of a task that was removed: its last failure lasts no longer."""
        try:
            os.unlink(self.path("status/automation_health/%s.health" % name))
        except OSError:
            pass  # it never ran; or the file stays, and says what was true

    def write_health(self, record: "Verdict") -> None:
        """Show the end of a run, or a skip, in the task's health file."""
        line = health_line(record)
        if not line:
            return
        path = self.path("status/automation_health/%s.health" % record["task"])
        self._recorded.add(path)
        try:
            current = read_bytes(path).decode("utf-8", "replace")
        except OSError:
            current = ""
        if line != current:  # monitors look at the file's time: it changes with the content alone
            write_atomic(path, line.encode(), durable=False)

    def _prune(self, today: str, retention_days: float) -> None:
        """Remove what is older than the retention.

        Whatever is in the way of that, it must not stop what is due. But the events are rewritten,
        and a disk that cannot take that raises StorageError.
        """
        now = from_iso(today) or 0
        oldest = iso(now - retention_days * DAY)
        self._prune_history(oldest)
        self._prune_events(oldest)
        self._prune_definitions(now - (retention_days + 1) * DAY)

    def _prune_history(self, oldest: str) -> None:
        try:
            names = os.listdir(self.path("status/history"))
        except OSError:
            return
        for name in names:
            if re.match(r"\d{4}-\d\d-\d\d\.jsonl\Z", name) and name[:10] < oldest[:10]:
                try:
                    os.unlink(self.history_path(name[:10]))
                except OSError:
                    continue

    def _prune_events(self, oldest: str) -> None:
        path = self.path(EVENTS_NAME)
        try:
            lines = read_bytes(path).splitlines(True)
        except OSError:
            return
        kept = []
        for line in lines:
            # Keys are sorted, so the time comes first. A line of another form may be from a later
            # version: it is kept.
            match = re.match(br'\{"at": "([^"]*)"', line)
            if match is None or match.group(1) >= oldest.encode():
                kept.append(line)
        if len(kept) < len(lines):
            write_atomic(path, b"".join(kept))

    def _prune_definitions(self, used_since: float) -> None:
        folder = self.path("status/definitions")
        try:
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                if os.stat(path).st_mtime < used_since:
                    os.unlink(path)
        except OSError:
            pass  # what is kept too long harms nothing, and the next day tries again

    # -- messages

    def enqueue(self, message: "Message") -> None:
        """Put a message among those to be sent, unless it is there or was sent already."""
        path = self.path("%s/%s.json" % (SPOOL_DIR, message["id"]))
        if not os.path.lexists(path) and not os.path.lexists(path + ".sent"):
            document = dict(message, tries=0, next_try_at=0, version=MESSAGE_VERSION,
                            by=__version__)
            write_atomic(path, json.dumps(document).encode())

    def mark_sent(self, path: str) -> None:
        """Note that a message is dealt with, so that a crash just now does not send it twice."""
        os.rename(path, path + ".sent")

    def prune_sent(self) -> None:
        """Remove the notes of messages that no state has pending, and so none can bring back."""
        pending = set()
        for path in (self.state_path, self.backup_path):
            try:
                pending |= {record.get("id") for record in self._read_state(path).pending}
            except (FileNotFoundError, ValueError):
                continue
            except ConductorError:
                return  # what it brings back cannot be told now
        for name in os.listdir(self.path(SPOOL_DIR)):
            if name.endswith(".sent") and name[:-len(".json.sent")] not in pending:
                os.unlink(self.path("%s/%s" % (SPOOL_DIR, name)))

    # -- log, heartbeat and environment

    def log(self, now: float, lines: "Sequence[str]") -> None:
        """Append lines to the conductor's log, and to that of the system. Raises StorageError."""
        if not lines:
            return
        path = self.path("logs/symphony_conductor.log")
        append_lines(path, ["%s %s" % (iso(now), line) for line in lines], LOG_ROTATE_BYTES)
        config = self._config_for_log()
        if config is not None and config.log_to != "file":
            self._log_to_system(now, lines, config, path)
        is_sent = config is not None and config.log_to == "journal"
        if is_journal(1) and not is_sent:
            text = "".join(line + "\n" for line in lines)
            try:
                write_all(1, text.encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # the journal was stopped or killed meanwhile; the file has the lines

    def _config_for_log(self) -> "Config | None":
        if self.newest_config is None:  # a supervisor has had no need of it
            try:
                self.config_in_force()
            except Exception:
                pass  # it may be the very error that is being logged
        return self.newest_config

    @staticmethod
    def _log_to_system(now: float, lines: "Sequence[str]", config: Config, path: str) -> None:
        """Send lines to systemd's journal or to syslog as well, without waiting for either."""
        entries = []
        for line in lines:
            fields = log_fields(line, config.tasks)
            if config.log_to == "journal":
                entries.append(journal_entry(fields))
            else:
                entries.append(syslog_entry(fields, now))
        dropped = send_to_log(log_sockets(config.log_to), entries)
        if dropped:
            text = "%s not taken by the %s, whose buffer is full" % (
                plural(dropped, "line was", "lines were"), config.log_to)
            append_lines(path, ["%s WARNING log_to: %s" % (iso(now), text)])

    def write_heartbeat(self, at: float, wake_at: float, evidence: Evidence,
                        watched: "List[Tuple[str, str]]") -> None:
        """Say when the next decision is due, and which files, as they are now, that holds for."""
        path = self.path(HEARTBEAT_NAME)
        suspended = "" if evidence.suspended is None else evidence.suspended
        lines = ["2 %s %s %s %s" % (wake_at, evidence.clock_offset, suspended, evidence.boot_id)]
        state = os.path.abspath(self.state_path), signature(self.state_path)
        lines += ["%s %s" % (seen, name) for name, seen in watched + [state]]
        write_atomic(path, "\n".join(lines).encode("utf-8", "surrogateescape"), durable=False)
        os.utime(path, (at, at))

    def forget_failure(self) -> None:
        """Blank the file that says how a tick failed; make it while there is room for it.

        If that fails, the tick has still done its work: `status` goes by what it finds.
        """
        path = self.path(FAILURE_NAME)
        try:
            if not read_bytes(path, FAILURE_BYTES).isspace():
                self._overwrite_failure(b"")
        except FileNotFoundError:
            try:
                write_atomic(path, FAILURE_BYTES * b" ", durable=False)
            except StorageError:
                pass  # no room: the next tick tries again
        except OSError:
            pass  # a link, say: it is nobody's failure

    def _overwrite_failure(self, data: bytes) -> None:
        fd = os.open(self.path(FAILURE_NAME), os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.pwrite(fd, data.ljust(FAILURE_BYTES), 0)
            os.ftruncate(fd, FAILURE_BYTES)  # damage may have made it longer
        finally:
            os.close(fd)

    def note_failure(self, now: float, exit_code: int, text: str) -> None:
        """Say how a tick failed, in place: a full disk has room for what was there before.

        What prevents even that, such as a read-only disk, `status` finds out by itself.
        """
        try:
            earlier = self.tick_failure()
            since = now if earlier is None else min(now, earlier.since)
            document = {"at": now, "since": since, "exit_code": exit_code,
                        "text": plain_line(text, 500)}
            # Not as escapes, of which a letter can take twelve bytes: cut short, it is no JSON.
            self._overwrite_failure(json.dumps(document, ensure_ascii=False).encode())
        except (ConductorError, OSError):
            pass  # the tick's own exit status and output remain

    def note_written(self, now: float, setting: str, trouble: str) -> None:
        """Keep why the file of a setting could not be written ('': it was), and log a change."""
        path = self.path(UNWRITTEN_NAME % setting)
        trouble, before = plain_line(trouble, 500), self.unwritten(setting)
        try:
            if trouble:
                write_atomic(path, trouble.encode(), durable=False)  # its time is that of the try
            elif before:
                os.unlink(path)
            if trouble and trouble != before:
                self.log(now, ["WARNING %s: %s" % (setting, trouble)])
            elif before and not trouble:
                self.log(now, ["%s: written again" % setting])
        except (StorageError, OSError):
            pass  # a disk that takes neither is a finding of its own

    def note_environment(self) -> None:
        """Keep the names of the environment that cron gave this tick, but of no value than PATH."""
        # The installed line calls Python with -I -S, as a person hardly ever does. A tick by hand
        # is better than nothing, and never replaces what that line had.
        is_line = bool(sys.flags.isolated and sys.flags.no_site)
        names = sorted(name for name in os.environ if re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", name))
        document = {"names": names, "PATH": os.environ.get("PATH", ""), "is_line": is_line}
        text = json.dumps(document, sort_keys=True).encode()
        path = self.path(ENVIRONMENT_NAME)
        try:
            current = read_bytes(path)
        except OSError:
            current = b""
        if text != current and (is_line or b'"is_line": true' not in current):
            write_atomic(path, text, durable=False)

    # -- leaving

    def remove_own_files(self) -> int:
        """Remove what `own_files` lists, and the folders that are empty then: how many files.

        Raises BusyError while a task runs: its supervisor would write them anew.
        """
        if not self.lock.acquire(TICK_LOCK_WAIT_S):
            raise BusyError("a tick is running", "try again")
        try:
            locks = {name: self.task_lock(name) for name, _ in self.runs_on_disk()}
            busy = [name for name, lock in locks.items() if not lock.acquire()]
            for lock in locks.values():
                lock.release()
            if busy:
                verb = "is" if len(busy) == 1 else "are"
                raise BusyError("%s %s running" % (", ".join(busy), verb),
                                "nothing was removed; try again when no task is running")
            files = self.own_files()
            for path, _ in files:
                os.unlink(path)
            for folder, _ in sorted(OWN_FILES, reverse=True) + [("logs", ""), ("status", "")]:
                try:
                    os.rmdir(self.path(folder))
                except OSError:
                    continue  # not empty, or not there
            return len(files)
        finally:
            self.lock.release()


if TYPE_CHECKING:
    from functools import cached_property as read_once
else:
    class read_once:
        """functools.cached_property, which is there from Python 3.8 on."""

        def __init__(self, read):
            self.read = read

        def __get__(self, instance, _):
            value = instance.__dict__[self.read.__name__] = self.read(instance)
            return value


def for_reading(store: Reader) -> Reader:
    """The store for somebody who only looks: what its owner may write is no danger to them."""
    reader = object.__new__(type(store))
    reader.__dict__.update(store.__dict__)
    try:
        reader.trusted_owner = os.stat(store.root).st_uid
    except OSError:
        pass  # then nothing else can be read either
    return reader


class Snapshot:
    """What a command that asks, and changes nothing, answers from: each file is read once at most.

    The state is read ahead of the records: a verdict that is committed meanwhile can then be on
    file and not in the state, but never in neither of them.
    """

    def __init__(self, store: Reader) -> None:
        self.store = for_reading(store)
        self._lines: "Dict[Tuple[str, str], List[bytes]]" = {}  # (task, day) -> oldest first

    @read_once
    def in_force(self) -> "Tuple[Config | None, List[Problem]]":
        """As `Reader.config_in_force`."""
        return self.store.config_in_force()

    @property
    def config(self) -> Config:
        """The configuration in force. Raises ConfigError when there is none."""
        config, problems = self.in_force
        if config is None:
            raise ConfigError(problems)
        return config

    @read_once
    def state(self) -> State:
        return self.store.read_state()[0]

    @read_once
    def last_tick(self) -> "float | None":
        return self.store.last_tick()

    @read_once
    def events(self) -> "List[Event]":
        """The events, oldest first, also those that are committed and not on file yet."""
        committed = [record for record in self.state.pending
                     if "event" in record and "channel" not in record]
        events = self.store.events()
        return events + [event for event in committed if event not in events]

    def verdicts(self, since: float, only: str = "") -> "List[Verdict]":
        """The verdicts on slots from `since` on, of one task or of all, oldest first.

        Also those that are committed and not on file yet. Raises StorageError.
        """
        committed = [record for record in self.state.pending if "event" not in record
                     and not record.get("interim") and only in ("", record["task"])]
        # A run that the clock was set back under ended before its slot.
        first = iso(since - CLOCK_CORRECTION_S)
        verdicts: "List[Verdict]" = []
        for day in self.store.history_days(first[:10]):
            verdicts += verdicts_among(self._lines_of(day, only), first, only)
        ends = {record["ended_at"] for record in committed}
        on_file = [verdict for verdict in verdicts if verdict["ended_at"] in ends]
        return verdicts + [record for record in committed if record not in on_file]

    def _lines_of(self, day: str, only: str) -> "List[bytes]":
        lines = self._lines.get((only, day))
        if lines is None:
            lines = list(self.store.history_lines(day, only))
            lines.reverse()
            if only:  # of all tasks it would be much, and nothing asks for that twice
                self._lines[only, day] = lines
        return lines


# -- commands beside this file: scripts/symphony_NAME.py, as git-NAME is to git

# What this version comes with, and the group in which help lists it.
BESIDE = {"completion": "Install", "diff": "Look", "import-crontab": "Change", "metrics": "Look",
          "report": "Look", "schema": "Look", "simulate": "Change", "timer": "Install"}
# Settings whose files the conductor keeps current, and the command that makes them.
MADE_BESIDE = {"metrics_file": "metrics", "report_file": "report"}
ENGINES = ("airflow",)  # which can run the same configuration: scripts/NAME/engine.py knows how
BESIDE_NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z"
# Flags of this Python that the next one gets as well. Not -I: it would hide the script's folder.
PYTHON_FLAGS = (("-B", "dont_write_bytecode"), ("-E", "ignore_environment"), ("-s", "no_user_site"))


def path_beside(name: str) -> str:
    """Where the file of a command that this one does not hold is looked for."""
    folder = os.path.join(os.path.dirname(os.path.realpath(__file__)), "scripts")
    return os.path.join(folder, "symphony_%s.py" % name.replace("-", "_"))


def name_beside(file_name: str) -> str:
    """The reverse: the command whose file has this name."""
    return file_name[len("symphony_"):-len(".py")].replace("_", "-")


def is_beside(name: str) -> bool:
    """Whether the file of this command is there.

    symphony_conductor.py is no command: it leads from the place of earlier versions to this file.
    """
    is_name = name != "conductor" and re.match(BESIDE_NAME, name)
    return bool(is_name) and os.path.isfile(path_beside(name))


def missing_modules(folder: str, file_name: str) -> "List[str]":
    """The files that this one needs from its own folder, and that are not there."""
    import importlib.util
    own = os.path.basename(__file__)
    missing: "List[str]" = []
    names = [file_name]
    for name in names:  # which grows meanwhile
        source = read_bytes(os.path.join(folder, name)).decode("utf-8", "replace")
        for module in re.findall(r"(?m)^(?:import|from) (\w+)", source):
            needed = module + ".py"
            if needed in names + missing + [own]:
                continue
            if os.path.isfile(os.path.join(folder, needed)):
                names.append(needed)
            elif importlib.util.find_spec(module) is None:
                missing.append(needed)
    return missing


def not_beside(name: str, missing: "Sequence[str]") -> UnavailableError:
    """The refusal of a command whose files are not all there."""
    hint = "put scripts/%s of version %s into %s" % (
        join_words(missing), __version__, os.path.dirname(path_beside(name)))
    return UnavailableError("'%s' is not part of this file" % name, hint)


def check_beside(store: Reader, folder: str, names: "Iterable[str]") -> bool:
    """Whether these files of a folder beside this one belong to another user than this one.

    They decide what runs, so they are checked as a configuration is. They may also belong to the
    owner of this file, who decides that already: root installs a timer from its user's checkout.
    Raises ConfigError.
    """
    owner = os.stat(store.script).st_uid
    paths = [folder] + [os.path.join(folder, name) for name in names]
    problems = store.insecure_among(paths, owner)
    if problems:
        raise ConfigError(problems)
    return owner != os.geteuid()


def load_beside(store: Reader, name: str) -> "Any":
    """The module of a command beside this file, to be used by this very process.

    Raises ConductorError, and whatever its code raises.
    """
    module_name = "symphony_" + name
    if module_name in sys.modules:
        return sys.modules[module_name]
    folder, file_name = os.path.split(path_beside(name))
    if not is_beside(name):
        raise not_beside(name, [file_name])
    is_foreign = check_beside(store, folder, (file_name, "__pycache__"))
    # Not by importlib.util, whose own import takes longer than this one.
    # Last: no file in that folder may stand in for one of the standard library.
    sys.path.append(folder)
    try:
        return _imported(module_name, path_beside(name), is_foreign, __import__)
    finally:
        sys.path.remove(folder)


def _imported(module_name: str, path: str, is_foreign: bool,
              load: "Callable[[str], Any]") -> "Any":
    """The module that `load` makes of the file with this path."""
    # It imports this file, which may be running as a script, and must not be loaded twice.
    sys.modules.setdefault("symphony_conductor", sys.modules[__name__])
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = before or is_foreign
    try:
        return load(module_name)
    except SystemExit:  # it would end the tick, and with it all starts
        raise UnavailableError("%s exits when it is loaded" % path,
                               "put the one of version %s there" % __version__)
    finally:
        sys.dont_write_bytecode = before


def load_engine(store: Reader, name: str) -> "Any":
    """The module that knows another engine: scripts/NAME/engine.py. Raises ConductorError."""
    folder = os.path.dirname(path_beside(name))
    own = os.path.join(name, "engine.py")
    path = os.path.join(folder, own)
    if not os.path.isfile(path):
        raise UnavailableError("--engine %s: there is no %s" % (name, path),
                               "put scripts/%s of version %s into %s" % (name, __version__, folder))
    is_foreign = check_beside(store, folder, (name, own, os.path.join(name, "__pycache__")))

    def load(module_name: str) -> "Any":
        # By its path: the name "engine" may be that of another module.
        from importlib import util
        spec = util.spec_from_file_location(module_name, path)
        module = util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        return module

    return _imported("symphony_engine_" + name, path, is_foreign, load)


# == Runner ==

GROUP_POLL_S = 0.05
ADOPTED_POLL_S = 0.5
KILL_AGAIN_S = 1.0        # a tree that still forks is hit again
UNENDED_AFTER_S = 5.0     # so long after SIGKILL, what still lives cannot be ended
READ_BYTES = 65536
READ_TRIES = 64           # of a pipe, before its content or its error is given up
LARGE_OUTPUT_BYTES = 1 << 20  # a run that has printed so much gets a larger pipe
LARGE_PIPE_BYTES = 262144
SET_PIPE_SIZE = 1031      # F_SETPIPE_SZ of fcntl(2), which Python names from 3.10 on
CONDITION_OUTPUT_BYTES = 65536  # likewise of a cancel_command
CANCEL_TIMEOUT_S = 60.0
CANCEL_GRACE_S = 5.0      # between its SIGTERM and its SIGKILL
CANCEL_AGAIN_S = (1, 60)  # the first and the longest pause between two tries, each twice the last
CANCEL_FOR_S = float(HOUR)  # then it may still run, and no retry follows
OUTPUT_END_BYTES = 65536  # the error stands at the end
ECHO_BACKLOG_BYTES = 262144
ECHO_LIMIT_BYTES = ECHO_BACKLOG_BYTES + 2 * LARGE_PIPE_BYTES  # one more read, and a last pipeful
ECHO_CHUNK_BYTES = 512    # what a pipe takes when poll(2) says that it takes anything (PIPE_BUF)
ECHO_STALL_S = 5.0
STOP_MARGIN_S = 10.0      # so much longer than it may take, `stop` waits for an end
STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
SET_CHILD_SUBREAPER = 36  # prctl(2)
NO_PID = 2 ** 31 - 1      # above every pid (Linux ends at 2**22): a signal to it reaches nobody
PS_COLUMNS = "pid=,ppid=,pgid=,stat=,lstart="
CGROUPS = "/sys/fs/cgroup"
# The hierarchies that systemd keeps its units in, the best first: what names each in a line of
# /proc/PID/cgroup, and where it is mounted. See cgroups(7); those of the old cgroups come last.
HIERARCHIES = ((":", ""), (":", "/unified"), ("name=systemd:", "/systemd"))
OWN_UNIT = r"/symphony-(?:conductor\.service|[^/]+-[0-9a-f]{8}\.scope)(?=/|$)"
BUSCTL = "busctl"
LINGER = "/var/lib/systemd/linger"  # a file for each user whose manager outlives their logins
SCOPE_WAIT_S = 3.0        # a start waits no longer for systemd
SCOPE_STOP_S = 30         # a stop of the scope takes so much longer than kill_grace


class Process(Value):
    """A line of the process table."""

    pid: int = 0
    parent: int = 0
    group: int = 0
    session: int = 0
    state: str = ""
    start: str = ""  # when it began: tells it from a later one with its pid, within a boot
    threads: int = 1

    @property
    def is_dead(self) -> bool:
        """Dead, and only not yet reaped."""
        # A first thread that calls pthread_exit(3) is a zombie while the others run.
        return self.state[:1] in ("Z", "X") and self.threads <= 1


def has_proc() -> bool:
    """Whether /proc lists the processes; otherwise ps does."""
    return os.path.isdir(PROC + "/self")


def process_of(pid: int) -> "Process | None":
    """The process with this pid as the kernel shows it, or None. Raises OSError."""
    if has_proc():
        return _process_in_proc(pid)
    rows = _parse_ps(command_output("ps", "-o", PS_COLUMNS, "-p", str(pid)))
    return rows[0] if rows else None


def process_table() -> "List[Process] | None":
    """Every process that can be seen; None where nothing shows any. Raises OSError."""
    if not has_proc():
        return _parse_ps(command_output("ps", "-A", "-o", PS_COLUMNS)) or None
    rows = [_process_in_proc(int(name)) for name in os.listdir(PROC) if name.isdigit()]
    return [process for process in rows if process is not None]


def _process_in_proc(pid: int) -> "Process | None":
    try:
        text = proc_text("%d/stat" % pid)
    except PermissionError:
        return None  # it is hidden from us
    # proc(5): the second field is the name in parentheses, which may hold spaces and parentheses.
    fields = text[text.rfind(")") + 1:].split()
    if len(fields) <= 19:
        return None
    try:
        return Process(pid=pid, state=fields[0], parent=int(fields[1]), group=int(fields[2]),
                       session=int(fields[3]), start=fields[19], threads=int(fields[17]))
    except ValueError:
        raise OSError(errno.EINVAL, "Not as in proc(5)", "%s/%d/stat" % (PROC, pid))


def _parse_ps(text: str) -> "List[Process]":
    rows = [line.split(None, 4) for line in text.splitlines()]
    try:
        return [Process(pid=int(row[0]), parent=int(row[1]), group=int(row[2]), state=row[3][:1],
                        start=row[4].strip()) for row in rows if len(row) == 5]
    except ValueError:  # a process that was left out would count as gone
        raise OSError(errno.EINVAL, "Not the columns that were asked for", "ps")


class Job(Value):
    """What is known of a command that was started: enough to find all that came of it.

    It is a tree and not a group: what leaves the group by setsid(2) or a double fork belongs to it.
    """

    pid: int = 0         # of the command itself; also the number of its group and its session
    start: str = ""      # as Process has it; '' when it is unknown
    run_id: str = ""
    root: str = ""       # as its environment has it
    mark: str = ""       # in its environment, and in no other run's; none before version 1.1
    supervisor: int = 0  # this process, if it is a subreaper: the tree's orphans fall to it
    others: "frozenset[Tuple[int, str]]" = frozenset()  # (pid, start) of the children it had before
    pipe: str = ""       # the path of the pipe that its output goes to
    cgroup: str = ""     # the folder of its own cgroup, if it has one


def job_of(record: "RunRecord", root: str, pipe: str) -> Job:
    """The job that a run's record is about; `root` stands in where an old record names none."""
    pid = record["pid"]
    if pid <= 1:
        pid = NO_PID  # kill(2): 0 is the caller's own group and -1 everybody, as is group 1
    return Job(pid=pid, start=record["pid_start"], run_id=record["run_id"],
               root=str(record.get("root") or root), mark=str(record.get("mark") or ""), pipe=pipe,
               cgroup=str(record.get("cgroup") or ""))


def job_members(job: Job, table: "Sequence[Process]") -> "List[Process]":
    """What can be seen of a job, less the dead: its group, its session and all their descendants.

    What its cgroup lists counts too, where it has one: nothing leaves that by setsid(2) or a fork.
    Where no subreaper collects its orphans, processes that carry the run's mark count as well.
    Those with the mark of another run do not: a command may call the conductor. Raises OSError.
    """
    children: "Dict[int, List[Process]]" = {}
    for process in table:
        children.setdefault(process.parent, []).append(process)
    seeds: "List[Process]" = []
    if not is_number_reused(job, table):
        seeds = [process for process in table if job.pid in (process.group, process.session)]
    if job.supervisor:
        seeds += children.get(job.supervisor, [])
    elif all(seed.is_dead for seed in seeds):
        seeds += marked_processes(job, table)
    if job.cgroup:
        seeds += cgroup_processes(job.cgroup, table)
    members: "Dict[int, Process]" = {}
    while seeds:
        process = seeds.pop()
        if process.pid not in members and not _is_foreign(job, process):
            members[process.pid] = process
            seeds += children.get(process.pid, [])
    return [process for process in members.values() if not process.is_dead]


def _is_foreign(job: Job, process: Process) -> bool:
    """Whether a process is none of a job's wherever it is: a supervisor, or another run's."""
    if process.pid == os.getpid() or (process.pid, process.start) in job.others:
        return True
    return process.pid != job.pid and mark_of(process) not in ("", job.mark)


def is_number_reused(job: Job, table: "Sequence[Process]") -> bool:
    """Whether another process has the job's pid by now; a group of that number is not the job's."""
    starts = [process.start for process in table if process.pid == job.pid]
    return bool(job.start and starts) and job.start not in starts


def _environment_of(process: Process) -> bytes:
    """The environment that a process began with, each entry between NULs; b'' without /proc."""
    if not has_proc():
        return b""
    return b"\0" + _process_text(process, "environ") + b"\0"


def _process_text(process: Process, part: str) -> bytes:
    """A file of /proc about a process; b'' if it has ended or is another user's. Raises OSError."""
    try:
        return read_bytes("%s/%d/%s" % (PROC, process.pid, part))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def mark_of(process: Process) -> str:
    """The mark in the environment that a process began with; '' if it has none that we may see."""
    return _mark_in(_environment_of(process))


def _mark_in(environment: bytes) -> str:
    match = re.search(br"\0SYMPHONY_MARK=([^\0]*)", environment)
    return match.group(1).decode("utf-8", "replace") if match else ""


def marked_processes(job: Job, table: "Sequence[Process]") -> "List[Process]":
    """The processes whose environment names the run of a job, where environments can be read."""
    # Versions before 1.1 set no mark.
    unmarked = (b"\0SYMPHONY_RUN_ID=%s\0" % _bytes(job.run_id),
                b"\0SYMPHONY_ROOT=%s\0" % _bytes(job.root))
    members = []
    for process in table:
        environment = _environment_of(process)
        mark = _mark_in(environment)
        if mark:
            is_member = mark == job.mark
        else:
            is_member = all(entry in environment for entry in unmarked)
        if is_member:
            members.append(process)
    return members


def leader_of(job: Job, table: "Sequence[Process]") -> "Process | None":
    """The command of a job whose number is not known, by its mark; None if it cannot be seen.

    What a command starts may lead a group of its own, and began later.
    """
    leaders = [process for process in marked_processes(job, table)
               if process.pid == process.group and not process.is_dead
               and not _is_foreign(job, process)]
    return min(leaders, default=None,
               key=lambda process: (len(process.start), process.start, process.pid))


def run_in_process_table(root: str, run_id: str, mark: str) -> bool:
    """Whether a process names this run in its environment or its arguments. Raises OSError."""
    if has_proc():
        table = process_table() or []
        if marked_processes(Job(root=root, run_id=run_id, mark=mark), table):
            return True
        # A supervisor that an older version started has it in its arguments alone.
        lines = [_process_text(process, "cmdline") for process in table]
    else:
        lines = _bytes(command_output("ps", "-A", "-o", "args=")).splitlines()
    return any(_bytes(root) in line and _bytes(run_id) in line for line in lines)


def may_live(job: Job) -> bool:
    """Whether anything of a job lives, or may: only proof makes it False. Raises OSError.

    Proof is that all that can be seen of it is dead, and that its group is gone or is explained by
    the table. Where other users' processes are hidden (proc(5): hidepid), a group that exists and
    is not in the table is alive.
    """
    table = process_table() or []
    if job_members(job, table):
        return True
    if job.supervisor:
        if not has_children():
            return False
        children = [process for process in table if process.parent == job.supervisor]
        if not children or any(process.is_dead for process in children):
            return True  # a child that cannot be seen, or one to be reaped before another look
    if _group_exists(job.pid) and not _explains_group(job, table):
        return True
    return bool(job.pipe) and pipe_has_reader(job.pipe)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _explains_group(job: Job, table: "Sequence[Process]") -> bool:
    """Whether the group is that of a later process, or of dead that nobody has reaped yet.

    A supervisor reaps its own: what is dead there explains nothing.
    """
    if is_number_reused(job, table):
        return True
    group = [process for process in table if job.pid in (process.pid, process.group)]
    return not job.supervisor and any(process.is_dead for process in group)


def has_children() -> bool:
    """Whether this process has children, dead ones among them; also while that cannot be told."""
    try:  # WNOWAIT leaves the exit status to whoever reaps them
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except (OSError, AttributeError):
        pass
    return True


def pipe_has_reader(path: str) -> bool:
    """Whether a process holds a named pipe open for reading; commands do (`open_pipe`)."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError as error:
        # fifo(7): ENXIO, as nobody has it open for reading. The others: there is no such pipe.
        return error.errno not in (
            errno.ENXIO, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)
    return True


def members_text(members: "Sequence[Process]") -> str:
    """'2 processes of root', for people."""
    import pwd
    if not members:
        return "processes that are hidden from this user"
    owners = set()
    for process in members:
        try:
            owners.add(pwd.getpwuid(os.stat("%s/%d" % (PROC, process.pid)).st_uid).pw_name)
        except (OSError, KeyError):
            continue
    text = plural(len(members), "process", "processes")
    if owners:
        text += " of %s" % ", ".join(sorted(owners))
    return text


_PRCTL: "List[Any]" = []  # prctl(2), once it was looked up


def load_prctl() -> None:
    """Look up prctl(2), which Python does not offer, ahead of the forks that call it."""
    if _PRCTL or not sys.platform.startswith("linux"):
        return
    try:
        # What `ctypes` is made of. That itself takes longer to import than a decision.
        import _ctypes
        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        _PRCTL.append(lambda *numbers: _ctypes.call_function(address, numbers))
    except Exception:  # a hardened system may refuse the memory that ctypes wants at its import
        _PRCTL.append(lambda *numbers: -1)


def become_subreaper() -> bool:
    """Have orphans of the tree become children of this process (prctl(2)): whether that works."""
    load_prctl()
    if not _PRCTL:
        return False
    try:
        return bool(_PRCTL[0](SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except Exception:  # as in `load_prctl`
        return False


# -- cgroups

def _numbers_in(path: str) -> "Set[int]":
    """The numbers in a file of the kernel's. Raises OSError, also when it holds anything else."""
    try:
        return {int(word) for word in read_bytes(path).split()}
    except ValueError:
        raise OSError(errno.EINVAL, "Not a list of numbers", path)


def cgroup_pids(path: str) -> "Set[int]":
    """The processes in a cgroup and in those below it, none once it is gone. Raises OSError."""
    try:
        pids = _numbers_in(path + "/cgroup.procs")
        folders = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        # A cgroup that was removed was empty. One of threads has its processes above it.
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return set()
        raise
    return pids.union(*map(cgroup_pids, folders))


def cgroup_processes(path: str, table: "Sequence[Process]") -> "List[Process]":
    """The processes in a cgroup; one that the table does not show has its pid alone."""
    shown = {process.pid: process for process in table}
    return [shown.get(pid) or Process(pid=pid) for pid in cgroup_pids(path)]


def kill_cgroup(job: Job) -> None:
    """Kill what is in a job's cgroup at once, other users' processes too (Linux 5.14, cgroups v2).

    Not while another run is in there: the command called the conductor, and systemd did not answer.
    """
    if not job.cgroup:
        return
    try:
        processes = cgroup_processes(job.cgroup, ())
        if not any(_is_foreign(job, process) for process in processes):
            _write_existing(job.cgroup + "/cgroup.kill", b"1")
    except OSError:
        pass  # then it gets a signal for each process


def join_cgroup(path: str) -> None:
    """Move this process into a cgroup. Raises OSError."""
    _write_existing(path + "/cgroup.procs", b"0")


def _write_existing(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        close_quietly(fd)


def own_unit() -> "Tuple[str, str]":
    """(slice, path) of the unit of ours that this process is in; two empty strings otherwise."""
    if "INVOCATION_ID" not in os.environ:  # systemd.exec(5): so it was not started by systemd
        return "", ""
    match = re.search(r"(?m)([^/\n]*)" + OWN_UNIT, proc_text("self/cgroup"))
    if match is None:
        return "", ""
    return match.group(1), match.string[:match.end()].rpartition(":")[2]


def scope_name(task: str, run_id: str, root: str) -> str:
    """The name of the systemd scope for a run; a unit's may have 255 characters."""
    return "symphony-%s-%s-%08x.scope" % (task[:150], run_id, stable_hash(root))


def enter_scope(name: str, description: str, stop_s: float) -> str:
    """Have systemd move this process into a new scope: the folder of its cgroup, '' without one.

    The scope is gone once it is empty. It is delegated (systemd.resource-control(5)), without any
    controller: what is below its folder is for this program to arrange.
    """
    slice_name, path = own_unit()
    options, environment = _to_manager("/user@" in path)
    if environment is None:
        return ""
    description = "".join(letter if letter.isprintable() else "?" for letter in description)
    properties = [
        ["PIDs", "au", "1", str(os.getpid())], ["DelegateControllers", "as", "0"],
        ["CollectMode", "s", "inactive-or-failed"], ["Description", "s", description],
        ["TimeoutStopUSec", "t", "%d" % (stop_s * 1e6)]]
    if slice_name.endswith(".slice") and bool(options) == ("/user@" in path):
        properties.append(["Slice", "s", slice_name])  # that of the service may be limited
    words = [BUSCTL, "--quiet"] + options + [
        "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))",
        name, "fail", str(len(properties))] + sum(properties, []) + ["0"]
    return _await_scope(name, os.spawnvpe(
        os.P_NOWAIT, BUSCTL, [_bytes(word) for word in words], environment))


def _to_manager(is_of_user: bool) -> "Tuple[List[str], Dict[str, str] | None]":
    """The options and environment by which busctl reaches the manager that this user may ask.

    No environment where there is none. Where the timer is the system's (not `is_of_user`) and runs
    as another user than root, that user's own manager asks the system's to move the process.
    """
    environment = dict(os.environ)
    if os.geteuid() == 0:
        return [], environment
    import pwd
    runtime = environment.setdefault("XDG_RUNTIME_DIR", "/run/user/%d" % os.geteuid())
    try:
        # A manager that ends with a login would take the task along.
        lasts = is_of_user or os.path.exists("%s/%s" % (LINGER, pwd.getpwuid(os.geteuid()).pw_name))
    except KeyError:
        lasts = False
    if not lasts or not os.path.exists(runtime + "/bus"):
        return [], None
    return ["--user"], environment


def _await_scope(name: str, pid: int) -> str:
    """Wait until this process is in the scope, or `pid`, which asked for that, has failed.

    Raises OSError.
    """
    deadline = time.monotonic() + SCOPE_WAIT_S
    is_waiting, status = True, 0
    folder = ""
    try:
        while not folder and not status and time.monotonic() < deadline:
            if is_waiting:
                done, status = os.waitpid(pid, os.WNOHANG)
                is_waiting = not done
            sleep(0.001)
            folder = own_cgroup(name)  # the answer comes ahead of the move
    finally:
        if is_waiting:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return folder


def own_cgroup(unit: str) -> str:
    """The folder of the cgroup that this process is in, if it is the unit's; '' otherwise."""
    text = proc_text("self/cgroup")
    for start, mount in HIERARCHIES:
        match = re.search(r"(?m)^\d+:%s(/.*/%s)$" % (start, re.escape(unit)), text)
        if match is None:
            continue
        path = CGROUPS + mount + match.group(1)
        if os.getpid() in cgroup_pids(path):
            return path
    return ""


class Signals:
    """The signals that end a supervisor's wait, as bytes in a pipe that poll(2) can watch."""

    def __init__(self) -> None:
        self.received: "List[int]" = []
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._saved: "Dict[int, Any]" = {}
        for name in STOP_SIGNALS + ("SIGCHLD",):
            number = getattr(signal, name)
            self._saved[number] = signal.signal(number, self._note)
            # What the caller ignores stays ignored, as nohup(1) wants it, but `stop` sends SIGTERM.
            is_ours = name in ("SIGCHLD", "SIGTERM")
            if not is_ours and self._saved[number] == signal.SIG_IGN:
                signal.signal(number, signal.SIG_IGN)
        self._saved_fd = signal.set_wakeup_fd(self._write_fd)

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.received.append(number)

    def drain(self) -> None:
        """Empty the pipe, which only wakes poll(2)."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        signal.set_wakeup_fd(self._saved_fd)
        for number, handler in self._saved.items():
            signal.signal(number, handler)
        close_quietly(self.fd)
        close_quietly(self._write_fd)


class Unheard(Signals):
    """Signals that are left to a later wait: they only wake this one."""

    def __init__(self, signals: Signals) -> None:
        self.received = []
        self.fd = signals.fd


class Echo:
    """A terminal, pipe or file that shows the output of a run by hand and never blocks its watch.

    A slow reader slows the command down, as in any pipeline. One that reads nothing for
    ECHO_STALL_S does so no longer: what it does not read is dropped.
    """

    def __init__(self, fd: int, clock: Clock) -> None:
        self.fd = fd
        self.clock = clock
        self.backlog = bytearray()
        self.dropped = 0
        self.trouble = ""  # why nothing more is shown
        self.moved_at = clock.monotonic()
        self.is_own = False
        self.may_block = True  # unless a write is small
        try:
            mode = os.fstat(fd).st_mode
            self.may_block = not stat.S_ISREG(mode)
            if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
                # O_NONBLOCK belongs to the open file, which the shell shares: so it is opened anew.
                path = "/proc/self/fd/%d" % fd
                self.fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                self.is_own = True
                self.may_block = False
        except OSError:
            pass  # then poll(2) has to say when a little can be written

    @property
    def is_waiting(self) -> bool:
        """Whether something is left to be written."""
        return bool(self.backlog) and self.fd >= 0

    @property
    def is_stalled(self) -> bool:
        return self.is_waiting and self.clock.monotonic() - self.moved_at >= ECHO_STALL_S

    @property
    def is_full(self) -> bool:
        """Whether the command has to wait for the reader."""
        return len(self.backlog) >= ECHO_BACKLOG_BYTES and not self.is_stalled

    def take(self, data: bytes) -> None:
        if self.fd < 0:
            return
        if not self.backlog:
            self.moved_at = self.clock.monotonic()
        room = max(0, ECHO_LIMIT_BYTES - len(self.backlog))
        self.backlog += data[:room]
        self.dropped += max(0, len(data) - room)
        self.flush()

    def flush(self) -> None:
        """Write what can be written without waiting."""
        try:
            while self.backlog and self._is_ready():
                chunk = self.backlog
                if self.may_block:
                    chunk = chunk[:ECHO_CHUNK_BYTES]
                written = os.write(self.fd, chunk)
                del self.backlog[:written]
                self.moved_at = self.clock.monotonic()
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EPIPE:  # a reader that went away has seen enough
                self.trouble = str(error.strerror)
            self._close()

    def _close(self) -> None:
        if self.is_own and self.fd >= 0:
            close_quietly(self.fd)
        self.fd, self.backlog = -1, bytearray()

    def _is_ready(self) -> bool:
        if not self.may_block:
            return True  # it takes what it can
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))

    def finish(self) -> None:
        """Give the reader what is left, as long as it goes on reading."""
        self.flush()
        while self.is_waiting and not self.is_stalled:
            sleep(LOCK_POLL_S)
            self.flush()
        self.dropped += len(self.backlog)
        if self.dropped:
            self.trouble = "%d bytes were dropped because nothing was read for %d seconds" % (
                self.dropped, ECHO_STALL_S)
        self._close()


class Output:
    """Where a command's output goes: the task's log, which keeps its head and end, and an echo.

    `limit` is the size of the head in bytes. Of what follows, the last OUTPUT_END_BYTES (no more
    than `limit`) are written once the command has ended.
    """

    def __init__(self, log_fd: int, limit: int, echo: "Echo | None" = None) -> None:
        self.log_fd = log_fd
        self.limit = limit
        self.echo = echo
        self.total = self.kept = 0  # bytes: of all output, and those in the log
        self.tail = b""  # for the verdict
        self.end = bytearray()  # past the limit; its last `end_size` bytes are still to be written
        self.end_size = min(OUTPUT_END_BYTES, limit)
        self.last_byte = b"\n"
        self.trouble = "max_output_bytes is %d" % limit  # why something is dropped

    def take(self, data: bytes) -> None:
        """Pass on what the command printed. Never raises, never holds the command up."""
        room = max(0, self.limit - self.total)
        self.total += len(data)
        if len(data) >= OUTPUT_TAIL_BYTES:
            self.tail = data[-OUTPUT_TAIL_BYTES:]
        else:
            self.tail = (self.tail + data)[-OUTPUT_TAIL_BYTES:]
        if room:
            self._write(data[:room])
        if len(data) > room:
            self.end += data[max(room, len(data) - self.end_size):]
        if len(self.end) > 2 * self.end_size:  # now and then: to cut it each time copies it
            del self.end[:-self.end_size]
        if self.echo is not None:
            self.echo.take(data)

    def tail_text(self) -> str:
        """The end of the output, for the verdict."""
        tail = self.tail
        if self.total > len(tail):
            # The rest of a letter that was cut: behind it, a secret would not be recognized.
            tail = re.sub(rb"\A[\x80-\xbf]{1,3}", b"", tail)
        return tail.decode("utf-8", "replace")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.write(self.log_fd, view)
                self.kept += written  # a disk that fills up takes a part of the last piece
                self.last_byte = bytes(view[written - 1:written])
                view = view[written:]
        except OSError as error:
            self.trouble = str(error.strerror)  # a full disk must not block the command

    def write_end(self) -> None:
        """Write the end of what went over the limit, and ahead of it how much was dropped."""
        end = bytes(self.end[-self.end_size:])
        self.end = bytearray()
        dropped = self.total - self.kept - len(end)
        if dropped > 0:
            self.line("%d bytes of output dropped here: %s" % (dropped, self.trouble))
        if end:
            self._write(end)

    def line(self, text: str) -> None:
        """A line of the conductor's own."""
        text = "--- %s\n" % text
        if self.last_byte != b"\n":
            text = "\n" + text
        try:
            write_all(self.log_fd, _bytes(text))
            self.last_byte = b"\n"
        except OSError:
            pass  # as with output: no line is worth a run

    def close(self) -> None:
        close_quietly(self.log_fd)


class Watch:
    """Waits for the end of a command: passes its output on, enforces its timeout, ends its tree.

    `deadline` is in monotonic seconds, `reader` the end of the pipe that the output comes from.
    `is_child` is false for a command that was adopted: its exit status cannot be had. Where
    `holds_retry` says so of a wait status, the wait lasts until nothing of the command lives.
    `note_unended` is called once, with the processes that outlive SIGKILL or the command, and
    `before_kill` ahead of the first SIGKILL.
    """

    def __init__(self, clock: Clock, job: Job, deadline: float, kill_grace: float, reader: int,
                 output: Output, signals: Signals, is_child: bool,
                 holds_retry: "Callable[[int], bool]",
                 note_unended: "Callable[[str], None]",
                 before_kill: "Callable[[], None] | None" = None) -> None:
        self.clock = clock
        self.job = job
        self.deadline = deadline
        self.kill_grace = kill_grace
        self.reader = reader
        self.output = output
        self.signals = signals
        self.is_child = is_child
        self.holds_retry = holds_retry
        self.note_unended = note_unended
        self.before_kill = before_kill
        self.reaped = -1  # any child
        self.read_size = READ_BYTES
        self.wait_status: "int | None" = None
        self.stopping = ""    # timeout, interrupted or leftovers, once SIGTERM was sent
        self.stop_signal = 0  # the one that this process got, if it did
        self.kill_at = self.unended_at = float("inf")
        self.is_unended = False  # something outlived SIGKILL
        self.is_noted = False

    def wait(self) -> None:
        """Return when the command has ended, and its whole tree if that had to be ended."""
        while True:
            try:
                if self._is_over():
                    break
                self._enforce(self.clock.monotonic())
                self._pause()
            except OSError:
                sleep(GROUP_POLL_S)  # whatever fails for a moment, the timeout is kept
        self._read_rest()

    def _is_over(self) -> bool:
        if not self.is_child:
            # The supervisor that was killed held no writing end: at end of file, nobody does.
            return self.reader < 0 and not may_live(self.job)
        self._reap()
        if self.wait_status is None:
            return False
        has_to_end = bool(self.stopping) or self.holds_retry(self.wait_status)
        return not (has_to_end and may_live(self.job))

    def _reap(self) -> None:
        """Take the exit status of the command, and of the orphans that fell to this process."""
        while True:
            try:
                pid, status = os.waitpid(self.reaped, os.WNOHANG)
            except ChildProcessError:
                if self.wait_status is None:
                    self.wait_status = EXIT_UNKNOWN << 8  # somebody else has taken it
                return
            if pid == 0:
                return
            if pid == self.job.pid:
                if status and self.signals.received:
                    # The stop of a scope, or of the machine, reaches the command at the same time.
                    self._stop("interrupted", self.clock.monotonic())
                self.wait_status = status

    def _enforce(self, now: float) -> None:
        if self.signals.received:
            self._stop("interrupted", now)
        elif now >= self.deadline:
            self._stop("timeout", now)
        if now >= self.kill_at:
            if self.before_kill is not None:
                self.before_kill()
                self.before_kill = None
                now = self.clock.monotonic()
                self.unended_at = now + UNENDED_AFTER_S
            self._signal_tree(signal.SIGKILL)
            self.kill_at = now + KILL_AGAIN_S
        is_left_behind = self.wait_status is not None and not self.stopping
        if is_left_behind and not self.is_noted:
            # The command has failed, and what it left behind holds its retry.
            self.unended_at = min(self.unended_at, now + UNENDED_AFTER_S)
        if now >= self.unended_at:
            members = members_text(job_members(self.job, process_table() or []))
            self.unended_at = float("inf")
            self.is_noted = True
            self.is_unended = bool(self.stopping)
            self.note_unended(members)

    def _stop(self, reason: str, now: float) -> None:
        if not self.stopping:
            self.stopping = reason
            if self.wait_status is not None:
                self.stopping = "leftovers"  # which changes nothing about how the command ended
            self.deadline = float("inf")
            self.kill_at = now + self.kill_grace
            self.unended_at = self.kill_at + UNENDED_AFTER_S
            self._signal_tree(signal.SIGTERM)
        elif signal.SIGINT in self.signals.received:
            self.kill_at = now  # a second Ctrl-C does not wait for kill_grace
        if self.signals.received:
            self.stop_signal = self.signals.received[0]
            del self.signals.received[:]

    def _signal_tree(self, number: int) -> None:
        """Send a signal to the group, all at once, and then to what has left it."""
        if number == signal.SIGKILL:
            kill_cgroup(self.job)
        table: "List[Process]" = []
        members: "List[Process]" = []
        try:
            table = process_table() or []
            members = job_members(self.job, table)
        except OSError:
            pass  # the group gets its signal all the same
        # Once the leader was reaped and its group is empty, the number is free for others.
        if not is_number_reused(self.job, table):
            self._send(os.killpg, self.job.pid, number)
        for process in members:
            if process.group != self.job.pid and self._is_still(process):
                self._send(os.kill, process.pid, number)

    @staticmethod
    def _is_still(process: Process) -> bool:
        now = process_of(process.pid)
        return now is not None and now.start == process.start

    @staticmethod
    def _send(how: "Callable[[int, int], None]", target: int, number: int) -> None:
        try:
            how(target, number)
        except (ProcessLookupError, PermissionError):
            pass  # gone, or another user's: whether it lives is looked up, not concluded from this

    def _pause(self) -> None:
        """Wait for output, a signal, the end of a child, or the next thing to enforce."""
        poll = select.poll()
        poll.register(self.signals.fd, select.POLLIN)
        echo = self.output.echo
        if echo is not None and echo.is_waiting:
            poll.register(echo.fd, select.POLLOUT)
        has_room = echo is None or not echo.is_full
        if self.reader >= 0 and has_room:
            poll.register(self.reader, select.POLLIN)
        pause_ms = int(self._longest_pause_s(echo) * 1000) + 1  # rounded up, or it spins to the end
        ready = {fd for fd, _ in poll.poll(pause_ms)}
        if self.signals.fd in ready:
            self.signals.drain()
        if echo is not None:
            echo.flush()
        # Of a pipe whose writers were gone before it was opened, poll(2) reports no end of file
        # (Linux fifo(7)); read(2) does.
        has_to_try = self.reader >= 0 and not self.is_child
        if self.reader in ready or has_to_try:
            self._read()

    def _longest_pause_s(self, echo: "Echo | None") -> float:
        if self.is_unended:
            return KILL_AGAIN_S
        is_echo_waiting = echo is not None and echo.is_waiting
        has_ended = self.wait_status is not None
        longest = float(HOUR)  # the end of a child is a signal
        if self.stopping:
            longest = GROUP_POLL_S
        elif has_ended or is_echo_waiting or not self.is_child:
            longest = ADOPTED_POLL_S
        next_at = min(self.deadline, self.kill_at, self.unended_at)
        return max(0.0, min(next_at - self.clock.monotonic(), longest))

    def _read(self) -> bool:
        """Whether there was something to read."""
        try:
            data = os.read(self.reader, self.read_size)
        except BlockingIOError:
            return False
        if not data:
            self._close_reader()
            return False
        self.output.take(data)
        if self.output.total >= LARGE_OUTPUT_BYTES and self.read_size < LARGE_PIPE_BYTES:
            self._enlarge_pipe()
        return True

    def _enlarge_pipe(self) -> None:
        """Let a command that prints much run longer before it has to wait for this process.

        All pipes of a user share pipe-user-pages-soft (pipe(7)), and 1 MiB gains little more.
        """
        # splice(2) into the log costs about as much, as it copies too; and as it refuses O_APPEND,
        # a log that somebody truncates meanwhile would get a hole of its old size.
        self.read_size = LARGE_PIPE_BYTES
        try:
            fcntl.fcntl(self.reader, SET_PIPE_SIZE, LARGE_PIPE_BYTES)
        except OSError:
            pass  # not Linux, or the user's share is used up: it works as it is

    def _read_rest(self) -> None:
        """Take what is in the pipe. What a background process writes later is not waited for."""
        for _ in range(READ_TRIES):  # enough for any pipe; one that is kept full has no end
            try:
                if self.reader < 0 or not self._read():
                    return
            except OSError:
                continue  # try again: the pipe may hold the reason of a failure

    def _close_reader(self) -> None:
        close_quietly(self.reader)
        self.reader = -1

    def leave_reader_behind(self) -> None:
        """Leave a process that drains the pipe as long as a background process holds it.

        A closed pipe would end that process by SIGPIPE, a full one would block it.
        """
        if self.reader < 0:
            return
        try:
            if os.read(self.reader, READ_BYTES) == b"":
                return
        except OSError:
            pass  # empty for now, or it cannot be read: somebody may still hold it
        fork_to(self._drain)

    def _drain(self) -> int:
        """The work of the process that is left behind: its exit code."""
        os.setsid()
        for fd in open_descriptors():
            if fd != self.reader:
                close_quietly(fd)
        os.set_blocking(self.reader, True)
        errors = 0
        while errors < READ_TRIES:
            try:
                if not os.read(self.reader, READ_BYTES):
                    return EXIT_OK
                errors = 0
            except OSError:
                errors += 1
        return EXIT_IOERR


class CancelWatch(Watch):
    """Waits for a cancel_command, beside which the command itself may still run."""

    def _reap(self) -> None:
        self.reaped = self.job.pid
        super()._reap()

    def _is_over(self) -> bool:
        return self.is_unended or super()._is_over()  # one that cannot be killed has failed


def fork_to(work: "Callable[[], int]") -> int:
    """Fork a process that does this work and exits with what that returns: its pid.

    Every process that is no exec's comes from here. Raises OSError when none could be forked.
    """
    pid = os.fork()
    if pid == 0:
        code = EXIT_SOFTWARE
        try:
            code = work()
        finally:
            os._exit(code)  # nothing of the caller's is flushed or carried out a second time
    return pid


def open_descriptors() -> "List[int]":
    """The open descriptors of this process, or where they cannot be listed, all it may have."""
    try:
        return [int(name) for name in os.listdir("/dev/fd")]
    except (OSError, ValueError):
        return list(range(4096))


def argv_of(command: "str | Sequence[str]") -> "List[str]":
    """The arguments of a command: text is for the shell, a list is run as it is."""
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def filled_in(words: "str | Sequence[str]", spec: "Spec", command: str = "") -> "List[str]":
    """The arguments of a launcher or a cancel_command of this run."""
    timeout_s = -int(-spec["timeout"] // 1)  # rounded up
    return [word.format(task=spec["task"], run_id=spec["run_id"], timeout=timeout_s,
                        command=command) for word in argv_of(words)]


def launched_argv(spec: "Spec") -> "List[str]":
    """The arguments of the process that is to be started: those of the command, or of its launcher.

    The command follows the launcher, or takes the place of {command} there, quoted for a shell.
    """
    argv = argv_of(spec["command"])
    launcher = spec["launcher"]
    if not launcher:
        return argv
    if takes_command(launcher):
        return filled_in(launcher, spec, command_text(argv))
    return filled_in(launcher, spec) + argv


def open_pipe(path: str) -> "Tuple[int, int]":
    """(read end, write end) of a pipe for a command's output.

    The pipe has a name, so that another supervisor can take it up when this one is killed. The
    command holds it for reading too (O_RDWR), so that until then it does not end by SIGPIPE.
    """
    fds = []
    try:
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            pass  # made by an attempt that found no descriptors left to open it
        for flags in (os.O_RDONLY | os.O_NONBLOCK, os.O_RDWR):
            fds.append(os.open(path, flags | os.O_CLOEXEC))
        return fds[0], fds[1]
    except OSError:  # a file system without named pipes
        for fd in fds:
            close_quietly(fd)
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        return reader, writer


def _bytes(text: str) -> bytes:
    """Text as commands get it: UTF-8 whatever the locale; what was no UTF-8 stays as it was."""
    return text.encode("utf-8", "surrogateescape")


class Command(Value):
    """What a process needs to become the command of a run, in the form that exec takes.

    It is made ahead of the forks: a forked process pays for each page of memory that it touches
    with a copy of it.
    """

    argv: "List[bytes]" = []
    env: "Dict[bytes, bytes]" = {}
    cwd: str = ""
    steps: "Sequence[Tuple[str, Callable[[], Any]]]" = ()  # what precedes exec, each with a name
    reader: int = -1  # the two ends of the pipe for its output
    writer: int = -1


# ioprio_set(2), which neither Python nor the C library offers, by machine: for a Python of 64 bits
# and for one of 32.
IOPRIO_SET = (
    {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30, "ppc64le": 273, "s390x": 282},
    {"x86_64": 289, "i686": 289, "i586": 289, "aarch64": 314, "armv7l": 314, "armv6l": 314})
IO_CLASSES = {"realtime": 1, "best-effort": 2, "idle": 3}


def limit_trouble(field: str) -> str:
    """Why this system cannot give a command an ionice or a memory_limit; '' where it can."""
    if field == "ionice":
        is_small = sys.maxsize < 1 << 32
        if not sys.platform.startswith("linux") or os.uname().machine not in IOPRIO_SET[is_small]:
            return "this system has no I/O priorities that could be set"
    elif field == "memory_limit":
        import resource
        if not hasattr(resource, "RLIMIT_AS"):
            return "this system cannot limit an address space"
    return ""


def _ionice_step(text: str) -> "Callable[[], None]":
    """What gives the calling process this I/O priority; it raises OSError. For Linux."""
    import ctypes
    name, _, level = text.partition(":")
    number = IOPRIO_SET[sys.maxsize < 1 << 32][os.uname().machine]
    priority = IO_CLASSES[name] << 13 | int(level or (7 if name == "idle" else 4))
    syscall = ctypes.CDLL(None, use_errno=True).syscall

    def step() -> None:
        if syscall(number, 1, 0, priority):  # of a process: this one
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return step


def _memory_step(limit: int) -> "Callable[[], None]":
    """What limits the address space of the calling process; it raises OSError or ValueError."""
    import resource
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def steps_of(spec: "Spec", cwd: str) -> "List[Tuple[str, Callable[[], Any]]]":
    """What a forked process does before it becomes the command: each step after its name.

    All that they import is imported here. Raises StorageError for what this system cannot do.
    """
    umask, nice, ionice, limit = (
        spec["umask"], spec["nice"], spec["ionice"], spec["memory_limit"])
    steps: "List[Tuple[str, Callable[[], Any]]]" = []
    for field, value in (("ionice", ionice), ("memory_limit", limit)):
        if value and limit_trouble(field):
            raise StorageError("%s: %s" % (field, limit_trouble(field)))
    if umask:
        mask = int(umask, 8)
        steps.append(("umask " + umask, lambda: os.umask(mask)))
    if ionice:
        steps.append(("ionice " + ionice, _ionice_step(ionice)))
    if nice:
        steps.append(("nice %d" % nice, lambda: os.nice(nice)))
    if cwd:
        path = _bytes(cwd)
        steps.append(("cwd " + os.path.abspath(cwd), lambda: os.chdir(path)))
    if limit:  # last: this process, too, has to do with it
        steps.append(("memory_limit %s" % limit, _memory_step(bytes_of(limit))))
    return steps


def spawn(command: Command) -> int:
    """Start a command by posix_spawn(3), as the leader of a session: its pid, or -1.

    Unlike a fork, it copies nothing of this process, and does not wait at a gate. -1 means that
    nothing was started: `start_gated` is to start the command, or to say why that is impossible.
    """
    if not hasattr(os, "posix_spawn") or command.steps:
        return -1
    if not command.argv[0].startswith(b"/"):  # found in its own PATH: execvpe does that
        return -1
    streams: "List[Any]" = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    streams += [(os.POSIX_SPAWN_DUP2, command.writer, fd) for fd in (1, 2)]
    try:
        return os.posix_spawn(command.argv[0], command.argv, command.env, file_actions=streams,
                              setsid=True, setsigmask=(), setsigdef=default_signals())
    except (OSError, ValueError, NotImplementedError):
        return -1


def default_signals() -> "List[int]":
    """The signals that are reset to their default action for a command.

    SIGPIPE and SIGXFSZ are ignored in Python, SIGQUIT in the background jobs of a shell.
    """
    names = STOP_SIGNALS + ("SIGCHLD", "SIGPIPE", "SIGXFSZ", "SIGQUIT")
    return [getattr(signal, name) for name in names]


def start_gated(command: Command) -> "Tuple[int, int, int]":
    """Fork a process that becomes the command once a byte comes through the gate.

    Returns (pid, gate, failure pipe). The process leads a session and a group of its own. When the
    gate closes without a byte it ends and has run nothing: the start is recorded in between, so
    that no command runs that is not on record. Raises OSError.
    """
    gate_read, gate = os.pipe()
    failure, failure_write = os.pipe()

    def wait_at_gate() -> int:
        os.close(gate)  # else it would hold its own gate open when the parent is killed
        return _become_command(command, gate_read, failure_write)

    pid = fork_to(wait_at_gate)
    for fd in (gate_read, failure_write, command.writer):
        close_quietly(fd)
    return pid, gate, failure


def _become_command(command: Command, gate: int, failure: int) -> int:
    """The child of `start_gated`, up to its exec; when that fails, the exit code of a shell.

    Nothing is imported here (`import_now` came first): an import that fails would do so unseen.
    What fails is written to `failure`, as `_cause_of` takes it. Exec closes that, and all others
    but 0, 1 and 2: Python opens them close-on-exec (PEP 446).
    """
    stage = ""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(command.writer, 1)
        os.dup2(command.writer, 2)
        # Ahead of the gate: a signal meanwhile is to end this process, and to wake nobody else.
        signal.set_wakeup_fd(-1)
        for number in default_signals():
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # as `spawn` does
        if not os.read(gate, 1):
            return EXIT_NOT_FOUND
        for name, step in command.steps:
            stage = name
            step()
        stage = ""
        os.execvpe(command.argv[0], command.argv, command.env)
    except (OSError, ValueError) as error:
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError)) and not stage
        what = _bytes(stage) or command.argv[0]
        number = 0  # of the error, where it is that of the exec
        if not stage:
            number = getattr(error, "errno", 0) or 0
        os.write(failure, b"%d %s: %s" % (number, what, _bytes(error_text(error))))
        if is_missing:
            return EXIT_NOT_FOUND
    return EXIT_CANNOT_RUN


def status_of_exit(wait_status: int, fields: "RunFields") -> str:
    """What a wait status means for a run: success, failed or skipped_exit.

    Its codes only matter where the command ended by itself: a signal is never a success.
    """
    code = os.WEXITSTATUS(wait_status)
    if not os.WIFEXITED(wait_status):
        return "failed"
    if code == EXIT_UNKNOWN and is_by_ssh(fields["launcher"]):
        return "failed"  # the connection broke, or so it may be
    if code in fields["success_exit_codes"]:
        return "success"
    return "skipped_exit" if code in fields["skip_exit_codes"] else "failed"


def result_of(watch: Watch, output: Output, clock: Clock, started_mono: float,
              fields: "RunFields") -> "Result":
    """What became of a command, for its verdict."""
    status = "interrupted"
    code: "int | None" = None
    ended_by = 0  # the signal that ended the command, where it was not one of ours
    if watch.stopping == "timeout":
        status, code = "timeout", EXIT_TIMEOUT
    elif watch.stopping == "interrupted":
        code = 128 + watch.stop_signal
    elif watch.wait_status is not None:
        if os.WIFSIGNALED(watch.wait_status):
            ended_by = os.WTERMSIG(watch.wait_status)
            code = 128 + ended_by
        else:
            code = os.WEXITSTATUS(watch.wait_status)
        status = status_of_exit(watch.wait_status, fields)
    result: "Result" = {
        "status": status, "exit_code": code, "ended_at": round(clock.now(), 3),
        "duration_s": round(max(0.0, clock.monotonic() - started_mono), 3),
        "output_tail": output.tail_text(), "output_bytes": output.total}
    if ended_by:
        result["signal"] = ended_by
    if output.total > output.kept:
        result["dropped_bytes"] = output.total - output.kept
    if code is None:
        result["reason"] = "its supervisor was killed; exit status unknown"
    elif status == "skipped_exit":
        result["reason"] = "exit code %d is in skip_exit_codes" % code
    return result


SPEC_DEFAULTS: "Spec" = {
    "command": Task.command, "cwd": Task.cwd, "nice": Task.nice, "timeout": Task.timeout,
    "umask": None, "ionice": None, "memory_limit": None,
    "kill_grace": Task.kill_grace, "max_output_bytes": Task.max_output_bytes, "env": {},
    "env_file": (), "task_env_file": (), "task_env": (),
    "success_exit_codes": Task.success_exit_codes, "skip_exit_codes": Task.skip_exit_codes,
    "condition": Task.condition, "condition_timeout": Task.condition_timeout,
    "launcher": Task.launcher, "cancel_command": Task.cancel_command,
    "attempt": 1, "trigger": "schedule", "slot": None, "retries_left": False, "definition": {}}
# By `Watch.stopping`; the values are a time and the processes.
UNENDED_TEXTS = {
    "timeout": "timed out at %s but cannot be killed: %s",
    "interrupted": "was interrupted at %s but cannot be killed: %s",
    "leftovers": "left processes behind at %s that cannot be killed: %s",
    "": "failed at %s and left processes running: %s"}
UNCANCELLED_TEXT = "%s at %s but its cancel_command fails (%s), so " + MAY_GO_ON
ABANDONED_TEXT = "its cancel_command fails (%s), so " + MAY_GO_ON + "; no retry follows"


def import_now(*modules: "Any") -> None:
    """Import modules that are otherwise imported when they are first used. Raises OSError."""
    for module in modules:
        hasattr(module, "__name__")  # any attribute makes a _Late one import itself


def load_for_supervisors() -> None:
    """Import what a supervisor needs, ahead of the fork that it shares this memory by."""
    import_now(errno, json, re, select, signal, stat)
    load_prctl()


class StoppedError(ConductorError):
    """A run that was to be stopped before its command could start."""


def own_process() -> "RunRecord":
    """This process, as the record of a run names its supervisor."""
    start = ""
    try:
        process = process_of(os.getpid())
        start = process.start if process is not None else ""
    except OSError:
        pass  # then the mark in its environment has to do
    return {"supervisor": os.getpid(), "supervisor_start": start}


def parent_process() -> "frozenset[Tuple[int, str]]":
    """The parent of this process as a job's `others` name it; empty where it cannot be seen."""
    try:
        process = process_of(os.getppid())
    except OSError:
        return frozenset()
    return frozenset() if process is None else frozenset(((process.pid, process.start),))


def is_supervisor(record: "RunRecord", process: "Process | None") -> bool:
    """Whether a process with the pid of a run's supervisor is that supervisor."""
    if process is None or process.is_dead or record["boot_id"] != current_boot_id():
        return False
    if record.get("supervisor_start"):
        return process.start == record["supervisor_start"]
    mark = str(record.get("mark") or "")  # before version 1.1, none
    return bool(mark) and mark_of(process) == mark


def end_run(record: "RunRecord") -> None:
    """Have the supervisor of a run end it; one that is gone is none. Raises ConductorError."""
    pid = record["supervisor"]
    with doing("signal", "the supervisor (process %d) of %s" % (pid, record["task"])):
        if pid > 1 and is_supervisor(record, process_of(pid)):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass  # it ended just now


def processes_of_run(record: "RunRecord", root: str,
                     table: "Sequence[Process]") -> "List[int]":
    """The pids of a run's command and all that came of it, as far as they can be seen."""
    if record["boot_id"] != current_boot_id():
        return []
    job = job_of(record, root, "")
    supervisors = [process for process in table if process.pid == record["supervisor"]]
    if any(is_supervisor(record, process) for process in supervisors):
        job = job.replace(supervisor=record["supervisor"])
    return sorted(process.pid for process in job_members(job, table))


class Supervisor:
    """One attempt of one task, from the start of its command to the result on disk.

    `spec` is what the decision says about it: the fields of the task that matter, and the run
    (`spec_of`). To adopt a command, it is the record that its first supervisor wrote.
    """

    def __init__(self, store: Store, clock: Clock, spec: "Spec | RunRecord",
                 echo_fd: int = -1) -> None:
        self.store = store
        self.clock = clock
        complete: "Any" = dict(SPEC_DEFAULTS, **spec)  # another version may have written it
        without_env: "Any" = dict(complete, env={})  # people put passwords there
        self.spec: "Spec" = complete
        self.fields: "RunRecord" = without_env  # those that the record of the run repeats
        self.name = spec["task"]
        self.echo = Echo(echo_fd, clock) if echo_fd >= 0 else None
        self.pipe_path = store.pipe_path(self.name, spec["run_id"])
        try:
            self.mark = store.mark(spec["run_id"])
        except StorageError:
            self.mark = ""  # `prepare` tries again, and says what is wrong
        self.record: "RunRecord" = {}
        self.output: "Output | None" = None
        self.signals: "Signals | None" = None
        self.watch: "Watch | None" = None
        self.command: "Command | None" = None
        self.definition = ""
        self.obstacle: "Exception | None" = None  # why the command cannot be started
        self.is_forked = False  # into a process for this run alone, which has no other children
        self.is_subreaper = False
        self.scope = ""  # the folder of the scope's cgroup that this process is in
        self.others: "frozenset[Tuple[int, str]]" = frozenset()
        self.trouble = ""  # why no process was started, or the output of an adopted one is lost
        self.failure = ""  # why the process that was started could not become the command
        self.condition_mono = 0.0  # when the condition started
        self.is_lost = False  # the command and its supervisor were gone when this one came
        self.env_of_run: "Dict[str, str]" = {}  # of `run --env`; it is in no configuration
        self.tell: "Callable[[str], Any]" = str  # hears what holds a run by hand
        # The values from it and from `env_file`, which are masked in all that is kept of the
        # output. None: they are not known, so no output is kept but in the log.
        self.secrets: "List[str] | None" = []
        self.variables = ""  # by which another supervisor can tell whether it knows them too

    def prepare(self) -> None:
        """Do what can be done ahead of the fork, where it costs less.

        An error is kept in `obstacle`, and `run` makes it the result.
        """
        try:
            self.mark = self.mark or self.store.mark(self.spec["run_id"])
            self.definition = self.store.keep_definition(self.spec["definition"])
            self._open()
            with doing("create the pipe", self.pipe_path):
                reader, writer = open_pipe(self.pipe_path)
            self.command = self._command_of(launched_argv(self.spec)).replace(
                reader=reader, writer=writer)
        except (ConductorError, OSError) as error:
            self.obstacle = error

    def _command_of(self, argv: "Sequence[str]") -> Command:
        """What runs these arguments in the folder and environment of the task, without a pipe."""
        cwd = self.spec["cwd"] and os.path.join(self.store.base, self.spec["cwd"])
        if not cwd and self.store.base != ".":
            cwd = self.store.base
        return Command(
            argv=[_bytes(word) for word in argv],
            env={_bytes(name): _bytes(text) for name, text in self._environment().items()},
            cwd=cwd, steps=steps_of(self.spec, cwd))

    def descriptors(self) -> "List[int]":
        """Those that `prepare` opened."""
        fds = []
        if self.output is not None:
            fds.append(self.output.log_fd)
        if self.command is not None:
            fds += [self.command.reader, self.command.writer]
        return fds

    def let_go(self) -> None:
        """Close what `prepare` opened, in the process that forked the supervisor."""
        for fd in self.descriptors():
            close_quietly(fd)
        self.output = self.command = None

    def enter_scope(self) -> None:
        """Leave the cgroup of a tick that systemd started for a scope of this run.

        What stays there would be a left-over of each later tick to systemd. Without a scope it
        does, and the command's tree is found as anywhere else.
        """
        try:
            if not own_unit()[1]:
                return
            name, run_id = self.name, self.spec["run_id"]
            if self.fields.get("cgroup"):  # an adopted command
                try:
                    return join_cgroup(os.path.dirname(self.fields["cgroup"]))
                except OSError:
                    run_id += "-%d" % os.getpid()
            scope = enter_scope(
                scope_name(name, run_id, self.store.root),
                "Symphony Conductor: task %s of %s" % (name, self.store.root),
                self.spec["kill_grace"] + SCOPE_STOP_S)
            if scope:
                os.mkdir(scope + "/command")
                self.scope = scope
        except (ConductorError, OSError):
            pass

    def run(self) -> "Result":
        """Start the command and wait for its end; what cannot be started is a failed attempt."""
        started_mono = self.clock.monotonic()
        if not self.is_forked:
            # Once the command runs, no import that fails may end the watch.
            load_for_supervisors()
        if self.command is None:  # also where `prepare` failed: fewer files are open by now
            self.obstacle = None
            self.prepare()
        try:
            if self.obstacle is not None:
                raise self.obstacle
            self._begin(started_mono)
            watch = self._watch_of_condition()
        except (ConductorError, OSError) as error:
            return self._not_started(error, started_mono)
        if watch is not None:
            watch.wait()  # an error ends this process, and the next tick adopts what goes on
            refusal = self._refusal_by(watch)
            if refusal is not None:
                return self._ended(refusal)
        try:
            if watch is not None:
                self._heed_stop()  # asked for as the condition ended, too late to end that
            self._start()
        except (ConductorError, OSError) as error:
            return self._not_started(error, started_mono)
        assert self.command is not None
        return self._watch_to_the_end(self.command.reader, is_child=True)

    def _begin(self, started_mono: float) -> None:
        """Put the run on record, before anything of it is started. Raises ConductorError."""
        if not self.is_forked and has_children():
            # Jobs of the shell that became this program, or of a dependency run before.
            self.others = frozenset(
                (process.pid, process.start) for process in process_table() or ()
                if process.parent == os.getpid())
        with doing("create a pipe for", "the signals of " + self.name):
            self.signals = Signals()
        self.is_subreaper = become_subreaper()  # ahead of the start: it may leave an orphan at once
        # On record before the command runs: if this process is killed before the pid is on record
        # as well, the command is found by its mark.
        self._note_start(started_mono)
        self._heed_stop()  # only now: who asks for it looks for the record afterwards

    def _heed_stop(self) -> None:
        """Raise StoppedError if the run is to be stopped."""
        reason = self._stop_reason()
        if reason:
            raise StoppedError(reason)

    def _start(self) -> None:
        """Start the command. Raises ConductorError or OSError as long as nothing was started."""
        assert self.command is not None and self.output is not None
        self._join(self._cgroup())  # a process is born where its parent is
        try:
            pid = spawn(self.command)
            trouble = self._start_gated() if pid <= 0 else ""
        finally:
            self._join(self.scope)
        if pid > 0:
            self._note_process(pid)
            close_quietly(self.command.writer)
        # From here on the command may run, so nothing is raised any more.
        if self.spec["condition"]:
            self.output.line("%s condition met: pid=%d" % (
                iso(self.record["command_started_at"]), self.record["pid"]))
        else:
            self.output.line(self._header("pid=%d" % self.record["pid"]))
        if trouble:
            self.failure = "cannot start: %s" % self._cause_of(trouble)
            self.output.take(_bytes(self.failure + "\n"))

    def _watch_of_condition(self) -> "Watch | None":
        """Start the task's condition, if it has one."""
        if not self.spec["condition"]:
            return None
        assert self.output is not None and self.signals is not None
        self.condition_mono = self.clock.monotonic()
        # Ahead of the start: once the condition runs, nothing may fail.
        output = Output(os.dup(self.output.log_fd), CONDITION_OUTPUT_BYTES)
        assert self.command is not None
        condition = self.command.replace(
            argv=[_bytes(word) for word in argv_of(self.spec["condition"])])
        try:
            with doing("start the condition of", self.name):
                pid, reader = self._start_beside("condition", condition)
        except (ConductorError, OSError):
            output.close()
            raise
        self.output.line(self._header("condition=%d" % pid))
        job = Job(pid=pid, run_id=self.spec["run_id"], root=self.store.root, mark=self.mark,
                  cgroup=self._cgroup())
        if self.is_subreaper:
            job = job.replace(supervisor=os.getpid(), others=self.others)
        self.watch = Watch(
            self.clock, job, self.condition_mono + self.spec["condition_timeout"],
            self.spec["kill_grace"], reader, output, self.signals, True, lambda status: False,
            self._note_unended)
        return self.watch

    def _refusal_by(self, watch: "Watch") -> "Result | None":
        """The result of a run whose condition has ended; None when the command may start."""
        assert self.output is not None
        output = watch.output
        output.write_end()
        self.output.last_byte = output.last_byte
        close_quietly(watch.reader)
        watch.reader = -1
        output.close()
        result = result_of(watch, output, self.clock, self.condition_mono, SPEC_DEFAULTS)
        if result["status"] == "interrupted":
            return result
        if result["status"] == "success":
            # The command has its timeout for itself.
            self.record = {**self.record, "started_mono": self.clock.monotonic(),
                           "command_started_at": self.clock.now()}
            return None
        return self._refusal(result)

    def _start_beside(self, name: str, command: Command) -> "Tuple[int, int]":
        """Start a condition or cancel_command: (pid, read end of its output). Raises OSError."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        command = command.replace(reader=reader, writer=writer)
        self._join(self._cgroup())
        try:
            pid = spawn(command)
            if pid > 0:
                close_quietly(writer)
                return pid, reader
            pid, gate, failure = start_gated(command)
        finally:
            self._join(self.scope)
        trouble = self._open_gate(gate, failure)
        if trouble and self.output is not None:
            self.output.line("%s: %s" % (name, trouble.partition(" ")[2]))
        return pid, reader

    def _refusal(self, result: "Result") -> "Result":
        """The result of a run whose condition was not met; one without an answer has failed."""
        code = result["exit_code"]
        said = last_line(masked(self._without_secrets(result["output_tail"]),
                                self.spec["env"].values()))
        if result["status"] == "timeout":
            reason = "condition timed out after %g s" % self.spec["condition_timeout"]
        elif "signal" in result:
            reason = "condition was ended by signal %d" % result["signal"]
        elif code in (EXIT_CANNOT_RUN, EXIT_NOT_FOUND):
            reason = "condition cannot run"
        else:
            reason = "condition not met (exit %s)" % code
            result = {**result, "status": "skipped_condition"}
        if result["status"] == "timeout":
            result = {**result, "status": "failed"}
        return {**result, "reason": reason + (": " + said if said else "")}

    def _stop_reason(self) -> str:
        try:
            return self.store.stop_reason(self.name, self.spec["run_id"])
        except StorageError:
            return ""  # whoever settles the run asks again

    def _cgroup(self) -> str:
        return self.scope and self.scope + "/command"

    @staticmethod
    def _join(cgroup: str) -> None:
        try:
            if cgroup:
                join_cgroup(cgroup)
        except OSError:
            pass  # the command's tree is found in other ways as well

    def _note_start(self, started_mono: float) -> None:
        self.record = {
            **self.fields, "definition": self.definition, "root": self.store.root,
            "mark": self.mark, "frame": os.urandom(4).hex(), **own_process(),
            "boot_id": current_boot_id(), "pid": NO_PID, "pid_start": "",
            "started_mono": started_mono, "command_started_at": self.clock.now(),
            "variables": self.variables}
        if self.scope:
            self.record["cgroup"] = self._cgroup()
        self.store.write_run(self.name, self.record)

    def _note_process(self, pid: int) -> None:
        """Put the process of a command on record, which runs already: so nothing is raised."""
        start = ""
        try:
            process = process_of(pid)
            start = process.start if process is not None else ""
        except OSError:
            pass  # its mark will do
        self.record = {**self.record, "pid": pid, "pid_start": start}
        try:
            self._replace_record()
        except StorageError:
            pass  # likewise

    def _start_gated(self) -> str:
        """Start the command through a gate: '' when it runs, else why it could not be started.

        Raises ConductorError or OSError as long as nothing was started.
        """
        assert self.command is not None
        with doing("start a process for", self.name):
            pid, gate, failure = start_gated(self.command)
        try:
            with doing("inspect the process of", self.name):
                process = process_of(pid)
            if process is None:  # it waits at the gate, so it is there
                raise StorageError(
                    "cannot inspect the process of %s: not in the process table" % self.name)
            self.record = {**self.record, "pid": pid, "pid_start": process.start}
            self.store.write_run(self.name, self.record, durable=False)
        except (ConductorError, OSError):
            close_quietly(gate)  # which ends the process that waits there
            os.waitpid(pid, 0)
            raise
        return self._open_gate(gate, failure)

    def _cause_of(self, trouble: str) -> str:
        """The cause of a failed start in words, from 'ERRNO WHAT: WHY'; 0 for none of the exec."""
        number, _, text = trouble.partition(" ")
        if number in ("", "0"):
            return text
        cause = self._start_trouble()
        if not cause and int(number) in (errno.ENOENT, errno.ENOEXEC):
            return text + " (was it built for another system?)"
        return cause or text

    def _start_trouble(self) -> str:
        """What is wrong with the command's program, now that it did not start; '' if nothing is."""
        if self.command is None:
            return ""
        folder = os.path.abspath(os.fsdecode(self.command.cwd or self.store.base))
        path = os.fsdecode(self.command.env.get(b"PATH", os.fsencode(os.defpath)))
        try:
            command = self.spec["command"]
            if self.spec["launcher"]:
                command = launched_argv(self.spec)
            text, hint = start_trouble(command, folder, path)
        except OSError:  # the disk fails, also for a module that is needed here
            return ""
        return "%s (%s)" % (text, hint) if hint else text

    @staticmethod
    def _open_gate(gate: int, failure: int) -> str:
        """Let the command go: '' when it runs, else why it could not be started."""
        try:
            os.write(gate, b"g")
        except OSError:
            pass  # it was killed at the gate; the wait finds out
        close_quietly(gate)
        try:
            trouble = os.read(failure, 4096)
        except OSError:
            trouble = b""
        close_quietly(failure)
        return trouble.decode("utf-8", "replace")

    def _not_started(self, error: Exception, started_mono: float) -> "Result":
        """The result of an attempt whose command could not be started."""
        self.trouble = "not started: %s" % error_text(error)
        status, code = "failed", EXIT_IOERR
        if isinstance(error, StoppedError):
            status, code = "stopped", EXIT_STOPPED
        elif isinstance(error, ConfigError):
            code = error.exit_code
        now = self.clock.now()
        if self.output is not None:
            self.output.line("%s run=%s: %s" % (iso(now), self.spec["run_id"], self.trouble))
            self.output.close()
        self.record = {
            **self.fields, "definition": None, "root": self.store.root, **own_process(),
            "boot_id": "", "pid": NO_PID, "pid_start": "", "started_mono": started_mono}
        return {"status": status, "exit_code": code, "ended_at": round(now, 3),
                "duration_s": 0.0, "output_tail": "", "output_bytes": 0, "reason": self.trouble}

    def adopt(self) -> "Result":
        """Take over a command whose supervisor was killed: its output, its timeout, its result."""
        self.record = self.fields
        # A tick shows the mark of the run in its own environment until it has forked this process.
        self.others = parent_process()
        load_for_supervisors()
        self.signals = Signals()
        try:
            self._open()
            assert self.output is not None
            # The command may have been in the middle of a line.
            self.output.last_byte = read_bytes(self.store.log_path(self.name), 1) or b"\n"
        except (ConductorError, OSError) as error:
            # Its timeout is worth more than its output.
            self.trouble = "output lost: %s" % error_text(error)
            self.output = Output(os.open(os.devnull, os.O_WRONLY), 0)
        assert self.output is not None
        self._note_adoption()
        if self._stop_reason():  # likewise only now
            self.signals.received.append(signal.SIGTERM)
        try:
            self._variables_of_files()
        except ConfigError:
            self.secrets = None
        if self.variables != self.record.get("variables", ""):
            self.secrets = None  # the command has other values than the files do now
        try:
            reader = os.open(self.pipe_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            reader = -1
        what = "its supervisor was killed"
        if self.is_lost:
            what = VANISHED
        self.output.line("%s adopted run=%s pid=%d: %s%s" % (
            iso(self.clock.now()), self.spec["run_id"], self.record["pid"], what, self._frame()))
        return self._watch_to_the_end(reader, is_child=False)

    def _note_adoption(self) -> None:
        """Put this process on record as the supervisor of a run.

        Of a command that is gone, as after a reboot, only what its launcher started is left to end.
        """
        self.record = {**self.record, **own_process()}
        if self.record["boot_id"] != current_boot_id():
            self.is_lost = True
            ago_s = max(0.0, self.clock.now() - float(self.record["started_at"]))
            self.record = {**self.record, "boot_id": current_boot_id(), "pid": NO_PID,
                           "pid_start": "", "started_mono": self.clock.monotonic() - ago_s}
        else:
            job = job_of(self.record, self.store.root, self.pipe_path).replace(others=self.others)
            try:
                leader = leader_of(job, process_table() or []) if job.pid == NO_PID else None
                if leader is not None:  # what it leaves behind is found by its group
                    job = job.replace(pid=leader.pid, start=leader.start)
                    self.record = {**self.record, "pid": job.pid, "pid_start": job.start}
                self.is_lost = not may_live(job)
            except OSError:
                pass  # then it is watched to its end
        try:
            self._replace_record()
        except StorageError:
            pass  # `status` says then that the supervisor is gone

    def _replace_record(self) -> None:
        """Write the record of a run that has one. Raises StorageError.

        After a power cut an empty file may have taken its place. Then nothing of a command is left
        here, but what a launcher started elsewhere would be forgotten.
        """
        self.store.write_run(self.name, self.record, durable=bool(self.spec["launcher"]))

    def wait_for_room(self) -> None:
        """Wait before another try to record the result. Raises StorageError on a signal."""
        deadline = time.monotonic() + STORAGE_RETRY_S
        while time.monotonic() < deadline:
            if self.signals is not None and self.signals.received:
                raise StorageError("cannot record the end of run %s" % self.spec["run_id"])
            sleep(GROUP_POLL_S)

    def close(self) -> None:
        """Once the result is on disk: restore the signals and give up the pipe."""
        if self.signals is not None:
            self.signals.close()
        if self.watch is not None:
            try:
                self.watch.leave_reader_behind()
            except OSError:
                pass  # no process can be forked; the background process will find its pipe closed
        try:
            os.unlink(self.pipe_path)
        except OSError:
            pass  # it was never made, or its folder is gone

    def _open(self) -> None:
        path = self.store.log_path(self.name)
        make_folder(self.store.path("status/runs"))
        with doing("open", path):
            rotate(path, TASK_LOG_ROTATE_BYTES)
            self.output = Output(open_append(path), self.spec["max_output_bytes"], self.echo)

    def _watch_to_the_end(self, reader: int, is_child: bool) -> "Result":
        assert self.signals is not None and self.output is not None
        output = self.output
        started_mono = float(self.record["started_mono"])
        # No pipe: its reader is this process.
        job = job_of(self.record, self.store.root, "").replace(others=self.others)
        if self.is_subreaper:
            job = job.replace(supervisor=os.getpid())
        deadline = started_mono + self.spec["timeout"]
        if self.is_lost:
            deadline = float("inf")  # how it ended is not known, so it did not time out either
        self.watch = Watch(
            self.clock, job, deadline, self.spec["kill_grace"], reader,
            output, self.signals, is_child, self._is_retried, self._note_unended,
            self._cancel_before_kill)
        self.watch.wait()
        output.write_end()
        result = result_of(self.watch, output, self.clock, started_mono, self.spec)
        if self.is_lost:
            result["reason"] = VANISHED
        was_started = not self.failure
        if self.failure and result["status"] in ("success", "skipped_exit"):
            result["status"] = "failed"  # the exit code is that of no command
        elif result["exit_code"] in (EXIT_CANNOT_RUN, EXIT_NOT_FOUND) and not self.failure:
            # So says a shell, or env, of what it could not start.
            cause = self._start_trouble()
            if cause:
                self.failure = "cannot start: %s" % cause
        if self.failure and result["status"] == "failed":
            result["reason"] = self.failure
        if self.spec["launcher"] and was_started:
            result = self._end_elsewhere(result, started_mono)
        return self._ended(result)

    # -- what a launcher started elsewhere

    def _end_elsewhere(self, result: "Result", started_mono: float) -> "Result":
        """The result of a run once its cancel_command has ended what goes on elsewhere."""
        if result["status"] in ("success", "skipped_exit"):
            return result
        if not self.spec["cancel_command"]:
            is_unclear = result["status"] != "failed" or "signal" in result
            is_broken = result["exit_code"] == EXIT_UNKNOWN and is_by_ssh(self.spec["launcher"])
            if is_unclear or is_broken:
                result = {**result, "reason": joined_reason(result.get("reason"), MAY_GO_ON)}
            return result
        trouble = self._cancel(result["status"])
        if trouble:
            reason = joined_reason(result.get("reason"), ABANDONED_TEXT % trouble)
            result = {**result, "abandoned": True, "reason": reason}
        # Until now it held its task, as a slot that was skipped meanwhile shows.
        return {**result, "ended_at": round(self.clock.now(), 3),
                "duration_s": round(max(0.0, self.clock.monotonic() - started_mono), 3)}

    def _cancel(self, status: str) -> str:
        """Run the cancel_command until it succeeds: '', or why that was given up.

        Raises StorageError when a signal asks this process, and not the run, to end.
        """
        assert self.signals is not None and self.output is not None
        asked = signature(self.store.stop_path(self.name))  # ahead of what a next stop changes
        del self.signals.received[:]  # what asked for the end of the run
        since, give_up_at = iso(self.clock.now()), self.clock.monotonic() + CANCEL_FOR_S
        pause_s, longest_s = map(float, CANCEL_AGAIN_S)
        trouble, told = self._try_cancel(is_first=True), ""
        while trouble and self.clock.monotonic() < give_up_at and not self._is_given_up(asked):
            if self.store.is_removed():
                break
            self._note_held(UNCANCELLED_TEXT % (
                OUTCOMES.get(status, status), since, trouble))
            self.output.line("cancel_command failed (%s): next try in %d s; to give up: stop %s" % (
                trouble, pause_s, self.name))
            if trouble != told:
                self.tell("%s: its cancel_command fails (%s), so %s; it is tried again"
                          " (to give up: stop %s)" % (self.name, trouble, MAY_GO_ON, self.name))
                told = trouble
            self._await_signal(pause_s)
            pause_s = min(2 * pause_s, longest_s)
            if self._is_given_up(asked):
                break
            last = trouble
            trouble = self._try_cancel(is_first=False)
            if trouble and self.signals.received:
                trouble = last  # of the try that was cut short, the cause is known anyway
        return trouble

    def _is_given_up(self, asked: str) -> bool:
        """Whether somebody stops a run whose cancel_command fails. Raises StorageError.

        `asked` is the signature of the request that ended the run, if one did: a signal without a
        newer one is for this process alone, as when the machine goes down.
        """
        assert self.signals is not None
        is_stopped = signature(self.store.stop_path(self.name)) != asked and self._stop_reason()
        if self.signals.received and not is_stopped:
            raise StorageError("%s: the cancel_command of run %s has not succeeded, so %s" % (
                self.name, self.spec["run_id"], MAY_GO_ON),
                "the next tick takes it over; to end it: stop %s" % self.name)
        return bool(self.signals.received)

    def _await_signal(self, longest_s: float) -> None:
        assert self.signals is not None
        until = time.monotonic() + longest_s
        poll = select.poll()
        poll.register(self.signals.fd, select.POLLIN)
        while time.monotonic() < until and not self.signals.received:
            poll.poll(int((until - time.monotonic()) * 1000) + 1)
            self.signals.drain()

    def _cancel_before_kill(self) -> None:
        """Cancel ahead of a SIGKILL, after which a client tells nobody that it is gone."""
        if self.spec["launcher"] and self.spec["cancel_command"] and not self.failure:
            self._try_cancel(is_first=True)

    def _try_cancel(self, is_first: bool) -> str:
        """Run the cancel_command once: '', or why it has not succeeded. Never raises.

        No signal ends the first try: it is what a stop of the run asks for.
        """
        assert self.output is not None and self.signals is not None
        started_mono = self.clock.monotonic()
        reader = -1
        try:
            output = Output(os.dup(self.output.log_fd), CONDITION_OUTPUT_BYTES)
        except OSError as error:
            return error_text(error)
        output.last_byte = self.output.last_byte
        try:
            command = self._cancel_command()
            pid, reader = self._start_beside("cancel_command", command)
            output.line("%s cancel_command pid=%d" % (iso(self.clock.now()), pid))
            mark = command.env[b"SYMPHONY_MARK"].decode()
            job = Job(pid=pid, run_id=self.spec["run_id"], root=self.store.root, mark=mark)
            watch = CancelWatch(
                self.clock, job, started_mono + CANCEL_TIMEOUT_S, CANCEL_GRACE_S, reader, output,
                Unheard(self.signals) if is_first else self.signals, True,
                lambda status: False, lambda members: None)
            watch.wait()
            if watch.stop_signal:  # it ended this try, and is to end the tries as well
                self.signals.received.append(watch.stop_signal)
            output.write_end()
            reader = watch.reader
        except (ConductorError, OSError) as error:
            return error_text(error)
        finally:
            self.output.last_byte = output.last_byte
            close_quietly(reader)
            output.close()
        result = result_of(watch, output, self.clock, started_mono, SPEC_DEFAULTS)
        return self._cancel_trouble(result)

    def _cancel_trouble(self, result: "Result") -> str:
        """Why a cancel_command that ended so has not succeeded; '' if it has."""
        if result["status"] == "success":
            return ""
        if result["status"] == "timeout":
            text = "timed out after %g s" % CANCEL_TIMEOUT_S
        elif result["status"] == "interrupted":
            text = "stopped"
        elif "signal" in result:
            text = "ended by signal %d" % result["signal"]
        else:
            text = "exit code %s" % result["exit_code"]
        said = last_line(masked(self._without_secrets(result["output_tail"]),
                                self.spec["env"].values()))
        return text + (": " + said if said else "")

    def _cancel_command(self) -> Command:
        """The cancel_command of this run. Raises ConductorError or OSError."""
        assert self.spec["cancel_command"]
        try:
            argv = filled_in(self.spec["cancel_command"], self.spec)
        except (AttributeError, LookupError, TypeError, ValueError):
            # A damaged record, or a newer version's. What it is about may go on all the same.
            raise StorageError("the one on record cannot be filled in: %s" % json.dumps(
                self.spec["cancel_command"]))
        command = self.command  # with the variables that its launcher got
        if command is None:  # of an adopted run they are read again
            command = self._command_of(argv)
        # Its own mark: to end it must not end the command, nor the other way round.
        env = {**command.env, b"SYMPHONY_MARK": _bytes(self.mark + "-cancel")}
        return command.replace(argv=[_bytes(word) for word in argv], env=env)

    def _ended(self, result: "Result") -> "Result":
        """The result of a run as it goes on record, after the footer in the task's log."""
        assert self.output is not None
        output, reason = self.output, self._stop_reason()
        result["output_tail"] = self._without_secrets(result["output_tail"])
        if result["status"] == "interrupted" and reason:
            if self.spec["launcher"] and result.get("reason"):
                reason = joined_reason(reason, result["reason"])
            result = {**result, "status": "stopped", "exit_code": EXIT_STOPPED, "reason": reason}
        output.line("%s end run=%s status=%s exit_code=%s duration=%ss output=%d bytes%s" % (
            iso(result["ended_at"]), self.spec["run_id"], result["status"], result["exit_code"],
            result["duration_s"], result["output_bytes"], self._frame()))
        output.close()
        result["definition"] = self.record.get("definition")
        return result

    def _is_retried(self, wait_status: int) -> bool:
        """Whether another attempt follows a command that ended so."""
        return self.spec["retries_left"] and status_of_exit(wait_status, self.spec) == "failed"

    def _note_unended(self, members: str) -> None:
        """Record that processes outlive the command or SIGKILL; the next tick reports it."""
        assert self.watch is not None
        since = iso(self.clock.now() - UNENDED_AFTER_S)
        text = UNENDED_TEXTS[self.watch.stopping] % (since, members)
        if self.output is not None:
            self.output.line("%s %s" % (iso(self.clock.now()), text))
        self._note_held(text)

    def _note_held(self, text: str) -> None:
        """Record why the run goes on beyond its end, unless that is known."""
        if self.record.get("unended") == text:
            return
        record: "RunRecord" = {**self.record, "unended": text}
        try:
            self.store.write_run(self.name, record)
        except StorageError:
            return  # its lock still says that it runs; a cancel_command that fails again is noted
        self.record = record

    def _header(self, process: str) -> str:
        # The command itself is not written: people put passwords there.
        return "%s start run=%s attempt=%d trigger=%s scheduled_for=%s host=%s %s%s" % (
            iso(self.record["command_started_at"]), self.spec["run_id"], self.spec["attempt"],
            self.spec["trigger"], self.spec["scheduled_for"], os.uname()[1], process,
            self._frame())

    def _frame(self) -> str:
        """How the lines around the output end; the run of an older version has no frame."""
        frame = self.record.get("frame")
        return " frame=%s" % frame if frame else ""

    def _environment(self) -> "Dict[str, str]":
        """The environment of the command. Raises ConfigError for what is wrong with a file."""
        shared, own = self._variables_of_files()
        for name in self.spec["task_env"]:
            own.pop(name, None)
        return {
            # Ahead of ours: none of them can take the mark away.
            **os.environ, **shared, **self.spec["env"], **own,
            "SYMPHONY_TASK": self.name, "SYMPHONY_RUN_ID": self.spec["run_id"],
            "SYMPHONY_SCHEDULED_FOR": self.spec["scheduled_for"],
            "SYMPHONY_ATTEMPT": str(self.spec["attempt"]), "SYMPHONY_ROOT": self.store.root,
            "SYMPHONY_MARK": self.mark}

    def _without_secrets(self, text: str) -> str:
        """The end of the output as it may be kept."""
        if self.secrets is None:
            return ""
        return without_values(text, self.secrets)

    def _variables_of_files(self) -> "Tuple[Dict[str, str], Dict[str, str]]":
        """The variables in the files of the settings and of the task; their values are secret."""
        paths = [*self.spec["env_file"], *self.spec["task_env_file"]]
        # Ahead of the reading: a file that changes meanwhile is then another one.
        self.variables = " ".join(signature(self.store.path_of_variables(path)) for path in paths)
        if self.env_of_run:
            self.variables += " and " + self.spec["run_id"]
        shared = self.store.variables(self.spec["env_file"])
        own = self.store.variables(self.spec["task_env_file"])
        values = [*shared.values(), *own.values(), *self.env_of_run.values()]
        for value in list(values):
            # Of several lines, the output may show one, and a shell drops the spaces around it.
            values += [line.strip() for line in value.splitlines()]
        self.secrets = values
        return shared, own


def definition_of(config: Config, task: Task) -> "Document":
    """A task's definition as it is kept with its runs.

    The values of env are hashed: whether they changed can be told, and no password is kept.
    """
    fields = {field: getattr(task, field) for field in (
        "command", "cwd", "timeout", "kill_grace", "nice", "max_output_bytes", "retry_count",
        "retry_delay", "retry_backoff", "overlap", "start_deadline", "dependencies", "timezone")}
    # Later fields, left out by default: so a new version of this file changes no definition.
    for field in ("success_exit_codes", "skip_exit_codes", "condition", "condition_timeout",
                  "launcher", "cancel_command", "env_file", "umask", "ionice", "memory_limit",
                  "locks"):
        if getattr(task, field) != getattr(Task, field):
            fields[field] = getattr(task, field)
    env = dict(config.env, **task.env)
    env = {name: "%08x" % stable_hash(value) for name, value in env.items()}
    for field in ("not_on", "only_between"):
        if getattr(task, field):  # an older definition, which has neither, is no other one
            fields[field] = getattr(task, field)
    return dict(fields, schedule=task.schedule and task.schedule.written, env=env)


def spec_of(config: Config, task: Task, run: Run) -> "Spec":
    """What a supervisor has to know of a task and its run, as JSON can hold it."""
    scheduled_for = run.started_at if run.slot is None else run.slot
    return {
        "version": RUN_VERSION, "by": __version__, "task": task.name, "command": task.command,
        "cwd": task.cwd, "nice": task.nice, "umask": task.umask, "ionice": task.ionice,
        "memory_limit": task.memory_limit, "timeout": task.timeout,
        "env_file": config.env_file, "task_env_file": task.env_file, "task_env": tuple(task.env),
        "kill_grace": task.kill_grace, "max_output_bytes": task.max_output_bytes,
        "locks": task.locks,
        "success_exit_codes": task.success_exit_codes, "skip_exit_codes": task.skip_exit_codes,
        "condition": None if run.trigger == "manual" else task.condition,
        "condition_timeout": task.condition_timeout,
        "launcher": task.launcher, "cancel_command": task.cancel_command,
        "env": dict(config.env, **task.env), "run_id": run.run_id, "attempt": run.attempt,
        "trigger": run.trigger, "slot": run.slot, "started_at": run.started_at,
        "scheduled_for": iso(scheduled_for),
        "retries_left": run.trigger != "manual" and run.attempt <= task.retry_count,
        "definition": definition_of(config, task)}


def detach(null: int, stdin: int, stdout: int) -> None:
    """Give this process a session of its own and these streams; stderr goes to /dev/null."""
    os.setsid()
    os.dup2(stdin, 0)
    if stdout != 1:
        os.dup2(stdout, 1)
    os.dup2(null, 2)


def stdout_of_detached(null: int) -> int:
    """What a detached process gets as its standard output: ours if that is the journal."""
    return 1 if is_journal(1) else null


def start_detached(store: Store, arguments: "Sequence[str]", mark: str, stdin: int = -1,
                   keep: "Iterable[int]" = ()) -> None:
    """Start this program anew, detached; it inherits the descriptors in `keep`.

    `mark` is that of the run it is for. Raises OSError when it could not be started.
    """
    argv = [sys.executable, "-I", "-S"] + program_arguments(store.script, store.base)
    argv += ["--root=" + store.root] + list(arguments)
    failure, failure_write = os.pipe()  # exec closes it, so that end of file is a success

    def become_program() -> int:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            detach(null, null if stdin < 0 else stdin, stdout_of_detached(null))
            os.chdir(store.base)  # which follows the folder when it is renamed
            for fd in keep:
                os.set_inheritable(fd, True)
            # Else that of a command which calls the conductor, and this would be of its tree.
            os.environ["SYMPHONY_MARK"] = mark
            os.execv(argv[0], argv)
        except OSError as error:
            os.write(failure_write, b"%d" % (error.errno or 0))
        return EXIT_CANNOT_RUN

    try:
        pid = fork_to(become_program)
    except OSError:
        close_quietly(failure)
        close_quietly(failure_write)
        raise
    close_quietly(failure_write)
    try:
        number = int(os.read(failure, 16) or b"0")
    finally:
        close_quietly(failure)
    if number:
        os.waitpid(pid, 0)
        raise OSError(number, os.strerror(number))


def fork_detached(store: Store, title: "ProcessTitle", arguments: "Sequence[str]", mark: str,
                  keep: "Sequence[int]", work: "Callable[[Callable[[], None]], int]") -> None:
    """Fork a process that exits with what `work` returns.

    It costs a tenth of `start_detached`: everything is loaded and read. The process has the
    arguments and the mark from its first moment, as this one shows them in `title` until it has
    forked. `work` gets a function that detaches the process, and calls it first: only `work` knows
    where to report that this failed. A detached process has left the caller's session and streams,
    and every descriptor but those in `keep`. Raises OSError when no process could be forked.
    """
    null = os.open(os.devnull, os.O_RDWR)
    stdout = stdout_of_detached(null)
    needed = {0, 1, 2, *store.lock.fds, *keep}
    unneeded = [fd for fd in open_descriptors() if fd not in needed]

    def detach_process() -> None:
        detach(null, null, stdout)
        store.lock.release()  # the process that decides goes on holding it
        for fd in unneeded:
            close_quietly(fd)

    def be_forked() -> int:
        title.own = shown
        return work(detach_process)

    try:
        shown = title.show(arguments, mark)
        fork_to(be_forked)
    finally:
        close_quietly(null)
        title.restore()


class ProcessTitle:
    """The title of this process, as setproctitle(3) sets it: what ps(1) and /proc/PID/environ show.

    It is the memory from `arg_start` to `env_end` in /proc/self/stat: see proc(5). A forked process
    has the title of its parent. By what is written over it, people and `marked_processes` find a
    supervisor just as one that was started anew.
    """

    def __init__(self, start: int, middle: int, own: bytes) -> None:
        self.start = start    # the address of the arguments
        self.middle = middle  # the address of the environment, which follows them
        self.own = own        # the title of this process itself

    @classmethod
    def of_this(cls) -> "ProcessTitle | None":
        """That of this process; None where it cannot be read or written."""
        try:
            text = proc_text("self/stat")
            numbers = text[text.rfind(")") + 1:].split()[45:49]
            start, middle, env_start, end = map(int, numbers)
            if not 0 < start < middle <= env_start < end or env_start - middle > 1:
                return None
            title = cls(start, env_start, b"")
            fd = os.open(PROC + "/self/mem", os.O_RDONLY)
            try:
                title.own = os.pread(fd, end - start, start)
            finally:
                close_quietly(fd)
            if len(title.own) != end - start:
                return None
            title._write(title.own)  # which fails where it must not be written
            # The C library reads its environment there: setenv(3) copies each variable elsewhere.
            for name, value in list(os.environ.items()):
                if name:  # setenv(3) refuses an empty name, which nobody looks up
                    os.environ[name] = value
            return title
        except (OSError, ValueError):
            return None

    def has_room(self, arguments: "Sequence[str]", mark: str) -> bool:
        """Whether the arguments and the mark fit."""
        size = self.middle - self.start
        return (len(self._arguments(arguments)) <= size
                and len(self._environment(mark)) <= len(self.own) - size)

    def show(self, arguments: "Sequence[str]", mark: str) -> bytes:
        """Show these arguments, and the mark as the only variable: the text that was written.

        Raises OSError.
        """
        text = self._arguments(arguments).ljust(self.middle - self.start, b"\0")
        text = (text + self._environment(mark)).ljust(len(self.own), b"\0")
        self._write(text)
        return text

    def restore(self) -> None:
        """Show the arguments and the environment of this process again."""
        try:
            self._write(self.own)
        except OSError:
            pass  # this process ends soon, and no decision depends on it

    def _write(self, data: bytes) -> None:
        fd = os.open(PROC + "/self/mem", os.O_WRONLY)
        try:
            if os.pwrite(fd, data, self.start) != len(data):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        finally:
            close_quietly(fd)

    @staticmethod
    def _arguments(arguments: "Sequence[str]") -> bytes:
        return b"".join(_bytes(word) + b"\0" for word in arguments)

    @staticmethod
    def _environment(mark: str) -> bytes:
        return b"SYMPHONY_MARK=%s\0" % _bytes(mark)


def launch_supervisor(store: Store, verb: str, spec: "Spec | RunRecord", lock: FileLock) -> None:
    """Start a process that supervises one run, and hand it the task's lock.

    The lock is never free in between: it belongs to the open file, which the new process inherits.
    """
    arguments = ["--config=" + store.config_path, "supervise", verb, str(lock.fd), spec["task"],
                 spec["run_id"], "--here"]
    try:
        with doing("start", "the supervisor of " + spec["task"]):
            reader, writer = os.pipe()
            try:
                try:
                    start_detached(store, arguments, store.mark(spec["run_id"]), reader, lock.fds)
                finally:
                    close_quietly(reader)  # else no EPIPE would tell that the supervisor is gone
                write_all(writer, json.dumps(spec).encode())
            except BrokenPipeError:
                pass  # it is gone; as it recorded no start, the next tick starts it again
            finally:
                close_quietly(writer)
    finally:
        lock.release()


# == Delivery ==

SEND_TIMEOUT_S = 10
RETRY_SEND_S = (60, 300, 900, 3600)  # after the first failure, the second, ...; then the last
SEND_FOR_S = DAY
DELIVERY_LOCK = "status/locks/.delivery.lock"


def web_opener() -> "Any":
    """What opens http and https addresses and nothing else, nor a redirect to another scheme."""
    from urllib import error, request

    class SameScheme(request.HTTPRedirectHandler):
        def redirect_request(self, req: "Any", fp: "Any", code: int, msg: str, headers: "Any",
                             newurl: str) -> "Any":
            # A POST would go on as a GET without its body, and its receiver would seem to have it.
            if req.data is not None or newurl.partition(":")[0].lower() != req.type:
                raise error.HTTPError(req.full_url, code, "redirected elsewhere", headers, fp)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    # build_opener() would add handlers for file, ftp and data.
    opener = request.OpenerDirector()
    for handler in (request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler,
                    request.HTTPDefaultErrorHandler, SameScheme, request.HTTPErrorProcessor):
        opener.add_handler(handler())
    return opener


def send_to_web(url: str, body: "Document | None") -> str:
    """POST a JSON body, or GET without one: '' when it was accepted, else why not.

    The reason never holds the address: the path of a webhook is its password.
    """
    from http.client import HTTPException
    from urllib import error, request
    if not is_web_address(url):
        return "not an http or https address"
    headers = {"User-Agent": "symphony-conductor/%s" % __version__}
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    cause: "BaseException | str"
    try:
        question = request.Request(url, data, headers)
        with web_opener().open(question, timeout=SEND_TIMEOUT_S) as answer:
            answer.read(1024)
        return ""
    except error.HTTPError as problem:
        return "HTTP status %d" % problem.code
    except error.URLError as problem:
        cause = problem.reason
    except (OSError, HTTPException, ValueError) as problem:
        cause = problem
    # Only the kind of failure: the text of an exception may hold the address.
    return "request failed: %s" % (getattr(cause, "strerror", None) or type(cause).__name__)


def send_to_command(command: "str | Tuple[str, ...]", body: "Document") -> str:
    """Hand a body to a command on its standard input: '' when it exits 0, else why not."""
    text = body["text"].replace("\0", " ")  # which no environment can hold
    env = dict(os.environ, SYMPHONY_EVENT=body["event"], SYMPHONY_TASK=body["task"] or "",
               SYMPHONY_TEXT=text)
    return _feed(command, json.dumps(body).encode(), env)


# Cron looks in the first place; systems without it have the second, and others have it in PATH.
SENDMAIL_PATHS = ("/usr/sbin/sendmail", "/usr/lib/sendmail")
SENDMAIL_OPTIONS = ("-t", "-oi")  # who gets it stands in its header; a line with a dot is no end
NO_SENDMAIL = "there is no sendmail in /usr/sbin, /usr/lib or PATH"
SENDMAIL_HINT = "install a mail transfer agent such as msmtp-mta, dma or postfix"


def sendmail_path() -> str:
    """The program that takes mail, '' where there is none."""
    for path in SENDMAIL_PATHS:
        if os.access(path, os.X_OK):
            return path
    return shutil.which("sendmail") or ""


def mail_of(addresses: "Sequence[str]", facts: "Document", program: str) -> bytes:
    """A mail of a message with its body, header and all, as sendmail takes it."""
    from email.headerregistry import Address
    from email.message import EmailMessage
    from email.utils import formatdate
    mail = EmailMessage()
    # Without a domain: the mail system adds its own, as for cron's mail.
    mail["From"] = Address("Symphony Conductor", user_name(os.geteuid()))
    mail["To"] = ", ".join(addresses)
    subject = plain_line(event_text(facts, facts["host"]).splitlines()[0])
    mail["Subject"] = subject.encode("utf-8", "replace").decode()
    mail["Date"] = formatdate(from_iso(facts["at"]), localtime=True)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence note answers it
    mail.set_content(mail_text(facts, program), cte="quoted-printable")
    return mail.as_bytes()


def send_to_mail(addresses: "str | Sequence[str]", facts: "Document", program: str) -> str:
    """Hand a message with its body to sendmail: '' when it exits 0, else why not."""
    path = sendmail_path()
    if not path:
        return "%s (%s)" % (NO_SENDMAIL, SENDMAIL_HINT)
    if isinstance(addresses, str):
        addresses = (addresses,)
    return _feed((path,) + SENDMAIL_OPTIONS, mail_of(addresses, facts, program), dict(os.environ))


def _feed(command: "str | Tuple[str, ...]", data: bytes, env: "Dict[str, str]") -> str:
    """Run a command with this input: '' when it exits 0 in time, else why not."""
    try:
        process = subprocess.Popen(
            argv_of(command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=env, start_new_session=True)
    except OSError as problem:
        trouble, hint = start_trouble(command, os.curdir, env.get("PATH", ""), "cron's")
        if not trouble:
            trouble = os.strerror(problem.errno or 0)
        return "cannot start: " + trouble + (" (%s)" % hint if hint else "")
    try:
        process.communicate(data, timeout=SEND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        try:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        except PermissionError:
            pass  # some mail systems' sendmail changes its user: it is left to itself
        return "timed out after %d s" % SEND_TIMEOUT_S
    if process.returncode:
        return "exited with %d" % process.returncode
    return ""


def in_time(send: "Callable[[], str]") -> str:
    """What `send` returns, cut off after its time altogether.

    urllib's timeout is that of one read: a server that sends a byte a second would never meet it.
    """
    try:
        with time_limit(SEND_TIMEOUT_S + 1):
            return send()
    except TimeIsUp:
        return "timed out after %d s" % SEND_TIMEOUT_S


def ways_to_send(config: Config, message: "Message",
                 root: str) -> "Dict[str, Callable[[], str]]":
    """How a message is sent, by the settings that say so; {} when there are none (any more)."""
    if message["channel"] == "ping":
        task = config.tasks.get(message["task"] or "")
        if task is None or not task.ping_url:
            return {}
        address = ping_address(task.ping_url, message["kind"])
        return {"ping_url": lambda: in_time(lambda: send_to_web(address, None))}
    if not config.enable_notifications and message["event"] != "test":
        return {}

    program = own_command(root)

    def body() -> "Document":  # made while sending: a damaged message holds up no other
        return message_body(message, os.uname()[1], root, program)

    email = config.notification_email or ""
    webhook = config.notification_webhook or ""
    command = config.notification_command or ""
    ways: "Dict[str, Callable[[], str]]" = {}
    if webhook:
        ways["notification_webhook"] = lambda: in_time(lambda: send_to_web(webhook, body()))
    if command:
        ways["notification_command"] = lambda: send_to_command(command, body())
    if email:
        ways["notification_email"] = lambda: send_to_mail(
            email, dict(message, **body()), program)
    return ways


def deliver(store: Store, config: Config, clock: Clock) -> None:
    """Send what is due, in its order; what is not accepted is tried again for a day.

    No lock of the tick or of a task is held: a receiver that is slow delays no run.
    """
    lock = FileLock(store.path(DELIVERY_LOCK))
    if not lock.acquire():
        return  # another delivery is at work; what it has not seen is for the next tick
    try:
        failed: "Set[str]" = set()
        while _deliver_round(store, config, clock, failed):
            pass
        store.prune_sent()
    finally:
        lock.release()


def _deliver_round(store: Store, config: Config, clock: Clock, failed: "Set[str]") -> bool:
    """Send what is due now: whether there was anything. `failed` collects the ways that refused.

    A message waits for an earlier one about the same task: a success that overtakes its start, or a
    recovery its failure, would tell the wrong story. Of a task's pings only the newest is news: one
    that was not accepted gives way to it.
    """
    waiting: "Set[Tuple[str, str]]" = set()
    is_busy = False
    spooled = store.spooled()
    newest = {_subject_of(message): path for path, message in spooled}
    for path, message in spooled:
        subject = _subject_of(message)
        is_newest = newest[subject] == path
        if message["channel"] == "ping" and message["tries"] and not is_newest:
            store.mark_sent(path)
            continue
        if subject not in waiting and is_retry_due(message, clock.now()):
            is_busy = True
            if _deliver_one(store, config, clock, path, message, failed):
                continue
        waiting.add(subject)
    return is_busy


def _subject_of(message: "Message") -> "Tuple[str, str]":
    """The channel and the task of a message: those with the same are sent in their order."""
    return message["channel"], message["task"] or ""


def is_retry_due(message: "Message", now: float) -> bool:
    """Whether the next try of a message has come."""
    # One that is further off than any wait was planned before the clock was set back.
    return not now < message["next_try_at"] <= now + RETRY_SEND_S[-1]


def _deliver_one(store: Store, config: Config, clock: Clock, path: str, message: "Message",
                 failed: "Set[str]") -> bool:
    """Try to send a message by each way that has not taken it: whether it is dealt with."""
    done = list(message.get("done", []))
    troubles = _send(config, message, store.root, done, failed)
    if not troubles:
        store.mark_sent(path)
        return True
    now, tries = clock.now(), message["tries"] + 1
    name = ("%s %s" % (message["event"], message["task"] or "")).strip()
    why = "; ".join(troubles)
    if now - (from_iso(message["at"]) or 0) > SEND_FOR_S:
        store.mark_sent(path)
        store.log(now, ["WARNING giving up on message '%s' after %s: %s" % (
            name, plural(tries, "try", "tries"), why)])
        return True
    wait_s = RETRY_SEND_S[min(tries, len(RETRY_SEND_S)) - 1]
    later = dict(message, tries=tries, next_try_at=now + wait_s, done=done)
    write_atomic(path, json.dumps(later).encode())
    if tries == 1:
        store.log(now, ["WARNING message '%s' was not accepted; retrying for %d h: %s" % (
            name, SEND_FOR_S // HOUR, why)])
    return False


def _send(config: Config, message: "Message", root: str, done: "List[str]",
          failed: "Set[str]") -> "List[str]":
    """Send a message by the ways that are not in `done`, which are added to it: what went wrong."""
    ways = ways_to_send(config, message, root)
    if not ways:
        return ["no notification target is configured"]
    troubles = []
    for way, send in ways.items():
        if way in done:
            continue
        address = way
        if way == "ping_url":
            address = "%s %s" % (way, message["task"])  # each task has its own
        # Not waited for again, a moment after it did not answer: the others would be late.
        trouble = "the previous message was not accepted"
        if address not in failed:
            try:
                trouble = send()
            except Exception as error:  # a damaged message must not hold up the others
                trouble = "cannot be sent: %s" % type(error).__name__
            else:
                if trouble:
                    failed.add(address)
        if trouble:
            troubles.append("%s: %s" % (way, trouble))
        else:
            done.append(way)
    return troubles


def launch_delivery(store: Store) -> None:
    """Start a process that sends what waits, on its own: nobody waits for it."""
    with doing("start", "the delivery of messages"):
        start_detached(store, ["--config=" + store.config_path, "deliver", "--here"], "-")


# == Conductor ==

RUN_UNCLEAR = "%s: cannot determine the state of run %s"
# Supervisors fork the supervisors of the next runs. A process whose chain of forks is older than
# this starts the program anew instead: its zone data is old, and its memory has grown.
FORK_FOR_S = HOUR
# After a fork, each page that either process changes is copied. So this many starts are prepared at
# a time, and then forked one after another. Until then, each holds four descriptors.
FORKS_AT_ONCE = 8
METRICS_EVERY_S = 5 * MINUTE  # at the latest, also while nothing happens
# A file of more bytes takes longer than the end of a run may: then the ends of many runs write as
# much a second, which is the file of 1,000 tasks every 8 seconds, and the next tick has the rest.
METRICS_AT_ONCE = 100 * 1000
REPORT_EVERY_S = MINUTE       # at the most
REPORT_RETRY_S = 5 * MINUTE
SLOTS_UNASKED = 100           # runs for more past slots at once have to be confirmed


def page_due_at(store: Reader, path: str, now: float) -> float:
    """When a page that shows results is to be made anew; inf while there are no new ones.

    Its time is when its maker began to read.
    """
    made_at = modified_at(path) or 0.0
    if made_at > now:
        made_at = 0.0  # the clock was set back
    if made_at >= (modified_at(store.state_path) or 0.0):
        return float("inf")
    return made_at + REPORT_EVERY_S


class Outcome(Value):
    """What a command has to tell its caller: an exit code, and lines for people."""

    exit_code: int = EXIT_OK
    lines: "List[str]" = []
    task: str = ""    # of the last run by hand: that task, or the dependency that ended it
    status: str = ""  # likewise


class Situation(Value):
    """What is read before a decision: the time, the configuration, the state."""

    now: float = 0.0
    evidence: Evidence = Evidence()
    config: "Config | None" = None  # None where it cannot be used
    problems: "List[str]" = []      # of the configuration
    watched: "List[Tuple[str, str]]" = []  # the files of the configuration and their signatures
    may_hide_a_change: bool = False        # a file changed so lately that it may change unseen
    state: State = State()
    notes: "List[str]" = []         # on the file of the state
    aside: str = ""                 # where a bad file of the state is to be kept
    gap: "Gap | None" = None
    config_stamp: str = ""          # of the files whose problems are reported; '' without problems

    @property
    def is_news(self) -> bool:
        """Whether the problems of the configuration are others than those reported last."""
        return self.config_stamp != self.state.config_stamp


class Conductor:
    """Joins store, planner and runner. Never prints.

    `launch`, if given, starts each supervisor; `send` starts the delivery of messages. Tests pass
    their own.
    """

    def __init__(self, store: Store, clock: "Clock | None" = None,
                 launch: "Callable[[Store, str, Spec | RunRecord, FileLock], None] | None" = None,
                 send: "Callable[[Store], None]" = launch_delivery) -> None:
        self.store = store
        self.clock = clock or Clock()
        self.launch = launch
        self.send = send
        self.forks_until = self.clock.monotonic() + FORK_FOR_S
        self.title: "ProcessTitle | None" = None
        # The newest valid configuration, and what its files were like when it was read.
        self.valid_config: "Tuple[List[Tuple[str, str]], Config | None]" = ([], None)
        self.recorded: "State | None" = None  # the newest state whose pending lines are on file
        self.agenda: "Agenda | None" = None   # of the newest decision
        self.troubles: "List[str]" = []  # what a decision could not find out or do, with its place
        self.own_locks: "Set[str]" = set()  # tasks whose lock this process holds for a run by hand
        self.is_saved = False            # a state was saved that the metrics do not show yet
        self.report_at = float("inf")    # when the page of `report_file` is to be made anew
        self.report_file = ""

    # -- tick

    def tick(self, is_called: bool = True) -> Outcome:
        """Decide what is due and start it. Without problems, the outcome has no lines.

        One that cron did not call (`is_called`) leaves the heartbeat and cron's environment alone.
        """
        self.store.check_root()
        if not self.store.lock.acquire(TICK_LOCK_WAIT_S):
            return self._give_way()
        try:
            self.store.lock.note("%d\n" % os.getpid())
            rotate(self.store.path("logs/conductor_cron.log"), LOG_ROTATE_BYTES)
            if is_called and not os.isatty(0):
                self.store.note_environment()  # by hand, on a terminal, it would be another one
            outcome = self._decide(is_tick=is_called, is_read=True)
            if outcome.exit_code in (EXIT_OK, EXIT_CONFIG):
                self.store.forget_failure()
        finally:
            self.store.lock.unlock()
        self._send_due_messages()
        return outcome

    def _give_way(self) -> Outcome:
        """Leave the work to the holder of the lock: after a stall, cron starts ticks in bursts."""
        now = self.clock.now()
        try:
            begun = os.stat(self.store.lock.path).st_mtime
        except OSError:
            begun = now
        since = max(begun, self.store.last_tick() or 0.0)
        if now - since <= TICK_STALE_S:
            return Outcome()
        text, hint = self._locked_text()
        text += ", and no tick has completed since %s (%s)" % (iso(since), hint)
        return Outcome(exit_code=EXIT_TEMPFAIL, lines=[text])

    def _locked_text(self) -> "Tuple[str, str]":
        """That the conductor's lock is held by somebody else, and how to find out by whom."""
        path = self.store.lock.refused
        return ("%s is locked by another process" % self.store.shown(path),
                "to find it: fuser %s" % shlex.quote(os.path.abspath(path)))

    def _send_due_messages(self) -> None:
        """Have due messages sent, by a process that nobody waits for. The caller holds no lock."""
        now = self.clock.now()
        if any(is_retry_due(message, now) for _, message in self.store.spooled()):
            self.send(self.store)
        if now >= self.report_at:
            self._make_report(now)

    def _decide(self, is_tick: bool, settle_only: bool = False, is_read: bool = False,
                is_thorough: bool = False) -> Outcome:
        """One decision, carried out. The caller holds the conductor's lock.

        `settle_only`: record what ended, and start nothing. `is_read`: somebody reads the lines of
        the outcome, as cron mails those of a tick; only then a new problem of the configuration is
        told, for it is told once. `is_thorough`: look at each run as a tick does.
        """
        self.troubles = []
        situation = self._situation(is_tick, settle_only, is_read)
        config, problems, state = situation.config, situation.problems, situation.state
        lines = list(situation.notes)
        notes = list(situation.notes)
        if situation.is_news:
            lines += problems
            notes += problems or ["the configuration is valid again"]
        decision, locks = self._decision(situation, settle_only, is_tick or is_thorough)
        decided = decision.state.replace(config_stamp=situation.config_stamp)
        decision = decision.replace(state=decided, changed=decision.changed or bool(notes))
        self._carry_out(config, state, decision, locks, situation.aside)
        errors = ["ERROR " + line for line in self.troubles]
        self.store.log(situation.now, notes + decision.notes + errors)
        self._write_files_and_heartbeat(situation, decision, is_tick, settle_only)
        exit_code = EXIT_CONFIG if problems else EXIT_OK
        if self.troubles:
            exit_code = EXIT_IOERR
        return Outcome(exit_code=exit_code, lines=lines + self.troubles)

    def _situation(self, is_tick: bool, settle_only: bool, is_read: bool) -> Situation:
        """What the clocks, the configuration and the state say before a decision."""
        now = self.clock.now()
        evidence = Evidence(clock_offset=now - self.clock.monotonic(),
                            suspended=self.clock.suspended(), boot_id=current_start_id())
        situation = self._read_configuration(settle_only)
        state, notes, aside = self._load_state(situation.config, now)
        gap = self._gap(now, evidence, state) if is_tick else None
        # Problems are reported once per version of the files, not every minute.
        config_stamp = situation.config_stamp
        if settle_only or not is_read:
            config_stamp = state.config_stamp
        return situation.replace(now=now, evidence=evidence, state=state, notes=notes, aside=aside,
                                 gap=gap, config_stamp=config_stamp)

    def _read_configuration(self, settle_only: bool) -> Situation:
        """The part of a situation that the files of the configuration make."""
        watched = self.store.watched()
        may_hide_a_change = self.store.may_hide_a_change(watched)
        stamp = self.store.version_of(watched)
        config, problems = self._current_config(watched, "" if settle_only else stamp)
        dates = list(self.store.date_files.items())
        may_hide_a_change = may_hide_a_change or self.store.may_hide_a_change(dates)
        if not may_hide_a_change and not problems and not settle_only:
            self.valid_config = (watched, config)
        if dates:
            watched = watched + dates
            stamp = self.store.version_of(watched)
        if not problems:
            stamp = ""
        return Situation(config=config, problems=problems, watched=watched, config_stamp=stamp,
                         may_hide_a_change=may_hide_a_change)

    def _decision(self, situation: Situation, settle_only: bool,
                  is_thorough: bool) -> "Tuple[Decision, Dict[str, FileLock]]":
        """The decision of a situation, and the locks of the tasks that it starts or adopts."""
        config, state, now = situation.config, situation.state, situation.now
        if config is None:
            looked_at = state.last_now or now  # what comes once this is fixed is new, not unknown
            return Decision(state=state.replace(last_now=looked_at), wake_at=float("inf")), {}
        if state is not self.recorded:
            self.store.record(state.pending, config.task_history_retention_days)
        trouble = None
        if situation.is_news and state.last_now:
            trouble = "\n".join(situation.problems)
        facts = self._facts(state, now, is_thorough)
        facts = facts.replace(gap=situation.gap, trouble=trouble)
        return self._choose(config, state, now, facts, settle_only)

    def _write_files_and_heartbeat(self, situation: Situation, decision: Decision, is_tick: bool,
                                   settle_only: bool) -> None:
        """Write what shows a decision, and until when the ticks after it may be idle."""
        now, is_valid = situation.now, not situation.problems
        last_tick = now if is_tick else self.store.last_tick()
        files_at = self._write_files(situation.config, decision.state, now, last_tick, is_valid,
                                     is_tick)
        # A decision that only settles did not look at what is due. The next tick will: the state,
        # which the heartbeat names, has changed.
        if settle_only:
            return
        wake_at = 0.0
        # Problems may be fixed outside the files, by chmod, say: look again every minute.
        if is_valid and not situation.may_hide_a_change:
            wake_at = min(decision.wake_at, self.store.next_message_at(), files_at)
        self._beat(is_tick, now, situation.evidence, wake_at, situation.watched)

    def _beat(self, is_tick: bool, now: float, evidence: Evidence, wake_at: float,
              watched: "List[Tuple[str, str]]") -> None:
        """Write the heartbeat: the time of the last tick, and until when a tick may be idle."""
        at: "float | None" = now
        if not is_tick:
            # Time and evidence belong together, and to a tick: only a tick changes them.
            at = self.store.last_tick()
            evidence = self.store.last_evidence() or evidence
        if at is not None:
            self.store.write_heartbeat(at, wake_at, evidence, watched)

    def _commit(self, state: State, aside: str = "") -> None:
        """Save a state, unless the lock file was removed, and another tick may decide as well."""
        if not self.store.lock.is_current():
            raise BusyError("%s was removed while it was locked; nothing was decided" % LOCK_NAME,
                            "the next tick will decide")
        self.store.save_state(state, aside)
        self.is_saved = True

    # -- the files of settings

    def _write_files(self, config: "Config | None", state: State, now: float,
                     last_tick: "float | None", is_valid: bool, is_tick: bool = False) -> float:
        """Write the metrics, and note when the report is due: when either has to be looked at next.

        Whatever is in the way of that stops nothing: it is logged once, and `status` shows it.
        """
        self.report_at = float("inf")
        # A run by hand with another configuration is no answer for that of the ticks.
        if config is None or self.store.config_path != self.store.path(CONFIG_NAME):
            return float("inf")
        next_at = float("inf")
        if config.metrics_file:
            next_at = self._metrics_due_at(self.store.path(config.metrics_file), now, is_tick)
            if next_at <= now:
                next_at = self._write_metrics(config, state, now, last_tick, is_valid)
        if config.report_file:
            self.report_file = config.report_file
            self.report_at = self._report_due_at(now)
        return min(next_at, self.report_at)

    def _metrics_due_at(self, path: str, now: float, is_tick: bool) -> float:
        """When the metrics are to be written: at once if they lack a state, or else once old."""
        try:
            info = os.stat(path)
        except OSError:
            return now  # there is no such file, or to write it tells what is wrong
        age_s = now - info.st_mtime
        if age_s < -MINUTE:
            return now  # the clock was set back
        saved_at = modified_at(self.store.state_path) or 0.0
        if not self.is_saved and saved_at < info.st_mtime:
            return info.st_mtime + METRICS_EVERY_S
        pause_s = info.st_size / METRICS_AT_ONCE
        if is_tick or pause_s <= 1 or age_s >= pause_s:
            return now
        return info.st_mtime + pause_s

    def _write_metrics(self, config: Config, state: State, now: float,
                       last_tick: "float | None", is_valid: bool) -> float:
        """Write the metrics: when they will be old."""
        assert config.metrics_file is not None
        trouble = ""
        try:
            metrics = load_beside(self.store, MADE_BESIDE["metrics_file"])
            text = metrics.render(config, state, now, last_tick, is_valid, self.store.root)
            write_public(self.store.path(config.metrics_file), text.encode("utf-8", "replace"))
            self.is_saved = False
        except Exception as error:  # its code may be that of another version, or edited
            trouble = error_text(error)
        self.store.note_written(now, "metrics_file", trouble)
        if trouble:
            return now + METRICS_EVERY_S
        written_at = modified_at(self.store.path(config.metrics_file))
        return max(now, written_at or now) + METRICS_EVERY_S

    def _report_due_at(self, now: float) -> float:
        """When the page of `report_file` is to be made; inf while it shows the newest state."""
        due_at = page_due_at(self.store, self.store.path(self.report_file), now)
        failed_at = modified_at(self.store.path(UNWRITTEN_NAME % "report_file"))
        if failed_at is None or failed_at > now:
            return due_at
        return max(due_at, failed_at + REPORT_RETRY_S)

    def _make_report(self, now: float) -> None:
        """Have the page of `report_file` made, by a process that nobody waits for."""
        self.report_at = float("inf")
        name, lock = MADE_BESIDE["report_file"], FileLock(self.store.path(REPORT_LOCK_NAME))
        try:
            if not is_beside(name):
                raise not_beside(name, [os.path.basename(path_beside(name))])
            if not lock.acquire():
                return  # one is being made, and the next tick looks whether it has everything
            lock.release()
            with doing("start", "the report"):
                start_detached(self.store, [name, "--watch-file=" + self.report_file], "-")
        except (ConductorError, OSError) as error:
            self.store.note_written(now, "report_file", error_text(error))

    def _gap(self, now: float, evidence: Evidence, state: State) -> "Gap | None":
        """The time without a tick that ends now, if it is long and was not reported yet."""
        last, before = self.store.last_tick(), self.store.last_evidence()
        if last is None or before is None or now - last <= TICK_STALE_S:
            return None
        if any(event.get("event") == "gap" and event.get("since") == iso(last)
               for event in state.pending + self.store.events()):
            return None  # reported by a tick that crashed before it wrote its heartbeat
        return Gap(since=last, until=now, cause=gap_cause(before, evidence, now - last))

    def _current_config(self, watched: "List[Tuple[str, str]]",
                        stamp: str) -> "Tuple[Config | None, List[str]]":
        """As `_load_config`, without reading files that have not changed since they were valid."""
        watched_then, config = self.valid_config
        is_same = watched == watched_then and all(
            signature(path) == seen for path, seen in self.store.date_files.items())
        if config is not None and is_same:
            return config, []
        return self._load_config(stamp)

    def _load_config(self, stamp: str) -> "Tuple[Config | None, List[str]]":
        """The configuration in force, and what is wrong with the files as they are.

        With a stamp, a valid one is saved under it as the last good configuration.
        """
        config, whole = self.store.config_in_force()
        problems = [str(problem) for problem in whole]
        if config is None:
            return None, problems + ["nothing will be scheduled until this is fixed"]
        if problems:
            return config, problems + ["the last valid configuration stays in force"]
        if stamp and self.store.last_good_stamp() != stamp:
            self.store.save_last_good(stamp)
        return config, [str(problem) for problem in config.problems]

    def _load_state(self, config: "Config | None", now: float) -> "Tuple[State, List[str], str]":
        """The state, what to say of it, and the name under which a bad file is to be set aside."""
        state, notes, is_partial = self.store.read_state()
        aside = ""
        if notes:
            at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
            aside = "%s.bad-%s" % (self.store.state_path, at)
            notes.append("WARNING the bad file is set aside as %s" % os.path.basename(aside))
        elif is_partial:
            paused = [pause_scope(name) for name, pause in sorted(state.pauses.items())
                      if pause["until"] is None or pause["until"] > now]
            if paused:
                notes.append("WARNING %s is missing; of its content, the pauses are kept (%s)" % (
                    STATE_NAME, ", ".join(paused)))
        if is_partial and config is not None:
            state = self._recover(config, state, now)
        return state, notes, aside

    # -- whose run is it?

    def _recover(self, config: Config, state: State, now: float) -> State:
        """Bring a state that is not the newest up to what the runs on disk and held locks prove."""
        tasks = dict(state.tasks)
        records = dict(self.store.runs_on_disk())
        # A task that is invalid by now, or gone, may still be running.
        configured = {task.name: task for task in config.drafts}
        configured.update(config.tasks)
        names = [name for name, record in records.items()
                 if name not in config.tasks and not record.get("settled")]
        for name in [*config.tasks, *names]:
            task = configured.get(name, Task())
            task_state = tasks.get(name, TaskState())
            record = records.get(name) or {}
            run_id = record.get("run_id")
            if run_id and (task_state.run is None or task_state.run.run_id != run_id):
                if not record.get("settled") and self.store.has_verdict(name, record):
                    # A power cut took what was not flushed: that this run had ended.
                    record = {**record, "settled": True}
                task_state = _caught_up(task, task_state, record)
                if task.schedule is None and state.tasks:
                    # It ran on successes that this state may not know to be used.
                    task_state = task_state.replace(schedule_key="")
            if task_state.run is None and name not in self.own_locks and self._is_locked(name):
                task_state = _held_by_unknown(task, task_state, now)
            if task_state.stored():
                tasks[name] = task_state
        return state.replace(tasks=tasks)

    def _is_locked(self, name: str) -> bool:
        """Whether a supervisor holds the lock of a task. Raises StorageError."""
        lock = self.store.task_lock(name)
        try:
            os.lstat(lock.path)  # to try the lock would make the file
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError.of("look at the lock", lock.path, error)
        is_free = lock.acquire()
        lock.release()
        return not is_free

    def _facts(self, state: State, now: float, is_thorough: bool = True) -> Facts:
        """What a decision has to know of the machine, and of the runs without a recorded end.

        A tick finds out whether each run is still alive (`is_thorough`). The decision at the end of
        a run only looks for results, and takes the other runs as going on.
        """
        runs = {}
        for name, task_state in state.tasks.items():
            if task_state.run is None:
                continue
            if is_thorough or self.store.has_result(name):
                runs[name] = self._fact(name, task_state.run)
            else:
                runs[name] = RunFact(kind="held")
        return Facts(boot_id=current_start_id(), boot_at=boot_time(now),
                     zone_stamp=current_zone_stamp(), runs=runs)

    def _fact(self, name: str, run: Run) -> RunFact:
        """What became of a run; where that cannot be told, the run is left alone."""
        try:
            with doing("inspect", "the processes of " + name):
                fact = self._look_at(name, run)
            if fact.kind in ("ended", "never", "vanished"):
                run_id = (fact.run or run).run_id
                fact = fact.replace(stopped=self.store.stop_reason(name, run_id))
            return fact
        except ConductorError as error:
            self._note_trouble(RUN_UNCLEAR % (name, run.run_id), error)
            return RunFact(kind="unknown")

    def _note_trouble(self, what: str, error: Exception) -> None:
        text = str(error) if isinstance(error, ConductorError) else error_text(error)
        self.troubles.append("%s: %s" % (what, text))

    def _look_at(self, name: str, run: Run) -> RunFact:
        """What the disk and the kernel say of a run. Raises ConductorError and OSError."""
        is_locked = self._is_locked(name)
        # Only now: a result is written before its lock is released.
        newest = self.store.read_run(name)
        record = _record_of(run, newest)
        named = None if run.run_id or not record else _run_of(record)
        result = sound_result(record.get("result"))
        if result is not None:
            return RunFact(kind="ended", result=result, run=named)
        # Somebody may have removed the file of a lock that is held.
        if is_locked or record and is_supervisor(record, process_of(record["supervisor"])):
            return RunFact(kind="held", run=named, unended=str(record.get("unended") or ""))
        if record:
            job = job_of(record, self.store.root, self.store.pipe_path(name, record["run_id"]))
            is_alive = record["boot_id"] == current_boot_id() and may_live(job)
            if record.get("launcher") and record.get("cancel_command"):
                is_alive = True  # elsewhere, until a supervisor has run that
            may_go_on = bool(record.get("launcher"))
            return RunFact(kind="orphan" if is_alive else "vanished", run=named,
                           may_go_on=may_go_on)
        # Without a record it never started, unless somebody removed or damaged status/ meanwhile.
        if run.run_id and self._is_alive_without_record(name, run.run_id):
            return RunFact(kind="held")
        return RunFact(kind="vanished" if newest == {} else "never")

    def _is_alive_without_record(self, name: str, run_id: str) -> bool:
        return (run_in_process_table(self.store.root, run_id, self.store.mark(run_id))
                or pipe_has_reader(self.store.pipe_path(name, run_id)))

    # -- a decision, and how it is carried out

    def _choose(self, config: Config, state: State, now: float, facts: Facts,
                settle_only: bool) -> "Tuple[Decision, Dict[str, FileLock]]":
        """A decision whose starts and adoptions all have their task's lock."""
        while True:
            decision = decide(config, state, now, facts, self.store.last_tick() or 0.0,
                              settle_only, self.agenda)
            starts = [task.name for task, _ in decision.starts]
            locks = {}
            for name in starts + decision.adoptions:
                lock = self.store.task_lock(name)
                fact = facts.runs.get(name)
                # Its supervisor put the result on disk just now, and releases the lock next.
                is_ending = fact is not None and fact.kind == "ended"
                if lock.acquire(RELEASE_WAIT_S if is_ending else 0.0):
                    locks[name] = lock
            busy = set(starts) - set(locks)
            if not busy:  # an adoption may lack it: somebody took it up just now
                self.agenda = decision.agenda
                return decision, locks
            release_all(locks)
            facts = facts.replace(busy=facts.busy | busy)

    def _carry_out(self, config: "Config | None", before: State, decision: Decision,
                   locks: "Dict[str, FileLock]", aside: str) -> None:
        """Commit a decision, start what it starts, write down its lines, and release the locks."""
        try:
            if decision.changed:
                self._commit(decision.state, aside)
            if config is not None:
                self._start(config, before, decision, locks)
        finally:
            release_all(locks)
        if config is not None:
            self.store.record(decision.lines, config.task_history_retention_days)
            self.recorded = decision.state
            for event in decision.events:
                for name, facts in event.get("tasks", {}).items():
                    if event["event"] == "rested" and facts.get("reason") == "removed":
                        self.store.forget_health(name)

    def _start(self, config: Config, before: State, decision: Decision,
               locks: "Dict[str, FileLock]") -> None:
        """Start what was decided. The next tick finds that what fails here never started."""
        self._mark_settled(before, decision.state)  # ahead of the starts, which write records too
        starts: "List[Tuple[str, str, Spec | RunRecord]]" = [
            ("start", task.name, spec_of(config, task, run)) for task, run in decision.starts]
        starts += [("adopt", name, self._record_for_adoption(config, name))
                   for name in decision.adoptions if name in locks]
        tasks = dict(decision.state.tasks)
        for at in range(0, len(starts), FORKS_AT_ONCE):
            prepared = [(name, self._prepare_start(verb, spec, locks[name]))
                        for verb, name, spec in starts[at:at + FORKS_AT_ONCE]]
            for name, start in prepared:
                try:
                    start()
                except (ConductorError, OSError) as error:
                    self._note_trouble(name, error)
                    run = tasks[name].run
                    if run is not None:
                        run = run.replace(trouble=error_text(error))
                        tasks[name] = tasks[name].replace(run=run)
        if tasks != decision.state.tasks:
            # So that the attempt fails for its own reason.
            self._commit(decision.state.replace(tasks=tasks))

    def _record_for_adoption(self, config: Config, name: str) -> "RunRecord":
        """The record of a run, with the variables that its cancel_command needs: it has none."""
        record = self.store.read_run(name) or {}
        if record.get("cancel_command"):
            env = dict(config.env)  # also of a task that was removed
            for task in [*config.drafts, *config.tasks.values()]:
                if task.name == name:
                    env.update(task.env)
            record = {**record, "env": env}
        return record

    def _mark_settled(self, before: State, after: State) -> None:
        """Note in their records which runs the state is done with, and remove their pipes."""
        for name, task_state in before.tasks.items():
            run = task_state.run
            if run is None:
                continue
            run_after = after.tasks.get(name, TaskState()).run
            if run_after is not None and run_after.run_id == run.run_id:
                continue
            try:
                record = self.store.run_with_id(name, run.run_id)
                if record:
                    self.store.write_run(name, {**record, "settled": True}, durable=False)
            except ConductorError as error:
                self._note_trouble(name, error)
            for path in (self.store.pipe_path(name, run.run_id), self.store.stop_path(name)):
                try:
                    os.unlink(path)
                except OSError:
                    pass  # nobody asked for a stop, and its supervisor removed the pipe

    # -- pauses

    def pause(self, name: str, until: "float | None", reason: str, by: str = "") -> Outcome:
        """Suspend the schedule of a task, or of all, until then or `resume`; what runs goes on."""
        def change(pauses: "Dict[str, Pause]", now: float) -> str:
            pauses[name] = {"since": now, "until": until, "reason": reason, "by": by}
            note = "%s: paused until %s" % (pause_scope(name), iso(until) or "resumed")
            if reason:
                note += " (%s)" % reason
            return note

        return self._change_pauses(name, change)

    def resume(self, name: str) -> Outcome:
        """Let the slots of a task, or of all, count from now on."""
        def change(pauses: "Dict[str, Pause]", now: float) -> str:
            if name not in pauses:
                raise _not_paused(name, pauses)
            pauses[name] = {**pauses[name], "until": now}  # over, as one that had an end
            return "%s: resumed" % pause_scope(name)

        return self._change_pauses(name, change)

    def _change_pauses(self, name: str,
                       change: "Callable[[Dict[str, Pause], float], str]") -> Outcome:
        self.store.check_root()
        self._acquire()
        try:
            config, _ = self._load_config("")
            state, notes, aside = self._load_state(config, self.clock.now())
            if aside:
                raise StorageError("%s; the next tick will repair it" % notes[0])
            # A task that is gone from the configuration may still be paused.
            if name != ALL_TASKS and name not in state.pauses:
                task_named(config or self.store.read_config(), name)
            pauses = dict(state.pauses)
            note = change(pauses, self.clock.now())
            event: "Event" = {"event": "paused", "at": iso(self.clock.now()), "pauses": pauses}
            self._commit(state.replace(pauses=pauses, pending=state.pending + [event]))
            self.store.log(self.clock.now(), notes + [note])
            # Here and now: a slot ahead of the next tick counts already.
            outcome = self._decide(is_tick=False)
        finally:
            self.store.lock.unlock()
        self._send_due_messages()
        return outcome

    # -- stop and skip

    def stop(self, name: str, by: str) -> Outcome:
        """End the run of a task, its whole tree, and what waits of it. Waits for the end."""
        self.store.check_root()
        self._acquire()
        try:
            # What has ended has its own verdict, and what lost its supervisor gets a new one.
            self._decide(is_tick=False, settle_only=True, is_thorough=True)
            troubles, state = self.troubles, self._state_of(name)
            run = state.tasks.get(name, TaskState()).run
            reason = "stopped by %s" % by
            before = self._ask_for_end(name, run, reason) if run is not None else {}
            lines = self._stop_waiting(name, reason)
        finally:
            self.store.lock.unlock()
        self._send_due_messages()
        if run is not None:
            outcome = self._await_end(name, run.run_id, before)
            return outcome.replace(lines=lines + troubles + outcome.lines)
        if not lines:
            lines = ["%s is not running" % name]
        return Outcome(lines=lines + troubles, exit_code=EXIT_IOERR if troubles else EXIT_OK)

    def _state_of(self, name: str) -> State:
        """The state, for a change to a task by hand. Raises UsageError for a name no task has."""
        config, _ = self._load_config("")
        state, notes, aside = self._load_state(config, self.clock.now())
        if aside:
            raise StorageError("%s; the next tick will repair it" % notes[0])
        if name not in state.tasks:  # a task that was removed may still be running
            config = config or self.store.read_config()
            if name not in config.invalid:
                task_named(config, name)
        return state

    def _ask_for_end(self, name: str, run: Run, reason: str) -> "RunRecord":
        """Leave the request to stop a run, and have its supervisor look at it.

        Returns the newest record of the task: it is that of an earlier run, or {}, while the
        supervisor of this one has not written its own.
        """
        if not run.run_id:
            path = os.path.abspath(self.store.task_lock(name).path)
            raise BusyError("%s: a process holds its lock, and no record says which" % name,
                            "to find it: fuser %s" % shlex.quote(path))
        self.store.request_stop(name, run.run_id, reason)
        self.store.log(self.clock.now(), ["%s: run %s is to be %s" % (name, run.run_id, reason)])
        # Read only now: a supervisor that has no record yet will find the request.
        record = self.store.read_run(name) or {}
        if record.get("run_id") == run.run_id and "result" not in record:
            end_run(record)
        return record

    def _stop_waiting(self, name: str, reason: str) -> "List[str]":
        """End what waits of a task: a line for each slot."""
        now = self.clock.now()
        config = self._load_config("")[0]
        if config is None:  # how long its history is to be kept cannot be told either
            config = Config(task_history_retention_days=LONGEST_RETENTION_DAYS)
        state = self._load_state(config, now)[0]
        if name not in state.tasks:
            return []
        decision = stop_waiting(config, state, name, now, reason)
        if decision.changed:
            self.store.record(state.pending, config.task_history_retention_days)
            self._commit(decision.state)
            self.store.record(decision.lines, config.task_history_retention_days)
            self.store.log(now, decision.notes)
        return ["%s: its slot %s was waiting and will not run" % (name, record["scheduled_for"])
                for record in decision.records]

    def _await_end(self, name: str, run_id: str, before: "RunRecord") -> Outcome:
        """Wait until a run that was asked to end has done so, and say how that went.

        `before` is the newest record of the task when the run was asked.
        """
        started_mono, waited_s = self.clock.monotonic(), 0.0
        while self._is_ending(name, run_id, before) and waited_s < self._stop_limit_s(name):
            sleep(GROUP_POLL_S)
            waited_s = self.clock.monotonic() - started_mono
        self._acquire()
        try:
            self._decide(is_tick=False, settle_only=True, is_thorough=True)
            state = self._load_state(self._load_config("")[0], self.clock.now())[0]
            run = state.tasks.get(name, TaskState()).run
        finally:
            self.store.lock.unlock()
        self._send_due_messages()
        record = self.store.run_with_id(name, run_id)
        result = sound_result(record.get("result"))
        if result is None and run is not None and run.run_id == run_id:
            if record.get("unended"):
                return Outcome(exit_code=EXIT_FAILED, lines=[
                    "%s: run %s %s" % (name, run_id, record["unended"])])
            return Outcome(exit_code=EXIT_TEMPFAIL, lines=[
                "%s: run %s has not ended within %d s; status shows when it has" % (
                    name, run_id, waited_s)])
        if result is None or result["status"] in ("stopped", "interrupted"):
            text = "%s: stopped run %s" % (name, run_id)
        else:
            verdict: "Verdict" = {"status": result["status"], "exit_code": result.get("exit_code")}
            text = "%s: run %s %s before it could be stopped" % (
                name, run_id, outcome_text(verdict))
        if result is not None and MAY_GO_ON in str(result.get("reason")):
            text += ", but " + MAY_GO_ON
        return Outcome(lines=[text])

    def _stop_limit_s(self, name: str) -> float:
        """How long to wait for the end of a task's newest run, which may have no record yet."""
        record = self.store.read_run(name) or {}
        limit = record.get("kill_grace", Task.kill_grace) + UNENDED_AFTER_S + STOP_MARGIN_S
        if record.get("cancel_command"):
            limit += 2 * (CANCEL_TIMEOUT_S + CANCEL_GRACE_S)  # ahead of the SIGKILL, and after it
        return limit

    def _is_ending(self, name: str, run_id: str, before: "RunRecord") -> bool:
        """Whether a run that was asked to end may still do so; `before` is as in `_await_end`."""
        record = self.store.read_run(name) or {}
        if record.get("run_id") == run_id:
            unended_before = before.get("unended") if before.get("run_id") == run_id else None
            if "result" in record or record.get("unended") != unended_before:
                return False
        elif record.get("run_id") != before.get("run_id"):
            return False  # a later run: this one has ended
        return self._is_locked(name)

    def skip(self, name: str, by: str) -> "Tuple[Task, int, str]":
        """Have the next slot of a task skipped: the task, that slot, and what waits meanwhile."""
        self.store.check_root()
        self._acquire()
        try:
            now = self.clock.now()
            state = self._state_of(name)
            task = task_named(self._load_config("")[0] or self.store.read_config(), name)
            state, slot = skip_slot(state, task, self.store.last_tick(), now, "skipped by %s" % by)
            if slot is None:
                raise UsageError("%s has no slot to skip" % name, "see: why %s" % name)
            self._commit(state)
            self.store.log(now, ["%s: slot %s is to be skipped by %s" % (name, iso(slot), by)])
            return task, slot, task_standing(state.tasks[name])
        finally:
            self.store.lock.unlock()

    def undo_skip(self, name: str, by: str) -> "Tuple[Task, int]":
        """Give back the last of the slots of a task that are to be skipped: the task, that slot."""
        self.store.check_root()
        self._acquire()
        try:
            state = self._state_of(name)
            task = task_named(self._load_config("")[0] or self.store.read_config(), name)
            state, slot = undo_skip(state, task)
            if slot is None:
                raise UsageError("%s has no skip to undo" % name, "see: next %s" % name)
            self._commit(state)
            self.store.log(self.clock.now(), [
                "%s: the skip of slot %s is undone by %s" % (name, iso(slot), by)])
            return task, slot
        finally:
            self.store.lock.unlock()

    # -- the start of a run

    def _prepare_start(self, verb: str, spec: "Spec | RunRecord",
                       lock: FileLock) -> "Callable[[], None]":
        """What starts a process that supervises one run, and hands it the task's lock."""
        fork = None
        if self.launch is None:
            fork = self._prepare_fork(verb, spec, lock)
        if fork is not None:
            return fork
        launch = self.launch or launch_supervisor
        return lambda: launch(self.store, verb, spec, lock)

    def _prepare_fork(self, verb: str, spec: "Spec | RunRecord",
                      lock: FileLock) -> "Callable[[], None] | None":
        """What forks a supervisor; None where ps(1) could not tell it from this process."""
        title = self._title_of_forks()
        if title is None:
            return None
        supervisor = Supervisor(self.store, self.clock, spec)
        supervisor.is_forked = True
        arguments = [os.path.basename(self.store.script), "supervise", verb, spec["task"],
                     spec["run_id"]]
        if not supervisor.mark or not title.has_room(arguments, supervisor.mark):
            return None
        root_option = "--root=" + self.store.root
        if title.has_room(arguments + [root_option], supervisor.mark):
            arguments.append(root_option)
        load_for_supervisors()
        if verb == "start":
            supervisor.prepare()

        def work(detach_process: "Callable[[], None]") -> int:
            return self._be_supervisor(verb, supervisor, lock, detach_process)

        def fork() -> None:
            keep = lock.fds + supervisor.descriptors()
            fork_detached(self.store, title, arguments, supervisor.mark, keep, work)

        def start() -> None:
            try:
                with doing("start", "the supervisor of " + supervisor.name):
                    try:
                        fork()
                    except OSError as error:
                        if error.errno != errno.EMFILE or not supervisor.descriptors():
                            raise
                        supervisor.let_go()  # that makes room, and the fork prepares anew
                        fork()
            finally:
                supervisor.let_go()
                lock.release()

        return start

    def _title_of_forks(self) -> "ProcessTitle | None":
        """The title that forks of this process change; None where it must not be forked."""
        # A process that has not called `Store.hold` may be a program that imports this file.
        if self.store.base != "." or self.clock.monotonic() > self.forks_until:
            return None
        if self.title is None:
            self.title = ProcessTitle.of_this()
        return self.title

    def _be_supervisor(self, verb: str, supervisor: Supervisor, lock: FileLock,
                       detach_process: "Callable[[], None]") -> int:
        """The work of a forked supervisor: its exit code, for strace(1); nobody waits for it."""
        self.troubles, self.own_locks = [], set()
        try:
            with doing("detach", "the supervisor of " + supervisor.name):
                detach_process()
            self.supervise(verb, supervisor, lock)
            return EXIT_OK
        except Exception as error:  # no caller is left to report it
            self.give_up(supervisor.name, supervisor.spec["run_id"], error)
            if isinstance(error, ConductorError):
                return error.exit_code
            return EXIT_IOERR if isinstance(error, OSError) else EXIT_SOFTWARE

    def give_up(self, task: str, run_id: str, error: Exception) -> None:
        """Log that a supervisor cannot go on, with the traceback of an internal error."""
        self.log_trouble("%s: the supervisor of run %s gave up; the next tick takes over" % (
            task, run_id), error)
        if not isinstance(error, (ConductorError, OSError)):
            import traceback
            lines = traceback.format_exc().splitlines()
            try:
                self.store.log(self.clock.now(), ["ERROR " + line for line in lines])
            except StorageError:
                pass  # as in `log_trouble`

    # -- the end of a run

    def supervise(self, verb: str, supervisor: Supervisor, lock: FileLock) -> None:
        """The life of a supervisor process: it holds `lock` until the result is on disk."""
        supervisor.enter_scope()
        try:
            if verb == "adopt":
                result = supervisor.adopt()
                if supervisor.trouble:
                    self.log_trouble("%s: run %s" % (
                        supervisor.name, supervisor.spec["run_id"]),
                        StorageError(supervisor.trouble))
            else:
                result = supervisor.run()
        except (ConductorError, OSError):
            supervisor.close()
            raise
        self._report(supervisor, result, lock)

    def log_trouble(self, what: str, error: Exception) -> None:
        """Log what stopped a supervisor: nobody reads what it prints."""
        self._note_trouble(what, error)
        try:
            self.store.log(self.clock.now(), ["ERROR " + self.troubles[-1]])
        except StorageError:
            pass  # there is no other place to report it

    def _report(self, supervisor: Supervisor, result: "Result", lock: FileLock,
                tell: "Callable[[str], Any]" = str) -> None:
        """Put a result on disk, then decide again: what waited for it starts at once.

        `tell` hears what keeps it from being written. Raises StorageError when a signal ends the
        wait for that.
        """
        if not self._write_result(supervisor, result, tell):
            return
        supervisor.close()
        lock.release()
        is_settled = False
        try:
            is_settled = self._settle(supervisor)
        finally:
            if not is_settled:
                # A power failure may come before the tick that settles it.
                self.store.sync_run(supervisor.name)
        self._send_due_messages()

    def _settle(self, supervisor: Supervisor) -> bool:
        """Decide what follows from a result that is on disk: whether it is settled by now.

        Ends that come together are settled together, by the first supervisor to get the lock.
        """
        by_hand = supervisor.spec["trigger"] == "manual"
        are_ticks_coming = self._are_ticks_coming(by_hand)
        if signature(self.store.script) != self.store.script_signature:
            # Another version took this file's place: what is decided by it is for it to decide.
            if by_hand:  # a tick would get a person's environment
                self.troubles.append("%s: %s was replaced; the next tick will record the end" % (
                    supervisor.name, self.store.shown(self.store.script)))
            elif are_ticks_coming and os.path.exists(self.store.script):
                start_detached(self.store, ["tick"], "-")
            return False
        if not self.store.lock.acquire(SETTLE_LOCK_WAIT_S):
            return False  # the next tick will find the result
        try:
            if self.store.is_settled(supervisor.name, supervisor.spec["run_id"]):
                return True
            self.store.lock.note("%d\n" % os.getpid())
            self._decide(is_tick=False, settle_only=not are_ticks_coming)
            # Not without a configuration, say, or where the record cannot be read just now.
            return self.store.is_settled(supervisor.name, supervisor.spec["run_id"])
        finally:
            self.store.lock.unlock()

    def _write_result(self, supervisor: Supervisor, result: "Result",
                      tell: "Callable[[str], Any]") -> bool:
        """Put a result on disk, however long that takes; False when the root folder is gone."""
        is_first = True
        while not self.store.is_removed():  # else it must not come back
            try:
                # Not flushed: next comes the state with the verdict, which is.
                self.store.write_run(supervisor.name, {**supervisor.record, "result": result},
                                     durable=False)
                return True
            except StorageError as error:
                if is_first:
                    self.log_trouble("%s: cannot record the end of run %s yet" % (
                        supervisor.name, supervisor.spec["run_id"]), error)
                    tell(self.troubles[-1])
                is_first = False
                supervisor.wait_for_room()  # a full disk: the end of a run must not be lost with it
        return False

    def _are_ticks_coming(self, by_hand: bool) -> bool:
        """Whether somebody drives this root: without ticks nothing but the one run was asked for.

        A run by hand with another configuration must not decide about cron's tasks either.
        """
        if by_hand and self.store.config_path != self.store.path(CONFIG_NAME):
            return False
        last_tick = self.store.last_tick()
        return last_tick is not None and -MINUTE < self.clock.now() - last_tick < TICK_STALE_S

    # -- run

    def run(self, name: str, dependencies: str = "check", echo_fd: int = -1,
            tell: "Callable[[str], Any]" = str, slots: "Sequence[int | None]" = (None,),
            env: "Dict[str, str] | None" = None) -> Outcome:
        """Run a task now, in the foreground: the exit status of its command.

        `dependencies` is check (refuse when one is not met), first (run what is missing before it,
        until something fails) or ignore. `tell` hears at once why an end cannot be recorded. With
        `slots` of the past, the task runs for each of them in turn, until one does not succeed.
        `env` goes to the commands of this task, ahead of its own.
        """
        self.store.check_root()
        config = self.store.read_config()
        tasks = [task_named(config, name)]
        if dependencies == "first":
            now = self.clock.now()
            state = self._load_state(config, now)[0]
            missing = missing_dependencies(config, state.tasks, tasks[0], slots[0] or int(now))
            tasks = [task_named(config, dependency) for dependency in missing] + tasks
        left: "List[int | None]" = []
        # All locks at once: the end of the first run must not start the second one somewhere else.
        locks = self._locks_for_run(tasks)
        try:
            for task in tasks[:-1]:
                outcome = self._run_one(config, task, dependencies == "ignore", echo_fd,
                                        locks[task.name], tell, None, {})
                if outcome.status != "success":
                    return outcome
            left = list(slots)
            while left:
                if len(slots) > 1 and left[0] is not None:
                    number = len(slots) - len(left) + 1
                    tell("slot %s, %d of %d" % (iso(left[0]), number, len(slots)))
                    self._wait_for(locks[name], tell)
                outcome = self._run_one(config, tasks[-1], dependencies == "ignore", echo_fd,
                                        locks[name], tell, left[0], env or {})
                if outcome.status != "success":
                    break
                del left[0]
            return outcome
        finally:
            release_all(locks)
            if len(slots) > 1 and left:
                command = backfill_command(name, left) + WAYS_TO_DEPENDENCIES[dependencies]
                if env:  # whose values may be secret
                    command += ", with the same --env %s" % join_words(sorted(env))
                tell("%s left; to go on: %s" % (plural(len(left), "slot"), command))

    def _wait_for(self, lock: FileLock, tell: "Callable[[str], Any]") -> None:
        """Take the lock of a task, which a scheduled run may have by now."""
        if lock.fds or lock.acquire(RELEASE_WAIT_S):
            return
        tell("waiting for a run of the schedule to end")
        while not lock.acquire(MINUTE):
            pass

    def _locks_for_run(self, tasks: "List[Task]") -> "Dict[str, FileLock]":
        self._acquire()
        self.own_locks = {task.name for task in tasks}
        locks = {task.name: self.store.task_lock(task.name) for task in tasks}
        try:
            for task in tasks:
                if not locks[task.name].acquire():
                    raise _already_running(task, self.store.read_state()[0])
            return locks
        except ConductorError:
            release_all(locks)
            raise
        finally:
            self.store.lock.unlock()

    def _acquire(self) -> None:
        if not self.store.lock.acquire(SETTLE_LOCK_WAIT_S):
            raise BusyError(*self._locked_text())

    def _run_one(self, config: Config, task: Task, ignore_dependencies: bool, echo_fd: int,
                 lock: FileLock, tell: "Callable[[str], Any]", slot: "int | None",
                 env: "Dict[str, str]") -> Outcome:
        self._acquire()
        try:
            run = self._begin(config, task, ignore_dependencies, lock, slot)
        finally:
            self.store.lock.unlock()
        self._send_due_messages()
        spec = spec_of(config, task.replace(env=dict(task.env, **env)), run)
        supervisor = Supervisor(self.store, self.clock, spec, echo_fd)
        supervisor.env_of_run = env
        supervisor.tell = tell
        result = supervisor.run()
        lines = ["%s: %s" % (task.name, supervisor.trouble)] if supervisor.trouble else []
        try:
            self._report(supervisor, result, lock, tell)
            lines += self.troubles
        except ConductorError as error:
            lines.append("%s; the next tick will record the end of %s" % (error, task.name))
        if supervisor.echo is not None:
            supervisor.echo.finish()
            if supervisor.echo.trouble:
                lines.append("not all of the output could be shown: %s (see logs %s)" % (
                    supervisor.echo.trouble, task.name))
        return Outcome(exit_code=code_of_run(result), lines=lines, task=task.name,
                       status=result["status"])

    def _begin(self, config: Config, task: Task, ignore_dependencies: bool, lock: FileLock,
               slot: "int | None") -> Run:
        """Record the start of a run by hand, whose lock is held already."""
        now = self.clock.now()
        at = int(now) if slot is None else slot
        state, notes, aside = self._load_state(config, now)
        self.store.record(state.pending, config.task_history_retention_days)
        # Released to see what became of an earlier run; nobody can start one meanwhile.
        lock.release()
        facts = self._facts(state, now)
        decision, locks = self._choose(config, state, now, facts, settle_only=True)
        release_all(locks)
        tasks = decision.state.tasks
        if task.name in decision.adoptions:
            raise BusyError("%s: its last run lost its supervisor and may still go on" % task.name,
                            "the next tick takes it over; to end it: stop %s" % task.name)
        if tasks.get(task.name, TaskState()).run is not None or not lock.acquire():
            raise _already_running(task, decision.state)
        holders = locks_held(config, tasks, tasks)
        lock_name = lock_in_the_way(task, holders)
        if lock_name:
            raise BusyError("%s: lock '%s' is held by '%s', which is running" % (
                task.name, lock_name, holders[lock_name]), "try again when it has ended")
        unmet = first_unmet(config, tasks, task, at)
        if unmet and not ignore_dependencies:
            raise BusyError("%s: dependency %s" % (
                task.name, explain_unmet(config, tasks, unmet, at)),
                "use --with-dependencies to run what is missing first, or --ignore-dependencies")
        state_after, run = begin_manual(decision.state, task, now, slot)
        is_pinged = pings_start(task) and not is_backfill(state_after.tasks[task.name], run)
        if is_pinged:
            state_after = state_after.replace(messages_made=state_after.messages_made + 1)
        self._commit(state_after, aside)
        self._mark_settled(state, decision.state)
        self.store.record(decision.lines, config.task_history_retention_days)
        if is_pinged:
            self.store.enqueue({"event": "ping", "channel": "ping", "kind": "start", "at": iso(now),
                                "task": task.name, "id": run_id_of(now, state_after.messages_made)})
        note = "%s: starting run %s by hand" % (task.name, run.run_id)
        if slot is not None:
            note += " for slot %s" % iso(slot)
        self.store.log(now, notes + decision.notes + [note])
        is_valid = not any(not problem.warning for problem in config.problems)
        self._write_files(config, state_after, now, self.store.last_tick(), is_valid)
        return run


def release_all(locks: "Dict[str, FileLock]") -> None:
    """Release the locks; those that are not held stay so."""
    for lock in locks.values():
        lock.release()


def _record_of(run: Run, record: "RunRecord | None") -> "RunRecord":
    """The newest record of a task if it is that of this run, else {}.

    Of a run without a name only the lock was seen: its record is one that is not settled.
    """
    if not record:
        return {}
    if run.run_id:
        is_its = record["run_id"] == run.run_id
    else:
        is_its = not record.get("settled")
    return record if is_its else {}


def _run_of(record: "RunRecord") -> Run:
    """The run that a record on disk is of."""
    locks = []
    if isinstance(record.get("locks"), list):  # an older version wrote none
        locks = [lock for lock in record["locks"] if is_name(lock)]
    return Run(run_id=record["run_id"], trigger=record["trigger"], slot=record["slot"],
               attempt=record["attempt"], started_at=record["started_at"],
               locks=locks)


def _caught_up(task: Task, state: TaskState, record: "RunRecord") -> TaskState:
    """The state of a task after the run of this record, which it does not know."""
    slot, attempt, cycle = record.get("slot"), record.get("attempt", 1), state.cycle
    if record.get("trigger") == "manual":
        slot = None  # a run by hand for a past slot opens and closes no cycle
    if slot is not None and cycle is not None:
        if (cycle.slot, cycle.attempt) <= (slot, attempt):
            cycle = None
    if slot is not None and state.schedule_key and state.cursor < slot:
        next_slot = task.schedule and task.schedule.next(slot, task.timezone)
        state = state.replace(cursor=slot, next_slot=next_slot)
    if not record.get("settled"):
        state = state.replace(run=_run_of(record))
        if slot is not None:
            cycle = Cycle(slot=slot, phase="running", attempt=attempt)
    return state.replace(cycle=cycle)


def _held_by_unknown(task: Task, state: TaskState, now: float) -> TaskState:
    """The state of a task whose lock is held by a run that no record names: its slot is taken."""
    cycle, schedule, due = state.cycle, task.schedule, state.next_slot
    if cycle is None and schedule is not None and due is not None and due <= now:
        slot = max(schedule.previous(now, task.timezone) or 0, due)
        cycle = Cycle(slot=slot, since=now)
        if due < slot:
            cycle = cycle.replace(merged_since=due)
        state = state.replace(cursor=slot, next_slot=schedule.next(max(slot, now), task.timezone))
    if cycle is None:
        return state.replace(run=Run(trigger="manual", started_at=now))
    run = Run(slot=cycle.slot, attempt=cycle.attempt, started_at=now)
    return state.replace(run=run, cycle=cycle.replace(phase="running"))


def _not_paused(name: str, pauses: "Dict[str, Pause]") -> UsageError:
    names = ["all tasks, by --all" if paused == ALL_TASKS else paused for paused in sorted(pauses)]
    hint = "paused: %s" % (", ".join(names) or "none")
    if name == ALL_TASKS:
        return UsageError("there is no pause of all tasks", hint)
    return UsageError("'%s' is not paused" % name, hint)


def _already_running(task: Task, state: State) -> BusyError:
    text = "%s is already running" % task.name
    run = state.tasks.get(task.name, TaskState()).run
    if run is not None:
        text += " since %s" % iso(run.started_at)
        if run.run_id:  # a run that only its lock shows has none
            text += " (run %s)" % run.run_id
    return BusyError(text)


# What `run` does about dependencies that are not met -> the option that asks for it.
WAYS_TO_DEPENDENCIES = {
    "check": "", "first": " --with-dependencies", "ignore": " --ignore-dependencies"}


def backfill_command(name: str, slots: "Sequence[int | None]") -> str:
    """What to type to run a task for these past slots."""
    command = "run %s --from %s --to %s" % (name, iso(slots[0]), iso(slots[-1]))
    if len(slots) > SLOTS_UNASKED:
        command += " --yes"
    return command


def task_named(config: Config, name: str) -> Task:
    """The task with this name. Raises UsageError, or ConfigError if it is invalid."""
    task = config.tasks.get(name)
    if task is not None:
        return task
    if name in config.invalid:
        raise ConfigError([problem for problem in config.problems if problem.task == name])
    raise unknown_task(name, list(config.tasks))


def tasks_tagged(config: Config, tags: "Collection[str]") -> "List[str]":
    """The names of the tasks with one of these tags, invalid ones too. Raises UsageError."""
    tasks = list(config.tasks.values()) + [task for task in config.drafts if task.name]
    names = {tag: tag for task in tasks for tag in task.tags}
    for tag in tags:
        if tag not in names:
            hint = did_you_mean(tag, names) or "tags: %s" % (", ".join(sorted(names)) or "none")
            raise UsageError("unknown tag '%s'" % tag, hint)
    return [task.name for task in tasks if set(tags) & set(task.tags)]


def unknown_task(name: str, names: "Sequence[str]") -> UsageError:
    """The refusal of a name that no task has: the closest of `names`, or the first ten."""
    hint = did_you_mean(name, names)
    if not hint:
        hint = tasks_hint(names)
    return UsageError("unknown task '%s'" % name, hint)


def tasks_hint(names: "Sequence[str]") -> str:
    """The names that may be meant, ten at most."""
    if not names:
        return "there are no tasks; check says why"
    more = ", ..." if len(names) > 10 else ""
    return "tasks: %s%s" % (", ".join(names[:10]), more)


# == Crontab ==

# Of Vixie cron and its descendants, and of busybox.
NO_CRONTAB = r"no crontab for|can't open .*: No such file"
UNIT = "symphony-conductor"  # the systemd service and its timer
UNIT_OWNER = "# symphony-conductor: "  # and the root: the first line of both unit files
SYSTEM_UNITS = "/etc/systemd/system"
SYSTEMD_RUNS = "/run/systemd/system"  # as sd_booted(3) has it
DAEMON_HINT = ("if it is the old daemon's: sudo systemctl disable --now %s, "
               "then remove the file" % UNIT)


SYSTEM_PROGRAM_S = 20


def output_of(argv: "Sequence[str]", hint: str, feed: bytes = b"") -> "Tuple[int, bytes, str]":
    """Exit status, output and complaint of a system program. Raises UnavailableError without it."""
    try:
        done = subprocess.run(argv, input=feed, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(os.environ, LC_ALL="C"), timeout=SYSTEM_PROGRAM_S)
    except subprocess.TimeoutExpired:
        raise ConductorError("%s did not answer for %d s" % (argv[0], SYSTEM_PROGRAM_S))
    except OSError as error:
        raise UnavailableError("cannot run %s: %s; %s" % (
            argv[0], os.strerror(error.errno or 0), hint))
    complaint = done.stderr.decode("utf-8", "replace").strip()
    return done.returncode, done.stdout, " / ".join(complaint.splitlines()) or "no message"


# Package manager, and what installs cron by it; setup.sh has the same.
CRON_PACKAGES = (
    ("apt-get", "apt-get update && apt-get install -y --no-install-recommends cron"),
    ("dnf", "dnf install -y cronie"),
    ("yum", "yum install -y cronie"),
    ("zypper", "zypper --non-interactive install cronie"),
    ("apk", "apk add cronie"),
    ("pacman", "pacman -S --noconfirm cronie"),
)


def as_root(command: str) -> str:
    """A command that takes root, as this user types it."""
    if os.geteuid() == 0:
        return command  # a container may have no sudo
    return "sudo " + command.replace(" && ", " && sudo ")


def cron_package_command() -> str:
    """What installs cron here, for a person to type; '' where nobody can say."""
    for manager, command in CRON_PACKAGES:
        if shutil.which(manager):
            return as_root(command)
    return ""


def _crontab(*arguments: str, feed: bytes = b"") -> "Tuple[int, bytes, str]":
    command = cron_package_command()
    hint = "install cron (Debian: cron, Red Hat: cronie)"
    if command:
        hint = "to install it: " + command
    if os.path.isdir(SYSTEMD_RUNS):
        hint = "use install --timer, or " + hint
    return output_of(("crontab",) + arguments, hint, feed)


NOTHING_CHANGED = "; nothing was changed"


def read_crontab() -> str:
    """The user's crontab without crontab(1)'s own header, '' when there is none.

    Raises ConductorError when listing fails for any other reason: what cannot be read must not be
    replaced.
    """
    code, listed, complaint = _crontab("-l")
    if code == 0:
        # Decoded as names of folders are, so that they compare in any locale.
        return without_header(os.fsdecode(listed))
    if re.search(NO_CRONTAB, complaint):
        return ""
    raise ConductorError("crontab -l failed (exit %d): %s%s" % (code, complaint, NOTHING_CHANGED))


def write_crontab(text: str, before: str, store: Store) -> None:
    """Replace the user's crontab; the old one is kept if it lists something else then.

    The listing decides: crontab(1) may fail or hang although it has written the table.
    """
    refusal = _refusal_of(text)
    try:
        listed = read_crontab()
    except ConductorError as error:
        outcome = "the table cannot be listed now: " + error.message.replace(NOTHING_CHANGED, "")
    else:
        if listed == without_header(text):
            return
        if refusal and listed == without_header(before):
            raise ConductorError(refusal)
        outcome = "lists a different one"
    path = store.path("status/crontab.before")
    write_atomic(path, os.fsencode(before))
    raise ConductorError("%s but %s; compare crontab -l with the previous one, saved as %s" % (
        refusal or "crontab accepted the new table", outcome, path))


def _refusal_of(table: str) -> str:
    """What crontab(1) has against a new table; '' when it takes it."""
    try:
        code, _, complaint = _crontab("-", feed=os.fsencode(table))
    except UnavailableError:
        raise
    except ConductorError as error:
        return error.message
    return "crontab refused the new table (exit %d): %s" % (code, complaint) if code else ""


def interpreter() -> str:
    """The Python that the crontab line names: the real one, which outlives a virtual environment.

    A version manager's shim has made way for the real one before this file is read.
    """
    home = getattr(sys, "real_prefix", sys.base_prefix)  # real_prefix: virtualenv before version 20
    path = sys.executable
    if sys.prefix != home:
        names = ("python%d.%d" % sys.version_info[:2], "python3")
        candidates = [os.path.join(home, "bin", name) for name in names]
        base = getattr(sys, "_base_executable", path)
        if base != path:
            candidates.insert(0, base)
        path = next((candidate for candidate in candidates if os.access(candidate, os.X_OK)),
                    os.path.realpath(path))
    # As it was called: what a link points to goes away with the next upgrade. And decoded anew: in
    # the C locale, Python 3.7 reads its own path as ASCII before it turns to UTF-8.
    return os.fsdecode(os.fsencode(path))


OF_ONE_USER = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS",
               "MAIL")


def switch_user(name: str) -> None:
    """Go on with the rights, the home and the crontab of this user. Raises UsageError."""
    import pwd
    try:
        user = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise UsageError("--user: there is no user '%s' here" % name)
    if user.pw_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise UsageError("--user: only root can do this for '%s'" % name, "use sudo")
    os.initgroups(name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ.update(HOME=user.pw_dir, LOGNAME=name, USER=name)
    for variable in OF_ONE_USER:
        os.environ.pop(variable, None)


def current_user() -> "Tuple[str, str]":
    """The name of the user whom this runs as, and the home that cron would use."""
    import pwd
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return str(os.geteuid()), os.path.expanduser("~")
    return user.pw_name, user.pw_dir


def write_errno(path: str, is_folder: bool) -> int:
    """Why this user cannot write a file, or into a folder: an errno; 0 if nothing is in the way.

    Root may write anywhere, and a file system that is read-only lets nobody: access(2) knows both.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return 0
    except OSError as error:
        return error.errno or errno.EIO
    if os.path.isdir(path) != is_folder:
        return errno.ENOTDIR if is_folder else errno.EISDIR
    if os.access(path, os.W_OK | os.X_OK if is_folder else os.W_OK):
        return 0
    is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    return errno.EROFS if is_read_only else errno.EACCES


def check_installable(store: Store, is_for_another: bool = False) -> None:
    """Raises where no tick could do its work for this root, file and Python, whoever calls it.

    `is_for_another`: root became the user whom it installs for.
    """
    if re.search(r"[\n\r]", store.root):
        raise UsageError("the folder's name has a line break; no crontab or unit can hold it",
                         "rename the folder")
    if store.config_path != store.path(CONFIG_NAME):
        raise UsageError("a tick reads %s" % CONFIG_NAME,
                         "move the file there, or use another --root")
    user, python = current_user()[0], interpreter()
    if not os.access(python, os.X_OK):
        raise UnavailableError("%s cannot execute %s" % (user, python),
                               "use a Python that it can execute")
    blocked_by = write_errno(store.root, is_folder=True)
    if blocked_by == errno.EROFS:
        raise StorageError("cannot write to %s: %s" % (store.root, os.strerror(blocked_by)),
                           "move the project to a file system that can be written to")
    if blocked_by:
        raise UsageError("%s cannot write to %s" % (user, store.root),
                         _way_to_write(store.root, is_for_another))
    if not os.access(store.script, os.R_OK):
        raise UsageError("%s cannot read %s" % (user, store.script),
                         "copy it into %s" % store.root)
    store.check_root()


def _way_to_write(root: str, is_for_another: bool) -> str:
    """What lets the user of an installation write to the root, without taking it from anybody."""
    try:
        owner = os.stat(root).st_uid
    except OSError:
        return "move the project to a folder that this user can read"
    if owner == os.geteuid():
        return "chmod u+rwx " + shlex.quote(root)
    if not is_for_another:
        return as_owner_hint(root)
    if owner:
        return "install it for its owner: --user " + user_name(owner)
    return "to install it for root: --user root; to give it away: chown -R %s %s" % (
        current_user()[0], shlex.quote(root))


def table_with_line(store: Store, crontab: str, mailto: "str | None" = None) -> str:
    """The table with the block of this root as `install` writes it.

    Without a `mailto` the block keeps the one that it has.
    """
    above, block, _ = split_at_block(crontab, store.root)
    if mailto is None:
        mailto = (variable_values(block, "MAILTO") or [""])[0]
    # What this shell's environment allows is no part of cron's.
    allows_insecure = store.allows_insecure and store.needs_override()
    line = crontab_line(store.root, interpreter(), store.script, bool(mailto), allows_insecure)
    lines = block_lines(line, above, mailto, current_user()[0])
    return with_block(crontab, store.root, lines)


def read_imported(store: Reader) -> "Document":
    """The record of import-crontab, {} if nothing was imported. Raises StorageError.

    `lines` has the digest of the line that each task was made from (digest_of_line).
    """
    path = store.path(IMPORTED_NAME)
    try:
        document = json.loads(read_bytes(path).decode("utf-8"))
        parts = [document.get("tasks", {}), document.get("lines", {})]
        if all(isinstance(text, str) for part in parts for text in part.values()):
            return document  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError.of("read", path, error)
    except (ValueError, AttributeError, RecursionError):
        pass
    raise StorageError("%s is damaged" % path, "it says which lines of the crontab are tasks here; "
                       "if none is, remove it")


def digests_at_risk(store: Reader) -> "List[str]":
    """The digests of the lines whose tasks would run: not those of tasks that wait for a switch."""
    digests = read_imported(store).get("lines", {})
    if not digests:
        return []
    tasks = (store.config_in_force()[0] or Config()).tasks
    waiting = {name for name, pause in store.read_state()[0].pauses.items()
               if pause.get("by") == IMPORTER and pause["until"] is None}
    return [digest for name, digest in digests.items()
            if name in tasks and tasks[name].enabled and name not in waiting]


def doubled_lines(store: Reader, crontab: str) -> int:
    """How many lines of the crontab became tasks that would run beside them.

    Raises StorageError when the record of import-crontab cannot be read.
    """
    at_risk = digests_at_risk(store)
    if not at_risk:
        return 0
    present = [digest_of_line(line) for line in crontab_lines(crontab)]
    return sum(min(present.count(digest), at_risk.count(digest)) for digest in set(at_risk))


def doubled_text(count: int, runs: str) -> str:
    """That so many lines are tasks as well; `runs` is "runs" or "would run"."""
    if count == 1:
        return "1 line of the crontab is also a task here, so it %s twice" % runs
    return "%d lines of the crontab are also tasks here, so each %s twice" % (count, runs)


def digest_of_line(line: str) -> str:
    return "%08x" % stable_hash(line.rstrip("\r\n"))


def refuse_to_double(store: Reader, crontab: str) -> None:
    """Raises ConductorError where a tick would run what lines of the crontab run already."""
    count = doubled_lines(store, crontab)
    if count:
        raise ConductorError(
            "not installed: " + doubled_text(count, "would run"),
            "to hand the lines over: %s import-crontab --switch" % own_command(store.root))


def installed_block(store: Store) -> str:
    """The block of this root in the user's crontab; '' where there is none, or cron is missing."""
    try:
        return split_at_block(read_crontab(), store.root)[1]
    except ConductorError:
        return ""


def crontab_suspicions(store: Store) -> "List[Problem]":
    """A warning when the crontab line of this root names a Python that is gone."""
    python = python_of_block(installed_block(store))
    if not python or os.access(python, os.X_OK):
        return []
    text = "the Python of the line, %s, is gone, so nothing runs" % python
    return [Problem(place="crontab", text=text, hint="run install again", warning=True)]


def unit_folder() -> str:
    """Where this user's systemd units are: the system's for root, their own for anybody else."""
    if os.geteuid() == 0:
        return SYSTEM_UNITS
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(config, "systemd/user")


def timer_folder(root: str) -> "str | None":
    """Where the systemd timer of this root is, this user's or one of root's; '' where there is
    none, None where that cannot be read.
    """
    is_unclear = False
    for folder in (unit_folder(), SYSTEM_UNITS):
        try:
            text = os.fsdecode(read_bytes(os.path.join(folder, UNIT + ".timer")))
        except (FileNotFoundError, NotADirectoryError, ForeignFile):
            continue
        except OSError:
            is_unclear = True
            continue
        if text.partition("\n")[0] == UNIT_OWNER + root:
            return folder
    return None if is_unclear else ""


def has_timer(root: str) -> "bool | None":
    """Whether a systemd timer calls this root; None where that cannot be told."""
    folder = timer_folder(root)
    return None if folder is None else bool(folder)


def daemon_note() -> str:
    """A warning while the service of the daemon that this replaces is there, '' otherwise."""
    path = os.path.join(SYSTEM_UNITS, UNIT + ".service")
    try:
        text = read_bytes(path, follow=True).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError, ForeignFile):
        return ""
    except OSError as error:
        return "WARNING: cannot tell whether %s starts the old daemon: %s" % (
            path, error_text(error))
    if "symphony_conductor.py start" not in text:
        return ""
    return "WARNING: %s still starts the old daemon; every task will run twice (%s)" % (
        path, DAEMON_HINT)


def called_as(store: Reader, is_short: bool = False) -> str:
    """As `own_command`. Another user than the owner of the root becomes the owner first: what they
    wrote would be theirs.
    """
    command = own_command(store.root, is_short)
    if as_owner_hint(store.root):
        return "sudo -u %s %s" % (owner_name(store.root), command)
    return command


# == Inspection ==

# The names under which cron daemons run; `crond` is also busybox's. supercronic is none of them: it
# reads the file that it is given, and no user's crontab.
CRON_DAEMONS = ("cron", "crond", "cronie", "dcron", "fcron", "bcron-sched")
SHELLS = ("sh", "ash", "bash", "bosh", "dash", "ksh", "ksh93", "mksh", "oksh", "pdksh", "posh",
          "rbash", "yash", "zsh", "busybox", "toybox")  # what can run the crontab line
UNREAPED_S = 5.0  # an ended process that is not reaped after so long is left for good
DAEMON_FOLDERS = ("/usr/sbin/", "/usr/bin/", "/sbin/")
SERVICE_FOLDERS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")


def cron_daemon() -> "str | None":
    """The cron daemon that runs here, '' if none does; None where that cannot be told.

    Where the processes of others are hidden (proc(5), hidepid), none is seen and nothing is proved.
    """
    is_hidden = False
    try:
        if has_proc():
            names = {}
            for pid in filter(str.isdigit, os.listdir(PROC)):
                try:
                    names[pid] = _program_name(pid)
                except OSError:
                    is_hidden = True  # this one may be it
        else:
            rows = [line.split(None, 1) for line in command_output(
                "ps", "-A", "-o", "pid=,comm=").splitlines()]
            names = {row[0]: os.path.basename(row[1].strip()) for row in rows if len(row) == 2}
    except (ConductorError, OSError):
        return None
    for pid, name in names.items():
        if name in CRON_DAEMONS and not _is_halted(int(pid)):
            return name
    # systemd-cron runs crontabs by timers, and has no daemon.
    is_systemd_cron = any(os.path.exists(folder + "/cron.target") for folder in SERVICE_FOLDERS)
    return "" if names.get("1") and not is_systemd_cron and not is_hidden else None


def _is_halted(pid: int) -> bool:
    """Whether a process is stopped, or has ended and was not reaped; false where none can tell."""
    try:
        process = process_of(pid)
    except OSError:
        return False
    return process is not None and (process.is_dead or process.state[:1] == "T")


def _program_name(pid: str) -> str:
    """What a process runs as /proc shows it; of busybox, which of its programs."""
    name = proc_text(pid + "/comm").strip()
    if name != "busybox":
        return name
    words = proc_text(pid + "/cmdline").split("\0")
    return os.path.basename(words[1]) if len(words) > 1 else name


def _dead_orphans() -> "Set[Tuple[int, str]]":
    """(pid, start) of the children of process 1 that have ended and are not reaped yet.

    Less those that began just now: a container's process 1 may look for its dead now and then.
    """
    try:
        uptime = proc_text("uptime").split()
        latest = (float(uptime[0]) - UNREAPED_S) * os.sysconf("SC_CLK_TCK") if uptime else 0.0
        return {(process.pid, process.start) for process in process_table() or []
                if process.parent == 1 and process.is_dead and float(process.start) < latest}
    except (OSError, ValueError):
        return set()  # nothing is proved


def reaper_findings() -> "List[Finding]":
    """That process 1 does not reap, as in a container without an init.

    Its name proves nothing: many programs reap. What is left by it is looked at for a while.
    """
    left = _dead_orphans()
    deadline = time.monotonic() + UNREAPED_S
    while left and time.monotonic() < deadline:
        sleep(0.1)
        left &= _dead_orphans()
    if not left:
        return []
    try:
        name = " (%s)" % _program_name("1")
    except OSError:
        name = ""  # it is hidden
    return [Finding(code="not-reaped", text=(
        "process 1%s does not reap: %s left, and every run adds one; start the container with an"
        " init (docker run --init, or tini)" % (
            name, plural(len(left), "ended process is", "ended processes are"))))]


def daemon_command() -> str:
    """What makes a cron daemon run here, for a person to type; '' where nobody can say."""
    if not shutil.which("crontab"):
        return cron_package_command()  # a package that was removed may have left its init script
    if os.path.isdir(SYSTEMD_RUNS):
        for name in ("cron", "crond", "cronie", "fcron"):
            if any(os.path.exists("%s/%s.service" % (folder, name)) for folder in SERVICE_FOLDERS):
                return as_root("systemctl enable --now " + name)
        return ""
    for name in ("cron", "crond", "cronie"):
        if not os.path.exists("/etc/init.d/" + name):
            continue
        if os.path.exists("/sbin/rc-service"):
            return as_root("rc-service %s start && rc-update add %s" % (name, name))
        return as_root("service %s start" % name)
    for name in ("cron", "crond"):
        if any(os.path.exists(folder + name) for folder in DAEMON_FOLDERS):
            return as_root(name)
    return ""


WRITTEN_BY_TICKS = ("./", "logs/", "logs/conductor_cron.log", "logs/symphony_conductor.log",
                    "logs/automation/", "status/", "status/runs/", "status/history/")


class Inspector:
    """Asks the machine what health has to know; each question that fails is an answer as well."""

    def __init__(self, store: Reader, clock: "Clock | None" = None,
                 is_short: bool = False) -> None:
        self.store = for_reading(store)
        self.clock = clock or Clock()
        self.now = self.clock.now()
        self.unreadable: "List[str]" = []
        self.program = called_as(store, is_short)
        self.caller = "cron"  # or systemd; `machine` finds out

    def asked(self, question: "Callable[[], Any]", otherwise: "Any" = None) -> "Any":
        """The answer to a question; where a file cannot be read, that is noted."""
        try:
            return question()
        except StorageError as error:
            self.unreadable.append(str(error))
        except OSError as error:
            self.unreadable.append("cannot read %s: %s" % (
                place_of_error(error), error_text(error)))
        return otherwise

    # -- the answers

    def config(self) -> "Config | None":
        """The configuration in force; `broken` and `insecure` say what is wrong with its files."""
        self.insecure: "List[Problem]" = []
        self.broken: "List[Problem]" = []
        try:
            self.store.check_root()
        except ConfigError as error:
            self.insecure = error.problems
        config, self.broken = self.asked(self.store.config_in_force, (None, []))
        reasons = {setting: self.store.unwritten(setting) for setting in MADE_BESIDE
                   if config is not None and getattr(config, setting)}
        self.unwritten = {setting: text for setting, text in reasons.items() if text}
        return config  # type: ignore[no-any-return]

    def state(self) -> State:
        """The state; `state_notes` say what is wrong with its file."""
        state, notes, _ = self.asked(self.store.read_state, (State(), [], False))
        self.state_notes = notes
        return state  # type: ignore[no-any-return]

    def machine(self, state: State) -> Machine:
        """All other facts; of the runs, only those without a recorded end are looked at."""
        unreadable = len(self.unreadable)
        last_tick = self.asked(self.store.last_tick)
        is_tick_unreadable = len(self.unreadable) > unreadable
        line, has_line = self._line()
        timer = self._timer_command() if self.caller == "systemd" else ""
        silent_s = self._silent_s(last_tick, state, bool(has_line))
        is_late = silent_s > TICK_STALE_S
        failure = self.asked(self.store.tick_failure)
        if failure is not None and failure.at > self.now + TICK_STALE_S:
            failure = None  # of a clock that was set back since
        daemon, command = None, ""
        may_be_cron = failure is None and has_timer(self.store.root) is False
        if may_be_cron and (is_late or last_tick is None):
            daemon, command = cron_daemon(), daemon_command()
        runs = {name: text for name, task_state in state.tasks.items() if task_state.run is not None
                for text in [self._oddity(name, task_state.run)] if text}
        spooled = self.asked(self.store.spooled, [])
        pids = self.asked(lambda: self._pids(state), {})
        return Machine(
            pids=pids,
            now=self.now, last_tick=last_tick, is_tick_unreadable=is_tick_unreadable,
            awake_s=silent_s, failure=failure, line=line, has_line=has_line, timer=timer,
            cron_log=self._cron_log(last_tick) if is_late else "", daemon=daemon,
            daemon_command=command, write_error=self._write_error(), has_zone_data=has_zone_data(),
            undelivered=[from_iso(message["at"]) or self.now for _, message in spooled],
            unreadable=self.unreadable, state_notes=self.state_notes, insecure=self.insecure,
            broken=self.broken, unwritten=self.unwritten, runs=runs, root=self.store.root,
            program=self.program, mount=mount_of(self.store.root), **self._space())

    def _silent_s(self, last_tick: "float | None", state: State,
                  has_line: bool = False) -> float:
        """How long no tick has come that could have: not while the machine was off or asleep."""
        since = last_tick
        if since is None and has_line:  # cron comes within a minute after `install`
            since = max(state.last_now, self._installed_at()) or None
        if since is None:
            return float("inf")
        silent_s = self.now - since
        try:
            silent_s = min(silent_s, self.now - boot_time(self.now))
        except ConductorError:
            pass  # then it counts as awake
        before, suspended = self.store.last_evidence(), self.clock.suspended()
        if before is not None and before.suspended is not None and suspended is not None:
            if not is_new_start(before.boot_id, current_start_id()):
                silent_s -= max(0.0, suspended - before.suspended)
        return silent_s

    def _installed_at(self) -> float:
        """When `install` was last called; 0.0 if that is unknown."""
        try:
            return os.stat(self.store.path(INSTALLED_NAME)).st_mtime
        except OSError:
            return 0.0

    def _space(self) -> "Document":
        """What is free on the disk of the root for this user."""
        try:
            disk = os.statvfs(self.store.root)
        except OSError as error:
            self.unreadable.append("cannot tell what is free on the disk: %s" % error_text(error))
            return {}
        # The whole is what this user can use, as df(1) counts: without what only root may.
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        free = disk.f_bavail * disk.f_frsize
        # Some file systems, such as btrfs, have no fixed number of inodes: they report 0.
        return {"free_bytes": free, "total_bytes": used + free, "free_inodes": disk.f_favail,
                "total_inodes": disk.f_files - disk.f_ffree + disk.f_favail}

    def _write_error(self) -> str:
        """Why a tick could not write what it has to, and where; '' if it can."""
        if not self.is_owner() or not os.path.isdir(self.store.path("status")):
            return ""
        for name in WRITTEN_BY_TICKS:
            number = write_errno(self.store.path(name.rstrip("/")), name.endswith("/"))
            if number:
                shown = self.store.root if name == "./" else name
                return "%s: %s" % (shown, os.strerror(number))
        try:
            probe_write(self.store.path("status"))
        except OSError as error:
            return "status/: %s" % error_text(error)
        return ""

    def is_owner(self) -> bool:
        """Whether whoever asks is the user whose ticks these are."""
        try:
            return os.stat(self.store.root).st_uid == os.geteuid()
        except OSError:
            return False

    def _line(self) -> "Tuple[Finding | None, bool | None]":
        """What is wrong with the crontab line or timer of this root, and whether there is one."""
        if not self.is_owner():
            return None, None  # the line is in another user's crontab
        timer = has_timer(self.store.root)
        install = self.program + " install"
        missing = "%s's crontab has no line for this folder" % current_user()[0]
        try:
            above, block, below = split_at_block(read_crontab(), self.store.root)
        except UnavailableError as error:
            above = block = below = ""
            missing, install = str(error), cron_package_command()
            if install:
                missing = "cannot run crontab: cron is not installed"
                if os.path.isdir(SYSTEMD_RUNS):
                    missing += " (without it: %s install --timer)" % self.program
        except ConductorError as error:
            if timer:
                self.caller = "systemd"
                return None, True
            text = str(error).replace("; nothing was changed", "")
            return Finding(code="crontab-unreadable", text=text, command="crontab -l"), None
        doubled = self.asked(lambda: doubled_lines(self.store, above + below), 0)
        if doubled:
            install = self.program + " import-crontab --switch"  # `install` refuses
        twice = Finding(code="lines-doubled", text=doubled_text(doubled, "runs"), command=install)
        if block:
            finding = _block_finding(self.store, above, block, install)
            if doubled and (finding is None or finding.severity != PROBLEM):
                return twice, True
            if finding is None and BLOCK_BEGIN + self.store.root in below.split("\n"):
                finding = Finding(code="line-changed", command=install, text=(
                    "%s's crontab has two lines for this folder" % current_user()[0]))
            return finding, True
        if doubled and timer:
            return twice, True
        if timer is None:
            return Finding(code="crontab-unreadable", command="ls -l " + unit_folder(), text=(
                "cannot read the systemd timer in %s" % unit_folder())), None
        if timer:
            self.caller = "systemd"
            return None, True
        return Finding(code="line-missing", command=install, text=missing), False

    def _timer_command(self) -> str:
        """What shows the state of the timer, for a person to type."""
        option = "" if timer_folder(self.store.root) == SYSTEM_UNITS else "--user "
        return "systemctl %sstatus %s.timer" % (option, UNIT)

    def _cron_log(self, last_tick: "float | None") -> str:
        """The last line that cron's own call printed since the last tick."""
        path = self.store.path("logs/conductor_cron.log")
        try:
            if last_tick is not None and os.stat(path).st_mtime <= last_tick:
                return ""
            for line in lines_backwards(path):
                return plain_line(line.decode("utf-8", "replace"))
        except FileNotFoundError:
            pass
        except OSError as error:
            self.unreadable.append("cannot read %s: %s" % (path, error_text(error)))
        return ""

    def _pids(self, state: State) -> "Dict[str, List[int]]":
        """The processes of the runs, by task."""
        running = {name: task_state.run for name, task_state in state.tasks.items()
                   if task_state.run is not None}
        if not running:
            return {}
        table = process_table() or []
        pids = {}
        for name, run in running.items():
            record = self.store.run_with_id(name, run.run_id)
            if record and "result" not in record:
                pids[name] = processes_of_run(record, self.store.root, table)
        return pids

    def _oddity(self, name: str, run: Run) -> str:
        """What there is to say of a run beyond that it is going on."""
        try:
            record = self.store.run_with_id(name, run.run_id)
            if not record or "result" in record:
                return ""
            if process_of(record["supervisor"]) is None:
                return "%s: the supervisor of run %s is gone; the next tick takes it over" % (
                    name, run.run_id)
        except (ConductorError, OSError) as error:
            return "%s: %s" % (RUN_UNCLEAR % (name, run.run_id), error)
        ends_at = run.started_at + record.get("timeout", 0) + record.get("kill_grace", 0)
        if self.now > ends_at + TICK_STALE_S and not run.unended:
            return "%s: run %s should have ended by %s, and no end was recorded" % (
                name, run.run_id, iso(ends_at))
        return ""


def _gives_back_another(above: str, block: str) -> bool:
    """Whether a variable that the block ends with is no longer what is in force above it."""
    mailto = (variable_values(block, "MAILTO") or [""])[0]
    needed = block_variables(above, mailto, current_user()[0])
    former = {name: value for name, _, value in needed}
    return any(variable_values(block, name)[1:] not in ([], [former.get(name)])
               for name in ("SHELL", "RANDOM_DELAY", "MAILTO"))


def _block_finding(store: Reader, above: str, block: str, install: str) -> "Finding | None":
    """What is wrong with the installed crontab line; None if `install` would write this one."""
    user, python = current_user()[0], python_of_block(block)
    if python and not os.access(python, os.X_OK):
        return Finding(code="line-broken", command=install,
                       text="the Python in %s's crontab line does not exist (%s)" % (user, python))
    active = [text for text in block.split("\n")
              if " tick" in text and not text.lstrip().startswith("#")]
    if not active:
        return Finding(code="line-broken", command=install,
                       text="%s's crontab line is commented out or empty" % user)
    shell = shell_of(above + block.partition(active[0])[0])
    if shell and (os.path.basename(shell) not in SHELLS or not os.access(shell, os.X_OK)):
        return Finding(code="line-broken", command=install, text=(
            "%s's crontab sets SHELL=%s, which cannot run the conductor's line" % (user, shell)))
    fields = active[0].split(None, 5)[:5]
    if fields != ["*"] * 5:
        return Finding(code="line-broken", command=install, text=(
            "%s's crontab line runs at '%s', not every minute" % (user, " ".join(fields))))
    has_override = OVERRIDE + "=1" in active[0]
    # Where this shell does not allow it either, `install` refuses, and that is told as it is.
    needs_override = (has_override or store.allows_insecure) and store.needs_override()
    if needs_override and not has_override:
        return Finding(code="line-broken", command=install, text=(
            "%s's crontab line does not set %s, so each tick refuses this folder" % (
                user, OVERRIDE)))
    wanted = [crontab_line(store.root, path, os.path.abspath(__file__),
                           bool(variable_values(block, "MAILTO")), needs_override)
              for path in (interpreter(), python)]
    if active not in ([wanted[0]], [wanted[1]]) or _gives_back_another(above, block):
        return Finding(code="line-changed", command=install,
                       text="%s's crontab line differs from the one install would write" % user)
    return None


def health_of(store: Reader, clock: "Clock | None" = None) -> "List[Finding]":
    """All that is wrong in a root, the worst first; a file that cannot be read is a finding."""
    inspector = Inspector(store, clock)
    config, state = inspector.config(), inspector.state()
    return examine(config, state, inspector.machine(state))


def status_of(store: Reader, only: str = "", clock: "Clock | None" = None,
              results: int = RECENT_RESULTS, is_short: bool = False,
              tags: "Collection[str]" = ()) -> "Document":
    """The status of one task, of those with one of these tags, or of all, without taking a lock.

    `results`: at most so many recent ones; `is_short`: commands as they work in this folder.
    """
    inspector = Inspector(store, clock, is_short)
    config, state = inspector.config(), inspector.state()
    names = [only] if only else []
    if tags:
        if config is None:
            raise ConfigError(inspector.broken)
        names = tasks_tagged(config, tags)
    history = inspector.asked(lambda: [verdict for name in names or [""] if results
                                       for verdict in store.history(results, name)], [])
    machine = inspector.machine(state)
    findings = examine(config, state, machine)
    document = status_document(config, state, machine, history, findings)
    if names:
        for key, field in (("tasks", "name"), ("running", "task"), ("recent_results", "task")):
            document[key] = [entry for entry in document[key] if entry[field] in names]
        if not document["tasks"]:
            if config is None:
                raise ConfigError(inspector.broken)
            task_named(config, only)
    return document


# == Commands ==

CRON_PATH = "/usr/bin:/bin"  # crontab(5)
FOLLOW_POLL_S = 0.3
WATCH_EVERY_S = 2.0


def print_line(text: str, stream: "Any" = None, end: str = "\n", styled: bool = False) -> None:
    """Print a line; characters that the terminal's encoding lacks are written as escapes.

    So are its control characters on a terminal, unless the text is `styled`: what a task printed,
    or somebody wrote into a file, must not control it.
    """
    stream = stream or sys.stdout
    if not styled and stream.isatty():
        text = printable(text)
    encoding = stream.encoding or "ascii"
    text = (text + end).encode(encoding, "backslashreplace").decode(encoding)
    _to_output(lambda: stream.write(text))


def _to_output(write: "Callable[[], Any]") -> None:
    """Write to a standard stream. Raises StorageError, or BrokenPipeError if the reader left."""
    try:
        write()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError.of("write to", "standard output", error)


def _discard_output(fd: int = 1) -> None:
    """Discard what a stream has buffered: Python flushes it at exit, and would fail again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    except OSError:
        pass  # no descriptor is left: what fails at exit is ignored there


def warn(text: str, program: str = "symphony_conductor") -> None:
    """Print to stderr, each line after the program's name. If that fails, the exit code remains."""
    try:
        for line in text.splitlines():
            print_line("%s: %s" % (program, line), sys.stderr)
        sys.stderr.flush()
    except (OSError, StorageError):
        _discard_output(2)


def print_json(document: "Any") -> None:
    """Print a document as indented JSON (RFC 8259, which has no number for infinity)."""
    try:
        text = json.dumps(document, indent=2, allow_nan=False)
    except ValueError:
        whole = json.loads(json.dumps(document), parse_constant=lambda name: None)
        text = json.dumps(whole, indent=2)
    print_line(text)


def exit_code_of(command: "Callable[[], int]", program: str = "symphony_conductor",
                 keep: "Callable[[List[str]], Any] | None" = None) -> int:
    """Run a command; the only place that turns an error into a line on stderr and an exit code.

    `keep` logs the traceback of an internal error, so that what is printed stays one line.
    """
    try:
        code = command()
        _to_output(sys.stdout.flush)
        return code
    except ConductorError as error:
        warn(str(error), program)
        if isinstance(error, StorageError):
            _discard_output()  # the output may be what failed
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as the shell reports a command that a signal ended
    except BrokenPipeError:
        _discard_output()  # the reader, such as head(1), has seen enough: not an error
        return EXIT_OK
    except OSError as error:
        warn("%s: %s" % (place_of_error(error), error.strerror or error), program)
        return EXIT_IOERR
    except Exception as error:
        warn("internal error, please report it: %s: %s%s" % (
            type(error).__name__, error, _traceback_note(keep)), program)
        return EXIT_SOFTWARE


def _traceback_note(keep: "Callable[[List[str]], Any] | None") -> str:
    """Log the traceback of the current exception; the note that says where it is."""
    import traceback
    lines = traceback.format_exc().splitlines()
    if keep is not None:
        try:
            keep(["ERROR " + line for line in lines])
            return " (details in logs/symphony_conductor.log)"
        except ConductorError:
            pass  # the place in the source has to do
    return " (%s)" % lines[-2].strip()


# A cmd_ function carries out a command and returns its exit code; `command_table` describes them.

def cmd_tick(store: Store, args: "argparse.Namespace") -> int:
    """Exit 78 is no failure here: the tick has done what the valid part of the files allows."""
    store.hold()
    try:
        outcome = Conductor(store).tick()
    except Exception as error:
        code = error.exit_code if isinstance(error, ConductorError) else EXIT_SOFTWARE
        store.note_failure(time.time(), code, str(error) or type(error).__name__)
        raise
    if outcome.exit_code not in (EXIT_OK, EXIT_CONFIG):
        store.note_failure(time.time(), outcome.exit_code, outcome.lines[-1])
    if outcome.lines and not is_journal(1):  # the log has written them to the journal already
        warn("\n".join(outcome.lines))
    return outcome.exit_code


def cmd_supervise(store: Store, args: "argparse.Namespace") -> int:
    conductor = Conductor(store)
    try:
        store.hold(args.here)
        lock = store.task_lock(args.task)
        lock.take_over(args.lock_fd)
        spec = _spec_from_stdin(args.task)
        if not spec:
            return EXIT_TEMPFAIL
        conductor.supervise(args.verb, Supervisor(store, conductor.clock, spec), lock)
        return EXIT_OK
    except (ConductorError, OSError) as error:
        conductor.give_up(args.task, args.run_id, error)
        raise


def _spec_from_stdin(task: str) -> "Spec | RunRecord":
    """What to run; {} if the process that wrote it was killed: the next tick starts the run."""
    with doing("read", "the order to start " + task):
        data = sys.stdin.buffer.read()
    try:
        spec: "Spec | RunRecord" = json.loads(data.decode())
    except (ValueError, RecursionError):
        return {}
    check_version(spec, RUN_VERSION, "the order to start " + task)
    return spec


def cmd_run(store: Store, args: "argparse.Namespace") -> int:
    if args.as_cron:
        _take_cron_environment(store)
    slots: "List[int | None]" = [None]
    if args.slot or args.start or args.end:
        if args.tags:
            raise UsageError("--slot, --from and --to are for one task, not for --tag")
        task, now = task_named(store.read_config(), args.task), Clock().now()
        slots = [*_slots_to_run(task, args, now)]
        if args.dry_run:
            for slot in slots:
                print_line(local_text(slot or 0, task.timezone))
            return EXIT_OK
    elif args.dry_run:
        raise UsageError("--dry-run needs --from", "it lists the slots")
    elif args.yes:
        raise UsageError("--yes needs --from", "it confirms a great number of slots")
    sys.stdout.flush()  # the command writes to the same descriptor
    store.hold()
    if args.tags:
        return _run_tagged(store, args)
    outcome = Conductor(store).run(args.task, args.dependencies, echo_fd=1, tell=warn, slots=slots,
                                   env=dict(args.env))
    if outcome.lines:
        warn("\n".join(outcome.lines))
    return outcome.exit_code


def _run_tagged(store: Store, args: "argparse.Namespace") -> int:
    """Run the tasks with these tags one after the other: 1 if one of them failed."""
    config = store.read_config()
    names = tasks_tagged(config, args.tags)
    order = in_dependency_order(config, [name for name in names if name in config.tasks])
    code = EXIT_OK
    order += [name for name in names if name not in config.tasks]
    for number, name in enumerate(order, 1):
        task = config.tasks.get(name, Task())
        if not task.enabled:
            warn("%s: skipped: disabled" % name)
            continue
        if len(order) > 1:  # whose output follows
            warn("%s, %d of %d" % (name, number, len(order)))
        try:
            outcome = Conductor(store).run(name, args.dependencies, echo_fd=1, tell=warn,
                                           env=dict(args.env))
        except ConductorError as error:
            warn(str(error))
            code = EXIT_FAILED
            continue
        if outcome.lines:
            warn("\n".join(outcome.lines))
        if outcome.status == "interrupted":
            return outcome.exit_code  # Ctrl-C is for all of them
        if outcome.task != name or outcome.status not in ("success", "skipped_exit"):
            verdict: "Verdict" = {"status": outcome.status, "exit_code": outcome.exit_code}
            text = "%s %s" % (outcome.task, outcome_text(verdict))
            if outcome.task != name:
                text = "%s: not run: its dependency %s" % (name, text)
            warn(text)
            code = EXIT_FAILED
    return code


SLOTS_AT_ONCE = 10000


def _slots_to_run(task: Task, args: "argparse.Namespace", now: float) -> "List[int]":
    """The past slots that --slot, or --from and --to, ask for."""
    schedule, zone = task.schedule, task.timezone
    if schedule is None or schedule.reboot:
        raise UsageError("%s has no slots: it has no times in its schedule" % task.name)
    if args.end and not args.start:
        raise UsageError("--to needs --from")
    if args.slot:
        at = _past_option("--slot", args.slot, zone, now)
        before, after = schedule.previous(at, zone), schedule.next(at, zone)
        if before != at:
            nearest = [local_text(slot, zone) for slot in (before, after) if slot is not None]
            raise UsageError("--slot: %s is not a slot of %s" % (local_text(at, zone), task.name),
                             "the nearest: %s" % join_words(nearest))
        return [at]
    start = _past_option("--from", args.start, zone, now)
    end = _past_option("--to", args.end, zone, now) if args.end else int(now)
    slots: "List[int]" = []
    slot = schedule.next(start - 1, zone)
    while slot is not None and slot <= end and len(slots) <= SLOTS_AT_ONCE:
        slots.append(slot)
        slot = schedule.next(slot, zone)
    period = "from %s to %s" % (local_text(start, zone), local_text(end, zone))
    if not slots:
        raise UsageError("%s has no slot %s" % (task.name, period))
    if len(slots) > SLOTS_AT_ONCE:
        raise UsageError("more than %d slots %s" % (SLOTS_AT_ONCE, period), "choose a later --from")
    if len(slots) > SLOTS_UNASKED and not (args.yes or args.dry_run):
        raise UsageError("%d slots %s" % (len(slots), period),
                         "--yes runs them all, --dry-run lists them")
    return slots


def _past_option(option: str, text: str, zone: "str | None", now: float) -> int:
    """The time that an option gives, which is none in the future."""
    at = time_option(option, text, zone, now)
    if at > now:
        raise UsageError("%s: %s is in the future" % (option, cut_text(text, 60)))
    return int(at)


def _take_cron_environment(store: Store) -> None:
    """Switch to the environment that cron gave the last tick that did work.

    Only the names and PATH of it are on disk, as values may be secrets: the others are the shell's.
    """
    recorded = store.tick_environment()
    if recorded is None:
        warn("no tick has recorded cron's environment yet; using the minimum that cron provides")
        recorded = ([], CRON_PATH)
    names, path = recorded
    user, home = current_user()
    env = {name: os.environ[name] for name in names if name in os.environ}
    # cron sets these itself (crontab(5)), whatever they are in this shell.
    env.update(HOME=home, LOGNAME=user, SHELL="/bin/sh", PATH=path)
    omitted = sorted(set(names) - set(env))
    if omitted:
        warn("not set in this shell, so omitted: %s (only names and PATH are recorded from cron)"
             % ", ".join(omitted))
    os.environ.clear()
    os.environ.update(env)


def cmd_status(store: Store, args: "argparse.Namespace") -> int:
    if args.watch:
        return _watch_status(store, args)
    is_json = args.json or not (args.table or args.problems or sys.stdout.isatty())
    document = status_of(store, args.task or "", is_short=not is_json, tags=args.tags)
    if is_json:
        print_json(document)
    else:
        print_line(_status_screen(document, args), styled=True)
    unreadable = [finding["text"] for finding in document["findings"]
                  if finding["code"] == "unreadable"]
    if unreadable:
        if is_json:
            warn("\n".join(unreadable))
        return EXIT_IOERR  # what could not be seen is not taken for healthy
    if args.exit_code and not document["healthy"]:
        return EXIT_FAILED
    return EXIT_OK


def terminal_size() -> "os.terminal_size":
    """Columns and lines: from COLUMNS and LINES, else from the terminal, else 80 by 24."""
    try:
        actual = os.get_terminal_size()
    except OSError:
        actual = os.terminal_size((0, 0))
    sizes = []
    for name, size, default in zip(("COLUMNS", "LINES"), actual, (80, 24)):
        text = os.environ.get(name, "")
        if re.match(r"[0-9]{1,5}\Z", text):
            size = int(text) or size
        sizes.append(size or default)
    return os.terminal_size(sizes)


def _status_screen(document: "Document", args: "argparse.Namespace") -> str:
    has_colours = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    coloured = has_colours and not os.environ.get("NO_COLOR")  # no-color.org
    return status_table(document, terminal_size().columns, coloured, args.problems)


def _watch_status(store: Store, args: "argparse.Namespace") -> int:
    """Redraw the table until somebody interrupts; what does not fit the screen is left out."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("--watch needs a terminal")
    while True:
        document = status_of(store, args.task or "", is_short=True, tags=args.tags)
        lines = _status_screen(document, args).split("\n")
        size = terminal_size()
        height = max(size.lines - 1, 1)
        if len(lines) > height:
            lines[height - 1:] = ["(%d more lines)" % (len(lines) - height + 1)]
        # Lines in colour are cut already: here, their escapes would count as columns.
        lines = [line if "\x1b" in line else cut_text(line, size.columns) for line in lines]
        # Home, each line with its rest cleared, then the rest of the screen: nothing flickers.
        print_line("\x1b[H" + "".join(line + "\x1b[K\n" for line in lines) + "\x1b[J", end="",
                   styled=True)
        sys.stdout.flush()
        sleep(WATCH_EVERY_S)


def cmd_pause(store: Store, args: "argparse.Namespace") -> int:
    zone = None
    names = _paused_names(store, args)
    if names != [ALL_TASKS]:  # --until is meant, and printed, by the clock of the (first) task
        zone = task_named(Snapshot(store).config, names[0]).timezone
    until = _end_of_pause(args, zone)
    # A line break or a terminal's control sequence would spoil the line that status shows.
    reason = plain_line(args.reason, 500)
    store.hold()
    end = "until resumed" if until is None else "until " + local_text(until, zone)
    for name in names:
        outcome = Conductor(store).pause(name, until, reason, _person())
        print_line("paused %s %s" % (pause_scope(name), end))
        warn("\n".join(outcome.lines))
    return EXIT_OK


def _person() -> str:
    """Who types this command."""
    return plain_line(os.environ.get("SUDO_USER") or current_user()[0])


def cmd_stop(store: Store, args: "argparse.Namespace") -> int:
    store.hold()
    outcome = Conductor(store).stop(args.task, _person())
    if outcome.exit_code == EXIT_OK:
        print_line("\n".join(outcome.lines))
    else:
        warn("\n".join(outcome.lines))
    return outcome.exit_code


def cmd_skip(store: Store, args: "argparse.Namespace") -> int:
    store.hold()
    if args.undo:
        task, slot = Conductor(store).undo_skip(args.task, _person())
        print_line("%s: the slot %s will not be skipped" % (
            task.name, local_text(slot, task.timezone)))
        return EXIT_OK
    task, slot, standing = Conductor(store).skip(args.task, _person())
    print_line("%s: the slot %s will be skipped; to undo: skip %s --undo" % (
        task.name, local_text(slot, task.timezone), task.name))
    if standing != "idle":
        print_line("an earlier slot is %s; to end it: stop %s" % (standing, task.name))
    return EXIT_OK


def _end_of_pause(args: "argparse.Namespace", zone: "str | None") -> "float | None":
    """When a new pause ends, in epoch seconds; None if it lasts until `resume`."""
    now = Clock().now()
    if args.until:
        until = time_option("--until", args.until, zone, now, is_past=False)
        place = "--until: " + args.until
    elif args.duration is not None:
        until = now + args.duration
        place = "--for: the end of the pause"
    else:
        return None
    if until <= now:
        raise UsageError("%s is not in the future" % place)
    if until >= LARGEST_NUMBER:
        raise UsageError("%s is too far in the future" % place,
                         "without this option, the pause lasts until resumed")
    return until


def cmd_resume(store: Store, args: "argparse.Namespace") -> int:
    names = _paused_names(store, args)
    store.hold()
    if args.tags:
        pauses = store.read_state()[0].pauses
        names = [name for name in names if name in pauses]
        if not names:
            raise UsageError("no task with this tag is paused", "status lists the pauses")
    for name in names:
        outcome = Conductor(store).resume(name)
        left = sorted(store.read_state()[0].pauses)
        if name != ALL_TASKS and ALL_TASKS in left:
            rest = ", but it is still paused by --all"
        elif args.all and left:
            rest = "; still paused by name: " + ", ".join(left)
        else:
            rest = "; slots count from now on"
        print_line("resumed %s%s" % (pause_scope(name), rest))
        warn("\n".join(outcome.lines))
    return EXIT_OK


def _paused_names(store: Store, args: "argparse.Namespace") -> "List[str]":
    """The names under which the state has a pause: those of tasks, or ALL_TASKS."""
    if bool(args.task or args.tags) == args.all:
        raise UsageError("name one task, or use --tag or --all")
    if args.tags:
        config = Snapshot(store).config
        names = tasks_tagged(config, args.tags)
        return [name for name in names if name in config.tasks] or names
    return [args.task or ALL_TASKS]


TIME_FORMS = "use 18:09, 12h, 2025-06-02 or 2025-06-02T18:09Z"


def time_option(option: str, text: str, zone: "str | None", now: float,
                is_past: bool = True) -> float:
    """The epoch seconds of a time on the command line, by the clock of `zone` if it names none.

    It may also be a time of day or a duration. They mean the last 18:09 and 12 hours ago; unless
    `is_past`, the next 18:09 and 12 hours from now.
    """
    try:
        if re.match(r"[0-9.]+[a-z]?\Z", text):
            seconds = seconds_of(text)
            return now - seconds if is_past else now + seconds
        if re.match(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?\Z", text):
            return _time_of_day(option, text, zone, now, is_past)
        return float(from_iso(text, zone_named(zone)) or 0)
    except (ValueError, OverflowError) as error:
        reason = str(error)
        if "is not a time" in reason:
            reason = "'%s' is not a time; %s" % (cut_text(text, 60), TIME_FORMS)
        elif text not in reason:  # datetime says only which part is out of range
            reason = "%s: %s" % (cut_text(text, 60), reason)
        raise UsageError("%s: %s" % (option, reason))


def _time_of_day(option: str, text: str, zone: "str | None", now: float, is_past: bool) -> float:
    """The last or the next moment at which the clock of this zone shows a time such as 18:09."""
    clock = zone_named(zone)
    today = int(now + clock.span(int(now))[2]) // DAY  # days since 1970, by the clock of the zone
    hour, _, minute = text.partition(":")

    def on(day: int) -> float:
        moment = "%sT%s:%s" % (iso(day * DAY)[:10], hour.zfill(2), minute)
        return float(from_iso(moment, clock) or 0)

    at = on(today)
    if is_past and at > now:
        at = on(today - 1)
        warn("%s: %s is still to come today; using yesterday's, %s" % (
            option, text, local_text(at, zone)))
    elif not is_past and at <= now:
        at = on(today + 1)
    return at


def cmd_history(store: Store, args: "argparse.Namespace") -> int:
    if args.task:
        check_task_known(Snapshot(store), args.task)
    since = _past_option("--since", args.since, None, Clock().now())
    newest = store.verdicts(since, args.task or "", args.status or "", newest_first=True)
    verdicts = [verdict for _, verdict in zip(range(args.limit), newest)]
    if args.json:
        print_json(verdicts)
    elif verdicts:
        print_line(history_rows(verdicts, terminal_size().columns, args.runs))
    else:
        is_duration = args.since[-1:] in UNITS_S
        print_line("no results %s %s" % ("in the last" if is_duration else "since", args.since))
    return EXIT_OK


def check_task_known(snapshot: Snapshot, name: str) -> None:
    """Raises UsageError for a task that neither configuration nor state nor a log knows.

    Raises ConfigError when the name may stand in a configuration that cannot be read.
    """
    names = set(snapshot.state.tasks)
    if name in names or is_name(name) and os.path.exists(snapshot.store.log_path(name)):
        return  # what ran can be asked for whatever the configuration has come to
    names |= set(snapshot.config.tasks) | set(snapshot.config.invalid)
    if name not in names:
        raise unknown_task(name, sorted(names))


def cmd_logs(store: Store, args: "argparse.Namespace") -> int:
    check_task_known(Snapshot(store), args.task)
    writer = LogWriter(args.raw or not sys.stdout.isatty())
    if args.run_id:
        output = store.run_output(args.task, args.run_id)
        if output is None:
            raise ConductorError("no run %s in the logs of '%s'" % (args.run_id, args.task),
                             "history --task %s lists the runs" % args.task)
        writer.write(_last_lines(output, args.lines), is_last=True)
        return EXIT_OK
    path = store.log_path(args.task)
    try:
        text = read_bytes(path, LARGEST_FILE)
    except FileNotFoundError:
        text = b""
        warn("%s has not run yet" % args.task)
    writer.write(_last_lines(text, args.lines or 50), is_last=not args.follow)
    if args.follow:
        _follow(path, len(text), writer.write)
    return EXIT_OK


def _last_lines(text: bytes, count: "int | None") -> bytes:
    """The last lines of a text, all of them without a count.

    A carriage return alone ends no line: it draws progress.
    """
    if count is None:
        return text
    lines = text.split(b"\n")
    if not lines[-1]:
        count += 1  # what follows the last line break is no line
    return b"\n".join(lines[-count:])


def _print_bytes(text: bytes) -> None:
    sys.stdout.flush()
    write_all(1, text)


class LogWriter:
    """Prints what a task wrote, in pieces: as it is, or so that it cannot control a terminal.

    For a terminal it is UTF-8 text, and other bytes become escapes. A carriage return stays: it
    draws progress, and does so within its own line.
    """

    def __init__(self, is_raw: bool) -> None:
        import codecs
        self.is_raw = is_raw
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""  # the beginning of a colour, which the last piece may have ended in

    def write(self, piece: bytes, is_last: bool = False) -> None:
        """Print a piece; a character or a colour that it breaks off in waits for the next one."""
        if self.is_raw:
            _print_bytes(piece)
            return
        text = self._held + self._decoder.decode(piece, is_last)
        self._held = ""
        unfinished = re.search(r"\x1b(\[[0-9;:]*)?\Z", text)
        if unfinished and not is_last:
            self._held = unfinished.group()
            text = text[:unfinished.start()]
        shown = printable(text, kept="\n\t\r").replace("\r---", "\\r---")  # no frame of the log
        _print_bytes(shown.encode(sys.stdout.encoding or "ascii", "backslashreplace"))


def _follow(path: str, printed: int, write: "Callable[[bytes], None]") -> None:
    """Print what is appended to a log, also when it is rotated, until somebody interrupts.

    Of the log as it stands, `printed` bytes were printed before.
    """
    handle = None
    while True:
        try:
            if handle is None:
                handle = open(path, "rb")
                if os.fstat(handle.fileno()).st_size >= printed:
                    handle.seek(printed)
            is_rotated = not os.path.exists(path) or not os.path.samestat(
                os.stat(path), os.fstat(handle.fileno()))
            write(handle.read())  # to its end, before another file takes its place
            if os.fstat(handle.fileno()).st_size < handle.tell():
                handle.seek(0)  # somebody emptied it
            if is_rotated:
                handle.close()
                handle, printed = None, 0
                if os.path.exists(path):
                    continue
        except FileNotFoundError:
            printed = 0
        sleep(FOLLOW_POLL_S)


def cmd_audit(store: Store, args: "argparse.Namespace") -> int:
    now = Clock().now()
    snapshot = Snapshot(store)
    kept_s = snapshot.config.task_history_retention_days * DAY
    # What is older is pruned.
    since = max(_past_option("--since", args.since, None, now), now - kept_s)
    if args.task:
        check_task_known(snapshot, args.task)
    events = list(snapshot.events)
    if args.engine:
        engine = load_engine(store, args.engine)
        slots, gaps = engine.audited_slots(snapshot, since, now, args.task or "")
        events += gaps
    else:
        slots = _audited_slots(snapshot, since, now, args.task or "")
    document = audit_document(slots, events, since, now)
    if args.json:
        print_json(document)
    else:
        print_line(audit_text(document, terminal_size().columns))
    return EXIT_FAILED if document["unexplained"] else EXIT_OK


def _audited_slots(snapshot: Snapshot, since: float, now: float, only: str) -> "List[Slot]":
    """The slots from `since` on and what became of them, of one task or of all, oldest first."""
    config = snapshot.config
    kept_since = now // DAY * DAY - config.task_history_retention_days * DAY
    since = max(since, kept_since)
    verdicts = snapshot.verdicts(since, only)
    if not os.path.exists(snapshot.store.path(EVENTS_NAME)):
        # Somebody removed it: since when the schedules hold, only the verdicts can tell.
        ends = [from_iso(verdict["ended_at"]) or 0 for verdict in verdicts]
        since = max(since, min(ends, default=now))
    return list(audit_all(config, snapshot.state, verdicts, snapshot.events, since, now,
                          snapshot.last_tick, only))


def cmd_why(store: Store, args: "argparse.Namespace") -> int:
    now = Clock().now()
    snapshot = Snapshot(store)
    config, width = snapshot.config, terminal_size().columns
    program = called_as(store, is_short=True)
    if args.task not in config.tasks and args.task not in config.invalid:
        check_task_known(snapshot, args.task)
        latest = _latest_run(snapshot, args.task, now)
        print_line(removed_text(args.task, latest, now, width, program))
        return EXIT_OK
    task = task_named(config, args.task)
    at = now
    if args.at is not None:
        at = time_option("--at", args.at, task.timezone, now)
    dropped = dropped_slot(task, snapshot.state, snapshot.events, at)
    slot = dropped or _newest_slot(snapshot, task, at, now)
    if slot is None or dropped is not None:
        verdict = _latest_run(snapshot, task.name, at)
    else:
        verdict = _verdict_on(snapshot, slot)
    print_line(why_text(config, snapshot.state, task, slot, verdict, now,
                        snapshot.last_tick, width, program, bool(snapshot.in_force[1])))
    return EXIT_OK


def _verdict_on(snapshot: Snapshot, slot: Slot) -> "Verdict | None":
    scheduled_for = iso(slot.at)
    verdicts = [verdict for verdict in snapshot.verdicts(slot.at, slot.task)
                if verdict.get("scheduled_for") == scheduled_for]
    return verdicts[-1] if verdicts else None


def _latest_run(snapshot: Snapshot, name: str, until: float) -> "Verdict | None":
    """The newest verdict on a run that ended up to then, within the 30 days before."""
    last_end = iso(until)
    verdicts = [verdict for verdict in snapshot.verdicts(until - 30 * DAY, name)
                if verdict["ended_at"] <= last_end and verdict.get("run_id")]
    return verdicts[-1] if verdicts else None


def _newest_slot(snapshot: Snapshot, task: Task, at: float, now: float) -> "Slot | None":
    """The newest slot up to `at`, looked for ever further back.

    The newest of the schedule need not be it: the schedule may have been another one, or paused.
    """
    newest = None
    if task.schedule is not None:
        newest = task.schedule.previous(at, task.timezone)
    for since in (at if newest is None else newest, at - DAY, at - 31 * DAY, at - 366 * DAY):
        slots = [slot for slot in _audited_slots(snapshot, since, now, task.name) if slot.at <= at]
        if slots:
            return slots[-1]
    return None


def cmd_doctor(store: Store, args: "argparse.Namespace") -> int:
    inspector = Inspector(store, is_short=not args.json)
    config, state = inspector.config(), inspector.state()
    machine = inspector.machine(state)
    if inspector.caller == "cron":
        machine = machine.replace(daemon=cron_daemon(), daemon_command=daemon_command())
    findings = examine(config, state, machine) + _findings_of_doctor(inspector, config)
    if machine.daemon == "" and not any(finding.code == "no-cron-daemon" for finding in findings):
        findings.append(Finding(code="no-daemon-seen", text=(
            "no cron daemon is running here; if ticks come, something else calls them")))
    for number, finding in enumerate(findings):
        if finding.command == machine.program + " doctor":
            findings[number] = finding.replace(command="")  # this is its answer
    order = (PROBLEM, WARNING, NOTICE)
    findings.sort(key=lambda finding: order.index(finding.severity))
    wrong = {FINDINGS[finding.code][1] for finding in findings}
    if machine.unreadable:
        wrong |= set(CHECKS)  # of what could not be read, nobody can say that it is in order
    in_order = [(topic, words) for topic, look in CHECKS.items() if topic not in wrong
                for words in look(inspector, machine, config)]
    if args.json:
        print_json([dict(finding_document(finding), level=finding.severity,
                         topic=FINDINGS[finding.code][1], hint=finding.command)
                    for finding in findings]
                   + [{"level": "ok", "topic": topic, "text": text} for topic, text in in_order])
    else:
        print_line("\n".join(_doctor_lines(findings, in_order, machine.now)))
    is_bad = any(finding.severity == PROBLEM for finding in findings)
    return EXIT_FAILED if is_bad else EXIT_OK


def _doctor_lines(findings: "Sequence[Finding]", in_order: "Sequence[Tuple[str, str]]",
                  now: float) -> "List[str]":
    """What is wrong, then what is not, then how much there was of each."""
    width = terminal_size().columns
    lines = []
    for finding in findings:
        text = "%-8s %s: %s" % (finding.severity, FINDINGS[finding.code][1],
                                finding_text(finding_document(finding), now))
        lines.append(wrap_words(text, width, " " * 9))
        if finding.output:
            lines.append(cut_text("%9slast output: %s" % ("", finding.output), width))
        if finding.command:
            lines.append("%9stry: %s" % ("", finding.command))
    for topic, text in in_order:
        lines.append(wrap_words("%-8s %s: %s" % ("ok", topic, text), width, " " * 9))
    severities = [finding.severity for finding in findings]
    lines.append("%s: %s, %s" % (
        plural(len(CHECKS), "check"), plural(severities.count(PROBLEM), "problem"),
        plural(severities.count(WARNING), "warning")))
    return lines


def _findings_of_doctor(inspector: Inspector, config: "Config | None") -> "List[Finding]":
    """What takes longer to find out than `status` may take, or holds for whoever asks only."""
    store, findings = inspector.store, []
    if inspector.is_owner():
        findings += _lost_blocks()
    note = daemon_note()
    if note:
        findings.append(Finding(code="old-daemon", text=note.replace("WARNING: ", "", 1)))
    findings += reaper_findings()
    recorded = store.tick_environment()
    if recorded is None:
        findings.append(Finding(code="environment-unknown",
                                text="no tick has recorded its environment yet"))
    if config is not None:
        problems = [problem for problem in config.problems if problem.warning]
        path = recorded[1] if recorded else CRON_PATH
        problems += missing_programs(store, config, path, inspector.caller)
        problems += start_problems(store, config) + missing_services(store, config)
        for problem in problems:
            code = "suspicion" if problem.warning else "cannot-start"
            findings.append(Finding(code=code, task=problem.task, place=problem.place,
                                    text=str(problem).replace("warning: ", "", 1)))
        findings += _zone_findings(config, inspector.now)
    return findings + _own_file_findings(inspector)


def _lost_blocks() -> "List[Finding]":
    try:
        table = read_crontab()
    except ConductorError:
        return []  # `examine` has said so
    return [Finding(code="lost-block", command="crontab -e", text=(
        "the crontab has a block for %s, which does not exist" % root))
        for root in re.findall(r"(?m)^%s(.*)$" % BLOCK_BEGIN, table) if not os.path.isdir(root)]


def _zone_findings(config: Config, now: float) -> "List[Finding]":
    """Whether schedules go by another clock than the one that the reader's shell shows."""
    zone = os.environ.get("TZ")
    with_zones = [task.timezone for task in config.tasks.values() if task.schedule is not None]
    if not zone or with_zones and all(with_zones):
        return []
    if time.localtime(now).tm_gmtoff == zone_named(None).span(int(now))[2]:
        return []
    return [Finding(code="zone-differs", text=(
        "your shell has TZ=%s, but schedules use /etc/localtime; set timezone in the configuration"
        " to have them use another zone" % plain_line(zone)))]


def _own_file_findings(inspector: Inspector) -> "List[Finding]":
    """Whether whoever asks can read and write the files of the conductor, if they are theirs."""
    store = inspector.store

    def example(paths: "List[str]") -> str:
        return store.shown(paths[0]) + (", ..." if len(paths) > 1 else "")

    findings = []
    owner = owner_name(store.root)
    root_owner = os.stat(store.root).st_uid
    owners = {path: _owner_of(path) for path, _ in store.own_files()}
    foreign = [path for path, number in owners.items() if number not in (None, root_owner)]
    if foreign:
        files = plural(len(foreign), "file belongs", "files belong")
        findings.append(Finding(
            code="foreign-files", command="sudo chown -R %s: %s" % (owner, " ".join(
                shlex.quote(path) for path in sorted({_folder_to_chown(store, path)
                                                      for path in foreign}))),
            text="%s to another user than %s, the owner of the folder: %s; run everything as %s" % (
                files, owner, example(foreign), owner)))
    if not inspector.is_owner():
        return findings
    folders = {folder for folder, _ in OWN_FILES} | {"logs", "status"}
    for path in map(store.path, sorted(folders - {"__pycache__"})):
        if os.path.isdir(path) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            findings.append(Finding(
                code="not-accessible", text="%s is not readable and writable" % path,
                command="chmod u+rwx %s" % shlex.quote(path)))
    unreadable = [path for path, number in owners.items()
                  if number is not None and not os.access(path, os.R_OK)]
    if unreadable:
        findings.append(Finding(code="not-accessible", text="%s cannot be read: %s" % (
            plural(len(unreadable), "file"), example(unreadable))))
    return findings


def _folder_to_chown(store: Reader, path: str) -> str:
    """The folder whose files one command gives back, or the file where that would be the root."""
    folder = store.shown(path).partition("/")
    return store.path(folder[0] if folder[1] else store.shown(path))


def _owner_of(path: str) -> "int | None":
    """The user who owns a file; None if it is gone: a tick writes beside a file, then renames."""
    try:
        return os.stat(path).st_uid
    except FileNotFoundError:
        return None


# -- what the doctor says of a check that found nothing wrong

def _ticks_in_order(inspector: Inspector, machine: Machine, config: "Config | None") -> "List[str]":
    if machine.last_tick is None or machine.silent_s > TICK_STALE_S:
        return []  # another check has the reason
    if machine.last_tick - machine.now > TICK_STALE_S:
        return []  # and so has the one of the clock
    text = "the last tick was %s ago" % duration_text(machine.now - machine.last_tick)
    return [text + ("; %s is running" % machine.daemon if machine.daemon else "")]


def _crontab_in_order(inspector: Inspector, machine: Machine,
                      config: "Config | None") -> "List[str]":
    if not inspector.is_owner():
        return ["not looked at: it is that of %s" % owner_name(inspector.store.root)]
    if has_timer(inspector.store.root):
        return ["the systemd timer is installed"]
    return ["the line runs this file with %s" % interpreter()]


def _configuration_in_order(inspector: Inspector, machine: Machine,
                            config: "Config | None") -> "List[str]":
    tasks = plural(len((config or Config()).tasks), "task")
    return ["%s, and %s finds their programs" % (tasks, inspector.caller)]


def _environment_in_order(inspector: Inspector, machine: Machine,
                          config: "Config | None") -> "List[str]":
    names, path = inspector.store.tick_environment() or ([], CRON_PATH)
    lines = ["%s's PATH is %s" % (inspector.caller, path)]
    folders = [folder for folder in os.environ.get("PATH", "").split(":")
               if folder not in path.split(":")]
    if folders:
        lines.append("only in your shell's PATH: %s" % ":".join(folders))
    # Every shell sets these; no task depends on them.
    missing = sorted(set(os.environ) - set(names) - {"_", "SHLVL", "OLDPWD", "PWD", "TERM"})
    if missing:
        lines.append("only in your shell's environment: %s" % ", ".join(missing))
    return lines


def _clock_in_order(inspector: Inspector, machine: Machine, config: "Config | None") -> "List[str]":
    return ["%s, local time %s" % (iso(machine.now), local_text(machine.now, None))]


def _files_in_order(inspector: Inspector, machine: Machine, config: "Config | None") -> "List[str]":
    return ["%s, all owned by %s" % (
        plural(len(inspector.store.own_files()), "file"), owner_name(inspector.store.root))]


def _messages_in_order(inspector: Inspector, machine: Machine,
                       config: "Config | None") -> "List[str]":
    if machine.undelivered:
        return ["%s, the oldest of %s" % (
            plural(len(machine.undelivered), "undelivered message"), iso(min(machine.undelivered)))]
    return ["no undelivered messages"]


def _disk_in_order(inspector: Inspector, machine: Machine, config: "Config | None") -> "List[str]":
    if machine.free_bytes is None:
        return []  # that it cannot be told is a finding of its own
    return ["%s free of %s" % (size_text(machine.free_bytes), size_text(machine.total_bytes))]


def _pauses_in_order(inspector: Inspector, machine: Machine,
                     config: "Config | None") -> "List[str]":
    return ["nothing is paused"]


def _tasks_in_order(inspector: Inspector, machine: Machine, config: "Config | None") -> "List[str]":
    return ["none is failing, blocked or overdue"]


CHECKS = {  # topic -> what to say if no finding belongs to it
    "ticks": _ticks_in_order,
    "crontab": _crontab_in_order,
    "configuration": _configuration_in_order,
    "environment": _environment_in_order,
    "clock": _clock_in_order,
    "files": _files_in_order,
    "messages": _messages_in_order,
    "disk": _disk_in_order,
    "pauses": _pauses_in_order,
    "tasks": _tasks_in_order,
}


def cmd_findings(store: Store, args: "argparse.Namespace") -> int:
    """What scripts/quick_health_check.sh asks for: a line a finding, its fields between tabs.

    A last line "end" tells an answer that is whole from one that was cut short.
    """
    now = Clock().now()
    for finding in health_of(store):
        fields = (finding.severity, finding.code, finding.task,
                  finding_text(finding_document(finding), now), finding.command,
                  FINDINGS[finding.code][1])
        print_line("\t".join(plain_line(field, 1000) for field in fields))
    print_line("end")
    return EXIT_OK


def cmd_deliver(store: Store, args: "argparse.Namespace") -> int:
    store.hold(args.here)
    deliver(store, Snapshot(store).config, Clock())
    return EXIT_OK


def cmd_notify_test(store: Store, args: "argparse.Namespace") -> int:
    config = store.read_config()
    message: "Message" = {
        "event": "test", "channel": "notify", "at": iso(Clock().now()), "task": None}
    ways = ways_to_send(config, message, store.root)
    if not ways:
        raise UsageError(NO_TARGET, "%s in %s" % (
            NO_TARGET_HINT, store.shown(store.config_path)))
    code = EXIT_OK
    for way, send in ways.items():
        trouble = send()
        print_line("%s: %s" % (way, trouble or "sent"))
        if trouble:
            code = EXIT_FAILED
    if not config.enable_notifications:
        print_line("note: enable_notifications is false: only test messages are sent")
    return code


def cmd_check(store: Store, args: "argparse.Namespace") -> int:
    if args.pools and not args.engine:
        raise UsageError("--pools needs --engine", "see: check --help")
    if args.file:
        store = Store(store.root, os.path.abspath(args.file))
    problems: "List[Problem]" = []
    try:
        store.check_root()
    except ConfigError as error:
        problems += error.problems  # go on: every problem is reported at once
    try:
        config = store.read_config()
        problems += config.problems
    except ConfigError as error:
        problems += [problem for problem in error.problems if problem not in problems]
        config = error.partial
    # What is odd about an invalid task is said as well: it is read again once it is mended.
    tasks = dict(config.tasks, **{task.place: task for task in config.drafts})
    drafted = config.replace(tasks=tasks)
    warnings = suspicions(drafted, Clock().now())
    engine = load_engine(store, args.engine) if args.engine else None
    for problem in engine.problems(drafted) if engine else problems_here(store, drafted):
        (warnings if problem.warning else problems).append(problem)
    order = {task.place: task.order for task in tasks.values()}
    warnings.sort(key=lambda warning: order.get(warning.place, len(order)))
    if not args.file and not engine:
        warnings += crontab_suspicions(store)
    if args.pools:
        return _print_pools(engine, config, problems)
    for problem in problems + warnings:
        _print_problem(problem)
    print_line("%s: %s, %s, %s" % (
        store.shown(store.config_path), plural(len(tasks), "task"),
        plural(len(problems), "problem"), plural(len(warnings), "warning")))
    return EXIT_CONFIG if problems else EXIT_OK


def _print_pools(engine: "Any", config: Config, problems: "List[Problem]") -> int:
    """Print what the engine imports its pools from, and nothing else to standard output."""
    for problem in problems:
        _print_problem(problem)
    if problems:
        return EXIT_CONFIG
    print_json(engine.pools_document(config))
    return EXIT_OK


def problems_here(store: Reader, config: Config) -> "List[Problem]":
    """What is wrong with the configuration on this machine."""
    return (missing_programs(store, config) + start_problems(store, config)
            + missing_services(store, config) + unmade_files(store, config))


def _print_problem(problem: Problem) -> None:
    """Print a line; on a terminal, wrapped at words."""
    # A CI job that keeps stderr only sees what stops tasks, not what is merely suspicious.
    stream = sys.stdout if problem.warning else sys.stderr
    text = str(problem)
    if stream.isatty():
        text = wrap_words(text, terminal_size().columns, "    ")
    print_line(text, stream)


def start_problems(store: Reader, config: Config) -> "List[Problem]":
    """What keeps commands from starting, whatever their programs: a file of env_file that cannot be
    used, and as a warning, what this system cannot do.
    """
    problems = []

    def note(place: str, task: str, field: str, text: str, hint: str = "",
             is_warning: bool = False) -> None:
        problems.append(Problem(place=place, text="%s: %s" % (field, text), hint=hint, task=task,
                                field=field, warning=is_warning))

    users = [(store.shown(store.config_path) + ": settings", "", config.env_file)]
    users += [(task.place, task.name, task.env_file) for task in config.tasks.values()]
    for place, name, paths in users:
        for path in paths:
            try:
                store.variables([path])
            except ConfigError as error:
                for problem in error.problems:
                    note(place, name, "env_file", "%s: %s" % (problem.place, problem.text),
                         problem.hint)
    for task in config.tasks.values():
        for field in ("ionice", "memory_limit"):
            if getattr(task, field) and limit_trouble(field):
                note(task.place, task.name, field, limit_trouble(field),
                     "the task fails to start; remove it", is_warning=True)
    return problems


def _path_of(store: Reader, config: Config, task: Task, cron_path: str) -> str:
    """The PATH of a task's command, where cron's is this one."""
    try:
        own = dict(store.variables(task.env_file), **task.env)
        shared = dict(store.variables(config.env_file), **config.env)
    except ConfigError:  # `start_problems` reports it
        own, shared = task.env, config.env
    return own.get("PATH", shared.get("PATH", cron_path))


def filled_in_for_look(command: "str | Tuple[str, ...]", task: str) -> "str | Tuple[str, ...]":
    """A launcher or cancel_command as it will be, as far as that is known ahead of a run."""
    # As what `start_trouble` leaves to the run, because only a shell could tell.
    places = {"task": task, "run_id": "$RUN_ID", "timeout": "$TIMEOUT", "command": "$COMMAND"}
    if isinstance(command, str):
        return command.format(**places)
    return tuple(word.format(**places) for word in command)


def missing_programs(store: Reader, config: Config, cron_path: str = CRON_PATH,
                     caller: str = "cron") -> "List[Problem]":
    """Warnings for commands and conditions that cron, or another caller of the ticks, could not
    start.
    """
    warnings = []
    seen = set()

    def warn(field: str, text: str, hint: str, place: str, task: str) -> None:
        warnings.append(Problem(place=place, text="%s: %s" % (field, text), hint=hint,
                                warning=True, task=task, field=field))

    def look(field: str, command: "str | Tuple[str, ...]", folder: str, path: str, place: str,
             task: str) -> None:
        if field in ("launcher", "cancel_command"):  # maybe that of the settings, for all tasks
            command = filled_in_for_look(command, task)
            if (field, command, folder, path) in seen:
                return
            seen.add((field, command, folder, path))
        whose = caller + "'s" if path == cron_path else "the task's"
        text, hint = start_trouble(command, folder, path, whose)
        if text:
            warn(field, text, hint, place, task)

    for task in config.tasks.values():
        cwd = task.cwd
        if unexpanded(cwd):
            continue  # `suspicions` warns of it
        folder = os.path.join(store.root, cwd)
        if cwd and not os.path.isdir(folder):
            hint = near_path(cwd, store.root, is_folder=True) or "create it, or correct the path"
            warn("cwd", "the folder '%s' does not exist" % cwd, hint, task.place, task.name)
            continue
        path = _path_of(store, config, task, cron_path)
        if task.launcher:
            # The command is one of another machine.
            look("launcher", task.launcher, folder, path, task.place, task.name)
        else:
            look("command", task.command, folder, path, task.place, task.name)
        if task.launcher and task.cancel_command:
            look("cancel_command", task.cancel_command, folder, path, task.place, task.name)
        if task.condition:
            look("condition", task.condition, folder, path, task.place, task.name)
    if config.notification_command:
        look("notification_command", config.notification_command, store.root, cron_path,
             store.shown(store.config_path), "")
    return warnings


def _coming_document(task: Task, slot: int) -> "Document":
    document = {"task": task.name, "scheduled_for": iso(slot)}
    if window_words(task, slot):
        document["starts_at"] = iso(start_time(task, slot))
    return document


def missing_services(store: Reader, config: Config) -> "List[Problem]":
    """Warnings for settings without the other setting, the mail system or the log they need."""
    place = store.shown(store.config_path)
    warnings = []
    targets = [name for name in NOTIFICATION_TARGETS if getattr(config, name)]
    if config.enable_notifications and not targets:
        warnings.append(Problem(
            place=place, warning=True, field="enable_notifications",
            text="enable_notifications: " + NO_TARGET, hint=NO_TARGET_HINT))
    elif targets and not config.enable_notifications:
        warnings.append(Problem(
            place=place, warning=True, field=targets[0],
            text="%s: not used, as enable_notifications is false" % join_words(targets),
            hint="to be notified, set it to true"))
    if config.notification_email and not sendmail_path():
        warnings.append(Problem(place=place, text="notification_email: " + NO_SENDMAIL,
                                hint=SENDMAIL_HINT, warning=True, field="notification_email"))
    text, hint = log_trouble_of(config.log_to)
    if text:
        warnings.append(Problem(
            place=place, text="log_to: " + text, warning=True, field="log_to", hint=hint))
    return warnings


def unmade_files(store: Reader, config: Config) -> "List[Problem]":
    """Warnings for files of settings that nothing makes or that cannot be written."""
    warnings = []
    for setting, name in MADE_BESIDE.items():
        file_name = getattr(config, setting)
        if not file_name:
            continue
        text, hint = _unmade_because(store, name, os.path.join(store.root, file_name))
        if text:
            warnings.append(Problem(place=store.shown(store.config_path), warning=True,
                                    field=setting, text="%s: %s" % (setting, text), hint=hint))
    return warnings


def _unmade_because(store: Reader, name: str, path: str) -> "Tuple[str, str]":
    """Why the command `name` cannot make this file, and what to do about it; '' if it can."""
    folder = os.path.dirname(path)
    if not is_beside(name):
        error = not_beside(name, [os.path.basename(path_beside(name))])
        return error.message, error.hint
    if not os.path.isdir(folder):
        return "the folder '%s' does not exist" % folder, "create it, or correct the path"
    if not os.access(folder, os.W_OK | os.X_OK) and not as_owner_hint(store.root):
        return ("%s cannot write to %s" % (current_user()[0], folder),
                "to see who can: ls -ld %s" % shlex.quote(folder))
    try:
        check_replaceable(path)
    except ForeignFile as trouble:
        return ("'%s' cannot be replaced: %s" % (path, trouble.strerror),
                "remove it, or correct the path")
    except OSError:
        pass  # of a folder of another user: whether it is there cannot be told
    return "", ""


def cmd_next(store: Store, args: "argparse.Namespace") -> int:
    config = store.read_config()
    only = task_named(config, args.task).name if args.task else ""
    if args.tags:
        names = tasks_tagged(config, args.tags)
        config = config.replace(
            tasks={name: task for name, task in config.tasks.items() if name in names})
    state, now = store.read_state()[0], Clock().now()
    slots = coming_slots(config, state, store.last_tick(), now, args.count, only)
    waiting = waiting_starts(config, state, now, only)
    if args.json:
        print_json([{"task": name, "scheduled_for": iso(at), "starts_at": iso(start)}
                    for start, name, at in waiting]
                   + [_coming_document(config.tasks[name], at) for at, name in slots])
        return EXIT_OK
    lines = []
    for start, name, at in waiting:
        task = config.tasks[name]
        lines.append("%s  %s  (slot %s: waiting%s)" % (
            local_text(start, task.timezone), name, local_text(at, task.timezone),
            window_words(task, now)))
    for at, name in slots:
        task, note = config.tasks[name], ""
        if at <= now:
            note = "  (due: the next tick decides it)"
        elif is_too_late_for_window(task, at):
            note = "  (too late to start: %s)" % window_words(task, at).strip(" ()")
        elif window_words(task, at):
            note = "  (starts %s: %s)" % (
                local_text(start_time(task, at), task.timezone),
                window_words(task, at).strip(" ()"))
        lines.append("%s  %s%s" % (local_text(at, task.timezone), name, note))
    for name in config.tasks:
        if only not in ("", name) or name not in state.tasks:
            continue
        for text, reason in sorted(state.tasks[name].skips.items()):
            slot_text = local_text(from_iso(text) or 0, config.tasks[name].timezone)
            lines.append("skipped: %s: the slot %s is %s" % (name, slot_text, reason))
    lines += ["skipped: " + line for line in skipped_days(config, slots, now)]
    for line in lines:
        print_line(wrap_words(line, terminal_size().columns, "    "))
    if not lines:
        hint = "; resume ends a pause" if state.pauses else ""
        print_line("nothing is scheduled" + hint)
    return EXIT_OK


def _schedule_of(words: "Sequence[str]", name: str) -> CronSchedule:
    """The schedule of one word, or of the words that a shell made of an expression without quotes.

    Several words that are each an expression make a list. Raises UsageError where the shell made
    file names of the stars.
    """
    if len(words) > 1 and all(" " in word.strip() or word.startswith("@") for word in words):
        return schedule_of(LIST_MARK.join(words), name)
    try:
        return CronSchedule(" ".join(words), name)
    except CronSyntaxError:
        files = sorted(file for file in os.listdir(".") if not file.startswith("."))
        if len(words) == 1 or not set(files) & set(words):
            raise
    fields = list(words)
    for place in range(len(fields)):
        if sorted(fields[place:place + len(files)]) == files:
            fields[place:place + len(files)] = ["*"]
    raise UsageError("the shell put file names in the place of *",
                     "quote it: explain %s" % shlex.quote(" ".join(fields)))


def cmd_explain(store: Store, args: "argparse.Namespace") -> int:
    schedule = _schedule_of(args.expression, args.name)
    try:
        zone_named(args.zone)
    except ConductorError as error:
        raise UsageError("--zone: %s" % error)
    now = Clock().now()
    at: "float | None" = now
    if args.start is not None:
        at = time_option("--from", args.start, args.zone, now, is_past=False)
    slots: "List[int]" = []
    while len(slots) < args.count and at is not None:
        at = schedule.next(at, args.zone)
        if at is not None:
            slots.append(at)
    words = describe(schedule.written, args.name)
    warnings = ["%s (%s)" % advice for advice in schedule_advice(schedule, args.name)]
    if not args.name and re.search(r"(?:^|[ ,])H", schedule.text):
        warnings.append("H depends on the task's name: add --name NAME")
    if args.json:
        print_json({"expression": schedule.written, "description": words, "zone": args.zone,
                    "next": [iso(slot) for slot in slots], "warnings": warnings})
        return EXIT_OK
    print_line("%s: %s" % (cut_text(schedule.text, LONGEST_REWRITTEN), words))
    for slot in slots:
        print_line("  %s" % local_text(slot, args.zone))
    for warning in warnings:
        print_line("warning: " + warning)
    return EXIT_OK


STARTER_CONFIG = """\
{
  // Edits take effect at the next tick. To find mistakes: symphony_conductor.py check.
  // To see when tasks run: symphony_conductor.py next.
  "tasks": [
    {
      // Every five minutes. The output goes to logs/automation/hello.log.
      "name": "hello",
      "command": "echo it works: $(date)",  // a string is run by /bin/sh -c, a list directly
      "schedule": "*/5 * * * *",            // minute hour day-of-month month day-of-week
      "timeout": 60                         // time limit in seconds
    },
    {
      // Every morning at 8, once the 8 o'clock run of hello has succeeded.
      "name": "disk_space",
      "command": "df -h .",
      "schedule": "0 8 * * *",
      "dependencies": ["hello"],
      "retry_count": 2,                     // if it fails, two more attempts,
      "retry_delay": 300                    // five minutes apart
    }
  ],
  "settings": {
    "max_concurrent_tasks": 3
  }
}
"""


# -- becoming a command beside this file

def run_beside(store: Store, name: str, words: "Sequence[str]") -> int:
    """Become the command `name` beside this file, with these words for it."""
    path = path_beside(name)
    folder, file_name = os.path.split(path)
    missing = [file_name] if not is_beside(name) else missing_modules(folder, file_name)
    if missing:
        raise not_beside(name, missing)
    # All that it could import from there.
    modules = [entry for entry in sorted(os.listdir(folder)) if entry.endswith(".py")]
    is_foreign = check_beside(store, folder, modules + ["__pycache__"])
    flags = [flag for flag, field in PYTHON_FLAGS if getattr(sys.flags, field)]
    if is_foreign:
        flags.append("-B")  # nobody leaves compiled files in somebody else's folder
    options = ["--root", store.root]
    if store.config_path != store.path(CONFIG_NAME):
        options += ["--config", store.config_path]
    sys.stdout.flush()
    with doing("run", path):
        os.execv(interpreter(), [interpreter()] + flags + [path] + options + list(words))
    return EXIT_OK


# -- init, install, uninstall

def cmd_init(store: Store, args: "argparse.Namespace") -> int:
    script, place = own_command(store.root), store.shown(store.config_path)
    store.check_root()
    try:
        fd = open_making_folder(store.config_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        print_line("%s already exists; left unchanged" % place)
        return EXIT_OK
    except OSError as error:
        raise StorageError.of("write", store.config_path, error)
    text = STARTER_CONFIG
    if os.path.isfile(os.path.join(os.path.dirname(store.config_path), SCHEMA_FILE)):
        text = text.replace("{\n", '{\n  "$schema": "%s",\n' % SCHEMA_FILE, 1)
    try:
        write_all(fd, text.encode())
    finally:
        os.close(fd)
    print_line("wrote %s, with two tasks as examples. Next steps:" % place)
    print_line("  edit it:                   %s" % store.config_path)
    print_line("  check it:                  %s check" % script)
    print_line("  install the crontab line:  %s install" % script)
    return EXIT_OK


def cmd_install(store: Store, args: "argparse.Namespace") -> int:
    if args.timer and args.mailto:
        raise UsageError("--mailto is for cron", "the ticks of a timer write to the journal")
    if args.timer:
        return run_beside(store, "timer", _timer_words("install", args))
    me = current_user()[0]
    if args.user:
        switch_user(args.user)
    check_installable(store, is_for_another=current_user()[0] != me)
    before = read_crontab()
    refuse_to_double(store, before)
    after = table_with_line(store, before, args.mailto)
    if after == before:
        print_line("the crontab line is already installed:")
    elif args.dry_run:
        print_line("would install the crontab line:")
    else:
        for folder in ("logs/automation", "status/automation_health", "status/history"):
            make_folder(store.path(folder))
        write_crontab(after, before, store)
        print_line("installed the crontab line:")
    print_line("".join(crontab_lines(split_at_block(after, store.root)[1])[1:-1]), end="")
    if not args.dry_run:
        tick_first(store)
    if not args.daemon_checked and cron_daemon() == "":  # None proves nothing
        command = daemon_command()
        print_line("WARNING: no cron daemon is running, so nothing calls the line yet%s" % (
            "; to start one: %s" % command if command else ""))
    note = daemon_note()
    if note:
        print_line(note)
    return EXIT_OK


def tick_first(store: Store) -> None:
    """Let the slots count from now on, instead of from cron's first tick. Starts nothing."""
    write_atomic(store.path(INSTALLED_NAME), b"", durable=False)
    if os.path.exists(store.state_path):
        return
    try:
        lines = Conductor(store).tick(is_called=False).lines
    except (ConductorError, OSError) as error:
        lines = str(error).splitlines()
    if lines:
        print_line("note: the first tick reported: %s" % lines[0])


def _timer_words(action: str, args: "argparse.Namespace") -> "List[str]":
    """What to call the command `timer` with for these options of install or uninstall."""
    words = [action]
    if args.user:
        words += ["--user", args.user]
    if args.dry_run:
        words.append("--dry-run")
    if action == "uninstall" and args.purge:
        words.append("--purge")
    return words


def cmd_uninstall(store: Store, args: "argparse.Namespace") -> int:
    if args.timer:
        return run_beside(store, "timer", _timer_words("uninstall", args))
    if args.user:
        switch_user(args.user)
    _uninstall_line(store, args.dry_run)
    return finish_uninstall(store, args.purge, args.dry_run)


def finish_uninstall(store: Store, purge: bool, dry_run: bool) -> int:
    """What follows once the crontab line or the timer is gone."""
    if purge:
        return _purge(store, dry_run)
    print_line("configuration, state and logs stay")
    return EXIT_OK


def forget_ticks(store: Store) -> None:
    """Keep runs that are still going from starting what is due when they end."""
    try:
        os.unlink(store.path(HEARTBEAT_NAME))
    except FileNotFoundError:
        pass  # there was no tick yet


def is_gone(path: str) -> bool:
    """Whether there is nothing at a path; one that cannot be looked at may be there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def stranded_lines(crontab: str, root: str) -> "Tuple[str, str]":
    """What becomes of lines handed over to a root that is uninstalled, and what to do; '' twice.

    They are comments to cron, so that nothing would run them. A root that is gone may have been
    renamed to this one.
    """
    for other in [root] + [other for other in marked_roots(crontab) if is_gone(other)]:
        lines = crontab_lines(crontab)
        count = sum(bool(re.match(handed_over_pattern(other), line)) for line in lines)
        if count:
            option = "" if other == root else " --former " + shlex.quote(other)
            return ("nothing will run %s of the crontab handed over to %s" % (
                        plural(count, "line"), other),
                    "to give them back to cron: %s import-crontab --switch-back%s" % (
                        own_command(root), option))
    return "", ""


def _uninstall_line(store: Store, dry_run: bool) -> None:
    try:
        before = read_crontab()
    except UnavailableError:
        print_line("crontab(1) is not installed, so there is no line to remove")
        return
    stranded, hint = stranded_lines(before, store.root)
    if stranded and not has_timer(store.root):  # else it goes on with them
        raise ConductorError("not uninstalled: " + stranded, hint)
    after = without_block(before, store.root)
    if after == before:
        print_line("there is no crontab line for %s" % store.root)
    elif dry_run:
        print_line("would remove from the crontab:")
        print_line(split_at_block(before, store.root)[1], end="")
    else:
        try:
            write_crontab(after, before, store)
        finally:  # the line may be gone, even if the new table cannot be listed
            forget_ticks(store)
        print_line("removed the crontab line for %s" % store.root)


def _purge(store: Store, dry_run: bool) -> int:
    """Ask, then remove what the conductor wrote for itself; everything else stays."""
    sizes: "Dict[str, List[int]]" = {}
    for path, size in store.own_files():
        sizes.setdefault(os.path.dirname(store.shown(path)) or ".", []).append(size)
    if not sizes:
        print_line("no state or logs in %s" % store.root)
        return EXIT_OK
    print_line("state and logs in %s:" % store.root)
    print_line(columns([("  " + folder, plural(len(sizes[folder]), "file"),
                         plural(sum(sizes[folder]), "byte")) for folder in sorted(sizes)]))
    if dry_run:
        print_line("would ask, and then remove them")
        return EXIT_OK
    print_line("Remove them for good? Type yes: ", end="")
    sys.stdout.flush()
    if sys.stdin.readline().strip() != "yes":
        print_line("nothing was removed")
        return EXIT_OK
    removed = plural(store.remove_own_files(), "file")
    print_line("removed %s; the configuration stays" % removed)
    return EXIT_OK


# == Command line ==

def count_option(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not re.match(r"[0-9]{1,6}\Z", text) or not int(text):
        raise argparse.ArgumentTypeError("%r is not a whole number from 1 to 999999" % (
            cut_text(text, 60)))
    return int(text)


def statuses() -> "List[str]":
    """The statuses of the history, and `skipped` for every kind of skip."""
    skips = [fate for fate in FATES if fate.startswith("skipped_")]
    return list(dict.fromkeys(list(MARKS) + ["skipped"] + skips))


def status_option(text: str) -> str:
    """One of the statuses, for argparse."""
    if text not in statuses():
        raise argparse.ArgumentTypeError(
            "'%s' is not a status; use %s" % (cut_text(text, 60), ", ".join(statuses())))
    return text


def duration_option(text: str) -> float:
    """The seconds of a duration such as 2h, for argparse."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error))


def variable_option(text: str) -> "Tuple[str, str]":
    """The name and the value of NAME=VALUE, for argparse. The value may be secret."""
    name, equals, value = text.partition("=")
    if not equals or not TASK_RULES["env"].takes({name: value}):
        raise argparse.ArgumentTypeError("%s is not NAME=VALUE, with letters, digits and '_' in"
                                         " the name" % cut_text(ascii(name), 60))
    if name.startswith("SYMPHONY_"):
        raise argparse.ArgumentTypeError("%s is set by the conductor" % name)
    return name, value


def mail_option(text: str) -> str:
    """An address, or several with commas, as crontab(5) takes them; never an option."""
    if text and not re.match(r"[A-Za-z0-9_][A-Za-z0-9._%+@,=:/-]*\Z", text):
        raise argparse.ArgumentTypeError("%r is not a mail address" % text)
    return text


def option(*names: str, **how: "Any") -> "Tuple[Tuple[str, ...], Dict[str, Any]]":
    """An option or a positional argument: its names, and what argparse does with it."""
    return names, how


class CommandEntry(Value):
    """A command of the command line. Of the options in a list only one may be given."""

    func: "Callable[[Store, argparse.Namespace], int]"
    text: str = ""     # for the lists; '' keeps the command out of them
    example: str = ""  # what follows the program's name
    options: "Sequence[Any]" = ()
    task: str = ""     # what the task is for, of a command that takes one
    needs_task: bool = False


def command_table() -> "Dict[str, CommandEntry]":
    """Each command of this file, also those that no list shows.

    It is a function so that an idle tick does not pay for it.
    """
    table = _commands_of_the_conductor()
    for commands in COMMAND_GROUPS.values():
        table.update(commands())
    return table


JSON_OPTION = option("--json", action="store_true", help="print JSON (default: a text for people)")
TAG_OPTION = option("--tag", dest="tags", action="append", default=[], metavar="TAG",
                    help="the tasks with this tag; may be repeated (default: none)")
SINCE_OPTION = option("--since", default="7d", metavar="WHEN",
                      help="12h, 18:09, 2025-06-02 or 2025-06-02T18:09Z (default: 7d)")


def _commands_to_run() -> "Dict[str, CommandEntry]":
    return {
        "run": CommandEntry(
            func=cmd_run, text="run a task now, in the foreground",
            example="run backup --with-dependencies", task="the task to run", needs_task=True,
            options=(
                [option("--with-dependencies", dest="dependencies", action="store_const",
                        const="first", default="check", help="run the unmet dependencies first, in"
                        " order (default: refuse while one is unmet)"),
                 option("--ignore-dependencies", dest="dependencies", action="store_const",
                        const="ignore", help="run it even if its dependencies failed")],
                TAG_OPTION,
                option("--as-cron", action="store_true", help="run it in the environment that"
                       " cron provides (default: this shell's)"),
                option("--env", type=variable_option, action="append", default=[],
                       metavar="NAME=VALUE", help="set a variable for this run; may be repeated"
                       " (default: none)"),
                [option("--slot", metavar="TIME", help="run it for this past slot (default:"
                        " for none)"),
                 option("--from", dest="start", metavar="TIME",
                        help="run it for each slot from TIME on, until one does not succeed"
                        " (default: for none)")],
                option("--to", dest="end", metavar="TIME",
                       help="the end of --from (default: now)"),
                option("--dry-run", action="store_true", help="only list the slots of --from"),
                option("--yes", action="store_true",
                       help="run more than %d slots" % SLOTS_UNASKED))),
        "stop": CommandEntry(
            func=cmd_stop, text="stop a running task, or one that waits; its slot is not retried",
            example="stop backup", task="the task to stop", needs_task=True),
        "tick": CommandEntry(func=cmd_tick, text="start the tasks that are due; run by cron",
                        example="tick"),
    }


def _commands_to_look() -> "Dict[str, CommandEntry]":
    return {
        "status": CommandEntry(
            func=cmd_status, text="show status: a table on a terminal, JSON when piped",
            example="status --watch", task="only this task (default: all)",
            options=([
                option("--json", action="store_true", help="print JSON (default when piped)"),
                option("--table", action="store_true",
                       help="print the table (default on a terminal)"),
                option("--watch", action="store_true",
                       help="redraw the table every two seconds")],
                TAG_OPTION,
                option("--problems", action="store_true",
                       help="show only what is wrong, without the table of tasks"),
                option("--exit-code", action="store_true",
                       help="exit 1 if there is a problem (default: 0)"))),
        "why": CommandEntry(
            func=cmd_why, text="explain why a task ran or did not run, and what happens next",
            example="why backup --at 02:00", task="the task to explain", needs_task=True,
            options=(option("--at", metavar="TIME", help="ask about the run due at TIME, such as"
                            " 18:09, or the latest before it (default: now)"),)),
        "logs": CommandEntry(
            func=cmd_logs, text="show what a task printed",
            example="logs backup --follow", task="the task that printed it", needs_task=True,
            options=(
                option("--lines", type=count_option, metavar="N",
                       help="show the last N lines (default: 50; all with --run)"),
                option("--raw", action="store_true", help="pass control characters to the"
                       " terminal (default: only when piped)"),
                [option("--follow", action="store_true", help="keep printing new output"),
                 option("--run", dest="run_id", metavar="RUN_ID",
                        help="the output of this run (default: of all runs)")])),
        "history": CommandEntry(
            func=cmd_history, text="list past results, newest first",
            example="history backup --since 2d --status failed",
            task="only this task (default: all)", options=(
                SINCE_OPTION,
                option("--status", type=status_option, metavar="STATUS", help="only this status;"
                       " skipped includes every skipped_* (default: all)"),
                option("--limit", type=count_option, default=50, metavar="N",
                       help="at most N results (default: 50)"),
                option("--runs", action="store_true",
                       help="show run IDs (default: at %d columns or more)" % WIDE_HISTORY),
                JSON_OPTION)),
        "audit": CommandEntry(
            func=cmd_audit, example="audit --since 30d",
            text="compare every scheduled run with the history; exits 1 if one is unexplained",
            task="only this task (default: all)", options=(
                SINCE_OPTION, JSON_OPTION,
                option("--engine", choices=ENGINES,
                       help="include the runs of this engine (default: only this history)"))),
        "next": CommandEntry(
            func=cmd_next, text="list upcoming runs", example="next backup --count 3",
            task="only this task (default: all)", options=(
                option("--count", type=count_option, default=10, metavar="N",
                       help="the number of runs (default: 10)"), TAG_OPTION, JSON_OPTION)),
        "explain": CommandEntry(
            func=cmd_explain, text="describe a schedule in English and list its next runs",
            example="explain '0 2 * * *' --zone Europe/Paris", options=(
                option("expression", nargs="+", metavar="EXPRESSION",
                       help="in quotes, such as '0 2 * * *'; several make a list"),
                option("--zone", metavar="ZONE", help="IANA time zone (default: the system's)"),
                option("--from", dest="start", metavar="TIME", help="18:09, 12h, 2025-06-02 or"
                       " 2025-06-02T18:09Z (default: now)"),
                option("--count", type=count_option, default=5, metavar="N",
                       help="the number of runs (default: 5)"),
                option("--name", default="", metavar="NAME",
                       help="the task whose name H is derived from (default: none)"),
                JSON_OPTION)),
        "doctor": CommandEntry(
            func=cmd_doctor, example="doctor", options=(JSON_OPTION,),
            text="diagnose cron, the environment and the installation; exits 1 on a problem"),
    }


def _commands_to_change() -> "Dict[str, CommandEntry]":
    return {
        "check": CommandEntry(
            func=cmd_check, text="report every problem in the configuration; exits 78 on one",
            example="check --config draft.json",
            options=(option("--config", dest="file", metavar="FILE", help="check this file instead"
                            " (default: %s and %s)" % (CONFIG_NAME, DROP_IN_DIR)),
                     option("--engine", choices=ENGINES, help="report what this engine lacks"
                            " (default: check for this machine)"),
                     option("--pools", action="store_true", help="print the pools that the engine"
                            " needs, as JSON to import"))),
        "pause": CommandEntry(
            func=cmd_pause, text="suspend a task's schedule; running tasks continue",
            example="pause backup --for 2h --reason 'disk replaced'", task="the task to suspend",
            options=(
                option("--all", action="store_true", help="suspend every task"), TAG_OPTION,
                [option("--until", metavar="TIME", help="18:09, 2h, 2025-06-02 or"
                        " 2025-06-02T18:09Z (default: until resumed)"),
                 option("--for", dest="duration", type=duration_option, metavar="DURATION",
                        help="such as 30m, 2h or 1d (default: until resumed)")],
                option("--reason", default="", metavar="TEXT",
                       help="shown by status and why (default: none)"))),
        "skip": CommandEntry(
            func=cmd_skip, text="skip the next slot of a task; repeat it to skip more",
            example="skip backup", task="the task whose next slot is skipped", needs_task=True,
            options=(option("--undo", action="store_true",
                            help="run the last of the skipped slots after all"),)),
        "resume": CommandEntry(
            func=cmd_resume, text="resume a task's schedule", example="resume backup",
            task="the task to resume", options=(
                option("--all", action="store_true", help="end the pause of pause --all"),
                TAG_OPTION)),
    }


def _commands_to_install() -> "Dict[str, CommandEntry]":
    installing = (
        option("--user", metavar="NAME",
               help="for this user (default: yourself); another user requires root"),
        option("--timer", action="store_true",
               help="a systemd timer (default: the crontab line)"),
        option("--dry-run", action="store_true", help="only show what would be done"))
    return {
        "init": CommandEntry(func=cmd_init, text="write a starting configuration if there is none",
                        example="init"),
        "install": CommandEntry(
            func=cmd_install, text="install the crontab line",
            example="install --mailto me@example.org", options=installing + (
                option("--mailto", type=mail_option, metavar="ADDRESS",
                       help="have cron mail tick output; '' turns it off (default: keep the"
                            " current setting)"),
                # setup.sh has looked for the daemon itself.
                option("--daemon-checked", action="store_true", help=argparse.SUPPRESS))),
        "uninstall": CommandEntry(
            func=cmd_uninstall, example="uninstall --dry-run",
            text="remove the crontab line; configuration, state and logs stay",
            options=installing + (option("--purge", action="store_true",
                                         help="also remove state and logs, after asking"),)),
        "notify-test": CommandEntry(func=cmd_notify_test, text="send a test notification",
                               example="notify-test"),
    }


COMMAND_GROUPS = {"Run": _commands_to_run, "Look": _commands_to_look,
                  "Change": _commands_to_change, "Install": _commands_to_install}


def _commands_of_the_conductor() -> "Dict[str, CommandEntry]":
    """What only the conductor itself runs."""
    # The root is the current folder: it keeps its hold of that even if the root is renamed.
    here = option("--here", action="store_true")
    return {
        "findings": CommandEntry(func=cmd_findings),  # for scripts/quick_health_check.sh
        "deliver": CommandEntry(func=cmd_deliver, options=(here,)),
        "supervise": CommandEntry(func=cmd_supervise, options=(
            here, option("verb", choices=("start", "adopt")), option("lock_fd", type=int),
            option("task"), option("run_id"))),
    }


# What people type from other tools, or from the daemon of earlier versions: what to use here.
LISTING = "status lists the tasks, next their upcoming runs"
EDITING = "edit %s or a file in %s/, then run check; nothing has to be reloaded" % (
    CONFIG_NAME, DROP_IN_DIR)
DISABLING = 'pause TASK suspends its schedule; for good: "enabled": false in the configuration'
NO_DAEMON = "there is no daemon: cron runs tick every minute, see status and install"
STOPPING = "stop TASK ends a run; pause TASK, pause --all or uninstall keeps tasks from starting"
RUNNING = "run TASK runs a task now"
CHECKING = "check reports every problem in the configuration"
WORDS_OF_OTHERS = {
    "list": LISTING, "ls": LISTING, "tasks": LISTING, "show": LISTING, "ps": LISTING,
    "start": "install has cron start what is due; run TASK runs a task now",
    "exec": RUNNING, "trigger": RUNNING,
    "kill": STOPPING, "cancel": STOPPING, "abort": STOPPING,
    "restart": EDITING, "reload": EDITING, "edit": EDITING, "add": EDITING, "create": EDITING,
    "remove": EDITING, "rm": EDITING, "delete": EDITING, "config": EDITING,
    "enable": 'resume TASK ends a pause; for "enabled": false, edit the configuration',
    "disable": DISABLING, "suspend": DISABLING,
    "daemon": NO_DAEMON, "service": NO_DAEMON,
    "validate": CHECKING, "test": CHECKING, "lint": CHECKING,
    "tail": "logs TASK --follow prints new output", "output": "logs TASK shows it",
    "health": "status and doctor", "version": "--version prints it",
}

PROGRAM = "symphony_conductor.py"
USAGE = PROGRAM + " [--root DIR] [--config FILE] COMMAND [ARGUMENT]..."


def _new_parser(program: str, about: str, example: str = "", rest: str = "",
                add_help: bool = True) -> "argparse.ArgumentParser":
    """A parser whose errors are ours, of one line each, and whose help shows `rest` as it is."""
    width = terminal_size().columns - 2  # argparse would ask shutil, which imports its compressors
    name = program[len(PROGRAM) + 1:]

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> "NoReturn":
            missing = re.match("the following arguments are required: (.*)", message)
            if missing:
                hint = "see %s --help" % name
                if example:
                    hint = "for example: " + example
                raise UsageError("%s needs %s" % (name, missing.group(1)), hint)
            raise UsageError(re.sub(r"\bargument (?=-|\w+:)", "", message))

        def format_help(self) -> str:
            text = super().format_help()
            if self.get_default("needs_task"):  # it may be --task instead, so argparse needs none
                text = text.replace("[TASK]", "TASK", 1)
            return text

    if example:
        rest = "Example: %s %s\n\n%s" % (PROGRAM, example, rest)
    return Parser(
        prog=program, description=about, epilog=rest, add_help=add_help,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=width))


def _parse_all(parser: "argparse.ArgumentParser", words: "Sequence[str]",
               args: "argparse.Namespace | None" = None) -> "argparse.Namespace":
    """What a parser makes of these words, in `args`. Raises UsageError for what it leaves over."""
    namespace, unknown = parser.parse_known_args(words, args)
    if unknown:
        options = list(parser._option_string_actions)
        raise _unexpected(unknown[0], options, parser.prog[len(PROGRAM) + 1:])
    return namespace


def _unexpected(word: str, options: "Sequence[str]", command: str) -> UsageError:
    """The refusal of a word that a command does not take, with the one that may be meant."""
    see = "see " + (command + " --help").lstrip()
    if not word.startswith("-"):
        return UsageError("unexpected argument '%s'" % word, see)
    word = word.partition("=")[0]
    metavar = {"--root": "DIR", "--config": "FILE"}.get(word)
    if metavar:
        return UsageError("%s goes before the command" % word,
                          "%s %s %s %s" % (PROGRAM, word, metavar, command))
    hint = did_you_mean(word, options)
    if re.match("-[a-z]", word) and not hint:  # -f of tail(1): --follow
        for long_option in options:
            if long_option.startswith("-" + word[:2]):
                hint = "did you mean '%s'?" % long_option
    return UsageError("unknown option '%s'" % word, hint or see)


def _add_root_options(parser: "argparse.ArgumentParser") -> None:
    parser.add_argument(
        "--root", metavar="DIR", help="root folder (default: $SYMPHONY_ROOT, else the folder of"
        " symphony_conductor.py)")
    parser.add_argument(
        "--config", metavar="FILE", help="configuration file (default: %s in the root)"
        % CONFIG_NAME)


def _add_options(parser: "argparse.ArgumentParser", command: CommandEntry) -> None:
    """Give a parser the options of a command; a task is named alone or by --task."""
    if command.task:
        parser.add_argument("task", nargs="?", metavar="TASK",
                            help=command.task + "; also as --task TASK")
        parser.add_argument("--task", dest="task_option", help=argparse.SUPPRESS)
    parser.set_defaults(func=command.func, needs_task=command.needs_task)
    for item in command.options:
        group: "Any" = parser
        alternatives = [item]
        if isinstance(item, list):
            group = parser.add_mutually_exclusive_group()
            alternatives = item
        for names, how in alternatives:
            group.add_argument(*names, **how)


def _settle_task(store: Store, args: "argparse.Namespace") -> None:
    """Make `args.task` the task that was named, alone or by --task."""
    if not hasattr(args, "task_option"):
        return
    names = [name for name in (args.task, args.task_option) if name is not None]
    has_tags = bool(getattr(args, "tags", ()))
    if len(set(names)) > 1:
        raise UsageError("two tasks are named: '%s' and '%s'" % (names[0], names[1]))
    if names and has_tags:
        raise UsageError("name a task or a tag, not both")
    if names:
        args.task = names[0]
    elif args.needs_task and not has_tags:
        raise UsageError("name a task", tasks_hint(list(Snapshot(store).config.tasks)))


def _top_parser() -> "argparse.ArgumentParser":
    """The parser of what stands before a command; the command and all behind it are `words`."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = _new_parser(PROGRAM, summary, rest=rest, add_help=False)
    parser.usage = USAGE
    # Not argparse's own: this help lists the commands, which takes reading those beside this file.
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    _add_root_options(parser)
    parser.add_argument("--version", action="store_true",
                        help="show the version, and the commit in a checkout")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _parse(words: "Sequence[str]") -> "argparse.Namespace":
    """A command line; `func` of what it returns carries it out."""
    args = _parse_all(_top_parser(), words)
    words = list(args.words)
    is_help = args.help or words[:1] == ["help"]
    while words[:1] in (["help"], ["--"]):
        words = words[1:]
    if is_help:
        words = words[:1] + ["--help"]
    if args.version:
        args.func = _print_version
    elif not words:
        args.func = _no_command
    elif words[0] == "--help":
        args.func = _print_help
    else:
        args = _parse_command(words[0], words[1:], args)
    return args


def _parse_command(name: str, words: "Sequence[str]",
                   args: "argparse.Namespace") -> "argparse.Namespace":
    """The command `name` with these words, added to the options before it. Raises UsageError."""
    table = command_table()
    command = table.get(name)
    if command is not None:
        parser = _new_parser("%s %s" % (PROGRAM, name), command.text, command.example)
        _add_options(parser, command)
        return _parse_all(parser, words, args)
    if name not in BESIDE and not is_beside(name):
        names = [name for name in table if table[name].text] + list(BESIDE)
        hint = WORDS_OF_OTHERS.get(name) or did_you_mean(name, names) or "--help lists them"
        raise UsageError("unknown command '%s'" % name, hint)
    args.func = lambda store, args: run_beside(store, name, words)
    return args


def _print_version(store: Store, args: "argparse.Namespace") -> int:
    print_line("symphony_conductor %s" % version_text())
    return EXIT_OK


def _print_help(store: Store, args: "argparse.Namespace") -> int:
    parser = _top_parser()
    parser.description = "%s\n\n%s" % (parser.description, commands_text())
    print_line(parser.format_help(), end="")
    return EXIT_OK


def _no_command(store: Store, args: "argparse.Namespace") -> int:
    print_line("usage: %s\n\n%s" % (USAGE, commands_text()), sys.stderr)
    return EXIT_USAGE


def version_text() -> str:
    """The version and, in a checkout, the commit: '1.2.0 (3f2a91c)'; '+' means local changes."""
    folder = os.path.dirname(os.path.realpath(__file__))
    if not os.path.exists(os.path.join(folder, ".git")):
        return __version__
    try:
        done = subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--exclude=*", "--abbrev=7", "--dirty=+"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    commit = done.stdout.decode("ascii", "replace").strip()
    if done.returncode or not commit:
        return __version__
    return "%s (%s)" % (__version__, commit)


# -- what help lists, and what the commands beside this file begin with

def commands_beside() -> "Dict[str, str]":
    """The commands that are there beside this file, each with the first line of its docstring."""
    commands = {}
    folder = os.path.dirname(path_beside("any"))
    for file_name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        match = re.match(r"symphony_([a-z0-9_]+)\.py\Z", file_name)
        if not match or not is_beside(name_beside(file_name)):
            continue
        try:
            text = read_bytes(os.path.join(folder, file_name), follow=True)
        except OSError:
            continue  # running it reports why it cannot be read
        line = re.match(br'(?:#![^\n]*\n)?"""([^"\n]*)', text)
        commands[name_beside(file_name)] = line.group(1).decode("utf-8", "replace") if line else ""
    return commands


def commands_text() -> str:
    """The commands that people use, in groups."""
    groups = {title: {name: command.text for name, command in commands().items()}
              for title, commands in COMMAND_GROUPS.items()}
    beside = commands_beside()
    for name, text in beside.items():
        group = groups.setdefault(BESIDE.get(name, "Other"), {})
        group[name] = text[:1].lower() + text[1:].rstrip(".")
    lines = []
    for title, texts in groups.items():
        lines.append(title + ":")
        for name, text in texts.items():
            lines += _entry(name, text)
        lines.append("")
    missing = [name for name in BESIDE if name not in beside]
    if missing:
        lines += ["Commands in scripts/, not installed here: %s." % ", ".join(missing), ""]
    lines.append("help COMMAND, or COMMAND --help, describes one of them.")
    return "\n".join(lines)


def _entry(name: str, text: str) -> "List[str]":
    """The lines of a list that tell what a command does."""
    import textwrap
    return textwrap.wrap(text, max(terminal_size().columns - 2, 40), break_long_words=False,
                         initial_indent="  %-16s" % name, subsequent_indent=" " * 18)


def program_beside(path: str) -> str:
    """What a person calls the command beside this file that has this path."""
    return "%s %s" % (PROGRAM, name_beside(os.path.basename(path)))


def command_beside(documentation: "str | None", options: "Sequence[Any]",
                   func: "Callable[[Store, argparse.Namespace], int]", task: str = "") -> None:
    """The `main` of a command beside this file: parse its options, call `func`, exit.

    `task`: what the task is for that it needs.
    """
    def parse() -> "argparse.Namespace":
        summary, _, rest = (documentation or "").partition("\n\n")
        parser = _new_parser(program_beside(sys.argv[0]), summary, rest=rest)
        _add_root_options(parser)
        entry = CommandEntry(func=func, options=options, task=task, needs_task=bool(task))
        _add_options(parser, entry)
        return _parse_all(parser, sys.argv[1:])

    leave_search_path()
    open_standard_streams()
    sys.exit(_carry_out(parse))


# -- main


def _root_of(args: "argparse.Namespace") -> str:
    if getattr(args, "here", False):
        return os.getcwd()
    folder = os.path.dirname(os.path.abspath(__file__))
    root = args.root or os.environ.get("SYMPHONY_ROOT") or folder
    if not os.path.isdir(root):
        raise UsageError("--root: %s is not a folder" % root)
    return os.path.realpath(root)


def _permission_error(error: "StorageError | PermissionError",
                      root: str) -> "StorageError | None":
    """The error with what to do about it, if the owner of the root would not get it."""
    hint = as_owner_hint(root)
    if isinstance(error, PermissionError):
        message = "%s: %s" % (place_of_error(error), error.strerror)
    elif error.is_permission and not error.hint:
        message = error.message
    else:
        return None
    return StorageError(message, hint) if hint else None


def _carry_out(parse: "Callable[[], argparse.Namespace]") -> int:
    """Parse a command line and run its command: the exit code.

    An internal error after the root is known has its traceback in the log.
    """
    stores: "List[Store]" = []

    def command() -> int:
        args = parse()
        config_path = os.path.abspath(args.config) if args.config else ""
        store = Store(_root_of(args), config_path)
        stores.append(store)
        _settle_task(store, args)
        try:
            return int(args.func(store, args))
        except (StorageError, PermissionError) as error:
            raise _permission_error(error, store.root) or error

    def keep(lines: "List[str]") -> None:
        if not stores:
            raise StorageError("no root, so no log")
        stores[0].log(time.time(), lines)

    return exit_code_of(command, keep=keep)


class PlainTick:
    """What the parser makes of a tick without other options than the root."""

    config = ""

    def __init__(self, root: str) -> None:
        self.root = root

    @staticmethod
    def func(store: Store, args: "argparse.Namespace") -> int:
        return cmd_tick(store, args)


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command line of the conductor: its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)

    def parse() -> "argparse.Namespace":
        root = plain_tick_root(words)
        if root is not None:
            return PlainTick(root)  # type: ignore[return-value]  # it has the attributes used
        return _parse(words)

    return _carry_out(parse)


def forget_the_locale_of_python() -> None:
    """Unset the LC_CTYPE that Python 3.7 and later set (PEP 538): tasks inherit what cron gave."""
    if "LC_CTYPE" not in os.environ or os.environ.get("LC_ALL"):
        return
    try:
        original = read_bytes("/proc/self/environ").split(b"\0")
    except OSError:
        return
    if not any(variable.startswith(b"LC_CTYPE=") for variable in original):
        del os.environ["LC_CTYPE"]


def open_standard_streams() -> None:
    """Open those of 0, 1 and 2 that the caller closed: else a file would get the number, and be
    written to by whatever prints.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    sys.stdin = sys.stdin or open(os.devnull)
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


def leave_search_path() -> None:
    """Search no module beside this file from now on.

    The folder may hold a project's own modules, of a name that this Python lacks (`org`, which its
    `copy` looks for) or, for a script, of one that it has. Loading this file has imported nothing
    but what is built in.
    """
    is_script = __name__ == "__main__" and not sys.flags.isolated
    if is_script and not getattr(sys.flags, "safe_path", False):  # as from Python 3.11 on
        del sys.path[0]  # of a link to this file, the folder that it leads to
    folder = __file__.rpartition("/")[0] or "."
    sys.path[:] = [entry for entry in sys.path if entry not in ("", ".", folder)]


def command_line() -> None:
    """The entry point of the crontab line and of the script."""
    if not runs_boot_code():  # else it was asked at the import
        leave_if_idle()
    leave_search_path()
    open_standard_streams()
    forget_the_locale_of_python()
    gc.disable()  # the process lives for one decision: collecting would only cost time
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # `exit_code_of` has reported it
    # Not by sys.exit, which frees every object: it would cost as much as a decision to copy the
    # pages that are shared with supervisors.
    os._exit(code)


if collects_garbage:
    gc.enable()

if __name__ == "__main__":
    command_line()
