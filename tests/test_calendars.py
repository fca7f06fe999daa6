"""Days off and windows: what not_on, its files and only_between mean, and what every command says."""

import json
import random

import pytest
import stories
from stories import Month, World, at, status_at, task
from support import settle

import symphony_conductor as sc
import symphony_simulate

DAY = 86400
SUNDAY = "2025-06-08T02:00:00Z"


def days_off(entries, year, zone="UTC", files=()):
    """The days of a year on which there are no slots, as texts."""
    config = sc.build_config(
        [("c.json", {"tasks": [task("a", not_on=entries, timezone=zone)]})],
        read_dates=dict(files).__getitem__)
    assert not config.problems, config.problems
    calendar = config.tasks["a"].calendar
    days = range(sc.day_number(year, 1, 1), sc.day_number(year, 12, 31) + 1)
    return [sc.date_of(day).isoformat() for day in days if calendar.words_on(day)]


@pytest.mark.parametrize("entries, year, expected", [
    ("2026-12-25", 2026, ["2026-12-25"]),
    ("2026-12-25", 2027, []),
    ("12-25", 2027, ["2027-12-25"]),
    (["12-25", "2026-12-24"], 2026, ["2026-12-24", "2026-12-25"]),
    ("2026-12-30..2027-01-02", 2026, ["2026-12-30", "2026-12-31"]),
    ("2026-12-30..2027-01-02", 2027, ["2027-01-01", "2027-01-02"]),
    ("12-30..01-02", 2026, ["2026-01-01", "2026-01-02", "2026-12-30", "2026-12-31"]),
    ("02-27..03-01", 2027, ["2027-02-27", "2027-02-28", "2027-03-01"]),
    ("02-29", 2028, ["2028-02-29"]),
    ("02-29", 2027, []),
    ("02-20..02-29", 2027, ["2027-02-%02d" % day for day in range(20, 29)]),
    ("02-29..03-02", 2027, ["2027-03-01", "2027-03-02"]),
])
def test_an_entry_stands_for_these_days(entries, year, expected):
    assert days_off(entries, year) == expected


@pytest.mark.parametrize("word", ["sunday", "Sun", "SUNDAY"])
def test_a_weekday_is_every_one_of_the_year(word):
    days = days_off(word, 2026)
    assert days[:2] + days[-1:] == ["2026-01-04", "2026-01-11", "2026-12-27"] and len(days) == 52


def problem_of(files=None, **fields):
    """What is wrong with a task, and the hint."""
    def read(name):
        if files is None or name not in files:
            raise sc.ConductorError("cannot be read: No such file or directory", "create it")
        return files[name]

    config = sc.build_config([("c.json", {"tasks": [task("a", "0 2 * * *", **fields)]})],
                             read_dates=read)
    assert "a" in config.invalid
    problem, = config.problems
    assert problem.task == "a"
    return problem.text, problem.hint


@pytest.mark.parametrize("entry, text, hint", [
    ("sundy", "not_on: 'sundy' is neither a date nor a weekday", "did you mean 'sunday'?"),
    ("mon-tue-wed", "not_on: 'mon-tue-wed' is neither a date nor a weekday", sc.DAYS_HINT),
    ("foo-bar", "not_on: 'foo-bar' is neither a date nor a weekday", sc.DAYS_HINT),
    ("sat-foo", "not_on: 'sat-foo' is neither a date nor a weekday", sc.DAYS_HINT),
    ("holidays", "not_on: 'holidays' is neither a date nor a weekday", sc.DAYS_HINT),
    ("2026-02-30", "not_on: '2026-02-30' is not a date", sc.DAYS_HINT),
    ("2026-1-1", "not_on: '2026-1-1' is not a date", sc.DAYS_HINT),
    ("12/25", "not_on: '12/25' is not a date", sc.DAYS_HINT),
    ("25.12.2026", "not_on: '25.12.2026' is not a date", sc.DAYS_HINT),
    ("0000-01-01", "not_on: '0000-01-01' is not a date", sc.DAYS_HINT),
    ("2026-12-25..2026-12-24", "not_on: '2026-12-25..2026-12-24' ends before it begins", ""),
    ("2026-12-25..01-02", "not_on: '2026-12-25..01-02' is not a range of dates", sc.DAYS_HINT),
    ("12-24..12-25..12-26", "not_on: '12-24..12-25..12-26' is not a range of dates", sc.DAYS_HINT),
    ("free.txt", "not_on: free.txt: cannot be read: No such file or directory", "create it"),
])
def test_a_bad_entry_invalidates_its_task(entry, text, hint):
    assert problem_of(not_on=entry) == (text, hint)


@pytest.mark.parametrize("content, text", [
    ("2026-12-25\n2026-13-01\n", "line 2: '2026-13-01' is not a date"),
    ("2026-12-25 Christmas\n", "line 1: '2026-12-25 Christmas' is neither a date nor a weekday"),
    ("other.txt\n", "line 1: 'other.txt' is not a date"),
])
def test_a_bad_line_of_a_file_is_named(content, text):
    assert problem_of({"days.txt": content}, not_on="days.txt")[0] == "not_on: days.txt: " + text


def test_a_file_has_a_date_a_line():
    content = "\ufeff# holidays\r\n2026-12-25  # Christmas\r\n\r\n12-31\n 2026-05-01..2026-05-02 \n"
    expected = ["2026-05-01", "2026-05-02", "2026-12-25", "2026-12-31"]
    assert days_off("days.txt", 2026, files={"days.txt": content}) == expected
    parts = sc.days_off_in(content, "days.txt", sc.zone_named("UTC"))
    assert [part.words for part in parts] == ["Christmas", "12-31", "2026-05-01..2026-05-02"]
    last = sc.day_number(2026, 5, 2)
    assert [part.last for part in parts] == [sc.day_number(2026, 12, 25), None, last]


def test_a_day_and_days_off_are_over_by_the_clocks_of_the_zone():
    calendar = sc.Calendar([sc.days_off_of("12-24..12-26")], "Europe/Paris", {}, {})
    for time, end in (("2026-12-23T22:59:59Z", "2026-12-23T23:00:00Z"),
                      ("2026-12-23T23:00:00Z", "2026-12-24T23:00:00Z"),
                      ("2026-06-30T22:00:00Z", "2026-07-01T22:00:00Z")):
        assert sc.iso(calendar.end_of_day(at(time))) == end
    for time in ("2026-12-23T23:00:00Z", "2026-12-25T12:00:00Z", "2026-12-26T22:59:59Z"):
        assert sc.iso(calendar.start_of_days_off(at(time))) == "2026-12-23T23:00:00Z"
        assert sc.iso(calendar.end_of_days_off(at(time))) == "2026-12-26T23:00:00Z"


def test_the_end_of_a_day_is_ahead_where_its_midnight_comes_twice():
    """At 00:01 on November 7th 2010, the clocks of St. John's went back to 23:01 on the 6th."""
    calendar = sc.Calendar([], "America/St_Johns", {}, {})
    for time in ("2010-11-07T02:31:00Z", "2010-11-07T03:00:00Z", "2010-11-07T03:29:59Z"):
        assert sc.date_of(calendar.day_of(at(time))).isoformat() == "2010-11-06"
        assert at(time) < calendar.end_of_day(at(time)) <= at("2010-11-07T03:30:00Z")
        off = sc.Calendar([sc.days_off_of("2010-11-05..2010-11-06")], "America/St_Johns", {}, {})
        assert at(time) < off.end_of_days_off(at(time)) <= at("2010-11-07T03:30:00Z")


@pytest.mark.parametrize("days", [1, 2, 3, 4])
def test_days_off_are_over_after_the_last_of_them(days):
    calendar = sc.Calendar([sc.days_off_of("06-11..06-%d" % (10 + days))], "UTC", {}, {})
    assert sc.iso(calendar.end_of_days_off(at("2025-06-11T12:00:00Z"))) == (
        "2025-06-%dT00:00:00Z" % (11 + days))


def test_days_off_without_an_end_are_looked_through_for_20_years():
    calendar = sc.Calendar([sc.days_off_of("1990-01-01..2090-01-01")], "UTC", {}, {})
    day = sc.day_number(2025, 6, 8)
    for noon in (day * DAY + 43200, (day + 1) * DAY - 1):
        assert calendar.start_of_days_off(noon) == (day - sc.SEARCH_DAYS) * DAY
        assert calendar.end_of_days_off(noon) == (day + sc.SEARCH_DAYS + 1) * DAY


def ics(*lines):
    events = ["BEGIN:VCALENDAR", "VERSION:2.0"]
    return "\r\n".join(events + list(lines) + ["END:VCALENDAR", ""])


def event(*lines):
    return ["BEGIN:VEVENT"] + list(lines) + ["END:VEVENT"]


@pytest.mark.parametrize("lines, year, expected", [
    (["DTSTART;VALUE=DATE:20261225"], 2026, ["12-25"]),
    (["DTSTART:20261225", "DTEND:20261225"], 2026, ["12-25"]),
    (["DTSTART;VALUE=DATE:20261225", "DTEND;VALUE=DATE:20261227"], 2026, ["12-25", "12-26"]),
    (["DTSTART;VALUE=DATE:20261225", "DURATION:P2D"], 2026, ["12-25", "12-26"]),
    (["DTSTART;VALUE=DATE:20261225", "DURATION:P1W"], 2026,
     ["12-%d" % day for day in range(25, 32)]),
    (["DTSTART;VALUE=DATE:20261231", "DTEND;VALUE=DATE:20270103"], 2027, ["01-01", "01-02"]),
    # 23:00 UTC is the next day in Paris; the end is exclusive
    (["DTSTART:20261224T230000Z", "DTEND:20261225T230000Z"], 2026, ["12-25"]),
    (["DTSTART:20261224T230000Z", "DTEND:20261225T230001Z"], 2026, ["12-25", "12-26"]),
    (["DTSTART:20261225T090000", "DURATION:PT20H"], 2026, ["12-25", "12-26"]),
    (["DTSTART;TZID=America/New_York:20261224T200000"], 2026, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY"], 2026, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY"], 2019, []),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;INTERVAL=2"], 2025, []),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;INTERVAL=2"], 2026, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;COUNT=6"], 2025, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;COUNT=6"], 2026, []),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;UNTIL=20251225"], 2025, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;UNTIL=20251224"], 2025, []),
    (["DTSTART;VALUE=DATE:20200229", "RRULE:FREQ=YEARLY;COUNT=3"], 2028, ["02-29"]),
    (["DTSTART;VALUE=DATE:20200229", "RRULE:FREQ=YEARLY;COUNT=2"], 2032, []),
    (["DTSTART;VALUE=DATE:20201126", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"], 2026, ["11-26"]),
    (["DTSTART;VALUE=DATE:20200525", "RRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO"], 2026, ["05-25"]),
    (["DTSTART;VALUE=DATE:20201103",
      "RRULE:FREQ=YEARLY;BYMONTH=11;BYMONTHDAY=2,3,4,5,6,7,8;BYDAY=TU"], 2026, ["11-03"]),
    (["DTSTART;VALUE=DATE:20200229", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1"], 2026, ["02-28"]),
    (["DTSTART;VALUE=DATE:20201231", "DTEND;VALUE=DATE:20210103", "RRULE:FREQ=YEARLY;WKST=SU"],
     2026, ["01-01", "01-02", "12-31"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY", "EXDATE;VALUE=DATE:20251225,20261225"],
     2026, []),
    (["DTSTART;VALUE=DATE:20201225", "RDATE;VALUE=DATE:20260106"], 2026, ["01-06"]),
    (["DTSTART;VALUE=DATE:20261225", "STATUS:CANCELLED"], 2026, []),
    (["DTSTART;VALUE=DATE:20261225", "TRANSP:TRANSPARENT"], 2026, ["12-25"]),
    (["DTSTART;VALUE=DATE:2026", " 1225", "BEGIN:VALARM", "DURATION:P9D", "END:VALARM"], 2026,
     ["12-25"]),
    (["DTSTART:20261224T233000Z"], 2026, ["12-25"]),
    (["DTSTART;TZID=:20261225T010000"], 2026, ["12-25"]),
    (["DTSTART:20260105T000000", "DURATION:PT24H"], 2026, ["01-05"]),
    (["DTSTART:20260105T000000", "DURATION:PT24H1S"], 2026, ["01-05", "01-06"]),
    (["DTSTART:20260105T235930", "DURATION:PT30S"], 2026, ["01-05"]),
    (["DTSTART:20260105T235900", "DURATION:PT1M1S"], 2026, ["01-05", "01-06"]),
    (["DTSTART:20260105T233000", "DURATION:PT45M"], 2026, ["01-05", "01-06"]),
    (["DTSTART:20260105", "DURATION:P1W1D"], 2026, ["01-%02d" % day for day in range(5, 13)]),
    (["DTSTART:20260105", "DURATION:P%s7D" % ("0" * 20)], 2026, ["01-%02d" % day for day in range(5, 12)]),
    (["DTSTART:20260105", "DURATION:P7320D"], 2046, ["01-%02d" % day for day in range(1, 20)]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;"], 2026, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;INTERVAL=3"], 2026, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;INTERVAL=1000"], 3020, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;INTERVAL=2;COUNT=150"], 2300, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;COUNT=10000"], 2300, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;COUNT=1"], 2020, ["12-25"]),
    (["DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY;COUNT=1"], 2021, []),
    (["DTSTART;VALUE=DATE:20200501", "RRULE:FREQ=YEARLY;UNTIL=20260430T120000Z"], 2026, []),
    (["DTSTART;VALUE=DATE:20200110", "RRULE:FREQ=YEARLY;COUNT=3;BYMONTH=1;BYMONTHDAY=9,10,20"],
     2020, ["01-10", "01-20"]),
    (["DTSTART;VALUE=DATE:20200110", "RRULE:FREQ=YEARLY;COUNT=3;BYMONTH=1;BYMONTHDAY=9,10,20"],
     2021, ["01-09"]),
    (["DTSTART;VALUE=DATE:20200101", "RRULE:FREQ=YEARLY;BYMONTHDAY=1"], 2026,
     ["%02d-01" % month for month in range(1, 13)]),
    (["DTSTART;VALUE=DATE:20200101", "RRULE:FREQ=YEARLY;BYMONTHDAY=1;COUNT=14"], 2021,
     ["01-01", "02-01"]),
    (["DTSTART;VALUE=DATE:20201231", "RRULE:FREQ=YEARLY;BYMONTHDAY=31"], 2026,
     ["01-31", "03-31", "05-31", "07-31", "08-31", "10-31", "12-31"]),
    (["DTSTART;VALUE=DATE:20201201", "RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=-31"], 2026, ["12-01"]),
    (["DTSTART;VALUE=DATE:20200107", "RRULE:FREQ=YEARLY;BYMONTH=1;BYDAY=1TU"], 2025, ["01-07"]),
    (["DTSTART;VALUE=DATE:20200107", "RRULE:FREQ=YEARLY;BYMONTH=1;BYDAY=1TU,-1MO"], 2030,
     ["01-01", "01-28"]),
    (["DTSTART;VALUE=DATE:20200114", "RRULE:FREQ=YEARLY;BYMONTH=1;BYDAY=2TU"], 2030, ["01-08"]),
    (["DTSTART;VALUE=DATE:20200524", "RRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-2SU"], 2026, ["05-24"]),
    (["DTSTART;VALUE=DATE:20200518", "RRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-2MO"], 2026, ["05-18"]),
    (["DTSTART;VALUE=DATE:20200607", "RRULE:FREQ=YEARLY;BYMONTH=6;BYDAY=SU"], 2026,
     ["06-07", "06-14", "06-21", "06-28"]),
])
def test_an_event_of_a_calendar_stands_for_these_days(lines, year, expected):
    files = {"h.ics": ics(*event("UID:1", *lines))}
    assert days_off("h.ics", year, "Europe/Paris", files) == [
        "%d-%s" % (year, day) for day in expected]


def windows_zone(name):
    """A VTIMEZONE as Outlook writes it."""
    return ["BEGIN:VTIMEZONE", "TZID:" + name, "BEGIN:STANDARD", "DTSTART:16011028T030000",
            "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10", "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100",
            "END:STANDARD", "BEGIN:DAYLIGHT", "DTSTART:16010325T020000",
            "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200",
            "END:DAYLIGHT", "END:VTIMEZONE"]


@pytest.mark.parametrize("defined, parameter", [
    ("W. Europe Standard Time", '"W. Europe Standard Time"'),
    ("W. Europe Standard Time", "W. Europe Standard Time"),
    ("(UTC+01:00) Amsterdam\\, Berlin", '"(UTC+01:00) Amsterdam, Berlin"'),
    ("/mozilla.org/20050126_1/Europe/Berlin", "/mozilla.org/20050126_1/Europe/Berlin"),
])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/New_York", "Asia/Tokyo"])
def test_times_of_a_zone_that_only_the_calendar_defines_are_read_in_the_tasks_zone(
        defined, parameter, zone):
    name = ";TZID=" + parameter
    lines = windows_zone(defined) + event(
        "UID:1", "DTSTART%s:20261225T000000" % name, "DTEND%s:20261227T000000" % name) + event(
        "UID:2", "DTSTART%s:20200501T000000" % name, "DTEND%s:20200502T000000" % name,
        "RRULE:FREQ=YEARLY;UNTIL=20270430T220000Z", "EXDATE%s:20250501T000000" % name)
    for text in (ics(*lines), ics(*lines[15:] + lines[:15])):
        files = {"h.ics": text}
        assert days_off("h.ics", 2026, zone, files) == ["2026-05-01", "2026-12-25", "2026-12-26"]
        assert days_off("h.ics", 2027, zone, files) == ["2027-05-01"]
        assert days_off("h.ics", 2025, zone, files) == days_off("h.ics", 2028, zone, files) == []


@pytest.mark.parametrize("until", ["20270429T220000Z", "20270430T000000"])
def test_what_ends_in_a_zone_that_only_the_calendar_defines_ends_a_day_later_at_most(until):
    name = ";TZID=W. Europe Standard Time"
    files = {"h.ics": ics(*windows_zone("W. Europe Standard Time") + event(
        "DTSTART%s:20200501T000000" % name, "RRULE:FREQ=YEARLY;UNTIL=" + until))}
    assert days_off("h.ics", 2026, files=files) == ["2026-05-01"]
    assert days_off("h.ics", 2027, files=files) == []


@pytest.mark.parametrize("lines, number", [(["X-WR-TIMEZONE:My Zone"], 5), (
    ["BEGIN:VTIMEZONE", "TZID:Other", "X-LIC-LOCATION:My Zone", "END:VTIMEZONE"], 8)])
def test_a_zone_is_defined_by_the_name_of_a_vtimezone_only(lines, number):
    files = {"h.ics": ics(*lines + event("DTSTART;TZID=My Zone:20261225T000000"))}
    assert problem_of(files, not_on="h.ics")[0].startswith(
        "not_on: h.ics: line %d: DTSTART:20261225T000000: unknown time zone 'My Zone'" % number)


@pytest.mark.parametrize("begun, rule, last", [
    ("20000101", "COUNT=400", 2399), ("20000101", "COUNT=401", 2399),  # after 400 years, all repeats
    ("20000101", "COUNT=10000", 2399), ("20000101", "INTERVAL=2;COUNT=10000", 2798),
    # No schedule has a slot after 9997, nor does anything ask for a day then.
    ("19970101", "INTERVAL=1000;COUNT=20", 9997), ("19980101", "INTERVAL=1000;COUNT=20", 8998),
    ("19991201", "INTERVAL=1000;COUNT=20", 8999),
])
def test_the_last_year_of_a_rule_is_counted_within_the_calendar(begun, rule, last):
    text = ics(*event("DTSTART:" + begun, "RRULE:FREQ=YEARLY;" + rule))
    part, = sc.days_off_in(text, "h.ics", sc.zone_named("UTC"))
    assert sc.date_of(part.last).year == last


def test_the_first_of_two_summaries_is_shown():
    text = ics(*event("DTSTART:20260101", "SUMMARY:New Year", "SUMMARY:Neujahr"))
    part, = sc.days_off_in(text, "h.ics", sc.zone_named("UTC"))
    assert part.words == "New Year"


def test_an_event_that_comes_every_year_can_last_a_leap_year():
    files = {"h.ics": ics(*event("DTSTART:20200101", "DTEND:20210101", "RRULE:FREQ=YEARLY"))}
    assert len(days_off("h.ics", 2026, files=files)) == 365


@pytest.mark.parametrize("zone, shown", [
    ("W. Europe Standard Time", "W. Europe Standard Time"), ("Z" * 60, "Z" * 60),
    ("Z" * 61, "Z" * 57 + "...")], ids=["name", "60", "61"])
def test_check_warns_of_times_of_a_zone_that_only_the_calendar_defines(zone, shown):
    files = {"h.ics": ics(*windows_zone(zone) + event('DTSTART;TZID="%s":20261225T000000' % zone)),
             "date.ics": ics(*windows_zone(zone) + event("DTSTART;VALUE=DATE:20261225"))}
    config = sc.build_config([("c.json", {"tasks": [task("a", "0 2 * * *", not_on=sorted(files))]})],
                             read_dates=files.__getitem__)
    warning, = sc.suspicions(config, at("2025-06-07T12:00:00Z"))
    assert (warning.field, warning.text) == (
        "not_on", "not_on: h.ics: '%s' is no IANA time zone; its times are read in the task's zone" % shown)


def test_an_event_of_its_own_takes_the_place_of_a_recurrence():
    long = "UID:040000008200E00074C5B7101A82E00800000000000000000000000000000000000000000000%d"
    files = {"h.ics": ics(
        *event(long % 1, "DTSTART;VALUE=DATE:20201225", "RRULE:FREQ=YEARLY") + event(
            long % 1, "RECURRENCE-ID;VALUE=DATE:20261225", "DTSTART;VALUE=DATE:20261228") + event(
            long % 2, "DTSTART;VALUE=DATE:20200501", "RRULE:FREQ=YEARLY") + event(
            long % 2, "RECURRENCE-ID;VALUE=DATE:20261225", "DTSTART;VALUE=DATE:20260504"))}
    assert days_off("h.ics", 2026, files=files) == ["2026-05-01", "2026-05-04", "2026-12-28"]
    assert days_off("h.ics", 2027, files=files) == ["2027-05-01", "2027-12-25"]


def test_a_recurrence_that_lasts_longer_begins_on_its_own_day():
    files = {"h.ics": ics(*event("UID:1", "DTSTART:20201225", "RRULE:FREQ=YEARLY") + event(
        "UID:1", "RECURRENCE-ID:20261225", "DTSTART:20261225", "DTEND:20261228"))}
    assert days_off("h.ics", 2026, files=files) == ["2026-12-25", "2026-12-26", "2026-12-27"]


@pytest.mark.parametrize("lines, text", [
    (["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=WEEKLY"],
     "line 6: RRULE:FREQ=WEEKLY: FREQ=WEEKLY is not understood"),
    (["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY;BYSETPOS=1"],
     "line 6: RRULE:FREQ=YEARLY;BYSETPOS=1: BYSETPOS is not understood"),
    (["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY;BYDAY=20MO;BYMONTH=1"],
     "line 6: RRULE:FREQ=YEARLY;BYDAY=20MO;BYMONTH=1: BYDAY=20MO is not understood"),
    (["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY;BYDAY=MO"],
     "line 6: RRULE:FREQ=YEARLY;BYDAY=MO: BYDAY without BYMONTH is not understood"),
    (["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY;INTERVAL=0"],
     "line 6: RRULE:FREQ=YEARLY;INTERVAL=0: 0 is out of range"),
    (["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY", "RRULE:FREQ=YEARLY;COUNT=2"],
     "line 7: a second RRULE"),
    (["DTSTART;VALUE=DATE:99991231", "DTEND:00000101"],
     "line 6: DTEND:00000101: year 0 is out of range"),
    (["DTSTART;VALUE=DATE:20261332"], "line 5: DTSTART:20261332: month must be in 1..12"),
    (["DTSTART;TZID=Nowhere/Here:20261225T000000"],
     "line 5: DTSTART:20261225T000000: unknown time zone 'Nowhere/Here' (use an IANA name such as "
     "Europe/Paris or UTC)"),
    (["RDATE;VALUE=PERIOD:20260101T000000Z/P1D", "DTSTART:20260101"],
     "line 5: RDATE:20260101T000000Z/P1D: this is not a date or time"),
    (["DTSTART:20260101", "DURATION:1D"], "line 6: DURATION:1D is not a duration"),
    (["DTSTART:20260101T000000", "DURATION:P99999999999999W"],
     "line 6: DURATION:P99999999999999W is too long"),
    (["SUMMARY:none"], "line 3: the event has no DTSTART"),
    (["DTSTART:20260101,20260102"], "line 5: DTSTART has several times"),
    (["DTSTART:20260101", "DTEND:20260103,20260102"], "line 6: DTEND has several times"),
    (["DTSTART:20260101", "DTEND:20260103", "DTEND:20260102"], "line 7: a second DTEND"),
    (["DTSTART:20260101", "DURATION:P2D", "DURATION:P1D"], "line 7: a second DURATION"),
    (["DTSTART:20260101", "RECURRENCE-ID:20260101,20270101"],
     "line 6: RECURRENCE-ID has several times"),
    (["DTSTART:20260101", "RECURRENCE-ID:20260101", "RECURRENCE-ID:20270101"],
     "line 6: RECURRENCE-ID has several times"),
    (["DTSTART:20260101", "RECURRENCE-ID:20260101;RANGE=THISANDFUTURE"],
     "line 6: RECURRENCE-ID:20260101;RANGE=THISANDFUTURE: this is not a date or time"),
    (["DTSTART:20260101", "nonsense"], "line 6: 'nonsense' is not a line of a calendar"),
    (["DTSTART:20260101", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260101"],
     "line 6: RECURRENCE-ID with RANGE is not understood"),
    (["DTSTART;VALUE=DATE:2026", " 1225x", "X:y"],
     "line 5: DTSTART:20261225x: this is not a date or time"),
    (["SUMMARY:a", "DTSTART;VALUE=DATE:2026", " 1225x", " y"],
     "line 6: DTSTART:20261225xy: this is not a date or time"),
    (["DTSTART:20260101", "DURATION:P7320DT1S"], "line 6: DURATION:P7320DT1S is too long"),
    (["DTSTART:20260101", "DURATION:P%sD" % ("9" * 5000)],
     "line 6: DURATION:P%s... is too long" % ("9" * 36)),
    (["DTSTART:20260101", "DURATION:PT%sS" % ("9" * 37)],
     "line 6: DURATION:PT%sS is too long" % ("9" * 37)),
    (["DTSTART:20260101", "DURATION:PT%sS" % ("9" * 38)],
     "line 6: DURATION:PT%s... is too long" % ("9" * 35)),
] + [(["DTSTART:20260101", "RRULE:FREQ=YEARLY;" + part],
      "line 6: RRULE:FREQ=YEARLY;%s: %s is out of range" % (part, part.partition("=")[2]))
     for part in ("INTERVAL=1001", "COUNT=0", "COUNT=10001", "BYMONTH=0", "BYMONTH=13",
                  "BYMONTHDAY=32", "BYMONTHDAY=-32")])
def test_what_is_not_understood_of_a_calendar_is_named(lines, text):
    files = {"h.ics": ics(*event("UID:1", *lines))}
    assert problem_of(files, not_on="h.ics")[0] == "not_on: h.ics: " + text


def shown(text, length):
    """A text as it is shown where so many characters are."""
    return text if len(text) <= length else text[:length - 3] + "..."


@pytest.mark.parametrize("more", [0, 1])
def test_of_what_is_long_the_beginning_is_shown(more):
    long, longer, long_line = "x" * (40 + more), "x" * (60 + more), "x" * (40 + more)
    rule = "FREQ=YEARLY;" + "X" * (48 + more)
    for lines, text in (
            (["DTSTART:" + long], "line 5: DTSTART:%s: this is not a date or time" % shown(long, 40)),
            (["DTSTART:20260101", "DURATION:" + long],
             "line 6: DURATION:%s is not a duration" % shown(long, 40)),
            (["DTSTART:20260101", long_line],
             "line 6: '%s' is not a line of a calendar" % shown(long_line, 40)),
            (["DTSTART:20260101", "END:" + long], "line 6: END:%s does not fit" % shown(long, 40)),
            (["DTSTART:20260101", "RRULE:" + rule],
             "line 6: RRULE:%s: %s is not understood" % (shown(rule, 60), "X" * (48 + more))),
            (["DTSTART:20260101", "RRULE:FREQ=YEARLY;BYMONTH=1;BYDAY=" + "X" * (20 + more)],
             "line 6: RRULE:%s: BYDAY=%s is not understood" % (
                 shown("FREQ=YEARLY;BYMONTH=1;BYDAY=" + "X" * (20 + more), 60),
                 shown("X" * (20 + more), 20)))):
        files = {"h.ics": ics(*event("UID:1", *lines))}
        assert problem_of(files, not_on="h.ics")[0] == "not_on: h.ics: " + text
    part, = sc.events_off(ics(*event("SUMMARY:" + longer, "DTSTART:20260101")), sc.zone_named("UTC"))
    assert part.words == shown(longer, 60)
    part, = sc.days_off_in("2026-01-01 # " + longer, "days.txt", sc.zone_named("UTC"))
    assert part.words == shown(longer, 60)
    days = "1" * (60 + more)
    span = "..".join(["12-25"] * 9 if more else ["2026-12-25"] * 4 + ["12-25"] * 2)
    assert len(span) == 60 + more
    for entry, text in ((longer, "is neither a date nor a weekday"), (days, "is not a date"),
                        (span, "is not a range of dates")):
        assert problem_of(not_on=entry)[0] == "not_on: '%s' %s" % (shown(entry, 60), text)
    dotted = "x." + "x" * (58 + more)
    assert problem_of({"days.txt": dotted}, not_on="days.txt")[0] == (
        "not_on: days.txt: line 1: '%s' is not a date" % shown(dotted, 60))
    assert problem_of(only_between=long)[0] == (
        "only_between: '%s' is not a range of times" % shown(long, 40))


@pytest.mark.parametrize("content, text", [
    ("", "it does not begin with BEGIN:VCALENDAR"),
    ("2026-12-25\n", "it does not begin with BEGIN:VCALENDAR"),
    (ics(*event("UID:1", "DTSTART:20261225"))[:68], "the file is cut off: END:VEVENT is missing"),
    (ics("END:VEVENT"), "line 3: END:VEVENT does not fit"),
])
def test_a_damaged_calendar_is_no_empty_one(content, text):
    assert problem_of({"h.ics": content}, not_on="h.ics")[0] == "not_on: h.ics: " + text


def test_the_reason_names_the_entry_and_the_event():
    files = {"h.ics": ics(*event("SUMMARY;LANGUAGE=en:Christmas\\, first", "  day",
                                 "DTSTART;VALUE=DATE:20261225"))}
    config = sc.build_config([("c.json", {"tasks": [task("a", not_on=["h.ics", "sat"])]})],
                             read_dates=files.__getitem__)
    calendar = config.tasks["a"].calendar
    assert calendar.reason(at("2026-12-25T10:00:00Z")) == (
        "2026-12-25 is in not_on: h.ics (Christmas, first day)")
    assert calendar.reason(at("2026-12-26T10:00:00Z")) == "2026-12-26 is in not_on: sat"


# -- the window

@pytest.mark.parametrize("text, zone, since, opening", [
    ("22:00-06:00", "UTC", "2025-06-02T06:00:00Z", "2025-06-02T22:00:00Z"),
    ("22:00-06:00", "UTC", "2025-06-02T05:59:59Z", "2025-06-02T05:59:59Z"),
    ("22:00-06:00", "UTC", "2025-06-02T23:00:00Z", "2025-06-02T23:00:00Z"),
    ("8:00-12:00, 14:00-24:00", "UTC", "2025-06-02T12:00:00Z", "2025-06-02T14:00:00Z"),
    ("8:00-12:00,14:00-24:00", "UTC", "2025-06-02T00:00:00Z", "2025-06-02T08:00:00Z"),
    ("21:59-06:59", "UTC", "2025-06-02T06:59:00Z", "2025-06-02T21:59:00Z"),
    ("01:00-02:00", "Europe/Paris", "2025-06-02T06:00:00Z", "2025-06-02T23:00:00Z"),
    # the hour that spring skips: the window opens behind it, or not at all
    ("02:30-04:00", "Europe/Paris", "2025-03-30T00:30:00Z", "2025-03-30T01:00:00Z"),
    ("02:15-02:45", "Europe/Paris", "2025-03-30T00:30:00Z", "2025-03-31T00:15:00Z"),
    # the hour that autumn repeats is open twice
    ("02:15-02:45", "Europe/Paris", "2025-10-26T00:50:00Z", "2025-10-26T01:15:00Z"),
])
def test_a_window_opens_by_the_clocks_of_its_zone(text, zone, since, opening):
    assert sc.iso(sc.Window(text, zone).opening(at(since))) == opening


@pytest.mark.parametrize("text, said", [
    ("22-06", "'22-06' is not a range of times"),
    ("22:00-24:01", "'22:00-24:01' is not a range of times"),
    ("24:00-06:00", "'24:00-06:00' is not a range of times"),
    ("22:60-06:00", "'22:60-06:00' is not a range of times"),
    ("22:00-06:00,", "'' is not a range of times"),
    ("06:00-06:00", "'06:00-06:00' starts and ends at the same time"),
    ("00:00-24:00", "'00:00-24:00' starts and ends at the same time"),
])
def test_a_bad_window_is_a_problem(text, said):
    assert problem_of(only_between=text)[0] == "only_between: " + said


def test_a_slot_waits_for_its_window_without_a_place():
    world = World(task("a", "0 14 * * *", only_between="22:00-06:00"), task("b", "0 14 * * *"),
                  max_concurrent_tasks=1)
    world.tick("2025-06-02T10:00:00Z")
    assert world.tick("2025-06-02T14:00:00Z") == ["b@2025-06-02T14:00:00Z"]
    world.finish("b", "2025-06-02T14:01:00Z")
    assert sc.iso(world.decision.wake_at) == "2025-06-02T22:00:00Z"
    now = at("2025-06-02T15:00:00Z")
    of_a = status_at(world, now, now)["tasks"][0]
    assert (of_a["state"], of_a["next_run"]) == ("queued", "2025-06-02T22:00:00Z")
    assert of_a["reason"] == ("since 2025-06-02T14:00:00Z until 2025-06-02T22:00:00Z "
                              "(only_between 22:00-06:00)")
    assert status_at(world, at("2025-06-02T21:59:00Z"), at("2025-06-02T21:59:00Z"))["healthy"]
    assert world.tick("2025-06-02T21:59:00Z") == []
    assert world.tick("2025-06-02T22:00:00Z") == ["a@2025-06-02T14:00:00Z"]


def test_a_start_deadline_counts_while_the_window_is_closed():
    world = World(task("a", "0 14 * * *", only_between="22:00-06:00", start_deadline=3600))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-02T14:00:00Z")
    assert sc.iso(world.decision.wake_at) == "2025-06-02T15:00:00Z"
    world.tick("2025-06-02T15:01:00Z")
    assert world.said() == [("a", "skipped_late", "2025-06-02T14:00:00Z")]
    assert world.verdicts[0]["reason"] == (
        "queued too long (only_between 22:00-06:00): 3660 s late, start_deadline is 3600 s")


def test_a_retry_and_a_dependent_wait_for_their_window():
    world = World(task("a", "0 5 * * *", only_between="22:00-06:00", retry_count=1,
                       retry_delay=7200), task("b", "0 6 * * *", dependencies=["a"],
                                               only_between="08:00-09:00"))
    world.tick("2025-06-02T04:00:00Z")
    assert world.tick("2025-06-02T05:00:00Z") == ["a@2025-06-02T05:00:00Z"]
    world.finish("a", "2025-06-02T05:10:00Z", "failed")
    now = at("2025-06-02T05:20:00Z")
    of_a = status_at(world, now, now)["tasks"][0]
    assert of_a["next_run"] == "2025-06-02T22:00:00Z"
    assert of_a["reason"] == ("failed (exit 1); attempt 2 of 2 starts at the first tick after "
                              "2025-06-02T22:00:00Z (only_between 22:00-06:00)")
    world.tick("2025-06-02T06:00:00Z")
    assert sc.iso(world.decision.wake_at) == "2025-06-02T22:00:00Z"
    assert world.tick("2025-06-02T07:30:00Z") == []
    now = at("2025-06-02T07:30:30Z")
    assert status_at(world, now, now)["tasks"][1]["reason"] == (
        "'a' failed (exit 1) at 2025-06-02T05:10:00Z; retry due at "
        "2025-06-02T22:00:00Z (only_between 22:00-06:00)")
    assert world.tick("2025-06-02T22:00:00Z") == ["a@2025-06-02T05:00:00Z"]
    assert world.finish("a", "2025-06-02T22:10:00Z") == []  # b is let go, and waits for 08:00
    assert sc.iso(world.decision.wake_at) == "2025-06-03T05:00:00Z"
    assert world.tick("2025-06-03T08:00:00Z") == ["b@2025-06-02T06:00:00Z"]


@pytest.mark.parametrize("overlap, expected", [
    ("skip", [("skipped_overlap", "2025-06-02T15:00:00Z"), ("success", "2025-06-02T14:00:00Z")]),
    ("queue", [("success", "2025-06-02T14:00:00Z")])])
def test_the_next_slot_meets_one_that_waits_for_its_window_as_a_queued_one(overlap, expected):
    world = World(task("a", "0 14,15 * * *", only_between="22:00-06:00", overlap=overlap))
    world.tick("2025-06-02T10:00:00Z")
    world.tick("2025-06-02T14:00:00Z")
    world.tick("2025-06-02T15:00:00Z")
    assert world.tick("2025-06-02T22:00:00Z") == ["a@2025-06-02T14:00:00Z"]
    started = world.finish("a", "2025-06-02T22:01:00Z")
    assert [(status, slot) for _, status, slot in world.said()] == expected
    assert started == (["a@2025-06-02T15:00:00Z"] if overlap == "queue" else [])


# -- days off

def test_a_slot_on_a_day_off_is_skipped_with_the_reason():
    world = World(task("a", "0 2 * * *", not_on=["sunday", "06-09"]))
    world.tick("2025-06-07T10:00:00Z")
    assert world.tick("2025-06-08T02:00:00Z") == []
    assert world.tick("2025-06-09T02:00:00Z") == []
    assert world.tick("2025-06-10T02:00:00Z") == ["a@2025-06-10T02:00:00Z"]
    assert world.said() == [("a", "skipped_not_on", SUNDAY),
                            ("a", "skipped_not_on", "2025-06-09T02:00:00Z")]
    assert [verdict["reason"] for verdict in world.verdicts] == [
        "2025-06-08 is in not_on: sunday", "2025-06-09 is in not_on: 06-09"]


def test_of_missed_slots_the_newest_on_another_day_runs():
    world = World(task("a", "0 */6 * * *", not_on=["saturday", "sunday", "thursday"]))
    world.tick("2025-06-04T23:00:00Z")  # Wednesday
    assert world.tick("2025-06-08T13:00:00Z") == ["a@2025-06-06T18:00:00Z"]
    world.finish("a", "2025-06-08T13:01:00Z")
    fates = [(verdict["status"], verdict.get("merged_since"), verdict["scheduled_for"])
             for verdict in world.verdicts]
    assert fates == [
        ("skipped_not_on", "2025-06-05T00:00:00Z", "2025-06-05T18:00:00Z"),
        ("skipped_not_on", "2025-06-07T00:00:00Z", "2025-06-08T12:00:00Z"),
        ("success", "2025-06-06T00:00:00Z", "2025-06-06T18:00:00Z")]


def test_years_without_a_tick_cost_three_records():
    world = World(task("a", "*/5 * * * *", not_on=["saturday", "sunday", "12-24..01-02"]))
    world.tick("2025-06-07T10:00:00Z")
    assert world.tick("2035-06-10T13:00:00Z") == ["a@2035-06-08T23:55:00Z"]
    assert [status for _, status, _ in world.said()] == ["skipped_not_on", "skipped_not_on"]


def test_a_dependent_needs_no_slot_on_a_day_off():
    world = World(task("d", "0 2 * * *", not_on="sunday"),
                  task("a", "0 3 * * *", dependencies=["d"]))
    world.tick("2025-06-07T01:00:00Z")
    world.tick("2025-06-07T02:00:00Z")
    world.finish("d", "2025-06-07T02:10:00Z")
    assert world.tick("2025-06-07T03:00:00Z") == ["a@2025-06-07T03:00:00Z"]
    world.finish("a", "2025-06-07T03:10:00Z")
    world.tick(SUNDAY)
    assert world.tick("2025-06-08T03:00:00Z") == ["a@2025-06-08T03:00:00Z"]  # on Saturday's d
    world.finish("a", "2025-06-08T03:10:00Z")
    world.tick("2025-06-09T02:00:00Z")
    assert world.tick("2025-06-09T03:00:00Z") == []  # on Monday it is needed again


def test_a_failure_before_a_day_off_is_what_a_dependent_waits_for():
    world = World(task("d", "0 2 * * *", not_on="sunday"),
                  task("a", "0 3 * * *", dependencies=["d"]))
    world.tick("2025-06-07T01:00:00Z")
    world.tick("2025-06-07T02:00:00Z")
    world.finish("d", "2025-06-07T02:10:00Z", "failed")
    world.tick(SUNDAY)
    world.tick("2025-06-08T03:00:00Z")
    now = at("2025-06-08T03:00:30Z")
    of_a = status_at(world, now, now)["tasks"][1]
    assert of_a["reason"] == "'d' failed (exit 1) at 2025-06-07T02:10:00Z"


def test_a_wait_for_a_dependency_does_not_give_way_to_a_day_off():
    world = World(task("d", "0 2 * * 6"), task("a", "0 3 * * *", dependencies=["d"],
                                               not_on="sunday"))
    world.tick("2025-06-07T01:00:00Z")
    world.tick("2025-06-07T02:00:00Z")
    world.tick("2025-06-07T03:00:00Z")
    world.tick("2025-06-08T03:00:00Z")
    assert world.said() == [("a", "skipped_not_on", "2025-06-08T03:00:00Z")]
    assert world.finish("d", "2025-06-08T04:00:00Z") == ["a@2025-06-07T03:00:00Z"]


def test_a_task_without_a_schedule_has_its_slot_when_its_dependencies_have_succeeded():
    world = World(task("d", "0 2 * * *"), task("a", dependencies=["d"], not_on="sunday"))
    world.tick("2025-06-07T23:00:00Z")
    world.tick(SUNDAY)
    assert world.finish("d", "2025-06-08T02:10:00Z") == []
    assert world.said()[-1] == ("a", "skipped_not_on", "2025-06-08T02:10:00Z")
    world.tick("2025-06-09T02:00:00Z")
    assert world.finish("d", "2025-06-09T02:10:00Z") == ["a@2025-06-09T02:10:00Z"]


def test_a_start_on_a_day_off_is_no_slot_of_reboot():
    world = World(task("a", "@reboot", not_on="sunday"), task("b", "@reboot"))
    world.tick("2025-06-07T23:00:00Z")
    world.boot, world.booted_at = "boot-2", at(SUNDAY)
    assert world.tick("2025-06-08T02:01:00Z") == ["b@" + SUNDAY]
    assert world.said() == [("a", "skipped_not_on", SUNDAY)]
    world.boot, world.booted_at = "boot-3", at("2025-06-09T02:00:00Z")
    assert "a@2025-06-09T02:00:00Z" in world.tick("2025-06-09T02:01:00Z")


def test_status_and_next_name_the_slot_that_runs():
    world = World(task("a", "0 2 * * *", not_on="sunday"))
    world.tick("2025-06-07T10:00:00Z")
    now = at("2025-06-07T12:00:00Z")
    assert status_at(world, now, now)["tasks"][0]["next_run"] == "2025-06-09T02:00:00Z"
    slots = sc.coming_slots(world.config, world.state, now, now, 7)
    assert [sc.iso(slot)[8:10] for slot, _ in slots] == ["09", "10", "11", "12", "13", "14", "16"]
    # due and not decided yet: the newest of those that run
    late = at("2025-06-08T12:00:00Z")
    assert sc.coming_slots(world.config, world.state, now, late, 1) == [
        (at("2025-06-09T02:00:00Z"), "a")]


def test_check_warns_of_dates_that_have_run_out_and_of_a_task_that_never_runs():
    files = {"old.txt": "2019-05-01\n2020-01-01\n", "none.txt": "# nothing\n",
             "new.txt": "2020-01-01\n12-25\n", "today.txt": "2025-06-07\n",
             "old.ics": ics(*event("DTSTART:20200101", "RRULE:FREQ=YEARLY;COUNT=2"))}
    config = sc.build_config([("c.json", {"tasks": [
        task("a", "0 2 * * *", not_on=sorted(files)),
        task("b", "0 2 * * 0", not_on="sunday")], "settings": {"timezone": "UTC"}})],
        read_dates=files.__getitem__)
    warnings = [problem.text for problem in sc.suspicions(config, at("2025-06-07T12:00:00Z"))]
    assert warnings == ["not_on: none.txt has no dates", "not_on: old.ics has no dates after "
                        "2021-01-01", "not_on: old.txt has no dates after 2020-01-01",
                        "not_on: every slot to come is on a day off"]
    # as a Calendar says: the last day, 0 without any date, None where the dates have no end
    assert config.tasks["a"].calendar.files == {
        "none.txt": 0, "new.txt": None, "old.txt": sc.day_number(2020, 1, 1),
        "old.ics": sc.day_number(2021, 1, 1), "today.txt": sc.day_number(2025, 6, 7)}


@pytest.mark.parametrize("schedule, deadline, warnings", [
    ("0 12 * * *", 3600, ["only_between: no slot starts within its start_deadline of 3600 s"]),
    ("0 12 * * *", 10 * 3600, []),
    ("* * * * *", 60, []),
    (["0 12 * * 1-5", "0 23 * * 0"], 60, []),
    ("0 12 1 * *", 60, ["only_between: no slot starts within its start_deadline of 60 s"]),
])
def test_check_warns_of_a_window_that_opens_too_late_for_each_slot(schedule, deadline, warnings):
    config = sc.build_config([("c.json", {"tasks": [
        task("a", schedule, only_between="22:00-06:00", start_deadline=deadline)]})])
    assert [problem.text for problem in sc.suspicions(config, at(SUNDAY))] == warnings


def test_why_and_next_say_that_a_window_opens_too_late(hand):
    hand.configure(task("a", "0 12 * * *", only_between="22:00-06:00", start_deadline=60))
    hand.tick()
    assert "too late to start (only_between 22:00-06:00)" in " ".join(hand.call("why", "a")[1].split())
    assert "(too late to start: only_between 22:00-06:00)" in " ".join(hand.call("next")[1].split())


def test_a_month_with_all_of_it_leaves_no_slot_unexplained(monkeypatch):
    tasks = {document["name"]: document for document in (
        task("every5", ["*/5 * * * *", "0 3 * * *"], not_on=["sunday", "12-24..12-26"]),
        task("hourly", "7 * * * *", only_between="22:00-06:00", retry_count=2, retry_delay=240),
        task("gap", ["30 2 * * *", "30 14 * * *"], timezone="Europe/Paris", not_on="wednesday"),
        task("slow", "*/10 * * * *", only_between="08:00-12:00,13:00-18:00", overlap="queue"),
        task("queued", "*/15 * * * *", overlap="queue", not_on=["friday", "sat"],
             only_between="20:00-09:00", start_deadline=7200),
        task("hasty", "*/10 * * * *", overlap="queue", start_deadline=1500, not_on="monday"),
        task("prompt", "*/30 * * * *", start_deadline=120, only_between="00:15-23:45"),
        task("scan", "0 2 * * *", not_on="sunday"),
        task("analyse", "30 2 * * *", dependencies=["scan"], only_between="03:00-05:00"),
        task("joined", dependencies=["scan", "hourly"], not_on="thursday"),
        task("spread", "H H(0-5) * * *", not_on="tuesday"),
    )}
    monkeypatch.setattr(stories, "original_tasks", lambda: dict(tasks))
    month = Month(3, "2025-03-10T00:00:00Z").live(31)
    slots = list(month.audit())
    assert [slot for slot in slots if slot.fate in sc.UNEXPLAINED] == []
    assert {slot.fate for slot in slots} >= {"success", "skipped_not_on", "merged"}
    assert month.gaps > 5 and any(slot.was_off for slot in slots)


def test_simulate_waits_for_windows_and_counts_days_off():
    config = sc.build_config([("c.json", {"tasks": [
        task("a", ["0 14 * * *", "0 15 * * 1"], only_between="22:00-06:00", not_on="sunday")],
        "settings": {"timezone": "UTC"}})])
    forecast, = symphony_simulate.simulate(config, {"a": 60}, at("2025-06-03T00:00:00Z"), 7)
    assert (forecast.runs, forecast.days_off, forecast.overlaps) == (6, 1, 1)
    assert set(forecast.delays) == {8 * 3600.0}
    text = symphony_simulate.simulation_text([forecast], 7)
    assert text.splitlines()[-1] == "  - a: 1 slot on days off (not_on)"


# -- the commands and the files

def test_every_command_tells_of_days_off_and_windows(hand):
    hand.configure(task("off", "0 12 * * *", not_on="tuesday"),
                   task("late", "30 11 * * *", only_between="22:00-06:00"))
    hand.tick("2025-06-02T13:00:00Z")
    assert hand.tick("2025-06-03T11:30:00Z") == []
    assert hand.tick("2025-06-03T12:00:00Z") == []
    hand.move("2025-06-03T12:00:10Z")
    assert hand.call("next", "--count", "3") == (0, (
        "Tue 2025-06-03 22:00 +0000  late  (slot Tue 2025-06-03 11:30 +0000: waiting\n"
        "    (only_between 22:00-06:00))\n"
        "Wed 2025-06-04 11:30 +0000  late  (starts Wed 2025-06-04 22:00 +0000:\n"
        "    only_between 22:00-06:00)\n"
        "Wed 2025-06-04 12:00 +0000  off\n"
        "Thu 2025-06-05 11:30 +0000  late  (starts Thu 2025-06-05 22:00 +0000:\n"
        "    only_between 22:00-06:00)\n"), "")
    coming = json.loads(hand.call("next", "--count", "1", "--json")[1])
    assert coming == [
        {"task": "late", "scheduled_for": "2025-06-03T11:30:00Z",
         "starts_at": "2025-06-03T22:00:00Z"},
        {"task": "late", "scheduled_for": "2025-06-04T11:30:00Z",
         "starts_at": "2025-06-04T22:00:00Z"}]
    assert hand.call("next", "--task", "off", "--count", "13")[1].endswith(
        "skipped: off: 2025-06-10 is in not_on: tuesday (and 1 more day)\n")
    said = " ".join(hand.call("why", "off")[1].split())
    assert said.startswith("off: the slot Tue 2025-06-03 12:00 +0000 was skipped: "
                           "2025-06-03 is in not_on: tuesday. Next run: Wed 2025-06-04")
    said = " ".join(hand.call("why", "late")[1].split())
    assert said == ("late: the slot Tue 2025-06-03 11:30 +0000 is not finished yet. It is now "
                    "queued since 2025-06-03T11:30:00Z until 2025-06-03T22:00:00Z (only_between "
                    "22:00-06:00). Next run: Tue 2025-06-03 22:00 +0000 (in 9h 59m). It runs "
                    "as configured: only between 22:00-06:00.")
    assert "1 skipped: a day off (not_on)" in " ".join(hand.call("audit")[1].split())
    assert hand.tick("2025-06-03T22:00:00Z") == ["late@2025-06-03T11:30:00Z"]
    hand.tick("2025-06-03T22:00:10Z")
    said = " ".join(hand.call("why", "late")[1].split())
    assert "It waited until Tue 2025-06-03 22:00 +0000 (only_between 22:00-06:00)." in said


def test_a_run_by_hand_is_bound_by_neither(project):
    project.configure(task("a", "0 12 * * *", not_on=["01-01..12-31"], only_between="00:00-00:01"))
    assert project.call("run", "--task", "a")[0] == 0


def write(hand, name, text, mode=0o600):
    path = hand.root / name
    path.write_text(text)
    path.chmod(mode)
    settle(path)
    return path


def test_a_change_to_a_file_of_dates_wakes_the_idle_tick(hand):
    path = write(hand, "config/free.txt", "2025-06-03\n")
    hand.configure(task("a", "0 12 * * *", not_on="config/free.txt"))
    hand.tick()
    assert hand.minute() == []
    heartbeat = str(hand.root / sc.HEARTBEAT_NAME).encode()
    assert sc.nothing_to_do(heartbeat, hand.clock.at + 1, hand.clock.mono + 1)
    write(hand, "config/free.txt", "2025-06-02\n# more\n")
    assert not sc.nothing_to_do(heartbeat, hand.clock.at + 1, hand.clock.mono + 1)
    hand.minute()
    assert sc.nothing_to_do(heartbeat, hand.clock.at + 1, hand.clock.mono + 1)
    assert hand.tick("2025-06-02T12:00:00Z") == []
    assert hand.state().tasks["a"].marks == "-"
    path.unlink()
    assert not sc.nothing_to_do(heartbeat, hand.clock.at + 1, hand.clock.mono + 1)
    hand.minute()
    code, out, err = hand.call("check")
    assert (code, err) == (78, "config/conductor_config.json: tasks[0] 'a': not_on: config/free.txt:"
                           " cannot be read: No such file or directory (correct the path, or create"
                           " the file)\n")
    assert hand.tick("2025-06-03T12:00:00Z") == []  # never run as if there were no holidays


def test_a_process_that_decides_twice_sees_a_changed_file(hand):
    write(hand, "free.txt", "2025-06-03\n")
    hand.configure(task("a", "0 12 * * *", not_on="free.txt"), task("b", "0 12 * * *"))
    conductor = hand.conductor()
    conductor.tick()
    write(hand, "free.txt", "2025-06-02\n# more\n")
    hand.move("2025-06-02T12:00:00Z")
    conductor.tick()
    assert hand.started == ["b@2025-06-02T12:00:00Z"]


@pytest.mark.parametrize("mode, said", [
    (0o606, "others can write to it (chmod o-w %s)"), (0o622, "others can write to it (chmod go-w %s)")])
def test_a_file_of_dates_that_others_may_write_is_refused(hand, mode, said):
    path = write(hand, "free.txt", "2025-06-03\n", mode)
    hand.configure(task("a", "0 12 * * *", not_on="free.txt"), task("b", "0 12 * * *"))
    code, out, err = hand.call("check")
    assert code == 78 and "not_on: free.txt: " + said % path in err
    hand.tick()
    assert hand.tick("2025-06-02T12:00:00Z") == ["b@2025-06-02T12:00:00Z"]


@pytest.mark.parametrize("content", [b"2025-06-03 \xff\n", None])
def test_what_cannot_be_read_is_a_problem_of_the_task(hand, content):
    path = hand.root / "free.txt"
    path.mkdir() if content is None else path.write_bytes(content)
    hand.configure(task("a", "0 12 * * *", not_on="free.txt"))
    code, _, err = hand.call("check")
    assert code == 78 and "not_on: free.txt: " in err and "Traceback" not in err


def test_files_of_dates_are_read_with_the_last_good_configuration(hand):
    write(hand, "free.txt", "2025-06-02\n")
    hand.configure(task("a", "0 12 * * *", not_on="free.txt"), task("b", "0 12 * * *"))
    hand.tick()
    hand.project.write_config("{")
    assert hand.tick("2025-06-02T12:00:00Z") == ["b@2025-06-02T12:00:00Z"]


def test_a_real_run_keeps_to_its_days_and_its_window(project):
    """Real processes: the clock is moved, and what a tick starts is a command."""
    (project.root / "free.ics").write_text(ics(*event(
        "SUMMARY:Founder's day", "DTSTART;VALUE=DATE:20250603", "RRULE:FREQ=YEARLY")))
    (project.root / "free.ics").chmod(0o600)
    settle(project.root / "free.ics")
    project.configure(
        task("a", ["0 12 * * *", "0 20 * * *"], not_on="free.ics", command="echo a >> ran"),
        task("b", "0 12 * * *", only_between="13:00-14:00", command="echo b >> ran"),
        timezone="UTC")

    def tick(when):
        project.tick(at(when))
        project.wait_until(lambda: all("run" not in state for state
                                       in project.state()["tasks"].values()))
        return project.lines("ran")

    assert tick("2025-06-02T19:00:00Z") == []
    assert tick("2025-06-02T20:00:00Z") == ["a"]
    assert tick("2025-06-03T12:00:00Z") == ["a"]
    assert tick("2025-06-03T13:00:00Z") == ["a", "b"]
    assert tick("2025-06-04T12:00:00Z") == ["a", "b", "a"]
    assert [(line["scheduled_for"], line["reason"]) for line in project.history()
            if line["status"] == "skipped_not_on"] == [
        ("2025-06-03T%s:00:00Z" % hour, "2025-06-03 is in not_on: free.ics (Founder's day)")
        for hour in ("12", "20")]


def test_no_damage_to_a_calendar_is_more_than_a_problem():
    whole = ics(*event("UID:1", "SUMMARY:a", "DTSTART;TZID=Europe/Paris:20201225T000000",
                       "DTEND;TZID=Europe/Paris:20201226T000000", "EXDATE;VALUE=DATE:20251225",
                       "RRULE:FREQ=YEARLY;COUNT=9;BYMONTH=12;BYDAY=-1FR"))
    rng = random.Random(1)
    for _ in range(400):
        text = list(whole)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(15, len(text))
            text[place:place + rng.randint(0, 3)] = rng.choice(
                ["", "\r\n", ";", ":", "=", ",", "-", "9", "00", "\0", "\xe9", "Z"])
        try:
            parts = sc.days_off_in("".join(text), "h.ics", sc.zone_named("UTC"))
            sc.Calendar(parts, "UTC", {}, {}).words_on(sc.day_number(2025, 1, 1))
        except sc.ConductorError as error:
            assert str(error)


def test_a_task_that_is_off_on_all_days_is_answered_at_once():
    config = sc.build_config([("c.json", {"tasks": [
        task("a", "*/5 * * * *", not_on=[name.lower() for name in sc.WEEKDAYS]),
        task("b", "*/5 * * * *", not_on="2000-01-01..2100-01-01")]})])
    for each in config.tasks.values():
        assert sc.slot_after(each, at(SUNDAY)) is None and sc.slot_until(each, at(SUNDAY)) is None


def test_thousands_that_ask_for_the_same_years_of_days_off_look_once(monkeypatch):
    config = sc.build_config([("c.json", {"tasks": [
        task("t%d" % number, "*/5 * * * *", not_on="2000-01-01..2100-01-01")
        for number in range(50)]})])
    days = []
    words_on = sc.Calendar.words_on
    monkeypatch.setattr(sc.Calendar, "words_on", lambda self, day: (
        days.append(day) or words_on(self, day)))
    for each in config.tasks.values():
        assert sc.slot_after(each, at(SUNDAY)) is None and sc.slot_until(each, at(SUNDAY)) is None
    assert len(days) < 4 * sc.SEARCH_DAYS


def test_a_slot_skipped_by_hand_that_is_on_a_day_off_by_now_has_one_verdict():
    world = World(task("a", "0 2 * * *"))
    world.tick("2025-06-06T10:00:00Z")
    world.state, _ = sc.skip_slot(world.state, world.config.tasks["a"], world.last_seen,
                                  world.last_seen, "me")
    world.configure(task("a", "0 2 * * *", not_on="saturday"))
    assert world.tick("2025-06-07T02:00:00Z") == []
    assert world.said() == [("a", "skipped_not_on", "2025-06-07T02:00:00Z")]
    assert world.state.tasks["a"].skips == {}
