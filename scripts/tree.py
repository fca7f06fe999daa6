"""The tree that the scripts work on: its root as a descriptor, and git's view of the files in it.

Whatever is removed or restored is reached from the root's descriptor, one component at a time and
never through a symlink, so that a folder that is swapped meanwhile leads nowhere else.
"""

import errno
import hashlib
import os
import pwd
import re
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Sequence, Set, Tuple

from common import RefusedError, read_regular, sc

SENTINELS = ("symphony_conductor.py", ".git", "config/conductor_config.json")
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

INVENTORY_NAME = "cleanup_inventory.json"
REPORT_NAME = "cleanup_report.json"
ACTIONS_NAME = "cleanup_actions.log"
REGISTRY_NAME = ".cleanup_registry.json"
CACHE_NAME = ".cleanup_cache"
QUARANTINE_NAME = ".cleanup_quarantine"

# What the scripts themselves write at the root: no candidates, and no sources of references.
OWN_NAME = re.compile(r"(?:%s)(?:\.lock|\.tmp)?\Z" % "|".join(map(re.escape, (
    INVENTORY_NAME, REPORT_NAME, ACTIONS_NAME, REGISTRY_NAME, CACHE_NAME))))

# A folder that holds one of these is somebody's repository: it is one entry, and left alone.
OTHER_CONTROL = (".hg", ".svn", ".bzr", "_darcs", ".fslckout", "_FOSSIL_", "CVS")
CONTROL = (".git", ".jj") + OTHER_CONTROL
BARE_REPOSITORY = ("HEAD", "objects", "refs")

HAS_MOUNT_IDS = sys.platform.startswith("linux")  # other systems are asked for devices alone
GIT_TIMEOUT_S = 600
GIT_LOCK_WAIT_S = 5.0
GIT_LOCK_POLL_S = 0.05
WITHOUT_GIT = "nothing may be removed while git cannot say what is tracked"
# Git's warning about a folder that it cannot enter. The walk names the same folder.
CLOSED_FOLDER = (
    r"(?m)^warning: (?:could not open directory '.*'|unable to access '.*\.gitignore'): "
    r"(?:Permission denied|File name too long)\n")
UTF8_NAMES = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"


def stored_path(name: str) -> str:
    """A name from the system as it is stored: UTF-8 in any locale, other bytes as surrogates."""
    return name if UTF8_NAMES else os.fsencode(name).decode("utf-8", "surrogateescape")


def native_path(path: str) -> str:
    """The reverse of `stored_path`, for system calls."""
    return path if UTF8_NAMES else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def printable(path: str) -> str:
    """A path as a terminal, a log and a report can show it on one line, and without ambiguity."""
    text = path
    if not path.isprintable() or "\\" in path:
        text = "".join(map(_escaped, path))
    if not text or text != text.strip():
        return "'%s'" % text
    return text


def _escaped(char: str) -> str:
    if char.isprintable() and char != "\\":
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return "\\x%02x" % (code - 0xDC00)  # a byte that is not UTF-8
    return char.encode("unicode_escape").decode("ascii")


def relative_path(text: str, what: str) -> str:
    """A path below the root, as metadata holds it. Raises RefusedError for any other."""
    parts = text.split("/")
    try:
        text.encode("utf-8", "surrogateescape")
        sound = "\0" not in text and not any(part in ("", ".", "..") for part in parts)
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise RefusedError("%s: '%s' is not a path below the root" % (what, printable(text)))
    return text


def open_below(fd: int, path: str, check: "Callable[[int], None] | None" = None) -> int:
    """A descriptor of the folder `path` ('' for `fd` itself), by component and through no link.

    `check` gets the descriptor of each folder on the way, and raises OSError for one that must not
    be entered. Raises OSError.
    """
    fd = os.dup(fd)
    try:
        for part in native_path(path).split("/") if path else ():
            deeper = os.open(part, OPEN_FOLDER, dir_fd=fd)
            os.close(fd)
            fd = deeper
            if check is not None:
                check(fd)
        return fd
    except OSError:
        os.close(fd)
        raise


def mount_id(fd: int) -> int:
    """The mount that an open file was reached through (proc(5), fdinfo); -1 where none is told.

    A bind mount has the device of what it shows, and a mount id of its own.
    """
    try:
        info = os.open("/proc/self/fdinfo/%d" % fd, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        match = re.search(br"(?m)^mnt_id:\s*([0-9]+)$", os.read(info, 4096))
    finally:
        os.close(info)
    return int(match.group(1)) if match else -1


def mount_points(root: "Root") -> "Set[str]":
    """The mount points below a root, as stored paths (proc(5), mountinfo); none on other systems.

    Raises RefusedError where they cannot be told.
    """
    if not HAS_MOUNT_IDS:
        return set()
    try:
        with open("/proc/self/mountinfo", "rb") as handle:
            lines = handle.read().splitlines()
    except OSError as error:
        raise RefusedError("cannot tell what is mounted: /proc/self/mountinfo: %s" % error.strerror,
                           "mount /proc first")
    above = os.fsencode(root.path.rstrip("/")) + b"/"
    points = set()
    for line in lines:
        fields = line.split(b" ")
        if len(fields) > 4:
            point = re.sub(br"\\([0-3][0-7]{2})", lambda code: bytes((int(code.group(1), 8),)),
                           fields[4])
            if point.startswith(above):
                points.add(stored_path(os.fsdecode(point[len(above):])))
    return points


def is_repository(has: "Callable[[str], bool]") -> bool:
    """Whether a folder is a repository of its own, bare ones included.

    `has` says whether the folder holds a name.
    """
    return any(map(has, CONTROL)) or all(map(has, BARE_REPOSITORY))


class Root:
    """The folder to work on. Raises RefusedError for one that cannot be meant (CLEANUP rule 1)."""

    def __init__(self, path: str) -> None:
        if not os.path.isabs(path):
            raise RefusedError("--root: '%s' is not an absolute path" % path, "start it with /")
        self.path = os.path.realpath(path)
        try:
            self.fd = os.open(self.path, OPEN_FOLDER)
        except OSError as error:
            raise RefusedError("--root: cannot open %s: %s" % (path, error.strerror))
        identity = os.fstat(self.fd)
        self.dev, self.ino = identity.st_dev, identity.st_ino
        self.mount = mount_id(self.fd)
        self._refuse_home()
        problems = sc.Store(self.path).insecure(self.path)
        if problems:
            raise RefusedError("--root: %s" % problems[0])
        if all(os.path.lexists(os.path.join(self.path, name)) for name in BARE_REPOSITORY):
            raise RefusedError("--root: %s is a bare repository" % self.path,
                               "choose the folder of a work tree")
        if not any(os.path.lexists(os.path.join(self.path, name)) for name in SENTINELS):
            raise RefusedError("--root: %s contains none of %s" % (self.path, ", ".join(SENTINELS)),
                               "choose the root of a project")

    def _refuse_home(self) -> None:
        """Raises RefusedError for the home folder of anybody concerned, and for any above it."""
        for home in map(os.path.realpath, _homes()):
            folder = home
            while True:
                if self._is_at(folder):
                    relation = "above the home folder"
                    if folder == home != "/":
                        relation = "the home folder"
                    raise RefusedError("--root: %s is %s" % (self.path, relation),
                                       "choose a folder below it")
                if folder == "/":
                    break
                folder = os.path.dirname(folder)

    def _is_at(self, folder: str) -> bool:
        try:
            identity = os.stat(folder)
        except OSError:
            return False
        return (identity.st_dev, identity.st_ino) == (self.dev, self.ino)

    def open_folder(self, path: str, check: "Callable[[int], None] | None" = None) -> int:
        """A descriptor of a folder below the root, see `open_below`."""
        return open_below(self.fd, path, check)

    def border(self, fd: int) -> str:
        """Why the folder of a descriptor is none of this tree's own; '' when it is."""
        if os.fstat(fd).st_dev != self.dev:
            return "it is on another device"
        mount = mount_id(fd)
        if HAS_MOUNT_IDS and mount < 0:
            return "cannot tell whether something is mounted there, without /proc"
        if mount != self.mount:
            return "something is mounted there"
        return ""

    def join(self, path: str) -> str:
        return os.path.join(self.path, native_path(path))

    def relative(self, path: str) -> str:
        """The stored form of a path given by a person or a program.

        Folders are resolved, the last component is not: a symlink is named, never its target.
        Raises UsageError for a path that is not below the root.
        """
        folder, name = os.path.split(os.path.join(os.getcwd(), path).rstrip("/"))
        folder = os.path.realpath(folder)  # not before: a link may stand in front of a ".."
        above = self.path.rstrip("/") + "/"
        if name in ("", ".", "..") or not (folder + "/").startswith(above):
            raise sc.UsageError("'%s' is not below the root %s" % (
                printable(stored_path(path)), self.path))
        return stored_path(os.path.join(folder, name)[len(above):])


def other_control(root: Root) -> str:
    """The control folder of a version control other than git, at or above the root, or ''.

    None of them can be asked here what it tracks.
    """
    folder = root.path
    while True:
        for name in OTHER_CONTROL:
            if os.path.lexists(os.path.join(folder, name)):
                return os.path.join(folder, name)
        if folder == "/":
            return ""
        folder = os.path.dirname(folder)


def _homes() -> "List[str]":
    homes = [os.environ.get("HOME") or "/", "/"]
    for uid in (os.getuid(), os.geteuid(), os.environ.get("SUDO_UID") or 0):
        try:
            homes.append(pwd.getpwuid(int(uid)).pw_dir or "/")
        except (KeyError, ValueError, OverflowError):
            continue
    return [home for home in homes if os.path.isabs(home)]


# -- git

class Listing(sc.Value):
    """Git's view of the tree: HEAD, the tracked paths (index and HEAD), and the others by class."""

    head: "str | None" = None
    tracked: "Set[str]" = set()
    untracked: "Set[str]" = set()
    ignored: "Set[str]" = set()


def _git_environment() -> "Dict[str, str]":
    """The caller's environment without what points git at another repository, index or settings."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env.update(LC_ALL="C", GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
    return env


class GitError(RefusedError):
    """Git did not answer. What is tracked is unknown, so nothing may go (CLEANUP rule 2)."""


class Git:
    """Git, asked about a root: three listings in all, never one call per file."""

    COMMAND = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false",
               "-c", "core.quotePath=false")

    def __init__(self, root: Root) -> None:
        self.root = root
        self._running: "List[Tuple[Any, Any, Tuple[str, ...]]]" = []
        self._head: "str | None" = None
        self._stamped: "Tuple[str, ...]" = ()

    def top(self) -> str:
        """The folder, at or above the root, that holds .git; '' when there is none."""
        folder = self.root.path
        while not os.path.lexists(os.path.join(folder, ".git")):
            if folder == "/":
                return ""
            folder = os.path.dirname(folder)
        return folder

    def is_here(self) -> bool:
        """Whether the root belongs to a work tree: it or a folder above it holds .git."""
        return self.top() != ""

    def head(self) -> "str | None":
        """The commit that HEAD names, None before the first one. Raises GitError.

        Also when git answers for another repository than the one whose .git is next, or when its
        index is damaged: git reads a truncated one without an error, and lists what is left of it.
        """
        lines = self._output(
            "rev-parse", "--is-inside-work-tree", "--git-path", "index", "--show-toplevel",
            "--verify", "-q", "HEAD", allowed=(0, 1)).split(b"\n")[:-1]
        top = self.top()
        answered = 3 <= len(lines) <= 4 and lines[0] == b"true"
        if not answered or not top or not _same_folder(os.fsdecode(lines[2]), top):
            raise GitError("git does not recognize %s as a work tree" % (top or self.root.path))
        if len(lines) == 3:
            return None
        head = lines[3].decode("ascii", "replace")
        index = os.path.join(self.root.path, os.fsdecode(lines[1]))
        folder = os.path.dirname(index)
        check_index(index, head)
        for name in os.listdir(folder):
            if name.startswith("sharedindex."):  # of a split index
                check_index(os.path.join(folder, name), head)
        return head

    def begin(self, only_tracked: bool = False) -> None:
        """Start the three listings, or the first, while the caller does something else."""
        self._head = self.head()
        with_head = () if self._head is None else ("--with-tree=HEAD",)
        self._running.append(self._start("ls-files", "-z", *with_head))
        if not only_tracked:
            self._running.append(self._start("ls-files", "-z", "-o", "--exclude-standard"))
            self._running.append(self._start("ls-files", "-z", "-o", "-i", "--exclude-standard"))

    def finish(self) -> Listing:
        """The listings that `begin` started. Raises GitError when one of them failed."""
        names = []
        for running in self._running:
            text = self._result(*running).decode("utf-8", "surrogateescape")
            names.append(set(text.split("\0")) - {""})
        self._running = []
        by_class = dict(zip(("tracked", "untracked", "ignored"), names))
        return Listing(head=self._head, **by_class)

    def listing(self, only_tracked: bool = False) -> Listing:
        """All three, or the tracked paths alone. Raises GitError."""
        self.begin(only_tracked)
        return self.finish()

    def stamp(self) -> "Tuple[int, ...]":
        """Changes when the index, HEAD or what HEAD names does, and when git locks one of them.

        Git replaces each of these files by a rename, before which it creates a lock beside it: the
        times of the folders tell. Raises GitError.
        """
        if not self._stamped:
            self._stamped = self._stamped_paths()
        try:
            return tuple([os.stat(path).st_mtime_ns for path in self._stamped])
        except OSError as error:
            self._stamped = ()
            raise GitError("git's own files cannot be looked at: %s" % error.strerror, WITHOUT_GIT)

    def _stamped_paths(self) -> "Tuple[str, ...]":
        """The folders of the files that matter, and the index itself."""
        self.head()  # raises GitError for a repository that is wrong as a whole
        branch = os.fsdecode(self._output("symbolic-ref", "-q", "HEAD", allowed=(0, 1)).strip())
        places = self._paths_of("index", "HEAD", "packed-refs", "reftable/tables.list",
                                branch or "HEAD")
        paths = {_existing(os.path.dirname(path)) for path in places}
        paths.add(_existing(places[0]))
        return tuple(sorted(paths))

    def _paths_of(self, *names: str) -> "List[str]":
        """The places of files of the repository. Raises GitError."""
        questions = [word for name in names for word in ("--git-path", name)]
        lines = self._output("rev-parse", *questions).split(b"\n")
        if len(lines) != len(names) + 1 or b"\0" in b"".join(lines):
            raise GitError("git does not recognize %s as a work tree: no path of its index" % (
                self.root.path))
        return [os.path.join(self.root.path, os.fsdecode(line)) for line in lines[:-1]]

    def lock(self) -> str:
        """A lock file of git's, '' for none: then some git is changing what it tracks.

        Raises GitError.
        """
        folders = {os.path.realpath(os.path.dirname(path))
                   for path in self._paths_of("index", "packed-refs")}
        for top in sorted(folders):
            for folder, below, names in os.walk(top, onerror=_cannot_look):
                if folder == top:  # each of these has an index of its own, or none
                    below[:] = [name for name in below
                                if name not in ("modules", "worktrees", "hooks")]
                elif folder == os.path.join(top, "objects"):
                    below[:] = [name for name in below if name == "info"]
                for name in sorted(names):
                    if name.endswith(".lock"):
                        return os.path.join(folder, name)
        return ""

    def refuse_lock(self) -> None:
        """Raises GitError while git is changing what it tracks."""
        lock = self.lock()
        if lock:
            raise GitError(
                "git is at work in %s (%s)" % (self.root.path, os.path.basename(lock)),
                "try again later; if no git runs there any more, delete %s" % (
                    printable(stored_path(lock))))

    def _output(self, *arguments: str, allowed: "Tuple[int, ...]" = (0,)) -> bytes:
        return self._result(*self._start(*arguments), allowed=allowed)

    def _start(self, *arguments: str) -> "Tuple[Any, Any, Tuple[str, ...]]":
        # Files, not pipes: git never waits for a reader, and both cores have work.
        out = tempfile.TemporaryFile()
        try:
            process = subprocess.Popen(
                self.COMMAND + arguments, cwd=self.root.path, env=_git_environment(),
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
        except OSError as error:
            out.close()
            raise GitError("cannot run git: %s" % error.strerror, WITHOUT_GIT)
        return process, out, arguments

    def _result(self, process: "Any", out: "Any", arguments: "Tuple[str, ...]",
                allowed: "Tuple[int, ...]" = (0,)) -> bytes:
        with out:
            try:
                errors = process.communicate(timeout=GIT_TIMEOUT_S)[1].decode("utf-8", "replace")
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise GitError("git %s did not finish within %d s" % (arguments[0], GIT_TIMEOUT_S))
            errors = re.sub(CLOSED_FOLDER, "", errors).strip()
            if process.returncode not in allowed or errors:
                message = (errors or "no message").splitlines()[0]
                raise GitError("git %s failed (exit %d): %s" % (
                    " ".join(arguments), process.returncode, message), WITHOUT_GIT)
            out.seek(0)
            return bytes(out.read())


def vouched(git: Git, listing: Listing) -> Listing:
    """The listing, if removals can rely on it. Raises GitError for one of a broken git."""
    if listing.head is None:
        raise GitError("%s has no commit, or its HEAD cannot be read" % git.root.path,
                       "commit the files of the project first")
    if not listing.tracked:
        raise GitError("git lists no tracked file in %s, so its answer is not trusted"
                       % git.root.path)
    return listing


def _same_folder(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def check_index(path: str, head: str) -> None:
    """Raises GitError when the index does not end in its own checksum (gitformat-index(5)).

    Zeros in its place mean that none was made (index.skipHash). Without any index, HEAD alone says
    what is tracked.
    """
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise GitError("git's index cannot be read: %s" % error.strerror)
    digest = hashlib.sha256() if len(head) == 64 else hashlib.sha1()
    size = digest.digest_size
    digest.update(memoryview(data)[:-size])
    if data[-size:] not in (digest.digest(), bytes(size)):
        raise GitError("git's index is damaged", "to fix: rm %s && git reset" % path)


def _existing(path: str) -> str:
    """The path, or the nearest folder above that is there: what is created changes its times."""
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _cannot_look(error: OSError) -> None:
    if error.errno != errno.ENOENT:
        raise GitError("git's own folder cannot be read: %s" % error.strerror, WITHOUT_GIT)


class GitGuard:
    """Says of a path, right before it is removed, whether git tracks it or anything below it.

    Asks git again whenever the index has changed, and takes no answer while git changes it.
    """

    def __init__(self, git: Git) -> None:
        self.git = git
        self._stamp: "Tuple[int, ...]" = ()
        self._tracked: "Set[str]" = set()
        self._spelled: "Set[str]" = set()

    def __call__(self, path: str) -> str:
        """Why git wants the file or folder kept, '' when it does not. Raises GitError."""
        stamp = self.git.stamp()
        if stamp != self._stamp:
            self.git.refuse_lock()
            self._ask()
            self._stamp = stamp
        return self._answer(path)

    def _ask(self) -> None:
        listing = vouched(self.git, self.git.listing(only_tracked=True))
        self._tracked = set(listing.tracked)
        for path in listing.tracked:
            folder = path.rpartition("/")[0]
            while folder and folder not in self._tracked:
                self._tracked.add(folder)
                folder = folder.rpartition("/")[0]
        self._spelled = {folded(name) for name in self._tracked}

    def _answer(self, path: str) -> str:
        if path in self._tracked:
            return "git tracks it"
        if folded(path) in self._spelled:
            return "git tracks it under another spelling"
        return ""

    def afterwards(self, paths: "Sequence[str]") -> "Dict[str, str]":
        """Why some of these, which were just moved, must go back: git tracks them by now.

        A git that began to add files when they were moved may not have finished: it is waited for
        a little. If it then still works or cannot answer, all of them go back.
        """
        deadline = time.monotonic() + GIT_LOCK_WAIT_S
        try:
            while self.git.lock() and time.monotonic() < deadline:
                time.sleep(GIT_LOCK_POLL_S)
            self.git.refuse_lock()
            self._ask()
        except GitError as error:
            return dict.fromkeys(paths, str(error))
        answers = {path: self._answer(path) for path in paths}
        return {path: why for path, why in answers.items() if why}


def folded(path: str) -> str:
    """A path as a file system compares it that ignores case and composition (macOS)."""
    if len(path.encode("utf-8", "surrogatepass")) == len(path):  # ASCII, as most paths are
        return path.lower()
    import unicodedata
    return unicodedata.normalize("NFC", path).casefold()
