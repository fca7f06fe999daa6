"""The audit: every due slot has exactly one verdict, over simulated months in which everything happens."""

import random

import pytest
from stories import Month, at, original_tasks, task

import symphony_conductor as sc

HOUR, DAY = 3600, 86400


@pytest.fixture(scope="module", params=[(1, "2025-03-10T00:00:00Z"), (2, "2025-10-05T00:00:00Z")],
                ids=["spring", "autumn"])
def month(request):
    seed, start = request.param
    return Month(seed, start).live(31)


def test_a_month_of_everything_leaves_no_slot_unexplained(month):
    slots = list(month.audit())
    assert [slot for slot in slots if slot.fate in sc.UNEXPLAINED] == []
    fates = {slot.fate for slot in slots}
    assert fates >= {"success", "failed", "timeout", "interrupted", "merged", "edited", "skipped_overlap",
                     "skipped_dependency", "skipped_late", "skipped_paused", "skipped_disabled"}
    assert len(slots) > 10000 and month.gaps > 10 and any(slot.was_off for slot in slots)


def recomputed(month):
    """The verdicts of the slots that can be recomputed."""
    return [each for each in month.verdicts if each["scheduled_for"] and each["task"] not in ("joined", "boot")]


def unexplained(month, verdicts):
    return [slot for slot in month.audit(verdicts) if slot.fate in sc.UNEXPLAINED]


def missed(month):
    """The verdicts whose line could be taken out of the history without a word of the audit."""
    happened, by_task = {}, {}
    for event in month.events:
        for name, facts in event.get("tasks", {}).items():
            happened.setdefault(name, []).append((event["event"], at(event["at"]), facts))
    for verdict in recomputed(month):
        by_task.setdefault(verdict["task"], []).append(verdict)
    found = []
    for name, verdicts in by_task.items():
        state = month.state.tasks.get(name, sc.TaskState())
        periods = sc.periods_of(happened[name], state, month.now)
        ledger = sc.Ledger(verdicts, state, decided_until=month.now)
        merged, starts = ledger.merged, ledger._starts
        for verdict in verdicts:
            slot = at(verdict["scheduled_for"])
            line = ledger.by_slot.pop(slot)
            if verdict.get("merged_since"):
                ledger.merged = [pair for pair in merged if pair[1] != slot]
                ledger._starts = [first for first, _ in ledger.merged]
            around = [period.replace(start=max(period.start, slot - 1), end=min(period.end, slot))
                      for period in periods]
            fates = [each.fate for each in sc.audit(name, around, ledger, (), 0.0, 0.0)]
            if fates != ["unexplained"]:
                found.append((name, verdict["scheduled_for"], verdict["status"], fates))
            ledger.by_slot[slot], ledger.merged, ledger._starts = line, merged, starts
    return found


def test_no_line_can_be_taken_out_of_the_history_without_a_word(month):
    assert missed(month) == []


def test_a_line_that_is_missing_is_found_and_nothing_else(month):
    scheduled = recomputed(month)
    merged = [each for each in scheduled if each.get("merged_since")]
    choose = random.Random(7)
    for missing in choose.sample(scheduled, 6) + choose.sample(merged, 2):
        slot = at(missing["scheduled_for"])
        first = at(missing.get("merged_since")) or slot
        found = unexplained(month, [verdict for verdict in month.verdicts if verdict is not missing])
        assert {each.task for each in found} == {missing["task"]}
        assert found[0].at == first and found[-1].at == slot
        assert missing.get("merged_since") or len(found) == 1


def test_lines_that_are_missing_are_found_and_nothing_else(month):
    """All those of a rare task, and a tenth of all the others."""
    scheduled = recomputed(month)
    missing = random.Random(8).sample(scheduled, len(scheduled) // 10)
    missing += [each for each in scheduled if each["task"] == "clean" and each not in missing]
    gone = {id(each) for each in missing}
    rest = [each for each in month.verdicts if id(each) not in gone]
    found = {(slot.task, slot.at) for slot in unexplained(month, rest)}
    ends = {(each["task"], at(each["scheduled_for"])) for each in missing}
    assert ends <= found
    spans = [(each["task"], at(each.get("merged_since")) or at(each["scheduled_for"]), at(each["scheduled_for"]))
             for each in missing]
    strays = [(task, slot) for task, slot in found - ends
              if not any(name == task and first <= slot <= last for name, first, last in spans)]
    assert strays == [] and len(found) > len(missing)


def test_a_verdict_that_is_there_twice_is_found(month):
    verdict = next(each for each in month.verdicts if each["task"] == "every5" and each["scheduled_for"])
    found = [slot for slot in month.audit(month.verdicts + [dict(verdict)]) if slot.fate in sc.UNEXPLAINED]
    assert [(slot.task, sc.iso(slot.at), slot.fate) for slot in found] == [
        ("every5", verdict["scheduled_for"], "double")]


def test_the_hour_that_spring_skips_is_told():
    world = Month(3, "2025-03-29T00:00:00Z")
    world.tasks = {"gap": original_tasks()["gap"]}
    world.configure(*world.tasks.values())
    while world.now < at("2025-04-01T00:00:00Z"):
        world.minute()
    shifted = [sc.iso(slot.at) for slot in world.audit() if slot.shifted]
    assert shifted == ["2025-03-30T01:00:00Z"]


# -- what happens to the machine

class Moving(Month):
    """A machine whose own time zone is changed, and one task that has a zone of its own."""

    def __init__(self):
        self.stamp = ""
        super().__init__(4, "2025-06-02T00:00:00Z")
        self.tasks = {each["name"]: each for each in (
            task("local", "*/20 8-18 * * *"), task("fixed", "10 */2 * * *", timezone="UTC"),
            task("gone", "5 9 * * *"))}
        self.settle_down()

    def settle_down(self):
        self.config = sc.build_config([("c.json", {"tasks": list(self.tasks.values())})])
        assert not self.config.problems

    def facts(self, **fields):
        return super().facts(**dict(fields, zone_stamp=self.stamp))

    def move_to(self, zone, monkeypatch, data="1"):
        monkeypatch.setitem(sc._ZONES, None, sc.Zone(zone))
        self.stamp = sc.current_zone_stamp().split()[0] + " " + data

    def pass_days(self, days):
        end = self.now + days * DAY
        while self.now < end:
            self.minute()

    def document(self, verdicts=None):
        return sc.audit_document(self.audit(verdicts), self.events, 0, self.now)


def test_a_new_time_zone_of_the_system_leaves_no_slot_unexplained(monkeypatch):
    world = Moving()
    world.move_to("Europe/Paris", monkeypatch)
    world.pass_days(2)
    del world.tasks["gone"]
    world.settle_down()
    world.pass_days(1)
    world.move_to("America/New_York", monkeypatch)
    world.pass_days(2)
    document = world.document()
    assert (document["findings"], document["zone_changes"]) == ([], ["2025-06-05T00:01:00Z"])
    assert "the system's time zone changed at 2025-06-05T00:01:00Z: " in sc.audit_text(document, 200)

    def missing(name, text):
        rest = [each for each in world.verdicts if (each["task"], each["scheduled_for"]) != (name, text)]
        assert len(rest) == len(world.verdicts) - 1
        return [(each["task"], each["scheduled_for"]) for each in world.document(rest)["findings"]]

    assert missing("local", "2025-06-05T12:20:00Z") == [("local", "2025-06-05T12:20:00Z")], "8:20 in New York"
    assert missing("fixed", "2025-06-03T04:10:00Z") == [("fixed", "2025-06-03T04:10:00Z")], "its zone is the same"


def test_new_zone_data_that_say_the_same_are_no_new_zone(monkeypatch):
    world = Moving()
    world.move_to("Europe/Paris", monkeypatch)
    world.pass_days(1)
    world.move_to("Europe/Paris", monkeypatch, data="2")
    world.pass_days(1)
    document = world.document()
    assert (document["findings"], document["zone_changes"]) == ([], [])
    first = next(each for each in world.verdicts if each["task"] == "local")
    assert world.document([each for each in world.verdicts if each is not first])["unexplained"] == 1


def test_slots_that_went_with_a_state_are_told_as_that():
    world = Month(5, "2025-06-02T00:00:00Z")
    world.tasks = {"hourly": task("hourly", "7 * * * *")}
    world.configure(*world.tasks.values())
    for _ in range(130):
        world.minute()
    world.state, world.last_seen = sc.State(), 0.0
    world.now += 2 * HOUR
    world.minute()
    document = sc.audit_document(world.audit(), world.events, 0, world.now)
    assert [(each["scheduled_for"], each["reason"]) for each in document["findings"]] == [
        (slot, "no result was recorded; the state was lost before 2025-06-02T04:11:00Z")
        for slot in ("2025-06-02T03:07:00Z", "2025-06-02T04:07:00Z")]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_an_audit_fits_the_screen_and_breaks_its_lines_at_words(width):
    findings = [{"task": "a" * 30, "scheduled_for": "2025-06-02T03:07:00Z", "fate": "unexplained",
                 "reason": "no result was recorded; the state was lost before 2025-06-02T04:11:00Z"}]
    document = {"since": "2025-05-29T12:00:00Z", "until": "2025-06-05T12:00:00Z", "slots": 7400, "unexplained": 1,
                "fates": {"success": 7399, "unexplained": 1}, "while_no_tick_ran": 3, "shifted_by_daylight_saving": 1,
                "gaps": [{"since": "2025-06-01T02:00:00Z", "at": "2025-06-01T08:00:00Z", "cause": "cron"}],
                "zone_changes": ["2025-06-03T02:00:00Z"], "findings": findings,
                "lost_pauses": [{"task": "*", "at": "2025-06-02T04:11:00Z", "reason": "moving " * 20}]}
    lines = sc.audit_text(document, width).split("\n")
    assert max(map(len, lines)) <= width and len(lines) > 8
    assert " ".join(" ".join(lines).split()) == " ".join(sc.audit_text(document, 10000).split())


def test_a_schedule_that_is_no_longer_taken_is_still_audited():
    period = sc.Period(start=at("2025-06-02T00:30:00Z"), end=at("2025-06-02T02:30:00Z"),
                       key="0/90 * * * * UTC")
    verdict = {"scheduled_for": "2025-06-02T01:00:00Z", "status": "success"}
    ledger = sc.Ledger([verdict], sc.TaskState())
    found = list(sc.audit("job", [period], ledger, [], 0, 0))
    assert [(sc.iso(slot.at), slot.fate) for slot in found] == [
        ("2025-06-02T01:00:00Z", "success"), ("2025-06-02T02:00:00Z", "unexplained")]


def test_a_slot_that_the_ticks_have_passed_over_is_not_called_due():
    world = Month(6, "2025-06-02T00:00:00Z")
    world.tasks = {"hourly": task("hourly", "7 * * * *")}
    world.configure(*world.tasks.values())
    for _ in range(100):
        world.minute()
    known = world.state.tasks["hourly"]
    world.state = world.state.replace(tasks={"hourly": known.replace(next_slot=None)})  # as no decision leaves it
    for _ in range(90):
        world.minute()
    found = [(sc.iso(slot.at), slot.fate in sc.UNEXPLAINED) for slot in world.audit()]
    assert found == [("2025-06-02T00:07:00Z", False), ("2025-06-02T01:07:00Z", False),
                     ("2025-06-02T02:07:00Z", True), ("2025-06-02T03:07:00Z", True)]
    assert world.last_tick is not None and list(sc.audit_all(
        world.config, world.state, world.verdicts, world.events, 0, world.now + HOUR, None))[-1].fate == "due"


def test_stretches_on_days_off_within_a_queued_stretch_hide_none_of_its_slots():
    def day(number):
        return at("2025-06-%02dT02:00:00Z" % number)

    off = [{"status": "skipped_not_on", "scheduled_for": sc.iso(day(last)),
            "merged_since": sc.iso(day(last - 1))} for last in (3, 6, 9, 12)]
    ledger = sc.Ledger(off, sc.TaskState(queued_slot=day(20), queued_since=day(1)))
    assert ledger.merged_into(day(14)) == day(20)
    assert ledger.merged_into(day(8)) == day(9)
    assert ledger.merged_into(day(4)) == day(20)
    assert ledger.merged_into(day(20)) is None


# -- the ledger and the periods of one task, by tables

TWO = at("2025-06-03T02:00:00Z")
MERGED = [{"scheduled_for": sc.iso(TWO + 600), "merged_since": sc.iso(TWO), "status": "success"},
          {"scheduled_for": sc.iso(TWO + 60), "merged_since": sc.iso(TWO + 30), "status": "failed"}]


@pytest.mark.parametrize("slot_s, into_s", [
    (-1, None), (0, 600), (29, 600), (30, 60), (59, 60), (60, 600), (599, 600), (600, None), (700, None)])
def test_the_slot_that_answers_for_another_is_that_of_the_shortest_stretch(slot_s, into_s):
    for verdicts in (MERGED, MERGED[::-1]):
        ledger = sc.Ledger(verdicts, sc.TaskState())
        assert ledger.merged_into(TWO + slot_s) == (None if into_s is None else TWO + into_s)


def test_what_is_open_merges_slots_as_well():
    cycle = sc.Cycle(slot=TWO, merged_since=TWO - 60, phase="retrying")
    state = sc.TaskState(cycle=cycle, queued_slot=TWO + 90, queued_since=TWO + 30)
    ledger = sc.Ledger([], state)
    assert (ledger.merged_into(TWO - 60), ledger.merged_into(TWO + 30)) == (TWO, TWO + 90)
    assert ledger.open == {TWO: "retrying", TWO + 90: "queued behind the previous slot"}
    assert ledger.merged_into(TWO) is None
    nothing = sc.Ledger([], sc.TaskState(cycle=sc.Cycle(slot=TWO, phase="running"), queued_slot=TWO + 90))
    assert nothing.merged == []


HELD = sc.Period(key="k", is_open=True)
GOOD, BAD = {"status": "success"}, {"status": "failed", "reason": "too slow"}
BY_HAND = {"status": "failed", "trigger": "manual", "started_at": "T"}
EDITED = sc.Period(undecided_since=TWO, ended_by="disabled")
LOST = sc.Period(is_lost=True, end=TWO + 60)
NO_RESULT = "no result was recorded"


@pytest.mark.parametrize("verdicts, fields, period, fate", [
    ([GOOD], {}, HELD, ("success", "")), ([BAD], {}, HELD, ("failed", "too slow")),
    ([GOOD, BAD], {}, HELD, ("double", "2 results were recorded")),
    ([GOOD, BAD, BAD], {}, HELD, ("double", "3 results were recorded")),
    # the clock was set back over it: the newest counts
    ([GOOD, BAD], {"jumps": [(TWO - 600, TWO + 600)]}, HELD, ("failed", "too slow")),
    ([GOOD, BAD], {"jumps": [(TWO, TWO)]}, HELD, ("failed", "too slow")),
    ([GOOD, BAD], {"jumps": [(TWO - 600, TWO - 1), (TWO, TWO + 1)]}, HELD, ("failed", "too slow")),
    ([GOOD, BAD], {"jumps": [(TWO + 1, TWO + 600)]}, HELD, ("double", "2 results were recorded")),
    ([GOOD, BAD], {"jumps": [(TWO - 600, TWO - 1)]}, HELD, ("double", "2 results were recorded")),
    # by hand: the newest one counts, unless the slot had its success
    ([BY_HAND], {}, HELD, ("failed", "run by hand at T")),
    ([dict(BY_HAND, status="timeout"), BY_HAND], {}, HELD, ("failed", "run by hand at T")),
    ([BAD, dict(BY_HAND, status="success")], {}, HELD, ("success", "run by hand at T")),
    ([GOOD, BY_HAND], {}, HELD, ("success", "")),
    # no verdict
    ([], {"state": sc.TaskState(cycle=sc.Cycle(slot=TWO, phase="waiting"))}, HELD, ("open", "waiting")),
    ([], {"state": sc.TaskState(queued_slot=TWO)}, HELD, ("open", "queued behind the previous slot")),
    ([], {"state": sc.TaskState(queued_slot=TWO + 60, queued_since=TWO)}, HELD,
     ("merged", "into 2025-06-03T02:01:00Z")),
    ([], {}, EDITED, ("edited", "the task was disabled before a tick could decide")),
    ([], {}, EDITED.replace(undecided_since=TWO + 1), ("unexplained", NO_RESULT)),
    ([], {"decided_until": TWO - 1, "undecided": "no tick"}, HELD, ("due", "no tick")),
    ([], {"decided_until": TWO, "undecided": "no tick"}, HELD, ("unexplained", NO_RESULT)),
    ([], {"state": sc.TaskState(cursor=TWO), "undecided": "no tick"}, HELD, ("unexplained", NO_RESULT)),
    ([], {"state": sc.TaskState(cursor=TWO), "decided_until": TWO - 90.0}, HELD, ("unexplained", NO_RESULT)),
    ([], {"undecided": "no tick"}, HELD.replace(is_open=False), ("unexplained", NO_RESULT)),
    ([], {}, LOST, ("unexplained", NO_RESULT + "; the state was lost before 2025-06-03T02:01:00Z")),
])
def test_the_fate_of_a_slot(verdicts, fields, period, fate):
    state = fields.get("state", sc.TaskState())
    more = {name: value for name, value in fields.items() if name != "state"}
    lines = [dict({"scheduled_for": "2025-06-03T02:00:00Z"}, **verdict) for verdict in verdicts]
    lines += [{"scheduled_for": None, "trigger": "manual", "status": "success"},
              {"scheduled_for": "2025-06-03T01:00:00Z", "status": "timeout"}]
    assert sc.Ledger(lines, state, **more).fate(TWO, period) == fate


def anchored(since_s, key="k", was=None, **more):
    facts = dict({"key": key, "since": sc.iso(TWO + since_s)}, **more)
    return "anchored", TWO + 999.0, dict(facts, was=was) if was else facts


def rested(since_s, reason="paused", was="k", **more):
    return "rested", TWO + 999.0, dict({"reason": reason, "since": sc.iso(TWO + since_s)},
                                       **dict({"was": was} if was else {}, **more))


@pytest.mark.parametrize("events, key, periods", [
    ([], "", []), ([], "k", [sc.Period(key="k", end=TWO + 60, is_open=True)]),
    ([anchored(0)], "k", [sc.Period(start=TWO, end=TWO + 60, key="k", is_open=True)]),
    # the event that began it is no longer kept
    ([anchored(0, "new", was="old")], "new",
     [sc.Period(key="old", end=TWO, ended_by="rescheduled"),
      sc.Period(start=TWO, end=TWO + 60, key="new", is_open=True)]),
    ([rested(0)], "", [sc.Period(key="k", end=TWO, ended_by="paused")]),
    ([rested(0, was=None)], "k", []),
    ([anchored(0), rested(9, "disabled"), anchored(20, "new")], "new",
     [sc.Period(start=TWO, end=TWO + 9, key="k", ended_by="disabled"),
      sc.Period(start=TWO + 20, end=TWO + 60, key="new", is_open=True)]),
    # the state was deleted: to the tick after it the task was new
    ([anchored(0), anchored(9)], "k",
     [sc.Period(start=TWO, end=TWO + 9, key="k", ended_by="rescheduled", is_lost=True),
      sc.Period(start=TWO + 9, end=TWO + 60, key="k", is_open=True)]),
    ([anchored(0), rested(9, was=None)], "", [sc.Period(start=TWO, end=TWO + 9, key="k", ended_by="paused")]),
    ([anchored(0), anchored(9, "new", was="k", undecided_since=sc.iso(TWO + 5))], "new",
     [sc.Period(start=TWO, end=TWO + 9, key="k", ended_by="rescheduled", undecided_since=TWO + 5),
      sc.Period(start=TWO + 9, end=TWO + 60, key="new", is_open=True)]),
    ([anchored(0), ("clock", TWO + 5.0, {"since": sc.iso(TWO), "was": sc.iso(TWO + 5)})], "k",
     [sc.Period(start=TWO, end=TWO + 60, key="k", is_open=True)]),
    # as earlier versions wrote it: without its times and its reason
    ([("anchored", TWO + 7.0, {"key": "k"}), ("rested", TWO + 8.0, {"was": "k"})], "",
     [sc.Period(start=TWO + 7, end=TWO + 8, key="k", ended_by="suspended")]),
])
def test_the_periods_of_a_task(events, key, periods):
    assert sc.periods_of(events, sc.TaskState(schedule_key=key), TWO + 60.0) == periods


@pytest.mark.parametrize("period, since_s, zone_s, slots", [
    ((0, 120, "* * * * * UTC"), 0, 0, [60, 120]), ((-1, 119, "* * * * * UTC"), -600, 0, [0, 60]),
    ((-600, 60, "* * * * * UTC"), 0, 0, [0, 60]), ((-600, 60, "* * * * * UTC"), 1, 0, [60]),
    # in the zone that the system had before, nothing is recomputed; a zone of its own stays
    ((-600, 60, "* * * * * "), 0, 0, [0, 60]), ((-600, 60, "* * * * * "), 0, 1, [60]),
    ((-600, 60, "* * * * * UTC"), 0, 1, [0, 60]),
    ((0, 120, "none"), 0, 0, []), ((0, 120, ""), 0, 0, []),
    ((-600, 60, "0 4 * * * Europe/Paris"), 0, 0, [0]),
])
def test_the_slots_of_a_period(period, since_s, zone_s, slots):
    start_s, end_s, key = period
    periods = [sc.Period(start=TWO + float(start_s), end=TWO + float(end_s), key=key)]
    zone_changed_at = TWO + zone_s if zone_s else 0
    found = list(sc.audit("a", periods, sc.Ledger([], sc.TaskState()), [], TWO + since_s, zone_changed_at))
    assert [(slot.task, slot.at - TWO, slot.fate, slot.reason) for slot in found] == [
        ("a", after, "unexplained", NO_RESULT) for after in slots]


@pytest.mark.parametrize("gaps, was_off", [
    ([], False), ([(-1, 60)], True), ([(0, 60)], False), ([(-1, 59)], False), ([(-900, -600), (-60, 300)], True)])
def test_a_slot_came_while_no_tick_ran(gaps, was_off):
    period = sc.Period(start=TWO - 1.0, end=TWO + 0.0, key="* * * * * UTC")
    times = [(TWO + low, TWO + high) for low, high in gaps]
    (slot,) = sc.audit("a", [period], sc.Ledger([], sc.TaskState()), times, 0.0, 0.0)
    assert slot.was_off is was_off


def event(kind, at_s=0, **more):
    return dict({"event": kind, "at": sc.iso(TWO + at_s)}, **more)


AUDITED = sc.Config(tasks={"a": sc.Task(name="a")}, invalid={"bad": "no command"})
MINUTELY = {"a": {"key": "* * * * * UTC", "since": sc.iso(TWO)}}


@pytest.mark.parametrize("name, last_tick_s, fate, reason", [
    ("a", None, "due", "no tick has run yet"), ("a", 60, "due", "no tick since 2025-06-03T02:01:00Z"),
    # three minutes after it, a tick must have looked
    ("a", 239, "due", "no tick since 2025-06-03T02:03:59Z"), ("a", 240, "unexplained", NO_RESULT),
    ("bad", 900, "due", "the task is invalid: no command"), ("gone", 900, "due", "no tick since 2025-06-03T02:15:00Z"),
])
def test_a_slot_without_a_verdict_is_due_until_a_tick_must_have_looked(name, last_tick_s, fate, reason):
    events = [event("anchored", tasks={name: MINUTELY["a"]})]
    last_tick = None if last_tick_s is None else TWO + float(last_tick_s)
    found = list(sc.audit_all(AUDITED, sc.State(), [], events, 0.0, TWO + 60.0, last_tick))
    assert [(slot.task, slot.at, slot.fate, slot.reason) for slot in found] == [(name, TWO + 60, fate, reason)]


def test_an_audit_is_of_every_task_that_is_known_or_of_one():
    state = sc.State(tasks={"b": sc.TaskState(schedule_key="* * * * * UTC")})
    events = [event("anchored", tasks=dict(MINUTELY, c=MINUTELY["a"]))]
    verdicts = [{"task": name, "scheduled_for": sc.iso(TWO + 60), "status": "success"} for name in "abc"]

    def audited(only=""):
        return [(slot.task, slot.fate) for slot in sc.audit_all(
            AUDITED, state, verdicts, events, TWO + 1.0, TWO + 60.0, None, only)]

    assert audited() == [("a", "success"), ("b", "success"), ("c", "success")]
    assert audited("b") == [("b", "success")]


def test_an_audit_knows_gaps_jumps_of_the_clock_and_new_zones():
    key = {"a": {"key": "* * * * * ", "since": sc.iso(TWO)}}
    events = [event("anchored", tasks=key), event("gap", 180, since=sc.iso(TWO + 30)),
              event("clock", 200, tasks={"a": {"since": sc.iso(TWO + 60), "was": sc.iso(TWO + 120)}}),
              event("rezoned", 59), event("rezoned", 30), event("begun", 500, pauses={})]
    verdicts = [{"task": "a", "scheduled_for": sc.iso(TWO + after), "status": status} for after, status in (
        (60, "failed"), (60, "success"), (120, "success"), (120, "failed"), (180, "failed"), (180, "success"))]
    found = list(sc.audit_all(AUDITED, sc.State(), verdicts, events, 0.0, TWO + 180.0, None))
    assert [(slot.at - TWO, slot.fate, slot.was_off) for slot in found] == [
        (60, "success", True), (120, "failed", True), (180, "double", False)]
    later = events + [event("rezoned", 61)]
    assert [slot.at - TWO for slot in sc.audit_all(
        AUDITED, sc.State(), verdicts, later, 0.0, TWO + 180.0, None)] == [120, 180]


# -- slots that were dropped, and pauses that were lost

NIGHTLY = sc.Task(name="a", schedule=sc.schedule_of("0 2 * * *", "a"), timezone="UTC")
KEY = NIGHTLY.schedule_key


def rest(since_s, reason="disabled", was=KEY, name="a"):
    return event("rested", since_s, tasks={name: {"reason": reason, "since": sc.iso(TWO + since_s), "was": was}})


def anchor(since_s):
    return event("anchored", since_s, tasks={"a": {"key": KEY, "since": sc.iso(TWO + since_s)}})


@pytest.mark.parametrize("events, fate", [
    ([], None), ([rest(-60)], ("skipped_disabled", "it was disabled at 2025-06-03T01:59:00Z")),
    ([rest(-60, "removed")], ("skipped_removed", "it was removed at 2025-06-03T01:59:00Z")),
    ([rest(-1)], ("skipped_disabled", "it was disabled at 2025-06-03T01:59:59Z")),
    ([rest(0)], None), ([rest(-60, was="0 9 * * * UTC")], None), ([rest(-60, name="b")], None),
    ([rest(-60), anchor(-30)], None), ([rest(-60), anchor(0)], ("skipped_disabled", "it was disabled at "
                                                                "2025-06-03T01:59:00Z")),
    ([rest(-90), anchor(-60), rest(-30, "paused")], ("skipped_paused", "it was paused at 2025-06-03T01:59:30Z")),
    ([rest(-60), event("gap", -30, since=sc.iso(TWO - 40))],
     ("skipped_disabled", "it was disabled at 2025-06-03T01:59:00Z")),
    ([rest(-60), event("clock", -30, tasks={"a": {"since": sc.iso(TWO - 40), "was": sc.iso(TWO)}})],
     ("skipped_disabled", "it was disabled at 2025-06-03T01:59:00Z")),
])
def test_why_a_slot_was_dropped(events, fate):
    slot = sc.dropped_slot(NIGHTLY, sc.State(), events, TWO + 600.0)
    expected = None if fate is None else sc.Slot(task="a", at=TWO, fate=fate[0], reason=fate[1])
    assert slot == expected


def test_a_slot_that_was_dropped_in_a_pause_names_it_and_no_other_reason():
    pauses = {"a": {"since": TWO - 60, "until": None, "reason": "moving"}}
    state = sc.State(pauses=pauses)
    paused = sc.dropped_slot(NIGHTLY, state, [rest(-60, "paused")], TWO + 600.0)
    assert paused.reason == "paused since 2025-06-03T01:59:00Z until resumed (moving)"
    assert sc.dropped_slot(NIGHTLY, state, [rest(-60)], TWO).reason == "it was disabled at 2025-06-03T01:59:00Z"
    assert sc.dropped_slot(sc.Task(name="a"), state, [rest(-60)], TWO) is None
    assert sc.dropped_slot(NIGHTLY.replace(schedule=sc.schedule_of("@reboot", "a")), state, [rest(-60)], TWO) is None


def pause(since_s, until_s=None, **more):
    return dict({"since": TWO + since_s, "until": None if until_s is None else TWO + until_s, "reason": ""}, **more)


@pytest.mark.parametrize("pauses, reason", [
    ({"a": pause(-60)}, "a"), ({"*": pause(-60)}, "*"), ({"b": pause(-60)}, None), ({}, None),
    ({"a": pause(0)}, None), ({"a": pause(-1)}, "a"), ({"a": pause(-60, 0)}, "a"), ({"a": pause(-60, -1)}, None)])
def test_the_pause_that_a_task_was_under(pauses, reason):
    named = {name: dict(each, reason=name) for name, each in pauses.items()}
    for state, events in ((sc.State(pauses=named), []), (sc.State(), [event("begun", pauses=named), event("gap")])):
        found = sc._pause_at("a", state, events, TWO)
        assert (found and found["reason"]) == reason


def test_of_a_pause_that_was_ended_early_the_end_counts():
    begun = event("begun", -90, pauses={"a": pause(-90)})
    state = sc.State(pauses={"a": pause(-90, -30)})
    assert sc._pause_at("a", state, [begun], TWO) is None


@pytest.mark.parametrize("events, lost", [
    ([event("paused", -90, pauses={"a": pause(-90)}), event("begun", 0, pauses={})], ["a"]),
    ([event("paused", -90, pauses={"a": pause(-90)}), event("begun", 0, pauses={"a": pause(-90)})], []),
    ([event("paused", -90, pauses={"a": pause(-90, 0)}), event("begun", 0, pauses={})], []),   # it was over
    ([event("paused", -90, pauses={"a": pause(-90, 1)}), event("begun", 0, pauses={})], ["a"]),
    ([event("paused", -90, pauses={"a": pause(-90)}), event("gap", 0)], []),
    ([event("paused", -90, pauses={"a": pause(-90)}), event("gap", -5), event("begun", 0, pauses={})], ["a"]),
    ([event("paused", -90, pauses={"a": pause(-90)}), event("begun", -1, pauses={})], []),    # too long ago
    ([event("paused", -90, pauses={"a": pause(-90)}), event("resumed", -60, pauses={}), event("begun", 0, pauses={})],
     []),
])
def test_pauses_that_went_with_a_state(events, lost):
    found = [dict(each, reason=each["reason"]) for each in sc.lost_pauses(events, TWO)]
    assert found == [{"task": name, "at": "2025-06-03T02:00:00Z", "reason": ""} for name in lost]


# -- what only a rare history shows

@pytest.mark.parametrize("zone, day, is_shifted", [
    ("Europe/Paris", "2025-03-30", True), ("Europe/Paris", "2025-03-31", False), ("UTC", "2025-03-30", False)])
def test_a_slot_that_stands_for_skipped_times_is_told_in_the_zone_of_its_task(zone, day, is_shifted):
    start = at(day + "T00:00:00Z")
    period = sc.Period(start=start, end=start + 3.0 * HOUR, key="30 2 * * * " + zone)
    (slot,) = sc.audit("a", [period], sc.Ledger([], sc.TaskState()), [], 0.0, 0.0)
    assert slot.shifted is is_shifted


def test_an_audit_knows_where_a_gap_and_a_jump_of_the_clock_begin():
    """What lies before the gap came with a tick, and what lies before the jump has one result."""
    events = [event("anchored", tasks=MINUTELY), event("gap", 300, since=sc.iso(TWO + 90)),
              event("clock", 300, tasks={"a": {"since": sc.iso(TWO + 90), "was": sc.iso(TWO + 120)}})]
    verdicts = [{"task": "a", "scheduled_for": sc.iso(TWO + after), "status": "success"}
                for after in (60, 60, 120, 120)]
    found = list(sc.audit_all(AUDITED, sc.State(), verdicts, events, 0.0, TWO + 120.0, None))
    assert [(slot.at - TWO, slot.fate, slot.was_off) for slot in found] == [
        (60, "double", False), (120, "success", True)]
