"""The conductor's real code over a simulated kernel.

The program is loaded once a kernel. In it, `os`, `posix`, `time`, `fcntl`, `select`, `signal` and
`sys` are those of the kernel's running process. Beside them, the seams are: how a process forks
(`fork_to`), shows a title, becomes a subreaper, and sends to the web.
"""

import _signal
import errno
import fcntl
import os
import pathlib
import posixpath
import select
import stat
import sys
import time
import traceback
import types

from . import disk
from .kernel import OpenFile, Pipe, error

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
ROOT = "/srv/box"
SCRIPT = ROOT + "/symphony_conductor.py"
SHELL = b"/bin/sh"


class Os:
    """The module os, as a process of the kernel sees it."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.path = Paths(self)
        for name in dir(os):
            value = getattr(os, name)
            if isinstance(value, (int, str)) and not name.startswith("__"):
                setattr(self, name, value)
        for name in ("strerror", "fsencode", "fsdecode", "stat_result", "WEXITSTATUS", "WIFEXITED",
                     "WIFSIGNALED", "WTERMSIG", "terminal_size", "sysconf", "fspath", "PathLike"):
            setattr(self, name, getattr(os, name))
        self.POSIX_SPAWN_OPEN, self.POSIX_SPAWN_CLOSE, self.POSIX_SPAWN_DUP2 = 0, 1, 2
        # Their names are of the one who knows; these are asked of the kernel.
        self.read, self.write, self.close, self.kill, self.killpg = (
            kernel.read, kernel.write, kernel.close, kernel.kill, kernel.killpg)
        self._exit = kernel.exit

    error = OSError

    @property
    def environ(self):
        return self.kernel.current.environ

    # -- files

    def _find(self, call, path):
        process = self.kernel.enter(call, path)
        return process, self.kernel.disk.find(path, process.cwd)

    def open(self, path, flags, mode=0o777):
        kernel = self.kernel
        process = kernel.enter("open", path)
        text = os.fsdecode(path)
        if text == os.devnull:
            opened = OpenFile(text=b"", reads=True, writes=True)
            return kernel.open_file(process, opened)
        if text.startswith("/proc/"):
            return kernel.open_file(process, OpenFile(
                text=kernel.proc_file(process, text), reads=True))
        access = flags & os.O_ACCMODE
        writes = access != os.O_RDONLY
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise error(errno.EOPNOTSUPP, path)
        files = kernel.disk
        try:
            inode = files.find(path, process.cwd)
            if flags & os.O_CREAT and flags & os.O_EXCL:
                raise error(errno.EEXIST, path)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            folder, name = files.folder_of(path, process.cwd)
            inode = files.create(folder, name, disk.FILE, mode, process.uid)
        if inode.kind == disk.FOLDER:
            if writes:
                raise error(errno.EISDIR, path)
        elif flags & os.O_DIRECTORY:
            raise error(errno.ENOTDIR, path)
        if inode.kind == disk.FILE:
            if writes:
                files.check_writable(path)
                if flags & os.O_TRUNC and inode.data:
                    files.truncate(inode, 0)
            elif any(part in text for part in kernel.dead_paths):
                raise error(errno.EIO, path)
        pipe = None
        if inode.kind == disk.PIPE:
            pipe = self._open_pipe(inode, access, flags, path)
        return kernel.open_file(process, OpenFile(
            inode, pipe, reads=access != os.O_WRONLY, writes=writes,
            appends=bool(flags & os.O_APPEND), blocks=not flags & os.O_NONBLOCK))

    @staticmethod
    def _open_pipe(inode, access, flags, path):
        if access == os.O_WRONLY and flags & os.O_NONBLOCK and (
                inode.pipe is None or not inode.pipe.readers):
            raise error(errno.ENXIO, path)
        if inode.pipe is None:
            inode.pipe = Pipe()
        inode.pipe.readers += access != os.O_WRONLY
        inode.pipe.writers += access != os.O_RDONLY
        return inode.pipe

    def stat(self, path, **_):
        text = os.fsdecode(path)
        process = self.kernel.enter("stat", path)
        if text.startswith("/proc/"):
            number = text.split("/")[2]
            other = process if number == "self" else self.kernel.processes.get(
                int(number) if number.isdigit() else -1)
            if other is None or not self.kernel.is_visible(process, other):
                raise error(errno.ENOENT, path)
            inode = disk.Inode(1, disk.FOLDER, 0o555, other.uid, 0)
        else:
            inode = self.kernel.disk.find(path, process.cwd)
        return inode.stat(disk.Disk.DEVICE)

    lstat = stat

    def fstat(self, fd):
        process = self.kernel.enter("fstat")
        opened = self.kernel.file_of(process, fd)
        if opened.inode is None:
            kind = disk.FILE if opened.text else stat.S_IFCHR
            return disk.Inode(1, kind, 0o600, process.uid, 0).stat(3)
        return opened.inode.stat(disk.Disk.DEVICE)

    def listdir(self, path="."):
        if path == "/dev/fd":
            return [str(fd) for fd in self.kernel.enter("listdir").fds]
        if path == "/proc":
            return self.kernel.names_in_proc(self.kernel.enter("listdir"))
        _, inode = self._find("listdir", path)
        if inode.entries is None:
            raise error(errno.ENOTDIR, path)
        if any(part in str(path) for part in self.kernel.dead_paths):
            raise error(errno.EIO, path)
        return list(inode.entries)

    def mkdir(self, path, mode=0o777):
        process = self.kernel.enter("mkdir", path)
        folder, name = self.kernel.disk.folder_of(path, process.cwd)
        if name in folder.entries:
            raise error(errno.EEXIST, path)
        self.kernel.disk.create(folder, name, disk.FOLDER, mode, process.uid)

    def mkfifo(self, path, mode=0o666):
        process = self.kernel.enter("mkfifo", path)
        folder, name = self.kernel.disk.folder_of(path, process.cwd)
        if name in folder.entries:
            raise error(errno.EEXIST, path)
        self.kernel.disk.create(folder, name, disk.PIPE, mode, process.uid)

    def unlink(self, path):
        self._remove("unlink", path, False)

    def rmdir(self, path):
        self._remove("rmdir", path, True)

    def _remove(self, call, path, is_folder):
        process = self.kernel.enter(call, path)
        folder, name = self.kernel.disk.folder_of(path, process.cwd)
        inode = folder.entries.get(name)
        if inode is None:
            raise error(errno.ENOENT, path)
        if (inode.kind == disk.FOLDER) != is_folder:
            raise error(errno.ENOTDIR if is_folder else errno.EISDIR, path)
        if inode.entries:
            raise error(errno.ENOTEMPTY, path)
        self.kernel.disk.check_writable(path)
        self.kernel.disk.change_names(folder, {name: None})

    def rename(self, old, new):
        process = self.kernel.enter("rename", new)
        files = self.kernel.disk
        inode = files.find(old, process.cwd)
        folder, name = files.folder_of(old, process.cwd)
        folder_after, name_after = files.folder_of(new, process.cwd)
        files.check_writable(new)
        if folder.entries.get(name) is folder_after.entries.get(name_after):
            return                    # two names of one file: rename(2) does nothing
        if folder is folder_after:
            files.change_names(folder, {name: None, name_after: inode})
        else:
            files.change_names(folder_after, {name_after: inode})
            files.change_names(folder, {name: None})
        inode.ctime_ns = files.now_ns()

    replace = rename

    def link(self, old, new):
        process = self.kernel.enter("link", new)
        files = self.kernel.disk
        inode = files.find(old, process.cwd)
        folder, name = files.folder_of(new, process.cwd)
        if name in folder.entries:
            raise error(errno.EEXIST, new)
        files.check_writable(new, takes_room=True)
        files.change_names(folder, {name: inode})
        inode.ctime_ns = files.now_ns()

    def readlink(self, path):
        raise error(errno.EINVAL, path)

    def utime(self, path, times=None, **_):
        process = self.kernel.enter("utime", path)
        if isinstance(path, int):
            inode = self.kernel.file_of(process, path).inode
        else:
            inode = self.kernel.disk.find(path, process.cwd)
        self.kernel.disk.check_writable(path)
        now_ns = self.kernel.disk.now_ns()
        inode.mtime_ns = now_ns if times is None else int(round(times[1] * 1e9))
        inode.ctime_ns = now_ns

    def chmod(self, path, mode):
        _, inode = self._find("chmod", path)
        inode.mode = mode
        inode.ctime_ns = self.kernel.disk.now_ns()

    def fchmod(self, fd, mode):
        process = self.kernel.enter("chmod")
        self.kernel.file_of(process, fd).inode.mode = mode

    def access(self, path, how):
        try:
            self._find("access", path)
            return True
        except OSError:
            return False

    def ftruncate(self, fd, size):
        process = self.kernel.enter("ftruncate")
        inode = self.kernel.file_of(process, fd).inode
        if len(inode.data) != size:
            self.kernel.disk.truncate(inode, size)

    def fsync(self, fd):
        kernel = self.kernel
        process = kernel.enter("fsync")
        inode = kernel.file_of(process, fd).inode
        if kernel.slowness_s:
            until = kernel.stamp + kernel.slowness_s
            while kernel.stamp < until:
                kernel.block(process, until)
        kernel.disk.sync(inode)

    def pread(self, fd, size, at):
        process = self.kernel.enter("read")
        return bytes(self.kernel.file_of(process, fd).inode.data[at:at + size])

    def pwrite(self, fd, data, at):
        process = self.kernel.enter("write")
        self.kernel.disk.write(self.kernel.file_of(process, fd).inode, at, bytes(data))
        return len(data)

    def lseek(self, fd, at, how):
        process = self.kernel.enter("lseek")
        opened = self.kernel.file_of(process, fd)
        opened.at = at if how == os.SEEK_SET else len(opened.inode.data) + at
        return opened.at

    # -- descriptors

    def dup(self, fd):
        process = self.kernel.enter("dup")
        opened = self.kernel.file_of(process, fd)
        opened.count += 1
        return self.kernel.open_file(process, opened)

    def dup2(self, fd, other):
        process = self.kernel.enter("dup2")
        opened = self.kernel.file_of(process, fd)
        if fd != other:
            opened.count += 1
            before = process.fds.pop(other, None)
            if before is not None:
                self.kernel.close_file(before)
            process.fds[other] = opened
        process.inheritable.add(other)
        return other

    def pipe(self):
        process = self.kernel.enter("pipe")
        pipe = Pipe()
        pipe.readers = pipe.writers = 1
        return (self.kernel.open_file(process, OpenFile(pipe=pipe, reads=True)),
                self.kernel.open_file(process, OpenFile(pipe=pipe, writes=True)))

    def set_blocking(self, fd, blocks):
        self.kernel.file_of(self.kernel.enter("fcntl"), fd).blocks = blocks

    def set_inheritable(self, fd, is_inheritable):
        process = self.kernel.enter("fcntl")
        self.kernel.file_of(process, fd)
        (process.inheritable.add if is_inheritable else process.inheritable.discard)(fd)

    def isatty(self, fd):
        return False

    def get_terminal_size(self, fd=1):
        raise error(errno.ENOTTY)

    def statvfs(self, path):
        self._find("stat", path)
        free = 0 if self.kernel.disk.is_full else 10 ** 6
        return os.statvfs_result((4096, 4096, 2 * 10 ** 6, free, free, 10 ** 6, 10 ** 5, 10 ** 5,
                                  0, 255))

    # -- processes

    def getpid(self):
        return self.kernel.current.pid

    def getppid(self):
        return self.kernel.current.parent

    def geteuid(self):
        return self.kernel.current.uid

    getuid = geteuid

    def setsid(self):
        process = self.kernel.enter("setsid")
        process.group = process.session = process.pid
        return process.pid

    def getcwd(self):
        return self.kernel.name_of(self.kernel.enter("getcwd").cwd)

    def chdir(self, path):
        process, inode = self._find("chdir", path)
        if inode.entries is None:
            raise error(errno.ENOTDIR, path)
        process.cwd = inode

    def umask(self, mask):
        return 0o022

    def nice(self, number):
        return number

    def urandom(self, size):
        return bytes(self.kernel.rng.getrandbits(8) for _ in range(size))

    def uname(self):
        return os.uname_result(("Linux", "box", "6.0", "1", "x86_64"))

    def waitpid(self, pid, options):
        return self.kernel.wait(pid, options)

    def waitid(self, kind, number, options):
        pid, status = self.kernel.wait(-1, options)
        return (pid, status) if pid else None

    def execv(self, path, arguments):
        self.kernel.exec(path, arguments, self.environ)

    def execvpe(self, path, arguments, environ):
        self.kernel.exec(path, [os.fsdecode(word) for word in arguments], {
            os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()})

    def posix_spawn(self, path, arguments, environ, file_actions=(), setsid=False, **_):
        kernel = self.kernel
        process = kernel.enter("spawn", path)
        program = kernel.programs.get(path)
        if program is None:
            raise error(errno.ENOENT, path)
        child = kernel.new_process(process, process.uid)
        if setsid:
            child.group = child.session = child.pid
        for action in file_actions:
            opened = OpenFile(text=b"", reads=True)
            if action[0] == self.POSIX_SPAWN_DUP2:
                opened = child.fds[action[1]]
                opened.count += 1
            fd = action[1] if action[0] == self.POSIX_SPAWN_OPEN else action[2]
            before = child.fds.pop(fd, None)
            if before is not None:
                kernel.close_file(before)
            child.fds[fd] = opened
            child.inheritable.add(fd)
        kernel.become(child, program, [os.fsdecode(word) for word in arguments], {
            os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()})
        return child.pid


class Paths:
    """The module os.path: what asks nothing of the disk is that of Python."""

    def __init__(self, facade):
        self.os = facade
        for name in ("join", "dirname", "basename", "split", "splitext", "normpath", "isabs",
                     "expanduser", "samestat", "commonpath", "sep"):
            setattr(self, name, getattr(posixpath, name))

    def _mode(self, path):
        try:
            return self.os.stat(path).st_mode
        except (OSError, ValueError):
            return 0

    def exists(self, path):
        return bool(self._mode(path))

    lexists = exists

    def isdir(self, path):
        return stat.S_ISDIR(self._mode(path))

    def isfile(self, path):
        return stat.S_ISREG(self._mode(path))

    def islink(self, path):
        return False

    def ismount(self, path):
        return path == "/"

    def abspath(self, path):
        if not path.startswith("/"):
            path = posixpath.join(self.os.getcwd(), path)
        return posixpath.normpath(path)

    realpath = abspath

    def getsize(self, path):
        return self.os.stat(path).st_size


class Time:
    """The module time by the kernel's clocks."""

    def __init__(self, kernel):
        self.kernel = kernel
        for name in ("localtime", "gmtime", "strftime", "CLOCK_MONOTONIC", "mktime"):
            setattr(self, name, getattr(time, name))

    def time(self):
        return self.kernel.now()

    def monotonic(self):
        return self.kernel.monotonic()

    def clock_gettime(self, clock):
        return (self.kernel.monotonic() if clock == time.CLOCK_MONOTONIC
                else self.kernel.since_boot())

    def sleep(self, seconds):
        process = self.kernel.enter("sleep")
        until = self.kernel.stamp + seconds
        while self.kernel.stamp < until:
            self.kernel.block(process, until)

    def tzset(self):
        zone = self.kernel.current.environ.get("TZ")
        if zone is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = zone
        time.tzset()


class Fcntl:
    LOCK_EX, LOCK_NB, LOCK_UN, LOCK_SH = fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_UN, fcntl.LOCK_SH

    def __init__(self, kernel):
        self.flock = kernel.flock

    def fcntl(self, fd, command, argument=0):
        raise error(errno.EPERM)


class Select:
    POLLIN, POLLOUT, POLLHUP = select.POLLIN, select.POLLOUT, select.POLLHUP

    def __init__(self, kernel):
        self.kernel = kernel

    def poll(self):
        kernel, interests = self.kernel, {}

        class Poll:
            register = staticmethod(interests.__setitem__)

            @staticmethod
            def poll(timeout_ms=None):
                return kernel.poll(interests, timeout_ms)

        return Poll


class Signal:
    """The module signal, whose handlers run when their process is next entered."""

    def __init__(self, kernel):
        self.kernel = kernel
        for name in dir(_signal):
            if name.startswith(("SIG", "ITIMER")):
                setattr(self, name, getattr(_signal, name))

    def signal(self, number, handler):
        process = self.kernel.enter("sigaction")
        before = process.handlers.get(number, self.SIG_DFL)
        process.handlers[number] = handler
        return before

    def setitimer(self, which, seconds):
        process = self.kernel.enter("setitimer")
        process.alarm += 1
        if seconds:
            self.kernel.after(seconds, self._ring, process, process.alarm)

    def _ring(self, process, number):
        if process.alarm == number:
            self.kernel.send(process, self.SIGALRM)

    def set_wakeup_fd(self, fd):
        process = self.kernel.current
        before, process.wakeup_fd = process.wakeup_fd, fd
        return before

    def pthread_sigmask(self, how, signals):
        return set()


class Stream:
    """A standard stream of the running process."""

    encoding = "utf-8"

    def __init__(self, kernel, fd):
        self.kernel, self.fd = kernel, fd
        self.buffer = self

    def write(self, text):
        self.kernel.write(self.fd, text.encode("utf-8", "replace"))

    def read(self):
        return b"".join(iter(lambda: self.kernel.read(self.fd, 65536), b""))

    def flush(self):
        pass

    def isatty(self):
        return False


class Sys:
    """The module sys, with the streams of the running process."""

    def __init__(self, kernel):
        self.stdin, self.stdout, self.stderr = (Stream(kernel, fd) for fd in (0, 1, 2))
        self.executable = "/usr/bin/python3"
        self.platform, self.argv, self.path = "linux", [SCRIPT], []

    def __getattr__(self, name):
        return getattr(sys, name)


# -- the program

_CODE = {}


def code_of(path, source):
    """The compiled program; compiled once a source."""
    if source not in _CODE:
        _CODE[source] = compile(source, str(path), "exec")
    return _CODE[source]


def load(kernel, send, source=None):
    """The conductor as a module over this kernel. `send(url, body)` answers as `send_to_web`."""
    path = REPOSITORY / "symphony_conductor.py"
    source = source or path.read_text(encoding="utf-8")
    module = types.ModuleType("symphony_conductor")
    module.__file__ = str(path)
    exec(code_of(path, source), module.__dict__)
    module.__file__, module.__cached__ = SCRIPT, None
    facade = Os(kernel)
    module.__dict__.update(
        os=facade, posix=facade, time=Time(kernel), fcntl=Fcntl(kernel), select=Select(kernel),
        signal=Signal(kernel), sys=Sys(kernel), send_to_web=send)

    def fork_to(work):
        clone = Cloner(module).clone(work)

        def run():
            code = module.EXIT_SOFTWARE
            try:
                code = clone()
            except Exception:
                pass                  # as where it is forked: nobody hears of it
            facade._exit(code)

        return kernel.fork(run)

    def become_subreaper():
        kernel.enter("prctl").is_subreaper = True
        return True

    module.fork_to, module.become_subreaper = fork_to, become_subreaper
    module.ProcessTitle = title_of(kernel)
    module.load_prctl = lambda: None
    def traceback_note(keep):
        """What the program says of an internal error; here, the error itself is kept as well."""
        kernel.current.trouble = traceback.format_exc()
        return ""

    module._traceback_note = traceback_note
    # Of what depends on nothing but its arguments, each answer is computed once.
    module.build_config = remembered_config(module.build_config)
    module.parse_document = remembered(module.parse_document)
    module.load_state = remembered(module.load_state)
    return module


def title_of(kernel):
    """The class ProcessTitle: what it shows is what others see of the process."""
    class Title:
        own = b""

        @classmethod
        def of_this(cls):
            return cls()

        def has_room(self, arguments, mark):
            return True

        def show(self, arguments, mark):
            process = kernel.enter("title")
            process.shown = {"SYMPHONY_MARK": mark}
            return b""

        def restore(self):
            kernel.current.shown = None

    return Title


def remembered(function):
    """A pure function of texts, with a memory of its newest answers."""
    memory = {}

    def answer(*arguments):
        if arguments not in memory:
            if len(memory) > 50:
                memory.clear()
            memory[arguments] = function(*arguments)
        return memory[arguments]

    return answer


def remembered_config(build):
    """`build_config`, which is pure, with a memory: a box reads one configuration many times."""
    memory = {}

    def build_config(documents, changed_at=None, is_complete=True, read_dates=None):
        named = {} if read_dates is None else {"read_dates": read_dates}
        if not is_complete or "calendar:" in repr(documents):
            return build(documents, changed_at, is_complete, **named)
        key = repr((documents, sorted((changed_at or {}).items())))
        if key not in memory:
            if len(memory) > 100:
                memory.clear()
            memory[key] = build(documents, changed_at, is_complete, **named)
        return memory[key]

    return build_config


class Cloner:
    """Copies what a forked process has of its own: all that it can change."""

    def __init__(self, module):
        self.module = module
        self.name = module.__name__
        self.memo = {}
        self.kept = []

    def clone(self, value):
        kind = type(value)
        if kind in (str, bytes, int, float, bool, type(None), type):
            return value
        if id(value) in self.memo:
            return self.memo[id(value)]
        self.kept.append(value)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.MethodType:
            return types.MethodType(value.__func__, self.clone(value.__self__))
        if kind is tuple:
            return tuple([self.clone(each) for each in value])
        if kind is list:
            return self._filled(value, [], lambda copy: copy.extend(map(self.clone, value)))
        if kind is dict:
            return self._filled(value, {}, lambda copy: copy.update(
                {key: self.clone(each) for key, each in value.items()}))
        if kind in (set, bytearray):
            return self._filled(value, kind(value), lambda copy: None)
        if getattr(kind, "__module__", "") != self.name or isinstance(value, self.module.Value):
            return value              # nothing changes a Value
        if isinstance(value, (self.module.Zone, BaseException)) or not hasattr(value, "__dict__"):
            return value
        copy = object.__new__(kind)
        return self._filled(value, copy, lambda copy: copy.__dict__.update(
            {key: self.clone(each) for key, each in value.__dict__.items()}))

    def _filled(self, value, copy, fill):
        self.memo[id(value)] = copy
        fill(copy)
        return copy

    def _function(self, function):
        if not function.__closure__:
            return function
        cells = [types.CellType() if hasattr(types, "CellType") else _new_cell()
                 for _ in function.__closure__]
        copy = types.FunctionType(function.__code__, function.__globals__, function.__name__,
                                  function.__defaults__, tuple(cells))
        self.memo[id(function)] = copy
        for cell, before in zip(cells, function.__closure__):
            try:
                content = before.cell_contents
            except ValueError:
                continue
            _fill_cell(cell, self.clone(content))
        return copy


def _new_cell():
    """An empty cell, before Python 3.8."""
    def outer():
        def inner():
            return content  # noqa: F821
        if False:
            content = None  # noqa: F841
        return inner
    return outer().__closure__[0]


def _fill_cell(cell, content):
    if sys.version_info >= (3, 7):
        cell.cell_contents = content
        return
    import ctypes
    set_cell = ctypes.pythonapi.PyCell_Set
    set_cell.argtypes = (ctypes.py_object, ctypes.py_object)
    set_cell(cell, content)
