#!/usr/bin/env python3
"""Writes cleanup_inventory.json: every file, its git status, its references and its purpose.

The file is one JSON object: a header, `fields` (the names of the columns) and `files`, one row per
line:

    jq -c '.fields as $f|.files[]|[$f,.]|transpose|map({(.[0]):.[1]})|add' cleanup_inventory.json

Symlinks are never followed, and other devices never entered. A folder with a repository of its own
is listed as one entry and not entered. `references` is the number of other files that mention the
file's whole name, or null if that cannot be determined. Above zero, it is a reason to keep the
file; zero proves nothing.

Exit codes: 0 written; 2 usage; 3 refused, or git failed; 74 the inventory could not be written;
75 another inventory is being taken; 78 a later version wrote a file. On any error the previous
inventory is left unchanged.
"""

import argparse
import gc
import hashlib
import json
import os
import re
import socket
import stat
import sys
import time
import zlib
from itertools import filterfalse
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple

from cleanup_rules import RULES_NAME
from common import (
    bytes_option,
    check_replaced,
    command_parser,
    finish,
    open_own,
    plural,
    sc,
    size_text,
)
from file_lifecycle import Registry
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
    native_path,
    printable,
    stored_path,
)

FORMAT = 1
FIELDS = ("path", "ino", "size", "mtime_ns", "ctime_ns", "dev", "mode", "nlink", "class",
          "references", "purpose", "expires", "duplicate")
DEEPEST = 200                # folders; each level on the way holds a descriptor
MIN_DUPLICATE = 1 << 20      # bytes; smaller files are not worth comparing
READ_BYTES = 4 << 20
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
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
    if purpose == "source" and TEST_NAME.match(name):
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

class Seen(NamedTuple):
    """A file as the walk saw it."""

    path: str
    name: str
    version: str  # see version_of
    size: int
    mode: int
    nlink: int
    dev: int
    purpose: str


def version_of(seen: "os.stat_result") -> str:
    """What tells versions of a file apart: inode, size, mtime and ctime, as the rows have them."""
    return "%d,%d,%d,%d" % (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


class Walk:
    """Every file below the root, by folder descriptors: through no symlink, and on one device."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.files: "List[Seen]" = []
        self.not_entered: "List[Dict[str, str]]" = []
        self.errors: "List[Dict[str, str]]" = []
        self.progress = Progress("files seen")

    def run(self) -> "Walk":
        self._folder(os.dup(self.root.fd), "", "", 0)
        self.progress.end()
        return self

    def _folder(self, fd: int, prefix: str, purpose: str, depth: int) -> None:
        """List one folder and those below it; closes the descriptor."""
        try:
            files, folders, names = self._list(fd, prefix, purpose)
            if prefix and is_repository(names.__contains__):
                self._skip(prefix, "a repository of its own")
                return
            self.files += files
            self.progress.show(len(self.files))
            for name in folders:
                if prefix or name not in (".git", QUARANTINE_NAME):
                    self._descend(fd, prefix, name, purpose, depth)
        except FileNotFoundError:
            pass  # removed while we looked
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
            name = entry.name if UTF8_NAMES else stored_path(entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            try:
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            files.append(Seen(prefix + name, name, version_of(seen), seen.st_size, seen.st_mode,
                              seen.st_nlink, seen.st_dev, purpose_of(name, of_folder)))
        names = {file.name for file in files}.union(folders)
        folders.sort()
        if not prefix:  # .git can be the file of a worktree or a submodule
            names.discard(".git")
            files = [file for file in files
                     if file.name != ".git" and not OWN_NAME.match(file.name)]
        return files, folders, names

    def _descend(self, fd: int, prefix: str, name: str, purpose: str, depth: int) -> None:
        path = prefix + name
        if depth == DEEPEST:
            self.fail(path, OSError(0, "more than %d folders deep" % DEEPEST))
            return
        try:
            deeper = os.open(native_path(name), OPEN_FOLDER, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            self.fail(path, error)
            return
        if os.fstat(deeper).st_dev != self.root.dev:
            os.close(deeper)
            self._skip(path, "on another device")
            return
        self._folder(deeper, path + "/", BY_FOLDER.get(name.lower(), purpose), depth + 1)

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


class Progress:
    """A count on the terminal that is overwritten as it grows; silent without a terminal."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.active = sys.stderr.isatty()
        self._shown = 0

    def show(self, number: int) -> None:
        if self.active and number - self._shown >= 5000:
            self._shown = number
            sys.stderr.write("\r%d %s " % (number, self.what))
            sys.stderr.flush()

    def end(self) -> None:
        if self.active and self._shown:
            sys.stderr.write("\r%s\r" % (" " * (len(self.what) + 12)))


# -- references

# A token is a run of these; everything else, in a text, stands between names. A name with any other
# character, a dash in front or a dot behind can be written in too many ways to count its mentions.
TOKEN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~-"
COUNTABLE_NAME = re.compile(r"[A-Za-z0-9_.~][A-Za-z0-9_.~-]*(?<!\.)\Z")
EDGES = b"_.~-"
LONGEST_NAME = 4096
_SEPARATED = bytes(code if code in TOKEN_BYTES else 32 for code in range(256))

# Lists of what to leave alone: being mentioned in one is no use of a file.
NO_SOURCES = frozenset((os.path.basename(RULES_NAME), ".gitignore", ".dockerignore", ".npmignore",
                        ".eslintignore", ".prettierignore", ".hgignore"))
NO_SOURCE_PURPOSES = frozenset(("log", "cache", "temp", "backup", "binary"))


def tokens_of(data: bytes) -> "List[bytes]":
    """The tokens of a text, repeated ones too, with the punctuation that sticks to them."""
    return data.translate(_SEPARATED).split()


class References:
    """One pass over the text files: the tokens of each against the set of all names.

    The cache keeps, for each version of a file, which names it held, and its tokens with a dot in
    them: with those, a name that is new in the tree is found in old files without reading them, as
    long as it has a dot.
    """

    def __init__(self, root: Root, walk: Walk, cache: "Cache") -> None:
        self.root = root
        self.walk = walk
        self.cache = cache
        self.counts: "Dict[str, int]" = {}
        self.binary: "Set[str]" = set()
        # Words without a dot inside that are no file's name: most of any text, and sorted out once.
        self._plain: "Set[bytes]" = set()
        self._names: "frozenset[bytes]" = frozenset()

    def count(self, classes: "Dict[str, str]") -> None:
        """Count the mentions of every countable name; unreadable files become errors."""
        names = set(filter(COUNTABLE_NAME.match, {seen.name for seen in self.walk.files}))
        self.counts = counts = dict.fromkeys(names, 0)
        self.cache.begin(names)
        progress, number = Progress("files read"), 0
        hits_of = self.cache.hits
        for seen in self.walk.files:
            # Unpacked, because two hundred thousand times three attributes take their time.
            path, name, version, _, mode, _, _, purpose = seen
            if name in NO_SOURCES:
                continue
            # By its own name as well: a script in tmp/ is a script.
            if purpose in NO_SOURCE_PURPOSES and by_suffix(name) in NO_SOURCE_PURPOSES:
                if purpose == "binary" or classes.get(path) != "tracked":
                    continue
            hits = hits_of(version)
            if hits is None:
                if not stat.S_ISREG(mode):
                    continue
                self._names = self._names or frozenset(name.encode("ascii") for name in names)
                hits = self._read(seen)
                number += 1
                progress.show(number)
            if hits is BINARY:
                self.binary.add(path)
                continue
            for hit in hits:
                if hit in counts and hit != name:  # that a file mentions itself says nothing
                    counts[hit] += 1
        progress.end()
        self._plain, self._names = set(), frozenset()

    def _read(self, seen: Seen) -> "Iterable[str]":
        """The names in a file that is not in the cache, to which they are added."""
        try:
            fd = os.open(native_path(seen.path), OPEN_FILE, dir_fd=self.root.fd)
        except FileNotFoundError:
            return ()
        except OSError as error:
            self.walk.fail(seen.path, error)
            return ()
        try:
            version = version_of(os.fstat(fd))
            dotted, bare = self._tokens(fd, seen.size)
        except OSError as error:
            self.walk.fail(seen.path, error)
            return ()
        finally:
            os.close(fd)
        hits = BINARY
        if dotted is not None:
            hits = [name.decode("ascii") for name in self._names.intersection(dotted)] + bare
        if version == seen.version:  # a file that changed meanwhile is read again next time
            self.cache.put(version, hits, b" ".join(dotted or ()).decode("ascii"))
        return hits

    def _tokens(self, fd: int, size: int) -> "Tuple[Iterable[bytes] | None, List[str]]":
        """(tokens with a dot, names without one) of a file; the first is None if it is not text.

        Large files come in pieces, cut between two words.
        """
        data = os.read(fd, min(size + 1, READ_BYTES))
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            rest = os.read(fd, size) if len(data) == READ_BYTES else b""
            data = (data + rest).decode("utf-16", "replace").encode("utf-8", "replace")
        elif b"\0" in data[:8192]:
            return None, []
        if len(data) < READ_BYTES:
            return self._sorted_out(data)
        dotted: "Set[bytes]" = set()
        bare: "Set[str]" = set()
        while data:
            more = os.read(fd, READ_BYTES)
            text = data.translate(_SEPARATED)
            cut = text.rfind(b" ") if more else len(text)
            cut = max(cut, len(text) - LONGEST_NAME)  # a token that is longer than any name is none
            tokens, names = self._sorted_out(text[:cut])
            dotted.update(tokens)
            bare.update(names)
            data = text[cut:] + more
        return dotted, sorted(bare)

    def _sorted_out(self, data: bytes) -> "Tuple[Set[bytes], List[str]]":
        """(tokens with a dot inside, names without one) of a text.

        The sentence "See _foo.tmp_." mentions foo.tmp: each token counts as it is, and without what
        sticks to its edges.
        """
        tokens = set(filterfalse(self._plain.__contains__, tokens_of(data)))
        dotted = [core for core in [token.strip(EDGES) for token in tokens] if b"." in core]
        if len(dotted) == len(tokens):
            return tokens.union(dotted), []
        bare = {token: token.strip(EDGES) for token in tokens if b"." not in token.strip(EDGES)}
        naming = [token for token, core in bare.items()
                  if token in self._names or core in self._names]
        if len(self._plain) < PLAIN_WORDS:
            self._plain.update(set(bare).difference(naming))
        names = self._names.intersection(naming + [bare[token] for token in naming])
        return tokens.difference(bare).union(dotted), [name.decode("ascii") for name in names]


# -- the cache

BINARY: "List[str]" = ["\0"]  # instead of hits: the file is not text
CACHE_HEAD = b"symphony tokens 1"
TRAILER_BYTES = 100
PLAIN_WORDS = 200000  # remembered, at most


class Cache:
    """`.cleanup_cache`: for each version of a file its digest, its names and its dotted tokens.

    The digest is empty if none was taken. After a line for the format and the device come the names
    that were looked for, a line `version TAB digest TAB hits` for each file, and their tokens, a
    line each, which are not even read unless a name is new. Hits of `-` mean that the file was not
    read, of NUL that it is not text. The last line has the lengths of the three parts, and
    checksums of the first two together and of the third.
    """

    def __init__(self, root: Root, enabled: bool = True) -> None:
        self.path = os.path.join(root.path, CACHE_NAME)
        self.enabled = enabled
        self._head = b"%s %d\n" % (CACHE_HEAD, root.dev)
        self._where = (0, 0, 0)  # of the tokens: offset, length, checksum
        self._cached_names: "Set[str]" = set()  # those that the file answers for
        self._old: "Dict[str, str]" = {}      # version -> digest TAB hits
        self._new: "Dict[str, Tuple[str, str]]" = {}  # version -> (digest TAB hits, tokens)
        self._tokens: "List[str]" = []
        self._names: "Set[str]" = set()
        # The same as _old while it can answer for all names, else empty.
        self._held: "Dict[str, str]" = {}
        self._redone = False
        if enabled and not sc.Store(root.path).insecure(self.path):
            try:
                self._load()
            except (OSError, ValueError):
                self._old = {}  # there is none, or not a whole one of ours: every file is read

    def _load(self) -> None:
        with open_own(self.path) as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, end - TRAILER_BYTES))
            trailer = handle.read().rpartition(b"\n")
            names, lines, tokens, front_sum, tokens_sum = map(int, trailer[2].split())
            if end != len(self._head) + names + lines + tokens + 1 + len(trailer[2]):
                raise ValueError("truncated")
            handle.seek(0)
            head, front = handle.read(len(self._head)), handle.read(names + lines)
        if head != self._head or zlib.crc32(front) != front_sum:
            raise ValueError("damaged, or of another device")
        text = front.decode("ascii")
        if lines:
            self._old = dict([line.split("\t", 1) for line in text[names:].split("\n")])
        self._cached_names = set(text[:names].split())
        self._where = (len(head) + len(front), tokens, tokens_sum)

    def _old_tokens(self) -> "List[str]":
        """The tokens of all old files, in their order; [] when they are damaged."""
        if not self._old:
            return []
        offset, length, checksum = self._where
        try:
            with open_own(self.path) as handle:
                handle.seek(offset)
                data = handle.read(length)
        except OSError:
            return []
        lines = data.decode("ascii", "replace").split("\n")
        if zlib.crc32(data) != checksum or len(lines) != len(self._old):
            return []
        return lines

    def begin(self, names: "Set[str]") -> None:
        """Set the names that count in this run."""
        self._names = names
        fresh = names - self._cached_names
        edges = EDGES.decode("ascii")
        if not fresh:
            self._held = self._old
        elif self._old and all("." in name.strip(edges) for name in fresh):
            self._find(fresh)

    def _find(self, fresh: "Set[str]") -> None:
        """Look for new names among the tokens of old files."""
        self._tokens = self._old_tokens()
        for version, tokens in zip(list(self._old), self._tokens):
            names = fresh.intersection(tokens.split(" "))
            if not names:
                continue
            line = self._old[version]
            names.difference_update(line.partition("\t")[2].split(" "))  # those it had before
            if names:
                separator = "" if line.endswith("\t") else " "
                self._old[version] = line + separator + " ".join(names)
        self._held = self._old if self._tokens else {}

    def hits(self, version: str) -> "Iterable[str] | None":
        """The names in this version of a file; None if it has to be read."""
        line = self._held.get(version)
        if line is None:
            return None
        held = line[line.find("\t") + 1:]
        if held == "-":
            return None
        return BINARY if held == "\0" else held.split()

    def put(self, version: str, hits: "Iterable[str]", tokens: str) -> None:
        """Keep the names and tokens of a file that was read."""
        if self.enabled:
            self._new[version] = ("%s\t%s" % (self.digest(version), " ".join(hits)), tokens)

    def digest(self, version: str) -> str:
        """The digest of a file's content, '' if none was taken."""
        line = self._new[version][0] if version in self._new else self._old.get(version, "")
        return line.partition("\t")[0]

    def put_digest(self, version: str, digest: str) -> None:
        """Keep the digest of a file's content."""
        if version in self._new:
            line, tokens = self._new[version]
            self._new[version] = (digest + "\t" + line.partition("\t")[2], tokens)
        elif version in self._old:
            self._old[version] = digest + "\t" + self._old[version].partition("\t")[2]
            self._redone = True
        else:
            self._new[version] = (digest + "\t-", "")

    def save(self, walk: Walk) -> None:
        """Write the cache if it has changed, without files that are gone. Raises StorageError."""
        if self.enabled and (self._new or self._redone or self._names != self._cached_names):
            there = {seen.version for seen in walk.files}
            sc.write_atomic(self.path, self._text(there), durable=False)

    def _text(self, there: "Set[str]") -> "Iterator[bytes]":
        tokens = self._tokens or self._old_tokens()
        if not self._held:  # it could not answer for all names in this run; the digests are good
            self._old = {version: line.partition("\t")[0] + "\t-"
                         for version, line in self._old.items()}
            tokens = [""] * len(self._old)
        rows = [(version, line, held) for (version, line), held in zip(self._old.items(), tokens)
                if version in there and version not in self._new and line != "\t-"]
        rows += [(version, line, held) for version, (line, held) in self._new.items()]
        parts = (
            iter([(" ".join(self._names) + " ").encode("ascii")]),
            joined(["%s\t%s" % (version, line) for version, line, _ in block]
                   for block in in_blocks(rows)),
            joined([held for _, _, held in block] for block in in_blocks(rows)))
        yield self._head
        sizes, sums = [0, 0, 0], [0, 0]  # the first two parts share a checksum
        for number, part in enumerate(parts):
            for piece in part:
                sizes[number] += len(piece)
                sums[number // 2] = zlib.crc32(piece, sums[number // 2])
                yield piece
        yield b"\n%d %d %d %d %d" % tuple(sizes + sums)


def joined(blocks: "Iterable[Iterable[str]]", between: str = "\n") -> "Iterator[bytes]":
    """Lines in blocks as the bytes of a file, with something between each two."""
    before = ""
    for block in blocks:
        yield (before + between.join(block)).encode("ascii")
        before = between


def in_blocks(items: "List[Any]", size: int = 5000) -> "Iterator[List[Any]]":
    """The list in pieces, so that nothing large is put together as a whole."""
    for start in range(0, len(items), size):
        yield items[start:start + size]


# -- duplicates

def duplicates(root: Root, walk: Walk, cache: Cache, at_least: int) -> "Dict[str, str]":
    """Path to group, for files of at least that size that have the content of another one."""
    by_size: "Dict[int, List[Seen]]" = {}
    for seen in walk.files:
        if seen.size >= at_least and seen.nlink == 1 and stat.S_ISREG(seen.mode):
            by_size.setdefault(seen.size, []).append(seen)
    groups: "Dict[str, List[str]]" = {}
    progress, number = Progress("files compared"), 0
    for same_size in by_size.values():
        if len(same_size) == 1:
            continue
        for seen in same_size:
            digest = cache.digest(seen.version)
            if not digest:
                digest = _digest(root, walk, seen)
                if digest:
                    cache.put_digest(seen.version, digest)
            if digest:
                groups.setdefault(digest, []).append(seen.path)
            number += 1
            progress.show(number)
    progress.end()
    return {path: digest[:16]
            for digest, paths in groups.items() if len(paths) > 1 for path in paths}


def _digest(root: Root, walk: Walk, seen: Seen) -> str:
    """The digest of a file's content; '' if the file is gone or has changed."""
    try:
        fd = os.open(native_path(seen.path), OPEN_FILE, dir_fd=root.fd)
    except FileNotFoundError:
        return ""
    except OSError as error:
        walk.fail(seen.path, error)
        return ""
    try:
        digest = hashlib.blake2b(digest_size=16)
        piece = os.read(fd, READ_BYTES)
        while piece:
            digest.update(piece)
            piece = os.read(fd, READ_BYTES) if len(piece) == READ_BYTES else b""
        if version_of(os.fstat(fd)) != seen.version:
            return ""
        return digest.hexdigest()
    except OSError as error:
        walk.fail(seen.path, error)
        return ""
    finally:
        os.close(fd)


# -- the document

class Inventory:
    """Takes the inventory of a root and writes it."""

    def __init__(self, root: Root, references: bool = True, min_duplicate: int = MIN_DUPLICATE,
                 use_cache: bool = True) -> None:
        self.root = root
        self.started = time.time()
        self.git = Git(root)
        self.with_git = self.git.is_here()
        self.with_references = references
        self.min_duplicate = min_duplicate
        self.use_cache = use_cache
        self.totals: "Dict[Tuple[str, str], List[int]]" = {}  # (class, purpose) -> files, bytes
        self.notes: "List[str]" = []

    def take(self) -> "Inventory":
        """Walk, ask git, count. Raises GitError, RefusedError."""
        if self.with_git:
            self.git.begin()  # works on the other core while we walk
        self.walk = Walk(self.root).run()
        listing = self.git.finish() if self.with_git else Listing()
        self.head = listing.head
        self.classes = dict.fromkeys(listing.ignored, "ignored")
        # A file in neither is untracked.
        self.classes.update(dict.fromkeys(listing.tracked, "tracked"))
        del listing
        cache = Cache(self.root, self.use_cache)
        self.references = References(self.root, self.walk, cache)
        if self.with_references:
            self.references.count(self.classes)
        self.duplicates = duplicates(self.root, self.walk, cache, self.min_duplicate)
        if self.with_references:
            try:
                cache.save(self.walk)
            except sc.StorageError as error:
                self.notes.append("%s; the next inventory will take longer" % error)
        self.expires = {path: entry.expires
                        for path, entry in Registry(self.root).read().items()}
        self.finished = time.time()
        return self

    def header(self) -> "Dict[str, Any]":
        return {
            "format": FORMAT, "root": stored_path(self.root.path),
            "root_dev": self.root.dev, "root_ino": self.root.ino,
            "host": socket.gethostname(), "git": self.with_git, "head": self.head,
            "started": sc.iso(self.started), "finished": sc.iso(self.finished),
            "references": self.with_references, "min_duplicate": self.min_duplicate,
            "not_entered": self.walk.not_entered, "errors": self.walk.errors, "fields": FIELDS,
        }

    def write(self, path: str) -> None:
        """Replace the inventory file atomically. Raises StorageError, and changes nothing then."""
        # Not flushed to disk: after a power cut a new one is taken, and half of one is refused by
        # whoever reads it.
        sc.write_atomic(path, self._text(), durable=False)

    def _text(self) -> "Iterator[bytes]":
        """The document in pieces; the totals come last, as they are added up on the way."""
        yield (json.dumps(self.header())[:-1] + ', "files": [\n').encode("ascii")
        yield from joined((self._rows(block) for block in in_blocks(self.walk.files)), ",\n")
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
        last_columns = self._last_columns()
        for path, name, version, size, mode, nlink, dev, purpose in files:
            if purpose == "other" and path in binary:
                purpose = "binary"
            kind = classes(path, default)
            total = totals.get((kind, purpose))
            if total is None:
                total = totals[kind, purpose] = [0, 0]
            total[0] += 1
            total[1] += size
            yield '[%s,%s,%d,%d,%d,"%s",%s,"%s",%s]' % (
                quoted(path), version, dev, mode, nlink, kind, counts(name, "null"), purpose,
                last_columns(path))

    def _last_columns(self) -> "Callable[[str], str]":
        """A function from a path to expires and duplicate, which few files have."""
        expires, groups = self.expires, self.duplicates
        if not expires and not groups:
            return lambda path: "null,null"
        folders = tuple(path + "/" for path in expires)

        def columns(path: str) -> str:
            at = expires.get(path)
            if at is None and path.startswith(folders):
                # The nearest folder counts, as in Registry.nearest.
                above = [folder for folder in expires if path.startswith(folder + "/")]
                at = expires[max(above, key=len)]
            expiry = "null" if at is None else '"%s"' % sc.iso(at)
            group = quoted(groups[path]) if path in groups else "null"
            return expiry + "," + group
        return columns

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
    inventory = Inventory(root, args.references, args.min_duplicate, args.cache).take()
    inventory.write(output)
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
