"""What status, doctor, the health scripts and the report say of each trouble, made for real.

All of them render one judgement: the same finding has to be in each.
"""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from support import SCRIPT, SCRIPTS, Project, every_minute

import symphony_conductor as sc

ROOT = os.geteuid() == 0
DAY = 86400
CRONTAB = """#!/bin/sh
if [ "$1" = -l ]; then test -e %(table)s || { echo "no crontab for me" >&2; exit 1; }; exec cat %(table)s; fi
exec cat > %(table)s
"""
# No process of this system but those that are started in it, so no cron daemon.
ALONE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
# The same, where process 1 is as old as the machine: else it would be a container that has just started.
ALONE_FOR_LONG = ALONE + ["sh", "-c", """f=$(mktemp) && sed 's/ [0-9]*/ 1/21' /proc/1/stat > "$f" &&
mount --bind "$f" /proc/1/stat && rm "$f" && exec "$@\"""", "sh"]
WITHOUT_ZONES = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /usr/share/zoneinfo && exec \"$@\"", "sh"]
FORBIDDEN = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]  # root without its privileges


class Box:
    """A project that is installed whole, in a crontab of its own, and called by a daemon named cron."""

    def __init__(self, folder):
        self.folder = folder
        self.inside = []  # what the tools are called by
        self.mounted = []
        self.processes = []
        self.project = Project(folder / "project")
        self.root = self.project.root
        self.root.chmod(0o755)
        shutil.copy(str(SCRIPT), str(self.root))
        (self.root / "scripts").mkdir(mode=0o755)
        for path in SCRIPTS.glob("*.*"):
            shutil.copy(str(path), str(self.root / "scripts"))
        tools = folder / "bin"
        tools.mkdir()
        self.table = folder / "table"
        (tools / "crontab").write_text(CRONTAB % {"table": shlex.quote(str(self.table))})
        (tools / "crontab").chmod(0o755)
        shutil.copy(shutil.which("sleep"), str(tools / "cron"))
        self.env = {key: value for key, value in os.environ.items() if key not in ("TZ", "SYMPHONY_TASK")}
        self.env.update(PATH="%s:/usr/sbin:/usr/bin:/sbin:/bin" % tools, COLUMNS="9999")
        self.configure(every_minute("a", schedule="0 0 1 1 *"))

    def configure(self, *tasks, **settings):
        self.project.configure(*tasks, **settings)

    def call(self, *words, **more):
        command = more.pop("inside", []) + [sys.executable, "-c", (
            "import sys; sys.path.insert(0, %r); import symphony_conductor as c; c.command_line()" % str(self.root))]
        done = subprocess.run(command + list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.env, cwd="/", timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def install(self):
        assert self.call("install")[0] == 0
        assert self.call("tick")[0] == 0

    def start(self, name, *words):
        """A process of this name for as long as the test lasts."""
        self.processes.append(subprocess.Popen([str(self.folder / "bin" / name)] + list(words),
                                               stdin=subprocess.DEVNULL))

    def age(self, seconds):
        """Let so much time pass without a tick."""
        at = time.time() - seconds
        if sc.boot_time(time.time()) > at:
            pytest.skip("this machine or container has not run for that long")
        os.utime(str(self.root / "status" / "heartbeat"), (at, at))

    def mount(self, size, **more):
        """Put the project on a small disk of its own."""
        options = "size=%s,mode=755" % size + "".join(",%s=%s" % item for item in more.items())
        kept = self.folder / "kept"
        shutil.copytree(str(self.root), str(kept), symlinks=True)
        if subprocess.call(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.root)]):
            pytest.skip("nothing can be mounted here")
        self.mounted.append(str(self.root))
        subprocess.check_call(["cp", "-a", "%s/." % kept, str(self.root)])

    def enter(self, prefix):
        """Call the tools by these words, if this system allows that."""
        if subprocess.call(prefix + ["true"], stderr=subprocess.DEVNULL):
            pytest.skip("%s is not allowed here" % " ".join(prefix[:3]))
        self.inside = prefix

    def fill(self, leave=0):
        """Fill the disk up to so many bytes."""
        with open(str(self.root / "fill"), "wb") as handle:
            free = os.statvfs(str(self.root))
            size = free.f_bavail * free.f_frsize - leave
            try:
                while size > 0:
                    size -= handle.write(b"x" * min(size, 4096))
                    handle.flush()
            except OSError:
                pass

    def ask(self):
        """What each of the five says: (exit code, text), all at the same time."""
        python, root = sys.executable, str(self.root)
        scripts = self.root / "scripts"
        conductor = [python, str(self.root / "symphony_conductor.py")]
        commands = {
            "status": conductor + ["status", "--exit-code"],
            "table": conductor + ["status", "--table", "--problems"],
            "doctor": conductor + ["doctor"],
            "automation": [python, str(scripts / "automation_manager.py"), "--root", root, "health"],
            "quick": ["sh", str(scripts / "quick_health_check.sh"), "--root", root],
            "report": conductor + ["report", "--format", "json"]}
        env = dict(self.env, PYTHONDONTWRITEBYTECODE="1")  # the disk may have no room for it
        running = {name: subprocess.Popen(
            self.inside + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=env, cwd="/") for name, command in commands.items()}
        answers = {}
        for name, process in running.items():
            out, err = process.communicate(timeout=60)
            assert b"Traceback" not in err and b"internal error" not in err, (name, err)
            answers[name] = process.returncode, (out + err).decode("utf-8", "replace")
        return answers

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for folder in self.mounted:
            subprocess.call(["umount", "-l", folder])


@pytest.fixture
def box(tmp_path):
    tmp_path.chmod(0o755)
    made = Box(tmp_path)
    yield made
    made.close()


def needs_root(box):
    if not ROOT or not shutil.which("unshare") or not shutil.which("mount"):
        pytest.skip("this takes root, unshare and mount")


# -- the troubles

def never_called(box):
    box.start("cron", "60")


def full_disk(box):
    needs_root(box)
    box.mount("3m")
    box.configure(every_minute("a"))
    box.install()
    box.fill()
    box.age(90)
    box.call("tick")


def low_disk(box):
    needs_root(box)
    box.mount("20m")
    box.install()
    box.fill(leave=800 << 10)


def no_inodes(box):
    needs_root(box)
    box.mount("20m", nr_inodes="150")
    box.install()
    for number in range(200):
        try:
            (box.root / ("file%d" % number)).write_text("")
        except OSError:
            break


def read_only(box):
    needs_root(box)
    box.mount("20m")
    box.install()
    if subprocess.call(["mount", "-o", "remount,ro", str(box.root)]):
        pytest.skip("nothing can be remounted here")


def dead_cron(box):
    needs_root(box)
    box.install()
    box.age(965)
    box.enter(ALONE_FOR_LONG)


def removed_line(box):
    box.install()
    box.start("cron", "60")
    box.table.unlink()
    box.age(965)


def csh_in_the_crontab(box):
    box.install()
    box.table.write_text("SHELL=/bin/csh\n" + box.table.read_text())
    box.age(965)


def python_gone(box):
    box.install()
    box.table.write_text(box.table.read_text().replace(sc.interpreter(), "/opt/python3.5/bin/python3"))
    box.age(965)


def broken_configuration(box):
    box.install()
    box.project.write_config('{"tasks": [')
    box.call("tick")


def no_configuration(box):
    box.install()
    (box.root / "config" / "conductor_config.json").unlink()
    (box.root / "status" / "last_good_config.json").unlink()


def invalid_task(box):
    box.install()
    box.configure(every_minute("a", schedule="61 * * * *"))
    box.call("tick")


def open_folder(box):
    box.install()
    box.root.chmod(0o777)


def all_paused(box):
    box.install()
    assert box.call("pause", "--all", "--reason", "moving house")[0] == 0


def one_paused(box):
    box.install()
    assert box.call("pause", "a")[0] == 0


def failing(box):
    box.configure(every_minute("backup", "echo no route to nas >&2; exit 3", schedule="0 0 1 1 *"))
    box.install()
    assert box.call("run", "--task", "backup")[0] == 3


def retrying(box):
    minute = time.gmtime(time.time() - 60)
    box.configure(every_minute("flaky", "exit 4", schedule="%d %d * * *" % (minute.tm_min, minute.tm_hour),
                               timezone="UTC", retry_count=2, retry_delay=3600))
    box.project.anchor()
    box.install()
    assert box.project.wait_until(lambda: box.project.state()["tasks"]["flaky"].get("cycle", {}).get("attempts"))


def waiting_for_what_is_disabled(box):
    minute = time.gmtime(time.time() - 60)
    when = "%d %d * * *" % (minute.tm_min, minute.tm_hour)
    box.configure(every_minute("up", schedule=when, timezone="UTC", enabled=False),
                  every_minute("down", schedule=when, timezone="UTC", dependencies=["up"]))
    box.project.anchor()
    box.install()


def cannot_be_killed(box):
    box.configure(every_minute("stuck", "sleep 60", schedule="0 0 1 1 *"))
    box.install()
    state = box.project.state()
    state["tasks"]["stuck"]["run"] = {
        "run_id": "20250101T000000Z-1", "trigger": "manual", "started_at": time.time() - 700,
        "unended": "timed out at 2025-01-01T00:00:00Z but cannot be killed: 1 process of root"}
    (box.root / "conductor_state.json").write_text(json.dumps(state))
    lock = box.root / "status" / "locks" / "stuck.lock"
    lock.parent.mkdir(exist_ok=True)
    box.held = open(str(lock), "w")
    fcntl.flock(box.held, fcntl.LOCK_EX)


def clock_back(box):
    box.install()
    box.age(-30 * DAY)
    path = box.root / "conductor_state.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), last_now=time.time() + 30 * DAY)))


def damaged_state(box):
    box.install()
    (box.root / "conductor_state.json").write_text("{")


def unreadable_state(box):
    box.install()
    if ROOT:
        if not shutil.which("setpriv"):
            pytest.skip("there is no setpriv")
        box.enter(FORBIDDEN)
    (box.root / "conductor_state.json").chmod(0)


def undelivered(box):
    box.configure(every_minute("a", schedule="0 0 1 1 *"), enable_notifications=True, notification_command="false")
    box.install()
    sc.Store(str(box.root)).enqueue({
        "id": "20250102T100000Z-1", "event": "failed", "task": "a", "channel": "notify",
        "at": sc.iso(time.time() - 7200), "outcome": "failed (exit 1)", "next_try_at": time.time() + 600,
        "tries": 9})


def ticks_fail(box):
    box.configure(every_minute("a"))
    box.install()
    box.start("cron", "60")
    (box.root / "conductor_state.json.tmp").mkdir()
    (box.root / "conductor_state.json.tmp" / "file").write_text("")
    box.age(400)
    assert box.call("tick")[0] == 74


def ticks_late(box):
    box.install()
    box.start("cron", "60")
    box.age(300)


def no_zones(box):
    needs_root(box)
    box.configure(every_minute("a", schedule="0 0 1 1 *", timezone="Europe/Paris"))
    box.install()
    box.enter(WITHOUT_ZONES)


TROUBLES = [  # how it is made, the code of its finding, what it says, what it advises
    (never_called, "line-missing", r"crontab has no line for this folder; no tick has run yet", r" install\Z"),
    (full_disk, "disk-full", r"the disk is full \(0 B of 3\.0 MiB free\), so tasks cannot start",
     r"\Adu -xh /\S+/project "),
    (low_disk, "disk-low", r"the disk has \S+ KiB of 20\.0 MiB free \([234]\.\d %\)", r"\Adu -xh /\S+/project "),
    (no_inodes, "inodes-full", r"the disk has 0 of 150 inodes free", r"\Adu -x --inodes /\S+/project "),
    (read_only, "not-writable", r"ticks cannot write to /\S+/project: Read-only file system", r"\Als -ld /"),
    (dead_cron, "no-cron-daemon", r"no cron daemon is running; no tick for 16m", ""),
    (removed_line, "line-missing", r"crontab has no line for this folder; no tick for 16m", r" install\Z"),
    (csh_in_the_crontab, "line-broken", r"'s crontab sets SHELL=/bin/csh, which cannot run the conductor's line",
     r" install\Z"),
    (python_gone, "line-broken",
     r"does not exist \(/opt/python3\.5/bin/python3\)", r" install\Z"),
    (broken_configuration, "configuration-broken",
     r"changes are ignored and the last valid configuration is in force: config/conductor_config\.json: ",
     r" check\Z"),
    (no_configuration, "no-configuration", r"there is no usable configuration, so nothing runs: .*no such file",
     r" init\Z"),
    (invalid_task, "configuration", r"tasks\[0\] 'a': schedule: minute '61' is outside 0-59", r" check\Z"),
    (open_folder, "insecure", r"others can write to it", r"\Achmod go-w "),
    (all_paused, "paused-for-good", r"all tasks are paused indefinitely by \S+: moving house",
     r" resume --all\Z"),
    (one_paused, "paused", r"a is paused indefinitely by \S+\Z", r" resume a\Z"),
    (failing, "failing", r"backup failed \(exit 3\), started by hand", r" logs backup\Z"),
    (retrying, "retrying", r"flaky failed \(exit 4\); attempt 2 of 3 starts at the first tick after ",
     r" logs flaky\Z"),
    (waiting_for_what_is_disabled, "blocking", r"down cannot run: 'up' is disabled \(", r" run --task up\Z"),
    (cannot_be_killed, "unended", r"stuck timed out at \S+ but cannot be killed: 1 process of root; no further attempt"
     r" starts until it is gone", r" logs stuck\Z"),
    (clock_back, "clock-behind", r"the last tick is (29d 23h|30d) ahead of the clock: ", r"\Adate\Z"),
    (damaged_state, "state-damaged", r"conductor_state\.json cannot be used \(", r" doctor\Z"),
    (unreadable_state, "unreadable", r"cannot read \S*conductor_state\.json: Permission denied", r" doctor\Z"),
    (undelivered, "undelivered", r"1 notification was not delivered", r" notify-test\Z"),
    (ticks_fail, "ticks-fail",
     r"the last tick failed: cannot write \S*conductor_state\.json: Is a directory", r" doctor\Z"),
    (ticks_late, "ticks-late", r"no tick for 5m; cause unknown", r" doctor\Z"),
    (no_zones, "no-zone-data", r"this system has no time zone data", r" check\Z"),
]
LEVELS = {"problem": ("NOT healthy", 1, "CRITICAL", 2), "warning": ("", 0, "WARNING", 0), "notice": ("", 0, "", 0)}


def steady(text):
    """A text without what changes while five programs look at a disk, one of which writes to it."""
    return re.sub(r"[\d.]+ (B|[KMG]iB|%)", "N", text)


@pytest.mark.parametrize("trouble, code, text, command", TROUBLES,
                         ids=[row[0].__name__ for row in TROUBLES])
def test_all_say_the_same_of_a_trouble(box, trouble, code, text, command):
    trouble(box)
    answers = box.ask()
    exit_code, out = answers["status"]
    document = json.JSONDecoder().raw_decode(out)[0]  # what cannot be read is told on stderr too
    findings = [finding for finding in document["findings"] if finding["code"] == code]
    assert len(findings) == 1, document["findings"]
    finding = findings[0]
    assert re.search(text, finding["text"]), finding
    assert re.search(command, finding["command"] or ""), finding
    severity = document["findings"][0]["severity"]  # of the worst: another may come along with it
    head, failed, level, plugin_code = LEVELS[severity]
    is_unreadable = code == "unreadable"
    assert exit_code == (74 if is_unreadable else failed)
    assert document["healthy"] == (severity != "problem")

    said = {name: steady(answer[1]) for name, answer in answers.items()}
    sentence = steady(finding["text"])
    first, *others = said["table"].splitlines()
    assert first.startswith(head) and sentence in "\n".join(others)
    assert sentence in said["doctor"]
    assert answers["doctor"][0] == failed or severity != "problem"
    assert sentence in said["automation"]
    assert answers["automation"][0] == (3 if is_unreadable else plugin_code), answers["automation"]
    if trouble is python_gone:  # no Python tells the script the user's name
        assert re.search(text, said["quick"])
    else:
        assert sentence[:50] in said["quick"]
    assert answers["quick"][0] == (3 if is_unreadable else plugin_code), answers["quick"]
    assert json.dumps(sentence)[1:-1] in said["report"], said["report"][-500:]
    # Slots of a zone that is gone cannot be audited.
    assert answers["report"][0] == (74 if is_unreadable or trouble is no_zones else 0)
    if level:
        assert answers["automation"][1].startswith("UNKNOWN" if is_unreadable else level)
        assert answers["quick"][1].startswith("UNKNOWN" if is_unreadable else level)


# -- what is no trouble, and what looked like none

def codes(box, *words):
    """The codes that status gives, its exit status, and its headline."""
    code, out, err = box.call("status", "--exit-code", *words)
    assert "Traceback" not in err and "internal error" not in err, err
    document = json.loads(out)
    return code, {finding["code"]: finding for finding in document["findings"]}, document["verdict"]


def replace_in_table(box, before, after):
    text = box.table.read_text()
    assert before in text
    box.table.write_text(text.replace(before, after))


def another_python(box):
    box.install()
    link = box.folder / "bin" / "python3"
    link.symlink_to(sc.interpreter())
    replace_in_table(box, sc.interpreter(), str(link))


def first_minute(box):
    assert box.call("install")[0] == 0


def failure_in_the_future(box):
    box.install()
    document = {"at": time.time() + DAY, "since": time.time() + DAY, "exit_code": 74, "text": "x"}
    (box.root / "status" / "tick_failure").write_text(json.dumps(document))


def failure_that_is_over(box):
    ticks_fail(box)
    shutil.rmtree(str(box.root / "conductor_state.json.tmp"))
    assert box.call("tick")[0] == 0


def zones_that_no_task_needs(box):
    needs_root(box)
    box.install()
    box.enter(WITHOUT_ZONES)


@pytest.mark.parametrize("happening", [another_python, first_minute, failure_in_the_future, failure_that_is_over,
                                       zones_that_no_task_needs], ids=lambda happening: happening.__name__)
def test_what_is_no_trouble_is_not_called_one(box, happening):
    box.start("cron", "60")
    happening(box)
    assert codes(box) == (0, {}, "healthy")


@pytest.mark.parametrize("damage", ['{"at": NaN, "since": NaN, "exit_code": 1, "text": "x"}', "[" * 4000, "x" * 9000,
                                    '{"at": 1e400, "since": 0, "exit_code": 1, "text": "x"}', "", "null",
                                    '{"at": 1e18, "since": 1e18, "exit_code": 1, "text": "x"}', "a folder", "a pipe"])
def test_a_damaged_record_of_a_failure_is_none(box, damage):
    box.install()
    path = box.root / "status" / "tick_failure"
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage == "a pipe":
        os.mkfifo(str(path))
    else:
        path.write_text(damage)
    assert codes(box) == (0, {}, "healthy")
    assert box.call("tick")[0] == 0


@pytest.mark.parametrize("before, after, text", [
    ("* * * * * cd", "# * * * * * cd", "crontab line is commented out or empty"),
    ("* * * * * cd", "0 4 * * * cd", "crontab line runs at '0 4 * * *', not every minute")])
def test_a_line_that_does_not_run_every_minute_is_a_problem_at_once(box, before, after, text):
    box.install()
    replace_in_table(box, before, after)
    code, findings, verdict = codes(box)
    assert code == 1 and text in findings["line-broken"]["text"] and verdict.endswith("nothing starts")


def test_a_tick_that_cannot_write_its_log_is_a_problem_before_it_has_to(box):
    box.install()
    shutil.rmtree(str(box.root / "logs"))
    (box.root / "logs").write_text("")
    assert codes(box)[1]["not-writable"]["text"] == "ticks cannot write to logs/: Not a directory"


def test_a_pause_that_ends_a_retry_is_its_reason(box):
    retrying(box)
    assert codes(box)[1]["retrying"]["text"].startswith("flaky failed (exit 4); attempt 2 of 3 ")
    assert box.call("pause", "flaky", "--reason", "moving")[0] == 0
    text = codes(box)[1]["failing"]["text"]
    assert text.startswith("flaky failed (exit 4): ") and "paused" in text and "no retries left" not in text


def test_a_failure_by_hand_is_no_slot(box):
    failing(box)
    assert box.call("run", "--task", "backup")[0] == 3
    assert json.loads(box.call("status")[1])["tasks"][0]["consecutive_failures"] == 0
    assert "in a row" not in codes(box)[1]["failing"]["text"]


def test_a_removed_task_fails_no_longer(box):
    failing(box)
    box.configure(every_minute("a", schedule="0 0 1 1 *"))
    assert box.call("tick")[0] == 0
    box.start("cron", "60")
    answers = box.ask()
    assert {name: answers[name][0] for name in ("status", "doctor", "automation", "quick")} == dict.fromkeys(
        ("status", "doctor", "automation", "quick"), 0), answers["quick"]


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_root_may_look_into_the_folder_of_a_user(box):
    box.install()
    box.project.configure(every_minute("a", schedule="0 0 1 1 *"))
    box.call("tick")
    for path in [box.root] + list(box.root.rglob("*")):
        os.chown(str(path), 54321, 54321)
    assert codes(box) == (0, {}, "healthy")
    assert box.call("why", "a")[0] == 0
    code, _, err = box.call("pause", "a")
    assert code == 78 and "run it as its owner: sudo -u '#54321' ..." in err, "but not change it"


def test_status_does_not_wait_for_a_crontab_that_hangs(box, monkeypatch):
    box.install()
    (box.folder / "bin" / "crontab").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setenv("PATH", box.env["PATH"])
    monkeypatch.setattr(sc, "SYSTEM_PROGRAM_S", 0.2)
    finding, has_line = sc.Inspector(sc.Store(str(box.root)))._line()
    assert (finding.code, finding.text, has_line) == ("crontab-unreadable", "crontab did not answer for 0 s", None)


def test_a_probe_follows_nothing_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    sc.probe_write(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ("probe.%d.tmp" % os.getpid())).symlink_to(victim)
    with pytest.raises(OSError):
        sc.probe_write(str(tmp_path))
    assert victim.read_text() == "precious"


def test_ticks_that_could_not_come_are_not_missing():
    machine = sc.Machine(now=10000.0, last_tick=100.0, awake_s=60.0)  # it was asleep, or has just been booted
    assert sc.examine(sc.Config(), sc.State(), machine) == []
    assert [finding.code for finding in sc.examine(sc.Config(), sc.State(), machine.replace(awake_s=200.0))] == [
        "ticks-late"]


def test_the_last_line_of_output_is_kept_without_its_secrets(box):
    box.configure(every_minute("login", "echo tried hunter2secret with password=swordfish; exit 1",
                               schedule="0 0 1 1 *", env={"SECRET": "hunter2secret"}))
    box.install()
    assert box.call("run", "--task", "login")[0] == 1
    assert codes(box)[1]["failing"]["output"] == "tried *** with password=***"
    assert "hunter2secret" not in json.dumps(box.project.state()["tasks"])


def test_a_tick_whose_record_of_failures_cannot_be_made_has_done_its_work_all_the_same(box, monkeypatch):
    box.install()
    store = sc.Store(str(box.root))
    (box.root / "status" / "tick_failure").unlink()

    def refuse(path, data, durable=True):
        raise sc.StorageError("cannot write %s: No space left on device" % path)

    monkeypatch.setattr(sc, "write_atomic", refuse)
    store.forget_failure()
    store.note_failure(1.0, 74, "x")
    assert store.tick_failure() is None
