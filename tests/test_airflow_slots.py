"""What a run on Airflow decides, held against the conductor's own planning; and its runner."""

import heapq
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from importlib import util

import pytest
from stories import World, at, task
from support import REPOSITORY, wait_until

import symphony_conductor as sc

sys.path.append(str(REPOSITORY / "scripts" / "airflow" / "plugins"))

import symphony_slots as slots  # noqa: E402

slots.SURPRISE_S = 10 * sc.DAY  # also a first slot that falls into an outage counts here

MINUTE, STEP = 60, 30
START = at("2025-06-02T22:00:00Z")  # a Monday


class Cluster:
    """Airflow as the tasks see it: one DAG run of each at a time, started by slots and events.

    `spans` says how long each attempt takes and how it ends; `jsonable` passes every memory through
    its document, as the store does.
    """

    def __init__(self, config, outcome, now):
        self.config, self.outcome = config, outcome
        self.memories = dict.fromkeys(config.tasks)
        self.cursors = dict.fromkeys(config.tasks, now)
        self.events = dict.fromkeys(config.tasks, False)
        self.active = {}  # task -> the DAG run of it that is going on
        self.rows, self.starts = [], []
        self.numbers = itertools.count(1)
        self.to_come = []  # the ends and retries, as times at which both are looked at

    def step(self, now, is_up=True):
        for name in list(self.active):
            run = self.active[name]
            if run["ends_at"] is not None and run["ends_at"] <= now:
                self._end(name, run, now)
        if not is_up:
            return
        for name in self.config.tasks:
            run = self.active.get(name)
            if run is not None and run["retry_at"] is not None and run["retry_at"] <= now:
                self._look(name, run, now, True)
        was_busy = True
        while was_busy:
            was_busy = False
            for name, one in self.config.tasks.items():
                if name not in self.active and self._is_due(one, now):
                    run = {"id": "run-%d" % next(self.numbers), "opened_at": now}
                    self._look(name, run, now, False)
                    was_busy = True

    def by_hand(self, name, now):
        if name in self.active:
            return False
        run = {"id": "hand-%d" % next(self.numbers), "opened_at": now}
        look = self._new_look(name, run)
        look.begin_by_hand(now, START)
        self._started(name, run, look, now)
        return True

    def _is_due(self, one, now):
        slot = slots.next_slot(one.schedule, one.timezone, self.cursors[one.name], now,
                               one.overlap == "queue")
        due_at = slots.next_look(one.window, slot, self.cursors[one.name])
        if due_at is not None and due_at <= now:
            self.cursors[one.name] = due_at
            return True
        had_event, self.events[one.name] = self.events[one.name], False
        return had_event

    def _new_look(self, name, run):
        names = slots.needed_tasks(self.config, name)
        return slots.Look(self.config, name, self.memories[name] or slots.Memory(),
                          {other: self.memories[other] for other in names}, run["id"])

    def _look(self, name, run, now, is_same_run):
        look = self._new_look(name, run)
        if look.look(now, run["opened_at"], START, is_same_run) is None:
            self._keep(name, look)
            self.active.pop(name, None)
        else:
            self._started(name, run, look, now)

    def _started(self, name, run, look, now):
        seconds, status = self.outcome(name, look.run)
        self.starts.append((name, look.run.slot, look.run.attempt, now))
        self._keep(name, look, is_final=False)
        self.to_come.append(now + seconds)
        self.active[name] = dict(run, look=look, ends_at=now + seconds, status=status,
                                 retry_at=None)

    def _end(self, name, run, now):
        look = run["look"]
        wait_s = look.end({"status": run["status"], "exit_code": int(run["status"] != "success"),
                           "ended_at": run["ends_at"], "output_tail": ""}, now)
        if wait_s is not None and not look.is_handed_on:
            self._keep(name, look, is_final=False)
            self.to_come.append(now + wait_s)
            run.update(ends_at=None, retry_at=now + wait_s)
            return
        self._keep(name, look)
        del self.active[name]
        if run["status"] == "success":
            for other in self.config.tasks.values():
                if name in other.dependencies:
                    self.events[other.name] = True

    def _keep(self, name, look, is_final=True):
        if is_final:
            self.rows += look.rows
            look.rows = []
        text = json.dumps(look.remembered().document())
        self.memories[name] = slots.memory_of(json.loads(text), name)


# Where a dependency succeeds in the minute of the start_deadline, the conductor says one or the
# other, by the second at which it ticks.
TOO_LATE = {"skipped_late": "too late", "skipped_dependency": "too late"}


def verdicts(rows):
    """What each slot came to, by task and slot; a run by hand has none."""
    found = []
    for row in rows:
        status = row["status"]
        if row.get("reason") and "start_deadline" in row["reason"]:
            status = TOO_LATE.get(status, status)
        found.append((row["task"], row["scheduled_for"] or "", status, row.get("attempt", 0)))
    return sorted(found)


class Both:
    """The same tasks, ends and times through the conductor's planning and through Airflow's runs."""

    def __init__(self, tasks, outcome, **settings):
        settings.setdefault("max_concurrent_tasks", 50)
        self.world = World(*tasks, changed_at=START - 1, **settings)
        self.outcome = outcome
        self.cluster = Cluster(self.world.config, outcome, START)
        self.ends = []  # of the world's runs: (when, task, status)
        self.world_starts = []
        self.world.tick(START)

    def step(self, now, is_up=True):
        while self.ends and self.ends[0][0] <= now:
            _, name, status = heapq.heappop(self.ends)
            self.world.end(name, status, when=sc.iso(now))
        if is_up:
            # Twice: what ended may let others go, and a supervisor's decision comes after it.
            for _ in range(2):
                self.world.tick(now)
                self._note_starts(now)
        self.cluster.step(now, is_up)

    def _note_starts(self, now):
        for one, run in self.world.decision.starts:
            seconds, status = self.outcome(one.name, run)
            self.world_starts.append((one.name, run.slot, run.attempt, now))
            heapq.heappush(self.ends, (now + seconds, one.name, status))

    def by_hand(self, name, now):
        """Start a task by hand where nothing of it runs: Airflow would hold it until that ends."""
        task_state = self.world.state.tasks[name]
        if name in self.cluster.active or task_state.run is not None:
            return
        one = self.world.config.tasks[name]
        self.world.state, run = sc.begin_manual(self.world.state, one, now)
        self.world.agenda = None
        seconds, status = self.outcome(name, run)
        self.world_starts.append((name, None, run.attempt, now))
        heapq.heappush(self.ends, (now + seconds, name, status))
        self.cluster.by_hand(name, now)

    def play(self, minutes, outages=(), by_hand=()):
        down = False
        grid, times = iter(range(START + MINUTE, START + minutes * MINUTE, MINUTE)), []
        heapq.heappush(times, next(grid))
        while times:
            now = heapq.heappop(times)
            while times and times[0] == now:
                heapq.heappop(times)
            if now % MINUTE == 0:
                times += [at for at in [next(grid, None)] if at is not None]
            wants_down = any(first <= now < last for first, last in outages)
            is_quiet = not self.cluster.active and not self.ends
            down = wants_down and (down or is_quiet)
            self.step(now, not down)
            for name in [name for when, name in by_hand if when == now and not down]:
                self.by_hand(name, now)
            times += [when for when, _, _ in self.ends] + self.cluster.to_come
            self.cluster.to_come = []
            times = [at for at in set(times) if now < at < START + minutes * MINUTE]
            heapq.heapify(times)

    def compare(self):
        """Both started the same at the same times, and came to the same verdicts.

        Of a task that is running or waiting at the end, only what came before that: on Airflow,
        the end of the run or the next event tells what became of the slots since then.
        """
        assert sorted(self.cluster.starts, key=str) == sorted(self.world_starts, key=str)
        until = {name: sc.iso(run["opened_at"]) for name, run in self.cluster.active.items()}
        for name, memory in self.cluster.memories.items():
            if memory is not None and memory.state.cycle is not None:
                slot = sc.iso(memory.state.cycle.slot)
                until[name] = min(until.get(name, slot), slot)
        ours, theirs = ([row for row in verdicts(rows) if row[1] < until.get(row[0], "9")]
                        for rows in (self.cluster.rows, self.world.verdicts))
        assert ours == theirs


def outcomes(seed, durations, fails):
    """How long each attempt takes and how it ends: the same for all who ask."""
    def outcome(name, run):
        dice = random.Random("%s %s %s %s" % (seed, name, run.slot, run.attempt))
        low, high = durations.get(name, (1, 3))
        status = "success" if dice.random() >= fails.get(name, 0.1) else "failed"
        # No two end at once: which of them is the newer success would be anybody's guess.
        return dice.randint(low, high) * STEP + "abcdef".index(name) + 1, status
    return outcome


def random_tasks(dice):
    names = ["a", "b", "c", "d", "e", "f"][:dice.randint(2, 6)]
    documents, durations, fails = [], {}, {}
    for number, name in enumerate(names):
        schedule = dice.choice(["* * * * *", "*/2 * * * *", "*/5 * * * *", "3-59/7 * * * *",
                                "*/10 * * * *", "H * * * *", "15 */2 * * *"])
        more = {}
        if number and dice.random() < 0.6:
            more["dependencies"] = dice.sample(names[:number], dice.randint(1, min(2, number)))
            if dice.random() < 0.3:
                schedule = None
        if dice.random() < 0.4:
            more["overlap"] = "queue"
        if dice.random() < 0.4:
            more.update(retry_count=dice.randint(1, 2), retry_delay=dice.choice([0, 60, 180]))
            fails[name] = 0.4
        if dice.random() < 0.3:
            durations[name] = (1, 30)
        if dice.random() < 0.2:
            more["start_deadline"] = dice.choice([90, 300, 900])
        # Not together: the conductor itself decides these by the second at which it ticks, and a slot
        # queued while the window is closed waits on Airflow until the next one.
        if dice.random() < 0.15 and not {"start_deadline", "overlap"} & set(more):
            more["only_between"] = dice.choice(["22:30-23:15, 00:20-01:10", "23:10-00:05"])
        if dice.random() < 0.15:
            more["not_on"] = [dice.choice(["monday", "2025-06-03"])]
        if schedule and dice.random() < 0.2:
            schedule = [schedule, "7,23 * * * *"]
        documents.append(task(name, schedule, **more))
    return documents, durations, fails


@pytest.mark.parametrize("seed", range(60))
def test_slots_come_to_the_same_verdicts_as_with_the_conductor(seed):
    dice = random.Random(seed)
    documents, durations, fails = random_tasks(dice)
    both = Both(documents, outcomes(seed, durations, fails))
    outages = []
    for _ in range(dice.randint(0, 3)):
        first = START + dice.randint(5, 200) * MINUTE
        outages.append((first, first + dice.randint(2, 40) * MINUTE))
    by_hand = [(START + dice.randint(5, 230) * MINUTE, dice.choice(documents)["name"])
               for _ in range(dice.randint(0, 6))]
    both.play(240, outages, by_hand)
    both.compare()


class Crowded(Cluster):
    """A cluster whose pools are full now and then: a DAG run begins, and its look comes later."""

    def __init__(self, config, outcome, now, dice):
        super().__init__(config, outcome, now)
        self.dice = dice

    def _look(self, name, run, now, is_same_run):
        if not is_same_run and "looks_at" not in run:
            run["looks_at"] = now + self.dice.choice([0, 0, 1, 45, 130, 700])
            self.active[name] = dict(run, ends_at=None, retry_at=None)
        elif not is_same_run or "look" in run:
            super()._look(name, run, now, is_same_run)

    def step(self, now, is_up=True):
        super().step(now, is_up)
        for name, run in list(self.active.items()):
            if "look" not in run and run["looks_at"] <= now:
                del self.active[name]
                super()._look(name, run, now, False)


def slots_between(one, first, last):
    while first is not None and first <= last:
        yield first
        first = one.schedule.next(first, one.timezone)


def slots_told(rows, one):
    """The slots that these verdicts answer for."""
    for row in rows:
        if row["task"] == one.name and row["scheduled_for"]:
            last = sc.from_iso(row["scheduled_for"])
            yield from slots_between(one, sc.from_iso(row.get("merged_since")) or last, last)


def slots_open(state, one):
    """The slots that have no verdict yet: that of the cycle, and those queued behind it."""
    if state.cycle is not None:
        yield from slots_between(one, state.cycle.merged_since or state.cycle.slot, state.cycle.slot)
    if state.queued_slot is not None:
        yield from slots_between(one, state.queued_since or state.queued_slot, state.queued_slot)


@pytest.mark.parametrize("seed", range(30))
def test_each_slot_has_one_verdict_however_late_the_looks_are(seed):
    dice = random.Random(seed)
    documents, durations, fails = random_tasks(dice)
    world = World(*documents, changed_at=START - 1)
    cluster = Crowded(world.config, outcomes(seed, durations, fails), START, dice)
    lost = {START + dice.randint(5, 300) * MINUTE for _ in range(3)}
    for now in range(START, START + 360 * MINUTE, 15):
        if now in lost and cluster.active:  # Airflow gives a run up, whatever became of it
            del cluster.active[dice.choice(sorted(cluster.active))]
        cluster.step(now, is_up=not START + 7200 < now < START + 9000)
    for name, one in world.config.tasks.items():
        if one.schedule is None:
            continue
        memory = cluster.memories[name]
        told = list(slots_told(cluster.rows + memory.pending, one))
        told += slots_open(memory.state, one)
        assert len(told) == len(set(told)), (name, utc(told))
        expected = list(slots_between(one, one.schedule.next(START, one.timezone),
                                      max(told, default=0)))
        assert sorted(told) == expected, (name, one.schedule.text)


def utc(times):
    return [sc.iso(when) for when in times]


@pytest.mark.parametrize(("since", "first_run", "slot"), [
    ("2025-06-02T10:06:00Z", "2025-06-02T10:15:00Z", "2025-06-02T10:10:00Z"),
    ("2025-06-02T10:06:00Z", "2025-06-02T13:00:00Z", "2025-06-02T10:10:00Z"),  # a move that took hours
    ("2025-06-02T10:10:00Z", "2025-06-02T10:15:00Z", None),   # it was run before the move
    ("2025-05-02T10:06:00Z", "2025-06-02T13:00:00Z", None),   # it is new, long after the move
    ("2025-05-02T10:06:00Z", "2025-06-02T10:15:00Z", "2025-06-02T10:10:00Z"),
    (None, "2025-06-02T13:00:00Z", None)])
def test_the_first_run_after_a_move_makes_up_the_newest_slot_since_then(monkeypatch, since, first_run, slot):
    monkeypatch.setattr(slots, "SURPRISE_S", 10 * MINUTE)
    world = World(task("job", schedule="10 10 * * *"), changed_at=at("2025-01-01T00:00:00Z"))
    now = at(first_run)
    run = slots.Look(world.config, "job", slots.Memory(), {}, "run-1").look(now, now, since and at(since) or 0.0)
    assert (run and sc.iso(run.slot)) == slot


# -- single looks


class Looks:
    """One task, whose looks are made one by one."""

    def __init__(self, schedule="* * * * *", changed_at=START, **fields):
        others = [task(name, "@daily") for name in fields.get("dependencies", ())]
        self.config = World(task("a", schedule, **fields), *others, changed_at=changed_at).config
        self.others = dict.fromkeys(fields.get("dependencies", ()))
        self.memory = slots.Memory()
        self.rows = []

    def look(self, holder, when, opened_at=None, since=0.0, is_same_run=False):
        """The slot and attempt that were started by the look of this DAG run, or None."""
        now = at(when)
        self.last = slots.Look(self.config, "a", self.memory, self.others, holder)
        run = self.last.look(now, at(opened_at) if opened_at else now, since, is_same_run)
        self.keep()
        return run and (sc.iso(run.slot), run.attempt)

    def end(self, status, ended_at, when, **more):
        wait_s = self.last.end(dict({"status": status, "exit_code": int(status != "success"), "output_tail": "",
                                     "ended_at": at(ended_at)}, **more), at(when))
        self.keep()
        return wait_s

    def keep(self):
        self.rows += self.last.rows
        self.last.rows = []
        self.memory = slots.memory_of(json.loads(json.dumps(self.last.remembered().document())), "a")


@pytest.mark.parametrize(("changed_at", "started"), [
    ("2025-06-02T22:04:30Z", ("2025-06-02T22:05:00Z", 1)), ("2025-06-02T22:05:30Z", None)])
def test_a_new_task_starts_no_slot_from_before_it_was_written(changed_at, started):
    assert Looks("5 22 * * *", changed_at).look("run-1", "2025-06-02T22:06:00Z") == started


def test_a_slot_that_came_while_the_task_was_elsewhere_is_not_started_here():
    looks = Looks("*/10 * * * *")
    assert looks.look("run-1", "2025-06-02T22:10:00Z") == ("2025-06-02T22:10:00Z", 1)
    assert looks.end("success", "2025-06-02T22:10:05Z", "2025-06-02T22:10:05Z") is None
    since = at("2025-06-02T23:03:00Z")
    assert looks.look("run-2", "2025-06-02T23:04:00Z", since=since) is None
    assert looks.look("run-3", "2025-06-02T23:10:00Z", since=since) == ("2025-06-02T23:10:00Z", 1)
    assert [row["scheduled_for"] for row in looks.rows] == ["2025-06-02T22:10:00Z"]


def test_slots_behind_a_run_that_was_lost_are_skipped_and_not_merged():
    looks = Looks(retry_count=1)
    assert looks.look("run-1", "2025-06-02T22:01:00Z") == ("2025-06-02T22:01:00Z", 1)
    assert looks.look("run-2", "2025-06-02T22:04:30Z") is None
    assert [(row["status"], row["scheduled_for"][11:16]) for row in looks.rows] == [
        ("skipped_overlap", "22:02"), ("skipped_overlap", "22:03"), ("skipped_overlap", "22:04"),
        ("interrupted", "22:01")]
    lost = looks.rows[-1]
    assert lost["run_id"] == "run-1" and "Airflow ended its run run-1" in lost["reason"]


def test_a_retry_that_airflow_starts_a_moment_early_is_started():
    looks = Looks(retry_count=1, retry_delay=60)
    looks.look("run-1", "2025-06-02T22:01:00Z")
    assert looks.end("failed", "2025-06-02T22:01:30Z", "2025-06-02T22:01:30Z") == 60
    started = looks.look("run-1", "2025-06-02T22:02:29Z", "2025-06-02T22:01:00Z", is_same_run=True)
    assert started == ("2025-06-02T22:01:00Z", 2)


def test_a_wait_that_was_too_long_ended_when_it_was():
    looks = Looks("0 22 * * *", START - 1, dependencies=["d"], start_deadline=300)
    assert looks.look("run-1", "2025-06-02T22:00:00Z") is None
    assert looks.look("run-2", "2025-06-02T23:30:00Z") is None
    assert [(row["status"], row["ended_at"]) for row in looks.rows] == [
        ("skipped_dependency", "2025-06-02T22:06:00Z")]


@pytest.mark.parametrize(("slot", "cursor", "expected"), [
    (None, "2025-06-02T22:30:00Z", "2025-06-03T22:00:00Z"),
    ("2025-06-02T22:45:00Z", "2025-06-02T22:30:00Z", "2025-06-02T22:45:00Z"),
    ("2025-06-03T02:00:00Z", "2025-06-02T21:30:00Z", "2025-06-02T22:00:00Z")])
def test_a_window_is_looked_at_when_it_opens(slot, cursor, expected):
    window = sc.Window("22:00-23:00", "UTC")
    assert slots.next_look(window, slot and at(slot), at(cursor)) == at(expected)


def test_an_end_by_the_clock_of_a_worker_that_is_ahead_decides_no_slot_to_come():
    looks = Looks()
    looks.look("run-1", "2025-06-02T22:01:00Z")
    looks.end("success", "2025-06-02T23:00:00Z", "2025-06-02T22:01:30Z")
    assert looks.memory.last_now == at("2025-06-02T22:01:30Z")
    assert looks.look("run-2", "2025-06-02T22:02:00Z") == ("2025-06-02T22:02:00Z", 1)


def test_a_retry_for_which_the_window_has_to_open_again_is_of_the_run_that_comes_then():
    looks = Looks("0 22 * * *", START - 1, only_between="22:00-22:10, 23:00-23:10", retry_count=1, retry_delay=900)
    assert looks.look("run-1", "2025-06-02T22:00:00Z") == ("2025-06-02T22:00:00Z", 1)
    looks.end("failed", "2025-06-02T22:05:00Z", "2025-06-02T22:05:00Z")
    assert looks.look("run-2", "2025-06-02T23:00:00Z") == ("2025-06-02T22:00:00Z", 2)
    looks.end("success", "2025-06-02T23:01:00Z", "2025-06-02T23:01:00Z")
    assert [(row["status"], row["attempt"]) for row in looks.rows] == [("success", 2)]


def test_a_run_that_may_go_on_elsewhere_has_no_retry():
    for abandoned, wait_s in ((False, 60.0), (True, None)):
        looks = Looks(retry_count=1, retry_delay=60)
        looks.look("run-1", "2025-06-02T22:01:00Z")
        more = {"abandoned": True} if abandoned else {}
        assert looks.end("interrupted", "2025-06-02T22:01:30Z", "2025-06-02T22:01:30Z", **more) == wait_s
    assert [(row["status"], row["abandoned"]) for row in looks.rows] == [("interrupted", True)]


@pytest.mark.parametrize("damaged", [
    {"state": 3}, {"last_now": "now"}, {"last_now": "5"}, {"pending": 5}, {"ended": "x"}, {"more": 1}])
def test_a_memory_that_is_none_is_an_error_that_says_so(damaged):
    document = dict(slots.Memory().document(), **damaged)
    with pytest.raises(sc.ConductorError) as caught:
        slots.memory_of(document, "what 'a' remembers")
    assert "what 'a' remembers: what the task remembers cannot be read" in str(caught.value)


# -- the process that runs an attempt

RUNNER = REPOSITORY / "scripts" / "airflow" / "runner.py"


class Attempts:
    """A project and the scratch folder of a worker, in which attempts are run for real."""

    def __init__(self, folder):
        self.root, self.scratch = folder / "root", folder / "scratch"
        self.root.mkdir()
        self.numbers = itertools.count(1)
        self.started = []

    def order(self, command, is_over=False, **fields):
        config = sc.build_config([("c.json", {"tasks": [dict(
            {"name": "job", "command": command, "retry_count": 0}, **fields)]})])
        assert not config.problems, config.problems
        run = sc.Run(run_id="run-%d" % next(self.numbers), slot=1748822400, started_at=1748822401.0)
        spec = sc.spec_of(config, config.tasks["job"], run)
        return json.dumps({"root": str(self.root), "scratch": str(self.scratch), "spec": spec,
                           "is_over": is_over})

    def start(self, command, **fields):
        """An attempt that is going on; its result comes on `result`."""
        read_fd, write_fd = os.pipe()
        child = subprocess.Popen(
            [sys.executable, "-I", str(RUNNER), "--result=%d" % write_fd], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, pass_fds=(write_fd,), start_new_session=True)
        os.close(write_fd)
        child.stdin.write(self.order(command, **fields).encode() + b"\n")
        child.stdin.flush()
        child.result = open(read_fd, "rb")
        self.started.append(child)
        return child

    def run(self, command, **fields):
        """(result, output) of an attempt."""
        child = self.start(command, **fields)
        result = child.result.read()
        output = child.stdout.read().decode()
        child.wait()
        return json.loads(result.decode()), output

    def pid_in(self, name):
        """The process whose number a command has written."""
        path = self.root / name
        assert wait_until(lambda: path.exists() and path.read_text().strip())
        return int(path.read_text())


@pytest.fixture
def attempts(tmp_path):
    found = Attempts(tmp_path)
    yield found
    for child in found.started:
        if child.poll() is None:
            child.stdin.close()
            child.wait()
        for stream in (child.stdin, child.stdout, child.result):
            stream.close()


def is_gone(pid):
    process = sc.process_of(pid)
    return process is None or process.is_dead


def test_a_reader_that_is_late_gets_all_of_the_output(attempts):
    child = attempts.start("seq 40000")
    log = attempts.scratch / "logs/automation/job.log"
    assert wait_until(lambda: log.exists() and "--- " in log.read_text().partition("\n40000\n")[2])
    text = child.stdout.read().decode()
    assert text.split() == [str(number) for number in range(1, 40001)]
    assert json.loads(child.result.read().decode())["status"] == "success"


def test_an_attempt_runs_in_the_project_and_is_kept_out_of_it(attempts):
    result, output = attempts.run("echo $PWD $SYMPHONY_ROOT $SYMPHONY_TASK $SECRET; exit 3",
                                  env={"SECRET": "x"})
    root = str(attempts.root)
    assert output == "%s %s job x\n" % (root, root)
    assert (result["status"], result["exit_code"]) == ("failed", 3)
    assert os.listdir(root) == []
    assert (attempts.scratch / "logs/automation/job.log").exists()


def test_a_result_that_cannot_be_put_on_record_is_the_result_all_the_same(attempts):
    runs = attempts.scratch / "status/runs"
    result, _ = attempts.run("rm -r %s && touch %s" % (runs, runs))
    assert (result["status"], result["exit_code"]) == ("success", 0), result


@pytest.mark.parametrize(("command", "fields", "status"), [
    ("exit 4", {"success_exit_codes": [0, 4]}, "success"),
    ("exit 4", {"skip_exit_codes": [4]}, "skipped_exit"),
    ("true", {"condition": "exit 1"}, "skipped_condition"),
    ("umask; test $(umask) = 0027", {"umask": "027"}, "success"),
    ("test $(nice) -ge 5", {"nice": 5}, "success"),
    ("no-such-program-anywhere", {}, "failed"),
    ("true", {"env_file": "missing.env"}, "failed"),
])
def test_the_fields_of_a_task_mean_what_they_mean_to_the_conductor(
        attempts, command, fields, status):
    result, _ = attempts.run(command, **fields)
    assert result["status"] == status, result


STUBBORN = ("trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > far; while :; do sleep 1; done' & "
            "echo $$ > near; while :; do sleep 1; done")


def test_a_timeout_ends_the_whole_tree(attempts):
    result, _ = attempts.run(STUBBORN, timeout=2, kill_grace=1)
    assert (result["status"], result["exit_code"]) == ("timeout", 124)
    assert is_gone(attempts.pid_in("near"))
    assert is_gone(attempts.pid_in("far"))


def test_the_tree_ends_when_whoever_started_it_is_gone(attempts):
    child = attempts.start(STUBBORN, kill_grace=1)
    near, far = attempts.pid_in("near"), attempts.pid_in("far")
    child.stdin.close()  # as the kernel does when that process is killed
    assert wait_until(lambda: is_gone(near) and is_gone(far))
    assert json.loads(child.result.read().decode())["status"] == "interrupted"
    child.wait()


def test_the_order_is_in_no_argument_list(attempts):
    child = attempts.start("echo $$ > near; sleep 60", env={"PASSWORD": "hunter2-hunter2"})
    attempts.pid_in("near")
    words = subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(child.pid)])
    assert b"runner.py" in words
    assert b"hunter2" not in words


def test_no_second_copy_starts_beside_a_command_whose_runner_was_killed(attempts):
    child = attempts.start(STUBBORN, kill_grace=1)
    near, far = attempts.pid_in("near"), attempts.pid_in("far")
    child.kill()
    child.wait()
    assert not is_gone(near)
    attempts.start("echo $$ > second; sleep 60")
    attempts.pid_in("second")
    assert is_gone(near)
    assert is_gone(far)


def test_what_a_killed_runner_left_behind_can_be_ended(attempts):
    child = attempts.start(STUBBORN, kill_grace=1)
    near, far = attempts.pid_in("near"), attempts.pid_in("far")
    child.kill()
    child.wait()
    result, _ = attempts.run("echo second", is_over=True)
    assert result["status"] == "interrupted"
    assert is_gone(near)
    assert is_gone(far)


def test_an_end_that_cannot_be_recorded_here_is_told_all_the_same(attempts):
    result, output = attempts.run("rm -rf ../scratch; : > ../scratch; echo did it")
    assert (result["status"], result["exit_code"], output) == ("success", 0, "did it\n")


def test_a_task_that_runs_on_this_machine_is_not_started_again(attempts):
    attempts.start("echo $$ > near; sleep 60")
    attempts.pid_in("near")
    result, output = attempts.run("echo second")
    assert (result["status"], result["exit_code"]) == ("failed", sc.EXIT_TEMPFAIL)
    assert "another run" in result["reason"]
    assert output == ""


LAUNCHER = ["sh", "-c", 'echo $$ > client; exec "$@"', "sh"]
CANCEL = "echo {run_id} $X >> cancelled; test ! -e broken"


def killed_with_its_client(attempts):
    """An attempt whose runner and client are both gone: nothing of it is left on this machine."""
    child = attempts.start("sleep 60", launcher=LAUNCHER, cancel_command=CANCEL, env={"X": "1"})
    client = attempts.pid_in("client")
    child.kill()
    child.wait()
    os.kill(client, signal.SIGKILL)
    assert wait_until(lambda: is_gone(client))


def test_what_has_ended_is_not_cancelled_by_the_next_attempt(attempts):
    assert attempts.run("true", launcher=LAUNCHER, cancel_command=CANCEL)[0]["status"] == "success"
    assert attempts.run("test ! -e cancelled")[0]["status"] == "success"


def test_where_the_process_table_cannot_be_read_nothing_starts(tmp_path, monkeypatch):
    module_of_runner = util.spec_from_file_location("symphony_runner", str(RUNNER))
    runner = util.module_from_spec(module_of_runner)
    module_of_runner.loader.exec_module(runner)
    store = runner.ScratchStore(str(tmp_path), str(tmp_path / "scratch"))
    record = {"boot_id": sc.current_boot_id(), "run_id": "run-1", "task": "job", "supervisor": 1}
    monkeypatch.setattr(store, "read_run", lambda name: record)
    monkeypatch.setattr(sc, "process_table", lambda: None)
    with pytest.raises(sc.StorageError, match="cannot read the process table"):
        runner.left_behind(store, "job")


@pytest.mark.parametrize("reboots", [False, True])
def test_what_a_launcher_started_is_cancelled_ahead_of_the_next_attempt(attempts, reboots):
    killed_with_its_client(attempts)
    record = attempts.scratch / "status/runs/job.json"
    if reboots:
        record.write_text(json.dumps(dict(json.loads(record.read_text()), boot_id="another boot")))
    result, output = attempts.run("cat cancelled", env={"X": "1"})
    assert (result["status"], output) == ("success", "run-1 1\n"), result


def test_work_elsewhere_of_a_killed_runner_is_cancelled(attempts):
    killed_with_its_client(attempts)
    result, _ = attempts.run("true", is_over=True, env={"X": "1"})
    assert result["status"] == "interrupted" and "abandoned" not in result
    assert (attempts.root / "cancelled").read_text() == "run-1 1\n"


def test_a_runner_that_is_to_end_while_its_cancel_command_fails_allows_no_retry(attempts):
    (attempts.root / "broken").touch()
    child = attempts.start("exit 1", launcher=LAUNCHER, cancel_command=CANCEL)
    assert wait_until((attempts.root / "cancelled").exists)
    child.stdin.close()
    result = json.loads(child.result.read().decode())
    child.wait()
    assert (result["status"], result["abandoned"]) == ("interrupted", True)
    assert "what it started may still run (" in result["reason"] and "not started" not in result["reason"]
    (attempts.root / "broken").unlink()
    result, output = attempts.run("cat cancelled")  # which is run again first
    assert result["status"] == "success" and len(output.splitlines()) >= 2


def test_no_attempt_starts_while_the_last_one_may_go_on_elsewhere(attempts):
    killed_with_its_client(attempts)
    (attempts.root / "broken").touch()
    child = attempts.start("touch second")
    assert wait_until((attempts.root / "cancelled").exists)
    child.stdin.close()
    result = json.loads(child.result.read().decode())
    child.wait()
    assert result["status"] == "failed" and "its last run may still go on" in result["reason"]
    assert not (attempts.root / "second").exists()


def test_a_killed_run_that_cannot_be_looked_at_allows_no_retry(attempts):
    attempts.start("echo $$ > near; sleep 60")
    near = attempts.pid_in("near")
    result, _ = attempts.run("true", is_over=True)
    assert (result["status"], result["abandoned"], result.get("is_untried")) == ("interrupted", True, None)
    assert "what it started may still run (job: another run" in result["reason"] and not is_gone(near)
