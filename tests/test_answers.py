"""What a person asks: why, diff, run --as-cron, doctor and simulate."""

import hashlib
import json
import os
import random
import re
import stat
import subprocess
import sys
import time

import pytest
from stories import NIGHT, Month, World, at, original_tasks, status_at, task, verdict
from support import due_once, every_minute

import symphony_conductor as sc
import symphony_simulate

HOUR, DAY = 3600, 86400
NOON = "2025-06-03T12:00:00Z"


# -- why: a sentence for each fate and each standing

def why(world, name="a", slot=None, of_slot=None, now=NOON):
    text = sc.why_text(world.config, world.state, world.config.tasks[name], slot, of_slot, at(now))
    return " ".join(text.split())


def asked(hand, *arguments):
    """What `why` answers, its lines put together, whoever runs the tests."""
    code, out, err = hand.call("why", *arguments)
    assert (code, err) == (0, "")
    who = os.environ.get("SUDO_USER") or sc.current_user()[0]
    program = sc.own_command(str(hand.root), is_short=True)
    return " ".join(out.split()).replace(" by %s" % who, " by PAUSER").replace(program + " ", "")


def idle_world(**more):
    world = World(task("a", "0 2 * * *", **more))
    world.tick("2025-06-02T10:00:00Z")
    world.state = world.state.replace(tasks={"a": world.state.tasks["a"].replace(
        cursor=at(NIGHT), next_slot=at("2025-06-04T02:00:00Z"))})
    return world


RAN_UNTIL, SKIPPED_AT = "2025-06-03T02:00:05Z", "2025-06-04T02:00:00Z"
NEXT = " Next run: Wed 2025-06-04 02:00 +0000 (in 14h)."
RUN_NOW = " To run it now: run --task a"
ADVICE = " Its output: logs a" + RUN_NOW


@pytest.mark.parametrize("fate, of_slot, reason, expected", [
    ("success", {}, "", "ran and succeeded. Attempt 1 took 1s and ended with exit code 0." + NEXT),
    ("success", {"trigger": "catch_up", "started_at": "2025-06-03T07:00:00Z", "merged_since": "2025-06-01T02:00:00Z"},
     "", "ran 5h late and succeeded. It ran late, as a catch-up. It also covers every slot since "
     "2025-06-01T02:00:00Z. Attempt 1 took 1s and ended with exit code 0." + NEXT),
    ("success", {"trigger": "dependency"}, "",
     "ran and succeeded. It waited for its dependencies, and started when the last of them had "
     "succeeded. Attempt 1 took 1s and ended with exit code 0." + NEXT),
    ("failed", {"attempt": 3}, "",
     "ran and failed. Attempt 3 of 3 took 1s and ended with exit code 1." + NEXT + ADVICE),
    ("failed", {"attempt": 2, "started_at": "2025-06-03T02:05:05Z", "attempts": [{"started_at": NIGHT}]}, "",
     "ran and failed. Attempt 2 of 3 took 1s and ended with exit code 1." + NEXT + ADVICE),
    ("timeout", {"exit_code": None}, "", "ran and timed out. Attempt 1 took 1s." + NEXT + ADVICE),
    ("interrupted", {"exit_code": None, "reason": "the command is gone"}, "",
     "ran and was interrupted. Attempt 1 took 1s. The command is gone." + NEXT + ADVICE),
    ("stopped", {"exit_code": 143, "reason": "stopped by joe"}, "",
     "was stopped by joe. Attempt 1 took 1s and ended with exit code 143." + NEXT + ADVICE),
    ("success", {"exit_code": 1}, "", "ran and succeeded. Attempt 1 took 1s and ended with exit code 1." + NEXT),
    ("skipped_exit", {"reason": "exit code 75 is in skip_exit_codes", "exit_code": 75}, "",
     "was skipped: exit code 75 is in skip_exit_codes." + NEXT + RUN_NOW),
    ("skipped_condition", {"reason": "condition not met (exit 1): on battery"}, "",
     "was skipped: condition not met (exit 1): on battery." + NEXT + RUN_NOW),
    ("skipped_manual", {"reason": "skipped by joe"}, "",
     "was skipped by joe." + NEXT + RUN_NOW),
    ("skipped_overlap", {"reason": "run R was still going"}, "",
     "was skipped: previous run still going. Run R was still going." + NEXT),
    ("skipped_dependency", {"reason": "waited for 'b'"}, "",
     "was skipped: dependency not met in time. Waited for 'b'." + NEXT + RUN_NOW),
    ("skipped_late", {"reason": "90 s late"}, "", "was skipped: too late to start. 90 s late." + NEXT + RUN_NOW),
    ("skipped_not_on", {"reason": "2025-06-03 is in not_on: tuesday"}, "",
     "was skipped: 2025-06-03 is in not_on: tuesday." + NEXT),
    ("skipped_paused", {"reason": "the task was paused"}, "",
     "was skipped: the task was paused." + NEXT + RUN_NOW),
    ("skipped_disabled", {"reason": "the task was disabled"}, "",
     "was skipped: the task was disabled." + NEXT + RUN_NOW),
    ("skipped_removed", {"reason": "it was gone"}, "",
     "was skipped: the task was removed. It was gone." + NEXT + RUN_NOW),
    ("merged", None, "into 2025-06-04T02:00:00Z", "was merged into a later slot. Into 2025-06-04T02:00:00Z." + NEXT),
    ("edited", None, "the schedule was changed", "was not run: paused, disabled or rescheduled before a tick. "
     "The schedule was changed." + NEXT),
    ("open", None, "queued", "is not finished yet. Queued." + NEXT),
    ("due", None, "no tick since X", "is due, not decided yet. No tick since X." + NEXT),
    ("unexplained", None, "no result was recorded", "is unexplained. No result was recorded." + NEXT),
    ("double", None, "2 results were recorded", "is recorded more than once. 2 results were recorded." + NEXT),
])
def test_why_has_a_sentence_for_each_fate(fate, of_slot, reason, expected):
    record = None
    if of_slot is not None:
        is_skip = fate.startswith("skipped")
        record = verdict("a", SKIPPED_AT if is_skip else RAN_UNTIL, fate, **dict(
            {"scheduled_for": NIGHT, "started_at": None if is_skip else NIGHT}, **of_slot))
    slot = sc.Slot(task="a", at=at(NIGHT), fate=fate, reason=reason)
    text = why(idle_world(retry_count=2), slot=slot, of_slot=record)
    assert text == "a: the slot Tue 2025-06-03 02:00 +0000 " + expected


def test_every_fate_has_a_test_above_and_a_word():
    cases = test_why_has_a_sentence_for_each_fate.pytestmark[0].args[1]
    assert {case[0] for case in cases} == set(sc.FATES)


def standing(name):
    """A world with task a in this standing at 02:30, and the slot that it is about."""
    world = World(task("d", "0 1 * * *"), task("a", "0 2 * * *", retry_count=2, retry_delay=HOUR,
                                               dependencies=["d"] if name in ("waiting", "blocked") else []),
                  task("first", "59 1 * * *"), max_concurrent_tasks=1 if name == "queued" else 3)
    world.tick("2025-06-03T00:30:00Z")
    world.tick("2025-06-03T01:00:00Z")
    if name != "waiting":
        world.finish("d", "2025-06-03T01:01:00Z", "failed" if name == "blocked" else "success")
    world.tick("2025-06-03T01:59:00Z")
    if name != "late":
        world.tick(NIGHT)
    if name == "retrying":
        world.finish("a", "2025-06-03T02:10:00Z", "failed")
    if name == "idle":
        world.finish("a", "2025-06-03T02:10:00Z")
    return world


@pytest.mark.parametrize("name, expected", [
    ("idle", "Next run: Wed 2025-06-04 02:00 +0000 (in 23h 30m)."),
    ("running", "It is now running. Next run: Wed 2025-06-04 02:00 +0000 (in 23h 30m)."),
    ("queued", "It is now queued since 2025-06-03T02:00:00Z (max_concurrent_tasks reached)."),
    ("waiting", "It is now waiting: 'd' is running."),
    ("blocked", "It is now waiting: 'd' failed (exit 1) at 2025-06-03T01:01:00Z."),
    ("retrying", "It is now retrying: failed (exit 1); attempt 2 of 3 starts at the first tick after "
     "2025-06-03T03:10:00Z. Next run: Tue 2025-06-03 03:10 +0000 (in 40m)."),
    ("late", "It is now late: due since 2025-06-03T02:00:00Z; no tick has started it."),
])
def test_why_tells_how_the_task_stands_and_what_comes_next(name, expected):
    world = standing(name)
    slot = sc.Slot(task="a", at=at(NIGHT), fate="open", reason="x")
    text = why(world, slot=slot, now="2025-06-03T02:30:00Z")
    assert expected in text
    if name in ("waiting", "blocked"):
        assert text.endswith(" To run it anyway: run --task a --ignore-dependencies")
        assert (" To run the cause again: run --task d" in text) == (name == "blocked"), "d is running, or failed"


@pytest.mark.parametrize("names, expected", [
    (["a"], "To end the pause: resume a"), (["*"], "To end the pause: resume --all"),
    (["a", "*"], "To end the pause: resume --all To end the pause: resume a")])
def test_why_says_how_to_end_a_pause_and_it_works(hand, names, expected):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    for name in names:
        assert hand.call("pause", name if name != "*" else "--all", "--reason", "moving")[0] == 0
    text = asked(hand, "a")
    assert "It is now paused until resumed (moving). No run is scheduled. " + expected in text
    for command in text.split("To end the pause: ")[1:]:
        assert hand.call(*command.split())[0] == 0
    assert "paused" not in asked(hand, "a")


def test_why_of_a_disabled_task_says_how_to_enable_it(hand):
    hand.configure(task("a", "0 2 * * *", enabled=False))
    assert hand.call("why", "a") == (0, "a: it has never been due. It is now disabled. No run is scheduled.\n"
                                        "  To re-enable it: set \"enabled\": true\n", "")


# -- why: on disk

@pytest.fixture
def nights(hand):
    """A nightly task over four nights: a success, a failure, two nights off, and a run in the morning after."""
    hand.configure(task("a", "0 2 * * *"), task("join", dependencies=["a"]))
    hand.tick("2025-06-02T12:00:00Z")
    for when in (NIGHT, "2025-06-03T02:01:00Z", "2025-06-03T02:02:00Z"):
        hand.tick(when)
    hand.ends["a"] = ("failed", 7)
    for when in ("2025-06-04T02:00:00Z", "2025-06-04T02:01:00Z", "2025-06-06T09:00:00Z"):
        hand.tick(when)
        hand.ends["a"] = ("success", 0) if when > "2025-06-04T02:00:30Z" else hand.ends["a"]
    hand.ends = {}
    hand.tick("2025-06-06T09:01:00Z")
    hand.tick("2025-06-06T09:02:00Z")
    return hand


@pytest.mark.parametrize("when, expected", [
    ("2025-06-02T20:00:00Z", "a: it has never been due."),
    ("2025-06-03T02:00:00Z", "a: the slot Tue 2025-06-03 02:00 +0000 ran and succeeded."),
    ("2025-06-03T23:00:00Z", "a: the slot Tue 2025-06-03 02:00 +0000 ran and succeeded."),
    ("2025-06-04T12:00:00Z", "a: the slot Wed 2025-06-04 02:00 +0000 ran and failed. Attempt 1 took 2s and ended with "
                             "exit code 7."),
    ("2025-06-05T12:00:00Z", "a: the slot Thu 2025-06-05 02:00 +0000 (no tick ran at the time) was merged into a later "
                             "slot. Into 2025-06-06T02:00:00Z."),
    ("2025-06-06T12:00:00Z", "a: the slot Fri 2025-06-06 02:00 +0000 (no tick ran at the time) ran 7h late "
                             "and succeeded. It ran late, as a catch-up. It also covers every slot since "
                             "2025-06-05T02:00:00Z."),
])
def test_why_at_a_time_tells_of_the_slot_before_it(nights, when, expected):
    out = asked(nights, "a", "--at", when)
    assert out.startswith(expected)
    assert "Next run: Sat 2025-06-07 02:00 +0000 (in 16h 58m)." in out
    if when == "2025-06-06T12:00:00Z":
        assert asked(nights, "a") == out


def test_why_of_a_join_tells_of_its_newest_run_up_to_that_time(nights):
    assert asked(nights, "join") == (
        "join: it has no schedule and runs after a. Its latest run succeeded 58s ago. No run is scheduled.")
    assert "Its latest run succeeded 3d 7h ago." in asked(nights, "join", "--at", "2025-06-04T12:00:00Z")


@pytest.mark.parametrize("arguments, code, complaint", [
    (["why", "b"], 2, "unknown task 'b'"), (["why", "a", "--at", "soon"], 2, "--at: 'soon' is not a time"),
    (["why", "odd"], 78, "minute '61' is outside 0-59"), (["why", "../a"], 2, "unknown task")])
def test_why_of_what_is_not_there_is_refused(hand, arguments, code, complaint):
    hand.configure(task("a", "0 2 * * *"), task("odd", "61 * * * *"))
    found, out, err = hand.call(*arguments)
    assert (found, out) == (code, "") and complaint in err


@pytest.mark.parametrize("change", ["paused", "disabled", "edited to more", "edited to less", "edited to hourly"])
def test_a_task_that_has_no_slots_just_now_has_had_some(hand, change):
    hand.configure(task("a", "*/5 * * * *"))
    hand.tick()
    hand.tick("2025-06-02T10:05:00Z")
    hand.tick("2025-06-02T10:06:00Z")
    if change == "paused":
        hand.call("pause", "a")
    else:
        schedule = {"edited to more": "* * * * *", "edited to less": "0 4 * * 0"}.get(change, "0 * * * *")
        hand.configure(task("a", schedule, enabled=change != "disabled"))
    hand.tick("2025-06-02T10:06:30Z")
    if change in ("paused", "disabled", "edited to less"):
        hand.move("2025-06-02T14:32:30Z")
    start = "a: the slot Mon 2025-06-02 10:05 +0000 ran and succeeded."
    if change == "paused":
        start = ("a: the slot Mon 2025-06-02 14:30 +0000 was skipped: the task was paused. Paused since "
                 "2025-06-02T10:06:00Z until resumed by PAUSER. Its latest run succeeded 4h 27m ago. It is now paused")
    assert asked(hand, "a").startswith(start)


@pytest.mark.parametrize("when, expected", [
    ("2025-06-02T02:00:00Z", "Sun 2025-06-01 04:00 +0000 ran and succeeded."),
    ("2025-06-03T12:00:00Z", "Tue 2025-06-03 04:00 +0000 was skipped: the task was paused. Paused since "
                             "2025-06-02T10:00:00Z until 2025-06-05T09:00:00Z by PAUSER (moving). Its latest run "
                             "succeeded 1d 7h ago. Next run: Sun 2025-06-08 04:00 +0000"),
    ("2025-06-05T08:59:00Z", "Thu 2025-06-05 04:00 +0000 was skipped: the task was paused. Paused since "),
    ("2025-06-06T03:00:00Z", "Thu 2025-06-05 04:00 +0000 was skipped: the task was paused. Paused since "),
    ("2025-06-06T12:00:00Z", "Fri 2025-06-06 04:00 +0000 ran and succeeded."),
    ("2025-06-07T12:00:00Z", "Sat 2025-06-07 04:00 +0000 was skipped: the task was disabled. It was disabled at "
                             "2025-06-06T12:00:00Z."),
])
def test_why_of_a_slot_that_came_while_the_task_was_suspended(hand, when, expected):
    tasks = [task("a", "0 4 * * *")]
    hand.configure(*tasks)
    for moment in ("2025-06-01T03:00:00Z", "2025-06-01T04:00:00Z", "2025-06-01T04:01:00Z", "2025-06-02T04:00:00Z",
                   "2025-06-02T04:01:00Z", "2025-06-02T10:00:00Z"):
        hand.tick(moment)
    assert hand.call("pause", "--all", "--reason", "moving")[0] == 0
    hand.tick("2025-06-03T04:00:00Z")
    hand.move("2025-06-05T09:00:00Z")
    assert hand.call("resume", "--all")[0] == 0
    for moment in ("2025-06-06T04:00:00Z", "2025-06-06T04:01:00Z"):
        hand.tick(moment)
    hand.configure(task("a", "0 4 * * *", enabled=False))
    hand.tick("2025-06-06T12:00:00Z")
    hand.configure(*tasks)
    hand.tick("2025-06-07T12:00:00Z")
    text = asked(hand, "a", "--at", when)
    if when == "2025-06-03T12:00:00Z":  # the latest run up to then, seen from now
        text = text.replace("5d 7h ago", "1d 7h ago")
    assert text.startswith("a: the slot " + expected)


def chain(hand, **more):
    """Three tasks at the same time, each after the one before, of which the first fails."""
    nightly = [task("end", "0 2 * * *", dependencies=["mid"]), task("mid", "0 2 * * *", dependencies=["up"]),
               task("up", "0 2 * * *", command="exit 1")]
    hand.configure(*[dict(document, **more.get(document["name"], {})) for document in nightly])
    hand.ends["up"] = ("failed", 1)
    hand.tick("2025-06-03T01:00:00Z")


def night(hand, day=3):
    hand.tick("2025-06-%02dT02:00:05Z" % day)
    hand.tick("2025-06-%02dT08:00:00Z" % day)


def failed(hand):
    chain(hand)
    night(hand)


def failed_twice(hand):
    failed(hand)
    night(hand, 4)


def running(hand):
    hand.held = {"up"}
    failed(hand)


def paused(hand):
    failed(hand)
    hand.call("pause", "up")


def disabled(hand):
    failed(hand)
    chain(hand, up={"enabled": False})
    hand.tick("2025-06-03T09:00:00Z")


def invalid(hand):
    failed(hand)
    chain(hand, up={"schedule": "61 * * * *"})
    hand.tick("2025-06-03T09:00:00Z")


def skipped(hand):
    """The end of the chain has given up, and its next night is a week away."""
    chain(hand, end={"start_deadline": 3600})
    night(hand)


def retrying(hand):
    chain(hand, up={"retry_count": 2, "retry_delay": 86400})
    night(hand)


@pytest.mark.parametrize("situation, expected", [
    (failed, ["logs up", "run --task up", "run --task end --with-dependencies",
              "run --task end --ignore-dependencies"]),
    (failed_twice, ["logs up", "run --task up", "run --task end --with-dependencies",
                    "run --task end --ignore-dependencies"]),
    (running, ["run --task end --ignore-dependencies"]),
    (paused, ["logs up", "resume up", "run --task up", "run --task end --with-dependencies",
              "run --task end --ignore-dependencies"]),
    (disabled, ["logs up", "set \"enabled\": true", "run --task up", "run --task end --with-dependencies",
                "run --task end --ignore-dependencies"]),
    (invalid, ["logs up", "check", "run --task end --ignore-dependencies"]),
    (skipped, ["logs up", "run --task up", "run --task end --with-dependencies",
               "run --task end --ignore-dependencies"]),
    (retrying, ["logs up", "run --task up", "run --task end --with-dependencies",
                "run --task end --ignore-dependencies"]),
])
def test_why_names_the_root_cause_and_every_command_that_it_advises_is_accepted(hand, situation, expected):
    situation(hand)
    out = hand.call("why", "end")[1]
    assert "'up' " in out and "run --task mid" not in out
    program = sc.own_command(str(hand.root), is_short=True) + " "
    assert max(len(line) for line in out.split("\n") if program not in line) <= 80
    commands = [command.replace(program, "") for command in
                re.findall(r"(?m)^  (?:To|The output) [^:]*:\s+(.*)$", out)]
    assert commands == expected
    for command in commands:
        if not command.startswith("set "):
            # The command of the task may fail; what is advised must not be refused.
            assert hand.call(*command.split())[0] in ((78,) if command == "check" else (0, 1)), command


def test_why_of_a_retry_advises_no_command_while_its_dependency_runs(hand):
    hand.configure(task("up", "0 * * * *"),
                   task("mid", "0 2 * * *", dependencies=["up"], retry_count=1, retry_delay=86400))
    hand.ends["mid"] = ("failed", 1)
    for moment in ("01:00:00", "02:00:05", "02:01:00"):
        hand.tick("2025-06-03T%sZ" % moment)
    hand.held = {"up"}
    hand.tick("2025-06-03T03:00:05Z")
    out = hand.call("why", "mid")[1]
    assert out.rstrip().endswith(" logs mid") and "To retry it now" not in out


def test_a_skip_names_the_failure_of_a_dependency_with_the_same_schedule(hand):
    failed_twice(hand)
    reasons = {record["task"]: record["reason"] for record in json.loads(hand.call("history", "--json")[1])
               if record["status"] == "skipped_dependency"}
    assert reasons == {
        name: "waited for '%s' until its next slot 2025-06-04T02:00:00Z was due: 'up' failed (exit 1) at "
        "2025-06-03T02:00:07Z" % dependency for name, dependency in (("mid", "up"), ("end", "mid"))}


def test_why_of_a_removed_task_says_so(hand):
    hand.configure(task("a", "0 2 * * *"), task("gone", "0 2 * * *"))
    hand.ends["gone"] = ("failed", 3)
    for when in ("2025-06-03T01:00:00Z", "2025-06-03T02:00:00Z", "2025-06-03T02:01:00Z"):
        hand.tick(when)
    write_log = hand.root / "logs" / "automation"
    write_log.mkdir(exist_ok=True)
    (write_log / "gone.log").write_text("x\n")
    hand.configure(task("a", "0 2 * * *"))
    hand.tick("2025-06-03T03:00:00Z")
    assert asked(hand, "gone") == ("gone: it is no longer in the configuration. Its latest run failed (exit 3) 59m "
                                   "ago. Its results: history --task gone")
    assert hand.call("history", "--task", "gone")[0] == 0 and hand.call("why", "never")[0] == 2


@pytest.mark.parametrize("ahead_s, expected", [
    (-90000, "is due now; the next tick decides it."), (0, "is due now; the next tick decides it."),
    (0.4, "is due now; the next tick decides it."), (1, "(in 1s)."), (90, "(in 1m).")])
def test_a_run_that_is_due_is_never_in_0s(ahead_s, expected):
    world = idle_world()
    text = why(world, now=sc.iso(at("2025-06-04T02:00:00Z"))) if ahead_s == 0 else " ".join(sc.why_text(
        world.config, world.state, world.config.tasks["a"], None, None, at("2025-06-04T02:00:00Z") - ahead_s).split())
    assert expected in text and "in 0s" not in text


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_why_wraps_at_words_and_keeps_commands_whole(width):
    name = "a" * 30
    world = World(task(name, "0 2 * * *"), task("b"))
    world.tick("2025-06-02T10:00:00Z")
    record = verdict(name, RAN_UNTIL, "failed", scheduled_for=NIGHT, started_at=NIGHT, reason="no " * 30 + "space")
    text = sc.why_text(world.config, world.state, world.config.tasks[name], sc.Slot(
        task=name, at=at(NIGHT), fate="failed"), record, at(NOON), width=width)
    lines = text.split("\n")
    assert all(len(line) <= width or " " not in line.strip() or "run --task " in line for line in lines)
    assert [line for line in lines if "run --task " + name in line]
    assert " ".join(text.split()) == " ".join(sc.why_text(world.config, world.state, world.config.tasks[name], sc.Slot(
        task=name, at=at(NIGHT), fate="failed"), record, at(NOON), width=1000).split())


def test_why_of_a_task_for_each_boot(hand, monkeypatch):
    hand.configure(task("a", "@reboot"))
    hand.tick()
    assert hand.call("why", "a")[1].startswith("a: it runs once after each boot.")
    monkeypatch.setattr(sc, "current_boot_id", lambda: "another")
    assert len(hand.tick("2025-06-02T10:01:00Z")) == 1
    hand.tick("2025-06-02T10:02:00Z")
    text = asked(hand, "a")
    assert text.startswith("a: it runs once after each boot. Its latest run succeeded ") and "no slot" not in text


def test_why_without_a_heartbeat_does_not_speak_of_1970(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    (hand.root / "status" / "heartbeat").unlink()
    hand.move(NIGHT)
    assert "1970" not in hand.call("why", "a")[1]


# -- diff, and what it compares

def test_a_definition_is_kept_once_and_goes_when_no_run_is_left_that_had_it(project):
    project.configure(every_minute("a", "true", schedule="0 2 1 1 *"))
    for _ in range(3):
        assert project.call("run", "--task", "a")[0] == 0
    folder = project.root / "status" / "definitions"
    assert len(list(folder.iterdir())) == 1
    project.configure(every_minute("a", "true # changed", schedule="0 2 1 1 *"))
    project.call("run", "--task", "a")
    assert len(list(folder.iterdir())) == 2
    store = sc.Store(str(project.root))
    old = min(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    now = time.time()
    os.utime(str(old), (now - 31.5 * DAY, now - 31.5 * DAY))
    store.record([verdict("a", sc.iso(now + 2 * DAY))], 30)
    assert len(list(folder.iterdir())) == 1 and not old.exists()
    assert store.definition(old.name[:-5]) == {} and store.definition(None) == {}
    assert store.definition(list(folder.iterdir())[0].name[:-5])["command"] == "true # changed"


def grep_root(project, text):
    """The files under the root that hold this text, but for the configuration and the copy of it."""
    found = []
    for folder, _, names in os.walk(str(project.root)):
        for name in names:
            path = os.path.join(folder, name)
            if "/config" in folder or name == "last_good_config.json" or not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            with open(path, "rb") as handle:
                if text.encode() in handle.read():
                    found.append(path)
    return found


def test_values_of_the_environment_are_never_on_disk(project):
    project.configure(due_once("a", "exit 3", env={"TOKEN": "geheim-1"}), env={"SHARED": "geheim-2"})
    project.anchor()
    project.call("tick", env=dict(os.environ, CALLER="geheim-3"))
    project.wait_for_idle()
    project.call("run", "--task", "a", env=dict(os.environ, CALLER="geheim-3"))
    assert len(project.history()) == 2
    assert [grep_root(project, "geheim-%d" % number) for number in (1, 2, 3)] == [[], [], []]
    assert grep_root(project, "TOKEN"), "their names are"


def test_diff_shows_what_the_failing_run_printed_otherwise_and_what_was_changed(project):
    def configure(command, **more):
        project.configure(dict({"name": "a", "command": command, "retry_count": 0}, **more))

    stable = "date -u +%Y-%m-%dT%H:%M:%SZ; date; echo pid $$ took 12.5 s at 0x7f00aa; mktemp -u"
    configure(stable + "; echo 3 files", env={"TOKEN": "geheim-1", "KEPT": "x"})
    assert project.call("diff", "a")[:2] == (0, "no failed run of 'a' on record\n")
    assert project.call("run", "--task", "a")[0] == 0
    configure(stable + "; echo no such host; exit 4", env={"TOKEN": "geheim-2", "KEPT": "x", "NEW": "geheim-3"},
              timeout=60)
    assert project.call("run", "--task", "a")[0] == 4
    assert project.call("run", "--task", "a")[0] == 4
    code, out, err = project.call("diff", "a")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("definition: command: ") and lines[1:3] == [
        "definition: env: NEW, TOKEN changed", "definition: timeout: 3600 -> 60"]
    assert [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "-3 files", "+no such host"]
    assert "geheim" not in out
    assert " <time>" in lines and any("took <duration>" in line for line in lines)


def test_diff_of_the_same_output_says_so(project):
    project.configure({"name": "a", "command": "echo $$; date; test -e good", "retry_count": 0})
    (project.root / "good").write_text("")
    assert project.call("run", "--task", "a")[0] == 0
    (project.root / "good").unlink()
    assert project.call("run", "--task", "a")[0] == 1
    assert project.call("diff", "a")[:2] == (
        0, "definition: unchanged\noutput: the same, apart from times, process IDs and durations\n")
    (project.root / "logs" / "automation" / "a.log").unlink()
    code, _, err = project.call("diff", "a")
    assert code == 1 and "is no longer in the log" in err


def test_diff_without_a_success_says_what_is_missing(project):
    project.configure({"name": "a", "command": "exit 1", "retry_count": 0})
    project.call("run", "--task", "a")
    code, out, err = project.call("diff", "a")
    assert (code, out) == (1, "") and "no successful run of 'a' on record before" in err
    assert project.call("diff", "b")[0] == 2


# -- run --as-cron

CRON = {"PATH": "/usr/local/sbin:/usr/bin:/bin", "HOME": "/home/x", "LOGNAME": "x", "SHELL": "/bin/sh",
        "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "MINE": "of cron"}


def environment_of(project, *options, env):
    (project.root / "env.out").exists() and (project.root / "env.out").unlink()
    code, _, err = project.call("run", "--task", "show", *options, env=env)
    assert code == 0, err
    lines = project.read("env.out").split("\0")[:-1]
    return {key: value for key, _, value in (line.partition("=") for line in lines) if not key.startswith("SYMPHONY_")}


def test_a_run_as_cron_has_the_names_and_the_path_of_the_last_tick(project):
    project.configure({"name": "show", "retry_count": 0, "env": {"OWN": "task"},
                       "command": ["/bin/sh", "-c", "exec env -0 > env.out"]})
    assert project.call("tick", env=CRON)[0] == 0
    shell = dict(os.environ, MINE="of the shell", ELSE="x", PATH="/opt/mine:" + os.environ["PATH"], LANG="C.UTF-8",
                 LC_ALL="C.UTF-8", HOME="/elsewhere")
    found = environment_of(project, "--as-cron", env=shell)
    assert set(found) - {"PWD", "OLDPWD", "_", "SHLVL"} == set(CRON) | {"OWN"}
    assert found["PATH"] == CRON["PATH"] and found["SHELL"] == "/bin/sh" and found["HOME"] == sc.current_user()[1]
    assert found["MINE"] == "of the shell", "the values are not kept, only the names"
    assert environment_of(project, env=shell)["ELSE"] == "x"
    assert grep_root(project, "of cron") == []
    here = {name: value for name, value in shell.items() if name != "MINE"}
    said = project.call("run", "--task", "show", "--as-cron", env=here)[2]
    assert said.startswith("symphony_conductor: not set in this shell, so omitted: MINE (only names and ")


def test_a_run_as_cron_ahead_of_the_first_tick_says_so_and_takes_the_least(project):
    project.configure({"name": "show", "retry_count": 0, "command": ["/bin/sh", "-c", "exec env -0 > env.out"]})
    code, _, err = project.call("run", "--task", "show", "--as-cron", env=dict(os.environ, ELSE="x"))
    assert code == 0 and err == (
        "symphony_conductor: no tick has recorded cron's environment yet; using the minimum that cron "
        "provides\n")
    names = {line.partition("=")[0] for line in project.read("env.out").split("\0")}
    assert {"PATH", "HOME", "LOGNAME", "SHELL"} <= names and "ELSE" not in names
    (project.root / "status" / "tick_environment.json").write_text("{\"names\": 5}")
    assert project.call("run", "--task", "show", "--as-cron")[0] == 0


def test_what_works_by_hand_and_not_by_cron_fails_as_cron(project, tmp_path):
    tool = tmp_path / "mine" / "own-tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho fine\n")
    tool.chmod(0o755)
    project.configure({"name": "show", "command": "own-tool", "retry_count": 0})
    project.call("tick", env=CRON)
    env = dict(os.environ, PATH="%s:%s" % (tool.parent, os.environ["PATH"]))
    assert project.call("run", "--task", "show", env=env)[0] == 0
    code, out, _ = project.call("run", "--task", "show", "--as-cron", env=env)
    assert code == 127 and "own-tool" in out


# -- doctor

CRONTAB = """#!/bin/sh
# A crontab(1) over one file.
if [ "$1" = -l ]; then test -e "%s" || { echo "no crontab for me" >&2; exit 1; }; exec cat "%s"; fi
exec cat > "%s"
"""


@pytest.fixture
def clinic(project, tmp_path):
    """A project that cron calls, as far as a crontab of the tests' own can say so; `ask` is the doctor."""
    folder = tmp_path / "bin"
    folder.mkdir()
    project.table = tmp_path / "table"
    (folder / "crontab").write_text(CRONTAB % ((project.table,) * 3))
    (folder / "crontab").chmod(0o755)
    project.env = {key: value for key, value in os.environ.items() if key != "TZ"}
    project.env.update(PATH="%s:/usr/bin:/bin" % folder)
    project.configure(every_minute("a", schedule="0 2 1 1 *"))
    assert project.call("install", env=project.env)[0] == 0
    assert project.call("tick", env=dict(CRON, PATH="/usr/bin:/bin"))[0] == 0

    def ask(**env):
        env = dict(project.env, COLUMNS="9999", **env)
        code, out, err = project.call("doctor", "--json", env=env)
        assert err == ""
        # In a container without an init, that is what the doctor has to say of the tests' own orphans.
        found = [each for each in json.loads(out) if each.get("code") != "not-reaped"]
        text = project.call("doctor", env=env)[1]
        texts = [each["text"] for each in found if each["topic"] not in ("ticks", "clock", "disk")]
        assert [each for each in texts if each not in text] == []
        return code, [(each["level"], each["topic"], each["text"]) for each in found]

    project.ask = ask
    return project


def test_doctor_has_nothing_to_say_where_all_is_well(clinic):
    code, found = clinic.ask()
    assert code == 0 and {level for level, _, _ in found} <= {"ok", "notice"}  # of a cron daemon that is not here
    assert {topic for _, topic, _ in found} | {"tasks"} == {
        "ticks", "crontab", "configuration", "environment", "clock", "files", "messages", "disk", "pauses", "tasks"}
    assert re.search(r"\n10 checks: 0 problems, [01] warnings?\n\Z", clinic.call("doctor", env=clinic.env)[1])
    assert ("ok", "crontab", "the line runs this file with %s" % sc.interpreter()) in found
    assert ("ok", "environment", "cron's PATH is /usr/bin:/bin") in found


def stale(project):
    os.utime(str(project.root / "status" / "heartbeat"), (time.time() - 5000, time.time() - 5000))


def no_heartbeat(project):
    installed = str(project.root / sc.INSTALLED_NAME)
    os.utime(installed, (time.time() - 5000, time.time() - 5000))
    (project.root / "status" / "heartbeat").unlink()
    path = project.root / "conductor_state.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), last_now=time.time() - 5000)))


def no_line(project):
    project.table.unlink()


def other_python(project):
    project.table.write_text(project.table.read_text().replace(sc.interpreter(), "/no/such/python3"))


def other_file(project):
    project.table.write_text(project.table.read_text().replace("symphony_conductor as c", "elsewhere as c"))


def orphan(project):
    project.table.write_text("%s/gone\n* * * * * x\n%s/gone\n" % (sc.BLOCK_BEGIN, sc.BLOCK_END) +
                             project.table.read_text())


def orphan_alone(project):
    project.table.write_text("%s/gone\n* * * * * x\n%s/gone\n" % (sc.BLOCK_BEGIN, sc.BLOCK_END))


def half_a_block(project):
    text = project.table.read_text()
    project.table.write_text(text[:text.index(sc.BLOCK_END)])


def missing_program(project):
    project.configure(every_minute("a", "no-such-tool --now", schedule="0 2 1 1 *"))


def broken_configuration(project):
    project.write_config("{")


def bad_task(project):
    project.configure(every_minute("a", schedule="61 * * * *"))


def no_environment(project):
    (project.root / "status" / "tick_environment.json").unlink()


def clock_behind(project):
    path = project.root / "conductor_state.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), last_now=time.time() + HOUR)))


def damaged_state(project):
    (project.root / "conductor_state.json").write_text("{")


def open_root(project):
    project.root.chmod(0o777)


@pytest.mark.parametrize("provoke, level, topic, text", [
    (stale, "problem", "ticks", "no tick for 1h 23m"),
    (no_heartbeat, "problem", "ticks", "no tick has run yet"),
    (no_line, "notice", "crontab", "'s crontab has no line for this folder, but ticks come"),
    (other_python, "problem", "crontab", "'s crontab line does not exist (/no/such/python3)"),
    (other_file, "warning", "crontab", "'s crontab line differs from the one install would write"),
    (orphan, "warning", "crontab", "the crontab has a block for /gone, which does not exist"),
    (orphan_alone, "warning", "crontab", "the crontab has a block for /gone, which does not exist"),
    (half_a_block, "warning", "crontab", "has no END line"),
    (missing_program, "warning", "configuration", "'no-such-tool' is not on cron's PATH (/usr/bin:/bin)"),
    (broken_configuration, "problem", "configuration", "not valid JSON"),
    (bad_task, "problem", "configuration", "minute '61' is outside 0-59"),
    (open_root, "problem", "configuration", "others can write to it"),
    (no_environment, "warning", "environment", "no tick has recorded its environment yet"),
    (clock_behind, "warning", "clock", "the clock is 59m behind the last recorded decision ("),
    (damaged_state, "problem", "files", "conductor_state.json cannot be used"),
], ids=lambda value: getattr(value, "__name__", None))
def test_doctor_finds(clinic, provoke, level, topic, text):
    provoke(clinic)
    code, found = clinic.ask()
    assert [each for each in found if each[:2] == (level, topic) and text in each[2]], found
    problems = [each for each in found if each[0] == "problem"]
    assert code == bool(problems)
    if level != "problem":
        assert problems == []


def test_doctor_tells_what_your_shell_has_besides(clinic):
    code, found = clinic.ask(MY_VARIABLE="1", PATH=clinic.env["PATH"] + ":/opt/mine")
    texts = [text for _, topic, text in found if topic == "environment"]
    assert code == 0 and "MY_VARIABLE" in texts[2] and texts[1].endswith(":/opt/mine") and "1" not in texts[2].split()


def test_doctor_warns_of_a_zone_that_only_your_shell_has(clinic):
    offset = time.localtime().tm_gmtoff
    zone = "Asia/Tokyo" if offset != 9 * HOUR else "UTC"
    code, found = clinic.ask(TZ=zone)
    assert code == 0
    assert [text for level, topic, text in found if (level, topic) == ("warning", "clock")] == [
        "your shell has TZ=%s, but schedules use /etc/localtime; set timezone in the configuration to have them use "
        "another zone" % zone]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_doctor_finds_files_of_somebody_else(clinic):
    os.chown(str(clinic.root / "conductor_state.json"), 54321, -1)
    code, found = clinic.ask()
    assert code == 1
    assert ("problem", "files", "1 file belongs to another user than root, the owner of the folder: "
            "conductor_state.json; run everything as root") in found
    os.chown(str(clinic.root / "status" / "heartbeat"), 54321, -1)
    texts = [text for _, topic, text in clinic.ask()[1] if topic == "files"]
    assert texts[0].startswith("2 files belong to another user than root, the owner of the folder: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_doctor_finds_a_folder_that_cannot_be_written_to(clinic):
    (clinic.root / "logs").chmod(0o500)
    code, found = clinic.ask()
    (clinic.root / "logs").chmod(0o700)
    assert code == 1 and ("problem", "files", "%s is not readable and writable" % (clinic.root / "logs")) in found


def test_doctor_looks_for_the_notification_command_on_crons_path_and_at_what_waits(hand, monkeypatch):
    hand.configure(task("a", "0 2 * * *"), enable_notifications=True, notification_command=["my-own-notify"])
    monkeypatch.setenv("PATH", "/nowhere")
    hand.tick()
    hand.store().enqueue({"id": "20250602T100000Z-1", "event": "failed", "task": "a", "channel": "notify",
                        "at": "2025-06-02T10:00:00Z"})
    monkeypatch.setenv("COLUMNS", "200")
    out = hand.call("doctor")[1]
    assert "notification_command: 'my-own-notify' is not on cron's PATH (" in out
    assert "\nok       messages: 1 undelivered message, the oldest of 2025-06-02T10:00:00Z\n" in out
    hand.clock.advance(2 * HOUR)
    assert "\nwarning  messages: 1 notification was not delivered (for 2h" in hand.call("doctor")[1]
    assert "notification_command: 'my-own-notify' is not on cron's PATH (" in hand.call("check")[1]


class Disk:
    def __init__(self, free_mib, total_mib=10000, free_inodes=500, inodes=1000):
        # Root alone may use 100 MiB more, which are no part of the whole.
        self.f_frsize, self.f_bavail, self.f_bfree, self.f_blocks = 1 << 20, free_mib, free_mib + 100, total_mib + 100
        self.f_files, self.f_favail, self.f_ffree = inodes, free_inodes, free_inodes


@pytest.mark.parametrize("disk, codes", [
    (Disk(5000), []), (Disk(0), ["disk-full"]), (Disk(199), ["disk-nearly-full"]), (Disk(200), ["disk-low"]),
    (Disk(499), ["disk-low"]), (Disk(500), []), (Disk(5000, free_inodes=19), ["inodes-full"]),
    (Disk(5000, free_inodes=20), ["inodes-low"]), (Disk(5000, free_inodes=50), []),
    (Disk(5000, free_inodes=0, inodes=0), []), (OSError(5, "Input/output error"), [])])
def test_free_space_is_judged_by_its_share(project, monkeypatch, disk, codes):
    def statvfs(path):
        if isinstance(disk, OSError):
            raise disk
        return disk

    monkeypatch.setattr(os, "statvfs", statvfs)
    inspector = sc.Inspector(sc.Store(str(project.root)))
    machine = sc.Machine(now=inspector.now, root=inspector.store.root, **inspector._space())
    assert [finding.code for finding in sc._disk_findings(machine)] == codes
    assert bool(inspector.unreadable) == isinstance(disk, OSError)


def test_doctor_does_not_miss_cron_where_a_timer_calls(project, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    line_of = sc.Inspector(sc.Store(str(project.root)))._line
    monkeypatch.setattr(sc, "has_timer", lambda root: True)
    assert line_of() == (None, True)
    monkeypatch.setattr(sc, "has_timer", lambda root: False)
    finding, has_line = line_of()
    assert finding.code == "line-missing" and "cannot run crontab" in finding.text and has_line is False
    monkeypatch.setattr(sc, "has_timer", lambda root: None)
    finding, has_line = line_of()
    assert finding.code == "crontab-unreadable" and has_line is None


# -- simulate

def forecast(tasks, durations, days=1, start="2025-06-02T00:00:00Z", **settings):
    config = sc.build_config([("c.json", {"tasks": tasks, "settings": dict({"timezone": "UTC"}, **settings)})])
    assert not config.problems
    return {each.task: each for each in symphony_simulate.simulate(config, durations, at(start), days)}


def test_a_simulation_tells_how_long_a_slot_waits_for_a_place():
    found = forecast([task("a", "0 2 * * *"), task("b", "0 2 * * *")], {"a": 600, "b": 60}, 7, max_concurrent_tasks=1)
    assert (found["a"].runs, found["a"].delays) == (7, [0.0] * 7)
    assert (found["b"].runs, found["b"].delays) == (7, [600.0] * 7)


def test_a_simulation_tells_of_overlaps():
    found = forecast([task("a", "*/10 * * * *")], {"a": 1500})["a"]
    assert (found.runs, found.overlaps, found.stranded, found.late) == (48, 96, 0, 0)
    found = forecast([task("a", "*/10 * * * *", overlap="queue")], {"a": 1500})["a"]
    assert (found.runs, found.overlaps) == (58, 0)


def test_a_simulation_tells_of_dependents_that_wait_past_their_next_slot():
    found = forecast([task("d", "0 2 * * *"), task("t", "0 3 * * *", dependencies=["d"])], {"d": 26 * HOUR, "t": 60}, 4,
                     "2025-06-02T10:00:00Z")
    assert (found["d"].runs, found["d"].overlaps) == (2, 2)
    assert (found["t"].runs, found["t"].stranded, found["t"].delays) == (2, 2, [3600.0, 3600.0])


def test_a_simulation_does_not_wait_for_the_first_week_of_a_weekly_dependency():
    found = forecast([task("w", "0 1 * * 0"), task("d", "0 3 * * *", dependencies=["w"])], {"w": 60, "d": 60}, 7,
                     "2025-06-02T10:00:00Z")
    assert (found["d"].runs, found["d"].stranded, found["w"].runs) == (7, 0, 1)


def test_a_simulation_tells_of_slots_that_come_too_late():
    found = forecast([task("a", "0 2 * * *"), task("b", "0 2 * * *", start_deadline=300)], {"a": 600, "b": 60}, 7,
                     max_concurrent_tasks=1)
    assert (found["b"].runs, found["b"].late) == (0, 7)


def test_a_simulation_takes_the_timeout_where_no_run_is_known_and_tries_nothing_again():
    found = forecast([task("a", "0 * * * *", timeout=120, retry_count=3), task("off", "0 * * * *", enabled=False),
                      task("boot", "@reboot"), task("j", dependencies=["a"])], {"j": 5})
    assert (found["a"].runs, found["a"].duration_s, found["a"].is_guess) == (24, 120, True)
    assert (found["j"].runs, found["j"].is_guess) == (23, False), "the last of a ends behind the end"
    assert (found["off"].runs, found["boot"].runs) == (0, 0)


def test_a_simulation_counts_how_long_failed_runs_took_and_guesses_only_what_never_ran(project):
    now, store = time.time(), sc.Store(str(project.root))
    project.configure(*[every_minute(name, timeout=600) for name in ("mixed", "failing", "old", "seldom", "never")])

    def ended(name, days, status, took_s, **more):
        return verdict(name, sc.iso(now - days * DAY), status, duration_s=took_s, **more)

    store.record([
        ended("mixed", 1, "timeout", 600, attempts=[
            ended("mixed", 1, "failed", 30), ended("mixed", 1, "interrupted", 5)]),
        ended("mixed", 2, "success", 30), ended("mixed", 1, "skipped_overlap", 0), ended("failing", 3, "failed", 50),
        ended("old", 8, "success", 9)], 30)
    states = {name: sc.TaskState() for name in ("mixed", "never")}
    states["old"] = sc.TaskState(usual_s=8.5)
    states["seldom"] = sc.TaskState(last=ended("seldom", 9, "failed", 70))
    durations = symphony_simulate.usual_durations(store, sc.State(tasks=states), now)
    assert durations == {"mixed": 220, "failing": 50, "old": 8.5, "seldom": 70}


def test_a_simulation_in_words():
    found = forecast([task("good", "0 2 * * *"), task("a", "*/10 * * * *", timeout=1500)], {"good": 61})
    assert symphony_simulate.simulation_text(list(found.values()), 1).splitlines() == [
        "49 runs in 1 day; 1 task would skip runs", "",
        "TASK  RUNS  TAKES  DELAY  LONGEST  OVERLAPS  LATE  STRANDED",
        "a     48    25m?   0s     0s       96        0     0",
        "good  1     1m     0s     0s       0         0     0", "",
        "?: a guess: it never ran, so its timeout is used as its duration",
        "  ! a: 96 runs skipped: previous run still going"]
    assert symphony_simulate.simulation_text([], 7).splitlines()[0] == "0 runs in 7 days; no run would be skipped"


def tree(root):
    """A digest of everything under a folder: names, content, modes and times."""
    found = hashlib.sha256()
    for folder, folders, names in sorted(os.walk(str(root))):
        folders.sort()
        for name in sorted(names) + folders:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found.update(("%s %o %d %d" % (path, status.st_mode, status.st_mtime_ns, status.st_size)).encode())
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as handle:
                    found.update(handle.read())
    return found.hexdigest()


def test_questions_touch_nothing_on_disk(project, tmp_path):
    project.configure(every_minute("a", "echo x", schedule="*/10 * * * *"), every_minute("b", schedule="61 * * * *"))
    project.tick()
    project.call("run", "--task", "a")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"tasks": [every_minute("c", timeout=30)], "settings": {"timezone": "UTC"}}))
    other.chmod(0o600)
    before = tree(project.root)
    code, out, err = project.call("simulate", "--days", "2")
    assert code == 78 and "minute '61'" in err and " runs in 2 days; no run would be skipped\n" in out
    code, out, err = project.call("simulate", "--days", "1", "--config", str(other), "--json")
    found = json.loads(out)[0]
    assert (code, err, found["task"]) == (0, "", "c") and found["runs"] in (1440, 1441)
    assert (found["overlaps"], found["late"], found["stranded"], found["is_guess"]) == (0, 0, 0, True)
    for command in (["status"], ["status", "--table"], ["history"], ["audit"], ["why", "a"], ["logs", "a"],
                    ["diff", "a"], ["next"], ["simulate", "--config", "/no/such/file"], ["doctor"]):
        assert project.call(*command)[0] in (0, 1, 78), command
    assert tree(project.root) == before


# -- whatever happens, they answer

@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_status_why_and_history_answer(seed):
    month = Month(seed, "2025-03-27T00:00:00Z")
    asked = random.Random(seed)
    decide = month.decide

    def looked_at():
        started = decide()
        if asked.random() < 0.01:
            look(month, asked)
        return started

    month.decide = looked_at
    month.live(6)
    look(month, asked)
    assert len(month.verdicts) > 1000


def look(month, asked):
    now = month.now + asked.choice([0, 30, 600, 100000])
    newest_first = month.verdicts[::-1]
    document = status_at(month, now, asked.choice([None, now, now - 4000]), newest_first[:20])
    json.dumps(document)
    for width in (20, 80, 200):
        lines = sc.status_table(document, width).split("\n")
        assert all(len(line) <= width or "try: " in line or len(line.split()) < 3 or line == lines[-1]
                   for line in lines), lines
        assert all(ord(letter) < 128 for line in lines for letter in line)
    assert len(sc.history_rows(newest_first[:50]).split("\n")) == min(50, len(newest_first)) + 1
    slots = {}
    for slot in month.audit(since=now - 2 * DAY):
        slots[slot.task] = slot
    assert not [slot for slot in slots.values() if slot.fate in sc.UNEXPLAINED]
    for name, each in month.config.tasks.items():
        slot = slots.get(name)
        known = [record for record in month.verdicts if record["task"] == name and (
            slot is None or record["scheduled_for"] == sc.iso(slot.at))]
        text = sc.why_text(month.config, month.state, each, slot, known[-1] if known else None, now)
        assert text.startswith(name + ": ") and "None" not in text and ".." not in text
        assert all(len(line) <= 80 and (line.startswith("  ") or number == 0)
                   for number, line in enumerate(text.split("\n")))
    assert set(original_tasks()) >= set(month.config.tasks)


def test_the_commands_answer_in_a_folder_where_nothing_has_happened_yet(project):
    project.configure(every_minute("a"))
    for command, expected in ((["status"], 0), (["history"], 0), (["audit"], 0), (["why", "a"], 0), (["logs", "a"], 0),
                              (["diff", "a"], 0), (["simulate", "--days", "1"], 0), (["doctor"], 1),
                              (["resume", "a"], 2)):
        code, _, err = project.call(*command)
        assert code == expected and "Traceback" not in err and "internal error" not in err, command
    done = subprocess.run([sys.executable, str(sc.__file__), "--root", str(project.root), "pause", "a"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"paused a until resumed\n", b"")


def test_why_says_what_the_fields_of_a_task_mean():
    world = World(task("a", "0 2 * * *", not_on=["sunday", "12-24..12-26"], only_between="22:00-06:00",
                       start_deadline=7200, locks=["db"], condition="test -e /mnt", success_exit_codes=[0, 1],
                       skip_exit_codes=[75], env_file="secret.env", nice=10, ionice="idle", umask="027",
                       memory_limit="512M"), task("b", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    now = at("2025-06-02T11:00:00Z")
    texts = [" ".join(sc.why_text(world.config, world.state, each, None, None, now).split())
             for each in world.config.tasks.values()]
    assert texts[0].endswith(
        "It runs as configured: not on sunday and 12-24..12-26; only between 22:00-06:00; at most 2h late; with the "
        "lock db; if its condition exits 0; exit code 0 or 1 is a success; exit code 75 is a skip; with variables "
        "from secret.env; niceness 10; I/O class idle; umask 027; at most 512M of address space a process.")
    assert "as configured" not in texts[1]
