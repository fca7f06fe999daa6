"""What cannot be told is not taken for absent: failed reads, hidden processes, trees that leave their group."""

import errno
import fcntl
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from support import IMPORTED, SCRIPT, Project, due_once, every_minute, may_live, nothing_lives

import symphony_conductor as sc

ROOT = os.geteuid() == 0
READ_ERRORS = [errno.EIO, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.EACCES]

# Failures of one call on a file, as a disk or a full table of descriptors has them; then all is well again.
FAILING = """
import os
call, name, number, times = %r, %r, %d, %d
seen = []
real = getattr(os, call)
def failing(first, *more, **how):
    path = first if isinstance(first, str) else os.readlink("/proc/self/fd/%%d" %% first)
    if path.endswith(name) and len(seen) < times:
        seen.append(path)
        raise OSError(number, os.strerror(number))
    return real(first, *more, **how)
setattr(os, call, failing)
""" + IMPORTED


def with_failure(project, call, name, number, *command, **more):
    """Run the conductor while one call on one file fails once, or so many `times`: (exit code, stdout, stderr)."""
    code = FAILING % (call, name, number, more.get("times", 1))
    argv = [sys.executable, "-c", code, "--root", str(project.root)] + list(command)
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def set_aside(project):
    return [path.name for path in project.root.iterdir() if ".json.bad-" in path.name]


def statuses(project):
    return [record["status"] for record in project.history()]


# -- reading

@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("number", READ_ERRORS, ids=errno.errorcode.get)
def test_a_state_that_cannot_be_read_is_not_damaged(project, call, number):
    project.configure(due_once("job", "echo ran >> out"))
    project.anchor()
    before = project.read("conductor_state.json")
    for command in (["tick"], ["status"], ["run", "--task", "job"], ["pause", "job"]):
        code, _, err = with_failure(project, call, "/conductor_state.json", number, *command)
        assert code == 74
        assert err == "symphony_conductor: cannot read %s: %s\n" % (
            "conductor_state.json" if command != ["status"] else project.root / "conductor_state.json",
            os.strerror(number))
        assert project.read("conductor_state.json") == before
    assert project.lines("out") == [] and set_aside(project) == []
    assert project.call("tick") == (0, "", "")
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]


@pytest.mark.parametrize("number", READ_ERRORS, ids=errno.errorcode.get)
def test_a_copy_that_cannot_be_read_is_no_reason_to_start_anew(project, number):
    project.configure(every_minute("job", schedule="0 0 1 1 *"))
    project.anchor()
    assert project.call("run", "--task", "job")[0] == 0
    (project.root / "conductor_state.json").write_text("")
    code, _, err = with_failure(project, "open", "/conductor_state.json.bak", number, "tick")
    assert (code, err) == (74, "symphony_conductor: cannot read conductor_state.json.bak: %s\n" % os.strerror(number))
    assert set_aside(project) == []
    assert project.call("tick")[0] == 0
    assert project.state()["tasks"]["job"]["success_seq"] == 1


def finished_but_not_settled(project):
    """A task whose run has ended well, as its record says, and which no decision has looked at since."""
    project.configure(due_once("job", "echo ran >> out; while ! test -e go; do sleep 0.05; done", retry_count=1,
                               retry_delay=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    lock = sc.Store(str(project.root)).lock
    assert lock.acquire(10)
    (project.root / "go").write_text("")
    record = project.root / "status" / "runs" / "job.json"
    assert project.wait_until(lambda: "result" in json.loads(record.read_text()))
    os.kill(json.loads(record.read_text())["supervisor"], signal.SIGKILL)
    lock.release()


@pytest.mark.parametrize("number", READ_ERRORS, ids=errno.errorcode.get)
def test_a_record_that_cannot_be_read_holds_its_run_and_no_other(project, number):
    finished_but_not_settled(project)
    code, out, err = with_failure(project, "open", "/status/runs/job.json", number, "tick")
    run_id = project.state()["tasks"]["job"]["run"]["run_id"]
    assert (code, out) == (74, "")
    assert err == "symphony_conductor: job: cannot determine the state of run %s: cannot read " \
                  "status/runs/job.json: %s\n" % (run_id, os.strerror(number))
    assert project.history() == []
    assert project.call("tick") == (0, "", "")
    assert statuses(project) == ["success"] and project.lines("out") == ["ran"]


def test_drop_ins_that_cannot_be_listed_are_not_removed(project):
    folder = project.root / "config" / "tasks.d"
    folder.mkdir(mode=0o700)
    project.configure()
    (folder / "job.json").write_text(json.dumps(due_once("job", "echo ran >> out")))
    (folder / "job.json").chmod(0o600)
    project.anchor()
    code, _, err = with_failure(project, "listdir", "/config/tasks.d", errno.EIO, "tick", times=9)
    assert code == 78
    assert "config/tasks.d: cannot be read: Input/output error" in err
    assert project.wait_until(lambda: project.lines("out")) == ["ran"], "the last good configuration has them"
    assert "skipped_removed" not in statuses(project)


def test_a_file_that_is_no_file_is_never_read(project):
    project.configure(every_minute("job"))
    project.anchor()
    day = project.root / "status" / "history" / "2025-06-02.jsonl"
    day.parent.mkdir(mode=0o700, exist_ok=True)
    for target in ("/dev/full", "/dev/zero", "other"):
        day.symlink_to(target)
        code, _, err = project.call("history", "--since", "2025-06-01")
        assert (code, err) == (74, "symphony_conductor: cannot read %s: Is a symbolic link\n" % day)
        day.unlink()
    with open(str(day), "wb") as handle:
        handle.truncate(22 << 30)
    code, _, err = project.call("history", "--since", "2025-06-01")
    assert (code, err) == (74, "symphony_conductor: cannot read %s: File too large\n" % day)


def test_only_regular_files_are_read(tmp_path):
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    for path in (pipe, os.devnull, "/dev/full", str(tmp_path)):
        with pytest.raises(sc.ForeignFile):
            sc.read_bytes(path)


# -- starts that fail

def settled(project, task="job"):
    """Ticks as cron sends them until the slot of the task has its verdict."""
    for _ in range(10):
        project.call("tick")
        if project.wait_until(lambda: any(one["task"] == task for one in project.history()), 1.0):
            break
    project.wait_for_idle()


def test_a_log_that_is_a_folder_is_a_failed_attempt_with_its_reason(project):
    project.configure(due_once("job", "echo ran >> out", retry_count=1, retry_delay=0),
                      due_once("after", "echo ran >> out", dependencies=["job"]))
    project.anchor()
    (project.root / "logs" / "automation" / "job.log").mkdir(parents=True)
    settled(project)
    verdict = project.history()[0]
    assert (verdict["task"], verdict["status"], verdict["exit_code"], verdict["attempt"]) == ("job", "failed", 74, 2)
    reason = "not started: cannot open logs/automation/job.log: Is a directory"
    assert verdict["reason"] == reason and verdict["attempts"][0]["reason"] == reason
    assert project.lines("out") == [] and project.health("job").startswith("failed:")
    document = json.loads(project.call("status")[1])
    assert not document["healthy"] and document["running"] == []
    log = project.read("logs/symphony_conductor.log")
    assert "job: run %s failed (exit 74) after 0.0 s: %s\n" % (verdict["run_id"], reason) in log
    code, _, err = project.call("run", "--task", "job")
    assert (code, err) == (74, "symphony_conductor: job: %s\n" % reason)


@pytest.mark.plain
def test_a_supervisor_without_descriptors_is_a_failed_attempt_in_the_end(project):
    project.configure(due_once("job", "echo ran >> out"))
    project.anchor()
    tick = ["/bin/sh", "-c", 'ulimit -n 9; exec "$@"', "sh"] + project.command("tick")
    for _ in range(8):
        subprocess.call(tick, stderr=subprocess.DEVNULL, timeout=60)
        if project.wait_until(lambda: (project.root / "status" / "history").is_dir() and project.history(), 0.5):
            break
    verdict = project.history()[0]
    assert (verdict["status"], verdict["exit_code"]) in (("failed", 74), ("success", 0))
    assert verdict["status"] == "success" or verdict["reason"]
    assert len(project.lines("out")) == (verdict["status"] == "success")


def test_starts_that_are_lost_are_counted_and_fail_the_attempt(project):
    project.configure(due_once("job", "echo ran >> out", retry_count=1, retry_delay=3600))
    project.anchor()

    def lose(store, verb, spec, lock):
        lock.release()

    for _ in range(sc.STARTS_LOST + 1):
        sc.Conductor(sc.Store(str(project.root)), launch=lose).tick()
    cycle = project.state()["tasks"]["job"]["cycle"]
    assert (cycle["phase"], cycle["attempt"]) == ("retrying", 2)
    assert cycle["attempts"][0]["reason"] == (
        "its supervisor ended before it could start the command (3 times in a row)")
    assert "lost_starts" not in cycle


def test_starts_that_no_tick_can_make_are_a_failed_attempt_with_their_reason(project):
    project.configure(due_once("job", "echo ran >> out"))
    project.anchor()

    def fail(store, verb, spec, lock):
        lock.release()
        raise sc.StorageError.of("start", "the supervisor of job", OSError(errno.EAGAIN, "no process"))

    for _ in range(sc.STARTS_LOST):
        outcome = sc.Conductor(sc.Store(str(project.root)), launch=fail).tick()
        assert (outcome.exit_code, outcome.lines) == (74, ["job: cannot start the supervisor of job: no process"])
    project.tick()
    verdict, = project.history()
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 74)
    assert verdict["reason"] == "cannot start the supervisor of job: no process (3 times in a row)"


@pytest.mark.parametrize("name", ["logs/automation/job.log", "status/runs/job.json.tmp"])
def test_a_pipe_in_place_of_a_file_that_is_written_holds_up_nobody(project, name):
    project.configure(due_once("job", "echo ran >> out"))
    project.anchor()
    path = project.root / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.mkfifo(str(path))
    project.call("tick")
    log = project.root / "logs" / "symphony_conductor.log"
    assert project.wait_until(lambda: "No such device or address" in log.read_text())
    path.unlink()
    settled(project)
    assert len(project.history()) == 1


def test_an_end_that_cannot_be_written_down_is_told_and_a_signal_ends_the_wait(project):
    project.configure(every_minute("job", "mkdir status/runs/job.json.tmp"))
    process = subprocess.Popen(project.command("run", "--task", "job"), stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    line = process.stderr.readline().decode()
    assert "job: cannot record the end of run " in line and " yet: cannot write status/runs/job.json" in line
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert b"cannot record the end of run " in process.stderr.read()
    process.stderr.close()
    (project.root / "status" / "runs" / "job.json.tmp").rmdir()
    project.call("tick")
    assert statuses(project) == ["interrupted"]


def test_an_adopted_command_is_held_to_its_timeout_though_its_log_is_lost(project):
    project.configure(due_once("job", "echo begun >> out; sleep 60", timeout=2, kill_grace=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    record = project.running_record("job")
    os.kill(record["supervisor"], signal.SIGKILL)
    log = project.root / "logs" / "automation" / "job.log"
    log.unlink()
    log.mkdir()
    project.call("tick")
    assert nothing_lives(record)
    assert project.wait_until(lambda: (project.root / "status" / "history").is_dir() and project.history())
    assert statuses(project) == ["timeout"]
    assert "output lost: cannot open logs/automation/job.log: Is a directory" in project.read(
        "logs/symphony_conductor.log")


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
def test_what_cannot_be_said_changes_no_exit_code(project, stderr):
    project.write_config("{")
    for words, code in ((["tick"], 78), (["run", "--task", "job"], 78), (["pause"], 2)):
        command = ["/bin/sh", "-c", '"$@" ' + stderr, "sh"] + project.command(*words)
        assert subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) == code


def test_a_start_that_cannot_be_made_says_which_and_the_others_are_made(project):
    project.configure(due_once("first", "echo first >> out"), due_once("second", "echo second >> out"))
    project.anchor()

    def launch(store, verb, spec, lock):
        if spec["task"] == "first":
            raise sc.StorageError.of("start", "the supervisor of first", OSError(errno.EAGAIN, "no process"))
        sc.launch_supervisor(store, verb, spec, lock)

    outcome = sc.Conductor(sc.Store(str(project.root)), launch=launch).tick()
    assert outcome.exit_code == 74
    assert outcome.lines == ["first: cannot start the supervisor of first: no process"]
    assert project.wait_until(lambda: project.lines("out")) == ["second"]
    settled(project, "first")
    assert sorted(project.lines("out")) == ["first", "second"]


def test_a_run_by_hand_does_not_take_its_own_lock_for_that_of_another(project):
    project.configure(due_once("job", "echo ran >> out"))
    assert project.call("run", "--task", "job") == (0, "", "")
    (project.root / "conductor_state.json").write_text("damaged")
    assert project.call("run", "--task", "job")[0] == 0
    assert "never started" not in project.read("logs/symphony_conductor.log")
    assert statuses(project) == ["success", "success"]


def test_after_a_fallback_a_held_lock_is_a_run_of_the_slot(project):
    """The newest state is damaged while a supervisor has not written its record yet."""
    project.configure(due_once("job", "echo ran >> out"), max_concurrent_tasks=1)
    project.anchor()
    store = sc.Store(str(project.root))
    started = []

    def hold(_store, _verb, spec, lock):
        started.append((spec, os.dup(lock.fd)))  # as its supervisor inherits it
        lock.release()

    sc.Conductor(store, launch=hold).tick()
    (spec, lock_fd), = started
    (project.root / "conductor_state.json").write_text("damaged")
    for _ in range(2):
        sc.Conductor(store, launch=hold).tick()
    assert len(started) == 1, "its lock is held, so it runs"
    assert json.loads(project.call("status")[1])["running_now"] == 1
    record = dict(spec, env={}, pid=sc.NO_PID, pid_start="", boot_id=sc.current_boot_id(), supervisor=os.getpid(),
                  started_mono=0.0)
    result = {"status": "success", "exit_code": 0, "ended_at": time.time()}
    store.write_run("job", dict(record, result=result))
    os.close(lock_fd)
    for _ in range(2):
        sc.Conductor(store, launch=hold).tick()
    assert len(started) == 1
    verdict, = project.history()
    assert (verdict["status"], verdict["run_id"], verdict["scheduled_for"]) == (
        "success", spec["run_id"], spec["scheduled_for"])


# -- the root folder and its lock

def test_a_root_that_is_renamed_takes_its_run_along(project):
    project.configure(due_once("job", "echo ran >> out; while ! test -e go; do sleep 0.05; done"),
                      due_once("after", "pwd >> where", dependencies=["job"]))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    moved = Project(str(project.root) + " moved")
    shutil.rmtree(str(moved.root))
    os.rename(str(project.root), str(moved.root))
    project.root.mkdir(mode=0o700)  # and another one takes the name
    (moved.root / "go").write_text("")
    assert moved.wait_until(lambda: moved.lines("where")) == [str(moved.root)]
    moved.wait_for_idle()
    assert statuses(moved) == ["success", "success"]
    assert list(project.root.iterdir()) == []
    assert moved.call("tick") == (0, "", "")
    assert moved.lines("out") == ["ran"]


def test_a_task_that_locks_its_own_folder_stops_no_tick(project):
    wait = "while ! test -e go; do sleep 0.05; done"
    project.configure(due_once("backup", "exec 3<. && flock 3 && touch locked && " + wait),
                      due_once("other", "echo ran >> out", dependencies=["first"]), due_once("first", "true"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: (project.root / "locked").exists())
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]
    assert project.call("tick") == (0, "", "")
    (project.root / "go").write_text("")
    project.wait_for_idle()


def test_a_tick_that_gives_way_for_too_long_says_so(project):
    project.configure(due_once("job", "echo ran >> out"))
    project.anchor()
    path = project.root / "conductor.pid"
    with open(str(path)) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert project.call("tick") == (0, "", ""), "cron starts ticks in bursts"
        for name in ("conductor.pid", "status/heartbeat"):
            os.utime(str(project.root / name), (time.time() - 600, time.time() - 600))
        code, out, err = project.call("tick")
    assert (code, out) == (75, "")
    assert err == ("symphony_conductor: conductor.pid is locked by another process, and no tick has completed "
                   "since %s (to find it: fuser %s)\n" % (sc.iso(path.stat().st_mtime), path))
    assert project.call("tick")[0] == 0


def test_either_lock_file_may_be_deleted_under_its_holder(project):
    for name in ("conductor.pid", "status/locks/.tick.lock"):
        first, second = sc.Store(str(project.root)).lock, sc.Store(str(project.root)).lock
        assert first.acquire()
        (project.root / name).unlink()
        assert not second.acquire()
        first.release()
        assert second.acquire()
        second.release()


def test_a_tick_whose_lock_was_taken_away_decides_nothing(project, monkeypatch):
    project.configure(due_once("job", "echo ran >> out"))
    project.anchor()
    before = project.read("conductor_state.json")
    decide = sc.decide

    def meanwhile(*facts, **more):
        for name in ("conductor.pid", "status/locks/.tick.lock"):
            (project.root / name).unlink()
        return decide(*facts, **more)

    monkeypatch.setattr(sc, "decide", meanwhile)
    with pytest.raises(sc.BusyError, match="conductor.pid was removed while it was locked; nothing was decided"):
        project.tick()
    monkeypatch.setattr(sc, "decide", decide)
    assert project.read("conductor_state.json") == before
    project.tick()
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]


# -- trees

ESCAPES = {
    "setsid": "setsid sleep 99.%(n)d & sleep 60",
    "a double fork": "(setsid sh -c 'sleep 99.%(n)d & exit' & ); sleep 60",
    "a daemon that ignores SIGTERM": "(setsid sh -c 'trap \"\" TERM; sleep 99.%(n)d; sleep 99.%(n)d' &); sleep 60",
}


def running(words, at_start=False):
    """The pids of processes with these words in their arguments, or as the first of them."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = pathlib.Path("/proc/%s/cmdline" % name).read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if words in text and "pytest" not in text and (text.startswith(words) or not at_start):
            found.append(int(name))
    return found


def is_gone(pid):
    """Whether a process has ended; not everywhere does the first one reap."""
    process = sc.process_of(pid)
    return process is None or process.is_dead


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")


@needs_proc
@pytest.mark.parametrize("escape", sorted(ESCAPES))
@pytest.mark.parametrize("subreaper", [True, False], ids=["subreaper", "by its environment"])
def test_what_leaves_the_group_is_ended_before_the_next_attempt(project, escape, subreaper, monkeypatch):
    mark = os.getpid()
    command = "date +%%s.%%N >> begun; test $SYMPHONY_ATTEMPT = 2 && exit 0; " + ESCAPES[escape]
    project.configure(due_once("job", command % {"n": mark}, timeout=1, kill_grace=0.5, retry_count=1, retry_delay=0))
    project.anchor()
    if subreaper:
        project.call("tick")
    else:
        monkeypatch.setattr(sc, "BOOT_CODE", "import sys; sys.path.append(%s); import %s as c; "
                            "c.become_subreaper = lambda: False; c.command_line()")
        project.tick()
    assert project.wait_until(lambda: project.lines("begun"))
    seen = []
    assert project.wait_until(lambda: seen.append(len(running("sleep 99.%d" % mark))) or project.history())
    assert max(seen) >= 1
    assert running("sleep 99.%d" % mark) == []
    verdict, = project.history()
    assert (verdict["status"], verdict["attempts"][0]["status"]) == ("success", "timeout")


@needs_proc
def test_what_a_failed_command_left_behind_holds_the_retry(project):
    project.configure(due_once("job", "echo $SYMPHONY_ATTEMPT >> begun; test $SYMPHONY_ATTEMPT = 2 && exit 0; "
                               "setsid sh -c 'while ! test -e go; do sleep 0.05; done; echo left >> begun' & exit 3",
                               retry_count=1, retry_delay=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("begun"))
    record = project.running_record("job")
    assert project.wait_until(lambda: is_gone(record["pid"]))
    path = project.root / "status" / "runs" / "job.json"
    assert project.wait_until(lambda: "unended" in json.loads(path.read_text()))
    project.call("tick")
    assert "run" in project.state()["tasks"]["job"]
    problems = json.loads(project.call("status")[1])["problems"]
    assert [text for text in problems if text.startswith("job failed at 2") and " and left processes running: " in text]
    (project.root / "go").write_text("")
    assert project.wait_until(project.history)
    assert project.lines("begun") == ["1", "left", "2"]
    verdict, = project.history()
    assert verdict["attempts"][0]["exit_code"] == 3


@needs_proc
def test_what_a_successful_command_left_behind_stays(project):
    project.configure(due_once("job", "setsid sh -c 'echo $$ >> pid; exec sleep 60' & "
                               "while ! test -s pid; do sleep 0.05; done", retry_count=1))
    project.anchor()
    project.call("tick")
    assert project.wait_until(project.history)
    project.wait_for_idle()
    assert statuses(project) == ["success"]
    pid = int(project.lines("pid")[0])
    assert sc.process_of(pid) is not None
    os.kill(pid, signal.SIGKILL)


@needs_proc
def test_a_run_that_a_command_let_go_is_not_of_its_tree(project):
    """A run by hand within a command starts what waits for it: that supervisor falls to the command's own."""
    by_hand = " ".join(map("'%s'".__mod__, project.command("run", "--task", "gate"))).replace(
        "'%s'" % IMPORTED, '"$CODE"')
    project.configure(
        due_once("first", by_hand + "; sleep 60", timeout=3, kill_grace=0, env={"CODE": IMPORTED}),
        due_once("other", "echo ran >> out; while ! test -e go; do sleep 0.05; done", dependencies=["gate"]),
        {"name": "gate", "command": "true"})
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]
    # The history is written after the start.
    verdicts = project.wait_until(project.history)
    assert [one["task"] for one in verdicts] == ["gate"], "and the first is still running"
    assert project.wait_until(lambda: any(one["status"] == "timeout" for one in project.history()))
    (project.root / "go").write_text("")
    assert project.wait_until(lambda: len(project.history()) == 3)
    assert project.history()[-1]["task"] == "other" and statuses(project)[-1] == "success"


@needs_proc
def test_a_word_in_its_arguments_makes_no_process_one_of_ours(project):
    project.configure(due_once("job", "echo $SYMPHONY_ATTEMPT >> begun; test $SYMPHONY_ATTEMPT = 2 && exit 0; "
                               "setsid sh -c 'while ! test -e go; do sleep 0.05; done' deliver supervise & exit 3",
                               retry_count=1, retry_delay=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("begun"))
    record = project.running_record("job")
    assert project.wait_until(lambda: is_gone(record["pid"]))
    project.call("tick")
    assert "run" in project.state()["tasks"]["job"]
    (project.root / "go").write_text("")
    assert project.wait_until(project.history)
    assert project.lines("begun") == ["1", "2"]


@needs_proc
def test_a_run_by_hand_ends_nothing_that_was_there_before(project):
    """The background job of the caller, and what the run before it left behind."""
    project.configure(due_once("first", "setsid sh -c 'echo $$ >> pids; exec sleep 60' & sleep 0.3"),
                      due_once("second", "sleep 60", dependencies=["first"], timeout=1, kill_grace=0))
    shell = ["/bin/sh", "-c", 'sleep 61 & echo $! >> pids; exec "$@"', "sh"]
    assert subprocess.call(shell + project.command("run", "--task", "second", "--with-dependencies"),
                           cwd=str(project.root), stdin=subprocess.DEVNULL) == 124
    pids = [int(line) for line in project.lines("pids")]
    assert len(pids) == 2 and all(sc.process_of(pid) is not None for pid in pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_the_dead_that_fall_to_a_supervisor_are_reaped(project):
    if not shutil.which("ps"):
        pytest.skip("there is no ps (tests/run installs it)")
    project.configure(due_once("job", "for i in 1 2 3 4 5; do (setsid true &); done; sleep 0.5; "
                               "ps -o stat=,ppid= -A > table; exit 0"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(project.history)
    supervisor = project.running_record("job")["supervisor"]
    rows = [line.split() for line in project.lines("table")]
    assert rows and not [row for row in rows if row[0].startswith("Z") and row[1] == str(supervisor)]


# -- what cannot be seen, and what cannot be ended

AS_ROOT = """
#include <unistd.h>
int main(int count, char **words) {
    if (setgid(0) || setuid(0)) return 1;
    execv("/bin/sleep", words);
    return 2;
}
"""
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"


class Box:
    """A project of an ordinary user, with a program that goes on as root, as sudo does."""

    def __init__(self, folder):
        folder.chmod(0o755)
        shutil.copy(str(SCRIPT), str(folder / "symphony_conductor.py"))
        source = folder / "asroot.c"
        source.write_text(AS_ROOT)
        self.program = folder / ("asroot%d" % os.getpid())
        subprocess.check_call(["gcc", "-o", str(self.program), str(source)])
        self.program.chmod(0o4755)
        self.script = folder / "symphony_conductor.py"
        self.project = Project(folder / "project")

    def configure(self, *tasks):
        self.project.configure(*tasks)
        for path in [self.project.root] + list(self.project.root.rglob("*")):
            os.chown(str(path), NOBODY, NOBODY)

    def call(self, *words, **more):
        """Run the conductor as the ordinary user; with `hidden`, where /proc shows no one else's processes."""
        command = [SYSTEM_PYTHON, "-I", "-S", str(self.script), "--root", str(self.project.root)] + list(words)
        if more.get("hidden"):
            drop = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"] + command
            command = ["unshare", "-m", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"] + drop
        else:
            command = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"] + command
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              cwd="/", timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def anchor(self):
        """A first tick, three minutes ago."""
        code = ("import sys, time; sys.path.insert(0, %r); import symphony_conductor as c\n"
                "class Past(c.Clock):\n"
                "    def now(self): return time.time() - 150\n"
                "c.Conductor(c.Store(%r), Past()).tick()" % (str(self.script.parent), str(self.project.root)))
        subprocess.check_call(["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups",
                               SYSTEM_PYTHON, "-I", "-S", "-c", code], cwd="/")

    def copies(self):
        """The pids of the program, not those of a shell that is to start it."""
        return running(str(self.program), at_start=True)

    def end_copy(self):
        """Kill the program, and wait until it is reaped: hidden, a zombie looks as if it lived."""
        pid = self.copies()[0]
        os.kill(pid, signal.SIGKILL)
        if not self.project.wait_until(lambda: sc.process_of(pid) is None, 60):
            pytest.skip("the first process does not reap here")


@pytest.fixture
def box():
    missing = [name for name in ("gcc", "setpriv", "unshare") if not shutil.which(name)]
    if not ROOT or missing or not os.access(SYSTEM_PYTHON, os.X_OK):
        pytest.skip("this takes root, gcc, setpriv, unshare and %s" % SYSTEM_PYTHON)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="symphony-box.", dir="/var/tmp"))
    made = Box(folder)
    if subprocess.call(["unshare", "-m", "mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"]):
        pytest.skip("/proc cannot be mounted here")
    yield made
    for pid in set(running(str(folder)) + running(made.program.name)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    made.project.wait_until(lambda: not running(str(folder)))
    shutil.rmtree(str(folder), ignore_errors=True)


def test_a_command_that_is_hidden_lives(box):
    box.configure(due_once("job", [str(box.program), "60"], retry_count=2, retry_delay=0))
    box.anchor()
    assert box.call("tick", hidden=True)[0] == 0
    assert box.project.wait_until(lambda: len(box.copies()) == 1)
    record = box.project.running_record("job")
    os.kill(record["supervisor"], signal.SIGKILL)
    for _ in range(3):
        assert box.call("tick", hidden=True) == (0, "", "")
    assert len(box.copies()) == 1
    assert "run" in box.project.state()["tasks"]["job"]
    box.end_copy()
    # The supervisor may have been killed before it logged the first start.
    log = "logs/automation/job.log"
    assert box.project.wait_until(lambda: " attempt=2 " in box.project.read(log)), box.project.read(log)


def test_what_cannot_be_ended_is_said_once_and_holds_the_retry(box):
    box.configure(due_once("job", [str(box.program), "60"], timeout=1, kill_grace=0, retry_count=1, retry_delay=0))
    box.anchor()
    assert box.call("tick")[0] == 0
    record = box.project.root / "status" / "runs" / "job.json"
    assert box.project.wait_until(lambda: record.exists() and "unended" in json.loads(record.read_text()))
    text = json.loads(record.read_text())["unended"]
    assert text.startswith("timed out at 2") and text.endswith(" but cannot be killed: 1 process of root")
    for _ in range(2):
        assert box.call("tick") == (0, "", "")
    document = json.loads(box.call("status")[1])
    assert not document["healthy"]
    assert "job %s; no further attempt starts until it is gone" % text in document["problems"]
    assert document["running_now"] == 1 and len(box.copies()) == 1
    log = box.project.read("logs/symphony_conductor.log")
    assert log.count("WARNING job: run ") == 1 and text + "; no further attempt starts until it is gone" in log
    os.kill(box.copies()[0], signal.SIGKILL)
    assert box.project.wait_until(lambda: box.project.read("logs/automation/job.log").count(" start run=") == 2)
    assert box.project.wait_until(lambda: "cycle" in box.project.state()["tasks"]["job"])
    assert box.project.state()["tasks"]["job"]["cycle"]["attempts"][0]["status"] == "timeout"


def hidden_group(monkeypatch, answer):
    """A process table that shows nothing, and a kernel that answers so when asked for the group."""
    def killpg(group, number):
        if answer is not None:
            raise answer
    monkeypatch.setattr(sc, "process_table", list)
    monkeypatch.setattr(os, "killpg", killpg)


HIDING = "setsid %s 60 </dev/null >/dev/null 2>&1 & sleep 0.5; exit 1"


def test_what_is_hidden_and_left_the_group_holds_the_retry(box):
    box.configure(due_once("job", HIDING % box.program, retry_count=2, retry_delay=0))
    box.anchor()
    assert box.call("tick", hidden=True)[0] == 0
    assert box.project.wait_until(lambda: len(box.copies()) == 1)
    record = box.project.running_record("job")
    assert box.project.wait_until(lambda: is_gone(record["pid"]))
    for _ in range(2):
        assert box.call("tick", hidden=True) == (0, "", "")
    assert len(box.copies()) == 1 and box.project.read("logs/automation/job.log").count(" start run=") == 1
    box.end_copy()
    assert box.project.wait_until(lambda: box.project.read("logs/automation/job.log").count(" start run=") == 2)


def test_who_adopts_a_command_goes_by_its_pipe_as_well(box):
    box.configure(due_once("job", "setsid %s 60 & while ! test -e go; do sleep 0.05; done" % box.program,
                           retry_count=1, retry_delay=0))
    box.anchor()
    assert box.call("tick", hidden=True)[0] == 0
    assert box.project.wait_until(lambda: len(box.copies()) == 1)
    record = box.project.running_record("job")
    os.kill(record["supervisor"], signal.SIGKILL)
    (box.project.root / "go").write_text("")
    assert box.project.wait_until(lambda: is_gone(record["pid"]))
    for _ in range(2):
        assert box.call("tick", hidden=True) == (0, "", "")
    assert len(box.copies()) == 1 and "run" in box.project.state()["tasks"]["job"]


@pytest.mark.parametrize("answer, lives", [(None, True), (PermissionError(), True), (ProcessLookupError(), False)])
def test_only_the_kernels_no_proves_that_a_group_is_gone(monkeypatch, answer, lives):
    hidden_group(monkeypatch, answer)
    assert sc.may_live(sc.Job(pid=4711, start="1")) is lives


def test_a_table_that_cannot_be_read_proves_nothing(monkeypatch):
    hidden_group(monkeypatch, ProcessLookupError())

    def fail():
        raise OSError(errno.EMFILE, "Too many open files", "/proc")

    monkeypatch.setattr(sc, "process_table", fail)
    with pytest.raises(OSError):
        sc.may_live(sc.Job(pid=4711, start="1"))


def test_a_dead_member_that_is_not_reaped_yet_is_no_life(monkeypatch):
    hidden_group(monkeypatch, None)
    monkeypatch.setattr(sc, "process_table", lambda: [sc.Process(pid=4711, group=4711, state="Z", start="1")])
    assert not sc.may_live(sc.Job(pid=4711, start="1"))


def test_who_holds_the_pipe_of_a_job_is_of_it(monkeypatch, tmp_path):
    hidden_group(monkeypatch, ProcessLookupError())
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    job = sc.Job(pid=4711, start="1", pipe=path)
    assert not sc.may_live(job)
    fd = os.open(path, os.O_RDWR)
    assert sc.may_live(job)
    os.close(fd)


# -- the terminal

def test_a_reader_that_takes_nothing_holds_up_no_timeout(project):
    project.configure(every_minute("noisy", "yes", timeout=1, kill_grace=0, max_output_bytes=100000))
    process = subprocess.Popen(project.command("run", "--task", "noisy"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert project.wait_until(lambda: statuses(project) if (project.root / "status" / "history").is_dir() else [], 15)
    assert statuses(project) == ["timeout"]
    assert process.wait(15) == 124
    said = process.stderr.read().decode()
    assert re.search(r"not all of the output could be shown: \d+ bytes were dropped because nothing was read "
                     r"for 5 seconds \(see logs noisy\)\n", said)
    process.stdout.close()
    process.stderr.close()


def test_output_that_cannot_be_shown_is_said_to_be_in_the_log(project):
    project.configure(every_minute("job", "echo hello"))
    done = subprocess.run(["/bin/sh", "-c", '"$@" >/dev/full', "sh"] + project.command("run", "--task", "job"),
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"symphony_conductor: not all of the output could be shown: "
                                              b"No space left on device (see logs job)\n")
    assert "hello\n" in project.read("logs/automation/job.log")


def test_a_reader_that_is_slow_gets_everything(project):
    project.configure(every_minute("job", "head -c 3000000 /dev/zero | tr '\\0' x"))
    reader = """
import sys, time
size = 0
while True:
    data = sys.stdin.buffer.read(400000)
    if not data:
        break
    size += len(data)
    time.sleep(0.05)
print(size)
"""
    done = subprocess.run(["/bin/sh", "-c", '"$@" | %s -c "$READER"' % sys.executable, "sh"]
                          + project.command("run", "--task", "job"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(os.environ, READER=reader), timeout=60)
    assert (done.stdout, done.stderr) == (b"3000000\n", b"")


def test_a_stopped_terminal_holds_up_nothing_and_ends_with_a_signal(project):
    project.configure(every_minute("noisy", "echo $$ > pid; yes", kill_grace=0.5, max_output_bytes=1000))
    master, slave = os.openpty()
    process = subprocess.Popen(project.command("run", "--task", "noisy"), stdin=subprocess.DEVNULL, stdout=slave,
                               stderr=subprocess.DEVNULL)
    os.close(slave)
    assert project.wait_until(lambda: project.lines("pid"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 128 + signal.SIGTERM
    assert statuses(project) == ["interrupted"]
    os.close(master)


def test_more_than_a_thousand_descriptors_are_no_hindrance(project):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < 2000:
        pytest.skip("so many descriptors are not allowed here")
    project.configure(due_once("job", "echo ran >> out; sleep 0.3"))
    project.anchor()
    many = ("import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, %d))\n"
            "for _ in range(1100): os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)\n"
            "os.execv(sys.argv[1], sys.argv[1:])" % limit[1])
    code = subprocess.call([sys.executable, "-c", many] + project.command("tick"), close_fds=False)
    assert code == 0
    assert project.wait_until(lambda: (project.root / "status" / "history").is_dir() and project.history())
    assert statuses(project) == ["success"] and project.lines("out") == ["ran"]


# -- output

@pytest.mark.parametrize("size, kept", [(150, 150), (200, 200), (201, 200), (100000, 200)])
def test_the_head_and_the_end_of_an_output_are_kept(tmp_path, size, kept):
    log = tmp_path / "log"
    output = sc.Output(os.open(str(log), os.O_WRONLY | os.O_CREAT), 100)
    data = bytes(97 + index % 26 for index in range(size))
    for start in range(0, size, 7):
        output.take(data[start:start + 7])
    output.write_end()
    output.close()
    text = log.read_bytes()
    assert text.startswith(data[:100]) and text.endswith(data[-min(100, size):])
    assert output.kept == kept
    line = b"\n--- %d bytes of output dropped here: max_output_bytes is 100\n" % (size - kept)
    assert (line in text) == (size > kept)


def test_a_module_that_cannot_be_imported_is_an_error_with_a_name(project):
    project.configure(due_once("job", "echo ran >> out"))
    project.anchor()
    code = IMPORTED.replace("c.command_line()", "sys.modules['difflib'] = None; c.command_line()")
    done = subprocess.run([sys.executable, "-c", code, "--root", str(project.root), "run", "--task", "jab"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 74
    assert done.stderr.startswith(b"symphony_conductor: the module difflib: cannot be imported (")


def test_an_error_without_a_place_gets_one():
    def fail():
        os.kill(os.getpid(), 9999)

    with pytest.raises(sc.StorageError) as caught:
        with sc.doing("signal", "the command of job"):
            fail()
    assert str(caught.value) == "cannot signal the command of job: Invalid argument"
    code = "import os, symphony_conductor as c; c.cmd_tick = lambda s, a: c.close_quietly(os.kill(os.getpid(), 9999))"
    done = subprocess.run([sys.executable, "-c", IMPORTED.replace("import symphony_conductor as c", code), "tick"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert done.returncode == 74
    assert done.stderr == b"symphony_conductor: in func(): Invalid argument\n"


def test_a_record_of_what_lives_is_told_by_its_fields(project):
    project.configure(due_once("job", "sleep 60"))
    project.anchor()
    project.call("tick")
    path = project.root / "status" / "runs" / "job.json"
    assert project.wait_until(path.exists)
    record = json.loads(path.read_text())
    assert may_live(record)
    for pid in (-1, 0, 1):  # kill(2): those mean others
        assert sc.job_of(dict(record, pid=pid), "", "").pid == sc.NO_PID
    assert (record["version"], record["by"], record["root"]) == (1, sc.__version__, str(project.root))
    os.kill(record["supervisor"], signal.SIGTERM)
    project.wait_for_idle()


@pytest.mark.parametrize("place, shown", [
    (".", "the root folder"), ("./", "the root folder"), ("./a", "a"), ("/x", "/x")])
def test_an_error_names_the_held_root_in_words(place, shown):
    error = sc.StorageError.of("stat", place, OSError(errno.EIO, "Input/output error"))
    assert str(error) == "cannot stat %s: Input/output error" % shown


# -- what the kernel and ps say

STAT = "%d (a) b) S 1 7 7 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 %s 1\n"


@pytest.mark.parametrize("text, is_told", [
    (STAT % (4194305, "100"), True), ("", True), ("4194305 (a", True),
    (STAT.replace(" 7 7 ", " 7x 7 ") % (4194305, "100"), False)])
def test_a_process_whose_line_cannot_be_read_is_not_gone(tmp_path, monkeypatch, text, is_told):
    monkeypatch.setattr(sc, "PROC", str(tmp_path))
    (tmp_path / "self").mkdir()
    (tmp_path / "4194305").mkdir()
    (tmp_path / "4194305" / "stat").write_text(text)
    if is_told:
        assert [process.group for process in sc.process_table()] == [7] * (text == STAT % (4194305, "100"))
        return
    with pytest.raises(OSError):
        sc.process_table()


@pytest.mark.parametrize("line", ["  1 0 ? Ss Mon Jun  2 10:00:00 2025", "x 0 1 Ss Mon Jun  2 10:00:00 2025"])
def test_a_line_of_ps_that_cannot_be_read_leaves_no_process_out(line):
    with pytest.raises(OSError):
        sc._parse_ps("  7 1 7 S Mon Jun  2 10:00:00 2025\n%s\n" % line)


@pytest.mark.parametrize("uptime", ["nan 1\n", "inf 1\n", "soon\n", "1,5 2\n"])
def test_an_uptime_that_is_none_is_no_time_of_the_boot(tmp_path, monkeypatch, uptime):
    monkeypatch.setattr(sc, "PROC", str(tmp_path))
    (tmp_path / "uptime").write_text(uptime)
    with pytest.raises(sc.StorageError) as caught:
        sc.boot_time(1748944800.0)
    assert str(caught.value) == (
        "cannot tell when this machine was booted: %s/uptime is not as proc(5) has it" % tmp_path)


def test_a_cgroup_that_lists_what_are_no_numbers_is_not_empty(tmp_path):
    (tmp_path / "cgroup.procs").write_text("12\nx\n")
    with pytest.raises(OSError):
        sc.cgroup_pids(str(tmp_path))
