"""Schedules by a slow matcher of its own: it knows nothing of the conductor's.

A schedule is five fields, each a text of cron; the slots of one are found by looking at days and
minutes one after the other, in the zone's own rule for summer time.
"""

import calendar
import functools

MINUTE, HOUR, DAY = 60, 3600, 86400
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def values_of(text, low, high):
    """The values of a field: '*', '*/n', 'a-b', 'a-b/n', 'a,b'."""
    found = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = map(int, span.split("-"))
        else:
            first, last = int(span), high if step else int(span)
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def last_sunday(year, month):
    """The day of the month of its last Sunday."""
    return max(week[6] for week in calendar.monthcalendar(year, month))


def sunday(year, month, number):
    """The day of the month of its n-th Sunday."""
    return [week[6] for week in calendar.monthcalendar(year, month) if week[6]][number - 1]


@functools.lru_cache(None)
def summer(zone, year):
    """When summer time begins and ends in a year, in epoch seconds; None without one."""
    if zone == "Europe/Paris":  # directive 2000/84/EC: at 01:00 UTC
        return (calendar.timegm((year, 3, last_sunday(year, 3), 1, 0, 0)),
                calendar.timegm((year, 10, last_sunday(year, 10), 1, 0, 0)))
    if zone == "America/New_York":  # 15 U.S.C. 260a: at 02:00 of the clock
        return (calendar.timegm((year, 3, sunday(year, 3, 2), 7, 0, 0)),
                calendar.timegm((year, 11, sunday(year, 11, 1), 6, 0, 0)))
    return None


STANDARD = {"UTC": 0, "Europe/Paris": HOUR, "America/New_York": -5 * HOUR}


def offset(zone, at):
    """Seconds that the clocks of a zone are ahead of UTC."""
    standard = STANDARD[zone]
    if zone == "UTC":
        return 0
    span = summer(zone, year_of(at))
    return standard + HOUR * (span[0] <= at < span[1])


def year_of(at):
    return days(at // DAY)[0]


@functools.lru_cache(40000)
def days(number):
    """(year, month, day, day of the week with 0 for Sunday) of a day since 1970."""
    import datetime
    date = datetime.date(1970, 1, 1) + datetime.timedelta(number)
    return date.year, date.month, date.day, (date.weekday() + 1) % 7


class Schedule:
    """Five fields in a zone."""

    def __init__(self, text, zone):
        self.text, self.zone = text, zone
        self.fields = text.split()
        self.minutes, self.hours, self.month_days, self.months, self.week_days = (
            values_of(field, low, high) for field, (low, high) in zip(self.fields, FIELDS))
        # Debian cron(8): such a schedule follows the time that passes, any other the clock.
        self.is_wild = self.fields[0].startswith("*") or self.fields[1].startswith("*")
        # Vixie cron: with a star in one of the two, both have to match; else either does.
        self.needs_both = self.fields[2].startswith("*") or self.fields[4].startswith("*")

    def matches_day(self, number):
        _, month, day, week_day = days(number)
        if month not in self.months:
            return False
        by_month, by_week = day in self.month_days, week_day in self.week_days
        return by_month and by_week if self.needs_both else by_month or by_week

    def slots(self, since, until):
        """The slots in (since, until], oldest first."""
        found = set()
        for day in range(int(since) // DAY - 1, int(until) // DAY + 2):  # of the zone's clocks
            if self.matches_day(day):
                found.update(self.wild(day) if self.is_wild else self.fixed(day))
        return sorted(at for at in found if since < at <= until)

    def fixed(self, day):
        """By the clock: once each, at the end of the gap if the clock skips it."""
        for hour in self.hours:
            for minute in self.minutes:
                wall = day * DAY + hour * HOUR + minute * MINUTE
                yield self.instant(wall)

    def instant(self, wall):
        """The first instant at which the clock of the zone shows `wall` or, in a gap, more."""
        standard = STANDARD[self.zone]
        for ahead in (standard + HOUR, standard):  # summer time shows it first
            at = wall - ahead
            if offset(self.zone, at) == ahead:
                return at
        return summer(self.zone, year_of(wall))[0]

    def wild(self, day):
        """By the time that passes: each minute at which the clock shows a matching time."""
        standard = STANDARD[self.zone]
        for at in range(day * DAY - standard - HOUR, (day + 1) * DAY - standard, MINUTE):
            wall = at + offset(self.zone, at)
            if (wall // DAY == day and wall // HOUR % 24 in self.hours
                    and wall // MINUTE % 60 in self.minutes):
                yield at
