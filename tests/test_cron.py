"""Schedules: the slots before and after an instant, what is refused and how, and the words for them."""

import bisect
import calendar
import datetime
import os
import pathlib
import random
import struct
import subprocess
import sys
import time

import pytest
from recorded import CASE_IDS, CASES, DEBIAN_CASES, EPOCH, at, ids_of, utc

import symphony_conductor as sc

try:
    import zoneinfo
except ImportError:
    zoneinfo = None

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def slots_after(expression, zone, after, count):
    schedule = sc.CronSchedule(expression)
    slots = []
    for _ in range(count):
        after = schedule.next(after, zone)
        slots.append(after)
    return slots


def slots_before(expression, zone, before, count):
    """Newest first, at or before `before`."""
    schedule = sc.CronSchedule(expression)
    slots = []
    for _ in range(count):
        slots.append(schedule.previous(before, zone))
        before = slots[-1] - 1
    return slots


def assert_slots(expression, zone, after, expected):
    slots = [at(text) for text in expected]
    assert utc(slots_after(expression, zone, at(after), len(slots))) == utc(slots)
    assert utc(slots_before(expression, zone, slots[-1] + 59, len(slots))) == utc(slots[::-1])


# The recorded cases.

@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_next_gives_the_recorded_slots(case):
    expected = [at(text) for text in case["next"]]
    assert utc(slots_after(case["expression"], case["zone"], at(case["after"]), len(expected))) == utc(expected)


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_previous_mirrors_next_on_the_recorded_slots(case):
    schedule, zone = sc.CronSchedule(case["expression"]), case["zone"]
    slots = [at(text) for text in case["next"]]
    for slot in slots:
        assert schedule.previous(slot, zone) == slot
        assert schedule.previous(slot + 59, zone) == slot
        before = schedule.previous(slot - 1, zone)
        assert before < slot
        assert schedule.next(before, zone) == slot
    for slot, following in zip(slots, slots[1:]):
        assert schedule.previous(following - 1, zone) == slot


# What Debian's own cron started around changes of the clock. Neither bound belongs to the record.

@pytest.mark.parametrize("case", DEBIAN_CASES, ids=ids_of(DEBIAN_CASES))
def test_next_and_previous_give_the_slots_of_debian_cron(case):
    schedule, zone = sc.CronSchedule(case["expression"]), case["zone"]
    ahead = []
    slot = schedule.next(case["after"], zone)
    while slot is not None and slot < case["until"]:
        ahead.append(slot)
        slot = schedule.next(slot, zone)
    assert utc(ahead) == utc(case["slots"])
    back = []
    slot = schedule.previous(case["until"] - 1, zone)
    while slot is not None and slot > case["after"]:
        back.append(slot)
        slot = schedule.previous(slot - 1, zone)
    assert utc(back[::-1]) == utc(case["slots"])


def test_recorded_slots_are_complete():
    assert (len(CASES), len(DEBIAN_CASES)) == (564, 600)
    assert sum(len(case["slots"]) for case in DEBIAN_CASES) == 9332


# A second opinion: every minute of some days, one at a time. It shares nothing with the product:
# names, limits and rules are those of crontab(5) and the README. It asks of one number at a time.

MONTH_WORDS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAY_WORDS = "sun mon tue wed thu fri sat".split()
MONTHS_IN_FULL = "january february march april may june july august september october november december".split()
DAYS_IN_FULL = "sunday monday tuesday wednesday thursday friday saturday".split()
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
MINUTE, HOUR, DOM, MONTH, DOW = range(5)


def number_of(word, place):
    if word.isdigit():
        return int(word)
    short, full, first = (MONTH_WORDS, MONTHS_IN_FULL, 1) if place == MONTH else (DAY_WORDS, DAYS_IN_FULL, 0)
    word = word.lower()
    return (full.index(word) if word in full else short.index(word)) + first


def item_takes(item, place, number):
    """Whether one entry of a list takes a number; 0 and 7 are two numbers here."""
    span, slash, step = item.partition("/")
    if span == "*":
        first, last = LIMITS[place]
    elif "-" in span:
        first, last = [number_of(word, place) for word in span.split("-")]
        if first > last:
            size = 7 if place == DOW else LIMITS[place][1] - LIMITS[place][0] + 1
            ahead = (number - first) % size
            return ahead <= (last - first) % size and ahead % int(step or "1") == 0
    else:
        first = last = number_of(span, place)
        if slash and not (place == DOW and first == 7):
            last = 6 if place == DOW else LIMITS[place][1]
    return first <= number <= last and (number - first) % int(step or "1") == 0


def is_day_rule(item, place):
    """L, L-3, 15W, LW, 5L and 1#2, which are no numbers."""
    if place == DOM:
        return item[0] in "lL" or item[-1] in "wW"
    return place == DOW and ("#" in item or item[-1] in "lL")


def rule_day(item, date, length):
    """The day of a date's month that L, L-3, 15W and the like name; None where it lacks that day."""
    name = item.rstrip("W")
    day = length + int(name[1:] or "0") if name.startswith("L") else int(name)
    if not 1 <= day <= length or name == item:
        return day if 1 <= day <= length else None
    working_days = [other for other in range(1, length + 1) if calendar.weekday(date.year, date.month, other) < 5]
    return min(working_days, key=lambda other: abs(other - day))


class SlowCron:
    """Finds slots by asking of every single minute whether it matches."""

    def __init__(self, expression):
        self.texts = expression.replace("?", "*").split()
        self.minutes, self.hours, self.doms, self.months, self.dows = [
            self.numbers(text, place) for place, text in enumerate(self.texts)]
        self.elapsed = self.texts[MINUTE][0] == "*" or self.texts[HOUR][0] == "*"

    @staticmethod
    def numbers(text, place):
        items = [item for item in text.split(",") if not is_day_rule(item, place)]
        low, high = LIMITS[place]
        found = {number for number in range(low, high + 1)
                 if any(item_takes(item, place, number) for item in items)}
        return {number % 7 for number in found} if place == DOW else found

    def is_refused(self):
        """Whether a step is larger than its field and none of those that cron's users rely on."""
        for place, longest in ((MINUTE, 59), (HOUR, 23), (DOM, 31), (MONTH, 12)):
            items = self.texts[place].split(",")
            for index, item in enumerate(items):
                allowed = (place, item) in ((MINUTE, "*/60"), (HOUR, "*/24"))
                if place == DOM and index == 0 and len(items) > 1:
                    allowed = item.startswith("*")
                if "/" in item and int(item.split("/")[1]) > longest and not allowed:
                    return True
        return False

    def day_matches(self, date):
        if date.month not in self.months:
            return False
        length = calendar.monthrange(date.year, date.month)[1]
        dom = date.day in self.doms or any(
            date.day == rule_day(item.upper(), date, length)
            for item in self.texts[DOM].split(",") if is_day_rule(item, DOM))
        weekday = date.isoweekday() % 7
        dow = weekday in self.dows
        for item in self.texts[DOW].upper().split(","):
            if "#" in item:
                name, nth = item.split("#")
                dow = dow or number_of(name, DOW) % 7 == weekday and (date.day + 6) // 7 == int(nth)
            elif item[-1] == "L":
                dow = dow or number_of(item[:-1], DOW) % 7 == weekday and date.day + 7 > length
        if self.texts[DOM][0] == "*" or self.texts[DOW][0] == "*":
            return dom and dow
        return dom or dow

    def slots(self, first, walls):
        """The slots of a window; `walls` holds the local time of each of its minutes, as minutes since 1970."""
        times = {hour * 60 + minute for hour in self.hours for minute in self.minutes}
        days = {}
        for wall in {wall + shift for wall in (walls[0], walls[-1]) for shift in range(-4 * 1440, 4 * 1440, 1440)}:
            days[wall // 1440] = self.day_matches((EPOCH + datetime.timedelta(wall // 1440)).date())
        found, newest = [], walls[0] - 1
        for index, wall in enumerate(walls):
            to_meet = (wall,) if self.elapsed else range(newest + 1, wall + 1)
            if any(each % 1440 in times and days[each // 1440] for each in to_meet):
                found.append(first + index * 60)
            newest = max(newest, wall)
        return found


def local_minutes(zone, first, count):
    """What the clocks of the zone show in each of `count` minutes, as minutes since 1970."""
    instants = range(first, first + count * 60, 60)
    if zoneinfo is not None:
        place = zoneinfo.ZoneInfo(zone)
        shown = [datetime.datetime.fromtimestamp(instant, place).timetuple() for instant in instants]
    else:
        saved = os.environ.get("TZ")
        os.environ["TZ"] = zone
        time.tzset()
        try:
            shown = [time.localtime(instant) for instant in instants]
        finally:
            if saved is None:
                del os.environ["TZ"]
            else:
                os.environ["TZ"] = saved
            time.tzset()
    return [calendar.timegm(fields) // 60 for fields in shown]


def random_item(rng, low, high, names):
    def show(number):
        if number - low < len(names) and rng.random() < 0.3:
            name = names[number - low]
            if rng.random() < 0.2:
                name = (sc.MONTHS if len(names) == 12 else sc.WEEKDAYS)[number - low]
            return rng.choice([str.upper, str.lower, str.title])(name)
        return str(number)

    def step(most):
        if rng.random() < 0.04:
            return rng.choice([7, 8, 24, 36, 60, 90, 100])
        return rng.randint(1, most)

    first = rng.randint(low, high)
    last = rng.randint(first, high)
    return rng.choice([
        lambda: show(first),
        lambda: show(first),
        lambda: "%s-%s" % (show(first), show(last)),
        lambda: "%s-%s/%d" % (show(first), show(last), step(9)),
        lambda: "%s-%s/%d" % (show(last), show(first), step(9)),
        lambda: "%s-%s/%d" % (show(first), show(first), step(9)),
        lambda: "%s/%d" % (show(first), step(max(2, high // 2))),
    ])()


def random_list(rng, low, high, names=()):
    return ",".join(random_item(rng, low, high, names) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def random_expression(rng):
    def star(most, large):
        if rng.random() < 0.1:
            return large
        return "*" if rng.random() < 0.5 else "*/%d" % rng.randint(1, most)

    minute = star(30, "*/60") if rng.random() < 0.3 else random_list(rng, 0, 59)
    hour = star(12, "*/24") if rng.random() < 0.3 else random_list(rng, 0, rng.choice([3, 3, 23]))
    dom = rng.choice(["*", "*", "?", "L-%d" % rng.randint(1, 30), "%dW" % rng.randint(1, 31),
                      "%dw,L-%dW,3" % (rng.randint(1, 31), rng.randint(1, 30)), star(15, "*/100,1-7"),
                      random_list(rng, 1, 31), "L", "LW", "l",
                      "lw", "1,L", "LW,15-20", "*/32," + random_list(rng, 1, 31)])
    month = rng.choice(["*", "*", "*", star(6, "*/12"), random_list(rng, 1, 12, MONTH_WORDS)])
    dow = rng.choice(["*", "*", "?", star(3, "*/7"), random_list(rng, 0, 7, DAY_WORDS),
                      "%s%s" % (rng.choice("01234567"), rng.choice("Ll")), "friL", "SunL",
                      "%d#%d" % (rng.randint(0, 7), rng.randint(1, 5)), "sun#1,mon#2,2", "5,0L"])
    return " ".join([minute, hour, dom, month, dow])


WINDOWS = [
    ("Europe/Paris", "2024-03-28 00:00Z"),
    ("Europe/Paris", "2024-03-22 00:00Z"),
    ("Europe/Paris", "2024-10-25 00:00Z"),
    ("America/New_York", "2024-03-08 00:00Z"),
    ("America/New_York", "2024-10-31 12:00Z"),
    ("Australia/Lord_Howe", "2024-04-04 00:00Z"),
    ("Australia/Lord_Howe", "2024-10-03 00:00Z"),
    ("Africa/Casablanca", "2024-03-08 00:00Z"),
    ("Africa/Casablanca", "2024-04-12 00:00Z"),
    ("Asia/Kolkata", "2024-02-27 00:00Z"),
    ("UTC", "2023-12-29 00:00Z"),
]
WINDOW_MINUTES = 5 * 1440


@pytest.mark.parametrize("zone, start", WINDOWS)
def test_random_schedules_have_the_slots_that_every_minute_shows(zone, start):
    rng = random.Random("%s %s" % (zone, start))
    first = at(start)
    walls = local_minutes(zone, first, WINDOW_MINUTES)
    changes = [first + index * 60 for index in range(1, len(walls)) if walls[index] - walls[index - 1] != 1]
    compared = 0
    for _ in range(120):
        expression = random_expression(rng)
        slow = SlowCron(expression)
        slots = slow.slots(first, walls)
        try:
            schedule = sc.CronSchedule(expression)
        except sc.CronSyntaxError as error:
            assert slow.is_refused() == ("step larger than the field" in str(error)), expression
            assert slow.is_refused() or "never fires" in str(error) and slots == [], expression
            continue
        assert not slow.is_refused(), expression
        instants = [first + rng.randrange(WINDOW_MINUTES * 60) for _ in range(10)]
        instants += [change + rng.randint(-7200, 7200) for change in changes for _ in range(15)]
        instants += [slot + shift for slot in rng.sample(slots, min(5, len(slots))) for shift in (-1, 0, 59)]
        for instant in instants:
            index = bisect.bisect_right(slots, instant)
            if index < len(slots):
                assert utc([schedule.next(instant, zone)]) == utc([slots[index]]), (expression, utc([instant]))
                compared += 1
            elif instant < first + WINDOW_MINUTES * 60:
                following = schedule.next(instant, zone)
                assert following is None or following >= first + WINDOW_MINUTES * 60, (expression, utc([instant]))
            if index:
                assert utc([schedule.previous(instant, zone)]) == utc([slots[index - 1]]), (expression, utc([instant]))
            else:
                assert schedule.previous(instant, zone) < first, (expression, utc([instant]))
        assert utc(slots_after(expression, zone, first - 1, min(60, len(slots)))) == utc(slots[:60]), expression
    assert compared > 500


# Changes of the clock, by hand.

@pytest.mark.parametrize("expression, zone, after, expected", [
    ("30 2 * * *", "Europe/Paris", "2024-03-30 00:00 +0100",
     ["2024-03-30 02:30 +0100", "2024-03-31 03:00 +0200", "2024-04-01 02:30 +0200"]),
    ("0 2 * * *", "Europe/Paris", "2024-03-30 12:00 +0100", ["2024-03-31 03:00 +0200", "2024-04-01 02:00 +0200"]),
    ("59 2 * * *", "Europe/Paris", "2024-03-30 12:00 +0100", ["2024-03-31 03:00 +0200", "2024-04-01 02:59 +0200"]),
    ("0 3 * * *", "Europe/Paris", "2024-03-30 12:00 +0100", ["2024-03-31 03:00 +0200", "2024-04-01 03:00 +0200"]),
    ("0,15,30,45 2 * * *", "Europe/Paris", "2024-03-30 12:00 +0100",
     ["2024-03-31 03:00 +0200", "2024-04-01 02:00 +0200", "2024-04-01 02:15 +0200"]),
    ("0 2,3 * * *", "Europe/Paris", "2024-03-30 12:00 +0100",
     ["2024-03-31 03:00 +0200", "2024-04-01 02:00 +0200", "2024-04-01 03:00 +0200"]),
    ("30 1,2,3 * * *", "Europe/Paris", "2024-03-30 12:00 +0100",
     ["2024-03-31 01:30 +0100", "2024-03-31 03:00 +0200", "2024-03-31 03:30 +0200", "2024-04-01 01:30 +0200"]),
    ("30 2 * * 0", "Europe/Paris", "2024-03-25 00:00 +0100", ["2024-03-31 03:00 +0200", "2024-04-07 02:30 +0200"]),
    ("30 2 31 3 *", "Europe/Paris", "2023-12-31 00:00 +0100", ["2024-03-31 03:00 +0200", "2025-03-31 02:30 +0200"]),
    ("30 1 * * *", "America/New_York", "2024-03-09 12:00 -0500",
     ["2024-03-10 01:30 -0500", "2024-03-11 01:30 -0400"]),
    ("30 2 * * *", "America/New_York", "2024-03-09 12:00 -0500",
     ["2024-03-10 03:00 -0400", "2024-03-11 02:30 -0400"]),
    ("0 3 * * *", "America/New_York", "2024-03-09 12:00 -0500",
     ["2024-03-10 03:00 -0400", "2024-03-11 03:00 -0400"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2024-10-05 12:00 +1030",
     ["2024-10-06 02:30 +1100", "2024-10-07 02:15 +1100"]),
    ("45 2 * * *", "Australia/Lord_Howe", "2024-10-05 12:00 +1030",
     ["2024-10-06 02:45 +1100", "2024-10-07 02:45 +1100"]),
])
def test_fixed_slot_in_the_skipped_hour_starts_right_after_the_gap(expression, zone, after, expected):
    assert_slots(expression, zone, after, expected)


@pytest.mark.parametrize("expression, zone, after, expected", [
    ("30 2 * * *", "Europe/Paris", "2024-10-26 12:00 +0200",
     ["2024-10-27 02:30 +0200", "2024-10-28 02:30 +0100"]),
    ("30 2 * * *", "Europe/Paris", "2024-10-27 02:10 +0100", ["2024-10-28 02:30 +0100"]),
    ("0 2 * * *", "Europe/Paris", "2024-10-26 12:00 +0200", ["2024-10-27 02:00 +0200", "2024-10-28 02:00 +0100"]),
    ("0 3 * * *", "Europe/Paris", "2024-10-26 12:00 +0200", ["2024-10-27 03:00 +0100", "2024-10-28 03:00 +0100"]),
    ("0,20,40 2 * * *", "Europe/Paris", "2024-10-26 12:00 +0200",
     ["2024-10-27 02:00 +0200", "2024-10-27 02:20 +0200", "2024-10-27 02:40 +0200", "2024-10-28 02:00 +0100"]),
    ("30 1 * * *", "America/New_York", "2024-11-02 12:00 -0400",
     ["2024-11-03 01:30 -0400", "2024-11-04 01:30 -0500"]),
    ("0 2 * * *", "America/New_York", "2024-11-02 12:00 -0400",
     ["2024-11-03 02:00 -0500", "2024-11-04 02:00 -0500"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2024-04-06 12:00 +1100",
     ["2024-04-07 01:45 +1100", "2024-04-08 01:45 +1030"]),
])
def test_fixed_slot_in_the_repeated_hour_starts_at_its_first_occurrence_only(expression, zone, after, expected):
    assert_slots(expression, zone, after, expected)


@pytest.mark.parametrize("expression, zone, instant, expected", [
    ("30 2 * * *", "Europe/Paris", "2024-10-27 02:10 +0100", "2024-10-27 02:30 +0200"),
    ("30 2 * * 0", "Europe/Paris", "2024-10-27 02:10 +0100", "2024-10-27 02:30 +0200"),
    ("30 2 27 10 *", "Europe/Paris", "2024-10-27 02:10 +0100", "2024-10-27 02:30 +0200"),
    ("30 2 27 10 *", "Europe/Paris", "2024-10-27 02:50 +0100", "2024-10-27 02:30 +0200"),
    ("30 2 27 10 *", "Europe/Paris", "2024-10-27 02:20 +0200", "2023-10-27 02:30 +0200"),
    ("30 1 * * 0", "America/New_York", "2024-11-03 01:00 -0500", "2024-11-03 01:30 -0400"),
    ("55 1 7 * *", "Australia/Lord_Howe", "2024-04-07 01:30 +1030", "2024-04-07 01:55 +1100"),
])
def test_fixed_slot_of_the_first_occurrence_is_the_newest_one_during_the_second(expression, zone, instant, expected):
    assert utc([sc.CronSchedule(expression).previous(at(instant), zone)]) == utc([at(expected)])


@pytest.mark.parametrize("expression, zone, after, expected", [
    ("*/15 2 * * *", "Europe/Paris", "2024-03-30 02:40 +0100",
     ["2024-03-30 02:45 +0100", "2024-04-01 02:00 +0200", "2024-04-01 02:15 +0200"]),
    ("*/30 2 * * *", "Europe/Paris", "2024-10-26 12:00 +0200",
     ["2024-10-27 02:00 +0200", "2024-10-27 02:30 +0200", "2024-10-27 02:00 +0100", "2024-10-27 02:30 +0100",
      "2024-10-28 02:00 +0100"]),
    ("0 * * * *", "Europe/Paris", "2024-03-31 00:30 +0100",
     ["2024-03-31 01:00 +0100", "2024-03-31 03:00 +0200", "2024-03-31 04:00 +0200"]),
    ("30 * * * *", "Europe/Paris", "2024-03-31 00:40 +0100", ["2024-03-31 01:30 +0100", "2024-03-31 03:30 +0200"]),
    ("0 * * * *", "Europe/Paris", "2024-10-27 01:30 +0200",
     ["2024-10-27 02:00 +0200", "2024-10-27 02:00 +0100", "2024-10-27 03:00 +0100"]),
    ("0 */2 * * *", "Europe/Paris", "2024-03-31 00:00 +0100", ["2024-03-31 04:00 +0200", "2024-03-31 06:00 +0200"]),
    ("*/30 1 * * *", "America/New_York", "2024-11-02 12:00 -0400",
     ["2024-11-03 01:00 -0400", "2024-11-03 01:30 -0400", "2024-11-03 01:00 -0500", "2024-11-03 01:30 -0500",
      "2024-11-04 01:00 -0500"]),
    ("*/30 2 * * 0", "Europe/Paris", "2024-10-27 02:45 +0200",
     ["2024-10-27 02:00 +0100", "2024-10-27 02:30 +0100", "2024-11-03 02:00 +0100"]),
    ("*/20 2 * * *", "America/New_York", "2024-03-09 02:50 -0500", ["2024-03-11 02:00 -0400"]),
    ("0 * * * *", "America/New_York", "2024-03-10 00:30 -0500",
     ["2024-03-10 01:00 -0500", "2024-03-10 03:00 -0400", "2024-03-10 04:00 -0400"]),
    ("45 * * * *", "Australia/Lord_Howe", "2024-04-07 01:00 +1100",
     ["2024-04-07 01:45 +1100", "2024-04-07 01:45 +1030", "2024-04-07 02:45 +1030"]),
])
def test_wildcard_schedule_follows_elapsed_time(expression, zone, after, expected):
    assert_slots(expression, zone, after, expected)


@pytest.mark.parametrize("expression, zone, after, expected", [
    ("0 0 * * *", "America/Havana", "2024-03-09 12:00 -0500",
     ["2024-03-10 01:00 -0400", "2024-03-11 00:00 -0400"]),
    ("30 0 10 3 *", "America/Havana", "2024-01-01 12:00 -0500",
     ["2024-03-10 01:00 -0400", "2025-03-10 00:30 -0400"]),
    ("0 0 * * *", "Asia/Beirut", "2024-03-30 12:00 +0200", ["2024-03-31 01:00 +0300", "2024-04-01 00:00 +0300"]),
    ("0 0 * * 0", "Asia/Beirut", "2024-03-30 12:00 +0200", ["2024-03-31 01:00 +0300", "2024-04-07 00:00 +0300"]),
    ("0 0 * * *", "America/Havana", "2024-11-02 12:00 -0400", ["2024-11-03 00:00 -0400", "2024-11-04 00:00 -0500"]),
])
def test_midnight_that_a_zone_skips_or_repeats_starts_once(expression, zone, after, expected):
    assert_slots(expression, zone, after, expected)


@pytest.mark.parametrize("expression, after, expected", [
    ("0 12 * * *", "2011-12-29 11:00 -1000",
     ["2011-12-29 12:00 -1000", "2011-12-31 00:00 +1400", "2011-12-31 12:00 +1400"]),
    ("0 12 * * 5", "2011-12-24 00:00 -1000", ["2011-12-31 00:00 +1400", "2012-01-06 12:00 +1400"]),
    ("0 12 * * 4", "2011-12-24 00:00 -1000", ["2011-12-29 12:00 -1000", "2012-01-05 12:00 +1400"]),
    ("0 * * * *", "2011-12-29 22:30 -1000", ["2011-12-29 23:00 -1000", "2011-12-31 00:00 +1400"]),
    ("* 12 30 12 *", "2011-12-01 00:00 -1000", ["2012-12-30 12:00 +1400"]),
])
def test_day_that_apia_skipped_is_made_up_for_by_fixed_slots_only(expression, after, expected):
    assert_slots(expression, "Pacific/Apia", after, expected)


# Days.

@pytest.mark.parametrize("expression, after, expected", [
    ("0 0 29 2 *", "2096-03-01 00:00Z", ["2104-02-29 00:00Z", "2108-02-29 00:00Z"]),
    ("0 0 29 2 *", "2024-01-01 00:00Z", ["2024-02-29 00:00Z", "2028-02-29 00:00Z"]),
    ("0 0 31 * *", "2024-01-31 00:00Z", ["2024-03-31 00:00Z", "2024-05-31 00:00Z", "2024-07-31 00:00Z"]),
    ("0 0 29 2 */6", "2024-03-01 00:00Z", ["2032-02-29 00:00Z", "2048-02-29 00:00Z", "2060-02-29 00:00Z"]),
    ("0 0 * 2 1#5", "2024-01-01 00:00Z", ["2044-02-29 00:00Z", "2072-02-29 00:00Z", "2112-02-29 00:00Z"]),
    ("59 23 31 12 *", "2024-12-31 23:59Z", ["2025-12-31 23:59Z", "2026-12-31 23:59Z"]),
])
def test_rare_day_is_found_however_far_away(expression, after, expected):
    assert_slots(expression, "UTC", after, expected)


@pytest.mark.parametrize("expression, expected", [
    ("0 0 13 * 5", ["2024-09-06", "2024-09-13", "2024-09-20", "2024-09-27", "2024-10-04", "2024-10-11", "2024-10-13"]),
    ("0 0 */2 * 1", ["2024-09-09", "2024-09-23", "2024-10-07"]),
    ("0 0 1-31 * 1", ["2024-09-01", "2024-09-02", "2024-09-03"]),
    ("0 0 * * 1", ["2024-09-02", "2024-09-09", "2024-09-16"]),
    ("0 0 1 * */2", ["2024-09-01", "2024-10-01", "2024-12-01"]),
    ("0 0 L * *", ["2024-09-30", "2024-10-31", "2024-11-30", "2024-12-31", "2025-01-31", "2025-02-28"]),
    ("0 0 LW * *", ["2024-09-30", "2024-10-31", "2024-11-29", "2024-12-31", "2025-01-31", "2025-02-28", "2025-03-31",
                    "2025-04-30", "2025-05-30", "2025-06-30", "2025-07-31", "2025-08-29"]),
    ("0 0 1,L * *", ["2024-09-01", "2024-09-30", "2024-10-01", "2024-10-31"]),
    ("0 0 L * 5", ["2024-09-06", "2024-09-13", "2024-09-20", "2024-09-27", "2024-09-30", "2024-10-04"]),
    ("0 0 L * */6", ["2024-11-30", "2025-05-31", "2025-08-31"]),
    ("0 0 * * 5L", ["2024-09-27", "2024-10-25", "2024-11-29"]),
    ("0 0 * * friL", ["2024-09-27", "2024-10-25", "2024-11-29"]),
    ("0 0 * * 7L", ["2024-09-29", "2024-10-27", "2024-11-24"]),
    ("0 0 * * 1#2", ["2024-09-09", "2024-10-14", "2024-11-11"]),
    ("0 0 * * mon#2", ["2024-09-09", "2024-10-14", "2024-11-11"]),
    ("0 0 * * 0#5", ["2024-09-29", "2024-12-29", "2025-03-30"]),
    ("0 0 * * 7#1", ["2024-09-01", "2024-10-06", "2024-11-03"]),
    ("0 0 * * 1#1,5L", ["2024-09-02", "2024-09-27", "2024-10-07", "2024-10-25"]),
    ("0 0 15 * 1#1", ["2024-09-02", "2024-09-15", "2024-10-07", "2024-10-15"]),
    ("0 0 * * 7", ["2024-09-01", "2024-09-08", "2024-09-15"]),
    ("0 0 * * 6-7", ["2024-09-01", "2024-09-07", "2024-09-08"]),
    ("0 0 * * 5-7/2", ["2024-09-01", "2024-09-06", "2024-09-08", "2024-09-13"]),
    ("0 0 * * */2", ["2024-09-01", "2024-09-03", "2024-09-05", "2024-09-07", "2024-09-08"]),
    ("0 0 10-10/5 * *", ["2024-09-10", "2024-10-10", "2024-11-10"]),
    ("0 0 1 oct-OCT/2 *", ["2024-10-01", "2025-10-01"]),
    ("0 0 * * wed-wed/2", ["2024-09-04", "2024-09-11", "2024-09-18"]),
    ("0 0 * * wed/2", ["2024-09-04", "2024-09-06", "2024-09-11", "2024-09-13"]),
    ("0 0 * * 7-7/2", ["2024-09-01", "2024-09-08", "2024-09-15"]),
    ("0 0 * * 7/2", ["2024-09-01", "2024-09-08", "2024-09-15"]),
    ("0 0 * * 0-0/3", ["2024-09-01", "2024-09-08", "2024-09-15"]),
    ("0 0 */10 * *", ["2024-09-01", "2024-09-11", "2024-09-21", "2024-10-01", "2024-10-11", "2024-10-21",
                       "2024-10-31"]),
    ("0 0 1 jan,Jul *", ["2025-01-01", "2025-07-01", "2026-01-01"]),
    ("0 0 1 */5 *", ["2024-11-01", "2025-01-01", "2025-06-01"]),
])
def test_days_are_those_that_cron_means(expression, expected):
    assert_slots(expression, "UTC", "2024-08-31 23:59Z", [day + " 00:00Z" for day in expected])


def test_weekly_task_skips_to_next_monday():
    assert_slots("0 9 * * MON", "UTC", "2024-09-02 09:00Z", ["2024-09-09 09:00Z", "2024-09-16 09:00Z"])


@pytest.mark.parametrize("expression, expected", [
    ("5/15 * * * *", ["00:05", "00:20", "00:35", "00:50", "01:05"]),
    ("18-18/4 * * * *", ["00:18", "01:18", "02:18"]),
    ("0 18-18/4,3/9 * * *", ["03:00", "12:00", "18:00", "21:00"]),
    ("10-40/10 * * * *", ["00:10", "00:20", "00:30", "00:40", "01:10"]),
    ("*/25 * * * *", ["00:25", "00:50", "01:00", "01:25"]),
    ("50,10,10-12 * * * *", ["00:10", "00:11", "00:12", "00:50"]),
    ("0 20/2 * * *", ["20:00", "22:00"]),
    ("*,5 0 * * *", ["00:01", "00:02", "00:03"]),
    ("58-59 * * * *", ["00:58", "00:59", "01:58"]),
    ("  7\t3   * * * ", ["03:07"]),
])
def test_times_are_those_that_cron_means(expression, expected):
    assert_slots(expression, "UTC", "2024-09-01 00:00Z", ["2024-09-01 %sZ" % clock for clock in expected])


@pytest.mark.parametrize("nickname, expected", [
    ("@hourly", ["2024-09-01 01:00Z", "2024-09-01 02:00Z"]),
    ("@daily", ["2024-09-02 00:00Z", "2024-09-03 00:00Z"]),
    ("@Midnight", ["2024-09-02 00:00Z", "2024-09-03 00:00Z"]),
    ("@weekly", ["2024-09-08 00:00Z", "2024-09-15 00:00Z"]),
    ("@monthly", ["2024-10-01 00:00Z", "2024-11-01 00:00Z"]),
    ("@YEARLY", ["2025-01-01 00:00Z", "2026-01-01 00:00Z"]),
    ("@annually", ["2025-01-01 00:00Z", "2026-01-01 00:00Z"]),
])
def test_nickname_stands_for_its_expression(nickname, expected):
    assert_slots(nickname, "UTC", "2024-09-01 00:00Z", expected)


def test_reboot_has_no_slots():
    schedule = sc.CronSchedule("@Reboot")
    assert schedule.reboot
    assert schedule.next(0, "UTC") is None
    assert schedule.previous(2000000000, "UTC") is None


def test_next_is_strictly_after_and_previous_includes_the_instant():
    schedule = sc.CronSchedule("0 2 * * *")
    slot = at("2024-09-01 02:00Z")
    assert schedule.next(slot - 1, "UTC") == slot
    assert schedule.next(slot - 0.25, "UTC") == slot
    assert schedule.next(slot, "UTC") == slot + 86400
    assert schedule.next(slot + 0.75, "UTC") == slot + 86400
    assert schedule.previous(slot - 0.25, "UTC") == slot - 86400
    assert schedule.previous(slot, "UTC") == slot
    assert schedule.previous(slot + 0.75, "UTC") == slot


@pytest.mark.parametrize("after", ["9999-12-30 00:00Z", "9999-12-31 12:00Z"])
def test_schedule_past_the_end_of_the_calendar_has_no_next_slot(after):
    assert sc.CronSchedule("0 0 1 1 *").next(at(after), "UTC") is None


def test_same_schedule_in_two_zones_has_its_own_slots_in_each():
    schedule = sc.CronSchedule("0 2 * * *")
    after = at("2024-09-01 12:00Z")
    assert utc([schedule.next(after, "Europe/Paris")]) == ["2024-09-02 00:00:00Z"]
    assert utc([schedule.next(after, "Asia/Kolkata")]) == ["2024-09-01 20:30:00Z"]
    assert utc([schedule.next(after, "Europe/Paris")]) == ["2024-09-02 00:00:00Z"]


# What is refused.

@pytest.mark.parametrize("text, message, hint", [
    ("*5 * * * *", "minute '*5' is not understood; allowed are 0-59", "did you mean '*/5 * * * *'?"),
    ("2.5 * * * *", "minute '2.5' is not understood; allowed are 0-59", ""),
    ("*/0 * * * *", "minute '*/0' has step 0", "1 or more"),
    ("*/ * * * *", "minute '*/' has no whole number after '/'", "'*/5' is every fifth"),
    ("*/-5 * * * *", "minute '*/-5' has no whole number after '/'", "'*/5' is every fifth"),
    ("0 0 30 2 *", "never fires: day-of-month 30 does not occur in February",
     "for the last day of the month write '0 0 L 2 *'"),
    ("0 0 31 4,6 *", "never fires: day-of-month 31 does not occur in April or June",
     "for the last day of the month write '0 0 L 4,6 *'"),
    ("0 0 30 2 */2", "never fires: day-of-month 30 does not occur in February", "write '0 0 L 2 */2'"),
    ("0 0 */30 2 0#2",
     "never fires: day-of-month '*/30' and day-of-week '0#2' never fall on the same day in February", ""),
    ("0 0 0 * * *", "has 6 fields; a schedule has five: minute hour day-of-month month day-of-week",
     "there is no field for seconds: write '0 0 * * *'"),
    ("* * * *", "has 4 fields; a schedule has five", "use * for a field that does not matter, as in '* * * * *'"),
    ("5", "has 1 field; a schedule has five", "use * for a field"),
    ("", "'' has 0 fields; a schedule has five", "'0 2 * * *' is every day at 02:00"),
    (" \t ", "has 0 fields; a schedule has five", "'0 2 * * *' is every day at 02:00"),
    ("61 * * * *", "minute '61' is outside 0-59", ""),
    ("60 * * * *", "minute '60' is outside 0-59", "the full hour is minute 0: '0 * * * *'"),
    ("0 24 * * *", "hour '24' is outside 0-23", "midnight is hour 0: '0 0 * * *'"),
    ("0 0-24 * * *", "hour '24' is outside 0-23", "write '0 0-23 * * *'"),
    ("0 0 0 * *", "day-of-month '0' is outside 1-31", ""),
    ("0 0 32 * *", "day-of-month '32' is outside 1-31", ""),
    ("0 0 * 13 *", "month '13' is outside 1-12", ""),
    ("0 0 * 0 *", "month '0' is outside 1-12", ""),
    ("0 0 * * 8", "day-of-week '8' is outside 0-7", ""),
    ("@every", "unknown schedule '@every'; the nicknames are @annually @daily @hourly", ""),
    ("@dayly", "unknown schedule '@dayly'", ""),
    ("@every 5m", "unknown schedule '@every 5m'", "write '*/5 * * * *'"),
    ("2:30 * * * *", "minute '2:30' is not understood", "minute and hour are two fields: '30 2 * * *'"),
    ("2:30 4 * * *", "minute '2:30' is not understood", ""),
    ("1,,2 * * * *", "minute '1,,2' has an empty entry in its list", "remove the extra comma: '1,2 * * * *'"),
    ("1, * * * *", "minute '1,' has an empty entry in its list", "remove the extra comma: '1 * * * *'"),
    (u"\u0665 * * * *", u"minute '\u0665' is not understood", ""),
    (u"*/\u0665 * * * *", u"minute '*/\u0665' has no whole number after '/'", ""),
    (u"\u00b2 * * * *", u"minute '\u00b2' is not understood", ""),
    ("+5 * * * *", "minute '+5' is not understood", ""),
    ("1_0 * * * *", "minute '1_0' is not understood", ""),
    ("-5 * * * *", "minute '-5' is not understood", ""),
    ("1-2-3 * * * *", "minute '1-2-3' is not understood", ""),
    ("*-5 * * * *", "minute '*-5' is not understood", ""),
    ("0 0 * * L", "day-of-week 'L' is not understood", "write 5L for the last Friday of the month, or, for Saturdays"),
    ("0 0 * * 1#6", "day-of-week '1#6' is not WEEKDAY#N with N in 1-5", "1#2 is the second Monday"),
    ("0 0 * * 1#0", "day-of-week '1#0' is not WEEKDAY#N with N in 1-5", "1#2 is the second Monday"),
    ("0 0 * * 9#1", "day-of-week '9' is outside 0-7", ""),
    ("0 0 * * 8L", "day-of-week '8' is outside 0-7", ""),
    ("0 0 * * xL", "day-of-week 'xL' is not understood", ""),
    ("0 0 5L * *", "day-of-month '5L' is not understood; allowed are 1-31", ""),
    ("L * * * *", "minute 'L' is not understood", ""),
    ("? 0 * * *", "minute '?' is not understood", "write '* 0 * * *'"),
    ("0 0 * janu *", "month 'janu' is not understood; allowed are 1-12, JAN-DEC", "did you mean '0 0 * jan *'?"),
    ("0 0 * * mond", "day-of-week 'mond' is not understood; allowed are 0-7, SUN-SAT", "did you mean '0 0 * * mon'?"),
    ("0 0 * foo *", "month 'foo' is not understood", ""),
    ("mon 0 * * *", "minute 'mon' is not understood", ""),
    ("H(5-0) * * * *", "minute 'H(5-0)' starts after it ends", ""),
    ("H(0-60) * * * *", "minute '60' is outside 0-59", ""),
    ("H(5) * * * *", "minute 'H(5)' is not H, H/STEP, H(LOW-HIGH)", ""),
    ("H/0 * * * *", "minute 'H/0' has step 0", ""),
])
def test_wrong_schedule_is_refused_with_field_value_and_a_hint(text, message, hint):
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(text, "task")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert message in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("text, message, same", [
    ("*/90 9-17 * * *", "minute '*/90' has a step larger than the field", "0 9-17 * * *"),
    ("10-20/60 * * * *", "minute '10-20/60' has a step larger than the field", "10 * * * *"),
    ("7-7/60 * * * *", "minute '7-7/60' has a step larger than the field", "7 * * * *"),
    ("H/90 * * * *", "minute 'H/90' has a step larger than the field", "H * * * *"),
    ("H(3-9)/8 * * * *", "minute 'H(3-9)/8' has a step larger than the field", "H(3-9) * * * *"),
    ("0 0/36 * * 1", "hour '0/36' has a step larger than the field", "0 0 * * 1"),
    ("0 0 */32 * *", "day-of-month '*/32' has a step larger than the field", "0 0 */31 * *"),
    ("0 0 */100 * MON", "day-of-month '*/100' has a step larger than the field", "0 0 */31 * MON"),
    ("0 0 5/40 * *", "day-of-month '5/40' has a step larger than the field", "0 0 5 * *"),
    ("0 0 1 */13 *", "month '*/13' has a step larger than the field", "0 0 1 1 *"),
    ("0 0 1 jun-dec/18 *", "month 'jun-dec/18' has a step larger than the field", "0 0 1 jun *"),
])
def test_step_larger_than_its_field_is_refused_with_the_equivalent(text, message, same):
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(text, "task")
    assert caught.value.message == message
    assert caught.value.hint.startswith("write '%s', which means the same" % same)
    sc.CronSchedule(same, "task")


@pytest.mark.parametrize("text, field, item, instead", [
    ("5,0/90 * * * *", "minute", "0/90", "5,0 * * * *"),
    ("*/90,5 * * * *", "minute", "*/90", "0,5 * * * *"),
    ("*/60,10-20/60 * * * *", "minute", "10-20/60", "*/60,10 * * * *"),
    ("0 1,*/36 * * *", "hour", "*/36", "0 1,0 * * *"),
    ("0 0 1-7,*/100 * MON", "day-of-month", "*/100", "0 0 1-7,*/31 * MON"),
    ("*/90 */36 */32 * *", "minute", "*/90", "0 0 */31 * *"),
])
def test_large_step_is_judged_in_a_list_as_it_is_alone(text, field, item, instead):
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(text)
    assert caught.value.message == "%s '%s' has a step larger than the field" % (field, item)
    assert caught.value.hint.startswith("write '%s', which means the same" % instead)


def test_large_step_says_where_longer_intervals_go():
    for text, place in (("*/90 9-17 * * *", "list the hours"), ("0 */36 * * 1", "list the days")):
        with pytest.raises(sc.CronSyntaxError) as caught:
            sc.CronSchedule(text)
        assert place in caught.value.hint


LARGE_STEPS_THAT_CRON_TAKES = [
    ("*/60 * * * *", "minute '*/60'", "every hour on the hour", "write '0 * * * *'"),
    ("*/60,30 4 * * *", "minute '*/60'", "at 04:00 and 04:30 every day",
     "write '0,30 4 * * *', which keeps its time of day when daylight saving begins and ends"),
    ("0 */24 * * *", "hour '*/24'", "at 00:00 every day",
     "write '0 0 * * *', which keeps its time of day when daylight saving begins and ends"),
    ("0 0 * * */7", "day-of-week '*/7'", "at 00:00 on Sundays", "write '0 0 * * 0'"),
    ("0 0 * * */14", "day-of-week '*/14'", "at 00:00 on Sundays", "write '0 0 * * 0'"),
    ("0 0 * * 5-7/9", "day-of-week '5-7/9'", "at 00:00 on Fridays", "write '0 0 * * 5'"),
    ("0 0 1-7 * 5-7/9", "day-of-week '5-7/9'",
     "at 00:00 on the 1st to 7th of the month and on Fridays",
     "write '0 0 1-7 * 5'"),
    ("0 0 1 * tue/7", "day-of-week 'tue/7'",
     "at 00:00 on the 1st of the month and on Tuesdays",
     "write '0 0 1 * tue'"),
    ("0," * 55 + "00 0 5 * 1/9", "day-of-week '1/9'", "at 00:00 on the 5th of the month and on Mondays",
     "write '" + "0," * 55 + "00 0 5 * 1'"),  # 120 characters
    ("0 0 */100,1-7 * MON", "day-of-month '*/100'",
     "at 00:00 on Mondays that fall on the 1st to 7th of the month", "write '0 0 * * MON#1'"),
    ("0 0 1-7 * */7", "day-of-week '*/7'",
     "at 00:00 on Sundays that fall on the 1st to 7th of the month", "write '0 0 * * SUN#1'"),
    ("0 0 15-21 * */7", "day-of-week '*/7'",
     "at 00:00 on Sundays that fall on the 15th to 21st of the month", "write '0 0 * * SUN#3'"),
    ("0 0 */2 * */7", "day-of-week '*/7'",
     "at 00:00 on Sundays that fall on odd days of the month",
     "write '0 0 */2 * 0'"),
    ("0 0 */100,8-14 * MON", "day-of-month '*/100'",
     "at 00:00 on Mondays that fall on the 1st and 8th to 14th of the month",
     "for the second Monday of the month write 'MON#2' in day-of-week"),
    ("0 0 13 * */7", "day-of-week '*/7'", "at 00:00 on Sundays that fall on the 13th of the month",
     "for the second Monday of the month write 'MON#2' in day-of-week"),
    ("0 0 1-31 * */7", "day-of-week '*/7'", "at 00:00 on Sundays", "write '0 0 * * 0'"),
    ("0 0 1-7 * */7,0-6", "day-of-week '*/7'", "at 00:00 on the 1st to 7th of the month",
     "write '0 0 1-7 * *'"),
    ("0 0 */100,1-31 * MON", "day-of-month '*/100'", "at 00:00 on Mondays", "write '0 0 */31,1-31 * MON'"),
    ("0 0 */100,1-30 * MON", "day-of-month '*/100'",
     "at 00:00 on Mondays that fall on the 1st to 30th of the month",
     "for the second Monday of the month write 'MON#2' in day-of-week"),
    ("0 0 */100,8-14 * *", "day-of-month '*/100'", "at 00:00 on the 1st and 8th to 14th of the month",
     "write '0 0 */31,8-14 * *'"),
    ("0 0 */100,8-14 * 1-6", "day-of-month '*/100'",
     "at 00:00 on Monday to Saturday that fall on the 1st and 8th to 14th of the month",
     "for the second Monday of the month write 'MON#2' in day-of-week"),
    ("*/60 0 1-7 * */2", "minute '*/60'", "at 00:00 on Tuesdays, Thursdays, Saturdays and Sundays "
     "that fall on the 1st to 7th of the month",
     "write '0 0 1-7 * */2', which keeps its time of day when daylight saving begins and ends"),
    ("*/60 */24 */40,1-7 * mon,TUE", "minute '*/60', hour '*/24' and day-of-month '*/40'",
     "at 00:00 on Mondays and Tuesdays that fall on the 1st to 7th of the month",
     "write '0 0 * * MON#1,TUE#1', which keeps its time of day "
     "when daylight saving begins and ends"),
]


@pytest.mark.parametrize("text, items, words, hint", LARGE_STEPS_THAT_CRON_TAKES)
def test_large_step_that_cron_users_rely_on_is_taken_with_advice(text, items, words, hint):
    said = "%s %s past the end of the field; as cron reads it, the task runs %s" % (
        items, "step" if " and " in items else "steps", words)
    assert sc.describe(text) == words
    assert sc.large_step_advice(sc.CronSchedule(text)) == (said, hint)


@pytest.mark.parametrize("text, hint", [
    (text, hint) for text, _, _, hint in LARGE_STEPS_THAT_CRON_TAKES if hint.startswith("write ")])
def test_advice_for_a_large_step_has_the_same_slots_and_needs_none_itself(text, hint):
    instead = hint.split("'")[1]
    after = at("2024-01-01 00:00Z") - 1
    assert utc(slots_after(instead, "UTC", after, 100)) == utc(slots_after(text, "UTC", after, 100))
    assert sc.large_step_advice(sc.CronSchedule(instead)) == ("", "")


@pytest.mark.parametrize("text", [
    "*/59 * * * *", "50/20 * * * *", "0-2/7 * * * *", "0 */23 * * *", "0 0 */31 * *",
    "0 0 1 */12 *", "0 0 * * */6", "0 0 * * 1-5/6", "H/15 * * * *", "@daily", "@reboot",
])
def test_step_within_its_field_needs_no_advice(text):
    assert sc.large_step_advice(sc.CronSchedule(text)) == ("", "")


@pytest.mark.parametrize("text, days, hint", [
    ("0 2 1-7 * 1", "on the 1st to 7th of the month and on Mondays",
     "for the 1st Monday of the month only: '0 2 * * 1#1'"),
    ("0 2 8-14 6 MON,TUE", "on the 8th to 14th of June and on Mondays and Tuesdays in June",
     "for the 2nd Monday and 2nd Tuesday of the month only: '0 2 * 6 MON#2,TUE#2'"),
    ("0 2 1-7 * MON,3", "on the 1st to 7th of the month and on Mondays and Wednesdays",
     "for the 1st Monday and 1st Wednesday of the month only: '0 2 * * MON#1,WED#1'"),
    ("0 2 25-31 * 5", "on the 25th to 31st of the month and on Fridays",
     "for the last Friday of the month only: '0 2 * * 5L'"),
    ("0 2 L * fri", "on the last day of the month and on Fridays",
     "for the last Friday of the month only: '0 2 * * FRIL'"),
    ("0 2 1-7 * 1#1", "on the 1st to 7th of the month and on the 1st Monday of the month",
     "for the 1st Monday of the month only: '0 2 * * 1#1'"),
    ("0 2 1-31 * 1", "every day", "for Mondays only: '0 2 * * 1'"),
    ("0 2 15 * 0-6", "every day", "for the 15th of the month only: '0 2 15 * *'"),
    ("0 2 13 * 7", "on the 13th of the month and on Sundays",
     "for both at once: '0 2 13 * *', and begin the command with [ $(date +%u) = 7 ] || exit 0;"),
    ("0 2 1,15 * 1-5", "on the 1st and 15th of the month and from Monday to Friday",
     "for both at once: '0 2 1,15 * *', and begin the command with "
     "case $(date +%u) in 1|2|3|4|5) ;; *) exit 0;; esac;"),
    ("0 2 13 * 1#1,5", "on the 13th of the month and on Fridays and the 1st Monday of the month",
     "for both at once: '0 2 13 * *', and begin the command with a test of the weekday (date +%u)"),
    ("0 2 L,15 * 1", "on the 15th and last day of the month and on Mondays",
     "for both at once: '0 2 L,15 * *', and begin the command with [ $(date +%u) = 1 ] || exit 0;"),
    ("0 2 1-7,15W * mon", "on the 1st to 7th and working day nearest the 15th of the month and on Mondays",
     "for both at once: '0 2 1-7,15W * *', and begin the command with [ $(date +%u) = 1 ] || exit 0;"),
    ("0 2 29W 2 1", "on the working day nearest the 29th of February and on Mondays in February",
     "for both at once: '0 2 29W 2 *', and begin the command with [ $(date +%u) = 1 ] || exit 0;"),
    ("0 2 L-29 2 1", "on Mondays in February", "for Mondays only: '0 2 * 2 1'"),
    ("0 2 1W,L * 1", "on the working day nearest the 1st and last day of the month and on Mondays",
     "for both at once: '0 2 1W,L * *', and begin the command with [ $(date +%u) = 1 ] || exit 0;"),
    ("0," * 55 + "0 2 13 * 7", "on the 13th of the month and on Sundays",
     "for both at once: '" + "0," * 55 + "0 2 13 * *', and begin the command with "
     "[ $(date +%u) = 7 ] || exit 0;"),  # 120 characters
])
def test_two_day_fields_of_which_either_is_enough_come_with_advice(text, days, hint):
    fields = text.split()
    (said, fix), = sc.schedule_advice(sc.CronSchedule(text))
    assert said == "cron reads day-of-month '%s' and day-of-week '%s' as 'or': the task runs at 02:00 %s" % (
        fields[2], fields[4], days)
    assert fix == hint
    assert sc.schedule_advice(sc.CronSchedule(fix.split("'")[1])) == []


@pytest.mark.parametrize("text, said, hint", [
    ("* 3 * * *", "every minute from 03:00 to 03:59", "for a run at 03:00 only: '0 3 * * *'"),
    ("* 03,15 * * mon", "every minute from 03:00 to 03:59 and from 15:00 to 15:59",
     "for a run at 03:00 and 15:00 only: '0 03,15 * * mon'"),
    ("* " + "3," * 55 + "03 * * *", "every minute from 03:00 to 03:59",  # 120 characters
     "for a run at 03:00 only: '0 " + "3," * 55 + "03 * * *'"),
    ("* " + "3," * 100 + "3 * * *", "every minute from 03:00 to 03:59", "for a run at 03:00 only: write 0 in minute"),
])
def test_every_minute_of_an_hour_comes_with_the_full_hour(text, said, hint):
    assert sc.schedule_advice(sc.CronSchedule(text)) == [("the task runs " + said, hint)]


@pytest.mark.parametrize("text", [
    "* * * * *", "* 9-17 * * *", "* */2 * * *", "*/5 3 * * *", "0-59 3 * * *", "0 3 * * *", "@hourly", "@reboot"])
def test_every_minute_of_what_is_no_single_hour_needs_no_advice(text):
    assert sc.every_minute_advice(sc.CronSchedule(text)) == ("", "")


@pytest.mark.parametrize("text", [
    "* * * * *", "0 2 * * 1", "0 2 1 * *", "0 2 */2 * 1", "0 2 1-7 * */7", "0 2 1-31 * 0-6", "@monthly", "@reboot"])
def test_day_fields_of_which_one_is_open_need_no_advice(text):
    assert sc.either_day_advice(sc.CronSchedule(text)) == ("", "")


@pytest.mark.parametrize("text, expected", [
    ("*/60 * * * *", ["2024-09-01 00:00Z", "2024-09-01 01:00Z", "2024-09-01 02:00Z"]),
    ("0 */24 * * *", ["2024-09-01 00:00Z", "2024-09-02 00:00Z"]),
    ("0 0 * * */7", ["2024-09-01 00:00Z", "2024-09-08 00:00Z", "2024-09-15 00:00Z"]),
    ("0 0 */100,1-7 * MON", ["2024-09-02 00:00Z", "2024-10-07 00:00Z", "2024-11-04 00:00Z"]),
    ("0 0 */100,8-14 7-10 MON", ["2024-09-09 00:00Z", "2024-10-14 00:00Z", "2025-07-14 00:00Z",
                                 "2025-08-11 00:00Z", "2025-09-01 00:00Z", "2025-09-08 00:00Z"]),
    ("0 0 1-7 * */8", ["2024-09-01 00:00Z", "2024-10-06 00:00Z", "2024-11-03 00:00Z"]),
])
def test_large_step_is_taken_as_cron_takes_it(text, expected):
    assert_slots(text, "UTC", "2024-08-31 23:59Z", expected)


def test_schedule_out_of_the_history_may_have_any_step():
    for text in ("0/90 * * * *", "10-20/60 0/36 * * *", "0 0 */32 */13 *"):
        with pytest.raises(sc.CronSyntaxError):
            sc.CronSchedule(text)
    recorded = sc.CronSchedule("10-20/60 0/36 * * *", recorded=True)
    assert utc([recorded.next(at("2024-09-01 00:10Z"), "UTC")]) == ["2024-09-02 00:10:00Z"]
    with pytest.raises(sc.CronSyntaxError):
        sc.CronSchedule("10-20/60 * * * *")


@pytest.mark.parametrize("text, expected", [
    ("*/60 2 * * *", ["2024-04-01 02:00 +0200", "2024-04-02 02:00 +0200"]),
    ("0 2 * * *", ["2024-03-31 03:00 +0200", "2024-04-01 02:00 +0200"]),
])
def test_large_step_leaves_a_schedule_a_wildcard(text, expected):
    assert_slots(text, "Europe/Paris", "2024-03-30 12:00 +0100", expected)


def test_syntax_error_is_a_value_error_and_a_configuration_error():
    with pytest.raises(ValueError) as caught:
        sc.CronSchedule("61 * * * *")
    assert isinstance(caught.value, sc.ConductorError)
    assert caught.value.exit_code == 78


def test_last_step_that_fits_a_field_is_taken():
    assert_slots("*/59 * * * *", "UTC", "2024-09-01 00:00Z", ["2024-09-01 00:59Z", "2024-09-01 01:00Z"])
    assert_slots("0 */23 * * *", "UTC", "2024-09-01 00:00Z", ["2024-09-01 23:00Z", "2024-09-02 00:00Z"])
    assert_slots("0 0 */31 * *", "UTC", "2024-09-01 00:00Z", ["2024-10-01 00:00Z", "2024-11-01 00:00Z"])
    assert_slots("0 0 1 */12 *", "UTC", "2024-09-01 00:00Z", ["2025-01-01 00:00Z", "2026-01-01 00:00Z"])
    assert_slots("0 0 * * */6", "UTC", "2024-09-01 00:00Z", ["2024-09-07 00:00Z", "2024-09-08 00:00Z"])


USE_A_NAME = "use an IANA name such as Europe/Paris or UTC"


@pytest.mark.parametrize("name, hint", [
    ("Nowhere/Town", USE_A_NAME),
    ("Europe/paris", "did you mean 'Europe/Paris'?"),
    ("Europe/Pariss", "did you mean 'Europe/Paris'?"),
    ("europe/PARIS ", "did you mean 'Europe/Paris'?"),
    ("Paris", "did you mean 'Europe/Paris'?"),
    ("america/new york", "did you mean 'America/New_York'?"),
    ("Asia/Calcuta", "did you mean 'Asia/Calcutta'?"),
    ("utc", "did you mean 'UTC'?"),
    ("UTC0", "did you mean 'UTC'?"),
    (":UTC", "did you mean 'UTC'?"),
    ("UTC\0", "did you mean 'UTC'?"),
    ("Europe//Paris", "did you mean 'Europe/Paris'?"),
    ("Europe/Paris\n", "did you mean 'Europe/Paris'?"),
    ("../etc/passwd", USE_A_NAME),
    ("", USE_A_NAME),
    ("CET-1CEST", USE_A_NAME),
    ("Europe", USE_A_NAME),
    ("Europe/", USE_A_NAME),
    ("zone.tab", USE_A_NAME),
    ("/usr/share/zoneinfo/UTC", USE_A_NAME),
    (u"\ud800", USE_A_NAME),
    ("A" * 5000, USE_A_NAME),
])
def test_unknown_zone_is_refused_and_never_taken_for_utc(name, hint):
    schedule = sc.CronSchedule("0 0 * * *")
    for ask in (schedule.next, schedule.previous):
        with pytest.raises(sc.ConductorError) as caught:
            ask(1700000000, name)
        assert "unknown time zone" in str(caught.value)
        assert caught.value.hint == hint
        assert len(str(caught.value)) < 170


def test_missing_zone_data_is_named_and_not_the_zone(tmp_path, monkeypatch):
    monkeypatch.setattr(sc, "_zone_folders", lambda: [str(tmp_path)])
    monkeypatch.setattr(sc, "_ZONES", {None: sc.zone_named(None)})
    with pytest.raises(sc.ConductorError) as caught:
        sc.zone_named("Europe/Paris")
    assert str(caught.value) == (
        "unknown time zone 'Europe/Paris' (no zone data on this machine: install tzdata)")
    assert sc.zone_named("UTC").span(0)[2] == 0


def test_file_that_holds_no_zone_is_not_taken_for_one(tmp_path, monkeypatch):
    (tmp_path / "Readme").write_text("not a zone")
    (tmp_path / "Folder").mkdir()
    monkeypatch.setenv("TZDIR", str(tmp_path))
    for name in ("Readme", "Folder"):
        with pytest.raises(sc.ConductorError):
            sc.zone_named(name)


def zone_data(magic=b"TZif", types=2, moments=(0, 1000000000), indices=b"\0\1", first=(3600, 0, 0), second=(7200, 1, 4),
              names=b"ONE\0TWO\0", stds=b"", end=b"\nONE-1\n"):
    """A file of a zone (tzfile(5)) of version 2, with nothing in the part that has 32 bits."""
    head = ">4sc15x6L"
    return b"".join((
        struct.pack(head, b"TZif", b"2", 0, 0, 0, 0, 1, 1), struct.pack(">lBB", 0, 0, 0), b"\0",
        struct.pack(head, magic, b"2", 0, len(stds), 0, len(moments), types, len(names)),
        struct.pack(">%dq" % len(moments), *moments), indices,
        struct.pack(">lBB", *first), struct.pack(">lBB", *second), names, stds, end))


@pytest.mark.parametrize("data, is_one", [
    (zone_data(), True),
    (zone_data(stds=b"\0\1"), True),
    (zone_data(end=b"\n\n"), True),
    (zone_data()[:-20], False),                           # cut off
    (zone_data()[:60], False),
    (b"TZif", False),
    (b"", False),
    (zone_data(magic=b"TZxx"), False),                    # the second part is none
    (zone_data(types=0), False),
    (zone_data(types=9), False),                          # more than there are
    (zone_data(indices=b"\0\2"), False),                  # a type that is not there
    (zone_data(second=(7200, 1, 8)), False),              # a name that is not there
    (zone_data(second=(7200, 2, 4)), False),              # neither summer nor winter
    (zone_data(second=(100000, 1, 4)), False),            # a day and more from UTC
    (zone_data(names=b"ONE\0TWOO"), False),               # a name without its end
    (zone_data(names=b"ONE\0T\xffO\0"), False),
    (zone_data(moments=(1000000000, 0)), False),          # not in their order
    (zone_data(stds=b"\0"), False),                       # one for each type, or none
])
def test_a_damaged_file_is_no_zone_as_it_can_crash_the_c_library(tmp_path, monkeypatch, data, is_one):
    monkeypatch.setenv("TZDIR", str(tmp_path))
    monkeypatch.setattr(sc, "_ZONES", {None: sc.zone_named(None)})
    (tmp_path / "Mine").write_bytes(data)
    if is_one:
        assert sc.zone_named("Mine").span(999999999)[2] == 3600
        return
    with pytest.raises(sc.ConductorError) as caught:
        sc.zone_named("Mine")
    assert str(caught.value).startswith("unknown time zone 'Mine'")


def test_every_zone_of_this_system_is_one():
    names = sorted(set(sc._zone_names()))
    assert [name for name in names if not sc._zone_exists(name)] == []


# H.

def times_of_first_day(text, name):
    """The slots of 2024-09-01 as 'HH:MM'."""
    schedule, after, found = sc.CronSchedule(text, name), at("2024-08-31 23:59Z"), []
    while True:
        after = schedule.next(after, "UTC")
        if after >= at("2024-09-02 00:00Z"):
            return found
        found.append(time.strftime("%H:%M", time.gmtime(after)))


@pytest.mark.parametrize("text, name, expected", [
    ("H H * * *", "backup", ["10:22"]),
    ("H H * * *", "cleanup", ["19:15"]),
    ("H H * * *", "weekly_report", ["10:53"]),
    ("H H * * *", "a.b-c_1", ["03:20"]),
    ("H(0-5) H(1-4) * * *", "backup", ["03:04"]),
    ("H(0-5) H(1-4) * * *", "cleanup", ["04:03"]),
    ("H/15 4 * * *", "backup", ["04:07", "04:22", "04:37", "04:52"]),
    ("H/15 4 * * *", "cleanup", ["04:00", "04:15", "04:30", "04:45"]),
    ("0 H(20-23)/2 * * *", "backup", ["20:00", "22:00"]),
    ("0 H(20-23)/2 * * *", "cleanup", ["21:00", "23:00"]),
    ("H,30 0 * * *", "backup", ["00:22", "00:30"]),
])
def test_spread_of_a_name_is_the_same_on_every_machine_and_day(text, name, expected):
    assert times_of_first_day(text, name) == expected


def test_spread_of_a_name_is_the_same_in_every_process():
    code = "import symphony_conductor as sc; print(sc.CronSchedule('H H * * *', 'backup').next(0, 'UTC'))"
    for seed in ("0", "1", "77"):
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60,
                              cwd=str(REPOSITORY), env=dict(os.environ, PYTHONHASHSEED=seed))
        assert done.stdout == b"37320\n"


@pytest.mark.parametrize("text, expected", [
    ("0 0 H * *", ["2024-09-08 00:00Z", "2024-10-08 00:00Z", "2024-11-08 00:00Z"]),
    ("0 0 * * H", ["2024-09-05 00:00Z", "2024-09-12 00:00Z", "2024-09-19 00:00Z"]),
    ("0 0 1 H *", ["2024-12-01 00:00Z", "2025-12-01 00:00Z"]),
    ("0 0 * * H(mon-tue)", None),
])
def test_spread_takes_days_and_months_too(text, expected):
    slot = sc.CronSchedule(text, "backup").next(at("2024-09-01 00:00Z"), "UTC")
    if expected is None:
        assert time.gmtime(slot).tm_wday in (0, 1)
        return
    slots, schedule = [at(day) for day in expected], sc.CronSchedule(text, "backup")
    assert utc([schedule.next(before - 1, "UTC") for before in slots]) == utc(slots)
    assert slot == slots[0]


def test_spread_over_many_names_is_even():
    minutes, hours, both = [0] * 60, [0] * 24, set()
    for number in range(3000):
        clock = times_of_first_day("H H * * *", "task-%d" % number)[0]
        hour, minute = int(clock[:2]), int(clock[3:])
        minutes[minute] += 1
        hours[hour] += 1
        both.add(clock)
    assert min(minutes) >= 25 and max(minutes) <= 80
    assert min(hours) >= 85 and max(hours) <= 170
    assert len(both) > 1150


@pytest.mark.parametrize("text, low, high", [
    ("H(0-5) 4 * * *", 0, 5), ("H(50-59) 4 * * *", 50, 59), ("H(7-7) 4 * * *", 7, 7),
])
def test_spread_keeps_to_its_range_and_uses_all_of_it(text, low, high):
    found = {int(times_of_first_day(text, "task-%d" % number)[0][3:]) for number in range(300)}
    assert found == set(range(low, high + 1))


@pytest.mark.parametrize("number", range(12))
def test_stepped_spread_has_four_even_slots_in_each_hour(number):
    slots = []
    schedule, after = sc.CronSchedule("H/15 * * * *", "task-%d" % number), at("2024-09-01 00:00Z") - 1
    for _ in range(96):
        after = schedule.next(after, "UTC")
        slots.append(after)
    assert {following - slot for slot, following in zip(slots, slots[1:])} == {900}
    assert slots[-1] < at("2024-09-02 00:00Z")


def test_day_of_month_spread_is_a_day_that_every_month_has():
    for number in range(200):
        slot = sc.CronSchedule("0 0 H * *", "task-%d" % number).next(at("2023-02-01 00:00Z") - 1, "UTC")
        assert slot < at("2023-03-01 00:00Z")


# Wall times without an offset.

@pytest.mark.parametrize("zone, text, expected", [
    ("Europe/London", "2022-10-30T00:59", "2022-10-30 00:59 +0100"),
    ("Europe/London", "2022-10-30T01:00", "2022-10-30 01:00 +0100"),  # comes twice: the first
    ("Europe/London", "2022-10-30T01:10", "2022-10-30 01:10 +0100"),
    ("Europe/London", "2022-10-30T01:59:59", "2022-10-30 01:59:59 +0100"),
    ("Europe/London", "2022-10-30T02:00", "2022-10-30 02:00 +0000"),
    ("Europe/London", "2022-03-27T00:59", "2022-03-27 00:59 +0000"),
    ("Europe/London", "2022-03-27T01:30", "2022-03-27 01:30 +0000"),  # skipped: the offset before the gap
    ("Europe/London", "2022-03-27T02:00", "2022-03-27 02:00 +0100"),
    ("America/New_York", "2024-11-03 01:30", "2024-11-03 01:30 -0400"),
    ("America/New_York", "2024-03-10 02:30", "2024-03-10 02:30 -0500"),
    ("Australia/Lord_Howe", "2024-04-07T01:45", "2024-04-07 01:45 +1100"),
    ("Australia/Lord_Howe", "2024-10-06T02:15", "2024-10-06 02:15 +1030"),
    ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30 12:00 -1000"),
    ("America/Sao_Paulo", "2018-02-17", "2018-02-17 00:00 -0200"),
    ("Asia/Kolkata", "2024-06-01T10:00", "2024-06-01 10:00 +0530"),
])
def test_wall_time_is_the_first_of_two_and_skipped_ones_keep_the_offset_before_the_gap(zone, text, expected):
    assert utc([sc.from_iso(text, sc.zone_named(zone))]) == utc([at(expected)])


@pytest.mark.parametrize("text", ["0999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z",
                                  "9999-12-31T23:59:59Z"])
def test_a_time_is_written_as_it_is_read(text):
    assert sc.iso(sc.from_iso(text)) == text


@pytest.mark.parametrize("text, said", [
    ("0001-01-01T00:00+00:01", "is not in the years 1 to 9999 of UTC"),
    ("9999-12-31T23:59:59-00:01", "is not in the years 1 to 9999 of UTC"),
    ("2025-06-02T10:0\u0662:00Z", "is not a time such as 2025-06-02T10:00 or 2025-06-02T10:00:00Z"),
    ("2025-06-02T10:0\u00b2:00Z", "is not a time such as 2025-06-02T10:00 or 2025-06-02T10:00:00Z")])
def test_a_time_that_could_not_be_written_is_none(text, said):
    sc.from_iso("2025-06-02")  # such a day is read in another way from the second time on
    with pytest.raises(ValueError) as caught:
        sc.from_iso(text)
    assert str(caught.value) == "%r %s" % (text, said)


@pytest.mark.skipif(zoneinfo is None, reason="needs zoneinfo")
@pytest.mark.parametrize("zone, start", WINDOWS)
def test_wall_time_is_the_instant_that_the_standard_library_gives_it(zone, start):
    place, rng = zoneinfo.ZoneInfo(zone), random.Random(start)
    for _ in range(500):
        wall = datetime.datetime.utcfromtimestamp(at(start) + rng.randrange(WINDOW_MINUTES * 60))
        assert sc.from_iso(wall.isoformat(), sc.zone_named(zone)) == wall.replace(tzinfo=place).timestamp()


# Zones do not leak.

@pytest.fixture
def home_zone(monkeypatch):
    def move_to(name):
        if name is None:
            monkeypatch.delenv("TZ", raising=False)
        else:
            monkeypatch.setenv("TZ", name)
        time.tzset()
    yield move_to
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("home", [None, "America/New_York", "Asia/Kolkata", ":Europe/Paris"])
def test_asking_for_a_zone_leaves_the_process_in_its_own(home, home_zone):
    home_zone(home)
    before = os.environ.get("TZ"), time.tzname, time.timezone, time.localtime(1711846800)[:6]
    schedule = sc.CronSchedule("30 2 * * *")
    sc._ZONES.pop("Australia/Lord_Howe", None)
    assert utc([schedule.next(at("2024-06-01 00:00Z"), "Australia/Lord_Howe")]) == ["2024-06-01 16:00:00Z"]
    assert utc([schedule.previous(at("2031-06-01 00:00Z"), "Australia/Lord_Howe")]) == ["2031-05-31 16:00:00Z"]
    with pytest.raises(sc.ConductorError):
        schedule.next(0, "Nowhere/Town")
    assert (os.environ.get("TZ"), time.tzname, time.timezone, time.localtime(1711846800)[:6]) == before


def test_zone_without_a_name_is_the_machines_whatever_the_shell_says(home_zone):
    home_zone(None)
    machine = time.localtime(at("2024-07-01 12:34:56Z")).tm_gmtoff
    for name in ("America/New_York", "Asia/Kolkata"):
        home_zone(name)
        assert sc.Zone(None).span(at("2024-07-01 12:34:56Z"))[2] == machine
        assert os.environ["TZ"] == name


@pytest.mark.parametrize("name, before, after, change", [
    ("Europe/Paris", 3600, 7200, "2024-03-31 01:00Z"),
    ("Europe/Paris", 7200, 3600, "2024-10-27 01:00Z"),
    ("Europe/Paris", 3600, 7200, "2061-03-27 01:00Z"),
    ("Australia/Lord_Howe", 39600, 37800, "2024-04-06 15:00Z"),
    ("Africa/Casablanca", 3600, 0, "2024-03-10 02:00Z"),
    ("Pacific/Apia", -36000, 50400, "2011-12-30 10:00Z"),
    ("America/Recife", -7200, -10800, "2000-10-15 02:00Z"),
])
def test_zone_changes_its_offset_at_the_very_second(name, before, after, change):
    zone = sc.Zone(name)
    assert zone.span(at(change) - 1)[2] == before
    assert zone.span(at(change))[2:] == (after, before)
    assert zone.span(at(change))[0] == at(change)


# In words.

@pytest.mark.parametrize("text, words", [
    ("* * * * *", "every minute"),
    ("*/5 * * * *", "every 5 minutes"),
    ("30 2 * * *", "at 02:30 every day"),
    ("@daily", "at 00:00 every day"),
    ("30 1,13 * * *", "at 01:30 and 13:30 every day"),
    ("0 * * * *", "every hour on the hour"),
    ("17 * * * *", "at minute 17 of every hour"),
    ("0 2 * * 1-5", "at 02:00 Monday to Friday"),
    ("0 9-17 * * *", "every hour from 09:00 to 17:00"),
    ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:45 Monday to Friday"),
    ("* 5 * * *", "every minute from 05:00 to 05:59"),
    ("30 */2 * * *", "every 2 hours from 00:30 to 22:30"),
    ("0 */2 * * *", "every 2 hours"),
    ("0 */3 * * 1-5", "every 3 hours Monday to Friday"),
    ("*/5 1,3 * * *", "every 5 minutes from 01:00 to 01:55 and from 03:00 to 03:55"),
    ("*/15 8-18,22 * * *", "every 15 minutes from 08:00 to 18:45 and from 22:00 to 22:45"),
    ("30 2 1 1 *", "at 02:30 on 1 January"),
    ("0 0 29 2 *", "at 00:00 on 29 February"),
    ("0 0 */2 * 1", "at 00:00 on Mondays that fall on odd days of the month"),
    ("0 0 1-31 * 1", "at 00:00 every day"),
    ("0 0 * * 1#1,3#1", "at 00:00 on the 1st Monday and 1st Wednesday of the month"),
    ("0 0 LW * *", "at 00:00 on the last working day of the month"),
    ("0 0 1,L * *", "at 00:00 on the 1st and last day of the month"),
    ("0 0 * * 1,3-5", "at 00:00 on Mondays and Wednesday to Friday"),
    ("0 */4 * * *", "at 00:00, 04:00, 08:00, 12:00, 16:00 and 20:00 every day"),
    ("15,45 * * * *", "at minutes 15 and 45 of every hour"),
    ("30 2 * * 1", "at 02:30 on Mondays"),
    ("30 2 * * 7", "at 02:30 on Sundays"),
    ("30 2 * * 0,7", "at 02:30 on Sundays"),
    ("@weekly", "at 00:00 on Sundays"),
    ("0 9 * * 6,0", "at 09:00 on Saturdays and Sundays"),
    ("0 0 1,15 * *", "at 00:00 on the 1st and 15th of the month"),
    ("0 12 11,12,13,21,22,23 * *", "at 12:00 on the 11th to 13th and 21st to 23rd of the month"),
    ("0 0 L * *", "at 00:00 on the last day of the month"),
    ("0 0 * * 5L", "at 00:00 on the last Friday of the month"),
    ("0 9 * * 1#2", "at 09:00 on the 2nd Monday of the month"),
    ("0 0 13 * 5", "at 00:00 on the 13th of the month and on Fridays"),
    ("0 0 * 6-8 *", "at 00:00 every day from June to August"),
    ("0 0 * 1,7 0", "at 00:00 on Sundays in January and July"),
    ("@reboot", "once after each boot"),
])
def test_schedule_is_described_in_plain_english(text, words):
    assert sc.describe(text) == words


def test_description_shows_where_a_name_was_spread_to():
    assert sc.describe("H H * * *", "backup") == "at 10:22 every day"


def test_description_of_a_wrong_schedule_is_refused():
    with pytest.raises(sc.CronSyntaxError):
        sc.describe("61 * * * *")
