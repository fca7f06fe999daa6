"""What an agenda leaves out is at rest: a decision with it is the one that looks at every task."""

import random

import pytest
from stories import Month, World, at, task

import symphony_conductor as sc

SCHEDULES = (
    "* * * * *", "*/2 * * * *", "*/7 * * * *", "3 * * * *", "30 2 * * *", "@reboot", "", "")
ENDS = ("success", "success", "failed")
KINDS = ("ended",) * 12 + ("never", "orphan", "vanished", "unknown", "held")


class Thorough(sc._Draft):
    """A decision that looks at every task in each of its steps."""

    def _is_current(self, agenda):
        return False

    def _survey(self):
        names = list(self.tasks) + [name for name in self.config.tasks if name not in self.tasks]
        return sc.Agenda(active=list(self.tasks), due=frozenset(names))

    def look_at_all(self):
        self.active, self.unchecked = list(self.tasks), set(self.tasks)

    def open_due_slots(self):
        self.touched.update(self._survey().due)
        super().open_due_slots()

    def check_dependencies(self):
        self.look_at_all()
        super().check_dependencies()

    def start_ready(self):
        self.look_at_all()
        super().start_ready()

    def notify_of_blockers(self):
        self.look_at_all()
        super().notify_of_blockers()

    def _agenda(self, tasks):
        return self._survey()


class Unrest:
    """A few tasks that depend on each other, and a machine on which something always happens."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = ["t%d" % number for number in range(self.random.choice([4, 8, 12]))]
        self.documents = []
        for name in self.names:
            self.documents.append(self.document(name))
        self.now = at("2025-06-02T09:58:30Z") + 0.5
        self.last_seen = 0.0
        self.boot, self.stamp = "boot-1", "z"
        self.state, self.agenda = sc.State(), None
        self.limit = 2
        self.configure(None)

    def chance(self, share):
        return self.random.random() < share

    def document(self, name):
        """A task that depends on some of those ahead of it."""
        ahead = [document["name"] for document in self.documents]
        if name in ahead:
            ahead = ahead[:ahead.index(name)]
        fields = {"retry_count": self.random.choice([0, 0, 2]), "retry_delay": 45}
        if ahead and self.chance(0.7):
            number = min(len(ahead), self.random.choice([1, 1, 2]))
            fields["dependencies"] = self.random.sample(ahead, number)
        if self.chance(0.3):
            fields["overlap"] = "queue"
        if self.chance(0.3):
            fields["start_deadline"] = self.random.choice([1, 90, 300.5])
        if self.chance(0.1):
            fields["enabled"] = False
        if self.chance(0.1):
            fields["command"] = ""  # it is invalid
        return task(name, self.random.choice(SCHEDULES), **fields)

    def configure(self, changed_at):
        document = {"tasks": self.documents, "settings": {
            "timezone": "UTC", "max_concurrent_tasks": self.limit, "renotify_hours": 1,
            "enable_notifications": True, "notification_command": "true"}}
        self.config = sc.build_config([("c.json", document)], {"c.json": changed_at})

    # -- what happens

    def edit(self):
        name = self.random.choice(self.names)
        places = [place for place, document in enumerate(self.documents)
                  if document["name"] == name]
        if not places:
            self.documents.append(self.document(name))
        elif self.chance(0.3):
            del self.documents[places[0]]
        elif self.chance(0.3):
            self.random.shuffle(self.documents)
        else:
            self.documents[places[0]] = self.document(name)
        self.limit = self.random.choice([1, 2, 20])
        self.configure(self.random.choice([None, self.now, self.now - 90]))

    def pause(self):
        pauses = dict(self.state.pauses)
        until = self.random.choice([None, self.now, self.now + 1, self.now + 90])
        pauses[self.random.choice(self.names + [sc.ALL_TASKS])] = {
            "since": self.now, "until": until, "reason": ""}
        if self.chance(0.5):
            pauses = {name: dict(pause, until=self.now + 1) for name, pause in pauses.items()}
        self.state = self.state.replace(pauses=pauses)

    def resume(self):
        self.state = self.state.replace(pauses={})

    def reboot(self):
        self.boot += "x"

    def move(self):
        self.stamp = self.random.choice(["z", "0,0 z", "1,0 z"])

    def set_back(self):
        self.now -= self.random.choice([30, 600, 3600, 4 * 3600])

    def run_by_hand(self):
        idle = [name for name in self.config.tasks
                if self.state.tasks.get(name, sc.TaskState()).run is None]
        if idle:
            by_hand = self.config.tasks[self.random.choice(idle)]
            self.state, _ = sc.begin_manual(self.state, by_hand, self.now)

    def lose(self):
        tasks = dict(self.state.tasks)
        tasks.pop(self.random.choice(self.names), None)
        self.state = self.state.replace(tasks=tasks)

    def recover(self):
        """A task is as another machine had it: with other successes, and other zone data."""
        name = self.random.choice(self.names)
        older = self.random.choice([
            {"satisfied_until": None}, {"cursor": int(self.now) - 7200}, {"consumed": {}}])
        if name in self.state.tasks:
            tasks = dict(self.state.tasks, **{name: self.state.tasks[name].replace(**older)})
            self.state = self.state.replace(tasks=tasks)

    def pass_time(self):
        if self.chance(0.55):
            self.now += self.random.choice([0, 0.5, 1, 5, 20])
        elif self.chance(0.9):
            self.now += 60 - self.now % 60 + self.random.choice([0, 0.5])
        else:
            self.now += self.random.choice([300, 3600, 86400])

    def happen(self):
        self.pass_time()
        if self.chance(0.25):
            self.random.choice([
                self.edit, self.edit, self.pause, self.pause, self.resume, self.reboot, self.move,
                self.set_back, self.run_by_hand, self.run_by_hand, self.lose, self.recover])()

    # -- what is decided

    def fact(self):
        kind = "held"
        if self.chance(0.6):
            kind = self.random.choice(KINDS)
        result = {}
        if kind == "ended":
            status = self.random.choice(ENDS)
            result = {"status": status, "ended_at": self.now, "exit_code": int(status != "success")}
        unended = ""
        if kind == "held" and self.chance(0.1):
            unended = "cannot be killed"
        return sc.RunFact(kind=kind, result=result, unended=unended)

    def decide(self):
        runs = {name: self.fact() for name, state in self.state.tasks.items()
                if state.run is not None}
        facts = sc.Facts(
            boot_id=self.boot, boot_at=int(self.now) - 9, zone_stamp=self.stamp, runs=runs)
        settle_only = self.chance(0.2)
        decision = sc.decide(self.config, self.state, self.now, facts, self.last_seen,
                             settle_only, agenda=self.agenda)
        self.state, self.agenda = decision.state, decision.agenda
        if not settle_only:
            self.last_seen = self.now


def content(decision):
    """All that is decided, with the order of the tasks."""
    fields = decision.replace(agenda=None).stored()
    return dict(fields, order=list(decision.state.tasks), wake_at=decision.wake_at)


@pytest.fixture(autouse=True)
def compared(monkeypatch):
    """Each decision with an agenda is compared to those without one, and with a look at all."""
    def decide_and_compare(*arguments, **more):
        decision = decide(*arguments, **more)
        more["agenda"] = None
        assert content(decide(*arguments, **more)) == content(decision)
        with monkeypatch.context() as patch:
            patch.setattr(sc, "_Draft", Thorough)
            assert content(decide(*arguments, **more)) == content(decision)
        return decision

    decide = sc.decide
    monkeypatch.setattr(sc, "decide", decide_and_compare)


@pytest.mark.parametrize("seed", range(10))
def test_a_decision_is_the_same_with_an_agenda_whatever_happens(seed):
    unrest = Unrest(seed)
    for _ in range(200):
        unrest.happen()
        unrest.decide()


def test_days_of_everything_are_the_same_with_an_agenda():
    month = Month(8, "2025-03-29T00:00:00Z").live(2)
    assert len(month.verdicts) > 500


def settle(world, name, status, when):
    """A run ends, and nothing is started."""
    result = {"status": status, "ended_at": at(when), "exit_code": int(status != "success")}
    runs = {name: sc.RunFact(kind="ended", result=result)}
    facts = world.facts(boot_id=world.boot, boot_at=world.booted_at, zone_stamp="z", runs=runs)
    decision = sc.decide(world.config, world.state, at(when), facts, world.last_seen,
                         settle_only=True, agenda=world.agenda)
    world.state, world.agenda = decision.state, decision.agenda


def test_an_end_looks_at_its_own_task_alone(monkeypatch):
    names = ["t%d" % number for number in range(50)]
    world = World(*(task(name, "0 2 * * *") for name in names), max_concurrent_tasks=50)
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    assert list(world.agenda.active) == names and world.agenda.due == frozenset()
    for name in names[:40]:
        world.finish(name, "2025-06-03T02:00:01Z")
    assert list(world.agenda.active) == names[40:]

    looked_at = []

    class Watched(sc._Draft):
        def _is_due(self, of_task, state):
            looked_at.append(of_task.name)
            return super()._is_due(of_task, state)

        def _open_slots_of(self, of_task, zone_changed):
            looked_at.append(of_task.name)
            super()._open_slots_of(of_task, zone_changed)

    monkeypatch.undo()  # no comparison: it looks at all
    monkeypatch.setattr(sc, "_Draft", Watched)
    world.finish("t45", "2025-06-03T02:00:02Z")
    assert set(looked_at) == {"t45"}


def test_new_zone_data_are_for_every_task(monkeypatch):
    class Travelling(World):
        stamp = "1"

        def facts(self, **fields):
            return sc.Facts(**dict(fields, zone_stamp=self.stamp))

    monkeypatch.setitem(sc._ZONES, None, sc.Zone("Europe/Paris"))
    world = Travelling(task("noon", "0 12 * * *"), timezone=None)
    world.tick("2025-06-02T11:00:00Z")
    world.tick("2025-06-02T11:00:01Z")
    monkeypatch.setitem(sc._ZONES, None, sc.Zone("America/New_York"))
    world.stamp = "2"
    world.tick("2025-06-02T11:00:02Z")
    assert world.tick("2025-06-02T16:00:00Z") == ["noon@2025-06-02T16:00:00Z"]


def test_a_retry_in_a_pause_that_another_process_settled_is_given_up():
    world = World(task("a", "0 2 * * *", retry_count=1))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-03T02:00:00Z")
    world.state = world.state.replace(pauses={
        sc.ALL_TASKS: {"since": at("2025-06-03T02:00:10Z"), "until": None, "reason": ""}})
    world.tick("2025-06-03T02:01:00Z")
    settle(world, "a", "failed", "2025-06-03T02:01:30Z")
    assert world.state.tasks["a"].cycle.phase == "retrying"
    world.tick("2025-06-03T02:02:00Z")
    assert world.said() == [("a", "failed", "2025-06-03T02:00:00Z")]


@pytest.mark.parametrize("is_settled_first", [False, True])
def test_a_join_runs_again_on_the_success_that_came_while_it_ran(is_settled_first):
    world = World(task("scan", "*/10 * * * *"), task("report", dependencies=["scan"]))
    world.tick("2025-06-02T10:01:00Z")
    world.tick("2025-06-02T10:10:00Z")
    assert world.finish("scan", "2025-06-02T10:11:00Z") == ["report@2025-06-02T10:11:00Z"]
    world.tick("2025-06-02T10:20:00Z")
    assert world.finish("scan", "2025-06-02T10:21:00Z") == []
    if is_settled_first:
        settle(world, "report", "success", "2025-06-02T10:22:00Z")
        started = world.tick("2025-06-02T10:22:00Z")
    else:
        started = world.finish("report", "2025-06-02T10:22:00Z")
    assert started == ["report@2025-06-02T10:22:00Z"]


def waiting(world, name):
    return world.state.tasks[name].cycle.waiting_for


def test_who_waits_hears_of_what_happens_behind_a_join():
    world = World(task("scan", "*/10 * * * *"), task("index", dependencies=["scan"]),
                  task("other", "0 2 * * *"),
                  task("last", "15 10 * * *", dependencies=["index", "other"]))
    world.tick("2025-06-02T10:01:00Z")
    world.tick("2025-06-02T10:10:00Z")
    world.finish("scan", "2025-06-02T10:11:00Z")
    world.finish("index", "2025-06-02T10:12:00Z")
    world.tick("2025-06-02T10:15:00Z")
    assert waiting(world, "last") == "other"
    world.tick("2025-06-02T10:20:00Z")
    world.finish("scan", "2025-06-02T10:21:00Z")
    assert waiting(world, "last") == "index"


def test_who_waits_hears_of_a_new_boot_that_it_depends_on():
    world = World(task("mount", "@reboot"), task("other", "0 2 * * *"),
                  task("last", "15 10 * * *", dependencies=["mount", "other"]))
    world.tick("2025-06-02T10:00:00Z")
    world.boot, world.booted_at = "boot-2", at("2025-06-02T10:05:00Z")
    world.tick("2025-06-02T10:06:00Z")
    world.finish("mount", "2025-06-02T10:07:00Z")
    world.tick("2025-06-02T10:15:00Z")
    assert waiting(world, "last") == "other"
    world.boot, world.booted_at = "boot-3", at("2025-06-02T10:20:00Z")
    world.tick("2025-06-02T10:21:00Z")
    assert waiting(world, "last") == "mount"


def test_who_waits_hears_of_a_success_that_a_correction_of_the_clock_takes_back():
    world = World(task("load", "0 10 * * *"), task("other", "0 2 * * *"),
                  task("last", "15 10 * * *", dependencies=["load", "other"]))
    world.tick("2025-06-02T09:00:00Z")
    world.tick("2025-06-02T10:00:00Z")
    world.finish("load", "2025-06-02T10:01:00Z")
    world.tick("2025-06-02T10:15:00Z")
    assert waiting(world, "last") == "other"
    world.tick("2025-06-02T05:00:00Z")
    assert waiting(world, "last") == "load"
