"""kill -9 at every system call that touches a file: the state parses, nothing ran twice, nothing is lost."""

import concurrent.futures
import json
import shutil
import sys

import pytest
from support import (
    PAUSE,
    SCRIPT,
    Project,
    due_once,
    kill_points,
    looked_on,
    nothing_lives,
    recording,
    strace_works,
    was_killed,
)

import symphony_conductor as sc

# -S leaves the packages of the machine out.
PYTHON = [sys.executable, "-I", "-S", "-c",
          "import sys; sys.path.append(%r); import symphony_conductor as c\n%sc.command_line()" % (
              str(SCRIPT.parent), PAUSE)]

pytestmark = pytest.mark.skipif(not strace_works(), reason="strace with fault injection is not here")


def make_project(folder):
    project = Project(folder)
    project.configure(
        due_once("first", "echo $SYMPHONY_RUN_ID $SYMPHONY_SCHEDULED_FOR $SYMPHONY_ATTEMPT >> first.out"),
        due_once("second", "echo $SYMPHONY_RUN_ID $SYMPHONY_SCHEDULED_FOR $SYMPHONY_ATTEMPT >> second.out",
                 dependencies=["first"]))
    project.anchor()
    return project


def recover_and_check(project):
    """After the crash: readable state; then ticks as cron would send them bring every slot to one verdict."""
    path = project.root / "conductor_state.json"
    sc.load_state(path.read_text())
    assert project.call("tick")[0] == 0

    def is_settled():
        project.tick()
        tasks = project.state()["tasks"].values()
        return project.lines("second.out") and not any(
            "run" in task or "cycle" in task for task in tasks)

    assert project.wait_until(is_settled)
    project.call("tick")
    sc.load_state(path.read_text())
    log = project.read("logs/symphony_conductor.log")
    for task in ("first", "second"):
        lines = [line.split() for line in project.lines(task + ".out")]
        assert lines, (task, log)
        slots = [(line[1], line[2]) for line in lines]
        assert len(slots) == len(set(slots)), ("ran twice", lines, log)
        verdicts = [record["scheduled_for"] for record in project.history() if record["task"] == task]
        assert len(verdicts) == len(set(verdicts)), ("two verdicts for one slot", verdicts, log)
        assert {slot for slot, _ in slots} <= set(verdicts), ("a run without a verdict", slots, verdicts, log)
    assert json.loads(project.call("status")[1])["running"] == []


def crash_at_each(points, attempt):
    """Kill at each point in a project of its own; how many of the kills hit."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        return sum(pool.map(lambda numbered: attempt(*numbered), enumerate(points)))


def test_a_tick_killed_at_any_call_loses_and_doubles_nothing(tmp_path):
    def tick_of(project):
        return PYTHON + ["--root=%s" % project.root, "tick"]

    def attempt(number, point):
        project = make_project(tmp_path / ("at%d" % number))
        killed = was_killed(point, tick_of(project))
        recover_and_check(project)
        return killed

    probe = make_project(tmp_path / "probe")
    looked_on(recording(tmp_path / "trace"), tick_of(probe))
    points = kill_points(probe.root, tmp_path / "trace")
    assert len(points) >= 25
    killed = crash_at_each(points, attempt)
    assert killed >= len(points) * 9 // 10, "the kills hit the tick"


def supervisor_of(project):
    """A shell that does what a tick did: hold the task's lock, and feed the supervisor its orders."""
    captured = {}

    def launch(store, verb, spec, lock):
        captured.update(spec)
        lock.release()

    sc.Conductor(sc.Store(str(project.root)), launch=launch).tick()
    orders = project.root / "orders"
    orders.write_text(json.dumps(captured))
    return ["/bin/sh", "-c", 'exec 9<> "$1"; flock 9; shift; orders=$1; shift; exec "$@" < "$orders"', "sh",
            str(project.root / "status" / "locks" / "first.lock"), str(orders)] + PYTHON + [
                "--root=%s" % project.root, "supervise", "start", "9", "first", captured["run_id"]]


@pytest.mark.skipif(not shutil.which("flock"), reason="flock(1) is not here")
def test_a_supervisor_killed_at_any_call_loses_and_doubles_nothing(tmp_path):
    """The same for the process that starts the command and records its end."""
    def attempt(number, point):
        project = make_project(tmp_path / ("at%d" % number))
        killed = was_killed(point, supervisor_of(project))
        record = sc.Store(str(project.root)).read_run("first")
        if record:
            assert nothing_lives(record)
        # A command whose supervisor could not record it any more may hold the task's lock for some ticks to come.
        assert project.wait_until(
            lambda: project.call("tick")[0] == 0 and "run" not in project.state()["tasks"]["first"])
        project.wait_for_idle()
        assert len(project.lines("first.out")) <= 1, "never twice"
        verdicts = [found["status"] for found in project.history() if found["task"] == "first"]
        assert len(verdicts) == 1, verdicts
        assert project.lines("first.out") or verdicts == ["interrupted"], "and not at all only if it is said"
        return killed

    probe = make_project(tmp_path / "probe")
    looked_on(recording(tmp_path / "trace"), supervisor_of(probe))
    points = kill_points(probe.root, tmp_path / "trace")
    assert len(points) >= 25
    killed = crash_at_each(points, attempt)
    assert killed >= len(points) * 9 // 10, "the kills hit the supervisor"
