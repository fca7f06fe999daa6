"""The plan of a clean-up: folders that go as one, copies, content, and the circuit breaker."""

import os

import pytest

import inventory
from cleanup_plan import Evidence, make_plan, protection_guard, too_much
from cleanup_rules import build_rules
from quarantine import Candidate, contents_digest
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
    rules = [dict({"name": "rule%d" % number, "older_than": "30d", "reason": "so it is"}, **raw)
             for number, raw in enumerate(rule if isinstance(rule, list) else [rule])]
    document = {"fields": list(inventory.FIELDS), "root_dev": DEV,
                "not_entered": more.get("not_entered", []),
                "files": [[facts[name] for name in inventory.FIELDS] for facts in rows]}
    protected = [dict({"reason": "so it is"}, **raw) for raw in more.get("protected", ())]
    built = build_rules({"rules": rules, "protected": protected}, "here")
    return make_plan(document, built, NOW, evidence=more.get("evidence", lambda *_: False))


def going(plan):
    """The paths of the candidates, sorted."""
    return sorted(item.path for item in plan.candidates)


def reasons(plan):
    return {removal.path: removal.reason for removal in plan.skipped}


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
    assert plan.skipped[0].files == 3 and plan.skipped[0].size == 30
    assert going(planned(rule, *others, protected=protected)) == ["cache"]


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
    ({}, ["other"], None),                                # it goes
    ({"beside": ["lock"]}, [".env"], None),               # the rule is not about it
    ({"folders": ["cach*"]}, [".env"], None),             # no specific name
]


@pytest.mark.parametrize("more, others, reason", SPARED)
def test_a_folder_that_a_rule_names_is_kept_with_a_reason_by_what_lies_beside_it(more, others, reason):
    rule = dict(dict(CACHE, unless=[".env"]), **more)
    plan = planned(rule, row("cache/a"), row("cache/cache/b"), *map(row, others))
    assert [(item.path, item.reason) for item in plan.skipped] == ([("cache", reason)] if reason else [])


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


def test_the_first_rule_that_is_about_it_decides():
    rules = [{"folders": ["build"], "beside": ["a"], "older_than": "200d"}, {"folders": ["build"]}]
    assert going(planned(rules, row("build/x"), row("a"))) == []
    assert going(planned(rules, row("build/x"), row("b"))) == ["build"]
    rules = [{"patterns": ["core"], "content": "core-dump", "older_than": "200d"},
             {"patterns": ["core"]}]
    assert going(planned(rules, row("core"), evidence=lambda *_: True)) == []
    assert going(planned(rules, row("core"))) == ["core"]


# -- stale projects

STALE = [dict(CACHE, folders=["node_modules"], beside=["lock"], stale=True), CACHE]


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
])
def test_a_stale_folder_needs_a_project_in_which_nothing_else_changed(others, yes):
    plan = planned(STALE, row("p/node_modules/a/b.js"), row("p/lock", 90, "tracked"), *others)
    assert ("p/node_modules" in going(plan)) is yes
    if not yes:
        assert "p changed " in reasons(plan)["p/node_modules"] or "future" in str(reasons(plan))


@pytest.mark.parametrize("place, keeps", [
    ("p/lib", True), ("p/a/b/c", True), ("q", False), ("pp", False)])
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


# -- copies

@pytest.mark.parametrize("original, rows, reason", [
    ("newer", [row("a/f", 50)], ""),
    ("newer", [row("a/f", 100)], ""),
    ("newer", [row("a/f", 101)], "it may be the only copy: it is newer than a/f"),
    ("newer", [row("f", 50), row("b/f", 50)], "it may be the only copy: there is no a/f"),
    ("newer", [row("a/f", 50, size=0)], "it may be the only copy: a/f is empty"),
    ("newer", [row("a/f", 50, mode=0o120777)], "it may be the only copy: there is no a/f"),
    ("newer", [row("a/f", 50, "tracked")], ""),
    ("there", [row("a/f", 101)], ""),
    ("there", [], "it may be the only copy: there is no a/f"),
])
def test_a_copy_goes_only_while_its_original_has_more(original, rows, reason):
    plan = planned({"patterns": ["*~"], "original": original}, row("a/f~", 100), *rows)
    expected = {"a/f~": reason} if reason else {}
    assert (reasons(plan), going(plan)) == (expected, [] if reason else ["a/f~"])


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
    (files(51, files=100), (10**4, 10**4), REFUSED % "5100 of 10000 files (51 %)"),
])
def test_the_breaker_is_for_what_is_out_of_the_ordinary(candidates, tree, said):
    assert too_much(candidates, *tree) == said


def test_a_refused_plan_lists_what_it_refused_and_says_how_to_go_on():
    rows = [row("%d.tmp" % number) for number in range(60)] + [row("a.py", kind="tracked")]
    plan = planned({"patterns": ["*.tmp"]}, *rows)
    assert len(plan.candidates) == 60
    assert plan.refused == REFUSED % "60 of 61 files (98 %)" + "; no tracked file is among them"


# -- content of real files

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
