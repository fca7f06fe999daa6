"""Folders as a clean-up meets them: their borders, what is in them, and what they look like.

All of it is by descriptors and through no link. Nothing here removes or moves anything.
"""

import base64
import errno
import os
import re
import stat
from typing import AbstractSet, Any, Callable, Dict, Iterator, List, Tuple

from common import sc
from tree import OPEN_FOLDER, is_repository, native_path, stored_path

DEEPEST = 200  # folders below each other; each holds a descriptor
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# Programs expect these to be there, empty or not.
EXPECTED = re.compile(
    r"(?i)(?:logs?|te?mp|caches?|run|spool|queue|uploads?|downloads?|data|media|static|sessions?|"
    r"backups?|archives?|exports?|imports?|inbox|outbox|new|cur|public|storage|var|in|out|"
    r"incoming|outgoing|pending|process(?:ing|ed)|failed|done|jobs?|work|tasks?|mail|sent|drops?|"
    r"shared?|state|lib|etc|home|mnt|media|plugins?|hooks|certs?|keys?|secrets?)\Z")


def file_id(status: "os.stat_result") -> "Tuple[int, int]":
    """(device, inode): the identity of a file, whatever its name."""
    return status.st_dev, status.st_ino


class NotEnteredError(OSError):
    """A folder that must be left alone, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, reason)


# -- what is in a folder

class Contents(sc.Value):
    """All that is in a folder: a line for each file (see `contents_digest`), number and bytes.

    `objection` says why the folder must be left alone as a whole, '' if nothing in it does.
    """

    lines: "List[str]" = []
    files: int = 0
    size: int = 0
    objection: str = ""


def contents_of(fd: int, path: str, border: "Callable[[int], None]",
                held_open: "AbstractSet[Tuple[int, int]]",
                in_use: "Callable[[int], str]") -> Contents:
    """What is in the folder of a descriptor, whose path as stored is `path`.

    `border` raises OSError for a folder that must not be entered. A file or folder of `held_open`,
    and a file of which `in_use` says something, are an objection. Raises OSError.
    """
    lines: "List[str]" = []
    size = 0
    for name, status, folder in _walk(os.dup(fd), path, border, 0):
        if file_id(status) in held_open:
            return Contents(objection="a process uses %s" % name)
        if stat.S_ISDIR(status.st_mode):
            continue
        if stat.S_ISREG(status.st_mode):
            why = _used(name, folder, in_use)
            if why:
                return Contents(objection=why)
        elif not stat.S_ISLNK(status.st_mode):
            return Contents(objection="%s in it is no regular file" % name)
        lines.append("%s\0%d,%d,%d,%d,%d,%d" % (
            name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
            status.st_mode, status.st_nlink))
        size += status.st_size
    return Contents(lines=lines, files=len(lines), size=size)


def _used(name: str, folder: int, in_use: "Callable[[int], str]") -> str:
    """Why a process may still need a file, '' if none seems to."""
    fd = os.open(os.path.basename(native_path(name)), OPEN_FILE, dir_fd=folder)
    try:
        why = in_use(fd)
    finally:
        os.close(fd)
    return "%s: %s" % (name, why) if why else ""


def _walk(fd: int, path: str, border: "Callable[[int], None]",
          depth: int) -> "Iterator[Tuple[str, os.stat_result, int]]":
    """(stored path, status, descriptor of its folder) of everything; closes the descriptor."""
    try:
        if depth > DEEPEST:
            raise NotEnteredError("it is more than %d folders deep" % DEEPEST)
        border(fd)
        for native in sorted(os.listdir(fd)):
            status = os.stat(native, dir_fd=fd, follow_symlinks=False)
            name = path + "/" + stored_path(native)
            yield name, status, fd
            if stat.S_ISDIR(status.st_mode):
                deeper = os.open(native, OPEN_FOLDER, dir_fd=fd)
                for item in _walk(deeper, name, border, depth + 1):
                    yield item
    finally:
        os.close(fd)


def has(fd: int) -> "Callable[[str], bool]":
    """Whether the folder of a descriptor holds a name, as `tree.is_repository` asks it."""
    def holds(name: str) -> bool:
        try:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True
    return holds


def refuse_repository(fd: int) -> None:
    """Raises NotEnteredError for a folder that is a repository of its own."""
    if is_repository(has(fd)):
        raise NotEnteredError("it is a repository of its own")


# -- what a folder looks like

XATTRS = re.compile(r"(?:system\.posix_acl_(?:access|default)|user\..+)\Z")


def facts_of(fd: int) -> "Dict[str, Any]":
    """Owner, group, mode, times, ACLs and user attributes of a folder. Raises OSError."""
    status = os.fstat(fd)
    facts: "Dict[str, Any]" = {
        "uid": status.st_uid, "gid": status.st_gid, "mode": stat.S_IMODE(status.st_mode),
        "atime_ns": status.st_atime_ns, "mtime_ns": status.st_mtime_ns}
    attributes = _attributes(fd)
    if attributes:
        facts["xattrs"] = attributes
    return facts


def _attributes(fd: int) -> "Dict[str, str]":
    if not hasattr(os, "listxattr"):
        return {}  # ACLs are extended attributes on Linux alone
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return {}  # a file system without them
        raise
    return {name: base64.b64encode(os.getxattr(fd, name)).decode("ascii")
            for name in names if XATTRS.match(name)}


def is_facts(value: "Any") -> bool:
    """Whether a value can be the facts of a folder."""
    return (isinstance(value, dict)
            and all(type(value.get(key)) is int and 0 <= value[key] < 1 << 32
                    for key in ("uid", "gid", "mode"))
            and all(type(value.get(key)) is int for key in ("atime_ns", "mtime_ns"))
            and isinstance(value.get("xattrs", {}), dict)
            and all(isinstance(text, str) for text in value.get("xattrs", {}).values()))


def give_back(fd: int, facts: "Dict[str, Any]") -> "List[str]":
    """Give a folder that was just made its owner, group, ACLs, mode; what could not be given.

    The times are for `give_times`, once everything is in the folder.
    """
    steps: "List[Tuple[str, Callable[[], None]]]" = []
    status = os.fstat(fd)
    if (status.st_uid, status.st_gid) != (facts["uid"], facts["gid"]):
        steps.append(("owner %d:%d" % (facts["uid"], facts["gid"]),
                      lambda: os.fchown(fd, facts["uid"], facts["gid"])))
    for name, value in sorted(facts.get("xattrs", {}).items()):
        def set_attribute(name: str = name, value: str = value) -> None:
            os.setxattr(fd, name, base64.b64decode(value))
        steps.append(("ACL" if "acl" in name else "attribute %s" % name, set_attribute))
    # After the owner, as fchown(2) clears bits of the mode; without set-id bits for another owner.
    steps.append(("mode %04o" % facts["mode"], lambda: os.fchmod(fd, _mode_for(fd, facts))))
    missing = []
    for what, step in steps:
        try:
            step()
        except (OSError, ValueError, TypeError, AttributeError):
            missing.append(what)
    return missing


def _mode_for(fd: int, facts: "Dict[str, Any]") -> int:
    status = os.fstat(fd)
    mode = int(facts["mode"]) & 0o7777
    if (status.st_uid, status.st_gid) != (facts["uid"], facts["gid"]):
        mode &= 0o1777
    return mode


def give_times(fd: int, facts: "Dict[str, Any]") -> "List[str]":
    """Give a folder its times; what could not be given."""
    try:
        os.utime(fd, ns=(facts["atime_ns"], facts["mtime_ns"]))
    except (OSError, OverflowError):
        return ["times"]
    return []
