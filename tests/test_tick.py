"""Ticks and supervisors as real processes: nothing runs twice, nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from support import (
    SCRIPT,
    HandClock,
    due_once,
    every_minute,
    is_alive,
    may_live,
    nothing_lives,
    settle,
)

import symphony_conductor as sc

FAST = "import sys; sys.path.append(%r); import symphony_conductor as c; c.command_line()" % str(SCRIPT.parent)


def fast_tick(project):
    """The arguments of a tick by way of cached bytecode, as the crontab line has it."""
    return [sys.executable, "-I", "-S", "-c", FAST, "--root=" + str(project.root), "tick"]


def test_a_due_task_runs_and_leaves_health_history_and_log(project):
    project.configure(due_once("hello", "echo hi there"))
    project.anchor()
    assert project.call("tick") == (0, "", "")
    project.wait_for_idle()
    assert project.wait_until(project.history)
    record = project.history()[0]
    assert (record["task"], record["status"], record["exit_code"]) == ("hello", "success", 0)
    assert (record["trigger"], record["attempt"], record["output_tail"]) == ("catch_up", 1, "hi there\n")
    assert project.health("hello") == "success:%s:0\n" % record["ended_at"]
    log = project.read(record["log"])
    assert "hi there\n" in log and log.count("--- ") == 2


def test_the_first_tick_starts_nothing(project):
    project.configure(every_minute("hello"))
    assert project.call("tick") == (0, "", "")
    assert "run" not in project.state()["tasks"]["hello"]
    assert not (project.root / "logs" / "automation").exists()


def test_a_dependent_starts_as_soon_as_its_dependency_ended(project):
    project.configure(due_once("second", "date +%s.%N >> out2", dependencies=["first"]),
                      due_once("first", "sleep 0.3; date +%s.%N >> out1"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out2"))
    project.wait_for_idle()
    assert float(project.lines("out2")[0]) >= float(project.lines("out1")[0])
    triggers = {record["task"]: record["trigger"] for record in project.history()}
    assert triggers["second"] == "dependency"


def test_a_failing_task_is_retried_without_waiting_for_a_tick(project):
    project.configure(due_once("flaky", "echo x >> tries; test $(wc -l < tries) -ge 3", retry_count=3,
                                   retry_delay=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(project.history)
    record = project.history()[0]
    assert (record["status"], record["attempt"], record["trigger"]) == ("success", 3, "retry")
    assert [past["exit_code"] for past in record["attempts"]] == [1, 1]
    assert len(project.lines("tries")) == 3


def test_a_hundred_ticks_at_once_over_twenty_due_tasks_run_each_exactly_once(project):
    project.configure(*[due_once("t%d" % n, "echo $SYMPHONY_SCHEDULED_FOR >> out%d; sleep 0.2" % n)
                        for n in range(20)], max_concurrent_tasks=4)
    project.anchor()
    ticks = [subprocess.Popen(fast_tick(project), stderr=subprocess.PIPE) for _ in range(100)]
    for tick in ticks:
        assert tick.communicate()[1] == b""
        assert tick.returncode == 0
    assert project.wait_until(lambda: len(project.history()) >= 20, 40)
    project.wait_for_idle()
    for n in range(20):
        assert len(project.lines("out%d" % n)) == 1
    assert sorted(record["task"] for record in project.history()) == sorted("t%d" % n for n in range(20))
    assert {record["status"] for record in project.history()} == {"success"}


def test_never_more_than_max_concurrent_tasks_run(project):
    project.configure(*[due_once("t%d" % n, "echo in >> log; sleep 0.3; echo out >> log") for n in range(6)],
                      max_concurrent_tasks=2)
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: len(project.lines("log")) >= 12, 40)
    depth = deepest = 0
    for line in project.lines("log"):
        depth += 1 if line == "in" else -1
        deepest = max(deepest, depth)
    assert deepest == 2


def test_ticks_while_a_task_runs_start_it_no_second_time(project):
    project.configure(every_minute("slow", "echo started >> out; sleep 3"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    now = time.time()
    for minute in range(1, 4):
        project.tick(now + 60 * minute)
    project.wait_for_idle()
    assert project.lines("out") == ["started"]
    statuses = [record["status"] for record in project.history()]
    assert statuses.count("success") == 1 and statuses.count("skipped_overlap") >= 3


def test_deleting_the_lock_and_the_state_while_a_task_runs_starts_it_no_second_time(project):
    project.configure(every_minute("slow", "echo started >> out; sleep 1.5", retry_count=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    (project.root / "conductor_state.json").unlink()
    (project.root / "conductor.pid").unlink()
    project.tick(time.time() + 60)
    project.tick(time.time() + 120)
    assert "run" in project.state()["tasks"]["slow"]
    project.wait_for_idle()
    assert project.lines("out") == ["started"]
    assert [record["status"] for record in project.history()].count("success") == 1


def test_a_run_whose_end_is_in_the_history_is_not_found_again_without_the_state(project):
    """A power cut may take from its record that it ended: that is flushed with the verdict alone."""
    project.configure(every_minute("a", "echo x >> ran", retry_count=1))
    project.anchor()
    project.tick()
    project.wait_until(lambda: project.history())
    path = project.root / "status" / "runs" / "a.json"
    record = json.loads(path.read_text())
    before = {key: value for key, value in record.items() if key not in ("result", "settled")}
    path.write_text(json.dumps(before))
    (project.root / "conductor_state.json").unlink()
    project.tick()
    assert [verdict["status"] for verdict in project.history()
            if verdict["run_id"] == record["run_id"]] == ["success"]
    assert "interrupted" not in project.read("logs/symphony_conductor.log")


def test_a_lock_file_deleted_under_its_holder_lets_no_second_one_in(project):
    first, second = sc.Store(str(project.root)).lock, sc.Store(str(project.root)).lock
    assert first.acquire()
    os.unlink(first.path)
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_a_task_lock_that_was_deleted_and_made_again_counts_as_the_new_file(tmp_path):
    first, second = sc.FileLock(str(tmp_path / "lock")), sc.FileLock(str(tmp_path / "lock"))
    assert first.acquire()
    os.unlink(first.path)
    assert second.acquire() and second.is_current()
    assert not first.is_current()


def test_a_tick_that_finds_the_lock_held_leaves_in_silence(project):
    project.configure(due_once("a", "echo ran >> out"))
    project.anchor()
    store = sc.Store(str(project.root))
    assert store.lock.acquire()
    started = time.monotonic()
    assert project.call("tick") == (0, "", "")
    assert time.monotonic() - started < 20
    assert project.lines("out") == []
    store.lock.release()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]


def test_the_callers_time_zone_moves_no_slot(project):
    hour = time.gmtime(time.time() - 3 * 3600)
    project.configure(every_minute("daily", "echo ran >> out", schedule="%d %d * * *" % (hour.tm_min, hour.tm_hour)),
                      every_minute("other", schedule="0 0 1 1 *"))
    project.anchor(ago=4 * 3600)
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    project.wait_for_idle()
    shell = dict(os.environ, TZ="Atlantic/Azores")
    for command in (["run", "--task", "other"], ["tick"]):
        assert project.call(*command, env=shell)[0] == 0
    assert project.call("tick")[0] == 0
    project.wait_for_idle()
    assert project.lines("out") == ["ran"]


def test_each_attempt_is_shown_by_the_health_file_and_each_slot_by_one_verdict(project):
    project.configure(due_once("job", "exit 3", retry_count=1, retry_delay=3600))
    project.anchor()
    project.call("tick")
    path = project.root / "status" / "automation_health" / "job.health"
    assert project.wait_until(path.exists)
    project.wait_for_idle()
    assert project.health("job").endswith(":3\n")
    assert project.history() == []
    stamp = path.stat().st_mtime_ns
    project.call("tick")
    assert path.stat().st_mtime_ns == stamp, "saying it again is not news"


def test_a_join_is_not_run_again_when_only_the_copy_before_is_left(project):
    project.configure(due_once("first"), every_minute("join", "echo ran >> out; sleep 1", dependencies=["first"]))
    document = json.loads(project.read("config/conductor_config.json"))
    del document["tasks"][1]["schedule"]
    project.write_config(json.dumps(document))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    (project.root / "conductor_state.json").write_bytes(b"\0" * 100)
    project.call("tick")
    project.wait_for_idle()
    project.call("tick")
    project.wait_for_idle()  # a run that had started would be in the state until its end
    assert project.lines("out") == ["ran"]


# -- killed supervisors

def kill_supervisor(project, record):
    os.kill(record["supervisor"], signal.SIGKILL)
    assert project.wait_until(lambda: not is_alive(record["supervisor"]))


def test_a_command_whose_supervisor_was_killed_is_adopted_and_not_doubled(project):
    project.configure(every_minute("job", "echo started >> out; echo one; sleep 2; echo two; echo done >> out"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    record = project.running_record("job")
    kill_supervisor(project, record)
    for minute in (1, 2):
        project.tick(time.time() + 60 * minute)
    assert may_live(record)
    project.wait_for_idle()
    assert project.lines("out") == ["started", "done"], "the command outlived its supervisor and wrote on"
    ended = [entry for entry in project.history() if entry["status"] != "skipped_overlap"]
    assert [entry["status"] for entry in ended] == ["interrupted"]
    log = project.read("logs/automation/job.log")
    assert "one\n" in log and "two\n" in log and "adopted" in log
    assert project.health("job").startswith("interrupted:")


def test_an_adopted_command_is_held_to_its_timeout(project):
    project.configure(due_once("job", "echo started >> out; sleep 60", timeout=2, kill_grace=0.5))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    record = project.running_record("job")
    kill_supervisor(project, record)
    project.tick(time.time() + 60)
    assert project.wait_until(lambda: any(entry["status"] == "timeout" for entry in project.history()))
    # The supervisor carries the run's mark as well, and has its own end before it.
    assert nothing_lives(record)


def test_a_command_that_died_with_its_supervisor_is_interrupted_and_retried(project):
    project.configure(due_once("job", "echo started >> out; test -e go || sleep 60", retry_count=1, retry_delay=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    record = project.running_record("job")
    os.kill(record["supervisor"], signal.SIGKILL)
    os.killpg(record["pid"], signal.SIGKILL)
    (project.root / "go").write_text("")
    assert nothing_lives(record)
    project.call("tick")
    assert project.wait_until(lambda: any(entry["status"] == "success" for entry in project.history()))
    entry = [entry for entry in project.history() if entry["status"] == "success"][0]
    assert [past["status"] for past in entry["attempts"]] == ["interrupted"]
    assert project.lines("out") == ["started", "started"]


def test_a_run_of_an_earlier_boot_is_interrupted_even_if_the_pid_lives(project):
    project.configure(due_once("job", "sleep 30"))
    project.anchor()
    project.call("tick")
    record = project.running_record("job")
    kill_supervisor(project, record)
    path = project.root / "status" / "runs" / "job.json"
    path.write_text(json.dumps(dict(record, boot_id="another boot")))
    project.tick(time.time() + 60)
    assert [entry["status"] for entry in project.history()][0] == "interrupted"


def test_a_reused_pid_fools_nobody():
    other = subprocess.Popen(["sleep", "30"], start_new_session=True)
    try:
        found = sc.process_of(other.pid)
        assert sc.may_live(sc.Job(pid=other.pid, start=found.start))
        assert not sc.may_live(sc.Job(pid=other.pid, start="1"))
    finally:
        other.kill()
        other.wait()
    assert not sc.may_live(sc.Job(pid=other.pid, start=found.start))


def test_a_supervisor_that_is_told_to_end_ends_its_command_and_says_so(project):
    project.configure(due_once("job", "echo started >> out; sleep 60", kill_grace=1))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    record = project.running_record("job")
    os.kill(record["supervisor"], signal.SIGTERM)
    assert project.wait_until(project.history)
    assert project.history()[0]["status"] == "interrupted"
    assert project.history()[0]["exit_code"] == 143
    assert nothing_lives(record)


def test_a_project_that_is_removed_while_a_task_runs_does_not_come_back(project):
    project.configure(due_once("job", "echo started >> out; sleep 0.7"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    record = project.running_record("job")
    shutil.rmtree(str(project.root))
    assert project.wait_until(lambda: not is_alive(record["supervisor"]))  # process 1 may take its time to reap
    assert not project.root.exists()


# -- the idle path

def test_an_idle_tick_notes_the_heartbeat_and_touches_nothing_else(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.call("tick")
    before = {path.name: path.stat().st_mtime_ns for path in project.root.iterdir() if path.is_file()}
    heartbeat = project.root / "status" / "heartbeat"
    os.utime(str(heartbeat), (time.time() - 60, time.time() - 60))
    project.call("tick")
    assert time.time() - heartbeat.stat().st_mtime < 30
    after = {path.name: path.stat().st_mtime_ns for path in project.root.iterdir() if path.is_file()}
    assert after == before


def idle(project, now=None, mono=None):
    path = str(project.root / "status" / "heartbeat").encode()
    return sc.nothing_to_do(path, now or time.time(), mono or time.monotonic())


@pytest.mark.parametrize("change", [
    lambda project: project.write_config(project.read("config/conductor_config.json") + " "),
    lambda project: (project.root / "config" / "conductor_config.json").chmod(0o640),
    lambda project: (project.root / "config" / "conductor_config.json").unlink(),
    lambda project: (project.root / "config" / "tasks.d").mkdir(),
    lambda project: (project.root / "conductor_state.json").unlink(),
    lambda project: (project.root / "conductor_state.json").write_text("x"),
    lambda project: (project.root / "status" / "heartbeat").unlink(),
    lambda project: (project.root / "status" / "heartbeat").write_text("garbage"),
    lambda project: (project.root / "status" / "heartbeat").write_text(""),
    lambda project: (project.root / "__pycache__").chmod(0o777),  # a tick refuses it, and says why
])
def test_any_change_of_the_files_ends_idleness(project, change, monkeypatch):
    monkeypatch.setattr(sc.Store, "compiled", str(project.root / "__pycache__"))
    (project.root / "__pycache__").mkdir(mode=0o700)
    settle(project.root / "__pycache__")
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.tick()
    project.tick()
    assert idle(project)
    change(project)
    assert not idle(project)


def test_a_file_that_changed_this_very_moment_is_looked_at_once_more(project, monkeypatch):
    """A drop-in that arrives in the same step of the file system's clock leaves the folder's mtime as it was."""
    folder = project.root / "config" / "tasks.d"
    folder.mkdir(mode=0o700)
    project.configure(every_minute("task", schedule="0 0 1 1 *"))
    monkeypatch.setattr(sc, "CLOCK_STEP_S", 0.9)  # a busy machine takes its time to get to the tick
    this_moment = time.time() + 0.8
    os.utime(str(folder), (this_moment, this_moment))
    project.tick()
    assert not idle(project)
    settle(folder)
    project.tick()
    assert idle(project)


def test_a_compiled_file_that_others_can_write_to_is_refused(project):
    shutil.copy(str(SCRIPT), str(project.root))
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    tick = [sys.executable, "-I", "-S", "-c", FAST.replace(str(SCRIPT.parent), str(project.root)), "tick"]
    for _ in range(2):
        assert subprocess.call(tick, cwd=str(project.root)) == 0
    assert idle(project)
    compiled, = (project.root / "__pycache__").glob("symphony_conductor.*.pyc")
    compiled.chmod(0o666)
    assert not idle(project)
    done = subprocess.run(tick, cwd=str(project.root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 78 and b"others can write to it" in done.stdout


def test_the_copy_of_a_root_does_not_go_by_the_files_of_the_original(project, tmp_path):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.tick()
    assert idle(project)
    copy = tmp_path / "copy"
    shutil.copytree(str(project.root), str(copy))
    assert not sc.nothing_to_do(str(copy / "status" / "heartbeat").encode(), time.time(), time.monotonic())
    link = tmp_path / "link"
    link.symlink_to(project.root)
    assert sc.nothing_to_do(str(link / "status" / "heartbeat").encode(), time.time(), time.monotonic())
    heartbeat = project.root / "status" / "heartbeat"
    heartbeat.write_text(heartbeat.read_text().splitlines()[0])
    assert not idle(project)


def test_another_compiled_file_is_no_other_configuration(project):
    shutil.copy(str(SCRIPT), str(project.root))
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    tick = [sys.executable, "-I", "-S", "-c", FAST.replace(str(SCRIPT.parent), str(project.root)), "tick"]
    assert subprocess.call(tick, cwd=str(project.root)) == 0
    project.write_config("null")
    said = []
    for _ in range(2):
        done = subprocess.run(tick, cwd=str(project.root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 78
        said.append(done.stdout.count(b"the document is not an object"))
        compiled, = (project.root / "__pycache__").glob("symphony_conductor.*.pyc")
        settle(compiled)
    assert said == [1, 0]


# An interpreter in which the class Value cannot be made, and what follows it in the file even less.
NO_VALUES = FAST.replace("import symphony", "import builtins; build = builtins.__build_class__; "
                         "builtins.__build_class__ = lambda body, name, *bases: "
                         "name != 'Value' and build(body, name, *bases); import symphony")


@pytest.mark.skipif(sys.version_info < (3, 10), reason="sys.orig_argv is new in Python 3.10")
def test_an_idle_tick_of_the_crontab_line_ends_before_the_values_are_made(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))

    def call(code):
        words = [sys.executable, "-I", "-S", "-c", code, "--root=" + str(project.root), "tick"]
        return subprocess.call(words, stderr=subprocess.DEVNULL)
    assert call(FAST) == 0
    assert idle(project)
    assert call(NO_VALUES) == 0
    (project.root / "status" / "heartbeat").unlink()
    assert call(NO_VALUES) == 1, "a whole tick needs them"


def test_an_import_by_any_other_program_never_ends_it(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    assert subprocess.call(fast_tick(project)) == 0
    assert idle(project)
    for code in ("%s; print('reached')" % FAST.replace("c.command_line()", "c.EXIT_OK"),
                 FAST.replace("; c.", "; print('reached'); c."),
                 FAST.replace(" as c; c.", " as d; print('reached'); d.")):
        command = [sys.executable, "-c", code, "--root=" + str(project.root), "tick"]
        assert subprocess.check_output(command) == b"reached\n", code


def test_another_start_of_the_container_ends_idleness(project, monkeypatch):
    monkeypatch.setattr(sc, "init_start_ticks", lambda: "7")
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.tick()
    assert idle(project)
    for ticks in ("700", "", "7"):
        monkeypatch.setattr(sc, "init_start_ticks", lambda ticks=ticks: ticks)
        assert not idle(project)
        project.tick()
        assert idle(project)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="takes root and unshare(1)")
def test_reboot_runs_once_for_each_start_of_a_container(project):
    """Three PID namespaces on one boot of the kernel, the first of them anchors."""
    shutil.copy(str(SCRIPT), str(project.root))
    project.configure(every_minute("boot", "echo up >> starts", schedule="@reboot"))
    tick = "%s symphony_conductor.py tick; %s symphony_conductor.py tick; " % (sys.executable, sys.executable)
    for starts in (0, 1, 2):
        time.sleep(0.02)  # the clock of process starts moves by hundredths of a second
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c",
                               tick + "while [ $(cat starts 2>&1 | grep -c up) != %d ]; do sleep 0.05; done; "
                               "while ls status/runs/*.tmp 2>/dev/null; do sleep 0.05; done; sleep 0.3" % starts],
                              cwd=str(project.root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
        assert (done.returncode, done.stdout) == (0, b"")
        assert project.lines("starts") == ["up"] * starts
    for verdict in project.history():
        assert abs(time.time() - (sc.from_iso(verdict["scheduled_for"]) or 0)) < 60, "not the boot of the host"


def test_time_ends_idleness(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.tick()
    now, mono = time.time(), time.monotonic()
    assert idle(project, now, mono)
    assert idle(project, now + 60, mono + 60)
    assert not idle(project, now + 120, mono), "the clock was set"
    assert not idle(project, now + 60, mono + 5), "a suspend or a reboot"
    os.utime(str(project.root / "status" / "heartbeat"), (now - 200, now - 200))
    assert not idle(project, now, mono), "a gap between the ticks is looked into"


def test_a_tick_is_not_idle_while_a_task_runs_or_a_slot_is_due(project):
    project.configure(every_minute("a", "sleep 1"))
    clock = HandClock(time.time())
    sc.Conductor(sc.Store(str(project.root)), clock).tick()
    due = sc.CronSchedule("* * * * *").next(clock.at)
    offset = clock.at - clock.mono
    assert idle(project, due - 0.5, due - 0.5 - offset)
    assert not idle(project, due, due - offset)


def test_drop_ins_are_read_and_their_edits_noticed(project):
    project.configure(every_minute("a"))
    folder = project.root / "config" / "tasks.d"
    folder.mkdir(mode=0o700)
    (folder / "one.json").write_text(json.dumps(every_minute("b", schedule="0 0 1 1 *")))
    (folder / "one.json").chmod(0o600)
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    settle(folder)
    settle(folder / "one.json")
    project.tick()
    assert set(project.state()["tasks"]) == {"a", "b"}
    assert idle(project)
    (folder / "one.json").write_text(json.dumps([every_minute("b", schedule="0 0 2 1 *")]))
    assert not idle(project)


def test_removing_the_status_folder_while_a_task_runs_starts_it_no_second_time(project):
    project.configure(due_once("job", "echo started >> out; sleep 1.5"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    shutil.rmtree(str(project.root / "status"))
    project.tick(time.time() + 60)
    project.wait_for_idle()
    assert project.lines("out") == ["started"]
    assert [record["status"] for record in project.history()] == ["success"]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"run_id": 5}', "[" * 50000, '{"result": {"ended_at": "x"}}'],
                         ids=["empty", "a list", "no fields", "a wrong type", "deep", "a wrong result"])
def test_a_damaged_record_of_a_run_is_an_interrupted_run(project, damage):
    project.configure(due_once("job", "echo started >> out; sleep 60"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: project.lines("out"))
    record = project.running_record("job")
    os.kill(record["supervisor"], signal.SIGKILL)
    os.killpg(record["pid"], signal.SIGKILL)
    assert nothing_lives(record)
    path = project.root / "status" / "runs" / "job.json"
    if damage.startswith('{"result"'):
        damage = json.dumps(dict(record, result={"ended_at": "x"}))
    path.write_text(damage)
    assert project.call("tick") == (0, "", "")
    assert [entry["status"] for entry in project.history()] == ["interrupted"]
    assert project.call("status")[0] == 0


def test_a_retry_waits_for_the_supervisor_that_is_about_to_release_the_lock(project):
    """Another decision may see a result on disk before its supervisor has released the lock."""
    project.configure(due_once("flaky", "false", retry_count=1, retry_delay=0))
    project.anchor()
    attempts = []

    def launch(store, verb, spec, lock):
        attempts.append(spec["attempt"])
        ended_at = sc.Clock().now()
        store.write_run("flaky", dict(
            spec, env={}, pid=sc.NO_PID, pid_start="", boot_id="", supervisor=1, started_mono=0.0,
            result={"status": "failed", "exit_code": 1, "ended_at": ended_at}))
        threading.Timer(0.1, os.close, [os.dup(lock.fd)]).start()

    for _ in range(2):
        sc.Conductor(sc.Store(str(project.root)), launch=launch).tick()
    assert attempts == [1, 2]
