"""Bad files of every kind: one clear line, the right exit code, never a traceback, nothing lost."""

import json
import os
import pathlib
import re
import resource
import subprocess
import time

import pytest
from support import Project, due_once, every_minute, is_alive

import symphony_conductor as sc

ROOT = os.geteuid() == 0


def as_file(data):
    def write(path):
        path.write_bytes(data)
        path.chmod(0o600)
    return write


def as_folder(path):
    if path.exists():
        path.unlink()
    path.mkdir()


def as_unreadable(path):
    path.chmod(0)


def as_dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere")


KINDS = [
    ("empty", as_file(b"")), ("truncated", None), ("zeros", as_file(b"\0" * 512)), ("a folder", as_folder),
    ("unreadable", as_unreadable), ("binary", as_file(b"\xff\xfe\x00\x80")), ("null", as_file(b"null")),
    ("a list", as_file(b"[]")), ("a number", as_file(b"1e999")), ("deep", as_file(b"[" * 100000)),
    ("a dangling link", as_dangling_link),
]


def damage(path, kind):
    make = dict(KINDS)[kind]
    if make is None:
        data = path.read_bytes()
        make = as_file(data[:len(data) // 2])
    make(path)


def no_traceback(*texts):
    for text in texts:
        assert "Traceback" not in text and "internal error" not in text, text


# -- the state

@pytest.mark.parametrize("kind", [name for name, _ in KINDS])
def test_an_unusable_state_gives_way_to_the_copy_before_it(project, kind):
    if kind == "unreadable":
        pytest.skip("what cannot be read proves no damage: test_cannot_tell.py")
    project.configure(every_minute("a", "echo ran >> out", schedule="0 0 1 1 *"),
                      every_minute("b", schedule="0 0 2 1 *"))
    project.anchor(ago=3600)
    assert project.call("run", "--task", "b")[0] == 0
    assert project.call("run", "--task", "a")[0] == 0
    successes = project.state()["tasks"]["b"]["success_seq"]
    damage(project.root / "conductor_state.json", kind)
    code, out, err = project.call("status")
    assert code == 0
    assert [problem for problem in json.loads(out)["problems"] if "conductor_state.json" in problem]
    no_traceback(out, err)
    code, out, err = project.call("tick")
    assert code == 0 and out == ""
    no_traceback(err)
    assert len(err.splitlines()) == 3
    assert "cannot be used" in err and "is used instead" in err and "set aside" in err
    assert project.state()["tasks"]["b"]["success_seq"] == successes
    assert [path.name for path in project.root.iterdir() if ".json.bad-" in path.name]
    assert "cannot be used" in project.read("logs/symphony_conductor.log")
    assert project.lines("out") == ["ran"]
    assert project.call("tick") == (0, "", "")


@pytest.mark.parametrize("kind", ["empty", "zeros", "a folder"])
def test_with_both_copies_unusable_every_schedule_starts_anew_and_nothing_is_rerun(project, kind):
    project.configure(every_minute("a", "echo ran >> out"))
    project.anchor(ago=600)
    project.call("run", "--task", "a")
    damage(project.root / "conductor_state.json", kind)
    damage(project.root / "conductor_state.json.bak", kind)
    code, out, err = project.call("tick")
    assert code == 0 and out == ""
    assert "every schedule starts anew from now" in err
    assert project.lines("out") == ["ran"]
    assert project.state()["tasks"]["a"]["cursor"] > time.time() - 60


VERDICT = {"task": "a", "run_id": None, "scheduled_for": None, "status": "skipped_late", "exit_code": None,
           "ended_at": "2025-06-02T10:00:00Z"}
MESSAGE = {"event": "failed", "channel": "notify", "at": "2025-06-02T10:00:00Z", "id": "20250602T100000Z-1"}


def test_a_state_of_the_wrong_shape_is_refused_field_by_field():
    good = {"tasks": {"a": {"cursor": 1, "cycle": {"slot": 1}, "run": {"run_id": "x"}}}, "seq": 1}
    assert sc.load_state(json.dumps(good)).tasks["a"].cycle.slot == 1
    wrong = [
        {"seq": "1"}, {"seq": True}, {"tasks": []}, {"last_now": None}, {"pending": {}},
        {"tasks": {"a": []}}, {"tasks": {"a": {"cursor": "1"}}}, {"tasks": {"a": {"cursor": 1.5}}},
        {"tasks": {"a": {"cycle": []}}}, {"tasks": {"a": {"cycle": {"slot": None}}}},
        {"tasks": {"a": {"run": {"attempt": "2"}}}}, {"tasks": {"a": {"consumed": []}}},
        {"tasks": {"a": {"last": "x"}}}, {"tasks": {"a": {"next_slot": "soon"}}},
        {"tasks": {"a": {"skipped": {"dependency": "b"}}}}, {"pending": [dict(VERDICT, task="../../evil")]},
        {"pending": [{key: value for key, value in VERDICT.items() if key != "run_id"}]},
        {"pending": [dict(VERDICT, status=7)]}, {"pending": [dict(MESSAGE, id="../x")]},
        {"pending": [{key: value for key, value in MESSAGE.items() if key != "id"}]},
    ]
    assert sc.load_state(json.dumps(dict(good, pending=[VERDICT, MESSAGE, {"event": "gap", "at": "x"}])))
    for document in wrong:
        with pytest.raises(ValueError):
            sc.load_state(json.dumps(document))


def test_a_slot_that_started_is_not_started_again_when_only_the_copy_before_is_left(project):
    project.configure(every_minute("a", "echo ran >> out", schedule="0 0 * * *"))
    midnight = sc.CronSchedule("0 0 * * *").previous(time.time())
    project.tick(midnight - 60)
    project.tick(midnight + 1)
    assert project.wait_until(lambda: project.lines("out"))
    project.wait_for_idle()
    backup = json.loads(project.read("conductor_state.json.bak"))
    backup["tasks"]["a"].pop("cycle", None)
    backup["tasks"]["a"].pop("run", None)
    backup["tasks"]["a"].update(cursor=midnight - 86400, next_slot=midnight)
    (project.root / "conductor_state.json.bak").write_text(json.dumps(backup))
    (project.root / "conductor_state.json").write_text("")
    project.tick()
    project.tick()
    project.wait_for_idle()  # a run that had started would be in the state until its end
    assert project.lines("out") == ["ran"]
    assert project.state()["tasks"]["a"]["cursor"] == midnight


def test_the_copy_before_is_still_there_when_the_mending_fails(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.anchor(ago=3600)
    assert project.call("run", "--task", "a")[0] == 0
    assert project.call("run", "--task", "a")[0] == 0
    (project.root / "conductor_state.json").write_text("")
    assert project.call("tick", preexec_fn=full_disk)[0] == 74
    assert project.call("tick")[0] == 0
    assert project.state()["tasks"]["a"]["success_seq"] >= 1


def test_fields_that_a_later_version_added_are_kept(project):
    text = '{"seq": 3, "news": 1, "tasks": {"a": {"cursor": 5, "mood": "good", "run": {"run_id": "x", "lane": 7}}}}'
    state = sc.load_state(text)
    assert state.tasks["a"].cursor == 5
    state = state.replace(tasks={"a": state.tasks["a"].replace(cursor=6)})
    assert json.loads(sc.dump_state(state).decode()) == {
        "version": 1, "by": sc.__version__, "seq": 3, "news": 1,
        "tasks": {"a": {"cursor": 6, "mood": "good", "run": {"run_id": "x", "lane": 7}}}}


def test_a_field_that_was_renamed_keeps_its_key_so_that_older_versions_read_it():
    text = sc.dump_state(sc.State(messages_made=3)).decode()
    assert json.loads(text) == {"version": 1, "by": sc.__version__, "told": 3}
    assert sc.load_state(text) == sc.State(messages_made=3)


@pytest.mark.parametrize("document", [{"by": "9.0.0"}, {"by": "9.0.0", "tasks": [], "seq": "many"}])
def test_a_state_in_a_later_form_is_refused_and_left_alone(project, document):
    project.configure(every_minute("a"))
    project.tick()
    later = dict(project.state(), version=sc.STATE_VERSION + 1, **document)
    (project.root / "conductor_state.json").write_text(json.dumps(later))
    for command in (["tick"], ["status"], ["run", "--task", "a"], ["pause", "a"]):
        code, _, err = project.call(*command)
        assert (code, err) == (78, "symphony_conductor: conductor_state.json was written by 9.0.0; this is %s (use the "
                                   "newer symphony_conductor.py again; nothing was changed)\n" % sc.__version__)
    assert project.state() == later
    assert not [path.name for path in project.root.iterdir() if ".json.bad-" in path.name]


@pytest.mark.parametrize("field", [
    {"pending": [1]}, {"pending": [{}]}, {"pending": [{"status": "x", "ended_at": "soon", "exit_code": 0}]},
    {"last_now": 1e300}, {"tasks": {"a": {"cursor": 10 ** 30}}}, {"tasks": {"a": {"last": {"status": "failed"}}}},
    {"tasks": {"a": {"cycle": {"attempts": [3]}}}}, {"tasks": {"a": {"consumed": {"b": "1"}}}},
])
def test_a_state_that_parses_but_means_nothing_gives_way_to_the_copy(project, field):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.anchor(ago=3600)
    assert project.call("run", "--task", "a")[0] == 0
    (project.root / "conductor_state.json").write_text(json.dumps(field))
    assert project.call("status")[0] == 0
    code, _, err = project.call("tick")
    assert code == 0 and "is used instead" in err


# -- the configuration

def test_a_pipe_in_the_place_of_a_file_hangs_nothing(project):
    project.configure(every_minute("a"))
    (project.root / "config" / "tasks.d").mkdir(mode=0o700)
    os.mkfifo(str(project.root / "config" / "tasks.d" / "x.json"), 0o600)
    code, _, err = project.call("tick")
    assert code == 78 and "config/tasks.d/x.json: is not a regular file" in err


@pytest.mark.parametrize("task", [
    '{"name": "a", "command": "true", "schedule": "%s * * * *"}' % ("9" * 5000),
    '{"name": "a", "command": "true", "schedule": "*/%s * * * *"}' % ("9" * 5000),
    '{"name": "a", "command": "true", "\\ud801": 1}',
])
def test_monstrous_values_are_problems_and_no_defects(project, task):
    project.write_config('{"tasks": [%s, {"name": "ok", "command": "true"}]}' % task)
    for command in (["tick"], ["check"]):
        code, out, err = project.call(*command)
        assert code == 78
        no_traceback(out, err)
    assert project.call("run", "--task", "ok")[0] == 0


@pytest.mark.parametrize("kind", [name for name, _ in KINDS])
def test_an_unusable_configuration_is_one_line_and_the_last_good_one_goes_on(project, kind):
    if kind == "unreadable" and ROOT:
        pytest.skip("root reads everything")
    project.configure(due_once("a", "echo ran >> out"))
    project.anchor()
    damage(project.root / "config" / "conductor_config.json", kind)
    code, out, err = project.call("tick")
    assert (code, out) == (78, "")
    no_traceback(err)
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith("symphony_conductor: config/conductor_config.json")
    assert lines[1] == "symphony_conductor: the last valid configuration stays in force"
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]
    project.wait_for_idle()
    code, out, err = project.call("tick")
    assert (code, out, err) == (78, "", ""), "said once per version of the file"
    log = project.read("logs/symphony_conductor.log")
    assert log.count("config/conductor_config.json") == 1
    document = json.loads(project.call("status")[1])
    assert document["problems"][0].startswith(
        "changes are ignored and the last valid configuration is in force: config/conductor_config.json")
    assert document["findings"][0]["code"] == "configuration-broken" and not document["healthy"]
    code, _, err = project.call("check")
    assert code == 78 and err.startswith("config/conductor_config.json")
    for command in (["next"], ["run", "--task", "a"]):
        code, out, err = project.call(*command)
        assert (code, out) == (78, "")
        assert len(err.splitlines()) == 1


def test_a_missing_configuration_is_said_and_nothing_runs(project):
    code, out, err = project.call("tick")
    assert (code, out) == (78, "")
    assert err.splitlines() == [
        "symphony_conductor: config/conductor_config.json: no such file (to create one: "
        "%s --root %s init)" % (sc.__file__, project.root),
        "symphony_conductor: nothing will be scheduled until this is fixed"]
    assert project.call("tick") == (78, "", "")
    project.configure(every_minute("a"))
    assert project.call("tick")[0] == 0


def test_a_mended_configuration_is_good_again(project):
    project.configure(every_minute("a"))
    project.tick()
    project.write_config("{")
    assert project.call("tick")[0] == 78
    project.configure(every_minute("a"))
    assert project.call("tick") == (0, "", "")
    assert "the configuration is valid again" in project.read("logs/symphony_conductor.log")


def test_a_bad_task_stops_alone_and_the_tick_says_so_once(project):
    project.configure(every_minute("good", "echo ran >> out"), every_minute("bad", dependancies=["good"]))
    project.anchor()
    code, _, err = project.call("tick")
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]
    assert code == 78 and err == ""  # said when it was first seen, two minutes ago
    states = {task["name"]: task["state"] for task in json.loads(project.call("status")[1])["tasks"]}
    assert states["bad"] == "invalid"
    code, _, err = project.call("check")
    assert code == 78
    assert "tasks[1] 'bad': unknown key 'dependancies' (did you mean 'dependencies'?)" in err


def test_a_start_that_fails_makes_no_second_news_of_a_bad_configuration(project):
    def fail(store, verb, spec, lock):
        lock.release()
        raise OSError(11, "Resource temporarily unavailable")

    project.configure(due_once("good"))
    project.anchor()
    project.configure(due_once("good"), every_minute("bad", dependancies=["good"]))
    told = [sc.Conductor(sc.Store(str(project.root)), launch=fail).tick().lines for _ in range(2)]
    assert ["dependancies" in " ".join(lines) for lines in told] == [True, False]
    assert ["temporarily unavailable" in " ".join(lines) for lines in told] == [True, True]


WRONG = [None, True, 5, -5, 1.5, 1e999, "", "x", "\0", "\ud800", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("field", sorted(set(sc.TASK_RULES) | set(sc.SETTING_RULES)))
def test_a_wrong_type_in_any_field_is_no_traceback_in_any_command(project, field):
    for value in WRONG:
        documents = []
        if field in sc.TASK_RULES:
            documents.append({"tasks": [every_minute("ok"), dict(every_minute("job"), **{field: value})]})
        if field in sc.SETTING_RULES:
            documents.append({"tasks": [every_minute("ok")], "settings": {field: value}})
        for document in documents:
            try:
                config = sc.build_config([("c.json", json.loads(json.dumps(document)))])
                assert "ok" in config.tasks
                problems = config.problems
            except sc.ConfigError as error:
                problems = error.problems
            for problem in problems:
                assert problem.place.startswith("c.json: ") and problem.text and problem.hint
                assert field in str(problem) or "name" in field


def test_every_problem_is_reported_together(project):
    project.write_config("""{
      "tasks": [
        {"name": "a", "command": "true", "schedule": "61 * * * *", "timeout": "long"},
        {"name": "b", "schedule": "* * * * *", "dependencies": ["c"]},
        {"name": "b c", "command": "true"}
      ],
      "settings": {"max_concurrent_tasks": 0}
    }""")
    code, out, err = project.call("check")
    assert code == 78
    assert err.count("config/conductor_config.json: ") == 6 and "settings: max_concurrent_tasks: 0" in err
    assert "tasks[0] 'a': schedule: minute '61' is outside 0-59" in err
    assert "tasks[1] 'b': dependencies: unknown task 'c'" in err
    assert "tasks[0] 'a': timeout: \"long\" is not allowed (use a number of seconds from 1 to 10 years)" in err
    assert "tasks[1] 'b': command is missing" in err
    assert "tasks[2]: name: \"b c\" is not allowed" in err


# -- permissions

@pytest.mark.parametrize("target", ["", "config", "config/conductor_config.json"])
def test_what_others_can_write_to_is_refused_with_the_chmod_that_mends_it(project, target):
    project.configure(every_minute("a"))
    path = project.root / target if target else project.root
    path.chmod(0o707 if path.is_dir() else 0o606)
    code, _, err = project.call("tick")
    assert code == 78
    hint = re.search(r"others can write to it \((chmod o-w \S+)\)", err)
    assert hint, err
    assert project.call("tick", env=dict(os.environ, SYMPHONY_ALLOW_INSECURE="1"))[0] == 0
    subprocess.check_call(hint.group(1), shell=True)
    assert project.call("tick")[0] == 0


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_files_of_another_user_are_refused(project):
    project.configure(every_minute("a"))
    os.chown(str(project.root / "config" / "conductor_config.json"), 65534, 65534)
    code, _, err = project.call("tick")
    assert code == 78 and "belongs to another user (uid 65534)" in err


# -- a disk that takes nothing more

def full_disk():
    """Every write to a file fails from here on, as on a full disk; Python ignores SIGXFSZ."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_on_a_full_disk_nothing_starts_and_the_old_state_stays(project):
    project.configure(due_once("a", "echo ran >> out"))
    project.anchor()
    before = project.read("conductor_state.json")
    code, out, err = project.call("tick", preexec_fn=full_disk)
    assert (code, out) == (74, "")
    assert re.match(r"symphony_conductor: cannot write conductor_state.json: File too large\n\Z", err)
    assert project.read("conductor_state.json") == before
    assert project.lines("out") == []
    assert project.call("tick")[0] == 0
    assert project.wait_until(lambda: project.lines("out")) == ["ran"]


def test_on_a_full_disk_a_run_by_hand_is_refused(project):
    project.configure(every_minute("a", "echo ran >> out"))
    code, _, err = project.call("run", "--task", "a", preexec_fn=full_disk)
    assert code == 74 and len(err.splitlines()) == 1
    assert project.lines("out") == []


def mounted_tmpfs(folder):
    return subprocess.call(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder)],
                           stderr=subprocess.DEVNULL) == 0


@pytest.mark.skipif(not ROOT, reason="mounting takes root")
def test_a_run_whose_end_meets_a_really_full_disk_is_recorded_when_there_is_room(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if not mounted_tmpfs(folder):
        pytest.skip("no tmpfs can be mounted here")
    try:
        project = Project(folder)
        project.configure(due_once("a", "cat /dev/zero > filler; exit 0"))
        project.anchor()
        project.call("tick")
        assert project.wait_until(lambda: (folder / "filler").exists() and os.statvfs(str(folder)).f_bavail == 0)
        record = sc.Store(str(folder)).read_run("a")
        assert project.wait_until(lambda: not is_alive(record["pid"]))
        project.call("tick")  # which would find the end, had it been recorded
        assert "run" in project.state()["tasks"]["a"]
        assert project.history() == []
        (folder / "filler").unlink()
        assert project.wait_until(project.history)
        project.wait_for_idle()
        assert [record["status"] for record in project.history()] == ["success"]
    finally:
        subprocess.call(["umount", "-l", str(folder)])


# -- small mechanisms

def test_a_history_line_that_a_crash_cut_short_costs_only_itself(project):
    store = sc.Store(str(project.root))
    record = {"task": "a", "status": "success", "ended_at": "2025-06-02T10:00:00Z", "run_id": "1", "exit_code": 0}
    store.record([record], 30)
    path = pathlib.Path(store.history_path("2025-06-02"))
    path.write_text(path.read_text() + '{"task": "b", "sta')
    other = dict(record, run_id="2")
    store.record([record, other], 30)
    store.record([record, other], 30)
    assert [found["run_id"] for found in store.history(10)] == ["2", "1"]


def test_old_history_is_pruned_after_the_retention(project):
    store = sc.Store(str(project.root))
    for day in ("2025-05-01", "2025-05-31", "2025-06-01"):
        store.record([{"task": "a", "status": "success", "ended_at": day + "T10:00:00Z", "run_id": day,
                       "exit_code": 0}], 30)
    store.record([{"task": "a", "status": "success", "ended_at": "2025-06-29T10:00:00Z", "run_id": "x",
                   "exit_code": 0}], 29)
    names = sorted(path.name for path in (project.root / "status" / "history").iterdir())
    assert names == ["2025-05-31.jsonl", "2025-06-01.jsonl", "2025-06-29.jsonl"]


def test_atomic_writes_keep_the_old_file_when_they_fail(tmp_path):
    path = tmp_path / "f"
    sc.write_atomic(str(path), b"one")
    (tmp_path / "f.tmp").mkdir()
    with pytest.raises(sc.StorageError):
        sc.write_atomic(str(path), b"two")
    assert path.read_bytes() == b"one"


def test_the_previous_state_is_kept_and_the_state_is_never_missing(project):
    store = sc.Store(str(project.root))
    assert store.lock.acquire()
    store.save_state(sc.State(seq=1))
    store.save_state(sc.State(seq=2))
    store.lock.release()
    assert json.loads(project.read("conductor_state.json")) == {"version": 1, "by": sc.__version__, "seq": 2}
    assert json.loads(project.read("conductor_state.json.bak")) == {"version": 1, "by": sc.__version__, "seq": 1}


def test_logs_rotate_and_old_generations_go(tmp_path):
    path = tmp_path / "log"
    for number in range(8):
        path.write_text("x" * 100 + str(number))
        sc.rotate(str(path), 50)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["log.%d" % n for n in range(1, 6)]
    assert (tmp_path / "log.1").read_text().endswith("7")


def test_damaged_events_are_passed_over(project):
    store = sc.Store(str(project.root))
    facts = {"since": "2025-06-02T10:00:00Z"}
    good = [{"event": "anchored", "tasks": {"a": dict(facts, key="0 2 * * * UTC")}},
            {"event": "anchored", "tasks": {"a": dict(facts, key="0 2 * * * UTC",
                                                      was="0/90 2 * * * UTC")}},
            {"event": "clock", "tasks": {"a": dict(facts, was="2025-06-02T11:00:00Z")}},
            {"event": "rested", "tasks": {"a": dict(facts, was="0 2 * * * UTC")}},
            {"event": "gap", "since": "2025-06-02T09:00:00Z"}, {"event": "rezoned", "tasks": {}}]
    bad = [{"event": "anchored", "tasks": {"a": facts}}, {"event": "clock", "tasks": {"a": facts}},
           {"event": "anchored", "tasks": {"a": dict(facts, key="0 2 * * * Gone/Town")}},
           {"event": "rested", "tasks": {"a": dict(facts, was="? UTC")}}, {"event": "gap"}, {"event": 7},
           {"event": "rested", "tasks": 7}, {"event": "rested", "tasks": {"a": 7}}]
    (project.root / "status").mkdir(mode=0o700)
    (project.root / "status" / "events.jsonl").write_text("".join(
        json.dumps(dict(each, at="2025-06-02T10:00:00Z")) + "\n" for each in good + bad) + "torn {\n")
    assert [event["event"] for event in store.events()] == [each["event"] for each in good]


def test_a_file_that_goes_while_they_are_listed_is_not_among_the_own_files(project, monkeypatch):
    project.configure(every_minute("a"))
    project.tick()
    lstat = os.lstat

    def gone(path, *more):
        if str(path).endswith("heartbeat"):
            raise FileNotFoundError(path)
        return lstat(path, *more)

    monkeypatch.setattr(os, "lstat", gone)
    files = [path for path, _ in sc.Store(str(project.root)).own_files()]
    assert not any(path.endswith("heartbeat") for path in files) and any(path.endswith("state.json") for path in files)


def test_a_broken_configuration_is_reported_by_a_tick_and_not_used_up_by_a_run_that_ends(project):
    project.configure(due_once("a", "while ! test -e go; do sleep 0.05; done"))
    project.anchor()
    project.call("tick")
    project.running_record("a")
    project.write_config("{")
    (project.root / "go").write_text("")
    project.wait_for_idle()
    code, _, err = project.call("tick")
    assert code == 78 and "not valid JSON" in err
    assert project.call("tick") == (78, "", "")
