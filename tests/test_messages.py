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
