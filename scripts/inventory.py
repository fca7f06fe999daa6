#!/usr/bin/env python3
"""Writes cleanup_inventory.json: every file, its git status, its references and its purpose.

The file is one JSON object: a header, `fields` (the names of the columns) and `files`, one row per
line:

    jq -c '.fields as $f|.files[]|[$f,.]|transpose|map({(.[0]):.[1]})|add' cleanup_inventory.json

Symlinks are never followed, and mount points never entered. A folder with a repository of its own,
or that cannot be read, is listed in `not_entered`. `references` is the number of other files that
mention the file's whole name, null with --no-references. Above zero, it is a reason to keep the
file; zero proves nothing.

Exit codes: 0 written; 2 usage; 3 refused, or git failed; 74 the inventory could not be written;
75 another inventory is being taken; 78 a later version wrote a file. On any error the previous
inventory is left unchanged.
"""

import argparse
import gc
import hashlib
import json
import marshal
import operator
import os
import re
import socket
import stat
import time
import zlib
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Callable, Collection, Dict, Iterable, Iterator, List, Set, Tuple

from cleanup_rules import RULES_NAME
from common import (
    HOME,
    RefusedError,
    bytes_option,
    check_replaced,
    command_parser,
    finish,
    open_own,
    plural,
    read_regular,
    sc,
    size_text,
)
from file_lifecycle import Registry
from references import (
    OPEN_FILE,
    READ_BYTES,
    Cache,
    Names,
    Progress,
    Reader,
    References,
    Seen,
    in_blocks,
    joined,
    version_of,
)
from tree import (
    CACHE_NAME,
    INVENTORY_NAME,
    OPEN_FOLDER,
    OWN_NAME,
    QUARANTINE_NAME,
    UTF8_NAMES,
    Git,
    Listing,
    Root,
    is_repository,
    mount_points,
    native_path,
    printable,
    stored_path,
)

FORMAT = 1
FIELDS = ("path", "ino", "size", "mtime_ns", "ctime_ns", "dev", "mode", "nlink", "class",
          "references", "purpose", "expires", "duplicate")
VERSION_FIELDS = FIELDS[1:8]  # those of references.version_of
BEFORE_ROWS = ', "files": [\n'  # ends the first line
LONGEST_HEADER = 16 << 20    # bytes
DEEPEST = 200                # folders; each level on the way holds a descriptor
LONGEST_FOLDER = 4096 - 256  # bytes of a path, to which a name and a NUL are added (PATH_MAX)
MIN_DUPLICATE = 1 << 20      # bytes; smaller files are not worth comparing
FIRST_BLOCK = 4096           # bytes
START_DIGITS = 8             # hexadecimal, of its checksum
ERRORS_SHOWN = 10

# -- purpose

DECISIVE = frozenset(("log", "cache", "temp", "backup"))  # wherever such a file lies

_SUFFIXES = {
    "source": "py pyi pyx c h cc cpp cxx hpp hh rs go java kt kts scala js jsx mjs cjs ts tsx vue "
              "svelte rb php pl pm lua sh bash zsh fish awk sed ps1 bat cs fs swift m mm r jl ex "
              "exs erl hs ml clj dart sql asm s tcl vim",
    "config": "json yaml yml toml ini cfg conf properties env xml plist editorconfig service timer "
              "tf tfvars hcl lock",
    "docs": "md rst txt adoc tex html htm org pdf man",
    "data": "csv tsv jsonl ndjson parquet feather npy npz h5 db sqlite sqlite3 geojson po pot dat "
            "xlsx ods",
    "log": "log",
    "cache": "pyc pyo cache",
    "temp": "tmp temp swp swo part crdownload",
    "backup": "bak old orig rej backup save",
    "generated": "o a so dylib dll exe class jar war map min d lo la",
    "binary": "png jpg jpeg gif ico webp bmp tiff svgz woff woff2 ttf otf eot mp3 mp4 ogg wav avi "
              "mov zip gz bz2 xz zst tar tgz 7z rar iso img bin whl egg deb rpm",
}
BY_SUFFIX = {"." + suffix: purpose
             for purpose, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_FOLDERS = {
    "test": "test tests testing spec __tests__ fixtures",
    "docs": "doc docs documentation",
    "cache": "__pycache__ .cache .pytest_cache .mypy_cache .ruff_cache",
    "generated": "node_modules build dist target",
    "log": "logs",
    "temp": "tmp temp",
    "backup": "backup backups",
    "config": "config",
    "data": "data",
}
BY_FOLDER = {name: purpose for purpose, names in _FOLDERS.items() for name in names.split()}
BY_NAME = {"Makefile": "config", "Dockerfile": "config", "README": "docs", "LICENSE": "docs",
           "CHANGELOG": "docs", ".gitignore": "config", ".gitattributes": "config",
           ".DS_Store": "temp", "Thumbs.db": "temp"}
TEST_NAME = re.compile(r"test_|.*(?:_test|_spec|\.test|\.spec)\.[a-z]+\Z")


def purpose_of(name: str, of_folder: str) -> str:
    """What a file is for, by its name and by what its folder is for ('' if that says nothing)."""
    purpose = by_suffix(name)
    if purpose in DECISIVE:
        return purpose
    if of_folder:
        return of_folder
    if purpose == "source" and ("test" in name or "spec" in name) and TEST_NAME.match(name):
        return "test"
    return purpose or BY_NAME.get(name, "other")


def by_suffix(name: str) -> str:
    """What the end of a name says about a file's purpose, '' if nothing."""
    suffix = name[name.rfind("."):]
    purpose = BY_SUFFIX.get(suffix) or BY_SUFFIX.get(suffix.lower(), "")
    if not purpose and name.endswith("~"):
        return "backup"
    return purpose


# -- the walk

SEEN_OF: "Callable[..., Seen]" = tuple.__new__  # takes a third of the time of Seen(...)
Share = Tuple[str, str, str, int]  # a folder to enter: (prefix, name, purpose above, depth)
SHARES = 16      # enough for two processes to have as much to do
SHARE_DEPTH = 3  # folders; where they are so few down there, one process is enough


class Walk:
    """Every file below the root, by folder descriptors: through no symlink, and on one device."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.files: "List[Seen]" = []
        self.not_entered: "List[Dict[str, str]]" = []
        self.errors: "List[Dict[str, str]]" = []
        self.progress = Progress("files seen")
        self._mounts = mount_points(root)
        self._put_off: "List[Share] | None" = None  # what is entered later, None for at once

    def run(self) -> "Walk":
        """Walk the tree, a large one with a second process. Raises RefusedError if that fails."""
        shares: "List[Share]" = []
        self._put_off = shares
        self._folder(os.dup(self.root.fd), "", "", 0)
        while 0 < len(shares) < SHARES and shares[0][-1] < SHARE_DEPTH:
            self._put_off = []
            self._enter(shares)
            shares = self._put_off
        self._put_off = None
        if len(shares) >= SHARES and (os.cpu_count() or 1) > 1:
            self._with_another(shares)
        else:
            self._enter(shares)
        self.progress.end()
        return self

    def _with_another(self, shares: "List[Share]") -> None:
        """Enter every other of these folders, and have the rest entered by another process."""
        out, into = os.pipe()
        try:
            pid = os.fork()
        except OSError:  # too many processes: it takes longer alone
            os.close(out)
            os.close(into)
            self._enter(shares)
            return
        if pid == 0:
            code = 1
            try:
                os.close(out)
                self.files, self.not_entered, self.errors = [], [], []
                self._enter(shares[1::2])
                found = (list(map(tuple, self.files)), self.not_entered, self.errors)
                with open(into, "wb") as stream:
                    stream.write(marshal.dumps(found, 2))
                code = 0
            finally:
                os._exit(code)
        os.close(into)
        self._enter(shares[::2])
        with open(out, "rb") as stream:
            data = stream.read()
        if os.waitpid(pid, 0)[1] != 0:
            raise RefusedError("a part of the tree could not be walked: its process ended early",
                               "try again")
        files, not_entered, errors = marshal.loads(data)
        self.files += [SEEN_OF(Seen, facts) for facts in files]
        self.not_entered += not_entered
        self.errors += errors

    def _enter(self, shares: "List[Share]") -> None:
        """Walk some folders, each with all that is below."""
        for prefix, name, purpose, depth in shares:
            try:
                fd = self.root.open_folder(prefix.rstrip("/"))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.fail(prefix, error)
                continue
            self._descend(fd, prefix, name, purpose, depth)
            os.close(fd)

    def _folder(self, fd: int, prefix: str, purpose: str, depth: int) -> None:
        """List one folder and those below it; closes the descriptor."""
        try:
            files, folders, names = self._list(fd, prefix, purpose)
            if prefix and is_repository(names.__contains__):
                self._skip(prefix, "a repository of its own")
                return
            self.files += files
            self.progress.show(len(self.files))
            if not prefix:
                folders = [name for name in folders if name not in (".git", QUARANTINE_NAME)]
            if self._put_off is not None:
                self._put_off += [(prefix, name, purpose, depth) for name in folders]
                return
            for name in folders:
                self._descend(fd, prefix, name, purpose, depth)
        except FileNotFoundError:
            pass  # removed while we looked
        except PermissionError as error:
            self._closed(prefix, error)
        except OSError as error:
            self.fail(prefix, error)
        finally:
            os.close(fd)

    def _list(self, fd: int, prefix: str,
              of_folder: str) -> "Tuple[List[Seen], List[str], Set[str]]":
        """(files, names of folders, all names) of one folder."""
        files: "List[Seen]" = []
        folders: "List[str]" = []
        for entry in _scan(fd):
            name = entry.name
            if not UTF8_NAMES:
                name = stored_path(name)
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            try:
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            files.append(SEEN_OF(Seen, (
                prefix + name, name, version_of(seen), seen.st_size, seen.st_mode, seen.st_nlink,
                purpose_of(name, of_folder))))
        names = {file[1] for file in files}.union(folders)
        folders.sort()
        if not prefix:  # .git can be the file of a worktree or a submodule
            names.discard(".git")
            files = [file for file in files
                     if file.name != ".git" and not OWN_NAME.match(file.name)]
        if self._mounts:
            files = self._without_mounts(files)
        return files, folders, names

    def _without_mounts(self, files: "List[Seen]") -> "List[Seen]":
        """A file can be a mount point as well, as those of containers are."""
        for file in files:
            if file.path in self._mounts:
                self._skip(file.path, "a mount point")
        return [file for file in files if file.path not in self._mounts]

    def _descend(self, fd: int, prefix: str, name: str, purpose: str, depth: int) -> None:
        path = prefix + name
        if path in self._mounts:  # not even opened: a server that is gone would keep us waiting
            self._skip(path, "a mount point")
            return
        if depth == DEEPEST:
            self._skip(path, "more than %d folders deep" % DEEPEST)
            return
        if len(path) * 4 > LONGEST_FOLDER and len(os.fsencode(path)) > LONGEST_FOLDER:
            self._skip(path, "its path is too long")
            return
        try:
            deeper = os.open(native_path(name), OPEN_FOLDER, dir_fd=fd)
        except FileNotFoundError:
            return
        except PermissionError as error:
            self._closed(path, error)
            return
        except OSError as error:
            self.fail(path, error)
            return
        if os.fstat(deeper).st_dev != self.root.dev:
            os.close(deeper)
            self._skip(path, "on another device")
            return
        self._folder(deeper, path + "/", BY_FOLDER.get(name.lower(), purpose), depth + 1)

    def _closed(self, path: str, error: OSError) -> None:
        """A folder that only others can read, such as a database's, is none of ours."""
        if path:
            self._skip(path, "permission denied")
        else:
            self.fail(path, error)

    def _skip(self, path: str, why: str) -> None:
        self.not_entered.append({"path": path.rstrip("/"), "why": why})

    def fail(self, path: str, error: OSError) -> None:
        self.errors.append({"path": path.rstrip("/"), "error": error.strerror or str(error)})


class _NamedEntry:
    """What `os.scandir` yields, for Python 3.6, which does not take a descriptor."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._seen = os.stat(name, dir_fd=fd, follow_symlinks=False)

    def is_dir(self, follow_symlinks: bool) -> bool:
        return stat.S_ISDIR(self._seen.st_mode)

    def stat(self, follow_symlinks: bool) -> "os.stat_result":
        return self._seen


def _scan(fd: int) -> "Iterable[Any]":
    if os.scandir in os.supports_fd:
        return os.scandir(fd)
    return _scan_by_name(fd)


def _scan_by_name(fd: int) -> "Iterator[Any]":
    for name in os.listdir(fd):
        try:
            yield _NamedEntry(name, fd)
        except FileNotFoundError:
            continue


# -- what counts as a mention

# Lists of what to leave alone: being mentioned in one is no use of a file.
NO_SOURCES = frozenset((os.path.basename(RULES_NAME), ".gitignore", ".dockerignore", ".npmignore",
                        ".eslintignore", ".prettierignore", ".hgignore"))
NO_SOURCE_PURPOSES = frozenset(("log", "cache", "temp", "backup", "binary"))

# The tool's own files name many kinds of files, and use none of them.
OWN_DOCUMENTS = re.compile(r"cleanup_(?:inventory|report)[^/]*\.json\Z")
OWN_SCRIPTS = (
    "README.md", "action_log.py", "airflow/README.md", "airflow/dags/symphony_dags.py",
    "airflow/engine.py", "airflow/plugins/symphony_operator.py",
    "airflow/plugins/symphony_slots.py", "airflow/plugins/symphony_timetable.py",
    "airflow/requirements.lock", "airflow/requirements.txt", "airflow/runner.py",
    "automation_manager.py", "cleanup_engine.py", "cleanup_plan.py",
    "cleanup_report.py", "cleanup_review.py", "cleanup_rules.py", "clock_witness.py", "common.py",
    "comprehensive_inventory.sh", "crontab_commands.py", "crontab_switch.py", "crontab_tables.py",
    "file_lifecycle.py", "folders.py", "inventory.py", "man_page.py", "quarantine.py",
    "quick_health_check.sh", "references.py", "report_page.py", "setup_steps.py",
    "setup_symphony_conductor.sh", "symphony_completion.py", "symphony_conductor.1",
    "symphony_conductor.py", "symphony_diff.py", "symphony_import_crontab.py",
    "symphony_metrics.py", "symphony_report.py", "symphony_schema.py", "symphony_simulate.py",
    "symphony_timer.py", "tree.py")
OWN_SOURCES = ("symphony_conductor.py", "setup.sh", "config/README.md",
               "config/conductor_config.schema.json", "config/tasks.d.schema.json",
               "cron/README.md")
OWN_REPOSITORY = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
OWN_TEST = "tests/house.py"  # is there in the tool's own repository only


def own_paths(root: Root) -> "Set[str]":
    """What the tool wrote below the root, and what of itself lies there."""
    start = len(root.path.rstrip("/")) + 1
    paths = {stored_path(path[start:]) for path, _ in sc.Store(root.path).own_files()}
    paths.update(name for name in map(stored_path, _names_in(root.path))
                 if OWN_DOCUMENTS.match(name) and not OWN_NAME.match(name))
    parts = ["scripts/" + name for name in OWN_SCRIPTS] + list(OWN_SOURCES)
    if _is_ours(root, OWN_TEST):
        parts += OWN_REPOSITORY
        parts += ["tests/" + name for name in _names_in(root.join("tests"))]
    paths.update(path for path in parts if _is_ours(root, path))
    return paths


def _names_in(folder: str) -> "List[str]":
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_ours(root: Root, path: str) -> bool:
    """Whether a file of the root is the one of this installation, or a copy of it."""
    own, there = os.path.join(HOME, path), os.path.join(root.path, path)
    try:
        return os.path.samefile(own, there) or read_regular(own) == read_regular(there)
    except OSError:
        return False


def sources(files: "Iterable[Seen]", tracked: "Collection[str]", own: "Set[str]") -> "List[Seen]":
    """Those of the files in which a mention counts."""
    counting = []
    for seen in files:
        # Unpacked, because two hundred thousand times three attributes take their time.
        path, name, _, _, mode, _, purpose = seen
        if not stat.S_ISREG(mode):
            if stat.S_ISLNK(mode):  # wherever it lies: its target is in use
                counting.append(seen)
            continue
        if name in NO_SOURCES or path in own:
            continue
        # By its own name as well: a script in tmp/ is a script.
        if purpose in NO_SOURCE_PURPOSES and by_suffix(name) in NO_SOURCE_PURPOSES:
            if purpose == "binary" or path not in tracked:
                continue
        counting.append(seen)
    return counting


def mentions_since(document: "Dict[str, Any]", root: Root,
                   names: "Iterable[str]") -> "Dict[str, str]":
    """Which of the names a file mentions that is new or has changed since an inventory.

    Names are file names; the result has the path of a file that mentions each. A file that cannot
    be read may mention any of them. Raises RefusedError where the tree, or git, cannot be read.
    """
    wanted = set(names)
    walk = Walk(root).run()
    if walk.errors:
        raise RefusedError("cannot tell what has changed since the inventory: %s: %s" % (
            printable(walk.errors[0]["path"]), walk.errors[0]["error"]))
    changed = _changed(document, walk.files)
    if not changed or not wanted:
        return {}
    git = Git(root)
    tracked = git.listing(only_tracked=True).tracked if git.is_here() else set()
    reader = Reader(root, Names(wanted))
    found: "Dict[str, str]" = {}
    for seen in sources(changed, tracked, own_paths(root)):
        try:
            mentioned: "Iterable[str]" = reader.read(seen)[0]
        except FileNotFoundError:
            continue
        except OSError:
            mentioned = wanted
        for name in wanted.intersection(mentioned):
            if name != seen.name or stat.S_ISLNK(seen.mode):
                found.setdefault(name, seen.path)
    return found


def _changed(document: "Dict[str, Any]", files: "Iterable[Seen]") -> "List[Seen]":
    """The files that are not as a row of the inventory has them."""
    fields = list(document["fields"])
    path_at = fields.index("path")
    facts = operator.itemgetter(*map(fields.index, VERSION_FIELDS))
    versions = {row[path_at]: ",".join(map(str, facts(row))) for row in document["files"]}
    return [seen for seen in files if versions.get(seen.path) != seen.version]


# -- duplicates

def duplicates(root: Root, walk: Walk, cache: Cache, at_least: int) -> "Dict[str, str]":
    """Path to group, for files of at least that size that have the content of another one.

    Those of the same size are compared by their first block; those that share it, as a whole.
    """
    by_size: "Dict[int, List[Seen]]" = {}
    for seen in walk.files:
        if seen.size >= at_least and seen.nlink == 1 and stat.S_ISREG(seen.mode):
            by_size.setdefault(seen.size, []).append(seen)
    comparison = Comparison(root, walk, cache)
    groups: "Dict[str, List[str]]" = {}
    for same_size in by_size.values():
        by_start: "Dict[str, List[Seen]]" = {}
        for seen in same_size if len(same_size) > 1 else ():
            by_start.setdefault(comparison.start(seen), []).append(seen)
        by_start.pop("", None)
        for same_start in by_start.values():
            for seen in same_start if len(same_start) > 1 else ():
                groups.setdefault(comparison.whole(seen), []).append(seen.path)
    groups.pop("", None)
    comparison.progress.end()
    return {path: digest[:16]
            for digest, paths in groups.items() if len(paths) > 1 for path in paths}


class Comparison:
    """What files hold, in short: a checksum of the first block and a digest of all of it.

    The cache has both in a row, or the first alone. Both are '' for a file that is gone or has
    changed.
    """

    def __init__(self, root: Root, walk: Walk, cache: Cache) -> None:
        self.root = root
        self.walk = walk
        self.cache = cache
        self.progress = Progress("files compared")
        self._number = 0

    def start(self, seen: Seen) -> str:
        start = self.cache.digest(seen.version)[:START_DIGITS]
        if not start:
            start = self._of(seen, _start_of)
            self.cache.put_digest(seen.version, start)
        self._number += 1
        self.progress.show(self._number)
        return start

    def whole(self, seen: Seen) -> str:
        start = self.start(seen)
        digest = self.cache.digest(seen.version)[START_DIGITS:]
        if not digest:
            digest = self._of(seen, _digest_of)
            self.cache.put_digest(seen.version, start + digest)
        return digest

    def _of(self, seen: Seen, compute: "Callable[[int], str]") -> str:
        """What a function of an open file says."""
        try:
            fd = os.open(native_path(seen.path), OPEN_FILE, dir_fd=self.root.fd)
            try:
                answer = compute(fd)
                if version_of(os.fstat(fd)) == seen.version:
                    return answer
            finally:
                os.close(fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.walk.fail(seen.path, error)
        self.cache.whole = False
        return ""


def _start_of(fd: int) -> str:
    return "%08x" % zlib.crc32(os.read(fd, FIRST_BLOCK))


def _digest_of(fd: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    piece = os.read(fd, READ_BYTES)
    while piece:
        digest.update(piece)
        piece = os.read(fd, READ_BYTES) if len(piece) == READ_BYTES else b""
    return digest.hexdigest()


# -- the document

def refuse_lost_git(root: Root, inventories: "Iterable[str]") -> None:
    """Raises RefusedError for a root that was a git repository and is none now.

    Absent is not "nothing is tracked": a .git that was moved away for a moment would make every
    tracked file a candidate.
    """
    top = git_top(root)
    text = "%s was in a git repository when %s, and its .git is missing now"
    for path in sorted(inventories):
        header = read_header(path)
        same = (header.get("root_dev"), header.get("root_ino")) == (root.dev, root.ino)
        if not same and header.get("root") != stored_path(root.path):
            continue
        if header.get("git") is True and header.get("git_top", top or ".") != top:
            raise RefusedError(text % (root.path, "the last inventory was taken"),
                               "restore .git; if it is gone for good, delete %s" % printable(
                                   stored_path(path)))
    if not top and any(entry.git for entry in Registry(root).read().values()):
        raise RefusedError(text % (root.path, "files were registered"),
                           "restore .git; if it is gone for good, register these files again:"
                           " scripts/file_lifecycle.py list")


def git_top(root: Root) -> str:
    """Where the folder is that holds .git, from the root: "." or "../.."; "" for nowhere."""
    top = Git(root).top()
    return stored_path(os.path.relpath(top, root.path)) if top else ""


def read_header(path: str) -> "Dict[str, Any]":
    """The header of an inventory, {} for what is none. Its first line holds it, and `files`."""
    try:
        with open_own(path) as handle:
            line = handle.readline(LONGEST_HEADER)
        header = json.loads(line.decode("ascii").rpartition(BEFORE_ROWS)[0] + "}")
    except (OSError, ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def read_rows(path: str, length: int, checksum: int) -> bytes:
    """The rows of an inventory, as they are in the file; nothing if they are others."""
    try:
        with open_own(path) as handle:
            handle.readline(LONGEST_HEADER)
            rows = handle.read(length)
    except OSError:
        return b""
    return rows if zlib.crc32(rows) == checksum else b""


class Inventory:
    """Takes the inventory of a root and writes it."""

    def __init__(self, root: Root, references: bool = True, min_duplicate: int = MIN_DUPLICATE,
                 use_cache: bool = True, output: str = "") -> None:
        self.root = root
        self.output = output or os.path.join(root.path, INVENTORY_NAME)
        self.started = time.time()
        self.git = Git(root)
        self.with_git = self.git.is_here()
        self.head: "str | None" = None
        self.with_references = references
        self.min_duplicate = min_duplicate
        self.cache = Cache(root, use_cache and references)
        self.references = References(root, self.cache)
        self.duplicates: "Dict[str, str]" = {}
        self.totals: "Dict[Tuple[str, str], List[int]]" = {}  # (class, purpose) -> files, bytes
        self.rows = b""  # of the last inventory, if they would be the same
        self.notes: "List[str]" = []

    def take(self) -> "Inventory":
        """Walk, ask git, count. Raises GitError, RefusedError."""
        if self.with_git:
            self.git.begin()  # works on the other core while we walk
        self.walk = Walk(self.root).run()
        listing = self.git.finish() if self.with_git else Listing()
        self._check_git()
        self.head = listing.head
        self.classes = dict.fromkeys(listing.ignored, "ignored")
        # A file in neither is untracked.
        self.classes.update(dict.fromkeys(listing.tracked, "tracked"))
        self.expires = {path: entry.expires
                        for path, entry in Registry(self.root).read().items()}
        own = own_paths(self.root)
        if self.cache.enabled:
            self.state = self._state(own)
            self._take_over()
        if not self.rows:
            self._look_into_files(sources(self.walk.files, listing.tracked, own))
        self.finished = time.time()
        return self

    def _look_into_files(self, counting: "List[Seen]") -> None:
        if self.with_references:
            self.references.count(counting, {seen.name for seen in self.walk.files}, self.walk.fail)
        self.duplicates = duplicates(self.root, self.walk, self.cache, self.min_duplicate)

    def _state(self, own: "Set[str]") -> str:
        """What changes with anything that the rows depend on."""
        options = (FORMAT, self.with_git, self.with_references, self.min_duplicate, sorted(own),
                   sorted(self.expires.items()))
        digest = hashlib.blake2b(repr(options).encode("ascii", "backslashreplace"), digest_size=16)
        classes = self.classes.get
        for block in in_blocks(self.walk.files):
            paths = [seen[0] for seen in block]
            lines = paths + [seen[2] for seen in block] + [classes(path, "") for path in paths]
            digest.update("\0".join(lines).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _take_over(self) -> None:
        """Use the rows of the last inventory when nothing has changed since."""
        kept = self.cache.result
        if not self.walk.errors and kept.get("state") == self.state:
            self.rows = read_rows(self.output, kept["length"], kept["checksum"])
            if self.rows:
                self.totals = {(kind, purpose): [number, size]
                               for kind, purpose, number, size in kept["totals"]}

    def _check_git(self) -> None:
        """Raises RefusedError when .git came or went meanwhile."""
        if self.git.is_here() != self.with_git:
            raise RefusedError(".git %s while the inventory was taken" % (
                "disappeared" if self.with_git else "appeared"), "take it again")

    def header(self) -> "Dict[str, Any]":
        return {
            "format": FORMAT, "root": stored_path(self.root.path),
            "root_dev": self.root.dev, "root_ino": self.root.ino,
            "host": socket.gethostname(), "git": self.with_git,
            "git_top": git_top(self.root), "head": self.head,
            "started": sc.iso(self.started), "finished": sc.iso(self.finished),
            "references": self.with_references, "min_duplicate": self.min_duplicate,
            "not_entered": self.walk.not_entered, "errors": self.walk.errors, "fields": FIELDS,
        }

    def write(self) -> None:
        """Replace the inventory file atomically. Raises StorageError, and changes nothing then."""
        # Not flushed to disk: after a power cut a new one is taken, and half of one is refused by
        # whoever reads it.
        sc.write_atomic(self.output, self._text(), durable=False)
        if self.cache.enabled and not self.rows:
            self._save_cache()

    def _save_cache(self) -> None:
        state = self.state
        if self.walk.errors or not self.cache.whole:
            state = ""
        totals = [list(key) + total for key, total in self.totals.items()]
        try:
            self.cache.save(self.walk.files, {
                "state": state, "length": self._length, "checksum": self._checksum,
                "totals": totals})
        except sc.StorageError as error:
            self.notes.append("%s; the next inventory will take longer" % error)

    def _text(self) -> "Iterator[bytes]":
        """The document in pieces; the totals come last, as they are added up on the way."""
        yield (json.dumps(self.header())[:-1] + BEFORE_ROWS).encode("ascii")
        pieces: "Iterable[bytes]" = [self.rows]
        if not self.rows:
            pieces = joined((self._rows(block) for block in in_blocks(self.walk.files)), ",\n")
        self._length = self._checksum = 0
        for piece in pieces:
            self._length += len(piece)
            self._checksum = zlib.crc32(piece, self._checksum)
            yield piece
        document = {"counts": self.total(0), "bytes": self.total(1)}
        yield ("\n], %s\n" % json.dumps(document)[1:]).encode("ascii")

    def total(self, place: int) -> "Dict[str, Dict[str, int]]":
        """The numbers of files (place 0) or bytes (1) by class and by purpose, once written."""
        sums: "Dict[str, Dict[str, int]]" = {"class": {}, "purpose": {}}
        for (kind, purpose), total in sorted(self.totals.items()):
            for by, key in (("class", kind), ("purpose", purpose)):
                sums[by][key] = sums[by].get(key, 0) + total[place]
        return sums

    def _rows(self, files: "List[Seen]") -> "Iterator[str]":
        """One JSON array a file; adds up the totals on the way."""
        default = "untracked" if self.with_git else "no-git"
        classes, totals = self.classes.get, self.totals
        counts, binary = self.references.counts.get, self.references.binary
        with_more = self.expires or self.duplicates
        more = "null,null"  # expires and duplicate, which few files have
        for path, name, version, size, _, _, purpose in files:
            if purpose == "other" and path in binary:
                purpose = "binary"
            kind = classes(path, default)
            total = totals.get((kind, purpose))
            if total is None:
                total = totals[kind, purpose] = [0, 0]
            total[0] += 1
            total[1] += size
            if with_more:
                more = self._expires_and_duplicate(path)
            yield '[%s,%s,"%s",%s,"%s",%s]' % (
                quoted(path), version, kind, counts(name, "null"), purpose, more)

    def _expires_and_duplicate(self, path: str) -> str:
        expires = "null"
        folder = path
        while folder:  # the nearest folder counts, as in Registry.nearest
            if folder in self.expires:
                expires = '"%s"' % sc.iso(self.expires[folder])
                break
            folder = folder.rpartition("/")[0]
        group = "null"
        if path in self.duplicates:
            group = quoted(self.duplicates[path])
        return expires + "," + group

    def verdict(self) -> str:
        """The first line."""
        size = sum(self.total(1)["class"].values())
        classes = ["%d %s" % (number, name) for name, number in self.total(0)["class"].items()]
        line = "%s, %s (%s) in %.1f s" % (
            plural(len(self.walk.files), "file"), size_text(size), ", ".join(classes) or "nothing",
            self.finished - self.started)
        if not self.walk.errors:
            return "OK - %s" % line
        return "WARNING - %s; %s, so nothing can be removed" % (
            line, plural(len(self.walk.errors), "error"))


def build_parser() -> "argparse.ArgumentParser":
    parser = command_parser(__doc__)
    parser.add_argument("--output", metavar="FILE",
                        help="where to write (default: %s under the root)" % INVENTORY_NAME)
    parser.add_argument("--no-references", dest="references", action="store_false",
                        help="do not read the files; references are null, so nothing can become a"
                             " candidate")
    parser.add_argument("--min-duplicate", type=bytes_option, metavar="BYTES",
                        default=MIN_DUPLICATE,
                        help="look for duplicates among files of at least this size (default: %d)"
                             % MIN_DUPLICATE)
    parser.add_argument("--no-cache", dest="cache", action="store_false",
                        help="read every file, and keep no cache")
    return parser


def main() -> int:
    gc.disable()  # collecting costs time, and none of two hundred thousand rows is in a cycle
    args = build_parser().parse_args()
    root = Root(args.root)
    output = os.path.join(root.path, INVENTORY_NAME)
    if args.output:
        output = os.path.abspath(args.output)
    lock = sc.FileLock(os.path.join(root.path, CACHE_NAME + ".lock"))
    if not lock.acquire():
        raise sc.BusyError("another inventory of %s is being taken" % root.path, "try again later")
    check_replaced(output, FORMAT)
    refuse_lost_git(root, {os.path.join(root.path, INVENTORY_NAME), output})
    inventory = Inventory(root, args.references, args.min_duplicate, args.cache, output).take()
    inventory.write()
    sc.print_line(inventory.verdict())
    errors = inventory.walk.errors
    for error in errors[:ERRORS_SHOWN]:
        place = printable(error["path"]) if error["path"] else "the root"
        sc.print_line("  error: %s: %s" % (place, error["error"]))
    if len(errors) > ERRORS_SHOWN:
        sc.print_line("  and %d more" % (len(errors) - ERRORS_SHOWN))
    for folder in inventory.walk.not_entered:
        sc.print_line("  not entered: %s: %s" % (printable(folder["path"]), folder["why"]))
    for note in inventory.notes:
        sc.print_line("  note: " + note)
    sc.print_line("  written to %s" % printable(stored_path(output)))
    return sc.EXIT_OK


if __name__ == "__main__":
    finish(main)
