"""The history read backwards: what is read, in which order, and how little of it."""

import json
import os
import random

import pytest
from conftest import every_minute

import symphony_conductor as sc

NOON = 1748865600  # 2025-06-02T12:00:00Z


def verdict(name, ended_at, status="success", **more):
    at = sc.iso(ended_at)
    record = {"task": name, "status": status, "scheduled_for": at, "started_at": at, "ended_at": at,
              "duration_s": 1.5, "exit_code": int(status == "failed"), "attempt": 1, "reason": None,
              "trigger": "schedule", "run_id": "R-%d" % ended_at, "output_tail": ""}
    return dict(record, **more)


class History:
    """A project whose history is written by hand, and what is read of it."""

    def __init__(self, project, monkeypatch, capfd):
        self.project, self.monkeypatch, self.capfd = project, monkeypatch, capfd
        self.store = sc.Store(str(project.root))
        self.folder = project.root / "status" / "history"
        self.folder.mkdir(mode=0o700, parents=True)
        self.opened, self.bytes_read = [], 0
        self.set_clock(NOON)

    def set_clock(self, now):
        self.monkeypatch.setattr(sc.Clock, "now", lambda clock: float(now))

    def write(self, records):
        """Add verdicts to the days of their ends, in the order given."""
        for record in records:
            path = self.folder / (record["ended_at"][:10] + ".jsonl")
            with open(str(path), "ab") as handle:
                handle.write(json.dumps(record, sort_keys=True).encode() + b"\n")

    def watch(self):
        """Count from here on what is read of the history, and which of its files."""
        real_open, real_pread, descriptors = os.open, os.pread, set()

        def counted_open(path, *more, **named):
            fd = real_open(path, *more, **named)
            descriptors.discard(fd)
            if os.path.dirname(str(path)) == str(self.folder):
                self.opened.append(os.path.basename(str(path)))
                descriptors.add(fd)
            return fd

        def counted_pread(fd, *more):
            data = real_pread(fd, *more)
            self.bytes_read += len(data) if fd in descriptors else 0
            return data

        self.monkeypatch.setattr(os, "open", counted_open)
        self.monkeypatch.setattr(os, "pread", counted_pread)

    def call(self, *args):
        self.capfd.readouterr()
        code = sc.main(["--root", str(self.project.root)] + list(args))
        out, err = self.capfd.readouterr()
        return code, out, err

    @property
    def files_read(self):
        """The days whose files were read; each is opened twice, once to be checked."""
        assert len(self.opened) == 2 * len(set(self.opened)), self.opened
        return sorted(name[:10] for name in set(self.opened))


@pytest.fixture
def history(project, monkeypatch, capfd):
    return History(project, monkeypatch, capfd)


# -- the lines of a file

TEXTS = {
    "empty": b"", "one line": b"one\n", "unterminated": b"one\ntwo", "only breaks": b"\n\n\n",
    "a break first": b"\none", "one long line": b"x" * 40, "empty lines between": b"one\n\n\ntwo\n",
    "UTF-8": "ä\n\u20ac\U0001f600ß\nü".encode(), "carriage returns": b"one\r\ntwo\rthree\n",
    "zeros of a power cut": b'{"a": 1}\n' + b"\0" * 30 + b'\n{"b": 2}\n',
}


@pytest.mark.parametrize("name", sorted(TEXTS))
@pytest.mark.parametrize("wanted", [(), (b"o",), (b"\xe2\x82\xac\xf0",), (b"o", b"t"), (b'"b"',)])
def test_lines_come_backwards_wherever_a_block_ends(tmp_path, monkeypatch, name, wanted):
    path = tmp_path / "file"
    path.write_bytes(TEXTS[name])
    lines = [line for line in TEXTS[name].split(b"\n") if line]
    expected = [line for line in reversed(lines) if all(part in line for part in wanted)]
    for size in range(1, len(TEXTS[name]) + 2):
        monkeypatch.setattr(sc, "READ_AT_ONCE", size)
        assert list(sc.lines_backwards(str(path), wanted)) == expected, size


def test_no_more_of_a_file_is_read_than_its_last_lines_take(history):
    path = history.folder / "file"
    path.write_bytes(b"%99d\n" * 20000 % tuple(range(20000)))
    history.watch()
    lines = sc.lines_backwards(str(path))
    assert [int(line) for _, line in zip(range(3), lines)] == [19999, 19998, 19997]
    assert history.bytes_read == sc.READ_AT_ONCE


def test_a_reading_that_is_given_up_leaves_no_descriptor(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")
    before = os.listdir("/dev/fd")
    for _ in range(3):
        lines = sc.lines_backwards(str(path))
        assert next(lines) == b"two"
        del lines
    assert os.listdir("/dev/fd") == before


def test_a_read_that_comes_in_pieces_is_put_together(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthree\n" * 9)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: real(fd, min(count, 5), at))
    assert list(sc.lines_backwards(str(path))) == [b"three", b"two", b"one"] * 9


def test_a_file_that_is_truncated_meanwhile_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nsix\n")
    monkeypatch.setattr(sc, "READ_AT_ONCE", 4)
    lines = sc.lines_backwards(str(path))
    assert next(lines) == b"six"
    os.truncate(str(path), 2)
    with pytest.raises(OSError, match="Truncated while it was read"):
        next(lines)


@pytest.mark.parametrize("make, complaint", [
    (lambda path: path.mkdir(), "Is a directory"), (os.mkfifo, "Not a regular file"),
    (lambda path: path.symlink_to("/dev/zero"), "Is a symbolic link"),
    (lambda path: path.touch() or os.truncate(str(path), 22 << 30), "File too large"),
])
def test_what_is_no_file_of_the_history_is_not_read(history, make, complaint):
    history.project.configure(every_minute("a"))
    make(history.folder / "2025-06-02.jsonl")
    for command in (["history"], ["history", "--limit", "1"], ["why", "a"], ["audit"]):
        code, out, err = history.call(*command)
        assert (code, out) == (sc.EXIT_IOERR, ""), command
        assert "cannot read " in err and complaint in err, command


# -- the verdicts

DAY = NOON - 12 * sc.HOUR


def naive(folder, first, only, status):
    """The verdicts by reading everything, oldest first."""
    records = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            record = sc.verdict_of(line) if line else None
            if record and record["ended_at"] >= first and only in ("", record["task"]):
                records.append(record)
    return [record for record in records if record["status"].startswith(status)]


OUTPUTS = ["", "\n", "ä\u20ac\U0001f600", '"a" "failed"', '"ended_at": "9"', "x" * 99]


def lines_of_a_day(chance, day):
    """Verdicts that are not in the order of their ends, some of them damaged, and what is none."""
    for _ in range(chance.choice([0, 1, 30])):
        ended_at = day + chance.randrange(sc.DAY)
        earlier = verdict("a", ended_at - chance.randrange(2 * sc.DAY))
        record = verdict(chance.choice(NAMES), ended_at, chance.choice(STATUSES),
                         attempts=chance.choice([[], [earlier]]),
                         output_tail=chance.choice(OUTPUTS))
        line = json.dumps(record, sort_keys=True, ensure_ascii=chance.random() < 0.9).encode()
        if chance.random() < 0.1:
            cut = line[:chance.randrange(len(line))]
            line = chance.choice([cut, b"", b"\0" * 50 + line, b"[]"])
        yield line + b"\n"
    yield chance.choice([b"", b'{"task": "a", "sta'])  # the last line may be cut short


NAMES = ["a", "ab", "a.b", "nightly"]
STATUSES = ["success", "failed", "skipped_overlap", "skipped_late"]


@pytest.mark.parametrize("seed", range(8))
def test_both_directions_have_the_verdicts_of_a_history_read_whole(history, monkeypatch, seed):
    chance = random.Random(seed)
    for day in range(DAY, DAY + 4 * sc.DAY, sc.DAY):
        path = history.folder / (sc.iso(day)[:10] + ".jsonl")
        path.write_bytes(b"".join(lines_of_a_day(chance, day)))
    for _ in range(20):
        monkeypatch.setattr(sc, "READ_AT_ONCE", chance.choice([50, 333, 1 << 16]))
        since = chance.choice([0, DAY, DAY + chance.randrange(4 * sc.DAY)])
        only = chance.choice([""] + NAMES)
        status = chance.choice(["", "success", "skipped", "skipped_late", "no"])
        expected = naive(history.folder, sc.iso(since), only, status)
        assert list(history.store.verdicts(since, only, status)) == expected
        backwards = history.store.verdicts(since, only, status, newest_first=True)
        assert list(backwards) == expected[::-1]
    assert history.store.history(7, "a") == naive(history.folder, "", "a", "")[::-1][:7]


def test_a_day_that_is_pruned_meanwhile_has_no_verdicts(history):
    history.write([verdict("a", DAY)])
    history.store.history_days = lambda first="": ["2025-06-01", "2025-06-02", "2025-06-03"]
    assert [record["ended_at"] for record in history.store.verdicts(0)] == ["2025-06-02T00:00:00Z"]


def test_lines_are_parsed_only_when_they_can_matter(history, monkeypatch):
    history.write(verdict(name, DAY + second) for second in range(0, 1000, 10) for name in "ab")
    parsed, parse = [], sc.verdict_of
    monkeypatch.setattr(sc, "verdict_of", lambda line: parsed.append(line) or parse(line))
    assert len(list(history.store.verdicts(0, "b"))) == len(parsed) == 100
    del parsed[:]
    assert len(list(history.store.verdicts(DAY + 900))) == len(parsed) == 20
    del parsed[:]
    assert list(history.store.verdicts(0, "", "failed")) == parsed == []
    assert len(history.store.history(5)) == len(parsed) == 5


# -- what the commands read

def busy_days(history, now=NOON + 600, days=6):
    """Verdicts of each task in each hour up to now, and of `rare` in the first; the days."""
    names = ["t%02d" % number for number in range(40)]
    history.set_clock(now)
    hours = range(now // sc.HOUR * sc.HOUR - 24 * sc.HOUR * days, now, sc.HOUR)
    history.write([verdict("rare", hours[0] + 30)])
    for hour in hours:
        history.write(verdict(name, hour + 1, scheduled_for=sc.iso(hour)) for name in names)
    tasks = [{"name": name, "command": "true", "schedule": "0 * * * *"} for name in names]
    tasks.append({"name": "rare", "command": "true"})
    tasks.append({"name": "yearly", "command": "true", "schedule": "0 0 29 2 *"})
    history.project.configure(*tasks, timezone="UTC")
    store, config = history.store, history.store.read_config()
    facts = sc.Facts(boot_id="b", zone_stamp=sc.current_zone_stamp())
    state = sc.decide(config, sc.State(), hours[0] - 1.0, facts, 0.0).state
    states = {name: each.replace(cursor=hours[-1]) for name, each in state.tasks.items()}
    store.save_state(state.replace(tasks=states, pending=[]))
    since = {name: {"since": sc.iso(hours[0] - 1), "key": each.schedule_key}
             for name, each in states.items()}
    store.record([{"event": "anchored", "at": sc.iso(hours[0]), "tasks": since}], 30)
    return sorted(path.name[:10] for path in history.folder.iterdir())


def test_the_newest_of_the_history_cost_a_block_however_long_it_is(history):
    busy_days(history)
    assert sum(path.stat().st_size for path in history.folder.iterdir()) > 20 * sc.READ_AT_ONCE
    history.watch()
    code, out, _ = history.call("history", "--limit", "20", "--json")
    newest = ["t%02d" % number for number in range(39, 19, -1)]
    assert code == 0 and [record["task"] for record in json.loads(out)] == newest
    assert history.bytes_read <= 2 * sc.READ_AT_ONCE
    history.bytes_read = 0
    code, out, _ = history.call("status", "--json")
    assert code == 0 and len(json.loads(out)["recent_results"]) == sc.RECENT_RESULTS
    assert history.bytes_read <= 2 * sc.READ_AT_ONCE


@pytest.mark.parametrize("hour, expected", [
    (12, ["2025-06-02"]), (2, ["2025-06-01", "2025-06-02"])])
def test_why_reads_the_days_from_its_slot_on_and_each_once(history, hour, expected):
    busy_days(history, DAY + hour * sc.HOUR + 600)
    history.watch()
    code, out, _ = history.call("why", "t07")
    assert code == 0 and " ran and succeeded. Attempt 1 took 1s" in out
    assert history.files_read == expected, "a run may have ended three hours ahead of its slot"


@pytest.mark.parametrize("name, expected", [
    ("rare", "Its latest run succeeded"), ("yearly", "it has never been due")])
def test_why_of_a_rare_task_reads_each_day_once_at_most(history, name, expected):
    days = busy_days(history)
    history.watch()
    code, out, _ = history.call("why", name)
    assert code == 0 and expected in out
    assert history.files_read == days
    assert history.bytes_read == sum(path.stat().st_size for path in history.folder.iterdir())


def test_an_older_day_that_cannot_be_read_costs_an_answer_only_if_it_is_needed(history):
    days = busy_days(history)
    oldest = history.folder / (days[0] + ".jsonl")
    oldest.unlink()
    oldest.mkdir()
    assert history.call("history", "--limit", "20")[0] == 0
    assert history.call("why", "t07")[0] == 0
    assert history.call("audit", "--since", "1d")[0] == 0
    for command in (["history", "--limit", "999999"], ["why", "rare"], ["audit"]):
        code, out, err = history.call(*command)
        assert (code, out) == (sc.EXIT_IOERR, "") and "Is a directory" in err, command


def test_a_verdict_that_is_committed_and_not_on_file_is_an_answer(history):
    busy_days(history)
    slot = NOON - sc.DAY
    state = history.store.read_state()[0]
    on_file = history.store.history(1, "t07")[0]
    committed = verdict("t07", slot + 5, "failed", scheduled_for=sc.iso(slot), reason="committed")
    others = [verdict("t07", slot + 6, "failed", interim=True), verdict("t08", slot + 7)]
    history.store.save_state(state.replace(pending=[on_file, committed] + others))
    snapshot = sc.Snapshot(history.store)
    verdicts = snapshot.verdicts(slot - sc.DAY, "t07")
    assert verdicts[-1] == committed and verdicts.count(on_file) == 1
    assert not any(record.get("interim") or record["task"] != "t07" for record in verdicts)


@pytest.mark.parametrize("command", [
    ["why", "t07"], ["why", "rare"], ["audit"], ["audit", "--task", "t07"],
    ["history", "--task", "t07"], ["logs", "t07"]])
def test_a_question_reads_configuration_state_and_events_once(history, monkeypatch, command):
    busy_days(history, days=1)
    calls = []

    def count(method):
        real = getattr(sc.Reader, method)
        monkeypatch.setattr(sc.Reader, method, lambda store: calls.append(method) or real(store))

    for method in ("read_config", "read_state", "events", "last_tick"):
        count(method)
    assert history.call(*command)[0] in (0, 1)
    assert len(calls) == len(set(calls)) and "read_state" in calls


# -- the configuration in force

def test_the_last_good_configuration_stays_in_force(project):
    project.configure(every_minute("a"))
    store = sc.Store(str(project.root))
    config, problems = store.config_in_force()
    assert list(config.tasks) == ["a"] and problems == []
    store.save_last_good("stamp")
    project.write_config("{")
    config, problems = store.config_in_force()
    assert list(config.tasks) == ["a"] and "not valid JSON" in str(problems[0])
    assert list(sc.Snapshot(store).config.tasks) == ["a"]


def test_without_a_last_good_configuration_none_is_in_force(project):
    project.write_config("{")
    store = sc.Store(str(project.root))
    config, problems = store.config_in_force()
    assert config is None and len(problems) == 1
    with pytest.raises(sc.ConfigError, match="not valid JSON"):
        sc.Snapshot(store).config  # noqa: B018


def test_what_ran_is_told_while_no_configuration_can_be_read(history):
    history.project.configure(every_minute("a"))
    history.write([verdict("a", NOON - 60)])
    log = history.project.root / "logs" / "automation" / "a.log"
    log.parent.mkdir(parents=True)
    log.write_text("hello\n")
    history.project.write_config("{")
    history.monkeypatch.setattr(sc.Reader, "read_last_good", refuse)
    assert history.call("logs", "a")[:2] == (0, "hello\n")
    code, out, _ = history.call("history", "--task", "a", "--json")
    assert code == 0 and [record["task"] for record in json.loads(out)] == ["a"]
    assert history.call("history", "--task", "b")[0] == sc.EXIT_IOERR  # it may be in there


def refuse(store):
    raise sc.StorageError("cannot read %s: Permission denied" % store.shown(store.last_good_path))
