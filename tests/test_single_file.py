"""symphony_conductor.py copied alone into an empty folder: all that it promises without scripts/."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from support import FAKE_CRONTAB, SCRIPT, SCRIPTS

import symphony_conductor as sc

# As the crontab line calls it: by an import, which keeps the compiled file.
IMPORTED = ("import sys; sys.path.insert(0, %r); import symphony_conductor as c; c.command_line()")


class Alone:
    """A folder that holds the one file, and a crontab(1) on PATH that is not the machine's."""

    def __init__(self, folder):
        self.root = folder / "alone"
        self.tools = folder / "tools"
        for path in (self.root, self.tools):
            path.mkdir(mode=0o700)
        shutil.copy(str(SCRIPT), str(self.root))
        (self.tools / "crontab").write_text(FAKE_CRONTAB)
        (self.tools / "crontab").chmod(0o755)
        self.env = {"PATH": "%s:/usr/bin:/bin" % self.tools, "HOME": str(folder), "TZ": "UTC",
                    "LC_ALL": "C.UTF-8", "COLUMNS": "100"}

    def call(self, *args):
        """(exit code, stdout, stderr) of the conductor in this folder."""
        done = subprocess.run([sys.executable, "-c", IMPORTED % str(self.root)] + list(args),
                              cwd=str(self.root), env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def add_script(self, name):
        """Fetch one of the commands beside the core; its path."""
        folder = self.root / "scripts"
        folder.mkdir(mode=0o755, exist_ok=True)
        shutil.copy(str(SCRIPTS / name), str(folder))
        (folder / name).chmod(0o644)
        return folder / name


@pytest.fixture
def alone(tmp_path):
    return Alone(tmp_path)


def test_a_command_beside_it_names_every_file_that_it_needs(alone):
    alone.add_script("symphony_import_crontab.py")
    code, out, err = alone.call("import-crontab", "-")
    assert (code, out) == (69, "")
    assert "put scripts/" in err
    for name in ("crontab_switch.py", "crontab_tables.py", "crontab_commands.py"):
        assert name in err
        alone.add_script(name)
    assert alone.call("import-crontab", "-")[0] == 0


# What notes each module that no folder of the library has while the root may be searched.
NOTING = """
import sys
names = open(sys.argv.pop(1), "a")
class Noting:
    def find_spec(self, name, path=None, target=None):
        if path is None:
            print(name, file=names, flush=True)
sys.meta_path.append(Noting())
sys.path.append(".")
import symphony_conductor as c
c.command_line()
"""


def test_loading_the_file_imports_nothing_but_what_is_built_in(alone):
    """An idle tick costs what that costs, and nothing may be searched for in the folder of the project."""
    code = ("import sys; sys.path.append('.'); before = set(sys.modules); import symphony_conductor; "
            "print(*sorted(set(sys.modules) - before - set(sys.builtin_module_names)))")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=str(alone.root), stdout=subprocess.PIPE,
                          timeout=60)
    assert done.stdout == b"symphony_conductor\n"


def test_no_module_of_the_project_stands_in_for_one_of_python(alone):
    (alone.root / "config").mkdir(mode=0o700)
    (alone.root / "config/conductor_config.json").write_text(
        '{"tasks": [{"name": "a", "command": "true", "schedule": "0 5 * * *"}]}')
    decoy = "raise SystemExit('a module of the project was imported: ' + __name__)"
    for name in ("org", "json", "argparse", "datetime", "select", "subprocess", "typing", "zoneinfo"):
        (alone.root / (name + ".py")).write_text(decoy)
    noted = alone.root / "noted"
    by_import = [sys.executable, "-I", "-S", "-c", NOTING, str(noted)]
    for words in ([], ["tick"], ["check"], ["status"], ["run", "--task", "a"], ["next"], ["doctor"]):
        for start in (by_import, [sys.executable, "symphony_conductor.py"]):
            done = subprocess.run(start + words, cwd=str(alone.root), env=alone.env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            assert b"of the project" not in done.stdout and b"Traceback" not in done.stdout, done.stdout
        for name in set(noted.read_text().split()) - {"symphony_conductor"}:
            if not (alone.root / (name + ".py")).exists():
                (alone.root / (name + ".py")).write_text(decoy)


@pytest.fixture(scope="module")
def in_use(tmp_path_factory):
    """One with the starting configuration, after a tick and a run."""
    copy = Alone(tmp_path_factory.mktemp("single"))
    code, out, err = copy.call("init")
    assert (code, err) == (0, "") and out.startswith("wrote config/conductor_config.json")
    for command in (["tick"], ["run", "--task", "hello"]):
        code, out, err = copy.call(*command)
        assert (code, err) == (0, ""), command
    assert out.startswith("it works: ")
    return copy


# -- the commands of the core

@pytest.mark.parametrize("command, expected", [
    ("tick", r"\Z"),
    ("run --task disk_space --ignore-dependencies", "Filesystem .*"),
    ("status --table", r"healthy \| last tick .*"),
    ("why hello", "hello: .*"),
    ("history --task hello --limit 1", r"ENDED .*\n.* hello .*success.*"),
    ("logs hello", r"(?s)--- .*\nit works: .*\n--- .* status=success .*"),
    ("audit", r"\d+ slots, 0 unexplained, .*"),
    ("check", "config/conductor_config.json: 2 tasks, 0 problems, 0 warnings"),
    ("next --count 1", r"\w{3} \d{4}-\d\d-\d\d \d\d:\d\d \+0000  (hello|disk_space)"),
    ("explain '0 2 * * *' --count 1", r"0 2 \* \* \*: at 02:00 every day\n  .* 02:00 \+0000"),
    ("init", "config/conductor_config.json .*"),
    ("--version", r"symphony_conductor %s" % re.escape(sc.__version__)),
])
def test_each_command_of_the_core_works(in_use, command, expected):
    code, out, err = in_use.call(*shlex.split(command))
    assert (code, err) == (0, "")
    assert re.match(expected, out, re.I), out


def test_status_is_json_when_piped(in_use):
    code, out, err = in_use.call("status")
    assert (code, err) == (0, "")
    assert sorted(task["name"] for task in json.loads(out)["tasks"]) == ["disk_space", "hello"]


def test_a_pause_is_set_and_ended(in_use):
    assert in_use.call("pause", "hello") == (0, "paused hello until resumed\n", "")
    assert in_use.call("pause", "--all") == (0, "paused all tasks until resumed\n", "")
    assert in_use.call("resume", "hello") == (
        0, "resumed hello, but it is still paused by --all\n", "")
    assert in_use.call("pause", "hello")[0] == 0
    assert in_use.call("resume", "--all") == (
        0, "resumed all tasks; still paused by name: hello\n", "")
    assert in_use.call("resume", "hello") == (0, "resumed hello; slots count from now on\n", "")


def test_the_crontab_line_is_installed_and_removed_and_doctor_sees_it(in_use):
    code, out, err = in_use.call("install")
    assert (code, err) == (0, "") and out.startswith("installed the crontab line:\n* * * * * ")
    code, out, _ = in_use.call("doctor")
    assert code == 0, out
    assert re.search(r"\n10 checks: 0 problems, \d warnings?\n\Z", out)
    assert "ok       crontab: the line runs this file with " in out
    code, out, err = in_use.call("uninstall")
    assert (code, err) == (0, "") and out.startswith("removed the crontab line for ")
    code, out, err = in_use.call("doctor")
    assert (code, err) == (1, "")
    text = " ".join(out.split())
    assert re.search(r"problem crontab: \S+'s crontab has no line for this folder"
                     r"(; no tick has run yet)? try: \S+ install ", text), text


def test_a_test_notification_is_passed_to_the_command(alone):
    code, _, err = alone.call("notify-test")
    assert (code, err.count("\n")) == (78, 1)
    alone.call("init")
    code, _, err = alone.call("notify-test")
    assert (code, err.count("\n")) == (2, 1) and "no notification target is configured" in err
    path = alone.root / "config" / "conductor_config.json"
    path.write_text(path.read_text().replace(
        '"settings": {', '"settings": {"notification_command": "cat > sent.json",'))
    assert alone.call("notify-test") == (
        0, "notification_command: sent\n"
           "note: enable_notifications is false: only test messages are sent\n", "")
    assert json.loads((alone.root / "sent.json").read_text())["event"] == "test"


def test_help_lists_the_commands_and_those_that_are_missing(alone):
    code, out, err = alone.call("--help")
    assert (code, err) == (0, "")
    for name, command in sc.command_table().items():
        assert bool(re.search(r"(?m)^  %s +\w" % name, out)) == bool(command.text), name
    assert "\nCommands in scripts/, not installed here: %s.\n" % ", ".join(sc.BESIDE) in out


# -- the commands beside it

def test_the_commands_beside_the_core_are_those_of_the_checkout():
    names = [path.stem[len("symphony_"):].replace("_", "-")
             for path in SCRIPTS.glob("symphony_*.py")]
    assert sorted(names) == sorted(["conductor"] + list(sc.BESIDE))


@pytest.mark.parametrize("name", sc.BESIDE)
def test_a_command_beside_the_core_says_which_file_to_fetch(alone, name):
    code, out, err = alone.call(name, "--any", "option")
    assert (code, out, err.count("\n")) == (69, "", 1)
    assert "scripts/symphony_%s.py" % name.replace("-", "_") in err
    assert sc.__version__ in err and str(alone.root / "scripts") in err


@pytest.mark.parametrize("word, suggestion", [
    ("statsu", "did you mean 'status'?"), ("simulat", "did you mean 'simulate'?"),
    ("frobnicate", "--help"), ("../x", "--help")])
def test_an_unknown_command_is_a_usage_error_with_a_suggestion(alone, word, suggestion):
    code, out, err = alone.call(word)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "unknown command '%s'" % word in err and suggestion in err


def test_a_command_that_was_fetched_runs_and_is_listed(alone):
    alone.call("init")
    alone.add_script("symphony_simulate.py")
    code, out, err = alone.call("simulate", "--days", "1")
    assert (code, err) == (0, "") and " runs in 1 day; " in out
    out = alone.call("--help")[1]
    assert re.search(r"(?m)^  simulate +\w", out) and not re.search(r"(?m)^  diff ", out)


@pytest.mark.parametrize("name", [
    "scripts", "scripts/symphony_simulate.py", "scripts/argparse.py", "scripts/__pycache__"])
def test_what_others_can_write_to_is_refused_with_the_chmod_that_fixes_it(alone, name):
    alone.call("init")
    alone.add_script("symphony_simulate.py")
    path = alone.root / name
    if name.endswith("argparse.py"):  # which Python would import before its own
        path.write_text("raise SystemExit('not reached')\n")
    elif not path.exists():
        path.mkdir()
    path.chmod(path.stat().st_mode | 0o002)
    code, out, err = alone.call("simulate", "--days", "1")
    assert (code, out, err.count("\n")) == (78, "", 1)
    (fix,) = re.findall(r"\((chmod [^)]*)\)", err)
    subprocess.check_call(fix, shell=True)
    assert alone.call("simulate", "--days", "1")[0] == (1 if name.endswith("argparse.py") else 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_command_of_another_user_is_refused(alone):
    os.chown(str(alone.add_script("symphony_simulate.py")), 54321, -1)
    code, out, err = alone.call("simulate")
    assert (code, out, err.count("\n")) == (78, "", 1) and "belongs to another user" in err
