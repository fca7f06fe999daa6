"""Schedules at the edges of what a field takes: the numbers of each field, and what is refused."""

import datetime

import pytest
from recorded import at, utc

import symphony_conductor as sc

MINUTE, HOUR, MONTHDAY, MONTH, WEEKDAY = range(5)
NAMES = ["task%d" % number for number in range(60)]


def numbers(place, text, name="task"):
    """What one field of an expression asks for."""
    return sorted(sc._parsed_field(sc.FIELDS[place], text, name, False).values)


@pytest.mark.parametrize("place, text, expected", [
    (MINUTE, "000000059", [59]),
    (MINUTE, "*/0000000030", [0, 30]),  # any number of leading zeros
    (MINUTE, "*/000000030", [0, 30]),
    (MINUTE, "5-5", [5]),
    (MINUTE, "58-1", [0, 1, 58, 59]),
    (MINUTE, "50/5", [50, 55]),
    (HOUR, "22-2", [0, 1, 2, 22, 23]),
    (HOUR, "22-3/2", [0, 2, 22]),
    (MONTH, "nov-feb", [1, 2, 11, 12]),
    (MONTH, "january,DECEMBER", [1, 12]),
    (MONTHDAY, "30-2", [1, 2, 30, 31]),
    (WEEKDAY, "fri-mon", [0, 1, 5, 6]),
    (WEEKDAY, "7-2", [0, 1, 2]),
    (WEEKDAY, "sat-tue/2", [1, 6]),
    (WEEKDAY, "*/2", [0, 2, 4, 6]),
    (WEEKDAY, "5/1", [5, 6]),
    (WEEKDAY, "7-7", [0]),
    (WEEKDAY, "5-7", [0, 5, 6]),
    (WEEKDAY, "sunday,Wed", [0, 3]),
])
def test_the_numbers_of_a_field(place, text, expected):
    assert numbers(place, text) == expected


@pytest.mark.parametrize("place, first, count", [
    (MINUTE, 0, 60), (HOUR, 0, 24), (MONTHDAY, 1, 28), (MONTH, 1, 12), (WEEKDAY, 0, 7)])
def test_h_spreads_the_tasks_over_the_field_by_their_names(place, first, count):
    field = sc.FIELDS[place].name
    for name in NAMES:
        spread = sc.stable_hash(name + "\0" + field)
        assert numbers(place, "H", name) == [first + spread % count]
        assert numbers(place, "H/3", name) == list(range(first + spread % 3, first + count, 3))
        assert numbers(place, "H(2-4)", name) == [2 + spread % 3]


def test_a_step_of_h_may_be_as_long_as_its_range_and_no_longer():
    assert len(numbers(MINUTE, "H(0-9)/10")) == 1
    for text in ("H(0-9)/11", "H/61"):
        with pytest.raises(sc.CronSyntaxError) as caught:
            numbers(MINUTE, text)
        assert "has a step larger than the field" in str(caught.value)


@pytest.mark.parametrize("text, message, hint", [
    ("0000000059 * * * *", "minute '0000000059' is outside 0-59", ""),
    ("%s * * * *" % ("x" * 40), "minute '%s' is not understood" % ("x" * 40), ""),
    ("%s * * * *" % ("x" * 41), "minute '%s...' is not understood" % ("x" * 37), ""),
    ("0 0 L-0 * *", "day-of-month 'L-0' is outside L-1 to L-30", "for the last day write '0 0 L * *'"),
    ("0 0 L-31 * *", "day-of-month 'L-31' is outside L-1 to L-30", "for the last day write '0 0 L * *'"),
    ("0 0 L-31W * *", "day-of-month 'L-31W' is outside L-1 to L-30", "for the last day write '0 0 LW * *'"),
    ("0 0 */32 * *", "day-of-month '*/32' has a step larger than the field",
     "write '0 0 */31 * *', which means the same"),
    ("*/90 * * * *", "minute '*/90' has a step larger than the field",
     "every 90 minutes takes two schedules: '0 */3 * * *' and '30 1-22/3 * * *'"),
    ("0 0 L-0000000100 * *", "day-of-month 'L-0000000100' is outside L-1 to L-30",
     "for the last day write '0 0 L * *'"),
    ("*/0000000000 * * * *", "minute '*/0000000000' has step 0", "a step is 1 or more"),
    ("0/91 3 * * *", "minute '0/91' has a step larger than the field",
     "write '0 3 * * *', which means the same; a step counts within one hour: for longer intervals "
     "list the hours"),
    ("5~ * * * *", "minute '5~' is not understood",
     "write 'H(5-59) * * * *', which gives each task a fixed time of its own"),
    ("0 ~5 * * *", "hour '~5' is not understood",
     "write '0 H(0-5) * * *', which gives each task a fixed time of its own"),
    ("0 0 * * 5~", "day-of-week '5~' is not understood",
     "write '0 0 * * H(5-6)', which gives each task a fixed time of its own"),
    ("0 0 60 * *", "day-of-month '60' is outside 1-31", ""),  # no minute, and no hour
    ("0 0 * * 24", "day-of-week '24' is outside 0-7", ""),
    ("0 0 1 3~ *", "month '3~' is not understood",
     "write '0 0 1 H(3-12) *', which gives each task a fixed time of its own"),
])
def test_what_a_field_refuses(text, message, hint):
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(text, "task")
    assert caught.value.message.startswith(message)
    assert (caught.value.hint or "") == hint


@pytest.mark.parametrize("anchor", ["L-1", "L-30", "L-0000000030"])
def test_the_last_day_but_thirty_is_the_earliest(anchor):
    assert sc.CronSchedule("0 0 %s * *" % anchor).text == "0 0 %s * *" % anchor


def test_a_hint_has_a_mended_expression_of_120_columns_at_most():
    longest = "*15" + ",10" * 36
    assert sc._rewritten([longest] + ["*"] * 4, "task") == "*/15" + ",10" * 36 + " * * * *"
    assert sc._rewritten(["*15" + ",10" * 35 + ",9,9"] + ["*"] * 4, "task") == ""


@pytest.mark.parametrize("text, hint", [
    ("@every 59s", "a minute is the shortest interval: write '* * * * *'"),
    ("@every 60s", "write '* * * * *'"),
    ("@every 0s", ""),
    ("@every 61s", "no cron expression says that: an interval must divide an hour or a day evenly"),
    ("@every 7m", "no cron expression says that: an interval must divide an hour or a day evenly"),
    ("@every 12h", "write '0 */12 * * *'"),
    ("0 1 * *", "use * for a field that does not matter, as in '0 1 * * *'"),
    ("75 0 12 1 1 *", "there is no field for seconds: write '0 12 1 1 *', and begin the command with sleep 75;"),
    ("30 0 12 1 1 *", "there is no field for seconds: write '0 12 1 1 *' or, if the last field is the year, "
     "'30 0 12 1 1', and begin the command with sleep 30;"),
    ("0 5 1 1 * 2025", "there is no field for seconds or years: write '0 5 1 1 *', and begin the command with "
     "[ $(date +%Y) = 2025 ] || exit 0;"),
    ("TZ=UTC 0 1 * * * /x", "write '0 1 * * *'; the rest belongs in the command, and set \"timezone\": \"UTC\""),
    ("TZ=UTC 0 1 * * *", "write '0 1 * * *', and set \"timezone\": \"UTC\""),
    ("TZ=UTC @daily", "write '@daily', and set \"timezone\": \"UTC\""),
    ("0 5 1 1 * 2025 /x", ""),
    ("0 0 12 1 1 * 2025 7", "there is no field for seconds or years"),
    ("TZ=UTC @daily /opt/TZ=x/run", "write '@daily'; the rest belongs in the command, and set \"timezone\": \"UTC\""),
    ("TZ=UTC TZ=UTC 0 1 * * *", "set \"timezone\": \"UTC\""),
])
def test_the_hint_to_what_has_not_five_fields(text, hint):
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(text, "task")
    assert (caught.value.hint or "") == hint


def test_names_of_months_are_short_or_full():
    assert sc._named_numbers(1, ("JAN", "FEB"), ("January", "February")) == {
        "JAN": 1, "FEB": 2, "JANUARY": 1, "FEBRUARY": 2}


# -- what never fires

TWELVE = "January or February or March or April or May or June or July or August or September or October or November" \
    " or December"


@pytest.mark.parametrize("text, reason, hint", [
    ("0 0 31 4 *", "day-of-month 31 does not occur in April", "for the last day of the month write '0 0 L 4 *'"),
    ("0 0 31 6 *", "day-of-month 31 does not occur in June", "for the last day of the month write '0 0 L 6 *'"),
    ("0 0 31 9 *", "day-of-month 31 does not occur in September", "for the last day of the month write '0 0 L 9 *'"),
    ("0 0 31 11 *", "day-of-month 31 does not occur in November", "for the last day of the month write '0 0 L 11 *'"),
    ("0 0 L-30 4 *", "day-of-month L-30 does not occur in April", "for the last day of the month write '0 0 L 4 *'"),
    ("0 0 31W 2 */6", "day-of-month 31W does not occur in February",
     "for the last day of the month write '0 0 L 2 */6'"),
    # The nearest weekday is no Saturday or Sunday.
    ("0 0 15W * */6", "day-of-month '15W' and day-of-week '*/6' never fall on the same day in " + TWELVE, ""),
    ("0 0 LW 2 */6", "day-of-month 'LW' and day-of-week '*/6' never fall on the same day in February", ""),
    ("0 0 15W,31 4 */6", "day-of-month '15W,31' and day-of-week '*/6' never fall on the same day in April", ""),
    ("0 0 30W 4 */6", "day-of-month '30W' and day-of-week '*/6' never fall on the same day in April", ""),
    # Of a field, 40 columns are shown.
    ("0 0 */31%s 5 1#2" % (",1" * 18), "day-of-month '*/31%s' and day-of-week '1#2' never fall on the same day in May"
     % (",1" * 18), ""),
    ("0 0 */31,01%s 5 1#2" % (",1" * 17),
     "day-of-month '*/31,01%s...' and day-of-week '1#2' never fall on the same day in May" % (",1" * 15), ""),
    ("0 0 */31 5 01#2%s" % (",1#2" * 9),
     "day-of-month '*/31' and day-of-week '01#2%s,1#2' never fall on the same day in May" % (",1#2" * 8), ""),
    ("0 0 */31 5 001#2%s" % (",1#2" * 9),
     "day-of-month '*/31' and day-of-week '001#2%s...' never fall on the same day in May" % (",1#2" * 8), ""),
    ("0 0 L-030%s 2 *" % (",L-30" * 7), "day-of-month L-030%s does not occur in February" % (",L-30" * 7), None),
    ("0 0 L-0030%s 2 *" % (",L-30" * 7), "day-of-month L-0030%s,... does not occur in February" % (",L-30" * 6), None),
    ("00%s 0 30 2 *" % (",10" * 24), "day-of-month 30 does not occur in February",
     "for the last day of the month write '00%s 0 L 2 *'" % (",10" * 24)),  # 120 columns
    ("000%s 0 30 2 *" % (",10" * 24), "day-of-month 30 does not occur in February", "L is the last day of the month"),
])
def test_why_a_schedule_never_fires(text, reason, hint):
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(text, "task")
    assert caught.value.message.split(" never fires: ")[1] == reason
    assert hint is None or (caught.value.hint or "") == hint


# -- days and times at the edges

DAY = 86400


def slot_after(text, after, zone="UTC"):
    return sc.schedule_of(text).next(at(after), zone)


def slot_until(text, instant, zone="UTC"):
    return sc.schedule_of(text).previous(at(instant), zone)


@pytest.mark.parametrize("text, after, expected", [
    ("0 0 1-30 * *", "2025-01-30 00:00Z", "2025-02-01 00:00Z"),  # all days but one, all months but one
    ("0 0 * 1-11 *", "2025-11-30 00:00Z", "2026-01-01 00:00Z"),
    ("0 0 2W 8 *", "2025-07-01 00:00Z", "2025-08-01 00:00Z"),  # the 2nd is a Saturday, the 1st a Friday
    ("0 0 1 * *", "9997-01-01 00:00Z", "9997-02-01 00:00Z"),
    ("0 0 1 * *; 0 0 29 2 *", "9997-03-01 00:00Z", "9997-04-01 00:00Z"),  # the second has no slot any more
])
def test_the_next_slot_at_the_edge(text, after, expected):
    assert utc([slot_after(text, after)]) == [expected.replace("Z", ":00Z")]


@pytest.mark.parametrize("text, after", [
    ("0 0 29 2 *", "9997-03-01 00:00Z"),  # the next would be in the year 10000
    ("0 0 29 2 *; 0 0 29 2 *", "9997-03-01 00:00Z"),
    ("0 0 1 1 *; 0 0 2 1 *", "9999-12-30 00:00Z"),
])
def test_no_slot_up_to_the_end_of_the_calendar(text, after):
    assert slot_after(text, after) is None


@pytest.mark.parametrize("text, instant, expected", [
    ("0 0 1 * *; 0 0 29 2 *", "0003-03-15 00:00Z", "0003-03-01 00:00Z"),
    ("0 0 29 2 *; 0 0 29 2 *", "0003-03-15 00:00Z", None),
])
def test_the_newest_slot_at_the_beginning_of_the_calendar(text, instant, expected):
    assert slot_until(text, instant) == (expected and at(expected))


def test_days_are_looked_for_within_the_calendar_only():
    first, last = 1 - sc.EPOCH_ORDINAL, sc.LAST_ORDINAL - 1 - sc.EPOCH_ORDINAL
    schedule, february = sc.CronSchedule("0 0 1,20-31 * *"), sc.CronSchedule("0 0 1 2 *")
    assert [schedule._day_from(day) for day in (first - 1, first, last, last + 1)] == [None, first, last, None]
    assert february._day_from(first) == first + 31
    assert sc.CronSchedule("0 0 */31 1 5")._day_from(last) is None  # Friday, 1 January 9999
    assert [schedule._day_until(day) for day in (first - 1, last, last + 1)] == [None, last, None]
    third_month = first + 365 + 31  # of what is before, there is no newest day
    assert [schedule._day_until(day) for day in (third_month - 17, third_month)] == [None, third_month]


def test_a_fraction_of_a_second_counts_before_1970_as_it_does_since():
    schedule = sc.CronSchedule("* * * * *")
    assert schedule.next(-0.5, "UTC") == 0
    assert schedule.previous(-0.5, "UTC") == -60


@pytest.mark.parametrize("text, days", [
    ("0 0 5 * *", [5]), ("0 0 3-6,8-12,14 * *", [3, 4, 5, 6, 8, 9, 10, 11, 12, 14])])
def test_months_may_be_asked_for_in_any_order(text, days):
    # In these years a month's number, and that of the day before another begins, are the same.
    schedule = sc.CronSchedule(text)
    months = [datetime.date(year, month, 1).toordinal() - sc.EPOCH_ORDINAL for year in (2036, 2037)
              for month in range(1, 13)]
    for one in months:
        for other in months:
            assert schedule.previous((one + 27) * DAY, "UTC") == (one + days[-1] - 1) * DAY
            assert schedule.next((other - 1) * DAY, "UTC") == (other + days[0] - 1) * DAY


def test_fixed_times_across_a_change_of_more_than_a_day():
    if not sc.has_zone_data():
        pytest.skip("there is no zone data (install tzdata)")
    # Apia was 11 hours behind in the winter of 2011, and 14 ahead from the end of that year.
    assert slot_after("0 0 1 1 *", "2011-08-15 00:00Z", "Pacific/Apia") == at("2011-12-31 10:00Z")
    assert slot_until("0 0 1 8 *", "2012-01-15 00:00Z", "Pacific/Apia") == at("2011-08-01 11:00Z")


def test_one_expression_is_written_as_a_text_and_several_as_a_list():
    assert sc.schedule_of("0 1 * * *").written == "0 1 * * *"
    both = sc.schedule_of("0 1 * * *; * 2 * * *")
    assert both.written == ["0 1 * * *", "* 2 * * *"]
    assert both.fields == []  # those are of its expressions
    assert [expression.text for expression in both.expressions] == both.written


def test_a_reboot_follows_no_time():
    assert sc.CronSchedule("@reboot").wildcard is False


def test_schedules_share_the_same_times_of_day():
    one, other = sc.CronSchedule("7,9 5 * * *"), sc.CronSchedule("9,7 5 1 * *")
    assert one._times == (5 * 60 + 7, 5 * 60 + 9)
    assert one._times is other._times


# -- daylight saving, and words

SPRING, AUTUMN = 1743296400, 1761440400  # when the clocks of Paris went to summer time in 2025, and back


@pytest.mark.parametrize("text, slot, expected", [
    ("30 2 * * *", SPRING, True),  # the clock goes from 01:59 to 03:00
    ("0 2 * * *", SPRING, True),
    ("0,30 2-3 * * *", SPRING, True),
    ("0 3 * * *", SPRING, False),
    ("0 1,3 * * *", SPRING, False),
    ("30 2 * * *", SPRING + 86400 - 1800, False),
    ("30 2 * * *", SPRING - 86400 + 1800, False),
    ("*/30 * * * *", SPRING, False),
    ("@reboot", SPRING, False),
    ("0 2 * * *", AUTUMN, False),
    ("30 2 * * *; 0 12 * * *", SPRING, True),
    ("0 3 * * *; 0 12 * * *", SPRING, False),
])
def test_a_slot_that_stands_for_times_which_the_clock_skipped(text, slot, expected):
    if not sc.has_zone_data():
        pytest.skip("there is no zone data (install tzdata)")
    assert sc.schedule_of(text).is_shifted(slot, "Europe/Paris") is expected


@pytest.mark.parametrize("text, words", [
    ("*/30 * * * *", "every 30 minutes"),
    ("*/15 0-2,6-8,12-14 * * *",
     "every 15 minutes from 00:00 to 02:45, from 06:00 to 08:45 and from 12:00 to 14:45"),
    ("0 0-20/2 * * *", "every 2 hours from 00:00 to 20:00"),
    ("15,40 1-11/2 * * *", "at minutes 15 and 40 of every 2nd hour from 1 to 11"),
    ("15,40 2-22/2 * * *", "at minutes 15 and 40 of every 2nd hour from 2 to 22"),
    ("15,40 1-21/2 * * *", "at minutes 15 and 40 of every 2nd hour from 1 to 21"),
    ("15,40 1-23/2 * * *", "at minutes 15 and 40 of every odd hour"),
    ("15,40 1,4,5,9 * * *", "at minutes 15 and 40 of hours 1, 4, 5 and 9 every day"),
    ("0 1,2,4,7,8,11,13 * * *", "at minute 0 of hours 1, 2, 4, 7, 8, 11 and 13 every day"),
    ("0 0-6 * * *", "every hour from 00:00 to 06:00"),
    ("*/15 0-1,6-7,12-13,18-19 * * *", "every 15 minutes of hours 0, 1, 6, 7, 12, 13, 18 and 19"),
    ("2-58/2 3 * * *", "at every 2nd minute from 2 to 58 of hour 3"),
    ("1-57/2 3 * * *", "at every 2nd minute from 1 to 57 of hour 3"),
    ("1-59/2 3 * * *", "at every odd minute of hour 3"),
    ("0 0 31 8 *", "at 00:00 on 31 August"),
    ("0 0 31 10 *", "at 00:00 on 31 October"),
    ("0 0 31 12 *", "at 00:00 on 31 December"),
    ("0 0 * * 0,1", "at 00:00 on Mondays and Sundays"),
    ("0 0 1 1,5,9 *", "at 00:00 on 1 January, 1 May and 1 September"),
    ("0 0 1 1,4,7,10 *", "at 00:00 on the 1st of the month in January, April, July and October"),
])
def test_the_words_of_a_schedule(text, words):
    assert sc.describe(text) == words


@pytest.mark.parametrize("number, text", [
    (1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"),
    (20, "20th"), (21, "21st"), (22, "22nd"), (23, "23rd"), (31, "31st")])
def test_ordinals(number, text):
    assert sc._ordinal(number) == text


@pytest.mark.parametrize("text, week", [
    ("1-7", 1), ("8-14", 2), ("15-21", 3), ("22-28", 4), ("1-8", 0), ("2-8", 0), ("29-31", 0), ("L", 0)])
def test_days_that_are_a_week_of_the_month(text, week):
    assert sc._week_of_month(sc._parsed_field(sc.FIELDS[MONTHDAY], text, "", False)) == week
