"""The only code that removes or restores anything.

A removal is a rename into a private folder on the same device, `.cleanup_quarantine/RUN_ID/PATH`.
Then what arrived is compared with the plan: a different file goes back with `link`, which never
overwrites. Content, mode and times move with the file, so a restored file is the one that was
taken. A folder can go as one. Only `purge` deletes, and only what two clocks call old.

Every removal is announced in `cleanup_actions.log` (`intent`, flushed to disk) and answered there
(`done` or `failed`). What a crash interrupts is finished or rolled back at the next start. What the
folders looked like is written to the run's manifest, so that a restore can make them again.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import re
import signal
import stat
import time
from typing import AbstractSet, Any, Callable, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

import folders
from action_log import ActionLog, Manifest, event
from clock_witness import Boot, Witness, boot_now
from common import RefusedError, check_format, plural, read_own, sc, size_text
from folders import OPEN_FILE, NotEnteredError, file_id
from tree import (
    ACTIONS_NAME,
    OPEN_FOLDER,
    OWN_NAME,
    QUARANTINE_NAME,
    GitGuard,
    Root,
    native_path,
    open_below,
    printable,
    relative_path,
    stored_path,
)

RUN_ID = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-\d+\Z")
OPENING_S = 0.05  # enough for a process that was opening a file when it moved to have it open
BATCH = 500  # removals that share one flush of their intents to disk
FORMAT = 2  # of the folder: the second has manifests, and folders that went as one
FORMAT_NAME = "format"
PLACEHOLDER_NAME = "placeholder"
MAKING_NAME = "making"  # the folder that a restore is making
KEPT_NAME = "kept"  # files that were taken by mistake and could not go back; never purged
INTENT_FIELDS = ("path", "size", "mtime_ns", "dev", "ino", "mode", "rule", "reason")
FOLDER_FIELDS = ("files", "contents")
# Errors of a rename by which the system does not let this one go, today or any day; what it means.
CANNOT_MOVE = {
    errno.EPERM: " (it or its folder is immutable, or not yours)", errno.EACCES: "",
    errno.EROFS: "", errno.EXDEV: " (something is mounted there)",
    errno.EBUSY: " (something is mounted there)", errno.ENAMETOOLONG: "", errno.ENOENT: ""}
NO_SUCH_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
LONGEST_HELD = 4000  # bytes of a path in quarantine: the system takes 4095 (PATH_MAX)
PURGE_AGE_S = 14 * sc.DAY
NEVER = re.compile(r"(?is).*\.(?:lock|pid)\Z")  # CLEANUP rule 7: an old one may still be in use


class Candidate(sc.Value):
    """A file or a whole folder that can be removed, as it was when that was decided, and why.

    A folder goes as one: `size` is that of the files in it, `files` their number, and `contents`
    their `contents_digest`; `mtime_ns` and `ctime_ns` are the newest among them. Its own `ino` and
    `mode` are 0, as an inventory lists files alone. For a file, `files` is 0. `generated` says that
    a tool made it and makes it again when it is needed.
    """

    path: str = ""
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    dev: int = 0
    ino: int = 0
    mode: int = 0
    rule: str = ""
    reason: str = ""
    files: int = 0
    contents: str = ""
    generated: bool = False


class Removal(sc.Value):
    """What became of a file.

    `outcome` is 'removed', 'would be removed', 'skipped', 'failed', 'restored', 'gone' or 'note'.
    """

    path: str = ""
    outcome: str = ""
    reason: str = ""
    size: int = 0
    rule: str = ""
    files: int = 0  # in the folder that went as one; 0 for a file


class HeldRun(sc.Value):
    """One run's files in quarantine."""

    run_id: str = ""
    at: int = 0          # its time by its name, in epoch seconds
    newest: float = 0.0  # the newest change of one of its files, or `at`
    files: int = 0
    size: int = 0
    left: int = 0        # files that a purge could not delete
    problem: str = ""    # why a part of it cannot be looked at


class Held(sc.Value):
    """A file, or a folder that went as one, in quarantine. `files` is 0 for a file.

    A folder that a clean-up left empty and removed has neither files nor bytes, and `is_empty`.
    """

    path: str = ""
    files: int = 0
    size: int = 0
    changed: float = 0.0  # its ctime in epoch seconds: since then it has been here
    is_empty: bool = False
    problem: str = ""     # why it cannot be looked at

    @property
    def count(self) -> int:
        """How many files it stands for."""
        return 0 if self.is_empty else self.files or 1


Guard = Callable[[str], str]  # why a path must stay, or ''
Ids = AbstractSet[Tuple[int, int]]
NO_IDS: Ids = frozenset()
Made = Dict[str, Tuple[Tuple[int, int], Dict[str, Any]]]  # path -> the folder's id, its facts


def difference(status: "os.stat_result", planned: Candidate, moved: bool = False) -> str:
    """How a file differs from the planned one, '' when it is that one.

    A rename changes ctime only, so that is not compared once the file was moved.
    """
    if not stat.S_ISREG(status.st_mode):
        return "it is no longer a regular file"
    if file_id(status) != (planned.dev, planned.ino):
        return "another file has taken its place"
    if status.st_nlink != 1:
        return "it has a second hard link"
    if status.st_size != planned.size:
        return "its size has changed"
    if status.st_mtime_ns != planned.mtime_ns:
        return "its mtime has changed"
    if status.st_mode != planned.mode:
        return "its mode has changed"
    if not moved and status.st_ctime_ns != planned.ctime_ns:
        return "its ctime has changed"
    return ""


def contents_digest(members: "Iterable[str]") -> str:
    """The identity of all files in a folder, from one line for each, in any order.

    A line is the path as stored, from the root, then NUL and
    'INO,SIZE,MTIME_NS,CTIME_NS,MODE,NLINK'.
    """
    text = "\n".join(sorted(members))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


# -- who uses a file

def open_files() -> "Set[Tuple[int, int]]":
    """The ids of what processes hold open, run, or work in, as far as /proc shows this user.

    Of what other users hold, `in_use` asks the kernel.
    """
    ids = set()
    me = str(os.getpid())
    for pid in _names(sc.PROC):
        if not pid.isdigit():
            continue
        folder = os.path.join(sc.PROC, pid)
        paths = [os.path.join(folder, "fd", name) for name in _names(os.path.join(folder, "fd"))]
        if pid != me:
            paths += [os.path.join(folder, name) for name in ("cwd", "exe")]
        for path in paths:
            try:
                ids.add(file_id(os.stat(path)))
            except OSError:
                continue  # it ended, or belongs to another user
    return ids


SOMEBODY = -1  # a user who is not told


def working_folders() -> "Tuple[List[str], Set[int]]":
    """(where processes work, and where what they run lies; the users of processes that hide it).

    Without this process and those that wait for it: a shell, or the conductor. Without /proc, the
    user's own processes cannot be seen either; where it hides those of others, not even process 1
    is listed.
    """
    pids = set(filter(str.isdigit, _names(sc.PROC)))
    hidden: "Set[int]" = set()
    if not pids:
        hidden.add(os.geteuid())
    if "1" not in pids:
        hidden.add(SOMEBODY)
    mine = set()
    pid = str(os.getpid())
    while pid not in mine and pid.isdigit():
        mine.add(pid)
        pid = _parent_of(pid)
    paths = []
    for pid in pids - mine:
        for name in ("cwd", "exe"):
            try:
                paths.append(os.readlink(os.path.join(sc.PROC, pid, name)))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended, or is a thread of the kernel, which runs no file
            except OSError:
                hidden.add(_user_of(pid))
    return paths, hidden


def _parent_of(pid: str) -> str:
    """The ID of the parent of a process, '' where it cannot be told."""
    try:
        match = re.search(r"(?m)^PPid:\s*([0-9]+)$", sc.proc_text("%s/status" % pid))
    except OSError:
        return ""
    if not match:
        return ""
    return match.group(1)


def _user_of(pid: str) -> int:
    try:
        return os.stat(os.path.join(sc.PROC, pid)).st_uid
    except OSError:
        return SOMEBODY


def _names(folder: "str | int") -> "List[str]":
    try:
        return os.listdir(folder)
    except OSError:
        return []


# By these a file system says that it knows no such locks or leases, so that nobody has one.
UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def in_use(fd: int) -> str:
    """Whether another process has locked the file or holds it open; '' as far as none is seen."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            return _used(error, errno.EWOULDBLOCK, "a process has locked it")
    if not hasattr(fcntl, "F_SETLEASE"):
        return ""
    try:
        # The kernel grants a write lease only if nobody else has the file open, which covers the
        # processes of all users. Who opens it meanwhile waits for us, and the kernel tells us by a
        # signal: SIGURG, because by default that one is ignored.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            return _used(error, errno.EAGAIN, "a process holds it open")
    return ""


def _used(error: OSError, busy: int, text: str) -> str:
    if error.errno == busy:
        return text
    return "cannot tell whether a process uses it: %s" % error.strerror


# -- the quarantine

class Quarantine:
    """The private folder, its lock and its log. One at a time; use it as a context manager.

    Without `execute` nothing is created, moved or written: every check is made, but no rename.
    Raises BusyError when another one is open, RefusedError when the folder cannot be trusted, and
    LaterVersionError.
    """

    def __init__(self, root: Root, now: float, execute: bool = True,
                 boot: "Boot | None" = None) -> None:
        self.root = root
        self.now = now
        self._boot = boot or boot_now()
        self.execute = execute
        self.notes: "List[str]" = []
        self.run_id = ""
        self.fd = -1
        self._lock = sc.FileLock(os.path.join(root.path, QUARANTINE_NAME, "lock"))
        self._format_path = os.path.join(root.path, QUARANTINE_NAME, FORMAT_NAME)
        self._log: "ActionLog | None" = None
        self._made: "Set[str]" = set()
        self._placeholder = (0, 0)
        self._moved_some = False
        self._manifests: "Dict[str, Manifest]" = {}
        self._unsettled: "Set[str]" = set()  # RUN_ID/PATH that could neither go back nor be kept
        self._unanswered: "sc.StorageError | None" = None  # why the log has open intents
        self._failure: "sc.StorageError | None" = None  # that ends a run once all is answered for
        self._guard_failed = ""
        self._in_use: Ids = NO_IDS
        # Versions of folders that were no repository of their own.
        self._no_repositories: "Set[Tuple[int, int, int, int]]" = set()
        self._parent: "Tuple[str, int]" = ("", -1)  # the folder that was opened last
        self._may_write = False  # to it

    def __enter__(self) -> "Quarantine":
        try:
            self._open()
        except Exception:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._leave_parent()
        if self._log is not None:
            self._log.close()
        if self.fd >= 0:
            os.close(self.fd)
        self._lock.release()
        self._log, self.fd = None, -1

    def _open(self) -> None:
        try:
            if self.execute:
                self._make()
            self.fd = os.open(QUARANTINE_NAME, OPEN_FOLDER, dir_fd=self.root.fd)
        except FileNotFoundError:
            return  # a dry run before the first real one
        except OSError as error:
            raise RefusedError("%s: %s" % (QUARANTINE_NAME, error.strerror),
                               "it must be a folder of yours")
        self._check_private(os.fstat(self.fd))
        if (self.execute or os.path.lexists(self._lock.path)) and not self._lock.acquire():
            raise sc.BusyError("another clean-up is running in %s" % self.root.path,
                               "try again when it has finished")
        self._check_format()
        self._witness = Witness(os.path.join(self.root.path, QUARANTINE_NAME), self.now, self._boot)
        if self.execute:
            self._prepare()
            self._recover()
            self._observe()
        elif os.path.exists(os.path.join(self.root.path, ACTIONS_NAME)):
            self._note_interrupted()
        self._note_kept()

    def _check_private(self, folder: "os.stat_result") -> None:
        """Raises RefusedError for a folder that others can reach, or that no rename can."""
        if folder.st_dev != self.root.dev:
            raise RefusedError("%s is on another device than %s: no file can be renamed into it" % (
                QUARANTINE_NAME, self.root.path))
        if folder.st_uid != os.geteuid():
            raise RefusedError("%s is not private to you: it belongs to another user (uid %d)" % (
                QUARANTINE_NAME, folder.st_uid), "run this as that user")
        if folder.st_mode & 0o077:
            raise RefusedError("%s is not private to you" % QUARANTINE_NAME,
                               "to fix: chmod 700 %s" % QUARANTINE_NAME)

    def _prepare(self) -> None:
        """Create what is missing in the folder, and open the log."""
        ignore = os.path.join(self.root.path, QUARANTINE_NAME, ".gitignore")
        if not os.path.lexists(ignore):
            sc.write_atomic(ignore, b"*\n", durable=False)  # so that git never lists what is here
        if self._format < FORMAT:
            sc.write_atomic(self._format_path, b"%d\n" % FORMAT, durable=False)
        self._log = ActionLog(self.root)
        fd = os.open(PLACEHOLDER_NAME, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o400,
                     dir_fd=self.fd)
        self._placeholder = file_id(os.fstat(fd))
        os.close(fd)
        self._drop_half_made()

    def _make(self) -> None:
        try:
            os.mkdir(QUARANTINE_NAME, 0o700, dir_fd=self.root.fd)
        except FileExistsError:
            pass

    def _check_format(self) -> None:
        """Raises LaterVersionError for a folder of a later version, whose layout may differ."""
        try:
            text = read_own(self._format_path, 100).decode("ascii", "replace").strip()
        except FileNotFoundError:
            self._format = 0
            return
        except OSError as error:
            raise RefusedError("cannot read %s/%s: %s" % (
                QUARANTINE_NAME, FORMAT_NAME, error.strerror))
        if not re.match(r"[0-9]{1,9}\Z", text):
            raise RefusedError("%s/%s is not a number" % (QUARANTINE_NAME, FORMAT_NAME),
                               "remove it if no other version is used here")
        self._format = int(text)
        check_format(QUARANTINE_NAME, self._format, FORMAT)

    def _observe(self) -> None:
        """Write down how much time has certainly passed. A full disk must not keep a purge back."""
        runs = tuple(filter(self._is_run, os.listdir(self.fd)))
        for run_id in runs:  # those that do not tell when they began count from now
            self._witness.age(run_id, self._manifest(run_id).taken_at)
        try:
            self._witness.save(runs)
        except sc.StorageError as error:
            self.notes.append(str(error))

    def _manifest(self, run_id: str) -> Manifest:
        if run_id not in self._manifests:
            self._manifests[run_id] = Manifest(self.fd, run_id)
        return self._manifests[run_id]

    def log(self, entries: "Sequence[Dict[str, Any]]", durable: bool = False) -> None:
        assert self._log is not None, "only an executing quarantine writes"
        self._log.write(entries, sc.iso(self.now), durable)

    def _answer(self, entries: "Sequence[Dict[str, Any]]") -> None:
        """Log what became of files. If that fails, the run ends, and the next start answers."""
        try:
            self.log([entry for entry in entries
                      if "%s/%s" % (entry["run"], entry["path"]) not in self._unsettled])
        except sc.StorageError as error:
            self._failure = self._failure or error

    def _log_if_possible(self, entries: "Sequence[Dict[str, Any]]") -> None:
        """For what a full disk must not prevent: to delete old files, and to restore some."""
        try:
            self.log(entries)
        except sc.StorageError as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))

    # -- after a crash

    def _note_interrupted(self) -> None:
        log = ActionLog(self.root)
        try:
            unsettled = log.unsettled()
        finally:
            log.close()
        if unsettled:
            self.notes.append("a clean-up was interrupted, with %s unfinished; the next --execute "
                              "finishes it" % plural(len(unsettled), "file"))

    def _recover(self) -> None:
        """Finish or roll back what a crash interrupted between `intent` and `done`.

        A full disk that takes no answers must not keep a purge or a restore back: then they are
        given at the next start, and nothing is removed before.
        """
        assert self._log is not None
        unsettled = self._log.unsettled()
        answers = []
        for entry in unsettled:
            outcome, reason = self._settle(entry)
            if self._failure:
                raise self._failure
            self.notes.append("%s: %s after an interruption (%s)" % (
                printable(str(entry.get("path"))), outcome, reason))
            answers.append(event(outcome, run=entry.get("run"), path=entry.get("path"),
                                 reason=reason))
        if not answers:
            return
        answers.append(event("end", run=unsettled[-1].get("run"), recovered=len(unsettled)))
        try:
            self.log(answers, durable=True)
        except sc.StorageError as error:
            self._unanswered = error
            self.notes.append(str(error))

    def _settle(self, entry: "Dict[str, Any]") -> "Tuple[str, str]":
        """(the event that answers the intent, its reason)."""
        try:
            path = relative_path(str(entry.get("path")), ACTIONS_NAME)
            run_id = str(entry.get("run"))
            if run_time(run_id) is None:
                raise RefusedError("%s: '%s' is not a run" % (ACTIONS_NAME, printable(run_id)))
            facts = {key: entry[key] for key in ("size", "mtime_ns", "dev", "ino", "mode")}
            planned = Candidate(path=path, files=entry.get("files", 0),
                                contents=entry.get("contents", ""), **facts)
        except (RefusedError, KeyError) as error:
            return "failed", "its log entry cannot be used: %s" % error
        held = os.path.join(run_id, native_path(path))
        if not self._is_there(held, self.fd):
            _drop_placeholder(held, self.fd)
            return "failed", "it had not been moved; left in place"
        wrong = self._difference(planned, held)
        if not wrong:
            return "done", "it had been moved"
        return "failed", self._undo(held, path, wrong)

    def _is_there(self, name: str, folder: int) -> bool:
        """Whether something was moved to a place in quarantine, and not just prepared.

        Raises StorageError if that cannot be told.
        """
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno in NO_SUCH_PLACE:
                return False
            raise sc.StorageError.of("look at", os.path.join(QUARANTINE_NAME, name), error)
        if not stat.S_ISDIR(status.st_mode):
            return file_id(status) != self._placeholder
        fd = os.open(name, OPEN_FOLDER, dir_fd=folder)
        try:
            return bool(os.listdir(fd))
        finally:
            os.close(fd)

    # -- removal

    def remove(self, candidates: "Sequence[Candidate]", guards: "Sequence[Guard]",
               limit: int) -> "Iterator[Removal]":
        """Move up to `limit` candidates into quarantine, in order; what became of each.

        A candidate that changed, is in use, or that a guard wants to keep is skipped. No removal is
        retried in another way. Raises StorageError when the log cannot be written, after what was
        moved by then, and whatever a guard raises.
        """
        if self._unanswered:
            raise self._unanswered
        self.run_id, self._made, self._failure = "", set(), None
        left = list(candidates)
        taken: "List[Candidate]" = []
        while left and limit > len(taken) and not self._failure:
            batch, left = left[:BATCH], left[BATCH:]
            held_open = open_files()
            ready: "List[Candidate]" = []
            for number, item in enumerate(batch):
                if len(ready) == limit - len(taken):
                    left = batch[number:] + left
                    break
                why = self._objection(item, guards, held_open)
                if why:
                    outcome = "failed" if self._guard_failed else "skipped"
                    yield _removal(item, outcome, why)
                else:
                    ready.append(item)
            if not self.execute:
                taken += ready  # as far as the limit is concerned
                for item in ready:
                    yield _removal(item, "would be removed")
                continue
            for item, outcome, why in self._move_all(ready, guards):
                if outcome == "removed":
                    taken.append(item)
                else:
                    yield _removal(item, outcome, why)
        if self.execute:
            yield from self._finish(taken, guards)
        for item in left:
            yield _removal(item, "skipped", "left for the next run")

    def _finish(self, taken: "Sequence[Candidate]",
                guards: "Sequence[Guard]") -> "Iterator[Removal]":
        """Check all that was moved once more, and end the run. Raises StorageError."""
        gone = []
        for item, why in self._confirm(taken, guards):
            if not why:
                gone.append(item)
            yield _removal(item, "failed" if why else "removed", why)
        if self.run_id and not self._failure:
            self._remove_left_empty([item.path for item in gone], guards)
        if self._failure:
            if self.run_id and not taken:
                self._tidy_run(self.run_id)
            raise self._failure  # without an end, so that the next start settles what is open
        if self.run_id:
            self.log([event("end", run=self.run_id, files=sum(item.files or 1 for item in gone),
                            size=sum(item.size for item in gone))], durable=True)
            self._tidy_run(self.run_id)

    def _objection(self, item: Candidate, guards: "Sequence[Guard]", held_open: "Ids") -> str:
        """Why the file or folder must stay, '' when it can be removed."""
        try:
            relative_path(item.path, "the plan")
            if len(os.fsencode(native_path(item.path))) > LONGEST_HELD:
                return "it cannot be moved: %s" % os.strerror(errno.ENAMETOOLONG)
            parent = self._enter_parent(os.path.dirname(item.path))
        except OSError as error:
            return "cannot open its folder: %s" % error.strerror
        except RefusedError as error:
            return str(error)
        try:
            fd = self._open_item(item, parent)
        except OSError as error:
            return _cannot_open(error)
        try:
            if not self._may_write:
                return "no permission to write to its folder"
            return self._look(item, fd, held_open) or self._asked(guards, item.path)
        except OSError as error:
            return _cannot_open(error)
        finally:
            os.close(fd)

    def _enter_parent(self, folder: str) -> int:
        """The descriptor of a folder, which stays open until another one is wanted.

        Raises OSError.
        """
        if self._parent[1] < 0 or self._parent[0] != folder:
            self._leave_parent()
            self._parent = (folder, self._open_folder(folder))
            self._may_write = os.access(".", os.W_OK | os.X_OK, dir_fd=self._parent[1])
        return self._parent[1]

    def _leave_parent(self) -> None:
        if self._parent[1] >= 0:
            os.close(self._parent[1])
        self._parent = ("", -1)

    def _open_folder(self, folder: str) -> int:
        return self.root.open_folder(folder, self._refuse_border)

    def _refuse_border(self, fd: int) -> None:
        """Raises OSError for a folder that is none of this tree's own, if only since the plan."""
        outside = self.root.border(fd)
        if outside:
            raise NotEnteredError(outside)
        status = os.fstat(fd)
        version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if version not in self._no_repositories:
            folders.refuse_repository(fd)
            self._no_repositories.add(version)

    @staticmethod
    def _open_item(item: Candidate, parent: int) -> int:
        flags = OPEN_FOLDER if item.files else OPEN_FILE
        return os.open(os.path.basename(native_path(item.path)), flags, dir_fd=parent)

    def _look(self, item: Candidate, fd: int, held_open: "Ids") -> str:
        """Why what is open must stay, as far as it shows by itself. Raises OSError."""
        if NEVER.match(item.path):
            return "lock and pid files stay, whatever their age"
        if item.path.split("/")[0] in (".git", QUARANTINE_NAME) or OWN_NAME.match(item.path):
            return "it belongs to git or to the clean-up itself"
        status = os.fstat(fd)
        if status.st_dev != self.root.dev:
            return "it is on another device"
        if os.geteuid() not in (0, status.st_uid):
            # A link to a file of another user is forbidden: fs.protected_hardlinks, proc(5).
            return "it belongs to another user, so it could not be put back"
        if file_id(status) in held_open:
            return "a process holds it open"
        if item.files:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd):
                return "no permission to write to it"
            return self._unlike(item, fd, held_open)
        return difference(status, item) or in_use(fd)

    def _unlike(self, item: Candidate, fd: int,
                held_open: "Ids" = NO_IDS) -> str:
        """How what is in a folder differs from the plan, or why it must stay. Raises OSError."""
        if file_id(os.fstat(fd)) in held_open:
            return "a process uses it"
        contents = folders.contents_of(fd, item.path, self._refuse_border, held_open, in_use)
        if contents.objection:
            return str(contents.objection)
        if contents_digest(contents.lines) != item.contents:
            return "what is in it has changed"
        return ""

    def _move_all(self, items: "Sequence[Candidate]",
                  guards: "Sequence[Guard]") -> "Iterator[Tuple[Candidate, str, str]]":
        """Announce all, then move them, folder by folder: (candidate, outcome, why not).

        `_confirm` answers for those that were moved. Raises StorageError; then nothing was moved.
        """
        if not items:
            return
        try:
            self._begin_run()
            self._describe(items)
            self.log([event("intent", run=self.run_id, **_intent(item)) for item in items],
                     durable=True)
        except sc.StorageError as error:
            self._failure = error
            return
        by_folder: "Dict[str, List[Candidate]]" = {}
        for item in items:
            by_folder.setdefault(os.path.dirname(item.path), []).append(item)
        for folder, group in by_folder.items():
            answers = self._move_group(folder, group, guards)
            failed = [event("failed", run=self.run_id, path=item.path, reason=why)
                      for item, _, why in answers if why]
            if failed:
                self._answer(failed)
            yield from answers
            if self._failure:
                return  # what was announced and not moved is answered for at the next start

    def _move_group(self, folder: str, items: "Sequence[Candidate]",
                    guards: "Sequence[Guard]") -> "List[Tuple[Candidate, str, str]]":
        """The same for the candidates of one folder."""
        parent = held = -1
        try:
            parent = self._open_folder(folder)
            held = self._make_held(folder)
        except OSError as error:
            if parent >= 0:
                os.close(parent)
                why = _cannot_move(error)
            else:
                why = "cannot open its folder: %s" % error.strerror
            return [(item, "skipped", why) for item in items]
        try:
            answers = [(item,) + self._move(item, parent, held, guards) for item in items]
            away = ""
            if any(outcome == "removed" for _, outcome, _ in answers):
                away = self._folder_moved(folder, parent)
            if not away:
                return answers
            return [(item, outcome, why) if outcome != "removed"
                    else (item, "failed", self._send_back(item, parent, away))
                    for item, outcome, why in answers]
        finally:
            os.close(parent)
            os.close(held)

    def _send_back(self, item: Candidate, parent: int, wrong: str) -> str:
        """Undo a move; why, and what was done."""
        name = os.path.basename(native_path(item.path))
        return "%s; %s" % (wrong, self._put_back(self._held_at(item.path), parent, name))

    def _held_at(self, path: str) -> str:
        return os.path.join(self.run_id, native_path(path))

    def _move(self, item: Candidate, parent: int, held: int,
              guards: "Sequence[Guard]") -> "Tuple[str, str]":
        """Rename into the folder `held`, and check what arrived: (outcome, why not).

        'skipped' when nothing was touched, 'failed' when the rename or a check after it failed.
        """
        try:
            fd = self._open_item(item, parent)
        except OSError as error:
            return "skipped", _cannot_open(error)
        try:
            why = self._look(item, fd, NO_IDS) or self._asked(guards, item.path)
            if why:
                return "failed" if self._guard_failed else "skipped", why
            why = self._take(item, parent, held)
            if why:
                return "skipped", why
            # What was looked at is still open, so that no other gets its inode number.
            wrong = self._arrived_wrong(item, held)
            if wrong:
                return "failed", self._send_back(item, parent, wrong)
            return "removed", ""
        except OSError as error:
            return "failed", "it could not be moved: %s" % (error.strerror or error)
        finally:
            os.close(fd)

    def _asked(self, guards: "Sequence[Guard]", path: str) -> str:
        """Why a guard wants the file kept. A guard that fails keeps this file and all that follow.

        Its error is raised if nothing was moved yet: then the run as a whole is refused.
        """
        if not self._guard_failed:
            try:
                return next(filter(None, (guard(path) for guard in guards)), "")
            except sc.ConductorError as error:
                if not self._moved_some:
                    raise
                self._guard_failed = str(error)
        return self._guard_failed

    def _take(self, item: Candidate, parent: int, held: int) -> str:
        """The rename; '' or why the system does not let it go. Raises OSError for other failures.

        It goes over a placeholder. A folder cannot be renamed over a file, nor a file over a
        folder, so none of the wrong kind is ever taken, not even for a moment. Every placeholder
        of a file is a link to the same file, by which it is recognized after a crash; that of a
        folder is an empty folder.
        """
        name = os.path.basename(native_path(item.path))
        if item.files:
            os.mkdir(name, 0o700, dir_fd=held)
        else:
            os.link(PLACEHOLDER_NAME, name, src_dir_fd=self.fd, dst_dir_fd=held)
        try:
            os.rename(name, name, src_dir_fd=parent, dst_dir_fd=held)
        except OSError as error:
            if not self._is_there(name, held):
                _drop_placeholder(name, held)
                if error.errno in CANNOT_MOVE:
                    return _cannot_move(error)
                raise
            # It succeeded, although a file server reported a failure.
        self._moved_some = True
        return ""

    def _arrived_wrong(self, item: Candidate, held: int) -> str:
        """How what arrived in a folder of the quarantine differs from the plan.

        `_confirm` asks who uses it.
        """
        if item.files:
            return self._difference(item, self._held_at(item.path))
        try:
            status = os.stat(os.path.basename(native_path(item.path)), dir_fd=held,
                             follow_symlinks=False)
        except OSError as error:
            return "it cannot be checked in quarantine (%s)" % error.strerror
        return difference(status, item, moved=True)

    def _difference(self, item: Candidate, held: str, held_open: "Ids" = NO_IDS) -> str:
        """How what is in quarantine differs from the plan, or who uses it."""
        try:
            fd = os.open(held, OPEN_FOLDER if item.files else OPEN_FILE, dir_fd=self.fd)
        except OSError as error:
            return "it cannot be checked in quarantine (%s)" % error.strerror
        try:
            if item.files:
                return self._unlike(item, fd, held_open)
            return difference(os.fstat(fd), item, moved=True) or in_use(fd)
        except OSError as error:
            return "it cannot be checked in quarantine (%s)" % (error.strerror or error)
        finally:
            os.close(fd)

    def _confirm(self, items: "Sequence[Candidate]",
                 guards: "Sequence[Guard]") -> "Iterator[Tuple[Candidate, str]]":
        """Check what was moved once more, and answer for it in the log: (candidate, why not).

        A process that was just opening a file when it was moved writes to it afterwards, which no
        earlier check could see; and what git has begun to track goes back.
        """
        late: "Dict[str, str]" = {}
        held_open = NO_IDS
        if items:
            time.sleep(OPENING_S)
            for guard in guards:
                if isinstance(guard, GitGuard):
                    late.update(guard.afterwards([item.path for item in items]))
        if any(item.files for item in items):
            # Who holds a folder open can still write to it, and no lease tells. Asked ahead of the
            # check of what is in it: who has let go by now has written what he had to write.
            held_open = open_files()
        for start in range(0, len(items), BATCH):
            entries, answers = [], []
            for item in items[start:start + BATCH]:
                held = self._held_at(item.path)
                why = late.get(item.path) or self._difference(item, held, held_open)
                if why:
                    why = self._undo(held, item.path, why)
                    entries.append(event("failed", run=self.run_id, path=item.path, reason=why))
                else:
                    entries.append(event("done", run=self.run_id, path=item.path, size=item.size))
                answers.append((item, why))
            self._answer(entries)
            yield from answers

    def _begin_run(self) -> None:
        """Raises StorageError."""
        if self.run_id:
            return
        number = os.getpid()
        time_text = sc.iso(self.now).replace("-", "").replace(":", "")
        while True:
            run_id = "%s-%d" % (time_text, number)
            try:
                os.mkdir(run_id, 0o700, dir_fd=self.fd)
                break
            except FileExistsError:
                number += 1
            except OSError as error:
                raise sc.StorageError.of("create", os.path.join(QUARANTINE_NAME, run_id), error)
        self.run_id = run_id
        self._manifests[run_id] = Manifest(self.fd, run_id)
        self._manifests[run_id].add([{"format": FORMAT, "taken_at": self._witness.certain}])

    def _describe(self, items: "Sequence[Candidate]") -> None:
        """Write down what the folders look like, and which go as one. Raises StorageError."""
        manifest = self._manifest(self.run_id)
        lines: "Dict[str, Dict[str, Any]]" = {}
        for item in items:
            folder = os.path.dirname(item.path)
            while folder and folder not in manifest.folders and folder not in lines:
                facts = self._facts_at(folder)
                if facts is not None:
                    lines[folder] = dict(facts, folder=folder)
                folder = os.path.dirname(folder)
        whole = [{"whole": item.path, "files": item.files, "size": item.size}
                 for item in items if item.files]
        if lines or whole:
            manifest.add(list(lines.values()) + whole)

    def _facts_at(self, folder: str) -> "Dict[str, Any] | None":
        """What a folder looks like; None if it cannot be opened, and nothing is taken from it."""
        try:
            fd = self._open_folder(folder)
            try:
                return folders.facts_of(fd)
            finally:
                os.close(fd)
        except OSError:
            return None

    def _make_held(self, folder: str) -> int:
        """The descriptor of the folder of this run that has the name of one of the tree.

        Raises OSError.
        """
        held = os.path.join(self.run_id, native_path(folder)) if folder else self.run_id
        self._make_folders(held)
        return open_below(self.fd, stored_path(held))

    def _make_folders(self, folder: str) -> None:
        """Folders in quarantine, as far as they are not there. Raises OSError."""
        parts = folder.split("/")
        for number in range(1, len(parts) + 1):
            path = "/".join(parts[:number])
            if path not in self._made:
                try:
                    os.mkdir(path, 0o700, dir_fd=self.fd)
                except FileExistsError:
                    pass
                self._made.add(path)

    def _folder_moved(self, folder: str, parent: int) -> str:
        """Whether the folder that files were taken from is still the one of its path."""
        try:
            again = self._open_folder(folder)
        except OSError as error:
            return "its folder was moved meanwhile (%s)" % error.strerror
        try:
            if file_id(os.fstat(parent)) != file_id(os.fstat(again)):
                return "its folder was moved meanwhile"
            return ""
        except OSError as error:
            return "cannot tell whether its folder was moved meanwhile (%s)" % error.strerror
        finally:
            os.close(again)

    # -- putting back

    def _undo(self, held: str, path: str, wrong: str) -> str:
        """Put back what should not have been taken; why, and what was done."""
        try:
            parent = self._open_folder(os.path.dirname(path))
        except OSError as error:
            return "%s, and its folder is gone (%s), %s" % (
                wrong, error.strerror, self._keep(held))
        try:
            name = os.path.basename(native_path(path))
            return "%s; %s" % (wrong, self._put_back(held, parent, name))
        finally:
            os.close(parent)

    def _put_back(self, held: str, parent: int, name: str) -> str:
        """Undo a rename that took the wrong thing. Never overwrites; says what it did."""
        try:
            self._give(held, self.fd, name, parent)
        except FileExistsError:
            return "its place is taken, " + self._keep(held)
        except (OSError, NotImplementedError) as error:
            why = getattr(error, "strerror", None) or error
            return "it could not be put back (%s), %s" % (why, self._keep(held))
        return "it was put back"

    @staticmethod
    def _give(held: str, held_folder: int, name: str, parent: int) -> None:
        """Move something out of quarantine. Raises OSError, FileExistsError for a taken place.

        A link never overwrites, nor does the rename of a folder that is not empty, but for an empty
        folder. A crash between link and unlink leaves two names for one file.
        """
        status = os.stat(held, dir_fd=held_folder, follow_symlinks=False)
        here = os.stat(os.path.dirname(held) or ".", dir_fd=held_folder, follow_symlinks=False)
        if file_id(here) == file_id(os.fstat(parent)):
            raise NotEnteredError("that is where it is held")
        if stat.S_ISDIR(status.st_mode):
            if folders.has(parent)(name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            try:
                os.rename(held, name, src_dir_fd=held_folder, dst_dir_fd=parent)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):  # since a moment ago
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                raise
            return
        try:
            os.link(held, name, src_dir_fd=held_folder, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            if not _same(held, held_folder, name, parent):
                raise
        os.unlink(held, dir_fd=held_folder)

    def _keep(self, held: str) -> str:
        """Move what is no candidate out of reach of a purge; says where it is.

        If that fails, too, as on a full disk, its intent stays without an answer, and the run ends:
        the next start puts it back.
        """
        kept = os.path.join(KEPT_NAME, held)
        try:
            self._make_folders(os.path.dirname(kept))
            os.rename(held, kept, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            self._unsettled.add(stored_path(held))
            place = os.path.join(QUARANTINE_NAME, held)
            self._failure = self._failure or sc.StorageError.of("put back", place, error)
            return "nor be kept (%s): the next clean-up puts it back" % error.strerror
        return "so it is kept: " + printable(stored_path(os.path.join(QUARANTINE_NAME, kept)))

    def _note_kept(self) -> None:
        """Note what is kept, until somebody has moved it back."""
        folder = os.path.join(self.root.path, QUARANTINE_NAME, KEPT_NAME)
        try:
            paths = ["%s/%s" % (run, item.path) for run in sorted(os.listdir(folder))
                     for item in self._items(KEPT_NAME + "/" + run)]
        except FileNotFoundError:
            return
        except OSError as error:
            self.notes.append("cannot open %s/%s: %s" % (QUARANTINE_NAME, KEPT_NAME,
                                                         error.strerror))
            return
        if paths:
            self.notes.append(
                "%s in %s/%s: taken by mistake while being changed, and never purged; move them "
                "back to their places (%s)" % (plural(len(paths), "file"), QUARANTINE_NAME,
                                               KEPT_NAME, ", ".join(map(printable, paths[:3]))))

    # -- empty folders

    def _remove_left_empty(self, paths: "Sequence[str]", guards: "Sequence[Guard]") -> None:
        """Remove the folders that a removal left empty, and those above that this leaves empty.

        Not those that programs expect to be there, by their names, or that a guard keeps.
        """
        gone = []
        self._leave_parent()
        self._in_use = open_files()
        level = {os.path.dirname(path) for path in paths} - {""}
        while level:
            deepest = max(folder.count("/") for folder in level)
            now = {folder for folder in level if folder.count("/") == deepest}
            removed = self._remove_empty(
                [folder for folder in sorted(now)
                 if not folders.EXPECTED.match(os.path.basename(folder))
                 and not self._is_on_purpose(folder) and not self._asked(guards, folder)])
            gone += removed
            level = (level - now) | {os.path.dirname(folder) for folder in removed} - {""}
        if gone:
            shown = ", ".join(map(printable, gone[:3])) + ", ..." * (len(gone) > 3)
            self.notes.append("%s left empty and removed: %s" % (
                plural(len(gone), "folder"), shown))

    def _is_on_purpose(self, folder: str) -> bool:
        """Whether a folder looks as if somebody had made it for a program to write to.

        By a process that works in it, its owner, or bits of its mode that no mkdir(1) gives.
        """
        try:
            parent = self._status_of(os.path.dirname(folder))
            status = self._status_of(folder)
        except OSError:
            return True
        return (file_id(status) in self._in_use or bool(status.st_mode & 0o7002)
                or (status.st_uid, status.st_gid) != (parent.st_uid, parent.st_gid))

    def _status_of(self, folder: str) -> "os.stat_result":
        """Raises OSError."""
        fd = self._open_folder(folder)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def remove_empty_folders(self, paths: "Sequence[str]") -> "List[str]":
        """Remove the empty ones of these folders, deepest first; `restore` makes them again.

        Raises StorageError.
        """
        if self._unanswered:
            raise self._unanswered
        gone = []
        depths = sorted({path.count("/") for path in paths}, reverse=True)
        for depth in depths:
            gone += self._remove_empty([path for path in paths if path.count("/") == depth])
        if self._failure:
            raise self._failure
        return gone

    def _remove_empty(self, paths: "Sequence[str]") -> "List[str]":
        """The same for folders of which none is in another."""
        lines = []
        for path in paths:
            facts = self._facts_if_empty(path)
            if facts is not None:
                lines.append(dict(facts, empty=path))
        if not lines:
            return []
        try:
            self._begin_run()
            self._manifest(self.run_id).add(lines)
        except sc.StorageError as error:
            self._failure = self._failure or error
            return []
        gone = [line["empty"] for line in lines if self._rmdir(line["empty"])]
        if gone:
            self._answer([event("rmdir", run=self.run_id, path=path) for path in gone])
        return gone

    def _facts_if_empty(self, path: str) -> "Dict[str, Any] | None":
        """What a folder looks like if it is empty, and ours to remove and to make again."""
        try:
            fd = self._open_folder(path)
        except OSError:
            return None
        try:
            if os.listdir(fd) or os.geteuid() not in (0, os.fstat(fd).st_uid):
                return None
            return folders.facts_of(fd)
        except OSError:
            return None
        finally:
            os.close(fd)

    def _rmdir(self, path: str) -> bool:
        """Remove a folder, which succeeds for an empty one alone; whether it did."""
        try:
            parent = self._open_folder(os.path.dirname(path))
        except OSError:
            return False
        try:
            os.rmdir(os.path.basename(native_path(path)), dir_fd=parent)
            return True
        except OSError:
            return False  # no longer empty, or not ours, or a mount point: it stays
        finally:
            os.close(parent)

    # -- afterwards

    def runs(self) -> "List[HeldRun]":
        """The runs in quarantine, oldest first. Anything else in the folder is ignored."""
        if self.fd < 0:
            return []
        runs = []
        for name in filter(self._is_run, sorted(os.listdir(self.fd))):
            items = self._items(name)
            # A rename sets ctime: whatever clock named the run, no file was taken after that.
            at = run_time(name) or 0
            newest = max([at] + [item.changed for item in items])
            size = sum(item.size for item in items)
            problems = ["%s %s" % (printable(item.path), item.problem)
                        for item in items if item.problem]
            runs.append(HeldRun(run_id=name, at=at, newest=newest, size=size,
                                files=sum(item.count for item in items),
                                problem="; ".join(problems)))
        return runs

    def _is_run(self, name: str) -> bool:
        return run_time(name) is not None and stat.S_ISDIR(
            os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode)

    def held(self, run_id: str) -> "List[Held]":
        """What a run holds, and the folders that it left empty. Raises UsageError.

        Without those that come back anyway, with what was in them.
        """
        self._check_run(run_id)
        items = self._items(run_id)
        above: "Set[str]" = set()
        for item in items:
            folder = os.path.dirname(item.path)
            while folder and folder not in above:
                above.add(folder)
                folder = os.path.dirname(folder)
        empty = set(self._manifest(run_id).empty) - above - {item.path for item in items}
        return items + [Held(path=path, is_empty=True) for path in sorted(empty)
                        if not self._is_in_tree(path)]

    def _check_run(self, run_id: str) -> None:
        """Raises UsageError for a run that is not in quarantine."""
        if self.fd < 0 or run_id not in os.listdir(self.fd) or not self._is_run(run_id):
            raise sc.UsageError("run %s is not in quarantine" % run_id, self._runs_hint())

    def _items(self, run_id: str) -> "List[Held]":
        """The files of a run and the folders that went as one, by path. Links are not followed."""
        items: "List[Held]" = []
        self._collect(run_id, "", items)
        return items

    def _collect(self, run_id: str, below: str, items: "List[Held]") -> None:
        try:
            fd = open_below(self.fd, "/".join(filter(None, (run_id, below))))
        except OSError as error:
            items.append(Held(path=below or ".",
                              problem="cannot be opened in quarantine: %s" % error.strerror))
            return
        whole = self._manifest(run_id).whole if run_time(run_id) is not None else {}
        try:
            for name in sorted(os.listdir(fd)):
                path = below + "/" + stored_path(name) if below else stored_path(name)
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if file_id(status) == self._placeholder:
                    continue  # of a removal that a crash interrupted
                if not stat.S_ISDIR(status.st_mode):
                    items.append(Held(path=path, size=status.st_size, changed=status.st_ctime))
                elif path in whole:
                    items += self._whole(run_id, path, status)
                else:
                    self._collect(run_id, path, items)
        finally:
            os.close(fd)

    def _whole(self, run_id: str, path: str, status: "os.stat_result") -> "List[Held]":
        """A folder that went as one; nothing for the placeholder of one that did not."""
        try:
            count, size, newest = _measure(self._open_held(run_id, path))
        except OSError as error:
            # It can be restored all the same. A purge cannot tell how old it is.
            facts = self._manifest(run_id).whole[path]
            return [Held(path=path, files=max(1, facts["files"]), size=facts["size"],
                         problem="cannot be looked at in quarantine: %s" % error.strerror)]
        if not count:
            return []
        return [Held(path=path, files=count, size=size, changed=max(newest, status.st_ctime))]

    def _open_held(self, run_id: str, path: str) -> int:
        return open_below(self.fd, "/".join(filter(None, (run_id, path))))

    def _held_folder(self, run_id: str, path: str) -> "Tuple[int, str]":
        """(descriptor of the folder that holds the file, its name there). Raises OSError."""
        folder, _, name = path.rpartition("/")
        return self._open_held(run_id, folder), native_path(name)

    def restore(self, target: str, to: str = "") -> "List[Removal]":
        """Restore what a run holds, or of the newest that has it a file or all below a folder.

        With `to`, it goes into that folder instead of to its place.

        Never overwrites, and continues after a failure. `reason` says what a restored thing did not
        get back. Raises UsageError when the target is not in quarantine or `to` is no folder on the
        same device, RefusedError for a path that leads out of the root.
        """
        run_id, items = self._targets(target)
        top = self._open_destination(to)
        made: "Made" = {}
        results: "List[Removal]" = []
        try:
            for folder, group in itertools.groupby(
                    items, key=lambda item: os.path.dirname(item.path)):
                answers = self._restore_group(run_id, folder, list(group), top, made)
                self._log_if_possible([
                    event("restored" if answer.outcome == "restored" else "not restored",
                          run=run_id, path=answer.path, reason=answer.reason)
                    for answer in answers])
                results += answers
            self._give_times(top, made)
        finally:
            os.close(top)
        is_done = all(result.outcome == "restored" for result in results)
        self._tidy_run(run_id, done=is_done and self._is_restored(run_id, results))
        return results

    def _is_restored(self, run_id: str, results: "Sequence[Removal]") -> bool:
        """Whether nothing is left to restore of a run, as far as can be told."""
        there = set()
        for result in results:
            path = result.path
            while path:
                there.add(path)
                path = os.path.dirname(path)
        try:
            return not self._items(run_id) and not any(
                path not in there and not self._is_in_tree(path)
                for path in self._manifest(run_id).empty)
        except OSError:
            return False

    def _is_in_tree(self, path: str) -> bool:
        """Whether the tree has a folder of that path again, as far as can be told."""
        try:
            os.close(self.root.open_folder(path))
        except OSError:
            return False
        return True

    def _restore_group(self, run_id: str, folder: str, items: "Sequence[Held]", top: int,
                       made: "Made") -> "List[Removal]":
        """Restore the things of one folder; what became of each."""
        missing: "List[str]" = []
        parent = held = -1
        results = []
        try:
            parent = self._parent_again(run_id, folder, top, made, missing)
            if not all(item.is_empty for item in items):
                held = self._open_held(run_id, folder)
            for item in items:
                outcome = "restored"
                try:
                    if item.problem and not item.files:  # a folder comes back as it is
                        raise NotEnteredError(item.problem)
                    if item.is_empty:
                        self._make_again(item.path, parent, self._manifest(run_id).empty[item.path],
                                         made, missing)
                    else:
                        name = os.path.basename(native_path(item.path))
                        self._give(name, held, name, parent)
                except OSError as error:
                    outcome, missing = "failed", [_not_put_back(error)]
                results.append(_restored(item, outcome, missing))
                missing = []
        except OSError as error:
            results = [_restored(item, "failed", [_not_put_back(error)]) for item in items]
        finally:
            for fd in (parent, held):
                if fd >= 0:
                    os.close(fd)
        return results

    def _targets(self, target: str) -> "Tuple[str, List[Held]]":
        """(run, what of it to restore). Raises UsageError, RefusedError."""
        if run_time(target) is not None:
            return target, self.held(target)
        path = relative_path(stored_path(target).rstrip("/"), "restore")
        for run in reversed(self.runs()):
            below = [item for item in self.held(run.run_id)
                     if (item.path + "/").startswith(path + "/")
                     or printable(item.path) == target]
            if below:
                return run.run_id, below
            if self._holds(run.run_id, path):  # in a folder that went as one
                return run.run_id, [Held(path=path)]
        raise sc.UsageError("'%s' is not in quarantine" % printable(path), self._runs_hint())

    def _open_destination(self, to: str) -> int:
        """Raises UsageError."""
        if not to:
            return os.dup(self.root.fd)
        try:
            fd = os.open(os.path.realpath(to), OPEN_FOLDER)
        except OSError as error:
            raise sc.UsageError("--to: cannot open %s: %s" % (
                printable(stored_path(to)), error.strerror))
        if self._is_own_folder(fd):
            os.close(fd)
            raise sc.UsageError("--to: %s is in the quarantine" % printable(stored_path(to)))
        if os.fstat(fd).st_dev != self.root.dev:
            os.close(fd)
            raise sc.UsageError("--to: %s is on another device than %s" % (
                printable(stored_path(to)), self.root.path), "choose a folder on the same device")
        return fd

    def _is_own_folder(self, fd: int) -> bool:
        """Whether a folder is the quarantine or in it, by whatever path it was reached."""
        own, fd = file_id(os.fstat(self.fd)), os.dup(fd)
        while True:
            status = os.fstat(fd)
            above = os.open("..", OPEN_FOLDER, dir_fd=fd)
            os.close(fd)
            fd = above
            if file_id(status) == own or file_id(os.fstat(fd)) == file_id(status):
                os.close(fd)
                return file_id(status) == own

    def _runs_hint(self) -> str:
        return "runs in quarantine: %s" % (", ".join(run.run_id for run in self.runs()) or "none")

    def _holds(self, run_id: str, path: str) -> bool:
        try:
            held, name = self._held_folder(run_id, path)
        except OSError:
            return False
        try:
            status = os.stat(name, dir_fd=held, follow_symlinks=False)
            return not stat.S_ISDIR(status.st_mode) and file_id(status) != self._placeholder
        except OSError:
            return False
        finally:
            os.close(held)

    def _parent_again(self, run_id: str, folder: str, top: int,
                      made: "Made",
                      missing: "List[str]") -> int:
        """The folder that something was taken from, made again as it was if it is gone.

        Raises OSError.
        """
        manifest = self._manifest(run_id)
        fd, path = os.dup(top), ""
        try:
            for part in folder.split("/") if folder else ():
                path = path + "/" + part if path else part
                if not folders.has(fd)(native_path(part)):
                    facts = manifest.folders.get(path) or manifest.empty.get(path)
                    if facts is None:
                        facts = self._mirrored(run_id, path)
                        if manifest.taken_at is not None:  # an earlier version left its mode
                            missing.append("%s: what it looked like is not known" % printable(path))
                    self._make_again(path, fd, facts, made, missing)
                deeper = os.open(native_path(part), OPEN_FOLDER, dir_fd=fd)
                os.close(fd)
                fd = deeper
            return fd
        except OSError:
            os.close(fd)
            raise

    def _make_again(self, path: str, parent: int, facts: "Dict[str, Any]",
                    made: "Made",
                    missing: "List[str]") -> None:
        """Make a folder as it was, unless there is something in its place.

        Whoever may write to its parent can put something else in its place at any moment. So it is
        made in quarantine, which nobody else can reach, and nothing is done to it after it is
        moved: a crash leaves none that is half made. Raises OSError, FileExistsError for a place
        that has been taken since.
        """
        name = native_path(os.path.basename(path))
        if folders.has(parent)(name):
            return
        os.mkdir(MAKING_NAME, 0o700, dir_fd=self.fd)
        fd = -1
        try:
            fd = os.open(MAKING_NAME, OPEN_FOLDER, dir_fd=self.fd)
            lost = folders.give_back(fd, facts) + folders.give_times(fd, facts)
            try:
                os.rename(MAKING_NAME, name, src_dir_fd=self.fd, dst_dir_fd=parent)
            except PermissionError:
                # rename(2): whoever gives a folder another parent must be able to write to it.
                os.fchmod(fd, 0o700)
                os.rename(MAKING_NAME, name, src_dir_fd=self.fd, dst_dir_fd=parent)
                lost = folders.give_back(fd, facts) + folders.give_times(fd, facts)
            made[path] = (file_id(os.fstat(fd)), facts)
        except OSError as error:
            self._drop_half_made()
            if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            raise
        finally:
            if fd >= 0:
                os.close(fd)
        if lost:
            missing.append("%s: %s could not be given back" % (printable(path), ", ".join(lost)))

    def _drop_half_made(self) -> None:
        """Remove the folder that an interrupted restore was making, if there is one."""
        with contextlib.suppress(OSError):
            os.rmdir(MAKING_NAME, dir_fd=self.fd)

    def _mirrored(self, run_id: str, path: str) -> "Dict[str, Any]":
        """What is known of a folder without a manifest: an earlier version left its mode."""
        fd = self._open_held(run_id, path)
        try:
            return folders.facts_of(fd)
        finally:
            os.close(fd)

    def _give_times(self, top: int,
                    made: "Made") -> None:
        """Give the folders that were made their times, the deepest first."""
        for path in sorted(made, key=lambda path: path.count("/"), reverse=True):
            identity, facts = made[path]
            try:
                fd = open_below(top, path)
                try:
                    if file_id(os.fstat(fd)) == identity:
                        folders.give_times(fd, facts)
                finally:
                    os.close(fd)
            except OSError as error:
                self.notes.append("%s: its times could not be given back: %s" % (
                    printable(path), error.strerror))

    def purge(self, older_than_s: float) -> "List[HeldRun]":
        """Delete runs older than `older_than_s` seconds; without `execute`, only return them.

        By the wall clock, and by the time that has certainly passed: that clock may be wrong.
        """
        old = []
        for run in self.runs():
            if run.newest > self.now - older_than_s:
                continue
            if run.problem:
                self.notes.append("%s is kept: %s" % (run.run_id, run.problem))
                continue
            certain_s = self._witness.age(run.run_id, self._manifest(run.run_id).taken_at)
            if certain_s < older_than_s:
                self.notes.append(
                    "%s is kept: it is %s old by the clock, but only %s have certainly passed "
                    "since it was taken" % (run.run_id, sc.duration_text(self.now - run.newest),
                                            sc.duration_text(certain_s)))
                continue
            old.append(run)
        return [self._purge_run(run) for run in old] if self.execute else old

    def _purge_run(self, run: HeldRun) -> HeldRun:
        facts = {"run": run.run_id, "files": run.files, "size": run.size}
        self._log_if_possible([event("purge", **facts)])
        left = 0
        items: "List[Held]" = []
        try:
            items = self._items(run.run_id)
        except OSError as error:
            left = run.files
            self.notes.append("%s: %s" % (run.run_id, error.strerror))
        for item in items:
            try:
                left += self._delete(run.run_id, item)
            except OSError as error:
                left += item.count
                self.notes.append("%s/%s: %s" % (run.run_id, printable(item.path), error.strerror))
        # A purge that was interrupted may have left the folders of one that went as one.
        half_deleted = set(self._manifest(run.run_id).whole) - {item.path for item in items}
        for path in half_deleted if not left else ():
            with contextlib.suppress(OSError):  # as a rule it is not there any more
                self._delete(run.run_id, Held(path=path, files=1))
        self._tidy_run(run.run_id, done=not left)
        self._log_if_possible([event("purged", left=left, **facts)])
        changed: HeldRun = run.replace(left=left)
        return changed

    def _delete(self, run_id: str, item: Held) -> int:
        """Delete a thing for good; how many of its files could not be. Raises OSError."""
        held, name = self._held_folder(run_id, item.path)
        try:
            if not item.files:
                os.unlink(name, dir_fd=held)
                return 0
            left = self._delete_below(os.open(name, OPEN_FOLDER, dir_fd=held), item.path)
            if not left:
                os.rmdir(name, dir_fd=held)
            return left
        finally:
            os.close(held)

    def _delete_below(self, fd: int, path: str) -> int:
        """Delete what is in a folder of the quarantine; closes the descriptor."""
        left = 0
        try:
            outside = self.root.border(fd)
            if outside:
                raise NotEnteredError(outside)
            for name in os.listdir(fd):
                below = path + "/" + stored_path(name)
                try:
                    if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        left += self._delete_below(os.open(name, OPEN_FOLDER, dir_fd=fd), below)
                        os.rmdir(name, dir_fd=fd)
                    else:
                        os.unlink(name, dir_fd=fd)
                except OSError as error:
                    left += error.errno != errno.ENOTEMPTY  # that one has been counted
                    if error.errno != errno.ENOTEMPTY:
                        self.notes.append("%s: %s" % (printable(below), error.strerror))
            return left
        finally:
            os.close(fd)

    def _tidy_run(self, run_id: str, done: bool = False) -> None:
        """Remove the empty folders of a run; the run itself, if nothing is left to restore.

        `done` says that this includes the folders that it left empty.
        """
        for name in self._folders_in(run_id):
            self._tidy(run_id + "/" + name)
        if not done and self._manifest(run_id).empty:
            return
        try:
            os.rmdir(run_id, dir_fd=self.fd)
            os.unlink(self._manifest(run_id).name, dir_fd=self.fd)
        except OSError:
            return  # something is left in it, or it never had a manifest
        self._manifests.pop(run_id, None)
        if run_id == self.run_id:
            self.run_id = ""

    def _folders_in(self, held: str) -> "List[str]":
        """The folders in one of the quarantine, without placeholders that a crash left there."""
        try:
            fd = os.open(held, OPEN_FOLDER, dir_fd=self.fd)
        except OSError:
            return []
        try:
            below = []
            for name in _names(fd):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    below.append(name)
                elif file_id(status) == self._placeholder:
                    os.unlink(name, dir_fd=fd)
            return below
        except OSError:
            return []  # then they stay for now
        finally:
            os.close(fd)

    def _tidy(self, held: str) -> None:
        """Remove the empty folders at and below one of the quarantine, deepest first."""
        run_id, _, path = held.partition("/")
        if stored_path(path) in self._manifest(run_id).whole:
            try:
                os.rmdir(held, dir_fd=self.fd)  # the placeholder of one that was not moved
            except OSError:
                pass  # its folders are part of it, empty or not
            return
        for name in self._folders_in(held):
            self._tidy(held + "/" + name)
        try:
            os.rmdir(held, dir_fd=self.fd)
        except OSError:
            pass  # something is left in it


def _drop_placeholder(name: str, folder: int) -> None:
    for remove in (os.unlink, os.rmdir):
        try:
            remove(name, dir_fd=folder)
            return
        except OSError:
            continue  # it is the other kind, or not even that was made


def _removal(item: Candidate, outcome: str, why: str = "") -> Removal:
    size = item.size if outcome in ("removed", "would be removed") else 0
    return Removal(path=item.path, outcome=outcome, reason=why or item.reason, size=size,
                   rule=item.rule, files=item.files)


def _restored(item: Held, outcome: str, reasons: "Sequence[str]") -> Removal:
    return Removal(path=item.path, outcome=outcome, reason="; ".join(reasons), size=item.size,
                   files=item.files)


def _not_put_back(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "its place is taken"
    return "it cannot be put back: %s" % (error.strerror or error)


def _intent(item: Candidate) -> "Dict[str, Any]":
    fields = INTENT_FIELDS + FOLDER_FIELDS if item.files else INTENT_FIELDS
    return {name: getattr(item, name) for name in fields}


def _measure(fd: int) -> "Tuple[int, int, float]":
    """(files, bytes, newest ctime) below a folder; closes the descriptor. Raises OSError."""
    count = size = 0
    newest = os.fstat(fd).st_ctime
    try:
        for name in os.listdir(fd):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                more, bytes_more, later = _measure(os.open(name, OPEN_FOLDER, dir_fd=fd))
                count, size, newest = count + more, size + bytes_more, max(newest, later)
            else:
                count, size = count + 1, size + status.st_size
                newest = max(newest, status.st_ctime)
        return count, size, newest
    finally:
        os.close(fd)


def _cannot_open(error: OSError) -> str:
    return "gone" if error.errno == errno.ENOENT else "cannot be opened: %s" % error.strerror


def _cannot_move(error: OSError) -> str:
    return "it cannot be moved: %s%s" % (error.strerror, CANNOT_MOVE.get(error.errno or 0, ""))


def _same(name: str, folder: int, other: str, other_folder: int) -> bool:
    """Whether two names are links to the same file."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return file_id(status) == file_id(os.stat(other, dir_fd=other_folder, follow_symlinks=False))


def run_time(run_id: str) -> "int | None":
    """The time of a run in epoch seconds, from its name; None if that is not the name of a run."""
    match = RUN_ID.match(run_id)
    if not match:
        return None
    try:
        return sc.from_iso("%s-%s-%sT%s:%s:%sZ" % match.groups())
    except (ValueError, OverflowError):
        return None


def counted(items: "Sequence[Any]") -> "Tuple[str, str]":
    """Candidates, or what became of them, in words: (what they are, what they hold).

    ('12 files', '5.1 MiB'), or with folders among them ('9 files and 3 folders', '431 files,
    12.0 MiB').
    """
    folders = sum(1 for item in items if item.files)
    size = size_text(sum(item.size for item in items))
    if not folders:
        return plural(len(items), "file"), size
    kinds = plural(folders, "folder")
    if len(items) > folders:
        kinds = "%s and %s" % (plural(len(items) - folders, "file"), kinds)
    return kinds, "%s, %s" % (plural(sum(item.files or 1 for item in items), "file"), size)


def outcome_line(removals: "Sequence[Removal]", execute: bool) -> str:
    """The verdict on a clean-up: what was removed, or why nothing was."""
    gone = [removal for removal in removals if removal.outcome in ("removed", "would be removed")]
    rest = [removal for removal in removals if removal.outcome in ("skipped", "failed")]
    action = "moved to quarantine" if execute else "would be removed"
    kinds, contents = counted(gone)
    text = "%s %s (%s)" % (kinds, action, contents)
    if rest:
        text += ", %d kept" % len(rest)
    if gone:
        return text
    if rest:
        return text + ": " + _commonest([removal.reason for removal in rest])
    return text + ": nothing was due"


def _commonest(reasons: "List[str]") -> str:
    """The three most frequent reasons, with their numbers."""
    counts = sorted(((reasons.count(reason), reason) for reason in set(reasons)), reverse=True)
    return "; ".join("%s (%d)" % (reason, number) for number, reason in counts[:3])
