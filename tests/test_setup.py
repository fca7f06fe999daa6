"""setup.sh: on a box with next to nothing, for every user, with any Python, any crontab and any cron.

Three kinds of boxes. A `Box` is a folder with a PATH of its own, on which only stand-ins decide what there is; every
user can run those tests. A `Bare` root is a chroot in namespaces of its own, with users, a spool and a cron daemon
that are real. `in_namespace` hides this machine's processes and services from one call.
"""

import glob
import hashlib
import json
import os
import pathlib
import platform
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys

import pytest
from support import NAMESPACE, ODD_NAME, REPOSITORY, SCRIPT, Project, every_minute, git

import symphony_conductor as sc
from tree import OWN_NAME, QUARANTINE_NAME

BASE = os.path.realpath(sys.executable)  # the interpreter below the tests' virtual environment
VERSION = platform.python_version()
TOOLS = ("cat", "chmod", "dirname", "env", "grep", "head", "mkdir", "sed", "sh", "tail")  # all that setup.sh may need
SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}
PRODUCT = ("setup.sh", "symphony_conductor.py", "config", "cron", "scripts", "README.md")
FOLDERS = ("config/tasks.d", "logs/automation", "status/automation_health", "status/history")
NEIGHBOURS = "# mine\nMAILTO=me\n\n\t5 4 * * *  other %job\n# BEGIN other-tool\n1 2 3 4 5 x\n# END other-tool\n"
DOCUMENT = """\
{
  // as somebody wrote it
  "tasks": [{"name": "yearly", "command": "true", "schedule": "0 0 1 1 *"}]
}
"""

# A crontab(1) with its table beside it; the files `refuse-list`, `refuse-write`, `warn` and `drop` make it misbehave.
CRONTAB = """#!/bin/sh
here=$(dirname "$0")
[ ! -e "$here/warn" ] || echo 'crontab: warning: the spool is nearly full' >&2
case $1 in
  -l) [ ! -e "$here/refuse-list" ] || { echo 'crontab: cannot open the spool' >&2; exit 1; }
      [ -e "$here/table" ] || { echo 'no crontab for alice' >&2; exit 1; }
      cat "$here/table" ;;
  -) [ ! -e "$here/refuse-write" ] || { echo 'crontab: no space left' >&2; exit 1; }
     if [ -e "$here/drop" ]; then sed '$d' > "$here/table"; else cat > "$here/table"; fi ;;
esac
"""

# A Python that takes itself for another version, in whatever it is asked with -c.
PRETENDER = """#!/bin/sh
[ "$1" != -V ] || {{ echo "Python {version}"; exit 0; }}
previous=
for argument do
    shift
    word=$argument
    [ "$previous" != -c ] || word="import sys
sys.version_info, sys.version, sys.executable = ({numbers}, 'final', 0), '{version}', '{path}'
{more}
$argument"
    set -- "$@" "$word"
    previous=$argument
done
exec {base} "$@"
"""

PYTHON_2 = """#!/bin/sh
case $1 in
  -V) echo 'Python 2.7.18' >&2 ;;
  *) echo 'Unknown option: -I' >&2; exit 2 ;;
esac
"""


# Answers what setup.sh asks of a Python, and says what the conductor was called for.
STAND_IN = """#!/bin/sh
case $* in
  *'/setup_steps.py first-task'*) ;;
  *'/setup_steps.py '*) while [ $# -gt 1 ] && [ "$1" != {root}/scripts/setup_steps.py ]; do shift; done
                        shift; echo "steps: $*" ;;
  *'%d%03d%03d'*) echo 3011007 ;;
  *sys.version.split*) echo 3.11.7 ;;
  *'c.interpreter()'*) echo "$0" ;;
  *'c.command_line()'*) while [ $# -gt 1 ] && [ "$1" != {root} ]; do shift; done; shift; echo "conductor: $*" ;;
  *) exit 64 ;;
esac
"""


def executable(path, text):
    if path.is_symlink():
        path.unlink()  # never write through one: what it points to is this machine's
    path.write_text(text)
    path.chmod(0o755)


def pretender(path, version, more=""):
    executable(path, PRETENDER.format(version=version, numbers=version.replace(".", ", "), path=path, more=more,
                                      base=shlex.quote(BASE)))


def snapshot(*folders):
    """Everything below the folders: mode, time and content of each file, and where each link goes."""
    found = {}
    for folder in folders:
        for place, names, files in os.walk(str(folder)):
            for name in [""] + names + files:
                path = os.path.join(place, name)
                status = os.lstat(path)
                content = b""
                if stat.S_ISLNK(status.st_mode):
                    content = os.fsencode(os.readlink(path))
                elif stat.S_ISREG(status.st_mode):
                    content = hashlib.sha256(pathlib.Path(path).read_bytes()).digest()
                found[path] = (status.st_mode, status.st_mtime_ns, content)
    return found


class Box:
    """A box of which PATH has nothing but a handful of tools and stand-ins, and a copy of the product."""

    def __init__(self, folder, user="alice"):
        self.folder = folder
        self.home = folder / "home"
        self.tools = folder / "tools"
        self.root = folder / "project"
        for made in (self.home, self.tools, self.root):
            made.mkdir(mode=0o755)
        self.root.chmod(0o700)
        for name in PRODUCT:
            if (REPOSITORY / name).is_dir():
                shutil.copytree(str(REPOSITORY / name), str(self.root / name),
                                ignore=shutil.ignore_patterns("__pycache__", "tasks.d"))
            else:
                shutil.copy2(str(REPOSITORY / name), str(self.root))
        self.compiled = self.root / "__pycache__"
        self.compiled.mkdir(mode=0o755)
        shutil.copy(sc.__cached__, str(self.compiled))  # as after a first use: to compile takes longer than all else
        for name in TOOLS:
            (self.tools / name).symlink_to(shutil.which(name))
        (self.tools / "python3").symlink_to(BASE)
        self.table = self.tools / "table"
        self.log = folder / "log"
        executable(self.tools / "crontab", CRONTAB)
        executable(self.tools / "uname", "#!/bin/sh\necho FreeBSD\n")  # there, ps tells whether a daemon runs
        executable(self.tools / "ps", "#!/bin/sh\necho '/usr/sbin/cron'\n")
        self.be(user)

    def be(self, user):
        """The user that id(1) tells of; not to be confused with the one that runs the tests."""
        executable(self.tools / "id", "#!/bin/sh\ncase $1 in\n-un) echo %s ;;\n-u) echo %d ;;\nesac\n" % (
            user, 0 if user == "root" else 1000))

    def logged(self, name, then=":"):
        """A stand-in that notes how it was called, and does something."""
        executable(self.tools / name, "#!/bin/sh\nprintf '%%s\\n' \"%s $*\" >> %s\n%s\n" % (name, self.log, then))

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def without_crontab(self):
        (self.tools / "crontab").rename(self.folder / "crontab.away")
        return "cp %s %s" % (shlex.quote(shutil.which("true")), self.tools / "crontab")

    def without_daemon(self):
        executable(self.tools / "ps", "#!/bin/sh\necho '/sbin/init'\necho '/usr/bin/crontab'\n")

    def without_compiled(self):
        shutil.rmtree(str(self.compiled))

    def without_python(self):
        (self.tools / "python3").unlink()

    def with_stand_in(self):
        """For what the shell decides: neither Python nor the conductor is started."""
        executable(self.tools / "python3", STAND_IN.replace("{root}", str(self.root)))

    def env(self, **more):
        return dict({"PATH": str(self.tools), "HOME": str(self.home), "LC_ALL": "C"}, **more)

    def run(self, *arguments, **more):
        """Run setup.sh: (exit code, stdout, stderr)."""
        return self.call([str(self.root / "setup.sh")] + list(arguments), **more)

    def call(self, argv, feed="", cwd=None, umask=0o022, **env):
        done = subprocess.run(argv, input=feed.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              cwd=str(cwd or self.folder), env=self.env(**env), preexec_fn=lambda: os.umask(umask))
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def conductor(self, *arguments, **more):
        return self.call([BASE, str(self.root / "symphony_conductor.py")] + list(arguments), **more)

    def snapshot(self):
        return snapshot(self.folder)

    def crontab_line(self):
        lines = self.table.read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("* * * * * "))

    def configure(self, text):
        path = self.root / "config" / "conductor_config.json"
        path.write_text(text)
        path.chmod(0o600)


@pytest.fixture
def box(tmp_path):
    folder = tmp_path / "box"
    folder.mkdir()
    made = Box(folder)
    made.configure(DOCUMENT)
    return made


# -- what it says and does

@pytest.mark.plain
def test_the_setup_says_each_step_and_installs_the_line(box):
    box.table.write_text(NEIGHBOURS)
    code, out, err = box.run()
    line = ("* * * * * cd {root} && {{ [ -d logs ] || mkdir -m 700 logs; }} && exec {tools}/python3 -I -S -c "
            "'import sys; sys.path.append(\".\"); import symphony_conductor as c; c.command_line()' tick "
            ">>logs/conductor_cron.log 2>&1").format(root=box.root, tools=box.tools)
    assert (code, err) == (0, "")
    assert out == """\
Python: {tools}/python3 ({version})
config/conductor_config.json: 1 task, 0 problems, 0 warnings
crontab: {tools}/crontab
cron: running
folder config/tasks.d: created
folder logs/automation: created
folder status/automation_health: created
folder status/history: created
installed the crontab line:
{line}

{status}

cron now runs the conductor every minute.
  run a task:    {root}/symphony_conductor.py run NAME
  upcoming runs: {root}/symphony_conductor.py next
  status:        {root}/symphony_conductor.py status
  uninstall:     {root}/setup.sh --uninstall
""".format(tools=box.tools, root=box.root, version=VERSION, line=line,
           status=re.search(r"(?m)^healthy \| last tick .*\n\nTASK .*\nyearly .*$", out).group(0))
    assert box.table.read_text() == NEIGHBOURS + "# BEGIN symphony-conductor {0}\n{1}\n# END {2} {0}\n".format(
        box.root, line, "symphony-conductor")


def test_running_it_again_changes_neither_the_crontab_nor_the_configuration(box):
    box.table.write_text(NEIGHBOURS)
    assert box.run()[0] == 0
    before, table = snapshot(box.root / "config", box.root / "scripts"), box.table.read_bytes()
    code, out, err = box.run()
    assert (code, err) == (0, "")
    assert "\nfolder config/tasks.d: exists\nfolder logs/automation: exists\n" in out
    assert "\nthe crontab line is already installed:\n* * * * * cd " in out and ": created\n" not in out
    assert snapshot(box.root / "config", box.root / "scripts") == before
    assert box.table.read_bytes() == table
    assert (box.root / "config" / "conductor_config.json").read_text() == DOCUMENT


@pytest.mark.parametrize("table", [None, "", NEIGHBOURS])
def test_uninstalling_leaves_the_crontab_as_it_was(box, table):
    if table is not None:
        box.table.write_text(table)
    assert box.run()[0] == 0
    config = snapshot(box.root / "config")
    assert box.run("--uninstall") == (
        0, "removed the crontab line for %s\nconfiguration, state and logs stay\n" % box.root, "")
    assert box.table.read_text() == (table or "")
    assert (box.root / "conductor_state.json").exists() and snapshot(box.root / "config") == config
    assert box.run("--uninstall") == (
        0, "there is no crontab line for %s\nconfiguration, state and logs stay\n" % box.root, "")


def test_without_a_configuration_one_to_start_from_is_written(box):
    shutil.rmtree(str(box.root / "config"))
    code, out, err = box.run()
    assert (code, err) == (0, "")
    assert "\nwrote config/conductor_config.json, with two tasks as examples. Next steps:\n" in out
    assert "\nconfig/conductor_config.json: 2 tasks, 0 problems, 0 warnings\n" in out
    assert "\nrunning the task hello:\n" in out and "\nit works:" in out
    assert stat.S_IMODE((box.root / "config").stat().st_mode) == 0o700
    assert stat.S_IMODE((box.root / "config" / "conductor_config.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077, 0o277])
def test_folders_are_made_for_the_owner_alone_whatever_the_umask(box, umask):
    box.without_compiled()
    code, _, err = box.run(umask=umask)
    assert (code, err) == (0, "")
    for name in FOLDERS + ("logs", "status"):
        assert stat.S_IMODE((box.root / name).stat().st_mode) == 0o700, name
    for path in box.root.glob("logs/*.log"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_scripts_that_lost_their_x_bit_become_executable_for_the_owner(box):
    for path in list(box.root.glob("scripts/*")) + [box.root / "symphony_conductor.py"]:
        path.chmod(0o644)
    out = box.run()[1]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in box.root.glob("scripts/*")}
    assert (modes["cleanup_engine.py"], modes["quick_health_check.sh"], modes["common.py"]) == (0o744, 0o744, 0o644)
    assert stat.S_IMODE((box.root / "symphony_conductor.py").stat().st_mode) == 0o744
    assert "\nmade executable: symphony_conductor.py\n" in out
    assert "\nmade executable: scripts/cleanup_engine.py\n" in out
    assert "common.py" not in out
    assert "executable: " not in box.run()[1]


@pytest.mark.parametrize("text, complaint", [
    ('{"tasks": [', "config/conductor_config.json: line 1 column 12: not valid JSON: the '['"),
    ('{"tasks": [{"name": "a", "command": "true", "shedule": "@daily"}]}', "unknown key 'shedule'"),
    (None, "config/conductor_config.json: others can write to it (chmod go-w "),
])
def test_a_bad_configuration_is_said_and_no_line_is_installed(box, text, complaint):
    if text is None:
        (box.root / "config" / "conductor_config.json").chmod(0o666)
    else:
        box.configure(text)
    box.table.write_text(NEIGHBOURS)
    code, _, err = box.run()
    assert code == 78
    first, last = err.splitlines()
    assert complaint in first and last == "setup.sh: fix the configuration, then run setup.sh again"
    assert box.table.read_text() == NEIGHBOURS
    assert not (box.root / "status" / "heartbeat").exists() and not (box.root / "conductor_state.json").exists()


def with_health_check(box, exits, **more):
    box.configure(json.dumps({"tasks": [every_minute("check_up", "./scripts/quick_health_check.sh",
                                                     schedule="0 0 1 1 *", **more)]}))
    executable(box.root / "scripts" / "quick_health_check.sh", "#!/bin/sh\necho checked\nexit %d\n" % exits)


def test_it_ends_with_a_task_that_has_run(box):
    with_health_check(box, 0)
    code, out, err = box.run()
    assert (code, err) == (0, "")
    assert re.search(r"\n\nrunning the task check_up:\nchecked\n\nhealthy \|[^\n]*\n\n[^\n]*\n"
                     r"check_up  idle   success [0-9]s ago, ", out), out


def test_the_closing_table_is_not_cut_and_its_commands_work_from_anywhere(box):
    name = "a_name_of_the_length_that_people_give"
    box.configure(json.dumps({"tasks": [{"name": name, "command": "true", "schedule": "17 5 1 * *"}]}))
    code, out, _ = box.run(COLUMNS="60")
    assert code == 0 and re.search(r"(?m)^%s .* at 05:17 on the 1st of [a-z ]+$" % name, out), out
    assert "\n  uninstall:     %s/setup.sh --uninstall\n" % box.root in out
    assert box.call(["sh", "-c", re.search("(?m)^  uninstall: (.*)$", out).group(1)], cwd="/")[0] == 0


def test_a_first_task_that_fails_is_said_and_the_line_stays(box):
    with_health_check(box, 2)
    code, out, err = box.run()
    assert code == 1 and "\ninstalled the crontab line:\n" in out and "\nchecked\n" in out
    assert "\nNOT healthy: 1 problem " in out and "\nhealthy" not in out
    assert err == ("setup.sh: the task check_up failed (exit 2)\n"
                   "setup.sh: installed, but not all is well: see above\n")


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_first_tick_that_fails_is_said_last(box, is_hidden):
    (box.root / "conductor_state.json").write_text('{"version": 99}')
    (box.root / "conductor_state.json").chmod(0o600)
    if is_hidden:
        executable(box.tools / "ps", "#!/bin/sh\necho 'sh'\n")
    code, out, err = box.run()
    assert code == 78 and "\ninstalled the crontab line:\n" in out and "now runs" not in out
    assert "\n\nThe crontab line is installed, but its first tick failed (exit 78): see above.\n  run a task:" in out
    assert "by a later version" in err


def test_a_disabled_task_is_not_run(box):
    with_health_check(box, 0, enabled=False)
    code, out, err = box.run()
    assert (code, err) == (0, "") and "running the task" not in out


def test_no_task_of_ones_own_is_run(box):
    assert "running the task" not in box.run()[1]
    assert not (box.root / "logs" / "automation" / "yearly.log").exists()


@pytest.fixture
def foreign(box):
    """A folder that belongs to somebody else than root, who calls."""
    if os.geteuid() != 0:
        pytest.skip("to give a folder away takes root")
    box.be("root")
    assert box.run()[0] == 0

    def give_to(uid):
        for path in [box.root] + list(box.root.rglob("*")):
            os.chown(str(path), uid, uid, follow_symlinks=False)
    box.give_to = give_to
    return box


@pytest.mark.parametrize("arguments", [("--uninstall", "--purge"), ("--uninstall", "--purge", "--timer")])
def test_root_does_not_uninstall_in_the_folder_of_somebody_else(foreign, arguments):
    """The line is in the crontab of its owner, so that only the files would go."""
    foreign.give_to(pwd.getpwnam("nobody").pw_uid)
    before = foreign.snapshot()
    words = " ".join(word for word in arguments if word != "--purge")
    assert foreign.run(*arguments, feed="yes\n") == (
        2, "", "setup.sh: you are root, and %s belongs to nobody (for its owner: ./setup.sh %s --user nobody)\n"
        % (foreign.root, words))
    assert foreign.snapshot() == before


@pytest.mark.parametrize("arguments", [(), ("--uninstall",)])
def test_root_is_not_sent_to_a_user_that_has_no_name(foreign, arguments):
    foreign.give_to(54799)
    assert foreign.run(*arguments) == (
        2, "", "setup.sh: you are root, and {0} belongs to user ID 54799, which has no name here (to give it one: "
               "useradd -u 54799 NAME; to make it yours: chown -R root {0})\n".format(foreign.root))


# -- what is in the way is said before anything is written

@pytest.mark.parametrize("link, complaint", [
    ("logs", "{root}/logs is a link, and nothing is created through one (mkdir -p {root}/logs/automation)"),
    ("status", "{root}/status is a link, and nothing is created through one "
               "(mkdir -p {root}/status/automation_health)"),
    ("config/tasks.d", "{root}/config/tasks.d is a link, and nothing is created through one "
                       "(mkdir -p {root}/config/tasks.d)"),
])
def test_nothing_is_created_through_a_link(box, link, complaint):
    target = box.home / "elsewhere"
    if "/" not in link:
        target.mkdir()
    (box.root / link).symlink_to(target)
    before = box.snapshot()
    assert box.run() == (2, "", "setup.sh: %s\n" % complaint.format(root=box.root))
    assert box.snapshot() == before


def test_a_link_to_a_folder_that_has_all_is_left_as_it_is(box):
    (box.home / "elsewhere" / "automation").mkdir(parents=True)
    (box.root / "logs").symlink_to(box.home / "elsewhere")
    code, out, err = box.run()
    assert (code, err) == (0, "") and "\nfolder logs/automation: exists\n" in out


def test_a_file_in_the_way_of_a_folder_is_said(box):
    (box.root / "status").write_text("")
    before = box.snapshot()
    assert box.run() == (
        2, "", "setup.sh: %s/status is in the way: it has to be a folder (move it away)\n" % box.root)
    assert box.snapshot() == before


def test_a_folder_that_others_may_write_to_is_said_before_anything_is_written(box):
    (box.root / "logs").mkdir()
    (box.root / "logs").chmod(0o777)
    before = box.snapshot()
    assert box.run() == (
        78, "", "setup.sh: logs: others can write to it (chmod go-w {0}/logs)\n".format(box.root))
    assert box.snapshot() == before


@pytest.mark.parametrize("arguments", [(), ("--timer",), ("--uninstall",)])
def test_a_user_without_a_name_gets_a_sentence(box, arguments):
    """Containers start with any UID. Vixie cron's crontab(1) refuses one without a passwd entry as well."""
    executable(box.tools / "id", "#!/bin/sh\n[ \"$1\" = -u ] && echo 4321 && exit\n"
                                 "echo \"id: cannot find name for user ID 4321\" >&2\necho 4321\nexit 1\n")
    before = box.snapshot()
    assert box.run(*arguments) == (
        69, "", "setup.sh: user ID 4321 has no name here (no entry in /etc/passwd), so cron cannot run its tasks; "
                "add the user (useradd -u 4321 NAME), or run the tick by other means: cron/README.md, Containers\n")
    assert box.snapshot() == before


# -- how it is called

@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_every_shell_sets_it_up_alike(box, shell):
    found = shutil.which(SHELLS[shell][0])
    if not found:
        pytest.skip("%s is not here" % shell)
    words = [found] + list(SHELLS[shell][1:])
    script = str(box.root / "setup.sh")
    dry, usual = box.call(words + [script, "--dry-run"]), box.run("--dry-run")
    assert dry == usual and dry[0] == 0
    code, out, err = box.call(words + [script])
    assert (code, err) == (0, "") and "\ninstalled the crontab line:\n" in out
    assert box.call(words + [script, "--uninstall", "--purge"], feed="yes\n")[0] == 0
    assert box.table.read_text() == "" and not (box.root / "logs").exists()


def test_it_works_from_any_folder_and_through_a_relative_path(box):
    expected = box.run("--dry-run")
    assert expected[0] == 0
    for cwd, name in ((box.root, "./setup.sh"), (box.folder, "project/setup.sh"), (box.home, "../project/setup.sh")):
        assert box.call([name, "--dry-run"], cwd=cwd, CDPATH=str(box.folder)) == expected
    assert box.call(["sh", "setup.sh", "--dry-run"], cwd=box.root) == expected


def test_the_old_name_does_the_same(box):
    old = str(box.root / "scripts" / "setup_symphony_conductor.sh")
    assert box.call([old, "--dry-run"]) == box.run("--dry-run")
    assert box.call(["sh", "scripts/setup_symphony_conductor.sh"], cwd=box.root)[0] == 0
    assert box.run("--uninstall", "--dry-run") == box.call([old, "--uninstall", "--dry-run"])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_works_in_a_folder_with_an_odd_name_whatever_the_locale(box, encoding):
    """Under LC_ALL=C, Python 3.6 takes names for ASCII, and later ones for UTF-8 unless they are told not to."""
    env = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"} if encoding == "ascii" else {}
    odd = box.folder / ODD_NAME
    box.root.rename(odd)
    code, out, err = box.call([str(odd / "setup.sh")], **env)
    assert (code, err) == (0, "") and "\ninstalled the crontab line:\n" in out
    table = box.table.read_bytes()
    assert "# BEGIN symphony-conductor {0}\n".format(odd).encode() in table
    assert box.call([str(odd / "setup.sh")], **env)[0] == 0 and box.table.read_bytes() == table
    command = box.crontab_line().split(None, 5)[5]
    (odd / "status" / "heartbeat").unlink()
    assert box.call(["sh", "-c", command]) == (0, "", "")
    assert (odd / "status" / "heartbeat").exists()
    assert box.call([str(odd / "setup.sh"), "--uninstall"], **env)[0] == 0
    assert box.table.read_bytes() == b""


@pytest.mark.parametrize("arguments, complaint", [
    (("--purge",), "setup.sh: --purge requires --uninstall"),
    (("--user",), "setup.sh: --user requires a name"),
    (("--user", ""), "setup.sh: --user requires a name"),
    (("--user=",), "setup.sh: --user requires a name"),
    (("--user", "bob"), "setup.sh: --user: only root can do this for 'bob' (use sudo)"),
    (("--user=root", "--uninstall"), "setup.sh: --user: only root can do this for 'root' (use sudo)"),
    (("--frobnicate",), "setup.sh: unknown option '--frobnicate'"),
    (("now",), "setup.sh: unknown option 'now'"),
])
def test_a_call_that_makes_no_sense_is_refused_and_changes_nothing(box, arguments, complaint):
    box.without_compiled()
    before = box.snapshot()
    code, out, err = box.run(*arguments)
    assert (code, out, err.splitlines()[-1]) == (2, "", complaint)
    assert box.snapshot() == before


def test_help_tells_of_every_option(box):
    code, out, err = box.run("--help")
    assert (code, err) == (0, "")
    for option in ("--user NAME", "--timer", "--dry-run", "--uninstall", "--purge", "PYTHON"):
        assert "\n  %s " % option in out or "\n%s " % option in out


def test_root_is_told_of_a_user_that_is_not_there(box):
    box.be("root")
    box.without_compiled()
    before = box.snapshot()
    code, _, err = box.run("--user", "no-such-user")
    assert (code, err) == (2, "setup.sh: --user: there is no user 'no-such-user' here\n")
    assert box.snapshot() == before


def test_nothing_is_installed_for_a_user_that_is_not_there(box):
    box.be("root")
    box.without_crontab()
    box.logged("apk")
    code, _, err = box.run("--user", "no-such-user")
    assert (code, err) == (2, "setup.sh: --user: there is no user 'no-such-user' here\n")
    assert box.calls() == []


def test_root_is_warned_and_goes_on(box):
    box.be("root")
    code, out, err = box.run()
    assert (code, err) == (0, "")
    assert "\nnote: you are root; the tasks will run as root\n" in out and "\ninstalled the crontab line:\n" in out


def test_a_file_without_the_conductor_beside_it_is_refused(box):
    (box.root / "symphony_conductor.py").unlink()
    assert box.run() == (2, "", "setup.sh: symphony_conductor.py not found beside setup.sh in %s\n" % box.root)


def test_a_root_in_the_environment_does_not_lead_to_another_project(box):
    other = Project(box.folder / "other")
    other.configure(every_minute("theirs", schedule="0 0 1 1 *"))
    other.tick()
    before = snapshot(other.root)
    assert box.run(SYMPHONY_ROOT=str(other.root))[0] == 0
    assert "# BEGIN symphony-conductor %s\n" % box.root in box.table.read_text()
    box.run("--uninstall", "--purge", feed="yes\n", SYMPHONY_ROOT=str(other.root))
    assert snapshot(other.root) == before


# -- Python

def old_python(version, box):
    """Put the only Python of the box there: a real one where there is one, otherwise one that answers like it."""
    box.without_python()
    real = _python_named("2.7") if version == "2.7" else None
    if real:
        for name in ("python", "python2"):
            (box.tools / name).symlink_to(real)
    elif version == "2.7":
        executable(box.tools / "python", PYTHON_2)
        executable(box.tools / "python2", PYTHON_2)
    else:
        pretender(box.tools / "python3", version)


def _python_named(version):
    folder = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    names = [shutil.which("python" + version)] + sorted(
        glob.glob("%s/versions/%s.*/bin/python%s" % (folder, version, version)))
    for name in names:
        if name and subprocess.call([name, "-c", "pass"], stderr=subprocess.DEVNULL) == 0:
            return os.path.realpath(name)
    return None


def no_platform_python():
    if os.path.exists("/usr/libexec/platform-python"):
        pytest.skip("this system has a Python beside PATH")


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--uninstall",)])
@pytest.mark.parametrize("version", ["2.7", "3.5.10"])
def test_an_old_python_gives_one_clear_sentence(box, version, arguments):
    no_platform_python()
    old_python(version, box)
    box.without_compiled()
    before = box.snapshot()
    code, out, err = box.run(*arguments)
    assert (code, out) == (69, "")
    assert re.match(r"setup\.sh: Python 3\.6 or newer is required, but Python %s[.0-9]* was found; "
                    r"install python3, then run setup\.sh again\n\Z" % re.escape(version), err), err
    assert box.snapshot() == before


def test_a_box_without_any_python_is_told_so(box):
    no_platform_python()
    box.without_python()
    assert box.run() == (69, "", "setup.sh: Python 3.6 or newer is required, but no Python was found; "
                                 "install python3, then run setup.sh again\n")


def test_a_new_python_that_lacks_modules_is_not_called_too_old(box):
    no_platform_python()
    box.without_python()
    pretender(box.tools / "python3", "3.11.2", "sys.modules['json'] = None")
    code, out, err = box.run()
    assert (code, out, len(err.splitlines())) == (69, "", 1)
    assert "lacks the module json" in err and "was found" not in err


def test_python_3_6_is_enough(tmp_path):
    python = _python_named("3.6")
    if not python:
        pytest.skip("there is no Python 3.6 here")
    project = Project(tmp_path / "project")
    shutil.copy(str(SCRIPT), str(project.root))
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    done = subprocess.run([python, str(project.root / SCRIPT.name), "tick"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"") and (project.root / "status" / "heartbeat").exists()


def test_the_newest_python_that_works_is_taken(box):
    other = box.folder / "other tools"
    other.mkdir()
    box.without_python()
    pretender(box.tools / "python3", "3.8.1")
    pretender(box.tools / "python3.9", "3.9.30")
    pretender(other / "python3", "3.10.2")
    pretender(other / "python3.10", "3.10.12")
    pretender(other / "python", "2.9.9")
    executable(box.tools / "python3.14", "#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2\nexit 127\n")
    executable(box.tools / "python3.15", "#!/bin/sh\nkill -SEGV $$\n")
    executable(box.tools / "python3.16", "#!/no/such/interpreter\n")
    pretender(box.tools / "python3.17", "3.17.0", "sys.modules['json'] = None")
    pretender(box.tools / "python3.18", "3.18.0", "sys.modules['fcntl'] = None")
    (box.tools / "python3.19").mkdir()
    (box.tools / "python3.20").symlink_to("nowhere")
    pretender(box.tools / "python3.21", "3.21.0")
    (box.tools / "python3.21").chmod(0o644)
    code, out, err = box.run("--dry-run", PATH="%s:/no/such/folder:%s" % (box.tools, other))
    assert (code, err) == (0, "")
    assert "Python: %s/python3.10 (3.10.12)\n" % other in out


@pytest.mark.parametrize("oddity", ["cat > /dev/null; exit 1", "echo 'Loading modules ...'"])
def test_a_program_that_is_only_called_python_is_passed_over(box, oddity):
    executable(box.tools / "python3", "#!/bin/sh\n%s\n" % oddity)
    pretender(box.tools / "python3.12", "3.12.1")
    code, out, err = box.run("--dry-run")
    assert (code, err) == (0, "")
    assert "Python: %s/python3.12 (3.12.1)\n" % box.tools in out


def test_of_equal_pythons_the_first_on_the_path_is_taken(box):
    other = box.folder / "other"
    other.mkdir()
    for path in (box.tools / "python3.12", other / "python3", other / "python3.12"):
        pretender(path, "3.12.1")
    (box.tools / "python3").unlink()
    for path, chosen in (("{0}:{1}", box.tools / "python3.12"), ("{1}:{0}", other / "python3")):
        out = box.run("--dry-run", PATH=path.format(box.tools, other))[1]
        assert "Python: %s (3.12.1)\n" % chosen in out


@pytest.mark.plain
def test_PYTHON_names_the_one_to_take(box):
    pretender(box.tools / "python3.30", "3.30.0")
    pretender(box.home / "mine", "3.7.2")
    assert "Python: %s/python3.30 (3.30.0)\n" % box.tools in box.run("--dry-run")[1]
    assert "Python: %s/mine (3.7.2)\n" % box.home in box.run("--dry-run", PYTHON=str(box.home / "mine"))[1]
    assert "Python: %s/python3 (%s)\n" % (box.tools, VERSION) in box.run("--dry-run", PYTHON="python3")[1]


def test_a_PYTHON_that_cannot_be_used_is_refused(box):
    box.without_compiled()
    before = box.snapshot()
    assert box.run(PYTHON="python3.99") == (69, "", "setup.sh: PYTHON: python3.99 not found\n")
    assert box.snapshot() == before
    pretender(box.tools / "ancient", "3.5.2")
    executable(box.tools / "echo", "#!/bin/sh\necho \"$@\"\n")
    executable(box.tools / "silent", "#!/bin/sh\n")
    for name in ("ancient", str(box.tools / "echo"), "silent"):
        assert box.run(PYTHON=name) == (69, "", "setup.sh: PYTHON: %s is not a usable Python 3.6 or newer\n" % (
            box.tools / name))


def named_python(box):
    return sc.python_of_block(box.crontab_line())


@pytest.mark.plain
def test_the_line_names_the_real_python_inside_a_virtual_environment(box):
    venv = box.folder / "venv"
    subprocess.run([BASE, "-m", "venv", "--without-pip", str(venv)], check=True)
    box.without_python()
    code, out, err = box.run(PATH="%s/bin:%s" % (venv, box.tools), VIRTUAL_ENV=str(venv))
    assert (code, err) == (0, "")
    python = named_python(box)
    assert not python.startswith(str(venv)) and os.path.realpath(python) == BASE
    assert "Python: %s (%s)\n" % (python, VERSION) in out


def test_the_line_names_the_real_python_behind_a_shim(box):
    box.without_python()
    executable(box.tools / "python3", "#!/bin/sh\nexec %s \"$@\"\n" % shlex.quote(BASE))
    assert box.run()[0] == 0
    assert named_python(box) == BASE


def test_a_python_in_a_folder_with_an_odd_name_works(box):
    box.without_python()
    odd = box.folder / ODD_NAME
    odd.mkdir()
    (odd / "python3").symlink_to(BASE)
    code, out, err = box.run(PATH="%s:%s" % (odd, box.tools))
    assert (code, err) == (0, ""), out
    (box.root / "status" / "heartbeat").unlink()
    assert box.call(["sh", "-c", box.crontab_line().split(None, 5)[5]]) == (0, "", "")
    assert (box.root / "status" / "heartbeat").exists()


# -- a box without crontab, and one whose daemon does not run

MANAGERS = {
    "apt-get": ["apt-get update", "apt-get install -y --no-install-recommends cron"],
    "dnf": ["dnf install -y cronie"],
    "yum": ["yum install -y cronie"],
    "zypper": ["zypper --non-interactive install cronie"],
    "apk": ["apk add cronie"],
    "pacman": ["pacman -S --noconfirm cronie"],
}


# What a box with a stand-in for Python says before anything is changed: the name of the Python, and as root a note.
CHECKED = r"steps: check\nPython: \S+ \(3\.11\.7\)\n(note: [^\n]*\n)?conductor: check\n"


AGAIN = "then run ./setup.sh again"
if os.path.isdir("/run/systemd/system"):
    AGAIN += "; or use systemd: ./setup.sh --timer"


def install_command(manager):
    return " && ".join(MANAGERS[manager]).replace("apt-get install", "DEBIAN_FRONTEND=noninteractive apt-get install")


def typed(command):
    """As a user without root's rights has to type it."""
    return "sudo " + command.replace(" && ", " && sudo ")


def test_the_conductor_names_the_same_commands_that_install_cron():
    assert {name: command.split(" && ") for name, command in sc.CRON_PACKAGES} == MANAGERS


@pytest.mark.parametrize("manager", sorted(MANAGERS))
def test_root_has_the_package_manager_install_cron(box, manager):
    box.be("root")
    box.without_crontab()
    box.logged(manager, "case \"$*\" in *install*|*add*|-S*) %s %s %s ;; esac" % (
        shutil.which("cp"), box.folder / "crontab.away", box.tools / "crontab"))
    box.with_stand_in()
    code, out, err = box.run()
    assert (code, err) == (0, "")
    assert re.match(CHECKED + re.escape(
        "crontab not found; running: %s\ncrontab: %s/crontab\ncron: running\n"
        "steps: prepare\nconductor: install --daemon-checked\nconductor: tick\n" % (
            install_command(manager), box.tools)), out), out
    assert box.calls() == MANAGERS[manager]


@pytest.mark.parametrize("manager", sorted(MANAGERS))
def test_others_are_told_the_command_that_installs_cron_and_nothing_changes(box, manager):
    box.without_crontab()
    box.logged(manager)
    box.without_compiled()
    before = box.snapshot()
    assert box.run()[::2] == (69, "setup.sh: crontab not found; nothing was changed; to install it: %s\n%s\n" % (
        typed(" && ".join(MANAGERS[manager])), AGAIN))
    assert box.snapshot() == before


def test_without_a_known_package_manager_cron_is_to_be_installed_by_hand(box):
    box.without_compiled()
    for user in ("root", "alice"):
        box.be(user)
        if user == "root":
            box.without_crontab()
        before = box.snapshot()
        assert box.run()[::2] == (69, "setup.sh: crontab not found; nothing was changed; "
                                      "install cron with your package manager, %s\n" % AGAIN)
        assert box.snapshot() == before


def test_a_package_manager_that_fails_is_quoted_and_nothing_changes(box):
    box.be("root")
    box.without_crontab()
    box.logged("apk", "seq=1; while [ $seq -le 9 ]; do echo \"line $seq\"; seq=$((seq + 1)); done; exit 1")
    before = snapshot(box.root)
    code, out, err = box.run()
    assert code == 69 and out.endswith("warnings\ncrontab not found; running: apk add cronie\n")
    assert err == ("line 5\nline 6\nline 7\nline 8\nline 9\n"
                   "setup.sh: crontab not found; nothing was changed; to install it: apk add cronie\n%s\n" % AGAIN)
    assert snapshot(box.root) == before


def test_a_package_that_brought_no_crontab_is_noticed_before_anything_changes(box):
    box.be("root")
    box.without_crontab()
    box.logged("apk")
    before = snapshot(box.root)
    code, _, err = box.run()
    assert (code, len(err.splitlines())) == (69, 1)
    assert snapshot(box.root) == before


def test_installing_cron_asks_nothing_and_brings_no_mail_server(box):
    box.be("root")
    box.without_crontab()
    box.logged("apt-get", "echo \"$DEBIAN_FRONTEND\" >> %s; %s %s %s; cat >> %s" % (
        box.log, shutil.which("cp"), box.folder / "crontab.away", box.tools / "crontab", box.log))
    assert box.run(feed="an answer that nobody gave")[0] == 0
    assert box.calls()[-2:] == ["apt-get install -y --no-install-recommends cron", "noninteractive"]
    assert "# BEGIN symphony-conductor %s\n" % box.root in box.table.read_text()


def test_without_a_daemon_that_is_said_last_and_nothing_is_called_healthy(box):
    """The line is in place, so to start the daemon is all that is left to do."""
    box.without_daemon()
    box.configure(json.dumps({"tasks": [every_minute("health_check", "./scripts/quick_health_check.sh")]}))
    code, out, err = box.run()
    assert code == 69 and "\ninstalled the crontab line:\n" in out and "\ncron: not running\n" in out
    assert "\nThe crontab line is installed. Nothing runs until a cron daemon does.\n" in out
    assert "cron now runs" not in out and "WARNING" not in out
    assert "healthy" not in out and "OK" not in out and "running the task" not in out
    assert re.match(r"setup\.sh: no cron daemon is running; to start it: sudo [^'\n]+\n\Z", err)


def test_where_processes_are_hidden_nothing_is_claimed_about_the_daemon(box):
    executable(box.tools / "ps", "#!/bin/sh\necho 'sh'\n")
    code, out, err = box.run()
    assert code == 0 and "\ncron: cannot tell whether it is running (other users' processes are hidden)\n" in out
    assert "\nThe crontab line is installed. It runs every minute, if cron is running.\n" in out
    assert "healthy" not in out
    assert re.match(r"setup\.sh: no cron daemon found; if none is running, start it: "
                    r"sudo [^'\n]+\n\Z", err)


def needs_namespaces():
    if os.geteuid() != 0:
        pytest.skip("namespaces take root")
    if subprocess.call(NAMESPACE + ["true"], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("namespaces are not allowed here")


# Hides this machine's services and daemons: $1 is a folder with what /usr/sbin, /etc/init.d and /run hold instead.
HIDDEN = """
set -e
mount --bind "$1/sbin" /usr/sbin
[ -L /sbin ] || mount --bind "$1/sbin" /sbin
mount --bind "$1/init.d" /etc/init.d
mount --bind "$1/run" /run
rest=$2
shift 2
eval "$rest"
exec "$@"
"""

STARTS = {  # what there is -> (the command, how the stand-ins were called)
    "systemd cron": ("systemctl enable --now cron", ["systemctl cat cronie.service", "systemctl enable --now cron"]),
    "systemd crond": ("systemctl enable --now crond",
                      ["systemctl cat cronie.service", "systemctl enable --now crond"]),
    "systemd crond cronie.service": ("systemctl enable --now cronie",
                                     ["systemctl cat cronie.service", "systemctl enable --now cronie"]),
    "rc-service crond": ("rc-service crond start && rc-update add crond",
                         ["rc-service crond start", "rc-update add crond"]),
    "rc-service crond init.d/cronie": ("rc-service cronie start && rc-update add cronie",
                                       ["rc-service cronie start", "rc-update add cronie"]),
    "service cron init.d/cron": ("service cron start", ["service cron start"]),
    "service crond": ("crond", ["crond "]),
    "cron": ("cron", ["cron "]),
    "crond": ("crond", ["crond "]),
}


def hidden(box, what, user, rest="", arguments=()):
    """Run the setup where nothing but `what` is there."""
    needs_namespaces()
    place = box.folder / "hidden"
    for name in ("sbin", "init.d", "run", "daemon"):
        (place / name).mkdir(parents=True)
    shutil.copy(shutil.which("sleep"), str(place / "daemon" / "cron"))
    start = "%s 60 > %s 2>&1 &" % (shlex.quote(str(place / "daemon" / "cron")), os.devnull)
    for word in what.split():
        if word == "systemd":
            (place / "run/systemd/system").mkdir(parents=True)
            box.logged("systemctl", "[ \"$1\" != cat ] || exit %d\n%s" % ("cronie.service" not in what, start))
        elif word.startswith(("init.d/", "sbin/")):
            executable(place / word, "#!/bin/sh\n")
        elif word.startswith("cron") and "." not in word:
            executable(place / "sbin" / word, "#!/bin/sh\n")
            box.logged(word, start)
        elif word == "rc-service":
            box.logged("rc-service", start)
            box.logged("rc-update")
        elif word == "service":
            box.logged("service", start)
    box.be(user)
    executable(box.tools / "uname", "#!/bin/sh\necho Linux\n")
    argv = [shutil.which(NAMESPACE[0])] + NAMESPACE[1:] + ["/bin/sh", "-c", HIDDEN, "sh", str(place), rest]
    return box.call(["env", "PATH=" + os.environ["PATH"]] + argv + [
        "env", "PATH=%s" % box.tools, str(box.root / "setup.sh")] + list(arguments))


@pytest.mark.parametrize("what", sorted(STARTS))
def test_root_starts_a_daemon_that_does_not_run(box, what):
    box.with_stand_in()
    code, out, err = hidden(box, what, "root")
    assert (code, err) == (0, "")
    assert re.match(CHECKED + re.escape("crontab: %s/crontab\ncron is not running; running: %s\ncron: started\n" % (
        box.tools, STARTS[what][0])), out), out
    assert box.calls() == STARTS[what][1]


@pytest.mark.parametrize("what", sorted(STARTS))
def test_others_are_told_how_a_daemon_is_started(box, what):
    box.with_stand_in()
    code, out, err = hidden(box, what, "alice")
    assert (code, err) == (69, "setup.sh: no cron daemon is running; to start it: %s\n" % typed(STARTS[what][0]))
    assert "\nsteps: prepare\nconductor: install --daemon-checked\n\nThe crontab line is installed. " in out
    assert box.calls() == [call for call in STARTS[what][1] if call.startswith("systemctl cat")]


def test_a_service_program_outside_of_a_users_path_is_named_as_by_status(box):
    box.with_stand_in()
    err = hidden(box, "cron init.d/cron sbin/service", "alice")[2]
    assert err == "setup.sh: no cron daemon is running; to start it: sudo service cron start\n"


@pytest.mark.parametrize("does, says", [("echo broken; exit 1", "broken\n"), ("exit 0", "")])
def test_a_daemon_that_will_not_start_is_said_and_the_line_is_installed(box, does, says):
    """Whether its command fails, or there is no daemon to see after it."""
    code, out, err = hidden(box, "cron", "root", rest="printf '%s\\n' '#!/bin/sh' '{1}' > {0}/cron; chmod 755 {0}/cron"
                            .format(shlex.quote(str(box.tools)), does))
    assert code == 69 and "\ninstalled the crontab line:\n" in out and "\ncron: started\n" not in out
    assert err == says + "setup.sh: no cron daemon is running; to start it: cron\n"


def test_where_systemd_runs_the_crontabs_no_daemon_is_missed(box):
    rest = "mount -t tmpfs none /etc/systemd/system; touch /etc/systemd/system/cron.target"
    code, out, err = hidden(box, "cron", "alice", rest=rest)
    assert "no cron daemon is running" not in err and "no cron daemon found; if none is running" in err


@pytest.mark.parametrize("planted", ["logs", "logs/automation"])
def test_a_folder_is_made_through_no_link_that_came_after_the_check(tmp_path, monkeypatch, planted):
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (root / "logs", elsewhere):
        folder.mkdir(parents=True)
    if planted == "logs":
        (root / planted).rmdir()
    os.symlink(str(elsewhere), str(root / planted))
    umask = os.umask(0)
    os.umask(umask)
    import setup_steps  # which takes write permission for others away from what is made
    os.umask(umask)
    monkeypatch.setattr(setup_steps, "ROOT", str(root))
    with pytest.raises(OSError):
        setup_steps.make_folder("logs/automation/more")
    assert os.listdir(str(elsewhere)) == []


def test_lines_that_would_run_twice_are_found_before_anything_is_written(box):
    config = box.root / "config"
    config.mkdir(mode=0o755, exist_ok=True)
    (config / "conductor_config.json").write_text('{"tasks": [{"name": "a", "command": "x", "schedule": "0 5 * * *"}]}')
    (box.root / "status").mkdir(mode=0o700)
    digest = sc.digest_of_line("0 5 * * * x")
    (box.root / "status/crontab.imported").write_text(json.dumps({"lines": {"a": digest}}))
    box.table.write_text("0 5 * * * x\n")
    code, out, err = box.run()
    assert (code, out) == (69, "") and "1 line of the crontab is also a task here" in err
    assert not (box.root / "logs").exists()


@pytest.mark.parametrize("lingers", [True, False])
def test_a_timer_needs_neither_crontab_nor_daemon(box, lingers):
    box.with_stand_in()
    box.without_crontab()
    if lingers:
        box.logged("loginctl", "[ \"$*\" != 'show-user alice --property=Linger' ] || echo Linger=yes")
    code, out, err = hidden(box, "systemd", "alice", arguments=["--timer"])
    assert (code, err) == (0, "")
    while_logged_in = ""
    if not lingers:
        while_logged_in = " while you are logged in; to change that: sudo loginctl enable-linger alice"
    assert re.match(CHECKED.replace("check\\n", "check --timer\\n", 1) + (
        r"systemd: running\nsteps: prepare --timer\nconductor: install --timer\nconductor: tick\n\n"
        r"conductor: status --table\n\nsystemd now runs the conductor every minute%s\n  run a task: ") % (
            while_logged_in or r"\."), out), out


@pytest.mark.parametrize("name", ["cron", "crond", "cronie", "fcron", "dcron"])
def test_a_daemon_that_runs_is_seen_under_every_name_it_goes_by(box, name):
    box.with_stand_in()
    shutil.copy(shutil.which("sleep"), str(box.folder / name))
    rest = "PATH=%s:$PATH; %s 60 &" % (shlex.quote(str(box.folder)), name)
    code, out, err = hidden(box, "cron", "alice", rest=rest + " %s 0.05" % shutil.which("sleep"))
    assert (code, err) == (0, "")
    assert re.match(CHECKED + re.escape("crontab: %s/crontab\ncron: running\n" % box.tools), out), out


@pytest.mark.parametrize("applet, code", [("crond", 0), ("httpd", 69)])
def test_busybox_is_a_daemon_if_that_is_what_it_was_called_for(box, applet, code):
    box.with_stand_in()
    sleep = shutil.which("sleep")
    executable(box.folder / "busybox", "#!/bin/sh\n%s 60\n" % sleep)  # the script's name is that of the process
    rest = "%s %s -f & %s 0.05" % (shlex.quote(str(box.folder / "busybox")), applet, sleep)
    assert hidden(box, "cron", "alice", rest=rest)[0] == code


def test_what_is_only_named_like_a_daemon_is_none(box):
    box.with_stand_in()
    for name in ("crontab", "cron.daily", "anacron", "supercronic"):
        shutil.copy(shutil.which("sleep"), str(box.folder / name))
    rest = "PATH=%s:$PATH; crontab 60 & cron.daily 60 & anacron 60 & supercronic 60 & %s 0.05" % (
        shlex.quote(str(box.folder)), shutil.which("sleep"))
    assert "no cron daemon is running" in hidden(box, "cron", "alice", rest=rest)[2]


def test_a_daemon_that_is_stopped_does_not_run(box):
    box.with_stand_in()
    shutil.copy(shutil.which("sleep"), str(box.folder / "cron"))
    rest = "%s/cron 60 & %s 0.05; kill -STOP $!" % (shlex.quote(str(box.folder)), shutil.which("sleep"))
    assert "no cron daemon is running" in hidden(box, "cron", "alice", rest=rest)[2]


def test_a_daemon_that_has_died_does_not_run(box):
    needs_namespaces()
    box.with_stand_in()
    shutil.copy(shutil.which("sleep"), str(box.folder / "cron"))
    rest = "sh -c '\"$1\"/cron 0 & exec %s 60' sh %s & %s 0.1" % (
        shutil.which("sleep"), shlex.quote(str(box.folder)), shutil.which("sleep"))
    assert "no cron daemon is running" in hidden(box, "cron", "alice", rest=rest)[2]


# -- --dry-run

def prepared(box, state):
    if state == "installed":
        box.table.write_text(NEIGHBOURS)
        assert box.run()[0] == 0
    elif state == "without a configuration":
        shutil.rmtree(str(box.root / "config"))
    elif state == "without crontab":
        box.without_crontab()
        box.logged("apt-get", "exit 1")
    elif state == "without a daemon":
        box.without_daemon()
    elif state == "without x bits":
        for path in box.root.glob("scripts/*"):
            path.chmod(0o644)


DRY_CALLS = ((), ("--uninstall",), ("--uninstall", "--purge"))


@pytest.mark.parametrize("user, state, calls", [
    ("alice", "fresh", DRY_CALLS), ("alice", "installed", DRY_CALLS), ("alice", "without a configuration", DRY_CALLS),
    ("alice", "without crontab", DRY_CALLS), ("alice", "without a daemon", DRY_CALLS[:1]),
    ("alice", "without x bits", DRY_CALLS[:1]), ("root", "fresh", DRY_CALLS[:1]),
    ("root", "without crontab", DRY_CALLS[:1]), ("root", "without a daemon", DRY_CALLS[:1])])
def test_a_dry_run_writes_nothing_at_all(box, user, state, calls):
    """One box for all calls, as none changes it; to uninstall looks at no daemon and no x bit."""
    box.be(user)
    prepared(box, state)
    if state == "fresh":
        box.without_compiled()
    before = box.snapshot()
    for arguments in calls:
        code, out, err = box.run("--dry-run", *arguments, feed="yes\n")
        assert code == 0 and out
        assert err == "" or (
            state == "without a daemon" and err.startswith("setup.sh: no cron daemon is running; "))
        assert box.snapshot() == before, arguments


@pytest.mark.plain
def test_a_dry_run_says_what_would_be_done(box):
    code, out, err = box.run("--dry-run")
    assert (code, err) == (0, "")
    assert out == """\
Python: {tools}/python3 ({version})
config/conductor_config.json: 1 task, 0 problems, 0 warnings
crontab: {tools}/crontab
cron: running
would create the folder config/tasks.d
would create the folder logs/automation
would create the folder status/automation_health
would create the folder status/history
would install the crontab line:
{line}
would run a first tick
""".format(tools=box.tools, version=VERSION, line=sc.crontab_line(
        str(box.root), str(box.tools / "python3"), str(box.root / "symphony_conductor.py")))


def test_a_dry_run_does_not_promise_what_only_root_can_do(box):
    box.without_crontab()
    box.logged("apk")
    code, out, err = box.run("--dry-run")
    assert (code, err) == (0, "") and "would run: apk" not in out
    assert out.splitlines()[-1] == "would stop here: crontab not found; to install it: sudo apk add cronie"


def test_a_dry_uninstall_says_what_would_go(box):
    assert box.run()[0] == 0
    code, out, err = box.run("--uninstall", "--purge", "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("would remove from the crontab:\n" + box.table.read_text() + "state and logs in %s:\n" %
                          box.root)
    assert out.endswith("\nwould ask, and then remove them\n")


# -- --purge

def purged(box, feed):
    return box.run("--uninstall", "--purge", feed=feed)


@pytest.fixture
def used(box):
    """A box with the setup done and a task that ran."""
    assert box.run()[0] == 0
    assert box.conductor("run", "--task", "yearly")[0] == 0
    return box


def kept(root):
    """What is to stay: all but the heartbeat, by which the end of a task that still runs would start others."""
    return {path: what for path, what in snapshot(root).items()
            if not path.rstrip("/").endswith(("/status", "/status/heartbeat"))}


def test_whatever_is_not_yes_removes_nothing_but_the_line(used):
    before, table = kept(used.root), used.table.read_text()
    heartbeat = used.root / "status" / "heartbeat"
    for answer in ("", "no\n", "y\n", "YES\n", "\n", "yes please\n"):
        used.table.write_text(table)
        heartbeat.write_text("")
        code, out, err = purged(used, answer)
        assert (code, err) == (0, "")
        assert out.endswith("Remove them for good? Type yes: nothing was removed\n"), answer
        assert kept(used.root) == before and used.table.read_text() == ""
        assert not heartbeat.exists()


def test_yes_removes_everything_but_the_configuration(box):
    box.without_compiled()
    shutil.rmtree(str(box.root / "config"))
    before = {os.path.relpath(path, str(box.root)) for path in snapshot(box.root)}
    assert box.run()[0] == 0
    assert box.conductor("run", "--task", "hello")[0] == 0
    assert box.call(["sh", "-c", box.crontab_line().split(None, 5)[5]]) == (0, "", "")
    code, out, err = purged(box, "yes\n")
    assert (code, err) == (0, "")
    assert re.search(r"\nRemove them for good\? Type yes: removed [0-9]+ files; the configuration stays\n\Z", out)
    after = {os.path.relpath(path, str(box.root)) for path in snapshot(box.root)}
    assert after - before == {"config", "config/tasks.d", "config/conductor_config.json"} and before <= after
    assert purged(box, "") == (0, "there is no crontab line for {0}\nno state or logs in {0}\n".format(
        box.root), "")


def test_what_others_put_beside_logs_and_state_survives(used):
    foreign = ("logs/nginx.log", "logs/automation/notes.txt", "status/README", "status/history/2025.txt",
               "logs/old/symphony_conductor.log", "conductor_state.json.mine", "__pycache__/other.cpython-311.pyc")
    for name in foreign:
        (used.root / name).parent.mkdir(exist_ok=True)
        (used.root / name).write_text("foreign")
    (used.root / "logs" / "automation" / "link.log").symlink_to(used.home / "kept")
    (used.home / "kept").write_text("kept")
    assert purged(used, "yes\n")[0] == 0
    left = sorted(str(path.relative_to(used.root)) for path in used.root.rglob("*")
                  if not path.is_dir() and str(path.relative_to(used.root)).split("/")[0] not in PRODUCT)
    assert left == sorted(foreign + ("logs/automation/link.log",))
    assert (used.home / "kept").read_text() == "kept"


def test_a_folder_of_logs_that_is_a_link_is_left_as_it_is(used):
    elsewhere = used.folder / "elsewhere"
    (used.root / "logs").rename(elsewhere)
    (used.root / "logs").symlink_to(elsewhere)
    before = snapshot(elsewhere)
    code, out, err = purged(used, "yes\n")
    assert (code, err) == (0, "") and not (used.root / "status").exists()
    assert snapshot(elsewhere) == before and (used.root / "logs").is_symlink()


def test_a_running_task_keeps_everything(box):
    box.configure('{"tasks": [{"name": "long", "command": "echo started; exec sleep 60"}]}')
    assert box.run()[0] == 0
    running = subprocess.Popen([BASE, str(box.root / "symphony_conductor.py"), "run", "--task", "long"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert running.stdout.readline() == b"started\n"
        before = snapshot(box.root / "status" / "history", box.root / "config")
        code, out, err = purged(box, "yes\n")
        assert (code, err) == (75, "symphony_conductor: long is running (nothing was removed; try again when no "
                                   "task is running)\n")
        assert "removed the crontab line for %s\n" % box.root in out
        assert snapshot(box.root / "status" / "history", box.root / "config") == before
        assert (box.root / "conductor_state.json").exists() and (box.root / "status" / "runs" / "long.json").exists()
    finally:
        running.terminate()
        running.communicate(timeout=20)
    assert purged(box, "yes\n")[0] == 0
    assert not (box.root / "conductor_state.json").exists()


# -- a crontab(1) that misbehaves

@pytest.mark.parametrize("arguments", [(), ("--uninstall",)])
@pytest.mark.parametrize("flaw, complaint", [
    ("refuse-list", "symphony_conductor: crontab -l failed (exit 1): crontab: cannot open the spool; "
                    "nothing was changed\n"),
    ("refuse-write", "symphony_conductor: crontab refused the new table (exit 1): crontab: no space left\n"),
])
def test_a_crontab_that_fails_loses_no_line(box, flaw, complaint, arguments):
    box.table.write_text(NEIGHBOURS)
    if arguments:
        assert box.run()[0] == 0
    before = box.table.read_bytes()
    (box.tools / flaw).write_text("")
    files = snapshot(box.root)
    code, _, err = box.run(*arguments)
    expected = 1
    if not arguments:
        expected = 69  # no line, so that nothing will be run
    if flaw == "refuse-list" and not arguments:  # that is looked at ahead of all changes
        complaint = complaint.replace("symphony_conductor", "setup.sh")
        assert snapshot(box.root) == files
    assert (code, err) == (expected, complaint)
    assert box.table.read_bytes() == before


def test_a_crontab_that_only_warns_is_taken_at_its_word(box):
    box.table.write_text(NEIGHBOURS)
    (box.tools / "warn").write_text("")
    assert box.run()[::2] == (0, "")
    assert box.table.read_text().startswith(NEIGHBOURS + "# BEGIN symphony-conductor ")
    assert box.run("--uninstall")[::2] == (0, "")
    assert box.table.read_text() == NEIGHBOURS


def test_a_crontab_that_warns_that_there_is_no_table_starts_one(box):
    (box.tools / "warn").write_text("")
    assert box.run()[::2] == (0, "")
    assert box.table.read_text().startswith("# BEGIN symphony-conductor ")


def test_a_crontab_that_drops_the_last_line_is_noticed(box):
    box.table.write_text(NEIGHBOURS)
    (box.tools / "drop").write_text("")
    code, out, err = box.run()
    assert (code, len(err.splitlines())) == (69, 1)
    assert "crontab accepted the new table but lists a different one" in err
    assert "installed the crontab line" not in out
    assert box.table.read_text().startswith(NEIGHBOURS)
    code, _, err = box.run()
    assert code == 78 and "has no END line" in err


def test_what_a_crontab_drops_can_be_had_again(box):
    box.table.write_text(NEIGHBOURS)
    assert box.run()[0] == 0
    before = box.table.read_text()
    (box.tools / "drop").write_text("")
    code, _, err = box.run("--uninstall")
    assert (code, len(err.splitlines())) == (1, 1)
    kept = re.search(r"(/\S+/status/crontab\.before)", err)
    assert kept and pathlib.Path(kept.group(1)).read_text() == before


def test_the_blocks_of_other_projects_stay(box):
    others = ("# BEGIN symphony-conductor {0}2\nTWO\n# END symphony-conductor {0}2\n5 5 * * * x\n"
              "# BEGIN symphony-conductor /srv/a\nA\n# END symphony-conductor /srv/a\n").format(box.root)
    box.table.write_text(others)
    assert box.run()[0] == 0 and box.run()[0] == 0
    assert box.table.read_text().count("# BEGIN symphony-conductor ") == 3
    assert box.run("--uninstall")[0] == 0
    assert box.table.read_text() == others


# -- a bare root: a chroot with users, a spool and a daemon that are real. Its setups go on while other tests run.

MINIMAL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
USERS = {"root": 0, "visitor": 54711, "single": 54712, "pat": 54713, "robin": 54714}

BARE = """
set -e
r=$1/root
mkdir "$r"
mount -t tmpfs -o mode=755 tmpfs "$r"
cd "$r"
mkdir dev etc home proc root run srv tmp usr var
chmod 700 root
chmod 1777 tmp
for name in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$name" ]; then
        ln -s "$(readlink "/$name")" "$name"
    elif [ -d "/$name" ]; then
        mkdir "$name"
        mount --bind "/$name" "$name"
        mount -o remount,bind,ro "$name"
    fi
done
for name in usr etc; do
    mount --bind "/$name" "$name"
    mount -o remount,bind,ro "$name"
done
# The health check runs for real, but how full this machine's disk is must not decide.
printf '#!/bin/sh\necho a b c d e f\necho /dev/vda 1000000 200000 800000 20%% /\n' > "$1/df"
chmod 755 "$1/df"
for df in usr/bin/df bin/df; do
    [ ! -e "$df" ] || mount --bind "$1/df" "$df"
done
for name in passwd group shadow; do
    cp "/etc/$name" "$1/$name"
    cat "$1/more-$name" >> "$1/$name"
    mount --bind "$1/$name" "etc/$name"
done
mkdir "$1/empty"
: > "$1/nothing"
mount --bind "$1/empty" etc/cron.d
[ ! -e etc/crontab ] || mount --bind "$1/nothing" etc/crontab
mount --bind /dev dev
mount -t proc proc proc
mkdir -p var/spool/cron var/lib var/log var/tmp
mkdir -m 1730 var/spool/cron/crontabs
chgrp crontab var/spool/cron/crontabs
ln -s /run var/run
while read -r name uid; do
    mkdir -m 755 "home/$name"
    chown "$uid:$uid" "home/$name"
done < "$1/homes"
cp -R "$1/source" srv/source
chmod -R go+rX srv/source
echo ready
exec 1>&2
cat > /dev/null  # until whoever runs the tests is done, or gone
"""

# What a user types, but for the redirections. The health check is due each minute instead of each half hour.
CHECKOUT = """
umask 022
{before}
if [ -e /srv/source/bundle ]; then git clone -q /srv/source/bundle {name}; else cp -R /srv/source {name}; fi
cd {name}
find . -path ./.git -prune -o -print > ~/files
sed -i 's|"schedule": "[*]/30 |"schedule": "* |' config/conductor_config.json
(cd config && cat conductor_config.json cleanup_rules.json) > ~/config
./setup.sh > ~/said 2> ~/complained
echo $? > ~/exit
crontab -l > ~/during
"""
SINGLE = """
umask 022
mkdir {name}
cp /srv/source/symphony_conductor.py {name}
cd {name}
find . -print > ~/files
{{ ./symphony_conductor.py init && sed -i 's|[*]/5 |* |' config/conductor_config.json &&
    ./symphony_conductor.py install; }} > ~/said 2> ~/complained
echo $? > ~/exit
crontab -l > ~/during
"""


class Bare:
    """The bare root, with the setups under way; `reason` says why there is none."""

    def __init__(self, folder):
        self.process = self.work = None
        self.reason = self._why_not()
        if self.reason:
            return
        self.folder = folder
        self.inside = folder / "root"
        self._write_sources()
        with open(str(folder / "complaints"), "wb") as complaints:
            self.process = subprocess.Popen(NAMESPACE + ["/bin/sh", "-c", BARE, "sh", str(folder)],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints)
        if self.process.stdout.readline() != b"ready\n":
            self.reason = "no bare root can be built here: %s" % (folder / "complaints").read_text()
            return
        self.child = next(int(entry) for entry in os.listdir("/proc")
                          if entry.isdigit() and self._parent(entry) == self.process.pid)
        name = shlex.quote(ODD_NAME)
        # One after the other, so that it is certain who finds no daemon and who starts it.
        steps = (("visitor", CHECKOUT.format(name=name, before="printf '5 4 * * * neighbour\\n\\n#\\n' | crontab -")),
                 ("single", SINGLE.format(name=name)), ("root", CHECKOUT.format(name=name, before=":")))
        script = "\n".join(" ".join(map(shlex.quote, self._argv(user, step))) for user, step in steps)
        with open(str(folder / "complaints"), "ab") as complaints:
            self.work = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=complaints,
                                         stderr=complaints)

    @staticmethod
    def _why_not():
        if os.geteuid() != 0:
            return "a bare root takes root"
        programs = ("cron", "crontab", "nsenter", "chroot")
        missing = [name for name in programs if not shutil.which(name, path=MINIMAL_PATH)]
        if missing:
            return "%s is not here (tests/run installs Debian's cron)" % missing[0]
        if not os.path.isdir("/var/spool/cron/crontabs"):
            return "the cron here is not laid out like Debian's"
        if subprocess.call(["/usr/bin/python3", "-c", "import sys; sys.exit(sys.version_info < (3, 6))"],
                           stderr=subprocess.DEVNULL) != 0:
            return "there is no Python 3.6 or newer on a minimal PATH"
        if subprocess.call(NAMESPACE + ["true"], stderr=subprocess.DEVNULL) != 0:
            return "namespaces are not allowed here"
        return ""

    @staticmethod
    def _parent(entry):
        try:
            text = pathlib.Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            return None
        return int(text.rpartition(")")[2].split()[1])

    def _write_sources(self):
        source = self.folder / "source"
        source.mkdir()
        for name in PRODUCT:
            if (REPOSITORY / name).is_dir():
                shutil.copytree(str(REPOSITORY / name), str(source / name),
                                ignore=shutil.ignore_patterns("__pycache__", "tasks.d"))
            else:
                shutil.copy(str(REPOSITORY / name), str(source))
        if shutil.which("git", path=MINIMAL_PATH):
            shutil.copy(str(REPOSITORY / ".gitignore"), str(source))
            git(source, "init", "-q")
            git(source, "add", "-A")
            git(source, "commit", "-q", "-m", "start")
            git(source, "bundle", "create", "bundle", "HEAD", "main")
        users = sorted((name, uid) for name, uid in USERS.items() if uid)
        for name, form in (("passwd", "{0}:x:{1}:{1}::/home/{0}:/bin/sh"), ("group", "{0}:x:{1}:"),
                           ("shadow", "{0}:*:19000:0:99999:7:::"), ("homes", "{0} {1}")):
            lines = [form.format(*user) + "\n" for user in users]
            (self.folder / (name if name == "homes" else "more-" + name)).write_text("".join(lines))

    def home(self, user):
        return "/root" if user == "root" else "/home/" + user

    def path(self, name):
        """A path of the bare root, as it is reached from here."""
        return pathlib.Path("/proc/%d/root%s%s" % (self.child, self.inside, name))

    def read(self, user, name):
        return self.path("%s/%s" % (self.home(user), name)).read_text(encoding="utf-8")

    def _argv(self, user, script, **env):
        env = dict({"PATH": MINIMAL_PATH, "HOME": self.home(user)}, **env)
        return ["nsenter", "--target", str(self.child), "--mount", "--pid",
                "chroot", "--userspec=%d:%d" % (USERS[user], USERS[user]), "--groups=", str(self.inside),
                "/usr/bin/env", "-i"] + ["%s=%s" % item for item in sorted(env.items())] + [
                    "/bin/sh", "-c", "cd ~ && " + script]

    def call(self, user, script, feed="", **env):
        """Run a line of shell in the user's home, with nothing but PATH and HOME set: (code, stdout, stderr)."""
        done = subprocess.run(self._argv(user, script, **env), input=feed.encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def wait_for_setups(self):
        if self.reason:
            pytest.skip(self.reason)
        assert self.work.wait(timeout=60) == 0, (self.folder / "complaints").read_text()

    def project(self, user):
        """The user's project, as it is reached from here."""
        return Project(self.path("%s/%s" % (self.home(user), ODD_NAME)))

    def crontab(self, user):
        return self.call(user, "crontab -l")

    def stop(self):
        for process in (self.work, self.process):
            if process is not None:
                process.kill()
                process.communicate()


@pytest.fixture(scope="module", autouse=True)
def bare_root(tmp_path_factory):
    bare = Bare(tmp_path_factory.mktemp("bare"))
    yield bare
    bare.stop()


def checkout(bare, user, name="project"):
    """A clone of the user's own, with nothing done to it."""
    bare.wait_for_setups()
    bare.call(user, "rm -rf {0}".format(shlex.quote(name)))
    code, _, err = bare.call(user, "umask 022; if [ -e /srv/source/bundle ]; then git clone -q /srv/source/bundle {0};"
                                   " else cp -R /srv/source {0}; fi".format(shlex.quote(name)))
    assert code == 0, err
    return "%s/%s" % (bare.home(user), name)


def test_who_calls_sudo_gets_the_line_and_root_leaves_nothing_behind(bare_root):
    root = checkout(bare_root, "pat")
    bare_root.call("pat", "printf '1 2 * * * pats\\n' | crontab -")
    sudo = {"SUDO_USER": "pat", "SUDO_UID": str(USERS["pat"]), "SUDO_GID": str(USERS["pat"])}
    roots = bare_root.crontab("root")
    code, out, err = bare_root.call("root", "cd %s && ./setup.sh" % root, **sudo)
    assert code == 0 and err == "" and "note: you are root" not in out and "\ninstalled the crontab line:\n" in out
    assert bare_root.crontab("pat")[1].startswith("1 2 * * * pats\n# BEGIN symphony-conductor %s\n" % root)
    assert bare_root.crontab("root") == roots
    assert bare_root.call("root", "find /home/pat ! -user pat; find /home/pat -group root") == (0, "", "")
    assert "\nthe crontab line is already installed:\n" in bare_root.call(
        "root", "cd %s && ./setup.sh" % root, **sudo)[1]
    code, out, err = bare_root.call("root", "cd %s && ./setup.sh --uninstall --purge" % root, feed="yes\n", **sudo)
    assert (code, err) == (0, "") and out.endswith("the configuration stays\n")
    assert bare_root.crontab("pat") == (0, "1 2 * * * pats\n", "")
    assert bare_root.call("root", "find /home/pat ! -user pat; ls %s/logs" % root)[1] == ""
    assert bare_root.crontab("root") == roots


def test_root_sets_it_up_for_somebody_else(bare_root):
    root = checkout(bare_root, "robin", "it's mine")
    quoted = shlex.quote(root)
    code, out, err = bare_root.call("root", "%s/setup.sh --user robin" % quoted)
    assert (code, err) == (0, "")
    assert bare_root.crontab("robin")[1].startswith("# BEGIN symphony-conductor %s\n" % root)
    assert bare_root.call("root", "find /home/robin ! -user robin") == (0, "", "")
    dry = bare_root.call("root", "%s/setup.sh --uninstall --dry-run --user=robin" % quoted)
    assert dry[0] == 0 and dry[1].startswith("would remove from the crontab:\n# BEGIN symphony-conductor ")
    assert bare_root.call("root", "%s/setup.sh --uninstall --user=robin" % quoted) == (
        0, "removed the crontab line for %s\nconfiguration, state and logs stay\n" % root, "")
    assert bare_root.crontab("robin")[1] == ""


def test_root_sets_up_a_timer_for_somebody_else(bare_root):
    """The unit is root's to write; all else is done as the user."""
    root = checkout(bare_root, "robin", "timed")
    bare_root.call("root", "mkdir -p /run/systemd/system")
    try:
        code, out, err = bare_root.call("root", "%s/setup.sh --timer --user robin --dry-run" % root)
        assert (code, err) == (0, "") and "\nsystemd: running\nwould create the folder config/tasks.d\n" in out
        assert "\nUser=robin\n" in out and out.endswith("\nwould run a first tick\nwould run the task health_check\n")
        code, out, err = bare_root.call("root", "%s/setup.sh --uninstall --timer --user robin --dry-run" % root)
        assert (code, err) == (0, "") and "configuration, state and logs stay" in out
    finally:
        bare_root.call("root", "rmdir /run/systemd/system /run/systemd")
    assert bare_root.call("robin", "find timed -newer timed/setup.sh -type d -name tasks.d")[1] == ""


def test_a_timer_for_somebody_else_takes_a_python_that_they_can_execute(bare_root):
    root = checkout(bare_root, "robin", "timed")
    bare_root.call("root", "mkdir -p /run/systemd/system /root/own && cp /usr/bin/python3 /root/own/python3")
    path = "/root/own:" + MINIMAL_PATH
    try:
        code, out, err = bare_root.call("root", "%s/setup.sh --timer --user robin --dry-run" % root, PATH=path)
        assert (code, err) == (0, "") and '\nExecStart="/usr/bin/python3' in out
    finally:
        bare_root.call("root", "rm -r /root/own; rmdir /run/systemd/system /run/systemd")


def test_a_folder_that_only_root_can_read_is_one_clear_line(bare_root):
    root = checkout(bare_root, "root", "closed")
    for arguments in ("--user pat", "--user pat --uninstall", "--user pat --dry-run"):
        code, _, err = bare_root.call("root", "%s/setup.sh %s" % (root, arguments))
        assert (code, err) == (
            2, "setup.sh: pat cannot read %s/setup.sh (move the project to a folder this user can read)\n" % root)
    assert bare_root.call("root", "ls %s/logs" % root)[1] == ""


def test_root_writes_nothing_in_the_folder_of_somebody_else(bare_root):
    """Through links that were put there for it least of all."""
    root = checkout(bare_root, "pat", "trap")
    bare_root.call("pat", "cd trap && rm -rf logs status && ln -s /srv/bait logs && ln -s /srv/bait status"
                          " && ln -s /srv/bait config/tasks.d && chmod a-x scripts/*.sh"
                          " && mv scripts/cleanup_engine.py scripts/x.py && ln -s /srv/script.py scripts/other.py")
    bare_root.call("root", "mkdir -p /srv/bait && printf '#!/bin/sh\\n' > /srv/script.py && chmod 644 /srv/script.py")
    state = "cd /; ls -lnR /srv/bait /srv/script.py %s; crontab -l 2>/dev/null" % root
    before = bare_root.call("root", state)
    for environment in ({}, {"SUDO_USER": "root"}):
        assert bare_root.call("root", "%s/setup.sh" % root, **environment) == (
            2, "", "setup.sh: you are root, and %s belongs to pat (set it up for its owner: ./setup.sh --user pat)\n"
            % root)
        assert bare_root.call("root", state) == before
    for environment in ({"SUDO_USER": "pat"}, {}):
        code, out, err = bare_root.call("root", "%s/setup.sh %s" % (root, "" if environment else "--user pat"),
                                        **environment)
        assert (code, out, err) == (2, "", "setup.sh: {0}/logs is a link, and nothing is created through one "
                                           "(sudo -u pat mkdir -p {0}/logs/automation)\n".format(root))
        assert bare_root.call("root", state) == before


def test_a_folder_of_root_that_others_can_read_is_one_clear_line(bare_root):
    checkout(bare_root, "root", "/srv/shared")
    for user, command in (("pat", "/srv/shared/setup.sh"), ("root", "/srv/shared/setup.sh --user pat")):
        code, _, err = bare_root.call(user, command)
        assert code != 0 and len(err.splitlines()) == 1 and "/srv/shared" in err and "Traceback" not in err


def test_only_root_may_set_it_up_for_others(bare_root):
    root = checkout(bare_root, "pat")
    assert bare_root.call("pat", "%s/setup.sh --user visitor" % root) == (
        2, "", "setup.sh: --user: only root can do this for 'visitor' (use sudo)\n")
    assert bare_root.call("pat", "%s/setup.sh --dry-run" % root, SUDO_USER="visitor")[0] == 0


def wait_for_success(bare, user, task, timeout_s):
    """Wait until cron has run the task of the user; the record of it."""
    project = bare.project(user)

    def success():
        if not (project.root / "status" / "history").is_dir():
            return None
        return next((one for one in project.history() if one["task"] == task and one["trigger"] == "schedule"), None)
    record = project.wait_until(success, timeout_s)
    assert record, (project.lines("logs/conductor_cron.log"), project.lines("logs/symphony_conductor.log"))
    return record


@pytest.mark.parametrize("user", ["visitor", "root"])
def test_a_bare_root_is_set_up_from_a_checkout_and_left_as_it_was(bare_root, user):
    bare_root.wait_for_setups()
    before = {"visitor": "5 4 * * * neighbour\n\n#\n", "root": ""}[user]
    root = "%s/%s" % (bare_root.home(user), ODD_NAME)
    setup = "cd %s && ./setup.sh" % shlex.quote(root)
    said = bare_root.read(user, "said")
    assert said.startswith("Python: /usr/bin/python3 (3.")
    if user == "root":
        assert bare_root.read(user, "exit") == "0\n", bare_root.read(user, "complained")
        assert "\ncrontab: /usr/bin/crontab\ncron is not running; running: " in said
        assert "\ncron: started\nfolder config/tasks.d: created\n" in said
        assert "\nnote: you are root; the tasks will run as root\n" in said
        assert re.search(r"\nrunning the task health_check:\n(OK|WARNING) - [^!]*\n\n(healthy|[0-9]+ warning)", said)
        assert bare_root.read(user, "complained") == ""
    else:
        assert bare_root.read(user, "exit") == "69\n", bare_root.read(user, "complained")
        assert "\ncrontab: /usr/bin/crontab\ncron: not running\nfolder config/tasks.d: created\n" in said
        assert "healthy" not in said and "OK" not in said
        assert re.match(r"setup\.sh: no cron daemon is running; to start it: sudo service cron start\n\Z",
                        bare_root.read(user, "complained"))
    assert re.search(r"\nconfig/conductor_config\.json: 8 tasks, 0 problems, [0-9]+ warnings?\ncrontab: ", said)
    assert "\ninstalled the crontab line:\n* * * * * cd " in said
    during = bare_root.read(user, "during")
    assert re.match(re.escape(before + "# BEGIN symphony-conductor " + root) + r"\n\* \* \* \* \* [^\n]*\n" +
                    re.escape("# END symphony-conductor " + root) + r"\n\Z", during)

    record = wait_for_success(bare_root, user, "health_check", 70)
    assert (record["status"], record["exit_code"]) == ("success", 0), bare_root.read(
        user, ODD_NAME + "/logs/automation/health_check.log")
    assert bare_root.read(user, ODD_NAME + "/logs/conductor_cron.log") == ""

    code, again, err = bare_root.call(user, setup)
    assert (code, err) == (0, "")
    assert "\ncrontab: /usr/bin/crontab\ncron: running\n" in again and ": created\n" not in again
    assert "\nthe crontab line is already installed:\n" in again
    assert bare_root.crontab(user) == (0, during, "")
    assert bare_root.call(user, "cd %s/config && cat conductor_config.json cleanup_rules.json" % shlex.quote(root))[
        1] == bare_root.read(user, "config")
    assert bare_root.call(user, "find . ! -user %s" % user) == (0, "", "")

    code, out, err = bare_root.call(user, setup + " --uninstall")
    assert (code, err) == (0, "") and out.startswith("removed the crontab line for %s/it's 100%% " %
                                                     bare_root.home(user))
    assert bare_root.crontab(user) == (0, before, "")
    bare_root.project(user).wait_for_idle()
    code, out, err = bare_root.call(user, setup + " --uninstall --purge", feed="yes\n")
    assert (code, err) == (0, "") and out.endswith(" files; the configuration stays\n"), out
    left = bare_root.call(user, "cd %s && find . -path ./.git -prune -o -print" % shlex.quote(root))[1].splitlines()
    # A task of the hour compiles a module of its own, and those of the night write their files.
    left = [path for path in left if not path.startswith("./scripts/__pycache__")
            and not OWN_NAME.match(path[2:]) and QUARANTINE_NAME not in path]
    assert set(left) - set(bare_root.read(user, "files").splitlines()) == {"./config/tasks.d"}
    assert bare_root.call(user, "find /tmp /var/tmp -mindepth 1 -user %s" % user)[1] == ""


def test_a_bare_root_runs_the_single_file_as_well(bare_root):
    bare_root.wait_for_setups()
    root = "/home/single/" + ODD_NAME
    conductor = "cd %s && ./symphony_conductor.py " % shlex.quote(root)
    assert (bare_root.read("single", "exit"), bare_root.read("single", "complained")) == ("0\n", "")
    said = bare_root.read("single", "said")
    assert said.startswith("wrote config/conductor_config.json, with two tasks as examples. Next steps:\n")
    assert "\ninstalled the crontab line:\n* * * * * cd " in said
    assert bare_root.read("single", "during").startswith("# BEGIN symphony-conductor %s\n* * * * * cd " % root)

    # The first tick only notes when it began; the task is due at the next one.
    record = wait_for_success(bare_root, "single", "hello", 130)
    assert (record["status"], record["exit_code"]) == ("success", 0)
    assert "\nit works: " in bare_root.read("single", ODD_NAME + "/logs/automation/hello.log")
    assert bare_root.read("single", ODD_NAME + "/logs/conductor_cron.log") == ""

    assert "the crontab line is already installed:\n" in bare_root.call("single", conductor + "install")[1]
    assert bare_root.call("single", conductor + "uninstall")[::2] == (0, "")
    assert bare_root.crontab("single")[1] == ""
    bare_root.project("single").wait_for_idle()
    assert bare_root.call("single", conductor + "uninstall --purge", feed="yes\n")[::2] == (0, "")
    left = bare_root.call("single", "cd %s && find . -print" % shlex.quote(root))[1].split()
    assert sorted(left) == [".", "./config", "./config/conductor_config.json", "./symphony_conductor.py"]
