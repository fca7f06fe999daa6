"""The judgement of health: tables over the pure function, with the machine as an argument."""

import errno
import json
import os
import shlex
import sys
import time
import types

import pytest
from stories import World, at, task
from support import every_minute

import symphony_conductor as sc

MINUTE, HOUR, DAY = 60, 3600, 86400
NOW = at("2025-06-03T12:00:00Z")
MIB = 1 << 20
STATUS = "systemctl status symphony-conductor.timer"
DOCTOR_ALONE = {"old-daemon", "lost-block", "suspicion", "environment-unknown", "zone-differs",
                "foreign-files", "not-accessible", "no-daemon-seen", "not-reaped", "cannot-start"}
SYSTEM_COMMANDS = ("crontab", "date", "du", "ls", "systemctl", "tail")


def machine(**fields):
    """A machine that has nothing wrong with it, but for these fields."""
    return sc.Machine(**dict({"now": NOW, "last_tick": NOW - 30, "root": "/srv/box", "mount": "/srv",
                              "has_line": True}, **fields))


def configured(*tasks):
    config = sc.build_config([("c.json", {"tasks": list(tasks), "settings": {"timezone": "UTC"}})])
    assert not config.problems, config.problems
    return config


def result(status="failed", ago=10 * MINUTE, **more):
    code = {"failed": 3, "success": 0, "timeout": 124}[status]
    return dict({"status": status, "exit_code": code, "ended_at": sc.iso(NOW - ago), "trigger": "schedule",
                 "attempt": 3}, **more)


def so_long_ago(since_ago):
    """What `since` of a finding is, so long ago."""
    return None if since_ago is None else NOW - since_ago


def findings_of(config=None, state=None, **fields):
    return sc.examine(config, state or sc.State(), machine(**fields))


# -- the machine

LATE = {"last_tick": NOW - 4 * MINUTE, "daemon": "cron"}
DEAD = {"last_tick": NOW - 11 * MINUTE, "daemon": "cron"}
MISSING = sc.Finding(code="line-missing", text="the crontab has no line", command="symphony_conductor.py install")
CHANGED = sc.Finding(code="line-changed", text="the line differs", command="symphony_conductor.py install")
BROKEN = sc.Finding(code="line-broken", text="the Python is gone", command="symphony_conductor.py install")
DOUBLED = sc.Finding(code="lines-doubled", text="1 line is also a task",
                     command="symphony_conductor.py import-crontab --switch")
UNREAD = sc.Finding(code="crontab-unreadable", text="crontab -l failed", command="crontab -l")
DOCTOR, INSTALL, TAIL = ("symphony_conductor.py doctor", "symphony_conductor.py install",
                         "tail /srv/box/logs/conductor_cron.log")
STARTER = "sudo service cron start"
DU, DU_I = "du -xh /srv | sort -h | tail", "du -x --inodes /srv | sort -n | tail"
AT_1 = sc.TickFailure(at=NOW - 5, since=NOW - 5, exit_code=74, text="cannot write x.")
AT_ALL = sc.TickFailure(at=NOW - 5, since=NOW - 65, exit_code=74, text="cannot write x.")


def disk(free_mib, **more):
    return dict({"free_bytes": int(free_mib * MIB), "total_bytes": 1000 * MIB, "free_inodes": 500,
                 "total_inodes": 1000}, **more)


MACHINES = [  # what is special, the fields, each finding: code, text, command, since so long ago
    ("all is well", {}, []),
    ("all is well on a disk without inodes", disk(500, free_inodes=0, total_inodes=0), []),
    # ticks
    ("a tick that is a little late", {"last_tick": NOW - 180, "daemon": ""}, []),
    ("a tick that is late", {"last_tick": NOW - 181, "daemon": "cron"},
     [("ticks-late", "no tick for 3m; cause unknown", DOCTOR, 181)]),
    ("a tick that is very late", {"last_tick": NOW - 600, "daemon": None},
     [("ticks-late", "no tick for 10m; cause unknown", DOCTOR, 600)]),
    ("no tick", {"last_tick": NOW - 601, "daemon": "cron"},
     [("not-called", "no tick for 10m; cause unknown", DOCTOR, 601)]),
    ("no tick of a timer", {"last_tick": NOW - 601, "timer": STATUS},
     [("not-called", "no tick for 10m; cause unknown", STATUS, 601)]),
    ("no tick of a timer yet", {"last_tick": None, "timer": STATUS},
     [("not-called", "no tick has run yet", STATUS, None)]),
    ("no tick yet", {"last_tick": None, "daemon": "cron"},
     [("not-called", "no tick has run yet", DOCTOR, None)]),
    ("no tick yet and no line", {"last_tick": None, "has_line": False},
     [("not-called", "no tick has run yet", INSTALL, None)]),
    ("no daemon", dict(DEAD, daemon="", daemon_command=STARTER),
     [("no-cron-daemon", "no cron daemon is running; no tick for 11m", STARTER, 660)]),
    ("no daemon and no tick yet", {"last_tick": None, "daemon": ""},
     [("no-cron-daemon", "no cron daemon is running; no tick has run yet", "", None)]),
    ("no daemon, while ticks come", {"daemon": ""}, []),
    ("no line", dict(DEAD, line=MISSING),
     [("line-missing", "the crontab has no line; no tick for 11m", INSTALL, None)]),
    ("no line and no tick yet", {"last_tick": None, "line": MISSING, "has_line": False},
     [("line-missing", "the crontab has no line; no tick has run yet", INSTALL, None)]),
    ("no line and no daemon", dict(DEAD, line=MISSING, daemon="", daemon_command=STARTER),
     [("no-cron-daemon", "no cron daemon is running; no tick for 11m", STARTER, 660),
      ("line-missing", "the crontab has no line", INSTALL, None)]),
    ("another line and no daemon", dict(DEAD, line=CHANGED, daemon=""),
     [("no-cron-daemon", "no cron daemon is running; no tick for 11m", "", 660),
      ("line-changed", "the line differs", INSTALL, None)]),
    ("no line, while ticks come", {"line": MISSING},
     [("line-not-seen", "the crontab has no line, but ticks come", INSTALL, None)]),
    ("a line that cannot run", dict(LATE, line=BROKEN),
     [("line-broken", "the Python is gone; no tick for 4m", INSTALL, None)]),
    ("lines that cron runs as well", {"line": DOUBLED},
     [("lines-doubled", "1 line is also a task", "symphony_conductor.py import-crontab --switch", None)]),
    ("no daemon, seconds after the installation", {"last_tick": None, "awake_s": 10.0, "has_line": True, "daemon": ""},
     [("no-cron-daemon", "no cron daemon is running; no tick has run yet", "", None)]),
    ("a line that cannot run, while ticks come", {"line": BROKEN},
     [("line-broken", "the Python is gone", INSTALL, None)]),
    ("another line, while ticks come", {"line": CHANGED},
     [("line-changed", "the line differs", INSTALL, None)]),
    ("another line, and no tick", dict(DEAD, line=CHANGED),
     [("not-called", "no tick for 11m; cause unknown", DOCTOR, 660),
      ("line-changed", "the line differs; no tick for 11m", INSTALL, None)]),
    ("a crontab that cannot be read", {"line": UNREAD, "has_line": None},
     [("crontab-unreadable", "crontab -l failed", "crontab -l", None)]),
    ("what cron printed", dict(DEAD, cron_log="No module named x"),
     [("ticks-fail", "cron calls the tick, which fails: No module named x", TAIL, 660)]),
    ("what cron printed, while ticks come", {"cron_log": "noise"}, []),
    ("what cron printed without a daemon", dict(DEAD, daemon="", cron_log="old"),
     [("no-cron-daemon", "no cron daemon is running; no tick for 11m", "", 660)]),
    ("one tick that failed", dict(LATE, failure=AT_1),
     [("ticks-fail", "the last tick failed: cannot write x", DOCTOR, 5)]),
    ("ticks that fail", dict(DEAD, failure=AT_ALL, daemon=""),
     [("ticks-fail", "ticks fail: cannot write x", DOCTOR, 65)]),
    ("ticks that fail and come", {"failure": AT_ALL}, [("ticks-fail", "ticks fail: cannot write x", DOCTOR, 65)]),
    ("ticks that fail by another line", {"failure": AT_1, "line": CHANGED},
     [("ticks-fail", "the last tick failed: cannot write x", DOCTOR, 5),
      ("line-changed", "the line differs", INSTALL, None)]),
    ("a heartbeat that cannot be read",
     {"last_tick": None, "is_tick_unreadable": True, "unreadable": ["cannot stat x."]},
     [("unreadable", "cannot stat x", DOCTOR, None)]),
    # the clock
    ("a tick a little ahead", {"last_tick": NOW + 180}, []),
    ("a tick ahead", {"last_tick": NOW + 181},
     [("clock-behind", "the last tick is 3m ahead of the clock: the clock was set back, and no tick has run since",
       "date", None)]),
    ("no zone data that anything asks for", {"has_zone_data": False}, []),
    # the disk
    ("a disk with room", disk(50), []),
    ("a disk with little room", disk(49.9), [("disk-low", "the disk has 49.9 MiB of 1000.0 MiB free (5.0 %)",
                                              DU, None)]),
    ("a disk with very little room", disk(20), [("disk-low", "the disk has 20.0 MiB of 1000.0 MiB free (2.0 %)",
                                                 DU, None)]),
    ("a disk that is nearly full", disk(19.9), [("disk-nearly-full",
                                                 "the disk has 19.9 MiB of 1000.0 MiB free (2.0 %)", DU, None)]),
    ("a disk that is full for this user", disk(19.9, write_error="status/: No space left on device"),
     [("disk-full", "the disk is full (19.9 MiB of 1000.0 MiB free), so tasks cannot start", DU, None)]),
    ("a full disk", disk(0), [("disk-full", "the disk is full (0 B of 1000.0 MiB free), so tasks cannot start", DU,
                               None)]),
    ("a low disk explains nothing", disk(30, write_error="status/: Read-only file system"),
     [("not-writable", "ticks cannot write to status/: Read-only file system", "ls -ld /srv/box/*", None),
      ("disk-low", "the disk has 30.0 MiB of 1000.0 MiB free (3.0 %)", DU, None)]),
    ("inodes enough", disk(500, free_inodes=50), []),
    ("few inodes", disk(500, free_inodes=49),
     [("inodes-low", "the disk has 49 of 1000 inodes free", DU_I, None)]),
    ("very few inodes", disk(500, free_inodes=20),
     [("inodes-low", "the disk has 20 of 1000 inodes free", DU_I, None)]),
    ("no inodes", disk(500, free_inodes=19, write_error="No space left on device"),
     [("inodes-full", "the disk has 19 of 1000 inodes free", DU_I, None)]),
    ("a folder that cannot be written", disk(500, write_error="status/: Permission denied"),
     [("not-writable", "ticks cannot write to status/: Permission denied", "ls -ld /srv/box/*", None)]),
    ("a full disk explains it, whatever else is low",
     disk(0, free_inodes=49, write_error="status/: No space left on device"),
     [("disk-full", "the disk is full (0 B of 1000.0 MiB free), so tasks cannot start", DU, None),
      ("inodes-low", "the disk has 49 of 1000 inodes free", DU_I, None)]),
    ("a disk without a size", disk(0, total_bytes=0), []),
    ("a disk of which only the size is known", dict(disk(0), free_bytes=None), []),
    # files and messages
    ("two files that cannot be read", {"unreadable": ["cannot read x.", "cannot read y."]},
     [("unreadable", "cannot read x (and 1 more)", DOCTOR, None)]),
    ("a laptop that was asleep", {"last_tick": NOW - 8 * HOUR, "awake_s": 180, "daemon": ""}, []),
    ("a laptop that is awake again", {"last_tick": NOW - 8 * HOUR, "awake_s": 181, "daemon": "cron"},
     [("ticks-late", "no tick for 8h; cause unknown", DOCTOR, 8 * HOUR)]),
    ("a laptop that has been awake for long", {"last_tick": NOW - 8 * HOUR, "awake_s": 601, "daemon": "cron"},
     [("not-called", "no tick for 8h; cause unknown", DOCTOR, 8 * HOUR)]),
    ("no tick yet, but just installed", {"last_tick": None, "awake_s": 60, "daemon": "cron"}, []),
    ("a damaged state", {"state_notes": ["WARNING it cannot be used", "it was moved"]},
     [("state-damaged", "it cannot be used; it was moved", DOCTOR, None)]),
    ("a damaged state that holds the word itself", {"state_notes": ["WARNING cannot read WARNING x"]},
     [("state-damaged", "cannot read WARNING x", DOCTOR, None)]),
    ("metrics that nobody can write", {"unwritten": {"metrics_file": "cannot write /x/a.prom: Permission denied."}},
     [("not-written", "metrics_file: cannot write /x/a.prom: Permission denied", "symphony_conductor.py check", None)]),
    ("messages under way", {"undelivered": [NOW - HOUR, NOW]}, []),
    ("an old message", {"undelivered": [NOW - HOUR - 1, NOW]},
     [("undelivered", "1 notification was not delivered", "symphony_conductor.py notify-test", HOUR + 1)]),
    ("old messages", {"undelivered": [NOW - 2 * HOUR, NOW - 3 * HOUR]},
     [("undelivered", "2 notifications were not delivered", "symphony_conductor.py notify-test", 3 * HOUR)]),
]


@pytest.mark.parametrize("fields, expected", [row[1:] for row in MACHINES], ids=[row[0] for row in MACHINES])
def test_what_is_wrong_with_a_machine(fields, expected):
    findings = [(finding.code, finding.text, finding.command, finding.since)
                   for finding in findings_of(**fields)]
    assert findings == [row[:3] + (so_long_ago(row[3]),) for row in expected]


# -- the configuration

PROBLEM = sc.Problem(place="config/a.json", text="not valid JSON")
OTHER = sc.Problem(place="config/b.json", text="no such key")
OPEN = sc.Problem(place="config/c.json", text="others can write to it", hint="chmod go-w /srv/box/config/c.json")
STRANGE = sc.Problem(place="config/d.json", text="another user owns it", hint="move it")
ABSENT = sc.Problem(place="config/a.json", text="no such file", hint="to make one: symphony_conductor.py init")
OF_A_TASK = sc.Problem(place="tasks[0] 'a'", text="no command", task="a")
SUSPICION = sc.Problem(place="tasks[0] 'a'", text="odd", warning=True)
ZONELESS = sc.Problem(place="config/a.json", text="no such time zone")
CHECK = "symphony_conductor.py check"
NO_ZONES = ("no-zone-data", "this system has no time zone data, so tasks with a timezone cannot be scheduled"
            " (install the package tzdata)", CHECK, "")

CONFIGURATIONS = [
    ("a warning is for check", sc.Config(problems=[SUSPICION]), {}, []),
    ("a zone that a system without zone data lacks", None, {"has_zone_data": False, "broken": [ZONELESS]},
     [("no-configuration", "there is no usable configuration, so nothing runs: config/a.json: no such time zone",
       CHECK, ""), NO_ZONES]),
    ("the same of a task", sc.Config(problems=[ZONELESS]), {"has_zone_data": False},
     [("configuration", "config/a.json: no such time zone", CHECK, ""), NO_ZONES]),
    ("the same on a system with zone data", sc.Config(problems=[ZONELESS]), {},
     [("configuration", "config/a.json: no such time zone", CHECK, "")]),
    ("a task that is invalid", sc.Config(problems=[OF_A_TASK, SUSPICION]), {},
     [("configuration", "tasks[0] 'a': no command", CHECK, "a")]),
    ("a file that is broken", sc.Config(), {"broken": [PROBLEM]},
     [("configuration-broken", "changes are ignored and the last valid configuration is in force: "
       "config/a.json: not valid JSON", CHECK, "")]),
    ("two files that are broken", sc.Config(), {"broken": [PROBLEM, OTHER]},
     [("configuration-broken", "changes are ignored and the last valid configuration is in force: "
       "config/a.json: not valid JSON (and 1 more problem)", CHECK, "")]),
    ("a file that is broken, and none before", None, {"broken": [PROBLEM, OTHER]},
     [("no-configuration", "there is no usable configuration, so nothing runs: config/a.json: not valid JSON",
       CHECK, "")]),
    ("no file", None, {"broken": [ABSENT]},
     [("no-configuration", "there is no usable configuration, so nothing runs: config/a.json: no such file",
       "symphony_conductor.py init", "")]),
    ("no configuration, and that is said elsewhere", None, {}, []),
    ("a file that others can write to", sc.Config(), {"insecure": [OPEN], "broken": [OPEN]},
     [("insecure", "config/c.json: others can write to it (chmod go-w /srv/box/config/c.json)",
       "chmod go-w /srv/box/config/c.json", "")]),
    ("a file of somebody else", sc.Config(), {"insecure": [STRANGE]},
     [("insecure", "config/d.json: another user owns it (move it)", "", "")]),
]


@pytest.mark.parametrize("config, fields, expected", [row[1:] for row in CONFIGURATIONS],
                         ids=[row[0] for row in CONFIGURATIONS])
def test_what_is_wrong_with_a_configuration(config, fields, expected):
    assert [(finding.code, finding.text, finding.command, finding.task)
            for finding in findings_of(config, **fields)] == expected


# -- pauses and the clock of the state

def paused(name, until=None, **more):
    return {name: dict({"since": NOW - HOUR, "until": until, "reason": "", "by": ""}, **more)}


STATES = [
    ("a little ahead", {"last_now": NOW + 180}, {}, []),
    ("ahead", {"last_now": NOW + 181}, {},
     [("clock-set-back", "the clock is 3m behind the last recorded decision (2025-06-03T12:03:01Z)", "date", "",
       None)]),
    ("as far ahead as is waited for", {"last_now": NOW + 3 * HOUR}, {},
     [("clock-set-back", "the clock is 3h behind the last recorded decision (2025-06-03T15:00:00Z)", "date", "",
       None)]),
    ("far ahead", {"last_now": NOW + 3 * HOUR + 1}, {},
     [("clock-behind", "the clock is 3h behind the last recorded decision (2025-06-03T15:00:01Z)", "date", "", None)]),
    ("far ahead, and the tick as well", {"last_now": NOW + DAY}, {"last_tick": NOW + DAY},
     [("clock-behind", "the last tick is 1d ahead of the clock: the clock was set back, and no tick has run since",
       "date", "", None)]),
    ("all are paused for good", {"pauses": paused(sc.ALL_TASKS, by="joe", reason="moving")}, {},
     [("paused-for-good", "all tasks are paused indefinitely by joe: moving",
       "symphony_conductor.py resume --all", "", HOUR)]),
    ("all are paused", {"pauses": paused(sc.ALL_TASKS, NOW + HOUR, reason="moving")}, {},
     [("paused-all", "all tasks are paused until 2025-06-03T13:00:00Z: moving",
       "symphony_conductor.py resume --all", "", HOUR)]),
    ("one is paused for good", {"pauses": paused("a", by="joe")}, {},
     [("paused", "a is paused indefinitely by joe", "symphony_conductor.py resume a", "a", HOUR)]),
    ("one is paused, as an earlier version wrote it",
     {"pauses": {"a": {"since": NOW - HOUR, "until": NOW + 1, "reason": ""}}}, {},
     [("paused", "a is paused until 2025-06-03T12:00:01Z", "symphony_conductor.py resume a", "a", HOUR)]),
    ("a pause that is over", {"pauses": paused("a", NOW)}, {}, []),
    ("a disabled task is paused", {"pauses": paused("off")}, {}, []),
    ("a task that is not there is paused", {"pauses": paused("gone")}, {},
     [("paused", "gone is paused indefinitely", "symphony_conductor.py resume gone", "gone", HOUR)]),
    ("a run that is unclear", {"tasks": {"a": sc.TaskState()}}, {"runs": {"a": "the supervisor is gone."}},
     [("run-unclear", "the supervisor is gone", "tail /srv/box/logs/symphony_conductor.log", "a", None)]),
    ("a run that cannot be ended",
     {"tasks": {"a": sc.TaskState(run=sc.Run(unended="timed out", started_at=NOW - 700))}},
     {"runs": {"a": "odd"}},
     [("unended", "a timed out; no further attempt starts until it is gone", "symphony_conductor.py logs a", "a",
       700)]),
]


@pytest.mark.parametrize("fields, on, expected", [row[1:] for row in STATES], ids=[row[0] for row in STATES])
def test_what_is_wrong_with_a_state(fields, on, expected):
    config = configured(task("a"), task("off", enabled=False))
    findings = [(finding.code, finding.text, finding.command, finding.task, finding.since)
                for finding in findings_of(config, sc.State(**fields), **on)]
    assert findings == [row[:4] + (so_long_ago(row[4]),) for row in expected]


# -- the tasks

HALF_PAST = int(NOW) - 30 * MINUTE
TASKS = configured(
    task("up", "30 * * * *", timeout=900, kill_grace=60, retry_count=2, retry_delay=100, retry_backoff=2),
    task("mid", "30 * * * *", dependencies=["up"]), task("low", "30 * * * *", dependencies=["mid"]),
    task("off", "30 * * * *", enabled=False), task("after_off", "30 * * * *", dependencies=["off"]),
    task("quick", "30 * * * *", timeout=10, kill_grace=1), task("hand"),
    task("after_hand", "30 * * * *", dependencies=["hand"]),
    task("off_after_up", "30 * * * *", dependencies=["up"], enabled=False),
    task("last", "30 * * * *", dependencies=["off_after_up"]))
UP_GRACE_S = 900 + 60 + 100 + 200


def decided(name, **more):
    """The memory of a task whose slot of 11:30 is decided."""
    return sc.TaskState(**dict({"schedule_key": TASKS.tasks[name].schedule_key, "cursor": HALF_PAST,
                                "next_slot": HALF_PAST + HOUR, "satisfied_until": HALF_PAST,
                                "last": result("success")}, **more))


def undecided(name, ago):
    """The memory of a task that was last decided an hour before its slot, so long ago."""
    return decided(name, cursor=int(NOW) - ago - HOUR, next_slot=int(NOW) - ago)


def cycle(phase, since_ago=30 * MINUTE, **more):
    return sc.Cycle(**dict({"slot": HALF_PAST, "phase": phase, "since": NOW - since_ago}, **more))


def waiting(name, on, since_ago=30 * MINUTE):
    return decided(name, cycle=cycle("waiting", since_ago, waiting_for=on), last={})


FAILED = {"consecutive_failures": 1, "failing_since": NOW - 600.5, "last": result(last_line="no route"),
          "satisfied_until": None}
RUN = sc.Run(run_id="R", slot=HALF_PAST, started_at=float(HALF_PAST))
AGAIN = {"last": result(), "cycle": cycle("retrying", attempts=[result()], attempt=2, retry_at=NOW + 50)}
AT_NOON = "2025-06-03T12:00:50Z"
LOGS, WHY, LOG = ("symphony_conductor.py logs up", "symphony_conductor.py why up",
                  "tail /srv/box/logs/symphony_conductor.log")
ENABLE = ' (to enable it, set "enabled": true)'
RUN_UP = "symphony_conductor.py run --task up"

TASK_ROWS = [  # what is special, the states, the machine, each finding: code, task, text, command, since so long ago
    ("all have succeeded", {"up": decided("up")}, {}, []),
    ("one that is not in the configuration", {"gone": sc.TaskState(**FAILED)}, {}, []),
    # a failure
    ("failed", {"up": decided("up", **FAILED)}, {},
     [("failing", "up", "up failed (exit 3); no retries left", LOGS, 601)]),
    ("timed out for a reason", {"up": decided("up", **dict(FAILED, last=result("timeout", reason="too slow.")))}, {},
     [("failing", "up", "up timed out: too slow; no retries left", LOGS, 601)]),
    ("failed three times", {"up": decided("up", **dict(FAILED, consecutive_failures=3, failing_since=NOW - DAY))}, {},
     [("failing", "up", "up failed (exit 3); no retries left; 3 in a row", LOGS, DAY)]),
    ("failed twice", {"up": decided("up", **dict(FAILED, consecutive_failures=2))}, {},
     [("failing", "up", "up failed (exit 3); no retries left; 2 in a row", LOGS, 601)]),
    ("failed, as an earlier version counted", {"up": decided("up", **dict(FAILED, failing_since=0.0))}, {},
     [("failing", "up", "up failed (exit 3); no retries left", LOGS, 600)]),
    ("failed by hand", {"up": decided("up", **dict(FAILED, last=result(trigger="manual")))}, {},
     [("failing", "up", "up failed (exit 3), started by hand", LOGS, 601)]),
    ("failed and is disabled", {"off": decided("off", **FAILED)}, {}, []),
    ("failed and is paused", {"up": decided("up", **FAILED)}, {},
     [("failing", "up", "up failed (exit 3); no retries left", LOGS, 601)]),
    ("failed by hand after a success", {"up": decided("up", last=result(trigger="manual"))}, {},
     [("failing", "up", "up failed (exit 3), started by hand", LOGS, 600)]),
    ("failed, and was not retried because of a pause",
     {"up": decided("up", **dict(FAILED, last=result(attempt=1, reason="paused")))}, {},
     [("failing", "up", "up failed (exit 3): paused", LOGS, 601)]),
    ("failed, and was not retried a second time because of a pause",
     {"up": decided("up", **dict(FAILED, last=result(attempt=2, reason="paused")))}, {},
     [("failing", "up", "up failed (exit 3): paused", LOGS, 601)]),
    ("failed at an attempt that was not counted",
     {"quick": decided("quick", **dict(FAILED, last=result(attempt=None)))}, {},
     [("failing", "quick", "quick failed (exit 3)", "symphony_conductor.py logs quick", 601)]),
    ("failed, and its next slot is running",
     {"up": decided("up", run=RUN, cycle=cycle("running"), **FAILED)}, {},
     [("failing", "up", "up failed (exit 3); no retries left", LOGS, 601)]),
    ("never ran", {"up": decided("up", last={}, consecutive_failures=1)}, {}, []),
    # a failure that is being retried
    ("to be retried", {"up": decided("up", **AGAIN)}, {},
     [("retrying", "up", "up failed (exit 3); attempt 2 of 3 starts at the first tick after %s" % AT_NOON, LOGS, 600)]),
    ("being retried", {"up": decided("up", run=RUN, last=result(), cycle=cycle(
        "running", attempts=[result(), result()], attempt=3))}, {},
     [("retrying", "up", "up failed (exit 3); attempt 3 of 3 is running", LOGS, 600)]),
    ("to be retried in its first cycle, after a success by hand",
     {"up": decided("up", **dict(AGAIN, last=result("success")))}, {}, []),
    ("to be retried, and failed before", {"up": decided("up", **dict(FAILED, **AGAIN))}, {},
     [("failing", "up", "up failed (exit 3); attempt 2 of 3 starts at the first tick after %s" % AT_NOON, LOGS, 601)]),
    ("a first attempt is running", {"up": decided("up", run=RUN, cycle=cycle("running"))}, {}, []),
    ("a start was lost", {"up": decided("up", cycle=cycle("queued", 60, lost_starts=2))}, {},
     [("not-started", "up", "up could not be started (2 of 3 tries)", LOG, 60)]),
    # a slot without a success
    ("a slot that is a little late", {"up": undecided("up", 180)}, {}, []),
    ("a slot that no tick started", {"up": undecided("up", 181)}, {},
     [("overdue", "up", "up is overdue: due since 2025-06-03T11:56:59Z, and no tick has started it", WHY, 181)]),
    ("the same, where the last tick was a while ago", {"up": undecided("up", 181)}, {"last_tick": NOW - 180},
     [("overdue", "up", "up is overdue: due since 2025-06-03T11:56:59Z, and no tick has started it", WHY, 181)]),
    ("the same, where no ticks come", {"up": undecided("up", 181)}, {"last_tick": NOW - 181},
     [("ticks-late", "", "no tick for 3m; cause unknown", "symphony_conductor.py doctor", 181)]),
    ("the same, while it is paused", {"up": undecided("up", 181), "": sc.State(pauses=paused("up", NOW + 60))}, {},
     [("paused", "up", "up is paused until 2025-06-03T12:01:00Z", "symphony_conductor.py resume up", HOUR)]),
    ("the same, while all are paused",
     {"up": undecided("up", 181), "": sc.State(pauses=paused(sc.ALL_TASKS, NOW + 60))}, {},
     [("paused-all", "", "all tasks are paused until 2025-06-03T12:01:00Z", "symphony_conductor.py resume --all",
       HOUR)]),
    # a task that decides not to run
    ("nine skips in a row", {"up": decided("up", skipped={"status": "skipped_exit"}, marks="+---------")}, {}, []),
    ("ten of its exit codes", {"up": decided("up", skipped={"status": "skipped_exit"}, marks=10 * "-")}, {},
     [("skipping", "up", "up was skipped 10 times in a row, by its condition or exit code", WHY, None)]),
    ("ten of its condition", {"up": decided("up", skipped={"status": "skipped_condition"}, marks=10 * "-")}, {},
     [("skipping", "up", "up was skipped 10 times in a row, by its condition or exit code", WHY, None)]),
    ("ten for overlaps", {"up": decided("up", skipped={"status": "skipped_overlap"}, marks=10 * "-")}, {}, []),
    ("a run that was stopped", {"up": decided("up", last={"status": "stopped", "ended_at": AT_NOON})}, {}, []),
    ("queued for as long as a run takes", {"up": decided("up", cycle=cycle("queued", UP_GRACE_S))}, {}, []),
    ("queued for longer", {"up": decided("up", cycle=cycle("queued", UP_GRACE_S + 1))}, {},
     [("overdue", "up", "up is overdue: queued since 2025-06-03T11:38:59Z (the next tick starts it)", WHY,
       30 * MINUTE)]),
    ("queued for longer, and paused", {"up": decided("up", cycle=cycle("queued", UP_GRACE_S + 1)),
                                       "": sc.State(pauses=paused("up", NOW + 60))}, {},
     [("paused", "up", "up is paused until 2025-06-03T12:01:00Z", "symphony_conductor.py resume up", HOUR)]),
    ("queued for longer, and running", {"up": decided("up", run=RUN, cycle=cycle("queued", UP_GRACE_S + 1))}, {}, []),
    ("a quick one that is queued for five minutes", {"quick": decided("quick", cycle=cycle("queued", 300))}, {}, []),
    ("a quick one that is queued for longer", {"quick": decided("quick", cycle=cycle("queued", 301))}, {},
     [("overdue", "quick", "quick is overdue: queued since 2025-06-03T11:54:59Z (the next tick starts it)",
       "symphony_conductor.py why quick", 30 * MINUTE)]),
    ("waiting for what is running", {"up": decided("up", run=RUN, cycle=cycle("running"), satisfied_until=None),
                                     "mid": waiting("mid", "up", 3610)}, {}, []),
    ("waiting for what runs by hand", {"up": decided("up", run=RUN.replace(trigger="manual"), satisfied_until=None),
                                       "mid": waiting("mid", "up")}, {}, []),
    ("waiting for that for too long", {"up": decided("up", run=RUN, cycle=cycle("running"), satisfied_until=None),
                                       "mid": waiting("mid", "up", 3611)}, {},
     [("overdue", "mid", "mid is overdue: waiting for 'up' since 2025-06-03T10:59:49Z",
       "symphony_conductor.py why mid", 30 * MINUTE)]),
    ("waiting for what is to be retried", {"up": decided("up", **AGAIN), "mid": waiting("mid", "up")}, {},
     [("retrying", "up", "up failed (exit 3); attempt 2 of 3 starts at the first tick after %s" % AT_NOON, LOGS, 600)]),
    # a task that others wait for
    ("waiting for what failed", {"up": decided("up", **FAILED), "mid": waiting("mid", "up", DAY),
                                 "low": waiting("low", "mid", DAY)}, {},
     [("failing", "up", "up failed (exit 3); no retries left; it blocks mid and low", LOGS, 601)]),
    ("waiting for what was skipped",
     {"up": decided("up", satisfied_until=None, skipped={"status": "skipped_late",
                                                         "scheduled_for": sc.iso(HALF_PAST)}),
      "mid": waiting("mid", "up", 1800), "low": waiting("low", "mid", 1700)}, {},
     [("blocking", "up", "mid and low cannot run: 'up' was skipped (late) at its slot 2025-06-03T11:30:00Z", RUN_UP,
       1800)]),
    ("waiting for what chose not to run",
     {"up": decided("up", satisfied_until=None, skipped={"status": "skipped_exit",
                                                         "scheduled_for": sc.iso(HALF_PAST)}),
      "mid": waiting("mid", "up", DAY)}, {},
     [("skip-blocks", "up", "mid cannot run: 'up' was skipped by its exit code at its slot 2025-06-03T11:30:00Z",
       RUN_UP, DAY)]),
    ("waiting for what failed before it was stopped",
     {"up": decided("up", skipped={"status": "stopped", "scheduled_for": sc.iso(HALF_PAST)}, **FAILED),
      "mid": waiting("mid", "up", DAY)}, {},
     [("failing", "up", "up failed (exit 3); no retries left; it blocks mid", LOGS, 601)]),
    ("waiting for what was skipped, and is paused",
     {"up": decided("up", satisfied_until=None, schedule_key="",
                    skipped={"status": "skipped_manual", "scheduled_for": sc.iso(HALF_PAST)}),
      "mid": waiting("mid", "up"), "": sc.State(pauses=paused("up"))}, {},
     [("blocking", "up", "mid cannot run: 'up' is paused", "symphony_conductor.py resume up", 1800),
      ("paused", "up", "up is paused indefinitely", "symphony_conductor.py resume up", HOUR)]),
    ("waiting for what is disabled", {"off": decided("off", satisfied_until=None),
                                      "after_off": waiting("after_off", "off")}, {},
     [("blocking", "off", "after_off cannot run: 'off' is disabled" + ENABLE,
       "symphony_conductor.py run --task off", 1800)]),
    ("waiting for what is disabled and would have to wait itself",
     {"up": decided("up", satisfied_until=None), "off_after_up": decided("off_after_up", satisfied_until=None),
      "last": waiting("last", "off_after_up")}, {},
     [("blocking", "off_after_up", "last cannot run: 'off_after_up' is disabled" + ENABLE,
       "symphony_conductor.py run --task off_after_up --with-dependencies", 1800)]),
    ("waiting for what is run by hand", {"hand": sc.TaskState(schedule_key="manual UTC"),
                                         "after_hand": waiting("after_hand", "hand")}, {},
     [("blocking", "hand", "after_hand cannot run: 'hand' has not succeeded since the last run",
       "symphony_conductor.py run --task hand", 1800)]),
    ("waiting for two, one of which failed",
     {"up": decided("up", **FAILED), "mid": waiting("mid", "up"),
      "off": decided("off", satisfied_until=None), "after_off": waiting("after_off", "off")}, {},
     [("failing", "up", "up failed (exit 3); no retries left; it blocks mid", LOGS, 601),
      ("blocking", "off", "after_off cannot run: 'off' is disabled" + ENABLE,
       "symphony_conductor.py run --task off", 1800)]),
    ("waiting for what is paused",
     {"up": decided("up", satisfied_until=None, schedule_key=""), "mid": waiting("mid", "up"),
      "": sc.State(pauses=paused("up"))}, {},
     [("blocking", "up", "mid cannot run: 'up' is paused", "symphony_conductor.py resume up", 1800),
      ("paused", "up", "up is paused indefinitely", "symphony_conductor.py resume up", HOUR)]),
    ("waiting for what is paused with all others",
     {"up": decided("up", satisfied_until=None, schedule_key=""), "mid": waiting("mid", "up"),
      "": sc.State(pauses=paused(sc.ALL_TASKS, NOW + 60))}, {},
     [("blocking", "up", "mid cannot run: 'up' is paused", "symphony_conductor.py resume --all", 1800),
      ("paused-all", "", "all tasks are paused until 2025-06-03T12:01:00Z", "symphony_conductor.py resume --all",
       HOUR)]),
    ("waiting, while the configuration is broken",
     {"off": decided("off", satisfied_until=None), "after_off": waiting("after_off", "off")}, {"broken": [PROBLEM]},
     [("configuration-broken", "", "changes are ignored and the last valid configuration is in force: "
       "config/a.json: not valid JSON", CHECK, None),
      ("blocking", "off", "after_off cannot run: 'off' is disabled" + ENABLE, CHECK, 1800)]),
    ("waiting for what the configuration does not have", {"mid": waiting("mid", "gone")}, {},
     [("blocking", "gone", "mid cannot run: 'gone' is invalid: not in the configuration", CHECK, 1800)]),
]


def state_of(states):
    states = dict(states)
    return states.pop("", sc.State()).replace(tasks=states)


@pytest.mark.parametrize("states, fields, expected", [row[1:] for row in TASK_ROWS], ids=[row[0] for row in TASK_ROWS])
def test_what_is_wrong_with_tasks(states, fields, expected):
    findings = [(finding.code, finding.task, finding.text, finding.command, finding.since)
                for finding in findings_of(TASKS, state_of(states), **fields)]
    assert findings == [row[:4] + (row[4] and int(so_long_ago(row[4])),) for row in expected]


@pytest.mark.parametrize("own, of_all, until, names", [
    (NOW + 60, NOW + 90, NOW + 90, ["*", "up"]), (NOW + 90, NOW + 60, NOW + 90, ["*", "up"]),
    (None, NOW + 60, None, ["*", "up"]), (NOW + 60, None, None, ["*", "up"])])
def test_of_two_pauses_the_one_counts_that_lasts_longest(own, of_all, until, names):
    pauses = dict(paused("up", own), **paused(sc.ALL_TASKS, of_all))
    document = sc.pause_document(sc.State(pauses=pauses), TASKS.tasks["up"])
    assert (document["until"], document["names"]) == (sc.iso(until), names)


def test_a_failure_carries_what_it_printed_last_and_whom_it_holds_up():
    states = {"up": decided("up", **FAILED), "mid": waiting("mid", "up"), "low": waiting("low", "mid")}
    finding, = findings_of(TASKS, state_of(states))
    assert (finding.output, finding.place) == ("no route", "mid low")


def test_a_task_fails_since_its_first_slot_without_a_success_however_many_attempts_that_had():
    world = World(task("a", "0 2 * * *", retry_count=1, retry_delay=60))
    world.tick("2025-06-02T10:00:00Z")

    def fail(day, attempts=2):
        for minute in range(attempts):
            world.tick("2025-06-%02dT02:0%d:00Z" % (day, 2 * minute))
            world.finish("a", "2025-06-%02dT02:0%d:30Z" % (day, 2 * minute), "failed")
        state = world.state.tasks["a"]
        return state.consecutive_failures, sc.iso(state.failing_since or None)

    assert fail(3, attempts=1) == (0, None)  # it is to be retried
    world.tick("2025-06-03T02:02:00Z")
    world.finish("a", "2025-06-03T02:02:30Z", "failed")
    assert fail(4) == (2, "2025-06-03T02:02:30Z")
    world.tick("2025-06-05T02:00:00Z")
    world.finish("a", "2025-06-05T02:00:30Z")
    state = world.state.tasks["a"]
    assert (state.consecutive_failures, state.failing_since) == (0, 0.0)
    assert fail(6) == (1, "2025-06-06T02:02:30Z")


# -- all of the above

def all_findings():
    """What each row of each table gives, by the names of the tables' rows."""
    rows = [(name, findings_of(**fields)) for name, fields, _ in MACHINES]
    rows += [(name, findings_of(config, **fields)) for name, config, fields, _ in CONFIGURATIONS]
    config = configured(task("a"), task("off", enabled=False))
    rows += [(name, findings_of(config, sc.State(**fields), **on)) for name, fields, on, _ in STATES]
    rows += [(name, findings_of(TASKS, state_of(states), **fields)) for name, states, fields, _ in TASK_ROWS]
    return rows


def test_every_code_has_a_row_above_but_those_that_doctor_alone_finds():
    assert {finding.code for _, findings in all_findings() for finding in findings} == set(sc.FINDINGS) - DOCTOR_ALONE


def test_the_worst_comes_first():
    order = ["problem", "warning", "notice"]
    for name, findings in all_findings():
        severities = [order.index(finding.severity) for finding in findings]
        assert severities == sorted(severities), name
    everything = findings_of(
        TASKS.replace(problems=[OF_A_TASK, ZONELESS]), state_of({
            "up": decided("up", **FAILED), "quick": decided("quick", **AGAIN),
            "off": decided("off", satisfied_until=None), "after_off": waiting("after_off", "off"),
            "": sc.State(last_now=NOW + 200, pauses=paused("hand"))}),
        **disk(30, line=MISSING, failure=AT_1, unreadable=["x"], insecure=[OPEN], broken=[PROBLEM], write_error="x",
               has_zone_data=False, undelivered=[NOW - DAY]))
    assert [finding.code for finding in everything] == [
        "not-writable", "ticks-fail", "unreadable", "insecure", "configuration-broken", "configuration",
        "configuration", "no-zone-data", "failing", "blocking",
        "disk-low", "clock-set-back", "retrying", "undelivered",
        "line-not-seen", "paused"]


def test_every_command_can_be_typed():
    """Each is one of the system, or one of this program that its command line accepts."""
    commands = {finding.command for _, findings in all_findings() for finding in findings} - {""}
    programs = set()
    for command in commands:
        words = shlex.split(command)
        programs.add(words[0])
        if words[0] == "symphony_conductor.py":
            args = sc._parse(words[1:])
            is_beside = sc.is_beside(words[1])
            assert is_beside or args.func.__name__ == "cmd_" + words[1].replace("-", "_"), command
    assert programs <= set(SYSTEM_COMMANDS) | {"symphony_conductor.py", "chmod", "sudo"}
    assert set(SYSTEM_COMMANDS) <= programs


def test_commands_are_called_as_the_reader_calls_the_program_and_quote_the_folder():
    finding, = findings_of(**dict(DEAD, cron_log="x", root="/srv/my box"))
    assert finding.command == "tail '/srv/my box/logs/conductor_cron.log'"
    finding, = findings_of(last_tick=None, program="./symphony_conductor.py")
    assert finding.command == "./symphony_conductor.py doctor"


# -- in words

FAILING, RETRYING_A, RETRYING_B = (sc.Finding(code="failing", task="x"), sc.Finding(code="retrying", task="a"),
                                   sc.Finding(code="retrying", task="b"))
FULL, LOW = sc.Finding(code="disk-full"), sc.Finding(code="disk-low")
UNREADABLE, HELD = sc.Finding(code="unreadable"), sc.Finding(code="paused")


@pytest.mark.parametrize("findings, words, level", [
    ([], "healthy", "OK"),
    ([HELD], "healthy", "OK"),
    ([LOW], "healthy, 1 warning", "WARNING"),
    ([LOW, LOW, HELD], "healthy, 2 warnings", "WARNING"),
    ([RETRYING_A, LOW], "retrying a", "WARNING"),
    ([RETRYING_A, RETRYING_B], "retrying 2 tasks", "WARNING"),
    ([FAILING, RETRYING_A, LOW, HELD], "NOT healthy: 1 problem", "CRITICAL"),
    ([FAILING, FAILING], "NOT healthy: 2 problems", "CRITICAL"),
    ([FULL, LOW], "NOT healthy: 1 problem, nothing starts", "CRITICAL"),
    ([FAILING, FULL, HELD], "NOT healthy: 2 problems, nothing starts", "CRITICAL"),
    ([UNREADABLE], "NOT healthy: 1 problem", "UNKNOWN"),
    ([UNREADABLE, LOW], "NOT healthy: 1 problem", "UNKNOWN"),
    ([UNREADABLE, FAILING], "NOT healthy: 2 problems", "CRITICAL"),
])
def test_all_findings_in_a_word(findings, words, level):
    assert (sc.verdict_words(findings), sc.level_of(findings)) == (words, level)
    document = sc.status_document(sc.Config(), sc.State(), machine(), [], findings)
    problems = [finding for finding in findings if finding.severity == "problem"]
    assert document["healthy"] == (not problems) and len(document["problems"]) == len(problems)


@pytest.mark.parametrize("code, since_ago, text", [
    ("failing", None, "it is so"), ("failing", 59, "it is so"), ("failing", 60, "it is so (for 1m)"),
    ("failing", 2 * DAY, "it is so (for 2d)"), ("overdue", DAY, "it is so"), ("not-called", DAY, "it is so"),
    ("ticks-late", DAY, "it is so"), ("no-cron-daemon", DAY, "it is so")])
def test_a_finding_says_how_long_it_has_lasted_unless_its_sentence_does(code, since_ago, text):
    finding = sc.Finding(code=code, text="it is so", since=so_long_ago(since_ago))
    assert sc.finding_text(sc.finding_document(finding), NOW) == text


def test_a_finding_for_people_is_its_sentence_the_last_line_of_output_and_what_to_type():
    finding = sc.finding_document(sc.Finding(
        code="failing", text="it failed \x1b[2J and went on to fail", output="x" * 90, command="look " + "y" * 90))
    assert sc.finding_lines(finding, NOW, 30) == [
        "  ! it failed \\x1b[2J and went\n    on to fail", "      last output: " + "x" * 8 + "...",
        "      try: look " + "y" * 90]
    assert sc.finding_lines(finding, NOW, 99, True)[0].startswith("  \x1b[31m!\x1b[0m it failed")
    finding = sc.finding_document(sc.Finding(code="paused", text="it is paused"))
    assert sc.finding_lines(finding, NOW, 80) == ["  - it is paused"]
    finding = dict(finding, command="ls \x1b[2J")
    assert sc.finding_lines(finding, NOW, 80)[1] == "      try: ls \\x1b[2J"


def table_of(states, **more):
    state = state_of(states)
    document = sc.status_document(TASKS, state, machine(), [], sc.examine(TASKS, state, machine()))
    return sc.status_table(document, 100, **more).split("\n")


def test_only_problems_leaves_the_rows_out():
    states = {"up": decided("up", marks="+F", **FAILED), "mid": waiting("mid", "up"), "quick": decided("quick")}
    lines = table_of(states)
    assert len([line for line in lines[lines.index("") + 1:] if line[:1].strip()]) == len(TASKS.tasks) + 2
    assert table_of(states, only_problems=True) == lines[:lines.index("")]


@pytest.mark.parametrize("marks, words", [
    ("", None), ("++", "+ success"), ("F+", "+ success, F failed"), ("T-I", "T timeout, I interrupted, - skipped")])
def test_the_legend_has_the_marks_that_there_are(marks, words):
    last = table_of({"up": decided("up", marks=marks)})[-1]
    assert last == "RECENT, newest last: " + words if words else not last.startswith("RECENT")


def test_the_headline_of_a_retry_is_neither_red_nor_green():
    head = table_of({"up": decided("up", **AGAIN)}, coloured=True)[0]
    assert head.startswith("\x1b[33mretrying up\x1b[0m | ")


# -- ticks that fail

class Ticks:
    """A root whose ticks end as the test says; `failure` is what health is told of them."""

    def __init__(self, project):
        project.configure(every_minute("a"))
        self.store = sc.Store(str(project.root))
        (project.root / "status").mkdir(exist_ok=True)
        self.path = project.root / "status" / "tick_failure"
        self.heartbeat = project.root / "status" / "heartbeat"
        self.store.forget_failure()

    def succeed(self, when):
        self.heartbeat.write_text("")
        os.utime(str(self.heartbeat), (when, when))
        self.store.forget_failure()

    def fail(self, when, text="cannot write x"):
        self.store.note_failure(when, 74, text)

    def failure(self, now):
        inspector = sc.Inspector(self.store)
        inspector.now = now
        inspector.config()
        return inspector.machine(inspector.state()).failure


@pytest.fixture
def ticks(project):
    return Ticks(project)


def test_ticks_fail_since_the_first_of_them_in_a_row(ticks):
    assert ticks.failure(NOW) is None
    ticks.succeed(NOW - 200)
    ticks.fail(NOW - 140)
    ticks.fail(NOW - 80)
    failure = ticks.failure(NOW)
    assert (failure.at, failure.since, failure.text) == (NOW - 80, NOW - 140, "cannot write x")
    ticks.succeed(NOW - 20)
    assert ticks.failure(NOW) is None
    ticks.fail(NOW - 10)
    assert ticks.failure(NOW).since == NOW - 10


def test_a_failure_from_ahead_of_the_clock_is_from_before_that_was_set_back(ticks):
    ticks.fail(NOW + DAY)
    assert ticks.failure(NOW) is None
    assert ticks.failure(NOW + DAY - 180).at == NOW + DAY  # as close as two clocks may be
    ticks.fail(NOW - 10)
    assert ticks.failure(NOW).since == NOW - 10


def test_the_file_of_a_failure_keeps_its_size_and_its_place(ticks):
    assert ticks.path.read_bytes() == b" " * sc.FAILURE_BYTES
    node = os.stat(str(ticks.path)).st_ino
    for text in ("\U0001f600" * 600, "short", "two\nlines \x1b[2J"):
        ticks.fail(NOW - 10, text)
        assert os.stat(str(ticks.path)).st_size == sc.FAILURE_BYTES
        assert ticks.failure(NOW).text == sc.plain_line(text, 500)
    ticks.store.forget_failure()
    assert ticks.path.read_bytes() == b" " * sc.FAILURE_BYTES
    node = os.stat(str(ticks.path)).st_ino
    ticks.store.forget_failure()  # nothing is written where there is nothing to forget
    assert os.stat(str(ticks.path)).st_ino == node


@pytest.mark.parametrize("text", [
    "", "{", "[]", "[" * 100000, "\x00", "{}", '{"at": 1e400, "since": 0, "exit_code": 1, "text": ""}',
    '{"at": 1, "since": NaN, "exit_code": 1, "text": ""}', '{"at": 1, "since": -1e30, "exit_code": 1, "text": ""}',
    '{"at": 1, "since": 1, "exit_code": 1e400, "text": ""}', '{"at": 1, "since": 1, "exit_code": 1, "text": [1]}'])
def test_a_damaged_failure_is_none_and_the_next_one_replaces_it(ticks, text):
    ticks.path.write_text(text)
    assert ticks.failure(NOW) is None
    ticks.fail(NOW - 10)
    assert ticks.failure(NOW).since == NOW - 10


@pytest.mark.parametrize("outcome, text", [
    (sc.Outcome(), None), (sc.Outcome(exit_code=78, lines=["a problem"]), None),
    (sc.Outcome(exit_code=74, lines=["a", "cannot write x"]), "cannot write x"),
    (sc.StorageError("cannot write y"), "cannot write y"), (ValueError(), "ValueError")])
def test_a_tick_notes_how_it_failed(ticks, monkeypatch, capfd, outcome, text):
    def tick(self):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(sc.Conductor, "tick", tick)
    sc.main(["--root", ticks.store.root, "tick"])
    failure = ticks.store.tick_failure()
    assert (failure and failure.text) == text


# -- what the machine is asked

@pytest.mark.parametrize("names, daemon", [
    ({"1": "systemd", "7": "cron"}, "cron"), ({"7": "crond"}, "crond"), ({"1": "systemd", "7": "bash"}, ""),
    ({"7": "bash"}, None),  # the processes of others are hidden
    ({"1": "systemd", "7": "crony", "8": "anacron"}, ""), ({"1": "", "7": "bash"}, None),
    ({"1": "systemd", "7": "supercronic"}, "")])
def test_a_cron_daemon_is_seen_missing_or_hidden(tmp_path, monkeypatch, names, daemon):
    (tmp_path / "self").mkdir()
    for pid, name in names.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(name + "\n")
    (tmp_path / "uptime").write_text("cron\n")
    monkeypatch.setattr(sc, "PROC", str(tmp_path))
    assert sc.cron_daemon() == daemon


@pytest.mark.parametrize("letter, daemon", [("S", "cron"), ("R", "cron"), ("T", ""), ("Z", "")])
def test_a_cron_daemon_that_is_stopped_or_dead_does_not_run(tmp_path, monkeypatch, letter, daemon):
    for pid, name, state in (("self", "sh", "R"), ("1", "init", "S"), ("7", "cron", letter)):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(name + "\n")
        (tmp_path / pid / "stat").write_text("%s (%s) %s 1 %s\n" % (pid, name, state, "1 " * 18))
    (tmp_path / "uptime").write_text("1.0 1.0\n")
    monkeypatch.setattr(sc, "PROC", str(tmp_path))
    monkeypatch.setattr(sc, "SERVICE_FOLDERS", ())
    assert sc.cron_daemon() == daemon


@pytest.mark.parametrize("paths, command", [
    ([], ""), (["/etc/init.d/cron"], "service cron start"), (["/etc/init.d/crond"], "service crond start"),
    (["/sbin/rc-service", "/etc/init.d/crond"], "rc-service crond start && rc-update add crond"),
    (["/usr/sbin/crond"], "crond"), (["/run/systemd/system", "/etc/init.d/cron"], ""),
    (["/run/systemd/system", "/lib/systemd/system/crond.service"], "systemctl enable --now crond")])
def test_how_to_start_a_cron_daemon(monkeypatch, paths, command):
    monkeypatch.setattr(sc, "shutil", types.SimpleNamespace(which=lambda name: name))
    monkeypatch.setattr(os.path, "isdir", paths.__contains__)
    monkeypatch.setattr(os.path, "exists", paths.__contains__)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert sc.daemon_command() == command
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sc.daemon_command() == ("sudo " + command.replace("&& ", "&& sudo ") if command else "")


@pytest.mark.parametrize("programs, command", [
    (["apt-get"], "apt-get update && apt-get install -y --no-install-recommends cron"),
    (["yum", "dnf"], "dnf install -y cronie"), ([], "")])
def test_without_a_crontab_program_cron_is_to_be_installed_before_it_is_started(
        project, monkeypatch, programs, command):
    """Even if the init script of a removed package is left; to install the line would fail."""
    which = {name: name for name in programs}
    monkeypatch.setattr(sc, "shutil", types.SimpleNamespace(which=which.get))
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/etc/init.d/cron")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert sc.daemon_command() == command
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sc, "cron_package_command", lambda: command)
    for is_booted in (False, True):
        monkeypatch.setattr(sc, "SYSTEMD_RUNS", "/" if is_booted else "/nowhere")
        project.configure()
        finding, has_line = sc.Inspector(sc.Store(str(project.root)))._line()
        assert (finding.command, has_line) == (command, False)
        assert ("install --timer" in finding.text) == is_booted
        assert finding.text.startswith("cannot run crontab: ")


@pytest.mark.parametrize("record, is_alive, run, text", [
    ({}, True, RUN, ""), ({"supervisor": 7, "result": {}}, False, RUN, ""),
    ({"supervisor": 7, "timeout": 60 * MINUTE}, True, RUN, ""),
    ({"supervisor": 7, "timeout": 26 * MINUTE, "kill_grace": MINUTE}, True, RUN, ""),  # it has three minutes more
    ({"supervisor": 7, "timeout": 26 * MINUTE}, True, RUN,
     "a: run R should have ended by 2025-06-03T11:56:00Z, and no end was recorded"),
    ({"supervisor": 7, "timeout": 26 * MINUTE}, True, RUN.replace(unended="timed out"), ""),
    ({"supervisor": 7, "timeout": 60 * MINUTE}, False, RUN,
     "a: the supervisor of run R is gone; the next tick takes it over"),
    (sc.StorageError("cannot read it"), True, RUN, "a: cannot determine the state of run R: cannot read it")])
def test_what_is_odd_about_a_run(project, monkeypatch, record, is_alive, run, text):
    def run_with_id(self, name, run_id):
        if isinstance(record, Exception):
            raise record
        return record

    monkeypatch.setattr(sc.Reader, "run_with_id", run_with_id)
    monkeypatch.setattr(sc, "process_of", lambda pid: pid if is_alive else None)
    inspector = sc.Inspector(sc.Store(str(project.root)))
    inspector.now = NOW
    assert inspector._oddity("a", run) == text


@pytest.mark.parametrize("silence_s, daemon", [(180, None), (181, "cron")])
def test_a_daemon_is_looked_for_only_where_ticks_are_late(ticks, monkeypatch, silence_s, daemon):
    monkeypatch.setattr(sc, "cron_daemon", lambda: "cron")
    log = ticks.path.parent.parent / "logs" / "conductor_cron.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("No module\n\n")
    ticks.succeed(NOW - silence_s)
    inspector = sc.Inspector(ticks.store)
    inspector.now = NOW
    config, state = inspector.config(), inspector.state()
    facts = inspector.machine(state)
    assert (config is not None, facts.daemon) == (True, daemon)
    assert facts.cron_log == ("No module" if daemon else "")
    monkeypatch.setattr(sc, "has_timer", lambda root: True)
    assert inspector.machine(state).daemon is None  # a timer needs none
    monkeypatch.setattr(sc, "has_timer", lambda root: False)
    os.utime(str(log), (NOW - silence_s, NOW - silence_s))  # no later than the last tick
    assert inspector.machine(state).cron_log == ""
    ticks.fail(NOW - 10)
    assert inspector.machine(state).daemon is None  # the tick has come, and failed


@pytest.mark.parametrize("above, python, edited, code, text", [
    ("", "", "", None, ""),
    ("SHELL=/bin/csh\nSHELL=/bin/sh\n", "", "", None, ""),
    ("", "/bin/sh", "", None, ""),  # it stands for another Python that can be executed
    ("SHELL=/bin/csh\n", "", "", "line-broken",
     "sets SHELL=/bin/csh, which cannot run the conductor's line"),
    ("SHELL=/nowhere/bash\n", "", "", "line-broken", "sets SHELL=/nowhere/bash, which"),
    ("SHELL=/bin/csh\n", "/nowhere/python3", "", "line-broken", "crontab line does not exist (/nowhere/python3)"),
    ("", "", None, "line-changed", "crontab line differs from the one install would write"),
    ("", "", "*/2 * * * * ", "line-broken", "crontab line runs at '*/2 * * * *', not every minute"),
    ("", "", "# * * * * * ", "line-broken", "crontab line is commented out or empty")])
def test_what_is_wrong_with_a_line(project, above, python, edited, code, text):
    store = sc.Store(str(project.root))
    line = sc.crontab_line(store.root, python or sc.interpreter(), os.path.abspath(sc.__file__), False)
    block = "%s%s\n%s%s\n%s%s\n" % (sc.BLOCK_BEGIN, store.root, "", line, sc.BLOCK_END, store.root)
    if edited is None:
        edited = "* * * * *  cd / && "
    if edited:
        block = block.replace("* * * * * ", edited, 1)
    finding = sc._block_finding(store, above, block, "install")
    assert (finding and finding.code) == code and text in (finding.text if finding else "")


@pytest.mark.parametrize("kept, is_line, replaced", [
    (None, False, True), (None, True, True), (False, False, True), (False, True, True), (True, True, True),
    (True, False, False)])
def test_a_tick_by_hand_never_replaces_the_environment_of_the_line(project, monkeypatch, kept, is_line, replaced):
    class Flags:
        isolated = no_site = int(is_line)
        utf8_mode = getattr(sys.flags, "utf8_mode", 0)  # which some versions ask to open a file

    path = project.root / "status" / "tick_environment.json"
    path.parent.mkdir()
    before = json.dumps({"names": [], "PATH": "/old", "is_line": kept}, sort_keys=True)
    if kept is not None:
        path.write_text(before)
    monkeypatch.setattr(sys, "flags", Flags)
    sc.Store(str(project.root)).note_environment()
    assert (path.read_text() != before) == replaced
    assert json.loads(path.read_text())["is_line"] == (is_line if replaced else True)


def test_doctor_shows_the_output_of_what_failed_and_counts_what_it_found():
    findings = [sc.Finding(code="failing", text="a failed", output="no route", command="logs a"),
                sc.Finding(code="retrying", text="b failed"), sc.Finding(code="disk-low", text="low"),
                sc.Finding(code="paused", text="c is paused")]
    assert sc._doctor_lines(findings, [("clock", "it is noon")], NOW) == [
        "problem  tasks: a failed", "         last output: no route", "         try: logs a",
        "warning  tasks: b failed",
        "warning  disk: low", "notice   pauses: c is paused", "ok       clock: it is noon",
        "10 checks: 1 problem, 2 warnings"]


@pytest.mark.parametrize("codes, exit_code", [([], 0), (["paused"], 0), (["disk-low", "paused"], 0),
                                              (["failing", "disk-low"], 1)])
def test_doctor_and_status_exit_with_1_on_a_problem_and_doctor_has_the_worst_first(hand, monkeypatch, codes, exit_code):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    monkeypatch.setattr(sc, "examine", lambda *_: [])
    monkeypatch.setattr(sc, "cron_daemon", lambda: "cron")
    findings = [sc.Finding(code=code, text=code) for code in codes]
    monkeypatch.setattr(sc, "_findings_of_doctor", lambda *_: findings[::-1])
    code, out, _ = hand.call("doctor", "--json")
    document = json.loads(out)
    assert (code, [item["code"] for item in document if item["level"] != "ok"]) == (exit_code, codes)
    topics = {sc.FINDINGS[name][1] for name in codes}
    assert {item["topic"] for item in document if item["level"] == "ok"} == set(sc.CHECKS) - topics
    monkeypatch.setattr(sc, "examine", lambda *_: findings)
    assert hand.call("status", "--exit-code")[0] == exit_code
    assert hand.call("status")[0] == 0


def test_what_cannot_be_read_is_told_on_stderr_beside_json_only(hand, monkeypatch):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    monkeypatch.setattr(sc, "examine", lambda *_: [sc.Finding(code="unreadable", text="cannot read x")])
    assert hand.call("status")[::2] == (74, "symphony_conductor: cannot read x\n")
    code, out, err = hand.call("status", "--table")
    assert (code, err) == (74, "") and "! cannot read x" in out


@pytest.mark.parametrize("user, by", [(None, sc.current_user()[0]), ("joe", "joe"), ("j\x1b[31moe", "j [31moe")])
def test_a_pause_says_who_began_it(hand, monkeypatch, user, by):
    monkeypatch.delenv("SUDO_USER", raising=False)
    if user:
        monkeypatch.setenv("SUDO_USER", user)
    hand.configure(task("a", "0 2 * * *"))
    assert hand.call("pause", "a")[0] == 0
    pause = hand.state().pauses["a"]
    assert pause["by"] == by and sc.pause_words(pause).endswith(" until resumed by " + by)
    assert sc._is_pause(pause) and not sc._is_pause(dict(pause, by=7))
    del pause["by"]
    assert sc._is_pause(pause) and sc.pause_words(pause).endswith(" until resumed")


@pytest.mark.parametrize("fields, ticks_text, disk_text", [
    (disk(500, daemon="cron"), ["the last tick was 30s ago; cron is running"], ["500.0 MiB free of 1000.0 MiB"]),
    ({"last_tick": NOW - 180, "daemon": ""}, ["the last tick was 3m ago"], []),
    ({"last_tick": None, "line": MISSING, "daemon": "cron"}, [], []),
    ({"last_tick": NOW - 181, "line": MISSING}, [], []), ({"last_tick": NOW + 181}, [], []),
    ({"last_tick": None, "is_tick_unreadable": True}, [], [])])
def test_doctor_calls_nothing_in_order_that_it_could_not_see(fields, ticks_text, disk_text):
    assert sc.CHECKS["ticks"](None, machine(**fields), None) == ticks_text
    assert sc.CHECKS["disk"](None, machine(**fields), None) == disk_text


def test_the_table_has_short_commands_and_with_problems_no_rows(hand, monkeypatch):
    monkeypatch.chdir(os.path.dirname(os.path.abspath(sc.__file__)))
    hand.configure(task("a", "0 2 * * *"), task("b", "0 2 * * *"))
    hand.ends["a"] = ("failed", 1)
    for moment in ("2025-06-03T01:00:00Z", "2025-06-03T02:00:05Z", "2025-06-03T02:01:00Z"):
        hand.tick(moment)
    document = json.loads(hand.call("status", "--exit-code")[1])
    command, = (finding["command"] for finding in document["findings"] if finding["code"] == "failing")
    assert command.startswith(os.path.abspath(sc.__file__)) and command.endswith(" logs a")
    table = hand.call("status", "--table")[1]
    assert "\n      try: ./symphony_conductor.py --root " in table and "\nb  " in table
    problems = hand.call("status", "--problems")[1]
    assert " logs a\n" in problems and "\nb  " not in problems


def test_doctor_says_which_daemon_runs_while_ticks_come(hand, monkeypatch):
    monkeypatch.setattr(sc, "cron_daemon", lambda: "cronie")
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    assert "ticks: the last tick was 0s ago; cronie is running\n" in hand.call("doctor")[1]


def test_doctor_looks_on_the_path_that_the_tick_had_and_tells_of_a_problem_once(hand, tmp_path, monkeypatch):
    tool = tmp_path / "own-tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    hand.configure(task("a", "0 2 * * *", command="own-tool"), task("b", "61 2 * * *"))
    monkeypatch.setenv("PATH", str(tmp_path))
    hand.store().note_environment()
    codes = [item.get("code") for item in json.loads(hand.call("doctor", "--json")[1])]
    assert codes.count("configuration") == 1 and "suspicion" not in codes
    monkeypatch.setenv("PATH", "/nowhere")
    hand.store().note_environment()
    assert "suspicion" in [item.get("code") for item in json.loads(hand.call("doctor", "--json")[1])]


@pytest.mark.parametrize("zones, is_said", [([], True), ([None], True), (["Asia/Tokyo"], False),
                                            (["Asia/Tokyo", None], True)])
def test_the_zone_of_the_shell_matters_where_a_schedule_has_none(monkeypatch, zones, is_said):
    config = sc.build_config([("c.json", {"tasks": [
        task("t%d" % number, "0 2 * * *", timezone=zone) for number, zone in enumerate(zones)]})])
    here = time.localtime(NOW).tm_gmtoff
    monkeypatch.setenv("TZ", "XXX-05:17")
    monkeypatch.setattr(sc.time, "localtime", lambda at: type("T", (), {"tm_gmtoff": here + 1020}))
    findings = sc._zone_findings(config, NOW)
    assert [finding.code for finding in findings] == ["zone-differs"] * is_said


def test_a_file_that_is_gone_belongs_to_nobody_else(hand, monkeypatch):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    monkeypatch.setattr(sc, "_owner_of", lambda path: None)
    assert sc._own_file_findings(sc.Inspector(hand.store())) == []
    monkeypatch.setattr(sc, "_owner_of", lambda path: 54321)
    assert [finding.code for finding in sc._own_file_findings(sc.Inspector(hand.store()))] == ["foreign-files"]


def refuse(error):
    def call(*_):
        raise error
    return call


def test_what_cannot_be_asked_is_an_answer_as_well(ticks, monkeypatch):
    ticks.succeed(NOW - 30)
    inspector = sc.Inspector(ticks.store)
    inspector.config()
    state = inspector.state()
    monkeypatch.setattr(sc, "probe_write", refuse(OSError(30, "Read-only file system")))
    monkeypatch.setattr(sc.Reader, "last_tick", refuse(sc.StorageError("cannot stat the heartbeat")))
    facts = inspector.machine(state)
    assert (facts.last_tick, facts.is_tick_unreadable, facts.unreadable) == (None, True, ["cannot stat the heartbeat"])
    assert facts.write_error == "status/: Read-only file system"
    monkeypatch.setattr(sc.Inspector, "is_owner", lambda self: False)
    facts = inspector.machine(state)
    assert (facts.write_error, facts.line, facts.has_line) == ("", None, None)  # of others, neither is known


@pytest.mark.parametrize("timer, error, code, has_line", [
    (True, sc.ConductorError("crontab -l failed"), None, True),
    (False, sc.ConductorError("crontab -l failed"), "crontab-unreadable", None),
    (True, None, None, True), (False, None, "line-missing", False), (None, None, "crontab-unreadable", None)])
def test_a_timer_makes_up_for_a_crontab(project, monkeypatch, timer, error, code, has_line):
    monkeypatch.setattr(sc, "has_timer", lambda root: timer)
    monkeypatch.setattr(sc, "read_crontab", refuse(error) if error else lambda: "")
    finding, there_is_one = sc.Inspector(sc.Store(str(project.root)))._line()
    assert (finding and finding.code, there_is_one) == (code, has_line)


@pytest.mark.parametrize("exit_code, is_forgotten", [(0, True), (78, True), (74, False), (75, False)])
def test_only_a_tick_that_did_its_work_forgets_the_failure(ticks, monkeypatch, exit_code, is_forgotten):
    monkeypatch.setattr(sc.Conductor, "_decide", lambda self, **_: sc.Outcome(exit_code=exit_code, lines=["x"]))
    monkeypatch.setattr(sc.Conductor, "_send_due_messages", lambda self: None)
    ticks.fail(NOW - 10)
    sc.Conductor(ticks.store).tick()
    assert (ticks.store.tick_failure() is None) == is_forgotten


@pytest.mark.parametrize("booted_ago, boot_id, suspended_s, silent_s", [
    (DAY, "boot", 0, HOUR), (10, "boot", 0, 10), (DAY, "boot", 600, HOUR - 600), (DAY, "other", 600, HOUR)])
def test_no_tick_is_missed_while_the_machine_is_off_or_asleep(ticks, monkeypatch, booted_ago, boot_id, suspended_s,
                                                              silent_s):
    monkeypatch.setattr(sc, "boot_time", lambda now: now - booted_ago)
    monkeypatch.setattr(sc, "current_boot_id", lambda: "boot")
    monkeypatch.setattr(sc.Reader, "last_evidence", lambda self: type(
        "Evidence", (), {"suspended": 1000.0, "boot_id": boot_id}))
    asleep = type("Asleep", (sc.Clock,), {"suspended": lambda self: 1000.0 + suspended_s})
    inspector = sc.Inspector(ticks.store, asleep())
    inspector.now = NOW
    assert inspector._silent_s(NOW - HOUR, sc.State()) == silent_s
    # Installed, and no tick yet.
    assert inspector._silent_s(None, sc.State(last_now=NOW - HOUR), has_line=True) == silent_s
    assert inspector._silent_s(None, sc.State(last_now=NOW - HOUR)) == float("inf")
    installed = os.path.join(ticks.store.root, sc.INSTALLED_NAME)
    sc.write_atomic(installed, b"")
    os.utime(installed, (NOW - HOUR, NOW - HOUR))  # a run by hand before that decided nothing
    for last_now in (0.0, NOW - DAY):
        assert inspector._silent_s(None, sc.State(last_now=last_now), has_line=True) == silent_s
    assert inspector._silent_s(None, sc.State()) == float("inf")


@pytest.mark.parametrize("is_folder, wanted, can_write, flag, number", [
    (True, True, True, 0, 0), (False, False, True, 0, 0), (True, False, True, 0, errno.EISDIR),
    (False, True, True, 0, errno.ENOTDIR), (True, True, False, 0, errno.EACCES),
    (False, False, False, os.ST_RDONLY, errno.EROFS)])
def test_why_a_tick_cannot_write(tmp_path, monkeypatch, is_folder, wanted, can_write, flag, number):
    path = tmp_path / "x"
    assert sc.write_errno(str(path), True) == 0  # it is made when it is needed
    if is_folder:
        path.mkdir()
    else:
        path.write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: can_write)
    monkeypatch.setattr(os, "statvfs", lambda path: type("Disk", (), {"f_flag": flag}))
    assert sc.write_errno(str(path), wanted) == number


def test_a_folder_in_the_place_of_a_log_is_why_ticks_cannot_write(ticks):
    (ticks.path.parent.parent / "logs" / "symphony_conductor.log").mkdir(parents=True)
    assert sc.Inspector(ticks.store)._write_error() == "logs/symphony_conductor.log: Is a directory"


def test_doctor_does_not_send_to_doctor_and_calls_nothing_in_order_beside_what_cannot_be_read(hand, monkeypatch):
    hand.configure(task("a", "0 2 * * *"))
    hand.tick()
    monkeypatch.setattr(sc.Inspector, "state", lambda self: (
        self.unreadable.append("cannot read x"), setattr(self, "state_notes", []), sc.State())[-1])
    document = json.loads(hand.call("doctor", "--json")[1])
    assert [item["command"] for item in document if item.get("code") == "unreadable"] == [None]
    assert "ok" not in {item["level"] for item in document}


def test_a_run_by_hand_that_fails_is_no_slot_that_does():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    run = sc.Run(run_id="R", trigger="manual", started_at=float(at("2025-06-02T10:00:00Z")))
    world.state = world.state.replace(tasks={"a": world.state.tasks["a"].replace(run=run)})
    world.finish("a", "2025-06-02T10:01:00Z", "failed")
    state = world.state.tasks["a"]
    assert (state.run, state.consecutive_failures, state.last["status"]) == (None, 0, "failed")


@pytest.mark.parametrize("closed, answer", [((), ""), (("17",), None), (("1",), None)])
def test_a_process_that_cannot_be_read_may_be_cron(monkeypatch, closed, answer):
    def program_name(pid):
        if pid in closed:
            raise PermissionError(13, "Permission denied")
        return "init"

    monkeypatch.setattr(sc, "has_proc", lambda: True)
    monkeypatch.setattr(sc.os, "listdir", lambda path: ["1", "17", "self"])
    monkeypatch.setattr(sc, "_program_name", program_name)
    monkeypatch.setattr(sc, "SERVICE_FOLDERS", ())
    assert sc.cron_daemon() == answer


# -- the parts of the judgement, each by a table

@pytest.mark.parametrize("fields, silent_s", [
    ({"last_tick": NOW - 90}, 90), ({"last_tick": NOW - 90, "awake_s": 30.0}, 30.0),
    ({"last_tick": NOW - 90, "awake_s": 0.0}, 0.0), ({"last_tick": None}, float("inf")),
    ({"last_tick": None, "awake_s": 7.0}, 7.0)])
def test_how_long_ticks_have_been_missing(fields, silent_s):
    assert sc.Machine(now=NOW, **fields).silent_s == silent_s


@pytest.mark.parametrize("since_s, text", [
    (0, "the last tick failed: cannot write x"), (59, "the last tick failed: cannot write x"),
    (60, "ticks fail: cannot write x")])
def test_ticks_fail_from_the_second_minute_on(since_s, text):
    failure = sc.TickFailure(at=NOW - 5, since=NOW - 5 - since_s, exit_code=74, text="cannot write x.")
    assert [(finding.code, finding.text, finding.since, finding.command)
            for finding in findings_of(failure=failure)] == [("ticks-fail", text, NOW - 5 - since_s, DOCTOR)]


@pytest.mark.parametrize("fields, codes", [
    ({"last_tick": NOW + 180}, []), ({"last_tick": NOW + 181}, ["clock-behind"]),
    ({"last_tick": None, "is_tick_unreadable": True, "daemon": ""}, []),
    ({"last_tick": NOW - 181, "failure": AT_1, "daemon": ""}, ["ticks-fail"]),
    ({"last_tick": NOW - 30, "failure": AT_1, "line": MISSING}, ["ticks-fail", "line-not-seen"]),
    ({"last_tick": NOW - 181, "daemon": "cron", "cron_log": "no such file"}, ["ticks-fail"]),
    ({"last_tick": NOW - 30, "daemon": "cron", "cron_log": "no such file"}, []),
    ({"last_tick": NOW - 181, "daemon": "cron", "cron_log": "x", "line": CHANGED}, ["ticks-fail", "line-changed"]),
    ({"last_tick": NOW - 181, "daemon": "cron", "cron_log": "x", "line": BROKEN}, ["line-broken"]),
])
def test_the_cause_why_no_tick_came(fields, codes):
    assert [finding.code for finding in findings_of(**fields)] == codes


@pytest.mark.parametrize("last_now_s, last_tick_s, has_zone_data, problems, codes", [
    (181, None, True, [], ["not-called", "clock-set-back"]),
    (181, 180, True, [], ["clock-set-back"]), (181, 181, True, [], ["clock-behind"]),
    (0, -30, False, [], []), (0, -30, False, ["no such time zone"], ["configuration", "no-zone-data"]),
    (0, -30, False, ["no such key"], ["configuration"]),
    (0, -30, False, ["no such key", "no such time zone"], ["configuration", "configuration", "no-zone-data"]),
])
def test_what_is_wrong_with_the_clock(last_now_s, last_tick_s, has_zone_data, problems, codes):
    config = sc.Config(problems=[sc.Problem(place="c.json", text=text) for text in problems])
    last_tick = None if last_tick_s is None else NOW + last_tick_s
    found = findings_of(config, sc.State(last_now=NOW + last_now_s), last_tick=last_tick,
                        has_zone_data=has_zone_data)
    assert [finding.code for finding in found] == codes


@pytest.mark.parametrize("fields, seconds", [
    ({"timeout": 10, "kill_grace": 1, "retry_count": 0}, 300),
    ({"timeout": 300, "kill_grace": 1, "retry_count": 0}, 301),
    ({"timeout": 900, "kill_grace": 60, "retry_count": 1, "retry_delay": 100, "retry_backoff": 2}, 1060),
    ({"timeout": 900, "kill_grace": 60, "retry_count": 3, "retry_delay": 100, "retry_backoff": 2}, 1660)])
def test_how_long_a_slot_may_take_to_its_success(fields, seconds):
    assert sc.grace_of(sc.Task(**fields)) == seconds


@pytest.mark.parametrize("root, waiters, roots", [
    ({}, ["mid"], {"up": ["mid"]}), ({}, ["mid", "low"], {"up": ["mid", "low"]}),
    ({"run": RUN}, ["mid"], {}), ({"cycle": cycle("queued")}, ["mid"], {}), ({}, ["gone"], {}),
    ({}, [], {})])
def test_who_waits_for_what_will_not_run_by_itself(root, waiters, roots):
    states = {"up": decided("up", satisfied_until=None, **root), "quick": decided("quick", cycle=cycle("queued"))}
    on = {"mid": "up", "low": "mid", "gone": "up"}
    for name in waiters:
        states[name] = sc.TaskState(cycle=cycle("waiting", waiting_for=on[name]))
    assert sc.waiting_for_roots(TASKS, sc.State(tasks=states)) == roots


LOCKED = configured(
    task("dump", "30 * * * *", locks=["disk"]), task("copy", "30 * * * *", locks=["disk", "net"]),
    task("send", "30 * * * *", dependencies=["copy"]), task("free", "30 * * * *"),
    task("last", "30 * * * *", dependencies=["free"]))


@pytest.mark.parametrize("name, running, invalid, command", [
    ("free", (), (), "run --task free"), ("last", (), (), "run --task last --with-dependencies"),
    ("last", ("free",), (), ""),                 # what it needs runs already
    ("copy", (), (), "run --task copy"), ("copy", ("dump",), (), ""), ("free", ("dump",), (), "run --task free"),
    ("copy", ("copy",), (), "run --task copy"),  # the lock is its own
    ("send", ("dump",), (), ""), ("send", (), (), "run --task send --with-dependencies"),
    ("send", (), ("copy",), ""),
])
def test_the_command_that_runs_a_task_now_is_one_that_is_not_refused(name, running, invalid, command):
    states = {each: sc.TaskState(run=sc.Run(locks=list(LOCKED.tasks[each].locks))) for each in running}
    config = LOCKED.replace(tasks={each: one for each, one in LOCKED.tasks.items() if each not in invalid},
                            invalid=dict.fromkeys(invalid, "no command"))
    assert sc.run_command(config, sc.State(tasks=states), config.tasks[name], NOW) == command


@pytest.mark.parametrize("name, pauses, words", [
    ("gone", {}, "check"), ("free", {}, "run --task free"), ("free", paused("free"), "resume free"),
    ("free", paused(sc.ALL_TASKS), "resume --all"), ("free", paused("last"), "run --task free"),
    ("free", dict(paused("free"), **paused(sc.ALL_TASKS)), "resume --all"), ("copy", {}, "why copy")])
def test_what_to_type_so_that_others_can_go_on(name, pauses, words):
    state = sc.State(pauses=pauses, tasks={"dump": sc.TaskState(run=sc.Run(locks=["disk"]))})
    assert sc._way_out(LOCKED, state, name, NOW) == words


@pytest.mark.parametrize("pauses, until, names", [
    ({}, None, None), (paused("b"), None, None), (paused("up", NOW + 60), NOW + 60, ["up"]),
    (paused(sc.ALL_TASKS, NOW + 60), NOW + 60, ["*"]), (paused("up"), None, ["up"])])
def test_the_pause_of_a_task_is_its_own_or_that_of_all(pauses, until, names):
    document = sc.pause_document(sc.State(pauses=pauses), TASKS.tasks["up"])
    if names is None:
        assert document is None
    else:
        assert document == {"since": sc.iso(NOW - HOUR), "until": sc.iso(until), "reason": "", "names": names}


@pytest.mark.parametrize("config, fields, places", [
    (sc.Config(problems=[OF_A_TASK]), {}, ["tasks[0] 'a'"]),
    (sc.Config(), {"broken": [PROBLEM, OTHER]}, ["config/a.json"]),
    (None, {"broken": [PROBLEM, OTHER]}, ["config/a.json"]), (None, {"broken": [ABSENT]}, ["config/a.json"]),
    (sc.Config(), {"insecure": [OPEN, STRANGE]}, ["config/c.json", "config/d.json"])])
def test_a_finding_on_the_configuration_has_the_place_of_its_problem(config, fields, places):
    assert [finding.place for finding in findings_of(config, **fields)] == places


def test_a_finding_on_what_blocks_has_the_names_of_those_who_wait_and_the_reason_of_the_first():
    states = {"up": decided("up", satisfied_until=None), "quick": waiting("quick", "up"),
              "mid": decided("mid", last={}, cycle=cycle("waiting", waiting_for="up", slot=HALF_PAST - HOUR)),
              "low": decided("low", last={}, cycle=cycle("waiting", waiting_for="mid", slot=HALF_PAST + HOUR))}
    (finding,) = findings_of(TASKS, state_of(states))
    assert (finding.code, finding.task, finding.place) == ("blocking", "up", "quick mid low")
    assert finding.text == ("quick, mid and low cannot run: "
                            "'up' has not succeeded for its slot 2025-06-03T11:30:00Z")


WINDOWED = configured(
    task("a", "30 * * * *", only_between="11:56-12:30", timeout=10, kill_grace=1),
    task("b", "30 * * * *", only_between="11:56-12:30", timeout=10, kill_grace=1, dependencies=["a"]))


@pytest.mark.parametrize("states, minutes, codes", [
    # a start is late from when the window opens at 11:56, a wait from when it began
    ({"a": {"cycle": cycle("queued")}}, 0, []), ({"a": {"cycle": cycle("queued")}}, 1, []),
    ({"a": {"cycle": cycle("queued")}}, 2, [("overdue", "a")]),
    ({"a": {"run": RUN, "cycle": cycle("running")}, "b": {"cycle": cycle("waiting", waiting_for="a")}}, 0,
     [("overdue", "b")]),
])
def test_a_start_that_is_put_off_to_its_window_is_late_from_then_on(states, minutes, codes):
    now = NOW + MINUTE * minutes
    memory = {name: sc.TaskState(**dict({"schedule_key": WINDOWED.tasks[name].schedule_key, "cursor": HALF_PAST,
                                         "next_slot": HALF_PAST + HOUR}, **fields)) for name, fields in states.items()}
    found = findings_of(WINDOWED, sc.State(tasks=memory), now=now, last_tick=now - 30)
    assert [(finding.code, finding.task) for finding in found] == codes


@pytest.mark.parametrize("names, is_locked", [
    (["dump"], True), (["mail"], False), (["dump", "mail"], True), (["mail", "free"], False), (["free"], False),
    ([], False)])
def test_a_run_of_several_is_refused_if_one_of_them_is_locked(names, is_locked):
    config = configured(task("dump", locks=["disk"]), task("copy", locks=["disk"]), task("mail", locks=["net"]),
                        task("free"))
    state = sc.State(tasks={"copy": sc.TaskState(run=sc.Run(locks=["disk"]))})
    assert sc.is_any_locked(config, state, names) is is_locked
