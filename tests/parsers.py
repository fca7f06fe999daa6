"""Everything that is parsed, as kinds of input: what each is fed to, and what must hold of it.

A check gets the bytes of an input and a Box, a root folder with a sound file of each kind, and
raises Broken, or whatever the parser raises that no caller expects. It returns whether the input
was accepted. `fuzz.py` makes the inputs; those that were worth keeping are in `corpus/KIND/`.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import sys
import time
import warnings

from stories import verdict
from support import SCRIPTS, HandClock, Project, settle  # isort: split  (it makes what follows importable)

import action_log
import automation_manager
import cleanup_engine
import cleanup_rules
import clock_witness
import crontab_switch
import crontab_tables
import file_lifecycle
import folders
import inventory
import quarantine
import references
import symphony_completion
import symphony_conductor as sc
import symphony_import_crontab as importer
import symphony_report
import tree
from common import RefusedError

NOW = 1748944800.0  # 2025-06-03T10:00:00Z
ZONES = ("UTC", "Europe/Paris")
LONGEST_MESSAGE = 2000  # characters of one problem: it names a value, and does not repeat a file


class Broken(Exception):
    """A property that does not hold."""


def hold(condition, why, *values):
    if not condition:
        raise Broken(": ".join([why] + ["%.300r" % (value,) for value in values]))


class Kind:
    """One kind of input. `words` is what the mutator inserts besides pieces of other inputs."""

    def __init__(self, name, check, words, is_json):
        self.name, self.check, self.words, self.is_json = name, check, words, is_json


KINDS = {}


def kind(name, words="", is_json=False):
    def add(check):
        KINDS[name] = Kind(name, check, [word.encode() for word in words.split("~") if word],
                           is_json)
        return check
    return add


def text_of(data):
    """As the conductor gets it from the system: what is not UTF-8 becomes surrogates."""
    return data.decode("utf-8", "surrogateescape")


def told(error, is_of_file=False):
    """That an error is one clear line for each problem.

    What `is_of_file` is said as a problem of a file. What somebody typed is shown as it is.
    """
    for problem in getattr(error, "problems", None) or [error]:
        if is_of_file:
            problem = sc.Problem(place="c.json", text=getattr(error, "message", str(error)),
                                 hint=getattr(error, "hint", ""))
        line = str(problem)
        hold(line.strip(), "an error without a word", error)
        if isinstance(problem, sc.Problem):
            hold(len(line.splitlines()) == 1, "an error of several lines", line)
            hold(len(line) <= LONGEST_MESSAGE, "an endless error", line)
    return False


# -- words of time

SCHEDULE_WORDS = ("*~*/5~L~LW~15W~L-3~5L~1#2~H~H(0-5)~H/15~?~fri-mon~JAN~@daily~@reboot~; ~ ~,~-~/~0~59~31~"
                  "22-6~1-5~*/100,1-7~every 5 minutes~TZ=UTC~CRON_TZ=~R~~~90~24~60~sunday~@every 5m")


def fields_of(schedule):
    return [[(field.values, field.anchors, field.nth) for field in part.fields] + [part.reboot]
            for part in schedule.expressions]


def written_in(hint):
    """The expressions that a hint says to write."""
    return re.findall(r"(?:write|did you mean|year,|Quartz,) '([^']*)'", hint)


@kind("schedule", SCHEDULE_WORDS)
def check_schedule(data, box):
    text = text_of(data)
    try:
        schedule = sc.schedule_of(text, "task")
    except sc.CronSyntaxError as error:
        for advice in written_in(error.hint):
            try:
                sc.schedule_of(advice, "task")
            except sc.CronSyntaxError as again:
                raise Broken("the advice %r for %r is refused: %s" % (advice, text, again))
        return told(error, is_of_file=True)
    hold(fields_of(sc.schedule_of(schedule.text, "task")) == fields_of(schedule),
         "its own text is another schedule", schedule.text)
    hold(fields_of(sc.schedule_of(text, "task", recorded=True)) == fields_of(schedule),
         "as recorded it is another schedule", text)
    hold(sc.describe(text, "task").strip(), "no words for it", text)
    list(sc.schedule_advice(schedule, "task"))
    for zone in ZONES:
        for after in (NOW, 253402300799.0, -62135596800.0, 0.5):
            slot = schedule.next(after, zone)
            hold(slot is None or slot > after, "the next slot lies behind", text, after, slot)
            if slot is not None and 0 < slot < 4e9:
                hold(schedule.previous(slot, zone) == slot, "a slot is not its own previous one", text, slot)
            schedule.previous(after, zone)
    return True


@kind("duration", "90s~30m~26h~14d~2w~1.5h~.5~00~e9~s~ ~-1d~\u0663")
def check_duration(data, box):
    text = text_of(data)
    try:
        seconds = sc.seconds_of(text)
    except ValueError as error:
        return told(error)
    hold(0 <= seconds < 1e13, "no length of time", text, seconds)
    again = sc.duration_text(seconds)
    hold(again, "no words for it", text)
    return True


@kind("option", "90s~26h~1~999999~1000000~0~-1~12:00~2025-06-02T10:00~yesterday~\u0663~today~failed~skipped")
def check_option(data, box):
    """What argparse hands to the types of options."""
    text = text_of(data)
    accepted = False
    for option in (sc.count_option, sc.status_option, sc.duration_option):
        try:
            option(text)
            accepted = True
        except argparse.ArgumentTypeError as error:
            told(error)
    for moment in (lambda: sc._past_option("--since", text, None, NOW),
                   lambda: symphony_report.since_option(text, NOW)):
        try:
            with box.quiet():  # of a time that is still to come today, yesterday's is named
                at = moment()
            hold(-1e12 < at < 1e12, "no time", text, at)
            accepted = True
        except sc.ConductorError as error:
            told(error)
    return accepted


@kind("time", "2025-06-02T10:00:00Z~2025-03-30T02:30~-00:00~+99:99~+14:00~Z~.5~0001-01-01~9999-12-31~"
              "T24:00~:60~ ~\u0662\u0660\u0662\u0665~1969-12-31~0999-01-01T00:00:00Z")
def check_time(data, box):
    text = text_of(data)
    found = []
    for zone in (None,) + ZONES:
        try:
            at = sc.from_iso(text, zone and sc.zone_named(zone))
        except ValueError as error:
            told(error)
            continue
        found.append(at)
        hold(sc.from_iso(sc.iso(at)) == at, "it is not read again as it was written", text, at, sc.iso(at))
        hold(sc.from_iso(text, zone and sc.zone_named(zone)) == at, "the second time it is another", text)
        sc.local_text(at, zone)
    hold(len(found) in (0, 3) or text[:4] in ("0001", "9999"), "a time in some zones only", text)
    return bool(found)


@kind("zone",
    "Europe/Paris~UTC~GMT~EST5EDT~Etc/GMT+5~../~posix/~right/~europe/paris~Paris~/~:~"
    "America/New York")
def check_zone(data, box):
    text = text_of(data)
    try:
        sc.zone_named(text)
    except sc.ConductorError as error:
        for advice in re.findall(r"did you mean '([^']*)'", error.hint):
            sc.zone_named(advice)
        return told(error, is_of_file=True)
    hold(sc.zone_named(text).span(int(NOW))[0] <= NOW, "no span of now", text)
    sc._ZONES.pop(text, None) if text not in ZONES else None
    return True


@kind("zone-file")
def check_zone_file(data, box):
    """The C library reads it: whatever it makes of a damaged one, slots come to an end."""
    folder = box.path("zones")
    os.makedirs(os.path.join(folder, "Fuzz"), exist_ok=True)
    with open(os.path.join(folder, "Fuzz", "Zone"), "wb") as handle:
        handle.write(data)
    before = os.environ.get("TZDIR")
    os.environ["TZDIR"] = folder
    try:
        zone = sc.zone_named("Fuzz/Zone")
        start, end, _, _ = zone.span(int(NOW))
        hold(start <= NOW < end, "no span of now", start, end)
        for text in ("30 2 * * *", "*/20 1-3 * * *"):
            schedule = sc.CronSchedule(text)
            slot = NOW
            for _ in range(3):
                later = schedule.next(slot, "Fuzz/Zone")
                hold(later is None or later > slot, "the next slot lies behind", text, slot, later)
                if later is None:
                    break
                slot = later
            schedule.previous(NOW, "Fuzz/Zone")
        sc.instant_of(int(NOW), zone)
        sc.Window("22:00-06:00", "Fuzz/Zone").opening(NOW)
        sc.local_text(NOW, "Fuzz/Zone")
        return True
    except sc.ConductorError as error:
        return told(error, is_of_file=True)
    finally:
        sc._ZONES.pop("Fuzz/Zone", None)
        if before is None:
            del os.environ["TZDIR"]
        else:
            os.environ["TZDIR"] = before
        time.tzset()


@kind("window", "22:00-06:00~00:00~24:00~12:00-13:00~,~ - ~9:5~\u0661\u0662:00~-")
def check_window(data, box):
    text = text_of(data)
    try:
        window = sc.Window(text, "Europe/Paris")
    except sc.ConductorError as error:
        return told(error, is_of_file=True)
    again = sc.Window(window.text, "Europe/Paris")
    hold(again._spans == window._spans, "its own text is another window", window.text)
    for at in (NOW, 1743296400.0, 1761440400.0):
        opens = window.opening(at)
        hold(at <= opens <= at + 3 * sc.DAY and window.is_open(opens), "it does not open", text, at, opens)
    hold(len(window.words().splitlines()) == 1, "words of several lines", text)
    return True


DAY_WORDS = (
    "sat~sunday~12-25~2025-12-24..2026-01-01~02-29~9999-12-31~1000-01-01~..~-~/~dates.txt~"
    "sat-sun~# x~\n~\u0661")


def check_days_off(parts, zone):
    calendar = sc.Calendar(parts, zone, {}, {})
    for at in (NOW, 1735689600.0, 951782400.0, 4102444800.0):
        reason = calendar.reason(at)
        hold(not reason or len(reason.splitlines()) == 1, "words of several lines", reason)
        if reason:
            hold(calendar.end_of_days_off(int(at)) > at, "days off do not end", reason)
            hold(calendar.start_of_days_off(int(at)) <= at, "days off begin too late", reason)
    for part in parts:
        hold(part.last is None or -719163 < part.last < 2932897, "no last day", part.last)


@kind("day-off", DAY_WORDS)
def check_day_off(data, box):
    text = text_of(data)
    try:
        part = sc.days_off_of(text)
    except sc.ConductorError as error:
        return told(error, is_of_file=True)
    if part is None:
        return False
    again = sc.days_off_of(part.words)
    for year in (2024, 2025):
        hold(list(again.in_year(year)) == list(part.in_year(year)), "its own words are other days", part.words)
    check_days_off([part], "UTC")
    return True


@kind("dates", DAY_WORDS)
def check_dates(data, box):
    try:
        parts = sc.days_off_in(text_of(data), "dates.txt", sc.zone_named("UTC"))
    except sc.ConductorError as error:
        return told(error, is_of_file=True)
    check_days_off(parts, "UTC")
    return True


@kind("ics",
    "BEGIN:VCALENDAR\n~END:VCALENDAR\n~BEGIN:VEVENT\n~END:VEVENT\n~"
    "DTSTART;VALUE=DATE:20250101\n~DTEND:~RRULE:FREQ=YEARLY;~BYMONTH=~BYMONTHDAY=-1~BYDAY=4TH~"
    "COUNT=3~UNTIL=20300101T000000Z~INTERVAL=2~DURATION:P1D\n~TZID=Europe/Paris~EXDATE:~RDATE:~"
    "RECURRENCE-ID:~UID:1\n~SUMMARY:x\n~STATUS:CANCELLED\n~BEGIN:VTIMEZONE\n~END:VTIMEZONE\n~"
    "99991231~00010101~P99999999D~\r\n ~99991231T235959Z")
def check_ics(data, box):
    try:
        parts = sc.days_off_in(text_of(data), "holidays.ics", sc.zone_named("Europe/Paris"))
    except sc.ConductorError as error:
        return told(error, is_of_file=True)
    check_days_off(parts, "Europe/Paris")
    return True


# -- the configuration

CONFIG_WORDS = (
    '{~}~[~]~,~:~//~"tasks":~"settings":~"name":~"command":~"schedule":~null~true~1e999~-1~NaN~'
    '"dependencies":~"timeout":~"env":~"not_on":~"only_between":~"retry_count":~"timezone":~'
    '"defaults":~"locks":~"launcher":~"env_file":~"log_to":~"\\ud800"~\ufeff~"a"~"sh"~'
    "'~0x1")


def check_config_in_force(config):
    """What is done with every configuration that was accepted."""
    for problem in sc.suspicions(config, NOW):
        told(sc.ConfigError([problem]))
    told(sc.ConfigError(config.problems)) if config.problems else None
    decision = sc.decide(config, sc.State(), NOW, sc.Facts())
    again = sc.load_state(sc.dump_state(decision.state).decode("ascii"))
    hold(again == decision.state, "the first state is not read as it was written")
    engine().pools_document(config)
    for problem in engine().problems(config):
        told(sc.ConfigError([problem]))


def facts_of(value):
    """A value as text, without the addresses of what has no other name."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def check_configuration(box, data, name):
    with box.holding(name, data):
        store = box.store()
        for names in ("task", "tag"):
            symphony_completion.names_in(box.root, "", names)
        try:
            config = store.read_config()
        except sc.ConfigError as error:
            if error.partial is not None and isinstance(error.partial, sc.Config):
                list(sc.suspicions(error.partial, NOW))
            return told(error, is_of_file=True)
        check_config_in_force(config)
        if config.problems:  # what is left out of it need not be writable: 1e999
            return False
        text = data.decode("utf-8").lstrip("\ufeff")
        document = sc.parse_document(text, "x")
        dumped = json.dumps(document)
        hold(json.dumps(sc.parse_document(dumped, "x")) == dumped, "dump and load are not stable", text)
        store.save_last_good("stamp")
        kept = store.read_last_good()
        hold(kept is not None, "the copy of a good configuration is not read", text)
        hold(facts_of(kept.tasks) == facts_of(config.tasks), "the copy of a configuration is another", text)
        return True


@kind("config", CONFIG_WORDS, is_json=True)
def check_config(data, box):
    return check_configuration(box, data, "config/conductor_config.json")


@kind("drop-in", CONFIG_WORDS, is_json=True)
def check_drop_in(data, box):
    return check_configuration(box, data, "config/tasks.d/one.json")


@kind("last-good", CONFIG_WORDS, is_json=True)
def check_last_good(data, box):
    with box.holding("config/conductor_config.json", b"{"), box.holding("status/last_good_config.json", data):
        config, problems = box.store().config_in_force()
        hold(problems, "a damaged configuration without a problem")
        box.store().last_good_stamp()
        if config is not None:
            check_config_in_force(config)
        return config is not None


@kind("env-file", "A=~'~\"~\\~\n~#~;~export ~=~ ~\r\n~B='x y'~C=\"a\\\"b\"~\\\n")
def check_env_file(data, box):
    text = text_of(data)
    try:
        variables = sc.parse_env_file(text)
    except ValueError as error:
        return told(error, is_of_file=True)
    for name, value in variables.items():
        hold(re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", name) and "\0" not in value, "no variable", name, value)
    written = "".join("%s='%s'\n" % (name, value) for name, value in variables.items() if "'" not in value)
    hold(sc.parse_env_file(written) == {name: value for name, value in variables.items() if "'" not in value},
         "quoted it is another value", variables)
    with box.holding("env", data):
        try:
            box.store().variables(["env"])
        except sc.ConfigError as error:
            told(error)
    return True


# -- what is stored

STATE_WORDS = (
    '{~}~"tasks":~"a":~"cursor":~"cycle":~"run":~"last":~"pauses":~"*":~"pending":~"skips":~'
    '"version":~"slot":~"phase":~"attempt":~null~1e400~NaN~-1~99999999999~1748944800~"queued"~'
    '"waiting"~"retry"~"2025-06-02T10:00:00Z"~"0001-01-01"~"until":~"since":~"reason":""')


@kind("state", STATE_WORDS, is_json=True)
def check_state(data, box):
    is_damaged = False
    state = None
    try:
        state = sc.load_state(data.decode("ascii"))
    except sc.VersionError as error:
        told(error)
    except ValueError as error:
        told(error)
        is_damaged = True
    if state is not None:
        dumped = sc.dump_state(state)
        again = sc.load_state(dumped.decode("ascii"))
        hold(again == state.replace(version=sc.STATE_VERSION) and sc.dump_state(again) == dumped,
             "dump and load are not stable", dumped)
        runs = {name: sc.RunFact(kind="vanished") for name, task in state.tasks.items() if task.run is not None}
        decision = sc.decide(box.config, state, NOW, sc.Facts(boot_id="boot", boot_at=NOW - sc.DAY, runs=runs))
        written = sc.dump_state(decision.state)
        hold(sc.load_state(written.decode("ascii")) == decision.state.replace(version=sc.STATE_VERSION),
             "what is decided is not read again", written)
    box.reset()
    box.write("conductor_state.json", data)
    if not data:
        return False
    box.tick()
    aside = [name for name in os.listdir(box.root) if ".bad-" in name]
    hold(bool(aside) == is_damaged, "set aside", aside, is_damaged)
    if is_damaged:
        hold(box.read(aside[0]) == data, "what was set aside is other than it was")
        pauses = box.store().read_state()[0].pauses
        hold("b" in pauses, "the pause of the previous copy is lost", pauses)
    box.ask()
    return state is not None


RECORD_WORDS = (
    '{~}~"run_id":~"pid":~"pid_start":~"boot_id":~"result":~"status":~"ended_at":~"exit_code":~'
    '"cgroup":~"definition":~"attempt":~"version":~"started_at":~null~-1~0~1~1e400~NaN~'
    '"success"~"output_tail":~"attempts":~"root":~"mark":~true~[]~"\\ud800"')


@kind("run", RECORD_WORDS, is_json=True)
def check_run(data, box):
    box.reset()
    box.write("status/runs/a.json", data)
    box.write("conductor_state.json", box.running_state)
    try:
        record = box.store().read_run("a")
        hold(record is not None, "a record that is there was taken for none")
    except sc.VersionError as error:
        return told(error)
    box.tick()
    if record and "result" in record:
        sc.sound_result(record["result"])
    box.ask()
    return bool(record)


@kind("heartbeat", "2 ~inf~nan~-1~1e400~ ~\n~+~- /~? /~\0")
def check_heartbeat(data, box):
    box.reset()
    box.write(sc.HEARTBEAT_NAME, data)
    path = os.fsencode(box.path(sc.HEARTBEAT_NAME))
    os.utime(path, (NOW, NOW))
    is_idle = sc.nothing_to_do(path, NOW, 1000.0)
    box.store().last_evidence()
    box.tick()
    box.ask()
    return is_idle


def check_answers(box, name, data):
    box.reset()
    box.write(name, data)
    box.ask()
    try:
        with box.patched(sc, box.stand_ins):
            facts = symphony_report.read_facts(box.store(), NOW - 7 * sc.DAY, box.clock)
    except sc.ConductorError as error:  # a later version wrote it
        told(error)
        return
    document = symphony_report.report(facts)
    for form in symphony_report.FORMS.values():
        form(facts, document).encode("utf-8")


VERDICT_WORDS = (
    '{~}~\n~"task": "a"~"status": "success"~"ended_at": "2025-06-02T10:00:00Z"~'
    '"scheduled_for": ~"attempts": [~"exit_code": ~"duration_s": ~"output_tail": ~"run_id": ~'
    'null~1e400~NaN~-1~[]~{}~"merged_since": ~"absorbed": ~"0001-01-01"~"9999-12-31T23:59:59Z"~'
    '"\\ud800"~\x00\x00~"trigger": ~"dependency": ~"started_at": ~"attempt": ~true~"log": ')


@kind("history", VERDICT_WORDS, is_json=True)
def check_history(data, box):
    found = [sc.verdict_of(line) for line in data.split(b"\n")]
    for record in found:
        if record is not None:
            again = sc.verdict_of(json.dumps(record).encode())
            hold(again == record, "dump and load are not stable", record)
    check_answers(box, "status/history/2025-06-02.jsonl", data)
    return any(found)


EVENT_WORDS = (
    '{~}~\n~"event": ~"begun"~"gap"~"paused"~"clock"~"anchored"~"changed"~"rezoned"~"at": ~'
    '"since": ~"tasks": {"a": ~"key": ~"was": ~"* * * * * UTC"~"pauses": ~'
    '"2025-06-02T10:00:00Z"~null~[]~{}~1~"0001-01-01"~"undecided_since": ~"removed"~"reason": ~'
    '"cause": ~"\\ud800"')


@kind("events", EVENT_WORDS, is_json=True)
def check_events(data, box):
    check_answers(box, sc.EVENTS_NAME, data)
    return bool(box.store().events())


MESSAGE_WORDS = (
    '{~}~"event": ~"failed"~"channel": ~"notify"~"ping"~"task": ~"at": ~"tries": ~'
    '"next_try_at": ~"done": ~null~NaN~-1~[]~"outcome": ~"dependents": ~"\\ud800"~"version": ~'
    '"since": ~"attempts": ~"duration_s": ~"exit_code": ~"output_tail": ~"reason": ~'
    '"2025-06-02T10:00:00Z"~"recovered"~true')


@kind("spool", MESSAGE_WORDS, is_json=True)
def check_spool(data, box):
    box.reset()
    box.write("%s/20250602T020000Z-1.json" % sc.SPOOL_DIR, data)
    store = box.store()
    waiting = store.spooled()
    hold(store.next_message_at() >= -sc.LARGEST_NUMBER, "no time of the next try")
    sc.deliver(store, box.config, box.clock)  # no target is configured: nothing leaves this process
    box.tick()
    box.ask()
    return bool(waiting)


SMALL_FILES = (sc.FAILURE_NAME, sc.ENVIRONMENT_NAME, sc.IMPORTED_NAME, "status/runs/a.stop",
               "status/definitions/0123456789abcdef.json", "status/automation_health/a.health",
               sc.UNWRITTEN_NAME % "report_file", sc.LOCK_NAME, "status/paused.json")


@kind("small-file",
    '{~}~"at": ~"since": ~"exit_code": ~"text": ~"names": ~"PATH": ~"tasks": ~"lines": ~'
    '"own": ~"run_id": ~"reason": ~success:~2025-06-02T10:00:00Z~:0~null~[]~1e400~NaN~'
    '"\\ud800"~"had_line": ~[', is_json=True)
def check_small_file(data, box):
    """All the small files of the conductor with the same content: it is that of one of them."""
    box.reset()
    for name in SMALL_FILES:
        box.write(name, data)
    store = box.store()
    store.tick_failure()
    store.tick_environment()
    store.unwritten("report_file")
    store.definition("0123456789abcdef")
    store.stop_reason("a", "R")
    try:
        sc.digests_at_risk(store)
        record = importer._read_record(store)
        importer.tasks_of_marked_lines("0 1 * * * true\n", MACHINE, box.config, record)
        importer._write_record(store, record)
        again = importer._read_record(store)
        hold(repr(again) == repr(record), "the record is not read as it was written", record)
    except sc.ConductorError as error:
        told(error)
    try:
        automation_manager.parse_health(text_of(data))
    except ValueError as error:
        told(error)
    box.write("conductor_state.json", box.running_state)
    box.tick()
    box.ask()
    return True


@kind("log",
    "--- 2025-06-02T10:00:00Z start run=R attempt=1 frame=01234567\n~"
    "--- 2025-06-02T10:00:01Z end run=R exit=0~ frame=01234567~\n~---~\x00~\x1b[31m~run=R ~"
    "\r\n")
def check_log(data, box):
    for run_id in (b"R", b"20250602T100000Z-1"):
        output = sc.output_of_run(data, run_id)
        hold(output is None or output in data, "an output that is not in the log")
    box.reset()
    box.write("logs/automation/a.log", data)
    box.call("logs", "a")
    box.call("why", "a")
    return True


# -- the clean-up

@kind("registry",
    '{~}~"format": ~"files": ~"expires": ~"registered_at": ~"owner": ~"reason": ~"metadata": ~'
    '"inode": ~"git": true~"2099-01-01T00:00:00Z"~../~/~"\\ud800"~"\\udc80"~null~[]~1~"a": ~'
    "\\u0000~9999", is_json=True)
def check_registry(data, box):
    box.tree_reset()
    box.write_below(box.tree, file_lifecycle.REGISTRY_NAME, data)
    root = box.tree_root()
    registry = file_lifecycle.Registry(root)
    try:
        entries = registry.read()
    except (sc.ConductorError, RefusedError) as error:
        try:
            file_lifecycle.Registry(root).guard("old.tmp")
            raise Broken("a damaged registry protects nothing, and says nothing")
        except (sc.ConductorError, RefusedError) as refusal:
            told(refusal)
        return told(error)
    with registry.editing():
        pass  # written again as it is
    again = file_lifecycle.Registry(root).read()
    hold(repr(sorted(again.items())) == repr(sorted(entries.items())), "it is not read as it was written", entries)
    return True


INVENTORY_WORDS = (
    '{~}~"format": ~"root": ~"files": [~"fields": [~"finished": ~"errors": ~"head": ~null~[]~'
    '-1~18446744073709551615~1e400~NaN~"old.tmp"~"../x"~"\\ud800"~true~"ignored"~"tracked"~'
    '"untracked"~0~1')


@kind("inventory", INVENTORY_WORDS, is_json=True)
def check_inventory(data, box):
    box.tree_reset()
    box.write_below(box.tree, inventory.INVENTORY_NAME, data)
    path = os.path.join(box.tree, inventory.INVENTORY_NAME)
    inventory.read_header(path)
    args = argparse.Namespace(rules="", what=path, max_age=cleanup_engine.MAX_AGE_S, max_fraction=1.0,
                              max_deletions=100)
    try:
        plan = cleanup_engine.Engine(box.tree_root(), args, box.tree_now).plan()
    except sc.ConductorError as error:  # a later version took it
        return told(error)
    told(sc.ConductorError(plan.refused)) if plan.refused else None
    for item in plan.candidates:
        hold(os.path.basename(item.path) != "kept.txt", "a file that no rule names would go", item)
    return not plan.refused


@kind("rules",
    '{~}~"rules": [~"protected": [~"name": ~"patterns": [~"folders": [~"older_than": ~"7d"~'
    '"reason": ~"marker": ~"content": ~"**/"~"*"~"[a-"~"[!"~"?"~"./"~".."~//~null~"core-dump"~'
    '"stale": ~[]~"generated": ~"members": ~"sources": ~"\\ud800"~[z-a]~****~"[]]"~\\\\', is_json=True)
def check_rules(data, box):
    box.write("config/rules.json", data)
    path = box.path("config/rules.json")
    try:
        rules = cleanup_rules.read_rules(path, "rules.json", box.root)
    except sc.ConfigError as error:
        return told(error)
    for name in ("a.tmp", "build/x.o", "deep/er/core.123", "a" * 200 + "/" + "b" * 200, "x\udc80", "src/a[b].c"):
        for rule in rules.rules:
            for pattern in list(getattr(rule, "patterns", ()) or ()) + list(getattr(rule, "folders", ()) or ()):
                re.match(cleanup_rules.pattern_expression(pattern), name)
    document = sc.parse_document(data.decode("utf-8-sig"), "x")
    again = cleanup_rules.build_rules(json.loads(json.dumps(document)), "x", box.root)
    hold(repr(again.rules) == repr(rules.rules), "written again they are other rules")
    return True


@kind("pattern", "*~**~**/~/~./~?~[~]~[!a]~[a-z]~[z-a]~..~\\~a~.tmp~{a,b}~^~$~(~+~\n")
def check_pattern(data, box):
    text = text_of(data)[:300]  # a file has no longer name
    for fault_of in {entry[1] for entry in cleanup_rules.PATTERN_KEYS}:
        fault = fault_of(text, box.root)
        if fault:
            told(sc.ConfigError([sc.Problem(place="rules", text=fault[0], hint=fault[1])]))
            for advice in re.findall(r"write '(.*)'\Z", fault[1], re.S):
                hold(not fault_of(advice, box.root), "the advice is refused", advice, fault_of(advice, box.root))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a FutureWarning of re would be printed
        re.purge()
        if cleanup_rules.pattern_fault(text, box.root):
            return False
    for more in ({}, {"anywhere": True}, {"below": True}):
        expression = re.compile(cleanup_rules.pattern_expression(text, **more))
        for name in ("a", "a/b.tmp", "a" * 255, "/".join(["ab"] * 40), "a.tmp\n"):
            expression.match(name)
    matcher, expression = cleanup_rules.Matcher([text]), re.compile(cleanup_rules.pattern_expression(text))
    for name in ("a", "b.tmp", "a.tmp", "A", "[", "x"):
        subject = name if "/" not in text else "a/" + name
        hold(bool(matcher(subject)) == bool(expression.match(subject)), "two ways to match differ", text, subject)
    return True


@kind("content",
    "\x7fELF~\x00\x05\x16\x07~# This is the CMakeCache file.~SQLite format 3\x00~"
    "Signature: 8a477f597d28d172789f06886806bc55")
def check_content(data, box):
    """The head of a file, by which a rule knows what it is."""
    found = [look(data) for look in cleanup_rules.CONTENTS.values()]
    references.readable(data)
    return any(found)


ACTION_WORDS = (
    '{~}~\n~"event": ~"intent"~"done"~"failed"~"end"~"run": ~"path": ~"format": ~"size": ~'
    '"mtime_ns": ~"dev": ~"ino": ~"mode": ~"files": ~"contents": ~"at": ~null~[]~{}~-1~1e400~'
    'NaN~"../x"~"\\ud800"~99999999999999999999~"old.tmp"~true~"rule": ')


def check_quarantine(box, name, data):
    """Recover, look, purge: nothing of what was there may be lost, and nothing is old enough."""
    box.tree_reset()
    box.write_below(box.tree, name, data)
    before = box.contents()
    root = box.tree_root()
    try:
        with quarantine.Quarantine(root, box.tree_now + 60, True, ("boot", 60.0)) as held:
            for run in held.runs():
                list(held._items(run.run_id))
        with quarantine.Quarantine(root, box.tree_now + 20 * sc.DAY, True, ("boot", 3600.0)) as held:
            purged = held.purge(quarantine.PURGE_AGE_S)
            hold(not purged, "an hour after it was taken, a run is purged", purged)
        accepted = True
    except sc.ConductorError as error:
        accepted = told(error)
    hold(box.contents() >= before, "contents are lost", before - box.contents())
    cleanup_engine.rules_of_runs(root)
    return accepted


@kind("actions", ACTION_WORDS, is_json=True)
def check_actions(data, box):
    accepted = check_quarantine(box, tree.ACTIONS_NAME, data)
    for line in data.split(b"\n"):
        action_log._entry(line)
    return accepted


@kind("manifest",
    '{~}~\n~"folder": ~"empty": ~"whole": ~"taken_at": ~"uid": ~"gid": ~"mode": ~"atime_ns": ~'
    '"mtime_ns": ~"xattrs": ~"files": ~"size": ~"contents": ~-1~-1e308~NaN~1e400~null~[]~{}~'
    '"../x"~"user.x"~"%%%"', is_json=True)
def check_manifest(data, box):
    box.tree_reset()
    run = next(name for name in os.listdir(os.path.join(box.tree, tree.QUARANTINE_NAME)) if quarantine.run_time(name))
    name = "%s/%s%s" % (tree.QUARANTINE_NAME, run, action_log.MANIFEST_SUFFIX)
    accepted = check_quarantine(box, name, data)
    before = box.contents()
    box.write_below(box.tree, name, data)
    for entry in action_log_lines(data):
        if folders.is_facts(entry):
            os.makedirs(box.path("made"), exist_ok=True)
            fd = os.open(box.path("made"), os.O_RDONLY)
            try:
                facts = dict(entry, uid=os.geteuid(), gid=os.getegid())
                folders.give_back(fd, facts)
                folders.give_times(fd, facts)
            finally:
                os.fchmod(fd, 0o700)
                os.close(fd)
    try:
        with quarantine.Quarantine(box.tree_root(), box.tree_now + 60, True, ("boot", 60.0)) as held:
            for _ in held.restore(run):
                pass
    except sc.ConductorError as error:
        told(error)
    hold(box.contents() >= before, "contents are lost by a restore", before - box.contents())
    return accepted


def action_log_lines(data):
    return [action_log._entry(line) for line in data.split(b"\n")]


@kind("clock",
    '{~}~"certain": ~"wall": ~"uptime": ~"boot_id": ~"first_seen": ~-1~NaN~1e11~1e400~null~{}~'
    '"boot"', is_json=True)
def check_clock(data, box):
    witness_of = {}
    box.tree_reset()
    box.write_below(box.tree, "%s/%s" % (tree.QUARANTINE_NAME, clock_witness.CLOCK_NAME), data)
    folder = os.path.join(box.tree, tree.QUARANTINE_NAME)
    first = clock_witness.Witness(folder, NOW, ("boot", 100.0))
    for run in ("20250602T020000Z-1", "20250602T030000Z-1"):
        age = first.age(run, None)
        hold(0 <= age < 1e13, "no age", age)
        witness_of[run] = age
    first.save(tuple(witness_of))
    second = clock_witness.Witness(folder, NOW, ("boot", 100.0))
    for run, age in witness_of.items():
        hold(abs(second.age(run, None) - age) < 1, "written again it is another age", age)
    return bool(first._before)


@kind("quarantine-format", "0~1~2~3~\n~99999999999~\u0662")
def check_quarantine_format(data, box):
    return check_quarantine(box, "%s/%s" % (tree.QUARANTINE_NAME, quarantine.FORMAT_NAME), data)


@kind("cleanup-report",
    '{~}~"at": ~"format": ~"candidates": [~"refused": ~"path": ~"size": ~"files": ~'
    '"mtime_ns": ~null~[]~"2025-06-02T10:00:00Z"~-1~NaN~1e400~"\\ud800"~"rule": ~"bytes": ~'
    '"class": ~true', is_json=True)
def check_cleanup_report(data, box):
    check_answers(box, cleanup_engine.REPORT_NAME, data)
    box.tree_reset()
    box.write_below(box.tree, cleanup_engine.REPORT_NAME, data)
    args = argparse.Namespace(rules="", what=os.path.join(box.tree, inventory.INVENTORY_NAME),
                              max_age=cleanup_engine.MAX_AGE_S, max_fraction=1.0, max_deletions=100)
    engine_ = cleanup_engine.Engine(box.tree_root(), args, box.tree_now)
    plan = engine_.plan()
    with quarantine.Quarantine(box.tree_root(), box.tree_now, False, ("boot", 60.0)) as held:
        document = engine_.report(plan, [], held)
        cleanup_engine.cleanup_report.table(document)
    json.dumps(document)
    return engine_._previous() is not None


@kind("disk-series",
    '{~}~\n~"at": ~"free_bytes": ~"total_bytes": ~"2025-06-02T10:00:00Z"~null~-1~NaN~1e400~'
    '"format": ~[]~0', is_json=True)
def check_disk_series(data, box):
    check_answers(box, symphony_report.DISK_NAME, data)
    return True


@kind("report-actions", ACTION_WORDS + "~\"purge\"~\"restored\"~\"bytes\": ", is_json=True)
def check_report_actions(data, box):
    check_answers(box, tree.ACTIONS_NAME, data)
    return True


@kind("reference-cache", "\n~\t~ ~%~{}~0~\0")
def check_reference_cache(data, box):
    """The parts with their checksums, so that mutations reach what is behind them; or the whole."""
    import zlib
    root = box.tree_root()
    for is_whole in (True, False):
        box.write_below(box.tree, references.CACHE_NAME, b"")
        cache = references.Cache(root)
        content = data
        if not is_whole:
            parts = data.split(b"\x00\x01")[:references.PARTS]
            parts += [b""] * (references.PARTS - len(parts))
            numbers = [len(part) for part in parts] + [zlib.crc32(part) for part in parts]
            content = cache._head + b"".join(parts) + b"\n" + " ".join(map(str, numbers)).encode()
        box.write_below(box.tree, references.CACHE_NAME, content)
        cache = references.Cache(root)
        cache.counts("key", {"a"})
        cache.begin(references.Names({"old.tmp", "a.b"}), {"old.tmp", "a.b"})
        cache.names_in("version")
        cache.digest("version")
    return bool(cache._places)


# -- crontabs

MACHINE = crontab_tables.Machine(user="me", home="/home/me", accounts=frozenset(["root", "me", "www-data"]),
                                 is_program=lambda word: word in ("true", "sh", "/bin/true"),
                                 is_folder=lambda path: path.startswith("/home"))
CRONTAB_WORDS = (
    '* * * * * true\n~0 2 * * * ~@daily ~@reboot ~MAILTO=""\n~SHELL=/bin/bash\n~PATH=/bin\n~'
    "TZ=UTC\n~CRON_TZ=Asia/Tokyo\n~%~\\%~#~\\\n~root ~www-data ~\r\n~\ufeff~-~!~&~"
    "1 5 job cmd\n~RANDOM_DELAY=5\n~*/7~~~H~\x00~\t~[ -x /x ] && ~@every_minute ~'~\"")


@kind("crontab", CRONTAB_WORDS)
def check_crontab(data, box):
    data = b"\n".join(data.split(b"\n")[:500])  # each line is a task, imported four times
    try:
        text = importer.decoded_table(data, "the table")
    except sc.UsageError as error:
        return told(error)
    root = "/srv/o'odd 100% %s"
    for has_users in (None, True, False):
        found = importer.import_tasks(text, MACHINE, has_users)
        for _, task in found.tasks:
            config = sc.build_config([("c.json", {"tasks": [dict(task)]})])
            hold(not config.problems, "an imported task is refused", task, list(map(str, config.problems)))
        for _, line, reason in found.left_out:
            hold(reason and len(reason.splitlines()) == 1, "a reason of several lines", line, reason)
        lines = len(sc.crontab_lines(text))
        hold(len(found.kinds) == lines, "kinds of lines", len(found.kinds), lines)
    numbers = [number for number, _ in importer.import_tasks(text, MACHINE, False).tasks]
    if not re.search(sc.handed_over_pattern(root), text, re.M):
        switched = crontab_switch.with_switched_lines(text, numbers, root)
        back, restored = crontab_switch.with_restored_lines(switched, root)
        hold(back == text and restored == numbers, "switched and back it is another table", numbers, restored)
    return bool(numbers)


@kind("block",
    "# BEGIN symphony ~# END symphony ~/srv/root~\n~* * * * * ~exec python3 ~'~\"~$(printf ~"
    "\r\n~MAILTO=\n")
def check_block(data, box):
    text = text_of(data)
    for root in ("/srv/root", "/srv/o'odd 100%"):
        try:
            above, block, below = sc.split_at_block(text, root)
            hold(above + block + below == text, "split it is another table", text)
            sc.python_of_block(block)
            installed = sc.with_block(text, root, ["* * * * * true"])
            bare = sc.without_block(installed, root)
        except sc.ConductorError as error:
            return told(error)
        hold(sc.with_block(installed, root, ["* * * * * true"]) == installed, "a second install changes it", text)
        hold(sc.without_block(bare, root) == bare, "a second uninstall changes it", text)
    return True


@kind("script-head", "#!~/bin/sh~/usr/bin/env ~-S ~\r\n~\xef\xbb\xbf~\0~ ~python3~A=b~\n")
def check_script_head(data, box):
    path = os.path.join(box.root, "script")
    with open(path, "wb") as handle:
        handle.write(data)
    os.chmod(path, 0o700)
    for command in ("./script", ["./script"], "sh script"):
        for text in sc.start_trouble(command, box.root, "/usr/bin:/bin"):
            hold(len(text) < LONGEST_MESSAGE, "a long reason", text)
    return True


@kind("command", "sh ~-c ~./~python3 ~-m ~|~;~$HOME~`~'~\"~\0~~~env ~A=b ~sudo ~-~/~../~time ~\n~\\")
def check_command(data, box):
    text = text_of(data)
    if "\0" in text or not text.strip():
        return False  # no configuration holds it
    sc.start_trouble(text, box.root, "/usr/bin:/bin")
    sc.start_trouble([text], box.root, "/usr/bin:/bin")
    sc.unexpanded(text)
    list(sc._unexpanded_in_command(text))
    sc.columns([[sc.command_text([text, text]), ""]])
    import crontab_commands
    fed = crontab_commands.split_at_percent(text)
    crontab_commands._program_among(text.split(), 0)
    return bool(fed)


# -- what the system says

@kind("proc-stat",
    "1 (x) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 100 1~)~(~-1~ ~\n~"
    "99999999999999999999~Z~X")
def check_proc_stat(data, box):
    pids = box.fake_proc(stat=data, status=data, comm=data, cmdline=data, environ=data, cgroup=data)
    before, sc.PROC = sc.PROC, box.path("proc")
    try:
        try:
            table = sc.process_table()
        except OSError:
            table = []  # cannot tell
        job = sc.Job(pid=pids[0], start="100", run_id="R", root=box.root, mark="M")
        sc.job_members(job, table or [])
        for process in table or []:
            sc.mark_of(process)
        sc._dead_orphans()
        quarantine._parent_of(str(pids[0]))
        quarantine.working_folders()
        sc._program_name(str(pids[0]))
        return bool(table)
    finally:
        sc.PROC = before


@kind("ps", "  1     0     1 Ss   Mon Jun  2 10:00:00 2025~\n~-~?~ ~<defunct>~99999999999999999999~Z+~\0")
def check_ps(data, box):
    try:
        return bool(sc._parse_ps(data.decode("utf-8", "replace")))
    except OSError:
        return False  # cannot tell


@kind("uptime", "1.0 2.0~nan~inf~-1~1e400~\n~ ~{ sec = 1748944800, usec = 0 }")
def check_uptime(data, box):
    box.fake_proc(uptime=data, stat=data)
    text = data.decode("utf-8", "replace")
    patched = {"PROC": box.path("proc"), "command_output": lambda *argv: text}
    with box.patched(sc, patched):
        clock_witness.boot_now()
        sc._dead_orphans()
        try:
            at = sc.boot_time(NOW)
        except sc.ConductorError as error:
            return told(error)
        hold(type(at) is int, "no time", at)
    return at > 0


@kind("mountinfo", "36 35 98:0 / /mnt/x rw - ext4 /dev/x rw\n~\\040~\\134~\\999~\\777~ ~\n~\xff")
def check_mountinfo(data, box):
    root = box.tree_root()
    with box.patched(tree, {"open": lambda *_: io.BytesIO(data), "HAS_MOUNT_IDS": True}):
        points = tree.mount_points(root)
    for point in points:
        hold(not point.startswith("/"), "a mount point that is not below the root", point)
    return bool(points)


@kind("git", "true\n~.git/index\n~/\n~0123456789012345678901234567890123456789\n~\0~\n~\xff~fatal: ")
def check_git(data, box):
    root = box.tree_root()
    git = tree.Git(root)
    answered = False
    git._output = lambda *words, **more: data
    git._start = lambda *words: (None, None, words)
    git._result = lambda *running: data
    git.top = lambda: box.tree
    for ask in (git.head, git.listing, git.lock, git.stamp):
        try:
            ask()
            answered = True
        except sc.ConductorError as error:
            told(error)
    return answered


@kind("git-index", "DIRC")
def check_git_index(data, box):
    path = box.path("index")
    with open(path, "wb") as handle:
        handle.write(data)
    for head in ("0" * 40, "0" * 64):
        try:
            tree.check_index(path, head)
        except sc.ConductorError as error:
            return told(error)
    return True


@kind("cgroup", "0::/~/system.slice/symphony-conductor.service~/user.slice/symphony-a-01234567.scope~1:name=systemd:/~"
                "\n~123~-1~99999999999999999999~ ~..")
def check_cgroup(data, box):
    os.makedirs(box.path("proc/self"), exist_ok=True)
    os.makedirs(box.path("cgroups/x"), exist_ok=True)
    for name in ("proc/self/cgroup", "cgroups/cgroup.procs", "cgroups/x/cgroup.procs"):
        box.write(name, data)
    with box.patched(sc, {"PROC": box.path("proc"), "CGROUPS": box.path("cgroups")}):
        unit, _ = sc.own_unit()
        try:
            sc.own_cgroup("symphony-a-01234567.scope")
            sc.cgroup_pids(box.path("cgroups"))
        except OSError:
            return False  # cannot tell
    return bool(unit)


# -- Airflow's answers

_OF_AIRFLOW = {}


def of_airflow(name):
    """A module of scripts/airflow, none of which needs an Airflow to be imported."""
    if name not in _OF_AIRFLOW:
        path = str(SCRIPTS / "airflow" / name)
        spec = importlib.util.spec_from_file_location("fuzzed_" + os.path.basename(name)[:-3], path)
        _OF_AIRFLOW[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_OF_AIRFLOW[name])
    return _OF_AIRFLOW[name]


def engine():
    return of_airflow("engine.py")


@kind("memory", STATE_WORDS, is_json=True)
def check_memory(data, box):
    """What a plug-in keeps in Airflow between two runs."""
    slots = of_airflow("plugins/symphony_slots.py")
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return False  # Airflow gives a document
    try:
        memory = slots.memory_of(document, "the memory")
    except sc.ConductorError as error:
        return told(error)
    hold(slots.memory_of(memory.document(), "the memory") == memory, "it is not read as it was written", memory)
    return True


class Answer(io.BytesIO):
    def open(self, question, timeout):
        self.seek(0)
        return Answer(self.getvalue())


@contextlib.contextmanager
def no_limit(seconds):
    yield


@kind("airflow",
    '{~}~"dags": [~"dag_runs": [~"jobs": [~"task_instances": [~"xcom_entries": [~'
    '"total_entries": 1~"dag_id": "a"~"dag_run_id": "r"~"run_id": "r"~"run_type": "scheduled"~'
    '"logical_date": "2025-06-02T10:00:00.5Z"~"state": ~"value": ~"start_date": ~'
    '"try_number": ~null~[]~NaN~1e400~true~"0001-01-01T00:00:00Z"~"latest_heartbeat": ~'
    '"is_paused": ~"\\ud800"~"access_token": ', is_json=True)
def check_airflow(data, box):
    """One answer to every question; a list ends with its first page."""
    module = engine()
    airflow = module.Airflow("http://127.0.0.1:1", "token")
    whole = airflow.ask
    asked = []

    def ask(path, body=None):
        asked.append(path)
        if len(asked) > 100:
            raise module.Gone("enough")
        return whole(path, body)

    airflow.ask = ask
    accepted = False
    questions = (
        lambda: airflow.log_in("u", "p"), lambda: module.read_witness(airflow, NOW - sc.DAY),
        lambda: module.read_verdict(airflow, "a", "r"),
        lambda: module.rows_of(module.read_runs(airflow, NOW - sc.DAY, ["a"])))
    with box.patched(sc, {"web_opener": lambda: Answer(data), "time_limit": no_limit}):
        for question in questions:
            del asked[:]
            try:
                question()
                accepted = True
            except sc.ConductorError as error:
                told(error)
    return accepted


# -- command lines

@kind("completion", "--root~--config~=~\0~'~\"~$HOME~~~/tmp~\\~symphony_conductor.py~--root=/tmp")
def check_completion(data, box):
    """The words of a command line that a shell wants to have completed, between NULs."""
    words = [text_of(word) for word in data.split(b"\0")][:50]
    root, config = symphony_completion.root_and_config(words)
    hold(root and (not config or os.path.isabs(config)), "no root", words, root, config)
    return bool(config)


@kind("order", RECORD_WORDS, is_json=True)
def check_order(data, box):
    """What a supervisor is told on its standard input."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(data))
    try:
        return bool(sc._spec_from_stdin("a"))
    except sc.ConductorError as error:
        return told(error)
    finally:
        sys.stdin = before


@kind("command-line",
    "--root~--config~tick~run~status~--json~history~--limit~3~why~a~next~--since~1d~explain~"
    "pause~resume~--until~--help~-~--~\x00~audit~--table~check~logs~skip~stop~=~--task=a~"
    "--version~\x00--")
def check_command_line(data, box):
    """Words between NULs, parsed and not carried out."""
    words = [text_of(word) for word in data.split(b"\0")][:50]
    if words[:1] and words[-1] == "":
        words.pop()
    with box.quiet() as said:
        try:
            args = sc._parse(words)
        except SystemExit as error:
            hold(error.code in (0, 2), "an exit code", error.code)
            return False
        except sc.ConductorError as error:
            return told(error)
    hold(callable(args.func), "nothing to carry out", words)
    sc.plain_tick_root(words)
    return not said.getvalue()


QUESTIONS = (("status", "--json"), ("history",), ("audit", "--since", "7d"), ("why", "a"), ("next",), ("explain", "a"))


@kind("answers-option",
    "--since~1d~--task~a~--limit~5~--json~--status~failed~2025-06-02~--table~-~\x00~\x00\x00~"
    "2025-06-02T10:00~--until~b@2025~a@")
def check_answers_option(data, box):
    """What questions make of the words behind them."""
    words = [text_of(word) for word in data.split(b"\0")][:20]
    box.reset()
    accepted = False
    for question in ("history", "audit", "why", "next", "explain", "pause", "skip"):
        accepted |= box.call(question, *words)
    return accepted


# -- a root with a sound file of each kind

CONFIG = {"settings": {"timezone": "UTC"}, "tasks": [
    {"name": "a", "command": "true", "schedule": "0 2 * * *", "retry_count": 1, "retry_delay": 60},
    {"name": "b", "command": "true", "schedule": "*/10 * * * *", "dependencies": ["a"]},
    {"name": "c", "command": "true", "dependencies": ["a"]}]}
STATE = {"tasks": {"a": {"cursor": int(NOW) - 8 * sc.HOUR}}, "last_now": NOW - 60,
         "pauses": {"b": {"since": NOW - 60, "until": None, "reason": "test"}}}
RULES = {"rules": [{"name": "temporary", "patterns": ["*.tmp"], "older_than": "1d", "reason": "made anew"},
                   {"name": "caches", "folders": ["cache"], "older_than": "1d", "reason": "made anew"}],
         "protected": []}


class Stream(io.TextIOWrapper):
    """What takes the place of standard output."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8", errors="surrogateescape", write_through=True)

    def getvalue(self):
        return self.buffer.getvalue().decode("utf-8", "surrogateescape")


class Stopped(HandClock):
    """A clock that nothing moves, and that says nothing of suspends."""

    def suspended(self):
        return 0.0


class Box:
    """A root folder with a configuration and a state, and a tree with a quarantine beside it."""

    def __init__(self, folder):
        self.project = Project(os.path.join(str(folder), "root"))
        self.root = str(self.project.root)
        self.clock = Stopped(NOW)
        self.stand_ins = {"Clock": lambda: self.clock, "read_crontab": lambda: ""}
        self._parsed = {}
        for folder_name in ("config/tasks.d", "status/runs", "status/history", "status/definitions", sc.SPOOL_DIR,
                            "status/automation_health", "logs/automation", "status/locks"):
            os.makedirs(self.path(folder_name), mode=0o700, exist_ok=True)
        self.write("config/conductor_config.json", json.dumps(CONFIG).encode())
        settle(self.path("config/conductor_config.json"))
        self.config = self.store().read_config()
        state = sc.load_state(json.dumps(STATE))
        decision = sc.decide(self.config, state, NOW - 30, sc.Facts(boot_id="boot", boot_at=NOW - sc.DAY))
        self.state = sc.dump_state(decision.state)
        document = json.loads(self.state.decode())
        run = {"run_id": "R", "slot": int(NOW - 8 * sc.HOUR), "attempt": 1, "started_at": NOW - 100,
               "trigger": "schedule"}
        document["tasks"]["a"].update(run=run)
        self.running_state = json.dumps(document).encode()
        self.day = json.dumps(verdict("a", "2025-06-02T02:00:01Z")).encode() + b"\n"
        self.write("status/history/2025-06-02.jsonl", self.day)
        self._written = set()
        self.reset()
        self.template = os.path.join(str(folder), "template")
        self.tree = os.path.join(str(folder), "tree")
        self._make_tree()

    # files of the root

    def path(self, name):
        return os.path.join(self.root, name)

    def write(self, name, data):
        path = self.path(name)
        with open(path, "wb") as handle:
            handle.write(data)
        os.chmod(path, 0o600)

    def write_below(self, folder, name, data):
        path = os.path.join(folder, name)
        with open(path, "wb") as handle:
            handle.write(data)
        os.chmod(path, 0o600)

    def read(self, name):
        with open(self.path(name), "rb") as handle:
            return handle.read()

    @contextlib.contextmanager
    def holding(self, name, data):
        """A file with this content, and what was there before afterwards."""
        before = self.read(name) if os.path.exists(self.path(name)) else None
        self.write(name, data)
        try:
            yield
        finally:
            if before is None:
                os.unlink(self.path(name))
            else:
                self.write(name, before)

    def reset(self):
        """As at the beginning: a configuration, a state, its copy, a day of history."""
        kept = {"config/conductor_config.json"}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.relpath(path, self.root) not in kept:
                    os.unlink(path)
        self.write("conductor_state.json", self.state)
        self.write("conductor_state.json.bak", self.state)
        self.write("status/history/2025-06-02.jsonl", self.day)

    def store(self):
        return sc.Store(self.root)

    def tick(self):
        """A decision, which starts nothing."""
        started = []

        def launch(store, verb, spec, lock):
            started.append(spec["task"])
            lock.release()

        try:
            with self.patched(sc, {"run_in_process_table": lambda *run: False, "launch_delivery": lambda store: None}):
                sc.Conductor(self.store(), self.clock, launch, lambda store: None).tick()
        except sc.ConductorError as error:
            told(error)
        return started

    def ask(self):
        """Every question that reads what is stored."""
        for words in QUESTIONS:
            self.call(*words)

    def call(self, *words):
        """A command in this process: whether it was carried out."""
        with self.quiet() as said, self.patched(sc, dict(self.stand_ins, _print_bytes=len)):
            try:
                args = self.parsed(words)
                store = self.store()
                sc._settle_task(store, args)
                args.func(store, args)
            except SystemExit as error:
                hold(error.code in (0, 2), "an exit code", error.code)
                return False
            except sc.ConductorError as error:
                return told(error)
        if "--json" in words:
            document = json.loads(said.getvalue())
            hold(json.loads(json.dumps(document)) == document or "NaN" in said.getvalue(), "no JSON", words)
        return True

    def parsed(self, words):
        """A command line; the questions are always the same."""
        if words not in QUESTIONS:
            return sc._parse(words)
        if words not in self._parsed:
            self._parsed[words] = sc._parse(words)
        return argparse.Namespace(**vars(self._parsed[words]))

    @contextlib.contextmanager
    def quiet(self):
        said = Stream()
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = said, Stream()
        try:
            yield said
        finally:
            sys.stdout, sys.stderr = before

    @contextlib.contextmanager
    def patched(self, module, values):
        missing = object()
        before = {name: getattr(module, name, missing) for name in values}
        for name, value in values.items():
            setattr(module, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is missing:
                    delattr(module, name)
                else:
                    setattr(module, name, value)

    def fake_proc(self, **files):
        """A /proc with one process: files with a pid's name, and some at its top."""
        pid = 4194305  # above every real one
        folder = self.path("proc/%d" % pid)
        os.makedirs(folder, exist_ok=True)
        os.makedirs(self.path("proc/self"), exist_ok=True)
        os.makedirs(self.path("proc/1"), exist_ok=True)
        for name, data in files.items():
            for place in ("proc/%d/%s" % (pid, name), "proc/1/" + name, "proc/" + name):
                self.write(place, data)
        return [pid]

    # a tree with a quarantine

    def _make_tree(self):
        top = self.template
        for name in ("config", "cache", "deep"):
            os.makedirs(os.path.join(top, name), mode=0o700)
        os.chmod(top, 0o700)
        self.write_below(top, sc.CONFIG_NAME, json.dumps(CONFIG).encode())
        self.write_below(top, cleanup_rules.RULES_NAME, json.dumps(RULES).encode())
        for name in ("old.tmp", "deep/other.tmp", "cache/x", "cache/y", "kept.txt"):
            self.write_below(top, name, ("content of %s\n" % name).encode())
            os.utime(os.path.join(top, name), (NOW - 30 * sc.DAY, NOW - 30 * sc.DAY))
        root = tree.Root(top)
        self.tree_now = time.time()
        items = []
        for name in ("deep/other.tmp",):
            status = os.lstat(os.path.join(top, name))
            items.append(quarantine.Candidate(
                path=name, size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns,
                dev=status.st_dev, ino=status.st_ino, mode=status.st_mode, rule="temporary", reason="test"))
        with quarantine.Quarantine(root, self.tree_now, True, ("boot", 0.0)) as held:
            for removal in held.remove(items, [], 10):
                hold(removal.outcome == "removed", "the template", removal)
        inventory.Inventory(root).take().write()

    def tree_reset(self):
        """A copy of the tree. A copy's files are others: so the inventory is of no use for it."""
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.copytree(self.template, self.tree, symlinks=True)
        os.chmod(self.tree, 0o700)
        os.chmod(os.path.join(self.tree, tree.QUARANTINE_NAME), 0o700)

    def tree_root(self):
        if not os.path.isdir(self.tree):
            self.tree_reset()
        root = tree.Root(self.tree)
        self._roots = getattr(self, "_roots", [])
        self._roots.append(root.fd)
        while len(self._roots) > 8:
            os.close(self._roots.pop(0))
        return root

    def contents(self):
        """The digests of all files of people in the tree, wherever they are."""
        found = set()
        for folder, _, names in os.walk(self.tree):
            for name in names:
                with open(os.path.join(folder, name), "rb") as handle:
                    data = handle.read()
                if data.startswith(b"content of "):
                    found.add(hashlib.sha1(data).hexdigest())
        return found
