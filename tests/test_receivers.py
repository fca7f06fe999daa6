"""What the manual says to write for each chat service: run as it stands there, against a local listener, and
compared with what the service documents.

The forms are those of the services' own pages: Slack and Mattermost, "Incoming webhooks"; Discord, "Execute Webhook";
ntfy, "Publishing"; Microsoft, "Create incoming webhooks with Workflows" and the schema of Adaptive Cards.
"""

import http.server
import json
import re
import shutil
import threading

import pytest
from conftest import REPOSITORY, every_minute

import symphony_conductor as sc

MANUAL = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
EXAMPLES = {service.split(",")[0]: json.loads("{%s}" % line) for service, line in re.findall(
    r'(?m)^// (.*)\n("notification_\w+": .*)$', MANUAL)}


class Receiver(http.server.HTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got = []
        self.status = 200
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8")
        self.server.got.append((self.path, self.headers, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


TAIL = "it's \"quoted\" `here` $(echo no) \\ \u2603\n\x1b[31mred\n@file -d\n" + "x" * 3000
MESSAGE = {"event": "failed", "task": "backup", "channel": "notify", "at": "2025-06-02T02:00:05Z",
           "outcome": "failed (exit 1)", "attempts": 3, "exit_code": 1, "output_tail": TAIL}


def way_of(project, receiver, service, **message):
    """What sends a message as the example of a service says, but to the listener."""
    settings = {key: re.sub(r"https://[^\s\"']+XXXX", receiver.url + "/hook", value)
                for key, value in EXAMPLES[service].items()}
    assert settings != EXAMPLES[service]
    for program in ("curl", "jq"):
        if program in settings.get("notification_command", "") and not shutil.which(program):
            pytest.skip("%s is not installed" % program)
    project.configure(every_minute("a"), enable_notifications=True, **settings)
    config = sc.Store(str(project.root)).read_config()
    (send,) = sc.ways_to_send(config, dict(MESSAGE, **message), str(project.root)).values()
    return send


def sent(project, receiver, service, **message):
    """(headers, body) of what the example of a service sends."""
    assert way_of(project, receiver, service, **message)() == ""
    (path, headers, body), = receiver.got
    assert path == "/hook"
    return headers, body


def text_of(**message):
    return sc.message_body(dict(MESSAGE, **message), "x", "y")["text"]


def test_the_manual_has_an_example_for_each():
    assert set(EXAMPLES) == {"Slack", "Mattermost", "Discord", "ntfy", "Teams"}


@pytest.mark.parametrize("service, key, limit, reserved", [
    ("Slack", "text", 40000, "attachments blocks channel icon_emoji icon_url mrkdwn thread_ts username"),
    ("Mattermost", "text", 16383, "attachments channel icon_emoji icon_url priority props type username"),
    ("Discord", "content", 2000, "allowed_mentions applied_tags attachments avatar_url components embeds flags poll"
     " thread_name tts username")])
def test_a_chat_finds_its_text_and_no_key_that_means_something_else_to_it(
        project, receiver, service, key, limit, reserved):
    headers, body = sent(project, receiver, service)
    assert headers["Content-Type"] == "application/json"
    document = json.loads(body)
    assert "backup failed (exit 1); no retries left" in document[key] and len(document[key]) <= limit
    assert not set(document) & set(reserved.split())


def test_ntfy_gets_the_text_as_it_is_and_a_title(project, receiver):
    headers, body = sent(project, receiver, "ntfy")
    assert headers["Title"] == "failed backup"
    assert "backup failed (exit 1); no retries left\n```\n" in body and "$(echo no)" not in body[:20]
    assert len(body.encode()) <= 4096, "a longer one would become an attachment"


def test_teams_gets_an_adaptive_card(project, receiver):
    headers, body = sent(project, receiver, "Teams", output_tail=TAIL[:80])
    assert headers["Content-Type"] == "application/json"
    message = json.loads(body)
    assert message["type"] == "message"
    attachment, = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["contentUrl"] is None
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert card["$schema"] == "http://adaptivecards.io/schemas/adaptive-card.json"
    block, = card["body"]
    assert (block["type"], block["wrap"]) == ("TextBlock", True)
    assert "; no retries left\n\n```\n\nit's \"quoted\" 'here' $(echo no) \\ \u2603" in block["text"]
    assert len(body.encode()) < 28 * 1024, "the limit of a message"


@pytest.mark.parametrize("service", sorted(EXAMPLES))
def test_what_a_service_refuses_is_tried_again(project, receiver, service):
    receiver.status = 400
    expected = "HTTP status 400" if "notification_webhook" in EXAMPLES[service] else "exited with 22"
    assert way_of(project, receiver, service)() == expected


def test_without_jq_teams_gets_nothing_and_the_message_waits(project, receiver, monkeypatch, tmp_path):
    send = way_of(project, receiver, "Teams")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert send() == "exited with 127" and receiver.got == []
