"""A file system in memory that knows what a power cut would leave of it."""

import errno
import os
import stat

WRITTEN_AFTER_S = 60
FILE, FOLDER, PIPE = stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO


class Inode:
    """A file, folder or named pipe: what it holds now, and what is safe from a power cut."""

    __slots__ = ("number", "kind", "mode", "uid", "gid", "links", "mtime_ns", "ctime_ns",
                 "data", "entries", "parent", "synced", "changes", "lock", "waiters", "pipe",
                 "synced_mtime_ns", "opened")

    def __init__(self, number, kind, mode, uid, now_ns):
        self.number, self.kind, self.mode, self.uid, self.gid = number, kind, mode, uid, uid
        self.links = 1
        self.mtime_ns = self.ctime_ns = self.synced_mtime_ns = now_ns
        self.data = bytearray()
        self.entries = {} if kind == FOLDER else None
        self.parent = self
        self.synced = {} if kind == FOLDER else b""
        self.changes = []     # since the last fsync, each with its time: of a file
        #                       ("write", at, data) or ("size", n, b""), of a folder {name: inode}
        self.lock = None      # the open file that holds the flock
        self.waiters = []     # processes that wait for it
        self.pipe = None      # of a named pipe, while somebody has it open
        self.opened = 0

    def stat(self, device):
        size = len(self.data) if self.kind == FILE else 4096 if self.kind == FOLDER else 0
        mtime, ctime = self.mtime_ns, self.ctime_ns
        fields = (self.kind | self.mode, self.number, device, self.links, self.uid, self.gid, size,
                  mtime // 10 ** 9, mtime // 10 ** 9, ctime // 10 ** 9)
        more = {"st_atime": mtime / 1e9, "st_mtime": mtime / 1e9, "st_ctime": ctime / 1e9,
                "st_atime_ns": mtime, "st_mtime_ns": mtime, "st_ctime_ns": ctime}
        return os.stat_result(fields, more)


class Disk:
    """Folders and files by their path. `now_ns` tells the time that changed files get."""

    DEVICE = 2049

    def __init__(self, now_ns, stamp):
        self.now_ns, self.stamp = now_ns, stamp
        self.cut_at = 0.0
        self.numbers = 1
        self.root = self.make(FOLDER, 0o755, 0)
        self.is_full = self.is_read_only = False
        self.paths = {}  # text -> its parts

    def make(self, kind, mode, uid):
        self.numbers += 1
        return Inode(self.numbers, kind, mode, uid, self.now_ns())

    # -- names

    def parts_of(self, path):
        parts = self.paths.get(path)
        if parts is None:
            text = os.fsdecode(path)
            parts = text.startswith("/"), tuple(
                part for part in text.split("/") if part not in ("", "."))
            if not text:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if len(self.paths) > 5000:
                self.paths.clear()
            self.paths[path] = parts
        return parts

    def find(self, path, cwd):
        """The inode of a path. Raises FileNotFoundError or NotADirectoryError."""
        is_absolute, parts = self.parts_of(path)
        inode = self.root if is_absolute else cwd
        for part in parts:
            entries = inode.entries
            if entries is None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if part == "..":
                inode = inode.parent
                continue
            inode = entries.get(part)
            if inode is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return inode

    def folder_of(self, path, cwd):
        """(folder, name) of a path whose last part need not be there."""
        is_absolute, parts = self.parts_of(path)
        if not parts:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        inode = self.root if is_absolute else cwd
        for part in parts[:-1]:
            if inode.entries is None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            inode = inode.parent if part == ".." else inode.entries.get(part)
            if inode is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if inode.entries is None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return inode, parts[-1]

    # -- changes

    def check_writable(self, path=None, takes_room=False):
        if self.is_read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        if takes_room and self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def change_names(self, folder, changes):
        """Set names of a folder at once: {name: inode, or None to remove it}."""
        for name, inode in changes.items():
            before = folder.entries.pop(name, None)
            if before is not None:
                before.links -= 1
            if inode is not None:
                folder.entries[name] = inode
                inode.links += 1
                if inode.kind == FOLDER:
                    inode.parent = folder
        folder.changes.append((self.stamp(), dict(changes)))
        folder.mtime_ns = folder.ctime_ns = self.now_ns()

    def create(self, folder, name, kind, mode, uid):
        self.check_writable(name, takes_room=True)
        inode = self.make(kind, mode, uid)
        inode.links = 0
        self.change_names(folder, {name: inode})
        return inode

    def write(self, inode, at, data):
        self.check_writable(takes_room=at + len(data) > len(inode.data))
        content = inode.data
        if at > len(content):
            content.extend(bytes(at - len(content)))
        content[at:at + len(data)] = data
        inode.changes.append((self.stamp(), ("write", at, bytes(data))))
        inode.mtime_ns = inode.ctime_ns = self.now_ns()

    def truncate(self, inode, size):
        self.check_writable(takes_room=size > len(inode.data))
        del inode.data[size:]
        inode.data.extend(bytes(size - len(inode.data)))
        inode.changes.append((self.stamp(), ("size", size, b"")))
        inode.mtime_ns = inode.ctime_ns = self.now_ns()

    @staticmethod
    def sync(inode):
        inode.synced = dict(inode.entries) if inode.kind == FOLDER else bytes(inode.data)
        inode.synced_mtime_ns = inode.mtime_ns
        inode.changes = []

    # -- a power cut

    def cut(self, rng):
        """Lose what no fsync had covered, or a part of it, in an order of the disk's own.

        What is older than a minute a kernel has written by itself: dirty_expire_centisecs and the
        commit interval of ext4 are 30 and 5 seconds.
        """
        self.cut_at = self.stamp()
        self.is_full = self.is_read_only = False
        # All, nothing, those up to some moment, or any of them.
        ways = [rng.choice(("all", "none", "first", "any")) for _ in range(2)]
        seen, folders = set(), [self.root]
        while folders:
            folder = folders.pop()
            if folder.number in seen:
                continue
            seen.add(folder.number)
            folder.entries = dict(folder.synced)
            for change in self._kept(rng, ways[0], folder.changes):
                for name, inode in change.items():
                    if inode is None:
                        folder.entries.pop(name, None)
                    else:
                        folder.entries[name] = inode
            self.sync(folder)
            for inode in folder.entries.values():
                if inode.kind == FOLDER:
                    inode.parent = folder
                    folders.append(inode)
                elif inode.kind == FILE:
                    self._cut_file(rng, ways[1], inode)
                inode.lock, inode.waiters, inode.pipe, inode.opened = None, [], None, 0

    def _cut_file(self, rng, way, inode):
        if not inode.changes:
            return
        content, kept = bytearray(inode.synced), self._kept(rng, way, inode.changes)
        is_new = inode.changes[-1][0] >= self.cut_at - WRITTEN_AFTER_S
        for number, (kind, at, data) in enumerate(kept):
            if kind == "size":
                del content[at:]
                content.extend(bytes(at - len(content)))
                continue
            if way in ("first", "any") and number == len(kept) - 1 and is_new:
                data = data[:rng.randrange(len(data) + 1)]  # torn
            if at > len(content):
                content.extend(bytes(at - len(content)))  # zeros, where the data did not arrive
            content[at:at + len(data)] = data
        inode.data = content
        if not kept:
            inode.mtime_ns = inode.synced_mtime_ns
        self.sync(inode)

    def _kept(self, rng, way, changes):
        old = [change for stamp, change in changes if stamp < self.cut_at - WRITTEN_AFTER_S]
        new = [change for stamp, change in changes if stamp >= self.cut_at - WRITTEN_AFTER_S]
        if way == "all":
            return old + new
        if way == "none":
            return old
        if way == "first":
            return old + new[:rng.randrange(len(new) + 1)]
        return old + [change for change in new if rng.random() < 0.5]
