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
read or written; 75 another clean-up is at work; 78 the rules cannot be used.
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
from common import HOME, RefusedError, age_option, command_parser, counted, finish, sc, subcommands
from quarantine import Candidate, Guard, Quarantine, Removal, outcome_line
from tree import OWN_NAME, QUARANTINE_NAME, REGISTRY_NAME, Git, GitGuard, Root, native_path, printable, stored_path

REGISTRY_WAIT_S = 60.0
DEFAULT_LIMIT = 50
DEFAULT_HOURS = 72
FOLDER_HOURS = 24


class Entry(sc.Value):
    """What is registered of a file or folder. Times are epoch seconds."""

    path: str = ""
    expires: int = 0
    registered_at: int = 0
    owner: str = ""
    reason: str = ""
    metadata: "Dict[str, Any]" = {}


# -- the registry

class Registry:
    """`.cleanup_registry.json` of a root. Every change is made under its lock, and replaces the file at once."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.path = os.path.join(root.path, REGISTRY_NAME)
        self._seen = ""
        self._entries: "Dict[str, Entry]" = {}

    def read(self) -> "Dict[str, Entry]":
        """The entries by path. Raises RefusedError for a file that is damaged: what it held cannot be guessed."""
        try:
            text = sc.read_bytes(self.path).decode("utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError("%s cannot be read: %s" % (REGISTRY_NAME, error))
        try:
            raw = json.loads(text)
            if not isinstance(raw, dict):
                raise ValueError("it holds no object")
            entries = (self._entry(path, facts) for path, facts in raw.items())
            return {entry.path: entry for entry in entries}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise RefusedError("%s cannot be used: %s" % (REGISTRY_NAME, error),
                               "mend it, or delete it and register anew; nothing was changed")

    def _entry(self, path: str, facts: "Dict[str, Any]") -> Entry:
        if path.startswith("/"):  # as the registry was written once: kept as long as it lies below the root
            path = self.root.relative(native_path(path))
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError("'%s' is no path below the root" % printable(path))
        expires, registered_at = (sc.from_iso(str(facts[key])) for key in ("expires", "registered_at"))
        return Entry(path=path, expires=expires, registered_at=registered_at, owner=str(facts.get("owner", "")),
                     reason=str(facts.get("reason", "")), metadata=dict(facts.get("metadata") or {}))

    def current(self) -> "Dict[str, Entry]":
        """The same as `read`, which is not done again while the file has not changed."""
        seen = sc.signature(self.path)
        if seen != self._seen:
            self._entries, self._seen = self.read(), seen
        return self._entries

    def change(self, put: "List[Entry]", drop: "List[str]" = []) -> int:  # noqa: B006  (never changed)
        """Put and drop entries; how many were dropped. Raises BusyError, StorageError, RefusedError."""
        lock = sc.FileLock(self.path + ".lock")
        if not lock.acquire(REGISTRY_WAIT_S):
            raise sc.BusyError("%s is locked by another process for %d s" % (REGISTRY_NAME, REGISTRY_WAIT_S))
        try:
            entries = self.read()
            dropped = sum(entries.pop(path, None) is not None for path in drop)
            entries.update((entry.path, entry) for entry in put)
            document = {path: stored_entry(entry) for path, entry in sorted(entries.items())}
            sc.write_atomic(self.path, (json.dumps(document, indent=1) + "\n").encode("ascii"))
            return dropped
        finally:
            lock.release()

    def guard(self, path: str) -> str:
        """Why a registered file must stay for now; '' for one that is not registered. A folder counts for its files."""
        entries = self.current()
        parts = path.split("/")
        for number in range(len(parts), 0, -1):
            entry = entries.get("/".join(parts[:number]))
            if entry is not None:
                return "registered to expire at %s" % sc.iso(entry.expires)
        return ""


def stored_entry(entry: Entry) -> "Dict[str, Any]":
    """The facts of an entry as the registry's file has them."""
    facts = dict(entry.stored(), expires=sc.iso(entry.expires), registered_at=sc.iso(entry.registered_at))
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
    if OWN_NAME.match(stored) or stored.split("/")[0] in (".git", QUARANTINE_NAME):
        raise sc.UsageError("'%s' is kept by the clean-up itself and cannot expire" % printable(stored))
    entry = Entry(path=stored, expires=now + int(lifetime_s), registered_at=now, owner=owner, reason=reason,
                  metadata=metadata or {})
    Registry(root).change([entry])
    return entry


def unregister(path: "str | os.PathLike[str]", root: "Root | None" = None) -> bool:
    """Keep a file after all; whether it was registered."""
    root = root or _default_root()
    return Registry(root).change([], [root.relative(os.fspath(path))]) > 0


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
                register(made, lifetime_s, reason="made by %s" % function.__name__, metadata=facts)
                if cleanup_on_exit:
                    atexit.register(_expire_now, os.path.abspath(made))
            return made
        return make
    return decorate


def _expire_now(path: str) -> None:
    """Take a file of this program into quarantine; a failure is left to the nightly clean-up."""
    try:
        root = _default_root()
        entry = Registry(root).read().get(root.relative(path))
        if entry is not None:
            now = time.time()
            entry = entry.replace(expires=int(now) + 1)  # what the program wrote a moment ago is no later change
            take_expired(root, [entry], now, execute=True, limit=1)
    except (sc.ConductorError, OSError) as error:
        sc.complain("%s stays until it expires: %s" % (printable(path), error), "file_lifecycle")


@contextlib.contextmanager
def managed_file(path: "str | os.PathLike[str]", mode: str = "w", lifetime_hours: float = DEFAULT_HOURS,
                 **options: "Any") -> "Iterator[Any]":
    """Open a file that expires, making its folder. It is registered before it is made, so a crash leaves no orphan."""
    register(path, lifetime_hours * sc.HOUR, reason="a managed file")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, mode, **options) as handle:
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


def candidates_of(root: Root, entry: Entry) -> "Tuple[List[Candidate], List[Removal], List[str], bool]":
    """(files that may go, what stays and why, the folders they are in, whether anything is there at all)."""
    files: "List[Candidate]" = []
    kept: "List[Removal]" = []
    folders: "List[str]" = []
    todo = [entry.path]
    while todo:
        path = todo.pop()
        try:
            found = os.stat(root.join(path), follow_symlinks=False)
        except FileNotFoundError:
            if path == entry.path:
                return [], [], [], False
            continue
        why = _unfit(root, path, found, entry)
        if why:
            kept.append(Removal(path=path, outcome="skipped", reason=why, rule="expired"))
        elif stat.S_ISDIR(found.st_mode):
            folders.append(path)
            todo += [path + "/" + stored_path(name) for name in sorted(os.listdir(root.join(path)), reverse=True)]
        else:
            files.append(Candidate(path=path, size=found.st_size, mtime_ns=found.st_mtime_ns,
                                   ctime_ns=found.st_ctime_ns, dev=found.st_dev, ino=found.st_ino, mode=found.st_mode,
                                   rule="expired", reason="registered to expire at %s%s" % (
                                       sc.iso(entry.expires), ": " + entry.reason if entry.reason else "")))
    return files, kept, folders, True


def _unfit(root: Root, path: str, found: "os.stat_result", entry: Entry) -> str:
    if found.st_dev != root.dev:
        return "it is on another device"
    if stat.S_ISDIR(found.st_mode):
        if os.path.lexists(os.path.join(root.join(path), ".git")):
            return "it is a repository of its own"
        return "" if os.access(root.join(path), os.R_OK | os.X_OK) else "it cannot be listed"
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if max(found.st_mtime, found.st_ctime) > entry.expires:
        return "it was changed after it expired; register it anew, or unregister it"
    return ""


def take_expired(root: Root, entries: "List[Entry]", now: float, execute: bool, limit: int) -> "List[Removal]":
    """Move what expired into quarantine, and forget it; what became of each file. Folders go when they are empty."""
    registry = Registry(root)
    problems = sc.Store(root.path).insecure(registry.path)
    if problems:
        raise RefusedError(str(problems[0]))
    rules = _rules(root)
    guards: "List[Guard]" = [rules.protection] if rules else []
    git = Git(root)
    if git.is_here():
        guards.append(GitGuard(git))
    results: "List[Removal]" = []
    done: "List[str]" = []
    with Quarantine(root, now, execute) as quarantine:
        results += [Removal(path="", outcome="note", reason=note) for note in quarantine.notes]
        plan = [(entry,) + candidates_of(root, entry) for entry in entries]
        files = [item for _, found, _, _, _ in plan for item in found]
        removals = list(quarantine.remove(files, guards, limit))
        gone = {removal.path for removal in removals if removal.outcome == "removed" or removal.reason == "gone"}
        for entry, found, kept, folders, there in plan:
            results += kept
            if not kept and all(item.path in gone for item in found):
                if execute and folders:
                    quarantine.remove_empty_folders(folders)
                done.append(entry.path)
                if not there:
                    results.append(Removal(path=entry.path, outcome="gone", reason="it was removed by somebody else"))
        results += removals
    if execute and done:
        registry.change([], done)
    return results


def _rules(root: Root) -> "Rules | None":
    """The protected patterns, where the root has any."""
    path = os.path.join(root.path, RULES_NAME)
    return read_rules(path, RULES_NAME) if os.path.lexists(path) else None


# -- commands

def cmd_register(root: Root, args: "argparse.Namespace") -> int:
    if not os.path.lexists(args.path):
        raise sc.UsageError("there is no '%s'" % printable(args.path))
    entry = register(args.path, args.expires, args.reason, args.owner, root=root)
    sc.say("registered: %s may go at %s" % (printable(entry.path), sc.iso(entry.expires)))
    return sc.EXIT_OK


def cmd_unregister(root: Root, args: "argparse.Namespace") -> int:
    was = unregister(args.path, root)
    sc.say("%s %s" % (printable(root.relative(args.path)), "is kept" if was else "was not registered"))
    return sc.EXIT_OK if was else sc.EXIT_FAILED


def cmd_list(root: Root, args: "argparse.Namespace") -> int:
    now = time.time()
    entries = Registry(root).read()
    due = expired(entries, now)
    shown = due if args.expired else sorted(entries.values(), key=lambda entry: (entry.expires, entry.path))
    if args.json:
        sc.say_json([dict(stored_entry(entry), path=entry.path, expired=entry.expires <= now) for entry in shown])
        return sc.EXIT_OK
    sc.say("%s registered, %d due" % (counted(len(entries), "file"), len(due)))
    for entry in shown:
        left = entry.expires - now
        sc.say("  %-14s %s%s" % ("due" if left <= 0 else "in " + sc.span_text(left), printable(entry.path),
                                 "  (%s)" % entry.reason if entry.reason else ""))
    return sc.EXIT_OK


def cmd_cleanup(root: Root, args: "argparse.Namespace") -> int:
    now = time.time()
    due = expired(Registry(root).read(), now)
    results = take_expired(root, due, now, args.execute, args.max_deletions) if due else []
    removals = [removal for removal in results if removal.outcome != "note"]
    sc.say("%s due; %s" % (counted(len(due), "entry", "entries"), outcome_line(removals, args.execute)))
    for removal in results:
        sc.say("  note: " + removal.reason if removal.outcome == "note" else
               "  %s: %s (%s)" % (removal.outcome, printable(removal.path), removal.reason))
    if not args.execute and due:
        sc.say("nothing was changed; --execute does it")
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
