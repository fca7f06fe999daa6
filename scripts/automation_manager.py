#!/usr/bin/env python3
"""Manages automations: tasks with an owner, a description and a date for their next review.

A registered automation is a task: config/tasks.d/NAME.json holds one task object, and the conductor
reads it beside conductor_config.json. There is no second registry.

    automation_manager.py register NAME SCRIPT SCHEDULE DESCRIPTION OWNER
    automation_manager.py create NAME SCHEDULE DESCRIPTION OWNER   write a script, and register it
    automation_manager.py list                                     owners, schedules, reviews
    automation_manager.py health                                   check every task
    automation_manager.py disable NAME, enable NAME
    automation_manager.py retire NAME                              move it to config/tasks.d/retired

The health of a task is one of: new (never ran, and nothing was due yet), up, late (a slot passed
without a success), down (the last result is a failure, the slot is later than the grace, or the
configuration of the task is invalid), disabled, or unknown (the health file is missing, malformed
or dated in the future). The slot is the first one after the last success, or after the schedule was
set or enabled, whichever is later. The grace is the time that one run can take: timeout, kill_grace
and all delays between retries, at least 5 minutes. It starts at the slot, or at the last step that
the conductor took with it (queued, started, to be retried); within it, a run that is running or
queued is not late. A task without a schedule cannot be late. A status that contradicts its exit
code counts as a failure. Overdue reviews are listed, and change no verdict.

Exit codes: 0 ok; 2 usage, or an unknown name; 3 refused, nothing was changed; 74 a file could not
be read or written; 75 busy; 78 bad configuration. Of health: 0 for OK and WARNING (WARNING: 1 with
--strict), 2 for CRITICAL, 3 if it cannot tell.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import stat
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from common import RefusedError, command_parser, finish, plural, read_own, sc, subcommands

REVIEW_AFTER_DAYS = 180
SCRIPT_DIR = "scripts/automations"
RETIRED_DIR = sc.DROP_IN_DIR + "/retired"
LOCK_NAME = "status/locks/.automations.lock"  # the lock of a task never starts with a dot
LOCK_WAIT_S = 10.0

SHORTEST_GRACE_S = 5 * sc.MINUTE
VERDICT_WIDTH = 79
STATUSES = ("success", "failed", "timeout", "interrupted", "skipped")
# Health state -> the level of the whole; in the order in which a verdict names them.
LEVELS = (("down", "CRITICAL"), ("late", "WARNING"), ("unknown", "WARNING"), ("up", "OK"),
          ("new", "OK"), ("disabled", "OK"))
EXIT_CODES = {"OK": 0, "WARNING": 0, "CRITICAL": 2, "UNKNOWN": 3}
EXIT_STRICT_WARNING = 1

TEMPLATE = """\
#!/bin/sh
# {name}: {description}
# Owner: {owner}
# Created: {created}
set -eu

# The conductor starts this in its root folder and sets SYMPHONY_TASK, SYMPHONY_RUN_ID,
# SYMPHONY_SCHEDULED_FOR, SYMPHONY_ATTEMPT and SYMPHONY_ROOT. Exit 0 is a success; any other exit
# code is a failure, and is retried.

echo "{name}: not implemented yet" >&2
exit 1
"""


# -- the files

class Entry(sc.Value):
    """One task, as a file of the configuration holds it."""

    name: str = ""
    place: str = ""
    text: str = ""                # of the whole file
    document: "Any" = None        # the whole file, parsed; `raw` is the task in it
    raw: "Dict[str, Any]" = {}
    drop_in: bool = False
    alone: bool = False           # the file holds nothing else


def one_line(value: "Any") -> bool:
    """Whether a value is text that fits on one line of a table, a log and a comment."""
    return sc.is_filled(value) and not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", value)


# A task can do without these, an automation cannot: somebody must be there to ask about it.
PEOPLE_RULES = {key: sc.Rule(key=key, allowed="one line of text", check=one_line)
                for key in ("description", "owner")}


def read_entries(store: "sc.Store") -> "Tuple[sc.Config, List[Entry]]":
    """The configuration, and the objects it was built from in their order. Raises ConfigError."""
    config = store.read_config()
    entries = []
    for index, (place, text) in enumerate(store.sources):
        document = sc.parse_document(text, place)
        drop_in = index > 0  # the main file comes first, and is an object with a list of tasks
        if not drop_in:
            tasks = document.get("tasks", [])
        elif isinstance(document, list):
            tasks = document
        else:
            tasks = [document]
        entries += [Entry(name=raw["name"], place=place, text=text, document=document, raw=raw,
                          drop_in=drop_in, alone=len(tasks) == 1)
                    for raw in tasks if isinstance(raw, dict) and isinstance(raw.get("name"), str)]
    return config, entries


def dependents(entries: "List[Entry]", name: str) -> "List[str]":
    """The tasks that name this one as a dependency, invalid ones included."""
    depend = []
    for entry in entries:
        dependencies = entry.raw.get("dependencies")
        if isinstance(dependencies, list) and name in dependencies:
            depend.append(entry.name)
    return depend


def own_drop_in(store: "sc.Store", entries: "List[Entry]", name: str) -> Entry:
    """The entry whose file is this task's own, so that it can be changed or moved.

    Raises UsageError, RefusedError.
    """
    matching = [entry for entry in entries if entry.name == name]
    if not matching:
        names = sorted({entry.name for entry in entries})
        hint = sc.did_you_mean(name, names)
        raise sc.UsageError("unknown automation '%s'" % name,
                            hint or "automations: %s" % (", ".join(names[:10]) or "none"))
    if len(matching) > 1:
        raise RefusedError("'%s' is defined in %s" % (
            name, " and in ".join(entry.place for entry in matching)), "remove all but one")
    entry = matching[0]
    if not entry.drop_in:
        raise RefusedError("%s: '%s' is not a drop-in" % (entry.place, name), "edit that file")
    if not entry.alone:
        raise RefusedError("%s: contains other tasks besides '%s'" % (entry.place, name),
                           "edit that file, or move '%s' to a file of its own" % name)
    if os.path.islink(store.path(entry.place)):
        raise RefusedError("%s: is a symbolic link" % entry.place,
                           "edit the file that it points to")
    return entry


@contextlib.contextmanager
def changing(store: "sc.Store", dry_run: bool = False) -> "Iterator[None]":
    """Keeps everybody else who takes this lock from changing drop-ins. Raises BusyError."""
    store.check_root()
    if dry_run:
        yield  # a dry run writes nothing, not even a lock file
        return
    lock = sc.FileLock(store.path(LOCK_NAME))
    if not lock.acquire(LOCK_WAIT_S):
        raise sc.BusyError("another automation_manager is changing %s" % sc.DROP_IN_DIR,
                           "try again later")
    try:
        yield
    finally:
        lock.release()


def publish(store: "sc.Store", path: str, data: bytes, mode: int) -> None:
    """Create a file, complete or not at all. Raises RefusedError if the name is taken."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, ".%s.new" % name)
    sc.write_atomic(temporary, data)
    try:
        os.chmod(temporary, mode)
        move(store, temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def move(store: "sc.Store", source: str, target: str) -> None:
    """Rename a file; one that exists is never overwritten."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise taken(store, target)
    except OSError:  # a file system without hard links: only the lock guards the name
        if os.path.lexists(target):
            raise taken(store, target)
        os.rename(source, target)
    else:
        os.unlink(source)
    for folder in {os.path.dirname(source), os.path.dirname(target)}:
        sc.sync_folder(folder)


def taken(store: "sc.Store", path: str) -> RefusedError:
    return RefusedError("%s: already exists" % store.shown(path), "choose another name")


def note(store: "sc.Store", now: float, text: str) -> None:
    """Log a change. It has been made by then, so a full disk must not make it look failed."""
    try:
        store.log(now, [text])
    except sc.StorageError as error:
        sc.warn("done, but not logged: %s" % error, "automation_manager")


# -- register, create

def script_path(store: "sc.Store", script: str) -> str:
    """The absolute path of a script under the root, with the links on the way to it resolved.

    Raises RefusedError for one outside of the root.
    """
    folder, name = os.path.split(os.path.join(store.root, script))
    path = os.path.join(os.path.realpath(folder), name)
    inside = store.root + "/"
    if not (path.startswith(inside) and os.path.realpath(path).startswith(inside)):
        raise RefusedError("%s: is not under the root %s" % (script, store.root), "move it there")
    folder = os.path.dirname(path)
    # Whoever can write to a folder on the way can replace the script.
    while len(folder) > len(store.root):
        refuse_insecure(store, folder)
        folder = os.path.dirname(folder)
    return path


def refuse_insecure(store: "sc.Store", path: str) -> None:
    for problem in store.insecure(path):
        raise RefusedError(str(problem))


def check_script(store: "sc.Store", path: str) -> None:
    """Raises RefusedError for a script that cron could not run, or that others could change."""
    shown = store.shown(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RefusedError("%s: %s" % (shown, reason), "paths are relative to the root")
    if not stat.S_ISREG(mode):
        raise RefusedError("%s: is not a regular file" % shown, "name the script itself")
    if not mode & stat.S_IXUSR:
        raise RefusedError("%s: is not executable by its owner" % shown,
                           "chmod u+x %s" % shlex.quote(path))
    refuse_insecure(store, path)


def proposal(args: argparse.Namespace, command: str, now: float) -> "Dict[str, Any]":
    """The task object that the command line asks for; what it leaves out keeps its default."""
    # A list is run as it is, so no shell can misread the script's name. './' keeps PATH out of it.
    document = {
        "name": args.name,
        "description": args.description,
        "owner": args.owner,
        "review_by": args.review_by or today(now + REVIEW_AFTER_DAYS * sc.DAY),
        "command": ["./" + command],
        "schedule": args.schedule,
        "dependencies": [name for names in args.depends_on for name in names] or None,
        "timeout": args.timeout,
        "retry_count": args.retry_count,
    }
    return {key: value for key, value in document.items() if value is not None}


def today(now: float) -> str:
    """The day of a time, in UTC, as '2026-03-01'."""
    return sc.iso(now)[:10]


def check_proposal(store: "sc.Store", document: "Dict[str, Any]", verb: str) -> "sc.Config":
    """The configuration with the new task. Raises RefusedError for the first problem with it."""
    before = store.read_config()
    people = {key: document[key] for key in PEOPLE_RULES}
    problems = sc.check_fields(people, PEOPLE_RULES, verb, document["name"])
    documents = [(place, sc.parse_document(text, place)) for place, text in store.sources]
    after = sc.build_config(documents + [(verb, document)])
    problems += [problem for problem in after.problems if problem not in before.problems]
    # Its own problems come first, then those that it would cause elsewhere.
    problems.sort(key=lambda problem: not problem.place.startswith(verb))
    for problem in problems:
        raise RefusedError(str(problem))
    return after


def drop_in_bytes(document: "Any") -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def cmd_register(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    with changing(store, args.dry_run):
        script = script_path(store, args.script)
        document = proposal(args, os.path.relpath(script, store.root), now)
        config = check_proposal(store, document, "register")
        check_script(store, script)
        target = free_drop_in(store, args.name)
        if not args.dry_run:
            publish(store, target, drop_in_bytes(document), 0o600)
            note(store, now, "%s: registered, owner %s" % (args.name, args.owner))
    tell_new(store, config, args, now, "register")
    return sc.EXIT_OK


def cmd_create(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    command = "%s/%s.sh" % (SCRIPT_DIR, args.name)
    with changing(store, args.dry_run):
        config = check_proposal(store, proposal(args, command, now), "create")
        script = script_path(store, command)  # not before: only now has the name been checked
        if os.path.lexists(script):
            raise RefusedError("%s: already exists" % store.shown(script),
                               "register it, or choose another name")
        target = free_drop_in(store, args.name)
        if not args.dry_run:
            write_script(store, script, target, args, now)
            note(store, now, "%s: created, owner %s" % (args.name, args.owner))
    tell_new(store, config, args, now, "create")
    todo = "" if args.dry_run else " (write it; until then it fails)"
    sc.print_line("  script: %s%s" % (command, todo))
    return sc.EXIT_OK


def write_script(store: "sc.Store", script: str, target: str, args: argparse.Namespace,
                 now: float) -> None:
    """Write the script and then its drop-in `target`, or neither."""
    text = TEMPLATE.format(name=args.name, description=args.description, owner=args.owner,
                           created=today(now))
    publish(store, script, text.encode("utf-8"), 0o700)
    document = proposal(args, os.path.relpath(script, store.root), now)
    try:
        publish(store, target, drop_in_bytes(document), 0o600)
    except BaseException:
        os.unlink(script)  # nobody can have edited it yet
        raise


def free_drop_in(store: "sc.Store", name: str) -> str:
    """The path of a drop-in that does not exist yet. Raises RefusedError."""
    path = store.path("%s/%s.json" % (sc.DROP_IN_DIR, name))
    if os.path.lexists(path):
        raise taken(store, path)
    return path


PAST = {"register": "registered", "create": "created"}


def tell_new(store: "sc.Store", config: "sc.Config", args: argparse.Namespace, now: float,
             verb: str) -> None:
    """Print the verdict, what the schedule means, and what is legal but suspicious."""
    task = config.tasks[args.name]
    action = "would %s" % verb if args.dry_run else PAST[verb]
    sc.print_line("%s %s: %s/%s.json" % (action, args.name, sc.DROP_IN_DIR, args.name))
    sc.print_line("  runs: %s" % schedule_words(task))
    sc.print_line("  next start: %s" % next_start(task, now))
    for problem in sc.suspicions(config, now):
        if problem.task == args.name:
            sc.print_line("  warning: %s (%s)" % (problem.text, problem.hint))
    for name in task.dependencies:
        if name in config.invalid:
            sc.print_line("  warning: dependencies: '%s' cannot run: %s" % (
                name, config.invalid[name]))


def schedule_words(task: "sc.Task") -> str:
    """When a task runs, in plain English."""
    parts = []
    if task.schedule is not None:
        parts.append(sc.describe(task.schedule.text, task.name))
    if task.dependencies:
        parts.append("after %s" % ", ".join(task.dependencies))
    return ", ".join(parts) or "by hand"


def next_start(task: "sc.Task", now: float) -> str:
    if task.schedule is None:
        return "not scheduled"
    slot = task.schedule.next(now, task.timezone)
    if slot is None:
        return "after the next boot"
    return "%s (in %s)" % (sc.local_text(slot, task.timezone), sc.duration_text(slot - now))


# -- list

def is_overdue(review_by: str, now: float) -> bool:
    """Whether the day of the review is over, in UTC; without a review it never is."""
    return bool(review_by) and review_by < today(now)


def listing(config: "sc.Config", entries: "List[Entry]", state: "sc.State",
            now: float) -> "List[Dict[str, Any]]":
    """What `list` shows of each drop-in, as JSON can hold it."""
    rows = []
    for entry in entries:
        if not entry.drop_in:
            continue
        task = config.tasks.get(entry.name)
        if task is not None:
            status = sc.task_document(config, state, task, now)
            words, review_by = schedule_words(task), task.review_by
        else:
            problem = config.invalid.get(entry.name, "")
            status = sc.invalid_document(entry.name, problem, state)
            words, review_by = "-", ""
        rows.append({
            "name": entry.name, "state": status["state"], "owner": status["owner"],
            "schedule": status["schedule"], "schedule_words": words,
            "description": status["description"], "next_run": status["next_run"],
            "review_by": review_by or None, "review_overdue": is_overdue(review_by, now),
            "file": entry.place, "reason": status["reason"]})
    return rows


def cmd_list(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    config, entries = read_entries(store)
    automations = listing(config, entries, store.read_state()[0], now)
    if args.json:
        sc.print_json(automations)
        return sc.EXIT_OK
    counts = [(sum(item["state"] == "disabled" for item in automations), "disabled"),
              (sum(item["state"] == "invalid" for item in automations), "invalid"),
              (sum(item["review_overdue"] for item in automations), "due for review")]
    parts = ["%d %s" % count for count in counts if count[0]]
    sc.print_line(", ".join([plural(len(automations), "automation")] + parts))
    if automations:
        head = ("NAME", "STATE", "OWNER", "REVIEW", "SCHEDULE")
        say_table([head] + [list_row(item) for item in automations])
    return sc.EXIT_OK


def list_row(item: "Dict[str, Any]") -> "Tuple[str, ...]":
    review = item["review_by"] or "-"
    if item["review_overdue"]:
        review += " overdue"
    schedule = item["schedule_words"]
    if item["state"] == "invalid":
        schedule = item["reason"]
    return item["name"], item["state"], item["owner"] or "-", review, schedule


def say_table(rows: "Sequence[Sequence[str]]", indent: str = "") -> None:
    # A row stays on its line, whatever a file holds.
    table = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        sc.print_line(indent + "  ".join(cells).rstrip())


# -- health: rules

class HealthFile(sc.Value):
    """A health file: how the last run or slot ended, when (UTC epoch seconds), with which code."""

    status: str = ""
    at: int = 0
    exit_code: int = 0

    @property
    def contradictory(self) -> bool:
        return (self.status == "success") != (self.exit_code == 0)


class Health(sc.Value):
    """The health of one task; `state` is one of LEVELS."""

    name: str = ""
    state: str = ""
    reason: str = ""
    owner: str = ""
    review_by: str = ""


def parse_health(text: str) -> HealthFile:
    """`status:timestamp:exit_code`; the timestamp holds colons itself. Raises ValueError."""
    status, _, rest = text.strip().partition(":")
    stamp, _, code = rest.rpartition(":")
    if status not in STATUSES:
        raise ValueError("status '%.20s' is not one of %s" % (status, ", ".join(STATUSES)))
    if not re.match(r"[0-9]{1,3}\Z", code):
        raise ValueError("exit code '%.20s' is not a number from 0 to 999" % code)
    if "T" not in stamp:
        raise ValueError("'%.40s' is not a time such as 2025-06-02T10:00:00Z" % stamp)
    return HealthFile(status=status, at=sc.from_iso(stamp) or 0, exit_code=int(code))


def grace_of(task: "sc.Task") -> float:
    """Seconds until a slot must have a success: one run, and all delays between its attempts."""
    delays = sum(task.retry_wait(attempt) for attempt in range(1, task.retry_count + 1))
    return max(float(SHORTEST_GRACE_S), task.timeout + task.kill_grace + delays)


def judge(task: "sc.Task", text: "str | None", state: "sc.TaskState | None", changed_at: float,
          now: float) -> Health:
    """The health of a task at `now`.

    `text` is its health file, None without one; `state` what the conductor remembers of it, None
    without a state; `changed_at` when its configuration was last written. Times are UTC epoch
    seconds.
    """
    if state is None:
        # Only the last success is left to go by, and without one the age of the configuration.
        state = sc.TaskState(schedule_key="" if text is None else task.schedule_key)
    if not task.enabled:
        health, reason = "disabled", ""
    elif text is None:
        health, reason = _without_file(task, state, changed_at, now)
    else:
        health, reason = _by_file(task, text, state, changed_at, now)
    return Health(name=task.name, state=health, reason=reason, owner=task.owner,
                  review_by=task.review_by)


def _by_file(task: "sc.Task", text: str, state: "sc.TaskState", changed_at: float,
             now: float) -> "Tuple[str, str]":
    try:
        fact = parse_health(text)
    except ValueError as error:
        return "unknown", "malformed health file: %s" % error
    if fact.at > now + sc.CLOCK_OFFSET_TOLERANCE_S:
        return "unknown", "the health file is dated in the future: %s" % sc.iso(fact.at)
    ended = fact.status
    if fact.status not in ("success", "skipped"):
        ended += " (exit %d)" % fact.exit_code
    ended += " %s ago" % sc.duration_text(now - fact.at)
    if fact.contradictory:
        return "down", "%s; the status contradicts exit code %d" % (ended, fact.exit_code)
    retried = state.cycle is not None and bool(state.cycle.attempts)
    if fact.status not in ("success", "skipped") and not retried:
        return "down", ended
    due = _due_slot(task, fact, state, changed_at)
    if due is None and fact.status != "success":
        return "unknown", ended + (", retry pending" if retried else "")
    if due is None or due > now:
        return "up", ended
    if now > _deadline(task, due, state):
        return "down", "%s; no success for its slot %s (grace %s)" % (
            ended, sc.iso(due), sc.duration_text(grace_of(task)))
    if fact.status == "success" and _in_progress(state):
        return "up", "%s; %s" % (ended, sc.task_standing(state))
    reason = "%s; no success yet for its slot %s" % (ended, sc.iso(due))
    if state.cycle and state.cycle.waiting_for:
        reason += ", waiting for '%s'" % state.cycle.waiting_for
    return "late", reason


def _due_slot(task: "sc.Task", fact: HealthFile, state: "sc.TaskState",
              changed_at: float) -> "int | None":
    """The first slot without a success; None for a task whose slots cannot be told."""
    if task.schedule is None or task.schedule.reboot:
        return None
    if fact.status == "skipped":
        if state.satisfied_until is not None:
            return task.schedule.next(state.satisfied_until, task.timezone)
        return task.schedule.previous(fact.at, task.timezone)
    if state.cycle is not None and (fact.status != "success" or state.cycle.slot > fact.at):
        return state.cycle.slot
    since = max(fact.at, _decided_until(task, state, changed_at))
    return task.schedule.next(since, task.timezone)


def _decided_until(task: "sc.Task", state: "sc.TaskState", changed_at: float) -> float:
    """No slot up to here is open: it was never asked for, or the conductor decided it.

    The result of the latter is in the health file or in an open cycle. A schedule that the
    conductor has not seen yet, because it was edited or enabled just now, counts from the time of
    its file.
    """
    return state.cursor if state.schedule_key == task.schedule_key else changed_at


def _deadline(task: "sc.Task", due: int, state: "sc.TaskState") -> float:
    """Until when a slot is late and not down. A catch-up of an old slot has the time of any run."""
    last_step = state.cycle.since if state.cycle else 0.0
    return max(due, last_step) + grace_of(task)


def _in_progress(state: "sc.TaskState") -> bool:
    return sc.task_standing(state) in ("running", "queued")


def _without_file(task: "sc.Task", state: "sc.TaskState", changed_at: float,
                  now: float) -> "Tuple[str, str]":
    if state.last or state.skipped.get("status") in sc.HEALTH_SKIPS:
        return "unknown", "the health file is missing, although the task ran or was skipped"
    if _in_progress(state):
        return "new", "first run: %s" % sc.task_standing(state)
    if task.schedule is None or task.schedule.reboot:
        return "new", "never ran"
    due = task.schedule.next(_decided_until(task, state, changed_at), task.timezone)
    if state.cycle:
        due = state.cycle.slot
    if due is None or due > now:
        return "new", "never ran; first slot %s" % sc.iso(due)
    if now > _deadline(task, due, state):
        return "unknown", "the health file is missing, although its slot %s passed" % sc.iso(due)
    return "late", "never ran; no success yet for its slot %s" % sc.iso(due)


def level_of(judgements: "List[Health]") -> str:
    """OK, WARNING or CRITICAL: the worst of all."""
    states = {health.state for health in judgements}
    return next((level for state, level in LEVELS if state in states), "OK")


def verdict(judgements: "List[Health]") -> str:
    """One line of fewer than 80 characters."""
    level = level_of(judgements)
    names = {state: [health.name for health in judgements if health.state == state]
             for state, _ in LEVELS}
    if level == "OK":
        text = "OK - %s" % plural(len(judgements), "automation")
        counts = ["%d %s" % (len(names[state]), state) for state, _ in LEVELS if names[state]]
        return "%s: %s" % (text, ", ".join(counts)) if counts else text
    parts = ["%d of %d %s: %s" % (
        len(names[state]), len(judgements), state, ", ".join(names[state]))
        for state, severity in LEVELS if severity != "OK" and names[state]]
    return shortened("%s - %s" % (level, "; ".join(parts)))


def shortened(text: str) -> str:
    if len(text) <= VERDICT_WIDTH:
        return text
    return text[:VERDICT_WIDTH - 3] + "..."


# -- health: the command

def judge_all(store: "sc.Store", own: str, now: float) -> "Tuple[List[Health], List[str]]":
    """(the health of every task of the configuration, notes about the conductor's state).

    `own` is the task whose run this is. It is alive, and its last result is this check's own: a
    check that once reported a problem would report itself ever after. Raises ConductorError.
    """
    store.check_root()
    config, entries = read_entries(store)
    state, notes, _ = store.read_state()
    unseen = sc.TaskState() if state.tasks else None
    places = {entry.name: entry.place for entry in entries}
    judgements = []
    for task in config.tasks.values():
        changed_at = os.stat(store.path(places[task.name])).st_mtime
        health = judge(task, health_text(store, task.name), state.tasks.get(task.name, unseen),
                       changed_at, now)
        if task.name == own and task.enabled:
            health = health.replace(state="up", reason="is running this check")
        judgements.append(health)
    judgements += [Health(name=name, state="down", reason="invalid: %s" % reason)
                   for name, reason in config.invalid.items()]
    judgements += [Health(name=problem.place, state="down", reason="invalid: %s" % problem.text)
                   for problem in config.problems if not problem.task]
    return judgements, notes


def health_text(store: "sc.Store", name: str) -> "str | None":
    """The health file; None without one, and the error if it cannot be read, which is malformed."""
    try:
        path = store.path("status/automation_health/%s.health" % name)
        return read_own(path, 4096).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return "%s" % error.strerror


def own_task(store: "sc.Store") -> str:
    """The task of this root that this process is a run of, or ''."""
    mine = os.environ.get("SYMPHONY_ROOT", store.root) == store.root
    return os.environ.get("SYMPHONY_TASK", "") if mine else ""


def cmd_health(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    judgements: "List[Health]" = []
    try:
        judgements, notes = judge_all(store, own_task(store), now)
        level, line = level_of(judgements), verdict(judgements)
    except (sc.ConductorError, OSError) as error:
        notes = str(error).splitlines()
        level, line = "UNKNOWN", shortened("UNKNOWN - %s" % notes[0])
    overdue = [health for health in judgements if is_overdue(health.review_by, now)]
    if args.json:
        rows = [{"name": health.name, "state": health.state, "reason": health.reason,
                 "owner": health.owner, "review_by": health.review_by or None,
                 "review_overdue": health in overdue} for health in judgements]
        sc.print_json({"verdict": line, "level": level, "now": sc.iso(now), "notes": notes,
                       "automations": rows})
    else:
        sc.print_line(line)
        say_table([(health.name, health.state, health.reason) for health in judgements], "  ")
        for health in overdue:
            owner = " (%s)" % health.owner if health.owner else ""
            sc.print_line("  review overdue: %s, %s%s" % (health.name, health.review_by, owner))
        for note_text in notes:
            sc.print_line("  ! " + note_text)
    if args.strict and level == "WARNING":
        return EXIT_STRICT_WARNING
    return EXIT_CODES[level]


# -- disable, enable, retire

def cmd_switch(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    """`enable` and `disable`: set one key of the drop-in; all others stay, in their order."""
    word = "enabled" if args.enabled else "disabled"
    with changing(store):
        config, entries = read_entries(store)
        entry = own_drop_in(store, entries, args.name)
        task = sc.task_named(config, args.name)
        if task.enabled == args.enabled:
            sc.print_line("%s is already %s" % (args.name, word))
            return sc.EXIT_OK
        try:
            json.loads(entry.text)
        except ValueError:
            raise RefusedError("%s: contains // comments, which would be lost" % entry.place,
                               'set "enabled": %s by hand' % json.dumps(args.enabled))
        entry.raw["enabled"] = args.enabled
        sc.write_atomic(store.path(entry.place), drop_in_bytes(entry.document))
        note(store, now, "%s: %s by hand" % (args.name, word))
    sc.print_line("%s %s: %s" % (word, args.name, entry.place))
    if args.enabled:
        sc.print_line("  next start: %s" % next_start(task, now))
    waiting = [] if args.enabled else dependents(entries, args.name)
    if waiting:
        sc.print_line("  warning: %s will wait for it" % ", ".join(waiting))
    return sc.EXIT_OK


def cmd_retire(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    with changing(store):
        _, entries = read_entries(store)
        entry = own_drop_in(store, entries, args.name)
        waiting = dependents([other for other in entries if other.name != args.name], args.name)
        if waiting:
            raise RefusedError("'%s' is a dependency of %s" % (args.name, ", ".join(waiting)),
                               "change those first")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        target = "%s/%s-%s.json" % (RETIRED_DIR, args.name, stamp)
        sc.make_folder(store.path(RETIRED_DIR))
        move(store, store.path(entry.place), store.path(target))
        try:
            os.unlink(store.path("status/automation_health/%s.health" % args.name))
        except FileNotFoundError:
            pass  # it never ran. A file that stayed would report its last failure for good
        reason = ": %s" % args.reason if args.reason else ""
        note(store, now, "%s: retired by hand%s" % (args.name, reason))
    sc.print_line("retired %s: %s" % (args.name, target))
    sc.print_line("  its script stays; to undo: mv %s %s" % (
        shlex.quote(target), shlex.quote(entry.place)))
    return sc.EXIT_OK


# -- the command line

def number(text: str) -> float:
    """A number of seconds; whole ones stay whole in the file."""
    return int(text) if re.match(r"-?[0-9]+\Z", text) else float(text)


def build_parser() -> argparse.ArgumentParser:
    """The command line, each command bound to its function."""
    parser = command_parser(__doc__)
    command = subcommands(parser)
    for added in (
            command("register", cmd_register, "register an existing script", "name", "script",
                    "schedule", "description", "owner"),
            command("create", cmd_create, "write a script from a template, and register it", "name",
                    "schedule", "description", "owner")):
        added.add_argument("--depends-on", metavar="TASK", nargs="+", action="append", default=[],
                           help="tasks that must succeed first")
        added.add_argument("--timeout", metavar="S", type=number,
                           help="seconds that an attempt can take")
        added.add_argument("--retry-count", metavar="N", type=int,
                           help="how often to retry a failed run")
        added.add_argument("--review-by", metavar="DATE",
                           help="when to review whether it is still needed (default: in %d days)"
                                % REVIEW_AFTER_DAYS)
        added.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    added = command("list", cmd_list, "list all automations")
    added.add_argument("--json", action="store_true", help="print JSON")
    added = command("health", cmd_health, "check every task of the configuration")
    added.add_argument("--json", action="store_true", help="print JSON")
    added.add_argument("--strict", action="store_true", help="exit with 1 on WARNING")
    added = command("disable", cmd_switch, "stop scheduling it", "name")
    added.set_defaults(enabled=False)
    added = command("enable", cmd_switch, "schedule it again", "name")
    added.set_defaults(enabled=True)
    added = command("retire", cmd_retire,
                    "move its file to %s; the script stays" % RETIRED_DIR, "name")
    added.add_argument("--reason", metavar="TEXT", default="", help="the reason, for the log")
    return parser


def main() -> int:
    """Run one command line; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args()
    if not args.command:
        parser.error("no command; use register, create, list, health, disable, enable or retire")
    if not os.path.isdir(args.root):
        raise sc.UsageError("--root: %s is not a folder" % args.root)
    return int(args.func(sc.Store(os.path.realpath(args.root)), args, sc.Clock().now()))


if __name__ == "__main__":
    finish(main)
