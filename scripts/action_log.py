"""What a clean-up writes down: the log of all actions, and for each run what undoes it."""

import json
import os
import stat
from typing import Any, Dict, List, Sequence, Tuple

from clock_witness import is_sum
from common import RefusedError, check_format, read_own, sc
from folders import is_facts
from tree import ACTIONS_NAME, Root, relative_path

LOG_FORMAT = 2  # the second has folders that go as one
MANIFEST_SUFFIX = ".manifest"


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

    def write(self, entries: "Sequence[Dict[str, Any]]", at: str, durable: bool = False) -> None:
        """Append entries with their time.

        Raises StorageError; then nothing that they announce may happen.
        """
        encode = json.JSONEncoder().encode
        lines = [encode(dict(entry, at=at, format=LOG_FORMAT)) + "\n" for entry in entries]
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
            check_format(ACTIONS_NAME, entry.get("format"), LOG_FORMAT)
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


# -- what a run needs to be undone

class Manifest:
    """`RUN_ID.manifest` beside a run: JSON lines about its folders, written before they change.

    `folders`: what the folders of its files looked like, by path; `whole`: {files, size, contents}
    of folders that went as one; `empty`: folders that it left empty, and removed. `taken_at` is the
    witness's sum when the run began (see clock_witness), None if unknown. A line that is damaged,
    of a later version, or of a path that leads out of the root says nothing.
    """

    def __init__(self, quarantine: int, run_id: str) -> None:
        self.name = run_id + MANIFEST_SUFFIX
        self._folder = quarantine
        self.folders: "Dict[str, Dict[str, Any]]" = {}
        self.whole: "Dict[str, Dict[str, Any]]" = {}
        self.empty: "Dict[str, Dict[str, Any]]" = {}
        self.taken_at: "float | None" = None
        for line in self._lines():
            self._take_in(line)

    def _lines(self) -> "List[Dict[str, Any]]":
        """Raises StorageError when it is there and cannot be read."""
        try:
            fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                         dir_fd=self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise sc.StorageError.of("read", self.name, error)
        with open(fd, "rb") as handle:
            return [_entry(line) for line in handle.read().split(b"\n")]

    def _take_in(self, line: "Dict[str, Any]") -> None:
        for kind, places in (("folder", self.folders), ("empty", self.empty),
                             ("whole", self.whole)):
            path = line.get(kind)
            if not isinstance(path, str):
                continue
            try:
                relative_path(path, self.name)
            except RefusedError:
                continue
            sizes = [line.get("files"), line.get("size")]
            if is_facts(line) or kind == "whole" and all(type(size) is int for size in sizes):
                places[path] = line
        if is_sum(line.get("taken_at")):
            self.taken_at = line["taken_at"]

    def add(self, lines: "Sequence[Dict[str, Any]]") -> None:
        """Append lines, flushed to disk. Raises StorageError."""
        # It begins a line of its own, in case a crash cut the last one short.
        text = "".join("\n" + json.dumps(line) for line in lines).encode("ascii") + b"\n"
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self.name, flags, 0o600, dir_fd=self._folder)
            try:
                sc.write_all(fd, text)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise sc.StorageError.of("append to", self.name, error)
        for line in lines:
            self._take_in(line)
