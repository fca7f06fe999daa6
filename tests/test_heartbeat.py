"""What lets a tick leave at once, line by line: any doubt is answered by a whole tick."""

import os
import sys

import pytest

import symphony_conductor as sc

NOW, MONO = 1700000000.0, 5000.0


class Beat:
    """A root with a heartbeat as a whole tick leaves it: the state is the one file it names."""

    def __init__(self, root):
        self.root = root
        (root / "status").mkdir()
        self.state = root / sc.STATE_NAME
        self.state.write_text("{}")
        self.path = root / sc.HEARTBEAT_NAME
        self.first = {"version": "2", "wake_at": NOW + 60, "offset": NOW - MONO, "suspended": "0.0",
                      "start": "boot+7"}
        self.files = [(sc.signature(str(self.state)), str(self.state))]

    def write(self, at=NOW - 30, **changes):
        first = dict(self.first, **changes)
        lines = ["{version} {wake_at} {offset} {suspended} {start}".format(**first)]
        lines += ["%s %s" % line for line in self.files]
        self.path.write_text("\n".join(lines))
        os.utime(str(self.path), (at, at))

    def is_idle(self, now=NOW, mono=MONO):
        return sc.nothing_to_do(str(self.path).encode(), now, mono)


@pytest.fixture
def beat(tmp_path, monkeypatch):
    monkeypatch.setattr(sc, "init_start_ticks", lambda: "7")
    made = Beat(tmp_path)
    made.write()
    return made


def test_a_tick_with_nothing_due_touches_the_heartbeat_and_nothing_else(beat):
    before = beat.path.read_bytes()
    assert beat.is_idle()
    assert beat.path.stat().st_mtime == NOW
    assert beat.path.read_bytes() == before


@pytest.mark.parametrize("at, changes", [
    (NOW - 30, {"version": "1"}),
    (NOW - 30, {"version": "3"}),
    (NOW - 30, {"wake_at": NOW}),
    (NOW - 30, {"wake_at": NOW - 1}),
    (NOW - 30, {"wake_at": "soon"}),
    (NOW - sc.TICK_STALE_S - 1, {}),  # ticks did not come: a gap that is recorded
    (NOW + 1, {}),  # the clock went back
    (NOW - 30, {"offset": NOW - MONO + sc.CLOCK_OFFSET_TOLERANCE_S + 1}),
    (NOW - 30, {"offset": NOW - MONO - sc.CLOCK_OFFSET_TOLERANCE_S - 1}),
    (NOW - 30, {"start": "boot+8"}),
    (NOW - 30, {"start": "boot"}),
])
def test_a_first_line_that_calls_for_a_whole_tick(beat, at, changes):
    beat.write(at, **changes)
    assert not beat.is_idle()
    assert beat.path.stat().st_mtime == at, "a tick that is not idle leaves the heartbeat as it is"


@pytest.mark.parametrize("at, changes", [
    (NOW - sc.TICK_STALE_S, {}),
    (NOW - 30, {"wake_at": NOW + 0.5}),
    (NOW - 30, {"offset": NOW - MONO + sc.CLOCK_OFFSET_TOLERANCE_S}),
    (NOW + 0.5, {}),  # the kernel's clock for files is a little coarser than time.time()
])
def test_a_first_line_that_is_just_within_its_bounds(beat, at, changes):
    beat.write(at, **changes)
    assert beat.is_idle()


@pytest.mark.parametrize("text", [b"", b"\n", b"2", b"2 1 2 3", b"2 x x x x", b"\xff\xfe"])
def test_a_damaged_heartbeat_is_no_proof_of_idleness(beat, text):
    beat.path.write_bytes(text)
    os.utime(str(beat.path), (NOW - 30, NOW - 30))
    assert not beat.is_idle()


def test_a_heartbeat_that_names_no_file_is_no_proof(beat):
    beat.files = []
    beat.write()
    assert not beat.is_idle(), "a write that broke off after the first line"


def test_a_line_without_a_path_is_no_proof(beat):
    beat.files.insert(0, ("1 2 3 4 5", "relative"))
    beat.write()
    assert not beat.is_idle()


def test_a_missing_heartbeat_and_one_that_is_a_link_are_no_proof(beat):
    kept = beat.root / "kept"
    beat.path.rename(kept)
    assert not beat.is_idle()
    beat.path.symlink_to(kept)
    assert not beat.is_idle()


@pytest.mark.parametrize("recorded, is_idle", [("-", True), ("?", False), ("1 2 3 644 0", False)])
def test_a_file_that_is_not_there(beat, recorded, is_idle):
    """'-' says it was missing then too; '?' that the last tick could not look: this one has to try."""
    beat.files.insert(0, (recorded, str(beat.root / "absent")))
    beat.write()
    assert beat.is_idle() == is_idle


def test_the_state_of_another_root_is_not_this_ones(beat):
    other = beat.root / "other"
    other.write_text("{}")
    beat.files = [(sc.signature(str(other)), str(other))]
    beat.write()
    assert not beat.is_idle()


# -- signatures


def test_the_signature_of_a_file_changes_with_all_that_tells_versions_apart(tmp_path):
    path = tmp_path / "file"
    assert sc.signature(str(path)) == "-"
    assert sc.signature(str(path / "below")) == "-"
    path.write_text("a")
    os.chmod(str(path), 0o600)
    os.utime(str(path), ns=(5, 7))
    info = path.stat()
    assert sc.signature(str(path)) == "7 1 %d %o %d" % (info.st_ino, info.st_mode, info.st_uid)


def test_a_file_that_stat_cannot_reach_has_no_signature(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert sc.signature(str(loop)) == "?"
    assert sc.signature(os.fsencode(str(loop))) == "?"


# -- the start of process 1


@pytest.mark.parametrize("stat, ticks", [
    ("1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 9 9", "42"),
    ("1 (a) b (c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 9 9", "42"),
    ("1 (init) S 0", ""),
    ("", ""),
    (None, ""),
])
def test_when_process_1_began(tmp_path, monkeypatch, stat, ticks):
    monkeypatch.setattr(sc, "PROC", str(tmp_path))
    if stat is not None:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "stat").write_text(stat)
    assert sc.init_start_ticks() == ticks


# -- which command lines are a plain tick


@pytest.mark.parametrize("argv, root", [
    (["tick"], ""),
    (["--root=/srv/x", "tick"], "/srv/x"),
    (["--root", "/srv/x", "tick"], "/srv/x"),
    (["--root=", "tick"], ""),
    ([], None),
    (["status"], None),
    (["tick", "--help"], None),
    (["--root", "--verbose", "tick"], None),
    (["--other", "/srv/x", "tick"], None),
    (["--root", "tick"], None),
    (["--verbose", "tick"], None),
    (["--root", "/srv/x", "--verbose", "tick"], None),
])
def test_a_plain_tick_and_its_root(argv, root):
    assert sc.plain_tick_root(argv) == root


@pytest.mark.parametrize("argv, environment, heartbeat", [
    (["--root=/srv/a", "tick"], None, "/srv/a/status/heartbeat"),
    (["--root=/srv/a", "tick"], "/srv/b", "/srv/a/status/heartbeat"),
    (["tick"], "/srv/b", "/srv/b/status/heartbeat"),
    (["tick"], None, os.path.dirname(sc.__file__) + "/status/heartbeat"),
])
def test_the_heartbeat_that_is_asked(monkeypatch, argv, environment, heartbeat):
    asked = []
    monkeypatch.setattr(sc, "nothing_to_do", lambda path, now, mono: asked.append(path) or True)
    monkeypatch.setattr(sc.posix, "environ", dict(
        {} if environment is None else {b"SYMPHONY_ROOT": environment.encode()}))
    assert sc.is_idle_tick(argv)
    assert asked == [heartbeat.encode()]


def test_a_program_called_by_its_bare_name_has_its_heartbeat_here(monkeypatch):
    asked = []
    monkeypatch.setattr(sc, "nothing_to_do", lambda path, now, mono: asked.append(path))
    monkeypatch.setattr(sc.posix, "environ", {})
    monkeypatch.setattr(sc, "__file__", "symphony_conductor.py")
    assert not sc.is_idle_tick(["tick"])
    assert asked == [b"./status/heartbeat"]


def test_another_command_asks_no_heartbeat(monkeypatch):
    monkeypatch.setattr(sc, "nothing_to_do", lambda *asked: 1 / 0)
    assert not sc.is_idle_tick(["status"])


# -- whether the boot code is all that the interpreter runs

BOOT = sc.BOOT_CODE % ("'/srv/x'", "symphony_conductor")


@pytest.mark.parametrize("own, argv, is_boot", [
    (["python3", "-I", "-S", "-c", BOOT, "tick"], ["-c", "tick"], True),
    (["python3", "-c", BOOT], ["-c"], True),
    (["python3", "-c", "import symphony_conductor", "tick"], ["-c", "tick"], False),
    (["python3", "-c", BOOT + "; more()", "tick"], ["-c", "tick"], False),
    (["python3", "-c", sc.BOOT_CODE % ("'/srv/x'", "other"), "tick"], ["-c", "tick"], False),
    (["python3", "symphony_conductor.py", "tick"], ["symphony_conductor.py", "tick"], False),
    (["python3", "-m", "pytest"], [], False),
    ([], ["-c", "tick"], False),
    (["-c", "tick"], ["-c", "tick"], False),
])
def test_what_counts_as_the_boot_code(monkeypatch, own, argv, is_boot):
    monkeypatch.setattr(sc, "_own_command", lambda: own)
    monkeypatch.setattr(sc.sys, "argv", argv)
    assert sc.runs_boot_code() == is_boot


def test_the_command_line_of_the_interpreter_itself(monkeypatch, tmp_path):
    """Python 3.10 and later tell it; before that, the kernel does, where it can be asked."""
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-c", "code"], raising=False)
    assert sc._own_command() == ["python3", "-c", "code"]
    monkeypatch.setattr(sys, "orig_argv", [])
    monkeypatch.setattr(sc, "PROC", str(tmp_path))
    assert sc._own_command() == ()
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cmdline").write_bytes(b"python3\0-c\0b\xff\0\0")
    assert list(sc._own_command()) == ["python3", "-c", "b\udcff", ""]


@pytest.mark.parametrize("is_idle", [True, False])
def test_an_idle_tick_ends_the_process_and_any_other_goes_on(monkeypatch, is_idle):
    codes = []
    monkeypatch.setattr(sc, "is_idle_tick", lambda argv: is_idle)
    monkeypatch.setattr(sc.posix, "_exit", codes.append)
    sc.leave_if_idle()
    assert codes == [sc.EXIT_OK] * is_idle
