#!/usr/bin/env python3
"""Log to a real systemd-journald, by its own protocol and by syslog's, and read it with journalctl.

    sudo python3 tests/on_journald.py

The daemon runs in a mount namespace of its own, with an empty /run and /var/log: the machine's own
journal, if there is one, sees nothing of it. Takes root, unshare and systemd-journald; no systemd has
to run. Prints what was seen; the exit code is 1 when something was not as it should be.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from support import REPOSITORY, Project, due_once, wait_until

DAEMON = "/lib/systemd/systemd-journald"
SOCKET = "/run/systemd/journal/socket"
SYSLOG = """import sys
sys.path.insert(0, %r)
import symphony_conductor as sc
sc.SYSLOG_SOCKETS = ("/run/systemd/journal/dev-log",)
sc.Store(%r).log(%r, ["ERROR a: run 20250602T020000Z-7 failed", "two\\nlines"])
"""


def entries():
    """What the journal has of the conductor, the oldest first."""
    done = subprocess.run(["journalctl", "-D", "/run/log/journal", "-t", "symphony_conductor", "-o", "json",
                           "--no-pager"], stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]


def by_journal(project):
    """The lines of a tick and of two supervisors: each is there once, with its fields."""
    project.configure(due_once("good", "true"), due_once("bad", "exit 3"), log_to="journal")
    project.anchor()
    project.tick()
    project.wait_until(lambda: len(project.history()) == 2)
    project.wait_for_idle()
    log = [line.partition(" ")[2] for line in project.lines("logs/symphony_conductor.log")]
    assert wait_until(lambda: len(entries()) == len(log)), (log, entries())
    assert sorted(entry["MESSAGE"] for entry in entries()) == sorted(log)
    for name in ("good", "bad"):
        own = [entry for entry in entries() if entry.get("SYMPHONY_TASK") == name]
        assert len(own) >= 2 and all(entry["SYMPHONY_RUN_ID"] in entry["MESSAGE"] for entry in own), own
    assert all(entry["_TRANSPORT"] == "journal" and entry["SYSLOG_FACILITY"] == "9" for entry in entries())
    return "%d lines" % len(log)


def by_syslog(project):
    """The form of syslog(3): one line each, of the severity that the line has."""
    project.configure(due_once("a"), log_to="syslog")
    before = len(entries())
    subprocess.run([sys.executable, "-c", SYSLOG % (str(REPOSITORY), str(project.root), time.time())], check=True)
    assert wait_until(lambda: len(entries()) == before + 2)
    found = [(entry["_TRANSPORT"], entry["PRIORITY"], entry["MESSAGE"]) for entry in entries()[before:]]
    assert found == [
        ("syslog", "3", "ERROR a: run 20250602T020000Z-7 failed task=a run_id=20250602T020000Z-7"),
        ("syslog", "6", "two lines")], found
    return "2 lines"


def inside():
    """In the namespace: start the daemon, try both ways, end it. The exit code."""
    for folder in ("/run", "/var/log"):
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    for folder in ("/run/systemd/journal", "/run/log/journal"):
        os.makedirs(folder)
    daemon = subprocess.Popen([DAEMON])
    failed = 0
    try:
        wait_until(lambda: os.path.exists(SOCKET))
        for number, attempt in enumerate((by_journal, by_syslog)):
            with tempfile.TemporaryDirectory() as folder:
                project = Project(os.path.join(os.path.realpath(folder), "root%d" % number))
                try:
                    print("ok      %s: %s" % (attempt.__name__, attempt(project)))
                except AssertionError as error:
                    failed += 1
                    print("FAILED  %s: %s" % (attempt.__name__, error))
    finally:
        daemon.terminate()
        daemon.wait(20)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--inside"]:
        sys.exit(inside())
    if os.geteuid() != 0 or not os.path.exists(DAEMON):
        sys.exit("needs root and %s" % DAEMON)
    sys.exit(subprocess.call(["unshare", "-m", sys.executable, __file__, "--inside"]))
