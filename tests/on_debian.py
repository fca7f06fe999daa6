#!/usr/bin/env python3
"""Set up and remove the conductor on a bare Debian, in every situation a new user may be in.

    python3 tests/on_debian.py [--folder DIR] [--only WORD] [--suite]

Bootstraps a minimal Debian (debootstrap, about a minute; --folder keeps it for the next time) and
makes a machine of it for each situation: an overlay that forgets what was written, in namespaces
of its own, with a PID 1, users, a crontab and a daemon that are real. When a machine is let go,
all that was started on it ends, and all that was mounted goes.

  --folder DIR  keep the bootstrapped system there, or use the one that is there
  --only WORD   only the situations with this word in their names
  --suite       also run tests/run there, from a clone, as root and as an ordinary user: minutes

Takes root, debootstrap, a network the first time, and what is committed: it tries HEAD. Prints a
table of what was seen; the exit code is 1 when something was not as it should be.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from support import NAMESPACE, REPOSITORY, wait_until

PACKAGES = ("cron", "sudo", "git", "tini", "busybox-static")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
UID = {"root": 0, "alice": 1000, "nameless": 4321}
HOMES = {"root": "/root", "alice": "/home/alice", "nameless": "/home/nameless"}
PROJECT = "/home/alice/project"
REAPS = ("/usr/bin/tini", "--", "sleep", "infinity")
REAPS_WITHOUT_TINI = ("/usr/bin/python3", "-c", "import os, signal, time\n"
                      "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: time.sleep(9)")
DOES_NOT_REAP = ("/bin/sleep", "infinity")
EMPTY_TABLE = "/var/spool/cron/crontabs/alice"  # which crontab(1) keeps
MARK = "run/machine-is-ready"
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)

# $1: an empty folder, $2: the layers of the system, the lowest last, $3: "keep" to have what is
# written in $1/upper, $4: what to do first; then what is to be PID 1.
MACHINE = """
set -e
[ "$3" = keep ] || mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay root
cd root
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
# An overlay of two file systems shows files and folders on devices of their own.
for folder in tmp home root; do
    mount -t tmpfs -o mode="$(stat -c %%a $folder)" tmpfs $folder
done
mkdir -m 1777 run/lock
[ -z "$4" ] || chroot . /bin/sh -c "$4"
: > %s
shift 4
# Not by chroot(8) alone: setns(2) goes to the root of the namespace, and the tests make some.
pivot_root . .
umount -l .
exec chroot . "$@"
""" % MARK

USERS = """
useradd --uid 1000 --create-home --shell /bin/bash alice
mkdir -m 700 /home/nameless && chown 4321:4321 /home/nameless
[ ! -d /etc/sudoers.d ] || echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice
"""


class Fault(Exception):
    """Something was not as it should be."""


def expect(condition, *seen):
    if not condition:
        raise Fault("\n".join(str(what) for what in seen))


def end_with_parent():
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


class Machine:
    """A bare Debian of its own. What is written is forgotten, what is started ends with it."""

    running: "set" = set()  # to be stopped when somebody interrupts

    def __init__(self, layers, first, folder, network=True, keep=""):
        self.folder = tempfile.mkdtemp(prefix="machine.", dir=str(folder))
        self.namespace = NAMESPACE + ([] if network else ["--net"])
        script = ["/bin/sh", "-c", MACHINE, "sh", self.folder, ":".join(map(str, layers)), keep,
                  "" if keep else USERS]
        self.process = subprocess.Popen(
            self.namespace + script + list(first), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent,
            env={"PATH": PATH})
        Machine.running.add(self)
        children = pathlib.Path("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid))

        def first_process():
            numbers = children.read_text().split()
            return numbers and pathlib.Path("/proc", numbers[0], "root", MARK).exists() and numbers

        if not wait_until(first_process, 30):
            self.stop()
            raise Fault("the machine did not start")
        self.first = children.read_text().split()[0]
        self.inside = pathlib.Path("/proc", self.first, "root")

    def argv(self, user, script, **env):
        """The command that runs a line of shell in the home of a user, as after a login."""
        env = dict({"PATH": PATH, "HOME": HOMES[user], "USER": user, "LOGNAME": user}, **env)
        command = ["nsenter", "--target", self.first, "--mount", "--pid", "--root", "--wd"]
        if "--net" in self.namespace:
            command.append("--net")
        # Not chroot(8), whose group list knows nothing of a user without a name.
        command += ["setpriv", "--reuid=%d" % UID[user], "--regid=%d" % UID[user], "--clear-groups"]
        command += ["env", "-i"] + ["%s=%s" % item for item in sorted(env.items())]
        return command + ["/bin/sh", "-c", "umask 022; cd ~ && " + script]

    def call(self, user, script, feed="", timeout_s=300, **env):
        """Run a line of shell: (exit code, stdout, stderr)."""
        done = subprocess.run(self.argv(user, script, **env), input=feed.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout_s)
        return (done.returncode, done.stdout.decode("utf-8", "replace"),
                done.stderr.decode("utf-8", "replace"))

    def must(self, user, script, **more):
        """As `call`, for what has to succeed: stdout."""
        code, out, err = self.call(user, script, **more)
        expect(code == 0, "%s: exit %d" % (script, code), out, err)
        return out

    def start(self, user, script):
        """Leave something running: PID 1 is its parent."""
        self.must(user, "(%s) > /dev/null 2>&1 < /dev/null &" % script)

    def checkout(self, user, name="project"):
        """A copy of the repository that belongs to the user."""
        self.must(user, "cp -R /srv/source %s" % name)

    def files(self, *folders):
        """All that could be changed, as text: names, kinds, modes, owners, sizes and times."""
        form = r"%p %y %m %U %G %s %T@ %l\n"
        return self.must("root", "find %s -xdev -printf '%s' | sort" % (
            " ".join(folders or ("/", "/home", "/root", "/tmp")), form)).splitlines()

    def names(self):
        return {line.split(" ")[0] for line in self.files()}

    def stop(self):
        Machine.running.discard(self)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


# -- what is looked at

def set_up(machine, user, options="", expected=0, **env):
    code, out, err = machine.call(user, "cd project && ./setup.sh " + options, **env)
    expect(code == expected, "setup.sh %s: exit %d, not %d" % (options, code, expected), out, err)
    return out, err


def is_the_truth(out, err):
    """Of a set-up without a daemon: it promises nothing, and the last line says what to do."""
    expect("healthy" not in out + err and "OK" not in out, "something is called healthy", out, err)
    told = re.search(r"no cron daemon is running; to start it: (?:sudo )?([^\n]+)\n\Z", err)
    expect(told and "\ninstalled the crontab line:\n" in out, "the last line", out, err)
    return told.group(1)


def works(machine, user, out):
    """Of a set-up where all is well: a newcomer has seen a result, and the line is there."""
    expect("\nrunning the task health_check:\n" in out, "no task has run", out)
    expect(re.search(r"(?m)^healthy \|", out), "not healthy", out)
    expect("symphony" in machine.must(user, "crontab -l"), "no line")
    expect(machine.must(user, "cd project && cat status/automation_health/health_check.health")
           .startswith("success:"), "the first task")


def is_unchanged(before, after):
    changed = sorted(set(before) ^ set(after))
    expect(not changed, "something was written:", *changed[:10])


def without_a_trace(machine, before, allowed=()):
    """All that is left is what setup.sh says it leaves."""
    allowed = set(allowed) | {PROJECT + "/config/tasks.d"}
    left = sorted(machine.names() - before - allowed)
    expect(not left, "left behind:", *left[:10])


def heartbeat(machine):
    try:
        return (machine.inside / PROJECT[1:] / "status/heartbeat").stat().st_mtime
    except FileNotFoundError:
        return 0.0


SITUATIONS = []
Situation = collections.namedtuple("Situation", "name look with_packages first network")


def situation(name, with_packages=True, first=REAPS, network=True):
    """Declare what to look at: a function of the machine that returns what it has seen."""
    def declare(look):
        SITUATIONS.append(Situation(name, look, with_packages, first, network))
        return look
    return declare


# -- the situations; those that wait for cron come first

BUSYBOX_TABLES = "/var/spool/cron/busybox"
BUSYBOX_CROND = ("/bin/sh", "-c", 'mkdir -p "$1"; exec busybox crond -f -c "$1"', "sh",
                 BUSYBOX_TABLES)


@situation("busybox crond as PID 1", first=BUSYBOX_CROND)
def busybox_crond(machine):
    crontab = "#!/bin/sh\nexec busybox crontab -c %s \"$@\"\n" % BUSYBOX_TABLES
    machine.must("root", "cat > /usr/bin/crontab && chmod 755 /usr/bin/crontab", feed=crontab)
    machine.checkout("root")
    machine.must("root", "cd project && sed -i 's|\"[*]/30 |\"* |' config/conductor_config.json")
    out, err = set_up(machine, "root")
    expect("\ncron: running\n" in out, out, err)
    history = machine.inside / "root/project/status/history"

    def has_run():
        return any('"schedule"' in line and '"health_check"' in line for path in history.glob("*")
                   for line in path.read_text().splitlines())
    expect(wait_until(has_run, 130), "no run by crond", machine.call(
        "root", "cd project && cat logs/*.log; crontab -l"))
    complaints = machine.must("root", "cat project/logs/conductor_cron.log")
    expect(complaints == "", complaints)
    time.sleep(8)
    doctor = machine.call("root", "cd project && ./symphony_conductor.py doctor")[1]
    left = [line for line in machine.call("root", "cat /proc/[0-9]*/stat")[1].splitlines()
            if line.rpartition(")")[2].split()[:2] == ["Z", "1"]]
    expect(("process 1 (crond) does not reap" in doctor) == bool(left), doctor, *left)
    set_up(machine, "root", "--uninstall")
    expect("symphony" not in machine.must("root", "crontab -l"), "the line is still there")
    reaps = "does not reap, as doctor says" if left else "reaps, and doctor is silent"
    return "runs the task; %s; uninstalled" % reaps


@situation("user, cron running: README to the letter")
def user_with_cron(machine):
    machine.must("root", "cron")
    machine.checkout("alice")
    before = machine.names()
    out, err = set_up(machine, "alice")
    works(machine, "alice", out)
    expect(err == "", "stderr", err)
    machine.must("alice", "cd project && ./symphony_conductor.py status --table --exit-code")
    out = machine.must("alice", "cd project && ./symphony_conductor.py run automation_health")
    expect(out.startswith("OK - 8 automations: "), out)
    at = heartbeat(machine)
    expect(wait_until(lambda: heartbeat(machine) > at, 70), "cron has not called the tick")
    complaints = machine.must("alice", "cat project/logs/conductor_cron.log")
    expect(complaints == "", complaints)
    doctor = machine.must("alice", "cd project && ./symphony_conductor.py doctor")
    expect("does not reap" not in doctor, "a false alarm", doctor)
    expect("already installed" in set_up(machine, "alice")[0], "the second time")
    set_up(machine, "alice", "--uninstall")
    expect(machine.must("alice", "crontab -l") == "", "the line is still there")
    out = machine.must("alice", "cd project && ./setup.sh --uninstall --purge", feed="yes\n")
    # The task that ran compiled modules of its own.
    compiled = [name for name in machine.names() if "/scripts/__pycache__" in name]
    without_a_trace(machine, before, [EMPTY_TABLE] + compiled)
    return "exit 0, healthy, a task has run, a real tick came; --purge leaves nothing"


@situation("root, no cron installed", with_packages=False, first=REAPS_WITHOUT_TINI)
def root_without_cron(machine):
    machine.checkout("root")
    out, err = set_up(machine, "root")
    expect("\ncrontab not found; running: apt-get update && " in out, out)
    expect("\ncron: started\n" in out, out)
    works(machine, "root", out)
    expect(out.startswith("Python: ") and "\nnote: you are root; " in out, out)
    return "installs cron, starts it, exit 0, healthy, a task has run"


@situation("root, no cron, no network", with_packages=False, first=REAPS_WITHOUT_TINI,
           network=False)
def root_without_network(machine):
    machine.checkout("root")
    before = machine.files("/root", "/etc")
    out, err = set_up(machine, "root", expected=69)
    expect("setup.sh: crontab not found; nothing was changed; to install it: " in
           err.splitlines()[-2], err)
    is_unchanged(before, machine.files("/root", "/etc"))
    return "exit 69, says how to install cron, nothing written"


@situation("user, no cron: as told, step by step", with_packages=False, first=REAPS_WITHOUT_TINI)
def user_without_cron(machine):
    machine.checkout("alice")
    before = machine.files()
    out, err = set_up(machine, "alice", expected=69)
    told = re.match(r"setup\.sh: crontab not found; nothing was changed; to install it: (.*)\n"
                    r"then run ./setup\.sh again\n\Z", err)
    expect(told, "what to do", err)
    is_unchanged(before, machine.files())
    machine.must("root", told.group(1).replace("sudo ", ""))
    machine.must("root", is_the_truth(*set_up(machine, "alice", expected=69)))
    works(machine, "alice", set_up(machine, "alice")[0])
    return "69 and told to install it; 69 and told to start it; exit 0, healthy"


@situation("user, cron stopped")
def user_with_stopped_cron(machine):
    machine.checkout("alice")
    is_the_truth(*set_up(machine, "alice", expected=69))
    return "line installed, exit 69, the last line says how to start cron"


@situation("root, cron stopped")
def root_with_stopped_cron(machine):
    machine.checkout("root")
    out, _ = set_up(machine, "root")
    expect("\ncron is not running; running: " in out and "\ncron: started\n" in out, out)
    works(machine, "root", out)
    return "starts it, exit 0, healthy, a task has run"


@situation("root, cron that will not start")
def root_with_broken_cron(machine):
    machine.must("root", "printf '#!/bin/sh\\nexit 0\\n' > /usr/sbin/cron")
    machine.checkout("root")
    out, err = set_up(machine, "root", expected=69)
    is_the_truth(out, err)
    return "line installed, exit 69, not called started"


@situation("sudo")
def under_sudo(machine):
    machine.must("root", "cron")
    machine.checkout("alice")
    before = machine.names()
    code, out, err = machine.call("alice", "cd project && sudo ./setup.sh")
    expect(code == 0, code, out, err)
    works(machine, "alice", out)
    expect("note: you are root" not in out, out)
    expect(machine.call("root", "crontab -l")[0] != 0, "root has a crontab")
    expect(machine.must("root", "find /home/alice ! -user alice") == "", "root's files")
    machine.must("alice", "cd project && sudo ./setup.sh --uninstall --purge", feed="yes\n")
    expect(machine.must("alice", "crontab -l") == "", "the line is still there")
    without_a_trace(machine, before, [EMPTY_TABLE, "/var/lib/sudo/lectured/alice",
                                      "/var/lib/sudo/lectured/1000"])
    return "alice's line, no file of root's; uninstall --purge leaves nothing"


@situation("root in a user's folder")
def root_in_a_users_folder(machine):
    machine.must("root", "cron")
    machine.checkout("alice")
    machine.must("root", "mkdir /srv/bait && printf '#!/bin/sh\\n' > /srv/bait/a.sh")
    machine.must("alice", "cd project && ln -s /srv/bait logs && ln -s /srv/bait/new status")
    machine.must("alice", "cd project && ln -s /srv/bait/a.sh scripts/a.sh"
                          " && ln -s /srv/bait/tasks config/tasks.d")
    before = machine.files()
    for options in ("", "--timer"):
        code, out, err = machine.call("root", "cd %s && ./setup.sh %s" % (PROJECT, options))
        expect(code == 2 and "belongs to alice (set it up for its owner: " in err, code, out, err)
        is_unchanged(before, machine.files())
    code, out, err = machine.call("root", "cd %s && ./setup.sh --user alice" % PROJECT)
    expect(code == 2 and "is a link, and nothing is created through one" in err, code, out, err)
    is_unchanged(before, machine.files())
    machine.must("alice", "cd project && rm logs status config/tasks.d")
    code, out, err = machine.call("root", "cd %s && ./setup.sh --user alice" % PROJECT)
    expect(code == 0, code, out, err)
    works(machine, "alice", out)
    expect(machine.must("root", "find /home/alice ! -user alice") == "", "root's files")
    expect(machine.must("root", "ls /srv/bait") == "a.sh\n", "written through a link")
    return "refused with the right command, nothing written anywhere; --user works"


@situation("a user ID without a name")
def without_a_name(machine):
    machine.must("root", "cron")
    machine.checkout("nameless")
    before = machine.files()
    out, err = set_up(machine, "nameless", expected=69)
    expect(out == "" and len(err.splitlines()) == 1 and "user ID 4321 has no name here" in err, err)
    is_unchanged(before, machine.files())
    machine.must("nameless", "cd project && ./symphony_conductor.py tick")
    machine.must("nameless", "cd project && ./symphony_conductor.py run --task health_check")
    return "exit 69 and a sentence, nothing written; tick and run work"


@situation("a user whom cron.allow leaves out")
def not_allowed(machine):
    machine.must("root", "echo root > /etc/cron.allow && cron")
    machine.checkout("alice")
    before = machine.files()
    out, err = set_up(machine, "alice", expected=69)
    expect(out == "" and "not allowed to use this program" in err, out, err)
    is_unchanged(before, machine.files())
    return "exit 69 and crontab's own words, nothing written"


@situation("read-only")
def read_only(machine):
    machine.must("root", "cron")
    seen = []
    for user in ("alice", "root"):
        machine.checkout(user)
        place = HOMES[user] + "/project"
        machine.must("root", "mount --bind {0} {0} && mount -o remount,bind,ro {0}".format(place))
        code, out, err = machine.call(user, "cd project && ./setup.sh")
        expect(code != 0 and out == "" and len(err.splitlines()) == 1, code, out, err)
        expect("Read-only file system (move the project to " in err, err)
        seen.append(str(code))
    return "exit %s and a sentence that names the cause" % " and ".join(seen)


@situation("--timer without systemd")
def timer_without_systemd(machine):
    machine.checkout("alice")
    before = machine.files()
    _, err = set_up(machine, "alice", "--timer", expected=69)
    expect("systemd is not running; use cron instead" in err, err)
    is_unchanged(before, machine.files())
    return "exit 69, told to use cron, nothing written"


@situation("no Python", with_packages=False, first=DOES_NOT_REAP)
def without_python(machine):
    machine.must("root", "rm /usr/bin/python3*")
    machine.checkout("alice")
    _, err = set_up(machine, "alice", expected=69)
    expect(err.endswith("no Python was found; install python3, then run setup.sh again\n"), err)
    return "exit 69, told to install python3"


def doctor_on_zombies(machine):
    """What doctor says once a process that outlived its parent has ended."""
    machine.must("root", "cron")
    machine.checkout("alice")
    set_up(machine, "alice")
    machine.start("alice", "sleep 6")
    time.sleep(7)
    return machine.call("alice", "cd project && ./symphony_conductor.py doctor")[1]


@situation("PID 1 that does not reap", first=DOES_NOT_REAP)
def no_reaper(machine):
    doctor = doctor_on_zombies(machine)
    expect("process 1 (sleep) does not reap" in doctor, "doctor is silent", doctor)
    return "doctor names it"


@situation("PID 1 that reaps (tini)")
def reaper(machine):
    doctor = doctor_on_zombies(machine)
    expect("does not reap" not in doctor, "a false alarm", doctor)
    return "doctor is silent"


def run_suite(machine, user):
    code, out, err = machine.call(user, "cp -R /srv/source clone && cd clone && nice tests/run",
                                  timeout_s=3600)
    lines = (out + err).splitlines()
    said = [line for line in lines if line.startswith(("tests/run: ", "FAILED", "ERROR"))]
    expect(code == 0, *said[:40] + lines[-1:])
    return "; ".join([line for line in said if "missing" in line or "installing" in line]
                     + [line for line in lines if re.search(r"\d+ passed", line)])


def suite_as_root(machine):
    return run_suite(machine, "root")


def suite_as_user(machine):
    """It says what is missing, one thing after the other; only that is installed."""
    machine.checkout("alice", "clone")
    seen = []
    while True:
        code, _, err = machine.call("alice", "cd clone && tests/run --collect-only", timeout_s=600)
        told = re.search(r"tests/run: (?:no test can run|cannot install).* install (.*)\n\Z", err)
        if code != 69 or not told or len(seen) > 2:
            break
        needed = [word for word in told.group(1).split() if word.startswith("python3")]
        machine.must("root", "apt-get update && DEBIAN_FRONTEND=noninteractive "
                             "apt-get install -y --no-install-recommends " + " ".join(needed))
        seen.append("69 and told to install " + " ".join(needed))
    machine.must("root", "rm -rf /home/alice/clone")
    return "; ".join(seen + [run_suite(machine, "alice")])


SUITES = [Situation("tests/run as root", suite_as_root, False, REAPS_WITHOUT_TINI, True),
          Situation("tests/run as a user", suite_as_user, False, REAPS_WITHOUT_TINI, True)]


# -- the layers of the system

def must(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **more)
    expect(done.returncode == 0, " ".join(command), done.stdout.decode("utf-8", "replace")[-2000:])


def bootstrap(folder):
    """The folders of a bare Debian, and of what the packages add to it."""
    bare, packages = folder / "bare", folder / "packages"
    if not bare.exists():
        print("bootstrapping a bare Debian: about a minute", flush=True)
        unfinished = folder / "bare.unfinished"
        shutil.rmtree(str(unfinished), ignore_errors=True)
        must(["debootstrap", "--variant=minbase", "--include=python3", "stable", str(unfinished)])
        unfinished.rename(bare)
    if not packages.exists():
        print("installing %s" % " ".join(PACKAGES), flush=True)
        machine = Machine([bare], REAPS_WITHOUT_TINI, folder, keep="keep")
        try:
            machine.must("root", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install"
                                 " -y --no-install-recommends " + " ".join(PACKAGES))
            os.rename(machine.folder + "/upper", str(packages))
        finally:
            machine.stop()
    return bare, packages


def look(case, bare, packages, source, scratch):
    """One row of the table: what was seen on a machine of its own."""
    layers = [source] + ([packages] if case.with_packages else []) + [bare]
    machine = None
    try:
        machine = Machine(layers, case.first, scratch, case.network)
        return "ok", case.look(machine)
    except (Fault, OSError, subprocess.SubprocessError) as error:
        return "FAULT", "%s: %s" % (type(error).__name__, error)
    finally:
        if machine is not None:
            machine.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--suite", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        print("on_debian.py: takes root and debootstrap", file=sys.stderr)
        return 2
    cases = SITUATIONS + (SUITES if options.suite else [])
    chosen = [case for case in cases if options.only in case.name]
    if not chosen:
        parser.error("no situation has '%s' in its name" % options.only)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = (options.folder or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        scratch.chmod(0o755)
        bare, packages = bootstrap(folder)
        source = scratch / "source"
        must(["git", "clone", "-q", str(REPOSITORY), str(source / "srv/source")])
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(2))
        rows = [(case, pool.submit(look, case, bare, packages, source, scratch)) for case in chosen]
        faults = 0
        width = max(len(case.name) for case in chosen)
        try:
            for case, row in rows:
                verdict, seen = row.result()
                faults += verdict != "ok"
                print("%-*s  %-5s  %s" % (width, case.name, verdict, seen), flush=True)
        except BaseException:
            for _, row in rows:
                row.cancel()
            for machine in list(Machine.running):
                machine.stop()
            raise
    print("%d situations, %d faults" % (len(chosen), faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
