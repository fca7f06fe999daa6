"""A kernel for the conductor's real code: its clocks, files, processes, pipes, signals and errors.

Time passes only while every process waits. Whatever a process asks of the machine comes through
`Kernel.enter`, where it can be killed, held up, or met with an error; so nothing depends on luck.
"""

import errno
import fcntl
import heapq
import os
import random
import select
import signal

from . import disk
from .coroutine import Coroutine

BOOT_TICKS = 12        # when process 1 began, in clock ticks since the boot
ROOT_USER, USER, OTHER_USER = 0, 1000, 1001
FIRST_PID, LAST_PID = 300, 32768
YIELDS = 0.02          # of the calls made while another process could run: it runs first


class Killed(BaseException):
    """The process that runs is no more: nothing it would still do has an effect."""


class Ended(BaseException):
    """The process that runs has called _exit, or became another program."""


def error(number, path=None):
    return OSError(number, os.strerror(number), path)


class Pipe:
    """What is between a reader and a writer."""

    SIZE = 65536

    def __init__(self):
        self.data = bytearray()
        self.readers = self.writers = 0
        self.waiters = []


class OpenFile:
    """An open file description: shared by the descriptors that dup and fork make of it."""

    __slots__ = ("inode", "pipe", "reads", "writes", "appends", "blocks", "at", "count", "text")

    def __init__(self, inode=None, pipe=None, reads=False, writes=False, appends=False,
                 blocks=True, text=None):
        self.inode, self.pipe, self.reads, self.writes = inode, pipe, reads, writes
        self.appends, self.blocks, self.text = appends, blocks, text
        self.at, self.count = 0, 1


class Process:
    """A process: the conductor's own, whose code is run, or a command, which only has a fate."""

    def __init__(self, pid, parent, uid, start):
        self.pid, self.parent, self.uid, self.start = pid, parent, uid, start
        self.group = self.session = pid
        self.is_zombie = False
        self.status = 0              # as waitpid(2) has it
        self.arguments, self.environ = [], {}
        self.shown = None            # the environment that others see, while it is another one
        self.fds = {}
        self.inheritable = set()     # which of them an exec leaves open
        self.cwd = None
        self.is_subreaper = False
        self.coroutine = None
        self.is_doomed = False
        self.is_blocked = False
        self.wakes = 0               # numbers the waits, so that an old alarm wakes nobody
        self.handlers, self.pending = {}, []
        self.wakeup_fd = -1
        self.alarm = 0               # numbers the timers of SIGALRM
        self.fate = None             # of a command: what it does when a signal comes
        self.stopped_until = None    # cannot be killed before: it waits for a disk
        self.printed = []            # what it wrote to its standard streams
        self.what = ""               # for stories
        self.on_end = None
        self.trouble = ""            # the traceback of an internal error


class Kernel:
    """One machine. `stamp` is true time, in epoch seconds; nobody on the machine can read it."""

    def __init__(self, stamp, rng):
        self.stamp = float(stamp)
        self.rng = rng
        self.turns = random.Random(int(stamp))  # for whose turn it is, and nothing else
        self.offset = 0.0            # of the wall clock against true time
        self.boots = 0
        self.suspended_s = 0.0
        self.booted_at = self.stamp
        self.disk = disk.Disk(lambda: int(self.now() * 1e9) // 4000000 * 4000000,
                              lambda: self.stamp)
        self.queue, self.numbers = [], 0
        self.processes = {}
        self.next_pid = FIRST_PID
        self.current = None
        self.is_up = False
        self.calls = 0
        self.alert_at = float("inf")  # the number of the call at which `alert` is asked
        self.alert = None             # what happens there; it may raise
        self.hidden = False           # whether other users' processes are hidden: proc(5), hidepid
        self.slowness_s = 0.0         # of each fsync
        self.dead_paths = ()          # whose reading fails, by a part of the path
        self.on_spawn = None          # told of each program that starts
        self.programs = {}            # what an exec runs: path -> function(kernel, process)
        self.boot_id = ""

    # -- time

    def now(self):
        return self.stamp + self.offset

    def monotonic(self):
        return self.stamp - self.booted_at - self.suspended_s + 5.0

    def since_boot(self):
        return self.stamp - self.booted_at + 5.0

    def at(self, stamp, action, *arguments):
        """Have something happen at a true time."""
        self.numbers += 1
        heapq.heappush(self.queue, (stamp, self.numbers, action, arguments))

    def after(self, seconds, action, *arguments):
        self.at(self.stamp + seconds, action, *arguments)

    def next_event_at(self):
        return self.queue[0][0] if self.queue else float("inf")

    def step(self):
        """Let the next thing happen."""
        stamp, _, action, arguments = heapq.heappop(self.queue)
        if stamp > self.stamp:
            self.stamp = stamp
        action(*arguments)

    # -- what a running process asks for

    def enter(self, call, path=None):
        """The door to the kernel: returns the process that calls."""
        process = self.current
        if process.coroutine is None:
            return process           # somebody who only looks on
        if process.is_doomed:
            raise Killed
        self.calls += 1
        if self.calls >= self.alert_at:
            self.alert(process, call, path)
            if process.is_doomed:
                raise Killed
        if process.pending:
            self.handle_signals(process)
        if self.queue[:1] and self.queue[0][0] <= self.stamp and self.turns.random() < YIELDS:
            self.block(process, self.stamp)
        return process

    def block(self, process, until=None):
        """Wait until somebody wakes this process, or until a true time."""
        process.wakes += 1
        process.is_blocked = True
        if until is not None:
            self.at(until, self.wake, process, process.wakes)
        process.coroutine.leave()
        if process.is_doomed:
            raise Killed
        if process.pending:
            self.handle_signals(process)

    def wake(self, process, number=None):
        if process.is_blocked and number in (None, process.wakes):
            process.is_blocked = False
            self.at(self.stamp, self.run, process)

    def wake_all(self, waiters):
        waiting = waiters[:]
        del waiters[:]
        for process in waiting:
            self.wake(process)

    def run(self, process):
        """Let a process go on until it waits or ends."""
        coroutine = process.coroutine
        if coroutine is None or coroutine.is_over:
            return
        before, self.current = self.current, process
        try:
            coroutine.enter()
        finally:
            self.current = before
        if coroutine.is_over and process.coroutine is coroutine:  # it is no other program by now
            self.end(process)

    def handle_signals(self, process):
        while process.pending:
            number = process.pending.pop(0)
            handler = process.handlers.get(number, signal.SIG_DFL)
            if handler == signal.SIG_IGN or (handler == signal.SIG_DFL and number == signal.SIGCHLD):
                continue
            if handler == signal.SIG_DFL:
                process.status = number
                process.is_doomed = True
                raise Killed
            handler(number, None)

    # -- processes

    def new_process(self, parent, uid, start_delay=0.0):
        pid = self.next_pid
        while pid in self.processes or any(
                pid in (each.group, each.session) for each in self.processes.values()):
            pid += 1
            if pid > LAST_PID:
                pid = FIRST_PID
        self.next_pid = pid + 1 if pid < LAST_PID else FIRST_PID
        ticks = int((self.since_boot() + start_delay) * 100)
        process = Process(pid, parent.pid if parent else 1, uid, ticks)
        if parent is not None:
            process.group, process.session = parent.group, parent.session
            process.cwd = parent.cwd
            process.environ = dict(parent.environ)
            process.handlers = dict(parent.handlers)
            process.wakeup_fd = parent.wakeup_fd
            process.arguments = parent.arguments
            for fd, opened in parent.fds.items():
                opened.count += 1
                process.fds[fd] = opened
            process.inheritable = set(parent.inheritable)
        self.processes[pid] = process
        return process

    def start(self, process, function):
        """Have a process run a function of the conductor's code."""
        def body():
            try:
                function()
            except (Killed, Ended):
                pass

        process.coroutine = Coroutine(body)
        self.at(self.stamp, self.run, process)

    def fork(self, function):
        """Fork the running process into one that runs `function`: the new pid."""
        process = self.enter("fork")
        child = self.new_process(process, process.uid)
        child.shown, child.on_end = process.shown, process.on_end
        child.what = "supervisor %d" % child.pid
        self.start(child, function)
        if self.turns.random() < 0.5:  # the child runs first
            self.block(process, self.stamp)
        return child.pid

    def exit(self, code):
        """_exit(2) of the running process."""
        process = self.enter("exit")
        process.status = code << 8
        raise Ended

    def exec(self, path, arguments, environ):
        """execve(2) of the running process. Raises OSError."""
        process = self.enter("exec", path)
        program = self.programs.get(path)
        if program is None:
            raise error(errno.ENOENT, path)
        self.become(process, program, arguments, environ)
        raise Ended

    def become(self, process, program, arguments, environ):
        """Make a process one of another program."""
        for fd in [fd for fd in process.fds if fd not in process.inheritable]:
            self.close_file(process.fds.pop(fd))
        process.arguments, process.environ, process.shown = list(arguments), dict(environ), None
        process.handlers = {number: how for number, how in process.handlers.items()
                            if how == signal.SIG_IGN}
        process.wakeup_fd, process.coroutine = -1, None
        program(self, process)

    def end(self, process):
        """A process is gone: close what it had open, and tell its parent."""
        if self.processes.get(process.pid) is not process or process.is_zombie:
            return
        process.is_zombie = True
        process.coroutine = process.coroutine if process.coroutine is None else _OVER
        for opened in list(process.fds.values()):
            self.close_file(opened)
        process.fds.clear()
        for child in list(self.processes.values()):
            if child.parent == process.pid:
                self.adopt(child, process)
        if process.on_end is not None:
            process.on_end(process)
        parent = self.processes.get(process.parent)
        if parent is None or parent.is_zombie:
            del self.processes[process.pid]  # process 1 reaps at once
            return
        self.send(parent, signal.SIGCHLD)

    def adopt(self, child, dead):
        """Give the child of a dead process to the next subreaper above it, or to process 1."""
        seen, above = set(), self.processes.get(dead.parent)
        while above is not None and above.pid not in seen:
            if above.is_subreaper and not above.is_zombie:
                child.parent = above.pid
                if child.is_zombie:
                    self.send(above, signal.SIGCHLD)
                return
            seen.add(above.pid)
            above = self.processes.get(above.parent)
        child.parent = 1
        if child.is_zombie:
            del self.processes[child.pid]

    def send(self, process, number):
        """Deliver a signal."""
        if process.is_zombie:
            return
        if process.fate is not None:
            if number != signal.SIGCHLD:
                process.fate(process, number)
            return
        if number == signal.SIGKILL:
            self.destroy(process, number)
            return
        handler = process.handlers.get(number, signal.SIG_DFL)
        if number == signal.SIGCHLD and handler == signal.SIG_DFL:
            self.wake(process)  # from waitpid(2)
            return
        process.pending.append(number)
        opened = process.fds.get(process.wakeup_fd)
        if opened is not None and opened.pipe is not None and handler not in (
                signal.SIG_DFL, signal.SIG_IGN):
            opened.pipe.data.append(number)
            self.wake_all(opened.pipe.waiters)
        self.wake(process)

    def destroy(self, process, status):
        """End a process here and now."""
        if process.is_zombie:
            return
        process.status = status
        if process.coroutine is None:
            self.end(process)
            return
        process.is_doomed = True
        if process is self.current:
            return                    # at its next call
        if process.is_blocked:
            process.is_blocked = False
            self.run(process)
        # Otherwise it is about to run, and ends there.

    def kill(self, pid, number):
        """kill(2) of the running process."""
        caller = self.enter("kill")
        process = self.processes.get(pid)
        if process is None:
            raise error(errno.ESRCH)
        if not self.may_signal(caller, process):
            raise error(errno.EPERM)
        if number:
            self.send(process, number)

    def killpg(self, group, number):
        caller = self.enter("kill")
        members = [each for each in self.processes.values() if each.group == group]
        if not members:
            raise error(errno.ESRCH)
        allowed = [each for each in members if self.may_signal(caller, each)]
        if not allowed:
            raise error(errno.EPERM)
        if number:
            for process in allowed:
                self.send(process, number)

    @staticmethod
    def may_signal(caller, process):
        return caller.uid in (ROOT_USER, process.uid)

    def wait(self, pid, options):
        """waitpid(2), and waitid(2) where nothing is reaped: (pid, status)."""
        process = self.enter("wait")
        while True:
            children = [each for each in self.processes.values()
                        if each.parent == process.pid and pid in (-1, each.pid)]
            if not children:
                raise error(errno.ECHILD)
            for child in children:
                if child.is_zombie:
                    if not options & os.WNOWAIT:
                        del self.processes[child.pid]
                    return child.pid, child.status
            if options & os.WNOHANG:
                return 0, 0
            self.block(process)

    # -- open files

    def open_file(self, process, opened):
        fd = 0
        while fd in process.fds:
            fd += 1
        process.fds[fd] = opened
        process.inheritable.discard(fd)
        return fd

    def file_of(self, process, fd):
        opened = process.fds.get(fd)
        if opened is None:
            raise error(errno.EBADF)
        return opened

    def close(self, fd):
        process = self.enter("close")
        opened = process.fds.pop(fd, None)
        if opened is None:
            raise error(errno.EBADF)
        self.close_file(opened)

    def close_file(self, opened):
        opened.count -= 1
        if opened.count:
            return
        inode, pipe = opened.inode, opened.pipe
        if inode is not None and inode.lock is opened:
            inode.lock = None
            self.wake_all(inode.waiters)
        if pipe is not None:
            pipe.readers -= opened.reads
            pipe.writers -= opened.writes
            self.wake_all(pipe.waiters)
            if inode is not None and not pipe.readers and not pipe.writers:
                inode.pipe = None

    def flock(self, fd, how):
        process = self.enter("flock")
        opened = self.file_of(process, fd)
        inode = opened.inode
        if how & fcntl.LOCK_UN:
            if inode.lock is opened:
                inode.lock = None
                self.wake_all(inode.waiters)
            return
        while inode.lock not in (None, opened):
            if how & fcntl.LOCK_NB:
                raise error(errno.EWOULDBLOCK)
            inode.waiters.append(process)
            self.block(process)
        inode.lock = opened

    def read(self, fd, size):
        process = self.enter("read")
        opened = self.file_of(process, fd)
        if opened.pipe is not None:
            pipe = opened.pipe
            while not pipe.data:
                if not pipe.writers:
                    return b""
                if not opened.blocks:
                    raise error(errno.EAGAIN)
                pipe.waiters.append(process)
                self.block(process)
            data = bytes(pipe.data[:size])
            del pipe.data[:size]
            self.wake_all(pipe.waiters)
            return data
        source = (opened.text or b"") if opened.inode is None else opened.inode.data
        data = bytes(source[opened.at:opened.at + size])
        opened.at += len(data)
        return data

    def write(self, fd, data):
        process = self.enter("write")
        opened = self.file_of(process, fd)
        data = bytes(data)
        if opened.pipe is not None:
            if not opened.pipe.readers:
                raise error(errno.EPIPE)
            opened.pipe.data += data
            self.wake_all(opened.pipe.waiters)
        elif opened.inode is None:
            if opened.text is None:
                process.printed.append(data)
        else:
            at = len(opened.inode.data) if opened.appends else opened.at
            self.disk.write(opened.inode, at, data)
            opened.at = at + len(data)
        return len(data)

    def poll(self, interests, timeout_ms):
        """poll(2): the [(fd, events)] that are ready."""
        process = self.enter("poll")
        until = None if timeout_ms is None or timeout_ms < 0 else (
            self.stamp + timeout_ms / 1000.0)
        while True:
            ready, pipes = [], []
            for fd, events in interests.items():
                opened = process.fds.get(fd)
                if opened is None:
                    ready.append((fd, select.POLLNVAL))
                elif opened.pipe is None:
                    ready.append((fd, events))
                elif events & select.POLLIN and (opened.pipe.data or not opened.pipe.writers):
                    ready.append((fd, select.POLLIN if opened.pipe.data else select.POLLHUP))
                elif events & select.POLLOUT:
                    ready.append((fd, select.POLLOUT))
                else:
                    pipes.append(opened.pipe)
            if ready or (until is not None and self.stamp >= until):
                return ready
            for pipe in pipes:
                pipe.waiters.append(process)
            self.block(process, until)
            for pipe in pipes:
                if process in pipe.waiters:
                    pipe.waiters.remove(process)

    # -- what /proc shows

    def proc_file(self, process, path):
        """The text of a file under /proc. Raises OSError."""
        parts = path.split("/")[2:]
        if parts == ["sys", "kernel", "random", "boot_id"]:
            return self.boot_id.encode()
        if parts == ["uptime"]:
            return b"%.2f 0.00\n" % self.since_boot()
        if parts == ["1", "stat"]:
            return self.stat_text(1, "S", 0, 1, 1, BOOT_TICKS)
        if len(parts) != 2:
            raise error(errno.ENOENT, path)
        other = process if parts[0] == "self" else (
            self.processes.get(int(parts[0])) if parts[0].isdigit() else None)
        if other is None or not self.is_visible(process, other):
            raise error(errno.ENOENT, path)
        if parts[1] == "stat":
            return self.stat_text(other.pid, "Z" if other.is_zombie else "S", other.parent,
                                  other.group, other.session, other.start)
        if parts[1] == "cgroup":
            return b"0::/\n"
        if process.uid not in (ROOT_USER, other.uid):
            raise error(errno.EACCES, path)
        if other.is_zombie:
            return b""
        if parts[1] == "environ":
            environ = other.environ if other.shown is None else other.shown
            return b"".join(b"%s=%s\0" % (os.fsencode(name), os.fsencode(value))
                            for name, value in environ.items())
        if parts[1] == "cmdline":
            return b"".join(os.fsencode(word) + b"\0" for word in other.arguments)
        raise error(errno.ENOENT, path)

    @staticmethod
    def stat_text(pid, state, parent, group, session, start):
        return b"%d (x) %s %d %d %d 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0" % (
            pid, state.encode(), parent, group, session, start)

    def is_visible(self, process, other):
        return not self.hidden or process.uid in (ROOT_USER, other.uid)

    def names_in_proc(self, process):
        names = ["1", "self", "sys", "uptime"] if not self.hidden else ["self", "sys", "uptime"]
        return names + [str(each.pid) for each in self.processes.values()
                        if self.is_visible(process, each)]

    # -- the machine

    def name_of(self, folder):
        """The path of a folder. Raises FileNotFoundError when it was removed."""
        names = []
        while folder is not self.disk.root:
            above = folder.parent
            for name, inode in above.entries.items():
                if inode is folder:
                    names.append(name)
                    break
            else:
                raise error(errno.ENOENT)
            folder = above
        return "/" + "/".join(reversed(names))

    def boot(self):
        self.boots += 1
        self.booted_at = self.stamp
        self.suspended_s = 0.0
        self.is_up = True
        self.boot_id = "%08x-boot-%d" % (self.rng.getrandbits(32), self.boots)

    def power_cut(self, rng):
        """Everything that runs is gone, and so is what no fsync had covered."""
        self.is_up = False
        everybody = list(self.processes.values())
        self.processes.clear()
        for process in everybody:
            process.is_doomed = process.is_zombie = True
            process.fds.clear()
        for process in everybody:
            if process.coroutine is not None and process is not self.current:
                if process.is_blocked or not process.coroutine.is_over:
                    process.is_blocked = False
                    self.finish(process)
        self.disk.cut(rng)

    def shut_down(self):
        """Let nothing be left that would go on when it is collected as garbage."""
        for process in list(self.processes.values()):
            process.is_doomed = True
        for process in list(self.processes.values()):
            if process.coroutine is not None:
                self.finish(process)

    def finish(self, process):
        """Let a doomed process come to its end without an effect."""
        if process.coroutine.is_over:
            return
        before, self.current = self.current, process
        try:
            process.coroutine.enter()
        finally:
            self.current = before


class _Over:
    is_over = True

    def enter(self):
        raise AssertionError("it has ended")


_OVER = _Over()
