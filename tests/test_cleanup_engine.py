"""The clean-up: what may go and why the rest stays, what is refused, the review, the way back, and the reports."""

import argparse
import copy
import json
import os
import pty
import re
import resource
import select
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time

import pytest
from support import SCRIPT, SCRIPTS, Project, git, run_script

import cleanup_engine as engine
import cleanup_plan
import cleanup_report as report
import cleanup_review as review
import inventory
import quarantine
import symphony_conductor as sc
from cleanup_rules import CleanupRule, Rules, build_rules
from common import RefusedError, finish
from quarantine import Removal, counted
from tree import Root

DAY = 86400
RULES = {"rules": [{"name": "temporary", "patterns": ["*.tmp"], "older_than": "0.01s", "reason": "named as temporary"},
                   {"name": "backups", "patterns": ["*.bak"], "older_than": "0.01s", "reason": "copied by hand"}],
         "protected": [{"patterns": ["keep*"], "reason": "somebody needs it"}]}
MODES = ((), ("--report-only", "--format", "table"), ("--execute", "--non-interactive"))
RUN_ID = r"\d{8}T\d{6}Z-\d+"
TAKE = "(take a new one)"
TAKE_WITH = "(take a new one with scripts/comprehensive_inventory.sh)"


# -- trees, and the programs run on them

def forked(module, root, *arguments):
    """Run a script in a child that has its modules already: (exit code, stdout, stderr). The rest is the real thing."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            try:
                for fd, number in ((os.open(os.devnull, os.O_RDONLY), 0), (out.fileno(), 1), (err.fileno(), 2)):
                    os.dup2(fd, number)
                sys.stdin, sys.stdout, sys.stderr = [
                    open(number, mode, encoding="utf-8") for number, mode in enumerate("rww")]
                sys.argv = [module.__file__, "--root", str(root)] + [str(one) for one in arguments]
                finish(module.main)
            except SystemExit as error:  # argparse has its own way out
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(error.code)
            finally:
                os._exit(99)
        status = os.waitpid(pid, 0)[1]
        texts = []
        for handle in (out, err):
            handle.seek(0)
            texts.append(handle.read().decode("utf-8"))
        return (os.WEXITSTATUS(status) if os.WIFEXITED(status) else -status,) + tuple(texts)


def snapshot(folder, *but):
    """Every file and folder with all that stat says of it but atime, and its content; `but` names what may change."""
    found = {}
    top = os.fsencode(str(folder))
    for here, folders, files in os.walk(top):
        if here == top:
            folders[:] = [name for name in folders if os.fsdecode(name) not in but]
            files = [name for name in files if os.fsdecode(name) not in but]
        for path in [os.path.join(here, name) for name in files] + [here] * (here != top or not but):
            seen = os.lstat(path)
            content = b""
            if stat.S_ISREG(seen.st_mode):
                with open(path, "rb") as handle:
                    content = handle.read()
            found[os.path.relpath(path, top)] = (seen.st_mode, seen.st_ino, seen.st_nlink, seen.st_size,
                                                 seen.st_mtime_ns, seen.st_ctime_ns, content)
    return found


OWN = (".cleanup_quarantine", "cleanup_actions.log", "cleanup_report.json", "cleanup_inventory.json")


class Tree(Project):
    """A project with one tracked file, rules with next to no age, 20 other files of 100 bytes, and an inventory."""

    def __init__(self, root, *names, **more):
        super().__init__(root)
        self.inventory = str(self.root / "cleanup_inventory.json")
        self.set_rules(more.get("rules", RULES))
        self.write("a.py", "print()\n")
        if more.get("git", True):
            git(self.root, "init", "-q", "--template=")
            git(self.root, "add", "a.py")
            git(self.root, "commit", "-q", "-m", "first")
        else:
            self.configure()
        for number in range(more.get("others", 20)):
            self.write("other/%02d.dat" % number, "x" * 100)
        for name in names:
            self.write(name, "content\n")
        self.take()

    def set_rules(self, document):
        path = self.root / "config" / "cleanup_rules.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        path.chmod(0o600)

    def write(self, name, data):
        path = os.path.join(os.fsencode(str(self.root)), name if isinstance(name, bytes) else os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as handle:
            handle.write(data if isinstance(data, bytes) else data.encode())
        self.newest = os.stat(path).st_ctime
        return path

    def take(self):
        """Take the inventory once the files are as old as the rules want them; its document."""
        assert self.wait_until(lambda: time.time() > self.newest + 0.02)
        assert forked(inventory, self.root)[0] == 0
        return self.document()

    def document(self):
        with open(self.inventory) as handle:
            return json.load(handle)

    def set_document(self, document):
        """Put another inventory in its place: a document, or bytes."""
        with open(self.inventory, "wb") as handle:
            handle.write(document if isinstance(document, bytes) else json.dumps(document).encode())

    def registry(self, *entries):
        """Register files as (path, time of expiry, reason)."""
        path = self.root / ".cleanup_registry.json"
        path.write_text(json.dumps({name: {"expires": sc.iso(at), "registered_at": "2025-06-01T10:00:00Z",
                                           "owner": "", "reason": reason} for name, at, reason in entries}))
        path.chmod(0o600)

    def engine(self, *arguments):
        return forked(engine, self.root, *arguments)

    def clean(self, *arguments):
        return self.engine(self.inventory, *arguments)

    def execute(self, *arguments):
        """A clean-up that has to succeed: (stdout, run id)."""
        code, out, err = self.clean("--execute", "--non-interactive", *arguments)
        assert (code, err) == (0, ""), (code, out, err)
        found = re.search("restore (%s)" % RUN_ID, out)
        return out, found.group(1) if found else ""

    def report(self, *arguments):
        """Write the report: its document."""
        code, out, err = self.clean("--report-only", *arguments)
        assert (code, err) == (0, ""), (code, out, err)
        return json.loads(self.read("cleanup_report.json"))

    def there(self):
        """The files that a rule of RULES could name."""
        found = [os.path.relpath(os.path.join(folder, name), str(self.root)) for folder, _, names in
                 os.walk(str(self.root)) for name in names if name.endswith((".tmp", ".bak"))]
        return sorted(path for path in found if not path.startswith((".cleanup_quarantine", ".git/")))


@pytest.fixture
def tree(tmp_path):
    """A tree with one file that may go."""
    return Tree(tmp_path / "tree", "old.tmp")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A function from one that makes a tree to that tree: the last one, or a new one when a test has changed it."""
    trees = {}

    def unchanged(make, *but):
        name = make.__qualname__
        if name not in trees or snapshot(trees[name].root, *but) != trees[name].before:
            trees[name] = make(tmp_path_factory.mktemp("kept") / "tree")
            trees[name].before = snapshot(trees[name].root, *but)
        return trees[name]
    return unchanged


# -- the plan: a pure function of rows, rules and the time

NOW = 5000000
NS = 10 ** 9
OLD = (NOW - 15 * DAY) * NS
AT_AGE = (NOW - 14 * DAY) * NS
YESTERDAY = (NOW - DAY) * NS
ROW = (("path", "a.tmp"), ("ino", 5), ("size", 10), ("mtime_ns", OLD), ("ctime_ns", OLD), ("dev", 7),
       ("mode", 0o100644), ("nlink", 1), ("class", "untracked"), ("references", 0), ("purpose", "temp"),
       ("expires", None), ("duplicate", None))
PLAN_RULES = build_rules({
    "rules": [
        {"name": "temporary", "patterns": ["*.tmp"], "older_than": "14d", "reason": "temporary"},
        {"name": "caches", "patterns": ["*.cache"], "older_than": "14d", "classes": ["ignored"], "reason": "a cache"},
        {"name": "logs", "patterns": ["*.log"], "older_than": "14d", "classes": ["ignored", "no-git"], "reason": "old"},
        {"name": "reckless", "patterns": ["*.lock", "*.pid", "*.LOCK"], "older_than": "14d", "reason": "reckless"},
        {"name": "late", "patterns": ["late.*", "*.late"], "older_than": "30d", "reason": "comes last"}],
    "protected": [{"patterns": ["keep*", "vault/"], "reason": "somebody needs it"}]}, "rules")


def row(**changes):
    """A row that may go but for the changes; `kind` is its class."""
    facts = dict(ROW)
    if "kind" in changes:
        changes["class"] = changes.pop("kind")
    facts.update(changes)
    return [facts[name] for name in inventory.FIELDS]


def document_of(*rows):
    return {"fields": list(inventory.FIELDS), "files": list(rows), "root_dev": 7}


MAY_GO, UNNAMED = "", None
DECISIONS = (
    # CLEANUP rule 3
    ("rule 3 tracked", {"kind": "tracked"}, "git tracks it"),
    # CLEANUP rule 4
    ("rule 4 untracked and named", {}, MAY_GO),
    ("rule 4 no rule names it", {"path": "notes.txt"}, UNNAMED),
    ("rule 4 no rule names the name, only the folder", {"path": "x.tmp/notes.txt"}, UNNAMED),
    ("rule 4 not quite the pattern", {"path": "a.tmp2"}, UNNAMED),
    ("rule 4 other case than the pattern", {"path": "a.TMP"}, UNNAMED),
    ("rule 4 the class the rule takes", {"path": "a.cache", "kind": "ignored"}, MAY_GO),
    ("rule 4 not the class of the rule", {"path": "a.cache"},
     "it is untracked, and the rule covers only ignored files"),
    ("rule 4 not a class of the rule", {"path": "a.log"},
     "it is untracked, and the rule covers only ignored or no-git files"),
    ("rule 4 no git", {"path": "a.log", "kind": "no-git"}, MAY_GO),
    ("rule 4 a class nobody knows", {"kind": "odd"},
     "it is odd, and the rule covers only ignored or untracked or no-git files"),
    ("rule 4 the first rule counts", {"path": "late.tmp"}, MAY_GO),
    ("rule 4 protected by name", {"path": "sub/keep.tmp"}, "protected by 'keep*': somebody needs it"),
    ("rule 4 protected in any case", {"path": "KEEP.tmp"}, "protected by 'keep*': somebody needs it"),
    ("rule 4 protected by folder", {"path": "x/vault/y/a.tmp"}, "protected by 'vault/': somebody needs it"),
    ("rule 4 the clean-up's own", {"path": "cleanup_report.json.tmp"}, "it belongs to the clean-up itself"),
    ("rule 4 a namesake of its own below", {"path": "sub/cleanup_report.json.tmp"}, MAY_GO),
    # CLEANUP rule 5
    ("rule 5 an old archive extracted yesterday", {"ctime_ns": YESTERDAY},
     "it changed 1d ago, and the rule requires 14d"),
    ("rule 5 written yesterday", {"mtime_ns": YESTERDAY}, "it changed 1d ago, and the rule requires 14d"),
    ("rule 5 exactly at the age", {"mtime_ns": AT_AGE, "ctime_ns": AT_AGE}, MAY_GO),
    ("rule 5 a nanosecond too young by mtime", {"mtime_ns": AT_AGE + 1},
     "it changed 13d 23h ago, and the rule requires 14d"),
    ("rule 5 a nanosecond too young by ctime", {"ctime_ns": AT_AGE + 1},
     "it changed 13d 23h ago, and the rule requires 14d"),
    ("rule 5 changed this moment", {"mtime_ns": NOW * NS}, "it changed 0s ago, and the rule requires 14d"),
    ("rule 5 mtime in the future", {"mtime_ns": NOW * NS + 1}, "its time is in the future"),
    ("rule 5 ctime in the future", {"ctime_ns": NOW * NS + NS}, "its time is in the future"),
    ("rule 5 before 1970", {"mtime_ns": -NS}, MAY_GO),
    ("rule 5 old enough for another rule only", {"path": "x.late"}, "it changed 15d ago, and the rule requires 30d"),
    # CLEANUP rule 6
    ("rule 6 one reference", {"references": 1}, "1 file mentions it"),
    ("rule 6 two references", {"references": 2}, "2 files mention it"),
    ("rule 6 references unknown", {"references": None}, "cannot tell whether other files mention it"),
    ("rule 6 registered", {"expires": "2031-01-02T03:04:05Z"}, "registered to expire at 2031-01-02T03:04:05Z"),
    # CLEANUP rule 7
    ("rule 7 lock", {"path": "x/run.lock"}, "lock and pid files stay, whatever their age"),
    ("rule 7 pid", {"path": "run.pid"}, "lock and pid files stay, whatever their age"),
    ("rule 7 lock in capitals", {"path": "RUN.LOCK"}, "lock and pid files stay, whatever their age"),
    ("rule 7 lock below a folder with a newline", {"path": "a\nb/run.lock"},
     "lock and pid files stay, whatever their age"),
    ("rule 7 symlink", {"mode": 0o120777}, "it is not a regular file"),
    ("rule 7 folder", {"mode": 0o040755}, "it is not a regular file"),
    ("rule 7 fifo", {"mode": 0o010600}, "it is not a regular file"),
    ("rule 7 socket", {"mode": 0o140600}, "it is not a regular file"),
    ("rule 7 block device", {"mode": 0o060600}, "it is not a regular file"),
    ("rule 7 character device", {"mode": 0o020600}, "it is not a regular file"),
    ("rule 7 no mode at all", {"mode": 0}, "it is not a regular file"),
    ("rule 7 two hard links", {"nlink": 2}, "it has 2 hard links"),
    ("rule 7 no link left", {"nlink": 0}, "it has 0 hard links"),
    ("rule 7 other device", {"dev": 8}, "it is on another device"),
    # names
    ("a name like an option", {"path": "-rf.tmp"}, MAY_GO),
    ("a name of the suffix alone", {"path": ".tmp"}, MAY_GO),
    ("a name with blanks and quotes", {"path": "it's \"a\" b.tmp"}, MAY_GO),
    ("a name with a newline", {"path": "a\nb.tmp"}, MAY_GO),
    ("a name that ends in a newline", {"path": "a.tmp\n"}, UNNAMED),
    ("a name that is not UTF-8", {"path": "caf\udce9.tmp"}, MAY_GO),
    ("a name with bars and backquotes", {"path": "a|`b`/c.tmp"}, MAY_GO),
    ("a name in Japanese", {"path": "日本/一時.tmp"}, MAY_GO),
    # the first of several reasons
    ("tracked comes before all but links", {"kind": "tracked", "path": "keep.tmp", "mtime_ns": NOW * NS},
     "git tracks it"),
    ("protected comes before age", {"path": "keep.tmp", "mtime_ns": NOW * NS},
     "protected by 'keep*': somebody needs it"),
)


@pytest.mark.parametrize("changes, expected", [case[1:] for case in DECISIONS], ids=[case[0] for case in DECISIONS])
def test_rules_3_to_7_decide_each_row_with_one_reason(changes, expected):
    document = document_of(row(**dict(changes)))
    before = copy.deepcopy(document)
    plan = engine.make_plan(document, PLAN_RULES, NOW, 1.0)
    assert document == before
    assert (plan.refused, plan.files, plan.size) == ("", 1, 10)
    assert [item.path for item in plan.candidates] == ([dict(ROW, **changes)["path"]] if expected == MAY_GO else [])
    assert [removal.reason for removal in plan.skipped] == ([expected] if expected else [])


def test_rules_3_to_7_a_candidate_carries_what_the_inventory_knew_and_why_it_may_go():
    plan = engine.make_plan(document_of(row(ctime_ns=OLD - 1)), PLAN_RULES, NOW, 1.0)
    assert plan.candidates[0].stored() == {
        "path": "a.tmp", "size": 10, "mtime_ns": OLD, "ctime_ns": OLD - 1, "dev": 7, "ino": 5, "mode": 0o100644,
        "rule": "temporary", "reason": "temporary"}
    plan = engine.make_plan(document_of(row(kind="tracked")), PLAN_RULES, NOW, 1.0)
    assert plan.skipped == (Removal(path="a.tmp", outcome="skipped", reason="git tracks it", size=10,
                                    rule="temporary"),)


def test_rules_3_to_7_the_plan_asks_neither_the_clock_nor_the_disk(monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the plan asked the system")
    rows = document_of(row(), row(path="b.tmp", mtime_ns=YESTERDAY), row(path="c.txt"))
    with monkeypatch.context() as patch:
        for place, name in ((time, "time"), (os, "stat"), (os, "open"), (os, "lstat"), (subprocess, "Popen")):
            patch.setattr(place, name, asked)
        plans = [engine.make_plan(rows, PLAN_RULES, now, 1.0) for now in (NOW, NOW, NOW + 20 * DAY, NOW - 10 * DAY)]
    assert plans[0] == plans[1]
    assert [[item.path for item in plan.candidates] for plan in plans] == [
        ["a.tmp"], ["a.tmp"], ["a.tmp", "b.tmp"], []]


def test_rule_3_nothing_below_a_nested_repository_is_even_looked_at(tmp_path):
    tree = Tree(tmp_path / "tree", "old.tmp", "nested/old.tmp", "nested/deep/old.tmp", "worktree/old.tmp",
                "plain/old.tmp")
    git(tree.root / "nested", "init", "-q")
    tree.write("worktree/.git", "gitdir: /nowhere\n")
    git(tree.root, "init", "-q", "--bare", "bare.git")
    tree.write("bare.git/old.tmp", "content\n")
    document = tree.take()
    assert sorted(found["path"] for found in document["not_entered"]) == ["bare.git", "nested", "worktree"]
    rules = build_rules(RULES, "rules")
    plan = engine.make_plan(document, rules, time.time() + 60, 1.0)
    assert [item.path for item in plan.candidates] == ["old.tmp", "plain/old.tmp"] and plan.skipped == ()
    tree.execute()
    assert tree.there() == ["bare.git/old.tmp", "nested/deep/old.tmp", "nested/old.tmp", "worktree/old.tmp"]


# -- CLEANUP rule 8: an inventory or rules that cannot be relied on

@pytest.fixture
def shared(kept):
    """A tree for all the refusals, with its inventory."""
    def make(folder):
        tree = Tree(folder, "old.tmp", "second.bak")
        tree.original = tree.document()
        return tree
    return kept(make, *OWN)


def check_refused(tree, expected, *arguments):
    """Run all three ways of cleaning; each has to exit with 3 and that one line, and to leave the tree alone."""
    before = snapshot(tree.root, *OWN)
    expected = "REFUSED - " + expected.replace("ROOT", str(tree.root))
    seen = []
    for mode in MODES:
        code, out, err = tree.clean(*(mode + arguments))
        lines = out.split("\n")
        seen.append((code, lines[0], out.count("REFUSED"), err))
        if "--execute" in mode and code == 3:
            assert lines[1:] == [""]
        if "--report-only" in mode and code == 3:
            assert json.loads(tree.read("cleanup_report.json"))["verdict"] == expected
    assert seen == [(3, expected, 1, "")] * 3
    assert snapshot(tree.root, *OWN) == before
    quarantine = tree.root / ".cleanup_quarantine"
    assert sorted(set(os.listdir(str(quarantine))) - {".gitignore", "clock", "format", "lock", "placeholder"}) == []


def test_rule_8_the_same_inventory_untouched_is_relied_on(shared):
    shared.set_document(shared.original)
    code, out, err = shared.clean()
    assert (code, out.split("\n")[0], err) == (0, "OK - 2 files would be removed (16 B)", "")


def position_of(document, path):
    return [one[0] for one in document["files"]].index(path)


CANNOT = "the inventory ROOT/cleanup_inventory.json cannot be used: "
NO_DOCUMENTS = (
    ("empty", b"", CANNOT + "Expecting value: line 1 column 1 (char 0) " + TAKE_WITH),
    ("no JSON", b"ls: cannot access\n", CANNOT + "Expecting value: line 1 column 1 (char 0) " + TAKE_WITH),
    ("a list", b"[1]", "the inventory's field 'format' is missing or invalid " + TAKE),
    ("null", b"null", "the inventory's field 'format' is missing or invalid " + TAKE),
    ("an empty object", b"{}", "the inventory's field 'format' is missing or invalid " + TAKE),
)


@pytest.mark.parametrize("data, expected", [case[1:] for case in NO_DOCUMENTS], ids=[case[0] for case in NO_DOCUMENTS])
def test_rule_8_what_is_no_inventory_is_refused(shared, data, expected):
    shared.set_document(data)
    check_refused(shared, expected)


def test_rule_8_no_inventory_at_all_is_refused(shared):
    os.unlink(shared.inventory)
    try:
        check_refused(shared, "there is no inventory ROOT/cleanup_inventory.json "
                       "(take one with scripts/comprehensive_inventory.sh)")
    finally:
        shared.set_document(shared.original)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_rule_8_a_truncated_inventory_is_refused(shared, keep):
    data = json.dumps(shared.original, indent=0).encode()
    shared.set_document(data[:int(keep * len(data))])
    before = snapshot(shared.root, *OWN)
    for mode in MODES:
        code, out, err = shared.clean(*mode)
        assert (code, err) == (3, "") and out.startswith(
            "REFUSED - the inventory %s cannot be used: " % shared.inventory), (code, out, err)
        assert out.split("\n")[0].endswith(TAKE_WITH)
    assert snapshot(shared.root, *OWN) == before


def test_rule_8_bytes_that_are_no_text_are_refused(shared):
    shared.set_document(b"\xff\xfe" + json.dumps(shared.original).encode())
    check_refused(shared, CANNOT + "'ascii' codec can't decode byte 0xff in position 0: ordinal not in range(128) "
           + TAKE_WITH)


HEADER = (("format", "1"), ("format", True), ("root", None), ("root_dev", "65024"), ("root_ino", 1.5), ("host", 5),
          ("git", 1), ("git", None), ("head", 0), ("finished", 1700000000), ("errors", {}), ("errors", None),
          ("fields", "path"), ("files", {}), ("files", None))


@pytest.mark.parametrize("key, value", HEADER, ids=["%s %r" % case for case in HEADER])
def test_rule_8_a_header_field_of_another_type_is_refused(shared, key, value):
    shared.set_document(dict(shared.original, **{key: value}))
    check_refused(shared, "the inventory's field '%s' is missing or invalid %s" % (key, TAKE))


@pytest.mark.parametrize("key", ["format", "root", "root_dev", "root_ino", "host", "git", "head", "finished", "errors",
                                 "fields", "files"])
def test_rule_8_a_header_without_one_of_its_fields_is_refused(shared, key):
    document = dict(shared.original)
    del document[key]
    shared.set_document(document)
    check_refused(shared, "the inventory's field '%s' is missing or invalid %s" % (key, TAKE))


@pytest.mark.parametrize("column", ["path", "ino", "size", "mtime_ns", "ctime_ns", "dev", "mode", "nlink", "class",
                                    "references", "purpose", "expires", "duplicate"])
def test_rule_8_an_inventory_without_one_of_its_columns_is_refused(shared, column):
    place = shared.original["fields"].index(column)
    shared.set_document(dict(shared.original, fields=[name for name in shared.original["fields"] if name != column],
                             files=[one[:place] + one[place + 1:] for one in shared.original["files"]]))
    check_refused(shared, "the inventory has no column '%s' %s" % (column, TAKE))


WRONG_CELLS = tuple((column, wrong) for column, wrongs in (
    ("path", (7, None, True, ["old.tmp"])), ("ino", ("5", True, None)), ("size", (8.0, True)),
    ("mtime_ns", (None, 1.5)), ("ctime_ns", ("0", True)), ("dev", (True, None)),
    ("mode", (True, "100644")), ("nlink", (True, 1.0)),
    ("class", (None, 3)), ("references", (False, "0")), ("purpose", (None,)), ("expires", (0, False)),
    ("duplicate", (1,))) for wrong in wrongs)


@pytest.mark.parametrize("column, wrong", WRONG_CELLS, ids=["%s %r" % cell for cell in WRONG_CELLS])
def test_rule_8_a_row_with_a_value_of_another_type_is_refused(shared, column, wrong):
    document = copy.deepcopy(shared.original)
    number = position_of(document, "old.tmp")
    document["files"][number][document["fields"].index(column)] = wrong
    shared.set_document(document)
    place = "row %d of the inventory" % (number + 1)
    check_refused(shared, "%s: '%s' is missing or invalid %s" % (place, column, TAKE))


@pytest.mark.parametrize("damage, column", [
    (lambda one: one[:-1], "path"), (lambda one: one + [0], "path"), (lambda one: [], "path"),
    (lambda one: None, "path"), (lambda one: {"path": one[0]}, "path"), (lambda one: one[0], "path"),
    (lambda one: one[:2] + ["8"] + one[3:], "size"),
], ids=["one cell short", "one cell long", "empty", "null", "an object", "a text", "a size that is text"])
def test_rule_8_a_row_of_another_shape_is_refused(shared, damage, column):
    document = copy.deepcopy(shared.original)
    number = position_of(document, "old.tmp")
    document["files"][number] = damage(document["files"][number])
    shared.set_document(document)
    check_refused(shared, "row %d of the inventory: '%s' is missing or invalid %s" % (number + 1, column, TAKE))


IMPOSSIBLE = tuple((column, wrong) for column, wrongs in (
    ("mode", (-1, 0o200000, 1 << 64)), ("ino", (-1, 1 << 65)), ("size", (-1, 1 << 64)), ("dev", (-5, 1 << 70)),
    ("nlink", (-1,)), ("references", (-1,)), ("mtime_ns", (10 ** 40, -10 ** 40)), ("ctime_ns", (10 ** 400,)),
) for wrong in wrongs)


@pytest.mark.parametrize("path", ["old.tmp", "a.py"])
@pytest.mark.parametrize("column, wrong", IMPOSSIBLE, ids=["%s %.9s" % cell for cell in IMPOSSIBLE])
def test_rule_8_an_inventory_with_a_number_that_no_file_has_is_refused(shared, column, wrong, path):
    document = copy.deepcopy(shared.original)
    number = position_of(document, path)
    document["files"][number][document["fields"].index(column)] = wrong
    text = "row %d of the inventory: '%s' is out of range %s" % (number + 1, column, TAKE)
    with pytest.raises(RefusedError) as refusal:
        engine.check_numbers(document)
    assert str(refusal.value) == text
    if wrong == -1 and path == "old.tmp":
        shared.set_document(document)
        check_refused(shared, text)


def test_rule_8_numbers_that_a_file_can_have_are_not_refused():
    engine.check_numbers(document_of(row(ino=(1 << 64) - 1, size=0, mtime_ns=-NS, ctime_ns=10 ** 19 * 8, mode=0o140777,
                                         dev=0, nlink=0, references=None)))


def ago(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


NOT_USED = "the inventory cannot be used: "
DISTRUSTED = (
    ("another format", lambda: {"format": 0}, "the inventory has format 0, not 1 " + TAKE),
    ("older than a day and two hours", lambda: {"finished": ago(27 * 3600 + 5)},
     NOT_USED + "it is 1d 3h old (--max-age: 1d 2h) " + TAKE_WITH),
    ("taken at no time", lambda: {"finished": "yesterday"}, "the inventory's time 'yesterday' is invalid " + TAKE),
    ("taken in a thirteenth month", lambda: {"finished": "2025-13-01T00:00:00Z"},
     "the inventory's time '2025-13-01T00:00:00Z' is invalid " + TAKE),
    ("another host", lambda: {"host": "elsewhere"}, NOT_USED + "it was taken on the host 'elsewhere' " + TAKE_WITH),
    ("another folder", lambda: {"root": "/srv/other"},
     NOT_USED + "it was taken of another folder (/srv/other) " + TAKE_WITH),
    ("another device", lambda: {"root_dev": 1}, NOT_USED + "it was taken of another folder (ROOT) " + TAKE_WITH),
    ("another folder in its place", lambda: {"root_ino": 1},
     NOT_USED + "it was taken of another folder (ROOT) " + TAKE_WITH),
    ("another HEAD", lambda: {"head": "0" * 40}, NOT_USED + "HEAD has moved since " + TAKE_WITH),
    ("no HEAD then", lambda: {"head": None}, NOT_USED + "HEAD has moved since " + TAKE_WITH),
    ("a scan error", lambda: {"errors": [{"path": "x\ny", "error": "Permission denied"}]},
     NOT_USED + "it contains 1 error, the first at x\\ny: Permission denied " + TAKE_WITH),
    ("a scan error of two lines", lambda: {"errors": [{"path": "x", "error": "bad\nOK - all is well"}]},
     NOT_USED + "it contains 1 error, the first at x: bad\\nOK - all is well " + TAKE_WITH),
    ("scan errors of no known form", lambda: {"errors": [1, 2]},
     NOT_USED + "it contains 2 errors, the first at None: None " + TAKE_WITH),
)


@pytest.mark.parametrize("changes, expected", [case[1:] for case in DISTRUSTED], ids=[case[0] for case in DISTRUSTED])
def test_rule_8_an_inventory_of_another_state_of_things_is_refused(shared, changes, expected):
    shared.set_document(dict(shared.original, **changes()))
    check_refused(shared, expected)


def test_rule_8_an_inventory_from_the_future_is_refused(shared):
    later = ago(-3600)
    shared.set_document(dict(shared.original, finished=later))
    check_refused(shared, NOT_USED + "its time is in the future (%s) %s" % (later, TAKE_WITH))


def test_rule_8_max_age_moves_the_limit(shared):
    shared.set_document(dict(shared.original, finished=ago(3605)))
    check_refused(shared, NOT_USED + "it is 1h old (--max-age: 30m) " + TAKE_WITH, "--max-age", "30m")
    assert shared.clean("--max-age", "2h")[0] == 0


def test_rule_8_an_inventory_that_others_can_write_is_refused(shared):
    shared.set_document(shared.original)
    os.chmod(shared.inventory, 0o602)
    try:
        check_refused(shared, "the inventory: cleanup_inventory.json: others can write to it "
                       "(chmod o-w ROOT/cleanup_inventory.json)")
    finally:
        os.chmod(shared.inventory, 0o600)


FACTS = {"finished": "2025-06-02T10:00:00Z", "errors": [], "host": "here", "root": "/srv/p", "root_dev": 5,
         "root_ino": 6, "git": True, "head": "abc"}
AT = 1748858400  # that time


class FakeRoot:
    path, dev, ino = "/srv/p", 5, 6


@pytest.mark.parametrize("changes, now, expected", [
    ({}, AT, ""),
    ({}, AT + 100, ""),
    ({}, AT + 100.5, "it is 1m old (--max-age: 1m)"),
    ({}, AT - 1, ""),
    ({}, AT - 2, "its time is in the future (2025-06-02T10:00:00Z)"),
    ({"host": "there"}, AT, "it was taken on the host 'there'"),
    ({"root": "/srv/q"}, AT, "it was taken of another folder (/srv/q)"),
    ({"root_dev": 6}, AT, "it was taken of another folder (/srv/p)"),
    ({"root_ino": 7}, AT, "it was taken of another folder (/srv/p)"),
    ({"git": False}, AT, "the tree had no git repository when it was taken"),
    ({"head": "abd"}, AT, "HEAD has moved since"),
    ({"head": None}, AT, "HEAD has moved since"),
    ({"errors": [{"path": "x", "error": "gone bad"}] * 3}, AT, "it contains 3 errors, the first at x: gone bad"),
])
def test_rule_8_distrust_says_why_to_the_second(changes, now, expected):
    assert engine.distrust(dict(FACTS, **changes), FakeRoot, "abc", True, "here", now, 100) == expected


def test_rule_8_a_copied_tree_is_not_cleaned_by_the_inventory_of_the_first(tree, tmp_path):
    shutil.copytree(str(tree.root), str(tmp_path / "copy"), symlinks=True)
    first, tree.root = tree.root, tmp_path / "copy"
    tree.inventory = str(tree.root / "cleanup_inventory.json")
    check_refused(tree, NOT_USED + "it was taken of another folder (%s) %s" % (first, TAKE_WITH))


def test_rule_8_a_tree_that_took_the_place_of_another_is_not_cleaned(tree, tmp_path):
    shutil.copytree(str(tree.root), str(tmp_path / "copy"), symlinks=True)
    tree.root.rename(tmp_path / "aside")
    (tmp_path / "copy").rename(tree.root)
    check_refused(tree, NOT_USED + "it was taken of another folder (ROOT) " + TAKE_WITH)


def test_rule_8_after_a_commit_a_new_inventory_is_asked_for(tree):
    git(tree.root, "commit", "-q", "--allow-empty", "-m", "second")
    check_refused(tree, NOT_USED + "HEAD has moved since " + TAKE_WITH)
    tree.take()
    assert tree.clean()[1].startswith("OK - 1 file would be removed (8 B)\n")


def test_rule_8_when_git_is_gone_nothing_may_go(tree):
    tree.configure()
    shutil.rmtree(str(tree.root / ".git"))
    check_refused(tree, NOT_USED + "the tree had a git repository when it was taken " + TAKE_WITH)


def test_rule_8_when_git_has_come_since_nothing_may_go(tmp_path):
    tree = Tree(tmp_path / "tree", "old.tmp", git=False)
    git(tree.root, "init", "-q")
    git(tree.root, "add", "a.py")
    git(tree.root, "commit", "-q", "-m", "first")
    check_refused(tree, NOT_USED + "the tree had no git repository when it was taken " + TAKE_WITH)


def test_rules_2_and_8_when_git_fails_nothing_may_go(tree):
    (tree.root / ".git" / "index").write_bytes(b"rubbish")
    before = snapshot(tree.root, *OWN)
    for mode in MODES:
        code, out, err = tree.clean(*mode)
        assert (code, err) == (3, "")
        assert re.match(r"REFUSED - git's index is damaged "
                        r"\(to fix: rm .*/index && git reset\)\n", out), out
    assert snapshot(tree.root, *OWN) == before


def test_rule_8_without_git_the_inventory_of_a_tree_without_git_is_relied_on(tmp_path):
    tree = Tree(tmp_path / "tree", "old.tmp", git=False)
    assert tree.execute()[0].startswith("OK - 1 file moved to quarantine (8 B)\n") and tree.there() == []


def without(key):
    document = copy.deepcopy(RULES)
    del document["rules"][1][key]
    return document


@pytest.mark.parametrize("document, named", [
    ({"rules": [], "protected": []}, "'rules'"),
    ({"protected": []}, "'rules'"),
    ({"rules": RULES["rules"]}, "'protected'"),
    (without("name"), "'name'"), (without("patterns"), "'patterns'"), (without("older_than"), "'older_than'"),
    (without("reason"), "'reason'"),
    ("[]", "object"), ("{", "JSON"), ("", "JSON"),
], ids=["empty rule set", "no rules", "no protected", "no name", "no patterns", "no age", "no reason", "a list", "cut",
        "empty"])
def test_rule_8_rules_that_cannot_be_used_are_refused(shared, document, named):
    shared.set_document(shared.original)
    shared.set_rules(document)
    before = snapshot(shared.root, *OWN)
    try:
        for mode in MODES:
            code, out, err = shared.clean(*mode)
            assert (code, out) == (78, "")
            assert err.startswith("cleanup_engine: config/cleanup_rules.json") and err.count("\n") == 1
            assert named.strip("'") in err
        assert snapshot(shared.root, *OWN) == before
    finally:
        shared.set_rules(RULES)


def test_rule_8_rules_that_are_missing_or_that_others_can_write_are_refused(tree, tmp_path):
    path = tree.root / "config" / "cleanup_rules.json"
    path.chmod(0o606)
    code, out, err = tree.clean("--execute", "--non-interactive")
    assert (code, out) == (78, "") and "others can write to it" in err and err.count("\n") == 1
    path.unlink()
    code, out, err = tree.clean("--execute", "--non-interactive")
    assert (code, out, err) == (
        78, "", "cleanup_engine: config/cleanup_rules.json: cannot be read: No such file or directory\n")
    code, out, err = tree.clean("--rules", str(tmp_path / "none.json"))
    assert (code, out) == (78, "") and err == "cleanup_engine: %s: cannot be read: No such file or directory\n" % (
        tmp_path / "none.json")
    assert tree.there() == ["old.tmp"]


def test_other_rules_can_be_named(tree, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"rules": [dict(RULES["rules"][0], patterns=["00.dat"], name="other")],
                                 "protected": []}))
    other.chmod(0o600)
    code, out, _ = run_script("cleanup_engine.py", tree.root, tree.inventory, "--rules", "other.json", "--execute",
                              "--non-interactive", cwd=str(tmp_path))
    assert code == 0 and "  removed: other/00.dat, 100 B (other: named as temporary)\n" in out
    assert tree.there() == ["old.tmp"]


def test_rule_22_the_rules_command_says_how_many_paths_each_pattern_matches(shared):
    shared.set_document(dict(shared.original, finished=ago(99 * DAY)))  # of any age: nothing is removed by it
    before = snapshot(shared.root)
    code, out, err = shared.engine("rules", shared.inventory)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "OK - 2 rules, 1 protected pattern (1 matches nothing now)"
    assert lines[1:] == [
        "what each pattern matches by its name or path:", "        1  rule temporary  *.tmp",
        "        1  rule backups  *.bak", "protected, and match nothing now:", "  keep*"]
    code, out, _ = shared.engine("rules", shared.inventory, "--format", "json")
    assert [(row["pattern"], row["paths"]) for row in json.loads(out)["patterns"]] == [
        ("*.tmp", 1), ("*.bak", 1), ("keep*", 0)]
    assert snapshot(shared.root) == before


def test_what_a_rule_asks_beside_a_name_is_said_with_its_count():
    rules = build_rules({"rules": [
        {"name": "a", "folders": ["*"], "marker": ["t"], "content": "cmake-cache", "older_than": "1d", "reason": "r"},
        {"name": "b", "folders": ["b"], "beside": ["x"], "unless": ["y"], "older_than": "1d", "reason": "r",
         "enabled": False}],
        "protected": [{"patterns": ["p%02d" % number for number in range(30)] + ["b"], "reason": "r"}]}, "here")
    rows = [{"kind": kind, "pattern": pattern, "paths": count} for kind, pattern, count in rules.coverage(["b/f"])]
    lines = list(engine.coverage_lines(rules, rows))
    assert lines[1:5] == ["        -  rule a  *  (by marker, content)",
                          "        1  rule b  b  (before beside, unless)  (disabled)",
                          "        1  protected  b", "protected, and match nothing now:"]
    assert len(lines) == 7 and max(map(len, lines)) <= 80 and lines[6].endswith("p29")


def test_rule_22_the_rules_command_names_every_problem_of_the_rules(shared):
    shared.set_document(shared.original)
    shared.set_rules({"protected": [], "rules": [
        {"name": "a b", "patterns": ["*"], "older_than": "soon", "reason": ""}]})
    try:
        code, out, err = shared.engine("rules", shared.inventory)
        assert (code, out) == (78, "") and len(err.splitlines()) >= 3
    finally:
        shared.set_rules(RULES)
    document = copy.deepcopy(shared.original)
    document["files"][3] = None
    shared.set_document(document)
    assert shared.engine("rules", shared.inventory) == (
        3, "", "cleanup_engine: the inventory has a row that is damaged %s\n" % TAKE)


# -- CLEANUP rule 6 at removal

def asked_again(monkeypatch, answer):
    """What MentionGuard asks, in a list, once `answer` is what it gets: a dict, or an error to be raised."""
    questions = []

    def mentions_since(document, root, names):
        questions.append(list(names))
        if isinstance(answer, Exception):
            raise answer
        return answer
    monkeypatch.setattr(inventory, "mentions_since", mentions_since, raising=False)
    return questions


ITEMS = [engine.Candidate(path="sub/a.tmp"), engine.Candidate(path="b.tmp"), engine.Candidate(path="c/a.tmp"),
         engine.Candidate(path="web/.cache", files=3, generated=True)]


def test_rule_6_what_a_file_mentions_since_the_inventory_is_kept(monkeypatch):
    questions = asked_again(monkeypatch, {"a.tmp": "bin/x\n.sh"})
    guard = engine.MentionGuard({}, None, Rules([]), ITEMS)
    assert [guard(item.path) for item in ITEMS + ITEMS] == [
        "bin/x\\n.sh mentions it since the inventory", "", "bin/x\\n.sh mentions it since the inventory", ""] * 2
    assert questions == [["a.tmp", "b.tmp"]]  # once for all, and not for what a tool makes again


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RefusedError("no luck")])
def test_rule_6_what_cannot_be_asked_again_is_kept(monkeypatch, error):
    questions = asked_again(monkeypatch, error)
    guard = engine.MentionGuard({}, None, Rules([]), ITEMS)
    text = "cannot tell whether a file mentions it since the inventory: %s" % error
    assert [guard(item.path) for item in ITEMS] == [text, text, text, ""] and len(questions) == 1


def test_rule_6_a_removal_asks_for_references_again(tree, monkeypatch):
    asked_again(monkeypatch, {"old.tmp": "run.sh"})
    assert tree.execute()[0] == (
        "OK - 0 files moved to quarantine (0 B), 1 kept: run.sh mentions it since the inventory (1)\n"
        "  skipped: old.tmp (temporary: run.sh mentions it since the inventory)\n")
    asked_again(monkeypatch, {})
    assert tree.execute()[0].startswith("OK - 1 file moved to quarantine (8 B)\n")


def test_what_only_an_abandoned_project_can_spare_stays_while_a_process_works_there(
        tree, monkeypatch):
    rules = Rules([CleanupRule(name="packages", folders=("node_modules",), stale=True)])
    where = argparse.Namespace(root=Root(str(tree.root)), rules=rules)
    plan = engine.Plan(candidates=(engine.Candidate(path="app/node_modules", rule="packages", files=1),
                            engine.Candidate(path="app/x.tmp", rule="temporary")))
    (tree.root / "app" / "src").mkdir(parents=True)
    cannot_tell = "cannot tell whether a process works in the folder that holds it"
    for folders, hidden, opened, reason in (
            ([], set(), True, ""),
            ([str(tree.root)], set(), True, ""),
            ([str(tree.root / "app" / "src")], set(), True,
             "a process works in the folder that holds it"),
            ([], {os.geteuid()}, False, cannot_tell),
            ([], {os.geteuid() + 1}, True, cannot_tell),
            ([], {os.geteuid() + 1}, False, ""),
            ([], {quarantine.SOMEBODY}, True, cannot_tell)):
        monkeypatch.setattr(engine, "is_open_to_others", {str(tree.root / "app"): opened}.get)
        monkeypatch.setattr(engine, "working_folders", (folders, hidden).__iter__)
        guard = engine.Engine._workplaces(where, plan)
        assert guard("app/node_modules") == reason
        assert guard("app/x.tmp") == ""


def test_processes_that_hide_where_they_work_are_told_by_their_user(tmp_path, monkeypatch):
    monkeypatch.setattr(sc, "PROC", str(tmp_path / "proc"))
    me = os.geteuid()
    assert quarantine.working_folders() == ([], {me, quarantine.SOMEBODY})  # no /proc
    for pid in ("1", "77", "78", str(os.getpid())):
        (tmp_path / "proc" / pid).mkdir(parents=True)
    os.symlink("/srv/app", str(tmp_path / "proc" / "77" / "cwd"))
    os.symlink("/here", str(tmp_path / "proc" / str(os.getpid()) / "cwd"))
    assert quarantine.working_folders() == (["/srv/app"], set())
    (tmp_path / "proc" / "78" / "cwd").write_text("")  # what cannot be read as a link
    assert quarantine.working_folders() == (["/srv/app"], {me})
    (tmp_path / "proc" / "78" / "cwd").unlink()
    (tmp_path / "proc" / "1").rmdir()  # hidepid=2
    assert quarantine.working_folders() == (["/srv/app"], {quarantine.SOMEBODY})


def test_a_folder_is_closed_by_any_of_those_above_it(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    tmp_path.chmod(0o700)
    assert not engine.is_open_to_others(str(folder))
    assert engine.is_open_to_others(str(folder / "gone"))
    assert engine.is_open_to_others("/usr")


# -- CLEANUP rule 9

def test_rule_9_while_another_clean_up_is_at_work_every_command_leaves_at_once(tree):
    tree.execute()
    tree.write("new.tmp", "content\n")
    tree.take()
    lock = sc.FileLock(str(tree.root / ".cleanup_quarantine" / "lock"))
    assert lock.acquire()
    before = snapshot(tree.root)
    began = time.monotonic()
    try:
        for arguments in (MODES[0], MODES[1], MODES[2]):
            assert tree.clean(*arguments) == (75, "", "cleanup_engine: another clean-up is running in %s "
                                                      "(try again when it has finished)\n" % tree.root)
        for arguments in (("restore", "old.tmp"), ("purge", "--older-than", "1s")):
            assert tree.engine(*arguments)[0] == 75
    finally:
        lock.release()
    assert time.monotonic() - began < 5
    assert snapshot(tree.root) == before
    assert tree.clean()[0] == 0


# -- CLEANUP rule 14

def test_rule_14_the_safest_rule_comes_first_then_the_oldest_then_the_path():
    rows = [row(path="b.late", mtime_ns=0, ctime_ns=0), row(path="young.tmp", mtime_ns=OLD + 2),
            row(path="z.tmp"), row(path="ctime.tmp", ctime_ns=OLD + 1), row(path="a.tmp"),
            row(path="old.tmp", mtime_ns=OLD - 2, ctime_ns=OLD - 1)]
    plan = engine.make_plan(document_of(*rows), PLAN_RULES, NOW, 1.0)
    assert [item.path for item in plan.candidates] == [
        "old.tmp", "a.tmp", "z.tmp", "ctime.tmp", "young.tmp", "b.late"]


def test_rule_14_fifty_removals_a_run_unless_told_otherwise_and_the_rest_is_said_to_be_left(tmp_path):
    tree = Tree(tmp_path / "tree", *["%02d.tmp" % number for number in range(52)] + ["00.bak"])
    found = tree.report("--max-fraction", "1")
    assert found["verdict"] == "OK - 50 files would be removed (400 B), 3 left for the next run"
    assert [found["thresholds"]["max_deletions"], len(found["candidates"])] == [50, 53]
    coming = [item["path"] for item in found["candidates"] if item["next_run"]]
    out, _ = tree.execute("--max-fraction", "1")
    assert out.startswith("OK - 50 files moved to quarantine (400 B), 3 left for the next run\n")
    assert out.count("\n  removed: ") == 50
    left = tree.there()
    assert len(left) == 3 and "00.bak" in left
    assert sorted(coming + left) == sorted(item["path"] for item in found["candidates"])
    tree.take()
    out, _ = tree.execute("--max-deletions", "2")
    assert out.startswith("OK - 2 files moved to quarantine (16 B), 1 left for the next run\n")
    assert tree.there() == ["00.bak"]


FILE, CACHE = {"size": 10}, {"size": 500, "files": 50, "generated": True}


@pytest.mark.parametrize("items, limit, expected", [
    ([FILE] * 20, 19, ""),
    ([FILE] * 21, 19, "21 of 100 files (21 %)"),
    ([FILE] * 21, 21, ""),
    ([CACHE] + [FILE] * 10, 5, ""),
    ([CACHE] + [FILE] * 11, 5, "11 of 50 files (22 %)"),
    ([dict(FILE, size=101)] * 2, 1, "202 of 1000 bytes (20 %)"),
    ([CACHE, CACHE], 1, ""),
    ([], 1, ""),
])
def test_rule_25_the_circuit_breaker_counts_what_no_tool_makes_again(items, limit, expected):
    refusal = cleanup_plan.too_much([engine.Candidate(**item) for item in items], 100, 1000, 0.2, limit)
    assert refusal.startswith(expected) and bool(refusal) == bool(expected)


def test_rule_14_too_many_files_or_bytes_and_nothing_goes(tmp_path):
    tree = Tree(tmp_path / "tree", "1.tmp", "2.tmp", "3.tmp", others=6)
    ways = (("--max-deletions", "2"), ("--max-deletions", "2", "--max-fraction", "0.25"))
    before = snapshot(tree.root, *OWN)
    for limits in ways:
        for mode in MODES:
            code, out, err = tree.clean(*(mode + limits))
            assert (code, err, out.count("REFUSED")) == (3, "", 1)
            assert out.startswith("REFUSED - 3 of 11 files (27 %)")
        found = json.loads(tree.read("cleanup_report.json"))
        assert found["verdict"].startswith("REFUSED - 3 of 11 files (27 %)")
        assert [item["path"] for item in found["candidates"]] == ["1.tmp", "2.tmp", "3.tmp"]
        assert not any(item["next_run"] for item in found["candidates"])
        assert [row["candidates"] for row in found["rules"]] == [3]
    assert snapshot(tree.root, *OWN) == before
    out, _ = tree.execute("--max-fraction", "0.3", "--max-deletions", "2")
    assert out.startswith("OK - 2 files moved to quarantine (16 B), 1 left for the next run\n")


def test_rule_25_a_refused_plan_lists_what_it_refused_and_how_to_go_on_in_every_form(tmp_path):
    tree = Tree(tmp_path / "tree", "1.tmp", "2.tmp", "3.bak", others=2)
    command = "%s --execute --max-fraction 1" % shlex.quote(tree.inventory)
    for form in ((), ("--format", "markdown"), ("--report-only",), ("--execute", "--non-interactive")):
        code, out, err = tree.clean("--max-deletions", "1", *form)
        assert (code, err) == (3, "")
        for text in ("temporary", "named as temporary", "1.tmp", "2.tmp", "3.bak", command):
            assert text in out, (form, text)
        assert out.index("REFUSED") < out.index("named as temporary") < out.index("1.tmp")
    code, out, err = tree.clean("--max-deletions", "1", "--format", "json")
    found = json.loads(out)
    assert [row["rule"] for row in found["rules"]] == ["temporary", "backups"]
    assert [item["path"] for item in found["candidates"]] == ["1.tmp", "2.tmp", "3.bak"]
    assert found["to_go_on"]["command"].endswith(command)
    done = tree.engine(*(shlex.split(found["to_go_on"]["command"])[4:] + ["--non-interactive"]))
    assert done[0] == 0 and tree.there() == []


def test_rule_25_a_refused_inventory_has_no_way_on_but_a_new_one(shared):
    shared.set_document(dict(shared.original, host="elsewhere"))
    code, out, _ = shared.clean("--format", "json")
    assert (code, json.loads(out)["to_go_on"], json.loads(out)["rules"]) == (3, None, [])


def test_rule_24_a_folder_goes_and_comes_back_as_one_and_counts_as_one(tmp_path):
    tree = Tree(tmp_path / "tree", "old.tmp", ".cache/a", ".cache/deep/b", ".cache/deep/c", rules=dict(RULES, rules=[
        {"name": "caches", "folders": [".cache/"], "older_than": "0.01s", "generated": True, "reason": "made again"},
        RULES["rules"][0]]))
    text = tree.clean("--max-deletions", "1")[1]
    assert text.startswith("OK - 1 folder would be removed (3 files, 24 B), 1 left for the next run\n")
    assert re.search(r"\n  caches +1 +3  24 B  \d+s\n      made again\n", text)
    assert re.search(r"\n    24 B  \d+s  \.cache/ \(3 files\)\n", text)
    out, run_id = tree.execute()
    assert out.startswith("OK - 1 file and 1 folder moved to quarantine (4 files, 32 B)\n")
    assert "\n  removed: .cache/, 3 files, 24 B (caches: made again)\n" in out
    out = tree.engine("restore", "--list")[1]
    assert out.startswith("OK - 1 run in quarantine: 1 file and 1 folder (4 files, 32 B)\n")
    assert "\n    caches: 1 folder (3 files, 24 B)\n" in out and "\n    temporary: 1 file (8 B)\n" in out
    code, out, _ = tree.engine("restore", run_id)
    assert (code, out) == (0, "OK - 1 file and 1 folder restored\n  restored: .cache/\n  restored: old.tmp\n")
    assert tree.read(".cache/deep/c") == "content\n"


# -- CLEANUP rule 15: the dry run

def test_rule_15_a_dry_run_changes_nothing_at_all(tmp_path):
    tree = Tree(tmp_path / "tree", "old.tmp", "sub/second.bak", "keep.tmp")
    ways = ((), ("--dry-run",), ("--format", "json"), ("--format", "markdown"), ("--max-deletions", "1"))
    for _ in ("before the first real run", "after it"):
        before = snapshot(tree.root)
        for arguments in ways:
            assert tree.clean(*arguments)[0] == 0
            assert snapshot(tree.root) == before
        tree.execute("--max-deletions", "1")
        tree.take()


def test_rule_15_report_only_writes_the_report_and_nothing_else(tree):
    before = snapshot(tree.root, "cleanup_report.json")
    tree.report()
    assert snapshot(tree.root, "cleanup_report.json") == before
    assert stat.S_IMODE((tree.root / "cleanup_report.json").stat().st_mode) == 0o600


def test_rule_15_the_dry_run_tells_exactly_what_execute_then_removes(tmp_path):
    tree = Tree(tmp_path / "tree", "1.tmp", "2.tmp", "3.tmp", "4.bak", "5.bak", "sub/keep.tmp", "linked.tmp",
                "named.tmp", "due.tmp", "open.tmp", "locked.tmp", "tracked.tmp", "later.tmp", "changed.tmp",
                "-rf/one.tmp", "é\n`|/two.tmp")
    os.link(str(tree.root / "linked.tmp"), str(tree.root / "linked.too"))
    tree.write("uses.py", "open('named.tmp')\n")
    git(tree.root, "add", "tracked.tmp")
    tree.registry(("due.tmp", AT + 3000 * DAY, "wanted"))
    tree.take()
    tree.write("changed.tmp", "another content\n")
    git(tree.root, "add", "later.tmp")
    locked = sc.FileLock(str(tree.root / "locked.tmp"))
    assert locked.acquire()
    limits = ("--max-deletions", "6", "--max-fraction", "0.9")
    with open(str(tree.root / "open.tmp")):
        found = tree.report(*limits)
        dry = tree.clean(*limits)[1]
        before = tree.there()
        out, _ = tree.execute(*limits)
    locked.release()
    going = [item["path"] for item in found["candidates"] if item["next_run"]]
    assert sorted(set(before) - set(tree.there())) == sorted(going)
    assert len(going) == 6 and "4.bak" in going and "5.bak" not in going
    assert [item["path"] for item in found["candidates"] if not item["next_run"]] == ["5.bak"]
    assert {item["path"]: item["reason"] for item in found["skipped"]} == {
        "sub/keep.tmp": "protected by 'keep*': somebody needs it", "linked.tmp": "it has 2 hard links",
        "named.tmp": "1 file mentions it", "tracked.tmp": "git tracks it", "open.tmp": "a process holds it open",
        "locked.tmp": "a process holds it open",
        "later.tmp": "git tracks it", "changed.tmp": "its size has changed",
        "due.tmp": "registered to expire at 2033-08-19T10:00:00Z"}
    assert found["verdict"] == "OK - 6 files would be removed (48 B), 4 kept, 1 left for the next run"
    assert dry.split("\n")[0] == found["verdict"]
    assert out.split("\n")[0] == "OK - 6 files moved to quarantine (48 B), 4 kept, 1 left for the next run"
    assert sorted(re.findall("\n  removed: (.*), 8 B", out)) == sorted(map(report.printable, going))
    assert "\n  skipped: later.tmp (temporary: git tracks it)\n" in out


def test_rule_15_execute_without_a_terminal_takes_non_interactive(tree):
    before = snapshot(tree.root)
    assert tree.clean("--execute") == (
        2, "", "cleanup_engine: without a terminal, --execute requires --non-interactive\n")
    assert run_script("cleanup_engine.py", tree.root, tree.inventory, "--execute")[0] == 2
    assert snapshot(tree.root) == before


# -- CLEANUP rule 15: the review on a terminal

ASK = "[y]es, [n]o, [v]iew, [a]ll the rest, [s]kip the rest, [q]uit, keep all? "
ASK_ALL = "[y]es, [n]o, [l]ist, [o]ne by one, [q]uit, keep all? "


def on_terminal(tree, answers, timeout_s=10, options=(), **more):
    """Run --execute on a terminal, answer each question in turn: (exit code, what the terminal showed)."""
    master, slave = pty.openpty()
    more.setdefault("stderr", slave)
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "cleanup_engine.py"), "--root", str(tree.root), tree.inventory, "--execute",
         "--max-fraction", "1"] + list(options), stdin=slave, stdout=slave, close_fds=True, **more)
    os.close(slave)
    shown, seen, answers = b"", 0, list(answers)
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.1)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                piece = os.read(master, 65536)
            except OSError:  # nobody has the other end any more
                break
            shown += piece
            if not piece:
                break
            if len(re.findall(br"\[q\]uit, keep all\? ", shown)) > seen and answers:
                seen += 1
                os.write(master, answers.pop(0))
        code = process.wait(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = "no end"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
    return code, shown.decode("utf-8", "replace").replace("\r\n", "\n")


@pytest.fixture
def three(tmp_path):
    """A tree with three files that may go."""
    return Tree(tmp_path / "tree", "a.tmp", "b.tmp", "c.bak")


def test_rule_15_the_review_shows_each_rule_before_it_asks_and_takes_only_what_it_was_told_to(three):
    code, shown = on_terminal(three, [b"l\n", b"o\n", b"d\n", b"k\n", b"d\n"])
    assert code == 0
    head, _, rest = shown.partition(ASK)
    assert re.sub(r"\d+s\b", "0s", head) == """\
3 files can be removed (24 B):
Candidates by rule
  rule       candidates  files  size  age
  temporary           2      2  16 B  0s
      named as temporary
  backups             1      1   8 B  0s
      copied by hand
  all                 3      3  24 B

temporary: named as temporary
  a.tmp  (8 B)
  b.tmp  (8 B)
remove all 2 of temporary (16 B)?
[y]es, [n]o, [l]ist, [o]ne by one, [q]uit, keep all? l
  a.tmp  (8 B)
  b.tmp  (8 B)
remove all 2 of temporary (16 B)?
[y]es, [n]o, [l]ist, [o]ne by one, [q]uit, keep all? o
remove 1 of 2: a.tmp  (8 B)?
"""
    assert "\nremove 2 of 2: b.tmp  (8 B)?\n" in rest
    assert "\nbackups: copied by hand\nremove 1 of 1: c.bak  (8 B)?\n[y]es" in rest
    assert "OK - 2 files moved to quarantine (16 B), 1 kept\n" in rest and three.there() == ["b.tmp"]
    assert re.search(r"to undo: python3 \S*scripts/cleanup_engine.py .*restore %s" % RUN_ID, rest)


@pytest.mark.parametrize("answers, left", [
    ([b"y\n", b"k\n"], ["c.bak"]), ([b"yes\n", b"delete\n"], []), ([b"n\n", b"d\n"], ["a.tmp", "b.tmp"]),
    ([b"No\n", b"k\n"], ["a.tmp", "b.tmp", "c.bak"]), ([b"one by one\n", b"k\n", b"d\n", b"k\n"], ["a.tmp", "c.bak"]),
    ([b"o\n", b"a\n", b"n\n"], ["c.bak"]), ([b"o\n", b"y\n", b"skip the rest\n", b"y\n"], ["b.tmp"]),
])
def test_rule_15_a_rule_is_taken_or_kept_as_a_whole_or_one_by_one(three, answers, left):
    code, shown = on_terminal(three, answers)
    assert (code, three.there()) == (0, left), shown


def test_rule_15_the_review_says_that_a_run_takes_no_more_than_its_limit(three):
    code, shown = on_terminal(three, [b"y\n", b"d\n"], options=("--max-deletions", "1"))
    assert "\nthis run removes the first 1 that you choose (--max-deletions)\n" in shown
    assert (code, three.there()) == (0, ["b.tmp", "c.bak"])


def test_rule_15_what_changed_while_it_was_asked_for_was_not_chosen():
    shown = engine.Candidate(path="a", size=1, ino=5, rule="r")
    plan = engine.Plan(candidates=(shown.replace(ino=6), shown.replace(path="b"), shown.replace(path="c")))
    items, kept = engine._split(plan, [shown, shown.replace(path="b")])
    assert [item.path for item in items] == ["b"]
    assert [(removal.path, removal.reason) for removal in kept] == [
        ("a", "it changed during the review"), ("c", "kept at the prompt")]


def test_rule_24_a_folder_is_shown_with_its_first_files_and_never_through_a_link(tree):
    for number in range(30):
        tree.write("cache/deep/%02d.bin" % number, "x" * number)
    tree.write("cache/a\x1b.bin", "x" * 2048)
    os.symlink("/etc", str(tree.root / "cache" / "link"))
    folder = engine.Candidate(path="cache", size=2483, files=32, mtime_ns=NS, ctime_ns=NS, rule="caches")
    root = Root(str(tree.root))
    lines = review._view(root, folder, 11)
    assert lines[:3] == ["  32 files, 2.4 KiB, the newest changed 10s ago", "  |   2.0 KiB  a\\x1b.bin",
                         "  |       0 B  deep/00.bin"]
    assert len(lines) == 22 and lines[-1] == "  and 12 more files"
    shutil.rmtree(str(tree.root / "cache"))
    os.symlink("/etc", str(tree.root / "cache"))
    for item in (folder, engine.Candidate(path="cache/passwd")):
        assert review._view(root, item, 11)[0].startswith("  cannot be read: ")


def test_rule_15_the_review_shows_a_file_without_obeying_what_is_in_it(tmp_path):
    tree = Tree(tmp_path / "tree")
    tree.write("odd\x1b[2J/x.tmp",
               b"first \x1b]0;owned\x07\x1b[31mred\n\xff\x01\xc2\x9b2J \xe2\x80\xae end\r\n\nlast\n")
    tree.write("long.bak", "line\n" * 5000)
    tree.take()
    code, shown = on_terminal(tree, [b"v\n", b"v\n", b"k\n", b"v\n", b"k\n"])
    assert code == 0 and tree.there() == ["long.bak", "odd\x1b[2J/x.tmp"]
    for harmful in "\x1b\x07\x00\x9b\u202e\ufffd":
        assert harmful not in shown
    assert shown.count("  | first \\x1b]0;owned\\x07\\x1b[31mred\n"
                       "  | \\xff\\x01\\x9b2J \\u202e end\n  | \n  | last\n") == 2
    assert len(re.findall("^  47 B, changed [0-9]+s ago, mode 644$", shown, re.M)) == 2
    assert 10 <= shown.count("  | line\n") <= 100 and len(shown) < 5000


@pytest.mark.parametrize("data, lines", [
    (b"\x7fELF\0" + b"x" * 6139, ["  | binary, 6.0 KiB"]),
    (b"x" * 2000, ["  | " + "x" * 73 + "..."]), (b"x" * 76, ["  | " + "x" * 76]), (b"x" * 1024 + b"\0", None)])
def test_a_view_says_of_a_binary_file_what_it_is_and_cuts_long_lines(tree, monkeypatch, data, lines):
    monkeypatch.setenv("COLUMNS", "80")
    tree.write("a.bin", data)
    lines = lines or ["  | " + "x" * 73 + "..."]
    assert review._first_lines(Root(str(tree.root)), "a.bin") == lines


@pytest.mark.parametrize("answers", [[b"q\n"], [b"y\n", b"q\n"], [b"o\n", b"d\n", b"d\n", b"quit\n"], [b"\x04"],
                                     [b"y\n", b"\x04"], [b"o\n", b"d\n", b"\x04"]],
                         ids=["at once", "after a rule", "at the last", "end of input", "end of input at the last",
                              "end of input within a rule"])
def test_rule_15_quitting_removes_nothing_also_of_what_was_chosen_and_says_so(three, answers):
    before = snapshot(three.root, *OWN)
    code, shown = on_terminal(three, answers)
    assert code == 0
    assert "OK - quit: nothing was removed, all candidates are kept\n" in shown and "at the prompt" not in shown
    assert snapshot(three.root, *OWN) == before


def test_rule_18_a_review_that_takes_nothing_does_not_say_that_nothing_was_due(three):
    code, shown = on_terminal(three, [b"n\n", b"n\n"])
    assert code == 0 and three.there() == ["a.tmp", "b.tmp", "c.bak"]
    assert "\n  skipped: " not in shown  # whoever answered knows
    assert "OK - 0 files moved to quarantine (0 B)" in shown
    assert "nothing was due" not in shown  # three files were, and somebody decided otherwise


def test_rule_15_the_review_asks_again_after_an_answer_that_is_none(three):
    junk = [b"\n", b"x\n", b"yep\n", b"1\n", b"  \n", b"\xc3\xa9\n", b"d\n", b"delete\n", b"a\n", b"?\n"]
    junk_of_one = [b"\n", b"?\n", b"all\n", b"del\n"]
    code, shown = on_terminal(three, junk + [b"O\n"] + junk_of_one + [b"D\n", b"K\n", b" k \n"])
    assert code == 0 and (shown.count(ASK_ALL), shown.count(ASK)) == (11, 7)
    assert "'yep' is not one of the answers:\n  y  yes: remove all of them\n" in shown
    assert three.there() == ["b.tmp", "c.bak"]


@pytest.mark.parametrize("answer", [b"don't\n", b"dunno\n", b"d?\n"])
def test_rule_15_an_answer_that_only_begins_like_delete_deletes_nothing(tree, answer):
    _, shown = on_terminal(tree, [answer, b"q\n"])
    assert shown.count(ASK) == 2 and tree.there() == ["old.tmp"]


def test_rule_15_the_question_stands_on_the_terminal_when_errors_go_elsewhere(tree):
    code, shown = on_terminal(tree, [b"k\n"], 3, stderr=subprocess.DEVNULL)
    assert (code, shown.count(ASK)) == (0, 1)


def test_rule_15_a_name_that_the_terminal_cannot_show_is_asked_for_all_the_same(tmp_path):
    tree = Tree(tmp_path / "tree", "é/x.tmp")
    code, shown = on_terminal(tree, [b"d\n"], env=dict(os.environ, PYTHONIOENCODING="ascii"))
    assert (code, tree.there()) == (0, []), shown


def test_rule_15_a_review_with_nothing_to_ask_for_does_not_ask(tmp_path):
    tree = Tree(tmp_path / "tree", "keep.tmp")
    code, shown = on_terminal(tree, [])
    assert code == 0 and ASK not in shown
    assert "OK - 0 files to remove (1 matched by a rule, but kept)\n" in shown


# -- CLEANUP rules 17 and 18: the way back

def clean_tree(folder):
    tree = Tree(folder, "a.tmp", "sub/b.tmp", "sub/deep/c.bak")
    seen = snapshot(tree.root)
    tree.facts = {path: seen[os.fsencode(path)] for path in tree.there()}
    tree.run_id = tree.execute()[1]
    assert tree.there() == []
    return tree


@pytest.fixture
def cleaned(kept):
    """A tree from which three files were removed, with the id of the run."""
    return kept(clean_tree)


def test_rule_17_a_run_is_put_back_as_it_was(cleaned):
    assert cleaned.engine("restore", cleaned.run_id) == (
        0, "OK - 3 files restored\n  restored: a.tmp\n  restored: sub/b.tmp\n  restored: sub/deep/c.bak\n", "")
    after = snapshot(cleaned.root)
    for path, facts in cleaned.facts.items():
        found = after[os.fsencode(path)]
        assert found[:5] + found[6:] == facts[:5] + facts[6:]  # ctime alone moves with a rename
    assert cleaned.engine("restore", cleaned.run_id) == (
        2, "", "cleanup_engine: run %s is not in quarantine (runs in quarantine: none)\n" % cleaned.run_id)


@pytest.mark.parametrize("path", ["sub/b.tmp", "ROOT/sub/b.tmp", "ROOT/sub/../sub/b.tmp", "ROOT/./sub/b.tmp"])
def test_rule_17_one_path_is_put_back_relative_to_the_root_or_absolute(cleaned, tmp_path, path):
    (tmp_path / "elsewhere").mkdir()
    done = run_script("cleanup_engine.py", cleaned.root, "restore", path.replace("ROOT", str(cleaned.root)),
                      cwd=str(tmp_path / "elsewhere"))
    assert done == (0, "OK - 1 file restored\n  restored: sub/b.tmp\n", "")
    assert cleaned.there() == ["sub/b.tmp"]


@pytest.mark.parametrize("target, code, text", [
    ("20200101T000000Z-1", 2, "run 20200101T000000Z-1 is not in quarantine (runs in quarantine: RUN)"),
    ("never.tmp", 2, "'never.tmp' is not in quarantine (runs in quarantine: RUN)"),
    ("su", 2, "'su' is not in quarantine (runs in quarantine: RUN)"),
    ("odd\x1b.tmp", 2, "'odd\\x1b.tmp' is not in quarantine (runs in quarantine: RUN)"),
    ("/etc/passwd", 2, "'/etc/passwd' is not below the root ROOT"),
    ("ROOT", 2, "'ROOT' is not below the root ROOT"),
    ("ROOT/../outside.tmp", 2, "'ROOT/../outside.tmp' is not below the root ROOT"),
    ("../a.tmp", 3, "restore: '../a.tmp' is not a path below the root"),
    ("sub/../a.tmp", 3, "restore: 'sub/../a.tmp' is not a path below the root"),
    ("..", 3, "restore: '..' is not a path below the root"),
    ("", 3, "restore: '''' is not a path below the root"),
])
def test_rule_17_what_is_not_there_or_leads_out_of_the_root_is_not_restored(cleaned, target, code, text):
    def filled(words):
        return words.replace("ROOT", str(cleaned.root)).replace("RUN", cleaned.run_id)
    before = snapshot(cleaned.root)
    assert cleaned.engine("restore", filled(target)) == (code, "", "cleanup_engine: %s\n" % filled(text))
    assert snapshot(cleaned.root) == before


def test_rule_17_restoring_goes_on_after_a_file_that_cannot_be_put_back(cleaned):
    cleaned.write("sub/b.tmp", "new work\n")
    code, out, err = cleaned.engine("restore", cleaned.run_id)
    assert (code, err) == (1, "")
    assert out == ("WARNING - 2 files restored, 1 failed\n  restored: a.tmp\n"
                   "  failed: sub/b.tmp (its place is taken)\n  restored: sub/deep/c.bak\n")
    assert cleaned.read("sub/b.tmp") == "new work\n"
    code, out, _ = cleaned.engine("restore", "sub/b.tmp")
    assert (code, out.split("\n")[0]) == (1, "WARNING - 0 files restored, 1 failed")


HOW_TO_RESTORE = re.compile(r"  to restore: python3 \S+/cleanup_engine.py --root \S+ restore RUN_ID\n"
                            r"  for its paths: the same with --list; to another place: with --to DIR\n\Z")


def test_what_is_in_quarantine_is_listed_by_run_and_rule(cleaned):
    before = snapshot(cleaned.root)
    name = cleaned.run_id
    code, out, err = cleaned.engine("restore", "--list")
    day = time.strftime("%Y-%m-%d", time.gmtime(sc.from_iso(re.sub(
        r"(....)(..)(..)T(..)(..)(..)Z.*", r"\1-\2-\3T\4:\5:\6Z", name)) + 14 * DAY))
    assert (code, err) == (0, "") and HOW_TO_RESTORE.search(out)
    assert re.sub(r"\d+s ago", "0s ago", out[:out.index("  to restore")]) == """\
OK - 1 run in quarantine: 3 files (24 B)
  %s  0s ago, 3 files (24 B)
    purged after %s
    temporary: 2 files (16 B)
    backups: 1 file (8 B)
""" % (name, day)
    assert cleaned.engine("restore", name, "--list") == (
        0, "OK - 3 files in run %s (24 B)\n  a.tmp  (8 B, temporary)\n  sub/b.tmp  (8 B, temporary)\n"
           "  sub/deep/c.bak  (8 B, backups)\n" % name, "")
    assert snapshot(cleaned.root) == before


def test_restore_alone_says_what_there_is_and_what_it_takes(cleaned, tree):
    code, out, err = cleaned.engine("restore")
    assert (code, out.splitlines()[0]) == (2, "OK - 1 run in quarantine: 3 files (24 B)")
    assert err == "cleanup_engine: restore requires a RUN_ID or a PATH\n"
    before = snapshot(tree.root)
    assert tree.engine("restore", "--list") == (0, "OK - nothing is in quarantine\n", "")
    assert tree.engine("restore", "20250601T100000Z-1", "--list") == (
        2, "", "cleanup_engine: run 20250601T100000Z-1 is not in quarantine (restore --list shows the runs)\n")
    assert snapshot(tree.root) == before


def test_the_rule_of_what_the_log_no_longer_tells_is_unknown(cleaned):
    log = cleaned.root / "cleanup_actions.log"
    text = log.read_text().splitlines()
    first = [line for line in text if '"intent"' in line][0]
    log.write_text("\n".join([line for line in text if line != first] + ['{"event": "intent", "run": [', first[:40]]))
    out = cleaned.engine("restore", "--list")[1]
    assert "\n    rule unknown: 1 file (8 B)\n" in out and "\n    temporary: 1 file (8 B)\n" in out


def test_a_folder_in_quarantine_is_listed_as_one(cleaned, monkeypatch):
    Held = quarantine.Held
    monkeypatch.setattr(engine.Quarantine, "held", lambda self, run: [
        Held(path="a.tmp", size=8), Held(path="web/.cache", files=420, size=12 << 20),
        Held(path="web/empty", is_empty=True)], raising=False)
    out = cleaned.engine("restore", "--list")[1]
    assert out.startswith("OK - 1 run in quarantine: 1 file and 1 folder (421 files, 12.0 MiB)\n")
    assert "\n    temporary: 1 file (8 B)\n    rule unknown: 1 folder (420 files, 12.0 MiB)\n" in out
    out = cleaned.engine("restore", cleaned.run_id, "--list")[1]
    assert "\n  web/.cache/  (420 files, 12.0 MiB, rule unknown)\n  web/empty/  (was left empty)\n" in out
    monkeypatch.setattr(engine.Quarantine, "restore", lambda self, target: [
        Removal(path="a.tmp", outcome="restored"), Removal(path="web/.cache", files=420, outcome="restored"),
        Removal(path="web/empty", outcome="restored", reason="owner could not be given back")])
    assert cleaned.engine("restore", cleaned.run_id)[1] == (
        "OK - 1 file and 1 folder restored\n  restored: a.tmp\n  restored: web/.cache/\n"
        "  restored: web/empty/ (owner could not be given back)\n")


def test_a_run_is_restored_to_another_folder(cleaned, tmp_path):
    (tmp_path / "there").mkdir()
    code, out, err = cleaned.engine("restore", cleaned.run_id, "--to", str(tmp_path / "there"))
    assert (code, err) == (0, "") and out == (
        "OK - 3 files restored to %s\n  restored: a.tmp\n  restored: sub/b.tmp\n  restored: sub/deep/c.bak\n"
        % (tmp_path / "there"))
    assert cleaned.there() == []
    assert (tmp_path / "there" / "sub" / "deep" / "c.bak").read_text() == "content\n"


@pytest.fixture
def days_later(monkeypatch):
    """Moves the clocks of this process and its children; nothing can move the ctime of a file in quarantine back."""
    real, (boot_id, uptime) = time.time, quarantine.boot_now()

    def move(days, boot_too=True):
        monkeypatch.setattr(time, "time", lambda: real() + days * DAY + 5)
        monkeypatch.setattr(quarantine, "boot_now", lambda: (boot_id, uptime + boot_too * (days * DAY + 60)))
    return move


def test_rule_17_purge_needs_an_age(cleaned):
    before = snapshot(cleaned.root)
    assert cleaned.engine("purge") == (2, "", "cleanup_engine: purge requires an age: --older-than 14d\n")
    for wrong in ("14", "soon", "", "14 d", "d", "nan", "1e9d"):
        code, out, err = cleaned.engine("purge", "--older-than", wrong)
        assert (code, out) == (2, "")
        assert "is not a duration; write a number and a unit (s, m, h, d, w), such as " in err
    assert snapshot(cleaned.root) == before


def test_rules_17_and_18_purge_says_what_it_deletes_and_what_it_would(cleaned, days_later):
    name = cleaned.run_id
    days_later(15)
    before = snapshot(cleaned.root)
    assert cleaned.engine("purge", "--older-than", "14d", "--dry-run") == (
        0, "OK - 3 files would be deleted (24 B)\n  %s: 3 files, 24 B\n" % name, "")
    assert snapshot(cleaned.root) == before
    assert cleaned.engine("purge", "--older-than", "14d") == (
        0, "OK - 3 files deleted (24 B)\n  %s: 3 files, 24 B\n" % name, "")
    assert cleaned.engine("restore", name)[0] == 2
    assert cleaned.engine("purge", "--older-than", "14d") == (
        0, "OK - 0 files deleted (0 B): nothing is in quarantine\n", "")


def test_rule_21_a_purge_that_the_clock_of_the_boot_contradicts_says_so(cleaned, days_later):
    days_later(400, boot_too=False)
    code, out, err = cleaned.engine("purge", "--older-than", "14d")
    assert (code, err) == (0, "")
    assert out.startswith("OK - 0 files deleted (0 B), 1 run kept: the clock may be wrong\n  note: ")
    assert cleaned.engine("restore", cleaned.run_id)[0] == 0


def test_a_purge_goes_by_the_newest_change_whatever_the_run_is_called(cleaned):
    """A review that was left open, or a clock that was behind, names a run after a time long past."""
    folder = cleaned.root / ".cleanup_quarantine"
    (folder / cleaned.run_id).rename(folder / "20200101T000000Z-1")
    assert cleaned.engine("purge", "--older-than", "14d")[1].startswith("OK - 0 files deleted (0 B): the oldest of")
    assert (folder / "20200101T000000Z-1" / "a.tmp").exists()


def test_rule_18_a_purge_that_deletes_nothing_says_why(cleaned, days_later):
    days_later(13)
    before = snapshot(cleaned.root, *OWN)
    assert cleaned.engine("purge", "--older-than", "14d") == (
        0, "OK - 0 files deleted (0 B): the oldest of 1 run is 13d old\n", "")
    assert cleaned.engine("purge", "--older-than", "2w", "--dry-run") == (
        0, "OK - 0 files would be deleted (0 B): the oldest of 1 run is 13d old\n", "")
    assert snapshot(cleaned.root, *OWN) == before
    assert cleaned.engine("restore", "a.tmp")[0] == 0


def test_rule_18_a_dry_purge_of_a_tree_that_was_never_cleaned_makes_nothing(tree):
    before = snapshot(tree.root)
    assert tree.engine("purge", "--older-than", "1d", "--dry-run") == (
        0, "OK - 0 files would be deleted (0 B): nothing is in quarantine\n", "")
    assert snapshot(tree.root) == before


def test_rule_18_no_rule_names_a_file_and_the_verdict_says_so(tmp_path):
    tree = Tree(tmp_path / "tree")
    text = "OK - 0 files to remove"
    assert tree.clean()[1].split("\n")[0] == text
    assert tree.execute()[0] == text + "\n"


def test_rule_18_all_that_is_named_is_kept_and_the_verdict_says_so(tmp_path):
    tree = Tree(tmp_path / "tree", "keep.tmp", "keep.bak")
    text = "OK - 0 files to remove (2 matched by a rule, but kept)"
    assert tree.clean()[1].split("\n")[0] == text
    assert tree.execute()[0] == text + "\n"


def test_rule_18_everything_changed_since_the_inventory_and_the_verdict_says_so(tmp_path):
    tree = Tree(tmp_path / "tree", "a.tmp", "b.tmp", "c.tmp")
    os.unlink(str(tree.root / "c.tmp"))
    git(tree.root, "add", "a.tmp", "b.tmp")
    text = "(0 B), 2 kept: git tracks it (2), 1 gone"
    assert tree.clean()[1].split("\n")[0] == "OK - 0 files would be removed " + text
    out, run_id = tree.execute()
    assert out == ("OK - 0 files moved to quarantine " + text + "\n"
                   "  skipped: a.tmp (temporary: git tracks it)\n"
                   "  skipped: b.tmp (temporary: git tracks it)\n"
                   "  gone: c.tmp (temporary)\n")


def test_rule_18_a_removal_that_fails_warns_and_exits_with_1():
    results = [Removal(path="a", outcome="removed", size=2048), Removal(path="b", outcome="failed", reason="no luck")]
    assert engine.verdict(engine.Plan(), results, True) == (
        "WARNING - 1 file moved to quarantine (2.0 KiB), 1 kept")
    assert engine.verdict(engine.Plan(refused="why"), [], True) == "REFUSED - why"


@pytest.mark.parametrize("items, words", [
    ([], ("0 files", "0 B")),
    ([{}], ("1 file", "1.0 KiB")),
    ([{}] * 12, ("12 files", "12.0 KiB")),
    ([{"files": 1}], ("1 folder", "1 file, 1.0 KiB")),
    ([{"files": 200}, {"files": 219}], ("2 folders", "419 files, 2.0 KiB")),
    ([{}, {"files": 419}, {}], ("2 files and 1 folder", "421 files, 3.0 KiB")),
])
def test_a_folder_that_goes_as_one_is_counted_as_one(items, words):
    items = [Removal(size=1024, **item) for item in items]
    assert counted(items) == words
    if items:
        verdict = engine.verdict(engine.Plan(), [item.replace(outcome="removed") for item in items], True)
        assert verdict == "OK - %s moved to quarantine (%s)" % words


@pytest.mark.parametrize("moved, text", [
    (2, "2 files moved to quarantine (3.0 KiB), then: "), (0, "nothing was moved to quarantine: ")])
def test_a_disk_that_is_full_in_mid_run_is_said_with_what_was_moved_and_how_to_undo_it(tree, monkeypatch, moved, text):
    error = sc.StorageError("cannot append to LOG: No space left on device")

    def remove(self, candidates, guards, limit):
        self.run_id = "20250602T100000Z-7"
        for path in ("a.tmp", "b.tmp")[:moved]:
            yield Removal(path=path, outcome="removed", size=1536, rule="temporary", reason="named so")
        raise error

    monkeypatch.setattr(engine.Quarantine, "remove", remove)
    code, out, err = tree.clean("--execute", "--non-interactive")
    assert (code, err) == (74, "cleanup_engine: %s\n" % error)
    lines = out.splitlines()
    assert lines[0] == "WARNING - %s%s" % (text, error) and "nothing was due" not in out
    assert [line for line in lines if line.startswith("  removed: ")] == [
        "  removed: %s, 1.5 KiB (temporary: named so)" % path for path in ("a.tmp", "b.tmp")[:moved]]
    assert ("restore 20250602T100000Z-7 (until" in out) == bool(moved)


def test_a_registry_that_is_damaged_stops_everything(tree):
    (tree.root / ".cleanup_registry.json").write_text("{")
    for mode in MODES:
        code, out, err = tree.clean(*mode)
        assert code == 3 and ".cleanup_registry.json cannot be used" in out + err
    assert tree.there() == ["old.tmp"]


# -- the report as a document

def test_the_report_says_all_there_is_to_say_in_a_fixed_form(tmp_path):
    tree = Tree(tmp_path / "tree", "gone.tmp")
    run_id = tree.execute()[1]
    tree.write("old.tmp", "content\n")
    oldest = tree.newest
    tree.write("keep.bak", "content\n")
    document = tree.take()
    before = time.time()
    soon = int(before) + 13 * DAY
    tree.registry(("soon.bin", soon, "a preview"), ("later.bin", soon + 2 * DAY, "another"))
    found = tree.report()
    at = sc.from_iso(found.pop("at"))
    assert found.pop("to_list_all").endswith(" --root %s %s --dry-run --all" % (tree.root, tree.inventory))
    disk, restore = found.pop("disk"), found["removed"][0].pop("restore")
    age_s = found["inventory"].pop("age_s")
    run_at = found["removed"][0].pop("at")
    assert before - 1 <= at <= time.time() and 0 <= age_s < time.time() - oldest + 1  # in whole seconds
    assert sorted(disk) == ["free_bytes", "free_inodes_percent", "free_percent"]
    assert disk["free_bytes"] > 0 and 0 < disk["free_percent"] <= 100
    assert disk["free_inodes_percent"] is None or 0 < disk["free_inodes_percent"] <= 100
    assert restore.startswith("python3 ") and restore.endswith(" restore " + run_id)
    assert re.sub("[-:]", "", run_at) == run_id.split("-")[0]
    assert 0 <= found["candidates"][0].pop("age_s") <= time.time() - oldest
    ages = [found["rules"][0].pop(key) for key in ("youngest_s", "oldest_s")]
    assert 0 <= ages[0] == ages[1] <= time.time() - oldest
    assert found == {
        "format": 1, "verdict": "OK - 1 file would be removed (8 B)", "refused": "",
        "root": str(tree.root), "host": socket.gethostname(), "head": git(tree.root, "rev-parse", "HEAD").strip(),
        "inventory": {"files": 24, "bytes": sum(one[2] for one in document["files"])},
        "thresholds": {"max_deletions": 50, "max_fraction": 0.2, "max_age_s": 93600},
        "change": None, "not_compared": "", "to_go_on": None,
        "rules": [{"rule": "temporary", "reason": "named as temporary", "candidates": 1, "files": 1, "bytes": 8}],
        "removed": [{"run": run_id, "files": 1, "bytes": 8, "purge_after": sc.iso(sc.from_iso(run_at) + 14 * DAY)}],
        "candidates": [{"path": "old.tmp", "size": 8, "files": 0, "rule": "temporary", "reason": "named as temporary",
                        "saved_by": "add a protected pattern to config/cleanup_rules.json, or git add it",
                        "next_run": True}],
        "skipped": [{"path": "keep.bak", "rule": "backups", "reason": "protected by 'keep*': somebody needs it"}],
        "expiring": [{"path": "soon.bin", "expires": sc.iso(soon), "reason": "a preview"}],
        "automations": {"verdict": "no conductor configuration", "unwell": []}, "notes": [],
    }


def test_what_would_save_a_file_depends_on_what_git_says_of_it(tmp_path):
    tree = Tree(tmp_path / "tree", "ignored.tmp", "new.tmp")
    tree.write(".gitignore", "ignored.tmp\n")
    tree.take()
    assert {item["path"]: item["saved_by"] for item in tree.report()["candidates"]} == {
        "ignored.tmp": "add a protected pattern to config/cleanup_rules.json",
        "new.tmp": "add a protected pattern to config/cleanup_rules.json, or git add it"}


def test_a_report_that_cannot_be_written_leaves_the_last_one_and_says_so(tree):
    tree.report()
    before = snapshot(tree.root, "cleanup_report.json.tmp")

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    code, out, err = run_script("cleanup_engine.py", tree.root, tree.inventory, "--report-only", preexec_fn=small_disk)
    assert (code, out) == (74, "")
    assert err == "cleanup_engine: cannot write %s/cleanup_report.json: File too large\n" % tree.root
    assert snapshot(tree.root, "cleanup_report.json.tmp") == before
    os.unlink(str(tree.root / "cleanup_report.json.tmp"))
    assert tree.report()["change"]["new"] == []


def test_the_change_since_the_last_report_is_told(tmp_path):
    tree = Tree(tmp_path / "tree", "a.tmp", "b.tmp")
    first = tree.report()
    assert first["change"] is None and "\nThere is no earlier report to compare with.\n" in report.table(first)
    second = tree.report()
    assert second["change"] == {"since": first["at"], "new": [], "gone": [], "bytes": 0}
    assert "\nNo change since %s.\n" % first["at"] in report.table(second)
    os.unlink(str(tree.root / "a.tmp"))
    tree.write("c.tmp", "x" * 100)
    tree.write("d.tmp", "x" * 100)
    tree.take()
    third = tree.report()
    assert third["change"] == {"since": second["at"], "new": ["c.tmp", "d.tmp"], "gone": ["a.tmp"], "bytes": 192}
    assert "\nSince %s: 2 new, 1 gone, +192 B.\n" % second["at"] in report.table(third)
    for name in ("c.tmp", "d.tmp"):
        os.unlink(str(tree.root / name))
    tree.take()
    code, out, _ = tree.clean()  # a dry run compares as well
    assert code == 0 and "\nSince %s: 0 new, 2 gone, -200 B.\n" % third["at"] in out


@pytest.mark.parametrize("damaged", [
    b"", b"{", b"\xff\xfe", b"[]", b"null", b"3", b"{}", b'{"at": "2025-06-02T10:00:00Z"}',
    b'{"at": "2025-06-02T10:00:00Z", "candidates": 3}', b'{"at": "2025-06-02T10:00:00Z", "candidates": {}}',
    b"[" * 100000, b'{"candidates": []}', b'{"candidates": [], "at": [1]}'],
    ids=["empty", "cut", "no text", "a list", "null", "a number", "an empty object", "no candidates",
         "3 for candidates", "an object for candidates", "deep", "no time", "a list for the time"])
def test_a_damaged_last_report_counts_as_none(shared, damaged):
    shared.set_document(shared.original)
    (shared.root / "cleanup_report.json").write_bytes(damaged)
    found = shared.report()
    assert found["change"] is None
    if found["not_compared"]:
        assert found["not_compared"] == "cleanup_report.json is damaged"
        assert "\nNot compared with the last report: cleanup_report.json is damaged.\n" in report.table(found)


def test_a_last_report_that_cannot_be_read_is_not_taken_for_none(tree):
    os.symlink("elsewhere.json", str(tree.root / "cleanup_report.json"))
    found = json.loads(tree.clean("--format", "json")[1])
    assert (found["change"], found["not_compared"]) == (None, "cleanup_report.json cannot be read: Is a symbolic link")


def test_odd_entries_of_the_last_report_do_no_harm():
    previous = {"at": "2025-06-02T10:00:00Z", "candidates": [
        1, None, {"path": 3, "size": "x"}, {"path": "a", "size": None}, {"size": 5}, {"path": "b", "size": 7}]}
    assert report.change_since(previous, [{"path": "b", "size": 9}]) == {
        "since": "2025-06-02T10:00:00Z", "new": [], "gone": ["3", "None", "a"], "bytes": -3}


def test_registered_files_are_told_of_when_they_expire_within_14_days(tree):
    root = Root(str(tree.root))
    now = AT
    tree.registry(("later.bin", now + 15 * DAY, ""), ("soon.bin", now + 13 * DAY, "a | `build`"),
                  ("limit.bin", now + 14 * DAY, ""), ("beyond.bin", now + 14 * DAY + 1, ""), ("z.bin", now - 5, ""),
                  ("due.bin", now - 5, ""))
    assert report.expiring(root, now) == [
        {"path": "due.bin", "expires": "2025-06-02T09:59:55Z", "reason": ""},
        {"path": "z.bin", "expires": "2025-06-02T09:59:55Z", "reason": ""},
        {"path": "soon.bin", "expires": "2025-06-15T10:00:00Z", "reason": "a | `build`"},
        {"path": "limit.bin", "expires": "2025-06-16T10:00:00Z", "reason": ""}]


def test_automations_that_are_not_well_are_told_of(tree):
    tree.configure({"name": "odd", "command": "true", "schedule": "@reboot"},
                   {"name": "fresh", "command": "true", "schedule": "@reboot"})
    folder = tree.root / "status" / "automation_health"
    folder.mkdir(mode=0o700, parents=True)
    (folder / "odd.health").write_text("rubbish\n")
    found = tree.report()["automations"]
    assert [(each["name"], each["state"]) for each in found["unwell"]] == [("odd", "unknown")]
    assert found["unwell"][0]["reason"] and found["verdict"].startswith("WARNING - ")
    tree.write_config("{")
    found = tree.report()["automations"]
    assert found["verdict"].startswith("CRITICAL - there is no usable configuration") and found["unwell"] == []


def test_a_configuration_that_cannot_be_looked_at_is_not_taken_for_none(tree):
    path = tree.root / "config" / "conductor_config.json"
    path.symlink_to(path)
    assert report.automations(Root(str(tree.root))) == {
        "verdict": "UNKNOWN - cannot open the configuration: Too many levels of symbolic links", "unwell": []}


# -- the report as a page

DOCUMENT = {
    "format": 1, "at": "2025-06-02T10:00:00Z", "verdict": "OK - 1 file would be removed (2.0 KiB), 1 kept",
    "refused": "", "root": "/srv/my_project", "host": "build-1", "head": "0123abcd",
    "inventory": {"age_s": 3700.5, "files": 1200, "bytes": 3 << 20},
    "thresholds": {"max_deletions": 50, "max_fraction": 0.2, "max_age_s": 93600},
    "change": {"since": "2025-06-01T10:00:00Z", "new": ["a.tmp"], "gone": [], "bytes": 2048},
    "removed": [{"run": "R-7", "at": "2025-06-01T10:00:00Z", "files": 3, "bytes": 4096,
                 "restore": "python3 scripts/cleanup_engine.py restore R-7",
                 "purge_after": "2025-06-15T10:00:00Z"}],
    "not_compared": "", "to_go_on": None, "to_list_all": "python3 engine i.json --dry-run --all",
    "rules": [{"rule": "temporary", "reason": "named so", "candidates": 1, "files": 1, "bytes": 2048,
               "youngest_s": 15 * DAY, "oldest_s": 15 * DAY},
              {"rule": "caches", "reason": "made again", "candidates": 1, "files": 420, "bytes": 12 << 20,
               "youngest_s": 31 * DAY + 7200, "oldest_s": 400 * DAY}],
    "candidates": [{"path": "a.tmp", "size": 2048, "files": 0, "age_s": 15 * DAY, "rule": "temporary",
                    "reason": "named so", "saved_by": "git add", "next_run": True},
                   {"path": "web/.cache", "size": 12 << 20, "files": 420, "age_s": 31 * DAY, "rule": "caches",
                    "reason": "made again", "saved_by": "add a protected pattern", "next_run": True}],
    "skipped": [{"path": "lib/b.bak", "rule": "backups", "reason": "1 file mentions it"}],
    "expiring": [{"path": "out/c.html", "expires": "2025-06-15T10:00:00Z", "reason": "a preview"}],
    "automations": {"verdict": "WARNING - 1 of 2 late", "unwell": [
        {"name": "backup", "state": "late", "reason": "3h after its slot"}]},
    "disk": {"free_bytes": 5 << 30, "free_percent": 12.5, "free_inodes_percent": 80.0}, "notes": [],
}

PAGE = r"""**OK - 1 file would be removed (2.0 KiB), 1 kept**

Since 2025-06-01T10:00:00Z: 1 new, 0 gone, +2.0 KiB.

### Candidates by rule

| rule | candidates | files | size | age | reason |
|---|---|---|---|---|---|
| temporary | 1 | 1 | 2.0 KiB | 15d | named so |
| caches | 1 | 420 | 12.0 MiB | 31d to 400d | made again |

### Candidates

| path | size | age | rule | reason | to keep it |
|---|---|---|---|---|---|
| `a.tmp` | 2.0 KiB | 15d | temporary | named so | git add |
| `web/.cache/` (420 files) | 12.0 MiB | 31d | caches | made again | add a protected pattern |

### Matched by a rule, but kept

| path | rule | why |
|---|---|---|
| `lib/b.bak` | backups | 1 file mentions it |

### Removed files that can be restored

| when | files | size | restore with | purged after |
|---|---|---|---|---|
| 2025-06-01T10:00:00Z | 3 | 4.0 KiB | `python3 scripts/cleanup_engine.py restore R-7` | 2025-06-15T10:00:00Z |

### Registered files that expire within 14 days

| path | expires | reason |
|---|---|---|
| `out/c.html` | 2025-06-15T10:00:00Z | a preview |

### Automations: WARNING - 1 of 2 late

| name | state | why |
|---|---|---|
| backup | late | 3h after its slot |

Disk: 5.0 GiB free (12.5 %), inodes: 80.0 % free

<details><summary>Thresholds and origin</summary>

- root: /srv/my\_project
- host: build-1
- HEAD: 0123abcd
- inventory: 1h 1m old, 1200 files, 3.0 MiB
- max. deletions per run: 50
- max. part of the tree: 20 % of files or bytes, without what tools make again
- max. age of the inventory: 1d 2h

</details>

<!-- symphony-conductor: clean-up report -->"""

TABLE = """OK - 1 file would be removed (2.0 KiB), 1 kept
Since 2025-06-01T10:00:00Z: 1 new, 0 gone, +2.0 KiB.

Candidates by rule
  rule       candidates  files      size  age
  temporary           1      1   2.0 KiB  15d
      named so
  caches              1    420  12.0 MiB  31d to 400d
      made again
  all                 2    421  12.0 MiB

Candidates
  temporary
    2.0 KiB  15d  a.tmp
  caches
    12.0 MiB  31d  web/.cache/ (420 files)
  to keep one: add a protected pattern

Matched by a rule, but kept
  lib/b.bak (backups: 1 file mentions it)

Removed files that can be restored
  run  files     size  purged after
  R-7      3  4.0 KiB  2025-06-15T10:00:00Z
  to restore the latest: python3 scripts/cleanup_engine.py restore R-7

Registered files that expire within 14 days
  path        expires               reason
  out/c.html  2025-06-15T10:00:00Z  a preview

Automations: WARNING - 1 of 2 late
  name    state  why
  backup  late   3h after its slot

Disk: 5.0 GiB free (12.5 %), inodes: 80.0 % free
  root: /srv/my_project
  host: build-1
  HEAD: 0123abcd
  inventory: 1h 1m old, 1200 files, 3.0 MiB
  max. deletions per run: 50
  max. part of the tree: 20 % of files or bytes, without what tools make again
  max. age of the inventory: 1d 2h"""


def test_the_page_of_a_small_report():
    assert report.markdown(DOCUMENT) == PAGE


def test_the_table_of_a_small_report():
    assert report.table(DOCUMENT) == TABLE


QUIET = dict(DOCUMENT, removed=[], rules=[], candidates=[], skipped=[], expiring=[], head=None, change=None,
             automations={"verdict": "OK - 2 up", "unwell": []}, inventory={"age_s": None, "files": 0, "bytes": 0},
             disk={"free_bytes": 0, "free_percent": None, "free_inodes_percent": None})


def test_a_report_with_nothing_in_it_says_so_in_each_place():
    page = report.markdown(QUIET)
    assert re.findall("^###.*\n\n.*$", page, re.M) == [
        "### Candidates by rule\n\nnone", "### Candidates\n\nnone", "### Matched by a rule, but kept\n\nnone",
        "### Removed files that can be restored\n\nnothing is in quarantine",
        "### Registered files that expire within 14 days\n\nnone",
        "### Automations: OK - 2 up\n\nno problems"]
    assert "inodes: not counted by this file system\n" in page
    assert "- HEAD: none\n- inventory: age unknown, 0 files, 0 B\n" in page
    assert "|" not in page
    assert ("\nCandidates by rule: none\n\nCandidates: none\n\nMatched by a rule, but kept: none\n\n"
            in report.table(QUIET))


@pytest.mark.parametrize("number, more", [(50, ""), (51, "and 1 more"), (173, "and 123 more")])
def test_over_fifty_rows_of_a_page_are_cut_and_said(number, more):
    items = [dict(DOCUMENT["skipped"][0], path="%03d.bak" % each) for each in range(number)]
    page = report.markdown(dict(QUIET, skipped=items))
    assert page.count(".bak`") == 50 and "`049.bak`" in page and "`050.bak`" not in page
    assert re.findall("and [0-9]+ more", page) == [more] * bool(more)
    if more:
        assert "|\n\n%s\n\n### " % more in page
    assert report.markdown(dict(QUIET, skipped=items), sys.maxsize).count(".bak`") == number


def test_a_terminal_shows_a_few_of_many_candidates_and_each_reason_to_keep_one_once():
    candidates = [dict(DOCUMENT["candidates"][0], path="%02d.tmp" % number) for number in range(20)]
    text = report.table(dict(QUIET, candidates=candidates))
    assert text.count(".tmp\n") == 20 and "--all" not in text
    full = dict(QUIET, candidates=candidates + [DOCUMENT["candidates"][1]], skipped=[
        {"path": "%03d.bak" % number, "rule": "backups", "reason": reason} for number, reason in enumerate(
            ["git tracks it"] + ["it changed %dh ago, and the rule requires 14d" % hours for hours in range(20)]
            + ["1 file mentions it", "5 files mention it"])])
    text = report.table(full)
    assert "\n    2.0 KiB  15d  04.tmp\n    and 15 more\n  caches\n    12.0 MiB  31d  web/.cache/ (420 files)\n" in text
    assert "\n  to keep one: " in text and "\nTo list all:\n  " in text and ".bak" not in text
    assert ("\nMatched by a rule, but kept: 23\n     20  it changed less than 14d ago\n"
            "      2  other files mention it\n      1  git tracks it\n") in text
    text = report.table(full, sys.maxsize)
    assert text.count(".tmp\n") == 20 and text.count(".bak (backups: ") == 23 and "--all" not in text


def test_a_terminal_of_80_columns_holds_all_lines_but_those_of_long_paths_and_reasons():
    rules = [dict(DOCUMENT["rules"][1], reason="left by a merge " * 12, candidates=99999, files=9999999)]
    page = report.table(dict(DOCUMENT, rules=rules, to_go_on={
        "text": report.WAY_ON, "command": report.clean_command("/srv", "/srv/i.json", ["--execute"])}))
    long = [line for line in page.splitlines() if len(line) > 80]
    command, = [line for line in page.splitlines() if line.endswith(" --root /srv /srv/i.json --execute")]
    assert set(long) <= {command} and command.startswith("  python3 ")


# A page is read as GitHub does it: a table row is cut at its bars before anything else is understood; then, in a cell,
# what stands between two equally long runs of backquotes is code, and of the rest a backslash takes one character.

def cells_of(line):
    assert line.startswith("| ") and line.endswith(" |"), line
    cells = re.findall(r"((?:\\.|[^\\|])*)\|", line[1:])
    assert sum(len(cell) + 1 for cell in cells) == len(line) - 1, line
    return [cell[1:-1] for cell in cells]


def code_of(cell):
    """The text of a cell that is one piece of code and nothing else; None when it is not."""
    fence = re.match("`*", cell).group()
    inner = cell[len(fence):len(cell) - len(fence)]
    if not fence or not cell.endswith(fence) or len(fence) in map(len, re.findall("`+", inner)):
        return None
    if inner.startswith(" ") and inner.endswith(" ") and inner.strip():
        inner = inner[1:-1]
    return None if inner[:1] == "`" and not cell[len(fence):].startswith(" ") else inner.replace("\\|", "|")


def is_plain(cell):
    return not re.search(r"[`*_\[\]<>|#]", re.sub(r"\\.", "", cell))


ODD = ("a`b.tmp", "a``b`c.tmp", "`", "``.tmp", "`a`", "a|b.tmp", "|", "a\\|b.tmp", "a\\\\|b", "end\\", "a\nb.tmp", "\n",
       "a\r\nb", "a\tb", "\x1b[2Jb", "<script>alert(1)</script>", "</details>", "-->", "<!-- x -->", report.MARKER,
       "[x](javascript:x)", "![x](http://example.invalid/x)", "*a* _b_ **c**", "# a", "&lt;b&gt;", "caf\udce9.tmp",
       " blank ", "", "\u202egnp.tmp", "\u2028x", "日本.tmp", "$HOME", "a" * 300, "---", "| --- |")


@pytest.mark.parametrize("text", ODD, ids=[ascii(text) for text in ODD])
def test_no_path_and_no_words_break_the_page_or_the_table(text):
    document = dict(
        DOCUMENT, verdict="REFUSED - " + report.printable(text), root="/srv/" + text, host=text,
        candidates=[dict(DOCUMENT["candidates"][0], path=text, reason=text), DOCUMENT["candidates"][0]],
        rules=[dict(DOCUMENT["rules"][0], reason=text), dict(DOCUMENT["rules"][1], rule=text)],
        skipped=[{"path": text, "rule": "backups", "reason": text}],
        expiring=[{"path": text, "expires": "2025-06-15T10:00:00Z", "reason": text}],
        automations={"verdict": text, "unwell": [{"name": "n", "state": "late", "reason": text}]})
    page = report.markdown(document)
    lines = page.split("\n")
    assert page.splitlines() == lines  # nothing else that ends a line
    assert len(lines) == len(PAGE.split("\n"))
    assert lines[-1] == report.MARKER and page.count("\n" + report.MARKER) == 1
    places = []
    for line in lines[:-1]:
        if not line.startswith("|"):
            assert is_plain(line.replace("**", "", 2).lstrip("#")) or line in (
                "<details><summary>Thresholds and origin</summary>", "</details>"), line
        elif line.startswith("|---"):
            assert line.count("|") == len(places) + 1
        else:
            found = cells_of(line)
            if places:
                assert len(found) == len(places)
            places = found
            for name in found:
                assert is_plain(name) or code_of(name) is not None, line
        places = places if line.startswith("|") else []
    shown = [code_of(cells_of(line)[0]) for line in lines if line.startswith(("| `", "| ``"))]
    assert [path for path in shown if path != "a.tmp"] == [report.printable(text)] * 3
    table = report.table(document)
    assert table.splitlines() == table.split("\n")
    assert "\x1b" not in table + page and "\u202e" not in table + page


def test_a_real_name_with_all_of_that_comes_through_every_form(tmp_path):
    folder = b"caf\xe9 `|<b>\n\\|"
    tree = Tree(tmp_path / "tree")
    try:
        tree.write(folder + b"/x.tmp", "content\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    tree.take()
    shown = "caf\\xe9 `|<b>\\n\\\\|/x.tmp"
    code, page, err = run_script("cleanup_engine.py", tree.root, tree.inventory, "--report-only")
    assert (code, err) == (0, "")
    assert [code_of(cells_of(line)[0]) for line in page.split("\n") if "x.tmp" in line] == [shown]
    document = json.loads(tree.read("cleanup_report.json"))
    assert os.fsencode(document["candidates"][0]["path"]) == folder + b"/x.tmp"
    code, text, _ = run_script("cleanup_engine.py", tree.root, tree.inventory, "--report-only", "--format", "json")
    printed, = json.loads(text)["candidates"]
    written, = document["candidates"]
    assert printed.pop("age_s") >= written.pop("age_s")  # the second run came later
    assert (code, printed) == (0, written)
    assert run_script("cleanup_engine.py", tree.root, tree.inventory)[1].count("s  " + shown + "\n") == 1
    out, run_id = tree.execute()
    assert "\n  removed: %s, 8 B (" % shown in out
    assert tree.engine("restore", run_id) == (0, "OK - 1 file restored\n  restored: %s\n" % shown, "")
    assert os.path.exists(os.path.join(os.fsencode(str(tree.root)), folder, b"x.tmp"))


def test_the_page_has_the_verdict_first_and_the_hidden_marker_last(tree):
    code, page, err = tree.clean("--report-only")
    assert (code, err) == (0, "")
    assert page.startswith("**OK - 1 file would be removed (8 B)**\n\nThere is no earlier report to compare with.\n")
    assert page.endswith("\n</details>\n\n<!-- symphony-conductor: clean-up report -->\n")
    assert "| `old.tmp` | 8 B | " in page
    tree.write("second.tmp", "content\n")
    tree.take()
    code, page, _ = tree.clean("--report-only", "--max-fraction", "0.01", "--max-deletions", "1")
    assert code == 3 and page.startswith("**REFUSED - 2 of 24 files (8 %)")


@pytest.mark.parametrize("arguments", [("--report-only",), (), ("--dry-run",)], ids=["report", "plain", "dry run"])
def test_the_marker_is_the_last_line_of_a_page_however_it_is_asked_for(tree, arguments):
    assert tree.clean("--format", "markdown", *arguments)[1].endswith("\n" + report.MARKER + "\n")


@pytest.mark.parametrize("arguments", [("--report-only",), (), ("--dry-run",)], ids=["report", "plain", "dry run"])
def test_the_json_form_is_json_and_nothing_else(tree, arguments):
    code, out, err = tree.clean("--format", "json", *arguments)
    assert (code, err) == (0, "")
    assert json.loads(out)["candidates"][0]["path"] == "old.tmp"


# -- the command that undoes a run

def run_as_printed(command, folder):
    """Run a command line as somebody would who copied it, with this Python as `python3`."""
    with tempfile.TemporaryDirectory() as programs:
        program = os.path.join(programs, "python3")
        with open(program, "w") as handle:
            handle.write("#!/bin/sh\nexec %s \"$@\"\n" % shlex.quote(sys.executable))
        os.chmod(program, 0o755)
        done = subprocess.run(["/bin/sh", "-c", command], cwd=str(folder), stdin=subprocess.DEVNULL,
                              env=dict(os.environ, PATH=programs + os.pathsep + os.environ["PATH"]),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout.decode()


def product_in(folder):
    """A copy of the programs, so that nothing can happen to the folder that the tests lie in."""
    (folder / "scripts").mkdir(parents=True)
    for path in SCRIPTS.glob("*.py"):
        shutil.copy(str(path), str(folder / "scripts"))
    shutil.copy(str(SCRIPT), str(folder))


def undo_commands(tree, *program):
    """Clean up with the programs in a folder: the commands to undo that, as the run and as the report print them."""
    def call(*arguments):
        return subprocess.run(list(program) + [tree.inventory] + list(arguments), stdin=subprocess.DEVNULL, check=True,
                              stdout=subprocess.PIPE, cwd=os.path.dirname(os.path.dirname(program[1]))).stdout.decode()
    out = call("--execute", "--non-interactive")
    after = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 14 * DAY))
    told = re.search(r"to undo: (.*) \(until it is purged, after (.*)\)\n", out)
    assert told and told.group(2) in (after, time.strftime("%Y-%m-%d", time.gmtime(time.time() - 60 + 14 * DAY)))
    page = call("--report-only")
    reported = [code_of(cell) for line in page.split("\n") if "restore 2" in line for cell in cells_of(line)]
    return [told.group(1), [text for text in reported if text and " restore " in text][0]]


@pytest.mark.parametrize("which", [0, 1], ids=["as the run prints it", "as the report prints it"])
def test_rule_17_the_command_that_is_printed_restores_the_run_when_it_is_run_as_printed(tmp_path, which):
    product_in(tmp_path / "project")
    tree = Tree(tmp_path / "project", "zebra.tmp", others=60)
    command = undo_commands(tree, sys.executable, str(tree.root / "scripts" / "cleanup_engine.py"))[which]
    assert run_as_printed(command, tree.root) == (0, "OK - 1 file restored\n  restored: zebra.tmp\n")
    assert tree.there() == ["zebra.tmp"]


@pytest.mark.parametrize("which", [0, 1], ids=["as the run prints it", "as the report prints it"])
def test_rule_17_the_command_that_is_printed_names_the_root_when_that_was_another_one(tmp_path, which):
    product_in(tmp_path / "product")
    tree = Tree(tmp_path / "somebody's | project", "zebra.tmp")
    command = undo_commands(tree, sys.executable, str(tmp_path / "product" / "scripts" / "cleanup_engine.py"), "--root",
                            str(tree.root))[which]
    assert run_as_printed(command, tmp_path / "product") == (0, "OK - 1 file restored\n  restored: zebra.tmp\n")
    assert tree.there() == ["zebra.tmp"]


# -- the command line

SENSELESS = (
    (("INVENTORY", "--execute", "--report-only"), "not allowed with argument"),
    (("INVENTORY", "--execute", "--dry-run"), "not allowed with argument"),
    (("INVENTORY", "--report-only", "--dry-run"), "not allowed with argument"),
    (("INVENTORY", "--non-interactive"), "--non-interactive requires --execute"),
    (("INVENTORY", "--report-only", "--non-interactive"), "--non-interactive requires --execute"),
    (("INVENTORY", "--older-than", "14d"), "--older-than applies only to purge"),
    (("restore", "old.tmp", "--older-than", "14d"), "--older-than applies only to purge"),
    (("INVENTORY", "old.tmp"), "unexpected argument 'old.tmp'"),
    (("INVENTORY", "a\nb"), "unexpected argument 'a\\nb'"),
    (("purge", "old.tmp", "--older-than", "14d"), "unexpected argument 'old.tmp'"),
    (("restore", "--list", "--to", "/tmp"), "--list cannot be used with --to"),
    (("restore", "old.tmp", "--to", "/nowhere"), "--to: there is no /nowhere (make it first: mkdir /nowhere)"),
    (("restore", "old.tmp", "--to", "/dev/null"), "--to: /dev/null is not a folder"),
    (("INVENTORY", "--list"), "--list applies only to restore"),
    (("purge", "--older-than", "14d", "--to", "/tmp"), "--to applies only to restore"),
    (("rules",), "rules requires an inventory (rules cleanup_inventory.json)"),
    (("rules", "INVENTORY", "--format", "markdown"), "--format markdown applies only to INVENTORY"),
    (("rules", "INVENTORY", "--execute"), "--execute applies only to INVENTORY"),
    (("INVENTORY", "--all", "--format", "json"), "--all cannot be used with --format json"),
    (("INVENTORY", "--all", "--execute"), "--all cannot be used with --execute"),
    (("purge",), "purge requires an age: --older-than 14d"),
    (("purge", "--older-than", "0d"), "--older-than must be above zero (such as --older-than 14d)"),
    ((), "INVENTORY | rules | restore | purge"),
    (("INVENTORY", "--max-deletions", "0"), "'0' is not a whole number from 1 to 999999"),
    (("INVENTORY", "--max-deletions", "-1"), "--max-deletions"),
    (("INVENTORY", "--max-deletions", "many"), "'many' is not a whole number"),
    (("INVENTORY", "--max-fraction", "0"), "'0' is not a fraction above 0 and up to 1, such as 0.2"),
    (("INVENTORY", "--max-fraction", "1.01"), "'1.01' is not a fraction above 0 and up to 1, such as 0.2"),
    (("INVENTORY", "--max-fraction", "20%"), "is not a fraction above 0 and up to 1, such as 0.2"),
    (("INVENTORY", "--max-fraction", "nan"), "'nan' is not a fraction above 0 and up to 1, such as 0.2"),
    (("INVENTORY", "--max-age", "26"),
     "'26' is not a duration; write a number and a unit (s, m, h, d, w), such as 26d"),
    (("INVENTORY", "--format", "html"), "invalid choice: 'html'"),
    (("INVENTORY", "--force"), "unrecognized arguments: --force"),
    (("restore", "old.tmp", "--dry-run"), "--dry-run"),
    (("restore", "old.tmp", "--report-only"), "--report-only"),
    (("restore", "old.tmp", "--execute"), "--execute"),
    (("purge", "--older-than", "1s", "--report-only"), "--report-only"),
    (("purge", "--older-than", "1s", "--format", "json"), "--format"),
    (("restore", "old.tmp", "--max-deletions", "1"), "--max-deletions"),
    (("purge", "--older-than", "1s", "--max-deletions", "1"), "--max-deletions"),
    (("INVENTORY", "--execute", "--non-interactive", "--format", "json"), "--format"),
)


@pytest.fixture
def again(kept):
    """A tree with a run in quarantine and a file that may go."""
    def make(folder):
        tree = Tree(folder, "old.tmp")
        tree.execute()
        tree.write("new.tmp", "content\n")
        tree.take()
        return tree
    return kept(make)


@pytest.mark.parametrize("arguments, text", SENSELESS, ids=[" ".join(case[0]) or "nothing" for case in SENSELESS])
def test_options_that_contradict_each_other_or_make_no_sense_change_nothing(again, arguments, text):
    code, out, err = again.engine(*[again.inventory if word == "INVENTORY" else word for word in arguments])
    assert (code, out) == (2, "")
    assert snapshot(again.root) == again.before
    said = [line for line in err.splitlines() if re.match(r"cleanup_engine(\.py: error)?: ", line)]
    assert len(said) == 1 and said[0] == err.splitlines()[-1] and text in said[0]


def test_help_tells_every_command_option_and_exit_code():
    done = subprocess.run([sys.executable, str(SCRIPTS / "cleanup_engine.py"), "--help"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    for word in ("restore RUN_ID|PATH", "restore --list", "--to DIR", "rules cleanup_inventory.json",
                 "purge --older-than 14d", "--report-only", "--execute", "--dry-run", "--non-interactive",
                 "--max-deletions", "--max-fraction", "--max-age", "--rules", "--format", "--all", "--root",
                 "Exit codes: 0 ok;", "78 the rules cannot be used"):
        assert word in text


def test_the_root_is_the_one_that_is_named_wherever_the_command_is_run(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    more = {"cwd": str(tmp_path / "elsewhere")}
    code, out, err = run_script("cleanup_engine.py", tree.root, tree.inventory, **more)
    assert (code, out.split("\n")[0], err) == (0, "OK - 1 file would be removed (8 B)", "")
    code, out, err = run_script("cleanup_engine.py", tree.root, "../tree/cleanup_inventory.json", "--execute",
                                "--non-interactive", **more)
    assert (code, out.split("\n")[0], err) == (0, "OK - 1 file moved to quarantine (8 B)", "")
    assert run_script("cleanup_engine.py", tree.root, "restore", "old.tmp", **more)[0] == 0
    assert tree.there() == ["old.tmp"] and os.listdir(more["cwd"]) == []
    done = subprocess.run([sys.executable, str(SCRIPTS / "cleanup_engine.py"), tree.inventory, "--report-only"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60,
                          env=dict(os.environ, SYMPHONY_ROOT=str(tree.root)), **more)
    assert done.returncode == 0 and (tree.root / "cleanup_report.json").exists()


@pytest.mark.parametrize("words", [
    ["restore", "RUN", "--list"], ["restore", "--list", "RUN"], ["--list", "restore", "RUN"],
    ["rules", "INV"], ["rules", "--format", "json", "INV"], ["rules", "INV", "--format", "json"]])
def test_the_arguments_may_stand_before_and_behind_the_options(monkeypatch, words):
    monkeypatch.setattr("sys.argv", ["cleanup_engine.py"] + words)
    args = engine.parse_arguments()
    assert args.what in ("restore", "rules") and args.name in ("RUN", "INV")


@pytest.mark.parametrize("words", [["restore", "RUN", "other"], ["restore", "--nonsense"],
                                   ["restore", "--list", "RUN", "other"]])
def test_what_is_left_over_on_the_command_line_is_an_error(monkeypatch, words):
    monkeypatch.setattr("sys.argv", ["cleanup_engine.py"] + words)
    with pytest.raises(SystemExit) as left:
        engine.parse_arguments()
    assert left.value.code == 2
