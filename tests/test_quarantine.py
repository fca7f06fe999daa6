"""The tree, git and the quarantine: nothing that was not planned is taken, nothing is lost, everything comes back."""

import ast
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import threading
import time
import types

import hostile
import pytest
from hostile import (
    LOG,
    NOW,
    OLD_NS,
    ORDINARY_USER,
    OTHER_USER,
    QUARANTINE,
    ROOT,
    Quarantine,
    Tree,
    as_user,
    candidate,
    identity,
    in_child,
    interrupted,
    outcomes,
    reasons,
    snapshot,
)
from support import SCRIPTS, git, strace_works, wait_until

import quarantine as quarantine_module
import symphony_conductor as sc
import tree as tree_module
from common import RefusedError
from quarantine import Candidate, Removal, outcome_line
from tree import Git, GitError, GitGuard, Root, vouched

# Of which kills only some are tried here: every so many calls.
SAMPLED = {name: 4 for name in hostile.KILLS if "folder" in name or "their" in name}
ODD_NAMES = ("line\nbreak.tmp", os.fsencode("caf").decode() + "\udce9.tmp", " blank .tmp")


# -- helpers

def as_ordinary_user(work):
    """Do it without the rights of root."""
    if ROOT:
        as_user(ORDINARY_USER, work)
    else:
        in_child(work)


def in_mount_namespace(work):
    """Do it where mounts are seen by nobody else, and end with it."""
    def enter():
        new_mounts = 0x00020000  # CLONE_NEWNS
        assert ctypes.CDLL(None, use_errno=True).unshare(new_mounts) == 0, os.strerror(ctypes.get_errno())
        mount("--make-rprivate", "/")
        work()
    in_child(enter)


def mount(*arguments):
    subprocess.check_call(("mount",) + arguments)


def may_mount():
    return ROOT and subprocess.call(["unshare", "--mount", "mount", "--make-rprivate", "/"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


needs_root = pytest.mark.skipif(not ROOT, reason="only root can have files of several users")
needs_mounts = pytest.mark.skipif(not may_mount(), reason="mounts take root and a mount namespace")
needs_strace = pytest.mark.skipif(not strace_works(), reason="strace with fault injection is not here")


@contextlib.contextmanager
def another_process(act):
    """A process that did `act` and keeps what came of it until the end of the block."""
    ready, started = os.pipe()
    over, stop = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(stop)
            kept = act()
            os.write(started, b"x")
            os.read(over, 1)
            del kept
        finally:
            os._exit(0)
    os.close(started)
    os.close(over)
    try:
        assert os.read(ready, 1) == b"x", "the other process could not do it"
        yield
    finally:
        os.close(stop)
        os.close(ready)
        os.waitpid(pid, 0)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


@pytest.fixture
def open_folder():
    """A folder that every user can reach, which those of the tests' own are not."""
    path = tempfile.mkdtemp(prefix="quarantine-test-")
    os.chmod(path, 0o755)
    yield path
    subprocess.call(["chattr", "-R", "-i", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(path)


@pytest.fixture
def users_tree(open_folder):
    """A tree that belongs to an ordinary user; work on it through `as_ordinary_user`."""
    path = os.path.join(open_folder, "tree")
    if ROOT:
        os.mkdir(path)
        os.chown(path, ORDINARY_USER, ORDINARY_USER)
    return path


# -- rule 1: the root

@pytest.mark.parametrize("sentinel", ["symphony_conductor.py", ".git", "config/conductor_config.json"])
def test_rule_1_a_root_is_accepted_with_each_sentinel(tmp_path, sentinel):
    folder = tmp_path / "root"
    folder.mkdir(mode=0o700)
    with pytest.raises(RefusedError, match="contains none of symphony_conductor.py, .git, config/conductor"):
        Root(str(folder))
    (folder / sentinel).parent.mkdir(exist_ok=True)
    (folder / sentinel).write_text("")
    assert Root(str(folder)).path == str(folder)


@pytest.mark.parametrize("path", ["", ".", "tree", "./tree", "../tree", "~"])
def test_rule_1_a_relative_root_is_refused(tree, monkeypatch, path):
    monkeypatch.chdir(os.path.dirname(tree.path))
    with pytest.raises(RefusedError, match="is not an absolute path"):
        Root(path)


def test_rule_1_a_missing_root_or_a_file_is_refused(tree):
    for name in ("nowhere", "config/conductor_config.json"):
        with pytest.raises(RefusedError, match="cannot open"):
            Root(os.path.join(tree.path, name))


@pytest.mark.parametrize("path", ["/", "//", "/.", "/../", "/tmp/.."])
def test_rule_1_the_root_of_the_system_is_refused_even_with_a_sentinel(monkeypatch, path):
    monkeypatch.setattr(tree_module, "SENTINELS", ("etc",))
    with pytest.raises(RefusedError, match="--root: / is above the home folder"):
        Root(path)


def home_tree(tmp_path):
    """Folders above one another, each with a sentinel: the innermost is to be somebody's home."""
    folder = tmp_path
    for name in ("one", "two", "home", "project"):
        folder = folder / name
        folder.mkdir(mode=0o700)
        (folder / "symphony_conductor.py").write_text("")
    return tmp_path / "one" / "two" / "home"


def check_home_and_above_refused(home):
    for folder, what in ((home, "the home folder"), (home.parent, "above the home folder"),
                         (home.parent.parent, "above the home folder")):
        with pytest.raises(RefusedError) as refused:
            Root(str(folder))
        assert refused.value.message == "--root: %s is %s" % (folder, what)
    assert Root(str(home / "project")).path == str(home / "project")


def test_rule_1_the_home_folder_and_those_above_it_are_refused_by_HOME(tmp_path, monkeypatch):
    home = home_tree(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    check_home_and_above_refused(home)


def test_rule_1_the_home_folder_is_known_behind_a_symlink(tmp_path, monkeypatch):
    home = home_tree(tmp_path)
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    check_home_and_above_refused(home)


@pytest.mark.parametrize("variable", ["", "SUDO_UID"])
def test_rule_1_the_home_folder_of_the_accounts_is_refused_whatever_HOME_says(tmp_path, monkeypatch, variable):
    home = home_tree(tmp_path)
    wanted = 4242 if variable else os.getuid()

    class Account:
        pw_dir = str(home)

    def getpwuid(uid):
        if uid != wanted:
            raise KeyError(uid)
        return Account

    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(tree_module.pwd, "getpwuid", getpwuid)
    if variable:
        monkeypatch.setenv(variable, "4242")
    else:
        monkeypatch.delenv("SUDO_UID", raising=False)
    check_home_and_above_refused(home)


def test_rule_1_a_sudo_uid_that_is_no_number_is_no_crash(tree, monkeypatch):
    monkeypatch.setenv("SUDO_UID", "nobody")
    assert Root(tree.path).path == os.path.realpath(tree.path)


def test_rule_1_a_home_that_is_gone_still_protects_the_folders_above_it(tmp_path, monkeypatch):
    home = home_tree(tmp_path)
    monkeypatch.setenv("HOME", str(home / "gone" / "gone"))
    with pytest.raises(RefusedError, match="above the home folder"):
        Root(str(home))


def test_rule_1_a_root_that_others_can_write_to_is_refused(tree):
    os.chmod(tree.path, 0o707)
    with pytest.raises(RefusedError, match="others can write to it"):
        Root(tree.path)


@needs_root
def test_rule_1_a_root_of_another_user_is_refused(tree):
    os.chown(tree.path, OTHER_USER, -1)
    with pytest.raises(RefusedError, match="belongs to another user"):
        Root(tree.path)


def test_rule_1_a_symlink_to_a_root_stands_for_what_it_points_to(tree, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tree.path)
    assert Root(str(tmp_path / "link")).path == tree.path
    monkeypatch.setenv("HOME", tree.path)
    with pytest.raises(RefusedError, match="is the home folder"):
        Root(str(tmp_path / "link"))


@pytest.mark.parametrize("path", ["../tree/x", "/etc/passwd", "a/../../x", "a/./b", "a//b", "a/", "", ".", "..",
                                  "a\0b"])
def test_rule_10_a_candidate_whose_path_leaves_the_root_is_skipped(tree, tmp_path, path):
    tree.put("a/x.tmp")
    (tmp_path / "x").write_text("precious")
    seen = os.lstat(str(tmp_path / "x"))
    plan = [Candidate(path=path, size=seen.st_size, mtime_ns=seen.st_mtime_ns, ctime_ns=seen.st_ctime_ns,
                      dev=seen.st_dev, ino=seen.st_ino, mode=seen.st_mode)]
    removal = tree.work(plan)[0]
    assert (removal.outcome, tree.held()) == ("skipped", {})
    assert removal.reason.startswith("the plan: ") and removal.reason.endswith("is not a path below the root")
    assert (tmp_path / "x").read_text() == "precious"


# -- rule 2: git

@pytest.fixture
def repository(tree):
    """A tree with a commit: tracked files, one of them only in the index, an untracked one and an ignored one."""
    git(tree.path, "init", "-q")
    for name in ("src/main.c", "notes.txt") + ODD_NAMES[:2]:
        tree.put("kept/" + name)
    tree.put(".gitignore", b"*.ignored\n")
    git(tree.path, "add", "kept", ".gitignore")
    git(tree.path, "commit", "-q", "-m", "first")
    tree.put("kept/zz_staged.txt")
    git(tree.path, "add", "kept/zz_staged.txt")
    tree.put("junk.tmp")
    tree.put("sub/junk.ignored")
    return tree


def listing_of(tree):
    asked = Git(Root(tree.path))
    return vouched(asked, asked.listing())


def test_rule_2_git_says_what_is_tracked_with_every_name_intact(repository):
    found = listing_of(repository)
    assert found.tracked == {".gitignore", "kept/src/main.c", "kept/notes.txt", "kept/line\nbreak.tmp",
                             "kept/caf\udce9.tmp", "kept/zz_staged.txt"}
    assert found.untracked == {"junk.tmp", "config/conductor_config.json"}
    assert found.ignored == {"sub/junk.ignored"}
    assert found.head == git(repository.path, "rev-parse", "HEAD").strip()
    guard = GitGuard(Git(repository.root))
    assert [guard(path) for path in sorted(found.tracked)] == ["git tracks it"] * 6
    assert guard("junk.tmp") == guard("sub/junk.ignored") == ""
    assert guard("Kept/NOTES.txt") == "git tracks it under another spelling"


def test_rule_2_what_is_tracked_in_HEAD_counts_when_the_index_has_forgotten_it(repository):
    git(repository.path, "rm", "-q", "--cached", "-r", "kept")
    git(repository.path, "rm", "-q", "--cached", ".gitignore")
    assert "kept/notes.txt" in listing_of(repository).tracked
    assert GitGuard(Git(repository.root))("kept/caf\udce9.tmp") == "git tracks it"
    assert outcomes(repository.remove("kept/notes.txt", guards=[GitGuard(Git(repository.root))])) == {
        "kept/notes.txt": "skipped"}


def test_rule_2_a_file_that_is_added_between_two_calls_of_the_guard_is_noticed(repository):
    guard = GitGuard(Git(repository.root))
    assert guard("junk.tmp") == ""
    git(repository.path, "add", "junk.tmp")
    assert guard("junk.tmp") == "git tracks it"
    git(repository.path, "rm", "-q", "--cached", "junk.tmp")
    assert guard("junk.tmp") == ""


def test_rule_2_a_HEAD_that_moves_below_an_unchanged_index_is_noticed(repository):
    git(repository.path, "rm", "-q", "--cached", "kept/notes.txt")
    git(repository.path, "commit", "-q", "-m", "second")
    guard = GitGuard(Git(repository.root))
    assert guard("kept/notes.txt") == ""
    git(repository.path, "reset", "-q", "--soft", "HEAD~1")
    assert guard("kept/notes.txt") == "git tracks it"


def test_rule_2_the_guard_is_asked_again_right_before_each_removal(repository):
    """Between the plan and the rename somebody adds the file."""
    guard = GitGuard(Git(repository.root))
    asked = []

    def adding(path):
        asked.append(path)
        if len(asked) == 2:
            git(repository.path, "add", "junk.tmp")
        return guard(path)

    removal, = repository.remove("junk.tmp", guards=[adding])
    assert (removal.outcome, removal.reason) == ("skipped", "git tracks it")
    assert repository.content("junk.tmp") == b"junk\n"


def fake_git(*lines):
    """A program of that name that comes first in PATH."""
    def put(tree, monkeypatch):
        folder = os.path.join(os.path.dirname(tree.path), "bin")
        os.mkdir(folder)
        path = os.path.join(folder, "git")
        with open(path, "w") as handle:
            handle.write("\n".join(("#!/bin/sh", "real=" + shutil.which("git")) + lines) + "\n")
        os.chmod(path, 0o755)
        monkeypatch.setenv("PATH", folder + ":" + os.environ["PATH"])
    return put


def git_is_missing(tree, monkeypatch):
    monkeypatch.setenv("PATH", os.path.join(tree.path, "sub"))


def rewrite(name, change):
    """Change a file of the repository by its content; None removes it."""
    def put(tree, monkeypatch):
        path = tree.at(".git/" + name)
        with open(path, "rb") as handle:
            data = change(handle.read())
        os.unlink(path)
        if data is not None:
            with open(path, "wb") as handle:
                handle.write(data)
    return put


def objects_are_gone(tree, monkeypatch):
    shutil.rmtree(tree.at(".git/objects"))
    os.mkdir(tree.at(".git/objects"))


def git_folder_is(text):
    def put(tree, monkeypatch):
        os.rename(tree.at(".git"), tree.path + ".git")
        with open(tree.at(".git"), "w") as handle:
            handle.write(text)
    return put


def git_hangs(tree, monkeypatch):
    monkeypatch.setattr(tree_module, "GIT_TIMEOUT_S", 0.2)
    fake_git("exec sleep 60")(tree, monkeypatch)


BROKEN = [
    ("missing from PATH", git_is_missing, "cannot run git: No such file"),
    ("exits non-zero", fake_git("exit 3"), r"git rev-parse .* failed \(exit 3\): no message"),
    ("exits non-zero after the list", fake_git('"$real" "$@"', "exit 128"), r"failed \(exit 128\)"),
    ("lists fail alone", fake_git('case "$*" in *ls-files*) exit 1;; esac', 'exec "$real" "$@"'), r"exit 1"),
    ("killed", fake_git("kill -9 $$"), r"failed \(exit -9\)"),
    ("lists are killed", fake_git('case "$*" in *ls-files*) kill -9 $$;; esac', 'exec "$real" "$@"'), "exit -9"),
    ("complains with exit 0", fake_git('echo "warning: odd" >&2', 'exec "$real" "$@"'), "exit 0.: warning: odd"),
    ("complains in its lists", fake_git('case "$*" in *-o*) echo "warning: odd" >&2;; esac', 'exec "$real" "$@"'),
     "exit 0.: warning: odd"),
    ("says nothing with exit 0", fake_git("exit 0"), "git does not recognize .* as a work tree"),
    ("lists nothing with exit 0", fake_git('case "$*" in *ls-files*) exit 0;; esac', 'exec "$real" "$@"'),
     "git lists no tracked file"),
    ("hangs", git_hangs, "did not finish within"),
    ("index is garbage", rewrite("index", lambda data: b"garbage" * 50), "index is damaged"),
    ("index is empty", rewrite("index", lambda data: b""), "index is damaged"),
    ("index is truncated", rewrite("index", lambda data: data[:len(data) // 2]), "index is damaged"),
    ("index has a bad count", rewrite("index", lambda data: data[:8] + b"\0\0\0\1" + data[12:]), "index is damaged"),
    ("HEAD is missing", rewrite("HEAD", lambda data: None), "git rev-parse"),
    ("HEAD is garbage", rewrite("HEAD", lambda data: b"\0\1\2 garbage\n"), "git rev-parse"),
    ("HEAD is empty", rewrite("HEAD", lambda data: b""), "git rev-parse"),
    ("HEAD names no branch", rewrite("HEAD", lambda data: b"ref: refs/heads/nowhere\n"), "has no commit"),
    ("HEAD names no object", rewrite("HEAD", lambda data: b"1" * 40 + b"\n"), "git "),
    ("branch is empty", rewrite("refs/heads/main", lambda data: b""), "git|has no commit"),
    ("configuration is garbage", rewrite("config", lambda data: b"[[["), "git rev-parse"),
    ("objects are gone", objects_are_gone, "git ls-files"),
    (".git points nowhere", git_folder_is("gitdir: /nowhere\n"), "git rev-parse"),
    (".git is garbage", git_folder_is("garbage\n"), "git rev-parse"),
]


@pytest.mark.parametrize("damage,message", [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_rule_2_a_broken_git_is_an_error_and_no_empty_list(repository, monkeypatch, damage, message):
    plan = repository.plan("junk.tmp", "kept/notes.txt", "kept/zz_staged.txt")
    damage(repository, monkeypatch)
    with pytest.raises(GitError, match=message) as raised:
        listing_of(repository)
    assert raised.value.exit_code == 3
    with pytest.raises(GitError, match=message):
        GitGuard(Git(repository.root))("junk.tmp")
    with pytest.raises(GitError, match=message):
        repository.work(plan, guards=[GitGuard(Git(repository.root))])
    assert repository.held() == {} and repository.content("kept/notes.txt") == b"junk\n"


def test_rule_2_git_that_breaks_during_the_removal_ends_it(repository):
    """What has gone is said all the same, and everything that was announced is answered in the log."""
    guard = GitGuard(Git(repository.root))
    calls = []

    def breaking(path):
        calls.append(path)
        if len(calls) == 5:  # all were looked at, the first was taken
            rewrite("index", lambda data: b"garbage")(repository, None)
        return guard(path)

    repository.put("second.tmp")
    repository.put("third.tmp")
    removals = repository.remove("junk.tmp", "second.tmp", "third.tmp", guards=[breaking])
    assert outcomes(removals) == {"junk.tmp": "removed", "second.tmp": "failed", "third.tmp": "failed"}
    assert reasons(removals)["third.tmp"].startswith("git's index is damaged")
    assert list(repository.held().values()) == [b"junk\n"] and repository.content("second.tmp") == b"junk\n"
    with Quarantine(repository.root, NOW) as quarantine:
        assert quarantine.notes == []


def test_rule_2_a_repository_without_a_commit_vouches_for_nothing(tree):
    git(tree.path, "init", "-q")
    tree.put("junk.tmp")
    asked = Git(tree.root)
    assert asked.is_here() and asked.listing().head is None
    with pytest.raises(GitError, match="has no commit"):
        vouched(asked, asked.listing())
    with pytest.raises(GitError, match="has no commit"):
        tree.remove("junk.tmp", guards=[GitGuard(Git(tree.root))])
    assert tree.content("junk.tmp") == b"junk\n"


def test_rule_2_a_repository_above_does_not_answer_for_a_broken_one(tree):
    """Git looks for another repository above one that it cannot read; that one knows other files."""
    above = os.path.dirname(tree.path)
    tree.put("outer.txt")
    git(above, "init", "-q")
    git(above, "add", "tree/outer.txt")
    git(above, "commit", "-q", "-m", "outer")
    git(tree.path, "init", "-q")
    tree.put("inner.txt")
    git(tree.path, "add", "inner.txt")
    git(tree.path, "commit", "-q", "-m", "inner")
    assert listing_of(tree).tracked == {"inner.txt"}
    os.unlink(tree.at(".git/HEAD"))
    with pytest.raises(GitError):
        tree.remove("inner.txt", guards=[GitGuard(Git(tree.root))])
    assert tree.content("inner.txt") == b"junk\n"


def test_rule_2_a_root_within_a_work_tree_is_asked_for_its_own_part(tree):
    above = os.path.dirname(tree.path)
    tree.put("kept.txt")
    git(above, "init", "-q")
    git(above, "add", "tree/kept.txt")
    git(above, "commit", "-q", "-m", "outer")
    assert listing_of(tree).tracked == {"kept.txt"}
    assert GitGuard(Git(tree.root))("kept.txt") == "git tracks it"


@needs_root
def test_rule_2_dubious_ownership_is_an_error(open_folder):
    """Git does not speak about the repository of another user."""
    tree = Tree(open_folder + "/tree")
    git(tree.path, "init", "-q")
    tree.put("kept.txt")
    git(tree.path, "add", "kept.txt")
    git(tree.path, "commit", "-q", "-m", "first")
    for folder, folders, names in os.walk(tree.path):
        for name in folders + names:
            os.chown(os.path.join(folder, name), OTHER_USER, OTHER_USER)
    os.chown(tree.path, ORDINARY_USER, ORDINARY_USER)

    def ask():
        asked = Git(Root(tree.path))
        with pytest.raises(GitError, match="dubious ownership"):
            asked.listing()
        with pytest.raises(GitError, match="dubious ownership"):
            GitGuard(Git(Root(tree.path)))("kept.txt")

    as_user(ORDINARY_USER, ask)


def test_rule_2_the_callers_variables_do_not_point_git_elsewhere(repository, tmp_path, monkeypatch):
    expected = listing_of(repository).stored()
    other = Tree(tmp_path / "other")
    git(other.path, "init", "-q")
    other.put("other.txt")
    git(other.path, "add", "other.txt")
    git(other.path, "commit", "-q", "-m", "other")
    for name, value in (("GIT_DIR", other.at(".git")), ("GIT_WORK_TREE", other.path),
                        ("GIT_INDEX_FILE", other.at(".git/index")), ("GIT_OBJECT_DIRECTORY", other.at(".git/objects")),
                        ("GIT_CEILING_DIRECTORIES", repository.path), ("GIT_LITERAL_PATHSPECS", "1"),
                        ("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "core.worktree"),
                        ("GIT_CONFIG_VALUE_0", other.path), ("GIT_TRACE", "1")):
        monkeypatch.setenv(name, value)
        assert listing_of(repository).stored() == expected, name
        assert GitGuard(Git(repository.root))("kept/notes.txt") == "git tracks it"


def test_rule_2_the_fsmonitor_hook_of_a_repository_does_not_run(repository, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\necho ran >> '%s'\nprintf '/\\0'\n" % (tmp_path / "ran"))
    hook.chmod(0o755)
    git(repository.path, "config", "core.fsmonitor", str(hook))
    listing_of(repository)
    GitGuard(Git(repository.root))("junk.tmp")
    assert not (tmp_path / "ran").exists()
    git(repository.path, "status")
    assert (tmp_path / "ran").exists(), "it is one that git itself would have run"


@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "packed-refs.lock", "refs/heads/x.lock", "config.lock",
                                  "objects/info/commit-graph.lock"])
def test_rule_19_while_git_holds_a_lock_it_can_be_asked_but_nothing_goes(repository, name):
    path = repository.at(".git/" + name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w"):
        pass
    before = snapshot(repository.path)
    assert "kept/notes.txt" in listing_of(repository).tracked
    assert snapshot(repository.path) == before
    with pytest.raises(GitError, match="git is at work") as caught:
        repository.remove("junk.tmp", guards=[GitGuard(Git(repository.root))])
    assert path in str(caught.value), "whoever knows that no git runs can delete it"
    assert repository.content("junk.tmp") and repository.held() == {}
    os.unlink(path)
    assert outcomes(repository.remove("junk.tmp", guards=[GitGuard(Git(repository.root))])) == {"junk.tmp": "removed"}


def test_rule_19_what_git_adds_while_it_is_moved_goes_back(repository, monkeypatch):
    """Its lock appears after the last question, and is gone before the next."""
    names = ["junk.tmp", repository.put("other.tmp")]
    guard = GitGuard(Git(repository.root))
    asked = guard.afterwards

    def adding(paths):
        repository.restore_for_git("junk.tmp")
        return asked(paths)

    def put_in_index(name):
        held = [path for path in repository.held() if path[1] == name][0]
        subprocess.check_call(["git", "update-index", "--add", "--cacheinfo", "100644," + subprocess.check_output(
            ["git", "hash-object", "-w", repository.at("%s/%s/%s" % ((QUARANTINE,) + held))],
            cwd=repository.path).decode().strip() + "," + name], cwd=repository.path)

    repository.restore_for_git = put_in_index
    monkeypatch.setattr(guard, "afterwards", adding)
    removals = repository.remove(*names, guards=[guard])
    assert outcomes(removals) == {"junk.tmp": "failed", "other.tmp": "removed"}
    assert reasons(removals)["junk.tmp"] == "git tracks it; it was put back"
    assert os.path.lexists(repository.at("junk.tmp")) and not os.path.lexists(repository.at("other.tmp"))


def test_rule_19_a_git_that_does_not_finish_gets_all_back(repository, monkeypatch):
    monkeypatch.setattr(tree_module, "GIT_LOCK_WAIT_S", 0.1)
    guard = GitGuard(Git(repository.root))
    asked = guard.afterwards

    def locked(paths):
        with open(repository.at(".git/index.lock"), "w"):
            pass
        return asked(paths)

    monkeypatch.setattr(guard, "afterwards", locked)
    removal, = repository.remove("junk.tmp", guards=[guard])
    assert removal.outcome == "failed" and "git is at work" in removal.reason
    assert os.path.lexists(repository.at("junk.tmp"))


# -- rules 3 and 7: what never goes

@pytest.mark.parametrize("name", ["a.lock", "A.LOCK", "sub/x.pid", ".Pid", "odd\nname.lock", "odd\nfolder/x.pid"])
def test_rule_7_lock_and_pid_files_stay(tree, name):
    tree.put(name)
    assert [(one.outcome, one.reason) for one in tree.remove(name)] == [
        ("skipped", "lock and pid files stay, whatever their age")]
    assert tree.content(name) == b"junk\n"


def test_rule_7_whatever_is_no_plain_file_stays(tree):
    tree.put("target")
    os.mkfifo(tree.at("fifo.tmp"))
    os.symlink("target", tree.at("link.tmp"))
    os.symlink("nowhere", tree.at("dangling.tmp"))
    os.mkdir(tree.at("folder.tmp"))
    os.mknod(tree.at("socket.tmp"), stat.S_IFSOCK | 0o600)
    tree.put("twice.tmp")
    os.link(tree.at("twice.tmp"), tree.at("second"))
    names = ["fifo.tmp", "link.tmp", "dangling.tmp", "folder.tmp", "socket.tmp", "twice.tmp", "second"]
    before = {name: os.lstat(tree.at(name)) for name in names}
    removals = tree.remove(*names)
    assert outcomes(removals) == dict.fromkeys(names, "skipped")
    assert {name: os.lstat(tree.at(name)) for name in names} == before
    assert reasons(removals)["twice.tmp"] == "it has a second hard link"
    assert tree.held() == {}


def test_rule_7_a_live_socket_stays_and_is_not_talked_to(tree, monkeypatch):
    monkeypatch.chdir(tree.path)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind("live.tmp")
        server.listen(1)
        server.setblocking(False)
        assert outcomes(tree.remove("live.tmp")) == {"live.tmp": "skipped"}
        with pytest.raises(BlockingIOError):
            server.accept()


@needs_mounts
def test_rule_7_what_lies_on_another_device_or_under_a_mount_stays(tree):
    def work():
        for name in ("other", "bound", "elsewhere"):
            os.mkdir(tree.at(name))
        tree.root = Root(tree.path)  # the descriptor of the one before leads into the mounts of before
        mount("-t", "tmpfs", "tmpfs", tree.at("other"))
        tree.put("other/x.tmp")
        tree.put("elsewhere/x.tmp")
        mount("--bind", tree.at("elsewhere"), tree.at("bound"))  # the same device, and still no rename across it
        tree.put("source")
        tree.put("point.tmp")
        mount("--bind", tree.at("source"), tree.at("point.tmp"))
        tree.put("free.tmp")
        removals = tree.remove("other/x.tmp", "bound/x.tmp", "point.tmp", "free.tmp")
        assert outcomes(removals) == {"other/x.tmp": "skipped", "bound/x.tmp": "skipped", "point.tmp": "skipped",
                                      "free.tmp": "removed"}
        assert reasons(removals)["other/x.tmp"] == "cannot open its folder: it is on another device"
        assert reasons(removals)["bound/x.tmp"] == "cannot open its folder: something is mounted there"
        assert os.strerror(errno.EBUSY) in reasons(removals)["point.tmp"]
        for name in ("other/x.tmp", "bound/x.tmp", "source", "point.tmp"):
            assert tree.content(name) == b"junk\n"
        assert list(tree.held().values()) == [b"junk\n"]

    in_mount_namespace(work)


@pytest.mark.parametrize("dot_git", ["folder", "file", "dangling link"])
def test_rule_3_what_lies_in_a_nested_repository_stays(tree, dot_git):
    tree.put("nested/deep/x.tmp")
    plan = tree.plan("nested/deep/x.tmp")
    path = tree.at("nested/.git")
    {"folder": os.mkdir, "file": lambda path: open(path, "w").close(),
     "dangling link": lambda path: os.symlink("nowhere", path)}[dot_git](path)
    removal, = tree.work(plan)
    assert (removal.outcome, removal.reason) == (
        "skipped", "cannot open its folder: it is a repository of its own")
    assert tree.content("nested/deep/x.tmp") == b"junk\n"


def test_rule_3_a_folder_that_becomes_a_repository_during_the_removal_keeps_its_files(tree):
    tree.put("nested/x.tmp")
    calls = []

    def cloning(path):
        calls.append(path)
        if len(calls) == 1:
            os.mkdir(tree.at("nested/.git"))
        return ""

    assert outcomes(tree.remove("nested/x.tmp", guards=[cloning])) == {"nested/x.tmp": "skipped"}
    assert tree.content("nested/x.tmp") == b"junk\n"


def test_rule_3_the_files_of_git_and_of_the_quarantine_itself_are_never_taken(repository):
    names = [".git/left.tmp", ".git/objects/left.tmp", ".cleanup_quarantine/20250101T000000Z-1/x.tmp"]
    repository.remove(repository.put("other.tmp"))
    for name in names:
        repository.put(name)
    removals = repository.remove(*names, guards=[GitGuard(Git(repository.root))])
    assert outcomes(removals) == dict.fromkeys(names, "skipped")


# -- rule 9: one at a time

def test_rule_9_the_second_quarantine_is_refused_at_once(tree):
    def second():
        for execute in (True, False):
            began = time.monotonic()
            with pytest.raises(sc.BusyError, match="another clean-up is running") as busy:
                Quarantine(tree.root, NOW, execute).__enter__()
            assert busy.value.exit_code == 75 and time.monotonic() - began < 5

    with Quarantine(tree.root, NOW):
        second()
        in_child(second)
    with Quarantine(tree.root, NOW):
        pass


def test_rule_9_a_quarantine_that_was_refused_has_not_touched_the_log_of_the_first(tree):
    with Quarantine(tree.root, NOW) as first:
        removing = first.remove(tree.plan(tree.put("a.tmp"), tree.put("b.tmp")), [], 10)
        next(removing)
        before = tree.entries()
        with pytest.raises(sc.BusyError):
            Quarantine(tree.root, NOW).__enter__()
        assert tree.entries() == before
        list(removing)
    assert [entry["event"] for entry in tree.entries()] == ["intent", "intent", "done", "done", "end"]


# -- rules 10 and 11: a hostile writer (see hostile.py, which does this in the large)

def test_rules_10_and_11_hostile_writers_lose_nothing_and_no_wrong_thing_is_taken(tmp_path):
    torture = hostile.Torture(tmp_path, seed=1)
    torture.run(2000)
    assert torture.wrong() == [], "what is done is what was planned"
    assert torture.lost() == [], "whatever the writers put there is still there, or the log says where it is"
    restored, altered, stayed, missing = torture.restore()
    assert (altered, missing) == ([], []) and restored >= 1600 and restored + stayed == len(torture.removed())
    assert torture.lost() == [], "nor did the restore overwrite any of it"


@needs_root
def test_rule_20_an_ordinary_user_gains_nothing_from_a_restore_by_root(open_folder):
    torture = hostile.RestoreTorture(open_folder, 150, seed=1)
    torture.run()
    assert torture.wrong() == [] and torture.restore_rest() == []
    assert sum(torture.attacks.values()) >= 30, torture.attacks


@pytest.mark.parametrize("work, step", [
    (hostile.attack_at_moments, 149), pytest.param(hostile.plant_at_moments, 41, marks=needs_root)],
    ids=["removal", "restore"])
def test_rules_10_and_20_an_attack_at_any_moment_gains_nothing(tmp_path, work, step):
    cases, wrong = work(tmp_path, step)
    assert wrong == [] and cases > 30


def test_rule_19_what_a_git_adds_that_was_at_work_when_it_was_moved_goes_back(tmp_path):
    """Git has read the first file and waits in the middle; the file is taken, and git goes on."""
    race = hostile.GitRace(tmp_path, 5)
    race.make_slow()
    race.tree.put("more/other")

    def start(_):
        if race.adding is None and race.asked == len(race.names):
            race.add()
            assert wait_until((tmp_path / "slow").exists)
            threading.Timer(0.2, (tmp_path / "go").touch).start()
        race.asked += 1
        return ""

    race.asked = 0
    removals = race.clean_up(start)
    assert race.missing() == [] and race.adding.returncode == 0
    assert reasons(removals)[race.names[0]] == "git tracks it; it was put back"
    assert set(git(race.tree.path, "ls-files", "first").split()) == set(race.names)


@pytest.mark.parametrize("name", [".", "sub"])
def test_rule_12_a_folder_that_is_opened_between_the_look_and_the_rename_goes_back(tree, monkeypatch, name):
    """Whoever holds it open can write to it for as long as he likes."""
    tree.put("build/sub/a.o")
    fds = between(monkeypatch, lambda: os.open(tree.at("build/" + name), os.O_RDONLY | os.O_DIRECTORY))
    removal, = tree.work([hostile.folder_candidate(tree.root, "build")])
    os.close(fds[0])
    assert removal.outcome == "failed" and removal.reason.endswith("; it was put back"), removal
    assert "a process uses" in removal.reason and tree.content("build/sub/a.o") == b"junk\n"


@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_rule_11_what_came_between_the_look_and_the_rename_goes_back(tree, monkeypatch, kind):
    def swap():
        os.unlink(tree.at("sub/x.tmp"))
        if kind == "file":
            tree.put("sub/x.tmp", b"precious")
        elif kind == "link":
            os.symlink("precious", tree.at("sub/x.tmp"))
        else:
            os.mkfifo(tree.at("sub/x.tmp"))
        return os.lstat(tree.at("sub/x.tmp"))

    tree.put("sub/x.tmp")
    made = between(monkeypatch, swap)
    removal, = tree.remove("sub/x.tmp")
    assert removal.outcome == "failed" and removal.reason.endswith("; it was put back") and removal.size == 0
    assert os.lstat(tree.at("sub/x.tmp")).st_ino == made[0].st_ino
    assert tree.held() == {}


def between(monkeypatch, act):
    """Have something done right before the first rename; what came of it, as a list."""
    made, rename = [], os.rename

    def renaming(*arguments, **more):
        if not made and "dst_dir_fd" in more:
            made.append(act())
        return rename(*arguments, **more)

    monkeypatch.setattr(os, "rename", renaming)
    return made


def test_rule_11_an_inode_number_that_was_used_again_makes_no_planned_file(tree, monkeypatch):
    """File systems give a deleted file's number to the next one, and copying programs keep size, mtime and mode."""
    number = os.lstat(tree.at(tree.put("x.tmp", b"junk!"))).st_ino

    def swap():
        os.unlink(tree.at("x.tmp"))
        for name in ("try%d" % count for count in range(100)):
            if os.lstat(tree.at(tree.put(name, b"other"))).st_ino == number:
                return os.rename(tree.at(name), tree.at("x.tmp")) or True
        return False

    again = between(monkeypatch, swap)
    removals = tree.remove("x.tmp")
    if again == [False]:
        pytest.skip("this file system did not give the number to another file")
    assert outcomes(removals) == {"x.tmp": "failed"}
    assert tree.content("x.tmp") == b"other"


def test_rule_11_a_folder_that_came_between_is_never_taken_not_even_for_a_moment(tree, monkeypatch):
    def swap():
        os.unlink(tree.at("x.tmp"))
        tree.put("x.tmp/precious")

    between(monkeypatch, swap)
    tree.put("x.tmp")
    removal, = tree.remove("x.tmp")
    assert (removal.outcome, removal.reason) == ("failed", "it could not be moved: Not a directory")
    assert tree.content("x.tmp/precious") == b"junk\n" and tree.held() == {}


def test_rule_11_putting_back_never_overwrites_and_says_so(tree, monkeypatch):
    """Something new has taken the place by then."""
    tree.put("x.tmp")
    tree.put("first", b"first of two")
    between(monkeypatch, lambda: os.rename(tree.at("first"), tree.at("x.tmp")))
    link = os.link

    def linking(source, target, **more):
        if target == "x.tmp":
            tree.put("x.tmp", b"second")
        return link(source, target, **more)

    monkeypatch.setattr(os, "link", linking)
    removal, = tree.remove("x.tmp")
    (place, content), = tree.held().items()
    assert removal.outcome == "failed" and removal.reason == (
        "another file has taken its place; its place is taken, so it is kept: .cleanup_quarantine/%s/%s"
        % place)
    with Quarantine(tree.root, NOW + 100 * sc.DAY) as quarantine:
        assert quarantine.purge(14 * sc.DAY) == [] and len(tree.held()) == 1, "it was nobody's candidate"
        assert quarantine.notes[0].startswith("1 file in .cleanup_quarantine/kept: taken by mistake")
    assert (content, tree.content("x.tmp")) == (b"first of two", b"second")


@pytest.mark.parametrize("change,reason", [
    (lambda path: os.chmod(path, 0o600), "its mode has changed"),
    (lambda path: os.utime(path, (1, 1)), "its mtime has changed"),
    (lambda path: open(path, "ab").write(b"more"), "its size has changed"),
    (lambda path: os.link(path, path + ".too"), "it has a second hard link"),
])
def test_rule_10_a_file_that_differs_from_the_plan_stays(tree, monkeypatch, change, reason):
    tree.put("before.tmp")
    tree.put("meanwhile.tmp")
    plan = tree.plan("before.tmp", "meanwhile.tmp")
    change(tree.at("before.tmp"))
    between(monkeypatch, lambda: change(tree.at("meanwhile.tmp")))
    before, meanwhile = tree.work(plan)
    assert (before.outcome, before.reason) == ("skipped", reason)
    assert (meanwhile.outcome, meanwhile.reason) == ("failed", reason + "; it was put back")
    assert tree.held() == {}


def test_rule_10_a_file_that_was_touched_without_a_trace_in_its_mtime_stays(tree):
    """The change time cannot be set back."""
    tree.put("x.tmp")
    plan = tree.plan("x.tmp")
    tree.put("x.tmp", b"JUNK\n")
    assert reasons(tree.work(plan)) == {"x.tmp": "its ctime has changed"}


def test_rule_10_no_symlink_is_followed_on_the_way(tree, tmp_path):
    tree.put("real/in/x.tmp")
    os.symlink("real", tree.at("link"))
    os.symlink("in", tree.at("real/inner"))
    for path in ("link/in/x.tmp", "real/inner/x.tmp"):
        seen = candidate(tree.root, "real/in/x.tmp")
        assert outcomes(tree.work([seen.replace(path=path)])) == {path: "skipped"}
    assert tree.content("real/in/x.tmp") == b"junk\n"


def test_rule_11_a_file_whose_folder_moved_away_meanwhile_goes_back_into_it(tree, tmp_path, monkeypatch):
    tree.put("sub/x.tmp")
    between(monkeypatch, lambda: shutil.copytree(
        os.rename(tree.at("sub"), str(tmp_path / "away")) or str(tmp_path / "away"), tree.at("sub")))
    removal, = tree.remove("sub/x.tmp")
    assert (removal.outcome, removal.reason) == ("failed", "its folder was moved meanwhile; it was put back")
    assert (tmp_path / "away" / "x.tmp").read_bytes() == tree.content("sub/x.tmp") == b"junk\n"


def test_rule_11_a_rename_that_was_done_though_it_failed_deletes_nothing(tree, monkeypatch):
    """As over a network, where the answer is lost and the question asked again."""
    rename = os.rename

    def renaming(*arguments, **more):
        rename(*arguments, **more)
        if "dst_dir_fd" in more:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "rename", renaming)
    tree.put("x.tmp", b"only copy")
    assert outcomes(tree.remove("x.tmp")) == {"x.tmp": "removed"}
    places = list(tree.held().values()) + ([tree.content("x.tmp")] if os.path.exists(tree.at("x.tmp")) else [])
    assert places == [b"only copy"]


# -- who may remove at all

REMOVING = {
    "automation_manager.py": {("publish", "os.unlink"), ("move", "os.rename"), ("move", "os.unlink"),
                              ("write_script", "os.unlink"), ("cmd_retire", "os.unlink")},
    "quarantine.py": {("_take", "os.rename"), ("_drop_placeholder", "os.unlink"), ("_drop_placeholder", "os.rmdir"),
                      ("_drop_half_made", "os.rmdir"), ("_make_again", "os.rename"),
                      ("_give", "os.rename"), ("_give", "os.unlink"), ("_keep", "os.rename"), ("_rmdir", "os.rmdir"),
                      ("_delete", "os.unlink"), ("_delete", "os.rmdir"), ("_delete_below", "os.unlink"),
                      ("_delete_below", "os.rmdir"), ("_tidy", "os.rmdir"), ("_tidy_run", "os.rmdir"),
                      ("_tidy_run", "os.unlink"), ("_folders_in", "os.unlink")},
    # Unit files of systemd, which it knows by their first line; never a file of the tree.
    "symphony_timer.py": {("install", "os.unlink"), ("uninstall", "os.unlink")},
}
STRONG = {"unlink", "remove", "rename", "renames", "replace", "rmdir", "removedirs", "truncate", "ftruncate", "system",
          "popen"}


def removing_calls(path):
    """(function, call) for each one that could take a file away."""
    found = set()
    with open(str(path), encoding="utf-8") as handle:
        module = ast.parse(handle.read())

    def look(node, function):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            function = node.name
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("os", "posix") and node.attr in STRONG or node.value.id == "shutil":
                found.add((function, "%s.%s" % (node.value.id, node.attr)))
        if isinstance(node, ast.Attribute) and node.attr in ("unlink", "rmtree", "rmdir", "send2trash"):
            if not isinstance(node.value, ast.Name) or node.value.id not in ("os", "shutil"):
                found.add((function, "." + node.attr))
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {getattr(node, "module", None)} | {alias.name for alias in node.names}
            if names == {"shutil", "which"}:
                names = set()  # from shutil import which: it only looks
            found.update((function, "import " + str(name)) for name in names & {"shutil"} | (
                names & STRONG if getattr(node, "module", "") in ("os", "posix") else set()))
        for child in ast.iter_child_nodes(node):
            look(child, function)

    look(module, "")
    return found


def test_no_script_but_the_quarantine_removes_or_renames_files_of_the_tree():
    found = {path.name: removing_calls(path) for path in SCRIPTS.glob("*.py")}
    # The manager's own: a drop-in or script that it has just made, one it gives another name, a retired health file.
    assert {name: calls for name, calls in found.items() if calls} == REMOVING


def test_no_shell_script_removes_anything():
    for path in SCRIPTS.glob("*.sh"):
        words = [line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
        assert not [line for line in words if set(line) & {"rm", "mv", "rmdir", "unlink", "shred", "-delete"}], path


# -- rule 11: the quarantine folder

def test_rule_11_the_quarantine_is_private_and_invisible_for_git(repository):
    repository.remove("junk.tmp")
    assert stat.S_IMODE(os.stat(repository.at(QUARANTINE)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(repository.at(LOG)).st_mode) == 0o600
    assert QUARANTINE not in git(repository.path, "status", "--porcelain", "--untracked-files=all")
    (run,) = {run for run, _ in repository.held()}
    assert stat.S_IMODE(os.stat(repository.at(QUARANTINE + "/" + run)).st_mode) == 0o700


def test_rule_11_a_quarantine_that_git_would_list_is_hidden_again(repository):
    """As after a crash right after its folder was made."""
    os.mkdir(repository.at(QUARANTINE), 0o700)
    repository.remove("junk.tmp")
    assert QUARANTINE not in git(repository.path, "status", "--porcelain", "--untracked-files=all")


def open_to_all(tree):
    os.mkdir(tree.at(QUARANTINE))
    os.chmod(tree.at(QUARANTINE), 0o755)


def open_to_the_group(tree):
    os.mkdir(tree.at(QUARANTINE))
    os.chmod(tree.at(QUARANTINE), 0o710)


def a_symlink(tree):
    os.mkdir(tree.path + ".other", 0o700)
    os.symlink(tree.path + ".other", tree.at(QUARANTINE))


def a_file(tree):
    tree.put(QUARANTINE)


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("make", [open_to_all, open_to_the_group, a_symlink, a_file])
def test_rule_11_a_quarantine_that_is_not_private_is_refused(tree, make, execute):
    make(tree)
    tree.put("x.tmp")
    before = snapshot(os.path.dirname(tree.path))
    with pytest.raises(RefusedError, match="is not private to you|it must be a folder of yours"):
        tree.remove("x.tmp", execute=execute)
    assert snapshot(os.path.dirname(tree.path)) == before


@needs_root
def test_rule_11_a_quarantine_of_another_user_is_refused(tree):
    os.mkdir(tree.at(QUARANTINE), 0o700)
    os.chown(tree.at(QUARANTINE), OTHER_USER, OTHER_USER)
    with pytest.raises(RefusedError, match="is not private to you"):
        tree.remove(tree.put("x.tmp"))
    assert tree.content("x.tmp") == b"junk\n"


@needs_mounts
def test_rule_11_a_quarantine_on_another_device_is_refused(tree):
    def work():
        os.mkdir(tree.at(QUARANTINE), 0o700)
        mount("-t", "tmpfs", "-o", "mode=0700", "tmpfs", tree.at(QUARANTINE))
        tree.root = Root(tree.path)
        for execute in (True, False):
            with pytest.raises(RefusedError, match="is on another device than"):
                tree.remove(tree.put("x.tmp"), execute=execute)
        assert tree.content("x.tmp") == b"junk\n" and tree.held() == {}

    in_mount_namespace(work)


# -- rule 12: who uses it

def opened(flags):
    return lambda path: os.open(path, flags)


def mapped(path):
    with open(path, "r+b") as handle:
        return mmap.mmap(handle.fileno(), 0)


def flocked(how):
    def lock(path):
        handle = open(path, "rb")
        fcntl.flock(handle, how)
        return handle
    return lock


def posix_locked(path):
    handle = open(path, "r+b")
    fcntl.lockf(handle, fcntl.LOCK_EX)
    return handle


USES = [("read", opened(os.O_RDONLY)), ("written", opened(os.O_WRONLY)),
        ("appended to", opened(os.O_RDWR | os.O_APPEND)), ("mapped", mapped),
        ("flocked", flocked(fcntl.LOCK_EX)), ("flocked with others", flocked(fcntl.LOCK_SH)), ("locked", posix_locked)]


@pytest.mark.parametrize("proc", ["/proc", "/nowhere"], ids=["proc", "no proc"])
@pytest.mark.parametrize("use", [use for _, use in USES], ids=[name for name, _ in USES])
def test_rule_12_a_file_in_use_stays_until_it_is_free(tree, monkeypatch, use, proc):
    monkeypatch.setattr(sc, "PROC", proc)
    tree.put("x.tmp")
    for execute in (False, True):
        with another_process(lambda: use(tree.at("x.tmp"))):
            removal, = tree.remove("x.tmp", execute=execute)
            assert removal.outcome == "skipped"
            assert removal.reason in ("a process holds it open", "a process has locked it")
            assert tree.content("x.tmp") == b"junk\n"
    assert outcomes(tree.remove("x.tmp")) == {"x.tmp": "removed"}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc")
@pytest.mark.parametrize("use", [use for name, use in USES if name != "mapped"],
                         ids=[name for name, _ in USES if name != "mapped"])
def test_rule_12_a_file_in_use_stays_where_the_kernel_grants_no_leases(tree, monkeypatch, use):
    monkeypatch.delattr(fcntl, "F_SETLEASE")
    tree.put("x.tmp")
    with another_process(lambda: use(tree.at("x.tmp"))):
        assert outcomes(tree.remove("x.tmp")) == {"x.tmp": "skipped"}
    assert outcomes(tree.remove("x.tmp")) == {"x.tmp": "removed"}


def test_rule_12_a_file_that_is_opened_between_the_look_and_the_rename_goes_back(tree, monkeypatch):
    tree.put("x.tmp")
    handles = between(monkeypatch, lambda: open(tree.at("x.tmp"), "ab"))
    removal, = tree.remove("x.tmp")
    assert (removal.outcome, removal.reason) == ("failed", "a process holds it open; it was put back")
    handles[0].write(b"more\n")
    handles[0].close()
    assert tree.content("x.tmp") == b"junk\nmore\n"


def test_rule_11_what_cannot_be_opened_in_quarantine_goes_back(tree, monkeypatch):
    """It cannot be told whether it is the planned one, nor who uses it."""
    plan = tree.plan(tree.put("x.tmp"), tree.put("y.tmp"))
    real = os.open

    def opening(path, *arguments, **more):
        if str(path).endswith("Z-%d/x.tmp" % os.getpid()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", opening)
    removals = tree.work(plan)
    assert outcomes(removals) == {"x.tmp": "failed", "y.tmp": "removed"}
    assert reasons(removals)["x.tmp"] == "it cannot be checked in quarantine (Input/output error); it was put back"
    assert tree.content("x.tmp") == b"junk\n"


@pytest.mark.parametrize("error, said", [
    (OSError(errno.EIO, "Input/output error"), "Input/output error"), (OSError("no number"), "no number")])
def test_rule_11_what_cannot_be_looked_at_in_quarantine_goes_back(tree, monkeypatch, error, said):
    plan = tree.plan(tree.put("x.tmp"))

    def in_use(fd):
        if not os.path.exists(tree.at("x.tmp")):
            raise error
        return ""

    monkeypatch.setattr(quarantine_module, "in_use", in_use)
    assert reasons(tree.work(plan)) == {
        "x.tmp": "it cannot be checked in quarantine (%s); it was put back" % said}
    assert tree.content("x.tmp") == b"junk\n"


# -- rule 13: errors

def test_rule_13_a_folder_without_permission_is_said_and_the_others_go_on(users_tree):
    def work():
        tree = Tree(users_tree)
        names = [tree.put(name) for name in ("a.tmp", "shut/b.tmp", "dark/c.tmp", "blind/d.tmp", "e.tmp")]
        unreadable = tree.put("f.tmp", mode=0o200)
        plan = tree.plan(*names + [unreadable])
        os.chmod(tree.at("shut"), 0o500)
        os.chmod(tree.at("dark"), 0)
        os.chmod(tree.at("blind"), 0o300)  # its names cannot be listed, and need not be; its repository could hide
        tried = []
        rename, chmod = os.rename, os.chmod
        os.rename = lambda name, *rest, **more: (tried.append(name), rename(name, *rest, **more))
        os.chmod = lambda *rest, **more: chmod(*rest, **more) if "dir_fd" in more else tried.append("chmod")
        removals = tree.work(plan)
        os.rename, os.chmod = rename, chmod
        assert [(one.path, one.outcome) for one in removals if one.path != "blind/d.tmp"] == [
            ("shut/b.tmp", "skipped"), ("dark/c.tmp", "skipped"), ("f.tmp", "skipped"), ("a.tmp", "removed"),
            ("e.tmp", "removed")]
        assert reasons(removals)["dark/c.tmp"] == "cannot open its folder: Permission denied"
        assert reasons(removals)["shut/b.tmp"] == "no permission to write to its folder"
        assert reasons(removals)["f.tmp"] == "cannot be opened: Permission denied"
        assert sorted(set(tried)) == sorted(tried) and "chmod" not in tried, "nothing is tried a second way"
        assert stat.S_IMODE(os.stat(tree.at("shut")).st_mode) == 0o500
        assert {entry["path"] for entry in tree.entries() if entry["event"] == "intent"} <= {
            "a.tmp", "e.tmp", "blind/d.tmp"}
        for name in ("shut", "dark", "blind"):
            os.chmod(tree.at(name), 0o700)
        assert tree.content("shut/b.tmp") == tree.content("dark/c.tmp") == b"junk\n"

    as_ordinary_user(work)


def test_rule_13_a_folder_to_which_not_even_root_may_write_keeps_its_files(tree, monkeypatch):
    """As on a file server that takes root for nobody."""
    plan = tree.plan(tree.put("sub/x.tmp"))
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert reasons(tree.work(plan)) == {"sub/x.tmp": "no permission to write to its folder"}
    assert tree.content("sub/x.tmp") == b"junk\n" and tree.held() == {}


@needs_root
def test_rule_13_an_immutable_file_stays_and_the_others_go_on(open_folder):
    tree = Tree(open_folder + "/tree")
    names = [tree.put("a.tmp"), tree.put("fixed.tmp"), tree.put("c.tmp")]
    if subprocess.call(["chattr", "+i", tree.at("fixed.tmp")], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("this file system knows no immutable files")
    removals = tree.remove(*names)
    assert outcomes(removals) == {"a.tmp": "removed", "fixed.tmp": "skipped", "c.tmp": "removed"}
    assert reasons(removals)["fixed.tmp"].startswith("it cannot be moved: Operation not permitted (it or its folder is")
    assert tree.content("fixed.tmp") == b"junk\n"


@needs_root
def test_rule_13_a_file_of_another_user_stays_for_an_ordinary_one(users_tree):
    os.chmod(users_tree, 0o755)

    def prepare():
        Tree(users_tree).put("x.tmp")

    def work():
        tree = Tree(users_tree)
        removal, = tree.remove("x.tmp")
        assert (removal.outcome, removal.reason) == (
            "skipped", "it belongs to another user, so it could not be put back")

    as_ordinary_user(prepare)
    os.chown(users_tree + "/x.tmp", OTHER_USER, OTHER_USER)
    as_ordinary_user(work)
    assert os.path.exists(users_tree + "/x.tmp")


@pytest.mark.parametrize("code,outcome", [
    (errno.EBUSY, "skipped"), (errno.EACCES, "skipped"), (errno.EIO, "failed"), (errno.EXDEV, "skipped"),
    (errno.EROFS, "skipped"), (errno.ENOSPC, "failed"), (errno.ENAMETOOLONG, "skipped")])
def test_rule_13_a_rename_that_fails_is_said_once_and_not_tried_a_second_way(tree, monkeypatch, code, outcome):
    """What the system does not let go is a skip: nobody wants to hear of it each week as a failure."""
    names = [tree.put("%d.tmp" % number) for number in range(3)]
    rename, tried = os.rename, []

    def renaming(name, *arguments, **more):
        if "dst_dir_fd" in more:
            tried.append(name)
        if name == "1.tmp":
            raise OSError(code, os.strerror(code))
        return rename(name, *arguments, **more)

    monkeypatch.setattr(os, "rename", renaming)
    removals = tree.remove(*names)
    assert outcomes(removals) == {"0.tmp": "removed", "1.tmp": outcome, "2.tmp": "removed"}
    words = "it could not be moved: " if outcome == "failed" else "it cannot be moved: "
    assert reasons(removals)["1.tmp"].startswith(words + os.strerror(code))
    assert tried == names
    assert tree.content("1.tmp") == b"junk\n"
    assert sorted(path for _, path in tree.held()) == ["0.tmp", "2.tmp"]


def test_rule_13_a_quarantine_goes_on_after_a_run_in_which_nothing_went(tree):
    """The folder of the first run was empty, and is gone."""
    first, second = tree.plan(tree.put("sub/a.tmp"), tree.put("sub/b.tmp"))
    with Quarantine(tree.root, NOW) as quarantine:
        asked = []
        refusing = [lambda path: asked.append(path) or ("kept" if len(asked) > 1 else "")]
        assert outcomes(quarantine.remove([first], refusing, 10)) == {"sub/a.tmp": "skipped"}
        assert outcomes(quarantine.remove([second], [], 10)) == {"sub/b.tmp": "removed"}
        quarantine.restore("sub/b.tmp")
        assert outcomes(quarantine.remove(tree.plan("sub/b.tmp"), [], 10)) == {"sub/b.tmp": "removed"}


# -- rule 14: the limit

def test_rule_14_the_limit_bounds_what_goes_and_what_is_skipped_does_not_count(tree):
    names = ["a.tmp", "b.lock", "c.tmp", "d.tmp", "e.tmp", "f.tmp"]
    for name in names:
        tree.put(name)
    plan = tree.plan(*names)
    tree.put("c.tmp", b"changed")
    for execute, went in ((False, "would be removed"), (True, "removed")):
        removals = tree.work(plan, limit=2, execute=execute)
        assert outcomes(removals) == {"a.tmp": went, "b.lock": "skipped", "c.tmp": "skipped", "d.tmp": went,
                                      "e.tmp": "skipped", "f.tmp": "skipped"}
        assert reasons(removals)["e.tmp"] == reasons(removals)["f.tmp"] == "left for the next run"
    assert outcomes(tree.work(plan[-2:], limit=2)) == {"e.tmp": "removed", "f.tmp": "removed"}


def test_rule_14_a_failed_removal_does_not_count_against_the_limit(tree, monkeypatch):
    plan = tree.plan(*[tree.put(name) for name in ("a.tmp", "b.tmp", "c.tmp")])
    between(monkeypatch, lambda: os.chmod(tree.at("a.tmp"), 0o600))
    assert [one.outcome for one in tree.work(plan, limit=2)] == ["failed", "removed", "removed"]


def test_rule_14_a_limit_of_nothing_removes_nothing(tree):
    tree.put("a.tmp")
    assert reasons(tree.remove("a.tmp", limit=0)) == {"a.tmp": "left for the next run"}
    assert tree.content("a.tmp") == b"junk\n"


def test_rule_14_the_limit_holds_across_batches(tree, monkeypatch):
    monkeypatch.setattr(quarantine_module, "BATCH", 4)
    names = [tree.put("%02d.tmp" % number) for number in range(20)]
    removals = tree.remove(*names, limit=10)
    assert [one.path for one in removals if one.outcome == "removed"] == names[:10]
    assert [one.path for one in removals if one.reason == "left for the next run"] == names[10:]


# -- rule 15: the dry run

def test_rule_15_a_dry_run_changes_nothing_and_names_exactly_what_goes(repository):
    tree = repository
    good = [tree.put("good/" + name) for name in ODD_NAMES + ("a.tmp",)]
    bad = [tree.put(name) for name in ("x.lock", "changed.tmp", "gone.tmp", "open.tmp", "twice.tmp", "nested/x.tmp")]
    bad.append("kept/notes.txt")
    os.symlink("good/a.tmp", tree.at("link.tmp"))
    os.mkfifo(tree.at("fifo.tmp"))
    plan = tree.plan(*good + bad + ["link.tmp", "fifo.tmp"])
    tree.put("changed.tmp", b"changed")
    os.unlink(tree.at("gone.tmp"))
    os.link(tree.at("twice.tmp"), tree.at("second"))
    os.mkdir(tree.at("nested/.git"))
    with another_process(lambda: os.open(tree.at("open.tmp"), os.O_RDONLY)):
        before = snapshot(tree.path)
        dry = tree.work(plan, guards=[GitGuard(Git(tree.root))], execute=False)
        assert snapshot(tree.path) == before
        wet = tree.work(plan, guards=[GitGuard(Git(tree.root))])
    assert {one.path for one in dry if one.outcome == "would be removed"} == set(good)
    assert [(one.path, one.outcome.replace("would be ", ""), one.reason, one.size, one.rule) for one in dry] == [
        (one.path, one.outcome, one.reason, one.size, one.rule) for one in wet]
    assert all(os.path.lexists(tree.at(name)) for name in bad if name != "gone.tmp")


def test_rule_15_a_dry_run_beside_an_earlier_real_one_changes_nothing(tree):
    tree.remove(tree.put("a.tmp"))
    tree.put("b.tmp")
    before = snapshot(tree.path)
    assert outcomes(tree.remove("b.tmp", execute=False)) == {"b.tmp": "would be removed"}
    with Quarantine(tree.root, NOW + 90 * sc.DAY, execute=False) as quarantine:
        assert [run.files for run in quarantine.purge(14 * sc.DAY)] == [1]
    assert snapshot(tree.path) == before


def test_rule_15_a_dry_run_in_an_empty_quarantine_makes_no_file_there(tree):
    os.mkdir(tree.at(QUARANTINE), 0o700)
    tree.put("b.tmp")
    before = snapshot(tree.path)
    assert outcomes(tree.remove("b.tmp", execute=False)) == {"b.tmp": "would be removed"}
    assert snapshot(tree.path) == before


def test_rule_15_a_dry_run_after_a_crash_says_so_and_changes_nothing(tree):
    interrupted(tree, tree.put("a.tmp"), tree.put("b.tmp"))
    before = snapshot(tree.path)
    with Quarantine(tree.root, NOW, execute=False) as quarantine:
        assert quarantine.notes == [
            "a clean-up was interrupted, with 2 files unfinished; the next --execute finishes it"]
    assert snapshot(tree.path) == before


# -- rule 16: crashes (see hostile.py, which kills at every call)

@needs_strace
@pytest.mark.parametrize("name", list(hostile.KILLS))
def test_rule_16_what_is_killed_at_any_call_is_finished_or_rolled_back(tmp_path, name):
    hostile.kill_everywhere(tmp_path, hostile.KILLS[name], SAMPLED.get(name, 1))


@pytest.mark.parametrize("name", list(hostile.ERROR_CASES))
def test_rule_13_an_error_at_any_call_loses_nothing_and_the_next_start_settles_it(tmp_path, name):
    cases, wrong = hostile.errors_everywhere(tmp_path, hostile.ERROR_CASES[name], 17)
    assert wrong == [] and cases > 10


def test_rule_16_what_can_neither_go_back_nor_be_kept_goes_back_at_the_next_start(tmp_path):
    """The disk is full: nothing can be linked, no folder made. It must not wait there for a purge."""
    case = hostile.ERROR_CASES["removal of what was altered"]
    tree = case.make(tmp_path / "tree")
    full = hostile.failing(errno.ENOSPC)
    results = []
    with Quarantine(tree.root, NOW) as quarantine, pytest.raises(sc.StorageError, match="cannot put back .*build"):
        with hostile.at_call(2, full, labels=["rename", "link"], lasting=True) as made:
            case.act(quarantine, tree, results)
    assert results[0].outcome == "failed" and made[:2] == ["rename", "rename"], made
    assert results[0].reason == ("what is in it has changed; it could not be put back (No space left on device), nor "
                                 "be kept (No space left on device): the next clean-up puts it back")
    with Quarantine(tree.root, NOW) as quarantine:
        assert "build: failed after an interruption (what is in it has changed; it was put back)" in quarantine.notes
    assert tree.content("build/late.o") == b"precious 1"


def test_rule_17_of_several_empty_folders_each_can_be_restored_by_itself(tree):
    for name in ("one", "two"):
        os.mkdir(tree.at(name), 0o711)
    with Quarantine(tree.root, NOW) as quarantine:
        assert quarantine.remove_empty_folders(["one", "two"]) == ["one", "two"]
    for name in ("one", "two"):
        assert outcomes(tree.restore(name)) == {name: "restored"}
        assert stat.S_IMODE(os.stat(tree.at(name)).st_mode) == 0o711
    assert tree.runs() == []


def test_rule_17_a_purge_that_was_killed_within_a_folder_is_finished_by_the_next(tmp_path):
    tree = hostile.make_removed_folder(tmp_path / "tree", 30 * sc.DAY)
    for folder, _, names in os.walk(tree.at(QUARANTINE + "/" + hostile.runs_of(tree)[0])):
        for name in names:
            os.unlink(os.path.join(folder, name))
    hostile.check_folder_purge(tree)


def test_rule_20_a_folder_that_could_not_be_described_is_not_made_again_in_silence(tree, monkeypatch):
    tree.put("logs/x.tmp")  # which is not removed when it is left empty
    monkeypatch.setattr(quarantine_module.folders, "facts_of", raise_io_error)
    tree.remove("logs/x.tmp")
    monkeypatch.undo()
    os.rmdir(tree.at("logs"))
    assert reasons(tree.restore("logs/x.tmp")) == {"logs/x.tmp": "logs: what it looked like is not known"}


def raise_io_error(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_rule_16_the_intents_are_on_disk_before_anything_is_moved(tree, monkeypatch):
    """And the answers follow when all were moved and looked at once more."""
    story = []
    rename, fsync, write = os.rename, os.fsync, sc.write_all
    names = [tree.put("a.tmp"), tree.put("b.tmp")]
    with Quarantine(tree.root, NOW) as quarantine:
        monkeypatch.setattr(os, "rename", lambda *a, **m: (story.append("rename"), rename(*a, **m)))
        monkeypatch.setattr(os, "fsync", lambda fd: (story.append("fsync"), fsync(fd)))
        monkeypatch.setattr(sc, "write_all", lambda fd, data: (
            story.append([json.loads(line.decode()).get("event", "fact") for line in data.splitlines() if line]),
            write(fd, data)))
        list(quarantine.remove(tree.plan(*names), [], 10))
    assert story == [["fact"], "fsync", ["intent", "intent"], "fsync", "rename", "rename", ["done", "done"], ["end"],
                     "fsync"]


def test_rule_16_the_log_says_run_time_rule_and_reason(tree):
    tree.remove(tree.put("a.tmp", b"12345"))
    intent, done, end = tree.entries()
    assert (intent["event"], intent["path"], intent["rule"], intent["reason"], intent["size"], intent["at"]) == (
        "intent", "a.tmp", "temp", "old", 5, "2035-06-15T12:00:00Z")
    assert (done["event"], done["path"], done["size"], done["run"]) == ("done", "a.tmp", 5, intent["run"])
    assert (end["event"], end["files"], end["size"]) == ("end", 1, 5)
    assert intent["run"].startswith("20350615T120000Z-")


@pytest.mark.parametrize("tail", [b'{"event": "do', b"\0" * 300, b"\0" * 300 + b"\n", b"\xff\xfe\n", b"[1, 2]\n",
                                  b"null\n", b'"text"\n', b"\n\n", b"1e999\n", b"9" * 5000 + b"\n",
                                  b"[" * 100000 + b"\n", b'{"event": []}\n'],
                         ids=["torn", "zeros", "a line of zeros", "no UTF-8", "a list", "null", "text", "empty lines",
                              "a number", "a long number", "deep", "an odd event"])
def test_rule_16_a_log_with_a_broken_end_is_read_up_to_there_and_goes_on(tree, tail):
    run = interrupted(tree, tree.put("a.tmp"))
    tree.append(tail)
    with Quarantine(tree.root, NOW) as quarantine:
        assert quarantine.notes == ["a.tmp: done after an interruption (it had been moved)"]
    with open(tree.at(LOG), "rb") as handle:
        after = handle.read().split(tail.rstrip(b"\n"), 1)[1] if tail.strip() else handle.read()
    assert after.startswith(b"\n") or tail == b"\n\n", "the broken line is ended"
    entries = [json.loads(line.decode("ascii")) for line in after.splitlines() if line]
    assert [(entry["event"], entry["run"]) for entry in entries[-2:]] == [("done", run), ("end", run)]
    with Quarantine(tree.root, NOW) as quarantine:
        assert quarantine.notes == [], "what was written after it can be read again"
    assert outcomes(tree.restore(run)) == {"a.tmp": "restored"}


def log_folder(tree):
    os.mkdir(tree.at(LOG))


def log_link(tree):
    tree.put("elsewhere", b"")
    os.symlink("elsewhere", tree.at(LOG))


@pytest.mark.parametrize("make", [log_folder, log_link])
def test_rule_16_without_a_log_nothing_is_moved(tree, make):
    make(tree)
    with pytest.raises(sc.StorageError, match="cannot open .*cleanup_actions.log"):
        tree.remove(tree.put("a.tmp"))
    assert tree.content("a.tmp") == b"junk\n" and tree.held() == {}
    assert not os.path.exists(tree.at("elsewhere")) or tree.content("elsewhere") == b""


def test_rule_16_with_an_unreadable_log_nothing_is_moved(users_tree):
    def work():
        tree = Tree(users_tree)
        tree.put(LOG, b"", mode=0)
        with pytest.raises(sc.StorageError, match="cannot open .*cleanup_actions.log: Permission denied"):
            tree.remove(tree.put("a.tmp"))
        assert tree.content("a.tmp") == b"junk\n" and tree.held() == {}

    as_ordinary_user(work)


def test_rule_16_a_log_that_can_grow_no_further_stops_everything_before_it_begins(tree):
    """The limit cuts the intents in the middle of a line."""
    def work():
        names = [tree.put("%02d.tmp" % number) for number in range(20)]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(sc.StorageError, match="cannot append to .*cleanup_actions.log: File too large"):
            tree.remove(*names)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.path.getsize(tree.at(LOG)) == 1000 and tree.held() == {}
        assert all(tree.content(name) == b"junk\n" for name in names)
        assert set(outcomes(tree.remove(*names)).values()) == {"removed"}
        with open(tree.at(LOG), "rb") as handle:
            assert handle.read().count(b'"event": "end"') == 2, "the recovery's and the run's"

    in_child(work)


@needs_mounts
def test_rule_16_a_full_disk_stops_everything_before_it_begins(tree):
    def work():
        mount("-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", tree.path)
        small = Tree(tree.path)
        names = [small.put("%03d.tmp" % number, b"") for number in range(40)]
        with Quarantine(small.root, NOW):
            pass
        with open(small.at("ballast"), "wb", buffering=0) as handle:
            with contextlib.suppress(OSError):
                while True:
                    handle.write(b"\0" * 4096)
        with pytest.raises(sc.StorageError, match="No space left on device"):
            small.remove(*names)
        assert small.held() == {} and all(os.path.exists(small.at(name)) for name in names)
        os.unlink(small.at("ballast"))
        assert set(outcomes(small.remove(*names)).values()) == {"removed"}

    in_mount_namespace(work)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_rule_16_a_disk_that_fills_at_any_line_leaves_what_the_next_start_settles(tree, monkeypatch, failing):
    """Intents, answers, end: what is written at once is cut in two, and the run stops there."""
    names = [tree.put("%d.tmp" % number, b"%d" % number) for number in range(3)]
    with Quarantine(tree.root, NOW):
        pass
    real, count = os.write, []

    def write(fd, data):
        if b'"event"' in bytes(data) or count and count[-1] == "cut":
            count.append("line" if len(count) + 1 != failing else "cut")
            if count[-1] == "cut":
                real(fd, bytes(data)[:len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(sc.StorageError, match="No space left on device"):
        tree.remove(*names)
    monkeypatch.setattr(os, "write", real)
    moved = {path for _, path in tree.held()}
    assert moved == (set() if failing == 1 else set(names))
    with Quarantine(tree.root, NOW) as quarantine:
        settled = [note for note in quarantine.notes if ": done after an interruption" in note]
        assert len(settled) == {1: 0, 2: 2, 3: 0}[failing], "half of the three answers were written"
    assert {path for _, path in tree.held()} == moved
    for name in moved:
        assert outcomes(tree.restore(name)) == {name: "restored"}
    assert [tree.content(name) for name in names] == [b"0", b"1", b"2"]


def forged(tree, seen, run="20250101T000000Z-1", **more):
    return dict({"event": "intent", "run": run, "path": "x.tmp", "size": seen.st_size, "mtime_ns": seen.st_mtime_ns,
                 "dev": seen.st_dev, "ino": seen.st_ino, "mode": seen.st_mode}, **more)


@pytest.mark.parametrize("facts", [
    {"path": "../outside/precious"}, {"path": "../../../outside/precious"}, {"path": "/etc/passwd"},
    {"path": "a/../../outside/precious"}, {"path": ""},
    {"path": None}, {"path": 7}, {"path": ["x"]}, {"path": "x\0y"}, {"path": "\ud800"}, {"path": "x" * 5000},
    {"run": ".."}, {"run": "../.."}, {"run": "../../outside"}, {"run": None}, {"run": "20250101T000000Z-1/../.."},
    {"run": "20250101T000000Z-1\n"}, {"dev": "0"}, {"ino": None}, {"size": None}, {"mode": "x"}, {"mtime_ns": []},
], ids=repr)
def test_rule_17_a_forged_intent_leads_nowhere(tree, tmp_path, facts):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    tree.put("x.tmp")
    with Quarantine(tree.root, NOW):
        pass
    os.mkdir(tree.at(QUARANTINE + "/20250101T000000Z-1"), 0o700)
    tree.append(forged(tree, os.lstat(str(outside / "precious")), **facts))
    before, place = snapshot(outside), identity(tree.at("x.tmp"))
    with Quarantine(tree.root, NOW) as quarantine:
        assert len(quarantine.notes) == 1 and ": failed after an interruption" in quarantine.notes[0]
    assert snapshot(outside) == before and identity(tree.at("x.tmp")) == place
    assert tree.entries()[-1]["event"] == "end"
    with Quarantine(tree.root, NOW) as quarantine:
        assert quarantine.notes == []


@pytest.mark.parametrize("field", ["path", "run", "size", "mtime_ns", "dev", "ino", "mode"])
def test_rule_16_an_intent_with_a_missing_field_is_left_alone(tree, field):
    run = interrupted(tree, tree.put("a.tmp"))
    entry = tree.entries()[0]
    os.unlink(tree.at(LOG))
    tree.append({key: value for key, value in entry.items() if key != field})
    with Quarantine(tree.root, NOW) as quarantine:
        assert len(quarantine.notes) == 1 and ": failed after an interruption" in quarantine.notes[0]
    assert tree.held() == {(run, "a.tmp"): b"junk\n"}
    assert outcomes(tree.restore("a.tmp")) == {"a.tmp": "restored"}


def test_rule_16_a_crash_with_the_wrong_file_taken_puts_it_back(tree):
    tree.put("sub/other")
    run = interrupted(tree, tree.put("sub/a.tmp"))
    held = tree.at("%s/%s/sub/a.tmp" % (QUARANTINE, run))
    os.unlink(held)
    with open(held, "w") as handle:
        handle.write("precious")
    with Quarantine(tree.root, NOW) as quarantine:
        assert [note.split("; ")[1] for note in quarantine.notes] == ["it was put back)"]
    assert tree.content("sub/a.tmp") == b"precious" and tree.held() == {}


# -- rule 17: restore

def test_rule_17_a_restored_file_is_the_one_that_was_taken(tree):
    names = [tree.put("sub/deep/" + name, b"content of %d" % number, mode=0o640 + number)
             for number, name in enumerate(ODD_NAMES)]
    with_attributes = True
    try:
        os.setxattr(tree.at(names[0]), "user.note", b"value")
    except OSError:
        with_attributes = False
    before = {name: identity(tree.at(name)) for name in names}
    assert set(outcomes(tree.remove(*names)).values()) == {"removed"}
    assert not os.path.exists(tree.at("sub")), "it was left empty"
    run, = tree.runs()
    assert (run.files, run.size, run.at) == (3, 36, NOW)
    assert outcomes(tree.restore(run.run_id)) == dict.fromkeys(names, "restored")
    assert {name: identity(tree.at(name)) for name in names} == before
    assert not with_attributes or os.getxattr(tree.at(names[0]), "user.note") == b"value"
    assert tree.runs() == [] and [entry["event"] for entry in tree.entries()][-3:] == ["restored"] * 3


def test_rule_17_restore_never_overwrites_and_goes_on_after_a_failure(tree):
    names = [tree.put("%s/x.tmp" % name, name.encode()) for name in "abcde"]
    tree.remove(*names)
    tree.put("b/x.tmp", b"new")
    tree.put("c", b"a file where the folder was")
    os.symlink("e", tree.at("d"))
    run, = tree.runs()
    results = tree.restore(run.run_id)
    assert outcomes(results) == {"a/x.tmp": "restored", "b/x.tmp": "failed", "c/x.tmp": "failed", "d/x.tmp": "failed",
                                 "e/x.tmp": "restored"}
    assert reasons(results)["b/x.tmp"] == "its place is taken"
    assert tree.content("b/x.tmp") == b"new" and tree.content("c") == b"a file where the folder was"
    assert tree.content("e/x.tmp") == b"e", "nothing went through the link"
    assert tree.held() == {(run.run_id, name): name[:1].encode() for name in names[1:4]}
    os.unlink(tree.at("b/x.tmp"))
    assert outcomes(tree.restore("b/x.tmp")) == {"b/x.tmp": "restored"}


@pytest.mark.parametrize("kind", ["folder", "dangling link", "fifo"])
def test_rule_17_whatever_stands_in_the_place_stays(tree, kind):
    tree.remove(tree.put("x.tmp"))
    {"folder": os.mkdir, "fifo": os.mkfifo, "dangling link": lambda path: os.symlink("nowhere", path)}[kind](
        tree.at("x.tmp"))
    before = os.lstat(tree.at("x.tmp"))
    assert reasons(tree.restore("x.tmp")) == {"x.tmp": "its place is taken"}
    assert os.lstat(tree.at("x.tmp")) == before and list(tree.held().values()) == [b"junk\n"]


def test_rule_17_of_several_copies_the_newest_comes_back_first(tree):
    for number in range(3):
        tree.put("x.tmp", b"%d" % number)
        tree.remove("x.tmp", now=NOW + number * sc.HOUR)
    for number in (2, 1, 0):
        assert outcomes(tree.restore("x.tmp")) == {"x.tmp": "restored"}
        assert tree.content("x.tmp") == b"%d" % number
        os.unlink(tree.at("x.tmp"))
    with pytest.raises(sc.UsageError, match="'x.tmp' is not in quarantine"):
        tree.restore("x.tmp")


def test_rule_17_two_runs_in_the_same_second_are_kept_apart(tree):
    for number in range(3):
        tree.put("x.tmp", b"%d" % number)
        tree.remove("x.tmp")
    assert sorted(tree.held().values()) == [b"0", b"1", b"2"] and len(tree.runs()) == 3


@pytest.mark.parametrize("target", ["../outside/x", "/etc/passwd", "a/../../x", "..", ".", "", "a//b", "/a/",
                                    "20250101T000000Z-1/../../x", "a\0b"])
def test_rule_17_a_target_that_leaves_the_root_is_refused(tree, target):
    tree.remove(tree.put("x.tmp"))
    before = snapshot(tree.path)
    with pytest.raises(RefusedError, match="is not a path below the root"):
        tree.restore(target)
    assert snapshot(tree.path) == before


@pytest.mark.parametrize("target", ["20250101T000000Z-1", "unknown.tmp", "su", "sub/x"])
def test_rule_17_what_is_not_kept_cannot_be_restored_and_what_is_is_said(tree, target):
    tree.remove(tree.put("sub/x.tmp"))
    with pytest.raises(sc.UsageError) as missing:
        tree.restore(target)
    assert missing.value.hint == "runs in quarantine: %s" % tree.runs()[0].run_id


def test_rule_17_a_restore_that_was_cut_in_the_middle_is_finished(tree):
    """The file is back, and its name in quarantine still there."""
    tree.remove(tree.put("x.tmp"))
    (run, path), = tree.held()
    os.link(tree.at("%s/%s/%s" % (QUARANTINE, run, path)), tree.at("x.tmp"))
    assert outcomes(tree.restore("x.tmp")) == {"x.tmp": "restored"}
    assert os.lstat(tree.at("x.tmp")).st_nlink == 1 and tree.held() == {}


# -- rule 17: purge

def purge(tree, age_s, now=NOW, execute=True):
    with Quarantine(tree.root, now, execute) as quarantine:
        return quarantine.purge(age_s)


def test_rule_17_purge_deletes_by_age_alone_and_never_a_younger_run(tree):
    ages = {"future": -sc.DAY, "now": 0, "young": 14 * sc.DAY - 1, "just": 14 * sc.DAY, "old": 90 * sc.DAY}
    for name, age_s in ages.items():
        tree.remove(tree.put("sub/%s.tmp" % name, name.encode()), now=NOW - age_s)
    assert [run.files for run in purge(tree, 14 * sc.DAY, execute=False)] == [1, 1]
    assert len(tree.held()) == 5
    gone = purge(tree, 14 * sc.DAY)
    assert [(run.run_id[:16], run.files, run.size) for run in gone] == [
        ("20350317T120000Z", 1, 3), ("20350601T120000Z", 1, 4)]
    assert sorted(tree.held().values()) == [b"future", b"now", b"young"]
    assert len(tree.runs()) == 3, "the folders of a purged run are gone"
    assert [entry["event"] for entry in tree.entries()][-4:] == ["purge", "purged", "purge", "purged"]
    assert len(purge(tree, 0)) == 2
    assert list(tree.held().values()) == [b"future"], "a run from the future stays whatever the age"


def test_rule_17_purge_follows_no_symlink_and_touches_nothing_that_is_no_run(tree, tmp_path):
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "precious").write_text("precious")
    tree.remove(tree.put("x.tmp"), now=NOW - 90 * sc.DAY)
    (run, _), = tree.held()
    top = tree.at(QUARANTINE)
    os.symlink(str(outside), os.path.join(top, run, "folder"))
    os.symlink(str(outside / "deep" / "precious"), os.path.join(top, run, "file"))
    os.mkdir(os.path.join(top, "notes"))
    with open(os.path.join(top, "notes", "mine"), "w") as handle:
        handle.write("mine")
    before = snapshot(outside)
    assert len(purge(tree, 14 * sc.DAY)) == 1
    assert snapshot(outside) == before
    assert sorted(os.listdir(top)) == [".gitignore", "clock", "format", "lock", "notes", "placeholder"]
    assert os.listdir(os.path.join(top, "notes")) == ["mine"]


def test_rule_17_restore_follows_no_symlink_in_the_quarantine(tree, tmp_path):
    """Neither for the whole run nor for a path through it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    tree.remove(tree.put("x.tmp"))
    (run, _), = tree.held()
    os.symlink(str(outside), os.path.join(tree.at(QUARANTINE), run, "sub"))
    before = snapshot(outside)
    with contextlib.suppress(sc.ConductorError):
        tree.restore("sub/precious")
    assert snapshot(outside) == before
    tree.restore(run)
    assert snapshot(outside) == before


@pytest.mark.parametrize("kind", ["a file", "a link"])
def test_rule_17_what_only_looks_like_a_run_is_passed_over(tree, tmp_path, kind):
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "deep" / "precious").write_text("precious")
    tree.remove(tree.put("x.tmp"), now=NOW - 90 * sc.DAY)
    path = tree.at(QUARANTINE + "/20200101T000000Z-1")
    if kind == "a file":
        open(path, "w").close()
    else:
        os.symlink(str(tmp_path / "outside"), path)
    before = snapshot(tmp_path / "outside")
    with contextlib.suppress(OSError):
        purge(tree, 14 * sc.DAY)
    with contextlib.suppress(OSError, sc.ConductorError):
        tree.restore("20200101T000000Z-1")
    assert snapshot(tmp_path / "outside") == before, "no link was followed"
    purge(tree, 14 * sc.DAY)
    assert tree.held() == {} and os.path.lexists(path)


def test_rule_17_a_run_with_an_impossible_date_is_passed_over(tree):
    tree.remove(tree.put("x.tmp"), now=NOW - 90 * sc.DAY)
    os.mkdir(tree.at(QUARANTINE + "/20259999T999999Z-1"), 0o700)
    assert [run.files for run in purge(tree, 14 * sc.DAY)] == [1]
    assert os.path.isdir(tree.at(QUARANTINE + "/20259999T999999Z-1"))


# -- empty folders

def test_rule_13_only_empty_folders_go_and_never_through_a_link(tree, tmp_path):
    for name in ("a/b/c", "full", "nested/.git", "nested/empty"):
        os.makedirs(tree.at(name))
    tree.put("full/x")
    (tmp_path / "outside" / "empty").mkdir(parents=True)
    os.symlink(str(tmp_path / "outside"), tree.at("link"))
    with Quarantine(tree.root, NOW) as quarantine:
        assert quarantine.remove_empty_folders(
            ["a", "a/b", "full", "a/b/c", "nested/empty", "link", "link/empty", "gone"]) == ["a/b/c", "a/b", "a"]
    assert (tmp_path / "outside" / "empty").is_dir() and tree.content("full/x") == b"junk\n"
    assert os.path.isdir(tree.at("nested/empty"))


# -- rule 18: what is reported

def test_rule_18_the_sizes_are_those_of_what_really_went(tree, monkeypatch):
    names = [tree.put("%d.tmp" % size, b"x" * size) for size in (1, 20, 300, 4000)]
    plan = tree.plan(*names)
    tree.put("300.tmp", b"grown" * 100)
    between(monkeypatch, lambda: os.chmod(tree.at("1.tmp"), 0o600))
    removals = tree.work(plan)
    assert {one.path: (one.outcome, one.size) for one in removals} == {
        "1.tmp": ("failed", 0), "20.tmp": ("removed", 20), "300.tmp": ("skipped", 0), "4000.tmp": ("removed", 4000)}
    assert tree.entries()[-1]["files"] == 2 and tree.entries()[-1]["size"] == 4020
    assert sum(len(content) for content in tree.held().values()) == 4020 == tree.runs()[0].size
    assert outcome_line(removals, True) == "2 files moved to quarantine (3.9 KiB), 2 kept"


@pytest.mark.parametrize("found,execute,line", [
    ([], True, "0 files moved to quarantine (0 B): nothing was due"),
    ([], False, "0 files would be removed (0 B): nothing was due"),
    ([("skipped", "git tracks it")] * 2 + [("failed", "a process holds it open")], True,
     "0 files moved to quarantine (0 B), 3 kept: git tracks it (2); a process holds it open (1)"),
    ([("would be removed", "old")], False, "1 file would be removed (1 B)"),
    ([("removed", "old"), ("skipped", "gone")], True, "1 file moved to quarantine (1 B), 1 kept"),
])
def test_rule_18_the_verdict_says_why_nothing_went(found, execute, line):
    removals = [Removal(path="%d" % number, outcome=outcome, reason=reason, size=outcome not in ("skipped", "failed"))
                for number, (outcome, reason) in enumerate(found)]
    assert outcome_line(removals, execute) == line


def test_rule_18_the_three_commonest_reasons_are_told():
    reasons_of = [Removal(path=str(number), outcome="skipped", reason=reason)
                  for number, reason in enumerate("dabcabcaba")]
    assert outcome_line(reasons_of, True) == (
        "0 files moved to quarantine (0 B), 10 kept: a (4); b (3); c (2)")


@pytest.mark.parametrize("run_id, when", [
    ("20250601T030000Z-1", 1748746800), ("20250601T030000Z-4711", 1748746800), ("20250601T030000Z", None),
    ("20251301T030000Z-1", None), ("20250601T030000Z-1x", None), ("x20250601T030000Z-1", None), ("", None)])
def test_a_run_has_the_time_that_its_name_says(run_id, when):
    assert quarantine_module.run_time(run_id) == when


def test_what_became_of_a_candidate_has_its_size_only_where_it_went():
    item = Candidate(path="a", size=5, rule="temp", reason="old", files=2, contents="c",
                     mtime_ns=3, dev=1, ino=4, mode=6)
    for outcome, size in (("removed", 5), ("would be removed", 5), ("skipped", 0), ("failed", 0)):
        assert quarantine_module._removal(item, outcome) == Removal(
            path="a", outcome=outcome, reason="old", size=size, rule="temp", files=2)
        assert quarantine_module._removal(item, outcome, "why").reason == "why"
    facts = {"path": "a", "size": 5, "mtime_ns": 3, "dev": 1, "ino": 4, "mode": 6, "rule": "temp", "reason": "old"}
    assert quarantine_module._intent(item) == dict(facts, files=2, contents="c")
    assert quarantine_module._intent(item.replace(files=0)) == facts
    held = quarantine_module.Held(path="a", size=5, files=2)
    assert quarantine_module._restored(held, "restored", ["b", "c"]) == Removal(
        path="a", outcome="restored", reason="b; c", size=5, files=2)


PLANNED = {"st_mode": 0o100644, "st_dev": 7, "st_ino": 8, "st_nlink": 1, "st_size": 3, "st_mtime_ns": 4,
           "st_ctime_ns": 5}


@pytest.mark.parametrize("changes, moved, said", [
    ({}, False, ""), ({}, True, ""), ({"st_ctime_ns": 6}, True, ""),
    ({"st_ctime_ns": 6}, False, "its ctime has changed"), ({"st_ctime_ns": 4}, False, "its ctime has changed"),
    ({"st_mode": 0o120777}, True, "it is no longer a regular file"),
    ({"st_dev": 8}, True, "another file has taken its place"),
    ({"st_ino": 7}, True, "another file has taken its place"),
    ({"st_nlink": 2}, True, "it has a second hard link"), ({"st_nlink": 0}, True, "it has a second hard link"),
    ({"st_size": 4}, True, "its size has changed"), ({"st_size": 2}, True, "its size has changed"),
    ({"st_mtime_ns": 5}, True, "its mtime has changed"), ({"st_mtime_ns": 3}, True, "its mtime has changed"),
    ({"st_mode": 0o100600}, True, "its mode has changed")])
def test_a_file_is_the_planned_one_by_everything_that_stat_tells(changes, moved, said):
    planned = Candidate(path="a", dev=7, ino=8, size=3, mtime_ns=4, ctime_ns=5, mode=0o100644)
    status = types.SimpleNamespace(**dict(PLANNED, **changes))
    assert quarantine_module.difference(status, planned, moved) == said


def test_the_digest_of_a_folder_is_of_its_lines_in_any_order():
    text = "a\0001\nb\0002\nc\udce9\0003".encode("utf-8", "surrogatepass")
    expected = hashlib.blake2b(text, digest_size=16).hexdigest()
    for lines in (["a\0001", "b\0002", "c\udce9\0003"], ["c\udce9\0003", "b\0002", "a\0001"]):
        assert quarantine_module.contents_digest(lines) == expected
    assert quarantine_module.contents_digest(["a\0001", "b\0002"]) != expected


# -- names, and what is asked of git, without a tree

@pytest.mark.parametrize("path, shown", [
    ("a/b c.txt", "a/b c.txt"), ("caf\u00e9", "caf\u00e9"), ("", "''"), (" a", "' a'"), ("a ", "'a '"),
    ("a\nb", "a\\nb"), ("a\\b", "a\\\\b"), ("a\x1bb", "a\\x1bb"), ("\udc80\udce9\udcff", "\\x80\\xe9\\xff"),
    ("\udc7f", "\\udc7f"), ("\udd00", "\\udd00"), ("\u202ea", "\\u202ea"), ("a\n ", "'a\\n '")])
def test_a_path_is_shown_on_one_line_and_without_ambiguity(path, shown):
    assert tree_module.printable(path) == shown


@pytest.mark.parametrize("path, yes", [
    ("a", True), ("a/b c", True), ("caf\udce9", True), ("...", True), ("a/.b", True), ("", False), ("/a", False),
    ("a/", False), ("a//b", False), (".", False), ("..", False), ("a/../b", False), ("a/./b", False), ("a\0b", False),
    ("\ud800", False)])
def test_a_path_of_metadata_leads_below_the_root_or_is_refused(path, yes):
    if yes:
        assert tree_module.relative_path(path, "the log") == path
    else:
        with pytest.raises(RefusedError) as caught:
            tree_module.relative_path(path, "the log")
        assert str(caught.value) == "the log: '%s' is not a path below the root" % tree_module.printable(path)


@pytest.mark.parametrize("names, yes", [
    ([".git"], True), ([".jj"], True), ([".hg"], True), ([".svn"], True), ([".bzr"], True), (["_darcs"], True),
    ([".fslckout"], True), (["_FOSSIL_"], True), (["CVS"], True), (["HEAD", "objects", "refs"], True),
    (["HEAD", "objects"], False), (["git", "refs"], False), ([], False)])
def test_a_repository_of_its_own_is_told_by_what_it_holds(names, yes):
    assert tree_module.is_repository(names.__contains__) is yes


@pytest.mark.parametrize("path, folded", [
    ("A/b.TXT", "a/b.txt"), ("Entwu\u0308rfe", "entw\u00fcrfe"), ("Stra\u00dfe", "strasse"), ("\udce9A", "\udce9a")])
def test_a_path_is_folded_as_a_file_system_does_that_ignores_case(path, folded):
    assert tree_module.folded(path) == folded


class FakeGit:
    """A git that tracks what it is told to track, and counts how often it is asked."""

    def __init__(self, *tracked, head="abc"):
        self.root = types.SimpleNamespace(path="/srv/a")
        self.tracked, self.head, self.stamped, self.asked = set(tracked), head, 1, 0
        self.locked = False

    def stamp(self):
        return (self.stamped,)

    def refuse_lock(self):
        if self.locked:
            raise GitError("git is at work")

    def lock(self):
        return ""

    def listing(self, only_tracked=False):
        assert only_tracked  # the others are never needed for a guard
        self.asked += 1
        return tree_module.Listing(head=self.head, tracked=self.tracked)


@pytest.mark.parametrize("path, said", [
    ("a/b/c", "git tracks it"), ("a/b", "git tracks it"), ("a", "git tracks it"),
    ("A/B", "git tracks it under another spelling"),
    ("a/b/C", "git tracks it under another spelling"), ("a/c", ""), ("b", ""), ("x", "git tracks it"), ("a/b/c/d", "")])
def test_what_git_tracks_and_the_folders_above_stay(path, said):
    assert GitGuard(FakeGit("a/b/c", "x"))(path) == said


def test_git_is_asked_again_when_its_files_have_changed_and_not_while_it_is_at_work():
    asked = FakeGit("a")
    guard = GitGuard(asked)
    assert [guard("a"), guard("b"), guard("b")] == ["git tracks it", "", ""] and asked.asked == 1
    asked.tracked, asked.stamped, asked.locked = {"b"}, 2, True
    for _ in range(2):  # no answer is taken for one
        with pytest.raises(GitError):
            guard("b")
    asked.locked = False
    assert [guard("a"), guard("b")] == ["", "git tracks it"] and asked.asked == 2
    assert guard.afterwards(["a", "b"]) == {"b": "git tracks it"} and asked.asked == 3
    asked.locked = True
    assert guard.afterwards(["a", "b"]) == {"a": "git is at work", "b": "git is at work"}


@pytest.mark.parametrize("tracked, head, said", [
    ([], "abc", "git lists no tracked file in /srv/a, so its answer is not trusted"),
    (["a"], None, "/srv/a has no commit, or its HEAD cannot be read (commit the files of the project first)")])
def test_a_listing_that_cannot_be_true_is_not_relied_on(tracked, head, said):
    with pytest.raises(GitError) as caught:
        GitGuard(FakeGit(*tracked, head=head))("a")
    assert str(caught.value) == said


# -- rules 24 and 25: a folder that goes as one

def folder_lines(root, path):
    """The lines of contents_digest, by another way than the product's."""
    lines = []
    for folder, _, names in os.walk(root.join(path)):
        links = [name for name in os.listdir(folder) if os.path.islink(os.path.join(folder, name))]
        for name in sorted(set(names) | set(links)):
            place = os.path.join(folder, name)
            seen = os.lstat(place)
            lines.append("%s\0%d,%d,%d,%d,%d,%d" % (
                os.path.relpath(place, root.path), seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns,
                seen.st_mode, seen.st_nlink))
    return lines


def whole(tree, path):
    """The candidate of a folder, as a plan from an inventory has it."""
    lines = folder_lines(tree.root, path)
    size = sum(int(line.split("\0")[1].split(",")[1]) for line in lines)
    return Candidate(path=path, size=size, dev=tree.root.dev, rule="cache", reason="made again", files=len(lines),
                     contents=quarantine_module.contents_digest(lines), generated=True)


def put_cache(tree, path="pkg/cache"):
    tree.put("pkg/kept.py")
    for name in ("one", "deep/two", "deep/er/three"):
        tree.put("%s/%s" % (path, name), name.encode())
    os.mkdir(tree.at(path + "/deep/empty"))
    os.symlink("../../kept.py", tree.at(path + "/link"))
    os.chmod(tree.at(path + "/deep"), 0o750)
    return path


def test_rule_24_a_folder_goes_as_one_and_comes_back_as_it_was(tree):
    path = put_cache(tree)
    before = snapshot(tree.at(path))
    plan = [whole(tree, path)]
    assert outcomes(tree.work(plan, execute=False)) == {path: "would be removed"}
    removal, = tree.work(plan)
    assert (removal.outcome, removal.files, removal.size) == ("removed", 4, plan[0].size)
    assert not os.path.lexists(tree.at(path)) and tree.content("pkg/kept.py")
    run, = tree.runs()
    assert (run.files, run.size) == (4, plan[0].size)
    with Quarantine(tree.root, NOW) as quarantine:
        assert [(item.path, item.files) for item in quarantine.held(run.run_id)] == [(path, 4)]
    assert outcomes(tree.restore(run.run_id)) == {path: "restored"}
    after = snapshot(tree.at(path))
    top = os.fsencode(tree.at(path) + "/.")
    assert {key: value for key, value in after.items() if key != top} == {
        key: value for key, value in before.items() if key != top}, "not even a ctime has changed in it"
    assert after[top][:3] == before[top][:3]
    assert tree.runs() == [] and outcome_line(tree.work([whole(tree, path)]), True).startswith("1 f")


@pytest.mark.parametrize("change,reason", [
    (lambda place: open(place + "/new", "w").close(), "what is in it has changed"),
    (lambda place: os.unlink(place + "/one"), "what is in it has changed"),
    (lambda place: os.chmod(place + "/one", 0o600), "what is in it has changed"),
    (lambda place: os.link(place + "/one", place + "/second"), "what is in it has changed"),
    (lambda place: os.utime(place + "/deep/two"), "what is in it has changed"),
    (lambda place: os.rename(place + "/one", place + "/deep/one"), "what is in it has changed"),
    (lambda place: (os.unlink(place + "/link"), os.symlink("x", place + "/link")), "what is in it has changed"),
    (lambda place: os.mkfifo(place + "/pipe"), "pkg/cache/pipe in it is no regular file"),
    (lambda place: os.mkdir(place + "/deep/.git"), "cannot be opened: it is a repository of its own"),
    (lambda place: os.rename(place, place + "2"), "gone"),
    (lambda place: (os.rename(place, place + "2"), open(place, "w").close()), "cannot be opened: Not a directory"),
    (lambda place: (os.rename(place, place + "2"), os.symlink("cache2", place)), "cannot be opened: "),
    (lambda place: (os.rename(place, place + "2"), os.mkdir(place)), "what is in it has changed"),
])
def test_rule_24_a_folder_that_differs_from_the_plan_stays_as_a_whole(tree, change, reason):
    path = put_cache(tree)
    plan = [whole(tree, path)]
    change(tree.at(path))
    before = snapshot(tree.at("pkg"))
    for execute in (False, True):
        removal, = tree.work(plan, execute=execute)
        assert removal.outcome == "skipped" and removal.reason.startswith(reason), removal
    assert snapshot(tree.at("pkg")) == before


@pytest.mark.parametrize("use", [
    lambda place: os.open(place + "/deep/er/three", os.O_RDONLY),
    lambda place: os.open(place + "/deep", os.O_RDONLY | os.O_DIRECTORY),
    lambda place: os.chdir(place + "/deep/er"),
])
def test_rule_12_a_folder_in_which_a_process_works_stays(tree, use):
    path = put_cache(tree)
    plan = [whole(tree, path)]
    with another_process(lambda: use(tree.at(path))):
        removal, = tree.work(plan)
        assert removal.outcome == "skipped" and "process" in removal.reason
    assert outcomes(tree.work(plan)) == {path: "removed"}


def test_rule_15_a_folder_counts_as_one_against_the_limit(tree):
    paths = [put_cache(tree, "pkg/c%d" % number) for number in range(3)]
    removals = tree.work([whole(tree, path) for path in paths], limit=2)
    assert [removal.outcome for removal in removals] == ["removed", "removed", "skipped"]
    assert removals[2].reason == "left for the next run"


def test_rule_24_git_keeps_a_folder_in_which_it_tracks_something(repository):
    repository.put("kept/sub/other")
    plan = [whole(repository, "kept")]
    removal, = repository.work(plan, guards=[GitGuard(Git(repository.root))])
    assert (removal.outcome, removal.reason) == ("skipped", "git tracks it")


def test_rule_17_a_folder_that_went_as_one_does_not_come_back_over_another(tree):
    path = put_cache(tree)
    tree.work([whole(tree, path)])
    run, = tree.runs()
    tree.put(path + "/new", b"made again")
    assert reasons(tree.restore(run.run_id)) == {path: "its place is taken"}
    assert outcomes(tree.restore(path + "/deep/two")) == {path + "/deep/two": "restored"}, "one file of it can"
    assert tree.content(path + "/deep/two") == b"deep/two" and tree.content(path + "/new") == b"made again"
    assert tree.runs()[0].files == 3


def test_rule_17_purge_deletes_a_folder_that_went_as_one_and_follows_no_link_in_it(tree, tmp_path):
    path = put_cache(tree)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    os.symlink(str(outside), tree.at(path + "/away"))
    tree.work([whole(tree, path)], now=NOW - 30 * sc.DAY)
    assert [(run.files, run.left) for run in purge(tree, 14 * sc.DAY)] == [(5, 0)]
    assert (outside / "precious").read_text() == "precious"
    assert sorted(os.listdir(tree.at(QUARANTINE))) == [".gitignore", "clock", "format", "lock", "placeholder"]


# -- rule 17: what a restore gives back, and where

@pytest.mark.parametrize("to", [False, True])
def test_rule_20_a_folder_that_is_made_again_is_as_it_was(tree, to):
    tree.put("up/d/a.tmp")
    os.chmod(tree.at("up/d"), 0o2751)
    with_attribute = True
    try:
        os.setxattr(tree.at("up/d"), "user.note", b"mine")
    except (OSError, AttributeError):
        with_attribute = False
    if ROOT:
        os.chown(tree.at("up/d"), ORDINARY_USER, OTHER_USER)
        os.chmod(tree.at("up/d"), 0o2751)
    os.utime(tree.at("up"), ns=(OLD_NS, OLD_NS))
    os.utime(tree.at("up/d"), ns=(OLD_NS, OLD_NS + 1))
    before = [os.lstat(tree.at(name)) for name in ("up", "up/d")]
    tree.remove("up/d/a.tmp")
    if os.path.lexists(tree.at("up")):  # made on purpose, by its owner or its mode
        shutil.rmtree(tree.at("up"))
    run, = tree.runs()
    top = tree.at("elsewhere") if to else tree.path
    os.makedirs(top, exist_ok=True)
    with Quarantine(tree.root, NOW) as quarantine:
        removal, = quarantine.restore(run.run_id, top if to else "")
    assert (removal.outcome, removal.reason) == ("restored", "")
    for name, seen in zip(("up", "up/d"), before):
        now = os.lstat(os.path.join(top, name))
        assert (now.st_mode, now.st_uid, now.st_gid, now.st_mtime_ns) == (
            seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns), name
    assert not with_attribute or os.getxattr(os.path.join(top, "up/d"), "user.note") == b"mine"
    assert tree.runs() == []


def acl_of_user(uid):
    """An access ACL as Linux stores it (acl(5)): rwx for its owner and for one more user."""
    entries = ((1, 7, 0xFFFFFFFF), (2, 7, uid), (4, 0, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_rule_20_acls_come_back(tree):
    tree.put("d/a.tmp")
    try:
        os.setxattr(tree.at("d"), "system.posix_acl_access", acl_of_user(OTHER_USER))
    except (OSError, AttributeError):
        pytest.skip("no ACLs here")
    before = os.getxattr(tree.at("d"), "system.posix_acl_access")
    tree.remove("d/a.tmp")
    assert not os.path.lexists(tree.at("d"))
    assert outcomes(tree.restore("d/a.tmp")) == {"d/a.tmp": "restored"}
    assert os.getxattr(tree.at("d"), "system.posix_acl_access") == before


@needs_root
def test_rule_20_what_cannot_be_given_back_is_said(users_tree):
    os.chmod(users_tree, 0o755)

    def prepare():
        Tree(users_tree).put("d/a.tmp")

    def work():
        tree = Tree(users_tree)
        tree.remove("d/a.tmp")
        os.rmdir(tree.at("d"))
        removal, = tree.restore("d/a.tmp")
        assert (removal.outcome, removal.reason) == (
            "restored", "d: owner %d:%d could not be given back" % (ORDINARY_USER, OTHER_USER))

    as_ordinary_user(prepare)
    os.chown(users_tree + "/d", ORDINARY_USER, OTHER_USER)
    as_ordinary_user(work)


@pytest.mark.parametrize("kind", ["link", "folder", "full folder"])
def test_rule_20_what_takes_the_place_of_a_folder_that_was_just_made_is_left_alone(tree, tmp_path, monkeypatch, kind):
    """By name, its mode would be changed: that of a file that a link leads to, for one."""
    tree.put("up/d/a.tmp")
    os.chmod(tree.at("up/d"), 0o777)
    tree.remove("up/d/a.tmp")
    shutil.rmtree(tree.at("up"))
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o711)
    (victim / "secret").write_text("secret")
    os.chmod(str(victim), 0o711)
    rename = os.rename

    def swapped(source, name, **more):
        rename(source, name, **more)
        if name == "d":
            fd = more["dst_dir_fd"]
            rename("d", "away", src_dir_fd=fd, dst_dir_fd=fd)
            if kind == "link":
                os.symlink(str(victim), "d", dir_fd=fd)
            else:
                os.mkdir("d", 0o700 if kind == "full folder" else 0o711, dir_fd=fd)
                if kind == "full folder":
                    os.mkdir("d/x", dir_fd=fd)

    monkeypatch.setattr(os, "rename", swapped)
    removal, = tree.restore("up/d/a.tmp")
    assert removal.outcome == ("failed" if kind == "link" else "restored"), "into a folder that was there already"
    monkeypatch.undo()
    assert stat.S_IMODE(os.stat(str(victim)).st_mode) == 0o711
    assert (victim / "secret").read_text() == "secret" and len(tree.held()) == (kind == "link")
    assert kind == "link" or stat.S_IMODE(os.lstat(tree.at("up/d")).st_mode) in (0o700, 0o711)


def test_rule_17_a_folder_is_restored_with_all_that_was_taken_below_it(tree):
    names = [tree.put(name) for name in ("docs/a.tmp", "docs/deep/b.tmp", "docs2/c.tmp")]
    tree.remove(*names)
    assert outcomes(tree.restore("docs/")) == {"docs/a.tmp": "restored", "docs/deep/b.tmp": "restored"}
    assert [path for _, path in tree.held()] == ["docs2/c.tmp"]
    run, = tree.runs()
    with Quarantine(tree.root, NOW) as quarantine:
        assert [item.path for item in quarantine.held(run.run_id)] == ["docs2/c.tmp"], "docs/ is there again"


def test_rule_17_restore_to_another_folder_refuses_what_is_none(tree, tmp_path):
    tree.remove(tree.put("sub/a.tmp"))
    run, = tree.runs()
    with Quarantine(tree.root, NOW) as quarantine:
        for to in (str(tmp_path / "nowhere"), tree.put("file") and tree.at("file"), "/proc"):
            with pytest.raises(sc.UsageError, match="--to: "):
                quarantine.restore(run.run_id, to)
    assert len(tree.held()) == 1


@pytest.mark.parametrize("where", ["", "/RUN", "/RUN/sub", "link"])
def test_rule_17_nothing_is_restored_into_the_quarantine(tree, tmp_path, where):
    """A link onto itself would be taken for one that was made, and its other name removed."""
    tree.remove(tree.put("sub/a.tmp"))
    run, = tree.runs()
    to = tree.at(QUARANTINE + where.replace("RUN", run.run_id))
    if where == "link":
        to = str(tmp_path / "link")
        os.symlink(tree.at("%s/%s" % (QUARANTINE, run.run_id)), to)
    with Quarantine(tree.root, NOW) as quarantine, pytest.raises(sc.UsageError, match="is in the quarantine"):
        quarantine.restore(run.run_id, to)
    assert list(tree.held().values()) == [b"junk\n"]


def test_rule_17_a_folder_that_cannot_be_opened_in_quarantine_is_no_empty_one(users_tree):
    def work():
        tree = Tree(users_tree)
        tree.remove(tree.put("sub/a.tmp"), tree.put("b.tmp"))
        run, = tree.runs()
        held = tree.at("%s/%s/sub" % (QUARANTINE, run.run_id))
        os.chmod(held, 0)
        removals = tree.restore(run.run_id)
        assert outcomes(removals) == {"b.tmp": "restored", "sub": "failed"}
        assert reasons(removals)["sub"] == (
            "it cannot be put back: cannot be opened in quarantine: Permission denied")
        assert purge(tree, 0, NOW + 90 * sc.DAY) == []
        os.chmod(held, 0o700)
        assert outcomes(tree.restore(run.run_id)) == {"sub/a.tmp": "restored"}

    as_ordinary_user(work)


def test_rule_21_what_was_written_into_a_folder_in_quarantine_is_as_young_as_that(tree):
    """By who still had it open, or reached it through another mount."""
    path = put_cache(tree)
    tree.work([whole(tree, path)], now=NOW - 90 * sc.DAY)
    run, = tree.runs()
    place = tree.at("%s/%s/%s/deep/new" % (QUARANTINE, run.run_id, path))
    with open(place, "w"):
        pass
    later = time.time() + 60
    assert purge_at(tree, later, ("one boot", NOW + 90.0 * sc.DAY), 3600)[0] == []
    assert os.path.exists(place)


def test_rule_17_a_run_of_an_earlier_version_is_restored_with_the_modes_that_it_left(tree):
    tree.put("sub/a.tmp")
    tree.remove("sub/a.tmp")
    run, = tree.runs()
    os.unlink(tree.at("%s/%s.manifest" % (QUARANTINE, run.run_id)))
    os.chmod(tree.at("%s/%s/sub" % (QUARANTINE, run.run_id)), 0o751)
    assert outcomes(tree.restore(run.run_id)) == {"sub/a.tmp": "restored"}
    assert stat.S_IMODE(os.stat(tree.at("sub")).st_mode) == 0o751


# -- rule 25: folders that a removal leaves empty

def test_rule_25_folders_left_empty_go_and_come_back(tree):
    tree.put("a/b/c/x.tmp")
    tree.put("a/kept")
    tree.put("logs/old/y.tmp")
    tree.put("mine/z.tmp")
    os.chmod(tree.at("a/b"), 0o711)

    def guard(path):
        return "mine" if path == "mine" else ""

    assert set(outcomes(tree.remove("a/b/c/x.tmp", "logs/old/y.tmp", "mine/z.tmp", guards=[guard])).values()) == {
        "removed"}
    assert not os.path.exists(tree.at("a/b")) and os.path.isdir(tree.at("a"))
    assert os.path.isdir(tree.at("logs")) and not os.path.exists(tree.at("logs/old")), "programs expect logs/"
    assert os.path.isdir(tree.at("mine")), "what a guard keeps stays, empty or not"
    run, = tree.runs()
    assert set(outcomes(tree.restore(run.run_id)).values()) == {"restored"}
    assert stat.S_IMODE(os.stat(tree.at("a/b")).st_mode) == 0o711
    assert tree.content("a/b/c/x.tmp") == b"junk\n"


@pytest.mark.parametrize("make", [
    lambda path: os.chmod(path, 0o2755), lambda path: os.chmod(path, 0o1777), lambda path: os.chmod(path, 0o757),
    pytest.param(lambda path: os.chown(path, ORDINARY_USER, ORDINARY_USER), marks=needs_root)])
def test_rule_25_a_folder_that_somebody_made_for_a_program_stays(tree, make):
    tree.put("queue1/x.tmp")
    make(tree.at("queue1"))
    assert outcomes(tree.remove("queue1/x.tmp")) == {"queue1/x.tmp": "removed"}
    assert os.path.isdir(tree.at("queue1"))


def test_rule_25_a_folder_in_which_a_process_works_stays(tree):
    tree.put("mine/x.tmp")
    with another_process(lambda: os.chdir(tree.at("mine"))):
        assert outcomes(tree.remove("mine/x.tmp")) == {"mine/x.tmp": "removed"}
    assert os.path.isdir(tree.at("mine"))


def test_rule_25_a_folder_that_cannot_be_looked_at_stays(tree, monkeypatch):
    def failing(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    tree.put("mine/x.tmp")
    monkeypatch.setattr(Quarantine, "_status_of", failing)
    assert outcomes(tree.remove("mine/x.tmp")) == {"mine/x.tmp": "removed"}
    assert os.path.isdir(tree.at("mine"))


def test_rule_25_what_is_left_of_a_run_is_kept_while_it_cannot_be_told(tree, monkeypatch):
    tree.put("x.tmp")
    os.mkdir(tree.at("sub"))
    with Quarantine(tree.root, NOW) as quarantine:
        assert outcomes(quarantine.remove(tree.plan("x.tmp"), [], 10)) == {"x.tmp": "removed"}
        assert quarantine.remove_empty_folders(["sub"]) == ["sub"]
        give_times = quarantine._give_times

        def failing(*_):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def then_failing(*arguments):
            give_times(*arguments)
            monkeypatch.setattr(quarantine, "_items", failing)

        monkeypatch.setattr(quarantine, "_give_times", then_failing)
        assert outcomes(quarantine.restore("x.tmp")) == {"x.tmp": "restored"}
        monkeypatch.undo()
    run, = tree.runs()
    assert outcomes(tree.restore(run.run_id)) == {"sub": "restored"} and os.path.isdir(tree.at("sub"))


def test_rule_25_a_folder_that_is_filled_at_the_last_moment_stays(tree, monkeypatch):
    tree.put("a/x.tmp")
    rmdir = os.rmdir

    def filled(name, *arguments, **more):
        if name == "a":
            tree.put("a/new", b"precious")
        return rmdir(name, *arguments, **more)

    monkeypatch.setattr(os, "rmdir", filled)
    assert outcomes(tree.remove("a/x.tmp")) == {"a/x.tmp": "removed"}
    assert tree.content("a/new") == b"precious"


@needs_mounts
def test_rule_23_empty_folders_behind_a_mount_of_the_same_device_stay(tree, tmp_path):
    (tmp_path / "outside" / "wanted" / "deeper").mkdir(parents=True)

    def work():
        os.makedirs(tree.at("out/m"))
        tree.put("out/f")
        tree.root = Root(tree.path)
        mount("--bind", str(tmp_path / "outside"), tree.at("out/m"))
        assert tree_module.mount_points(tree.root) == {"out/m"}
        with Quarantine(tree.root, NOW) as quarantine:
            assert quarantine.remove_empty_folders(["out/m/wanted/deeper", "out/m/wanted", "out/m", "out"]) == []

    in_mount_namespace(work)
    assert (tmp_path / "outside" / "wanted" / "deeper").is_dir()


# -- rule 21: two witnesses of time

def purge_at(tree, now, boot, age_s=14 * sc.DAY):
    """([files of what was deleted], notes)."""
    with Quarantine(tree.root, now, boot=boot) as quarantine:
        return [run.files for run in quarantine.purge(age_s)], quarantine.notes


def test_rule_21_a_clock_that_runs_ahead_deletes_nothing(tree):
    tree.work(tree.plan(tree.put("x.tmp")), now=NOW)
    gone, notes = purge_at(tree, NOW + 400 * sc.DAY, ("one boot", NOW + 60.0))
    assert gone == [] and len(tree.held()) == 1
    assert [note for note in notes if "is 400d old by the clock, but only 1m have certainly passed" in note]
    assert purge_at(tree, NOW + 13 * sc.DAY, ("one boot", NOW + 13.0 * sc.DAY))[0] == []
    assert purge_at(tree, NOW + 15 * sc.DAY, ("one boot", NOW + 15.0 * sc.DAY))[0] == [1]


@pytest.mark.parametrize("boots,days,deleted", [
    (1, 20, []),         # the machine was off, or its clock is wrong: nobody can tell
    (20, 20, [1]),       # a day between two boots is believed
    (20, 400, [1]),
    (5, 400, []),
])
def test_rule_21_between_two_boots_the_wall_clock_is_believed_for_a_day(tree, boots, days, deleted):
    tree.work(tree.plan(tree.put("x.tmp")), now=NOW)
    gone = []
    for number in range(1, boots + 1):
        now = NOW + number * days * sc.DAY // boots
        gone += purge_at(tree, now, ("boot %d" % number, 10.0))[0]
    assert gone == deleted


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"[1]", b"\xff", b'{"certain": 1e400}',
                                    b'{"certain": 1, "wall": 1, "uptime": 1, "boot_id": 1, "first_seen": {}}'])
def test_rule_21_without_the_record_of_time_it_counts_from_now(tree, damage):
    tree.work(tree.plan(tree.put("x.tmp")), now=NOW)
    purge_at(tree, NOW + 10 * sc.DAY, ("one boot", NOW + 10.0 * sc.DAY))
    os.unlink(tree.at(QUARANTINE + "/clock"))
    if damage is not None:
        with open(tree.at(QUARANTINE + "/clock"), "wb") as handle:
            handle.write(damage)
    assert purge_at(tree, NOW + 20 * sc.DAY, ("one boot", NOW + 20.0 * sc.DAY))[0] == []
    assert purge_at(tree, NOW + 33 * sc.DAY, ("one boot", NOW + 33.0 * sc.DAY))[0] == []
    assert purge_at(tree, NOW + 34 * sc.DAY, ("one boot", NOW + 34.0 * sc.DAY))[0] == [1]


def test_rule_21_the_clock_of_this_boot_is_the_kernels():
    import clock_witness
    first, second = clock_witness.boot_now(), clock_witness.boot_now()
    assert first[0] == second[0] and 0 < first[1] <= second[1] < first[1] + 60


# -- a run that cannot go on, and what can never go

@pytest.mark.parametrize("failing", [b'"done"', b'"empty"', b'"end"'])
def test_rule_18_a_disk_that_is_full_in_mid_run_says_what_was_moved(tree, monkeypatch, failing):
    names = [tree.put("%d/x.tmp" % number) for number in range(3)]
    real = sc.write_all

    def write(fd, data):
        if failing in bytes(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(sc, "write_all", write)
    removals = []
    with Quarantine(tree.root, NOW) as quarantine, pytest.raises(sc.StorageError, match="No space left"):
        for removal in quarantine.remove(tree.plan(*names), [], 10):
            removals.append(removal)
    assert {removal.path: removal.outcome for removal in removals} == dict.fromkeys(names, "removed")
    monkeypatch.undo()
    with Quarantine(tree.root, NOW) as quarantine:
        assert sorted(path for _, path in tree.held()) == sorted(names)
    assert outcomes(tree.restore(removals and tree.runs()[0].run_id)) == dict.fromkeys(names, "restored")


def test_rule_18_a_run_that_ended_before_its_first_move_leaves_nothing(tree, monkeypatch):
    name = tree.put("x.tmp")
    real = sc.write_all

    def write(fd, data):
        if b'"intent"' in bytes(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(sc, "write_all", write)
    with pytest.raises(sc.StorageError):
        tree.remove(name)
    monkeypatch.undo()
    assert tree.runs() == [] and tree.content(name) == b"junk\n"


def test_rule_23_a_path_that_quarantine_cannot_hold_is_a_skip(tree):
    """By its own folder it can be reached; below the quarantine its path would be too long."""
    deep = "/".join(["d" * 202] * 19)
    fd = os.dup(tree.root.fd)
    for part in deep.split("/"):
        os.mkdir(part, dir_fd=fd)
        deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    name = "x" * 246 + ".tmp"
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd))
    seen = os.stat(name, dir_fd=fd)
    os.close(fd)
    item = Candidate(path=deep + "/" + name, size=0, mtime_ns=seen.st_mtime_ns, ctime_ns=seen.st_ctime_ns,
                     dev=seen.st_dev, ino=seen.st_ino, mode=seen.st_mode, rule="temp", reason="old")
    removals = tree.work([item] + tree.plan(tree.put("a.tmp")))
    assert outcomes(removals) == {item.path: "skipped", "a.tmp": "removed"}
    assert reasons(removals)[item.path] == "it cannot be moved: File name too long"


def test_rule_23_the_longest_path_that_quarantine_can_hold_goes(tree, monkeypatch):
    """It is counted in bytes."""
    names = [tree.put("dé/x.tmp"), tree.put("dé/xx.tmp")]
    monkeypatch.setattr(quarantine_module, "LONGEST_HELD", len("dé/x.tmp".encode("utf-8")))
    assert outcomes(tree.remove(*names)) == {"dé/x.tmp": "removed", "dé/xx.tmp": "skipped"}
