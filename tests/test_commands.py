"""The commands as their users meet them: what is printed, and the exit codes."""

import ast
import json
import os
import re
import shutil
import subprocess
import symtable
import sys
import time
from unittest import mock

import pytest
from conftest import REPOSITORY, SCRIPT, SCRIPTS, due_once, every_minute
from house import conditionals, is_multi_line, is_nested, long_lines

import symphony_conductor as sc

STATUS_KEYS = {"now", "version", "healthy", "problems", "last_tick", "tasks", "running", "recent_results"}
TASK_KEYS = {"name", "enabled", "schedule", "description", "state", "waiting_for", "next_run", "last_run",
             "consecutive_failures"}
RESULT_KEYS = {"task", "status", "scheduled_for", "started_at", "ended_at", "duration_s", "exit_code", "attempt",
               "trigger", "log", "output_tail"}


def status(project, *args):
    code, out, err = project.call("status", *args)
    assert (code, err) == (0, "")
    return json.loads(out)


# -- status

def test_status_before_the_first_tick_says_that_there_was_none(project):
    if not shutil.which("crontab"):
        pytest.skip("there is no crontab (tests/run installs Debian's)")
    project.configure(every_minute("a"))
    document = status(project)
    assert STATUS_KEYS <= set(document)
    assert not document["healthy"] and document["last_tick"] is None
    texts = {finding["code"]: finding for finding in document["findings"]}
    assert "crontab has no line for this folder" in texts["line-missing"]["text"]
    assert texts["line-missing"]["command"].endswith(" install") and "no tick has run yet" in document["problems"][0]


def test_status_is_json_when_piped_and_holds_what_it_promises(project):
    project.configure(due_once("a", "echo hi; exit 4", description="says hi", retry_count=1, retry_delay=3600),
                      due_once("b", dependencies=["a"]), every_minute("off", enabled=False),
                      every_minute("odd", schedule="61 * * * *"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: status(project)["tasks"][0]["state"] == "retrying")
    document = status(project)
    tasks = {task["name"]: task for task in document["tasks"]}
    assert all(TASK_KEYS <= set(task) for task in document["tasks"])
    assert {name: task["state"] for name, task in tasks.items()} == {
        "a": "retrying", "b": "waiting", "off": "disabled", "odd": "invalid"}
    assert tasks["a"]["description"] == "says hi" and tasks["a"]["consecutive_failures"] == 0
    assert tasks["a"]["last_run"]["exit_code"] == 4
    assert tasks["b"]["waiting_for"] == "a"
    assert re.match(r"'a' failed \(exit 4\) at \S+Z; retry due at "
                    r"\S+Z\Z", tasks["b"]["reason"])
    assert tasks["off"]["next_run"] is None and tasks["odd"]["schedule"] is None
    assert tasks["odd"]["locks"] == tasks["b"]["locks"]
    newest = document["recent_results"][0]
    assert RESULT_KEYS <= set(newest)
    assert (newest["task"], newest["status"], newest["attempt"]) == ("a", "failed", 1)
    assert newest["output_tail"] == "hi\n" and newest["log"] == "logs/automation/a.log"
    assert not document["healthy"] and len(document["problems"]) == 1  # odd: the retry of a is none yet
    assert [finding["code"] for finding in document["findings"]][:2] == ["configuration", "retrying"]


def test_status_shows_what_runs_and_for_how_long(project):
    project.configure(due_once("a", "sleep 30"))
    project.anchor()
    project.call("tick")
    assert project.wait_until(lambda: status(project)["running"])
    running = status(project)["running"][0]
    assert running["task"] == "a" and running["attempt"] == 1 and running["duration_s"] < 30
    assert status(project)["tasks"][0]["state"] == "running"


def test_status_says_so_when_the_last_tick_is_old(project, monkeypatch):
    monkeypatch.setattr(sc, "boot_time", lambda now: int(now) - 5000)  # none is missed before that

    def status(project):
        return sc.status_of(sc.Reader(str(project.root)))

    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.tick()
    assert status(project)["healthy"]
    heartbeat = str(project.root / "status" / "heartbeat")
    os.utime(heartbeat, (time.time() - 170, time.time() - 170))
    assert status(project)["healthy"]
    os.utime(heartbeat, (time.time() - 4000, time.time() - 4000))
    document = status(project)
    assert not document["healthy"]
    assert document["problems"][0].endswith("; no tick for 1h 6m")


def test_recent_results_are_the_twenty_newest_first(project):
    project.configure(*[every_minute("t%d" % n) for n in range(3)])
    for n in range(24):
        project.call("run", "--task", "t%d" % (n % 3))
    results = status(project)["recent_results"]
    assert len(results) == 20
    assert [result["task"] for result in results[:3]] == ["t2", "t1", "t0"]
    stamps = [result["ended_at"] for result in results]
    assert stamps == sorted(stamps, reverse=True)


def test_status_of_one_task(project):
    project.configure(every_minute("a"), every_minute("b"))
    project.call("run", "--task", "a")
    assert [task["name"] for task in status(project, "--task", "b")["tasks"]] == ["b"]
    assert status(project, "--task", "b")["recent_results"] == []
    code, out, err = project.call("status", "--task", "c")
    assert (code, out) == (2, "") and err.startswith("symphony_conductor: unknown task 'c'")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_status_table_fits_its_terminal(project, width):
    project.configure(*[every_minute("task-number-%d" % n, schedule="%d 2 * * 1-5" % n) for n in range(7)])
    project.tick()
    code, out, _ = project.call("status", "--table", env=dict(os.environ, COLUMNS=str(width)))
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("healthy | last tick ")
    rows = lines[lines.index(next(line for line in lines if line.startswith("TASK"))):]
    assert len(rows) == 8 and all(len(line) <= width for line in rows)
    if width == 200:
        assert rows[3].endswith("at 02:02 Monday to Friday")


def test_the_status_table_says_when_each_task_starts(project):
    project.configure(every_minute("a", schedule="0 2 * * *"), every_minute("odd", schedule="61 * * * *"),
                      {"name": "joined", "command": "true", "dependencies": ["a"]}, {"name": "m", "command": "true"})
    lines = project.call("status", "--table")[1].splitlines()
    assert lines[-1] == "  invalid: schedule: minute '61' is outside 0-59"
    ends = {line.split()[0]: line.split("  ")[-1].strip() for line in lines[-5:-1]}
    assert ends == {"a": "at 02:00 every day", "joined": "after a", "m": "by hand", "odd": "-"}


def test_status_prints_what_the_terminals_encoding_lacks_as_escapes(project):
    project.configure(every_minute("a", description="caf\u00e9 \u65e5"))
    env = dict(os.environ, PYTHONIOENCODING="ascii", LC_ALL="C")
    code, out, err = project.call("status", env=env)
    assert (code, err) == (0, "")
    assert json.loads(out)["tasks"][0]["description"] == "caf\u00e9 \u65e5"
    assert project.call("status", "--table", env=env)[0] == 0


# -- check

def test_check_warns_of_what_is_legal_but_suspicious(project, tmp_path):
    project.configure(
        every_minute("slow", "true", timeout=600),
        every_minute("off", enabled=False, schedule="0 2 * * *"),
        every_minute("waits", dependencies=["off"], schedule="0 3 * * *"),
        every_minute("lost", "no-such-program-at-all --now", schedule="0 4 * * *"),
        every_minute("script", "./scripts/missing.sh", schedule="0 4 * * *"),
        every_minute("builtin", "cd / && echo $HOME", schedule="0 4 * * *"),
        every_minute("pathed", "tool", schedule="0 4 * * *", env={"PATH": str(tmp_path)}),
        timezone="UTC", task_timeout_default=60)
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o755)
    code, out, err = project.call("check")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines == [
        "warning: config/conductor_config.json: tasks[0] 'slow': timeout: 600 s is longer than the schedule's interval "
        "of 60 s (after a run that long, the next one is skipped)",
        "warning: config/conductor_config.json: tasks[2] 'waits': dependencies: 'off' is disabled ('waits' waits until "
        "'off' succeeds by hand)",
        "warning: config/conductor_config.json: tasks[3] 'lost': command: 'no-such-program-at-all' is not on cron's "
        "PATH (/usr/bin:/bin) (install it, or set PATH in env)",
        "warning: config/conductor_config.json: tasks[4] 'script': command: './scripts/missing.sh' does not exist "
        "(correct the path)",
        "config/conductor_config.json: 7 tasks, 0 problems, 4 warnings"]


def test_check_and_doctor_look_at_the_program_of_a_condition_as_at_that_of_a_command(project, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o755)
    project.configure(
        every_minute("lost", condition="no-such-program-at-all"), every_minute("script", condition=["./ready.sh"]),
        every_minute("pathed", condition="tool", env={"PATH": str(tmp_path)}, command=["/bin/true"]),
        every_minute("nowhere", ["./a"], condition="./b", cwd="nowhere"),
        defaults={"condition_timeout": 5, "timeout": 50})
    place = "config/conductor_config.json: tasks[%d] '%s': "
    texts = [
        (0, "lost", "condition: 'no-such-program-at-all' is not on cron's PATH (/usr/bin:/bin) "
                    "(install it, or set PATH in env)"),
        (1, "script", "condition: './ready.sh' does not exist (correct the path)"),
        (3, "nowhere", "cwd: the folder 'nowhere' does not exist (create it, or correct the path)")]
    lines = project.call("check")[1].splitlines()
    assert lines[:-1] == ["warning: " + place % text[:2] + text[2] for text in texts]
    out = project.call("doctor")[1]
    assert "condition: 'no-such-program-at-all' is not on " in out and "condition: './ready.sh' does not exist" in out


WEBHOOK, MAIL = {"notification_webhook": "http://example.org/x"}, {"notification_email": "ops@example.org"}


@pytest.mark.parametrize("settings, warning", [
    ({"enable_notifications": True}, "enable_notifications: no notification target is configured "
     "(set notification_email, notification_webhook or notification_command)"),
    (WEBHOOK, "notification_webhook: not used, as enable_notifications is false (to be notified, set it to true)"),
    (dict(WEBHOOK, notification_command="true", enable_notifications=False),
     "notification_webhook and notification_command: not used, as enable_notifications is false "
     "(to be notified, set it to true)"),
    (MAIL, "notification_email: not used, as enable_notifications is false (to be notified, set it to true)"),
    (dict(WEBHOOK, enable_notifications=True), None),
    ({"enable_notifications": False}, None),
])
def test_check_and_doctor_warn_of_notifications_that_go_nowhere(project, monkeypatch, settings, warning):
    monkeypatch.setenv("COLUMNS", "300")
    project.configure(every_minute("a", timeout=50), **settings)
    lines = project.call("check")[1].splitlines()
    out = project.call("doctor")[1]
    if warning is None:
        assert len(lines) == 1 and "enable_notifications" not in out
    else:
        about = [line for line in lines if "enable_notifications" in line]
        assert about == ["warning: config/conductor_config.json: " + warning]
        assert out.count(warning) == 1


def test_check_reads_another_file_when_told(project, tmp_path):
    project.configure(every_minute("a", "true", timeout=60))
    other = tmp_path / "other.json"
    other.write_text('{"tasks": [{"name": "b"}]}')
    other.chmod(0o600)
    code, _, err = project.call("check", "--config", str(other))
    assert code == 78
    assert err == "%s: tasks[0] 'b': command is missing (use a string for /bin/sh, or a list of strings)\n" % other
    assert project.call("check")[:2] == (0, "config/conductor_config.json: 1 task, 0 problems, 0 warnings\n")


def test_check_reports_every_problem_of_every_file_at_once(project):
    project.configure(every_minute("a", nice=99, schedule="61 * * * *"),
                      every_minute("b", ["./missing"], dependencies=["later", "nobody"]))
    folder = project.root / "config/tasks.d"
    folder.mkdir(mode=0o700)
    for name, text in (("1.json", b'{"name": "later",}'),
                       ("2.json", b'{"name": "c", "name": "c", "nice": 99, "schedule": null}'),
                       ("3.json", b'{"name": "d",\n "description": "\xff"}'), ("4.json", b'{"name": "e"}')):
        (folder / name).write_bytes(text)
        (folder / name).chmod(0o600)
    code, out, err = project.call("check")
    assert code == 78
    main = "config/conductor_config.json"
    assert [line.partition(" (")[0] for line in err.splitlines()] == [
        "config/tasks.d/1.json: line 1 column 17: not valid JSON: a comma after the last entry",
        "config/tasks.d/2.json: line 1 column 15: key 'name' is used twice in one object",
        "config/tasks.d/3.json: line 2: a byte that is not UTF-8",
        main + ": tasks[0] 'a': nice: 99 is not allowed",
        main + ": tasks[0] 'a': schedule: minute '61' is outside 0-59",
        "config/tasks.d/2.json 'c': nice: 99 is not allowed",
        "config/tasks.d/2.json 'c': command is missing",
        "config/tasks.d/4.json 'e': command is missing"]
    assert "tasks[1] 'b': command: './missing' does not exist" in out.splitlines()[0]
    assert out.splitlines()[1:] == [
        "warning: config/tasks.d/4.json 'e': schedule: missing, and there are no dependencies "
        '(it runs only by hand; if so, say "schedule": null)',
        main + ": 4 tasks, 8 problems, 2 warnings"]


PATH = "/usr/bin:/bin"
FILES = {  # name: content, mode
    "scripts/backup.sh": (b"#!/bin/sh\n", 0o755),
    "crlf.sh": (b"#!/bin/sh\r\necho x\r\n", 0o755),
    "env_crlf": (b"#!/usr/bin/env python3\r\n", 0o755),
    "bom.sh": (b"\xef\xbb\xbf#!/bin/sh\n", 0o755),
    "gone": (b"#!/opt/none/python2 -u\n", 0o755),
    "elsewhere": (b"#!/opt/none/sh\n", 0o755),
    "nobody": (b"#!\necho x\n", 0o755),
    "env": (b"#!/usr/bin/env no-such-node\n", 0o755),
    "plain.sh": (b"#!/bin/sh\n", 0o644),
    "list": (b"echo x\n", 0o755),
    "binary": (b"\x7fELF\0\0", 0o755),
    "empty": (b"", 0o755),
}


@pytest.fixture
def programs(tmp_path):
    for name, (content, mode) in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize("command, text, hint", [
    (["./missing"], "'./missing' does not exist", "correct the path"),
    (["./scripts/bakup.sh"], "'./scripts/bakup.sh' does not exist", "did you mean './scripts/backup.sh'?"),
    ("script/backup.sh -v", "'script/backup.sh' does not exist", "did you mean 'scripts/backup.sh'?"),
    ("plain.sh", "'plain.sh' is not on cron's PATH (/usr/bin:/bin)", "write ./plain.sh"),
    ("no-such-tool", "'no-such-tool' is not on cron's PATH (/usr/bin:/bin)", "install it, or set PATH in env"),
    (["./broken"], "'./broken' is a broken link to nowhere", "correct the link or the path"),
    (["./loop"], "'./loop' is a link that leads to itself", "correct the link"),
    (["./scripts"], "'./scripts' is a folder", "name the program in it"),
    (["./plain.sh"], "'./plain.sh' is not executable", "chmod +x ROOT/plain.sh"),
    ("./crlf.sh", "'./crlf.sh' has Windows line ends, which its interpreter cannot read",
     "to fix: sed -i 's/\\r$//' ROOT/crlf.sh"),
    (["./env_crlf"], "'./env_crlf' has Windows line ends, which its interpreter cannot read",
     "to fix: sed -i 's/\\r$//' ROOT/env_crlf"),
    (["./bom.sh"], "'./bom.sh' has a byte order mark before its #! line",
     "to fix: sed -i '1s/^\\xef\\xbb\\xbf//' ROOT/bom.sh"),
    ("A=1 ./gone | cat", "'./gone': missing interpreter /opt/none/python2",
     "install it, or correct the first line of the file"),
    (["./elsewhere"], "'./elsewhere': missing interpreter /opt/none/sh", "begin the file with #!/usr/bin/sh"),
    (["./nobody"], "'./nobody' names no interpreter after #!", "begin it with #!/bin/sh"),
    (["./env"], "'./env': its interpreter 'no-such-node' is not on cron's PATH (/usr/bin:/bin)",
     "install it, or set PATH in env"),
    (["./list"], "'./list' has no #! line, and a list is not run by a shell",
     'begin it with #!/bin/sh, or put "sh" in front of it'),
    ("sh scripts/bakup.sh", "'scripts/bakup.sh' does not exist", "did you mean 'scripts/backup.sh'?"),
    (["bash", "-euo", "pipefail", "./two words"], "'./two words' does not exist", "correct the path"),
    ("bash -x crlf.sh; true", "'crlf.sh' has Windows line ends, which its interpreter cannot read",
     "to fix: sed -i 's/\\r$//' ROOT/crlf.sh"),
    ("python3 -u -W ignore jobs.py >>log 2>&1", "'jobs.py' does not exist", "correct the path"),
    ("perl jobs.pl", "'jobs.pl' does not exist", "correct the path"),
])
def test_what_cannot_start_is_said_as_what_it_is(programs, command, text, hint):
    said, fix = sc.start_trouble(command, str(programs), PATH, "cron's")
    assert (said, fix.replace(str(programs), "ROOT").replace("#!/bin/sh", "#!/usr/bin/sh")) == (
        text, hint.replace("#!/bin/sh", "#!/usr/bin/sh"))


@pytest.mark.parametrize("command", [
    ["./scripts/backup.sh"], "./list", ["./binary"], ["./empty"], "cd scripts && ./nothing", "$HOME/x", ["~/x"],
    "if true; then true; fi", '"./a b" c', "PATH=/x tool", "sh -c 'x y'", "sh -s x", "python3 -m x", "python3 -V",
    "perl -ne x", "bash --posix x", "sh $X", "python3 scripts", "sh scripts/backup.sh", "sh -- scripts/backup.sh", "sh",
])
def test_what_starts_or_only_a_shell_can_judge_is_no_trouble(programs, command):
    assert sc.start_trouble(command, str(programs), PATH) == ("", "")


def test_a_mount_without_exec_is_no_matter_of_modes(programs, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(os, "statvfs", lambda path: mock.Mock(f_flag=os.ST_NOEXEC))
    assert sc.start_trouble(["./scripts/backup.sh"], str(programs), PATH) == (
        "'./scripts/backup.sh' is on a file system that is mounted noexec",
        "move it, or name the interpreter: sh ./scripts/backup.sh")
    assert sc.start_trouble(["./plain.sh"], str(programs), PATH)[0] == "'./plain.sh' is not executable"


def test_a_closed_folder_above_a_program_is_named(programs, monkeypatch):
    stat, scripts = os.stat, str(programs / "scripts")

    def closed(path, **more):
        if str(path).startswith(scripts + "/"):
            raise PermissionError(13, "Permission denied")
        return stat(path, **more)

    monkeypatch.setattr(os, "stat", closed)
    assert sc.start_trouble(["scripts/closed/tool"], str(programs), PATH) == (
        "'scripts/closed/tool' cannot be reached: no permission to enter the folder " + scripts,
        "move it, or ask the folder's owner for access")


@pytest.mark.parametrize("cwd, warning", [
    ("script", "cwd: the folder 'script' does not exist (did you mean 'scripts'?)"),
    ("nowhere", "cwd: the folder 'nowhere' does not exist (create it, or correct the path)"),
    ("~/x", "cwd: ~ is not expanded (write the whole path)"),
    ("scripts", "command: './tool' does not exist (correct the path)"),
])
def test_check_says_of_a_folder_what_keeps_the_command_from_it(project, cwd, warning):
    (project.root / "scripts").mkdir()
    project.configure(every_minute("a", ["./tool"], cwd=cwd))
    lines = project.call("check")[1].splitlines()
    assert lines[:-1] == ["warning: config/conductor_config.json: tasks[0] 'a': " + warning] or cwd == "~/x"
    assert lines[0].endswith(warning)


# -- next and explain

def test_next_merges_the_slots_of_all_tasks_in_time_order(project):
    project.configure(every_minute("a", schedule="0 * * * *"), every_minute("b", schedule="0,30 * * * *"),
                      every_minute("off", enabled=False), timezone="Europe/Paris")
    code, out, _ = project.call("next", "--count", "30", "--json")
    slots = json.loads(out)
    assert code == 0 and len(slots) == 30
    assert [slot["scheduled_for"] for slot in slots] == sorted(slot["scheduled_for"] for slot in slots)
    assert sum(slot["task"] == "a" for slot in slots) == 10
    lines = project.call("next", "--count", "2")[1].splitlines()
    assert len(lines) == 2 and re.match(r"\w{3} \d{4}-\d\d-\d\d \d\d:\d0 \+0[12]00  [ab]\Z", lines[0])
    assert {slot["task"] for slot in json.loads(project.call("next", "--task", "b", "--json")[1])} == {"b"}
    assert project.call("next", "--count", "0")[0] == 2


def test_next_and_status_agree(project):
    project.configure(every_minute("a", schedule="7 3 * * 1#2"), timezone="America/New_York")
    project.tick()
    following = json.loads(project.call("next", "--count", "1", "--json")[1])[0]["scheduled_for"]
    assert status(project)["tasks"][0]["next_run"] == following


def test_explain_says_it_in_english_and_shows_the_slots(project):
    code, out, err = project.call("explain", "30 2 * * 1-5", "--zone", "Europe/Paris", "--from", "2025-03-28T12:00",
                                  "--count", "2")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["30 2 * * 1-5: at 02:30 Monday to Friday",
                                "  Mon 2025-03-31 02:30 +0200", "  Tue 2025-04-01 02:30 +0200"]
    code, out, _ = project.call("explain", "@daily", "--zone", "UTC", "--from", "2025-03-28T12:00:00Z", "--count", "1",
                                "--json")
    assert json.loads(out) == {"expression": "@daily", "description": "at 00:00 every day", "zone": "UTC",
                               "next": ["2025-03-29T00:00:00Z"], "warnings": []}


def test_explain_warns_of_what_is_legal_but_seldom_meant(project):
    arguments = ("explain", "0 2 1-7 * 1", "--zone", "UTC", "--from", "2025-03-28", "--count", "1")
    code, out, err = project.call(*arguments)
    warning = ("cron reads day-of-month '1-7' and day-of-week '1' as 'or': the task runs at 02:00 on the 1st to 7th "
               "of the month and on Mondays (for the 1st Monday of the month only: '0 2 * * 1#1')")
    assert (code, err, out.splitlines()[1:]) == (0, "", ["  Mon 2025-03-31 02:00 +0000", "warning: " + warning])
    assert json.loads(project.call(*arguments + ("--json",))[1])["warnings"] == [warning]


@pytest.mark.parametrize("arguments, code, complaint", [
    (["61 * * * *"], 78, "minute '61' is outside 0-59"),
    (["*5 * * * *"], 78, "did you mean '*/5 * * * *'?"),
    (["* * * * *", "--zone", "Mars/Olympus"], 2, "unknown time zone 'Mars/Olympus'"),
    (["* * * * *", "--from", "tomorrow"], 2, "--from: 'tomorrow' is not a time"),
    (["* * * * *", "--from", "2025-02-30"], 2, "--from: "),
    (["* * * * *", "--count", "x"], 2, "is not a whole number"),
])
def test_explain_refuses_with_a_reason(project, arguments, code, complaint):
    found, out, err = project.call("explain", *arguments)
    assert (found, out) == (code, "")
    assert complaint in err and "Traceback" not in err


def test_explain_says_that_h_depends_on_the_name(project):
    note = "warning: H depends on the task's name: add --name NAME\n"
    assert project.call("explain", "0 3,H(4-6) * * *")[1].endswith(note)
    for arguments in (("H 3 * * *", "--name", "backup"), ("0 3 * MAR THU",)):
        assert "H depends" not in project.call("explain", *arguments)[1]


def test_explain_of_a_boot_task_has_no_slots(project):
    assert project.call("explain", "@reboot")[:2] == (0, "@reboot: once after each boot\n")


# -- the command line

def test_without_a_command_the_usage_is_shown(project):
    code, out, err = project.call()
    assert (code, out) == (2, "") and err.startswith("usage: symphony_conductor.py")


def test_help_names_every_command_and_exit_code(project):
    code, out, _ = project.call("--help")
    assert code == 0
    for word in ("tick", "run", "status", "check", "next", "explain", "install", "uninstall", "78", "124"):
        assert re.search(r"\b%s\b" % word, out), word


def test_the_root_comes_from_the_option_the_environment_or_the_folder_of_the_file(project, tmp_path):
    project.configure(every_minute("here"))
    plain = [sys.executable, str(SCRIPT)]
    env = dict(os.environ, SYMPHONY_ROOT=str(project.root))
    document = json.loads(subprocess.check_output(plain + ["status"], env=env).decode())
    assert [task["name"] for task in document["tasks"]] == ["here"]
    copy = tmp_path / "copied"
    copy.mkdir(mode=0o700)
    (copy / "symphony_conductor.py").write_bytes(SCRIPT.read_bytes())
    document = json.loads(subprocess.check_output(
        [sys.executable, str(copy / "symphony_conductor.py"), "status"], env=dict(os.environ)).decode())
    assert document["tasks"] == [] and "no such file" in " ".join(document["problems"])
    code, _, err = project.call("--root", "/no/such/folder", "status")
    assert (code, err) == (2, "symphony_conductor: --root: /no/such/folder is not a folder\n")


def test_another_configuration_can_be_named(project, tmp_path):
    project.configure(every_minute("a"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"tasks": [every_minute("b")]}))
    other.chmod(0o600)
    code, out, _ = project.call("--config", str(other), "status")
    assert [task["name"] for task in json.loads(out)["tasks"]] == ["b"]


def test_a_defect_is_one_line_and_its_details_go_to_the_log(project, monkeypatch, capsys):
    project.configure(every_minute("a"))
    monkeypatch.setattr(sc, "status_of", lambda *args, **more: 1 / 0)
    assert sc.main(["--root", str(project.root), "status"]) == 70
    err = capsys.readouterr().err
    assert err == ("symphony_conductor: internal error, please report it: ZeroDivisionError: division by zero "
                   "(details in logs/symphony_conductor.log)\n")
    assert "ZeroDivisionError" in project.read("logs/symphony_conductor.log")


def test_a_closed_pipe_is_no_error(project):
    project.configure(*[every_minute("t%d" % n, description="x" * 500) for n in range(300)])
    done = subprocess.run(["/bin/sh", "-c", '"$@" | head -c 100 >/dev/null', "sh"] + project.command("status"),
                          stderr=subprocess.PIPE, timeout=60)
    assert done.stderr == b""


# -- the shipped configuration and the shape of the file

def test_the_shipped_configuration_is_good_and_its_programs_are_there():
    store = sc.Store(str(REPOSITORY))
    config = store.read_config()
    assert config.problems == []
    assert sc.suspicions(config, 0) == []
    assert "git_maintenance" in config.tasks
    for task in config.tasks.values():
        for word in str(task.command).split():
            if word.startswith(("scripts/", "./scripts/")):
                assert (REPOSITORY / word).exists(), word


def test_git_maintenance_works_on_a_checkout(project):
    config = sc.Store(str(REPOSITORY)).read_config()
    task = config.tasks["git_maintenance"]
    assert task.schedule.text == "0 5 1 * *" and task.command == "git gc --aggressive --prune=now"
    if not shutil.which("git"):
        pytest.skip("git is not here")
    subprocess.check_call(["git", "init", "-q", str(project.root)])
    project.configure(every_minute("git_maintenance", task.command))
    assert project.call("run", "--task", "git_maintenance")[0] == 0


def test_the_file_follows_its_floor_plan():
    titles = re.findall(r"(?m)^# == (.+) ==$", SCRIPT.read_text(encoding="utf-8"))
    assert titles == ["Constants", "Heartbeat", "Errors", "Text and units", "Values", "Zones", "Cron",
                      "Configuration rules", "Messages", "Planning", "Audit and why", "Health", "Rendering",
                      "Clock", "Files", "Stored shapes", "Store", "Runner", "Delivery", "Conductor", "Crontab",
                      "Inspection", "Commands", "Command line"]


class Statement:
    """A top-level statement: what it defines, and which top-level names it uses."""

    def __init__(self, node, start, text):
        self.node = node
        top = symtable.symtable(text, "<statement>", "exec")
        tables = [top]
        for table in tables:
            tables.extend(table.get_children())
        self.defined = {symbol.get_name() for symbol in top.get_symbols()
                        if symbol.is_assigned() or symbol.is_imported()}
        self.uses = {}  # name -> the first line of the function, or of the statement, that uses it
        for table in tables:
            line = start + max(table.get_lineno() - 1, 0)
            for symbol in table.get_symbols():
                if symbol.is_referenced() and (table is top or symbol.is_global()):
                    self.uses.setdefault(symbol.get_name(), line)


def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(
        node.value, ast.Str if sys.version_info < (3, 8) else ast.Constant)


def first_line(node):
    """The line of a statement, or of the first of its decorators."""
    return min(part.lineno for part in [node] + getattr(node, "decorator_list", []))


def sections_of(source):
    """(title, statements) of each section; the first has no title and is what comes before them."""
    lines = source.splitlines()
    nodes = [node for node in ast.parse(source).body if not is_docstring(node)]
    starts = [first_line(node) for node in nodes]
    headings = [(number, line[len("# == "):-len(" ==")]) for number, line in enumerate(lines, 1)
                if re.match(r"# == .+ ==$", line)]
    sections = [("", [])]
    for node, start, following in zip(nodes, starts, starts[1:] + [len(lines) + 1]):
        while headings and headings[0][0] < start:
            sections.append((headings.pop(0)[1], []))
        text = "\n".join(lines[start - 1:following - 1])
        sections[-1][1].append(Statement(node, start, text))
    return sections


def uses_across_sections(source):
    """(name, line, place of the section that uses it, place of the section that defines it)."""
    sections = sections_of(source)
    home = {}
    for place, (_, statements) in enumerate(sections):
        for statement in statements:
            for name in statement.defined:
                home.setdefault(name, place)
    return [(name, line, place, home[name])
            for place, (_, statements) in enumerate(sections)
            for statement in statements
            for name, line in sorted(statement.uses.items())
            if home.get(name, place) != place]


def upward_uses(source):
    """What uses a name of a later section."""
    return ["line %d: %s" % (line, name)
            for name, line, place, home in uses_across_sections(source) if home > place]


def is_private(name):
    return name.startswith("_") and name != "_" and not name.endswith("__")


def private_attributes(class_node):
    """The attributes with an underscore that a class has: its own, and those of its objects."""
    names = set()
    for node in class_node.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
    for node in ast.walk(class_node):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return set(filter(is_private, names))


def private_uses(source):
    """What uses a name with an underscore of another section, or of a class of another section."""
    offenders = ["line %d: %s" % (line, name)
                 for name, line, _, _ in uses_across_sections(source) if is_private(name)]
    sections = sections_of(source)
    owned = [set() for _ in sections]
    for place, (_, statements) in enumerate(sections):
        for statement in statements:
            if isinstance(statement.node, ast.ClassDef):
                owned[place] |= private_attributes(statement.node)
    for place, (_, statements) in enumerate(sections):
        others = set().union(*(owned[:place] + owned[place + 1:])) - owned[place]
        for statement in statements:
            offenders += ["line %d: .%s" % (node.lineno, node.attr)
                          for node in ast.walk(statement.node)
                          if isinstance(node, ast.Attribute) and node.attr in others]
    return offenders


# The part of the standard library that is pure: whole modules, constants, and functions with the
# number of arguments below which they would ask the clock.
PURE_MODULES = {"bisect", "difflib", "json", "re", "shlex"}
PURE_CONSTANTS = {"datetime.MAXYEAR"}
PURE_FUNCTIONS = {"datetime.date": 1, "datetime.date.fromordinal": 1, "datetime.datetime": 1,
                  "time.gmtime": 1, "time.strftime": 2}
# What a section is allowed beside that: an idle tick ends before anything else is made, and zone data
# comes from the C library, by way of TZ and tzset.
ALLOWED = {"Heartbeat": {"posix.O_NOFOLLOW", "posix.O_NONBLOCK", "posix.O_RDONLY", "posix._exit", "posix.close",
                         "posix.environ.get", "posix.fstat", "posix.open", "posix.read", "posix.stat", "posix.utime",
                         "sys", "sys.argv", "sys.getfilesystemencoding", "time.monotonic", "time.time"},
           "Zones": {"open", "os.environ", "os.environ.get", "os.environ.pop", "os.path.join", "os.walk",
                     "import struct", "struct.unpack_from", "time.localtime", "time.tzset"}}
IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "globals", "__import__"}
CLOCK_METHODS = {"now", "utcnow", "today"}  # of the classes of datetime, and of a Clock


def impure_uses(source):
    """What reads a clock, the disk or the environment above the section Clock."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    sections = sections_of(source)
    last = [title for title, _ in sections].index("Clock")
    return ["line %d: %s" % (line, name)
            for title, statements in sections[1:last]
            for statement in statements
            for name, line in impure_parts(statement.node, modules)
            if name not in ALLOWED.get(title, ())]


def impure_parts(tree, modules):
    """(name, line) of whatever is neither pure nor made of what is."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in parents:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imported = [getattr(node, "module", None) or alias.name for alias in node.names]
            if not PURE_MODULES.issuperset(imported):
                yield "import " + ", ".join(imported), node.lineno
        elif isinstance(node, ast.Name) and node.id in IMPURE_BUILTINS:
            yield node.id, node.lineno
        elif (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
              and node.id in modules - PURE_MODULES):
            name, whole = node.id, node
            while isinstance(parents[whole], ast.Attribute):
                whole = parents[whole]
                name += "." + whole.attr
            call = parents[whole]
            is_called = isinstance(call, ast.Call) and call.func is whole
            is_pure = is_called and len(call.args) >= PURE_FUNCTIONS.get(name, sys.maxsize)
            if not is_pure and name not in PURE_CONSTANTS:
                yield name, node.lineno
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in CLOCK_METHODS:
            yield "." + node.func.attr, node.lineno


def test_each_section_uses_only_those_above_it():
    assert upward_uses(SCRIPT.read_text(encoding="utf-8")) == []


def test_the_pure_sections_touch_no_clock_disk_or_environment():
    assert impure_uses(SCRIPT.read_text(encoding="utf-8")) == []


def test_no_section_uses_what_is_private_to_another():
    assert private_uses(SCRIPT.read_text(encoding="utf-8")) == []


HOUSE = """
import datetime, os, re, sys, time
# == Planning ==
class Draft:
    _tasks = {}
    def decide(self, state, now):
        %s
        return re.sub("a", "b", state), time.gmtime(now), datetime.date(1970, 1, 1)
def following(now):
    limit = [limit for limit in (now, 2) if limit]
    return limit
# == Zones ==
def zone():
    return os.environ["TZ"]
# == Clock ==
def clock(draft):
    %s
    return time.time()
# == Store ==
class Store:
    def __init__(self):
        self._recorded = set()
    def _prune(self): pass
def load_state(): pass
_types: "Dict[str, type]" = {}
(first, [second, *rest]) = (1, [2])
for limit in (1, 2):
    last = limit
if limit:
    import grp
    def prune(): pass
"""


def house(planning="pass", clock="pass"):
    """A small file of four sections, with these statements in two of them."""
    return HOUSE % (planning, clock)


def test_a_file_that_keeps_the_rules_of_its_sections_passes():
    assert (upward_uses(house()), impure_uses(house()), private_uses(house())) == ([], [], [])


@pytest.mark.parametrize("name", [
    "load_state", "Store", "_types", "first", "second", "rest", "last", "prune", "grp"])
def test_every_kind_of_name_counts_as_defined_in_its_section(name):
    for statement in ("%s", "return state or %s(now)", "return [now, %s]", "state.x = %s.y",
                      "return [%s for _ in state]", "return lambda: %s"):
        uses = upward_uses(house(statement % name))
        assert [use.split(": ")[1] for use in uses] == [name], statement
    assert upward_uses(house("%s = 1; return %s" % (name, name))) == []


@pytest.mark.parametrize("statement, name", [
    ("now = datetime.datetime.now()", "datetime.datetime.now"),
    ("now = datetime.datetime.now().timestamp()", "datetime.datetime.now"),
    ("datetime.date.today()", "datetime.date.today"),
    ("day = datetime.date", "datetime.date"),
    ("self.clock.now()", ".now"),
    ("time.time()", "time.time"),
    ("time.gmtime()", "time.gmtime"),
    ("time.strftime('%Y')", "time.strftime"),
    ("list(map(time.gmtime, [now]))", "time.gmtime"),
    ("machine = os", "os"),
    ("os.environ.get('TZ')", "os.environ.get"),
    ("sys.argv", "sys.argv"),
    ("open(state)", "open"),
    ("print(state)", "print"),
    ("import socket", "import socket"),
    ("from time import time", "import time"),
])
def test_every_way_to_the_machine_is_seen_in_a_pure_section(statement, name):
    assert "line 7: " + name in impure_uses(house(statement))
    assert impure_uses(house(clock=statement)) == []


@pytest.mark.parametrize("statement, name", [
    ("_types.get(draft)", "_types"),
    ("draft._recorded", "._recorded"),
    ("draft.store._prune()", "._prune"),
    ("draft._tasks = {}", "._tasks"),
])
def test_what_is_private_to_another_section_is_seen(statement, name):
    assert [use.split(": ")[1] for use in private_uses(house(clock=statement))] == [name]


OF_AIRFLOW = sorted((SCRIPTS / "airflow").rglob("*.py"))
WITHOUT_AIRFLOW = [path for path in OF_AIRFLOW if path.name in ("engine.py", "runner.py", "symphony_slots.py")]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")) + OF_AIRFLOW, ids=lambda path: path.name)
def test_a_script_uses_only_public_names_of_the_core(path):
    private = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if getattr(node.value, "id", "") not in ("self", "cls", "os"):
                private.append((node.attr, node.lineno))
        elif isinstance(node, ast.alias) and is_private(node.name):
            private.append((node.name, path.name))
    assert private == []


@pytest.mark.parametrize("path", [SCRIPT] + sorted(SCRIPTS.glob("*.py")) + OF_AIRFLOW,
                         ids=lambda path: path.name)
def test_no_line_is_longer_than_a_hundred_columns(path):
    assert long_lines(path.read_text(encoding="utf-8").splitlines()) == []


def test_no_conditional_expression_is_nested_or_runs_over_several_lines():
    expressions = conditionals(ast.parse(SCRIPT.read_text(encoding="utf-8")))
    assert [node.lineno for node in expressions if is_nested(node) or is_multi_line(node)] == []


@pytest.mark.parametrize("path", [SCRIPT] + sorted(SCRIPTS.glob("*.py")) + WITHOUT_AIRFLOW,
                         ids=lambda path: path.name)
def test_only_the_standard_library_is_imported(path):
    allowed = set(getattr(sys, "stdlib_module_names", ())) or None
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names
    if allowed is None:
        pytest.skip("this Python has no list of its standard library")
    own = {"symphony_conductor"} | {script.stem for script in SCRIPTS.glob("*.py")} if path != SCRIPT else set()
    assert names - own <= allowed


def test_each_script_uses_only_those_before_it():
    order = ["common", "tree", "cleanup_rules", "clock_witness", "folders", "action_log",
             "quarantine", "file_lifecycle", "references", "inventory", "automation_manager",
             "cleanup_report", "cleanup_review", "cleanup_plan", "cleanup_engine",
             "report_page", "symphony_report", "symphony_metrics", "symphony_simulate", "symphony_diff",
             "symphony_schema",
             "crontab_commands", "crontab_tables", "crontab_switch", "symphony_import_crontab", "symphony_timer",
             "symphony_completion", "man_page", "setup_steps"]
    # The stub of the conductor in scripts/ has the name of the module that all of them use.
    assert sorted(order + ["symphony_conductor"]) == sorted(path.stem for path in SCRIPTS.glob("*.py"))
    for place, name in enumerate(order):
        tree = ast.parse((SCRIPTS / (name + ".py")).read_text(encoding="utf-8"))
        used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        used |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert used & set(order) <= set(order[:place]), name


def test_the_ways_through_the_file_name_what_is_there():
    contributing = (SCRIPT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    way = contributing.partition("## The way through the file\n")[2].partition("\n## ")[0]
    assert way.count("\n**") == 5 and way.count("\n10. ") == 5 and way.count("\n11. ") == 0
    source = SCRIPT.read_text(encoding="utf-8")
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    defined = set(re.findall(r"(?m)^(?:def |class )?(\w+)\b(?:\(|:| =)", source))
    # The words of fields, of what is stored, and of commands; modules that come in late.
    words = set(re.findall(r"(?m)^ +(\w+): ", source)) | set(re.findall(r'"(\w+)"', source))
    methods = {cls.name + "." + node.name for cls in classes
               for node in cls.body if isinstance(node, ast.FunctionDef)}
    for name in re.findall(r"`(\w+(?:\.\w+)?)`", way):
        assert name in defined | words | methods or name == "posix._exit", name
