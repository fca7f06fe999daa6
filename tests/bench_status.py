#!/usr/bin/env python3
"""How long the commands that answer questions take: python3 tests/bench_status.py

A project in a temporary folder gets 1,000 tasks, each with a run every hour, and their 720,000
verdicts of 30 days; --tasks and --days change that. Then each command is run several times as a
process of its own, as a person runs it, with the interpreter that runs this file. The table has the
median of its times and what it is meant to stay below; those targets hold for the default scale.
Where the CPU time is far below the time, the machine had other work.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, REPOSITORY)

import symphony_conductor as sc  # noqa: E402

SCRIPT = "symphony_conductor.py"
# command -> target in seconds
COMMANDS = (
    ("why task-0500", 0.2),
    ("history --limit 20", 0.2),
    ("status --table", 0.3),
    ("status --json", 0.3),
    ("status --table --task task-0500", 0.3),
    ("audit --since 1d", 1.0),
)


def verdict_of(name, ended_at, number):
    """A verdict as the conductor writes it; every seventh is a failure."""
    started = sc.iso(ended_at - 12)
    exit_code = int(number % 7 == 0)
    return {"task": name, "status": "failed" if exit_code else "success", "scheduled_for": started,
            "started_at": started, "ended_at": sc.iso(ended_at), "duration_s": 12.044,
            "exit_code": exit_code, "attempt": 1, "trigger": "schedule",
            "run_id": sc.run_id_of(ended_at - 12, number), "log": "logs/automation/%s.log" % name,
            "output_bytes": 60, "definition": "0" * 16,
            "output_tail": "a line that the task printed, and a number: %d\n" % number}


def ends_of(names, now, days):
    """(task, end of a run), oldest first: a run an hour, the newest of them in the last hour."""
    hour = int(now) // sc.HOUR * sc.HOUR
    by_minute = sorted((number % 60 * sc.MINUTE + 12, name) for number, name in enumerate(names))
    for start in range(hour - days * sc.DAY, hour + 1, sc.HOUR):
        for offset, name in by_minute:
            if now - days * sc.DAY < start + offset <= now:
                yield name, start + offset


def day_of(verdict):
    return verdict["ended_at"][:10]


def write_history(store, names, now, days):
    """Write the verdicts, a file for each day; how many there are, and the newest of each task."""
    newest = {}
    numbers = itertools.count(1)
    verdicts = (verdict_of(name, ended_at, next(numbers))
                for name, ended_at in ends_of(names, now, days))
    for day, of_day in itertools.groupby(verdicts, day_of):
        path = store.history_path(day)
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(path, "w", encoding="ascii") as handle:
            for verdict in of_day:
                handle.write(json.dumps(verdict, sort_keys=True) + "\n")
                newest[verdict["task"]] = verdict
    return next(numbers) - 1, newest


def build(root, tasks, days):
    """The project: configuration, history, and a state in which every task has had its runs."""
    names = ["task-%04d" % number for number in range(tasks)]
    documents = [{"name": name, "command": "true", "schedule": "%d * * * *" % (number % 60),
                  "retry_count": 0} for number, name in enumerate(names)]
    store = sc.Store(root)
    document = {"tasks": documents, "settings": {"timezone": "UTC"}}
    sc.write_atomic(store.config_path, json.dumps(document).encode())
    now = time.time()
    count, newest = write_history(store, names, now, days)
    state = sc.decide(store.read_config(), sc.State(), now, sc.Facts(boot_id="b"), 0.0).state
    states = dict(state.tasks)
    for name, verdict in newest.items():
        last = {key: verdict[key] for key in sc.LAST_KEYS}
        states[name] = states[name].replace(last=last, marks="+++F++++++", usual_s=11.5)
    sc.write_atomic(store.state_path, sc.dump_state(state.replace(tasks=states, pending=[])))
    store.write_heartbeat(now, now + sc.HOUR, sc.Evidence(), store.watched())
    return count


def cpu_s():
    """The CPU time of the processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(command):
    """(time, CPU time) that one run of a command takes."""
    cpu_before, started = cpu_s(), time.perf_counter()
    code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    took_s = time.perf_counter() - started
    assert code in (sc.EXIT_OK, sc.EXIT_FAILED), code
    return took_s, cpu_s() - cpu_before


def print_table(root, runs):
    """Measure each command and print the times beside the targets."""
    print("%-34s %9s %9s %9s" % ("command", "measured", "target", "CPU"))
    for words, target_s in COMMANDS:
        command = [sys.executable, os.path.join(root, SCRIPT), "--root", root] + words.split()
        times = [measure(command) for _ in range(runs)]
        took_s, took_cpu_s = map(statistics.median, zip(*times))
        mark = "" if took_s <= target_s else "  MISSED"
        print("%-34s %7.3f s %7.1f s %7.3f s%s" % (words, took_s, target_s, took_cpu_s, mark),
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30, help="days of history (default: 30)")
    parser.add_argument("--runs", type=int, default=11, help="runs of each command (default: 11)")
    args = parser.parse_args()
    root = os.path.realpath(tempfile.mkdtemp(prefix="bench-status-"))
    try:
        shutil.copy(os.path.join(REPOSITORY, SCRIPT), root)
        started = time.perf_counter()
        count = build(root, args.tasks, args.days)
        print("Python %s, %d tasks, %d verdicts in %d days (made in %.0f s)" % (
            platform.python_version(), args.tasks, count, args.days,
            time.perf_counter() - started), flush=True)
        print_table(root, args.runs)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
