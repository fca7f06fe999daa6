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
