#!/usr/bin/env python3
"""Files with an expiry: programs and people say how long a file is wanted; after that the nightly clean-up takes it.

    file_lifecycle.py register PATH --expires 7d    say when a file, or a folder, may go
    file_lifecycle.py list [--json] [--expired]     what is registered
    file_lifecycle.py unregister PATH               keep it after all
    file_lifecycle.py cleanup [--execute]           what is due; with --execute, move it to quarantine

For programs (put the folder of this file on sys.path):

    @transient_file(lifetime_hours=24)              # the function returns the path of the file that it made
    def make_report(): ...

    with managed_file("out/report.html", lifetime_hours=12) as handle: ...

    folder = managed_temp_directory(prefix="build_", lifetime_hours=24)

Nothing is deleted: what is due goes into quarantine, from where `cleanup_engine.py restore` brings it back. A file that
git tracks, that a protected pattern of config/cleanup_rules.json names, that is in use, or that was changed after it
expired, stays.

Exit codes: 0 ok; 1 something that was due had to stay after a failure; 2 usage; 3 refused; 74 a file could not be
read or written; 75 another clean-up is at work; 78 the rules cannot be used, or a later version
wrote a file.
"""

import argparse
import atexit
import contextlib
import functools
import json
import os
import pathlib
import stat
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple

from cleanup_rules import RULES_NAME, Rules, read_rules
from common import (
    HOME,
    RefusedError,
    age_option,
    check_format,
    command_parser,
    finish,
    plural,
    read_own,
    sc,
    subcommands,
)
from quarantine import Candidate, Guard, Quarantine, Removal, outcome_line
from tree import (
    OWN_NAME,
    QUARANTINE_NAME,
    REGISTRY_NAME,
    Git,
    GitGuard,
    Root,
    is_repository,
    native_path,
    other_control,
    printable,
    stored_path,
)

FORMAT = 2  # of the registry; the first had no number, and the paths at its top
REGISTRY_WAIT_S = 60.0
DEFAULT_LIMIT = 50
DEFAULT_HOURS = 72
FOLDER_HOURS = 24
LATEST = 253370764800  # 9999-01-01: what comes after it cannot be written down


class Entry(sc.Value):
    """What is registered of a file or folder. Times are epoch seconds."""

    path: str = ""
    expires: int = 0
    registered_at: int = 0
    owner: str = ""
    reason: str = ""
    metadata: "Dict[str, Any]" = {}
    inode: str = ""      # of the file that was there when it was registered; '' when none was
    git: bool = False    # whether the root was a git repository then
    other: "Dict[str, Any]" = {}  # what a later version knows of it, kept as it is


# Of an entry, as the file has them.
FACTS = ("expires", "registered_at", "owner", "reason", "metadata", "inode", "git")


# -- the registry

class Registry:
    """`.cleanup_registry.json` of a root. Every change is made under its lock, and replaces the file at once."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.path = os.path.join(root.path, REGISTRY_NAME)
        self._seen = ""
        self._entries: "Dict[str, Entry]" = {}
        self._other: "Dict[str, Any]" = {}  # what a later version put beside the files

    def read(self) -> "Dict[str, Entry]":
        """The entries by path.

        Raises RefusedError for a file that is damaged, as what it held cannot be guessed, and
        LaterVersionError for one in a form that this version does not know.
        """
        self._other = {}
        try:
            text = read_own(self.path).decode("utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError("%s cannot be read: %s" % (REGISTRY_NAME, error))
        try:
            raw = json.loads(text)
            if not isinstance(raw, dict):
                raise ValueError("it holds no object")
            if type(raw.get("format")) is int:
                check_format(REGISTRY_NAME, raw["format"], FORMAT)
                self._other = {key: value for key, value in raw.items()
                               if key not in ("format", "files")}
                raw = raw["files"]
            entries = (self._entry(path, facts) for path, facts in raw.items())
            return {entry.path: entry for entry in entries}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, sc.UsageError) as error:
            raise RefusedError("%s cannot be used: %s" % (REGISTRY_NAME, error),
                               "mend it, or delete it and register anew; nothing was changed")

    def _entry(self, path: str, facts: "Dict[str, Any]") -> Entry:
        if path.startswith("/"):  # as the registry was written once: kept as long as it lies below the root
            path = self.root.relative(native_path(path))
        path.encode("utf-8", "surrogateescape")  # ValueError for what can be no name
        if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError("'%s' is no path below the root" % printable(path))
        expires, registered_at = (sc.from_iso(str(facts[key])) or 0 for key in ("expires", "registered_at"))
        if not (0 < expires < LATEST and 0 < registered_at < LATEST):
            raise ValueError("'%s' has a time out of all bounds" % printable(path))
        return Entry(path=path, expires=expires, registered_at=registered_at, owner=str(facts.get("owner", "")),
                     reason=str(facts.get("reason", "")), metadata=dict(facts.get("metadata") or {}),
                     inode=str(facts.get("inode", "")), git=facts.get("git") is True,
                     other={key: value for key, value in facts.items() if key not in FACTS})

    def current(self) -> "Dict[str, Entry]":
        """The same as `read`, which is not done again while the file has not changed."""
        seen = sc.signature(self.path)
        if seen != self._seen:
            self._entries, self._seen = self.read(), seen
        return self._entries

    @contextlib.contextmanager
    def editing(self) -> "Iterator[Dict[str, Entry]]":
        """The entries, under the lock; what the caller makes of them is written at the end.

        Raises BusyError, StorageError, RefusedError; then nothing is changed.
        """
        lock = sc.FileLock(self.path + ".lock")
        if not lock.acquire(REGISTRY_WAIT_S):
            raise sc.BusyError("%s is locked by another process for %d s" % (REGISTRY_NAME, REGISTRY_WAIT_S))
        try:
            self.check_private()
            entries = self.read()
            before = dict(entries)
            yield entries
            if entries != before:
                files = {path: stored_entry(entry) for path, entry in sorted(entries.items())}
                document = dict({"format": FORMAT, "files": files}, **self._other)
                sc.write_atomic(self.path, (json.dumps(document, indent=1) + "\n").encode("ascii"))
        finally:
            lock.release()

    def check_private(self) -> None:
        """Raises RefusedError when others can write to the registry, and so have files taken away."""
        for problem in sc.Store(self.root.path).insecure(self.path):
            raise RefusedError(str(problem))

    def nearest(self, path: str) -> "Entry | None":
        """The entry of a path, or else of the folder next above it that has one."""
        entries = self.current()
        while path:
            if path in entries:
                return entries[path]
            path = path.rpartition("/")[0]
        return None

    def guard(self, path: str) -> str:
        """Why a registered file must stay for now; '' for one that is not registered. A folder counts for its files."""
        entry = self.nearest(path)
        return "registered to expire at %s" % sc.iso(entry.expires) if entry else ""

    def guard_of(self, planned: "Dict[str, Entry]") -> Guard:
        """The same for files that were found to be due: they stay when their registration is another one by now."""
        def guard(path: str) -> str:
            entry = self.nearest(path)
            if entry is None:
                return "it is not registered any more"
            return "" if planned.get(entry.path) == entry else "registered to expire at %s" % sc.iso(entry.expires)
        return guard


def stored_entry(entry: Entry) -> "Dict[str, Any]":
    """The facts of an entry as the registry's file has them."""
    facts = dict(entry.stored(), expires=sc.iso(entry.expires), registered_at=sc.iso(entry.registered_at))
    facts.update(facts.pop("other", {}))
    del facts["path"]
    return facts


def _default_root() -> Root:
    return Root(os.environ.get("SYMPHONY_ROOT") or HOME)


def register(path: "str | os.PathLike[str]", lifetime_s: float, reason: str = "", owner: str = "",
             metadata: "Dict[str, Any] | None" = None, root: "Root | None" = None) -> Entry:
    """Say that a file or folder may go `lifetime_s` seconds from now. A second time replaces the first.

    Raises UsageError for a path that is not below the root.
    """
    root = root or _default_root()
    now = int(time.time())
    stored = root.relative(os.fspath(path))
    if not 0 < now + lifetime_s < LATEST:
        raise sc.UsageError("'%s' cannot expire %g s from now" % (printable(stored), lifetime_s))
    if OWN_NAME.match(stored) or stored.split("/")[0] in (".git", QUARANTINE_NAME):
        raise sc.UsageError("'%s' is kept by the clean-up itself and cannot expire" % printable(stored))
    entry = Entry(path=stored, expires=now + int(lifetime_s), registered_at=now, owner=owner, reason=reason,
                  metadata=metadata or {}, inode=_inode(root, stored), git=Git(root).is_here())
    with Registry(root).editing() as entries:
        entries[stored] = entry
    return entry


def _inode(root: Root, path: str) -> str:
    """Which file stands at the path: a later one of the same name is another file, and nobody said that it may go."""
    try:
        found = os.stat(root.join(path), follow_symlinks=False)
    except OSError:
        return ""
    return "%d:%d" % (found.st_dev, found.st_ino)


def unregister(path: "str | os.PathLike[str]", root: "Root | None" = None) -> bool:
    """Keep a file after all; whether it was registered."""
    root = root or _default_root()
    with Registry(root).editing() as entries:
        return entries.pop(root.relative(os.fspath(path)), None) is not None


# -- for programs

def transient_file(lifetime_hours: "float | Callable[..., Any]" = DEFAULT_HOURS, cleanup_on_exit: bool = False,
                   metadata: "Dict[str, Any] | None" = None) -> "Callable[..., Any]":
    """Decorate a function that makes a file and returns its path: the file is registered to expire.

    With `cleanup_on_exit` it goes into quarantine when the program ends. What the function returns is passed on;
    None, and a path where nothing is, are not registered.
    """
    if callable(lifetime_hours):  # @transient_file without brackets
        decorated: "Callable[..., Any]" = transient_file()(lifetime_hours)
        return decorated
    lifetime_s = lifetime_hours * sc.HOUR

    def decorate(function: "Callable[..., Any]") -> "Callable[..., Any]":
        @functools.wraps(function)
        def make(*args: "Any", **kwargs: "Any") -> "Any":
            made = function(*args, **kwargs)
            if made is not None and os.path.lexists(made):
                facts = dict(metadata or {}, creator_function=function.__name__, creator_module=function.__module__)
                try:
                    register(made, lifetime_s, reason="made by %s" % function.__name__, metadata=facts)
                except sc.ConductorError as error:  # the file is made, and the caller wants it
                    sc.warn("%s is not registered: %s" % (printable(os.fsdecode(made)), error), "file_lifecycle")
                    return made
                if cleanup_on_exit:
                    atexit.register(_expire_now, os.path.abspath(made), os.getpid())
            return made
        return make
    return decorate


def _expire_now(path: str, made_by: int) -> None:
    """Take a file of this program into quarantine; a failure is left to the nightly clean-up."""
    if os.getpid() != made_by:
        return  # a child that was forked ends; its parent still uses the file
    try:
        root = _default_root()
        entry = Registry(root).read().get(root.relative(path))
        if entry is not None:
            take_expired(root, [entry], time.time(), execute=True, limit=1, at_once=True)
    except (sc.ConductorError, OSError) as error:
        sc.warn("%s stays until it expires: %s" % (printable(path), error), "file_lifecycle")


@contextlib.contextmanager
def managed_file(path: "str | os.PathLike[str]", mode: str = "w", lifetime_hours: float = DEFAULT_HOURS,
                 **options: "Any") -> "Iterator[Any]":
    """Open a file that expires, making its folder. It is registered before it is made, so a crash leaves no orphan.

    Raises UsageError for a file that is there, that nobody registered, and that `mode` would add to: it is
    somebody's own.
    """
    root = _default_root()
    registry, stored = Registry(root), root.relative(os.fspath(path))
    before = registry.read().get(stored)
    if before is None and mode[:1] not in ("w", "x") and os.path.lexists(path):
        raise sc.UsageError("'%s' is there and not registered" % printable(stored), "register it first if it may go")
    entry = register(path, lifetime_hours * sc.HOUR, reason="a managed file", root=root)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        handle = open(path, mode, **options)
    except BaseException:
        with registry.editing() as entries:  # what stands there is somebody else's
            entries.pop(stored, None)
            entries.update({stored: before} if before else {})
        raise
    with handle:
        with registry.editing() as entries:
            if entries.get(stored) == entry:
                entries[stored] = entry.replace(inode=_inode(root, stored))
        yield handle


def managed_temp_directory(prefix: str = "tmp_", lifetime_hours: float = FOLDER_HOURS,
                           base_dir: "str | os.PathLike[str] | None" = None) -> pathlib.Path:
    """Make a folder for temporary files (0700), in `base_dir` or the current folder, that expires with its content."""
    root = _default_root()
    base = os.fspath(base_dir) if base_dir is not None else os.getcwd()
    root.relative(os.path.join(base, prefix))  # refused before anything is made
    folder = tempfile.mkdtemp(prefix=prefix, dir=base)
    register(folder, lifetime_hours * sc.HOUR, reason="a temporary folder", metadata={"type": "directory"}, root=root)
    return pathlib.Path(folder)


# -- what is due

def expired(entries: "Dict[str, Entry]", now: float) -> "List[Entry]":
    """The entries that are due, the oldest first."""
    return sorted((entry for entry in entries.values() if entry.expires <= now),
                  key=lambda entry: (entry.expires, entry.path))


def candidates_of(root: Root, entry: Entry,
                  last_change: float) -> "Tuple[List[Candidate], List[Removal], List[str], bool]":
    """(files that may go, what stays and why, the folders they are in, whether anything is there at all).

    What changed after `last_change`, in epoch seconds, stays.
    """
    files: "List[Candidate]" = []
    kept: "List[Removal]" = []
    folders: "List[str]" = []
    todo = [entry.path]
    while todo:
        path = todo.pop()
        try:
            found = os.stat(root.join(path), follow_symlinks=False)
            names = os.listdir(root.join(path)) if stat.S_ISDIR(found.st_mode) else []
        except (FileNotFoundError, NotADirectoryError):
            if path == entry.path:
                return [], [], [], False
            continue
        except OSError as error:
            kept.append(Removal(path=path, outcome="skipped", reason="it cannot be reached: %s" % error.strerror))
            continue
        why = _unfit(root, found, names, last_change)
        if not why and path == entry.path and entry.inode not in ("", "%d:%d" % (found.st_dev, found.st_ino)):
            why = "another file has taken its place since it was registered"
        if why:
            kept.append(Removal(path=path, outcome="skipped", reason=why, rule="expired"))
        elif stat.S_ISDIR(found.st_mode):
            folders.append(path)
            todo += [path + "/" + stored_path(name) for name in sorted(names, reverse=True)]
        else:
            files.append(Candidate(path=path, size=found.st_size, mtime_ns=found.st_mtime_ns,
                                   ctime_ns=found.st_ctime_ns, dev=found.st_dev, ino=found.st_ino, mode=found.st_mode,
                                   rule="expired", reason="registered to expire at %s%s" % (
                                       sc.iso(entry.expires), ": " + printable(entry.reason) if entry.reason else "")))
    return files, kept, folders, True


def _unfit(root: Root, found: "os.stat_result", names: "List[str]", last_change: float) -> str:
    if found.st_dev != root.dev:
        return "it is on another device"
    if stat.S_ISDIR(found.st_mode):
        return "it is a repository of its own" if is_repository(names.__contains__) else ""
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if max(found.st_mtime, found.st_ctime) > last_change:
        return "it was changed after it expired; register it anew, or unregister it"
    return ""


def take_expired(root: Root, entries: "List[Entry]", now: float, execute: bool, limit: int,
                 at_once: bool = False) -> "List[Removal]":
    """Move what expired into quarantine, and forget it; what became of each file. Folders go when they are empty.

    With `at_once` the entries are taken before they expire, because the program that made them says so.
    """
    registry = Registry(root)
    registry.check_private()
    _check_control(root, entries)
    planned = {entry.path: entry for entry in entries}
    guards = _guards(root, registry.guard_of(planned))
    results: "List[Removal]" = []
    done: "List[Entry]" = []
    with Quarantine(root, now, execute) as quarantine:
        results += [Removal(path="", outcome="note", reason=note) for note in quarantine.notes]
        plan = [(entry,) + candidates_of(root, entry, now if at_once else entry.expires) for entry in entries]
        # A file can be due by itself and with its folder.
        files = {item.path: item for _, found, _, _, _ in plan for item in found}
        removals = list(quarantine.remove(list(files.values()), guards, limit))
        gone = {removal.path for removal in removals if removal.outcome == "removed" or removal.reason == "gone"}
        for entry, found, kept, folders, there in plan:
            results += kept
            if not kept and all(item.path in gone for item in found):
                if execute and folders:
                    quarantine.remove_empty_folders(folders)
                done.append(entry)
                if not there:
                    results.append(Removal(path=entry.path, outcome="gone", reason="it was removed by somebody else"))
        results += removals
    if execute and done:
        with registry.editing() as current:
            for entry in done:
                if current.get(entry.path) == entry:  # not registered anew meanwhile
                    del current[entry.path]
    return results


def _check_control(root: Root, entries: "List[Entry]") -> None:
    """Raises RefusedError when nobody can be asked what is tracked."""
    control = other_control(root)
    if control:
        raise RefusedError("%s: what that version control tracks cannot be known here" % printable(
            stored_path(control)))
    if any(entry.git for entry in entries) and not Git(root).is_here():
        raise RefusedError("%s was a git repository when files were registered, and is none now" % root.path,
                           "nothing may be removed while git cannot say what is tracked")


def _guards(root: Root, registered: Guard) -> "List[Guard]":
    """Who is asked again right before a file goes: the registry, the protected patterns, git."""
    rules, git = _rules(root), Git(root)
    return [registered] + ([rules.protection] if rules else []) + ([GitGuard(git)] if git.is_here() else [])


def _rules(root: Root) -> "Rules | None":
    """The protected patterns, where the root has any."""
    path = os.path.join(root.path, RULES_NAME)
    return read_rules(path, RULES_NAME) if os.path.lexists(path) else None


# -- commands

def cmd_register(root: Root, args: "argparse.Namespace") -> int:
    if not os.path.lexists(args.path):
        raise sc.UsageError("there is no '%s'" % printable(args.path))
    entry = register(args.path, args.expires, args.reason, args.owner, root=root)
    sc.print_line("registered: %s may go at %s" % (printable(entry.path), sc.iso(entry.expires)))
    return sc.EXIT_OK


def cmd_unregister(root: Root, args: "argparse.Namespace") -> int:
    was = unregister(args.path, root)
    sc.print_line("%s %s" % (printable(root.relative(args.path)), "is kept" if was else "was not registered"))
    return sc.EXIT_OK if was else sc.EXIT_FAILED


def cmd_list(root: Root, args: "argparse.Namespace") -> int:
    now = time.time()
    entries = Registry(root).read()
    due = expired(entries, now)
    shown = due if args.expired else sorted(entries.values(), key=lambda entry: (entry.expires, entry.path))
    if args.json:
        sc.print_json([dict(stored_entry(entry), path=entry.path, expired=entry.expires <= now) for entry in shown])
        return sc.EXIT_OK
    sc.print_line("%s registered, %d due" % (plural(len(entries), "file"), len(due)))
    for entry in shown:
        left = entry.expires - now
        sc.print_line("  %-14s %s%s" % ("due" if left <= 0 else "in " + sc.duration_text(left), printable(entry.path),
                                 "  (%s)" % printable(entry.reason) if entry.reason else ""))
    return sc.EXIT_OK


def cmd_cleanup(root: Root, args: "argparse.Namespace") -> int:
    now = time.time()
    due = expired(Registry(root).read(), now)
    results = take_expired(root, due, now, args.execute, args.max_deletions) if due else []
    removals = [removal for removal in results if removal.outcome != "note"]
    sc.print_line("%s due; %s" % (plural(len(due), "entry", "entries"), outcome_line(removals, args.execute)))
    for removal in results:
        sc.print_line("  note: " + removal.reason if removal.outcome == "note" else
               "  %s: %s (%s)" % (removal.outcome, printable(removal.path), removal.reason))
    if not args.execute and due:
        sc.print_line("nothing was changed; --execute does it")
    elif any(removal.outcome == "removed" for removal in removals):
        sc.print_line("to undo: cleanup_engine.py restore PATH")
    return sc.EXIT_FAILED if any(removal.outcome == "failed" for removal in results) else sc.EXIT_OK


def build_parser() -> "argparse.ArgumentParser":
    """The command line, each command bound to its function."""
    parser = command_parser(__doc__)
    command = subcommands(parser)
    added = command("register", cmd_register, "say when a file or folder may go", "path")
    added.add_argument("--expires", type=age_option, default=DEFAULT_HOURS * sc.HOUR, metavar="AGE",
                       help="from now, such as 12h or 7d (default: 3d)")
    added.add_argument("--reason", default="", metavar="TEXT")
    added.add_argument("--owner", default="", metavar="WHO")

    added = command("list", cmd_list, "what is registered, the next to go first")
    added.add_argument("--json", action="store_true")
    added.add_argument("--expired", action="store_true", help="only what is due")

    command("unregister", cmd_unregister, "keep a file after all", "path")

    added = command("cleanup", cmd_cleanup, "show what is due; with --execute, move it to quarantine")
    added.add_argument("--execute", action="store_true")
    added.add_argument("--max-deletions", type=sc.count_option, default=DEFAULT_LIMIT, metavar="N")
    return parser


def main() -> int:
    parser = build_parser()
    args = parser.parse_args()
    if not args.command:
        parser.print_usage()
        return sc.EXIT_USAGE
    return int(args.func(Root(args.root), args))


if __name__ == "__main__":
    finish(main)
