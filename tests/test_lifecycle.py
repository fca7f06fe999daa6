"""Files with an expiry: who registers them, what a crash leaves, and what the clean-up takes and what it does not."""

import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from support import (
    NAMESPACE,
    PAUSE,
    REPOSITORY,
    SCRIPTS,
    git,
    looked_on,
    recording,
    run_script,
    strace_works,
    was_killed,
)

import symphony_conductor as sc

import common  # isort: skip
import file_lifecycle as fl  # isort: skip
from quarantine import Quarantine  # isort: skip
from tree import Root  # isort: skip

HOUR, DAY = 3600, 86400
REGISTRY = ".cleanup_registry.json"
SCRIPT = "file_lifecycle.py"
NOT_UTF8 = b"caf\xe9\xff.bin".decode("utf-8", "surrogateescape")
ODD_NAMES = ("two words", "it's", 'say "hi"', "line\nbreak", "100%", "back\\slash", "-dash", " blank ", "caf\u00e9",
             NOT_UTF8)
PLAIN, IN_GIT = "a folder without git", "a git repository"


class Place:
    """A root to work on, with a registry that is asked and changed as programs and people do."""

    def __init__(self, path, kind=PLAIN):
        self.path = pathlib.Path(str(path))
        self.path.mkdir(mode=0o700)
        self.kind = kind
        self.write("config/conductor_config.json", "{}")
        if kind == IN_GIT:
            self.write("kept.txt", "in git\n")
            git(self.path, "init", "-q")
            git(self.path, "add", "-A")
            git(self.path, "commit", "-q", "-m", "first")
        self.root = Root(str(self.path))

    def write(self, name, text="content\n", mode=0o600):
        path = self.path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def register(self, name, lifetime_s=HOUR, **more):
        return fl.register(str(self.path / name), lifetime_s, root=self.root, **more)

    def expiring(self, *names, **more):
        """Files that are registered to expire in an hour."""
        for name in names:
            self.write(name)
            self.register(name, **more)

    def registry(self):
        return fl.Registry(self.root).read()

    def registry_bytes(self):
        return (self.path / REGISTRY).read_bytes()

    def write_registry(self, data, mode=0o600):
        path = self.path / REGISTRY
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        path.chmod(mode)

    def take(self, after_s=DAY, execute=True, limit=50):
        """Clean up as it would be done later: the results."""
        now = time.time() + after_s
        return fl.take_expired(self.root, fl.expired(self.registry(), now), now, execute, limit)

    def fates(self, **how):
        """The same as {path: (outcome, reason)}, without notes."""
        return {one.path: (one.outcome, one.reason) for one in self.take(**how) if one.outcome != "note"}

    def held(self):
        """What is in quarantine: {path: bytes}."""
        found = {}
        for run in (self.path / ".cleanup_quarantine").glob("*Z-*"):
            for path in run.rglob("*"):
                if not path.is_dir():
                    found[str(path.relative_to(run))] = path.read_bytes()
        return found

    def restore(self, target):
        with Quarantine(self.root, time.time() + 2 * DAY) as quarantine:
            return [(one.path, one.outcome, one.reason) for one in quarantine.restore(target)]

    def call(self, *arguments, **more):
        more.setdefault("cwd", str(self.path))
        return run_script(SCRIPT, self.path, *arguments, **more)

    def call_later(self, *arguments, **more):
        """A command as a process whose clock is a day ahead: (exit code, stdout, stderr)."""
        code = ("import runpy, sys, time; real = time.time; time.time = lambda: real() + 86400;"
                "sys.path.insert(0, %r); sys.argv[0] = %r; runpy.run_path(sys.argv[0], run_name='__main__')"
                % (str(SCRIPTS), str(SCRIPTS / SCRIPT)))
        more.setdefault("cwd", str(self.path))
        return finished([sys.executable, "-c", code, "--root", str(self.path)] + list(arguments), **more)

    def program(self, text):
        """The command of a program that uses the module."""
        head = "import os, signal, sys, threading; sys.path.insert(0, %r); import file_lifecycle as fl\n" % str(SCRIPTS)
        return [sys.executable, "-c", head + text]

    def environment(self):
        return dict(os.environ, SYMPHONY_ROOT=str(self.path))

    def run_program(self, text):
        return finished(self.program(text), env=self.environment(), cwd=str(self.path))

    def start_program(self, text):
        return subprocess.Popen(self.program(text), env=self.environment(), cwd=str(self.path),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def snapshot(self):
        """Everything that a look must not change: names, content, modes, owners of names, mtime and ctime."""
        found = []
        for folder, folders, names in os.walk(str(self.path)):
            for name in sorted(folders + names) + ["."]:
                path = os.path.join(folder, name)
                seen = os.lstat(path)
                content = b""
                if stat.S_ISREG(seen.st_mode):
                    with open(path, "rb") as handle:
                        content = handle.read()
                found.append((os.fsencode(path), seen.st_mode, seen.st_ino, seen.st_nlink, seen.st_size,
                              seen.st_mtime_ns, seen.st_ctime_ns, content))
        return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def finished(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          **more)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """A root without git, which is the default one of programs; the current folder is that root."""
    place = Place(tmp_path / "root")
    monkeypatch.setenv("SYMPHONY_ROOT", str(place.path))
    monkeypatch.chdir(str(place.path))
    return place


@pytest.fixture(params=[PLAIN, IN_GIT])
def place(request, tmp_path):
    return Place(tmp_path / "root", request.param)


@pytest.fixture
def in_git(tmp_path):
    return Place(tmp_path / "root", IN_GIT)


def clear_line(text):
    """The one line of an error, without the program's name."""
    assert text.startswith("file_lifecycle: ") and text.endswith("\n") and text.count("\n") == 1, text
    return text[len("file_lifecycle: "):-1]


def write_rules(place, *protected):
    document = {"rules": [{"name": "temporary", "patterns": ["*.tmp"], "older_than": "14d", "reason": "left behind"}],
                "protected": [{"patterns": [pattern], "reason": "it cannot be made again"} for pattern in protected]}
    place.write("config/cleanup_rules.json", json.dumps(document))


# -- ages, sizes and numbers as people write them

@pytest.mark.parametrize("text, seconds", [
    ("90s", 90), ("30m", 1800), ("26h", 93600), ("14d", 1209600), ("2w", 1209600), ("1.5h", 5400), ("0s", 0),
    ("007d", 604800), ("999999s", 999999)])
def test_an_age_is_a_number_and_a_unit(text, seconds):
    assert common.seconds_of(text) == seconds


@pytest.mark.parametrize("text", [
    "", "7", "7x", "-1d", "+1d", " 1d", "1d ", "1 d", "1d\n", "1D", "d", "1e3s", "1234567s", ".5h", "1.h", "1d2h",
    "nan", "inf", "\u0663d", "0x1s"])
def test_what_is_no_age_is_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError) as caught:
        common.seconds_of(text)
    assert str(caught.value) == (
        "%r is not a duration; write a number and a unit (s, m, h, d, w), such as %s" % (
            text, {"7": "7d"}.get(text, "26h")))


@pytest.mark.parametrize("size, text", [
    (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"),
    (3565158, "3.4 MiB"), (1 << 30, "1.0 GiB"), (1 << 40, "1.0 TiB"), (5 << 50, "5120.0 TiB")])
def test_a_size_is_shown_in_the_largest_unit_that_it_fills(size, text):
    assert common.size_text(size) == text


def test_a_number_is_shown_with_its_noun_in_the_right_number():
    assert [common.plural(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [common.plural(number, "entry", "entries") for number in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]


# -- transient_file

def test_a_decorated_function_registers_the_file_that_it_made(plain):
    @fl.transient_file(lifetime_hours=2, metadata={"ticket": 7})
    def make_report(name):
        """Make a report."""
        return str(plain.write(name))

    before = int(time.time())
    made = make_report("out/report.html")
    after = int(time.time())
    assert made == str(plain.path / "out/report.html")
    entry = plain.registry()["out/report.html"]
    assert before <= entry.registered_at <= after
    assert entry.expires - entry.registered_at == 7200
    assert entry.reason == "made by make_report"
    assert entry.metadata == {"ticket": 7, "creator_function": "make_report", "creator_module": "test_lifecycle"}


def test_a_decorated_function_keeps_its_name_and_docstring(plain):
    @fl.transient_file
    def one():
        """Make one."""

    @fl.transient_file(lifetime_hours=1)
    def two():
        """Make two."""

    assert (one.__name__, one.__doc__) == ("one", "Make one.")
    assert (two.__name__, two.__doc__) == ("two", "Make two.")


def test_without_brackets_and_with_empty_ones_a_file_lives_three_days(plain):
    @fl.transient_file
    def bare():
        return plain.write("bare")

    @fl.transient_file()
    def empty():
        return plain.write("empty")

    assert (bare(), empty()) == (plain.path / "bare", plain.path / "empty"), "what was returned is passed on as it is"
    lives = {path: entry.expires - entry.registered_at for path, entry in plain.registry().items()}
    assert lives == {"bare": 3 * DAY, "empty": 3 * DAY}


def test_a_fraction_of_an_hour_is_a_lifetime_too(plain):
    plain.write("a")
    fl.transient_file(lifetime_hours=0.5)(lambda: "a")()
    entry = plain.registry()["a"]
    assert entry.expires - entry.registered_at == 1800


def test_a_relative_path_is_one_from_the_current_folder(plain, monkeypatch):
    plain.write("sub/a")
    monkeypatch.chdir(str(plain.path / "sub"))
    assert fl.transient_file(lambda: "a")() == "a"
    assert list(plain.registry()) == ["sub/a"]


@pytest.mark.parametrize("made", [None, "nothing-here", pathlib.Path("nothing", "here")])
def test_what_was_not_made_is_passed_on_and_not_registered(plain, made):
    assert fl.transient_file(lambda: made)() is made
    assert not (plain.path / REGISTRY).exists()


def test_an_exception_of_the_function_passes_through_and_registers_nothing(plain):
    @fl.transient_file
    def fails():
        plain.write("half")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fails()
    assert not (plain.path / REGISTRY).exists()


def test_a_file_outside_of_the_root_cannot_be_made_transient(plain, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.write_text("x")
    assert fl.transient_file(lambda: outside)() == outside, "it is made, and the caller wants it"
    assert "was not registered: '%s' is not below the root" % outside in capsys.readouterr().err
    assert outside.read_text() == "x"
    assert not (plain.path / REGISTRY).exists()


def test_a_lifetime_beyond_all_calendars_does_not_spoil_the_registry(plain):
    plain.expiring("other")
    plain.write("a")
    before = plain.registry_bytes()
    try:
        fl.register("a", 10000 * 366 * DAY)
    except sc.ConductorError:
        assert plain.registry_bytes() == before
    assert "other" in plain.registry(), "it can still be read"


def test_metadata_that_json_cannot_hold_leaves_the_registry_and_its_lock_alone(plain):
    plain.expiring("other")
    plain.write("a")
    before = plain.registry_bytes()
    with pytest.raises(TypeError):
        fl.register("a", HOUR, metadata={"made": object()})
    assert plain.registry_bytes() == before
    plain.register("a")
    assert sorted(plain.registry()) == ["a", "other"]


EXITING = """
@fl.transient_file(lifetime_hours=1, cleanup_on_exit=True)
def make():
    with open("scratch", "w") as handle:
        handle.write("bytes")
    os.chmod("scratch", 0o640)
    return "scratch"
make()
"""


def test_cleanup_on_exit_takes_the_file_into_quarantine_from_where_it_comes_back(place):
    assert place.run_program(EXITING + "assert os.path.exists('scratch'); os.chdir('/'); sys.exit(3)") == (3, "", "")
    assert not (place.path / "scratch").exists()
    assert place.held() == {"scratch": b"bytes"}
    assert place.registry() == {}
    assert place.restore("scratch") == [("scratch", "restored", "")]
    assert (place.path / "scratch").read_text() == "bytes"
    assert stat.S_IMODE((place.path / "scratch").stat().st_mode) == 0o640


def test_cleanup_on_exit_means_the_exit_of_the_program_and_not_of_its_fork(plain):
    assert plain.run_program(EXITING + "child = os.fork()\nif not child: sys.exit(0)\n"
                             "os.waitpid(child, 0); print(os.path.exists('scratch'))") == (0, "True\n", "")
    assert not (plain.path / "scratch").exists()


def test_cleanup_on_exit_leaves_a_file_that_was_unregistered_meanwhile(plain):
    assert plain.run_program(EXITING + "assert fl.unregister('scratch')") == (0, "", "")
    assert (plain.path / "scratch").read_text() == "bytes"


def test_cleanup_on_exit_leaves_the_file_registered_while_another_cleanup_is_at_work(place):
    (place.path / ".cleanup_quarantine").mkdir(mode=0o700)
    lock = sc.FileLock(str(place.path / ".cleanup_quarantine" / "lock"))
    assert lock.acquire()
    try:
        code, out, err = place.run_program(EXITING)
    finally:
        lock.release()
    assert (code, out) == (0, "")
    assert clear_line(err).startswith("%s stays until it expires: another clean-up is running in %s" % (
        place.path / "scratch", place.path))
    assert stays_registered(place)


def stays_registered(place):
    assert (place.path / "scratch").read_text() == "bytes"
    entry = place.registry()["scratch"]
    return entry.expires - entry.registered_at == HOUR


def test_cleanup_on_exit_leaves_the_file_registered_when_git_is_broken(in_git):
    (in_git.path / ".git" / "HEAD").unlink()
    code, out, err = in_git.run_program(EXITING)
    assert (code, out) == (0, "")
    assert clear_line(err).startswith("%s stays until it expires: git " % (in_git.path / "scratch"))
    assert stays_registered(in_git)


def test_cleanup_on_exit_leaves_a_file_that_git_tracks(in_git):
    in_git.write("scratch", "old")
    git(in_git.path, "add", "scratch")
    assert in_git.run_program(EXITING)[0] == 0
    assert stays_registered(in_git)


# -- managed_file

def test_a_managed_file_is_written_registered_and_its_folder_made(plain):
    with fl.managed_file("out/deep/report", lifetime_hours=12) as handle:
        handle.write("text")
    assert (plain.path / "out/deep/report").read_text() == "text"
    entry = plain.registry()["out/deep/report"]
    assert entry.expires - entry.registered_at == 12 * HOUR
    assert entry.reason == "a managed file"


def test_a_managed_file_is_opened_in_the_mode_and_encoding_asked_for(plain):
    with fl.managed_file(plain.path / "a", mode="wb") as handle:
        handle.write(b"\xff\x00")
    with fl.managed_file("a", "ab") as handle:
        handle.write(b"more")
    with fl.managed_file("a", "rb") as handle:
        assert handle.read() == b"\xff\x00more"
    with fl.managed_file("b", encoding="utf-16-le", newline="\r\n") as handle:
        handle.write("\u00e9\n")
    assert (plain.path / "b").read_bytes() == b"\xe9\x00\r\x00\n\x00"
    lives = {path: entry.expires - entry.registered_at for path, entry in plain.registry().items()}
    assert lives == {"a": 3 * DAY, "b": 3 * DAY}


def test_an_exception_inside_closes_the_managed_file_and_leaves_it_registered(plain):
    with pytest.raises(KeyError):
        with fl.managed_file("a") as handle:
            handle.write("half")
            raise KeyError
    assert handle.closed and (plain.path / "a").read_text() == "half"
    assert list(plain.registry()) == ["a"]


def test_a_program_killed_inside_leaves_a_managed_file_that_is_registered(plain):
    code, _, _ = plain.run_program("with fl.managed_file('out/a') as handle:\n"
                                   "    handle.write('half'); handle.flush(); os.kill(os.getpid(), signal.SIGKILL)")
    assert code == -signal.SIGKILL
    assert (plain.path / "out/a").read_text() == "half"
    assert list(plain.registry()) == ["out/a"]
    assert plain.fates(after_s=4 * DAY)["out/a"][0] == "removed"


def test_a_managed_file_is_registered_before_it_exists(plain, monkeypatch):
    seen = []
    monkeypatch.setattr(fl, "open", lambda path, mode: seen.append(list(plain.registry())) or open(path, mode),
                        raising=False)
    with fl.managed_file("a"):
        pass
    assert seen == [["a"]]


def test_a_managed_file_outside_of_the_root_is_refused_before_anything_is_made(plain, tmp_path):
    with pytest.raises(sc.UsageError, match="is not below the root"):
        with fl.managed_file(tmp_path / "elsewhere" / "a"):
            pass
    assert sorted(os.listdir(str(tmp_path))) == ["root"]


def test_a_managed_file_that_could_not_be_opened_does_not_expire_what_stood_there(plain):
    plain.write("precious")
    with pytest.raises(FileExistsError):
        with fl.managed_file("precious", "x"):
            pass
    assert "precious" not in (plain.registry() if (plain.path / REGISTRY).exists() else {})


# -- managed_temp_directory

def test_a_temporary_folder_is_private_named_and_registered(plain):
    made = fl.managed_temp_directory(prefix="build_", lifetime_hours=3, base_dir=str(plain.path / "config"))
    assert isinstance(made, pathlib.Path) and made.is_dir()
    assert made.parent == plain.path / "config" and made.name.startswith("build_")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    entry = plain.registry()["config/" + made.name]
    assert entry.expires - entry.registered_at == 3 * HOUR
    assert entry.metadata == {"type": "directory"}


def test_a_temporary_folder_stands_in_the_current_one_for_a_day_unless_told_otherwise(plain, monkeypatch):
    (plain.path / "sub").mkdir()
    monkeypatch.chdir(str(plain.path / "sub"))
    one, other = fl.managed_temp_directory(), fl.managed_temp_directory(base_dir=plain.path)
    assert one.parent == plain.path / "sub" and other.parent == plain.path
    assert one.name.startswith("tmp_") and one.is_absolute()
    lives = {path: entry.expires - entry.registered_at for path, entry in plain.registry().items()}
    assert lives == {"sub/" + one.name: DAY, other.name: DAY}


@pytest.mark.parametrize("prefix", ["tmp_", "../root-", "../../up_"])
def test_a_temporary_folder_outside_of_the_root_is_refused_before_anything_is_made(plain, tmp_path, prefix):
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(sc.UsageError, match="is not below the root"):
        fl.managed_temp_directory(prefix=prefix, base_dir=outside)
    assert os.listdir(str(outside)) == [] and sorted(os.listdir(str(tmp_path))) == ["outside", "root"]
    assert not (plain.path / REGISTRY).exists()


def test_a_temporary_folder_goes_with_its_content_when_it_expires(place, monkeypatch):
    monkeypatch.setenv("SYMPHONY_ROOT", str(place.path))
    made = fl.managed_temp_directory(base_dir=place.path)
    (made / "deep").mkdir()
    (made / "deep" / "file").write_text("x")
    assert {path: fate[0] for path, fate in place.fates(after_s=2 * DAY).items()} == {
        made.name + "/deep/file": "removed"}
    assert not made.exists() and place.registry() == {}


# -- many at once, and crashes

MANY = """
def work(number):
    for turn in range(42):
        name = "%s-%d-%d" % (sys.argv[1], number, turn)
        if turn % 3 == 0:
            with fl.managed_file(name) as handle:
                handle.write(name)
        elif turn % 3 == 1:
            fl.transient_file(lambda: open(name, "w").name)()
        else:
            fl.managed_temp_directory(prefix=name + "_", base_dir=os.getcwd())
threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_two_programs_with_two_threads_each_lose_no_registration_and_a_reader_always_reads(plain):
    working = [subprocess.Popen(plain.program(MANY) + [name], env=plain.environment(), cwd=str(plain.path))
               for name in ("one", "two")]
    looks, seen = 0, set()
    while any(process.poll() is None for process in working):
        found = set(plain.registry())
        assert seen <= found, "what was registered stays so"
        seen, looks = found, looks + 1
    assert [process.wait() for process in working] == [0, 0]
    assert looks > 20
    expected = sorted("%s-%d-%d" % (name, number, turn)
                      for name in ("one", "two") for number in range(2) for turn in range(42))
    assert sorted(path.split("_")[0] for path in plain.registry()) == expected
    there = [name.split("_")[0] for name in os.listdir(str(plain.path)) if name[:3] in ("one", "two")]
    assert sorted(there) == expected


def test_threads_of_this_process_lose_no_registration(plain):
    def work(number):
        for turn in range(25):
            plain.register("%d-%d" % (number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(plain.registry()) == sorted("%d-%d" % (number, turn) for number in range(4) for turn in range(25))


def test_a_program_killed_while_it_registers_loses_nothing_that_it_was_told_is_registered(plain):
    child = plain.start_program("number = 0\n"
                                "while True:\n"
                                "    fl.register(str(number), 60); print(number, flush=True); number += 1")
    told = [int(child.stdout.readline()) for _ in range(30)]
    child.kill()
    told += [int(line) for line in child.stdout.read().split()]
    child.communicate()
    registered = sorted(map(int, plain.registry()))
    assert registered in (told, told + [told[-1] + 1])
    plain.register("next")
    assert "next" in plain.registry(), "a dead program's lock is nobody's"


@pytest.mark.skipif(not strace_works(), reason="strace with fault injection is not here")
def test_a_registration_killed_at_any_call_leaves_the_old_or_the_new_registry(tmp_path):
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.path.append(%r); import file_lifecycle as fl\n"
               "%sfl.register('b', 60, root=fl.Root(sys.argv[1]))" % (str(SCRIPTS), PAUSE)]

    def prepared(name):
        made = Place(tmp_path / name)
        made.expiring("a")
        made.write("b")
        return made

    points = []
    probe = prepared("probe")
    log = tmp_path / "trace"
    assert looked_on(recording(log), command + [str(probe.path)], cwd=str(probe.path)) == 0
    seen = {}
    for line in log.read_text(errors="replace").splitlines():
        call = re.match(r"(\w+)\(", line)
        if call:
            seen[call.group(1)] = seen.get(call.group(1), 0) + 1
            if REGISTRY in line or points and str(probe.path) in line:
                points.append((call.group(1), seen[call.group(1)]))
    assert {"write", "fsync", "flock"} <= {call for call, _ in points} and len(points) >= 8
    hit, outcomes = 0, set()
    for number, point in enumerate(points):
        made = prepared("at%d" % number)
        old = made.registry_bytes()
        hit += was_killed(point, command + [str(made.path)], cwd=str(made.path))
        outcomes.add(made.registry_bytes() == old)
        assert sorted(made.registry()) in (["a"], ["a", "b"]), point
        made.register("c")
        assert "c" in made.registry(), point
    assert hit == len(points), "the kills hit the registration"
    assert outcomes == {True, False}, "before the rename the old one, after it the new one"


def test_a_registry_that_cannot_grow_is_left_as_it_was(plain):
    plain.expiring(*("file-%d" % number for number in range(20)))
    plain.write("more")
    before = plain.registry_bytes()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    code, out, err = plain.call("register", "more", preexec_fn=limit)
    assert (code, out) == (74, "")
    assert clear_line(err) == "cannot write %s: File too large" % (plain.path / REGISTRY)
    assert plain.registry_bytes() == before
    assert plain.call("register", "more")[0] == 0, "and once there is room again, all is well"
    assert len(plain.registry()) == 21


FULL_DISK = """
mount -t tmpfs -o size=96k,mode=700 tmpfs "$1" || exit 90
cd "$1" || exit 91
mkdir -m 700 config && : > config/conductor_config.json && : > a && : > b
"$2" "$3" --root "$1" register a || exit 92
cp .cleanup_registry.json "$4/before"
dd if=/dev/zero of=fill bs=1024 2>/dev/null && exit 93
"$2" "$3" --root "$1" register b > "$4/out" 2> "$4/err"
echo $? > "$4/code"
cp .cleanup_registry.json "$4/after"
rm fill
"$2" "$3" --root "$1" register b || exit 94
"$2" "$3" --root "$1" list > "$4/list"
"""


def test_a_full_disk_leaves_the_registry_as_it_was(tmp_path):
    if os.geteuid() != 0 or not shutil.which("unshare") or subprocess.call(
            NAMESPACE + ["true"], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("a small file system of one's own takes root and namespaces")
    disk, notes = tmp_path / "disk", tmp_path / "notes"
    disk.mkdir()
    notes.mkdir()
    done = finished(NAMESPACE + ["/bin/sh", "-c", FULL_DISK, "sh", str(disk), sys.executable, str(SCRIPTS / SCRIPT),
                                 str(notes)])
    assert done[0] == 0, done
    assert (notes / "code").read_text() == "74\n" and (notes / "out").read_text() == ""
    assert clear_line((notes / "err").read_text()) == "cannot write %s: No space left on device" % (disk / REGISTRY)
    assert (notes / "after").read_bytes() == (notes / "before").read_bytes()
    assert (notes / "list").read_text().startswith("2 files registered, 0 expired\n")


def test_a_registry_that_another_process_locks_for_long_is_said_to_be_busy(plain, monkeypatch):
    plain.expiring("a")
    before = plain.registry_bytes()
    holder = plain.start_program("lock = fl.sc.FileLock(%r); assert lock.acquire(); print('held', flush=True);"
                                 "sys.stdin.read()" % str(plain.path / (REGISTRY + ".lock")))
    try:
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(fl, "REGISTRY_WAIT_S", 0.03)
        plain.write("b")
        for attempt in (lambda: fl.register("b", 60), lambda: fl.unregister("a")):
            with pytest.raises(sc.BusyError, match="has been locked by another process") as caught:
                attempt()
            assert caught.value.exit_code == 75
        assert plain.registry_bytes() == before
        assert list(plain.registry()) == ["a"], "reading waits for nobody"
    finally:
        holder.communicate(b"")
    plain.register("b")
    assert sorted(plain.registry()) == ["a", "b"]


# -- a registry that is damaged, old, or open to others

def entry_facts(**changes):
    return dict({"expires": "2001-01-01T00:00:00Z", "registered_at": "2000-12-31T00:00:00Z"}, **changes)


DAMAGES = {
    "empty": b"", "garbage": b"\x00\xff\xfe", "not UTF-8": b'{"caf\xe9": {}}', "cut short": b'{"a": {"expires": "2001-',
    "a list": [], "null": None, "a number": 5, "a text": "a", "nested too deeply": b"[" * 100000,
    "an entry that is null": {"a": None}, "an entry that is a list": {"a": []}, "an entry that is a text": {"a": "x"},
    "an entry without times": {"a": {}}, "no registration time": {"a": {"expires": "2001-01-01T00:00:00Z"}},
    "an expiry that is a number": {"a": entry_facts(expires=978307200)},
    "an expiry that is null": {"a": entry_facts(expires=None)},
    "an expiry that is a word": {"a": entry_facts(expires="tomorrow")},
    "an expiry on no day": {"a": entry_facts(expires="2001-02-30T00:00:00Z")},
    "metadata that is a number": {"a": entry_facts(metadata=5)},
    "metadata that is a list": {"a": entry_facts(metadata=["x"])},
    "a path above the root": {"../precious": entry_facts()},
    "a path that climbs out": {"a/../../precious": entry_facts()},
    "a path of the root itself": {".": entry_facts()}, "an empty path": {"": entry_facts()},
    "a path with an empty part": {"config//a": entry_facts()}, "a path with a dot": {"./a": entry_facts()},
    "a path with a slash at its end": {"config/": entry_facts()},
    "an absolute path outside": {"/etc/passwd": entry_facts()}, "the root of all": {"/": entry_facts()},
    "a path with a NUL": {"a\0b": entry_facts()}, "a path of half a character": {"a\ud800": entry_facts()},
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_registry_is_refused_and_left_alone(plain, tmp_path, damage):
    (tmp_path / "precious").write_text("x")
    plain.write("a")
    plain.write("b")
    plain.write_registry(DAMAGES[damage])
    before = plain.registry_bytes()
    for attempt in (plain.registry, lambda: plain.register("b"), lambda: fl.unregister("b")):
        with pytest.raises(sc.ConductorError) as caught:
            attempt()
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value) and REGISTRY in str(caught.value)
    assert plain.registry_bytes() == before
    assert sorted(os.listdir(str(plain.path))) == [REGISTRY, REGISTRY + ".lock", "a", "b", "config"]
    assert (tmp_path / "precious").read_text() == "x"


@pytest.mark.parametrize("damage", ["cut short", "an absolute path outside", "a path that climbs out",
                                    "a path with a NUL"])
def test_every_command_refuses_a_damaged_registry_with_one_line(plain, damage):
    plain.write("a")
    plain.write_registry(DAMAGES[damage])
    (plain.path / (REGISTRY + ".lock")).touch()
    before = plain.snapshot()
    for arguments in (("list",), ("register", "a"), ("unregister", "a"), ("cleanup", "--execute")):
        code, out, err = plain.call(*arguments)
        assert (code, out) == (3, ""), (arguments, code, out, err)
        assert clear_line(err).startswith(REGISTRY + " cannot be used: "), arguments
    assert plain.snapshot() == before


def test_a_registry_that_is_a_folder_is_refused(plain):
    (plain.path / REGISTRY).mkdir()
    plain.write("a")
    code, out, err = plain.call("register", "a")
    assert (code, out, clear_line(err)) == (3, "", "cannot read " + REGISTRY + ": [Errno 21] Is a directory: '%s'" % (
        plain.path / REGISTRY))


def test_absolute_paths_and_offsets_of_the_older_format_are_understood(plain):
    plain.write("out/a")
    plain.write("b")
    plain.write_registry({
        str(plain.path / "out" / "a"): entry_facts(expires="2031-01-02T03:04:05+00:00", metadata={"creator": "x"}),
        "b": entry_facts(expires="2031-01-02T05:04:05.250000+02:00", metadata=None, reason="r", owner="o", extra=1)})
    found = plain.registry()
    assert sorted(found) == ["b", "out/a"]
    assert {entry.expires for entry in found.values()} == {1925089445}
    assert (found["out/a"].metadata, found["out/a"].reason) == ({"creator": "x"}, "")
    assert (found["b"].reason, found["b"].owner, found["b"].metadata) == ("r", "o", {})
    plain.write("c")
    plain.register("c")
    stored = json.loads(plain.registry_bytes().decode())
    assert sorted(stored["files"]) == ["b", "c", "out/a"], "and written anew, all paths are relative"
    assert stored["files"]["out/a"]["expires"] == "2031-01-02T03:04:05Z"


@pytest.mark.parametrize("expires", ["0001-01-01T00:00:00Z", "0999-12-31T00:00:00Z", "9999-12-31T23:59:59-01:00"])
def test_what_could_be_read_can_be_read_again_once_it_was_written_anew(plain, expires):
    plain.write_registry({"a": entry_facts(expires=expires)})
    before = plain.registry_bytes()
    plain.write("b")
    try:
        plain.register("b")
    except sc.ConductorError as error:
        assert error.exit_code == 3 and plain.registry_bytes() == before
    else:
        assert sorted(plain.registry()) == ["a", "b"]


def test_the_registry_is_private_and_readable_by_people(plain):
    plain.expiring("a", reason="r", owner="o", metadata={"k": [1]})
    assert stat.S_IMODE((plain.path / REGISTRY).stat().st_mode) == 0o600
    stored = json.loads(plain.registry_bytes().decode("ascii"))["files"]
    assert sorted(stored["a"]) == ["expires", "inode", "metadata", "owner", "reason", "registered_at"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", stored["a"][key]) for key in ("expires", "registered_at"))


@pytest.mark.parametrize("arguments", [("cleanup",), ("cleanup", "--execute"), ("register", "a")])
def test_a_registry_that_others_can_write_to_is_refused(plain, arguments):
    plain.expiring("a")
    (plain.path / REGISTRY).chmod(0o666)
    before = plain.snapshot()
    code, out, err = plain.call_later(*arguments)
    assert (code, out) == (3, "")
    assert clear_line(err).startswith("%s: others can write to it" % REGISTRY)
    assert plain.snapshot() == before


def test_registering_again_replaces_the_first_time(plain):
    plain.expiring("a", reason="old")
    plain.register("a", 3 * HOUR, reason="new")
    (entry,) = plain.registry().values()
    assert (entry.expires - entry.registered_at, entry.reason) == (3 * HOUR, "new")


def test_the_guard_keeps_what_is_registered_and_what_lies_below_it(plain):
    registry = fl.Registry(plain.root)
    assert registry.guard("a") == ""
    plain.write_registry({"a": entry_facts(expires="2031-01-02T03:04:05Z"),
                          "out": entry_facts(expires="2032-01-01T00:00:00Z")})
    assert registry.guard("a") == "registered to expire at 2031-01-02T03:04:05Z"
    assert registry.guard("out/deep/b") == "registered to expire at 2032-01-01T00:00:00Z"
    assert [registry.guard(path) for path in ("ab", "outer/b", "b")] == ["", "", ""]
    fl.unregister("a")
    assert registry.guard("a") == ""


def test_what_expired_is_what_is_due_by_then_the_oldest_first():
    entries = {path: fl.Entry(path=path, expires=expires) for path, expires in (
        ("late", 101), ("b", 50), ("a", 50), ("just", 100), ("old", 2))}
    assert [entry.path for entry in fl.expired(entries, 100)] == ["old", "a", "b", "just"]
    assert fl.expired(entries, 1.9) == []


# -- the commands

def test_register_list_and_unregister_say_first_what_they_did(place):
    place.write("out/report")
    code, out, err = place.call("register", "out/report", "--expires", "7d", "--reason", "for the audit", "--owner",
                                "ops")
    (entry,) = place.registry().values()
    assert (code, err) == (0, "")
    assert out == "registered out/report; expires at %s\n" % sc.iso(entry.expires)
    assert (entry.expires - entry.registered_at, entry.reason, entry.owner) == (7 * DAY, "for the audit", "ops")
    assert place.call("list") == (0, "1 file registered, 0 expired\n  in 6d 23h      out/report  (for the audit)\n", "")
    assert place.call("unregister", "out/report") == (0, "unregistered out/report\n", "")
    assert place.registry() == {} and (place.path / "out/report").exists()
    assert place.call("unregister", "out/report") == (1, "out/report was not registered\n", "")
    assert place.call("list") == (0, "0 files registered, 0 expired\n", "")


def test_register_gives_three_days_unless_told_otherwise(plain):
    plain.write("a")
    assert plain.call("register", "a")[0] == 0
    (entry,) = plain.registry().values()
    assert entry.expires - entry.registered_at == 3 * DAY


def test_list_shows_the_next_to_go_first_and_only_what_is_due_on_request(plain):
    plain.write_registry({"late": entry_facts(expires="2901-01-01T00:00:00Z"), "due": entry_facts(),
                          "earlier": entry_facts(expires="2000-01-01T00:00:00Z", reason="why not")})
    out = plain.call("list")[1].splitlines()
    assert out[0] == "3 files registered, 2 expired"
    assert out[1:3] == ["  expired        earlier  (why not)", "  expired        due"]
    assert re.match(r"  in \d+d( \d+h)? +late\Z", out[3]) and len(out) == 4  # an hour before midnight there are none
    assert plain.call("list", "--expired")[1].splitlines() == out[:3]


def test_list_as_json_has_every_fact(plain):
    plain.write_registry({"late": entry_facts(expires="2901-01-01T00:00:00Z"),
                          "due": entry_facts(owner="ops", reason="why", metadata={"k": 1})})
    due = {"path": "due", "expires": "2001-01-01T00:00:00Z", "registered_at": "2000-12-31T00:00:00Z", "owner": "ops",
           "reason": "why", "metadata": {"k": 1}, "expired": True}
    late = {"path": "late", "expires": "2901-01-01T00:00:00Z", "registered_at": "2000-12-31T00:00:00Z",
            "expired": False}
    code, out, err = plain.call("list", "--json")
    assert (code, err, json.loads(out)) == (0, "", [due, late])
    assert json.loads(plain.call("list", "--json", "--expired")[1]) == [due]


def test_a_reason_with_line_breaks_stays_on_its_line(plain):
    plain.expiring("a", reason="one\ntwo \x1b[31mred")
    out = plain.call("list")[1]
    assert out.count("\n") == 2 and "\x1b" not in out
    out = plain.call_later("cleanup")[1]
    assert out.count("\n") == 3 and "\x1b" not in out


@pytest.mark.parametrize("age", ["7", "7x", "-1d", ""])
def test_a_bad_age_is_a_usage_error_with_one_clear_line(plain, age):
    plain.write("a")
    code, out, err = plain.call("register", "a", "--expires=" + age)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if "error:" in line]
    assert lines == [err.splitlines()[-1]]
    assert lines[0].endswith("argument --expires: '%s' is not a duration; write a number and a unit "
                             "(s, m, h, d, w), such as %s" % (age, {"7": "7d"}.get(age, "26h")))
    assert not (plain.path / REGISTRY).exists()


def test_an_age_beyond_all_calendars_is_a_usage_error(plain):
    plain.write("a")
    code, out, err = plain.call("register", "a", "--expires", "999999w")
    assert (code, out) == (2, "") and err.splitlines()[-1]
    assert plain.call("list")[0] == 0


@pytest.mark.parametrize("arguments, code", [
    ((), 2), (("nonsense",), 2), (("register",), 2), (("cleanup", "--max-deletions", "0"), 2),
    (("cleanup", "--max-deletions", "-1"), 2), (("cleanup", "--max-deletions", "x"), 2), (("--help",), 0)])
def test_the_command_line_is_checked(plain, arguments, code):
    assert plain.call(*arguments)[0] == code
    assert not (plain.path / REGISTRY).exists()


def test_a_root_that_is_none_is_refused(plain, tmp_path):
    (tmp_path / "bare").mkdir(mode=0o700)
    for wrong in ("relative", str(tmp_path / "missing"), str(tmp_path / "bare"), "/"):
        code, out, err = run_script(SCRIPT, wrong, "list", cwd=str(tmp_path))
        assert (code, out) == (3, "") and clear_line(err).startswith("--root: ")


@pytest.mark.parametrize("name, said", [
    ("missing", "'missing' does not exist"), ("missing\nline", "'missing\\nline' does not exist"),
    ("../outside", "'../outside' is not below the root {root}"),
    ("/etc/passwd", "'/etc/passwd' is not below the root {root}"),
    ("..", "'..' is not below the root {root}"), (".", "'.' is not below the root {root}"),
    ("../out\nside", "'../out\\nside' is not below the root {root}"),
    ("away/file", "'away/file' is not below the root {root}"),
    (".cleanup_registry.json", "'.cleanup_registry.json' belongs to git or the clean-up and cannot expire"),
    (".cleanup_registry.json.lock", "'.cleanup_registry.json.lock' belongs to git or the clean-up and cannot expire"),
    ("cleanup_actions.log", "'cleanup_actions.log' belongs to git or the clean-up and cannot expire"),
    (".git", "'.git' belongs to git or the clean-up and cannot expire"),
    (".git/HEAD", "'.git/HEAD' belongs to git or the clean-up and cannot expire"),
    ("config/../.git/HEAD", "'.git/HEAD' belongs to git or the clean-up and cannot expire"),
    (".cleanup_quarantine", "'.cleanup_quarantine' belongs to git or the clean-up and cannot expire"),
    (".cleanup_quarantine/x", "'.cleanup_quarantine/x' belongs to git or the clean-up and cannot expire")])
def test_what_cannot_expire_is_a_usage_error(plain, tmp_path, name, said):
    (tmp_path / "outside").write_text("x")
    (tmp_path / "out\nside").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("x")
    (plain.path / "away").symlink_to(tmp_path / "elsewhere")
    plain.expiring("a")
    for own in ("cleanup_actions.log", ".git/HEAD", ".cleanup_quarantine/x"):
        plain.write(own)
    before = plain.registry_bytes()
    code, out, err = plain.call("register", name)
    assert (code, out) == (2, "")
    assert clear_line(err) == said.format(root=plain.path)
    assert plain.registry_bytes() == before


def test_a_symlink_is_registered_itself_and_never_what_it_points_to(plain, tmp_path):
    target = tmp_path / "target"
    target.write_text("x")
    (plain.path / "link").symlink_to(target)
    (plain.path / "dangling").symlink_to("nowhere")
    (plain.path / "real").mkdir()
    (plain.path / "alias").symlink_to("real")
    plain.write("real/a")
    for name in ("link", "dangling", "alias/a"):
        assert plain.call("register", name)[0] == 0
    assert sorted(plain.registry()) == ["dangling", "link", "real/a"]
    fates = plain.fates(after_s=4 * DAY)
    assert fates["link"] == fates["dangling"] == ("skipped", "it is not a regular file")
    assert fates["real/a"][0] == "removed"
    assert target.read_text() == "x" and (plain.path / "link").is_symlink()
    assert sorted(plain.registry()) == ["dangling", "link"]


def test_odd_names_survive_the_whole_way(place):
    try:
        for number, name in enumerate(ODD_NAMES):
            place.write(name, "content %d" % number)
    except OSError as error:
        pytest.skip("this file system takes no such names: %s" % error)
    for name in ODD_NAMES[:-4]:
        place.register(name)
    for name in ODD_NAMES[-4:] + ODD_NAMES[2:4]:
        code, out, err = place.call("register", "--reason", "for " + name, "--", name)
        assert (code, err, out.count("\n")) == (0, "", 1)
    assert sorted(place.registry()) == sorted(ODD_NAMES)
    code, out, err = place.call("list", "--json")
    assert (code, err) == (0, "")
    assert sorted(entry["path"] for entry in json.loads(out)) == sorted(ODD_NAMES)
    code, out, err = place.call("list")
    assert "line\\nbreak" in out and "caf\\xe9\\xff.bin" in out and "back\\\\slash" in out and "' blank '" in out
    assert place.call("unregister", "line\nbreak") == (0, "unregistered line\\nbreak\n", "")
    place.register("line\nbreak")
    fates = place.fates(after_s=4 * DAY)
    assert {path: fate[0] for path, fate in fates.items()} == dict.fromkeys(ODD_NAMES, "removed")
    for number, name in enumerate(ODD_NAMES):
        assert place.restore(name) == [(name, "restored", "")]
        assert (place.path / name).read_text() == "content %d" % number


def test_a_locale_without_umlauts_does_not_change_a_name(plain):
    plain.write("caf\u00e9")
    env = dict(os.environ, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="")
    code, out, err = plain.call("register", os.fsencode("caf\u00e9").decode("utf-8"), env=env)
    assert (code, err) == (0, "")
    assert list(plain.registry()) == ["caf\u00e9"]
    assert plain.call("unregister", "caf\u00e9", env=env)[0] == 0
    assert plain.registry() == {}


# -- the clean-up

def test_a_cleanup_shows_what_is_due_and_changes_nothing_until_it_is_told_to(place):
    place.expiring("a", "out/b", reason="scratch")
    place.write("mine")
    place.register("late-one", 30 * DAY)
    place.write("late-one")
    before = place.snapshot()
    code, out, err = place.call_later("cleanup")
    expires = sc.iso(place.registry()["a"].expires)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "2 entries expired; 2 files would be removed (16 B)"
    assert lines[1] == "  would be removed: a (registered to expire at %s: scratch)" % expires
    assert lines[2].startswith("  would be removed: out/b (")
    assert lines[3:] == ["nothing was changed; --execute removes"]
    assert place.snapshot() == before
    code, out, err = place.call_later("cleanup", "--execute")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "2 entries expired; 2 files moved to quarantine (16 B)"
    assert lines[1] == "  removed: a (registered to expire at %s: scratch)" % expires and len(lines) == 4
    assert place.held() == {"a": b"content\n", "out/b": b"content\n"}
    assert list(place.registry()) == ["late-one"]
    assert (place.path / "mine").exists() and (place.path / "late-one").exists() and (place.path / "out").is_dir()
    before = place.snapshot()
    assert place.call_later("cleanup") == (
        0, "0 entries expired; 0 files would be removed (0 B): nothing was due\n", "")
    assert place.call_later("cleanup", "--execute")[0] == 0
    assert place.snapshot() == before


def test_a_dry_run_beside_an_older_quarantine_changes_nothing(place):
    place.expiring("first")
    assert place.fates()["first"][0] == "removed"
    place.expiring("a")
    before = place.snapshot()
    assert place.fates(execute=False)["a"][0] == "would be removed"
    assert place.snapshot() == before


def test_a_restored_file_is_the_one_that_was_taken(place):
    path = place.write("data.bin", "bytes\n", mode=0o640)
    os.utime(str(path), ns=(1000000000123456789, 1000000000987654321))
    place.register("data.bin")
    assert place.fates()["data.bin"][0] == "removed"
    assert not path.exists()
    assert place.restore("data.bin") == [("data.bin", "restored", "")]
    found = path.stat()
    assert (path.read_bytes(), stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (
        b"bytes\n", 0o640, 1000000000987654321)


def test_what_is_not_due_yet_stays(place):
    place.expiring("a")
    entry = place.registry()["a"]
    assert fl.expired(place.registry(), entry.expires - 0.5) == []
    assert fl.expired(place.registry(), entry.expires) == [entry]
    assert place.fates(after_s=HOUR - 60) == {}
    assert (place.path / "a").exists() and list(place.registry()) == ["a"]


def check_kept(place, name, reason, **how):
    """That a due file stays where it is, remains registered, and is said to."""
    found = os.lstat(str(place.path / name))
    for execute in (False, True):
        assert place.fates(execute=execute, **how)[name] == ("skipped", reason)
    assert os.lstat(str(place.path / name)) == found
    assert name in place.registry() and name not in place.held()


def test_a_file_that_git_tracks_stays(in_git):
    in_git.register("kept.txt")
    check_kept(in_git, "kept.txt", "git tracks it")


def test_a_file_that_was_added_and_not_committed_stays(in_git):
    in_git.expiring("new")
    git(in_git.path, "add", "new")
    check_kept(in_git, "new", "git tracks it")


def test_a_file_that_only_head_tracks_stays(in_git):
    git(in_git.path, "rm", "-q", "--cached", "kept.txt")
    git(in_git.path, "add", "-N", "config")
    in_git.register("kept.txt")
    check_kept(in_git, "kept.txt", "git tracks it")


def test_an_ignored_file_may_go(in_git):
    in_git.write(".gitignore", "*.tmp\n")
    in_git.expiring("a.tmp")
    assert in_git.fates()["a.tmp"][0] == "removed"


def break_head(place):
    (place.path / ".git" / "HEAD").write_bytes(b"\xff\xfe garbage")


def break_index(place):
    (place.path / ".git" / "index").write_bytes(b"garbage")


def lose_objects(place):
    shutil.rmtree(str(place.path / ".git" / "objects"))


def empty_index(place):
    git(place.path, "rm", "-r", "-q", "--cached", ".")
    git(place.path, "commit", "-q", "--allow-empty", "-m", "nothing left")


def unborn(place):
    git(place.path, "checkout", "-q", "--orphan", "other")


def stray_git_file(place):
    shutil.rmtree(str(place.path / ".git"))
    (place.path / ".git").write_text("gitdir: /nowhere\n")


@pytest.mark.parametrize("breaks", [break_head, break_index, lose_objects, empty_index, unborn, stray_git_file])
def test_a_git_that_cannot_say_what_is_tracked_keeps_everything(in_git, breaks):
    in_git.expiring("a", "b")
    breaks(in_git)
    registry = in_git.registry_bytes()
    code, out, err = in_git.call_later("cleanup", "--execute")
    assert (code, out) == (3, "")
    assert "git" in clear_line(err) or "HEAD" in clear_line(err)
    assert (in_git.path / "a").exists() and (in_git.path / "b").exists() and in_git.held() == {}
    assert in_git.registry_bytes() == registry


def test_a_missing_git_keeps_everything(in_git, tmp_path):
    in_git.expiring("a")
    code, out, err = in_git.call_later("cleanup", "--execute", env=dict(os.environ, PATH=str(tmp_path)))
    assert (code, out) == (3, "")
    said = clear_line(err)
    assert said.startswith("cannot run git: No such file or directory")
    assert said.endswith(" (nothing may be removed while git cannot say what is tracked)")
    assert (in_git.path / "a").exists() and list(in_git.registry()) == ["a"]


def test_a_protected_pattern_beats_an_expiry(place):
    write_rules(place, "*.pem", "vault/")
    place.expiring("Server.PEM", "vault/deep/a", "b")
    check_kept(place, "Server.PEM", "protected by '*.pem': it cannot be made again", limit=1)
    assert place.registry().keys() == {"Server.PEM", "vault/deep/a"}
    check_kept(place, "vault/deep/a", "protected by 'vault/': it cannot be made again")


@pytest.mark.parametrize("name", [".env", "id_rsa", "db.sqlite3", "config/a.json", "README.old", "run.lock"])
def test_the_rules_that_come_along_protect_what_must_not_go(plain, name):
    shutil.copy(str(REPOSITORY / "config" / "cleanup_rules.json"), str(plain.path / "config"))
    plain.expiring(name)
    outcome, reason = plain.fates()[name]
    assert outcome == "skipped" and ("protected by '" in reason or name == "run.lock")
    assert (plain.path / name).exists() and list(plain.registry()) == [name]


def test_rules_that_cannot_be_used_keep_everything(plain):
    plain.expiring("a")
    plain.write("config/cleanup_rules.json", "{broken")
    code, out, err = plain.call_later("cleanup", "--execute")
    assert (code, out) == (78, "") and clear_line(err).startswith("config/cleanup_rules.json: ")
    assert (plain.path / "a").exists() and list(plain.registry()) == ["a"]


CHANGED = "it was changed after it expired; register it again, or unregister it"


def test_a_file_written_after_it_expired_stays(place):
    place.expiring("a")
    after = place.registry()["a"].expires + 60
    os.utime(str(place.path / "a"), (after, after))
    check_kept(place, "a", CHANGED)


def test_a_file_whose_name_or_mode_was_changed_after_it_expired_stays(place):
    path = place.write("a")
    os.utime(str(path), (1000000000, 1000000000))
    place.write_registry({"a": entry_facts(expires="2002-01-01T00:00:00Z")})
    check_kept(place, "a", CHANGED)  # its ctime is of today


def test_a_hard_linked_file_stays(place):
    place.expiring("a")
    os.link(str(place.path / "a"), str(place.path / "other"))
    check_kept(place, "a", "it has a second hard link")


def test_a_fifo_stays(place):
    os.mkfifo(str(place.path / "pipe"))
    place.register("pipe")
    check_kept(place, "pipe", "it is not a regular file")


def test_a_symlink_that_took_the_place_of_the_file_stays(place, tmp_path):
    place.expiring("a", "deep/b")
    (place.path / "a").unlink()
    (tmp_path / "b").write_text("precious")
    (place.path / "a").symlink_to(tmp_path / "b")
    shutil.rmtree(str(place.path / "deep"))
    (place.path / "deep").symlink_to(tmp_path)
    fates = place.fates()
    assert fates["a"] == ("skipped", "it is not a regular file")
    assert fates["deep/b"] == ("skipped", "another file has taken its place since it was registered")
    assert (tmp_path / "b").read_text() == "precious" and (place.path / "deep").is_symlink()
    assert sorted(place.registry()) == ["a", "deep/b"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the kernel does not show who holds a file open")
def test_a_file_that_a_process_holds_open_or_has_locked_stays(place):
    place.expiring("read", "locked", "free")
    code = ("import fcntl, sys; one = open('read'); two = open('locked'); fcntl.flock(two, fcntl.LOCK_SH);"
            "print('ready', flush=True); sys.stdin.read()")
    child = subprocess.Popen([sys.executable, "-c", code], cwd=str(place.path), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        fates = place.fates()
    finally:
        child.communicate(b"")
    assert fates["read"] == ("skipped", "a process holds it open")
    assert fates["locked"] in (("skipped", "a process holds it open"), ("skipped", "a process has locked it"))
    assert fates["free"][0] == "removed"
    assert sorted(place.registry()) == ["locked", "read"]
    assert {path: fate[0] for path, fate in place.fates().items()} == {"read": "removed", "locked": "removed"}


def test_an_expired_folder_loses_its_files_and_then_itself(place):
    for name in ("build/a", "build/deep/er/b"):
        place.write(name)
    (place.path / "build" / "empty").mkdir()
    place.register("build")
    before = place.snapshot()
    assert {path: fate[0] for path, fate in place.fates(execute=False).items()} == {
        "build/a": "would be removed", "build/deep/er/b": "would be removed"}
    assert place.snapshot() == before
    assert {path: fate[0] for path, fate in place.fates().items()} == {
        "build/a": "removed", "build/deep/er/b": "removed"}
    assert not (place.path / "build").exists() and place.registry() == {}
    assert {path for path, _, _ in place.restore(run_of(place))} == {"build/a", "build/deep/er/b", "build/empty"}
    assert (place.path / "build/empty").is_dir(), "empty folders come back as well"
    assert (place.path / "build/deep/er/b").read_text() == "content\n"


def run_of(place):
    (name,) = [one.name for one in (place.path / ".cleanup_quarantine").glob("*Z-*") if one.is_dir()]
    return name


def test_an_empty_folder_goes_when_it_expires(place):
    (place.path / "build").mkdir()
    place.register("build")
    assert place.fates(execute=False) == {} and (place.path / "build").is_dir()
    assert place.fates() == {}
    assert not (place.path / "build").exists() and place.registry() == {}


def test_an_expired_folder_stays_with_the_repository_or_the_link_inside_it(place, tmp_path):
    (tmp_path / "precious").write_text("x")
    for top in ("one", "two"):
        place.write(top + "/a")
    git(place.path / "one", "init", "-q", "nested")
    place.write("one/nested/work")
    (place.path / "two" / "link").symlink_to(tmp_path)
    for top in ("one", "two"):
        place.register(top)
    fates = place.fates()
    assert fates["one/nested"] == ("skipped", "it is a repository of its own")
    assert fates["two/link"] == ("skipped", "it is not a regular file")
    assert fates["one/a"][0] == fates["two/a"][0] == "removed"
    assert (place.path / "one/nested/work").exists() and (place.path / "one/nested/.git/HEAD").exists()
    assert (place.path / "two/link").is_symlink() and (tmp_path / "precious").read_text() == "x"
    assert sorted(place.registry()) == ["one", "two"]


@pytest.mark.parametrize("registered", ["nested", "nested/work", "nested/deep/work"])
def test_nothing_goes_from_a_repository_inside_the_root(place, registered):
    git(place.path, "init", "-q", "nested")
    place.write("nested/work")
    place.write("nested/deep/work")
    place.register(registered)
    (fate,) = place.fates().values()
    assert fate[0] == "skipped" and "it is a repository of its own" in fate[1]
    assert (place.path / "nested/work").exists() and (place.path / "nested/deep/work").exists()
    assert list(place.registry()) == [registered]


def test_an_expired_folder_keeps_what_git_tracks(in_git):
    in_git.write("build/tracked")
    git(in_git.path, "add", "build/tracked")
    git(in_git.path, "commit", "-q", "-m", "second")
    in_git.write("build/scratch")
    in_git.register("build")
    fates = in_git.fates()
    assert fates["build/tracked"] == ("skipped", "git tracks it") and fates["build/scratch"][0] == "removed"
    assert (in_git.path / "build/tracked").exists() and list(in_git.registry()) == ["build"]


def test_a_file_that_was_put_into_a_folder_after_it_expired_stays(place):
    place.write("build/a")
    place.write("build/new")
    place.register("build")
    after = place.registry()["build"].expires + 60
    os.utime(str(place.path / "build/new"), (after, after))
    fates = place.fates()
    assert fates["build/a"][0] == "removed" and fates["build/new"] == ("skipped", CHANGED)
    assert (place.path / "build/new").exists() and list(place.registry()) == ["build"]


def test_a_file_inside_an_expired_folder_that_is_registered_for_longer_stays(place):
    place.write("build/a")
    place.register("build")
    place.expiring("build/wanted", lifetime_s=30 * DAY)
    fates = place.fates()
    assert fates["build/a"][0] == "removed"
    assert (place.path / "build/wanted").exists()
    assert "build/wanted" in place.registry()


def test_a_file_that_is_due_by_itself_and_with_its_folder_counts_once(place):
    place.expiring("build/a")
    place.register("build")
    would = [one.path for one in place.take(execute=False) if one.outcome == "would be removed"]
    did = [one.path for one in place.take() if one.outcome == "removed"]
    assert would == did == ["build/a"]
    assert place.registry() == {} and not (place.path / "build").exists()


def test_a_file_that_is_gone_already_is_forgotten_and_said(place):
    place.expiring("a", "deep/b", "c")
    (place.path / "a").unlink()
    shutil.rmtree(str(place.path / "deep"))
    assert place.fates(execute=False)["a"] == ("gone", "it was already removed")
    assert sorted(place.registry()) == ["a", "c", "deep/b"], "a look forgets nothing"
    fates = place.fates()
    assert fates["a"] == fates["deep/b"] == ("gone", "it was already removed")
    assert fates["c"][0] == "removed"
    assert place.registry() == {}


def test_a_file_whose_folder_became_a_file_does_not_stop_the_cleanup_of_the_others(place):
    place.expiring("deep/b", "c")
    shutil.rmtree(str(place.path / "deep"))
    place.write("deep", "a file now")
    assert place.fates()["c"][0] == "removed"
    assert (place.path / "deep").read_text() == "a file now"
    assert "c" not in place.registry()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_cannot_be_looked_into_does_not_stop_the_cleanup_of_the_others(place):
    place.expiring("closed/b", "c")
    (place.path / "closed").chmod(0o000)
    try:
        assert place.fates()["c"][0] == "removed"
    finally:
        (place.path / "closed").chmod(0o700)
    assert (place.path / "closed/b").exists() and list(place.registry()) == ["closed/b"]


def test_the_limit_bounds_a_cleanup_and_the_rest_stays_registered(place):
    names = ["file-%d" % number for number in range(5)]
    place.expiring(*names)
    code, out, err = place.call_later("cleanup", "--execute", "--max-deletions", "2")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "5 entries expired; 2 files moved to quarantine (16 B), 3 kept"
    assert out.count("(left for the next run)") == 3
    assert sorted(place.registry()) == names[2:] and sorted(place.held()) == names[:2]
    assert place.call_later("cleanup", "--execute", "--max-deletions", "3")[0] == 0
    assert place.registry() == {} and sorted(place.held()) == names


def test_the_limit_bounds_a_folder_too_which_stays_registered_until_it_is_empty(place):
    for number in range(3):
        place.write("build/%d" % number)
    place.register("build")
    place.take(limit=2)
    assert os.listdir(str(place.path / "build")) == ["2"] and list(place.registry()) == ["build"]
    place.take(limit=2)
    assert not (place.path / "build").exists() and place.registry() == {}


def test_without_a_limit_of_ones_own_fifty_files_go(plain):
    for number in range(51):
        plain.write("build/%02d" % number)
    plain.register("build")
    out = plain.call_later("cleanup", "--execute")[1]
    assert out.splitlines()[0].startswith("1 entry expired; 50 files moved to quarantine (400 B), 1 kept")
    assert os.listdir(str(plain.path / "build")) == ["50"]


def test_nothing_removed_says_why(in_git):
    in_git.register("kept.txt")
    out = in_git.call_later("cleanup", "--execute")[1]
    assert out.splitlines()[0] == "1 entry expired; 0 files moved to quarantine (0 B), 1 kept: git tracks it (1)"


def test_another_cleanup_at_work_means_not_now(place):
    place.expiring("first")
    place.take()
    place.expiring("a")
    before = place.registry_bytes()
    lock = sc.FileLock(str(place.path / ".cleanup_quarantine" / "lock"))
    assert lock.acquire()
    try:
        for arguments in (("cleanup", "--execute"), ("cleanup",)):
            code, out, err = place.call_later(*arguments)
            assert (code, out) == (75, "")
            assert clear_line(err) == "another clean-up is running in %s (try again when it has finished)" % place.path
    finally:
        lock.release()
    assert (place.path / "a").exists() and place.registry_bytes() == before


def test_a_lifetime_that_was_extended_while_the_cleanup_began_counts(place):
    place.expiring("a")
    now = time.time() + DAY
    due = fl.expired(place.registry(), now)
    place.register("a", 30 * DAY)
    fl.take_expired(place.root, due, now, True, 50)
    assert (place.path / "a").exists()
    assert list(place.registry()) == ["a"]


def test_a_file_that_was_unregistered_while_the_cleanup_began_stays(place):
    place.expiring("a")
    now = time.time() + DAY
    due = fl.expired(place.registry(), now)
    fl.unregister(str(place.path / "a"), root=place.root)
    fl.take_expired(place.root, due, now, True, 50)
    assert (place.path / "a").exists()


def test_a_file_made_and_registered_anew_right_after_it_was_taken_stays_registered(place, monkeypatch):
    place.expiring("a")
    real = fl.Registry.editing

    def editing(self):
        monkeypatch.setattr(fl.Registry, "editing", real)
        place.write("a", "new")
        place.register("a", 30 * DAY)
        return real(self)

    monkeypatch.setattr(fl.Registry, "editing", editing)
    assert place.fates()["a"][0] == "removed"
    assert (place.path / "a").read_text() == "new" and list(place.registry()) == ["a"]


def test_a_removal_that_failed_is_said_with_exit_1_and_tried_again_by_the_next_cleanup(place, monkeypatch, capsys):
    place.expiring("a", "b")
    later, take = time.time() + DAY, Quarantine._take

    def fails(self, item, *folders):
        if item.path == "a":
            raise OSError(5, "Input/output error")
        return take(self, item, *folders)

    with monkeypatch.context() as patch:
        patch.setattr(Quarantine, "_take", fails)
        patch.setattr(time, "time", lambda: later)
        args = fl.build_parser().parse_args(["cleanup", "--execute"])
        assert args.func(place.root, args) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "2 entries expired; 1 file moved to quarantine (8 B), 1 kept"
    assert "  failed: a (it could not be moved: Input/output error)\n" in out
    assert (place.path / "a").exists() and list(place.registry()) == ["a"]
    assert place.fates()["a"][0] == "removed" and place.registry() == {}


def test_what_is_registered_while_a_cleanup_is_at_work_is_not_forgotten(place, monkeypatch):
    place.expiring("a")
    real = fl.candidates_of

    def meanwhile(root, entry, last_change, mounts):
        found = real(root, entry, last_change, mounts)
        place.expiring("b")
        return found

    monkeypatch.setattr(fl, "candidates_of", meanwhile)
    assert place.fates()["a"][0] == "removed"
    assert list(place.registry()) == ["b"]


def test_a_registry_that_could_not_be_written_after_a_removal_is_settled_by_the_next(place, monkeypatch):
    place.expiring("a")
    monkeypatch.setattr(fl, "REGISTRY_WAIT_S", 0.0)
    lock = sc.FileLock(str(place.path / (REGISTRY + ".lock")))
    assert lock.acquire()
    try:
        with pytest.raises(sc.BusyError):
            place.take()
    finally:
        lock.release()
    assert place.held() == {"a": b"content\n"} and list(place.registry()) == ["a"]
    assert place.fates() == {"a": ("gone", "it was already removed")}
    assert place.registry() == {}


def test_a_cleanup_with_nothing_due_keeps_the_record_of_time(place, monkeypatch):
    place.expiring("a")
    assert place.fates()["a"][0] == "removed"
    clock = place.path / ".cleanup_quarantine" / "clock"
    clock.unlink()
    args = fl.build_parser().parse_args(["--root", str(place.path), "cleanup"])
    assert fl.cmd_cleanup(Root(str(place.path)), args) == 0 and not clock.exists(), "a dry run writes nothing"
    args.execute = True
    assert fl.cmd_cleanup(Root(str(place.path)), args) == 0 and clock.exists()


def test_a_registered_file_keeps_the_folders_that_it_is_in(place):
    """A folder can go as one: what is registered in it must be asked for as well."""
    place.expiring("cache/deep/a")
    guard = fl.Registry(place.root).guard
    assert guard("cache/deep/a").startswith("registered to expire at")
    assert {guard(path) for path in ("cache", "cache/deep")} == {"something in it is registered to expire"}
    assert {guard(path) for path in ("cach", "cache2", "cache/other", "b")} == {""}


# -- what decides, each by itself

FIRST, LAST = "1970-01-01T00:00:01Z", sc.iso(fl.LATEST - 1)


@pytest.mark.parametrize("expires, registered_at, is_possible", [
    (FIRST, FIRST, True), (LAST, LAST, True), ("1970-01-01T00:00:00Z", FIRST, False),
    (FIRST, "1970-01-01T00:00:00Z", False), (sc.iso(fl.LATEST), FIRST, False), (FIRST, sc.iso(fl.LATEST), False),
    ("1969-12-31T23:59:59Z", FIRST, False), (FIRST, "1969-12-31T23:59:59Z", False)])
def test_times_of_an_entry_that_cannot_be_meant_are_refused(tmp_path, expires, registered_at, is_possible):
    registry = fl.Registry(Place(tmp_path / "p").root)
    facts = {"expires": expires, "registered_at": registered_at, "owner": "joe", "later": [1]}
    if not is_possible:
        with pytest.raises(ValueError, match="'a/b' has a time out of range"):
            registry._entry("a/b", facts)
        return
    entry = registry._entry("a/b", facts)
    assert (entry.path, sc.iso(entry.expires), sc.iso(entry.registered_at), entry.owner, entry.other) == (
        "a/b", expires, registered_at, "joe", {"later": [1]})
    stored = fl.stored_entry(entry)
    assert stored["later"] == [1] and (stored["expires"], stored["registered_at"]) == (expires, registered_at)
    assert "path" not in stored and "other" not in stored


def candidates_of(place, path, mounts=(), last_change=None, **facts):
    """(files that can go, {what stays: why}, folders, whether it is there) for an entry that has expired."""
    entry = fl.Entry(path=path, expires=1735689600, registered_at=1735603200, **facts)
    files, kept, folders, is_there = fl.candidates_of(
        place.root, entry, time.time() + HOUR if last_change is None else last_change, set(mounts))
    assert {(each.outcome, each.rule) for each in kept} <= {("skipped", "expired")}
    assert {each.rule for each in files} <= {"expired"}
    return [each.path for each in files], {each.path: each.reason for each in kept}, folders, is_there


@pytest.fixture
def tree_of_three(tmp_path):
    place = Place(tmp_path / "p")
    for name in ("out/a", "out/in/b", "out/in/deep/c"):
        place.write(name, name)
    return place


def test_all_below_a_folder_that_has_expired_can_go(tree_of_three):
    assert candidates_of(tree_of_three, "out") == (
        ["out/a", "out/in/b", "out/in/deep/c"], {}, ["out", "out/in", "out/in/deep"], True)
    assert candidates_of(tree_of_three, "out/a") == (["out/a"], {}, [], True)
    assert candidates_of(tree_of_three, "gone") == ([], {}, [], False)
    assert candidates_of(tree_of_three, "out/a/x") == ([], {}, [], False)


def test_what_is_mounted_below_stays(tree_of_three):
    assert candidates_of(tree_of_three, "out", ["out/in"]) == (
        ["out/a"], {"out/in": "something is mounted there"}, ["out"], True)


def test_what_is_on_another_device_stays(tree_of_three):
    tree_of_three.root.dev += 1
    assert candidates_of(tree_of_three, "out") == ([], {"out": "it is on another device"}, [], True)


def test_a_repository_and_what_is_no_file_stay(tree_of_three):
    git(tree_of_three.path / "out" / "in", "init", "-q")
    (tree_of_three.path / "out" / "link").symlink_to("a")
    assert candidates_of(tree_of_three, "out") == (["out/a"], {
        "out/in": "it is a repository of its own", "out/link": "it is not a regular file"}, ["out"], True)


def test_a_file_stays_that_changed_in_any_way_after_the_expiry(tree_of_three):
    path = tree_of_three.path / "out" / "a"
    os.utime(str(path), (1, 1))  # which changes the ctime
    changed_at = path.stat().st_ctime
    assert candidates_of(tree_of_three, "out/a", last_change=changed_at)[0] == ["out/a"]
    assert candidates_of(tree_of_three, "out/a", last_change=changed_at - 0.01) == (
        [], {"out/a": "it was changed after it expired; register it again, or unregister it"}, [], True)


def test_what_cannot_be_looked_into_stays_with_its_reason(tree_of_three, monkeypatch):
    real = os.listdir

    def listdir(path):
        if str(path).endswith("/in"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(fl.os, "listdir", listdir)
    entry = fl.Entry(path="out", expires=1735689600)
    files, kept, folders, is_there = fl.candidates_of(tree_of_three.root, entry, time.time() + HOUR, set())
    assert ([each.path for each in files], folders, is_there) == (["out/a"], ["out"], True)
    assert [(each.path, each.outcome, each.reason) for each in kept] == [
        ("out/in", "skipped", "cannot open it: Permission denied")]


def test_what_is_gone_by_the_time_of_the_look_is_left_out(tree_of_three, monkeypatch):
    real = os.stat

    def look(path, **more):
        if str(path).endswith("/in/b"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, **more)

    monkeypatch.setattr(fl.os, "stat", look)
    assert candidates_of(tree_of_three, "out")[0] == ["out/a", "out/in/deep/c"]


@pytest.mark.parametrize("reason, told", [
    ("", "registered to expire at 2025-01-01T00:00:00Z"),
    ("a\x07b", "registered to expire at 2025-01-01T00:00:00Z: a\\x07b")])
def test_a_candidate_has_what_the_removal_compares(tree_of_three, reason, told):
    entry = fl.Entry(path="out/a", expires=1735689600, reason=reason)
    candidate, = fl.candidates_of(tree_of_three.root, entry, time.time() + HOUR, set())[0]
    status = (tree_of_three.path / "out" / "a").lstat()
    assert candidate == fl.Candidate(
        path="out/a", size=5, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns, dev=status.st_dev,
        ino=status.st_ino, mode=status.st_mode, rule="expired", reason=told)
