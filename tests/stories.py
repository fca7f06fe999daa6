"""Stories without a process: a World decides, a Month lives, a Hand has files and every command."""

import os
import random

from support import HandClock, Project

import symphony_conductor as sc

MINUTE, HOUR, DAY = 60, 3600, 86400
NIGHT = "2025-06-03T02:00:00Z"


def at(text):
    return sc.from_iso(text)


class World:
    """A configuration, a state, and runs that end when the test says so."""

    def __init__(self, *tasks, **settings):
        self.configure(*tasks, **settings)
        self.state = sc.State()
        self.agenda = None
        self.ended = {}
        self.kinds = {}
        self.boot = "boot-1"
        self.booted_at = at("2025-01-01T00:00:00Z")
        self.verdicts = []
        self.last_seen = 0.0

    def configure(self, *tasks, **settings):
        """Another configuration, in a file that changed at `changed_at`."""
        times = {}
        changed_at = settings.pop("changed_at", None)
        if changed_at is not None:
            times["c.json"] = at(changed_at) if isinstance(changed_at, str) else changed_at
        settings.setdefault("timezone", "UTC")
        document = {"tasks": list(tasks), "settings": settings}
        self.config = sc.build_config([("c.json", document)], times)
        assert not self.config.problems, self.config.problems

    def tick(self, when):
        """Decide; returns what was started as 'name@slot' texts."""
        now = at(when) if isinstance(when, str) else when
        runs = {}
        for name, state in self.state.tasks.items():
            if state.run is not None:
                result = self.ended.pop(name, None)
                kind = "ended" if result else self.kinds.get(name, "held")
                runs[name] = sc.RunFact(kind=kind, result=result or {})
        facts = self.facts(boot_id=self.boot, boot_at=self.booted_at, zone_stamp="z", runs=runs)
        decision = sc.decide(
            self.config, self.state, now, facts, self.last_seen, agenda=self.agenda)
        self.state, self.agenda = decision.state, decision.agenda
        self.last_seen = now
        self.decision = decision
        self.verdicts += [record for record in decision.records if not record.get("interim")]
        return ["%s@%s" % (task.name, sc.iso(run.slot)) for task, run in decision.starts]

    def facts(self, **fields):
        return sc.Facts(**fields)

    def end(self, name, status="success", when=None, code=None):
        ended_at = at(when) if when else self.last_seen + 1
        if code is None:
            code = int(status != "success")
        self.ended[name] = {"status": status, "ended_at": ended_at, "exit_code": code}

    def finish(self, name, when, status="success"):
        """The run ends, and the supervisor decides again."""
        self.end(name, status, when)
        return self.tick(when)

    def said(self):
        return [(record["task"], record["status"], record["scheduled_for"])
                for record in self.verdicts]

    def triggers(self):
        return [run.trigger for _, run in self.decision.starts]


def task(name, schedule=None, **more):
    document = dict({"name": name, "command": "true", "retry_count": 0}, **more)
    if schedule:
        document["schedule"] = schedule
    return document


def original_tasks():
    return {document["name"]: document for document in (
        task("every5", "*/5 * * * *"),
        task("hourly", "7 * * * *", retry_count=2, retry_delay=240),
        task("gap", "30 2 * * *", timezone="Europe/Paris"),
        task("elapsed", "*/20 1-3 * * *", timezone="Europe/Paris"),
        task("slow", "*/10 * * * *"),
        task("queued", "*/15 * * * *", overlap="queue"),
        task("hasty", "*/10 * * * *", overlap="queue", start_deadline=1500),
        task("prompt", "*/30 * * * *", start_deadline=120),
        task("scan", "0 2 * * *"),
        task("analyse", "30 2 * * *", dependencies=["scan"], retry_count=1, retry_delay=600),
        task("clean", "0 3 * * 0,3", dependencies=["analyse"], start_deadline=7200),
        task("joined", dependencies=["scan", "hourly"]),
        task("spread", "H H(0-5) * * *"),
        task("boot", "@reboot"),
    )}


DURATIONS = {"slow": (30, 1600), "queued": (30, 2400), "hasty": (30, 3600), "scan": (600, 4000),
             "analyse": (60, 1500)}


NOTIFYING = {"enable_notifications": True, "notification_webhook": "http://example.org/SECRET"}


class Told(World):
    def __init__(self, *tasks, **settings):
        self.messages = []
        super().__init__(*tasks, **dict(NOTIFYING, **settings))

    def configure(self, *tasks, **settings):
        super().configure(*tasks, **dict(NOTIFYING, **settings))

    def tick(self, when):
        started = super().tick(when)
        self.messages += self.decision.messages
        return started

    def told(self):
        return [(each["event"], each["task"]) for each in self.messages]


def fail(world, name, when):
    world.tick(when)
    return world.finish(name, when[:17] + "30Z", "failed")


def waiting(project, *messages):
    store = sc.Store(str(project.root))
    for number, message in enumerate(messages, 1):
        store.enqueue(dict({"id": "20250602T020000Z-%d" % number, "event": "failed", "task": "a", "channel": "notify",
                          "at": "2025-06-02T02:00:00Z", "outcome": "failed"}, **message))
    return store


class Month(World):
    """A machine and its conductor, minute by minute, with whatever can happen to them."""

    def __init__(self, seed, start):
        self.random = random.Random(seed)
        self.tasks = original_tasks()
        super().__init__(*self.tasks.values(), max_concurrent_tasks=3)
        self.now = at(start)
        self.events = []
        self.gaps = 0
        self.running = {}  # name -> when it ends
        self.last_tick = None
        self.pending_gap = None

    def decide(self):
        """One decision, with the ends that are due; what it starts gets an end of its own."""
        for name, (end, status) in list(self.running.items()):
            if end <= self.now:
                del self.running[name]
                self.end(name, status, sc.iso(self.now))
        started = self.tick(self.now)
        self.events += self.decision.events
        for begun, _ in self.decision.starts:
            low, high = DURATIONS.get(begun.name, (1, 90))
            status = self.random.choice(["success"] * 8 + ["failed", "timeout"])
            self.running[begun.name] = (self.now + self.random.randint(low, high), status)
        return started

    def facts(self, **fields):
        return sc.Facts(gap=self.pending_gap, **fields)

    def minute(self, cron=True):
        """What ends within the minute, in its order, and the tick at its end."""
        target = self.now + MINUTE - self.now % MINUTE
        while True:
            ends = [end for end, _ in self.running.values() if end <= target]
            if not ends:
                break
            self.now = max(self.now, min(ends))
            self.decide()
        self.now = target
        if cron:
            if self.last_tick is not None and self.now - self.last_tick > 180:
                self.pending_gap = sc.Gap(since=self.last_tick, until=self.now, cause="cron")
                self.gaps += 1
            self.decide()
            self.pending_gap = None
            self.last_tick = self.now

    def reboot(self):
        self.now += self.random.randint(3 * MINUTE, 20 * HOUR)
        self.boot += "x"
        self.booted_at = self.now
        for name in self.running:
            self.kinds[name] = "vanished"
        self.running = {}
        self.minute()
        self.kinds = {}

    def suspend(self):
        slept = self.random.randint(2 * MINUTE, 9 * HOUR)
        self.running = {name: (end + slept, status) for name, (end, status) in self.running.items()}
        self.now += slept
        if self.random.random() < 0.5:
            self.edit()  # by whoever woke it up, ahead of the first tick

    def stop_cron(self):
        for _ in range(self.random.randint(2, 200)):
            if self.random.random() < 0.02:
                self.edit()
            self.minute(cron=False)

    def edit(self):
        self.now += self.random.randint(0, MINUTE - 1)
        name = self.random.choice(["every5", "hourly", "gap", "slow", "queued", "hasty", "prompt",
                                   "scan", "spread"])
        kind = self.random.choice(["schedule", "disable", "disable", "remove", "restore",
                                   "restore"])
        if kind == "schedule":
            self.tasks[name] = dict(original_tasks()[name], schedule=self.random.choice(
                ["*/7 * * * *", "5,50 * * * *", "0 4 * * *", "*/3 8-18 * * *"]))
        elif kind == "disable":
            self.tasks[name] = dict(original_tasks()[name], enabled=False)
        elif kind == "remove" and name not in ("scan", "hourly"):
            self.tasks.pop(name, None)
        else:
            self.tasks = original_tasks()
        self.configure(*self.tasks.values(), changed_at=self.now,
                       max_concurrent_tasks=self.random.choice([1, 3, 5]))

    def pause(self):
        name = self.random.choice([sc.ALL_TASKS, "every5", "hourly", "scan", "slow"])
        until = self.random.choice([None, self.now + self.random.randint(1, 300 * MINUTE)])
        self.state = self.state.replace(pauses=dict(self.state.pauses, **{
            name: {"since": self.now, "until": until, "reason": ""}}))
        self.decide()

    def resume(self):
        self.state = self.state.replace(pauses={
            name: dict(pause, until=self.now) for name, pause in self.state.pauses.items()})
        self.decide()

    def live(self, days):
        end = self.now + days * DAY
        chances = ((0.0006, self.reboot), (0.0006, self.suspend), (0.0005, self.stop_cron),
                   (0.003, self.edit), (0.0005, self.pause), (0.003, self.resume))
        while self.now < end:
            happens = self.random.random()
            for share, what in chances:
                if happens < share:
                    what()
                    break
                happens -= share
            self.minute()
        return self

    def audit(self, verdicts=None, since=0.0):
        if verdicts is None:
            verdicts = self.verdicts
        return sc.audit_all(self.config, self.state, verdicts, self.events, since, self.now,
                            self.last_tick)


class Busy(Month):
    """A month in which people stop, skip and run tasks again, and commands decide by their codes."""

    def decide(self):
        for name, (end, status) in list(self.running.items()):
            if status == "failed" and int(end) % 2:
                self.running[name] = (end, self.random.choice(
                    ["skipped_exit", "skipped_condition", "stopped"]))
        return super().decide()

    def minute(self, cron=True):
        if self.random.random() < 0.02 and self.state.last_now:
            self.random.choice([self.skip, self.stop, self.run_again])()
        super().minute(cron)

    def some_task(self):
        return self.config.tasks[self.random.choice(list(self.config.tasks))]

    def skip(self):
        self.state, _ = sc.skip_slot(self.state, self.some_task(), self.last_seen, self.now, "me")

    def stop(self):
        name = self.some_task().name
        if name in self.state.tasks:
            decision = sc.stop_waiting(self.config, self.state, name, self.now, "me")
            self.state = decision.state
            self.verdicts += decision.records

    def run_again(self):
        each = self.some_task()
        state = self.state.tasks.get(each.name, sc.TaskState())
        if each.schedule is None or each.schedule.reboot or state.run is not None:
            return
        slot = each.schedule.previous(self.now - 3600, each.timezone)
        self.state, _ = sc.begin_manual(self.state, each, self.now, slot)
        self.running[each.name] = (self.now + 1, self.random.choice(["success", "failed"]))


class Hand:
    """A project whose clock is moved by hand and whose runs end as the test says; no process."""

    def __init__(self, root, capfd, monkeypatch, start="2025-06-02T10:00:00Z"):
        self.project = Project(root)
        self.root = self.project.root
        self.clock = HandClock(at(start))
        self.clock.suspended = lambda: 0.0
        self.capfd = capfd
        self.ends = {}     # task -> status and exit code; a success when it is not named
        self.held = set()  # tasks whose runs go on
        self.locks = {}
        self.started = []
        monkeypatch.setattr(sc, "Clock", lambda: self.clock)
        monkeypatch.setattr(sc, "launch_delivery", lambda store: None)
        monkeypatch.setattr(sc, "run_in_process_table", lambda *run: False)

    def configure(self, *tasks, **settings):
        settings.setdefault("timezone", "UTC")
        self.project.configure(*tasks, **settings)

    def store(self):
        return sc.Store(os.path.realpath(str(self.root)))

    def conductor(self):
        return sc.Conductor(self.store(), self.clock, self.launch, lambda store: None)

    def launch(self, store, verb, spec, lock):
        self.started.append("%s@%s" % (spec["task"], spec["scheduled_for"]))
        record = dict(spec, env={}, pid=1, pid_start="", boot_id="", supervisor=os.getpid(),
                      started_mono=1.0, definition=store.keep_definition(spec["definition"]))
        if spec["task"] in self.held:
            # A lock of its own, as its supervisor would inherit it.
            self.locks[spec["task"]] = (os.dup(lock.fd), record)
            store.write_run(spec["task"], record)
            return
        store.write_run(spec["task"], dict(record, result=self.result(spec["task"], record)))
        lock.release()

    def result(self, name, record):
        status, code = self.ends.get(name, ("success", 0))
        return {"status": status, "exit_code": code, "ended_at": self.clock.at + 2,
                "duration_s": 2.0, "output_tail": "", "definition": record["definition"]}

    def release(self, name):
        """Let a run that was held end now."""
        lock_fd, record = self.locks.pop(name)
        self.held.discard(name)
        self.store().write_run(name, dict(record, result=self.result(name, record)))
        os.close(lock_fd)

    def tick(self, when=None):
        """One tick; what it started."""
        if when is not None:
            self.move(when)
        before = len(self.started)
        self.conductor().tick()
        return self.started[before:]

    def minute(self):
        """A minute later, cron calls: nearly always there is nothing to do."""
        self.clock.advance(60 - self.clock.at % 60)
        heartbeat = os.path.join(str(self.root), sc.HEARTBEAT_NAME).encode()
        return [] if sc.nothing_to_do(heartbeat, self.clock.at, self.clock.mono) else self.tick()

    def move(self, when):
        target = at(when) if isinstance(when, str) else when
        self.clock.advance(target - self.clock.at)

    def call(self, *args):
        """A command in this process: (exit code, stdout, stderr)."""
        self.capfd.readouterr()
        if args[0] in sc.BESIDE:
            return self.project.call(*args)  # which would take this very process
        code = sc.main(["--root", str(self.root)] + list(args))
        out, err = self.capfd.readouterr()
        return code, out, err

    def state(self):
        return self.store().read_state()[0]


def verdict(name, ended_at, status="success", **more):
    record = {"task": name, "status": status, "scheduled_for": ended_at, "started_at": ended_at,
              "ended_at": ended_at, "duration_s": 1.5, "exit_code": int(status == "failed"),
              "attempt": 1, "trigger": "schedule", "run_id": "R-" + ended_at,
              "log": "logs/automation/%s.log" % name, "output_tail": ""}
    if status.startswith("skipped"):
        record.update(run_id=None, started_at=None, exit_code=None, attempt=0, reason="told why")
    return dict(record, **more)


def status_at(world, now, last_tick, history=()):
    """The status of a world on a machine that has nothing wrong with it."""
    machine = sc.Machine(now=now, last_tick=last_tick)
    return sc.status_document(world.config, world.state, machine, list(history),
                              sc.examine(world.config, world.state, machine))
