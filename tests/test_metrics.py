"""Metrics for Prometheus, and the files that settings have kept current: their content, and how they are written."""

import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import time

import pytest
from stories import World, at, task
from support import REPOSITORY, SCRIPT, due_once, every_minute, finished

import symphony_conductor as sc
import symphony_metrics

PROMETHEUS = REPOSITORY / "config" / "prometheus"
NOW = at("2025-06-04T10:00:30Z")  # a Wednesday

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="there is no promtool (Debian: apt-get install prometheus)")


def rendered(config, state=None, last_tick=None, is_valid=True, root="/srv/app", now=NOW):
    return symphony_metrics.render(config, state or sc.State(), now, last_tick, is_valid, root)


def configured(*tasks):
    return sc.build_config([("c.json", {"tasks": list(tasks), "settings": {"timezone": "UTC"}})])


def samples(text):
    """{(name, labels in order): value} of a text in the exposition format, parsed as its rules are."""
    parsed = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, body, value = re.match(r'(\w+)\{((?:\w+="(?:[^"\\]|\\.)*",?)+)\} (\S+)\Z', line).groups()
        labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', body)
        labels = tuple((key, re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m.group(1), m.group(1)), text))
                       for key, text in labels)
        assert (name, labels) not in parsed, "twice: %s" % line
        parsed[name, labels] = float(value)
    return parsed


def values_of(text, name):
    """The values of a task by the metric's name without its beginning; of totals, by verdict."""
    values = {}
    for (metric, labels), value in samples(text).items():
        labels = dict(labels)
        if labels.get("task") == name:
            values[labels.get("verdict") or metric[len("symphony_task_"):]] = value
    return values


# -- the text

LAST = {"status": "failed", "scheduled_for": "2025-06-04T10:00:00Z", "started_at": "2025-06-04T10:00:01Z",
        "ended_at": "2025-06-04T10:00:05Z", "duration_s": 4.25, "exit_code": 3, "attempt": 1,
        "trigger": "schedule", "run_id": "20250604T100001Z-7"}


def test_the_text_of_a_root_with_one_task():
    config = configured(task("backup", "0 * * * *", timeout=60, retry_count=0))
    state = sc.State(last_now=NOW, tasks={"backup": sc.TaskState(
        schedule_key="0 * * * * UTC", cursor=at("2025-06-04T10:00:00Z"), next_slot=at("2025-06-04T11:00:00Z"),
        last=LAST, last_success=at("2025-06-04T09:00:07Z") + 0.5, consecutive_failures=1,
        totals={"success": 41, "failed": 1, "skipped_late": 2})})
    lines = [line for line in rendered(config, state, NOW - 30.0).splitlines() if not line.startswith("#")]
    assert lines == [
        'symphony_build_info{root="/srv/app",version="%s"} 1' % sc.__version__,
        'symphony_last_tick_timestamp_seconds{root="/srv/app"} 1749031200',
        'symphony_config_valid{root="/srv/app"} 1'] + [
        'symphony_task_%s{root="/srv/app",task="backup"} %s' % pair for pair in (
            ("enabled", "1"), ("paused", "0"), ("running", "0"), ("unkillable", "0"), ("overdue", "0"),
            ("last_success_timestamp_seconds", "1749027607.5"), ("last_start_timestamp_seconds", "1749031201"),
            ("last_end_timestamp_seconds", "1749031205"), ("last_duration_seconds", "4.25"), ("last_exit_code", "3"),
            ("next_slot_timestamp_seconds", "1749034800"), ("interval_seconds", "3600"), ("grace_seconds", "300"),
            ("consecutive_failures", "1"))] + [
        'symphony_task_verdicts_total{root="/srv/app",task="backup",verdict="%s"} %d' % pair
        for pair in (("success", 41), ("failed", 1), ("skipped_late", 2))]


def test_what_there_is_no_value_of_has_no_series():
    text = rendered(configured(task("new", dependencies=["b"]), task("b", "0 0 * * *"), task("bad", "0 0 * *")))
    assert values_of(text, "new") == {
        "enabled": 1, "paused": 0, "running": 0, "unkillable": 0, "overdue": 0, "grace_seconds": 3610,
        "consecutive_failures": 0, "success": 0, "failed": 0}
    # Whether an invalid task is enabled, nobody knows.
    assert set(values_of(text, "bad")) == {"running", "unkillable", "consecutive_failures", "success", "failed"}
    assert "symphony_last_tick" not in text and 'symphony_config_valid{root="/srv/app"} 1' in text
    assert 'symphony_config_valid{root="/srv/app"} 0' in rendered(configured(), is_valid=False)


@pytest.mark.parametrize("root", ['/a"b', "/a\\b", "/a\nb", '/\\"\n\\n"', "/a,b=c}", "/caf\u00e9"])
def test_a_label_is_escaped_as_the_format_has_it(root):
    text = rendered(configured(task("a", "0 * * * *")), root=root)
    assert {dict(labels)["root"] for _, labels in samples(text)} == {root}


def test_folders_whose_names_cannot_be_decoded_stay_apart():
    text = [rendered(configured(task("a", "0 * * * *")), root=os.fsdecode(root)) for root in (b"/\xfe", b"/\xff")]
    assert [dict(next(iter(samples(part)))[1])["root"] for part in text] == ["/\\udcfe", "/\\udcff"]


def test_a_run_its_processes_and_a_pause_show():
    config = configured(task("a", "0 * * * *"), task("off", "0 * * * *", enabled=False))
    run = sc.Run(run_id="x", started_at=NOW - 9.0, unended="left 4711 (sleep)")
    state = sc.State(last_now=NOW, tasks={"a": sc.TaskState(run=run)},
                     pauses={"a": {"since": NOW - 60.0, "until": None, "reason": ""}})
    values = values_of(rendered(config, state, NOW), "a")
    assert (values["running"], values["unkillable"], values["paused"]) == (1, 1, 1)
    assert values["last_start_timestamp_seconds"] == NOW - 9 and "next_slot_timestamp_seconds" not in values
    assert values_of(rendered(config, state, NOW), "off")["enabled"] == 0
    assert "4711" not in rendered(config, state, NOW)


def test_overdue_is_what_status_calls_so():
    config = configured(task("a", "0 * * * *", timeout=60, retry_count=0), task("b", "0 * * * *"))
    waits = {name: sc.TaskState(schedule_key="0 * * * * UTC", next_slot=int(NOW) + 60, cycle=sc.Cycle(
        slot=int(NOW) - since, phase="queued", since=NOW - since)) for name, since in (("a", 301), ("b", 299))}
    text = rendered(config, sc.State(last_now=NOW, tasks=waits), NOW)
    assert (values_of(text, "a")["overdue"], values_of(text, "b")["overdue"]) == (1, 0)


@pytest.mark.parametrize("schedule, when, days", [
    ("0 9 * * 1-5", "2025-06-02T10:00:00Z", 3),  # Monday: the weekend is the longer one
    ("0 9 * * 1-5", "2025-06-04T10:00:00Z", 1),
    ("0 9 * * 1-5", "2025-06-07T10:00:00Z", 3),
    ("0 0 1 * *", "2025-03-15T00:00:00Z", 31),
    ("@reboot", "2025-06-04T10:00:00Z", None),
    (None, "2025-06-04T10:00:00Z", None)])
def test_the_period_is_the_longer_one_of_two(schedule, when, days):
    only = configured(task("a", schedule, dependencies=["b"]), task("b", "0 0 * * *")).tasks["a"]
    assert symphony_metrics.interval_of(only, at(when)) == (days and days * sc.DAY)


def test_days_off_make_the_period_longer():
    only = configured(task("a", "0 9 * * *", not_on="2025-06-03..2025-06-06")).tasks["a"]
    days = [symphony_metrics.interval_of(only, at("2025-06-%02dT10:00:00Z" % day)) / sc.DAY
            for day in (1, 2, 5, 7, 8)]
    assert days == [1, 5, 5, 5, 1]


def test_a_state_of_an_older_version_has_the_last_success_if_it_was_the_last_run():
    config = configured(task("a", "0 * * * *"))
    state = sc.State(last_now=NOW, tasks={"a": sc.TaskState(last=dict(LAST, status="success", exit_code=0))})
    assert values_of(rendered(config, state), "a")["last_success_timestamp_seconds"] == at(LAST["ended_at"])
    state = sc.State(last_now=NOW, tasks={"a": sc.TaskState(last=LAST)})
    assert "last_success_timestamp_seconds" not in values_of(rendered(config, state), "a")


# -- the last success and the totals

def test_each_verdict_counts_once_and_no_attempt_does():
    world = World(task("a", "0 * * * *", retry_count=1, retry_delay=60), task("late", "0 * * * *", start_deadline=60))
    world.tick("2025-06-02T01:30:00Z")
    world.tick("2025-06-02T02:00:00Z")
    world.finish("late", "2025-06-02T02:00:20Z")
    world.finish("a", "2025-06-02T02:00:30Z", "failed")
    assert world.state.tasks["a"].totals == {}  # it is to be retried
    world.tick("2025-06-02T02:02:00Z")
    world.tick("2025-06-02T03:00:00Z")          # which overlaps
    world.finish("a", "2025-06-02T03:00:30Z", "timeout")
    world.finish("late", "2025-06-02T03:00:40Z")
    world.tick("2025-06-02T04:05:00Z")
    world.finish("a", "2025-06-02T04:05:30Z")
    assert world.state.tasks["a"].totals == {"skipped_overlap": 1, "timeout": 1, "success": 1}
    assert world.state.tasks["late"].totals == {"success": 2, "skipped_late": 1}
    assert sum(sum(state.totals.values()) for state in world.state.tasks.values()) == len(world.verdicts)
    assert world.state.tasks["a"].last_success == at("2025-06-02T04:05:30Z")
    world.tick("2025-06-02T05:00:00Z")
    world.finish("a", "2025-06-02T05:00:30Z", "failed")
    assert world.state.tasks["a"].last_success == at("2025-06-02T04:05:30Z")


def test_totals_outlive_the_state_as_long_as_there_is_a_copy(project):
    project.configure(every_minute("a"), every_minute("b", "exit 1"))
    for name in "aabb":
        project.call("run", name)
    success = project.state()["tasks"]["a"]["last_success"]
    (project.root / "conductor_state.json").unlink()
    assert project.call("metrics")[1].count('task="a",verdict="success"} 2\n') == 1
    project.tick()
    after = project.state()["tasks"]
    assert after["a"]["totals"] == {"success": 2} and after["a"]["last_success"] == success
    assert after["b"]["totals"] in ({"failed": 1}, {"failed": 2})  # the copy is that before the last end
    assert after["a"]["next_slot"] > time.time() - 60  # all else began anew


# -- the file of the setting

def written(project):
    return (project.root / "m.prom").read_text()


def log_of(project, word):
    return [line.split(" ", 1)[1] for line in project.lines("logs/symphony_conductor.log") if word in line]


def unwritten(project):
    document = json.loads(project.call("status", "--json")[1])
    return [finding["text"] for finding in document["findings"] if finding["code"] == "not-written"]


def test_every_save_of_the_state_writes_the_file(project):
    project.configure(due_once("a"), every_minute("b"), metrics_file="m.prom")
    mask = os.umask(0o077)
    try:
        project.anchor()
        assert values_of(written(project), "a")["success"] == 0
        project.call("tick")
        assert project.wait_until(lambda: values_of(written(project), "a")["success"] == 1)
        project.call("run", "b")
        project.call("pause", "b")
    finally:
        os.umask(mask)
    values = values_of(written(project), "b")
    assert (values["paused"], values["last_exit_code"]) == (1, 0) and values["success"] >= 1
    assert stat.S_IMODE(os.stat(str(project.root / "m.prom")).st_mode) == 0o644
    assert [path.name for path in project.root.iterdir() if "prom" in path.name] == ["m.prom"]
    assert project.call("metrics")[1].split("symphony_config_valid")[1] == (
        written(project).split("symphony_config_valid")[1])


def test_the_ends_of_many_runs_write_a_large_file_now_and_then_and_the_next_tick_has_all(project, monkeypatch):
    project.configure(every_minute("a", schedule="0 0 1 1 *"), metrics_file="m.prom")
    project.tick()
    monkeypatch.setattr(sc, "METRICS_AT_ONCE", 1)

    def run():
        sc.Conductor(sc.Store(str(project.root))).run("a")
        return values_of(written(project), "a")["success"]

    assert (run(), run()) == (0, 0)
    assert float(project.read("status/heartbeat").split()[1]) < time.time() + 3600
    project.tick()
    assert values_of(written(project), "a")["success"] == 2
    monkeypatch.setattr(sc, "METRICS_AT_ONCE", 100 * 1000)
    assert run() == 3


def test_a_start_shows_ahead_of_its_end(project):
    project.configure(every_minute("a", "grep 'task_running.*a.*1' m.prom"), metrics_file="m.prom")
    assert project.call("run", "a")[0] == 0


def test_while_nothing_happens_it_is_refreshed_every_five_minutes(project, monkeypatch):
    project.configure(every_minute("a", schedule="0 0 1 1 *"), metrics_file="m.prom")
    now = time.time()
    project.tick(now)
    heartbeat = os.fsencode(str(project.root / "status" / "heartbeat"))

    def is_idle(later):  # the clocks stand as the tick saw them: HandClock's monotonic one at 1000
        return sc.nothing_to_do(heartbeat, later, 1000.0 + later - now)

    for later in range(60, 300, 60):
        assert is_idle(now + later), later
    assert not is_idle(now + 301)
    before = written(project)
    project.tick(now + 301)
    assert written(project) != before
    tick = re.search(r"last_tick_timestamp_seconds\{.*\} (\S+)", written(project)).group(1)
    assert float(tick) == pytest.approx(now + 301)
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    project.tick(now + 360)
    wake_at = float(project.read("status/heartbeat").split()[1])
    assert wake_at > now + 3600  # without the setting, nothing wakes a tick


def test_a_file_that_cannot_be_written_stops_nothing_and_is_told_once(project):
    project.configure(every_minute("a"), metrics_file="gone/m.prom")
    for _ in range(3):
        assert project.call("run", "a") == project.call("tick") == (0, "", "")
    text = "metrics_file: cannot write gone/m.prom: No such file or directory"
    assert log_of(project, "metrics_file") == ["WARNING " + text]
    assert unwritten(project) == [text]
    assert "the folder '%s/gone' does not exist" % project.root in project.call("check")[1]
    (project.root / "gone").mkdir()
    project.call("tick")
    project.call("run", "a")
    assert log_of(project, "metrics_file") == ["WARNING " + text, "metrics_file: written again"]
    assert unwritten(project) == [] and project.call("check")[1].count("metrics_file") == 0


@pytest.mark.parametrize("make, reason", [
    (lambda path: path.symlink_to(path.parent / "precious"), "Is a symbolic link"),
    (lambda path: os.mkfifo(str(path)), "Not a regular file"),
    (lambda path: path.mkdir(), "Is a directory")])
def test_only_a_regular_file_is_replaced(project, make, reason):
    precious = project.root / "precious"
    precious.write_text("precious")
    make(project.root / "m.prom")
    project.configure(every_minute("a"), metrics_file="m.prom")
    assert project.call("tick")[0] == 0
    assert log_of(project, "metrics_file") == ["WARNING metrics_file: cannot write m.prom: " + reason]
    assert precious.read_text() == "precious" and not (project.root / "m.prom").is_file() or reason[:4] == "Is a"
    code, _, err = project.call("metrics", "--output", str(project.root / "m.prom"))
    assert (code, reason in err) == (74, True)
    text = "warning: config/conductor_config.json: metrics_file: '%s/m.prom' cannot be replaced: %s (" % (
        project.root, reason)
    assert text in project.call("check")[1]


def test_what_cannot_be_replaced_is_tried_again_however_new_it_is(project):
    os.mkfifo(str(project.root / "m.prom"))
    now = time.time()
    os.utime(str(project.root / "m.prom"), (now + 86400, now + 86400))
    project.configure(every_minute("a", schedule="0 0 1 1 *"), metrics_file="m.prom")
    project.tick(now)
    assert float(project.read("status/heartbeat").split()[1]) == pytest.approx(now + 300, abs=2)


@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_what_lies_at_the_temporary_name_is_not_written_through(tmp_path, make):
    precious, path = tmp_path / "precious", tmp_path / "m.prom"
    precious.write_text("precious")
    make(str(precious), str(path) + ".tmp")
    sc.write_public(str(path), b"text", 1000.0)
    assert precious.read_text() == "precious" and path.read_text() == "text"
    assert os.stat(str(path)).st_mtime == 1000.0 and not os.path.lexists(str(path) + ".tmp")


@pytest.mark.parametrize("setting, name", [
    ("metrics_file", "conductor_state.json"), ("metrics_file", "/dev/stdout"), ("metrics_file", " "),
    ("report_file", "config/conductor_config.json"), ("report_file", 7)])
def test_the_name_tells_what_the_file_is(setting, name):
    with pytest.raises(sc.ConfigError) as caught:
        sc.build_config([("c.json", {"tasks": [], "settings": {setting: name}})])
    assert "a file that ends in ." in str(caught.value)


def test_the_code_of_the_metrics_is_loaded_only_if_nobody_else_may_change_it(project, tmp_path):
    copy = tmp_path / "copy"
    (copy / "scripts").mkdir(parents=True, mode=0o755)
    shutil.copy(str(SCRIPT), str(copy))
    project.configure(every_minute("a"), metrics_file="m.prom", report_file="r.html")
    command = [sys.executable, str(copy / "symphony_conductor.py"), "--root", str(project.root)]
    alone = ("metrics_file: 'metrics' is not part of this file (put scripts/symphony_metrics.py of version %s into "
             "%s)" % (sc.__version__, copy / "scripts"))

    def tick():
        code, out, err = finished(command + ["tick"])
        assert (code, out, err) == (0, "", "")
        return log_of(project, "metrics_file")

    assert tick() == ["WARNING " + alone]
    out = finished(command + ["check"])[1]
    assert alone in out and "report_file: 'report' is not part of this file" in out
    assert "ok       files" not in finished(command + ["doctor"])[1]
    script = pathlib.Path(shutil.copy(str(REPOSITORY / "scripts" / "symphony_metrics.py"), str(copy / "scripts")))
    script.chmod(0o666)
    project.configure(every_minute("a", "echo"), metrics_file="m.prom")
    assert tick()[1:] == ["WARNING metrics_file: %s: others can write to it (chmod go-w %s)" % (script, script)]
    script.chmod(0o644)
    project.configure(every_minute("a", "echo b"), metrics_file="m.prom")
    assert tick()[2:] == ["metrics_file: written again"]
    script.write_text("raise SystemError('broken')\n")
    (project.root / "m.prom").unlink()
    project.configure(every_minute("a", "echo c"), metrics_file="m.prom")
    assert tick()[3:] == ["WARNING metrics_file: broken"]
    script.write_text("raise SystemExit(3)\n")
    project.configure(every_minute("a", "echo d"), metrics_file="m.prom")
    assert tick()[4:] == ["WARNING metrics_file: %s exits when it is loaded (put the one of version %s there)" % (
        script, sc.__version__)]


def test_a_run_with_another_configuration_leaves_the_file_alone(project):
    project.configure(every_minute("a"), metrics_file="m.prom")
    project.tick()
    project.wait_for_idle()
    before = written(project)
    other = project.root / "other.json"
    other.write_text(json.dumps({"tasks": [every_minute("other")], "settings": {"metrics_file": "m.prom"}}))
    other.chmod(0o600)
    assert project.call("--config", str(other), "run", "other")[0] == 0
    assert 'task="other"' not in written(project)
    assert written(project).split("verdicts")[0] == before.split("verdicts")[0]


def test_an_invalid_configuration_shows(project):
    project.configure(every_minute("a"), metrics_file="m.prom")
    project.tick()
    project.configure(every_minute("a"), every_minute("b", typo=1), metrics_file="m.prom")
    project.call("tick")
    assert "symphony_config_valid{root=\"%s\"} 0" % project.root in written(project)
    project.write_config("{")
    project.call("tick")
    assert "symphony_config_valid{root=\"%s\"} 0" % project.root in written(project)
    project.configure(every_minute("a"), metrics_file="m.prom")
    project.call("tick")
    assert "symphony_config_valid{root=\"%s\"} 1" % project.root in written(project)


# -- the page of the report

def test_a_page_follows_each_result_at_most_once_a_minute(project):
    project.configure(every_minute("a", "echo said; exit 1", schedule="0 0 1 1 *"), report_file="r.html")
    page = project.root / "r.html"
    project.tick()  # makes the page, before there is a result
    assert project.wait_until(page.exists)
    assert stat.S_IMODE(page.stat().st_mode) == 0o644 and "said" not in page.read_text()
    os.utime(str(page), (time.time() - 60, time.time() - 60))
    lock = sc.FileLock(str(project.root / sc.REPORT_LOCK_NAME))
    assert project.wait_until(lock.acquire)  # whoever made the page is gone
    lock.release()
    project.call("run", "a")
    project.tick()  # where the start of the run has had the page made, this one waits for a minute
    if not project.wait_until(lambda: "said" in page.read_text(), 2):
        os.utime(str(page), (time.time() - 60, time.time() - 60))
        project.tick()
    assert project.wait_until(lambda: "said" in page.read_text())
    assert project.wait_until(lock.acquire)
    lock.release()
    first = page.stat().st_mtime
    project.call("tick")
    project.call("run", "a")
    # A result is missing: no tick is idle until the page has it.
    assert float(project.read("status/heartbeat").split()[1]) <= time.time() + 60
    assert page.stat().st_mtime == first
    os.utime(str(page), (first - 60, first - 60))
    project.tick()  # as a minute later
    assert project.wait_until(lambda: page.stat().st_mtime > first)
    assert page.read_text().count("said") >= 2
    project.tick()
    assert float(project.read("status/heartbeat").split()[1]) > time.time() + 3600
    assert log_of(project, "report") == []


def test_while_a_page_is_made_no_end_of_a_run_starts_another(project, monkeypatch):
    project.configure(every_minute("a", schedule="0 0 1 1 *"), report_file="r.html")
    project.tick()
    assert project.wait_until((project.root / "r.html").exists)
    made = (project.root / "r.html").stat().st_mtime - 60
    os.utime(str(project.root / "r.html"), (made, made))
    started = []
    monkeypatch.setattr(sc, "start_detached", lambda store, words, mark: started.append(words))
    lock = sc.FileLock(str(project.root / sc.REPORT_LOCK_NAME))
    assert project.wait_until(lock.acquire)
    sc.Conductor(sc.Store(str(project.root))).run("a")
    assert started == []
    lock.release()
    project.tick()
    assert started == [["report", "--watch-file=r.html"]]


def test_a_page_that_cannot_be_written_is_told_once_and_tried_later(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"), report_file="gone/r.html")
    project.tick()
    text = "report_file: cannot write gone/r.html: No such file or directory"
    assert project.wait_until(lambda: log_of(project, "report_file")) == ["WARNING " + text]
    note = project.root / "status" / "unwritten.report_file"
    tried = note.stat().st_mtime
    assert project.call("run", "a")[0] == 0 and note.stat().st_mtime == tried
    assert unwritten(project) == [text]
    (project.root / "gone").mkdir()
    os.utime(str(note), (tried - 300, tried - 300))
    project.call("run", "a")
    assert project.wait_until(lambda: not note.exists())
    assert (project.root / "gone" / "r.html").exists()
    said = ["WARNING " + text, "report_file: written again"]
    assert project.wait_until(lambda: log_of(project, "report_file") == said)


def test_by_hand_the_page_of_any_name_is_kept_current(project):
    project.configure(every_minute("a"))
    project.call("run", "a")
    command = project.command("report", "--watch-file", "page.html", "--since", "1h")
    page = project.root / "page.html"

    def made():
        assert finished(command, cwd=str(project.root)) == (0, "", "")
        return page.stat().st_mtime

    first = made()
    assert made() == first
    project.call("run", "a")
    assert made() == first  # it is not a minute old
    os.utime(str(page), (first - 60, first - 60))
    assert made() > first
    code, _, err = project.call("report", "--watch-file", "no/page.html")
    assert code == 74 and "cannot write no/page.html: No such file or directory" in err
    assert log_of(project, "report_file") == []  # it is none of the settings'
    assert project.call("report", "--watch-file", "page.html", "--format", "json")[0] == 2


# -- config/prometheus

def names_in(text):
    return set(re.findall(r"\bsymphony_\w+", text)) - {"symphony_conductor"}


def test_rules_dashboard_and_manual_name_the_metrics_that_there_are():
    metrics = set(symphony_metrics.METRICS)
    expressions = "\n".join(re.findall(r"(?s)expr: (.*?)\n        for:", (PROMETHEUS / "alerts.yml").read_text()))
    assert expressions.count("symphony_") > 8 and names_in(expressions) <= metrics
    assert names_in((PROMETHEUS / "dashboard.json").read_text()) <= metrics
    assert names_in((PROMETHEUS / "README.md").read_text()) == metrics
    assert names_in((PROMETHEUS / "alerts_test.yml").read_text()) <= metrics


def test_the_metrics_that_the_renderer_lists_are_those_that_it_emits():
    config = configured(task("a", "0 * * * *"))
    state = sc.State(last_now=NOW, tasks={"a": sc.TaskState(last=LAST, last_success=1.0)})
    text = rendered(config, state, NOW)
    assert {name for name, _ in samples(text)} == set(symphony_metrics.METRICS)
    assert not re.search(r"\bjob=|run_id|20250604T100001Z", text)


def test_every_alert_says_what_to_do():
    alerts = (PROMETHEUS / "alerts.yml").read_text().split("- alert: ")[1:]
    tested = (PROMETHEUS / "alerts_test.yml").read_text()
    assert len(alerts) == 7
    for alert in alerts:
        name = alert.split("\n")[0]
        assert tested.count('- name: "%s: ' % name) == 1
        text = " ".join(alert.partition("description: >-")[2].split())
        commands = re.findall(r"symphony_conductor\.py(?: --root \{\{ \$labels\.root \}\})? "
                              r"(?:doctor|check|(?:logs|run|why|status) \{\{ \$labels\.task \}\})", text)
        assert commands, name
        for command in commands:
            sc._parse(re.sub(r"\{\{.*?\}\}", "x", command).split()[1:])


def test_the_dashboard_is_whole():
    board = json.loads((PROMETHEUS / "dashboard.json").read_text())
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert board["schemaVersion"] >= 39 and variables == {"datasource", "instance", "root", "task"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) == 11
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}" and target["expr"]
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables | {"__rate_interval"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@needs_promtool
def test_promtool_accepts_the_metrics_and_the_rules(tmp_path):
    config = configured(task("a", "0 * * * *"), task("bad", "x"))
    state = sc.State(last_now=NOW, tasks={"a": sc.TaskState(last=LAST, last_success=1.5, totals={"timeout": 1})})
    path = tmp_path / "m.prom"
    path.write_text(rendered(config, state, NOW, root='/a "b\\\n'))
    with open(str(path)) as text:
        done = subprocess.run(["promtool", "check", "metrics"], stdin=text, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, b"")
    assert finished(["promtool", "check", "rules", "alerts.yml"], cwd=str(PROMETHEUS))[0] == 0
    assert finished(["promtool", "test", "rules", "alerts_test.yml"], cwd=str(PROMETHEUS))[0] == 0
    for panel in json.loads((PROMETHEUS / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            rule = {"groups": [{"name": "x", "rules": [{"record": "x", "expr": re.sub(
                r"\$__rate_interval", "5m", target["expr"])}]}]}
            (tmp_path / "rules.yml").write_text(json.dumps(rule))
            assert finished(["promtool", "check", "rules", str(tmp_path / "rules.yml")])[0] == 0, target["expr"]
