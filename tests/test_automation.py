"""The automation manager: what it writes, what it refuses, and how it judges."""

import json
import os
import pathlib
import re
import shlex
import stat
import subprocess
import sys
import time

import pytest
from support import REPOSITORY, Project, due_once, every_minute

import symphony_conductor as sc

SCRIPTS = REPOSITORY / "scripts"
sys.path.insert(0, str(SCRIPTS))

import automation_manager as am  # noqa: E402

NIGHTLY = "30 2 * * *"
WHO = ("what it is for", "ops")


@pytest.fixture(autouse=True)
def _no_task_around(monkeypatch):
    monkeypatch.delenv("SYMPHONY_TASK", raising=False)


def command(project, *args):
    return [sys.executable, str(SCRIPTS / "automation_manager.py"), "--root", str(project.root)] + list(args)


def call(project, *args, **env):
    """Run the manager as a process: (exit code, stdout, stderr)."""
    done = subprocess.run(command(project, *args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, env=dict(os.environ, **env))
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def refused(project, *args):
    """The one line of a refusal that changed nothing."""
    before = tree(project)
    code, out, err = call(project, *args)
    assert (code, out) == (3, ""), (code, out, err)
    assert tree(project) == before
    assert err.startswith("automation_manager: ") and err.count("\n") == 1
    return err[len("automation_manager: "):-1]


def tree(project):
    """Every file but the lock, with its content."""
    found = {}
    for folder, _, names in os.walk(str(project.root)):
        for name in names:
            path = pathlib.Path(folder, name)
            if name != ".automations.lock":
                found[str(path.relative_to(project.root))] = path.read_bytes()
    return found


def script(project, name="job.sh", text="#!/bin/sh\ntrue\n", mode=0o700):
    path = project.root / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return name


def drop_in(project, text, name="job.json"):
    folder = project.root / "config" / "tasks.d"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    (folder / name).chmod(0o600)


def health(project, name, text):
    folder = project.root / "status" / "automation_health"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / (name + ".health")).write_text(text)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def empty(project):
    """A project without tasks, with one script."""
    project.configure(timezone="UTC")
    script(project)
    return project


# -- register

def test_register_writes_one_task_that_the_conductor_reads(empty):
    code, out, err = call(empty, "register", "backup", "job.sh", NIGHTLY, "nightly copy", "ops", "--timeout", "1800",
                          "--retry-count", "1", "--review-by", "2031-01-02")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["registered backup: config/tasks.d/backup.json", "  runs: at 02:30 every day"]
    assert lines[2].startswith("  next start: ") and " 02:30 +0000 (in " in lines[2] and len(lines) == 3
    path = empty.root / "config" / "tasks.d" / "backup.json"
    assert json.loads(path.read_text()) == {
        "name": "backup", "description": "nightly copy", "owner": "ops", "review_by": "2031-01-02",
        "command": ["./job.sh"], "schedule": NIGHTLY, "timeout": 1800, "retry_count": 1}
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert sorted(os.listdir(str(path.parent))) == ["backup.json"]
    assert empty.call("check")[0] == 0
    assert " backup: registered, owner ops" in empty.read("logs/symphony_conductor.log")


def test_register_asks_for_a_review_after_180_days_unless_told_otherwise(empty):
    assert call(empty, "register", "backup", "job.sh", NIGHTLY, *WHO)[0] == 0
    review = json.loads(empty.read("config/tasks.d/backup.json"))["review_by"]
    days = (sc.from_iso(review) - time.time()) / sc.DAY
    assert 179 - 0.01 < days < 180


@pytest.mark.parametrize("name", ["plain.sh", "it's 100% \"mine\" $HOME;é.sh", "-x", "a\\b\n.sh"])
def test_a_tick_runs_a_registered_script_whatever_its_name(empty, name):
    script(empty, "jobs of mine/" + name, '#!/bin/sh\necho "$SYMPHONY_TASK $#" > ran.out\n')
    code, _, err = call(empty, "register", "odd", "jobs of mine/" + name, "* * * * *", *WHO, "--retry-count", "0")
    assert (code, err) == (0, "")
    empty.anchor()
    empty.tick()
    assert empty.wait_until(lambda: empty.lines("ran.out")) == ["odd 0"]
    empty.wait_for_idle()
    assert empty.health("odd").startswith("success:")


def test_a_script_beside_the_root_configuration_is_not_looked_up_on_path(empty):
    script(empty, "true", "#!/bin/sh\necho mine > ran.out\n")
    assert call(empty, "register", "own", "true", "* * * * *", *WHO)[0] == 0
    assert json.loads(empty.read("config/tasks.d/own.json"))["command"] == ["./true"]


def test_an_absolute_path_under_the_root_becomes_a_relative_one(empty):
    assert call(empty, "register", "a", str(empty.root / "job.sh"), NIGHTLY, *WHO)[0] == 0
    assert json.loads(empty.read("config/tasks.d/a.json"))["command"] == ["./job.sh"]


def test_a_dry_run_checks_everything_and_writes_nothing(empty):
    before = sorted(str(path) for path in empty.root.rglob("*"))
    code, out, _ = call(empty, "register", "a", "job.sh", NIGHTLY, *WHO, "--dry-run")
    assert code == 0 and out.startswith("would register a: config/tasks.d/a.json\n")
    assert call(empty, "create", "b", NIGHTLY, *WHO, "--dry-run")[0] == 0
    assert sorted(str(path) for path in empty.root.rglob("*")) == before
    assert "minute '61'" in refused(empty, "register", "a", "job.sh", "61 * * * *", *WHO, "--dry-run")


REFUSALS = [
    (("a b", "job.sh", NIGHTLY, *WHO),
     "register: name: \"a b\" is not allowed (use letters, digits, '_', '.', '-', at most 100, a letter or digit "
     "first)"),
    (("a", "job.sh", "61 * * * *", *WHO), "register 'a': schedule: minute '61' is outside 0-59"),
    (("a", "job.sh", NIGHTLY, "two\nlines", "ops"),
     "register: description: \"two\\nlines\" is not allowed (use one line of text)"),
    (("a", "job.sh", NIGHTLY, "what", " "), "register: owner: \" \" is not allowed (use one line of text)"),
    (("a", "job.sh", NIGHTLY, *WHO, "--depends-on", "bakcup"),
     "register 'a': dependencies: unknown task 'bakcup' (did you mean 'backup'?)"),
    (("a", "job.sh", NIGHTLY, *WHO, "--depends-on", "a"),
     "register 'a': dependencies: the task depends on itself (remove 'a' from its dependencies)"),
    (("a", "job.sh", NIGHTLY, *WHO, "--timeout", "0"),
     "register 'a': timeout: 0 is not allowed (use a number of seconds from 1 to 10 years)"),
    (("a", "job.sh", NIGHTLY, *WHO, "--retry-count", "-1"),
     "register 'a': retry_count: -1 is not allowed (use a whole number from 0 to 1000)"),
    (("a", "job.sh", NIGHTLY, *WHO, "--review-by", "soon"),
     "register 'a': review_by: \"soon\" is not allowed (use a date such as \"2026-12-31\")"),
    (("backup", "job.sh", NIGHTLY, *WHO),
     "register 'backup': name 'backup' is already used by config/conductor_config.json: tasks[0] 'backup' (names are "
     "unique over all files)"),
    (("a", "none.sh", NIGHTLY, *WHO), "none.sh: no such file or directory (paths are relative to the root)"),
    (("a", "config", NIGHTLY, *WHO), "config: is not a regular file (name the script itself)"),
]


@pytest.mark.parametrize("arguments, line", REFUSALS, ids=[line[:40] for _, line in REFUSALS])
def test_what_would_not_work_is_refused_in_one_line(empty, arguments, line):
    empty.configure(every_minute("backup"), timezone="UTC")
    assert refused(empty, "register", *arguments) == line


def test_a_cycle_with_tasks_of_other_files_is_refused(empty):
    empty.configure(every_minute("b", dependencies=["c"]), every_minute("c"))
    drop_in(empty, every_minute("waits", dependencies=["a"]), "waits.json")
    assert refused(empty, "register", "a", "job.sh", NIGHTLY, *WHO, "--depends-on", "waits") == (
        "register 'a': dependencies: the tasks wait for each other: waits -> a -> waits (remove one of these "
        "dependencies)")


def test_a_bad_task_elsewhere_does_not_keep_a_good_one_out(empty):
    empty.configure(every_minute("bad", schedule="61 * * * *"))
    code, out, _ = call(empty, "register", "a", "job.sh", NIGHTLY, *WHO, "--depends-on", "bad")
    assert code == 0
    assert "  warning: dependencies: 'bad' cannot run: schedule: minute '61' is outside 0-59" in out.splitlines()


def test_several_dependencies_are_taken_in_one_option_or_several(empty):
    empty.configure(*[every_minute(name) for name in "bcd"])
    assert call(empty, "register", "a", "job.sh", NIGHTLY, *WHO, "--depends-on", "b", "c", "--depends-on", "d")[0] == 0
    assert json.loads(empty.read("config/tasks.d/a.json"))["dependencies"] == ["b", "c", "d"]


def test_a_script_that_cannot_run_is_refused_with_the_chmod_that_mends_it(empty):
    path = shlex.quote(str(empty.root / "two words.sh"))
    script(empty, "two words.sh", mode=0o600)
    line = refused(empty, "register", "a", "two words.sh", NIGHTLY, *WHO)
    assert line == "two words.sh: is not executable by its owner (chmod u+x %s)" % path
    subprocess.check_call(line[line.index("(") + 1:-1], shell=True)
    assert call(empty, "register", "a", "two words.sh", NIGHTLY, *WHO)[0] == 0


@pytest.mark.parametrize("what", ["jobs/job.sh", "jobs"])
def test_a_script_that_others_can_change_is_refused(empty, what):
    script(empty, "jobs/job.sh")
    (empty.root / what).chmod(0o707)
    line = refused(empty, "register", "a", "jobs/job.sh", NIGHTLY, *WHO)
    assert line == "%s: others can write to it (chmod o-w %s)" % (what, empty.root / what)


@pytest.mark.parametrize("outside", ["../outside.sh", "link.sh", "away/outside.sh"])
def test_a_script_outside_the_root_is_refused_by_any_way(empty, outside):
    other = empty.root.parent / "outside.sh"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o700)
    (empty.root / "link.sh").symlink_to(str(other))
    (empty.root / "away").symlink_to(str(empty.root.parent))
    assert refused(empty, "register", "a", outside, NIGHTLY, *WHO) == "%s: is not under the root %s (move it there)" % (
        outside, empty.root)


def test_a_drop_in_that_is_there_is_never_overwritten(empty):
    drop_in(empty, [every_minute("other")], "a.json")
    for words in (("register", "a", "job.sh"), ("create", "a")):
        for dry in ((), ("--dry-run",)):
            assert refused(empty, *words + (NIGHTLY,) + WHO + dry) == (
                "config/tasks.d/a.json: already exists (choose another name)")


def test_publishing_never_replaces_a_file_that_came_meanwhile(empty):
    store = sc.Store(str(empty.root))
    drop_in(empty, "theirs", "a.json")
    with pytest.raises(am.RefusedError):
        am.publish(store, store.path("config/tasks.d/a.json"), b"ours", 0o600)
    assert empty.read("config/tasks.d/a.json") == "theirs"
    assert os.listdir(str(empty.root / "config/tasks.d")) == ["a.json"]


def test_without_hard_links_nothing_is_overwritten_either(empty, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(os, "link", no_links)
    store = sc.Store(str(empty.root))
    am.publish(store, store.path("config/tasks.d/a.json"), b"first", 0o600)
    with pytest.raises(am.RefusedError):
        am.publish(store, store.path("config/tasks.d/a.json"), b"second", 0o600)
    assert empty.read("config/tasks.d/a.json") == "first"
    assert os.listdir(str(empty.root / "config/tasks.d")) == ["a.json"]


def test_of_registers_of_one_name_at_once_exactly_one_wins(empty):
    running = [subprocess.Popen(command(empty, "register", "a", "job.sh", NIGHTLY, "number %d" % number, "ops"),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for number in range(6)]
    said = [process.communicate() for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0, 3, 3, 3, 3, 3]
    assert json.loads(empty.read("config/tasks.d/a.json"))["description"] == "number %d" % codes.index(0)
    assert all(err.count(b"\n") == 1 for (_, err), code in zip(said, codes) if code)


def test_while_another_holds_the_lock_nothing_is_changed(empty, monkeypatch):
    monkeypatch.setattr(am, "LOCK_WAIT_S", 0.0)
    store = sc.Store(str(empty.root))
    with am.changing(store):
        with pytest.raises(sc.BusyError):
            with am.changing(store):
                pass


def test_a_configuration_that_does_not_parse_stops_all_changes(empty):
    empty.write_config("{")
    code, out, err = call(empty, "register", "a", "job.sh", NIGHTLY, *WHO)
    assert (code, out) == (78, "") and "config/conductor_config.json: line 1 column 2: not valid JSON" in err


def test_a_schedule_that_is_legal_but_suspicious_is_registered_with_a_warning(empty):
    _, out, _ = call(empty, "register", "a", "job.sh", "*/60 * * * *", *WHO)
    assert out.splitlines()[3] == ("  warning: schedule: minute '*/60' steps past the end of the field; as cron reads "
                                   "it, the task runs every hour on the hour (write '0 * * * *')")


# -- create

def test_create_makes_a_script_that_fails_until_it_is_written_and_registers_it(empty):
    code, out, err = call(empty, "create", "tidy", "@hourly", "keeps {order}", "ops team")
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == ["created tidy: config/tasks.d/tidy.json", "  runs: every hour on the hour"]
    path = empty.root / "scripts" / "automations" / "tidy.sh"
    lines = path.read_text().splitlines()
    assert lines[:3] == ["#!/bin/sh", "# tidy: keeps {order}", "# Owner: ops team"]
    assert lines[3].startswith("# Created: 20") and lines[4] == "set -eu"
    assert (mode_of(path), mode_of(path.parent)) == (0o700, 0o700)
    assert os.listdir(str(path.parent)) == ["tidy.sh"]
    assert json.loads(empty.read("config/tasks.d/tidy.json"))["command"] == ["./scripts/automations/tidy.sh"]
    code, out, _ = empty.call("run", "--task", "tidy")
    assert (code, out) == (1, "tidy: not implemented yet\n")
    path.write_text(path.read_text().replace("exit 1\n", ""))
    assert empty.call("run", "--task", "tidy")[0] == 0
    assert refused(empty, "create", "tidy", "@hourly", *WHO).startswith("create 'tidy': name 'tidy' is already used")


def test_create_leaves_no_script_behind_when_it_is_refused(empty):
    assert "minute '61'" in refused(empty, "create", "a", "61 * * * *", *WHO)
    assert "name" in refused(empty, "create", "../../evil", NIGHTLY, *WHO)
    assert not (empty.root / "scripts").exists()


def test_create_never_overwrites_a_script(empty):
    script(empty, "scripts/automations/a.sh", "mine")
    assert refused(empty, "create", "a", NIGHTLY, *WHO) == (
        "scripts/automations/a.sh: already exists (register it, or choose another name)")


def test_create_takes_its_script_back_when_the_drop_in_cannot_be_written(empty, monkeypatch):
    write = sc.write_atomic

    def full(path, *args, **more):
        if "tasks.d" in path:
            raise sc.StorageError("disk full")
        write(path, *args, **more)
    monkeypatch.setattr(sc, "write_atomic", full)
    args = am.build_parser().parse_args(["create", "a", NIGHTLY, *WHO])
    with pytest.raises(sc.StorageError):
        am.cmd_create(sc.Store(str(empty.root)), args, 1e9)
    assert os.listdir(str(empty.root / "scripts" / "automations")) == []


# -- list

def test_list_shows_owners_schedules_states_and_overdue_reviews(empty):
    empty.configure(every_minute("main"))
    drop_in(empty, every_minute("a", owner="ops", review_by="2020-01-31", schedule=NIGHTLY), "a.json")
    drop_in(empty, [every_minute("b", enabled=False, owner="two\nlines"), every_minute("c", schedule="61 * * * *")],
            "more.json")
    code, out, err = call(empty, "list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "3 automations, 1 disabled, 1 invalid, 1 due for review",
        "NAME  STATE     OWNER      REVIEW              SCHEDULE",
        "a     idle      ops        2020-01-31 overdue  at 02:30 every day",
        "b     disabled  two lines  -                   every minute",
        "c     invalid   -          -                   schedule: minute '61' is outside 0-59"]
    document = json.loads(call(empty, "list", "--json")[1])
    assert [(each["name"], each["review_overdue"], each["file"]) for each in document] == [
        ("a", True, "config/tasks.d/a.json"), ("b", False, "config/tasks.d/more.json"),
        ("c", False, "config/tasks.d/more.json")]


def test_list_of_nothing_says_so(empty):
    assert call(empty, "list") == (0, "0 automations\n", "")


def test_a_review_is_overdue_from_the_day_after(empty):
    at = sc.from_iso("2026-03-02T12:00:00Z")
    assert [am.is_overdue(day, at) for day in ("", "2026-03-01", "2026-03-02", "2026-03-03")] == [
        False, True, False, False]


# -- disable, enable

def test_disable_and_enable_change_one_key_and_keep_the_others_in_order(empty):
    drop_in(empty, '{"owner": "é", "name": "job", "schedule": "@daily", "command": "true", "nice": 5}')
    assert call(empty, "disable", "job") == (0, "disabled job: config/tasks.d/job.json\n", "")
    text = empty.read("config/tasks.d/job.json")
    assert list(json.loads(text).items()) == [("owner", "é"), ("name", "job"), ("schedule", "@daily"),
                                              ("command", "true"), ("nice", 5), ("enabled", False)]
    assert "é" in text
    assert call(empty, "disable", "job") == (0, "job is already disabled\n", "")
    code, out, _ = call(empty, "enable", "job")
    assert code == 0 and out.startswith("enabled job: config/tasks.d/job.json\n  next start: ")
    assert json.loads(empty.read("config/tasks.d/job.json"))["enabled"] is True
    before = tree(empty)
    assert call(empty, "enable", "job") == (0, "job is already enabled\n", "")
    assert tree(empty) == before


def test_disabling_says_who_will_wait(empty):
    empty.configure(every_minute("after", dependencies=["job"]))
    drop_in(empty, every_minute("job"))
    assert call(empty, "disable", "job")[1].splitlines()[1:] == ["  warning: after will wait for it"]


COMMENTED = '{"name": "job", // why\n "command": "true", "schedule": "@daily"}'
NOT_OURS = [
    ("main", "config/conductor_config.json: 'main' is not a drop-in (edit that file)"),
    ("one", "config/tasks.d/list.json: contains other tasks besides 'one' (edit that file, or move 'one' to a "
            "file of its own)"),
    ("linked", "config/tasks.d/linked.json: is a symbolic link (edit the file that it points to)"),
    ("twice", "'twice' is defined in config/tasks.d/twice1.json and in config/tasks.d/twice2.json (remove all but "
              "one)"),
]


@pytest.mark.parametrize("verb", ["disable", "retire"])
@pytest.mark.parametrize("name, line", NOT_OURS)
def test_what_is_not_a_drop_in_of_its_own_is_left_to_its_owner(empty, verb, name, line):
    empty.configure(every_minute("main"))
    drop_in(empty, [every_minute("one"), every_minute("two")], "list.json")
    drop_in(empty, every_minute("twice"), "twice1.json")
    drop_in(empty, every_minute("twice"), "twice2.json")
    (empty.root / "target").write_text(json.dumps(every_minute("linked")))
    (empty.root / "target").chmod(0o600)
    (empty.root / "config" / "tasks.d" / "linked.json").symlink_to(str(empty.root / "target"))
    assert refused(empty, verb, name) == line


def test_comments_are_never_lost(empty):
    drop_in(empty, COMMENTED)
    assert refused(empty, "disable", "job") == (
        'config/tasks.d/job.json: contains // comments, which would be lost (set "enabled": false by hand)')
    drop_in(empty, {"name": "job", "command": "curl https://example.org//x", "schedule": "@daily"})
    assert call(empty, "disable", "job")[0] == 0


@pytest.mark.parametrize("verb", ["disable", "enable", "retire"])
def test_an_unknown_name_is_a_usage_error_with_a_suggestion(empty, verb):
    drop_in(empty, every_minute("backup"), "backup.json")
    assert call(empty, verb, "bakcup") == (
        2, "", "automation_manager: unknown automation 'bakcup' (did you mean 'backup'?)\n")


# -- retire

def test_retire_moves_the_drop_in_keeps_the_script_and_logs_the_reason(empty):
    call(empty, "register", "old", "job.sh", NIGHTLY, *WHO)
    text = empty.read("config/tasks.d/old.json")
    empty.call("run", "--task", "old")
    assert empty.health("old").startswith("success:")
    code, out, err = call(empty, "retire", "old", "--reason", "nobody needs it")
    assert (code, err) == (0, "")
    retired = list((empty.root / "config" / "tasks.d" / "retired").iterdir())
    assert len(retired) == 1 and retired[0].read_text() == text
    assert re.match(r"old-\d{8}T\d{6}Z\.json\Z", retired[0].name)
    assert out.splitlines()[0] == "retired old: config/tasks.d/retired/" + retired[0].name
    assert not (empty.root / "config" / "tasks.d" / "old.json").exists() and (empty.root / "job.sh").exists()
    assert not (empty.root / "status" / "automation_health" / "old.health").exists()
    assert sc.Store(str(empty.root)).read_config().tasks == {}
    assert " old: retired by hand: nobody needs it\n" in empty.read("logs/symphony_conductor.log")
    back = out.splitlines()[1].partition("to undo: ")[2]
    subprocess.check_call(back, shell=True, cwd=str(empty.root))
    assert list(sc.Store(str(empty.root)).read_config().tasks) == ["old"]


def test_retire_refuses_while_others_depend_on_it_sound_or_not(empty):
    empty.configure(every_minute("b", dependencies=["old"]),
                    every_minute("c", dependencies=["old"], schedule="61 * * * *"))
    drop_in(empty, every_minute("old"), "old.json")
    assert refused(empty, "retire", "old") == "'old' is a dependency of b, c (change those first)"


def test_an_automation_that_the_configuration_gets_wrong_can_be_retired(empty):
    drop_in(empty, every_minute("old", dependencies=["old"], colour="red"), "old.json")
    assert call(empty, "disable", "old")[0] == 78
    assert call(empty, "retire", "old")[0] == 0


def test_retire_never_overwrites_what_was_retired_before(empty):
    args = am.build_parser().parse_args(["retire", "old"])
    store = sc.Store(str(empty.root))
    drop_in(empty, every_minute("old", nice=1), "old.json")
    am.cmd_retire(store, args, 1e9)
    drop_in(empty, every_minute("old", nice=2), "old.json")
    with pytest.raises(am.RefusedError):
        am.cmd_retire(store, args, 1e9)
    assert json.loads(empty.read("config/tasks.d/old.json"))["nice"] == 2
    assert json.loads(empty.read("config/tasks.d/retired/old-20010909T014640Z.json"))["nice"] == 1


# -- health: the rules, for a task at the full hour whose ticks come

def at(text):
    return sc.from_iso("2026-03-02T%sZ" % text)


def task(**more):
    fields = {"name": "t", "schedule": sc.CronSchedule("0 * * * *"), "timezone": "UTC", "timeout": 590,
              "kill_grace": 10, "retry_count": 1}
    return sc.Task(**dict(fields, **more))


def memory(**more):
    """What the conductor remembers; a slot that is open is decided."""
    decided = at("11:00:00" if "cycle" in more else "10:00:00")
    return sc.TaskState(**dict({"schedule_key": "0 * * * * UTC", "cursor": decided, "last": SUCCEEDED,
                                "next_slot": decided + 3600}, **more))


def cycle(phase, slot="11:00:00", **more):
    return sc.Cycle(slot=at(slot), phase=phase, since=at(slot), **more)


def result(status, code, ended="11:00:05"):
    return {"status": status, "exit_code": code, "ended_at": "2026-03-02T%sZ" % ended, "trigger": "schedule"}


OK_10 = "success:2026-03-02T10:00:05Z:0\n"
FAILED_11 = "failed:2026-03-02T11:00:05Z:3\n"
SUCCEEDED = result("success", 0, "10:00:05")
FAILED = {"last": result("failed", 3), "consecutive_failures": 1, "failing_since": float(at("11:00:05"))}
ONE_ATTEMPT = [result("failed", 3)]
RETRYING = {"last": result("failed", 3), "cycle": cycle("retrying", attempts=ONE_ATTEMPT, attempt=2)}
FIRST = sc.Run(run_id="r", slot=at("11:00:00"), started_at=float(at("11:00:00")))
REBOOT = {"schedule": sc.CronSchedule("@reboot")}

JUDGEMENTS = [
    # what is special, task, health file, memory, now, state, part of the reason, codes of findings
    ("before the next slot", {}, OK_10, memory(), "10:59:59", "up", "success 59m ago", []),
    ("a tick that is a little late", {}, OK_10, memory(), "11:03:00", "up", "success", []),
    ("a slot that no tick started", {}, OK_10, memory(), "11:03:01", "down", "success 1h 2m ago", ["overdue"]),
    ("its run is going", {}, OK_10, memory(cycle=cycle("running"), run=FIRST), "11:00:30", "up", "; running", []),
    ("it is queued", {}, OK_10, memory(cycle=cycle("queued")), "11:10:00", "up", "; queued", []),
    ("it is queued for longer than a run takes", {}, OK_10, memory(cycle=cycle("queued")), "12:30:00", "down",
     "; queued", ["overdue"]),
    ("failed for good", {}, FAILED_11, memory(**FAILED), "11:01:00", "down", "failed (exit 3) 55s ago", ["failing"]),
    ("failed, to be retried", {}, FAILED_11, memory(**RETRYING), "11:01:00", "late",
     "failed (exit 3) 55s ago; retrying", ["retrying"]),
    ("failed before, and to be retried now", {}, FAILED_11, memory(**dict(FAILED, **RETRYING)), "11:01:00", "down",
     "failed", ["failing"]),
    ("a start that was lost", {}, OK_10, memory(cycle=cycle("queued", lost_starts=1)), "11:01:00", "late", "success",
     ["not-started"]),
    ("failed, and the state was lost", {}, FAILED_11, None, "11:01:00", "down", "was lost", ["health-failed"]),
    ("timed out, and the state was lost", {}, "timeout:2026-03-02T11:00:05Z:124", None, "11:01:00", "down",
     "timeout (exit 124)", ["health-failed"]),
    ("skipped, and the state was lost", {}, "skipped:2026-03-02T11:00:00Z:75\n", None, "11:09:00", "up",
     "skipped 9m ago", []),
    ("success with an exit code", {}, "success:2026-03-02T10:00:05Z:4", memory(), "10:10:00", "down",
     "contradicts exit code 4", ["health-contradictory"]),
    ("failed with 0", {}, "failed:2026-03-02T10:00:05Z:0", memory(), "10:10:00", "down", "contradicts exit code 0",
     ["health-contradictory"]),
    ("from the future", {}, OK_10, memory(), "09:57:04", "unknown", "dated in the future: 2026-03-02T10:00:05Z",
     ["health-future"]),
    ("a clock a little ahead", {}, OK_10, memory(), "09:57:05", "up", "success 0s ago", []),
    ("empty", {}, "", memory(), "10:10:00", "unknown", "malformed health file: status ''", ["health-malformed"]),
    ("an odd word", {}, "great:2026-03-02T10:00:05Z:0", memory(), "10:10:00", "unknown", "'great'",
     ["health-malformed"]),
    ("no time", {}, "success:yesterday:0", memory(), "10:10:00", "unknown", "'yesterday'", ["health-malformed"]),
    ("no such day", {}, "success:2026-02-30T10:00:00Z:0", memory(), "10:10:00", "unknown", "malformed",
     ["health-malformed"]),
    ("no exit code", {}, "success:2026-03-02T10:00:05Z:", memory(), "10:10:00", "unknown", "exit code ''",
     ["health-malformed"]),
    ("cut short", {}, "success:2026-03-02T10:00:05Z", memory(), "10:10:00", "unknown", "malformed",
     ["health-malformed"]),
    ("failed, and malformed", {}, "", memory(**FAILED), "11:01:00", "down", "malformed",
     ["failing", "health-malformed"]),
    ("to be retried, and malformed", {}, "", memory(**RETRYING), "11:01:00", "late", "malformed",
     ["retrying", "health-malformed"]),
    ("never ran", {}, None, memory(last={}), "10:59:00", "new", "never ran", []),
    ("never ran, no state", {}, None, None, "10:59:00", "new", "never ran", []),
    ("its first run is going", {}, None, memory(last={}, cycle=cycle("running"), run=FIRST), "11:00:30", "new",
     "never ran; running", []),
    ("ran, and the file is gone", {}, None, memory(), "10:10:00", "unknown", "missing, although", ["health-missing"]),
    ("was skipped, and the file is gone", {}, None, memory(last={}, skipped={"status": "skipped_late"}), "10:10:00",
     "unknown", "missing, although", ["health-missing"]),
    ("disabled", {"enabled": False}, "", memory(**FAILED), "11:01:00", "disabled", "", []),
    ("disabled, with a process that cannot be killed", {"enabled": False}, OK_10,
     memory(run=FIRST.replace(unended="still has process 7")), "11:01:00", "down", "running", ["unended"]),
    ("at boot, long ago", REBOOT, "success:2020-03-02T10:00:05Z:0", memory(), "10:10:00", "up", "", []),
]


@pytest.mark.parametrize("special, fields, text, state, now, health, reason, codes", JUDGEMENTS,
                         ids=[row[0] for row in JUDGEMENTS])
def test_what_is_said_of_a_task_agrees_with_the_findings(special, fields, text, state, now, health, reason, codes):
    config = sc.Config(tasks={"t": task(**fields)})
    table, findings = am.judge(config, sc.State(tasks={"t": state} if state else {}),
                               sc.Machine(now=at(now), last_tick=at(now)), lambda name: text)
    row, = table
    assert (row.name, row.state) == ("t", health), row.reason
    assert reason in row.reason
    assert [finding.code for finding in findings] == codes and {finding.task for finding in findings} <= {"t"}
    severities = {finding.severity for finding in findings}
    assert ("problem" in severities) == (row.state == "down")
    assert ("warning" in severities) <= (row.state in ("down", "late", "unknown"))


def test_a_task_that_another_one_blocks_is_late_and_says_whom_it_waits_for():
    config = sc.Config(tasks={"t": task(), "after": task(name="after", dependencies=("t",))})
    state = sc.State(tasks={"t": memory(**FAILED),
                            "after": memory(cycle=cycle("waiting", waiting_for="t"), last={})})
    table, findings = am.judge(config, state, sc.Machine(now=at("11:30:00"), last_tick=at("11:30:00")),
                               {"t": FAILED_11}.get)
    assert [(health.name, health.state, health.reason) for health in table] == [
        ("t", "down", "failed (exit 3) 29m ago"), ("after", "late", "never ran; waiting; 't' blocks it")]
    assert am.verdict(table, findings) == "CRITICAL - 1 of 2 down: t; 1 of 2 late: after"


def judged(**states):
    return [am.Health(name=name, state=state) for name, state in states.items()]


def found(*codes, **more):
    return [sc.Finding(**dict({"code": code, "text": code + " it is"}, **more)) for code in codes]


LONG = {"automation_number_%d" % number: "down" for number in range(9)}


@pytest.mark.parametrize("table, findings, line", [
    ([], [], "OK - 0 automations"),
    (judged(a="up"), found("paused", "line-not-seen"), "OK - 1 automation: 1 up"),
    (judged(a="up", b="new", c="up", d="disabled"), [], "OK - 4 automations: 2 up, 1 new, 1 disabled"),
    (judged(a="up", b="late", c="unknown", d="late"), found("retrying", task="b"),
     "WARNING - 2 of 4 late: b, d; 1 of 4 unknown: c"),
    (judged(a="up", b="down", c="late"), found("failing", task="b"),
     "CRITICAL - 1 of 3 down: b; 1 of 3 late: c"),
    (judged(**LONG), found("failing", task="automation_number_0"),
     "CRITICAL - 9 of 9 down: automation_number_0, automation_number_1, automation..."),
    (judged(a="up", b="late"), found("disk-full", "ticks-late"),
     "CRITICAL - disk-full it is; 1 of 2 late: b; ticks-late it is"),
    (judged(a="up"), found("not-called", "unreadable"), "CRITICAL - unreadable it is; not-called it is"),
    (judged(a="up"), found("ticks-late", "unreadable"), "UNKNOWN - unreadable it is; ticks-late it is"),
    (judged(a="up"), found("ticks-late"), "WARNING - ticks-late it is"),
])
def test_the_verdict_is_one_short_line(table, findings, line):
    assert am.verdict(table, findings) == line and len(line) < 80


# -- health: the command

def iso_ago(seconds):
    return sc.iso(time.time() - seconds)


def ticked(project):
    """Let it look as if a tick had come just now, so that nothing but the tasks is judged."""
    (project.root / "status").mkdir(mode=0o700, exist_ok=True)
    (project.root / "status" / "heartbeat").write_text("")


def rows_of(out):
    """The verdict, and the table without the notice about a crontab that the tests do not touch."""
    lines = out.splitlines()
    return lines[:1] + [line for line in lines[1:]
                        if not line.startswith(("  - ", "  ! ", "      ", "    "))]


def test_health_is_ok_after_real_ticks(empty):
    drop_in(empty, due_once("a"))
    empty.anchor()
    empty.tick()
    empty.wait_for_idle()
    code, out, err = call(empty, "health")
    assert (code, out.splitlines()[0], err) == (0, "OK - 1 automation: 1 up", "")


def test_health_covers_the_main_file_and_the_drop_ins_and_names_what_is_down(empty):
    empty.configure(every_minute("main", schedule="0 0 1 1 *"), every_minute("odd", schedule="61 * * * *"))
    drop_in(empty, every_minute("job", review_by="2020-01-31", owner="ops", schedule="0 0 1 1 *"))
    ticked(empty)
    health(empty, "main", "success:%s:0\n" % iso_ago(60))
    health(empty, "job", "failed:%s:3\n" % iso_ago(65))
    code, out, err = call(empty, "health", "--strict")
    assert (code, err) == (2, "")
    assert rows_of(out) == [
        "CRITICAL - 2 of 3 down: job, odd",
        "  main  up    success 1m ago",
        "  job   down  failed (exit 3) 1m ago; the conductor's state, which was lost, has no such run",
        "  odd   down  invalid: schedule: minute '61' is outside 0-59",
        "  review overdue: job, 2020-01-31 (ops)"]
    document = json.loads(call(empty, "health", "--json")[1])
    assert sorted(document) == ["automations", "findings", "level", "notes", "now", "verdict"]
    assert (document["verdict"], document["level"]) == ("CRITICAL - 2 of 3 down: job, odd", "CRITICAL")
    assert [(row["name"], row["state"], row["review_overdue"]) for row in document["automations"]] == [
        ("main", "up", False), ("job", "down", True), ("odd", "down", False)]
    assert {(finding["code"], finding["severity"], finding["task"]) for finding in document["findings"]} == {
        ("configuration", "problem", "odd"), ("health-failed", "problem", "job"), ("line-not-seen", "notice", None)}


def test_an_entry_that_is_no_task_is_down_under_its_place(empty):
    drop_in(empty, ["no task"])
    assert call(empty, "health")[1].startswith("CRITICAL - 1 of 1 down: config/tasks.d/job.json: [0]; ")


def test_a_warning_exits_1_only_when_asked_to_be_strict(empty):
    empty.configure(every_minute("a", schedule="0 0 1 1 *"))
    ticked(empty)
    health(empty, "a", "nonsense")
    code, out, err = call(empty, "health")
    assert (code, rows_of(out), err) == (0, [
        "WARNING - 1 of 1 unknown: a", "  a  unknown  malformed health file: status 'nonsense' is not one of success, "
        "failed, timeout, interrupted, stopped, skipped"], "")
    assert call(empty, "health", "--strict")[0] == 1


def test_an_overdue_review_alone_judges_nothing(empty):
    drop_in(empty, every_minute("job", review_by="2020-01-31", schedule="0 0 1 1 *"))
    ticked(empty)
    code, out, _ = call(empty, "health", "--strict")
    assert code == 0 and out.startswith("OK - 1 automation: 1 new\n")


def test_a_health_file_that_cannot_be_read_is_unknown(empty):
    empty.configure(every_minute("a", schedule="0 0 1 1 *"))
    ticked(empty)
    (empty.root / "status" / "automation_health" / "a.health").mkdir(parents=True)
    assert call(empty, "health")[1].splitlines()[0] == "WARNING - 1 of 1 unknown: a"


@pytest.mark.parametrize("text", ["{", '{"tasks": 5}', None])
def test_a_configuration_that_cannot_be_used_is_critical(empty, text):
    if text is None:
        (empty.root / "config" / "conductor_config.json").unlink()
    else:
        empty.write_config(text)
    ticked(empty)
    code, out, err = call(empty, "health")
    assert (code, err) == (2, "")
    assert out.startswith("CRITICAL - there is no usable configuration, so nothing runs: config/conduct...\n")


def test_health_exits_3_where_something_cannot_be_read(empty):
    (empty.root / "status").mkdir()
    (empty.root / "status" / "heartbeat").symlink_to("heartbeat")
    code, out, err = call(empty, "health")
    assert (code, err) == (3, "")
    assert out.startswith("UNKNOWN - ") and len(out.splitlines()[0]) < 80
    assert json.loads(call(empty, "health", "--json")[1])["level"] == "UNKNOWN"


def test_a_check_does_not_find_itself_unhealthy(empty):
    empty.configure(every_minute("check", schedule="0 0 1 1 *"), every_minute("other", schedule="0 0 1 1 *"))
    ticked(empty)
    health(empty, "check", "failed:%s:2\n" % iso_ago(60))
    health(empty, "other", "success:%s:0\n" % iso_ago(60))
    assert call(empty, "health")[0] == 2
    code, out, _ = call(empty, "health", SYMPHONY_TASK="check")
    assert (code, rows_of(out)) == (
        0, ["OK - 2 automations: 2 up", "  check  up  is running this check", "  other  up  success 1m ago"])
    assert call(empty, "health", SYMPHONY_TASK="check", SYMPHONY_ROOT="/elsewhere")[0] == 2


def test_as_a_task_it_shows_failed_tasks_and_fails_for_all_else(empty):
    empty.configure(every_minute("check", schedule="0 0 1 1 *"), every_minute("other", schedule="0 0 1 1 *"))
    ticked(empty)
    health(empty, "other", "failed:%s:2\n" % iso_ago(60))
    code, out, _ = call(empty, "health", SYMPHONY_TASK="check")
    assert code == 0 and out.startswith("CRITICAL - 1 of 2 down: other\n")
    assert out.endswith("\n  ! exits as for OK: the conductor itself reports failed tasks\n")
    (empty.root / "status" / "heartbeat").unlink()
    assert call(empty, "health", SYMPHONY_TASK="check")[0] == 2


def test_health_writes_nothing(empty):
    drop_in(empty, every_minute("job"))
    before = sorted(str(path) for path in empty.root.rglob("*"))
    call(empty, "health")
    assert sorted(str(path) for path in empty.root.rglob("*")) == before


def test_a_task_enabled_again_after_a_long_rest_is_not_down(empty):
    drop_in(empty, every_minute("job", schedule="0 * * * *", timeout=1, retry_count=0))
    health(empty, "job", "success:%s:0\n" % iso_ago(30 * sc.DAY))
    call(empty, "disable", "job")
    empty.tick()
    assert call(empty, "health")[1].startswith("OK - 1 automation: 1 disabled")
    call(empty, "enable", "job")
    empty.tick()
    assert call(empty, "health")[1].startswith("OK - 1 automation: 1 up")


# -- the command line

@pytest.mark.parametrize("verb", ["register", "create", "list", "health", "disable", "enable", "retire"])
def test_every_command_has_help(verb, capsys):
    with pytest.raises(SystemExit) as left:
        am.build_parser().parse_args([verb, "--help"])
    assert left.value.code == 0 and " %s [-h] [--root DIR]" % verb in capsys.readouterr().out


def test_the_root_may_stand_before_or_behind_the_command(empty):
    other = Project(empty.root.parent / "other")
    assert call(other, "list")[0] == 78
    assert call(other, "list", "--root", str(empty.root)) == (0, "0 automations\n", "")
    assert call(empty)[0] == 2


def test_a_root_that_is_no_folder_is_a_usage_error(empty):
    assert call(empty, "list", "--root", "/nonexistent") == (
        2, "", "automation_manager: --root: /nonexistent is not a folder\n")


def test_a_folder_that_others_can_write_to_is_refused(empty):
    drop_in(empty, every_minute("job"))
    (empty.root / "config" / "tasks.d").chmod(0o777)
    code, _, err = call(empty, "disable", "job")
    assert code == 78 and "config/tasks.d: others can write to it (chmod " in err
