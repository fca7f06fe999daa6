"""The only code that removes or restores anything.

A removal is a rename into a private folder on the same device, `.cleanup_quarantine/RUN_ID/PATH`.
Then the file that arrived is compared with the plan: a different one goes back with `link`, which
never overwrites. Content, mode and times move with the file, so a restored file is the one that was
taken. Only `purge` deletes, and only by age.

Every removal is announced in `cleanup_actions.log` (`intent`, flushed to disk) and answered there
(`done` or `failed`). What a crash interrupts is finished or rolled back at the next start.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from common import RefusedError, check_format, plural, read_own, sc, size_text
from tree import (
    ACTIONS_NAME,
    OPEN_FOLDER,
    OWN_NAME,
    QUARANTINE_NAME,
    Root,
    is_repository,
    native_path,
    open_below,
    printable,
    relative_path,
    stored_path,
)

RUN_ID = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-\d+\Z")
OPENING_S = 0.05  # enough for a process that was opening a file when it moved to have it open
BATCH = 500  # removals that share one flush of their intents to disk
FORMAT = 1  # of the folder and of the log
FORMAT_NAME = "format"
PLACEHOLDER_NAME = "placeholder"
KEPT_NAME = "kept"  # files that were taken by mistake and could not go back; never purged
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
INTENT_FIELDS = ("path", "size", "mtime_ns", "dev", "ino", "mode", "rule", "reason")
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


Guard = Callable[[str], str]  # why a path must stay, or ''


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


def file_id(status: "os.stat_result") -> "Tuple[int, int]":
    """(device, inode): the identity of a file, whatever its name."""
    return status.st_dev, status.st_ino


# -- who uses a file

def open_files() -> "Set[Tuple[int, int]]":
    """The ids of the files that processes hold open, as far as /proc shows them to this user."""
    ids = set()
    for pid in _names(sc.PROC):
        if not pid.isdigit():
            continue
        folder = os.path.join(sc.PROC, pid, "fd")
        for name in _names(folder):
            try:
                ids.add(file_id(os.stat(os.path.join(folder, name))))
            except OSError:
                continue
    return ids


def _names(folder: "str | int") -> "List[str]":
    try:
        return os.listdir(folder)
    except OSError:
        return []


def in_use(fd: int) -> str:
    """Whether another process has locked the file or holds it open; '' as far as none is seen."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "a process has locked it" if error.errno == errno.EWOULDBLOCK else ""
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
        return "a process holds it open" if error.errno == errno.EAGAIN else ""
    return ""


# -- the log

class ActionLog:
    """`cleanup_actions.log`: append-only JSON lines; an `end` line closes each run."""

    def __init__(self, root: Root) -> None:
        self.path = os.path.join(root.path, ACTIONS_NAME)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.fd = os.open(ACTIONS_NAME, flags, 0o600, dir_fd=root.fd)
        except OSError as error:
            raise sc.StorageError.of("open", self.path, error)
        if not stat.S_ISREG(os.fstat(self.fd).st_mode):
            os.close(self.fd)
            raise RefusedError("%s is not a regular file" % ACTIONS_NAME)
        size = os.fstat(self.fd).st_size
        # A crash cut the last line short.
        self._torn = size > 0 and os.pread(self.fd, 1, size - 1) != b"\n"

    def write(self, entries: "Sequence[Dict[str, Any]]", durable: bool = False) -> None:
        """Append entries. Raises StorageError; then nothing that they announce may happen."""
        lines = [json.dumps(dict(entry, format=FORMAT)) + "\n" for entry in entries]
        if self._torn:
            lines.insert(0, "\n")
        try:
            sc.write_all(self.fd, "".join(lines).encode("ascii"))
            self._torn = False
            if durable:
                os.fsync(self.fd)
        except OSError as error:
            self._torn = True
            raise sc.StorageError.of("append to", self.path, error)

    def unsettled(self) -> "List[Dict[str, Any]]":
        """The unanswered intents of runs that did not finish, oldest first.

        Raises LaterVersionError.
        """
        entries = []
        for line in reversed(read_own(self.path).split(b"\n")):
            entry = _entry(line)
            check_format(ACTIONS_NAME, entry.get("format"), FORMAT)
            if entry.get("event") == "end":
                break
            entries.append(entry)
        answered = {_key(entry) for entry in entries if entry.get("event") in ("done", "failed")}
        return [entry for entry in reversed(entries)
                if entry.get("event") == "intent" and _key(entry) not in answered]

    def close(self) -> None:
        os.close(self.fd)


def _entry(line: bytes) -> "Dict[str, Any]":
    """The entry of a line, {} for a line that is damaged."""
    try:
        entry = json.loads(line.decode("utf-8")) if line.strip(b"\0 ") else {}
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _key(entry: "Dict[str, Any]") -> "Tuple[str, str]":
    return str(entry.get("run")), str(entry.get("path"))


def event(name: str, **facts: "Any") -> "Dict[str, Any]":
    """An entry of the log, without its time."""
    return dict(facts, event=name)


# -- the quarantine

class Quarantine:
    """The private folder, its lock and its log. One at a time; use it as a context manager.

    Without `execute` nothing is created, moved or written: every check is made, but no rename.
    Raises BusyError when another one is open, RefusedError when the folder cannot be trusted, and
    LaterVersionError.
    """

    def __init__(self, root: Root, now: float, execute: bool = True) -> None:
        self.root = root
        self.now = now
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
        self._guard_failed = ""
        # Versions of folders that were no repository of their own.
        self._no_repositories: "Set[Tuple[int, int, int, int]]" = set()

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
        if self.execute:
            self._prepare()
            self._recover()
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
        if not os.path.lexists(self._format_path):
            sc.write_atomic(self._format_path, b"%d\n" % FORMAT, durable=False)
        self._log = ActionLog(self.root)
        fd = os.open(PLACEHOLDER_NAME, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o400,
                     dir_fd=self.fd)
        self._placeholder = file_id(os.fstat(fd))
        os.close(fd)

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
            return
        except OSError as error:
            raise RefusedError("cannot read %s/%s: %s" % (
                QUARANTINE_NAME, FORMAT_NAME, error.strerror))
        if not re.match(r"[0-9]{1,9}\Z", text):
            raise RefusedError("%s/%s is not a number" % (QUARANTINE_NAME, FORMAT_NAME),
                               "remove it if no other version is used here")
        check_format(QUARANTINE_NAME, int(text), FORMAT)

    def log(self, entries: "Sequence[Dict[str, Any]]", durable: bool = False) -> None:
        assert self._log is not None, "only an executing quarantine writes"
        self._log.write([dict(entry, at=sc.iso(self.now)) for entry in entries], durable)

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
        """Finish or roll back what a crash interrupted between `intent` and `done`."""
        assert self._log is not None
        unsettled = self._log.unsettled()
        for entry in unsettled:
            outcome, reason = self._settle(entry)
            self.notes.append("%s: %s after an interruption (%s)" % (
                printable(str(entry.get("path"))), outcome, reason))
            self.log([event(outcome, run=entry.get("run"), path=entry.get("path"), reason=reason)])
        if unsettled:
            self.log([event("end", run=unsettled[-1].get("run"), recovered=len(unsettled))],
                     durable=True)

    def _settle(self, entry: "Dict[str, Any]") -> "Tuple[str, str]":
        """(the event that answers the intent, its reason)."""
        try:
            path = relative_path(str(entry.get("path")), ACTIONS_NAME)
            run_id = str(entry.get("run"))
            if run_time(run_id) is None:
                raise RefusedError("%s: '%s' is not a run" % (ACTIONS_NAME, printable(run_id)))
            facts = {key: entry[key] for key in ("size", "mtime_ns", "dev", "ino", "mode")}
            planned = Candidate(**facts)
        except (RefusedError, KeyError) as error:
            return "failed", "its log entry cannot be used: %s" % error
        held = os.path.join(run_id, native_path(path))
        try:
            status = os.stat(held, dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return "failed", "it had not been moved; left in place"
        if file_id(status) == self._placeholder:
            os.unlink(held, dir_fd=self.fd)
            return "failed", "it had not been moved; left in place"
        wrong = difference(status, planned, moved=True)
        if not wrong:
            return "done", "it had been moved"
        return "failed", self._undo(held, path, wrong)

    def _undo(self, held: str, path: str, wrong: str) -> str:
        """Put back a file that should not have been taken; why, and what was done."""
        try:
            parent = self._open_parent(path)
        except OSError as error:
            return "%s, and its folder is gone (%s), so it is kept: %s" % (
                wrong, error.strerror, self._keep(held))
        try:
            name = os.path.basename(native_path(path))
            return "%s; %s" % (wrong, self._put_back(held, parent, name))
        finally:
            os.close(parent)

    # -- removal

    def remove(self, candidates: "Sequence[Candidate]", guards: "Sequence[Guard]",
               limit: int) -> "Iterator[Removal]":
        """Move up to `limit` candidates into quarantine, in order; what became of each.

        A candidate that changed, is in use, or that a guard wants to keep is skipped. No removal is
        retried in another way. Raises StorageError when the log cannot be written, and whatever a
        guard raises.
        """
        self.run_id, self._made = "", set()
        left, moved = list(candidates), {"files": 0, "size": 0}
        taken: "List[Candidate]" = []
        while left and limit > moved["files"]:
            batch, left = left[:BATCH], left[BATCH:]
            held_open = open_files()
            ready: "List[Candidate]" = []
            for number, item in enumerate(batch):
                if len(ready) == limit - moved["files"]:
                    left = batch[number:] + left
                    break
                why = self._objection(item, guards, held_open)
                if why:
                    outcome = "failed" if self._guard_failed else "skipped"
                    yield Removal(path=item.path, outcome=outcome, reason=why, rule=item.rule)
                else:
                    ready.append(item)
            moves = self._move_all(ready, guards) if self.execute else map(_would, ready)
            for item, removal in moves:
                moved["files"] += removal.outcome in ("removed", "would be removed")
                moved["size"] += removal.size
                self._moved_some = self.execute and moved["files"] > 0
                if removal.outcome == "removed":
                    taken.append(item)
                else:
                    yield removal
        for removal in self._confirm(taken):
            if removal.outcome == "failed":
                moved["files"] -= 1
                moved["size"] -= removal.size
                removal = removal.replace(size=0)
            yield removal
        if self.run_id:
            self.log([event("end", run=self.run_id, **moved)], durable=True)
            self._tidy(self.fd, self.run_id)
        for item in left:
            yield Removal(path=item.path, outcome="skipped", reason="left for the next run",
                          rule=item.rule)

    def _objection(self, item: Candidate, guards: "Sequence[Guard]",
                   held_open: "Set[Tuple[int, int]]") -> str:
        """Why the file must stay, '' when it can be removed."""
        try:
            relative_path(item.path, "the plan")
            parent = self._open_parent(item.path)
        except OSError as error:
            return "cannot open its folder: %s" % error.strerror
        except RefusedError as error:
            return str(error)
        try:
            fd = self._open_file(item.path, parent)
            try:
                if not os.access(".", os.W_OK | os.X_OK, dir_fd=parent):
                    return "no permission to write to its folder"
                return self._look(item, fd, held_open) or self._asked(guards, item.path)
            finally:
                os.close(fd)
        except OSError as error:
            return _cannot_open(error)
        finally:
            os.close(parent)

    def _open_parent(self, path: str) -> int:
        return self.root.open_folder(os.path.dirname(path), self._refuse_repository)

    def _refuse_repository(self, fd: int) -> None:
        """Raises OSError for a folder that is a repository of its own, if only since the plan."""
        status = os.fstat(fd)
        version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if version in self._no_repositories:
            return
        if is_repository(lambda name: _exists(name, fd)):
            raise OSError(errno.EPERM, "it is a repository of its own")
        self._no_repositories.add(version)

    @staticmethod
    def _open_file(path: str, parent: int) -> int:
        return os.open(os.path.basename(native_path(path)), OPEN_FILE, dir_fd=parent)

    def _look(self, item: Candidate, fd: int, held_open: "Set[Tuple[int, int]]") -> str:
        """Why the open file must stay, as far as the file itself shows."""
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
        wrong = difference(status, item)
        if not wrong and file_id(status) in held_open:
            wrong = "a process holds it open"
        return wrong or in_use(fd)

    def _move_all(self, items: "List[Candidate]",
                  guards: "Sequence[Guard]") -> "Iterator[Tuple[Candidate, Removal]]":
        """Announce all, then move one by one. `_confirm` answers for those that were moved."""
        if not items:
            return
        self._begin_run()
        facts = [{name: getattr(item, name) for name in INTENT_FIELDS} for item in items]
        self.log([event("intent", run=self.run_id, **fact) for fact in facts], durable=True)
        for item in items:
            outcome, why = self._move(item, guards)
            if why:
                self.log([event("failed", run=self.run_id, path=item.path, reason=why)])
            yield item, Removal(path=item.path, outcome=outcome, reason=why or item.reason,
                                size=0 if why else item.size, rule=item.rule)

    def _confirm(self, items: "List[Candidate]") -> "Iterator[Removal]":
        """Check the moved files once more, and answer for them in the log.

        A process that was just opening a file when it was moved writes to it afterwards, which no
        earlier check could see.
        """
        if items:
            time.sleep(OPENING_S)
        for start in range(0, len(items), BATCH):
            entries, removals = [], []
            for item in items[start:start + BATCH]:
                why = self._changed_after(item)
                if why:
                    outcome = "failed"
                    entries.append(event("failed", run=self.run_id, path=item.path, reason=why))
                else:
                    outcome = "removed"
                    entries.append(event("done", run=self.run_id, path=item.path, size=item.size))
                removals.append(Removal(path=item.path, outcome=outcome, reason=why or item.reason,
                                        size=item.size, rule=item.rule))
            self.log(entries)
            for removal in removals:
                yield removal

    def _changed_after(self, item: Candidate) -> str:
        """'' when the file in quarantine is the planned one, and unused.

        Otherwise why not, and what was done about it.
        """
        held = os.path.join(self.run_id, native_path(item.path))
        try:
            status = os.stat(held, dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            return "it cannot be checked in quarantine (%s)" % error.strerror
        wrong = difference(status, item, moved=True) or self._opened_meanwhile(held)
        return self._undo(held, item.path, wrong) if wrong else ""

    def _begin_run(self) -> None:
        number = os.getpid()
        time_text = sc.iso(self.now).replace("-", "").replace(":", "")
        while not self.run_id:
            run_id = "%s-%d" % (time_text, number)
            try:
                os.mkdir(run_id, 0o700, dir_fd=self.fd)
                self.run_id = run_id
            except FileExistsError:
                number += 1

    def _move(self, item: Candidate, guards: "Sequence[Guard]") -> "Tuple[str, str]":
        """Rename the file into quarantine and check what arrived: (outcome, why not).

        'skipped' when nothing was touched, 'failed' when the rename or a check after it failed.
        """
        try:
            parent = self._open_parent(item.path)
        except OSError as error:
            return "skipped", "cannot open its folder: %s" % error.strerror
        try:
            fd = self._open_file(item.path, parent)
        except OSError as error:
            os.close(parent)
            return "skipped", _cannot_open(error)
        try:
            why = self._look(item, fd, set()) or self._asked(guards, item.path)
            if why:
                return "failed" if self._guard_failed else "skipped", why
            held = os.path.join(self.run_id, native_path(item.path))
            name = os.path.basename(native_path(item.path))
            self._take(name, parent, held)
            # The file stays open until it is compared, so that no other gets its inode number.
            wrong = self._wrong(item, held, parent)
            os.close(fd)
            fd = -1
            wrong = wrong or self._opened_meanwhile(held)
            if wrong:
                return "failed", "%s; %s" % (wrong, self._put_back(held, parent, name))
            return "removed", ""
        except OSError as error:
            return "failed", "it could not be moved: %s" % (error.strerror or error)
        finally:
            for number in (fd, parent):
                if number >= 0:
                    os.close(number)

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

    def _take(self, name: str, parent: int, held: str) -> None:
        """The rename. Raises OSError; then nothing was moved.

        It goes over a placeholder: a folder cannot be renamed over a file, so no folder is ever
        taken, not even for a moment. Every placeholder is a link to the same file, by which it is
        recognized after a crash.
        """
        folder = os.path.dirname(held)
        if folder not in self._made:
            self._make_folders(folder)
        os.link(PLACEHOLDER_NAME, held, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        try:
            os.rename(name, held, src_dir_fd=parent, dst_dir_fd=self.fd)
        except OSError:
            status = os.stat(held, dir_fd=self.fd, follow_symlinks=False)
            if file_id(status) != self._placeholder:
                return  # it succeeded, although a file server reported a failure
            os.unlink(held, dir_fd=self.fd)
            raise

    def _wrong(self, item: Candidate, held: str, parent: int) -> str:
        """What is wrong with the file that arrived, or with the folder that it came from."""
        try:
            status = os.stat(held, dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            return "it cannot be checked (%s)" % error.strerror
        return difference(status, item, moved=True) or self._folder_moved(item.path, parent)

    def _opened_meanwhile(self, held: str) -> str:
        """Whether a process opened the file between the check and the rename."""
        try:
            fd = os.open(held, OPEN_FILE, dir_fd=self.fd)
        except OSError as error:
            return "it cannot be checked (%s)" % error.strerror
        try:
            return in_use(fd)
        finally:
            os.close(fd)

    def _make_folders(self, folder: str) -> None:
        parts = folder.split("/")
        for number in range(1, len(parts) + 1):
            path = "/".join(parts[:number])
            if path not in self._made:
                try:
                    os.mkdir(path, 0o700, dir_fd=self.fd)
                    # With the mode of the folder that it mirrors, in case a restore creates that.
                    mirrored = os.stat("/".join(parts[1:number]) or ".", dir_fd=self.root.fd,
                                       follow_symlinks=False)
                    os.chmod(path, stat.S_IMODE(mirrored.st_mode) | 0o700, dir_fd=self.fd)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                        raise
                self._made.add(path)

    def _folder_moved(self, path: str, parent: int) -> str:
        """Whether the folder that the file was taken from is still the one of its path."""
        try:
            again = self._open_parent(path)
        except OSError as error:
            return "its folder was moved meanwhile (%s)" % error.strerror
        try:
            if file_id(os.fstat(parent)) != file_id(os.fstat(again)):
                return "its folder was moved meanwhile"
            return ""
        finally:
            os.close(again)

    def _put_back(self, held: str, parent: int, name: str) -> str:
        """Undo a rename that took the wrong file. Never overwrites; says what it did."""
        try:
            os.link(held, name, src_dir_fd=self.fd, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            if not _same(held, self.fd, name, parent):
                return "its place is taken, so it is kept: " + self._keep(held)
        except (OSError, NotImplementedError) as error:
            return "it could not be put back (%s), so it is kept: %s" % (error, self._keep(held))
        os.unlink(held, dir_fd=self.fd)
        return "it was put back"

    def _keep(self, held: str) -> str:
        """Move a file that is no candidate out of reach of a purge; its new path."""
        kept = os.path.join(KEPT_NAME, held)
        self._make_folders(os.path.dirname(kept))
        os.rename(held, kept, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        return printable(stored_path(os.path.join(QUARANTINE_NAME, kept)))

    def _note_kept(self) -> None:
        """Note what is kept, until somebody has moved it back."""
        folder = os.path.join(self.root.path, QUARANTINE_NAME, KEPT_NAME)
        try:
            paths = ["%s/%s" % (run, path) for run in sorted(os.listdir(folder))
                     for path, _ in self._items(KEPT_NAME + "/" + run)]
        except OSError:
            return
        if paths:
            self.notes.append(
                "%s in %s/%s: taken by mistake while being changed, and never purged; move them "
                "back to their places (%s)" % (plural(len(paths), "file"), QUARANTINE_NAME,
                                               KEPT_NAME, ", ".join(map(printable, paths[:3]))))

    def remove_empty_folders(self, paths: "Sequence[str]") -> "List[str]":
        """Remove the empty ones of these folders, deepest first; `rmdir` removes no others."""
        gone = []
        for path in sorted(paths, key=lambda path: path.count("/"), reverse=True):
            try:
                parent = self._open_parent(path)
            except OSError:
                continue
            try:
                os.rmdir(os.path.basename(native_path(path)), dir_fd=parent)
                gone.append(path)
            except OSError:
                continue  # not empty, or not ours: it stays
            finally:
                os.close(parent)
        if gone:
            self.log([event("rmdir", path=path) for path in gone])
        return gone

    # -- afterwards

    def runs(self) -> "List[HeldRun]":
        """The runs in quarantine, oldest first. Anything else in the folder is ignored."""
        if self.fd < 0:
            return []
        runs = []
        for name in filter(self._is_run, sorted(os.listdir(self.fd))):
            statuses = [status for _, status in self._items(name)]
            # A rename sets ctime: whatever clock named the run, no file was taken after that.
            at = run_time(name) or 0
            newest = max([at] + [status.st_ctime for status in statuses])
            size = sum(status.st_size for status in statuses)
            runs.append(HeldRun(run_id=name, at=at, newest=newest, files=len(statuses), size=size))
        return runs

    def _is_run(self, name: str) -> bool:
        return run_time(name) is not None and stat.S_ISDIR(
            os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode)

    def _items(self, run_id: str, below: str = "") -> "Iterator[Tuple[str, os.stat_result]]":
        """(stored path, status) of each file of a run. Links are not followed."""
        try:
            fd = open_below(self.fd, "/".join(filter(None, (run_id, below))))
        except OSError as error:
            self.notes.append("cannot open %s/%s/%s: %s" % (
                QUARANTINE_NAME, run_id, printable(below or "."), error.strerror))
            return
        try:
            for name in sorted(os.listdir(fd)):
                path = below + "/" + stored_path(name) if below else stored_path(name)
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if file_id(status) == self._placeholder:
                    continue  # of a removal that a crash interrupted
                if stat.S_ISDIR(status.st_mode):
                    for item in self._items(run_id, path):
                        yield item
                else:
                    yield path, status
        finally:
            os.close(fd)

    def _held_folder(self, run_id: str, path: str) -> "Tuple[int, str]":
        """(descriptor of the folder that holds the file, its name there). Raises OSError."""
        folder, _, name = path.rpartition("/")
        return open_below(self.fd, "/".join(filter(None, (run_id, folder)))), native_path(name)

    def restore(self, target: str) -> "List[Removal]":
        """Restore the files of a run, or the newest copy of one path.

        Never overwrites, and continues after a failure. Raises UsageError when the target is not in
        quarantine, RefusedError for a path that leads out of the root.
        """
        if run_time(target) is not None:
            if target not in os.listdir(self.fd) or not self._is_run(target):
                raise sc.UsageError("run %s is not in quarantine" % target, self._runs_hint())
            run_id, paths = target, [path for path, _ in self._items(target)]
        else:
            path = relative_path(stored_path(target), "restore")
            holders = (run.run_id for run in reversed(self.runs()) if self._holds(run.run_id, path))
            run_id, paths = next(holders, ""), [path]
            if not run_id:
                raise sc.UsageError("'%s' is not in quarantine" % printable(path),
                                    self._runs_hint())
        results = []
        for path in paths:
            why = self._restore_one(run_id, path)
            outcome, name = ("failed", "not restored") if why else ("restored", "restored")
            results.append(Removal(path=path, outcome=outcome, reason=why))
            self._log_if_possible([event(name, run=run_id, path=path, reason=why)])
        if results:
            self._tidy(self.fd, run_id)
        return results

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

    def _restore_one(self, run_id: str, path: str) -> str:
        """'' when the file is restored, else why it is not."""
        parent = -1
        held, name = self._held_folder(run_id, path)
        try:
            parent = self._parent_again(run_id, path)
            os.link(name, name, src_dir_fd=held, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            if not _same(name, held, name, parent):
                return "its place is taken"
        except OSError as error:
            return "it cannot be put back: %s" % error.strerror
        else:
            os.unlink(name, dir_fd=held)
            return ""
        finally:
            for fd in (held, parent):
                if fd >= 0:
                    os.close(fd)
        self._drop(run_id, path)  # an earlier restore crashed between the link and this
        return ""

    def _drop(self, run_id: str, path: str) -> None:
        """Remove one name from quarantine. Raises OSError."""
        held, name = self._held_folder(run_id, path)
        try:
            os.unlink(name, dir_fd=held)
        finally:
            os.close(held)

    def _parent_again(self, run_id: str, path: str) -> int:
        """The folder that the file was taken from, created with its mode if it is gone.

        Raises OSError.
        """
        fd, mirror = os.dup(self.root.fd), run_id
        try:
            for part in native_path(path).split("/")[:-1]:
                mirror = os.path.join(mirror, part)
                try:
                    os.mkdir(part, 0o700, dir_fd=fd)
                    mode = os.stat(mirror, dir_fd=self.fd, follow_symlinks=False).st_mode
                    os.chmod(part, stat.S_IMODE(mode), dir_fd=fd)
                except FileExistsError:
                    pass
                deeper = os.open(part, OPEN_FOLDER, dir_fd=fd)
                os.close(fd)
                fd = deeper
            return fd
        except OSError:
            os.close(fd)
            raise

    def purge(self, older_than_s: float) -> "List[HeldRun]":
        """Delete runs older than `older_than_s` seconds; without `execute`, only return them."""
        old = [run for run in self.runs() if run.newest <= self.now - older_than_s]
        return [self._purge_run(run) for run in old] if self.execute else old

    def _purge_run(self, run: HeldRun) -> HeldRun:
        facts = {"run": run.run_id, "files": run.files, "size": run.size}
        self._log_if_possible([event("purge", **facts)])
        left = 0
        for path, _ in list(self._items(run.run_id)):
            try:
                self._drop(run.run_id, path)
            except OSError as error:
                left += 1
                self.notes.append("%s/%s: %s" % (run.run_id, printable(path), error.strerror))
        self._tidy(self.fd, run.run_id)
        self._log_if_possible([event("purged", left=left, **facts)])
        changed: HeldRun = run.replace(left=left)
        return changed

    def _tidy(self, parent: int, name: str) -> None:
        """Remove the empty folders of a run, deepest first, and placeholders left by a crash."""
        try:
            fd = os.open(name, OPEN_FOLDER, dir_fd=parent)
        except OSError:
            return
        try:
            for below in _names(fd):
                status = os.stat(below, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    self._tidy(fd, below)
                elif file_id(status) == self._placeholder:
                    os.unlink(below, dir_fd=fd)
        finally:
            os.close(fd)
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError:
            pass  # something is left in it


def _cannot_open(error: OSError) -> str:
    return "gone" if error.errno == errno.ENOENT else "cannot be opened: %s" % error.strerror


def _would(item: Candidate) -> "Tuple[Candidate, Removal]":
    return item, Removal(path=item.path, outcome="would be removed", reason=item.reason,
                         size=item.size, rule=item.rule)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


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


def outcome_line(removals: "Sequence[Removal]", execute: bool) -> str:
    """The verdict on a clean-up: what was removed, or why nothing was."""
    gone = [removal for removal in removals if removal.outcome in ("removed", "would be removed")]
    rest = [removal for removal in removals if removal.outcome in ("skipped", "failed")]
    action = "moved to quarantine" if execute else "would be removed"
    size = size_text(sum(removal.size for removal in gone))
    text = "%s %s (%s)" % (plural(len(gone), "file"), action, size)
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
