"""The JSON Schema of the configuration: it is current, and it and the core never disagree."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from support import REPOSITORY, finished

import symphony_conductor as sc
import symphony_schema

CONFIG = REPOSITORY / "config"
LINT = REPOSITORY / "tests" / ".venv-lint" / "bin"

# What the core knows beyond the schema: whether an expression, a zone, a date, a task or an address is
# one. It may refuse what the schema takes, never the reverse.
NOT_STRUCTURAL = {"schedule", "timezone", "review_by", "dependencies", "not_on", "only_between",
                  "notification_email", "skip_exit_codes"}

VALIDATE = """
import json, sys
import jsonschema
from check_jsonschema.regex_variants import RegexImplementation, RegexVariantName
patterns = RegexImplementation(RegexVariantName.default)  # of ECMA-262, as the standard has it
Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"pattern": patterns.pattern_keyword})
job = json.load(sys.stdin)
validators = []
for schema in job["schemas"]:
    Validator.check_schema(schema)
    validators.append(Validator(schema))
print(json.dumps([validators[number].is_valid(document) for number, document in job["cases"]]))
"""


def verdicts_of_schema(cases):
    """Whether the schema takes each of these: (0 for a main file, 1 for a drop-in; the document)."""
    if not (LINT / "check-jsonschema").exists():
        pytest.skip("there is no check-jsonschema in tests/.venv-lint")
    schemas = [symphony_schema.main_schema(), symphony_schema.drop_in_schema()]
    done = subprocess.run(
        [str(LINT / "python"), "-c", VALIDATE], stdout=subprocess.PIPE, timeout=300, check=True,
        input=json.dumps({"schemas": schemas, "cases": cases}).encode())
    return json.loads(done.stdout.decode())


def problems_of_core(kind, document):
    documents = [("c.json", document)] if kind == 0 else [("c.json", {}), ("d.json", document)]
    try:
        return sc.build_config(documents).problems
    except sc.ConfigError as error:
        return error.problems


# -- values for every field

VALUES = [
    None, True, False, 0, 1, -1, 2, 255, 256, 1.0, 0.0, -1.0, 2.5, 0.1, 1e10, 1e300, 10 ** 30, "", " ", "\t\n",
    "\u00a0", "\u3000", "\ufeff", "\x85", "\x1c", "\u180e", "x", "x\n", "x\0", "\0", "é", "\U0001f600", "\u200b",
    "true", "1", "skip", "queue", "file", "2026-12-31", "2026-12-31\n", "http://a", "https://a:1/x?y#z",
    "http://u:p@a/", "http://[::1]:80/", "http://a b/", "http://a/\ufeff", "http://a/\x85", "http://a\u00a0/",
    "027", "0027", "28", "089", "idle", "idle:1", "realtime:7", "realtime:8", "512M", "0M", "1K", "1m", "9999999T",
    "12345678M", [], [""], [" "], ["x"], ["x", ""], ["", "x"], ["x", 1], [1], [1.0], [1.5], [True], [255, 0], [256],
    [-1], [None], [[]], [{}], ["x\n"], ["a.b-c_D9"], [".x"], ["é"], ["x\0"], ["x", "y\0"], {}, {"A": "x"}, {"A": ""},
    {"A": 1}, {"A": None}, {"1A": "x"}, {"": "x"}, {"A B": "x"}, {"A\n": "x"}, {"É": "x"}, {"A": "x\0"},
    {"timeout": 1}, {"timeout": 0}, {"name": "x"}, {"command": "x"}, {"command": []}, {"umask": "099"},
    {"start_deadline": None}, {"timeout": None}, {"$schema": "x"}, "x" * 100, "x" * 101,
]


def bounds_of(schema):
    """Numbers at and next to each bound of a schema."""
    for part in schema.get("anyOf", [schema]):
        for bound in (part.get("minimum"), part.get("maximum")):
            if bound is not None:
                for step in (-1, -0.5, -0.001, 0, 0.001, 0.5, 1):
                    yield bound + step
                yield float(bound)


def texts_of(schema):
    """Texts that a schema names, and those next to them."""
    for part in schema.get("anyOf", [schema]):
        for text in part.get("enum", ()):
            for changed in (text, text.upper(), text[1:], text + "x", text + "\n", " " + text):
                yield changed


def cases():
    """(field, kind of file, document): every field with every value, where a field may stand."""
    for key, rule in sc.TASK_RULES.items():
        for value in VALUES + list(bounds_of(rule.schema)) + list(texts_of(rule.schema)):
            task = dict({"name": "job", "command": "true"}, **{key: value})
            yield key, 0, {"tasks": [task]}
            yield key, 1, task
            if key != "name":
                yield key, 0, {"settings": {"defaults": {key: value}}}
    for key, rule in sc.SETTING_RULES.items():
        for value in VALUES + list(bounds_of(rule.schema)) + list(texts_of(rule.schema)):
            yield key, 0, {"settings": {key: value}}


def test_schema_and_core_agree_on_every_value_of_every_field():
    rows = list(cases())
    verdicts = verdicts_of_schema([(kind, document) for _, kind, document in rows])
    counts = {True: 0, False: 0}
    for (key, kind, document), is_valid in zip(rows, verdicts):
        counts[is_valid] += 1
        problems = problems_of_core(kind, document)
        if problems and is_valid:
            assert key in NOT_STRUCTURAL, (document, str(problems[0]))
            assert {problem.field for problem in problems} == {key}
        assert is_valid or problems, document
    assert counts[True] > 1000 and counts[False] > 5000, counts


TASK = {"name": "a", "command": "true"}
ACCEPTED = [
    (0, {}), (0, {"tasks": []}), (0, {"settings": {}}), (0, {"$schema": "x", "tasks": [TASK]}),
    (0, {"tasks": [dict(TASK, **{"$schema": "x"})]}),
    (0, {"tasks": [{"name": "a"}], "settings": {"defaults": {"command": "true"}}}),
    (1, TASK), (1, [TASK]), (1, []), (1, dict(TASK, **{"$schema": "x"})),
]
REFUSED = [
    (0, []), (0, None), (0, "x"), (0, 1), (0, TASK), (0, {"tasks": {}}), (0, {"tasks": None}),
    (0, {"tasks": [1]}), (0, {"tasks": [None]}), (0, {"tasks": [[]]}), (0, {"settings": []}),
    (0, {"settings": None}), (0, {"task": []}), (0, {"$schema": 1}), (0, {"$schema": None}),
    (0, {"tasks": [{"name": "a"}]}), (0, {"tasks": [{"command": "true"}]}), (0, {"tasks": [{}]}),
    (0, {"tasks": [dict(TASK, tiemout=1)]}), (0, {"settings": {"xyzzy": 1}}),
    (0, {"settings": {"$schema": "x"}}), (0, {"settings": {"defaults": {"name": "a"}}}),
    (0, {"settings": {"defaults": {"xyzzy": 1}}}), (0, {"settings": {"defaults": {"timeout": 0}}}),
    (1, {}), (1, None), (1, 1), (1, [1]), (1, [[TASK]]), (1, {"tasks": [TASK]}),
    (1, {"tasks": [], "settings": {}}), (1, dict(TASK, **{"$schema": 1})),
]


def test_schema_and_core_agree_on_whole_files():
    verdicts = verdicts_of_schema(ACCEPTED + REFUSED)
    for (kind, document), is_valid in zip(ACCEPTED + REFUSED, verdicts):
        problems = problems_of_core(kind, document)
        assert bool(problems) != is_valid, (document, problems)
        assert is_valid == ((kind, document) in ACCEPTED), document


def test_check_jsonschema_takes_the_files_and_refuses_bad_ones(tmp_path):
    program = LINT / "check-jsonschema"
    if not program.exists():
        pytest.skip("there is no check-jsonschema in tests/.venv-lint")

    def check(schema, documents):
        paths = []
        for number, document in enumerate(documents):
            paths.append(tmp_path / ("%d.json" % number))
            paths[-1].write_text(json.dumps(document))
        code, out, err = finished([str(program), "--output-format", "json", "--schemafile", str(schema)]
                                  + [str(path) for path in paths])
        report = json.loads(out)
        assert not report.get("parse_errors"), report
        return code, {int(re.search(r"(\d+)\.json\Z", entry["filename"]).group(1))
                      for entry in report["errors"]}

    for kind, name in enumerate((symphony_schema.MAIN_FILE, symphony_schema.DROP_IN_FILE)):
        good = [document for number, document in ACCEPTED if number == kind]
        bad = [document for number, document in REFUSED if number == kind]
        assert check(CONFIG / name, good) == (0, set())
        assert check(CONFIG / name, bad) == (1, set(range(len(bad))))
    main = sc.parse_document((CONFIG / "conductor_config.json").read_text(), "c.json")
    assert check(CONFIG / symphony_schema.MAIN_FILE, [main]) == (0, set())


# -- the files

def test_the_files_are_current():
    for name, made in symphony_schema.FILES.items():
        assert (CONFIG / name).read_text() == symphony_schema.schema_text(made()), "run schema --write"


def test_the_command_prints_checks_and_writes(tmp_path):
    """In a copy, whose file then is another one."""
    for name in ("symphony_conductor.py", "scripts/symphony_schema.py", "config/README.md"):
        target = tmp_path / name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(str(REPOSITORY / name), str(target))
        target.chmod(0o755)

    def call(*words):
        return finished([sys.executable, "-B", str(tmp_path / "symphony_conductor.py"), "schema"] + list(words))

    old = ("symphony_conductor: not current: conductor_config.schema.json, tasks.d.schema.json "
           "(run schema --write)\n")
    assert call("--check") == (1, "", old)
    assert call("--write") == (0, "", "")
    assert call("--check") == (0, "", "")
    assert call() == (0, (CONFIG / symphony_schema.MAIN_FILE).read_text(), "")
    assert call("--drop-in") == (0, (CONFIG / symphony_schema.DROP_IN_FILE).read_text(), "")


def test_the_shipped_configuration_and_what_init_writes_beside_a_schema_name_it(project):
    assert symphony_schema.MAIN_FILE in (CONFIG / "conductor_config.json").read_text().splitlines()[1]
    path = project.root / "config" / "conductor_config.json"
    for names in ([], [symphony_schema.MAIN_FILE]):
        for name in names:
            shutil.copy(str(CONFIG / name), str(path.parent))
        if path.exists():
            path.unlink()
        assert project.call("init")[0] == 0
        assert ["schema" in line for line in path.read_text().splitlines()].count(True) == len(names)
        assert project.call("check")[0] == 0


def test_each_field_has_the_description_and_the_default_of_the_manual():
    manual = (CONFIG / "README.md").read_text(encoding="utf-8")
    texts = symphony_schema.descriptions(manual)
    definitions = symphony_schema.definitions()
    fields = definitions["task"]["properties"]
    assert fields["retry_delay"]["description"] == "seconds between attempts" == texts["field"]["retry_delay"]
    assert fields["retry_delay"]["default"] == 300
    assert fields["start_deadline"]["default"] is None and fields["tags"]["default"] == []
    assert "default" not in fields["name"]
    assert definitions["settings"]["properties"]["timezone"]["description"].startswith("IANA time zone of all")
    for kind, rules in (("field", sc.TASK_RULES), ("setting", sc.SETTING_RULES)):
        for key, text in texts[kind].items():
            assert key in rules and text and "\n" not in text and "`" not in text and "](" not in text


# -- the rules as data

def test_each_rule_uses_only_the_words_that_the_core_knows():
    known = {"anyOf", "type", "enum", "pattern", "maxLength", "minimum", "maximum", "minItems", "prefixItems",
             "items", "propertyNames", "additionalProperties"}
    needs = {"minimum": "maximum", "maximum": "minimum", "prefixItems": "items",
             "propertyNames": "additionalProperties", "additionalProperties": "propertyNames"}
    of_type = {"integer": {"minimum"}, "number": {"minimum"}, "array": {"items"}}

    def look(schema):
        assert set(schema) <= known
        assert ("type" in schema) != ("anyOf" in schema)
        assert of_type.get(schema.get("type"), set()) <= set(schema)
        for word, other in needs.items():
            assert word not in schema or other in schema
        pattern = schema.get("pattern", "^$")
        assert pattern.startswith("^") and pattern.endswith("$") and not re.search(r"\\[AZbBdDwW]|\(\?", pattern)
        for part in schema.get("anyOf", []) + schema.get("prefixItems", []):
            look(part)
        for word in ("items", "propertyNames", "additionalProperties"):
            if word in schema:
                look(schema[word])

    for rule in list(sc.TASK_RULES.values()) + list(sc.SETTING_RULES.values()):
        assert rule.schema
        look(rule.schema)


@pytest.mark.parametrize("value, schema, verdict", [
    ("x", {"type": "string", "pattern": "^x$"}, True), ("x\n", {"type": "string", "pattern": "^x$"}, False),
    ("\ud800", {"type": "string"}, False), (True, {"type": "integer", "minimum": 0, "maximum": 1}, False),
    (1.0, {"type": "integer", "minimum": 0, "maximum": 1}, True), (1.5, {"type": "integer"}, False),
    (float("nan"), {"type": "integer"}, False),
    (float("inf"), {"type": "number", "minimum": 0, "maximum": 1}, False),
    (float("nan"), {"type": "number", "minimum": 0, "maximum": 1}, False),
    ([], {"type": "array", "minItems": 1}, False), (["x", 1], {
        "type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "boolean"}}, False),
])
def test_a_value_is_held_against_a_schema(value, schema, verdict):
    assert sc.fits(value, schema) is verdict
