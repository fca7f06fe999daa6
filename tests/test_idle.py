"""The idle tick: when a tick may leave without reading more than one small file."""

import os

import pytest

import symphony_conductor as sc

NOW, MONO = 1750000000, 5000
STAT = "1 (a) b) S 0 1 1 0 -1 4194560 4 5 6 7 8 9 10 11 20 0 1 0 777 888 999\n"


@pytest.fixture
def proc(tmp_path, monkeypatch):
    folder = tmp_path / "proc"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "stat").write_text(STAT)
    monkeypatch.setattr(sc, "PROC", str(folder))
    return folder


class Root:
    """A root whose last tick was a minute ago and recorded that the next has nothing to do."""

    def __init__(self, folder):
        self.folder = folder
        self.heartbeat = folder / "status" / "heartbeat"
        self.heartbeat.parent.mkdir(parents=True)
        for name in ("config", "state"):
            (folder / name).write_text(name)
        (folder / "state").rename(folder / sc.STATE_NAME)
        self.write()

    def write(self, version="2", wake_at=NOW + 100, offset=NOW - MONO, start="1+777", more="",
              lines=None):
        if lines is None:
            lines = ["%s %s" % (sc.signature(str(path)), path)
                     for path in (self.folder / "config", self.folder / sc.STATE_NAME)]
        head = "%s %s %s 0 %s%s" % (version, wake_at, offset, start, more)
        self.heartbeat.write_text("\n".join([head] + lines))
        self.age(60)

    def age(self, seconds):
        os.utime(str(self.heartbeat), (NOW - seconds, NOW - seconds))

    def is_idle(self, now=NOW, mono=MONO):
        return sc.nothing_to_do(os.fsencode(str(self.heartbeat)), now, mono)


@pytest.fixture
def root(tmp_path, proc):
    return Root(tmp_path / "root")


def next_descriptor():
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


def test_a_file_is_told_from_its_next_version_by_what_stat_says(tmp_path):
    path = tmp_path / "file"
    assert sc.signature(str(path)) == "-"
    path.write_text("text")
    info = path.stat()
    assert sc.signature(str(path)) == "%d 4 %d %o %d" % (
        info.st_mtime_ns, info.st_ino, info.st_mode, info.st_uid)
    assert sc.signature(str(path / "below")) == "-"


def test_a_file_that_cannot_be_looked_at_is_neither_there_nor_gone(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert sc.signature(str(tmp_path / "loop")) == "?"


def test_the_start_of_process_1_is_the_22nd_field_whatever_its_name(proc):
    free = next_descriptor()
    assert sc.init_start_ticks() == "777"
    (proc / "1" / "stat").write_text("1 (init) S 0\n")
    assert sc.init_start_ticks() == ""
    (proc / "1" / "stat").unlink()
    assert sc.init_start_ticks() == ""
    assert next_descriptor() == free


def test_a_tick_with_nothing_to_do_leaves_and_says_when_it_was_here(root):
    free = next_descriptor()
    assert root.is_idle() is True
    assert root.heartbeat.stat().st_mtime == NOW
    assert next_descriptor() == free


@pytest.mark.parametrize("name, changes, now, expected", [
    ("of another version", {"version": "3"}, NOW, False),
    ("just before something is due", {"wake_at": NOW + 1}, NOW, True),
    ("when something is due", {"wake_at": NOW}, NOW, False),
    ("clocks 5 s apart", {"offset": NOW - MONO + 5}, NOW, True),
    ("clocks 5 s apart, the other way", {"offset": NOW - MONO - 5}, NOW, True),
    ("clocks 6 s apart", {"offset": NOW - MONO + 6}, NOW, False),
    ("clocks 6 s apart, the other way", {"offset": NOW - MONO - 6}, NOW, False),
    ("another process 1", {"start": "1+778"}, NOW, False),
    ("process 1 was hidden", {"start": "1+"}, NOW, False),
    ("no process 1 was noted", {"start": "1"}, NOW, False),
    ("a field of a later version", {"more": " more"}, NOW, True),
    ("no number", {"wake_at": "soon"}, NOW, False),
    ("too few fields", {"start": ""}, NOW, False),
    ("a file that could not be read", {"lines": ["? /nowhere"]}, NOW, False),
    ("no files", {"lines": []}, NOW, False),
])
def test_what_makes_a_tick_stay(root, name, changes, now, expected):
    root.write(**changes)
    assert root.is_idle(now) is expected


@pytest.mark.parametrize("age, expected", [
    (-1, False), (-0.5, True), (0, True), (60, True), (180, True), (180.5, False), (181, False)])
def test_a_gap_of_more_than_three_minutes_and_a_clock_set_back_are_recorded(root, age, expected):
    root.age(age)
    assert root.is_idle() is expected


def test_a_changed_file_makes_a_tick_stay(root):
    for name in ("config", sc.STATE_NAME):
        root.write()
        assert root.is_idle()
        (root.folder / name).write_text("changed: " + name)
        root.age(60)
        assert not root.is_idle()


def test_a_copy_of_a_root_does_not_trust_the_state_of_the_original(root, tmp_path):
    copy = tmp_path / "copy"
    (copy / "status").mkdir(parents=True)
    os.link(str(root.heartbeat), str(copy / "status" / "heartbeat"))
    (copy / sc.STATE_NAME).write_text("another")
    assert root.is_idle()
    assert not sc.nothing_to_do(os.fsencode(str(copy / "status" / "heartbeat")), NOW, MONO)


def test_a_heartbeat_larger_than_what_is_read_is_not_trusted(root, monkeypatch):
    monkeypatch.setattr(sc, "LARGEST_HEARTBEAT", 40)
    assert not root.is_idle()


def test_neither_a_link_nor_a_fifo_is_a_heartbeat(root):
    root.heartbeat.rename(root.folder / "elsewhere")
    root.heartbeat.symlink_to(root.folder / "elsewhere")
    assert not root.is_idle()
    root.heartbeat.unlink()
    assert not root.is_idle()
    os.mkfifo(str(root.heartbeat))
    root.age(60)
    assert not root.is_idle()


@pytest.mark.parametrize("words, root", [
    (["tick"], ""),
    (["--root=/srv/a", "tick"], "/srv/a"),
    (["--root", "/srv/a", "tick"], "/srv/a"),
    (["--root=", "tick"], ""),
    (["--root", "--help", "tick"], None),
    (["--verbose", "tick"], None),
    (["--verbose", "/srv/a", "tick"], None),
    (["--root", "/srv/a", "--root=/srv/b", "tick"], None),
    (["--root=/srv/a", "--verbose", "tick"], None),
    (["tick", "--help"], None),
    (["status"], None),
    ([], None),
])
def test_a_plain_tick_is_told_without_a_parser(words, root):
    assert sc.plain_tick_root(words) == root


def test_the_root_is_named_by_the_option_else_the_environment_else_it_is_the_program_s(monkeypatch):
    asked = []
    monkeypatch.setattr(sc, "nothing_to_do", lambda path, now, mono: bool(asked.append(path)) or True)
    monkeypatch.setattr(sc.posix, "environ", {})
    assert sc.is_idle_tick(["--root=/srv/\u00e4", "tick"]) is True
    assert sc.is_idle_tick(["tick"]) is True
    monkeypatch.setattr(sc, "__file__", "symphony_conductor.py")
    assert sc.is_idle_tick(["tick"]) is True
    sc.posix.environ[b"SYMPHONY_ROOT"] = b"/srv/b"
    assert sc.is_idle_tick(["tick"]) is True
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert asked == [os.fsencode("/srv/\u00e4/status/heartbeat"),
                     os.fsencode(here + "/status/heartbeat"), b"./status/heartbeat",
                     b"/srv/b/status/heartbeat"]
    assert sc.is_idle_tick(["status"]) is False
    assert len(asked) == 4


def test_a_tick_that_may_leave_leaves_with_0(monkeypatch):
    codes = []
    monkeypatch.setattr(sc.posix, "_exit", codes.append)
    monkeypatch.setattr(sc.sys, "argv", ["conductor", "tick"])
    for is_idle, expected in ((True, [0]), (False, [])):
        del codes[:]
        monkeypatch.setattr(sc, "is_idle_tick", lambda words, idle=is_idle: words == ["tick"] and idle)
        sc.leave_if_idle()
        assert codes == expected


@pytest.mark.parametrize("argv, command, expected", [
    (["-c", "tick"], ["python3", "-c", "BOOT", "tick"], True),
    (["-c"], ["python3", "-I", "-c", "BOOT"], True),
    (["-c", "tick"], ["python3", "-c", "print(1)", "tick"], False),
    (["-c", "tick"], ["python3", "-c", "BOOT; print(1)", "tick"], False),
    (["-c", "tick"], ["python3", "-c", "print(1); BOOT", "tick"], False),
    (["symphony_conductor.py", "BOOT"], ["python3", "symphony_conductor.py", "BOOT"], False),
    (["-c", "tick"], ["BOOT", "tick"], False),
    (["-c", "tick"], [], False),
    ([], ["BOOT"], False),
])
def test_what_the_crontab_line_starts_is_told_from_an_import(monkeypatch, argv, command, expected):
    boot = sc.BOOT_CODE % ("'/srv/a'", "symphony_conductor")
    words = [word.replace("BOOT", boot) for word in command]
    monkeypatch.setattr(sc.sys, "argv", argv)
    monkeypatch.setattr(sc, "_own_command", lambda: words)
    assert sc.runs_boot_code() is expected


def test_the_command_line_is_python_s_own_or_before_3_10_the_kernel_s(proc, monkeypatch):
    monkeypatch.setattr(sc.sys, "orig_argv", ["python3", "-c", "pass"], raising=False)
    assert sc._own_command() == ["python3", "-c", "pass"]
    monkeypatch.setattr(sc.sys, "orig_argv", [])
    free = next_descriptor()
    assert sc._own_command() == ()
    (proc / "self").mkdir()
    (proc / "self" / "cmdline").write_bytes(b"python3\0-c\0" + b"x" * 60000 + b"\0\xff\0")
    assert sc._own_command() == ["python3", "-c", "x" * 60000, "\udcff"]
    assert next_descriptor() == free


def test_a_path_may_hold_the_blank_and_the_slash_that_begin_one(tmp_path, proc):
    assert Root(tmp_path / "ends in a blank " / "root").is_idle()
