"""The fields env_file, defaults, tags, umask, ionice and memory_limit: what they take and what they
do to a real process.
"""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import time

import pytest
from stories import World, at
from support import due_once, every_minute

import symphony_conductor as sc

FILE = "conf.json"
GENERATOR = "/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
SECRET = "correct-horse-battery"


def build(*tasks, changed_at=None, **settings):
    document = {"tasks": list(tasks), "settings": settings}
    return sc.build_config([(FILE, json.loads(json.dumps(document)))], changed_at)


def refused(*tasks, **settings):
    with pytest.raises(sc.ConfigError) as caught:
        build(*tasks, **settings)
    return caught.value.problems


def job(**fields):
    return dict({"name": "job", "command": "true", "schedule": "0 2 * * *"}, **fields)


# -- the lines of an env_file, as systemd.exec(5) has them

@pytest.mark.parametrize("text, variables", [
    ("", {}),
    ("A=1\nB=2", {"A": "1", "B": "2"}),
    ("A=1\nA=2\n", {"A": "2"}),
    ("A=\n_b2=x\n", {"A": "", "_b2": "x"}),
    ("\n  \n# A=1\n; B=2\n\t# C=3\nD=4\n", {"D": "4"}),
    ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ("  A = x y  \n", {"A": "x y"}),
    ("A=x # no comment\n", {"A": "x # no comment"}),
    ("A='x y' \nB=\" z \"\n", {"A": "x y", "B": " z "}),
    ("A='a''b' \"c\"\n", {"A": "abc"}),
    ("A='a'b c\n", {"A": "ab c"}),
    ("A=it's \"so\"\n", {"A": "it's \"so\""}),
    ("A='a\nb'\nB=\"c\nd\"\n", {"A": "a\nb", "B": "c\nd"}),
    ("A='\\n\\\\'\n", {"A": "\\n\\\\"}),
    ("A=\"\\\"\\\\\\`\\$\\n\"\n", {"A": "\"\\`$\\n"}),
    ("A=\"x\\\ny\"\n", {"A": "xy"}),
    ("A=x\\\ny\nB=\\\\\\n\n", {"A": "xy", "B": "\\n"}),
    ("A=x\\ \n", {"A": "x "}),
    ("A=$HOME ~ `id`\n", {"A": "$HOME ~ `id`"}),
    ("A=b=c\n", {"A": "b=c"}),
    ("A=é\n", {"A": "é"}),
])
def test_a_file_of_variables_is_read_as_systemd_reads_it(text, variables):
    assert sc.parse_env_file(text) == variables


@pytest.mark.parametrize("text, number", [
    ("hunter2\n", 1), ("A=1\n\nhunter2\n", 3), ("\nA=1\nhunter2\n", 3),
    ("A='hunter2\n", 1), ("B=1\nA=\"hunter2\n\n", 2),
    ("A='x\ny'\n1A=hunter2\n", 3), ("A B=hunter2\n", 1), ("=hunter2\n", 1), ("A=\0hunter2\n", 1),
    ("A='b' 'hunter2\n", 1), ("A=hunter2\\", 1),
])
def test_a_line_that_sets_no_variable_is_named_by_its_number_alone(text, number):
    with pytest.raises(ValueError) as caught:
        sc.parse_env_file(text)
    assert str(caught.value) == "line %d is not NAME=VALUE" % number


def test_export_is_for_a_shell():
    with pytest.raises(ValueError, match="line 2 is not NAME=VALUE, without export"):
        sc.parse_env_file("A=1\nexport B=hunter2\n")


@pytest.mark.skipif(not os.path.exists(GENERATOR), reason="there is no systemd")
def test_random_values_are_those_that_systemd_reads(tmp_path):
    """By its generator for environment.d, which has the same parser, but expands $."""
    pieces, generator = [" ", "\t", "'", '"', "\\", "\n", "\r", "x", "yz", "#", ";", "=", "`", "é"], random.Random(7)
    lines, expected = [], {}
    while len(lines) < 400:
        name = "V%d" % len(lines)
        line = "%s=%s\n" % (name, "".join(generator.choice(pieces) for _ in range(generator.randint(1, 12))))
        try:
            variables = sc.parse_env_file(line)
        except ValueError:
            continue  # which it ignores, or reads on in the next line
        goes_on = line.endswith("\\\n")
        # One without a value would remove the variable.
        if set(variables) == {name} and variables[name] and not goes_on:
            expected.update(variables)
            lines.append(line)
    folder = tmp_path / "environment.d"
    folder.mkdir()
    (folder / "a.conf").write_bytes("".join(lines).encode())
    out = subprocess.run([GENERATOR], env={"XDG_CONFIG_HOME": str(tmp_path)}, stdout=subprocess.PIPE,
                         check=True).stdout.decode()
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    printed = {}
    for name, value in re.findall(r"(?m)^(V\d+)=(.*)$", out):
        if value.startswith('"'):
            value = re.sub(r"\\(.)", lambda match: escapes.get(match.group(1), match.group(1)), value[1:-1])
        printed[name] = value
    assert printed == expected


def test_a_long_file_is_read_in_time_that_grows_with_its_length():
    lines = ["A%d='%s' \"%s\" %s\n" % (number, "x" * 50, "y" * 50, "z " * 50) for number in range(2000)]
    started = time.perf_counter()
    assert len(sc.parse_env_file("".join(lines))) == 2000
    with pytest.raises(ValueError):
        sc.parse_env_file("A=\"" + "\\x" * 100000)
    assert time.perf_counter() - started < 5


# -- env_file in a real run

def write_private(project, name, text, mode=0o600):
    path = project.root / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def run(project, *arguments):
    return project.call("run", "job", *arguments)


def test_a_variable_is_the_one_of_the_nearest_place(project):
    write_private(project, "all.env", "A=all.env\nB=all.env\nC=all.env\nD=all.env\nE=all.env\nPATH=/x\n")
    write_private(project, "job.env", "C=job.env\nD=job.env\nSYMPHONY_TASK=another\n")
    project.configure(
        job(command='/bin/echo "$A $B $C $D $E $SYMPHONY_TASK $PATH"', env={"D": "env", "PATH": "/y"},
            env_file=["job.env", "-missing.env"]),
        env_file="all.env", env={"B": "settings.env", "C": "settings.env"})
    assert run(project) == (0, "all.env settings.env job.env env all.env job /y\n", "")


def test_a_value_of_a_file_is_kept_nowhere(project):
    """But for the task's own log, as with whatever a command prints."""
    pem = "first-line-of-it\nsecond-line-of-it"
    write_private(project, "job.env", "TOKEN=%s\nPEM='%s'\n" % (SECRET, pem))
    command = 'echo "token is $TOKEN"; echo "$PEM" | head -1; exit 3'
    project.configure(job(command=command, env_file="job.env", retry_count=0), notification_command="true",
                      enable_notifications=True)
    code, out, _ = run(project)
    assert code == 3 and SECRET in out
    texts = {str(path.relative_to(project.root)): path.read_text(errors="replace")
             for path in project.root.rglob("*") if path.is_file()}
    with_it = sorted(name for name, text in texts.items() if SECRET in text or "first-line-of-it" in text)
    assert with_it == ["job.env", "logs/automation/job.log"]
    assert "token is ***" in project.history()[-1]["output_tail"]


@pytest.mark.parametrize("spoil, arguments, tail", [
    (lambda path: None, ["tick"], "***\n"),
    (lambda path: path.chmod(0o644), ["tick"], ""),
    (lambda path: path.write_text("TOKEN=another-value\n"), ["tick"], ""),
    (lambda path: None, ["run", "job", "--env", "TOKEN=%s-too" % SECRET], ""),
], ids=["masked", "open", "changed", "by-hand"])
def test_no_value_is_kept_though_the_first_supervisor_was_killed(project, spoil, arguments, tail):
    path = write_private(project, "job.env", "TOKEN=%s\n" % SECRET)
    command = "touch up; while ! test -e go; do sleep 0.05; done; echo \"$TOKEN\"; exit 3"
    project.configure(due_once("job", command, env_file="job.env"))
    project.anchor()
    process = subprocess.Popen(project.command(*arguments), stdin=subprocess.DEVNULL)
    record = project.running_record("job")
    assert project.wait_until((project.root / "up").exists)  # through the gate, if there is one
    assert SECRET not in json.dumps(record)
    os.kill(record["supervisor"], signal.SIGKILL)
    assert project.wait_until(lambda: not sc.process_of(record["supervisor"])
                              or sc.process_of(record["supervisor"]).is_dead)
    process.wait()
    spoil(path)
    project.tick()
    log = project.root / "logs" / "automation" / "job.log"
    assert project.wait_until(lambda: "adopted" in log.read_text())
    (project.root / "go").write_text("")
    project.wait_for_idle()
    assert project.history()[-1]["output_tail"] == tail


def test_a_value_of_which_the_end_alone_is_kept_is_masked(tmp_path):
    secret = "пароль-из-букв"
    for left in range(6, len(secret.encode())):
        output = sc.Output(os.open(str(tmp_path / "log"), os.O_WRONLY | os.O_CREAT), 10)
        output.take(secret.encode() + b"." * (sc.OUTPUT_TAIL_BYTES - left))
        output.close()
        assert sc.without_values(output.tail_text(), [secret]).strip(".") == "***"


def test_a_value_is_masked_without_the_spaces_that_a_shell_drops(project):
    write_private(project, "job.env", "TOKEN='  %s  '\n" % SECRET)
    project.configure(job(command="echo $TOKEN; exit 3", env_file="job.env"))
    assert run(project)[0] == 3
    assert project.history()[-1]["output_tail"] == "***\n"


PROBLEMS = [
    ("open", lambda path: path.chmod(0o640), "others can read it (chmod go= %s)"),
    ("writable", lambda path: path.chmod(0o620), "others can write to it (chmod go= %s)"),
    ("world", lambda path: path.chmod(0o604), "others can read it (chmod go= %s)"),
    ("folder", lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    ("pipe", lambda path: (path.unlink(), os.mkfifo(str(path), 0o600)), "cannot be read: Not a regular file"),
    ("missing", lambda path: path.unlink(), "cannot be read: No such file or directory (correct the path,"
     " or begin it with '-' if the file may be missing)"),
    ("malformed", lambda path: path.write_text("A=1\nhunter2\n"),
     "line 2 is not NAME=VALUE (a value over several lines stands in quotes)"),
    ("bytes", lambda path: path.write_bytes(b"A=1\nB=\xff\n"), "line 2 is not UTF-8 text"),
]


@pytest.mark.parametrize("spoil, text", [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS])
def test_a_file_that_cannot_be_used_keeps_the_task_from_starting(project, spoil, text):
    path = write_private(project, "job.env", "A=1\n")
    spoil(path)
    project.configure(job(env_file="job.env"))
    text = text.replace("%s", str(path))
    expected = "job.env: " + text
    assert run(project) == (78, "", "symphony_conductor: job: not started: %s\n" % expected)
    assert project.history()[-1]["reason"] == "not started: " + expected
    code, out, err = project.call("check")
    assert code == 78
    assert err == "config/conductor_config.json: tasks[0] 'job': env_file: %s\n" % expected
    code, out, _ = project.call("doctor", "--json")
    finding, = [entry for entry in json.loads(out) if entry.get("code") == "cannot-start"]
    assert code == 1 and finding["level"] == "problem" and finding["text"] == err.rstrip("\n")


@pytest.mark.parametrize("path", ["~/job.env", "-~/job.env", "$HOME/job.env"])
def test_a_path_that_only_a_shell_would_expand_is_suspicious(path):
    warning, = sc.suspicions(build(job(env_file=[path])), 1700000000)
    assert (warning.field, warning.hint) == ("env_file", "write the whole path")
    assert warning.text.endswith("is not expanded")


def test_the_check_of_a_file_can_be_overridden(project):
    write_private(project, "job.env", "A=1\n", 0o644)
    project.configure(job(command='echo "$A"', env_file="job.env"))
    assert run(project)[0] == 78
    env = dict(os.environ, SYMPHONY_ALLOW_INSECURE="1")
    assert project.call("run", "job", env=env)[:2] == (0, "1\n")


def test_a_file_of_the_settings_is_named_where_it_stands(project):
    write_private(project, "all.env", "A=1\n", 0o644)
    project.configure(job(), env_file=["-none.env", "all.env"])
    code, _, err = project.call("check")
    assert code == 78
    assert err.startswith("config/conductor_config.json: settings: env_file: all.env: others can read it (chmod ")


def test_a_path_in_a_file_is_where_check_looks_for_the_program(project):
    tool = project.root / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o700)
    write_private(project, "job.env", "PATH=%s:/usr/bin:/bin\n" % tool.parent)
    project.configure(job(command=["tool"], env_file="job.env"))
    assert "0 problems, 0 warnings" in project.call("check")[1]
    assert run(project)[:2] == (0, "tool\n")


# -- what the process of a command is given

def test_a_command_has_the_umask_of_its_task(project):
    project.configure(job(command="umask; touch made", umask="027"))
    assert run(project)[:2] == (0, "0027\n")
    assert (project.root / "made").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(bool(sc.limit_trouble("ionice")), reason="it needs the I/O priorities of Linux")
@pytest.mark.parametrize("ionice, shown", [
    ("idle", "idle\n"), ("best-effort", "best-effort: prio 4\n"), ("best-effort:7", "best-effort: prio 7\n"),
])
def test_a_command_has_the_io_priority_of_its_task(project, ionice, shown):
    project.configure(job(command="ionice -p $$", ionice=ionice))
    assert run(project)[:2] == (0, shown)


def test_a_system_without_io_priorities_is_not_passed_over(project, monkeypatch):
    monkeypatch.setattr(sc, "IOPRIO_SET", ({}, {}))
    project.configure(every_minute("job", ionice="idle"))
    conductor = sc.Conductor(sc.Store(str(project.root)))
    outcome = conductor.run("job")
    text = "ionice: this system has no I/O priorities that could be set"
    assert (outcome.exit_code, outcome.lines) == (74, ["job: not started: " + text])
    store = sc.Store(str(project.root))
    problem, = sc.start_problems(store, store.read_config())
    assert (problem.text, problem.warning) == (text, True)


@pytest.mark.parametrize("limit, kib", [("512M", 512 << 10), ("2G", 2 << 20), (1 << 29, 512 << 10)])
def test_a_command_has_the_memory_limit_of_its_task(project, limit, kib):
    project.configure(job(command="ulimit -v", memory_limit=limit))
    assert run(project)[:2] == (0, "%d\n" % kib)


def test_all_of_them_come_with_a_scheduled_run_too(project):
    command = "umask; ulimit -v; nice; pwd"
    project.configure(due_once("job", command, umask="077", memory_limit="1G", nice=3, cwd="config"))
    project.anchor()
    project.tick()
    project.wait_for_idle()
    lines = project.history()[-1]["output_tail"].splitlines()
    assert lines == ["0077", str(1 << 20), str(min(os.nice(0) + 3, 19)), str(project.root / "config")]


# -- defaults

def test_a_default_is_for_tasks_that_have_no_value_of_their_own():
    config = build(job(), job(name="own", timeout=5, nice=1, env={"B": "own"}, retry_count=0),
                   timezone="UTC", task_timeout_default=100,
                   defaults={"timeout": 60, "nice": 7, "env": {"A": "default", "B": "default"},
                             "timezone": "Europe/Paris", "tags": ["x"], "env_file": "a.env"})
    assert config.problems == []
    common, own = config.tasks["job"], config.tasks["own"]
    assert (common.timeout, common.nice, common.timezone) == (60, 7, "Europe/Paris")
    assert (common.tags, common.env_file) == (("x",), ("a.env",))
    assert common.env == {"A": "default", "B": "default"}
    assert (own.timeout, own.nice, own.env) == (5, 1, {"A": "default", "B": "own"})
    assert common.written == ("name", "command", "schedule")


def test_null_is_the_field_without_a_default():
    config = build(job(start_deadline=None, timezone=None, schedule=None), timezone="UTC", defaults={
        "start_deadline": 5, "timezone": "Europe/Paris", "schedule": "@daily"})
    task = config.tasks["job"]
    assert (task.start_deadline, task.timezone, task.schedule) == (None, "UTC", None)


def test_a_command_may_be_a_default():
    assert build({"name": "job"}, defaults={"command": "true"}).tasks["job"].command == "true"


@pytest.mark.parametrize("defaults, text, hint", [
    ({"timeout": 0}, "timeout: 0 is not allowed", "a number of seconds from 1 to 10 years"),
    ({"name": "x"}, "unknown key 'name'", "each task has its own"),
    ({"tiemout": 1}, "unknown key 'tiemout'", "did you mean 'timeout'?"),
    ({"max_concurrent_tasks": 1}, "unknown key 'max_concurrent_tasks'", "it belongs in settings"),
    ({"schedule": "61 * * * *"}, "schedule: minute '61' is outside 0-59", ""),
    ({"timezone": "Nowhere/None"}, "timezone: ", ""),
    ({"env": {"A": 1}}, "env: the value is not allowed", "an object of strings"),
])
def test_what_is_wrong_with_a_default_is_said_once(defaults, text, hint):
    problem, = refused(job(), job(name="other"), defaults=defaults)
    assert problem.place == FILE + ": settings: defaults"
    assert problem.text.startswith(text) and hint in problem.hint


def test_what_is_suspicious_about_a_default_is_said_once():
    config = build({"name": "a", "command": "true"}, {"name": "b", "command": "true", "cwd": "~/b"},
                   defaults={"schedule": "* 3 * * *", "env": {"A": "$HOME/a"}, "cwd": "~/x", "timeout": 3600})
    warnings = [(warning.place, warning.field) for warning in sc.suspicions(config, 1700000000)]
    assert sorted(warnings) == [
        (FILE + ": tasks[1] 'b'", "cwd"), ("settings: defaults", "cwd"), ("settings: defaults", "env"),
        ("settings: defaults", "schedule"), ("settings: defaults", "timeout")]


def test_warnings_about_days_off_and_windows_come_with_defaults_too():
    document = {"settings": {"timezone": "UTC", "defaults": {
        "not_on": "old.txt", "only_between": "22:00-23:00", "start_deadline": 60}},
        "tasks": [job(), job(name="late", schedule="0 22 * * *")]}
    config = sc.build_config([(FILE, document)], read_dates={"old.txt": "2020-12-25\n"}.__getitem__)
    assert [(warning.place, warning.text) for warning in sc.suspicions(config, 1700000000)] == [
        (FILE + ": tasks[0] 'job'",
         "only_between: no slot starts within its start_deadline of 60 s"),
        ("settings: defaults", "not_on: old.txt has no dates after 2020-12-25")]


def test_a_task_that_depends_on_itself_by_a_default_is_told_what_to_write():
    config = build(job(), job(name="mount"), defaults={"dependencies": ["mount"]})
    assert list(config.tasks) == ["job"]
    problem, = config.problems
    assert problem.text == "dependencies: the task depends on itself"
    assert problem.hint == 'they are those of "defaults"; give the task its own, such as []'
    assert not build(job(), job(name="mount", dependencies=[]), defaults={"dependencies": ["mount"]}).problems


def test_a_schedule_of_the_settings_changes_with_their_file():
    """A task of a drop-in whose schedule is a default: an edit of the main file makes no old slot due."""
    def configured(schedule, changed_at):
        documents = [("c.json", {"tasks": [], "settings": {"timezone": "UTC", "defaults": {"schedule": schedule}}}),
                     ("d.json", {"name": "job", "command": "true"})]
        times = {"c.json": at(changed_at), "d.json": at("2025-06-01T00:00:00Z")}
        return sc.build_config(documents, times)

    world = World()
    world.config = configured("0 2 * * *", "2025-06-01T00:00:00Z")
    world.tick("2025-06-02T12:00:00Z")
    world.config = configured("10 12 * * *", "2025-06-02T12:15:00Z")
    assert world.tick("2025-06-02T12:20:00Z") == []
    assert world.tick("2025-06-03T12:10:00Z") == ["job@2025-06-03T12:10:00Z"]


# -- tags

def tagged(project):
    """Three tasks of which the last needs the first, and one without a tag."""
    note = 'echo "$SYMPHONY_TASK" >> ran; '
    project.configure(
        job(name="last", command=note, dependencies=["middle"], tags=["nightly", "db"]),
        job(name="first", command=note + "test ! -e broken", tags=["nightly"], retry_count=0),
        job(name="middle", command=note, dependencies=["first"]),
        job(name="off", enabled=False, tags=["nightly"]),
        job(name="odd", tags=["odd"], schedule="61 * * * *"))


def test_tasks_of_a_tag_are_listed_paused_and_resumed(hand):
    tagged(hand)
    hand.call("tick")
    document = json.loads(hand.call("status", "--json", "--tag", "db")[1])
    assert [(task["name"], task["tags"]) for task in document["tasks"]] == [("last", ["nightly", "db"])]
    names = [entry["task"] for entry in json.loads(hand.call("next", "--json", "--tag", "nightly")[1])]
    assert set(names) == {"last", "first"}
    assert hand.call("pause", "--tag", "nightly")[1].splitlines() == [
        "paused last until resumed", "paused first until resumed", "paused off until resumed"]
    hand.call("resume", "first")
    assert hand.call("resume", "--tag", "nightly")[1].splitlines() == [
        "resumed last; slots count from now on", "resumed off; slots count from now on"]
    refusal = "symphony_conductor: no task with this tag is paused (status lists the pauses)\n"
    assert hand.call("resume", "--tag", "nightly") == (2, "", refusal)


@pytest.mark.parametrize("words, text", [
    (["status", "--tag", "nigthly"], "unknown tag 'nigthly' (did you mean 'nightly'?)"),
    (["next", "--tag", "xyz"], "unknown tag 'xyz' (tags: db, nightly, odd)"),
    (["run", "--tag", "xyz"], "unknown tag 'xyz' (tags: db, nightly, odd)"),
    (["pause", "--tag", "db", "--tag", "xyz"], "unknown tag 'xyz' (tags: db, nightly, odd)"),
    (["resume", "--tag", "xyz"], "unknown tag 'xyz' (tags: db, nightly, odd)"),
    (["run", "last", "--tag", "db"], "name a task or a tag, not both"),
    (["run", "--tag", "db", "--slot", "2026-01-01"],
     "--slot, --from and --to are for one task, not for --tag"),
    (["run", "--tag", "db", "--from", "1d"],
     "--slot, --from and --to are for one task, not for --tag"),
    (["pause", "--all", "--tag", "db"], "name one task, or use --tag or --all"),
])
def test_a_tag_that_no_task_has_is_a_usage_error(hand, words, text):
    tagged(hand)
    assert hand.call(*words) == (2, "", "symphony_conductor: %s\n" % text)


def test_the_tasks_of_a_tag_run_after_what_they_depend_on(project):
    tagged(project)
    code, _, err = project.call("run", "--tag", "nightly", "--with-dependencies")
    assert (code, err.splitlines()) == (0, [
        "symphony_conductor: first, 1 of 3", "symphony_conductor: last, 2 of 3",
        "symphony_conductor: off: skipped: disabled"])
    assert project.lines("ran") == ["first", "middle", "last"]


def test_a_run_of_a_tag_goes_on_after_a_failure_and_fails(project):
    tagged(project)
    (project.root / "broken").write_text("")
    code, _, err = project.call("run", "--tag", "nightly", "--tag", "odd", "--ignore-dependencies")
    assert code == 1
    assert project.lines("ran") == ["first", "last"]
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "first, 1 of 4", "first failed (exit 1)", "last, 2 of 4", "off", "odd, 4 of 4", "config/conductor_config.json"]
    assert project.call("run", "--tag", "odd")[0] == 1


def test_variables_go_to_all_tasks_of_a_tag(project):
    project.configure(*[job(name=name, command='echo "$A"', tags=["t"], env={"A": "own"})
                        for name in ("first", "next")])
    assert project.call("run", "--tag", "t", "--env", "A=given") [:2] == (0, "given\ngiven\n")


@pytest.mark.parametrize("ends, code, said", [
    ("exit 75", 0, []),
    ("exit 74", 1, ["first failed (exit 74)"]),
    ("kill -TERM $PPID; sleep 9", 143, []),
    ("exec symphony stop first; sleep 9", 1, ["first was stopped"]),
])
def test_what_a_run_of_a_tag_makes_of_each_end(project, ends, code, said):
    stop = " ".join(map(shlex.quote, project.command("stop", "first")))
    command = ends.replace("exec symphony stop first", "%s & :" % stop)
    project.configure(job(name="first", command=command, tags=["t"], skip_exit_codes=[75, 143]),
                      job(name="next", command="echo > next", tags=["t"]))
    got, _, err = project.call("run", "--tag", "t")
    lines = [line.partition(": ")[2] for line in err.splitlines()]
    assert (got, [line for line in lines if not line.endswith(" of 2")]) == (code, said)
    assert (project.root / "next").exists() == (code != 143)


def test_a_run_of_a_tag_counts_a_task_whose_dependency_ended_it(project):
    project.configure(job(name="first", command="exit 75", skip_exit_codes=[75]),
                      job(name="last", dependencies=["first"], tags=["t"], skip_exit_codes=[75]))
    assert project.call("run", "--tag", "t", "--with-dependencies") == (
        1, "", "symphony_conductor: last: not run: its dependency first was skipped"
        " (exit 75)\n")


def test_a_run_of_a_tag_counts_a_task_whose_lock_another_holds(project):
    project.configure(job(name="holder", locks=["l"], command="touch up; sleep 9"),
                      job(name="a", locks=["l"], tags=["t"]), job(name="b", tags=["t"]))
    process = subprocess.Popen(project.command("run", "holder"), stdin=subprocess.DEVNULL)
    assert project.wait_until(lambda: (project.root / "up").exists())
    assert project.call("run", "--tag", "t") == (
        1, "", "symphony_conductor: a, 1 of 2\n"
        "symphony_conductor: a: lock 'l' is held by 'holder', which is running"
        " (try again when it has ended)\nsymphony_conductor: b, 2 of 2\n")
    assert project.call("stop", "holder")[0] == 0 and process.wait(20) == 143
    assert {record["task"] for record in project.history()} == {"b", "holder"}


def test_a_dependency_of_a_dependency_comes_first():
    config = build(job(name="c", dependencies=["b"]), job(name="b", dependencies=["a"]), job(name="a"), job(name="d"))
    assert sc.in_dependency_order(config, ["d", "c", "a"]) == ["d", "a", "c"]
