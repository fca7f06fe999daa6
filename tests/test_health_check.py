"""quick_health_check.sh under every shell it has to speak in, with a PATH that holds no Python."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import pytest
from support import REPOSITORY, Project

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
        self.fake("python3", "exit 0")

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
    box.health(**{"n" * 34: "failed:2025-06-02T10:00:00Z:1\n"})
    box.heartbeat(400)
    box.fake_text("ps", PS_WITHOUT_CRON.replace("1 /sbin/init", "9 /sbin/init"))
    assert box.run()[1][0] == "WARNING - %s failed; last tick 6m ago (+1 more)" % ("n" * 34)
    os.rename(str(box.root / "status/automation_health" / ("n" * 34 + ".health")),
              str(box.root / "status/automation_health" / ("n" * 35 + ".health")))
    assert box.run()[1][0] == "WARNING - %s failed (+2 more)" % ("n" * 35)


def test_a_name_that_does_not_fit_into_the_verdict_is_cut(userland):
    box = userland
    box.health(**{"n" * 200: "failed:2025-06-02T10:00:00Z:1\n"})
    box.heartbeat(400)
    assert box.run()[1][0] == "WARNING - %s... (+1 more)" % ("n" * 56)


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
    (["--disk-warning", "4"], "--disk-warning 4 is below --disk-critical 5"),
    (["--inode-critical=50"], "--inode-warning 10 is below --inode-critical 50"),
    (["--heartbeat-warning", "7200"], "--heartbeat-warning 7200 is above --heartbeat-critical 3600"),
])
def test_a_wrong_option_is_refused_in_one_sentence(one_box, args, sentence):
    code, out, err = one_box.call(*args)
    assert (code, out) == (3, "")
    assert err.startswith("usage: quick_health_check.sh ")
    assert err.endswith("\nquick_health_check.sh: %s\n" % sentence)


def test_help_names_every_option_and_exits_0(box):
    code, out, err = box.call("--help")
    assert (code, err) == (0, "")
    for option in ("--root", "--strict", "--disk-warning 10", "--disk-critical 5", "--inode-warning 10",
                   "--inode-critical 5", "--heartbeat-warning 300", "--heartbeat-critical 3600", "--temp-age 7",
                   "--temp-warning 100"):
        assert "  %s " % option in out


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

def test_a_failed_automation_is_a_warning_that_names_it(userland):
    box = userland
    box.health(backup="failed:%s:3\n" % iso(-3 * 3600), sync="success:2025-06-02T10:00:00Z:0\n",
               report="success:2025-06-02T10:00:00Z:0")
    assert box.says() == [
        0, "WARNING - backup failed",
        "WARNING automation: 3 tasks, 2 succeeded; 1 failed: backup (failed, exit code 3, 3h ago)"]


def test_a_single_automation_that_failed_is_no_more_than_a_warning(userland):
    box = userland
    box.health(backup="timeout:%s:124\n" % iso(-330))
    assert box.says() == [
        0, "WARNING - backup timeout",
        "WARNING automation: 1 task, 0 succeeded; 1 failed: backup (timeout, exit code 124, 5m ago)"]


def test_more_than_half_of_the_automations_failed_is_critical(userland):
    box = userland
    box.health(a="failed:%s:1\n" % iso(-600), b="interrupted:%s:143\n" % iso(-600),
               c="success:2025-06-02T10:00:00Z:0\n", d="success:2025-06-02T10:00:00Z:0\n")
    assert box.run()[1][0] == "WARNING - a failed and 1 more"
    (box.root / "status" / "automation_health" / "d.health").unlink()
    assert box.says() == [
        2, "CRITICAL - a failed and 1 more",
        "CRITICAL automation: 3 tasks, 1 succeeded; 2 failed: a (failed, exit code 1, 10m ago), "
        "b (interrupted, exit code 143, 10m ago)"]


def test_a_skipped_automation_is_mentioned_and_no_warning(userland):
    box = userland
    box.health(cleanup="skipped:2025-06-02T10:00:00Z:75\n", backup="success:2024-02-29T23:59:59Z:0\n")
    assert box.says() == [0, "OK - 7 checks passed", "OK automation: 2 tasks, 1 succeeded; 1 skipped: cleanup"]


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


def test_a_health_file_from_the_future_is_unknown_after_five_minutes(userland):
    box = userland
    box.health(near="success:%s:0\n" % iso(240))
    assert box.run()[1][0] == "OK - 7 checks passed"
    box.health(far="success:2099-01-01T00:00:00Z:0\n", soon="success:%s:0\n" % iso(400))
    code, lines = box.run()
    assert (code, lines[0]) == (0, "WARNING - far and 1 more unknown")
    assert "soon (dated 6m in the future)" in lines[2] and "far (dated " in lines[2]


def test_its_own_health_file_is_excepted(box):
    box.health(health_check="failed:2025-06-02T10:00:00Z:2\n")
    assert box.says() == [0, "OK - 7 checks passed"]
    box.env["SYMPHONY_TASK"] = "nightly"
    assert box.run()[1][0] == "WARNING - health_check failed"
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
    (240, 0, "OK heartbeat: last tick 4m ago"),
    (330, 0, "WARNING heartbeat: last tick 5m ago"),
    (3570, 0, "WARNING heartbeat: last tick 59m ago"),
    (3630, 2, "CRITICAL heartbeat: last tick 60m ago"),
    (90 * 86400, 2, "CRITICAL heartbeat: last tick 90d ago"),
    (-240, 0, "OK heartbeat: last tick 0s ago"),
    (-400, 0, "WARNING heartbeat: the last tick is dated 6m in the future: was the clock set back?"),
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


def test_no_tick_yet_is_a_warning(userland):
    box = userland
    (box.root / "status" / "heartbeat").unlink()
    expected = [0, "WARNING - no tick yet", "WARNING heartbeat: no tick yet: status/heartbeat does not exist"]
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


@pytest.mark.parametrize("line", [
    "/usr/sbin/crond -n", "crond", "/usr/sbin/cron", "busybox crond -f", "/bin/busybox crond", "{crond} /bin/x",
    "/usr/sbin/fcron -f", "/usr/sbin/cronie -n"])
def test_every_cron_daemon_is_known(one_box, line):
    one_box.fake_text("ps", "  PID COMMAND\n    1 /init\n   99 %s\n" % line)
    name = line.replace("busybox ", "").split(" ")[0].split("/")[-1]
    expected = "WARNING cron: no cron daemon is running" if name == "{crond}" else "OK cron: %s is running" % name
    assert one_box.run()[1][4] == expected


def test_without_cron_a_fresh_heartbeat_makes_a_warning_and_a_stale_one_critical(box):
    box.fake_text("ps", PS_WITHOUT_CRON)
    assert box.says() == [0, "WARNING - cron is not running", "WARNING cron: no cron daemon is running"]
    box.heartbeat(400)
    assert box.says() == [2, "CRITICAL - cron is not running", "WARNING heartbeat: last tick 6m ago",
                          "CRITICAL cron: no cron daemon is running, and the heartbeat is stale"]
    (box.root / "status" / "heartbeat").unlink()
    assert box.says()[:2] == [0, "WARNING - no tick yet; cron is not running"]


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
            "WARNING cron: no cron daemon is running", "OK cron: cron is running", "OK cron: crond is running",
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
    assert box.run()[1][0] == "WARNING - cron is not running"


# -- disk and inodes

BUSYBOX_DISK = """\
Filesystem           1024-blocks    Used Available Capacity Mounted on
/dev/mmcblk0p2           1000000  920000     80000  92% /
"""
WRAPPED = """\
Filesystem         1024-blocks      Used Available Capacity Mounted on
/dev/mapper/a-very-long-name-of-a-volume-group-and-its-volume
                       1000000    960000     40000      96% /
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
/dev/ada0p2    2000000 500000  1500000    25%   96000  4000    96%   /
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
INODES_LOW = DF_INODES.replace("689783 16087433", "15600000  1177216")
INODES_FULL = DF_INODES.replace("689783 16087433", "16000000  777216")
LINES = {"disk": HEALTHY.splitlines()[5], "inodes": HEALTHY.splitlines()[6]}

DF_TABLE = [
    ("gnu", DF_DISK, DF_INODES, 0, LINES["disk"], LINES["inodes"]),
    ("busybox", BUSYBOX_DISK, DF_INODES, 0, "WARNING disk: 8.0% free (78.1 MiB)", LINES["inodes"]),
    ("wrapped", WRAPPED, DF_INODES, 2, "CRITICAL disk: 4.0% free (39.1 MiB)", LINES["inodes"]),
    ("spaces", SPACES, DF_INODES, 0, "OK disk: 30.0% free (293.0 MiB)", LINES["inodes"]),
    ("reserved", RESERVED, DF_INODES, 2, "CRITICAL disk: 0.0% free (0 B)", LINES["inodes"]),
    ("macos", MACOS_DISK, MACOS_INODES, 0, "OK disk: 22.3% free (95.4 GiB)", "OK inodes: 98.8% free (800000000)"),
    ("freebsd", DF_DISK, FREEBSD_INODES_FULL, 2, LINES["disk"], "CRITICAL inodes: 4.0% free (4000)"),
    ("btrfs", DF_DISK, BTRFS_INODES, 0, LINES["disk"], "OK inodes: not applicable to this file system"),
    ("btrfs busybox", DF_DISK, BTRFS_INODES_BUSYBOX, 0, LINES["disk"], "OK inodes: not applicable to this file system"),
    ("fuse", DF_DISK, FUSE_INODES, 0, LINES["disk"], "OK inodes: not applicable to this file system"),
    ("inodes low", DF_DISK, INODES_LOW, 0, LINES["disk"], "WARNING inodes: 7.0% free (1177216)"),
    ("inodes full", DF_DISK, INODES_FULL, 2, LINES["disk"], "CRITICAL inodes: 4.6% free (777216)"),
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
    (100, [], "OK"), (99, [], "WARNING"), (50, [], "WARNING"), (49, [], "CRITICAL"),
    (200, ["--disk-warning", "21"], "WARNING"), (200, ["--disk-warning", "30", "--disk-critical", "21"], "CRITICAL"),
    (0, ["--disk-warning", "0", "--disk-critical", "0"], "OK")])
def test_the_disk_thresholds_are_free_percentages(one_box, free, args, state):
    one_box.fake_df("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 1100 %d %d %d%% /\n" % (
        1000 - free, free, (1000 - free) // 10), DF_INODES)
    assert one_box.run(*args)[1][5].startswith(state + " disk: ")


@pytest.mark.parametrize("free, args, state", [
    (100, [], "OK"), (99, [], "WARNING"), (49, [], "CRITICAL"), (200, ["--inode-warning=21"], "WARNING"),
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
    box.fake("my py", "exit 0")
    table = crontab_of(os.path.realpath(str(box.root)), "'%s/my py'" % box.fakes)
    box.fake_text("crontab", table.replace("\n* * * * * cd '", "\nMAILTO=ops\n* * * * * cd '"))
    ok = "OK configuration: config/conductor_config.json exists; the Python of the crontab line works"
    assert box.says() == [0, "OK - 7 checks passed", ok]
    box.fake("python3", "exit 0")
    box.fake_text("crontab", crontab_of(os.path.realpath(str(box.root)), "/gone/python3"))
    trouble = "the Python of the crontab line does not work: /gone/python3"
    assert box.says() == [0, "WARNING - " + trouble, "WARNING configuration: " + trouble]
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


def test_a_missing_configuration_is_a_warning(box):
    (box.root / "config" / "conductor_config.json").unlink()
    (box.fakes / "python3").unlink()
    assert box.says() == [0, "WARNING - config/conductor_config.json not found; python3 not found",
                          "WARNING configuration: config/conductor_config.json not found; python3 not found"]


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


def test_the_script_is_executable_and_starts_without_a_shell_in_front(one_box):
    assert os.access(str(CHECK), os.X_OK)
    code, lines = one_box.run(command=[str(CHECK), "--root", str(one_box.root)])
    assert (code, lines[0]) == (0, "OK - 7 checks passed")
