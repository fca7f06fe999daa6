#!/usr/bin/env python3
"""Automations: register, create, list, judge, disable, enable and retire the tasks of config/tasks.d.

A registered automation is a task: config/tasks.d/NAME.json holds one task object with an owner, a description
and a review date, and the conductor reads it beside conductor_config.json. There is no second registry.

    automation_manager.py register NAME SCRIPT SCHEDULE DESCRIPTION OWNER
    automation_manager.py create NAME SCHEDULE DESCRIPTION OWNER   a script from a template, registered
    automation_manager.py list                                     owners, schedules, reviews
    automation_manager.py health                                   a verdict over every task
    automation_manager.py disable NAME, enable NAME
    automation_manager.py retire NAME                              moved to config/tasks.d/retired

Health, per task: new (never ran, nothing was due yet), up, late (a slot passed without a success), down (the
last verdict is a failure, or the slot is later than the grace, or the configuration gets the task wrong),
disabled, unknown (the health file is missing, malformed or dated in the future). The slot is the first one
after the last success, or after the schedule was set or enabled, whichever is later. The grace is what one run
may take: timeout, kill_grace and all delays between retries, at least 5 minutes. It counts from the slot, or
from the conductor's last step with it (queued, started, to be retried), and within it a run that is going or
queued is not late. Tasks without a schedule cannot be late. A status that contradicts its exit code counts as a
failure. Reviews that are overdue are named, and judge nothing.

Exit codes: 0 ok; 2 usage, or a name that is not there; 3 refused, nothing was changed; 74 a file could not be
read or written; 75 busy; 78 bad configuration. Of health: 0 OK and WARNING (1 with --strict), 2 CRITICAL,
3 where it could not tell.
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
# Health state -> what it makes of the whole; in the order in which a verdict names them.
LEVELS = (("down", "CRITICAL"), ("late", "WARNING"), ("unknown", "WARNING"), ("up", "OK"), ("new", "OK"),
          ("disabled", "OK"))
EXIT_CODES = {"OK": 0, "WARNING": 0, "CRITICAL": 2, "UNKNOWN": 3}
EXIT_STRICT_WARNING = 1

TEMPLATE = """\
#!/bin/sh
# {name}: {description}
# Owner: {owner}
# Created: {created}
set -eu

# The conductor starts this in its root folder and sets SYMPHONY_TASK, SYMPHONY_RUN_ID, SYMPHONY_SCHEDULED_FOR,
# SYMPHONY_ATTEMPT and SYMPHONY_ROOT. Exit 0 is a success; anything else is a failure, and is tried again.

echo "{name}: what is to be done is not written down here yet" >&2
exit 1
"""


# -- the files

class Entry(sc.Value):
    """One task as a file of the configuration has it."""

    name: str = ""
    place: str = ""
    text: str = ""                # of the whole file
    document: "Any" = None        # the whole file, parsed; `raw` is the task in it
    raw: "Dict[str, Any]" = {}
    drop_in: bool = False
    alone: bool = False           # the file holds nothing else


def one_line(value: "Any") -> bool:
    """Whether a value is text that a table, a log and a comment can hold in one line."""
    return sc.is_filled(value) and not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", value)


# A task may go without these; an automation that nobody can be asked about may not.
PEOPLE_RULES = {key: sc.Rule(key=key, allowed="one line of text", check=one_line) for key in ("description", "owner")}


def read_entries(store: "sc.Store") -> "Tuple[sc.Config, List[Entry]]":
    """The configuration, and the objects it was built from in their order. Raises ConfigError."""
    config = store.read_config()
    entries = []
    for index, (place, text) in enumerate(store.sources):
        document = sc.parse_document(text, place)
        tasks = document.get("tasks", []) if not index else document if isinstance(document, list) else [document]
        entries += [Entry(name=raw["name"], place=place, text=text, document=document, raw=raw, drop_in=bool(index),
                          alone=len(tasks) == 1)
                    for raw in tasks if isinstance(raw, dict) and isinstance(raw.get("name"), str)]
    return config, entries


def dependents(entries: "List[Entry]", name: str) -> "List[str]":
    """The tasks that name this one as a dependency, sound or not."""
    return [entry.name for entry in entries
            if isinstance(entry.raw.get("dependencies"), list) and name in entry.raw["dependencies"]]


def own_drop_in(store: "sc.Store", entries: "List[Entry]", name: str) -> Entry:
    """The entry whose file is this task's own, so that it may be changed or moved. Raises UsageError, RefusedError."""
    found = [entry for entry in entries if entry.name == name]
    if not found:
        known = sorted({entry.name for entry in entries})
        raise sc.UsageError("unknown automation '%s'" % name,
                            sc.did_you_mean(name, known) or "there are %s" % (", ".join(known[:10]) or "none"))
    if len(found) > 1:
        raise RefusedError("'%s' is in %s" % (name, " and in ".join(entry.place for entry in found)),
                           "keep one of them, by hand")
    entry = found[0]
    if not entry.drop_in:
        raise RefusedError("%s: '%s' is not a drop-in" % (entry.place, name), "edit that file")
    if not entry.alone:
        raise RefusedError("%s: holds other tasks beside '%s'" % (entry.place, name),
                           "edit that file, or give '%s' a file of its own" % name)
    if os.path.islink(store.path(entry.place)):
        raise RefusedError("%s: is a symbolic link" % entry.place, "change the file that it leads to")
    return entry


@contextlib.contextmanager
def changing(store: "sc.Store", dry_run: bool = False) -> "Iterator[None]":
    """Nobody else who goes by this lock changes drop-ins meanwhile. Raises BusyError."""
    store.check_root()
    if dry_run:
        yield  # it writes nothing, not even a lock file
        return
    lock = sc.FileLock(store.path(LOCK_NAME))
    if not lock.acquire(LOCK_WAIT_S):
        raise sc.BusyError("another automation_manager is changing %s" % sc.DROP_IN_DIR, "try again")
    try:
        yield
    finally:
        lock.release()


def publish(store: "sc.Store", path: str, data: bytes, mode: int) -> None:
    """Make a file that was not there, complete or not at all. Raises RefusedError when the name is taken."""
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
    """Give a file another name; one that is taken is never overwritten."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise taken(store, target)
    except OSError:  # a file system without hard links: the lock alone has to do
        if os.path.lexists(target):
            raise taken(store, target)
        os.rename(source, target)
    else:
        os.unlink(source)
    for folder in {os.path.dirname(source), os.path.dirname(target)}:
        sc.sync_folder(folder)


def taken(store: "sc.Store", path: str) -> RefusedError:
    return RefusedError("%s: is there already" % store.shown(path), "it is never overwritten; choose another name")


def note(store: "sc.Store", now: float, text: str) -> None:
    """Put a change into the conductor's log. It is made by then, so a full disk is no reason to call it failed."""
    try:
        store.log(now, [text])
    except sc.StorageError as error:
        sc.warn("that is done, but not logged: %s" % error, "automation_manager")


# -- register, create

def script_path(store: "sc.Store", script: str) -> str:
    """The absolute path of a script under the root; links on the way to it are followed. Raises RefusedError."""
    folder, name = os.path.split(os.path.join(store.root, script))
    path = os.path.join(os.path.realpath(folder), name)
    if not (path.startswith(store.root + "/") and os.path.realpath(path).startswith(store.root + "/")):
        raise RefusedError("%s: is not under the root %s" % (script, store.root), "move it there")
    folder = os.path.dirname(path)
    while len(folder) > len(store.root):  # whoever can write to a folder on the way can swap the script
        refuse_insecure(store, folder)
        folder = os.path.dirname(folder)
    return path


def refuse_insecure(store: "sc.Store", path: str) -> None:
    for problem in store.insecure(path):
        raise RefusedError(str(problem))


def check_script(store: "sc.Store", path: str) -> None:
    """Raises RefusedError for what cron could not run, or others could change."""
    shown = store.shown(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise RefusedError("%s: %s" % (shown, (error.strerror or str(error)).lower()), "paths are relative to the root")
    if not stat.S_ISREG(mode):
        raise RefusedError("%s: is no regular file" % shown, "name the script itself")
    if not mode & stat.S_IXUSR:
        raise RefusedError("%s: is not executable by its owner" % shown, "chmod u+x %s" % shlex.quote(path))
    refuse_insecure(store, path)


def proposal(args: argparse.Namespace, command: str, now: float) -> "Dict[str, Any]":
    """The task object that the command line asks for; what it does not mention keeps its default."""
    # A list is run as it is: no shell takes a script's odd name apart. './' keeps PATH out of it.
    document = {"name": args.name, "description": args.description, "owner": args.owner,
                "review_by": args.review_by or (sc.iso(now + REVIEW_AFTER_DAYS * sc.DAY) or "")[:10],
                "command": ["./" + command], "schedule": args.schedule,
                "dependencies": [name for names in args.depends_on for name in names] or None,
                "timeout": args.timeout, "retry_count": args.retry_count}
    return {key: value for key, value in document.items() if value is not None}


def check_proposal(store: "sc.Store", document: "Dict[str, Any]", verb: str) -> "sc.Config":
    """The configuration as it would be. Raises RefusedError for what the new task would bring, in one line."""
    before = store.read_config()
    problems = sc.check_fields({key: document[key] for key in PEOPLE_RULES}, PEOPLE_RULES,
                               verb, document["name"])
    documents = [(place, sc.parse_document(text, place)) for place, text in store.sources]
    after = sc.build_config(documents + [(verb, document)])
    problems += [problem for problem in after.problems if problem not in before.problems]
    problems.sort(key=lambda problem: not problem.place.startswith(verb))  # what it does to others comes second
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
            note(store, now, "%s: registered for %s" % (args.name, args.owner))
    tell_new(store, config, args, now, "register")
    return sc.EXIT_OK


def cmd_create(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    command = "%s/%s.sh" % (SCRIPT_DIR, args.name)
    with changing(store, args.dry_run):
        config = check_proposal(store, proposal(args, command, now), "create")
        script = script_path(store, command)  # only now is the name known to be one
        if os.path.lexists(script):
            raise RefusedError("%s: is there already" % store.shown(script), "register it, or choose another name")
        target = free_drop_in(store, args.name)
        if not args.dry_run:
            text = TEMPLATE.format(name=args.name, description=args.description, owner=args.owner,
                                   created=(sc.iso(now) or "")[:10])
            publish(store, script, text.encode("utf-8"), 0o700)
            try:
                publish(store, target, drop_in_bytes(proposal(args, os.path.relpath(script, store.root), now)), 0o600)
            except BaseException:
                os.unlink(script)  # nobody could have put anything into it yet
                raise
            note(store, now, "%s: created for %s" % (args.name, args.owner))
    tell_new(store, config, args, now, "create")
    sc.print_line("  script: %s%s" % (command, "" if args.dry_run else " (write it; until then it fails)"))
    return sc.EXIT_OK


def free_drop_in(store: "sc.Store", name: str) -> str:
    """The path of the drop-in, which must not be there yet. Raises RefusedError."""
    path = store.path("%s/%s.json" % (sc.DROP_IN_DIR, name))
    if os.path.lexists(path):
        raise taken(store, path)
    return path


PAST = {"register": "registered", "create": "created"}


def tell_new(store: "sc.Store", config: "sc.Config", args: argparse.Namespace, now: float, verb: str) -> None:
    """The verdict, what the schedule means, and what is legal but suspicious."""
    task = config.tasks[args.name]
    sc.print_line("%s %s: %s/%s.json" % ("would %s" % verb if args.dry_run else PAST[verb], args.name, sc.DROP_IN_DIR,
                                  args.name))
    sc.print_line("  runs: %s" % schedule_words(task))
    sc.print_line("  next start: %s" % next_start(task, now))
    for problem in sc.suspicions(config, now):
        if problem.task == args.name:
            sc.print_line("  warning: %s (%s)" % (problem.text, problem.hint))
    for name in task.dependencies:
        if name in config.invalid:
            sc.print_line("  warning: dependencies: '%s' cannot run: %s" % (name, config.invalid[name]))


def schedule_words(task: "sc.Task") -> str:
    """When a task runs, in plain English."""
    after = "after %s" % ", ".join(task.dependencies) if task.dependencies else ""
    if task.schedule is None:
        return after or "by hand"
    return sc.describe(task.schedule.text, task.name) + (", %s" % after if after else "")


def next_start(task: "sc.Task", now: float) -> str:
    slot = task.schedule.next(now, task.timezone) if task.schedule is not None else None
    if slot is not None:
        return "%s (in %s)" % (sc.local_text(slot, task.timezone), sc.duration_text(slot - now))
    return "after the next boot" if task.schedule is not None else "open"


# -- list

def is_overdue(review_by: str, now: float) -> bool:
    """Whether the day of the review is over, in UTC; without one it never is."""
    return bool(review_by) and review_by < (sc.iso(now) or "")[:10]


def listing(config: "sc.Config", entries: "List[Entry]", state: "sc.State", now: float) -> "List[Dict[str, Any]]":
    """What `list` tells of each drop-in, as JSON can hold it."""
    found = []
    for entry in entries:
        task = config.tasks.get(entry.name)
        if not entry.drop_in:
            continue
        if task is not None:
            known = sc.task_document(config, state, task, now)
            words, review_by = schedule_words(task), task.review_by
        else:
            known = sc.invalid_document(entry.name, config.invalid.get(entry.name, ""), state)
            words, review_by = "-", ""
        found.append({
            "name": entry.name, "state": known["state"], "owner": known["owner"], "schedule": known["schedule"],
            "schedule_words": words, "description": known["description"], "next_run": known["next_run"],
            "review_by": review_by or None, "review_overdue": is_overdue(review_by, now), "file": entry.place,
            "reason": known["reason"]})
    return found


def cmd_list(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    config, entries = read_entries(store)
    found = listing(config, entries, store.read_state()[0], now)
    if args.json:
        sc.print_json(found)
        return sc.EXIT_OK
    parts = [(sum(entry["state"] == "disabled" for entry in found), "disabled"),
             (sum(entry["state"] == "invalid" for entry in found), "invalid"),
             (sum(entry["review_overdue"] for entry in found), "to be reviewed")]
    sc.print_line(plural(len(found), "automation") + "".join(", %d %s" % part for part in parts if part[0]))
    rows = [("NAME", "STATE", "OWNER", "REVIEW", "SCHEDULE")]
    for entry in found:
        review = (entry["review_by"] or "-") + (" overdue" if entry["review_overdue"] else "")
        rows.append((entry["name"], entry["state"], entry["owner"] or "-", review,
                     entry["schedule_words"] if entry["state"] != "invalid" else entry["reason"]))
    say_table(rows if found else [])
    return sc.EXIT_OK


def say_table(rows: "Sequence[Sequence[str]]", indent: str = "") -> None:
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]  # a line stays one, whatever a file holds
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        sc.print_line(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


# -- health: rules

class HealthFile(sc.Value):
    """What a health file says: how the last run or slot ended, when (UTC epoch seconds), with which exit code."""

    status: str = ""
    at: int = 0
    exit_code: int = 0

    @property
    def contradictory(self) -> bool:
        return (self.status == "success") != (self.exit_code == 0)


class Health(sc.Value):
    """The judgement of one task."""

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
        raise ValueError("status '%.20s' is none of %s" % (status, ", ".join(STATUSES)))
    if not re.match(r"[0-9]{1,3}\Z", code):
        raise ValueError("exit code '%.20s' is no number from 0 to 999" % code)
    if "T" not in stamp:
        raise ValueError("'%.40s' is no time such as 2025-06-02T10:00:00Z" % stamp)
    return HealthFile(status=status, at=sc.from_iso(stamp) or 0, exit_code=int(code))


def grace_of(task: "sc.Task") -> float:
    """Seconds that a slot may go without a success: those of one run and of all delays between its attempts."""
    delays = sum(task.retry_wait(attempt) for attempt in range(1, task.retry_count + 1))
    return max(float(SHORTEST_GRACE_S), task.timeout + task.kill_grace + delays)


def judge(task: "sc.Task", text: "str | None", known: "sc.TaskState | None", changed_at: float,
          now: float) -> Health:
    """How a task stands at `now`.

    `text` is its health file, None without one; `known` what the conductor remembers of it, None without a
    state; `changed_at` when its configuration was last written. Times are UTC epoch seconds.
    """
    if known is None:
        # The last success is all there is to go by then, and without that, the age of the configuration.
        known = sc.TaskState(schedule_key="" if text is None else task.schedule_key)
    if not task.enabled:
        state, reason = "disabled", ""
    elif text is None:
        state, reason = _without_file(task, known, changed_at, now)
    else:
        state, reason = _by_file(task, text, known, changed_at, now)
    return Health(name=task.name, state=state, reason=reason, owner=task.owner, review_by=task.review_by)


def _by_file(task: "sc.Task", text: str, known: "sc.TaskState", changed_at: float, now: float) -> "Tuple[str, str]":
    try:
        fact = parse_health(text)
    except ValueError as error:
        return "unknown", "malformed health file: %s" % error
    if fact.at > now + sc.CLOCK_OFFSET_TOLERANCE_S:
        return "unknown", "the health file is dated in the future: %s" % sc.iso(fact.at)
    said = "%s%s %s ago" % (fact.status, "" if fact.status in ("success", "skipped") else " (exit %d)" % fact.exit_code,
                            sc.duration_text(now - fact.at))
    if fact.contradictory:
        return "down", "%s; the status contradicts exit code %d" % (said, fact.exit_code)
    retried = known.cycle is not None and bool(known.cycle.attempts)
    if fact.status not in ("success", "skipped") and not retried:
        return "down", said
    due = _due_slot(task, fact, known, changed_at)
    if due is None and fact.status != "success":
        return "unknown", said + (", and is tried again" if retried else "")
    if due is None or due > now:
        return "up", said
    if now > _deadline(task, due, known):
        return "down", "%s; no success for its slot %s (grace %s)" % (said, sc.iso(due), sc.duration_text(grace_of(task)))
    if fact.status == "success" and _in_progress(known):
        return "up", "%s; %s" % (said, sc.task_standing(known))
    waits = ", waits for '%s'" % known.cycle.waiting_for if known.cycle and known.cycle.waiting_for else ""
    return "late", "%s; no success yet for its slot %s%s" % (said, sc.iso(due), waits)


def _due_slot(task: "sc.Task", fact: HealthFile, known: "sc.TaskState", changed_at: float) -> "int | None":
    """The first slot that has no success; None for a task whose slots nobody can tell."""
    if task.schedule is None or task.schedule.reboot:
        return None
    if fact.status == "skipped":
        if known.satisfied_until is not None:
            return task.schedule.next(known.satisfied_until, task.timezone)
        return task.schedule.previous(fact.at, task.timezone)
    if known.cycle is not None and (fact.status != "success" or known.cycle.slot > fact.at):
        return known.cycle.slot
    return task.schedule.next(max(fact.at, _decided_until(task, known, changed_at)), task.timezone)


def _decided_until(task: "sc.Task", known: "sc.TaskState", changed_at: float) -> float:
    """Slots up to here are no question: they were never asked for, or the conductor decided them.

    What came of the latter is in the health file or in an open cycle. A schedule that the conductor has not
    seen yet, because it was edited or enabled just now, counts from the time of its file.
    """
    return known.cursor if known.schedule_key == task.schedule_key else changed_at


def _deadline(task: "sc.Task", due: int, known: "sc.TaskState") -> float:
    """Until when a slot is late and not down. A catch-up of an old slot has as much time as any run."""
    return max(due, known.cycle.since if known.cycle else 0.0) + grace_of(task)


def _in_progress(known: "sc.TaskState") -> bool:
    return sc.task_standing(known) in ("running", "queued")


def _without_file(task: "sc.Task", known: "sc.TaskState", changed_at: float, now: float) -> "Tuple[str, str]":
    if known.last or known.skipped.get("status") in sc.HEALTH_SKIPS:
        return "unknown", "the health file is missing, although it ran or was skipped"
    if _in_progress(known):
        return "new", "its first run: %s" % sc.task_standing(known)
    if task.schedule is None or task.schedule.reboot:
        return "new", "never ran"
    due = known.cycle.slot if known.cycle else task.schedule.next(_decided_until(task, known, changed_at),
                                                                  task.timezone)
    if due is None or due > now:
        return "new", "never ran; first slot %s" % sc.iso(due)
    if now > _deadline(task, due, known):
        return "unknown", "the health file is missing, although its slot %s passed" % sc.iso(due)
    return "late", "never ran; no success yet for its slot %s" % sc.iso(due)


def level_of(found: "List[Health]") -> str:
    """OK, WARNING or CRITICAL: the worst of all."""
    states = {each.state for each in found}
    return next((level for state, level in LEVELS if state in states), "OK")


def verdict(found: "List[Health]") -> str:
    """One line of fewer than 80 characters."""
    level = level_of(found)
    names = {state: [each.name for each in found if each.state == state] for state, _ in LEVELS}
    if level == "OK":
        text = "OK - %s" % plural(len(found), "automation")
        counts = ["%d %s" % (len(names[state]), state) for state, _ in LEVELS if names[state]]
        return text + (": " + ", ".join(counts) if counts else "")
    parts = ["%d of %d %s: %s" % (len(names[state]), len(found), state, ", ".join(names[state]))
             for state, severity in LEVELS if severity != "OK" and names[state]]
    return shortened("%s - %s" % (level, "; ".join(parts)))


def shortened(text: str) -> str:
    return text if len(text) <= VERDICT_WIDTH else text[:VERDICT_WIDTH - 3] + "..."


# -- health: the command

def judge_all(store: "sc.Store", own: str, now: float) -> "Tuple[List[Health], List[str]]":
    """Every task of the configuration, and what there is to say of the conductor's state. Raises ConductorError.

    `own` is the task whose run this is: it is alive, and its last verdict is this check's own, so that a check
    that once found something would find itself ever after.
    """
    store.check_root()
    config, entries = read_entries(store)
    state, notes, _ = store.read_state()
    unseen = sc.TaskState() if state.tasks else None
    places = {entry.name: entry.place for entry in entries}
    found = []
    for task in config.tasks.values():
        health = judge(task, health_text(store, task.name), state.tasks.get(task.name, unseen),
                       os.stat(store.path(places[task.name])).st_mtime, now)
        if task.name == own and task.enabled:
            health = health.replace(state="up", reason="runs this very check")
        found.append(health)
    found += [Health(name=name, state="down", reason="invalid: %s" % reason)
              for name, reason in config.invalid.items()]
    found += [Health(name=problem.place, state="down", reason="invalid: %s" % problem.text)
              for problem in config.problems if not problem.task]
    return found, notes


def health_text(store: "sc.Store", name: str) -> "str | None":
    """The health file; None without one, and text that says so where it cannot be read."""
    try:
        path = store.path("status/automation_health/%s.health" % name)
        return read_own(path, 4096).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return "%s" % error.strerror


def own_task(store: "sc.Store") -> str:
    """The task of this root whose run this process belongs to, or ''."""
    mine = os.environ.get("SYMPHONY_ROOT", store.root) == store.root
    return os.environ.get("SYMPHONY_TASK", "") if mine else ""


def cmd_health(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    found: "List[Health]" = []
    try:
        found, notes = judge_all(store, own_task(store), now)
        level, line = level_of(found), verdict(found)
    except (sc.ConductorError, OSError) as error:
        notes = str(error).splitlines()
        level, line = "UNKNOWN", shortened("UNKNOWN - %s" % notes[0])
    overdue = [each for each in found if is_overdue(each.review_by, now)]
    if args.json:
        sc.print_json({"verdict": line, "level": level, "now": sc.iso(now), "notes": notes, "automations": [
            {"name": each.name, "state": each.state, "reason": each.reason, "owner": each.owner,
             "review_by": each.review_by or None, "review_overdue": each in overdue} for each in found]})
    else:
        sc.print_line(line)
        say_table([(each.name, each.state, each.reason) for each in found], "  ")
        for each in overdue:
            sc.print_line("  review overdue: %s, %s%s" % (each.name, each.review_by, each.owner and " (%s)" % each.owner))
        for text in notes:
            sc.print_line("  ! " + text)
    return EXIT_STRICT_WARNING if args.strict and level == "WARNING" else EXIT_CODES[level]


# -- disable, enable, retire

def cmd_switch(store: "sc.Store", args: argparse.Namespace, now: float) -> int:
    """`enable` and `disable`: one key of the drop-in; all others stay, in their order."""
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
            raise RefusedError("%s: holds // comments, which would be lost" % entry.place,
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
        waiting = dependents([each for each in entries if each.name != args.name], args.name)
        if waiting:
            raise RefusedError("'%s' is a dependency of %s" % (args.name, ", ".join(waiting)), "change these first")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        target = "%s/%s-%s.json" % (RETIRED_DIR, args.name, stamp)
        sc.make_folder(store.path(RETIRED_DIR))
        move(store, store.path(entry.place), store.path(target))
        try:
            os.unlink(store.path("status/automation_health/%s.health" % args.name))
        except FileNotFoundError:
            pass  # it never ran; otherwise its last failure would be a warning for good
        note(store, now, "%s: retired by hand%s" % (args.name, ": %s" % args.reason if args.reason else ""))
    sc.print_line("retired %s: %s" % (args.name, target))
    sc.print_line("  its script stays; to take it back: mv %s %s" % (shlex.quote(target), shlex.quote(entry.place)))
    return sc.EXIT_OK


# -- the command line

def number(text: str) -> float:
    """A number of seconds; whole ones stay whole in the file."""
    return int(text) if re.match(r"-?[0-9]+\Z", text) else float(text)


def build_parser() -> argparse.ArgumentParser:
    """The command line, each command bound to its function."""
    parser = command_parser(__doc__)
    command = subcommands(parser)
    for added in (command("register", cmd_register, "make a script of yours an automation", "name", "script",
                          "schedule", "description", "owner"),
                  command("create", cmd_create, "make a script from a template, and register it", "name",
                          "schedule", "description", "owner")):
        added.add_argument("--depends-on", metavar="TASK", nargs="+", action="append", default=[],
                           help="tasks that must have succeeded first")
        added.add_argument("--timeout", metavar="S", type=number, help="seconds an attempt may take")
        added.add_argument("--retry-count", metavar="N", type=int, help="attempts after the first")
        added.add_argument("--review-by", metavar="DATE",
                           help="when to ask whether it is still needed (default: in %d days)" % REVIEW_AFTER_DAYS)
        added.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    command("list", cmd_list, "all automations").add_argument("--json", action="store_true")
    added = command("health", cmd_health, "a verdict over every task of the configuration")
    added.add_argument("--json", action="store_true")
    added.add_argument("--strict", action="store_true", help="exit 1 on WARNING")
    command("disable", cmd_switch, "no more starts, until it is enabled", "name").set_defaults(enabled=False)
    command("enable", cmd_switch, "the reverse of disable", "name").set_defaults(enabled=True)
    added = command("retire", cmd_retire, "move the drop-in to %s; the script stays" % RETIRED_DIR, "name")
    added.add_argument("--reason", metavar="TEXT", default="", help="for the log")
    return parser


def main() -> int:
    """Run one command line: its exit code."""
    parser = build_parser()
    args = parser.parse_args()
    if not args.command:
        parser.error("a command is missing; there are register, create, list, health, disable, enable and retire")
    if not os.path.isdir(args.root):
        raise sc.UsageError("--root: %s is not a folder" % args.root)
    return int(args.func(sc.Store(os.path.realpath(args.root)), args, sc.Clock().now()))


if __name__ == "__main__":
    finish(main)
