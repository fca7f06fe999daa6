"""What the tests share: a project in a temporary folder, a clock that is moved by hand, a conductor of its own."""

import json
import os
import pathlib
import py_compile
import shutil
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "symphony_conductor.py"
SCRIPTS = REPOSITORY / "scripts"
sys.path[:0] = [str(REPOSITORY), str(SCRIPTS)]

import symphony_conductor as sc  # noqa: E402

IMPORTED = "import sys; sys.path.insert(0, %r); import symphony_conductor as c; c.command_line()" % str(REPOSITORY)
py_compile.compile(str(SCRIPT))  # also where the environment tells Python to keep nothing


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("SYMPHONY_ROOT", "SYMPHONY_ALLOW_INSECURE", "TZ"):
        monkeypatch.delenv(name, raising=False)


class HandClock(sc.Clock):
    """A clock that stands still until it is moved."""

    def __init__(self, now):
        self.at = float(now)
        self.mono = 1000.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.mono

    def advance(self, seconds):
        self.at += seconds
        self.mono += seconds


def settle(path):
    """Let a file that was just written look a second old: one that changed this very moment is looked at twice."""
    os.utime(str(path), (time.time() - 1, time.time() - 1))


class Project:
    """A root folder with a configuration, and the commands run in it."""

    def __init__(self, root):
        self.root = pathlib.Path(str(root))
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.root / "config").mkdir(mode=0o700, exist_ok=True)

    def configure(self, *tasks, **settings):
        document = {"tasks": list(tasks), "settings": settings}
        self.write_config(json.dumps(document))

    def write_config(self, text):
        path = self.root / "config" / "conductor_config.json"
        with open(str(path), "w", encoding="utf-8") as handle:
            handle.write(text)
        path.chmod(0o600)
        settle(path)

    def command(self, *args):
        """The conductor by an import, as cron calls it: run as a script, it would be compiled anew each time."""
        return [sys.executable, "-c", IMPORTED, "--root", str(self.root)] + list(args)

    def call(self, *args, **more):
        """Run the conductor as a process: (exit code, stdout, stderr)."""
        more.setdefault("env", dict(os.environ))
        done = subprocess.run(self.command(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, **more)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def tick(self, now=None):
        """One tick in this process; what it starts is real."""
        clock = sc.Clock() if now is None else HandClock(now)
        return sc.Conductor(sc.Store(str(self.root)), clock).tick()

    def anchor(self, ago=150):
        """A first tick some time ago, so that every schedule has slots that are due by now."""
        return self.tick(time.time() - ago)

    def read(self, name):
        return (self.root / name).read_text(encoding="utf-8", errors="replace")

    def state(self):
        return json.loads(self.read("conductor_state.json"))

    def history(self):
        folder = self.root / "status" / "history"
        lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def health(self, task):
        return self.read("status/automation_health/%s.health" % task)

    def lines(self, name):
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_until(self, condition, timeout_s=20.0):
        """Poll until the condition holds; what it returned last."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = condition()
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def wait_for_idle(self, timeout_s=20.0):
        """Wait until the state holds no running task and the history no gap."""
        def idle():
            tasks = self.state()["tasks"].values()
            return not any("run" in task for task in tasks)
        assert self.wait_until(idle, timeout_s), self.state()
        lock = sc.FileLock(str(self.root / "conductor.pid"))
        assert lock.acquire(10)  # whoever settled the last run is still writing the history until then
        lock.release()


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "project")
    yield made
    for path in (made.root / "status" / "runs").glob("*.json"):
        try:
            record = json.loads(path.read_text())
            if record["pid"] > 1:  # kill(2): to group 1 means to everybody, and to 0 to the tests
                os.killpg(record["pid"], 9)
        except (ValueError, KeyError, TypeError, OSError, RecursionError):
            pass


def may_live(record):
    """Whether anything of the command that the record of a run tells of lives."""
    return sc.may_live(sc.job_of(record, "", ""))


def git(folder, *arguments):
    """Run git in a folder, with an identity and without the caller's settings; what it printed."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull, HOME=str(folder), LC_ALL="C")
    for role in ("AUTHOR", "COMMITTER"):
        env.update({"GIT_%s_NAME" % role: "Tester", "GIT_%s_EMAIL" % role: "tester@example.invalid"})
    return subprocess.run(("git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always") + arguments,
                          cwd=str(folder), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=True).stdout.decode("utf-8", "replace")


def run_script(name, root, *arguments, **more):
    """Run one of the scripts as a process: (exit code, stdout, stderr)."""
    done = subprocess.run([sys.executable, str(SCRIPTS / name), "--root", str(root)] + [str(one) for one in arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, **more)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def every_minute(name, command="true", **more):
    return dict({"name": name, "command": command, "schedule": "* * * * *", "retry_count": 0}, **more)


def due_once(name, command="true", **more):
    """A task with one slot, a minute ago: after `anchor` it is due, and no new minute brings another."""
    minute = time.gmtime(time.time() - 60)
    return dict(every_minute(name, command, timezone="UTC", schedule="%d %d * * *" % (minute.tm_min, minute.tm_hour)),
                **more)


# -- a cron daemon of the tests' own. Its first minute passes while the other tests run.

ODD_NAME = "it's 100% \"mine\" é"
NAMESPACE = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
DAEMON = """
set -e
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mkdir "$1/empty" && mount --bind "$1/empty" /etc/cron.d
printf '5 4 * * * neighbour\\n' | crontab -
crontab -l > "$1/before"
"$2" "$1/symphony_conductor.py" install > "$1/installed"
crontab -l > "$1/during"
"$2" "$1/symphony_conductor.py" tick
cron
while ! test -e "$1/stop"; do sleep 0.2; done
"$2" "$1/symphony_conductor.py" uninstall > "$1/uninstalled"
crontab -l > "$1/after"
touch "$1/stopped"
"""


class CronDaemon:
    """cron(8) in a namespace of its own, with a project whose crontab line was installed for real."""

    def __init__(self, folder):
        self.reason = self._why_not()
        self.process = None
        if self.reason:
            return
        self.project = Project(folder / ODD_NAME)
        shutil.copy(str(SCRIPT), str(self.project.root))
        self.project.configure(
            every_minute("second", "date >> second.out", dependencies=["first"]),
            every_minute("first", "sleep 1; date >> first.out"),
            every_minute("failing", "echo $SYMPHONY_ATTEMPT >> failing.out; exit 3", retry_count=1, retry_delay=0))
        self.process = subprocess.Popen(
            NAMESPACE + ["/bin/sh", "-c", DAEMON, "sh", str(self.project.root), sys.executable],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    @staticmethod
    def _why_not():
        if os.geteuid() != 0:
            return "a cron daemon of the tests' own takes root"
        if not shutil.which("cron", path="/usr/sbin:/usr/bin:/sbin:/bin") or not shutil.which("crontab"):
            return "there is no cron daemon (tests/run installs Debian's)"
        if subprocess.call(NAMESPACE + ["true"], stderr=subprocess.DEVNULL) != 0:
            return "namespaces are not allowed here"
        return ""

    def history(self):
        return self.project.history() if (self.project.root / "status" / "history").is_dir() else []

    def stop(self):
        """Uninstall, end the daemon; what the whole of it printed."""
        if self.process is None:
            return ""
        (self.project.root / "stop").write_text("")
        self.project.wait_until(lambda: (self.project.root / "stopped").exists(), 10)
        self.process.kill()
        said = self.process.communicate()[0].decode()
        self.process = None
        return said


# -- the order of the tests: what waits for cron begins first and is looked at last, then come the files that wait for
# processes, then those that take long, and what is short fills up the end

WAITING = ("test_a_real_cron_daemon", "test_a_bare_root")
AHEAD = ["test_%s.py" % name for name in ("tick", "cannot_tell", "care", "quarantine", "errors", "crash", "runner",
                                          "automation", "cleanup_engine", "lifecycle", "workflows", "readme")]


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # pytest-xdist from 3.7 on would begin with the files of many tests


def pytest_collection_modifyitems(items):
    waiting = {item.fspath for item in items if item.name.startswith(WAITING)}

    def place(item):
        name = item.fspath.basename
        ahead = AHEAD.index(name) if name in AHEAD else len(AHEAD)
        return item.fspath not in waiting, ahead, str(item.fspath), item.name.startswith(WAITING)

    items.sort(key=place)
