#!/usr/bin/env python3
"""How long a report takes and how large it is: python3 tests/bench_report.py [--tasks N] [--days N] [--keep DIR]

A root is made up with a month of a busy box: runs, failures, retries, gaps, clean-ups. --keep leaves it there, to look
at its page. The interpreter that runs this file is the one that is measured.
"""

import argparse
import json
import os
import random
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

REPORT = os.path.join(REPOSITORY, "scripts", "symphony_report.py")

# Name, schedule, dependency, seconds that a run takes, growth over the month, share of failed attempts, description.
KINDS = (
    ("health_check", "*/30 * * * *", "", 1.8, 0.0, 0.003, "disk, heartbeat, failed tasks"),
    ("automation_health", "0 * * * *", "", 0.4, 0.0, 0.0, ""),
    ("inventory_scan", "0 2 * * *", "", 210, 0.3, 0.0, "every file, and what it is for"),
    ("cleanup_analysis", "30 2 * * *", "inventory_scan", 45, 0.1, 0.02, "what may go, and why"),
    ("cleanup_execution", "0 3 * * 0", "cleanup_analysis", 9, 0.0, 0.0, ""),
    ("expired_files_cleanup", "0 4 * * *", "", 3, 0.0, 0.0, "registered files whose time is over"),
    ("git_maintenance", "0 5 1 * *", "", 95, 0.0, 0.0, ""),
    ("backup_database", "0 1 * * *", "", 1500, 0.6, 0.05, "full dump of the production database, to the vault"),
    ("verify_backup", "15 1 * * *", "backup_database", 300, 0.2, 0.03, ""),
    ("mirror_sync", "*/15 * * * *", "", 38, -0.2, 0.02, "packages of the upstream mirrors"),
    ("fetch_prices", "*/10 * * * *", "", 6, 0.0, 0.012, ""),
    ("weekday_report", "0 7 * * 1-5", "verify_backup", 20, 0.0, 0.1, "mail to the office"),
)
GAPS = ((22.3, 26 * sc.HOUR, "reboot"), (12.1, 3 * sc.HOUR, "cron"), (5.3, 9.4 * sc.HOUR, "reboot"),
        (2.15, 47 * sc.MINUTE, "suspend"))  # days ago, seconds, cause
SAID = ("connection refused\n", "pg_dump: error: server closed the connection unexpectedly\n",
        "rsync: [Receiver] write error: No space left on device (28)\n", "")
REMOVED = ("build/cache/%02d.tmp", "notes/draft %02d.md~", "logs/app.log.%d", "src/.main.c.sw%d")


class Made:
    """A root that looks as after some weeks of work."""

    def __init__(self, root, tasks=12, days=30, now=None, trouble=False):
        self.root = str(root)
        self.now = float(int(now or time.time()))
        self.days = days
        self.random = random.Random(7)
        self.gaps = [(self.now - ago * sc.DAY, self.now - ago * sc.DAY + length, cause) for ago, length, cause in GAPS
                     if ago < days]
        self.began = self.now - days * sc.DAY
        self.verdicts = []
        self.numbers = 0
        os.makedirs(os.path.join(self.root, "config"), mode=0o700)
        os.makedirs(os.path.join(self.root, "status", "history"), mode=0o700)
        self._configure(tasks)
        ends = {}
        for task, kind in zip(self.config.tasks.values(), self.kinds):
            ends[task.name] = self._live(task, kind, ends)
        self.verdicts = [each for each in self.verdicts if each["ended_at"] <= sc.iso(self.now)]
        if trouble:
            self._trouble()
        self._write_history()
        self._write_state()
        self._clean_up()
        self._fill_disk()

    def write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)
        os.chmod(path, 0o600)

    def _configure(self, count):
        self.kinds, tasks = [], []
        for number in range(count):
            name, schedule, needed, _, _, _, description = KINDS[number % len(KINDS)]
            suffix = "-%d" % (number // len(KINDS) + 1) if number >= len(KINDS) else ""
            task = {"name": name + suffix, "command": "true", "schedule": schedule, "description": description}
            if needed:
                task["dependencies"] = [needed + suffix]
            tasks.append(dict(task, retry_count=1, retry_delay=120))
            self.kinds.append(KINDS[number % len(KINDS)])
        document = {"tasks": tasks, "settings": {"timezone": "UTC"}}
        self.write("config/conductor_config.json", json.dumps(document, indent=1))
        self.config = sc.build_config([("c", document)])
        assert not self.config.problems, self.config.problems

    # -- runs

    def _live(self, task, kind, ends):
        """The verdicts of one task; when its slots were over."""
        slot, busy_until, missed, over = self.began, 0.0, [], {}
        while True:
            slot = task.schedule.next(slot, "UTC")
            if slot is None or slot > self.now - sc.MINUTE:
                break
            gap = next((gap for gap in self.gaps if gap[0] < slot <= gap[1]), None)
            if gap is not None:
                missed.append(slot)
                following = task.schedule.next(slot, "UTC")
                if following <= gap[1] or gap[1] > self.now:
                    continue
            began = missed[0] if missed and missed[0] < slot else None
            missed = []
            if slot < busy_until:
                self._skip(task, slot)
                continue
            ready = ends.get(task.dependencies[0], {}).get(self._needed(task, slot), 0) if task.dependencies else 0
            start = max(slot + self.random.choice([0, 0, 0, 1, 1, 2, 4, 70]), gap[1] + 2 if gap else 0)
            trigger = "catch_up" if gap else "schedule"
            if ready > start:
                start, trigger = ready, "dependency"
            busy_until = over[slot] = self._run(task, kind, slot, start, trigger, began)
        return over

    def _needed(self, task, slot):
        return self.config.tasks[task.dependencies[0]].schedule.previous(slot, "UTC")

    def _run(self, task, kind, slot, start, trigger, merged_since):
        attempts, failed = [], kind[5]
        while True:
            part = (slot - self.began) / (self.now - self.began)
            took = kind[3] * (1 + kind[4] * part) * self.random.lognormvariate(0, 0.12)
            took *= 40 if self.random.random() < 0.004 and kind[0] in ("mirror_sync", "fetch_prices") else 1
            status = "success"
            if self.random.random() < failed:
                status, failed = self.random.choice(["failed", "failed", "failed", "timeout", "interrupted"]), 0.3
            record = self._record(task, status, slot, start, took, len(attempts) + 1, trigger)
            if status == "success" or len(attempts) == 1:
                break
            attempts.append(record)
            start, trigger = start + took + 120, "retry"
        if attempts:
            record["attempts"] = attempts
        if merged_since is not None:
            record["merged_since"] = sc.iso(merged_since)
        self.verdicts.append(record)
        return start + took

    def _record(self, task, status, slot, start, took, attempt, trigger):
        self.numbers += 1
        code = {"success": 0, "timeout": 124, "interrupted": None}.get(status, self.random.choice([1, 1, 2, 255]))
        reason = {"timeout": "SIGTERM after %d s, its timeout" % took,
                  "interrupted": "the command and its supervisor are gone (reboot, power cut or kill -9)"}
        return {"task": task.name, "status": status, "scheduled_for": sc.iso(slot), "started_at": sc.iso(start),
                "ended_at": sc.iso(start + took), "duration_s": round(took, 3), "exit_code": code, "attempt": attempt,
                "trigger": trigger, "run_id": sc.run_id_of(start, self.numbers),
                "log": "logs/automation/%s.log" % task.name, "reason": reason.get(status),
                "output_tail": "done\n" if status == "success" else self.random.choice(SAID)}

    def _skip(self, task, slot):
        self.verdicts.append({
            "task": task.name, "status": "skipped_overlap", "scheduled_for": sc.iso(slot), "started_at": None,
            "ended_at": sc.iso(slot), "duration_s": 0, "exit_code": None, "attempt": 0, "trigger": "schedule",
            "run_id": None, "log": None, "output_tail": "", "reason": "the run before is still going"})

    def _trouble(self):
        """What nobody wants to see: the newest backup failed, and lines of the history are gone."""
        newest = [each for each in self.verdicts if each["task"] == "backup_database"][-1]
        newest.update(status="failed", exit_code=1, output_tail=SAID[1])
        lost = [each for each in self.verdicts if each["task"] == "health_check"][-100:-98]
        self.verdicts = [each for each in self.verdicts if each not in lost]

    def _write_history(self):
        days = {}
        for verdict in sorted(self.verdicts, key=lambda verdict: verdict["ended_at"]):
            days.setdefault(verdict["ended_at"][:10], []).append(json.dumps(verdict, sort_keys=True))
        for day, lines in days.items():
            self.write("status/history/%s.jsonl" % day, "\n".join(lines) + "\n")

    def _write_state(self):
        anchored = {task.name: {"key": task.schedule_key, "since": sc.iso(self.began)}
                    for task in self.config.tasks.values()}
        events = [{"event": "begun", "at": sc.iso(self.began), "pauses": {}},
                  {"event": "anchored", "at": sc.iso(self.began), "tasks": anchored}] + [
            {"event": "gap", "since": sc.iso(since), "at": sc.iso(until), "cause": cause}
            for since, until, cause in self.gaps]
        self.write("status/events.jsonl", "".join(json.dumps(event) + "\n" for event in events))
        newest = {verdict["task"]: verdict for verdict in self.verdicts}
        tasks = {}
        for task in self.config.tasks.values():
            last = {key: newest[task.name][key] for key in sc.LAST_KEYS} if task.name in newest else {}
            bad = bool(last) and last["status"] not in ("success", "skipped_overlap")
            tasks[task.name] = sc.TaskState(
                schedule_key=task.schedule_key, cursor=int(task.schedule.previous(self.now - sc.MINUTE, "UTC") or 0),
                next_slot=task.schedule.next(self.now - sc.MINUTE, "UTC"), last=last, consecutive_failures=int(bad))
        name = next(reversed(list(self.config.tasks)))  # it was started by hand a while ago
        run = sc.Run(run_id=sc.run_id_of(self.now, 1), trigger="manual", started_at=self.now - 2 * sc.HOUR)
        tasks[name] = tasks[name].replace(run=run)
        state = sc.State(tasks=tasks, last_now=self.now, seq=1)
        self.write("conductor_state.json", sc.dump_state(state).decode("ascii"))
        self.write("status/heartbeat", "")
        os.utime(os.path.join(self.root, "status", "heartbeat"), (self.now - 20, self.now - 20))

    # -- clean-up and disk

    def _clean_up(self):
        lines, removed = [], 0
        for ago in (26, 19, 12, 5):
            at = self.now - ago * sc.DAY
            run = "%s-%d" % (sc.iso(at).replace("-", "").replace(":", ""), 4000 + ago)
            paths = [REMOVED[number % len(REMOVED)] % number for number in range(self.random.randint(3, 14))]
            for event in ("intent", "done"):
                lines += [{"event": event, "run": run, "path": path, "size": 1000 * (7 + len(path)) ** 2,
                           "at": sc.iso(at)} for path in paths]
            lines.append({"event": "end", "run": run, "files": len(paths), "at": sc.iso(at)})
            removed += 1
            if ago <= 14:
                os.makedirs(os.path.join(self.root, ".cleanup_quarantine", run), mode=0o700)
            else:
                facts = {"run": run, "files": len(paths), "size": 40000 * len(paths),
                         "at": sc.iso(at + 14 * sc.DAY + sc.HOUR)}
                lines += [dict(facts, event="purge"), dict(facts, event="purged", left=0)]
            if ago == 12:
                lines.append({"event": "restored", "run": run, "path": paths[0], "reason": "",
                              "at": sc.iso(at + sc.HOUR)})
        self.write("cleanup_actions.log", "".join(json.dumps(line) + "\n" for line in lines))
        candidates = [{"path": "build/cache/%03d.tmp" % number, "size": 4096 * (number + 1), "age_s": 20 * sc.DAY,
                       "rule": "temporary", "reason": "named as temporary by what wrote it, and not written for two "
                       "weeks", "saved_by": "", "next_run": number < 9} for number in range(11)]
        self.write("cleanup_report.json", json.dumps({
            "format": 1, "at": sc.iso(self.now - 5 * sc.HOUR), "refused": "", "candidates": candidates,
            "verdict": "OK - 9 files would be removed (180.0 KiB), 2 more for the next run"}))

    def _fill_disk(self):
        found = os.statvfs(self.root)
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        lines = []
        for ago in range(1, 61):
            free += total * (0.004 - (0.06 if ago % 14 == 0 else 0)) + self.random.gauss(0, 0.004) * total
            lines.insert(0, {"at": sc.iso(self.now - ago * sc.DAY), "free_bytes": int(min(max(free, 0), total)),
                             "total_bytes": total, "free_inodes": found.f_favail})
        self.write("status/disk.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def measure(root, form, days):
    """(wall seconds, CPU seconds, bytes, peak bytes) of one report."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    out = subprocess.run([sys.executable, REPORT, "--root", root, "--since", "%dd" % days, "--format", form],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return (wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, len(out),
            after.ru_maxrss * unit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--trouble", action="store_true", help="with a failed backup and slots that nothing explains")
    parser.add_argument("--keep", metavar="DIR", help="make the root there, and leave it")
    args = parser.parse_args()
    folder = args.keep or os.path.join(tempfile.mkdtemp(), "root")
    os.makedirs(folder, mode=0o700)
    made = Made(folder, args.tasks, args.days, trouble=args.trouble)
    print("%d tasks, %d days, %d verdicts" % (args.tasks, args.days, len(made.verdicts)))
    for form in ("html", "markdown", "json"):
        samples = [measure(folder, form, args.days) for _ in range(args.runs)]
        print("  %-8s  %.2f s (CPU %.2f s), %d KiB, peak %d MiB" % (
            form, statistics.median(sample[0] for sample in samples), statistics.median(
                sample[1] for sample in samples), samples[0][2] // 1024, max(sample[3] for sample in samples) >> 20))
    if not args.keep:
        shutil.rmtree(os.path.dirname(folder))


if __name__ == "__main__":
    main()
