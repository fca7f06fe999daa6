#!/usr/bin/env python3
"""Run tasks on a real Slurm of two nodes through a launcher, and end everything that can be ended.

    sudo python3 tests/on_slurm.py [WORDS...]

Takes root and Debian's slurm-wlm and munge. munged, slurmctld and two slurmd run on this machine, with
ports and a temporary folder of their own, and are ended with it. The launcher and the cancel_command are
those of config/README.md. After each case no job may be left in the queue within seconds, no work may
have met another, and the verdict has to be the right one. Prints a line for each, and exits 1 if one is
wrong. With WORDS, only the cases whose names hold one of them.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from support import REPOSITORY, Project, due_once, is_alive, wait_until

import symphony_conductor as sc

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel", "squeue")
NODES = {"n1": 27818, "n2": 27819}
CONF = """ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=27817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=5
KillWait=30
{nodes}
PartitionName=trial Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
# The lock is held by all that works, so that a second one sees it. 9 is closed by no exec.
WORK = """#!/bin/sh
# work SECONDS CODE [term]: CODE may be 5,0 for the first attempt and the next.
cd "${0%/*}"
exec 9> lock
flock -n 9 || echo met >> work.log
echo "start $SYMPHONY_ATTEMPT" >> work.log
test "$3" = term && trap '' TERM
code=${2%%,*}
if test "$SYMPHONY_ATTEMPT" != 1; then code=${2##*,}; fi
if test "$code" = long; then sleep "$1"; code=0; fi
if test "$code" = kill; then kill -9 $$; fi
echo end >> work.log
exit "$code"
"""


class Slurm:
    """The daemons, and what is asked of them."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.conf = str(self.folder / "slurm.conf")
        host = os.uname()[1].split(".")[0]
        nodes = "\n".join("NodeName=%s NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=1" % (name, host, port)
                          for name, port in NODES.items())
        for name in ("state",) + tuple(NODES):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, nodes=nodes))
        os.environ["SLURM_CONF"] = self.conf

    def start(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.must("munged", "--force", *["--%s=%s/munge.%s" % (option, self.folder, name) for option, name in (
            ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"),
            ("seed-file", "seed"))])
        self.must("slurmctld", "-f", self.conf)
        for node in NODES:
            self.start_node(node)

    def start_node(self, node):
        self.must("slurmd", "-f", self.conf, "-N", node)
        if not wait_until(lambda: self.tell("sinfo", "-h", "-n", node, "-o", "%T") == "idle", 60):
            sys.exit("node %s: %s" % (node, self.tell("sinfo", "-N")))

    def processes(self, word=""):
        """The pids of what was started for this: daemons, supervisors, clients and work."""
        pids = []
        for process in sc.process_table():
            line = sc._process_text(process, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace")
            is_ours = self.conf.encode() in sc._environment_of(process) or str(self.folder) in line
            if is_ours and word in line and process.pid != os.getpid() and not process.is_dead:
                pids.append(process.pid)
        return pids

    def lose_node(self):
        """Kill the node that works, and what works there, as a power cut would."""
        node = wait_until(lambda: self.tell("squeue", "-h", "-t", "R", "-o", "%N"))
        pids = [int((self.folder / (node + ".pid")).read_text())] + self.processes("slurmstepd")
        table = sc.process_table()
        for pid in pids:  # grows by what came of them
            pids += [process.pid for process in table if process.parent == pid and process.pid not in pids]
        for pid in pids:
            self.kill(pid)
        return node

    def stop(self):
        for _ in range(3):  # supervisors and clients first end what they run
            for pid in self.processes():
                self.kill(pid)

    @staticmethod
    def kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    @staticmethod
    def must(*command):
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE)

    @staticmethod
    def tell(*command):
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode().strip()

    def queue(self):
        return self.tell("squeue", "-h", "-o", "%j %T")


def examples():
    """(script, launcher, cancel_command) of config/README.md."""
    text = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    part = text[text.index("### Slurm"):text.index("### ssh")]
    script = re.search(r"```sh\n(.*?)```", part, re.DOTALL).group(1)
    settings = json.loads(re.search(r"```json\n(.*?)```", part, re.DOTALL).group(1))["settings"]
    return script, settings["launcher"], settings["cancel_command"]


class Case:
    """A project of its own, whose tasks run on the nodes."""

    def __init__(self, slurm, folder):
        self.slurm = slurm
        self.project = Project(folder)
        self.root = self.project.root
        script, launcher, self.cancel = examples()
        # All is on one machine here: what works on a node must not be found by its variables.
        self.launcher = ["env", "-u", "SYMPHONY_MARK", "-u", "SYMPHONY_ROOT"] + launcher
        (self.root / "scripts").mkdir()
        for name, text in (("scripts/launch-srun", script), ("work", WORK)):
            (self.root / name).write_text(text)
            (self.root / name).chmod(0o755)

    def task(self, *words, **more):
        command = [str(self.root / "work")] + [str(word) for word in words]
        return due_once(more.pop("name", "a"), command, **dict({"retry_delay": 0, "kill_grace": 10}, **more))

    def begin(self, *tasks, cancel=True):
        more = {"cancel_command": self.cancel} if cancel else {}
        self.project.configure(*tasks, launcher=self.launcher, **more)
        self.project.anchor()
        self.tick()

    def tick(self):
        self.project.call("tick")

    def works(self, attempts=1):
        assert wait_until(lambda: len(self.starts()) >= attempts, 60), self.log()
        return self.project.running_record("a")

    def log(self):
        return self.project.read("logs/automation/a.log")

    def starts(self):
        return [line for line in self.project.lines("work.log") if line.startswith("start")]

    def verdict(self, name="a", timeout_s=150):
        def final():
            self.tick()
            return [record for record in self.project.history()
                    if record["task"] == name and not record.get("interim")]
        assert wait_until(final, timeout_s), self.log()
        return final()[0]

    def expect(self, status, code, attempts, within_s=5):
        """The verdict, with an empty queue and no work that met another."""
        verdict = self.verdict()
        seen = (verdict["status"], verdict["exit_code"], verdict["attempt"])
        assert seen == (status, code, attempts), (verdict, self.log())
        ended = time.monotonic()
        assert wait_until(lambda: not self.slurm.queue(), within_s), "left in the queue: " + self.slurm.queue()
        assert "met" not in self.project.lines("work.log"), self.project.lines("work.log")
        assert not self.slurm.processes("/work "), "left on a node"
        return "%s %s, attempt %d, queue empty after %.1f s, %d starts" % (
            status, code, attempts, time.monotonic() - ended, len(self.starts()))


def the_exit_code_is_that_of_the_command(case):
    case.begin(case.task(0, 7, retry_count=0))
    return case.expect("failed", 7, 1)


def success_and_what_it_printed(case):
    case.begin(due_once("a", "echo \"$SYMPHONY_TASK on $SLURMD_NODENAME\"; echo 'a  b'"))
    verdict = case.verdict()
    output = re.sub("srun: .*\n", "", verdict["output_tail"])
    assert re.match("a on n[12]\na  b\n$", output), verdict
    return case.expect("success", 0, 1)


def a_command_that_a_signal_ends(case):
    case.begin(case.task(0, "kill", retry_count=0))
    return case.expect("failed", 137, 1)


def a_chain(case):
    case.begin(case.task(1, "long"), case.task(0, 0, name="b", dependencies=["a"]))
    text = case.expect("success", 0, 1)
    assert case.verdict("b")["status"] == "success"
    return text


def two_at_a_time_on_two_nodes(case):
    names = ("a", "b")
    case.begin(*[due_once(name, "sleep 2; echo $SLURMD_NODENAME") for name in names])
    nodes = sorted(re.sub("srun: .*", "", case.verdict(name)["output_tail"]).strip() for name in names)
    assert nodes == ["n1", "n2"], nodes
    return case.expect("success", 0, 1)


def a_retry(case):
    case.begin(case.task(0, "5,0", retry_count=1))
    return case.expect("success", 0, 2)


def a_timeout(case):
    case.begin(case.task(300, "long,0", timeout=3, retry_count=1))
    return case.expect("success", 0, 2)


def a_timeout_of_what_ignores_sigterm_with_a_kill_at_once(case):
    case.begin(case.task(300, "long,0", "term", timeout=3, kill_grace=0, retry_count=1))
    return case.expect("success", 0, 2)


def a_kill_at_once_without_a_cancel_command_leaves_the_job(case):
    """Why there is one: nothing that is seen here says that the job ends."""
    case.begin(case.task(300, "long", "term", timeout=3, kill_grace=0, retry_count=0), cancel=False)
    verdict = case.verdict()
    assert verdict["reason"] == sc.MAY_GO_ON, verdict
    time.sleep(3)
    left = case.slurm.queue()
    case.slurm.tell("scancel", "--signal=KILL", "--name=" + verdict["run_id"])
    return "%s; 3 s later the queue has: %s" % (case.expect("timeout", 124, 1, 90), left or "nothing")


def a_stop(case):
    case.begin(case.task(300, "long", retry_count=3))
    case.works()
    code, out, err = case.project.call("stop", "a")
    assert code == 0, out + err
    return case.expect("stopped", 143, 1)


def a_killed_supervisor(case):
    case.begin(case.task(5, "long", retry_count=0))
    record = case.works()
    os.kill(record["supervisor"], signal.SIGKILL)
    return case.expect("interrupted", None, 1)


def kill_all(case, record):
    os.kill(record["supervisor"], signal.SIGKILL)
    os.killpg(record["pid"], signal.SIGKILL)
    assert wait_until(lambda: not is_alive(record["supervisor"]) and not is_alive(record["pid"]))


def a_killed_supervisor_and_client(case):
    case.begin(case.task(300, "long,0", "term", retry_count=1))
    kill_all(case, case.works())
    return case.expect("success", 0, 2)


def a_reboot(case):
    case.begin(case.task(300, "long,0", "term", retry_count=1))
    record = case.works()
    kill_all(case, record)
    path = case.root / "status" / "runs" / "a.json"
    path.write_text(json.dumps(dict(record, boot_id="of another boot")))
    return case.expect("success", 0, 2)


def a_lost_node(case):
    case.begin(case.task(300, "long,0", retry_count=1))
    case.works()
    node = case.slurm.lose_node()
    text = case.expect("success", 0, 2)
    first = case.verdict()["attempts"][0]
    assert (first["status"], first["exit_code"]) == ("failed", 255), first
    case.slurm.start_node(node)
    return "%s; the first attempt took %d s" % (text, first["duration_s"])


def a_controller_that_is_away(case):
    case.begin(case.task(300, "long,0", timeout=8, kill_grace=0, retry_count=1, retry_delay=10))
    case.works()
    # Not by SIGKILL: it would forget the jobs of its last seconds, and take ended ones for running.
    os.kill(int((case.slurm.folder / "slurmctld.pid").read_text()), signal.SIGTERM)
    assert wait_until(lambda: not case.slurm.processes("slurmctld -f"))

    def held():
        case.tick()
        return case.project.state()["tasks"]["a"].get("run", {}).get("unended")

    text = wait_until(held, 100)
    assert text and "its cancel_command fails" in text, (text, case.log())
    assert len(case.starts()) == 1
    case.slurm.must("slurmctld", "-f", case.slurm.conf)
    return "held (%s); %s" % (text[text.index("("):][:60], case.expect("success", 0, 2, 240))


CASES = (
    success_and_what_it_printed, the_exit_code_is_that_of_the_command, a_command_that_a_signal_ends, a_chain,
    two_at_a_time_on_two_nodes, a_retry, a_timeout, a_timeout_of_what_ignores_sigterm_with_a_kill_at_once,
    a_kill_at_once_without_a_cancel_command_leaves_the_job, a_stop, a_killed_supervisor,
    a_killed_supervisor_and_client, a_reboot, a_lost_node, a_controller_that_is_away)


def main():
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        sys.exit("needs root, slurm-wlm and munge (missing: %s)" % (", ".join(missing) or "none"))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        slurm = Slurm(os.path.realpath(folder))
        try:
            slurm.start()
            for number, attempt in enumerate(CASES):
                if sys.argv[1:] and not any(word in attempt.__name__ for word in sys.argv[1:]):
                    continue
                began = time.monotonic()
                name = attempt.__name__.replace("_", " ")
                try:
                    seen, mark = attempt(Case(slurm, os.path.join(slurm.folder, "root%d" % number))), "ok    "
                except AssertionError as error:
                    failed += 1
                    seen, mark = error, "FAILED"
                print("%s  %s (%.0f s): %s" % (mark, name, time.monotonic() - began, seen), flush=True)
        finally:
            slurm.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
