#!/usr/bin/env python3
"""Attack the clean-up: hostile writers, kills, injected errors and a real git.

    python3 tests/hostile.py [--removals N] [--restores [N]] [--moments] [--kills] [--errors]
                             [--git [TRIALS]] [--seed N]

Without an option, 97,334 removals under attack. The kinds of adversity:

  --removals   Processes watch which file or folder is next and put something else in its way: other
               files, links, folders and FIFOs, whole trees swapped for others in one system call,
               writes through descriptors that were opened before. Whatever they put there is
               precious. Then all is restored.
  --restores   An ordinary user swaps the folders that root's restore makes for links to root's
               files and for folders of his own (takes root).
  --moments    The same attacks, one at a time, ahead of each call of a removal and of a restore.
  --kills      kill -9 at each system call that changes something: in a removal, a recovery, a
               restore and a purge, of files and of folders (takes strace).
  --errors     One error at each call of the os module that may meet it, and a disk that is full
               from there on.
  --git        `git add` of thousands of files while some of them are moved.

The tests run a sample of each. The exit code is 1 when something was lost or altered, when the
wrong thing was removed, or when what was removed did not come back as it was; 2 when strace is
missing.
"""

import argparse
import collections
import contextlib
import ctypes
import errno
import functools
import json
import mmap
import os
import pathlib
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback

from support import (
    PAUSE,
    SCRIPT,
    SCRIPTS,
    Project,
    git,
    kill_points,
    looked_on,
    recording,
    strace_works,
    was_killed,
)

import quarantine as quarantine_module
import symphony_conductor as sc
import tree as tree_module
from quarantine import Candidate, contents_digest
from tree import Git, GitGuard, Root, native_path, stored_path

ROOT = os.geteuid() == 0
NOW = sc.from_iso("2035-06-15T12:00:00Z")
OLD_NS = 1500000000 * 10 ** 9 + 123456789
ORDINARY_USER, OTHER_USER = 65534, 65533
QUARANTINE, LOG = ".cleanup_quarantine", "cleanup_actions.log"


# -- helpers

class Quarantine(quarantine_module.Quarantine):
    """With a boot's clock that agrees with the time that is passed."""

    def __init__(self, root, now, execute=True, boot=None):
        super().__init__(root, now, execute, boot or ("one boot", float(now)))


class Tree:
    """A root folder, the plans made for it, and what lies in its quarantine."""

    def __init__(self, folder):
        project = Project(folder)
        project.configure()
        self.path = str(project.root)
        self.root = Root(self.path)

    def at(self, name):
        return self.root.join(name)

    def put(self, name, content=b"junk\n", mode=0o644):
        """Write an old file; its name."""
        path = self.at(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as handle:
            handle.write(content)
        os.chmod(path, mode)
        os.utime(path, ns=(OLD_NS, OLD_NS))
        return name

    def content(self, name):
        with open(self.at(name), "rb") as handle:
            return handle.read()

    def plan(self, *names):
        return [candidate(self.root, name) for name in names]

    def work(self, plan, guards=(), limit=1000, execute=True, now=NOW):
        with Quarantine(self.root, now, execute) as quarantine:
            return list(quarantine.remove(plan, list(guards), limit))

    def remove(self, *names, **more):
        return self.work(self.plan(*names), **more)

    def restore(self, target, now=NOW):
        with Quarantine(self.root, now) as quarantine:
            return quarantine.restore(target)

    def runs(self):
        with Quarantine(self.root, NOW) as quarantine:
            return quarantine.runs()

    def entries(self):
        """The log; every line of it has to be JSON."""
        with open(self.at(LOG), "rb") as handle:
            return [json.loads(line.decode("ascii")) for line in handle.read().splitlines()]

    def append(self, *lines):
        with open(self.at(LOG), "ab") as handle:
            for line in lines:
                if not isinstance(line, bytes):
                    line = json.dumps(line).encode("ascii") + b"\n"
                handle.write(line)

    def held(self):
        """{(run, path): content} of everything in quarantine."""
        found = {}
        top = self.at(QUARANTINE)
        for folder, _, names in os.walk(top):
            run, _, below = os.path.relpath(folder, top).partition("/")
            for name in names if run != "." else ():
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    with open(path, "rb") as handle:
                        found[run, stored_path(os.path.join(below, name))] = handle.read()
        return found


def candidate(root, path, **more):
    seen = os.lstat(root.join(path))
    return Candidate(path=path, size=seen.st_size, mtime_ns=seen.st_mtime_ns,
                     ctime_ns=seen.st_ctime_ns, dev=seen.st_dev, ino=seen.st_ino,
                     mode=seen.st_mode, rule="temp", reason="old", **more)


def outcomes(removals):
    return {removal.path: removal.outcome for removal in removals}


def reasons(removals):
    return {removal.path: removal.reason for removal in removals}


def snapshot(folder):
    """Everything that tells one state of a tree from another, access times apart."""
    found = {}
    for place, folders, names in os.walk(os.fsencode(str(folder))):
        for name in folders + names + [b"."]:
            path = os.path.join(place, name)
            seen = os.lstat(path)
            content = None
            if stat.S_ISREG(seen.st_mode):
                with open(path, "rb") as handle:
                    content = handle.read()
            elif stat.S_ISLNK(seen.st_mode):
                content = os.readlink(path)
            found[path] = (seen.st_mode, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns,
                           seen.st_nlink, content)
    return found


def identity(path):
    """What a file keeps through quarantine and back."""
    seen = os.lstat(path)
    with open(path, "rb") as handle:
        return seen.st_ino, seen.st_mode, seen.st_mtime_ns, seen.st_uid, handle.read()


def in_child(work):
    """Do it in a process of its own, so that nothing of it stays; an error there is one here."""
    start_child(work)()


def start_child(work):
    """Begin it in a process of its own; what waits for its end and raises what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode("utf-8", "replace")[-60000:])
        finally:
            os._exit(code)
    os.close(writer)

    def join():
        with os.fdopen(reader, "rb") as handle:
            said = handle.read().decode("utf-8", "replace")
        assert os.waitpid(pid, 0)[1] == 0, said

    return join


def start_as_user(uid, work):
    """The same as another user."""
    def lower():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.environ["HOME"] = "/nonexistent"
        work()
    return start_child(lower)


def as_user(uid, work):
    start_as_user(uid, work)()


def folder_lines(top, path):
    """What is in a folder, as `contents_digest` takes it, if it were at `path`."""
    lines = []
    for place, folders, names in os.walk(top):
        below = stored_path(os.path.relpath(place, top))
        for name in names + [name for name in folders
                             if os.path.islink(os.path.join(place, name))]:
            seen = os.lstat(os.path.join(place, name))
            parts = [path] + ([] if below == "." else [below]) + [stored_path(name)]
            lines.append("%s\0%d,%d,%d,%d,%d,%d" % (
                "/".join(parts), seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns,
                seen.st_mode, seen.st_nlink))
    return lines


def folder_candidate(root, path):
    """A folder that goes as one, as an inventory would describe it now."""
    lines = folder_lines(root.join(path), path)
    facts = [[int(number) for number in line.split("\0")[1].split(",")] for line in lines]
    return Candidate(path=path, files=len(lines), contents=contents_digest(lines),
                     size=sum(fact[1] for fact in facts), mtime_ns=max(fact[2] for fact in facts),
                     ctime_ns=max(fact[3] for fact in facts), dev=root.dev, rule="cache",
                     reason="old", generated=True)


# -- hostile writers against a removal

ROUND = 500
HITS = 50  # of the writers, at the least
# By the remainder of its number by 16: what an item is, and what is attacked.
KINDS = "gghccc" + "d" * 10
IN_SWAPPED_FOLDERS = "gh"  # the folder above moves; in the others, the file or folder itself
FOLDERS = "hc"             # go as one
# What the writers are told: an item was looked at; it is renamed now; a folder is empty and goes.
STAGES = LOOKED, RENAMING, EMPTYING = range(3)
CHANCES = {LOOKED: 0.04, RENAMING: 0.5, EMPTYING: 0.5}
OVER, RESTING = -1, -2  # the other things that they are told
RENAME_EXCHANGE = 2
AT_FDCWD = -100


def kind_of(number):
    return KINDS[number % len(KINDS)]


def parent_path(number, depth=1):
    path = "%s%d-%d" % (kind_of(number), number % len(KINDS), number // ROUND)
    return path + "/in" if depth else path


def item_path(number):
    ending = "cache" if kind_of(number) in FOLDERS else "tmp"
    return "%s/f%06d.%s" % (parent_path(number), number, ending)


def number_of(path):
    return int(re.search(r"/f(\d{6})\.", path).group(1))


SWAP = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def exchange(one, other):
    """Swap two names, whatever they are; in one system call where there is one."""
    if SWAP is not None:
        if SWAP(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code))
    away = other + ".away"
    os.rename(one, away)
    os.rename(other, one)
    os.rename(away, other)


class Writer:
    """A process that watches which item is next, and puts something else in its way.

    What it puts there is precious: each piece has a content of its own, written down in its diary.
    No item is attacked twice, or one attack would alter what another has put there.
    """

    def __init__(self, folder, root, shared, me, seed):
        self.outside, self.root = os.path.join(folder, "outside"), root
        self.shared, self.me = shared, me
        self.diary_path = os.path.join(folder, "diary%d" % me)
        self.random = random.Random("%d %d" % (seed, me))
        self.diary, self.count, self.ready, self.late = [], 0, {}, []
        self.attacks, self.attacked, self.bags = collections.Counter(), set(), {}

    def start(self):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._work()
                with open(self.diary_path, "w") as handle:
                    json.dump([self.diary, self.attacks], handle)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)

    def finish(self):
        """Wait for its end; what it has written down: its diary, its attacks by kind."""
        os.waitpid(self.pid, 0)
        with open(self.diary_path) as handle:
            return json.load(handle)

    def _work(self):
        by_kind = {
            "d": (self.over, self.in_place, self.link, self.hard_link, self.folder, self.fifo,
                  self.twice, self.late_write),
            "c": (self.other_folder, self.folder_for_link, self.folder_for_file,
                  self.folder_for_fifo, self.add_member, self.replace_member, self.grow_member,
                  self.hard_link_member, self.swap_inner, self.make_repository, self.add_by_fd,
                  self.grow_by_fd, self.late_by_fd, self.late_by_cwd, self.late_member),
            "g": (self.by_symlink, self.by_folder, self.out_of_the_tree, self.inner)}
        by_kind["h"] = by_kind["g"]
        for name in ("over", "link", "folder", "fifo"):
            self._reload(name)
        last = 0
        while True:
            value = struct.unpack_from("q", self.shared)[0]
            if value == OVER:
                break
            if value == RESTING:
                time.sleep(0.001)  # it would take the time of who makes the next round
            if value in (RESTING, last):
                continue
            last = value
            self._write_late(4)
            number, stage = divmod(value // 2, len(STAGES))
            if self.random.random() > CHANCES[stage]:
                continue
            if (kind_of(number) in IN_SWAPPED_FOLDERS) != (self.me == 1):
                continue
            if stage == EMPTYING:
                self._attack("empty", (self.into_empty, self.link_for_empty, self.full_for_empty),
                             os.path.join(self.root, parent_path(number, value % 2)))
            elif number not in self.attacked:
                self.attacked.add(number)
                self._attack(kind_of(number), by_kind[kind_of(number)],
                             os.path.join(self.root, item_path(number)))
        self._write_late(0)

    def _attack(self, kind, attacks, path):
        """The next of these, of which each has its turn, in an order of chance."""
        bag = self.bags.setdefault(kind, [])
        if not bag:
            bag.extend(attacks)
            self.random.shuffle(bag)
        attack = bag.pop()
        try:
            attack(path)
            self.attacks[attack.__name__] += 1
        except OSError:
            pass  # too late: it has gone

    # what is precious

    def _text(self):
        self.count += 1
        return "precious %d-%d\n" % (self.me, self.count)

    def _write(self, fd, before=""):
        text = self._text()
        self.diary.append(["file", before + text])
        os.write(fd, text.encode("ascii"))
        os.close(fd)

    def _precious(self, path, dir_fd=None):
        if dir_fd is None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        self._write(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=dir_fd))
        return path

    def _spare(self):
        self.count += 1
        return os.path.join(self.outside, "spare%d-%d" % (self.me, self.count))

    def _reload(self, name):
        """Make what an attack throws beforehand, so that the attack itself is one system call."""
        path = self.ready[name] = self._spare()
        if name == "over":
            self._precious(path)
        elif name == "link":
            target = self._precious(self._spare())
            os.symlink(target, path)
            self.diary.append(["link", target])
        elif name == "folder":
            self._precious(os.path.join(path, "within"))
        elif name == "fifo":
            os.mkfifo(path)
            self.diary.append(["fifo", os.lstat(path).st_ino])

    def _throw(self, name, path):
        os.rename(self.ready[name], path)
        self._reload(name)

    def _swap_in(self, name, path):
        exchange(path, self.ready[name])
        self._reload(name)

    @staticmethod
    def _wait_until_gone(path):
        for _ in range(400):
            if not os.path.lexists(path):
                return

    def _write_late(self, keep):
        """Write through descriptors that were opened a while ago."""
        while len(self.late) > keep:
            fd, act = self.late.pop(0)
            act(fd)

    # files

    def over(self, path):
        self._throw("over", path)

    def link(self, path):
        self._throw("link", path)

    def fifo(self, path):
        self._throw("fifo", path)

    def folder(self, path):
        self._swap_in("folder", path)

    def in_place(self, path):
        self._write(os.open(path, os.O_WRONLY | os.O_TRUNC))

    def hard_link(self, path):
        os.link(path, self._spare())

    def twice(self, path):
        """Another file, and then, when that one was taken, a third in its place."""
        self._throw("over", path)
        for _ in range(400):
            with contextlib.suppress(FileExistsError):
                return self._precious(path)

    def late_write(self, path):
        before = "junk %d\n" % number_of(path)
        self.late.append((os.open(path, os.O_WRONLY | os.O_APPEND),
                          lambda fd: self._write(fd, before)))

    # folders that go as one

    def other_folder(self, path):
        self._swap_in("folder", path)

    def folder_for_link(self, path):
        self._swap_in("link", path)

    def folder_for_file(self, path):
        self._swap_in("over", path)

    def folder_for_fifo(self, path):
        self._swap_in("fifo", path)

    def add_member(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._add_by(fd)

    def _add_by(self, fd):
        try:
            self._precious("added", dir_fd=fd)
        finally:
            os.close(fd)

    def replace_member(self, path):
        os.stat(path)
        self._throw("over", os.path.join(path, "a.pyc"))

    def grow_member(self, path):
        self._write(os.open(os.path.join(path, "sub", "b.pyc"), os.O_WRONLY | os.O_APPEND),
                    "junk %d\n" % number_of(path))

    def hard_link_member(self, path):
        os.link(os.path.join(path, "a.pyc"), self._spare())

    def swap_inner(self, path):
        self._swap_in("folder", os.path.join(path, "sub"))

    def make_repository(self, path):
        os.mkdir(os.path.join(path, ".git"))
        self._precious(os.path.join(path, ".git", "HEAD"))

    def add_by_fd(self, path):
        """Through a descriptor of the folder, as soon as it has gone from its place."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._wait_until_gone(path)
        self._add_by(fd)

    def grow_by_fd(self, path):
        fd = os.open(os.path.join(path, "sub", "b.pyc"), os.O_WRONLY | os.O_APPEND)
        self._wait_until_gone(path)
        self._write(fd, "junk %d\n" % number_of(path))

    def late_by_fd(self, path):
        self.late.append((os.open(path, os.O_RDONLY | os.O_DIRECTORY), self._add_by))

    def late_by_cwd(self, path):
        def act(_):
            try:
                self._add_by(os.open(".", os.O_RDONLY | os.O_DIRECTORY))
            finally:
                os.chdir("/")

        self._write_late(0)  # it can be in one folder only
        os.chdir(path)
        self.late.append((-1, act))

    def late_member(self, path):
        before = "junk %d\n" % number_of(path)
        fd = os.open(os.path.join(path, "sub", "b.pyc"), os.O_WRONLY | os.O_APPEND)
        self.late.append((fd, lambda fd: self._write(fd, before)))

    # folders above: away for a moment, with something else in their place

    def _swap(self, folder, put, take):
        away = self._spare()
        decoy = os.path.join(self.outside, "decoy", os.path.relpath(folder, self.root))
        os.rename(folder, away)
        put(decoy, folder)
        os.listdir(folder)
        take(folder, decoy)
        os.rename(away, folder)

    def by_symlink(self, path):
        self._swap(os.path.dirname(os.path.dirname(path)), os.symlink,
                   lambda link, _: os.unlink(link))

    def by_folder(self, path):
        self._swap(os.path.dirname(os.path.dirname(path)), os.rename, os.rename)

    def inner(self, path):
        self._swap(os.path.dirname(path), os.rename, os.rename)

    def out_of_the_tree(self, path):
        folder, away = os.path.dirname(os.path.dirname(path)), self._spare()
        os.rename(folder, away)
        os.listdir(away)
        os.rename(away, folder)

    # folders that were left empty

    def into_empty(self, path):
        os.stat(path)
        self._precious(os.path.join(path, "new"))

    def link_for_empty(self, path):
        os.rmdir(path)
        self._throw("link", path)

    def full_for_empty(self, path):
        self._swap_in("folder", path)


def found_below(*tops):
    """What a diary can be compared with, outside of the quarantine, each with its path.

    The contents of files, the targets of links, the inodes of FIFOs.
    """
    found = {}
    for top in tops:
        for folder, folders, names in os.walk(top):
            if QUARANTINE in folders:
                folders.remove(QUARANTINE)
            for name in folders + names:
                path = os.path.join(folder, name)
                seen = os.lstat(path)
                if stat.S_ISLNK(seen.st_mode):
                    found["link", os.readlink(path)] = path
                elif stat.S_ISFIFO(seen.st_mode):
                    found["fifo", seen.st_ino] = path
                elif stat.S_ISREG(seen.st_mode):
                    with open(path, "r") as handle:
                        found["file", handle.read()] = path
    return found


class Torture:
    """Rounds of removals under the writers, what came of them, and the restore of all."""

    def __init__(self, folder, seed):
        self.folder, self.seed = str(folder), seed
        self.outside = os.path.join(self.folder, "outside")
        os.makedirs(os.path.join(self.outside, "decoy"))
        self.tree = Tree(os.path.join(self.folder, "tree"))
        self.shared = mmap.mmap(-1, 8)
        self.planned, self.results, self.diary = {}, [], []
        self.attacks = collections.Counter()
        self.empty = set()
        self.told = 0

    def run(self, removals, hits=HITS):
        """Removals until there were so many, and the writers hit so often."""
        writers = [Writer(self.folder, self.tree.path, self.shared, me, self.seed)
                   for me in (0, 1)]
        for writer in writers:
            writer.start()
        try:
            # On a busy machine the writers get fewer turns: then there are more rounds.
            for first in range(0, 4 * removals, ROUND):
                if len(self.removed()) >= removals and len(self.put_back()) >= hits:
                    break
                self._round(range(first, first + ROUND))
        finally:
            struct.pack_into("q", self.shared, 0, OVER)
            for writer in writers:
                diary, attacks = writer.finish()
                self.diary += [(kind, key) for kind, key in diary]
                self.attacks.update(attacks)

    def plan_for(self, numbers):
        """Put the items of these numbers into the tree; a plan for them."""
        plan = []
        for number in numbers:
            content = b"junk %d\n" % number
            path = item_path(number)
            if kind_of(number) in IN_SWAPPED_FOLDERS:
                self._put_decoy(path)
            if kind_of(number) in FOLDERS:
                self.tree.put(path + "/a.pyc", content)
                self.tree.put(path + "/sub/b.pyc", content)
                os.symlink("a.pyc", self.tree.at(path + "/link"))
                plan.append(folder_candidate(self.tree.root, path))
            else:
                plan += self.tree.plan(self.tree.put(path, content))
        self.planned.update((item.path, item) for item in plan)
        return plan

    def _round(self, numbers):
        struct.pack_into("q", self.shared, 0, RESTING)
        plan, seen = self.plan_for(numbers), set()

        def announce(path):
            if "/f" in path:  # the second time it is asked right before the rename
                self._tell(number_of(path), RENAMING if path in seen else LOOKED)
                seen.add(path)
            else:
                kind, turn = re.match(r"[a-z](\d+)-(\d+)", path).groups()
                first = int(turn) * ROUND
                number = first + (int(kind) - first) % len(KINDS)
                self._tell(number, EMPTYING, "/" in path)
            return ""

        self.results += self.tree.work(plan, guards=[announce], limit=ROUND)

    def _tell(self, number, stage, depth=0):
        struct.pack_into("q", self.shared, 0, (number * len(STAGES) + stage) * 2 + depth)

    def _put_decoy(self, path):
        text = "precious decoy %d\n" % number_of(path)
        place = os.path.join(self.outside, "decoy", path)
        if kind_of(number_of(path)) in FOLDERS:
            place = os.path.join(place, "sub", "b.pyc")
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w") as handle:
            handle.write(text)
        self.diary.append(("file", text))

    def removed(self):
        return [removal for removal in self.results if removal.outcome == "removed"]

    def put_back(self):
        return [removal for removal in self.results if removal.reason.endswith("it was put back")]

    def kept(self):
        return [removal for removal in self.results if "so it is kept" in removal.reason]

    def _is_planned(self, path, item):
        """Whether a path has what was planned, as it was."""
        if item.files:
            return contents_digest(folder_lines(path, item.path)) == item.contents
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False  # a FIFO would keep us waiting
        seen = os.lstat(path)
        with open(path, "rb") as handle:
            content = handle.read()
        return (content == b"junk %d\n" % number_of(item.path)
                and (seen.st_ino, seen.st_mtime_ns, seen.st_mode, seen.st_nlink)
                == (item.ino, item.mtime_ns, item.mode, 1))

    def wrong(self):
        """What is in quarantine for good and is not what was planned."""
        done = {entry["path"]: entry["run"] for entry in self.tree.entries()
                if entry["event"] == "done"}
        assert set(done) == {removal.path for removal in self.removed()}
        return [path for path, run in done.items() if not self._is_planned(
            self.tree.at("%s/%s/%s" % (QUARANTINE, run, path)), self.planned[path])]

    def lost(self):
        """What the writers put somewhere, and that is neither there nor where the log says."""
        alive = found_below(self.tree.path, self.outside)
        top = self.tree.at(QUARANTINE)
        held = {key: path for run in os.listdir(top)
                for key, path in found_below(os.path.join(top, run)).items()}
        told = {(entry["run"], entry["path"]): entry["reason"] for entry in self.tree.entries()
                if entry["event"] == "failed"}
        lost = []
        for key in self.diary:
            if key in alive:
                continue
            place = os.path.relpath(held.get(key, top), top)
            match = re.match(r"kept/([^/]+)/(.+?/f\d{6}\.\w+)", place)
            why = told.get(match.groups(), "") if match else ""
            if not match or "kept: %s/%s" % (QUARANTINE, match.group(0)) not in why:
                lost.append((key, held.get(key), why))
        return lost

    def restore(self):
        """Restore all: (restored, of those not as planned, not restored, of those not in place)."""
        restored, altered, stayed, missing = 0, [], 0, []
        with Quarantine(self.tree.root, NOW) as quarantine:
            results = [(run.run_id, removal) for run in quarantine.runs()
                       for removal in quarantine.restore(run.run_id)]
        for run_id, removal in results:
            if removal.path not in self.planned:
                continue  # a folder that was left empty
            item, place = self.planned[removal.path], self.tree.at(removal.path)
            if removal.outcome == "restored":
                restored += 1
                if not self._is_planned(place, item):
                    altered.append(removal)
                continue
            stayed += 1  # the writers left something in its place
            held = self.tree.at("%s/%s/%s" % (QUARANTINE, run_id, removal.path))
            if not os.path.lexists(held) or not self._is_planned(held, item):
                missing.append(removal)
        return restored, altered, stayed, missing


# -- an ordinary user against a restore by root

class RestoreTorture:
    """Root restores into folders of an ordinary user, who swaps what root makes there.

    The victims are a file and a folder of root's, which a restore that follows a link would give
    away. `folder` must be one that all users can reach.
    """

    PLANTS = ("link_to_file", "link_to_folder", "link_into_folder", "other_folder", "file", "fifo",
              "back", "gone")

    def __init__(self, folder, number, seed):
        self.folder, self.number, self.random = str(folder), number, random.Random(seed)
        self.tree = Tree(os.path.join(self.folder, "tree"))
        os.chmod(self.tree.path, 0o755)
        self.shared = mmap.mmap(-1, 8 * (2 + len(self.PLANTS)))
        self._put_victims()
        self.paths = [self._put(number) for number in range(number)]
        for place, folders, names in os.walk(self.tree.at("up")):
            for name in folders + names + ["."]:
                os.chown(os.path.join(place, name), ORDINARY_USER, ORDINARY_USER,
                         follow_symlinks=False)
        self.plan = [(folder_candidate if path.endswith("cache") else candidate)(
            self.tree.root, path) for path in self.paths]
        self.tree.put("up/mine")  # so that this folder is not left empty

    def _put_victims(self):
        self.victims = [os.path.join(self.folder, name) for name in ("secret", "private")]
        with open(self.victims[0], "w") as handle:
            handle.write("secret")
        os.chmod(self.victims[0], 0o600)
        os.mkdir(self.victims[1], 0o700)
        os.mkdir(os.path.join(self.victims[1], "within"), 0o700)
        self.before = [snapshot(self.folder + "/private"), os.lstat(self.victims[0]).st_ctime_ns,
                       self._victim()]

    def _victim(self):
        seen = os.lstat(self.victims[0])
        with open(self.victims[0]) as handle:
            return seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns, handle.read()

    def _put(self, number):
        path = "up/s%04d/f%06d." % (number, number)
        if number % 4:
            self.tree.put(path + "tmp", b"junk %d\n" % number)
            os.chmod(self.tree.at("up/s%04d" % number), 0o777)
            return path + "tmp"
        self.tree.put(path + "cache/a.pyc", b"junk %d\n" % number)
        self.tree.put(path + "cache/sub/b.pyc", b"junk %d\n" % number)
        return path + "cache"

    def run(self):
        """Remove all, and restore it under the attacks: what the restore said."""
        assert set(outcomes(self.tree.work(self.plan, limit=self.number)).values()) == {"removed"}
        self.run_id = self.tree.runs()[0].run_id
        join = start_as_user(ORDINARY_USER, self._attack)
        try:
            self.results = self.tree.restore(self.run_id)
        finally:
            struct.pack_into("q", self.shared, 0, 1)
            join()
        counts = struct.unpack_from("%dq" % len(self.PLANTS), self.shared, 16)
        self.attacks = collections.Counter(dict(zip(self.PLANTS, counts)))

    def _attack(self):
        """Watch for each folder in turn; what takes its place was made beforehand."""
        os.chdir(self.tree.at("up"))
        kinds = [self.random.randrange(len(self.PLANTS)) for _ in range(self.number)]
        for number, kind in enumerate(kinds):
            self._prepare(self.PLANTS[kind], "plant%04d" % number)
        for number, kind in enumerate(kinds):
            name, plant = "s%04d" % number, "plant%04d" % number
            delay = self.random.choice((0, 0, 0, 1, 3, 10, 30))
            while delay and not os.path.lexists(name) and not self._is_over():
                pass
            for _ in range(delay):
                os.path.lexists(name)
            while not self._strike(self.PLANTS[kind], name, plant):
                if self._is_over():
                    return
            offset = 16 + 8 * kind
            count, = struct.unpack_from("q", self.shared, offset)
            struct.pack_into("q", self.shared, offset, count + 1)

    def _is_over(self):
        return struct.unpack_from("q", self.shared)[0] != 0

    def _prepare(self, kind, plant):
        if kind == "link_to_file":
            os.symlink(self.victims[0], plant)
        elif kind == "link_to_folder":
            os.symlink(self.victims[1], plant)
        elif kind == "link_into_folder":
            os.symlink(self.victims[1] + "/within", plant)
        elif kind == "file":
            with open(plant, "w") as handle:
                handle.write(plant)
        elif kind == "fifo":
            os.mkfifo(plant)
        elif kind == "other_folder":
            os.mkdir(plant, 0o751)
            with open(plant + "/precious", "w") as handle:
                handle.write(os.path.basename(plant))
            os.chmod(plant, 0o751)

    @staticmethod
    def _strike(kind, name, plant):
        """Whether the attack was made: the folder has to be there."""
        try:
            if kind == "gone":
                os.rmdir(name)
            elif kind == "back":
                os.rename(name, plant)
                os.rename(plant, name)
            else:
                exchange(name, plant)
        except OSError as error:
            return error.errno == errno.ENOTEMPTY
        return True

    def wrong(self):
        """What an attack achieved, as texts."""
        wrong = []
        after = [snapshot(self.folder + "/private"), os.lstat(self.victims[0]).st_ctime_ns,
                 self._victim()]
        if after != self.before:
            wrong.append("the victims were altered: %r, %r" % (self.before, after))
        for number in range(self.number):
            path = self.tree.at("up/s%04d" % number)
            mine = os.path.join(path, "precious")
            if os.path.lexists(mine):
                with open(mine) as handle:
                    if handle.read() != "plant%04d" % number:
                        wrong.append("%s was altered" % mine)
                seen = os.lstat(path)
                if (stat.S_IMODE(seen.st_mode), seen.st_uid) != (0o751, ORDINARY_USER):
                    wrong.append("%s has mode %04o and owner %d" % (
                        path, stat.S_IMODE(seen.st_mode), seen.st_uid))
        places = self._places()
        for item, removal in zip(self.plan, self.results):
            inodes = places.get(number_of(item.path), [])
            if len(inodes) != max(1, item.files):
                wrong.append("%s: %s, and is at %s" % (item.path, removal.outcome, inodes))
            elif (removal.outcome == "restored") == any(QUARANTINE in place for place in inodes):
                wrong.append("%s: %s, but is at %s" % (item.path, removal.outcome, inodes))
        return wrong

    def _places(self):
        """{number of an item: the places of its files}, wherever the user has moved them."""
        places = {}
        for folder, _, names in os.walk(self.tree.path):
            for name in names:
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    with open(path, "rb") as handle:
                        match = re.match(br"junk (\d+)\n\Z", handle.read())
                    if match:
                        places.setdefault(int(match.group(1)), []).append(path)
        return places

    def restore_rest(self):
        """Restore what could not be, now that nobody attacks; what is not back as it was."""
        for item, removal in zip(self.plan, self.results):
            place = os.path.dirname(self.tree.at(item.path))
            if removal.outcome != "restored" and os.path.lexists(place):
                if os.path.islink(place) or not os.path.isdir(place):
                    os.unlink(place)
        failed = [removal for removal in self.results if removal.outcome != "restored"]
        again = outcomes(self.tree.restore(self.run_id)) if failed else {}
        return [removal for removal in failed if again.get(removal.path) != "restored"]


# -- kills

WORK = """
import json, sys
sys.path[:0] = [%r, %r]
import symphony_conductor as sc
sc.PROC = "/nowhere"  # so that each run makes the same calls
from quarantine import Candidate, Quarantine
from tree import Root
verb, path, argument = sys.argv[1:]
%swith Quarantine(Root(path), %d, boot=("one boot", %d.0)) as quarantine:
    if verb == "remove":
        list(quarantine.remove([Candidate(**item) for item in json.loads(argument)], [], 100))
    elif verb == "empty":
        quarantine.remove_empty_folders(json.loads(argument))
    elif verb == "restore":
        quarantine.restore(argument)
    elif verb == "purge":
        quarantine.purge(14 * sc.DAY)
""" % (str(SCRIPTS), str(SCRIPT.parent), PAUSE, NOW, NOW)
WORKERS = 3
PLANNED = ("sub/line\nbreak.tmp", "sub/deep/caf\udce9.tmp", "top.tmp")


class CrashTree(Tree):
    """Three files to remove, and others beside them that nobody planned."""

    def __init__(self, folder):
        super().__init__(folder)
        for number, name in enumerate(PLANNED):
            self.put(name, b"planned %d\n" % number, mode=0o640)
            self.put(name + ".kept", b"kept %d\n" % number)
        self.before = {name: identity(self.at(name)) for name in PLANNED}
        self.beside = {name: identity(self.at(name + ".kept")) for name in PLANNED}

    def command(self, verb, argument=""):
        return [sys.executable, "-I", "-S", "-c", WORK, verb, self.path, argument]

    def removal(self):
        return self.command("remove", json.dumps([
            item.stored() for item in self.plan(*PLANNED)]))

    def in_place(self):
        return {name for name in PLANNED if os.path.lexists(self.at(name))}

    def check(self):
        """Nothing is lost, nothing else was touched, the log can be read."""
        held = self.held()
        for name in PLANNED:
            where = [path for _, path in held if path == name]
            assert (name in self.in_place()) + len(where) == 1, (name, held)
            assert name not in self.in_place() or identity(self.at(name)) == self.before[name]
        assert set(held.values()) <= {content[-1] for content in self.before.values()}
        assert {name: identity(self.at(name + ".kept")) for name in PLANNED} == self.beside
        assert self.entries() is not None

    def check_settled(self):
        """Each intent is answered by now, and truly."""
        self.check()
        done = check_answers(self.entries())
        assert set(self.held()) == done

    def check_all_back(self, with_times=True):
        for run in self.runs():
            assert {one.outcome for one in self.restore(run.run_id)} <= {"restored"}
        assert {name: identity(self.at(name)) for name in PLANNED} == self.before
        assert self.held() == {}


def check_answers(entries):
    """Each intent is answered once; the runs and paths of those that were done."""
    by_event = {name: {(entry["run"], entry["path"]) for entry in entries
                       if entry["event"] == name} for name in ("intent", "done", "failed")}
    assert by_event["intent"] == by_event["done"] | by_event["failed"]
    assert not by_event["done"] & by_event["failed"]
    return by_event["done"]


class FolderTree(Tree):
    """A folder that goes as one, a file whose folders are left empty, and what nobody planned."""

    WHOLE, LONE = "build", "lone/deep/x.tmp"
    EMPTY = ("void/in", "void", "hollow")

    def __init__(self, folder):
        super().__init__(folder)
        self.put("src/kept")
        for name in ("build/a.o", "build/sub/b.o", "lone/deep/x.tmp"):
            self.put(name, name.encode("ascii"), mode=0o640)
        for name in self.EMPTY + ("build/sub/hollow",):
            os.makedirs(self.at(name), exist_ok=True)
        os.symlink("../src", self.at("build/link"))
        for name, mode in (("lone/deep", 0o711), ("lone", 0o751), ("void/in", 0o2755),
                           ("void", 0o700), ("hollow", 0o750), ("build", 0o755)):
            os.chmod(self.at(name), mode)
            os.utime(self.at(name), ns=(OLD_NS, OLD_NS))
        self.before = self.state()
        self.planned = [folder_candidate(self.root, self.WHOLE), candidate(self.root, self.LONE)]

    def command(self, verb, argument=""):
        return [sys.executable, "-I", "-S", "-c", WORK, verb, self.path, argument]

    def removal(self):
        return self.command("remove", json.dumps([item.stored() for item in self.planned]))

    def entries(self):
        """Without the empty lines that end those that could not be written."""
        with open(self.at(LOG), "rb") as handle:
            return [json.loads(line.decode("ascii")) for line in handle.read().splitlines()
                    if line]

    def state(self):
        """{path: what is to come back}; of folders no inode, as some are made again."""
        state = {}
        for place, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if name not in (QUARANTINE, "config")]
            for name in folders + names:
                path = os.path.join(place, name)
                seen = os.lstat(path)
                facts = [oct(seen.st_mode), seen.st_uid, seen.st_gid]
                if stat.S_ISDIR(seen.st_mode):
                    facts.append(seen.st_mtime_ns)
                elif stat.S_ISLNK(seen.st_mode):
                    facts += [seen.st_ino, os.readlink(path)]
                else:
                    facts += [seen.st_ino, seen.st_mtime_ns, self.content(path)]
                state[os.path.relpath(path, self.path)] = facts
        state.pop(LOG, None)
        return state

    def held_whole(self):
        """The runs and planned paths that are in quarantine, each with nothing missing."""
        top, held = self.at(QUARANTINE), set()
        runs = os.listdir(top) if os.path.isdir(top) else []
        if "kept" in runs:
            runs += ["kept/" + run for run in os.listdir(os.path.join(top, "kept"))]
        for run in runs:
            whole, lone = (os.path.join(top, run, item.path) for item in self.planned)
            if os.path.isdir(whole) and os.listdir(whole):
                lines = folder_lines(whole, self.WHOLE)
                assert contents_digest(lines) == self.planned[0].contents, lines
                assert os.path.isdir(os.path.join(whole, "sub", "hollow"))
                held.add((run, self.WHOLE))
            if os.path.lexists(lone) and os.lstat(lone).st_size:
                assert identity(lone)[-1] == self.before[self.LONE][-1]
                held.add((run, self.LONE))
        return held

    def check(self):
        """Each planned thing is in one place, as it was; nothing else was touched."""
        held, state = self.held_whole(), self.state()
        for item in self.planned:
            is_in_place = os.path.lexists(self.at(item.path))
            assert is_in_place + sum(path == item.path for _, path in held) == 1, (item, held)
        for path, facts in self.before.items():
            if path in state and not stat.S_ISDIR(int(facts[0], 8)):
                assert state[path] == facts, (path, facts, state[path])
        assert {"src", "src/kept"} <= set(state) <= set(self.before)

    def check_settled(self):
        self.check()
        assert self.held_whole() == check_answers(self.entries())

    def check_all_back(self, with_times=True, excused=""):
        for run in self.runs():
            results = self.restore(run.run_id)
            assert {removal.outcome for removal in results} <= {"restored"}, results
            excused += " ".join(removal.reason for removal in results)
        self.check_state(with_times, excused)

    def move_back_what_is_kept(self):
        """As the note tells people to; what folders that are gone looked like, it does not say."""
        top = self.at(QUARANTINE + "/kept")
        excused = ""
        for run in os.listdir(top) if os.path.isdir(top) else ():
            for item in self.planned:
                held = os.path.join(top, run, item.path)
                if os.path.lexists(held):
                    if not os.path.isdir(os.path.dirname(self.at(item.path))):
                        os.makedirs(os.path.dirname(self.at(item.path)))
                        excused += "lone: lone/deep: "
                    os.rename(held, self.at(item.path))
        return excused

    def check_state(self, with_times=True, excused=""):
        """All is as it was, but for the folders of which a restore said that they are not."""
        before, now = self.before, self.state()
        if not with_times:  # of folders that were changed, and not made again
            before, now = ({path: facts[:3] if stat.S_ISDIR(int(facts[0], 8)) and path != self.WHOLE
                            else facts for path, facts in state.items()}
                           for state in (before, now))
        wrong = [difference for difference in differences(before, now)
                 if "%s: " % difference[0] not in excused]
        assert not wrong, wrong

    def check_tidy(self):
        """Nothing but its own files is left in the quarantine.

        And the manifest of a run, if its very last step was interrupted.
        """
        left = {name for name in os.listdir(self.at(QUARANTINE)) if not name.endswith(".manifest")}
        assert left <= {".gitignore", "clock", "format", "lock", "placeholder"}, left


def differences(before, after):
    """The entries that differ, as (path, before, after)."""
    return [(path, before.get(path), after.get(path)) for path in sorted(set(before) | set(after))
            if before.get(path) != after.get(path)]


def interrupted(tree, *names, plan=None):
    """The state of a crash right after the renames: the files are away, no intent is answered."""
    tree.work(plan or tree.plan(*names))
    entries = [entry for entry in tree.entries() if entry["event"] not in ("done", "end", "rmdir")]
    os.unlink(tree.at(LOG))
    tree.append(*entries)
    return entries[0]["run"]


# How to make the tree, the command that is killed, what must be true afterwards, and how many
# calls there are at the least.
KillCase = collections.namedtuple("KillCase", "make command check least")


def settle(tree):
    with Quarantine(tree.root, NOW + 10):
        pass


def check_removal(tree):
    if isinstance(tree, CrashTree) and os.path.exists(tree.at(LOG)):
        places = [tree.at(name) for name in tree.in_place()]
        whole = list(tree.held().values()) + [identity(path)[-1] for path in places]
        assert {content[-1] for content in tree.before.values()} <= set(whole), (
            "lost by the crash itself")
    settle(tree)
    tree.check_settled()
    with Quarantine(tree.root, NOW + 20) as quarantine:
        assert quarantine.notes == [], "there is nothing left to settle"
    tree.check_all_back(with_times=False)


def make_crashed(folder):
    """As a crash left it: one file was taken, one announced, and one has its placeholder made."""
    tree = CrashTree(folder)
    run = interrupted(tree, *PLANNED)
    top = tree.at(QUARANTINE)
    os.rename(os.path.join(top, run, native_path(PLANNED[0])), tree.at(PLANNED[0]))
    os.rename(os.path.join(top, run, PLANNED[2]), tree.at(PLANNED[2]))
    os.link(os.path.join(top, "placeholder"), os.path.join(top, run, PLANNED[2]))
    return tree


def check_recovery(tree):
    settle(tree)
    assert tree.in_place() == {PLANNED[0], PLANNED[2]}
    tree.check_settled()
    tree.check_all_back()


def make_removed(folder):
    tree = CrashTree(folder)
    tree.remove(*PLANNED)
    shutil.rmtree(tree.at("sub/deep"))
    del tree.beside[PLANNED[1]]
    return tree


def check_restore(tree):
    kept = {content[-1] for content in tree.before.values()}
    assert set(tree.held().values()) | {tree.content(name) for name in tree.in_place()} == kept
    tree.check_all_back()
    assert {name: identity(tree.at(name + ".kept")) for name in tree.beside} == tree.beside
    assert tree.entries()


def make_old(folder):
    tree = CrashTree(folder)
    tree.remove(*PLANNED[:2], now=NOW - 30 * sc.DAY)
    tree.remove(PLANNED[2], now=NOW - sc.DAY)
    return tree


def check_purge(tree):
    with Quarantine(tree.root, NOW) as quarantine:
        quarantine.purge(14 * sc.DAY)
        assert quarantine.purge(14 * sc.DAY) == []
    assert [path for _, path in tree.held()] == [PLANNED[2]]
    assert {name: identity(tree.at(name + ".kept")) for name in PLANNED} == tree.beside
    assert outcomes(tree.restore(PLANNED[2])) == {PLANNED[2]: "restored"}
    assert identity(tree.at(PLANNED[2])) == tree.before[PLANNED[2]]
    assert tree.entries()


def make_crashed_folder(folder, altered=True):
    """Both were taken, and the folder was altered by a process that held it open."""
    tree = FolderTree(folder)
    run = interrupted(tree, plan=tree.planned)
    if not altered:
        return tree
    held = tree.at("%s/%s/build/late.o" % (QUARANTINE, run))
    with open(held, "w") as handle:
        handle.write("precious")
    return tree


def check_folder_recovery(tree):
    settle(tree)
    assert tree.content("build/late.o") == b"precious"
    os.unlink(tree.at("build/late.o"))
    os.utime(tree.at("build"), ns=(OLD_NS, OLD_NS))
    tree.check_settled()
    tree.check_all_back(with_times=False)


def make_removed_folder(folder, ago_s=0):
    tree = FolderTree(folder)
    tree.work(tree.planned, now=NOW - ago_s)
    return tree


def check_folder_restore(tree):
    tree.check_all_back(with_times=False)
    tree.check_tidy()


def check_folder_purge(tree, now=NOW):
    with Quarantine(tree.root, now) as quarantine:
        quarantine.purge(14 * sc.DAY)
        assert quarantine.runs() == []
    tree.check_tidy()
    assert tree.content("src/kept") == b"junk\n"


def check_emptied(tree):
    settle(tree)
    tree.check_all_back(with_times=False)


def make_emptied(folder):
    tree = FolderTree(folder)
    with Quarantine(tree.root, NOW) as quarantine:
        assert len(quarantine.remove_empty_folders(tree.EMPTY)) == len(tree.EMPTY)
    return tree


def runs_of(tree):
    """The names of the runs, without opening the quarantine."""
    top = tree.at(QUARANTINE)
    return [name for name in (sorted(os.listdir(top)) if os.path.isdir(top) else ())
            if quarantine_module.run_time(name) is not None]


def restoring(tree):
    return tree.command("restore", runs_of(tree)[0])


KILLS = collections.OrderedDict([
    ("removal", KillCase(CrashTree, CrashTree.removal, check_removal, 40)),
    ("recovery", KillCase(make_crashed, lambda tree: tree.command("open"), check_recovery, 10)),
    ("restore", KillCase(make_removed, restoring, check_restore, 18)),
    ("purge", KillCase(make_old, lambda tree: tree.command("purge"), check_purge, 10)),
    ("folder removal", KillCase(FolderTree, FolderTree.removal, check_removal, 40)),
    ("folder recovery", KillCase(make_crashed_folder, lambda tree: tree.command("open"),
                                 check_folder_recovery, 8)),
    ("folder restore", KillCase(make_removed_folder, restoring, check_folder_restore, 15)),
    ("folder purge", KillCase(lambda folder: make_removed_folder(folder, 30 * sc.DAY),
                              lambda tree: tree.command("purge"), check_folder_purge, 15)),
    ("empty folders", KillCase(
        FolderTree, lambda tree: tree.command("empty", json.dumps(FolderTree.EMPTY)),
        check_emptied, 15)),
    ("their restore", KillCase(make_emptied, restoring, check_emptied, 12)),
])


def kill_everywhere(folder, case, step=1):
    """Kill the command at every step-th call that changes something, each time in a new tree.

    Returns (calls, kills). Raises AssertionError for what is not true after one of them.
    """
    tree = case.make(folder / "probe")
    options = recording(folder / "trace")
    options[-1] += ",fchmod,fchown,fsetxattr"
    assert looked_on(options, case.command(tree)) == 0
    points = kill_points(tree.path, folder / "trace")
    assert len(points) > case.least, points
    tried = range(step - 1, len(points), step)

    def work_off(share):
        for number in tried[share::WORKERS]:
            tree = case.make(folder / ("at%d" % number))
            if was_killed(points[number], case.command(tree)):
                (folder / ("killed%d" % number)).write_text("")
            try:
                case.check(tree)
            except BaseException as error:
                raise AssertionError("killed at %s number %d" % points[number]) from error

    # Processes, not threads: a child that another thread forks holds our locks and files until
    # it is a program.
    for join in [start_child(lambda share=share: work_off(share)) for share in range(WORKERS)]:
        join()
    kills = len(list(folder.glob("killed*")))
    assert kills >= len(tried) * 9 // 10, "the kills hit"
    return len(tried), kills


# -- at any moment: something happens ahead of one call of the os module

CALLS_OF_OS = ("access", "close", "dup", "fchmod", "fchown", "fstat", "fsync", "getxattr", "link",
               "listdir", "listxattr", "lstat", "mkdir", "open", "pread", "rename", "rmdir",
               "setxattr", "stat", "unlink", "utime", "write")


@contextlib.contextmanager
def at_call(number, act, labels=None, lasting=False):
    """Do `act` ahead of the number-eth call of the os module, and of all later ones if `lasting`.

    Those count whose label is one of `labels`: the name, or 'create' for an `open` that creates;
    but not what is asked of /proc, as there are as many of these as processes.
    `act` gets the label and the arguments. Yields the list of the labels of those that were made.
    """
    real, made, busy = {name: getattr(os, name) for name in CALLS_OF_OS}, [], []

    def patched(name):
        def call(*arguments, **more):
            label = name
            if name == "open" and arguments[1] & os.O_CREAT:
                label = "create"
            is_proc = arguments and str(arguments[0]).startswith(sc.PROC)
            if busy or is_proc or (labels is not None and label not in labels):
                return real[name](*arguments, **more)
            made.append(label)
            if len(made) == number or (lasting and len(made) > number):
                busy.append(name)
                try:
                    act(label, *arguments)
                finally:
                    busy.pop()
            return real[name](*arguments, **more)
        return call

    for name in CALLS_OF_OS:
        setattr(os, name, patched(name))
    try:
        yield made
    finally:
        for name in CALLS_OF_OS:
            setattr(os, name, real[name])


@contextlib.contextmanager
def alone():
    """As if there were no other process: none is looked for in /proc, none is waited for."""
    before = quarantine_module.OPENING_S, sc.PROC
    with tempfile.TemporaryDirectory() as folder:
        for name in ("self", str(os.getpid())):
            os.symlink("/proc/" + name, os.path.join(folder, name))
        quarantine_module.OPENING_S, sc.PROC = 0, folder
        try:
            yield
        finally:
            quarantine_module.OPENING_S, sc.PROC = before


FILE, FOLDER = 6, 3  # numbers of items that are no more than that: d6-0/..., c3-0/...
ATTACKS = collections.OrderedDict([
    (FILE, ("over", "in_place", "link", "hard_link", "folder", "fifo", "late_write",
            "swap_parent", "into_empty", "link_for_empty", "full_for_empty")),
    (FOLDER, ("other_folder", "folder_for_link", "folder_for_file", "folder_for_fifo",
              "add_member", "replace_member", "grow_member", "hard_link_member", "swap_inner",
              "make_repository", "late_by_fd", "late_member", "swap_parent", "swap_upper",
              "take_parent")),
])


class Moment(Torture):
    """A removal of a file and a folder, and one attack right ahead of one of its calls."""

    def __init__(self, folder):
        super().__init__(folder, seed=0)
        self.writer = Writer(self.folder, self.tree.path, self.shared, 0, 0)
        for name in ("over", "link", "folder", "fifo"):
            self.writer._reload(name)

    def attack(self, item, name):
        path = os.path.join(self.tree.path, item_path(item))
        with contextlib.suppress(OSError):
            if name == "swap_parent":
                self.writer._swap_in("folder", os.path.dirname(path))
            elif name == "swap_upper":
                self.writer._swap_in("folder", os.path.dirname(os.path.dirname(path)))
            elif name == "take_parent":
                os.rename(os.path.dirname(path), self.writer._spare())
            elif name.endswith("_empty"):
                getattr(self.writer, name)(os.path.dirname(path))
            else:
                getattr(self.writer, name)(path)

    def run_at(self, number, item=None, name=""):
        """The calls that were made; the attack came ahead of the number-eth."""
        self.plan_for((FILE, FOLDER))
        with at_call(number, lambda *_: self.attack(item, name)) as made:
            self.results += self.tree.work(list(self.planned.values()))
        self.writer._write_late(0)
        self.diary = [(kind, key) for kind, key in self.writer.diary]
        return made

    def judge(self):
        """What is wrong, as texts."""
        said = ["wrong: %s" % path for path in self.wrong()]
        said += ["lost: %r" % (each,) for each in self.lost()]
        _, altered, _, missing = self.restore()
        said += ["not as it was: %s" % removal.path for removal in altered]
        said += ["neither restored nor kept: %s" % removal.path for removal in missing]
        return said + ["lost by the restore: %r" % (each,) for each in self.lost()]


@alone()
def attack_at_moments(folder, step=1):
    """Each attack ahead of every step-th call of a removal: (cases, [(attack, call, what)])."""
    calls = len(Moment(folder / "probe").run_at(0))
    cases, wrong = 0, []
    for item, names in ATTACKS.items():
        for turn, name in enumerate(names):
            for number in range(1 + turn % step, calls + 1, step):
                moment = Moment(folder / "case")
                made = moment.run_at(number, item, name)
                at = "%d (%s)" % (number, made[number - 1] if number <= len(made) else "-")
                wrong += [(name, at, said) for said in moment.judge()]
                cases += 1
                os.close(moment.tree.root.fd)
                shutil.rmtree(str(folder / "case"))
    return cases, wrong


@alone()
def plant_at_moments(folder, step=1):
    """The same for what takes the place of a folder that root's restore makes."""
    def make(name):
        torture = RestoreTorture(folder / name, 2, 0)
        torture.tree.work(torture.plan)
        torture.run_id = torture.tree.runs()[0].run_id
        return torture

    torture = make("probe")
    with at_call(0, None) as made:
        torture.tree.restore(torture.run_id)
    cases, wrong = 0, []
    for turn, kind in enumerate(RestoreTorture.PLANTS):
        for number in range(1 + turn % step, len(made) + 1, step):
            torture = make("case")
            plant = torture.tree.at("up/plant0001")
            torture._prepare(kind, plant)
            if kind == "other_folder":
                os.chown(plant, ORDINARY_USER, ORDINARY_USER)
            strike = functools.partial(torture._strike, kind, torture.tree.at("up/s0001"), plant)
            with at_call(number, lambda *_, strike=strike: strike()):
                torture.results = torture.tree.restore(torture.run_id)
            wrong += [(kind, number, said) for said in torture.wrong() + torture.restore_rest()]
            cases += 1
            os.close(torture.tree.root.fd)
            shutil.rmtree(str(folder / "case"))
    return cases, wrong


# -- errors

# To close what was only read never fails, and access(2) answers no.
EVERY = set(CALLS_OF_OS) - {"access", "close"} | {"create"}
CREATING = {"create", "fsync", "link", "mkdir", "rename", "setxattr", "write"}
ERRORS = collections.OrderedDict([
    ("EIO", EVERY),
    ("ENOSPC", CREATING),
    ("EMFILE", {"create", "dup", "open"}),
    ("EACCES", {"create", "link", "listdir", "lstat", "mkdir", "open", "rename", "rmdir", "stat",
                "unlink", "utime"}),
    ("EPERM", {"fchmod", "fchown", "link", "setxattr", "utime"}),
    ("full", CREATING),  # ENOSPC from there on
])


def failing(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))
    return fail


def do_remove(quarantine, tree, results):
    for removal in quarantine.remove(tree.planned, [], 100):
        results.append(removal)


def do_restore(quarantine, tree, results):
    results += quarantine.restore(tree.runs_before[0])


def do_remove_swapped(quarantine, tree, results):
    """A file and a folder that are altered between the last look and the rename."""
    asked = set()

    def alter(path):
        if path == tree.WHOLE and path in asked:
            tree.put("build/late.o", b"precious 1")
        elif path == tree.LONE and path in asked:
            os.unlink(tree.at(path))
            tree.put(path, b"precious 2")
        asked.add(path)
        return ""

    tree.guard = alter
    for removal in quarantine.remove(tree.planned, [alter], 100):
        results.append(removal)


def check_failed_removal_of_altered(tree, results):
    """What was put there is there, or where the log says, and nothing of it can be purged."""
    settle(tree)
    check_answers(tree.entries())
    assert not set(tree.held().values()) & {b"precious 1", b"precious 2"} or all(
        run == "kept" for (run, _), content in tree.held().items() if b"precious" in content)
    contents = list(tree.held().values())
    contents += [facts[-1] for facts in tree.state().values()]
    altered = os.path.lexists(tree.at("build/late.o")) or b"precious 1" in contents
    for removal in results:
        if removal.path == tree.LONE and "another file" in removal.reason:
            assert b"precious 2" in contents
        if removal.path == tree.WHOLE and "has changed" in removal.reason:
            assert altered
    assert b"build/a.o" in contents and b"build/sub/b.o" in contents


# How to make the tree, and what meets the error.
ErrorCase = collections.namedtuple("ErrorCase", "make act check")


def check_failed_removal(tree, results):
    tree.check()
    settle(tree)
    tree.check()
    done, held = check_answers(tree.entries()), tree.held_whole()
    assert done == {place for place in held if not place[0].startswith("kept/")}, (done, held)
    for removal in results:
        is_held = removal.path in {path for _, path in done}
        assert (removal.outcome == "removed") == is_held, (removal, held)
    excused = tree.move_back_what_is_kept()
    tree.check_all_back(with_times=False, excused=excused)


def check_failed_recovery(tree, results):
    settle(tree)
    excused = tree.move_back_what_is_kept()
    if os.path.lexists(tree.at("build/late.o")):
        assert tree.content("build/late.o") == b"precious"
        os.unlink(tree.at("build/late.o"))
        os.utime(tree.at("build"), ns=(OLD_NS, OLD_NS))
    tree.check_settled()
    tree.check_all_back(with_times=False, excused=excused)


def check_failed_restore(tree, results):
    held = {path for _, path in tree.held_whole()}
    for removal in results:
        if removal.outcome == "restored":
            assert os.path.lexists(tree.at(removal.path)), removal
        elif removal.path not in tree.EMPTY:
            below = removal.path + "/"  # a folder of the quarantine that could not be opened
            assert any(path == removal.path or path.startswith(below) for path in held), removal
    said = " ".join(removal.reason for removal in results)
    for run in tree.runs():
        again = tree.restore(run.run_id)
        assert {removal.outcome for removal in again} <= {"restored"}, again
        said += " ".join(removal.reason for removal in again)
    tree.check_state(with_times=False, excused=said)
    tree.check_tidy()


def check_failed_purge(tree, results):
    # If the record of time could not be read, it began anew.
    check_folder_purge(tree, NOW + 15 * sc.DAY)


def check_failed_emptying(tree, results):
    check_emptied(tree)


ERROR_CASES = collections.OrderedDict([
    ("removal", ErrorCase(FolderTree, do_remove, check_failed_removal)),
    ("removal of what was altered", ErrorCase(FolderTree, do_remove_swapped,
                                              check_failed_removal_of_altered)),
    ("recovery", ErrorCase(lambda folder: make_crashed_folder(folder, altered=False),
                           lambda *_: None, check_failed_recovery)),
    ("recovery of a folder that was altered", ErrorCase(
        make_crashed_folder, lambda *_: None, check_failed_recovery)),
    ("restore", ErrorCase(make_removed_folder, do_restore, check_failed_restore)),
    ("purge", ErrorCase(lambda folder: make_removed_folder(folder, 30 * sc.DAY),
                        lambda quarantine, tree, results: quarantine.purge(14 * sc.DAY),
                        check_failed_purge)),
    ("empty folders", ErrorCase(
        FolderTree, lambda quarantine, tree, results: quarantine.remove_empty_folders(tree.EMPTY),
        check_failed_emptying)),
    ("their restore", ErrorCase(make_emptied, do_restore,
                                check_failed_restore)),
])


def meet_error(folder, case, number, name):
    """Have one call of a case fail; (the label of the call, what is wrong or '')."""
    tree = case.make(folder / "case")
    code = getattr(errno, "ENOSPC" if name == "full" else name)
    tree.runs_before = runs_of(tree)
    before = tree.state(), tree.held()
    results, opened, error = [], False, ""
    with at_call(number, failing(code), lasting=name == "full",
                 labels=CREATING if name == "full" else None) as made:
        try:
            with Quarantine(tree.root, NOW) as quarantine:
                opened = True
                case.act(quarantine, tree, results)
        except sc.ConductorError:
            pass
        except OSError as raised:
            # Once something was done, nobody would hear of it.
            if opened and (tree.state(), tree.held()) != before:
                error = "an OSError that nobody handles: %s" % _raised_at(raised)
        except Exception as raised:
            error = "%s: %s" % (type(raised).__name__, _raised_at(raised))
    try:
        case.check(tree, results)
    except Exception as raised:
        error += "; " * bool(error) + "%s: %s (%s)" % (
            type(raised).__name__, str(raised)[:300], _raised_at(raised))
    os.close(tree.root.fd)
    shutil.rmtree(str(folder / "case"))
    return made[number - 1] if 0 < number <= len(made) else "", error


def _raised_at(error):
    """The last places in the product and here that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return "%s; %s" % (error, " < ".join("%s:%d" % (frame[2], frame[1]) for frame in frames[-3:]))


@alone()
def errors_everywhere(folder, case, step=1):
    """Each error at every step-th call that may meet it: (cases, [(call, error, what)])."""
    counted = {}
    for labels in (None, frozenset(CREATING)):
        tree = case.make(folder / "case")
        tree.runs_before = runs_of(tree)
        with at_call(0, None, labels=labels) as made:
            with Quarantine(tree.root, NOW) as quarantine:
                case.act(quarantine, tree, [])
        counted[labels] = list(made)
        shutil.rmtree(str(folder / "case"))
    tries = [(number, name) for name, labels in ERRORS.items() if name != "full"
             for number, label in enumerate(counted[None], 1) if label in labels]
    tries += [(number, "full") for number in range(1, len(counted[frozenset(CREATING)]) + 1)]
    wrong = []
    for number, name in tries[step - 1::step]:
        label, what = meet_error(folder, case, number, name)
        if what:
            wrong.append(("%s %d" % (label, number), name, what))
    return len(tries[step - 1::step]), wrong


# -- a real git that adds files while some of them are moved

class GitRace:
    """A repository with rubbish in it, and a `git add` of all that is there."""

    SLOW = "last/slow"  # git waits in the middle of adding it, until it is let go on

    def __init__(self, folder, rubbish, others=0):
        self.folder = folder
        self.tree = Tree(folder / "tree")
        git(self.tree.path, "init", "-q")
        self.tree.put("kept")
        self.tree.put(".gitattributes", b"%s filter=slow\n" % self.SLOW.encode("ascii"))
        git(self.tree.path, "add", "kept", ".gitattributes")
        git(self.tree.path, "commit", "-q", "-m", "first")
        self.names = [self.tree.put("first/%04d.tmp" % number, b"junk %d\n" % number)
                      for number in range(rubbish)]
        for number in range(others):
            self.tree.put("more/%d/%d.txt" % (number % 40, number), b"live %d\n" % number * 40)
        self.adding = None

    def make_slow(self):
        """From now on, git tells when it comes to SLOW, and waits there."""
        self.tree.put(self.SLOW)
        script = 'touch "%s/slow"; while ! test -e "%s/go"; do sleep 0.01; done; cat' % (
            self.folder, self.folder)
        git(self.tree.path, "config", "filter.slow.clean", script)

    def add(self):
        env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        self.adding = subprocess.Popen(
            ["git", "add", "-f", "first", "last", "more"], cwd=self.tree.path, env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def clean_up(self, guard):
        """What became of each name; of none if git's lock refused the whole run."""
        guards = [GitGuard(Git(self.tree.root)), guard]
        with Quarantine(self.tree.root, NOW) as quarantine:
            try:
                return list(quarantine.remove(self.tree.plan(*self.names), guards, 10000))
            except tree_module.GitError:
                return []

    def missing(self):
        """What git tracks and is not there, once the `git add` has ended."""
        self.adding.wait()
        tracked = git(self.tree.path, "ls-files", "-z").split("\0")
        return [name for name in tracked if name and not os.path.lexists(self.tree.at(name))]

    def begin_anew(self):
        git(self.tree.path, "reset", "-q")
        for run in self.tree.runs():
            self.tree.restore(run.run_id)


def race_git(folder, trials, seed):
    """`git add` at moments of chance around a clean-up: counts of what happened."""
    race = GitRace(folder, 400, 12000)
    race.tree.put("last/other")
    chance, counts = random.Random(seed), collections.Counter()
    for _ in range(trials):
        start_at = chance.choice((0, 0, chance.randrange(1, 2 * len(race.names))))
        asked = []

        def guard(_, start_at=start_at, asked=asked):
            asked.append(1)
            if len(asked) == start_at:
                race.add()
            return ""

        if not start_at:
            race.add()
            time.sleep(chance.random() * 1.5)
        results = race.clean_up(guard)
        if race.adding is None or (start_at and len(asked) < start_at):
            race.add()
        counts["trials"] += 1
        counts["refused as a whole"] += not results
        counts["git add had ended"] += race.adding.poll() is not None
        counts["moved"] += sum(removal.outcome == "removed" for removal in results)
        counts["put back"] += sum("was put back" in removal.reason for removal in results)
        counts["tracked and missing"] += len(race.missing())
        race.begin_anew()
    return counts


# -- the command

def show(*text):
    print(*text, flush=True)


def run_removals(folder, args):
    began = time.monotonic()
    torture = Torture(folder, args.seed)
    torture.run(args.removals)
    show("%d removals in %d s, %d attacks of %d kinds, %d put back, %d kept" % (
        len(torture.removed()), time.monotonic() - began, sum(torture.attacks.values()),
        len(torture.attacks), len(torture.put_back()), len(torture.kept())))
    for name, count in sorted(torture.attacks.items(), key=lambda item: -item[1]):
        show("  %6d %s" % (count, name))
    wrong, lost = torture.wrong(), torture.lost()
    restored, altered, stayed, missing = torture.restore()
    lost += torture.lost()
    show("wrong %d, lost %d; restored %d, of these altered %d; place taken %d, not kept %d" % (
        len(wrong), len(lost), restored, len(altered), stayed, len(missing)))
    for each in (wrong + lost + altered + missing)[:20]:
        show("  %r" % (each,))
    return not (wrong or lost or altered or missing)


def run_restores(folder, args):
    if not ROOT:
        show("restores under attack take root")
        return True
    os.chmod(str(folder), 0o755)
    torture = RestoreTorture(folder, args.restores, args.seed)
    torture.run()
    wrong, left = torture.wrong(), torture.restore_rest()
    outcome = collections.Counter(removal.outcome for removal in torture.results)
    show("%d restores, %d attacks (%s): %d restored, %d failed, later not restored %d, wrong %d" % (
        args.restores, sum(torture.attacks.values()), ", ".join(
            "%s %d" % item for item in sorted(torture.attacks.items())),
        outcome["restored"], outcome["failed"], len(left), len(wrong)))
    for text in wrong[:20]:
        show("  " + text)
    return not wrong and not left


def run_moments(folder, args):
    is_well = True
    for work in (attack_at_moments,) + ((plant_at_moments,) if ROOT else ()):
        cases, wrong = work(folder)
        show("%s: %d cases, %d bad" % (work.__name__.replace("_", " "), cases, len(wrong)))
        for each in wrong[:20]:
            show("  %s ahead of call %s: %s" % each)
        is_well = is_well and not wrong
        shutil.rmtree(str(folder / "probe"), ignore_errors=True)
    return is_well


def run_kills(folder, args):
    is_well = True
    for name, case in KILLS.items():
        place = folder / name
        place.mkdir()
        try:
            show("%s: killed at %d calls, %d of the kills hit, 0 bad" % (
                (name,) + kill_everywhere(place, case)))
        except AssertionError as error:
            show("%s: BAD\n%s" % (name, error))
            is_well = False
    return is_well


def run_errors(folder, args):
    is_well = True
    for name, case in ERROR_CASES.items():
        cases, wrong = errors_everywhere(folder, case)
        show("%s: %d errors, %d bad" % (name, cases, len(wrong)))
        for call, error, what in wrong[:20]:
            show("  %s at %s: %s" % (error, call, what))
        is_well = is_well and not wrong
    return is_well


def run_git(folder, args):
    counts = race_git(folder, args.git, args.seed)
    show(", ".join("%s %d" % item for item in counts.items()))
    return not counts["tracked and missing"]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--removals", type=int, metavar="N",
                        help="removals under attack (default, without any other: 97334)")
    parser.add_argument("--restores", type=int, metavar="N", nargs="?", const=5000,
                        help="restores under attack (default: 5000)")
    for name, text in (("moments", "an attack ahead of each call"), ("kills", "kill -9 at each"),
                       ("errors", "an error at each")):
        parser.add_argument("--" + name, action="store_true", help=text)
    parser.add_argument("--git", type=int, metavar="TRIALS", nargs="?", const=40,
                        help="clean-ups beside a `git add` (default: 40)")
    parser.add_argument("--seed", type=int, default=1, metavar="N",
                        help="of what is left to chance, as far as the system repeats itself")
    args = parser.parse_args()
    if not any(getattr(args, name) for name in WORK_OF):
        args.removals = 97334
    return args


WORK_OF = collections.OrderedDict([
    ("removals", run_removals), ("restores", run_restores), ("moments", run_moments),
    ("kills", run_kills), ("errors", run_errors), ("git", run_git)])


def main():
    args, is_well = arguments(), True
    if args.kills and not strace_works():
        print("strace with fault injection is not here", file=sys.stderr)
        return 2
    for name, work in WORK_OF.items():
        if not getattr(args, name):
            continue
        folder = pathlib.Path(tempfile.mkdtemp(prefix="symphony-hostile.")).resolve()
        try:
            is_well = work(folder, args) and is_well
        finally:
            shutil.rmtree(str(folder), ignore_errors=True)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
