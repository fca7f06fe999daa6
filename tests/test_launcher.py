"""A launcher and its cancel_command: what is filled in, what check looks for, and runs whose work goes
on elsewhere when their client is gone. What they may be is in test_config_edges.py.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import REPOSITORY, SCRIPT, due_once, finished, is_alive, nothing_lives, wait_until

import symphony_conductor as sc

NASTY = ["printf", "%s\\n", "a  b", "it's", '"$HOME"', "`id`", "two\nlines", "\u00fcn\u00efcode", "",
         "{task}", "*", "\\", "-n", ";", "&&"]


def spec_with(launcher, command=("job", "a b"), timeout=60.2):
    return dict(sc.SPEC_DEFAULTS, task="nightly", run_id="R-1", timeout=timeout, command=command,
                launcher=launcher)


@pytest.mark.parametrize("launcher, command, argv", [
    (None, "echo $X", ["/bin/sh", "-c", "echo $X"]),
    (["srun", "--job-name={run_id}", "--time=0:{timeout}"], ["job", "a b"],
     ["srun", "--job-name=R-1", "--time=0:61", "job", "a b"]),
    (["srun", "{task}"], "echo $X {task}", ["srun", "nightly", "/bin/sh", "-c", "echo $X {task}"]),
    (["ssh", "far", "{command}"], ["job", "a b", "it's"], ["ssh", "far", "job 'a b' 'it'\"'\"'s'"]),
    (["ssh", "far", "{command}"], "echo $X", ["ssh", "far", "/bin/sh -c 'echo $X'"]),
    (["sbatch", "--wrap=exec {command}", "-J{task}"], ["job"], ["sbatch", "--wrap=exec job", "-Jnightly"]),
    (["x", "{{command}}", "{{{task}}}"], ["job"], ["x", "{command}", "{nightly}", "job"]),
    (["x", "{{{command}}}"], ["job"], ["x", "{job}"]),
    (["x", "{command}"], ["{run_id}", "{"], ["x", "'{run_id}' '{'"]),
])
def test_what_is_filled_in(launcher, command, argv):
    assert sc.launched_argv(spec_with(launcher, command)) == argv


def test_a_shell_reads_from_the_place_of_the_command_the_command_itself():
    argv = sc.launched_argv(spec_with(["/bin/sh", "-c", "{command}"], NASTY))
    assert finished(argv)[1] == "".join(word + "\n" for word in NASTY[2:])


def test_check_looks_for_the_launcher_and_not_for_what_runs_elsewhere(project):
    project.configure(
        {"name": "a", "command": ["/on/the/other/machine"], "schedule": "0 2 * * *"},
        {"name": "b", "command": ["/on/the/other/machine"], "schedule": "0 2 * * *"},
        {"name": "c", "command": ["/not/here"], "schedule": "0 2 * * *", "launcher": None},
        launcher=["/no/such/client", "{run_id}"], cancel_command=["/no/such/cancel"])
    said = project.call("check")
    assert said[0] == 0, said
    text = said[1] + said[2]
    assert text.count("/no/such/client") == text.count("/no/such/cancel") == 1
    assert "/on/the/other" not in text and "command: '/not/here' does not exist" in text, text


def test_why_shows_how_a_task_is_launched_and_cancelled(project):
    project.configure({"name": "a", "command": "job", "schedule": "0 2 * * *", "launcher": ["srun", "-J", "x y"],
                       "cancel_command": "scancel x"})
    project.anchor()
    text = " ".join(project.call("why", "a")[1].split())
    assert "launched by srun -J 'x y'; cancelled by scancel x" in text


def test_255_of_ssh_is_a_failure_whatever_the_codes_say():
    fields = dict(sc.SPEC_DEFAULTS, success_exit_codes=(0, 255))
    ends = [sc.status_of_exit(255 << 8, dict(fields, launcher=launcher))
            for launcher in (None, ["srun"], ["/usr/bin/ssh", "far"])]
    assert ends == ["success", "success", "failed"]


# -- real processes: a client, and work of another machine that outlives it

CLIENT = """#!/bin/sh
# Have a command run elsewhere, and wait for its exit code.
%s
far="${0%%/*}/far" id=$1; shift
for word; do printf '%%s\\0' "$word"; done > "$far/$id.new"
mv "$far/$id.new" "$far/$id.job"
while ! test -s "$far/$id.exit"; do sleep 0.05; done
exit "$(cat "$far/$id.exit")"
"""
CANCEL = """#!/bin/sh
# End it: 0 once it has ended, or was never there.
far="${0%/*}/far" id=$1
echo "$id" >> "$far/asked"
while test -e "$far/hang"; do sleep 0.1; done
if test -e "$far/broken"; then echo 'no route to host' >&2; exit 5; fi
test -e "$far/$id.job" || exit 0
: > "$far/$id.cancel"
while ! test -s "$far/$id.exit"; do sleep 0.05; done
"""


class Elsewhere(threading.Thread):
    """The other machine: it starts what is asked for, with nothing of a run's marks."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder = folder
        self.working = {}
        self.is_over = threading.Event()
        self.begun, self.ended = [], []

    def run(self):
        while not self.is_over.is_set():
            for path in self.folder.glob("*.job"):
                if path.stem not in self.begun:
                    words = path.read_bytes().decode().split("\0")[:-1]
                    self.begun.append(path.stem)
                    self.note("start", path.stem)
                    self.working[path.stem] = subprocess.Popen(
                        words, env={"PATH": "/usr/bin:/bin"}, cwd=str(self.folder), start_new_session=True)
            for name, process in list(self.working.items()):
                if (self.folder / (name + ".cancel")).exists():
                    self.kill(process)
                if process.poll() is not None:
                    self.note("end", name)
                    del self.working[name]
                    self.ended.append(name)
                    (self.folder / (name + ".exit")).write_text("%d" % (process.returncode & 255))
            time.sleep(0.02)
        for process in self.working.values():
            self.kill(process)
            process.wait()

    @staticmethod
    def kill(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def note(self, what, name):
        with open(str(self.folder / "work"), "a") as work:
            work.write("%s %s\n" % (what, name))


class Site:
    """A project whose tasks run elsewhere."""

    def __init__(self, project):
        self.project, self.root = project, project.root
        self.far = self.root / "far"
        self.far.mkdir()
        for name, text in (("client", CLIENT % ""), ("stubborn", CLIENT % "trap '' TERM"),
                           ("cancel", CANCEL)):
            (self.root / name).write_text(text)
            (self.root / name).chmod(0o755)
        self.elsewhere = Elsewhere(self.far)
        self.elsewhere.start()

    def task(self, command, client="client", cancel=True, **more):
        fields = {"launcher": [str(self.root / client), "{run_id}"], "kill_grace": 1}
        if cancel:
            fields["cancel_command"] = [str(self.root / "cancel"), "{run_id}"]
        return due_once("a", command, **dict(fields, **more))

    def start(self, *arguments, **more):
        """Tick until the work goes on; the record of its run."""
        self.project.configure(self.task(*arguments, **more))
        self.project.anchor()
        self.tick()
        record = self.project.running_record("a")
        assert wait_until(lambda: (self.far / (record["run_id"] + ".job")).exists()
                          and record["run_id"] in self.elsewhere.working)
        return record

    def tick(self, *constants):
        """A tick as cron calls it, with other values of these constants."""
        code, said = self.call_with(constants, "tick")
        assert code == 0, said

    def call_with(self, constants, *words):
        text = "import sys; sys.path.insert(0, %r); import symphony_conductor as c; %s; c.command_line()" % (
            str(REPOSITORY), "; ".join("c." + constant for constant in constants) or "pass")
        code, out, err = finished([sys.executable, "-c", text, "--root", str(self.root)] + list(words))
        return code, out + err

    def verdict(self, timeout_s=60):
        """The verdict of the one slot; the work has ended by then, and no two attempts met."""
        def final():
            return [record for record in self.project.history() if not record.get("interim")]

        def ticked():
            self.tick()
            return final()

        assert wait_until(ticked, timeout_s), self.project.read("logs/symphony_conductor.log")
        return final()[0]

    def work(self):
        return [line.split()[0] for line in self.project.lines("far/work")]

    def no_two_met(self):
        work = self.work()
        return work == ["start", "end"] * (len(work) // 2)

    def held(self):
        """What the state says of a run that is held, once it does."""
        def text():
            self.tick()
            return self.project.state()["tasks"]["a"].get("run", {}).get("unended")

        return wait_until(text)


@pytest.fixture
def site(project):
    place = Site(project)
    yield place
    for path in ("hang", "broken"):
        if (place.far / path).exists():
            (place.far / path).unlink()
    place.elsewhere.is_over.set()
    place.elsewhere.join()
    record = {}
    if project.root.exists():
        record = sc.Store(str(project.root)).read_run("a") or {}
    if "result" not in record and record.get("supervisor", 0) > 1:
        try:
            os.kill(record["supervisor"], signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.mark.parametrize("command, status, code, asked", [
    ("exit 0", "success", 0, 0), ("exit 3", "failed", 3, 1), (["true"], "success", 0, 0),
    ("exit 75", "skipped_exit", 75, 0)])
def test_the_exit_code_is_that_of_the_work(site, command, status, code, asked):
    site.project.configure(site.task(command, skip_exit_codes=[75]))
    site.project.anchor()
    site.tick()
    verdict = site.verdict()
    assert (verdict["status"], verdict["exit_code"]) == (status, code)
    assert len(site.project.lines("far/asked")) == asked and site.no_two_met()


def test_a_client_that_cannot_start_started_nothing(site):
    site.project.configure(site.task("true", client="nowhere"))
    site.project.anchor()
    site.tick()
    verdict = site.verdict()
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 127)
    assert verdict["reason"].startswith("cannot start: ") and "nowhere" in verdict["reason"]
    assert not site.project.lines("far/asked")


def test_a_program_that_is_missing_at_the_other_end_is_not_looked_for_here(site):
    site.project.configure(due_once("a", ["/on/the/other/machine"], launcher=["sh", "-c", "exit 127"]))
    site.project.anchor()
    site.tick()
    verdict = site.verdict()
    assert (verdict["status"], verdict["exit_code"], "reason" in verdict) == ("failed", 127, False)


def test_what_a_failing_cancel_command_prints_of_a_secret_is_not_kept(site):
    (site.root / "secret.env").write_text("TOKEN=correct-horse\n")
    (site.root / "secret.env").chmod(0o600)
    site.project.configure(due_once(
        "a", "x", launcher=["false"], env={"PASSWORD": "battery-staple"}, env_file="secret.env",
        cancel_command='echo "no: $TOKEN $PASSWORD"; exit 5'))
    site.project.anchor()
    site.tick()
    text = site.held()
    assert "exit code 5: no: " in text and "correct-horse" not in text and "battery-staple" not in text
    assert site.project.call("stop", "a")[0] == 0


def test_a_condition_is_not_launched(site):
    site.project.configure(site.task("true", condition="test -e %s" % site.root, cancel=False))
    site.project.anchor()
    site.tick()
    assert site.verdict()["status"] == "success" and len(site.elsewhere.begun) == 1


@pytest.mark.parametrize("client, asked", [("client", 1), ("stubborn", 2)])
def test_a_timeout_ends_the_work_also_ahead_of_the_kill_and_a_retry_never_meets_it(site, client, asked):
    site.project.configure(site.task("sleep 60", client, timeout=1, retry_count=1, retry_delay=0))
    site.project.anchor()
    site.tick()
    verdict = site.verdict()
    assert (verdict["status"], verdict["exit_code"], verdict["attempt"]) == ("timeout", 124, 2)
    assert site.work() == ["start", "end"] * 2
    assert len(site.project.lines("far/asked")) == 2 * asked
    log = site.project.read("logs/automation/a.log")
    assert log.count(" cancel_command pid=") == 2 * asked and "reason" not in verdict


def test_without_a_cancel_command_the_verdict_says_that_the_work_may_go_on(site):
    site.start("sleep 60", cancel=False, timeout=1)
    verdict = site.verdict()
    assert (verdict["status"], verdict["reason"]) == ("timeout", sc.MAY_GO_ON)
    assert site.work() == ["start"]


def test_a_stop_ends_the_work(site):
    site.start("sleep 60", retry_count=3)
    code, out, err = site.project.call("stop", "a")
    assert (code, site.work()) == (0, ["start", "end"]), out + err
    verdict = site.verdict()
    assert verdict["status"] == "stopped" and verdict["reason"].startswith("stopped by ")


def test_a_supervisor_that_was_killed_leaves_its_cancel_command_to_the_next(site):
    record = site.start("sleep 60")
    os.kill(record["supervisor"], signal.SIGKILL)
    assert wait_until(lambda: not is_alive(record["supervisor"]))
    site.tick()
    os.kill(record["pid"], signal.SIGKILL)
    verdict = site.verdict()
    assert (verdict["status"], site.work()) == ("interrupted", ["start", "end"])


def kill_both(record):
    for pid in (record["supervisor"], record["pid"]):
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(record["supervisor"])) and nothing_lives(record)


@pytest.mark.parametrize("reboots", [False, True])
def test_work_that_lost_client_and_supervisor_is_ended_before_the_retry(site, reboots):
    record = site.start("test -e second && exit 0; touch second; sleep 60", retry_count=1, retry_delay=0)
    kill_both(record)
    path = site.root / "status" / "runs" / "a.json"
    # It is found long after its timeout, which it may not have reached.
    lost = dict(record, started_mono=record["started_mono"] - 7200)
    if reboots:
        lost["boot_id"] = "another boot"
    path.write_text(json.dumps(lost))
    verdict = site.verdict()
    assert (verdict["status"], verdict["attempt"]) == ("success", 2)
    assert site.work() == ["start", "end"] * 2
    first = verdict["attempts"][0]
    assert (first["status"], first["reason"]) == ("interrupted", sc.VANISHED)


def test_the_tick_that_has_a_lost_run_taken_over_is_nothing_of_the_run(site):
    record = site.start("sleep 60", cancel=False)
    kill_both(record)
    path = site.root / "status" / "runs" / "a.json"
    path.write_text(json.dumps(dict(record, started_mono=record["started_mono"] - 7200)))
    adopt = ("import json, sys; sys.path.insert(0, %r); import symphony_conductor as sc; store = sc.Store(%r);"
             " print(json.dumps(sc.Supervisor(store, sc.Clock(), store.read_run('a')).adopt()))" % (
                 str(SCRIPT.parent), str(site.root)))
    # Until it has forked, a tick shows the mark of the run: so does this shell.
    code, out, err = finished(["/bin/sh", "-c", '"$0" -c "$1"; echo "goes on"', sys.executable, adopt],
                              env=dict(os.environ, SYMPHONY_MARK=record["mark"]))
    assert (code, err) == (0, "") and out.endswith("goes on\n")
    assert json.loads(out.splitlines()[0])["reason"] == "%s; %s" % (sc.VANISHED, sc.MAY_GO_ON)


def test_a_lost_run_without_a_cancel_command_says_that_the_work_may_go_on(site):
    kill_both(site.start("sleep 60", cancel=False))
    verdict = site.verdict()
    assert verdict["reason"] == sc.VANISHED + "; " + sc.MAY_GO_ON


def test_a_lost_run_is_not_run_by_hand_and_a_stop_ends_it_without_a_tick(site):
    kill_both(site.start("sleep 60", retry_count=3))
    code, out, err = site.project.call("run", "a")
    assert code == 75 and "its last run lost its supervisor and may still go on" in err, err
    code, out, err = site.project.call("stop", "a")
    assert (code, site.work()) == (0, ["start", "end"]), out + err
    assert site.verdict()["status"] == "stopped"


def test_a_failing_cancel_command_holds_the_run_until_it_succeeds(site):
    (site.far / "broken").touch()
    site.start("test -e second && exit 0; touch second; sleep 60", timeout=2, retry_count=1, retry_delay=0)
    text = site.held()
    assert "its cancel_command fails (exit code 5: no route to host)" in text, text
    assert text.startswith("timed out at ") and text.endswith(sc.MAY_GO_ON)
    status = site.project.call("status")[1]
    assert "no route to host" in status and "no further attempt starts" in status
    assert wait_until(lambda: len(site.project.lines("far/asked")) >= 3)
    assert site.work() == ["start"]
    (site.far / "broken").unlink()
    verdict = site.verdict()
    assert (verdict["status"], verdict["attempt"], "abandoned" in verdict) == ("success", 2, False)
    assert site.work() == ["start", "end"] * 2


def test_a_second_stop_gives_up_and_says_what_may_go_on(site):
    (site.far / "broken").touch()
    site.start("sleep 60", retry_count=3)
    code, out, err = site.project.call("stop", "a")
    assert code == 1 and "no route to host" in out + err
    code, out, err = site.project.call("stop", "a")
    assert code == 0, out + err
    verdict = site.verdict()
    assert verdict["status"] == "stopped" and verdict["abandoned"] is True
    assert "its cancel_command fails" in verdict["reason"] and sc.MAY_GO_ON in verdict["reason"]
    assert site.work() == ["start"] and "run" not in site.project.state()["tasks"]["a"]


def test_a_supervisor_that_is_to_end_after_a_stop_does_not_give_up(site):
    (site.far / "broken").touch()
    record = site.start("sleep 60")
    assert site.project.call("stop", "a")[0] == 1
    os.kill(record["supervisor"], signal.SIGTERM)  # as when the machine goes down
    assert wait_until(lambda: not is_alive(record["supervisor"]))
    (site.far / "broken").unlink()
    verdict = site.verdict()
    assert (verdict["status"], site.work(), "abandoned" in verdict) == ("stopped", ["start", "end"], False)


def test_a_run_that_was_lost_while_it_was_stopped_says_that_the_work_may_go_on(site):
    record = site.start("sleep 60", cancel=False)
    sc.Store(str(site.root)).request_stop("a", record["run_id"], "stopped by me")
    kill_both(record)
    verdict = site.verdict()
    # In between stands who found it lost: a tick, or a supervisor that took it over.
    assert verdict["status"] == "stopped" and verdict["reason"].startswith("stopped by me; ")
    assert verdict["reason"].endswith(sc.MAY_GO_ON)


def test_a_client_is_not_said_to_be_unkillable_for_the_time_that_its_cancel_command_took(site):
    cancel = 'test -e late || {{ touch late; sleep 3; }}; exec "%s" {run_id}' % (site.root / "cancel")
    site.project.configure(site.task("sleep 60", client="stubborn", timeout=1, cancel_command=cancel, retry_count=0))
    site.project.anchor()
    site.tick("UNENDED_AFTER_S = 2.0")
    assert site.verdict()["status"] == "timeout" and site.work() == ["start", "end"]
    assert "cannot be killed" not in site.project.read("logs/automation/a.log")


def test_a_signal_does_not_end_the_first_try_of_a_cancel_command(site):
    cancel = 'echo >> began; sleep 2; exec "%s" {run_id}' % (site.root / "cancel")
    record = site.start("sleep 60", timeout=1, cancel_command=cancel)
    assert wait_until((site.root / "began").exists)
    os.kill(record["supervisor"], signal.SIGTERM)
    verdict = site.verdict()
    assert verdict["status"] == "timeout" and verdict["duration_s"] >= 3  # the task was held for so long
    assert (site.work(), len(site.project.lines("began"))) == (["start", "end"], 1)


def test_a_stop_of_a_lost_run_is_not_given_up_with_its_first_failure(site):
    kill_both(site.start("sleep 60"))
    (site.far / "broken").touch()
    code, out, err = site.project.call("stop", "a")
    assert code == 1 and "no route to host" in out + err, out + err
    (site.far / "broken").unlink()
    verdict = site.verdict()
    assert (verdict["status"], site.work()) == ("stopped", ["start", "end"])
    assert verdict["reason"].startswith("stopped by ") and sc.MAY_GO_ON not in verdict["reason"]


def test_a_client_that_was_killed_says_that_the_work_may_go_on(site):
    record = site.start("sleep 60", cancel=False)
    os.kill(record["pid"], signal.SIGKILL)
    verdict = site.verdict()
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 137)
    assert verdict["reason"].endswith(sc.MAY_GO_ON)


def test_a_stop_waits_for_the_cancel_command(site):
    cancel = 'sleep 3; exec "%s" {run_id}' % (site.root / "cancel")
    site.start("sleep 60", cancel_command=cancel)
    code, said = site.call_with(("UNENDED_AFTER_S = 0", "STOP_MARGIN_S = 0.5"), "stop", "a")
    assert (code, site.work()) == (0, ["start", "end"]), said


def test_what_a_client_and_its_cancel_command_print_starts_on_lines_of_their_own(site):
    site.project.configure(due_once("a", "x", launcher=["sh", "-c", "printf abc; exit 1"],
                                    cancel_command="printf def"))
    site.project.anchor()
    site.tick()
    assert site.verdict()["status"] == "failed"
    lines = site.project.lines("logs/automation/a.log")
    at = lines.index("abc")
    assert " cancel_command pid=" in lines[at + 1] and lines[at + 2] == "def" and " end run=" in lines[at + 3]


def watch_of(child, kind=sc.Watch, before_kill=None):
    clock = sc.Clock()
    job = sc.Job(pid=child.pid, run_id="R-1", root="/nowhere", mark="R-1-mark")
    output = sc.Output(os.open(os.devnull, os.O_WRONLY), 0)
    signals = sc.Signals()
    return kind(clock, job, clock.monotonic() + 60, 0.0, -1, output, signals, True,
                lambda status: False, lambda members: None, before_kill)


def closed(watch):
    watch.output.close()
    watch.signals.close()


def test_what_comes_ahead_of_a_kill_comes_once():
    calls = []
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    watch = watch_of(child, before_kill=lambda: calls.append(child.poll()))
    watch._stop("timeout", watch.clock.monotonic())
    for later in (1, 1000, 2000):
        watch._enforce(watch.clock.monotonic() + later)
    closed(watch)
    child.wait()
    assert len(calls) == 1


def test_the_watch_of_a_cancel_command_takes_no_exit_code_but_its_own():
    client, cancel = [subprocess.Popen(["sh", "-c", "exit %d" % code]) for code in (7, 3)]
    watch = watch_of(cancel, sc.CancelWatch)
    watch.wait()
    closed(watch)
    assert watch.wait_status == 3 << 8 and client.wait() == 7
    cancel.returncode = 3


def test_a_cancel_command_that_cannot_be_killed_has_failed():
    cancel = subprocess.Popen(["sleep", "60"])
    watch = watch_of(cancel, sc.CancelWatch)
    assert not watch._is_over()
    watch.is_unended = True
    assert watch._is_over()
    closed(watch)
    cancel.kill()
    cancel.wait()


def test_a_cancel_command_that_hangs_is_ended_and_given_up_in_the_end(site):
    (site.far / "hang").touch()
    site.project.configure(site.task("sleep 60", timeout=1, retry_count=3, retry_delay=0))
    site.project.anchor()
    site.tick("CANCEL_TIMEOUT_S = 0.5", "CANCEL_FOR_S = 2.0")
    verdict = site.verdict()
    assert (verdict["status"], verdict["attempt"], verdict["abandoned"]) == ("timeout", 1, True)
    assert "its cancel_command fails (timed out after 0.5 s), so " + sc.MAY_GO_ON in verdict["reason"]
    assert site.work() == ["start"] and len(site.project.lines("far/asked")) >= 2


def test_a_supervisor_that_is_to_end_itself_leaves_the_rest_to_the_next(site):
    (site.far / "broken").touch()
    record = site.start("sleep 60", timeout=1)
    assert site.held()
    os.kill(record["supervisor"], signal.SIGTERM)
    assert wait_until(lambda: not is_alive(record["supervisor"]))
    (site.far / "broken").unlink()
    verdict = site.verdict()
    assert (verdict["status"], site.work()) == ("interrupted", ["start", "end"])


def test_the_cancel_command_of_a_lost_run_has_its_environment_too(site):
    cancel = 'echo "$X $SYMPHONY_TASK" > out; exec "%s" {run_id}' % (site.root / "cancel")
    kill_both(site.start("sleep 60", env={"X": "1"}, cancel_command=cancel))
    assert site.verdict()["status"] == "interrupted" and site.project.lines("out") == ["1 a"]
    assert site.work() == ["start", "end"]


def test_a_supervisor_that_is_killed_while_it_cancels_is_followed_by_another(site):
    (site.far / "hang").touch()
    record = site.start("sleep 60", timeout=1)
    assert wait_until(lambda: site.project.lines("far/asked"))
    os.kill(record["supervisor"], signal.SIGKILL)
    (site.far / "hang").unlink()
    verdict = site.verdict()
    assert (verdict["status"], site.work()) == ("interrupted", ["start", "end"])


def test_a_root_that_is_gone_keeps_no_supervisor(site):
    (site.far / "broken").touch()
    record = site.start("sleep 60", timeout=1)
    assert site.held()
    site.elsewhere.is_over.set()
    site.elsewhere.join()
    shutil.rmtree(str(site.root))
    assert wait_until(lambda: not is_alive(record["supervisor"]))


def test_the_cancel_command_has_the_folder_and_environment_of_the_run(site):
    (site.root / "here").mkdir()
    site.project.configure(site.task(
        "exit 1", cwd="here", env={"X": "1"},
        cancel_command="echo $X {task} {timeout} ${{SYMPHONY_RUN_ID}} {run_id} > out"))
    site.project.anchor()
    site.tick()
    run_id = site.verdict()["run_id"]
    assert site.project.lines("here/out") == ["1 a 3600 %s %s" % (run_id, run_id)]


def test_check_looks_for_what_the_launcher_of_each_task_will_be(project):
    for name in ("launch-a", "cancel-a"):
        (project.root / name).write_text("#!/bin/sh\n")
        (project.root / name).chmod(0o755)
    project.configure(
        due_once("a"), due_once("b"), due_once("c", launcher=["sh", "{run_id}/{task}"]),
        launcher=["./launch-{task}", "{run_id}"], cancel_command="./cancel-{task} {{")
    code, out, err = project.call("check")
    assert code == 0 and out.count("does not exist") == 2, out + err
    assert "'b': launcher: './launch-b' does not exist" in out
    assert "'b': cancel_command: './cancel-b' does not exist" in out


def test_a_stop_during_a_later_try_gives_up_too(site):
    (site.far / "broken").touch()
    site.start("sleep 60", timeout=1, retry_count=3, retry_delay=0)
    assert site.held()
    (site.far / "hang").touch()
    before = len(site.project.lines("far/asked"))
    assert wait_until(lambda: len(site.project.lines("far/asked")) > before)
    code, out, err = site.project.call("stop", "a")
    assert code == 0 and out.endswith("before it could be stopped, but %s\n" % sc.MAY_GO_ON), out + err
    verdict = site.verdict()
    assert (verdict["status"], verdict["abandoned"], verdict["attempt"]) == ("timeout", True, 1)
    assert "no route to host" in verdict["reason"], verdict["reason"]
    assert site.work() == ["start"]


def test_a_supervisor_that_is_to_end_itself_does_so_during_a_later_try_too(site):
    (site.far / "broken").touch()
    record = site.start("sleep 60", timeout=1)
    assert site.held()
    (site.far / "hang").touch()
    before = len(site.project.lines("far/asked"))
    assert wait_until(lambda: len(site.project.lines("far/asked")) > before)
    os.kill(record["supervisor"], signal.SIGTERM)
    assert wait_until(lambda: not is_alive(record["supervisor"]))
    assert not [each for each in site.project.history() if not each.get("interim")]
    (site.far / "hang").unlink()
    (site.far / "broken").unlink()
    assert site.verdict()["status"] == "interrupted" and site.work() == ["start", "end"]


@pytest.mark.parametrize("is_left", [False, True])
def test_a_run_by_hand_says_what_holds_it(site, is_left):
    (site.far / "broken").touch()
    site.project.configure(dict(site.task("exit 3"), schedule="0 0 29 2 *"))
    with open(str(site.root / "said"), "w") as said:
        process = subprocess.Popen([
            sys.executable, str(REPOSITORY / "symphony_conductor.py"), "--root", str(site.root), "run", "a"],
            stderr=said)
    try:
        text = "a: its cancel_command fails (exit code 5: no route to host), so " + sc.MAY_GO_ON
        assert wait_until(lambda: text in site.project.read("said"))
        if is_left:
            process.send_signal(signal.SIGINT)
        else:
            (site.far / "broken").unlink()
        code = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    last = site.project.lines("said")[-1]
    if is_left:
        assert code == 74 and sc.MAY_GO_ON + " (the next tick takes it over; to end it: stop a)" in last
    else:
        assert code == 3 and text in last


@pytest.mark.parametrize("change, variables", [
    ("removed", "settings"), ("invalid", "settings task"), ("", "settings task")])
def test_a_lost_run_of_a_task_that_changed_has_what_variables_there_are(site, change, variables):
    cancel = 'echo $X $Y > out; exec "%s" {run_id}' % (site.root / "cancel")
    task = site.task("sleep 60", env={"Y": "task"}, cancel_command=cancel)
    site.project.configure(task, env={"X": "settings"})
    site.project.anchor()
    site.tick()
    record = site.project.running_record("a")
    assert wait_until(lambda: record["run_id"] in site.elsewhere.working)
    if change == "invalid":
        task = dict(task, nice="very")
    tasks = [due_once("b")] if change == "removed" else [due_once("b"), task]
    site.project.configure(*tasks, env={"X": "settings"})
    kill_both(record)

    def ended():
        site.project.call("tick")
        return site.elsewhere.ended

    assert wait_until(ended)
    assert site.project.lines("out") == [variables] and site.work() == ["start", "end"]


def test_what_holds_a_run_is_noted_once_there_is_room_for_it(project, monkeypatch):
    project.configure(due_once("a"))
    store, written = sc.Store(str(project.root)), []
    full = [sc.StorageError("no space left on device")]

    def write(name, record):
        if full:
            raise full.pop()
        written.append(record["unended"])

    monkeypatch.setattr(store, "write_run", write)
    supervisor = sc.Supervisor(store, sc.Clock(), spec_with(["client"]))
    for _ in range(3):
        supervisor._note_held("its cancel_command fails")
    assert written == ["its cancel_command fails"]


@pytest.mark.parametrize("cancel", ["scancel {later}", ["scancel", "{0}"], [5], 5])
def test_a_cancel_command_on_record_that_cannot_be_filled_in_holds_the_run_until_a_stop(site, cancel):
    record = site.start("sleep 60")
    kill_both(record)
    (site.root / "status" / "runs" / "a.json").write_text(json.dumps(dict(record, cancel_command=cancel)))
    text = site.held()
    assert "fails (the one on record cannot be filled in: %s)" % json.dumps(cancel) in text, text
    code, out, err = site.project.call("stop", "a")
    assert code == 0 and out.endswith(sc.MAY_GO_ON + "\n"), out + err
    assert site.verdict()["abandoned"] and "Traceback" not in site.project.read("logs/symphony_conductor.log")


@pytest.mark.parametrize("launcher", [["client"], None])
def test_a_power_cut_leaves_the_record_of_what_was_launched(project, monkeypatch, launcher):
    project.configure(due_once("a"))
    store, durable = sc.Store(str(project.root)), []
    monkeypatch.setattr(store, "write_run", lambda name, record, durable=True, all=durable: all.append(durable))
    supervisor = sc.Supervisor(store, sc.Clock(), spec_with(launcher))
    supervisor._note_start(0.0)
    supervisor._note_process(os.getpid())
    supervisor._note_adoption()
    assert durable == [True, bool(launcher), bool(launcher)]


# -- a real sshd on loopback, by the example of the manual

SSHD_CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
"""


EMPTY = "/run/sshd"  # which the service makes, and an sshd of root's needs (sshd(8))


class Sshd:
    """An sshd of the test's own, and the words that reach it."""

    def __init__(self, folder):
        self.folder = folder
        daemon = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin:" + os.environ["PATH"])
        if not daemon or not all(map(shutil.which, ("ssh", "ssh-keygen", "pkill", "pgrep"))):
            pytest.skip("there is no sshd, or ssh, ssh-keygen, pkill or pgrep is missing")
        users = [user for user in pwd.getpwall() if user.pw_uid == os.geteuid()]
        if not users or users[0].pw_shell.endswith(("/nologin", "/false")):
            pytest.skip("this user has no shell to log in to")
        self.has_made = os.geteuid() == 0 and not os.path.isdir(EMPTY)
        if self.has_made:
            os.makedirs(EMPTY, 0o755, exist_ok=True)  # another test may make it at the same time
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        (folder / "config").write_text(SSHD_CONFIG.format(port=self.port, folder=folder))
        self.daemon = subprocess.Popen([daemon, "-D", "-e", "-f", str(folder / "config")],
                                       stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        words = ["ssh", "-F/dev/null", "-p%d" % self.port, "-i%s/user" % folder, "-oUserKnownHostsFile=/dev/null",
                 "-oStrictHostKeyChecking=no", "-oLogLevel=ERROR"]
        if not wait_until(lambda: finished(words + ["-oBatchMode=yes", "127.0.0.1", "true"])[0] == 0):
            self.stop()
            pytest.skip("no login: %s" % self.daemon.stderr.read().decode("utf-8", "replace")[-300:])
        text = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
        text = text[text.index("### ssh"):]
        example = json.loads(text[text.index("```json") + 7:text.index("```\n\nWhat leaves")])["settings"]
        (folder / "there").mkdir()
        for key, example_words in example.items():
            example[key] = [word.replace("/dev/shm", str(folder / "there")) for word in words + [
                "127.0.0.1" if word == "worker" else word for word in example_words[1:]]]
        self.settings = example

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()
        if self.has_made and os.path.isdir(EMPTY):
            os.rmdir(EMPTY)


@pytest.fixture
def sshd(tmp_path):
    folder = tmp_path / "sshd"
    folder.mkdir(mode=0o700)
    daemon = Sshd(folder)
    yield daemon
    daemon.stop()


def by_ssh(project, sshd, *tasks, **settings):
    project.configure(*tasks, **dict(sshd.settings, **settings))
    project.anchor()
    project.call("tick")


def verdicts_of(project, count=1):
    def final():
        project.call("tick")
        records = [record for record in project.history() if not record.get("interim")]
        return len(records) >= count and {record["task"]: record for record in records}

    verdicts = wait_until(final, 60)
    assert verdicts, project.read("logs/symphony_conductor.log")
    return verdicts


def test_ssh_passes_on_exit_codes_and_every_letter_of_the_command(project, sshd):
    by_ssh(project, sshd, due_once("code", "exit 7"), due_once("words", NASTY),
           due_once("text", "x='a  b'; echo \"$x\" | cat -; echo \"$SYMPHONY_TASK.\""), max_concurrent_tasks=3)
    verdicts = verdicts_of(project, 3)
    assert (verdicts["code"]["status"], verdicts["code"]["exit_code"]) == ("failed", 7)
    # What the shell of this user reads at a login may print something first.
    assert verdicts["words"]["output_tail"].endswith("".join(word + "\n" for word in NASTY[2:]))
    assert verdicts["text"]["output_tail"].endswith("a  b\n.\n")
    assert sorted(os.readlink(str(path)) for path in (sshd.folder / "there").iterdir()) == ["none"]


def far_pid(path):
    return int(wait_until(lambda: path.exists() and path.read_text().strip()))


def far_work(path):
    return "echo $$ > %s; sleep 311; echo done" % path


@pytest.mark.parametrize("cancels", [True, False])
def test_a_connection_that_breaks_is_a_failure_and_the_far_side_is_ended_or_told(project, sshd, cancels):
    path = project.root / "far.pid"
    more = {} if cancels else {"cancel_command": None}
    by_ssh(project, sshd, due_once("a", far_work(path), success_exit_codes=[0, 255]), **more)
    pid = far_pid(path)
    for process in sc.process_table():  # the process of sshd that serves this connection
        line = sc._process_text(process, "cmdline")
        if process.parent == sshd.daemon.pid and line.startswith(b"sshd:"):
            for child in sc.process_table():
                if child.parent == process.pid and child.pid != pid and b"sshd" in sc._process_text(child, "cmdline"):
                    os.kill(child.pid, signal.SIGKILL)
            os.kill(process.pid, signal.SIGKILL)
    verdict = verdicts_of(project)["a"]
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 255), verdict
    if cancels:
        assert not is_alive(pid) and "reason" not in verdict
    else:
        assert is_alive(pid) and verdict["reason"] == sc.MAY_GO_ON
        os.killpg(os.getpgid(pid), signal.SIGKILL)


def test_a_timeout_ends_what_runs_at_the_other_end_of_ssh(project, sshd):
    path = project.root / "far.pid"
    by_ssh(project, sshd, due_once("a", "trap '' TERM HUP; " + far_work(path), timeout=10, kill_grace=0))
    pid = far_pid(path)
    verdict = verdicts_of(project)["a"]
    assert verdict["status"] == "timeout" and not is_alive(pid)


def test_a_far_side_that_comes_after_its_cancel_command_starts_nothing(project, sshd):
    project.configure(due_once("a"), **sshd.settings)
    task = sc.Store(str(project.root)).read_config().tasks["a"]
    spec = spec_with(task.launcher, ("touch", str(project.root / "ran")))
    for _ in range(2):
        assert finished(sc.filled_in(task.cancel_command, spec))[0] == 0
    assert finished(sc.launched_argv(spec))[0] != 0 and not (project.root / "ran").exists()
