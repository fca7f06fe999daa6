"""Locks that tasks share: never two of them at a time, none overtaken for ever."""

import json
import random
import subprocess
import time

import pytest
from stories import World, at, status_at, task
from support import due_once, nothing_lives

import symphony_conductor as sc

START = "2025-06-02T10:00:00Z"
NIGHT = at("2025-06-03T02:00:00Z")


def waiting_for(world, name, now=None):
    document = sc.task_document(world.config, world.state, world.config.tasks[name],
                                now or world.last_seen, world.last_seen)
    return document["reason"]


def night_of(*tasks, **settings):
    """A world a minute before 02:00."""
    world = World(*tasks, **settings)
    world.tick(START)
    return world


# -- the decision

def test_of_two_tasks_with_a_common_lock_the_second_starts_when_the_first_has_ended():
    world = night_of(task("dump", "0 2 * * *", locks=["db"]),
                     task("vacuum", "0 2 * * *", locks=["db", "disk"]))
    assert world.tick(NIGHT) == ["dump@2025-06-03T02:00:00Z"]
    assert waiting_for(world, "vacuum") == (
        "since 2025-06-03T02:00:00Z (lock 'db' is held by 'dump')")
    assert world.finish("dump", "2025-06-03T02:09:00Z") == ["vacuum@2025-06-03T02:00:00Z"]


def test_waiting_for_a_lock_holds_no_place():
    world = night_of(task("dump", "0 2 * * *", locks=["db"]),
                     task("vacuum", "0 2 * * *", locks=["db"]), task("mail", "0 2 * * *"),
                     max_concurrent_tasks=2)
    assert world.tick(NIGHT) == ["dump@2025-06-03T02:00:00Z", "mail@2025-06-03T02:00:00Z"]


def test_a_task_that_waits_for_two_locks_is_not_overtaken_by_those_that_want_one():
    world = night_of(task("x", "0 2 * * *", locks=["left"]),
                     task("both", "1 2 * * *", locks=["right", "left"]),
                     task("y", "2 2 * * *", locks=["right"]), max_concurrent_tasks=9)
    assert world.tick(NIGHT) == ["x@2025-06-03T02:00:00Z"]
    assert world.tick(NIGHT + 60) == []
    assert world.tick(NIGHT + 120) == []
    assert waiting_for(world, "y") == "since 2025-06-03T02:02:00Z (lock 'right' goes to 'both' first)"
    assert world.finish("x", "2025-06-03T02:03:00Z") == ["both@2025-06-03T02:01:00Z"]
    assert world.finish("both", "2025-06-03T02:04:00Z") == ["y@2025-06-03T02:02:00Z"]


def test_a_retry_that_is_not_due_keeps_no_lock():
    world = night_of(task("dump", "0 2 * * *", locks=["db"], retry_count=1, retry_delay=600),
                     task("vacuum", "1 2 * * *", locks=["db"]))
    assert world.tick(NIGHT) == ["dump@2025-06-03T02:00:00Z"]
    world.tick(NIGHT + 60)
    assert world.finish("dump", "2025-06-03T02:02:00Z", "failed") == ["vacuum@2025-06-03T02:01:00Z"]
    assert world.tick(NIGHT + 780) == []  # the retry is due, and has to wait
    assert world.finish("vacuum", "2025-06-03T02:14:00Z") == ["dump@2025-06-03T02:00:00Z"]


def test_a_run_keeps_the_locks_that_it_started_with():
    world = night_of(task("dump", "0 2 * * *", locks=["db"]), task("vacuum", "1 2 * * *", locks=["db"]))
    world.tick(NIGHT)
    world.configure(task("vacuum", "1 2 * * *", locks=["db"]))  # without the task that runs
    assert world.tick(NIGHT + 60) == []
    assert waiting_for(world, "vacuum") == "since 2025-06-03T02:01:00Z (lock 'db' is held by 'dump')"
    assert world.finish("dump", "2025-06-03T02:05:00Z") == ["vacuum@2025-06-03T02:01:00Z"]


def test_a_task_that_waited_too_long_for_a_lock_says_so():
    world = night_of(task("dump", "0 2 * * *", locks=["db"]),
                     task("vacuum", "0 2 * * *", locks=["db"], start_deadline=600))
    world.tick(NIGHT)
    world.tick(NIGHT + 660)
    assert world.said() == [("vacuum", "skipped_late", "2025-06-03T02:00:00Z")]
    assert world.verdicts[0]["reason"] == (
        "queued too long (lock 'db' is held by 'dump'): 660 s late, start_deadline is 600 s")


def test_a_task_whose_run_the_state_lacks_holds_its_locks():
    world = night_of(task("dump", "0 2 * * *", locks=["db"]), task("vacuum", "0 2 * * *", locks=["db"]))
    facts = world.facts(boot_id=world.boot, zone_stamp="z", busy=frozenset(["dump"]))
    decision = sc.decide(world.config, world.state, NIGHT, facts, world.last_seen)
    assert decision.starts == []


@pytest.mark.parametrize("seed", range(30))
def test_random_locks_never_meet_and_every_slot_runs(seed):
    chance = random.Random(seed)
    names = ["t%d" % number for number in range(8)]
    locks = {name: chance.sample("abcd", chance.randint(0, 3)) for name in names}
    world = World(*[task(name, "%d * * * *" % chance.randint(0, 30), locks=locks[name],
                         overlap="queue") for name in names],
                  max_concurrent_tasks=chance.randint(1, 8))
    now, ends, waited = at(START), {}, 0
    for _ in range(24 * 60):
        for name in [name for name, end in ends.items() if end <= now]:
            del ends[name]
            world.end(name, when=sc.iso(now))
        world.tick(now)
        for started, _ in world.decision.starts:
            ends[started.name] = now + chance.randint(1, 5) * 60
        held = [lock for name in ends for lock in locks[name]]
        assert len(held) == len(set(held)), (sc.iso(now), ends)
        for state in world.state.tasks.values():
            if state.cycle is not None and state.run is None:
                waited = max(waited, now - state.cycle.slot)
        now += 60
    assert waited <= 60 * 60  # eight tasks of five minutes, one after the other, and some
    for name in names:
        assert len([1 for who, status, _ in world.said() if (who, status) == (name, "success")]) >= 22


def test_no_advice_to_run_what_a_lock_would_refuse():
    world = night_of(task("dump", "0 2 * * *", locks=["db"]), task("load", "5 2 * * *"),
                     task("vacuum", "5 2 * * *", dependencies=["load"], locks=["db"]))
    world.tick(NIGHT)
    world.tick(NIGHT + 300)
    world.finish("load", "2025-06-03T02:06:00Z", "failed")
    def advice():
        return sc.why_text(world.config, world.state, world.config.tasks["vacuum"], None, None,
                           NIGHT + 600, world.last_seen)
    assert "run --task load" in advice() and "run --task vacuum" not in advice()
    world.finish("dump", "2025-06-03T02:07:00Z")
    assert "run --task vacuum --ignore-dependencies" in advice()


# -- a retry that is due and does not start

def retry_of(world, now):
    """What status says of dump, and the sentence of why on what comes next."""
    each = world.config.tasks["dump"]
    document = sc.task_document(world.config, world.state, each, at(now), world.last_seen)
    said = sc.why_text(world.config, world.state, each, None, None, at(now), world.last_seen, 999)
    said = said.split("\n")[0].partition(" It runs as configured:")[0]
    return document["reason"], document["next_run"], said.split(". ")[-1]


def test_a_due_retry_says_what_it_waits_for():
    world = night_of(task("dump", "0 2 * * *", locks=["db"], retry_count=1, retry_delay=60,
                          only_between="02:00-03:00"),
                     task("vacuum", "1 2 * * *", locks=["db"]),
                     task("mail", "2 2 * * *", retry_count=1), max_concurrent_tasks=2)
    world.tick(NIGHT)
    world.tick(NIGHT + 60)
    world.finish("dump", "2025-06-03T02:02:00Z", "failed")
    assert retry_of(world, "2025-06-03T02:02:30Z") == (
        "failed (exit 1); attempt 2 of 2 starts at the first tick after 2025-06-03T02:03:00Z",
        "2025-06-03T02:03:00Z", "Next run: Tue 2025-06-03 02:03 +0000 (in 30s).")
    world.tick(NIGHT + 180)
    due = "failed (exit 1); attempt 2 of 2: waiting since 2025-06-03T02:03:00Z "
    tomorrow = "2025-06-04T02:00:00Z"
    assert retry_of(world, "2025-06-03T02:03:30Z")[:2] == (
        due + "(lock 'db' is held by 'vacuum')", tomorrow)
    assert sc.examine(world.config, world.state, sc.Machine(
        now=NIGHT + 210, last_tick=world.last_seen))[0].text == (
        "dump failed (exit 1); attempt 2 of 2: waiting since 2025-06-03T02:03:00Z "
        "(lock 'db' is held by 'vacuum')")
    # The window has closed meanwhile.
    assert retry_of(world, "2025-06-03T03:00:30Z") == (
        due + "until 2025-06-04T02:00:00Z (only_between 02:00-03:00)", tomorrow,
        "Next run: Wed 2025-06-04 02:00 +0000 (in 22h 59m).")
    world.configure(*[task(name, "0 2 * * *", retry_count=1, retry_delay=60)
                      for name in ("dump", "vacuum", "mail")], max_concurrent_tasks=2)
    assert retry_of(world, "2025-06-03T02:03:30Z")[:2] == (
        due + "(max_concurrent_tasks reached)", tomorrow)
    world.end("vacuum", when="2025-06-03T02:04:00Z")
    world.configure(*[task(name, "0 2 * * *", retry_count=1, retry_delay=60)
                      for name in ("dump", "vacuum", "mail")], max_concurrent_tasks=9)
    assert retry_of(world, "2025-06-03T02:03:30Z") == (
        due + "(the next tick starts it)", "2025-06-03T02:04:00Z",
        "Its retry is due now; the next tick decides it.")
    assert world.tick(NIGHT + 240)[0] == "dump@2025-06-03T02:00:00Z"


def test_a_newer_slot_says_that_a_due_retry_has_the_lock_first():
    world = night_of(task("dump", "0 2 * * *", locks=["db", "disk"], retry_count=1, retry_delay=60),
                     task("scan", "1 2 * * *", locks=["disk"]),
                     task("vacuum", "2 2 * * *", locks=["db"]))
    world.tick(NIGHT)
    world.tick(NIGHT + 60)
    assert world.finish("dump", "2025-06-03T02:01:30Z", "failed") == ["scan@2025-06-03T02:01:00Z"]
    world.tick(NIGHT + 160)
    assert waiting_for(world, "vacuum") == (
        "since 2025-06-03T02:02:40Z (lock 'db' goes to 'dump' first)")


def test_a_due_retry_during_a_run_by_hand_is_told_as_such():
    world = night_of(task("dump", "0 2 * * *", retry_count=1, retry_delay=60))
    world.tick(NIGHT)
    world.finish("dump", "2025-06-03T02:02:00Z", "failed")
    world.state, _ = sc.begin_manual(world.state, world.config.tasks["dump"], NIGHT + 150)
    world.tick(NIGHT + 240)
    machine = sc.Machine(now=NIGHT + 240, last_tick=world.last_seen)
    assert sc.examine(world.config, world.state, machine)[0].text.endswith(
        "attempt 2 of 2: waiting since 2025-06-03T02:03:00Z (a run by hand is still going)")


def test_what_thousands_wait_for_is_computed_once(monkeypatch):
    world = night_of(*[task("t%d" % number, "0 2 * * *", locks=["db"], start_deadline=600)
                       for number in range(300)])
    world.tick(NIGHT)
    looked_at = []
    in_the_way = sc.lock_in_the_way
    monkeypatch.setattr(sc, "lock_in_the_way", lambda each, holders: (
        looked_at.append(each.name) or in_the_way(each, holders)))
    held = sc.locks_held
    monkeypatch.setattr(sc, "locks_held", lambda *given: looked_at.append("all") or held(*given))
    world.tick(NIGHT + 660)
    assert len(world.said()) == 299
    status_at(world, NIGHT + 661, world.last_seen)
    assert looked_at.count("all") <= 3 and len(looked_at) < 2000


# -- real processes

GUARDED = "mkdir held || echo BOTH >> both; echo %s >> order; sleep 0.02; rmdir held"


def test_thirty_starts_each_of_two_tasks_with_a_common_lock(project):
    project.configure(*[{"name": name, "command": GUARDED % name, "schedule": "0-59 0-23 * * *",
                         "locks": ["db"], "overlap": "queue"} for name in ("a", "b")])
    # Fixed times: between these ticks, supervisors decide by a clock that lies behind, and wildcards
    # follow the elapsed time.
    now = time.time()
    project.tick(now)
    for minute in range(1, 31):
        def have_run(minute=minute):
            project.tick(now + 60 * minute)  # again: one that finds the lock taken decides nothing
            return len(project.lines("order")) == 2 * minute
        assert project.wait_until(have_run)
        project.wait_for_idle()
    assert project.lines("both") == []
    assert sorted(project.lines("order")) == ["a"] * 30 + ["b"] * 30


def test_thirty_runs_by_hand_at_once_of_two_tasks_with_a_common_lock(project):
    project.configure(*[{"name": name, "command": GUARDED % name, "locks": ["db"], "schedule": None}
                        for name in ("a", "b")])
    project.tick(at(START))
    runs = [subprocess.Popen(project.command("run", "--task", "ab"[number % 2]),
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for number in range(60)]
    errors = [run.communicate()[1].decode() for run in runs]
    codes = [run.returncode for run in runs]
    assert set(codes) <= {0, 75} and codes.count(0) == len(project.lines("order")) >= 1
    assert project.lines("both") == []
    for code, error in zip(codes, errors):
        assert code == 0 or "is held by" in error or "running" in error or "lock" in error, error


def test_a_run_by_hand_is_refused_while_another_task_holds_its_lock(project):
    project.configure(
        {"name": "dump", "command": "touch started; while [ ! -e go ]; do sleep 0.02; done",
         "schedule": "* * * * *", "locks": ["db"]},
        {"name": "vacuum", "command": "echo done >> vacuumed", "schedule": "0 2 1 1 *", "locks": ["db"]})
    project.anchor()
    project.tick()
    assert project.wait_until((project.root / "started").exists)
    code, _, error = project.call("run", "--task", "vacuum")
    assert code == 75 and "vacuum: lock 'db' is held by 'dump', which is running" in error
    document = json.loads(project.call("status", "--json")[1])
    assert [entry["locks"] for entry in document["tasks"]] == [["db"], ["db"]]
    (project.root / "conductor_state.json").unlink()  # what runs holds its locks all the same
    project.tick()
    assert project.call("run", "--task", "vacuum")[0] == 75
    (project.root / "go").touch()
    project.wait_for_idle()
    assert project.call("run", "--task", "vacuum")[0] == 0
    assert project.lines("vacuumed") == ["done"]


@pytest.mark.parametrize("spoiled", [[], [{"name": "dump", "command": "true", "locks": ["db"]}]],
                         ids=["removed", "invalid"])
def test_a_run_holds_its_locks_though_its_task_and_the_state_are_lost(project, spoiled):
    other = {"name": "vacuum", "command": "true", "schedule": None, "locks": ["db"]}
    project.configure(due_once("dump", "sleep 99", locks=["db"]), other)
    project.anchor()
    project.tick()
    record = project.running_record("dump")
    project.configure(other, *[dict(task, schedule="61 * * * *") for task in spoiled])
    (project.root / "conductor_state.json").unlink()
    project.tick()
    assert "is held by 'dump'" in project.call("run", "vacuum")[2]
    assert sc.Conductor(sc.Store(str(project.root))).stop("dump", "joe").exit_code == 0
    assert nothing_lives(record) and [verdict["run_id"] for verdict in project.history()] == [
        record["run_id"]]
    assert project.call("run", "vacuum")[0] == 0
