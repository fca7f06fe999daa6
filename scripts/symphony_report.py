#!/usr/bin/env python3
"""Write a report: an HTML page, a summary in Markdown, or JSON.

Example: symphony_conductor.py report --output report.html

That is one self-contained HTML file; `--format markdown --since 7d` is for the summary of a job,
`--format json` has the same facts for programs.

The keys of the JSON document (times are ISO 8601 UTC; keys in _s are seconds, in bytes bytes; null
means unknown):

    format, at, since, root, host  1; when the report was made, where it begins, what it covers
    began                          where its record begins: after `since` on the first days
    healthy, verdict, problems     one sentence, and all current problems
    findings                       the problems, then the warnings, then the notices: severity,
                                   code, task, place, text, command (the next to type), since,
                                   output (the last line)
    notes                          what limits this report
    unread                         what could not be read, so that its part of the report is empty
    audit                          as `symphony_conductor.py audit --json` prints it
    tasks         a list of: name, description, schedule, words, state, reason; trouble: current,
                  failed (in the period), waiting or "", by which they are sorted; runs (starts)
                  and the retries among them; verdicts (number by status), ran, succeeded,
                  success_rate (0 to 1), skipped; duration (of successes: median_s,
                  older_median_s and newer_median_s of the two halves, change as a share, series),
                  queue (start minus slot: count, median_s, longest_s, longest_caught_up) and
                  waits (for dependencies: the same, and given_up)
    failures      slots whose last attempt did not succeed, newest first: task, scheduled_for,
                  started_at, status, exit_code, attempts, duration_s, reason, said (last line)
    gaps          periods without a tick: since, until, length_s, cause, words, ongoing
    removed       clean-up runs, newest first: run, at, files, bytes, restored, paths, restore
                  (the command, or null; gone says why), purge_after
    purged        runs, files, bytes that were deleted permanently
    next_removals the latest analysis: at, age_s, verdict, refused, candidates, later; or null
    disk          free_bytes, total_bytes, free_share, free_inodes, change_bytes, series (by day)

Besides the report, one line per day with the free space is added to status/disk.jsonl.
"""

import argparse
import functools
import gc
import json
import os
import stat
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

from action_log import LOG_FORMAT
from cleanup_report import FORMAT as REPORT_FORMAT
from cleanup_report import code, prose, restore_command
from common import check_format, command_parser, finish, plural, read_own, sc, size_text
from quarantine import PURGE_AGE_S, run_time
from report_page import KINDS, RETRIED, Mark, finding_text, length_text, page, percent_text
from tree import ACTIONS_NAME, QUARANTINE_NAME, REPORT_NAME, stored_path

FORMAT = 1                # of the JSON document
LINE_FORMAT = 1           # of a line of the series of free space
DISK_NAME = "status/disk.jsonl"
FREE_SPACE = "free space"  # among what could not be read
DISK_LINES = 400          # a year and a month
DISK_LOCK_WAIT_S = 1.0
PAGE_NICENESS = 10        # of the process that keeps a page current
SERIES_POINTS = 40        # of a line of durations: more cannot be seen
TREND_RUNS = 6            # successes from which on halves are compared
LONGEST_S = 100 * 366 * sc.DAY
FAILURES_SHOWN = 20       # in the summary; the page and JSON have all
TABLE_ROWS = 50
SEVERITIES = ("problem", "warning", "notice")
TROUBLES = ("current", "failed", "waiting", "")  # of tasks, the worst first
FINDING = {"severity": "problem", "code": "", "task": "", "place": "", "text": "", "command": "",
           "since": None, "output": ""}  # the keys of a finding
WAITING = ("waiting", "queued", "retrying")      # states of a task whose slot is held up

Record = Dict[str, Any]


class Facts(sc.Value):
    """Everything that was read, and when; the report is made of this alone."""

    now: float = 0.0
    since: float = 0.0
    root: str = ""
    host: str = ""
    status: Record = {}               # as `status --json` has it
    config: "sc.Config" = sc.Config()
    has_config: bool = True           # False: nothing tells which tasks there are
    state: "sc.State" = sc.State()
    last_tick: "float | None" = None
    oldest_day: str = ""              # of the history that is kept
    verdicts: "List[Any]" = []        # slim, oldest first; they have all that an audit asks for
    events: "List[sc.Event]" = []
    actions: "List[Record]" = []      # lines of the clean-up's log, oldest first
    held: "frozenset[str]" = frozenset()  # runs that are in quarantine
    analysis: "Record | None" = None
    disk: "Record | None" = None      # as it is now
    disk_series: "List[Record]" = []
    notes: "List[str]" = []
    unread: "Dict[str, str]" = {}     # what could not be read -> why


# -- valid lines. A crash cuts lines short, and people edit files.

@functools.lru_cache(maxsize=None)
def _day(text: str) -> int:
    return sc.from_iso(text) or 0


def epoch(text: "Any") -> "int | None":
    """`from_iso` of a stored time, several times faster.

    Raises TypeError and ValueError for anything else.
    """
    if text is None:
        return None
    if type(text) is str and len(text) == 20 and text[10::3] == "T::Z":
        clock = text[11:13] + text[14:16] + text[17:19]
        hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:])
        # int() lets blanks, signs and the digits of other scripts in.
        if hour < 24 and minute < 60 and second < 60 and not clock.strip("0123456789"):
            return _day(text[:10]) + 3600 * hour + 60 * minute + second
    return sc.from_iso(text)


def slim(verdict: "Any") -> "Record | None":
    """The parts of a line of the history that are used, with its times also as numbers.

    None for a line that is not a verdict. `slot`, `start` and `ended` are epoch seconds; `end` is
    `start` plus the measured duration.
    """
    try:
        get = verdict.get
        slot, start = epoch(get("scheduled_for")), epoch(get("started_at"))
        ended = epoch(get("ended_at"))
        epoch(get("merged_since"))
        took_s = float(get("duration_s") or 0)
        attempts = [attempt for attempt in map(slim, get("attempts") or ())
                    if attempt is not None and attempt["start"] is not None]
        number = int(get("attempt") or 0)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None
    status = get("status")
    if ended is None or not 0 <= took_s < LONGEST_S or not isinstance(status, str):
        return None
    code = get("exit_code")
    return {
        "task": get("task"), "status": status, "scheduled_for": get("scheduled_for"),
        "merged_since": get("merged_since"), "started_at": get("started_at"),
        "ended_at": verdict["ended_at"], "duration_s": took_s,
        "exit_code": code if type(code) is int else None, "attempt": number,
        "trigger": get("trigger"), "run_id": get("run_id"), "reason": str(get("reason") or ""),
        "said": "" if status == "success" else last_line(get("output_tail")),
        "attempts": attempts, "slot": slot, "start": start if get("run_id") else None,
        "end": (start or 0) + took_s, "ended": ended}


def last_line(text: "Any") -> str:
    """The last line of a command's output, cut to a readable length, with secrets masked."""
    if not isinstance(text, str):
        return ""
    lines = (line.strip() for line in reversed(sc.masked(text, ()).split("\n")))
    return next((line[:200] for line in lines if line), "")


def entries_of(name: str, lines: "Iterable[bytes]", keys: "Sequence[str]",
               newest: int = LINE_FORMAT) -> "Iterator[Record]":
    """The lines of a file that are JSON objects with a time `at` and these keys.

    `newest` is the format of its lines that this version writes.

    Raises LaterVersionError.
    """
    for line in lines:
        try:
            entry = json.loads(line.decode("utf-8")) if line.strip(b"\0 ") else {}
            if not isinstance(entry, dict):
                continue
            check_format(name, entry.get("format"), newest)
            if all(key in entry for key in keys) and epoch(entry["at"]) is not None:
                yield entry
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            continue


def is_size(value: "Any") -> bool:
    return type(value) in (int, float) and 0 <= value < 1 << 70


# -- reading

def read_facts(store: "sc.Store", since: float, clock: "sc.Clock") -> Facts:
    """Everything that the report covers. Raises StorageError and OSError for unreadable files."""
    now = clock.now()
    notes: "List[str]" = []
    in_force = store.config_in_force()[0]
    config = in_force or sc.Config()
    kept = now - config.task_history_retention_days * sc.DAY
    if since < kept:
        since = kept
        notes.append("Results are kept for %s; the report begins there." % plural(
            int(config.task_history_retention_days), "day"))
    snapshot = sc.Snapshot(store)
    state = snapshot.state
    verdicts = [verdict for verdict in map(slim, store.verdicts(since)) if verdict is not None]
    verdicts += not_on_file(verdicts, state, since)
    events = snapshot.events
    zone_changes = [event["at"] for event in events
                    if event["event"] == "rezoned" and (epoch(event["at"]) or 0) >= since]
    if zone_changes:
        notes.append("The system's time zone changed at %s. Earlier slots of tasks without a "
                     "timezone setting cannot be recomputed." % zone_changes[-1])
    unread: "Dict[str, str]" = {}
    actions = read_part(unread, ACTIONS_NAME, [], lambda: read_actions(store, since))
    held = read_part(unread, QUARANTINE_NAME, [], lambda: os.listdir(store.path(QUARANTINE_NAME)))
    analysis = read_part(unread, REPORT_NAME, None, lambda: read_analysis(store))
    disk = read_part(unread, FREE_SPACE, None, lambda: disk_now(store.root))
    disk_series = read_part(unread, DISK_NAME, [], lambda: read_disk(store))
    notes += ["Cannot read %s: %s." % item for item in unread.items()]
    if disk is not None and DISK_NAME not in unread and os.path.isdir(store.path("status")):
        notes += record_disk(store, now, disk)
    return Facts(
        now=now, since=since, root=store.root, host=os.uname()[1], config=config,
        has_config=in_force is not None, state=state,
        status=sc.status_of(store, clock=clock, results=0), last_tick=snapshot.last_tick,
        oldest_day=min(store.history_days(), default=""), verdicts=verdicts, events=events,
        actions=actions, held=frozenset(held), analysis=analysis, disk=disk,
        disk_series=disk_series, notes=notes, unread=unread)


def read_part(unread: "Dict[str, str]", name: str, without: "Any",
              read: "Callable[[], Any]") -> "Any":
    """What `read` returns, or `without` if there is no such file.

    If it cannot be read, `unread` gets the reason: the report must not take that for no.
    """
    try:
        return read()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        unread[name] = sc.error_text(error)
    return without


def not_on_file(verdicts: "List[Record]", state: "sc.State", since: float) -> "List[Record]":
    """Verdicts that are committed in the state and not yet in the history."""
    written = {verdict_key(verdict) for verdict in verdicts[-1000:]}
    pending = [slim(record) for record in state.pending
               if "event" not in record and not record.get("interim")]
    return [verdict for verdict in pending
            if verdict is not None and isinstance(verdict["task"], str)
            and verdict["ended"] >= since and verdict_key(verdict) not in written]


def verdict_key(verdict: Record) -> "Tuple[Any, ...]":
    return verdict["task"], verdict["status"], verdict["ended_at"], verdict["scheduled_for"]


def read_actions(store: "sc.Store", since: float) -> "List[Record]":
    """The lines of the clean-up's log from the first run in the period on, oldest first.

    The log is never rotated, so it is read from its end, up to the end of a run before the period.
    Raises OSError.
    """
    lines = read_own(store.path(ACTIONS_NAME)).split(b"\n")
    actions: "List[Record]" = []
    for entry in entries_of(ACTIONS_NAME, reversed(lines), ("event", "at"), LOG_FORMAT):
        if entry["event"] == "end" and (epoch(entry["at"]) or 0) < since:
            break
        actions.append(entry)
    return actions[::-1]


def read_analysis(store: "sc.Store") -> Record:
    """`cleanup_report.json`. Raises OSError, and ValueError if it is damaged."""
    content = read_own(store.path(REPORT_NAME))
    try:
        analysis = json.loads(content.decode("utf-8"))
        if isinstance(analysis, dict):
            check_format(REPORT_NAME, analysis.get("format"), REPORT_FORMAT)
            if epoch(analysis["at"]) is not None and isinstance(analysis["candidates"], list):
                return analysis
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        pass
    raise ValueError("not a clean-up analysis")


def disk_now(root: str) -> Record:
    """Free space of the root's device for this user. Raises OSError."""
    device = os.statvfs(root)
    return {"free_bytes": device.f_bavail * device.f_frsize,
            "total_bytes": device.f_blocks * device.f_frsize,
            "free_inodes": device.f_favail if device.f_files else None}


def read_disk(store: "sc.Store") -> "List[Record]":
    """The series of free space, oldest first. Raises OSError."""
    lines = read_own(store.path(DISK_NAME)).split(b"\n")
    samples = [entry for entry in entries_of(DISK_NAME, lines, ("at", "free_bytes", "total_bytes"))
               if is_size(entry["free_bytes"]) and is_size(entry["total_bytes"])]
    return sorted(samples, key=lambda sample: sample["at"])


def record_disk(store: "sc.Store", now: float, disk: Record) -> "List[str]":
    """Add today's figures to the series unless it has them. Returns notes on what failed.

    The file is its own lock: a process that waited while the file was replaced locks the new one.
    """
    if sc.as_owner_hint(store.root):  # what another user wrote would be theirs
        return ["Free disk space was not recorded: the folder belongs to another user."]
    lock = sc.FileLock(store.path(DISK_NAME))
    try:
        if not lock.acquire(DISK_LOCK_WAIT_S):
            return []
        # Without its series, the file would be replaced by a single line.
        with sc.doing("read", DISK_NAME):
            series = read_disk(store)
        today = sc.iso(now)
        if not any(sample["at"][:10] == today[:10] for sample in series):
            series = (series + [dict(disk, at=today, format=LINE_FORMAT)])[-DISK_LINES:]
            lines = [json.dumps(sample, sort_keys=True) + "\n" for sample in series]
            sc.write_atomic(store.path(DISK_NAME), "".join(lines).encode("ascii"))
    except sc.StorageError as error:
        return ["Free disk space was not recorded: %s." % error]
    finally:
        lock.release()
    return []


# -- figures

def median(values: "Sequence[float]") -> "float | None":
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return round(ordered[middle], 3)
    return round((ordered[middle - 1] + ordered[middle]) / 2.0, 3)


def durations(values: "List[float]") -> Record:
    """The median of durations in time order, and how the newer half compares with the older."""
    older = newer = change = None
    if len(values) >= TREND_RUNS:
        half = len(values) // 2
        older, newer = median(values[:half]), median(values[-half:])
    if older and newer is not None:
        change = round(newer / older - 1, 4)
    size = -(-len(values) // SERIES_POINTS) or 1
    series = [median(values[start:start + size]) for start in range(0, len(values), size)]
    return {"median_s": median(values), "older_median_s": older, "newer_median_s": newer,
            "change": change, "series": series}


def waits(lengths: "List[Tuple[float, bool]]") -> Record:
    """The figures of waits: (length in seconds, whether the run was a catch-up) of each."""
    longest = max(lengths) if lengths else (None, False)
    return {"count": len(lengths), "median_s": median([length_s for length_s, _ in lengths]),
            "longest_s": longest[0], "longest_caught_up": longest[1]}


def task_figures(verdicts: "List[Record]") -> Record:
    """The figures of one task from its verdicts, oldest first."""
    counts: "Dict[str, int]" = {}
    runs = ran = skipped = 0
    took: "List[float]" = []
    queued: "List[Tuple[float, bool]]" = []
    waited: "List[Tuple[float, bool]]" = []
    for verdict in verdicts:
        counts[verdict["status"]] = counts.get(verdict["status"], 0) + 1
        is_skipped = verdict["status"].startswith("skipped")
        if verdict["start"] is None or is_skipped or verdict["status"] == "stopped":
            skipped += is_skipped
            continue
        ran += 1
        runs += 1 + len(verdict["attempts"])
        if verdict["status"] == "success":
            took.append(verdict["duration_s"])
        first = verdict["attempts"][0] if verdict["attempts"] else verdict
        if verdict["slot"] is not None and first["trigger"] != "manual":
            late_s = max(0, first["start"] - verdict["slot"])
            lengths = waited if first["trigger"] == "dependency" else queued
            lengths.append((late_s, first["trigger"] == "catch_up"))
    succeeded = counts.get("success", 0)
    return {
        "runs": runs, "retries": runs - ran, "verdicts": counts, "ran": ran, "succeeded": succeeded,
        "success_rate": round(succeeded / float(ran), 4) if ran else None,
        "skipped": skipped, "duration": durations(took), "queue": waits(queued),
        "waits": dict(waits(waited), given_up=counts.get("skipped_dependency", 0))}


def schedule_words(config: "sc.Config", task: Record) -> str:
    if task["name"] not in config.tasks:
        return ""  # it is invalid or removed, so its status has no schedule
    if task["schedule"]:
        return sc.describe(task["schedule"], task["name"])
    if task["dependencies"]:
        return "after " + ", ".join(task["dependencies"])
    return "by hand"


def task_list(facts: Facts, by_task: "Dict[str, List[Record]]",
              findings: "Sequence[Record]") -> "List[Record]":
    """The tasks by trouble, else in the order of the configuration.

    Those that only the history has come last: their trouble is over.
    """
    tasks = [{"name": task["name"], "description": task["description"],
              "schedule": task["schedule"], "words": schedule_words(facts.config, task),
              "state": task["state"], "reason": task["reason"]} for task in facts.status["tasks"]]
    if not facts.has_config:  # then the status has running tasks only, as removed ones
        tasks = [dict(task, reason="") for task in tasks]
    configured = {task["name"] for task in tasks}
    state = "removed" if facts.has_config else "unknown"
    tasks += [{"name": name, "description": "", "schedule": None, "words": "", "state": state,
               "reason": ""} for name in sorted(by_task) if name not in configured]
    tasks = [dict(task, **task_figures(by_task.get(task["name"], []))) for task in tasks]
    for task in tasks:
        task["trouble"] = trouble_of(task, findings)
    tasks.sort(key=lambda task: (task["state"] == "removed", TROUBLES.index(task["trouble"])))
    return tasks


def trouble_of(task: Record, findings: "Sequence[Record]") -> str:
    """What is the matter with a task, as one of TROUBLES."""
    severities = [finding["severity"] for finding in findings if finding["task"] == task["name"]]
    if "problem" in severities or task["state"] == "invalid":
        return "current"
    if any(map(is_failure, task["verdicts"])):
        return "failed"
    is_late = task["state"] == "idle" and task["reason"]
    if severities or is_late or task["state"] in WAITING:
        return "waiting"
    return ""


FAILURE_KEYS = ("task", "scheduled_for", "started_at", "status", "exit_code", "duration_s",
                "reason", "said")


def is_failure(status: str) -> bool:
    """Whether a slot with this verdict ran without success, or a dependency prevented it."""
    if status.startswith("skipped"):
        return status == "skipped_dependency"
    return sc.is_failure(status)


def failure_list(verdicts: "List[Record]") -> "List[Record]":
    """Slots that ran and did not succeed, or that a dependency prevented, newest first."""
    failures = []
    for verdict in sorted(verdicts, key=lambda verdict: verdict["ended"], reverse=True):
        if is_failure(verdict["status"]):
            failure = {key: verdict[key] for key in FAILURE_KEYS}
            failures.append(dict(failure, attempts=verdict["attempt"]))
    return failures


def gap_list(facts: Facts) -> "List[Record]":
    """Periods without a tick, oldest first, with the ongoing one."""
    gaps = []
    for event in facts.events:
        if event["event"] == "gap" and (epoch(event["at"]) or 0) >= facts.since:
            cause = str(event.get("cause") or "")
            words = sc.GAP_CAUSES.get(cause, sc.GAP_CAUSES[""])
            gaps.append(gap(epoch(event["since"]) or 0, epoch(event["at"]) or 0, cause, words))
    if facts.last_tick is not None and facts.now - facts.last_tick > sc.TICK_STALE_S:
        current = gap(int(facts.last_tick), int(facts.now), "", "ongoing: still no tick")
        gaps.append(dict(current, ongoing=True))
    return gaps


def gap(start: int, end: int, cause: str, words: str) -> Record:
    return {"since": sc.iso(start), "until": sc.iso(end), "length_s": max(0, end - start),
            "cause": cause, "words": words, "ongoing": False}


def removed_runs(facts: Facts) -> "List[Record]":
    """The clean-up runs of the period with what they removed, newest first.

    Files that a run had to put back are not counted.
    """
    sizes: "Dict[Tuple[str, str], float]" = {}
    taken: "Dict[str, Dict[str, float]]" = {}
    restored: "Dict[str, set[str]]" = {}
    for entry in facts.actions:
        run, path = str(entry.get("run")), str(entry.get("path"))
        size = entry.get("size") if is_size(entry.get("size")) else 0
        if entry["event"] == "intent":
            sizes[run, path] = size or 0
        elif entry["event"] == "done":
            taken.setdefault(run, {})[path] = size or sizes.get((run, path), 0)
        elif entry["event"] == "restored":
            restored.setdefault(run, set()).add(path)
    return [removed_run(facts, run, taken[run], restored.get(run, set()))
            for run in sorted(taken, key=lambda run: run_time(run) or 0, reverse=True)
            if (run_time(run) or 0) >= facts.since]


def removed_run(facts: Facts, run: str, taken: "Dict[str, float]", restored: "set[str]") -> Record:
    at = run_time(run) or 0
    number_restored = len(restored & set(taken))
    restore, gone = None, ""
    if number_restored == len(taken):
        gone = "all restored"
    elif QUARANTINE_NAME in facts.unread:
        gone = "unknown: cannot read %s" % QUARANTINE_NAME
    elif run not in facts.held:
        gone = "purged"
    else:
        restore = stored_path(restore_command(facts.root, run))
    return {"run": run, "at": sc.iso(at), "files": len(taken), "bytes": int(sum(taken.values())),
            "restored": number_restored, "paths": sorted(taken), "restore": restore, "gone": gone,
            "purge_after": sc.iso(at + PURGE_AGE_S)}


def purged(facts: Facts) -> Record:
    """What was deleted permanently in the period."""
    purges = [entry for entry in facts.actions
              if entry["event"] == "purged" and (epoch(entry["at"]) or 0) >= facts.since
              and is_size(entry.get("files")) and is_size(entry.get("size"))]
    return {"runs": len(purges), "files": int(sum(entry["files"] for entry in purges)),
            "bytes": int(sum(entry["size"] for entry in purges))}


def next_removals(analysis: "Record | None", now: float) -> "Record | None":
    """The files that the next clean-up will remove, and the number left for a later one."""
    if analysis is None:
        return None
    valid = [item for item in analysis["candidates"]
             if isinstance(item, dict) and isinstance(item.get("path"), str)
             and is_size(item.get("size"))]
    refused = str(analysis.get("refused") or "")
    if refused:
        valid = []
    going = [item for item in valid if item.get("next_run", True)]
    candidates = [{"path": item["path"], "size": item["size"], "rule": str(item.get("rule") or ""),
                   "reason": str(item.get("reason") or "")} for item in going]
    return {"at": analysis["at"], "age_s": max(0, int(now - (epoch(analysis["at"]) or 0))),
            "refused": refused, "verdict": str(analysis.get("verdict") or ""),
            "later": len(valid) - len(going), "candidates": candidates}


def disk_figures(facts: Facts) -> Record:
    """The disk now, and its series by day with the present at the end."""
    keys = ("at", "free_bytes", "total_bytes", "free_inodes")
    series = [{key: sample.get(key) for key in keys}
              for sample in facts.disk_series if sample["at"] < sc.iso(facts.now)]
    now = facts.disk
    if now is None:
        return {"free_bytes": None, "total_bytes": None, "free_share": None, "free_inodes": None,
                "change_bytes": None, "series": series}
    series = (series + [dict(now, at=sc.iso(facts.now))])[-DISK_LINES:]
    share = None
    if now["total_bytes"]:
        share = round(now["free_bytes"] / float(now["total_bytes"]), 4)
    change = int(now["free_bytes"] - series[0]["free_bytes"])
    return dict(now, free_share=share, change_bytes=change, series=series)


# -- the document

def began(facts: Facts) -> float:
    """Where the record begins: with the period or, on the first days, with the first decision.

    A run by hand may come before that.
    """
    is_older = bool(facts.oldest_day) and facts.oldest_day < sc.iso(facts.since)[:10]
    if is_older or not facts.events or facts.events[0]["event"] != "begun":
        return facts.since
    times = [epoch(facts.events[0]["at"])]
    times += [verdict[key] for verdict in facts.verdicts for key in ("slot", "start", "ended")]
    times += [epoch(run["started_at"]) for run in facts.status["running"]]
    return max(facts.since, min(at for at in times if at is not None))


def report(facts: Facts) -> Record:
    """The document, with the keys that the docstring of this file lists."""
    by_task = verdicts_by_task(facts)
    gaps = gap_list(facts)
    audited: "List[sc.Slot]" = []
    try:
        audited = list(sc.audit_all(facts.config, facts.state, facts.verdicts, facts.events,
                                    facts.since, facts.now, facts.last_tick))
    except sc.ConductorError as error:  # a time zone that this system does not have any more
        facts.unread["the schedules"] = str(error)
        facts.notes.append("The slots could not be audited: %s." % error)
    audit = sc.audit_document(audited, facts.events, facts.since, facts.now)
    start = began(facts)
    analysis = next_removals(facts.analysis, facts.now)
    findings = finding_list(facts, by_task, audit, analysis)
    problems = [finding["text"] for finding in findings if finding["severity"] == "problem"]
    tasks = task_list(facts, by_task, findings)
    return {
        "format": FORMAT, "at": sc.iso(facts.now), "since": sc.iso(facts.since),
        "began": sc.iso(start), "root": stored_path(facts.root), "host": facts.host,
        "healthy": not problems, "verdict": verdict_text(findings, tasks, facts.now - start),
        "problems": problems, "findings": findings, "notes": facts.notes,
        "unread": sorted(facts.unread), "audit": audit,
        "tasks": tasks, "failures": failure_list(facts.verdicts), "gaps": gaps,
        "removed": removed_runs(facts), "purged": purged(facts), "next_removals": analysis,
        "disk": disk_figures(facts)}


def verdicts_by_task(facts: Facts) -> "Dict[str, List[Record]]":
    by_task: "Dict[str, List[Record]]" = {}
    for verdict in facts.verdicts:
        by_task.setdefault(verdict["task"], []).append(verdict)
    return by_task


def finding_list(facts: Facts, by_task: "Dict[str, List[Record]]", audit: Record,
                 analysis: "Record | None") -> "List[Record]":
    """The findings of the status and those of this report, the worst first."""
    findings = status_findings(facts.status)
    if audit["unexplained"]:
        text = "%s unexplained: due, but without a recorded result." % plural(
            audit["unexplained"], "slot")
        findings.append(finding(code="unexplained", text=text, command=audit_command(facts)))
    if analysis is not None and analysis["refused"]:
        text = "The clean-up was refused: %s." % analysis["refused"].rstrip(".")
        findings.append(finding(code="cleanup_refused", text=text, since=analysis["at"]))
    for item in findings:
        runs = [verdict for verdict in by_task.get(item["task"], ())
                if verdict["start"] is not None]
        item["output"] = last_line(item["output"])
        if not item["output"] and item["severity"] == "problem" and runs:
            item["output"] = runs[-1]["said"]
    return sorted(findings, key=lambda item: SEVERITIES.index(item["severity"]))


def status_findings(status: Record) -> "List[Record]":
    """The findings of the status, each with all its keys."""
    return [finding(**item) for item in status["findings"]]


def finding(**fields: "Any") -> Record:
    """A finding with all its keys."""
    return {key: fields.get(key) or default for key, default in FINDING.items()}


def audit_command(facts: Facts) -> str:
    """The command that lists the unexplained slots, to be typed anywhere."""
    return "%s audit --since %s" % (sc.own_command(facts.root), sc.iso(facts.since))


def verdict_text(findings: "Sequence[Record]", tasks: "Sequence[Record]", length_s: float) -> str:
    """The verdict in one sentence. Of slots, not of attempts: a retry is no failure yet."""
    ran = sum(task["ran"] for task in tasks)
    succeeded = sum(task["succeeded"] for task in tasks)
    result = "nothing ran in %s" % sc.duration_text(length_s)
    if ran:
        result = "%s of the slots that ran in %s succeeded" % (
            percent_text(succeeded / float(ran)), sc.duration_text(length_s))
    number = dict.fromkeys(SEVERITIES, 0)
    for item in findings:
        number[item["severity"]] += 1
    retrying = sum(task["state"] == "retrying" for task in tasks)
    parts = [plural(sum(task["state"] != "removed" for task in tasks), "task"), "no problems"]
    state = "Healthy"
    if number["problem"]:
        parts = [plural(number["problem"], "problem")]
        state = "Not healthy"
    elif retrying:
        parts.append("%d retrying" % retrying)
    if number["warning"]:
        parts.append(plural(number["warning"], "warning"))
    return "%s: %s; %s." % (state, ", ".join(parts), result)


def headline(document: Record) -> str:
    """The report in one line, as every script prints one."""
    text = str(document["verdict"]).rstrip(".")
    if document["healthy"]:
        return "OK - " + text
    return "WARNING - %s (%s)" % (text, document["problems"][0].rstrip("."))


# -- the timeline

def marks_of(verdict: Record) -> "Iterator[Mark]":
    """The runs of a slot, or its skip."""
    if verdict["start"] is None or verdict["status"].startswith("skipped"):
        at = verdict["slot"] if verdict["slot"] is not None else verdict["ended"]
        yield Mark(at, at, "skipped", verdict, verdict)
        return
    for attempt in verdict["attempts"]:
        yield Mark(attempt["start"], attempt["end"], RETRIED, attempt, verdict)
    kind = verdict["status"] if verdict["status"] in KINDS else "failed"
    yield Mark(verdict["start"], verdict["end"], kind, verdict, verdict)


def open_attempts(state: "sc.State", name: str) -> "List[Mark]":
    """The attempts of the slot that a task has no verdict on yet."""
    cycle = state.tasks.get(name, sc.TaskState()).cycle
    if cycle is None:
        return []
    attempts = [attempt for attempt in map(slim, cycle.attempts)
                if attempt is not None and attempt["start"] is not None]
    return [Mark(attempt["start"], attempt["end"], RETRIED, attempt,
                 dict(attempt, attempt=cycle.attempt)) for attempt in attempts]


def timeline(facts: Facts, tasks: "Sequence[Record]") -> "Dict[str, List[Mark]]":
    """The marks of each task, in the order of the tasks."""
    by_task = verdicts_by_task(facts)
    rows: "Dict[str, List[Mark]]" = {}
    for task in tasks:
        verdicts = by_task.get(task["name"], ())
        marks = [mark for verdict in verdicts for mark in marks_of(verdict)]
        rows[task["name"]] = marks + open_attempts(facts.state, task["name"])
    for run in facts.status["running"]:
        run = dict(run, slot=epoch(run["scheduled_for"]), status="running", exit_code=None)
        mark = Mark(epoch(run["started_at"]) or 0, facts.now, "running", run, run)
        rows.setdefault(run["task"], []).append(mark)
    return rows


# -- the summary in Markdown

def cut(total: int, columns: "Sequence[str]", rows: "Sequence[Sequence[str]]",
        numbers: "Sequence[int]") -> "List[str]":
    """The lines of a table of these rows, out of `total`; [] without rows.

    The columns at the places `numbers` are aligned to the right.
    """
    if not rows:
        return []
    marks = ["---:" if place in numbers else "---" for place in range(len(columns))]
    table = [list(columns), marks] + [list(row) for row in rows]
    lines = ["| %s |" % " | ".join(cells) for cells in table]
    if total > len(rows):
        lines += ["", "and %d more" % (total - len(rows))]
    return lines


def markdown(document: Record) -> str:
    """The report for the summary of a job: short, and with the verdict first.

    Others may read the summary, so it has no output of tasks.
    """
    lines = ["**%s**" % prose(document["verdict"]), ""]
    worse = [item for item in document["findings"] if item["severity"] != "notice"]
    if worse:
        lines += list(map(finding_line, worse)) + [""]
    audit = document["audit"]
    lines += ["%s, %d unexplained, %s to %s" % (
        plural(audit["slots"], "slot"), audit["unexplained"], audit["since"], audit["until"]), ""]
    if audit["findings"]:
        lines += ["- %s: slot %s: %s" % (
            code(finding["task"]), finding["scheduled_for"], prose(finding["reason"]))
            for finding in audit["findings"][:FAILURES_SHOWN]] + [""]
    for title, section in (("Tasks", task_lines(document)),
                           ("Failures", failure_lines(document)),
                           ("Periods without a tick", gap_lines(document)),
                           ("Removed by clean-up", removed_lines(document)),
                           ("To be removed next", coming_lines(document))):
        lines += ["### " + title, ""] + section + [""]
    lines.append(disk_line(document))
    if document["notes"]:
        lines += ["", "".join("_%s_ " % prose(note) for note in document["notes"])]
    return "\n".join(lines) + "\n"


def finding_line(finding: Record) -> str:
    """A finding in Markdown, without what a task printed."""
    line = "- %s: %s" % (finding["severity"], prose(finding_text(finding).rstrip(".")))
    if finding["since"]:
        line += ", since %s" % prose(finding["since"])
    if finding["command"]:
        line += "; try: %s" % code(finding["command"])
    return line


def task_lines(document: Record) -> "List[str]":
    columns = ("task", "state", "success", "runs", "skipped", "median", "trend", "longest queue")
    rows = []
    for task in document["tasks"][:TABLE_ROWS]:
        took, trend = task["duration"], ""
        if took["change"] is not None and abs(took["change"]) >= 0.1:
            trend = "%+.0f %%" % (100 * took["change"])
        rows.append([
            code(task["name"]), prose(task["state"]), percent_text(task["success_rate"]),
            str(task["runs"]), str(task["skipped"]), length_text(took["median_s"]), trend,
            length_text(task["queue"]["longest_s"])])
    return cut(len(document["tasks"]), columns, rows, range(2, 8)) or ["none"]


def failure_lines(document: Record) -> "List[str]":
    columns = ("task", "slot", "verdict", "exit", "attempts", "reason")
    rows = []
    for failure in document["failures"][:FAILURES_SHOWN]:
        exit_code = failure["exit_code"]
        rows.append([
            code(failure["task"]), str(failure["scheduled_for"] or failure["started_at"]),
            prose(failure["status"]), "" if exit_code is None else str(exit_code),
            str(failure["attempts"]), prose(failure["reason"])])
    return cut(len(document["failures"]), columns, rows, (3, 4)) or ["none"]


def gap_lines(document: Record) -> "List[str]":
    rows = [[gap["since"], "now" if gap["ongoing"] else gap["until"],
             sc.duration_text(gap["length_s"]), gap["words"]]
            for gap in document["gaps"][::-1][:FAILURES_SHOWN]]
    return cut(len(document["gaps"]), ("from", "to", "length", "cause"), rows, (2,)) or ["none"]


def removed_lines(document: Record) -> "List[str]":
    columns = ("when", "files", "size", "restore with")
    rows = [[run["at"], str(run["files"]), size_text(run["bytes"]),
             code(run["restore"]) if run["restore"] else run["gone"]]
            for run in document["removed"][:FAILURES_SHOWN]]
    without = "nothing"
    if ACTIONS_NAME in document["unread"]:
        without = "unknown"
    return cut(len(document["removed"]), columns, rows, (1, 2)) or [without]


def coming_lines(document: Record) -> "List[str]":
    analysis = document["next_removals"]
    if analysis is None and REPORT_NAME in document["unread"]:
        return ["unknown"]
    if analysis is None:
        return ["no clean-up analysis"]
    rows = [[code(item["path"]), size_text(item["size"]), prose(item["rule"])]
            for item in analysis["candidates"][:FAILURES_SHOWN]]
    lines = ["%s (%s old)" % (prose(analysis["verdict"]), sc.duration_text(analysis["age_s"]))]
    if rows:
        lines += [""] + cut(len(analysis["candidates"]), ("file", "size", "rule"), rows, (1,))
    return lines


def disk_line(document: Record) -> str:
    disk = document["disk"]
    if disk["free_bytes"] is None:
        return "Disk: unknown"
    text = "Disk: %s of %s free (%s)" % (
        size_text(disk["free_bytes"]), size_text(disk["total_bytes"]),
        percent_text(disk["free_share"]))
    if len(disk["series"]) > 1:
        change = disk["change_bytes"]
        text += ", %s%s since %s" % (
            "+" if change >= 0 else "-", size_text(abs(change)), disk["series"][0]["at"][:10])
    return text


# -- the command line

def since_option(text: str, now: float) -> float:
    """The time that --since gives: a time, or a duration such as 7d before now."""
    try:
        return now - sc.seconds_of(text)
    except ValueError:
        pass
    try:
        at = float(sc.from_iso(text, sc.zone_named(None)) or 0)
    except (ValueError, OverflowError):
        raise sc.UsageError("--since: %r is neither a duration such as 7d nor a time such as "
                            "2025-06-02" % sc.cut_text(text, 60))
    if at >= now:
        raise sc.UsageError("--since: %s is in the future" % sc.cut_text(text, 60))
    return at


def write_output(path: str, text: bytes) -> None:
    """Write the report; an existing file keeps its mode. Raises UsageError for what is no file."""
    path = os.path.realpath(path)
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = 0
    if mode and not stat.S_ISREG(mode):
        raise sc.UsageError("--output: %s is not a regular file" % path,
                            "omit --output to write to stdout")
    if not os.path.isdir(os.path.dirname(path)):
        raise sc.UsageError("--output: the folder %s does not exist" % os.path.dirname(path))
    sc.write_atomic(path, text)
    if mode:
        os.chmod(path, stat.S_IMODE(mode))


def keep_current(store: "sc.Store", path: str, since: float, clock: "sc.Clock") -> int:
    """Make the page at `path` anew if there are new results and it is a minute old: an exit code.

    Raises StorageError. Where it is the page of the settings, `status` shows what went wrong.
    """
    lock = sc.FileLock(store.path(sc.REPORT_LOCK_NAME))
    if not lock.acquire():
        return sc.EXIT_OK  # it is being made
    now = clock.now()
    if now < sc.page_due_at(store, path, now):
        return sc.EXIT_OK
    os.nice(PAGE_NICENESS)
    config = store.config_in_force()[0] or sc.Config()
    setting = os.path.join(store.root, config.report_file or "")
    is_of_settings = os.path.abspath(path) == os.path.abspath(setting)
    trouble = ""
    try:
        facts = read_facts(store, since, clock)
        text = FORMS["html"](facts, report(facts))
        # Results that came during the step of the file system's clock in which this began are new.
        sc.write_public(path, text.encode("utf-8"), now - sc.CLOCK_STEP_S)
    except Exception as error:
        trouble = sc.error_text(error)
        raise
    finally:
        if is_of_settings:
            store.note_written(now, "report_file", trouble)
    return sc.EXIT_OK


FORMS = {
    "html": lambda facts, document: page(document, timeline(facts, document["tasks"])),
    "markdown": lambda facts, document: markdown(document),
    "json": lambda facts, document: json.dumps(document, indent=1) + "\n",
}


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    parser.add_argument("--format", choices=sorted(FORMS), default="html",
                        help="format of the report (default: html)")
    parser.add_argument("--since", default="7d", metavar="WHEN",
                        help="where it begins: a time, or a duration such as 12h (default: 7d)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--output", metavar="FILE",
                        help="write to FILE, which is replaced as a whole (default: stdout)")
    output.add_argument("--watch-file", metavar="FILE",
                        help="keep the page FILE current: replace it if there are new results, at "
                        "most once a minute; others can read it (default: none)")
    return parser


def main() -> int:
    gc.disable()  # the lines of a history form no cycles
    args = build_parser().parse_args()
    if not os.path.isdir(args.root):
        raise sc.UsageError("--root: %s is not a folder" % args.root)
    clock = sc.Clock()
    since = since_option(args.since, clock.now())
    store = sc.Store(os.path.realpath(args.root))
    if args.watch_file:
        if args.format != "html":
            raise sc.UsageError("--watch-file: it writes HTML", "omit --format")
        return keep_current(store, args.watch_file, since, clock)
    facts = read_facts(store, since, clock)
    document = report(facts)
    text = FORMS[args.format](facts, document).encode("utf-8")
    if args.output:
        write_output(args.output, text)
        sc.print_line("%s; %s, %s" % (headline(document), args.output, size_text(len(text))))
    else:
        sys.stdout.flush()
        sc.write_all(1, text)
        sc.warn(headline(document), "symphony_report")
    if facts.unread:
        for name, reason in sorted(facts.unread.items()):
            sc.warn("cannot read %s: %s" % (name, reason), "symphony_report")
        return sc.EXIT_IOERR  # the report is made, and not whole
    return sc.EXIT_OK


if __name__ == "__main__":
    finish(main)
