#!/usr/bin/env python3
"""Register files that are needed only for a while; the nightly clean-up moves them to quarantine.

    file_lifecycle.py register PATH --expires 7d    register a file or folder
    file_lifecycle.py list [--json] [--expired]     list registered files
    file_lifecycle.py unregister PATH               keep a file after all
    file_lifecycle.py cleanup [--execute]           list expired files; with --execute, move them

For programs (put the folder of this file on sys.path):

    @transient_file(lifetime_hours=24)              # the function returns the path of its file
    def make_report(): ...

    with managed_file("out/report.html", lifetime_hours=12) as handle: ...

    folder = managed_temp_directory(prefix="build_", lifetime_hours=24)

Nothing is deleted: expired files go to quarantine, and `cleanup_engine.py restore` restores them. A
file stays if git tracks it, if a protected pattern of config/cleanup_rules.json matches it, if it
is in use, or if it was changed after it expired.

Exit codes: 0 ok; 1 a file could not be moved; 2 usage; 3 refused; 74 a file could not be read or
written; 75 another clean-up is running; 78 the rules are invalid, or a later version wrote a file.
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
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

from cleanup_rules import RULES_NAME, Rules, above, read_rules
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
from folders import file_id
from quarantine import Candidate, Guard, Quarantine, Removal, outcome_line
from tree import (
    OWN_NAME,
    QUARANTINE_NAME,
    REGISTRY_NAME,
    Git,
    GitGuard,
    Root,
    is_repository,
    mount_points,
    native_path,
    other_control,
    printable,
    stored_path,
)

FORMAT = 2  # of the registry; the first had no number, and its paths at the top level
REGISTRY_WAIT_S = 60.0
DEFAULT_LIMIT = 50
DEFAULT_HOURS = 72
FOLDER_HOURS = 24
LATEST = 253370764800  # 9999-01-01: later times cannot be written in ISO 8601


class Entry(sc.Value):
    """A registered file or folder. Times are epoch seconds."""

    path: str = ""
    expires: int = 0
    registered_at: int = 0
    owner: str = ""
    reason: str = ""
    metadata: "Dict[str, Any]" = {}
    inode: str = ""      # of the file when it was registered; '' if there was none
    git: bool = False    # whether the root was a git repository then
    other: "Dict[str, Any]" = {}  # keys of a later version, kept as they are


# The keys of an entry in the file.
FACTS = ("expires", "registered_at", "owner", "reason", "metadata", "inode", "git")


# -- the registry

class Registry:
    """`.cleanup_registry.json` of a root. Changes are made under its lock, each as a new file."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.path = os.path.join(root.path, REGISTRY_NAME)
        self._signature = ""  # of the file that `_entries` were read from
        self._entries: "Dict[str, Entry]" = {}
        self._above: "Set[str]" = set()  # the folders above them
        self._other: "Dict[str, Any]" = {}  # keys of a later version beside the files

    def read(self) -> "Dict[str, Entry]":
        """The entries by path.

        Raises RefusedError for a damaged file, because what it held cannot be guessed, and
        LaterVersionError for one in a later format.
        """
        self._other = {}
        try:
            text = read_own(self.path).decode("utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError("cannot read %s: %s" % (REGISTRY_NAME, error))
        try:
            raw = json.loads(text)
            if not isinstance(raw, dict):
                raise ValueError("it is not a JSON object")
            if type(raw.get("format")) is int:
                check_format(REGISTRY_NAME, raw["format"], FORMAT)
                self._other = {key: value for key, value in raw.items()
                               if key not in ("format", "files")}
                raw = raw["files"]
            entries = (self._entry(path, facts) for path, facts in raw.items())
            return {entry.path: entry for entry in entries}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
                sc.UsageError) as error:
            raise RefusedError(
                "%s cannot be used: %s" % (REGISTRY_NAME, error),
                "fix it, or delete it and register the files again; nothing was changed")

    def _entry(self, path: str, facts: "Dict[str, Any]") -> Entry:
        if path.startswith("/"):  # of an early version: valid while it is below the root
            path = self.root.relative(native_path(path))
        path.encode("utf-8", "surrogateescape")  # ValueError for what no file can be called
        if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError("'%s' is not a path below the root" % printable(path))
        expires = sc.from_iso(str(facts["expires"])) or 0
        registered_at = sc.from_iso(str(facts["registered_at"])) or 0
        if not (0 < expires < LATEST and 0 < registered_at < LATEST):
            raise ValueError("'%s' has a time out of range" % printable(path))
        return Entry(
            path=path, expires=expires, registered_at=registered_at,
            owner=str(facts.get("owner", "")), reason=str(facts.get("reason", "")),
            metadata=dict(facts.get("metadata") or {}), inode=str(facts.get("inode", "")),
            git=facts.get("git") is True,
            other={key: value for key, value in facts.items() if key not in FACTS})

    def current(self) -> "Dict[str, Entry]":
        """What `read` returns; the file is read again only when it has changed."""
        signature = sc.signature(self.path)
        if signature != self._signature:
            self._entries, self._signature = self.read(), signature
            self._above = {folder for path in self._entries for folder in above(path)}
        return self._entries

    @contextlib.contextmanager
    def editing(self) -> "Iterator[Dict[str, Entry]]":
        """The entries, under the lock; the caller's changes to them are written at the end.

        Raises BusyError, StorageError, RefusedError; then nothing is changed.
        """
        lock = sc.FileLock(self.path + ".lock")
        if not lock.acquire(REGISTRY_WAIT_S):
            raise sc.BusyError("%s has been locked by another process for %d s" % (
                REGISTRY_NAME, REGISTRY_WAIT_S))
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
        """Raises RefusedError if others can write to the registry, and so have files removed."""
        for problem in sc.Store(self.root.path).insecure(self.path):
            raise RefusedError(str(problem))

    def nearest(self, path: str) -> "Entry | None":
        """The entry of a path or, without one, of the nearest folder above that has one."""
        entries = self.current()
        while path:
            if path in entries:
                return entries[path]
            path = path.rpartition("/")[0]
        return None

    def guard(self, path: str) -> str:
        """Why a registered file must stay; '' for others.

        A folder's entry covers its files, and a file's entry keeps the folders that it is in.
        """
        entry = self.nearest(path)
        if entry:
            return expiry_text(entry)
        return "something in it is registered to expire" if path in self._above else ""

    def guard_of(self, planned: "Dict[str, Entry]") -> Guard:
        """The same for expired files: they stay if their registration has changed meanwhile."""
        def guard(path: str) -> str:
            entry = self.nearest(path)
            if entry is None:
                return "it is no longer registered"
            return "" if planned.get(entry.path) == entry else expiry_text(entry)
        return guard


def expiry_text(entry: Entry) -> str:
    return "registered to expire at %s" % sc.iso(entry.expires)


def stored_entry(entry: Entry) -> "Dict[str, Any]":
    """The facts of an entry as they are in the file."""
    facts = dict(entry.stored(), expires=sc.iso(entry.expires),
                 registered_at=sc.iso(entry.registered_at))
    facts.update(facts.pop("other", {}))
    del facts["path"]
    return facts


def _default_root() -> Root:
    return Root(os.environ.get("SYMPHONY_ROOT") or HOME)


def register(path: "str | os.PathLike[str]", lifetime_s: float, reason: str = "", owner: str = "",
             metadata: "Dict[str, Any] | None" = None, root: "Root | None" = None) -> Entry:
    """Register a file or folder to expire in `lifetime_s` seconds, replacing an earlier entry.

    Raises UsageError for a path that is not below the root.
    """
    root = root or _default_root()
    now = int(time.time())
    stored = root.relative(os.fspath(path))
    if not 0 < now + lifetime_s < LATEST:
        raise sc.UsageError("'%s' cannot expire %g s from now" % (printable(stored), lifetime_s))
    if OWN_NAME.match(stored) or stored.split("/")[0] in (".git", QUARANTINE_NAME):
        raise sc.UsageError("'%s' belongs to git or the clean-up and cannot expire"
                            % printable(stored))
    entry = Entry(
        path=stored, expires=now + int(lifetime_s), registered_at=now, owner=owner, reason=reason,
        metadata=metadata or {}, inode=_inode(root, stored), git=Git(root).is_here())
    with Registry(root).editing() as entries:
        entries[stored] = entry
    return entry


def _inode(root: Root, path: str) -> str:
    """The identity of the file at the path, '' for none: a later file of that name is another."""
    try:
        return _inode_text(os.stat(root.join(path), follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise sc.StorageError.of("look at", root.join(path), error)


def _inode_text(status: "os.stat_result") -> str:
    return "%d:%d" % file_id(status)


def unregister(path: "str | os.PathLike[str]", root: "Root | None" = None) -> bool:
    """Keep a file after all. Returns whether it was registered."""
    root = root or _default_root()
    with Registry(root).editing() as entries:
        return entries.pop(root.relative(os.fspath(path)), None) is not None


# -- for programs

def transient_file(lifetime_hours: "float | Callable[..., Any]" = DEFAULT_HOURS,
                   cleanup_on_exit: bool = False,
                   metadata: "Dict[str, Any] | None" = None) -> "Callable[..., Any]":
    """Decorate a function that creates a file and returns its path: the file is registered.

    With `cleanup_on_exit` it goes to quarantine when the program ends. The function's result is
    returned as it is; None, and a path without a file, are not registered.
    """
    if callable(lifetime_hours):  # @transient_file without parentheses
        decorated: "Callable[..., Any]" = transient_file()(lifetime_hours)
        return decorated
    lifetime_s = lifetime_hours * sc.HOUR

    def decorate(function: "Callable[..., Any]") -> "Callable[..., Any]":
        @functools.wraps(function)
        def make(*args: "Any", **kwargs: "Any") -> "Any":
            made = function(*args, **kwargs)
            if made is not None and os.path.lexists(made):
                facts = dict(metadata or {}, creator_function=function.__name__,
                             creator_module=function.__module__)
                reason = "made by %s" % function.__name__
                try:
                    register(made, lifetime_s, reason=reason, metadata=facts)
                except sc.ConductorError as error:  # the file exists, and the caller wants it
                    name = printable(os.fsdecode(made))
                    sc.warn("%s was not registered: %s" % (name, error), "file_lifecycle")
                    return made
                if cleanup_on_exit:
                    atexit.register(_expire_now, os.path.abspath(made), os.getpid())
            return made
        return make
    return decorate


def _expire_now(path: str, made_by: int) -> None:
    """Move a file of this program to quarantine; a failure is left to the nightly clean-up."""
    if os.getpid() != made_by:
        return  # the end of a forked child, whose parent still uses the file
    try:
        root = _default_root()
        entry = Registry(root).read().get(root.relative(path))
        if entry is not None:
            take_expired(root, [entry], time.time(), execute=True, limit=1, at_once=True)
    except (sc.ConductorError, OSError) as error:
        sc.warn("%s stays until it expires: %s" % (printable(path), error), "file_lifecycle")


@contextlib.contextmanager
def managed_file(path: "str | os.PathLike[str]", mode: str = "w",
                 lifetime_hours: float = DEFAULT_HOURS, **options: "Any") -> "Iterator[Any]":
    """Open a file that expires, creating its folder.

    It is registered before it is created, so a crash leaves no orphan. Raises UsageError for an
    existing file that `mode` would add to but that is not registered: it is somebody's own.
    """
    root = _default_root()
    registry, stored = Registry(root), root.relative(os.fspath(path))
    before = registry.read().get(stored)
    if before is None and mode[:1] not in ("w", "x") and os.path.lexists(path):
        raise sc.UsageError("'%s' exists and is not registered" % printable(stored),
                            "register it first if it can be removed")
    entry = register(path, lifetime_hours * sc.HOUR, reason="a managed file", root=root)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        handle = open(path, mode, **options)
    except BaseException:
        with registry.editing() as entries:  # a file at the path is somebody else's
            entries.pop(stored, None)
            if before:
                entries[stored] = before
        raise
    with handle:
        with registry.editing() as entries:
            if entries.get(stored) == entry:
                entries[stored] = entry.replace(inode=_inode(root, stored))
        yield handle


def managed_temp_directory(prefix: str = "tmp_", lifetime_hours: float = FOLDER_HOURS,
                           base_dir: "str | os.PathLike[str] | None" = None) -> pathlib.Path:
    """Create a folder for temporary files (mode 0700) that expires with its content.

    It is created in `base_dir` or, without it, in the current folder.
    """
    root = _default_root()
    base = os.fspath(base_dir) if base_dir is not None else os.getcwd()
    root.relative(os.path.join(base, prefix))  # refused before anything is created
    folder = tempfile.mkdtemp(prefix=prefix, dir=base)
    register(folder, lifetime_hours * sc.HOUR, reason="a temporary folder",
             metadata={"type": "directory"}, root=root)
    return pathlib.Path(folder)


# -- expired files

def expired(entries: "Dict[str, Entry]", now: float) -> "List[Entry]":
    """The entries that have expired, the oldest first."""
    return sorted((entry for entry in entries.values() if entry.expires <= now),
                  key=lambda entry: (entry.expires, entry.path))


def candidates_of(root: Root, entry: Entry, last_change: float,
                  mounts: "Set[str]") -> "Tuple[List[Candidate], List[Removal], List[str], bool]":
    """(files that can be removed, what stays and why, their folders, whether the path exists).

    What changed after `last_change`, in epoch seconds, stays, and so do the paths of `mounts`.
    """
    files: "List[Candidate]" = []
    kept: "List[Removal]" = []
    folders: "List[str]" = []
    todo = [entry.path]
    while todo:
        path = todo.pop()
        try:
            status = os.stat(root.join(path), follow_symlinks=False)
            is_folder = stat.S_ISDIR(status.st_mode)
            names = os.listdir(root.join(path)) if is_folder else []
        except (FileNotFoundError, NotADirectoryError):
            if path == entry.path:
                return [], [], [], False
            continue
        except OSError as error:
            kept.append(Removal(path=path, outcome="skipped",
                                reason="cannot open it: %s" % error.strerror))
            continue
        why = _unfit(root, status, names, last_change)
        if path in mounts:
            why = "something is mounted there"
        if not why and path == entry.path and entry.inode not in ("", _inode_text(status)):
            why = "another file has taken its place since it was registered"
        if why:
            kept.append(Removal(path=path, outcome="skipped", reason=why, rule="expired"))
        elif is_folder:
            folders.append(path)
            todo += [path + "/" + stored_path(name) for name in sorted(names, reverse=True)]
        else:
            files.append(_candidate(path, status, entry))
    return files, kept, folders, True


def _candidate(path: str, status: "os.stat_result", entry: Entry) -> Candidate:
    reason = expiry_text(entry)
    if entry.reason:
        reason += ": " + printable(entry.reason)
    return Candidate(
        path=path, size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns,
        dev=status.st_dev, ino=status.st_ino, mode=status.st_mode, rule="expired", reason=reason)


def _unfit(root: Root, status: "os.stat_result", names: "List[str]", last_change: float) -> str:
    """Why a file, or a folder with these names in it, must stay; '' when it can be removed."""
    if status.st_dev != root.dev:
        return "it is on another device"
    if stat.S_ISDIR(status.st_mode):
        return "it is a repository of its own" if is_repository(names.__contains__) else ""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if max(status.st_mtime, status.st_ctime) > last_change:
        return "it was changed after it expired; register it again, or unregister it"
    return ""


def take_expired(root: Root, entries: "List[Entry]", now: float, execute: bool, limit: int,
                 at_once: bool = False) -> "List[Removal]":
    """Move files to quarantine and unregister them; what became of each file.

    Folders are removed when they are empty. With `at_once` the entries need not have expired,
    because the program that made the files is done with them.
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
        mounts = mount_points(root)
        plan = [(entry,) + candidates_of(root, entry, now if at_once else entry.expires, mounts)
                for entry in entries]
        # A dictionary, because a file can be registered by itself and with its folder.
        candidates = {item.path: item for _, files, _, _, _ in plan for item in files}
        removals = list(quarantine.remove(list(candidates.values()), guards, limit))
        gone = {removal.path for removal in removals
                if removal.outcome == "removed" or removal.reason == "gone"}
        for entry, files, kept, folders, exists in plan:
            results += kept
            if kept or any(item.path not in gone for item in files):
                continue
            if execute and folders:
                quarantine.remove_empty_folders(folders)
            done.append(entry)
            if not exists:
                results.append(Removal(path=entry.path, outcome="gone",
                                       reason="it was already removed"))
        results += removals
    if execute and done:
        with registry.editing() as current:
            for entry in done:
                if current.get(entry.path) == entry:  # not registered again meanwhile
                    del current[entry.path]
    return results


def _check_control(root: Root, entries: "List[Entry]") -> None:
    """Raises RefusedError when no version control can say what is tracked."""
    control = other_control(root)
    if control:
        raise RefusedError("%s: cannot tell what that version control tracks" % printable(
            stored_path(control)))
    if any(entry.git for entry in entries) and not Git(root).is_here():
        raise RefusedError(
            "%s was a git repository when files were registered, and no longer is" % root.path,
            "nothing may be removed while git cannot say what is tracked")


def _guards(root: Root, registered: Guard) -> "List[Guard]":
    """What is asked again right before a removal: the registry, the protected patterns, git."""
    guards = [registered]
    rules, git = _rules(root), Git(root)
    if rules:
        guards.append(rules.protection)
    if git.is_here():
        guards.append(GitGuard(git))
    return guards


def _rules(root: Root) -> "Rules | None":
    """The rules of the root, for their protected patterns; None if it has none."""
    path = os.path.join(root.path, RULES_NAME)
    return read_rules(path, RULES_NAME) if os.path.lexists(path) else None


# -- commands

def cmd_register(root: Root, args: "argparse.Namespace") -> int:
    if not os.path.lexists(args.path):
        raise sc.UsageError("'%s' does not exist" % printable(args.path))
    entry = register(args.path, args.expires, args.reason, args.owner, root=root)
    sc.print_line("registered %s; expires at %s" % (printable(entry.path), sc.iso(entry.expires)))
    return sc.EXIT_OK


def cmd_unregister(root: Root, args: "argparse.Namespace") -> int:
    path = printable(root.relative(args.path))
    if unregister(args.path, root):
        sc.print_line("unregistered %s" % path)
        return sc.EXIT_OK
    sc.print_line("%s was not registered" % path)
    return sc.EXIT_FAILED


def cmd_list(root: Root, args: "argparse.Namespace") -> int:
    now = time.time()
    entries = Registry(root).read()
    due = expired(entries, now)
    shown = due
    if not args.expired:
        shown = sorted(entries.values(), key=lambda entry: (entry.expires, entry.path))
    if args.json:
        sc.print_json([dict(stored_entry(entry), path=entry.path, expired=entry.expires <= now)
                       for entry in shown])
        return sc.EXIT_OK
    sc.print_line("%s registered, %d expired" % (plural(len(entries), "file"), len(due)))
    for entry in shown:
        left_s = entry.expires - now
        when = "in " + sc.duration_text(left_s) if left_s > 0 else "expired"
        note = "  (%s)" % printable(entry.reason) if entry.reason else ""
        sc.print_line("  %-14s %s%s" % (when, printable(entry.path), note))
    return sc.EXIT_OK


def cmd_cleanup(root: Root, args: "argparse.Namespace") -> int:
    now = time.time()
    due = expired(Registry(root).read(), now)
    results: "List[Removal]" = []
    if due:
        results = take_expired(root, due, now, args.execute, args.max_deletions)
    elif args.execute:
        _keep_time(root, now)
    removals = [removal for removal in results if removal.outcome != "note"]
    sc.print_line("%s expired; %s" % (plural(len(due), "entry", "entries"),
                                      outcome_line(removals, args.execute)))
    for removal in results:
        if removal.outcome == "note":
            sc.print_line("  note: " + removal.reason)
        else:
            sc.print_line("  %s: %s (%s)" % (
                removal.outcome, printable(removal.path), removal.reason))
    outcomes = {removal.outcome for removal in removals}
    if not args.execute and due:
        sc.print_line("nothing was changed; --execute removes")
    elif "removed" in outcomes:
        sc.print_line("to undo: cleanup_engine.py restore PATH")
    return sc.EXIT_FAILED if "failed" in outcomes else sc.EXIT_OK


def _keep_time(root: Root, now: float) -> None:
    """Have the quarantine write down, each day, how much time has passed (see clock_witness)."""
    if os.path.lexists(os.path.join(root.path, QUARANTINE_NAME)):
        try:
            with Quarantine(root, now):
                pass
        except sc.BusyError:
            pass  # the other one writes it down


def build_parser() -> "argparse.ArgumentParser":
    """The command line, each command bound to its function."""
    parser = command_parser(__doc__)
    command = subcommands(parser)
    added = command("register", cmd_register, "register a file or folder that expires", "path")
    added.add_argument("--expires", type=age_option, default=DEFAULT_HOURS * sc.HOUR, metavar="AGE",
                       help="time from now, such as 12h or 7d (default: 3d)")
    added.add_argument("--reason", default="", metavar="TEXT", help="why it is needed until then")
    added.add_argument("--owner", default="", metavar="NAME", help="whom to ask about it")

    added = command("list", cmd_list, "list registered files, the next to expire first")
    added.add_argument("--json", action="store_true", help="print JSON")
    added.add_argument("--expired", action="store_true", help="list only expired files")

    command("unregister", cmd_unregister, "keep a file after all", "path")

    added = command("cleanup", cmd_cleanup,
                    "list expired files; with --execute, move them to quarantine")
    added.add_argument("--execute", action="store_true", help="move the files")
    added.add_argument("--max-deletions", type=sc.count_option, default=DEFAULT_LIMIT, metavar="N",
                       help="move at most N files (default: %d)" % DEFAULT_LIMIT)
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
