"""Folders as the clean-up meets them: what is in them, what they look like, and where it stops."""

import errno
import os

import pytest

import folders


@pytest.fixture
def opened(tmp_path):
    fd = os.open(str(tmp_path), os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def contents(fd, **more):
    return folders.contents_of(fd, "f", more.get("border", lambda fd: None),
                               more.get("held_open", frozenset()), more.get("in_use", lambda fd: ""))


def test_what_is_in_a_folder_is_counted_with_all_below_it(tmp_path, opened):
    (tmp_path / "a").write_text("12345")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b").write_text("678")
    (tmp_path / "link").symlink_to("a")
    found = contents(opened)
    assert [line.split("\0")[0] for line in found.lines] == ["f/a", "f/deeper/b", "f/link"]
    assert (found.files, found.objection) == (3, "")
    assert found.size == 8 + len("a"), "the size of a link is that of its target's name"


def test_a_folder_that_is_too_deep_is_left_alone(tmp_path, opened, monkeypatch):
    """Each folder above holds a descriptor, and there are only so many."""
    monkeypatch.setattr(folders, "DEEPEST", 3)
    path = tmp_path
    for _ in range(3):
        path = path / "d"
        path.mkdir()
    assert contents(opened).objection == ""
    (path / "d").mkdir()
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(folders.NotEnteredError) as caught:
        contents(opened)
    assert caught.value.strerror == "it is more than 3 folders deep"
    assert len(os.listdir("/dev/fd")) == before, "no descriptor is left open"


@pytest.mark.parametrize("kind, objection", [
    ("fifo", "f/x in it is no regular file"),
    ("used", "f/x: somebody reads it"),
    ("held", "a process uses f/x"),
])
def test_what_speaks_against_a_folder_as_a_whole(tmp_path, opened, kind, objection):
    path = tmp_path / "x"
    more = {}
    if kind == "fifo":
        os.mkfifo(str(path))
    else:
        path.write_text("")
    if kind == "used":
        more["in_use"] = lambda fd: "somebody reads it"
    if kind == "held":
        more["held_open"] = frozenset([folders.file_id(path.stat())])
    assert contents(opened, **more) == folders.Contents(objection=objection)


def test_a_repository_is_not_entered(tmp_path, opened):
    folders.refuse_repository(opened)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git" / "objects").mkdir()
    (tmp_path / ".git" / "refs").mkdir()
    with pytest.raises(folders.NotEnteredError) as caught:
        folders.refuse_repository(opened)
    assert caught.value.strerror == "it is a repository of its own"


# -- what a folder looks like


def fails_with(number):
    def call(fd):
        raise OSError(number, os.strerror(number))
    return call


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_attributes_has_none(opened, monkeypatch, number):
    monkeypatch.setattr(folders.os, "listxattr", fails_with(number), raising=False)
    assert "xattrs" not in folders.facts_of(opened)


def test_attributes_that_cannot_be_read_are_an_error(opened, monkeypatch):
    """They may be an ACL: to leave it out would open the folder that is restored."""
    monkeypatch.setattr(folders.os, "listxattr", fails_with(errno.EIO), raising=False)
    with pytest.raises(OSError) as caught:
        folders.facts_of(opened)
    assert caught.value.errno == errno.EIO


def test_a_system_without_extended_attributes_has_no_acls(opened, monkeypatch):
    monkeypatch.delattr(folders.os, "listxattr", raising=False)
    assert "xattrs" not in folders.facts_of(opened)


def test_acls_and_the_attributes_of_users_are_kept(opened, monkeypatch):
    values = {"user.note": b"a\0b", "system.posix_acl_access": b"\2", "security.selinux": b"x"}
    monkeypatch.setattr(folders.os, "listxattr", lambda fd: list(values), raising=False)
    monkeypatch.setattr(folders.os, "getxattr", lambda fd, name: values[name], raising=False)
    assert folders.facts_of(opened)["xattrs"] == {
        "user.note": "YQBi", "system.posix_acl_access": "Ag=="}
