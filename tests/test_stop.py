"""`stop` and `skip`: by the pure decision, and with real processes."""

import json
import os
import signal
import subprocess

import pytest
from stories import NIGHT, Busy, World, at, status_at, task
from support import due_once, every_minute, is_alive, nothing_lives

import symphony_conductor as sc

MORNING = "2025-06-02T10:00:00Z"
WHO = "stopped by joe"


class Stopped(World):
    """A world in which a person asks for the end of a task."""

    asked = ""

    def facts(self, **fields):
        runs = {name: fact.replace(stopped=self.asked) for name, fact in fields["runs"].items()}
        return sc.Facts(**dict(fields, runs=runs))

    def stop(self, name, when):
        decision = sc.stop_waiting(self.config, self.state, name, at(when), WHO)
        self.state = decision.state
        self.verdicts += decision.records
        return decision


def nightly(**more):
    world = Stopped(task("a", "0 2 * * *", retry_count=2, retry_delay=600, **more),
                    enable_notifications=True, notification_command="true")
    world.tick(MORNING)
    world.tick(NIGHT)
    return world


# -- the decision

@pytest.mark.parametrize("status, code, kind, verdict, mark, reason", [
    ("interrupted", 143, "ended", "stopped", "S", WHO),  # as an older supervisor reports it
    ("stopped", 143, "ended", "stopped", "S", None),
    ("success", 0, "ended", "success", "+", None),
    ("failed", 3, "ended", "failed", "F", "no further attempt: " + WHO),
    ("timeout", 124, "ended", "timeout", "T", "no further attempt: " + WHO),
    (None, None, "vanished", "stopped", "S", WHO),
    (None, None, "never", "stopped", "S", WHO),
])
def test_what_becomes_of_a_run_that_was_to_be_stopped(status, code, kind, verdict, mark, reason):
    world = nightly()
    if status:
        world.end("a", status, "2025-06-03T02:01:00Z", code)
    world.kinds["a"], world.asked = kind, WHO
    world.tick("2025-06-03T02:01:00Z")
    state = world.state.tasks["a"]
    assert (state.run, state.cycle, state.marks) == (None, None, mark)
    assert [(record["status"], record.get("reason")) for record in world.verdicts] == [
        (verdict, reason)]
    assert state.consecutive_failures == int(verdict in ("failed", "timeout"))


def test_a_stop_is_neither_a_failure_nor_the_end_of_one():
    world = nightly(start_deadline=3600)
    world.end("a", "stopped", "2025-06-03T02:01:00Z", 143)
    world.tick("2025-06-03T02:01:00Z")
    document = status_at(world, at("2025-06-03T02:02:00Z"), at("2025-06-03T02:02:00Z"))
    assert document["problems"] == [] and document["tasks"][0]["last_run"]["status"] == "stopped"
    assert world.decision.messages == []


def test_a_stop_ends_the_wait_for_a_retry():
    world = nightly()
    world.end("a", "failed", "2025-06-03T02:01:00Z", 3)
    world.tick("2025-06-03T02:01:00Z")
    world.stop("a", "2025-06-03T02:05:00Z")
    state = world.state.tasks["a"]
    assert (state.cycle, state.marks, state.consecutive_failures) == (None, "S", 0)
    assert world.said() == [("a", "stopped", NIGHT)]
    assert world.verdicts[0]["attempts"][0]["exit_code"] == 3
    assert world.tick("2025-06-03T02:12:00Z") == []
    document = status_at(world, at("2025-06-03T02:12:00Z"), at("2025-06-03T02:12:00Z"))
    assert document["problems"] == []


def test_a_stop_ends_what_waits_for_a_dependency_and_what_is_queued():
    world = Stopped(task("a", "0 2 * * *"), task("b", "0 2 * * *", dependencies=["a"]),
                    task("c", "0 2 * * *"), task("q", "0 * * * *", overlap="queue"),
                    max_concurrent_tasks=2)
    world.tick(MORNING)
    world.tick("2025-06-03T01:00:00Z")
    world.tick(NIGHT)
    for name in ("b", "c", "q"):
        world.stop(name, "2025-06-03T02:05:00Z")
    assert world.said() == [(name, "stopped", NIGHT) for name in ("b", "c", "q")]
    assert world.state.tasks["q"].run is not None and world.state.tasks["q"].queued_slot is None
    why = sc.explain_unmet(world.config, world.state.tasks, "b", at(NIGHT))
    assert why == "'b' was stopped at its slot " + NIGHT


# -- skip

def skip(world, when):
    world.state, slot = sc.skip_slot(world.state, world.config.tasks["a"], world.last_seen,
                                     at(when), "skipped by joe")
    return sc.iso(slot)


def coming(world, when, count=2):
    return [sc.iso(slot) for slot, _ in sc.coming_slots(
        world.config, world.state, world.last_seen, at(when), count)]


def hourly(**more):
    world = World(task("a", "0 * * * *", **more))
    world.tick("2025-06-02T09:30:00Z")
    return world


def test_a_skipped_slot_gets_its_verdict_when_it_comes_and_the_next_one_runs():
    world = hourly()
    assert skip(world, "2025-06-02T09:40:00Z") == "2025-06-02T10:00:00Z"
    assert coming(world, "2025-06-02T09:40:00Z") == ["2025-06-02T11:00:00Z",
                                                     "2025-06-02T12:00:00Z"]
    assert status_at(world, at("2025-06-02T09:40:00Z"), world.last_seen)["tasks"][0][
        "next_run"] == "2025-06-02T11:00:00Z"
    assert world.tick("2025-06-02T10:00:00Z") == []
    assert world.said() == [("a", "skipped_manual", "2025-06-02T10:00:00Z")]
    assert world.verdicts[0]["reason"] == "skipped by joe"
    assert world.state.tasks["a"].skips == {}
    assert world.tick("2025-06-02T11:00:00Z") == ["a@2025-06-02T11:00:00Z"]


def test_skip_twice_skips_the_slot_after():
    world = hourly()
    assert [skip(world, "2025-06-02T09:40:00Z") for _ in range(2)] == [
        "2025-06-02T10:00:00Z", "2025-06-02T11:00:00Z"]
    assert world.tick("2025-06-02T10:00:00Z") == world.tick("2025-06-02T11:00:00Z") == []
    assert world.tick("2025-06-02T12:00:00Z") == ["a@2025-06-02T12:00:00Z"]


def test_skips_survive_a_time_without_ticks_and_a_pause():
    world = hourly()
    skip(world, "2025-06-02T09:40:00Z")
    skip(world, "2025-06-02T09:40:00Z")
    assert world.tick("2025-06-02T12:10:00Z") == ["a@2025-06-02T12:00:00Z"]
    assert world.said() == [("a", "skipped_manual", "2025-06-02T10:00:00Z"),
                            ("a", "skipped_manual", "2025-06-02T11:00:00Z")]
    assert "merged_since" not in world.verdicts[0]


def test_an_older_slot_that_is_due_runs_in_the_place_of_a_skipped_one():
    world = hourly()
    world.tick("2025-06-02T10:59:00Z")
    skip(world, "2025-06-02T10:59:30Z")
    world.configure(task("a", "*/30 * * * *"), changed_at="2025-06-02T10:20:00Z")
    assert world.tick("2025-06-02T11:00:10Z") == []
    assert world.said()[-1] == ("a", "skipped_manual", "2025-06-02T11:00:00Z")


def test_skip_at_a_slot_that_waits_takes_the_one_to_come():
    world = World(task("a", "0 * * * *"), task("b", "0 9 * * *"), max_concurrent_tasks=1)
    world.configure(task("b", "0 * * * *"), task("a", "0 * * * *"), max_concurrent_tasks=1)
    world.tick("2025-06-02T09:30:00Z")
    assert world.tick("2025-06-02T10:00:00Z") == ["b@2025-06-02T10:00:00Z"]
    assert skip(world, "2025-06-02T10:05:00Z") == "2025-06-02T11:00:00Z"
    assert world.state.tasks["a"].cycle.phase == "queued"


@pytest.mark.parametrize("more", [{"enabled": False}, {"schedule": None}, {"schedule": "@reboot"}])
def test_a_task_without_a_slot_to_come_has_none_to_skip(hand, more):
    hand.configure(task("a", **dict({"schedule": "0 2 * * *"}, **more)))
    hand.tick()
    assert hand.call("skip", "a") == (2, "", "symphony_conductor: a has no slot to skip"
                                      " (see: why a)\n")


def test_skip_and_audit(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    code, out, _ = hand.call("skip", "a")
    assert (code, out) == (0, "a: the slot Tue 2025-06-03 02:00 +0000 will be skipped;"
                              " to undo: skip a --undo\n")
    assert "Its slot Tue 2025-06-03 02:00 +0000 will be skipped by " in (
        " ".join(hand.call("why", "a")[1].split()))
    upcoming = hand.call("next", "a", "--count", "1")[1]
    assert upcoming.startswith("Wed 2025-06-04 02:00")
    assert "skipped: a: the slot Tue 2025-06-03 02:00 +0000 is skipped by " in upcoming
    assert "\n  will be skipped: 2025-06-03T02:00:00Z\n" in hand.call("status", "--table")[1]
    for when in (NIGHT, "2025-06-04T02:00:00Z", "2025-06-04T03:00:00Z"):
        hand.tick(when)
    assert hand.started == ["a@2025-06-04T02:00:00Z"]
    audit = json.loads(hand.call("audit", "--json")[1])
    assert (audit["fates"], audit["unexplained"]) == ({"success": 1, "skipped_manual": 1}, 0)
    assert "was skipped by " in hand.call("why", "a", "--at", "2025-06-03T02:00Z")[1]
    assert not hand.state().tasks["a"].skips


def test_the_undo_of_a_skip_gives_the_last_slot_back(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    for _ in range(2):
        hand.call("skip", "a")
    assert hand.call("skip", "a", "--undo") == (
        0, "a: the slot Wed 2025-06-04 02:00 +0000 will not be skipped\n", "")
    assert list(hand.state().tasks["a"].skips) == [NIGHT]
    assert hand.call("skip", "a", "--undo")[1] == (
        "a: the slot Tue 2025-06-03 02:00 +0000 will not be skipped\n")
    assert hand.call("skip", "a", "--undo") == (
        2, "", "symphony_conductor: a has no skip to undo (see: next a)\n")
    hand.tick(NIGHT)
    assert hand.started == ["a@" + NIGHT]
    log = (hand.root / "logs" / "symphony_conductor.log").read_text()
    assert "a: the skip of slot %s is undone by " % NIGHT in log


def test_a_skip_that_was_decided_cannot_be_undone(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    hand.call("skip", "a")
    hand.tick(NIGHT)
    assert hand.call("skip", "a", "--undo")[0] == 2


def test_the_undo_of_a_skip_passes_over_what_is_no_slot_any_more(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    for _ in range(2):
        hand.call("skip", "a")
    hand.configure(task("a", "0 2 * * *", not_on=["2025-06-04"]))
    assert hand.call("skip", "a", "--undo")[1] == (
        "a: the slot Tue 2025-06-03 02:00 +0000 will not be skipped\n")


@pytest.mark.parametrize("seed", range(2))
def test_a_busy_month_leaves_no_slot_unexplained(seed):
    month = Busy(seed, "2025-03-10T00:00:00Z").live(14)
    slots = list(month.audit())
    assert [slot for slot in slots if slot.fate in sc.UNEXPLAINED] == []
    assert {slot.fate for slot in slots} >= {
        "success", "failed", "stopped", "skipped_exit", "skipped_condition", "skipped_manual"}


# -- real processes

STUBBORN = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > child; sleep 99; sleep 99' & " \
    "echo $$ > pid; sleep 98; sleep 98"


def stop(project, name="job"):
    return project.call("stop", name)


def started(project, command="echo $$ > pid; sleep 99", **more):
    project.configure(due_once("job", command, **dict({"retry_count": 3, "kill_grace": 0.3}, **more)))
    project.anchor()
    project.tick()
    return project.running_record("job")


def only_verdict(project):
    project.wait_for_idle()
    records = project.history()
    assert len(records) == 1, records
    return records[0]


def test_stop_ends_the_whole_tree(project):
    record = started(project, STUBBORN)
    assert project.wait_until(lambda: project.lines("child"))
    document = json.loads(project.call("status", "--json")[1])
    pids = [int(project.lines(name)[0]) for name in ("pid", "child")]
    assert set(pids) <= set(document["running"][0]["pids"])
    code, out, err = stop(project)
    assert (code, out, err) == (0, "job: stopped run %s\n" % record["run_id"], "")
    assert not any(map(is_alive, pids)) and nothing_lives(record)
    verdict = only_verdict(project)
    assert (verdict["status"], verdict["exit_code"]) == ("stopped", 143)
    assert verdict["reason"].startswith("stopped by ")
    assert project.health("job").startswith("stopped:")
    assert "status=stopped exit_code=143" in project.read("logs/automation/job.log")
    assert not (project.root / "status" / "runs" / "job.stop").exists()
    assert stop(project) == (0, "job is not running\n", "")
    assert project.tick().exit_code == 0 and len(project.history()) == 1


@pytest.mark.parametrize("disposition", [signal.SIG_DFL, signal.SIG_IGN])
def test_stop_ends_a_run_in_the_foreground_and_it_exits_with_143(project, disposition):
    project.configure(due_once("job", "trap 'exit 0' TERM; echo $$ > pid; sleep 99 & wait"))
    process = subprocess.Popen(project.command("run", "job"), stdin=subprocess.DEVNULL,
                               preexec_fn=lambda: signal.signal(signal.SIGTERM, disposition))
    assert project.wait_until(lambda: project.lines("pid"))
    assert stop(project)[0] == 0
    assert process.wait(20) == 143
    assert only_verdict(project)["status"] == "stopped"


@pytest.mark.parametrize("is_twice", [False, True])
def test_stop_of_a_run_whose_supervisor_was_killed(project, is_twice):
    record = started(project, STUBBORN)
    assert project.wait_until(lambda: project.lines("child"))
    os.kill(record["supervisor"], signal.SIGKILL)
    assert project.wait_until(lambda: not is_alive(record["supervisor"]))
    if is_twice:
        other = subprocess.Popen(project.command("stop", "job"), stdout=subprocess.DEVNULL)
    assert stop(project)[0] == 0
    if is_twice:
        assert other.wait(30) == 0
    assert nothing_lives(record)
    assert only_verdict(project)["status"] == "stopped"


def test_an_orphan_whose_stop_was_asked_for_is_stopped_by_who_takes_it_over(project):
    record = started(project)
    os.kill(record["supervisor"], signal.SIGKILL)
    assert project.wait_until(lambda: not is_alive(record["supervisor"]))
    sc.Store(str(project.root)).request_stop("job", record["run_id"], WHO)
    project.tick()
    verdict = only_verdict(project)
    assert (verdict["status"], verdict["reason"]) == ("stopped", WHO)
    assert nothing_lives(record)


def test_a_request_that_comes_before_the_start_starts_nothing(project):
    project.configure(due_once("job", "echo > ran", retry_count=2))
    project.anchor()
    store = sc.Store(str(project.root))

    def launch(store, verb, spec, lock):
        store.request_stop("job", spec["run_id"], WHO)
        sc.launch_supervisor(store, verb, spec, lock)

    sc.Conductor(store, launch=launch).tick()
    verdict = only_verdict(project)
    assert (verdict["status"], verdict["reason"]) == ("stopped", "not started: " + WHO)
    assert not (project.root / "ran").exists()


@pytest.mark.parametrize("is_later", [False, True])
def test_a_run_that_has_no_record_yet_is_waited_for(project, is_later):
    """The record of its task is that of the attempt before; one of a later run shows its end."""
    conductor = sc.Conductor(sc.Store(str(project.root)))
    conductor._is_locked = lambda name: True
    record = {"run_id": "20260101T000000Z-1", "trigger": "schedule", "attempt": 1, "slot": 0,
              "started_at": 0, "started_mono": 0, "pid": sc.NO_PID, "pid_start": "", "boot_id": "",
              "supervisor": sc.NO_PID, "result": {"status": "failed", "ended_at": 0}}
    (project.root / "status" / "runs").mkdir(mode=0o700, parents=True)
    conductor.store.write_run("job", record)
    before = {} if is_later else conductor.store.read_run("job")
    assert conductor._is_ending("job", "20260101T000000Z-2", before) is not is_later


def test_a_supervisor_that_has_its_result_gets_no_signal(project, monkeypatch):
    record = started(project)
    signalled = []
    monkeypatch.setattr(sc, "end_run", signalled.append)
    conductor, run = sc.Conductor(sc.Store(str(project.root))), sc.Run(run_id=record["run_id"])
    conductor._ask_for_end("job", run, WHO)
    assert [record["run_id"] for record in signalled] == [run.run_id]
    conductor.store.write_run("job", dict(record, result={"status": "success"}))
    conductor._ask_for_end("job", run, WHO)
    assert len(signalled) == 1
    conductor.store.write_run("job", record)
    monkeypatch.undo()
    assert stop(project)[0] == 0


def test_a_request_for_another_run_stops_nothing(project):
    sc.Store(str(project.root)).request_stop("job", "20250602T100000Z-1", WHO)
    project.configure(due_once("job"))
    project.anchor()
    project.tick()
    assert only_verdict(project)["status"] == "success"


def test_stop_between_retries(project):
    project.configure(due_once("job", "exit 3", retry_count=5, retry_delay=600))
    project.anchor()
    project.tick()
    assert project.wait_until(lambda: project.state()["tasks"]["job"].get("cycle", {}).get(
        "phase") == "retrying")
    code, out, _ = stop(project)
    assert code == 0 and out.endswith("was waiting and will not run\n")
    verdict = only_verdict(project)
    assert verdict["status"] == "stopped" and verdict["attempts"][0]["exit_code"] == 3
    assert project.health("job").startswith("stopped:")


def test_stops_that_race_the_end_of_a_run_leave_one_verdict(project):
    """Whichever comes first: one verdict, nothing alive, no further attempt."""
    project.configure(*[due_once("job%d" % number, "sleep 0.%02d; exit 3" % (number * 4),
                                 retry_count=3, retry_delay=600, kill_grace=1)
                        for number in range(8)], max_concurrent_tasks=8)
    project.anchor()
    project.tick()
    for number in range(8):
        outcome = sc.Conductor(sc.Store(str(project.root))).stop("job%d" % number, "joe")
        assert outcome.exit_code == 0, outcome.lines
    project.wait_for_idle()
    verdicts = {record["task"]: record["status"] for record in project.history()}
    assert len(project.history()) == len(verdicts) == 8
    assert set(verdicts.values()) <= {"stopped", "failed"}
    assert not any("cycle" in state for state in project.state()["tasks"].values())


def test_a_reused_pid_is_not_signalled(project):
    record = started(project)
    bystander = subprocess.Popen(["sleep", "99"])
    try:
        wrong = dict(record, supervisor=bystander.pid)
        sc.end_run(wrong)
        sc.end_run(dict(wrong, supervisor_start=""))
        sc.end_run(dict(wrong, supervisor=1))
        sc.end_run(dict(record, boot_id="another"))
        assert bystander.poll() is None and is_alive(record["supervisor"])
    finally:
        bystander.kill()
        bystander.wait()
    assert stop(project)[0] == 0


def test_what_cannot_be_ended_is_said_so(project):
    record = started(project)
    path = project.root / "status" / "runs" / "job.json"
    text = "was interrupted at T but cannot be killed: 1 process of root"
    conductor = sc.Conductor(sc.Store(str(project.root)))

    def ask(name, run, reason):
        before = json.loads(path.read_text())
        conductor.store.write_run(name, dict(before, unended=text))
        return before

    conductor._ask_for_end = ask
    outcome = conductor.stop("job", "joe")
    assert (outcome.exit_code, outcome.lines) == (1, [
        "job: run %s %s" % (record["run_id"], text)])
    assert stop(project)[0] == 0


def test_stop_of_what_does_not_run(project):
    project.configure(every_minute("job"))
    assert stop(project) == (0, "job is not running\n", "")
    code, _, err = stop(project, "jib")
    assert code == 2 and err == "symphony_conductor: unknown task 'jib' (did you mean 'job'?)\n"


def test_a_task_that_was_removed_can_be_stopped_while_it_runs(project):
    record = started(project)
    project.configure(every_minute("other", enabled=False))
    assert stop(project)[0] == 0
    assert nothing_lives(record)


def test_a_stop_after_a_failure_is_what_a_dependent_is_told():
    world = Stopped(task("a", "0 2 * * *"), task("b", "30 2 * * *", dependencies=["a"]))
    world.tick(MORNING)
    world.tick(NIGHT)
    world.finish("a", "2025-06-03T02:01:00Z", "failed")
    world.tick("2025-06-04T02:00:00Z")
    world.finish("a", "2025-06-04T02:01:00Z", "stopped")
    why = sc.explain_unmet(world.config, world.state.tasks, "a", at("2025-06-04T02:30:00Z"))
    assert why == "'a' was stopped at its slot 2025-06-04T02:00:00Z"


def test_a_pause_ends_what_is_said_of_a_skip_within_it():
    world = Stopped(task("a", "0 2 * * *"))
    world.tick(MORNING)
    world.state, _ = sc.skip_slot(world.state, world.config.tasks["a"], world.last_seen,
                                  world.last_seen, "me")
    world.state = world.state.replace(pauses={
        "a": {"since": at(MORNING), "until": at(NIGHT) + 60, "reason": ""}})
    world.tick("2025-06-03T01:59:00Z")
    world.tick("2025-06-03T02:02:00Z")
    assert world.state.tasks["a"].skips == {}


def test_without_a_configuration_a_stop_prunes_no_history(project):
    project.configure(due_once("job", "exit 3", retry_count=5, retry_delay=600))
    project.anchor()
    project.tick()
    project.wait_for_idle()
    kept = project.root / "status" / "history" / "2001-01-01.jsonl"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("")
    (project.root / "config" / "conductor_config.json").write_text("{")
    (project.root / "status" / "last_good_config.json").unlink()
    assert "was waiting and will not run" in project.call("stop", "job")[1]
    assert project.history() and kept.exists()
