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

`health` shows what `symphony_conductor.py status` finds wrong, and a table of the tasks. The health
of a task is one of: down (a problem: it failed, is overdue, blocks others or is invalid), late (a
warning, as while a failure is retried; or it waits for a task that is down), unknown (its health
file is missing, malformed or dated in the future), new (it never ran), up or disabled. A health
file whose status contradicts its exit code is a problem. Overdue reviews are listed, and change no
verdict. A run as a task of the conductor shows tasks that failed, and exits for all else: the
conductor reports those itself.

Exit codes: 0 ok; 2 usage, or an unknown name; 3 refused, nothing was changed; 74 a file could not
be read or written; 75 busy; 78 bad configuration. Of health: 0 for OK and WARNING (WARNING: 1 with
--strict), 2 for CRITICAL (a problem), 3 if something that it goes by cannot be read.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import stat
import time
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from common import RefusedError, command_parser, finish, plural, read_own, sc, subcommands

REVIEW_AFTER_DAYS = 180
SCRIPT_DIR = "scripts/automations"
RETIRED_DIR = sc.DROP_IN_DIR + "/retired"
LOCK_NAME = "status/locks/.automations.lock"  # the lock of a task never starts with a dot
LOCK_WAIT_S = 10.0

VERDICT_WIDTH = 79
STATUSES = ("success", "failed", "timeout", "interrupted", "stopped", "skipped")
# Health state -> the severity of the findings behind it; in the order in which a verdict names
# them. A task that another one blocks is late as well: the finding is that of the other.
STATES = (("down", sc.PROBLEM), ("late", sc.WARNING), ("unknown", sc.WARNING), ("up", ""),
          ("new", ""), ("disabled", ""))
# What only the health files tell: code -> severity, and what to type.
FILE_FINDINGS = {
    "health-failed": sc.PROBLEM,         # the conductor's state was lost, and with it this failure
    "health-contradictory": sc.PROBLEM,  # its status and its exit code exclude each other
    "health-malformed": sc.WARNING,
    "health-future": sc.WARNING,
    "health-missing": sc.WARNING,
}
FILE_COMMANDS = dict.fromkeys(FILE_FINDINGS, "run --task")  # which writes the file anew
FILE_COMMANDS["health-failed"] = "logs"
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
    after = sc.build_config(documents + [(verb, document)], read_dates=store.read_dates)
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
        parts.append(sc.describe(task.schedule.written, task.name))
    if task.dependencies:
        parts.append("after %s" % ", ".join(task.dependencies))
    return ", ".join(parts) or "by hand"


def next_start(task: "sc.Task", now: float) -> str:
    if task.schedule is None:
        return "not scheduled"
    if task.schedule.reboot:
        return "after the next boot"
    slot = sc.slot_after(task, now)
    if slot is None:
        return "never: every slot to come is on a day off"
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


# -- health: what the health files add to the conductor's findings

class FileFinding(sc.Finding):
    """A finding about a task's health file; its code is one of FILE_FINDINGS."""

    @property
    def severity(self) -> str:
        return FILE_FINDINGS[self.code]


class HealthFile(sc.Value):
    """A health file: how the last run or slot ended, when (UTC epoch seconds), with which code."""

    status: str = ""
    at: int = 0
    exit_code: int = 0

    @property
    def contradictory(self) -> bool:
        return (self.status == "success") != (self.exit_code == 0)

    @property
    def failed(self) -> bool:
        return self.status not in ("success", "stopped", "skipped")


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


def health_text(store: "sc.Store", name: str) -> "str | None":
    """The health file; None without one, and the error if it cannot be read, which is malformed."""
    try:
        path = store.path("status/automation_health/%s.health" % name)
        return read_own(path, 4096).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return "%s" % error.strerror


def read_file(text: "str | None", state: "sc.TaskState", now: float) -> "Tuple[str, str]":
    """(how the last run of a task ended, the code of what is wrong with its health file or '').

    `text` is the file, None without one; `state` what the conductor remembers of the task.
    """
    if text is None:
        if state.last or state.skipped.get("status") in sc.HEALTH_SKIPS:
            reason = "the health file is missing, although the task ran or was skipped"
            return reason, "health-missing"
        return "never ran", ""
    try:
        fact = parse_health(text)
    except ValueError as error:
        return "malformed health file: %s" % error, "health-malformed"
    if fact.at - now > sc.TICK_STALE_S:
        reason = "the health file is dated in the future: %s" % sc.iso(fact.at)
        return reason, "health-future"
    reason = fact.status
    if fact.failed:
        reason += " (exit %d)" % fact.exit_code
    reason += " %s ago" % sc.duration_text(max(0, now - fact.at))
    if fact.contradictory:
        contradiction = "; the status contradicts exit code %d" % fact.exit_code
        return reason + contradiction, "health-contradictory"
    if fact.failed and not state.last:
        return reason + "; the conductor's state, which was lost, has no such run", "health-failed"
    return reason, ""


# -- health: the table of the tasks

class Health(sc.Value):
    """The health of one task; `state` is one of STATES."""

    name: str = ""
    state: str = ""
    reason: str = ""
    owner: str = ""
    review_by: str = ""


def health_of(task: "sc.Task", reason: str, state: "sc.TaskState",
              findings: "Sequence[sc.Finding]", blocked_by: str = "") -> Health:
    """The health of a task that `findings` are about.

    `reason` is how its last run ended; `blocked_by` the task that keeps it from running, if any.
    """
    standing = sc.task_standing(state)
    if standing != "idle":
        reason += "; " + standing
    if blocked_by:
        reason += "; '%s' blocks it" % blocked_by
    severities = {finding.severity for finding in findings}
    is_late = any(finding.severity == sc.WARNING and finding.code not in FILE_FINDINGS
                  for finding in findings)
    if sc.PROBLEM in severities:
        health = "down"
    elif not task.enabled:
        health, reason = "disabled", ""
    elif is_late or blocked_by:
        health = "late"
    elif sc.WARNING in severities:
        health = "unknown"
    else:
        health = "new" if reason.startswith("never ran") else "up"
    return Health(name=task.name, state=health, reason=reason, owner=task.owner,
                  review_by=task.review_by)


def topic_of(finding: "sc.Finding") -> str:
    """What a finding is about, as `doctor` sorts them."""
    return "tasks" if finding.code in FILE_FINDINGS else str(sc.FINDINGS[finding.code][1])


def verdict(table: "List[Health]", findings: "Sequence[sc.Finding]") -> str:
    """One line of fewer than 80 characters: the tasks that are not well, and what else is wrong."""
    level = sc.level_of(findings)
    names = {state: [health.name for health in table if health.state == state]
             for state, _ in STATES}
    if level == "OK":
        text = "OK - %s" % plural(len(table), "automation")
        counts = ["%d %s" % (len(names[state]), state) for state, _ in STATES if names[state]]
        return "%s: %s" % (text, ", ".join(counts)) if counts else text
    in_table = {health.name for health in table}
    others = [finding for finding in findings
              if finding.task not in in_table and finding.place not in in_table]
    parts = [finding.text for finding in others if finding.code == "unreadable"]
    for severity in (sc.PROBLEM, sc.WARNING):
        parts += ["%d of %d %s: %s" % (
            len(names[state]), len(table), state, ", ".join(names[state]))
            for state, worst in STATES if worst == severity and names[state]]
        parts += [finding.text for finding in others
                  if finding.severity == severity and finding.code != "unreadable"]
    return shortened("%s - %s" % (level, "; ".join(parts)))


def shortened(text: str) -> str:
    return str(sc.cut_text(text, VERDICT_WIDTH))


# -- health: the command

def judge(config: "sc.Config | None", state: "sc.State", machine: "sc.Machine",
          read: "Callable[[str], str | None]",
          own: str = "") -> "Tuple[List[Health], List[sc.Finding]]":
    """(the health of every task of the configuration, everything that is wrong, the worst first).

    `read` returns the text of a task's health file, None without one. `own` is the task whose run
    this is. It is alive, and its last result is this check's own: a check that once reported a
    problem would report itself ever after.
    """
    findings = [finding for finding in sc.examine(config, state, machine)
                if not own or finding.task != own or topic_of(finding) != "tasks"]
    config = config or sc.Config()
    blocked_by = {name: finding.task for finding in findings
                  if finding.code in ("failing", "blocking", "skip-blocks")
                  for name in finding.place.split()}
    table: "List[Health]" = []
    for task in config.tasks.values():
        task_state = state.tasks.get(task.name, sc.TaskState())
        reason, code = read_file(read(task.name), task_state, machine.now)
        if code and task.enabled and task.name != own:
            findings.append(FileFinding(
                code=code, task=task.name, text="%s: %s" % (task.name, reason),
                command="%s %s %s" % (machine.program, FILE_COMMANDS[code], task.name)))
        about = [finding for finding in findings if finding.task == task.name]
        health = health_of(task, reason, task_state, about, blocked_by.get(task.name, ""))
        if task.name == own and task.enabled:
            health = health.replace(state="up", reason="is running this check")
        table.append(health)
    table += [Health(name=name, state="down", reason="invalid: %s" % reason)
              for name, reason in config.invalid.items()]
    table += [Health(name=problem.place, state="down", reason="invalid: %s" % problem.text)
              for problem in config.problems if not problem.task and not problem.warning]
    order = (sc.PROBLEM, sc.WARNING, sc.NOTICE)
    return table, sorted(findings, key=lambda finding: order.index(finding.severity))


def judge_all(store: "sc.Store") -> "Tuple[List[Health], List[sc.Finding]]":
    """What `judge` says of a root. Raises ConductorError, OSError."""
    inspector = sc.Inspector(store)
    config, state = inspector.config(), inspector.state()
    return judge(config, state, inspector.machine(state), lambda name: health_text(store, name),
                 own_task(store))


def own_task(store: "sc.Store") -> str:
    """The task of this root that this process is a run of, or ''."""
    mine = os.environ.get("SYMPHONY_ROOT", store.root) == store.root
    return os.environ.get("SYMPHONY_TASK", "") if mine else ""


def deciding(findings: "Sequence[sc.Finding]", own: str) -> "List[sc.Finding]":
    """The findings that decide how this process exits.

    As a task, the results of other tasks do not: two checks that failed for each other's failure
    would fail for ever. The conductor itself reports and notifies of those.
    """
    return [finding for finding in findings if not own or topic_of(finding) != "tasks"]


def cmd_health(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    table: "List[Health]" = []
    findings: "List[sc.Finding]" = []
    notes: "List[str]" = []
    own = own_task(store)
    try:
        table, findings = judge_all(store)
        level, line = sc.level_of(findings), verdict(table, findings)
        exit_level = sc.level_of(deciding(findings, own))
        if exit_level != level:
            notes.append("exits as for %s: the conductor itself reports failed tasks" % exit_level)
    except (sc.ConductorError, OSError) as error:
        notes = str(error).splitlines()
        level = exit_level = "UNKNOWN"
        line = shortened("UNKNOWN - %s" % notes[0])
    if args.json:
        _print_health_json(table, findings, now, {"verdict": line, "level": level, "notes": notes})
    else:
        sc.print_line(line)
        _print_health(table, findings, now, notes)
    if args.strict and exit_level == "WARNING":
        return EXIT_STRICT_WARNING
    return EXIT_CODES[exit_level]


def _print_health(table: "List[Health]", findings: "List[sc.Finding]", now: float,
                  notes: "List[str]") -> None:
    width = sc.terminal_size().columns
    for finding in findings:
        sc.print_line("\n".join(sc.finding_lines(sc.finding_document(finding), now, width)))
    say_table([(health.name, health.state, health.reason) for health in table], "  ")
    for health in table:
        if is_overdue(health.review_by, now):
            owner = " (%s)" % health.owner if health.owner else ""
            sc.print_line("  review overdue: %s, %s%s" % (health.name, health.review_by, owner))
    for text in notes:
        sc.print_line("  ! " + text)


def _print_health_json(table: "List[Health]", findings: "List[sc.Finding]", now: float,
                       head: "Dict[str, Any]") -> None:
    rows = [{"name": health.name, "state": health.state, "reason": health.reason,
             "owner": health.owner, "review_by": health.review_by or None,
             "review_overdue": is_overdue(health.review_by, now)} for health in table]
    sc.print_json(dict(head, now=sc.iso(now), automations=rows,
                       findings=[sc.finding_document(finding) for finding in findings]))


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
