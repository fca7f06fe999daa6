#!/usr/bin/env python3
"""Run one configuration on a real Airflow and on the conductor at the same time, and compare.

    python3 tests/on_airflow.py [--python PYTHON] [--folder DIR] [--dependents N]

Starts PostgreSQL, Redis and Airflow (API server, scheduler, DAG processor, two Celery workers) in a
temporary folder and on free ports of loopback, and beside it the conductor, whose tick is called
every minute. Both have the default configuration and the tasks of this file, each in a root of its
own, and see the same clock and the same troubles: the scheduler is killed for three minutes, the
API server ahead of a slot, and a worker with a run in its hands. Prints the verdict of each slot on
both, what was measured, and each difference with its kind; exits 1 if one has no name, or if a run
was lost or doubled.

  --python PYTHON  of a virtual environment with scripts/airflow/requirements.lock; the default is
                   that of tests/.venv-airflow
  --folder DIR     keep roots, logs and the figures there
  --dependents N   only this: one task, and N that its success starts

Takes sixteen minutes (with --dependents 200, about seven), 2 GB of memory, Debian's packages
postgresql and redis-server. Settings in the environment (AIRFLOW__SECTION__NAME) go before those
of tests/airflow_cluster.py. All that is started ends with it, also at Ctrl-C.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from airflow_cluster import (
    Cluster,
    Missing,
    Trouble,
    descendants,
    engine,
    kill,
    look_for_what_is_needed,
    parents,
    pss_bytes,
)
from support import REPOSITORY, Project, wait_until

import symphony_conductor as sc

MINUTE = 60
CALM = 4 * MINUTE           # until the first trouble
OUTAGE = (CALM + 20, CALM + 212)
API_KILLED = 9 * MINUTE - 4
VICTIM_SLOT = 10 * MINUTE
WORKER_KILLED = VICTIM_SLOT + 20
WORKER_BACK = WORKER_KILLED + 30
END = 13 * MINUTE + 15
GATE_OPENED = 3 * MINUTE + 20
STUBBORN = ("trap '' TERM; (trap '' TERM; exec sleep 424) & (trap '' TERM; setsid sleep 425) &"
            " ./job 426 0")
WITHOUT_SCHEDULE = ("join",)
# Of the default configuration: they look at the heartbeat and crontab of the root they run in.
LOOK_AT_THE_ROOT = ("health_check", "automation_health")

# Leaves a line in the file "runs" when it starts and when it ends.
JOB = """#!/bin/sh
say() {
    echo "$1 $SYMPHONY_TASK ${SYMPHONY_SCHEDULED_FOR:--} $SYMPHONY_ATTEMPT $(date +%s.%N) $$" \\
        >> "$SYMPHONY_ROOT/runs"
}
say start; sleep "$1"; say end; exit "$2"
"""

Run = collections.namedtuple("Run", "task slot attempt started_at ended_at pid")
Difference = collections.namedtuple("Difference", "task slot airflow conductor kind")


def minutely(name, seconds=1, code=0, schedule="* * * * *", **more):
    return dict({"name": name, "command": "./job %s %d" % (seconds, code), "schedule": schedule,
                 "retry_count": 0, "timeout": 300, "timezone": "UTC"}, **more)


def each_minute_from(begin):
    """A schedule that has no slot ahead of the trial, so that every second run is the same one."""
    first = int(begin // MINUTE)
    minutes = sorted((first + number) % 60 for number in range(END // MINUTE + 1))
    return "%s * * * *" % ",".join(map(str, minutes))


def tasks_of_the_trial(begin):
    """Every rule that the two could read differently has a task."""
    def at(offset):
        return time.strftime("%M %H * * *", time.gmtime(begin + offset))

    joined = {"name": "join", "command": "./job 1 0", "dependencies": ["third", "alone"],
              "retry_count": 0, "timeout": 300}
    return [
        minutely("alone"),
        minutely("first", 2),
        minutely("second", dependencies=["first"]),
        minutely("third", dependencies=["second"]),
        joined,
        minutely("fails", 1, 3, "*/2 * * * *", retry_count=1, retry_delay=5),
        minutely("waits", schedule="*/2 * * * *", dependencies=["fails"]),
        minutely("gate", schedule=at(MINUTE), command='./job 1 "$(cat gate)"'),
        minutely("behind_gate", schedule=at(MINUTE), dependencies=["gate"]),
        minutely("slow", 75, schedule=each_minute_from(begin)),
        minutely("queued", 75, schedule="*/2 * * * *", overlap="queue"),
        minutely("late", start_deadline=25),
        minutely("lock_a", 6, schedule="*/2 * * * *", locks=["common"]),
        minutely("lock_b", 6, schedule="*/2 * * * *", locks=["common"]),
        minutely("stubborn", schedule="*/3 * * * *", command=STUBBORN, timeout=8, kill_grace=3),
        minutely("not_now", 1, 75, "*/2 * * * *", skip_exit_codes=[75]),
        minutely("paris", schedule="30 2 * * *", timezone="Europe/Paris"),
        minutely("newyork", schedule=["1-59/2 * * * *", "H * L * *"], timezone="America/New_York"),
        minutely("victim", 30, schedule=at(VICTIM_SLOT), retry_count=1, retry_delay=5),
    ]


# -- the two roots

def make_root(path, tasks):
    """A root with the default configuration, its scripts, and more tasks."""
    subprocess.check_call(["git", "clone", "-q", str(REPOSITORY), str(path)])
    config = path / "config/conductor_config.json"
    text = config.read_text().replace('"max_concurrent_tasks": 3', '"max_concurrent_tasks": 10')
    config.write_text(text)
    (path / "job").write_text(JOB)
    (path / "job").chmod(0o755)
    (path / "gate").write_text("1\n")
    drop_in = path / "config/tasks.d"
    drop_in.mkdir(exist_ok=True)
    (drop_in / "trial.json").write_text(json.dumps(tasks, indent=1))
    for folder in (path, path / "config", drop_in):
        folder.chmod(0o700)
    for file in (config, drop_in / "trial.json"):
        file.chmod(0o600)
    problems = sc.Store(str(path)).read_config().problems
    if problems:
        raise Trouble("\n".join(map(str, problems)))
    return path


def runs_of(root):
    """The runs that the jobs of a root have left a line of, in the order of their starts."""
    path = root / "runs"
    ends, starts = {}, []
    for line in path.read_text().splitlines() if path.exists() else ():
        what, task, slot, attempt, at, pid = line.split()
        at = float(at)
        if what == "end":
            ends[(task, pid)] = at
        else:
            starts.append((task, sc.from_iso(slot) if slot != "-" else None, int(attempt), at, pid))
    return [Run(task, slot, attempt, at, ends.get((task, pid)), int(pid))
            for task, slot, attempt, at, pid in starts]


class Peer:
    """The conductor itself, with a thread in the place of cron."""

    def __init__(self, root):
        self.project, self.root = Project(root), root
        self.over = threading.Event()
        self.lock = None
        self.thread = threading.Thread(target=self.cron, daemon=True)
        self.thread.start()

    def cron(self):
        while not self.over.wait(MINUTE - time.time() % MINUTE):
            self.project.call("tick")

    def run(self, task):
        subprocess.Popen(self.project.command("run", "--task", task), stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def halt(self):
        """Nothing decides: neither a tick nor a supervisor at the end of its run."""
        self.lock = sc.FileLock(str(self.root / "conductor.pid"))
        if not self.lock.acquire(10):
            raise Trouble("the lock of the conductor's tick is not free")

    def go_on(self):
        self.lock.release()
        self.project.call("tick")

    def kill(self, task):
        """kill -9 of a run: its supervisor and its command."""
        pids = [run.pid for run in runs_of(self.root) if run.task == task and not run.ended_at]
        above = parents()
        kill([above[pid] for pid in pids if above.get(pid, 1) not in (1, os.getpid())] + pids)

    def stop(self):
        self.over.set()
        self.thread.join(10)

    def verdicts(self):
        return [verdict for verdict in self.project.history() if not verdict.get("interim")]


def processes_with(text):
    """The processes whose command line holds a text."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


# -- what happens

def sleep_until(moment):
    while time.time() < moment:
        time.sleep(min(1.0, max(0.0, moment - time.time())))


class Scenario:
    """The troubles, at their times, on both."""

    def __init__(self, cluster, peer, begin):
        self.cluster, self.peer, self.begin = cluster, peer, begin
        self.memory, self.notes, self.faults = [], [], []
        self.lost = set()  # (task, slot) of the runs that were in the hands of the killed worker
        self.hand = {}

    def play(self):
        steps = [(offset, self.measure) for offset in range(30, END, 20)
                 if not OUTAGE[0] - 20 < offset < OUTAGE[1] + 20]
        steps += [(GATE_OPENED, self.open_gate), (OUTAGE[0], self.kill_scheduler),
                  (OUTAGE[1], self.start_scheduler), (API_KILLED, self.restart_api_server),
                  (WORKER_KILLED, self.kill_worker),
                  (WORKER_BACK, self.start_worker)]
        for offset, act in sorted(steps, key=lambda step: step[0]):
            sleep_until(self.begin + offset)
            act()
            dead = self.cluster.dead()
            if dead:
                raise Trouble("%s ended by itself: %s" % (dead[0], self.cluster.tail(dead[0])))
        sleep_until(self.begin + END)

    def say(self, text):
        print("%s  %s" % (time.strftime("%H:%M:%S", time.gmtime()), text), flush=True)

    def measure(self):
        # What is below this process and of no service is the conductor's: its supervisors, their
        # commands, now and then a tick.
        services, above = self.cluster.memory(), parents()
        pids = {process.pid for process in self.cluster.running.values()}
        peer = [pid for top, parent in above.items() if parent == os.getpid() and top not in pids
                for pid in descendants(top, above)]
        self.memory.append((services, sum(map(pss_bytes, peer))))

    def open_gate(self):
        self.say("the task gate, which had failed, is run by hand, with success")
        for root in (self.cluster.root, self.peer.root):
            (root / "gate").write_text("0\n")
        self.cluster.trigger("gate")
        self.peer.run("gate")

    def kill_scheduler(self):
        self.say("kill -9 of the scheduler")
        self.cluster.kill("scheduler")
        self.peer.halt()

    def start_scheduler(self):
        self.say("the scheduler is started again")
        self.cluster.start("scheduler")
        self.peer.go_on()

    def restart_api_server(self):
        self.say("kill -9 of the API server, ahead of a slot")
        self.cluster.kill("api-server")
        self.cluster.start("api-server")
        began = time.monotonic()
        if not wait_until(self.cluster.is_healthy, 60):
            raise Trouble("the API server does not come back: " + self.cluster.tail("api-server"))
        self.notes.append("the API server was away for %.0f s" % (time.monotonic() - began))

    def kill_worker(self):
        """kill -9 of all of a worker, except the process that is to end the command's tree."""
        runs = [run for run in runs_of(self.cluster.root) if not run.ended_at]
        victims = [run for run in runs if run.task == "victim"]
        if not victims:
            self.faults.append("victim was not running when its worker was to be killed")
            return
        self.killed = self.cluster.worker_above(victims[0].pid)
        if self.killed is None:
            self.faults.append("victim runs under no worker")
            return
        under = [run for run in runs if self.cluster.worker_above(run.pid) == self.killed]
        self.lost = {(run.task, run.slot) for run in under if run.slot is not None}
        runners = [pid for pid in processes_with("/runner.py\0")
                   if pid in descendants(self.cluster.running[self.killed].pid)]
        trees = [pid for runner in runners for pid in descendants(runner)]
        self.say("kill -9 of %s, which runs %s" % (
            self.killed, ", ".join(sorted(run.task for run in under))))
        killed_at = time.time()
        self.cluster.kill(self.killed, spare=runners)
        self.peer.kill("victim")
        gone = wait_until(lambda: not any(pid in parents() for pid in trees), 30)
        if gone:
            self.notes.append("processes left by the killed worker: %d, gone %.1f s later" % (
                len(trees), time.time() - killed_at))
        else:
            self.faults.append("still running 30 s after kill -9 of their worker: %s" % [
                pid for pid in trees if pid in parents()])

    def start_worker(self):
        if self.killed:
            self.say("%s is started again" % self.killed)
            self.cluster.start(self.killed)

    killed = None


# -- what became of it

def slots_of(verdicts, begin, end):
    """The status of each slot of a span, by task and slot."""
    statuses = {}
    for verdict in verdicts:
        slot = sc.from_iso(verdict["scheduled_for"]) if verdict.get("scheduled_for") else None
        # A task without a schedule has the time at which its run was found due in that place.
        is_slot = slot is not None and verdict["task"] not in WITHOUT_SCHEDULE
        if is_slot and begin <= slot < end and verdict["status"] != "waiting":
            key = (verdict["task"], int(slot))
            statuses.setdefault(key, []).append(verdict["status"])
    return {key: "+".join(status) for key, status in statuses.items()}


def airflow_verdicts(cluster, since):
    """The verdicts over REST, and the runs that ended without one."""
    names = list(sc.Store(str(cluster.root)).read_config().tasks)
    runs = engine.read_runs(cluster.api, since, names)
    with_one = [run for run in runs if run.rows]
    without = ["%s of %s: %s without a verdict" % (run.task, run.run_id, run.state)
               for run in runs if not run.rows and run.state not in engine.OPEN]
    return engine.rows_of(with_one), without


def compare(ours, theirs, begin, lost):
    """Each slot that the two answered differently."""
    differences = []
    for key in sorted(set(ours) | set(theirs)):
        if ours.get(key) != theirs.get(key):
            kind = kind_of(key, ours.get(key), theirs.get(key), begin, lost)
            differences.append(Difference(key[0], key[1], ours.get(key), theirs.get(key), kind))
    return differences


def kind_of(key, airflow, conductor, begin, lost):
    """The name of a difference, or None."""
    task, slot = key
    if "+" in (airflow or "") + (conductor or ""):
        return None  # decided twice
    if task in LOOK_AT_THE_ROOT:
        return "looks at the heartbeat of its root"
    if key in lost and task != "victim":
        return "was on the worker that was killed"
    if OUTAGE[0] < slot - begin < OUTAGE[1] and airflow == "skipped_overlap":
        # The run before it ended without a scheduler, and its operator decided: not so a
        # supervisor, which waits for the lock of the tick that is not there.
        return "came behind a run while no scheduler ran: skipped on Airflow, not yet decided here"
    if task == "slow" and OUTAGE[1] < slot - begin < OUTAGE[1] + 3 * MINUTE:
        return "follows a slot that came while no scheduler ran"
    neighbours = {name for name, at in lost if at and abs(at - slot) <= 3 * MINUTE}
    if task in neighbours and slot >= begin + VICTIM_SLOT:
        return "follows a run on the worker that was killed"
    return None


def doubled(runs):
    """Attempts that started twice, and runs of a task that met."""
    faults = []
    counted = collections.Counter((run.task, run.slot, run.attempt) for run in runs
                                  if run.slot is not None)
    faults += ["%s %s attempt %d started %d times" % (task, sc.iso(slot), attempt, count)
               for (task, slot, attempt), count in sorted(counted.items()) if count > 1]
    groups = collections.defaultdict(list)
    for run in runs:
        groups["lock" if run.task.startswith("lock_") else run.task].append(run)
    for name, members in sorted(groups.items()):
        for one, other in zip(members, members[1:]):
            if one.ended_at and other.started_at < one.ended_at - 0.05:
                faults.append("%s: two at the same time at %s" % (name, sc.iso(other.started_at)))
    return faults


def delays(runs, begin):
    """Seconds from slot to start, and from the end of a dependency to its dependent's start."""
    calm = [run for run in runs if begin <= run.started_at < begin + CALM and run.attempt == 1]
    by_slot = {(run.task, run.slot): run for run in calm}
    to_start = [run.started_at - run.slot for run in calm
                if run.task in ("alone", "first", "fails", "late", "not_now", "newyork")
                and run.slot is not None]
    to_dependent = []
    for above, below in (("first", "second"), ("second", "third")):
        for (task, slot), run in by_slot.items():
            before = by_slot.get((above, slot))
            if task == below and before and before.ended_at:
                to_dependent.append(run.started_at - before.ended_at)
    for join in [run for run in calm if run.task == "join"]:
        ends = [run.ended_at for run in calm if run.task == "third" and run.ended_at
                and run.ended_at <= join.started_at]
        if ends:
            to_dependent.append(join.started_at - max(ends))
    return {"slot to start": to_start, "end of a dependency to start": to_dependent}


def next_slots(cluster, config):
    """By task with a schedule: the next slot as Airflow shows it, our last and our next one."""
    rows = {}
    for task in config.tasks.values():
        if task.schedule is None:
            continue
        shown = cluster.api.get("dags/" + task.name)["next_dagrun_run_after"]
        now = time.time()
        rows[task.name] = (shown and int(sc.from_iso(shown)),
                           task.schedule.previous(now, task.timezone),
                           task.schedule.next(now, task.timezone))
    return rows


# -- the report

def print_slots(ours, theirs):
    print("\n%-22s %-5s  %-20s %-20s" % ("TASK", "SLOT", "AIRFLOW", "CONDUCTOR"))
    for key in sorted(set(ours) | set(theirs)):
        mark = "" if ours.get(key) == theirs.get(key) else "  <-"
        print("%-22s %s  %-20s %-20s%s" % (
            key[0], time.strftime("%H:%M", time.gmtime(key[1])), ours.get(key, "-"),
            theirs.get(key, "-"), mark))


def figures(values):
    if not values:
        return "none"
    return "median %.1f s, worst %.1f s (%d)" % (statistics.median(values), max(values),
                                                 len(values))


def print_figures(samples, ours, theirs):
    print("\n%-32s %-36s %s" % ("", "AIRFLOW", "CONDUCTOR"))
    for name, values in ours.items():
        print("%-32s %-36s %s" % (name, figures(values), figures(theirs[name])))
    parts = collections.defaultdict(list)
    for memory, peer in samples:
        for name, size in memory.items():
            parts[name].append(size / 1e6)
        parts["all"].append(sum(memory.values()) / 1e6)
        parts["conductor"].append(peer / 1e6)
    for name, sizes in parts.items():
        if name != "conductor":
            print("%-32s %-36s %s" % ("memory: " + name, "median %.0f MB, most %.0f MB" % (
                statistics.median(sizes), max(sizes)), "" if name != "all" else
                "median %.0f MB, most %.0f MB" % (statistics.median(parts["conductor"]),
                                                  max(parts["conductor"]))))


def gather(scenario):
    """All that was seen, as JSON can hold it; on file before it is judged."""
    cluster, peer = scenario.cluster, scenario.peer
    verdicts, without = airflow_verdicts(cluster, scenario.begin)
    seen = {
        "begin": scenario.begin, "verdicts": verdicts, "without": without,
        "peer_verdicts": peer.verdicts(), "runs": runs_of(cluster.root),
        "peer_runs": runs_of(peer.root), "memory": scenario.memory, "notes": scenario.notes,
        "lost": sorted(scenario.lost), "faults": scenario.faults,
        "next": next_slots(cluster, sc.Store(str(cluster.root)).read_config()),
        "audit": audit(cluster, scenario.begin), "instances": cluster.task_instances()}
    (cluster.folder / "figures.json").write_text(json.dumps(seen))
    return seen


def audit(cluster, begin):
    """What `audit --engine airflow` says of the time since the beginning: exit code, output."""
    env = dict(os.environ, SYMPHONY_AIRFLOW_URL=cluster.url,
               SYMPHONY_AIRFLOW_TOKEN=cluster.api.token)
    code, out, err = Project(cluster.root).call(
        "audit", "--engine", "airflow", "--since", sc.iso(begin), env=env)
    return code, out + err


def judge(seen):
    """Print all that was seen; the faults."""
    begin = seen["begin"]
    end = begin + END - 2 * MINUTE  # what is due later may not have ended
    ours = slots_of(seen["verdicts"], begin, end)
    theirs = slots_of(seen["peer_verdicts"], begin, end)
    runs = [Run(*run) for run in seen["runs"]]
    peer_runs = [Run(*run) for run in seen["peer_runs"]]
    print_slots(ours, theirs)
    print_figures(seen["memory"], delays(runs, begin), delays(peer_runs, begin))
    print()
    for note in seen["notes"]:
        print(note)
    differences = compare(ours, theirs, begin, {tuple(key) for key in seen["lost"]})
    for kind, count in sorted(collections.Counter(
            difference.kind for difference in differences if difference.kind).items()):
        print("difference: %s (%d)" % (kind, count))
    faults = seen["faults"] + doubled(runs)
    faults += ["conductor: " + fault for fault in doubled(peer_runs)]
    faults += ["%s %s: %s, but %s on the conductor" % (
        one.task, sc.iso(one.slot), one.airflow, one.conductor)
        for one in differences if not one.kind]
    faults += joins(runs, peer_runs, begin, end)
    faults += seen["without"]
    for task, (shown, last, following) in sorted(seen["next"].items()):
        if shown not in (last, following):  # the last one, while a run before it is going on
            faults.append("%s: next slot %s, but %s on the conductor" % (
                task, sc.iso(shown), sc.iso(following)))
    print("next slots as the conductor has them: %d tasks" % len(seen["next"]))
    code, text = seen["audit"]
    print("\naudit --engine airflow:\n" + text)
    if code != 0:
        faults.append("audit --engine airflow exits with %d" % code)
    return faults


def joins(airflow_runs, peer_runs, begin, end):
    """The join has no slots: its runs are counted."""
    counts = [len([run for run in runs if run.task == "join" and begin <= run.started_at < end])
              for runs in (airflow_runs, peer_runs)]
    print("runs of the join: %d, %d on the conductor" % tuple(counts))
    if abs(counts[0] - counts[1]) > 1:
        return ["the join ran %d times, %d times on the conductor" % tuple(counts)]
    return []


# -- the dependents

def dependents(cluster, count, slot):
    """One task, and many that its success starts, half of which wait for it at their own slot."""
    names = ["d%03d" % number for number in range(count)]

    def started():
        return [run for run in runs_of(cluster.root) if run.task in names]
    sleep_until(slot)
    print("%s  the slot" % time.strftime("%H:%M:%S", time.gmtime()), flush=True)
    wait_until(lambda: len({run.task for run in started()}) == count, 20 * MINUTE)
    time.sleep(20)  # for what would come twice
    runs = started()
    source = [run for run in runs_of(cluster.root) if run.task == "source"]
    if not source or not source[0].ended_at:
        return ["the task source has not ended"]
    offsets = sorted(run.started_at - source[0].ended_at for run in runs)
    states = collections.Counter((instance["dag_id"] != "source", instance["state"])
                                 for instance in cluster.task_instances()
                                 if instance["dag_id"] in names + ["source"])
    for (is_dependent, state), number in sorted(states.items(), key=str):
        print("task instances of %s: %s %d" % (
            "the dependents" if is_dependent else "source", state, number))
    if offsets:
        print("%d dependents ran; after the end of source: first %.1f s, median %.1f s, last %.1f s"
              % (len({run.task for run in runs}), offsets[0], statistics.median(offsets),
                 offsets[-1]))
    counts = collections.Counter(run.task for run in runs)
    faults = ["%s ran %d times" % (name, counts[name]) for name in names if counts[name] != 1]
    failed = sum(number for (_, state), number in states.items() if state in (
        "failed", "upstream_failed", "up_for_retry"))
    return faults + (["%d task instances failed" % failed] if failed else [])


def tasks_with_dependents(count, slot):
    schedule = time.strftime("%M %H * * *", time.gmtime(slot))
    tasks = [minutely("source", 30, schedule=schedule)]
    for number in range(count):
        task = minutely("d%03d" % number, 0, schedule=schedule, dependencies=["source"])
        if number % 2:
            del task["schedule"]
        tasks.append(task)
    return tasks


# -- the command

def try_everything(options, folder):
    if options.dependents:
        slot = time.time() // MINUTE * MINUTE + 3 * MINUTE
        tasks = tasks_with_dependents(options.dependents, slot)
    else:
        begin = time.time() // MINUTE * MINUTE + 3 * MINUTE
        tasks = tasks_of_the_trial(begin)
    root = make_root(folder / "airflow-root", tasks)
    peer_root = make_root(folder / "conductor-root", tasks)
    began = time.monotonic()
    with Cluster(options.python, root, folder) as cluster:
        print("Airflow is up after %.0f s: %s" % (time.monotonic() - began, cluster.url),
              flush=True)
        count = len(sc.Store(str(root)).read_config().tasks)

        def all_are_there():
            return cluster.api.get("dags", limit=1)["total_entries"] >= count
        if not wait_until(all_are_there, 90):
            raise Trouble("fewer DAGs than tasks: %s" % cluster.api.get("importErrors"))
        print("%d tasks, a DAG each" % count, flush=True)
        if options.dependents:
            return dependents(cluster, options.dependents, slot)
        peer = Peer(peer_root)
        try:
            scenario = Scenario(cluster, peer, begin)
            scenario.play()
            return judge(gather(scenario))
        finally:
            peer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", type=pathlib.Path,
                        default=REPOSITORY / "tests/.venv-airflow/bin/python")
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--dependents", type=int, metavar="N")
    options = parser.parse_args()
    options.python = options.python.absolute()  # it is started in other folders, too
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    folder = options.folder
    try:
        look_for_what_is_needed(options.python)
        if folder is None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="on_airflow."))
        folder.mkdir(parents=True, exist_ok=True)
        faults = try_everything(options, folder.resolve())
    except (Missing, Trouble, sc.ConductorError) as error:
        print("on_airflow.py: %s" % error, file=sys.stderr)
        return sc.UnavailableError.exit_code if isinstance(error, Missing) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if options.folder is None and folder is not None:
            shutil.rmtree(str(folder), ignore_errors=True)
    for fault in faults:
        print("FAULT  " + fault)
    print("%d faults" % len(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
