"""What is shown: exit codes, health files, tables, audits, and the block of the crontab."""

import re

import pytest
from stories import World, at, task, verdict

import symphony_conductor as sc

MINUTE, HOUR, DAY = 60, 3600, 86400
NOON = "2025-06-03T12:00:00Z"
NOW = at(NOON)


# -- a verdict as an exit code, and as a line of the health file

@pytest.mark.parametrize("status, code, expected", [
    ("success", 0, 0), ("success", 3, 0), ("success", None, 0),
    ("failed", 7, 7), ("failed", 1, 1), ("failed", 0, 1), ("failed", None, 255),
    ("timeout", 124, 124), ("timeout", None, 255), ("interrupted", None, 255),
    ("stopped", 143, 143), ("skipped_exit", 75, 75), ("skipped_exit", 0, 0)])
def test_run_exits_with_0_only_after_a_success_or_a_skip(status, code, expected):
    assert sc.code_of_run({"status": status, "exit_code": code}) == expected


def test_a_result_that_says_nothing_of_a_code_is_unknown():
    assert (sc.code_of_run({"status": "failed"}), sc.code_of_run({"status": "success"})) == (255, 0)


@pytest.mark.parametrize("status, more, line", [
    ("success", {}, "success:%s:0\n"),
    ("success", {"exit_code": 3}, "success:%s:0\n"),
    ("failed", {"exit_code": 7}, "failed:%s:7\n"),
    ("failed", {"exit_code": 0}, "failed:%s:1\n"),
    ("timeout", {"exit_code": 124}, "timeout:%s:124\n"),
    ("interrupted", {"exit_code": None}, "interrupted:%s:255\n"),
    ("stopped", {"exit_code": 143}, "stopped:%s:143\n"),
    ("stopped", {"exit_code": None, "run_id": None}, "stopped:%s:143\n"),
    ("skipped_dependency", {}, "skipped:%s:75\n"),
    ("skipped_late", {}, "skipped:%s:75\n"),
    ("skipped_condition", {"run_id": "R"}, "skipped:%s:75\n"),
    ("skipped_exit", {"run_id": "R", "exit_code": 75}, "skipped:%s:75\n"),
    # What leaves the last result in its place.
    ("skipped_overlap", {}, None), ("skipped_paused", {}, None), ("skipped_not_on", {}, None),
    ("success", {"backfill": True}, None), ("skipped_late", {"backfill": True}, None),
    ("stopped", {"backfill": True}, None)])
def test_the_health_file_has_the_last_result_and_the_skips_that_mean_trouble(status, more, line):
    shown = sc.health_line(verdict("a", NOON, status, **more))
    assert shown == (line and line % NOON)


# -- times

@pytest.mark.parametrize("text, zone, expected", [
    ("2025-06-01T01:00:00Z", "UTC", "Sun 2025-06-01 01:00 +0000"),
    ("2025-06-01T01:00:59Z", "Europe/Paris", "Sun 2025-06-01 03:00 +0200"),
    ("2025-12-31T23:30:00Z", "Europe/Paris", "Thu 2026-01-01 00:30 +0100"),
    ("2025-06-01T01:00:00Z", "America/New_York", "Sat 2025-05-31 21:00 -0400"),
    ("2025-06-01T01:00:00Z", "Asia/Kolkata", "Sun 2025-06-01 06:30 +0530"),
    ("2025-01-01T01:00:00Z", "America/St_Johns", "Tue 2024-12-31 21:30 -0330")])
def test_a_time_is_told_as_the_clocks_of_the_zone_show_it(text, zone, expected):
    assert sc.local_text(at(text), zone) == expected


@pytest.mark.parametrize("last_tick, said", [
    (None, "no tick yet"), (NOON, "last tick 0s ago"), ("2025-06-03T11:59:15Z", "last tick 45s ago"),
    ("2025-06-03T12:00:59Z", "last tick 0s ago"), ("2025-06-03T12:01:00Z", "last tick 1m ahead"),
    ("2025-06-03T14:30:00Z", "last tick 2h 30m ahead")])
def test_a_tick_of_the_future_is_told_from_two_clocks_that_round(last_tick, said):
    assert shown(tick=last_tick).split("\n")[0] == "healthy | %s | running 0 of 3" % said


# -- the status

def of(name, **more):
    """A task as `status` has it."""
    return dict({"name": name, "enabled": True, "schedule": None, "description": "",
                 "state": "idle", "waiting_for": None, "reason": "", "owner": "",
                 "dependencies": [], "locks": [], "tags": [], "paused": None, "next_run": None,
                 "last_run": None, "consecutive_failures": 0, "recent": "",
                 "usual_duration_s": None}, **more)


def found(severity="problem", **more):
    return dict({"code": "failing", "severity": severity, "task": "a", "place": None,
                 "text": "'a' failed", "command": None, "since": None, "output": None}, **more)


def shown(*tasks, **more):
    width = more.pop("width", 200)
    flags = {key: more.pop(key) for key in ("coloured", "only_problems") if key in more}
    document = dict({
        "now": NOON, "healthy": True, "verdict": "healthy", "findings": more.pop("findings", []),
        "last_tick": more.pop("tick", NOON), "running_now": 0, "max_concurrent_tasks": 3,
        "tasks": list(tasks)}, **more)
    return sc.status_table(document, width, **flags)


def ran(status="success", ago_s=5 * MINUTE, took_s=3.0):
    return {"status": status, "ended_at": sc.iso(NOW - ago_s), "duration_s": took_s}


def test_the_status_has_the_verdict_first_then_a_row_a_task_with_its_reason():
    tasks = [
        of("backup", schedule="0 2 * * *", recent="+F", last_run=ran("failed"), state="retrying",
           next_run="2025-06-03T12:05:00Z", reason="failed (exit 1)"),
        of("clean", dependencies=["backup", "scan"], state="waiting", reason="waits for 'backup'"),
        of("once", last_run=ran(ago_s=2 * DAY), recent="+"),
        of("broken", state="invalid", schedule="0 2 * * *", reason="no command")]
    assert shown(*tasks, verdict="retrying backup", running_now=2, width=90) == "\n".join([
        "retrying backup | last tick 0s ago | running 2 of 3 | next: backup in 5m",
        "",
        "TASK    STATE     LAST            RECENT  NEXT   SCHEDULE",
        "backup  retrying  failed 5m ago   +F      in 5m  at 02:00 every day",
        "  retrying: failed (exit 1)",
        "clean   waiting   never           -       -      after backup and scan",
        "  waiting: waits for 'backup'",
        "once    idle      success 2d ago  +       -      by hand",
        "broken  invalid   never           -       -      -",
        "  invalid: no command",
        "",
        "RECENT, newest last: + success, F failed"])


def test_a_status_without_tasks_says_so_and_one_of_problems_has_no_rows():
    assert shown() == (
        "healthy | last tick 0s ago | running 0 of 3\n\n"
        "TASK  STATE  LAST  RECENT  NEXT  SCHEDULE\n(no tasks)")
    assert shown(of("a"), only_problems=True, findings=[found()]) == (
        "healthy | last tick 0s ago | running 0 of 3\n  ! 'a' failed")


@pytest.mark.parametrize("task, lines", [
    (of("a", reason="due since x; no tick has started it"),
     ["  late: due since x; no tick has started it"]),
    (of("a", state="paused", reason="until resumed (moving)"), ["  paused until resumed (moving)"]),
    (of("a", state="running", reason="paused until resumed"), ["  running: paused until resumed"]),
    (of("a", state="paused", reason="since x"), ["  paused since x"]),
    (of("a", reason="a\nb\x1b[31m"), ["  late: a\\nb"]),
    (of("a", skips={"2025-06-05T02:00:00Z": "skipped by joe", "2025-06-04T02:00:00Z": "x"}),
     ["  will be skipped: 2025-06-04T02:00:00Z, 2025-06-05T02:00:00Z"]),
    (of("a", skips={}), []),
])
def test_below_a_row_is_what_holds_the_task_up_and_what_will_be_skipped(task, lines):
    assert shown(task).split("\n")[4:] == lines


LATER = "2025-06-03T15:00:00Z"


@pytest.mark.parametrize("task, width, cells", [
    # Where there is room, every duration is shown; elsewhere, what is unusual.
    (of("a", last_run=ran()), 110, "success 5m ago, took 3s"),
    (of("a", last_run=ran(), usual_duration_s=2.0), 110, "success 5m ago, took 3s (usually 2s)"),
    (of("a", last_run=ran(took_s=None)), 110, "success 5m ago, took 0s"),
    (of("a", last_run=ran()), 109, "success 5m ago"),
    (of("a", last_run=ran(took_s=4.0), usual_duration_s=2.0), 109, "success 5m ago"),
    (of("a", last_run=ran(took_s=4.1), usual_duration_s=2.0), 109,
     "success 5m ago, took 4s (usually 2s)"),
    (of("a", last_run=ran(took_s=1.0), usual_duration_s=0.1), 109,
     "success 5m ago, took 1s (usually 0s)"),
    (of("a", last_run=ran(took_s=0.9), usual_duration_s=0.1), 109, "success 5m ago"),
    (of("a", last_run=ran("skipped_late")), 109, "skipped 5m ago"),
    (of("a"), 109, "never"),
])
def test_the_last_run_is_told_with_what_it_took_where_that_is_unusual(task, width, cells):
    row = shown(task, width=width).split("\n")[3]
    assert row == "a     idle   %s  -       -     by hand" % cells.ljust(len("LAST"))


@pytest.mark.parametrize("next_run, cell", [
    (None, "-"), (NOON, "due"), ("2025-06-03T11:00:00Z", "due"), ("2025-06-03T12:00:01Z", "in 1s"),
    (LATER, "in 3h")])
def test_the_next_run_is_told_from_now(next_run, cell):
    row = shown(of("a", next_run=next_run)).split("\n")[3]
    assert row.split("never")[1].split("by hand")[0].strip("- ") == cell.strip("-")


@pytest.mark.parametrize("verdict_text, tasks, width, line", [
    ("healthy", [of("b", next_run=LATER), of("a", next_run="2025-06-03T13:00:00Z"), of("c")], 200,
     "healthy | last tick 0s ago | running 0 of 3 | next: a in 1h"),
    ("NOT healthy: 1 problem, nothing starts", [of("a", next_run=LATER)], 200,
     "NOT healthy: 1 problem, nothing starts | last tick 0s ago | running 0 of 3"),
    ("healthy", [of("a" * 30, next_run=LATER)], 60,
     "healthy | last tick 0s ago | running 0 of 3"),
    ("healthy", [of("a" * 30, next_run=LATER)], 90,
     "healthy | last tick 0s ago | running 0 of 3 | next: %s in 3h" % ("a" * 30)),
    ("healthy", [of("a" * 31, next_run=LATER)], 90,
     "healthy | last tick 0s ago | running 0 of 3 | next: %s... in 3h" % ("a" * 27)),
    # Each part is whole, or it is not there: of exactly the width it is.
    ("healthy", [], 44, "healthy | last tick 0s ago | running 0 of 3"),
    ("healthy", [], 43, "healthy | last tick 0s ago | running 0 of 3"),
    ("healthy", [], 42, "healthy | last tick 0s ago"),
    ("healthy", [], 26, "healthy | last tick 0s ago"),
    ("healthy", [], 25, "healthy | running 0 of 3"),
    ("NOT healthy: 12 problems", [], 15, "NOT healthy:..."),
])
def test_the_headline_fits_and_cuts_no_part_of_itself(verdict_text, tasks, width, line):
    text = shown(*tasks, verdict=verdict_text, width=width)
    assert text.split("\n")[0] == line
    assert max(map(len, text.split("\n"))) <= max(width, 42)


@pytest.mark.parametrize("width, name", [(30, 12), (36, 12), (60, 20)])
def test_a_name_gets_a_third_of_the_screen(width, name):
    row = shown(of("x" * 50), width=width).split("\n")[3]
    assert row.split()[0] == "x" * (name - 3) + "..." and len(row) <= width


@pytest.mark.parametrize("recent, legend", [
    ("+", "+ success"), ("-", "- skipped"), ("TI", "T timeout, I interrupted"),
    ("-SITF+", "+ success, F failed, T timeout, I interrupted, S stopped, - skipped"), ("", None)])
def test_the_legend_has_the_marks_that_there_are(recent, legend):
    lines = shown(of("a", recent=recent), of("b")).split("\n")
    if legend is None:
        assert len(lines) == 5
    else:
        assert lines[5:] == ["", "RECENT, newest last: " + legend]


RED, GREEN, YELLOW, DIM, BOLD, END = ["\x1b[%sm" % code for code in ("31", "32", "33", "2", "1", "0")]


@pytest.mark.parametrize("more, line", [
    ({}, GREEN + "healthy" + END), ({"verdict": "retrying a"}, YELLOW + "retrying a" + END),
    ({"verdict": "NOT healthy: 1 problem", "healthy": False}, RED + "NOT healthy: 1 problem" + END)])
def test_the_verdict_is_coloured_by_what_it_says(more, line):
    text = shown(coloured=True, **more)
    assert text.split("\n")[0] == line + " | last tick 0s ago | running 0 of 3"
    assert text.split("\n")[2] == BOLD + "TASK  STATE  LAST  RECENT  NEXT  SCHEDULE" + END


@pytest.mark.parametrize("task, row", [
    (of("a"), "a     idle   never  -       -     %sby hand%s" % (DIM, END)),
    (of("a", state="running", last_run=ran("failed"), recent="+F"),
     "a     %srunning%s  %sfailed 5m ago%s  %s+F%s      -     %sby hand%s" % (
         GREEN, END, RED, END, RED, END, DIM, END)),
    (of("a", state="invalid", last_run=ran(), recent="+S-"),
     "a     %sinvalid%s  %ssuccess 5m ago%s  +S-     -     %s-%s" % (
         RED, END, GREEN, END, DIM, END)),
    (of("a", state="waiting", last_run=ran("skipped_late"), recent="T"),
     "a     %swaiting%s  %sskipped 5m ago%s  %sT%s       -     %sby hand%s" % (
         YELLOW, END, GREEN, END, RED, END, DIM, END)),
])
def test_the_cells_that_matter_are_coloured(task, row):
    text = shown(task, coloured=True, width=109)
    assert text.split("\n")[3] == row
    plain = shown(task, width=109)
    for escape in (RED, GREEN, YELLOW, DIM, BOLD, END):
        text = text.replace(escape, "")
    assert text == plain


def test_the_verdict_is_coloured_once_and_the_legend_is_dim():
    lines = shown(of("healthy", next_run=TOMORROW, recent="+"), coloured=True).split("\n")
    assert lines[0].count(GREEN) == 1 and " next: healthy in" in lines[0]
    assert lines[-1] == DIM + "RECENT, newest last: + success" + END


def test_a_coloured_row_is_as_wide_as_a_plain_one():
    tasks = [of("x" * 40, state="running", last_run=ran("failed"), recent="F" * 10)]
    for width in range(20, 90):
        text = shown(*tasks, coloured=True, width=width)
        for escape in (RED, GREEN, YELLOW, DIM, BOLD, END):
            text = text.replace(escape, "")
        assert text == shown(*tasks, width=width)


@pytest.mark.parametrize("finding, lines", [
    (found(), ["  ! 'a' failed"]), (found("warning"), ["  - 'a' failed"]),
    (found("notice"), ["  - 'a' failed"]),
    (found(output="no\nspace", command="logs a"),
     ["  ! 'a' failed", "      last output: no\\nspace", "      try: logs a"]),
    (found(since=sc.iso(NOW - 59)), ["  ! 'a' failed"]),
    (found(since=sc.iso(NOW - 60)), ["  ! 'a' failed (for 1m)"]),
    (found(since=sc.iso(NOW - DAY), code="overdue"), ["  ! 'a' failed"]),
    (found(text="a\nb"), ["  ! a\\nb"]),
    (found(command="logs a\nb\tc"), ["  ! 'a' failed", "      try: logs a\\nb\\tc"]),
    # The output is cut, a command to be copied is not, and a sentence is broken.
    (found(text="word " * 8 + "end", output="x" * 50, command="y" * 50), [
        "  ! word word word word word word word\n    word end",
        "      last output: %s..." % ("x" * 18), "      try: " + "y" * 50]),
])
def test_a_finding_has_its_sentence_its_last_output_and_what_to_type(finding, lines):
    assert sc.finding_lines(finding, NOW, 40) == lines


@pytest.mark.parametrize("severity, start", [
    ("problem", "  %s!%s 'a'" % (RED, END)), ("warning", "  %s-%s 'a'" % (YELLOW, END)),
    ("notice", "  - 'a'")])
def test_the_mark_of_a_finding_is_coloured_and_only_that(severity, start):
    assert sc.finding_lines(found(severity, text="'a' failed! - !"), NOW, 80, True) == [
        start + " failed! - !"]


def finding(code, task="a"):
    return sc.Finding(code=code, task=task, text="x")


PROBLEM, WARNING, NOTICE = finding("failing"), finding("disk-low"), finding("line-not-seen")
RETRYING = finding("retrying", "b")


@pytest.mark.parametrize("findings, words", [
    ([], "healthy"), ([NOTICE], "healthy"), ([WARNING], "healthy, 1 warning"),
    ([WARNING, NOTICE, WARNING], "healthy, 2 warnings"),
    ([RETRYING], "retrying b"), ([RETRYING, finding("retrying", "c"), WARNING], "retrying 2 tasks"),
    ([PROBLEM, RETRYING], "NOT healthy: 1 problem"),
    ([PROBLEM, finding("overdue")], "NOT healthy: 2 problems"),
    ([PROBLEM, finding("line-missing")], "NOT healthy: 2 problems, nothing starts"),
    ([WARNING, finding("paused-for-good")], "NOT healthy: 1 problem, nothing starts"),
])
def test_the_verdict_is_of_the_worst_of_the_findings(findings, words):
    assert sc.verdict_words(findings) == words


# -- the newest results

def test_the_newest_results_are_of_history_state_and_what_is_not_on_file_yet():
    first = verdict("a", "2025-06-03T01:00:00Z", "failed")
    retried = verdict("a", "2025-06-03T01:10:00Z", attempts=[first])
    open_attempt = verdict("b", "2025-06-03T03:00:00Z", "failed")
    pending = verdict("c", "2025-06-03T02:00:00Z", extra="not shown")
    state = sc.State(
        tasks={"b": sc.TaskState(cycle=sc.Cycle(attempts=[open_attempt])), "a": sc.TaskState()},
        pending=[retried, pending, dict(open_attempt, interim=True),
                 {"event": "gap", "at": NOON, "ended_at": NOON}])
    results = sc.recent_results(state, [retried])
    assert [(result["task"], result["ended_at"]) for result in results] == [
        ("b", "2025-06-03T03:00:00Z"), ("c", "2025-06-03T02:00:00Z"),
        ("a", "2025-06-03T01:10:00Z"), ("a", "2025-06-03T01:00:00Z")]
    assert set(results[1]) == set(sc.RESULT_KEYS)
    many = [verdict("a", "2025-06-03T01:%02d:00Z" % minute) for minute in range(40)]
    assert [result["ended_at"][14:16] for result in sc.recent_results(sc.State(), many)] == [
        "%02d" % minute for minute in range(39, 19, -1)]


def test_a_run_is_told_with_its_processes_and_how_long_it_has_lasted():
    run = sc.Run(run_id="R", trigger="manual", slot=NOW - HOUR, attempt=2, started_at=NOW - 61.26)
    state = sc.State(tasks={"a": sc.TaskState(run=run), "b": sc.TaskState()})
    machine = sc.Machine(now=NOW, last_tick=NOW - 5, pids={"a": [7, 8]})
    document = sc.status_document(sc.Config(), state, machine, [], [PROBLEM])
    assert document["running"] == [{
        "task": "a", "run_id": "R", "attempt": 2, "trigger": "manual",
        "scheduled_for": "2025-06-03T11:00:00Z", "started_at": sc.iso(NOW - 61.26), "pids": [7, 8],
        "duration_s": 61.3}]
    assert (document["running_now"], document["healthy"], document["problems"]) == (1, False, ["x"])
    assert [(task["name"], task["state"], task["reason"]) for task in document["tasks"]] == [
        ("a", "running", "removed from the configuration")]
    # Without a configuration, nobody can tell whether it was removed.
    document = sc.status_document(None, state, machine.replace(now=NOW - 120.0), [], [])
    assert [(task["name"], task["reason"]) for task in document["tasks"]] == [
        ("a", "there is no configuration to tell what it is")]
    assert (document["running"][0]["duration_s"], document["healthy"]) == (0.0, True)


# -- how a task stands

NIGHT, TOMORROW = "2025-06-03T02:00:00Z", "2025-06-04T02:00:00Z"
PAUSED = {"since": at("2025-06-03T11:00:00Z"), "until": None, "reason": "moving", "by": "joe"}
UNTIL_ONE = dict(PAUSED, until=at("2025-06-04T01:00:00Z"), reason="")
FAILURE = {"status": "failed", "exit_code": 3, "ended_at": "2025-06-03T11:50:00Z"}
RUN = sc.Run(run_id="R", slot=at(NIGHT), started_at=NOW - HOUR)


def cycle(phase, **more):
    return sc.Cycle(slot=at(NIGHT), phase=phase, since=float(NOW - HOUR), **more)


def situation(document=(), pauses=(), config=(), other=(), **state):
    """(configuration, state) at noon of a task that is due at two in the night, and of another."""
    documents = [task("a", **dict({"schedule": "0 2 * * *", "retry_count": 2}, **dict(document))),
                 task("d", "0 1 * * *")]
    built = World(*documents, **dict(config)).config
    facts = dict({"cursor": at(NIGHT), "next_slot": at(TOMORROW),
                  "schedule_key": built.tasks["a"].schedule_key}, **state)
    others = {"d": sc.TaskState(
        schedule_key=built.tasks["d"].schedule_key, cursor=at("2025-06-03T01:00:00Z"),
        next_slot=at("2025-06-04T01:00:00Z"),
        last=dict(FAILURE, scheduled_for="2025-06-03T01:00:00Z"), **dict(other))}
    return built, sc.State(tasks=dict(others, a=sc.TaskState(**facts)), pauses=dict(pauses))


def told(last_tick=NOW - 5, **given):
    """What `status` tells of that task."""
    built, known = situation(**given)
    shown_of = sc.task_document(built, known, built.tasks["a"], NOW, last_tick)
    return tuple(shown_of[key] for key in ("state", "reason", "waiting_for", "next_run"))


@pytest.mark.parametrize("given, expected", [
    ({}, ("idle", "", None, TOMORROW)),
    ({"document": {"enabled": False}}, ("disabled", "", None, None)),
    ({"pauses": {"a": PAUSED}}, ("paused", "until resumed (moving)", None, None)),
    ({"pauses": {"*": UNTIL_ONE}}, ("paused", "until 2025-06-04T01:00:00Z", None, TOMORROW)),
    ({"pauses": {"d": PAUSED}}, ("idle", "", None, TOMORROW)),
    # A run is ended by neither.
    ({"run": RUN, "cycle": cycle("running")}, ("running", "", None, TOMORROW)),
    ({"run": RUN, "cycle": cycle("running"), "pauses": {"a": PAUSED}},
     ("running", "paused until resumed (moving)", None, None)),
    ({"run": RUN, "cycle": cycle("running"), "document": {"enabled": False}},
     ("running", "", None, None)),
    ({"run": RUN.replace(unended="process 7 cannot be killed"), "cycle": cycle("running")},
     ("running", "process 7 cannot be killed", None, TOMORROW)),
    # Three minutes without a tick that starts it are no news.
    ({"document": {"schedule": "57 11 * * *"}, "next_slot": NOW - 180, "last_tick": NOW - 200},
     ("idle", "", None, "2025-06-03T11:57:00Z")),
    ({"document": {"schedule": "56 11 * * *"}, "next_slot": NOW - 240, "last_tick": NOW - 300},
     ("idle", "due since 2025-06-03T11:56:00Z; no tick has started it", None,
      "2025-06-03T11:56:00Z")),
    ({"cycle": cycle("waiting", waiting_for="d"), "document": {"dependencies": ["d"]}},
     ("waiting", "'d' failed (exit 3) at 2025-06-03T11:50:00Z", "d", TOMORROW)),
    ({"cycle": cycle("waiting", waiting_for="d"), "document": {"dependencies": ["d"]},
      "pauses": {"a": PAUSED}},
     ("paused", "'d' failed (exit 3) at 2025-06-03T11:50:00Z", "d", None)),
    ({"cycle": cycle("retrying", attempt=2, retry_at=float(NOW + 90), attempts=[FAILURE])},
     ("retrying", "failed (exit 3); attempt 2 of 3 starts at the first tick after "
      "2025-06-03T12:01:30Z", None, "2025-06-03T12:02:00Z")),
    ({"cycle": cycle("retrying", attempt=2, retry_at=float(NOW + 90)), "last": dict(
        FAILURE, reason="no space")},
     ("retrying", "failed (exit 3): no space; attempt 2 of 3 starts at the first tick after "
      "2025-06-03T12:01:30Z", None, "2025-06-03T12:02:00Z")),
    ({"cycle": cycle("retrying", attempt=2, retry_at=float(NOW), attempts=[dict(FAILURE, exit_code=7), FAILURE])},
     ("retrying", "failed (exit 3); attempt 2 of 3: waiting since 2025-06-03T12:00:00Z (the next tick starts it)",
      None, NOON)),
    ({"cycle": cycle("retrying", attempt=2, retry_at=float(NOW - 90)), "last": FAILURE,
      "document": {"only_between": "13:30-14:30"}},
     ("retrying", "failed (exit 3); attempt 2 of 3: waiting since 2025-06-03T11:58:30Z until "
      "2025-06-03T13:30:00Z (only_between 13:30-14:30)", None, "2025-06-03T13:30:00Z")),
    # Nobody can tell when a lock is free.
    ({"cycle": cycle("retrying", attempt=2, retry_at=float(NOW - 90)), "last": FAILURE,
      "document": {"locks": ["l"]}, "other": {"run": RUN.replace(locks=["l"])}},
     ("retrying", "failed (exit 3); attempt 2 of 3: waiting since 2025-06-03T11:58:30Z (lock 'l' is held by 'd')",
      None, TOMORROW)),
    ({"cycle": cycle("queued")},
     ("queued", "since 2025-06-03T11:00:00Z (the next tick starts it)", None, TOMORROW)),
    ({"cycle": cycle("queued"), "document": {"only_between": "13:30-14:30"}},
     ("queued", "since 2025-06-03T11:00:00Z until 2025-06-03T13:30:00Z (only_between 13:30-14:30)", None,
      "2025-06-03T13:30:00Z")),
])
def test_a_task_is_told_as_it_stands_with_what_comes_next(given, expected):
    assert told(**given) == expected


def why(slot=None, of_slot=None, is_broken=False, **given):
    """What `why` says of that task."""
    built, known = situation(**given)
    if slot is not None:
        slot = sc.Slot(**dict({"task": "a", "at": at(NIGHT), "fate": "success"}, **slot))
    return sc.why_text(built, known, built.tasks["a"], slot, of_slot, NOW, NOW - 5, 1000, "sc", is_broken)


def of_slot(status="success", **more):
    return verdict("a", "2025-06-03T02:00:05Z", status, **dict({"scheduled_for": NIGHT}, **more))


NEXT = "Next run: Wed 2025-06-04 02:00 +0000 (in 14h)."
TOOK = "Attempt 1 took 1s and ended with exit code 0. "
WINDOW = "only_between 13:30-14:30"


@pytest.mark.parametrize("slot, run, sentences", [
    ({}, of_slot(), " ran and succeeded. " + TOOK),
    ({"shifted": True}, of_slot(), " (moved by daylight saving time) ran and succeeded. " + TOOK),
    ({"was_off": True}, of_slot(), " (no tick ran at the time) ran and succeeded. " + TOOK),
    ({}, of_slot(duration_s=None), " ran and succeeded. Attempt 1 took 0s and ended with exit code 0. "),
    ({}, of_slot(started_at="2025-06-03T02:00:59Z"), " ran and succeeded. " + TOOK),
    ({}, of_slot(started_at="2025-06-03T02:01:00Z"), " ran 1m late and succeeded. " + TOOK),
    ({}, of_slot(started_at="2025-06-03T03:00:00Z", trigger="catch_up"),
     " ran 1h late and succeeded. It ran late, as a catch-up. " + TOOK),
    ({}, of_slot(started_at="2025-06-03T03:00:00Z", attempt=2, attempts=[
        {"started_at": "2025-06-03T02:00:01Z"}, {"started_at": "2025-06-03T03:00:00Z"}]),
     " ran and succeeded. Attempt 2 of 3 took 1s and ended with exit code 0. "),
    ({"fate": "failed"}, of_slot("failed", reason="no space.", exit_code=3),
     " ran and failed. Attempt 1 took 1s and ended with exit code 3. No space. "),
    ({"fate": "skipped_late"}, of_slot("skipped_late", run_id=None, reason="late by 3h"),
     " was skipped: too late to start. Late by 3h. "),
    ({"fate": "due"}, None, " is due, not decided yet. "),
    ({"fate": "lost", "reason": "no tick"}, None, " was lost. No tick. ")])
def test_why_tells_what_became_of_a_slot(slot, run, sentences):
    assert why(slot, run).split("\n")[0] == "a: the slot Tue 2025-06-03 02:00 +0000%s%s" % (sentences, NEXT)


@pytest.mark.parametrize("started_at, sentence", [
    ("2025-06-03T13:30:00Z", "It waited until Tue 2025-06-03 13:30 +0000 (%s). " % WINDOW),
    ("2025-06-03T13:29:59Z", "")])  # by hand, or with another window
def test_why_tells_that_a_slot_waited_for_its_window(started_at, sentence):
    late = "11h 30m" if sentence else "11h 29m"
    assert why({}, of_slot(started_at=started_at), document={"only_between": "13:30-14:30"}) == (
        "a: the slot Tue 2025-06-03 02:00 +0000 ran %s late and succeeded. %s%s%s; it waits until Wed"
        " 2025-06-04 13:30 +0000 (%s). It runs as configured: only between 13:30-14:30." % (
            late, sentence, TOOK, NEXT.rstrip("."), WINDOW))


WAITED = "failed (exit 3); attempt 2 of 3: waiting since 2025-06-03T11:58:30Z"
RETRYING = {"cycle": cycle("retrying", attempt=2, retry_at=float(NOW - 90), attempts=[FAILURE])}


@pytest.mark.parametrize("given, sentences, advice", [
    ({}, NEXT, []),
    ({"of_slot": verdict("a", "2025-06-03T11:00:00Z")}, "Its latest run succeeded 1h ago. " + NEXT, []),
    ({"of_slot": verdict("a", "2025-06-03T11:00:00Z", "failed", trigger="manual", scheduled_for=None,
                         exit_code=3, reason="no space")},
     "Its latest run, started by hand, failed (exit 3) 1h ago: no space. " + NEXT,
     ["Its output: sc logs a", "To run it now: sc run --task a"]),
    ({"skips": {TOMORROW: "skipped by joe"}}, "Its slot Wed 2025-06-04 02:00 +0000 will be skipped by joe."
     " Next run: Thu 2025-06-05 02:00 +0000 (in 1d 14h).", []),
    ({"document": {"launcher": ["srun", "-n 1"], "cancel_command": ["scancel"], "locks": ["x"], "nice": 5,
                   "success_exit_codes": [0, 3]}},
     NEXT + " It runs as configured: with the lock x; launched by srun '-n 1'; cancelled by scancel;"
     " exit code 0 or 3 is a success; niceness 5.", []),
    ({"document": {"only_between": "01:30-14:30"}}, NEXT + " It runs as configured: only between 01:30-14:30.",
     []),
    ({"run": RUN, "cycle": cycle("running")}, "It is now running. " + NEXT, ["Its output: sc logs a --follow"]),
    ({"pauses": {"a": PAUSED}}, "It is now paused until resumed (moving). No run is scheduled.",
     ["To end the pause: sc resume a"]),
    ({"document": {"enabled": False}}, "It is now disabled. No run is scheduled.",
     ['To re-enable it: set "enabled": true']),
    (RETRYING, "It is now retrying: %s (the next tick starts it). Its retry is due now; the next tick decides it."
     % WAITED, ["Its output: sc logs a", "To retry it now: sc run --task a"]),
    ({"cycle": cycle("retrying", attempt=2, retry_at=float(NOW + 90), attempts=[FAILURE])},
     "It is now retrying: failed (exit 3); attempt 2 of 3 starts at the first tick after 2025-06-03T12:01:30Z."
     " Next run: Tue 2025-06-03 12:02 +0000 (in 2m).",
     ["Its output: sc logs a", "To retry it now: sc run --task a"]),
    ({"cycle": cycle("waiting", waiting_for="d"), "document": {"dependencies": ["d"]}},
     "It is now waiting: 'd' failed (exit 3) at 2025-06-03T11:50:00Z. " + NEXT,
     ["The output of 'd': sc logs d", "To run the cause again: sc run --task d",
      "To run it anyway: sc run --task a --ignore-dependencies"]),
    # A lock is waited for, whatever is ignored.
    ({"cycle": cycle("waiting", waiting_for="d"), "document": {"dependencies": ["d"], "locks": ["l"]},
      "other": {"run": RUN.replace(locks=["l"])}},
     "It is now waiting: 'd' failed (exit 3) at 2025-06-03T11:50:00Z; running again. %s It runs as configured:"
     " with the lock l." % NEXT,
     ["The output of 'd': sc logs d"]),
    ({"is_broken": True}, NEXT, ["No command works until the configuration is fixed: sc check"])])
def test_why_tells_how_a_task_stands_and_what_helps(given, sentences, advice):
    assert why(**given).split("\n") == ["a: it has never been due. " + sentences] + [
        "  " + line for line in advice]


def test_a_command_that_helps_is_in_one_piece():
    line = "  Its results: sc history --task a"
    for width in (len(line), len(line) - 1):
        text = sc.removed_text("a", verdict("a", "2025-06-03T11:00:00Z"), NOW, width, "sc")
        broken = line.replace(": ", ":\n    ")
        assert text.endswith("\n" + (line if width == len(line) else broken))


def test_an_invalid_task_is_told_with_its_past():
    last = dict(FAILURE)
    state = sc.State(tasks={"a": sc.TaskState(
        last=last, consecutive_failures=2, marks="+F", usual_s=1.5)})
    assert sc.invalid_document("a", "why", state) == of(
        "a", state="invalid", reason="why", last_run=last, consecutive_failures=2, recent="+F",
        usual_duration_s=1.5)
    assert sc.invalid_document("b", "why", state) == of("b", state="invalid", reason="why")


def test_every_fact_of_a_task_is_told():
    document = {"description": "nightly", "owner": "joe", "locks": ["l"], "tags": ["t"],
                "dependencies": ["d"]}
    config = World(task("a", "0  2 * * *", **document), task("d", "0 1 * * *"), task("e")).config
    skips = {TOMORROW: "skipped by joe"}
    state = sc.State(tasks={"a": sc.TaskState(cursor=at(NIGHT), next_slot=at(TOMORROW), skips=skips)})
    assert sc.task_document(config, state, config.tasks["a"], NOW, NOW - 5) == of(
        "a", schedule="0 2 * * *", description="nightly", owner="joe", locks=["l"], tags=["t"],
        dependencies=["d"], skips=skips, next_run=sc.task_document(
            config, state, config.tasks["a"], NOW, NOW - 5)["next_run"])
    plain = sc.task_document(config, state, config.tasks["e"], NOW, NOW - 5)
    assert plain == of("e") and "skips" not in plain


def test_an_output_that_a_pause_without_a_reason_ends_with_its_end():
    assert sc._pause_text({"until": TOMORROW, "reason": ""}) == "until " + TOMORROW
    assert sc._pause_text({"until": None, "reason": "moving"}) == "until resumed (moving)"


# -- upcoming runs

def test_the_next_slots_of_all_tasks_come_in_time_order():
    config = World(task("b", "0 */6 * * *"), task("a", "0 */6 * * *"), task("c", "30 13 * * *"),
                   task("off", "* * * * *", enabled=False), task("none")).config
    state = sc.State(tasks={name: sc.TaskState(
        cursor=NOW, next_slot=config.tasks[name].schedule.next(NOW, "UTC"),
        schedule_key=config.tasks[name].schedule_key) for name in "abc"})

    def coming(count, only=""):
        return [(name, sc.iso(slot)[5:16]) for slot, name in sc.coming_slots(
            config, state, NOW - 5, NOW, count, only)]

    assert coming(6) == [("c", "06-03T13:30"), ("b", "06-03T18:00"), ("a", "06-03T18:00"),
                         ("b", "06-04T00:00"), ("a", "06-04T00:00"), ("b", "06-04T06:00")]
    assert coming(2, "c") == [("c", "06-03T13:30"), ("c", "06-04T13:30")]
    assert coming(0) == [] and coming(3, "none") == [] and coming(1) == [("c", "06-03T13:30")]


def test_slots_that_have_come_and_wait_for_their_window_are_told_apart():
    config = World(task("a", "0 2 * * *", only_between="13:30-14:30"),
                   task("b", "0 2 * * *", only_between="13:00-14:30"), task("c", "0 2 * * *")).config
    queued = sc.TaskState(cycle=cycle("queued"))
    state = sc.State(tasks={"a": queued, "b": queued, "c": queued, "gone": queued})
    one, half = at("2025-06-03T13:00:00Z"), at("2025-06-03T13:30:00Z")
    assert sc.waiting_starts(config, state, NOW) == [(one, "b", at(NIGHT)), (half, "a", at(NIGHT))]
    assert sc.waiting_starts(config, state, NOW, "a") == [(half, "a", at(NIGHT))]
    assert sc.waiting_starts(config, state, half) == []
    running = state.replace(tasks={"a": sc.TaskState(cycle=cycle("waiting")), "b": sc.TaskState()})
    assert sc.waiting_starts(config, running, NOW) == []


DAY_OFF = "2025-06-05 is in not_on: 2025-06-05"


def test_days_off_are_told_with_the_first_and_how_many_follow():
    config = World(task("a", "0 2 * * *", not_on=["2025-06-05", "2025-06-07", "2025-06-09"]),
                   task("b", "0 2 * * *", not_on=["2025-06-05"]), task("c", "0 2 * * *"),
                   task("d", "0 2 * * 0", not_on=["2025-06-05"]),
                   task("m", "0 0 * * *", not_on=["2025-06-05..2025-06-07"])).config

    def skipped(until, *names):
        return sc.skipped_days(config, [(at(until), name) for name in names], NOW)

    assert skipped("2025-06-10T02:00:00Z", "a", "b", "c", "d", "a") == [
        "a: %s (and 2 more days)" % DAY_OFF, "b: " + DAY_OFF]
    assert skipped("2025-06-09T02:00:00Z", "a") == ["a: %s (and 2 more days)" % DAY_OFF]
    assert skipped("2025-06-09T01:59:00Z", "a") == ["a: %s (and 1 more day)" % DAY_OFF]
    assert skipped("2025-06-05T02:00:00Z", "a") == ["a: " + DAY_OFF]
    assert skipped("2025-06-07T00:00:00Z", "m") == ["m: 2025-06-05 is in not_on: 2025-06-05..2025-06-07 (and 2 more"
                                                    " days)"]
    assert skipped("2025-06-04T02:00:00Z", "a") == [] and sc.skipped_days(config, [], NOW) == []


# -- audit

def test_an_audit_counts_each_fate_and_lists_what_is_unexplained():
    slots = [
        sc.Slot(task="a", at=NOW - HOUR, fate="success", shifted=True),
        sc.Slot(task="a", at=NOW - 2 * HOUR, fate="success", was_off=True),
        sc.Slot(task="b", at=NOW - HOUR, fate="unexplained", reason="no result", was_off=True),
        sc.Slot(task="b", at=NOW, fate="double", reason="twice")]
    events = [{"event": "gap", "at": "2025-06-01T00:00:00Z", "since": "2025-05-31T00:00:00Z"},
              {"event": "gap", "at": "2025-06-03T01:00:00Z", "since": "2025-06-03T00:00:00Z"},
              {"event": "rezoned", "at": "2025-06-02T12:00:00Z"},
              {"event": "rezoned", "at": "2025-06-02T11:00:00Z"}]
    assert sc.audit_document(slots, events, NOW - DAY, NOW) == {
        "since": "2025-06-02T12:00:00Z", "until": NOON, "slots": 4, "unexplained": 2,
        "fates": {"success": 2, "double": 1, "unexplained": 1}, "while_no_tick_ran": 2,
        "shifted_by_daylight_saving": 1, "gaps": [events[1]],
        "zone_changes": ["2025-06-02T12:00:00Z"], "lost_pauses": [],
        "findings": [
            {"task": "b", "scheduled_for": "2025-06-03T11:00:00Z", "fate": "unexplained",
             "reason": "no result"},
            {"task": "b", "scheduled_for": NOON, "fate": "double", "reason": "twice"}]}


def audited(**more):
    return dict({"since": "2025-06-02T12:00:00Z", "until": NOON, "slots": 1, "unexplained": 0,
                 "fates": {}, "while_no_tick_ran": 0, "shifted_by_daylight_saving": 0, "gaps": [],
                 "zone_changes": [], "lost_pauses": [], "findings": []}, **more)


HEAD = "1 slot, 0 unexplained, 2025-06-02T12:00:00Z to 2025-06-03T12:00:00Z"
MISSED = {"task": "b", "scheduled_for": NOON, "fate": "unexplained", "reason": "no result"}


@pytest.mark.parametrize("more, lines", [
    ({}, []),
    ({"fates": {"success": 1234, "skipped_late": 5}, "while_no_tick_ran": 3,
      "shifted_by_daylight_saving": 1}, [
          "    1234  ran and succeeded", "       5  skipped: too late to start",
          "       3  of these were due while no tick ran",
          "       1  of these were moved by daylight saving time"]),
    ({"findings": [MISSED]}, ["  ! b: slot %s: no result" % NOON]),
    ({"findings": [MISSED] * 40}, ["  ! b: slot %s: no result" % NOON] * 40),
    ({"findings": [MISSED] * 42}, ["  ! b: slot %s: no result" % NOON] * 40 + [
        "  ! and 2 more (--json lists them all)"]),
    ({"gaps": [{"since": "A", "at": "B", "cause": "reboot"}, {"since": "C", "at": "D"},
               {"since": "E", "at": "F", "cause": "later"}]}, [
        "  no tick from A to B: the machine or container was off or restarted",
        "  no tick from C to D: cause unknown", "  no tick from E to F: cause unknown"]),
    ({"lost_pauses": [{"at": "A", "task": "*", "reason": "moving"},
                      {"at": "B", "task": "b", "reason": ""}]}, [
        "  the state was lost before A, and with it the pause of all tasks (moving)",
        "  the state was lost before B, and with it the pause of b"]),
    ({"zone_changes": ["A", "B"]}, [
        "  the system's time zone changed at B: earlier slots of tasks without a timezone of their"
        " own cannot be recomputed"]),
])
def test_an_audit_for_people_has_the_verdict_first_and_nothing_that_is_0(more, lines):
    assert sc.audit_text(audited(**more), 200).split("\n") == [HEAD] + lines


def test_an_audit_is_eighty_columns_wide_unless_told_otherwise():
    text = sc.audit_text(audited(zone_changes=["2025-06-03T00:00:00Z"]))
    assert text.split("\n")[1:] == [
        "  the system's time zone changed at 2025-06-03T00:00:00Z: earlier slots of tasks",
        "    without a timezone of their own cannot be recomputed"]


# -- history

VERDICTS = [
    verdict("backup", "2025-06-03T02:00:05Z", scheduled_for="2025-06-03T02:00:00Z", duration_s=5),
    verdict("scan", "2025-06-02T23:59:00Z", "failed", exit_code=3, attempt=2, duration_s=125,
            scheduled_for="2025-06-02T22:00:00Z", reason="exit code 3"),
    verdict("scan", "2025-06-01T10:00:00Z", "skipped_late"),
    verdict("scan", "2025-06-01T09:00:00Z", "skipped_exit", reason="exit code 75"),
    verdict("hand", "2024-12-31T10:00:00Z", scheduled_for=None, exit_code=3, duration_s=None),
    verdict("wide", "2024-12-30T10:00:00Z", "interrupted", scheduled_for="2023-01-01T00:00:00Z"),
]


def lines_of(text):
    return [line.split("  ") for line in text.split("\n")]


def test_a_history_tells_times_to_the_minute_near_by_and_to_the_day_far_off():
    rows = [[cell.strip() for cell in line if cell] for line in lines_of(
        sc.history_rows(VERDICTS, 200))]
    assert rows == [
        ["ENDED (UTC)", "TASK", "RESULT", "SLOT", "TOOK", "TRY", "RUN", "REASON"],
        ["06-03 02:00", "backup", "success", "02:00", "5s", "1", "R-2025-06-03T02:00:05Z"],
        ["06-02 23:59", "scan", "failed (3)", "22:00", "2m", "2", "R-2025-06-02T23:59:00Z",
         "exit code 3"],
        ["06-01 10:00", "scan", "skipped", "10:00", "-", "-", "-", "late: told why"],
        ["06-01 09:00", "scan", "skipped", "09:00", "-", "-", "-", "exit code 75"],
        ["2024-12-31", "hand", "success (3)", "by hand", "0s", "1", "R-2024-12-31T10:00:00Z"],
        ["2024-12-30", "wide", "interrupted", "2023-01-01", "1s", "1", "R-2024-12-30T10:00:00Z"]]


@pytest.mark.parametrize("width, has_runs, heads", [
    (120, False, "ENDED (UTC) TASK RESULT SLOT TOOK TRY RUN REASON"),
    (119, False, "ENDED (UTC) TASK RESULT SLOT TOOK RUN REASON"),
    (100, False, "ENDED (UTC) TASK RESULT SLOT TOOK RUN REASON"),
    (100, True, "ENDED (UTC) TASK RESULT SLOT TOOK RUN REASON"),
    (99, False, "ENDED (UTC) TASK RESULT SLOT TOOK REASON"),
    (99, True, "ENDED (UTC) TASK RESULT RUN REASON"),
    (60, False, "ENDED (UTC) TASK RESULT SLOT TOOK REASON")])
def test_a_history_has_the_columns_that_fit(width, has_runs, heads):
    lines = sc.history_rows(VERDICTS, width, has_runs).split("\n")
    assert " ".join(lines[0].split()) == heads
    assert max(map(len, lines)) <= width


def test_a_history_is_eighty_columns_wide_unless_told_otherwise_and_may_be_empty():
    assert sc.history_rows(VERDICTS) == sc.history_rows(VERDICTS, 80)
    assert sc.history_rows([]) == "ENDED (UTC)  TASK  RESULT  SLOT  TOOK  REASON"


@pytest.mark.parametrize("width, name", [(40, 10), (60, 15), (72, 18), (80, 18)])
def test_in_a_history_a_long_name_leaves_room_for_reasons(width, name):
    long = [verdict("n" * 60, "2025-06-03T02:00:05Z", "failed", reason="r" * 60)]
    row = sc.history_rows(long, width).split("\n")[1]
    assert "n" * (name - 3) + "...  failed (1)" in row and "n" * (name - 2) not in row
    assert len(row) == width and row.endswith("...")


def test_in_a_wide_history_a_name_takes_all_but_24_columns():
    long = [verdict("n" * 90, "2025-06-03T02:00:05Z", "failed", reason="r" * 90)]
    lines = sc.history_rows(long, 119).split("\n")
    assert lines[1].index("failed (1)") - lines[1].index("n") - 2 == lines[0].index(
        "RESULT") - lines[0].index("TASK") - 2
    assert len(lines[1]) - lines[1].index("r" * 10) == sc.REASON_WIDTH


def test_what_others_wrote_breaks_no_row_of_the_history():
    odd = [verdict("a", NOON, "failed", reason="two\nlines\x1b[31m and \x07")]
    assert sc.history_rows(odd, 200).split("\n")[1].endswith("two\\nlines and \\x07")
    odd = [verdict("a\nb", NOON, "new\tkind", duration_s=None)]
    assert sc.history_rows(odd, 200).split("\n")[1].split()[2:6] == ["a\\nb", "new\\tkind", "12:00", "0s"]


# -- the block of the crontab

ROOT = "/srv/a b"


@pytest.mark.parametrize("text, word", [
    ("/srv/a", "/srv/a"), ("/srv/a b", "'/srv/a b'"), ("it's", "'it'\"'\"'s'"), ("a\\b", "'a\\b'"),
    ("50%", "\"$(printf %s)\"" % "'50\\045'"), ("a\\\\b", "\"$(printf %s)\"" % "'a\\134\\134b'"),
    ("%\\", "\"$(printf %s)\"" % "'\\045\\134'")])
def test_a_word_for_cron_has_nothing_that_some_cron_changes(text, word):
    assert sc.cron_word(text) == word


@pytest.mark.parametrize("script, root, expected", [
    ("/srv/a/symphony_conductor.py", "/srv/a", ["-c", sc.BOOT_CODE % ('"."', "symphony_conductor")]),
    ("/opt/x/conductor.py", "/srv/a", ["-c", sc.BOOT_CODE % ("'/opt/x'", "conductor")]),
    ("/opt/x/conductor.py", "", ["-c", sc.BOOT_CODE % ("'/opt/x'", "conductor")]),
    ("/opt/~/c.py", "", ["-c", sc.BOOT_CODE % ("'/opt/~'", "c")]),
    ("/opt/\x7f/c.py", "", ["-c", sc.BOOT_CODE % (
        "b'/opt/\\x7f'.decode(sys.getfilesystemencoding(), 'surrogateescape')", "c")]),
    ("/opt/\u00e9/c.py", "", ["-c", sc.BOOT_CODE % (
        "b'/opt/\\xc3\\xa9'.decode(sys.getfilesystemencoding(), 'surrogateescape')", "c")]),
    ("/opt/\udce9/c.py", "", ["-c", sc.BOOT_CODE % (
        "b'/opt/\\xe9'.decode(sys.getfilesystemencoding(), 'surrogateescape')", "c")]),
    ("/opt/x/my-conductor.py", "/opt/x", ["/opt/x/my-conductor.py"]),
    ("/opt/x/conductor", "/opt/x", ["/opt/x/conductor"]),
    ("/opt/x/conductor.pyc", "/opt/x", ["/opt/x/conductor.pyc"]),
    ("/opt/x/3.py", "/opt/x", ["/opt/x/3.py"])])
def test_a_script_is_imported_where_its_name_can_be(script, root, expected):
    assert sc.program_arguments(script, root) == expected


def test_the_line_of_the_crontab_goes_to_the_root_and_runs_a_tick_there():
    boot = "'%s'" % (sc.BOOT_CODE % ('"."', "symphony_conductor"))
    start = "* * * * * cd '/srv/a b' && { [ -d logs ] || mkdir -m 700 logs; } && "
    script = ROOT + "/symphony_conductor.py"
    assert sc.crontab_line(ROOT, "/usr/bin/python3", script) == (
        start + "exec /usr/bin/python3 -I -S -c %s tick >>logs/conductor_cron.log 2>&1" % boot)
    assert sc.crontab_line(ROOT, "/usr/bin/python3", script, mailed=True) == (
        start + "exec /usr/bin/python3 -I -S -c %s tick"
        " 2>&1 | PATH=/usr/bin:/bin tee -a logs/conductor_cron.log" % boot)
    assert sc.crontab_line(ROOT, "/usr/bin/python3", script, allows_insecure=True) == (
        start + "export SYMPHONY_ALLOW_INSECURE=1 && exec /usr/bin/python3 -I -S -c %s tick"
        " >>logs/conductor_cron.log 2>&1" % boot)
    assert sc.crontab_line(ROOT, "/p y", "/opt/my-x.py") == (
        start + "exec '/p y' -I -S /opt/my-x.py --root=. tick >>logs/conductor_cron.log 2>&1")


@pytest.mark.parametrize("crontab, name, values", [
    ("", "SHELL", []), ("SHELL=/bin/sh\n", "SHELL", ["/bin/sh"]),
    (" \tSHELL = '/bin/b sh' \r\nA=1\nSHELL=\n", "SHELL", ["/bin/b sh", ""]),
    ("'SHELL'=\"/bin/sh\"\n", "SHELL", ["/bin/sh"]), ("SHELL='x\"\n", "SHELL", ["'x\""]),
    ("#SHELL=x\nXSHELL=y\nSHELLX=z\n* * * * * SHELL=x\n", "SHELL", [])])
def test_a_variable_of_a_table_has_the_values_that_its_lines_give_it(crontab, name, values):
    assert sc.variable_values(crontab, name) == values


@pytest.mark.parametrize("above, mailto, owner, before, after", [
    ("", "", "", [], []),
    ("SHELL=/bin/sh\n", "", "", [], []),
    ("SHELL=/bin/bash\n", "", "", ["SHELL=/bin/sh"], ["SHELL=/bin/bash"]),
    ("SHELL=/bin/csh\nSHELL=/bin/fish\n", "", "", ["SHELL=/bin/sh"], ["SHELL=/bin/fish"]),
    ("RANDOM_DELAY=0\n", "", "", [], []),
    ("RANDOM_DELAY=5\nRANDOM_DELAY=7\n", "", "", ["RANDOM_DELAY=0"], ["RANDOM_DELAY=7"]),
    ("", "a@b.org", "joe", ["MAILTO=a@b.org"], ["MAILTO=joe"]),
    ("MAILTO=x\nMAILTO=\n", "a@b.org", "joe", ["MAILTO=a@b.org"], ['MAILTO=""']),
    ("MAILTO=x\n", "", "joe", [], []),
    ("SHELL=/bin/zsh\nMAILTO=x\n", "a@b.org", "", ["SHELL=/bin/sh", "MAILTO=a@b.org"],
     ["SHELL=/bin/zsh", "MAILTO=x"])])
def test_a_block_puts_back_what_held_above_it(above, mailto, owner, before, after):
    assert sc.block_lines("LINE", above, mailto, owner) == before + ["LINE"] + after


BEGIN, FINISH = "# BEGIN symphony-conductor /a\n", "# END symphony-conductor /a\n"
OTHER = "# BEGIN symphony-conductor /b\nq\n# END symphony-conductor /b\n"


@pytest.mark.parametrize("table, before, block, after", [
    ("", "", "", ""), ("x\n", "x\n", "", ""),
    ("x\n" + BEGIN + "l\n" + FINISH + "y\n", "x\n", BEGIN + "l\n" + FINISH, "y\n"),
    (BEGIN + FINISH, "", BEGIN + FINISH, ""),
    (BEGIN + "l\n" + FINISH.rstrip("\n"), "", BEGIN + "l\n" + FINISH.rstrip("\n"), ""),
    (BEGIN.rstrip("\n") + "\r\nl\r\n" + FINISH.rstrip("\n") + "\r\n", "",
     BEGIN.rstrip("\n") + "\r\nl\r\n" + FINISH.rstrip("\n") + "\r\n", ""),
    (OTHER + BEGIN + "l\n" + FINISH + OTHER, OTHER, BEGIN + "l\n" + FINISH, OTHER),
    (OTHER, OTHER, "", "")])
def test_a_table_is_split_at_the_block_of_the_root(table, before, block, after):
    assert sc.split_at_block(table, "/a") == (before, block, after)
    assert sc.without_block(table, "/a") == before + after
    start = before
    assert sc.with_block(table, "/a", ["new"]) == start + BEGIN + "new\n" + FINISH + after


@pytest.mark.parametrize("table", [BEGIN, BEGIN + "l\n", BEGIN + "l\n" + OTHER + FINISH,
                                   BEGIN + "l\n" + BEGIN + FINISH])
def test_where_a_block_without_its_end_stops_is_for_a_person_to_say(table):
    for change in (sc.split_at_block, sc.without_block):
        with pytest.raises(sc.ConfigError) as caught:
            change("x\n" + table, "/a")
        assert [str(problem) for problem in caught.value.problems] == [
            "crontab: the block '# BEGIN symphony-conductor /a' has no END line (add "
            "'# END symphony-conductor /a' after its last line with crontab -e)"]


def test_a_block_begins_on_a_line_of_its_own_and_there_is_one_only():
    assert sc.with_block("x", "/a", ["l", "m"]) == "x\n" + BEGIN + "l\nm\n" + FINISH
    twice = "x\n" + BEGIN + "1\n" + FINISH + "y\n" + BEGIN + "2\n" + FINISH + "z\n"
    assert sc.without_block(twice, "/a") == "x\ny\nz\n"
    assert sc.with_block(twice, "/a", ["l"]) == "x\n" + BEGIN + "l\n" + FINISH + "y\nz\n"


@pytest.mark.parametrize("block, python", [
    ("", ""), ("x\n* * * * * cd /a && exec /usr/bin/python3 -I -S x tick\n", "/usr/bin/python3"),
    ("* * * * * exec '/p y' x", "/p y"), ("it's\n* * * * * exec /p x", "/p"),
    ("exec", ""), ("x exec", ""), ("exec \"$(printf 'a\\045')\" x", ""),
    ("exec \"$(printf 'a\\045')\" x\nexec /p x", "/p")])
def test_the_python_of_a_block_is_what_its_line_executes(block, python):
    assert sc.python_of_block(block) == python


@pytest.mark.parametrize("table, rest", [
    ("", ""), ("x\n", "x\n"),
    ("# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (/tmp/x installed on Mon)\n"
     "# (Cron version V5.0)\nx\n", "x\n"),
    ("# (Cronie version 4.2)\n# (Cronie version 4.2)\n# mine\n", "# mine\n"),
    ("# mine\n# (Cron version V5.0)\n", "# mine\n# (Cron version V5.0)\n")])
def test_the_lines_that_crontab_puts_at_the_top_are_no_part_of_the_table(table, rest):
    assert sc.without_header(table) == rest


def test_lines_that_were_handed_over_name_the_root_whole():
    table = '# run by symphony-conductor "/a": x\n  #run by symphony-conductor  "/b \\"c": y\nz\n' \
            '# run by symphony-conductor "/a": w\n'
    assert sc.marked_roots(table) == ["/a", '/b "c']
    assert sc.handed_over_mark("/a") == '# run by symphony-conductor "/a": '
    assert sc.handed_over_mark('/b "c') == '# run by symphony-conductor "/b \\"c": '
    assert re.match(sc.handed_over_pattern("/a"), '  #run by symphony-conductor "/a": x')
    assert not re.match(sc.handed_over_pattern("/a"), '# run by symphony-conductor "/ab": x')


def test_a_task_that_is_gone_is_told_with_its_latest_run():
    assert sc.removed_text("a", None, NOW) == "a: it is no longer in the configuration."
    assert sc.removed_text("a", verdict("a", "2025-06-03T11:00:00Z"), NOW, 200, "sc") == (
        "a: it is no longer in the configuration. Its latest run succeeded 1h ago.\n"
        "  Its results: sc history --task a")
    assert sc.removed_text("a", verdict("a", "2025-06-03T11:00:00Z"), NOW, 20).split("\n")[-2:] == [
        "  Its results:", "    history --task a"]


def test_a_finding_as_json_has_null_for_what_it_has_not():
    full = sc.Finding(code="failing", task="a", place="p", text="x", command="c", since=NOW, output="o")
    assert sc.finding_document(full) == found(
        code="failing", task="a", place="p", text="x", command="c", since=NOON, output="o")
    assert sc.finding_document(sc.Finding(code="failing", text="x")) == found(task=None, text="x")
