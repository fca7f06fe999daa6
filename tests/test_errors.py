"""An error at one system call loses no run, doubles none, and is told (see inject.py)."""

import json
import re
import subprocess
import sys

import inject
import pytest
from support import REPOSITORY, strace_works

import symphony_conductor as sc

needs_strace = pytest.mark.skipif(not strace_works(),
                                  reason="strace with fault injection is not here")


@needs_strace
@pytest.mark.parametrize("phase", list(inject.PHASES))
def test_an_error_at_any_call_loses_and_doubles_nothing_and_is_told(phase):
    if not phase.endswith("_exec") and sc.ProcessTitle.of_this() is None:
        pytest.skip("no forked process can show its own arguments here")
    program = str(REPOSITORY / "tests" / "inject.py")
    command = [sys.executable, program, "--sample", "--phase", phase, "--workers", "2"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=600)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, said
    counts = re.search(r"^(\d+) cases in \d+ s, 0 bad; in (\d+) the call was not made", said, re.M)
    cases, missed = int(counts.group(1)), int(counts.group(2))
    assert cases > 4
    assert missed <= cases // 10, said


# -- the judge has to see what is wrong, or the cases show nothing

SLOT = "2026-03-10T03:00:00Z"


def scene_of(tmp_path, ran, *verdicts):
    scene = inject.Scene(tmp_path, "supervisor", True)
    scene.tasks = "a"
    scene.slot = SLOT
    (scene.root / "status" / "history").mkdir(parents=True)
    (scene.root / "ran").write_text("".join(line % {"slot": SLOT} + "\n" for line in ran))
    (scene.root / "status" / "history" / "2026-03-10.jsonl").write_text("".join(
        json.dumps(dict(verdict, task="a", scheduled_for=SLOT)) + "\n" for verdict in verdicts))
    return scene


STARTED, ENDED, FAILED = ("start a %(slot)s 1 r1 77", "end a %(slot)s 1 r1 0",
                          "end a %(slot)s 1 r1 1")
STARTED_AGAIN, ENDED_AGAIN = "start a %(slot)s 2 r2 78", "end a %(slot)s 2 r2 0"
SUCCESS = {"run_id": "r1", "attempt": 1, "status": "success", "attempts": []}
INTERRUPTED = {"run_id": "r1", "attempt": 1, "status": "interrupted", "reason": "it is gone"}
NOT_STARTED = {"run_id": "r1", "attempt": 1, "status": "failed", "reason": "no descriptors left"}
SECOND = {"run_id": "r2", "attempt": 2, "status": "success"}


@pytest.mark.parametrize("ran, verdicts, kinds", [
    ([STARTED, ENDED], [SUCCESS], []),
    ([STARTED, ENDED], [], ["lost"]),
    ([STARTED, ENDED], [SUCCESS, SUCCESS], ["doubled"]),
    ([STARTED, ENDED, STARTED, ENDED], [SUCCESS], ["doubled", "doubled", "doubled"]),
    ([], [SUCCESS], ["wrong verdict"]),
    ([STARTED], [SUCCESS], ["wrong verdict"]),
    ([STARTED, FAILED], [SUCCESS], ["wrong verdict"]),
    ([STARTED, ENDED], [INTERRUPTED], ["wrong verdict", "wrong verdict"]),
    ([STARTED, ENDED, STARTED_AGAIN, ENDED_AGAIN], [dict(SECOND, attempts=[INTERRUPTED])],
     ["wrong verdict", "doubled"]),
    ([STARTED_AGAIN, ENDED_AGAIN], [dict(SECOND, attempts=[NOT_STARTED])], []),
    ([STARTED_AGAIN, ENDED_AGAIN], [dict(SECOND, attempts=[dict(NOT_STARTED, reason="")])],
     ["no reason"]),
    ([STARTED_AGAIN, ENDED_AGAIN],
     [dict(SECOND, attempts=[dict(NOT_STARTED, reason="", output_tail="cannot start: /bin/sh")])],
     []),
    ([STARTED, STARTED_AGAIN, ENDED_AGAIN],
     [dict(SECOND, attempts=[dict(NOT_STARTED, reason="", output_tail="hello")])], ["no reason"]),
    ([STARTED_AGAIN, ENDED_AGAIN], [dict(SECOND, attempts=[NOT_STARTED, NOT_STARTED])],
     ["wrong verdict"]),
])
def test_the_judge_sees_what_is_lost_doubled_or_passed_off_as_fine(tmp_path, ran, verdicts, kinds):
    found = inject.judge_runs(scene_of(tmp_path, ran, *verdicts), errors=1)
    assert [kind for kind, _ in found] == kinds, found


@pytest.mark.parametrize("line, is_place", [
    ("symphony_conductor: Input/output error", False),
    ("symphony_conductor: [Errno 24] Too many open files", False),
    ("2026-03-10T03:00:00Z ERROR a: run r1 was not started: Too many open files", False),
    ("symphony_conductor: cannot read /srv/app/conductor_state.json: Input/output error", True),
    ("symphony_conductor: cannot read status/runs/a.json: Permission denied", True),
    ("symphony_conductor: cannot start the supervisor of 'a': Cannot allocate memory", True),
])
def test_an_error_without_a_place_is_not_told(line, is_place):
    said = inject.less_what_is_no_place(line)
    assert any(inject.PLACE.search(each) for each in said) == is_place
