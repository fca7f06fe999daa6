"""A supervisor is a fork of the process that decides: what it lets go of, and what it is taken for."""

import os
import pathlib
import re
import resource
import shutil
import signal
import sys
import time

import pytest
from support import (
    IMPORTED,
    due_once,
    every_minute,
    finished,
    is_alive,
    nothing_lives,
    sc,
    wait_until,
)

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")


def supervisors(project):
    """task -> (pid, arguments) of the supervisors that run for this root."""
    mark = b"SYMPHONY_MARK=" + sc.Store(str(project.root)).mark("").encode()
    found = {}
    for process in sc.process_table() or []:
        try:
            line = pathlib.Path("/proc/%d/cmdline" % process.pid).read_bytes()
            environment = environment_of(process.pid)
        except OSError:
            continue
        words = line.decode("utf-8", "replace").rstrip("\0").split("\0")
        if "supervise" in words and any(entry.startswith(mark) for entry in environment):
            at = words.index("supervise")
            name = next(word for word in words[at + 2:] if not word.isdigit())
            found[name] = (process.pid, words)
    return found


def environment_of(pid):
    return pathlib.Path("/proc/%d/environ" % pid).read_bytes().rstrip(b"\0").split(b"\0")


def descriptors_of(pid):
    folder = "/proc/%d/fd" % pid
    return {int(fd): os.readlink("%s/%s" % (folder, fd)) for fd in os.listdir(folder)}


def started(project, *names):
    assert project.wait_until(lambda: all(project.lines(name + ".out") for name in names))


def end(project, *names):
    for name in names:
        (project.root / ("go-" + name)).touch()


def waiting(name, ending="true", **more):
    return due_once(name, "echo $SYMPHONY_MARK >> {0}.out; while ! test -e go-{0}; do sleep 0.05; done; {1}".format(
        name, ending), **more)


@needs_proc
def test_ps_shows_what_a_forked_supervisor_supervises(project):
    project.configure(waiting("first"), waiting("second"))
    project.anchor()
    assert project.call("tick") == (0, "", "")
    started(project, "first", "second")
    for name, (pid, words) in supervisors(project).items():
        run_id = project.state()["tasks"][name]["run"]["run_id"]
        assert words[:5] == ["symphony_conductor.py", "supervise", "start", name, run_id]
        assert words[5:] in ([], ["--root=%s" % project.root])
        assert environment_of(pid) == [b"SYMPHONY_MARK=" + project.lines(name + ".out")[0].encode()]
        # It is found by its environment and by its arguments, as one that was started anew is.
        assert sc.run_in_process_table(str(project.root), run_id, "")
    end(project, "first", "second")
    project.wait_for_idle()


@needs_proc
def test_a_forked_supervisor_lets_go_of_all_that_is_not_its_own(project):
    project.configure(*[waiting("job-%d" % number) for number in range(10)], max_concurrent_tasks=10)
    project.anchor()
    names = ["job-%d" % number for number in range(10)]
    assert project.call("tick") == (0, "", "")
    started(project, *names)
    found = supervisors(project)
    assert sorted(found) == names
    for name, (pid, _) in found.items():
        run_id = project.state()["tasks"][name]["run"]["run_id"]
        own = {str(project.root / path) for path in (
            "logs/automation/%s.log" % name, "status/locks/%s.lock" % name,
            "status/runs/%s.%s.out" % (name, run_id))}

        def is_down_to_its_own(pid=pid, own=own):  # until the start is logged, there may be one more
            opened = descriptors_of(pid)
            files = {path for path in opened.values() if path.startswith(str(project.root))}
            return len(opened) == 8 and files == own and opened

        opened = project.wait_until(is_down_to_its_own)
        assert opened, "and a pipe for its signals: %r" % descriptors_of(pid)
        assert [opened[fd] for fd in (0, 1, 2)] == [os.devnull] * 3
        assert os.getsid(pid) == os.getpgid(pid) == pid
    assert project.call("tick") == (0, "", ""), "the conductor's lock is free"
    end(project, *names)
    project.wait_for_idle()


@needs_proc
def test_a_supervisor_that_starts_the_next_run_keeps_its_own_name_and_gives_the_next_its_own(project):
    project.configure(waiting("first"), waiting("second", dependencies=["first"]))
    project.anchor()
    project.call("tick")
    started(project, "first")
    before = supervisors(project)["first"]
    end(project, "first")
    started(project, "second")
    pid, words = supervisors(project)["second"]
    assert words[:4] == ["symphony_conductor.py", "supervise", "start", "second"] and pid != before[0]
    assert environment_of(pid) == [b"SYMPHONY_MARK=" + project.lines("second.out")[0].encode()]
    end(project, "second")
    project.wait_for_idle()


@needs_proc
def test_a_supervisor_whose_lock_was_removed_is_not_replaced(project):
    project.configure(waiting("first"))
    project.anchor()
    project.call("tick")
    started(project, "first")
    before = supervisors(project)
    shutil.rmtree(str(project.root / "status" / "locks"))
    for _ in range(2):
        assert project.call("tick") == (0, "", "")
    assert supervisors(project) == before
    end(project, "first")
    project.wait_for_idle()
    assert [record["status"] for record in project.history()] == ["success"]
    assert "adopted" not in (project.root / "logs" / "automation" / "first.log").read_text()


@needs_proc
def test_kill_9_of_one_forked_supervisor_leaves_the_others_alone_and_its_command_is_adopted(project):
    project.configure(waiting("killed", retry_count=0), waiting("other"))
    project.anchor()
    project.call("tick")
    started(project, "killed", "other")
    found = supervisors(project)
    os.kill(found["killed"][0], signal.SIGKILL)
    assert project.wait_until(lambda: not is_alive(found["killed"][0]))
    assert project.call("tick")[0] == 0
    assert project.wait_until(lambda: "killed" in supervisors(project))
    pid, words = supervisors(project)["killed"]
    assert words[1:4] == ["supervise", "adopt", "killed"]
    assert supervisors(project)["other"] == found["other"]
    end(project, "killed", "other")
    project.wait_for_idle()
    assert sorted((verdict["task"], verdict["status"]) for verdict in project.history()) == [
        ("killed", "interrupted"), ("other", "success")]
    assert len(project.lines("killed.out")) == 1


def adopted_without_its_number(project):
    """Have a tick adopt `job` as if its supervisor had been killed just after the start."""
    store = sc.Store(str(project.root))
    record = project.running_record("job")
    os.kill(record["supervisor"], signal.SIGKILL)
    assert project.wait_until(lambda: not is_alive(record["supervisor"]))
    store.write_run("job", dict(record, pid=sc.NO_PID, pid_start=""))
    assert project.call("tick")[0] == 0
    return store, record


@needs_proc
def test_a_command_whose_supervisor_died_before_it_had_its_number_on_record_is_adopted(project):
    """The number of a process that posix_spawn(3) started is on record only after it runs."""
    project.configure(waiting("job"))
    project.anchor()
    project.call("tick")
    started(project, "job")
    store, record = adopted_without_its_number(project)
    assert project.wait_until(lambda: supervisors(project)["job"][1][2] == "adopt")
    for _ in range(2):
        assert project.call("tick")[0] == 0
    assert len(project.lines("job.out")) == 1 and project.state()["tasks"]["job"]["run"]
    end(project, "job")
    project.wait_for_idle()
    assert [verdict["status"] for verdict in project.history()] == ["interrupted"]
    assert nothing_lives(record), "who settled it ends a moment later"


@needs_proc
def test_of_a_command_adopted_without_its_number_what_hides_in_its_group_is_waited_for(project):
    """It has no mark, no parent and none of the output: only the group of the command tells."""
    hides = ("import os, time\nif os.fork() == 0:\n"
             "    os.dup2(os.open(os.devnull, os.O_RDWR), 1), os.dup2(1, 0), os.dup2(1, 2)\n"
             "    os.execve('/bin/sh', ['sh', '-c', 'while [ ! -e hidden.go ]; do sleep 0.05; done'], {})\n"
             "open('job.up', 'w').close()\n"
             "while not os.path.exists('job.go'):\n    time.sleep(0.05)\n")
    project.configure(due_once("job", command=[sys.executable, "-c", hides], retry_count=1, retry_delay=0,
                               timeout=600))
    project.anchor()
    project.call("tick")
    assert project.wait_until((project.root / "job.up").exists)
    store, record = adopted_without_its_number(project)
    assert project.wait_until(lambda: store.read_run("job")["pid"] == record["pid"])
    assert store.read_run("job")["pid_start"] == record["pid_start"]
    (project.root / "job.go").touch()
    assert project.wait_until(lambda: not is_alive(record["pid"]))
    assert project.call("tick")[0] == 0
    assert store.read_run("job")["run_id"] == record["run_id"] and "result" not in store.read_run("job")
    (project.root / "hidden.go").touch()
    assert project.wait_until(lambda: project.call("tick")[0] == 0 and project.history())
    project.wait_for_idle()
    assert [(verdict["attempt"], verdict["status"]) for verdict in project.history()] == [(2, "success")]
    assert nothing_lives(record)


@needs_proc
@pytest.mark.parametrize("why", ["no room", "old", "no access", "not held"])
def test_where_a_fork_could_not_be_told_from_its_parent_the_program_is_started_anew(project, why):
    project.configure(waiting("job"))
    project.anchor()
    code = {
        "no room": "c.ProcessTitle.has_room = lambda *_: False",
        "old": "c.FORK_FOR_S = -1",
        "no access": "c.ProcessTitle.of_this = lambda: None",
        "not held": "c.Store.hold = lambda self, is_here=False: None"}[why]
    program = IMPORTED.replace("c.command_line()", code + "\nc.command_line()")
    assert finished([sys.executable, "-c", program, "--root", str(project.root), "tick"]) == (0, "", "")
    name = "job"
    started(project, name)
    pid, words = supervisors(project)[name]
    assert "-I" in words and words[words.index("supervise"):][1] == "start" and name in words
    assert b"SYMPHONY_MARK=" + project.lines(name + ".out")[0].encode() in environment_of(pid)
    end(project, name)
    project.wait_for_idle()
    assert [verdict["status"] for verdict in project.history()] == ["success"]


STATE = ["conductor_state.json.tmp", "."]
DEFINITION = ["status/definitions/DEFINITION.json.tmp", "status/definitions"]
# What each process flushes to disk, in this order; cron/README.md says which promise needs it.
FLUSHED = {
    "tick": ["status/events.jsonl", "status"] + STATE + DEFINITION,
    "first": ["status/runs/first.json.tmp", "status/runs"] + STATE + DEFINITION,
    "second": ["status/runs/second.json.tmp", "status/runs", "status/automation_health/first.health",
               "status/history/DAY.jsonl", "status/automation_health", "status/history"] + STATE}


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")
def test_what_is_flushed_to_disk_is_what_a_promise_needs(project, tmp_path):
    """Of two runs, the second after the first: its decision drops the first one's verdict."""
    project.configure(due_once("first"), due_once("second", dependencies=["first"]))
    project.anchor()
    for folder in ("automation_health", "definitions", "history", "locks", "runs"):
        (project.root / "status" / folder).mkdir(mode=0o700, exist_ok=True)
    (project.root / "logs" / "automation").mkdir(mode=0o700, parents=True, exist_ok=True)
    trace = ["strace", "-ff", "-y", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=fsync,fdatasync,sync,syncfs"]
    assert finished(trace + project.command("tick")) == (0, "", "")
    project.wait_for_idle()
    flushed = {}
    for path in tmp_path.glob("trace.*"):
        names = [os.path.relpath(name, str(project.root))
                 for name in re.findall(r"(?m)^(?:f|fdata)?sync(?:fs)?\((?:\d+<(.*?)>)?", path.read_text())]
        names = [re.sub(r"[0-9a-f]{16}\.json", "DEFINITION.json", name) for name in names]
        names = [re.sub(r"\d{4}-\d\d-\d\d", "DAY", name) for name in names]
        who = re.findall(r"status/runs/(\w+)\.json", " ".join(names)) or ["tick"]
        if names:
            flushed[who[0]] = names
    assert flushed == FLUSHED


def test_ends_that_come_together_are_settled_together(project):
    names = ["job-%d" % number for number in range(6)]
    project.configure(*[waiting(name) for name in names], max_concurrent_tasks=6)
    project.anchor()
    project.call("tick")
    started(project, *names)
    lock = sc.Store(str(project.root)).lock
    assert lock.acquire(10)
    end(project, *names)
    store = sc.Store(str(project.root))
    assert project.wait_until(lambda: all("result" in (store.read_run(name) or {}) for name in names))
    lock.release()
    project.wait_for_idle()
    verdicts = [line for line in project.state()["pending"] if "status" in line]
    assert sorted(verdict["task"] for verdict in verdicts) == names, "of one commit"
    assert sorted(verdict["task"] for verdict in project.history()) == names


def test_an_end_that_nobody_can_settle_is_on_disk(project, monkeypatch):
    """Its result is flushed then; where it is settled at once, the state that has the verdict is."""
    project.configure(every_minute("job"))
    store = sc.Store(str(project.root))
    synced = []
    monkeypatch.setattr(sc, "SETTLE_LOCK_WAIT_S", 0)
    monkeypatch.setattr(sc, "sync_file", lambda path: synced.append(os.path.basename(path)))
    conductor = sc.Conductor(store)
    other = sc.Store(str(project.root)).lock
    supervisor = sc.Supervisor(store, sc.Clock(), sc.spec_of(
        store.read_config(), store.read_config().tasks["job"], sc.Run(run_id="20250602T100000Z-1", started_at=1.0)))
    result = supervisor.run()
    assert other.acquire(10)
    conductor._report(supervisor, result, store.task_lock("job"))
    assert synced == ["job.json"]
    other.release()
    del synced[:]
    # Without a configuration nothing is decided. Where it is, the list of what is flushed has no result.
    project.write_config("{")
    supervisor = sc.Supervisor(store, sc.Clock(), dict(supervisor.spec, run_id="20250602T100000Z-2"))
    conductor._report(supervisor, supervisor.run(), store.task_lock("job"))
    assert synced == ["job.json"]


@pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="Python has it from 3.8 on")
@pytest.mark.parametrize("fields, is_spawned", [
    ({}, True), ({"command": ["/bin/echo", "x"]}, True), ({"command": ["echo", "x"]}, False),
    ({"nice": 3}, False), ({"cwd": "config"}, False), ({"command": ["/no/such", "x"]}, False)])
def test_a_command_is_spawned_where_that_does_all_that_the_gate_does(project, fields, is_spawned, monkeypatch):
    gated = []
    start_gated = sc.start_gated
    monkeypatch.setattr(sc, "start_gated", lambda command: gated.append(command) or start_gated(command))
    project.configure(dict(every_minute("job", "echo x"), **fields))
    monkeypatch.chdir(str(project.root))
    store = sc.Store(str(project.root))
    store.hold()
    task = store.read_config().tasks["job"]
    run = sc.Run(run_id="20250602T100000Z-1", started_at=time.time())
    supervisor = sc.Supervisor(store, sc.Clock(), sc.spec_of(store.read_config(), task, run))
    result = supervisor.run()
    supervisor.close()
    assert bool(gated) != is_spawned
    assert result["exit_code"] == (127 if "/no/such" in task.command else 0)
    if result["exit_code"]:
        assert result["reason"] == "cannot start: '/no/such' does not exist (correct the path)"
    else:
        assert result["output_tail"] == "x\n"
    assert store.read_run("job")["pid"] not in (0, sc.NO_PID)


def test_a_plain_tick_needs_no_parser(project):
    project.configure(every_minute("job"))
    program = IMPORTED.replace("c.command_line()", "c.main()\nprint('argparse' in sys.modules)")
    for words, needs_it in ((["--root", "."], False), (["--root=."], False), (["--config=config/x", "--root=."], True)):
        command = [sys.executable, "-c", program] + words + ["tick"]
        assert finished(command, cwd=str(project.root))[1].endswith("%s\n" % needs_it)


def test_an_option_in_the_place_of_the_root_is_no_root(project):
    code, _, error = finished(project.command()[:-2] + ["--root", "--config", "tick"])
    assert (code, error.splitlines()[-1].split(": ", 1)[1]) == (
        2, "--root: expected one argument")


def test_waiting_is_not_polling(project):
    """A supervisor that has nothing to do sleeps in the kernel."""
    project.configure(waiting("job"))
    project.anchor()
    project.call("tick")
    started(project, "job")
    record = project.running_record("job")

    def switches():
        text = pathlib.Path("/proc/%d/status" % record["supervisor"]).read_text()
        return int(text.split("nonvoluntary_ctxt_switches")[0].rsplit("voluntary_ctxt_switches:", 1)[1])

    if os.path.isdir("/proc/self"):
        assert wait_until(lambda: pathlib.Path(
            "/proc/%d/stat" % record["supervisor"]).read_text().rsplit(")", 1)[1].split()[0] == "S")
        before = switches()
        time.sleep(0.5)
        assert switches() - before <= 1
    end(project, "job")
    project.wait_for_idle()


@needs_proc
def test_the_line_that_says_it_was_adopted_stands_on_a_line_of_its_own(project):
    project.configure(waiting("job", "echo end", retry_count=0))
    text = project.read("config/conductor_config.json").replace("while !", "printf half; while !")
    project.write_config(text)
    project.anchor()
    project.call("tick")
    started(project, "job")
    assert project.wait_until(lambda: "half" in project.read("logs/automation/job.log"))
    pid = supervisors(project)["job"][0]
    os.kill(pid, signal.SIGKILL)
    assert project.wait_until(lambda: not is_alive(pid))
    assert project.call("tick")[0] == 0
    assert project.wait_until(lambda: "adopted" in project.read("logs/automation/job.log"))
    end(project, "job")
    project.wait_for_idle()
    log = project.read("logs/automation/job.log")
    assert re.search(r"(?m)^half\n--- \S+ adopted run=.*\nend\n---", log)
    frames = re.findall(r"(?m)^--- .* (frame=[0-9a-f]{8})$", log)
    assert len(frames) == 3 and len(set(frames)) == 1


def test_a_variable_without_a_name_fails_the_attempt_and_not_its_supervisor(project):
    project.configure(due_once("job"))
    project.anchor()
    # env(1) passes no such variable on, but execve(2) does, and `os.environ` then has it.
    program = IMPORTED.replace("c.command_line()", "c.os.environ._data[b''] = b'x'\nc.command_line()")
    assert finished([sys.executable, "-c", program, "--root", str(project.root), "tick"]) == (0, "", "")
    assert project.wait_until(project.history)
    assert [(record["status"], record["reason"]) for record in project.history()] == [
        ("failed", "cannot start: /bin/sh: illegal environment variable name")]


@needs_proc
@pytest.mark.parametrize("fields", [{}, {"nice": 3}])
def test_a_command_blocks_no_signal_that_the_caller_blocks(project, fields):
    project.configure(due_once("job", "exec grep SigBlk: /proc/self/status", **fields))
    project.anchor()
    finished(project.command("tick"), preexec_fn=lambda: signal.pthread_sigmask(
        signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1]))
    assert project.wait_until(project.history)
    assert project.history()[0]["output_tail"].split() == ["SigBlk:", "0" * 16]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="elsewhere nothing is forked")
@pytest.mark.parametrize("spare", [18, 22, 28])
def test_a_batch_of_starts_needs_no_more_descriptors_than_one(project, spare):
    names = ["job-%02d" % number for number in range(30)]
    project.configure(*[due_once(name, "readlink /proc/$$/fd/2 > %s.out" % name) for name in names],
                      max_concurrent_tasks=30)
    project.anchor()
    limit = (len(names) + spare,) * 2
    assert finished(project.command("tick"), preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, limit)) == (0, "", "")
    project.wait_for_idle()
    assert sorted(record["task"] for record in project.history()) == names
    for name in names:  # by its name another supervisor can take the pipe up
        assert project.lines(name + ".out")[0].startswith(str(project.root / "status/runs" / name))


@pytest.mark.plain
@needs_proc
def test_a_fork_that_forks_shows_its_own_title_again(project):
    project.configure(due_once("job"))
    program = IMPORTED.replace("c.command_line()", """
import os, sys
store = c.Store(%r)
store.hold()
title = c.ProcessTitle.of_this()

def shown(name):
    with open("/proc/self/cmdline", "rb") as handle:
        text = handle.read().rstrip(b"\\0").replace(b"\\0", b" ")
    with open(name, "wb") as handle:
        handle.write(text)

def inner(detach_process):
    detach_process()
    shown("inner")
    return 0

def outer(detach_process):
    detach_process()
    c.fork_detached(store, title, ["inner"], "m", [], inner)
    os.wait()
    shown("outer")
    return 0

c.fork_detached(store, title, ["outer"], "m", [], outer)
os.wait()
shown("first")
""" % str(project.root))
    assert finished([sys.executable, "-c", program]) == (0, "", "")
    assert project.read("inner") == "inner" and project.read("outer") == "outer"
    assert project.read("first").startswith(sys.executable + " -c \nimport sys")


def test_the_end_of_a_run_goes_by_the_configuration_as_it_is_by_then(project):
    project.configure(waiting("first"), due_once("second", "echo old >> second.out", dependencies=["first"]))
    project.anchor()
    project.call("tick")
    started(project, "first")
    project.write_config(project.read("config/conductor_config.json").replace("echo old", "echo new"))
    end(project, "first")
    project.wait_for_idle()
    assert project.wait_until(lambda: project.lines("second.out")) == ["new"]


def test_the_end_of_a_run_goes_by_the_state_as_it_is_by_then(project):
    project.configure(waiting("first"), every_minute("rare", schedule="0 0 29 2 *"))
    project.anchor()
    project.call("tick")
    started(project, "first")
    assert project.call("pause", "rare")[0] == 0
    end(project, "first")
    project.wait_for_idle()
    assert list(project.state()["pauses"]) == ["rare"]
    assert [verdict["task"] for verdict in project.history()] == ["first"]


def test_the_conductors_lock_is_released_for_processes_forked_meanwhile_too(project):
    lock, other = sc.Store(str(project.root)).lock, sc.Store(str(project.root)).lock
    assert lock.acquire()
    gate, opener = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(opener)
        os.read(gate, 1)
        os._exit(0)
    lock.unlock()
    try:
        assert other.acquire(), "though a process still has its descriptors"
        other.release()
    finally:
        os.close(opener)
        os.close(gate)
        os.waitpid(pid, 0)
