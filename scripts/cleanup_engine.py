#!/usr/bin/env python3
"""Shows which files can be removed, by an inventory and rules; with --execute, quarantines them.

    cleanup_engine.py cleanup_inventory.json                   show what would be removed, and why
    cleanup_engine.py cleanup_inventory.json --report-only     write cleanup_report.json, print it
    cleanup_engine.py cleanup_inventory.json --execute         list, ask by rule, then remove
    cleanup_engine.py cleanup_inventory.json --execute --non-interactive
    cleanup_engine.py rules cleanup_inventory.json             check the rules; what they match
    cleanup_engine.py restore --list                           show what is in quarantine
    cleanup_engine.py restore RUN_ID|PATH [--to DIR]           restore all files of a run, or one
    cleanup_engine.py purge --older-than 14d                   delete what was quarantined before

A file is a candidate if a rule of config/cleanup_rules.json matches it, git does not track it, no
protected pattern, reference or registration keeps it, and neither its content nor its inode changed
within the age that the rule gives. Git, the registry and the protected patterns are checked again
right before a removal, and the file must still be the one in the plan. A removal is a move into
.cleanup_quarantine, recorded in cleanup_actions.log before and after.

Exit codes: 0 ok; 1 a removal or a restore failed; 2 usage; 3 refused: the inventory cannot be used,
git failed, or the plan is too large a part of the tree; 74 a file could not be read or written;
75 another clean-up is running; 78 the rules cannot be used, or a later version wrote a file.
"""

import argparse
import gc
import json
import os
import shlex
import socket
import stat
import sys
import textwrap
import time
from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple

import cleanup_report
import cleanup_review
import inventory
from cleanup_plan import (
    MAX_DELETIONS,
    MAX_FRACTION,
    MISSING,
    TAKE_NEW,
    Evidence,
    Plan,
    is_of,
    make_plan,
    protection_guard,
)
from cleanup_rules import ANY_FOLDER, RULES_NAME, Rules, read_rules
from common import (
    EXIT_REFUSED,
    RefusedError,
    age_option,
    check_format,
    check_replaced,
    command_parser,
    finish,
    plural,
    read_own,
    sc,
    size_text,
)
from file_lifecycle import Registry
from inventory import FIELDS, FORMAT
from quarantine import (
    PURGE_AGE_S,
    Candidate,
    Guard,
    HeldRun,
    Quarantine,
    Removal,
    counted,
    outcome_line,
    run_time,
    working_folders,
)
from tree import (
    ACTIONS_NAME,
    REPORT_NAME,
    Git,
    GitGuard,
    Root,
    native_path,
    other_control,
    printable,
    stored_path,
    vouched,
)

MAX_AGE_S = 26 * sc.HOUR
AT_THE_PROMPT = "kept at the prompt"
GONE = "gone"  # the quarantine's reason for what is there no more
OVER_THE_LIMIT = "left for the next run"  # the quarantine's reason for what --max-deletions stopped

HEADER_TYPES = (
    ("format", int), ("root", str), ("root_dev", int), ("root_ino", int), ("host", str),
    ("git", bool), ("head", (str, type(None))), ("finished", str), ("errors", list),
    ("fields", list), ("files", list))
TAKE_NEW_WITH = "take a new one with scripts/comprehensive_inventory.sh"


# -- the inventory

def read_inventory(path: str, root: Root) -> "Dict[str, Any]":
    """The inventory's document. Raises RefusedError for anything but a whole one of this format.

    Raises LaterVersionError for one of a later version, which this one must not replace.
    """
    problems = sc.Store(root.path).insecure(path)
    if problems:
        raise RefusedError("the inventory: %s" % problems[0])
    shown = "inventory %s" % printable(stored_path(path))
    try:
        document = json.loads(read_own(path).decode("ascii"))
    except FileNotFoundError:
        raise RefusedError("there is no %s" % shown,
                           "take one with scripts/comprehensive_inventory.sh")
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError("the %s cannot be used: %s" % (shown, error), TAKE_NEW_WITH)
    if isinstance(document, dict):
        check_format("the " + shown, document.get("format"), FORMAT)
    for key, kinds in HEADER_TYPES:
        if not isinstance(document, dict) or not is_of(document.get(key, MISSING), kinds):
            raise RefusedError("the inventory's field '%s' is missing or invalid" % key, TAKE_NEW)
    if document["format"] != FORMAT:
        raise RefusedError("the inventory has format %d, not %d" % (document["format"], FORMAT),
                           TAKE_NEW)
    for name in FIELDS:
        if name not in document["fields"]:
            raise RefusedError("the inventory has no column '%s'" % name, TAKE_NEW)
    check_numbers(document)
    return dict(document)


# The numbers that stat(2) can give; a file's times are seconds of 64 bits.
TIMES = (-(1 << 63) * 10 ** 9, (1 << 63) * 10 ** 9)
RANGES = (("ino", 0, 1 << 64), ("size", 0, 1 << 63), ("mtime_ns",) + TIMES, ("ctime_ns",) + TIMES,
          ("dev", 0, 1 << 64), ("mode", 0, 0o177777), ("nlink", 0, 1 << 64),
          ("references", 0, 1 << 63))


def check_numbers(document: "Dict[str, Any]") -> None:
    """Raises RefusedError for a number that no file has: then the other columns are wrong as well.

    Of the rows only what has the right shape and type is looked at, a column at a time, which is
    quick. The plan refuses the rest.
    """
    if not all(type(row) is list for row in document["files"]):
        return
    columns = dict(zip(document["fields"], zip(*document["files"])))
    for name, lowest, highest in RANGES:
        numbers = {value for value in columns.get(name, ()) if type(value) is int}
        if numbers and (min(numbers) < lowest or max(numbers) > highest):
            wrong = next(number for number, value in enumerate(columns[name])
                         if type(value) is int and not lowest <= value <= highest)
            raise RefusedError("row %d of the inventory: '%s' is out of range" % (
                wrong + 1, name), TAKE_NEW)


def inventory_age(document: "Dict[str, Any]", now: float) -> float:
    """Seconds since the inventory was taken. Raises RefusedError for an invalid time."""
    try:
        finished = sc.from_iso(document["finished"])
    except (ValueError, OverflowError):
        raise RefusedError("the inventory's time '%s' is invalid" % printable(document["finished"]),
                           TAKE_NEW)
    return now - (finished or 0)


def distrust(document: "Dict[str, Any]", root: Root, head: "str | None", has_git: bool, host: str,
             now: float, max_age_s: float) -> str:
    """Why the inventory cannot be relied on any more, '' when it can (CLEANUP rule 8)."""
    age_s = inventory_age(document, now)
    if age_s > max_age_s:
        return "it is %s old (--max-age: %s)" % (
            sc.duration_text(age_s), sc.duration_text(max_age_s))
    if age_s < -1:
        return "its time is in the future (%s)" % document["finished"]
    if document["host"] != host:
        return "it was taken on the host '%s'" % printable(document["host"])
    identity = (document["root_dev"], document["root_ino"])
    if document["root"] != stored_path(root.path) or identity != (root.dev, root.ino):
        return "it was taken of another folder (%s)" % printable(document["root"])
    if document["git"] != has_git:
        return "the tree had %s git repository when it was taken" % (
            "a" if document["git"] else "no")
    if document["head"] != head:
        return "HEAD has moved since"
    errors = document["errors"]
    if errors:
        first = errors[0] if isinstance(errors[0], dict) else {}
        return "it contains %s, the first at %s: %s" % (
            plural(len(errors), "error"), printable(str(first.get("path"))),
            printable(str(first.get("error"))))
    return ""


# By class: how a candidate can be kept.
PROTECT = "add a protected pattern to %s" % RULES_NAME
SAVED_BY = {"untracked": PROTECT + ", or git add it"}


# -- one clean-up

class Engine:
    """One look at the tree, and what follows from it."""

    def __init__(self, root: Root, args: "argparse.Namespace", now: float) -> None:
        self.root = root
        self.args = args
        self.now = now
        self.host = socket.gethostname()
        self.git = Git(root)
        self.document: "Dict[str, Any]" = {}
        self.head: "str | None" = None
        self._not_compared = ""  # why the last report cannot be compared with

    def plan(self) -> Plan:
        """The plan; `refused` says what is wrong with it as a whole. Raises ConfigError."""
        self.rules = read_rules_of(self.root, self.args)
        try:
            return self._plan()
        except RefusedError as error:
            return Plan(refused=str(error))

    def _plan(self) -> Plan:
        """Raises RefusedError."""
        self.document = read_inventory(os.path.abspath(self.args.what), self.root)
        control = other_control(self.root)
        if control:
            raise RefusedError(
                "%s: only git can be asked what it tracks" % printable(stored_path(control)),
                "choose a --root outside of that repository")
        has_git = self.git.is_here()
        if has_git:
            self.head = vouched(self.git, self.git.listing(only_tracked=True)).head
        reason = distrust(self.document, self.root, self.head, has_git, self.host, self.now,
                          self.args.max_age)
        if reason:
            raise RefusedError("the inventory cannot be used: %s" % reason, TAKE_NEW_WITH)
        return make_plan(self.document, self.rules, self.now, self.args.max_fraction,
                         self.args.max_deletions, Evidence(self.root))

    def guards(self, plan: Plan) -> "List[Guard]":
        """The checks that are made again right before one of the candidates goes."""
        guards: "List[Guard]" = [protection_guard(plan, self.rules), Registry(self.root).guard]
        if self.git.is_here():
            guards.append(GitGuard(self.git))
        guards.append(self._workplaces(plan))
        guards.append(MentionGuard(self.document, self.root, self.rules, plan.candidates))
        return guards

    def _workplaces(self, plan: Plan) -> "Guard":
        """Keeps what only an abandoned project can spare while a process works in the project.

        A process that hides where it works may work there, unless it is another user's and the
        folder is closed to all others.
        """
        stale = {rule.name for rule in self.rules.rules if rule.stale}
        projects = {item.path: os.path.dirname(self.root.join(item.path))
                    for item in plan.candidates if item.rule in stale}
        workplaces: "List[str]" = []
        hidden: "Set[int]" = set()
        if projects:
            workplaces, hidden = working_folders()

        def guard(path: str) -> str:
            project = projects.get(path)
            if project and any(is_within(folder, project) for folder in workplaces):
                return "a process works in the folder that holds it"
            if project and hidden and (os.geteuid() in hidden or is_open_to_others(project)):
                return "cannot tell whether a process works in the folder that holds it"
            return ""
        return guard

    def report(self, plan: Plan, results: "Sequence[Removal]",
               quarantine: Quarantine) -> "Dict[str, Any]":
        """The report as a document."""
        try:
            age_s = inventory_age(self.document, self.now) if self.document else None
        except RefusedError:
            age_s = None  # that is why the plan was refused
        listed = _listed(plan, results)
        candidates = self._candidates(listed, results)
        change = None
        if plan.refused:
            self._not_compared = "the plan was refused"
        else:
            previous = self._previous()
            change = cleanup_report.change_since(previous, candidates)
            if previous is not None and previous.get("refused"):
                self._not_compared = "its plan was refused"
        # What only the checks right before a removal keep counts as kept as well.
        kept = list(plan.skipped)
        kept += [removal for removal in results if removal.outcome in ("skipped", "failed")
                 and removal.reason not in (OVER_THE_LIMIT, GONE)]
        return {
            "format": cleanup_report.FORMAT,
            "at": sc.iso(self.now),
            "verdict": verdict(plan, results, False),
            "refused": plan.refused,
            "root": stored_path(self.root.path),
            "host": self.host,
            "head": self.head,
            "inventory": {"age_s": age_s, "files": plan.files, "bytes": plan.size},
            "thresholds": {"max_deletions": self.args.max_deletions,
                           "max_fraction": self.args.max_fraction, "max_age_s": self.args.max_age},
            "change": change,
            "not_compared": self._not_compared,
            "to_go_on": self.way_on(plan),
            "to_list_all": self._command("--dry-run", "--all"),
            "rules": cleanup_report.by_rule(listed, self.now),
            "removed": cleanup_report.kept_runs(self.root, quarantine.runs()),
            "candidates": candidates,
            "skipped": [{"path": removal.path, "rule": removal.rule, "reason": removal.reason}
                        for removal in kept],
            "expiring": cleanup_report.expiring(self.root, self.now),
            "automations": cleanup_report.automations(self.root),
            "disk": cleanup_report.disk(self.root),
            "notes": quarantine.notes,
        }

    def _candidates(self, items: "Sequence[Candidate]",
                    results: "Sequence[Removal]") -> "List[Dict[str, Any]]":
        """The report's rows of what this run or the next would remove."""
        if not items:
            return []
        fields = self.document["fields"]
        path_at, class_at = fields.index("path"), fields.index("class")
        paths = {item.path for item in items}
        classes = {row[path_at]: row[class_at] for row in self.document["files"]
                   if row[path_at] in paths}
        going = _going(results)
        return [{"path": item.path, "size": item.size, "files": item.files,
                 "age_s": int(self.now - max(item.mtime_ns, item.ctime_ns) / 1e9),
                 "rule": item.rule, "reason": item.reason,
                 "saved_by": SAVED_BY.get(classes.get(item.path, ""), PROTECT),
                 "next_run": item.path in going}
                for item in items]

    def way_on(self, plan: Plan) -> "Dict[str, str] | None":
        """How to go on after a plan that is refused for what it would remove; else None."""
        if not plan.refused or not plan.candidates:
            return None
        return {"text": cleanup_report.WAY_ON,
                "command": self._command("--execute", "--max-fraction", "1")}

    def _command(self, *words: str) -> str:
        """The clean-up by the same inventory and rules, with other options."""
        rest = list(words)
        if self.args.rules:
            rest += ["--rules", os.path.abspath(self.args.rules)]
        if self.args.max_age != MAX_AGE_S:
            rest += ["--max-age", "%ds" % self.args.max_age]
        return cleanup_report.clean_command(self.root.path, self.args.what, rest)

    def _previous(self) -> "Dict[str, Any] | None":
        """The report that is on file; None without one, or without one that can be read."""
        try:
            data = read_own(os.path.join(self.root.path, REPORT_NAME))
            document = json.loads(data.decode("utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._not_compared = "%s cannot be read: %s" % (REPORT_NAME, error.strerror)
            return None
        except (ValueError, RecursionError):
            self._not_compared = "%s is damaged" % REPORT_NAME
            return None
        return document if isinstance(document, dict) else None


def _going(results: "Sequence[Removal]") -> "Set[str]":
    return {removal.path for removal in results
            if removal.outcome in ("would be removed", "removed")}


def _listed(plan: Plan, results: "Sequence[Removal]") -> "List[Candidate]":
    """The candidates that a report lists: all of a refused plan, else those that can go."""
    if plan.refused:
        return list(plan.candidates)
    going = _going(results)
    going.update(removal.path for removal in results if removal.reason == OVER_THE_LIMIT)
    return [item for item in plan.candidates if item.path in going]


def is_open_to_others(folder: str) -> bool:
    """Whether another user, root apart, may enter the folder; what cannot be told counts as yes."""
    mine = (0, os.geteuid())
    while True:
        try:
            status = os.stat(folder)
        except OSError:
            return True
        if status.st_uid in mine and not status.st_mode & (stat.S_IXGRP | stat.S_IXOTH):
            return False
        if folder == os.path.dirname(folder):
            return True
        folder = os.path.dirname(folder)


def is_within(path: str, folder: str) -> bool:
    return (path + "/").startswith(folder.rstrip("/") + "/")


class MentionGuard:
    """Keeps what a file mentions that is new or changed since the inventory (CLEANUP rule 6).

    Those files are read once, when the first candidate is about to go. What a tool makes again
    whenever it needs it is not asked for, unless its rule says so, as in the plan.
    """

    def __init__(self, document: "Dict[str, Any]", root: Root, rules: Rules,
                 items: "Sequence[Candidate]") -> None:
        self.document = document
        self.root = root
        asked = {rule.name for rule in rules.rules if rule.references}
        self.names = {item.path: os.path.basename(item.path) for item in items
                      if not item.generated or item.rule in asked}
        self._mentions: "Dict[str, str] | None" = None
        self._error = ""

    def __call__(self, path: str) -> str:
        """Why the candidate must stay, '' if it can go."""
        name = self.names.get(path)
        if name is None:
            return ""
        if self._mentions is None and not self._error:
            self._ask()
        if self._mentions is None:
            return "cannot tell whether a file mentions it since the inventory: %s" % self._error
        if name in self._mentions:
            return "%s mentions it since the inventory" % printable(self._mentions[name])
        return ""

    def _ask(self) -> None:
        try:
            self._mentions = inventory.mentions_since(
                self.document, self.root, sorted(set(self.names.values())))
        except (OSError, sc.ConductorError) as error:
            self._error = str(error) or type(error).__name__


def verdict(plan: Plan, results: "Sequence[Removal]", execute: bool,
            error: "sc.StorageError | None" = None) -> str:
    """The first line. `error` is what ended the run before its time."""
    if plan.refused:
        return "REFUSED - %s" % plan.refused
    if error is not None:
        return _interrupted(results, error)
    if not results and not plan.candidates:
        line = "OK - 0 files to remove"
        if plan.skipped:
            line += " (%d matched by a rule, but kept)" % len(plan.skipped)
        return line
    gone = [removal for removal in results if removal.reason == GONE]
    handled = [removal for removal in results if removal.reason not in (OVER_THE_LIMIT, GONE)]
    if gone and len(gone) == len(results):
        return "OK - nothing to remove: %d gone" % len(gone)
    level = "OK"
    if any(removal.outcome == "failed" for removal in handled):
        level = "WARNING"
    line = "%s - %s" % (level, outcome_line(handled, execute))
    if gone:
        line += ", %d gone" % len(gone)
    left = len(results) - len(handled) - len(gone)
    if left:
        line += ", %d left for the next run" % left
    return line


def _interrupted(results: "Sequence[Removal]", error: "sc.StorageError") -> str:
    """The verdict on a run that a full disk ended: what it had moved by then."""
    moved = [removal for removal in results if removal.outcome == "removed"]
    if not moved:
        return "WARNING - nothing was moved to quarantine: %s" % error
    kinds, contents = counted(moved)
    return "WARNING - %s moved to quarantine (%s), then: %s" % (kinds, contents, error)


def cmd_clean(root: Root, args: "argparse.Namespace") -> int:
    """Plan, and depending on the options show the plan, report it, or carry it out."""
    now = time.time()
    interactive = args.execute and not args.non_interactive
    if interactive and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise sc.UsageError("without a terminal, --execute requires --non-interactive")
    chosen = None
    if interactive:
        plan = Engine(root, args, now).plan()
        if not plan.refused and plan.candidates:
            try:
                chosen = cleanup_review.review(root, plan.candidates, now, args.max_deletions)
            except cleanup_review.Quit:
                sc.print_line("OK - quit: nothing was removed, all candidates are kept")
                return sc.EXIT_OK
        now = time.time()  # people take their time: make a new plan, and check everything again
    engine = Engine(root, args, now)
    with Quarantine(root, now, args.execute) as quarantine:
        plan = engine.plan()
        results: "List[Removal]" = []
        if not plan.refused:
            items, results = _split(plan, chosen)
            try:
                guards = engine.guards(plan)
                for removal in quarantine.remove(items, guards, args.max_deletions):
                    results.append(removal)
            except sc.StorageError as error:
                if args.execute:
                    # Whatever comes now, what has been removed must be reported.
                    _print_outcome(engine, plan, results, quarantine, error)
                    sys.stdout.flush()  # what is still buffered is discarded with the error
                raise
        if args.execute:
            _print_outcome(engine, plan, results, quarantine)
        elif plan.refused and not plan.candidates and not args.report_only and not args.format:
            sc.print_line(verdict(plan, results, False))
        else:
            report = engine.report(plan, results, quarantine)
            if args.report_only:
                _write_report(root, report)
            _print_report(args, report)
    if plan.refused:
        return EXIT_REFUSED
    if any(removal.outcome == "failed" for removal in results):
        return sc.EXIT_FAILED
    return sc.EXIT_OK


def _split(plan: Plan, chosen: "List[Candidate] | None"
           ) -> "Tuple[List[Candidate], List[Removal]]":
    """(candidates to remove, results for those that were kept at the prompt); None chooses all.

    One that is no longer what was shown at the prompt was not chosen.
    """
    if chosen is None:
        return list(plan.candidates), []
    by_path = {item.path: item for item in chosen}
    items, kept = [], []
    for item in plan.candidates:
        if item.path in by_path and item == by_path[item.path]:
            items.append(item)
            continue
        reason = AT_THE_PROMPT
        if item.path in by_path:
            reason = "it changed during the review"
        kept.append(Removal(path=item.path, outcome="skipped", reason=reason, rule=item.rule))
    return items, kept


def _write_report(root: Root, report: "Dict[str, Any]") -> None:
    path = os.path.join(root.path, REPORT_NAME)
    check_replaced(path, cleanup_report.FORMAT)
    sc.write_atomic(path, (json.dumps(report, indent=1) + "\n").encode("ascii"))


def _print_report(args: "argparse.Namespace", report: "Dict[str, Any]") -> None:
    limit = (sys.maxsize,) if args.all else ()
    if args.format == "json":
        sc.print_json(report)
    elif args.format == "markdown":
        sc.print_line(cleanup_report.markdown(report, *limit))
    else:
        sc.print_line(cleanup_report.table(report, *limit))
        if not report["refused"] and not args.report_only:
            sc.print_line("nothing was changed; to remove files, use --execute")


def _print_outcome(engine: Engine, plan: Plan, results: "List[Removal]", quarantine: Quarantine,
                   error: "sc.StorageError | None" = None) -> None:
    """What --execute did."""
    sc.print_line(verdict(plan, results, True, error))
    for note in quarantine.notes:
        sc.print_line("  note: " + note)
    if plan.refused and plan.candidates:
        for line in cleanup_report.refusal_lines(engine.report(plan, results, quarantine)):
            sc.print_line(line)
    for removal in results:
        if removal.reason in (OVER_THE_LIMIT, AT_THE_PROMPT):
            continue
        size = ", " + counted([removal])[1] if removal.size else ""
        path = removal.path + "/" if removal.files else removal.path
        if removal.reason == GONE:
            sc.print_line("  gone: %s (%s)" % (printable(path), removal.rule))
            continue
        sc.print_line("  %s: %s%s (%s: %s)" % (
            removal.outcome, printable(path), size, removal.rule, removal.reason))
    if any(removal.outcome == "removed" for removal in results):
        hint = cleanup_report.restore_hint(engine.root, quarantine.run_id, engine.now)
        sc.print_line("  " + hint)


# -- afterwards

def cmd_restore(root: Root, args: "argparse.Namespace") -> int:
    """Restore a run, a file or a folder, or list what there is."""
    now = time.time()
    if args.list or args.name is None:
        with Quarantine(root, now, execute=False) as quarantine:
            if args.list and args.name is not None:
                list_run(root, quarantine, args.name)
            else:
                list_runs(root, quarantine, now)
        if not args.list:
            raise sc.UsageError("restore requires a RUN_ID or a PATH")
        return sc.EXIT_OK
    where = {"to": _destination(args.to)} if args.to else {}
    with Quarantine(root, now) as quarantine:
        target = args.name
        if os.path.isabs(target):
            target = native_path(root.relative(target))
        empty = empty_folders(quarantine, target)
        results = quarantine.restore(target, **where)
    failed = sum(removal.outcome == "failed" for removal in results)
    line = "%s restored" % counted([removal for removal in results if removal.outcome != "failed"
                                    and removal.path not in empty])[0]
    if args.to:
        line += " to %s" % printable(stored_path(where["to"]))
    sc.print_line("WARNING - %s, %d failed" % (line, failed) if failed else "OK - " + line)
    for removal in results:
        path = removal.path + "/" if removal.files or removal.path in empty else removal.path
        reason = " (%s)" % removal.reason if removal.reason else ""
        sc.print_line("  %s: %s%s" % (removal.outcome, printable(path), reason))
    for note in quarantine.notes:
        sc.print_line("  note: " + note)
    return sc.EXIT_FAILED if failed else sc.EXIT_OK


def empty_folders(quarantine: Quarantine, target: str) -> "Set[str]":
    """The folders of a run that it left empty: they come back, and are not counted as files."""
    if run_time(target) is None:
        return set()
    return {item.path for item in quarantine.held(target) if item.is_empty}


def _destination(folder: str) -> str:
    """The folder of --to as an absolute path. Raises UsageError for anything else."""
    path = os.path.realpath(folder)
    shown = printable(stored_path(folder))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise sc.UsageError("--to: there is no %s" % shown, "make it first: mkdir %s" % printable(
            shlex.quote(stored_path(folder))))
    except OSError as error:
        raise sc.UsageError("--to: cannot open %s: %s" % (shown, error.strerror))
    if not stat.S_ISDIR(mode):
        raise sc.UsageError("--to: %s is not a folder" % shown)
    return path


def list_runs(root: Root, quarantine: Quarantine, now: float) -> None:
    """Print the runs in quarantine, the newest first, and what each rule has in them."""
    runs = quarantine.runs()
    if not runs:
        sc.print_line("OK - nothing is in quarantine")
        return
    rules = rules_of_runs(root)
    held = {run.run_id: [item for item in quarantine.held(run.run_id) if not item.is_empty]
            for run in runs}
    kinds, contents = counted([item for items in held.values() for item in items])
    sc.print_line("OK - %s in quarantine: %s (%s)" % (plural(len(runs), "run"), kinds, contents))
    for run in reversed(runs):
        print_run(run, held[run.run_id], rules.get(run.run_id, {}), now)
    sc.print_line("  to restore: %s" % cleanup_report.plain(
        cleanup_report.restore_command(root.path, "RUN_ID")))
    sc.print_line("  for its paths: the same with --list; to another place: with --to DIR")


def print_run(run: HeldRun, items: "Sequence[Any]", rules: "Dict[str, str]", now: float) -> None:
    kinds, contents = counted(items)
    sc.print_line("  %s  %s ago, %s (%s)" % (
        run.run_id, sc.duration_text(now - run.newest), kinds, contents))
    if run.problem:
        sc.print_line("    kept: %s" % run.problem)
    else:
        sc.print_line("    purged after %s" % sc.iso(run.newest + PURGE_AGE_S)[:10])
    by_rule = cleanup_report.grouped(items, lambda item: rules.get(item.path, NO_RULE))
    for rule, members in by_rule.items():
        kinds, contents = counted(members)
        sc.print_line("    %s: %s (%s)" % (cleanup_report.plain(rule), kinds, contents))


def list_run(root: Root, quarantine: Quarantine, run_id: str) -> None:
    """Print the paths that a run holds. Raises UsageError if it is not in quarantine."""
    if run_id not in [run.run_id for run in quarantine.runs()]:
        raise sc.UsageError("run %s is not in quarantine" % printable(stored_path(run_id)),
                            "restore --list shows the runs")
    held, rules = quarantine.held(run_id), rules_of_runs(root).get(run_id, {})
    kinds, contents = counted([item for item in held if not item.is_empty])
    sc.print_line("OK - %s in run %s (%s)" % (kinds, run_id, contents))
    for item in held:
        if item.is_empty:
            sc.print_line("  %s  (was left empty)" % printable(item.path + "/"))
            continue
        if item.problem:
            sc.print_line("  %s  (%s)" % (printable(item.path), item.problem))
            continue
        path = item.path + "/" if item.files else item.path
        rule = cleanup_report.plain(rules.get(item.path, NO_RULE))
        sc.print_line("  %s  (%s, %s)" % (printable(path), counted([item])[1], rule))


NO_RULE = "rule unknown"


def rules_of_runs(root: Root) -> "Dict[str, Dict[str, str]]":
    """By run, {path: rule} of what was ever removed, as far as the log tells."""
    path = os.path.join(root.path, ACTIONS_NAME)
    try:
        lines = read_own(path).split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise sc.StorageError.of("read", path, error)
    runs: "Dict[str, Dict[str, str]]" = {}
    for line in lines:
        if b'"intent"' not in line:
            continue
        try:
            entry = json.loads(line.decode("utf-8"))
            runs.setdefault(str(entry["run"]), {})[str(entry["path"])] = str(entry["rule"])
        except (ValueError, RecursionError, KeyError, TypeError):
            continue  # a crash cut the line short: its rule is unknown
    return runs


def cmd_purge(root: Root, args: "argparse.Namespace") -> int:
    """Delete for good what was quarantined long ago."""
    now = time.time()
    if args.older_than == 0:
        raise sc.UsageError("--older-than must be above zero", "such as --older-than 14d")
    if args.older_than is None:
        raise sc.UsageError("purge requires an age: --older-than 14d")
    with Quarantine(root, now, not args.dry_run) as quarantine:
        held = quarantine.runs()
        purged = quarantine.purge(args.older_than)
    left = sum(run.left for run in purged)
    line = "%s - %s %s (%s)" % (
        "WARNING" if left else "OK", plural(sum(run.files for run in purged) - left, "file"),
        "would be deleted" if args.dry_run else "deleted",
        size_text(sum(run.size for run in purged)))
    if left:
        line += ", %d could not be deleted" % left
    doubtful = sum(run.newest <= now - args.older_than for run in held) - len(purged)
    if not held:
        line += ": nothing is in quarantine"
    elif doubtful:
        line += ", %s kept: the clock may be wrong" % plural(doubtful, "run")
    elif not purged:
        line += ": the oldest of %s is %s old" % (
            plural(len(held), "run"), sc.duration_text(now - held[0].newest))
    sc.print_line(line)
    for run in purged:
        sc.print_line("  %s: %s, %s" % (run.run_id, plural(run.files, "file"), size_text(run.size)))
    for note in quarantine.notes:
        sc.print_line("  note: " + note)
    return sc.EXIT_FAILED if left else sc.EXIT_OK


# -- the rules

def cmd_rules(root: Root, args: "argparse.Namespace") -> int:
    """Check the rules, and show how many paths of an inventory each pattern matches."""
    rules = read_rules_of(root, args)
    document = read_inventory(os.path.abspath(args.name), root)
    path_at = document["fields"].index("path")
    try:
        paths = [str(row[path_at]) for row in document["files"]]
    except (TypeError, IndexError, KeyError):
        raise RefusedError("the inventory has a row that is damaged", TAKE_NEW)
    rows: "List[Dict[str, Any]]" = [{"kind": kind, "pattern": pattern, "paths": count}
                                    for kind, pattern, count in rules.coverage(paths)]
    if args.format == "json":
        sc.print_json({"at": document["finished"], "files": len(paths), "patterns": rows})
        return sc.EXIT_OK
    unused = sum(row["paths"] == 0 for row in rows if row["kind"] == "protected")
    line = "OK - %s, %s" % (
        plural(len(rules.rules), "rule"), plural(len(rules.protected), "protected pattern"))
    if unused:
        line += " (%s nothing now)" % plural(unused, "matches", "match")
    sc.print_line(line)
    for line in coverage_lines(rules, rows):
        sc.print_line(line)
    return sc.EXIT_OK


def coverage_lines(rules: Rules, rows: "Sequence[Dict[str, Any]]") -> "Iterator[str]":
    """What the patterns match; at the end, the protected ones that match nothing."""
    by_kind = {"rule " + rule.name: rule for rule in rules.rules}
    unused = []
    yield "what each pattern matches by its name or path:"
    for row in rows:
        rule = by_kind.get(row["kind"])
        if rule is None and not row["paths"]:
            unused.append(printable(row["pattern"]))
            continue
        count, note = str(row["paths"]), ""
        if rule is not None:
            keys = [key for key in ("marker", "beside", "unless", "content") if getattr(rule, key)]
            if keys:
                note = "  (before %s)" % ", ".join(keys)
            if row["pattern"] == ANY_FOLDER and rule.folders:
                count, note = "-", "  (by %s)" % ", ".join(keys)
            if not rule.enabled:
                note += "  (disabled)"
        yield "  %7s  %s  %s%s" % (count, row["kind"], printable(row["pattern"]), note)
    if unused:
        yield "protected, and match nothing now:"
        yield from textwrap.wrap(", ".join(unused), cleanup_report.WIDTH, initial_indent="  ",
                                 subsequent_indent="  ", break_on_hyphens=False,
                                 break_long_words=False)


def read_rules_of(root: Root, args: "argparse.Namespace") -> Rules:
    """The rules of --rules, or of the root. Raises ConfigError with every problem in them."""
    if args.rules:
        path = os.path.abspath(args.rules)
        return read_rules(path, printable(stored_path(path)), root.path)
    return read_rules(os.path.join(root.path, RULES_NAME), RULES_NAME)


# -- the command line

def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("%r is not a fraction above 0 and up to 1, such as 0.2"
                                         % text)
    return value


def build_parser() -> "argparse.ArgumentParser":
    parser = command_parser(__doc__)
    parser.add_argument("what", metavar="INVENTORY | rules | restore | purge")
    parser.add_argument("name", nargs="?", metavar="INVENTORY | RUN_ID | PATH",
                        help="with rules: the inventory; with restore: the run, file or folder")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--report-only", action="store_true",
                        help="write %s and print it" % REPORT_NAME)
    either.add_argument("--execute", action="store_true",
                        help="remove the candidates; on a terminal, ask first, by rule")
    either.add_argument("--dry-run", action="store_true",
                        help="change nothing (the default, except for purge)")
    parser.add_argument("--non-interactive", action="store_true",
                        help="with --execute: do not ask")
    parser.add_argument("--max-deletions", type=sc.count_option, metavar="N", default=MAX_DELETIONS,
                        help="remove at most N candidates, files or folders, and leave the rest"
                             " for the next run (default: %d)" % MAX_DELETIONS)
    parser.add_argument("--max-fraction", type=_fraction, metavar="X", default=MAX_FRACTION,
                        help="refuse to remove a larger fraction of the files or bytes"
                             " (default: %g)" % MAX_FRACTION)
    parser.add_argument("--max-age", type=age_option, metavar="AGE", default=MAX_AGE_S,
                        help="refuse an older inventory (default: 26h)")
    parser.add_argument("--rules", metavar="FILE",
                        help="the rules (default: %s under the root)" % RULES_NAME)
    parser.add_argument("--format", choices=("table", "markdown", "json"),
                        help="of the report (default: markdown with --report-only, else table)")
    parser.add_argument("--all", action="store_true", help="list everything, however many")
    parser.add_argument("--list", action="store_true",
                        help="with restore: show what is in quarantine; with a RUN_ID, its paths")
    parser.add_argument("--to", metavar="DIR",
                        help="with restore: put the files below this folder, not at their places")
    parser.add_argument("--older-than", type=age_option, metavar="AGE",
                        help="with purge: delete what was quarantined this long ago, such as 14d")
    return parser


def parse_arguments() -> "argparse.Namespace":
    """The command line, with its two arguments before, between or behind the options.

    argparse has decided that an optional one is missing when it meets the first option.
    """
    parser = build_parser()
    args, rest = parser.parse_known_args()
    if args.name is None and rest and not rest[0].startswith("-"):
        args.name = rest.pop(0)
    if rest:
        parser.error("unrecognized arguments: %s" % " ".join(rest))
    return args


def main() -> int:
    gc.disable()  # collecting costs time, and the rows of an inventory hold no cycles
    args = parse_arguments()
    check_options(args)
    if args.report_only and not args.format:
        args.format = "markdown"
    command = COMMANDS.get(args.what, cmd_clean)
    return command(Root(args.root), args)


COMMANDS = {"restore": cmd_restore, "purge": cmd_purge, "rules": cmd_rules}
# What an option or argument applies to, as the usage line names it; INVENTORY if it is not here.
APPLIES_TO = {"name": ("restore", "rules"), "older_than": ("purge",), "list": ("restore",),
              "to": ("restore",), "dry_run": ("INVENTORY", "purge"),
              "rules": ("INVENTORY", "rules"), "format": ("INVENTORY", "rules")}


def check_options(args: "argparse.Namespace") -> None:
    """Raises UsageError for an option without effect: whoever writes it expects one."""
    defaults = vars(build_parser().parse_args([args.what]))
    what = args.what if args.what in COMMANDS else "INVENTORY"
    for key, value in vars(args).items():
        targets = APPLIES_TO.get(key, ("INVENTORY",))
        if key in ("root", "what") or value == defaults[key] or what in targets:
            continue
        if key == "name":
            raise sc.UsageError("unexpected argument '%s'" % printable(value))
        raise sc.UsageError("--%s applies only to %s" % (
            key.replace("_", "-"), " or ".join(targets)))
    if what == "rules" and args.name is None:
        raise sc.UsageError("rules requires an inventory", "rules cleanup_inventory.json")
    if what == "rules" and args.format == "markdown":
        raise sc.UsageError("--format markdown applies only to INVENTORY")
    if args.list and args.to:
        raise sc.UsageError("--list cannot be used with --to")
    if args.non_interactive and not args.execute:
        raise sc.UsageError("--non-interactive requires --execute")
    if args.format and args.execute:
        raise sc.UsageError("--format cannot be used with --execute")
    if args.all and (args.execute or args.format == "json"):
        raise sc.UsageError("--all cannot be used with %s" % (
            "--execute" if args.execute else "--format json"))


if __name__ == "__main__":
    finish(main)
