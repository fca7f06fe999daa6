#!/usr/bin/env python3
"""Fault injection: one error at each system call of the conductor, one at a time.

    python3 tests/inject.py [--phase PHASE,...] [--errors ERRNO,...] [--calls CALL,...]
                            [--workers N] [--sample] [--keep FOLDER]

Each case is a project of its own, in which one process meets one error, by
`strace -e inject=CALL:error=ERRNO:when=N`. The error KILL is kill -9 at that call. The phases:

  tick         a tick that has two tasks to start
  supervisor   the supervisor of a task that succeeds, from the fork that it begins as to the
               decision at its end
  retry        the same of a task that fails and is tried again; its command starts by way of a gate
  condition    the same of a task that succeeds after its condition was asked
  unprepared   the same of a task that succeeds, when the tick had no room to open its files
  unsettled    the same while somebody else holds the conductor's lock
  run          `run --task` by hand
  settle       a tick after supervisors were killed: the command of one lives on, that of one is
               gone, two have ended unseen
  adopt        the supervisor that such a tick starts for the command that lives on
  tick_exec, retry_exec
               two of these where a supervisor is this program started anew, as on systems on which
               no forked one can show what it is

Then ticks come as cron would send them. What became of it is judged by what the commands wrote
down themselves, by the history, and by what `status` and `audit` say; the judge knows nothing of
the code. The exit code is 1 when something was lost, doubled, shown wrongly or kept quiet about,
and 2 when nothing can be injected here. Takes Linux and strace.
"""

import argparse
import bisect  # noqa: F401  like some below: what Python reads for an import is not the matter here
import collections
import datetime  # noqa: F401
import errno
import fcntl
import gettext  # noqa: F401
import json
import locale  # noqa: F401
import multiprocessing
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket  # noqa: F401
import subprocess
import sys
import tempfile
import time
import traceback

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from support import PAUSE, calls_in, look_on, strace_works  # noqa: E402

import symphony_conductor as sc  # noqa: E402

# The tasks of all cases of a phase, and of its sample; which supervisor meets the error ("" where
# none does): the verb and the task of its arguments; of how many calls one is in the sample.
Phase = collections.namedtuple("Phase", "tasks few_tasks supervisor step")
PHASES = collections.OrderedDict([
    ("tick", Phase("abcd", "ac", "", 3)),
    ("supervisor", Phase("abcd", "ac", "start a", 8)),
    ("retry", Phase("abcd", "b", "start b", 15)),
    ("condition", Phase("ac", "a", "start a", 12)),
    ("unprepared", Phase("ac", "a", "start a", 8)),
    ("unsettled", Phase("ac", "a", "start a", 8)),
    ("run", Phase("abcd", "ac", "", 12)),
    ("settle", Phase("abcdef", "af", "", 6)),
    ("adopt", Phase("abcdef", "a", "adopt a", 11)),
    ("tick_exec", Phase("abcd", "ac", "", 12)),
    ("retry_exec", Phase("abcd", "b", "start b", 15)),
])
INDEPENDENT = "abef"  # the tasks that need no other
# What is in the sample with every error that it may meet.
SAMPLE_WHOLE = {"tick": "{root}/conductor_state.json", "settle": "{root}/status/runs/f.json",
                "unsettled": "{root}/status/runs/a.json"}
# What starts processes, and makes one a supervisor: in the sample as well.
STARTING = re.compile(
    r"^(?:clone3?|fork|vfork|execve|pipe2?|setsid|dup[23]?|mknod(?:at)?|pwrite64)$")
PROCESS_MEMORY = "/proc/self/mem"  # where a forked supervisor writes its arguments
AGO_S = 125  # when the tick was that came ahead of the slots
PATIENCE_S = 30
UNSETTLED_WAIT_S = 0.1  # how long a supervisor waits for the conductor's lock in `unsettled`
RECOVERY_TICKS = 4

KILL = "KILL"
# Which error which call may meet, as the manual pages and network file systems have it.
FILE_CALLS = """
    access chdir chmod close copy_file_range execve faccessat faccessat2 fchmod fchmodat fdatasync
    flock fstat fsync ftruncate getdents64 ioctl link linkat lstat mkdir mkdirat mknod mknodat
    newfstatat open openat pread64 pwrite64 read readlink readlinkat rename renameat renameat2
    rmdir stat statx unlink unlinkat utimensat write"""
ERRORS = collections.OrderedDict((name, calls.split()) for name, calls in [
    ("EIO", FILE_CALLS),
    ("ESTALE", FILE_CALLS),
    ("ENOSPC", """close fsync ftruncate link linkat mkdir mkdirat mknod mknodat open openat pwrite64
                  rename renameat utimensat write"""),
    ("EMFILE", "dup dup2 dup3 fcntl open openat pipe pipe2 socket"),
    ("ENOMEM", """clone clone3 execve fork lstat mmap mremap newfstatat open openat poll ppoll
                  pselect6 select stat vfork"""),
    ("EACCES", """access chdir execve faccessat faccessat2 link linkat lstat mkdir mkdirat mknod
                  mknodat newfstatat open openat readlink readlinkat rename renameat stat unlink
                  unlinkat utimensat"""),
    ("EINTR", """clock_nanosleep close connect fcntl flock fsync ftruncate nanosleep open openat
                 poll ppoll pselect6 read select wait4 waitid write"""),
    ("EAGAIN", "clone clone3 flock fork vfork"),
    ("EPERM", "clone clone3 execve fork mknod mknodat open openat pwrite64 setsid vfork"),
    (KILL, """clone clone3 close dup2 dup3 flock fork fsync ftruncate kill link linkat mkdir mkdirat
              mknod mknodat openat pipe2 poll pwrite64 rename renameat setsid unlink unlinkat
              utimensat vfork wait4 write"""),
])
# What the interpreter and the loader do for themselves.
THEIR_OWN = re.compile(
    r"/(?:lib|lib64)/python\d|\.so\b|\.pyc|/site-packages\b|/pyvenv\.cfg|/share/locale/|TCGETS")
KILLED = "+++ killed by SIGKILL"
NO_DISK = re.compile(r"\(\d+<(?:pipe|socket|anon_inode):")
DISK_ERRORS = ("EIO", "ESTALE", "ENOSPC", "EACCES")
WRITTEN = re.compile(r"O_CREAT|\.(?:tmp|log|jsonl)>\)")
# strace leaves a call out that it has fail: a pipe that stays open has no end, and a lock is held
# against its own holder. No system does that.
LEFT_OPEN = re.compile(r"\bclose\(\d+<(?:pipe:|[^>]*(?:\.lock|conductor\.pid|\.out)>)")
# What names a place: a path, a file's name, or whose process it is about.
PLACE = re.compile(r"[\w.-]*/[\w./-]+|\b[\w-]+\.(?:jsonl?|log|pid|bak|health)\b"
                   r"|\bsupervisor|\b(?:command|processes|signals) of|'[a-f]'|the root folder"
                   r"|\b(?:config|logs|status)\b")

NOTE = ("echo %s $SYMPHONY_TASK $SYMPHONY_SCHEDULED_FOR $SYMPHONY_ATTEMPT $SYMPHONY_RUN_ID %s"
        " >> ran; ")
HELD = ("n=0; while test -e hold-$SYMPHONY_TASK && test $n -lt 500; "
        "do n=$((n+1)); sleep 0.05; done; ")
COMMAND = (NOTE % ("start", "$$") + "echo hello; " + HELD + "%scode=$?; " + NOTE % ("end", "$code")
           + "exit $code")
SUCCEED, FAIL_ONCE = "true; ", "test $SYMPHONY_ATTEMPT -ge 2; "

# A call: the number-eth of its name, among those about this path where it is not "". The path may
# begin with {root} or {folder}, and hold the pid of a task's command as {a}.
Point = collections.namedtuple("Point", "name number path line in_child")
Case = collections.namedtuple("Case", "phase error point")
Start = collections.namedtuple("Start", "task slot attempt run_id pid")


class Earlier(sc.Clock):
    """The clock of the tick that came ahead of the slots."""

    def now(self):
        return super().now() - AGO_S

    def monotonic(self):
        return super().monotonic() - AGO_S


def leave_tracer():
    """Let the process that traces this one go, and wait until it has."""
    while True:
        status = pathlib.Path("/proc/self/status").read_text()
        tracer = int(re.search(r"^TracerPid:\s*(\d+)", status, re.M).group(1))
        if not tracer:
            return
        os.kill(tracer, signal.SIGTERM)
        time.sleep(0.005)


class Scene:
    """A project with work to do, the process that meets the error, and what others can see."""

    def __init__(self, folder, phase, is_small=False):
        self.folder = folder
        self.phase = phase
        self.root = folder / "project"
        self.tasks = PHASES[phase].few_tasks if is_small else PHASES[phase].tasks
        self.supervisor = PHASES[phase].supervisor
        self.is_forked = not phase.endswith("_exec")
        self.has_orphans = phase in ("settle", "adopt")
        self.watches = []
        minute = int(time.time() - 60) // 60 * 60
        self.slot = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(minute))
        self.schedule = time.strftime("%M %H * * *", time.gmtime(minute))

    @classmethod
    def set_up(cls, folder, phase, is_small=False):
        scene = cls(folder, phase, is_small)
        shutil.rmtree(str(folder), ignore_errors=True)
        for path in (folder, scene.root, scene.root / "config"):
            path.mkdir(mode=0o700)
        scene.configure()
        scene.wrap_interpreter()
        scene.wait_for(scene.fork(scene.begin))
        return scene

    def configure(self):
        def task(name, ending=SUCCEED, **more):
            return dict(more, name=name, command=COMMAND % ending, schedule=self.schedule,
                        timezone="UTC", retry_count=3, retry_delay=0)

        # A command that is to be nice cannot be spawned: it waits at a gate.
        gated = {"nice": 1} if self.phase in ("retry", "retry_exec") else {}
        asked = {"condition": "echo yes"} if self.phase == "condition" else {}
        tasks = [task("a", **asked), task("b", FAIL_ONCE, **gated), task("c", dependencies=["a"]),
                 task("d", dependencies=["b", "c"]), task("e"), task("f")]
        tasks = [each for each in tasks if each["name"] in self.tasks]
        later = time.strftime("%M %H * * *", time.gmtime(time.time() + 12 * 3600))
        tasks.append({"name": "paused", "command": "true", "schedule": later})
        path = self.root / "config" / "conductor_config.json"
        settings = {"max_concurrent_tasks": 8}
        path.write_text(json.dumps({"tasks": tasks, "settings": settings}))
        path.chmod(0o600)
        os.utime(str(path), (time.time() - 1, time.time() - 1))

    def begin(self):
        """Two decisions ahead of the slots: now there is a state, a copy of it, and a pause."""
        conductor = sc.Conductor(sc.Store(str(self.root)), Earlier())
        conductor.tick()
        conductor.pause("paused", None, "")
        return 0

    def wrap_interpreter(self):
        """What programs are started anew by: it keeps what they say, and has one of them wait."""
        awaited = self.supervisor.split() or ["none of them"]
        pause = ("import sys; sys.path.append(%r); import symphony_conductor\n"
                 "symphony_conductor.ProcessTitle.of_this = lambda: None\n%s" % (
                     str(REPOSITORY), PAUSE))
        self.wrapper = self.folder / "python"
        self.wrapper.write_text("\n".join([
            "#!/bin/sh",
            "cd %s || exit" % shlex.quote(str(self.root)),
            "exec 2>> ../said",
            'case " $* " in *" supervise %s "*" %s "*)' % (awaited[0], awaited[-1]),
            "    if mkdir ../met 2> /dev/null; then",
            "        left=$#",
            "        while [ $left -gt 0 ]; do",
            "            word=$1; shift; left=$((left - 1))",
            '            if [ "$before" = -c ]; then',
            '                set -- "$@" %s"$word"' % shlex.quote(pause),
            "            else",
            '                set -- "$@" "$word"',
            "            fi",
            "            before=$word",
            "        done",
            "        echo $$ > ../pid.new; mv ../pid.new ../pid",
            "    fi",
            "esac",
            'exec %s "$@"' % shlex.quote(sys.executable), ""]))
        self.wrapper.chmod(0o700)

    def wrap_forks(self, watch):
        """The same for supervisors that this process forks, and those that these fork.

        They hold the end of a pipe that tells when all have ended. The one that is to meet the
        error waits as soon as it is there. A tracer that follows children is not to follow these.
        """
        fork_detached, detach = sc.fork_detached, sc.detach
        said = os.open("../said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        kept = [watch, said]
        newest = []

        def fork(store, place, arguments, mark, keep, work):
            if os.path.exists("../follows"):
                leave_tracer()
            newest[:] = arguments[2:4]
            fork_detached(store, place, arguments, mark, list(keep) + kept, work)
            del newest[:]

        def detach_heard(null, stdin, stdout):
            if newest and newest == self.supervisor.split() and self.is_first():
                exec(PAUSE)
            detach(said, stdin, stdout)

        sc.fork_detached, sc.detach = fork, detach_heard
        if self.phase == "unsettled":
            sc.SETTLE_LOCK_WAIT_S = UNSETTLED_WAIT_S
        if self.phase == "unprepared":
            self.leave_unprepared()

    @staticmethod
    def leave_unprepared():
        """Let supervisors that this process forks prepare the start of their run themselves."""
        prepare, pid = sc.Supervisor.prepare, os.getpid()

        def prepare_elsewhere(supervisor):
            if os.getpid() == pid:
                supervisor.obstacle = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            else:
                prepare(supervisor)

        sc.Supervisor.prepare = prepare_elsewhere

    @staticmethod
    def is_first():
        """Whether this supervisor is the first that is to meet the error; it leaves its pid."""
        try:
            os.mkdir("../met")
        except FileExistsError:
            return False
        with open("../pid.new", "w") as mark:
            mark.write("%d" % os.getpid())
        os.rename("../pid.new", "../pid")
        return True

    # -- processes

    def fork(self, act, pause=False, said="other"):
        """Run a function in a process whose end, and that of all it starts, can be waited for."""
        watch, end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            os.close(end)
            self.watches.append(watch)
            return pid
        code = 1
        try:
            os.setsid()
            os.set_inheritable(end, True)
            os.chdir(str(self.root))
            os.environ.clear()
            os.environ.update(PATH="/usr/bin:/bin", HOME="/", LC_ALL="C.UTF-8",
                              INJECTED_CASE=str(self.folder))
            for fd, name in ((0, os.devnull), (1, "../%s.out" % said), (2, "../%s.err" % said)):
                opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(opened, fd)
                os.close(opened)
            sys.executable = str(self.wrapper)
            if self.is_forked:
                self.wrap_forks(end)
            else:
                sc.ProcessTitle.of_this = lambda: None
            if pause:
                exec(PAUSE)
            code = act()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else bool(leaving.code)
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code or 0)

    def conductor(self, *words, **more):
        """Start the conductor as cron does, less the start of Python; its pid."""
        def act():
            sys.argv = ["symphony_conductor.py", "--root=%s" % self.root] + list(words)
            sc.command_line()

        return self.fork(act, **more)

    def wait_for(self, pid):
        """The exit code of a process of ours: -N for signal N, None when it had to be killed."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found and os.WIFSIGNALED(status):
                return -os.WTERMSIG(status)
            if found:
                return os.WEXITSTATUS(status)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return None
            time.sleep(0.002)

    def living(self):
        """(pid, arguments) of what lives of this case: all of it stands in the project."""
        processes = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                folder = os.readlink("/proc/%s/cwd" % name)
                arguments = pathlib.Path("/proc", name, "cmdline").read_bytes()
            except OSError:
                continue  # it ended, or belongs to somebody else
            if folder == str(self.root) or folder.startswith("%s/" % self.root):
                words = arguments.replace(b"\0", b" ").decode("utf-8", "replace")
                processes.append((int(name), words))
        return processes

    def is_quiet(self):
        """Wait until nothing lives that was started here; False when it had to be killed."""
        deadline = time.monotonic() + PATIENCE_S
        for watch in self.watches:
            # Nobody writes: it is ready once all have ended who hold the other end.
            poll = select.poll()
            poll.register(watch)
            poll.poll(1000 * max(0.0, deadline - time.monotonic()))
        self.forget_watches()
        # Twice: one that has been looked for may be forked by one that ends before its turn.
        while self.living() or self.living():
            if time.monotonic() > deadline:
                self.kill_all()
                return False
            time.sleep(0.02)
        return True

    def forget_watches(self):
        for watch in self.watches:
            os.close(watch)
        self.watches = []

    def kill_all(self):
        for pid, _ in self.living():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("the scene cannot be set")
            time.sleep(0.005)

    # -- the process that meets the error

    def act(self, options):
        """Let the process of this phase meet what strace has for it: its exit code, and its pid.

        `options` says what that is when the process is there.
        """
        if self.has_orphans:
            self._leave_orphans()
        if self.supervisor:
            return self._act_as_supervisor(options)
        words = ("run", "--task", "a") if self.phase == "run" else ("tick",)
        pid = self.conductor(*words, pause=True, said="met")
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        tracer = self._look_on(options(), pid)
        code = self.wait_for(pid)
        self.release("a")
        return code if self._is_over(tracer) else None, pid

    def _act_as_supervisor(self, options):
        awaited = self.supervisor[-1]
        others = [name for name in self.tasks if name in INDEPENDENT and name != awaited]
        for name in others:  # the first that ends would settle the ends of the others as well
            self.hold(name)
        pid, launcher = self._waiting_supervisor()
        self.wait_for(launcher)
        with open(str(self.root / "conductor.pid"), "r+") as busy:
            if self.phase == "unsettled":
                fcntl.flock(busy, fcntl.LOCK_EX)
            tracer = self._look_on(options(), pid)
            self.release(awaited)
            is_over = self._is_over(tracer)
        for name in others:
            self.release(name)
        if not is_over:
            return None, pid
        lines = self.kept("strace")
        # With -f, each line begins with the pid.
        end = re.search(r"^(?:%d +)?\+\+\+ exited with (\d+)" % pid, lines, re.M)
        if end:
            return int(end.group(1)), pid
        return 0 if (self.folder / "follows").exists() else -signal.SIGKILL, pid

    @staticmethod
    def _is_over(tracer):
        """Wait until strace has seen the end of what it looks on; False if it had to be killed."""
        try:
            tracer.wait(PATIENCE_S)
            return True
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.wait()
            return False

    def _look_on(self, options, pid):
        return look_on(["-q", "-y", "-o", str(self.folder / "strace")] + options, pid)

    def _waiting_supervisor(self):
        launcher = self.conductor("tick")
        mark = self.folder / "pid"
        self.until(mark.exists)
        pid = int(mark.read_text())
        self.until(lambda: ") T " in pathlib.Path("/proc/%d/stat" % pid).read_text())
        return pid, launcher

    def _leave_orphans(self):
        """Kill supervisors: a's command lives on, e's is gone, b's and f's have ended unseen."""
        held = [name for name in self.tasks if name in INDEPENDENT]
        for name in held:
            self.hold(name)
        self.wait_for(self.conductor("tick"))
        self.until(lambda: len(self.starts()) == len(held))
        ending = [name for name in held if name in "bf"]
        with open(str(self.root / "conductor.pid"), "r+") as busy:
            fcntl.flock(busy, fcntl.LOCK_EX)  # so that no supervisor can decide at the end
            for name in ending:
                self.release(name)
            self.until(lambda: all('"result"' in self.read("status/runs/%s.json" % name)
                                   for name in ending))
            for pid in self._supervisors():
                os.kill(pid, signal.SIGKILL)
            self.release("e")
            for start in self.starts():
                if start.task == "e":
                    os.killpg(start.pid, signal.SIGKILL)
            self.until(lambda: not self._supervisors())

    def _supervisors(self):
        return [pid for pid, arguments in self.living() if " supervise " in arguments]

    def hold(self, name):
        """Let the command of a task wait."""
        (self.root / ("hold-" + name)).write_text("")

    def release(self, name):
        """Let the command of a task go on to its end."""
        try:
            (self.root / ("hold-" + name)).unlink()
        except FileNotFoundError:
            pass

    # -- what others can see

    def read(self, name):
        """The text of a file of the project; "" where there is none."""
        try:
            return (self.root / name).read_text(errors="replace")
        except OSError:
            return ""

    def kept(self, name):
        """The text of a file beside the project: strace, or what a process said."""
        return self.read("../" + name)

    def starts(self):
        """What started, as the commands wrote it down."""
        rows = [line.split() for line in self.read("ran").splitlines()]
        return [Start(row[1], row[2], int(row[3]), row[4], int(row[5]))
                for row in rows if row[0] == "start"]

    def ends(self):
        """run id -> exit code, as the commands wrote it down."""
        rows = [line.split() for line in self.read("ran").splitlines()]
        return {row[4]: int(row[5]) for row in rows if row[0] == "end"}

    def by_hand(self):
        return [start for start in self.starts() if start.slot != self.slot]

    def history(self):
        """(the records of the history, the lines that are none)"""
        records, bad = [], []
        for path in sorted(self.root.glob("status/history/*.jsonl")):
            for line in path.read_text(errors="replace").splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    bad.append(line)
        return records, bad

    def verdicts(self, task):
        return [record for record in self.history()[0]
                if record.get("task") == task and record.get("scheduled_for") == self.slot]

    def is_done(self):
        return all(self.verdicts(task) for task in self.tasks) and self.is_recorded()

    def is_recorded(self):
        """Whether the history has the runs by hand."""
        recorded = {record.get("run_id") for record in self.history()[0]}
        return all(start.run_id in recorded for start in self.by_hand())

    def answer(self, *words):
        """(exit code, the document that a command prints, or {}; what it says on stderr)"""
        name = words[0]
        (self.folder / (name + ".out")).write_text("")
        code = self.wait_for(self.conductor(*words, said=name))
        try:
            return code, json.loads(self.kept(name + ".out")), self.kept(name + ".err")
        except ValueError:
            return code, {}, self.kept(name + ".err")

    def said(self):
        """What the conductor's processes said on stderr, and wrote into their logs."""
        paths = sorted(self.folder.glob("*.err")) + sorted(self.root.glob("logs/**/*.log"))
        paths += self.folder.glob("said")
        return "\n".join(path.read_text(errors="replace") for path in paths)


# -- the judge

def judge(scene, code, case=None):
    """[(kind, detail)] of what is wrong after the error, and after the ticks that follow it."""
    wrong = []
    if code is None:
        wrong.append(("hangs", "it did not end within %d s" % PATIENCE_S))
    if not scene.is_quiet():
        wrong.append(("hangs", "something it started did not end within %d s" % PATIENCE_S))
    wrong += judge_words(scene, code, case)
    wrong += recover(scene)
    wrong += judge_runs(scene, scene.kept("strace").count("(INJECTED)"), was_killed(scene, case))
    wrong += judge_views(scene, case)
    scene.forget_watches()
    return wrong


def was_killed(scene, case):
    """Whether the process of this case met its kill -9."""
    return case is not None and case.error == KILL and KILLED in scene.kept("strace")


def judge_words(scene, code, case):
    """Whether the process that met the error tells of it, where the work is not done at once."""
    wrong = []
    if code == -signal.SIGKILL and was_killed(scene, case):
        return wrong
    told = scene.kept("met.err") + scene.kept("met.out")
    if scene.supervisor:  # its exit code and its stderr are seen by nobody
        told = told_in_log(scene, case)
    if code is not None and code < 0:
        wrong.append(("killed", "it did not end by itself"))
    if code == sc.EXIT_SOFTWARE:
        wrong.append(("exit 70", told.strip()[-200:]))
    is_answer = case and (case.point.name, case.error) == ("flock", "EAGAIN")
    if scene.is_done() or is_answer:  # that somebody else holds a lock is no error
        return wrong
    by_hand = [scene.ends().get(start.run_id) for start in scene.by_hand()]
    if by_hand == [0] and scene.is_recorded():  # what else is due is no matter of a run by hand
        return wrong
    if code == 0 and scene.phase == "unsettled":
        return wrong  # the next tick finds the result
    if code == 0 and not scene.supervisor and by_hand != [0]:
        status = scene.answer("status", "--json")[1]
        wrong.append(("silent", "the work is not done and it exits 0; healthy is %s" % (
            status.get("healthy"))))
    if not any(PLACE.search(line) for line in less_what_is_no_place(told)):
        wrong.append(("no place", "the work is not done, it exits with %s and says %r" % (
            code, told.strip()[-200:])))
    return wrong


def told_in_log(scene, case):
    """The lines of the conductor's log that tell of something wrong."""
    signs = "ERROR|WARNING"
    if case and case.error != KILL:
        signs += "|" + re.escape(os.strerror(getattr(errno, case.error)))
    log = scene.read("logs/symphony_conductor.log").splitlines()
    return "\n".join(line for line in log if re.search(signs, line))


def less_what_is_no_place(text):
    """Lines less the time, the name of the program, and the slash of "Input/output error"."""
    return [re.sub(r"^(\S+Z )?(ERROR|WARNING)?\s*(symphony_conductor(\.py)?: )?", "", line)
            for line in text.replace(os.strerror(errno.EIO), "").splitlines()]


def recover(scene):
    """Send ticks as cron would, and one more when all is done: what is wrong with these."""
    wrong = []
    for number in range(1, RECOVERY_TICKS + 1):
        was_done = scene.is_done()
        name = "tick%d" % number
        code = scene.wait_for(scene.conductor("tick", said=name))
        if code != 0:
            wrong.append(("later tick", "tick %d after it exits with %s: %s" % (
                number, code, scene.kept(name + ".err").strip()[-200:])))
        if not scene.is_quiet():
            wrong.append(("hangs", "what tick %d after it started does not end" % number))
        if was_done:
            break
    return wrong


def judge_runs(scene, errors, was_killed=False):
    """What the commands wrote down themselves, against what the history says of them.

    How the command of a supervisor that `was_killed` ended, nobody may have seen.
    """
    wrong = []
    starts, ends = scene.starts(), scene.ends()
    wrong += [("history", "a line is none: %r" % line[:100]) for line in scene.history()[1]]
    counted = collections.Counter("run %s" % start.run_id for start in starts)
    counted += collections.Counter("%s %s attempt %d" % start[:3] for start in starts)
    wrong += [("doubled", "%s ran %d times" % each) for each in counted.items() if each[1] > 1]
    failed = 0
    for task in scene.tasks:
        # How the command of the one ended nobody saw, and that of the other was killed.
        is_excused = scene.has_orphans and task in "ae"
        is_excused |= was_killed and task == scene.supervisor[-1:]
        verdicts = scene.verdicts(task)
        statuses = [record.get("status") for record in verdicts]
        if not verdicts:
            wrong.append(("lost", "%s has no verdict" % task))
        if len(verdicts) > 1:
            wrong.append(("doubled", "%s has %d verdicts: %s" % (task, len(verdicts), statuses)))
        for record in verdicts:
            if record.get("status") != "success":
                wrong.append(("wrong verdict", "%s is %s: %s" % (
                    task, record.get("status"), record.get("reason"))))
            for attempt in list(record.get("attempts") or []) + [record]:
                problem = judge_attempt(attempt, starts, ends)
                if problem and not is_excused:
                    failed += problem[0] == "failed"
                    wrong += [] if problem == ("failed", "") else [problem]
        mine = [start for start in starts if (start.task, start.slot) == (task, scene.slot)]
        for start in mine[:-1]:
            if ends.get(start.run_id) == 0 and not is_excused:
                wrong.append(("doubled", "%s ran again after attempt %d had succeeded" % (
                    task, start.attempt)))
    if failed > errors:
        wrong.append(("wrong verdict", "%d attempts failed by %d errors" % (failed, errors)))
    return wrong + judge_by_hand(scene, ends, was_killed)


def judge_attempt(attempt, starts, ends):
    """(kind, detail) of what is wrong with an attempt as the history has it.

    It is ("failed", "") when the error made it fail and that is said, and None when the history
    has what the command wrote down.
    """
    status, run_id = attempt.get("status"), attempt.get("run_id")
    ended = ends.get(run_id)
    place = "attempt %s of %s" % (attempt.get("attempt"), attempt.get("task"))
    if {0: "success", 1: "failed"}.get(ended) == status:
        return None
    if ended is not None or status == "success":
        return "wrong verdict", "%s exits with %s and is %s: %s" % (
            place, ended, status, attempt.get("reason"))
    did_start = any(start.run_id == run_id for start in starts)
    if attempt.get("reason") or not did_start and attempt.get("output_tail"):
        return "failed", ""
    did = "was cut short" if did_start else "did not start"
    return "no reason", "%s %s and is %s, exit code %s, without a reason" % (
        place, did, status, attempt.get("exit_code"))


def judge_by_hand(scene, ends, was_killed):
    wrong = []
    if len(scene.by_hand()) > (scene.phase == "run"):
        wrong.append(("doubled", "%d runs by hand" % len(scene.by_hand())))
    for start in scene.by_hand():
        statuses = [record.get("status") for record in scene.history()[0]
                    if record.get("run_id") == start.run_id]
        if not statuses:
            wrong.append(("lost", "the run by hand has no verdict"))
        if len(statuses) > 1:
            wrong.append(("doubled", "the run by hand has the verdicts %s" % statuses))
        did_succeed = ends.get(start.run_id) == 0
        if statuses and (statuses[0] == "success") != did_succeed and not was_killed:
            wrong.append(("wrong verdict", "the run by hand exits with %s and is %s" % (
                ends.get(start.run_id), statuses[0])))
    return wrong


def judge_views(scene, case):
    """What is left, and what people are shown."""
    wrong = []
    try:
        json.loads(scene.read("conductor_state.json"))
    except ValueError as problem:
        wrong.append(("state", "it does not parse: %s" % problem))
    for path in scene.root.glob("**/*"):
        if path.name.startswith("conductor_state.json.bad"):
            wrong.append(("set aside", path.name))
        # The pipe of a supervisor that was killed stays if the tick fails that was to remove it.
        is_excused = case is not None and scene.phase == "settle"
        if path.is_fifo() and not is_excused:
            wrong.append(("left behind", str(path.relative_to(scene.root))))
    code, status, said = scene.answer("status", "--json")
    if not status:
        wrong.append(("status", "it exits with %s: %s" % (code, said.strip()[-200:])))
    for run in status.get("running", []):
        wrong.append(("ghost", "%s is among those that run" % run.get("task")))
    for task in status.get("tasks", []):
        if task["state"] in ("running", "queued", "waiting", "retrying", "retry"):
            wrong.append(("ghost", "%s is shown as %s" % (task["name"], task["state"])))
        if task["name"] == "paused" and not task["paused"]:
            wrong.append(("pause lost", "the task that was paused is so no more"))
    code, audit, said = scene.answer("audit", "--since", "1d", "--json")
    if code != 0 or audit.get("unexplained") != 0:
        wrong.append(("audit", "it exits with %s: %s %s" % (
            code, json.dumps(audit.get("findings"))[:200], said.strip()[-200:])))
    said = scene.said()
    traces = re.findall(r"Traceback \(most|internal error.*", said)
    if traces:
        named = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*", said, re.M)
        wrong.append(("traceback", (named or traces)[-1][:200]))
    return wrong


# -- the cases

def points_of(scene, pid):
    """The calls that strace wrote down, of a process and of what it forks until that execs.

    An error is injected into every process that gets to the call. So of the calls of a child only
    those count that its parent never makes. Supervisors that it forks have phases of their own.
    """
    lines_of = collections.OrderedDict()
    for line in scene.kept("strace").splitlines():
        number, _, rest = line.partition(" ")
        lines_of.setdefault(int(number), []).append(rest.lstrip())
    points, seen = [], collections.Counter()
    own = calls_in("\n".join(lines_of[pid]))
    for name, number, line in own:
        path = path_of(scene, pid, line)
        seen[name, path] += 1
        # How often others are looked up in the process table depends on what runs here besides.
        is_left_out = path == "{folder}/said" or path is None and seen[name, path] > 1
        if not is_left_out and not THEIR_OWN.search(line):
            number = seen[name, path] if path else number
            points.append(Point(name, number, path or "", line, False))
    names = {name for name, _, _ in own}
    in_children = collections.OrderedDict()
    for child in children_in(lines_of[pid]):
        lines = lines_of.get(child, [])
        if any(PROCESS_MEMORY in line for line in lines):
            continue
        for name, number, line in calls_in("\n".join(lines)):
            if name == "openat" and '"/dev/null"' in line:
                in_children.setdefault((name, 1, "/dev/null"), line)
            elif name not in names:
                in_children.setdefault((name, number, ""), line)
    return points + [Point(*key, line=line, in_child=True) for key, line in in_children.items()]


def children_in(lines):
    """The pids of what a process started."""
    started = [re.search(r"\b(?:clone3?|v?fork)(?:\(| resumed).*= (\d+)$", line) for line in lines]
    return [int(match.group(1)) for match in started if match]


def path_of(scene, pid, line):
    """The file that a call of a process is about; "" if none that has this name in every case.

    None is for the processes of others.
    """
    found = re.search(r'\d<(/[^>]*)>|"(\.?/[^"]*)"', line)
    path = found.group(found.lastindex) if found else ""
    if path.startswith("./"):  # the conductor stands in the root folder
        path = str(scene.root) + path[1:]
    process = re.match(r"/proc/(\d+)", path)
    if process and int(process.group(1)) != pid:
        owners = {str(start.pid): start.task for start in scene.starts()}
        owner = owners.get(process.group(1))
        if owner and scene.has_orphans:
            return "/proc/{%s}%s" % (owner, path[process.end():])
        return "" if owner else None
    changing = r"^/proc/\d|\d{8}T\d{6}Z|[0-9a-f]{16}|^/dev/|\.(?:out|err)$"
    if re.search(changing, path) or path == str(scene.root):
        return ""
    return path.replace(str(scene.root), "{root}").replace(str(scene.folder), "{folder}")


def errors_of(point, wanted):
    """Those of the wanted errors that this call may meet."""
    errors = [error for error in wanted if point.name in ERRORS[error]]
    if point.in_child:
        errors = [error for error in errors if error != KILL]
    if LEFT_OPEN.search(point.line):
        return []
    if NO_DISK.search(point.line):
        return [error for error in errors if error not in DISK_ERRORS]
    if "AT_EMPTY_PATH" in point.line:  # fstat() by another name
        return [error for error in errors if error in ("EIO", "ESTALE")]
    if point.name in ("open", "openat", "close") and not WRITTEN.search(point.line):
        return [error for error in errors if error != "ENOSPC"]
    return errors


def options_for(scene, case):
    """What strace has to be told to inject the error of this case."""
    name, number, path, _, in_child = case.point
    what = "signal=KILL" if case.error == KILL else "error=" + case.error
    options = ["-e", "trace=" + name, "-e", "inject=%s:%s:when=%d" % (name, what, number)]
    if path:
        pids = {start.task: start.pid for start in scene.starts()}
        path = path.format(root=scene.root, folder=scene.folder, **pids)
        options += ["-P", path]
        if path.startswith(str(scene.root) + "/"):  # strace holds a path against the words of a call
            options += ["-P", "." + path[len(str(scene.root)):]]
    if in_child:
        (scene.folder / "follows").write_text("")
        options.append("-f")
    if in_child and name != "execve":
        options += ["-b", "execve"]
    return options


def probe(folder, phase, is_small=False):
    """The points of a phase, and what is wrong when no error is injected."""
    scene = Scene.set_up(folder, phase, is_small)
    code, pid = scene.act(lambda: ["-f", "-b", "execve"])
    points = points_of(scene, pid)
    return points, judge(scene, code)


def attempt_case(job):
    """(case, whether the error was met, the call, what is wrong) of one case."""
    number, case, folder, is_small, keeps = job
    folder = folder / ("%s-%d" % (case.phase, number))
    met = []
    try:
        scene = Scene.set_up(folder, case.phase, is_small)
        code, _ = scene.act(lambda: options_for(scene, case))
        wrong = judge(scene, code, case)
        lines = scene.kept("strace").splitlines()
        met = [line for line in lines if "(INJECTED)" in line]
        if was_killed(scene, case):
            met = lines[-2:-1]
        if any(LEFT_OPEN.search(line) for line in met):
            met, wrong = [], []
    except Exception:
        wrong = [("harness", traceback.format_exc())]
    if not (wrong and keeps):
        shutil.rmtree(str(folder), ignore_errors=True)
    line = (met or [case.point.line])[0]
    return case, bool(met), line.strip().replace(str(folder), ""), wrong


def cases_of(phase, points, errors):
    return [Case(phase, error, point) for point in points for error in errors_of(point, errors)]


def sample_of(phase, points, errors):
    """Some cases: reads of the state and of a record with each error, others with one each.

    Every call is among them that starts a process or makes one a supervisor.
    """
    first = collections.OrderedDict()
    for point in points:
        is_start = STARTING.search(point.name) or point.path == PROCESS_MEMORY
        if point.path.startswith("{root}") or point.in_child or is_start:
            first.setdefault((point.name, point.path), (point, is_start))
    picked, starts, others, step = [], 0, 0, PHASES[phase].step
    for point, is_start in first.values():
        possible = errors_of(point, errors)
        if not possible:
            continue
        is_read = point.name in ("open", "openat", "read", "fsync")
        if is_read and point.path == SAMPLE_WHOLE.get(phase):
            picked += [Case(phase, error, point) for error in possible if error != "EINTR"]
        elif is_start:
            picked.append(Case(phase, possible[starts % len(possible)], point))
            starts += 1
        else:
            if others % step == 0:
                picked.append(Case(phase, possible[others // step % len(possible)], point))
            others += 1
    return picked


def report(results, phases, errors, seconds):
    """Print a table, and the kinds of what is wrong; whether all is well."""
    total, bad = collections.Counter(), collections.Counter()
    for case, _, _, wrong in results:
        total[case.phase, case.error] += 1
        bad[case.phase, case.error] += bool(wrong)
    print("\ncases (bad) " + "".join("%12s" % error for error in errors))
    for phase in phases:
        cells = ["%d (%d)" % (total[phase, error], bad[phase, error]) for error in errors]
        print("%-12s" % phase + "".join("%12s" % cell for cell in cells))
    missed = sum(not met for _, met, _, _ in results)
    print("%d cases in %d s, %d bad; in %d the call was not made this time" % (
        len(results), seconds, sum(bad.values()), missed))
    kinds = collections.OrderedDict()
    for case, _, line, wrong in results:
        for kind, _ in wrong:
            kinds.setdefault(kind, collections.OrderedDict())[id(case)] = case.phase, line
    for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        phase, line = next(iter(found.values()))
        print("\n%s: %d cases, the first is\n    %s %s" % (kind, len(found), phase, line[:160]))
    return not sum(bad.values())


def arguments():
    def words(known):
        def parse(text):
            unknown = [word for word in text.split(",") if word not in known]
            if unknown:
                raise argparse.ArgumentTypeError("'%s' is none of %s" % (
                    unknown[0], ", ".join(known)))
            return text.split(",")
        return parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phase", type=words(PHASES), default=list(PHASES), metavar="PHASE,...")
    parser.add_argument("--errors", type=words(ERRORS), default=list(ERRORS), metavar="ERRNO,...")
    parser.add_argument("--calls", metavar="CALL,...", help="only these system calls")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1), metavar="N")
    parser.add_argument("--sample", action="store_true", help="only some of the cases")
    parser.add_argument("--keep", metavar="FOLDER", help="leave the projects of bad cases here")
    parser.add_argument("--room", help=argparse.SUPPRESS)  # see make_room
    return parser.parse_args()


def run_cases(args, folder):
    """What `attempt_case` says of every case; None when a phase goes wrong without any error."""
    cases = []
    for phase in args.phase:
        points, wrong = probe(folder / ("probe-" + phase), phase, args.sample)
        if wrong:
            print("%s without any error: %s" % (phase, wrong), file=sys.stderr)
            return None
        if args.calls:
            points = [point for point in points if point.name in args.calls.split(",")]
        picked = (sample_of if args.sample else cases_of)(phase, points, args.errors)
        print("%s: %d calls, %d cases" % (phase, len(points), len(picked)), flush=True)
        cases += picked
    results = []
    with multiprocessing.get_context("fork").Pool(args.workers) as pool:
        jobs = [(number, case, folder, args.sample, args.keep) for number, case in enumerate(cases)]
        for result in pool.imap(attempt_case, jobs):
            results.append(result)
            case, _, line, wrong = result
            if wrong:
                print("\n%s %s: %s" % (case.phase, case.error, line[:200]), flush=True)
            for kind, detail in wrong:
                print("    %s: %s" % (kind, detail), flush=True)
            if len(results) % 500 == 0:
                print("%d of %d cases" % (len(results), len(cases)), flush=True)
    return results


def make_room():
    """Start anew with longer arguments where those of a forked supervisor would not fit.

    Returns whether supervisors are forked here.
    """
    title = sc.ProcessTitle.of_this()
    room = "x" * 200
    if title is not None and not title.has_room([room], room):
        os.environ["INJECT_ROOM"] = room
        os.execv(sys.executable, [sys.executable] + sys.argv + ["--room=" + room])
    return title is not None


def main():
    args = arguments()
    if not strace_works():
        print("strace with fault injection is not here", file=sys.stderr)
        return 2
    if not make_room() and not all(phase.endswith("_exec") for phase in args.phase):
        print("no forked process can show its own arguments here", file=sys.stderr)
        return 2
    began = time.monotonic()
    folder = pathlib.Path(args.keep or tempfile.mkdtemp(prefix="symphony-inject.")).resolve()
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        results = run_cases(args, folder)
    finally:
        if not args.keep:
            shutil.rmtree(str(folder), ignore_errors=True)
    if results is None:
        return 2
    return 0 if report(results, args.phase, args.errors, time.monotonic() - began) else 1


if __name__ == "__main__":
    sys.exit(main())
