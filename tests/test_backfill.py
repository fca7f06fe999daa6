"""`run` for past slots, and with variables of its own."""

import json

import pytest
from stories import Told, World, at, task
from support import every_minute

import symphony_conductor as sc

NOON = "2025-06-02T12:00:00Z"


# -- the decision

def daily():
    world = World(task("a", "0 2 * * *"), task("b", "0 3 * * *", dependencies=["a"]))
    world.tick("2025-06-02T10:00:00Z")
    for day in (3, 4):
        world.tick("2025-06-%02dT02:00:00Z" % day)
        world.end("a", "failed", "2025-06-%02dT02:01:00Z" % day, 1)
        world.tick("2025-06-%02dT03:00:00Z" % day)
    return world


def run_for(world, slot, now, status="success"):
    world.state, run = sc.begin_manual(world.state, world.config.tasks["a"], at(now), at(slot))
    world.end("a", status, now)
    return run, world.tick(now)


def test_a_run_for_a_slot_answers_for_that_slot_alone():
    world = daily()
    run, started = run_for(world, "2025-06-03T02:00:00Z", "2025-06-04T09:00:00Z")
    assert (run.trigger, sc.iso(run.slot), started) == ("manual", "2025-06-03T02:00:00Z", [])
    assert world.state.tasks["b"].cycle.waiting_for == "a"  # for the slot of the 4th
    _, started = run_for(world, "2025-06-04T02:00:00Z", "2025-06-04T09:10:00Z")
    assert started == ["b@2025-06-04T03:00:00Z"]


def test_a_run_for_an_older_slot_takes_nothing_back():
    world = daily()
    run_for(world, "2025-06-04T02:00:00Z", "2025-06-04T09:00:00Z")
    run_for(world, "2025-06-03T02:00:00Z", "2025-06-04T09:10:00Z")
    assert sc.iso(world.state.tasks["a"].satisfied_until) == "2025-06-04T02:00:00Z"


@pytest.mark.parametrize("newest, by_hand", [("failed", "success"), ("success", "failed"), ("success", "timeout")])
def test_a_run_for_an_older_slot_changes_nothing_of_how_the_task_stands(newest, by_hand):
    world = Told(task("a", "0 2 * * *", ping_url="http://example.org/p"), task("after", dependencies=["a"]))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.finish("a", "2025-06-03T02:01:00Z", newest)
    world.tick("2025-06-04T02:00:00Z")
    world.finish("a", "2025-06-04T02:01:00Z", newest)
    before, told = world.state.tasks["a"], world.told()
    _, started = run_for(world, "2025-06-03T02:00:00Z", "2025-06-04T09:00:00Z", by_hand)
    assert started == [] and world.told() == told
    after = world.state.tasks["a"]
    assert after.totals.pop(by_hand) == before.totals.get(by_hand, 0) + 1
    assert after.replace(totals={}, satisfied_until=0) == before.replace(totals={}, satisfied_until=0)
    assert sc.health_line(world.verdicts[-1]) is None


def test_a_run_by_hand_for_no_slot_answers_for_all_before_it():
    world = daily()
    world.state, _ = sc.begin_manual(world.state, world.config.tasks["a"],
                                     at("2025-06-04T09:00:00Z"))
    world.end("a", "success", "2025-06-04T09:00:00Z")
    assert world.tick("2025-06-04T09:00:01Z") == ["b@2025-06-04T03:00:00Z"]


@pytest.mark.parametrize("scheduled, by_hand, fate", [
    ("failed", "success", "success"), ("skipped_late", "success", "success"),
    ("success", "failed", "success"), (None, "success", "success"), ("failed", "timeout", "timeout"),
])
def test_an_audit_takes_a_run_for_a_slot_into_account(scheduled, by_hand, fate):
    verdicts = [{"status": status, "scheduled_for": NOON, "trigger": trigger, "started_at": NOON}
                for status, trigger in ((scheduled, "schedule"), (by_hand, "manual"),
                                        ("failed", "manual"), (by_hand, "manual")) if status]
    ledger = sc.Ledger(verdicts, sc.TaskState())
    assert ledger.fate(at(NOON), sc.Period())[0] == fate


def test_a_lost_state_takes_no_run_for_a_slot_for_one_of_the_schedule():
    record = {"run_id": "R", "trigger": "manual", "slot": at(NOON), "attempt": 1, "started_at": 1.0}
    config = World(task("a", "0 2 * * *")).config
    state = sc._caught_up(config.tasks["a"], sc.TaskState(), record)
    assert state.cycle is None and state.run.run_id == "R" and state.cursor == 0


# -- the command line

REFUSALS = (
    ("--yes", "--yes needs --from (it confirms a great number of slots)"),
    ("--slot 2025-06-02T03:30Z", "--slot: Mon 2025-06-02 03:30 +0000 is not a slot of a (the"
     " nearest: Mon 2025-06-02 02:00 +0000 and Tue 2025-06-03 02:00 +0000)"),
    ("--slot 2025-06-09T02:00Z", "--slot: 2025-06-09T02:00Z is in the future"),
    ("--from 2025-06-09", "--from: 2025-06-09 is in the future"),
    ("--to 2025-06-01", "--to needs --from"),
    ("--slot 2025-06-01T02:00Z --to 2025-06-02", "--to needs --from"),
    ("--dry-run", "--dry-run needs --from (it lists the slots)"),
    ("--from 11:00", "a has no slot from Mon 2025-06-02 11:00 +0000 to Mon 2025-06-02 12:00 +0000"),
    ("--from 2025-01-01", "153 slots from Wed 2025-01-01 00:00 +0000 to Mon 2025-06-02 12:00 +0000"
     " (--yes runs them all, --dry-run lists them)"),
    ("--slot x", "--slot: 'x' is not a time; use 18:09, 12h, 2025-06-02 or 2025-06-02T18:09Z"),
    ("--env 1X=2", "--env: '1X' is not NAME=VALUE, with letters, digits and '_' in the name"),
    ("--env X", "--env: 'X' is not NAME=VALUE, with letters, digits and '_' in the name"),
    ("--env SYMPHONY_ROOT=/", "--env: SYMPHONY_ROOT is set by the conductor"),
)


@pytest.mark.parametrize("line, answer", REFUSALS)
def test_what_run_refuses(hand, line, answer):
    hand.configure(task("a", "0 2 * * *"), task("free"))
    hand.move(NOON)
    assert hand.call("run", "a", *line.split()) == (2, "", "symphony_conductor: %s\n" % answer)


def test_a_task_without_times_has_no_slots(hand):
    hand.configure(task("a", "@reboot"), task("b"))
    for name in "ab":
        assert hand.call("run", name, "--slot", "02:00")[2] == (
            "symphony_conductor: %s has no slots: it has no times in its schedule\n" % name)


def test_a_dry_run_lists_the_slots(hand):
    hand.configure(task("a", "0 2 * * *"))
    hand.move(NOON)
    assert hand.call("run", "a", "--from", "2025-05-31", "--to", "2025-06-01T02:00Z",
                     "--dry-run") == (0, "Sat 2025-05-31 02:00 +0000\nSun 2025-06-01 02:00 +0000\n",
                                      "")


# -- real processes

SHOW = "echo $SYMPHONY_SCHEDULED_FOR >> slots; echo $SYMPHONY_SCHEDULED_FOR; " \
    "case $SYMPHONY_SCHEDULED_FOR in *01-03*) test -e go;; esac"


def backfilled(project, *words):
    return project.call("run", "job", "--from", "2025-01-01", "--to", "2025-01-05", *words)


def test_a_backfill_runs_slot_by_slot_until_one_fails_and_says_how_to_go_on(project):
    project.configure(dict(every_minute("job", SHOW), schedule="0 2 * * *", timezone="UTC"))
    code, out, err = backfilled(project)
    slots = ["2025-01-%02dT02:00:00Z" % day for day in (1, 2, 3, 4)]
    assert (code, out.split(), project.lines("slots")) == (1, slots[:3], slots[:3])
    assert err.splitlines()[-1] == (
        "symphony_conductor: 2 slots left; to go on: run job --from 2025-01-03T02:00:00Z --to 2025-01-04T02:00:00Z")
    assert "symphony_conductor: slot 2025-01-03T02:00:00Z, 3 of 4" in err.splitlines()
    (project.root / "go").write_text("")
    code, out, _ = project.call(*err.splitlines()[-1].partition("to go on: ")[2].split())
    assert (code, out.split()) == (0, slots[2:])
    history = [(record["status"], record["scheduled_for"], record["trigger"])
               for record in project.history()]
    assert history == [(status, slot, "manual") for status, slot in zip(
        ("success", "success", "failed", "success", "success"), slots[:3] + slots[2:])]


def test_how_to_go_on_names_the_options_and_a_skip_ends_it_too(project):
    project.configure(dict(every_minute("job", "exit 0"), schedule="0 2 * * *", timezone="UTC",
                           success_exit_codes=[1], skip_exit_codes=[0]))
    code, _, err = backfilled(project, "--ignore-dependencies", "--env", "TOKEN=secret-word")
    assert code == 0 and "secret-word" not in err
    assert err.splitlines()[-1].endswith(
        "4 slots left; to go on: run job --from 2025-01-01T02:00:00Z --to 2025-01-04T02:00:00Z "
        "--ignore-dependencies, with the same --env TOKEN")


def test_how_to_go_on_with_many_slots_is_not_refused(project):
    project.configure(dict(every_minute("job", "exit 3"), schedule="0,30 * * * *", timezone="UTC"))
    code, _, err = backfilled(project, "--yes")
    command = err.splitlines()[-1].partition("193 slots left; to go on: ")[2].split()
    assert code == 3 and project.call(*command)[0] == 3


def test_run_for_one_slot(project):
    project.configure(dict(every_minute("job", SHOW), schedule="0 2 * * *", timezone="UTC"))
    assert project.call("run", "job", "--slot", "2025-01-02T02:00Z") == (
        0, "2025-01-02T02:00:00Z\n", "")
    state = project.state()["tasks"]["job"]
    assert sc.iso(state["satisfied_until"]) == "2025-01-02T02:00:00Z"


def test_variables_of_a_run_are_its_own_and_masked(project):
    project.configure(dict(every_minute("job", "echo $TOKEN1 $X; exit 3"), env={"X": "old"}))
    code, out, _ = project.call("run", "job", "--env", "TOKEN1=hush-hush", "--env", "X=new=er")
    assert (code, out) == (3, "hush-hush new=er\n")
    assert project.call("run", "job")[1] == "old\n"
    first, second = project.history()
    assert first["output_tail"] == "*** ***\n" and second["output_tail"] == "old\n"
    definition = json.loads(project.read("status/definitions/%s.json" % first["definition"]))
    assert set(definition["env"]) == {"TOKEN1", "X"}
    for path in (project.root / "status").rglob("*"):
        if path.is_file():
            assert "hush-hush" not in path.read_text(errors="replace"), path
