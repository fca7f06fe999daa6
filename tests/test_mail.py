"""Mail by the machine's sendmail: what it is handed, and what becomes of a message it refuses."""

import email
import email.policy
import os
from pathlib import Path

import pytest
from stories import Told, at, fail, task, waiting
from support import HandClock, every_minute

import symphony_conductor as sc

RECORDER = """#!/bin/sh
printf '%s\\n' "$@" > "$0.argv"
cat > "$0.mail"
"""


@pytest.fixture
def sendmail(tmp_path, monkeypatch):
    """A program in the place of sendmail, which keeps what it gets."""
    path = tmp_path / "sendmail"

    def install(script=RECORDER):
        path.write_text(script)
        path.chmod(0o755)
        return path

    monkeypatch.setattr(sc, "SENDMAIL_PATHS", (str(path),))
    monkeypatch.setenv("PATH", "%s:/usr/bin:/bin" % tmp_path)
    install()
    return Box(path, install)


class Box:
    def __init__(self, path, install):
        self.path, self.install = path, install

    @property
    def argv(self):
        return Path(str(self.path) + ".argv").read_text().splitlines()

    @property
    def mail(self):
        with open(str(self.path) + ".mail", "rb") as file:
            return email.message_from_binary_file(file, policy=email.policy.default)

    def is_unused(self):
        return not os.path.exists(str(self.path) + ".mail")


PROGRAM = "/srv/x/symphony_conductor.py"


def body(**facts):
    message = dict({"event": "failed", "task": "backup", "outcome": "failed with exit status 1",
                    "at": "2025-06-02T02:00:05Z", "scheduled_for": "2025-06-02T02:00:00Z",
                    "attempts": 3, "exit_code": 1, "run_id": "20250602T020000Z-1",
                    "output_tail": "line 1\ncp: No space left on device\n"}, **facts)
    return dict(message, **sc.message_body(message, "box", "/srv/x", PROGRAM))


def test_a_mail_says_what_happened_how_the_output_ended_and_what_to_type(sendmail):
    assert sc.send_to_mail("ops@example.org", body(), PROGRAM) == ""
    assert sendmail.argv == ["-t", "-oi"], "no address is ever an argument"
    mail = sendmail.mail
    assert mail["To"] == "ops@example.org"
    assert mail["From"].addresses[0].display_name == "Symphony Conductor"
    assert mail["From"].addresses[0].username == sc.user_name(os.geteuid())
    assert mail["Subject"] == "[box] backup failed with exit status 1; no retries left"
    assert mail["Date"].datetime.timestamp() == at("2025-06-02T02:00:05Z")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert (mail.get_content_type(), mail.get_content_charset()) == ("text/plain", "utf-8")
    assert mail.get_content() == """\
[box] backup failed with exit status 1; no retries left

scheduled for: 2025-06-02T02:00:00Z
attempts:      3
exit code:     1
run id:        20250602T020000Z-1
root:          /srv/x

the end of its output:
  line 1
  cp: No space left on device

try:
  /srv/x/symphony_conductor.py why backup
  /srv/x/symphony_conductor.py logs backup
"""


def test_a_mail_goes_to_everybody_on_the_list(sendmail):
    assert sc.send_to_mail(("ops@example.org", "root"), body(), PROGRAM) == ""
    assert [address.username for address in sendmail.mail["To"].addresses] == ["ops", "root"]


@pytest.mark.parametrize("text, shown", [
    ("caf\u00e9 \u2603", "caf\u00e9 \u2603"), ("broken \udcff byte", "broken ? byte"),
    ("\x1b[31mred\x1b[0m", "red"), ("a\x00b", "a\\x00b"), ("." * 3, "..."), ("x" * 1400, "x" * 1400)])
def test_any_output_becomes_text_that_a_mail_can_hold(sendmail, text, shown):
    assert sc.send_to_mail("ops", body(output_tail="above\n%s\nbelow" % text), PROGRAM) == ""
    raw = Path(str(sendmail.path) + ".mail").read_bytes()
    assert max(map(len, raw.splitlines())) < 998 and max(raw) < 128
    assert "\n  above\n  %s\n  below\n" % shown in sendmail.mail.get_content()


def test_no_text_adds_a_header_or_a_line_to_the_subject(sendmail):
    outcome = "failed\nBcc: everybody@example.org\r\nX: y \u2603\udc80" + "z" * 300
    assert sc.send_to_mail("ops", body(outcome=outcome), PROGRAM) == ""
    mail = sendmail.mail
    assert "Bcc" not in mail and "X" not in mail
    assert mail["Subject"] == "[box] backup failed"
    sc.send_to_mail("ops", body(outcome="failed \u2603 \x07" + "z" * 300), PROGRAM)
    assert sendmail.mail["Subject"].startswith("[box] backup failed \u2603 zzz")
    assert len(sendmail.mail["Subject"]) == 200


def test_every_problem_of_a_configuration_is_in_the_mail(sendmail):
    facts = {"event": "configuration", "task": None, "attempts": None, "exit_code": None, "output_tail": None,
             "scheduled_for": None, "run_id": None, "outcome": "a.json: line 3\nb.json: unknown key 'x'"}
    assert sc.send_to_mail("ops", body(**facts), PROGRAM) == ""
    assert sendmail.mail["Subject"] == "[box] the configuration has problems: a.json: line 3"
    assert sendmail.mail.get_content() == """\
[box] the configuration has problems: a.json: line 3
b.json: unknown key 'x'

root:          /srv/x

try:
  /srv/x/symphony_conductor.py check
"""


@pytest.mark.parametrize("address", [
    "ops@example.org", "root", "first.last+tag@sub.example.org", "o'neil@example.org", "a_b-c@x"])
def test_an_address_is_taken(project, address):
    project.configure(every_minute("a", "true"), notification_email=address)
    assert store_of(project).read_config().notification_email == address
    project.configure(every_minute("a", "true"), notification_email=[address, "me"])
    assert store_of(project).read_config().notification_email == (address, "me")


@pytest.mark.parametrize("address", [
    "", "-f", "-oQ/tmp@x", "a@x\nBcc: b@y", "a@x, b@y", "|/bin/sh", "/etc/passwd", ":include:/x", "a b@x",
    "A <a@x>", "a@", "a@-x", "a@x\r", "\u00e4@x", 5, [], ["a@x", "-b"], [["a@x"]], {"a": "b"}])
def test_what_is_no_address_is_refused(project, address):
    project.configure(every_minute("a", "true"), notification_email=address)
    code, out, err = project.call("check")
    assert code == 78 and "settings: notification_email: " in err
    assert "use an address such as \"ops@example.org\"" in err


def store_of(project):
    return sc.Store(str(project.root))


def configured(project, **settings):
    project.configure(every_minute("a", "true"), **dict(
        {"enable_notifications": True, "notification_email": "ops@example.org"}, **settings))


@pytest.mark.parametrize("script, reason", [
    ("#!/bin/sh\ncat > /dev/null; exit 75\n", "exited with 75"),
    ("#!/bin/sh\nexec sleep 30\n", "timed out after 0 s"),
    ("#!/no/such/shell\n", "cannot start: "),
    (None, "there is no sendmail in /usr/sbin, /usr/lib or PATH (install ")])
def test_a_mail_that_is_not_accepted_waits_for_its_next_try(project, sendmail, monkeypatch, script, reason):
    configured(project)
    store = waiting(project, {})
    sendmail.install(script or "")
    if script is None:
        sendmail.path.unlink()
    monkeypatch.setattr(sc, "SEND_TIMEOUT_S", 0.2)
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    sc.deliver(store, store.read_config(), clock)
    (_, message), = store.spooled()
    assert (message["tries"], message["next_try_at"]) == (1, clock.now() + 60)
    line, = project.lines("logs/symphony_conductor.log")
    assert "WARNING message 'failed a' was not accepted; retrying for 24 h: notification_email: " + reason in line
    sendmail.install()
    clock.advance(60)
    sc.deliver(store, store.read_config(), clock)
    assert store.spooled() == [] and sendmail.mail["To"] == "ops@example.org"


def test_a_sendmail_that_hangs_as_another_user_is_left_to_itself(sendmail, monkeypatch):
    kill = os.killpg

    def refuse(group, number):
        kill(group, number)  # so that the test leaves nothing behind
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr(sc, "SEND_TIMEOUT_S", 0.2)
    sendmail.install("#!/bin/sh\nexec sleep 30\n")
    assert sc.send_to_mail("ops@example.org", body(), PROGRAM) == "timed out after 0 s"


def test_a_mail_is_sent_beside_the_others_and_each_way_is_tried_until_it_accepts(project, sendmail):
    configured(project, notification_command="exit 1")
    store = waiting(project, {})
    clock = HandClock(at("2025-06-02T02:00:00Z"))
    sc.deliver(store, store.read_config(), clock)
    (_, message), = store.spooled()
    assert message["done"] == ["notification_email"]
    os.unlink(str(sendmail.path) + ".mail")
    clock.advance(60)
    sc.deliver(store, store.read_config(), clock)
    assert sendmail.is_unused(), "who got it gets it once"


@pytest.mark.skipif(any(map(os.path.exists, sc.SENDMAIL_PATHS)), reason="this machine has a sendmail")
def test_a_failure_is_mailed_without_any_other_target_and_with_its_secrets_masked(project, sendmail):
    project.configure(
        every_minute("a", "echo password=hunter2 $KEY; exit 3", env={"KEY": "s3cr3t-value"}),
        enable_notifications=True, notification_email="ops@example.org")
    assert project.call("run", "a")[0] == 3
    project.wait_until(lambda: not store_of(project).spooled() and not sendmail.is_unused())
    mail = sendmail.mail
    assert "] a failed (exit 3); no retries left" in mail["Subject"]
    assert "  password=*** ***\n" in mail.get_content()
    assert "hunter2" not in mail.get_content() and "s3cr3t" not in mail.get_content()


@pytest.mark.parametrize("settings, count", [({}, 1), ({"enable_notifications": False}, 0),
                                             ({"notification_email": None}, 0)])
def test_an_address_is_a_target_that_enable_notifications_governs(settings, count):
    world = Told(task("a", "0 2 * * *"), **dict(
        {"notification_webhook": None, "notification_email": "ops@example.org"}, **settings))
    world.tick("2025-06-02T00:00:00Z")
    fail(world, "a", "2025-06-02T02:00:00Z")
    assert len(world.messages) == count


def test_a_test_message_is_mailed(hand, sendmail):
    configured(hand, enable_notifications=False)
    assert hand.call("notify-test")[:2] == (0, (
        "notification_email: sent\nnote: enable_notifications is false: only test messages are sent\n"))
    assert sendmail.mail["Subject"].endswith("] this is a test notification")
    sendmail.path.unlink()
    code, out, _ = hand.call("notify-test")
    assert code == 1 and out.startswith("notification_email: there is no sendmail in /usr/sbin, /usr/lib or PATH")


def test_check_and_doctor_say_that_there_is_no_sendmail(hand, sendmail, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    configured(hand)
    words = "notification_email: there is no sendmail in /usr/sbin, /usr/lib or PATH (install "
    assert words not in hand.call("check")[1]
    sendmail.path.unlink()
    code, out, _ = hand.call("check")
    assert code == 0 and words in out
    assert words in hand.call("doctor")[1]


@pytest.mark.parametrize("key", ["mailto", "email", "mailTo"])
def test_the_names_that_others_have_for_it_are_understood(project, key):
    configured(project, **{"notification_email": None, key: "me@example.org"})
    assert "unknown key '%s' (did you mean 'notification_email'?)" % key in project.call("check")[2]
