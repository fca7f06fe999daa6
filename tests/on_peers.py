#!/usr/bin/env python3
"""Try what people expect of a scheduler on this one and on its peers: the table in README.md.

    sudo python3 tests/on_peers.py [--folder DIR] [--only WORD] [--peer WORD]

Each cell is what a small probe has seen: real jobs, which leave files, started by the real program.
What a program does not offer is looked for in its own help, or tried by hand. A peer that is not
here, and cannot be fetched from a package registry, is left out.

  --folder DIR  keep the peers there, or use those that are there: a virtual environment "yacron",
                Debian's package "anacron" unpacked, a "debian" with systemd made by debootstrap
  --only WORD   only the rows with this word in their key or title
  --peer WORD   only the peers with this word in their names

Time is moved by libfaketime, except for systemd, whose machine's clock cannot be moved: there the
file that stands for the last run is made older, and calendars are asked of systemd-analyze.

Takes root, Debian's packages cron, faketime, systemd-container and debootstrap, and five minutes.
cron and anacron run with crontabs of their own in namespaces of their own, systemd in a container.
The exit code is 1 when something was seen that the probe has no words for.
"""

import argparse
import concurrent.futures
import contextlib
import glob
import http.client
import importlib.machinery
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types

from support import NAMESPACE, REPOSITORY, Project, finished, wait_until

ROWS = (
    ("missed", "a run missed while the machine was off"),
    ("overlap", "the previous run is still going"),
    ("tree", "a timeout ends all processes of the run"),
    ("retries", "retries; exit codes that are no failure"),
    ("dependencies", "a job only after another's success"),
    ("stop", "stop a run and all its processes"),
    ("lock", "two jobs that must not run together"),
    ("clock", "02:30 as the clock changes: autumn; spring"),
    ("dates", "first Monday; last day of the month"),
    ("explained", "tells the next run; why one did not run"),
    ("output", "a run prints 200,000 lines"),
    ("metrics", "metrics; status over HTTP"),
    ("mistakes", "mistakes in the configuration"),
    ("idle", "resident while nothing runs"),
    ("precision", "finest schedule"),
    ("users", "one instance for jobs of several users"))

LINES = 200000
PRELOAD = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# Some peers hand the moved clock on, which would make the sleep of a job shorter.
HEAD = '#!/bin/sh\nunset LD_PRELOAD FAKETIME\ncd "${0%/*}"\n'
# The jobs. Each works in the folder where it lies, and whatever loops ends by the file `over`.
JOBS = {
    "once": 'echo x >> "$1"',
    "together": 'mkdir in.$$; ls -d in.* | wc -l >> together; sleep "$1"; rmdir in.$$',
    "strays": """setsid sh -c 'trap "" HUP; until test -e over; do echo >> alive; sleep 0.2; done' &
until test -e over; do sleep 0.2; done""",
    "failing": "echo x >> failing; exit 1",
    "first": "echo x >> first; test -e good",
    "who": 'id -un > "who.$(id -u)"',
    "many": "seq %d; exit 1" % LINES}

# $1: a folder; then a command. Hides the crontabs of this machine, and what would send its mail.
PRIVATE = """
set -e
folder=$1
shift
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mkdir -p "$folder/cron.d"
: > "$folder/none"
mount --bind "$folder/cron.d" /etc/cron.d
test ! -f /etc/crontab || mount --bind "$folder/none" /etc/crontab
mount -t overlay -o "lowerdir=$folder/sbin:/usr/sbin" overlay /usr/sbin
test ! -f "$folder/table" || crontab "$folder/table"
exec "$@"
"""


class Fault(Exception):
    """Something that the probe has no words for."""


def seen(observation, cells):
    """The words for what was seen."""
    if observation not in cells:
        raise Fault("saw %r, not one of %r" % (observation, sorted(cells, key=repr)))
    return cells[observation]


def faked(at, speed=1, zone="UTC"):
    """The environment of a program whose clock starts at this local time."""
    return dict(os.environ, LD_PRELOAD=PRELOAD[0], FAKETIME="@%s x%s" % (at, speed), TZ=zone,
                LC_ALL="C.UTF-8", PATH=PATH)


def text_of(*command, **more):
    """All that a command prints."""
    _, out, err = finished(list(command), timeout=60, **more)
    return out + err


def resident(pids):
    """How many processes, and their memory; what they share with others counts by its part."""
    size = 0
    for pid in pids:
        rollup = pathlib.Path("/proc/%d/smaps_rollup" % pid).read_text()
        size += int(re.search(r"(?m)^Pss: +(\d+)", rollup).group(1))
    processes = "process" if len(pids) == 1 else "processes"
    return "%d %s, %.1f MB" % (len(pids), processes, size / 1024)


class Place:
    """A folder with the jobs of a probe. `inside` is its name for the peer."""

    def __init__(self, folder, inside=None):
        self.folder = folder
        self.inside = str(inside or folder)
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        for name, text in JOBS.items():
            path = folder / (name + ".sh")
            path.write_text(HEAD + text + "\n")
            path.chmod(0o755)

    def job(self, name, *arguments):
        return " ".join(["%s/%s.sh" % (self.inside, name)] + [str(word) for word in arguments])

    def lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def count(self, name):
        return len(self.lines(name))

    def most(self):
        """(how often `together` was started, how many of them ran at once)"""
        counts = [int(line) for line in self.lines("together")]
        return len(counts), max(counts or [0])

    def users(self):
        """Who has run the job `who`."""
        return tuple(sorted(path.read_text().strip() for path in self.folder.glob("who.[0-9]*")))

    def is_alive(self):
        """Whether what left the session of its job has written within the last second."""
        path = self.folder / "alive"
        if not path.exists():
            raise Fault("the job did not start")
        return time.time() - path.stat().st_mtime < 1

    def touch(self, name):
        (self.folder / name).write_text("")


class Peer:
    """A scheduler. Each key of ROWS is a method that returns the cell."""

    name = ""

    def __init__(self, folder):
        self.folder = folder
        self.places = []

    def place(self, name):
        place = Place(self.folder / name)
        self.places.append(place)
        return place

    def close(self):
        for place in self.places:
            place.touch("over")

    @staticmethod
    def lacks(help_text, *words):
        """"no", of what the program's own help does not have."""
        if len(help_text) < 100 or any(word in help_text.lower() for word in words):
            raise Fault("its help has one of %s" % ", ".join(words), help_text)
        return "no"


# -- this scheduler

class Conductor(Peer):
    name = "Symphony Conductor"

    def story(self, place, times, *tasks, **settings):
        """A project with these tasks after a tick at each time, and the end of what it started."""
        project = Project(place.folder / "root")
        project.configure(*[dict({"retry_count": 0, "schedule": "* * * * *", "timezone": "UTC"},
                                 **task) for task in tasks], **settings)
        for at in times:
            self.tick(project, at)
            project.wait_for_idle()
        return project

    @staticmethod
    def tick(project, at):
        code, out, err = project.call("tick", env=faked(at))
        if code or out or err:
            raise Fault("tick: exit %d" % code, out + err)

    def missed(self):
        place = self.place("missed")
        self.story(place, ["2026-06-01 01:00:00", "2026-06-05 12:00:00", "2026-06-05 12:01:00"],
                   {"name": "daily", "command": place.job("once", "runs"),
                    "schedule": "0 2 * * *"})
        return seen(place.count("runs"), {0: "no", 1: "made up once"})

    def overlapped(self, place):
        project = self.story(place, ["2026-06-01 12:00:00"],
                             {"name": "long", "command": place.job("together", 4)})
        # The clock of the first run goes on from its tick: it must not end before the second one.
        self.tick(project, "2026-06-01 12:01:58")
        self.tick(project, "2026-06-01 12:02:00")
        project.wait_for_idle()
        return project

    def overlap(self):
        place = self.place("overlap")
        project = self.overlapped(place)
        verdicts = sorted(result["status"] for result in project.history())
        return seen((place.most(), tuple(verdicts)), {
            ((1, 1), ("skipped_overlap", "success")): "skipped, recorded"})

    def tree(self):
        place = self.place("tree")
        self.story(place, ["2026-06-01 12:00:00", "2026-06-01 12:01:00"],
                   {"name": "strays", "command": place.job("strays"), "timeout": 1,
                    "kill_grace": 1})
        time.sleep(1.2)
        return seen(place.is_alive(), {False: "yes", True: "command only"})

    def retries(self):
        place = self.place("retries")
        project = self.story(
            place, ["2026-06-01 12:00:00", "2026-06-01 12:01:00", "2026-06-01 12:01:30"],
            {"name": "retried", "command": place.job("failing"), "retry_count": 1,
             "retry_delay": 1},
            {"name": "warned", "command": "exit 1", "success_exit_codes": [0, 1]})
        verdict = [result["status"] for result in project.history() if result["task"] == "warned"]
        return seen((place.count("failing"), verdict[0]), {(2, "success"): "both"})

    def dependencies(self):
        place = self.place("dependencies")
        project = self.story(
            place, ["2026-06-01 12:00:00", "2026-06-01 12:01:00"],
            {"name": "first", "command": place.job("first")},
            {"name": "second", "command": place.job("once", "second"), "dependencies": ["first"]})
        after_failure = place.count("second")
        place.touch("good")
        self.tick(project, "2026-06-01 12:02:00")
        wait_until(lambda: place.count("second"), 5)
        return seen((after_failure, place.count("second")), {(0, 1): "yes"})

    def stop(self):
        place = self.place("stop")
        project = self.story(place, ["2026-06-01 12:00:00"],
                             {"name": "strays", "command": place.job("strays")})
        self.tick(project, "2026-06-01 12:01:00")
        wait_until(lambda: place.count("alive"), 5)
        code, out, err = project.call("stop", "strays", env=faked("2026-06-01 12:01:20"))
        if code:
            raise Fault("stop: exit %d" % code, out + err)
        project.wait_for_idle()
        time.sleep(1.2)
        return seen((place.is_alive(), project.history()[-1]["status"]), {
            (False, "stopped"): "yes"})

    def lock(self):
        place = self.place("lock")
        tasks = [{"name": name, "command": place.job("together", 1), "locks": ["db"]}
                 for name in ("one", "two")]
        self.story(place, ["2026-06-01 12:00:00", "2026-06-01 12:01:00"], *tasks)
        return seen(place.most(), {(2, 1): "by a named lock"})

    def clock(self):
        counts = []
        for name, times in (
                ("autumn", ("2026-10-24 22:00", "2026-10-25 00:30", "2026-10-25 01:30",
                            "2026-10-25 02:30")),
                ("spring", ("2026-03-28 22:00", "2026-03-29 00:59", "2026-03-29 01:00",
                            "2026-03-29 01:30"))):
            place = self.place(name)
            task = {"name": "daily", "command": place.job("once", "runs"),
                    "schedule": "30 2 * * *", "timezone": "Europe/Berlin"}
            project = self.story(place, [times[0] + ":00"], task)
            for at in times[1:]:
                self.tick(project, at + ":01")
                project.wait_for_idle()
                counts.append(place.count("runs"))
        return seen(tuple(counts), {(1, 1, 1, 0, 1, 1): "once; at 03:00"})

    def dates(self):
        place = self.place("dates")
        days = ("2026-12-01", "2026-12-07", "2026-12-14", "2026-12-30", "2026-12-31", "2027-01-01")
        self.story(place, ["2026-11-30 12:00:00"] + [day + " 09:00:01" for day in days],
                   {"name": "monday", "schedule": "0 9 * * MON#1",
                    "command": "date +%F >> " + str(place.folder / "monday")},
                   {"name": "last", "schedule": "0 9 L * *",
                    "command": "date +%F >> " + str(place.folder / "last")})
        return seen((tuple(place.lines("monday")), tuple(place.lines("last"))), {
            (("2026-12-07",), ("2026-12-31",)): "both"})

    def explained(self):
        place = self.place("explained")
        project = self.overlapped(place)
        env = faked("2026-06-01 12:02:30")
        coming = project.call("next", env=env)[1]
        reason = project.call("why", "long", env=env)[1]
        return seen(("12:03" in coming, "previous run still going" in reason), {
            (True, True): "both"})

    def output(self):
        place = self.place("output")
        project = self.story(place, ["2026-06-01 12:00:00", "2026-06-01 12:01:00"],
                             {"name": "many", "command": place.job("many"),
                              "max_output_bytes": 10000})
        log = project.read("logs/automation/many.log").splitlines()
        return seen(("1" in log, str(LINES) in log, len(log) < LINES), {
            (True, True, True): "first and last kept", (True, False, True): "first kept"})

    def metrics(self):
        place = self.place("metrics")
        project = self.story(place, ["2026-06-01 12:00:00", "2026-06-01 12:01:00"],
                             {"name": "quick", "command": "true"},
                             metrics_file="status/symphony.prom")
        path = project.root / "status/symphony.prom"
        wait_until(path.exists, 5)
        sample = r'(?m)^symphony_task_last_success_timestamp_seconds\{.*task="quick".*\} \d'
        help_text = project.call("help")[1]
        return "%s; %s" % (seen(bool(re.search(sample, path.read_text())), {
            True: "for Prometheus"}),
                           self.lacks(help_text, "http", "listen"))

    def mistakes(self):
        place = self.place("mistakes")
        project = Project(place.folder / "root")
        project.configure({"name": "a", "command": "x", "schedule": "61 2 * * *"},
                          {"name": "b", "command": "y", "sched": "* * * * *"})
        _, out, err = project.call("check")
        return seen(tuple(word in out + err for word in ("tasks[0]", "tasks[1]")), {
            (True, True): "all, with the place"})

    def idle(self):
        place = self.place("idle")
        project = self.story(place, ["2026-06-01 12:00:00", "2026-06-01 12:01:00"],
                             {"name": "quick", "command": "true"})

        def own():
            return [path for path in glob.glob("/proc/[0-9]*/cmdline")
                    if os.fsencode(str(project.root)) in read_bytes(path)]
        return seen(bool(wait_until(lambda: not own(), 5)), {True: "none (cron's 1)"})

    def precision(self):
        project = Project(self.place("precision").folder / "root")
        codes = []
        for schedule in ("* * * * *", "*/10 * * * * *"):
            project.configure({"name": "a", "command": "x", "schedule": schedule})
            codes.append(project.call("check")[0])
        return seen(tuple(codes), {(0, 78): "a minute"})

    def users(self):
        project = Project(self.place("users").folder / "root")
        project.configure({"name": "a", "command": "x", "schedule": "0 2 * * *", "user": "nobody"})
        return seen(project.call("check")[0], {78: "no"})


def read_bytes(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:  # it has ended
        return b""


# -- Debian's cron and anacron

class Private(Peer):
    """What runs in namespaces of its own, and ends with them."""

    def place(self, name):
        place = super().place(name)
        sendmail = place.folder / "sbin/sendmail"
        sendmail.parent.mkdir()
        sendmail.write_text("#!/bin/sh\ncat >> %s/mail\n" % shlex.quote(str(place.folder)))
        sendmail.chmod(0o755)
        return place

    def private(self, place, *command):
        """The command that runs another one there."""
        return NAMESPACE + ["/bin/sh", "-c", PRIVATE, "sh", str(place.folder)] + list(command)

    def flocked(self, place, *arguments):
        return "flock %s/lock %s" % (place.inside, place.job("together", *arguments))

    def timed(self, place):
        return "timeout -k 1 2 " + place.job("strays")


class Cron(Private):
    name = "cron"
    program = shutil.which("cron", path=PATH)

    @classmethod
    def version(cls):
        return text_of("dpkg-query", "-W", "-f", "${Version}", "cron")

    def session(self, place, table, at, minutes, speed=20, zone="UTC"):
        """What happens with this table in the minutes from a time on."""
        (place.folder / "table").write_text("\n".join(table) + "\n")
        fake = faked(at, speed, zone)
        program = ["env"] + ["%s=%s" % (key, fake[key]) for key in ("LD_PRELOAD", "FAKETIME", "TZ")]
        text_of(*self.private(place, "timeout", str(minutes * 60 / speed), *(
            program + [self.program, "-f", "-L", "15"])))

    def help_text(self):
        return text_of("crontab", "-h") + text_of(self.program, "-h")

    def missed(self):
        place = self.place("missed")
        self.session(place, ["0 2 * * * " + place.job("once", "runs"),
                             "* * * * * " + place.job("once", "alive")], "2026-06-05 11:58:50", 3)
        return seen((place.count("runs"), place.count("alive") > 1), {(0, True): "lost"})

    def overlap(self):
        place = self.place("overlap")
        self.session(place, ["* * * * * " + place.job("together", 5)], "2026-06-01 11:58:50", 3)
        return seen(place.most()[1] > 1, {True: "both run"})

    def tree(self):
        place = self.place("tree")
        self.session(place, ["0 12 * * * " + self.timed(place)], "2026-06-01 11:59:30", 3)
        return seen(place.is_alive(), {True: "command only, by timeout(1)"})

    def retries(self):
        place = self.place("retries")
        self.session(place, ["0 12 * * * " + place.job("failing")], "2026-06-01 11:59:30", 3)
        lacking = self.lacks(self.help_text(), "exit")
        return "%s; %s" % (seen(place.count("failing"), {1: "no"}), lacking)

    def dependencies(self):
        place = self.place("dependencies")
        self.session(place, ["0 12 * * * " + place.job("first"),
                             "1 12 * * * " + place.job("once", "second")],
                     "2026-06-01 11:59:30", 3)
        return seen((place.count("first"), place.count("second")), {(1, 1): "no"})

    def stop(self):
        return self.lacks(self.help_text(), "stop", "kill")

    def lock(self):
        place = self.place("lock")
        self.session(place, ["0 12 * * * " + self.flocked(place, 1)] * 2, "2026-06-01 11:59:30", 3)
        return seen(place.most(), {(2, 1): "by flock(1)"})

    def clock(self):
        places = [self.place("autumn"), self.place("spring")]
        for place, at, minutes in zip(places, ("2026-10-25 01:58:30", "2026-03-29 01:57:30"),
                                      (130, 8)):
            self.session(place, ["30 2 * * * " + place.job("once", "runs")], at, minutes,
                         60 if minutes < 60 else 360, "Europe/Berlin")
        return seen(tuple(place.count("runs") for place in places), {
            (1, 1): "once; at 03:00", (2, 0): "twice; lost"})

    def dates(self):
        place = self.place("dates")
        self.session(place, ["0 9 1-7 * 1 " + place.job("once", "tuesday")],
                     "2026-12-01 08:59:10", 2)
        (place.folder / "last").write_text("0 9 L * * true\n")
        refused = "bad day-of-month" in text_of("crontab", "-n", str(place.folder / "last"))
        # Both day fields are given, and either is enough.
        return seen((place.count("tuesday"), refused), {(1, True): "no; no"})

    def explained(self):
        lacking = self.lacks(self.help_text(), "next", "why", "status")
        return "%s; %s" % (lacking, lacking)

    def output(self):
        place = self.place("output")
        self.session(place, ["0 12 * * * " + place.job("many")], "2026-06-01 11:59:30", 3)
        lines = place.lines("mail")
        return seen(("1" in lines, str(LINES) in lines, len(lines) >= LINES), {
            (True, True, True): "all, by mail"})

    def metrics(self):
        return "%s; %s" % (self.lacks(self.help_text(), "metric"),
                           self.lacks(self.help_text(), "http"))

    def mistakes(self):
        place = self.place("mistakes")
        (place.folder / "bad").write_text("0 2 * * * x\n61 2 * * * x\n5 25 * * * y\n")
        told = re.findall(r":(\d+): bad \w+", text_of("crontab", "-n", str(place.folder / "bad")))
        return seen(tuple(told), {("1",): "the first, with line"})

    def idle(self):
        place = self.place("idle")
        process = subprocess.Popen(self.private(place, self.program, "-f"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def pids():
                children = "/proc/%d/task/%d/children" % (process.pid, process.pid)
                return [int(pid) for pid in pathlib.Path(children).read_text().split()
                        if "cron" in pathlib.Path("/proc/%s/comm" % pid).read_text()]
            wait_until(pids, 5)
            time.sleep(1)
            return resident(pids())
        finally:
            process.kill()
            process.wait()

    def precision(self):
        place = self.place("precision")
        self.session(place, ["* * * * * " + place.job("once", "runs")], "2026-06-01 11:58:30", 4)
        return seen(place.count("runs"), {4: "a minute"})

    def users(self):
        place = self.place("users")
        folder = place.folder / "cron.d"
        folder.mkdir()
        (folder / "probe").write_text("0 12 * * * nobody %s\n0 12 * * * root %s\n" % (
            (place.job("who"),) * 2))
        self.session(place, [], "2026-06-01 11:59:30", 3)
        return seen(place.users(), {("nobody", "root"): "yes"})


class Anacron(Private):
    name = "anacron"
    program = shutil.which("anacron", path=PATH)

    @classmethod
    def version(cls):
        return text_of(cls.program, "-V").split()[1]

    def anacron(self, place, jobs, *options, **more):
        """Run it once over these jobs, of which the last runs were some days ago."""
        tab = place.folder / "tab"
        tab.write_text("SHELL=/bin/sh\nPATH=%s\n" % PATH + "".join(
            "1 0 job%d %s\n" % (number, job) for number, job in enumerate(jobs)))
        spool = place.folder / "spool"
        if not spool.exists():
            spool.mkdir()
            for number in range(len(jobs)):
                long_ago = time.strftime("%Y%m%d\n", time.gmtime(time.time() - 4 * 86400))
                (spool / ("job%d" % number)).write_text(long_ago)
        return text_of(*self.private(place, self.program, "-d", *(
            options + ("-S", str(spool), "-t", str(tab)))), **more)

    def help_text(self):
        return text_of(self.program, "-h")

    def missed(self):
        place = self.place("missed")
        for _ in range(2):
            self.anacron(place, [place.job("once", "runs")])
        return seen(place.count("runs"), {1: "made up once"})

    def overlapped(self, place):
        jobs = [place.job("together", 3)]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.anacron, place, jobs)
            wait_until(lambda: place.count("together"), 5)
            said = self.anacron(place, jobs)
            running.result()
        return said

    def overlap(self):
        place = self.place("overlap")
        said = self.overlapped(place)
        return seen((place.most(), "locked by another anacron - skipping" in said), {
            ((1, 1), True): "skipped"})

    def tree(self):
        place = self.place("tree")
        job = "(%s); sleep 2; cp -p %s/alive %s/then" % (
            self.timed(place), place.inside, place.inside)
        at = time.time()
        self.anacron(place, [job])
        lasted = (place.folder / "then").stat().st_mtime - at
        return seen(lasted > 3.5, {True: "command only, by timeout(1)"})

    def retries(self):
        place = self.place("retries")
        for _ in range(2):
            self.anacron(place, [place.job("failing")])
        lacking = self.lacks(self.help_text(), "exit")
        return "%s; %s" % (seen(place.count("failing"), {1: "no"}), lacking)

    def dependencies(self):
        place = self.place("dependencies")
        self.anacron(place, [place.job("first"), place.job("once", "second")], "-s")
        return seen((place.count("first"), place.count("second")), {(1, 1): "no"})

    def stop(self):
        return self.lacks(self.help_text(), "stop", "kill")

    def lock(self):
        place = self.place("lock")
        self.anacron(place, [place.job("together", 1)] * 2, "-s")
        return seen(place.most(), {(2, 1): "all in turn (-s)"})

    def clock(self):
        return seen(self.precision(), {"a day": "days only"})

    def dates(self):
        place = self.place("dates")
        (place.folder / "spool").mkdir()
        accepted = []
        for period in ("1", "@monthly", "@first-monday", "L"):
            (place.folder / "tab").write_text("%s 0 job true\n" % period)
            accepted.append(finished(self.private(
                place, self.program, "-T", "-S", str(place.folder / "spool"), "-t",
                str(place.folder / "tab")))[0] == 0)
        return seen(tuple(accepted), {(True, True, False, False): "no; no"})

    def explained(self):
        place = self.place("explained")
        said = self.overlapped(place)
        return "%s; %s" % (self.lacks(self.help_text(), "next", "status"),
                           seen("locked by another" in said, {True: "in its log"}))

    def output(self):
        place = self.place("output")
        self.anacron(place, [place.job("many")])
        lines = place.lines("mail")
        return seen(("1" in lines, str(LINES) in lines, len(lines) >= LINES), {
            (True, True, True): "all, by mail"})

    def metrics(self):
        return "%s; %s" % (self.lacks(self.help_text(), "metric"),
                           self.lacks(self.help_text(), "http"))

    def mistakes(self):
        place = self.place("mistakes")
        (place.folder / "spool").mkdir()
        (place.folder / "tab").write_text("1 0 job true\nbad\nx 0 other true\n")
        said = text_of(*self.private(place, self.program, "-T", "-d", "-S", str(
            place.folder / "spool"), "-t", str(place.folder / "tab")))
        told = re.findall(r"line (\d+)", said)
        return seen(tuple(told), {("2", "3"): "all, with line", ("2",): "the first, with line",
                                  (): "no place"})

    def idle(self):
        place = self.place("idle")
        self.anacron(place, ["true"])  # it has ended when this returns
        return seen(self.anacron(place, ["true"]).count("Normal exit (0 jobs run)"), {1: "none"})

    def precision(self):
        place = self.place("precision%d" % len(self.places))
        for _ in range(3):
            self.anacron(place, [place.job("once", "runs")])
        return seen(place.count("runs"), {1: "a day"})

    def users(self):
        return self.lacks(self.help_text(), "user")


# -- systemd

def load_on_systemd():
    path = str(REPOSITORY / "tests/on_systemd")
    module = types.ModuleType("on_systemd")
    module.__file__ = path
    importlib.machinery.SourceFileLoader("on_systemd", path).exec_module(module)
    return module


class Timers(Peer):
    name = "systemd timers"
    debian = None

    def __init__(self, folder):
        super().__init__(folder)
        self.box = load_on_systemd().Box(self.debian)

    @classmethod
    def version(cls):
        return text_of("chroot", str(cls.debian), "systemctl", "--version").split()[1]

    def place(self, name):
        inside = "/var/tmp/peers/" + name
        path = pathlib.Path(str(self.debian) + inside)
        shutil.rmtree(str(path), ignore_errors=True)
        place = Place(path, inside)
        self.places.append(place)
        return place

    def close(self):
        super().close()
        self.box.close()
        for path in self.debian.glob("etc/systemd/system/peer-*"):
            path.unlink()
        shutil.rmtree(str(self.debian / "var/tmp/peers"), ignore_errors=True)

    def unit(self, name, job, timer="", unit="", service=""):
        folder = self.debian / "etc/systemd/system"
        (folder / ("peer-%s.service" % name)).write_text(
            "[Unit]\n%s\n[Service]\nType=oneshot\nExecStart=%s\n%s\n" % (unit, job, service))
        if timer:
            (folder / ("peer-%s.timer" % name)).write_text(
                "[Timer]\nAccuracySec=1ms\n%s\n" % timer)
        self.box.must("systemctl", "daemon-reload")

    def systemctl(self, *words):
        return self.box.call("systemctl", *words)

    def started(self, name, for_s):
        self.systemctl("start", "peer-%s.timer" % name)
        time.sleep(for_s)
        self.systemctl("stop", "peer-%s.timer" % name)

    def journal(self, name):
        return self.box.must("journalctl", "--no-pager", "-q", "-u", "peer-%s.service" % name)

    def help_text(self):
        return self.box.must("systemctl", "--help")

    def missed(self):
        place = self.place("missed")
        self.unit("missed", place.job("once", "runs"),
                  "OnCalendar=*-*-* 02:00:00\nPersistent=true")
        stamps = self.debian / "var/lib/systemd/timers"
        stamps.mkdir(parents=True, exist_ok=True)
        stamp = stamps / "stamp-peer-missed.timer"
        stamp.write_text("")
        long_ago = time.time() - 4 * 86400
        os.utime(str(stamp), (long_ago, long_ago))
        self.started("missed", 2)
        return seen(place.count("runs"), {1: "made up once"})

    def overlap(self):
        place = self.place("overlap")
        self.unit("overlap", place.job("together", 5), "OnCalendar=*:*:0/1")
        self.started("overlap", 4)
        return seen(place.most(), {(1, 1): "skipped"})

    def tree(self):
        place = self.place("tree")
        self.unit("tree", place.job("strays"), service="TimeoutStartSec=2\nTimeoutStopSec=1")
        self.systemctl("start", "peer-tree.service")
        time.sleep(1.2)
        return seen(place.is_alive(), {False: "yes"})

    def retries(self):
        place = self.place("retries")
        self.unit("retries", place.job("failing"), service="Restart=on-failure\nRestartSec=100ms",
                  unit="StartLimitBurst=2\nStartLimitIntervalSec=60")
        self.systemctl("start", "peer-retries.service")
        time.sleep(2)
        self.unit("warned", "/bin/false", service="SuccessExitStatus=1")
        return seen((place.count("failing"), self.systemctl("start", "peer-warned.service")[0]), {
            (2, 0): "both"})

    def dependencies(self):
        place = self.place("dependencies")
        self.unit("first", place.job("first"))
        self.unit("second", place.job("once", "second"),
                  unit="Requires=peer-first.service\nAfter=peer-first.service")
        self.systemctl("start", "peer-second.service")
        after_failure = place.count("second")
        place.touch("good")
        self.systemctl("start", "peer-second.service")
        return seen((after_failure, place.count("second")), {(0, 1): "yes"})

    def stop(self):
        place = self.place("stop")
        self.unit("stop", place.job("strays"))
        self.systemctl("start", "--no-block", "peer-stop.service")
        wait_until(lambda: place.count("alive"), 5)
        self.systemctl("stop", "peer-stop.service")
        time.sleep(1.2)
        return seen(place.is_alive(), {False: "yes"})

    def lock(self):
        place = self.place("lock")
        for name in ("one", "two"):
            self.unit(name, "/usr/bin/flock %s/lock %s" % (
                place.inside, place.job("together", 1)))
        self.systemctl("start", "peer-one.service", "peer-two.service")
        return seen(place.most(), {(2, 1): "by flock(1)"})

    def elapses(self, at, calendar, count=2):
        """When a calendar comes next after a time, in UTC."""
        said = self.box.must("systemd-analyze", "calendar", "--base-time=" + at,
                             "--iterations=%d" % count, calendar)
        return re.findall(r"(?m)(?:elapse|#\d|\(in UTC\)): \w+ ([\d-]+ [\d:]+) UTC$", said)

    def clock(self):
        calendar = "*-*-* 02:30:00 Europe/Berlin"
        return seen(tuple(self.elapses("2026-10-24 22:00 UTC", calendar)
                          + self.elapses("2026-03-28 22:00 UTC", calendar)), {
            ("2026-10-25 00:30:00", "2026-10-26 01:30:00", "2026-03-29 01:30:00",
             "2026-03-30 00:30:00"): "once; at 03:30",
            ("2026-10-25 01:30:00", "2026-10-26 01:30:00", "2026-03-29 01:30:00",
             "2026-03-30 00:30:00"): "once; at 03:30",
            ("2026-10-25 00:30:00", "2026-10-26 01:30:00", "2026-03-30 00:30:00",
             "2026-03-31 00:30:00"): "once; lost",
            ("2026-10-25 01:30:00", "2026-10-26 01:30:00", "2026-03-30 00:30:00",
             "2026-03-31 00:30:00"): "once; lost"})

    def dates(self):
        days = tuple(at[:10] for calendar in ("Mon *-*-1..7 09:00", "*-*~1 09:00")
                     for at in self.elapses("2026-12-01", calendar))
        return seen(days, {("2026-12-07", "2027-01-04", "2026-12-31", "2027-01-31"): "both"})

    def explained(self):
        place = self.place("explained")
        self.unit("long", place.job("together", 3), "OnCalendar=*:*:0/1")
        self.unit("unmet", place.job("once", "runs"), unit="ConditionPathExists=/nowhere")
        self.systemctl("start", "peer-long.timer")
        time.sleep(2.5)
        coming = self.box.must("systemctl", "list-timers", "--no-pager")
        self.systemctl("stop", "peer-long.timer")
        self.systemctl("start", "peer-unmet.service")
        return seen(("NEXT" in coming and "peer-long" in coming,
                     "unmet condition" in self.journal("unmet"),
                     "skip" in self.journal("long")), {
            (True, True, False): "yes; unmet conditions", (True, False, False): "yes; no"})

    def output(self):
        place = self.place("output")
        self.unit("many", place.job("many"))
        self.systemctl("start", "peer-many.service")
        lines = [line.rpartition(" ")[2] for line in self.journal("many").splitlines()]
        return seen(("1" in lines, str(LINES) in lines, len(lines) >= LINES), {
            (True, True, True): "all, in the journal",
            (True, False, False): "first part, in journal",
            (True, True, False): "first and last kept"})

    def metrics(self):
        return "%s; %s" % (self.lacks(self.help_text(), "metrics"),
                           self.lacks(self.help_text(), "http"))

    def mistakes(self):
        self.unit("bad", "/bin/true", "OnCalendar=*-*-* 25:00\nPersistant=true\nOnBootSec=x")
        said = self.box.call("systemd-analyze", "verify", "peer-bad.timer")[1]
        told = re.findall(r"peer-bad\.timer:(\d+): ", said)
        return seen(tuple(told), {("3", "4", "5"): "all, with line"})

    def idle(self):
        return "PID 1:" + resident([self.box.init]).partition(",")[2]

    def precision(self):
        place = self.place("precision")
        self.unit("precision", place.job("once", "runs"), "OnCalendar=*:*:0/0.5",
                  unit="StartLimitIntervalSec=0")
        self.started("precision", 5)
        return seen(place.count("runs") >= 8, {True: "below a second", False: "a second"})

    def users(self):
        place = self.place("users")
        self.unit("root", place.job("who"))
        self.unit("nobody", place.job("who"), service="User=nobody")
        self.systemctl("start", "peer-root.service", "peer-nobody.service")
        return seen(place.users(), {("nobody", "root"): "yes"})


# -- yacron

def yaml(value, indent=""):
    """A document of mappings, lists and words, as text."""
    if isinstance(value, dict):
        return "".join("%s%s:%s" % (indent, key, yaml_of(item, indent)) for key, item in
                       value.items())
    if isinstance(value, list):
        return "".join("%s- %s" % (indent, yaml(item, indent + "  ").lstrip()) for item in value)
    return json.dumps(value) + "\n"


def yaml_of(value, indent):
    if isinstance(value, (dict, list)):
        return "\n" + yaml(value, indent + "  ")
    return " %s\n" % json.dumps(value)


class Yacron(Peer):
    name = "yacron"
    python = None
    BEFORE_NOON = " 11:57:00"  # it takes time to start, and jobs are at 12:00
    AT = "2026-06-01" + BEFORE_NOON

    @classmethod
    def version(cls):
        return text_of(cls.python, "-m", "yacron", "--version").strip()

    def start(self, place, jobs, at=AT, speed=20, zone="UTC", **more):
        """The process, whose clock is moved; jobs are at 12:00 unless they say otherwise."""
        defaults = {"schedule": "0 12 * * *", "timezone": zone}
        document = dict({"jobs": [dict(defaults, **job) for job in jobs]}, **more)
        path = place.folder / "jobs.yaml"
        path.write_text(yaml(document))
        log = open(str(place.folder / "log"), "wb")
        try:
            return subprocess.Popen([self.python, "-m", "yacron", "-c", str(path)], stdout=log,
                                    stderr=log, env=faked(at, speed, zone), cwd="/")
        finally:
            log.close()

    @contextlib.contextmanager
    def running(self, place, jobs, minutes=5, at=AT, speed=20, zone="UTC", **more):
        """A while of it; what is looked at within is looked at when the while is over."""
        process = self.start(place, jobs, at, speed, zone, **more)
        try:
            time.sleep(minutes * 60 / speed)
            if process.poll() is not None:
                raise Fault("yacron has ended", *place.lines("log")[-3:])
            yield process
        finally:
            process.kill()
            process.wait()
            place.touch("over")

    def missed(self):
        place = self.place("missed")
        with self.running(place, [
                {"name": "daily", "schedule": "0 2 * * *", "command": place.job("once", "runs")},
                {"name": "now", "command": place.job("once", "now")}]):
            return seen((place.count("runs"), place.count("now")), {(0, 1): "lost"})

    def overlap(self):
        most = []
        for policy in ("Allow", "Forbid"):
            place = self.place("overlap" + policy)
            with self.running(place, [
                    {"name": "long", "schedule": "* * * * *", "concurrencyPolicy": policy,
                     "command": place.job("together", 7)}]):
                most.append(place.most()[1])
        return seen((most[0] > 1, most[1]), {(True, 1): "both run, or skipped"})

    def tree(self):
        place = self.place("tree")
        with self.running(place, [
                {"name": "strays", "command": place.job("strays"), "executionTimeout": 20,
                 "killTimeout": 10}], 7):
            ended = any("exit code -15" in line or "timeout" in line.lower()
                        for line in place.lines("log"))
            return seen((ended, place.is_alive()), {(True, True): "command only",
                                                    (True, False): "yes"})

    def retries(self):
        place = self.place("retries")
        retry = {"maximumRetries": 1, "initialDelay": 10, "maximumDelay": 10,
                 "backoffMultiplier": 1}
        job = {"name": "failing", "command": place.job("failing"), "onFailure": {"retry": retry}}
        with self.running(place, [job], 6):
            count = place.count("failing")
        (place.folder / "codes.yaml").write_text(yaml({"jobs": [
            dict(job, schedule="0 2 * * *", failsWhen={"producesStdout": False,
                                                       "nonzeroReturn": [2]})]}))
        refused = finished([self.python, "-m", "yacron", "-v", "-c",
                            str(place.folder / "codes.yaml")])[0] != 0
        return seen((count, refused), {(2, True): "yes; no"})

    def dependencies(self):
        place = self.place("dependencies")
        (place.folder / "after.yaml").write_text(yaml({"jobs": [
            {"name": "second", "command": "x", "schedule": "0 2 * * *", "dependsOn": "first"}]}))
        said = text_of(self.python, "-m", "yacron", "-v", "-c", str(place.folder / "after.yaml"))
        return seen("unexpected key not in schema 'dependsOn'" in said, {True: "no"})

    @staticmethod
    def request(port, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self):
        place = self.place("stop")
        port = free_port()
        with self.running(place, [{"name": "strays", "command": place.job("strays")}],
                          web={"listen": ["http://127.0.0.1:%d" % port]}):
            codes = [self.request(port, method, "/jobs/strays" + path)[0] for method, path in (
                ("POST", "/stop"), ("POST", "/cancel"), ("DELETE", ""))]
            return seen((tuple(codes), place.is_alive()), {((404, 404, 404), True): "no"})

    def lock(self):
        place = self.place("lock")
        job = "flock %s/lock %s" % (place.inside, place.job("together", 1))
        with self.running(place, [{"name": name, "command": job} for name in ("one", "two")], 6):
            return seen(place.most(), {(2, 1): "by flock(1)"})

    def clock(self):
        counts = []
        for name, at, minutes, speed in (("autumn", "2026-10-25 01:50:00", 140, 360),
                                         ("spring", "2026-03-29 01:56:00", 40, 180)):
            place = self.place(name)
            with self.running(place, [
                    {"name": "daily", "command": place.job("once", "runs"),
                     "schedule": "30 2 * * *"}], minutes, at, speed, "Europe/Berlin"):
                counts.append(place.count("runs"))
        return seen(tuple(counts), {(2, 0): "twice; lost", (1, 1): "once; after it"})

    def dates(self):
        counts = []
        for day in ("2026-12-01", "2026-12-07", "2026-12-14", "2026-12-30", "2026-12-31"):
            place = self.place(day)
            with self.running(place, [
                    {"name": "monday", "command": place.job("once", "monday"),
                     "schedule": "0 12 1-7 * 1"},
                    {"name": "last", "command": place.job("once", "last"),
                     "schedule": "0 12 L * *"}], 4.5, day + self.BEFORE_NOON):
                counts.append((place.count("monday"), place.count("last")))
        return seen(tuple(counts), {((0, 0), (1, 0), (0, 0), (0, 0), (0, 1)): "both"})

    def explained(self):
        place = self.place("explained")
        port = free_port()
        with self.running(place, [
                {"name": "long", "schedule": "* * * * *", "concurrencyPolicy": "Forbid",
                 "command": place.job("together", 7)},
                {"name": "daily", "schedule": "0 2 * * *", "command": "true"}],
                web={"listen": ["http://127.0.0.1:%d" % port]}):
            answers = json.loads(self.request(port, "GET", "/status")[1])
            told = [answer.get("scheduled_in") for answer in answers if answer["job"] == "daily"]
            log = "\n".join(place.lines("log"))
            return seen((told[0] > 0, "still running and concurrencyPolicy is Forbid" in log), {
                (True, True): "yes; in its log"})

    def output(self):
        place = self.place("output")
        with self.running(place, [{"name": "many", "command": place.job("many"),
                                   "captureStdout": True, "streamPrefix": "| "}], 7):
            lines = place.lines("log")
            at = [number for number, line in enumerate(lines) if line.endswith("STDOUT:")]
            if not at:
                raise Fault("no report of the output", *lines[-3:])
            lines = lines[at[0]:]
            return seen(("1" in lines, str(LINES) in lines, len(lines) < LINES), {
                (True, True, True): "first and last kept"})

    def metrics(self):
        place = self.place("metrics")
        port = free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.settimeout(1)
            statsd = {"prefix": "probe", "host": "127.0.0.1", "port": listener.getsockname()[1]}
            with self.running(place, [{"name": "quick", "command": "true", "statsd": statsd}],
                              web={"listen": ["http://127.0.0.1:%d" % port]}):
                packet = listener.recv(4096)
                answer = self.request(port, "GET", "/status")
        return seen((packet.startswith(b"probe."), answer[0], "quick" in answer[1]), {
            (True, 200, True): "to statsd; yes"})

    def mistakes(self):
        place = self.place("mistakes")
        told = []
        for key, value in (("sched", "0 2 * * *"), ("schedule", "61 2 * * *")):
            path = place.folder / (key + ".yaml")
            path.write_text(yaml({"jobs": [{"name": "a", "command": "x", key: value}]}))
            said = text_of(self.python, "-m", "yacron", "-v", "-c", str(path))
            told.append(('%s", line 4' % path.name in said, "Traceback" in said))
        return seen(tuple(told), {
            ((True, False), (False, True)): "line, or a traceback",
            ((True, False), (True, False)): "the first, with line"})

    def idle(self):
        place = self.place("idle")
        with self.running(place, [{"name": "a", "command": "true"}], 3, speed=20) as process:
            return resident([process.pid])

    def precision(self):
        place = self.place("precision")
        with self.running(place, [{"name": "fine", "schedule": "*/10 * * * * * *",
                                   "command": place.job("once", "runs")}], 5):
            return seen(3 <= place.count("runs") <= 5, {True: "a minute"})

    def users(self):
        place = self.place("users")
        with self.running(place, [{"name": "root", "command": place.job("who")},
                                  {"name": "nobody", "command": place.job("who"),
                                   "user": "nobody"}]):
            return seen(place.users(), {("nobody", "root"): "yes"})


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# -- what is here, and the table

PEERS = (Conductor, Cron, Anacron, Timers, Yacron)


def fetch(folder):
    """Find the peers or fetch them; why some are left out."""
    notes = []
    if not Anacron.program:
        unpacked = folder / "anacron"
        if not unpacked.exists():
            finished(["apt-get", "-q", "download", "anacron"], cwd=str(folder))
            for package in folder.glob("anacron_*.deb"):
                finished(["dpkg-deb", "-x", str(package), str(unpacked)])
        Anacron.program = shutil.which("anacron", path=str(unpacked / "usr/sbin"))
    python = folder / "yacron/bin/python"
    if not python.exists():
        finished([sys.executable, "-m", "venv", str(folder / "yacron")])
        finished([str(python), "-m", "pip", "-q", "install", "yacron"])
    if finished([str(python), "-c", "import yacron"])[0] == 0:
        Yacron.python = str(python)
    if all(shutil.which(program) for program in ("debootstrap", "systemd-nspawn", "nsenter")):
        try:
            load_on_systemd().make_debian(folder / "debian")
            Timers.debian = folder / "debian"
        except SystemExit as error:
            notes.append(str(error))
    here = {Conductor: True, Cron: Cron.program, Anacron: Anacron.program, Timers: Timers.debian,
            Yacron: Yacron.python}
    notes += ["%s is left out: it is not here" % peer.name for peer in PEERS if not here[peer]]
    return [peer for peer in PEERS if here[peer]], notes


def try_peer(peer, rows, folder, interrupted):
    """{key of a row: its cell} and what was seen that has no words."""
    cells, faults = {key: "?" for key, _ in rows}, []
    try:
        tried = peer(folder / re.sub(r"\W", "-", peer.name))
    except SystemExit as error:
        return cells, ["%s: %s" % (peer.name, error)]
    try:
        for key, _ in rows:
            if interrupted.is_set():
                break
            try:
                cells[key] = getattr(tried, key)()
            except Exception as error:  # whatever it is, the other rows are tried
                faults.append("%s, %s: %s: %s" % (
                    peer.name, key, type(error).__name__, "\n  ".join(map(str, error.args))))
    finally:
        tried.close()
    return cells, faults


def title_of(peer):
    return "%s %s" % (peer.name, peer.version()) if peer is not Conductor else peer.name


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--peer", default="")
    options = parser.parse_args()
    if os.geteuid() != 0 or not PRELOAD:
        print("on_peers.py: takes root and libfaketime (apt-get install faketime)",
              file=sys.stderr)
        return 2
    rows = [row for row in ROWS if options.only in row[0] or options.only in row[1]]
    if not rows or not any(options.peer in peer.name for peer in PEERS):
        parser.error("no row, or no peer, has that word")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scratch.chmod(0o755)
        folder = (options.folder or scratch / "peers").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        peers, notes = fetch(folder)
        peers = [peer for peer in peers if options.peer in peer.name]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(len(peers) or 1))
        # Somebody who interrupts waits for the rows that are being tried, and nothing stays behind.
        interrupted = threading.Event()
        stack.callback(interrupted.set)
        tried = [pool.submit(try_peer, peer, rows, scratch, interrupted) for peer in peers]
        columns, faults = [], []
        for future in tried:
            cells, faults_there = future.result()
            columns.append(cells)
            faults += faults_there
        print("| | %s |" % " | ".join(title_of(peer) for peer in peers))
        print("|---" * (len(peers) + 1) + "|")
        for key, title in rows:
            print("| %s | %s |" % (title, " | ".join(cells[key] for cells in columns)))
    for line in notes + faults:
        print(line, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
