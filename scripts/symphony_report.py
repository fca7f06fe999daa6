#!/usr/bin/env python3
"""Write a report: one page, a summary in Markdown, or JSON.

    symphony_report.py --output report.html             one HTML file that needs nothing else
    symphony_report.py --format markdown --since 7d     for the summary of a job
    symphony_report.py --format json                    the same facts for programs

The keys of the JSON document (times are ISO 8601 UTC, lengths are seconds, sizes are bytes, null is "not known"):

    format, at, since, root, host    1; when it was made; where it begins; of what
    healthy, verdict, problems       one sentence, and everything that is wrong now
    notes                            what limits this report
    audit                            as `symphony_conductor.py audit --json` has it
    tasks                            a list; name, description, schedule, words, state, reason; runs (starts), retries
                                     among them, verdicts (number by status), ran, succeeded, success_rate (0 to 1),
                                     skipped; duration (of successes: median_s, older_median_s and newer_median_s of the
                                     two halves, change as a share, series), queue (start minus slot: count, median_s,
                                     longest_s, longest_caught_up) and waits (for dependencies: the same, given_up)
    failures                         slots whose last attempt did not succeed, newest first: task, scheduled_for,
                                     started_at, status, exit_code, attempts, duration_s, reason, said (last line)
    gaps                             times without a tick: since, until, length_s, cause, words, ongoing
    removed, purged                  clean-up runs, newest first: run, at, files, bytes, restored, paths, restore
                                     (the command, or null and gone says why), purge_after; what was deleted for good
    next_removals                    of the newest analysis: at, age_s, verdict, refused, candidates, later; or null
    disk                             free_bytes, total_bytes, free_share, free_inodes, change_bytes, series (by day)

Once a day, a line with the free space is added to status/disk.jsonl; nothing else is written but the report.
"""

import argparse
import functools
import gc
import json
import os
import stat
import sys
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Tuple

from cleanup_report import FORMAT as REPORT_FORMAT
from cleanup_report import code, prose, restore_command
from common import check_format, command_parser, finish, plural, read_own, sc, size_text
from quarantine import PURGE_AGE_S, run_time
from report_page import KINDS, Mark, length_text, page, percent_text
from tree import ACTIONS_NAME, QUARANTINE_NAME, REPORT_NAME, stored_path

FORMAT = 1                # of the JSON document
LINE_FORMAT = 1           # of a line of the clean-up's log and of the series of free space
DISK_NAME = "status/disk.jsonl"
DISK_LINES = 400          # a year and a month
DISK_LOCK_WAIT_S = 1.0
SERIES_POINTS = 40        # of a line of durations: more are not seen
TREND_RUNS = 6            # from so many successes on, halves are compared
LONGEST_S = 100 * 366 * sc.DAY
FAILURES_SHOWN = 20       # in the summary; the page and JSON have all
TABLE_ROWS = 50

Record = Dict[str, Any]


class Facts(sc.Value):
    """Everything that was read, and when; what is made of it reads nothing."""

    now: float = 0.0
    since: float = 0.0
    root: str = ""
    host: str = ""
    status: Record = {}               # as `status --json` has it
    config: "sc.Config" = sc.Config()
    state: "sc.State" = sc.State()
    last_tick: "float | None" = None
    verdicts: "List[Record]" = []     # slim, oldest first
    events: "List[Record]" = []
    actions: "List[Record]" = []      # lines of the clean-up's log, oldest first
    held: "frozenset[str]" = frozenset()  # runs that are in quarantine
    analysis: "Record | None" = None
    disk: "Record | None" = None      # as it is now
    disk_series: "List[Record]" = []
    notes: "List[str]" = []


# -- what lines must hold to be used. A crash cuts lines short, and people edit files.

@functools.lru_cache(maxsize=None)
def _day(text: str) -> int:
    return sc.from_iso(text) or 0


def epoch(text: "Any") -> "int | None":
    """`from_iso` of a stored time, several times faster. Raises TypeError and ValueError for anything else."""
    if text is None:
        return None
    if len(text) == 20 and text[10] == "T" and text[13] == text[16] == ":" and text[19] == "Z":
        hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
        if 0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60:
            return _day(text[:10]) + 3600 * hour + 60 * minute + second
    return sc.from_iso(text)


def slim(verdict: Record) -> "Record | None":
    """What is used of a line of the history, its times as numbers as well; None for what is no verdict.

    `slot` and `start` are epoch seconds, `end` is `start` and the measured duration.
    """
    try:
        get = verdict.get
        slot, start, ended = epoch(get("scheduled_for")), epoch(get("started_at")), epoch(get("ended_at"))
        epoch(get("merged_since"))
        took_s = float(get("duration_s") or 0)
        attempts = [each for each in map(slim, get("attempts") or ()) if each is not None and each["start"] is not None]
        attempt = int(get("attempt") or 0)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None
    if ended is None or not 0 <= took_s < LONGEST_S or not isinstance(get("status"), str):
        return None
    code = get("exit_code")
    return {"task": get("task"), "status": verdict["status"], "scheduled_for": get("scheduled_for"),
            "merged_since": get("merged_since"), "started_at": get("started_at"), "ended_at": verdict["ended_at"],
            "duration_s": took_s, "exit_code": code if type(code) is int else None, "attempt": attempt,
            "trigger": get("trigger"), "run_id": get("run_id"), "reason": str(get("reason") or ""),
            "said": "" if verdict["status"] == "success" else last_line(get("output_tail")), "attempts": attempts,
            "slot": slot, "start": start if get("run_id") else None, "end": (start or 0) + took_s, "ended": ended}


def last_line(text: "Any") -> str:
    """The last line that a command printed, as far as one can be read at a glance, without what looks like a secret."""
    lines = sc.masked(text, ()).split("\n") if isinstance(text, str) else []
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def entries_of(name: str, lines: "Iterable[bytes]", keys: "Sequence[str]") -> "Iterator[Record]":
    """The lines of a file that are JSON objects with a time `at` and these keys.

    Raises LaterVersionError.
    """
    for line in lines:
        try:
            entry = json.loads(line.decode("utf-8")) if line.strip(b"\0 ") else {}
            if isinstance(entry, dict):
                check_format(name, entry.get("format"), LINE_FORMAT)
            if isinstance(entry, dict) and all(key in entry for key in keys) and epoch(entry["at"]) is not None:
                yield entry
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            continue


def is_size(value: "Any") -> bool:
    return type(value) in (int, float) and 0 <= value < 1 << 70


# -- reading

class Present(sc.Store):
    """The files without their history: how things stand does not depend on it."""

    def history(self, limit: int, only: str = "") -> "List[Record]":
        return []


def read_facts(store: "sc.Store", since: float, clock: "sc.Clock") -> Facts:
    """Everything that the report is about. Raises StorageError and OSError for what is there and cannot be read."""
    now = clock.now()
    notes: "List[str]" = []
    config = store.config_in_force()[0] or sc.Config()
    kept = now - config.task_history_retention_days * sc.DAY
    if since < kept:
        since = kept
        notes.append("The history is kept for %s, so the report begins there." % plural(
            int(config.task_history_retention_days), "day"))
    snapshot = sc.Snapshot(store)
    state = snapshot.state
    verdicts = [verdict for verdict in map(slim, store.verdicts(since)) if verdict is not None]
    verdicts += not_on_file(verdicts, state, since)
    events = snapshot.events
    moved = [event["at"] for event in events if event["event"] == "rezoned" and (epoch(event["at"]) or 0) >= since]
    if moved:
        notes.append("The system's time zone changed at %s: without a timezone of its own, no slot of a task before "
                     "that can be recomputed." % moved[-1])
    disk = disk_now(store.root)
    if disk is not None and os.path.isdir(store.path("status")):
        notes += record_disk(store, now, disk)
    return Facts(now=now, since=since, root=store.root, host=os.uname()[1], config=config, state=state,
                 status=sc.Conductor(Present(store.root), clock).status(), last_tick=snapshot.last_tick,
                 verdicts=verdicts, events=events, actions=read_actions(store, since),
                 held=frozenset(names_in(store.path(QUARANTINE_NAME))), analysis=read_analysis(store), disk=disk,
                 disk_series=read_disk(store), notes=notes)


def not_on_file(verdicts: "List[Record]", state: "sc.State", since: float) -> "List[Record]":
    """Verdicts that the state has committed and the history does not hold yet."""
    pending = [slim(record) for record in state.pending if "event" not in record and not record.get("interim")]
    known = {(each["task"], each["status"], each["ended_at"], each["scheduled_for"]) for each in verdicts[-1000:]}
    return [each for each in pending if each is not None and isinstance(each["task"], str) and each["ended"] >= since
            and (each["task"], each["status"], each["ended_at"], each["scheduled_for"]) not in known]


def read_actions(store: "sc.Store", since: float) -> "List[Record]":
    """The lines of the clean-up's log from the first run in the period on, oldest first.

    The log is never rotated, so it is read from its end, up to the end of a run before the period.
    """
    try:
        lines = read_own(store.path(ACTIONS_NAME)).split(b"\n")
    except FileNotFoundError:
        return []
    found: "List[Record]" = []
    for entry in entries_of(ACTIONS_NAME, reversed(lines), ("event", "at")):
        if entry["event"] == "end" and (epoch(entry["at"]) or 0) < since:
            break
        found.append(entry)
    return found[::-1]


def names_in(folder: str) -> "List[str]":
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read_analysis(store: "sc.Store") -> "Record | None":
    """`cleanup_report.json`, when it is one."""
    try:
        found = json.loads(read_own(store.path(REPORT_NAME)).decode("utf-8"))
        if isinstance(found, dict):
            check_format(REPORT_NAME, found.get("format"), REPORT_FORMAT)
        if isinstance(found, dict) and epoch(found["at"]) is not None and isinstance(found["candidates"], list):
            return found
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        pass
    return None


def disk_now(root: str) -> "Record | None":
    """Free space of the root's device, as far as this user can have it."""
    try:
        found = os.statvfs(root)
    except OSError:
        return None
    return {"free_bytes": found.f_bavail * found.f_frsize, "total_bytes": found.f_blocks * found.f_frsize,
            "free_inodes": found.f_favail if found.f_files else None}


def read_disk(store: "sc.Store") -> "List[Record]":
    """The series of free space, oldest first."""
    try:
        lines = read_own(store.path(DISK_NAME)).split(b"\n")
    except OSError:
        return []
    found = [entry for entry in entries_of(DISK_NAME, lines, ("at", "free_bytes", "total_bytes"))
             if is_size(entry["free_bytes"]) and is_size(entry["total_bytes"])]
    return sorted(found, key=lambda entry: entry["at"])


def record_disk(store: "sc.Store", now: float, disk: Record) -> "List[str]":
    """Add today's figures to the series, when nobody has yet. Why that was not possible: a report is made all the same.

    The file is its own lock: whoever waited for one that was replaced takes the new one.
    """
    lock = sc.FileLock(store.path(DISK_NAME))
    try:
        if not lock.acquire(DISK_LOCK_WAIT_S):
            return []
        series, today = read_disk(store), sc.iso(now) or ""
        if not any(entry["at"][:10] == today[:10] for entry in series):
            kept = (series + [dict(disk, at=today, format=LINE_FORMAT)])[-DISK_LINES:]
            sc.write_atomic(store.path(DISK_NAME), "".join(
                json.dumps(entry, sort_keys=True) + "\n" for entry in kept).encode("ascii"))
    except sc.StorageError as error:
        return ["The series of free space could not be kept: %s." % error]
    finally:
        lock.release()
    return []


# -- figures

def median(values: "Sequence[float]") -> "float | None":
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return round(ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0, 3)


def durations(values: "List[float]") -> Record:
    """The median of durations in time order, and how their newer half compares with the older one."""
    half = len(values) // 2
    older, newer = (median(values[:half]), median(values[-half:])) if len(values) >= TREND_RUNS else (None, None)
    change = round(newer / older - 1, 4) if older and newer is not None else None
    size = -(-len(values) // SERIES_POINTS) or 1
    series = [median(values[start:start + size]) for start in range(0, len(values), size)]
    return {"median_s": median(values), "older_median_s": older, "newer_median_s": newer, "change": change,
            "series": series}


def waits(found: "List[Tuple[float, bool]]") -> Record:
    """Of lengths in seconds, each with whether the run was caught up."""
    longest = max(found) if found else (None, False)
    return {"count": len(found), "median_s": median([length_s for length_s, _ in found]), "longest_s": longest[0],
            "longest_caught_up": longest[1]}


def task_figures(verdicts: "List[Record]") -> Record:
    """What the verdicts of one task, oldest first, say of it."""
    counts: "Dict[str, int]" = {}
    runs = ran = 0
    took: "List[float]" = []
    queued: "List[Tuple[float, bool]]" = []
    waited: "List[Tuple[float, bool]]" = []
    for each in verdicts:
        counts[each["status"]] = counts.get(each["status"], 0) + 1
        if each["start"] is None:
            continue
        ran += 1
        runs += 1 + len(each["attempts"])
        if each["status"] == "success":
            took.append(each["duration_s"])
        first = each["attempts"][0] if each["attempts"] else each
        if each["slot"] is not None and first["trigger"] != "manual":
            late_s = max(0, first["start"] - each["slot"])
            (waited if first["trigger"] == "dependency" else queued).append((late_s, first["trigger"] == "catch_up"))
    good = counts.get("success", 0)
    return {"runs": runs, "retries": runs - ran, "verdicts": counts, "ran": ran, "succeeded": good,
            "success_rate": round(good / float(ran), 4) if ran else None, "skipped": len(verdicts) - ran,
            "duration": durations(took), "queue": waits(queued),
            "waits": dict(waits(waited), given_up=counts.get("skipped_dependency", 0))}


def schedule_words(known: Record) -> str:
    if known["schedule"]:
        return sc.describe(known["schedule"], known["name"])
    return "after " + ", ".join(known["dependencies"]) if known["dependencies"] else "by hand"


def task_list(facts: Facts, by_task: "Dict[str, List[Record]]") -> "List[Record]":
    """Each task in the order of the configuration, then those that only the history knows."""
    found = [{"name": known["name"], "description": known["description"], "schedule": known["schedule"],
              "words": schedule_words(known), "state": known["state"], "reason": known["reason"]}
             for known in facts.status["tasks"]]
    here = {task["name"] for task in found}
    found += [{"name": name, "description": "", "schedule": None, "words": "", "state": "removed", "reason": ""}
              for name in sorted(by_task) if name not in here]
    return [dict(task, **task_figures(by_task.get(task["name"], []))) for task in found]


def failure_list(verdicts: "List[Record]") -> "List[Record]":
    """The slots that ran and did not succeed, and those that a dependency kept from running; the newest first."""
    keys = ("task", "scheduled_for", "started_at", "status", "exit_code", "duration_s", "reason", "said")
    return [dict([(key, each[key]) for key in keys], attempts=each["attempt"])
            for each in sorted(verdicts, key=lambda each: each["ended"], reverse=True)
            if each["status"] == "skipped_dependency" or each["start"] is not None and each["status"] != "success"]


def gap_list(facts: Facts) -> "List[Record]":
    """Times without a tick in the period, oldest first, with the one that is going on."""
    found = [(epoch(event["since"]) or 0, epoch(event["at"]) or 0, str(event.get("cause") or ""), False)
             for event in facts.events if event["event"] == "gap" and (epoch(event["at"]) or 0) >= facts.since]
    if facts.last_tick is not None and facts.now - facts.last_tick > sc.TICK_STALE_S:
        found.append((int(facts.last_tick), int(facts.now), "", True))
    return [{"since": sc.iso(start), "until": sc.iso(end), "length_s": max(0, end - start), "cause": cause,
             "words": "it is going on: no tick comes" if ongoing else sc.GAP_CAUSES.get(cause, sc.GAP_CAUSES[""]),
             "ongoing": ongoing} for start, end, cause, ongoing in found]


def removed_runs(facts: Facts) -> "List[Record]":
    """What clean-up removed in the period, the newest run first; what a run did not get to keep is not counted."""
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
    back = len(restored & set(taken))
    gone = "all are back" if back == len(taken) else "" if run in facts.held else "deleted for good"
    return {"run": run, "at": sc.iso(at), "files": len(taken), "bytes": int(sum(taken.values())), "restored": back,
            "paths": sorted(taken), "restore": None if gone else stored_path(restore_command(facts.root, run)),
            "gone": gone, "purge_after": sc.iso(at + PURGE_AGE_S)}


def purged(facts: Facts) -> Record:
    """What was deleted for good in the period."""
    found = [entry for entry in facts.actions if entry["event"] == "purged" and (epoch(entry["at"]) or 0) >= facts.since
             and is_size(entry.get("files")) and is_size(entry.get("size"))]
    return {"runs": len(found), "files": int(sum(entry["files"] for entry in found)),
            "bytes": int(sum(entry["size"] for entry in found))}


def next_removals(analysis: "Record | None", now: float) -> "Record | None":
    """What the newest analysis found for the coming clean-up, and how many are left for a later one."""
    if analysis is None:
        return None
    sound = [item for item in analysis["candidates"] if isinstance(item, dict) and isinstance(item.get("path"), str)
             and is_size(item.get("size"))]
    going = [item for item in sound if item.get("next_run", True)]
    refused = str(analysis.get("refused") or "")
    return {"at": analysis["at"], "age_s": max(0, int(now - (epoch(analysis["at"]) or 0))), "refused": refused,
            "verdict": str(analysis.get("verdict") or ""), "later": 0 if refused else len(sound) - len(going),
            "candidates": [] if refused else [{
                "path": item["path"], "size": item["size"], "rule": str(item.get("rule") or ""),
                "reason": str(item.get("reason") or "")} for item in going]}


def disk_figures(facts: Facts) -> Record:
    """The disk now, and its series by day with the present at its end."""
    series = [{key: entry.get(key) for key in ("at", "free_bytes", "total_bytes", "free_inodes")}
              for entry in facts.disk_series if entry["at"] < (sc.iso(facts.now) or "")]
    now = facts.disk
    if now is None:
        return {"free_bytes": None, "total_bytes": None, "free_share": None, "free_inodes": None, "change_bytes": None,
                "series": series}
    series.append(dict(now, at=sc.iso(facts.now)))
    share = round(now["free_bytes"] / float(now["total_bytes"]), 4) if now["total_bytes"] else None
    return dict(now, free_share=share, change_bytes=int(now["free_bytes"] - series[0]["free_bytes"]), series=series)


# -- the document

def report(facts: Facts) -> Record:
    """The document, as the head of this file tells its keys."""
    by_task = verdicts_by_task(facts)
    gaps = gap_list(facts)
    audit = sc.audit_document(
        sc.audit_all(facts.config, facts.state, facts.verdicts, facts.events, facts.since, facts.now, facts.last_tick),
        facts.events, facts.since, facts.now)
    tasks = task_list(facts, by_task)
    analysis = next_removals(facts.analysis, facts.now)
    problems = list(facts.status["problems"])
    if audit["unexplained"]:
        problems.append("%s unexplained: due, and no single verdict says what became of it." % plural(
            audit["unexplained"], "slot is", "slots are"))
    if analysis is not None and analysis["refused"]:
        problems.append("The clean-up refuses: %s." % analysis["refused"].rstrip("."))
    return {"format": FORMAT, "at": sc.iso(facts.now), "since": sc.iso(facts.since),
            "root": stored_path(facts.root), "host": facts.host, "healthy": not problems,
            "verdict": verdict(problems, tasks, facts.now - facts.since), "problems": problems,
            "notes": facts.notes, "audit": audit, "tasks": tasks, "failures": failure_list(facts.verdicts),
            "gaps": gaps, "removed": removed_runs(facts), "purged": purged(facts), "next_removals": analysis,
            "disk": disk_figures(facts)}


def verdicts_by_task(facts: Facts) -> "Dict[str, List[Record]]":
    found: "Dict[str, List[Record]]" = {}
    for each in facts.verdicts:
        found.setdefault(each["task"], []).append(each)
    return found


def verdict(problems: "Sequence[str]", tasks: "Sequence[Record]", length_s: float) -> str:
    """One sentence."""
    ran, good = sum(task["ran"] for task in tasks), sum(task["succeeded"] for task in tasks)
    done = "%s of the slots that ran in %s succeeded" % (percent_text(good / float(ran)), sc.duration_text(length_s)) if (
        ran) else "nothing ran in %s" % sc.duration_text(length_s)
    if problems:
        return "Not healthy: %s; %s." % (plural(len(problems), "problem"), done)
    return "Healthy: no problem with %s; %s." % (plural(len(tasks), "task"), done)


def headline(document: Record) -> str:
    """The report in one line, as every script has one."""
    first = " (%s)" % document["problems"][0].rstrip(".") if document["problems"] else ""
    return "%s - %s%s" % ("OK" if document["healthy"] else "WARNING", document["verdict"].rstrip("."), first)


# -- the timeline

def marks_of(each: Record) -> "Iterator[Mark]":
    """The runs of a slot, or its skip."""
    if each["start"] is None:
        at = each["slot"] if each["slot"] is not None else each["ended"]
        yield Mark(at, at, "skipped", each, each)
        return
    for run in each["attempts"] + [each]:
        yield Mark(run["start"], run["end"], run["status"] if run["status"] in KINDS else "failed", run, each)


def timeline(facts: Facts, tasks: "Sequence[Record]") -> "Dict[str, List[Mark]]":
    """The marks of each task, in the order of the tasks."""
    by_task = verdicts_by_task(facts)
    rows = {task["name"]: [mark for each in by_task.get(task["name"], ()) for mark in marks_of(each)]
            for task in tasks}
    for run in facts.status["running"]:
        run = dict(run, slot=epoch(run["scheduled_for"]), status="running", exit_code=None)
        rows.setdefault(run["task"], []).append(Mark(epoch(run["started_at"]) or 0, facts.now, "running", run, run))
    return rows


# -- the summary in Markdown

def cut(total: int, columns: "Sequence[str]", rows: "Sequence[Sequence[str]]",
        numbers: "Sequence[int]") -> "List[str]":
    """The lines of a table that shows these rows of `total`; none without rows. `numbers` are aligned to the right."""
    if not rows:
        return []
    marks = ["---:" if place in numbers else "---" for place in range(len(columns))]
    lines = ["| %s |" % " | ".join(row) for row in [list(columns), marks] + [list(row) for row in rows]]
    return lines + ["", "and %d more" % (total - len(rows))] if total > len(rows) else lines


def markdown(document: Record) -> str:
    """The report for the summary of a job: short, the verdict first. Others may read that, so no output of tasks."""
    lines = ["**%s**" % prose(document["verdict"]), ""]
    lines += ["- %s" % prose(problem) for problem in document["problems"]] + [""] * bool(document["problems"])
    audit = document["audit"]
    lines += ["%s, %d unexplained, %s to %s" % (plural(audit["slots"], "slot"), audit["unexplained"], audit["since"],
                                                audit["until"]), ""]
    lines += ["- %s: slot %s: %s" % (code(found["task"]), found["scheduled_for"], prose(found["reason"]))
              for found in audit["findings"][:FAILURES_SHOWN]] + [""] * bool(audit["findings"])
    for title, text in (("Tasks", task_lines(document)), ("Slots that did not succeed", failure_lines(document)),
                        ("Times without a tick", gap_lines(document)), ("Removed by clean-up", removed_lines(document)),
                        ("To be removed next", coming_lines(document))):
        lines += ["### " + title, ""] + text + [""]
    lines.append(disk_line(document))
    lines += ["", "".join("_%s_ " % prose(note) for note in document["notes"])] if document["notes"] else []
    return "\n".join(lines) + "\n"


def task_lines(document: Record) -> "List[str]":
    rows = []
    for task in document["tasks"][:TABLE_ROWS]:
        took = task["duration"]
        steady = took["change"] is None or abs(took["change"]) < 0.1
        rows.append([code(task["name"]), prose(task["state"]), percent_text(task["success_rate"]), str(task["runs"]),
                     str(task["skipped"]), length_text(took["median_s"]),
                     "" if steady else "%+.0f %%" % (100 * took["change"]), length_text(task["queue"]["longest_s"])])
    return cut(len(document["tasks"]), ("task", "state", "success", "runs", "skipped", "median", "trend",
                                        "longest queue"), rows, range(2, 8)) or ["none"]


def failure_lines(document: Record) -> "List[str]":
    rows = [[code(each["task"]), str(each["scheduled_for"] or each["started_at"]), prose(each["status"]),
             "" if each["exit_code"] is None else str(each["exit_code"]), str(each["attempts"]), prose(each["reason"])]
            for each in document["failures"][:FAILURES_SHOWN]]
    return cut(len(document["failures"]), ("task", "slot", "verdict", "exit", "attempts", "why"), rows,
               (3, 4)) or ["none"]


def gap_lines(document: Record) -> "List[str]":
    rows = [[gap["since"], "now" if gap["ongoing"] else gap["until"], sc.duration_text(gap["length_s"]), gap["words"]]
            for gap in document["gaps"][::-1][:FAILURES_SHOWN]]
    return cut(len(document["gaps"]), ("from", "to", "length", "cause"), rows, (2,)) or ["none"]


def removed_lines(document: Record) -> "List[str]":
    rows = [[run["at"], str(run["files"]), size_text(run["bytes"]),
             code(run["restore"]) if run["restore"] else run["gone"]] for run in document["removed"][:FAILURES_SHOWN]]
    return cut(len(document["removed"]), ("when", "files", "size", "restore with"), rows, (1, 2)) or ["nothing"]


def coming_lines(document: Record) -> "List[str]":
    found = document["next_removals"]
    if found is None:
        return ["no analysis is on file"]
    rows = [[code(item["path"]), size_text(item["size"]), prose(item["rule"])]
            for item in found["candidates"][:FAILURES_SHOWN]]
    said = "%s (%s old)" % (prose(found["verdict"]), sc.duration_text(found["age_s"]))
    table = cut(len(found["candidates"]), ("file", "size", "rule"), rows, (1,))
    return [said, ""] + table if table else [said]


def disk_line(document: Record) -> str:
    found = document["disk"]
    if found["free_bytes"] is None:
        return "Disk: not known"
    change, first = found["change_bytes"], found["series"][0]
    trend = "" if len(found["series"]) == 1 else ", %s%s since %s" % (
        "+" if change >= 0 else "-", size_text(abs(change)), first["at"][:10])
    return "Disk: %s of %s free (%s)%s" % (size_text(found["free_bytes"]), size_text(found["total_bytes"]),
                                           percent_text(found["free_share"]), trend)


# -- the command line

def since_option(text: str, now: float) -> float:
    """The time that --since names: a length such as 7d before now, or a time."""
    try:
        return now - sc.seconds_of(text)
    except ValueError:
        pass
    try:
        at = float(sc.from_iso(text, sc.zone_named(None)) or 0)
    except (ValueError, OverflowError):
        raise sc.UsageError("--since: %r is neither a length such as 7d or 12h nor a time such as 2025-06-02" % text)
    if at >= now:
        raise sc.UsageError("--since: %s is still to come" % text)
    return at


def write_output(path: str, text: bytes) -> None:
    """Write the report; a file that is there keeps its mode. Raises UsageError for what is no file."""
    path = os.path.realpath(path)
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = 0
    if mode and not stat.S_ISREG(mode):
        raise sc.UsageError("--output: %s is no regular file" % path, "leave --output out to have it on stdout")
    if not os.path.isdir(os.path.dirname(path)):
        raise sc.UsageError("--output: there is no folder %s" % os.path.dirname(path))
    sc.write_atomic(path, text)
    if mode:
        os.chmod(path, stat.S_IMODE(mode))


FORMS = {
    "html": lambda facts, document: page(document, timeline(facts, document["tasks"])),
    "markdown": lambda facts, document: markdown(document),
    "json": lambda facts, document: json.dumps(document, indent=1) + "\n",
}


def build_parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    parser.add_argument("--format", choices=sorted(FORMS), default="html")
    parser.add_argument("--since", default="7d", metavar="WHEN", help="a time, or a length such as 12h (default: 7d)")
    parser.add_argument("--output", metavar="FILE", help="write it there at once or not at all (default: stdout)")
    return parser


def main() -> int:
    gc.disable()  # the lines of a history hold no cycles
    args = build_parser().parse_args()
    if not os.path.isdir(args.root):
        raise sc.UsageError("--root: %s is not a folder" % args.root)
    clock = sc.Clock()
    facts = read_facts(sc.Store(os.path.realpath(args.root)), since_option(args.since, clock.now()), clock)
    document = report(facts)
    text = FORMS[args.format](facts, document).encode("utf-8")
    if args.output:
        write_output(args.output, text)
        sc.print_line("%s; %s, %s" % (headline(document), args.output, size_text(len(text))))
    else:
        sys.stdout.flush()
        sc.write_all(1, text)
        sc.warn(headline(document), "symphony_report")
    return sc.EXIT_OK


if __name__ == "__main__":
    finish(main)
