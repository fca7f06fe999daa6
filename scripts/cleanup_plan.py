"""The plan of a clean-up: what can be removed by the rules, and what keeps the rest.

Of an inventory, the rules and the time alone, but for what a rule tells by content: that is asked
of an `Evidence`. A folder that goes as one is there by the paths of the files in it, because an
inventory lists files alone.
"""

import os
import stat
from itertools import product
from operator import itemgetter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from cleanup_rules import (
    CONTENTS,
    HEAD_BYTES,
    CleanupRule,
    Rules,
    above,
    copied_from,
    merged_with,
    repeats_its_original,
)
from common import RefusedError, plural, sc
from folders import OPEN_FILE
from quarantine import NEVER, Candidate, Guard, Removal, contents_digest
from tree import OWN_NAME, Root, native_path, printable

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


# -- what files hold

Asked = Callable[[str, str], bool]  # (path, check of CONTENTS) -> whether the file passes it
THERE = "there"  # a check of a path that may begin with "..": whether anything lies there


class Evidence:
    """Looks at the beginning of files below a root, through no link.

    What cannot be read passes no check. What cannot be looked for counts as there.
    """

    def __init__(self, root: Root) -> None:
        self.root = root

    def __call__(self, path: str, check: str) -> bool:
        if check == THERE:
            return self._is_there(path)
        try:
            return CONTENTS[check](self._head(path))
        except OSError:
            return False

    def _is_there(self, path: str) -> bool:
        try:
            if path == ".." or path.startswith("../"):
                os.lstat(os.path.join(native_path(self.root.path), native_path(path)))
                return True
            folder, _, name = path.rpartition("/")
            parent = self.root.open_folder(folder)
            try:
                os.stat(native_path(name), dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def _head(self, path: str) -> bytes:
        """The first bytes of a regular file, none of anything else. Raises OSError."""
        folder, _, name = path.rpartition("/")
        parent = self.root.open_folder(folder)
        try:
            # To open a device can be enough to change it.
            seen = os.stat(native_path(name), dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISREG(seen.st_mode):
                return b""
            fd = os.open(native_path(name), OPEN_FILE, dir_fd=parent)
        finally:
            os.close(parent)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return b""
            return os.read(fd, HEAD_BYTES)
        finally:
            os.close(fd)


def no_evidence(path: str, check: str) -> bool:
    """Where nothing can be looked at."""
    return False


# -- the tree of an inventory

class File(NamedTuple):
    """One row of the inventory; `kind` is its class."""

    path: str
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
    dev: int
    mode: int
    nlink: int
    kind: str
    references: "int | None"
    expires: "str | None"

    @property
    def changed_ns(self) -> int:
        return max(self.mtime_ns, self.ctime_ns)

    @property
    def version(self) -> str:
        """The file's line in the `contents_digest` of a folder."""
        return "%s\0%d,%d,%d,%d,%d,%d" % (
            self.path, self.ino, self.size, self.mtime_ns, self.ctime_ns, self.mode, self.nlink)


class Tree:
    """The rows of an inventory. Raises RefusedError for an invalid one."""

    def __init__(self, document: "Dict[str, Any]") -> None:
        self.fields: "List[str]" = document["fields"]
        self.rows: "List[Any]" = document["files"]
        self.root_dev: int = document["root_dev"]
        self.not_entered: "Sequence[Dict[str, str]]" = document.get("not_entered", ())
        path_at, size_at = self.fields.index("path"), self.fields.index("size")
        width = len(self.fields)
        self.paths: "List[str]" = []
        self.size = 0
        for number, row in enumerate(self.rows):
            if type(row) is not list or len(row) != width:
                raise self._bad_row(number)
            path, size = row[path_at], row[size_at]
            if type(path) is not str or type(size) is not int:
                raise self._bad_row(number)
            self.size += size
            self.paths.append(path)
        self.folder_of = [path.rpartition("/")[0] for path in self.paths]
        self._cells = itemgetter(*map(self.fields.index, ROW_TYPES))
        self._facts = itemgetter(*map(self.fields.index, FILE_COLUMNS))
        self._numbers: "Dict[str, int]" = {}

    def file(self, number: int) -> File:
        """A row. Raises RefusedError."""
        row = self.rows[number]
        if tuple(map(type, self._cells(row))) not in CELL_TYPES:
            raise self._bad_row(number)
        return File(*self._facts(row))

    def at(self, path: str) -> "File | None":
        """The row of a path, None without one. Raises RefusedError."""
        number = self._number_of().get(path)
        if number is None:
            return None
        return self.file(number)

    def has(self, path: str) -> bool:
        """Whether there is a file of that path."""
        return path in self._number_of()

    def _number_of(self) -> "Dict[str, int]":
        if not self._numbers:
            self._numbers = {path: number for number, path in enumerate(self.paths)}
        return self._numbers

    def tracked(self) -> int:
        """The number of files that git tracks."""
        class_at = self.fields.index("class")
        return sum(row[class_at] == "tracked" for row in self.rows)

    def _bad_row(self, number: int) -> RefusedError:
        """The error that names the first thing wrong with a row."""
        facts: "Dict[str, Any]" = {}
        row = self.rows[number]
        if isinstance(row, list) and len(row) == len(self.fields):
            facts = dict(zip(self.fields, row))
        name = next(name for name, kinds in ROW_TYPES.items()
                    if not is_of(facts.get(name, MISSING), kinds))
        return RefusedError(
            "row %d of the inventory: '%s' is missing or invalid" % (number + 1, name), TAKE_NEW)


# The columns of a File, in its order.
FILE_COLUMNS = ("path", "ino", "size", "mtime_ns", "ctime_ns", "dev", "mode", "nlink", "class",
                "references", "expires")
# All combinations of types that the columns of ROW_TYPES can have: one look instead of thirteen.
CELL_TYPES = frozenset(product(*(
    kinds if isinstance(kinds, tuple) else (kinds,) for kinds in ROW_TYPES.values())))


# -- the plan

def make_plan(document: "Dict[str, Any]", rules: Rules, now: float,
              max_fraction: float = MAX_FRACTION, max_deletions: int = MAX_DELETIONS,
              evidence: Asked = no_evidence) -> Plan:
    """The plan for an inventory. Raises RefusedError for an invalid row."""
    planner = Planner(Tree(document), rules, now, evidence)
    planner.decide_folders()
    planner.decide_files()
    planner.keep_last_copies()
    tree, candidates = planner.tree, planner.candidates()
    refused = too_much(candidates, len(tree.rows), tree.size, max_fraction, max_deletions)
    if refused and tree.tracked():
        refused += "; no tracked file is among them"
    return Plan(candidates=candidates, skipped=tuple(planner.skipped), files=len(tree.rows),
                size=tree.size, refused=refused)


def protection_guard(plan: Plan, rules: Rules) -> Guard:
    """Asks the protected patterns again, of the candidates of a plan, right before a removal."""
    candidates = {item.path: item for item in plan.candidates}

    def guard(path: str) -> str:
        item = candidates.get(path, Candidate(path=path))
        slash = ""
        if item.files:
            slash = "/"
        return rules.protection(path + slash, item.generated)
    return guard


class Planner:
    """Decides for each folder and file that some rule names."""

    def __init__(self, tree: Tree, rules: Rules, now: float, evidence: Asked) -> None:
        self.tree = tree
        self.rules = rules
        self.now = now
        self.evidence = evidence
        self.skipped: "List[Removal]" = []
        self._ranked: "List[Tuple[int, int, str, Candidate]]" = []
        # folder -> those at or above it that some rule names, topmost first
        self._named: "Dict[str, Tuple[str, ...]]" = {}
        self._rule_of: "Dict[str, CleanupRule]" = {}  # of the folders that a rule is about
        self._going: "Set[str]" = set()               # folders that are candidates
        self._newest: "Dict[str, int]" = {}
        self._closed = {entry["path"]: entry["why"] for entry in tree.not_entered}

    def candidates(self) -> "Tuple[Candidate, ...]":
        """Safest first, and the oldest first among those of a rule."""
        self._ranked.sort(key=lambda item: item[:3])
        return tuple(item[3] for item in self._ranked)

    # Folders.

    def decide_folders(self) -> None:
        """The topmost folder that its rule lets go takes what is in it along."""
        self._named = self._named_folders()
        members: "Dict[str, List[int]]" = {}
        if any(self._named.values()):
            for number, folder in enumerate(self.tree.folder_of):
                for named in self._named[folder]:
                    members.setdefault(named, []).append(number)
        marked = self._marked_folders()
        spared: "Dict[str, CleanupRule]" = {}  # by what lies beside them
        for folder in members:
            for rule in self.rules.folder_rules(folder, folder in marked):
                if self._is_about(rule, folder):
                    self._rule_of[folder] = rule
                    break
                if rule.names_folder(folder) and self._is_told(rule, folder):
                    spared.setdefault(folder, rule)
        for folder in sorted(self._rule_of):
            rule, outer = self._rule_of[folder], self._named[folder][:-1]
            # What is in a folder that its rule keeps is no more dispensable by the same rule.
            same = any(self._rule_of.get(other) is rule for other in outer)
            if not same and self._going.isdisjoint(outer):
                self._decide_folder(folder, rule, list(map(self.tree.file, members[folder])))
        for folder, rule in sorted(spared.items()):
            outer = self._named[folder][:-1]
            same = any(rule in (self._rule_of.get(other), spared.get(other)) for other in outer)
            if folder not in self._rule_of and not same and self._going.isdisjoint(outer):
                self._spare_folder(folder, rule, list(map(self.tree.file, members[folder])))

    def _spare_folder(self, folder: str, rule: CleanupRule, members: "Sequence[File]") -> None:
        """Report a folder that its rule is not about, because of what is in it or beside it."""
        name = next(name for name in rule.unless if self._may_be_there(folder, name))
        reason = "%s beside it: it may be in use" % name
        if name.startswith("{name}/"):
            reason = "%s in it: it may be more than that" % name[len("{name}/"):]
        self.skipped.append(Removal(
            path=folder, outcome="skipped", reason=reason, rule=rule.name, files=len(members),
            size=sum(file.size for file in members)))

    def _named_folders(self) -> "Dict[str, Tuple[str, ...]]":
        marked = self._marked_folders()
        named: "Dict[str, Tuple[str, ...]]" = {"": ()}
        for folder in set(self.tree.folder_of):
            fresh = []
            while folder not in named:
                fresh.append(folder)
                folder = folder.rpartition("/")[0]
            chain = named[folder]
            for deeper in reversed(fresh):
                if self.rules.folder_rules(deeper, deeper in marked):
                    chain += (deeper,)
                named[deeper] = chain
        return named

    def _marked_folders(self) -> "Set[str]":
        """The folders that hold a marker of any folder, such as CACHEDIR.TAG."""
        names = tuple("/" + name for name in self.rules.markers)
        return {path.rpartition("/")[0] for path in self.tree.paths if path.endswith(names)}

    def _decide_folder(self, folder: str, rule: CleanupRule, members: "Sequence[File]") -> None:
        size = sum(file.size for file in members)
        reason = next(filter(None, self._keep_folder(folder, rule, members)), "")
        if reason:
            self.skipped.append(Removal(path=folder, outcome="skipped", reason=reason, size=size,
                                        rule=rule.name, files=len(members)))
            return
        self._going.add(folder)
        candidate = Candidate(
            path=folder, size=size, mtime_ns=max(file.mtime_ns for file in members),
            ctime_ns=max(file.ctime_ns for file in members), dev=self.tree.root_dev,
            rule=rule.name, reason=rule.reason, files=len(members), generated=rule.generated,
            contents=contents_digest(file.version for file in members))
        changed_ns = max(candidate.mtime_ns, candidate.ctime_ns)
        self._ranked.append((rule.rank, changed_ns, folder, candidate))

    def _keep_folder(self, folder: str, rule: CleanupRule,
                     members: "Sequence[File]") -> "Iterator[str]":
        """What keeps a folder that a rule is about, '' where a check has nothing against it."""
        yield self.rules.protection(folder + "/", rule.generated)
        yield self._too_young(max(file.changed_ns for file in members), rule)
        for entry in self.tree.not_entered:
            if (entry["path"] + "/").startswith(folder + "/"):
                yield "it holds %s, which was not entered: %s" % (
                    printable(entry["path"]), entry["why"])
        for file in members:
            reason = next(filter(None, self._keep_member(folder, rule, file)), "")
            if reason:
                yield "it holds %s: %s" % (printable(file.path[len(folder) + 1:]), reason)
        if not rule.generated:
            yield _linked_elsewhere(members)
        if rule.stale:
            yield self._project_in_use(folder, rule)

    def _keep_member(self, folder: str, rule: CleanupRule, file: File) -> "Iterator[str]":
        yield from self._keep_any(file, rule, member=True)
        if not stat.S_ISREG(file.mode) and not stat.S_ISLNK(file.mode):
            yield "it is neither a regular file nor a link"
        if not self.rules.belongs(rule, file.path[len(folder) + 1:]):
            yield "no tool puts such a file there"
        # Of a folder, `original` is about the files that are copies by their place.
        if rule.original and copied_from(file.path):
            yield self._only_copy(file, rule)

    def _project_in_use(self, folder: str, rule: CleanupRule) -> str:
        """Whether the folder that holds it, other generated things apart, changed lately."""
        if not self._newest:
            self._newest = self._newest_changes()
        project = folder.rpartition("/")[0]
        for path, why in sorted(self._closed.items()):
            if not project or path == project or path.startswith(project + "/"):
                return "cannot tell whether the project is in use: %s was not entered: %s" % (
                    printable(path), why)
        if self._too_young(self._newest.get(project, 0), rule):
            age_s = self.now - self._newest[project] / 1e9
            return "%s changed %s ago, so it may be in use, and the rule requires %s" % (
                printable(project) if project else "the project", sc.duration_text(age_s),
                sc.duration_text(rule.age_s))
        return ""

    def _newest_changes(self) -> "Dict[str, int]":
        """folder -> the newest change at or below it, of anything that no tool generates."""
        generated = {folder for folder, chain in self._named.items()
                     if any(self._rule_of[named].generated for named in chain
                            if named in self._rule_of)}
        newest: "Dict[str, int]" = {"": 0}
        for number, folder in enumerate(self.tree.folder_of):
            if folder not in generated:
                changed_ns = self.tree.file(number).changed_ns
                newest[folder] = max(newest.get(folder, 0), changed_ns)
        for folder, changed_ns in list(newest.items()):
            while folder:
                folder = folder.rpartition("/")[0]
                newest[folder] = max(newest.get(folder, 0), changed_ns)
        return newest

    # Files.

    def decide_files(self) -> None:
        """Files that rules name, but for those in a folder that goes as one."""
        matches = self.rules.names_some
        for number, path in enumerate(self.tree.paths):
            if not matches(path):
                continue
            if not self._going.isdisjoint(self._named.get(self.tree.folder_of[number], ())):
                continue
            file = self.tree.file(number)
            for rule in self.rules.rules_for(path):
                if self._is_about(rule, path):
                    self._decide_file(file, rule)
                    break

    def _decide_file(self, file: File, rule: CleanupRule) -> None:
        reason = next(filter(None, self._keep_file(file, rule)), "")
        if reason:
            self.skipped.append(Removal(path=file.path, outcome="skipped", reason=reason,
                                        size=file.size, rule=rule.name))
            return
        candidate = Candidate(
            path=file.path, size=file.size, mtime_ns=file.mtime_ns, ctime_ns=file.ctime_ns,
            dev=file.dev, ino=file.ino, mode=file.mode, rule=rule.name, reason=rule.reason,
            generated=rule.generated)
        self._ranked.append((rule.rank, file.changed_ns, file.path, candidate))

    def _keep_file(self, file: File, rule: CleanupRule) -> "Iterator[str]":
        """What keeps a file that a rule is about, '' where a check has nothing against it.

        The first reason is reported.
        """
        if not stat.S_ISREG(file.mode):
            yield "it is not a regular file"
        if file.nlink != 1:
            yield "it has %d hard links" % file.nlink
        yield from self._keep_any(file, rule)
        yield self._too_young(file.changed_ns, rule)
        if rule.original:
            yield self._only_copy(file, rule)
            others = merged_with(file.path)
            if others and not any(map(self.tree.has, others)):
                yield "no other file of the same merge lies beside it"

    def keep_last_copies(self) -> None:
        """A copy stays if its original goes in the same run: one of the two must be left."""
        copies = {rule.name for rule in self.rules.rules if rule.original and rule.patterns}
        going = {item[3].path for item in self._ranked}
        left = []
        for item in self._ranked:
            candidate = item[3]
            source = ""
            if candidate.rule in copies:
                source = self._going_source(candidate.path, going)
            if source:
                self.skipped.append(Removal(
                    path=candidate.path, outcome="skipped", size=candidate.size,
                    rule=candidate.rule,
                    reason="it may be the only copy: %s goes in this run" % printable(source)))
            else:
                left.append(item)
        self._ranked = left

    def _going_source(self, path: str, going: "Set[str]") -> str:
        """An original of the file that goes, '' if one stays."""
        sources = [source for source in copied_from(path) if self.tree.has(source)]
        for source in sources:
            if source not in going and going.isdisjoint(above(source)):
                return ""
        return sources[0]

    def _only_copy(self, file: File, rule: CleanupRule) -> str:
        """Whether a copy may hold what its original does not."""
        places = copied_from(file.path)
        originals = [original for original in map(self.tree.at, places)
                     if original is not None and stat.S_ISREG(original.mode)]
        if not originals:
            missing = "original of it"
            if places:
                missing = printable(places[0])
            return "it may be the only copy: there is no %s" % missing
        original = originals[0]
        if file.size and not original.size and repeats_its_original(file.path):
            return "it may be the only copy: %s is empty" % printable(original.path)
        if rule.original == "newer" and original.mtime_ns < file.mtime_ns:
            return "it may be the only copy: it is newer than %s" % printable(original.path)
        return ""

    # Both.

    def _is_about(self, rule: CleanupRule, path: str) -> bool:
        """Whether what has a name that the rule matches is what the rule is about."""
        if not self._is_told(rule, path):
            return False  # asked first: what it is about and `unless` keeps is reported
        return not any(self._may_be_there(path, name) for name in rule.unless)

    def _is_told(self, rule: CleanupRule, path: str) -> bool:
        """Whether it is told by its marker, what lies beside it, and its content."""
        if rule.by_name:
            return True
        if rule.beside and not any(self._is_there(path, name) for name in rule.beside):
            return False
        markers = [path + "/" + name for name in rule.marker if self._is_there(path + "/x", name)]
        if rule.marker and not markers:
            return False
        if not rule.content:
            return True
        return any(self.evidence(each, rule.content) for each in markers or [path])

    def _is_there(self, path: str, relative: str) -> bool:
        """Whether a file or folder lies at a place relative to the folder that holds `path`."""
        place = place_of(path, relative)
        return self.tree.has(place) or place in self._named

    def _may_be_there(self, path: str, relative: str) -> bool:
        """The same, of what must not be there: an inventory has no empty folders, nothing above
        the root, and nothing below what was not entered."""
        place = place_of(path, relative)
        if self.tree.has(place) or place in self._named or place in self._closed:
            return True
        if any(folder in self._closed for folder in above(place)):
            return True
        return self.evidence(place, THERE)

    def _keep_any(self, file: File, rule: CleanupRule, member: bool = False) -> "Iterator[str]":
        """What keeps a file whether it goes by itself or with its folder."""
        if file.kind == "tracked":
            yield "git tracks it"
        if file.dev != self.tree.root_dev:
            yield "it is on another device"
        if NEVER.match(file.path) and not (member and may_hold(rule, file.path)):
            yield "lock and pid files stay, whatever their age"
        if OWN_NAME.match(file.path):
            yield "it belongs to the clean-up itself"
        yield self.rules.protection(file.path, rule.generated, member)
        if file.kind not in rule.classes:
            yield "it is %s, and the rule covers only %s files" % (
                file.kind, " or ".join(rule.classes))
        if file.expires is not None:
            yield "registered to expire at %s" % file.expires
        # To mention a generated file is to name its place: it will be made again.
        if rule.generated and not rule.references:
            return
        if file.references is None:
            yield "cannot tell whether other files mention it"
        elif file.references:
            yield "%s it" % plural(file.references, "file mentions", "files mention")

    def _too_young(self, changed_ns: int, rule: CleanupRule) -> str:
        if changed_ns > self.now * 1e9:
            return "its time is in the future"
        if changed_ns > (self.now - rule.age_s) * 1e9:
            return "it changed %s ago, and the rule requires %s" % (
                sc.duration_text(self.now - changed_ns / 1e9), sc.duration_text(rule.age_s))
        return ""


def place_of(path: str, relative: str) -> str:
    """A place relative to the folder that holds `path`; above the root, it begins with "..".

    {name} stands for the name of `path`, {stem} for that without its ending.
    """
    folder, _, name = path.rpartition("/")
    relative = relative.replace("{name}", name)
    relative = relative.replace("{stem}", os.path.splitext(name)[0])
    parts = folder.split("/") if folder else []
    for part in relative.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def may_hold(rule: CleanupRule, path: str) -> bool:
    """Whether a lock file goes with its folder: tools lock what they generate, and leave it there.

    A pid file is about a process, and never goes.
    """
    return rule.generated and path.lower().endswith(".lock")


def _linked_elsewhere(members: "Sequence[File]") -> str:
    """The reason to keep a folder with a file that has a name outside of it, '' without one.

    A rename takes one name and leaves the others as they are, so a generated file can go; whoever
    writes by the other name to something else would change what can be restored.
    """
    names: "Dict[Tuple[int, int], int]" = {}
    for file in members:
        names[file.dev, file.ino] = names.get((file.dev, file.ino), 0) + 1
    for file in members:
        if file.nlink > names[file.dev, file.ino]:
            return "it holds %s, which has a hard link elsewhere" % printable(file.path)
    return ""


# -- the circuit breaker

def too_much(candidates: "Sequence[Candidate]", files: int, size: int,
             max_fraction: float = MAX_FRACTION, max_deletions: int = MAX_DELETIONS) -> str:
    """The circuit breaker: why the whole plan is refused, '' if it is not (CLEANUP rule 25).

    `files` and `size` are those of the tree. What tools make again is ordinary in any number, and
    so is what one run may take. The rest must not be a large part of what else there is.
    """
    rest = [item for item in candidates if not item.generated]
    if len(rest) <= max_deletions:
        return ""
    generated = [item for item in candidates if item.generated]
    others = (files - sum(item.files or 1 for item in generated),
              size - sum(item.size for item in generated))
    planned = sum(item.files or 1 for item in rest), sum(item.size for item in rest)
    for part, whole, unit in zip(planned, others, ("files", "bytes")):
        if part > max_fraction * whole:
            return "%d of %d %s (%.0f %%) would go, more than --max-fraction %g allows" % (
                part, whole, unit, 100.0 * part / whole, max_fraction)
    return ""
