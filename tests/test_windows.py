"""not_on, only_between and lists of expressions, held minute by minute against a model of their own.

The model knows nothing of the planner: it looks at each minute of the zone's clocks by itself. The
planner decides only when a tick would not be idle, so that its wake-up times are tested as well.
"""

import datetime
import random

import pytest
from stories import World, at, task

import symphony_conductor as sc

zoneinfo = pytest.importorskip("zoneinfo")

DAYS = 6
MINUTES = DAYS * 1440
STRETCHES = (
    ("UTC", "2025-06-02T10:00:00Z"), ("Europe/Paris", "2025-03-27T12:00:00Z"),
    ("Europe/Paris", "2025-10-23T12:00:00Z"), ("America/New_York", "2025-12-29T03:00:00Z"),
    ("America/Santiago", "2025-09-03T12:00:00Z"), ("America/Santiago", "2025-04-02T12:00:00Z"),
    ("Australia/Lord_Howe", "2025-04-03T12:00:00Z"), ("Asia/Beirut", "2025-03-27T12:00:00Z"),
)
SCHEDULES = ("0 2 * * *", "30 2 * * *", "0 */3 * * *", "15 8-18/2 * * *", "*/20 22-23 * * *",
             "0 0 * * *", "45 23 * * 1-5", "0 12 * * 6", "*/7 1-3 * * *", "5 6,18 * * *")
WINDOWS = ("22:00-06:00", "02:15-02:45", "08:00-12:00", "23:30-00:30", "01:00-05:00, 13:00-14:00",
           "00:00-03:00", "18:00-24:00", "12:00-13:00,23:00-01:30")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_CLOCKS = {}


def clocks(zone, start):
    """[(date, minute of the day)] that a zone shows in each minute from a start on."""
    if (zone, start) not in _CLOCKS:
        place = zoneinfo.ZoneInfo(zone)
        shown = [datetime.datetime.fromtimestamp(at(start) + minute * 60, place)
                 for minute in range(MINUTES)]
        _CLOCKS[zone, start] = [(each.date(), each.hour * 60 + each.minute) for each in shown]
    return _CLOCKS[zone, start]


def is_off(date, entries):
    for entry in entries:
        if entry in WEEKDAYS:
            if WEEKDAYS[date.weekday()] == entry:
                return True
            continue
        first, _, last = entry.partition("..")
        last = last or first
        shown = date.isoformat()[-len(first):]
        if first <= shown <= last or first > last and (shown >= first or shown <= last):
            return True
    return False


def is_open(minute, window):
    for part in (window or "00:00-24:00").split(","):
        first, last = [int(text[:2]) * 60 + int(text[3:]) for text in part.strip().split("-")]
        if first <= minute < last or first > last and (minute >= first or minute < last):
            return True
    return False


class Case:
    """A task, its runs and the times without a tick, all from one seed."""

    def __init__(self, seed):
        rng = self.rng = random.Random(seed)
        self.zone, self.start = rng.choice(STRETCHES)
        self.clocks = clocks(self.zone, self.start)
        dates = [date for date, minute in self.clocks[::1440]]
        self.schedules = rng.sample(SCHEDULES, rng.randint(1, 3))
        first, last = sorted(rng.sample(dates, 2))
        entries = [rng.choice(WEEKDAYS), rng.choice(WEEKDAYS), rng.choice(dates).isoformat(),
                   rng.choice(dates).isoformat()[5:],
                   "%s..%s" % (first.isoformat(), last.isoformat()),
                   "%s..%s" % (first.isoformat()[5:], last.isoformat()[5:])]
        self.not_on = rng.sample(entries, rng.randint(0, 3))
        self.window = rng.choice(WINDOWS + (None,) * 4)
        self.deadline = rng.choice([None, None, 600, 4 * 3600])
        self.overlap = rng.choice(["skip", "queue"])
        self.retries, self.delay = rng.choice([(0, 60), (1, 600), (2, 7200)])
        self.gaps = []
        for _ in range(rng.randint(0, 3)):
            begin = rng.randrange(1, MINUTES)
            self.gaps.append((begin, begin + rng.choice([3, 50, 700, 4000])))
        self.takes = rng.choice([1, 10, 200])
        self.failing = rng.choice([0, 0, 0.4])
        more = {"only_between": self.window} if self.window else {}
        if self.not_on:
            more["not_on"] = self.not_on
        self.task = task(
            "a", self.schedules, timezone=self.zone, start_deadline=self.deadline,
            overlap=self.overlap, retry_count=self.retries, retry_delay=self.delay, **more)
        begin = at(self.start)
        self.slots = set()
        for text in self.schedules:
            expression, slot = sc.CronSchedule(text), begin
            while slot is not None and slot < begin + MINUTES * 60:
                self.slots.add((slot - begin) // 60)
                slot = expression.next(slot, self.zone)
        self.slots.discard(0)

    def ticks(self, minute):
        return not any(low <= minute < high for low, high in self.gaps)

    def is_success(self, slot, attempt):
        return random.Random("%s %s" % (slot, attempt)).random() >= self.failing


class Model:
    """What is to become of the slots of a case, in minutes since its start."""

    def __init__(self, case):
        self.case = case
        self.starts, self.verdicts = [], []
        self.cycle = self.queued = self.run_end = None  # cycle: [slot, attempt, ready at, merged]
        cursor = 0
        for minute in range(1, MINUTES):
            if case.ticks(minute):
                self.end_run(minute)
                self.open_queued(minute)
                self.open_due([slot for slot in range(cursor + 1, minute + 1)
                               if slot in case.slots], minute)
                self.start(minute)
                cursor = minute

    def say(self, status, slot, merged=None):
        self.verdicts.append((status, slot, merged))

    def late(self, slot, minute):
        return self.case.deadline is not None and (minute - slot) * 60 > self.case.deadline

    def end_run(self, minute):
        if self.run_end is None or self.run_end > minute:
            return
        slot, attempt, _, merged = self.cycle
        if self.case.is_success(slot, attempt):
            self.say("success", slot, merged)
            self.cycle = None
        elif attempt > self.case.retries:
            self.say("failed", slot, merged)
            self.cycle = None
        else:
            self.cycle = [slot, attempt + 1, self.run_end + self.case.delay // 60, merged]
        self.run_end = None

    def open_queued(self, minute):
        if self.queued is not None and self.cycle is None:
            slot, merged = self.queued
            self.cycle, self.queued = [slot, 1, minute, merged], None

    def open_due(self, due, minute):
        runs = [slot for slot in due if not is_off(self.case.clocks[slot][0], self.case.not_on)]
        low, high = (runs[0], runs[-1]) if runs else (MINUTES, MINUTES)
        self.skip_off([slot for slot in due if slot < low])
        if runs:
            self.open_slot(high, low if low < high else None, minute)
        self.skip_off([slot for slot in due if slot > high])

    def skip_off(self, slots):
        if slots:
            self.say("skipped_not_on", slots[-1], slots[0] if len(slots) > 1 else None)

    def open_slot(self, slot, merged, minute):
        if self.late(slot, minute):
            if self.queued is not None:
                self.say("skipped_late", *self.queued)
                self.queued = None
            self.say("skipped_late", slot, merged)
        elif self.cycle is None:
            self.cycle = [slot, 1, minute, merged]
        elif self.case.overlap == "queue":
            if self.queued is not None:
                merged = self.queued[1] or self.queued[0]
            self.queued = (slot, merged)
        else:
            self.say("skipped_overlap", slot, merged)

    def start(self, minute):
        if self.cycle is None or self.run_end is not None:
            return
        slot, attempt, ready, merged = self.cycle
        if attempt == 1 and self.late(slot, minute):
            self.say("skipped_late", slot, merged)
            self.cycle = None
        elif minute >= ready and is_open(self.case.clocks[minute][1], self.case.window):
            self.starts.append((minute, slot, attempt))
            self.run_end = minute + self.case.takes


def planned(case, every_minute):
    """(starts, verdicts, the world) of the planner."""
    world, begin = World(case.task), at(case.start)
    starts, verdicts, ends = [], [], None
    world.tick(begin)
    for minute in range(1, MINUTES):
        now = begin + minute * 60
        if not case.ticks(minute) or now < world.decision.wake_at and not every_minute:
            continue
        if ends is not None and ends[0] <= minute:
            end, status = ends
            world.ended["a"] = {"status": status, "exit_code": int(status != "success"),
                                "ended_at": float(begin + end * 60)}
            ends = None
        world.tick(now)
        for _, run in world.decision.starts:
            slot = (run.slot - begin) // 60
            starts.append((minute, slot, run.attempt))
            status = "success" if case.is_success(slot, run.attempt) else "failed"
            ends = minute + case.takes, status
    for verdict in world.verdicts:
        slot, merged = [text and (at(text) - begin) // 60 for text in (
            verdict["scheduled_for"], verdict.get("merged_since"))]
        verdicts.append((verdict["status"], slot, merged))
    return starts, verdicts, world


@pytest.mark.parametrize("block", range(14))
def test_the_planner_does_what_a_model_does_minute_by_minute(block):
    for seed in range(block * 15, block * 15 + 15):
        case = Case(seed)
        model = Model(case)
        starts, verdicts, _ = planned(case, every_minute=seed % 70 == 0)
        assert starts == model.starts, (seed, case.task)
        assert verdicts == model.verdicts, (seed, case.task)
