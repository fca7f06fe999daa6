"""Misspelt names and wrong types are errors to mypy. Skipped without it; .ci/run has it."""

import os
import re
import subprocess
import sys

import pytest
from support import REPOSITORY

pytest.importorskip("mypy", reason="mypy is not installed; .ci/run has it")

WRONG = [
    ('sc.Run(solt=1)', 'Unexpected keyword argument "solt" for "Run"'),
    ('sc.Run(slot="now")', 'Argument "slot" to "Run" has incompatible type "str"'),
    ('sc.Task(timeout="an hour")',
     'Argument "timeout" to "Task" has incompatible type "str"; expected "float"'),
    ('sc.State(tasks={"a": sc.Run()})', 'Dict entry 0 has incompatible type'),
    ('run.slot = 1', 'Property "slot" defined in "Run" is read-only'),
    ('run.solt', '"Run" has no attribute "solt"'),
    ('verdict["staus"]', 'TypedDict "Verdict" has no key "staus"'),
    ('verdict["status"] = 3', 'has incompatible type'),
    ('record["pid_strat"]', 'TypedDict "RunRecord" has no key "pid_strat"'),
    ('record = {**record, "setled": True}', 'Extra key "setled" for TypedDict "RunRecord"'),
    ('event["sicne"]', 'TypedDict "Event" has no key "sicne"'),
    ('event = {"event": "gap", "form": ""}', 'Extra key "form" for TypedDict "Event"'),
    ('sc.State(pending=[{"staus": "success"}])', 'List item 0 has incompatible type'),
    ('sc.TaskState(skipped={"slot": 1})', 'Extra key "slot" for TypedDict "Skip"'),
    ('sc.iso(None)[:10]', 'is not indexable'),
]
RIGHT = [
    'sc.Run(run_id="r", slot=1, started_at=1)',
    'sc.Run(slot=None)',
    'sc.Task(name="a", timeout=60, command=("true",))',
    'sc.State(tasks={"a": sc.TaskState(run=sc.Run())}, pending=[])',
    'run.replace(slot=1)',
    'verdict["status"]',
    'sc.State(pending=[verdict, event])',
    'event["tasks"]["a"]["was"]',
    'sc.iso(1.5)[:10]',
]
PRELUDE = """\
import symphony_conductor as sc
run = sc.Run()
def result(verdict: sc.Verdict, record: sc.RunRecord, event: sc.Event) -> None:
"""


def statements():
    """Every statement of the tables, in their order."""
    return [statement for statement, _ in WRONG] + RIGHT


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """statement -> the errors of mypy. It checks all of them at once: a start takes seconds."""
    path = tmp_path_factory.mktemp("types") / "statements.py"
    path.write_text(PRELUDE + "".join("    %s\n" % statement for statement in statements()))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-error-summary", str(path)],
        cwd=str(REPOSITORY), env=dict(os.environ, MYPYPATH=str(REPOSITORY)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    lines = re.findall(r"(?m)^.*statements\.py:(\d+): error: (.*)$", done.stdout.decode())
    assert lines, done.stdout.decode()
    first = PRELUDE.count("\n") + 1
    return {statement: [error for line, error in lines if int(line) == number]
            for number, statement in enumerate(statements(), first)}


@pytest.mark.parametrize("statement, error", WRONG)
def test_a_wrong_name_or_type_is_an_error(errors, statement, error):
    assert len(errors[statement]) == 1
    assert error in errors[statement][0]


@pytest.mark.parametrize("statement", RIGHT)
def test_a_right_one_is_none(errors, statement):
    assert errors[statement] == []
