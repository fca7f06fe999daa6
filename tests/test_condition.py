"""A task's condition: what its answers do to the slot, and the examples of the manual."""

import os
import re
import signal

import pytest
from stories import NIGHT, World, at, status_at, task
from support import REPOSITORY, due_once, is_alive, wait_until

import symphony_conductor as sc

# -- the decision

def nightly(**more):
    world = World(task("a", "0 2 * * *", retry_count=2, retry_delay=60, **more),
                  enable_notifications=True, notification_command="true")
    world.tick("2025-06-02T10:00:00Z")
    world.tick(NIGHT)
    return world


def test_a_no_skips_the_slot():
    world = nightly()
    world.end("a", "skipped_condition", "2025-06-03T02:00:05Z", 1)
    world.tick("2025-06-03T02:00:06Z")
    state = world.state.tasks["a"]
    assert (state.cycle, state.marks, state.consecutive_failures) == (None, "-", 0)
    assert world.said() == [("a", "skipped_condition", NIGHT)] and not world.decision.messages
    assert sc.health_line(world.verdicts[0]) == "skipped:2025-06-03T02:00:05Z:75\n"


def test_a_no_before_a_retry_ends_the_slot_with_the_result_of_the_last_attempt():
    world = nightly()
    world.end("a", "failed", "2025-06-03T02:01:00Z", 3)
    world.tick("2025-06-03T02:01:00Z")
    assert world.tick("2025-06-03T02:03:00Z") == ["a@" + NIGHT]
    world.ended["a"] = {"status": "skipped_condition", "ended_at": at("2025-06-03T02:03:01Z"),
                        "exit_code": 1, "reason": "condition not met (exit 1)"}
    world.tick("2025-06-03T02:03:02Z")
    state = world.state.tasks["a"]
    assert (state.run, state.cycle, state.marks, state.consecutive_failures) == (None, None, "F", 1)
    assert [(record["status"], record["exit_code"], record["reason"], record["attempt"])
            for record in world.verdicts] == [("failed", 3, "condition not met (exit 1)", 1)]


def test_ten_skips_in_a_row_are_a_warning():
    world = World(task("a", "* * * * *"))
    world.tick("2025-06-02T10:00:00Z")
    codes = []
    for minute in range(1, 12):
        world.tick("2025-06-02T10:%02d:00Z" % minute)
        world.end("a", "skipped_condition", "2025-06-02T10:%02d:01Z" % minute, 1)
        world.tick("2025-06-02T10:%02d:02Z" % minute)
        document = status_at(world, world.last_seen, world.last_seen)
        codes.append([finding["code"] for finding in document["findings"]])
    assert codes[8:] == [[], ["skipping"], ["skipping"]]
    assert document["healthy"]


@pytest.mark.parametrize("more, is_told", [
    ({}, True), ({"condition": "true"}, False), ({"skip_exit_codes": [75]}, False)])
def test_only_a_start_that_an_end_follows_is_told_to_the_dead_man_switch(more, is_told):
    world = nightly(ping_url="http://localhost/x", **more)
    pings = [message["kind"] for message in world.decision.messages]
    assert pings == (["start"] if is_told else [])


# -- real processes

ANSWERS = (
    # condition, status, exit code, reason
    ("yes", "echo asking; true", "success", 0, None),
    ("no", "echo asking; echo on battery; exit 1", "skipped_condition", 1,
     "condition not met (exit 1): on battery"),
    ("list", ["sh", "-c", "exit 3"], "skipped_condition", 3, "condition not met (exit 3)"),
    ("missing", "/no/such/program", "failed", 127, "condition cannot run: "),
    ("absent", ["/no/such/program"], "failed", 127, "condition cannot run"),
    ("killed", "kill -9 $$", "failed", 137, "condition was ended by signal 9"),
    ("slow", "echo hm; sleep 97", "failed", 124, "condition timed out after 1 s: hm"),
    ("secret", "echo $SECRET; exit 1", "skipped_condition", 1,
     "condition not met (exit 1): ***"),
)


def test_what_a_condition_says_and_what_becomes_of_the_run(project):
    project.configure(*[due_once(name, "echo > ran-%s" % name, condition=condition,
                                 condition_timeout=1, kill_grace=0, env={"SECRET": "hush-hush"})
                        for name, condition, _, _, _ in ANSWERS], max_concurrent_tasks=9)
    project.anchor()
    project.tick()
    project.wait_for_idle()
    verdicts = {record["task"]: record for record in project.history()}
    for name, _, status, code, reason in ANSWERS:
        verdict = verdicts[name]
        assert (verdict["status"], verdict["exit_code"]) == (status, code), verdict
        assert (verdict.get("reason") or "").startswith(reason or ""), verdict
        assert (project.root / ("ran-" + name)).exists() == (name == "yes")
        assert " end run=%s status=%s exit_code=%d " % (verdict["run_id"], status, code) in (
            project.read("logs/automation/%s.log" % name))
    out = project.call("logs", "yes", "--run", verdicts["yes"]["run_id"])[1].splitlines()
    assert [line.split(" ")[2] if line.startswith("---") else line for line in out] == [
        "start", "asking", "condition", "end"]
    assert " condition=" in out[0] and "condition met: pid=" in out[2]
    assert verdicts["yes"]["output_tail"] == ""


def test_a_timeout_ends_the_whole_tree_of_a_condition(project):
    project.configure(due_once("a", condition="setsid sleep 96 & echo $! > child; wait",
                               condition_timeout=1, kill_grace=0))
    project.anchor()
    project.tick()
    project.wait_for_idle()
    assert not is_alive(int(project.lines("child")[0]))
    assert project.history()[0]["status"] == "failed"


def test_the_condition_has_the_folder_and_environment_of_the_command(project):
    (project.root / "here").mkdir()
    project.configure(due_once("a", "true", cwd="here", env={"X": "1"}, condition=(
        'test "$X$SYMPHONY_TASK$SYMPHONY_ATTEMPT" = 1a1 && test "$(basename "$PWD")" = here')))
    project.anchor()
    project.tick()
    project.wait_for_idle()
    assert project.history()[0]["status"] == "success"


def test_by_hand_the_condition_is_not_asked(project):
    project.configure(due_once("a", "echo ran", condition="exit 1"))
    assert project.call("run", "a") == (0, "ran\n", "")


def asked(project, command="echo > ran"):
    project.configure(due_once("a", command, retry_count=3,
                               condition="echo $$ > asked; sleep 95", condition_timeout=60,
                               kill_grace=0.2))
    project.anchor()
    project.tick()
    assert wait_until(lambda: project.lines("asked"))
    return int(project.lines("asked")[0])


def test_stop_ends_a_condition(project):
    pid = asked(project)
    assert project.call("stop", "a")[0] == 0
    assert not is_alive(pid) and not (project.root / "ran").exists()
    assert [record["status"] for record in project.history()] == ["stopped"]


def test_a_stop_that_comes_as_the_condition_ends_starts_no_command(project):
    request = '{"run_id": "%s", "reason": "stopped by joe"}'
    condition = "printf '%s' $SYMPHONY_RUN_ID > status/runs/a.stop" % request
    project.configure(due_once("a", "echo > ran", condition=condition))
    project.anchor()
    project.tick()
    project.wait_for_idle()
    verdict = project.history()[-1]
    assert (verdict["status"], verdict["reason"]) == ("stopped", "not started: stopped by joe")
    assert not (project.root / "ran").exists()


def test_a_supervisor_that_is_killed_while_it_asks_starts_no_command(project):
    pid = asked(project)
    os.kill(sc.Store(str(project.root)).read_run("a")["supervisor"], signal.SIGKILL)
    assert project.call("stop", "a")[0] == 0
    project.wait_for_idle()
    assert not is_alive(pid) and not (project.root / "ran").exists()
    assert [record["status"] for record in project.history()] == ["stopped"]


# -- the examples of the manual

def examples():
    text = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Conditions"):].partition("\n## ")[0]
    return dict(re.findall(r"(?m)^\| ([^|`]+) \| `(.+)` \|$", table))


def test_the_manual_has_an_example_of_each_kind():
    assert set(examples()) == {"on AC power", "host reachable", "disk free", "load", "mounted"}


@pytest.mark.parametrize("name, change, codes", [
    ("on AC power", ("/sys/class/power_supply", "ac"), {0}),
    ("on AC power", ("/sys/class/power_supply", "battery"), {1}),
    ("on AC power", ("/sys/class/power_supply", "none"), {0}),  # a server
    ("disk free", ("/srv/backup", "/"), {0, 1}),
    ("disk free", ("10485760", "0"), {0}),
    ("disk free", ("10485760", "99999999999999"), {1}),
    ("load", ("2", "99999"), {0}),
    ("load", ("2", "-1"), {1}),
    ("mounted", ("/mnt/usb", "/"), {0}),
    ("mounted", ("/mnt/usb", "/no/such/place"), {1}),
])
def test_an_example_of_the_manual(tmp_path, name, change, codes):
    for machine, content in (("ac", "1"), ("battery", "0")):
        supply = tmp_path / machine / "AC"
        supply.mkdir(parents=True)
        (supply / "online").write_text(content + "\n")
        (supply / "type").write_text("Mains\n")
    old, new = change
    if old.startswith("/sys"):
        new = str(tmp_path / new)
    command = examples()[name].replace("\\|", "|").replace(
        "/srv/backup", new if old == "/srv/backup" else "/")
    if old != "/srv/backup":
        assert old in command
        command = command.replace(old, new)
    code = os.WEXITSTATUS(os.system("(%s) >/dev/null 2>&1" % command))
    assert code in codes


@pytest.mark.parametrize("code", [0, 1])
def test_the_example_of_a_reachable_host(tmp_path, code, monkeypatch):
    ping = tmp_path / "ping"
    ping.write_text("#!/bin/sh\nexit %d\n" % code)
    ping.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert os.WEXITSTATUS(os.system(examples()["host reachable"])) == code
