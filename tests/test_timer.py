"""The systemd timer: its units as text, against a systemctl of the test's own, and with a real systemd."""

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

import pytest
from support import ODD_NAME, SCRIPT, SCRIPTS, Project, due_once, every_minute

import symphony_conductor as sc
import symphony_timer

SERVICE, TIMER = "symphony-conductor.service", "symphony-conductor.timer"


def folder_names(count):
    pieces = ["'", '"', "%", "%h", "\\", "\\\\", "\\x41", "\\n", "$", "$$", "$HOME", "${HOME}", " ", "  ", "#", ";",
              " ; ", "\u00e9", "-", "@", "@ROOT@", "a", "\t", "`", "|", ">", "*", "~", "=", "\x0b", "\x0c", "\x01",
              "\x7f", "\u2028"]
    choose = random.Random(21)
    return ["".join(choose.choice(pieces) for _ in range(choose.randint(1, 7))) for _ in range(count)]


# -- the units as text

def value_of(text, key):
    (found,) = re.findall("(?m)^%s=(.*)$" % key, text)
    return found


def as_systemd_reads(line):
    """The words of an ExecStart line by systemd.service(5): quotes, C's escapes, %% and $$."""
    words, at = [], 0
    escapes = {"\\": "\\", '"': '"', "'": "'", "t": "\t", "r": "\r", "n": "\n", "s": " "}
    while at < len(line):
        assert line[at] == '"', "every word is quoted"
        word, at = "", at + 1
        while line[at] != '"':
            if line[at] == "\\":
                word, at = word + escapes[line[at + 1]], at + 2
            elif line[at] in "%$":
                assert line[at + 1] == line[at], "a specifier or a variable: %s" % line[at:]
                word, at = word + line[at], at + 2
            else:
                word, at = word + line[at], at + 1
        words.append(word)
        assert line[at + 1:at + 2] in ("", " ")
        at += 2
    return words


def test_the_command_of_the_unit_is_the_tick_of_that_root():
    texts = symphony_timer.unit_texts("/srv/a", "/usr/bin/python3", "/srv/a/symphony_conductor.py")
    assert sorted(texts) == [SERVICE, TIMER]
    assert value_of(texts[SERVICE], "ExecStart") == (
        '"/usr/bin/python3" "-I" "-S" "-c" "import sys; sys.path.append(\'/srv/a\'); import symphony_conductor as c; '
        'c.command_line()" "--root=/srv/a" "tick"')
    assert {text.splitlines()[0] for text in texts.values()} == {"# symphony-conductor: /srv/a"}
    assert value_of(texts[TIMER], "OnCalendar") == "*-*-* *:*:00"
    assert value_of(texts[TIMER], "WantedBy") == "timers.target"
    for setting in ("Type=oneshot", "KillMode=process", "OOMPolicy=continue", "SyslogIdentifier=symphony-conductor"):
        assert setting in texts[SERVICE].splitlines()
    assert "@" not in texts[SERVICE] + texts[TIMER]


def test_what_allows_an_open_folder_here_is_in_the_unit_too(project, either, monkeypatch):
    assert symphony_timer.unit_texts("/srv/a", "/bin/sh", "/srv/a/symphony_conductor.py", "", True)[SERVICE].count(
        "\nEnvironment=SYMPHONY_ALLOW_INSECURE=1\nExecStart=") == 1
    monkeypatch.setenv("SYMPHONY_ALLOW_INSECURE", "1")
    timer = symphony_timer.Timer(str(project.root), "")
    texts = []
    for mode in (0o700, 0o777):
        project.root.chmod(mode)
        texts.append("".join(timer.wanted(sc.Store(str(project.root))).values()))
    assert ["INSECURE" in text for text in texts] == [False, True]


def test_lines_that_a_timer_leaves_to_nobody_are_told(project, monkeypatch, capsys):
    table = sc.handed_over_mark(str(project.root)) + "0 5 * * * x\n"
    monkeypatch.setattr(sc, "read_crontab", lambda: table)
    symphony_timer._warn_of_stranded_lines(sc.Store(str(project.root)))
    assert "nothing will run 1 line" in capsys.readouterr().out


def test_a_unit_for_another_account_says_so():
    texts = symphony_timer.unit_texts("/srv/a", "/usr/bin/python3", "/srv/a/symphony_conductor.py", "daemon")
    assert value_of(texts[SERVICE], "User") == "daemon"


def test_systemd_reads_from_the_unit_the_very_words_whatever_the_folder_is_called():
    for name in folder_names(300):
        root = "/srv/" + name
        script = root + "/symphony_conductor.py"
        text = symphony_timer.unit_texts(root, "/usr/bin/python3", script)[SERVICE]
        assert as_systemd_reads(value_of(text, "ExecStart")) == [
            "/usr/bin/python3", "-I", "-S"] + sc.program_arguments(script) + ["--root=" + root, "tick"], name
        assert value_of(text, "Description").replace("%%", "%") == (
            "Symphony Conductor: start the tasks of %s that are due" % root)
        assert "%" not in value_of(text, "Description").replace("%%", "")
        assert "\n" + value_of(text, "ExecStart") not in text, "no line of the name's own"


def test_a_dollar_in_the_path_of_the_python_stands_as_it_is():
    # systemd.service(5): the first word is no place for variables, so there is nothing to double for.
    text = symphony_timer.unit_texts("/srv/a", "/opt/py$x/python3", "/srv/a/symphony_conductor.py")[SERVICE]
    assert value_of(text, "ExecStart").startswith('"/opt/py$x/python3" ')


def test_systemd_finds_nothing_to_complain_of_in_the_units(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze (tests/run installs Debian's)")

    def verified(texts):
        for name, text in texts.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        done = subprocess.run(["systemd-analyze", "verify", "--man=no"] + [str(tmp_path / name) for name in texts],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    texts = symphony_timer.unit_texts("/srv/a", "/bin/sh", "/srv/a/symphony_conductor.py")
    if verified(texts) != (0, ""):
        pytest.skip("systemd-analyze does not work here: %s%s" % verified(texts))
    assert "Unknown key" in verified(dict(texts, **{SERVICE: texts[SERVICE] + "Nonsense=1\n"}))[1]
    for name in folder_names(20) + [ODD_NAME, "ends\\", " blanks ", "x" * 200]:
        for user in ("", "root"):
            texts = symphony_timer.unit_texts("/srv/" + name, "/bin/sh", "/srv/%s/symphony_conductor.py" % name, user)
            assert verified(texts) == (0, ""), name


# -- against a systemctl of the test's own

FAKE = """#!/bin/sh
here=$(dirname "$0")
echo "${0##*/} $*" >> "$here/calls"
[ "$1" != --user ] || shift
if [ -e "$here/fail-$1" ]; then cat "$here/fail-$1" >&2; exit 1; fi
case "$1" in
  enable) touch "$here/on" ;;
  disable) rm -f "$here/on" ;;
  is-enabled|is-active) [ -e "$here/on" ] ;;
esac
"""
FAKE_CRONTAB = """#!/bin/sh
cat "$(dirname "$0")/table" 2>/dev/null && exit
echo 'no crontab for x' >&2
exit 1
"""


class Box:
    """A systemd that only writes down what it is asked, and the folder of its units."""

    def __init__(self, folder, units, scope, capsys, monkeypatch):
        self.folder, self.units, self.scope, self.capsys = folder, units, scope, capsys
        self.monkeypatch = monkeypatch

    def main(self, project, *arguments):
        """The timer's command in this process: (exit code, stdout, stderr)."""
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["symphony_timer.py", "--root", str(project.root)] + list(arguments))
        with pytest.raises(SystemExit) as ended:
            sc.command_beside(symphony_timer.__doc__, symphony_timer.OPTIONS, symphony_timer.cmd_timer)
        said = self.capsys.readouterr()
        return ended.value.code, said.out, said.err

    def calls(self):
        path = self.folder / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        if path.exists():
            path.unlink()
        return found

    def files(self):
        return sorted(path.name for path in self.units.rglob("*")) if self.units.exists() else []

    def paths(self):
        return "%s, %s" % (self.units / SERVICE, self.units / TIMER)


def make_box(tmp_path, monkeypatch, capsys, units, scope):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("systemctl", FAKE), ("loginctl", FAKE), ("crontab", FAKE_CRONTAB)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (tools, os.environ["PATH"]))
    return Box(tools, units, scope, capsys, monkeypatch)


@pytest.fixture
def system(tmp_path, monkeypatch, capsys):
    """The box as root meets it."""
    if os.geteuid() != 0:
        pytest.skip("system units are root's")
    monkeypatch.setattr(sc, "SYSTEM_UNITS", str(tmp_path / "system"))
    return make_box(tmp_path, monkeypatch, capsys, tmp_path / "system", "")


@pytest.fixture
def personal(tmp_path, monkeypatch, capsys, project):
    """The box as an ordinary user meets it."""
    if os.geteuid() == 0:
        for path in [project.root] + sorted(project.root.rglob("*")):
            os.chown(str(path), 65534, -1)
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "their config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return make_box(tmp_path, monkeypatch, capsys, tmp_path / "their config" / "systemd" / "user", "--user ")


@pytest.fixture(params=["system", "personal"])
def either(request):
    return request.getfixturevalue(request.param)


def test_install_writes_the_units_and_starts_the_timer(project, either):
    project.configure(every_minute("a"))
    code, out, err = either.main(project, "install")
    assert (code, err) == (0, "")
    assert out == ("writing %s\nwriting %s\nthe timer runs:     systemctl %sstatus symphony-conductor.timer\n"
                   "what it did is in:  journalctl %s-t symphony-conductor\n") % (
        either.units / SERVICE, either.units / TIMER, either.scope, either.scope)
    calls = either.calls()
    assert [call for call in calls if "is-" not in call] == [
        "systemctl %sdaemon-reload" % either.scope, "systemctl %senable --now %s" % (either.scope, TIMER)] + (
        ["loginctl enable-linger"] if either.scope else [])
    assert either.files() == [SERVICE, TIMER]
    assert {path.stat().st_mode & 0o777 for path in either.units.iterdir()} == {0o644}
    assert list(project.state()["tasks"]) == ["a"], "its slots count from now on"
    assert sc.has_timer(str(project.root)) and not sc.has_timer("/another/root"), "which doctor asks"
    assert not (project.root / sc.HEARTBEAT_NAME).exists(), "systemd has not called it yet"
    wanted = symphony_timer.unit_texts(str(project.root), sc.interpreter(), str(SCRIPT))
    assert {path.name: path.read_text(encoding="utf-8") for path in either.units.iterdir()} == (
        wanted if either.scope else {name: (either.units / name).read_text(encoding="utf-8") for name in wanted})


def doctor(project, capsys):
    """What doctor says: (the findings, what is in order)."""
    sc.main(["--root", str(project.root), "doctor", "--json"])
    entries = json.loads(capsys.readouterr().out)
    return ({each["text"]: each for each in entries if each["level"] != "ok"},
            [each["text"] for each in entries if each["level"] == "ok"])


def test_doctor_speaks_of_systemd_where_a_timer_calls(project, either, capsys, monkeypatch):
    project.configure(every_minute("a"))
    assert either.main(project, "install")[0] == 0
    wrong, right = doctor(project, capsys)
    assert "the systemd timer is installed" in right and "1 task, and systemd finds their programs" in right
    assert not [text for text in list(wrong) + right if "cron" in text]
    store = sc.Store(str(project.root))
    store.write_heartbeat(time.time() - 700, 0.0, sc.Evidence(), [])
    monkeypatch.setattr(sc, "boot_time", lambda now: 0)
    finding = doctor(project, capsys)[0]["no tick for 11m; cause unknown"]
    assert finding["hint"] == "systemctl %sstatus symphony-conductor.timer" % either.scope
    project.configure(every_minute("a", "no-such-tool"))
    assert [text for text in doctor(project, capsys)[0] if "is not on systemd's PATH (" in text]


def test_doctor_speaks_of_cron_where_the_crontab_has_the_line_as_well(project, either, capsys):
    project.configure(every_minute("a"))
    assert either.main(project, "install")[0] == 0
    line = sc.crontab_line(str(project.root), sc.interpreter(), str(SCRIPT), False)
    (either.folder / "table").write_text("%s%s\n%s\n%s%s\n" % (
        sc.BLOCK_BEGIN, project.root, line, sc.BLOCK_END, project.root))
    assert "1 task, and cron finds their programs" in doctor(project, capsys)[1]


def test_a_timer_of_roots_is_that_of_the_user_it_runs_as(project, personal, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sc, "SYSTEM_UNITS", str(tmp_path / "system"))
    (tmp_path / "system").mkdir()
    text = symphony_timer.unit_texts(str(project.root), sys.executable, str(SCRIPT), "nobody")[TIMER]
    (tmp_path / "system" / TIMER).write_text(text)
    assert sc.has_timer(str(project.root))
    assert sc.timer_folder(str(project.root)) == str(tmp_path / "system")
    assert sc.Inspector(sc.Store(str(project.root)))._timer_command() == (
        "systemctl status symphony-conductor.timer")
    (tmp_path / "system" / TIMER).write_text(text.replace(str(project.root), "/another"))
    assert sc.has_timer(str(project.root)) is False


def test_installing_twice_says_so_and_does_nothing(project, either):
    assert either.main(project, "install")[0] == 0
    before = {path.name: path.stat().st_mtime_ns for path in either.units.iterdir()}
    either.calls()
    assert either.main(project, "install") == (
        0, "the timer is already installed: %s\n" % either.paths(), "")
    assert not [call for call in either.calls() if "is-" not in call]
    assert {path.name: path.stat().st_mtime_ns for path in either.units.iterdir()} == before


def test_a_timer_that_was_stopped_or_edited_is_set_right_by_the_next_install(project, either):
    assert either.main(project, "install")[0] == 0
    (either.folder / "on").unlink()
    assert either.main(project, "install")[1].startswith("writing ")
    assert (either.folder / "on").exists()
    good = (either.units / SERVICE).read_text()
    (either.units / SERVICE).write_text(good.replace("python", "nohtyp"))
    assert either.main(project, "install")[1].startswith("writing ")
    assert (either.units / SERVICE).read_text() == good


def test_a_dry_run_shows_the_units_and_touches_nothing(project, either):
    before = sorted(str(path) for path in project.root.rglob("*"))
    code, out, err = either.main(project, "install", "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("would write %s\n# symphony-conductor: %s\n[Unit]\n" % (either.units / SERVICE, project.root))
    assert either.files() == [] and not [call for call in either.calls() if "is-" not in call]
    assert sorted(str(path) for path in project.root.rglob("*")) == before
    assert either.main(project, "install")[0] == 0
    either.calls()
    assert either.main(project, "uninstall", "--dry-run") == (
        0, "would stop the timer and remove %s\nconfiguration, state and logs stay\n" % either.paths(), "")
    assert either.files() == [SERVICE, TIMER] and either.calls() == []


def test_uninstall_stops_the_timer_and_removes_its_units_alone(project, either):
    assert either.main(project, "install")[0] == 0
    (either.units / "other.timer").write_text("theirs")
    either.calls()
    code, out, err = either.main(project, "uninstall")
    assert (code, err) == (0, "")
    assert out.startswith("removed %s\n" % either.paths())
    assert out.endswith("configuration, state and logs stay\n")
    assert either.calls() == ["systemctl %s%s" % (either.scope, call) for call in (
        "disable --now " + TIMER, "stop " + SERVICE, "reset-failed " + SERVICE, "daemon-reload")]
    assert either.files() == ["other.timer"]
    assert either.main(project, "uninstall") == (
        0, "there is no timer for %s\nconfiguration, state and logs stay\n" % project.root, "")
    assert either.calls() == []


def test_the_timer_of_another_project_stays_as_it_is(project, either, tmp_path):
    other = Project(tmp_path / "other")
    if either.scope and os.getuid() == 0:
        os.chown(str(other.root), 65534, -1)
        os.chown(str(other.root / "config"), 65534, -1)
    assert either.main(project, "install")[0] == 0
    before = {path.name: path.read_bytes() for path in either.units.iterdir()}
    either.calls()
    for arguments in (["install"], ["install", "--dry-run"], ["uninstall"], ["uninstall", "--dry-run"]):
        code, out, err = either.main(other, *arguments)
        assert (code, out) == (1, "") and err.startswith("symphony_conductor: %s is for another folder (" % (
            either.units / SERVICE)) and "use the crontab" in err and len(err.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in either.units.iterdir()} == before
    assert either.calls() == []


@pytest.mark.parametrize("verb", ["daemon-reload", "enable"])
def test_where_systemd_refuses_nothing_is_left_behind(project, either, verb):
    (either.folder / ("fail-" + verb)).write_text("Failed to connect to bus: No medium found\n")
    code, out, err = either.main(project, "install")
    assert code == 1
    call = "systemctl %s%s" % (either.scope, verb if verb == "daemon-reload" else "enable --now " + TIMER)
    assert err == "symphony_conductor: %s failed (exit 1): Failed to connect to bus: No medium found\n" % call
    assert either.files() == []
    if verb == "enable":  # which may have made its link before what it could not do
        calls = [one for one in either.calls() if "is-" not in one]
        assert calls[2:] == ["systemctl %s%s" % (either.scope, call) for call in (
            "disable --now " + TIMER, "stop " + SERVICE, "reset-failed " + SERVICE, "daemon-reload")]


def test_where_systemd_refuses_a_change_the_units_stay(project, either):
    assert either.main(project, "install")[0] == 0
    (either.units / SERVICE).write_text((either.units / SERVICE).read_text() + "# edited\n")
    (either.folder / "fail-enable").write_text("no\n")
    assert either.main(project, "install")[0] == 1
    assert either.files() == [SERVICE, TIMER]


@pytest.mark.parametrize("verb", ["disable --now " + TIMER, "stop " + SERVICE])
def test_where_the_timer_cannot_be_stopped_its_units_stay(project, either, verb):
    assert either.main(project, "install")[0] == 0
    (either.folder / ("fail-" + verb.split()[0])).write_text("no\n")
    code, _, err = either.main(project, "uninstall")
    assert code == 1 and err == "symphony_conductor: systemctl %s%s failed (exit 1): no\n" % (either.scope, verb)
    assert either.files() == [SERVICE, TIMER]


def test_a_box_without_systemd_is_told_about_the_crontab(project, either, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = either.main(project, "install")
    assert (code, err) == (69, "symphony_conductor: cannot run systemctl: No such file or directory; this machine "
                           "has no systemd; use the crontab\n")
    assert either.files() == []


@pytest.mark.parametrize("arguments, code, complaint", [
    (["install", "--timer", "--mailto", "ops@x"], 2, "--mailto is for cron ("),
    (["timer", "install", "--purge"], 2, "--purge requires uninstall")])
def test_options_that_do_not_go_together_are_refused(project, arguments, code, complaint):
    found, out, err = project.call(*arguments)
    assert (found, out) == (code, "") and err.startswith("symphony_conductor: " + complaint)


# What stands in for the timer's file: it says how it was called, and what of the caller's Python it got.
STAND_IN = """import os, sys
root, *rest = sys.argv[2:]
print(os.path.basename(sys.argv[0]), sys.argv[1], os.path.realpath(root) == os.getcwd(), rest,
      sys.flags.dont_write_bytecode, sys.flags.ignore_environment)
"""


def copy_of(folder, stand_in=None):
    """The core alone in a folder, or with a stand-in for the timer's file."""
    shutil.copy(str(SCRIPT), str(folder))
    if stand_in is not None:
        (folder / "scripts").mkdir(mode=0o755)
        (folder / "scripts" / "symphony_timer.py").write_text(stand_in)
        (folder / "scripts" / "symphony_timer.py").chmod(0o644)
    return str(folder / "symphony_conductor.py")


def called(argv, folder):
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([sys.executable] + argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, cwd=str(folder), env=env, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("arguments, words", [
    (["install", "--timer"], ["install"]),
    (["install", "--timer", "--dry-run", "--user", "x"], ["install", "--user", "x", "--dry-run"]),
    (["uninstall", "--timer", "--purge"], ["uninstall", "--purge"]),
    (["--config", "c.json", "timer", "install", "--dry-run"], None)])
def test_install_and_uninstall_hand_their_options_on(project, arguments, words):
    script = copy_of(project.root, STAND_IN)
    if words is None:
        words = ["--config", str(project.root / "c.json"), "install", "--dry-run"]
    assert called([script] + arguments, project.root) == (0, "symphony_timer.py --root True %r 0 0\n" % words, "")
    assert called(["-I", "-B", script] + arguments, project.root)[1].endswith(" 1 1\n")


def test_a_single_file_says_what_to_fetch_for_the_timer(project):
    script = copy_of(project.root)
    for arguments in (["install", "--timer"], ["uninstall", "--timer"], ["timer", "install"]):
        assert called([script] + arguments, project.root) == (
            69, "", "symphony_conductor: 'timer' is not part of this file (put scripts/symphony_timer.py of version %s "
                    "into %s)\n" % (sc.__version__, project.root / "scripts"))


@pytest.mark.skipif(os.geteuid() != 0, reason="who owns a file is for root to say")
def test_root_trusts_the_timer_of_a_checkout_as_far_as_the_core_in_it(project):
    script = copy_of(project.root, STAND_IN)
    scripts = project.root / "scripts"
    timer = scripts / "symphony_timer.py"
    for path in (pathlib.Path(script), scripts, timer):
        os.chown(str(path), 65534, 65534)
    said = called([script, "install", "--timer", "--user", "x"], project.root)
    words = "symphony_timer.py --root True ['install', '--user', 'x']"
    assert said == (0, words + " 1 0\n", ""), "and compiles nothing there"
    timer.chmod(0o666)
    assert called([script, "install", "--timer"], project.root)[2].endswith(
        "symphony_timer.py: others can write to it (chmod go-w %s)\n" % timer)
    timer.chmod(0o644)
    os.chown(str(timer), 65533, 65534)
    code, out, err = called([script, "install", "--timer"], project.root)
    assert (code, out) == (78, "") and "scripts/symphony_timer.py: belongs to another user (uid 65533)" in err


def test_what_no_tick_could_use_is_refused_for_a_timer_too(either, tmp_path):
    project = Project(tmp_path / "a\nb")
    if either.scope and os.getuid() == 0:
        os.chown(str(project.root), 65534, -1)
    code, _, err = either.main(project, "install")
    assert code == 2 and "line break" in err
    assert either.files() == []


def test_a_folder_whose_name_is_not_utf_8_is_for_cron(either, tmp_path):
    os.mkdir(os.fsencode(str(tmp_path)) + b"/latin\xe9", 0o700)
    project = Project(os.fsdecode(os.fsencode(str(tmp_path)) + b"/latin\xe9"))
    if either.scope and os.getuid() == 0:
        os.chown(str(project.root), 65534, -1)
        os.chown(str(project.root / "config"), 65534, -1)
    code, _, err = either.main(project, "install")
    assert code == 2 and "UTF-8" in err and "crontab" in err
    assert either.files() == []


def test_a_crontab_line_beside_the_timer_is_mentioned(project, either):
    (either.folder / "table").write_text(sc.with_block("", str(project.root), ["LINE"]))
    code, out, _ = either.main(project, "install")
    assert code == 0
    assert out.splitlines()[-1].startswith("note: the crontab line is installed as well; that does no harm")


def test_a_user_whose_timer_cannot_outlive_the_session_is_told_how(project, personal):
    project.configure(every_minute("a"))
    (personal.folder / "fail-enable-linger").write_text("Access denied\n")
    code, out, _ = personal.main(project, "install")
    assert code == 0
    assert out.splitlines()[-1] == (
        "note: it runs only while you are logged in (Access denied); to fix: sudo loginctl enable-linger %s"
        % sc.current_user()[0])


def test_an_ordinary_user_installs_for_nobody_else(project, personal):
    for command in ("install", "uninstall"):
        assert personal.main(project, command, "--user", "daemon") == (
            2, "", "symphony_conductor: --user: only root can do this for 'daemon' (use sudo)\n")
    assert personal.main(project, "install", "--user", sc.current_user()[0])[0] == 0


def test_a_system_unit_has_the_home_and_the_name_that_cron_gives_a_task(project, system):
    # Without User= systemd sets neither HOME nor LOGNAME nor SHELL (systemd.exec(5)): git and ~ would fail.
    assert system.main(project, "install")[0] == 0
    assert value_of((system.units / SERVICE).read_text(), "User") == "root"


def test_root_installs_a_system_unit_that_runs_as_another_account(project, system, monkeypatch):
    for name, codes in (("no-such-account", (2,)), ("daemon", (2, 69))):  # who can reach neither folder nor Python
        code, out, _ = system.main(project, "install", "--user", name)
        assert code in codes and out == ""
        assert system.files() == [] and system.calls() == []
    monkeypatch.setattr(symphony_timer, "_as_user", lambda name, command: 0)
    assert system.main(project, "install", "--user", "daemon")[0] == 0
    assert value_of((system.units / SERVICE).read_text(), "User") == "daemon"


# -- what goes to the journal

def journal_env(fd, **more):
    found = os.fstat(fd)
    return dict(os.environ, JOURNAL_STREAM="%d:%d" % (found.st_dev, found.st_ino), **more)


def read_all(fd):
    with os.fdopen(fd, "rb") as handle:
        return handle.read().decode()


def without_times(text):
    return "".join(line.partition(" ")[2] for line in text.splitlines(True))


def test_with_the_journal_for_stdout_ticks_and_supervisors_print_what_they_log_once(project):
    project.configure(due_once("good", "echo output; sleep 0.3"), due_once("bad", "exit 3", dependencies=["good"]))
    project.anchor()
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stdout:
        subprocess.run(project.command("tick"), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout, check=True,
                       env=journal_env(writer), timeout=60)
    printed = read_all(reader)  # ends when the last supervisor has
    log = project.read("logs/symphony_conductor.log")
    assert "good: starting run" in printed and "bad: starting run" in printed
    assert re.search(r"(?m)^good: run \S+ succeeded after ", printed)
    assert re.search(r"(?m)^bad: run \S+ failed \(exit 3\) after ", printed)
    assert sorted(printed.splitlines()) == sorted(without_times(log).splitlines())


def test_a_configuration_that_is_wrong_is_said_once_there_and_not_on_stderr_as_well(project):
    project.configure(every_minute("odd", schedule="61 * * * *"))
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(project.command("tick"), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                              env=journal_env(writer), timeout=60)
    printed = read_all(reader)
    assert (done.returncode, done.stderr) == (78, b"")
    assert printed.count("minute '61' is outside 0-59") == 1
    assert printed == without_times(project.read("logs/symphony_conductor.log"))


@pytest.mark.parametrize("stream", [None, "", "1:2", "nonsense"])
def test_without_the_journal_a_tick_is_silent_and_leaves_nobody_on_its_stdout(project, stream):
    project.configure(due_once("slow", "sleep 30"))
    project.anchor()
    env = dict(os.environ)
    env.pop("JOURNAL_STREAM", None)
    if stream is not None:
        env["JOURNAL_STREAM"] = stream
    assert project.call("tick", env=env) == (0, "", ""), "and the pipe ended although the task goes on"
    assert project.state()["tasks"]["slow"]["run"]


def test_a_stdout_that_is_closed_is_no_journal(monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert sc.is_journal(writer) is False


def test_a_journal_that_is_gone_costs_its_lines_and_nothing_else(project):
    project.configure(due_once("a", "true"))
    project.anchor()
    heartbeat = project.root / "status" / "heartbeat"
    heartbeat.unlink()
    reader, writer = os.pipe()
    os.close(reader)  # what a journal that was killed leaves behind
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(project.command("tick"), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                              env=journal_env(writer), timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert heartbeat.exists(), "the tick was carried out to its end"
    project.wait_for_idle()
    assert project.wait_until(lambda: "a: run" in project.read("logs/symphony_conductor.log"))


# -- the script in a folder whose name takes more than ASCII, called by cron or systemd, which set no locale

@pytest.mark.parametrize("env", [{}, {"LANG": "C.UTF-8"}, {"LC_ALL": "C"}])
def test_the_unit_and_the_line_find_a_script_elsewhere_in_every_locale(project, tmp_path, env):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    folder = tmp_path / "caf\u00e9"
    folder.mkdir()
    script = str(shutil.copy(str(SCRIPT), str(folder)))
    unit = symphony_timer.unit_texts(str(project.root), sys.executable, script)[SERVICE]
    line = sc.crontab_line(str(project.root), sys.executable, script).split(None, 5)[5]
    for argv in (as_systemd_reads(value_of(unit, "ExecStart")), ["/bin/sh", "-c", line]):
        done = subprocess.run([os.fsencode(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, cwd="/", env=dict(env, PATH="/usr/bin:/bin"), timeout=60)
        assert (done.returncode, done.stdout) == (0, b"")
        (project.root / "status" / "heartbeat").unlink()


# -- with a real systemd, in namespaces of its own over a copy of this machine's files

BOOT = """
set -e
out=$1 home=$2 group=$3
mkdir "$group"
echo $$ > "$group/cgroup.procs"
exec unshare --mount --pid --fork --cgroup --uts --ipc --net --kill-child /bin/sh -c '
set -e
out=$1 home=$2
mount -t tmpfs tmpfs "$out/box"
cd "$out/box"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root
mkdir -p ".$home"
mount --bind "$home" ".$home"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run tmp dev etc/systemd/system srv; do mkdir -p $folder; mount -t tmpfs -o mode=755 tmpfs $folder; done
chmod 1777 tmp
for target in sysinit sockets local-fs timers; do  # nothing that would look after this machine
    folder=usr/lib/systemd/system/$target.target.wants
    [ ! -d $folder ] || mount -t tmpfs tmpfs $folder
done
ln -s ../systemd-journald.service usr/lib/systemd/system/sysinit.target.wants
for file in null zero full random urandom tty; do touch dev/$file; mount --bind /dev/$file dev/$file; done
mkdir dev/shm dev/pts srv/out
mount --bind "$out" srv/out
echo 0123456789abcdef0123456789abcdef > etc/machine-id
rm -f etc/fstab
mkdir old
pivot_root . old
cd /
umount -l /old
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_boot,-sys_rawio,-syslog,-audit_control,-audit_read \\
    env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin "$3" --system --unit=basic.target --log-target=null
' sh "$out" "$home" "$4"
"""


def cgroup_of_this():
    """The folder of this process in the unified hierarchy; '' where there is none."""
    mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    found = [mount[1] for mount in mounts if mount[2] == "cgroup2"]
    here = re.findall("(?m)^0::(.*)$", pathlib.Path("/proc/self/cgroup").read_text())
    return found[0] + here[0].rstrip("/") if found and here else ""


class Machine:
    """A systemd as PID 1 of namespaces of its own. `reason` says why there is none."""

    PROGRAM = "/lib/systemd/systemd"

    def __init__(self, folder):
        self.folder, self.process, self.pid = folder, None, 0
        self.group = os.path.join(cgroup_of_this() or "/nonexistent", "symphony-test-%d" % os.getpid())
        self.reason = self._why_not() or self._boot()

    def _why_not(self):
        if os.geteuid() != 0:
            return "a systemd of the tests' own takes root"
        if not os.access(self.PROGRAM, os.X_OK) or not all(
                map(shutil.which, ("nsenter", "setpriv", "journalctl"))):
            return "there is no systemd (tests/run installs Debian's)"
        return "" if cgroup_of_this() else "there is no unified hierarchy of control groups"

    def _boot(self):
        (self.folder / "box").mkdir()
        with open(str(self.folder / "booting"), "wb") as said:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", BOOT, "sh", str(self.folder), getattr(sys, "real_prefix", sys.base_prefix),
                 self.group, self.PROGRAM], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        project = Project(self.folder / "unused")
        if project.wait_until(self._is_up, 20) is not True:
            said = (self.folder / "booting").read_text(errors="replace").splitlines()
            self.stop()
            return "systemd does not start in a namespace here: %s" % (said[-1:] or ["no word"])[0]
        return ""

    def _is_up(self):
        if self.process.poll() is not None:
            return "ended"
        try:
            children = pathlib.Path("/proc/%d/task/%d/children" % ((self.process.pid,) * 2)).read_text().split()
            self.pid = int(children[0])
        except (OSError, IndexError):
            return False
        return self.call("systemctl", "is-active", "basic.target") == "active\n"

    def call(self, *argv):
        """Run a program in there: what it printed."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C"]
        clean = ["env", "-i", "HOME=/root", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        done = subprocess.run(enter + clean + list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        return done.stdout.decode("utf-8", "replace")

    def stop(self):
        if self.process is not None:
            self.process.kill()  # unshare --kill-child takes PID 1 along, and that everything
            self.process.wait()
        deadline = time.monotonic() + 10
        while os.path.isdir(self.group) and time.monotonic() < deadline:
            for folder, _, _ in os.walk(self.group, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    continue


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    if made.reason:
        pytest.skip(made.reason)
    yield made
    made.stop()


@pytest.mark.plain
def test_a_real_systemd_drives_tasks_that_outlive_the_tick_and_keeps_what_was_said(machine, tmp_path):
    project = Project(tmp_path / ("%s $HOME \\x" % ODD_NAME))
    shutil.copy(str(SCRIPT), str(project.root))
    (project.root / "scripts").mkdir(mode=0o755)
    shutil.copy(str(SCRIPTS / "symphony_timer.py"), str(project.root / "scripts"))
    inside = "/srv/out/" + project.root.name
    project.configure(
        due_once("quick", "echo \"$HOME $LOGNAME\" > quick.out; pwd >> quick.out"),
        due_once("slow", "echo $$ > slow.pid; sleep 600 & wait; echo never > slow.out"),
        due_once("killed", "kill -9 $$"))
    project.anchor()
    python = sc.interpreter()
    script = inside + "/symphony_conductor.py"
    said = machine.call(python, script, "install", "--timer")
    assert said == ("writing /etc/systemd/system/{0}.service\nwriting /etc/systemd/system/{0}.timer\n"
                    "the timer runs:     systemctl status {0}.timer\n"
                    "what it did is in:  journalctl -t {0}\n".format("symphony-conductor"))
    assert machine.call(python, script, "install", "--timer").startswith("the timer is already installed: ")
    assert machine.call("systemctl", "is-enabled", TIMER) == "enabled\n"
    trigger = machine.call("systemctl", "show", "--value", "-p", "NextElapseUSecRealtime", TIMER)
    assert re.search(r" \d\d:\d\d:00 ", trigger), trigger

    assert machine.call("systemctl", "start", SERVICE) == ""
    log = project.root / "logs" / "symphony_conductor.log"
    assert project.wait_until(lambda: "killed: run" in log.read_text() and "quick: run" in log.read_text())
    assert project.lines("quick.out") == ["/root root", inside]
    assert machine.call("systemctl", "is-active", SERVICE) == "inactive\n", "the tick is over"
    assert machine.call("systemctl", "start", SERVICE) == "", "and so may the next one be"
    assert project.state()["tasks"]["slow"]["run"], "with the task still running"
    assert (project.lines("slow.pid") and not (project.root / "slow.out").exists())

    def journal():
        machine.call("journalctl", "--sync")
        return sorted(machine.call("journalctl", "-q", "-o", "cat", "-t", "symphony-conductor").splitlines())
    # The first tick, which only takes note of the tasks, was not systemd's.
    wanted = sorted(line for line in without_times(log.read_text()).splitlines() if ": starting run " in line or (
        ": run " in line))
    assert len(wanted) == 5
    project.wait_until(lambda: journal() == wanted, 5)
    assert journal() == wanted
    status = machine.call("systemctl", "status", "--no-pager", SERVICE)
    assert "start the tasks of %s that are due" % inside in status and "supervise start" in status

    # A tick is under way when the units go: the tasks go on all the same.
    program = (project.root / "symphony_conductor.py").read_text(encoding="utf-8")
    held = "import time\nopen(__file__ + '.held', 'w').close()\ntime.sleep(2)\n"
    (project.root / "symphony_conductor.py").write_text(program.replace("import time\n", held, 1), encoding="utf-8")
    machine.call("systemctl", "start", "--no-block", SERVICE)
    assert project.wait_until((project.root / "symphony_conductor.py.held").exists)
    (project.root / "symphony_conductor.py").write_text(program, encoding="utf-8")
    said = machine.call(python, script, "uninstall", "--timer")
    assert said.startswith("removed /etc/systemd/system/symphony-conductor.service, ")
    assert machine.call("find", "/etc/systemd/system", "-name", "symphony*") == ""
    assert machine.call("systemctl", "is-active", TIMER) == "inactive\n"
    assert project.wait_until(lambda: machine.call("systemctl", "is-active", SERVICE) == "inactive\n")
    time.sleep(0.5)  # a supervisor that got a signal has told of it by then
    assert "slow: run " not in log.read_text() and not (project.root / "slow.out").exists()
