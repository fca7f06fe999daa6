"""What the tests share: a project in a temporary folder, a clock set by hand, git, cron, strace.

Stories that start no process are in stories.py.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "symphony_conductor.py"
SCRIPTS = REPOSITORY / "scripts"
sys.path[:0] = [str(REPOSITORY), str(SCRIPTS)]

import symphony_conductor as sc  # noqa: E402

IMPORTED = """
import sys
sys.path.insert(0, %r)
import symphony_conductor as c
c.command_line()
""" % str(REPOSITORY)

# A crontab(1) that keeps one table beside itself, and is not the machine's.
FAKE_CRONTAB = """#!/bin/sh
table=$(dirname "$0")/table
case $1 in
  -l) [ -e "$table" ] || { echo "no crontab for me" >&2; exit 1; }; cat "$table" ;;
  -) cat > "$table" ;;
esac
"""


class HandClock(sc.Clock):
    """A clock that stands still until it is moved."""

    def __init__(self, now):
        self.at = float(now)
        self.mono = 1000.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.mono

    def advance(self, seconds):
        self.at += seconds
        self.mono += seconds


def settle(path):
    """Make a file look a second old: one that changed this very moment is read twice."""
    os.utime(str(path), (time.time() - 1, time.time() - 1))


def wait_until(condition, timeout_s=20.0):
    """Poll until the condition holds; what it returned last."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


def finished(command, **more):
    """Run a command to its end: (exit code, stdout, stderr)."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **more)
    return (done.returncode, done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"))


class Project:
    """A root folder with a configuration, and the commands run in it."""

    def __init__(self, root):
        self.root = pathlib.Path(str(root))
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.root / "config").mkdir(mode=0o700, exist_ok=True)

    def configure(self, *tasks, **settings):
        document = {"tasks": list(tasks), "settings": settings}
        self.write_config(json.dumps(document))

    def write_config(self, text):
        path = self.root / "config" / "conductor_config.json"
        with open(str(path), "w", encoding="utf-8") as handle:
            handle.write(text)
        path.chmod(0o600)
        settle(path)

    def command(self, *args):
        """The conductor by an import, as cron calls it: a script would be compiled each time."""
        return [sys.executable, "-c", IMPORTED, "--root", str(self.root)] + list(args)

    def call(self, *args, **more):
        """Run the conductor as a process: (exit code, stdout, stderr)."""
        more.setdefault("env", dict(os.environ))
        return finished(self.command(*args), timeout=60, **more)

    def tick(self, now=None):
        """One tick in this process; what it starts is real."""
        clock = sc.Clock() if now is None else HandClock(now)
        return sc.Conductor(sc.Store(str(self.root)), clock).tick()

    def anchor(self, ago=150):
        """A first tick some time ago, so that every schedule has slots that are due by now."""
        return self.tick(time.time() - ago)

    def read(self, name):
        return (self.root / name).read_text(encoding="utf-8", errors="replace")

    def state(self):
        return json.loads(self.read("conductor_state.json"))

    def history(self):
        folder = self.root / "status" / "history"
        return [json.loads(line) for path in sorted(folder.glob("*.jsonl"))
                for line in path.read_text().splitlines()]

    def health(self, task):
        return self.read("status/automation_health/%s.health" % task)

    def running_record(self, name):
        """The record of a run once it has the process of its command, which runs by then."""
        def complete():
            try:
                record = json.loads(self.read("status/runs/%s.json" % name))
            except (OSError, ValueError):
                return None
            return record if record["pid"] != sc.NO_PID else None

        record = self.wait_until(complete)
        assert record, self.read("logs/symphony_conductor.log")
        return record

    def lines(self, name):
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_until(self, condition, timeout_s=20.0):
        return wait_until(condition, timeout_s)

    def wait_for_idle(self, timeout_s=20.0):
        """Wait until the state holds no running task and the history no gap."""
        def idle():
            tasks = self.state()["tasks"].values()
            return not any("run" in task for task in tasks)
        assert self.wait_until(idle, timeout_s), self.state()
        lock = sc.FileLock(str(self.root / "conductor.pid"))
        # Whoever settled the last run holds the lock until the history is written.
        assert lock.acquire(10)
        lock.release()


def is_alive(pid):
    """Whether a process with this pid runs; one that only waits to be reaped does not."""
    process = sc.process_of(pid)
    return process is not None and not process.is_dead


def may_live(record):
    """Whether anything of the command that the record of a run tells of lives."""
    return sc.may_live(sc.job_of(record, "", ""))


def nothing_lives(record):
    """Whether nothing of a run lives any more, or soon.

    Who records its end carries the mark of the run too, and lives a moment longer than the record.
    """
    return wait_until(lambda: not may_live(record))


def git(folder, *arguments):
    """Run git in a folder, with an identity and without the caller's settings; what it printed.

    A test that needs it is skipped where there is none.
    """
    if not shutil.which("git"):
        import pytest
        pytest.skip("there is no git (tests/run installs it)")
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull, HOME=str(folder), LC_ALL="C")
    for role in ("AUTHOR", "COMMITTER"):
        env["GIT_%s_NAME" % role] = "Tester"
        env["GIT_%s_EMAIL" % role] = "tester@example.invalid"
    command = ("git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always")
    return subprocess.run(command + arguments, cwd=str(folder), env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=True).stdout.decode("utf-8", "replace")


def run_script(name, root, *arguments, **more):
    """Run one of the scripts as a process: (exit code, stdout, stderr)."""
    command = [sys.executable, str(SCRIPTS / name), "--root", str(root)]
    return finished(command + [str(argument) for argument in arguments], timeout=120, **more)


def every_minute(name, command="true", **more):
    task = {"name": name, "command": command, "schedule": "* * * * *", "retry_count": 0}
    return dict(task, **more)


def due_once(name, command="true", **more):
    """A task with one slot, a minute ago: due after `anchor`, and no new minute brings another."""
    minute = time.gmtime(time.time() - 60)
    schedule = "%d %d * * *" % (minute.tm_min, minute.tm_hour)
    return dict(every_minute(name, command, timezone="UTC", schedule=schedule), **more)


# -- a cron daemon of the tests' own. Its first minute passes while the other tests run.

ODD_NAME = "it's 100% \"mine\" é"
NAMESPACE = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
DAEMON = """
set -e
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mkdir "$1/empty" && mount --bind "$1/empty" /etc/cron.d
printf '5 4 * * * neighbour\\n' | crontab -
crontab -l > "$1/before"
"$2" "$1/symphony_conductor.py" install > "$1/installed"
crontab -l > "$1/during"
"$2" "$1/symphony_conductor.py" tick
cron
while ! test -e "$1/stop"; do sleep 0.2; done
"$2" "$1/symphony_conductor.py" uninstall > "$1/uninstalled"
crontab -l > "$1/after"
touch "$1/stopped"
"""


class CronDaemon:
    """cron(8) in a namespace of its own, and a project whose crontab line is really installed."""

    def __init__(self, folder):
        self.reason = self._why_not()
        self.process = None
        if self.reason:
            return
        self.project = Project(folder / ODD_NAME)
        shutil.copy(str(SCRIPT), str(self.project.root))
        self.project.configure(
            every_minute("second", "date >> second.out", dependencies=["first"]),
            every_minute("first", "sleep 1; date >> first.out"),
            every_minute("failing", "echo $SYMPHONY_ATTEMPT >> failing.out; exit 3",
                         retry_count=1, retry_delay=0))
        self.process = subprocess.Popen(
            NAMESPACE + ["/bin/sh", "-c", DAEMON, "sh", str(self.project.root), sys.executable],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    @staticmethod
    def _why_not():
        if os.geteuid() != 0:
            return "a cron daemon of the tests' own takes root"
        daemon = shutil.which("cron", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if not daemon or not shutil.which("crontab"):
            return "there is no cron daemon (tests/run installs Debian's)"
        if subprocess.call(NAMESPACE + ["true"], stderr=subprocess.DEVNULL) != 0:
            return "namespaces are not allowed here"
        return ""

    def history(self):
        return self.project.history() if (self.project.root / "status" / "history").is_dir() else []

    def stop(self):
        """Uninstall, end the daemon; what the whole of it printed."""
        if self.process is None:
            return ""
        (self.project.root / "stop").write_text("")
        self.project.wait_until(lambda: (self.project.root / "stopped").exists(), 10)
        self.process.kill()
        said = self.process.communicate()[0].decode()
        self.process = None
        return said


# -- strace, put on a program at one moment and not before

STRACE = shutil.which("strace")
# Where a program waits for strace: to watch Python start would take ten times as long as all else.
PAUSE = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)\n"
# Some systems let only the parent of a process trace it, unless the process allows others.
if os.path.exists("/proc/sys/kernel/yama/ptrace_scope"):
    PAUSE = """import ctypes
ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)
""" + PAUSE
CALLS = "%file,write,pwrite64,fsync,flock,ftruncate"
LOOKING = ("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "readlink", "getcwd",
           "chdir", "execve")


def look_on(options, pid):
    """Attach strace to a program that waits at PAUSE, and let it go on; strace's process."""
    tracer = subprocess.Popen([STRACE] + options + ["-p", str(pid)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = pathlib.Path("/proc/%d/stat" % pid)
    while tracer.poll() is None and ") t " not in status.read_text():
        time.sleep(0.001)
    os.kill(pid, signal.SIGCONT)
    return tracer


def looked_on(options, command, **more):
    """Run a program that begins with PAUSE, and let strace look on from there; its exit code."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, **more)
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    tracer = look_on(["-qq"] + options, program.pid)
    code = program.wait()
    tracer.wait()
    return code


def calls_in(text):
    """(system call, its number among those of its name, the line) for each call in strace's log."""
    calls, seen = [], {}
    for line in text.splitlines():
        match = re.match(r"(\w+)\(", line)
        if match:
            name = match.group(1)
            seen[name] = seen.get(name, 0) + 1
            calls.append((name, seen[name], line))
    return calls


def was_killed(point, command, **more):
    """Kill a program at the point, if it gets there; whether it did."""
    options = ["-o", os.devnull, "-e", "trace=" + point[0],
               "-e", "inject=%s:signal=KILL:when=%d" % point]
    return looked_on(options, command, **more) == -signal.SIGKILL


def strace_works():
    """Whether strace is here, may attach, and can inject."""
    if not STRACE:
        return False
    program = PAUSE + "os.write(1, b'x')\n" * 2
    return was_killed(("write", 2), [sys.executable, "-I", "-S", "-c", program])


def recording(log):
    return ["-y", "-o", str(log), "-e", "trace=" + CALLS]


def kill_points(root, log):
    """(system call, its number) for each call that changed a file below the folder, or a lock.

    What only looks leaves no other trace than the next call that does something. A path that
    begins with a dot is below the folder as well: the programs stand in it.
    """
    def matters(name, line):
        is_read = name in ("open", "openat") and "O_CREAT" not in line and "O_WRONLY" not in line
        return (str(root) in line or '"./' in line) and not is_read and name not in LOOKING

    calls = calls_in(log.read_text(errors="replace"))
    return [(name, number) for name, number, line in calls if matters(name, line)]
