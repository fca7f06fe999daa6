"""Containers: a process 1 that does not reap, a user ID without a name, a read-only root, the manual."""

import os
import pwd
import re
import subprocess
import sys

import pytest
from support import NAMESPACE, REPOSITORY, Project, every_minute

import symphony_conductor as sc

REAPER = re.compile(r"process 1 \((.*)\) does not reap: (.*) left, and every run adds one; start the "
                    r"container with an init \(docker run --init, or tini\)\Z")


def needs_namespaces():
    if os.geteuid() != 0:
        pytest.skip("namespaces take root")
    if subprocess.call(NAMESPACE + ["true"], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("namespaces are not allowed here")


# -- doctor on a process 1 that does not reap

UPTIME_S = 1000
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def put_process(proc, pid, parent, state, age_s, name="sleep", threads=1):
    """A process as proc(5) shows it."""
    folder = proc / str(pid)
    folder.mkdir()
    start = (UPTIME_S - age_s) * TICKS_A_SECOND
    fields = [state, parent, pid, pid] + [0] * 13 + [threads, 0, start, 0]
    (folder / "stat").write_text("%d (%s) %s\n" % (pid, name, " ".join(map(str, fields))))
    (folder / "comm").write_text(name + "\n")
    (folder / "cmdline").write_text(name + "\0crond\0-f\0")


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A /proc of the test's own, in which a tenth of a second is long."""
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "uptime").write_text("%d.00 0.00\n" % UPTIME_S)
    monkeypatch.setattr(sc, "PROC", str(folder))
    monkeypatch.setattr(sc, "UNREAPED_S", 0.2)
    return folder


@pytest.mark.parametrize("others, count", [
    ([], None),
    ([(20, 1, "Z", 60)], "1 ended process is"),
    ([(20, 1, "Z", 60), (21, 1, "X", 9), (22, 1, "S", 60)], "2 ended processes are"),
    ([(20, 1, "S", 60)], None),                     # it runs
    ([(20, 7, "Z", 60), (7, 1, "S", 90)], None),    # its parent is another one, which may look later
    ([(20, 1, "Z", 0)], None),                      # it began just now
])
def test_doctor_goes_by_what_process_1_leaves_dead(proc, others, count):
    put_process(proc, 1, 0, "S", 900, "app")
    for pid, parent, state, age_s in others:
        put_process(proc, pid, parent, state, age_s)
    texts = [(finding.code, REAPER.match(finding.text).groups()) for finding in sc.reaper_findings()]
    assert texts == ([("not-reaped", ("app", count))] if count else [])


def test_an_orphan_whose_first_thread_alone_has_ended_lives(proc):
    put_process(proc, 1, 0, "S", 900, "app")
    put_process(proc, 20, 1, "Z", 60, threads=2)
    assert sc.reaper_findings() == []


def test_doctor_calls_busybox_by_the_name_of_its_applet(proc):
    put_process(proc, 1, 0, "S", 900, "busybox")
    put_process(proc, 20, 1, "Z", 60)
    assert [REAPER.match(finding.text).group(1) for finding in sc.reaper_findings()] == ["crond"]


def test_process_1_may_take_its_time(proc, monkeypatch):
    """One that looks for its dead every second or so is no reason to be alarmed."""
    put_process(proc, 1, 0, "S", 900, "app")
    put_process(proc, 20, 1, "Z", 60)
    monkeypatch.setattr(sc, "sleep", lambda seconds: (proc / "20").rename(proc / "gone"))
    assert sc.reaper_findings() == []


def test_without_the_time_of_the_boot_nothing_is_said(proc):
    put_process(proc, 1, 0, "S", 900, "app")
    put_process(proc, 20, 1, "Z", 60)
    (proc / "uptime").unlink()
    assert sc.reaper_findings() == []


# Process 1 of a namespace, whose child ends; it reaps only if it is told to.
PROCESS_1 = """
import os, signal, sys
sys.path.append(sys.argv[1])
import symphony_conductor as c
if sys.argv[2] == "reaps":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
c.UNREAPED_S = 0.3
if os.fork() == 0:
    os._exit(0)
c.sleep(0.5)
print([finding.text for finding in c.reaper_findings()])
"""


@pytest.mark.parametrize("does", ["reaps", "does not"])
def test_a_real_process_1_is_told_by_what_it_does(does):
    needs_namespaces()
    said = subprocess.check_output(
        NAMESPACE + [sys.executable, "-I", "-c", PROCESS_1, str(REPOSITORY), does]).decode()
    assert ("does not reap: 1 ended process is left" in said) == (does == "does not"), said
    assert (said == "[]\n") == (does == "reaps")


# -- a user ID without a name, and a root that is read-only

@pytest.mark.parametrize("command", [["tick"], ["run", "a"], ["status"], ["doctor"], ["check"]])
def test_a_user_without_a_name_ticks_runs_and_looks(hand, monkeypatch, command):
    """As containers are started: `docker run --user 4321`."""
    def nobody(uid):
        raise KeyError("getpwuid(): uid not found: %d" % uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(sc, "UNREAPED_S", 0.0)
    hand.configure(every_minute("a", "true"))
    code, out, err = hand.call(*command)
    assert code == 0 or command == ["doctor"] and code == 1, (out, err)  # cron is this machine's
    assert "Error" not in out + err and "internal" not in out + err


def test_what_a_read_only_root_needs_is_no_other_owner_or_mode(tmp_path):
    needs_namespaces()
    project = Project(tmp_path / "project")
    project.configure(every_minute("a"))
    script = "mount --bind . . && mount -o remount,bind,ro . && cd . && exec \"$@\""
    done = subprocess.run(NAMESPACE + ["sh", "-c", script, "sh"] + project.command("install", "--dry-run"),
                          cwd=str(project.root), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (
        74, b"", "symphony_conductor: cannot write to %s: Read-only file system (move the project to a "
                 "file system that can be written to)\n" % project.root)


# -- what the manual has people type

def test_the_pod_that_waits_for_its_tasks_asks_for_a_field_that_is_there(project):
    manual = (REPOSITORY / "cron" / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"(?ms)^ +- \|\n(.*?)^ +volumeMounts:", manual)
    assert subprocess.call(["sh", "-n", "-c", script]) == 0
    (pattern,) = re.findall(r"grep -q '(.*?)'", script)
    project.configure(every_minute("a", "sleep 60"))
    assert re.search(pattern, project.call("status", "--json")[1])
    assert not re.search(pattern, "")  # status failed: the pod stays
    running = subprocess.Popen(project.command("run", "a"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        project.running_record("a")
        assert not re.search(pattern, project.call("status", "--json")[1])
    finally:
        running.terminate()
        running.wait()
