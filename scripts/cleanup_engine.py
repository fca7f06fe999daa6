#!/usr/bin/env python3
"""Decides by the inventory and the rules which files may go, and says so; with --execute, moves them to quarantine.

    cleanup_engine.py cleanup_inventory.json                     what would go, and why (nothing is changed)
    cleanup_engine.py cleanup_inventory.json --report-only       the same, written to cleanup_report.json
    cleanup_engine.py cleanup_inventory.json --execute           list, ask file by file, then remove
    cleanup_engine.py cleanup_inventory.json --execute --non-interactive
    cleanup_engine.py restore RUN_ID|PATH                        put back what a run took, or one file
    cleanup_engine.py purge --older-than 14d                     delete for good what was taken that long ago

A file is a candidate when a rule of config/cleanup_rules.json names it, git does not track it, no protected pattern,
reference or registration keeps it, and neither its content nor its inode changed within the rule's age. Git, the
registry and the protected patterns are asked again right before a removal, and the file has to be the one that was
planned. A removal is a move into .cleanup_quarantine, written to cleanup_actions.log before and after.

Exit codes: 0 ok; 1 a removal or a restore failed; 2 usage; 3 refused: the inventory cannot be relied on, git failed, or
the plan is too large a part of the tree; 74 a file could not be read or written; 75 another clean-up is at work; 78 the
rules cannot be used, or a later version wrote a file.
"""

import argparse
import gc
import json
import os
import socket
import stat
import sys
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import cleanup_report
from cleanup_rules import RULES_NAME, CleanupRule, Rules, read_rules
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
from quarantine import NEVER, Candidate, Guard, Quarantine, Removal, outcome_line
from tree import (
    OWN_NAME,
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
MAX_DELETIONS = 50
MAX_FRACTION = 0.2
VIEW_BYTES = 2048
REASONS_SHOWN = 20

HEADER_TYPES = (("format", int), ("root", str), ("root_dev", int), ("root_ino", int), ("host", str), ("git", bool),
                ("head", (str, type(None))), ("finished", str), ("errors", list), ("fields", list), ("files", list))
ROW_TYPES: "Dict[str, Any]" = {
    "path": str, "ino": int, "size": int, "mtime_ns": int, "ctime_ns": int, "dev": int, "mode": int, "nlink": int,
    "class": str, "references": (int, type(None)), "purpose": str, "expires": (str, type(None)),
    "duplicate": (str, type(None))}


# -- the inventory

def read_inventory(path: str, root: Root) -> "Dict[str, Any]":
    """The inventory's document. Raises RefusedError for anything but a whole one of this format.

    Raises LaterVersionError for one of a later version: to replace it is not for this one to do.
    """
    problems = sc.Store(root.path).insecure(path)
    if problems:
        raise RefusedError("the inventory: %s" % problems[0])
    try:
        document = json.loads(read_own(path).decode("ascii"))
    except FileNotFoundError:
        raise RefusedError("there is no inventory %s" % printable(stored_path(path)),
                           "take one with scripts/comprehensive_inventory.sh")
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError("the inventory %s cannot be used: %s" % (printable(stored_path(path)), error),
                           "take a new one with scripts/comprehensive_inventory.sh")
    if isinstance(document, dict):
        shown = "the inventory %s" % printable(stored_path(path))
        check_format(shown, document.get("format"), FORMAT)
    for key, kinds in HEADER_TYPES:
        if not isinstance(document, dict) or key not in document or not _is(document[key], kinds):
            raise RefusedError("the inventory's field '%s' is missing or wrong" % key, "take a new one")
    if document["format"] != FORMAT:
        raise RefusedError("the inventory has format %d, this is format %d" % (document["format"], FORMAT),
                           "take a new one")
    missing = [name for name in FIELDS if name not in document["fields"]]
    if missing:
        raise RefusedError("the inventory's files have no '%s'" % missing[0], "take a new one")
    return dict(document)


def _is(value: "Any", kinds: "Any") -> bool:
    """isinstance, for which true is no number."""
    return isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))


def inventory_age(document: "Dict[str, Any]", now: float) -> float:
    """Seconds since the inventory was taken. Raises RefusedError for a time that is none."""
    try:
        finished = sc.from_iso(document["finished"])
    except (ValueError, OverflowError):
        raise RefusedError("the inventory's time '%s' is no time" % printable(document["finished"]), "take a new one")
    return now - (finished or 0)


def distrust(document: "Dict[str, Any]", root: Root, head: "str | None", has_git: bool, host: str, now: float,
             max_age_s: float) -> str:
    """Why the inventory cannot be relied on any more, '' when it can (CLEANUP rule 8)."""
    age_s = inventory_age(document, now)
    errors = document["errors"]
    first = errors[0] if errors and isinstance(errors[0], dict) else {}
    checks = (
        (age_s > max_age_s, "it is %s old, and --max-age is %s" % (sc.duration_text(age_s), sc.duration_text(max_age_s))),
        (age_s < -1, "it was taken in the future (%s)" % document["finished"]),
        (document["host"] != host, "it was taken on the host '%s'" % printable(document["host"])),
        (document["root"] != stored_path(root.path) or (document["root_dev"], document["root_ino"]) != (
            root.dev, root.ino), "it was taken of another folder (%s)" % printable(document["root"])),
        (document["git"] != has_git, "the tree had %s git repository then" % ("a" if document["git"] else "no")),
        (document["head"] != head, "HEAD has moved since"),
        (errors, "it met %s, the first at %s: %s" % (
            plural(len(errors), "error"), printable(str(first.get("path"))), printable(str(first.get("error"))))),
    )
    return next((why for wrong, why in checks if wrong), "")


# -- the plan

class Plan(sc.Value):
    """What may go, safest first; what a rule names but must stay, and why; and what speaks against the whole."""

    candidates: "Tuple[Candidate, ...]" = ()
    skipped: "Tuple[Removal, ...]" = ()
    files: int = 0   # of the whole tree
    size: int = 0
    refused: str = ""


class File(sc.Value):
    """One row of the inventory that some rule names."""

    path: str = ""
    ino: int = 0
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    dev: int = 0
    mode: int = 0
    nlink: int = 0
    kind: str = ""  # the row's class
    references: "int | None" = None
    expires: "str | None" = None

    @property
    def changed_ns(self) -> int:
        return max(self.mtime_ns, self.ctime_ns)


def reasons_to_keep(file: File, rule: CleanupRule, rules: Rules, root_dev: int, now: float) -> "Iterator[str]":
    """What keeps a file that a rule names; the first is told."""
    if file.kind == "tracked":
        yield "git tracks it"
    if not stat.S_ISREG(file.mode):
        yield "it is no regular file"
    if file.nlink != 1:
        yield "it has %d hard links" % file.nlink
    if file.dev != root_dev:
        yield "it is on another device"
    if NEVER.match(file.path):
        yield "lock and pid files stay, whatever their age"
    if OWN_NAME.match(file.path):
        yield "it is the clean-up's own"
    yield rules.protection(file.path)
    if file.kind not in rule.classes:
        yield "it is %s, and the rule takes %s only" % (file.kind, " or ".join(rule.classes))
    if file.changed_ns > now * 1e9:
        yield "its time is in the future"
    if file.changed_ns > (now - rule.age_s) * 1e9:
        yield "it changed %s ago, and the rule waits %s" % (
            sc.duration_text(now - file.changed_ns / 1e9), sc.duration_text(rule.age_s))
    if file.expires is not None:
        yield "registered to expire at %s" % file.expires
    if file.references is None:
        yield "whether other files name it cannot be known"
    elif file.references:
        yield "%s it" % plural(file.references, "file names", "files name")


def make_plan(document: "Dict[str, Any]", rules: Rules, now: float, max_fraction: float = MAX_FRACTION) -> Plan:
    """The plan for an inventory: a pure function of it, the rules and the time. Raises RefusedError for a bad row."""
    fields = document["fields"]
    path_at, size_at, width = fields.index("path"), fields.index("size"), len(fields)
    found: "List[Tuple[int, int, str, Candidate]]" = []
    skipped: "List[Removal]" = []
    total = 0
    for number, row in enumerate(document["files"]):
        if type(row) is not list or len(row) != width or type(row[path_at]) is not str or type(row[size_at]) is not int:
            raise _bad_row(row, fields, number)
        path = row[path_at]
        total += row[size_at]
        if not rules.names_some(path):
            continue
        file = _file(row, fields, number)
        rule = rules.rule_for(path)
        assert rule is not None, path
        why = next(filter(None, reasons_to_keep(file, rule, rules, document["root_dev"], now)), "")
        if why:
            skipped.append(Removal(path=path, outcome="skipped", reason=why, size=file.size, rule=rule.name))
        else:
            found.append((rule.rank, file.changed_ns, path, Candidate(
                path=path, size=file.size, mtime_ns=file.mtime_ns, ctime_ns=file.ctime_ns, dev=file.dev, ino=file.ino,
                mode=file.mode, rule=rule.name, reason=rule.reason)))
    found.sort(key=lambda item: item[:3])
    candidates = tuple(item[3] for item in found)
    return Plan(candidates=candidates, skipped=tuple(skipped), files=len(document["files"]), size=total,
                refused=too_much(candidates, len(document["files"]), total, max_fraction))


def _file(row: "Sequence[Any]", fields: "List[str]", number: int) -> File:
    facts = dict(zip(fields, row))
    if not all(_is(facts[name], kinds) for name, kinds in ROW_TYPES.items()):
        raise _bad_row(row, fields, number)
    facts["kind"] = facts.pop("class")
    return File(**{name: facts[name] for name in facts if hasattr(File, name)})


def _bad_row(row: "Any", fields: "List[str]", number: int) -> RefusedError:
    """The error that names the first thing wrong with a row."""
    facts = dict(zip(fields, row)) if isinstance(row, list) and len(row) == len(fields) else {}
    name = next(name for name, kinds in ROW_TYPES.items() if name not in facts or not _is(facts[name], kinds))
    return RefusedError("row %d of the inventory: '%s' is missing or wrong" % (number + 1, name), "take a new one")


def too_much(candidates: "Sequence[Candidate]", files: int, size: int, max_fraction: float) -> str:
    """The circuit breaker: why the plan as a whole is refused, '' when it is not (CLEANUP rule 14)."""
    planned = sum(item.size for item in candidates)
    for part, whole, what in ((len(candidates), files, "files"), (planned, size, "bytes")):
        if part > max_fraction * whole:
            return "the plan takes %d of %d %s (%.0f %%), and --max-fraction is %g: nothing is removed" % (
                part, whole, what, 100.0 * part / whole, max_fraction)
    return ""


SAVED_BY = {"ignored": "any change to it; a protected pattern", "no-git": "any change to it; a protected pattern",
            "untracked": "git add; any change to it; a protected pattern"}


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

    def plan(self) -> Plan:
        """The plan; what speaks against it stands in `refused`. Raises ConfigError for bad rules."""
        rules_path = os.path.abspath(self.args.rules) if self.args.rules else os.path.join(self.root.path, RULES_NAME)
        shown = RULES_NAME if not self.args.rules else printable(stored_path(rules_path))
        self.rules = read_rules(rules_path, shown)
        try:
            self.document = read_inventory(os.path.abspath(self.args.what), self.root)
            control = other_control(self.root)
            if control:
                raise RefusedError("%s: what that version control tracks cannot be known here" % printable(
                    stored_path(control)), "use --root with a folder outside of it")
            self.head = vouched(self.git, self.git.listing(only_tracked=True)).head if self.git.is_here() else None
            why = distrust(self.document, self.root, self.head, self.git.is_here(), self.host, self.now,
                           self.args.max_age)
            if why:
                raise RefusedError("the inventory is not used: %s" % why,
                                   "take a new one with scripts/comprehensive_inventory.sh")
            return make_plan(self.document, self.rules, self.now, self.args.max_fraction)
        except RefusedError as error:
            return Plan(refused=str(error))

    def guards(self) -> "List[Guard]":
        """Who is asked again right before a file goes."""
        guards: "List[Guard]" = [self.rules.protection, Registry(self.root).guard]
        return guards + [GitGuard(self.git)] if self.git.is_here() else guards

    def report(self, plan: Plan, results: "Sequence[Removal]", quarantine: Quarantine) -> "Dict[str, Any]":
        """The report as a document. What is asked for only at removal is counted as kept, with its reason."""
        kinds = {}
        if plan.candidates:
            fields = self.document["fields"]
            path_at, class_at = fields.index("path"), fields.index("class")
            wanted = {item.path for item in plan.candidates}
            kinds = {row[path_at]: row[class_at] for row in self.document["files"] if row[path_at] in wanted}
        going = {removal.path for removal in results if removal.outcome in ("would be removed", "removed")}
        late = {removal.path for removal in results if removal.reason == "left for the next run"}
        candidates = [{
            "path": item.path, "size": item.size, "age_s": int(self.now - max(item.mtime_ns, item.ctime_ns) / 1e9),
            "rule": item.rule, "reason": item.reason, "saved_by": SAVED_BY.get(kinds.get(item.path, ""), ""),
            "next_run": item.path in going} for item in plan.candidates if item.path in going | late or plan.refused]
        kept = list(plan.skipped) + [removal for removal in results if removal.outcome in ("skipped", "failed")
                                     and removal.path not in late]
        try:
            age_s = inventory_age(self.document, self.now) if self.document else None
        except RefusedError:
            age_s = None  # that is why the plan was refused
        return {
            "format": cleanup_report.FORMAT, "at": sc.iso(self.now), "verdict": verdict(plan, results, False),
            "refused": plan.refused, "root": stored_path(self.root.path), "host": self.host, "head": self.head,
            "inventory": {"age_s": age_s, "files": plan.files, "bytes": plan.size},
            "thresholds": {"max_deletions": self.args.max_deletions, "max_fraction": self.args.max_fraction,
                           "max_age_s": self.args.max_age},
            "change": None if plan.refused else cleanup_report.change_since(self._previous(), candidates),
            "removed": cleanup_report.kept_runs(self.root, quarantine.runs()),
            "candidates": candidates,
            "skipped": [{"path": removal.path, "rule": removal.rule, "reason": removal.reason} for removal in kept],
            "expiring": cleanup_report.expiring(self.root, self.now),
            "automations": cleanup_report.automations(self.root, self.now),
            "disk": cleanup_report.disk(self.root),
            "notes": quarantine.notes,
        }

    def _previous(self) -> "Dict[str, Any] | None":
        try:
            found = json.loads(read_own(os.path.join(self.root.path, REPORT_NAME)).decode("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


def verdict(plan: Plan, results: "Sequence[Removal]", execute: bool) -> str:
    """The first line."""
    if plan.refused:
        return "REFUSED - " + plan.refused
    if not results and not plan.candidates:
        kept = " (%d named by a rule are kept)" % len(plan.skipped) if plan.skipped else ""
        return "OK - 0 files to remove: no rule names a file that may go%s" % kept
    failed = any(removal.outcome == "failed" for removal in results)
    late = sum(removal.reason == "left for the next run" for removal in results)
    return "%s - %s%s" % ("WARNING" if failed else "OK", outcome_line(
        [removal for removal in results if removal.reason != "left for the next run"], execute),
        ", %d more for the next run" % late if late else "")


def cmd_clean(root: Root, args: "argparse.Namespace") -> int:
    """Plan, and depending on the options tell, report, or remove."""
    now = time.time()
    if args.execute and not args.non_interactive and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise sc.UsageError("--execute without a terminal needs --non-interactive")
    chosen = None
    if args.execute and not args.non_interactive:
        plan = Engine(root, args, now).plan()
        if not plan.refused:
            chosen = {item.path for item in review(root, list(plan.candidates), now)}
        now = time.time()  # people take their time: the plan is made again, and everything asked anew
    engine = Engine(root, args, now)
    with Quarantine(root, now, args.execute) as quarantine:
        plan = engine.plan()
        results: "List[Removal]" = []
        if not plan.refused:
            items = [item for item in plan.candidates if chosen is None or item.path in chosen]
            results = [Removal(path=item.path, outcome="skipped", reason="kept by hand", rule=item.rule)
                       for item in plan.candidates if chosen is not None and item.path not in chosen]
            try:
                for removal in quarantine.remove(items, engine.guards(), args.max_deletions):
                    results.append(removal)
            except sc.StorageError:
                _tell(args, engine, plan, results, quarantine)  # what has gone has to be said, whatever comes now
                raise
        if args.report_only:
            _write_report(root, args, engine.report(plan, results, quarantine))
        else:
            _tell(args, engine, plan, results, quarantine)
    if plan.refused:
        return EXIT_REFUSED
    return sc.EXIT_FAILED if any(removal.outcome == "failed" for removal in results) else sc.EXIT_OK


def _write_report(root: Root, args: "argparse.Namespace", report: "Dict[str, Any]") -> None:
    path = os.path.join(root.path, REPORT_NAME)
    check_replaced(path, cleanup_report.FORMAT)
    sc.write_atomic(path, (json.dumps(report, indent=1) + "\n").encode("ascii"))
    _print_report(args.format, report)


def _print_report(form: str, report: "Dict[str, Any]") -> None:
    if form == "json":
        sc.print_json(report)
    else:
        sc.print_line(cleanup_report.markdown(report) if form == "markdown" else cleanup_report.table(report))


def _tell(args: "argparse.Namespace", engine: Engine, plan: Plan, results: "List[Removal]",
          quarantine: Quarantine) -> None:
    if plan.refused and args.format in (None, "table"):
        sc.print_line(verdict(plan, results, args.execute))
        return
    if not args.execute:
        _print_report(args.format or "table", engine.report(plan, results, quarantine))
        if args.format in (None, "table"):
            sc.print_line("nothing was changed; --execute removes")
        return
    sc.print_line(verdict(plan, results, True))
    for note in quarantine.notes:
        sc.print_line("  note: " + note)
    for removal in results:
        if removal.reason != "left for the next run":
            size = ", " + size_text(removal.size) if removal.size else ""
            sc.print_line("  %s: %s%s (%s: %s)" % (removal.outcome, printable(removal.path), size, removal.rule,
                                            removal.reason))
    if any(removal.outcome == "removed" for removal in results):
        sc.print_line("  " + cleanup_report.restore_hint(engine.root, quarantine.run_id, engine.now))


# -- the review

QUESTION = "[d]elete, [k]eep, [v]iew, [q]uit? "


def review(root: Root, items: "List[Candidate]", now: float) -> "List[Candidate]":
    """List all candidates, then ask for each; those to be removed. Quitting keeps everything, also what was chosen."""
    sc.print_line("%s may go:" % plural(len(items), "file"))
    for item in items:
        sc.print_line("  %s  (%s, %s: %s)" % (printable(item.path), size_text(item.size), item.rule, item.reason))
    chosen: "List[Candidate]" = []
    for number, item in enumerate(items, 1):
        answer = _ask("%d of %d: %s\n%s" % (number, len(items), printable(item.path), QUESTION))
        while answer == "v":
            sc.print_line(_view(root, item, now))
            answer = _ask(QUESTION)
        if answer == "q":
            sc.print_line("nothing is removed")
            return []
        if answer == "d":
            chosen.append(item)
    return chosen


ANSWERS = {word[:size]: word[0] for word in ("delete", "keep", "view", "quit") for size in (1, len(word))}


def _ask(question: str) -> str:
    """One of d, k, v, q; the end of the input is q. Anything else is asked again: no slip deletes."""
    while True:
        sc.print_line(question, end="")
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return "q"
        if line.strip().lower() in ANSWERS:
            return ANSWERS[line.strip().lower()]


def _view(root: Root, item: Candidate, now: float) -> str:
    """The start of a file, made harmless for a terminal."""
    try:
        fd = os.open(root.join(item.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            data = os.read(fd, VIEW_BYTES)
        finally:
            os.close(fd)
    except OSError as error:
        return "  cannot be read: %s" % error.strerror
    head = "  %s, changed %s ago, mode %03o" % (size_text(item.size), sc.duration_text(
        now - max(item.mtime_ns, item.ctime_ns) / 1e9), stat.S_IMODE(item.mode))
    lines = data.decode("utf-8", "surrogateescape").split("\n")[:REASONS_SHOWN]
    return "\n".join([head] + ["  | " + (printable(line.rstrip("\r")) if line.strip() else "") for line in lines])


# -- afterwards

def cmd_restore(root: Root, args: "argparse.Namespace") -> int:
    """Put back a run or a file."""
    with Quarantine(root, time.time()) as quarantine:
        target = args.name
        if os.path.isabs(target):
            target = native_path(root.relative(target))
        results = quarantine.restore(target)
    failed = [removal for removal in results if removal.outcome == "failed"]
    sc.print_line("%s - %s restored%s" % ("WARNING" if failed else "OK", plural(len(results) - len(failed), "file"),
                                   ", %d not" % len(failed) if failed else ""))
    for removal in results:
        sc.print_line("  %s: %s%s" % (removal.outcome, printable(removal.path), " (%s)" % removal.reason if removal.reason
                               else ""))
    return sc.EXIT_FAILED if failed else sc.EXIT_OK


def cmd_purge(root: Root, args: "argparse.Namespace") -> int:
    """Delete for good what was taken long ago."""
    now = time.time()
    if not args.older_than:
        raise sc.UsageError("purge needs an age: --older-than 14d")
    with Quarantine(root, now, not args.dry_run) as quarantine:
        kept = quarantine.runs()
        gone = quarantine.purge(args.older_than)
    left = sum(run.left for run in gone)
    files, size = sum(run.files for run in gone) - left, sum(run.size for run in gone)
    why = "" if gone else ": nothing is in quarantine" if not kept else (
        ": the oldest of %s was taken %s ago" % (plural(len(kept), "run"), sc.duration_text(now - kept[0].newest)))
    sc.print_line("%s - %s %s (%s)%s%s" % ("WARNING" if left else "OK", plural(files, "file"), "would be deleted"
                                    if args.dry_run else "deleted", size_text(size), why,
                                    ", %d could not be" % left if left else ""))
    for run in gone:
        sc.print_line("  %s: %s, %s" % (run.run_id, plural(run.files, "file"), size_text(run.size)))
    for note in quarantine.notes:
        sc.print_line("  note: " + note)
    return sc.EXIT_FAILED if left else sc.EXIT_OK


# -- the command line

def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("%r is no part of one, such as 0.2" % text)
    return value


def build_parser() -> "argparse.ArgumentParser":
    parser = command_parser(__doc__)
    parser.add_argument("what", metavar="INVENTORY | restore | purge")
    parser.add_argument("name", nargs="?", metavar="RUN_ID|PATH", help="what to restore")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--report-only", action="store_true", help="write %s and print it" % REPORT_NAME)
    either.add_argument("--execute", action="store_true", help="remove; on a terminal, ask first")
    either.add_argument("--dry-run", action="store_true", help="change nothing (the default, but for purge)")
    parser.add_argument("--non-interactive", action="store_true", help="with --execute: do not ask")
    parser.add_argument("--max-deletions", type=sc.count_option, metavar="N", default=MAX_DELETIONS,
                        help="removals in one run (default: %d); the rest is left for the next" % MAX_DELETIONS)
    parser.add_argument("--max-fraction", type=_fraction, metavar="X", default=MAX_FRACTION,
                        help="largest part of the tree that a plan may take (default: %g)" % MAX_FRACTION)
    parser.add_argument("--max-age", type=age_option, metavar="AGE", default=MAX_AGE_S,
                        help="of the inventory (default: 26h)")
    parser.add_argument("--rules", metavar="FILE", help="default: %s under the root" % RULES_NAME)
    parser.add_argument("--format", choices=("table", "markdown", "json"), help="of a report (default: markdown with "
                        "--report-only, else table)")
    parser.add_argument("--older-than", type=age_option, metavar="AGE", help="with purge: such as 14d")
    return parser


def main() -> int:
    gc.disable()  # the rows of an inventory hold no cycles
    args = build_parser().parse_args()
    check_options(args)
    if args.report_only and not args.format:
        args.format = "markdown"
    command = {"restore": cmd_restore, "purge": cmd_purge}.get(args.what, cmd_clean)
    return command(Root(args.root), args)


# What each option goes with; "inventory" stands for all that is neither restore nor purge.
GOES_WITH = {"name": ("restore",), "older_than": ("purge",), "dry_run": ("inventory", "purge")}


def check_options(args: "argparse.Namespace") -> None:
    """Raises UsageError for an option that would be without effect: whoever writes it expects one."""
    defaults = vars(build_parser().parse_args([args.what]))
    what = args.what if args.what in ("restore", "purge") else "inventory"
    for key, value in vars(args).items():
        with_which = GOES_WITH.get(key, ("inventory",))
        if key in ("root", "what") or value == defaults[key] or what in with_which:
            continue
        if key == "name":
            raise sc.UsageError("'%s' is one argument too many" % printable(value))
        raise sc.UsageError("--%s goes with %s" % (key.replace("_", "-"), " or ".join(with_which)))
    if what == "restore" and args.name is None:
        raise sc.UsageError("restore needs a RUN_ID or a PATH")
    if args.non_interactive and not args.execute:
        raise sc.UsageError("--non-interactive goes with --execute")
    if args.format and args.execute:
        raise sc.UsageError("--format does not go with --execute")


if __name__ == "__main__":
    finish(main)
