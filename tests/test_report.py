"""The report: its numbers against a history made by hand, and hostile text in each of its three forms."""

import errno
import html.parser
import json
import os
import re
import stat

import bench_report
import pytest
from support import HandClock, run_script

import report_page as page
import symphony_conductor as sc
import symphony_report as report

NOW = sc.from_iso("2025-06-08T12:00:00Z")
SINCE = sc.from_iso("2025-06-01T12:00:00Z")
HOSTILE = ("</title></td></svg><script src=\"http://evil.example/x.js\">alert('1')</script> "
           "<img src=x onerror=alert(1)> "
           "| `code` ``two`` *bold* _it_ [link](http://evil.example) <!-- & &amp; \\ \x1b[31m \u202e \udcff end")


def run(task, slot, status="success", took=10, late=0, **more):
    """A verdict on a slot that ran; times as 'DDTHH:MM' in June 2025."""
    at = sc.from_iso("2025-06-%s:00Z" % slot)
    return dict({
        "task": task, "status": status, "scheduled_for": sc.iso(at), "started_at": sc.iso(at + late),
        "ended_at": sc.iso(at + late + took), "duration_s": took, "exit_code": 0 if status == "success" else 1,
        "attempt": 1, "trigger": "schedule", "run_id": "20250601T000000Z-1", "output_tail": "", "reason": None}, **more)


def skip(task, slot, status, **more):
    at = "2025-06-%s:00Z" % slot
    return dict({"task": task, "status": status, "scheduled_for": at, "started_at": None, "ended_at": at,
                 "duration_s": 0, "exit_code": None, "attempt": 0, "trigger": "schedule", "run_id": None,
                 "output_tail": "", "reason": "said so"}, **more)


class Root:
    """A project whose files are written by hand, and reports on it at NOW."""

    def __init__(self, folder):
        self.path = folder
        for name in (".", "config", "status", "status/history"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        path.chmod(0o600)

    def configure(self, *tasks):
        document = {"tasks": [dict({"command": "true"}, **task) for task in tasks], "settings": {"timezone": "UTC"}}
        self.write("config/conductor_config.json", json.dumps(document))
        config = sc.build_config([("c", document)])
        assert not config.problems
        known = {name: sc.TaskState(
            schedule_key=task.schedule_key, cursor=int(task.schedule.previous(NOW, "UTC")) if task.schedule else NOW,
            next_slot=task.schedule.next(NOW, "UTC") if task.schedule else None) for name, task in config.tasks.items()}
        self.state(tasks=known)

    def state(self, **fields):
        self.write("conductor_state.json", sc.dump_state(sc.State(**fields)))

    def tick(self, ago=20):
        self.write("status/heartbeat", "")
        os.utime(str(self.path / "status" / "heartbeat"), (NOW - ago, NOW - ago))

    def history(self, *verdicts):
        days = {}
        for verdict in verdicts:
            days.setdefault(verdict["ended_at"][:10], []).append(json.dumps(verdict) + "\n")
        for day, lines in days.items():
            self.write("status/history/%s.jsonl" % day, "".join(lines))

    def lines(self, name, *entries):
        self.write(name, "".join(json.dumps(entry) + "\n" for entry in entries))

    def facts(self, since=SINCE):
        return report.read_facts(sc.Store(str(self.path)), since, HandClock(NOW))

    def document(self, since=SINCE):
        return report.report(self.facts(since))

    def form(self, name, since=SINCE):
        facts = self.facts(since)
        return report.FORMS[name](facts, report.report(facts))


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


DAILY = {"name": "daily", "schedule": "0 6 * * *", "description": "every morning"}
AFTER = {"name": "after", "schedule": "0 7 * * *", "dependencies": ["daily"]}


@pytest.fixture
def week(root):
    """Seven slots of `daily`, one failed after a retry; `after` waited twice, and was skipped once."""
    root.configure(DAILY, AFTER)
    root.tick()
    first = run("daily", "04T06:00", "failed", 8)
    root.history(
        run("daily", "02T06:00", took=10), run("daily", "03T06:00", took=12, late=4),
        run("daily", "04T06:00", "failed", 8, 300, attempt=2, trigger="retry", attempts=[first], exit_code=3,
            output_tail="one\ntwo <b>\n\n", reason="no luck"),
        run("daily", "05T06:00", took=11), run("daily", "06T06:00", took=20), run("daily", "07T06:00", took=24),
        run("daily", "08T06:00", took=22, late=7200, trigger="catch_up"),
        run("after", "02T07:00", took=1), run("after", "03T07:00", took=1, late=60, trigger="dependency"),
        skip("after", "04T07:00", "skipped_dependency"), run("after", "05T07:00", took=1),
        run("after", "06T07:00", took=1), run("after", "07T07:00", took=1),
        run("after", "08T07:00", took=1, late=3660, trigger="dependency"))
    return root


# -- numbers

def test_the_numbers_of_a_week_are_those_of_its_history(week):
    document = week.document()
    daily, after = document["tasks"]
    assert (daily["runs"], daily["retries"], daily["ran"], daily["succeeded"], daily["success_rate"]) == (
        8, 1, 7, 6, 0.8571)
    assert daily["verdicts"] == {"success": 6, "failed": 1}
    assert daily["duration"] == {"median_s": 16, "older_median_s": 11, "newer_median_s": 22, "change": 1.0,
                                 "series": [10, 12, 11, 20, 24, 22]}
    assert daily["queue"] == {"count": 7, "median_s": 0, "longest_s": 7200, "longest_caught_up": True}
    assert daily["waits"]["count"] == 0 and daily["words"] == "at 06:00 every day"
    assert (after["ran"], after["skipped"], after["success_rate"]) == (6, 1, 1.0)
    assert after["waits"] == {"count": 2, "median_s": 1860, "longest_s": 3660, "longest_caught_up": False,
                              "given_up": 1}


def test_the_time_in_the_queue_ends_with_the_first_attempt(root):
    root.configure(DAILY)
    root.history(run("daily", "04T06:00", late=900, attempt=2, trigger="retry", attempts=[
        run("daily", "04T06:00", "failed", late=7)]))
    assert root.document()["tasks"][0]["queue"]["longest_s"] == 7


def test_the_audit_is_the_conductors_own(week):
    found = week.document()["audit"]
    assert (found["slots"], found["unexplained"]) == (14, 0)
    assert found["fates"] == {"success": 12, "failed": 1, "skipped_dependency": 1}


def test_a_slot_without_a_verdict_is_a_problem_and_is_named(week):
    week.history(run("daily", "07T06:00", took=24))  # in place of both verdicts of that day
    document = week.document()
    assert document["problems"] == ["1 slot unexplained: due, but without a recorded result."]
    assert document["audit"]["findings"][0]["task"] == "after"
    assert document["findings"][0]["command"].endswith(
        "symphony_conductor.py --root %s audit --since 2025-06-01T12:00:00Z" % week.path)
    assert "<b>14 slots, 1 unexplained</b>" in week.form("html")
    assert "- `after`: slot 2025-06-07T07:00:00Z: no result was recorded" in week.form("markdown")


def test_a_good_week_is_healthy_in_one_sentence(week):
    document = week.document()
    assert document["healthy"] is True and document["problems"] == []
    assert document["verdict"] == "Healthy: 2 tasks, no problems; 92.3 % of the slots that ran in 7d succeeded."
    assert report.headline(document) == "OK - " + document["verdict"].rstrip(".")


def found(severity, task="", **more):
    return dict({"code": "x", "severity": severity, "task": task, "place": None, "text": "it is %s" % severity,
                 "command": None, "since": None, "output": None}, **more)


@pytest.fixture
def troubled(week):
    """The week, with findings in its status: the worst one last, and each with other parts."""
    def facts():
        status = week.facts().status
        return week.facts().replace(status=dict(status, problems=["it is problem"], findings=[
            found("notice", place="conf/a.json"),
            found("warning", "after", since="2025-06-07T10:00:00Z", text="after is paused", later_key=1),
            found("problem", "daily", command="x.py why 'daily'", output="one\nlast <line>\n")]))
    return facts


def test_findings_are_listed_by_severity_with_the_next_command(troubled):
    document = report.report(troubled())
    assert [item["severity"] for item in document["findings"]] == ["problem", "warning", "notice"]
    assert document["problems"] == ["it is problem"] and document["healthy"] is False
    assert document["verdict"].startswith("Not healthy: 1 problem, 1 warning; 92.3 %")
    panel = page.page(document, {}).split('<ul class="findings">')[1].split("</ul>")[0]
    assert panel.split("</li>")[0] == (
        '<li class="problem"><p><b>problem</b> daily: it is problem</p>'
        '<p><span class="mute">output</span> <code>last &lt;line&gt;</code></p>'
        '<p><span class="mute">next</span> <code><span class="word">x.py</span> <span class="word">why</span> '
        '<span class="word">&#x27;daily&#x27;</span></code></p>')
    assert 'after is paused <span class="mute">since <time datetime="2025-06-07T10:00:00Z">' in panel
    text = report.markdown(document)
    assert "- problem: daily: it is problem; try: `x.py why 'daily'`\n" in text and "last" not in text
    assert "- warning: after is paused, since 2025-06-07T10:00:00Z\n\n" in text, "without the notice"


def test_nothing_in_a_finding_is_html(troubled):
    facts = troubled()
    worst = found("problem", HOSTILE, **dict.fromkeys(("text", "place", "command", "output", "since"), HOSTILE))
    document = report.report(facts.replace(status=dict(facts.status, findings=[worst])))
    read = Reader(page.page(document, report.timeline(facts, document["tasks"])))
    assert "script" not in read.seen and "img" not in read.seen
    line, = [line for line in report.markdown(document).split("\n") if line.startswith("- problem")]
    assert "<script" not in re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub(r"\\.", "", line))


def test_warnings_alone_are_healthy(troubled):
    facts = troubled()
    document = report.report(facts.replace(status=dict(facts.status, findings=[found("warning")])))
    assert document["healthy"] is True and document["problems"] == []
    assert document["verdict"].startswith("Healthy: 2 tasks, no problems, 1 warning; ")


def test_a_failure_that_is_still_retried_is_said_to_be_retried(week):
    facts = week.facts()
    tasks = [dict(task, state="retrying") for task in facts.status["tasks"]]
    document = report.report(facts.replace(status=dict(facts.status, tasks=tasks)))
    assert document["verdict"].startswith("Healthy: 2 tasks, no problems, 2 retrying; ")


def test_what_a_failing_task_printed_is_beside_the_headline(week):
    failed = run("daily", "08T10:00", "failed", output_tail="no space\n")
    week.history(run("daily", "08T06:00"), failed)
    state = sc.load_state((week.path / "conductor_state.json").read_text())
    last = {key: failed[key] for key in sc.LAST_KEYS}
    week.state(tasks=dict(state.tasks, daily=state.tasks["daily"].replace(last=last, consecutive_failures=1)))
    document = week.document()
    item, = [item for item in document["findings"] if item["task"] == "daily"]
    assert item["output"] == "no space"
    assert "no space" in week.form("html").split("<h2")[0] and "no space" not in week.form("markdown")


TASKS = ("calm", "late", "queued", "noted", "flaky", "blocked", "failing")


def test_tasks_are_sorted_by_trouble(root):
    root.configure(*[dict(DAILY, name=name) for name in TASKS])
    root.tick()
    root.history(run("flaky", "04T06:00", "failed"), run("calm", "04T06:00"), run("gone", "05T06:00", "failed"),
                 skip("late", "04T06:00", "skipped_overlap"), skip("blocked", "04T06:00", "skipped_dependency"))
    facts = root.facts()
    held_up = {"late": {"reason": "due since 11:00"}, "queued": {"state": "queued"}}
    tasks = [dict(task, **held_up.get(task["name"], {})) for task in facts.status["tasks"]]
    facts = facts.replace(status=dict(facts.status, tasks=tasks, findings=[
        found("problem", "failing"), found("warning", "noted")]))
    document = report.report(facts)
    assert [(task["name"], task["trouble"]) for task in document["tasks"]] == [
        ("failing", "current"), ("flaky", "failed"), ("blocked", "failed"), ("late", "waiting"),
        ("queued", "waiting"), ("noted", "waiting"), ("calm", ""), ("gone", "failed")]
    names = [task["name"] for task in document["tasks"]]
    assert list(report.timeline(facts, document["tasks"])) == names
    assert re.findall(r'<tr id="task-(\w+)"', page.page(document, {})) == names
    assert '<b>late</b><br><span class="why">due since 11:00</span><br>' in page.page(document, {})
    assert re.findall(r"(?m)^\| `(\w+)` \| \w+ \|", report.markdown(document)) == names


def test_what_did_not_succeed_is_told_with_its_reason_and_the_last_line_it_printed(week):
    skipped, failed = week.document()["failures"]
    assert (skipped["task"], skipped["status"], skipped["attempts"]) == ("after", "skipped_dependency", 0)
    assert failed == {"task": "daily", "scheduled_for": "2025-06-04T06:00:00Z", "started_at": "2025-06-04T06:05:00Z",
                      "status": "failed", "exit_code": 3, "duration_s": 8.0, "reason": "no luck", "said": "two <b>",
                      "attempts": 2}


def test_what_a_task_printed_stays_out_of_the_summary_that_others_read(week):
    assert "two &lt;b&gt;" in week.form("html")
    assert "two" not in week.form("markdown")


def test_a_verdict_that_is_committed_and_not_yet_in_the_history_counts_once(week):
    pending = run("daily", "08T08:00", trigger="manual", scheduled_for=None)
    written = json.loads((week.path / "status/history/2025-06-08.jsonl").read_text().splitlines()[0])
    state = sc.load_state((week.path / "conductor_state.json").read_text())
    week.state(tasks=state.tasks, pending=[pending, written, dict(pending, interim=True)])
    assert week.document()["tasks"][0]["ran"] == 8


def test_a_task_that_only_the_history_knows_is_told_last(week):
    week.configure(dict(AFTER, dependencies=[]), dict(DAILY, name="new"))
    tasks = week.document()["tasks"]
    assert [(task["name"], task["state"], task["ran"]) for task in tasks] == [
        ("after", "idle", 6), ("new", "idle", 0), ("daily", "removed", 7)]


def test_the_period_begins_where_the_history_does(week):
    document = week.document(NOW - 400 * 86400)
    assert document["since"] == "2025-05-09T12:00:00Z"
    assert document["notes"] == ["Results are kept for 30 days; the report begins there."]
    assert week.document(NOW - 2 * 86400)["tasks"][0]["ran"] == 2


@pytest.mark.parametrize("text, at", [("7d", NOW - 7 * 86400), ("90m", NOW - 5400),
                                      ("2025-06-02T10:00:00Z", sc.from_iso("2025-06-02T10:00:00Z"))])
def test_since_is_a_length_or_a_time(text, at):
    assert report.since_option(text, NOW) == at


@pytest.mark.parametrize("text", ["", "soon", "7", "2025-13-01", "2025-06-09T00:00:00Z"])
def test_since_refuses_what_is_neither_or_to_come(text):
    with pytest.raises(sc.UsageError, match="--since"):
        report.since_option(text, NOW)


def test_gaps_are_told_with_their_cause_and_the_one_that_goes_on(week):
    week.lines("status/events.jsonl",
               {"event": "gap", "since": "2025-05-01T00:00:00Z", "at": "2025-05-01T01:00:00Z", "cause": "cron"},
               {"event": "gap", "since": "2025-06-03T10:00:00Z", "at": "2025-06-03T13:30:00Z", "cause": "reboot"})
    week.tick(ago=900)
    gaps = week.document()["gaps"]
    assert [(gap["since"], gap["length_s"], gap["ongoing"]) for gap in gaps] == [
        ("2025-06-03T10:00:00Z", 12600, False), ("2025-06-08T11:45:00Z", 900, True)]
    assert gaps[0]["words"] == "the machine or container was off or restarted"
    assert "3h 30m" in week.form("markdown") and "3h 30m" in week.form("html")


def test_a_new_time_zone_of_the_system_is_told(week):
    week.lines("status/events.jsonl", {"event": "rezoned", "at": "2025-05-01T00:00:00Z", "tasks": {}},
               {"event": "rezoned", "at": "2025-06-03T10:00:00Z", "tasks": {}})
    (note,) = week.document()["notes"]
    assert note.startswith("The system's time zone changed at 2025-06-03T10:00:00Z. ")
    assert week.document()["audit"]["zone_changes"] == ["2025-06-03T10:00:00Z"]


# -- clean-up

RUN_ID = "20250605T030000Z-77"


def removal(*events, **more):
    return [dict({"event": event, "run": RUN_ID, "path": path, "at": "2025-06-05T03:00:00Z"}, **more)
            for event, path in events]


def test_what_was_removed_is_told_with_the_command_that_brings_it_back(week):
    week.lines("cleanup_actions.log",
               {"event": "done", "run": "20250501T030000Z-1", "path": "long ago", "at": "2025-05-01T03:00:00Z"},
               {"event": "end", "at": "2025-05-01T03:00:00Z"},
               *removal(("intent", "a.tmp"), ("intent", "b.tmp"), ("intent", "c.tmp"), size=1000)
               + removal(("failed", "c.tmp"), ("done", "a.tmp"), ("done", "b.tmp"), ("restored", "b.tmp"))
               + [{"event": "purged", "run": "20250501T030000Z-1", "files": 4, "size": 4096,
                   "at": "2025-06-06T03:30:00Z"}])
    (week.path / ".cleanup_quarantine" / RUN_ID).mkdir(parents=True)
    document = week.document()
    removed, = document["removed"]
    assert (removed["files"], removed["bytes"], removed["restored"], removed["paths"]) == (
        2, 2000, 1, ["a.tmp", "b.tmp"])
    assert removed["restore"].endswith("--root %s restore %s" % (week.path, RUN_ID))
    assert removed["purge_after"] == "2025-06-19T03:00:00Z"
    assert document["purged"] == {"runs": 1, "files": 4, "bytes": 4096}
    assert removed["restore"] in week.form("markdown")
    # The log is never rotated, so what lies before the period is not read again and again.
    assert len(report.read_actions(sc.Store(str(week.path)), SINCE)) == 8


@pytest.mark.parametrize("held, events, gone", [
    (False, [("done", "a")], "purged"), (True, [("done", "a"), ("restored", "a")], "all restored")])
def test_what_cannot_be_brought_back_has_no_command(week, held, events, gone):
    week.lines("cleanup_actions.log", *removal(*events))
    if held:
        (week.path / ".cleanup_quarantine" / RUN_ID).mkdir(parents=True)
    removed, = week.document()["removed"]
    assert removed["restore"] is None and removed["gone"] == gone


def analysis(**more):
    return json.dumps(dict({
        "at": "2025-06-08T02:30:00Z", "verdict": "OK - 1 file would be removed (7 B)", "refused": "", "candidates": [
            {"path": "x.tmp", "size": 7, "rule": "temporary", "reason": "old", "next_run": True},
            {"path": "y.tmp", "size": 7, "rule": "temporary", "reason": "old", "next_run": False}]}, **more))


def test_what_goes_next_is_told_with_the_age_of_the_analysis(week):
    week.write("cleanup_report.json", analysis())
    found = week.document()["next_removals"]
    assert found["age_s"] == 34200 and found["later"] == 1
    assert found["candidates"] == [{"path": "x.tmp", "size": 7, "rule": "temporary", "reason": "old"}]
    assert "9h 30m old" in week.form("html")


def test_a_clean_up_that_refuses_is_a_problem(week):
    week.write("cleanup_report.json", analysis(refused="the inventory is 3d old"))
    document = week.document()
    assert document["problems"] == ["The clean-up was refused: the inventory is 3d old."]
    assert document["next_removals"]["candidates"] == []


# -- the disk

def test_the_series_of_free_space_gets_one_line_a_day(week):
    for _ in range(3):
        series = week.document()["disk"]["series"]
    lines = (week.path / "status/disk.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert set(json.loads(lines[0])) == {"at", "free_bytes", "total_bytes", "free_inodes", "format"}
    assert stat.S_IMODE((week.path / "status/disk.jsonl").stat().st_mode) == 0o600
    assert [sample["at"] for sample in series] == ["2025-06-08T12:00:00Z"]


def test_the_series_keeps_its_newest_400_days(week):
    week.lines("status/disk.jsonl", *[{"at": sc.iso(NOW - day * 86400), "free_bytes": day, "total_bytes": 1000}
                                      for day in range(500, 0, -1)])
    document = week.document()
    lines = (week.path / "status/disk.jsonl").read_text().splitlines()
    assert len(lines) == 400 and json.loads(lines[0])["free_bytes"] == 399
    assert document["disk"]["change_bytes"] == document["disk"]["free_bytes"] - 399


def test_a_root_in_which_nothing_ran_gets_no_file(tmp_path):
    report.read_facts(sc.Store(str(tmp_path)), SINCE, HandClock(NOW))
    assert list(tmp_path.iterdir()) == []


def test_a_series_that_cannot_be_kept_is_a_note_and_no_error(week, monkeypatch):
    def refuse(path, data):
        raise sc.StorageError("cannot write %s: No space left on device" % path)

    monkeypatch.setattr(sc, "write_atomic", refuse)
    notes = week.document()["notes"]
    assert len(notes) == 1 and notes[0].startswith("Free disk space was not recorded: cannot ")


def test_a_series_that_becomes_unreadable_is_not_replaced(week, monkeypatch):
    week.lines("status/disk.jsonl", {"at": "2025-06-01T00:00:00Z", "free_bytes": 5, "total_bytes": 9})

    def broken(store):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(report, "read_disk", broken)
    notes = report.record_disk(sc.Store(str(week.path)), NOW, {"free_bytes": 1, "total_bytes": 9})
    assert notes == ["Free disk space was not recorded: cannot read status/disk.jsonl: Input/output error."]
    assert len((week.path / "status/disk.jsonl").read_text().splitlines()) == 1


def test_a_series_that_another_report_is_writing_is_left_to_it(week, monkeypatch):
    monkeypatch.setattr(report, "DISK_LOCK_WAIT_S", 0.0)
    lock = sc.FileLock(str(week.path / "status/disk.jsonl"))
    assert lock.acquire()
    week.document()
    lock.release()
    assert (week.path / "status/disk.jsonl").read_text() == ""


# -- the timeline

def mark(minute, kind="success"):
    verdict = {"status": kind, "attempt": 1, "exit_code": 0, "slot": NOW + 60 * minute}
    return page.Mark(NOW + 60 * minute, NOW + 60 * minute + 5, kind, verdict, verdict)


def test_few_runs_are_drawn_one_by_one_and_never_too_narrow_to_see():
    axis = page.Axis(NOW, NOW + 100000)
    paths = page.row_paths([mark(0), mark(1000, "failed")], axis, 400)
    assert [(kind, path) for kind, path, _ in paths] == [("success", "M0 4h2v8H0z"), ("failed", "M600 0h2v16H600z")]
    assert paths[1][2] == "slot Jun 9 04:40, started 04:40:00, took 5s, failed, exit 0"


def test_many_runs_are_put_together_and_the_worst_verdict_wins():
    axis = page.Axis(NOW, NOW + 1000 * 60)
    marks = [mark(minute, {5: "failed", 7: "timeout", 30: "interrupted", 31: "skipped"}.get(minute, "success"))
             for minute in range(1000)]
    paths = page.row_paths(marks, axis, 100)
    assert len(paths) == 101  # 100 stretches of ten minutes, and the tick of the skip
    assert [kind for kind, _, _ in paths[:5]] == ["failed", "success", "success", "interrupted", "skipped"]
    assert paths[0][2] == "Jun 8 12:00 to 12:10: 10 slots, 1 failed, 1 timeout, 8 success"
    assert paths[4][2] == ""


def test_an_attempt_that_was_made_good_does_not_colour_a_stretch():
    axis = page.Axis(NOW, NOW + 1000 * 60)
    marks = [mark(minute) for minute in range(500)] + [mark(5, "retried")]
    assert {kind for kind, _, _ in page.row_paths(marks, axis, 100)} == {"success"}


def test_an_attempt_that_a_retry_made_good_is_counted_nowhere_as_a_failure(root):
    root.configure(DAILY)
    first = run("daily", "04T06:00", "failed")
    root.history(run("daily", "03T06:00"), run("daily", "04T06:00", late=300, attempt=2, attempts=[first]))
    document, text = root.document(), root.form("html")
    task, = document["tasks"]
    assert (task["verdicts"], task["success_rate"], task["retries"]) == ({"success": 2}, 1.0, 1)
    assert task["duration"]["series"] == [10, 10] and document["failures"] == []
    assert "; 100 % of the slots that ran" in document["verdict"]
    assert 'aria-label="2 success"' in text and '<g class="f">' not in text and text.count('<g class="a">') == 1


def test_the_attempts_of_an_open_slot_are_drawn(week):
    state = sc.load_state((week.path / "conductor_state.json").read_text())
    cycle = sc.Cycle(slot=NOW - 3600, phase="retrying", attempt=2, retry_at=NOW + 60.0,
                     attempts=[run("daily", "08T11:00", "failed")])
    week.state(tasks=dict(state.tasks, daily=state.tasks["daily"].replace(cycle=cycle)))
    marks = report.timeline(week.facts(), week.document()["tasks"])["daily"]
    assert marks[-1].kind == "retried" and page.mark_title(marks[-1]) == (
        "slot Jun 8 11:00, started 11:00:00, took 10s, failed, exit 1, attempt 1 of 2, retried")


def test_a_row_has_room_for_fewer_marks_the_more_rows_there_are():
    assert [page.mark_limit(tasks) for tasks in (0, 1, 15, 50, 1000)] == [400, 400, 400, 120, 24]


def test_an_attempt_says_which_it_was_and_a_run_by_hand_that_it_was(week):
    week.history(run("daily", "08T08:00", trigger="manual", scheduled_for=None), run("daily", "08T06:00"),
                 run("after", "08T07:00"))
    text = week.form("html")
    assert "<title>slot Jun 4 06:00, started 06:00:00, took 8s, failed, exit 1, attempt 1 of 2, retried</title>" in text
    assert "<title>slot Jun 4 06:00, started 06:05:00, took 8s, failed, exit 3, attempt 2 of 2</title>" in text
    assert "<title>by hand, started Jun 8 08:00:00, took 10s, success, exit 0</title>" in text
    assert "<title>slot Jun 4 07:00, skipped: dependency</title>" in text


def test_a_run_that_is_going_on_reaches_to_now(week):
    state = sc.load_state((week.path / "conductor_state.json").read_text())
    tasks = dict(state.tasks, daily=state.tasks["daily"].replace(run=sc.Run(
        run_id="r-1", slot=NOW - 3600, started_at=float(NOW - 3600))))
    week.state(tasks=tasks)
    assert "<title>slot Jun 8 11:00, started 11:00:00, for 1h, running</title>" in week.form("html")


BEGUN = {"event": "begun", "at": "2025-06-08T09:30:00Z", "pauses": {}}
GAP = {"event": "gap", "since": "2025-06-08T10:00:00Z", "at": "2025-06-08T11:00:00Z", "cause": "cron"}
BY_HAND = run("daily", "08T09:00", scheduled_for=None, trigger="manual")


@pytest.mark.parametrize("events, verdicts, began, length", [
    ([BEGUN, GAP], [run("daily", "08T10:00")], "2025-06-08T09:30:00Z", "2h 30m"),
    ([BEGUN], [BY_HAND], "2025-06-08T09:00:00Z", "3h"),  # before the first tick
    ([BEGUN], [run("daily", "02T06:00"), run("daily", "08T10:00")], "2025-06-02T06:00:00Z", "6d 6h"),
    ([BEGUN], [dict(run("daily", "02T06:00"), ended_at="2025-05-30T06:00:00Z"), BY_HAND],
     "2025-06-01T12:00:00Z", "7d"),  # the state was lost: it is not the first day
    ([GAP, BEGUN], [run("daily", "08T10:00")], "2025-06-01T12:00:00Z", "7d"),
    ([], [run("daily", "08T10:00")], "2025-06-01T12:00:00Z", "7d")])
def test_the_axis_begins_with_the_record(root, events, verdicts, began, length):
    root.configure(DAILY)
    root.tick()
    root.lines("status/events.jsonl", *events)
    root.history(*verdicts)
    document, text = root.document(), root.form("html")
    assert document["began"] == began and document["since"] == "2025-06-01T12:00:00Z"
    assert document["verdict"].endswith("of the slots that ran in %s succeeded." % length)
    assert '<time datetime="%s">' % began in text.split("</header>")[0]
    x = page.Axis(sc.from_iso(began), NOW).x(sc.from_iso(verdicts[-1]["started_at"]))
    assert '<path d="M%s 4h' % page.number(x) in text


@pytest.mark.parametrize("hours, labels", [
    (1, ["04:10", "04:20", "04:30", "04:40", "04:50"]), (24, ["06:00", "09:00", "12:00"]),
    (7 * 24, ["Jun 3", "Jun 4", "Jun 5"]), (30 * 24, ["Jun 6", "Jun 11"])])
def test_the_axis_is_labelled_at_even_times(hours, labels):
    since = sc.from_iso("2025-06-02T04:00:00Z")
    found = [text for _, text in page.Axis(since, since + hours * 3600).labels()]
    assert found[:len(labels)] == labels and len(found) <= 9


@pytest.mark.parametrize("seconds, text", [
    (None, "-"), (0, "0s"), (0.254, "0.25s"), (3.44, "3.4s"), (41.7, "41s"), (60, "1m"), (320, "5m 20s"),
    (7260, "2h 1m")])
def test_lengths_are_told_as_precisely_as_they_matter(seconds, text):
    assert page.length_text(seconds) == text


@pytest.mark.parametrize("share, text", [(None, "-"), (1, "100 %"), (0.99999, "99.9 %"), (0.0001, "0.1 %"), (0, "0 %")])
def test_only_all_is_a_hundred_per_cent(share, text):
    assert page.percent_text(share) == text


# -- the page

VOID = ("meta", "br")


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser would, and holds it to what it promises."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.texts, self.ids, self.links = [], [], [], [], []
        self.rows = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert set(self.links) <= set(self.ids)

    def handle_starttag(self, tag, attributes):
        self._look(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            assert "tr" in self.open
            self.rows[-1].append(tag)

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self.open, tag
        self._look(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def _look(self, tag, attributes):
        self.seen.append(tag)
        for name, value in attributes:
            assert name not in ("src", "srcset", "style", "action", "xlink:href") and not name.startswith("on"), name
            if name == "href":
                assert re.match("#[A-Za-z0-9_.-]+$", value), value
                self.links.append(value[1:])
            if name == "id":
                self.ids.append(value)
        if tag == "th":
            assert dict(attributes)["scope"] in ("row", "col")

    def handle_data(self, text):
        self.texts.append(text)

    def handle_comment(self, text):
        raise AssertionError("a comment: " + text)

    @property
    def text(self):
        return " ".join(self.texts)


def hostile(root):
    """A root in which everything that may hold text holds the worst."""
    root.configure(dict(DAILY, description=HOSTILE.replace("\udcff", "")), AFTER)
    root.tick()
    root.history(
        run("daily", "04T06:00", "failed", reason=HOSTILE, output_tail=HOSTILE), run("daily", "05T06:00", HOSTILE),
        skip("after", "04T07:00", "skipped_dependency", reason=HOSTILE), run(HOSTILE, "06T06:00", "failed"))
    root.lines("status/events.jsonl", {"event": "gap", "since": "2025-06-03T10:00:00Z", "at": "2025-06-03T13:30:00Z",
                                       "cause": HOSTILE})
    root.lines("cleanup_actions.log", *removal(("done", HOSTILE)))
    (root.path / ".cleanup_quarantine" / RUN_ID).mkdir(parents=True)
    root.write("cleanup_report.json", analysis(verdict=HOSTILE, candidates=[
        {"path": HOSTILE, "size": 7, "rule": HOSTILE, "reason": HOSTILE, "next_run": True}]))
    return root


def test_nothing_in_a_page_comes_from_elsewhere_whatever_the_data_holds(tmp_path):
    root = Root(tmp_path / ("root " + "<b onclick='x'>\"&"))
    read = Reader(hostile(root).form("html"))
    assert "script" not in read.seen and "img" not in read.seen and "link" not in read.seen
    assert read.seen.count("style") == 1 and read.seen.count("h1") == 1
    shown = "</title></td></svg><script src=\"http://evil.example/x.js\">alert('1')</script>"
    assert read.text.count(shown) >= 9
    assert "\\x1b[31m \\u202e \\xff end" in read.text
    assert "\x1b" not in read.text and "\u202e" not in read.text


def test_what_came_from_data_can_stand_within_quotes_as_well():
    assert page.h("a\"b'c<d>&\x00\n e") == "a&quot;b&#x27;c&lt;d&gt;&amp;\\x00 e"


def test_a_page_has_what_browsers_and_readers_need(week):
    text = week.form("html")
    read = Reader(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "default-src 'none'; style-src 'sha256-" in text
    assert "<title>Healthy: Symphony Conductor on " in text
    assert {len(row) for row in read.rows} <= {2, 4, 5, 8}
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert headings == ["Audit", "Timeline", "Tasks", "Failures", "Periods without a tick", "Removed by clean-up",
                        "To be removed next", "Disk"]
    assert text.index('class="verdict good"') < text.index("<h2")
    assert "prefers-color-scheme:dark" in text and "@media print" in text and "@media screen and (max-width" in text


def test_every_column_has_a_heading_and_every_table_a_caption(root):
    tables = re.findall(r"(?s)<table.*?</table>", hostile(root).form("html"))
    captions = [re.search(r"<caption[^>]*>(.+?)</caption>", table).group(1) for table in tables]
    assert captions == ["Unexplained slots", "Runs of each task", "Figures of each task",
                        "Slots that did not succeed", "Periods without a tick", "Files that clean-up removed",
                        "Files that clean-up will remove next"]
    for table in tables:
        head, body = table.split("</thead>")
        headings = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', head)
        assert all(re.sub("<[^>]+>", "", heading).strip() for heading in headings)
        rows = [len(re.findall("<t[hd][ >]", row)) for row in body.split("<tr")[1:]]
        assert rows and set(rows) == {len(headings)}


def test_the_lines_of_durations_stand_in_a_column_of_their_own(week):
    text = week.form("html")
    assert '<th scope="col" class="trend">Trend</th>' in text
    assert '<td class="num" data-l="Duration">16s</td><td class="trend" data-l="Trend"><span><svg' in text


def test_a_timeline_that_is_too_wide_shows_the_present_first(week):
    assert ".scroll{overflow-x:auto;border-radius:4px;direction:rtl}\n.scroll table{direction:ltr}" in page.STYLE
    assert '<div class="scroll"' in week.form("html")


def test_the_policy_of_a_page_allows_its_own_style_and_no_other(week):
    import base64
    import hashlib
    text = week.form("html")
    style = re.search("(?s)<style>(.*)</style>", text).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "style-src 'sha256-%s'" % digest in text
    assert "url(" not in style.replace("url(#hatch)", "") and "@import" not in style


def luminance(colour):
    parts = [int(colour[place:place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_and_bars_have_the_contrast_of_wcag_aa(scheme):
    block = re.findall(r"(?s):root\{(.*?)\}", page.STYLE)[scheme]
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", block))
    for text in ("text", "mute"):
        for ground in ("ground", "card", "goodback", "badback"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["good"], colours["goodback"]) >= 4.5
    assert contrast(colours["bad"], colours["badback"]) >= 4.5 and contrast(colours["bad"], colours["card"]) >= 4.5
    for bar in ("s", "f", "t", "i", "k", "r", "gap", "line"):
        assert contrast(colours[bar], colours["card"]) >= 3, bar


def test_verdicts_differ_in_shape_and_not_only_in_colour():
    finished = [kind for name, kind in page.KINDS.items() if name != "running"]
    assert len({(kind.top, kind.height) for kind in finished}) == len(finished)


# -- the summary and JSON

def tables_of(text):
    """The tables of a Markdown text, as rows of cells."""
    found = []
    for line, before in zip(text.split("\n"), [""] + text.split("\n")):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append(re.split(r"(?<!\\)\|", line)[1:-1])
    return found


def test_the_tables_of_the_summary_keep_their_columns_whatever_the_data_holds(root):
    text = hostile(root).form("markdown")
    tables = tables_of(text)
    assert [len(table) for table in tables] == [5, 6, 3, 3, 3]
    for table in tables:
        assert {len(row) for row in table} == {len(table[0])}
        assert all(re.match(" ?---:? ?$", cell) for cell in table[1])


def test_nothing_in_the_summary_is_html_or_moves_a_cursor(root):
    text = hostile(root).form("markdown")
    assert all(char.isprintable() for line in text.split("\n") for char in line)
    rest = re.sub(r"\\.", "", text)  # what a backslash takes its meaning from
    rest = re.sub(r"(?s)(`+)(?!`).*?(?<!`)\1(?!`)", "", rest)
    assert not set(rest) & set("<[]`") and "evil.example" in rest


def test_the_summary_begins_with_the_verdict_and_the_audit(week):
    lines = week.form("markdown").split("\n")
    assert lines[0] == "**Healthy: 2 tasks, no problems; 92.3 % of the slots that ran in 7d succeeded.**"
    assert lines[2] == "14 slots, 0 unexplained, 2025-06-01T12:00:00Z to 2025-06-08T12:00:00Z"
    assert "| `daily` | idle | 85.7 % | 8 | 0 | 16s | +100 % | 2h |" in lines
    assert "| `daily` | 2025-06-04T06:00:00Z | failed | 3 | 2 | no luck |" in lines


def test_json_holds_the_same_facts_and_every_text_as_it_is(root):
    text = hostile(root).form("json")
    document = json.loads(text)
    assert document["format"] == 1 and all(ord(char) < 128 for char in text)
    assert [each["reason"] for each in document["failures"]].count(HOSTILE) == 2
    assert document["removed"][0]["paths"] == [HOSTILE]
    assert document["next_removals"]["candidates"][0]["rule"] == HOSTILE


def test_the_help_tells_every_key_of_the_document(week):
    for key, value in week.document().items():
        assert re.search(r"\b%s\b" % key, report.__doc__), key
        if isinstance(value, dict) and key not in ("audit", "purged"):
            assert all(name in report.__doc__ for name in value), key
    for task in week.document()["tasks"]:
        for part in (task, task["duration"], task["queue"], task["waits"]):
            assert all(name in report.__doc__ for name in part)


# -- what is not there, and what is damaged

@pytest.mark.parametrize("form, start", [
    ("html", "<!DOCTYPE html>"), ("markdown", r"\*\*Not healthy: \d problems; nothing ran in 7d\.\*\*"),
    ("json", "{\n")])
def test_an_empty_folder_gets_a_sensible_report(tmp_path, form, start):
    code, out, err = run_script("symphony_report.py", tmp_path, "--format", form)
    assert code == 0 and re.match(start, out)
    assert re.match(r"symphony_report: WARNING - Not healthy: \d problems[^\n]*\n\Z", err)
    if form == "html":
        Reader(out)
        assert "no tick has run yet" in out and "0 slots, 0 unexplained" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text, states, words", [
    ("{", ["unknown", "unknown"], {""}),
    ('{"tasks": [{"name": "daily", "schedule": "61 * * * *", "command": "true"}]}', ["invalid", "removed"], {""})])
def test_a_broken_configuration_removes_no_task(week, text, states, words):
    week.write("config/conductor_config.json", text)
    document = week.document()
    assert [task["state"] for task in document["tasks"]] == states
    assert {task["words"] for task in document["tasks"]} == words
    assert "json" in document["problems"][0] and document["healthy"] is False


def test_a_task_that_runs_under_a_broken_configuration_is_not_said_to_be_removed(week):
    state = sc.load_state((week.path / "conductor_state.json").read_text())
    run_now = sc.Run(run_id="r-1", slot=NOW - 3600, started_at=float(NOW - 3600))
    week.state(tasks=dict(state.tasks, daily=state.tasks["daily"].replace(run=run_now)))
    week.write("config/conductor_config.json", "{")
    daily = week.document()["tasks"][0]
    assert (daily["name"], daily["state"], daily["reason"]) == ("daily", "running", "")


TORN = [b'{"task": "daily", "status": "succ', b"\0\0\0\0", b"\xff\xfe", b"[]", b"7", b"null", b"[" * 3000, b'{"at": 7}']


def test_lines_that_are_damaged_are_passed_over(week):
    week.lines("status/events.jsonl", {"event": "gap", "since": "2025-06-03T10:00:00Z", "at": "2025-06-03T13:30:00Z",
                                       "cause": "cron"})
    week.lines("cleanup_actions.log", *removal(("done", "a")))
    week.lines("status/disk.jsonl", {"at": "2025-06-08T01:00:00Z", "free_bytes": 5, "total_bytes": 9})
    keys = ("tasks", "audit", "failures", "gaps", "removed", "purged", "problems")
    before = week.document()
    good = run("daily", "06T06:00")
    wrong = [dict(good, **change) for change in (
        {"scheduled_for": "tomorrow"}, {"scheduled_for": 7}, {"started_at": []}, {"duration_s": "long"},
        {"duration_s": -1}, {"duration_s": float("inf")}, {"attempts": 7}, {"status": 7},
        {"task": None}, {"ended_at": "2025-99-99T00:00:00Z"}, {"merged_since": "x"})]
    events = [{"event": "gap", "at": "2025-06-03T13:30:00Z"}, {"event": "anchored", "at": "x"}, {"at": "2025-06-03"},
              {"event": "anchored", "at": "2025-06-03T13:30:00Z", "tasks": {"daily": {"key": "? ? ? UTC"}}},
              {"event": "anchored", "at": "2025-06-03T13:30:00Z", "tasks": {"daily": {}}},
              {"event": "clock", "at": "2025-06-03T13:30:00Z", "tasks": {"daily": {"since": "2025-06-03T13:30:00Z"}}},
              {"event": "rested", "at": "2025-06-03T13:30:00Z", "tasks": {"daily": 7}},
              {"event": "rested", "at": "2025-06-03T13:30:00Z", "tasks": []}]
    actions = [{"event": "done", "run": "../../etc", "path": "a", "at": "2025-06-05T03:00:00Z"},
               {"event": "purged", "run": RUN_ID, "files": "x", "size": 1, "at": "2025-06-05T03:00:00Z"},
               {"event": "done", "run": RUN_ID, "path": "a"}, {"event": ["done"], "at": "2025-06-05T03:00:00Z"}]
    samples = [{"at": "2025-06-08T02:00:00Z", "free_bytes": "x", "total_bytes": 9},
               {"at": 3, "free_bytes": 1, "total_bytes": 9}, {"at": "2025-06-08T02:00:00Z"}]
    for name, extra in (("status/history/2025-06-06.jsonl", wrong), ("status/events.jsonl", events),
                        ("cleanup_actions.log", actions), ("status/disk.jsonl", samples)):
        with open(str(week.path / name), "ab") as handle:
            handle.write(b"\n".join(TORN + [json.dumps(entry).encode() for entry in extra]))
    after = week.document()
    assert {key: after[key] for key in keys} == {key: before[key] for key in keys}
    assert len(after["disk"]["series"]) == 2
    Reader(week.form("html"))


def test_an_attempt_that_is_damaged_is_passed_over_and_its_verdict_stays(root):
    root.configure(DAILY)
    whole = run("daily", "04T06:00", "failed")
    root.history(run("daily", "04T06:00", attempts=[whole, dict(whole, status=[]), dict(whole, started_at=None),
                                                    dict(whole, duration_s="x"), 7]))
    task, = root.document()["tasks"]
    assert (task["runs"], task["retries"], task["succeeded"]) == (2, 1, 1)
    Reader(root.form("html"))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"at": 7, "candidates": []}',
                                  '{"at": "2025-06-08T02:30:00Z", "candidates": 7}'])
def test_an_analysis_that_is_none_is_a_note(week, text):
    week.write("cleanup_report.json", text)
    document = week.document()
    assert document["next_removals"] is None and document["unread"] == ["cleanup_report.json"]
    assert document["notes"] == ["Cannot read cleanup_report.json: not a clean-up analysis."]


@pytest.mark.parametrize("name, reason, page_has, page_lacks", [
    ("cleanup_report.json", "Is a directory", "To be removed next</h2><p>Unknown.</p>", "No clean-up analysis"),
    ("cleanup_actions.log", "Is a directory", "<p>Unknown.</p>", "<p>Nothing.</p>"),
    (".cleanup_quarantine", "Not a directory", "unknown: cannot read .cleanup_quarantine", "<br>purged"),
    ("status/disk.jsonl", "Is a directory", "One value is recorded per day", "since the first"),
    ("free space", "Input/output error", "Disk</h2><p>Unknown.</p>", "inodes")])
def test_what_cannot_be_read_is_a_note_and_not_an_absence(week, monkeypatch, name, reason, page_has, page_lacks):
    def broken(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if name == "free space":
        monkeypatch.setattr(os, "statvfs", broken)
    elif name == ".cleanup_quarantine":
        week.lines("cleanup_actions.log", *removal(("done", "a")))
        week.write(name, "")
    else:
        (week.path / name).mkdir()
    document, text = week.document(), week.form("html")
    assert document["unread"] == [name] and document["notes"] == ["Cannot read %s: %s." % (name, reason)]
    assert page_has in text and page_lacks not in text
    assert document["notes"][0] in html.unescape(text)
    assert "Cannot read" in week.form("markdown")


def test_candidates_that_are_damaged_are_passed_over(week):
    week.write("cleanup_report.json", analysis(candidates=[7, {}, {"path": 7, "size": 7}, {"path": "x", "size": "7"},
                                                           {"path": "good", "size": 7}]))
    assert [each["path"] for each in week.document()["next_removals"]["candidates"]] == ["good"]


# -- the command line

def test_the_report_is_written_to_a_file_of_ones_own_and_said_in_one_line(week, tmp_path):
    out = tmp_path / "report.html"
    code, said, err = run_script("symphony_report.py", week.path, "--output", out)
    assert (code, err) == (0, "") and re.match(r"WARNING - .*; %s, \d+\.\d KiB\n\Z" % re.escape(str(out)), said)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    out.chmod(0o644)
    assert run_script("symphony_report.py", week.path, "--output", out, "--format", "json")[0] == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    assert json.loads(out.read_text())["format"] == 1
    assert sorted(path.name for path in tmp_path.iterdir() if "report" in path.name) == ["report.html"]


def test_a_report_that_could_not_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    out.write_text("the one before")

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sc, "write_all", full)
    with pytest.raises(sc.StorageError, match="No space left"):
        report.write_output(str(out), b"new")
    assert out.read_text() == "the one before"


def test_a_report_goes_through_a_link_and_never_in_place_of_what_is_no_file(tmp_path):
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    report.write_output(str(tmp_path / "link.html"), b"new")
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "real.html").read_text() == "new"
    os.mkfifo(str(tmp_path / "pipe"))  # no device of the box: should this ever fail, root would lose it
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none" / "report.html"):
        with pytest.raises(sc.UsageError, match="--output"):
            report.write_output(str(path), b"new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("arguments, said", [
    (["--since", "soon"], "--since: 'soon' is neither a duration such as 7d nor a time such as 2025-06-02"),
    (["--output", "."], "is not a regular file (omit --output to write to stdout)")])
def test_a_wrong_option_is_one_line_and_exit_2(tmp_path, arguments, said):
    code, out, err = run_script("symphony_report.py", tmp_path, *arguments)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and said in err


def test_a_root_that_is_no_folder_is_one_line_and_exit_2(tmp_path):
    code, out, err = run_script("symphony_report.py", tmp_path / "none")
    assert (code, out) == (2, "") and err == "symphony_report: --root: %s is not a folder\n" % (tmp_path / "none")


# -- a busy month

@pytest.fixture(scope="module")
def month(tmp_path_factory):
    folder = tmp_path_factory.mktemp("month") / "root"
    return bench_report.Made(folder, tasks=50, days=30, now=NOW)


def test_a_month_of_fifty_tasks_is_a_page_of_less_than_a_mebibyte(month):
    facts = report.read_facts(sc.Store(month.root), NOW - 30 * 86400, HandClock(NOW))
    document = report.report(facts)
    text = report.FORMS["html"](facts, document)
    assert len(month.verdicts) > 30000 and len(text.encode()) < 1 << 20
    assert document["audit"]["unexplained"] == 0 and document["audit"]["slots"] > 35000
    assert len(document["tasks"]) == 50 and len(document["gaps"]) == 4 and len(document["removed"]) == 4
    read = Reader(text)
    assert read.seen.count("path") > 2000
    assert all(name in read.text for name in facts.config.tasks)
    assert "a bar stands for several slots" in read.text


def test_the_summary_of_a_month_is_short(month):
    facts = report.read_facts(sc.Store(month.root), NOW - 30 * 86400, HandClock(NOW))
    text = report.markdown(report.report(facts))
    assert len(text) < 16384 and len(text.split("\n")) < 150
