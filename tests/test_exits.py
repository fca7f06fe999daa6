"""Exit codes that are a success or a skip: by the pure decision, and with real commands."""

import pytest
from stories import World, at, status_at, task
from support import due_once

import symphony_conductor as sc

SLOT = "2025-06-03T02:00:00Z"
AFTER = "2025-06-03T02:05:00Z"


def nightly(**more):
    world = World(task("a", "0 2 * * *", retry_count=2, retry_delay=60, **more),
                  task("b", "0 3 * * *", dependencies=["a"]),
                  enable_notifications=True, notification_command="true")
    world.tick("2025-06-02T10:00:00Z")
    world.tick(SLOT)
    return world


def ended(world, status, code, when=AFTER):
    world.end("a", status, when, code)
    world.tick(when)
    return world.state.tasks["a"]


@pytest.mark.parametrize("status, code, marks, failures, retries, satisfied", [
    ("success", 0, "+", 0, False, True),
    ("success", 1, "+", 0, False, True),
    ("skipped_exit", 75, "-", 0, False, False),
    ("failed", 1, "", 0, True, False),
    ("timeout", 124, "", 0, True, False),
    ("interrupted", 143, "", 0, True, False),
])
def test_what_a_result_does_to_a_task(status, code, marks, failures, retries, satisfied):
    world = nightly()
    state = ended(world, status, code)
    assert (state.marks, state.consecutive_failures) == (marks, failures)
    assert (state.cycle is not None) == retries
    assert (state.satisfied_until is not None) == satisfied
    assert [message["event"] for message in world.decision.messages] == []


def test_a_skip_by_exit_code_is_a_skip_to_its_dependents():
    world = nightly()
    state = ended(world, "skipped_exit", 75)
    assert state.skipped == {"status": "skipped_exit", "scheduled_for": SLOT, "dependency": ""}
    world.tick("2025-06-03T03:00:00Z")
    assert world.state.tasks["b"].cycle.waiting_for == "a"
    assert sc.explain_unmet(world.config, world.state.tasks, "a", at("2025-06-03T03:00:00Z")) == (
        "'a' was skipped by its exit code at its slot 2025-06-03T02:00:00Z")
    world.tick("2025-06-04T02:00:00Z")
    assert world.finish("a", "2025-06-04T02:10:00Z") == ["b@2025-06-03T03:00:00Z"]


def test_a_skip_after_a_failed_attempt_ends_the_slot_and_leaves_no_failure():
    world = nightly()
    ended(world, "failed", 1)
    assert world.tick("2025-06-03T02:06:30Z") == ["a@" + SLOT]
    state = ended(world, "skipped_exit", 75, "2025-06-03T02:07:00Z")
    assert (state.cycle, state.marks, state.consecutive_failures) == (None, "-", 0)
    assert state.last["status"] == "skipped_exit" and world.said() == [("a", "skipped_exit", SLOT)]
    assert [attempt["exit_code"] for attempt in world.verdicts[-1]["attempts"]] == [1]
    document = status_at(world, at("2025-06-03T02:08:00Z"), at("2025-06-03T02:08:00Z"))
    assert document["problems"] == []


def test_a_skip_ends_no_failure():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick(SLOT)
    ended(world, "failed", 3)
    world.tick("2025-06-04T02:00:00Z")
    state = ended(world, "skipped_exit", 75, "2025-06-04T02:01:00Z")
    assert (state.consecutive_failures, state.last["exit_code"], state.marks) == (1, 3, "F-")
    document = status_at(world, at("2025-06-04T02:02:00Z"), at("2025-06-04T02:02:00Z"))
    assert document["problems"] == ["a failed (exit 3); no retries left"]


@pytest.mark.parametrize("result, words, health", [
    ({"status": "success", "exit_code": 0}, "succeeded", "success:T:0\n"),
    ({"status": "success", "exit_code": 1}, "succeeded (exit 1)", "success:T:0\n"),
    ({"status": "failed", "exit_code": 3}, "failed (exit 3)", "failed:T:3\n"),
    ({"status": "skipped_exit", "exit_code": 75}, "was skipped (exit 75)", "skipped:T:75\n"),
    ({"status": "skipped_exit", "exit_code": 3}, "was skipped (exit 3)", "skipped:T:75\n"),
    ({"status": "stopped", "exit_code": 143}, "was stopped", "stopped:T:143\n"),
])
def test_words_and_health_file(result, words, health):
    assert sc.outcome_text(result) == words
    assert sc.health_line(dict(result, ended_at="T", run_id="R")) == health


EXITS = ((0, "success"), (1, "success"), (2, "failed"), (75, "skipped_exit"))


def test_statuses_of_exit_codes():
    fields = {"success_exit_codes": [0, 1], "skip_exit_codes": [75, 143]}
    for code, status in EXITS:
        assert sc.status_of_exit(code << 8, fields) == status
    assert sc.status_of_exit(15, fields) == "failed"  # SIGTERM


def test_a_code_in_both_lists_is_a_problem():
    document = {"tasks": [task("a", "0 2 * * *", skip_exit_codes=[75, 0])]}
    config = sc.build_config([("c.json", document)])
    assert [str(problem) for problem in config.problems] == [
        "c.json: tasks[0] 'a': skip_exit_codes: 0 is also a success"
        " (remove it here or from success_exit_codes)"]


def test_real_commands_have_the_status_of_their_exit_code(project):
    codes = {"success_exit_codes": [0, 1], "skip_exit_codes": [75], "retry_count": 1,
             "retry_delay": 3600}
    project.configure(*[due_once("exit%d" % code, "echo out; exit %d" % code, **codes)
                        for code, _ in EXITS], max_concurrent_tasks=9)
    project.anchor()
    project.tick()
    project.wait_for_idle()
    for code, status in EXITS:
        name = "exit%d" % code
        assert "status=%s exit_code=%d " % (status, code) in project.read(
            "logs/automation/%s.log" % name)
        assert project.health(name).partition(":")[0] == status.partition("_")[0]
    history = {record["task"]: record for record in project.history()}
    assert {name: record["status"] for name, record in history.items()} == {
        "exit%d" % code: status for code, status in EXITS if status != "failed"}
    assert history["exit75"]["reason"] == "exit code 75 is in skip_exit_codes"
    assert "retrying" in project.call("status", "exit2", "--table")[1]
    out = project.call("history")[1]
    assert "success (1)" in out and "  exit code" in out


@pytest.mark.parametrize("code, exit_code", [(1, 0), (75, 75), (3, 3)])
def test_run_by_hand_exits_with(project, code, exit_code):
    project.configure(dict(due_once("a", "exit %d" % code), success_exit_codes=[0, 1],
                           skip_exit_codes=[75]))
    assert project.call("run", "a")[0] == exit_code


def test_an_exit_code_of_0_that_is_no_success_is_shown_as_a_failure(project):
    project.configure(dict(due_once("a", "exit 0"), success_exit_codes=[1]))
    assert project.call("run", "a")[0] == 1
    assert project.health("a").startswith("failed:") and project.health("a").endswith(":1\n")
    assert project.history()[-1]["exit_code"] == 0


def test_a_command_that_cannot_start_is_no_success(project):
    project.configure(dict(due_once("a", ["/no/such/program"]), success_exit_codes=[0, 127]))
    assert project.call("run", "a")[0] == 127
    assert project.history()[-1]["status"] == "failed"
