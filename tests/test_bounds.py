"""The rare ways through the pure rules: the ends of the calendar, texts that no file can hold."""

import datetime

import pytest
from stories import task

import symphony_conductor as sc


def utc(*parts):
    return int((datetime.datetime(*parts) - datetime.datetime(1970, 1, 1)).total_seconds())


def built(*tasks, **settings):
    return sc.build_config([("c.json", {"tasks": list(tasks), "settings": settings})])


def refusal(*tasks, **settings):
    return " ".join("%s %s" % (problem, problem.hint) for problem in built(*tasks, **settings).problems)


# -- text and values


@pytest.mark.parametrize("count, text", [
    (1, "w0"), (2, "w0 and w1"), (sc.WORDS_SHOWN + 1, None), (sc.WORDS_SHOWN + 7, None)])
def test_a_long_list_of_words_is_cut_and_counted(count, text):
    words = ["w%d" % number for number in range(count)]
    if text is None:
        text = "%s and %d more" % (", ".join(words[:sc.WORDS_SHOWN]), count - sc.WORDS_SHOWN)
    assert sc.some_words(words) == text


@pytest.mark.parametrize("command, text", [
    ("make all | tee log", "make all | tee log"), (["cp", "a b", "c"], "cp 'a b' c"), ([], "")])
def test_a_command_as_one_text(command, text):
    assert sc.command_text(command) == text


def test_a_value_cannot_be_changed():
    before = sc.TaskState()
    with pytest.raises(AttributeError) as caught:
        before.cycle = None
    assert str(caught.value) == "TaskState is a value; use replace()"


def test_a_file_of_a_later_version_names_both_versions():
    assert str(sc.VersionError.of("state.json", "symphony 99")).startswith(
        "state.json was written by symphony 99; this is %s" % sc.__version__)
    assert "by a later version" in str(sc.VersionError.of("state.json", ""))


# -- times


@pytest.mark.parametrize("text, expected", [
    ("2025-06-02T10:00:00+02:00", utc(2025, 6, 2, 8)),
    ("2025-06-02T10:00:00-05:30", utc(2025, 6, 2, 15, 30)),
    ("2025-06-02T23:59:59Z", utc(2025, 6, 2, 23, 59, 59)),
    ("2025-06-02", utc(2025, 6, 2)),
    (None, None),
])
def test_times_with_an_offset_are_instants(text, expected):
    assert sc.from_iso(text) == expected
    assert sc.from_iso(text) == expected, "the second time, the day is known already"


@pytest.mark.parametrize("text", [
    "2025-06-02T24:00:00Z", "2025-06-02T10:60:00Z", "2025-06-02T10:00:61Z", "2025-06-02Txx:00:00Z",
    "2025-02-30", "soon"])
def test_what_is_no_time_is_refused_on_a_day_that_is_known_too(text):
    sc.from_iso("2025-06-02T10:00:00Z")
    with pytest.raises(ValueError):
        sc.from_iso(text)


@pytest.mark.parametrize("value, is_day", [("2025-02-28", True), ("2025-02-29", False), ("x", False)])
def test_a_day_is_one_that_the_calendar_has(value, is_day):
    assert sc.is_day(value) == is_day


# -- schedules


@pytest.mark.parametrize("expression, at", [
    ("0 0 1 * *", (1, 6, 1)),  # ahead of all that can be computed
    ("0 0 29 2 *", (3, 6, 1)),  # year 4 is the first leap year
    ("30 12 1 1 *", (2, 1, 1)),
])
def test_ahead_of_the_first_slot_of_the_calendar_there_is_no_previous_one(expression, at):
    assert sc.CronSchedule(expression).previous(utc(*at), "UTC") is None


def test_the_first_february_29th_of_the_calendar_is_found():
    schedule = sc.CronSchedule("0 0 29 2 *")
    assert schedule.previous(utc(5, 1, 1), "UTC") == utc(4, 2, 29)


def test_the_interval_of_a_schedule_at_the_end_of_the_calendar():
    """The last slot has none after it, and so no gap."""
    last = utc(9997, 10, 22)
    job = built(task("a", schedule="0 0 1 * *", timezone="UTC")).tasks["a"]
    assert sc.shortest_interval(job, last - 60 * sc.DAY) in (30 * sc.DAY, 31 * sc.DAY, None)
    assert sc.shortest_interval(job, utc(9999, 1, 1)) is None


def test_a_schedule_shows_its_expression():
    assert repr(sc.CronSchedule("0  4 * * *")) == "CronSchedule('0 4 * * *')"


@pytest.mark.parametrize("count, is_mended", [(2, True), (19, True), (25, False)])
def test_an_expression_with_ever_more_mistakes_is_not_mended_for_ever(count, is_mended):
    wrong = ",".join("*%d" % number for number in range(1, count + 1))
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(wrong + " * * * *")
    assert "minute '*1' is not understood" in str(caught.value)
    assert caught.value.hint == (
        "did you mean '%s * * * *'?" % wrong.replace("*", "*/") if is_mended else "")


def test_no_nth_weekday_stands_for_a_week_and_days_that_are_counted_already():
    """`1-7` and `1,5#2`: neither 1#1 nor 5#1 says that, so the advice is about one field at a time."""
    advice = list(sc.schedule_advice(sc.CronSchedule("0 0 1-7 * 1,5#2"), "a"))
    assert advice
    assert not any("#1" in hint for _, hint in advice)


# -- days off


def test_a_range_of_weekdays_is_refused_with_what_to_write():
    text = refusal(task("a", not_on="sat-sun"))
    assert "'sat-sun' is a range of weekdays" in text
    assert 'list each of them, such as "sat", "sun"' in text


def test_files_of_dates_need_somebody_who_reads_them():
    assert "files of dates cannot be read here" in refusal(task("a", not_on="holidays.txt"))


def ics(*lines):
    return "\r\n".join(("BEGIN:VCALENDAR", "BEGIN:VEVENT") + lines + ("END:VEVENT", "END:VCALENDAR", ""))


def days_off(year, *lines):
    config = sc.build_config(
        [("c.json", {"tasks": [task("a", not_on="days.ics", timezone="UTC")]})],
        read_dates={"days.ics": ics(*lines)}.__getitem__)
    if config.problems:
        return str(config.problems[0])
    calendar = config.tasks["a"].calendar
    days = range(sc.day_number(year, 1, 1), sc.day_number(year, 12, 31) + 1)
    return [sc.date_of(day).isoformat() for day in days if calendar.words_on(day)]


def test_an_event_longer_than_a_year_cannot_come_again():
    assert "the event is longer than a year" in days_off(
        2025, "DTSTART;VALUE=DATE:20250101", "DTEND;VALUE=DATE:20270101", "RRULE:FREQ=YEARLY")


def test_a_count_that_is_never_reached_ends_with_the_dates_that_there_are():
    """February 30th never comes, so the first of five times is the only one."""
    lines = ("DTSTART;VALUE=DATE:20250301", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=5")
    assert days_off(2025, *lines) == ["2025-03-01"]
    assert days_off(2026, *lines) == []


# -- what the configuration takes


def test_half_a_surrogate_pair_is_no_text():
    assert sc.is_text("\U0001f600")
    assert not sc.is_text("a\ud83d")


def test_a_value_nested_too_deeply_is_refused_without_a_traceback():
    value = []
    for _ in range(200000):
        value = [value]
    assert "a value nested too deeply" in refusal(task("a", timeout=value))
    while value:  # freed one by one: older Pythons would do it by recursion
        value = value.pop()


@pytest.mark.parametrize("settings", [{}, {"defaults": {"timeout": 5}}])
def test_the_schema_of_a_task_is_a_string(settings):
    job = task("a")
    assert built(dict(job, **{"$schema": "x.json"}), **settings).tasks["a"].name == "a"
    assert "$schema is not a string" in refusal(dict(job, **{"$schema": 5}), **settings)


def test_tasks_of_one_expression_share_one_schedule():
    """Ten thousand tasks with the same line are parsed once; only H depends on the name."""
    tasks = built(task("a", schedule="0 4 * * *"), task("b", schedule="0 4 * * *"),
                  task("c", schedule="H 4 * * *"), task("d", schedule="H 4 * * *")).tasks
    assert tasks["a"].schedule is tasks["b"].schedule
    assert tasks["c"].schedule is not tasks["d"].schedule


def warnings_of(config):
    return [str(problem) for problem in sc.suspicions(config, utc(2025, 6, 2))]


def test_a_task_that_never_runs_is_not_called_late_as_well():
    """Where each slot is on a day off, none is left that its window could delay."""
    config = built(task("a", schedule="0 4 * * mon", not_on="mon", only_between="10:00-11:00",
                        start_deadline=60, timezone="UTC"))
    found = " ".join(warnings_of(config))
    assert "every slot to come is on a day off" in found
    assert "within its start_deadline" not in found


def test_a_task_without_a_schedule_has_no_slots():
    job = built(task("a", schedule=None)).tasks["a"]
    assert sc.slot_after(job, 0) is None
    assert sc.slot_until(job, 0) is None
    assert sc.shortest_interval(job, 0) is None
