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
