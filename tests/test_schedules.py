"""A schedule of several expressions: one cycle and one history, told as one by every command."""

import json

import pytest
from stories import World, at, status_at, task

import symphony_conductor as sc
import symphony_diff

BOTH = ["0 2 * * *", "30 14 * * MON"]


def built(**fields):
    return sc.build_config([("c.json", {"tasks": [dict({"name": "a", "command": "true"}, **fields)],
                                        "settings": {"timezone": "UTC"}})])


def test_the_slots_of_a_list_are_those_of_all_and_coincide_once():
    world = World(task("a", ["0 2 * * *", "0 */2 * * *"]))
    started = []
    world.tick("2025-06-02T00:30:00Z")
    for minute in range(6 * 60):
        started += world.tick(at("2025-06-02T00:31:00Z") + minute * 60)
        world.end("a")
    assert started == ["a@2025-06-02T%s:00:00Z" % hour for hour in ("02", "04", "06")]
    assert [slot for _, _, slot in world.said()] == [
        "2025-06-02T02:00:00Z", "2025-06-02T04:00:00Z", "2025-06-02T06:00:00Z"]


@pytest.mark.parametrize("written, text", [
    (["0 2 * * *"], "0 2 * * *"), (["0 2 * * *", " 0  2 * * * "], "0 2 * * *"),
    (BOTH, "0 2 * * *; 30 14 * * MON")])
def test_a_list_of_one_is_the_expression(written, text):
    schedule = built(schedule=written).tasks["a"].schedule
    assert schedule.text == text and schedule.expressions[0].text == "0 2 * * *"
    assert schedule.written == (BOTH if written is BOTH else "0 2 * * *")


def test_each_bad_expression_of_a_list_is_named():
    problems = built(schedule=["61 2 * * *", "0 2 * * *", "@reboot", "fri"]).problems
    assert [(problem.text.split(":")[0] + ":" + problem.text.split(":")[1], problem.field)
            for problem in problems] == [
        ("schedule[0]: minute '61' is outside 0-59", "schedule"),
        ("schedule[2]: @reboot cannot be combined with others", "schedule"),
        ("schedule[3]: 'fri' has 1 field; a schedule has five", "schedule")]


@pytest.mark.parametrize("written", [[], [""], ["0 2 * * *", 5], {"a": 1}])
def test_what_is_no_list_of_expressions_is_refused(written):
    problem, = built(schedule=written).problems
    assert problem.text.startswith("schedule: ") and "is not allowed" in problem.text


def test_the_key_of_a_list_changes_with_its_slots_and_can_be_read_again():
    keys = [built(schedule=written).tasks["a"].schedule_key
            for written in (BOTH, BOTH[:1], BOTH + ["5 5 * * *"])]
    assert len(set(keys)) == 3
    text, _, zone = keys[0].rpartition(" ")
    assert (sc.schedule_of(text, "a", recorded=True).written, zone) == (BOTH, "UTC")
    assert sc._is_schedule_key(keys[0]) and not sc._is_schedule_key("0 2 * * *; 61 * * * * UTC")


def test_a_changed_list_is_anchored_and_audited():
    world = World(task("a", BOTH))
    world.tick("2025-06-02T10:00:00Z")
    events = list(world.decision.events)
    assert world.tick("2025-06-02T14:30:00Z") == ["a@2025-06-02T14:30:00Z"]
    world.finish("a", "2025-06-02T14:31:00Z")
    world.configure(task("a", BOTH + ["0 16 * * *"]), changed_at="2025-06-02T15:30:00Z")
    assert world.tick("2025-06-02T16:00:00Z") == ["a@2025-06-02T16:00:00Z"]
    events += world.decision.events
    world.finish("a", "2025-06-02T16:01:00Z")
    slots = sc.audit_all(world.config, world.state, world.verdicts, events, 0.0,
                         at("2025-06-02T17:00:00Z"), at("2025-06-02T17:00:00Z"))
    assert [(sc.iso(slot.at), slot.fate) for slot in slots] == [
        ("2025-06-02T14:30:00Z", "success"), ("2025-06-02T16:00:00Z", "success")]


@pytest.mark.parametrize("written, again", [
    (["*/5 * * * *", "0 2 * * *"], []), (["*/5 * * * *", "*/20 * * * *"], ["a@2025-06-03T01:35:00Z"])])
def test_no_fixed_time_of_a_list_runs_twice_when_the_clock_is_set_back(written, again):
    world = World(task("a", written))
    world.tick("2025-06-03T01:58:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("a", "2025-06-03T02:01:00Z")
    assert world.tick("2025-06-03T01:31:00Z") == []
    assert world.tick("2025-06-03T01:35:00Z") == again


def test_hash_marks_of_a_list_are_those_of_the_task():
    schedule = built(schedule=["H 2 * * *", "H 14 * * *"]).tasks["a"].schedule
    minutes = {schedule.next(at(text), "UTC") // 60 % 60
               for text in ("2025-06-02T02:00:00Z", "2025-06-02T14:00:00Z")}
    assert len(minutes) == 1


def test_status_gives_a_list_as_it_is_written():
    world = World(task("a", BOTH), task("b", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    now = at("2025-06-02T10:00:30Z")
    of_a, of_b = status_at(world, now, now)["tasks"]
    assert (of_a["schedule"], of_b["schedule"]) == (BOTH, "0 2 * * *")
    assert of_a["next_run"] == "2025-06-02T14:30:00Z"
    assert sc.describe(of_a["schedule"], "a") == "at 02:00 every day; at 14:30 on Mondays"


def test_advice_is_given_on_each_expression():
    task_of_list = built(schedule=["* 3 * * *", "0 2 * * *"]).tasks["a"]
    (text, _), = sc.schedule_advice(task_of_list.schedule, "a")
    assert text.startswith("the task runs every minute from 03:00 to 03:59")


def test_explain_takes_several_expressions(hand):
    code, out, err = hand.call("explain", "0 2 * * *", "30 14 * * MON", "--zone", "UTC",
                               "--from", "2025-06-02", "--count", "2")
    assert (code, out, err) == (0, "0 2 * * *; 30 14 * * MON: at 02:00 every day; at 14:30 on "
                                "Mondays\n  Mon 2025-06-02 02:00 +0000\n"
                                "  Mon 2025-06-02 14:30 +0000\n", "")
    document = json.loads(hand.call("explain", *BOTH, "--json")[1])
    assert document["expression"] == BOTH
    assert hand.call("explain", "@daily", "@weekly", "--count", "1")[0] == 0
    assert hand.call("explain", "0 2 * * *", "61 2 * * *")[0] == 78


def test_diff_tells_of_a_schedule_that_became_a_list():
    config, other = built(schedule="0 2 * * *"), built(schedule=BOTH, not_on="sunday")
    definitions = [json.loads(json.dumps(sc.definition_of(each, each.tasks["a"])))
                   for each in (config, other)]
    assert "not_on" not in definitions[0]
    assert symphony_diff.definition_changes(*definitions) == [
        'not_on: null -> ["sunday"]', 'schedule: "0 2 * * *" -> ["0 2 * * *", "30 14 * * MON"]']
