"""The cron dialect beside those of other parsers, what is said of a schedule, and what of a wrong one.

tests/vectors/dialect.txt holds expressions from the suites of other parsers, with their answers. To look for schedules
that are described alike although their slots differ, for longer than the suite does:

    python3 tests/test_dialect.py [EXPRESSIONS [SEED]]
"""

import calendar
import collections
import pathlib
import random
import re
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import symphony_conductor as sc  # noqa: E402

PEERS = ["cronsim", "croniter", "cron-parser", "croner", "robfig", "cronexpr", "quartz"]


def at(text):
    return calendar.timegm(time.strptime(text[:16], "%Y-%m-%d %H:%M"))


def slots(expression, zone="UTC", after="2024-01-01 00:00", count=6, name="task"):
    schedule, instant, texts = sc.CronSchedule(expression, name), at(after), []
    for _ in range(count):
        instant = schedule.next(instant, zone)
        if instant is None:
            break
        texts.append(time.strftime("%Y-%m-%d %H:%M", time.gmtime(instant)))
    return texts


def refusal(expression, name="task"):
    with pytest.raises(sc.CronSyntaxError) as caught:
        sc.CronSchedule(expression, name)
    return caught.value


def expressions_in(hint):
    """The quoted expressions of a hint, whole ones only."""
    found = []
    for quoted in re.findall(r"'([^']+)'", hint):
        if len(quoted.split()) == 5 or quoted.startswith("@"):
            found.append(quoted)
    return found


# The table.

Row = collections.namedtuple("Row", "expression here runs alike otherwise refused")


def runs_of(text):
    """'2024-01-01 02:00, 04:00' -> both with their date."""
    runs, date = [], ""
    for part in filter(None, text.split(", ")):
        date, clock = part.split(" ") if " " in part else (date, part)
        runs.append("%s %s" % (date, clock))
    return runs


def read_table():
    path = pathlib.Path(__file__).resolve().parent / "vectors" / "dialect.txt"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            cells = [cell.strip() for cell in line.split(" |")]
            cells += [""] * (6 - len(cells))
            others = [group.split(": ", 1) for group in filter(None, cells[4].split("; "))]
            rows.append(Row(cells[0], cells[1], runs_of(cells[2]), cells[3].split(),
                            [(names.split(), runs_of(runs)) for names, runs in others], cells[5].split()))
    return rows


ROWS = read_table()

# Taken by one or two peers, in a way of their own that no expression here says.
NO_EQUIVALENT = {
    "1 1 */100 * MON#4": "as either of the day fields; cronsim finds that it never fires",
    "*-30/5,*/3 * * * *": "the end of the range is passed over",
    "0 *-6/3,*/4 * * *": "the end of the range is passed over",
    "0 0 *-6/3,*/4 * *": "the end of the range is passed over",
    "0 0 1 *-6/3,*/4 *": "the end of the range is passed over",
    "0 +12 * * *": "a number may have a sign",
    "0 0 1 1 * * 9999": "past the end of the calendar",
    "20 15 * *": "what is missing is the minute",
    "0 0 0 1 APR-MAR/2 ?": "the step after names is passed over",
    "0 0 0 1 OCT-MAR/2 ?": "the step after names is passed over",
    "0 0 0 ? * THU-TUE/2": "the step after names is passed over",
    "@every 7m": "counted from the start of the program",
    "@every 90m": "counted from the start of the program",
    "@every 1h30m": "counted from the start of the program",
    "1, 2 * * * *": "the comma's empty entry is passed over, and the first field is seconds",
    "* * * * * * * *ASD": "what follows the seventh field is passed over",
    "*/10 * * * * ,2": "the comma's empty entry is passed over, and the first field is seconds",
}
# What peers run is what cron runs, and not what anybody meant.
NO_INTERVAL = {"*/90 * * * *", "0/90 * * * *", "*/61 * * * *", "0 */25 * * *"}
# Steps through a wrapped range: Quartz and saffron count on through the end of the field, as is done here; croniter
# loses one at the end.
WRAPPED_STEPS = [
    ("0 23-5/3 * * *", "0 0 23-5/3 * * ?"), ("0 0 25-5/3 * *", "0 0 0 25-5/3 * ?"),
    ("0 0 1 Apr-Mar/2 *", None), ("0 0 1 oct-mar/2 *", None), ("0 0 * * Thu-Tue/2", None),
    ("0 23-5/3 * * ?", "0 0 23-5/3 * * ?"), ("0 0 25-5/3 * ?", "0 0 0 25-5/3 * ?"), ("0 0 1 APR-MAR/2 ?", None),
    ("0 0 1 OCT-MAR/2 ?", None), ("0 0 ? * THU-TUE/2", None),
]


def test_table_is_whole():
    kinds = collections.Counter(row.here[:2] for row in ROWS)
    assert len({row.expression for row in ROWS}) == len(ROWS) == sum(kinds.values())
    assert kinds == {"=": 576, "->": 218, "~>": 78, "-": 292}
    for row in ROWS:
        others = [peer for names, _ in row.otherwise for peer in names]
        assert sorted(row.alike + others + row.refused) == sorted(PEERS), row


def test_expression_that_is_taken_has_the_runs_of_the_table():
    wrong = [(row.expression, slots(row.expression), row.runs)
             for row in ROWS if row.here == "=" and slots(row.expression) != row.runs]
    assert wrong == []


def test_refused_expression_comes_with_one_that_has_the_runs_that_peers_give_it():
    wrong = []
    for row in ROWS:
        if not row.here.startswith("->") or row.expression in NO_INTERVAL:
            continue
        hint = refusal(row.expression).hint
        same, _, zone = row.here[3:].partition(" in ")
        said = same in expressions_in(hint) and (not zone or 'set "timezone": "%s"' % zone in hint)
        if not said or slots(same, zone or "UTC") != row.runs:
            wrong.append((row, hint))
    assert wrong == []


def test_refused_expression_without_an_equivalent_comes_with_what_is_closest():
    wrong = []
    for row in ROWS:
        if not row.here.startswith("~>"):
            continue
        hint = refusal(row.expression).hint
        close, _, zone = row.here[3:].partition(" in ")
        schedule = sc.CronSchedule(close)
        has_slots = all(schedule.previous(at(run), zone or "UTC") == at(run) for run in row.runs)
        says_so = re.search(r"no field for|shortest interval|closest|let the command", hint)
        if close not in expressions_in(hint) or not has_slots or not says_so:
            wrong.append((row, hint))
    assert wrong == []


def test_what_is_refused_without_an_equivalent_is_refused_by_nearly_all():
    refused = [row for row in ROWS if row.here == "-"]
    assert all(refusal(row.expression) for row in refused)
    assert {row.expression for row in refused if row.otherwise} == set(NO_EQUIVALENT)
    assert all(len(row.refused) >= len(PEERS) - 2 for row in refused)


def test_what_peers_agree_on_is_read_as_they_read_it():
    alone = {taken for taken, _ in WRAPPED_STEPS} | set(NO_EQUIVALENT)
    disagree = [row for row in ROWS if row.otherwise and not row.alike and row.expression not in alone]
    assert disagree == []
    for row in ROWS:
        if row.here == "=" and not row.alike:
            assert row.expression in alone or not row.otherwise


def test_steps_through_a_wrapped_range_are_those_of_quartz():
    rows = {row.expression: row for row in ROWS}
    for taken, of_quartz in WRAPPED_STEPS:
        assert rows[taken].otherwise[0][0] == ["croniter"]
        if of_quartz:
            assert rows[of_quartz].alike == ["quartz"] and rows[of_quartz].runs == rows[taken].runs


# Where both day fields are restricted and one starts with '*', Vixie's cron, cronsim and we ask for both. Where others
# take any star for 'either', or the reverse, they are in the table under 'otherwise'.
def test_day_rule_is_the_one_of_vixie_cron():
    rows = {row.expression: row for row in ROWS}
    for expression in ("0 0 */2 * 1", "1 1 1-7 * */7", "1 1 */100,1-7 * MON", "* * */10 * Sun", "0 16 */2 * sat"):
        assert rows[expression].here == "=" and rows[expression].alike == ["cronsim"]


# What the suites say with dates of their own: suite, expression, after, and the runs that follow. All in UTC.

FACTS = [
    ("supercronic", "17-43/5 * * * *", "2013-01-01 00:50", ["2013-01-01 01:17"]),
    ("supercronic", "17-43/5 * * * *", "2012-12-31 23:50", ["2013-01-01 00:17"]),
    ("supercronic", "15-30/4,55 * * * *", "2013-01-01 00:16", ["2013-01-01 00:19"]),
    ("supercronic", "15-30/4,55 * * * *", "2013-01-01 00:30", ["2013-01-01 00:55", "2013-01-01 01:15"]),
    ("supercronic", "0 0 * * MON", "2013-12-30 00:30", ["2014-01-06 00:00"]),
    ("supercronic", "0 0 * * friday", "2013-01-01 00:00", ["2013-01-04 00:00"]),
    ("supercronic", "0 0 * * friday", "2013-12-30 00:30", ["2014-01-03 00:00"]),
    ("supercronic", "0 0 * * 6,7", "2013-01-28 00:00", ["2013-02-02 00:00"]),
    ("supercronic", "0 0 * * 6#5", "2013-09-02 08:44",
     ["2013-11-30 00:00", "2014-03-29 00:00", "2014-05-31 00:00", "2014-08-30 00:00", "2014-11-29 00:00"]),
    ("supercronic", "0 0 1-7 * *", "2013-09-07 12:12", ["2013-10-01 00:00"]),
    ("supercronic", "0 0 14W * *", "2013-03-31 00:00", ["2013-04-15 00:00"]),
    ("supercronic", "0 0 14W * *", "2013-08-31 00:00", ["2013-09-13 00:00"]),
    ("supercronic", "0 0 30W * *", "2013-03-02 00:00", ["2013-03-29 00:00"]),
    ("supercronic", "0 0 30W * *", "2013-06-02 00:00", ["2013-06-28 00:00"]),
    ("supercronic", "0 0 30W * *", "2013-09-02 00:00", ["2013-09-30 00:00"]),
    ("supercronic", "0 0 30W * *", "2013-11-02 00:00", ["2013-11-29 00:00"]),
    ("supercronic", "0 0 L * *", "2014-02-01 00:00", ["2014-02-28 00:00"]),
    ("supercronic", "0 0 L * *", "2016-02-15 00:00", ["2016-02-29 00:00"]),
    ("supercronic", "0 0 LW * *", "2013-11-02 00:00", ["2013-11-29 00:00"]),
    ("supercronic", "0 0 LW * *", "2014-08-15 00:00", ["2014-08-29 00:00"]),
    ("supercronic", "0 0 28 02 *", "2014-08-15 00:00", ["2015-02-28 00:00"]),
    ("supercronic", "*/5 * * * *", "2013-09-02 08:44", ["2013-09-02 08:45", "2013-09-02 08:50"]),
    ("robfig", "0/15 * * * *", "2012-07-09 14:45", ["2012-07-09 15:00"]),
    ("robfig", "20-35/15 * * * *", "2012-07-09 15:45", ["2012-07-09 16:20"]),
    ("robfig", "*/15 * * * *", "2012-07-09 23:46", ["2012-07-10 00:00"]),
    ("robfig", "0 0 9 Apr-Oct ?", "2012-07-09 23:35", ["2012-08-09 00:00"]),
    ("robfig", "0 0 * Feb Mon", "2012-07-09 23:35", ["2013-02-04 00:00"]),
    ("robfig", "0 0 * Feb Mon/2", "2012-07-09 23:35", ["2013-02-01 00:00"]),
    ("robfig", "0 0 29 Feb ?", "2012-07-09 23:35", ["2016-02-29 00:00"]),
    ("robfig", "30 08 ? Jul Sun", "2012-07-15 08:29", ["2012-07-15 08:30"]),
    ("robfig", "30 08 15 Jul ?", "2012-07-15 08:29", ["2012-07-15 08:30"]),
    ("robfig", "* * 1,15 * Sun", "2012-07-14 23:59", ["2012-07-15 00:00"]),
    ("robfig", "* * 1,15 * *", "2012-07-09 00:00", ["2012-07-15 00:00"]),
    ("cron-utils", "*/10 * * * *", "2015-09-05 13:43", ["2015-09-05 13:50"]),
    ("cron-utils", "*/2 * * * *", "2015-09-05 13:56", ["2015-09-05 13:58", "2015-09-05 14:00"]),
    ("cron-utils", "0 3 * * 3", "2015-09-17 00:00", ["2015-09-23 03:00"]),
    ("cron-utils", "* * * * 1", "2015-10-13 17:26", ["2015-10-19 00:00"]),
    ("cron-utils", "* * */3 */4 */5", "2015-12-10 16:32", ["2016-01-01 00:00"]),
    ("cron-utils", "* * */4 * *", "2015-12-10 16:32", ["2015-12-13 00:00"]),
    ("cron-utils", "* * * * */4", "2016-01-28 23:59", ["2016-01-31 00:00"]),
    ("cron-utils", "0 * * * 1-5", "2016-02-29 11:00", ["2016-02-29 12:00"]),
    ("cron-utils", "0 8 * * 1", "2014-11-30 00:00", ["2014-12-01 08:00"]),
    ("cron-utils", "1 0 * * tue", "2016-05-24 01:02", ["2016-05-31 00:01"]),
    ("cron-utils", "0 0 31 * ?", "2016-11-01 00:00", ["2016-12-31 00:00"]),
    ("cron-parser", "6/23 * * * *", "2012-12-26 14:38",
     ["2012-12-26 14:52", "2012-12-26 15:06", "2012-12-26 15:29", "2012-12-26 15:52"]),
    ("cron-parser", "0 12 */5 6 *", "2019-06-01 11:00",
     ["2019-06-01 12:00", "2019-06-06 12:00", "2019-06-11 12:00", "2019-06-16 12:00", "2019-06-21 12:00",
      "2019-06-26 12:00", "2020-06-01 12:00"]),
    ("cron-parser", "0 15 */5 5 *", "2019-05-26 15:00", ["2019-05-31 15:00", "2020-05-01 15:00"]),
    ("cron-parser", "10 2 ? * 3", "2023-04-29 00:00", ["2023-05-03 02:10", "2023-05-10 02:10", "2023-05-17 02:10"]),
    ("cron-parser", "0 0 * 6 2", "2021-05-31 12:00", ["2021-06-01 00:00", "2021-06-08 00:00", "2021-06-15 00:00"]),
    ("cron-parser", "10 2 12 8 6-7", "2013-08-11 03:00",
     ["2013-08-12 02:10", "2013-08-17 02:10", "2013-08-18 02:10", "2013-08-24 02:10", "2013-08-25 02:10",
      "2013-08-31 02:10", "2014-08-02 02:10", "2014-08-03 02:10"]),
    ("cron-parser", "0 12,13,10,1-3 * * *", "2012-12-26 14:38",
     ["2012-12-27 01:00", "2012-12-27 02:00", "2012-12-27 03:00", "2012-12-27 10:00", "2012-12-27 12:00"]),
    ("cron-parser", "0 0 ? * 0#5", "2019-04-30 00:00", ["2019-06-30 00:00", "2019-09-29 00:00", "2019-12-29 00:00"]),
    ("cron-parser", "0 0 ? MAY 0#2", "2023-05-06 00:00", ["2023-05-14 00:00", "2024-05-12 00:00"]),
    ("cron-parser", "0 0 16,18 * 3#3", "2019-04-01 00:00",
     ["2019-04-16 00:00", "2019-04-17 00:00", "2019-04-18 00:00", "2019-05-15 00:00", "2019-05-16 00:00"]),
    ("cron-parser", "0 12 1-31 * 1", "2022-10-30 14:00", ["2022-10-31 12:00", "2022-11-01 12:00", "2022-11-02 12:00"]),
    ("croner", "0 0 15W 7 *", "2025-07-01 00:00", ["2025-07-15 00:00"]),
    ("croner", "0 0 19W 7 *", "2025-07-01 00:00", ["2025-07-18 00:00"]),
    ("croner", "0 0 20W 7 *", "2025-07-01 00:00", ["2025-07-21 00:00"]),
    ("croner", "0 0 1W 6 *", "2025-05-01 00:00", ["2025-06-02 00:00"]),
    ("croner", "0 0 31W 8 *", "2025-08-01 00:00", ["2025-08-29 00:00"]),
    ("croner", "1 5/2 1 5/2 *", "2020-12-31 23:59", ["2021-05-01 05:01", "2021-05-01 07:01"]),
    ("croner", "1 1 5/3 * *", "2020-12-31 23:59", ["2021-01-05 01:01", "2021-01-08 01:01", "2021-01-11 01:01"]),
    ("quartz", "15 10 L-2 * ?", "2010-10-01 00:00", ["2010-10-29 10:15"]),
    ("quartz", "15 10 L-5W * ?", "2010-10-01 00:00", ["2010-10-26 10:15"]),
    ("quartz", "15 10 L-1 * ?", "2010-10-01 00:00", ["2010-10-30 10:15"]),
    ("quartz", "15 10 L-1W * ?", "2010-10-01 00:00", ["2010-10-29 10:15"]),
    ("saffron", "0 0 L-1 FEB *", "2020-01-01 00:00", ["2020-02-28 00:00", "2021-02-27 00:00"]),
    ("saffron", "0 0 L-30W * *", "2021-04-30 00:00", ["2021-05-03 00:00"]),
    ("saffron", "0 0 L-28W FEB *", "2021-01-01 00:00", ["2024-02-01 00:00"]),
    ("saffron", "0 0 LW MAY *", "2020-01-01 00:00", ["2020-05-29 00:00", "2021-05-31 00:00"]),
    ("saffron", "0 0 L-1W MAY *", "2020-01-01 00:00", ["2020-05-29 00:00", "2021-05-31 00:00"]),
    ("saffron", "0 0 1W MAY *", "2020-01-01 00:00", ["2020-05-01 00:00", "2021-05-03 00:00", "2022-05-02 00:00"]),
    ("saffron", "0 0 * * SAT#5", "2020-01-31 00:00", ["2020-02-29 00:00", "2020-05-30 00:00", "2020-08-29 00:00"]),
    ("saffron", "*/15,30-59/10 0 * * *", "2020-01-01 00:01",
     ["2020-01-01 00:15", "2020-01-01 00:30", "2020-01-01 00:40", "2020-01-01 00:45", "2020-01-01 00:50",
      "2020-01-02 00:00"]),
    ("saffron", "0 20-4/2 * * *", "2020-01-01 00:00",
     ["2020-01-01 02:00", "2020-01-01 04:00", "2020-01-01 20:00", "2020-01-01 22:00", "2020-01-02 00:00"]),
    ("saffron", "59-0 23-0 31-1 12-1 *", "2020-01-01 00:00",
     ["2020-01-01 00:59", "2020-01-01 23:00", "2020-01-01 23:59", "2020-01-31 00:00", "2020-01-31 00:59"]),
    ("saffron", "0 0 * JAN SAT-SUN", "2020-01-01 00:00", ["2020-01-04 00:00", "2020-01-05 00:00", "2020-01-11 00:00"]),
]


@pytest.mark.parametrize("suite, expression, after, runs", FACTS)
def test_runs_are_those_of_the_suite(suite, expression, after, runs):
    assert slots(expression, after=after, count=len(runs)) == runs


# Forms that are taken.

@pytest.mark.parametrize("expression, same", [
    ("0 0 ? * MON", "0 0 * * MON"),
    ("0 0 ? * ?", "0 0 * * *"),
    ("0 0 13 * ?", "0 0 13 * *"),  # '?' starts with '*', so to speak: not every day
    ("0 0 * * friday", "0 0 * * 5"),
    ("0 0 * * Monday-FRIDAY/2", "0 0 * * 1,3,5"),
    ("0 0 * * fridayL", "0 0 * * 5L"),
    ("0 0 * * sunday#2", "0 0 * * 0#2"),
    ("0 0 1 january,September *", "0 0 1 1,9 *"),
    ("0 22-6/2 * * *", "0 22,0,2,4,6 * * *"),
    ("0 22-6 * * *", "0 22,23,0-6 * * *"),
    ("50-10/7 * * * *", "50,57,4 * * * *"),
    ("0 0 25-5/3 * *", "0 0 25,28,31,3 * *"),
    ("0 0 1 nov-feb *", "0 0 1 11,12,1,2 *"),
    ("0 0 1 nov-feb/2 *", "0 0 1 11,1 *"),
    ("0 0 * * fri-mon", "0 0 * * 5,6,0,1"),
    ("0 0 * * fri-mon/2", "0 0 * * 5,0"),
    ("0 0 * * 5-7", "0 0 * * 5,6,0"),
    ("0 0 * * 7-2", "0 0 * * 0,1,2"),
    ("0 0 * * 7-1/2", "0 0 * * 0"),
    ("0 0 * * sat-7", "0 0 * * 6,0"),
    ("0 0 * * 6-0", "0 0 * * 6,0"),
    ("0 0 * * mon-sun", "0 0 * * *"),
    ("0 0 * * 0-7", "0 0 * * *"),
    ("0 0 * * 1/1", "0 0 * * 1-6"),
    ("0 0 * * mon/3", "0 0 * * 1,4"),
    ("0 0 * * 7/2", "0 0 * * 0"),
    ("0 0 1/1 * *", "0 0 * * *"),
    ("0 0 l-3,15w * *", "0 0 15W,L-3 * *"),
])
def test_form_has_the_slots_of_a_plain_one(expression, same):
    assert slots(expression, count=60) == slots(same, count=60)


@pytest.mark.parametrize("expression, days", [
    ("0 0 L-3 * *", ["01-28", "02-26", "03-28", "04-27"]),
    ("0 0 L-1 * *", ["01-30", "02-28", "03-30", "04-29"]),
    ("0 0 L-30 * *", ["03-01", "05-01", "07-01", "08-01"]),
    ("0 0 15W * *", ["01-15", "02-15", "03-15", "04-15", "05-15", "06-14"]),
    ("0 0 1W * *", ["02-01", "03-01", "04-01", "05-01", "06-03"]),
    ("0 0 31W * *", ["01-31", "03-29", "05-31", "07-31", "08-30"]),
    ("0 0 L-3W * *", ["01-29", "02-26", "03-28", "04-26"]),
    ("0 0 1W,LW * *", ["01-31", "02-01", "02-29", "03-01", "03-29"]),
    ("0 0 */100,1-7 * MON", ["02-05", "03-04", "04-01", "05-06"]),
    ("0 0 15W * fri", ["01-05", "01-12", "01-15", "01-19"]),
])
def test_days_counted_from_the_end_and_nearest_weekdays(expression, days):
    assert slots(expression, count=len(days)) == ["2024-%s 00:00" % day for day in days]


def test_question_mark_stands_for_a_day_field_alone():
    assert sc.CronSchedule("0 0 ? * MON").text == "0 0 ? * MON"  # as it is written
    assert sc.CronSchedule("0 0 ? * MON").both_days
    for expression in ("? 0 * * *", "0 ? * * *", "0 0 * ? *", "0 0 ?,3 * *", "0 0 ?/2 * *"):
        assert "is not understood" in refusal(expression).message


# Wrong ones.

NO_EVEN_PART = "no cron expression says that: an interval must divide an hour or a day evenly"
TWO_SCHEDULES = "every 90 minutes takes two schedules: '0 */3 * * *' and '30 1-22/3 * * *'"
NO_SECONDS = "there is no field for seconds or years"
NO_MATTER = "use * for a field that does not matter"


@pytest.mark.parametrize("expression, hint", [
    ("0 0 12 * * ?", "there is no field for seconds: write '0 12 * * *'"),
    ("0 0 12 ? * MON-FRI", "there is no field for seconds: write '0 12 * * MON-FRI'"),
    ("0 15 10 ? * 2-6", "there is no field for seconds: write '15 10 * * 2-6' or, if Sunday is 1 "
     "as in Quartz, '15 10 * * 1-5'"),
    ("0 15 10 ? * 6L 2005", "there is no field for seconds: write '15 10 * * 6L' or, if Sunday is 1 "
     "as in Quartz, '15 10 * * 5L', and begin the command with [ $(date +%Y) = 2005 ] || exit 0;"),
    ("30 0 12 * * MON", "there is no field for seconds: write '0 12 * * MON', and begin the command with sleep 30;"),
    ("*/10 * * * * MON", "a minute is the shortest interval: write '* * * * MON'"),
    ("*/5 2 * * * *", "a minute is the shortest interval: write '2 * * * *' or, if the last field is the year, "
     "'*/5 2 * * *'"),
    ("0 5 1 1 * 2026", "there is no field for seconds or years: write '0 5 1 1 *', "
     "and begin the command with [ $(date +%Y) = 2026 ] || exit 0;"),
    ("0 0 0 1 1 ? 2026-2028", "there is no field for seconds: write '0 0 1 1 *', "
     "and let the command test the year (date +%Y)"),
    ("0 0 28 02 * *", "there is no field for seconds or years: write '0 0 28 02 *'"),
    ("30 2 * * 1 root", "write '30 2 * * 1'; the rest belongs in the command"),
    ("0 2 * * * /usr/bin/backup --all", "write '0 2 * * *'; the rest belongs in the command"),
    ("@daily root /bin/true", "write '@daily'; the rest belongs in the command"),
    ("1, 2 * * * *", "a field has no blanks: write '1,2 * * * *'"),
    ("0 0 1 - 5 * *", "a field has no blanks: write '0 0 1-5 * *'"),
    ("20 15 * *", "use * for a field that does not matter, as in '20 15 * * *'"),
    ("TZ=UTC 0 5 * * *", "write '0 5 * * *', and set \"timezone\": \"UTC\""),
    ("CRON_TZ=Asia/Tokyo @daily", "write '@daily', and set \"timezone\": \"Asia/Tokyo\""),
    ("TZ=UTC 0 0 5 * * ?", "there is no field for seconds: write '0 5 * * *', and set \"timezone\": \"UTC\""),
    ("TZ=UTC 15/0 * * * *", "set \"timezone\": \"UTC\""),
    ("0~59 3 * * *", "write 'H(0-59) 3 * * *', which gives each task a fixed time of its own"),
    ("~ 3 * * *", "write 'H 3 * * *', which gives each task a fixed time of its own"),
    ("10~ 3 * * *", "write 'H(10-59) 3 * * *', which gives each task a fixed time of its own"),
    ("0 ~5/2 * * *", "write '0 H(0-5)/2 * * *', which gives each task a fixed time of its own"),
    ("0 0 * * ~", "write '0 0 * * H', which gives each task a fixed time of its own"),
    ("h h * * *", "write 'H H * * *', which gives each task a fixed time of its own"),
    ("R R(2-4) * * *", "write 'H H(2-4) * * *', which gives each task a fixed time of its own"),
    ("@every 5m", "write '*/5 * * * *'"),
    ("@every 5 minutes", "write '*/5 * * * *'"),
    ("@every 1h", "write '0 * * * *'"),
    ("@every 60m", "write '0 * * * *'"),
    ("@every 6h0m0s", "write '0 */6 * * *'"),
    ("@every 24h", "write '0 0 * * *'"),
    ("@every 1d", "write '0 0 * * *'"),
    ("@every 168h", "write '0 0 * * 0'"),
    ("@every 10s", "a minute is the shortest interval: write '* * * * *'"),
    ("@every 500ms", ""),
    ("@every 7m", NO_EVEN_PART),
    ("@every 90m", TWO_SCHEDULES),
    ("rate(90 minutes)", TWO_SCHEDULES),
    ("*/90 * * * *", TWO_SCHEDULES),
    ("0/90 * * * *", TWO_SCHEDULES),
    ("*/61 * * * *", NO_EVEN_PART),
    ("0 */36 * * *", NO_EVEN_PART),
    ("0 0/25 * * *", NO_EVEN_PART),
    ("0/60 * * * *", "write '0 * * * *'"),
    ("*/120 * * * *", "write '0 */2 * * *'"),
    ("*/120 * * * 1", "write '0 * * * 1', which means the same; a step counts within one hour: "
     "for longer intervals list the hours"),
    ("@every 5h", NO_EVEN_PART),
    ("@every 2d", NO_EVEN_PART),
    ("@every_minute", "write '* * * * *'"),
    ("@weekdays", "write '0 0 * * 1-5'"),
    ("@dayly", ""),
    ("0 0 * * L5", "write '0 0 * * 5L'"),
    ("0 0 * * fri#L", "write '0 0 * * FRIL'"),
    ("0 0 * * sat-sun#L,sun#1", "write '0 0 * * SATL,SUNL,sun#1'"),
    ("0 0 * * mon-tue#1", "write '0 0 * * MON#1,TUE#1'"),
    ("0 0 W15 * *", "write '0 0 15W * *'"),
    ("0 0 29-L * *", "write '0 0 29-31 * *'"),
    ("0 12 1 * +MON", "write '0 12 1 * *', and let the command test the weekday (date +%u)"),
    ("0 0 * * tues", "did you mean '0 0 * * tue'?"),
    ("0 0 1 sept *", "did you mean '0 0 1 sep *'?"),
    ("0 0 1 jan-foo *", ""),
    ("/5 * * * *", "did you mean '*/5 * * * *'?"),
    ("*5 /2 * * tues", "did you mean '*/5 */2 * * tue'?"),  # all at once
    ("*5 /2 * * tuez,99", ""),                              # or not at all
])
def test_wrong_expression_comes_with_a_hint(expression, hint):
    assert refusal(expression).hint == hint
    for quoted in expressions_in(hint):
        assert slots(quoted)


# What a person means who writes so; where that is not certain, no expression is offered.
MEANT = [
    ("0 0 * * first monday", "0 0 * * MON#1"), ("0 0 * * 2nd Tuesday", "0 0 * * TUE#2"),
    ("0 0 * * last fri", "0 0 * * FRIL"),
    ("0 0 1 * first monday", None), ("0 0 * * LMON", "0 0 * * MONL"), ("0 0 * * LFriday", "0 0 * * FRIL"),
    ("0 0 * * !sat", None), ("0 0 * * weekday", "0 0 * * MON-FRI"), ("0 9 * * weekdays", "0 9 * * MON-FRI"),
    ("0 0 * * weekend", "0 0 * * SAT,SUN"), ("0 0 * * mondays", "0 0 * * mon"), ("0 0 * * thurs", "0 0 * * thu"),
    ("0 0 * * wek", None), ("0 0 * * mo", None), ("0 0 * * first", None), ("0 0 * * monthly", None),
    ("0 0 1 ju *", None), ("0 0 1 jam *", None), ("0 0 1 septem *", "0 0 1 sep *"), ("2.30 * * * *", None),
    ("0 2.30 * * *", None),
    ("@weekend", "0 0 * * 6,0"), ("@weekday", "0 0 * * 1-5"), ("@biweekly", None), ("@fortnightly", None),
    ("@bimonthly", None), ("@startup", "@reboot"), ("@boot", "@reboot"), ("reboot", "@reboot"),
    ("@every day", "@daily"),
    ("@every 1y", None), ("@every month", "@monthly"), ("@every 1 month", None), ("@every 2 weeks", None),
    ("@every 25h", None), ("@every 61s", None), ("@every 1.5h", None), ("@every 5ms", None),
    ("@every 12h", "0 */12 * * *"),
    ("@daily 14:00", "0 14 * * *"), ("@daily at 5", None), ("@hour", None),
    ("daily", "@daily"), ("hourly", "@hourly"), ("midnight", "@midnight"), ("noon", "0 12 * * *"),
    ("every day", "@daily"), ("every minute", "* * * * *"), ("every 5 minutes", "*/5 * * * *"),
    ("every 7 minutes", None), ("every 2 hours", "0 */2 * * *"), ("every other day", None), ("every monday", None),
    ("14:00 * * MON", "0 14 * * MON"), ("14:00", "0 14 * * *"), ("daily at 02:05", "5 2 * * *"),
    ("0 14:30 * * *", "30 14 * * *"), ("2:30 * * * *", "30 2 * * *"), ("2:60 * * * *", None), ("24:00", None),
    ("0 8-24 * * *", None), ("0 1-24 * * *", None), ("1-60 * * * *", None), ("0-60/5 * * * *", "0-59/5 * * * *"),
    ("H(0-70) * * * *", None), ("h(0-70) * * * *", None), ("R(0-70) * * * *", None), ("0 0 2 * * tomorrow", None),
    ("0 2 * * * every monday", None), ("14 30", None), ("whenever", None),
    ("@daily 03:00", "0 3 * * *"), ("OnCalendar=daily", "@daily"), ("OnCalendar=weekly", "0 0 * * 1"),
    ("OnCalendar=quarterly", None), ("Mon..Fri 22:30", "30 22 * * MON-FRI"),
    ("OnCalendar=Mon..Fri *-*-* 22:30:00", "30 22 * * MON-FRI"), ("Mon *-*-* 02:00", "0 2 * * MON"),
    ("*-*-* 02:00:00", "0 2 * * *"), ("*-*-* 02:00:30", None), ("*-*-01 02:00", None), ("5m", "*/5 * * * *"),
    ("7m", None), ("5 minutes", "*/5 * * * *"), ("5 months", None), ("rate(5 minutes)", "*/5 * * * *"),
    ("rate(1 day)", "0 0 * * *"), ("rate(7 minutes)", None), ("cron(0 12 * * ? *)", "0 12 * * *"),
    ("cron(0 12 ? * MON-FRI *)", "0 12 * * MON-FRI"), ("cron(0 12 ? * 2-6 *)", None), ("cron(0 12 * * ? 2027)", None),
    ("0 9..17 * * *", "0 9-17 * * *"), ("0 0 * * mon..fri", "0 0 * * MON-FRI"), ("0 9..30 * * *", None),
]


def test_two_schedules_every_90_minutes_are_evenly_spaced():
    runs = sorted(at(run) for text in expressions_in(TWO_SCHEDULES) for run in slots(text, count=40))
    assert {second - first for first, second in zip(runs, runs[1:])} == {90 * 60}


@pytest.mark.parametrize("expression, meant", MEANT)
def test_hint_holds_what_was_meant_or_no_expression(expression, meant):
    error = refusal(expression)
    offered = re.findall(r"'([^']+)'", error.hint)
    assert offered == ([meant] if meant else [])
    for quoted in offered:
        assert sc.CronSchedule(quoted, "task").reboot or slots(quoted)
        assert expressions_in(error.hint) == offered


@pytest.mark.parametrize("expression, hint", [
    ("@fortnightly", "no cron expression says every two weeks; for twice a week list two weekdays"),
    ("@every 25h", NO_EVEN_PART), ("@every 61s", NO_EVEN_PART), ("every 7 minutes", NO_EVEN_PART),
    ("every other day", NO_MATTER), ("0 0 * * first", ""), ("0 0 1 * first monday", ""),
    ("0 0 0 0 0 0 0 0", NO_SECONDS),
    ("TZ=UTC every 5 minutes", "write '*/5 * * * *', and set \"timezone\": \"UTC\""),
])
def test_hint_without_an_equivalent(expression, hint):
    assert refusal(expression).hint == hint


def wrong_expressions():
    yield from (expression for expression, _ in MEANT)
    yield from (row.expression for row in ROWS if row.here != "=")
    rng = random.Random("wrong")
    for _ in range(2000):
        fields = random_expression(rng).split()
        for _ in range(rng.choice([1, 1, 2])):
            place = rng.randrange(len(fields))
            cut = rng.randrange(len(fields[place]) + 1)
            fields[place] = fields[place][:cut] + rng.choice("L?#~x-,/*79W") + fields[place][cut:]
        if rng.random() < 0.2:
            fields.insert(rng.randrange(len(fields) + 1), rng.choice(["0", "*", "?", "2026", "root", "5L"]))
        yield " ".join(fields)


def test_no_hint_repeats_its_error_and_every_expression_in_one_is_taken():
    refused = 0
    for expression in wrong_expressions():
        try:
            sc.CronSchedule(expression, "task")
            continue
        except sc.CronSyntaxError as error:
            refused += 1
            assert error.message not in error.hint and error.message.count("never fires") <= 1, expression
            for quoted in expressions_in(error.hint):
                assert quoted != expression
                sc.CronSchedule(quoted, "task")
    assert refused > 1000


@pytest.mark.parametrize("expression", [
    "7" * 5000 + " * * * *", "* * * * " + "x" * 5000, ",".join(["1,"] * 2500) + " * * * *", "@" + "y" * 5000,
    "@every " + "5m" * 2500, "* " * 2500, "TZ=" + "z" * 5000 + " 0 0 * * *", "TZ=z " * 2500,
    "0 0 30" + ",30" * 1700 + " 2 *",
    "0 0 * * " + "mon-" * 1250, "*/" + "9" * 5000 + " * * * *", "0 0 L-" + "9" * 5000 + " * *",
    "0 0 * * 1#" + "9" * 5000, "0 0 * * * " + "0" * 5000, "0~" + "9" * 5000 + " * * * *", "0 0 30 2 */2" + ",1" * 2500,
])
def test_no_message_repeats_thousands_of_characters(expression):
    assert len(str(refusal(expression))) < 500


def test_advice_on_a_long_schedule_is_short():
    schedule = sc.CronSchedule("0 0 " + ",".join(["1,2,3,4,5,6,7"] * 700) + " * " + ",".join(["1"] * 2000))
    (said, hint), = sc.schedule_advice(schedule)
    assert len(said) < 300 and len(hint) < 300
    assert sc.describe(schedule.text) == "at 00:00 on the 1st to 7th of the month and on Mondays"


def test_what_never_fires_says_why_once():
    error = refusal("0 0 30,31 2 *")
    assert str(error) == ("'0 0 30,31 2 *' never fires: day-of-month 30 or 31 does not occur in February "
                          "(for the last day of the month write '0 0 L 2 *')")
    assert slots("0 0 L 2 *", count=2) == ["2024-02-29 00:00", "2025-02-28 00:00"]


def test_schedules_that_earlier_versions_recorded_are_read():
    for expression in ("0/90 * * * *", "10-20/60 0/36 * * *", "*/100 * 1-31,L * 5L", "0 0 LW,L * 1#1,5", "H H * * 7/2"):
        assert sc.CronSchedule(expression, "task", recorded=True).next(0, "UTC")


# In words.

@pytest.mark.parametrize("expression, words", [
    ("0 0 31 4,5 *", "at 00:00 on 31 May"),
    ("0 0 1 6 1", "at 00:00 on the 1st of June and on Mondays in June"),
    ("5 5 20 1 3", "at 05:05 on the 20th of January and on Wednesdays in January"),
    ("0 0 29 2 1", "at 00:00 on the 29th of February and on Mondays in February"),
    ("0 0 1 1,7 1", "at 00:00 on the 1st of the month and on Mondays, in January and July"),
    ("0 0 13 6-8 5", "at 00:00 on the 13th of the month and on Fridays, from June to August"),
    ("0 0 15 6 mon-fri", "at 00:00 on the 15th of June and from Monday to Friday in June"),
    ("0 0 1,15 6 1#1", "at 00:00 on the 1st and 15th of June and on the 1st Monday of June"),
    ("0 0 * 6 1,2#1", "at 00:00 on Mondays and the 1st Tuesday of the month in June"),
    ("0 0 * 6 1#1", "at 00:00 on the 1st Monday of June"),
    ("0 0 1-31,L * *", "at 00:00 every day"),
    ("0 0 1-31,L 6 *", "at 00:00 every day in June"),
    ("0 0 * * 0-6,5L", "at 00:00 every day"),
    ("0 0 * * 1,1#1", "at 00:00 on Mondays"),
    ("0 1-23/2 * * *", "at minute 0 of every odd hour"),
    ("30 1-23/2 * * 1-5", "at minute 30 of every odd hour Monday to Friday"),
    ("*/15 */2 * * *", "every 15 minutes of every even hour"),
    ("0 1-22/3 * * *", "every 3 hours from 01:00 to 22:00"),
    ("*/7 * * * *", "at every 7th minute from 0 to 56 of every hour"),
    ("2-59/3 4 * * *", "at every 3rd minute from 2 to 59 of hour 4"),
    ("0 0 */2 * *", "at 00:00 on odd days of the month"),
    ("0 0 3-31/2 * *", "at 00:00 on every 2nd day from the 3rd to the 31st of the month"),
    ("0 0 * dec,jan,feb *", "at 00:00 every day from December to February"),
    ("0 0 2-30/2,L 6 *", "at 00:00 on even days and the last day of June"),
    ("0 0 */3 * *", "at 00:00 on every 3rd day from the 1st to the 31st of the month"),
    ("0 0 1 nov-feb *", "at 00:00 on the 1st of the month from November to February"),
    ("0 0 * 1,3,6-8 *", "at 00:00 every day in January, March and June to August"),
    ("0 0 * * fri-mon", "at 00:00 Friday to Monday"),
    ("0 22-6/2 * * *", "at 00:00, 02:00, 04:00, 06:00 and 22:00 every day"),
    ("0 0 L-1 * *", "at 00:00 on the day before the last of the month"),
    ("0 0 L-3 6 *", "at 00:00 on the 3rd day before the last of June"),
    ("0 0 15W * *", "at 00:00 on the working day nearest the 15th of the month"),
    ("0 0 L-3W * *", "at 00:00 on the working day nearest the 3rd day before the last of the month"),
    ("0 0 1,L-3,15W,LW,L * *", "at 00:00 on the 1st, working day nearest the 15th, 3rd day before the last, last day "
     "and last working day of the month"),
    ("0 0 */100,1-7 * MON", "at 00:00 on Mondays that fall on the 1st to 7th of the month"),
    ("0 0 */2 6 1#1", "at 00:00 on the 1st Monday of June if it falls on odd days of June"),
    ("0 0 */2 * 1#1,5L",
     "at 00:00 on the 1st Monday and last Friday of the month if they fall on odd days of the month"),
    ("0 9 ? * MON-FRI", "at 09:00 Monday to Friday"),
    ("* * * 6 *", "every minute in June"),
])
def test_schedule_is_described_as_a_person_says_it(expression, words):
    assert sc.describe(expression) == words


def random_item(rng, low, high, names):
    def show(number):
        if number - low < len(names) and rng.random() < 0.3:
            return names[number - low]
        return str(number)

    first, last = rng.randint(low, high), rng.randint(low, high)
    form = rng.choice(["{0}", "{0}", "{0}-{1}", "{0}-{1}/{2}", "{0}/{2}", "*/{2}", "*"])
    return form.format(show(first), show(last), rng.randint(1, max(2, high // 2)))


def random_list(rng, low, high, names=()):
    return ",".join(random_item(rng, low, high, names) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def random_expression(rng):
    nth = "%d#%d" % (rng.randint(0, 7), rng.randint(1, 5))
    return " ".join([
        rng.choice(["*", "0", "0", "0,30", "H", random_list(rng, 0, 59), random_list(rng, 0, 59)]),
        rng.choice(["*", "*", "2", "1-23/2", "*/2", "H(2-5)", random_list(rng, 0, 23), random_list(rng, 0, 23)]),
        rng.choice(["*", "*", "*", "?", "1", "1-31", "1-31,L", "L", "LW", "1,L", "31,L", "*/2", "2-31/2", "*/2,L",
                    "LW,L,15W", "L-%d" % rng.randint(1, 30), "%dW" % rng.randint(1, 31), random_list(rng, 1, 31),
                    random_list(rng, 1, 31), random_list(rng, 1, 31) + ",L"]),
        rng.choice(["*", "*", "*", "*", "6", "1,7", "nov-feb", "*/3", random_list(rng, 1, 12, sc.MONTH_NAMES)]),
        rng.choice(["*", "*", "*", "?", "1", "1-5", "fri-mon", "0-6", "1L", "1#2", "1,1#1", "*,1#1", "0-6,5L",
                    "1#1,3#1", "*/2", nth, random_list(rng, 0, 7, sc.DAY_NAMES), random_list(rng, 0, 7, sc.DAY_NAMES),
                    "%s,%dL" % (random_list(rng, 0, 7), rng.randint(0, 7))])])


def month_shapes():
    """A month of each length and first weekday."""
    shapes = {}
    for key in range(1970 * 12, 2400 * 12):
        _, length, first = sc._month_shape(key)
        shapes.setdefault((length, first), key)
    return shapes


MONTH_SHAPES = month_shapes()
MONTH_LENGTHS = dict.fromkeys(range(1, 13), (31,))
MONTH_LENGTHS.update({4: (30,), 6: (30,), 9: (30,), 11: (30,), 2: (28, 29)})


def matches(expression):
    """All that a schedule matches: the times of day, the months, and the days of each shape that they can have."""
    schedule = sc.CronSchedule(expression, "task")
    months = sorted(schedule.fields[3].values)
    months = [month for month in months if any(  # but not April where the day is the 31st
        schedule._days_of(MONTH_SHAPES[length, first])[1] for length in MONTH_LENGTHS[month] for first in range(7))]
    lengths = sorted({length for month in months for length in MONTH_LENGTHS[month]})
    days = [schedule._days_of(MONTH_SHAPES[length, first])[1] for length in lengths for first in range(7)]
    return schedule._times, months, days


def described_alike(count, seed):
    """Pairs of schedules with the same words that do not match the same; and how many words there were."""
    rng, first_with, pairs = random.Random(seed), {}, []
    for _ in range(count):
        expression = random_expression(rng)
        try:
            words = sc.describe(expression, "task")
        except sc.CronSyntaxError as error:
            assert "never fires" in str(error), expression
            continue
        other = first_with.setdefault(words, expression)
        if other != expression and matches(other) != matches(expression):
            pairs.append((words, other, expression))
    return pairs, len(first_with)


# The slots that count here are wall times: the minutes of a day, and the days. Whether a schedule starts with '*' moves
# slots when the clocks change, and is not said in words.
def test_schedules_with_the_same_words_match_the_same_times_of_the_same_days():
    pairs, words = described_alike(20000, "words")
    assert pairs == []
    assert words > 10000


def test_words_are_of_one_form():
    rng = random.Random("form")
    for _ in range(1500):
        try:
            words = sc.describe(random_expression(rng), "task")
        except sc.CronSyntaxError:
            continue
        assert re.match(r"(at|every) ", words) and words == " ".join(words.split())
        assert not re.search(r"\b(\w+) \1\b|,,|\bthe every|[^1]1th|[^1]2th|[^1]3th", words), words


# The cases of people who had other schedulers: expression, zone, after, and what is to come.

FIELD_CASES = [
    ("0 0 * * 0", "America/Santiago", "2022-09-04T12:00", ["2022-09-11 01:00 -0300", "2022-09-18 00:00 -0300"]),
    ("0 0 * * *", "America/Sao_Paulo", "2018-02-17T00:05", ["2018-02-18 00:00 -0300"]),
    ("0 2 * * *", "Australia/Lord_Howe", "2023-09-29T12:00", ["2023-09-30 02:00 +1030", "2023-10-01 02:30 +1100"]),
    ("0 * * * *", "Australia/Lord_Howe", "2023-10-01T00:30", ["2023-10-01 01:00 +1030", "2023-10-01 03:00 +1100"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2023-04-01T12:00", ["2023-04-02 01:45 +1100", "2023-04-03 01:45 +1030"]),
    ("5 5 20 1 3", "UTC", "2026-01-01", ["2026-01-07 05:05 +0000", "2026-01-14 05:05 +0000", "2026-01-20 05:05 +0000"]),
    ("0 0 29 2 1", "UTC", "2028-02-20", ["2028-02-21 00:00 +0000", "2028-02-28 00:00 +0000", "2028-02-29 00:00 +0000",
                                         "2029-02-05 00:00 +0000"]),
    ("15 1 * * *", "Europe/London", "2022-10-30T01:10", ["2022-10-30 01:15 +0100", "2022-10-31 01:15 +0000"]),
]


@pytest.mark.parametrize("expression, zone, after, expected", FIELD_CASES)
def test_case_from_the_field_has_its_slots(expression, zone, after, expected):
    schedule, instant, texts = sc.CronSchedule(expression), sc.from_iso(after, sc.zone_named(zone)), []
    for _ in expected:
        instant = schedule.next(instant, zone)
        texts.append(sc.local_text(instant, zone)[4:])
    assert texts == expected


def test_first_monday_that_runs_too_often_comes_with_the_right_one():
    (said, hint), = sc.schedule_advice(sc.CronSchedule("30 05 01-07 * 1"))
    assert said == ("cron reads day-of-month '01-07' and day-of-week '1' as 'or': the task runs at 05:30 "
                    "on the 1st to 7th of the month and on Mondays")
    assert hint == "for the 1st Monday of the month only: '30 05 * * 1#1'"
    (_, hint), = sc.schedule_advice(sc.CronSchedule("0 9 1-7 * 1"))
    assert hint == "for the 1st Monday of the month only: '0 9 * * 1#1'"


@pytest.mark.parametrize("expression, words, fix", [
    ("0 0 31 feb mon", "at 00:00 on Mondays in February", "for Mondays only: '0 0 * feb mon'"),
    ("0 0 31 4 1#1", "at 00:00 on the 1st Monday of April", "for the 1st Monday of the month only: '0 0 * 4 1#1'"),
    ("0 0 31W 4 1", "at 00:00 on Mondays in April", "for Mondays only: '0 0 * 4 1'"),
    ("0 0 30,31 4 1", "at 00:00 on the 30th of April and on Mondays in April",
     "for both at once: '0 0 30,31 4 *', and begin the command with [ $(date +%u) = 1 ] || exit 0;"),
    ("0 0 15 * " + ",".join(["1#1"] * 1000), "at 00:00 on the 15th of the month and on the 1st Monday of the month",
     "for the 1st Monday of the month only: write * in day-of-month"),
])
def test_days_that_no_month_has_are_neither_described_nor_advised(expression, words, fix):
    (_, hint), = sc.schedule_advice(sc.CronSchedule(expression))
    assert (sc.describe(expression), hint) == (words, fix)
    for quoted in expressions_in(hint):
        assert slots(quoted)


def test_advice_is_never_a_cut_expression():
    minutes = ",".join(str(minute) for minute in range(58)) + " "
    (_, hint), = sc.schedule_advice(sc.CronSchedule(minutes + "0 1-7 * 1"))
    assert hint == "for the 1st Monday of the month only: write * in day-of-month and 1#1 in day-of-week"
    (_, hint), = sc.schedule_advice(sc.CronSchedule(minutes + "*/24 * * *"))
    assert hint.startswith("write the first value without its step")
    assert refusal(minutes + "0 31 2 *").hint == "L is the last day of the month"


def test_configuration_on_a_machine_without_zone_data_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(sc, "_zone_folders", lambda: [str(tmp_path)])
    monkeypatch.setattr(sc, "_ZONES", {None: sc.zone_named(None)})
    text = '{"tasks": [{"name": "a", "command": "true", "schedule": "0 2 * * *", "timezone": "Europe/Paris"}]}'
    config = sc.build_config([("c.json", sc.parse_document(text, "c.json"))])
    assert [str(problem) for problem in config.problems] == [
        "c.json: tasks[0] 'a': timezone: unknown time zone 'Europe/Paris' "
        "(no zone data on this machine: install tzdata)"]


if __name__ == "__main__":
    wanted, seed = (sys.argv[1:] + ["20000", ""][len(sys.argv) - 1:])[:2]
    began = time.time()
    pairs, words = described_alike(int(wanted), seed or began)
    for pair in pairs:
        print("%s: '%s' and '%s'" % pair)
    print("%s schedules, %d descriptions, %d that differ under the same words; %.1f s" % (
        wanted, words, len(pairs), time.time() - began))
    sys.exit(1 if pairs else 0)
