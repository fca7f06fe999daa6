"""The plan of a clean-up: what can be removed by the rules, and what keeps the rest.

A pure function of an inventory, the rules and the time, which reads nothing itself.
"""

import stat
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from cleanup_rules import CleanupRule, Rules
from common import RefusedError, plural, sc
from quarantine import NEVER, Candidate, Removal
from tree import OWN_NAME

MAX_DELETIONS = 50
MAX_FRACTION = 0.2

ROW_TYPES: "Dict[str, Any]" = {
    "path": str, "ino": int, "size": int, "mtime_ns": int, "ctime_ns": int, "dev": int, "mode": int,
    "nlink": int, "class": str, "references": (int, type(None)), "purpose": str,
    "expires": (str, type(None)), "duplicate": (str, type(None))}
TAKE_NEW = "take a new one"

MISSING = object()  # of none of the types that JSON has, null included


def is_of(value: "Any", kinds: "Any") -> bool:
    """isinstance, for which true is not a number."""
    return isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))


class Plan(sc.Value):
    """What can be removed, safest first; what a rule matches but must stay, and why.

    `refused` says why the plan as a whole must not be carried out, '' if it can.
    """

    candidates: "Tuple[Candidate, ...]" = ()
    skipped: "Tuple[Removal, ...]" = ()
    files: int = 0   # of the whole tree
    size: int = 0
    refused: str = ""


class File(sc.Value):
    """One row of the inventory that some rule matches."""

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


def reasons_to_keep(file: File, rule: CleanupRule, rules: Rules, root_dev: int,
                    now: float) -> "Iterator[str]":
    """What keeps a file that a rule matches, '' where a check has nothing against its removal.

    The first reason is reported.
    """
    if file.kind == "tracked":
        yield "git tracks it"
    if not stat.S_ISREG(file.mode):
        yield "it is not a regular file"
    if file.nlink != 1:
        yield "it has %d hard links" % file.nlink
    if file.dev != root_dev:
        yield "it is on another device"
    if NEVER.match(file.path):
        yield "lock and pid files stay, whatever their age"
    if OWN_NAME.match(file.path):
        yield "it belongs to the clean-up itself"
    yield rules.protection(file.path)
    if file.kind not in rule.classes:
        yield "it is %s, and the rule covers only %s files" % (
            file.kind, " or ".join(rule.classes))
    if file.changed_ns > now * 1e9:
        yield "its time is in the future"
    if file.changed_ns > (now - rule.age_s) * 1e9:
        yield "it changed %s ago, and the rule requires %s" % (
            sc.duration_text(now - file.changed_ns / 1e9), sc.duration_text(rule.age_s))
    if file.expires is not None:
        yield "registered to expire at %s" % file.expires
    if file.references is None:
        yield "cannot tell whether other files mention it"
    elif file.references:
        yield "%s it" % plural(file.references, "file mentions", "files mention")


def make_plan(document: "Dict[str, Any]", rules: Rules, now: float,
              max_fraction: float = MAX_FRACTION) -> Plan:
    """The plan for an inventory: a pure function of it, the rules and the time.

    Raises RefusedError for an invalid row.
    """
    fields = document["fields"]
    path_at, size_at, width = fields.index("path"), fields.index("size"), len(fields)
    ranked: "List[Tuple[int, int, str, Candidate]]" = []
    skipped: "List[Removal]" = []
    total = 0
    for number, row in enumerate(document["files"]):
        if type(row) is not list or len(row) != width:
            raise _bad_row(row, fields, number)
        path, size = row[path_at], row[size_at]
        if type(path) is not str or type(size) is not int:
            raise _bad_row(row, fields, number)
        total += size
        if not rules.names_some(path):
            continue
        file = _file(row, fields, number)
        rule = rules.rule_for(path)
        assert rule is not None, path
        reasons = reasons_to_keep(file, rule, rules, document["root_dev"], now)
        reason = next(filter(None, reasons), "")
        if reason:
            skipped.append(Removal(path=path, outcome="skipped", reason=reason, size=size,
                                   rule=rule.name))
        else:
            ranked.append((rule.rank, file.changed_ns, path, _candidate(file, rule)))
    ranked.sort(key=lambda item: item[:3])
    candidates = tuple(item[3] for item in ranked)
    files = len(document["files"])
    return Plan(candidates=candidates, skipped=tuple(skipped), files=files, size=total,
                refused=too_much(candidates, files, total, max_fraction))


def _file(row: "Sequence[Any]", fields: "List[str]", number: int) -> File:
    facts = dict(zip(fields, row))
    if not all(is_of(facts[name], kinds) for name, kinds in ROW_TYPES.items()):
        raise _bad_row(row, fields, number)
    facts["kind"] = facts.pop("class")
    return File(**{name: facts[name] for name in facts if hasattr(File, name)})


def _candidate(file: File, rule: CleanupRule) -> Candidate:
    return Candidate(path=file.path, size=file.size, mtime_ns=file.mtime_ns, ctime_ns=file.ctime_ns,
                     dev=file.dev, ino=file.ino, mode=file.mode, rule=rule.name, reason=rule.reason)


def _bad_row(row: "Any", fields: "List[str]", number: int) -> RefusedError:
    """The error that names the first thing wrong with a row."""
    facts: "Dict[str, Any]" = {}
    if isinstance(row, list) and len(row) == len(fields):
        facts = dict(zip(fields, row))
    name = next(name for name, kinds in ROW_TYPES.items()
                if not is_of(facts.get(name, MISSING), kinds))
    return RefusedError("row %d of the inventory: '%s' is missing or invalid" % (number + 1, name),
                        TAKE_NEW)


def too_much(candidates: "Sequence[Candidate]", files: int, size: int, max_fraction: float) -> str:
    """The circuit breaker: why the whole plan is refused, '' if it is not (CLEANUP rule 14)."""
    planned = sum(item.size for item in candidates)
    for part, whole, unit in ((len(candidates), files, "files"), (planned, size, "bytes")):
        if part > max_fraction * whole:
            return "the plan would remove %d of %d %s (%.0f %%), more than --max-fraction %g" % (
                part, whole, unit, 100.0 * part / whole, max_fraction)
    return ""
