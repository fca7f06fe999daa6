"""The inventory: what it lists of a tree and what it leaves out, what it says of each file, and what it survives."""

import contextlib
import errno
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

import pytest
from support import SCRIPTS, git, run_script, wait_until

import inventory
import references as references_module
import symphony_conductor as sc
import tree as tree_module
from common import RefusedError
from inventory import Cache, Inventory, purpose_of
from references import tokens_of
from tree import GitError, Root

INVENTORY = "cleanup_inventory.json"
CACHE = ".cleanup_cache"
FIELDS = ["path", "ino", "size", "mtime_ns", "ctime_ns", "dev", "mode", "nlink", "class", "references", "purpose",
          "expires", "duplicate"]
NOBODY = 65534
AS_ROOT = os.geteuid() == 0
SHIM = """#!/bin/sh
printf '%s | %s\\n' "$*" "$(env | grep '^GIT_' | sort | tr '\\n' ' ')" >> "$SHIM_LOG"
exec "$REAL_GIT" "$@"
"""


@pytest.fixture(autouse=True)
def _settings_of_nobody(tmp_path_factory, monkeypatch):
    """The settings of whoever runs the tests change what git ignores."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in [name for name in os.environ if name.startswith("GIT_") or name == "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name)


@pytest.fixture
def plain(tmp_path):
    """A root that belongs to no repository."""
    root = tmp_path / "plain"
    put(root, "config/conductor_config.json", b"{}")
    return root


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    root.mkdir(mode=0o700)
    git(root, "init", "-q")
    return root


def put(root, path, data=b""):
    """A file below the root, its name as bytes or as text; its path."""
    full = os.path.join(os.fsencode(str(root)), path if isinstance(path, bytes) else path.encode("utf-8"))
    os.makedirs(os.path.dirname(full), mode=0o700, exist_ok=True)
    with open(full, "wb") as handle:
        handle.write(data if isinstance(data, bytes) else data.encode("utf-8"))
    return full


def commit(root, *paths):
    git(root, "add", "-f", *(paths or (".",)))
    git(root, "commit", "-q", "--allow-empty", "-m", "more")


def read(root, name=INVENTORY):
    """The document with its rows as {path: {field: value}}, in their order."""
    document = json.loads((root / name).read_text(encoding="ascii"))
    assert document["fields"] == FIELDS
    rows = [dict(zip(FIELDS, row)) for row in document["files"]]
    document["files"] = {row["path"]: row for row in rows}
    assert len(rows) == len(document["files"]) and all(len(row) == len(FIELDS) for row in rows)
    return document


def take(root, **options):
    """An inventory by this process, written and read back."""
    owner = Root(str(root))
    try:
        Inventory(owner, **options).take().write()
    finally:
        os.close(owner.fd)
    return read(root)


def taken(root, *arguments, **more):
    """An inventory by a process, which must succeed: (document, what it printed)."""
    code, out, err = run_script("inventory.py", root, *arguments, **more)
    assert (code, err) == (0, ""), (code, out, err)
    return read(root), out


def column(document, field):
    return {path: row[field] for path, row in document["files"].items()}


def references(root, **options):
    return column(take(root, **options), "references")


# -- rows

def test_every_field_of_every_row_is_what_the_system_and_git_say(repository):
    put(repository, ".gitignore", "*.log\n/out/\n")
    put(repository, "src/app.py", "import os  # see notes.txt\n")
    put(repository, "src/tests/test_app.py", "app.py\n")
    put(repository, "gone-from-index.py", "")
    commit(repository)
    git(repository, "rm", "-q", "--cached", "gone-from-index.py")
    put(repository, "added.py", "")
    git(repository, "add", "added.py")
    put(repository, "notes.txt", "all of this lives\n")
    put(repository, "run.log", "0123456789")
    put(repository, "out/deep/page.html", "app.py and run.log\n")
    os.chmod(str(repository / "src/app.py"), 0o750)
    os.utime(str(repository / "notes.txt"), ns=(1, 1234567890123456789))
    document, _ = taken(repository)
    expected = {}
    for path, kind, count, purpose in (
            (".gitignore", "tracked", 0, "config"), ("added.py", "tracked", 0, "source"),
            ("gone-from-index.py", "tracked", 0, "source"), ("src/app.py", "tracked", 2, "source"),
            ("src/tests/test_app.py", "tracked", 0, "test"), ("notes.txt", "untracked", 1, "docs"),
            ("run.log", "ignored", 1, "log"), ("out/deep/page.html", "ignored", 0, "docs")):
        seen = os.lstat(str(repository / path))
        expected[path] = {
            "path": path, "ino": seen.st_ino, "size": seen.st_size, "mtime_ns": seen.st_mtime_ns,
            "ctime_ns": seen.st_ctime_ns, "dev": seen.st_dev, "mode": seen.st_mode, "nlink": 1, "class": kind,
            "references": count, "purpose": purpose, "expires": None, "duplicate": None}
    assert document["files"] == expected
    assert document["files"]["notes.txt"]["mtime_ns"] == 1234567890123456789
    assert stat.S_IMODE(document["files"]["src/app.py"]["mode"]) == 0o750


def test_what_the_last_commit_has_is_tracked_also_when_the_index_forgot_it_and_git_ignores_it(repository):
    put(repository, ".gitignore", "*.log\n")
    put(repository, "kept.log")
    commit(repository)
    git(repository, "rm", "-q", "--cached", "kept.log")
    put(repository, "other.log")
    listing = tree_module.Git(Root(str(repository))).listing()
    assert "kept.log" in listing.tracked and "kept.log" in listing.ignored
    assert column(take(repository), "class") == {".gitignore": "tracked", "kept.log": "tracked", "other.log": "ignored"}


def test_a_root_without_git_has_one_class(plain):
    put(plain, "a.tmp", "x")
    document, out = taken(plain)
    assert column(document, "class") == {"config/conductor_config.json": "no-git", "a.tmp": "no-git"}
    assert (document["git"], document["head"]) == (False, None)
    assert out.splitlines()[0].startswith("OK - 2 files, 3 B (2 no-git) in ")


def test_a_root_below_the_top_of_a_repository_has_the_classes_of_its_own_files(repository):
    put(repository, "part/config/conductor_config.json", b"{}")
    put(repository, "part/old.py")
    put(repository, "elsewhere.py")
    put(repository, ".gitignore", "*.log\n")
    commit(repository)
    git(repository, "rm", "-q", "--cached", "part/old.py")
    put(repository, "part/x.log")
    put(repository, "part/new.txt")
    assert column(take(repository / "part"), "class") == {
        "config/conductor_config.json": "tracked", "old.py": "tracked", "x.log": "ignored", "new.txt": "untracked"}


def test_before_the_first_commit_the_index_alone_says_what_is_tracked(repository):
    put(repository, "a.py")
    put(repository, "b.py")
    git(repository, "add", "a.py")
    document = take(repository)
    assert column(document, "class") == {"a.py": "tracked", "b.py": "untracked"}
    assert (document["git"], document["head"]) == (True, None)


def test_folders_with_a_repository_of_their_own_are_one_entry_each_and_never_looked_into(repository, tmp_path):
    put(repository, "own.py", "inner.txt\n")
    commit(repository)
    put(repository, "nested/.git/HEAD", "ref: refs/heads/main\n")
    put(repository, "nested/inner.txt", "own.py\n")
    put(repository, "a/damaged/.git", "gitdir: nowhere\n")
    put(repository, "a/damaged/inner.txt")
    git(repository, "worktree", "add", "-q", "--detach", "trees/one")
    git(repository, "init", "-q", "--bare", "bare.git")
    put(repository, "bare.git/inner.txt")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    put(other, "inner.txt")
    commit(other)
    git(repository, "submodule", "--quiet", "add", str(other), "lib/sub")
    os.symlink("../nested", str(repository / "a/link.txt"))
    document, out = taken(repository)
    assert sorted(document["files"]) == [".gitmodules", "a/link.txt", "own.py"]
    assert document["files"]["own.py"]["references"] == 0  # what names it was not looked into
    left_out = sorted((entry["path"], entry["why"]) for entry in document["not_entered"])
    assert left_out == [(path, "a repository of its own")
                        for path in ("a/damaged", "bare.git", "lib/sub", "nested", "trees/one")]
    assert "  not entered: trees/one: a repository of its own\n" in out
    assert out.startswith("OK - 3 files")


def test_a_folder_with_some_files_of_a_repository_is_none(plain):
    put(plain, "x/HEAD")
    put(plain, "x/objects/a.txt")
    document = take(plain)
    assert "x/objects/a.txt" in document["files"] and document["not_entered"] == []


def test_a_worktree_can_be_the_root_itself(repository, tmp_path):
    put(repository, "a.py")
    commit(repository)
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "beside"))
    put(tmp_path / "beside", "new.txt")
    document = take(tmp_path / "beside")
    assert column(document, "class") == {"a.py": "tracked", "new.txt": "untracked"}
    assert document["head"] == git(repository, "rev-parse", "HEAD").strip()


def test_symlinks_are_listed_and_not_followed(repository, tmp_path):
    put(tmp_path, "outside/secret.txt", "named.txt")
    put(repository, "real/named.txt", "x" * 100)
    for name, target in (("to_file", "real/named.txt"), ("to_folder", "real"), ("out", str(tmp_path / "outside")),
                         ("out_file.md", str(tmp_path / "outside/secret.txt")), ("loop", "."), ("dangling", "nothing")):
        os.symlink(target, str(repository / name))
    git(repository, "add", "to_folder")
    document = take(repository, min_duplicate=1)
    assert sorted(document["files"]) == ["dangling", "loop", "out", "out_file.md", "real/named.txt", "to_file",
                                         "to_folder"]
    links = {path for path, row in document["files"].items() if stat.S_ISLNK(row["mode"])}
    assert links == set(document["files"]) - {"real/named.txt"}
    assert document["files"]["real/named.txt"]["references"] == 1  # by to_file, not by out_file.md
    assert document["files"]["to_file"]["size"] == len("real/named.txt")
    assert document["files"]["to_folder"]["class"] == "tracked"
    assert document["not_entered"] == document["errors"] == []


ODD_NAMES = [b"with space.txt", b" lead", b"trail ", b"it's.txt", b'"quoted".txt', b"two\nlines", b"cr\rname", b"tab\t",
             b"back\\slash", b"\\n", b"\xe9t\xe9.latin1", b"\xff\xfe", b"\xc3", "été.txt".encode("utf-8"),
             "日本語".encode("utf-8"), "e\u0301".encode("utf-8"), "\U0001f600.md".encode("utf-8"), b"\x01\x1b[31m",
             b"-rf", b"--help", b"*", b"?.[a]", b"a,b;c|d", b"\xed\xb3\xa9", b"\xe2\x80\xa8", b"{}", b"%s", b"~"]


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"])
def test_any_name_survives_the_round_trip_through_the_file(repository, locale):
    for name in ODD_NAMES:
        put(repository, b"odd \xe9\n/" + name, name)
        put(repository, b"ignored\xfe/" + name)
    put(repository, ".gitignore", b"ignored\xfe/\n")
    git(repository, "add", ".gitignore")
    git(repository, "add", os.fsdecode(b"odd \xe9\n/" + ODD_NAMES[10]), os.fsdecode(b"odd \xe9\n/" + ODD_NAMES[13]))
    git(repository, "commit", "-q", "-m", "odd")
    env = dict(os.environ, LC_ALL=locale)
    code, out, err = run_script("inventory.py", repository, "--min-duplicate", "1", env=env)
    assert (code, err) == (0, "")
    found = {path.encode("utf-8", "surrogateescape"): row for path, row in read(repository)["files"].items()}
    expected = {b"odd \xe9\n/" + name for name in ODD_NAMES} | {b"ignored\xfe/" + name for name in ODD_NAMES}
    assert set(found) == expected | {b".gitignore"}
    assert {path for path, row in found.items() if row["class"] == "tracked"} == {
        b".gitignore", b"odd \xe9\n/" + ODD_NAMES[10], b"odd \xe9\n/" + ODD_NAMES[13]}
    assert all(row["class"] == "ignored" for path, row in found.items() if path.startswith(b"ignored"))
    for path, row in found.items():
        assert row["ino"] == os.lstat(os.path.join(os.fsencode(str(repository)), path)).st_ino
    assert out.splitlines()[0].startswith("OK - 57 files")


def test_what_is_printed_of_an_odd_name_is_one_line(repository):
    put(repository, b"two\nlines\xe9\x1b[31m/.git", "gitdir: nowhere\n")
    code, out, err = run_script("inventory.py", repository)
    assert (code, err) == (0, "")
    assert "  not entered: two\\nlines\\xe9\\x1b[31m: a repository of its own" in out.splitlines()


def test_a_file_from_the_future_is_listed_with_its_time(plain):
    path = put(plain, "later.tmp")
    ahead = (int(time.time()) + 400 * sc.DAY) * 10 ** 9 + 7
    os.utime(path, ns=(ahead, ahead))
    assert take(plain)["files"]["later.tmp"]["mtime_ns"] == ahead


def test_a_file_from_before_the_epoch_is_listed_with_its_time(plain):
    path = put(plain, "early.tmp")
    os.utime(path, (-1000, -1000))
    assert take(plain)["files"]["early.tmp"]["mtime_ns"] == -1000 * 10 ** 9


def test_hard_links_are_listed_with_their_number_and_are_no_duplicates(plain):
    first = put(plain, "one.bin", b"x" * 5000)
    os.link(first, first + b".link")
    files = take(plain, min_duplicate=1000)["files"]
    assert [files[name]["nlink"] for name in ("one.bin", "one.bin.link")] == [2, 2]
    assert [files[name]["duplicate"] for name in ("one.bin", "one.bin.link")] == [None, None]


def test_fifos_and_sockets_are_listed_with_their_mode_and_never_opened(plain, monkeypatch):
    os.mkfifo(str(plain / "pipe.py"), 0o640)
    monkeypatch.chdir(plain)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind("service.md")
        document, _ = taken(plain, "--min-duplicate", "1")
    finally:
        listener.close()
    modes = column(document, "mode")
    assert stat.S_ISFIFO(modes["pipe.py"]) and stat.S_IMODE(modes["pipe.py"]) == 0o640
    assert stat.S_ISSOCK(modes["service.md"])
    assert document["errors"] == []


def namespaces():
    return AS_ROOT and shutil.which("unshare") and subprocess.call(
        ["unshare", "--mount", "true"], stderr=subprocess.DEVNULL) == 0


def in_namespace(script, *arguments):
    """A shell script with mounts of its own: what it printed."""
    done = subprocess.run(("unshare", "--mount", "sh", "-euc", script, "sh") + tuple(map(str, arguments)),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode("utf-8", "replace")


MOUNTS = """
mount -t tmpfs tmpfs "$1/a/other device"; echo b.txt > "$1/a/other device/inside.txt"
mount --bind "$1/real" "$1/a/bound"
mount --bind "$1/real/inside.txt" "$1/a/file.txt"
"$2" "$3" --root "$1"
"""


@pytest.mark.skipif(not namespaces(), reason="mounts of the tests' own take root and namespaces")
def test_mount_points_are_not_entered_also_those_of_the_same_file_system(repository):
    for path in ("a/other device/under.txt", "a/bound/under.txt", "a/file.txt", "real/inside.txt"):
        put(repository, path)
    put(repository, "b.txt", "inside.txt")
    out = in_namespace(MOUNTS, repository, sys.executable, SCRIPTS / "inventory.py")
    document = read(repository)
    assert sorted(document["files"]) == ["b.txt", "real/inside.txt"]
    assert document["not_entered"] == [{"path": path, "why": "a mount point"}
                                       for path in ("a/file.txt", "a/bound", "a/other device")]
    assert "  not entered: a/bound: a mount point\n" in out and out.startswith("OK - 2 files,")
    assert document["files"]["b.txt"]["references"] == 0


def test_another_device_is_not_entered_where_no_list_of_mounts_tells_it(plain):
    put(plain, "x/a.txt")
    owner = Root(str(plain))
    owner.dev += 1
    walk = inventory.Walk(owner).run()
    os.close(owner.fd)
    assert walk.files == [] and walk.not_entered == [{"path": name, "why": "on another device"}
                                                     for name in ("config", "x")]


OWN = [name + behind for name in (INVENTORY, "cleanup_report.json", "cleanup_actions.log", ".cleanup_registry.json",
                                  CACHE) for behind in ("", ".lock", ".tmp")]


def test_the_files_of_the_clean_up_itself_are_neither_listed_nor_read(repository):
    for name in OWN:
        put(repository, name, b"{}" if name == ".cleanup_registry.json" else b"named.txt\n")
    put(repository, ".cleanup_quarantine/20250101T000000Z-1/named.txt", "named.txt")
    put(repository, "named.txt")
    put(repository, "sub/cleanup_actions.log", "only those at the root are")
    put(repository, "sub/.cleanup_quarantine/x.txt")
    put(repository, "cleanup_inventory.json.bak")
    document = take(repository)
    assert sorted(document["files"]) == ["cleanup_inventory.json.bak", "named.txt", "sub/.cleanup_quarantine/x.txt",
                                         "sub/cleanup_actions.log"]
    assert document["files"]["named.txt"]["references"] == 0
    assert document["counts"]["class"] == {"untracked": 4}


def test_a_tree_of_300_folders_is_not_entered_to_its_end(repository):
    path = str(repository)
    folders = []
    for _ in range(300):
        path = os.path.join(path, "d")
        os.mkdir(path, 0o700)
        folders.append(path)
    put(repository, "d/" * 200 + "deepest.txt")
    put(repository, "d/" * 201 + "too-deep.txt")
    document, out = taken(repository)
    assert list(document["files"]) == ["d/" * 200 + "deepest.txt"]
    assert document["not_entered"] == [{"path": "/".join("d" * 201), "why": "more than 200 folders deep"}]
    assert document["errors"] == [] and out.startswith("OK - 1 file,")
    for folder in reversed(folders):  # shutil.rmtree of old Pythons does not come so deep
        for name in os.listdir(folder):
            if name.endswith(".txt"):
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def test_a_folder_whose_files_no_path_can_name_is_not_entered(plain):
    fd = os.open(str(plain), os.O_RDONLY)
    folders = [fd]
    for _ in range(17):
        os.mkdir("n" * 250, 0o700, dir_fd=fd)
        fd = os.open("n" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(os.open("file.txt", os.O_CREAT, 0o600, dir_fd=fd))
        folders.append(fd)
    document = take(plain)
    assert len(document["files"]) == 16 and document["errors"] == []
    assert document["not_entered"] == [{"path": "/".join(["n" * 250] * 16), "why": "its path is too long"}]
    for fd in reversed(folders):  # no other program comes so deep
        for name in os.listdir(fd):
            if name == "file.txt":
                os.unlink(name, dir_fd=fd)
            elif name[0] == "n":
                os.rmdir(name, dir_fd=fd)
        os.close(fd)


@pytest.fixture
def divided(plain, monkeypatch):
    """A tree with something of everything, and small enough to be walked by two processes all the same."""
    monkeypatch.setattr(inventory, "SHARES", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for number in range(9):
        for name in ODD_NAMES:
            put(plain, b"d%d/x/" % number + name, name)
    for path in ("d1/nested/.git/HEAD", "d2/nested/.git", "top.txt", ".cleanup_quarantine/x"):
        put(plain, path)
    return plain


def test_a_large_tree_is_walked_by_two_processes_with_the_result_of_one(divided, monkeypatch):
    real, forks = os.fork, []
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or real())
    two = take(divided, use_cache=False)
    assert forks == [1]

    def no_more():
        forks.append(2)
        raise BlockingIOError
    monkeypatch.setattr(os, "fork", no_more)
    without = take(divided, use_cache=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    alone = take(divided, use_cache=False)
    assert forks == [1, 2]
    assert two["files"] == without["files"] == alone["files"] and len(two["files"]) == 9 * len(ODD_NAMES) + 2
    assert sorted(map(str, two["not_entered"])) == sorted(map(str, alone["not_entered"])) and len(
        two["not_entered"]) == 2
    assert column(two, "references") == column(alone, "references")


def test_a_second_process_that_ends_early_ends_it(divided, monkeypatch):
    monkeypatch.setattr(inventory.marshal, "dumps", lambda *arguments: os._exit(9))
    with pytest.raises(RefusedError) as error:
        take(divided)
    assert "a part of the tree could not be walked" in str(error.value) and not (divided / INVENTORY).exists()


# -- git

@pytest.fixture
def shim(tmp_path, monkeypatch):
    """A git that writes down how it was called; a function that returns the lines so far."""
    folder = tmp_path / "bin"
    log = tmp_path / "calls"
    put(folder, "git", SHIM)
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("SHIM_LOG", str(log))
    monkeypatch.setenv("REAL_GIT", shutil.which("git"))
    monkeypatch.setenv("PATH", "%s:%s" % (folder, os.environ["PATH"]))
    return lambda: sorted(log.read_text().splitlines())


BEFORE = "--no-optional-locks -c core.fsmonitor=false -c core.quotePath=false "
BEHIND = " | GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 "


@pytest.mark.parametrize("files", [1, 700])
def test_git_is_asked_for_three_listings_and_one_revision_however_many_files_there_are(repository, shim, monkeypatch,
                                                                                       files):
    for number in range(files):
        put(repository, "f%d/a%d.py" % (number % 9, number))
    commit(repository, "f0")
    log = repository.parent / "calls"
    if log.exists():
        log.unlink()
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_CONFIG_COUNT", "GIT_TRACE", "GIT_NAMESPACE"):
        monkeypatch.setenv(name, "/nonexistent/%s" % name)
    document, _ = taken(repository)
    assert len(document["files"]) == files
    calls = shim()
    assert calls[:3] == [BEFORE + call + BEHIND for call in (
        "ls-files -z --with-tree=HEAD", "ls-files -z -o --exclude-standard", "ls-files -z -o -i --exclude-standard")]
    assert len(calls) == 4 and calls[3].startswith(BEFORE + "rev-parse ") and calls[3].endswith(" HEAD" + BEHIND)


def test_without_a_repository_git_is_not_asked_at_all(plain, shim):
    taken(plain)
    assert not (plain.parent / "calls").exists()


def test_variables_of_git_that_point_at_another_repository_change_nothing(repository, tmp_path, monkeypatch):
    put(repository, "a.py")
    commit(repository)
    put(repository, "b.py")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    put(other, "b.py")
    commit(other)
    before = column(take(repository), "class")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert column(take(repository), "class") == before == {"a.py": "tracked", "b.py": "untracked"}


GIT_BREAKS = [
    ("exits in every call", "exit 1", "git does not recognize .* as a work tree"),
    ("fails in every call", "exit 128", "git rev-parse .* failed \\(exit 128\\): no message"),
    ("dies of a signal", "kill -9 $$", "git rev-parse .* failed \\(exit -9\\)"),
    ("takes the root for no work tree", "echo false", "git does not recognize .* as a work tree"),
    ("fails in the first listing", 'case "$*" in *--with-tree*) exit 128;; esac', "git ls-files -z .* \\(exit 128\\)"),
    ("fails in the second", 'case "$*" in *"-z -o --exclude"*) echo broken >&2; exit 2;; esac', "exit 2\\): broken"),
    ("fails in the third", 'case "$*" in *"-o -i"*) printf "a\\0"; exit 1;; esac', "git ls-files -z -o -i .* failed"),
    ("complains and exits with 0", 'case "$*" in *"-o -i"*) echo "error: bad index" >&2; exit 0;; esac',
     "error: bad index"),
]


@pytest.mark.parametrize("script, said", [case[1:] for case in GIT_BREAKS], ids=[case[0] for case in GIT_BREAKS])
def test_a_git_that_breaks_ends_it_with_one_line_and_the_inventory_before_stays(repository, shim, tmp_path, script,
                                                                                said):
    put(repository, "a.tmp")
    commit(repository)
    taken(repository)
    before = (repository / INVENTORY).read_bytes()
    put(repository, "b.tmp")
    put(tmp_path, "bin/git", '#!/bin/sh\n%s\nexec "$REAL_GIT" "$@"\n' % script)
    code, out, err = run_script("inventory.py", repository)
    assert (code, out) == (3, "")
    assert err.startswith("inventory: ") and err.count("\n") == 1 and re.search(said, err), err
    assert (repository / INVENTORY).read_bytes() == before


def test_without_git_on_the_path_a_repository_is_refused(repository, tmp_path):
    put(repository, INVENTORY, "before")
    code, out, err = run_script("inventory.py", repository, env=dict(os.environ, PATH=str(tmp_path)))
    assert (code, out) == (3, "")
    assert re.match("inventory: cannot run git: No such file or directory(: 'git')? "
                    r"\(nothing may be removed while git cannot say what is tracked\)\n\Z", err)
    assert (repository / INVENTORY).read_text() == "before"


def test_a_repository_that_is_damaged_is_refused(repository):
    put(repository, "a.py")
    commit(repository)
    put(repository, ".git/index", b"garbage")
    with pytest.raises(GitError):
        take(repository)
    put(repository, ".git/HEAD", b"garbage")
    with pytest.raises(GitError):
        take(repository)


GONE = "(restore .git; if it is gone for good, "


def lost(root, *arguments):
    """What the inventory says that must refuse; the inventory before must stay."""
    before = (root / INVENTORY).read_bytes() if (root / INVENTORY).exists() else b""
    code, out, err = run_script("inventory.py", root, *arguments)
    assert (code, out, err.count("\n")) == (3, "", 1) and GONE in err, err
    assert before == ((root / INVENTORY).read_bytes() if before else b"")
    return err


def test_a_git_that_is_gone_since_the_last_inventory_is_refused_until_that_is_deleted(repository, tmp_path):
    put(repository, "config/conductor_config.json", b"{}")
    put(repository, "a.tmp")
    commit(repository)
    taken(repository)
    os.rename(str(repository / ".git"), str(tmp_path / "git-aside"))
    assert "%s was in a git repository when the last inventory was taken" % repository in lost(repository)
    assert "for good, delete %s)" % (repository / INVENTORY) in lost(repository, "--output", str(tmp_path / "x.json"))
    os.rename(str(repository), str(tmp_path / "moved"))
    lost(tmp_path / "moved")
    shutil.copytree(str(tmp_path / "moved"), str(tmp_path / "copy"))  # nobody knew git there
    taken(tmp_path / "copy")
    os.unlink(str(tmp_path / "moved" / INVENTORY))
    assert taken(tmp_path / "moved")[0]["git"] is False


def test_a_git_above_does_not_stand_in_for_the_one_that_is_gone(repository, tmp_path):
    """Dotfiles in the home folder are in a repository, as a rule."""
    put(repository, "part/config/conductor_config.json", b"{}")
    put(repository, "part/a.tmp")
    commit(repository)
    git(repository / "part", "init", "-q")
    commit(repository / "part")
    assert taken(repository / "part")[0]["git_top"] == "."
    os.rename(str(repository / "part" / ".git"), str(tmp_path / "git-aside"))
    lost(repository / "part")
    os.unlink(str(repository / "part" / INVENTORY))
    assert taken(repository / "part")[0]["git_top"] == ".."


@pytest.mark.parametrize("text", ["{}", "[]", "[[[", "{\"git\": true, ", '{"git": true, "files": [\n'])
def test_what_is_no_inventory_of_this_root_knows_of_no_git(plain, text):
    put(plain, INVENTORY, text)
    assert taken(plain)[0]["git"] is False


def test_a_git_that_is_gone_since_files_were_registered_is_refused(plain):
    facts = {"expires": "2030-01-02T03:04:05Z", "registered_at": "2030-01-01T00:00:00Z"}
    put(plain, ".cleanup_registry.json", json.dumps({"a": dict(facts, git=True), "b": facts}))
    assert "%s was in a git repository when files were registered" % plain in lost(plain)
    put(plain, ".cleanup_registry.json", json.dumps({"b": facts}))
    taken(plain)


@pytest.mark.parametrize("there", [True, False], ids=["goes", "comes"])
def test_a_git_that_comes_or_goes_while_the_tree_is_walked_is_refused(repository, tmp_path, monkeypatch, there):
    put(repository, "config/conductor_config.json", b"{}")
    commit(repository)
    places = [str(repository / ".git"), str(tmp_path / "aside")]
    if not there:
        os.rename(*places)
        places.reverse()
    real = tree_module.Git.finish if there else inventory.Walk.run

    def move(self):
        answer = real(self)
        os.rename(*places)
        return answer
    monkeypatch.setattr(*((tree_module.Git, "finish") if there else (inventory.Walk, "run")), move)
    with pytest.raises(RefusedError) as error:
        take(repository)
    said = ".git disappeared" if there else ".git appeared"
    assert str(error.value).startswith(said + " while the inventory was taken")


# -- errors

def as_nobody(root, *arguments):
    """The inventory by an ordinary user: (exit code, stdout, stderr). The tree becomes that user's."""
    if AS_ROOT:
        if not all(os.stat(str(folder)).st_mode & 0o001 for folder in SCRIPTS.parents):
            pytest.skip("an ordinary user cannot reach this checkout")
        for folder, _, names in os.walk(str(root)):
            for path in [folder] + [os.path.join(folder, name) for name in names]:
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    streams = [tempfile.TemporaryFile() for _ in range(2)]
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            for fd, stream in enumerate(streams, 1):
                os.dup2(stream.fileno(), fd)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
            if AS_ROOT:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.chdir("/")
            os.environ["HOME"] = "/nonexistent"
            sys.argv = ["inventory.py", "--root", str(root)] + list(arguments)
            inventory.finish(inventory.main)
        finally:
            os._exit(99)
    status = os.waitpid(pid, 0)[1]
    found = [os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)]
    for stream in streams:
        stream.seek(0)
        found.append(stream.read().decode("utf-8", "replace"))
        stream.close()
    return tuple(found)


@pytest.fixture
def shared():
    """A folder that an ordinary user reaches."""
    folder = tempfile.mkdtemp(prefix="inventory-test-")
    os.chmod(folder, 0o755)
    yield type(SCRIPTS)(folder)
    for path, folders, _ in os.walk(folder):
        for name in folders:
            os.chmod(os.path.join(path, name), 0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("with_git", [False, True], ids=["no-git", "git"])
def test_a_file_that_cannot_be_read_is_an_error_and_the_verdict_a_warning(shared, with_git):
    root = shared / "root"
    put(root, "config/conductor_config.json", b"{}")
    put(root, "a.py", "b.py")
    put(root, "b.py")
    if with_git:
        git(root, "init", "-q")
        commit(root)
    (root / "a.py").chmod(0)
    code, out, err = as_nobody(root)
    assert (code, err) == (0, "")
    document = read(root)
    assert document["errors"] == [{"path": "a.py", "error": "Permission denied"}]
    assert document["files"]["b.py"]["references"] == 0 and "a.py" in document["files"]
    assert out.startswith("WARNING - 3 files, ") and "; 1 error, so nothing can be removed\n" in out
    assert "  error: a.py: Permission denied\n" in out
    (root / "a.py").chmod(0o600)
    assert as_nobody(root)[1].startswith("OK - ")
    document = read(root)
    assert (document["errors"], document["files"]["b.py"]["references"]) == ([], 1)


@pytest.mark.parametrize("with_git", [False, True], ids=["no-git", "git"])
@pytest.mark.parametrize("mode", [0, 0o300, 0o600], ids=["none", "no-read", "no-search"])
def test_a_folder_of_another_user_is_not_entered_and_keeps_nobody_from_anything(shared, with_git, mode):
    root = shared / "root"
    put(root, "config/conductor_config.json", b"{}")
    if with_git:
        git(root, "init", "-q")
        commit(root)
    put(root, "locked/x.py")
    put(root, "open.py")
    (root / "locked").chmod(mode)
    code, out, err = as_nobody(root)
    assert (code, err) == (0, "")
    document = read(root)
    assert document["not_entered"] == [{"path": "locked", "why": "permission denied"}]
    assert sorted(document["files"]) == ["config/conductor_config.json", "open.py"]
    assert document["errors"] == [] and out.startswith("OK - 2 files, ")
    assert "  not entered: locked: permission denied\n" in out


def test_of_many_errors_ten_are_printed_and_the_rest_counted(shared):
    root = shared / "root"
    put(root, "config/conductor_config.json", b"{}")
    for number in range(13):
        put(root, "a%02d.py" % number)
        (root / ("a%02d.py" % number)).chmod(0)
    code, out, _ = as_nobody(root)
    assert code == 0 and "; 13 errors, so nothing can be removed\n" in out
    assert sum(line.startswith("  error: ") for line in out.splitlines()) == 10 and "\n  and 3 more\n" in out
    assert len(read(root)["errors"]) == 13


def test_a_file_that_is_gone_between_the_walk_and_the_reading_is_no_error(plain, monkeypatch):
    put(plain, "a.py", "b.py")
    put(plain, "b.py", "x" * 100)
    put(plain, "c.py", "x" * 100)
    real = Cache.begin

    def begin(self, *arguments):
        os.unlink(str(plain / "a.py"))
        os.unlink(str(plain / "b.py"))
        real(self, *arguments)
    monkeypatch.setattr(Cache, "begin", begin)
    document = take(plain, min_duplicate=1)
    assert document["errors"] == [] and document["files"]["b.py"]["references"] == 0
    assert document["files"]["c.py"]["duplicate"] is None


def test_a_file_that_cannot_be_read_is_an_error_and_read_again_the_next_time(plain, monkeypatch):
    put(plain, "foo.tmp")
    put(plain, "a.md", "foo.tmp")
    put(plain, "b.md", "foo.tmp")
    real = references_module.Reader.read

    def read_but_one(self, seen):
        if seen.path == "a.md":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, seen)

    monkeypatch.setattr(references_module.Reader, "read", read_but_one)
    document = take(plain)
    assert document["errors"] == [{"path": "a.md", "error": "Input/output error"}]
    assert document["files"]["foo.tmp"]["references"] == 1
    monkeypatch.undo()
    document = take(plain)
    assert document["errors"] == [] and document["files"]["foo.tmp"]["references"] == 2


def test_a_file_in_whose_place_another_was_while_it_was_read_is_read_again_the_next_time(plain, monkeypatch):
    """Its own times do not tell that its folder was away meanwhile."""
    put(plain, "foo.tmp")
    put(plain, "d/a.md", "foo.tmp")
    put(plain, "other/a.md", "nothing")
    real = references_module.Reader.read

    def swap():
        for source, target in (("d", "away"), ("other", "d"), ("away", "other")):
            os.rename(str(plain / source), str(plain / target))

    def read_the_other(self, seen):
        if seen.path != "d/a.md":
            return real(self, seen)
        swap()
        try:
            return real(self, seen)
        finally:
            swap()

    monkeypatch.setattr(references_module.Reader, "read", read_the_other)
    assert references(plain)["foo.tmp"] == 0
    monkeypatch.undo()
    assert references(plain)["foo.tmp"] == 1


def test_progress_is_that_of_the_files_that_are_read(plain, monkeypatch):
    shown = []

    class Recorder:
        def __init__(self, what):
            shown.append(what)

        def show(self, number):
            shown.append(number)

        def end(self):
            shown.append("end")

    monkeypatch.setattr(references_module, "Progress", Recorder)
    put(plain, "a.md")
    put(plain, "b.md")
    take(plain)
    put(plain, "c.md")
    take(plain)
    assert shown == ["files read", 1, 2, 3, "end", "files read", 1, "end"]


def test_a_file_that_changes_between_the_walk_and_the_comparison_is_no_duplicate(plain, monkeypatch):
    put(plain, "a.py", "x" * 100)
    put(plain, "b.py", "y" * 100)
    put(plain, "c.py", "y" * 100)
    real = Cache.begin

    def begin(self, *arguments):
        put(plain, "a.py", "y" * 100)
        real(self, *arguments)
    monkeypatch.setattr(Cache, "begin", begin)
    files = take(plain, min_duplicate=1)["files"]
    assert files["a.py"]["duplicate"] is None
    assert files["b.py"]["duplicate"] == files["c.py"]["duplicate"]
    assert files["b.py"]["duplicate"]


# -- the header

def test_the_header_says_where_when_and_of_what_it_was_taken(repository):
    put(repository, "a.py")
    commit(repository)
    before = int(time.time())
    document, out = taken(repository, "--min-duplicate", "4096")
    seen = os.stat(str(repository))
    expected = {"format": 1, "root": os.path.realpath(str(repository)), "root_dev": seen.st_dev,
                "root_ino": seen.st_ino, "host": socket.gethostname(), "git": True, "git_top": ".",
                "head": git(repository, "rev-parse", "HEAD").strip(), "references": True, "min_duplicate": 4096,
                "not_entered": [], "errors": [], "fields": FIELDS, "counts": {"class": {"tracked": 1},
                                                                             "purpose": {"source": 1}},
                "bytes": {"class": {"tracked": 0}, "purpose": {"source": 0}}}
    assert {key: document[key] for key in expected} == expected
    assert set(document) == set(expected) | {"files", "started", "finished"}
    started, finished = sc.from_iso(document["started"]), sc.from_iso(document["finished"])
    assert before <= started <= finished <= time.time()
    assert out.splitlines()[-1] == "  written to %s" % os.path.realpath(str(repository / INVENTORY))
    assert stat.S_IMODE(os.stat(str(repository / INVENTORY)).st_mode) == 0o600


def test_counts_and_bytes_add_up(repository):
    put(repository, ".gitignore", "*.log\n*.bak\n")
    for number in range(7):
        put(repository, "src/m%d.py" % number, "x" * number)
        put(repository, "logs/l%d.log" % number, "y" * (100 + number))
        put(repository, "tmp/t%d.dat" % number, "z" * 3)
    put(repository, "odd", b"\0\1")
    commit(repository, "src", ".gitignore")
    document = take(repository)
    for field, kind in (("counts", None), ("bytes", "size")):
        for by in ("class", "purpose"):
            sums = {}
            for row in document["files"].values():
                sums[row[by]] = sums.get(row[by], 0) + (row[kind] if kind else 1)
            assert document[field][by] == sums
    assert document["counts"] == {"class": {"ignored": 7, "tracked": 8, "untracked": 8},
                                  "purpose": {"binary": 1, "config": 1, "log": 7, "source": 7, "temp": 7}}
    assert document["bytes"]["class"] == {"ignored": 721, "tracked": 33, "untracked": 23}


def test_every_row_is_a_line_of_its_own_and_an_empty_tree_has_none(repository):
    document = take(repository)
    assert document["files"] == {} and document["counts"] == {"class": {}, "purpose": {}}
    put(repository, "a\nb.py")
    put(repository, "c.py")
    take(repository)
    lines = (repository / INVENTORY).read_text().splitlines()
    assert len(lines) == 4 and sum(line.startswith('["') for line in lines) == 2


@pytest.mark.skipif(not shutil.which("jq"), reason="there is no jq")
def test_the_jq_line_of_the_help_works(repository):
    put(repository, "a.py")
    take(repository)
    line = next(line for line in inventory.__doc__.splitlines() if line.strip().startswith("jq "))
    out = subprocess.check_output(line, shell=True, cwd=str(repository))
    assert json.loads(out.decode())["path"] == "a.py"


PURPOSES = [
    ("app.py", "", "source"), ("test_app.py", "", "test"), ("app_test.go", "", "test"), ("x.test.js", "", "test"),
    ("test_notes.md", "", "docs"), ("a.JSON", "", "config"), ("Makefile", "", "config"), ("README", "", "docs"),
    ("data.csv", "", "data"), ("run.log", "", "log"), ("a.pyc", "", "cache"), ("a.tmp", "", "temp"),
    ("a.py.bak", "", "backup"), ("a.py~", "", "backup"), ("~", "", "backup"), ("a.o", "", "generated"),
    ("a.png", "", "binary"), ("nothing", "", "other"), (".hidden", "", "other"), (".env", "", "config"),
    ("a.", "", "other"), ("tmp", "", "other"), ("a.py", "test", "test"), ("a.log", "test", "log"),
    ("a.TMP", "docs", "temp"), ("nothing", "log", "log"), ("a.png", "docs", "docs"), (".DS_Store", "", "temp"),
    ("a.tmp.py", "", "source"), ("log", "", "other"),
]


@pytest.mark.parametrize("name, of_folder, purpose", PURPOSES)
def test_the_purpose_follows_from_the_name_and_the_folder(name, of_folder, purpose):
    assert purpose_of(name, of_folder) == purpose


def test_the_nearest_folder_that_says_something_decides_the_purpose(plain):
    for path in ("Docs/x/a.py", "tests/data/a.py", "build/tests/deep/er/a.py", "x/y/a.py", "node_modules/a/README"):
        put(plain, path)
    assert {path: purpose for path, purpose in column(take(plain), "purpose").items() if "conductor" not in path} == {
        "Docs/x/a.py": "docs", "tests/data/a.py": "data", "build/tests/deep/er/a.py": "test", "x/y/a.py": "source",
        "node_modules/a/README": "generated"}


# -- expiry

def test_expires_comes_from_the_registry_also_for_what_lies_below_a_registered_folder(plain):
    for path in ("a.txt", "out/b.txt", "out/deep/c.txt", "outside.txt", "out.txt", "d.txt", "outer/e.txt"):
        put(plain, path)
    entries = {path: {"expires": at, "registered_at": "2030-01-01T00:00:00Z"} for path, at in (
        ("a.txt", "2030-01-02T03:04:05Z"), ("out", "2031-01-01T00:00:00Z"), ("out/deep/c.txt", "2032-01-01T00:00:00Z"),
        ("outer", "2034-01-01T00:00:00Z"), ("gone.txt", "2030-01-01T00:00:00Z"),
        (str(plain / "d.txt"), "2033-01-01T00:00:00Z"))}
    put(plain, ".cleanup_registry.json", json.dumps(entries))
    found = {path: at for path, at in column(take(plain), "expires").items() if at}
    assert found == {"a.txt": "2030-01-02T03:04:05Z", "out/b.txt": "2031-01-01T00:00:00Z",
                     "out/deep/c.txt": "2032-01-01T00:00:00Z", "d.txt": "2033-01-01T00:00:00Z",
                     "outer/e.txt": "2034-01-01T00:00:00Z"}


def test_a_damaged_registry_ends_it_and_the_inventory_before_stays(plain):
    put(plain, INVENTORY, "before")
    put(plain, ".cleanup_registry.json", "{")
    code, out, err = run_script("inventory.py", plain)
    assert (code, out, err.count("\n")) == (3, "", 1) and ".cleanup_registry.json cannot be used" in err
    assert (plain / INVENTORY).read_text() == "before"


# -- duplicates

def test_equal_content_above_the_threshold_is_grouped_and_equal_size_alone_is_not(plain):
    big = inventory.READ_BYTES
    for path, data in (("a.bin", b"x" * 2000), ("deep/b.txt", b"x" * 2000), ("c.bin", b"x" * 1999 + b"y"),
                       ("d.bin", b"z" * 2000), ("e.bin", b"z" * 2000), ("f.bin", b"z" * 2000), ("small1", b"q" * 999),
                       ("small2", b"q" * 999), ("edge1", b"q" * 1000), ("edge2", b"q" * 1000), ("lone", b"x" * 3000),
                       ("big1", b"x" * big + b"1"), ("big2", b"x" * big + b"2"), ("big3", b"x" * big + b"1")):
        put(plain, path, data)
    os.symlink("a.bin", str(plain / "link"))
    for options in ({}, {}, {"use_cache": False}, {"references": False}):
        groups = {}
        for path, group in column(take(plain, min_duplicate=1000, **options), "duplicate").items():
            groups.setdefault(group, []).append(path)
        alone = groups.pop(None)
        assert sorted(map(sorted, groups.values())) == [["a.bin", "deep/b.txt"], ["big1", "big3"],
                                                        ["d.bin", "e.bin", "f.bin"], ["edge1", "edge2"]]
        assert {"c.bin", "small1", "small2", "lone", "big2", "link"} <= set(alone)
        assert all(re.match("[0-9a-f]{16}$", group) for group in groups)


def test_the_default_threshold_is_a_mebibyte_and_can_be_written_down(plain):
    put(plain, "a.bin", b"x" * 1048576)
    put(plain, "b.bin", b"x" * 1048576)
    put(plain, "c.bin", b"y" * 1048575)
    put(plain, "d.bin", b"y" * 1048575)
    document = take(plain)
    assert document["min_duplicate"] == 1048576
    assert sorted(path for path, group in column(document, "duplicate").items() if group) == ["a.bin", "b.bin"]
    assert run_script("inventory.py", plain, "--min-duplicate", "1048576")[0] == 0


@pytest.mark.parametrize("value", ["0", "-1", "x", ""])
def test_a_threshold_that_is_none_is_a_usage_error(plain, value):
    assert run_script("inventory.py", plain, "--min-duplicate=" + value)[0] == 2


# -- references

TOKENS = [
    (b"", []),
    (b"foo.tmp", [b"foo.tmp"]),
    (b"see foo.tmp.", [b"see", b"foo.tmp"]),
    (b"see foo.tmp. And more", [b"see", b"foo.tmp", b"And", b"more"]),
    (b"foo.tmp.\nbar.tmp.\n", [b"foo.tmp", b"bar.tmp"]),
    (b"foo.tmp...", [b"foo.tmp"]),
    (b"foo.tmp... bar.tmp.. baz.tmp.... end", [b"foo.tmp", b"bar.tmp", b"baz.tmp", b"end"]),
    (b"(foo.tmp)", [b"foo.tmp"]),
    (b"(foo.tmp.) next", [b"foo.tmp", b"next"]),
    (b"'foo.tmp', \"bar.tmp\";", [b"foo.tmp", b"bar.tmp"]),
    (b"`foo.tmp`", [b"foo.tmp"]),
    ("“foo.tmp” ‘bar.tmp’ «baz.tmp»".encode("utf-8"), [b"foo.tmp", b"bar.tmp", b"baz.tmp"]),
    ("foo.tmp… and foo.tmp。".encode("utf-8"), [b"foo.tmp", b"and", b"foo.tmp"]),
    (b"a/b/foo.tmp", [b"a", b"b", b"foo.tmp"]),
    (b"./foo.tmp ../bar.tmp", [b"foo.tmp", b"bar.tmp"]),
    (b"C:\\dir\\foo.tmp", [b"C", b"dir", b"foo.tmp", b"oo.tmp"]),
    (b"a%20foo.tmp %2Ffoo.tmp", [b"a", b"20foo.tmp", b"2Ffoo.tmp", b"foo.tmp", b"foo.tmp"]),
    (b"a\\nfoo.tmp \\u00e9\\xe9bar.tmp \\303\\251baz.tmp",
     [b"a", b"nfoo.tmp", b"u00e9", b"xe9bar.tmp", b"303", b"251baz.tmp", b"foo.tmp", b"bar.tmp", b"baz.tmp"]),
    (b"foo\\_bar\\.tmp", [b"foo", b"_bar", b".tmp", b"foo_bar.tmp"]),
    (b"https://x.org/a/foo.tmp?b=c#bar.tmp", [b"https", b"x.org", b"a", b"foo.tmp", b"b", b"c", b"bar.tmp"]),
    (b"[text](docs/foo.tmp) **bar.tmp** <baz.tmp>", [b"text", b"docs", b"foo.tmp", b"bar.tmp", b"baz.tmp"]),
    (b"1,foo.tmp,2;bar.tmp|x\tbaz.tmp", [b"1", b"foo.tmp", b"2", b"bar.tmp", b"x", b"baz.tmp"]),
    (b"--file=foo.tmp >bar.tmp", [b"--file", b"foo.tmp", b"bar.tmp"]),
    (b"foo.tmp:12:3: error", [b"foo.tmp", b"12", b"3", b"error"]),
    (b"foo.tmp~ foo.tmp-1 x_foo.tmp", [b"foo.tmp~", b"foo.tmp-1", b"x_foo.tmp"]),
    (b"foo.tmp\0bar.tmp\r\nbaz.tmp\x0c", [b"foo.tmp", b"bar.tmp", b"baz.tmp"]),
    (b".hidden ...x", [b".hidden", b"...x"]),
    (b"\xe9foo.tmp\xe9", [b"foo.tmp"]),
    (b"cc -ofoo.tmp", [b"cc", b"-ofoo.tmp", b"foo.tmp", b"oo.tmp", b"o.tmp", b".tmp"]),
    (b"tar -x.tmp", [b"tar", b"-x.tmp", b".tmp"]),
]


@pytest.mark.parametrize("text, tokens", TOKENS)
def test_the_tokens_of_a_text(text, tokens):
    assert [token.rstrip(b".") for token in tokens_of(text) if token.strip(b".")] == tokens


# What the bytes of a text say where characters are written differently.
WRITTEN = [
    (b"caf\xc3\xa9", "caf\u00e9"), (b"caf\xe9", "caf\u00e9"), (b"e\xcc\x81", "\u00e9"),
    (b"\x80", "\u20ac"), (b"a\\x20b%20c", "a b c"), (b"a\\u00e9", "a\u00e9"),
    (b"\\ud83d\\ude00", "\U0001f600"), (b"\\U0001F600", "\U0001f600"),
    (b"\\u{1F600}", "\U0001f600"), (b"\\x{41}", "A"), (b"\\101\\303\\251", "A\u00e9"),
    (b"%2541", "A"), (b"%C3%A9", "\u00e9"), (b"\\udce9", "\u00e9"), (b"\\ud800", "?"),
    (b"\\u{ffffff}", "\U0010ffff"), (b"\\U10000041", "\U0010ffff"), (b"&amp;&eacute;&#233;", "&\u00e9\u00e9"),
    (b"e&#x301;", "\u00e9"), (b"a$$b", "a$b"), (b"it\\'s 'q' \"r\" `s`", "its q r s"),
    (b"a+b\xc2\xa0c", "a b c"), (b"a\tb\nc\rd", "atbncrd"), (b"x\\ny", "xny")]


@pytest.mark.parametrize("data, text", WRITTEN)
def test_however_a_character_is_written_it_is_that_character(data, text):
    assert references_module.unescaped(data) == text


@pytest.mark.parametrize("data, text", [
    (b"caf\xc3\xa9", "caf\u00e9"), (b"caf\xe9", "caf\u00e9"), (b"e\xcc\x81", "\u00e9"), (b"\x80\x81", "\u20ac\x81"),
    (b"a\\x20+'", "a\\x20+'")])
def test_what_is_not_utf_8_is_read_as_cp1252(data, text):
    assert references_module.readable(data) == text


PADDED = b"a\0" * 4 + b"b" * 56


@pytest.mark.parametrize("start, encoding", [
    (b"\xff\xfea\0", "utf-16"), (b"\xfe\xff\0a", "utf-16"), (b"\xff\xfe", "utf-16"), (b"a\0b\0c\0d\0", "utf-16-le"),
    (b"\0a\0b\0c\0d", "utf-16-be"), (b"a\0b\0c\0", ""), (b"abcdefgh", ""), (b"", ""), (b"\0" * 10, ""),
    (b"a\0b\0c\0d\0\t\0\n\0", "utf-16-le"), (b"a\0b\0c\0d\0\x01\0", ""),
    (PADDED, "utf-16-le"), (PADDED + b"b", ""),                       # a NUL in sixteen bytes, and fewer
    (b"a\0" * 5 + b"\0a", "utf-16-le"), (b"a\0" * 4 + b"\0a", "")])  # a fourth of the other bytes, and more
def test_utf_16_is_told_by_its_mark_or_by_its_nuls(start, encoding):
    assert references_module._utf_16_of(start) == encoding


def test_the_version_of_a_file_is_what_an_inventory_has_of_it(plain):
    seen = os.stat(os.path.join(str(plain), "config/conductor_config.json"))
    assert references_module.version_of(seen) == "%d,%d,%d,%d,%d,%d,%d" % (
        seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_dev, seen.st_mode, seen.st_nlink)


class FakeTerminal:
    def __init__(self, is_terminal):
        self.is_terminal, self.written = is_terminal, []

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.written.append(text)

    def flush(self):
        self.written.append("flush")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_written_every_5000_and_wiped_out(is_terminal, monkeypatch):
    terminal = FakeTerminal(is_terminal)
    monkeypatch.setattr(references_module.sys, "stderr", terminal)
    progress = references_module.Progress("files")
    progress.end()  # nothing was shown, so nothing is wiped out
    for number in (1, 4999, 5000, 5001, 9999, 10000):
        progress.show(number)
    progress.end()
    assert terminal.written == (["\r5000 files ", "flush", "\r10000 files ", "flush",
                                 "\r%s\r" % (" " * 17)] if is_terminal else [])


@pytest.mark.parametrize("size, blocks", [(1, [[1], [2], [3]]), (2, [[1, 2], [3]]), (3, [[1, 2, 3]]), (9, [[1, 2, 3]])])
def test_a_list_is_cut_into_blocks_that_together_are_the_list(size, blocks):
    assert list(references_module.in_blocks([1, 2, 3], size)) == blocks
    assert list(references_module.in_blocks([], size)) == []
    texts = [list(map(str, block)) for block in blocks]
    assert b"".join(references_module.joined(texts)) == b"1\n2\n3"
    assert b"".join(references_module.joined(texts, "|")) == b"1|2|3"
    assert b"".join(references_module.in_pieces([b"a", b"", b"b"])) == b"a\n\nb"


@pytest.mark.parametrize("name, marked", [("a b", "%612062"), ("\u00e9", "%c3a9"), ("\udce9", "%e9"), ("%", "%25")])
def test_a_name_that_is_no_token_is_kept_by_its_bytes(name, marked):
    assert references_module._marked(name) == marked and references_module._unmarked(marked) == name
    assert references_module._unmarked("a.txt") == "a.txt"


def test_the_key_of_the_files_changes_with_each_version_and_each_name():
    def key(*pairs):
        return references_module.key_of([references_module.Seen("p", name, version, 1, 2, 3, "other")
                                         for version, name in pairs])

    keys = [key(), key(("1", "a")), key(("1", "b")), key(("2", "a")), key(("1", "a"), ("1", "b")), key(("1", "\udce9"))]
    assert len(set(keys)) == len(keys) and key(("1", "a")) == keys[1]
    many = [("1", "a")] * 5001
    assert len({key(*many), key(*(many[:-1] + [("1", "b")])), key(*many[:-1])}) == 3


def test_names_are_tokens_or_have_one_inside():
    names = references_module.Names({"a.txt", "b c.md", "x.y"})
    assert (names.tokens, names.others) == ({b"a.txt", b"x.y"}, {"b c.md"})
    assert names.words == {b"a.txt", b"x.y", b"c.md"} and names.anchors == {b"c.md"}  # the one with a dot
    text = b"see 'b c.md' and a.txt"
    assert names.mentioned(text, {b"a.txt", b"c.md"}) == ["a.txt", "b c.md"]
    assert names.mentioned(b"a.txt c.md", {b"a.txt", b"c.md"}) == ["a.txt"]
    assert names.mentioned(text, {b"a.txt"}) == ["a.txt"] and names.mentioned(text, set()) == []
    assert references_module.Names({"a.txt"}).mentioned(b"", [b"a.txt"]) == ["a.txt"]
    assert "\u00e9" in references_module.Names({"\u00e9"}).anywhere


def test_of_the_tokens_inside_of_a_name_the_rarest_leads_to_it():
    assert references_module.Names({"common.md a.b", "common.md c.d"}).anchors == {b"a.b", b"c.d"}
    assert references_module.Names({"common.md a.b"}).anchors == {b"common.md"}  # then the longest


MENTIONS = [
    (b"foo.tmp", 1),
    (b"foo.tmp foo.tmp foo.tmp", 1),
    (b"x 'foo.tmp' y", 1),
    (b'open("foo.tmp")', 1),
    (b"a/b/foo.tmp", 1),
    (b"../foo.tmp", 1),
    (b"/foo.tmp/", 1),
    (b"C:\\x\\foo.tmp", 1),
    (b"It is in foo.tmp.", 1),
    (b"It is in foo.tmp. Or not", 1),
    (b"It is in foo.tmp...", 1),
    (b"In foo.tmp... or not", 1),
    (b"(foo.tmp)", 1),
    (b"(see foo.tmp.)", 1),
    ("“foo.tmp”".encode("utf-8"), 1),
    ("foo.tmp…".encode("utf-8"), 1),
    ("été foo.tmp".encode("utf-16"), 1),
    (b"\xff\xfe" + "x\nfoo.tmp\n".encode("utf-16-le"), 1),
    (b"\xfe\xff" + "x\nfoo.tmp\n".encode("utf-16-be"), 1),
    (b"\xef\xbb\xbffoo.tmp", 1),
    (b"\xe9t\xe9 foo.tmp in Latin-1", 1),
    (b"[it](foo.tmp)", 1),
    (b"* `foo.tmp`", 1),
    (b"| foo.tmp |", 1),
    (b"https://example.invalid/foo.tmp?x=1", 1),
    (b"1,foo.tmp,3\r\n", 1),
    (b"foo.tmp\r\n", 1),
    (b"include=foo.tmp;", 1),
    (b"foo.tmp:7: note", 1),
    (b"<a href=foo.tmp>", 1),
    (b"$DIR/foo.tmp", 1),
    (b"${DIR}foo.tmp", 1),
    (b"@foo.tmp", 1),
    (b"!foo.tmp", 1),
    (b"#foo.tmp", 1),
    (b"cat 'foo'.tmp", 1),
    (b'cat f"oo.t"mp', 1),
    (b"cc -ofoo.tmp", 1),
    (b"tar -cffoo.tmp", 1),
    (b"foo%2Etmp", 1),
    (b"%66oo%252etmp", 1),
    (b"foo\\u002etmp", 1),
    (b"foo\\x2etmp", 1),
    (b"\\146oo.tmp", 1),
    (b"foo&period;tmp", 1),
    (b"foo&#46;tmp", 1),
    (b"foo&#x2e;tmp", 1),
    (b"foo&amp;#46;tmp", 1),
    (b"foo&amp;amp;#46;tmp", 1),
    (b"'&#102;o'o%2Etmp", 1),
    ("été foo.tmp".encode("utf-16-le"), 1),
    ("файл foo.tmp".encode("utf-16-be"), 1),
    (b"", 0),
    (b"--ffoo.tmp", 0),
    (b"x-ffoo.tmp", 0),
    (b"foo%2Dtmp", 0),
    (b"foo&#95;tmp", 0),
    (b"foo&amp;amp;amp;#46;tmp", 0),
    (b"foo' 'tmp", 0),
    (b"foo.tmp \0\0\0\1\0\2\0\3\0\4\0", 0),
    (b"foo", 0),
    (b"tmp", 0),
    (b"foo.tm", 0),
    (b"xfoo.tmp", 0),
    (b"foo.tmpx", 0),
    (b"foo.tmp.bak", 0),
    (b"FOO.TMP", 0),
    (b"x.foo.tmp", 0),
    (b"foo tmp", 0),
    (b"foo.\ntmp", 0),
    (b"\0 foo.tmp", 0),
    (b"x" * 8000 + b"\0 foo.tmp", 0),
    (b"x" * 8191 + b"\0 foo.tmp", 0),
    (b"x" * 8192 + b"\0 foo.tmp", 1),
    # Just enough NULs in the first 8192 bytes; what is behind these does not decide.
    (b"a\0" * 511 + b"b" * 7168 + b"c\0" + " foo.tmp \x01".encode("utf-16-le"), 1),
]


@pytest.mark.parametrize("text, number", MENTIONS, ids=[repr(text)[:40] for text, _ in MENTIONS])
def test_a_mention_counts_once_for_the_file_that_it_is_in(plain, text, number):
    put(plain, "foo.tmp")
    put(plain, "text.md", text)
    for options in ({"use_cache": False}, {}, {}):
        assert references(plain, **options)["foo.tmp"] == number


@pytest.mark.parametrize("text", [b"_foo.tmp_", b"__foo.tmp__", b"foo.tmp........ 12"],
                         ids=["emphasis", "strong", "leader"])
def test_a_mention_counts_in_the_notations_that_put_name_characters_beside_it(plain, text):
    put(plain, "foo.tmp")
    put(plain, "text.md", text)
    assert references(plain)["foo.tmp"] == 1


@pytest.mark.parametrize("name", ["foo", "foo.tmp"])
def test_each_spelling_with_something_beside_the_name_counts_in_every_file(plain, name):
    put(plain, "d/" + name)
    spellings = ["_%s_", "__%s__", "%s_", "_%s", "~~%s~~", "--%s--", "%s"]
    put(plain, "0.md", " ".join(spelling % name for spelling in spellings))
    for number, spelling in enumerate(spellings):
        put(plain, "%d-alone.md" % number, spelling % name)
    assert references(plain)["d/" + name] == 1 + len(spellings)


def test_every_file_that_names_it_counts_and_itself_does_not(plain):
    put(plain, "foo.tmp", "foo.tmp")
    put(plain, "bar.py", "foo.tmp baz")
    put(plain, "docs/baz", "foo.tmp bar.py baz")
    found = references(plain)
    assert (found["foo.tmp"], found["bar.py"], found["docs/baz"]) == (2, 1, 1)
    put(plain, "foo.md", "foo.md")
    put(plain, "one.md", "foo.md")
    put(plain, "two.md", "foo.md foo.md")
    assert references(plain)["foo.md"] == 2


def test_a_symlink_mentions_each_part_of_the_path_that_it_leads_to(repository, monkeypatch):
    names = ["state7.tmp", "py/tool", "with space.tmp", "-x.tmp", "odd\udcff.tmp"]
    for name in names:
        put(repository, b"d/" + name.encode("utf-8", "surrogateescape"))
    put(repository, "part")
    put(repository, "later.tmp")
    counts = same_rows(repository)
    assert {counts[name] for name in ["d/" + name for name in names] + ["part"]} == {0}
    document = json.loads((repository / INVENTORY).read_text())
    (repository / "tmp").mkdir()
    for number, name in enumerate(names):
        os.symlink(os.fsencode("/part/d/" + name), str(repository / ("tmp/%d.tmp" % number)))
    os.symlink(".tox/py/tool", str(repository / "tool"))
    counts = same_rows(repository)
    assert [counts["d/" + name] for name in names] == [1, 2, 1, 1, 1] and counts["part"] == 5
    assert mentions(repository, document, "state7.tmp", ".tox", "tool", "py", "later.tmp") == {
        "state7.tmp": "tmp/0.tmp", ".tox": "tool", "tool": "tool", "py": "tool"}
    os.unlink(str(repository / "tool"))
    os.symlink("later.tmp", str(repository / "tool"))
    counts = same_rows(repository)
    assert (counts["later.tmp"], counts["d/py/tool"]) == (1, 1)
    monkeypatch.setattr(references_module.Reader, "read", None)
    assert references(repository) == counts


def test_the_same_name_in_two_folders_has_the_mentions_of_both(plain):
    put(plain, "a/settings.tmp")
    put(plain, "b/settings.tmp")
    put(plain, "main.py", "open('a/settings.tmp')")
    found = references(plain)
    assert (found["a/settings.tmp"], found["b/settings.tmp"]) == (1, 1)


def test_a_list_of_what_to_ignore_is_no_use_of_a_file(plain):
    put(plain, "foo.tmp")
    for name in (".gitignore", "x/.gitignore", ".dockerignore", ".npmignore", ".eslintignore", ".prettierignore",
                 ".hgignore", "config/cleanup_rules.json"):
        put(plain, name, "foo.tmp\n")
    assert references(plain)["foo.tmp"] == 0
    put(plain, "x/config/some_rules.json", "foo.tmp\n")
    assert references(plain)["foo.tmp"] == 1


OWN_WRITES = ["status/last_good_config.json", "status/history/2026-01-01.jsonl", "status/runs/backup.json",
              "conductor_state.json",
              "logs/conductor_cron.log.1", "cleanup_inventory_before.json", "cleanup_report.json"]


def test_what_only_the_tool_itself_names_is_not_in_use(repository):
    """Its state and reports, and its sources: each of them names what it looks for."""
    put(repository, "x/.DS_Store")
    for path in ["symphony_conductor.py", "setup.sh", "config/README.md", "cron/README.md"]:
        put(repository, path, (SCRIPTS.parent / path).read_bytes())
    for path in SCRIPTS.glob("*.*"):
        put(repository, "scripts/" + path.name, path.read_bytes())
    for path in OWN_WRITES:
        put(repository, path, ".DS_Store")
    commit(repository)
    assert references(repository)["x/.DS_Store"] == 0
    for number, path in enumerate(("scripts/mine.sh", "status/mine.json", "scripts/tree.py", "logs/mine.md",
                                   "config/cleanup_notes.json", "README.md", "tests/test_inventory.py"), 1):
        put(repository, path, "rm .DS_Store")
        assert references(repository)["x/.DS_Store"] == number, path


def test_in_the_tools_own_repository_its_tests_and_documents_name_nothing(repository):
    put(repository, "x/.DS_Store")
    for path in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "tests/house.py", "tests/test_inventory.py"):
        put(repository, path, (SCRIPTS.parent / path).read_bytes())
    put(repository, "docs/README.md", ".DS_Store")
    assert references(repository)["x/.DS_Store"] == 1


def test_every_script_of_the_tool_is_among_its_own():
    tracked = git(SCRIPTS.parent, "ls-files", "scripts").split()
    assert sorted("scripts/" + name for name in inventory.OWN_SCRIPTS) == sorted(tracked)


@pytest.mark.parametrize("name", ["tmp/a.py", "logs/a.md", "backup/a.py", "tmp/run"])
def test_a_script_names_files_wherever_it_lies(repository, name):
    put(repository, "foo.py")
    put(repository, name, "foo.py")
    assert references(repository)["foo.py"] == 1


@pytest.mark.parametrize("name", ["a.log", "a.tmp", "a.bak", "a.pyc"])
def test_litter_names_files_only_where_it_is_tracked(repository, name):
    put(repository, "foo.py")
    put(repository, ".gitignore", "*.log\n")
    put(repository, name, "foo.py")
    assert references(repository)["foo.py"] == 0
    commit(repository, name)
    assert references(repository)["foo.py"] == 1
    git(repository, "rm", "-q", "--cached", name)
    git(repository, "commit", "-q", "-m", "less")
    assert references(repository)["foo.py"] == 0


def test_binary_files_name_nothing_even_when_they_are_tracked(repository):
    put(repository, "foo.py")
    put(repository, "a.png", "foo.py")
    put(repository, "b.dat", b"\0foo.py")
    put(repository, "odd", b"foo.py\0")
    put(repository, "even", b"foo py")
    commit(repository)
    for options in ({"use_cache": False}, {}, {}):
        files = take(repository, **options)["files"]
        assert files["foo.py"]["references"] == 0
        assert [files[name]["purpose"] for name in ("a.png", "b.dat", "odd", "even")] == [
            "binary", "data", "binary", "other"]


ANY_NAMES = [name for name in ODD_NAMES if name != b"~"] + [
    b"with space.tmp", "été.tmp".encode("utf-8"), "e\u0301te\u0301.tmp".encode("utf-8"), b"a+b.tmp", b"a(1).tmp",
    b"-x.tmp",
    b"dot.", b"a\nb.tmp", b"#x#", b"a,b", b"{x}", b"a@b", b"x:y", b"[a]", b"...", b"'", b"a%20b.tmp", b"A & B.txt"]


def test_names_of_any_bytes_have_the_mentions_of_these_bytes(plain):
    for name in ANY_NAMES:
        put(plain, b"d/" + name)
    for number, name in enumerate(ANY_NAMES):
        put(plain, "m%d.md" % number, b"see (x/" + name + b")\n")
        put(plain, "n%d.md" % number, b"not (x/" + name[:-1] + b")\n")
    for options in ({"use_cache": False}, {}, {}):
        counts = references(plain, **options)
        assert None not in counts.values()
        for name in ANY_NAMES:
            assert counts["d/" + name.decode("utf-8", "surrogateescape")] >= 1, name


SPELLED = [
    ("with space.tmp", [b"with space.tmp", b"'with space.tmp'", b"with\\ space.tmp", b"x/with%20space.tmp?y",
                        b"with+space.tmp",
                        b"with%2520space.tmp", b"with\\u0020space.tmp", b"with\\x20space.tmp", b"with\\040space.tmp",
                        b"with' 'space.tmp", b'with" "space.tmp', b"with&#32;space.tmp", b"dir\\with space.tmp",
                        b"_with space.tmp_", b"'with space'.tmp", b'w"ith spa"ce.tmp', b"with' 'spac%65.tmp",
                        b"-fwith\\ space.tmp",
                        "with\u00a0space.tmp".encode("utf-8"), "x with space.tmp".encode("utf-16")],
     [b"with", b"space.tmp", b"with a space.tmp", b"withspace.tmp", b"with space.tm", b"Xwith spaceX.tmp"]),
    ("it's.txt", [b"it's.txt", b"it\\'s.txt", b"'it'\\''s.txt'", b"'it''s.txt'", b"\"it's.txt\"", b"it%27s.txt",
                  b"it&#39;s.txt",
                  b"it&apos;s.txt", b"it\\u0027s.txt", b"'it'\"'\"'s.txt'", b"\"it's\".txt"],
     [b"it is.txt", b"it", b"s.txt"]),
    ("été.tmp", ["été.tmp".encode("utf-8"), "e\u0301te\u0301.tmp".encode("utf-8"), "été.tmp".encode("latin-1"),
                 "été.tmp".encode("cp850"), b"%C3%A9t%C3%A9.tmp", b"%c3%a9t%c3%a9.tmp", b"\\u00e9t\\u00e9.tmp",
                 b"e%CC%81te%CC%81.tmp",
                 b"\\xc3\\xa9t\\xc3\\xa9.tmp", b"\\303\\251t\\303\\251.tmp", b"&eacute;t&#233;.tmp",
                 b"\\u{e9}t\\u{e9}.tmp",
                 b"\\U000000e9t\\U000000e9.tmp", "“été.tmp”".encode("utf-8"), "日été.tmp語".encode("utf-8")],
     [b"ete.tmp", b"t.tmp", "été".encode("utf-8")]),
    ("日本語.txt", ["日本語.txt".encode("utf-8"), "日本語.txt".encode("shift_jis"), "日本語.txt".encode("euc_jp"),
                    "日本語.txt".encode("gbk"), "x日本語.txtを".encode("utf-8"), b"%E6%97%A5%E6%9C%AC%E8%AA%9E.txt",
                    b"\\u65e5\\u672c\\u8a9e.txt"], ["日本.txt".encode("utf-8"), b"x.txt"]),
    ("файл", ["файл".encode("utf-8"), "файл".encode("cp1251"), "файл".encode("koi8-r"),
              b"\\u0444\\u0430\\u0439\\u043b"],
     ["фай".encode("utf-8"), b"fail"]),
    ("\U0001f600.md", ["\U0001f600.md".encode("utf-8"), b"\\ud83d\\ude00.md", b"\\U0001f600.md", b"\\u{1f600}.md",
                       b"%F0%9F%98%80.md", b"&#128512;.md"], [b".md", b"x.md", b"\\ud83d.md"]),
    ("a\nb.tmp", [b"a\nb.tmp", b"a\\nb.tmp", b"$'a\\nb.tmp'", b"a%0Ab.tmp", b"a\\u000ab.tmp", b"a\\012b.tmp"],
     [b"a b.tmp", b"b.tmp"]),
    ("A & B.txt", [b"A & B.txt", b"A &amp; B.txt", b"A \\& B.txt", b"A%20%26%20B.txt", b"A \\u0026 B.txt"],
     [b"A and B.txt", b"A", b"B.txt"]),
    ("a%20b.tmp", [b"a%20b.tmp", b"a%2520b.tmp"], [b"20b.tmp", b"a", b"b.tmp", b"Xa%20b.tmp"]),
    ("x&amp;y", [b"x&amp;y", b"x&amp;amp;y"], [b"x&y", b"x y"]),
    ("'", [b"'", b"\"'\"", b"it's"], [b"x", b'"']),
    ("[1] (x).tmp", [b"[1] (x).tmp", b"\\[1\\]\\ \\(x\\).tmp", b"\\[1\\] \\(x\\)\\.tmp", b"%5B1%5D%20%28x%29.tmp"],
     [b"1 x.tmp", b"x"]),
    ("#notes.md#", [b"#notes.md#", b"\\#notes.md\\#", b"%23notes.md%23"], [b"notes.md", b"#notes.md", b"# notes.md #"]),
    ("cost$.txt", [b"cost$.txt", b"cost\\$.txt", b"cost$$.txt", b"cost%24.txt"], [b"cost.txt", b"cost"]),
    ("odd\udcff.tmp", [b"odd\xff.tmp", b"'odd\\udcff.tmp'", b'"odd\\\\udcff.tmp"', b"odd\\xff.tmp",
                       b"odd\\u{dcff}.tmp"],
     [b"odd\\udcfe.tmp", b"odd\\ud8ff.tmp", b"odd.tmp"]),
    ("a_b c.tmp", [b"a_b c.tmp", b"a&lowbar;b c.tmp", b"a&#95;b%20c.tmp", b"a%5Fb c.tmp"], [b"a b c.tmp"]),
    ("\udce9t\udce9.tmp", [b"\xe9t\xe9.tmp", b"%E9t%E9.tmp", b"\\351t\\351.tmp", b"\\xe9t\\xe9.tmp"], [b"t.tmp"]),
]


@pytest.mark.parametrize("name, spellings, others", SPELLED, ids=[ascii(name) for name, _, _ in SPELLED])
def test_a_name_that_is_no_token_is_known_in_every_spelling_and_not_in_others(plain, name, spellings, others):
    put(plain, b"d/" + name.encode("utf-8", "surrogateescape"))
    for number, text in enumerate(spellings):
        put(plain, "s%d.md" % number, text if text[:2] in (b"\xff\xfe", b"\xfe\xff") else b"see " + text + b" there\n")
    assert references(plain)["d/" + name] == len(spellings), [
        text for text in spellings if name not in inventory.Names({name}).mentioned(text,
                                                                                    inventory.Names({name}).words)]
    for number, text in enumerate(others):
        put(plain, "s%d.md" % number, b"see " + text + b" there\n")
    for number in range(len(others), len(spellings)):
        os.unlink(str(plain / ("s%d.md" % number)))
    assert same_rows(plain)["d/" + name] == 0


@pytest.mark.parametrize("name", ["coming (1).tmp", "kommt (ü).txt", "日本語"])
def test_a_name_that_is_no_token_and_new_is_found_in_old_files(plain, name, monkeypatch):
    put(plain, "old.md", "see %s here" % name)
    put(plain, "other.md", "nothing")
    assert len(same_rows(plain)) == 3
    put(plain, "d/" + name)
    assert same_rows(plain)["d/" + name] == 1
    monkeypatch.setattr(references_module.Reader, "read", None)
    assert references(plain)["d/" + name] == 1


def test_only_the_files_that_may_hold_a_new_name_are_read_again(plain, monkeypatch):
    put(plain, "old.md", "see with new.tmp here")
    put(plain, "other.md", "see with old.tmp here")
    put(plain, "third.md", "see coming.tmp here")
    take(plain)
    put(plain, "with new.tmp")
    put(plain, "coming.tmp")
    real, paths = references_module.Reader.read, []
    monkeypatch.setattr(references_module.Reader, "read", lambda self, seen: paths.append(seen.path) or real(self,
                                                                                                             seen))
    found = references(plain)
    assert (found["with new.tmp"], found["coming.tmp"], paths) == (1, 1, ["old.md"])


@pytest.mark.parametrize("shift", [1, 4, 7, 14])
def test_a_name_that_is_no_token_counts_across_two_pieces_of_a_large_text(plain, monkeypatch, shift):
    monkeypatch.setattr(references_module, "READ_BYTES", 4096)
    put(plain, "with space.tmp")
    filler = b"word " * 2000
    put(plain, "large.txt", filler[:4096 - shift] + b"with space.tmp " + filler)
    assert references(plain)["with space.tmp"] == 1


@pytest.mark.parametrize("name", ["a.tmp", ".hidden", "no_dot", "x~", "~x", "a-b", "7", "..x", "a..b", "_"])
def test_names_that_can_be_counted_are(plain, name):
    put(plain, "d/" + name)
    put(plain, "text.md", "see '%s'" % name)
    assert references(plain)["d/" + name] == 1


def test_without_references_all_are_null_and_no_file_is_opened(repository, monkeypatch):
    put(repository, "foo.tmp")
    put(repository, "a.md", "foo.tmp")
    monkeypatch.setattr(references_module.Reader, "read", None)
    document = take(repository, references=False)
    assert set(column(document, "references").values()) == {None} and document["references"] is False
    assert not (repository / CACHE).exists()


@pytest.mark.parametrize("between", [b"\n", b" ", b",", b"\"", b"/"], ids=["line", "space", "comma", "quote", "slash"])
@pytest.mark.parametrize("shift", [1, 4, 7])
def test_a_name_across_the_boundary_of_two_pieces_of_a_large_text_counts(plain, monkeypatch, between, shift):
    monkeypatch.setattr(references_module, "READ_BYTES", 4096)
    put(plain, "foo.tmp")
    filler = (b"word" + between) * 2000
    put(plain, "large.txt", filler[:4096 - shift - 1] + between + b"foo.tmp" + between + filler)
    assert references(plain)["foo.tmp"] == 1


def test_a_large_text_is_cut_where_no_name_is(plain, monkeypatch):
    """Neither at the end of what is read at a time, nor where the first of it would be looked at again."""
    monkeypatch.setattr(references_module, "READ_BYTES", 8192)
    put(plain, "foo.tmp")
    for text, start in ((b"word " * 1638 + b"xxfoo.tmp", 8192), (b"word " * 817 + b"end foo.tmp.bak", 4096 - 7)):
        assert text.index(b"foo.tmp") == start
        put(plain, "large.txt", text + b" word" * 2000)
        assert references(plain)["foo.tmp"] == 0


def test_a_large_text_is_read_in_pieces_and_everything_is_closed(plain, monkeypatch):
    monkeypatch.setattr(references_module, "READ_BYTES", 4096)
    put(plain, "foo.tmp")
    put(plain, "large.txt", b"word " * 2000 + b"foo.tmp")
    put(plain, "small.txt", b"foo.tmp")
    before, sizes, real = os.listdir("/proc/self/fd"), [], os.read
    monkeypatch.setattr(os, "read", lambda fd, size: sizes.append(size) or real(fd, size))
    assert references(plain)["foo.tmp"] == 2
    assert max(sizes) == 4096 and len(os.listdir("/proc/self/fd")) == len(before)


def test_words_that_lead_to_no_name_are_remembered_up_to_a_limit(plain, monkeypatch):
    """Not those that stand for a name when what sticks to them is left out."""
    monkeypatch.setattr(references_module, "PLAIN_WORDS", 3)
    owner = Root(str(plain))
    reader = references_module.Reader(owner, references_module.Names({"foo"}))
    os.close(owner.fd)
    assert reader._names_in(b"foo _foo_ one")[0] == ["foo"] and reader._plain == {b"one"}
    assert reader._names_in(b"one two three a.tmp") == ([], [b"a.tmp"])
    assert reader._plain == {b"one", b"two", b"three"}
    assert reader._names_in(b"four") == ([], []) and reader._plain == {b"one", b"two", b"three"}


def test_a_text_over_four_mebibytes_is_read_to_its_end(plain):
    filler = b"some words of no meaning\n" * (inventory.READ_BYTES // 25 + 1)
    assert len(filler) > 4 << 20
    for name in ("first.tmp", "across.tmp", "last.tmp", "no_dot"):
        put(plain, name)
    put(plain, "large.txt", b"first.tmp " + filler[:inventory.READ_BYTES - 15] + b" across.tmp " + filler +
        b"no_dot last.tmp")
    found = references(plain)
    assert [found[name] for name in ("first.tmp", "across.tmp", "last.tmp", "no_dot")] == [1, 1, 1, 1]
    put(plain, "large.txt", (filler.decode() + "last.tmp").encode("utf-16"))
    assert references(plain)["last.tmp"] == 1


def test_a_new_name_is_found_in_a_large_text_that_was_read_before(plain, monkeypatch):
    monkeypatch.setattr(references_module, "READ_BYTES", 4096)
    put(plain, "large.txt", b"word " * 2000 + b"coming.tmp" + b" word" * 2000)
    take(plain)
    put(plain, "coming.tmp")
    assert references(plain)["coming.tmp"] == 1


# -- mentions since an inventory

def mentions(root, document, *names):
    owner = Root(str(root))
    try:
        return inventory.mentions_since(document, owner, names)
    finally:
        os.close(owner.fd)


def test_what_was_written_since_the_inventory_is_asked_for_the_names_of_candidates(repository, monkeypatch):
    names = ["foo.tmp", "with space.tmp", "été.tmp", "other.tmp"]
    for name in names:
        put(repository, "d/" + name)
    put(repository, "old.py", "foo.tmp")
    put(repository, "tracked.log")
    put(repository, "run.log")
    commit(repository, "old.py", "tracked.log")
    take(repository)
    document = json.loads((repository / INVENTORY).read_text())
    assert mentions(repository, document, *names) == {}
    put(repository, "old.py", "nothing")
    put(repository, "run.log", " ".join(names))
    put(repository, ".gitignore", " ".join(names))
    put(repository, "status/last_good_config.json", " ".join(names))
    put(repository, "new/other.tmp", "other.tmp")
    assert mentions(repository, document, *names) == {}
    put(repository, "tracked.log", "foo.tmp")
    put(repository, "new/script.sh", "rm with\\ space.tmp")
    put(repository, "new/page.html", "<a href=%C3%A9t%C3%A9.tmp>")
    assert mentions(repository, document, *names) == {
        "foo.tmp": "tracked.log", "with space.tmp": "new/script.sh", "été.tmp": "new/page.html"}
    os.utime(str(repository / "tracked.log"), (1, 1))
    assert mentions(repository, document, "foo.tmp", "other.tmp") == {"foo.tmp": "tracked.log"}
    monkeypatch.setattr(references_module.Reader, "read", lambda self, seen: os.stat("/nonexistent/x"))
    assert mentions(repository, document, *names) == {}  # gone again


def test_a_new_file_that_cannot_be_read_may_mention_everything(plain, monkeypatch):
    put(plain, "foo.tmp")
    take(plain)
    document = json.loads((plain / INVENTORY).read_text())
    put(plain, "new.py")

    def deny(self, seen):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(references_module.Reader, "read", deny)
    assert mentions(plain, document, "foo.tmp") == {"foo.tmp": "new.py"}
    monkeypatch.setattr(inventory.Walk, "_list", lambda *arguments: os.listdir("/proc/self/status"))
    with pytest.raises(RefusedError) as error:
        mentions(plain, document, "foo.tmp")
    assert "cannot tell what has changed since the inventory" in str(error.value)


# -- the cache

def same_rows(root, **options):
    """The rows with the cache, which are those of a run without one."""
    without = take(root, use_cache=False, **options)
    within = take(root, **options)
    assert list(within["files"].values()) == list(without["files"].values())
    assert (within["counts"], within["bytes"]) == (without["counts"], without["bytes"])
    return column(within, "references")


def test_a_second_run_reads_no_file_and_gives_the_same_bytes(repository, monkeypatch):
    put(repository, "foo.tmp", "x")
    put(repository, "a.md", "foo.tmp other.py no_dot")
    put(repository, "b.dat", b"\0" * 3000)
    put(repository, "c.dat", b"\0" * 3000)
    put(repository, "no_dot")
    options = {"min_duplicate": 1000}
    first = take(repository, **options)
    lines = (repository / INVENTORY).read_bytes().split(b"\n")[1:]
    cache = (repository / CACHE).read_bytes()
    stamp = os.stat(str(repository / CACHE)).st_mtime_ns
    monkeypatch.setattr(references_module.Reader, "read", None)
    monkeypatch.setattr(inventory.Comparison, "_of", None)
    assert take(repository, **options)["files"] == first["files"]
    assert (repository / INVENTORY).read_bytes().split(b"\n")[1:] == lines
    assert (repository / CACHE).read_bytes() == cache
    assert os.stat(str(repository / CACHE)).st_mtime_ns == stamp
    assert stat.S_IMODE(os.stat(str(repository / CACHE)).st_mode) == 0o600


def test_a_second_run_takes_the_rows_over_and_a_changed_inventory_not(repository, monkeypatch):
    put(repository, "foo.tmp", "x")
    put(repository, "a.md", "foo.tmp")
    commit(repository, "a.md")
    first = take(repository)
    real, rows = Inventory._rows, []
    monkeypatch.setattr(Inventory, "_rows", lambda self, files: rows.append(1) or real(self, files))
    for _ in range(2):
        second = take(repository)
        for key in ("started", "finished"):
            first[key] = second[key]
        assert second == first and rows == []
    text = (repository / INVENTORY).read_text()
    for change in (lambda: put(repository, INVENTORY, text.replace('"foo.tmp"', '"bar.tmp"')),
                   lambda: put(repository, INVENTORY, text[:-200]), lambda: os.unlink(str(repository / INVENTORY)),
                   lambda: put(repository, ".git/info/exclude", "*.tmp"), lambda: commit(repository, "foo.tmp"),
                   lambda: put(repository, "new.tmp"), lambda: os.unlink(str(repository / "new.tmp")),
                   lambda: put(repository, ".cleanup_registry.json", json.dumps({"foo.tmp": {
                       "expires": "2030-01-02T03:04:05Z", "registered_at": "2030-01-01T00:00:00Z"}}))):
        change()
        del rows[:]
        document = take(repository)
        assert len(rows) == 1
        assert take(repository, use_cache=False)["files"] == document["files"]


def changes(root):
    """Each change of the tree by itself, and what the references are behind it."""
    put(root, "old.md", "foo.tmp coming.py no_dot gone.py renamed.py two.py")
    for name in ("foo.tmp", "gone.py", "before.py"):
        put(root, name)
    yield {"foo.tmp": 1, "gone.py": 1, "before.py": 0}
    put(root, "coming.py")
    yield {"coming.py": 1, "foo.tmp": 1}
    put(root, "no_dot", "foo.tmp")
    yield {"no_dot": 1, "foo.tmp": 2}
    put(root, "also_no_dot", "nothing")
    put(root, "two.py", "gone.py")
    yield {"also_no_dot": 0, "two.py": 1, "gone.py": 2}
    os.unlink(str(root / "gone.py"))
    yield {"foo.tmp": 2}
    os.rename(str(root / "before.py"), str(root / "renamed.py"))
    yield {"renamed.py": 1, "foo.tmp": 2}
    put(root, "old.md", "no_dot")
    yield {"foo.tmp": 1, "no_dot": 1, "renamed.py": 0}
    os.unlink(str(root / "no_dot"))
    yield {"foo.tmp": 0}
    put(root, "old.md", "no_dox foo.tmp")
    os.utime(str(root / "old.md"), (1, 1))
    yield {"foo.tmp": 1}
    put(root, "old.md", "no_dox bar.tmp")  # of the same length, and with the same time
    os.utime(str(root / "old.md"), (1, 1))
    yield {"foo.tmp": 0}


def test_after_every_change_the_cache_gives_the_rows_of_a_run_without_one(plain):
    for expected in changes(plain):
        found = same_rows(plain)
        assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("change", ["option", "file"])
def test_while_no_file_that_counts_has_changed_the_counts_are_taken_over(plain, monkeypatch, change):
    """And kept for the next time, whatever the names are made of; nothing is read, nor compared."""
    names = ["a b.tmp", "\u00e9.tmp", "c.tmp", "no_dot"]
    for name in names:
        put(plain, "d/" + name)
    put(plain, "old.md", " ".join(names))
    put(plain, "c.dat", b"\0" * 3000)
    put(plain, "d.dat", b"\0" * 3000)
    for name in ("1.png", "2.png"):
        put(plain, name)
    before = take(plain, min_duplicate=2000)
    for number in (1, 2):
        with monkeypatch.context() as patch:
            for owner, name in ((Cache, "begin"), (references_module.Reader, "read"), (inventory.Comparison, "_of")):
                patch.setattr(owner, name, None)
            if change == "file":
                os.unlink(str(plain / ("%d.png" % number)))
            document = take(plain, min_duplicate=2000 + number * (change == "option"))
        for path, row in document["files"].items():
            assert row == before["files"][path]
    put(plain, "new.md", "c.tmp")
    real, paths = references_module.Reader.read, []
    monkeypatch.setattr(references_module.Reader, "read",
                        lambda self, seen: paths.append(seen.path) or real(self, seen))
    found = references(plain, min_duplicate=2000)
    assert [found["d/" + name] for name in names] == [1, 1, 2, 1] and paths == ["new.md"]


@contextlib.contextmanager
def caches(root):
    """A function that opens the cache anew; what it keeps of the files "1" and "2" for their versions."""
    owner = Root(str(root))
    files = [references_module.Seen("a.md", "a.md", version, 1, 0o100644, 1, "document") for version in "12"]
    try:
        yield lambda *enabled: Cache(owner, *enabled), files
    finally:
        os.close(owner.fd)


def counted(cache):
    """The cache after a count."""
    cache.begin(references_module.Names({"a.md"}), {"a.md"})
    cache.put("1", ["a.md"], b"dotted.word")
    cache.put_counts("k", {"a.md": 3})
    return cache


def test_a_cache_of_a_few_bytes_is_one_too(plain):
    with caches(plain) as (opened, files):
        counted(opened()).save(files, {})
        assert os.path.getsize(str(plain / CACHE)) < references_module.TRAILER_BYTES
        assert opened().counts("k", {"a.md"}) == {"a.md": 3} and opened().counts("l", {"a.md"}) is None


@pytest.mark.parametrize("change", ["counts", "digest", "result", "nothing"])
def test_the_cache_is_written_when_there_is_something_new_to_keep(plain, monkeypatch, change):
    """It does not wait for the disk: what is lost with the power is only found anew."""
    monkeypatch.setattr(os, "fsync", None)
    with caches(plain) as (opened, files):
        counted(opened()).save(files, {})
        cache, before, result = opened(), (plain / CACHE).read_bytes(), {}
        if change == "counts":
            cache.put_counts("l", {"a.md": 4})
        elif change == "digest":
            for version in "123":
                cache.put_digest(version, "d" + version)
        elif change == "result":
            result = {"state": "new"}
        cache.save(files, result)
        assert ((plain / CACHE).read_bytes() == before) == (change == "nothing")
        cache = opened()
        assert cache.result == result and bool(cache.counts("k", {"a.md"})) == (change != "counts")
        digests = [cache.digest(version) for version in "123"]
        assert digests == (["d1", "d2", ""] if change == "digest" else [""] * 3)  # of "3" there is no file
        cache.begin(references_module.Names({"a.md"}), {"a.md"})
        assert cache.names_in("1") == ["a.md"] and cache.names_in("2") is None


def test_a_cache_that_is_not_wanted_is_neither_read_nor_written(plain):
    with caches(plain) as (opened, files):
        counted(opened()).save(files, {})
        before = (plain / CACHE).read_bytes()
        cache = opened(False)
        assert cache.counts("k", {"a.md"}) is None
        cache.put_counts("l", {"a.md": 4})
        cache.save(files, {"state": "new"})
        assert (plain / CACHE).read_bytes() == before


def test_what_the_cache_has_of_a_file_that_did_not_change_is_kept_from_run_to_run(plain, monkeypatch):
    put(plain, "d/a b.tmp")
    put(plain, "spaced.md", "a b.tmp")
    prepared(plain)
    for more in (b" and", b" and so on"):
        put(plain, "b.md", b"foo.tmp coming.py bar.tmp" + more)
        assert reads(plain, monkeypatch) == ["b.md"]
    put(plain, "new.py")  # a new name is looked for among what was kept, of binary files too
    assert reads(plain, monkeypatch) == ["new.py"]


def test_the_cache_keeps_no_word_without_a_dot(plain):
    put(plain, "a.md", "dotted.word plainword")
    take(plain)
    kept = (plain / CACHE).read_bytes()
    assert b"dotted.word" in kept and b"plainword" not in kept


def test_the_cache_forgets_the_binary_files_that_are_gone(plain):
    version = references_module.version_of(os.stat(os.fsdecode(put(plain, "odd", b"\0"))))
    take(plain)
    assert (plain / CACHE).read_bytes().split(b"\n")[5].startswith(version.encode())
    os.unlink(str(plain / "odd"))
    take(plain)
    assert version.encode() not in (plain / CACHE).read_bytes()


def test_the_cache_forgets_what_is_gone(plain):
    put(plain, "a.md", "only.here")
    put(plain, "b.md", "also.here")
    take(plain)
    assert b"only.here" in (plain / CACHE).read_bytes()
    put(plain, "b.md", "now.there")
    os.unlink(str(plain / "a.md"))
    take(plain)
    found = (plain / CACHE).read_bytes()
    assert b"only.here" not in found and b"also.here" not in found and b"now.there" in found


def test_a_name_that_comes_back_is_counted_once(plain):
    put(plain, "old.md", "foo.tmp")
    put(plain, "foo.tmp")
    assert same_rows(plain)["foo.tmp"] == 1
    os.unlink(str(plain / "foo.tmp"))
    same_rows(plain)
    put(plain, "foo.tmp")
    assert same_rows(plain)["foo.tmp"] == 1


def test_a_log_that_is_tracked_again_has_the_names_that_came_meanwhile(repository):
    put(repository, "old.log", "no_dot coming.py")
    commit(repository)
    same_rows(repository)
    git(repository, "rm", "-q", "--cached", "old.log")
    git(repository, "commit", "-q", "-m", "less")
    put(repository, "no_dot")
    put(repository, "coming.py")
    assert same_rows(repository)["no_dot"] == 0
    commit(repository, "old.log")
    found = same_rows(repository)
    assert (found["no_dot"], found["coming.py"]) == (1, 1)


def test_a_second_link_to_a_list_of_what_to_ignore_changes_nothing_from_run_to_run(plain):
    put(plain, "foo.tmp")
    os.link(put(plain, ".gitignore", "foo.tmp"), os.fsencode(str(plain / "copy.txt")))
    assert [same_rows(plain)["foo.tmp"] for _ in range(3)] == [1, 1, 1]


WORDS = ["alpha.txt", "beta.py", "gamma.md", "delta", "epsilon", "zeta.log", "eta.tmp", "theta.log", "iota.png",
         "kappa", "Makefile", "a.b.c", "lambda.py~", ".hidden", "mu.json"]
PLACES = ["", "a/b/", "logs/"]
KEPT = (".gitignore", "index.rst")


class Edits:
    """Random changes of a tree, each of which is named for the message of a failure."""

    def __init__(self, root, seed):
        self.root = root
        self.rng = random.Random(seed)
        self.done = []

    def files(self):
        return sorted(os.path.relpath(os.path.join(folder, name), str(self.root))
                      for folder, _, names in os.walk(str(self.root)) for name in names
                      if ".git/" not in folder + "/" and "cleanup" not in name and name not in KEPT)

    def one(self):
        what = self.rng.choice(("write", "write", "write", "write", "remove", "remove", "rename", "rename", "touch",
                                "binary", "add", "forget", "link", "grow"))
        there = self.files()
        path = self.rng.choice(there) if there and what != "write" else self.place()
        self.done.append((what, path))
        full = os.path.join(str(self.root), path)
        if what == "write" or not there:
            put(self.root, path, " ".join(self.rng.sample(WORDS, 4)))
        elif what == "remove":
            os.unlink(full)
        elif what == "rename":
            other = self.place()
            put(self.root, other)
            os.rename(full, os.path.join(str(self.root), other))
        elif what == "touch":
            os.utime(full, (1, self.rng.randint(1, 9)))
        elif what == "binary":
            put(self.root, path, b"\0" + self.rng.choice(WORDS).encode())
        elif what == "link":
            if not os.path.lexists(full + "~"):
                os.link(full, full + "~")
        elif what == "grow":
            put(self.root, path, b"same content " * 100)
        elif what == "add":
            git(self.root, "add", "-f", path)
        else:
            git(self.root, "rm", "-q", "-f", "--cached", "--ignore-unmatch", path)

    def place(self):
        return self.rng.choice(PLACES) + self.rng.choice(WORDS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_happens_to_a_tree_the_cache_gives_the_rows_of_a_run_without_one(repository, seed):
    put(repository, ".gitignore", "*.log\n")
    put(repository, "index.rst", " ".join(WORDS[::2]))  # of those that are never edited
    edits = Edits(repository, seed)
    for _ in range(8):
        edits.one()
    for _ in range(40):
        edits.one()
        try:
            same_rows(repository, min_duplicate=1000)
        except AssertionError:
            pytest.fail("after %s" % edits.done)


def prepared(root):
    """A tree with a cache; a function that compares the rows with those of a run without one, a new name included."""
    put(root, "a.md", "foo.tmp bar.tmp no_dot")
    put(root, "b.md", "foo.tmp coming.py bar.tmp")
    put(root, "c.dat", b"\0" * 2000)
    put(root, "d.dat", b"\0" * 2000)
    for name in ("foo.tmp", "bar.tmp", "no_dot"):
        put(root, name)
    take(root, min_duplicate=1000)


def damaged(root, data):
    put(root, CACHE, data)
    (root / CACHE).chmod(0o600)
    return same_rows(root, min_duplicate=1000)


def is_right(found):
    return (found["foo.tmp"], found["bar.tmp"], found["no_dot"]) == (2, 2, 1)


@pytest.mark.parametrize("fresh", [False, True], ids=["same-names", "new-name"])
def test_a_cache_that_was_cut_short_anywhere_gives_the_same_rows_as_none(plain, fresh):
    prepared(plain)
    good = (plain / CACHE).read_bytes()
    if fresh:
        put(plain, "coming.py")
    wrong = []
    right = references(plain, use_cache=False)
    for length in range(len(good)):
        put(plain, CACHE, good[:length])
        if references(plain) != right:
            wrong.append(length)
    assert wrong == []


@pytest.mark.parametrize("fresh", [False, True], ids=["same-names", "new-name"])
def test_a_cache_whose_end_is_nuls_gives_the_same_rows_as_none(plain, fresh):
    prepared(plain)
    good = (plain / CACHE).read_bytes()
    if fresh:
        put(plain, "coming.py")
    wrong = []
    right = references(plain, use_cache=False)
    for length in range(0, len(good), 3):
        put(plain, CACHE, good[:length] + b"\0" * (len(good) - length))
        if references(plain) != right:
            wrong.append(length)
    assert wrong == []


HEAD = b"symphony tokens 1 %d %d %d\n"


@pytest.mark.parametrize("make", [
    lambda good, dev: b"", lambda good, dev: b"\n", lambda good, dev: b"\0" * 5000, lambda good, dev: os.urandom(5000),
    lambda good, dev: b"{}", lambda good, dev: b"\n" * 100, lambda good, dev: "é\n".encode() * 100,
    lambda good, dev: HEAD % (dev, 0, 0), lambda good, dev: HEAD % (dev, 7, 7), lambda good, dev: HEAD % (dev, -5, -5),
    lambda good, dev: HEAD % (dev, 10 ** 30, 5), lambda good, dev: HEAD % (dev, 5, 10 ** 30),
    lambda good, dev: b"symphony tokens 1 %d x y\n" % dev, lambda good, dev: b"symphony tokens 1 \n",
    lambda good, dev: good.replace(b" %d " % dev, b" %d " % (dev + 1), 1),
    lambda good, dev: good.replace(b"tokens 1", b"tokens 2", 1),
    lambda good, dev: good.replace(b"\t", b" "), lambda good, dev: good.replace(b"\n", b"\r\n"),
    lambda good, dev: good.rpartition(b"\n")[0] + b"\n1 2 3 4 5 6", lambda good, dev: good.rsplit(b" ", 2)[0],
    lambda good, dev: good + good, lambda good, dev: re.sub(b"(\\d\t\\w*\t)[a-z]{3}", b"\\1xxx", good, count=1),
], ids=["empty", "line", "nuls", "random", "object", "lines", "accents", "no-length", "seven", "negative", "huge-names",
        "huge-lines", "words", "no-numbers", "device", "version", "no-tabs", "crlf", "six-numbers", "two-numbers-less",
        "twice", "overwritten"])
def test_a_damaged_cache_gives_the_same_rows_as_none(plain, make):
    prepared(plain)
    good = (plain / CACHE).read_bytes()
    assert is_right(damaged(plain, make(good, os.stat(str(plain)).st_dev)))
    put(plain, "coming.py")
    assert is_right(damaged(plain, make(good, os.stat(str(plain)).st_dev)))
    put(plain, CACHE, make(good, os.stat(str(plain)).st_dev))
    code, _, err = run_script("inventory.py", plain)
    assert (code, err) == (0, "")


def test_a_cache_in_which_a_count_was_overwritten_is_not_believed(plain):
    prepared(plain)
    lines = (plain / CACHE).read_bytes().split(b"\n")
    lines[4] = lines[4].replace(b"2", b"7")
    put(plain, CACHE, b"\n".join(lines))
    assert is_right(references(plain, min_duplicate=500))


def test_a_cache_whose_tokens_are_not_those_of_its_files_is_not_believed(plain):
    put(plain, "x.md", "coming.py")
    put(plain, "y.md", "coming.py")
    prepared(plain)
    owner = Root(str(plain))
    try:
        cache = Cache(owner)
        parts = [[cache._part(number)] for number in range(references_module.PARTS)]
        parts[3] = [parts[3][0].partition(b"\n")[0]]
        put(plain, CACHE, b"".join(cache._text(parts)))
    finally:
        os.close(owner.fd)
    put(plain, "coming.py")
    assert same_rows(plain)["coming.py"] == 3


@pytest.mark.parametrize("add", [
    lambda good: good + b" 7", lambda good: b"\n".join((good.rpartition(b"\n")[0] + b"x", good.rpartition(b"\n")[2]))],
    ids=["a-number-more", "a-byte-more"])
def test_a_cache_with_more_than_its_parts_is_not_believed(plain, monkeypatch, add):
    prepared(plain)
    put(plain, CACHE, add((plain / CACHE).read_bytes()))
    assert reads(plain, monkeypatch) == READ


def test_a_folder_in_the_place_of_the_cache_is_a_note_and_changes_nothing_else(plain):
    prepared(plain)
    os.unlink(str(plain / CACHE))
    put(plain, CACHE + "/x")
    document, out = taken(plain)
    assert is_right(column(document, "references")) and out.startswith("OK - ")
    assert re.search("\n  note: cannot write .*; the next inventory will take longer\n", out)


def test_a_cache_that_cannot_be_read_is_written_anew(shared):
    root = shared / "root"
    put(root, "config/conductor_config.json", b"{}")
    prepared(root)
    for name in (CACHE, CACHE + ".lock", INVENTORY):
        if (root / name).exists():
            os.chmod(str(root / name), 0 if name == CACHE else 0o600)
    code, out, err = as_nobody(root)
    assert (code, err) == (0, "") and out.startswith("OK - ") and "note" not in out
    assert is_right(column(read(root), "references"))
    assert stat.S_IMODE(os.stat(str(root / CACHE)).st_mode) == 0o600


def reads(root, monkeypatch):
    """The paths that a run reads."""
    real, paths = references_module.Reader.read, []
    with monkeypatch.context() as patch:
        patch.setattr(references_module.Reader, "read", lambda self, seen: paths.append(seen.path) or real(self, seen))
        assert is_right(references(root))
    return sorted(paths)


READ = ["a.md", "b.md", "c.dat", "config/conductor_config.json", "d.dat", "no_dot"]


def test_a_cache_that_others_can_write_to_is_not_believed(plain, monkeypatch):
    prepared(plain)
    assert reads(plain, monkeypatch) == []
    (plain / CACHE).chmod(0o666)
    assert reads(plain, monkeypatch) == READ
    assert stat.S_IMODE(os.stat(str(plain / CACHE)).st_mode) == 0o600


def test_a_cache_of_another_format_or_device_is_not_believed(plain, monkeypatch):
    prepared(plain)
    with monkeypatch.context() as patch:
        patch.setattr(references_module, "CACHE_HEAD", b"symphony tokens 0")
        assert reads(plain, monkeypatch) == READ
    assert reads(plain, monkeypatch) == READ
    assert reads(plain, monkeypatch) == []
    with monkeypatch.context() as patch:
        patch.setattr(references_module, "_code_checksum", lambda: 7)  # a new version, with other rules
        assert reads(plain, monkeypatch) == READ
    assert reads(plain, monkeypatch) == READ
    assert reads(plain, monkeypatch) == []
    owner = Root(str(plain))
    owner.dev += 1  # the folder config is on another device now, and not entered
    Inventory(owner).take().write()
    os.close(owner.fd)
    assert reads(plain, monkeypatch) == READ


# -- a disk that takes nothing more

def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_when_the_inventory_cannot_be_written_the_one_before_stays(plain):
    for number in range(300):
        put(plain, "file%d.txt" % number)
    taken(plain)
    before = (plain / INVENTORY).read_bytes()
    put(plain, "one-more.txt")
    code, out, err = run_script("inventory.py", plain, "--no-cache", preexec_fn=limited(8000))
    assert (code, out) == (74, "")
    assert err == "inventory: cannot write %s: File too large\n" % os.path.realpath(str(plain / INVENTORY))
    assert (plain / INVENTORY).read_bytes() == before
    assert not (plain / (INVENTORY + ".tmp")).exists() or os.path.getsize(str(plain / INVENTORY) + ".tmp") == 0
    assert "one-more.txt" in taken(plain)[0]["files"]


def test_when_the_cache_cannot_be_written_a_note_says_so_and_the_inventory_is_there(plain):
    put(plain, "a.md", "foo.tmp")
    put(plain, "foo.tmp")
    taken(plain)
    before = (plain / CACHE).read_bytes()
    put(plain, "many.md", " ".join("word.%d" % number for number in range(3000)) + " foo.tmp")
    code, out, err = run_script("inventory.py", plain, preexec_fn=limited(9000))
    assert (code, err) == (0, "")
    assert out.startswith("OK - 4 files")
    assert "  note: cannot write %s: File too large; the next inventory will take longer\n" % os.path.realpath(
        str(plain / CACHE)) in out
    assert (plain / CACHE).read_bytes() == before
    assert read(plain)["files"]["foo.tmp"]["references"] == 2
    assert same_rows(plain)["foo.tmp"] == 2


FULL = """
mount -t tmpfs -o size=512k,mode=700 tmpfs "$1"
mkdir -p "$1/config"; echo '{}' > "$1/config/conductor_config.json"
i=0; while [ $i -lt 400 ]; do : > "$1/file$i.txt"; i=$((i+1)); done
"$2" "$3" --root "$1"
cp "$1/cleanup_inventory.json" "$4/before"
dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null || true
code=0; "$2" "$3" --root "$1" $5 || code=$?
echo "exit $code"
cmp "$1/cleanup_inventory.json" "$4/before" && echo intact
rm "$1/filler"; "$2" "$3" --root "$1"
"""


@pytest.mark.skipif(not namespaces(), reason="mounts of the tests' own take root and namespaces")
def test_on_a_disk_that_is_full_the_inventory_before_stays_and_the_next_one_works(tmp_path):
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    out = in_namespace(FULL, root, sys.executable, SCRIPTS / "inventory.py", tmp_path, "--no-cache").splitlines()
    assert out[0].startswith("OK - 401 files") and out[-2].startswith("OK - 401 files")
    assert out[2:-2] == ["inventory: cannot write %s/cleanup_inventory.json: No space left on device" % root,
                         "exit 74", "intact"]


# -- two at a time, and an end in the middle

@pytest.fixture
def hanging(repository, shim, tmp_path):
    """An inventory whose git waits in its last listing until there is a file `go`; the process."""
    put(repository, "a.py", "b.py")
    put(repository, "b.py")
    commit(repository)
    taken(repository)
    put(tmp_path, "bin/git", '#!/bin/sh\ncase "$*" in *"-o -i"*) : > "%s/here"\n'
                             'while ! [ -e "%s/go" ]; do sleep 0.02; done;; esac\n'
                             'exec "$REAL_GIT" "$@"\n' % (tmp_path, tmp_path))
    process = subprocess.Popen([sys.executable, str(SCRIPTS / "inventory.py"), "--root", str(repository)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert wait_until(lambda: (tmp_path / "here").exists() or process.poll() is not None)
    assert process.poll() is None
    yield process
    put(tmp_path, "go")
    process.kill()
    process.communicate()


def test_a_second_inventory_at_the_same_time_says_so_and_leaves(repository, hanging, tmp_path):
    before = (repository / INVENTORY).read_bytes()
    code, out, err = run_script("inventory.py", repository, env=dict(os.environ, PATH=os.defpath))
    assert (code, out) == (75, "")
    assert err == "inventory: another inventory of %s is being taken (try again later)\n" % os.path.realpath(
        str(repository))
    assert (repository / INVENTORY).read_bytes() == before
    put(tmp_path, "go")
    assert hanging.wait(20) == 0  # the first one is not disturbed


def test_one_that_is_killed_leaves_the_inventory_before_and_no_lock(repository, hanging, tmp_path):
    before = (repository / INVENTORY).read_bytes()
    put(repository, "new.py")
    hanging.send_signal(signal.SIGKILL)
    assert hanging.wait(20) == -signal.SIGKILL
    assert (repository / INVENTORY).read_bytes() == before
    put(tmp_path, "bin/git", '#!/bin/sh\nexec "$REAL_GIT" "$@"\n')
    assert "new.py" in taken(repository)[0]["files"]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import inventory
calls, write, rename = int(sys.argv.pop(1)), inventory.sc.write_all, os.rename
def die(*arguments):
    global calls
    calls -= 1
    if calls < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return (write if len(arguments) == 2 and isinstance(arguments[0], int) else rename)(*arguments)
inventory.sc.write_all = inventory.sc.os.rename = die
inventory.finish(inventory.main)
"""


def test_one_that_is_killed_at_any_moment_of_the_writing_leaves_the_one_before_or_the_new_one(plain):
    put(plain, "a.md", "foo.tmp")
    put(plain, "foo.tmp")
    taken(plain)
    old, statuses = read(plain)["files"], []
    put(plain, "b.md", "foo.tmp")
    for calls in range(20):
        done = subprocess.run([sys.executable, "-c", KILLED, str(SCRIPTS), str(calls), "--root", str(plain)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        statuses.append(done.returncode)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        now = read(plain)["files"]
        assert now == old or "b.md" in now and now["foo.tmp"]["references"] == 2
        assert references(plain, use_cache=False)["foo.tmp"] == 2
        assert references(plain)["foo.tmp"] == 2  # with what is left of the cache
        os.unlink(str(plain / "b.md"))
        take(plain)
        old = read(plain)["files"]
        put(plain, "b.md", "foo.tmp")
    assert statuses[-1] == 0 and len(statuses) >= 7  # three writes and a rename each


# -- what it prints

def test_on_a_pipe_it_prints_the_verdict_and_where_it_wrote_and_nothing_else(repository):
    put(repository, "a.py", "x" * 2048)
    commit(repository)
    code, out, err = run_script("inventory.py", repository)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 2
    assert re.match(r"OK - 1 file, 2\.0 KiB \(1 tracked\) in \d+\.\d s$", lines[0])
    assert lines[1] == "  written to %s" % os.path.realpath(str(repository / INVENTORY))


def test_progress_is_shown_on_a_terminal_only(plain):
    folder = os.fsencode(str(plain))
    os.mkdir(folder + b"/many", 0o700)
    for number in range(5200):
        os.close(os.open(folder + b"/many/%d.py" % number, os.O_CREAT | os.O_WRONLY, 0o600))
    master, slave = pty.openpty()
    try:
        command = [sys.executable, str(SCRIPTS / "inventory.py"), "--root", str(plain)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        slave = -1
        shown = b""
        try:
            piece = os.read(master, 4096)
            while piece:
                shown += piece
                piece = os.read(master, 4096)
        except OSError:
            pass  # the other side is closed
        out = process.communicate()[0].decode()
        assert process.returncode == 0 and len(out.splitlines()) == 2
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)
    assert re.search(rb"\r\d{4} files seen ", shown) and re.search(rb"\r5\d{3} files read ", shown)
    assert shown.endswith(b" \r") and b"\n" not in shown and b"Traceback" not in shown
    code, out, err = run_script("inventory.py", plain, "--no-cache")
    assert (code, err) == (0, "")


def test_output_goes_where_it_is_told_to_go(plain, tmp_path):
    put(plain, "a.py")
    code, out, _ = run_script("inventory.py", plain, "--output", str(tmp_path / "elsewhere" / "x.json"))
    assert code == 0 and out.endswith("  written to %s\n" % (tmp_path / "elsewhere" / "x.json"))
    assert not (plain / INVENTORY).exists()
    assert "a.py" in read(tmp_path, "elsewhere/x.json")["files"]


def test_the_inventory_replaces_a_link_and_never_writes_through_it(plain, tmp_path):
    put(tmp_path, "precious", "mine")
    os.symlink(str(tmp_path / "precious"), str(plain / INVENTORY))
    taken(plain)
    assert (tmp_path / "precious").read_text() == "mine" and not os.path.islink(str(plain / INVENTORY))


def test_help_tells_the_options_and_the_exit_codes():
    done = subprocess.run([sys.executable, str(SCRIPTS / "inventory.py"), "--help"], stdout=subprocess.PIPE)
    text = done.stdout.decode()
    assert done.returncode == 0
    for word in ("--root", "--output", "--no-references", "--min-duplicate", "--no-cache", "Exit codes: 0 written",
                 "75 another inventory", "jq -c"):
        assert word in text, word


@pytest.mark.parametrize("arguments", [("--colour",), ("extra",), ("--min-duplicate",)])
def test_wrong_usage_is_exit_2(plain, arguments):
    code, out, err = run_script("inventory.py", plain, *arguments)
    assert (code, out) == (2, "") and "usage:" in err and not (plain / INVENTORY).exists()


# -- the root

def refused(root, **env):
    done = subprocess.run([sys.executable, str(SCRIPTS / "inventory.py"), "--root", str(root)],
                          env=dict(os.environ, **env), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, b"")
    said = done.stderr.decode()
    assert said.startswith("inventory: --root: ") and said.count("\n") == 1
    return said[len("inventory: --root: "):-1]


def test_a_root_that_nobody_can_have_meant_is_refused_and_nothing_is_written(plain, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir(mode=0o700)
    assert refused("/").startswith("/ is ")
    assert refused(plain, HOME=str(plain)) == "%s is the home folder (choose a folder below it)" % plain
    assert refused(plain, HOME=str(plain / "config")) == (
        "%s is above the home folder (choose a folder below it)" % plain)
    assert refused(bare).startswith("%s contains none of symphony_conductor.py, .git, config/conductor" % bare)
    assert refused("relative") == "'relative' is not an absolute path (start it with /)"
    assert refused(tmp_path / "nothing").endswith("No such file or directory")
    plain.chmod(0o777)
    assert "others can write to it" in refused(plain)
    assert os.listdir(str(bare)) == [] and sorted(os.listdir(str(plain))) == ["config"]


def test_a_root_that_is_a_link_is_the_folder_that_it_leads_to(plain, tmp_path):
    put(plain, "a.py")
    os.symlink(str(plain), str(tmp_path / "link"))
    code, _, err = run_script("inventory.py", tmp_path / "link")
    assert (code, err) == (0, "") and read(plain)["root"] == os.path.realpath(str(plain))


# -- comprehensive_inventory.sh

WRAPPER = str(SCRIPTS / "comprehensive_inventory.sh")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH with what the wrapper needs besides Python, and nothing else; its folder."""
    folder = tmp_path / "tools"
    folder.mkdir()
    if not shutil.which("git"):
        pytest.skip("there is no git (tests/run installs it)")
    for name in ("dirname", "git", "sh"):
        os.symlink(shutil.which(name), str(folder / name))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("PYTHON", raising=False)
    return folder


def wrapped(*arguments, **more):
    done = subprocess.run(["/bin/sh", WRAPPER] + [str(one) for one in arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **more)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def imposter(folder, name, text):
    put(folder, name, "#!/bin/sh\n%s\n" % text)
    (folder / name).chmod(0o755)


PLATFORM_PYTHON = pytest.mark.skipif(os.path.exists("/usr/libexec/platform-python"), reason="there is always a Python")


@PLATFORM_PYTHON
def test_the_wrapper_says_in_one_line_that_there_is_no_python(tools, plain):
    imposter(tools, "python", "exit 1")  # as one that is too old
    code, out, err = wrapped("--root", plain)
    assert (code, out) == (69, "")
    assert err == ("comprehensive_inventory.sh: Python 3.6 or newer is required, but none was found on PATH; "
                   "install python3\n")
    assert sorted(os.listdir(str(plain))) == ["config"]


@PLATFORM_PYTHON
@pytest.mark.parametrize("name", ["python3", "python3.14", "python3.11", "python3.6", "python"])
def test_the_wrapper_finds_a_python_of_any_usual_name(tools, plain, name):
    imposter(tools, name, 'exec "%s" "$@"' % sys.executable)
    put(plain, "a b.py")
    code, out, err = wrapped("--root", plain)
    assert (code, err) == (0, "") and out.startswith("OK - 2 files")


OLD = """[ "$2" = -c ] && exec "%s" -c 'import sys; sys.version_info = (3, 5, 9); exec(sys.argv[1])' "$3"; echo taken"""


def test_the_wrapper_passes_over_one_that_is_too_old_or_broken(tools, plain):
    imposter(tools, "python3", OLD % sys.executable)
    imposter(tools, "python3.13", "echo noise; echo noise >&2; exit 127")
    imposter(tools, "python3.9", 'exec "%s" "$@"' % sys.executable)
    code, out, err = wrapped("--root", plain)
    assert (code, err) == (0, "") and out.startswith("OK - 1 file,")


def test_the_wrapper_takes_the_python_that_it_is_told_to_take(tools, plain, tmp_path):
    imposter(tools, "python3", "echo wrong; exit 0")
    imposter(tmp_path / "my own", "py thon", 'exec "%s" "$@"' % sys.executable)
    code, out, _ = wrapped("--root", plain, env=dict(os.environ, PYTHON=str(tmp_path / "my own" / "py thon")))
    assert code == 0 and out.startswith("OK - ")


def test_the_wrapper_passes_options_and_exit_codes_on(tools, plain, tmp_path):
    imposter(tools, "python3", 'exec "%s" "$@"' % sys.executable)
    target = tmp_path / "with space" / "it's.json"
    code, out, err = wrapped("--root", plain, "--no-references", "--output", target)
    assert (code, err) == (0, "") and out.endswith("  written to %s\n" % target)
    assert read(tmp_path, "with space/it's.json")["references"] is False
    assert wrapped("--colour")[0] == 2
    assert wrapped("--root", "/")[0] == 3
    code, out, _ = wrapped("--help")
    assert code == 0 and "--no-references" in out


def test_the_wrapper_works_from_any_folder_and_through_a_folder_link(tools, plain, tmp_path):
    imposter(tools, "python3", 'exec "%s" "$@"' % sys.executable)
    os.symlink(str(SCRIPTS), str(tmp_path / "li nk"))
    done = subprocess.run(["/bin/sh", "li nk/comprehensive_inventory.sh", "--root", str(plain)], cwd=str(tmp_path),
                          env=dict(os.environ, CDPATH="/"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(b"OK - ")


# -- the same on every Python

def test_the_entries_of_a_folder_are_the_same_where_scandir_takes_no_descriptor(repository, monkeypatch):
    for name in ODD_NAMES:
        put(repository, b"x/" + name)
    os.symlink("x", str(repository / "link"))
    first = take(repository, use_cache=False)["files"]
    monkeypatch.setattr(inventory, "_scan", inventory._scan_by_name)
    second = take(repository, use_cache=False)["files"]
    assert sorted(second.values(), key=str) == sorted(first.values(), key=str)


@pytest.mark.parametrize("name, native", [("a", "a"), ("é", "\udcc3\udca9"), ("\udce9", "\udce9"),
                                          ("日\udcff", "\udce6\udc97\udca5\udcff")])
def test_where_the_system_speaks_ascii_only_names_are_stored_as_utf_8_all_the_same(monkeypatch, name, native):
    monkeypatch.setattr(tree_module, "UTF8_NAMES", False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsencode", lambda text: text.encode("ascii", "surrogateescape"))
        patch.setattr(os, "fsdecode", lambda data: data.decode("ascii", "surrogateescape"))
        assert tree_module.stored_path(native) == name
        assert tree_module.native_path(name) == native


@pytest.mark.parametrize("path, shown", [
    ("a b", "a b"), ("\u00e9", "\u00e9"), ("\u00e9\n", "\u00e9\\n"), ("\u00e9\\", "\u00e9\\\\"),
    ("a\udce9b", "a\\xe9b"), ("\u202e\u00e9", "\\u202e\u00e9"), (" a", "' a'"), ("", "''")])
def test_a_path_is_shown_on_one_line_with_only_that_escaped_which_has_to_be(path, shown):
    assert tree_module.printable(path) == shown
