"""The program is replaced while tasks run: by a newer version, and by an older one."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from support import REPOSITORY, SCRIPT, Project, due_once

import symphony_conductor as sc

# Every version whose files this one has to go on with, and that may have to go on with the files of this one.
RELEASES = ["9690142"]


def program_of(release):
    """The text of a release, where the history of the checkout reaches back to it."""
    if not shutil.which("git"):
        pytest.skip("there is no git (tests/run installs it)")
    done = subprocess.run(["git", "-C", str(REPOSITORY), "show", release + ":symphony_conductor.py"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode:
        pytest.skip("this checkout does not hold %s" % release)
    return done.stdout


class Box:
    """A project with a conductor of its own, which can be replaced."""

    def __init__(self, folder):
        self.project = Project(folder)
        self.script = self.project.root / "symphony_conductor.py"

    def put(self, text):
        """Replace the program in one step, as git and a package manager do."""
        new = pathlib.Path(str(self.script) + ".new")
        new.write_bytes(text)
        new.chmod(0o755)
        os.rename(str(new), str(self.script))
        shutil.rmtree(str(self.project.root / "__pycache__"), ignore_errors=True)

    def call(self, *words):
        command = [sys.executable, "-I", "-S", "-c",
                   'import sys; sys.path.append("."); import symphony_conductor as c; c.command_line()']
        done = subprocess.run(command + list(words), cwd=str(self.project.root), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def anchor(self):
        """A first tick by the program that is there, two and a half minutes ago."""
        code = ('import sys, time; sys.path.append("."); import symphony_conductor as c\n'
                "class Past(c.Clock):\n"
                "    def now(self): return time.time() - 150\n"
                "c.Conductor(c.Store(%r), Past()).tick()" % str(self.project.root))
        subprocess.check_call([sys.executable, "-I", "-S", "-c", code], cwd=str(self.project.root))

    def is_idle(self):
        """Whether all is over."""
        tasks = self.project.state()["tasks"].values()
        return not any("run" in task or "cycle" in task for task in tasks)


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "box")


def tasks():
    return (
        due_once("slow", "echo slow >> out; while ! test -e go; do sleep 0.05; done"),
        due_once("after", "echo after >> out", dependencies=["slow"]),
        due_once("flaky", "echo flaky $SYMPHONY_ATTEMPT >> out; test $SYMPHONY_ATTEMPT = 2", retry_count=1,
                 retry_delay=3600),
        {"name": "bystander", "command": "true"})


def is_retrying(project):
    return "cycle" in project.state()["tasks"]["flaky"] and (
        project.state()["tasks"]["flaky"]["cycle"].get("phase") == "retrying")


def replace_in_mid_run(box, before, after, at_once=False):
    """One version starts a task, another takes its place before that ends; then ticks, as cron sends them.

    `at_once`: the end of the task is enough to start its dependent, without a further tick of cron's.
    """
    project = box.project
    box.put(before)
    project.configure(*tasks(), max_concurrent_tasks=5)
    box.anchor()
    assert box.call("tick")[0] == 0
    assert project.wait_until(lambda: sorted(project.lines("out")) == ["flaky 1", "slow"])
    assert project.wait_until(lambda: is_retrying(project))
    box.put(after)
    assert box.call("pause", "bystander")[0] == 0  # the new one writes the state while the old one's task runs
    (project.root / "go").write_text("")
    assert not at_once or project.wait_until(lambda: "after" in project.lines("out"))
    for _ in range(10):
        if project.wait_until(lambda: "after" in project.lines("out"), 2):
            break
        assert box.call("tick")[0] == 0
    assert project.wait_until(lambda: not any(
        "run" in task for task in project.state()["tasks"].values()), 10)
    # The clock moves on to the retry.
    project.wait_for_idle()
    state = project.state()
    assert is_retrying(project)
    state["tasks"]["flaky"]["cycle"]["retry_at"] = 1
    (project.root / "conductor_state.json").write_text(json.dumps(state))
    for _ in range(10):
        assert box.call("tick")[0] == 0  # which gives way to a decision that is being made
        if project.wait_until(box.is_idle, 2):
            break
    assert box.call("tick")[0] == 0
    assert sorted(project.lines("out")) == ["after", "flaky 1", "flaky 2", "slow"]
    assert sorted((one["task"], one["status"], one["attempt"]) for one in project.history()) == [
        ("after", "success", 1), ("flaky", "success", 2), ("slow", "success", 1)]
    assert not [path for path in project.root.iterdir() if ".bad-" in path.name]
    log = project.read("logs/symphony_conductor.log")
    assert "Traceback" not in log and "internal error" not in log
    code, out, _ = box.call("audit", "--json")
    document = json.loads(out)
    assert (code, document["unexplained"], document.get("zone_changes", [])) == (0, 0, [])


@pytest.mark.parametrize("release", RELEASES)
def test_an_upgrade_in_mid_run_loses_and_doubles_nothing(box, release):
    replace_in_mid_run(box, program_of(release), SCRIPT.read_bytes())
    assert box.project.state()["by"] == sc.__version__


def test_slots_are_computed_anew_where_an_older_version_read_the_schedule_another_way():
    config = sc.build_config([("c.json", {"tasks": [due_once("job", schedule="0 18-18/4 * * *")]})])
    at_18, at_22 = sc.from_iso("2025-06-02T18:00:00Z"), sc.from_iso("2025-06-02T22:00:00Z")
    state = sc.State(zone_stamp="0,0", last_now=at_18, tasks={"job": sc.TaskState(
        schedule_key=config.tasks["job"].schedule_key, cursor=at_18, next_slot=at_22)})
    decision = sc.decide(config, state, at_22, sc.Facts(zone_stamp="0,0 " + sc.CRON_READING), at_22 - 60)
    assert decision.starts == [] and decision.events == []
    assert decision.state.tasks["job"].next_slot == at_18 + sc.DAY


@pytest.mark.parametrize("before, after, is_other", [
    ("", "0,0 x", False), ("0,0 x", "0,0 y", False), ("0,0 x", "0,3600 x", True), ("abc123 x", "0,0 x", False)])
def test_stamps_of_another_version_tell_of_no_other_zone(before, after, is_other):
    assert sc.is_other_zone(before, after) is is_other


@pytest.mark.parametrize("release", RELEASES)
def test_a_downgrade_in_mid_run_loses_and_doubles_nothing(box, release):
    replace_in_mid_run(box, SCRIPT.read_bytes(), program_of(release))


def later_version():
    """This program with another number and another form of its state."""
    text = SCRIPT.read_text(encoding="utf-8")
    assert text.count("STATE_VERSION = 1\n") == 1
    text = text.replace("STATE_VERSION = 1\n", "STATE_VERSION = 2\n")
    return text.replace('__version__ = "%s"' % sc.__version__, '__version__ = "9.0.0"').encode()


def test_a_supervisor_leaves_the_decision_to_the_version_that_took_its_place(box):
    replace_in_mid_run(box, SCRIPT.read_bytes(), later_version(), at_once=True)
    assert box.project.state()["by"] == "9.0.0"


def test_a_run_by_hand_whose_file_was_replaced_says_who_records_its_end(box):
    box.put(SCRIPT.read_bytes())
    box.project.configure({"name": "job", "command": "cp symphony_conductor.py new && mv new symphony_conductor.py"})
    box.anchor()
    code, _, err = box.call("run", "--task", "job")
    assert (code, err) == (0, "symphony_conductor: job: symphony_conductor.py was replaced; the next tick "
                              "will record the end\n")
    assert box.call("tick")[0] == 0
    assert [one["status"] for one in box.project.history()] == ["success"]


def test_an_older_version_touches_nothing_of_a_later_form(box):
    project = box.project
    box.put(later_version())
    project.configure(due_once("job", "echo ran >> out"))
    box.anchor()
    before = project.read("conductor_state.json")
    box.put(SCRIPT.read_bytes())
    for command in (["tick"], ["run", "--task", "job"], ["status"]):
        code, _, err = box.call(*command)
        assert code == 78
        assert err.startswith("symphony_conductor: conductor_state.json was written by 9.0.0; this is ")
    assert project.read("conductor_state.json") == before
    assert project.lines("out") == [] and not [path for path in project.root.iterdir() if ".bad-" in path.name]


def test_a_message_in_a_later_form_is_neither_sent_nor_touched(project):
    project.configure(notification_command="cat >> sent; echo >> sent", enable_notifications=True)
    store = sc.Store(str(project.root))
    message = {"event": "test", "channel": "notify", "task": None, "at": "2025-06-02T10:00:00Z"}
    for number, version in enumerate((sc.MESSAGE_VERSION, sc.MESSAGE_VERSION + 1), 1):
        store.enqueue(dict(message, id="20250602T100000Z-%d" % number, mood="good"))
        path = project.root / "status" / "spool" / ("20250602T100000Z-%d.json" % number)
        document = json.loads(path.read_text())
        assert (document["version"], document["by"], document["mood"]) == (1, sc.__version__, "good")
        path.write_text(json.dumps(dict(document, version=version)))
    later = path.read_text()
    assert project.call("deliver")[0] == 0
    assert len(project.lines("sent")) == 1 and path.read_text() == later


def test_what_a_later_version_says_of_a_run_is_held_and_not_guessed(project):
    project.configure(due_once("job", "echo ran >> out; sleep 60"))
    project.anchor()
    project.call("tick")
    record = project.running_record("job")
    path = project.root / "status" / "runs" / "job.json"
    path.write_text(json.dumps(dict(record, version=sc.RUN_VERSION + 1, by="9.0.0")))
    code, _, err = project.call("tick")
    assert code == 74
    assert "status/runs/job.json was written by 9.0.0; this is %s" % sc.__version__ in err
    assert "run" in project.state()["tasks"]["job"] and project.history() == []
    path.write_text(json.dumps(record))
    os.kill(record["supervisor"], 15)
    project.wait_for_idle()
