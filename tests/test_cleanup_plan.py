"""The plan of a clean-up: folders that go as one, copies, content, and the circuit breaker."""

import os

import pytest

import cleanup_plan
import inventory
from cleanup_plan import (
    Evidence,
    Tree,
    is_of,
    make_plan,
    no_evidence,
    place_of,
    protection_guard,
    too_much,
)
from cleanup_rules import build_rules
from common import RefusedError
from quarantine import Candidate, Removal, contents_digest
from tree import Root

DAY = 86400
NOW = 1_800_000_000
DEV = 7


# -- documents

def row(path, age=100, kind="ignored", **more):
    """One row of an inventory, as a dict; `age` in days."""
    changed_ns = (NOW - age * DAY) * 10**9
    facts = {"path": path, "ino": abs(hash(path)) % 10**6, "size": 10, "mtime_ns": changed_ns,
             "ctime_ns": changed_ns, "dev": DEV, "mode": 0o100644, "nlink": 1, "class": kind,
             "references": 0, "purpose": "other", "expires": None, "duplicate": None}
    facts.update(more)
    return facts


def planned(rule, *rows, **more):
    """The plan for some rows; `rule` lacks what every rule has."""
    built = rules_of(rule, more.get("protected", ()))
    return make_plan(document_of(rows, more.get("not_entered", [])), built, NOW,
                     evidence=more.get("evidence", lambda *_: False))


def rules_of(rule, protected=()):
    rules = [dict({"name": "rule%d" % number, "older_than": "30d", "reason": "so it is"}, **raw)
             for number, raw in enumerate(rule if isinstance(rule, list) else [rule])]
    protected = [dict({"reason": "so it is"}, **raw) for raw in protected]
    return build_rules({"rules": rules, "protected": protected}, "here")


def document_of(rows, not_entered=()):
    return {"fields": list(inventory.FIELDS), "root_dev": DEV, "not_entered": list(not_entered),
            "files": [[facts[name] for name in inventory.FIELDS] for facts in rows]}


def going(plan):
    """The paths of the candidates, sorted."""
    return sorted(item.path for item in plan.candidates)


def reasons(plan):
    return {removal.path: removal.reason for removal in plan.skipped}


# -- the rows of an inventory

@pytest.mark.parametrize("value, kinds, yes", [
    (1, int, True), (True, int, False), (1.0, int, False), ("1", int, False), (None, int, False),
    (True, bool, True), (1, bool, False), ("", str, True), (None, (int, type(None)), True),
    (False, (int, type(None)), False)])
def test_true_is_no_number_and_a_number_is_not_true(value, kinds, yes):
    assert is_of(value, kinds) is yes


BAD_CELLS = [
    ("path", 5), ("path", None), ("ino", "1"), ("size", True), ("size", 1.5), ("mtime_ns", None),
    ("ctime_ns", "now"), ("dev", None), ("mode", "0644"), ("nlink", True), ("class", None),
    ("references", "3"), ("references", True), ("purpose", 1), ("expires", 5), ("duplicate", 1)]


@pytest.mark.parametrize("key, value", BAD_CELLS)
def test_a_row_with_a_cell_of_another_kind_is_refused_and_named(key, value):
    with pytest.raises(RefusedError) as caught:
        planned({"patterns": ["*.tmp"]}, row("a"), dict(row("b.tmp"), **{key: value}))
    assert str(caught.value) == (
        "row 2 of the inventory: '%s' is missing or invalid (take a new one)" % key)


@pytest.mark.parametrize("spoil", [
    lambda cells: cells[:-1], lambda cells: cells + [0], lambda cells: dict(enumerate(cells)),
    lambda cells: None])
def test_of_a_row_of_another_length_or_type_nothing_is_taken_for_known(spoil):
    document = document_of([row("a.tmp")])
    document["files"][0] = spoil(document["files"][0])
    with pytest.raises(RefusedError) as caught:
        make_plan(document, rules_of({"patterns": ["*.tmp"]}), NOW)
    assert str(caught.value) == (
        "row 1 of the inventory: 'path' is missing or invalid (take a new one)")


def test_a_row_is_found_by_its_path():
    tree = Tree(document_of([row("a/b", size=3), row("c", kind="tracked", size=4)]))
    assert (tree.has("a/b"), tree.has("a"), tree.has("")) == (True, False, False)
    assert (tree.at("c").size, tree.at("b")) == (4, None)
    assert (tree.size, tree.tracked(), tree.folder_of) == (7, 1, ["a", ""])


def test_an_inventory_that_does_not_say_what_was_not_entered_entered_all():
    document = document_of([row("cache/x")])
    del document["not_entered"]
    assert going(make_plan(document, rules_of(CACHE), NOW)) == ["cache"]


# -- folders

CACHE = {"folders": ["cache"], "generated": True}


def test_a_folder_goes_as_one_with_all_that_is_in_it():
    rows = [row("a/cache/x", 50, size=3, ino=1), row("a/cache/b/c/y", 90, size=4, ino=2),
            row("a/other", 90)]
    plan = planned(CACHE, *rows)
    assert plan.candidates == (Candidate(
        path="a/cache", size=7, files=2, mtime_ns=rows[0]["mtime_ns"],
        ctime_ns=rows[0]["ctime_ns"], dev=DEV, rule="rule0", reason="so it is", generated=True,
        contents=contents_digest("%s\0%d,%d,%d,%d,%d,1" % (
            facts["path"], facts["ino"], facts["size"], facts["mtime_ns"], facts["ctime_ns"],
            facts["mode"]) for facts in rows[:2])),)
    assert (plan.skipped, plan.files, plan.size) == ((), 3, 17)


def test_a_link_in_a_folder_goes_with_it():
    assert going(planned(CACHE, row("cache/x"), row("cache/l", mode=0o120777))) == ["cache"]


# One thing in the folder that keeps it, and why.
KEEPERS = [
    (row("cache/k", 3), {}, "it changed 3d ago, and the rule requires 30d"),
    (row("cache/k", ctime_ns=(NOW - DAY) * 10**9), {},
     "it changed 1d ago, and the rule requires 30d"),
    (row("cache/k", -1), {}, "its time is in the future"),
    (row("cache/k", kind="tracked"), {}, "it holds k: git tracks it"),
    (row("cache/a/k", kind="untracked"), {"classes": ["ignored"]},
     "it holds a/k: it is untracked, and the rule covers only ignored files"),
    (row("cache/k", dev=8), {}, "it holds k: it is on another device"),
    (row("cache/k.pid"), {}, "it holds k.pid: lock and pid files stay, whatever their age"),
    (row("cache/k.LOCK"), {"generated": False},
     "it holds k.LOCK: lock and pid files stay, whatever their age"),
    (row("cache/k", mode=0o140755), {}, "it holds k: it is neither a regular file nor a link"),
    (row("cache/k", mode=0o010644), {}, "it holds k: it is neither a regular file nor a link"),
    (row("cache/k", mode=0o020644), {}, "it holds k: it is neither a regular file nor a link"),
    (row("cache/k", expires="2030-01-01T00:00:00Z"), {},
     "it holds k: registered to expire at 2030-01-01T00:00:00Z"),
    (row("cache/k", references=2), {"generated": False}, "it holds k: 2 files mention it"),
    (row("cache/k", references=None), {"generated": False},
     "it holds k: cannot tell whether other files mention it"),
    (row("cache/notes.txt"), {"only": ["*.bin"]},
     "it holds notes.txt: no tool puts such a file there"),
    (row("cache/a/k.bin"), {"only": ["./*.bin"]},
     "it holds a/k.bin: no tool puts such a file there"),
    (row("cache/measured.csv"), {}, "it holds measured.csv: no tool puts such a file there"),
    (row("cache/a/notes.txt"), {"only": ["a/", "*.bin"]},
     "it holds a/notes.txt: no tool puts such a file there"),
    (row("cache/k", nlink=2), {"generated": False},
     "it holds cache/k, which has a hard link elsewhere"),
    (row("cache/mine.key"), {}, "it holds mine.key: protected by '*.key': so it is"),
]


@pytest.mark.parametrize("keeper, changes, reason", KEEPERS, ids=[one[2][:50] for one in KEEPERS])
def test_one_member_keeps_the_whole_folder(keeper, changes, reason):
    rule = dict(CACHE, **changes)
    others = [row("cache/x.bin"), row("cache/y.bin")]
    protected = [{"patterns": ["*.key"]}]
    plan = planned(rule, *(others + [keeper]), protected=protected)
    assert (going(plan), reasons(plan)) == ([], {"cache": reason})
    assert plan.skipped == (Removal(
        path="cache", outcome="skipped", reason=reason, size=30, rule="rule0", files=3),)
    assert going(planned(rule, *others, protected=protected)) == ["cache"]


def test_what_a_rule_says_of_members_is_meant_from_the_folder():
    for member in ("k.csv", "b/k.csv"):
        rule = dict(CACHE, only=["./" + member])
        assert going(planned(rule, row("a/cache/" + member))) == ["a/cache"]
        assert going(planned(rule, row("a/cache/x" + member))) == []


def test_a_lock_goes_with_the_generated_folder_that_it_is_in():
    for name in ("x.lock", "deep/X.LOCK"):
        assert going(planned(CACHE, row("cache/" + name))) == ["cache"]
        # Nobody makes the rest of another folder again, and a file is no folder.
        assert going(planned(dict(CACHE, generated=False), row("cache/" + name))) == []
        assert going(planned({"patterns": ["*.lock"], "generated": True}, row(name))) == []


@pytest.mark.parametrize("place, keeps", [
    ("a/cache/sub", True), ("a/cache", True), ("a/cache/x/y", True), ("a/cached", False),
    ("a", False), ("cache", False)])
def test_what_was_not_entered_keeps_the_folder_that_it_is_in(place, keeps):
    plan = planned(CACHE, row("a/cache/x"), not_entered=[{"path": place, "why": "a mount"}])
    assert bool(plan.candidates) is not keeps
    if keeps:
        assert reasons(plan) == {
            "a/cache": "it holds %s, which was not entered: a mount" % place}


def test_links_between_the_files_of_a_folder_keep_nothing():
    rule = dict(CACHE, generated=False)
    links = [row("cache/x", nlink=2, ino=5), row("cache/y", nlink=2, ino=5)]
    assert going(planned(rule, *links)) == ["cache"]
    # A rename takes one name of a generated file, and leaves the others as they are.
    assert going(planned(CACHE, row("cache/x", nlink=2), row("y", nlink=2))) == ["cache"]


def test_the_topmost_folder_takes_those_in_it_along():
    rows = [row("cache/x"), row("cache/a/cache/y"), row("cache/a/tmp/z"), row("cache/q.tmp")]
    rule = [CACHE, {"folders": ["tmp"]}, {"patterns": ["*.tmp"]}]
    assert going(planned(rule, *rows)) == ["cache"]
    assert going(planned(rule, *reversed(rows))) == ["cache"]


def test_in_a_folder_that_stays_other_rules_look_but_not_the_same_one():
    rows = [row("cache/x", 1), row("cache/a/cache/y"), row("cache/a/tmp/z"), row("cache/q.tmp")]
    plan = planned([CACHE, {"folders": ["tmp"]}, {"patterns": ["*.tmp"]}], *rows)
    assert going(plan) == ["cache/a/tmp", "cache/q.tmp"]


def test_the_safest_rule_comes_first_then_the_oldest_then_the_path():
    rules = [{"patterns": ["*.b"]}, CACHE, {"patterns": ["*.a"]}]
    rows = [row("2.a", 40), row("z.b", 40), row("y.b", 90), row("x.b", 40), row("1.a", 90),
            # A folder is as old as the newest change to anything in it, its inode included.
            row("n/cache/x", 90, ctime_ns=(NOW - 35 * DAY) * 10**9), row("m/cache/x", 50),
            row("k/cache/x", ctime_ns=(NOW - 60 * DAY) * 10**9)]
    expected = ["y.b", "x.b", "z.b", "k/cache", "m/cache", "n/cache", "1.a", "2.a"]
    assert [item.path for item in planned(rules, *rows).candidates] == expected
    assert [item.path for item in planned(rules, *reversed(rows)).candidates] == expected


# What tells what a folder or file is: rule, other rows, whether the rule is about it.
TELLING = [
    ({"folders": ["build"], "marker": ["a", "b/c"]}, ["build/a"], True),
    ({"folders": ["build"], "marker": ["a", "b/c"]}, ["build/b/c"], True),
    ({"folders": ["build"], "marker": ["b"]}, ["build/b/c"], True),
    ({"folders": ["build"], "marker": ["a", "b/c"]}, ["a", "build/c", "build/b/a"], False),
    ({"folders": ["build"], "beside": ["pom.xml", "x"]}, ["pom.xml"], True),
    ({"folders": ["build"], "beside": ["x/y"]}, ["x/y"], True),
    ({"folders": ["build"], "beside": ["pom.xml"]}, ["build/pom.xml", "a/pom.xml"], False),
    ({"folders": ["build"], "beside": ["../x"]}, ["x"], False),  # above the root
    ({"folders": ["d/build"], "beside": ["../x"]}, ["x", "d/build/b"], True),
    ({"folders": ["build"], "unless": [".env"]}, [".env"], False),
    ({"folders": ["build"], "unless": ["{name}/.env"]}, ["build/.env"], False),
    ({"folders": ["build"], "unless": [".env"]}, ["a/.env"], True),
]


@pytest.mark.parametrize("unless, there", [
    ("shared", "p/shared"), ("../current", "current"), ("../../current", "../current"),
    ("../../../x/y", "../../x/y"), ("{name}/x", "p/build/x")])
def test_what_must_not_be_there_is_looked_for_on_the_disk(unless, there):
    def planned_with(*places):
        return planned({"folders": ["build"], "unless": [unless]}, row("p/build/file"),
                       evidence=lambda path, check: check == "there" and path in places)

    assert (going(planned_with()), going(planned_with(there))) == (["p/build"], [])


@pytest.mark.parametrize("unless, closed", [
    (".env", "p/.env"), ("shared/x", "p/shared"), ("../a/b/c", "a")])
def test_what_was_not_entered_may_be_what_must_not_be_there(unless, closed):
    rule = {"folders": ["build"], "unless": [unless]}
    closed = [{"path": closed, "why": "a mount"}]
    assert going(planned(rule, row("p/build/file"))) == ["p/build"]
    assert going(planned(rule, row("p/build/file"), not_entered=closed)) == []
    # Nor does it tell that anything is there.
    rule = {"folders": ["build"], "beside": [unless]}
    assert going(planned(rule, row("p/build/file"), not_entered=closed)) == []


@pytest.mark.parametrize("rule, others, yes", TELLING)
def test_a_folder_is_told_by_what_is_in_it_and_beside_it(rule, others, yes):
    plan = planned(rule, row("build/file"), *[row(path) for path in others])
    taken = [path for path in going(plan) if path.endswith("build")]
    assert bool(taken) == yes
    assert not plan.skipped or "unless" in rule


SPARED = [
    ({}, [".env"], ".env beside it: it may be in use"),
    ({"unless": ["{name}/src"]}, ["cache/src/x"], "src in it: it may be more than that"),
    ({"unless": ["in.use", ".env"]}, [".env"], ".env beside it: it may be in use"),
    ({}, ["other"], None),                                # it goes
    ({"beside": ["lock"]}, [".env"], None),               # the rule is not about it
    ({"beside": ["lock"]}, ["lock", ".env"], ".env beside it: it may be in use"),
    ({"marker": ["m"]}, ["cache/m", ".env"], ".env beside it: it may be in use"),
    ({"marker": ["m"]}, ["m", ".env"], None),
    ({"folders": ["cach*"]}, [".env"], None),             # no specific name
]


@pytest.mark.parametrize("more, others, reason", SPARED)
def test_a_folder_that_a_rule_names_is_kept_with_a_reason_by_what_lies_beside_it(more, others, reason):
    rule = dict(dict(CACHE, unless=[".env"]), **more)
    rows = [row("cache/a"), row("cache/cache/b")] + list(map(row, others))
    inside = [facts for facts in rows if facts["path"].startswith("cache/")]
    expected = ()
    if reason:
        expected = (Removal(path="cache", outcome="skipped", reason=reason, rule="rule0",
                            files=len(inside), size=10 * len(inside)),)
    assert planned(rule, *rows).skipped == expected


def test_a_folder_that_one_rule_spares_is_told_of_only_if_no_other_rule_takes_it():
    sparing = dict(CACHE, unless=[".env"])
    rows = [row("cache/x"), row(".env", kind="tracked")]
    plan = planned([sparing, CACHE], *rows)
    assert (going(plan), plan.skipped) == (["cache"], ())
    # Nor when it goes with the folder that it is in.
    sparing = dict(CACHE, unless=["in.use"])
    rows = [row("out/cache/x"), row("out/in.use"), row("out/tmp/cache/y"), row("out/tmp/in.use")]
    plan = planned([sparing, {"folders": ["out"]}], *rows)
    assert (going(plan), plan.skipped) == (["out"], ())
    # In a folder that another rule keeps, it is told of.
    plan = planned([sparing, {"folders": ["out"], "older_than": "200d"}], *rows)
    assert sorted(reasons(plan)) == ["out", "out/cache", "out/tmp/cache"]


def test_it_is_told_of_by_the_first_rule_that_spares_it():
    rules = [dict(CACHE, unless=["a"]), dict(CACHE, unless=["b"])]
    assert planned(rules, row("cache/x"), row("a"), row("b")).skipped == (Removal(
        path="cache", outcome="skipped", reason="a beside it: it may be in use", rule="rule0",
        files=1, size=10),)


def test_a_file_is_told_by_what_lies_beside_it():
    rule = {"patterns": ["*.pyc"], "beside": ["{stem}.py", "{name}.txt"]}
    rows = [row(path) for path in ("a/x.pyc", "a/x.py", "y.pyc", "b/y.py", "z.pyc", "z.pyc.txt")]
    assert going(planned(rule, *rows)) == ["a/x.pyc", "z.pyc"]


def test_content_is_asked_of_the_marker_or_of_the_file_itself():
    asked = []

    def evidence(path, check):
        asked.append((path, check))
        return "good" in path

    rules = [{"folders": ["*"], "marker": ["CACHEDIR.TAG"], "content": "cachedir-tag"},
             {"patterns": ["core"], "content": "core-dump"}]
    rows = [row(path) for path in ("good/CACHEDIR.TAG", "good/x", "bad/CACHEDIR.TAG", "bad/x",
                                   "goods/core", "core", "CACHEDIR.TAG", "other/x")]
    assert going(planned(rules, *rows, evidence=evidence)) == ["good", "goods/core"]
    assert sorted(asked) == [
        ("bad/CACHEDIR.TAG", "cachedir-tag"), ("core", "core-dump"),
        ("good/CACHEDIR.TAG", "cachedir-tag"), ("goods/core", "core-dump")]


def test_one_marker_of_the_right_content_is_enough():
    rule = {"folders": ["out"], "marker": ["a", "b"], "content": "cmake-cache"}
    rows = [row("1/out/a"), row("1/out/b"), row("2/out/a"), row("2/out/c")]
    good = ("1/out/b", "2/out/c")  # of which the second is no marker
    assert going(planned(rule, *rows, evidence=lambda path, _: path in good)) == ["1/out"]


def test_the_first_rule_that_is_about_it_decides():
    rules = [{"folders": ["build"], "beside": ["a"], "older_than": "200d"}, {"folders": ["build"]}]
    assert going(planned(rules, row("build/x"), row("a"))) == []
    assert going(planned(rules, row("build/x"), row("b"))) == ["build"]
    rules = [{"patterns": ["core"], "content": "core-dump", "older_than": "200d"},
             {"patterns": ["core"]}]
    assert going(planned(rules, row("core"), evidence=lambda *_: True)) == []
    assert going(planned(rules, row("core"))) == ["core"]


# -- stale projects

STALE = [dict(CACHE, folders=["node_modules"], beside=["lock"], stale=True), CACHE,
         {"folders": ["tmp"]}]


@pytest.mark.parametrize("others, yes", [
    ([], True),
    ([row("p/src/deep/a.js", 2, "tracked")], False),
    ([row("p/b.txt", 2, "untracked")], False),
    ([row("p/app.log", 0)], False),
    ([row("p/b.txt", ctime_ns=(NOW - DAY) * 10**9)], False),
    ([row("p/src/cache/x", 2)], True),   # generated as well
    ([row("q/a.js", 2, "tracked"), row("a.js", 2, "tracked")], True),
    ([row("p/b.txt", 29, "tracked")], False),
    ([row("p/b.txt", 31, "tracked")], True),
    ([row("p/b.txt", -5, "tracked")], False),
    ([row("p/x/node_modules/new.js", 2)], False),  # no lock beside it: nobody says what it is
    ([row("p/tmp/cache/x", 2)], True),             # in a folder that a rule of other things names
    ([row("p/tmp/x", 2, "tracked")], False),
])
def test_a_stale_folder_needs_a_project_in_which_nothing_else_changed(others, yes):
    plan = planned(STALE, row("p/node_modules/a/b.js"), row("p/lock", 90, "tracked"), *others)
    assert ("p/node_modules" in going(plan)) is yes
    if not yes:
        assert "p changed " in reasons(plan)["p/node_modules"] or "future" in str(reasons(plan))


@pytest.mark.parametrize("rows, said", [
    ([row("p/src/a.js", 2, "tracked"), row("p/b.js", 5, "tracked")],
     "p changed 2d ago, so it may be in use, and the rule requires 30d"),
    ([row("p/b.js", 29, "tracked"), row("p/src/deep/a.js", 12, "tracked")],
     "p changed 12d ago, so it may be in use, and the rule requires 30d"),
])
def test_what_keeps_a_stale_folder_is_told_with_the_newest_change(rows, said):
    plan = planned(STALE, row("p/node_modules/b.js"), row("p/lock", 90, "tracked"), *rows)
    assert reasons(plan) == {"p/node_modules": said}


def test_the_root_itself_can_be_the_project():
    rows = [row("node_modules/b.js"), row("lock", 90, "tracked")]
    assert going(planned(STALE, *rows)) == ["node_modules"]
    assert reasons(planned(STALE, row("a.js", 2, "tracked"), *rows)) == {
        "node_modules": "the project changed 2d ago, so it may be in use, and the rule requires 30d"}
    closed = [{"path": "z", "why": "a mount"}, {"path": "q", "why": "a repository"}]
    assert reasons(planned(STALE, *rows, not_entered=closed)) == {
        "node_modules": "cannot tell whether the project is in use: q was not entered: a repository"}


@pytest.mark.parametrize("place, keeps", [
    ("p", True), ("p/lib", True), ("p/a/b/c", True), ("q", False), ("pp", False)])
def test_nobody_can_tell_whether_a_project_is_stale_of_which_a_part_was_not_read(place, keeps):
    plan = planned(STALE, row("p/node_modules/a/b.js"), row("p/lock", 90, "tracked"),
                   not_entered=[{"path": place, "why": "a repository"}])
    expected = {}
    if keeps:
        expected = {"p/node_modules": "cannot tell whether the project is in use: %s was not"
                                      " entered: a repository" % place}
    assert reasons(plan) == expected
    assert bool(going(plan)) is not keeps


def test_a_folder_in_one_that_a_project_uses_is_in_use_as_well():
    rows = [row("node_modules/a/node_modules/b/c.js"), row("node_modules/a/lock"), row("lock"),
            row("main.js", 2, "tracked")]
    assert going(planned(STALE, *rows)) == []


# -- files

def test_a_file_goes_as_it_was_seen():
    facts = row("a/b.tmp", 40, "untracked", ino=5, size=3, ctime_ns=(NOW - 50 * DAY) * 10**9)
    rule = {"patterns": ["*.tmp"], "generated": True}
    assert planned(rule, facts, row("c")).candidates == (Candidate(
        path="a/b.tmp", size=3, mtime_ns=facts["mtime_ns"], ctime_ns=facts["ctime_ns"], dev=DEV,
        ino=5, mode=0o100644, rule="rule0", reason="so it is", generated=True),)


# One thing about a file that keeps it, and what is said of it; '' if it does not.
FILE_KEEPERS = [
    (row("a.tmp"), {}, ""),
    (row("a.tmp", 30), {}, ""),
    (row("a.tmp", 29), {}, "it changed 29d ago, and the rule requires 30d"),
    (row("a.tmp", mtime_ns=(NOW - 30 * DAY) * 10**9 + 10**6), {},
     "it changed 29d 23h ago, and the rule requires 30d"),
    (row("a.tmp", ctime_ns=(NOW - 3600) * 10**9), {},
     "it changed 1h ago, and the rule requires 30d"),
    (row("a.tmp", 0), {}, "it changed 0s ago, and the rule requires 30d"),
    (row("a.tmp", mtime_ns=NOW * 10**9 + 10**6), {}, "its time is in the future"),
    (row("a.tmp", mode=0o120777), {}, "it is not a regular file"),
    (row("a.tmp", mode=0o010644), {}, "it is not a regular file"),
    (row("a.tmp", nlink=2), {}, "it has 2 hard links"),
    (row("a.tmp", kind="tracked"), {}, "git tracks it"),
    (row("a.tmp", dev=8), {}, "it is on another device"),
    (row("a.tmp.lock"), {}, "lock and pid files stay, whatever their age"),
    (row("a.tmp.PID"), {}, "lock and pid files stay, whatever their age"),
    (row(".cleanup_registry.json.tmp"), {}, "it belongs to the clean-up itself"),
    (row("a/.cleanup_registry.json.tmp"), {}, ""),
    (row("keep/a.tmp"), {}, "protected by 'keep/': so it is"),
    (row("a.tmp", kind="untracked"), {"classes": ["ignored", "no-git"]},
     "it is untracked, and the rule covers only ignored or no-git files"),
    (row("a.tmp", kind="no-git"), {}, ""),
    (row("a.tmp", expires="2030-01-01T00:00:00Z"), {},
     "registered to expire at 2030-01-01T00:00:00Z"),
    (row("a.tmp", references=1), {}, "1 file mentions it"),
    (row("a.tmp", references=3), {}, "3 files mention it"),
    (row("a.tmp", references=None), {}, "cannot tell whether other files mention it"),
    (row("a.tmp", references=3), {"generated": True}, ""),
    (row("a.tmp", references=3), {"generated": True, "references": True}, "3 files mention it"),
    (row("a.tmp", references=0), {"references": True}, ""),
]


@pytest.mark.parametrize("facts, changes, reason", FILE_KEEPERS)
def test_one_thing_keeps_a_file(facts, changes, reason):
    rule = dict({"patterns": ["*.tmp*"]}, **changes)
    plan = planned(rule, facts, protected=[{"patterns": ["keep/"]}])
    if not reason:
        assert (going(plan), plan.skipped) == ([facts["path"]], ())
    else:
        assert (going(plan), plan.skipped) == ([], (Removal(
            path=facts["path"], outcome="skipped", reason=reason, size=10, rule="rule0"),))


# -- copies

@pytest.mark.parametrize("original, rows, reason", [
    ("newer", [row("a/f", 50)], ""),
    ("newer", [row("a/f", 100)], ""),
    ("newer", [row("a/f", 101)], "it may be the only copy: it is newer than a/f"),
    ("newer", [row("f", 50), row("b/f", 50)], "it may be the only copy: there is no a/f"),
    ("newer", [row("a/f", 50, size=0)], "it may be the only copy: a/f is empty"),
    ("newer", [row("a/f", 50, mode=0o120777)], "it may be the only copy: there is no a/f"),
    ("newer", [row("a/f", 50, "tracked")], ""),
    ("newer", [row("a/f", 50, size=0), row("g", 50)], "it may be the only copy: a/f is empty"),
    ("there", [row("a/f", 101)], ""),
    ("there", [], "it may be the only copy: there is no a/f"),
])
def test_a_copy_goes_only_while_its_original_has_more(original, rows, reason):
    plan = planned({"patterns": ["*~"], "original": original}, row("a/f~", 100), *rows)
    expected = {"a/f~": reason} if reason else {}
    assert (reasons(plan), going(plan)) == (expected, [] if reason else ["a/f~"])


def test_a_copy_that_is_empty_as_well_has_nothing_that_its_original_lost():
    rule = {"patterns": ["*~"], "original": "newer"}
    assert going(planned(rule, row("f~", size=0), row("f", 50, size=0))) == ["f~"]


def test_of_two_places_the_first_that_is_there_has_the_original():
    rule = {"patterns": ["build/lib/*"], "original": "newer"}
    copy = row("build/lib/x.py")
    assert going(planned(rule, copy, row("x.py", 50), row("src/x.py", 101))) == ["build/lib/x.py"]
    assert reasons(planned(rule, copy, row("x.py", 101), row("src/x.py", 50))) == {
        "build/lib/x.py": "it may be the only copy: it is newer than x.py"}
    # If one of them stays, so does what the copy holds; of two that go, the first is named.
    taking = {"patterns": ["x.py"]}
    assert going(planned([rule, taking], copy, row("x.py", 50, "no-git"), row("src/y.py"))) == [
        "x.py"]
    both = [copy, row("x.py", 50, "no-git"), row("src/x.py", 50, "no-git")]
    plan = planned([rule, taking], *both)
    assert (going(plan), plan.skipped) == (["src/x.py", "x.py"], (Removal(
        path="build/lib/x.py", outcome="skipped", size=10, rule="rule0",
        reason="it may be the only copy: x.py goes in this run"),))
    plan = planned([rule, {"patterns": ["./x.py"]}], *both)
    assert going(plan) == ["build/lib/x.py", "x.py"]


def test_a_name_that_is_no_copy_is_the_only_one():
    plan = planned({"patterns": ["*.tmp"], "original": "there"}, row("a.tmp"))
    assert reasons(plan) == {"a.tmp": "it may be the only copy: there is no original of it"}


def test_a_copy_in_a_folder_keeps_it_if_it_may_be_the_only_one():
    rule = {"folders": ["build"], "original": "there"}
    rows = [row("build/lib/a/x.py"), row("build/lib/a/x.so"), row("build/temp/y.o")]
    assert reasons(planned(rule, *rows)) == {
        "build": "it holds lib/a/x.py: it may be the only copy: there is no a/x.py"}
    for place in ("a/x.py", "src/a/x.py"):
        assert going(planned(rule, row(place, kind="tracked"), *rows)) == ["build"]


def test_an_empty_original_has_lost_nothing_that_bytecode_and_logs_hold():
    rules = {"patterns": ["*.pyc", "*.log.1"], "original": "there"}
    rows = [row("a/__pycache__/__init__.cpython-39.pyc"), row("a/__init__.py", size=0),
            row("x.log.1"), row("x.log", size=0)]
    assert len(going(planned(rules, *rows))) == 2


def test_bytecode_without_its_module_is_the_last_of_it():
    rules = [{"folders": ["__pycache__"], "original": "there", "generated": True},
             {"patterns": ["*.pyc"], "original": "there", "generated": True}]
    rows = [row("a/__pycache__/x.cpython-39.pyc"), row("a/__pycache__/gone.cpython-39.pyc"),
            row("a/x.py")]
    plan = planned(rules, *rows)
    assert going(plan) == ["a/__pycache__/x.cpython-39.pyc"]
    assert reasons(plan)["a/__pycache__/gone.cpython-39.pyc"] == (
        "it may be the only copy: there is no a/gone.py")
    assert going(planned(rules, *rows, row("a/gone.py"))) == ["a/__pycache__"]


@pytest.mark.parametrize("original, copy, taken, rule", [
    ("n.tmp", "n.tmp~", "n.tmp", {"patterns": ["*.tmp"]}),
    ("src/a.py", "build/lib/a.py", "src", {"folders": ["src"]})])
def test_a_copy_stays_if_its_original_goes_in_the_same_run(original, copy, taken, rule):
    copies = {"patterns": ["*~", "build/lib/*"], "original": "newer"}
    rows = [row(original, 50), row(copy, 60), row("b", 50), row("b~", 60)]
    for rules in ([rule, copies], [copies, rule]):
        plan = planned(rules, *rows)
        assert going(plan) == sorted(["b~", taken])
        assert reasons(plan) == {
            copy: "it may be the only copy: %s goes in this run" % original}


def test_a_file_of_a_merge_goes_only_beside_another_of_the_same_merge():
    rule = {"patterns": ["*_BASE_[0-9]*", "*_LOCAL_[0-9]*"], "original": "newer"}
    rows = [row("a.py", 50), row("a_BASE_12.py"), row("b.py", 50), row("b_BASE_12.py"),
            row("b_LOCAL_12.py"), row("a_LOCAL_13.py"), row("c/a_LOCAL_12.py")]
    plan = planned(rule, *rows)
    assert going(plan) == ["b_BASE_12.py", "b_LOCAL_12.py"]
    assert reasons(plan)["a_BASE_12.py"] == "no other file of the same merge lies beside it"


# -- generated things

def test_of_generated_things_no_mention_is_asked_for():
    rows = [row("a.o", references=3), row("b.o", references=None)]
    assert going(planned({"patterns": ["*.o"], "generated": True}, *rows)) == ["a.o", "b.o"]
    assert going(planned({"patterns": ["*.o"]}, *rows)) == []
    assert going(planned({"patterns": ["*.o"], "generated": True, "references": True}, *rows)) == []


def test_a_pattern_not_meant_for_generated_things_does_not_keep_them():
    protected = [{"patterns": ["migrations/", "*token*"], "generated": False},
                 {"patterns": ["site-packages/"], "members": False}, {"patterns": ["*.key"]}]
    rows = [row("migrations/cache/a"), row("x/cache/tokens"), row("y/site-packages/cache/a"),
            row("z/cache/site-packages/a"), row("w/cache/a.key"), row("token.tmp")]
    plan = planned([CACHE, {"patterns": ["*.tmp"]}], *rows, protected=protected)
    assert going(plan) == ["migrations/cache", "x/cache", "z/cache"]
    assert sorted(reasons(plan)) == ["token.tmp", "w/cache", "y/site-packages/cache"]
    rules = build_rules({"rules": [dict(CACHE, name="a", older_than="1d", reason="so it is")],
                         "protected": [dict(raw, reason="so it is") for raw in protected]}, "here")
    guard = protection_guard(plan, rules)
    assert [guard(item.path) for item in plan.candidates] == ["", "", ""]
    assert guard("token.tmp") == "protected by '*token*': so it is"


def test_the_guard_asks_of_a_folder_what_the_plan_asked():
    """An editor's copy of a protected file is protected; a folder of such a name is no copy."""
    protected = [{"patterns": ["secret"]}]
    rules = [{"folders": ["secret~"]}, {"patterns": ["secret.bak"]}]
    plan = planned(rules, row("secret~/x"), row("secret.bak"), protected=protected)
    assert (going(plan), reasons(plan)) == (
        ["secret~"], {"secret.bak": "protected by 'secret': so it is"})
    guard = protection_guard(plan, rules_of(rules, protected))
    assert [guard(path) for path in ("secret~", "secret.bak", "other")] == [
        "", "protected by 'secret': so it is", ""]


def test_what_a_user_protects_holds_for_generated_things_too():
    for pattern in ("migrations", "cache/", "a", "migrations/cache/deep", "*.pyc", "MIGRATIONS/**"):
        plan = planned(CACHE, row("migrations/cache/deep/a"), row("migrations/cache/b.pyc"),
                       protected=[{"patterns": [pattern]}])
        assert going(plan) == [], pattern


# -- the circuit breaker

def files(number, size=1, **more):
    return [Candidate(path="f%d" % place, size=size, **more) for place in range(number)]


REFUSED = "%s would go, more than --max-fraction 0.2 allows"


@pytest.mark.parametrize("candidates, tree, said", [
    (files(31, generated=True), (38, 38), ""),
    (files(1, 40 * 2**20, generated=True), (2, 41 * 2**20), ""),
    (files(1, 40 * 2**20), (2, 41 * 2**20), ""),       # no more than one run may take
    (files(50), (60, 60), ""),
    (files(51), (255, 255), ""),
    (files(51), (254, 300), REFUSED % "51 of 254 files (20 %)"),
    (files(51, 100), (10**6, 10**4), REFUSED % "5100 of 10000 bytes (51 %)"),
    (files(51) + files(700, generated=True), (1000, 1000), ""),
    (files(61) + files(700, generated=True), (1000, 1000),
     REFUSED % "61 of 300 files (20 %)"),
    (files(61) + files(1, 700, generated=True, files=700), (1000, 1000),
     REFUSED % "61 of 300 files (20 %)"),
    (files(61, 10) + files(1, 7000, generated=True), (10**5, 10**4),
     REFUSED % "610 of 3000 bytes (20 %)"),
    (files(51, files=100), (10**4, 10**4), REFUSED % "5100 of 10000 files (51 %)"),
])
def test_the_breaker_is_for_what_is_out_of_the_ordinary(candidates, tree, said):
    assert too_much(candidates, *tree) == said


def test_a_refused_plan_lists_what_it_refused_and_says_how_to_go_on():
    rows = [row("%d.tmp" % number) for number in range(60)] + [row("a.py", kind="tracked")]
    plan = planned({"patterns": ["*.tmp"]}, *rows)
    assert len(plan.candidates) == 60
    assert plan.refused == REFUSED % "60 of 61 files (98 %)" + "; no tracked file is among them"


def test_where_git_tracks_nothing_the_refusal_does_not_speak_of_it():
    plan = planned({"patterns": ["*.tmp"]}, *[row("%d.tmp" % number) for number in range(60)])
    assert plan.refused == REFUSED % "60 of 60 files (100 %)"


# -- content of real files

def test_without_evidence_no_content_is_known_and_nothing_else_is_there():
    assert no_evidence("a", "core-dump") is no_evidence("a", "there") is False
    document = document_of([row("core"), row("p/build/x")])
    rules = rules_of([{"patterns": ["core"], "content": "core-dump"},
                      {"folders": ["build"], "unless": [".env"]}])
    assert going(make_plan(document, rules, NOW)) == ["p/build"]


@pytest.mark.parametrize("path, relative, place", [
    ("a/b/c.pyc", "x", "a/b/x"), ("c", "x/y", "x/y"), ("a/c.tar.gz", "{stem}.py", "a/c.tar.py"),
    ("a/c", "{name}/x", "a/c/x"), ("a/b/c", "../x", "a/x"), ("a/b/c", "../../x", "x"),
    ("a/c", "../../x", "../x"), ("c", "..", ".."), ("c", "../../x", "../../x"),
    ("a/c", "../../../x", "../../x"), ("a/c", "b/../x", "a/x"), ("c", "../b/../x", "../x")])
def test_a_place_is_meant_from_the_folder_that_holds_the_path(path, relative, place):
    assert place_of(path, relative) == place

def test_evidence_reads_regular_files_below_the_root_through_no_link(tmp_path):
    (tmp_path / ".git").mkdir()
    core = b"\x7fELF\2\1\1" + bytes(9) + b"\4\0" + bytes(100)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "core").write_bytes(core)
    (tmp_path / "mail").write_bytes(b"From alice")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "caf\udce9").write_bytes(core)
    os.symlink("a/core", str(tmp_path / "link"))
    os.symlink("a", str(tmp_path / "folder"))
    os.mkfifo(str(tmp_path / "pipe"))
    evidence = Evidence(Root(str(tmp_path)))
    paths = ["a/core", "mail", "empty", "link", "folder/core", "pipe", "gone", "a", "caf\udce9"]
    assert [path for path in paths if evidence(path, "core-dump")] == ["a/core", "caf\udce9"]


def test_evidence_finds_what_no_inventory_lists(tmp_path):
    root = tmp_path / "releases" / "1"
    (root / ".git").mkdir(parents=True)
    (root / "shared").mkdir()
    (tmp_path / "current").mkdir()
    os.symlink("nowhere", str(root / "dangling"))
    os.symlink("shared", str(root / "folder"))
    evidence = Evidence(Root(str(root)))
    places = ["shared", "../../current", "dangling", "gone", "../gone", "../../gone/x", "gone/x",
              "folder/x"]  # no link is followed, so nobody can tell
    assert [path for path in places if evidence(path, "there")] == [
        "shared", "../../current", "dangling", "folder/x"]


def test_evidence_opens_nothing_that_is_no_regular_file_and_keeps_nothing_open(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    core = b"\x7fELF\2\1\1" + bytes(9) + b"\4\0" + bytes(100)
    (tmp_path / "core").write_bytes(core)
    (tmp_path / "a").mkdir()
    os.symlink("core", str(tmp_path / "link"))
    os.mkfifo(str(tmp_path / "pipe"))
    evidence = Evidence(Root(str(tmp_path)))
    opened = []
    real_open = os.open

    def noting(path, *arguments, **more):
        opened.append(path)
        return real_open(path, *arguments, **more)

    before = sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    monkeypatch.setattr(cleanup_plan.os, "open", noting)
    assert not any(evidence(path, "core-dump") for path in ("pipe", "link", "a", "gone"))
    assert {"pipe", "link"}.isdisjoint(opened)  # to open a device can be enough to change it
    assert evidence("core", "core-dump") and evidence("core", "there") and "core" in opened
    monkeypatch.undo()
    if before is not None:
        assert sorted(os.listdir("/proc/self/fd")) == before


def test_evidence_reads_nothing_that_has_taken_the_place_of_a_file_meanwhile(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    (tmp_path / "core").write_bytes(b"")
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    both = os.open(pipe, os.O_RDWR)
    os.write(both, b"\x7fELF\2\1\1" + bytes(9) + b"\4\0")
    evidence = Evidence(Root(str(tmp_path)))
    real_stat = os.stat

    def late(path, *arguments, **more):  # it was a file when it was looked at
        return real_stat("core" if path == "pipe" else path, *arguments, **more)

    monkeypatch.setattr(cleanup_plan.os, "stat", late)
    try:
        assert evidence("pipe", "core-dump") is False
    finally:
        os.close(both)
