"""Commands as real process groups: timeouts, output, environment, exit codes."""

import errno
import fcntl
import os
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time

import pytest
from support import HandClock, due_once, every_minute

import symphony_conductor as sc


def run(project, command, *options, **fields):
    project.configure(every_minute("job", command, **fields))
    return project.call("run", "--task", "job", *options)


STUBBORN = """
trap '' TERM
sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 0.1; done' &
sh -c 'trap "" TERM; sh -c "trap \\"\\" TERM; echo \\$\\$ >> pids; while :; do sleep 0.1; done" & wait' &
echo $$ >> pids
while :; do sleep 0.1; done
"""


def alive(pid):
    found = sc.process_of(pid)
    return found is not None and found.state not in "ZX"


def test_a_timeout_ends_a_command_that_ignores_sigterm_with_all_its_grandchildren(project):
    started = time.monotonic()
    code, _, _ = run(project, STUBBORN, timeout=1, kill_grace=0.5)
    assert code == 124
    assert time.monotonic() - started < 15
    pids = [int(line) for line in project.lines("pids")]
    assert len(pids) == 3
    assert [pid for pid in pids if alive(pid)] == []
    assert project.history()[0]["status"] == "timeout"
    assert re.match(r"timeout:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ:124\n\Z", project.health("job"))


def test_a_command_that_heeds_sigterm_is_not_kept_for_the_whole_grace(project):
    started = time.monotonic()
    code, _, _ = run(project, "exec sleep 60", timeout=1, kill_grace=60)
    assert code == 124
    assert time.monotonic() - started < 15


def test_the_next_attempt_starts_only_when_the_group_is_gone(project):
    stubborn = "sh -c 'trap \"\" TERM; while :; do echo child $SYMPHONY_ATTEMPT >> log; sleep 0.05; done' & "
    project.configure(due_once("job", "echo start $SYMPHONY_ATTEMPT >> log; %s sleep 60" % stubborn, timeout=1,
                               kill_grace=0.5, retry_count=1, retry_delay=0))
    project.anchor()
    project.call("tick")
    assert project.wait_until(project.history, 30)
    lines = project.lines("log")
    second = lines.index("start 2")
    assert "child 1" in lines[:second] and "child 2" in lines[second:]
    assert "child 1" not in lines[second:]
    assert len(project.history()[0]["attempts"]) == 1


def test_a_background_process_that_keeps_the_pipe_does_not_keep_the_run(project):
    waiting = "(while ! [ -e go ]; do sleep 0.05; done; echo late; echo late >> out)"
    code, out, _ = run(project, waiting + " & echo early")
    assert (code, out) == (0, "early\n")
    (project.root / "go").write_text("")
    assert project.wait_until(lambda: project.lines("out")) == ["late"], "and it is not ended by the closed pipe"
    assert project.history()[0]["status"] == "success"


def test_a_background_process_may_write_more_than_a_pipe_holds(project):
    writer = "print('x' * 300000, flush=True); open('out', 'w').write('done')"
    waiting = "while ! [ -e go ]; do sleep 0.05; done"
    code, _, _ = run(project, "(%s; exec %s -c \"%s\") & true" % (waiting, sys.executable, writer))
    assert code == 0
    (project.root / "go").write_text("")
    assert project.wait_until(lambda: project.lines("out")) == ["done"]


@pytest.mark.parametrize("failing, ends_with", [
    ({1}, sc.EXIT_OK), ({2}, sc.EXIT_OK), ({2, 3, 5}, sc.EXIT_OK), (set(range(2, 90)), sc.EXIT_IOERR)])
def test_an_error_of_a_read_does_not_end_the_process_that_keeps_a_pipe_open(monkeypatch, failing, ends_with):
    reader, writer = os.pipe()
    watch = sc.Watch.__new__(sc.Watch)
    watch.reader = reader
    os.set_blocking(reader, False)
    calls, forked = [], []
    read, fork_to = os.read, sc.fork_to

    def read_or_fail(fd, size):
        calls.append(fd)
        if len(calls) in failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, size)

    with monkeypatch.context() as patch:
        patch.setattr(sc.os, "read", read_or_fail)
        patch.setattr(sc, "fork_to", lambda work: forked.append(fork_to(work)))
        watch.leave_reader_behind()
    os.close(reader)
    if ends_with == sc.EXIT_OK:
        text = b"x" * (1 << 20)  # more than the pipe holds
        while text:
            text = text[os.write(writer, text):]
    else:
        os.waitid(os.P_PID, forked[0], os.WEXITED | os.WNOWAIT)
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"x")
    os.close(writer)
    _, status = os.waitpid(forked[0], 0)
    assert status == ends_with << 8


@pytest.mark.parametrize("command, expected", [
    ("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143),
    ("no-such-program-anywhere", 127), (["no-such-program-anywhere"], 127), (["/etc/passwd"], 126),
    (["/no/such/file"], 127), (["sh", "-c", "exit 5"], 5),
])
def test_run_passes_on_the_commands_own_status(project, command, expected):
    code, _, _ = run(project, command)
    assert code == expected
    assert project.health("job").rstrip().endswith(":%d" % expected)


def test_a_command_that_cannot_start_says_why_in_its_log(project):
    run(project, ["no-such-program"])
    assert "cannot start: 'no-such-program' is not on the task's PATH (" in project.read("logs/automation/job.log")


@pytest.mark.parametrize("command, code", [(["./job"], 127), ("./job --now", 127), ("exec ./job", 127)])
def test_a_run_that_cannot_start_records_the_cause(project, command, code):
    (project.root / "job").write_text("#!/opt/none/tool\n")
    (project.root / "job").chmod(0o755)
    assert run(project, command)[0] == code
    reason = project.history()[-1].get("reason")
    if command == "exec ./job":  # what only the shell can judge
        assert reason is None
    else:
        assert reason == ("cannot start: './job': missing interpreter /opt/none/tool "
                          "(install it, or correct the first line of the file)")


@pytest.mark.parametrize("content, code, cause", [
    ("echo x", 126, "'./job' has no #! line, and a list is not run by a shell"),
    ("\x7fELF\0", 126, "./job: Exec format error (was it built for another system?)"),
    ("#!/bin/sh\r\n", 127, "'./job' has Windows line ends, which its interpreter cannot read"),
])
def test_the_cause_of_a_failed_exec_is_in_the_result(project, content, code, cause):
    (project.root / "job").write_bytes(content.encode())
    (project.root / "job").chmod(0o755)
    assert run(project, ["./job"])[0] == code
    assert project.history()[-1]["reason"].startswith("cannot start: " + cause)


def test_a_command_that_exits_with_127_itself_has_no_cause(project):
    assert run(project, "exit 127")[0] == 127
    assert project.history()[-1].get("reason") is None


def test_a_missing_working_folder_is_said(project):
    code, out, _ = run(project, "true", cwd="nowhere")
    assert code == 126
    assert re.search(r"cannot start: cwd .*/nowhere: No such file or directory", out)


def test_commands_see_who_they_are(project):
    project.configure(every_minute("job", "env | grep ^SYMPHONY_ | sort; echo $OWN $BOTH; pwd",
                                   env={"OWN": "task", "BOTH": "task"}, cwd="config"),
                      env={"BOTH": "settings"})
    code, out, _ = project.call("run", "--task", "job")
    assert code == 0
    lines = out.splitlines()
    record = project.history()[0]
    assert lines.pop(1) == "SYMPHONY_MARK=%s" % sc.Store(str(project.root)).mark(record["run_id"])
    assert lines == [
        "SYMPHONY_ATTEMPT=1", "SYMPHONY_ROOT=%s" % project.root, "SYMPHONY_RUN_ID=%s" % record["run_id"],
        "SYMPHONY_SCHEDULED_FOR=%s" % record["started_at"], "SYMPHONY_TASK=job", "task task",
        "%s/config" % project.root]


def test_a_list_is_run_as_it_is_without_a_shell(project):
    code, out, _ = run(project, ["printf", "%s|", "a b", "$HOME", "*"])
    assert (code, out) == (0, "a b|$HOME|*|")


def test_nice_is_applied(project):
    here = os.nice(0)
    code, out, _ = run(project, "nice", nice=5)
    assert out.strip() == str(min(19, here + 5))


def test_standard_input_is_empty_and_signals_are_as_a_shell_has_them(project):
    code, out, _ = run(project, "cat; grep -i '^sig[ib]' /proc/self/status || true")
    assert code == 0
    ignored = re.search(r"SigIgn:\s*([0-9a-f]+)", out)
    if ignored:
        assert not int(ignored.group(1), 16) & (1 << (signal.SIGPIPE - 1)), "Python ignores SIGPIPE; commands must not"


def test_no_descriptor_of_the_conductor_leaks_into_a_command(project):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc")
    code, out, _ = run(project, ["ls", "/proc/self/fd"])
    assert sorted(out.split())[:3] == ["0", "1", "2"] and len(out.split()) == 4


def test_tasks_get_the_callers_umask_and_the_conductors_files_are_private(project):
    project.configure(every_minute("job", "touch made"))
    subprocess.check_call(["/bin/sh", "-c", 'umask 022; exec "$@"', "sh"] + project.command("run", "--task", "job"))
    assert (project.root / "made").stat().st_mode & 0o777 == 0o644
    for path in project.root.rglob("*"):
        if path.name == "made" or "config" in str(path):
            continue
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


# -- output

def test_output_over_the_limit_is_drained_counted_and_said(project):
    code, _, _ = run(project, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end", max_output_bytes=1000)
    assert code == 0
    log = project.read("logs/automation/job.log")
    assert len(log) < 2500
    head, end = log.split("--- 2998009 bytes of output dropped here: max_output_bytes is 1000\n")
    assert head.endswith("\n" + "x" * 1000 + "\n") and end.startswith("x" * 991 + "\nthe end\n--- ")
    record = project.history()[0]
    assert record["dropped_bytes"] == 2998009
    assert record["output_tail"].endswith("\nthe end\n") and len(record["output_tail"]) <= 2048


def test_output_that_is_not_text_is_kept_byte_for_byte_in_the_log(project):
    code, _, _ = run(project, "printf '\\377\\376\\000x'")
    assert code == 0
    assert b"\xff\xfe\x00x\n--- " in (project.root / "logs" / "automation" / "job.log").read_bytes()
    assert project.history()[0]["output_tail"] == "\ufffd\ufffd\0x"


GET_PIPE_SIZE = 1032  # F_GETPIPE_SZ


def pass_on(folder, data, limit, seed=0, echo_fd=-1):
    """Have a child print `data` in random pieces, and watch it: (its log, the output, the pipe's size)."""
    log, pipe = folder / "log", folder / "pipe"
    for path in (log, pipe):
        if path.exists():
            path.unlink()
    reader, writer = sc.open_pipe(str(pipe))
    same = os.dup(reader)  # the watch closes its own at end of file
    pid = os.fork()
    if pid == 0:
        try:
            chance = random.Random(seed)
            start = 0
            while start < len(data):
                start += os.write(writer, data[start:start + chance.choice([1, 100, 4096, 65536, 300000])])
        finally:
            os._exit(0)
    os.close(writer)
    clock = sc.Clock()
    echo = sc.Echo(echo_fd, clock) if echo_fd >= 0 else None
    output = sc.Output(sc.open_append(str(log)), limit, echo)
    signals = sc.Signals()
    watch = sc.Watch(clock, sc.Job(pid=pid), clock.monotonic() + 60, 1.0, reader, output, signals, True, bool, None)
    try:
        watch.wait()
        output.write_end()
        size = fcntl.fcntl(same, GET_PIPE_SIZE) if sys.platform == "linux" else None
    finally:
        signals.close()
        output.close()
        os.close(same)
    if echo is not None:
        echo.finish()
        assert echo.trouble == ""
    return log.read_bytes(), output, size


def log_of(data, limit):
    """What the log is to hold of an output: (bytes, how many of the output)."""
    end = data[max(limit, len(data) - min(limit, 65536)):]
    kept = len(data[:limit]) + len(end)
    if kept == len(data):
        return data, kept
    line = b"--- %d bytes of output dropped here: max_output_bytes is %d\n" % (len(data) - kept, limit)
    return data[:limit] + (b"\n" if limit and data[limit - 1:limit] != b"\n" else b"") + line + end, kept


@pytest.fixture(params=["larger pipe", "refused", "no such call"])
def pipe_sizes(request, monkeypatch):
    """With and without a pipe that can be made larger; macOS has none."""
    if request.param == "refused":
        monkeypatch.setattr(sc, "SET_PIPE_SIZE", -1)
    if request.param == "no such call":
        def fail(*_):
            raise OSError(5, "cannot be imported", "the module fcntl")

        monkeypatch.setattr(sc, "fcntl", type("Missing", (), {"fcntl": staticmethod(fail)}))
    return request.param


@pytest.mark.parametrize("limit", [0, 1, 1000, 65536, sc.LARGE_OUTPUT_BYTES, sc.LARGE_OUTPUT_BYTES + 100000])
def test_output_of_any_size_is_kept_byte_for_byte_up_to_its_limit(tmp_path, pipe_sizes, limit):
    chance = random.Random(limit)
    noise = bytes(chance.getrandbits(8) for _ in range(9973))
    borders = [limit, limit + min(limit, 65536), 65536, sc.LARGE_OUTPUT_BYTES,
               sc.LARGE_OUTPUT_BYTES + sc.LARGE_PIPE_BYTES, 2 * limit + sc.LARGE_PIPE_BYTES]
    sizes = {max(0, border + step) for border in borders for step in (-1, 0, 1, chance.randrange(100000))}
    echoed = tmp_path / "echoed"
    for size in sorted(sizes):
        data = (noise * (size // len(noise) + 1))[:size]
        with open(str(echoed), "wb") as handle:
            log, output, _ = pass_on(tmp_path, data, limit, size, handle.fileno())
        expected, kept = log_of(data, limit)
        assert log == expected, size
        assert (output.total, output.kept, output.tail) == (size, kept, data[-2048:]), size
        assert echoed.read_bytes() == data, size


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has pipes of another size")
@pytest.mark.parametrize("size, expected", [(sc.LARGE_OUTPUT_BYTES - 1, 65536),
                                            (sc.LARGE_OUTPUT_BYTES, sc.LARGE_PIPE_BYTES)])
def test_only_a_run_that_prints_much_gets_a_larger_pipe(tmp_path, size, expected):
    assert pass_on(tmp_path, b"x" * size, 1000)[2] == expected


def test_a_disk_that_fills_up_keeps_what_fits_and_holds_up_nothing(project):
    project.configure(every_minute("job", "head -c 3000000 /dev/zero | tr '\\0' x; echo end > out"))
    small = 300007  # setrlimit(2): a file takes so much, and of the write that would go beyond it a part
    code, out, _ = project.call("run", "--task", "job",
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small)))
    assert (code, len(out), project.lines("out")) == (0, 3000000, ["end"])
    log = (project.root / "logs" / "automation" / "job.log").read_bytes()
    header, rest = log.split(b"\n", 1)
    assert (len(log), rest) == (small, b"x" * (small - len(header) - 1))
    record = project.history()[0]
    assert (record["output_bytes"], record["dropped_bytes"]) == (3000000, 3000000 - len(rest))


def test_a_log_that_is_truncated_meanwhile_goes_on_from_its_start(project):
    half = "yes %s | head -c 3000000"
    project.configure(every_minute("job", "%s; touch half; while ! test -e go; do sleep 0.05; done; %s; echo end" % (
        half % "first", half % "other")))
    process = subprocess.Popen(project.command("run", "--task", "job"), stdout=subprocess.DEVNULL)
    log = project.root / "logs" / "automation" / "job.log"
    assert project.wait_until(lambda: (project.root / "half").exists() and log.stat().st_size > 3000000)
    os.truncate(str(log), 0)
    (project.root / "go").write_text("")
    assert process.wait(30) == 0
    assert re.match(br"(other\n){500000}end\n--- \S+ end run=\S+ status=success .* output=6000004 bytes frame=\w+\n\Z",
                    log.read_bytes())


def test_a_flood_of_output_holds_up_no_timeout(project):
    project.configure(every_minute("job", "yes", timeout=1, kill_grace=0))
    process = subprocess.Popen(project.command("run", "--task", "job"), stdout=subprocess.DEVNULL)
    assert process.wait(30) == 124
    record = project.history()[0]
    assert record["status"] == "timeout" and 1 <= record["duration_s"] < 10
    assert record["output_bytes"] > sc.LARGE_OUTPUT_BYTES


def test_a_flood_of_output_outlives_its_supervisor(project):
    project.configure(due_once("job", "echo head; touch on; head -c 600000000 /dev/zero; echo the end; touch done",
                               max_output_bytes=2000000))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: (project.root / "on").exists())
    log = project.root / "logs" / "automation" / "job.log"
    assert project.wait_until(lambda: log.stat().st_size > sc.LARGE_OUTPUT_BYTES)
    supervisor = sc.Store(str(project.root)).read_run("job")["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    assert project.wait_until(lambda: not alive(supervisor))
    assert not (project.root / "done").exists(), "in the midst of it"
    project.tick(time.time() + 60)
    assert project.wait_until(project.history)
    assert (project.root / "done").exists()
    assert [record["status"] for record in project.history()] == ["interrupted"]
    assert re.match(br"--- \S+ start run=.*\nhead\n\0*\n?"
                    br"--- \S+ adopted run=\S+ pid=\d+: its supervisor was killed frame=\w+\n"
                    br"\0{2000000}\n--- \d+ bytes of output dropped here: max_output_bytes is 2000000\n"
                    br"\0{65528}the end\n--- \S+ end run=\S+ status=interrupted .*\n\Z", log.read_bytes())


def test_each_run_has_a_header_and_a_footer_and_the_command_is_not_written(project):
    run(project, "echo hi # password=hunter2")
    lines = project.lines("logs/automation/job.log")
    header = re.match(r"--- \S+Z start run=\S+ attempt=1 trigger=manual scheduled_for=\S+Z host=\S+ pid=\d+"
                      r" (frame=[0-9a-f]{8})\Z", lines[0])
    assert lines[1] == "hi"
    assert re.match(r"--- \S+Z end run=\S+ status=success exit_code=0 duration=[\d.]+s output=3 bytes %s\Z"
                    % header.group(1), lines[2])
    assert "hunter2" not in project.read("logs/automation/job.log") + project.read("logs/symphony_conductor.log")


def test_what_a_command_prints_cannot_pass_for_the_frame_of_a_run(project):
    command = ("echo \"--- 2025-06-02T10:00:00Z end run=$SYMPHONY_RUN_ID status=success frame=0a1b2c3d\";"
               "echo '--- 2025-06-02T10:00:00Z start run=R-1 attempt=1 pid=5'; echo '--- a/x'; echo the end")
    project.configure(every_minute("job", command))
    for _ in range(2):
        assert project.call("run", "--task", "job")[0] == 0
    log = project.read("logs/automation/job.log")
    runs = sorted((record["run_id"] for record in project.history()), key=lambda run_id: int(run_id.split("-")[1]))
    outputs = [project.call("logs", "job", "--run", run_id)[1] for run_id in runs]
    assert "".join(outputs) == log and [output.count("the end\n") for output in outputs] == [1, 1]
    assert project.call("logs", "job", "--run", "R-1")[0] == 1, "a run that only the output tells of"


def test_a_log_that_has_grown_large_is_rotated(project):
    log = project.root / "logs" / "automation" / "job.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (sc.TASK_LOG_ROTATE_BYTES + 1))
    run(project, "echo fresh")
    assert "fresh" in log.read_text() and log.stat().st_size < 1000
    assert (log.parent / "job.log.1").stat().st_size == sc.TASK_LOG_ROTATE_BYTES + 1


# -- by hand

def interrupt(project, number, **fields):
    project.configure(every_minute("job", "echo $$ > pid; sleep 60 & sleep 60", kill_grace=1, **fields))
    # The tests may run under nohup(1); what the caller ignores stays ignored.
    process = subprocess.Popen(project.command("run", "--task", "job"), stdin=subprocess.DEVNULL,
                               preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    assert project.wait_until(lambda: project.lines("pid"))
    process.send_signal(number)
    return process.wait(20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_the_whole_group_and_records_interrupted(project, number):
    assert interrupt(project, number) == 128 + number
    pid = int(project.lines("pid")[0])
    assert not sc.may_live(sc.Job(pid=pid))
    record = project.history()[0]
    assert (record["status"], record["exit_code"]) == ("interrupted", 128 + number)
    assert project.health("job").startswith("interrupted:")


def test_run_shows_output_live_and_logs_it_too(project):
    project.configure(every_minute("job", "echo one; while ! test -e go; do sleep 0.05; done; echo two"))
    process = subprocess.Popen(project.command("run", "--task", "job"), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"one\n"
    (project.root / "go").write_text("")
    assert process.communicate(timeout=20)[0] == b"two\n"
    assert "one\ntwo\n" in project.read("logs/automation/job.log")


def test_a_reader_that_leaves_does_not_end_the_run(project):
    project.configure(every_minute("job", "yes | head -c 500000; echo end >> out"))
    done = subprocess.run(["/bin/sh", "-c", '"$@" | head -c 10', "sh"] + project.command("run", "--task", "job"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert done.stderr == b""
    assert project.wait_until(lambda: project.lines("out")) == ["end"]
    assert project.wait_until(project.history)[0]["status"] == "success"


def test_what_a_reader_has_no_time_for_is_kept_until_it_reads_nothing_for_long():
    reader, writer = os.pipe()
    clock = HandClock(0)
    echo = sc.Echo(writer, clock)
    printed = b""
    while not echo.is_full:
        printed += bytes([len(printed) % 251]) * sc.LARGE_PIPE_BYTES
        echo.take(printed[-sc.LARGE_PIPE_BYTES:])
    printed += b"z" * sc.LARGE_PIPE_BYTES  # the command has ended, and so much was in its pipe
    echo.take(printed[-sc.LARGE_PIPE_BYTES:])
    shown = b""
    while select.select([reader], [], [], 0)[0]:
        shown += os.read(reader, 100000)
        echo.flush()
    assert (shown == printed, echo.dropped, echo.trouble) == (True, 0, "")
    while not echo.is_full:
        echo.take(b"x" * sc.READ_BYTES)
    clock.advance(sc.ECHO_STALL_S)
    assert not echo.is_full, "the command need not wait any longer"
    for _ in range(100):
        echo.take(b"x" * sc.READ_BYTES)
    assert len(echo.backlog) <= sc.ECHO_LIMIT_BYTES
    echo.finish()
    assert re.match(r"\d{7} bytes were dropped because nothing was read for 5 seconds\Z", echo.trouble)
    os.close(reader)
    os.close(writer)


def test_a_second_start_of_the_same_task_is_refused(project):
    project.configure(every_minute("job", "touch started; sleep 60"))
    # Who starts the tests in the background has SIGINT ignored.
    first = subprocess.Popen(project.command("run", "--task", "job"),
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert project.wait_until(lambda: (project.root / "started").exists())
    code, out, err = project.call("run", "--task", "job")
    assert (code, out) == (75, "")
    assert re.match(r"symphony_conductor: job is already running since \S+Z \(run \S+\)\n\Z", err)
    project.tick(time.time() + 61)
    first.send_signal(signal.SIGINT)
    assert first.wait(20) == 130
    assert [record["status"] for record in project.history()].count("interrupted") == 1


def chain(project, scan="echo scan >> log"):
    project.configure(every_minute("scan", scan, schedule="0 2 * * *"),
                      every_minute("analyse", "echo analyse >> log", schedule="30 2 * * *", dependencies=["scan"]),
                      every_minute("clean", "echo clean >> log", schedule="0 3 * * 0", dependencies=["analyse"]))


def test_run_refuses_when_a_dependency_is_not_met(project):
    chain(project)
    code, out, err = project.call("run", "--task", "clean")
    assert (code, out) == (75, "")
    assert re.match(r"symphony_conductor: clean: dependency 'analyse' has not succeeded for its slot \S+Z "
                    r"\(use --with-dependencies to run what is missing first, or --ignore-dependencies\)\n\Z", err)
    assert project.lines("log") == []


def test_run_with_dependencies_runs_what_is_missing_in_order(project):
    chain(project)
    assert project.call("run", "--task", "clean", "--with-dependencies")[0] == 0
    assert project.lines("log") == ["scan", "analyse", "clean"]
    assert project.call("run", "--task", "clean", "--with-dependencies")[0] == 0
    assert project.lines("log") == ["scan", "analyse", "clean", "clean"], "what was met is not run again"


def test_run_with_dependencies_stops_at_the_first_failure(project):
    chain(project, scan="echo scan >> log; exit 9")
    assert project.call("run", "--task", "clean", "--with-dependencies")[0] == 9
    assert project.lines("log") == ["scan"]


def test_run_that_ignores_dependencies_goes_ahead(project):
    chain(project)
    assert project.call("run", "--task", "clean", "--ignore-dependencies")[0] == 0
    assert project.lines("log") == ["clean"]


def test_run_starts_nothing_else_where_no_cron_is_at_work(project):
    project.configure(every_minute("job"), every_minute("other", "echo ran >> out"))
    project.anchor(ago=3600)
    assert project.call("run", "--task", "job")[0] == 0
    project.wait_for_idle()
    assert project.lines("out") == []


def test_an_unknown_task_gets_a_suggestion(project):
    chain(project)
    code, _, err = project.call("run", "--task", "analyze")
    assert (code, err) == (2, "symphony_conductor: unknown task 'analyze' (did you mean 'analyse'?)\n")


def test_run_with_dependencies_is_not_overtaken_by_what_it_lets_go(project):
    project.configure(due_once("first", "test -e go && echo first >> log"),
                      due_once("second", "echo second >> log", dependencies=["first"]))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: len(project.history()) == 1)
    project.wait_for_idle()
    assert project.state()["tasks"]["second"]["cycle"]["waiting_for"] == "first"
    (project.root / "go").write_text("")
    assert project.call("run", "--task", "second", "--with-dependencies") == (0, "", "")
    assert project.lines("log")[:2] == ["first", "second"]


def test_run_under_nohup_survives_the_hangup(project):
    project.configure(every_minute("job", "touch started; while ! test -e go; do sleep 0.05; done; echo end >> out"))
    process = subprocess.Popen(["nohup"] + project.command("run", "--task", "job"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert project.wait_until(lambda: (project.root / "started").exists())
    process.send_signal(signal.SIGHUP)
    (project.root / "go").write_text("")
    process.communicate(timeout=20)
    assert process.returncode == 0 and project.lines("out") == ["end"]


def test_run_with_another_configuration_leaves_the_tasks_of_cron_alone(project, tmp_path):
    project.configure(due_once("nightly", "exit 1", retry_count=1, retry_delay=3600))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: "cycle" in project.state()["tasks"]["nightly"]
                              and project.state()["tasks"]["nightly"]["cycle"].get("phase") == "retrying")
    other = tmp_path / "other.json"
    other.write_text('{"tasks": [{"name": "one", "command": "true"}]}')
    other.chmod(0o600)
    kept = project.read("status/last_good_config.json")
    assert project.call("--config", str(other), "run", "--task", "one")[0] == 0
    assert project.state()["tasks"]["nightly"]["cycle"]["phase"] == "retrying"
    assert project.read("status/last_good_config.json") == kept
    heartbeat = str(project.root / "status" / "heartbeat").encode()
    assert not sc.nothing_to_do(heartbeat, time.time(), time.monotonic()), "the next tick looks for itself"


def test_text_beyond_ascii_reaches_commands_whatever_the_locale(project):
    project.configure(every_minute("job", "echo caf\u00e9 $WORD; pwd", env={"WORD": "na\u00efve"},
                                   cwd="d\u00e9j\u00e0"))
    (project.root / "d\u00e9j\u00e0").mkdir()
    done = subprocess.run(project.command("run", "--task", "job"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={"PATH": os.environ["PATH"], "LC_ALL": "C"})
    lines = done.stdout.decode("utf-8").splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert lines == ["caf\u00e9 na\u00efve", "%s/d\u00e9j\u00e0" % project.root]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(project, closed):
    project.configure(due_once("job", "echo ran >> out; sleep 0.3"))
    project.anchor()
    for command in ("status", "tick"):
        code = subprocess.call(["/bin/sh", "-c", '"$@" %s' % closed, "sh"] + project.command(command),
                               stdout=subprocess.DEVNULL)
        assert code == 0
    assert project.wait_until(project.history)
    project.wait_for_idle()
    assert project.lines("out") == ["ran"]
    assert [record["status"] for record in project.history()] == ["success"]


# -- systems without /proc

@pytest.fixture
def without_proc(tmp_path, monkeypatch):
    """ps and sysctl, faked on PATH, answer instead of /proc."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ps").write_text("""#!/bin/sh
case "$*" in
  "-o pid=,ppid=,pgid=,stat=,lstart= -p 100") echo "  100 1 100 Ss   Mon Jun  2 10:00:00 2025" ;;
  "-o pid=,ppid=,pgid=,stat=,lstart= -p "*) exit 1 ;;
  "-A -o args=") echo "python --root=/srv/a supervise start 3 job 20250602T100000Z-1" ;;
  "-A -o pid=,ppid=,pgid=,stat=,lstart=")
    day="Mon Jun  2 10:00:00 2025"
    printf " 100 1 100 Ss $day\\n 101 100 100 S+ $day\\n 102 100 100 Z $day\\n 103 101 103 S $day\\n"
    printf " 200 1 200 R $day\\n" ;;
  *) echo "unexpected: $*" >&2; exit 2 ;;
esac
""")
    (tools / "sysctl").write_text("""#!/bin/sh
case "$*" in
  "-n kern.boottime") echo '{ sec = 1748858400, usec = 123 } Mon Jun  2 10:00:00 2025' ;;
  "-n kern.bootsessionuuid") cat "$(dirname "$0")/uuid" 2>/dev/null || exit 1 ;;
  *) exit 1 ;;
esac
""")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setattr(sc, "PROC", str(tmp_path / "no-proc"))
    monkeypatch.setenv("PATH", "%s:%s" % (tools, os.environ["PATH"]))


def test_without_proc_ps_tells_of_processes(without_proc):
    day = "Mon Jun  2 10:00:00 2025"
    assert sc.process_of(100) == sc.Process(pid=100, parent=1, group=100, state="S", start=day)
    assert sc.process_of(999) is None
    members = sc.job_members(sc.Job(pid=100, start=day), sc.process_table())
    assert sorted(process.pid for process in members) == [100, 101, 103], "103 has left the group, and is of the tree"
    assert sc.job_members(sc.Job(pid=100, start="another"), sc.process_table()) == []


def test_without_proc_ps_tells_of_a_run_that_lost_its_files(without_proc):
    assert sc.run_in_process_table("/srv/a", "20250602T100000Z-1", "1-2")
    assert not sc.run_in_process_table("/srv/b", "20250602T100000Z-1", "1-2")
    assert not sc.run_in_process_table("/srv/a", "20250602T100000Z-2", "1-2")


def test_without_proc_sysctl_tells_of_the_boot(without_proc):
    assert sc.boot_time(0.0) == 1748858400
    assert sc.current_boot_id() == "1748858400"


def test_without_proc_the_session_of_the_boot_is_asked_for_first(without_proc, tmp_path):
    (tmp_path / "tools" / "uuid").write_text("A-B-C\n")
    assert sc.current_boot_id() == "A-B-C"


def test_without_proc_and_without_the_tools_nothing_is_made_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sc, "PROC", str(tmp_path / "no-proc"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sc.process_of(os.getpid()) is None
    assert sc.process_table() is None
    assert sc.may_live(sc.Job(pid=os.getpgid(0))), "the signal that got through counts"
    assert sc.boot_time(0.0) == 0
