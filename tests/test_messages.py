"""Who is told of what: the decision, what is sent to a real listener, and what happens when it is not taken."""

import json
import os
import pathlib
import socket
import socketserver
import threading
import time

import pytest
from stories import Told, at, fail, task, waiting
from support import HandClock, Project, every_minute

import symphony_conductor as sc

HOUR = 3600


# -- a listener on loopback that behaves as its path says

class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Talk)
        self.got = []
        self.over = threading.Event()
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # those that hang up on us are part of the tests

    def bodies(self, path="/ok"):
        return [json.loads(body) for _, of, body in self.got if of == path]


class Talk(socketserver.StreamRequestHandler):
    ANSWERS = {
        "/ok": b"HTTP/1.0 200 OK\r\n\r\nfine",
        "/broken": b"HTTP/1.0 500 Broken\r\n\r\nsorry",
        "/file": b"HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        "/ftp": b"HTTP/1.0 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n",
        "/elsewhere": b"HTTP/1.0 302 Found\r\nLocation: /ok\r\n\r\n",
        "/early": b"",
        "/garbage": b"\x00\x01\x02 no http\r\n\r\n",
    }

    def handle(self):
        method, path, _ = self.rfile.readline().decode().split(" ")
        length = 0
        while True:
            line = self.rfile.readline().strip().lower()
            if not line:
                break
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = self.rfile.read(length).decode()
        self.server.got.append((method, path, body))
        path = path.partition("?")[0]
        if path == "/hang":
            self.server.over.wait(20)
        elif path == "/drip":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            while not self.server.over.wait(0.05):
                self.wfile.write(b"X-More: y\r\n")
        else:
            self.wfile.write(self.ANSWERS.get(path, self.ANSWERS["/ok"]))


@pytest.fixture
def listener():
    server = Listener()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(sc, "SEND_TIMEOUT_S", 0.4)


BODY = {"event": "test", "task": None, "text": "x"}


@pytest.mark.parametrize("path, trouble", [
    ("/ok", ""), ("/broken", "HTTP status 500"), ("/file", "HTTP status 302"), ("/ftp", "HTTP status 302"),
    ("/elsewhere", "HTTP status 302"), ("/early", "request failed: RemoteDisconnected"),
    ("/garbage", "request failed: BadStatusLine"), ("/missing", ""),
])
def test_a_body_is_taken_or_the_reason_is_told(listener, path, trouble):
    assert sc.send_to_web(listener.url + path, BODY) == trouble
    assert listener.got == [("POST", path, json.dumps(BODY))]  # nothing is sent on to where a redirect points


def test_an_answer_that_never_comes_is_waited_for_in_bounds(listener, soon):
    started = time.monotonic()
    assert sc.send_to_web(listener.url + "/hang", BODY) in (
        "request failed: timeout", "request failed: TimeoutError", "request failed: timed out")
    assert time.monotonic() - started < 5


def test_an_answer_that_trickles_in_is_cut_off(listener, soon, monkeypatch):
    assert sc.in_time(lambda: sc.send_to_web(listener.url + "/drip", BODY)) == "timed out after 0 s"


def test_a_ping_is_not_sent_on_to_https_either(listener, monkeypatch):
    monkeypatch.setitem(Talk.ANSWERS, "/secure", b"HTTP/1.0 302 Found\r\nLocation: https" +
                        listener.url[len("http"):].encode() + b"/ok\r\n\r\n")
    assert sc.send_to_web(listener.url + "/secure", None) == "HTTP status 302"
    assert [path for _, path, _ in listener.got] == ["/secure"]


def test_a_ping_follows_a_redirect_of_its_own_scheme_only(listener):
    assert sc.send_to_web(listener.url + "/elsewhere", None) == ""
    assert [(method, path) for method, path, _ in listener.got] == [("GET", "/elsewhere"), ("GET", "/ok")]
    assert sc.send_to_web(listener.url + "/file", None) == "HTTP status 302"


def test_where_nobody_listens_the_reason_has_no_address_in_it():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for body in (None, BODY):
        assert sc.send_to_web("http://127.0.0.1:%d/SECRET" % port, body) == "request failed: Connection refused"
    assert "SECRET" not in sc.send_to_web("http://no host/SECRET", BODY)
    assert "SECRET" not in sc.send_to_web("http://[broken/SECRET", BODY)


@pytest.mark.parametrize("scheme", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_no_other_scheme_is_opened(scheme):
    assert sc.send_to_web(scheme, None) != ""


@pytest.mark.parametrize("command, trouble", [
    ("cat > told; echo \"$SYMPHONY_EVENT/$SYMPHONY_TASK/$SYMPHONY_TEXT\" >> told", ""),
    ("exit 3", "exited with 3"),
    (("/no/such/program",), "cannot start: '/no/such/program' does not exist (correct the path)"),
    ("exec 0<&-; exit 0", ""),
])
def test_a_command_gets_the_body_and_its_facts(tmp_path, monkeypatch, command, trouble):
    monkeypatch.chdir(tmp_path)
    assert sc.send_to_command(command, dict(BODY, task="a")) == trouble
    if not trouble and "told" in command:
        assert (tmp_path / "told").read_text() == json.dumps(dict(BODY, task="a")) + "test/a/x\n"


def test_a_command_that_does_not_end_is_ended_with_its_children(soon):
    started = time.monotonic()
    assert sc.send_to_command("sleep 30 & sleep 30", BODY) == "timed out after 0 s"
    assert time.monotonic() - started < 5


# -- the decision



def test_the_last_attempt_is_told_and_not_every_retry():
    world = Told(task("a", "0 2 * * *", retry_count=2, retry_delay=60))
    world.tick("2025-06-02T00:00:00Z")
    fail(world, "a", "2025-06-02T02:00:00Z")
    fail(world, "a", "2025-06-02T02:02:00Z")
    assert world.told() == []
    fail(world, "a", "2025-06-02T02:04:00Z")
    assert world.told() == [("failed", "a")]
    assert world.messages[0]["attempts"] == 3 and world.messages[0]["outcome"] == "failed (exit 1)"


def test_repetitions_are_told_once_a_day_and_recovery_once():
    world = Told(task("a", "0 * * * *"))
    world.tick("2025-06-02T00:30:00Z")
    for hour in range(1, 24):
        fail(world, "a", "2025-06-02T%02d:00:00Z" % hour)
    assert world.told() == [("failed", "a")]
    fail(world, "a", "2025-06-03T00:00:00Z")
    fail(world, "a", "2025-06-03T01:00:00Z")
    assert world.told() == [("failed", "a")] * 2
    for hour in (2, 3):
        world.tick("2025-06-03T0%d:00:00Z" % hour)
        world.finish("a", "2025-06-03T0%d:00:30Z" % hour)
    assert world.told() == [("failed", "a")] * 2 + [("recovered", "a")]


def test_how_often_is_for_renotify_hours_to_say():
    world = Told(task("a", "0 * * * *"), renotify_hours=2)
    world.tick("2025-06-02T00:30:00Z")
    for hour in range(1, 6):
        fail(world, "a", "2025-06-02T%02d:00:00Z" % hour)
    assert world.told() == [("failed", "a")] * 3


def test_a_root_cause_is_named_once_and_not_once_for_each_dependent():
    world = Told(task("scan", "0 2 * * *"), task("analyse", "10 2 * * *", dependencies=["scan"]),
                 task("clean", "20 2 * * *", dependencies=["analyse"]),
                 task("mail", "20 2 * * *", dependencies=["clean"]))
    world.tick("2025-06-02T00:00:00Z")
    fail(world, "scan", "2025-06-02T02:00:00Z")
    for minute in range(10, 40):
        world.tick("2025-06-02T02:%02d:00Z" % minute)
    assert world.told() == [("failed", "scan"), ("blocked", "scan")]
    assert world.messages[1]["dependents"] == ["analyse"]
    assert world.messages[1]["outcome"].startswith("failed (exit 1)")


def test_a_task_that_is_disabled_is_named_when_others_wait_for_it():
    world = Told(task("scan", "0 2 * * *", enabled=False), task("analyse", "10 2 * * *", dependencies=["scan"]))
    world.tick("2025-06-02T00:00:00Z")
    world.tick("2025-06-02T02:10:00Z")
    assert world.told() == []  # it was never seen, so there is nothing to remember the telling by
    seen = Told(task("scan", "0 2 * * *"), task("analyse", "10 2 * * *", dependencies=["scan"]))
    seen.tick("2025-06-02T00:00:00Z")
    seen.configure(task("scan", "0 2 * * *", enabled=False), task("analyse", "10 2 * * *", dependencies=["scan"]))
    seen.tick("2025-06-02T02:10:00Z")
    assert [(each["event"], each["task"], each["outcome"]) for each in seen.messages] == [
        ("blocked", "scan", "is disabled")]


@pytest.mark.parametrize("status", ["skipped_exit", "skipped_condition", "stopped"])
def test_a_skip_that_was_chosen_is_no_news_unless_the_task_failed_before(status):
    tasks = task("scan", "0 2 * * *"), task("analyse", "10 2 2 * *", dependencies=["scan"])
    for last, messages in (("success", []), ("failed", [("failed", "scan"), ("blocked", "scan")])):
        world = Told(*tasks)
        world.tick("2025-06-01T00:00:00Z")
        for day, end in ((1, last), (2, status)):
            world.tick("2025-06-%02dT02:00:00Z" % day)
            world.finish("scan", "2025-06-%02dT02:01:00Z" % day, end)
        world.tick("2025-06-02T02:10:00Z")
        assert world.state.tasks["analyse"].cycle.phase == "waiting"
        assert world.told() == messages


def test_a_skip_by_hand_is_no_news():
    world = Told(task("scan", "0 2 * * *"), task("analyse", "10 2 * * *", dependencies=["scan"]))
    world.tick("2025-06-02T00:00:00Z")
    world.state, _ = sc.skip_slot(
        world.state, world.config.tasks["scan"], world.last_seen, world.last_seen, "joe")
    world.tick("2025-06-02T02:00:00Z")
    world.tick("2025-06-02T02:10:00Z")
    assert world.state.tasks["analyse"].cycle.phase == "waiting"
    assert world.told() == []


def test_a_gap_and_the_configuration_are_told():
    world = Told(task("a", "0 2 * * *"))
    world.tick("2025-06-02T00:00:00Z")
    now = at("2025-06-02T09:00:00Z")
    facts = sc.Facts(boot_id="boot-1", zone_stamp="z", trouble="c.json: no good\nmore",
                     gap=sc.Gap(since=at("2025-06-02T00:00:00Z"), until=now, cause="cron"))
    decision = sc.decide(world.config, world.state, now, facts)
    assert [(each["event"], each["outcome"]) for each in decision.messages] == [
        ("gap", sc.GAP_CAUSES["cron"]), ("configuration", "c.json: no good")]
    facts = sc.Facts(boot_id="boot-1", zone_stamp="z", trouble="", runs={"a": sc.RunFact()})
    decision = sc.decide(world.config, decision.state, now + 60, facts)
    assert [each["event"] for each in decision.messages] == ["configuration_good"]


@pytest.mark.parametrize("settings", [{"enable_notifications": False}, {"notification_webhook": None}])
def test_nobody_is_told_who_did_not_ask(settings):
    world = Told(task("a", "0 2 * * *"), **settings)
    world.configure(task("a", "0 2 * * *"), **settings)
    world.tick("2025-06-02T00:00:00Z")
    fail(world, "a", "2025-06-02T02:00:00Z")
    assert world.told() == []


def test_a_dead_man_switch_hears_of_start_and_end_of_a_slot():
    world = Told(task("a", "0 * * * *", ping_url="https://example.org/p", retry_count=1, retry_delay=0),
                 enable_notifications=False)
    world.tick("2025-06-02T00:30:00Z")
    fail(world, "a", "2025-06-02T01:00:00Z")
    fail(world, "a", "2025-06-02T01:01:00Z")
    world.tick("2025-06-02T02:00:00Z")
    world.finish("a", "2025-06-02T02:00:30Z")
    assert [each["kind"] for each in world.messages] == ["start", "fail", "start", "success"]


@pytest.mark.parametrize("url, kind, address", [
    ("https://x.org/abc", "success", "https://x.org/abc"), ("https://x.org/abc/", "fail", "https://x.org/abc/fail"),
    ("https://x.org/abc?k=v", "start", "https://x.org/abc/start?k=v"),
])
def test_a_ping_goes_to_the_address_of_its_kind(url, kind, address):
    assert sc.ping_address(url, kind) == address


@pytest.mark.parametrize("said, shown", [
    ("password=hunter2 ok", "password=*** ok"), ("DB_PASSWORD: hunter2", "DB_PASSWORD: ***"),
    ("Authorization: Bearer abc.def-ghi", "Authorization: ***"), ("sent Bearer abcdefghijk", "sent Bearer ***"),
    ("https://me:pw@host/x", "https://***@host/x"), ("token ghp_abcdefghijklmnop", "token ***"),
    ("AKIAABCDEFGHIJKLMNOP", "***"), ('{"api_key": "abc"}', '{"api_key": ***}'),
    ("the value s3cretvalue is in env", "the value *** is in env"), ("short abc stays", "short abc stays"),
    ("no secret here", "no secret here"),
    ("Authorization: Token 123456789abcdef", "Authorization: ***"), ('{"password": "a b, c"}', '{"password": ***}'),
    ("password='a b' x", "password=*** x"), ("run --password hunter2 now", "run --password *** now"),
    ("token={abcd1234}", "token=***"), ("https://t0ken@host/x", "https://***@host/x"),
    ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx", "***\nx"),
    ("a --password --verbose", "a --password --verbose"), ("cretvalue is the end of one", "*** is the end of one"),
])
def test_what_looks_like_a_secret_is_blanked_out(said, shown):
    if shown == "no secret here":
        assert sc.masked("nothing to see here", []) == "nothing to see here"
        return
    assert sc.masked(said, ["s3cretvalue", "abc"]) == shown


def test_a_body_is_what_chats_show_and_programs_read():
    message = {"event": "failed", "task": "a", "at": "2025-06-02T02:00:00Z", "outcome": "failed (exit 3)",
               "exit_code": 3, "output_tail": "x" * 5000 + "\n```\nend"}
    body = sc.message_body(message, "box", "/srv/a")
    assert body["text"].startswith("[box] a failed (exit 3); no retries left\n```\n")
    assert body["text"].endswith("\nend\n```") and body["text"].count("```") == 2
    assert len(body["content"]) <= 2000 and body["content"] == body["text"][:2000]
    assert (body["task"], body["exit_code"], body["host"], body["root"]) == ("a", 3, "box", "/srv/a")


# -- what waits on disk

def configured(project, **settings):
    project.configure(every_minute("a", "true", ping_url=settings.pop("ping_url", None)),
                      **dict({"enable_notifications": True}, **settings))


def test_what_is_not_taken_is_tried_again_for_a_day_and_then_given_up(project, listener):
    configured(project, notification_webhook=listener.url + "/broken?token=SECRET")
    store = waiting(project, {})
    config = store.read_config()
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    tries = []
    while store.spooled():
        before = len(listener.got)
        sc.deliver(store, config, clock)
        if len(listener.got) > before:
            tries.append(int(clock.at - at("2025-06-02T02:00:00Z")))
        clock.advance(60)
    assert tries[:6] == [0, 60, 360, 1260, 4860, 8460] and 24 * HOUR < tries[-1] <= 25 * HOUR
    log = project.lines("logs/symphony_conductor.log")
    assert [line.partition(" ")[2] for line in log] == [
        "WARNING message 'failed a' was not accepted; retrying for 24 h: notification_webhook: HTTP status 500",
        "WARNING giving up on message 'failed a' after %d tries: notification_webhook: HTTP status 500" % len(tries)]


def test_nothing_on_disk_or_shown_holds_the_address(project, listener):
    configured(project, notification_webhook=listener.url + "/broken?token=SECRET", ping_url=listener.url + "/SECRET")
    store = waiting(project, {}, {"channel": "ping", "kind": "fail", "event": "ping"})
    sc.deliver(store, store.read_config(), HandClock(at("2025-06-02T02:00:00Z")))
    project.call("run", "--task", "a")
    said = "".join(project.call(*words)[1] for words in (
        ["status"], ["status", "--table"], ["check"], ["history", "--json"], ["doctor"], ["why", "a"]))
    for folder, _, names in os.walk(str(project.root)):
        for name in names:
            if "config" not in folder and name != "last_good_config.json":
                with open(os.path.join(folder, name), "rb") as handle:
                    assert b"SECRET" not in handle.read(), name
    assert "SECRET" not in said


def test_who_has_taken_it_is_not_told_again(project, listener, monkeypatch):
    configured(project, notification_webhook=listener.url + "/broken",
               notification_command="cat >> %s/told" % project.root)
    store = waiting(project, {})
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    sc.deliver(store, store.read_config(), clock)
    clock.advance(61)
    monkeypatch.setitem(Talk.ANSWERS, "/broken", Talk.ANSWERS["/ok"])
    sc.deliver(store, store.read_config(), clock)
    assert store.spooled() == []
    assert len(listener.got) == 2 and len(project.read("told").splitlines()) == 1


def test_messages_go_out_in_their_order_and_once(project, listener):
    configured(project, notification_webhook=listener.url + "/ok", ping_url=listener.url + "/ping")
    store = waiting(project, {"channel": "ping", "kind": "start", "event": "ping"}, {"event": "failed"},
                    {"event": "recovered"}, {"channel": "ping", "kind": "success", "event": "ping"})
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    sc.deliver(store, store.read_config(), clock)
    assert [path for _, path, _ in listener.got] == ["/ping/start", "/ok", "/ok", "/ping"]
    assert [body["event"] for body in listener.bodies()] == ["failed", "recovered"]
    assert store.spooled() == []


def test_a_message_that_the_state_still_holds_is_not_sent_again(project, listener):
    """As a crash between the commit and the end of a tick would have it, and a run by hand days later."""
    configured(project, notification_webhook=listener.url + "/ok")
    store = waiting(project, {}, {})
    held = [message for _, message in store.spooled()]
    store.save_state(sc.State(pending=held[:1]))
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    sc.deliver(store, store.read_config(), clock)
    clock.advance(5 * sc.DAY)
    store.enqueue(held[0])
    waiting(project, {"id": "20250607T020000Z-9", "event": "recovered"})
    sc.deliver(store, store.read_config(), clock)
    assert [body["event"] for body in listener.bodies()] == ["failed", "failed", "recovered"]
    assert os.listdir(str(project.root / "status" / "spool")) == [held[0]["id"] + ".json.sent"], "no other is needed"


def test_no_message_overtakes_one_about_the_same_task(project, listener, monkeypatch):
    configured(project, notification_webhook=listener.url + "/ok", ping_url=listener.url + "/broken")
    store = waiting(project, {"channel": "ping", "kind": "start", "event": "ping"},
                    {"channel": "ping", "kind": "success", "event": "ping"}, {"task": "b"})
    monkeypatch.setitem(Talk.ANSWERS, "/broken/start", Talk.ANSWERS["/broken"])
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    sc.deliver(store, store.read_config(), clock)
    assert [path for _, path, _ in listener.got] == ["/broken/start", "/ok"]
    assert [message["kind"] for _, message in store.spooled()] == ["success"], "a start is no news any more"
    waiting(project, {"id": "20250602T020000Z-8", "event": "failed"},
            {"id": "20250602T020000Z-9", "event": "recovered"})
    configured(project, notification_webhook=listener.url + "/broken", ping_url=listener.url + "/broken")
    sc.deliver(store, store.read_config(), clock)
    monkeypatch.setitem(Talk.ANSWERS, "/broken", Talk.ANSWERS["/ok"])
    clock.advance(61)
    sc.deliver(store, store.read_config(), clock)
    assert [path for _, path, _ in listener.got][2:] == ["/broken", "/broken", "/broken", "/broken"]
    assert [json.loads(body)["event"] for kind, _, body in listener.got if kind == "POST"] == [
        "failed", "failed", "failed", "recovered"]
    assert store.spooled() == []


def test_who_does_not_answer_is_not_waited_for_twice(project, listener):
    configured(project, notification_webhook=listener.url + "/broken", ping_url=listener.url + "/ok")
    store = waiting(project, {}, {"task": "b"}, {"task": "c"}, {"channel": "ping", "kind": "success", "event": "ping"})
    sc.deliver(store, store.read_config(), HandClock(at("2025-06-02T02:00:00Z")))
    assert [path for _, path, _ in listener.got] == ["/broken", "/ok"]
    assert [message["tries"] for _, message in store.spooled()] == [1, 1, 1]


def test_a_message_that_cannot_be_sent_holds_up_no_other(project, listener, monkeypatch):
    configured(project, notification_webhook=listener.url + "/ok", notification_command="cat >> told")
    store = waiting(project, {"output_tail": "a\0b", "task": "b"}, {"event": "recovered", "dependents": 7, "task": "c"},
                    {"event": "blocked", "dependents": ["x"]})
    monkeypatch.chdir(project.root)
    sc.deliver(store, store.read_config(), HandClock(at("2025-06-02T02:00:00Z")))
    assert [body["event"] for body in listener.bodies()] == ["failed", "blocked"]
    assert [json.loads(line)["event"] for line in project.read("told").replace("}{", "}\n{").splitlines()] == [
        "failed", "blocked"]
    (left,) = store.spooled()
    assert (left[1]["task"], left[1]["tries"]) == ("c", 1)
    log = project.read("logs/symphony_conductor.log")
    assert "WARNING message 'recovered c' was not accepted; retrying for 24 h: notification_webhook: " \
        "cannot be sent: TypeError; notification_command: cannot be sent: TypeError" in log


def test_a_message_without_an_address_waits_for_one_and_is_given_up_aloud(project, listener):
    configured(project, notification_webhook=listener.url + "/ok")
    store = waiting(project, {})
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    configured(project, notification_webhook=listener.url + "/ok", enable_notifications=False)
    sc.deliver(store, store.read_config(), clock)
    assert listener.got == [] and len(store.spooled()) == 1
    clock.advance(sc.DAY + 1)
    sc.deliver(store, store.read_config(), clock)
    assert listener.got == [] and store.spooled() == []
    assert "after 2 tries: no notification target is configured" in project.read(
        "logs/symphony_conductor.log")


def test_a_clock_that_was_set_back_freezes_no_message(project, listener, monkeypatch):
    configured(project, notification_webhook=listener.url + "/broken")
    store = waiting(project, {"at": "2030-01-01T00:00:00Z"})
    sc.deliver(store, store.read_config(), HandClock(at("2030-01-01T00:00:00Z")))
    monkeypatch.setitem(Talk.ANSWERS, "/broken", Talk.ANSWERS["/ok"])
    sc.deliver(store, store.read_config(), HandClock(at("2025-06-02T02:00:00Z")))
    assert store.spooled() == [] and len(listener.got) == 2


def test_damage_in_the_spool_is_passed_over(project, listener):
    configured(project, notification_webhook=listener.url + "/ok")
    store = waiting(project, {}, {})
    (project.root / "status" / "spool" / "20250602T020000Z-1.json").write_text("{")
    (project.root / "status" / "spool" / "20250602T020000Z-0.json").write_text('{"tries": "x"}')
    sc.deliver(store, store.read_config(), HandClock(at("2025-06-02T02:00:00Z")))
    assert len(listener.got) == 1


# -- end to end

def test_a_failure_and_its_end_are_told_by_processes_of_their_own(project, listener):
    configured(project, notification_webhook=listener.url + "/ok", ping_url=listener.url + "/ping?k=v")
    document = json.loads(project.read("config/conductor_config.json"))
    document["tasks"][0].update(command="echo token=abc; test -e good", retry_count=0)
    project.write_config(json.dumps(document))
    assert project.call("run", "--task", "a")[0] == 1
    assert project.wait_until(lambda: len(listener.got) == 3)
    (project.root / "good").write_text("")
    assert project.call("run", "--task", "a")[0] == 0
    assert project.wait_until(lambda: len(listener.got) == 6)
    assert [body["event"] for body in listener.bodies()] == ["failed", "recovered"]
    assert [path for _, path, _ in listener.got if path.startswith("/ping")] == [
        "/ping/start?k=v", "/ping/fail?k=v", "/ping/start?k=v", "/ping?k=v"]
    assert listener.bodies()[0]["output_tail"] == "token=***\n"
    assert project.wait_until(lambda: sc.Store(str(project.root)).spooled() == [])


def test_a_listener_that_hangs_holds_up_no_tick_and_no_task(project, listener):
    configured(project, notification_webhook=listener.url + "/hang")
    document = json.loads(project.read("config/conductor_config.json"))
    document["tasks"][0].update(command="exit 1", retry_count=0)
    project.write_config(json.dumps(document))
    project.anchor()
    assert project.call("run", "--task", "a")[0] == 1
    assert project.wait_until(lambda: listener.got)
    started = time.monotonic()
    assert project.call("run", "--task", "a")[0] == 1
    assert project.call("tick")[0] == 0
    assert time.monotonic() - started < 8
    listener.over.set()


def test_while_a_message_waits_every_tick_looks_after_it(project):
    configured(project, notification_command="exit 1")
    project.tick()
    waiting(project, {})
    project.tick()
    assert project.read("status/heartbeat").split()[1] == "0.0"
    (path, message), = sc.Store(str(project.root)).spooled()
    soon = time.time() + 300
    pathlib.Path(path).write_text(json.dumps(dict(message, next_try_at=soon)))
    project.tick()
    assert float(project.read("status/heartbeat").split()[1]) <= soon, "and not before it is due"


def test_notify_test_says_who_took_it(project, listener):
    configured(project, notification_webhook=listener.url + "/ok", notification_command="exit 4")
    assert project.call("notify-test") == (
        1, "notification_webhook: sent\nnotification_command: exited with 4\n", "")
    configured(project, notification_webhook=listener.url + "/ok", enable_notifications=False)
    code, out, _ = project.call("notify-test")
    assert code == 0 and out.splitlines() == [
        "notification_webhook: sent", "note: enable_notifications is false: only test messages are sent"]
    configured(project)
    code, _, err = project.call("notify-test")
    assert code == 2 and err.startswith(
        "symphony_conductor: no notification target is configured (set notification_email, notific")


def test_an_empty_root_has_no_spool(tmp_path):
    assert sc.Store(str(Project(tmp_path / "new").root)).spooled() == []


# -- what a message says

SECRET = "abcdefgh"


@pytest.mark.parametrize("said, secrets, shown", [
    ("x abcdef y", ["abcdef"], "x *** y"), ("x abcde y", ["abcde"], "x abcde y"),
    ("abcdefgh", ["bcdefg", "abcdefgh"], "***"), ("abcdefgh bcdefg", ["abcdefgh", "bcdefg"], "*** ***"),
    # what was kept begins within a value: from three characters on that is told
    ("bcdefgh x", [SECRET], "*** x"), ("cdefgh x", [SECRET], "*** x"), ("defgh x", [SECRET], "*** x"),
    ("fgh x", [SECRET], "*** x"), ("gh x", [SECRET], "gh x"), ("x fgh", [SECRET], "x fgh"),
    ("fgh fgh", [SECRET], "*** fgh"), ("b*****", ["ab****"], "****"), ("other", [SECRET], "other"), ("", [SECRET], ""),
])
def test_values_of_the_configuration_are_masked(said, secrets, shown):
    assert sc.without_values(said, secrets) == shown
    assert sc.masked(said, secrets) == shown


def test_the_secrets_of_a_task_are_its_variables_and_addresses_and_those_of_the_settings():
    config = sc.Config(env={"A": "of all", "E": ""}, notification_webhook="http://hook")
    each = sc.Task(env={"B": "its own", "F": ""}, ping_url="http://ping")
    assert sc.secrets_of(config, each) == ["of all", "http://hook", "its own", "http://ping"]
    assert sc.secrets_of(config, None) == ["of all", "http://hook"]
    assert sc.secrets_of(sc.Config(), sc.Task()) == []


@pytest.mark.parametrize("message, text", [
    ({"event": "failed", "task": "a", "outcome": "failed (exit 3)"}, "a failed (exit 3); no retries left"),
    ({"event": "recovered", "task": "a"}, "a has recovered"),
    ({"event": "blocked", "task": "a", "outcome": "is disabled", "dependents": ["b", "c"]},
     "a is blocking b, c: it is disabled"),
    ({"event": "gap", "task": None, "since": "S", "at": "T", "outcome": "cause unknown"},
     "no tick from S to T: cause unknown"),
    ({"event": "configuration", "outcome": "c.json: no good"}, "the configuration has problems: c.json: no good"),
    ({"event": "of-a-later-version", "dependents": None}, "of-a-later-version"),
])
def test_what_happened_is_one_sentence_with_the_host(message, text):
    assert sc.event_text(message, "box") == "[box] " + text


FAILED = {"event": "failed", "task": "a", "outcome": "timed out", "exit_code": 124, "extra": 1}


@pytest.mark.parametrize("more, program, after, command", [
    ({}, "", "", None),
    ({}, "./sc", "\ntry: ./sc logs a", "./sc logs a"),
    ({"output_tail": " \n"}, "", "", None),
    ({"output_tail": "one\ntwo `x`\n"}, "./sc", "\n```\none\ntwo 'x'\n```\ntry: ./sc logs a", "./sc logs a"),
    ({"output_tail": "\n".join("line %d" % number for number in range(1, 13))}, "",
     "\n```\n%s\n```" % "\n".join("line %d" % number for number in range(3, 13)), None),
    ({"output_tail": "x" + "y" * 1500}, "", "\n```\n%s\n```" % ("y" * 1500), None),
])
def test_a_text_has_the_end_of_the_output_and_what_to_type(more, program, after, command):
    body = sc.message_body(dict(FAILED, **more), "box", "/srv/a", program)
    assert body["text"] == body["content"] == "[box] a timed out; no retries left" + after
    assert body["command"] == command
    assert set(body) == set(sc.MESSAGE_KEYS) | {"text", "content", "host", "root", "command"}
    assert (body["host"], body["root"], body["exit_code"], body["run_id"]) == ("box", "/srv/a", 124, None)


def test_a_recovery_has_nothing_to_type():
    body = sc.message_body({"event": "recovered", "task": "a"}, "box", "/srv/a", "./sc")
    assert (body["text"], body["command"]) == ("[box] a has recovered", None)
    long = sc.message_body({"event": "configuration", "outcome": "x" * 3000}, "box", "/srv/a")
    assert (len(long["content"]), len(long["text"])) == (2000, 3000 + len("[box] the configuration has problems: "))


@pytest.mark.parametrize("facts, paragraphs", [
    ({"event": "recovered"}, ["[box] a has recovered", "root:          /srv/a", "try:\n  ./sc why a"]),
    ({"event": "failed", "outcome": "failed (exit 0)", "exit_code": 0, "attempts": 2, "run_id": "R",
      "command": "./sc logs a", "output_tail": "\none\n  two\n"},
     ["[box] a failed (exit 0); no retries left",
      "attempts:      2\nexit code:     0\nrun id:        R\nroot:          /srv/a",
      "the end of its output:\n  one\n    two", "try:\n  ./sc why a\n  ./sc logs a"]),
    ({"event": "gap", "task": None, "since": "S", "at": "T", "outcome": "cause unknown", "output_tail": "\n"},
     ["[box] no tick from S to T: cause unknown", "root:          /srv/a"]),
    ({"event": "gap", "task": None, "since": "S", "at": "T", "outcome": "cause unknown", "command": "./sc doctor"},
     ["[box] no tick from S to T: cause unknown", "root:          /srv/a", "try:\n  ./sc doctor"]),
    ({"event": "recovered", "output_tail": "\n".join("line %d" % number for number in range(1, 13))},
     ["[box] a has recovered", "root:          /srv/a",
      "the end of its output:\n" + "\n".join("  line %d" % number for number in range(3, 13)),
      "try:\n  ./sc why a"]),
    ({"event": "recovered", "output_tail": "x" + "y" * 1500},
     ["[box] a has recovered", "root:          /srv/a", "the end of its output:\n  " + "y" * 1500,
      "try:\n  ./sc why a"]),
])
def test_a_mail_says_what_happened_the_facts_the_output_and_what_to_type(facts, paragraphs):
    text = sc.mail_text(dict({"task": "a", "host": "box", "root": "/srv/a"}, **facts), "./sc")
    assert text == "\n\n".join(paragraphs) + "\n"


# -- news of a task, of others that it holds up, and of the machine

NIGHT_2 = at("2025-06-03T02:00:00Z")
TELLING = Told(task("a", "0 2 * * *"), task("b", "0 2 * * *", dependencies=["a"]),
               task("c", "0 2 * * *", dependencies=["a"]), task("p", ping_url="https://example.org/p"),
               renotify_hours=2).config


def ended(status, hours_ago=None, name="a", **more):
    """The messages about an end, and what is remembered of them, so long after the last."""
    notified_at = 0.0 if hours_ago is None else NIGHT_2 - HOUR * hours_ago
    run = sc.Run(run_id="R", slot=NIGHT_2, started_at=NIGHT_2 - 30.0, attempt=1)
    state = sc.TaskState(
        schedule_key=TELLING.tasks[name].schedule_key, cursor=NIGHT_2, next_slot=NIGHT_2 + 24 * HOUR, run=run,
        cycle=sc.Cycle(slot=NIGHT_2, phase="running"), notified_at=notified_at, blocking_at=notified_at, **more)
    result = {"status": status, "exit_code": {"failed": 3}.get(status, 0), "ended_at": NIGHT_2 - 1.0,
              "output_tail": "password=hunter2"}
    facts = sc.Facts(boot_id="b", zone_stamp="z", runs={name: sc.RunFact(kind="ended", result=result)})
    decision = sc.decide(TELLING, sc.State(tasks={name: state}, last_now=NIGHT_2 - 60.0, zone_stamp="z"),
                         NIGHT_2, facts, settle_only=True)
    return decision.messages, decision.state.tasks[name]


@pytest.mark.parametrize("status, hours_ago, events, notified", [
    ("failed", None, ["failed"], "now"), ("failed", 1.999, [], "then"), ("failed", 2, ["failed"], "now"),
    ("failed", 0, [], "then"), ("failed", -0.001, ["failed"], "now"),  # the clock was set back
    ("failed", 0.0001, [], "then"), ("failed", -0.0001, ["failed"], "now"),
    ("timeout", None, ["failed"], "now"), ("interrupted", None, ["failed"], "now"),
    ("success", None, [], "never"), ("success", 1, ["recovered"], "never"),
    ("stopped", None, [], "never"), ("stopped", 3, [], "then"), ("skipped_exit", 3, [], "then"),
])
def test_an_end_is_told_where_it_is_news(status, hours_ago, events, notified):
    messages, state = ended(status, hours_ago)
    assert [message["event"] for message in messages] == events
    then = 0.0 if hours_ago is None else NIGHT_2 - HOUR * hours_ago
    assert state.notified_at == {"now": NIGHT_2, "then": then, "never": 0.0}[notified]
    assert state.blocking_at == (0.0 if status == "success" else then)


def test_the_message_of_an_end_has_its_facts():
    (message,), _ = ended("failed")
    assert message == {
        "event": "failed", "outcome": "failed (exit 3)", "attempts": 1, "status": "failed",
        "scheduled_for": "2025-06-03T02:00:00Z", "started_at": "2025-06-03T01:59:30Z",
        "ended_at": "2025-06-03T01:59:59Z", "duration_s": 29.0, "exit_code": 3, "run_id": "R", "reason": None,
        "output_tail": "password=***", "task": "a", "at": "2025-06-03T02:00:00Z", "channel": "notify",
        "id": "20250603T020000Z-1"}


@pytest.mark.parametrize("status, kinds", [
    ("success", ["success"]), ("failed", ["fail", None]), ("stopped", []), ("skipped_exit", [])])
def test_a_dead_man_switch_hears_of_successes_and_failures(status, kinds):
    messages, _ = ended(status, name="p")
    assert [message.get("kind") for message in messages] == kinds


def blocked(root, waiters=("b", "c"), config=TELLING, since_s=0, **more):
    """The messages of a tick in which these tasks wait for a."""
    def known(name, **fields):
        return sc.TaskState(**dict({"schedule_key": TELLING.tasks[name].schedule_key, "cursor": NIGHT_2,
                                    "next_slot": NIGHT_2 + 24 * HOUR, "boot_id": "b"}, **fields))

    states = {"p": known("p", next_slot=None)}
    states.update({name: known(name, cycle=sc.Cycle(
        slot=NIGHT_2 - (since_s if name == "b" else 0), phase="waiting", waiting_for="a"))
                   for name in ("b", "c") if name in waiters})
    states.update({name: known(name) for name in ("b", "c") if name not in waiters})
    if root is not None:
        states["a"] = known("a", **root)
    runs = {name: sc.RunFact() for name, state in states.items() if state.run is not None}
    state = sc.State(tasks=states, last_now=NIGHT_2 - 60.0, zone_stamp="z", **more)
    return sc.decide(config, state, NIGHT_2 + 5, sc.Facts(boot_id="b", zone_stamp="z", runs=runs))


@pytest.mark.parametrize("root, waiters, dependents", [
    ({}, ("b", "c"), ["b", "c"]), ({}, ("c",), ["c"]), ({}, (), None),
    ({"run": sc.Run()}, ("b",), None),
    ({"cycle": sc.Cycle(phase="retrying", attempt=2, retry_at=NIGHT_2 + 50.0)}, ("b",), None),
    ({"skipped": {"status": "stopped", "scheduled_for": "S"}}, ("b",), None),
    ({"skipped": {"status": "skipped_late", "scheduled_for": "S"}}, ("b",), ["b"]),
    ({"blocking_at": NIGHT_2 - 2 * HOUR + 6.0}, ("b",), None),
    ({"blocking_at": NIGHT_2 - 2 * HOUR + 5.0}, ("b",), ["b"]),
])
def test_what_holds_others_up_is_told_where_it_is_news(root, waiters, dependents):
    decision = blocked(root, waiters)
    told = [(message["event"], message["task"], message["dependents"]) for message in decision.messages]
    assert told == ([("blocked", "a", dependents)] if dependents else [])
    if dependents:
        assert decision.state.tasks["a"].blocking_at == NIGHT_2 + 5


def test_what_holds_others_up_is_told_with_the_oldest_slot_and_only_to_who_asked():
    assert blocked({}).messages[0]["outcome"] == "has not succeeded for its slot 2025-06-03T02:00:00Z"
    yesterday = blocked({}, since_s=24 * HOUR).messages[0]["outcome"]
    assert yesterday == "has not succeeded for its slot 2025-06-02T02:00:00Z"
    mute = TELLING.replace(enable_notifications=False)
    decision = blocked({}, config=mute)
    assert decision.messages == [] and decision.state.tasks["a"].blocking_at == 0.0
    gone = TELLING.replace(tasks={name: each for name, each in TELLING.tasks.items() if name != "a"},
                           invalid={"a": "no command"})
    assert blocked(None, config=gone).messages == []


@pytest.mark.parametrize("cause, outcome", [("cron", sc.GAP_CAUSES["cron"]), ("", "cause unknown")])
def test_a_gap_is_recorded_noted_and_told(cause, outcome):
    facts = sc.Facts(boot_id="b", zone_stamp="z", gap=sc.Gap(since=NIGHT_2 - 600.0, until=NIGHT_2 - 5.0, cause=cause))
    decision = sc.decide(TELLING, sc.State(last_now=NIGHT_2 - 600.0, zone_stamp="z"), NIGHT_2, facts)
    assert {"event": "gap", "since": "2025-06-03T01:50:00Z", "cause": cause or "unknown",
            "at": "2025-06-03T02:00:00Z"} in decision.events
    assert ("WARNING no tick from 2025-06-03T01:50:00Z to 2025-06-03T01:59:55Z: " + outcome) in decision.notes
    (message,) = decision.messages
    assert (message["event"], message["task"], message["since"], message["outcome"], message["reason"]) == (
        "gap", None, "2025-06-03T01:50:00Z", outcome, cause or None)


@pytest.mark.parametrize("trouble, told", [
    (None, []), ("", [("configuration_good", "")]), ("c.json: no good\nmore", [("configuration", "c.json: no good")])])
def test_the_problems_of_a_configuration_are_told_when_they_change(trouble, told):
    facts = sc.Facts(boot_id="b", zone_stamp="z", trouble=trouble)
    decision = sc.decide(TELLING, sc.State(last_now=NIGHT_2 - 60.0, zone_stamp="z"), NIGHT_2, facts)
    assert [(message["event"], message["outcome"]) for message in decision.messages] == told


@pytest.mark.parametrize("settings, is_told", [
    ({"notification_command": "true"}, True), ({"notification_email": "a@b.org"}, True),
    ({"notification_webhook": "http://x"}, True), ({}, False),
    ({"notification_command": "true", "enable_notifications": False}, False)])
def test_messages_are_made_for_a_target_alone(settings, is_told):
    config = sc.Config(**dict({"enable_notifications": True}, **settings))
    facts = sc.Facts(zone_stamp="z", trouble="no good")
    assert bool(sc.decide(config, sc.State(last_now=5.0, zone_stamp="z"), NIGHT_2, facts).messages) is is_told
