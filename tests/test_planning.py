"""The decision of a tick: tables and stories over the pure function, with the clock as an argument."""

import pytest
from stories import World, at, status_at, task

import symphony_conductor as sc

DAY = 86400


def test_installing_starts_nothing_by_surprise():
    world = World(task("a", "0 2 * * *"))
    assert world.tick("2025-06-02T10:00:00Z") == []
    assert world.tick("2025-06-03T01:59:00Z") == []
    assert world.tick("2025-06-03T02:00:00Z") == ["a@2025-06-03T02:00:00Z"]


def test_a_changed_schedule_is_anchored_at_now():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.configure(task("a", "0 9 * * *"))
    assert world.tick("2025-06-03T09:30:00Z") == []
    assert world.tick("2025-06-04T09:00:00Z") == ["a@2025-06-04T09:00:00Z"]


def promised(world, now):
    """What status and next say of the coming slot of each task; they agree, and change nothing."""
    last_tick, now = world.last_seen, at(now)
    by_status = {name: sc.task_document(world.config, world.state, each, now, last_tick)["next_run"]
                 for name, each in world.config.tasks.items()}
    by_next = {name: [sc.iso(slot) for slot, _ in sc.coming_slots(
        world.config, world.state, last_tick, now, 1, name)] for name in world.config.tasks}
    assert {name: [slot] if slot else [] for name, slot in by_status.items()} == by_next
    return by_status


def test_a_slot_between_an_edit_and_the_next_tick_runs():
    world = World(task("old", "0 5 * * *"))
    world.tick("2025-06-02T10:00:01Z")
    world.configure(task("old", "1 * * * *"), task("new", "1 * * * *"),
                    changed_at="2025-06-02T10:00:25Z")
    slots = {"old": "2025-06-02T10:01:00Z", "new": "2025-06-02T10:01:00Z"}
    assert promised(world, "2025-06-02T10:00:30Z") == slots
    assert promised(world, "2025-06-02T10:01:00Z") == slots
    assert world.tick("2025-06-02T10:01:01Z") == ["old@2025-06-02T10:01:00Z",
                                                  "new@2025-06-02T10:01:00Z"]
    assert world.triggers() == ["schedule", "schedule"]
    assert promised(world, "2025-06-02T10:01:02Z") == {
        "old": "2025-06-02T11:01:00Z", "new": "2025-06-02T11:01:00Z"}


@pytest.mark.parametrize("changed_at, now, slot", [
    ("2025-06-02T10:00:59Z", "2025-06-02T10:01:01Z", "2025-06-02T10:01:00Z"),
    ("2025-06-02T10:01:00Z", "2025-06-02T10:01:01Z", None),
    ("2025-06-02T10:00:25Z", "2025-06-02T10:09:00Z", "2025-06-02T10:09:00Z"),
    # not before the last tick
    ("2025-06-02T08:00:00Z", "2025-06-02T10:00:50Z", None),
    ("2025-06-02T08:00:00Z", "2025-06-02T10:01:00Z", "2025-06-02T10:01:00Z"),
    # not after now
    ("2025-06-03T10:00:00Z", "2025-06-02T10:01:01Z", None),
    # the last tick lies ahead: the clock was set back
    ("2025-06-02T09:30:20Z", "2025-06-02T09:31:01Z", "2025-06-02T09:31:00Z"),
    ("2025-05-02T09:30:20Z", "2025-06-02T09:31:01Z", "2025-06-02T09:31:00Z"),
    (None, "2025-06-02T10:01:01Z", None),
])
@pytest.mark.parametrize("before", [
    (), (task("a", "30 4 * * *"),), (task("a", "* * * * *", enabled=False),)],
    ids=["new", "changed", "enabled"])
def test_a_schedule_counts_from_when_its_file_changed(before, changed_at, now, slot):
    world = World(task("other", "0 5 1 1 *"), *before)
    world.tick("2025-06-01T10:00:00Z")
    world.last_seen = at("2025-06-02T10:00:01Z")
    world.configure(task("other", "0 5 1 1 *"), task("a", "* * * * *"), changed_at=changed_at)
    shown = promised(world, now)["a"]
    assert shown == slot if slot else at(shown) > at(now)
    assert world.tick(now) == (["a@" + slot] if slot else [])


@pytest.mark.parametrize("main, drop_in, zone, expected", [
    ("10:00:25", "08:00:00", None, ["a@2025-06-02T10:01:00Z"]),  # the settings' zone
    ("08:00:00", "10:00:25", None, ["a@2025-06-02T10:01:00Z"]),  # its own was taken out
    ("10:00:25", "10:01:00", None, []),                          # either
    ("10:01:00", "08:00:00", None, []),
    ("10:01:00", "10:00:25", "Europe/Paris", ["a@2025-06-02T10:01:00Z"]),
    ("10:00:25", "10:01:00", "Europe/Paris", [])])
def test_a_new_zone_counts_from_when_the_file_that_says_so_changed(main, drop_in, zone, expected):
    def settings(of_all, of_task):
        return [("c.json", {"settings": {"timezone": of_all}}),
                ("d.json", task("a", "1 12 * * *", **({"timezone": of_task} if of_task else {})))]

    world = World()
    world.config = sc.build_config(settings("America/New_York", None))
    world.tick("2025-06-02T10:00:00Z")
    times = {"c.json": at("2025-06-02T%sZ" % main), "d.json": at("2025-06-02T%sZ" % drop_in)}
    of_all = "Europe/Paris" if zone is None else "America/New_York"
    world.config = sc.build_config(settings(of_all, zone), times)
    assert world.tick("2025-06-02T10:01:01Z") == expected


def test_what_is_due_of_a_new_schedule_is_held_to_its_deadline_and_merged():
    world = World(task("other", "0 5 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.configure(task("a", "*/10 * * * *"), task("b", "*/20 * * * *", start_deadline=60),
                    changed_at="2025-06-02T10:05:00Z")
    assert world.tick("2025-06-02T10:35:00Z") == ["a@2025-06-02T10:30:00Z"]
    world.finish("a", "2025-06-02T10:36:00Z")
    assert world.said() == [("b", "skipped_late", "2025-06-02T10:20:00Z"),
                            ("a", "success", "2025-06-02T10:30:00Z")]
    assert world.verdicts[1]["merged_since"] == "2025-06-02T10:10:00Z"


def test_nothing_of_a_fresh_state_is_due_whenever_the_file_changed():
    world = World()
    world.last_seen = at("2025-06-02T10:00:01Z")
    world.configure(task("a", "* * * * *"), changed_at="2025-06-02T08:00:00Z")
    assert promised(world, "2025-06-02T10:01:01Z") == {"a": "2025-06-02T10:02:00Z"}
    assert world.tick("2025-06-02T10:01:01Z") == []
    assert world.tick("2025-06-02T10:02:00Z") == ["a@2025-06-02T10:02:00Z"]


def test_a_run_by_hand_that_ends_after_the_edit_does_not_move_the_time_it_counts_from():
    world = World(task("a", "0 5 * * *"), task("hand"))
    world.tick("2025-06-02T10:00:01Z")
    by_hand = world.config.tasks["hand"]
    world.state, _ = sc.begin_manual(world.state, by_hand, at("2025-06-02T10:00:10Z"))
    end = at("2025-06-02T10:01:00Z")
    result = {"status": "success", "ended_at": end, "exit_code": 0}
    facts = sc.Facts(boot_id="boot-1", zone_stamp="z",
                     runs={"hand": sc.RunFact(kind="ended", result=result)})
    world.state = sc.decide(
        world.config, world.state, end, facts, world.last_seen, settle_only=True).state
    world.configure(task("a", "1 * * * *"), task("hand"), changed_at="2025-06-02T10:00:25Z")
    assert world.tick("2025-06-02T10:01:01Z") == ["a@2025-06-02T10:01:00Z"]


def test_enabling_a_task_does_not_catch_up_on_its_rest():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.configure(task("a", "0 2 * * *", enabled=False))
    assert world.tick("2025-06-05T10:00:00Z") == []
    world.configure(task("a", "0 2 * * *"))
    assert world.tick("2025-06-05T11:00:00Z") == []
    assert world.tick("2025-06-06T02:00:00Z") == ["a@2025-06-06T02:00:00Z"]


def test_a_slot_is_consumed_when_its_run_starts():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-03T02:00:05Z") == ["a@2025-06-03T02:00:00Z"]
    for minute in range(1, 9):
        assert world.tick("2025-06-03T02:0%d:00Z" % minute) == []
    world.finish("a", "2025-06-03T02:09:00Z")
    assert world.tick("2025-06-03T02:10:00Z") == []
    assert world.said() == [("a", "success", "2025-06-03T02:00:00Z")]


def test_a_machine_that_was_off_for_three_days_runs_once_with_the_older_slots_merged():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-05T10:00:00Z") == ["a@2025-06-05T02:00:00Z"]
    assert world.triggers() == ["catch_up"]
    world.finish("a", "2025-06-05T10:01:00Z")
    assert world.verdicts[0]["merged_since"] == "2025-06-03T02:00:00Z"
    assert world.tick("2025-06-05T10:02:00Z") == []


def test_being_off_for_years_costs_one_decision():
    world = World(task("a", "* * * * *"))
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2035-06-02T10:00:30Z") == ["a@2035-06-02T10:00:00Z"]


def test_catch_ups_go_through_the_concurrency_limit_oldest_slot_first():
    world = World(task("late", "0 5 * * *"), task("early", "0 2 * * *"), task("middle", "0 3 * * *"),
                  max_concurrent_tasks=1)
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-04T10:00:00Z") == ["early@2025-06-04T02:00:00Z"]
    assert world.finish("early", "2025-06-04T10:01:00Z") == ["middle@2025-06-04T03:00:00Z"]
    assert world.finish("middle", "2025-06-04T10:02:00Z") == ["late@2025-06-04T05:00:00Z"]


def test_equal_slots_start_in_the_order_of_the_configuration():
    world = World(task("z", "0 2 * * *"), task("a", "0 2 * * *"), task("m", "0 2 * * *"), max_concurrent_tasks=2)
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-03T02:00:00Z") == ["z@2025-06-03T02:00:00Z", "a@2025-06-03T02:00:00Z"]


def test_a_slot_later_than_its_start_deadline_is_skipped():
    world = World(task("a", "0 2 * * *", start_deadline=3600))
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-03T03:00:01Z") == []
    assert world.said() == [("a", "skipped_late", "2025-06-03T02:00:00Z")]
    assert world.tick("2025-06-04T03:00:00Z") == ["a@2025-06-04T02:00:00Z"]


def test_a_slot_that_waited_too_long_for_a_free_place_is_skipped():
    world = World(task("slow", "0 2 * * *"), task("a", "0 2 * * *", start_deadline=600), max_concurrent_tasks=1)
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    assert world.tick("2025-06-03T02:10:00Z") == []
    assert world.tick("2025-06-03T02:11:00Z") == []
    assert world.said() == [("a", "skipped_late", "2025-06-03T02:00:00Z")]


# -- overlap

def test_a_running_task_meets_its_next_slot_and_the_slot_is_skipped():
    world = World(task("a", "*/10 * * * *"))
    world.tick("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:10:00Z")
    assert world.tick("2025-06-02T10:20:00Z") == []
    assert world.finish("a", "2025-06-02T10:25:00Z") == []
    assert world.said() == [("a", "skipped_overlap", "2025-06-02T10:20:00Z"), ("a", "success", "2025-06-02T10:10:00Z")]
    assert world.verdicts[1]["absorbed"] == "2025-06-02T10:20:00Z"


def test_overlap_queue_keeps_one_slot_and_merges_the_rest():
    world = World(task("a", "*/10 * * * *", overlap="queue"))
    world.tick("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:10:00Z")
    world.tick("2025-06-02T10:20:00Z")
    world.tick("2025-06-02T10:30:00Z")
    assert world.finish("a", "2025-06-02T10:35:00Z") == ["a@2025-06-02T10:30:00Z"]
    world.finish("a", "2025-06-02T10:36:00Z")
    assert world.said() == [("a", "success", "2025-06-02T10:10:00Z"), ("a", "success", "2025-06-02T10:30:00Z")]
    assert world.verdicts[1]["merged_since"] == "2025-06-02T10:20:00Z"


def test_a_slot_that_comes_while_a_retry_waits_is_skipped():
    world = World(task("a", "*/10 * * * *", retry_count=3, retry_delay=900))
    world.tick("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:10:00Z")
    world.finish("a", "2025-06-02T10:11:00Z", "failed")
    assert world.tick("2025-06-02T10:20:00Z") == []
    assert world.said() == [("a", "skipped_overlap", "2025-06-02T10:20:00Z")]
    assert world.tick("2025-06-02T10:26:00Z") == ["a@2025-06-02T10:10:00Z"]


def test_a_run_by_hand_absorbs_the_slot_that_comes_meanwhile():
    world = World(task("a", "0 2 * * *"), task("b", "5 2 * * *", dependencies=["a"]))
    world.tick("2025-06-02T10:00:00Z")
    world.state, _ = sc.begin_manual(world.state, world.config.tasks["a"], at("2025-06-03T01:59:00Z"))
    assert world.tick("2025-06-03T02:00:00Z") == []
    assert world.tick("2025-06-03T02:05:00Z") == []
    assert world.finish("a", "2025-06-03T02:06:00Z") == ["b@2025-06-03T02:05:00Z"]
    assert world.said() == [("a", "skipped_overlap", "2025-06-03T02:00:00Z"), ("a", "success", None)]


def test_a_slot_that_is_queued_is_late_before_a_later_one_is():
    world = World(task("a", "*/10 * * * *", overlap="queue", start_deadline=300))
    world.tick("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:10:00Z")
    world.tick("2025-06-02T10:20:00Z")
    world.tick("2025-06-02T10:36:00Z")
    assert world.said() == [("a", "skipped_late", "2025-06-02T10:20:00Z"),
                            ("a", "skipped_late", "2025-06-02T10:30:00Z")]
    assert [verdict["reason"] for verdict in world.verdicts] == [
        "960 s late, start_deadline is 300 s", "360 s late, start_deadline is 300 s"]
    world.tick("2025-06-02T10:40:00Z")
    assert world.finish("a", "2025-06-02T10:41:00Z") == ["a@2025-06-02T10:40:00Z"]
    world.finish("a", "2025-06-02T10:42:00Z")
    assert world.verdicts[-1].get("merged_since") is None, "those have verdicts of their own"


def test_a_queued_slot_whose_turn_comes_with_the_next_slot_runs():
    world = World(task("up", "0 9 * * *"), task("a", "*/10 * * * *", overlap="queue"),
                  task("b", "*/10 * * * *", overlap="queue", dependencies=["up"]))
    world.tick("2025-06-02T08:55:00Z")
    world.tick("2025-06-02T09:00:00Z")
    world.finish("up", "2025-06-02T09:01:00Z")
    world.finish("a", "2025-06-02T09:02:00Z")
    world.finish("b", "2025-06-02T09:02:00Z")
    world.tick("2025-06-02T09:10:00Z")
    world.tick("2025-06-02T09:20:00Z")
    world.end("a", when="2025-06-02T09:29:59Z")
    world.end("b", when="2025-06-02T09:29:59Z")
    assert world.tick("2025-06-02T09:30:00Z") == ["a@2025-06-02T09:20:00Z",
                                                  "b@2025-06-02T09:20:00Z"]
    assert {status for _, status, _ in world.said()} == {"success"}


# -- dependencies

def chain(**more):
    return (task("scan", "0 2 * * *"), task("analyse", "30 2 * * *", dependencies=["scan"]),
            task("clean", "0 3 * * 0", dependencies=["analyse"], **more))


def test_a_dependent_starts_when_the_dependency_of_its_day_succeeded():
    world = World(*chain())
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("scan", "2025-06-03T02:10:00Z")
    assert world.tick("2025-06-03T02:30:00Z") == ["analyse@2025-06-03T02:30:00Z"]
    assert world.triggers() == ["schedule"]


def test_a_dependent_waits_for_a_dependency_that_is_still_running():
    world = World(*chain())
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    assert world.tick("2025-06-03T02:30:00Z") == []
    assert world.state.tasks["analyse"].cycle.phase == "waiting"
    assert world.state.tasks["analyse"].cycle.waiting_for == "scan"
    assert world.finish("scan", "2025-06-03T02:45:00Z") == ["analyse@2025-06-03T02:30:00Z"]
    assert world.triggers() == ["dependency"]


def test_sundays_cleanup_never_runs_on_last_weeks_analysis():
    world = World(*chain())
    world.tick("2025-06-06T10:00:00Z")
    world.tick("2025-06-07T02:00:00Z")
    world.finish("scan", "2025-06-07T02:10:00Z")
    world.tick("2025-06-07T02:30:00Z")
    world.finish("analyse", "2025-06-07T02:31:00Z")
    world.tick("2025-06-08T02:00:00Z")
    world.finish("scan", "2025-06-08T02:10:00Z")
    world.tick("2025-06-08T02:30:00Z")
    world.finish("analyse", "2025-06-08T02:31:00Z", "failed")
    assert world.tick("2025-06-08T03:00:00Z") == []
    text = sc.explain_unmet(world.config, world.state.tasks, "analyse", at("2025-06-08T03:00:00Z"))
    assert text == "'analyse' failed (exit 1) at 2025-06-08T02:31:00Z"
    world.tick("2025-06-15T03:00:00Z")
    skipped = [record for record in world.verdicts if record["task"] == "clean"]
    assert [record["status"] for record in skipped] == ["skipped_dependency"]
    assert skipped[0]["scheduled_for"] == "2025-06-08T03:00:00Z"
    assert skipped[0]["dependency"] == "analyse"


def test_a_success_by_hand_lets_a_waiting_task_go():
    world = World(*chain())
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("scan", "2025-06-03T02:10:00Z", "failed")
    assert world.tick("2025-06-03T02:30:00Z") == []
    world.state, _ = sc.begin_manual(world.state, world.config.tasks["scan"], at("2025-06-03T09:00:00Z"))
    assert world.finish("scan", "2025-06-03T09:05:00Z") == ["analyse@2025-06-03T02:30:00Z"]


def test_the_slot_that_a_run_absorbed_is_answered_for_by_it():
    world = World(task("scan", "0 * * * *"), task("use", "30 * * * *", dependencies=["scan"]))
    world.tick("2025-06-02T09:45:00Z")
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-02T10:30:00Z") == []
    assert world.tick("2025-06-02T11:00:00Z") == []
    assert world.tick("2025-06-02T11:30:00Z") == []
    assert world.finish("scan", "2025-06-02T11:40:00Z") == ["use@2025-06-02T11:30:00Z"]


def test_a_merged_slot_is_answered_for_by_the_run_that_took_it():
    world = World(task("scan", "0 2 * * *"), task("use", "30 2 * * *", dependencies=["scan"]))
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-05T10:00:00Z") == ["scan@2025-06-05T02:00:00Z"]
    assert world.finish("scan", "2025-06-05T10:05:00Z") == ["use@2025-06-05T02:30:00Z"]


def test_waiting_holds_no_place():
    world = World(task("scan", "0 2 * * *"), task("w1", "0 2 * * *", dependencies=["scan"]),
                  task("w2", "0 2 * * *", dependencies=["scan"]), task("free", "1 2 * * *"), max_concurrent_tasks=2)
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-03T02:00:00Z") == ["scan@2025-06-03T02:00:00Z"]
    assert world.tick("2025-06-03T02:01:00Z") == ["free@2025-06-03T02:01:00Z"]


def test_waiting_ends_at_the_start_deadline_and_names_the_dependency():
    world = World(task("scan", "0 2 * * *"), task("use", "0 2 * * *", dependencies=["scan"], start_deadline=600))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    assert world.decision.wake_at == 0.0
    world.tick("2025-06-03T02:11:00Z")
    assert world.said() == [("use", "skipped_dependency", "2025-06-03T02:00:00Z")]
    assert "'scan' is running" in world.verdicts[0]["reason"]


def test_the_root_cause_is_named_through_the_chain():
    world = World(*chain())
    world.tick("2025-06-07T10:00:00Z")
    world.tick("2025-06-08T02:00:00Z")
    world.finish("scan", "2025-06-08T02:10:00Z", "failed")
    world.tick("2025-06-08T02:30:00Z")
    world.tick("2025-06-08T03:00:00Z")
    assert sc.explain_unmet(world.config, world.state.tasks, "analyse", at("2025-06-08T03:00:00Z")) == (
        "'scan' failed (exit 1) at 2025-06-08T02:10:00Z")


def test_a_skip_tells_what_was_so_until_then_and_names_the_root():
    world = World(task("up", "0 2 * * *"), task("mid", "0 2 * * *", dependencies=["up"]),
                  task("down", "0 2 * * *", dependencies=["mid"]))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("up", "2025-06-03T02:10:00Z", "failed")
    world.tick("2025-06-04T02:00:00Z")
    failed = ("until its next slot 2025-06-04T02:00:00Z was due: "
              "'up' failed (exit 1) at 2025-06-03T02:10:00Z")
    keys = ("task", "dependency", "root", "reason")
    assert [tuple(verdict[key] for key in keys) for verdict in world.verdicts[1:]] == [
        ("mid", "up", "up", "waited for 'up' " + failed),
        ("down", "mid", "up", "waited for 'mid' " + failed)]


@pytest.mark.parametrize("order", [("down", "mid"), ("mid", "down")])
def test_a_deadline_that_passes_with_another_end_tells_of_what_is_waited_for_by_then(order):
    tasks = {"down": task("down", "0 2 * * *", dependencies=["mid"], start_deadline=600),
             "mid": task("mid", "0 2 * * *", dependencies=["one", "two"])}
    world = World(*[tasks[name] for name in order],
                  *(task(name, "0 2 * * *") for name in ("one", "two")))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("two", "2025-06-03T02:10:00Z", "failed")
    world.finish("one", "2025-06-03T02:11:00Z")
    assert (world.verdicts[-1]["task"], world.verdicts[-1]["root"]) == ("down", "two")
    assert world.verdicts[-1]["reason"] == (
        "waited for 'mid' until its start_deadline of 600 s passed: "
        "'two' failed (exit 1) at 2025-06-03T02:10:00Z")


def test_what_failed_and_goes_again_is_told_as_both():
    world = World(task("up", "0 2 * * *", retry_count=1, retry_delay=90), task("busy", "0 1 * * *"),
                  max_concurrent_tasks=1)
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T01:00:00Z")

    def said():
        return sc.explain_unmet(world.config, world.state.tasks, "up", at("2025-06-03T02:05:00Z"))

    world.tick("2025-06-03T02:00:00Z")
    assert said() == "'up' is queued"
    world.finish("busy", "2025-06-03T02:01:00Z")
    assert said() == "'up' is running"
    world.finish("up", "2025-06-03T02:02:00Z", "failed")
    failed = "'up' failed (exit 1) at 2025-06-03T02:02:00Z; "
    assert said() == failed + "retry due at 2025-06-03T02:03:30Z"
    document = sc.task_document(
        world.config, world.state, world.config.tasks["up"], at("2025-06-03T02:03:00Z"))
    assert document["next_run"] == "2025-06-03T02:04:00Z"
    assert world.tick("2025-06-03T02:04:01Z") == ["up@2025-06-03T02:00:00Z"]
    assert said() == failed + "running again"
    world.finish("up", "2025-06-03T02:06:00Z", "failed")
    world.tick("2025-06-04T01:00:00Z")
    world.tick("2025-06-04T02:00:00Z")
    assert said() == "'up' failed (exit 1) at 2025-06-03T02:06:00Z; queued again"


@pytest.mark.parametrize("retry_at, tick", [
    ("2025-06-03T02:04:59Z", "2025-06-03T02:05:00Z"),
    ("2025-06-03T02:05:00Z", "2025-06-03T02:05:00Z"),
    ("2025-06-03T02:05:01Z", "2025-06-03T02:06:00Z")])
def test_a_retry_starts_in_the_minute_of_the_first_tick_that_is_not_before_its_time(retry_at, tick):
    assert sc.iso(sc.first_tick_after(at(retry_at) + 0.4)) == tick


def test_a_disabled_dependency_holds_its_dependents():
    world = World(task("scan", "0 2 * * *", enabled=False), task("use", "30 2 * * *", dependencies=["scan"]))
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-03T02:30:00Z") == []
    assert sc.explain_unmet(world.config, world.state.tasks, "scan", at("2025-06-03T02:30:00Z")) == (
        "'scan' is disabled")


def test_a_task_without_a_schedule_runs_when_all_its_dependencies_have_a_new_success():
    world = World(task("a", "0 2 * * *"), task("b", "0 3 * * *"), task("join", dependencies=["a", "b"]))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    assert world.finish("a", "2025-06-03T02:01:00Z") == []
    world.tick("2025-06-03T03:00:00Z")
    assert world.finish("b", "2025-06-03T03:01:00Z") == ["join@2025-06-03T03:01:00Z"]
    world.finish("join", "2025-06-03T03:02:00Z")
    world.tick("2025-06-04T02:00:00Z")
    assert world.finish("a", "2025-06-04T02:01:00Z") == [], "a join does not fire on the sibling's stale success"
    world.tick("2025-06-04T03:00:00Z")
    assert world.finish("b", "2025-06-04T03:01:00Z") == ["join@2025-06-04T03:01:00Z"]


def test_a_success_by_hand_lets_its_dependent_run_once():
    world = World(task("by_hand"), task("use", "0 2 * * *", dependencies=["by_hand"]))
    world.tick("2025-06-02T10:00:00Z")
    by_hand = world.config.tasks["by_hand"]
    world.state, _ = sc.begin_manual(world.state, by_hand, at("2025-06-02T11:00:00Z"))
    world.finish("by_hand", "2025-06-02T11:01:00Z")
    assert world.tick("2025-06-03T02:00:00Z") == ["use@2025-06-03T02:00:00Z"]
    world.finish("use", "2025-06-03T02:01:00Z")
    assert world.tick("2025-06-04T02:00:00Z") == [], "the next slot needs a new success"
    assert world.state.tasks["use"].cycle.waiting_for == "by_hand"


def test_a_bad_dependency_stops_only_its_dependents():
    world = World(task("ok", "0 2 * * *"))
    world.config = sc.build_config([("c.json", {"tasks": [
        task("ok", "0 2 * * *"), task("bad", "61 2 * * *"), task("use", "0 2 * * *", dependencies=["bad"])],
        "settings": {"timezone": "UTC"}})])
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-03T02:00:00Z") == ["ok@2025-06-03T02:00:00Z"]
    assert "is invalid" in sc.explain_unmet(world.config, world.state.tasks, "bad", 0)


# -- retries

def test_a_failed_task_is_retried_with_growing_delays_and_one_verdict():
    world = World(task("a", "0 2 * * *", retry_count=2, retry_delay=300, retry_backoff=2))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("a", "2025-06-03T02:01:00Z", "failed")
    assert world.decision.wake_at == at("2025-06-03T02:06:00Z")
    assert world.tick("2025-06-03T02:05:59Z") == []
    assert world.tick("2025-06-03T02:06:00Z") == ["a@2025-06-03T02:00:00Z"]
    assert world.triggers() == ["retry"]
    world.finish("a", "2025-06-03T02:07:00Z", "timeout")
    assert world.tick("2025-06-03T02:16:59Z") == []
    assert world.tick("2025-06-03T02:17:00Z") == ["a@2025-06-03T02:00:00Z"]
    world.finish("a", "2025-06-03T02:18:00Z", "failed")
    assert world.said() == [("a", "failed", "2025-06-03T02:00:00Z")]
    assert [(past["attempt"], past["status"]) for past in world.verdicts[0]["attempts"]] == [
        (1, "failed"), (2, "timeout")]
    assert world.verdicts[0]["attempt"] == 3
    assert world.state.tasks["a"].consecutive_failures == 1  # slots, not attempts


def test_a_backoff_beyond_all_numbers_is_bounded():
    assert sc.Task(retry_delay=10, retry_backoff=2).retry_wait(3) == 40
    assert sc.Task(retry_delay=10, retry_backoff=100).retry_wait(1000) == 366 * 86400
    assert sc.Task(retry_delay=0, retry_backoff=100).retry_wait(1000) == 0


@pytest.mark.parametrize("before, after, is_new", [
    ("b", "b", False), ("b", "c", True), ("b+1", "b+1", False), ("b+1", "c+1", True),
    ("b+1", "b+200", True),                     # a container that was started again
    ("b", "b+1", False), ("b+1", "b", False),   # one of them cannot tell
    ("b", "c+1", True), ("", "b+1", True)])
def test_a_start_is_new_when_the_boot_or_process_1_is_another(before, after, is_new):
    assert sc.is_new_start(before, after) == is_new


def test_reboot_runs_once_for_each_start_of_a_container_and_never_for_what_cannot_be_told():
    world = World(task("a", "@reboot"))
    now, seen = at("2025-06-02T10:00:00Z"), []
    for world.boot in ("b", "b+1", "b+1", "b", "b+1", "b+200", "b+200", "b", "b+200", "c+2", "c"):
        now += 60
        world.booted_at = now - 3
        seen += [world.boot for started in world.tick(now)]
        if world.state.tasks["a"].run:
            world.end("a", when=sc.iso(now))
    assert seen == ["b+200", "c+2"]
    assert world.state.tasks["a"].boot_id == "c+2"


def test_a_waiting_retry_holds_no_place_and_survives_a_reboot():
    world = World(task("a", "0 2 * * *", retry_count=1, retry_delay=600), task("b", "5 2 * * *"),
                  max_concurrent_tasks=1)
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("a", "2025-06-03T02:01:00Z", "failed")
    assert world.tick("2025-06-03T02:05:00Z") == ["b@2025-06-03T02:05:00Z"]
    world.finish("b", "2025-06-03T02:06:00Z")
    world.state = sc.load_state(sc.dump_state(world.state).decode())
    world.boot = "boot-2"
    assert world.tick("2025-06-03T02:30:00Z") == ["a@2025-06-03T02:00:00Z"]


def test_a_dependent_waits_between_the_retries():
    world = World(task("a", "0 2 * * *", retry_count=1, retry_delay=600), task("b", "5 2 * * *", dependencies=["a"]))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("a", "2025-06-03T02:01:00Z", "failed")
    assert world.tick("2025-06-03T02:05:00Z") == []
    world.tick("2025-06-03T02:11:00Z")
    assert world.finish("a", "2025-06-03T02:12:00Z") == ["b@2025-06-03T02:05:00Z"]


def test_a_task_that_vanished_with_the_machine_is_interrupted_and_retried():
    world = World(task("a", "0 2 * * *", retry_count=1, retry_delay=0))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.kinds["a"] = "vanished"
    assert world.tick("2025-06-03T08:00:00Z") == ["a@2025-06-03T02:00:00Z"]
    assert world.state.tasks["a"].last["status"] == "interrupted"


def test_a_run_that_ends_while_the_decision_is_made_is_retried_at_once():
    world = World(task("a", "0 2 * * *", retry_count=1, retry_delay=0))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    now = at("2025-06-03T02:01:00Z")
    world.ended["a"] = {"status": "failed", "ended_at": now + 0.004, "exit_code": 1}
    assert world.tick(now) == ["a@2025-06-03T02:00:00Z"]


def test_a_run_that_was_never_started_is_started_as_the_same_attempt():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.kinds["a"] = "never"
    assert world.tick("2025-06-03T02:01:00Z") == ["a@2025-06-03T02:00:00Z"]
    assert world.decision.starts[0][1].attempt == 1


def test_an_orphan_is_adopted_and_not_started_again():
    world = World(task("a", "* * * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-02T10:01:00Z")
    world.kinds["a"] = "orphan"
    assert world.tick("2025-06-02T10:02:00Z") == []
    assert world.decision.adoptions == ["a"]


def test_a_late_join_gets_one_verdict_and_no_more():
    world = World(task("a", "0 2 * * *"), task("join", dependencies=["a"], start_deadline=60), task("b", "0 2 * * *"),
                  max_concurrent_tasks=1)
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    assert world.finish("a", "2025-06-03T02:10:00Z") == ["b@2025-06-03T02:00:00Z"]
    for minute in range(11, 20):
        world.tick("2025-06-03T02:%d:00Z" % minute)
    assert [said for said in world.said() if said[0] == "join"] == [("join", "skipped_late", "2025-06-03T02:10:00Z")]


def test_a_long_dependency_does_not_make_its_join_late():
    world = World(task("a", "0 2 * * *"), task("join", dependencies=["a"], start_deadline=60))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    assert world.finish("a", "2025-06-03T05:00:00Z") == ["join@2025-06-03T05:00:00Z"]


def test_a_queued_slot_of_a_disabled_task_gets_a_verdict():
    world = World(task("a", "*/10 * * * *", overlap="queue"))
    world.tick("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:10:00Z")
    world.tick("2025-06-02T10:20:00Z")
    world.configure(task("a", "*/10 * * * *", overlap="queue", enabled=False))
    world.finish("a", "2025-06-02T10:21:00Z")
    assert sorted(world.said()) == [("a", "skipped_disabled", "2025-06-02T10:20:00Z"),
                                    ("a", "success", "2025-06-02T10:10:00Z")]


def test_a_slot_queued_behind_a_run_by_hand_that_never_started_has_its_turn():
    world = World(task("a", "0 2 * * *", overlap="queue"))
    world.tick("2025-06-02T10:00:00Z")
    world.state, _ = sc.begin_manual(world.state, world.config.tasks["a"], at("2025-06-03T01:59:00Z"))
    assert world.tick("2025-06-03T02:00:00Z") == []
    world.kinds["a"] = "never"
    assert world.tick("2025-06-03T02:01:00Z") == ["a@2025-06-03T02:00:00Z"]


def test_a_success_that_comes_with_the_next_slot_still_serves_the_one_that_waited():
    world = World(task("d", "0 2 * * *"), task("t", "0 * * * *", dependencies=["d"]))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.end("d", when="2025-06-03T02:59:59Z")
    assert world.tick("2025-06-03T03:00:00Z") == ["t@2025-06-03T02:00:00Z"]
    assert ("t", "skipped_dependency", "2025-06-03T02:00:00Z") not in world.said()


def test_a_task_that_is_bad_while_an_attempt_fails_keeps_its_retries():
    world = World(task("a", "0 2 * * *", retry_count=2, retry_delay=60))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    good = world.config
    world.config = sc.Config(invalid={"a": "bad"}, timezone="UTC")
    world.finish("a", "2025-06-03T02:01:00Z", "failed")
    world.config = good
    assert world.tick("2025-06-03T02:03:00Z") == ["a@2025-06-03T02:00:00Z"]
    assert world.decision.starts[0][1].attempt == 2


def test_no_attempt_is_made_beyond_the_retries_of_a_mended_task():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    good = world.config
    world.config = sc.Config(invalid={"a": "bad"}, timezone="UTC")
    world.finish("a", "2025-06-03T02:01:00Z", "failed")
    world.config = good
    assert world.tick("2025-06-03T02:03:00Z") == []
    assert world.said() == [("a", "failed", "2025-06-03T02:00:00Z")]


def test_the_root_cause_is_named_beyond_a_skip_and_a_join():
    world = World(task("e", "0 2 * * *"), task("d", "0 2 * * *", dependencies=["e"], start_deadline=600),
                  task("j", dependencies=["d"]), task("t", "0 3 * * *", dependencies=["j"]))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("e", "2025-06-03T02:01:00Z", "failed")
    world.tick("2025-06-03T02:20:00Z")
    assert ("d", "skipped_dependency", "2025-06-03T02:00:00Z") in world.said()
    world.tick("2025-06-03T03:00:00Z")
    assert sc.explain_unmet(world.config, world.state.tasks, "j", at("2025-06-03T03:00:00Z")) == (
        "'e' failed (exit 1) at 2025-06-03T02:01:00Z")


def test_a_normal_wait_is_no_problem_and_a_stuck_one_is():
    world = World(task("d", "0 2 * * *"), task("t", "0 2 * * *", dependencies=["d"]))
    world.tick("2025-06-02T10:00:00Z")
    now = at("2025-06-03T02:00:00Z")
    world.tick(now)
    assert status_at(world, now, now)["problems"] == []
    world.finish("d", "2025-06-03T02:01:00Z", "failed")
    problems = status_at(world, now + 60, now)["problems"]
    assert problems == ["d failed (exit 1); no retries left; it blocks t"]


def test_no_more_starts_at_once_than_there_are_descriptors_for():
    world = World(*[task("t%d" % n, "0 2 * * *") for n in range(200)], max_concurrent_tasks=1000)
    world.tick("2025-06-02T10:00:00Z")
    counts = [len(world.tick("2025-06-03T02:0%d:00Z" % minute)) for minute in range(4)]
    assert counts == [64, 64, 64, 8]


# -- the clock

def test_a_clock_that_starts_in_1970_and_is_then_right_runs_nothing_again():
    world = World(task("weekly", "0 3 * * 0"), task("yearly", "0 0 1 1 *"))
    world.tick("2025-06-07T10:00:00Z")
    assert world.tick("2025-06-08T03:00:00Z") == ["weekly@2025-06-08T03:00:00Z"]
    world.finish("weekly", "2025-06-08T03:10:00Z")
    assert world.tick("1970-01-01T00:00:30Z") == []
    assert world.tick("2025-06-08T04:00:00Z") == []
    assert world.tick("2025-06-15T03:00:00Z") == ["weekly@2025-06-15T03:00:00Z"]


def test_who_only_settles_leaves_the_runs_of_other_configurations_alone():
    world = World(task("a", "0 2 * * *", retry_count=1), task("b", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    failed = sc.RunFact(kind="ended", result={"status": "failed", "ended_at": world.last_seen, "exit_code": 1})
    other = sc.build_config([("o.json", {"tasks": [task("b", "0 2 * * *")]})])
    facts = sc.Facts(boot_id="boot-1", zone_stamp="z", runs={"a": failed, "b": failed})
    settled = sc.decide(other, world.state, world.last_seen, facts, settle_only=True).state
    assert settled.tasks["a"].run is not None and settled.tasks["b"].run is None


def test_a_new_zone_of_the_system_is_not_lost_to_a_run_by_hand():
    world = World(task("a", "0 3 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    moved = sc.Facts(boot_id="boot-1", zone_stamp="moved")
    settled = sc.decide(world.config, world.state, at("2025-06-02T11:00:00Z"), moved, settle_only=True)
    assert settled.state.zone_stamp == "z", "the next tick has to see that the slots are to be computed anew"


def test_a_clock_set_back_by_an_hour_runs_no_fixed_slot_twice_and_keeps_wildcards_going():
    world = World(task("fixed", "30 2 * * *"), task("wild", "*/30 * * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:30:00Z")
    world.finish("fixed", "2025-06-03T02:31:00Z")
    world.finish("wild", "2025-06-03T02:32:00Z")
    started = []
    for minute in range(92, 152):
        started += world.tick("2025-06-03T0%d:%02d:00Z" % divmod(minute, 60))
        if started and "wild" in world.state.tasks and world.state.tasks["wild"].run:
            world.end("wild")
    assert started == ["wild@2025-06-03T02:00:00Z", "wild@2025-06-03T02:30:00Z"]
    assert world.tick("2025-06-04T02:30:00Z")[0] == "fixed@2025-06-04T02:30:00Z"


def test_a_clock_set_back_by_thirty_days_freezes_nothing():
    world = World(task("fixed", "30 2 * * *"), task("wild", "*/30 * * * *"))
    world.tick("2025-07-02T10:00:00Z")
    world.tick("2025-07-03T02:30:00Z")
    world.finish("fixed", "2025-07-03T02:31:00Z")
    world.finish("wild", "2025-07-03T02:32:00Z")
    assert world.tick("2025-06-03T02:00:00Z") == []
    assert any(note.startswith("WARNING fixed: the clock was set back") for note in world.decision.notes)
    assert world.tick("2025-06-03T02:30:00Z") == ["fixed@2025-06-03T02:30:00Z", "wild@2025-06-03T02:30:00Z"]


def test_a_success_from_before_the_correction_of_the_clock_meets_no_later_slot():
    world = World(task("a", "0 2 * * *"), task("b", "0 3 * * *", dependencies=["a"]))
    world.tick("2025-07-02T10:00:00Z")
    world.tick("2025-07-03T02:00:00Z")
    world.finish("a", "2025-07-03T02:10:00Z")
    world.tick("2025-06-03T12:00:00Z")
    world.tick("2025-06-04T02:00:00Z")
    assert world.tick("2025-06-04T03:00:00Z") == []


def test_a_correction_of_more_than_three_hours_counts_from_the_new_time():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("a", "2025-06-03T02:01:00Z")
    world.tick("2025-06-03T04:00:00Z")
    world.tick("2025-06-02T23:00:00Z")
    assert world.tick("2025-06-03T02:00:00Z") == ["a@2025-06-03T02:00:00Z"]


def test_a_retry_does_not_wait_for_the_old_time_to_come_round_again():
    world = World(task("a", "0 2 * * *", retry_count=1, retry_delay=60))
    world.tick("2025-07-02T10:00:00Z")
    world.tick("2025-07-03T02:00:00Z")
    world.finish("a", "2025-07-03T02:01:00Z", "failed")
    assert world.tick("2025-06-03T02:00:30Z") == ["a@2025-07-03T02:00:00Z"]


@pytest.mark.parametrize("zone, first, expected", [
    ("Europe/Paris", "2025-03-29T12:00:00Z", ["2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"]),
    ("Europe/Paris", "2025-10-25T12:00:00Z", ["2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"]),
    ("America/New_York", "2025-03-08T12:00:00Z", ["2025-03-09T07:00:00Z", "2025-03-10T06:30:00Z"]),
    ("America/New_York", "2025-11-01T12:00:00Z", ["2025-11-02T07:30:00Z", "2025-11-03T07:30:00Z"]),
    ("UTC", "2096-02-28T12:00:00Z", ["2096-02-29T02:30:00Z", "2096-03-01T02:30:00Z"]),
])
def test_a_nightly_task_runs_once_on_each_day_of_a_change(zone, first, expected):
    world = World(task("a", "30 2 * * *"), timezone=zone)
    now = at(first)
    world.tick(now)
    slots = []
    while now < at(first) + 2 * DAY:
        now += 60
        slots += [started[2:] for started in world.tick(now)]
        if world.state.tasks["a"].run:
            world.end("a", when=sc.iso(now))
    assert slots == expected


def test_the_hour_that_autumn_repeats_runs_a_wildcard_twice():
    world = World(task("a", "*/30 * * * *"), timezone="Europe/Paris")
    now = at("2025-10-25T23:45:00Z")
    world.tick(now)
    count = 0
    while now < at("2025-10-26T02:00:00Z"):
        now += 60
        count += len(world.tick(now))
        if world.state.tasks["a"].run:
            world.end("a", when=sc.iso(now))
    assert count == 5


def test_a_task_for_each_boot_runs_once_after_each():
    world = World(task("a", "@reboot"))
    assert world.tick("2025-06-02T10:00:00Z") == []
    world.boot, world.booted_at = "boot-2", at("2025-06-03T00:00:00Z")
    assert world.tick("2025-06-03T00:01:00Z") == ["a@2025-06-03T00:00:00Z"]
    world.finish("a", "2025-06-03T00:02:00Z")
    assert world.tick("2025-06-03T00:03:00Z") == []


# -- edits of the configuration while a cycle is open

def test_a_task_that_is_removed_while_it_waits_gets_a_verdict():
    world = World(*chain())
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:30:00Z")
    world.configure(task("scan", "0 2 * * *"))
    world.tick("2025-06-03T02:31:00Z")
    assert ("analyse", "skipped_removed", "2025-06-03T02:30:00Z") in world.said()
    assert "analyse" not in world.state.tasks


def test_a_task_that_is_disabled_between_retries_keeps_the_outcome_of_its_attempt():
    world = World(task("a", "0 2 * * *", retry_count=3))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("a", "2025-06-03T02:01:00Z", "failed")
    world.configure(task("a", "0 2 * * *", retry_count=3, enabled=False))
    world.tick("2025-06-03T02:02:00Z")
    assert world.said() == [("a", "failed", "2025-06-03T02:00:00Z")]


def test_a_removed_task_that_still_runs_is_recorded_when_it_ends():
    world = World(task("a", "0 2 * * *"), task("b", "0 4 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.configure(task("b", "0 4 * * *"))
    world.tick("2025-06-03T02:01:00Z")
    world.finish("a", "2025-06-03T02:02:00Z")
    assert world.said() == [("a", "success", "2025-06-03T02:00:00Z")]
    world.tick("2025-06-03T02:03:00Z")
    assert "a" not in world.state.tasks


def test_a_task_that_is_removed_while_it_runs_has_no_slots_from_then_on():
    world = World(task("a", "*/10 * * * *", overlap="queue"), task("b", "0 4 * * *"))
    world.tick("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:10:00Z")
    world.tick("2025-06-02T10:20:00Z")
    world.configure(task("b", "0 4 * * *"))
    world.tick("2025-06-02T10:21:00Z")
    assert world.said() == [("a", "skipped_removed", "2025-06-02T10:20:00Z")]
    assert world.decision.events == [{"event": "rested", "at": "2025-06-02T10:21:00Z", "tasks": {
        "a": {"reason": "removed", "since": "2025-06-02T10:21:00Z", "was": "*/10 * * * * UTC"}}}]
    world.tick("2025-06-02T10:45:00Z")
    assert not world.decision.changed and world.state.tasks["a"].run is not None
    world.finish("a", "2025-06-02T10:50:00Z")
    assert world.said()[1:] == [("a", "success", "2025-06-02T10:10:00Z")]
    assert world.decision.events == [] and "a" not in world.state.tasks


def test_a_task_that_comes_back_while_it_runs_counts_from_then():
    world = World(task("a", "*/10 * * * *"), task("b", "0 4 * * *"))
    world.tick("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:10:00Z")
    world.configure(task("b", "0 4 * * *"))
    world.tick("2025-06-02T10:11:00Z")
    world.configure(task("a", "*/10 * * * *"), task("b", "0 4 * * *"),
                    changed_at="2025-06-02T10:35:00Z")
    world.last_seen = at("2025-06-02T10:35:00Z")
    world.tick("2025-06-02T10:36:00Z")
    assert world.said() == []
    assert world.finish("a", "2025-06-02T10:38:00Z") == []
    assert world.tick("2025-06-02T10:40:00Z") == ["a@2025-06-02T10:40:00Z"]


def test_nothing_changes_while_nothing_happens():
    world = World(*chain())
    world.tick("2025-06-02T10:00:00Z")
    before = world.state
    world.tick("2025-06-02T10:01:00Z")
    assert not world.decision.changed
    assert world.decision.state is before
    assert world.decision.wake_at == at("2025-06-03T02:00:00Z")


def test_missing_dependencies_are_listed_in_the_order_to_run_them():
    world = World(*chain())
    world.tick("2025-06-02T10:00:00Z")
    clean = world.config.tasks["clean"]
    assert sc.missing_dependencies(world.config, world.state.tasks, clean, at("2025-06-02T11:00:00Z")) == [
        "scan", "analyse"]


def test_a_long_chain_is_no_deep_recursion():
    tasks = [task("t0", "0 2 * * *")]
    tasks += [task("t%d" % n, "0 2 * * *", dependencies=["t%d" % (n - 1)]) for n in range(1, 3000)]
    world = World(*tasks)
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-03T02:00:00Z") == ["t0@2025-06-03T02:00:00Z"]
    last = world.config.tasks["t2999"]
    assert len(sc.missing_dependencies(world.config, world.state.tasks, last, at("2025-06-03T02:00:00Z"))) == 2999


def test_a_task_may_depend_on_one_without_a_schedule_however_deep_the_web():
    tasks = [task("root", "0 2 * * *")]
    for level in range(200):
        below = ["a%d" % (level - 1), "b%d" % (level - 1)] if level else ["root"]
        tasks += [task("a%d" % level, dependencies=below), task("b%d" % level, dependencies=below)]
    world = World(*(tasks + [task("top", "0 3 * * *", dependencies=["a199", "b199"])]), max_concurrent_tasks=9)
    world.tick("2025-06-02T10:00:00Z")
    started = world.tick("2025-06-03T02:00:00Z")
    for _ in range(300):
        for text in started:
            world.end(text.split("@")[0], when="2025-06-03T02:10:00Z")
        started = world.tick("2025-06-03T02:10:00Z")
    assert world.tick("2025-06-03T03:00:00Z") == ["top@2025-06-03T03:00:00Z"]
    world.finish("top", "2025-06-03T03:01:00Z")
    assert world.tick("2025-06-04T03:00:00Z") == ["root@2025-06-04T02:00:00Z"], "yesterday's web does not count"


def test_the_state_survives_its_own_file_format():
    world = World(*chain())
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.tick("2025-06-03T02:30:00Z")
    assert sc.load_state(sc.dump_state(world.state).decode()) == world.state


def test_a_missed_slot_that_runs_although_a_newer_one_is_skipped_is_the_one_that_is_promised():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-06T10:00:00Z")
    now = at("2025-06-08T03:00:00Z")
    world.state, slot = sc.skip_slot(
        world.state, world.config.tasks["a"], world.last_seen, now, "me")
    assert sc.iso(slot) == "2025-06-08T02:00:00Z"
    assert promised(world, "2025-06-08T03:00:00Z") == {"a": "2025-06-07T02:00:00Z"}
    assert world.tick(now) == ["a@2025-06-07T02:00:00Z"]


# -- the parts of a decision, each by a table

NIGHT_2 = at("2025-06-03T02:00:00Z")
FROM_2_TO_4 = {"only_between": "02:00-04:00"}


def state_of(**fields):
    return sc.TaskState(**fields)


def tasks_of(*tasks, **settings):
    return World(*tasks, **settings).config


@pytest.mark.parametrize("pause, words", [
    ({"until": None, "reason": ""}, "paused since 2025-06-03T02:00:00Z until resumed"),
    ({"until": NIGHT_2 + 60, "reason": ""},
     "paused since 2025-06-03T02:00:00Z until 2025-06-03T02:01:00Z"),
    ({"until": None, "reason": "moving", "by": "joe"},
     "paused since 2025-06-03T02:00:00Z until resumed by joe (moving)"),
])
def test_a_pause_in_words(pause, words):
    assert sc.pause_words(dict(pause, since=NIGHT_2)) == words
    assert (sc.pause_scope("a"), sc.pause_scope(sc.ALL_TASKS)) == ("a", "all tasks")


@pytest.mark.parametrize("run, is_backfill", [
    ({"trigger": "manual", "slot": NIGHT_2 - 1}, True),
    ({"trigger": "manual", "slot": NIGHT_2}, False),
    ({"trigger": "manual", "slot": None}, False),
    ({"trigger": "schedule", "slot": NIGHT_2 - 1}, False),
])
def test_a_run_by_hand_for_a_slot_before_the_newest_is_a_backfill(run, is_backfill):
    assert sc.is_backfill(state_of(cursor=NIGHT_2), sc.Run(**run)) is is_backfill


@pytest.mark.parametrize("fields, is_told", [
    ({"ping_url": "https://example.org/p"}, True), ({}, False),
    ({"ping_url": "https://example.org/p", "condition": "true"}, False),
    ({"ping_url": "https://example.org/p", "skip_exit_codes": (3,)}, False),
])
def test_a_start_is_pinged_only_where_an_end_is(fields, is_told):
    assert bool(sc.pings_start(sc.Task(**fields))) is is_told


@pytest.mark.parametrize("status, is_failure", [
    (None, False), ("success", False), ("stopped", False), ("skipped_exit", False),
    ("skipped_late", False), ("failed", True), ("timeout", True), ("interrupted", True)])
def test_which_results_are_failures(status, is_failure):
    assert sc.is_failure(status) is is_failure


# A dependency with slots: d at 2:00 each night, which has to answer for the slot of t.
DEPENDENT = tasks_of(
    task("d", "0 2 * * *"), task("boot", "@reboot"), task("hand"), task("join", dependencies=["d"]),
    task("t", "0 3 * * *", dependencies=["d", "boot", "hand", "join"]))


@pytest.mark.parametrize("name, states, is_met", [
    ("d", {"d": state_of(satisfied_until=NIGHT_2)}, True),
    ("d", {"d": state_of(satisfied_until=NIGHT_2 + 1)}, True),
    ("d", {"d": state_of(satisfied_until=NIGHT_2 - 1)}, False),
    ("d", {"d": state_of()}, False),
    ("d", {}, False),                       # it was never seen
    ("gone", {"gone": state_of(satisfied_until=NIGHT_2)}, False),
    # since the machine started, at 2:00 by the cursor, which is never after the slot itself
    ("boot", {"boot": state_of(cursor=NIGHT_2, satisfied_until=NIGHT_2)}, True),
    ("boot", {"boot": state_of(cursor=NIGHT_2, satisfied_until=NIGHT_2 - 1)}, False),
    ("boot", {"boot": state_of(cursor=NIGHT_2 + 9000, satisfied_until=NIGHT_2 + 3600)}, True),
    ("boot", {"boot": state_of(cursor=NIGHT_2 + 9000, satisfied_until=NIGHT_2 + 3599)}, False),
    # by hand: newer than the one that t has used
    ("hand", {"hand": state_of(success_seq=1)}, True),
    ("hand", {"hand": state_of(success_seq=0)}, False),
    ("hand", {"hand": state_of(success_seq=7), "t": state_of(consumed={"hand": 7})}, False),
    ("hand", {"hand": state_of(success_seq=8), "t": state_of(consumed={"hand": 7})}, True),
    # after others: newer than theirs, and theirs in time
    ("join", {"join": state_of(success_seq=8), "d": state_of(success_seq=7, satisfied_until=NIGHT_2)}, True),
    ("join", {"join": state_of(success_seq=7), "d": state_of(success_seq=7, satisfied_until=NIGHT_2)}, False),
    ("join", {"join": state_of(success_seq=8), "d": state_of(success_seq=7, satisfied_until=NIGHT_2 - 1)}, False),
    ("join", {"join": state_of(success_seq=8)}, False),
    # what t has used itself of a task behind another one is another matter
    ("join", {"join": state_of(success_seq=8), "d": state_of(success_seq=7, satisfied_until=NIGHT_2),
              "t": state_of(consumed={"join": 9})}, True),
])
def test_when_a_dependency_is_met(name, states, is_met):
    slot = at("2025-06-03T03:00:00Z")
    assert sc.is_met(DEPENDENT, states, "t", name, slot) is is_met


def test_a_task_by_hand_behind_a_join_is_asked_for_by_the_join_alone():
    config = tasks_of(task("hand"), task("join", dependencies=["hand"]),
                      task("t", "0 3 * * *", dependencies=["join", "hand"]))
    states = {"hand": state_of(success_seq=1), "join": state_of(success_seq=2),
              "t": state_of(consumed={"hand": 1})}
    assert sc.is_met(config, states, "t", "join", NIGHT_2)
    assert not sc.is_met(config, states, "t", "hand", NIGHT_2)
    assert sc.first_unmet(config, states, config.tasks["t"], NIGHT_2) == "hand"
    assert sc.first_unmet(config, {}, config.tasks["t"], NIGHT_2) == "join"
    assert sc.first_unmet(config, {}, config.tasks["hand"], NIGHT_2) == ""


DIAMOND = tasks_of(
    task("top", "0 2 * * *"), task("left", "0 2 * * *", dependencies=["top"]),
    task("right", "0 2 * * *", dependencies=["top"]),
    task("end", "0 3 * * *", dependencies=["left", "right"]))


@pytest.mark.parametrize("met, missing", [
    ((), ["top", "left", "right"]),
    (("top",), ["left", "right"]),
    (("top", "left"), ["right"]),
    (("left",), ["top", "right"]),
    (("left", "right"), []),
])
def test_what_has_to_run_before_comes_once_and_in_order(met, missing):
    states = {name: state_of(satisfied_until=NIGHT_2) for name in met}
    end = DIAMOND.tasks["end"]
    assert sc.missing_dependencies(DIAMOND, states, end, NIGHT_2 + 3600) == missing


@pytest.mark.parametrize("invalid, text", [
    ({"d": "no command"}, "dependencies: 'd' is invalid: no command"),
    ({}, "dependencies: 'd' is invalid: unknown")])
def test_what_an_invalid_dependency_needs_is_refused_with_its_reason(invalid, text):
    waiter = sc.Task(name="t", dependencies=("d",), place="tasks[1] 't'")
    with pytest.raises(sc.ConfigError) as caught:
        sc.missing_dependencies(sc.Config(tasks={"t": waiter}, invalid=invalid), {}, waiter, NIGHT_2)
    problem, = caught.value.problems
    assert (problem.place, problem.text) == ("tasks[1] 't'", text)


@pytest.mark.parametrize("names, ordered", [
    (["end", "left", "right", "top"], ["top", "left", "right", "end"]),
    (["end", "top"], ["top", "end"]), (["right", "left"], ["right", "left"]),
    (["end"], ["end"]), ([], [])])
def test_tasks_are_ordered_by_what_they_depend_on_be_it_through_others(names, ordered):
    assert sc.in_dependency_order(DIAMOND, names) == ordered


def test_a_dependency_that_is_not_in_the_configuration_orders_nothing():
    config = sc.Config(tasks={"a": sc.Task(name="a", dependencies=("gone", "b")), "b": sc.Task(name="b")})
    assert sc.in_dependency_order(config, ["a", "b"]) == ["b", "a"]


def test_the_successes_of_dependencies_are_those_that_there_are():
    states = {"left": state_of(success_seq=4), "right": state_of(), "top": state_of(success_seq=9)}
    assert sc.successes(states, DIAMOND.tasks["end"]) == {"left": 4}


# -- why a task has no success

def waiting_state(on, slot=NIGHT_2, **more):
    return state_of(schedule_key="k", cycle=sc.Cycle(slot=slot, phase="waiting", waiting_for=on), **more)


ROOTS = tasks_of(
    task("a", "0 2 * * *"), task("b", "0 2 * * *", dependencies=["a"]),
    task("j", dependencies=["a"]), task("off_j", dependencies=["a"], enabled=False),
    task("c", "0 3 * * *", dependencies=["b", "j", "off_j"]))
JOIN = state_of(schedule_key="none")


@pytest.mark.parametrize("name, states, root", [
    ("a", {}, "a"),
    ("b", {"b": waiting_state("a", NIGHT_2 - 60)}, ("a", NIGHT_2 - 60)),
    ("b", {"b": state_of(skipped={"dependency": "a"})}, "a"),
    ("b", {"b": state_of(skipped={"dependency": ""})}, "b"),
    # it runs, or is about to: what became of its last slot is no cause any more
    ("b", {"b": state_of(skipped={"dependency": "a"}, run=sc.Run())}, "b"),
    ("b", {"b": state_of(skipped={"dependency": "a"}, cycle=sc.Cycle(phase="queued"))}, "b"),
    # a task without a schedule waits for what it depends on; one with a schedule has its own slots
    ("j", {"j": JOIN}, "a"),
    ("j", {"j": JOIN, "a": state_of(satisfied_until=NIGHT_2 + 3600)}, "j"),
    ("j", {"j": state_of()}, "j"),
    ("off_j", {"off_j": JOIN}, "off_j"),
    ("b", {"b": state_of(schedule_key="k")}, "b"),
    ("gone", {}, "gone"),
    ("b", {"b": waiting_state("gone")}, ("gone", NIGHT_2)),
    # each waits for the other: nobody does
    ("b", {"b": waiting_state("c"), "c": waiting_state("b")}, ("b", NIGHT_2)),
])
def test_the_root_cause_of_a_wait(name, states, root):
    slot = NIGHT_2 + 3600
    expected = (root, slot) if isinstance(root, str) else root
    assert sc.root_cause(ROOTS, states, name, slot) == expected


def test_an_answer_on_a_root_cause_is_kept_for_those_that_wait():
    roots = {}
    states = {"b": waiting_state("a", NIGHT_2 - 60), "c": waiting_state("b")}
    assert sc.root_cause(ROOTS, states, "c", NIGHT_2, roots) == ("a", NIGHT_2 - 60)
    assert roots == {"b": ("a", NIGHT_2 - 60), "c": ("a", NIGHT_2 - 60)}
    assert sc.root_cause(ROOTS, {}, "c", NIGHT_2, {"c": ("kept", 7)}) == ("kept", 7)
    empty = {}
    assert sc.root_cause(ROOTS, {}, "a", NIGHT_2, empty) == ("a", NIGHT_2) and empty == {}


FAILED_AT = {"status": "failed", "exit_code": 3, "ended_at": "2025-06-03T01:00:00Z"}
TIMED_OUT_AT = {"status": "timeout", "exit_code": 124, "ended_at": "2025-06-03T01:30:00Z"}
RETRYING = sc.Cycle(phase="retrying", retry_at=NIGHT_2 + 60, attempt=2)
WHY = tasks_of(
    task("a", "0 2 * * *"), task("off", "0 2 * * *", enabled=False), task("hand"),
    task("boot", "@reboot"), task("w", "0 2 * * *", **FROM_2_TO_4))


@pytest.mark.parametrize("name, state, words", [
    ("a", {}, "has not succeeded for its slot 2025-06-03T02:00:00Z"),
    ("hand", {}, "has not succeeded since the last run"),
    ("boot", {"cursor": NIGHT_2 - 7, "schedule_key": "k"},
     "has not succeeded for its slot 2025-06-03T01:59:53Z"),
    ("gone", {}, "is invalid: not in the configuration"),
    ("a", {"last": FAILED_AT}, "failed (exit 3) at 2025-06-03T01:00:00Z"),
    ("a", {"last": {"status": "success", "exit_code": 0}},
     "has not succeeded for its slot 2025-06-03T02:00:00Z"),
    # it goes again
    ("a", {"run": sc.Run()}, "is running"),
    ("a", {"run": sc.Run(), "last": FAILED_AT}, "failed (exit 3) at 2025-06-03T01:00:00Z; running again"),
    ("a", {"cycle": sc.Cycle(phase="queued", since=NIGHT_2 - 60)}, "is queued"),
    ("a", {"cycle": sc.Cycle(phase="queued"), "last": FAILED_AT},
     "failed (exit 3) at 2025-06-03T01:00:00Z; queued again"),
    ("w", {"cycle": sc.Cycle(phase="queued", since=NIGHT_2 - 60)}, "is queued (only_between 02:00-04:00)"),
    ("w", {"cycle": sc.Cycle(phase="queued", since=NIGHT_2)}, "is queued"),
    ("w", {"cycle": sc.Cycle(phase="running", since=NIGHT_2 - 60), "run": sc.Run()}, "is running"),
    # its retry is to come: of the attempts of this slot the last is told
    ("a", {"cycle": sc.Cycle(phase="waiting"), "last": FAILED_AT}, "failed (exit 3) at 2025-06-03T01:00:00Z"),
    ("a", {"cycle": RETRYING, "last": FAILED_AT},
     "failed (exit 3) at 2025-06-03T01:00:00Z; retry due at 2025-06-03T02:01:00Z"),
    ("a", {"cycle": RETRYING.replace(attempts=[FAILED_AT, TIMED_OUT_AT]), "last": FAILED_AT},
     "timed out at 2025-06-03T01:30:00Z; retry due at 2025-06-03T02:01:00Z"),
    ("w", {"cycle": RETRYING.replace(attempts=[TIMED_OUT_AT], retry_at=NIGHT_2 - 60)},
     "timed out at 2025-06-03T01:30:00Z; retry due at 2025-06-03T02:00:00Z (only_between 02:00-04:00)"),
    # what keeps it from going
    ("off", {"last": FAILED_AT}, "is disabled"),
    ("a", {"schedule_key": "", "cursor": 5, "last": FAILED_AT}, "is paused"),
    ("a", {"schedule_key": "k", "cursor": 5, "last": FAILED_AT}, "failed (exit 3) at 2025-06-03T01:00:00Z"),
    # what became of its slot
    ("a", {"skipped": {"status": "skipped_manual", "scheduled_for": "S"}, "last": FAILED_AT},
     "was skipped by hand at its slot S"),
    ("a", {"skipped": {"status": "stopped", "scheduled_for": "S"}}, "was stopped at its slot S"),
    ("a", {"skipped": {"status": "skipped_overlap", "scheduled_for": "S"}},
     "was skipped (overlap) at its slot S"),
])
def test_why_a_task_has_no_success(name, state, words):
    assert sc.explain_unmet(WHY, {name: state_of(**state)}, name, NIGHT_2 + 60) == "'%s' %s" % (name, words)


def test_an_invalid_task_has_no_success_for_the_reason_that_makes_it_invalid():
    config = sc.Config(invalid={"a": "no command"})
    assert sc.explain_unmet(config, {}, "a", NIGHT_2) == "'a' is invalid: no command"


@pytest.mark.parametrize("name, state, is_chosen", [
    ("a", {"skipped": {"status": "skipped_manual"}}, True),
    ("a", {"skipped": {"status": "stopped"}}, True),
    ("a", {"skipped": {"status": "skipped_exit"}, "last": {"status": "skipped_exit"}}, True),
    ("a", {"skipped": {"status": "skipped_late"}}, False),
    ("a", {}, False),
    ("a", {"skipped": {"status": "stopped"}, "failing_since": 5.0}, False),
    ("a", {"skipped": {"status": "stopped"}, "last": {"status": "failed"}}, False),
    ("a", {"skipped": {"status": "stopped"}, "schedule_key": ""}, False),  # it is paused
    ("off", {"skipped": {"status": "stopped"}}, False),
    ("gone", {"skipped": {"status": "stopped"}}, False),
])
def test_whether_a_slot_has_no_success_by_choice(name, state, is_chosen):
    known = state_of(**dict({"schedule_key": "k"}, **state))
    assert sc.is_skip_chosen(WHY.tasks.get(name), known) is is_chosen


@pytest.mark.parametrize("state, standing", [
    ({}, "idle"), ({"run": sc.Run()}, "running"), ({"cycle": sc.Cycle(phase="waiting")}, "waiting"),
    ({"cycle": sc.Cycle(phase="queued"), "run": sc.Run(trigger="manual")}, "running"),
    ({"cycle": sc.Cycle(phase="retrying")}, "retrying")])
def test_how_a_task_stands(state, standing):
    assert sc.task_standing(state_of(**state)) == standing


@pytest.mark.parametrize("result, words", [
    ({"status": "success", "exit_code": 0}, "succeeded"),
    ({"status": "success", "exit_code": 4}, "succeeded (exit 4)"),
    ({"status": "failed", "exit_code": 3}, "failed (exit 3)"),
    ({"status": "failed", "exit_code": 0}, "failed (exit 0)"),
    ({"status": "timeout", "exit_code": 124}, "timed out"),
    ({"status": "interrupted", "exit_code": None}, "was interrupted"),
    ({"status": "stopped", "exit_code": 143}, "was stopped"),
    ({"status": "skipped_exit", "exit_code": 75}, "was skipped (exit 75)"),
    ({"status": "skipped_not_on", "exit_code": None}, "was skipped not on")])
def test_what_became_of_a_run_in_words(result, words):
    assert sc.outcome_text(result) == words


# -- what may start, and what it waits for

@pytest.mark.parametrize("at_s, start, words", [
    (-1, 0, " (only_between 02:00-04:00)"), (0, 0, ""), (7199, 7199, ""),
    (7200, DAY, " (only_between 02:00-04:00)")])
def test_a_start_is_put_off_to_when_the_window_opens(at_s, start, words):
    windowed, now = WHY.tasks["w"], NIGHT_2 + at_s
    assert sc.start_time(windowed, now) == NIGHT_2 + start
    assert sc.window_words(windowed, now) == words
    for other in (None, WHY.tasks["a"]):
        assert (sc.start_time(other, now), sc.window_words(other, now)) == (now, "")


def test_a_retry_is_said_to_start_with_a_tick_and_in_the_window():
    cycle = sc.Cycle(phase="retrying", retry_at=NIGHT_2 - 60)
    assert sc.retry_text(cycle, WHY.tasks["a"]) == "at the first tick after 2025-06-03T01:59:00Z"
    assert sc.retry_text(cycle, WHY.tasks["w"]) == (
        "at the first tick after 2025-06-03T02:00:00Z (only_between 02:00-04:00)")


LOCKING = tasks_of(
    task("a", "0 2 * * *", locks=["x", "y"]), task("b", "0 2 * * *", locks=["y"]),
    task("c", "0 2 * * *", locks=["z"]), task("free", "0 2 * * *"))


def test_a_run_holds_the_locks_that_it_started_with_and_those_of_its_task():
    states = {"a": state_of(run=sc.Run(locks=["old"])), "b": state_of(),
              "gone": state_of(run=sc.Run(locks=["w"])), "c": state_of(run=sc.Run())}
    assert sc.locks_held(LOCKING, states, ["a", "b", "gone"]) == {
        "old": "a", "x": "a", "y": "a", "w": "gone"}


@pytest.mark.parametrize("name, held, claimed, reason", [
    ("a", {}, {}, ""), ("free", {"x": "c"}, {"y": "c"}, ""),
    ("a", {"y": "c"}, {}, "lock 'y' is held by 'c'"),
    ("a", {"x": "b", "y": "c"}, {}, "lock 'x' is held by 'b'"),
    ("a", {"y": "a"}, {"x": "a"}, ""),  # its own
    ("a", {"z": "c"}, {"z": "c"}, ""),
    ("a", {}, {"y": "b"}, "lock 'y' goes to 'b' first"),
    ("a", {"y": "c"}, {"x": "b"}, "lock 'y' is held by 'c'"),
])
def test_why_a_task_cannot_have_its_locks(name, held, claimed, reason):
    assert sc.lock_reason(LOCKING.tasks[name], held, claimed) == reason


@pytest.mark.parametrize("phase, retry_in_s, attempt, is_ready", [
    ("queued", 0, 1, True), ("waiting", 0, 1, False), ("running", 0, 1, False),
    ("retrying", 0, 2, True), ("retrying", -1, 2, True), ("retrying", 1, 2, False),
    # the clock was set back: no longer than its own delay, 100 s and then 200 s
    ("retrying", 100, 2, False), ("retrying", 101, 2, True),
    ("retrying", 200, 3, False), ("retrying", 201, 3, True)])
def test_when_a_cycle_is_ready(phase, retry_in_s, attempt, is_ready):
    each = sc.Task(retry_delay=100, retry_backoff=2)
    cycle = sc.Cycle(phase=phase, retry_at=NIGHT_2 + retry_in_s, attempt=attempt)
    assert sc.is_ready(each, cycle, NIGHT_2) is is_ready


def queued(slot=NIGHT_2, **more):
    return state_of(cycle=sc.Cycle(**dict({"slot": slot, "phase": "queued", "since": slot}, **more)))


def test_what_is_ready_stands_by_slot_and_configuration_and_runs_by_hand_take_no_place():
    config = tasks_of(*[task(name, "0 2 * * *") for name in "abcdefg"], max_concurrent_tasks=4)
    states = {
        "g": queued(), "f": queued(NIGHT_2 - 60), "e": queued(),
        "d": state_of(run=sc.Run(), cycle=sc.Cycle(phase="running")),
        "c": queued(phase="waiting"), "b": state_of(),
        "a": queued().replace(run=sc.Run(trigger="manual")), "gone": queued()}
    ready, free = sc.ready_cycles(config, states, states, NIGHT_2)
    assert [(slot, each.name) for slot, _, each, _ in ready] == [
        (NIGHT_2 - 60, "f"), (NIGHT_2, "e"), (NIGHT_2, "g")]
    assert free == 3
    assert sc.ready_cycles(config, states, ["g"], NIGHT_2)[1] == 4


def test_each_that_is_ready_waits_for_a_lock_its_turn_or_the_next_tick():
    config = tasks_of(
        task("run", "0 2 * * *", locks=["z"]), task("a", "0 2 * * *", locks=["x"]),
        task("b", "0 2 * * *", locks=["x", "y"]), task("c", "0 2 * * *", locks=["y"]),
        task("d", "0 2 * * *", locks=["z"]), task("e", "0 2 * * *"), task("f", "0 2 * * *"),
        task("w", "0 2 * * *", locks=["x"], only_between="05:00-06:00"), max_concurrent_tasks=3)
    states = {name: queued(NIGHT_2 - (name == "w")) for name in "wabcdef"}
    states["run"] = state_of(run=sc.Run(locks=["z"]))
    assert sc.queue_reasons(config, states, NIGHT_2) == {
        "a": "the next tick starts it", "b": "lock 'x' goes to 'a' first",
        "c": "lock 'y' goes to 'b' first", "d": "lock 'z' is held by 'run'",
        "e": "the next tick starts it", "f": "max_concurrent_tasks reached"}


QUEUES = tasks_of(task("a", "0 2 * * *", retry_count=3, retry_delay=60),
                  task("w", "0 2 * * *", retry_count=3, retry_delay=60, **FROM_2_TO_4))


@pytest.mark.parametrize("name, cycle, run, now_s, queue, attempt", [
    ("a", {}, None, 5, "since 2025-06-03T02:00:00Z (the next tick starts it)", "attempt 1 of 4 is queued"),
    ("a", {}, sc.Run(trigger="manual"), 5, "since 2025-06-03T02:00:00Z (a run by hand is still going)",
     "attempt 1 of 4 is queued"),
    ("a", {"phase": "retrying", "attempt": 2, "retry_at": NIGHT_2 + 3}, None, 5,
     "since 2025-06-03T02:00:03Z (the next tick starts it)",
     "attempt 2 of 4: waiting since 2025-06-03T02:00:03Z (the next tick starts it)"),
    # the clock was set back: it is ready, and not since a time to come
    ("a", {"phase": "retrying", "attempt": 2, "retry_at": NIGHT_2 + 900}, None, 5,
     "since 2025-06-03T02:00:05Z (the next tick starts it)",
     "attempt 2 of 4: waiting since 2025-06-03T02:00:05Z (the next tick starts it)"),
    ("w", {"phase": "retrying", "attempt": 3, "retry_at": NIGHT_2 + 7210}, None, 7220,
     "since 2025-06-03T04:00:10Z until 2025-06-04T02:00:00Z (only_between 02:00-04:00)",
     "attempt 3 of 4: waiting since 2025-06-03T04:00:10Z until 2025-06-04T02:00:00Z "
     "(only_between 02:00-04:00)"),
])
def test_since_when_and_for_what_a_task_waits(name, cycle, run, now_s, queue, attempt):
    states = {name: queued(**cycle).replace(run=run)}
    each, now = QUEUES.tasks[name], NIGHT_2 + now_s
    assert sc.queue_text(QUEUES, states, each, now) == queue
    assert sc.attempt_text(QUEUES, states, each, now) == attempt


def test_a_retry_that_is_to_come_says_when():
    states = {"a": queued(phase="retrying", attempt=2, retry_at=NIGHT_2 + 50)}
    assert sc.attempt_text(QUEUES, states, QUEUES.tasks["a"], NIGHT_2) == (
        "attempt 2 of 4 starts at the first tick after 2025-06-03T02:00:50Z")


def test_reasons_that_are_known_are_not_sought_again():
    states = {"a": queued()}
    for text in (sc.queue_text, sc.attempt_text):
        assert "nothing" not in text(QUEUES, states, QUEUES.tasks["a"], NIGHT_2)
    assert sc.queue_text(QUEUES, states, QUEUES.tasks["a"], NIGHT_2, {"a": "as told"}) == (
        "since 2025-06-03T02:00:00Z (as told)")
    states = {"a": queued(phase="retrying", attempt=2, retry_at=NIGHT_2)}
    assert sc.attempt_text(QUEUES, states, QUEUES.tasks["a"], NIGHT_2, {"a": "as told"}) == (
        "attempt 2 of 4: waiting since 2025-06-03T02:00:00Z (as told)")


# -- slots to come

EDITED = sc.Task(name="a", schedule=sc.schedule_of("0 2 * * *", "a"), timezone="UTC")
SAME_ZONE, OTHER_ZONE = "0 9 * * * UTC", "0 2 * * * Europe/Paris"


@pytest.mark.parametrize("key, changed_s, zone_s, looked_s, tick_s, resumed_s, cursor_s, since_s", [
    ("", -100, None, -600, -300, None, None, -100),
    ("", -400, None, -600, -300, None, None, -300),   # not before the last tick
    ("", -400, None, -200, -300, None, None, -200),   # nor before the last decision
    ("", 5, None, -600, -300, None, None, 0),         # nor after now
    ("", None, None, -600, -300, None, None, 0),      # nobody knows when: now
    ("", None, None, -600, -300, -50, None, -50),     # since its pause ended
    ("", -100, None, -600, -300, -50, None, -50),
    ("", -20, None, -600, -300, -50, None, -20),
    ("", -100, None, -600, -300, None, -10, -10),     # not before what was decided
    ("", -100, None, -600, -300, None, 10, 0),
    ("", -100, None, -600, 0, None, None, 0),
    ("", -30, None, 1, 1, None, None, -30),           # the clock was set back
    ("", -90, None, 1, 1, None, None, -60),
    ("", -30, None, 0.5, 0.5, None, None, 0),
    # another schedule in the same zone counts from its file, one in another zone from what says so
    (SAME_ZONE, -100, -20, -600, -300, None, None, -100),
    (OTHER_ZONE, -100, -20, -600, -300, None, None, -20),
    (OTHER_ZONE, -100, None, -600, -300, None, None, 0),
    ("none", -100, -20, -600, -300, None, None, -100),
])
def test_since_when_the_slots_of_another_schedule_count(
        key, changed_s, zone_s, looked_s, tick_s, resumed_s, cursor_s, since_s):
    def time_of(seconds, otherwise=None):
        return otherwise if seconds is None else NIGHT_2 + seconds

    each = EDITED.replace(changed_at=time_of(changed_s), zone_changed_at=time_of(zone_s))
    known = state_of(schedule_key=key, cursor=time_of(cursor_s, 0))
    state = sc.State(last_now=NIGHT_2 + looked_s, tasks={"a": known})
    since = sc.counts_from(each, state, NIGHT_2 + tick_s, NIGHT_2 + 0.5, time_of(resumed_s, 0.0))
    assert since == NIGHT_2 + since_s


def test_without_a_memory_slots_count_from_now_and_in_whole_seconds():
    each = EDITED.replace(changed_at=NIGHT_2 - 100.0)
    assert sc.counts_from(each, sc.State(), NIGHT_2 - 300.0, NIGHT_2 + 0.5) == NIGHT_2
    state = sc.State(last_now=NIGHT_2 - 600.0)
    assert sc.counts_from(EDITED.replace(changed_at=NIGHT_2 - 9.5), state, 0.0, NIGHT_2) == NIGHT_2 - 10
    zoneless = sc.Task(name="a", schedule=EDITED.schedule, changed_at=NIGHT_2 - 9.0, zone_changed_at=NIGHT_2 - 3.0)
    state = state.replace(tasks={"a": state_of(schedule_key="0 9 * * * ")})
    assert sc.counts_from(zoneless, state, 0.0, NIGHT_2) == NIGHT_2 - 9


def pause_until(until):
    return {"since": NIGHT_2 - DAY, "until": until, "reason": ""}


SLOTS = tasks_of(task("a", "0 2 * * *"), task("off", "0 2 * * *", enabled=False), task("hand"),
                 changed_at=NIGHT_2 - 3600)
KEY = SLOTS.tasks["a"].schedule_key


@pytest.mark.parametrize("name, state, pauses, slot_s", [
    ("hand", {}, {}, None), ("off", {"schedule_key": KEY, "next_slot": NIGHT_2}, {}, None),
    ("a", {"schedule_key": KEY, "next_slot": NIGHT_2 - DAY}, {}, -DAY),  # it is due
    ("a", {"schedule_key": KEY, "next_slot": None}, {}, None),
    ("a", {"schedule_key": "0 9 * * * UTC", "next_slot": NIGHT_2 - 9}, {}, 0),
    ("a", {"schedule_key": KEY, "next_slot": NIGHT_2}, {"a": pause_until(None)}, None),
    ("a", {"schedule_key": KEY, "next_slot": NIGHT_2}, {sc.ALL_TASKS: pause_until(None)}, None),
    ("a", {"schedule_key": KEY, "next_slot": NIGHT_2}, {"b": pause_until(None)}, 0),
    ("a", {"schedule_key": KEY, "next_slot": NIGHT_2}, {"a": pause_until(NIGHT_2 + 60)}, DAY),
    ("a", {}, {"a": pause_until(NIGHT_2 + 60), sc.ALL_TASKS: pause_until(NIGHT_2 + DAY + 60)}, 2 * DAY),
    ("a", {}, {"a": pause_until(NIGHT_2 + DAY + 60), sc.ALL_TASKS: pause_until(NIGHT_2 + 60)}, 2 * DAY),
    # it is over: what came since then is due
    ("a", {}, {"a": pause_until(NIGHT_2 - 1)}, 0),
    ("a", {}, {"a": pause_until(NIGHT_2)}, DAY),
    ("a", {"schedule_key": KEY, "next_slot": NIGHT_2}, {"a": pause_until(NIGHT_2 + 30)}, 0),
])
def test_the_first_slot_that_no_tick_has_decided(name, state, pauses, slot_s):
    whole = sc.State(last_now=NIGHT_2 - 7200.0, tasks={name: state_of(**state)}, pauses=pauses)
    slot = sc.undecided_slot(SLOTS.tasks[name], whole, NIGHT_2 - 3660.0, NIGHT_2 + 30)
    assert slot == (None if slot_s is None else NIGHT_2 + slot_s)


OFF_ON_TUESDAY = tasks_of(task("a", "0 2 * * *", not_on=["tue"]), task("b", "0 2 * * *"), task("hand"))


@pytest.mark.parametrize("name, next_s, skips_s, now_s, slot_s", [
    ("b", 0, (), -60, 0), ("b", 0, (), 0, 0), ("b", 0, (), 60, 0),
    ("b", -3 * DAY, (), 60, 0), ("b", -3 * DAY, (), -60, -DAY),  # the newest of those that are due
    # by hand, the newest is skipped: of those that are due the one before it, else the one after
    ("b", -3 * DAY, (0,), 60, -DAY), ("b", 0, (0,), 60, DAY), ("b", 0, (0,), -60, DAY),
    ("b", 0, (0, DAY), -60, 2 * DAY), ("b", 0, (DAY,), 60, 0), ("b", -DAY, (0, -DAY), 60, DAY),
    # June 3rd is a Tuesday
    ("a", 0, (), -60, DAY), ("a", 0, (), 60, DAY), ("a", -DAY, (), 60, -DAY),
    ("a", 0, (DAY,), 60, 2 * DAY), ("hand", None, (), 60, None), ("b", None, (), 60, None)])
def test_the_slot_that_runs_next(name, next_s, skips_s, now_s, slot_s):
    each = OFF_ON_TUESDAY.tasks[name]
    known = state_of(schedule_key=each.schedule_key, cursor=NIGHT_2 - 4 * DAY,
                     next_slot=None if next_s is None else NIGHT_2 + next_s,
                     skips={sc.iso(NIGHT_2 + skip): "me" for skip in skips_s})
    state = sc.State(last_now=NIGHT_2 - 4 * DAY, tasks={name: known})
    slot = sc.coming_slot(each, state, NIGHT_2 - 60.0, NIGHT_2 + now_s)
    assert slot == (None if slot_s is None else NIGHT_2 + slot_s)


@pytest.mark.parametrize("first_s, newest_s, skipped_s, slot_s", [
    (0, 0, (), 0), (-DAY, 0, (0,), -DAY), (0, 0, (0,), None), (-DAY, 0, (0, -DAY), None),
    (-DAY, 60, (), 0), (1, 60, (), None)])
def test_of_the_slots_that_have_come_the_newest_runs_that_is_not_skipped(first_s, newest_s, skipped_s, slot_s):
    slot = sc.slot_to_run(OFF_ON_TUESDAY.tasks["b"], NIGHT_2 + first_s, NIGHT_2 + newest_s,
                          {NIGHT_2 + skip for skip in skipped_s})
    assert slot == (None if slot_s is None else NIGHT_2 + slot_s)


def test_the_last_of_the_slots_that_are_skipped_is_given_back():
    each = OFF_ON_TUESDAY.tasks["b"]
    skips = {sc.iso(NIGHT_2 + after): "me" for after in (0, DAY, DAY + 60)}  # the last is no slot any more
    state, slot = sc.undo_skip(sc.State(seq=5, tasks={"b": state_of(skips=skips, cursor=7)}), each)
    assert slot == NIGHT_2 + DAY
    assert state == sc.State(seq=5, tasks={"b": state_of(
        cursor=7, skips={sc.iso(NIGHT_2): "me", sc.iso(NIGHT_2 + DAY + 60): "me"})})
    assert sc.undo_skip(sc.State(), each) == (sc.State(), None)


@pytest.mark.parametrize("before, after, is_other", [
    ("a,1 v1", "b,1 v1", True), ("a,1 v1", "a,1 v2", False), ("", "b,1 v", False),
    ("a,1 v", "b v", False), ("a v", "b v", True), ("a v", "a v", False)])
def test_another_zone_is_told_by_two_stamps_of_one_version(before, after, is_other):
    assert sc.is_other_zone(before, after) is is_other


@pytest.mark.parametrize("before, after, length_s, cause", [
    (("b", 0.0, 0.0), ("b", 0.0, 1800.0), 3600, "suspend"),
    (("b", 0.0, 0.0), ("b", 1799.0, 1799.0), 3600, "cron"),
    (("b", 0.0, 0.0), ("b", 2800.0, 1000.0), 3600, "clock"),
    (("b", 0.0, 0.0), ("b", 2799.0, 1000.0), 3600, "cron"),
    (("b", 500.0, 100.0), ("b", 2300.0, 100.0), 3600, "clock"),
    (("b", 500.0, None), ("b", 2299.0, None), 3600, "cron"),
    (("b", 500.0, None), ("b", 2300.0, None), 3600, ""),
    (("b", 0.0, None), ("b", -1800.0, None), 3600, ""),
    (("b", 0.0, None), ("b", 2000.0, 0.0), 3600, ""),
    (("b", 0.0, 0.0), ("c", 0.0, 1800.0), 3600, "reboot"),  # whatever the clocks say, the boot is another
])
def test_a_gap_has_the_cause_that_covers_half_of_it(before, after, length_s, cause):
    def evidence(boot_id, clock_offset, suspended):
        return sc.Evidence(boot_id=boot_id, clock_offset=clock_offset, suspended=suspended)

    assert sc.gap_cause(evidence(*before), evidence(*after), length_s) == cause


def test_a_run_by_hand_uses_the_successes_that_it_depends_on():
    config = tasks_of(task("a"), task("b"), task("t", dependencies=["a", "b"], locks=["x"]))
    states = {"a": state_of(success_seq=4), "t": state_of(consumed={"a": 1, "b": 2}, cursor=9)}
    state, run = sc.begin_manual(sc.State(runs_started=6, tasks=states), config.tasks["t"], NIGHT_2 + 0.5, NIGHT_2)
    assert run == sc.Run(run_id="20250603T020000Z-7", trigger="manual", slot=NIGHT_2,
                         started_at=NIGHT_2 + 0.5, locks=["x"])
    assert state.tasks["t"] == state_of(consumed={"a": 4, "b": 2}, cursor=9, run=run)
    assert (state.runs_started, state.tasks["a"]) == (7, states["a"])
    state, run = sc.begin_manual(sc.State(), config.tasks["a"], NIGHT_2)
    assert run.slot is None and state.tasks["a"].run == run


def test_what_metrics_count_is_kept_of_tasks_that_have_it():
    tasks = {"a": state_of(last_success=5.0, cursor=8), "b": state_of(totals={"failed": 2}, cursor=8),
             "c": state_of(cursor=8)}
    assert sc.counters_of(sc.State(tasks=tasks)) == {
        "a": state_of(last_success=5.0), "b": state_of(totals={"failed": 2})}


# -- one decision about a state that is given

KNOWN = {"zone_stamp": "z", "last_now": NIGHT_2 - 60.0}


def known(config, name, **fields):
    """What a tick of 1:59 left of a task with a slot at 2:00, all else being as it is by default."""
    return state_of(**dict({"schedule_key": config.tasks[name].schedule_key, "cursor": NIGHT_2 - DAY,
                            "next_slot": NIGHT_2, "boot_id": "b"}, **fields))


def decided(config, states, now=NIGHT_2, facts=None, settle_only=False, **state):
    """The decision at `now`, from a look at every task."""
    facts = sc.Facts(**dict({"boot_id": "b", "zone_stamp": "z"}, **(facts or {})))
    whole = sc.State(**dict(KNOWN, tasks=states, **state))
    return sc.decide(config, whole, now, facts, whole.last_now, settle_only)


def going(config, name="a", attempt=1, run=None, **cycle):
    """A task of which run R goes on, for its slot of 2:00."""
    run = sc.Run(**dict({"run_id": "R", "slot": NIGHT_2, "attempt": attempt, "started_at": NIGHT_2 + 5.0},
                        **(run or {})))
    cycle = sc.Cycle(**dict({"slot": NIGHT_2, "phase": "running", "attempt": attempt}, **cycle))
    return known(config, name, cursor=NIGHT_2, next_slot=NIGHT_2 + DAY, run=run, cycle=cycle)


ONE = tasks_of(task("a", "0 2 * * *", retry_count=2, retry_delay=100))
NOTIFYING = {"enable_notifications": True, "notification_command": "true"}
HEARD = tasks_of(task("a", "0 2 * * *", retry_count=2, retry_delay=100), **NOTIFYING)
LATER = NIGHT_2 + 65


def settled(fact, state=None, config=ONE, **more):
    state = going(config) if state is None else state
    return decided(config, {"a": state}, LATER, {"runs": {"a": sc.RunFact(**fact)}}, **more)


@pytest.mark.parametrize("fact", [{"kind": "held"}, {"kind": "unknown"}])
def test_a_run_that_goes_on_or_of_which_nothing_is_known_is_left_alone(fact):
    decision = settled(fact)
    assert not decision.changed and decision.records == [] and decision.notes == []
    assert decision.adoptions == [] and decision.wake_at == 0.0


def test_a_command_without_its_supervisor_is_taken_over():
    decision = settled({"kind": "orphan"})
    assert decision.adoptions == ["a"] and decision.records == [] and not decision.changed


@pytest.mark.parametrize("fact, status, code, reason", [
    ({"kind": "vanished"}, "interrupted", None, sc.VANISHED),
    ({"kind": "vanished", "may_go_on": True}, "interrupted", None,
     sc.VANISHED + "; what its launcher started may still run"),
    ({"kind": "vanished", "stopped": "stopped by joe"}, "stopped", 143, "stopped by joe"),
    ({"kind": "vanished", "stopped": "stopped by joe", "may_go_on": True}, "stopped", 143,
     "stopped by joe; what its launcher started may still run"),
    ({"kind": "never", "stopped": "stopped by joe"}, "stopped", 143, "stopped by joe"),
])
def test_a_run_without_a_result_is_recorded_as_what_is_known_of_it(fact, status, code, reason):
    record = settled(fact).records[0]
    assert (record["status"], record["exit_code"], record["reason"]) == (status, code, reason)
    assert (record["run_id"], record["scheduled_for"], record["started_at"], record["ended_at"]) == (
        "R", "2025-06-03T02:00:00Z", "2025-06-03T02:00:05Z", "2025-06-03T02:01:05Z")
    assert (record["duration_s"], record["output_tail"], record["log"]) == (60.0, "", "logs/automation/a.log")
    assert record.get("interim", False) is (status == "interrupted")


def ended(status="failed", **more):
    code = {"success": 0, "failed": 3}.get(status)
    return dict({"status": status, "exit_code": code, "ended_at": LATER - 1.5, "duration_s": 58.5}, **more)


@pytest.mark.parametrize("result, stopped, status, reason, is_retried", [
    (ended(), "", "failed", None, True),
    (ended(), "stopped by joe", "failed", "no further attempt: stopped by joe", False),
    (ended(reason="too slow"), "stopped by joe", "failed", "too slow; no further attempt: stopped by joe", False),
    (ended(abandoned=True), "", "failed", None, False),
    (ended("timeout"), "", "timeout", None, True),
    (ended("success"), "stopped by joe", "success", None, False),
    (ended("stopped", reason="by joe"), "stopped by joe", "stopped", "by joe", False),
    (ended("skipped_exit"), "", "skipped_exit", None, False),
])
def test_which_ends_are_followed_by_another_attempt(result, stopped, status, reason, is_retried):
    decision = settled({"kind": "ended", "result": result, "stopped": stopped})
    (record,), state = decision.records, decision.state.tasks["a"]
    assert (record["status"], record.get("reason")) == (status, reason)
    assert state.run is None and decision.starts == []
    if is_retried:
        assert record["interim"] is True and state.marks == "" and state.totals == {}
        assert state.cycle == sc.Cycle(
            slot=NIGHT_2, phase="retrying", attempt=2, since=LATER, retry_at=LATER - 1.5 + 100,
            attempts=[{key: value for key, value in record.items() if key != "interim"}])
        assert decision.notes == ["a: run R %s after 58.5 s; retry at the first tick after 2025-06-03T02:02:43Z"
                                  % sc.outcome_text(record)]
        assert decision.wake_at == LATER + 98.5
    else:
        assert state.cycle is None and "interim" not in record and state.totals == {status: 1}
        assert state.marks == {"success": "+", "failed": "F", "stopped": "S"}.get(status, "-")
        assert decision.notes == ["a: run R %s after 58.5 s%s" % (
            sc.outcome_text(record), ": " + reason if reason else "")]
        assert decision.wake_at == NIGHT_2 + DAY


def test_the_last_attempt_has_those_before_it_and_their_slots_in_its_verdict():
    first = {"status": "failed", "attempt": 1}
    state = going(ONE, attempt=3, attempts=[first], absorbed=NIGHT_2 + 10, merged_since=NIGHT_2 - DAY)
    decision = settled({"kind": "ended", "result": ended()}, state)
    record, = decision.records
    assert (record["attempt"], record["attempts"]) == (3, [first])
    assert (record["absorbed"], record["merged_since"]) == ("2025-06-03T02:00:10Z", "2025-06-02T02:00:00Z")
    assert decision.state.tasks["a"].consecutive_failures == 1
    assert decision.state.tasks["a"].failing_since == LATER


def test_attempts_are_kept_in_bounds():
    config = tasks_of(task("a", "0 2 * * *", retry_count=99, retry_delay=0))
    attempts = [{"status": "failed", "attempt": number} for number in range(1, 21)]
    state = going(config, attempt=21, attempts=attempts)
    decision = settled({"kind": "ended", "result": ended()}, state, config, settle_only=True)
    assert [past["attempt"] for past in decision.state.tasks["a"].cycle.attempts] == list(range(2, 22))


@pytest.mark.parametrize("status, before, last, failing_since", [
    # a skip does not end a failure, nor hide it
    ("skipped_exit", {"failing_since": 7.0, "last": {"status": "failed"}}, "failed", 7.0),
    ("stopped", {"failing_since": 7.0, "last": {"status": "failed"}}, "failed", 7.0),
    ("skipped_exit", {"last": {"status": "success"}}, "skipped_exit", 0.0),
    ("success", {"failing_since": 7.0, "last": {"status": "failed"}}, "success", 0.0),
    ("failed", {"failing_since": 7.0, "last": {"status": "success"}}, "failed", 7.0),
])
def test_only_a_success_ends_a_failure(status, before, last, failing_since):
    state = going(ONE, attempt=3).replace(consecutive_failures=1, **before)
    after = settled({"kind": "ended", "result": ended(status)}, state).state.tasks["a"]
    assert (after.last["status"], after.failing_since) == (last, failing_since)
    assert after.consecutive_failures == {"success": 0, "failed": 2}.get(status, 1)


@pytest.mark.parametrize("status, skipped", [
    ("skipped_exit", {"status": "skipped_exit", "scheduled_for": "2025-06-03T02:00:00Z", "dependency": ""}),
    ("stopped", {"status": "stopped", "scheduled_for": "2025-06-03T02:00:00Z", "dependency": ""}),
    ("success", {}), ("failed", {})])
def test_a_run_that_skips_its_slot_is_kept_as_the_newest_skip(status, skipped):
    state = going(ONE, attempt=3).replace(skipped={"status": "skipped_late"})
    assert settled({"kind": "ended", "result": ended(status)}, state).state.tasks["a"].skipped == skipped
    by_hand = state.replace(run=state.run.replace(trigger="manual", slot=None), cycle=None)
    assert settled({"kind": "ended", "result": ended(status)}, by_hand).state.tasks["a"].skipped == {}


def test_the_last_line_of_a_failure_is_shown_without_its_secrets():
    config = tasks_of(task("a", "0 2 * * *", env={"KEY": "s3cretvalue"}))
    for status, line in (("failed", "no route for ***"), ("success", None)):
        result = ended(status, output_tail="one\nno route for s3cretvalue\n", reason="why")
        last = settled({"kind": "ended", "result": result}, going(config), config).state.tasks["a"].last
        assert (last.get("last_line"), last["reason"]) == (line, "why")
        assert set(last) - {"last_line", "reason"} == set(sc.LAST_KEYS)
    last = settled({"kind": "ended", "result": ended()}, going(config), config).state.tasks["a"].last
    assert "last_line" not in last and "reason" not in last


@pytest.mark.parametrize("run, absorbed, before, until_s", [
    ({}, None, None, 5),                              # its own slot, and those before it started
    ({"slot": NIGHT_2 + 9}, None, None, 9), ({"absorbed": NIGHT_2 + 20}, None, None, 20),
    ({}, NIGHT_2 + 30, None, 30), ({}, None, NIGHT_2 + 40, 40),
    ({"trigger": "manual", "slot": None}, NIGHT_2 + 30, None, 5),
    ({"trigger": "manual", "slot": NIGHT_2, "started_at": NIGHT_2 + 50.0}, None, None, 0),
    ({"trigger": "manual", "slot": NIGHT_2}, None, NIGHT_2 + 40, 40),
])
def test_which_slots_a_success_answers_for(run, absorbed, before, until_s):
    state = going(ONE, run=run, absorbed=absorbed).replace(satisfied_until=before, success_seq=3)
    decision = settled({"kind": "ended", "result": ended("success")}, state, seq=8)
    after = decision.state.tasks["a"]
    assert after.satisfied_until == NIGHT_2 + until_s
    assert (decision.state.seq, after.success_seq, after.last_success) == (9, 9, LATER - 1.5)


@pytest.mark.parametrize("before, took_s, usual_s", [
    (0.0, 58.5, 58.5), (10.0, 58.5, 19.7), (100.0, 50.0, 90.0)])
def test_what_a_success_usually_takes_follows_the_newest_by_a_fifth(before, took_s, usual_s):
    result = ended("success", duration_s=took_s)
    state = going(ONE).replace(usual_s=before)
    assert settled({"kind": "ended", "result": result}, state).state.tasks["a"].usual_s == usual_s


def test_a_run_without_a_duration_took_from_its_start_to_its_end():
    result = {"status": "failed", "exit_code": 3, "ended_at": NIGHT_2 + 7.3456}
    assert settled({"kind": "ended", "result": result}).records[0]["duration_s"] == 2.346
    result["ended_at"] = NIGHT_2  # the clock was set back
    assert settled({"kind": "ended", "result": result}).records[0]["duration_s"] == 0.0


# -- a start that came to nothing

@pytest.mark.parametrize("lost, trigger, is_again", [
    (0, "schedule", True), (1, "schedule", True), (2, "schedule", False), (0, "manual", False)])
def test_a_lost_start_is_repeated_twice_as_the_same_attempt(lost, trigger, is_again):
    state = going(ONE, run={"trigger": trigger, "slot": NIGHT_2 if trigger != "manual" else None},
                  lost_starts=lost)
    if trigger == "manual":
        state = state.replace(cycle=None)
    decision = settled({"kind": "never"}, state, settle_only=True)
    after = decision.state.tasks["a"]
    assert after.run is None and decision.notes[0] == "a: run R did not start"
    if is_again:
        assert after.cycle == sc.Cycle(slot=NIGHT_2, phase="queued", lost_starts=lost + 1)
        assert decision.records == []
    elif trigger == "manual":
        assert after.cycle is None and decision.records == []
    else:
        record, = decision.records
        assert (record["status"], record["exit_code"], record["reason"]) == (
            "failed", 74, "its supervisor ended before it could start the command (3 times in a row)")
        assert after.cycle.phase == "retrying" and after.cycle.lost_starts == 0


def test_a_start_that_was_lost_for_a_known_reason_says_it_and_one_without_a_name_is_not_noted():
    state = going(ONE, run={"trouble": "no memory", "run_id": ""}, lost_starts=2)
    decision = settled({"kind": "never"}, state, settle_only=True)
    assert decision.records[0]["reason"] == "no memory (3 times in a row)"
    assert [note for note in decision.notes if "did not start" in note] == []


def test_a_run_by_hand_that_was_lost_leaves_the_open_cycle_alone():
    state = going(ONE, run={"trigger": "manual"}, phase="retrying", attempt=2, retry_at=NIGHT_2 + 900)
    state = state.replace(cycle=state.cycle.replace(retry_at=LATER + 50))
    after = settled({"kind": "never"}, state).state.tasks["a"]
    assert after.run is None and (after.cycle.phase, after.cycle.lost_starts) == ("retrying", 0)


# -- processes that cannot be ended

def test_what_cannot_be_ended_is_said_once_and_kept_up_to_date():
    decision = settled({"kind": "held", "unended": "process 7 cannot be killed"}, going(HEARD), HEARD)
    assert decision.state.tasks["a"].run.unended == "process 7 cannot be killed"
    assert decision.notes == ["WARNING a: run R process 7 cannot be killed; "
                              "no further attempt starts until it is gone"]
    (message,) = decision.messages
    assert (message["event"], message["task"], message["outcome"], message["run_id"]) == (
        "unended", "a", "process 7 cannot be killed", "R")
    again = settled({"kind": "held", "unended": "process 7 cannot be killed"}, decision.state.tasks["a"], HEARD)
    assert not again.changed and again.notes == [] and again.messages == []
    other = settled({"kind": "held", "unended": "process 8 cannot be killed"}, decision.state.tasks["a"], HEARD)
    assert other.state.tasks["a"].run.unended == "process 8 cannot be killed"
    assert other.notes == [] and other.messages == []


# -- a run of which only the lock was known

@pytest.mark.parametrize("cycle, run, slot_s, phase, attempt, skips", [
    (None, {"slot": NIGHT_2}, None, None, None, []),
    ({"phase": "queued"}, {"slot": NIGHT_2 - 60}, 0, "queued", 1, []),
    ({"phase": "running"}, {"trigger": "manual", "slot": NIGHT_2}, 0, "queued", 1, []),
    ({"phase": "running"}, {"slot": None}, 0, "queued", 1, []),
    ({"phase": "running"}, {"slot": NIGHT_2, "attempt": 2}, 0, "running", 2, []),
    ({"phase": "running"}, {"slot": NIGHT_2 - 60}, -60, "running", 1,
     [("skipped_overlap", "2025-06-03T02:00:00Z", "run X was still going")]),
])
def test_a_run_that_is_named_later_has_the_slot_that_it_started_for(cycle, run, slot_s, phase, attempt, skips):
    state = going(ONE)
    state = state.replace(run=sc.Run(), cycle=cycle and state.cycle.replace(**cycle))
    named = sc.Run(run_id="X", started_at=NIGHT_2, **run)
    decision = settled({"kind": "held", "run": named}, state, settle_only=True)
    after = decision.state.tasks["a"]
    assert after.run == named
    if cycle is None:
        assert after.cycle is None
    else:
        assert (after.cycle.slot, after.cycle.phase, after.cycle.attempt) == (NIGHT_2 + slot_s, phase, attempt)
    assert [(record["status"], record["scheduled_for"], record["reason"])
            for record in decision.records] == skips


# -- which tasks a decision looks at, and when the next one is due

REST = tasks_of(
    task("a", "0 2 * * *"), task("off", "0 2 * * *", enabled=False), task("hand"), task("boot", "@reboot"),
    task("join", dependencies=["a", "hand"]))


@pytest.mark.parametrize("name, fields, pauses", [
    ("a", {"cursor": NIGHT_2, "next_slot": NIGHT_2 + DAY, "satisfied_until": NIGHT_2}, {}),
    ("a", {"cursor": NIGHT_2 - DAY, "next_slot": NIGHT_2 + 1}, {}),
    ("a", {"next_slot": NIGHT_2 + 1, "boot_id": "of another start"}, {}),
    ("a", {"schedule_key": "", "next_slot": None}, {"a": pause_until(None)}),
    ("a", {"schedule_key": "", "next_slot": None}, {sc.ALL_TASKS: pause_until(NIGHT_2 + 1)}),
    ("off", {"schedule_key": "", "next_slot": None}, {}),
    ("hand", {"next_slot": None, "cursor": NIGHT_2}, {}),
    ("boot", {"next_slot": None, "cursor": NIGHT_2 - 60}, {}),
    ("join", {"next_slot": None, "cursor": NIGHT_2 - 60}, {}),
    ("gone", {}, {}),
])
def test_a_task_at_rest_is_left_alone(name, fields, pauses):
    config = REST.replace(invalid={"gone": "no command"})
    state = state_of(cursor=5) if name == "gone" else known(config, name, **fields)
    others = {other: known(config, other, next_slot=None, cursor=NIGHT_2 - 60,
                           schedule_key=config.tasks[other].schedule_key if config.tasks[other].enabled else "")
              for other in config.tasks if other != name}
    others["a"] = others.get("a", state).replace(next_slot=others.get("a", state).next_slot or NIGHT_2 + 9000)
    states = dict(others, **{name: state})
    decision = decided(config, states, pauses=pauses)
    if not pauses:
        assert not decision.changed and decision.agenda.due == frozenset()
    assert decision.state.tasks[name] == state and name not in decision.agenda.due
    assert decision.agenda.active == [] and decision.agenda.unchecked == frozenset()


@pytest.mark.parametrize("name, state, facts", [
    ("a", None, {}), ("hand", None, {}),                                 # never seen
    ("a", {"next_slot": NIGHT_2}, {}),                                   # due
    ("a", {"queued_slot": NIGHT_2 - DAY, "next_slot": NIGHT_2 + DAY}, {}),
    ("a", {"schedule_key": "0 9 * * * UTC", "next_slot": NIGHT_2 + DAY}, {}),
    ("a", {"cursor": NIGHT_2 + 4 * 3600, "next_slot": NIGHT_2 + DAY}, {}),
    ("a", {"satisfied_until": NIGHT_2 + 4 * 3600, "next_slot": NIGHT_2 + DAY}, {}),
    ("off", {"next_slot": NIGHT_2 + DAY}, {}),                           # it was enabled
    ("off", {"schedule_key": "", "next_slot": None, "cycle": sc.Cycle(slot=5)}, {}),
    ("boot", {"next_slot": None}, {"boot_id": "c", "boot_at": NIGHT_2 - 9}),
    ("join", {"next_slot": None}, {}),
])
def test_a_task_with_something_to_decide_is_looked_at(name, state, facts):
    states = {each: known(REST, each, next_slot=None, success_seq=1, schedule_key=(
        REST.tasks[each].schedule_key if each != "off" else "")) for each in REST.tasks}
    states["join"] = states["join"].replace(consumed={"a": 1, "hand": 1})
    if name == "join":
        states["join"] = states["join"].replace(consumed={})
    if state is None:
        del states[name]
    else:
        states[name] = states[name].replace(**dict({"schedule_key": REST.tasks[name].schedule_key}, **state))
    decision = decided(REST, states, facts=facts)
    assert decision.changed and decision.state.tasks.get(name) != states.get(name)


@pytest.mark.parametrize("consumed, successes, is_started", [
    ({}, (1, 1), True), ({"a": 1}, (1, 1), False), ({"a": 1, "hand": 1}, (2, 2), True),
    ({"a": 1, "hand": 1}, (2, 1), False), ({}, (1, 0), False)])
def test_a_join_starts_on_successes_that_it_has_not_used(consumed, successes, is_started):
    states = {"a": known(REST, "a", next_slot=NIGHT_2 + DAY, success_seq=successes[0]),
              "hand": known(REST, "hand", next_slot=None, success_seq=successes[1]),
              "boot": known(REST, "boot", next_slot=None),
              "join": known(REST, "join", next_slot=None, consumed=consumed)}
    decision = decided(REST, states)
    assert [each.name for each, _ in decision.starts] == (["join"] if is_started else [])
    if is_started:
        after = decision.state.tasks["join"]
        assert after.cycle == sc.Cycle(slot=NIGHT_2, trigger="dependency", phase="running", since=NIGHT_2)
        assert after.consumed == {"a": successes[0], "hand": successes[1]}


def test_a_join_that_is_open_starts_no_second_time():
    states = {"a": known(REST, "a", next_slot=NIGHT_2 + DAY, success_seq=1),
              "hand": known(REST, "hand", next_slot=None, success_seq=1),
              "boot": known(REST, "boot", next_slot=None)}
    for busy in ({"run": sc.Run(trigger="manual")}, {"cycle": sc.Cycle(phase="retrying", retry_at=NIGHT_2 + 50)}):
        join = known(REST, "join", next_slot=None, **busy)
        runs = {"runs": {"join": sc.RunFact()}} if "run" in busy else {}
        decision = decided(REST, dict(states, join=join), facts=runs)
        assert decision.state.tasks["join"] == join and decision.starts == []


LYING = {"made_at": NIGHT_2 - 60.0, "next_slot": NIGHT_2 + 60.0}  # an agenda that leaves out what is due


@pytest.mark.parametrize("agenda, now, facts, is_used", [
    ({}, NIGHT_2, {}, True), ({}, NIGHT_2 - 60, {}, True), ({}, NIGHT_2 + 59, {}, True),
    ({}, NIGHT_2 - 61, {}, False),                      # the clock was set back
    ({}, NIGHT_2 + 60, {}, False),                      # a slot has come
    ({}, NIGHT_2, {"boot_id": "c"}, False), ({}, NIGHT_2, {"zone_stamp": "y"}, False),
    ({"config": sc.Config()}, NIGHT_2, {}, False), ({"tasks": {}}, NIGHT_2, {}, False),
    ({"pauses": {"b": pause_until(None)}}, NIGHT_2, {}, False),
])
def test_an_agenda_is_followed_only_while_nothing_has_changed_under_it(agenda, now, facts, is_used):
    states = {"a": known(ONE, "a", next_slot=NIGHT_2 - 3600)}
    state = sc.State(tasks=states, **KNOWN)
    given = sc.Agenda(**dict(LYING, **dict({"config": ONE, "tasks": states, "boot_id": "b"}, **agenda)))
    facts = sc.Facts(**dict({"boot_id": "b", "zone_stamp": "z"}, **facts))
    decision = sc.decide(ONE, state, now, facts, agenda=given)
    assert (decision.starts == []) is is_used


@pytest.mark.parametrize("until_s, is_used", [(1, True), (0, False), (-1, False), (None, True)])
def test_an_agenda_is_followed_until_a_pause_ends(until_s, is_used):
    states, pauses = {"a": known(ONE, "a")}, {"b": pause_until(None if until_s is None else NIGHT_2 + until_s)}
    state = sc.State(tasks=states, pauses=pauses, **KNOWN)
    given = sc.Agenda(config=ONE, tasks=states, boot_id="b", pauses=dict(pauses), **LYING)
    decision = sc.decide(ONE, state, NIGHT_2, sc.Facts(boot_id="b", zone_stamp="z"), agenda=given)
    assert (decision.starts == []) is is_used


WAKING = tasks_of(
    task("a", "0 2 * * *", retry_count=2, retry_delay=100), task("b", "0 3 * * *"), task("hand"),
    task("w", "0 2 * * *", only_between="05:00-06:00", retry_count=2, start_deadline=DAY),
    task("d", "0 2 * * *", dependencies=["b"], start_deadline=600, retry_count=1, retry_delay=1000),
    task("e", "0 2 * * *", dependencies=["b"]))
OTHER_SLOT = {"b": {"next_slot": NIGHT_2 + 3600, "satisfied_until": NIGHT_2 - 2 * DAY}}


@pytest.mark.parametrize("states, pauses, now_s, wake_s", [
    ({}, {}, 9, 3600),
    ({}, {"hand": pause_until(NIGHT_2 + 3599)}, 9, 3599), ({}, {"hand": pause_until(NIGHT_2 + 3601)}, 9, 3600),
    ({}, {"hand": pause_until(None)}, 9, 3600),
    ({"a": {"next_slot": NIGHT_2 + 50}}, {}, 9, 50),
    ({"a": {"run": sc.Run()}}, {}, 9, None),
    ({"hand": {"run": sc.Run(trigger="manual"), "next_slot": None}}, {}, 9, None),
    ({"a": {"cycle": sc.Cycle(phase="retrying", slot=NIGHT_2, attempt=2, retry_at=NIGHT_2 + 90)}}, {}, 9, 90),
    ({"a": {"cycle": sc.Cycle(phase="retrying", slot=NIGHT_2, attempt=2, retry_at=NIGHT_2 + 90),
            "next_slot": NIGHT_2 + 80}}, {}, 9, 80),
    # the window opens at 5:00, on which neither its slot nor its retry goes before
    ({"w": {"cycle": sc.Cycle(phase="queued", slot=NIGHT_2)}, "b": {"next_slot": NIGHT_2 + 4 * 3600}}, {}, 9,
     3 * 3600),
    ({"w": {"cycle": sc.Cycle(phase="queued", slot=NIGHT_2)}}, {}, 9, 3600),
    ({"w": {"cycle": sc.Cycle(phase="retrying", slot=NIGHT_2, attempt=2, retry_at=NIGHT_2 + 5)},
      "b": {"next_slot": NIGHT_2 + 4 * 3600}}, {}, 9, 3 * 3600),
    ({"w": {"cycle": sc.Cycle(phase="retrying", slot=NIGHT_2, attempt=2, retry_at=NIGHT_2 + 3 * 3600 + 5)},
      "b": {"next_slot": NIGHT_2 + 4 * 3600}}, {}, 9, 3 * 3600 + 5),
    # a wait ends at its deadline, and not without one
    ({"d": {"cycle": sc.Cycle(phase="waiting", slot=NIGHT_2, waiting_for="b")}}, {}, 9, 600),
    ({"e": {"cycle": sc.Cycle(phase="waiting", slot=NIGHT_2, waiting_for="b")}}, {}, 9, 3600),
    ({"d": {"cycle": sc.Cycle(phase="retrying", slot=NIGHT_2, attempt=2, retry_at=NIGHT_2 + 900)}}, {}, 9, 900),
    ({"d": {"cycle": sc.Cycle(phase="waiting", slot=NIGHT_2, waiting_for="b"), "next_slot": NIGHT_2 + 500}},
     {}, 9, 500),
    # a slot comes before the retry behind which another one is queued
    ({"d": {"cycle": sc.Cycle(phase="retrying", slot=NIGHT_2, attempt=2, retry_at=NIGHT_2 + 900),
            "queued_slot": NIGHT_2, "next_slot": NIGHT_2 + 500}}, {}, 9, 500),
])
def test_the_next_decision_is_due_with_the_first_thing_to_come(states, pauses, now_s, wake_s):
    fields = {name: {"next_slot": NIGHT_2 + DAY} for name in ("a", "w", "d", "e")}
    fields.update(OTHER_SLOT, hand={"next_slot": None})
    for name, more in states.items():
        fields[name] = dict(fields[name], **more)
    known_states = {name: known(WAKING, name, **dict({"satisfied_until": NIGHT_2}, **more))
                    for name, more in fields.items()}
    facts = {"runs": {name: sc.RunFact() for name, state in known_states.items() if state.run is not None}}
    decision = decided(WAKING, known_states, NIGHT_2 + now_s, facts, pauses=pauses)
    assert decision.wake_at == (0.0 if wake_s is None else NIGHT_2 + wake_s)
    assert decision.starts == [] and decision.records == []


def test_nothing_to_come_wakes_nobody():
    assert decided(tasks_of(task("hand")), {"hand": state_of(schedule_key="none", boot_id="b")}).wake_at == float("inf")


def test_a_slot_that_a_settling_process_left_in_the_queue_is_for_the_next_tick():
    state = going(ONE, attempt=3).replace(queued_slot=NIGHT_2 + 30)
    decision = settled({"kind": "ended", "result": ended()}, state, settle_only=True)
    assert decision.wake_at == 0.0 and decision.starts == []
    assert settled({"kind": "ended", "result": ended()}, state.replace(queued_slot=None),
                   settle_only=True).wake_at == NIGHT_2 + DAY


# -- what starts

def started(config, states, now=NIGHT_2 + 9, **facts):
    decision = decided(config, states, now, facts)
    return [each.name for each, _ in decision.starts], decision


def queued_of(config, name, **more):
    cycle = sc.Cycle(**dict({"slot": NIGHT_2, "phase": "queued", "since": NIGHT_2 + 1.0}, **more))
    return known(config, name, next_slot=NIGHT_2 + DAY, cursor=NIGHT_2, cycle=cycle)


def test_a_start_is_all_that_its_run_has_to_know():
    config = tasks_of(task("a", "0 2 * * *", retry_count=3, locks=["x"], dependencies=["h"],
                           ping_url="https://example.org/p"), task("h"))
    h = known(config, "h", next_slot=None, success_seq=4)
    state = queued_of(config, "a", trigger="catch_up", merged_since=NIGHT_2 - DAY)
    names, decision = started(config, {"h": h, "a": state})
    (each, run), = decision.starts
    assert names == ["a"] and each is config.tasks["a"]
    assert run == sc.Run(run_id="20250603T020009Z-1", slot=NIGHT_2, trigger="catch_up",
                         started_at=NIGHT_2 + 9, locks=["x"])
    after = decision.state.tasks["a"]
    assert after.run == run and after.consumed == {"h": 4}
    assert after.cycle == state.cycle.replace(phase="running", since=NIGHT_2 + 9)
    assert decision.notes == ["a: starting run 20250603T020009Z-1, attempt 1 of 4, slot 2025-06-03T02:00:00Z, catch_up"]
    assert [(message["event"], message["task"], message["channel"], message["kind"], message["at"], message["id"])
            for message in decision.messages] == [
        ("ping", "a", "ping", "start", "2025-06-03T02:00:09Z", "20250603T020009Z-1")]
    assert (decision.state.runs_started, decision.state.messages_made, decision.wake_at) == (1, 1, 0.0)
    assert decision.state.last_now == NIGHT_2 + 9 and decision.changed
    again = queued_of(config, "a", attempt=2)
    _, decision = started(config, {"h": h, "a": again})
    assert decision.starts[0][1].trigger == "retry" and decision.messages == [], "its start was told"


@pytest.mark.parametrize("attempt, is_started", [(1, True), (3, True), (4, False)])
def test_a_retry_that_the_configuration_no_longer_allows_does_not_start(attempt, is_started):
    past = [{"status": "failed", "attempt": number, "ended_at": "2025-06-03T02:00:03Z", "exit_code": 3}
            for number in range(1, attempt)]
    names, decision = started(ONE, {"a": queued_of(ONE, "a", attempt=attempt, attempts=past)})
    assert names == (["a"] if is_started else [])
    if not is_started:
        record, = decision.records
        assert (record["status"], record["attempt"], record["reason"]) == ("failed", 3, "no retries left")
        assert [each["attempt"] for each in record["attempts"]] == [1, 2]
        assert decision.notes == [
            "a: slot 2025-06-03T02:00:00Z failed (exit 3); no further attempt: no retries left"]
        assert decision.state.tasks["a"].last["reason"] == "no retries left"
        assert decision.state.tasks["a"].cycle is None


LATE_ONES = tasks_of(
    task("a", "0 2 * * *", start_deadline=600, locks=["x"], retry_count=1), task("h", locks=["x"]),
    task("w", "0 2 * * *", start_deadline=600, only_between="05:00-06:00"), max_concurrent_tasks=1)


@pytest.mark.parametrize("name, now_s, attempt, holder, cause", [
    ("a", 600, 1, False, None), ("a", 601, 1, False, "max_concurrent_tasks reached"),
    ("a", 601, 1, True, "lock 'x' is held by 'h'"), ("a", 601, 2, False, None),
    ("w", 601, 1, False, "only_between 05:00-06:00")])
def test_what_is_queued_for_too_long_is_skipped_with_the_cause(name, now_s, attempt, holder, cause):
    states = {each: known(LATE_ONES, each, next_slot=each != "h" and NIGHT_2 + DAY or None)
              for each in LATE_ONES.tasks}
    states[name] = queued_of(LATE_ONES, name, attempt=attempt)
    facts = {}
    if holder:
        states["h"] = states["h"].replace(run=sc.Run(trigger="manual", locks=["x"]))
        facts = {"runs": {"h": sc.RunFact()}}
    names, decision = started(LATE_ONES, states, NIGHT_2 + now_s, **facts)
    if cause is None:
        assert names == [name] and decision.records == []
    else:
        record, = decision.records
        assert names == [] and record["status"] == "skipped_late"
        assert record["reason"] == "queued too long (%s): 601 s late, start_deadline is 600 s" % cause


@pytest.mark.parametrize("busy, names", [((), ["a", "c"]), (("a",), ["c"]), (("h",), ["c"]), (("c",), ["a"])])
def test_what_a_run_outside_of_the_state_holds_is_held(busy, names):
    config = tasks_of(task("a", "0 2 * * *", locks=["x"]), task("c", "0 2 * * *"), task("h", locks=["x"]))
    states = {"a": queued_of(config, "a"), "c": queued_of(config, "c"), "h": known(config, "h", next_slot=None)}
    assert started(config, states, busy=frozenset(busy))[0] == names
    assert started(config, states, busy=frozenset(("gone",)))[0] == ["a", "c"]


def test_a_lock_goes_to_the_older_slot_although_that_has_to_wait():
    config = tasks_of(task("new", "0 2 * * *", locks=["x"]), task("old", "0 2 * * *", locks=["x", "y"]),
                      task("h", locks=["y"]), task("free", "0 2 * * *"))
    states = {"new": queued_of(config, "new"), "old": queued_of(config, "old", slot=NIGHT_2 - 60),
              "free": queued_of(config, "free"),
              "h": known(config, "h", next_slot=None, run=sc.Run(trigger="manual", locks=["y"]))}
    assert started(config, states, runs={"h": sc.RunFact()})[0] == ["free"]


def test_a_task_outside_of_its_window_claims_nothing():
    config = tasks_of(task("w", "0 2 * * *", locks=["x"], only_between="02:00-02:10"),
                      task("a", "0 2 * * *", locks=["x"]), max_concurrent_tasks=1)
    states = {"w": queued_of(config, "w", slot=NIGHT_2 - 60), "a": queued_of(config, "a")}
    assert started(config, states, NIGHT_2 + 599)[0] == ["w"]
    assert started(config, states, NIGHT_2 + 600)[0] == ["a"]


# -- what comes due

@pytest.mark.parametrize("state, overlap, deadline, now_s, after, record", [
    # nothing is open: a cycle; late is what is not decided in its own minute
    ({}, "skip", None, 59, {"cycle": ("running", "schedule", None)}, None),
    ({}, "skip", None, 60, {"cycle": ("running", "catch_up", None)}, None),
    ({"next_slot": NIGHT_2 - DAY}, "skip", None, 59, {"cycle": ("running", "schedule", NIGHT_2 - DAY)}, None),
    ({"next_slot": NIGHT_2 - DAY}, "skip", None, 0, {"cycle": ("running", "schedule", NIGHT_2 - DAY)}, None),
    # too late
    ({}, "skip", 60, 60, {"cycle": ("running", "catch_up", None)}, None),
    ({"next_slot": NIGHT_2 - DAY}, "skip", 60, 61, {},
     ("skipped_late", "61 s late, start_deadline is 60 s", "2025-06-02T02:00:00Z")),
    # a run goes on
    ({"run": sc.Run(run_id="R", trigger="manual")}, "skip", None, 9, {"absorbed": NIGHT_2},
     ("skipped_overlap", "run R was still going", None)),
    ({"cycle": sc.Cycle(slot=NIGHT_2 - DAY, phase="retrying", attempt=2, retry_at=NIGHT_2 + 50.0)}, "skip", None, 9,
     {"cycle_absorbed": NIGHT_2},
     ("skipped_overlap", "the slot 2025-06-02T02:00:00Z was still retrying", None)),
    ({"run": sc.Run(run_id="R", trigger="manual")}, "queue", None, 9, {"queued": (NIGHT_2, None)}, None),
    ({"run": sc.Run(run_id="R", trigger="manual"), "next_slot": NIGHT_2 - DAY}, "queue", None, 9,
     {"queued": (NIGHT_2, NIGHT_2 - DAY)}, None),
    ({"run": sc.Run(run_id="R", trigger="manual"), "queued_slot": NIGHT_2 - DAY}, "queue", None, 9,
     {"queued": (NIGHT_2, NIGHT_2 - DAY)}, None),
    ({"run": sc.Run(run_id="R", trigger="manual"), "queued_slot": NIGHT_2 - DAY, "queued_since": NIGHT_2 - 3 * DAY},
     "queue", None, 9, {"queued": (NIGHT_2, NIGHT_2 - 3 * DAY)}, None),
])
def test_what_becomes_of_a_slot_that_has_come(state, overlap, deadline, now_s, after, record):
    config = tasks_of(task("a", "0 2 * * *", overlap=overlap, start_deadline=deadline, retry_count=3,
                           retry_delay=9000))
    facts = {"runs": {"a": sc.RunFact()}} if "run" in state else {}
    decision = decided(config, {"a": known(config, "a", **state)}, NIGHT_2 + now_s, facts)
    task_state = decision.state.tasks["a"]
    assert (task_state.cursor, task_state.next_slot) == (NIGHT_2, NIGHT_2 + DAY)
    cycle = task_state.cycle
    if "cycle" in after:
        assert (cycle.phase, cycle.trigger, cycle.merged_since) == after["cycle"]
        assert (cycle.slot, cycle.since) == (NIGHT_2, NIGHT_2 + now_s)
    elif "cycle_absorbed" in after:
        assert cycle.absorbed == after["cycle_absorbed"]
    else:
        assert cycle is None
    if "absorbed" in after:
        assert task_state.run.absorbed == after["absorbed"]
    assert (task_state.queued_slot, task_state.queued_since) == after.get("queued", (None, None))
    assert [(each["status"], each["reason"], each.get("merged_since"))
            for each in decision.records] == ([record] if record else [])


def test_the_record_of_a_skip_is_all_that_an_audit_asks_for():
    config = tasks_of(task("a", "0 2 * * *", start_deadline=60))
    state = known(config, "a", marks="+" * 10, totals={"success": 3})
    decision = decided(config, {"a": state}, NIGHT_2 + 61)
    assert decision.records == [{
        "task": "a", "status": "skipped_late", "scheduled_for": "2025-06-03T02:00:00Z", "started_at": None,
        "ended_at": "2025-06-03T02:01:01Z", "duration_s": 0, "exit_code": None, "attempt": 0,
        "trigger": "schedule", "run_id": None, "log": None, "output_tail": "",
        "reason": "61 s late, start_deadline is 60 s"}]
    after = decision.state.tasks["a"]
    assert (after.marks, after.totals) == ("+" * 9 + "-", {"success": 3, "skipped_late": 1})
    assert after.skipped == {"status": "skipped_late", "scheduled_for": "2025-06-03T02:00:00Z", "dependency": ""}
    assert decision.notes == ["a: slot 2025-06-03T02:00:00Z skipped_late: 61 s late, start_deadline is 60 s"]
    assert decision.state.pending == decision.records


QUEUEING = tasks_of(task("d", "0 2 * * *"), task("a", "0 * * * *", overlap="queue", dependencies=["d"]))


@pytest.mark.parametrize("satisfied_until, now_s, phase, trigger", [
    (NIGHT_2, 59, "running", "schedule"), (NIGHT_2, 60, "running", "catch_up"),
    (None, 59, "waiting", "schedule")])
def test_a_queued_slot_has_its_turn_when_what_was_open_is_over(satisfied_until, now_s, phase, trigger):
    states = {"d": known(QUEUEING, "d", next_slot=NIGHT_2 + DAY, satisfied_until=satisfied_until),
              "a": known(QUEUEING, "a", next_slot=NIGHT_2 + 3600, queued_slot=NIGHT_2, queued_since=NIGHT_2 - 7200)}
    decision = decided(QUEUEING, states, NIGHT_2 + now_s)
    after = decision.state.tasks["a"]
    assert (after.queued_slot, after.queued_since) == (None, None)
    assert after.cycle == sc.Cycle(
        slot=NIGHT_2, phase=phase, trigger=trigger, since=NIGHT_2 + now_s, merged_since=NIGHT_2 - 7200,
        waiting_for="d" if phase == "waiting" else "")


# -- the clock is set back

@pytest.mark.parametrize("schedule, ahead_s, jumped_s, satisfied_s, after", [
    # up to three hours, a fixed time waits and a wildcard goes on
    ("0 2 * * *", 10800, 10800, None, {}),
    ("*/10 * * * *", 10800, 10800, None, {"cursor": 0, "next_slot": 600}),
    # more is a correction: both go on from now, and what was decided before is remembered
    ("0 2 * * *", 10801, 10801, None, {"cursor": 0, "next_slot": DAY, "decided_until": 10801}),
    ("0 2 * * *", 10801, 60, None, {"cursor": 0, "next_slot": DAY, "decided_until": 10801}),
    ("0 2 * * *", 60, 10801, None, {"cursor": 0, "next_slot": DAY, "decided_until": 60}),
    ("*/10 * * * *", 10801, 10801, None, {"cursor": 0, "next_slot": 600, "decided_until": 10801}),
    # a success from a time that is not to come
    ("0 2 * * *", -60, 10800, 10800, {}), ("0 2 * * *", -60, 10800, 10801, {"satisfied_until": 0}),
    ("0 2 * * *", -60, 10801, 60, {"satisfied_until": 0}), ("0 2 * * *", -60, 60, 60, {}),
    ("0 2 * * *", 0, 10801, 60, {"satisfied_until": 0}),
])
def test_a_clock_that_is_set_back_by_more_than_three_hours_was_wrong(schedule, ahead_s, jumped_s, satisfied_s, after):
    config = tasks_of(task("a", schedule))
    before = known(config, "a", cursor=NIGHT_2 + ahead_s, next_slot=NIGHT_2 + 2 * DAY,
                   satisfied_until=None if satisfied_s is None else NIGHT_2 + satisfied_s)
    decision = decided(config, {"a": before}, NIGHT_2, last_now=float(NIGHT_2 + jumped_s))
    changes = {name: NIGHT_2 + seconds for name, seconds in after.items()}
    assert decision.state.tasks["a"] == before.replace(**changes)
    warnings = [note for note in decision.notes if note.startswith("WARNING a: the clock was set back to "
                                                                   "2025-06-03T02:00:00Z, more than three hours")]
    assert len(warnings) == ("decided_until" in after)
    clock = {"event": "clock", "at": "2025-06-03T02:00:00Z", "tasks": {"a": {
        "since": "2025-06-03T02:00:00Z", "was": sc.iso(NIGHT_2 + ahead_s)}}}
    assert decision.events == ([clock] if "cursor" in after else [])


@pytest.mark.parametrize("decided_until_s, slot_s, is_started", [
    (0, 0, False), (29, 0, False), (30, 0, True), (60, 0, True), (-60, 0, True)])
def test_a_slot_that_has_its_verdict_from_when_the_clock_was_wrong_is_not_decided_again(
        decided_until_s, slot_s, is_started):
    state = known(ONE, "a", decided_until=NIGHT_2 + decided_until_s)
    decision = decided(ONE, {"a": state}, NIGHT_2 + 30)
    assert bool(decision.starts) is is_started
    assert (decision.state.tasks["a"].cursor, decision.state.tasks["a"].next_slot) == (NIGHT_2, NIGHT_2 + DAY)


# -- what would otherwise go unnoticed

def test_an_end_and_a_duration_are_kept_to_the_millisecond():
    result = ended("success", ended_at=NIGHT_2 + 60.12345, duration_s=1.23456)
    after = settled({"kind": "ended", "result": result}).state.tasks["a"]
    assert (after.last_success, after.usual_s) == (NIGHT_2 + 60.123, 1.235)


@pytest.mark.parametrize("status, before_s, until_s, total", [
    ("success", None, 0, {"success": 1}), ("success", -60, 0, {"success": 1}), ("success", 60, 60, {"success": 1}),
    ("failed", -60, -60, {"failed": 1}), ("failed", None, None, {"failed": 1})])
def test_a_run_for_an_old_slot_answers_for_that_slot_alone(status, before_s, until_s, total):
    slot = NIGHT_2 - DAY
    state = going(ONE, run={"trigger": "manual", "slot": slot}).replace(
        cycle=None, last={"status": "timeout"}, marks="T",
        satisfied_until=None if before_s is None else slot + before_s)
    decision = settled({"kind": "ended", "result": ended(status)}, state)
    after = decision.state.tasks["a"]
    assert after == state.replace(run=None, totals=total, satisfied_until=(
        None if until_s is None else slot + until_s))
    (record,) = decision.records
    assert (record["backfill"], record["status"], record["scheduled_for"]) == (
        True, status, "2025-06-02T02:00:00Z")
    assert decision.notes == ["a: run R %s after 58.5 s" % sc.outcome_text(record)]


def test_a_first_decision_says_so_with_the_pauses_that_there_are():
    pauses = {"b": pause_until(None)}
    decision = sc.decide(ONE, sc.State(pauses=pauses), NIGHT_2, sc.Facts())
    assert decision.events[0] == {"event": "begun", "pauses": pauses, "at": "2025-06-03T02:00:00Z"}
    again = sc.decide(ONE, decision.state, NIGHT_2 + 60, sc.Facts())
    assert again.events == []


def test_the_clock_was_set_back_by_what_was_seen_last_too():
    """A tick that decided nothing leaves its time beside the state, not in it."""
    before = known(ONE, "a", cursor=NIGHT_2 + 60, next_slot=NIGHT_2 + DAY)
    state = sc.State(tasks={"a": before}, **KNOWN)
    for last_seen, is_correction in ((NIGHT_2 + 10800.0, False), (NIGHT_2 + 10801.0, True)):
        decision = sc.decide(ONE, state, NIGHT_2, sc.Facts(boot_id="b", zone_stamp="z"), last_seen)
        assert (decision.state.tasks["a"].cursor == NIGHT_2) is is_correction


def test_without_a_change_an_agenda_stays_as_it_is_found():
    """Of what is at rest nothing is kept, and of what is open everything that the next one needs."""
    config = tasks_of(task("a", "0 2 * * *"), task("b", "0 3 * * *", dependencies=["a"]), task("c", "0 5 * * *"))
    states = {name: known(config, name, cursor=NIGHT_2, next_slot=NIGHT_2 + DAY) for name in "abc"}
    states["c"] = states["c"].replace(next_slot=NIGHT_2 + 3 * 3600)
    states["b"] = states["b"].replace(cycle=sc.Cycle(slot=NIGHT_2, phase="waiting", waiting_for="a"))
    decision = decided(config, states)
    agenda = decision.agenda
    assert not decision.changed and agenda.tasks is decision.state.tasks and agenda.config is config
    assert (agenda.active, agenda.due, agenda.unchecked) == (["b"], frozenset(), frozenset())
    assert (agenda.next_slot, agenda.made_at, agenda.boot_id) == (NIGHT_2 + 3 * 3600, NIGHT_2, "b")


def test_the_zone_data_of_a_state_that_is_computed_anew_make_every_task_due_once():
    states = {"a": known(ONE, "a", next_slot=NIGHT_2 + 50)}
    decision = decided(ONE, states, NIGHT_2 - 30, {"zone_stamp": "y"})
    assert decision.changed and decision.state.zone_stamp == "y"
    assert decision.state.tasks["a"].next_slot == NIGHT_2  # the first after its cursor, by the new data
    assert decided(ONE, states, NIGHT_2 - 30).state.tasks["a"].next_slot == NIGHT_2 + 50


@pytest.mark.parametrize("before, now, is_noted", [
    ("a,1 v", "b,1 v", True), ("a,1 v", "a,1 w", False), ("a v", "a,1 v", False)])
def test_a_new_zone_of_the_system_is_noted_for_the_audit(before, now, is_noted):
    states = {"a": known(ONE, "a", next_slot=NIGHT_2 + 50)}
    decision = decided(ONE, states, facts={"zone_stamp": now}, zone_stamp=before)
    assert ({"event": "rezoned", "at": "2025-06-03T02:00:00Z"} in decision.events) is is_noted
    assert decision.changed


# -- a schedule begins, rests and ends

@pytest.mark.parametrize("before, changes, event", [
    (None, {"schedule_key": "0 2 * * * UTC", "cursor": NIGHT_2, "next_slot": NIGHT_2 + DAY, "boot_id": "b"}, {}),
    ({"schedule_key": "0 9 * * * UTC", "cursor": NIGHT_2 - DAY, "next_slot": NIGHT_2 + 7 * 3600},
     {"schedule_key": "0 2 * * * UTC", "cursor": NIGHT_2, "next_slot": NIGHT_2 + DAY, "boot_id": "b"},
     {"was": "0 9 * * * UTC"}),
    # a slot had come that no tick had decided
    ({"schedule_key": "0 1 * * * UTC", "next_slot": NIGHT_2, "cursor": 5},
     {"schedule_key": "0 2 * * * UTC", "cursor": NIGHT_2, "next_slot": NIGHT_2 + DAY, "boot_id": "b"},
     {"was": "0 1 * * * UTC", "undecided_since": "2025-06-03T02:00:00Z"}),
    ({"schedule_key": "0 1 * * * UTC", "next_slot": NIGHT_2 + 1, "cursor": 5},
     {"schedule_key": "0 2 * * * UTC", "cursor": NIGHT_2, "next_slot": NIGHT_2 + DAY, "boot_id": "b"},
     {"was": "0 1 * * * UTC"}),
    # slots that were to be skipped: only those that are to come
    ({"schedule_key": "", "skips": {"2025-06-03T02:00:00Z": "me", "2025-06-03T02:00:01Z": "me"}},
     {"schedule_key": "0 2 * * * UTC", "cursor": NIGHT_2, "next_slot": NIGHT_2 + DAY, "boot_id": "b",
      "skips": {"2025-06-03T02:00:01Z": "me"}}, {}),
])
def test_a_schedule_begins_with_a_note_of_the_one_before(before, changes, event):
    states = {} if before is None else {"a": state_of(**before)}
    decision = decided(ONE, states)
    assert decision.state.tasks["a"] == states.get("a", state_of()).replace(**changes)
    assert decision.events == [{"event": "anchored", "at": "2025-06-03T02:00:00Z", "tasks": {
        "a": dict({"key": "0 2 * * * UTC", "since": "2025-06-03T02:00:00Z"}, **event)}}]
    assert decision.starts == []


def test_a_task_that_is_new_uses_up_the_successes_from_before_it():
    config = tasks_of(task("a", "0 2 * * *"), task("join", dependencies=["a"]),
                      task("late", "0 4 * * *", dependencies=["a"]))
    a = known(config, "a", next_slot=NIGHT_2 + DAY, success_seq=3)
    after = decided(config, {"a": a}).state.tasks
    assert (after["join"].consumed, after["late"].consumed) == ({"a": 3}, {"a": 3})
    # one that had a schedule, and one that has one now
    rested = state_of(consumed={"a": 1})
    after = decided(config, {"a": a, "join": rested, "late": rested}).state.tasks
    assert (after["join"].consumed, after["late"].consumed) == ({"a": 3}, {"a": 1})


OPEN_WAIT = sc.Cycle(slot=NIGHT_2 - 3600, phase="waiting", waiting_for="x", merged_since=NIGHT_2 - DAY)


@pytest.mark.parametrize("how, pauses, config, reason, since", [
    ("disabled", {}, tasks_of(task("a", "0 2 * * *", enabled=False)), "the task was disabled", NIGHT_2),
    ("paused", {"a": pause_until(None)}, ONE, "paused since 2025-06-02T02:00:00Z until resumed", NIGHT_2 - DAY),
    ("removed", {}, tasks_of(task("b")), "the task is no longer in the configuration", NIGHT_2),
])
def test_a_task_that_rests_has_its_slots_closed(how, pauses, config, reason, since):
    before = known(ONE, "a", next_slot=NIGHT_2 + 5, cycle=OPEN_WAIT, queued_slot=NIGHT_2 - 60,
                   queued_since=NIGHT_2 - 120)
    states = {"a": before}
    if how == "removed":
        states["b"] = known(config, "b", next_slot=None)
    decision = decided(config, states, pauses=pauses)
    assert [(each["status"], each["scheduled_for"], each["merged_since"], each["reason"])
            for each in decision.records] == [
        ("skipped_" + how, "2025-06-03T01:00:00Z", "2025-06-02T02:00:00Z", reason),
        ("skipped_" + how, "2025-06-03T01:59:00Z", "2025-06-03T01:58:00Z", reason)]
    assert {"event": "rested", "at": "2025-06-03T02:00:00Z", "tasks": {
        "a": {"reason": how, "since": sc.iso(since), "was": "0 2 * * * UTC"}}} in decision.events
    if how == "removed":
        assert list(decision.state.tasks) == ["b"] and decision.changed
    else:
        after = decision.state.tasks["a"]
        assert (after.cycle, after.queued_slot, after.queued_since) == (None, None, None)
        assert (after.schedule_key, after.next_slot, after.cursor) == ("", None, before.cursor)
        assert decided(config, decision.state.tasks, NIGHT_2 + 60, pauses=pauses).changed is False


def test_what_runs_goes_on_while_its_task_rests_and_a_removed_task_stays_until_it_ends():
    before = going(ONE)
    decision = decided(tasks_of(task("b")), {"a": before, "b": state_of(schedule_key="none", boot_id="b")},
                       facts={"runs": {"a": sc.RunFact()}})
    after = decision.state.tasks["a"]
    assert (after.run, after.cycle, after.schedule_key) == (before.run, before.cycle, "")
    assert decision.records == []


def test_the_retries_of_a_task_that_rests_end_with_its_last_attempt():
    past = [dict(FAILED_AT, attempt=1), dict(TIMED_OUT_AT, attempt=2)]
    before = known(ONE, "a", next_slot=NIGHT_2 + 5, last={"status": "timeout"}, cycle=sc.Cycle(
        slot=NIGHT_2 - 3600, phase="retrying", attempt=3, retry_at=NIGHT_2 + 50, attempts=past))
    decision = decided(ONE, {"a": before}, pauses={"a": pause_until(None)})
    (record,) = decision.records
    assert (record["status"], record["attempt"], record["attempts"], record["reason"]) == (
        "timeout", 2, past[:1], "paused since 2025-06-02T02:00:00Z until resumed")
    after = decision.state.tasks["a"]
    assert (after.cycle, after.marks, after.totals, after.consecutive_failures, after.failing_since) == (
        None, "T", {"timeout": 1}, 1, NIGHT_2)
    assert after.last == {"status": "timeout", "reason": record["reason"]}


def test_a_pause_that_is_over_is_dropped_and_noted():
    pauses = {"a": pause_until(NIGHT_2), "b": pause_until(NIGHT_2 + 1), sc.ALL_TASKS: pause_until(NIGHT_2 - 60)}
    decision = decided(tasks_of(task("hand")), {"hand": state_of(schedule_key="", boot_id="b")}, pauses=pauses)
    assert decision.state.pauses == {"b": pause_until(NIGHT_2 + 1)} and decision.changed
    assert decision.notes == ["a: the pause has ended", "all tasks: the pause has ended"]


@pytest.mark.parametrize("boot, cursor_s, slot_s, is_started", [
    ("b", -60, None, False), ("c", -60, -9, True), ("", -60, None, True)])
def test_a_start_of_the_machine_is_a_slot_of_its_tasks(boot, cursor_s, slot_s, is_started):
    config = tasks_of(task("boot", "@reboot"))
    state = known(config, "boot", next_slot=None, cursor=NIGHT_2 + cursor_s)
    decision = decided(config, {"boot": state}, facts={"boot_id": boot, "boot_at": NIGHT_2 - 9})
    assert bool(decision.starts) is is_started
    if is_started:
        after = decision.state.tasks["boot"]
        assert (after.boot_id, after.cursor, after.cycle.slot) == (boot, NIGHT_2 - 9, NIGHT_2 - 9)


def test_a_start_of_the_machine_on_a_day_off_is_skipped():
    config = tasks_of(task("boot", "@reboot", not_on=["tue"]))
    state = known(config, "boot", next_slot=None)
    decision = decided(config, {"boot": state}, facts={"boot_id": "c", "boot_at": NIGHT_2 + 900})
    (record,) = decision.records
    assert (record["status"], record["scheduled_for"]) == ("skipped_not_on", "2025-06-03T02:00:00Z")
    assert decision.starts == [] and decision.state.tasks["boot"].boot_id == "c"


def test_a_join_on_a_day_off_is_skipped_and_uses_up_the_successes():
    config = tasks_of(task("a", "0 2 * * *"), task("join", dependencies=["a"], not_on=["tue"]))
    states = {"a": known(config, "a", next_slot=NIGHT_2 + DAY, success_seq=3),
              "join": known(config, "join", next_slot=None)}
    decision = decided(config, states)
    assert [(each["task"], each["status"], each["scheduled_for"]) for each in decision.records] == [
        ("join", "skipped_not_on", "2025-06-03T02:00:00Z")]
    after = decision.state.tasks["join"]
    assert after.consumed == {"a": 3} and after.cycle is None and after.skipped == {}


# -- days off and slots that are skipped by hand, of those that have come

@pytest.mark.parametrize("not_on, first_days, skips_days, started_days, merged_days, records", [
    ((), 3, (), 0, 3, []),
    ((), 0, (0,), None, None, [("skipped_manual", 0, None)]),
    ((), 3, (0,), 1, 3, [("skipped_manual", 0, None)]),
    ((), 3, (3,), 0, 2, [("skipped_manual", 3, None)]),
    ((), 2, (2, 1, 0), None, None, [("skipped_manual", day, None) for day in (2, 1, 0)]),
    # June 3rd is a Tuesday
    (("tue",), 0, (), None, None, [("skipped_not_on", 0, None)]),
    (("tue",), 1, (), 1, None, [("skipped_not_on", 0, None)]),
    (("tue", "mon"), 3, (), 2, 3, [("skipped_not_on", 0, 1)]),
    (("tue", "mon"), 1, (), None, None, [("skipped_not_on", 0, 1)]),
    (("sat", "sun"), 3, (), 0, 1, [("skipped_not_on", 2, 3)]),
    (("sun",), 2, (), 0, 1, [("skipped_not_on", 2, None)]),
    (("mon",), 1, (0,), None, None, [("skipped_manual", 0, None), ("skipped_not_on", 1, None)]),
    (("sun",), 1, (1, 0), None, None, [("skipped_manual", 1, None), ("skipped_manual", 0, None)]),
    (("mon", "tue"), 2, (2,), None, None, [("skipped_manual", 2, None), ("skipped_not_on", 0, 1)]),
    (("sat", "sun"), 2, (1,), 0, None, [("skipped_manual", 1, None), ("skipped_not_on", 2, None)]),
    (("mon",), 2, (), 0, 2, []),                       # within what merges, days off make no verdict
    (("tue",), 1, (1,), None, None, [("skipped_manual", 1, None), ("skipped_not_on", 0, None)]),
])
def test_of_the_slots_that_have_come_one_runs_and_each_other_has_its_verdict(
        not_on, first_days, skips_days, started_days, merged_days, records):
    def of(days):
        return None if days is None else sc.iso(NIGHT_2 - days * DAY)

    fields = {"not_on": list(not_on)} if not_on else {}
    config = tasks_of(task("a", "0 2 * * *", **fields))
    state = known(config, "a", cursor=NIGHT_2 - (first_days + 1) * DAY, next_slot=NIGHT_2 - first_days * DAY,
                  skips=dict({of(days): "me" for days in skips_days}, **{of(-5): "later"}))
    decision = decided(config, {"a": state}, NIGHT_2 + 30)
    assert [(each["status"], each["scheduled_for"], each.get("merged_since")) for each in decision.records] == [
        (status, of(day), of(merged)) for status, day, merged in records]
    assert [sc.iso(run.slot) for _, run in decision.starts] == ([] if started_days is None else [of(started_days)])
    after = decision.state.tasks["a"]
    assert after.skips == {of(-5): "later"} and (after.cursor, after.next_slot) == (NIGHT_2, NIGHT_2 + DAY)
    if started_days is not None:
        assert after.cycle.merged_since == (None if merged_days is None else NIGHT_2 - merged_days * DAY)


def test_a_moment_that_is_no_slot_any_more_is_not_skipped():
    config = tasks_of(task("a", "0 2 * * *"))
    state = known(config, "a", next_slot=NIGHT_2 - DAY, skips={
        sc.iso(NIGHT_2 - 60): "me", sc.iso(NIGHT_2 - 2 * DAY): "me"})
    decision = decided(config, {"a": state})
    assert decision.records == [] and len(decision.starts) == 1
    assert decision.state.tasks["a"].skips == {}


# -- what waits

PAIR = tasks_of(task("a", "0 2 * * *"), task("b", "0 2 * * *", dependencies=["a"], start_deadline=600.5))


def waiting(satisfied_until, now_s, **cycle):
    states = {"a": known(PAIR, "a", next_slot=NIGHT_2 + DAY, satisfied_until=satisfied_until),
              "b": known(PAIR, "b", cursor=NIGHT_2, next_slot=NIGHT_2 + DAY, cycle=sc.Cycle(**dict(
                  {"slot": NIGHT_2, "phase": "waiting", "since": NIGHT_2 + 1.0, "merged_since": NIGHT_2 - DAY},
                  **cycle)))}
    return decided(PAIR, states, NIGHT_2 + now_s)


@pytest.mark.parametrize("waiting_for, trigger", [("a", "dependency"), ("", "schedule")])
def test_a_wait_ends_with_the_success_that_it_waited_for(waiting_for, trigger):
    decision = waiting(NIGHT_2, 9, waiting_for=waiting_for)
    (_, run), = decision.starts
    assert run.trigger == trigger
    assert decision.state.tasks["b"].cycle == sc.Cycle(
        slot=NIGHT_2, phase="running", trigger=trigger, since=NIGHT_2 + 9, merged_since=NIGHT_2 - DAY)


def test_a_wait_is_noted_once_with_its_cause():
    decision = waiting(None, 9, waiting_for="")
    assert decision.notes == ["b: slot 2025-06-03T02:00:00Z is waiting: "
                              "'a' has not succeeded for its slot 2025-06-03T02:00:00Z"]
    assert decision.state.tasks["b"].cycle.waiting_for == "a"
    assert waiting(None, 9, waiting_for="a").notes == []


def test_a_wait_ends_at_its_deadline():
    assert waiting(None, 600, waiting_for="a").records == []
    assert waiting(None, 600.5, waiting_for="a").records == []
    decision = waiting(None, 601, waiting_for="a")
    (record,) = decision.records
    assert (record["status"], record["dependency"], record["root"], record["merged_since"], record["reason"]) == (
        "skipped_dependency", "a", "a", "2025-06-02T02:00:00Z",
        "waited for 'a' until its start_deadline of 600.5 s passed: "
        "'a' has not succeeded for its slot 2025-06-03T02:00:00Z")
    after = decision.state.tasks["b"]
    assert after.cycle is None and after.skipped == {
        "status": "skipped_dependency", "scheduled_for": "2025-06-03T02:00:00Z", "dependency": "a"}


# -- stopping what waits

@pytest.mark.parametrize("cycle, last, records, after", [
    (sc.Cycle(slot=NIGHT_2, phase="queued", merged_since=NIGHT_2 - DAY), {}, ["2025-06-03T02:00:00Z"], {}),
    (sc.Cycle(slot=NIGHT_2, phase="retrying", attempts=[FAILED_AT]), {}, ["2025-06-03T02:00:00Z"],
     {"status": "stopped", "ended_at": "2025-06-03T03:00:00Z", "reason": "by joe"}),
    (sc.Cycle(slot=NIGHT_2, phase="retrying", attempts=[FAILED_AT]), {"failing_since": 7.0},
     ["2025-06-03T02:00:00Z"], {}),
    (sc.Cycle(slot=NIGHT_2, phase="running"), {}, [], {}), (None, {}, [], {}),
])
def test_what_waits_is_stopped_and_what_runs_is_not(cycle, last, records, after):
    state = known(ONE, "a", cycle=cycle, last=dict(FAILED_AT), queued_slot=NIGHT_2 + 60, **last)
    decision = sc.stop_waiting(ONE, sc.State(tasks={"a": state}, **KNOWN), "a", NIGHT_2 + 3600, "by joe")
    assert [(each["status"], each["reason"], each["scheduled_for"]) for each in decision.records] == [
        ("stopped", "by joe", slot) for slot in records + ["2025-06-03T02:01:00Z"]]
    now = decision.state.tasks["a"]
    is_running = cycle is not None and cycle.phase == "running"
    assert now.cycle == (cycle if is_running else None)
    assert (now.queued_slot, now.last) == (None, dict(FAILED_AT, **after))
    assert decision.state.zone_stamp == "z" and decision.starts == []
    if records:
        assert decision.records[0].get("merged_since") == (
            "2025-06-02T02:00:00Z" if cycle.merged_since else None)


def test_a_join_behind_a_join_is_not_asked_for_what_the_waiter_used_of_another():
    config = tasks_of(task("hand"), task("join", dependencies=["hand"]),
                      task("t", "0 3 * * *", dependencies=["join"]))
    states = {"hand": state_of(success_seq=1), "join": state_of(success_seq=6),
              "t": state_of(consumed={"join": 5})}
    assert sc.is_met(config, states, "t", "join", NIGHT_2)


def test_where_nothing_is_in_the_way_the_answer_is_empty():
    assert sc.lock_in_the_way(LOCKING.tasks["a"], {}) == ""
    assert sc._blocker_of(ROOTS, {"b": state_of(run=sc.Run())}, "b", NIGHT_2) == ""
    assert sc._blocker_of(ROOTS, {}, "b", NIGHT_2) == ""


def test_a_slot_that_was_promised_after_a_pause_is_not_sought_ahead_of_its_end():
    each = OFF_ON_TUESDAY.tasks["b"]
    later = NIGHT_2 + 2 * DAY
    state = sc.State(last_now=NIGHT_2 - 90.0, pauses={"b": pause_until(NIGHT_2 + DAY + 60)}, tasks={
        "b": state_of(skips={sc.iso(later): "me"})})
    assert sc.coming_slot(each, state, None, NIGHT_2 - 60) == later + DAY


def test_a_run_by_hand_that_ends_leaves_the_open_cycle_alone():
    state = going(ONE, run={"trigger": "manual", "slot": None}, phase="retrying")
    state = state.replace(cycle=state.cycle.replace(attempt=2, retry_at=LATER + 50))
    for status in ("success", "failed"):
        after = settled({"kind": "ended", "result": ended(status)}, state).state.tasks["a"]
        assert (after.run, after.cycle) == (None, state.cycle)


def test_a_slot_that_comes_while_nothing_is_known_of_a_run_stays_undecided():
    state = going(ONE).replace(cursor=NIGHT_2 - DAY, next_slot=NIGHT_2)
    decision = settled({"kind": "unknown"}, state)
    assert not decision.changed and decision.state.tasks["a"] == state and decision.records == []
    assert settled({"kind": "held"}, state).records[0]["status"] == "skipped_overlap"


def test_what_could_not_be_ended_stays_said_while_the_run_is_held():
    state = going(ONE, run={"unended": "process 7 cannot be killed"})
    decision = settled({"kind": "held"}, state)
    assert not decision.changed and decision.state.tasks["a"] == state


def test_what_ended_is_not_open_for_the_next_decision():
    for settle_only in (False, True):
        decision = settled({"kind": "ended", "result": ended("success")}, settle_only=settle_only)
        assert (decision.agenda.active, decision.agenda.due) == ([], frozenset())
    removed = decided(tasks_of(task("b")), {"a": state_of(), "b": state_of(schedule_key="none", boot_id="b")})
    assert removed.changed and list(removed.state.tasks) == ["b"]
    assert (removed.agenda.active, removed.agenda.due) == ([], frozenset())


def test_a_pause_that_is_over_before_a_slot_does_not_take_it():
    state = state_of(boot_id="b")
    decision = decided(ONE, {"a": state}, NIGHT_2 + 30, pauses={"a": pause_until(NIGHT_2 - 1)})
    assert [run.slot for _, run in decision.starts] == [NIGHT_2]
    assert decision.state.pauses == {}
    decision = decided(ONE, {"a": state}, NIGHT_2 + 30, pauses={"a": pause_until(NIGHT_2)})
    assert decision.starts == [] and decision.state.tasks["a"].next_slot == NIGHT_2 + DAY


def test_a_deadline_of_no_time_at_all_is_said_as_that():
    tasks = dict(PAIR.tasks, b=PAIR.tasks["b"].replace(start_deadline=0))
    states = {"a": known(PAIR, "a", next_slot=NIGHT_2 + DAY),
              "b": known(PAIR, "b", cursor=NIGHT_2, next_slot=NIGHT_2 + DAY,
                         cycle=sc.Cycle(slot=NIGHT_2, waiting_for="a"))}
    (record,) = decided(PAIR.replace(tasks=tasks), states, NIGHT_2 + 1).records
    assert record["reason"].startswith("waited for 'a' until its start_deadline of 0 s passed: ")
    one = ONE.replace(tasks={"a": ONE.tasks["a"].replace(start_deadline=0)})
    (record,) = decided(one, {"a": known(one, "a")}, NIGHT_2 + 1).records
    assert record["reason"] == "1 s late, start_deadline is 0 s"


def test_who_waits_hears_of_a_success_and_others_are_not_looked_at():
    config = tasks_of(task("a", "0 2 * * *"), task("b", "0 2 * * *", dependencies=["a"]),
                      task("c", "0 2 * * *", dependencies=["x"]), task("x", "0 2 * * *"))
    run = {"run": sc.Run(run_id="R", slot=NIGHT_2, started_at=NIGHT_2),
           "cycle": sc.Cycle(slot=NIGHT_2, phase="running")}
    wait = {name: {"cycle": sc.Cycle(slot=NIGHT_2, waiting_for=on)} for name, on in (("b", "a"), ("c", "x"))}
    states = {name: known(config, name, cursor=NIGHT_2, next_slot=NIGHT_2 + DAY,
                          **(run if name in "ax" else wait[name])) for name in "abcx"}
    state = sc.State(tasks=states, **KNOWN)
    held = {"a": sc.RunFact(), "x": sc.RunFact()}
    first = sc.decide(config, state, NIGHT_2 + 9, sc.Facts(boot_id="b", zone_stamp="z", runs=held))
    over = dict(held, a=sc.RunFact(kind="ended", result=dict(ended("success"), ended_at=NIGHT_2 + 10.0)))
    second = sc.decide(config, first.state, NIGHT_2 + 10, sc.Facts(boot_id="b", zone_stamp="z", runs=over),
                       agenda=first.agenda)
    assert [each.name for each, _ in second.starts] == ["b"]
    assert second.state.tasks["c"] is first.state.tasks["c"]


def test_a_decision_counts_on_from_the_state_and_hands_on_all_that_is_to_be_written():
    state = going(HEARD, attempt=3)
    facts = {"runs": {"a": sc.RunFact(kind="ended", result=ended())},
             "gap": sc.Gap(since=NIGHT_2 - 900.0, until=LATER, cause="cron")}
    pauses = {"b": pause_until(None)}
    decision = decided(HEARD, {"a": state}, LATER, facts, seq=3, runs_started=4, messages_made=5, pauses=pauses)
    assert [message["id"] for message in decision.messages] == ["20250603T020105Z-6", "20250603T020105Z-7"]
    after = decision.state
    assert (after.seq, after.runs_started, after.messages_made, after.pauses, after.last_now, after.zone_stamp) == (
        3, 4, 7, pauses, LATER, "z")
    assert [event["event"] for event in decision.events] == ["gap"] and len(decision.records) == 1
    assert after.pending == decision.records + decision.events + decision.messages == decision.lines
    assert after.tasks["a"].notified_at == LATER


def test_a_run_by_hand_that_fails_counts_as_no_slot_that_does():
    state = going(ONE, run={"trigger": "manual", "slot": None}).replace(cycle=None, consecutive_failures=2)
    after = settled({"kind": "ended", "result": ended()}, state).state.tasks["a"]
    assert (after.consecutive_failures, after.failing_since, after.marks) == (2, LATER, "F")


@pytest.mark.parametrize("kind", ["boot", "join"])
def test_a_calendar_keeps_nothing_from_starting_on_other_days(kind):
    config = tasks_of(task("a", "0 2 * * *"), task("boot", "@reboot", not_on=["wed"]),
                      task("join", dependencies=["a"], not_on=["wed"]))  # June 3rd is a Tuesday
    states = {"a": known(config, "a", next_slot=NIGHT_2 + DAY, success_seq=1),
              "boot": known(config, "boot", next_slot=None, boot_id="b" if kind == "join" else "of another start"),
              "join": known(config, "join", next_slot=None, consumed={} if kind == "join" else {"a": 1})}
    decision = decided(config, states, facts={"boot_at": NIGHT_2 - 9})
    assert [each.name for each, _ in decision.starts] == [kind] and decision.records == []


def test_a_task_for_each_start_of_the_machine_begins_with_the_next_one():
    config = tasks_of(task("boot", "@reboot"))
    decision = decided(config, {}, facts={"boot_at": NIGHT_2 - 9})
    assert decision.starts == [] and decision.events == []
    assert decision.state.tasks["boot"] == state_of(
        schedule_key=config.tasks["boot"].schedule_key, cursor=NIGHT_2, boot_id="b")


@pytest.mark.parametrize("ahead_s, cursor_s", [(10800, 10800), (10801, 0)])
def test_a_task_without_slots_counts_from_the_right_time_too(ahead_s, cursor_s):
    config = tasks_of(task("hand"))
    before = known(config, "hand", next_slot=None, cursor=NIGHT_2 + ahead_s)
    after = decided(config, {"hand": before}, last_now=NIGHT_2 + 60.0).state.tasks["hand"]
    assert (after.cursor, after.next_slot) == (NIGHT_2 + cursor_s, None)


def test_the_next_slot_is_marked_to_be_skipped():
    each = OFF_ON_TUESDAY.tasks["b"]
    before = state_of(schedule_key=each.schedule_key, next_slot=NIGHT_2, skips={"S": "joe"})
    state = sc.State(seq=5, tasks={"b": before})
    after, slot = sc.skip_slot(state, each, None, NIGHT_2 - 60, "me")
    assert slot == NIGHT_2
    assert after == state.replace(tasks={"b": before.replace(skips={"S": "joe", "2025-06-03T02:00:00Z": "me"})})
    hand = OFF_ON_TUESDAY.tasks["hand"]
    assert sc.skip_slot(state, hand, None, NIGHT_2, "me") == (state, None)


def test_what_cannot_start_yet_is_looked_at_again_with_the_next_tick():
    assert started(ONE, {"a": queued_of(ONE, "a")}, busy=frozenset(("a",)))[1].wake_at == 0.0


# -- what only a rare state shows

def test_what_is_due_is_decided_at_its_time_after_a_process_that_only_settles():
    """There is no run to watch, and nothing is to be checked of a task at rest."""
    decision = decided(ONE, {"a": known(ONE, "a")}, LATER, settle_only=True)
    assert not decision.changed and decision.agenda.due == frozenset(("a",))
    assert (decision.wake_at, decision.agenda.unchecked) == (NIGHT_2, frozenset())


def test_a_start_tells_its_dependents_nothing():
    states = {"a": queued_of(PAIR, "a"),
              "b": known(PAIR, "b", cursor=NIGHT_2, next_slot=NIGHT_2 + DAY, cycle=sc.Cycle(
                  slot=NIGHT_2, waiting_for="a", since=NIGHT_2 + 1.0))}
    names, decision = started(PAIR, states)
    assert names == ["a"] and decision.state.tasks["b"] is states["b"]
    assert decision.agenda.unchecked == frozenset()


@pytest.mark.parametrize("before, after", [("a,1 v1", "a,1 v2"), ("", "a,1 v1")])
def test_new_zone_data_are_remembered_where_they_move_no_slot(before, after):
    config = tasks_of(task("hand"))
    states = {"hand": known(config, "hand", next_slot=None)}
    decision = decided(config, states, facts={"zone_stamp": after}, zone_stamp=before)
    assert decision.changed and decision.state.zone_stamp == after
    assert decision.events == [] and decision.state.tasks == states


def test_the_end_of_a_pause_is_remembered_where_it_moves_no_slot():
    config = tasks_of(task("hand"))
    states = {"hand": known(config, "hand", next_slot=None)}
    decision = decided(config, states, pauses={"gone": pause_until(NIGHT_2), "b": pause_until(None)})
    assert decision.changed and decision.state.pauses == {"b": pause_until(None)}
    assert decision.notes == ["gone: the pause has ended"] and decision.state.tasks == states


def test_a_correction_of_the_clock_is_none_for_a_task_that_was_decided_up_to_now():
    before = known(ONE, "a", cursor=NIGHT_2, next_slot=NIGHT_2 + DAY, satisfied_until=NIGHT_2 + 4 * 3600)
    decision = decided(ONE, {"a": before}, last_now=NIGHT_2 + 4 * 3600.0)
    assert decision.state.tasks["a"] == before.replace(satisfied_until=NIGHT_2)
    assert decision.notes == [] and decision.events == []


def test_a_queued_slot_that_the_next_one_overtakes_tells_what_it_waited_for():
    config = tasks_of(task("a", "0 2 * * *"), task("b", "0 2 * * *", dependencies=["a"], overlap="queue"))
    states = {"a": known(config, "a", next_slot=NIGHT_2 + DAY, satisfied_until=NIGHT_2 - 2 * DAY),
              "b": known(config, "b", queued_slot=NIGHT_2 - DAY, queued_since=NIGHT_2 - 2 * DAY)}
    decision = decided(config, states)
    (record,) = decision.records
    assert (record["status"], record["scheduled_for"], record["merged_since"], record["dependency"]) == (
        "skipped_dependency", "2025-06-02T02:00:00Z", "2025-06-01T02:00:00Z", "a")
    assert record["reason"].startswith("waited for 'a' until its next slot 2025-06-03T02:00:00Z was due: ")
    after = decision.state.tasks["b"]
    assert (after.cycle.slot, after.cycle.phase, after.queued_slot) == (NIGHT_2, "waiting", None)


@pytest.mark.parametrize("trigger, name", [("dependency", "join"), ("dependency", "b"), ("schedule", "a")])
def test_what_cannot_start_at_once_is_queued_since_then(trigger, name):
    config = tasks_of(task("a", "0 2 * * *"), task("b", "0 2 * * *", dependencies=["a"]),
                      task("join", dependencies=["a"]))
    at_rest = {"a": known(config, "a", cursor=NIGHT_2, next_slot=NIGHT_2 + DAY, satisfied_until=NIGHT_2,
                          success_seq=1),
               "b": known(config, "b", cursor=NIGHT_2, next_slot=NIGHT_2 + DAY),
               "join": known(config, "join", next_slot=None, consumed={"a": 1})}
    waits = {"a": known(config, "a"), "join": at_rest["join"].replace(consumed={}),
             "b": at_rest["b"].replace(cycle=sc.Cycle(slot=NIGHT_2, waiting_for="a", since=NIGHT_2 + 1.0))}
    names, decision = started(config, dict(at_rest, **{name: waits[name]}), busy=frozenset((name,)))
    assert names == []
    assert decision.state.tasks[name].cycle == sc.Cycle(
        slot=NIGHT_2 + (9 if name == "join" else 0), phase="queued", trigger=trigger, since=NIGHT_2 + 9)


def yearly(**fields):
    """A task of every January 1st, and its last slot of the calendar."""
    config = tasks_of(task("a", "0 0 1 1 *", **fields))
    slots = [at("9990-01-01T00:00:00Z")]
    while slots[-1] is not None and len(slots) < 20:
        slots.append(config.tasks["a"].schedule.next(slots[-1], "UTC"))
    assert slots[-1] is None
    return config, slots[-2]


@pytest.mark.parametrize("fields", [{}, {"not_on": ["12-25"]}])
def test_the_last_slot_of_the_calendar_runs(fields):
    config, last = yearly(**fields)
    before = known(config, "a", cursor=last - 300 * DAY, next_slot=last)
    decision = decided(config, {"a": before}, last + 30.0, last_now=last - 60.0)
    assert [run.slot for _, run in decision.starts] == [last] and decision.records == []
    after = decision.state.tasks["a"]
    assert (after.cursor, after.next_slot, after.skips) == (last, None, {})


def test_a_failure_that_nobody_is_told_of_is_not_taken_as_told():
    for config, notified_at in ((ONE, 0.0), (HEARD, LATER)):
        decision = settled({"kind": "ended", "result": ended()}, going(config, attempt=3), config)
        assert decision.state.tasks["a"].notified_at == notified_at
        assert len(decision.messages) == (1 if notified_at else 0)


@pytest.mark.parametrize("notified_s, is_told", [(-0.5, False), (0, False), (0.5, True), (1, True), (None, True)])
def test_a_failure_that_was_told_of_later_than_now_is_news(notified_s, is_told):
    """The clock was set back, by less than a second maybe."""
    state = going(HEARD, attempt=3).replace(
        failing_since=NIGHT_2 - DAY, notified_at=0.0 if notified_s is None else LATER + notified_s)
    messages = settled({"kind": "ended", "result": ended()}, state, HEARD).messages
    assert [message["event"] for message in messages] == (["failed"] if is_told else [])


def test_a_success_ends_what_was_told_of_a_failure():
    state = going(HEARD).replace(failing_since=NIGHT_2 - DAY, notified_at=NIGHT_2 - DAY, blocking_at=NIGHT_2 - DAY)
    decision = settled({"kind": "ended", "result": ended("success")}, state, HEARD)
    assert [message["event"] for message in decision.messages] == ["recovered"]
    after = decision.state.tasks["a"]
    assert (after.notified_at, after.blocking_at, after.failing_since) == (0.0, 0.0, 0.0)


def test_a_verdict_has_no_fields_of_what_did_not_happen():
    (record,) = settled({"kind": "ended", "result": ended("success")}).records
    assert not {"attempts", "absorbed", "merged_since", "interim", "backfill"}.intersection(record)
