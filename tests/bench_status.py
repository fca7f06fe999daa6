#!/usr/bin/env python3
"""How long the commands that answer questions take: python3 tests/bench_status.py [--tasks N] [--days N] [--runs N]

A project in a temporary folder gets so many tasks, each with a run every hour, and the history of so many days; then
each command is called as a person calls it. The interpreter that runs this file is the one that is measured. The figure
is the median, and `status` is meant to take less than 0.3 s over 1,000 tasks and 30 days.
"""

import argparse
import json
import os
import platform
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
TARGET_S = 0.3
COMMANDS = (("status --table", True), ("status --json", True), ("status --table --task task-0500", True),
            ("why task-0500", False), ("history --limit 20", False), ("audit --since 1d", False))


def result(name, ended_at, number):
    """A verdict as the conductor writes it; every seventh is a failure."""
    status = "failed" if number % 7 == 0 else "success"
    run_id = sc.run_id_of(ended_at - 12, number)
    return {"task": name, "status": status, "scheduled_for": sc.iso(ended_at - 12), "started_at": sc.iso(ended_at - 12),
            "ended_at": sc.iso(ended_at), "duration_s": 12.044, "exit_code": int(status == "failed"), "attempt": 1,
            "trigger": "schedule", "run_id": run_id, "log": "logs/automation/%s.log" % name, "output_bytes": 60,
            "output_tail": "a line that the task printed, and a number: %d\n" % number, "definition": "0" * 16}


def build(root, tasks, days):
    """The project: configuration, history, and a state in which every task has had its runs."""
    names = ["task-%04d" % number for number in range(tasks)]
    documents = [{"name": name, "command": "true", "schedule": "%d * * * *" % (number % 60), "retry_count": 0}
                 for number, name in enumerate(names)]
    store = sc.Store(root)
    sc.write_atomic(store.config_path, json.dumps({"tasks": documents, "settings": {"timezone": "UTC"}}).encode())
    now = time.time()
    state = sc.decide(store.read_config(), sc.State(), now, sc.Facts(boot_id="b"), 0.0).state
    known = dict(state.tasks)
    hour = int(now) // sc.HOUR * sc.HOUR
    lines, count = {}, 0
    for back in range(24 * days - 1, -1, -1):
        for number, name in enumerate(names):
            ended_at = hour - back * sc.HOUR + number % 60 * sc.MINUTE + 12
            if ended_at <= now:
                count += 1
                record = result(name, ended_at, count)
                lines.setdefault(record["ended_at"][:10], []).append(json.dumps(record, sort_keys=True))
                last = {key: record[key] for key in sc.LAST_KEYS}
                known[name] = known[name].replace(last=last, marks="+++F++++++", usual_s=11.5)
    for day, of_day in lines.items():
        sc.write_atomic(store.history_path(day), "".join(line + "\n" for line in of_day).encode(), durable=False)
    sc.write_atomic(store.state_path, sc.dump_state(state.replace(tasks=known, pending=[])))
    store.write_heartbeat(now, now + sc.HOUR, sc.Evidence(), store.watched())
    return count


def measure(command):
    started = time.perf_counter()
    code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    took_s = time.perf_counter() - started
    assert code in (sc.EXIT_OK, sc.EXIT_FAILED), code
    return took_s


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--runs", type=int, default=11)
    args = parser.parse_args()
    root = os.path.realpath(tempfile.mkdtemp(prefix="bench-status-"))
    try:
        shutil.copy(os.path.join(REPOSITORY, SCRIPT), root)
        count = build(root, args.tasks, args.days)
        print("Python %s, %d tasks, %d verdicts in %d days" % (
            platform.python_version(), args.tasks, count, args.days))
        for words, has_target in COMMANDS:
            command = [sys.executable, os.path.join(root, SCRIPT), "--root", root] + words.split()
            took_s = statistics.median(measure(command) for _ in range(args.runs))
            met = "" if not has_target else ", target %g s: %s" % (TARGET_S, "yes" if took_s < TARGET_S else "NO")
            print("  %-34s %.3f s%s" % (words, took_s, met))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
