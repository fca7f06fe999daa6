"""What a person looks at: the status table, on terminals of every kind, the history, and the logs."""

import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest
from stories import NIGHT, World, at, status_at, task, verdict
from support import REPOSITORY, every_minute

import symphony_conductor as sc

SGR = re.compile(r"\x1b\[[0-9;]*m")


def table(world, now, width=80, **more):
    document = status_at(world, at(now), at(now) - 5)
    return sc.status_table(document, width, **more).split("\n")


def slow_world():
    """A task of each standing, at a quarter past two."""
    world = World(task("scan", "0 2 * * *"), task("analyse", "10 2 * * *", dependencies=["scan"]),
                  task("flaky", "0 2 * * *", retry_count=2, retry_delay=3600), task("third", "1 2 * * *"),
                  task("off", "0 2 * * *", enabled=False), task("hand"), max_concurrent_tasks=2)
    world.tick("2025-06-03T01:59:00Z")
    world.state = world.state.replace(tasks={
        name: known.replace(marks="++F+", usual_s=61.0) for name, known in world.state.tasks.items()})
    world.tick(NIGHT)
    world.end("flaky", "failed", "2025-06-03T02:00:30Z", 3)
    world.tick("2025-06-03T02:00:30Z")
    world.tick("2025-06-03T02:10:00Z")
    return world


# -- the table

def test_the_table_tells_of_each_task_what_a_person_asks():
    world = slow_world()
    world.finish("third", "2025-06-03T02:12:40Z")
    lines = table(world, "2025-06-03T02:15:00Z", 120)
    assert lines == [
        "retrying flaky | last tick 5s ago | running 1 of 2 | next: flaky in 46m",
        "  - flaky failed (exit 3); attempt 2 of 3 starts at the first tick after 2025-06-03T03:00:30Z (for 14m)",
        "      try: symphony_conductor.py logs flaky",
        "",
        "TASK     STATE     LAST                                   RECENT  NEXT        SCHEDULE",
        "scan     running   never                                  ++F+    in 23h 45m  at 02:00 every day",
        "analyse  waiting   never                                  ++F+    in 23h 55m  at 02:10 every day",
        "  waiting: 'scan' is running",
        "flaky    retrying  failed 14m ago, took 30s (usually 1m)  ++F+    in 46m      at 02:00 every day",
        "  retrying: failed (exit 3); attempt 2 of 3 starts at the first tick after 2025-06-03T03:00:30Z",
        "third    idle      success 2m ago, took 2m (usually 1m)   ++F++   in 23h 46m  at 02:01 every day",
        "off      disabled  never                                  -       -           at 02:00 every day",
        "hand     idle      never                                  ++F+    -           by hand",
        "",
        "RECENT, newest last: + success, F failed"]


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("count", [0, 7, 500])
def test_the_table_fits_whatever_number_of_tasks_there_are(count, width):
    world = World(*[task("a-task-of-number-%d" % number, "%d 3 * * 1-5" % (number % 60)) for number in range(count)])
    world.tick(NIGHT)
    lines = table(world, NIGHT, width)
    assert all(line.isprintable() for line in lines)
    assert all(len(line) <= width and line == line.rstrip() for line in lines)
    if not count:
        assert lines == ["healthy | last tick 5s ago | running 0 of 3", "",
                         "TASK  STATE  LAST  RECENT  NEXT  SCHEDULE", "(no tasks)"]
    else:
        rows = lines[lines.index("") + 2:]
        assert len(rows) == count
        assert re.split(r"  +", rows[0])[:5] == ["a-task-of-number-0", "idle", "never", "-", "in 1h"]
        assert rows[6].endswith("at 03:06 Monday to Friday")


@pytest.mark.parametrize("length", [30, 79, 100])
def test_a_long_name_takes_no_place_from_what_matters(length):
    world = World(task("n" * length, "0 2 * * *"), task("short", "30 2 * * *"))
    world.tick(NIGHT)
    lines = table(world, NIGHT)
    assert all(len(line) <= 80 for line in lines), lines
    rows = lines[-2:]
    assert [re.split(r"  +", row)[1:3] for row in rows] == [["idle", "never"], ["idle", "never"]]
    assert rows[1].startswith("short ") and "in 30m" in rows[1]


REASONS = {
    "waiting": (lambda world: world.tick("2025-06-03T02:30:00Z"), "b", "  waiting: 'a' is running"),
    "blocked": (lambda world: (world.finish("a", "2025-06-03T02:01:00Z", "failed"),
                               world.tick("2025-06-03T02:30:00Z")), "b",
                "  waiting: 'a' failed (exit 1) at 2025-06-03T02:01:00Z"),
    "timed out": (lambda world: (world.finish("a", "2025-06-03T02:01:00Z", "timeout"),
                                 world.tick("2025-06-03T02:30:00Z")), "b",
                  "  waiting: 'a' timed out at 2025-06-03T02:01:00Z"),
    "interrupted": (lambda world: (world.finish("a", "2025-06-03T02:01:00Z", "interrupted"),
                                   world.tick("2025-06-03T02:30:00Z")), "b",
                    "  waiting: 'a' was interrupted at 2025-06-03T02:01:00Z"),
    "retrying": (lambda world: world.finish("r", "2025-06-03T02:01:00Z", "failed"), "r",
                 "  retrying: failed (exit 1); attempt 2 of 3: waiting since 2025-06-03T02:11:00Z"),
    "queued": (lambda world: world.tick("2025-06-03T02:31:00Z"), "q",
               "  queued since 2025-06-03T02:31:00Z (max_concurrent_tasks reached)"),
    "invalid": (lambda world: None, "odd", "  invalid: schedule: minute '61' is outside 0-59"),
}


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_stands_below_whatever_is_not_as_it_should_be(reason):
    world = World(task("a", "0 2 * * *"), task("b", "30 2 * * *", dependencies=["a"]),
                  task("r", "0 2 * * *", retry_count=2, retry_delay=600), task("q", "31 2 * * *"),
                  max_concurrent_tasks=2)
    world.tick("2025-06-02T10:00:00Z")
    world.tick(NIGHT)
    story, name, expected = REASONS[reason]
    story(world)
    if name == "odd":
        world.config = sc.build_config([("c.json", {"tasks": [task("odd", "61 * * * *")]})])
    lines = table(world, "2025-06-03T02:32:00Z")
    row = next(number for number, line in enumerate(lines) if line.startswith(name + " "))
    assert lines[row + 1] == expected


def test_a_slot_that_no_tick_has_seen_is_due_and_after_three_minutes_late():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    assert "  in 1m  " in table(world, "2025-06-03T01:59:00Z")[-1]
    lines = table(world, "2025-06-03T02:00:30Z")
    assert lines[0].endswith("next: a due") and "  due   at 02:00" in lines[-1]
    assert table(world, "2025-06-03T02:03:00Z")[-1].startswith("a ")
    assert table(world, "2025-06-03T02:03:01Z")[-1] == (
        "  late: due since 2025-06-03T02:00:00Z; no tick has started it")


@pytest.mark.parametrize("until, line", [
    (None, "  paused until resumed (moving house)"),
    ("2025-06-05T00:00:00Z", "  paused until 2025-06-05T00:00:00Z (moving house)")])
def test_a_pause_and_its_reason_are_told(until, line):
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.state = world.state.replace(pauses={"a": {
        "since": at(NIGHT), "until": until and at(until), "reason": "moving house"}})
    world.tick(NIGHT)
    assert table(world, NIGHT)[-1] == line


def test_a_task_that_runs_while_it_is_paused_does_not_read_as_if_it_ran_until_then():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-02T10:00:00Z")
    world.tick(NIGHT)
    world.state = world.state.replace(pauses={"a": {"since": at(NIGHT), "until": None, "reason": ""}})
    assert table(world, NIGHT)[-1] == "  running: paused until resumed"


@pytest.mark.parametrize("width", [40, 80, 130])
def test_colour_adds_nothing_but_colour(width):
    world = slow_world()
    plain, coloured = (table(world, "2025-06-03T02:15:00Z", width, coloured=each) for each in (False, True))
    assert [SGR.sub("", line) for line in coloured] == plain
    assert coloured[0].startswith("\x1b[33mretrying flaky\x1b[0m |")
    assert "\x1b[33mwaiting\x1b[0m" in "\n".join(coloured)


@pytest.mark.parametrize("took_s, usual_s, said", [
    (10.0, 4.0, "success 1m ago, took 10s (usually 4s)"), (8.0, 4.0, "success 1m ago"), (0.9, 0.1, "success 1m ago"),
    (10.0, None, "success 1m ago")])
def test_a_narrow_table_tells_of_unusual_durations_only(took_s, usual_s, said):
    row = sc._status_row({"name": "a", "state": "idle", "recent": "+", "next_run": None, "schedule": "@daily",
                          "usual_duration_s": usual_s, "dependencies": [],
                          "last_run": {"status": "success", "ended_at": "2025-06-03T02:00:00Z", "duration_s": took_s}},
                         at("2025-06-03T02:01:00Z"), False)
    assert said in row


def test_the_last_ten_verdicts_are_small_marks():
    world = World(task("a", "* * * * *"))
    world.tick("2025-06-02T10:00:00Z")
    for minute, status in enumerate(["success"] * 3 + ["failed", "timeout", "interrupted", "skip"] + ["success"] * 5):
        world.tick("2025-06-02T10:%02d:00Z" % (2 * minute + 1))
        if status == "skip":
            world.tick("2025-06-02T10:%02d:10Z" % (2 * minute + 2))
            status = "success"
        world.finish("a", "2025-06-02T10:%02d:30Z" % (2 * minute + 2), status)
    assert len(world.state.tasks["a"].marks) == 10
    assert set(world.state.tasks["a"].marks) <= set("+FTI-")
    assert sc._marked(sc.TaskState(marks="+" * 10), "timeout") == "+" * 9 + "T"
    assert sc._marked(sc.TaskState(), "skipped_paused") == "-"


# -- terminals

class Screen:
    """What a terminal of this size shows of the sequences that are used here."""

    def __init__(self, columns, lines):
        self.resize(columns, lines)

    def resize(self, columns, lines):
        self.columns, self.lines = columns, lines
        self.rows, self.x, self.y, self.scrolled = [""] * lines, 0, 0, 0

    def feed(self, text):
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]|\x1b", text):
            if part == "\x1b[H":
                self.x = self.y = 0
            elif part == "\x1b[K":
                self.rows[self.y] = self.rows[self.y][:self.x]
            elif part == "\x1b[J":
                self.rows[self.y:] = [self.rows[self.y][:self.x]] + [""] * (self.lines - self.y - 1)
            elif part == "\r":
                self.x = 0
            elif part == "\n":
                self._down()
            elif not part.startswith("\x1b"):
                if self.x == self.columns:
                    self.x = 0
                    self._down()
                row = self.rows[self.y].ljust(self.x)
                self.rows[self.y] = row[:self.x] + part + row[self.x + 1:]
                self.x += 1

    def _down(self):
        if self.y + 1 < self.lines:
            self.y += 1
        else:
            self.rows = self.rows[1:] + [""]
            self.scrolled += 1


class Terminal:
    """A conductor's command on a pty of its own."""

    def __init__(self, project, *args, columns=80, lines=24, every_s=None, **env):
        self.master, slave = pty.openpty()
        self.screen = Screen(columns, lines)
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(slave)
        code = "import sys; sys.path.insert(0, %r); import symphony_conductor as c; " % str(REPOSITORY)
        code += "c.WATCH_EVERY_S = %r; " % every_s if every_s else ""
        code += "sys.exit(c.main(sys.argv[1:]))"
        kept = {name: value for name, value in os.environ.items()
                if name not in ("COLUMNS", "LINES", "NO_COLOR", "TERM")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "--root", str(project.root)] + list(args), stdin=slave, stdout=slave,
            stderr=slave, env=dict(dict(kept, TERM="xterm"), **env), preexec_fn=self._take)
        os.close(slave)
        self.text = ""

    @staticmethod
    def _take():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who starts the tests in the background has it ignored

    def resize(self, columns, lines):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(columns, lines)

    def read(self, timeout_s=20):
        if not select.select([self.master], [], [], timeout_s)[0]:
            self.process.kill()
            raise AssertionError("nothing more is drawn: %r" % self.text[-500:])
        try:
            text = os.read(self.master, 65536).decode("utf-8", "replace")
        except OSError as error:
            assert error.errno == errno.EIO  # everybody on the other side is gone
            return ""
        self.text += text
        self.screen.feed(text)
        return text

    def read_until(self, wanted, timeout_s=20):
        deadline = time.monotonic() + timeout_s
        while not wanted():
            if time.monotonic() > deadline or not self.read():
                self.process.kill()
                raise AssertionError("it never drew that: %r" % self.text[-2000:])

    def end(self, timeout_s=20):
        deadline = time.monotonic() + timeout_s
        while self.read():
            if time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError("it does not end")
        code = self.process.wait(20)
        os.close(self.master)
        return code


@pytest.mark.parametrize("env, coloured", [
    ({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)])
def test_on_a_terminal_status_is_a_table_and_coloured_where_that_is_wanted(project, env, coloured):
    project.configure(every_minute("a", schedule="0 2 1 1 *"), every_minute("odd", schedule="61 * * * *"))
    terminal = Terminal(project, "status", **env)
    assert terminal.end() == 0
    assert ("\x1b[" in terminal.text) == coloured
    assert re.match(r"NOT healthy: \d problems, nothing starts \| no tick yet \| running 0 of 3\r\n",
                    SGR.sub("", terminal.text))
    assert "  invalid: schedule: minute '61' is outside 0-59" in terminal.text


@pytest.mark.parametrize("coloured", [False, True])
def test_the_headline_fits_a_narrow_screen(coloured):
    world = slow_world()
    document = status_at(world, at("2025-06-03T02:15:00Z"), None)
    head = sc.status_table(document, 40, coloured).splitlines()[0]
    assert SGR.sub("", head) == "NOT healthy: 1 problem, nothing starts" and ("\x1b[" in head) == coloured


def test_piped_status_is_json_and_its_table_has_no_colour(project):
    project.configure(every_minute("a"))
    assert json.loads(project.call("status")[1])["tasks"][0]["name"] == "a"
    code, out, err = project.call("status", "--table", env=dict(os.environ, TERM="xterm"))
    assert (code, err) == (0, "") and "\x1b" not in out and out.startswith("NOT healthy: ")


def test_a_c_locale_shows_everything_that_has_to_be_known(project):
    project.configure(every_minute("a", description="caf\u00e9 \u65e5", schedule="0 2 1 1 *"),
                      every_minute("odd", schedule="\u00e9 * * * *"))
    env = dict(os.environ, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    code, out, err = project.call("status", "--table", env=env)
    assert (code, err) == (0, "") and out.isprintable() is False and max(map(ord, out)) < 128
    assert "  invalid: schedule: minute '\\xe9' is not understood" in out
    assert json.loads(project.call("status", env=env)[1])["tasks"][0]["description"] == "caf\u00e9 \u65e5"
    for command in (["why", "a"], ["history"], ["audit"], ["doctor"], ["simulate", "--days", "1"]):
        assert project.call(*command, env=env)[0] in (0, 1, 78), command


# -- status --watch

def test_watch_draws_the_table_again_fits_the_screen_and_ends_with_control_c(project):
    project.configure(*[every_minute("t%02d" % number, schedule="0 2 1 1 *") for number in range(30)])
    terminal = Terminal(project, "status", "--watch", lines=12, every_s=0.05)
    terminal.read_until(lambda: terminal.text.count("\x1b[H") >= 3)
    terminal.read_until(lambda: terminal.screen.y == 11 and terminal.screen.x == 0)
    assert terminal.screen.scrolled == 0
    assert re.match(r"NOT healthy: \d problems?, nothing starts \| no tick yet", terminal.screen.rows[0])
    assert re.match(r"  ! .*; no tick has run yet", terminal.screen.rows[1])
    rows = [row for row in terminal.screen.rows if row.startswith(("TASK", "t00 "))]
    assert [row.split()[0] for row in rows] == ["TASK", "t00"]
    assert re.match(r"\(\d\d more lines\)\Z", terminal.screen.rows[10]) and terminal.screen.rows[11] == ""
    terminal.resize(60, 40)
    terminal.read_until(lambda: any(row.startswith("t29") for row in terminal.screen.rows))
    assert all(len(row) <= 60 for row in terminal.screen.rows)
    modes = termios.tcgetattr(terminal.master)
    os.write(terminal.master, b"\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.text and "?25l" not in terminal.text and "?1049h" not in terminal.text
    assert modes == terminal.modes


def test_what_is_too_long_for_the_screen_scrolls_nothing_away(project):
    project.configure(*[every_minute("t%d" % number, schedule="61 * * * *", description="x") for number in range(4)] +
                      [every_minute("bad%d" % number, schedule="fri-mon" * 20 + " * * * *") for number in range(4)])
    terminal = Terminal(project, "status", "--watch", columns=60, lines=16, every_s=0.05, NO_COLOR="1")
    terminal.read_until(lambda: terminal.text.count("\x1b[H") >= 3)
    terminal.read_until(lambda: terminal.text.endswith("\x1b[J"))
    os.write(terminal.master, b"\x03")
    assert terminal.end() == 130
    assert terminal.screen.scrolled == 0
    assert re.match(r"NOT healthy: \d+ problems, nothing starts \| no tick yet", terminal.screen.rows[0])


def test_watch_shows_what_changes(project):
    project.configure(every_minute("a", schedule="0 2 1 1 *"))
    terminal = Terminal(project, "status", "--watch", every_s=0.05)
    terminal.read_until(lambda: "no tick yet" in terminal.screen.rows[0])
    project.call("tick")
    terminal.read_until(lambda: re.match(r"healthy \| last tick \d+s ago", terminal.screen.rows[0]))
    terminal.read_until(lambda: not any("!" in row for row in terminal.screen.rows))
    project.write_config("{")
    terminal.read_until(lambda: "not valid JSON" in "".join(terminal.screen.rows))
    os.write(terminal.master, b"\x03")
    assert terminal.end() == 130


def test_watch_without_a_terminal_is_refused(project):
    project.configure(every_minute("a"))
    assert project.call("status", "--watch") == (
        2, "", "symphony_conductor: --watch needs a terminal\n")
    assert project.call("status", "--watch", "--json")[0] == 2


# -- history

@pytest.fixture
def told(hand):
    """A project with five verdicts of two tasks on three days."""
    hand.configure(every_minute("a"), every_minute("b"))
    hand.store().record([
        verdict("a", "2025-05-20T10:00:00Z"), verdict("b", "2025-06-01T10:00:00Z"),
        verdict("a", "2025-06-01T11:00:00Z", "failed", scheduled_for=None, trigger="manual"),
        verdict("b", "2025-06-02T09:00:00Z", "skipped_overlap"),
        verdict("a", "2025-06-02T09:30:00Z", "timeout", exit_code=None, attempt=3)], 30)
    return hand


@pytest.mark.parametrize("options, expected", [
    ([], ["a timeout", "b skipped_overlap", "a failed", "b success"]),
    (["--task", "b"], ["b skipped_overlap", "b success"]),
    (["--since", "30d"], ["a timeout", "b skipped_overlap", "a failed", "b success", "a success"]),
    (["--since", "2h"], ["a timeout", "b skipped_overlap"]),
    (["--since", "2025-06-02T09:30:00Z"], ["a timeout"]),
    (["--status", "failed"], ["a failed"]), (["--status", "skipped"], ["b skipped_overlap"]),
    (["--limit", "1"], ["a timeout"]), (["--task", "a", "--status", "success", "--since", "4w"], ["a success"]),
    (["--since", "1m"], []),
])
def test_the_history_is_filtered(told, options, expected):
    code, out, err = told.call("history", "--json", *options)
    assert (code, err) == (0, "")
    assert ["%s %s" % (record["task"], record["status"]) for record in json.loads(out)] == expected
    text = told.call("history", *options)[1]
    assert [line.split()[2:4] for line in text.splitlines()[1:]] == [
        each.replace("skipped_overlap", "skipped").split() for each in expected]


def test_the_history_is_one_line_a_verdict(told):
    assert told.call("history", "--since", "1d")[1].splitlines() == [
        "ENDED (UTC)  TASK  RESULT      SLOT     TOOK  REASON",
        "06-02 09:30  a     timeout     09:30    1s",
        "06-02 09:00  b     skipped     09:00    -     overlap: told why",
        "06-01 11:00  a     failed (1)  by hand  1s",
        "06-01 10:00  b     success     10:00    1s"]
    assert told.call("history", "--since", "1d", "--runs", "--status", "failed")[1].splitlines() == [
        "ENDED (UTC)  TASK  RESULT      RUN                     REASON",
        "06-01 11:00  a     failed (1)  R-2025-06-01T11:00:00Z"]
    assert told.call("history", "--since", "1m")[1] == "no results in the last 1m\n"


@pytest.mark.parametrize("has_runs", [False, True])
@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_no_row_of_the_history_is_wider_than_the_screen_and_what_matters_is_whole(width, has_runs):
    run_id = "20250602T093000Z-12345"
    rows = sc.history_rows([
        verdict("automation_health", "2025-06-02T09:30:00Z", "failed", exit_code=137, run_id=run_id, reason="é" * 300),
        verdict("x" * 60, "2025-06-02T09:00:00Z", "skipped_dependency", scheduled_for="2025-06-01T08:00:00Z",
                reason="waited for 'nightly' until its next slot was due\nand more"),
        verdict("b", "2024-12-31T23:59:30Z", "interrupted", duration_s=1e6, attempt=12)], width, has_runs).split("\n")
    assert len(rows) == 4 and all(len(row) <= width and row == row.rstrip() for row in rows)
    if width >= 80:
        assert rows[1].startswith("06-02 09:30  automation_health ") and " failed (137) " in rows[1]
        assert (run_id in rows[1]) == (has_runs or width >= 100)
        assert rows[3].startswith("2024-12-31 ") and ("11d 13h" in rows[3]) == ("06-01 08:00" in rows[2])
        assert ("06-01 08:00" in rows[2]) == (width >= 100 or not has_runs)
        assert " dep" in rows[2] and (width < 120 or " dependency: wai" in rows[2])


@pytest.mark.parametrize("line", [
    "{\"task\": \"a\", \"sta", "", "null", "[]", "5", "\x00\x00\x00", "{}", "[" * 100000,
    json.dumps(verdict("a", "2025-06-02T09:00:00Z", scheduled_for=5)),
    json.dumps(verdict("a", "2025-06-02T09:00:00Z", scheduled_for="noon")),
    json.dumps(verdict("a", "2025-06-02T09:00:00Z", duration_s="long")),
    json.dumps(verdict("a", "2025-06-02T09:00:00Z", reason=7)),
    json.dumps(verdict("a", "2025-06-02T09:00:00Z", task=None)),
    json.dumps(verdict("a", "noon")), json.dumps(verdict("a", "2025-06-02T09:00:00Z", exit_code="x")),
], ids=[str(number) for number in range(15)])
def test_a_damaged_line_costs_only_itself(told, line):
    path = told.root / "status" / "history" / "2025-06-02.jsonl"
    path.write_text(line + "\n" + path.read_text())
    assert len(json.loads(told.call("history", "--json")[1])) == 4
    for command in (["history"], ["why", "a"], ["status", "--table"], ["diff", "a"], ["audit"]):
        code, _, err = told.call(*command)
        assert code in (0, 1, 2) and "internal error" not in err, command


NUMBERS = ("Infinity", "-Infinity", "NaN", "1e400", "-1e400", "9" * 300, "true", '"5"', "[]", "{}")


def damaged_verdicts():
    """Lines of the history with one field that no reader can work with."""
    for field, values in (
            ("duration_s", NUMBERS), ("exit_code", NUMBERS + ("1.5",)), ("attempt", NUMBERS + ("1.5",)),
            ("started_at", ("5", "NaN", '"noon"', "[]", '"2025-02-30T00:00:00Z"', '"0000-01-01T00:00:00Z"')),
            ("absorbed", ("5", '"noon"')), ("merged_since", ("{}", '"noon"')), ("run_id", ("5", "[]")),
            ("attempts", ("5", '"x"', "{}")), ("reason", ("NaN", "[]")), ("status", ("null", "5", "[]"))):
        for value in values:
            record = dict(verdict("a", "2025-06-02T09:40:00Z", "failed"), **{field: "@"})
            yield json.dumps(record).replace('"@"', value)


def odd_verdicts():
    """Lines that are verdicts: what is wrong in them is left out, or is nothing to any reader."""
    for number, more in enumerate((
            {"attempts": [{"status": "failed", "ended_at": "2025-06-02T09:00:00Z", "started_at": "noon"}]},
            {"attempts": [verdict("a", "2025-06-02T09:00:00Z", "failed", duration_s=float("inf"))]},
            {"attempts": [1, None, {}, [], verdict("a", "2025-06-02T09:00:00Z", exit_code=10 ** 30)]},
            {"duration_s": -5}, {"exit_code": -1, "attempt": -1}, {"run_id": "\ud800"}, {"reason": "\x1b[2J\ud800"},
            {"definition": "../../x\0"}, {"definition": []}, {"trigger": 7, "log": {}, "output_tail": 5},
            {"status": ""})):
        record = verdict("a", "2025-06-02T09:4%d:00Z" % (number % 10), "failed")
        yield json.dumps(dict(record, **more))


def test_no_damage_of_the_history_ends_a_command_that_reads_it(told):
    path = told.root / "status" / "history" / "2025-06-02.jsonl"
    damaged, odd = list(damaged_verdicts()), list(odd_verdicts())
    for line in damaged:
        assert sc.verdict_of(line.encode()) is None, line
    for line in odd:
        assert sc.verdict_of(line.encode()) is not None, line
    path.write_text("\n".join(damaged + odd) + "\n" + path.read_text())
    assert len(json.loads(told.call("history", "--json")[1])) == 4 + len(odd)
    for command in ("history", "why a", "why a --at 2025-06-02T09:40", "status --table", "status --json", "audit",
                    "audit --json", "logs a --run R", "logs a --run \udcff", "diff a", "simulate --days 1",
                    "report --output %s" % (told.root / "report.html")):
        code, _, err = told.call(*command.split())
        assert code in (0, 1, 2) and "internal error" not in err and "Traceback" not in err, (command, err)


@pytest.mark.parametrize("arguments, complaint", [
    (["--task", "c"], "unknown task 'c' (tasks: a, b)"), (["--since", "soon"], "--since: 'soon' is not a time"),
    (["--since", "2025-02-30"], "--since: ")])
def test_a_question_that_makes_no_sense_is_refused(told, arguments, complaint):
    code, out, err = told.call("history", *arguments)
    assert (code, out) == (2, "") and complaint in err


# -- logs

def write_log(project, name, text, suffix=""):
    folder = project.root / "logs" / "automation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (name + ".log" + suffix)).write_bytes(text)


def run_text(number, body=b"hello\n", footer=True):
    text = b"2025-06-02T10:00:00Z start run=R-%d attempt=1 trigger=schedule scheduled_for=x host=h pid=5\n" % number
    text = b"--- " + text + body
    return text + b"--- 2025-06-02T10:00:01Z end run=R-%d status=success exit_code=0\n" % number if footer else text


def test_the_log_of_one_run_is_found_through_the_rotated_files(project):
    project.configure(every_minute("a"))
    write_log(project, "a", run_text(12, b"\xff\x00 bytes\n") + run_text(1), ".3")
    write_log(project, "a", run_text(2) + run_text(3, b"no newline", footer=False), ".1")
    write_log(project, "a", run_text(4, b"broke off\n", footer=False) + run_text(5, b"the next\n") +
              run_text(6, b"it goes on\n", footer=False))

    def logged(run_id):
        done = subprocess.run(project.command("logs", "a", "--run", run_id), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)
        return done.returncode, done.stdout

    assert logged("R-1") == (0, run_text(1))
    assert logged("R-12") == (0, run_text(12, b"\xff\x00 bytes\n"))
    assert logged("R-3") == (0, run_text(3, b"no newline", footer=False))
    assert logged("R-4") == (0, run_text(4, b"broke off\n", footer=False)), "the run after it is another one"
    assert logged("R-6") == (0, run_text(6, b"it goes on\n", footer=False))
    code, out, err = project.call("logs", "a", "--run", "R-99")
    assert (code, out) == (1, "") and err == (
        "symphony_conductor: no run R-99 in the logs of 'a' (history --task a lists the runs)\n")


def test_logs_shows_the_last_lines(project):
    project.configure(every_minute("a"), every_minute("b"))
    write_log(project, "a", b"".join(b"%d\n" % number for number in range(100)))
    write_log(project, "gone", b"of a task that is no longer configured\n")
    assert project.call("logs", "a")[1].split() == [str(number) for number in range(50, 100)]
    assert project.call("logs", "a", "--lines", "2")[1] == "98\n99\n"
    assert project.call("logs", "gone")[1] == "of a task that is no longer configured\n"
    assert project.call("logs", "b") == (0, "", "symphony_conductor: b has not run yet\n")
    assert project.call("logs", "c")[0] == 2 and project.call("logs", "../a")[0] == 2
    assert project.call("logs", "a", "--lines", "0")[0] == 2


def test_follow_prints_what_comes_also_over_a_rotation_and_ends_with_a_signal(project):
    project.configure(every_minute("a"))
    write_log(project, "a", b"one\ntwo\n")
    path = project.root / "logs" / "automation" / "a.log"
    process = subprocess.Popen(project.command("logs", "a", "--lines", "1", "--follow"), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == b"two\n"
        with open(str(path), "ab") as handle:
            handle.write(b"three\n")
        assert process.stdout.readline() == b"three\n"
        path.rename(str(path) + ".1")
        path.write_bytes(b"four\n")
        assert process.stdout.readline() == b"four\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (130, b"", b"")
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


HOSTILE = ("plain \t \u00e9 \u20ac\n\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J \x9b1m \u202egnp.exe\r\n"
           "10%\r20%\n\x1b\x1b[0m[2J end\n").encode() + b"\xff\xe2\x82"
SHOWN = ("plain \t \u00e9 \u20ac\nred \\x1b]0;title\\x07 \\x1b[2J \\x9b1m \\u202egnp.exe\r\n"
         "10%\r20%\n\\x1b[2J end\n\\xff\\xe2\\x82")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_what_a_task_wrote_cannot_control_a_terminal_however_it_is_cut(monkeypatch, size):
    printed = []
    monkeypatch.setattr(sc, "_print_bytes", printed.append)
    writer = sc.LogWriter(is_raw=False)
    for start in range(0, len(HOSTILE), size):
        writer.write(HOSTILE[start:start + size])
    writer.write(b"", is_last=True)
    assert b"".join(printed).decode() == SHOWN
    assert sc.printable("a\rb\tc") == "a\\rb\tc", "in a line of ours, it would write over what stands there"


def test_logs_and_history_are_raw_only_where_that_is_asked_for(project):
    project.configure(every_minute("a"))
    write_log(project, "a", run_text(1, HOSTILE + b"\n"))
    sc.Store(str(project.root)).record([verdict("a", sc.iso(time.time()), "failed", reason="\x1b]0;owned\x07 why")], 30)
    for arguments, is_raw in ((["logs", "a"], False), (["logs", "a", "--raw"], True), (["history"], False),
                              (["logs", "a", "--run", "R-1"], False), (["why", "a"], False)):
        terminal = Terminal(project, *arguments)
        assert terminal.end() == 0
        assert ("\x1b]0;" in terminal.text) == is_raw, arguments
        assert is_raw or "\\x1b]0;" in terminal.text
    done = subprocess.run(project.command("logs", "a"), stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == run_text(1, HOSTILE + b"\n"), "as it is to whatever reads it"


def test_follow_misses_no_line_that_was_written_right_before_a_rotation(tmp_path, monkeypatch):
    path = tmp_path / "a.log"
    path.write_bytes(b"one\n")
    printed = []

    class Over(BaseException):
        pass

    def rotated():
        with open(str(path), "ab") as handle:
            handle.write(b"the footer\n")
        path.rename(str(path) + ".1")
        path.write_bytes(b"the next run\n")

    steps = [rotated, lambda: None, path.unlink, lambda: path.write_bytes(b"new\n"), lambda: None,
             lambda: path.write_bytes(b""), lambda: path.write_bytes(b"5\n"), lambda: None]

    def sleep(_):
        if not steps:
            raise Over
        steps.pop(0)()

    monkeypatch.setattr(sc, "sleep", sleep)
    with pytest.raises(Over):
        sc._follow(str(path), 4, printed.append)
    assert b"".join(printed) == b"the footer\nthe next run\nnew\n5\n"


def test_a_reader_that_leaves_is_no_error(project):
    project.configure(every_minute("a"))
    write_log(project, "a", b"x" * 99 + b"\n")
    process = subprocess.Popen(project.command("logs", "a", "--follow"), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"x" * 99 + b"\n"
    process.stdout.close()

    def has_left():
        with open(str(project.root / "logs" / "automation" / "a.log"), "ab") as handle:
            handle.write(b"more\n")
        return process.poll() is not None

    assert project.wait_until(has_left)
    assert process.returncode == 0 and process.stderr.read() == b""
    process.stderr.close()
    for command in ("history", "doctor", "audit", "simulate"):
        done = subprocess.run(["/bin/sh", "-c", '"$@" | true', "sh"] + project.command(command),
                              stderr=subprocess.PIPE, timeout=60)
        assert done.stderr == b"", command


# -- what cannot be read, and clocks that run ahead




@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed, commands", [
    ("status/history", ("audit", "history")), ("status/events.jsonl", ("audit",)),
    ("config/conductor_config.json", ("next", "simulate")),
])
def test_what_may_not_be_read_is_no_empty_answer(told, closed, commands):
    told.tick()
    path = told.root / closed
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        for command in commands:
            code, out, err = told.call(command)
            assert (code in (sc.EXIT_IOERR, sc.EXIT_CONFIG), out) == (True, "") and "Permission denied" in err, command
    finally:
        path.chmod(mode)


@pytest.mark.parametrize("command", ["audit", "next", "why"])
def test_a_folder_without_a_configuration_is_no_empty_answer(tmp_path, capfd, command):
    root = tmp_path / "empty"
    root.mkdir()
    code = sc.main(["--root", str(root), command] + ["a"] * (command == "why"))
    out, err = capfd.readouterr()
    assert (code, out) == (sc.EXIT_CONFIG, "") and "config/conductor_config.json" in err


def test_the_history_of_a_broken_configuration_can_be_asked_for(told):
    told.tick()
    told.project.write_config("{")
    assert told.call("audit")[0] == 0 and told.call("why", "a")[0] == 0


def test_a_tick_ahead_of_the_clock_is_a_problem(hand, monkeypatch):
    hand.configure(every_minute("a"))
    hand.tick()
    hand.clock.at -= 7200
    code, out, _ = hand.call("status", "--table")
    assert (code, out.splitlines()[0][:45]) == (0, "NOT healthy: 1 problem | last tick 2h ahead |")
    text = " the last tick is 2h ahead of the clock: the clock was set back, and no tick has run since\n"
    monkeypatch.setenv("COLUMNS", "200")
    assert "  !" + text in hand.call("status", "--table")[1]
    assert "problem  clock:" + text in hand.call("doctor")[1]


def test_the_headline_of_one_task_counts_all_that_runs(hand):
    hand.configure(every_minute("a"), every_minute("b"), max_concurrent_tasks=2)
    hand.held = {"a", "b"}
    hand.tick()
    hand.clock.advance(60)
    hand.tick()
    assert hand.call("status", "--table", "--task", "a")[1].splitlines()[0].startswith(
        "healthy | last tick 0s ago | running 2 of 2")


def test_next_leaves_pauses_out(hand):
    hand.configure(task("a", "0 * * * *"), task("b", "30 * * * *"))
    hand.tick()
    hand.call("pause", "a", "--for", "2h")
    assert [line.split()[2:] for line in hand.call("next", "--count", "4")[1].splitlines()] == [
        ["10:30", "+0000", "b"], ["11:30", "+0000", "b"], ["12:30", "+0000", "b"], ["13:00", "+0000", "a"]]
    hand.call("pause", "--all")
    assert hand.call("next") == (0, "nothing is scheduled; resume ends a pause\n", "")


def test_a_reason_is_one_line_without_control_characters(hand):
    hand.configure(every_minute("a"))
    hand.tick()
    hand.call("pause", "a", "--reason", "one\n! two \x1b[31mred")
    assert hand.state().pauses["a"]["reason"] == "one ! two [31mred"


def test_a_time_of_day_is_that_of_the_task(hand):
    hand.configure(task("a", "0 9 * * *", timezone="Asia/Tokyo"))
    assert hand.call("pause", "a", "--until", "2025-06-03T09:00") == (
        0, "paused a until Tue 2025-06-03 09:00 +0900\n", "")


@pytest.mark.parametrize("command", ["history", "audit"])
def test_a_time_to_come_is_refused(told, command):
    code, out, err = told.call(command, "--since", "2030-01-01T00:00:00Z")
    assert (code, out) == (2, "") and "--since: 2030-01-01T00:00:00Z is in the future" in err


def test_a_carriage_return_is_no_line_and_a_run_has_all_its_lines(project):
    project.configure(every_minute("a", r"echo head; printf '1\r2\r3\n'; echo tail"))
    assert project.call("run", "--task", "a")[0] == 0
    code, out, _ = project.call("logs", "a", "--lines", "3")
    assert code == 0 and len(out.split("\n")) == 4 and "1\r2\r3\n" in out
    run_id = project.history()[0]["run_id"]
    whole = project.call("logs", "a", "--run", run_id)[1]
    assert len(whole.split("\n")) == 6 and project.call("logs", "a", "--run", run_id, "--lines", "2")[1] == "\n".join(
        whole.split("\n")[-3:])
    assert project.call("logs", "a", "--run", run_id, "--follow")[0] == 2


def test_damaged_attempts_of_the_history_are_passed_over(told):
    day = next((told.root / "status" / "history").glob("*.jsonl"))
    with open(str(day), "a") as handle:
        handle.write(json.dumps({"task": "a", "status": "failed", "ended_at": day.name[:10] + "T23:00:00Z",
                                 "scheduled_for": None, "run_id": "x", "attempts": [1, {"status": "failed"}]}) + "\n")
    assert told.call("status")[0] == 0 and told.call("history")[0] == 0


def test_without_the_file_of_events_an_audit_begins_with_the_history(hand):
    hand.configure(task("a", "*/10 * * * *"))
    hand.tick()
    for _ in range(60):
        hand.minute()
    (hand.root / "status" / "events.jsonl").unlink()
    assert hand.call("audit")[1].startswith("5 slots, 0 unexplained, ")


def test_a_task_that_was_removed_while_it_runs_has_a_row_until_it_ends(hand):
    hand.configure(every_minute("gone"), every_minute("a"))
    hand.held = {"gone"}
    hand.tick()
    hand.minute()
    hand.configure(every_minute("a"))
    hand.minute()
    out = hand.call("status", "--table")[1]
    assert "  running: removed from the configuration\n" in out and "gone  " in out
    assert hand.call("status", "--task", "gone")[0] == 0
    hand.release("gone")
    hand.minute()
    assert "gone" not in hand.call("status", "--table")[1]
