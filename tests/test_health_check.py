"""quick_health_check.sh under every shell it has to speak in, with a PATH that holds no real Python."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
from support import REPOSITORY, Project, due_once, every_minute

import symphony_conductor as sc

CHECK = REPOSITORY / "scripts" / "quick_health_check.sh"
TOOLS = ("awk", "cat", "date", "df", "find", "ls", "ps", "stat", "timeout")
SHELLS = {"dash": ("dash",), "bash": ("bash",), "bash-posix": ("bash", "--posix"), "busybox": ("busybox", "sh")}
NOBODY = 65534

PS = """\
    PID COMMAND
      1 /sbin/init splash
      2 [kthreadd]
    612 /usr/sbin/cron -f -P
   4711 vi /etc/crontab
"""
PS_WITHOUT_CRON = """\
    PID COMMAND
      1 /sbin/init splash
    613 [cron] <defunct>
   4711 vi cron
   4712 sh -c cron
   4713 /usr/local/bin/crontab -e
"""
DF_DISK = """\
Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/vda         264212084 24337696  82053216      23% /
"""
DF_INODES = """\
Filesystem       Inodes  IUsed    IFree IUse% Mounted on
/dev/vda       16777216 689783 16087433    5% /
"""
HEALTHY = """\
OK - 7 checks passed
OK temp files: 0 files, 0 B, older than 7 days
OK automation: no automation has run yet
OK heartbeat: last tick 0s ago
OK cron: cron is running
OK disk: 77.1% free (78.3 GiB)
OK inodes: 95.8% free (16087433)
OK configuration: config/conductor_config.json exists; python3 works
"""


@pytest.fixture(scope="session")
def tool_folders(tmp_path_factory):
    """A folder of links to the system's tools, and one of links to busybox."""
    folders = {}
    for kind in ("system", "busybox"):
        folders[kind] = tmp_path_factory.mktemp(kind)
        for name in TOOLS:
            target = shutil.which("busybox") if kind == "busybox" else shutil.which(name)
            if target:
                (folders[kind] / name).symlink_to(target)
    return folders


class Box:
    """A project and a PATH whose first folder holds programs of the test's own."""

    def __init__(self, folder, shell, tools):
        self.shell = [shutil.which(shell[0])] + list(shell[1:])
        self.project = Project(folder / "project")
        self.root = self.project.root
        self.fakes = folder / "fakes"
        self.fakes.mkdir()
        self.tools = tools
        self.env = {}
        self.project.configure()
        self.folder("status")
        self.heartbeat(0)
        self.fake_text("ps", PS)
        self.fake_df(DF_DISK, DF_INODES)
        self.fake_answer()

    def folder(self, name):
        (self.root / name).mkdir(parents=True, exist_ok=True)
        return self.root / name

    def file(self, name, text="", days=0):
        path = str(self.root / name)
        with open(path, "wb") as handle:
            handle.write(text if isinstance(text, bytes) else text.encode())
        at = time.time() - days * 86400
        os.utime(path, (at, at))

    def heartbeat(self, seconds_ago):
        self.file("status/heartbeat", "1 0 0", days=seconds_ago / 86400.0)

    def health(self, **lines):
        self.folder("status/automation_health")
        for name, text in lines.items():
            self.file("status/automation_health/%s.health" % name, text)

    def fake(self, name, body):
        path = self.fakes / name
        path.write_text("#!/bin/sh\n%s\n" % body)
        path.chmod(0o755)

    def fake_text(self, name, text):
        self.fake(name, "cat <<'END'\n%sEND" % text)

    def fake_df(self, disk, inodes):
        self.fake("df", "case $* in\n'-P -k .') cat <<'END'\n%sEND\n;;\n'-P -i .') cat <<'END'\n%sEND\n;;\n"
                        "*) exit 64 ;;\nesac" % (disk, inodes))

    def fake_answer(self, *findings):
        """A Python in which the conductor has these findings: severity, code, task, text, command, topic."""
        self.fake_text("python3", "".join("\t".join(finding) + "\n" for finding in findings) + "end\n")

    def without(self, *names):
        """A PATH that lacks these programs."""
        folder = self.fakes.parent / "fewer"
        folder.mkdir()
        for tool in self.tools.iterdir():
            if tool.name not in names:
                (folder / tool.name).symlink_to(os.readlink(str(tool)))
        for name in names:
            if (self.fakes / name).exists():
                (self.fakes / name).unlink()
        self.tools = folder

    def command(self, *args):
        return self.shell + [str(CHECK), "--root", str(self.root)] + list(args)

    def call(self, *args, **more):
        """Exit code, stdout and stderr of a run, whatever they are."""
        env = dict({"PATH": "%s:%s" % (self.fakes, self.tools)}, **self.env)
        done = subprocess.run(more.pop("command", None) or self.command(*args), env=env, timeout=30,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def run(self, *args, **more):
        """Exit code and lines of a run that must keep the promises that hold for every run."""
        code, out, err = self.call(*args, **more)
        assert err == ""
        verdict = out.split("\n")[0]
        assert len(verdict) < 80
        assert out.endswith("\n") and all(" " <= char <= "~" for char in out.replace("\n", ""))
        assert out.split(" - ")[0] in ("OK", "WARNING", "CRITICAL", "UNKNOWN")
        return code, out.splitlines()

    def says(self, *args, **more):
        """Verdict, then the lines that are not those of a healthy project."""
        code, lines = self.run(*args, **more)
        lines = [re.sub("^OK heartbeat: last tick [0-9]+s", "OK heartbeat: last tick 0s", line) for line in lines]
        return [code] + [lines[0]] + [line for line in lines[1:] if line not in HEALTHY.splitlines()]


def box_of(name, folder, tool_folders):
    shell = SHELLS[name]
    if not shutil.which(shell[0]):
        pytest.skip("%s is not here" % shell[0])
    return Box(folder, shell, tool_folders["busybox" if shell[0] == "busybox" else "system"])


@pytest.fixture(params=sorted(SHELLS))
def box(request, tmp_path, tool_folders):
    return box_of(request.param, tmp_path, tool_folders)


@pytest.fixture(params=["busybox", "dash"])
def userland(request, tmp_path, tool_folders):
    """For what awk, find and their like decide, and not the shell."""
    return box_of(request.param, tmp_path, tool_folders)


@pytest.fixture
def one_box(tmp_path, tool_folders):
    """For what does not depend on the shell."""
    return Box(tmp_path, ("sh",), tool_folders["system"])


def fingerprint(root):
    """A hash of every name, mode, time and content under a folder."""
    found = hashlib.sha256()
    for folder, names, files in os.walk(str(root)):
        names.sort()
        for name in [""] + sorted(files):
            path = os.path.join(folder, name)
            status = os.stat(path)
            found.update(repr((path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode())
            if name:
                with open(path, "rb") as handle:
                    found.update(handle.read())
    return found.hexdigest()


def iso(seconds_from_now):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds_from_now))


# -- the whole

def test_a_healthy_project_passes_all_checks(box):
    code, out, err = box.call("--strict")
    assert (code, re.sub("tick [0-9]+s", "tick 0s", out), err) == (0, HEALTHY, "")


def test_nothing_under_the_root_changes_and_no_file_appears(box):
    box.health(backup="success:2025-06-02T10:00:00Z:0\n", odd="")
    box.file("old.tmp", days=30)
    before = fingerprint(box.root)
    box.run()
    assert fingerprint(box.root) == before


def test_the_real_ps_of_this_machine_is_understood(userland):
    box = userland
    (box.fakes / "ps").unlink()
    _, lines = box.run()
    states = {line.split(":")[0].split(" ", 1)[1]: line.split(" ")[0] for line in lines[1:]}
    assert list(states) == ["temp files", "automation", "heartbeat", "cron", "disk", "inodes", "configuration"]
    assert "UNKNOWN" not in states.values()


def free_percent(path):
    free = os.statvfs(str(path))
    return 100.0 * free.f_bavail / (free.f_blocks - free.f_bfree + free.f_bavail)


def test_the_real_df_of_this_machine_is_understood(userland):
    box = userland
    for unit in ("-k", "-i"):
        command = [str(box.tools / "df"), "-P", unit, "."]
        if subprocess.call(command, cwd=str(box.root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            pytest.skip("the df of this machine tells nothing of this file system")
    (box.fakes / "df").unlink()
    before = free_percent(box.root)
    _, lines = box.run()
    after = free_percent(box.root)
    assert not lines[6].startswith("UNKNOWN inodes: ")
    said = float(lines[5].split("disk: ")[1].split("%")[0])
    # Others may write and delete meanwhile, and df rounds.
    assert min(before, after) - 1 < said < max(before, after) + 1


def test_what_comes_on_standard_input_is_not_waited_for(box):
    box.fake("ps", "cat; printf '1 init\\n2 cron\\n'")
    reading, writing = os.pipe()
    try:
        started = subprocess.Popen(box.command(), env={"PATH": "%s:%s" % (box.fakes, box.tools)}, stdin=reading,
                                   stdout=subprocess.DEVNULL)
        try:
            assert started.wait(10) == 0
        finally:
            started.kill()
            started.wait()
    finally:
        os.close(reading)
        os.close(writing)


def test_a_warning_exits_0_and_with_strict_1(box):
    box.heartbeat(400)
    assert box.run()[0] == 0
    assert box.run("--strict")[0] == 1


def test_a_critical_finding_beats_an_unknown_one_which_beats_a_warning(box):
    box.file("x.tmp", days=30)
    box.fake("df", "exit 1")
    assert box.says("--temp-warning", "0") == [
        3, "UNKNOWN - disk unknown",
        "WARNING temp files: 1 file, 0 B, older than 7 days",
        "UNKNOWN disk: df did not answer",
        "OK inodes: not reported by this system's df"]
    box.heartbeat(9000)
    assert box.says("--strict")[:2] == [2, "CRITICAL - last tick 2h ago"]


def test_a_verdict_that_is_too_long_names_what_fits_and_counts_the_rest(userland):
    box = userland
    box.health(**{"n" * 33: "nonsense"})
    box.heartbeat(400)
    box.fake_text("ps", PS_WITHOUT_CRON.replace("1 /sbin/init", "9 /sbin/init"))
    assert box.run()[1][0] == "WARNING - %s unknown; last tick 6m ago (+1 more)" % ("n" * 33)
    os.rename(str(box.root / "status/automation_health" / ("n" * 33 + ".health")),
              str(box.root / "status/automation_health" / ("n" * 34 + ".health")))
    assert box.run()[1][0] == "WARNING - %s unknown (+2 more)" % ("n" * 34)


def test_a_name_that_does_not_fit_into_the_verdict_is_cut(userland):
    box = userland
    box.health(**{"n" * 200: "failed:2025-06-02T10:00:00Z:1\n"})
    box.heartbeat(700)
    assert box.run()[1][0] == "CRITICAL - %s... (+1 more)" % ("n" * 55)


# -- options

@pytest.mark.parametrize("args, sentence", [
    (["--frobnicate"], "unknown option '--frobnicate'"),
    (["extra"], "unknown option 'extra'"),
    (["--root"], "--root requires a value"),
    (["--root="], "--root: the folder name is empty"),
    (["--temp-age", "a week"], "--temp-age: 'a week' is not a whole number"),
    (["--temp-warning="], "--temp-warning: '' is not a whole number"),
    (["--heartbeat-warning", "-5"], "--heartbeat-warning: '-5' is not a whole number"),
    (["--heartbeat-critical", "9999999"], "--heartbeat-critical: '9999999' is more than 999999"),
    (["--disk-warning", "101"], "--disk-warning: '101' is more than 100 percent"),
    (["--disk-warning", "1"], "--disk-warning 1 is below --disk-critical 2"),
    (["--inode-critical=50"], "--inode-warning 5 is below --inode-critical 50"),
    (["--heartbeat-warning", "7200"], "--heartbeat-warning 7200 is above --heartbeat-critical 600"),
])
def test_a_wrong_option_is_refused_in_one_sentence(one_box, args, sentence):
    code, out, err = one_box.call(*args)
    assert (code, out) == (3, "")
    assert err.startswith("usage: quick_health_check.sh ")
    assert err.endswith("\nquick_health_check.sh: %s\n" % sentence)


def test_help_names_every_option_and_exits_0(box):
    code, out, err = box.call("--help")
    assert (code, err) == (0, "")
    for option in ("--root", "--strict", "--disk-warning 5", "--disk-critical 2", "--inode-warning 5",
                   "--inode-critical 2", "--heartbeat-warning 180", "--heartbeat-critical 600", "--temp-age 7",
                   "--temp-warning 100"):
        assert "  %s " % option in out


def test_the_limits_are_those_of_the_conductor():
    text = CHECK.read_text()
    limits = {name: int(value) for name, value in re.findall(r"(?m)^([a-z_]+)=([0-9]+) ", text)}
    assert limits == {
        "heartbeat_warning": sc.TICK_STALE_S, "heartbeat_critical": sc.TICK_DEAD_S, "clock_tolerance": sc.TICK_STALE_S,
        "disk_warning": sc.FREE_WARNING_PERCENT, "disk_critical": sc.FREE_PROBLEM_PERCENT,
        "inode_warning": sc.FREE_WARNING_PERCENT, "inode_critical": sc.FREE_PROBLEM_PERCENT}
    daemons = re.search(r"/\^\((cron\|.*)\)\$/", text).group(1)
    assert tuple(daemons.split("|")) == sc.CRON_DAEMONS
    codes = re.findall(r'\b(?:measured|explained)\["([a-z-]+)"\]', text)
    assert len(codes) == 14 and set(codes) <= set(sc.FINDINGS)


def test_a_leading_zero_makes_no_octal_number(box):
    box.file("old.tmp", days=9)
    assert box.run("--temp-age", "010")[1][1] == "OK temp files: 0 files, 0 B, older than 10 days"
    assert box.run("--temp-age=008")[1][1] == "OK temp files: 1 file, 0 B, older than 8 days"


def test_the_root_is_that_of_the_environment_or_the_folder_above_the_script(box):
    box.file("old.tmp", days=30)
    box.folder("scripts")
    copy = box.root / "scripts" / CHECK.name
    shutil.copy(str(CHECK), str(copy))
    counts = "OK temp files: 1 file, 0 B, older than 7 days"
    assert box.run(command=box.shell + [str(copy)])[1][1] == counts
    assert box.run(command=box.shell + [CHECK.name], cwd=str(copy.parent))[1][1] == counts
    box.env["SYMPHONY_ROOT"] = str(box.root)
    assert box.run(command=box.shell + [str(CHECK)])[1][1] == counts


@pytest.mark.parametrize("name", ["-", "-e", "$(touch x)", "a\nb", "*"])
def test_a_root_with_an_odd_name_is_found(userland, name):
    box = userland
    odd = box.root / name
    shutil.copytree(str(box.root), str(odd))
    code, lines = box.run(command=box.shell + [str(CHECK), "--root", name], cwd=str(box.root))
    assert (code, lines[0]) == (0, "OK - 7 checks passed")
    assert not (box.root / "x").exists()


def test_a_missing_root_is_unknown(box):
    missing = str(box.root / "no such folder")
    assert box.run(command=box.shell + [str(CHECK), "--root", missing]) == (
        3, ["UNKNOWN - the root is missing or not a folder"])
    box.file("file")
    assert box.run(command=box.shell + [str(CHECK), "--root=" + str(box.root / "file")])[0] == 3


# -- temp files

def test_old_temp_files_are_counted_with_their_size_and_young_ones_are_not(userland):
    box = userland
    for name in ("a.tmp", "b.temp", "c.swp", "d.swo", "e~", "f.bak"):
        box.file(name, b"x" * 512, days=7.1)
    for name in ("young.tmp", "b.tmp.txt", "tmp"):
        box.file(name, b"x" * 512, days=6.9 if name.startswith("y") else 30)
    assert box.says() == [0, "OK - 7 checks passed", "OK temp files: 6 files, 3.0 KiB, older than 7 days"]
    assert box.says("--temp-age", "8") == [0, "OK - 7 checks passed", "OK temp files: 0 files, 0 B, older than 8 days"]


def test_more_temp_files_than_allowed_are_a_warning(userland):
    box = userland
    for number in range(3):
        box.file("%d.tmp" % number, days=30)
    assert box.run("--temp-warning", "3")[1][0] == "OK - 7 checks passed"
    assert box.says("--temp-warning", "2") == [
        0, "WARNING - 3 old temp files", "WARNING temp files: 3 files, 0 B, older than 7 days"]


def test_a_hundred_temp_files_pass_and_one_more_does_not(one_box):
    for number in range(100):
        one_box.file("%d.tmp" % number, days=30)
    assert one_box.run()[1][0] == "OK - 7 checks passed"
    one_box.file("100.tmp", days=30)
    assert one_box.run()[1][0] == "WARNING - 101 old temp files"


def test_temp_files_of_other_owners_are_not_counted(userland):
    box = userland
    for name in (".git", ".cleanup_quarantine", "src/node_modules", "clone/.git", "work tree", "linked", "n\nl/.git"):
        box.folder(name)
    box.file("work tree/.git", "gitdir: elsewhere")
    (box.root / "linked" / ".git").symlink_to(str(box.root / ".git"))
    box.folder("clone/deep/er")
    for name in (".git/1.tmp", ".cleanup_quarantine/2.tmp", "src/node_modules/3.tmp", "clone/4.tmp", "clone/.git/5.tmp",
                 "clone/deep/er/6.tmp", "work tree/7.tmp", "n\nl/8.tmp", "linked/9.tmp", "conductor_state.json.bak"):
        box.file(name, days=30)
    (box.root / "link.tmp").symlink_to("/etc/passwd")
    box.folder("folder.tmp")
    assert box.run()[1][1] == "OK temp files: 0 files, 0 B, older than 7 days"
    for name in ("src/a.tmp", "clones.tmp", "src/conductor_state.json.bak"):
        box.file(name, days=30)
    assert box.run()[1][1] == "OK temp files: 3 files, 0 B, older than 7 days"


def test_odd_file_names_count_once_and_run_nothing(box):
    names = ["new\nline.tmp", "two\n\nlines\n.tmp", "-rf.tmp", "*.tmp", "$(touch injected).tmp", "`touch injected`.tmp",
             " .tmp", "tab\t.tmp", "'\".tmp", "\\n.tmp", b"\xff\xfe.tmp", "x\n-rw-r--r-- 1 0 0 999 Jan 1 00:00 .\n.tmp",
             "nul\n-end 1.tmp"]
    for name in names:
        with open(os.path.join(os.fsencode(str(box.root)), os.fsencode(name)), "wb") as handle:
            handle.write(b"1234567890")
        os.utime(os.path.join(os.fsencode(str(box.root)), os.fsencode(name)), (1, 1))
    assert box.says() == [0, "OK - 7 checks passed", "OK temp files: 13 files, 130 B, older than 7 days"]
    assert not list(box.root.glob("**/injected"))


def test_a_find_that_does_not_work_is_unknown(userland):
    box = userland
    box.fake("find", "exit 1")
    box.health(backup="success:2025-06-02T10:00:00Z:0\n")
    assert box.says() == [3, "UNKNOWN - temp files unknown; automation unknown",
                          "UNKNOWN temp files: find does not work", "UNKNOWN automation: find does not work"]


def test_the_environment_of_the_caller_does_not_change_the_figures(userland):
    box = userland
    box.env.update(QUOTING_STYLE="c", BLOCK_SIZE="1M", LS_BLOCK_SIZE="1M", TIME_STYLE="+//", CDPATH="/", COLUMNS="12",
                   LC_ALL="C.UTF-8", POSIXLY_CORRECT="1")
    box.file("a.tmp", b"x" * 3000000, days=30)
    assert box.says() == [0, "OK - 7 checks passed", "OK temp files: 1 file, 2.9 MiB, older than 7 days"]


# -- automation

def test_a_failed_automation_is_critical_and_named(userland):
    box = userland
    box.health(backup="failed:%s:3\n" % iso(-3 * 3600), sync="success:2025-06-02T10:00:00Z:0\n",
               report="success:2025-06-02T10:00:00Z:0")
    assert box.says() == [
        2, "CRITICAL - backup failed",
        "CRITICAL automation: 3 tasks, 2 succeeded; 1 failed: backup (failed, exit code 3, 3h ago)"]
    box.health(copy="timeout:%s:124\n" % iso(-330))
    assert box.says() == [
        2, "CRITICAL - backup failed and 1 more",
        "CRITICAL automation: 4 tasks, 2 succeeded; 2 failed: backup (failed, exit code 3, 3h ago), "
        "copy (timeout, exit code 124, 5m ago)"]


STATE = """\
{"tasks":{
"done":{"cursor":1,"last":{"status":"success","exit_code":0}},
"slow":{"cycle":{"phase":"retrying","attempt":2,"attempts":[{"status":"failed"}]},"last":{"status":"failed"}},
"worse":{"cycle":{"phase":"running","attempts":[{"status":"failed"}]},"consecutive_failures":2,"last":{"a":1}},
"liar":{"last":{"status":"failed","last_line":"\\"attempts\\":[{"}}
},"version":1}
"""


def test_without_python_a_failure_that_is_retried_is_a_warning(userland):
    box = userland
    (box.fakes / "python3").unlink()
    box.file("conductor_state.json", STATE)
    box.health(slow="failed:%s:3\n" % iso(-330), done="success:2025-06-02T10:00:00Z:0\n")
    assert box.says()[:3] == [
        0, "WARNING - slow retrying; python3 not found",
        "WARNING automation: 2 tasks, 1 succeeded; 1 failed: slow (failed, exit code 3, 5m ago, retrying)"]
    box.health(worse="failed:%s:3\n" % iso(-60), liar="failed:%s:3\n" % iso(-60))
    code, lines = box.run()
    assert (code, lines[0]) == (2, "CRITICAL - liar failed and 2 more")
    (box.root / "conductor_state.json").unlink()
    os.mkfifo(str(box.root / "conductor_state.json"))
    assert box.run()[0] == 2


def test_a_skipped_automation_is_mentioned_and_no_warning(userland):
    box = userland
    box.health(cleanup="skipped:2025-06-02T10:00:00Z:75\n", backup="success:2024-02-29T23:59:59Z:0\n")
    assert box.says() == [0, "OK - 7 checks passed", "OK automation: 2 tasks, 1 succeeded; 1 skipped: cleanup"]


def test_a_stopped_automation_is_mentioned_and_no_warning(userland):
    box = userland
    box.health(cleanup="stopped:2025-06-02T10:00:00Z:143\n", backup="success:2024-02-29T23:59:59Z:0\n")
    assert box.says() == [0, "OK - 7 checks passed",
                          "OK automation: 2 tasks, 1 succeeded; 1 stopped by hand: cleanup"]


@pytest.mark.parametrize("text, reason", [
    ("", "empty"),
    ("\n", "malformed: "),
    ("success\n", "malformed: success"),
    ("success:2025-06-02T10:00:00Z\n", "malformed: success:2025-06-02T10:00:00Z"),
    ("success:2025-06-02T10:00:00Z:\n", "malformed: success:2025-06-02T10:00:00Z:"),
    ("success:2025-06-02T10:00:00Z:0x\n", "malformed: success:2025-06-02T10:00:00Z:0x"),
    ("success:2025-06-02T10:00:00Z:0:0\n", "malformed: success:2025-06-02T10:00:00Z:0:0"),
    ("success:2025-06-02T10:00:00Z:256\n", "malformed: success:2025-06-02T10:00:00Z:256"),
    ("success:2025-06-02T10:00:00Z:0\r\n", "malformed: success:2025-06-02T10:00:00Z:0?"),
    ("success:2025-06-02T10:00:00Z:0\nmore\n", "malformed: success:2025-06-02T10:00:00Z:0"),
    ("success:2025-06-02 10:00:00Z:0\n", "malformed: success:2025-06-02 10:00:00Z:0"),
    ("success:2025-02-29T10:00:00Z:0\n", "malformed: success:2025-02-29T10:00:00Z:0"),
    ("success:2025-06-31T10:00:00Z:0\n", "malformed: success:2025-06-31T10:00:00Z:0"),
    ("success:2025-13-01T10:00:00Z:0\n", "malformed: success:2025-13-01T10:00:00Z:0"),
    ("success:2025-06-02T24:00:00Z:0\n", "malformed: success:2025-06-02T24:00:00Z:0"),
    ("splendid:2025-06-02T10:00:00Z:0\n", "malformed: splendid:2025-06-02T10:00:00Z:0"),
    ("success:2025-06-02T10:00:00Z:0" + " " * 300, "malformed: too long"),
    ("\x1b[31mred\t\x07\x9bOK\n", "malformed: ?[31mred????OK"),
    ("success:2025-06-02T10:00:00Z:1\n", "says success, but exit code 1"),
    ("failed:2025-06-02T10:00:00Z:0\n", "says failed, but exit code 0"),
    ("timeout:2025-06-02T10:00:00Z:0\n", "says timeout, but exit code 0"),
    ("interrupted:2025-06-02T10:00:00Z:00\n", "says interrupted, but exit code 0"),
])
def test_a_health_file_that_says_nothing_sure_is_unknown(one_box, text, reason):
    one_box.health(odd=text, good="success:2025-06-02T10:00:00Z:0\n")
    assert one_box.says() == [0, "WARNING - odd unknown",
                              "WARNING automation: 2 tasks, 1 succeeded; 1 unknown: odd (%s)" % reason]


def test_unsure_health_files_are_all_named_under_every_shell(box):
    box.health(bad="nonsense\n", contra="success:2025-06-02T10:00:00Z:1\n", empty="", nul=b"a\x00b\n",
               **{"new\nline": "x", "-n": "x", "spa ce": "success:2025-06-02T10:00:00Z:0\n", ".hidden": ""})
    folder = box.folder("status/automation_health/folder.health").parent
    os.mkfifo(str(folder / "fifo.health"))
    (folder / "link.health").symlink_to("/dev/zero")
    (folder / "other.txt").write_text("")
    (folder / "x.health.tmp").write_text("")
    with open(str(folder / "huge.health"), "wb") as handle:
        handle.truncate(1 << 40)
    code, lines = box.run()
    assert (code, lines[0]) == (0, "WARNING - link and 10 more unknown")
    nul = "nul (malformed: a" if "nul (malformed: a)" in lines[2] else "nul (malformed: a?b"
    assert lines[2] == (
        "WARNING automation: 11 tasks, 0 succeeded; 11 unknown: link (not a regular file), -n (not a task name), "
        "bad (malformed: nonsense), contra (says success, but exit code 1), empty (empty), fifo (not a regular file), "
        "folder (not a regular file), huge (malformed: too long), new?line (not a task name), " + nul + ") and 1 more")


def test_a_health_file_from_the_future_is_unknown_after_three_minutes(userland):
    box = userland
    box.health(near="success:%s:0\n" % iso(150))
    assert box.run()[1][0] == "OK - 7 checks passed"
    box.health(far="success:2099-01-01T00:00:00Z:0\n", soon="success:%s:0\n" % iso(400))
    code, lines = box.run()
    assert (code, lines[0]) == (0, "WARNING - far and 1 more unknown")
    assert "soon (dated 6m in the future)" in lines[2] and "far (dated " in lines[2]


def test_its_own_health_file_is_excepted(box):
    box.health(health_check="failed:2025-06-02T10:00:00Z:2\n")
    assert box.says() == [0, "OK - 7 checks passed"]
    box.env["SYMPHONY_TASK"] = "nightly"
    assert box.run()[1][0] == "CRITICAL - health_check failed"
    box.health(nightly="failed:2025-06-02T10:00:00Z:2\n", health_check="success:2025-06-02T10:00:00Z:0\n")
    assert box.says() == [0, "OK - 7 checks passed", "OK automation: 1 task, 1 succeeded"]


def test_of_many_failed_automations_ten_are_named(one_box):
    one_box.health(**{"t%02d" % number: "failed:%s:1\n" % iso(-60) for number in range(30)})
    code, lines = one_box.run()
    assert (code, lines[0]) == (2, "CRITICAL - t00 failed and 29 more")
    assert lines[2].count("exit code 1") == 10 and lines[2].endswith(" and 20 more")


def test_what_is_closed_to_the_user_is_unknown_and_named(box):
    place = pathlib.Path(tempfile.mkdtemp(prefix="health-"))
    try:
        place.chmod(0o755)
        shutil.copy(str(CHECK), str(place / "check.sh"))
        for source, name in ((box.root, "project"), (box.fakes, "fakes"), (box.tools, "tools")):
            shutil.copytree(str(source), str(place / name), symlinks=True)
        for path in [place / "check.sh", place / "project"] + list(place.glob("fakes/**/*")):
            path.chmod(0o755)
        for name in ("project", "project/status", "project/config", "fakes", "tools"):
            (place / name).chmod(0o755)
        (place / "project/config/conductor_config.json").chmod(0o644)
        health = place / "project/status/automation_health"
        health.mkdir(mode=0o755)
        (health / "closed.health").write_text("success:2025-06-02T10:00:00Z:0\n")
        (health / "closed.health").chmod(0)
        box.fakes, box.tools = place / "fakes", place / "tools"
        command = box.shell + [str(place / "check.sh"), "--root", str(place / "project")]
        more = {"cwd": "/", "command": command}
        if os.geteuid() == 0:
            more["preexec_fn"] = lambda: (os.setgroups([]), os.setgid(NOBODY), os.setuid(NOBODY))
        assert box.says(**more) == [
            0, "WARNING - closed unknown", "WARNING automation: 1 task, 0 succeeded; 1 unknown: closed (unreadable)"]
        (place / "project/status").chmod(0)
        assert box.says(**more) == [
            3, "UNKNOWN - automation unknown; heartbeat unknown",
            "OK temp files: 0 files, 0 B, older than 7 days (some folders could not be read)",
            "UNKNOWN automation: no permission to read status/automation_health",
            "UNKNOWN heartbeat: no permission to read status"]
        (place / "project").chmod(0)
        assert box.run(**more) == (3, ["UNKNOWN - the root is not readable"])
    finally:
        for name in ("project", "project/status"):
            (place / name).chmod(0o755)
        shutil.rmtree(str(place))


# -- heartbeat and cron

@pytest.mark.parametrize("age, code, line", [
    (150, 0, "OK heartbeat: last tick 2m ago"),
    (210, 0, "WARNING heartbeat: last tick 3m ago"),
    (570, 0, "WARNING heartbeat: last tick 9m ago"),
    (630, 2, "CRITICAL heartbeat: last tick 10m ago"),
    (90 * 86400, 2, "CRITICAL heartbeat: last tick 90d ago"),
    (-150, 0, "OK heartbeat: last tick 0s ago"),
    (-400, 2, "CRITICAL heartbeat: the last tick is dated 6m in the future: was the clock set back?"),
])
def test_the_heartbeat_ages_from_ok_to_critical(one_box, age, code, line):
    one_box.heartbeat(age)
    found, lines = one_box.run()
    assert (found, lines[3]) == (code, line)


def test_a_stale_heartbeat_is_seen_with_every_shell(box):
    box.heartbeat(400)
    assert box.says() == [0, "WARNING - last tick 6m ago", "WARNING heartbeat: last tick 6m ago"]
    assert box.says("--heartbeat-critical=350") == [
        2, "CRITICAL - last tick 6m ago", "CRITICAL heartbeat: last tick 6m ago"]


def test_no_tick_yet_is_critical(userland):
    box = userland
    (box.root / "status" / "heartbeat").unlink()
    expected = [2, "CRITICAL - no tick yet", "CRITICAL heartbeat: no tick yet: status/heartbeat does not exist"]
    assert box.says() == expected
    (box.root / "status").rmdir()
    assert box.says() == expected


def test_the_heartbeat_is_read_with_the_stat_of_bsd(userland):
    userland.fake("stat", "[ \"$1 $2 $3\" = '-L -f %m' ] || { echo 'stat: illegal option -- c' >&2; exit 1; }\n"
                          "echo 1000000000")
    days = int((time.time() - 1000000000) / 86400)
    assert userland.run()[1][0] == "CRITICAL - last tick %dd ago" % days


def test_the_heartbeat_is_read_without_any_stat(userland):
    userland.heartbeat(2 * 86400 + 60)
    userland.without("stat")
    assert userland.run()[1][0] == "CRITICAL - last tick 2d ago"


NO_CRON = "OK cron: no cron daemon is running, but the heartbeat is fresh"


@pytest.mark.parametrize("line", [
    "/usr/sbin/crond -n", "crond", "/usr/sbin/cron", "busybox crond -f", "/bin/busybox crond", "{crond} /bin/x",
    "/usr/sbin/fcron -f", "/usr/sbin/cronie -n"])
def test_every_cron_daemon_is_known(one_box, line):
    one_box.fake_text("ps", "  PID COMMAND\n    1 /init\n   99 %s\n" % line)
    name = line.replace("busybox ", "").split(" ")[0].split("/")[-1]
    expected = NO_CRON if name == "{crond}" else "OK cron: %s is running" % name
    assert one_box.run()[1][4] == expected


def test_without_cron_a_stale_heartbeat_is_critical_and_a_fresh_one_proves_that_ticks_come(box):
    box.fake_text("ps", PS_WITHOUT_CRON)
    assert box.says() == [0, "OK - 7 checks passed", NO_CRON]
    box.heartbeat(400)
    assert box.says() == [2, "CRITICAL - cron is not running", "WARNING heartbeat: last tick 6m ago",
                          "CRITICAL cron: no cron daemon is running, and the heartbeat is stale"]
    (box.root / "status" / "heartbeat").unlink()
    assert box.says()[:2] == [2, "CRITICAL - no tick yet; cron is not running"]


def test_where_the_processes_of_others_are_hidden_the_heartbeat_decides(userland):
    box = userland
    box.fake_text("ps", "    PID COMMAND\n   4711 -sh\n   4712 ps\n")
    assert box.says() == [0, "OK - 7 checks passed",
                          "OK cron: hidden from this user, but the heartbeat is fresh"]
    box.heartbeat(400)
    assert box.says() == [0, "WARNING - last tick 6m ago; cron unknown", "WARNING heartbeat: last tick 6m ago",
                          "WARNING cron: cannot tell whether cron is running: processes are hidden"]


def test_a_ps_that_knows_no_option_for_all_is_asked_without_it(userland):
    box = userland
    box.fake("ps", "[ \"$*\" = '-o pid,args' ] || { echo 'ps: invalid option' >&2; exit 1; }\n"
                   "printf 'PID   COMMAND\\n    1 init\\n   45 crond -b\\n'")
    assert box.says() == [0, "OK - 7 checks passed", "OK cron: crond is running"]


def test_without_ps_the_kernel_is_asked(box):
    box.without("ps")
    code, lines = box.run()
    if os.path.exists("/proc/1/comm"):
        assert lines[4] in (
            NO_CRON, "OK cron: cron is running", "OK cron: crond is running",
            "OK cron: hidden from this user, but the heartbeat is fresh")
    assert code == 0


def test_a_systemd_timer_stands_in_for_cron(userland):
    box = userland
    box.fake_text("ps", PS_WITHOUT_CRON)
    box.fake("systemctl", "[ \"$*\" = 'is-active --quiet symphony-conductor.timer' ]")
    assert box.says() == [0, "OK - 7 checks passed", "OK cron: symphony-conductor.timer is active"]
    box.fake("systemctl", "[ \"$*\" = '--user is-active --quiet symphony-conductor.timer' ]")
    assert box.says() == [0, "OK - 7 checks passed", "OK cron: symphony-conductor.timer is active"]
    box.fake("systemctl", "echo inactive; exit 3")
    assert box.says()[2] == NO_CRON


# -- disk and inodes

BUSYBOX_DISK = """\
Filesystem           1024-blocks    Used Available Capacity Mounted on
/dev/mmcblk0p2           1000000  960000     40000  96% /
"""
WRAPPED = """\
Filesystem         1024-blocks      Used Available Capacity Mounted on
/dev/mapper/a-very-long-name-of-a-volume-group-and-its-volume
                       1000000    990000     10000      99% /
"""
SPACES = """\
Filesystem     1024-blocks   Used Available Capacity Mounted on
//server/my 10 20 30 40% share 2  1000000 700000 300000  70% /Volumes/my 1 2 3 4% disk
"""
RESERVED = """\
Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/ada0p2        1000000 1005000     -5000     101% /
"""
MACOS_DISK = """\
Filesystem   1024-blocks      Used Available Capacity  Mounted on
/dev/disk3s5   482797652 347000000 100000000    78%    /System/Volumes/Data
"""
MACOS_INODES = """\
Filesystem   512-blocks      Used Available Capacity iused     ifree %iused  Mounted on
/dev/disk3s5  965595304 694000000 200000000    78% 9200000 800000000    1%   /System/Volumes/Data
"""
FREEBSD_INODES_FULL = """\
Filesystem  512-blocks   Used    Avail Capacity iused ifree %iused  Mounted on
/dev/ada0p2    2000000 500000  1500000    25%   99000  1000    99%   /
"""
BTRFS_INODES = """\
Filesystem     Inodes IUsed IFree IUse% Mounted on
/dev/sda2           0     0     0     - /
"""
BTRFS_INODES_BUSYBOX = """\
Filesystem              Inodes      Used Available Capacity Mounted on
/dev/sda2                    0         0         0   0% /
"""
FUSE_INODES = """\
Filesystem     Inodes IUsed IFree IUse% Mounted on
sshfs               -     -     -     - /mnt
"""
INODES_LOW = DF_INODES.replace("689783 16087433", "16000000  777216")
INODES_FULL = DF_INODES.replace("689783 16087433", "16500000  277216")
LINES = {"disk": HEALTHY.splitlines()[5], "inodes": HEALTHY.splitlines()[6]}

DF_TABLE = [
    ("gnu", DF_DISK, DF_INODES, 0, LINES["disk"], LINES["inodes"]),
    ("busybox", BUSYBOX_DISK, DF_INODES, 0, "WARNING disk: 4.0% free (39.1 MiB)", LINES["inodes"]),
    ("wrapped", WRAPPED, DF_INODES, 2, "CRITICAL disk: 1.0% free (9.8 MiB)", LINES["inodes"]),
    ("spaces", SPACES, DF_INODES, 0, "OK disk: 30.0% free (293.0 MiB)", LINES["inodes"]),
    ("reserved", RESERVED, DF_INODES, 2, "CRITICAL disk: 0.0% free (0 B)", LINES["inodes"]),
    ("macos", MACOS_DISK, MACOS_INODES, 0, "OK disk: 22.3% free (95.4 GiB)", "OK inodes: 98.8% free (800000000)"),
    ("freebsd", DF_DISK, FREEBSD_INODES_FULL, 2, LINES["disk"], "CRITICAL inodes: 1.0% free (1000)"),
    ("btrfs", DF_DISK, BTRFS_INODES, 0, LINES["disk"], "OK inodes: not applicable to this file system"),
    ("btrfs busybox", DF_DISK, BTRFS_INODES_BUSYBOX, 0, LINES["disk"], "OK inodes: not applicable to this file system"),
    ("fuse", DF_DISK, FUSE_INODES, 0, LINES["disk"], "OK inodes: not applicable to this file system"),
    ("inodes low", DF_DISK, INODES_LOW, 0, LINES["disk"], "WARNING inodes: 4.6% free (777216)"),
    ("inodes full", DF_DISK, INODES_FULL, 2, LINES["disk"], "CRITICAL inodes: 1.6% free (277216)"),
    ("odd", "Filesystem\nwhat is this\n", "Filesystem\n1 2 3\n", 3,
     "UNKNOWN disk: cannot parse the output of df",
     "UNKNOWN inodes: cannot parse the output of df"),
]


@pytest.mark.parametrize("disk, inodes, code, disk_line, inode_line", [row[1:] for row in DF_TABLE],
                         ids=[row[0] for row in DF_TABLE])
def test_every_kind_of_df_is_understood(userland, disk, inodes, code, disk_line, inode_line):
    userland.fake_df(disk, inodes)
    found, lines = userland.run()
    assert (found, lines[5], lines[6]) == (code, disk_line, inode_line)


@pytest.mark.parametrize("free, args, state", [
    (50, [], "OK"), (49, [], "WARNING"), (20, [], "WARNING"), (19, [], "CRITICAL"),
    (200, ["--disk-warning", "21"], "WARNING"), (200, ["--disk-warning", "30", "--disk-critical", "21"], "CRITICAL"),
    (0, ["--disk-warning", "0", "--disk-critical", "0"], "OK")])
def test_the_disk_thresholds_are_free_percentages(one_box, free, args, state):
    one_box.fake_df("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 1100 %d %d %d%% /\n" % (
        1000 - free, free, (1000 - free) // 10), DF_INODES)
    assert one_box.run(*args)[1][5].startswith(state + " disk: ")


@pytest.mark.parametrize("free, args, state", [
    (50, [], "OK"), (49, [], "WARNING"), (19, [], "CRITICAL"), (200, ["--inode-warning=21"], "WARNING"),
    (200, ["--inode-warning=30", "--inode-critical=21"], "CRITICAL")])
def test_the_inode_thresholds_are_free_percentages(one_box, free, args, state):
    one_box.fake_df(DF_DISK, "Filesystem Inodes IUsed IFree IUse%% Mounted on\n/dev/x 1000 %d %d %d%% /\n" % (
        1000 - free, free, (1000 - free) // 10))
    assert one_box.run(*args)[1][6].startswith(state + " inodes: ")


@pytest.mark.parametrize("tool, verdict", [
    ("df", "UNKNOWN - disk unknown; inodes unknown"), ("find", "UNKNOWN - temp files unknown; automation unknown"),
    ("awk", "UNKNOWN - awk not found on PATH"), ("date", "UNKNOWN - automation unknown; heartbeat unknown")])
def test_a_missing_tool_is_unknown_and_named(userland, tool, verdict):
    box = userland
    box.without(tool)
    code, lines = box.run()
    assert (code, lines[0]) == (3, verdict)


def test_an_awk_that_does_not_work_is_unknown(box):
    box.fake("awk", "exit 2")
    assert box.run() == (3, ["UNKNOWN - awk does not work"])


def test_a_full_disk_under_the_output_is_no_verdict(one_box):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    env = {"PATH": "%s:%s" % (one_box.fakes, one_box.tools)}
    with open("/dev/full", "w") as full:
        assert subprocess.call(one_box.command(), env=env, stdout=full, stderr=subprocess.DEVNULL) == 3


# -- the findings of the conductor

FAILING = ("problem", "failing", "b", "b failed (exit 3); no retries left, for 3h", "./symphony_conductor.py logs b",
           "tasks")
RETRYING = ("warning", "retrying", "b", "b failed (exit 3); attempt 2 of 3 is running", "", "tasks")
PAUSED = ("notice", "paused", "b", "b is paused with no end set", "", "pauses")
FULL = ("problem", "disk-full", "", "the disk is full", "df -h /", "disk")
LOW = ("warning", "inodes-low", "", "few inodes", "", "disk")
NOT_CALLED = ("problem", "not-called", "", "no tick for 11m", "", "ticks")
NO_DAEMON = ("problem", "no-cron-daemon", "", "no cron daemon is running; no tick for 5m", "cron", "ticks")
UNREADABLE = ("problem", "unreadable", "", "cannot read status/heartbeat", "", "files")
CRITICAL_B = "CRITICAL tasks: b failed (exit 3); no retries left, for 3h; try: ./symphony_conductor.py logs b"


def test_what_the_conductor_finds_is_said_with_the_next_command(box):
    box.fake_answer(FAILING, RETRYING, PAUSED)
    assert box.says() == [
        2, "CRITICAL - b failed (exit 3); no retries left, for 3h", CRITICAL_B,
        "WARNING tasks: b failed (exit 3); attempt 2 of 3 is running", "NOTICE pauses: b is paused with no end set"]
    box.fake_answer(RETRYING)
    assert box.says()[:2] == [0, "WARNING - b failed (exit 3); attempt 2 of 3 is running"]
    box.fake_answer(PAUSED)
    assert box.says() == [0, "OK - 7 checks passed", "NOTICE pauses: b is paused with no end set"]


def full_disk(box):
    box.fake_df(RESERVED, DF_INODES)


def low_inodes(box):
    box.fake_df(DF_DISK, INODES_LOW)


def quiet_cron(box):
    box.fake_text("ps", PS_WITHOUT_CRON)
    box.heartbeat(330)


def no_df(box):
    box.fake("df", "exit 1")


def no_heartbeat(box):
    (box.root / "status" / "heartbeat").unlink()


@pytest.mark.parametrize("prepare, args, finding, code, lines", [
    (full_disk, [], FULL, 2, ["CRITICAL disk: the disk is full; try: df -h /"]),
    (low_inodes, [], LOW, 0, ["WARNING inodes: few inodes"]),
    (low_inodes, ["--inode-critical=5"], LOW, 2, ["CRITICAL inodes: few inodes"]),
    (low_inodes, ["--inode-warning=3"], LOW, 0, ["OK inodes: 4.6% free (777216)"]),
    (no_df, [], FULL, 2, ["CRITICAL disk: the disk is full; try: df -h /",
                          "OK inodes: not reported by this system's df"]),
    (quiet_cron, [], NO_DAEMON, 2, ["CRITICAL ticks: no cron daemon is running; no tick for 5m; try: cron"]),
    (no_heartbeat, [], NOT_CALLED, 2, ["CRITICAL heartbeat: no tick for 11m"]),
    (str, [], NOT_CALLED, 0, []),  # a tick has come since
    (str, [], UNREADABLE, 3, ["UNKNOWN files: cannot read status/heartbeat"]),
], ids=["disk", "inodes", "tightened", "loosened", "no df", "cron", "heartbeat", "a tick since", "unreadable"])
def test_what_both_have_seen_is_said_once(userland, prepare, args, finding, code, lines):
    prepare(userland)
    userland.fake_answer(finding)
    said = userland.says(*args)
    assert [said[0]] + said[2:] == [code] + lines


def test_a_task_that_the_conductor_remembers_is_judged_by_it_alone(userland):
    box = userland
    box.file("conductor_state.json", STATE)
    box.health(slow="failed:%s:3\n" % iso(-60), done="success:2025-06-02T10:00:00Z:0\n", odd="odd")
    box.fake_answer(FAILING)
    assert box.says() == [
        2, "CRITICAL - b failed (exit 3); no retries left, for 3h", CRITICAL_B,
        "WARNING automation: 3 tasks, 1 succeeded; 1 failed, judged by the conductor; 1 unknown: odd (malformed: odd)"]
    box.health(lost="failed:%s:3\n" % iso(-330))
    assert "1 failed: lost (failed, exit code 3, 5m ago); 1 unknown" in box.says()[3]


@pytest.mark.parametrize("body, reason", [
    ("exit 0", "exit status 0"),
    ("printf 'problem\\tfailing\\tb\\ttext\\t\\ttasks\\n'", "problem?failing?b?text??tasks"),  # cut short
    ("echo; echo 'Traceback' >&2; echo 'SyntaxError: \033' >&2; case $* in *findings) exit 1 ;; esac",
     "SyntaxError: ?"),
])
def test_a_conductor_that_does_not_answer_is_a_warning_and_the_checks_go_on(userland, body, reason):
    box = userland
    box.fake("python3", body.replace("\\033", "\033"))
    box.health(b="failed:%s:3\n" % iso(-330))
    text = "the conductor does not answer: " + reason
    assert box.says() == [2, "CRITICAL - b failed",
                          "CRITICAL automation: 1 task, 0 succeeded; 1 failed: b (failed, exit code 3, 5m ago)",
                          "WARNING configuration: " + text]


def test_a_conductor_that_hangs_is_not_waited_for(one_box):
    one_box.fake("timeout", "shift 3; case $* in *findings) exit 137 ;; *) exec \"$@\" ;; esac")
    assert one_box.says()[1] == "WARNING - the conductor does not answer: it did not answer within 20s"


def test_as_a_task_it_shows_failed_tasks_and_fails_for_all_else(box):
    box.fake_answer(FAILING, (FAILING[0], FAILING[1], "health_check") + FAILING[3:])
    box.env.update(SYMPHONY_TASK="health_check", SYMPHONY_ROOT=os.path.realpath(str(box.root)))
    note = "NOTICE exit: as for OK, because the conductor itself reports failed tasks"
    assert box.says() == [0, "CRITICAL - b failed (exit 3); no retries left, for 3h", CRITICAL_B, note]
    box.health(lost="failed:%s:3\n" % iso(-330))
    assert box.run("--strict")[0] == 0
    box.heartbeat(330)
    assert box.run("--strict")[0] == 1
    box.env["SYMPHONY_ROOT"] = "/another"
    assert box.run()[0] == 2


# -- configuration

def test_a_missing_python_is_a_warning_that_python_does_not_have_to_say(box):
    (box.fakes / "python3").unlink()
    assert shutil.which("python3", path="%s:%s" % (box.fakes, box.tools)) is None
    assert box.says() == [0, "WARNING - python3 not found", "WARNING configuration: python3 not found"]


def test_a_broken_python_is_a_warning(box):
    box.fake("python3", "echo 'error while loading shared libraries' >&2; exit 127")
    assert box.says() == [0, "WARNING - python3 does not work, or is older than 3.6",
                          "WARNING configuration: python3 does not work, or is older than 3.6"]


def crontab_of(root, python):
    return ("MAILTO=me\n# BEGIN symphony-conductor /elsewhere\n* * * * * cd /elsewhere && exec /no/such -I tick\n"
            "# END symphony-conductor /elsewhere\n# BEGIN symphony-conductor {0}\n* * * * * cd '{0}' && "
            "{{ [ -d logs ] || mkdir -m 700 logs; }} && exec {1} -I -S -c 'import sys' tick >>logs/conductor_cron.log "
            "2>&1\n# END symphony-conductor {0}\n").format(root, python)


def test_the_python_of_the_crontab_line_is_the_one_that_counts(userland):
    box = userland
    (box.fakes / "python3").unlink()
    box.fake("my py", "echo end")
    table = crontab_of(os.path.realpath(str(box.root)), "'%s/my py'" % box.fakes)
    box.fake_text("crontab", table.replace("\n* * * * * cd '", "\nMAILTO=ops\n* * * * * cd '"))
    ok = "OK configuration: config/conductor_config.json exists; the Python in the crontab line works"
    assert box.says() == [0, "OK - 7 checks passed", ok]
    box.fake_answer()
    box.fake_text("crontab", crontab_of(os.path.realpath(str(box.root)), "/gone/python3"))
    trouble = "the Python in the crontab line does not exist (/gone/python3)"
    assert box.says() == [2, "CRITICAL - " + trouble, "CRITICAL configuration: " + trouble]
    box.fake_text("crontab", crontab_of(os.path.realpath(str(box.root)), "'/it'\"'\"'s gone/python3'"))
    assert box.says() == [0, "OK - 7 checks passed"]
    box.fake_text("crontab", crontab_of(os.path.realpath(str(box.root)), "\"$(printf '/gone/100\\045/python3')\""))
    assert box.says() == [0, "OK - 7 checks passed"]


def test_a_crontab_without_a_line_of_this_root_leaves_the_python_of_the_path(userland):
    box = userland
    box.fake_text("crontab", crontab_of("/another", "/gone/python3"))
    assert box.says() == [0, "OK - 7 checks passed"]
    box.fake("crontab", "echo 'no crontab for me' >&2; exit 1")
    assert box.says() == [0, "OK - 7 checks passed"]


def test_a_missing_configuration_is_critical(box):
    (box.root / "config" / "conductor_config.json").unlink()
    (box.fakes / "python3").unlink()
    assert box.says() == [2, "CRITICAL - config/conductor_config.json not found; python3 not found",
                          "CRITICAL configuration: config/conductor_config.json not found; python3 not found"]


# -- together with the conductor

def test_the_conductor_runs_it_as_a_task_and_records_its_verdict(one_box):
    box = one_box
    box.health(health_check="failed:2025-06-02T10:00:00Z:2\n", backup="success:2025-06-02T10:00:00Z:0\n")
    box.project.configure({"name": "health_check", "command": ["/bin/sh", str(CHECK)],
                           "env": {"PATH": "%s:%s" % (box.fakes, box.tools)}})
    code, out, _ = box.project.call("run", "--task", "health_check")
    assert code == 0
    assert "OK - 7 checks passed\n" in out and "OK automation: 1 task, 1 succeeded\n" in out
    assert box.project.health("health_check").startswith("success:")
    box.heartbeat(9000)
    code, out, _ = box.project.call("run", "--task", "health_check")
    assert code == 2
    assert "CRITICAL - last tick 2h ago\n" in out
    assert box.project.health("health_check").startswith("failed:")


def test_two_checks_that_failed_do_not_keep_each_other_from_recovering(one_box):
    box, project = one_box, one_box.project
    (box.fakes / "python3").unlink()
    (box.fakes / "python3").symlink_to(sys.executable)
    env = {"PATH": "%s:%s" % (box.fakes, box.tools)}
    manager = [sys.executable, str(REPOSITORY / "scripts" / "automation_manager.py"), "health"]
    project.configure(dict(every_minute("x", "exit $(cat x)"), schedule="0 0 1 1 *"),
                      {"name": "health_check", "command": ["/bin/sh", str(CHECK)], "env": env},
                      {"name": "automation_health", "command": manager})

    def results(x):
        box.file("x", x)
        project.tick()
        return [project.call("run", "--task", name)[0] for name in ("x", "health_check", "automation_health")]

    assert results("3") == [3, 0, 0]
    for name in ("health_check", "automation_health"):
        assert "\nCRITICAL - " in project.read("logs/automation/%s.log" % name)
    (box.root / "status" / "heartbeat").unlink()
    assert [project.call("run", "--task", name)[0] for name in ("health_check", "automation_health")] == [2, 2]
    assert results("0") == [0, 0, 0]
    assert box.run()[:1] == (0,)


def test_the_real_conductor_is_asked_and_writes_nothing(one_box):
    box = one_box
    (box.fakes / "python3").unlink()
    (box.fakes / "python3").symlink_to(sys.executable)
    box.project.configure(due_once("b", "echo no space; exit 3", retry_count=1, retry_delay=600))
    box.project.anchor()
    box.project.tick()
    box.project.wait_for_idle()
    before = fingerprint(box.root)
    code, lines = box.run()
    assert fingerprint(box.root) == before
    assert code == 0 and lines[0].startswith("WARNING - b failed (exit 3); attempt 2 of 2 starts at the first tick ")
    assert lines[1].startswith("WARNING tasks: b failed (exit 3); attempt 2 of 2 ") and lines[1].endswith(" logs b")
    box.project.write_config("{")
    assert box.run()[1][0].startswith("CRITICAL - changes are ignored and the last valid configuration is in force:")


def test_the_script_is_executable_and_starts_without_a_shell_in_front(one_box):
    assert os.access(str(CHECK), os.X_OK)
    code, lines = one_box.run(command=[str(CHECK), "--root", str(one_box.root)])
    assert (code, lines[0]) == (0, "OK - 7 checks passed")
