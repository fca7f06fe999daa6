"""The log in the journal and in syslog: what a daemon gets, and a daemon that is away or too slow."""

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

import pytest
from stories import at
from support import due_once, every_minute, wait_until

import symphony_conductor as sc

RUN = "20250602T020000Z-7"
TASKS = {"a": None, "big-job_1.x": None}


# -- a daemon on a socket of the test's own, and what it reads

class Daemon:
    """What listens in the place of journald or syslogd."""

    def __init__(self, path, kind=socket.SOCK_DGRAM):
        self.path, self.kind = str(path), kind
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(self.path)
        if kind == socket.SOCK_STREAM:
            self.socket.listen(5)
        self.socket.setblocking(False)

    def datagrams(self):
        got = []
        while True:
            try:
                got.append(self.socket.recv(1 << 20))
            except BlockingIOError:
                return got

    def stream(self):
        connection, _ = self.socket.accept()
        connection.setblocking(True)
        pieces = []
        while True:
            piece = connection.recv(4096)
            if not piece:
                connection.close()
                return b"".join(pieces)
            pieces.append(piece)


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    made = []

    def start(kind=socket.SOCK_DGRAM):
        path = tmp_path / "s"
        monkeypatch.setattr(sc, "JOURNAL_SOCKET", str(path))
        monkeypatch.setattr(sc, "SYSLOG_SOCKETS", (str(tmp_path / "none"), str(path)))
        made.append(Daemon(path, kind))
        return made[-1]

    yield start
    for each in made:
        each.socket.close()


def journal_fields(entry):
    """An entry as journald's own parser reads it: systemd.io, "Native Journal Protocol"."""
    fields = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            size, = struct.unpack("<Q", entry[:8])
            value, entry = entry[8:8 + size], entry[8 + size:]
            assert entry[:1] == b"\n"
            entry = entry[1:]
        assert re.match(rb"[A-Z][A-Z0-9_]{0,63}\Z", key)
        assert key not in fields
        fields[key] = value
    return {key.decode(): value.decode() for key, value in fields.items()}


SYSLOG = re.compile(  # RFC 3164 as rsyslog's and journald's parsers take it: no host
    r"<(?P<priority>\d{1,3})>(?P<at>[A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d) (?P<tag>[^\s:\[]+)\[(?P<pid>\d+)\]: "
    r"(?P<text>.*)\Z")


# -- the form

@pytest.mark.parametrize("line, task, run, priority", [
    ("a: starting run %s, attempt 1 of 1" % RUN, "a", RUN, "6"),
    ("big-job_1.x: run %s succeeded after 3s" % RUN, "big-job_1.x", RUN, "6"),
    ("WARNING a: run %s cannot be ended" % RUN, "a", RUN, "4"),
    ("ERROR a: the supervisor of run %s gave up" % RUN, "a", RUN, "3"),
    ("a: slot 2025-06-02T02:00:00Z is waiting: x", "a", None, "6"),
    ("WARNING message 'failed a' was not accepted; retrying", "a", None, "4"),
    ("WARNING giving up on message 'failed a' after 3 tries", "a", None, "4"),
    ("other: starting run %s" % RUN, None, None, "6"), ("all tasks: resumed", None, None, "6"),
    ("config/conductor_config.json: tasks[0] 'a': bad", None, None, "6"),
    ("WARNING no tick from x to y", None, None, "4"), ("WARNINGS a: x", None, None, "6"), ("", None, None, "6")])
def test_task_run_and_severity_are_fields(line, task, run, priority):
    fields = {"MESSAGE": line, "PRIORITY": priority, "SYMPHONY_TASK": task, "SYMPHONY_RUN_ID": run}
    assert sc.log_fields(line, TASKS) == {key: value for key, value in fields.items() if value is not None}


@pytest.mark.parametrize("text", [
    "plain", "two\nlines\n", "a=b\nMESSAGE=c", "\u2603 \u00e4", "\x00\x01", "\n", "PRIORITY=0", "x" * 100])
def test_the_journal_gets_any_text_whole(text):
    entry = sc.journal_entry(sc.log_fields("a: " + text, TASKS))
    assert journal_fields(entry) == {
        "MESSAGE": "a: " + text, "PRIORITY": "6", "SYMPHONY_TASK": "a",
        "SYSLOG_IDENTIFIER": "symphony_conductor", "SYSLOG_FACILITY": "9"}
    assert b"\\udc80" in sc.journal_entry(sc.log_fields("\udc80", TASKS))


def test_syslog_gets_one_line_with_the_fields_at_its_end():
    fields = sc.log_fields("ERROR a: the supervisor of run %s\ngave\0up \u2603" % RUN, TASKS)
    now = at("2025-06-02T02:00:00Z")
    found = SYSLOG.match(sc.syslog_entry(fields, now).decode())
    assert found.group("text") == "ERROR a: the supervisor of run %s gave up \u2603 task=a run_id=%s" % (RUN, RUN)
    assert int(found.group("priority")) == 9 * 8 + 3
    assert (found.group("tag"), int(found.group("pid"))) == ("symphony_conductor", os.getpid())
    stamp = time.strptime("2025 " + found.group("at"), "%Y %b %d %H:%M:%S")
    assert time.mktime(stamp[:8] + (-1,)) == now, "in local time, as syslogd expects"


def test_a_line_that_no_datagram_holds_is_cut(daemon):
    listening = daemon()
    line = "a: " + "\u2603" * 100000
    assert sc.send_to_log([listening.path], [sc.journal_entry(sc.log_fields(line, TASKS))]) == 0
    entry, = listening.datagrams()
    assert journal_fields(entry)["MESSAGE"].endswith("\u2603...")


# -- the daemon

def log_of(project, log_to, *lines):
    project.configure(every_minute("a"), log_to=log_to)
    store = sc.Store(str(project.root))
    store.log(at("2025-06-02T02:00:00Z"), lines)
    return project.lines("logs/symphony_conductor.log")


def test_the_file_has_the_lines_as_well(project, daemon):
    listening = daemon()
    assert log_of(project, "journal", "a: one", "WARNING two") == [
        "2025-06-02T02:00:00Z a: one", "2025-06-02T02:00:00Z WARNING two"]
    assert [journal_fields(entry)["MESSAGE"] for entry in listening.datagrams()] == ["a: one", "WARNING two"]


def test_without_the_setting_only_the_file_has_them(project, daemon):
    listening = daemon()
    log_of(project, "file", "a: one")
    assert listening.datagrams() == []


def test_a_syslog_daemon_may_listen_on_a_stream(project, daemon):
    listening = daemon(socket.SOCK_STREAM)
    log_of(project, "syslog", "a: one", "two")
    texts = [SYSLOG.match(entry).group("text") for entry in listening.stream().decode().split("\0")[:-1]]
    assert texts == ["a: one task=a", "two"]


@pytest.mark.parametrize("log_to", ["journal", "syslog"])
def test_a_daemon_that_reads_nothing_holds_nothing_up_and_what_it_missed_is_counted_once(project, daemon, log_to):
    daemon()
    started = time.monotonic()
    log = log_of(project, log_to, *["a: " + "x" * 5000] * 300)
    assert time.monotonic() - started < 5
    assert len(log) == 301, "the file has them all"
    counted = re.match(r"\S+ WARNING log_to: (\d+) lines were not taken by the %s, whose buffer is full" % log_to,
                       log[-1])
    assert 100 < int(counted.group(1)) < 300


@pytest.mark.parametrize("log_to", ["journal", "syslog"])
@pytest.mark.parametrize("left_behind", [False, True])
def test_a_daemon_that_is_away_costs_nothing_and_doctor_says_so(hand, daemon, monkeypatch, log_to, left_behind):
    listening = daemon()
    listening.socket.close()
    if not left_behind:
        os.unlink(listening.path)
    monkeypatch.setenv("COLUMNS", "300")
    assert log_of(hand.project, log_to, "a: one") == ["2025-06-02T02:00:00Z a: one"]
    words = "log_to: nothing listens at "
    code, out, _ = hand.call("check")
    assert code == 0 and words in out and words in hand.call("doctor")[1]
    hand.configure(every_minute("a"), log_to="file")
    assert words not in hand.call("check")[1]


@pytest.mark.parametrize("log_to", ["journal", "syslog"])
def test_check_and_doctor_name_a_socket_that_this_user_may_not_write_to(hand, daemon, monkeypatch, log_to):
    path = daemon().path
    monkeypatch.setenv("COLUMNS", "300")

    def refuse(paths):  # even root's connect(2) to a socket of mode 0 succeeds
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sc, "connect_log", refuse)
    hand.configure(every_minute("a"), log_to=log_to)
    words = ("log_to: this user may not write to %s (ask the administrator for access, or use another log; "
             "the file in logs/ has every line)" % path)
    code, out, _ = hand.call("check")
    assert code == 0 and words in out and words in " ".join(hand.call("doctor")[1].split())


def test_check_is_content_with_a_daemon_that_listens(hand, daemon):
    listening = daemon()
    hand.configure(every_minute("a"), log_to="syslog")
    assert "log_to" not in hand.call("check")[1]
    assert listening.datagrams() == [], "nothing is sent to find out"


def test_an_invalid_configuration_is_logged_where_the_last_valid_one_says(project, daemon):
    listening = daemon()
    project.configure(every_minute("a"), log_to="journal")
    store = sc.Store(str(project.root))
    store.read_config()
    store.save_last_good("x")
    project.write_config("{")
    sc.Store(str(project.root)).log(at("2025-06-02T02:00:00Z"), ["bad"])
    assert len(listening.datagrams()) == 1
    os.unlink(store.last_good_path)
    sc.Store(str(project.root)).log(at("2025-06-02T02:00:00Z"), ["bad"])
    assert listening.datagrams() == [] and len(project.lines("logs/symphony_conductor.log")) == 2


RSYSLOG = shutil.which("rsyslogd", path="/usr/sbin:/sbin:/usr/bin")
RSYSLOG_CONF = """
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="%(folder)s/s")
template(name="parts" type="string"
         string="%%syslogfacility-text%%|%%syslogseverity-text%%|%%programname%%|%%procid%%|%%msg%%\\n")
*.* action(type="omfile" file="%(folder)s/out" template="parts")
"""


@pytest.mark.skipif(not RSYSLOG, reason="rsyslog is not installed")
def test_rsyslog_reads_it(project, tmp_path, monkeypatch):
    monkeypatch.setattr(sc, "SYSLOG_SOCKETS", (str(tmp_path / "s"),))
    (tmp_path / "conf").write_text(RSYSLOG_CONF % {"folder": tmp_path})
    server = subprocess.Popen([RSYSLOG, "-n", "-f", str(tmp_path / "conf"), "-i", str(tmp_path / "pid")])
    try:
        wait_until(lambda: (tmp_path / "s").exists())
        log_of(project, "syslog", "ERROR a: run %s failed" % RUN, "all is well: \u2603")
        wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_bytes().count(b"\n") == 2)
    finally:
        server.terminate()
        server.wait(20)
    assert (tmp_path / "out").read_text(encoding="utf-8").splitlines() == [
        "cron|err|symphony_conductor|%d| ERROR a: run %s failed task=a run_id=%s" % (os.getpid(), RUN, RUN),
        "cron|info|symphony_conductor|%d| all is well: \u2603" % os.getpid()]


def test_an_error_in_reading_the_configuration_is_logged_all_the_same(project, monkeypatch):
    project.configure(every_minute("a"), log_to="journal")
    monkeypatch.setattr(sc, "build_config", lambda *_: 1 / 0)
    sc.Store(str(project.root)).log(at("2025-06-02T02:00:00Z"), ["ERROR division by zero"])
    assert project.lines("logs/symphony_conductor.log") == ["2025-06-02T02:00:00Z ERROR division by zero"]


PATCHED = """import sys
sys.path.insert(0, %r)
import symphony_conductor as sc
sc.JOURNAL_SOCKET = %r
sys.exit(sc.main(["--root", %r, "tick"]))
"""


def test_ticks_and_supervisors_send_what_they_log(project, daemon, monkeypatch):
    listening = daemon()
    project.configure(due_once("a", "exit 3"), due_once("secret", "echo hidden", env={"KEY": "s3cr3t"}),
                      log_to="journal")
    project.anchor()
    monkeypatch.setattr(sc, "JOURNAL_SOCKET", listening.path)
    folder = os.path.dirname(sc.__file__)
    subprocess.run([sys.executable, "-c", PATCHED % (folder, listening.path, str(project.root))],
                   stdin=subprocess.DEVNULL, check=True, timeout=60)
    project.wait_until(lambda: len(project.history()) == 2)
    project.wait_for_idle()
    entries = [journal_fields(entry) for entry in listening.datagrams()]
    log = [line.partition(" ")[2] for line in project.lines("logs/symphony_conductor.log")]
    starts = [entry for entry in entries if ": starting run" in entry["MESSAGE"]]
    assert sorted(entry["SYMPHONY_TASK"] for entry in starts) == ["a", "secret"]
    assert all(entry["SYMPHONY_RUN_ID"] in entry["MESSAGE"] for entry in starts)
    assert {entry["MESSAGE"] for entry in entries} <= set(log), "nothing that the file has not"
    assert "s3cr3t" not in str(entries) and "hidden" not in str(entries)


def test_with_the_journal_for_stdout_a_line_goes_there_once(project, daemon, monkeypatch):
    listening = daemon()
    reader, writer = os.pipe()
    info = os.fstat(writer)
    monkeypatch.setenv("JOURNAL_STREAM", "%d:%d" % (info.st_dev, info.st_ino))
    monkeypatch.setattr(sc, "is_journal", lambda fd: True)
    printed = []
    monkeypatch.setattr(sc, "write_all", lambda fd, data: printed.append(data) if fd == 1 else os.write(fd, data))
    log_of(project, "journal", "a: one")
    assert (len(listening.datagrams()), printed) == (1, [])
    log_of(project, "syslog", "a: two")
    assert (len(listening.datagrams()), printed) == (1, [b"a: two\n"])
    os.close(reader)
    os.close(writer)
