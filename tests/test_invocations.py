"""Command lines as people type them: both ways to name a task, the help, and wrong ones."""

import argparse
import os
import shlex
import subprocess
import sys

import pytest
from stories import task
from support import REPOSITORY, SCRIPT, SCRIPTS, Project, every_minute, finished

import symphony_conductor as sc

NOBODY = 65534
INIT = "to create one: %s --root ROOT init" % SCRIPT
TASKS = "(tasks: backup, report)"
TIMES = "use 18:09, 12h, 2025-06-02 or 2025-06-02T18:09Z"
STATUSES = ("success, failed, timeout, interrupted, stopped, skipped, skipped_overlap, "
            "skipped_dependency, skipped_late, skipped_not_on, skipped_exit, skipped_condition, "
            "skipped_manual, skipped_paused, skipped_disabled, skipped_removed")
STOPPING = "stop TASK ends a run; pause TASK, pause --all or uninstall keeps tasks from starting"
EDITING = ("edit config/conductor_config.json or a file in config/tasks.d/, then run check; nothing "
           "has to be reloaded")


@pytest.fixture
def two(hand):
    """A project with two tasks, at ten o'clock."""
    hand.configure(task("backup", "0 2 * * *", timezone="Asia/Tokyo"), task("report", "0 8 * * *"))
    return hand


def plain(two, text):
    return text.replace(str(two.root), "ROOT")


# -- wrong ones: the exit code, one line on stderr, nothing on stdout

@pytest.mark.parametrize("line, code, answer", [
    # commands
    ("statsu", 2, "unknown command 'statsu' (did you mean 'status'?)"),
    ("frobnicate", 2, "unknown command 'frobnicate' (--help lists them)"),
    ("help frobnicate", 2, "unknown command 'frobnicate' (--help lists them)"),
    ("conductor", 2, "unknown command 'conductor' (did you mean 'doctor'?)"),
    ("supervize", 2, "unknown command 'supervize' (--help lists them)"),
    ("list", 2, "unknown command 'list' (status lists the tasks, next their upcoming runs)"),
    ("start backup", 2, "unknown command 'start' (install has cron start what is due; run TASK runs "
                        "a task now)"),
    ("kill backup", 2, "unknown command 'kill' (%s)" % STOPPING),
    ("stop", 2, "name a task " + TASKS),
    ("skip bakcup", 2, "unknown task 'bakcup' (did you mean 'backup'?)"),
    ("restart", 2, "unknown command 'restart' (%s)" % EDITING),
    ("disable backup", 2, "unknown command 'disable' (pause TASK suspends its schedule; for good: "
                          "\"enabled\": false in the configuration)"),
    ("help validate", 2, "unknown command 'validate' (check reports every problem in the "
                         "configuration)"),
    # tasks
    ("run", 2, "name a task " + TASKS),
    ("run bakcup", 2, "unknown task 'bakcup' (did you mean 'backup'?)"),
    ("why --task other", 2, "unknown task 'other' " + TASKS),
    ("logs backup --task report", 2, "two tasks are named: 'backup' and 'report'"),
    ("status backup report", 2, "unexpected argument 'report' (see status --help)"),
    ("pause", 2, "name one task, or use --tag or --all"),
    # options
    ("--verson", 2, "unknown option '--verson' (did you mean '--version'?)"),
    ("status --tabel", 2, "unknown option '--tabel' (did you mean '--table'?)"),
    ("status --tabel=1", 2, "unknown option '--tabel' (did you mean '--table'?)"),
    ("logs backup -f", 2, "unknown option '-f' (did you mean '--follow'?)"),
    ("tick --quiet", 2, "unknown option '--quiet' (see tick --help)"),
    ("status --root /srv", 2, "--root goes before the command (symphony_conductor.py --root DIR "
                              "status)"),
    ("--root", 2, "--root: expected one argument"),
    ("status --json --table", 2, "--table: not allowed with --json"),
    # values
    ("history --limit 0", 2, "--limit: '0' is not a whole number from 1 to 999999"),
    ("logs backup --lines x", 2, "--lines: 'x' is not a whole number from 1 to 999999"),
    ("history --status failure", 2, "--status: 'failure' is not a status; use " + STATUSES),
    ("history --since 3", 2, "--since: '3' is not a duration; write a number and a unit "
                             "(s, m, h, d, w), such as 3d"),
    ("pause backup --for 3", 2, "--for: '3' is not a duration; write a number and a unit "
                                "(s, m, h, d, w), such as 3d"),
    ("why backup --at noon", 2, "--at: 'noon' is not a time; " + TIMES),
    ("why backup --at 25:00", 2, "--at: 25:00: hour must be in 0..23"),
    ("history --since 2025-02-30", 2, "--since: 2025-02-30: day is out of range for month"),
    ("audit --since 2030-01-01", 2, "--since: 2030-01-01 is in the future"),
    ("explain", 2, "explain needs EXPRESSION (for example: explain '0 2 * * *' --zone "
                   "Europe/Paris)"),
    ("explain 0 2", 78, "'0 2' has 2 fields; a schedule has five: minute hour day-of-month month "
                        "day-of-week (use * for a field that does not matter, as in '0 2 * * *')"),
    ("logs backup --run R-1", 1, "no run R-1 in the logs of 'backup' (history --task backup lists "
                                 "the runs)"),
    # places
    ("--root /no/such/folder status", 2, "--root: /no/such/folder is not a folder"),
    ("--config /no/such.json next", 78, "/no/such.json: no such file"),
])
def test_a_wrong_command_line_is_answered_in_one_line(two, line, code, answer):
    done, out, err = two.call(*shlex.split(line))
    assert (done, out, err) == (code, "", "symphony_conductor: %s\n" % answer)


@pytest.mark.parametrize("command", [
    "next", "run backup", "why", "logs backup", "history backup", "audit", "notify-test"])
def test_without_a_configuration_every_command_says_how_to_get_one(hand, command):
    code, out, err = hand.call(*command.split())
    assert (code, out, plain(hand, err)) == (
        78, "", "symphony_conductor: config/conductor_config.json: no such file (%s)\n" % INIT)


def test_the_command_that_makes_a_configuration_is_that_of_this_root(tmp_path, monkeypatch):
    assert sc.own_command(str(REPOSITORY)) == str(SCRIPT)
    assert sc.own_command("/srv/a b") == "%s --root '/srv/a b'" % SCRIPT
    monkeypatch.setenv("SYMPHONY_ROOT", "/srv")
    assert sc.own_command(str(REPOSITORY)) == "%s --root %s" % (SCRIPT, REPOSITORY)
    project = Project(tmp_path / "it's mine")
    store = sc.Store(str(project.root))
    with pytest.raises(sc.ConfigError) as caught:
        store.read_config()
    command = caught.value.problems[0].hint.partition(": ")[2]
    assert subprocess.call(command, shell=True, stdout=subprocess.DEVNULL) == 0
    assert store.read_config().tasks


# -- a task, both ways

@pytest.mark.parametrize("command", [
    "status --table", "history", "audit", "why", "logs", "next", "pause --for 1h", "resume", "run"])
def test_a_task_is_named_alone_or_by_an_option(two, monkeypatch, command):
    asked = []
    words = command.split()
    entry = sc.command_table()[words[0]]
    assert entry.task
    fake = entry.replace(func=lambda store, args: asked.append(args.task) or 0)
    monkeypatch.setattr(sc, "command_table", lambda: {words[0]: fake})
    forms = [words + ["backup"], words[:1] + ["backup"] + words[1:], words + ["--task", "backup"],
             words + ["--task=backup"], words + ["backup", "--task", "backup"]]
    for form in forms:
        assert two.call(*form) == (0, "", ""), form
    assert asked == ["backup"] * len(forms)
    if not entry.needs_task:
        two.call(*words)
        assert asked[-1] is None


# -- the help

def test_help_lists_the_commands_in_groups_and_none_that_only_the_conductor_runs(two):
    code, out, err = two.call("help")
    assert (code, err) == (0, "")
    for titles in ("Run:", "Look:", "Change:", "Install:"):
        assert "\n%s\n" % titles in out
    beside = sc.commands_beside()
    assert sorted(beside) == sorted(sc.BESIDE)
    for name in list(beside) + [name for name, entry in sc.command_table().items() if entry.text]:
        assert out.count("\n  %-16s" % name) == 1, name
    for word in ("supervise", "deliver", "symphony_conductor.py conductor", "Other:"):
        assert word not in out
    assert two.call("--help") == two.call("help", "help") == (code, out, err)
    assert two.call("-h") == (code, out, err)
    code, out, err = two.call("--config", "x.json")
    assert (code, out) == (2, "") and err.startswith("usage: symphony_conductor.py [--root DIR]")
    assert "\nLook:\n" in err


def test_a_command_of_ones_own_is_listed_as_well(tmp_path, monkeypatch):
    (tmp_path / "symphony_my_own.py").write_text('"""Do what I want."""\n')
    monkeypatch.setattr(sc, "path_beside", lambda name: str(
        tmp_path / ("symphony_%s.py" % name.replace("-", "_"))))
    assert "\nOther:\n  my-own          do what I want\n" in sc.commands_text()


def options_of(entry):
    for item in entry.options:
        for names, how in item if isinstance(item, list) else [item]:
            if how.get("help") != argparse.SUPPRESS:
                yield names[0], how


@pytest.mark.parametrize("name", [name for name, entry in sc.command_table().items() if entry.text])
def test_the_help_of_each_command_has_an_example_and_the_defaults(two, monkeypatch, name):
    entry = sc.command_table()[name]
    monkeypatch.setenv("COLUMNS", "500")
    texts = []
    for words in (["help", name], [name, "--help"], ["--help", name]):
        with pytest.raises(SystemExit) as caught:
            two.call(*words)
        texts.append(two.capfd.readouterr().out)
        assert caught.value.code == 0
    assert texts == texts[:1] * 3
    assert texts[0].startswith("usage: symphony_conductor.py %s [-h]" % name)
    assert texts[0].endswith("\nExample: symphony_conductor.py %s\n" % entry.example)
    check_example_and_defaults(name, entry.example, list(options_of(entry)), texts[0])


def check_example_and_defaults(name, example, options, text):
    words = shlex.split(example)
    assert words[0] == name
    names = [option for option, _ in options]
    assert all(word in names for word in words if word.startswith("--")), example
    for option, how in options:
        assert how["help"] in text
        takes_a_value = how.get("action") is None and option.startswith("--")
        if takes_a_value or how.get("default"):
            assert "(default" in how["help"], option


@pytest.mark.parametrize("name", sorted(sc.BESIDE))
def test_the_help_of_a_command_beside_it_has_an_example_and_its_name(name):
    script = SCRIPTS / ("symphony_%s.py" % name.replace("-", "_"))
    code, out, err = finished([sys.executable, str(script), "--help"],
                              env=dict(os.environ, COLUMNS="500"))
    assert (code, err) == (0, "")
    assert out.startswith("usage: symphony_conductor.py %s [-h]" % name)
    assert "symphony_conductor.py %s" % name in out.partition("Example: ")[2].splitlines()[0]
    for line in out.splitlines():
        if line.startswith("  --") and line.split()[1:2] and line.split()[1].isupper():
            assert "(default" in line


# -- times

@pytest.mark.parametrize("text, zone, is_past, expected, note", [
    ("09:30", "UTC", True, "2025-06-02T09:30:00Z", ""),
    ("9:30:15", "UTC", True, "2025-06-02T09:30:15Z", ""),
    ("18:09", "UTC", True, "2025-06-01T18:09:00Z",
     "--at: 18:09 is still to come today; using yesterday's, Sun 2025-06-01 18:09 +0000"),
    ("18:09", "Asia/Tokyo", True, "2025-06-02T09:09:00Z", ""),
    ("18:09", "UTC", False, "2025-06-02T18:09:00Z", ""),
    ("09:30", "UTC", False, "2025-06-03T09:30:00Z", ""),
    ("10:00", "UTC", True, "2025-06-02T10:00:00Z", ""),
    ("23:30", "America/New_York", True, "2025-06-02T03:30:00Z",
     "--at: 23:30 is still to come today; using yesterday's, Sun 2025-06-01 23:30 -0400"),
    ("3h", "UTC", True, "2025-06-02T07:00:00Z", ""), ("3h", "UTC", False, "2025-06-02T13:00:00Z", ""),
    ("2025-06-01", "Asia/Tokyo", True, "2025-05-31T15:00:00Z", ""),
    ("2025-06-01T18:09Z", "Asia/Tokyo", True, "2025-06-01T18:09:00Z", ""),
])
def test_a_time_may_be_a_time_of_day_or_a_duration(capsys, text, zone, is_past, expected, note):
    now = sc.from_iso("2025-06-02T10:00:00Z")
    assert sc.iso(sc.time_option("--at", text, zone, now, is_past)) == expected
    assert capsys.readouterr().err == (note and "symphony_conductor: %s\n" % note)


def test_every_option_that_takes_a_time_takes_a_time_of_day(two):
    assert two.call("pause", "report", "--until", "18:09")[1] == (
        "paused report until Mon 2025-06-02 18:09 +0000\n")
    assert two.call("pause", "backup", "--until", "18:09")[1] == (
        "paused backup until Tue 2025-06-03 18:09 +0900\n")
    assert two.call("why", "backup", "--at", "18:09")[0] == 0
    assert two.call("history", "--since", "09:30") == (0, "no results since 09:30\n", "")
    out = two.call("explain", "@hourly", "--from", "18:09", "--count", "1", "--zone", "UTC")[1]
    assert out.splitlines()[1] == "  Mon 2025-06-02 19:00 +0000"


# -- an expression without quotes

def test_an_unquoted_expression_works_where_the_shell_left_the_stars_alone(two):
    quoted = two.call("explain", "0 2 * * 1-5", "--count", "2")
    assert quoted[0] == 0
    assert two.call("explain", "0", "2", "*", "*", "1-5", "--count", "2") == quoted
    assert two.call("explain", "--count", "2", "0", "2", "*", "*", "1-5") == quoted


@pytest.mark.parametrize("files", [["a"], ["a", "B c", "é.txt"], ["5", "a"]])
@pytest.mark.parametrize("expression", ["0 2 * * *", "*/5 * * 1 *", "* * * * *"])
def test_where_the_shell_put_file_names_the_answer_is_to_quote(two, tmp_path, files, expression):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in files + [".hidden"]:
        (folder / name).write_text("")
    command = two.project.command("explain")
    code, out, err = finished(["/bin/sh", "-c", '"$@" ' + expression, "sh"] + command, cwd=str(folder))
    assert (code, out, err) == (
        2, "", "symphony_conductor: the shell put file names in the place of * (quote it: explain "
               "'%s')\n" % expression)


# -- another user in somebody's folder

def owner_of(two):
    return sc.user_name(os.stat(str(two.root)).st_uid)


def test_what_only_the_owner_may_do_is_answered_with_how_to_do_it_as_the_owner(two, monkeypatch):
    owner = owner_of(two)
    monkeypatch.setattr(sc.os, "geteuid", lambda: 54321)
    assert sc.as_owner_hint(str(two.root)) == "run it as its owner: sudo -u %s ..." % owner
    assert sc.as_owner_hint("/no/such/file") == ""
    monkeypatch.setenv("SYMPHONY_ALLOW_INSECURE", "1")

    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(sc, "open_making_folder", refuse)
    code, out, err = two.call("pause", "backup")
    assert (code, out, err) == (
        74, "", "symphony_conductor: cannot open the lock conductor.pid: Permission denied (run it as "
                "its owner: sudo -u %s ...)\n" % owner)
    monkeypatch.setattr(sc, "status_of", lambda *args, **more: refuse("x", 0))
    assert two.call("status") == (
        74, "", "symphony_conductor: x: Permission denied (run it as its owner: sudo -u %s ...)\n" % owner)


def test_the_owner_is_not_told_to_be_the_owner(two, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(sc, "open_making_folder", refuse)
    assert two.call("pause", "backup")[2] == (
        "symphony_conductor: cannot open the lock conductor.pid: Permission denied\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("command", ["run backup", "next", "pause backup", "check", "install"])
def test_root_in_the_folder_of_a_user_is_told_to_run_it_as_that_user(two, command):
    (two.root / "config" / "tasks.d").mkdir()
    (two.root / "config" / "tasks.d" / "more.json").write_text("{}")
    for folder, _, names in os.walk(str(two.root)):
        for path in [folder] + [os.path.join(folder, name) for name in names]:
            os.chown(path, NOBODY, NOBODY)
    code, out, err = two.call(*command.split())
    text = "belongs to another user (uid %d) (run it as its owner: sudo -u nobody ...)" % NOBODY
    lines = [line for line in (out + err).splitlines() if text in line]
    assert code == 78 and len(lines) == 1 and lines[0].endswith("%s: %s" % (two.root, text))
    assert "chown" not in out + err
    assert sorted(os.listdir(str(two.root))) == ["config"], "and nothing of root's is left there"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_one_file_of_another_user_is_to_be_made_ones_own(two, tmp_path):
    path = two.root / "config" / "conductor_config.json"
    os.chown(str(path), 54321, -1)
    assert two.call("next") == (
        78, "", "symphony_conductor: config/conductor_config.json: belongs to another user (uid 54321)"
                " (to make it yours: chown root %s)\n" % path)
    outside = tmp_path / "other.json"
    outside.write_text("{}")
    os.chown(str(outside), 54321, -1)
    assert two.call("--config", str(outside), "next")[2] == (
        "symphony_conductor: %s: belongs to another user (uid 54321) (use a copy that belongs to you)\n"
        % outside)


# -- the path of earlier versions

def test_the_commands_of_the_old_guide_still_work(project):
    project.configure(every_minute("a", "echo hello"))
    old = [sys.executable, str(SCRIPTS / "symphony_conductor.py"), "--root", str(project.root)]
    code, out, err = finished(old + ["run", "--task", "a"])
    assert (code, out, err) == (0, "hello\n", "")
    assert "echo hello" in finished(old + ["status"])[1] or '"name": "a"' in finished(old + ["status"])[1]
    # Without --root it is the folder of the conductor, not scripts/; and what stands there imports
    # the conductor itself.
    script = "import symphony_conductor as c; print(c.__file__, c.EXIT_OK)"
    said = finished([sys.executable, "-c", script], env=dict(os.environ, PYTHONPATH=str(SCRIPTS)))
    assert said == (0, "%s 0\n" % SCRIPT, "")
    assert not sc.is_beside("conductor") and "conductor" not in sc.commands_beside()
