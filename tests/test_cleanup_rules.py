"""The rules of the clean-up: how patterns read, what a wrong document is told, and what the shipped rules mean."""

import json
import os
import random
import re
import time

import pytest
from support import REPOSITORY

import cleanup_plan
import cleanup_rules
import inventory
import symphony_conductor as sc
from cleanup_rules import (
    CleanupRule,
    Matcher,
    NameFilter,
    build_rules,
    pattern_expression,
    read_rules,
)

SHIPPED = REPOSITORY / "config" / "cleanup_rules.json"


# -- patterns

PATTERNS = [
    # Without a slash: the name alone, in whatever folder.
    ("*.tmp", "a.tmp", True),
    ("*.tmp", "deep/er/a.tmp", True),
    ("*.tmp", "a.tmp/b", False),
    ("*.tmp", "a.tmpx", False),
    ("*.tmp", "a.TMP", False),
    ("*.tmp", ".tmp", True),
    ("*.tmp", "atmp", False),
    ("*.tmp", "two\nlines.tmp", True),
    ("*.tmp", "a.tmp\n", False),
    ("*.tmp", "a.tmp\nb", False),
    ("*.tmp", "fold\ner/a.tmp", True),
    ("*.tmp", "\udce9.tmp", True),
    ("core", "core", True),
    ("core", "a/core", True),
    ("core", "core/a", False),
    ("core", "score", False),
    ("core", "cores", False),
    ("a+b(c)|d^$.x", "a+b(c)|d^$.x", True),
    ("a+b(c)|d^$.x", "aab(c)|d^$.x", False),
    ("a|b", "a", False),
    ("a.b", "axb", False),
    ("a\\b", "a\\b", True),
    ("é*", "été/ecole", False),
    ("é*", "x/été", True),
    ("?", "a", True),
    ("?", "ab", False),
    ("?", "x/a", True),
    ("?", "\n", True),
    ("a?c", "a/c", False),
    ("*", "a/b/c", True),
    ("**", "a/b/c", True),
    ("a**z", "a-z", True),
    ("a**z", "x/abcz", True),
    ("a**z", "a/z", False),
    # Sets.
    ("*.log.[0-9]", "app.log.1", True),
    ("*.log.[0-9]", "app.log.10", False),
    ("*.log.[0-9]", "app.log.x", False),
    ("[abc].x", "b.x", True),
    ("[abc].x", "d.x", False),
    ("[abc].x", "bb.x", False),
    ("[!abc].x", "d.x", True),
    ("[!abc].x", "a.x", False),
    ("a[!b]c", "a/c", False),
    ("[!a-c]", "b", False),
    ("[!a-c]", "d", True),
    ("[a-]x", "-x", True),
    ("[.]x", ".x", True),
    ("[.]x", "ax", False),
    ("[\\d]", "7", False),
    ("[\\d]", "d", True),
    ("[^a]", "b", False),
    ("[!!]x", "ax", True),
    ("[!!]x", "!x", False),
    ("[!!a]x", "!x", False),
    ("[!!a]x", "ax", False),
    ("[!!a]x", "bx", True),
    ("[a!]x", "!x", True),
    ("a[!]", "ab", False),
    ("a[!]", "a[!]", True),
    ("a[!]b[c]", "a[!]bc", True),
    ("x/a[+-9]b", "x/a.b", True),
    ("x/a[+-9]b", "x/a/b", False),
    ("x/a[!b]c", "x/a/c", False),
    ("a[", "a[", True),
    ("a[b", "a[b", True),
    ("a[]", "a[]", True),
    ("a]", "a]", True),
    ("x[!]", "x!", False), ("x[!]", "x[!]", True),
    ("x[!]", "xa", False),
    ("x[!!a]", "x!", False),
    ("x[!!a]", "xa", False),
    ("x[!!a]", "xb", True),
    ("[+--]", ",", True),
    ("[+--]", "-", True),
    ("[+--]", ".", False),
    ("[--a]", "B", True),
    ("a**/z", "a/z", True), ("a**/z", "ab/z", True), ("a**/z", "ab/c/z", True),
    ("a**/z", "az", False), ("a**/z", "abz", False), ("x/a**/z", "x/a/z", True), ("x/a**/z", "x/az", False),
    ("d/**a*b", "d/xa/ab", True), ("d/**/a*b", "d/ac/ab", True), ("d/x*b/a*c", "d/xbb/abac", True),
    ("[!a]x", "!x", True),
    ("***.tmp", "a.tmp", True),
    ("***.tmp", "a.tmpx", False),
    # With a slash: the path from the root.
    ("logs/a.log", "logs/a.log", True),
    ("logs/a.log", "x/logs/a.log", False),
    ("logs/a.log", "logs/a.log/b", False),
    ("logs/*.log", "logs/a.log", True),
    ("logs/*.log", "logs/x/a.log", False),
    ("logs/**/*.log", "logs/a.log", True),
    ("logs/**/*.log", "logs/x/a.log", True),
    ("logs/**/*.log", "logs/x/y/z/a.log", True),
    ("logs/**/*.log", "xlogs/a.log", False),
    ("logs/**/*.log", "y/logs/a.log", False),
    ("logs/**/*.log", "logs/a.log/b", False),
    ("logs/**", "logs/x/y", True),
    ("logs/**", "logs", False),
    ("logs/**", "logsx/y", False),
    ("a/?/c", "a/b/c", True),
    ("a/?/c", "a/bb/c", False),
    ("x/a?c", "x/abc", True),
    ("x/a?c", "x/a/c", False),
    ("a/x**y", "a/xb/c/dy", True),
    ("a/x**y", "a/bx/cy", False),
    ("a/[bc]/d", "a/c/d", True),
    ("a/[bc]/d", "a/d/d", False),
    ("a/*", "a/two\nlines", True),
    ("A/b", "a/b", False),
    # Leading **: from the root, and in every folder.
    ("**/x.tmp", "x.tmp", True),
    ("**/x.tmp", "a/b/x.tmp", True),
    ("**/x.tmp", "a/bx.tmp", False),
    ("a/**/**/x.tmp", "a/x.tmp", True),
    ("a/**/**/x.tmp", "a/b/c/d/x.tmp", True),
    ("a/**/**/x.tmp", "a/b/cx.tmp", False),
    ("./**/x.tmp", "x.tmp", True),
    ("./**/x.tmp", "a/b/x.tmp", True),
    ("./**/x.tmp", "a/bx.tmp", False),
    ("**/__pycache__/*.pyc", "__pycache__/a.pyc", True),
    ("**/__pycache__/*.pyc", "a/b/__pycache__/a.pyc", True),
    ("**/__pycache__/*.pyc", "a/__pycache__/b/a.pyc", False),
    ("**/__pycache__/*.pyc", "a/x__pycache__/a.pyc", False),
    ("**/__pycache__/*.pyc", "fold\ner/__pycache__/a.pyc", True),
    # A slash at the end: everything below a folder of that name, wherever it stands.
    ("logs/", "logs/a", True),
    ("logs/", "logs/x/y/a", True),
    ("logs/", "x/logs/a", True),
    ("logs/", "logs", False),
    ("logs/", "x/logs", False),
    ("logs/", "mylogs/a", False),
    ("logs/", "logs.old/a", False),
    ("logs/", "Logs/a", False),
    ("logs/", "a\nb/logs/c\nd", True),
    ("*.egg-info/", "x/foo.egg-info/PKG-INFO", True),
    ("*.egg-info/", "foo.egg-info", False),
    ("a/b/", "a/b/c", True),
    ("a/b/", "x/a/b/c", True),
    ("a/b/", "a/x/b/c", False),
    (".git/", ".git/config", True),
    (".git/", "sub/.git/config", True),
    (".git/", "xgit/config", False),
]


@pytest.mark.parametrize("pattern, path, yes", PATTERNS)
def test_a_pattern_names_what_the_table_says(pattern, path, yes):
    assert Matcher([pattern])(path) is yes
    assert Matcher(["nobody/has this", pattern, "nobody has this"])(path) is yes  # also among others
    part = path if "/" in pattern else path.rpartition("/")[2]
    assert bool(re.match(pattern_expression(pattern), part)) is yes
    assert NameFilter([pattern])(path) or not yes  # what is asked first passes no match over


@pytest.mark.parametrize("pattern, paths, others", [
    ("**/__pycache__/*.pyc", ["a.pyc", "x/b.pyc"], ["__pycache__/a.py"]),
    ("*.log.[0-9]", ["a.log.1", "a.log.b"], ["a.log", "a.txt"]),
    ("a*.log.[0-9]", ["b.log.x"], ["abc"]), ("logs/*", ["logs/x"], ["x"]),
    ("a/x**y", ["a/xb/cy"], ["cy", "b/xy"]), ("x/core", ["core", "y/core"], ["cores"])])
def test_what_is_asked_first_looks_at_a_part_of_the_pattern(pattern, paths, others):
    asked = NameFilter([pattern, "nobody has this"])
    assert [path for path in paths + others if asked(path)] == paths


def plainly(pattern):
    """The expression of a pattern piece by piece, which may take for ever."""
    wildcards = {"*": "[^/]*", "**": ".*", "***": ".*", "**/": "(?:[^/]+/)*", "?": "[^/]", "[!a]": "[^/a]"}
    pieces = re.findall(r"(?<=/)\*\*/|\*{2,3}|\*|\?|\[.*?\]|.", pattern)
    return "(?s:%s)\\Z" % "".join(wildcards.get(piece, piece) for piece in pieces)


def test_wildcards_that_are_read_without_coming_back_match_the_same_names():
    rng, compared = random.Random(5), 0
    for _ in range(3000):
        pieces = [rng.choice(("*", "*", "**", "**/", "/**/", "?", "[ab]", "[!a]", "a", "b", "a/", "/b", "ab"))
                  for _ in range(rng.randint(1, 7))]
        pattern = "a" + "".join(pieces) + rng.choice("ab")
        if "****" in pattern or "//" in pattern:
            continue
        expression, plain = re.compile(pattern_expression(pattern)), re.compile(plainly(pattern))
        for _ in range(30):
            name = re.sub("/+", "/", "a" + "".join(rng.choice("aabb/") for _ in range(rng.randint(0, 9))))
            assert bool(expression.match(name)) is bool(plain.match(name)), (pattern, name)
            compared += bool(plain.match(name))
    assert compared > 2000


@pytest.mark.parametrize("pattern", ["*" * 9 + "]", "**/" * 30 + "x]", "a" + "*" * 40 + "b/c", "*a" * 30 + "]",
                                     "**c" * 30 + "]", "*?" * 30 + "]", "*[!b]*b" * 9 + "]",
                                     "**/***/" * 20 + "]", "**/b/" * 20 + "]", "**/?*/" * 20 + "]",
                                     "a**/b**/" * 10 + "]", "a*/" + "**/*b*/" * 15 + "]"])
def test_wildcards_in_a_row_take_no_time(pattern):
    """They would try every way to share out a name between them: minutes."""
    began = time.process_time()
    assert not Matcher([pattern])("a" * 250 + "/" + "b/" * 60 + "c" * 250)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("pattern, path", [
    ("*.tmp", "A.TMP"), ("readme*", "docs/README.md"), ("Logs/", "x/lOGS/a"), ("É", "é"),
    ("[A-C].x", "b.X"), ("Entw\u00fcrfe", "Entwu\u0308rfe"), ("Entwu\u0308rfe/", "Entw\u00fcrfe/x"),
    ("stra\u00dfe?", "STRASSE1"), ("stra?e", "Stra\u00dfe")])
def test_case_and_composition_count_in_a_rule_and_not_in_a_protected_pattern(pattern, path):
    assert Matcher([pattern])(path) is False
    assert protecting(pattern).protection(path) == "protected by '%s': so it is" % pattern


# What a protected pattern covers, and what a person does not mean by it.
COVERED = [
    ("drafts", ["drafts", "drafts/plan.tmp", "a/drafts/b/c", "DRAFTS/x"], ["drafts2/x", "mydrafts"]),
    ("drafts/", ["drafts/plan.tmp", "a/drafts/b/c", "drafts"], ["drafts2/x"]),
    ("./keep/", ["keep/plan.tmp", "keep"], ["a/keep/plan.tmp", "keep2/x"]),
    ("./plan.tmp", ["plan.tmp", "plan.tmp/x"], ["a/plan.tmp"]),
    ("one/plan.tmp/", ["one/plan.tmp", "one/plan.tmp/x", "a/one/plan.tmp"], ["one/plan", "two/plan.tmp"]),
    ("one/plan.tmp", ["one/plan.tmp", "one/plan.tmp/x"], ["a/one/plan.tmp"]),
    ("data/**/*.tmp", ["data/x.tmp", "data/a/b/x.tmp", "data/a.tmp/b"], ["x.tmp", "a/data/x.tmp"]),
    ("./**/x.key", ["x.key", "a/x.key", "a/b/x.key/c"], ["ax.key"]),
    ("**/vendor/*", ["vendor/a", "a/vendor/b/c"], ["vendor"]),
    ("*.keep", ["a.keep", "b/c.keep", "x.keep/y.tmp"], ["a.keeper"]),
    ("src/*", ["src/a", "src/a/b/c"], ["a/src/b"]),
]


@pytest.mark.parametrize("pattern, paths, others", COVERED)
def test_a_protected_pattern_covers_files_and_folders_and_what_is_below(pattern, paths, others):
    rules = protecting(pattern)
    assert [path for path in paths if not rules.protection(path)] == []
    assert [path for path in others if rules.protection(path)] == []


def test_a_folder_is_asked_for_with_a_slash_at_its_end():
    for pattern in ("keep/", "keep", "./a/keep", "a/keep/", "**/keep/?*"):
        covers_itself = pattern != "**/keep/?*"
        assert bool(protecting(pattern).protection("a/keep/")) is covers_itself
        assert protecting(pattern).protection("a/keep/x/") != ""


def protecting(*patterns, **more):
    return build_rules(document(protected=[dict({"patterns": list(patterns), "reason": "so it is"}, **more)]), "here")


def test_a_path_that_is_protected_is_named_by_no_rule():
    given = document(rule(patterns=["*.tmp", "b/*"]), protected=[
        {"patterns": ["keep.tmp"], "reason": "x", "generated": False}, {"patterns": ["old.tmp"], "reason": "x"}])
    rules = build_rules(given, "here")
    named = [path for path in ("a.tmp", "b/a", "keep.tmp", "old.tmp", "b/keep.tmp", "a")
             if rules.naming(path) is not None]
    assert named == ["a.tmp", "b/a"]
    assert rules.coverage(["a.tmp", "b/keep.tmp", "old.tmp"]) == [
        ("rule temporary", "*.tmp", 3), ("rule temporary", "b/*", 1), ("protected", "keep.tmp", 1),
        ("protected", "old.tmp", 1)]


def test_a_rule_that_is_off_is_counted_as_if_it_were_on():
    rules = build_rules(document(rule(enabled=False)), "here")
    assert rules.coverage(["a.tmp", "b"]) == [("rule temporary", "*.tmp", 1)]


def test_a_matcher_without_patterns_matches_nothing():
    assert Matcher([])("a") is False and Matcher([])("") is False and Matcher(["a/b"])("b") is False


def test_the_first_rule_that_names_a_path_is_the_one_that_counts_and_protection_is_told_apart():
    rules = build_rules({"rules": [rule("first", ["*.tmp"]), rule("second", ["*.tmp", "*.bak"])],
                         "protected": [{"patterns": ["keep*", "Vault/"], "reason": "it is dear to us"}]}, "here")
    assert rules.rule_for("a/x.tmp").name == "first" and rules.rule_for("a/x.bak").name == "second"
    assert rules.rule_for("a/x.txt") is None
    assert [one.rank for one in rules.rules] == [0, 1]
    assert rules.names_some("a/x.bak") is True and rules.names_some("a/x.txt") is False
    assert [one.name for one in rules.rules_for("x.tmp")] == ["first", "second"]
    assert rules.protection("a/KEEP.tmp") == "protected by 'keep*': it is dear to us"
    assert rules.protection("x/vault/y/a.tmp") == "protected by 'Vault/': it is dear to us"
    assert rules.protection("a/x.tmp") == ""


# -- documents

def rule(name="temporary", patterns=("*.tmp",), older_than="14d", reason="nobody needs these any more", **more):
    return dict({"name": name, "patterns": list(patterns), "older_than": older_than, "reason": reason}, **more)


def document(*rules, **more):
    return dict({"rules": list(rules) or [rule()], "protected": []}, **more)


def without(key, **more):
    raw = rule(**more)
    del raw[key]
    return raw


def test_a_rule_is_read_with_its_age_in_seconds_and_all_classes_unless_it_says_which():
    rules = build_rules(document(rule(older_than="36h"), rule("two", classes=["ignored"])), "here").rules
    assert rules == (
        CleanupRule(name="temporary", patterns=("*.tmp",), age_s=129600.0, classes=("ignored", "untracked", "no-git"),
                    reason="nobody needs these any more", rank=0),
        CleanupRule(name="two", patterns=("*.tmp",), age_s=1209600.0, classes=("ignored",),
                    reason="nobody needs these any more", rank=1))


PATTERNS_ALLOWED = "use a list of patterns such as \"*.tmp\" or \"logs/**/*.log\""
KEYS = "beside, classes, content, enabled, folders, generated, holds, marker, name, older_than, only, original, " \
       "patterns, reason, references, source, stale, unless"
AGE_ALLOWED = "use an age such as \"14d\" or \"36h\""
NAME_ALLOWED = "use letters, digits, '_', '.', '-'"
REASON_ALLOWED = "use a text that says why"
CLASSES_ALLOWED = "use a list of ignored, untracked, no-git"
RULES_ALLOWED = "use a list of rules, safest first, at least one"
PROTECTED_ALLOWED = "use a list of objects with patterns and a reason"

WRONG = [
    ([], "here: the document is not an object (use {\"rules\": [...], ...})"),
    ("x", "here: the document is not an object (use {\"rules\": [...], ...})"),
    (None, "here: the document is not an object (use {\"rules\": [...], ...})"),
    ({"protected": []}, "here: rules is missing (%s)" % RULES_ALLOWED),
    ({"rules": [rule()]}, "here: protected is missing (%s)" % PROTECTED_ALLOWED),
    ({"rules": [], "protected": []}, "here: rules: [] is not allowed (%s)" % RULES_ALLOWED),
    ({"rules": {}, "protected": []}, "here: rules: {} is not allowed (%s)" % RULES_ALLOWED),
    ({"rules": None, "protected": []}, "here: rules: null is not allowed (%s)" % RULES_ALLOWED),
    (document(protected={}), "here: protected: {} is not allowed (%s)" % PROTECTED_ALLOWED),
    (document(protects=[]), "here: unknown key 'protects' (did you mean 'protected'?)"),
    (document(zebra=1), "here: unknown key 'zebra' (allowed are protected, rules)"),
    (document("*.tmp"), "here: rules[0]: an entry cannot be of type str "
                        "(use an object with %s)" % KEYS),
    (document(rule(), None), "here: rules[1]: an entry cannot be of type NoneType "
                             "(use an object with %s)" % KEYS),
    (document(without("name")), "here: rules[0]: name is missing (%s)" % NAME_ALLOWED),
    (document(without("patterns")), "here: rules[0]: a rule is either about files or about folders "
                                    "(use one of patterns and folders)"),
    (document(without("older_than")), "here: rules[0]: older_than is missing (%s)" % AGE_ALLOWED),
    (document(without("reason")), "here: rules[0]: reason is missing (%s)" % REASON_ALLOWED),
    (document(rule(older_then="3d")), "here: rules[0]: unknown key 'older_then' (did you mean 'older_than'?)"),
    (document(rule(class_="ignored")), "here: rules[0]: unknown key 'class_' (did you mean 'classes'?)"),
    (document(rule(name="a b")), "here: rules[0]: name: \"a b\" is not allowed (%s)" % NAME_ALLOWED),
    (document(rule(name="")), "here: rules[0]: name: \"\" is not allowed (%s)" % NAME_ALLOWED),
    (document(rule(name=7)), "here: rules[0]: name: 7 is not allowed (%s)" % NAME_ALLOWED),
    (document(rule(patterns=[])), "here: rules[0]: patterns: [] is not allowed (%s)" % PATTERNS_ALLOWED),
    (document(dict(rule(), patterns="*.tmp")),
     "here: rules[0]: patterns: \"*.tmp\" is not allowed (%s: [\"*.tmp\"])" % PATTERNS_ALLOWED),
    (document(rule(patterns=[""])), "here: rules[0]: patterns: [\"\"] is not allowed (%s)" % PATTERNS_ALLOWED),
    (document(rule(patterns=[" "])), "here: rules[0]: patterns: [\" \"] is not allowed (%s)" % PATTERNS_ALLOWED),
    (document(rule(patterns=["*.a", 5])), "here: rules[0]: patterns: [\"*.a\", 5] is not allowed (%s)" %
     PATTERNS_ALLOWED),
    (document(rule(patterns=["a\0b"])), "here: rules[0]: patterns: [\"a\\u0000b\"] is not allowed (%s)" %
     PATTERNS_ALLOWED),
    (document(rule(older_than="14")), "here: rules[0]: older_than: \"14\" is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(older_than=14)), "here: rules[0]: older_than: 14 is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(older_than="0d")), "here: rules[0]: older_than: \"0d\" is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(older_than="-3d")), "here: rules[0]: older_than: \"-3d\" is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(older_than="3y")), "here: rules[0]: older_than: \"3y\" is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(older_than="14d\n")), "here: rules[0]: older_than: \"14d\\n\" is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(older_than="٣d")), "here: rules[0]: older_than: \"٣d\" is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(older_than=None)), "here: rules[0]: older_than: null is not allowed (%s)" % AGE_ALLOWED),
    (document(rule(classes=[])), "here: rules[0]: classes: [] is not allowed (%s)" % CLASSES_ALLOWED),
    (document(rule(classes="ignored")),
     "here: rules[0]: classes: \"ignored\" is not allowed (%s: [\"ignored\"])" % CLASSES_ALLOWED),
    (document(rule(classes=["tracked"])), "here: rules[0]: classes: [\"tracked\"] is not allowed (%s)" %
     CLASSES_ALLOWED),
    (document(rule(classes=["ignored", "tracked"])),
     "here: rules[0]: classes: [\"ignored\", \"tracked\"] is not allowed (%s)" % CLASSES_ALLOWED),
    (document(rule(classes=[["ignored"]])), "here: rules[0]: classes: [[\"ignored\"]] is not allowed (%s)" %
     CLASSES_ALLOWED),
    (document(rule(reason=" ")), "here: rules[0]: reason: \" \" is not allowed (%s)" % REASON_ALLOWED),
    (document(rule(reason=["x"])), "here: rules[0]: reason: [\"x\"] is not allowed (%s)" % REASON_ALLOWED),
    (document(rule("a"), rule("b"), rule("a")), "here: rules: name 'a' is used twice (names must be unique)"),
    (document(protected=["*.key"]),
     "here: protected[0]: an entry cannot be of type str (use an object with generated, members, patterns, reason)"),
    (document(protected=[{"patterns": ["*.key"]}]), "here: protected[0]: reason is missing (%s)" % REASON_ALLOWED),
    (document(protected=[{"reason": "so it is"}]), "here: protected[0]: patterns is missing (%s)" % PATTERNS_ALLOWED),
    (document(protected=[{"patterns": [], "reason": "so it is"}]),
     "here: protected[0]: patterns: [] is not allowed (%s)" % PATTERNS_ALLOWED),
    (document(protected=[{"patterns": ["*.key"], "reason": "so it is", "name": "keys"}]),
     "here: protected[0]: unknown key 'name' (allowed are generated, members, patterns, reason)"),
]


@pytest.mark.parametrize("raw, said", WRONG, ids=[said[:60] for _, said in WRONG])
def test_a_wrong_document_is_refused_with_place_value_and_what_is_allowed(raw, said):
    with pytest.raises(sc.ConfigError) as caught:
        build_rules(raw, "here")
    assert [str(problem) for problem in caught.value.problems] == [said]


def test_several_problems_are_reported_together():
    with pytest.raises(sc.ConfigError) as caught:
        build_rules(document(rule("a b", [], "soon", ""), rule("twice"), rule("twice", colour="red"), 5,
                             protected=[{"patterns": ["/x"]}, rule("twice")]), "here")
    assert [str(problem).partition(" (")[0] for problem in caught.value.problems] == [
        "here: rules[0]: name: \"a b\" is not allowed",
        "here: rules[0]: patterns: [] is not allowed",
        "here: rules[0]: older_than: \"soon\" is not allowed",
        "here: rules[0]: reason: \"\" is not allowed",
        "here: rules[2]: unknown key 'colour'",
        "here: rules[3]: an entry cannot be of type int",
        "here: protected[0]: reason is missing",
        "here: protected[1]: unknown key 'name'",
        "here: protected[1]: unknown key 'older_than'",
        "here: rules: name 'twice' is used twice",
    ]


EVERYTHING = "it matches nearly everything (write what the names have in common)"
BACKWARDS = "the order of a set is wrong (write [a-z], not [z-a])"
ABSOLUTE = "paths are relative to the root"
FROM_ROOT = " (write its path from the root)"
SPELLED = "no path is spelled like that"
# Patterns that nobody can mean, and what is said: most would silently match nothing.
UNMEANT = [(pattern, EVERYTHING) for pattern in (
    "*", "**", "**/*", "*/", "**/", "?*", "*?", "**/?*", "?*/", "**/**/?*", "*.*", "[!x]*", "[!.]*", "*[!~]", "[a-z]*",
    ".*", "**/*.*", "*/*.*", "**/[!x]*", "./*", "???*", "*/*")]
UNMEANT += [(pattern, BACKWARDS) for pattern in ("[z-a].tmp", "x[9-0]", "a/[b-a]/c", "[Z-a].tmp")]
UNMEANT += [
    ("/a", ABSOLUTE + FROM_ROOT), ("/", ABSOLUTE + FROM_ROOT), ("~/a", ABSOLUTE + FROM_ROOT),
    ("a//b", SPELLED + " (write 'a/b')"), ("a/./b", SPELLED + " (write 'a/b')"), ("./", SPELLED), (".", SPELLED),
    ("../x", "it leads out of the root"), ("a/../x", SPELLED + " (write 'x')"),
    ("..", "it leads out of the root"), ("*/.", SPELLED), ("x\\\\y", "a backslash separates no folders"),
    ("src\\", "a backslash separates no folders (write 'src/')"),
    ("src\\*.tmp", "a backslash separates no folders (write 'src/*.tmp')"),
    ("*.{tmp,bak}", "braces are not expanded (write one pattern for each)"),
    ("!keep", "there is no negation (list what is meant; '?' matches a '!' too)"),
    (" ", "a pattern is a text that is not blank"),
]


@pytest.mark.parametrize("pattern, said", UNMEANT)
def test_a_pattern_that_cannot_be_meant_is_refused_with_what_to_write(pattern, said):
    problem, _, advice = said.partition(" (")
    assert cleanup_rules.pattern_fault(pattern) == (problem, advice.rstrip(")"))
    if pattern.strip():
        for wrong in (document(rule(patterns=["*.tmp", pattern])),
                      document(protected=[{"patterns": [pattern], "reason": "so it is"}])):
            with pytest.raises(sc.ConfigError) as caught:
                build_rules(wrong, "here")
            key = "rules[0]" if wrong["protected"] == [] else "protected[0]"
            problem = "here: %s: patterns: '%s': %s" % (key, pattern, said)
            assert [str(one) for one in caught.value.problems] == [problem]


@pytest.mark.parametrize("pattern, fault", [
    ("ROOT/drafts", (ABSOLUTE, "write 'drafts'")), ("ROOT/a/b/", (ABSOLUTE, "write 'a/b/'")),
    ("LINK/a/*.tmp", (ABSOLUTE, "write 'a/*.tmp'")), ("~/root/a", (ABSOLUTE, "write 'a'")),
    ("ROOT", ("it is the root itself", "write what in it is meant")),
    ("ROOTS/x", (ABSOLUTE + ", and it is outside of the root", "")),
    ("/drafts", (ABSOLUTE + ", and it is outside of the root", ""))])
def test_an_absolute_path_is_hinted_at_from_the_root_or_not_at_all(tmp_path, monkeypatch, pattern, fault):
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(str(tmp_path / "root"))
    monkeypatch.setenv("HOME", str(tmp_path))
    text = pattern.replace("ROOTS", str(tmp_path / "roots")).replace("ROOT", str(tmp_path / "root"))
    text = text.replace("LINK", str(tmp_path / "link"))
    assert cleanup_rules.pattern_fault(text, str(tmp_path / "root")) == fault


@pytest.mark.parametrize("pattern", [
    "*.tmp", "*~", "core", "core.*", "#*#", "._*", "*.o", "*.[ch]", "[Tt]humbs.db", "src/**", "src/*", "**/logs/*.log",
    "./keep/", "./a", "one/plan.tmp/", "*.log.[0-9]", "{{x}}", "a b", "[\\]x", "*_key*", "?", "*X*", "l**",
    "d\u00e9j\u00e0 vu*"])
def test_a_pattern_that_can_be_meant_is_taken(pattern):
    assert cleanup_rules.pattern_fault(pattern) is None


# Keys that do not go together, or hold what cannot be meant.
FOLDERS = {"name": "caches", "folders": ["__pycache__"], "older_than": "14d", "reason": "nobody needs these any more"}
CONTENTS = ("appledouble", "cachedir-tag", "cachedir-tag-of-a-tool", "cmake-cache", "cmake-file", "core-dump",
            "go-program", "java-heap-dump", "sqlite")
UNFIT = [
    (dict(FOLDERS, patterns=["*.tmp"]),
     "a rule is either about files or about folders (use one of patterns and folders)"),
    (rule(marker=["x"]), "marker says nothing of a file (use it with folders)"),
    (rule(only=["*.pyc"]), "only says nothing of a file (use it with folders)"),
    (rule(stale=True), "stale says nothing of a file (use it with folders)"),
    (dict(FOLDERS, content="cachedir-tag"), "content: a folder has none (use marker for the file to look at)"),
    (dict(FOLDERS, folders=["*"]), "folders: '*' matches nearly everything (tell such folders by marker and content)"),
    (dict(FOLDERS, folders=["*"], marker=["CACHEDIR.TAG"]),
     "folders: '*' matches nearly everything (tell such folders by marker and content)"),
    (dict(FOLDERS, folders=["/x"]), "folders: '/x': paths are relative to the root (write its path from the root)"),
    (dict(FOLDERS, folders=["[a-z]*"]), "folders: '[a-z]*': " + EVERYTHING),
    (dict(FOLDERS, only=["lib\\x"]), "only: 'lib\\x': a backslash separates no folders (write 'lib/x')"),
    (dict(FOLDERS, folders=[]), "folders: [] is not allowed (use a list of folders such as \"__pycache__\" or "
                                "\"target/debug\")"),
    (dict(FOLDERS, marker=["*.json"]), "marker: [\"*.json\"] is not allowed (use a list of names or of paths from the "
                                       "folder, such as \"PKG-INFO\", without wildcards)"),
    (dict(FOLDERS, marker=["a", "b/"]), "marker: [\"a\", \"b/\"] is not allowed (use a list of names or of paths from "
                                        "the folder, such as \"PKG-INFO\", without wildcards)"),
    (dict(FOLDERS, marker=["a//b"]), "marker: [\"a//b\"] is not allowed (use a list of names or of paths from the "
                                     "folder, such as \"PKG-INFO\", without wildcards)"),
    (dict(FOLDERS, beside=["/etc"]), "beside: [\"/etc\"] is not allowed (use a list of names or of paths from the "
                                     "folder that holds it, such as \"../Cargo.toml\", without wildcards)"),
    (dict(FOLDERS, unless=[]), "unless: [] is not allowed (use a list of names or of paths from the folder that holds "
                               "it, such as \".env\", without wildcards)"),
    (rule(original="older"), "original: \"older\" is not allowed (use \"there\" or \"newer\")"),
    (rule(content="elf"), "content: \"elf\" is not allowed (use one of %s)" % ", ".join(CONTENTS)),
    (rule(content=["core-dump"]), "content: [\"core-dump\"] is not allowed (use one of %s)" % ", ".join(CONTENTS)),
    (dict(FOLDERS, folders=["*"], marker=["a", "a/b"], content="cachedir-tag"),
     "marker: of any folder, it must lie in the folder itself (use a name)"),
    (rule(generated=1), "generated: 1 is not allowed (use true or false)"),
    (rule(enabled="no"), "enabled: \"no\" is not allowed (use true or false)"),
    (dict(FOLDERS, stale="yes"), "stale: \"yes\" is not allowed (use true or false)"),
    (rule(source=" "), "source: \" \" is not allowed (use a text that says where the convention is from)"),
]


@pytest.mark.parametrize("raw, said", UNFIT, ids=[said[:50] for _, said in UNFIT])
def test_keys_that_cannot_be_meant_are_refused_with_place_value_and_what_is_allowed(raw, said):
    with pytest.raises(sc.ConfigError) as caught:
        build_rules(document(raw), "here")
    assert [str(problem) for problem in caught.value.problems] == ["here: rules[0]: " + said]


@pytest.mark.parametrize("value, yes", [("a", True), ("b", True), ("c", False), (["a"], False), ({}, False),
                                        (0, False)])
def test_one_of_some_names_is_a_text(value, yes):
    assert cleanup_rules._is_one_of({"a": 1, "b": 2})(value) is yes


def test_all_keys_of_a_rule_are_read():
    raw = dict(FOLDERS, marker=["a/b"], beside=["../x"], unless=["{name}/y"], only=["*.pyc"], stale=True,
               content="cachedir-tag", generated=True, references=True, source="a manual", enabled=False,
               classes=["ignored"])
    read = build_rules(document(raw), "here").rules[0]
    assert read == CleanupRule(
        name="caches", folders=("__pycache__",), age_s=1209600.0, classes=("ignored",), marker=("a/b",),
        beside=("../x",), unless=("{name}/y",), only=("*.pyc",), stale=True, content="cachedir-tag", generated=True,
        references=True, source="a manual", enabled=False, reason="nobody needs these any more")


# -- folders, copies and figures

def test_folders_are_named_at_any_depth():
    rules = build_rules(document(dict(FOLDERS, folders=["__pycache__", "target/debug", "./out", "*.egg-info"])), "here")
    named = ["__pycache__", "a/__pycache__", "target/debug", "a/b/target/debug", "out", "a/b.egg-info"]
    others = ["x__pycache__", "debug", "target", "target/debug/deps", "a/out", "a/target/debugger", "egg-info"]
    assert [path for path in named + others if rules.folder_rules(path, False)] == named


def test_a_rule_that_is_switched_off_names_nothing():
    rules = build_rules(document(rule(enabled=False), dict(FOLDERS, enabled=False)), "here")
    assert rules.rule_for("a.tmp") is None and not rules.names_some("a.tmp")
    assert rules.folder_rules("__pycache__", False) == () and rules.naming("__pycache__/a.pyc") is None
    assert len(rules.rules) == 2


@pytest.mark.parametrize("path, original", [
    ("a/foo.py~", "a/foo.py"), ("foo~", "foo"), ("#foo.py#", "foo.py"), (".foo.py.swp", "foo.py"),
    ("a/.foo.swo", "a/foo"), ("foo.swp", "foo"), (".foo.un~", "foo"), ("foo.py.orig", "foo.py"), ("foo.rej", "foo"),
    ("foo.bak", "foo"), ("foo.old", "foo"), ("foo.txt.~12~", "foo.txt"), (".#foo.c.1.7", "foo.c"), (".#foo.c", "foo.c"),
    ("a/foo_BACKUP_4711.py", "a/foo.py"), ("foo_LOCAL_1", "foo"), ("x.y_REMOTE_1.py", "x.y.py"),
    ("a/.ipynb_checkpoints/b-checkpoint.ipynb", "a/b.ipynb"), (".ipynb_checkpoints/b c-checkpoint.txt", "b c.txt"),
    ("two\nlines~", "two\nlines"), ("a/access-2024-01-01.log", "a/access.log"), ("x.20240101.log", "x.log"),
    ("~", ""), ("#", ""), ("##", ""), (".swp", ""), ("foo.py", ""), ("foo_BASE_.py", ""), ("_BASE_1.py", ""),
    ("a/.ipynb_checkpoints/b.ipynb", ""), ("foo.txt", ""),
    ("a/x.log.1", "a/x.log"), ("x.log.12.gz", "x.log"), ("x.log.xz", "x.log"), ("x.log-20240101.gz", "x.log"),
    ("x.log.2024-01-01", "x.log"), ("x.log.txt", ""),
    ("target/classes/A.class", ""), ("target/classes/META-INF/MANIFEST.MF", ""),
    ("a/target/classes/b/c.xml", "a/src/main/resources/b/c.xml"),
    ("target/test-classes/c.xml", "src/test/resources/c.xml"),
    ("build/resources/test/c.xml", "src/test/resources/c.xml"),
])
def test_a_copy_is_told_by_how_programs_name_it(path, original):
    assert cleanup_rules.copied_from(path) == ((original,) if original else ())


def test_what_is_built_is_a_copy_of_either_layout():
    for folder in ("lib", "lib.linux-x86_64-cpython-311"):
        assert cleanup_rules.copied_from("a/build/%s/b/c.py" % folder) == ("a/b/c.py", "a/src/b/c.py")
        assert cleanup_rules.copied_from("build/%s/b/py.typed" % folder) == ("b/py.typed", "src/b/py.typed")
        assert cleanup_rules.copied_from("build/%s/b/c.so" % folder) == ()
    assert cleanup_rules.copied_from("build/scripts-3.11/run") == ("run", "bin/run", "scripts/run")


@pytest.mark.parametrize("name", [
    "x.cpython-311.pyc", "x.cpython-311.opt-1.pyc", "x.pypy39.pyc", "x.cpython-311-pytest-7.4.3.pyc", "x.pyc", "x.pyo"])
def test_bytecode_is_a_copy_of_its_module(name):
    assert cleanup_rules.copied_from("a/__pycache__/" + name) == ("a/x.py", "a/x.pyw")
    assert cleanup_rules.copied_from("a/__pycache__/my." + name)[0] == "a/my.x.py"


def test_a_number_behind_a_name_makes_no_merge():
    assert cleanup_rules.merged_with("a/b_BASE_12.py") == (
        "a/b_BACKUP_12.py", "a/b_LOCAL_12.py", "a/b_REMOTE_12.py")
    assert cleanup_rules.merged_with("a/b.py.orig") == cleanup_rules.merged_with("b_BASE_x.py") == ()


PERSONAL = """
    a.csv a/b.XLSX notes NOTES.old todo passwords Password.x k.pem x.csv.bak k.key~ .plan.md.swp
""".split()
OF_TOOLS = """
    a.bin csv 0123abc x.pyc libpassword_hash-1a.rlib index.html password-hash/x.d notestore.d
""".split()


def test_what_a_person_put_into_a_folder_is_told_by_its_name():
    assert [name for name in PERSONAL if not cleanup_rules.is_personal(name)] == []
    assert [name for name in OF_TOOLS if cleanup_rules.is_personal(name)] == []


def test_a_rule_says_which_of_these_its_tool_writes():
    rules = build_rules(document(
        dict(FOLDERS, name="a", only=["data/", "README.md", "x*"]), dict(FOLDERS, name="b", holds=["*"]),
        dict(FOLDERS, name="c", holds=["./lib/", "R.txt"]), dict(FOLDERS, name="d")), "here")
    answers = {name: [member for member in ("README.md", "data/a.csv", "data/a.bin", "x.csv", "lib/a.csv", "a/R.txt")
                      if rules.belongs(one, member)] for name, one in zip("abcd", rules.rules)}
    assert answers == {
        "a": ["README.md", "data/a.bin"],
        "b": ["README.md", "data/a.csv", "data/a.bin", "x.csv", "lib/a.csv", "a/R.txt"],
        "c": ["data/a.bin", "lib/a.csv", "a/R.txt"], "d": ["data/a.bin"]}


def test_the_copies_of_protected_files_that_editors_make_are_protected():
    rules = protecting("*.key", "id_*", "*secret*")
    for path in ("#server.key#", ".server.key.swp", "server.key~", "server.key.bak", "server_BASE_12.key",
                 "id_rsa.bak", "a/id_ed25519.old", "my secret.txt~", ".#server.key"):
        assert rules.protection(path), path


def test_what_is_not_meant_for_generated_things_does_not_keep_them():
    rules = build_rules(document(protected=[
        {"patterns": ["*token*", "migrations/"], "reason": "it may be one", "generated": False},
        {"patterns": ["site-packages/"], "reason": "a package manager did it", "members": False},
        {"patterns": ["*.key"], "reason": "it is one"}]), "here")
    asked = [
        ("tokens.pyc", True, False, ""), ("tokens.pyc", False, False, "it may be one"),
        ("migrations/x.pyc", True, True, ""), ("migrations/x.pyc", False, True, "it may be one"),
        ("site-packages/a", True, False, "a package manager did it"), ("site-packages/a", True, True, ""),
        ("site-packages/a", False, True, ""), ("a.key", True, True, "it is one")]
    for path, generated, member, reason in asked:
        assert rules.protection(path, generated, member).partition(": ")[2] == reason, (path, generated, member)


def test_coverage_counts_what_each_pattern_matches_now():
    rules = build_rules(document(rule(patterns=["*.tmp", "*.temp"]), dict(FOLDERS, enabled=False),
                                 protected=[{"patterns": ["drafts", "Keep/"], "reason": "so it is"}]), "here")
    paths = ["a.tmp", "drafts/b.tmp", "drafts/c", "x/__pycache__/a.pyc", "x/__pycache__/b.pyc", "y/__pycache__/a.pyc"]
    assert rules.coverage(paths) == [
        ("rule temporary", "*.tmp", 2), ("rule temporary", "*.temp", 0), ("rule caches", "__pycache__", 2),
        ("protected", "drafts", 2), ("protected", "Keep/", 0)]


def test_a_name_alone_tells_of_a_file_or_of_what_lies_in_a_folder():
    rules = build_rules(document(
        FOLDERS, rule("cores", ["core"], content="core-dump"), rule(patterns=["*.x", "*.tmp"])), "here")
    assert [(found[0].name, found[1]) if found else None for found in map(rules.naming, (
        "a/__pycache__/b/c.pyc", "a.tmp", "core", "b.txt"))] == [
        ("caches", "__pycache__"), ("temporary", "*.tmp"), None, None]


TAG = b"Signature: 8a477f597d28d172789f06886806bc55"
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        "
ENTRY = b"\0\0\0\x09\0\0\0\x32\0\0\0\x20"      # of the Finder's information
RESOURCES = b"\0\0\0\2\0\0\0\x52\0\0\1\x1f"  # a resource fork, a byte longer than an empty one
HEADS = {
    "core-dump": [b"\x7fELF\2\1\1" + bytes(9) + b"\4\0", b"\x7fELF\2\2\1" + bytes(9) + b"\0\4",
                  b"\xcf\xfa\xed\xfe" + bytes(8) + b"\4\0\0\0", b"\xfe\xed\xfa\xcf" + bytes(8) + b"\0\0\0\4"],
    "go-program": [b"\x7fELF\2\1\1" + bytes(99) + b"\4\0\0\0Go\0\0id",
                   b"\xcf\xfa\xed\xfe" + bytes(99) + b"\xff Go build ID: \"x"],
    "cachedir-tag": [TAG, TAG + b"\n# x\n"],
    "cachedir-tag-of-a-tool": [
        TAG + b"\n# This file is a cache directory tag created by cargo.\n",
        TAG + b"\n# This file is a cache directory tag automatically created by mypy."],
    "appledouble": [APPLE + b"\0\0", APPLE + b"\0\1" + b"\0\0\0\x09\0\0\0\x32\0\0\0\x20",
                    APPLE + b"\0\2" + b"\0\0\0\x09\0\0\0\x32\0\0\0\x20" + b"\0\0\0\2\0\0\0\x52\0\0\1\x1e"],
    "cmake-cache": [b"# This is the CMakeCache file.\n"],
    "cmake-file": [b"# This is the CMakeCache file.\n", b"# CMAKE generated file: DO NOT EDIT!\n",
                   b"# Install script for directory: /a\n"],
    "java-heap-dump": [b"JAVA PROFILE 1.0.2\0"],
    "sqlite": [b"SQLite format 3\0"],
}
OTHER_HEADS = [
    b"", b"\x7fELF", b"\x7fELF\2\1\1" + bytes(9) + b"\3\0", b"\x7fELF\2\2\1" + bytes(9) + b"\4\0",
    b"\xcf\xfa\xed\xfe" + bytes(8) + b"\2\0\0\0", b"From alice@example.org", b"Go\0\0", b"Go build ID: ",
    b" " + TAG, TAG[:-1], b"\0\5\x16",
    b"\x7fELF\2\1\1" + bytes(9) + b"\4", b"\xcf\xfa\xed\xfe" + bytes(8) + b"\4\0\0", b"\xcf\xfa\xed\xfe",
    APPLE, APPLE + b"\0", APPLE + b"\0\2" + ENTRY + ENTRY[:-1], APPLE + b"\0\1" + ENTRY[:-1],
    APPLE + b"\0\2" + ENTRY + RESOURCES, APPLE + b"\0\2" + RESOURCES + ENTRY, APPLE + b"\0\3" + ENTRY * 2 + RESOURCES,
    APPLE + b"\0\2", APPLE + b"\0\1" + b"\0\0\0\2\0\0\0\x52\0\1\0\0",  # a resource fork with data
    b"# This file is a cache directory tag created by cargo."]


def test_content_is_told_by_its_first_bytes():
    assert sorted(HEADS) == sorted(cleanup_rules.CONTENTS)
    for name, check in cleanup_rules.CONTENTS.items():
        assert [head for head in HEADS[name] if not check(head)] == [], name
        assert [head for head in OTHER_HEADS if check(head)] == [], name
    sample = TAG + b"\n# This file is a cache directory tag created by (application name)."
    assert not cleanup_rules.CONTENTS["cachedir-tag-of-a-tool"](sample)  # copied from the specification


# -- files

def written(tmp_path, data, mode=0o600):
    path = tmp_path / "cleanup_rules.json"
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def problems_of(path):
    with pytest.raises(sc.ConfigError) as caught:
        read_rules(path, "config/cleanup_rules.json")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("data, said", [
    (b"", "config/cleanup_rules.json: line 1 column 1: not valid JSON: the file is empty (write {} at least)"),
    (b"{\"rules\": [}", "config/cleanup_rules.json: line 1 column 12: not valid JSON: a value is missing "
                        "(a value is \"text\", a number, true, false, null, [...] or {...})"),
    (b"{\"rules\": [],\n \"rules\": []}",
     "config/cleanup_rules.json: line 2 column 2: key 'rules' is used twice in one object (keep one of them; the first "
     "is on line 1)"),
    (b"{\"rules\": NaN}",
     "config/cleanup_rules.json: line 1 column 11: not valid JSON: NaN is not a JSON value (write null)"),
    (b"[" * 100000, "config/cleanup_rules.json: not valid JSON: nested too deeply"),
    (b"{\"r\xe9gles\": []}", "config/cleanup_rules.json: byte 3 is not UTF-8 (save it as UTF-8)"),
    (b"[]", "config/cleanup_rules.json: the document is not an object (use {\"rules\": [...], ...})"),
    (b"{}\0",
     "config/cleanup_rules.json: line 1 column 3: not valid JSON: text after the end of the document (remove it)"),
], ids=lambda value: str(value)[:40])
def test_a_file_that_is_no_document_is_refused_with_the_place(tmp_path, data, said):
    assert problems_of(written(tmp_path, data)) == [said]


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    assert problems_of(str(tmp_path / "nothing.json")) == [
        "config/cleanup_rules.json: cannot be read: No such file or directory"]
    assert problems_of(str(tmp_path)) == ["config/cleanup_rules.json: cannot be read: Is a directory"]


@pytest.mark.parametrize("mode, hint", [(0o666, "chmod go-w "), (0o602, "chmod o-w ")])
def test_a_file_that_others_can_write_to_is_refused(tmp_path, mode, hint):
    path = written(tmp_path, json.dumps(document()).encode(), mode)
    said = problems_of(path)
    assert len(said) == 1 and said[0].endswith("others can write to it (%s%s)" % (hint, path))
    os.chmod(path, 0o600)
    assert len(read_rules(path, "x").rules) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(tmp_path):
    path = written(tmp_path, json.dumps(document()).encode())
    os.chown(path, 65534, 65534)
    assert "belongs to another user (uid 65534)" in problems_of(path)[0]


def test_a_file_with_comments_and_a_byte_order_mark_is_read(tmp_path):
    text = "// why\n%s" % json.dumps(document(rule(patterns=["*.tmp", "//b.x".replace("/", "?")])), indent=1)
    assert read_rules(written(tmp_path, b"\xef\xbb\xbf" + text.encode()), "x").rules[0].patterns == ("*.tmp", "??b.x")


# -- the shipped rules

@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return read_rules(written(tmp_path_factory.mktemp("rules"), SHIPPED.read_bytes()), cleanup_rules.RULES_NAME)


def test_every_shipped_rule_and_protected_entry_has_a_reason_of_at_least_five_words(shipped):
    raw = sc.parse_document(SHIPPED.read_text(encoding="utf-8"), "shipped")
    reasons = [entry["reason"] for entry in raw["rules"] + raw["protected"]]
    assert len(reasons) == len(shipped.rules) + len(raw["protected"]) >= 15
    assert [reason for reason in reasons if len(reason.split()) < 5] == []
    assert len(set(reasons)) == len(reasons)


def test_no_shipped_rule_takes_anything_younger_than_two_weeks(shipped):
    assert [one.name for one in shipped.rules if one.age_s < 14 * sc.DAY] == []


def test_no_shipped_pattern_is_written_twice_or_protected_altogether(shipped):
    patterns = [text for one in shipped.rules for text in one.patterns]
    assert len(set(patterns)) == len(patterns)
    protected = {entry.pattern for entry in shipped.protected}
    assert protected.isdisjoint(patterns) and len(protected) == len(shipped.protected)


# Whatever rule may name them: these stay.
PROTECTED = """
    conductor_state.json.bak  sub/conductor_state.json  conductor_state.json.bad-20250602T100000Z.bak
    .env  .env.production  .ENV  prod.env  sub/.env.local  .envrc  .env.bak  .env.old  app/.env.production.bak
    server.pem  tls/server.key  ca.crt  ca.cer  cert.p12  cert.pfx  app.jks  release.keystore  mine.kdbx  data.gpg
    sig.asc  id_rsa  id_rsa.bak  id_rsa.pub  id_ed25519.old  authorized_keys  authorized_keys.bak  known_hosts.old
    .netrc  .pgpass  .htpasswd  credentials  credentials.json.bak  secrets.yml  secrets.yml.old  home/.ssh/config.bak
    .aws/config~  .kube/config.old  .gnupg/x.tmp  deploy/secrets/api.tmp
    deploy.sh  deploy.sh.bak  deploy.sh~  deploy-prod.sh.old  Deploy.PS1.bak  deployment/run.sh.bak  deployments/a.old
    release.sh  rollback.sh.bak  rollback.py~  provision.sh.old  bootstrap.sh.bak  install.sh  setup.sh
    entrypoint.sh.bak  ansible/site.yml.bak  playbooks/db.yml~  app.service  app.timer  crontab.bak  crontab.old
    migrations/0001_initial.py  migrations/0001_initial.py.bak  app/migrations/0002.py~  db/migrate/20200101_x.rb.old
    alembic/env.py.bak  alembic/versions/abc.py.bak  schema.sql  schema.sql.bak  dump.sql.gz  prod.dump  app.db
    app.sqlite  app.sqlite3  app.sqlite-wal  old.mdb
    main.tf  prod.tfvars  terraform.tfstate  terraform.tfstate.backup  terraform.tfstate.1712345678.backup
    .terraform/providers/x.tmp  .terraform.lock.hcl  terraform/main.old  Dockerfile  Dockerfile.bak  Dockerfile.prod~
    docker-compose.yml  docker-compose.yml.bak  docker-compose.override.yml.old  compose.yaml
    .dockerignore  Vagrantfile.bak  k8s/app.yaml.bak  helm/values.yaml.old  charts/x/values.yaml~  job.hcl  main.bicep
    cloudformation/stack.json.bak  nginx.conf.bak  nginx/nginx.conf.old  .github/workflows/ci.yml.bak
    .gitlab-ci.yml.bak  .circleci/config.yml.old  Jenkinsfile.bak  .ci/run.sh~
    README  README.md  README.md.bak  readme.txt.old  docs/Readme.rst~  LICENSE  LICENSE.bak  COPYING.old  NOTICE~
    AUTHORS.bak  CHANGELOG.md.orig  CHANGES.rst.rej  CONTRIBUTING.md.bak  SECURITY.md.bak  CODEOWNERS.bak
    Makefile  Makefile.bak  Makefile.old  makefile~  sub/Makefile.orig  CMakeLists.txt.bak  x.cmake  rules.mk
    configure  configure.ac.bak  configure~  build.gradle.bak  build.gradle.kts.old  settings.gradle.bak
    gradlew.bat.bak  pom.xml.bak  build.xml.old  App.sln  App.csproj  meson.build.orig  BUILD.bazel.bak  WORKSPACE.bak
    setup.py.bak  setup.cfg.old  pyproject.toml.bak  tox.ini.bak  package.json.bak  tsconfig.json.bak  Cargo.toml.orig
    go.mod.bak  Gemfile.bak  Rakefile.old  composer.json.bak  requirements.txt.bak  Pipfile.bak  environment.yml.bak
    package-lock.json.bak  npm-shrinkwrap.json.bak  yarn.lock  yarn.lock.bak  pnpm-lock.yaml.old  bun.lockb.bak
    Cargo.lock  Cargo.lock.orig  poetry.lock.bak  uv.lock.bak  pdm.lock.bak  Pipfile.lock.bak  Gemfile.lock.orig
    composer.lock.old  go.sum.bak  flake.lock.bak  mix.lock.bak  packages.lock.json.bak  Podfile.lock.bak
    app.lock  app.pid  var/run/app.sock  .#file.lock
    config/app.json  config/app.json.bak  config/x.tmp  app/config/prod.yml.old  .git/index.tmp  .gitignore
    .gitattributes  .gitmodules  .svn/x.tmp  .hg/y.orig
""".split()

# The same files with what a person puts behind a name before a change.
COPIED = """
    .env  .env.production  prod.env  .envrc  server.pem  tls/server.key  ca.crt  cert.p12  app.jks  mine.kdbx  id_rsa
    id_ed25519  authorized_keys  .netrc  .pgpass  .htpasswd  credentials.json  secrets.yml
    deploy.sh  rollback.sh  release.sh  install.sh  setup.sh  entrypoint.sh  app.service  app.timer
    migrations/0001_initial.py  schema.sql  prod.dump  app.db  app.sqlite3
    main.tf  prod.tfvars  terraform.tfstate  .terraform.lock.hcl  job.hcl  main.bicep  Dockerfile  docker-compose.yml
    compose.yaml  .dockerignore  nginx.conf  Jenkinsfile  .gitlab-ci.yml
    README.md  LICENSE  CHANGELOG.md  Makefile  CMakeLists.txt  toolchain.cmake  rules.mk  App.sln  App.csproj  pom.xml
    setup.py  pyproject.toml  package.json  Cargo.toml  go.mod  requirements.txt
    package-lock.json  yarn.lock  pnpm-lock.yaml  Cargo.lock  poetry.lock  uv.lock  Gemfile.lock  composer.lock  go.sum
    .gitignore  .gitattributes
""".split()

# What a rule is about by its name, and which rule. Some look at more than the name.
NAMED = [
    ("__pycache__/a.cpython-311.pyc", "python-bytecode-folders"), ("src/__pycache__/x.pyo", "python-bytecode-folders"),
    ("x.pyc", "python-2-bytecode"), (".pytest_cache/v/cache/lastfailed", "pytest-cache"),
    ("sub/.mypy_cache/3.11/a.data.json", "mypy-cache"), (".ruff_cache/0.6/123", "ruff-cache"), (".tox/a/b", "tox"),
    (".nox/a/b", "nox"), (".hypothesis/examples/a/b", "hypothesis"), (".coverage", "coverage-data"),
    (".coverage.host.12.Xa", "coverage-data"), ("htmlcov/index.html", "coverage-pages"),
    ("a/build/lib/b.py", "python-build"), ("dist/a.whl", "python-dist"), (".eslintcache", "lint-caches"),
    ("a/.sass-cache/x/y.scssc", "sass-cache"), ("web/.next/cache/a", "next-cache"), (".next/BUILD_ID", "next"),
    (".nuxt/nuxt.d.ts", "nuxt"), (".parcel-cache/data.mdb", "parcel-cache"), (".turbo/cache/a", "turbo-cache"),
    ("a/node_modules/b/c.js", "node-modules"), ("coverage/lcov.info", "javascript-coverage"),
    ("npm-debug.log", "npm-logs"), ("npm-debug.log.123", "npm-logs"), ("yarn-error.log", "npm-logs"),
    ("r/target/debug/deps/a", "rust-build"), ("target/release/build/a", "rust-build"),
    ("target/debug/a.d", "rust-build-files"), ("a.test", "go-test-programs"), ("__debug_bin12", "go-test-programs"),
    ("coverage.out", "go-coverage"), ("target/classes/A.class", "maven-build"), ("app/build/tmp/x", "gradle-build"),
    (".gradle/8.5/x.bin", "gradle-cache"), ("out/CMakeFiles/a.o", "cmake-folders"), ("src/a.o", "c-objects"),
    ("a.gcda", "c-objects"), ("autom4te.cache/requests", "autoconf-cache"), ("my-cache/a", "tagged-caches"),
    (".DS_Store", "desktop-files"), ("pics/Thumbs.db", "desktop-files"), ("desktop.ini", "desktop-files"),
    ("._a.jpg", "apple-double"), (".nfs000000000000004200000001", "nfs-leftovers"), ("core", "core-dumps"),
    ("core.4711", "numbered-core-dumps"),
    ("vgcore.12", "numbered-core-dumps"), ("java_pid1.hprof", "heap-dumps"), ("hs_err_pid4711.log", "crash-logs"),
    ("bash.exe.stackdump", "crash-logs"), ("notes.txt~", "editor-backups"), (".main.py.un~", "editor-backups"),
    ("#main.py#", "editor-autosaves"), ("src/.main.py.swp", "swap-files"), ("main.py.swo", "swap-files"),
    (".main.py.swn", "swap-files"), ("main.py.orig", "merge-leftovers"), ("src/main.c.rej", "merge-leftovers"),
    ("main_BASE_12.py", "merge-leftovers"), ("main.py.bak", "backups"), ("notes.old", "backups"),
    ("a.tmp", "temporary"), ("out/report.html.tmp", "temporary"), ("x.temp", "temporary"), ("#a.tmp", "temporary"),
    ("two\nlines.tmp", "temporary"), ("movie.part", "partial-downloads"), ("setup.exe.crdownload", "partial-downloads"),
    ("app.log.1", "rotated-logs"), ("app.log.12", "rotated-logs"), ("app.log.gz", "rotated-logs"),
    ("app.log.3.gz", "rotated-logs"), ("logs/app.log-20240101", "rotated-logs"),
    ("logs/app.log-20240101.gz", "rotated-logs"), ("app.log.2024-01-01", "rotated-logs"),
    ("access-2024-01-01.log", "dated-logs"), ("a/nohup.out", "nohup-output"),
]
OFF = ["egg-info", "virtual-environments", "javascript-dist"]

# Live work and everything else that no rule takes, however old it is.
KEPT = """
    notes.txt  main.py  data.csv  draft.md  TODO  todo.org  thesis.tex  photo.jpg  movie.mp4  archive.zip  report.pdf
    src/app.py  src/app.js  index.html  style.css  analysis.ipynb  results.json  results.jsonl  model.bin  a.out
    app.log  logs/app.log  build/main.o  dist/app.js  node_modules/x/index.js  target/app.jar  x.pyc  lib/x.pyo
    tmp/notes.txt  temp/draft.md  backup/data.csv  old/main.py  cache/state.json  .cache/x  bak  old  tmp  temp
    a.tmp.txt  a.bak.py  a.old.md  orig.txt  core  core.c  core.py  score.7  backup.py  save.txt  catalog.1  log.1
    dump.txt  .vimrc  .bashrc  .idea/workspace.xml  .vscode/settings.json  .coverage  .python-version  .tool-versions
    a.TMP  A.BAK  main.py.1  main(1).py  Copy of main.py  main.py.mine  main.py.patch  fix.diff  work.stash
    patch-01  app.log.x  app.logs  app.log.txt  notes~.txt  .swp.txt  .a.txt  x.swap  .sw  a.swf  thumbs.jpg
    lost.py~  lost.bak  lost.orig  lost.rej  lost_BASE_12.py  .lost.swp  #lost#  day-2024-01-01.log  a.hprof  a.test
    __pycache__/notes.txt  htmlcov/plan.html  build/notes.txt  .venv/pyvenv.cfg  a.egg-info/PKG-INFO  site/dist/x.js
    target/debug/deps/x  .next/BUILD_ID  CMakeCache.txt  CMakeFiles/x.o  Makefile  coverage.out  coverage/lcov.info
    core.2.js  core.3d.py  core.1.0.jar  ._notes  a.part1  oracle/full_export.dmp  saves/slot1.save  app.log-2024.md
    .nfsabc  .nfs0000000000000042x  header.partial  exp.log.1  app.log.gz  app.log-20240101  a_BASE_2023.txt
    my-cache/CACHEDIR.TAG  my-cache/entry  target/classes/A.class  .gradle/x.bin  .nox/a  .tox/b
""".split()
KEPT += ["Copy of main.py", "notes of mine.txt", "été.md", "data\n.csv"]


def test_the_table_of_paths_is_a_large_one():
    assert len(set(PROTECTED)) > 150 and len(NAMED) > 70 and len(set(KEPT)) > 110


@pytest.mark.parametrize("path", PROTECTED)
def test_it_is_protected(shipped, path):
    assert shipped.protection(path).startswith("protected by '")


@pytest.mark.parametrize("path", COPIED)
def test_a_copy_of_what_is_protected_is_protected(shipped, path):
    named = [path + behind for behind in (".bak", ".old", ".orig", ".backup", ".save", "~")
             if shipped.rule_for(path + behind)]
    assert len(named) >= 3  # else there would be nothing to protect it from
    assert [copy for copy in named if not shipped.protection(copy)] == []


@pytest.mark.parametrize("path, name", NAMED)
def test_a_rule_names_it_and_nothing_protects_it(shipped, path, name):
    folders = list(cleanup_rules.above(path))
    rules = [one for folder in reversed(folders) for one in shipped.folder_rules(folder, False)]
    rules += shipped.rules_for(path)
    assert name in [one.name for one in rules]
    meant = next(one for one in rules if one.name == name)
    assert shipped.protection(path, meant.generated, bool(meant.folders)) == ""


def test_every_rule_that_is_on_is_in_the_table_and_the_others_are_known(shipped):
    untold = {"tool-tagged-caches", "cmake-build", "cmake-makefiles", "notebook-checkpoints", "python-bytecode"}
    on = {one.name for one in shipped.rules if one.enabled}
    assert on - untold == {name for _, name in NAMED}
    assert [one.name for one in shipped.rules if not one.enabled] == OFF


def test_every_shipped_rule_says_where_its_convention_is_from(shipped):
    assert [one.name for one in shipped.rules if not one.source] == []


def test_what_a_shipped_rule_takes_as_one_is_bounded(shipped):
    """A folder of a common name holds what people put there: something else must tell."""
    for one in shipped.rules:
        if one.folders:
            assert one.only or one.marker or one.beside, one.name
        if one.stale:
            assert one.beside or not one.enabled, one.name
            assert one.classes == ("ignored",), one.name


@pytest.mark.parametrize("path", KEPT)
def test_no_rule_takes_it(shipped, path):
    row = dict.fromkeys(inventory.FIELDS)
    row.update({"path": path, "class": "ignored", "mode": 0o100644, "purpose": "other"})
    row.update(ino=1, size=10, mtime_ns=10**18, ctime_ns=10**18, dev=1, nlink=1, references=0)
    document = {"fields": list(inventory.FIELDS), "files": [list(row.values())], "root_dev": 1, "not_entered": []}
    assert cleanup_plan.make_plan(document, shipped, 3e9).candidates == ()


@pytest.mark.parametrize("name", [
    "server.key", "cert.pem", "deploy_key.tmp", "signing_KEY", "password.tmp", "passwords.txt", "mysecrets.tmp",
    "client_secret.json", "token.tmp", "api-tokens.txt", "vault.kdbx", "id_rsa", "id_old-laptop.tmp"])
@pytest.mark.parametrize("copy", ["%s", "%s.bak", "%s~", "%s.old", ".%s.swp", "%s.orig", "%s.2024-06-01.bak"])
def test_what_may_be_a_key_or_a_password_is_protected_by_default_and_so_are_its_copies(shipped, name, copy):
    assert shipped.protection("sub/" + copy % name).startswith("protected by "), copy % name
