"""tests/run on a box that lacks things: what it installs, and the one command that it names."""

import ast
import os
import shutil
import subprocess

import pytest
from support import REPOSITORY

TOOLS = ("cat", "chmod", "cp", "dirname", "mkdir", "mktemp", "rm", "sh", "tail")
PROGRAMS = ("cron", "systemd-analyze", "ps", "strace", "dash", "busybox", "git", "zsh", "fish", "mandoc", "jq",
            "curl")

# Debian's python3 without python3-venv has the module venv, and not what it needs.
PYTHON = """#!/bin/sh
box={box}
case "$*" in
  *sys.version_info*) echo 3.11.2 ;;
  *sys.prefix*) [ ! -e "$box/debian" ] || echo /usr/bin/python3 /usr ;;
  "-m pytest"*) echo "pytest $*" ;;
  *"import ensurepip, venv"*) [ -e "$box/ensurepip" ] ;;
  "-m venv "*) [ -e "$box/ensurepip" ] || { echo 'ensurepip is not available'; exit 1; }
               mkdir -p "$3/bin" && cp "$box/environment" "$3/bin/python" ;;
  *) exit 1 ;;
esac
"""
ENVIRONMENT = """#!/bin/sh
case "$*" in
  *"import pytest, xdist"*) [ -e {box}/pytest ] ;;
  *"import hypothesis"*) [ -e {box}/hypothesis ] ;;
  *"pip install"*hypothesis*) [ ! -e {box}/offline ] && : > {box}/hypothesis ;;
  *"pip install"*) [ ! -e {box}/offline ] || { echo 'Temporary failure in name resolution'; exit 1; }
                   : > {box}/pytest ;;
  *"-m pytest"*) echo "pytest $*" ;;
  *) exit 1 ;;
esac
"""
APT = """#!/bin/sh
echo "$*" >> {box}/apt
[ ! -e {box}/broken ] || { echo 'Reading package lists...'; echo 'E: no such mirror'; exit 100; }
[ "$1" = update ] || : > {box}/ensurepip
"""
FIRST = "tests/run: all tests take about 3 minutes on two cores\n"


class Box:
    """A checkout, and a PATH on which only stand-ins decide what there is."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        for name in PROGRAMS:
            self.program(name, "#!/bin/sh\n")
        self.program("python3", PYTHON)
        self.program("apt-get", APT)
        self.write("environment", ENVIRONMENT)
        (folder / "checkout" / "tests").mkdir(parents=True)
        shutil.copy(str(REPOSITORY / "tests" / "run"), str(folder / "checkout" / "tests"))

    def program(self, name, text):
        self.write("bin/" + name, text)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text.replace("{box}", str(self.folder)))
        path.chmod(0o755)

    def lose(self, *names):
        for name in names:
            (self.bin / name).unlink()

    def run(self, *arguments, **more):
        """tests/run as a user, or as root: (exit code, stdout, stderr)."""
        self.program("id", "#!/bin/sh\necho %d\n" % more.get("uid", 1000))
        done = subprocess.run(
            [str(self.folder / "checkout" / "tests" / "run")] + list(arguments),
            env={"PATH": str(self.bin), "HOME": str(self.folder), "TMPDIR": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def installed(self):
        path = self.folder / "apt"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


INSTALL = "apt-get install -y --no-install-recommends"
ONE_COMMAND = "to install: sudo apt-get update && sudo " + INSTALL


def test_a_user_without_python3_venv_is_told_the_one_command(box):
    assert box.run() == (
        69,
        FIRST,
        "tests/run: no test can run: missing python3-venv; %s python3-venv\n" % ONE_COMMAND,
    )
    assert box.installed() == []


def test_the_one_command_has_everything_that_is_missing(box):
    box.lose("python3", "strace", "git", "systemd-analyze")
    assert box.run()[2] == (
        "tests/run: no test can run: missing python3 python3-venv; "
        "%s python3 python3-venv systemd strace git\n" % ONE_COMMAND
    )


def test_root_gets_what_is_missing_installed(box):
    code, out, err = box.run("-k", "L", uid=0)
    assert (code, err) == (0, "")
    assert out.startswith(
        FIRST + "tests/run: installing python3-venv\ntests/run: Python 3.11.2\npytest "
    )
    assert box.installed() == ["update", "install -y --no-install-recommends python3-venv"]


def test_root_is_told_why_nothing_could_be_installed(box):
    box.write("broken", "")
    assert box.run(uid=0)[::2] == (
        69,
        "tests/run: no test can run: missing python3-venv; E: no such mirror\n",
    )


def test_what_only_some_tests_need_holds_up_nobody(box):
    box.write("ensurepip", "")
    box.lose("busybox")
    code, out, err = box.run()
    assert (code, err) == (0, "")
    assert out.startswith(
        FIRST + "tests/run: some tests will be skipped: missing busybox; "
        "%s busybox\ntests/run: Python 3.11.2\npytest " % ONE_COMMAND
    )


def test_an_environment_that_is_here_already_needs_no_python3_venv(box):
    box.write("ensurepip", "")
    assert box.run()[0] == 0
    os.unlink(str(box.folder / "ensurepip"))
    assert box.run()[0] == 0


def test_an_environment_of_before_gets_hypothesis_if_it_can_be_had(box):
    box.write("ensurepip", "")
    assert box.run()[0] == 0
    for offline, said in ((False, ""), (True, "tests/run: without hypothesis, which cannot be installed\n")):
        (box.folder / "hypothesis").unlink()
        if offline:
            box.write("offline", "")
        code, out, err = box.run()
        assert (code, err) == (0, "")
        assert out.startswith(FIRST + said + "tests/run: Python 3.11.2\n")
        assert (box.folder / "hypothesis").exists() is not offline


def test_fuzz_makes_inputs_with_the_python_that_runs_the_tests(box):
    box.program("python3", "#!/bin/sh\necho \"$@\"\n")
    assert box.run("--fuzz", "60", "state") == (
        0, "%s/checkout/tests/fuzz.py 60 state\n" % box.folder, "")


def test_no_network_is_said_as_pip_says_it(box):
    box.write("ensurepip", "")
    box.write("offline", "")
    assert box.run()[::2] == (
        69,
        "Temporary failure in name resolution\ntests/run: cannot install pytest; install it "
        "for python3 by hand\n",
    )


def test_without_a_package_index_debian_has_pytest_as_well(box):
    for name in ("ensurepip", "offline", "debian"):
        box.write(name, "")
    assert box.run()[::2] == (
        69,
        "Temporary failure in name resolution\ntests/run: cannot install pytest; to install "
        "Debian's: sudo apt-get install python3-pytest python3-pytest-xdist python3-hypothesis\n",
    )
    code, out, err = box.run(uid=0)
    assert (code, err) == (0, "Temporary failure in name resolution\n")
    packages = "python3-pytest python3-pytest-xdist python3-hypothesis"
    assert "tests/run: installing %s\ntests/run: Python 3.11.2\n" % packages in out
    assert box.installed() == ["install -y --no-install-recommends " + packages]


def test_another_system_than_debian_is_not_told_of_apt(box):
    box.lose("apt-get")
    assert box.run()[2] == (
        "tests/run: no test can run: missing python3-venv; install them with this system's package "
        "manager\n"
    )


def test_one_file_of_tests_is_not_said_to_take_minutes(box):
    box.write("ensurepip", "")
    assert box.run("tests/run")[1].startswith("tests/run: Python 3.11.2\n")


NEWER = """#!/bin/sh
case "$*" in
  *sys.implementation*) exit 0 ;;
  *cover.py*) echo "python3.11 $*" ;;
  *) exec {box}/bin/python3 "$@" ;;
esac
"""


def test_branches_are_measured_by_the_first_python_that_can(box):
    box.program("python3.11", NEWER)
    cover = "python3.11 %s/checkout/tests/cover.py" % box.folder
    assert box.run("--coverage") == (0, cover + "\n", "")
    assert box.run("--coverage", "--all", "-k", "x") == (0, cover + " --all -k x\n", "")


def test_without_a_python_that_can_measure_it_is_said(box):
    assert box.run("--coverage") == (
        69, "", "tests/run: branches are not measured: no Python 3.11 or newer found\n")


def test_under_all_pythons_nothing_is_measured(box):
    box.write("ensurepip", "")
    box.program("python3.11", NEWER)
    box.program("python3.12", NEWER)
    code, out, err = box.run("--all-pythons")
    assert (code, err) == (0, "")
    assert (out.count("cover.py"), out.count("pytest -m pytest")) == (0, 2)
    assert out.endswith("tests/run: passed under 3.11 3.12\n")


# -- the files of the tests

def imported(path):
    """The modules that a file imports, at its head or within a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def test_no_test_module_imports_from_a_test_module():
    """What several share is in support.py and stories.py: pytest would run an imported test twice."""
    folder = REPOSITORY / "tests"
    tests = {path.stem for path in folder.glob("test_*.py")}
    assert "test_run" in tests
    assert "support" in imported(folder / "conftest.py")
    assert {path.name: imported(path) & tests for path in folder.glob("*.py")
            if imported(path) & tests} == {}
