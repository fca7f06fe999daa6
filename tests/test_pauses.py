"""Pauses, times without a tick, and the audit that has to explain both: over the pure decision, and on disk."""

import json
import os
import subprocess
import time

import pytest
from stories import NIGHT, World, at, task
from support import due_once, every_minute

import symphony_conductor as sc

HOUR = 3600


class Paused(World):
    """A world with pauses."""

    def pause(self, name, since, until=None):
        self.state = self.state.replace(pauses=dict(self.state.pauses, **{
            name: {"since": at(since), "until": until and at(until), "reason": ""}}))
        return self.tick(since)

    def resume(self, name, when):
        self.state = self.state.replace(pauses={
            each: pause for each, pause in self.state.pauses.items() if each != name})
        return self.tick(when)


def nightly(**more):
    world = Paused(task("a", "0 2 * * *", **more))
    world.tick("2025-06-02T10:00:00Z")
    return world


# -- what must not happen by surprise

def test_a_run_by_hand_ahead_of_the_first_tick_does_not_make_last_nights_slot_due():
    world = World(task("a", "0 2 * * *"))
    world.state, _ = sc.begin_manual(world.state, world.config.tasks["a"], at("2025-06-02T09:00:00Z"))
    world.finish("a", "2025-06-02T09:01:00Z")
    assert world.tick("2025-06-02T09:02:00Z") == []
    assert world.tick(NIGHT) == ["a@2025-06-03T02:00:00Z"] and world.triggers() == ["schedule"]


def test_a_disabled_task_that_ran_by_hand_is_not_due_when_it_is_enabled():
    world = World(task("a", "0 2 * * *", enabled=False))
    world.tick("2025-06-02T08:00:00Z")
    world.state, _ = sc.begin_manual(world.state, world.config.tasks["a"], at("2025-06-02T09:00:00Z"))
    world.finish("a", "2025-06-02T09:01:00Z")
    world.configure(task("a", "0 2 * * *"))
    assert world.tick("2025-06-02T10:00:00Z") == [] and world.tick("2025-06-02T10:01:00Z") == []


def test_a_state_that_is_deleted_while_a_task_runs_starts_it_no_second_time_afterwards(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    hand.held.add("a")
    assert hand.tick(NIGHT) == ["a@2025-06-03T02:00:00Z"]
    (hand.root / "conductor_state.json").unlink()
    assert hand.tick("2025-06-03T02:01:00Z") == []
    hand.release("a")
    assert hand.tick("2025-06-03T02:02:00Z") == [] and hand.tick("2025-06-03T02:03:00Z") == []
    assert [record["scheduled_for"] for record in hand.project.history()] == [NIGHT]


@pytest.mark.parametrize("name", ["conductor_config.json", "tasks.d/new.json"])
def test_a_slot_that_next_shows_after_an_edit_runs_at_the_next_tick(hand, name):
    hand.configure(task("other", "0 5 1 1 *"))
    hand.move(int(time.time()) - 40)
    hand.tick()
    path = hand.root / "config" / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    slot = int(time.time()) // 60 * 60 + 120
    minute = time.gmtime(slot)
    new = task("new", "%d %d * * *" % (minute.tm_min, minute.tm_hour), timezone="UTC")
    path.write_text(json.dumps({"tasks": [new]} if name == "conductor_config.json" else new))
    path.chmod(0o600)
    hand.move(os.stat(str(path)).st_ctime + 0.01)
    shown, asked = sc.local_text(slot, "UTC"), ("next", "--task", "new", "--count", "1")
    assert hand.call(*asked)[1] == "%s  new\n" % shown
    hand.move(slot + 1)
    assert hand.call(*asked)[1] == "%s  new  (due: the next tick decides it)\n" % shown
    said = " ".join(hand.call("why", "new")[1].split())
    assert "Its slot %s is due now; the next tick decides it." % shown in said
    assert hand.tick() == ["new@%s" % sc.iso(slot)]
    hand.tick(slot + 61)
    code, out, _ = hand.call("audit")
    assert code == 0 and " 1  ran and succeeded" in out
    assert hand.call("pause", "new")[0] == 0  # a decision by which the state lets go of the verdict
    next((hand.root / "status" / "history").iterdir()).write_text("")
    code, out, _ = hand.call("audit")
    assert code == 1 and "new: slot %s: no result was recorded" % sc.iso(slot) in out


def test_a_configuration_that_was_good_keeps_the_times_of_its_files(hand):
    hand.configure(task("a", "0 2 * * *"))
    store = hand.store()
    read = store.read_config().tasks["a"]
    changed_at = os.stat(str(hand.root / "config" / "conductor_config.json")).st_ctime
    store.save_last_good("stamp")
    kept = store.read_last_good().tasks["a"]
    assert read.changed_at == read.zone_changed_at == changed_at
    assert kept.changed_at == kept.zone_changed_at == changed_at
    kept = json.loads(hand.project.read("status/last_good_config.json"))
    for damaged, expected in ({}, None), ({"config/conductor_config.json": float("nan")}, None):
        with open(store.last_good_path, "w") as handle:
            json.dump(dict(kept, changed_at=damaged), handle)
        assert store.read_last_good().tasks["a"].changed_at is expected


def test_what_comes_when_the_first_configuration_is_mended_counts_from_then(hand):
    hand.project.write_config("{")
    hand.move(int(time.time()) - 100)
    hand.tick()
    hand.configure(task("a", "* * * * *"))
    changed_at = os.stat(str(hand.root / "config" / "conductor_config.json")).st_ctime
    slot = int(changed_at) // 60 * 60 + 60
    assert hand.tick(slot + 1) == ["a@%s" % sc.iso(slot)]


def test_slots_count_from_the_resume_although_the_file_changed_in_the_pause(hand):
    hand.configure(task("a", "* * * * *"))
    changed_at = os.stat(str(hand.root / "config" / "conductor_config.json")).st_ctime
    hand.move(changed_at - 600)
    hand.tick()
    assert hand.call("pause", "a")[0] == 0
    minute = int(changed_at) // 60 * 60 + 300
    hand.move(minute - 30)
    assert hand.call("resume", "a")[0] == 0
    assert hand.started == [] and hand.tick(minute - 1) == []
    assert hand.tick(minute) == ["a@%s" % sc.iso(minute)]


# -- pauses: the decision

def test_slots_in_a_pause_are_neither_run_nor_caught_up():
    world = nightly()
    world.pause("a", "2025-06-02T11:00:00Z")
    assert world.tick(NIGHT) == [] and world.tick("2025-06-04T02:00:00Z") == []
    assert world.resume("a", "2025-06-04T09:00:00Z") == [] and world.tick("2025-06-04T09:01:00Z") == []
    assert world.tick("2025-06-05T02:00:00Z") == ["a@2025-06-05T02:00:00Z"]
    assert "merged_since" not in world.finish("a", "2025-06-05T02:01:00Z") and world.verdicts[-1].get(
        "merged_since") is None


@pytest.mark.parametrize("back, expected", [
    ("2025-06-04T01:59:00Z", []), ("2025-06-04T02:00:00Z", ["a@2025-06-04T02:00:00Z"]),
    ("2025-06-06T12:00:00Z", ["a@2025-06-06T02:00:00Z"])])
def test_slots_count_from_the_end_of_the_pause_although_the_machine_was_off_then(back, expected):
    world = nightly()
    world.pause("a", "2025-06-02T11:00:00Z", until="2025-06-03T12:00:00Z")
    first = world.tick(back)
    assert (first or world.tick(back)) == expected
    assert world.state.pauses == {}
    if back == "2025-06-06T12:00:00Z":
        world.finish("a", "2025-06-06T12:01:00Z")
        assert world.verdicts[-1]["merged_since"] == "2025-06-04T02:00:00Z", "the one of the 3rd was in the pause"


@pytest.mark.parametrize("ends, back, expected", [
    ({"a": "2025-06-03T12:00:00Z", "*": "2025-06-04T12:00:00Z"}, "2025-06-04T13:00:00Z", []),
    ({"a": "2025-06-04T12:00:00Z", "*": "2025-06-03T12:00:00Z"}, "2025-06-04T13:00:00Z", []),
    ({"a": "2025-06-03T11:00:00Z", "*": "2025-06-03T12:00:00Z"}, "2025-06-04T13:00:00Z", ["a@2025-06-04T02:00:00Z"]),
    ({"a": "2025-06-03T12:00:00Z", "*": None}, "2025-06-05T13:00:00Z", []),
    ({"a": None, "*": "2025-06-03T12:00:00Z"}, "2025-06-05T13:00:00Z", []),
])
def test_of_two_pauses_the_longer_one_counts(ends, back, expected):
    world = nightly()
    for name, until in ends.items():
        world.pause(name, "2025-06-02T11:00:00Z", until)
    assert (world.tick(back) or world.tick(back)) == expected
    assert set(world.state.pauses) == {name for name, until in ends.items() if until is None}


def test_the_next_decision_is_due_when_a_pause_ends():
    world = nightly()
    world.pause("a", "2025-06-02T11:00:00Z", until="2025-06-02T11:20:00Z")
    assert world.decision.wake_at == at("2025-06-02T11:20:00Z")
    world.tick("2025-06-02T11:20:00Z")
    assert world.state.tasks["a"].next_slot == at(NIGHT) and world.decision.wake_at == at(NIGHT)


def test_a_task_that_waits_for_a_dependency_ends_as_paused():
    world = Paused(task("a", "0 2 * * *"), task("b", "30 2 * * *", dependencies=["a"]))
    world.tick("2025-06-02T10:00:00Z")
    world.tick(NIGHT)
    world.tick("2025-06-03T02:30:00Z")
    world.pause("b", "2025-06-03T02:31:00Z")
    assert world.said() == [("b", "skipped_paused", "2025-06-03T02:30:00Z")]
    assert world.verdicts[0]["reason"] == "paused since 2025-06-03T02:31:00Z until resumed"
    assert world.finish("a", "2025-06-03T02:40:00Z") == []


def test_a_task_that_is_queued_ends_as_paused():
    world = Paused(task("a", "0 2 * * *"), task("b", "1 2 * * *"), max_concurrent_tasks=1)
    world.tick("2025-06-02T10:00:00Z")
    world.tick(NIGHT)
    world.tick("2025-06-03T02:01:00Z")
    world.pause("*", "2025-06-03T02:02:00Z")
    assert world.said() == [("b", "skipped_paused", "2025-06-03T02:01:00Z")]
    assert world.finish("a", "2025-06-03T02:40:00Z") == []
    assert world.said()[1:] == [("a", "success", NIGHT)], "what runs goes on"


def test_a_task_that_waits_for_a_retry_ends_with_what_its_attempts_came_to():
    world = nightly(retry_count=3, retry_delay=60)
    world.tick(NIGHT)
    world.finish("a", "2025-06-03T02:01:00Z", "timeout")
    world.tick("2025-06-03T02:02:00Z")
    world.finish("a", "2025-06-03T02:03:00Z", "failed")
    world.pause("a", "2025-06-03T02:03:30Z")
    assert world.said() == [("a", "failed", NIGHT)]
    verdict = world.verdicts[0]
    assert (verdict["attempt"], verdict["reason"]) == (2, "paused since 2025-06-03T02:03:30Z until resumed")
    assert [attempt["status"] for attempt in verdict["attempts"]] == ["timeout"]
    assert world.state.tasks["a"].marks == "F"


def test_a_run_that_fails_in_a_pause_is_not_tried_again():
    world = nightly(retry_count=3, retry_delay=0)
    world.tick(NIGHT)
    world.pause("a", "2025-06-03T02:00:30Z")
    assert world.finish("a", "2025-06-03T02:01:00Z", "failed") == []
    assert world.said() == [("a", "failed", NIGHT)]


def test_a_slot_queued_behind_a_run_ends_as_paused():
    world = Paused(task("a", "*/10 * * * *", overlap="queue"))
    world.tick("2025-06-02T10:05:00Z")
    for minute in (10, 20, 30):
        world.tick("2025-06-02T10:%d:00Z" % minute)
    world.pause("a", "2025-06-02T10:31:00Z")
    assert world.said() == [("a", "skipped_paused", "2025-06-02T10:30:00Z")]
    assert world.verdicts[0]["merged_since"] == "2025-06-02T10:20:00Z"
    assert world.finish("a", "2025-06-02T10:35:00Z") == []


@pytest.mark.parametrize("blocker", [task("a", "0 2 * * *"), task("a", dependencies=["scan"])], ids=["slots", "joined"])
def test_the_dependents_of_a_paused_task_are_told_so(blocker):
    world = Paused(task("scan", "0 1 * * *"), blocker, task("b", "30 2 * * *", dependencies=["a"]))
    world.tick("2025-06-02T10:00:00Z")
    world.pause("a", "2025-06-02T11:00:00Z")
    world.tick("2025-06-03T01:00:00Z")
    world.finish("scan", "2025-06-03T01:01:00Z")
    world.tick(NIGHT)
    assert world.tick("2025-06-03T02:30:00Z") == []
    assert sc.explain_unmet(world.config, world.state.tasks, "a", at("2025-06-03T02:30:00Z")) == "'a' is paused"


def test_a_join_does_not_run_on_successes_of_its_pause():
    world = Paused(task("a", "0 2 * * *"), task("join", dependencies=["a"]))
    world.tick("2025-06-02T10:00:00Z")
    world.pause("join", "2025-06-02T11:00:00Z")
    world.tick(NIGHT)
    assert world.finish("a", "2025-06-03T02:01:00Z") == []
    assert world.resume("join", "2025-06-03T03:00:00Z") == [] and world.tick("2025-06-03T03:01:00Z") == []
    world.tick("2025-06-04T02:00:00Z")
    assert world.finish("a", "2025-06-04T02:01:00Z") == ["join@2025-06-04T02:01:00Z"]


@pytest.mark.parametrize("pauses, next_run", [
    ({}, NIGHT), ({"a": None}, None), ({"*": None}, None),
    ({"a": "2025-06-05T12:00:00Z"}, "2025-06-06T02:00:00Z"), ({"*": "2025-06-05T02:00:00Z"}, "2025-06-06T02:00:00Z"),
    ({"a": "2025-06-05T12:00:00Z", "*": None}, None), ({"a": None, "*": "2025-06-05T12:00:00Z"}, None),
    ({"a": "2025-06-03T12:00:00Z", "*": "2025-06-05T12:00:00Z"}, "2025-06-06T02:00:00Z")])
def test_the_next_run_of_a_paused_task_comes_after_its_pause(pauses, next_run):
    world = nightly()
    for name, until in pauses.items():
        world.pause(name, "2025-06-02T11:00:00Z", until)
    document = sc.task_document(world.config, world.state, world.config.tasks["a"], at("2025-06-02T12:00:00Z"))
    assert document["next_run"] == next_run
    assert document["state"] == ("paused" if pauses else "idle")


# -- pauses: the commands

def test_pause_and_resume_count_at_once_and_not_from_the_next_tick_on(hand):
    hand.configure(task("a", "*/5 * * * *"), task("b", "*/5 * * * *"))
    hand.tick()
    hand.move("2025-06-02T10:04:00Z")
    assert hand.call("pause", "a", "--for", "2h", "--reason", "moving house") == (
        0, "paused a until Mon 2025-06-02 12:04 +0000\n", "")
    assert hand.tick("2025-06-02T10:05:00Z") == ["b@2025-06-02T10:05:00Z"]
    hand.tick("2025-06-02T10:06:00Z")
    hand.move("2025-06-02T10:09:30Z")
    assert hand.call("resume", "a")[:2] == (0, "resumed a; slots count from now on\n")
    assert hand.tick("2025-06-02T10:10:01Z") == ["a@2025-06-02T10:10:00Z", "b@2025-06-02T10:10:00Z"]
    assert "a: paused until 2025-06-02T12:04:00Z (moving house)" in hand.project.read("logs/symphony_conductor.log")
    assert hand.call("audit")[0] == 0


def test_pausing_all_does_not_end_with_the_pause_of_one(hand):
    hand.configure(task("a", "*/5 * * * *"), task("b", "*/5 * * * *"))
    hand.tick()
    assert hand.call("pause", "a", "--for", "1m")[0] == 0
    assert hand.call("pause", "--all")[:2] == (0, "paused all tasks until resumed\n")
    assert hand.tick("2025-06-02T10:30:00Z") == []
    assert sorted(hand.state().pauses) == ["*"]
    code, _, err = hand.call("resume", "a")
    assert code == 2 and "'a' is not paused" in err and "--all" in err
    assert hand.call("pause", "a")[0] == 0
    assert hand.call("resume", "--all")[0] == 0
    assert hand.tick("2025-06-02T10:35:00Z") == ["b@2025-06-02T10:35:00Z"]
    assert hand.call("audit")[0] == 0


@pytest.mark.parametrize("arguments, complaint", [
    (["pause", "c"], "unknown task 'c' (tasks: a)"), (["pause"], "name one task, or use --tag or --all"),
    (["pause", "a", "--all"], "name one task, or use --tag or --all"),
    (["resume"], "name one task, or use --tag or --all"),
    (["resume", "a"], "'a' is not paused (paused: none)"), (["resume", "--all"], "there is no pause of all tasks"),
    (["pause", "a", "--until", "2025-06-02T09:59"], "--until: "), (["pause", "a", "--until", "soon"], "'soon' is not"),
    (["pause", "a", "--for", "2 hours"], "--for"), (["pause", "a", "--for", "0s"], "--for"),
    (["pause", "a", "--for", "1h", "--until", "2026-01-01"], "not allowed with"),
    (["pause", "a", "--for", "999999w"], "--for"), (["pause", "a", "--until", "9999-12-31T23:59"], "--until"),
])
def test_a_pause_that_makes_no_sense_is_refused_and_changes_nothing(hand, arguments, complaint):
    hand.configure(task("a", "*/5 * * * *"), task("odd", "61 * * * *"))
    hand.tick()
    before = hand.project.read("conductor_state.json")
    hand.capfd.readouterr()
    try:
        code = sc.main(["--root", str(hand.root)] + arguments)
    except SystemExit as usage:
        code = usage.code
    out, err = hand.capfd.readouterr()
    assert (code, out) == (2, "") and complaint in err
    assert hand.project.read("conductor_state.json") == before
    assert hand.call("status", "--table")[0] == 0


def test_a_pause_until_the_end_of_time_breaks_no_command(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    assert hand.call("pause", "a", "--until", "4999-12-31T23:59")[0] == 0
    for command in (["status"], ["status", "--table"], ["why", "a"], ["audit"], ["history"], ["next"]):
        assert hand.call(*command)[0] == 0, command
    assert json.loads(hand.call("status")[1])["tasks"][0]["next_run"] == "5000-01-01T02:00:00Z"


def test_a_pause_does_not_fail_for_what_is_wrong_with_other_tasks(hand):
    hand.configure(task("a", "*/5 * * * *"), task("odd", "61 * * * *"))
    hand.tick()
    code, out, err = hand.call("pause", "a")
    assert out == "paused a until resumed\n" and (code == 0 or "minute '61'" in err)
    assert sorted(hand.state().pauses) == ["a"]


def test_what_the_last_good_configuration_keeps_going_can_be_paused(hand):
    hand.configure(task("a", "*/5 * * * *"))
    hand.tick()
    hand.project.write_config("{")
    hand.call("pause", "a")
    assert sorted(hand.state().pauses) == ["a"]
    assert hand.tick("2025-06-02T10:05:00Z") == []


def test_a_task_that_was_removed_can_be_resumed(hand):
    hand.configure(task("a", "*/5 * * * *"), task("b", "*/5 * * * *"))
    hand.tick()
    hand.call("pause", "a")
    hand.configure(task("b", "*/5 * * * *"))
    hand.tick()
    assert hand.call("resume", "a")[0] == 0
    assert hand.state().pauses == {}


def test_pauses_stay_when_the_state_is_deleted_and_its_copy_is_not(hand):
    hand.configure(task("a", "*/5 * * * *"), task("b", "*/5 * * * *"))
    hand.tick()
    hand.call("pause", "a")
    (hand.root / "conductor_state.json").unlink()
    document = json.loads(hand.call("status")[1])
    assert [each["state"] for each in document["tasks"]] == ["paused", "idle"]
    assert hand.tick("2025-06-02T10:30:10Z") == []
    assert hand.project.read("logs/symphony_conductor.log").count(
        "WARNING conductor_state.json is missing; of its content, the pauses are kept (a)") == 1
    assert hand.tick("2025-06-02T10:35:00Z") == ["b@2025-06-02T10:35:00Z"]
    assert hand.call("resume", "a")[0] == 0
    assert hand.tick("2025-06-02T10:40:00Z") == ["a@2025-06-02T10:40:00Z", "b@2025-06-02T10:40:00Z"]
    assert "pause" not in hand.call("audit")[1]


def test_a_pause_that_is_over_does_not_come_back_with_the_copy(hand):
    hand.configure(task("a", "*/5 * * * *"))
    hand.tick()
    hand.call("pause", "a")
    hand.call("resume", "a")
    (hand.root / "conductor_state.json").unlink()
    hand.tick("2025-06-02T10:30:10Z")
    assert hand.tick("2025-06-02T10:35:00Z") == ["a@2025-06-02T10:35:00Z"]


@pytest.mark.parametrize("lose", [lambda path: path.unlink(), lambda path: path.write_text("{")],
                         ids=["deleted", "damaged"])
def test_an_audit_names_the_pauses_that_went_with_the_state(hand, lose, monkeypatch):
    hand.configure(task("a", "*/5 * * * *"), task("b", "*/5 * * * *"), task("c", "*/5 * * * *"))
    hand.tick()
    hand.call("pause", "a", "--reason", "moving house")
    hand.call("pause", "b", "--for", "10m")
    hand.call("pause", "c")
    hand.call("resume", "c")
    hand.call("pause", "--all")
    for name in ("conductor_state.json", "conductor_state.json.bak"):
        lose(hand.root / name)
    assert hand.tick("2025-06-02T10:30:10Z") == []
    assert len(hand.tick("2025-06-02T10:35:00Z")) == 3
    lost = "  the state was lost before 2025-06-02T10:30:10Z, and with it the pause of "
    monkeypatch.setenv("COLUMNS", "200")
    lines = [line for line in hand.call("audit")[1].splitlines() if "pause" in line]
    assert lines == [lost + "all tasks", lost + "a (moving house)"]
    assert json.loads(hand.call("audit", "--json")[1])["lost_pauses"] == [
        {"task": "*", "at": "2025-06-02T10:30:10Z", "reason": ""},
        {"task": "a", "at": "2025-06-02T10:30:10Z", "reason": "moving house"}]
    hand.move("2025-06-03T10:30:11Z")
    assert "pause" not in hand.call("audit", "--since", "1d")[1]


def test_a_pause_on_a_deleted_state_loses_no_verdict_of_what_runs(hand):
    hand.configure(task("a", "0 2 * * *"), task("b", "0 5 * * *"))
    hand.tick()
    hand.held.add("a")
    hand.tick(NIGHT)
    (hand.root / "conductor_state.json").unlink()
    assert hand.call("pause", "b")[0] == 0
    hand.release("a")
    assert hand.tick("2025-06-03T02:10:00Z") == []
    assert [(record["task"], record["status"]) for record in hand.project.history()] == [("a", "success")]


@pytest.mark.parametrize("pauses", [
    5, [], {"a": 5}, {"a": {}}, {"a": {"since": 1, "until": None}}, {"a": {"since": "x", "until": None, "reason": ""}},
    {"a": {"since": True, "until": None, "reason": ""}}, {"a": {"since": 1, "until": "x", "reason": ""}},
    {"a": {"since": 1, "until": None, "reason": 7}}, {"a": {"since": float("nan"), "until": None, "reason": ""}},
    {"a": {"since": 1e300, "until": None, "reason": ""}}, {"a": {"since": 1, "until": float("inf"), "reason": ""}},
    {"a": {"since": 1, "until": 10 ** 12, "reason": ""}}, {"a": {"since": -1e300, "until": None, "reason": ""}},
], ids=[str(number) for number in range(14)])
def test_damaged_pauses_are_a_damaged_state_and_no_defect(hand, pauses):
    hand.configure(task("a", "*/5 * * * *"))
    hand.tick()
    hand.tick("2025-06-02T10:05:00Z")
    hand.tick("2025-06-02T10:06:00Z")
    state = hand.project.state()
    (hand.root / "conductor_state.json").write_text(json.dumps(dict(state, pauses=pauses)))
    for command in (["status"], ["status", "--table"], ["why", "a"], ["audit"]):
        code, out, err = hand.call(*command)
        assert code in (0, 1) and "internal error" not in err, (command, err)
    assert "cannot be used" in hand.call("status")[1]
    code, _, err = hand.call("pause", "a")
    assert code == 74 and "the next tick will repair it" in err
    hand.tick("2025-06-02T10:06:30Z")
    assert hand.call("pause", "a")[0] == 0


def test_a_pause_waits_for_the_tick_that_holds_the_lock(project):
    project.configure(every_minute("a", schedule="0 2 1 1 *"))
    project.tick()
    lock = sc.FileLock(str(project.root / "conductor.pid"))
    assert lock.acquire()
    process = subprocess.Popen(project.command("pause", "a"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.7)
    assert project.state().get("pauses") is None
    lock.release()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"paused a until resumed\n", b"")
    assert list(project.state()["pauses"]) == ["a"]


def test_a_paused_task_still_runs_by_hand(project):
    project.configure(due_once("a", "echo ran >> out"))
    project.anchor()
    assert project.call("pause", "--all")[0] == 0
    assert project.call("tick")[0] == 0
    assert project.lines("out") == []
    assert project.call("run", "--task", "a")[0] == 0
    assert project.lines("out") == ["ran"]
    status = json.loads(project.call("status")[1])["tasks"][0]
    assert (status["state"], status["last_run"]["trigger"]) == ("paused", "manual")


# -- times without a tick

def evidence(offset=0.0, suspended=0.0, boot="b"):
    return sc.Evidence(clock_offset=offset, suspended=suspended, boot_id=boot)


@pytest.mark.parametrize("before, after, length_s, cause", [
    (evidence(), evidence(), 3600, "cron"),
    (evidence(), evidence(boot="c"), 3600, "reboot"),
    (evidence(), evidence(3600, 3600, "c"), 3600, "reboot"),
    (evidence(), evidence(3595, 3595), 3600, "suspend"),
    (evidence(), evidence(1800, 1800), 3600, "suspend"),
    (evidence(), evidence(1700, 1700), 3600, "cron"),
    (evidence(100, 100), evidence(3695, 3695), 3600, "suspend"),
    (evidence(), evidence(3600), 3600, "clock"),
    (evidence(), evidence(600), 3600, "cron"),
    (evidence(), evidence(-600), 3600, "cron"),
    (evidence(), evidence(3600, 600), 3600, "clock"),
    (evidence(suspended=None), evidence(suspended=None), 3600, "cron"),
    (evidence(suspended=None), evidence(3600, None), 3600, ""),
    (evidence(), evidence(3600, None), 3600, ""),
])
def test_the_cause_of_a_gap_is_told_only_when_the_evidence_says_so(before, after, length_s, cause):
    assert sc.gap_cause(before, after, length_s) == cause
    assert cause in sc.GAP_CAUSES


def gaps(hand):
    return [(event["since"], event["at"], event["cause"]) for event in hand.store().events()
            if event["event"] == "gap"]


def reboot(hand, monkeypatch):
    monkeypatch.setattr(sc, "current_boot_id", lambda: "another")
    hand.clock.mono = 5.0


def suspend(hand, monkeypatch):
    hand.clock.mono -= HOUR
    hand.clock.suspended = lambda: float(HOUR)


def set_clock(hand, monkeypatch):
    hand.clock.mono -= HOUR


def nothing(hand, monkeypatch):
    pass


@pytest.mark.parametrize("what, cause, told", [
    (reboot, "reboot", "the machine or container was off or restarted"),
    (suspend, "suspend", "the machine was suspended (the monotonic clock fell behind)"),
    (set_clock, "clock", "the clock was set forward (the monotonic clock did not move as far)"),
    (nothing, "cron", "cron did not run the tick (cron stopped, or the crontab line missing)")])
def test_a_tick_that_finds_an_old_heartbeat_records_the_gap_once(hand, monkeypatch, what, cause, told):
    hand.configure(task("a", "0 * * * *"))
    hand.tick()
    hand.tick("2025-06-02T10:03:00Z")
    assert gaps(hand) == []
    hand.move("2025-06-02T11:03:00Z")
    what(hand, monkeypatch)
    assert hand.tick() == ["a@2025-06-02T11:00:00Z"]
    hand.tick("2025-06-02T11:04:00Z")
    assert gaps(hand) == [("2025-06-02T10:03:00Z", "2025-06-02T11:03:00Z", cause)]
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = hand.call("audit")
    assert code == 0
    assert "  no tick from 2025-06-02T10:03:00Z to 2025-06-02T11:03:00Z: " + told in out
    assert "       1  of these were due while no tick ran" in out
    log = hand.project.read("logs/symphony_conductor.log")
    assert log.count("WARNING no tick from 2025-06-02T10:03:00Z to 2025-06-02T11:03:00Z: " + told) == 1


@pytest.mark.parametrize("at_s, recorded", [(180, 0), (181, 1)])
def test_three_minutes_without_a_tick_are_no_gap_and_a_second_more_is(hand, at_s, recorded):
    hand.configure(task("a", "0 2 1 1 *"))
    hand.tick()
    hand.clock.advance(at_s)
    hand.tick()
    assert len(gaps(hand)) == recorded


class Crash(BaseException):
    """What no handler catches: kill -9, as far as a test in one process can have it."""


@pytest.mark.parametrize("method", ["record", "log", "write_heartbeat", "save_state"])
def test_a_crash_of_the_tick_that_finds_a_gap_leaves_it_recorded_once(hand, monkeypatch, method):
    hand.configure(task("a", "0 2 1 1 *"))
    hand.tick()
    hand.move("2025-06-02T11:00:00Z")
    kept = getattr(sc.Store, method)
    calls = []

    def crashes(store, *args):
        calls.append(args)
        # The first call of record is for what an earlier decision left.
        if method != "record" or len(calls) == 2:
            raise Crash
        return kept(store, *args)

    monkeypatch.setattr(sc.Store, method, crashes)
    with pytest.raises(Crash):
        hand.conductor().tick()
    monkeypatch.setattr(sc.Store, method, kept)
    for minute in (1, 2, 3):
        hand.tick("2025-06-02T11:0%d:00Z" % minute)
    assert len(gaps(hand)) == 1 and gaps(hand)[0][0] == "2025-06-02T10:00:00Z"


def test_a_pause_ahead_of_the_first_tick_after_a_gap_does_not_hide_its_cause(hand, monkeypatch):
    hand.configure(task("a", "0 2 1 1 *"))
    hand.tick()
    hand.move("2025-06-02T18:00:00Z")
    reboot(hand, monkeypatch)
    assert hand.call("pause", "a")[0] == 0
    hand.tick("2025-06-02T18:01:00Z")
    assert gaps(hand) == [("2025-06-02T10:00:00Z", "2025-06-02T18:01:00Z", "reboot")]


def test_a_heartbeat_and_a_state_of_the_version_before_are_read_without_a_word(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    state = hand.project.state()
    for field in ("told", "pauses"):
        state.pop(field, None)
    state["tasks"]["a"].pop("marks", None)
    state["pending"] = []
    (hand.root / "conductor_state.json").write_text(json.dumps(state))
    heartbeat = hand.root / "status" / "heartbeat"
    store, offset = hand.store(), hand.clock.at - hand.clock.mono
    evidence = sc.Evidence(clock_offset=offset, boot_id=sc.current_start_id())
    store.write_heartbeat(hand.clock.at, at(NIGHT), evidence, store.watched())
    soon = (str(heartbeat).encode(), hand.clock.at + 1, hand.clock.mono + 1)
    assert sc.nothing_to_do(*soon)
    lines = heartbeat.read_text().split("\n")
    heartbeat.write_text("\n".join(["1 %s %s" % (at(NIGHT), offset)] + lines[1:]))
    os.utime(str(heartbeat), (hand.clock.at, hand.clock.at))
    (hand.root / "status" / "events.jsonl").unlink()
    hand.capfd.readouterr()
    assert not sc.nothing_to_do(*soon)
    hand.move("2025-06-02T12:00:00Z")
    outcome = hand.conductor().tick()
    assert (outcome.exit_code, outcome.lines) == (0, []) and gaps(hand) == []
    assert "WARNING" not in "".join(hand.project.lines("logs/symphony_conductor.log"))
    assert heartbeat.read_text().startswith("2 ")
    for command in (["status"], ["status", "--table"], ["why", "a"], ["history"], ["doctor"]):
        assert hand.call(*command)[2] == "", command
    assert hand.tick(NIGHT) == ["a@2025-06-03T02:00:00Z"]


# -- the audit, on disk

@pytest.fixture
def week(hand):
    """Three days of a nightly task, an hourly one and a dependent, with a pause, an overlap and a night off."""
    hand.configure(task("scan", "0 2 * * *"), task("hourly", "5 * * * *"), task("use", "30 2 * * *",
                                                                             dependencies=["scan"]))
    hand.tick("2025-06-02T12:00:00Z")
    while hand.clock.at < at("2025-06-05T12:00:00Z"):
        hand.minute()
        now = sc.iso(hand.clock.at)
        if now == "2025-06-03T08:00:00Z":
            hand.call("pause", "hourly", "--for", "4h")
        elif now == "2025-06-03T14:04:00Z":
            hand.held.add("hourly")
        elif now == "2025-06-03T15:30:00Z":
            hand.release("hourly")
        elif now == "2025-06-04T00:59:00Z":
            hand.move("2025-06-04T06:59:00Z")  # off for the night
    return hand


def test_an_audit_explains_every_slot_and_says_how(week):
    code, out, _ = week.call("audit", "--json")
    document = json.loads(out)
    assert (code, document["unexplained"], document["findings"]) == (0, 0, [])
    assert document["slots"] == 3 + 3 + 72 - 4, "the four of the pause are no slots"
    assert document["fates"] == {"success": 68, "merged": 5, "skipped_overlap": 1}
    assert document["while_no_tick_ran"] == 8 and document["shifted_by_daylight_saving"] == 0
    assert [(gap["since"], gap["at"], gap["cause"]) for gap in document["gaps"]] == [
        ("2025-06-04T00:59:00Z", "2025-06-04T07:00:00Z", "cron")]
    lines = week.call("audit")[1].splitlines()
    assert lines == [
        "74 slots, 0 unexplained, 2025-05-29T12:00:00Z to 2025-06-05T12:00:00Z",
        "      68  ran and succeeded",
        "       5  merged into a later slot",
        "       1  skipped: previous run still going",
        "       8  of these were due while no tick ran",
        "  no tick from 2025-06-04T00:59:00Z to 2025-06-04T07:00:00Z: cron did not run",
        "    the tick (cron stopped, or the crontab line missing)"]
    assert week.call("audit", "--task", "use")[1].startswith("3 slots, 0 unexplained")
    assert week.call("audit", "--since", "2025-06-05T00:00:00Z")[1].startswith("14 slots, 0 unexplained")
    assert week.call("audit", "--task", "nobody")[0] == 2 and week.call("audit", "--since", "soon")[0] == 2


def test_an_audit_finds_each_line_that_is_taken_out_of_the_history(week):
    path = week.root / "status" / "history" / "2025-06-03.jsonl"
    lines = path.read_text().splitlines(True)
    for number in range(0, len(lines), 3):
        record = json.loads(lines[number])
        path.write_text("".join(lines[:number] + lines[number + 1:]))
        code, out, _ = week.call("audit")
        assert code == 1
        assert "  ! %s: slot %s: no result was recorded" % (record["task"], record["scheduled_for"]) in out
        assert out.startswith("74 slots, 1 unexplained")
    path.write_text("".join(lines))
    assert week.call("audit")[0] == 0


def test_an_audit_finds_a_day_that_is_gone(week):
    path = week.root / "status" / "history" / "2025-06-03.jsonl"
    count = len(path.read_text().splitlines())
    path.unlink()
    code, out, _ = week.call("audit")
    assert code == 1 and out.startswith("74 slots, %d unexplained" % count)
    assert out.count("\n  ! ") == count
    assert week.call("audit", "--since", "2025-06-04T00:00:00Z")[0] == 0


def test_an_audit_finds_a_verdict_that_is_there_twice(week):
    path = week.root / "status" / "history" / "2025-06-03.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    path.write_text(path.read_text() + json.dumps(dict(first, run_id="another")) + "\n")
    code, out, _ = week.call("audit")
    assert code == 1
    assert "  ! %s: slot %s: 2 results were recorded" % (first["task"], first["scheduled_for"]) in out


def test_what_is_committed_and_not_yet_in_the_history_is_explained(hand, monkeypatch):
    hand.configure(task("a", "0 * * * *"))
    hand.tick()
    hand.tick("2025-06-02T11:00:00Z")
    monkeypatch.setattr(sc.Store, "record", lambda *args: None)
    hand.tick("2025-06-02T11:02:00Z")
    assert not (hand.root / "status" / "history").exists()
    code, out, _ = hand.call("audit")
    assert code == 0 and out.splitlines()[:2] == [
        "1 slot, 0 unexplained, 2025-05-26T11:02:00Z to 2025-06-02T11:02:00Z", "       1  ran and succeeded"]
    assert "was ran" not in hand.call("why", "a")[1]


def test_an_audit_does_not_miss_what_the_retention_took_away(hand):
    hand.configure(task("a", "0 */6 * * *"), task_history_retention_days=2)
    hand.tick()
    while hand.clock.at < at("2025-06-12T12:00:00Z"):
        hand.clock.advance(60)
        hand.tick()
        hand.clock.advance(60)
        hand.tick()
        hand.clock.advance(6 * HOUR - 120 - hand.clock.at % (6 * HOUR) if hand.clock.at % (6 * HOUR) > 120 else 120)
    assert len(os.listdir(str(hand.root / "status" / "history"))) <= 4
    code, out, _ = hand.call("audit", "--since", "30d")
    assert code == 0 and " 0 unexplained" in out


@pytest.mark.parametrize("start, days, moved, slots", [
    ("2025-03-28T12:00:00Z", 5, 1, 5), ("2025-10-24T12:00:00Z", 5, 0, 5)])
def test_a_month_with_a_change_of_the_clocks_is_explained_on_disk(hand, start, days, moved, slots):
    hand.clock.at = float(at(start))
    hand.configure(task("gap", "30 2 * * *"), timezone="Europe/Paris")
    hand.tick()
    end = hand.clock.at + days * 24 * HOUR
    while hand.clock.at < end:
        hand.clock.advance(30 * 60)
        hand.tick()
        hand.clock.advance(60)
        hand.tick()
        hand.clock.advance(-60)
    code, out, _ = hand.call("audit", "--json")
    document = json.loads(out)
    assert (code, document["slots"], document["shifted_by_daylight_saving"]) == (0, slots, moved)
    if moved:
        said = " ".join(hand.call("why", "gap", "--at", "2025-03-30T12:00:00Z")[1].split())
        assert said.startswith("gap: the slot Sun 2025-03-30 03:00 +0200 (moved by daylight saving time) ran and succ")


@pytest.mark.parametrize("line", [
    "{\"at\": \"2025-06-02T1", "null", "{}", "[" * 100000, "{\"at\": \"noon\", \"event\": \"gap\"}",
    "{\"at\": \"2025-06-02T10:00:00Z\"}", "{\"at\": \"2025-06-02T10:00:00Z\", \"event\": \"gap\"}",
    "{\"at\": \"2025-06-02T10:00:00Z\", \"event\": \"anchored\", \"tasks\": []}",
    "{\"at\": \"2025-06-02T10:00:00Z\", \"event\": \"anchored\", \"tasks\": {\"a\": 5}}",
    "{\"at\": \"2025-06-02T10:00:00Z\", \"event\": \"anchored\", \"tasks\": {\"a\": {\"since\": \"noon\"}}}",
], ids=[str(number) for number in range(10)])
def test_a_damaged_line_of_the_events_costs_only_itself(hand, line):
    hand.configure(task("a", "0 * * * *"))
    hand.tick()
    path = hand.root / "status" / "events.jsonl"
    path.write_text(path.read_text() + line + "\n")
    hand.tick("2025-06-02T11:00:00Z")
    hand.tick("2025-06-02T11:01:00Z")
    hand.move("2025-06-03T10:59:00Z")
    hand.tick()
    hand.tick("2025-06-03T11:00:00Z")
    for command in (["audit"], ["why", "a"], ["status"]):
        code, _, err = hand.call(*command)
        assert (code, err) == (0, ""), command


def test_an_audit_answers_while_time_goes_by(hand):
    hand.configure(task("a", "* * * * *"))
    hand.tick()
    assert hand.call("audit")[1].startswith("0 slots, 0 unexplained")
    hand.move("2025-06-02T10:01:30Z")
    assert hand.call("audit")[1].splitlines()[1] == "       1  due, not decided yet"
    hand.held.add("a")
    hand.tick()
    assert hand.call("audit")[1].splitlines()[1] == "       1  not finished yet"
