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
    for _ in range(30000):
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


# -- decisions

SLOT = utc(2025, 6, 2, 4)


def decided(state, fact, *tasks):
    """A decision over the state of `a`, whose run is as `fact` says."""
    config = built(*(tasks or [task("a", timezone="UTC")]))
    return sc.decide(config, sc.State(tasks={"a": state}, last_now=SLOT), SLOT + 60,
                     sc.Facts(boot_id="b", boot_at=SLOT - 900, zone_stamp="z", runs={"a": fact}), SLOT)


RUNNING = sc.Cycle(slot=SLOT, phase="running")


@pytest.mark.parametrize("cycle, found, phase, slot, skipped", [
    (None, {"trigger": "manual"}, None, None, []),
    (RUNNING, {"slot": SLOT, "attempt": 2}, "running", SLOT, []),
    (RUNNING, {"trigger": "manual"}, "queued", SLOT, []),  # it was no run of the slot
    (RUNNING, {"slot": SLOT - 60}, "running", SLOT - 60, [("skipped_overlap", sc.iso(SLOT))]),
    (sc.Cycle(slot=SLOT, phase="retrying", retry_at=SLOT + 900), {"slot": SLOT}, "retrying", SLOT, []),
])
def test_a_run_of_which_only_the_lock_was_known_gets_its_name_and_its_slot(
        cycle, found, phase, slot, skipped):
    run = sc.Run(run_id="r1", started_at=SLOT + 5, **found)
    decision = decided(sc.TaskState(run=sc.Run(), cycle=cycle), sc.RunFact(kind="held", run=run))
    state = decision.state.tasks["a"]
    assert state.run == run
    assert (state.cycle and state.cycle.phase, state.cycle and state.cycle.slot) == (phase, slot)
    assert [(record["status"], record["scheduled_for"]) for record in decision.records] == skipped
    assert decision.starts == [], "whatever runs, no second one starts"


@pytest.mark.parametrize("run_id, notes", [("r1", ["a: run r1 did not start"]), ("", [])])
def test_a_start_that_never_was_is_made_again_and_named_if_it_has_a_name(run_id, notes):
    state = sc.TaskState(run=sc.Run(run_id=run_id, slot=SLOT), cycle=RUNNING)
    decision = decided(state, sc.RunFact(kind="never"))
    assert [note for note in decision.notes if "did not start" in note] == notes
    assert [run.slot for _, run in decision.starts] == [SLOT]
    assert decision.state.tasks["a"].cycle.lost_starts == 1


@pytest.mark.parametrize("before, warnings, kept", [
    ("", 1, "process 7 cannot be killed"),
    ("process 7 cannot be killed", 0, "process 7 cannot be killed"),
    ("processes 7 and 8 cannot be killed", 0, "process 7 cannot be killed"),
])
def test_what_cannot_be_ended_is_reported_once_and_kept_up_to_date(before, warnings, kept):
    run = sc.Run(run_id="r1", slot=SLOT, unended=before)
    decision = decided(sc.TaskState(run=run, cycle=RUNNING),
                       sc.RunFact(kind="held", unended="process 7 cannot be killed"))
    assert sum(note.startswith("WARNING a: run r1") for note in decision.notes) == warnings
    assert decision.state.tasks["a"].run.unended == kept


def test_a_success_by_hand_behind_a_join_is_asked_for_only_by_the_join():
    """`w` needs the join `j`, and `j` the task `m`, which runs by hand: whether `w` used it is no matter."""
    config = built(task("m"), task("j", dependencies=["m"]), task("w", "0 4 * * *", dependencies=["j"]))
    states = {"m": sc.TaskState(success_seq=1), "j": sc.TaskState(success_seq=2)}
    assert sc.is_met(config, states, "w", "j", SLOT)
    states["m"] = sc.TaskState(success_seq=3)
    assert not sc.is_met(config, states, "w", "j", SLOT), "its join is due again"


def test_two_that_wait_for_each_other_in_an_old_state_do_not_go_on_for_ever():
    """A state may be older than the configuration, where the two no longer depend on each other."""
    config = built(task("a", "0 4 * * *"), task("b", "0 4 * * *"))
    states = {name: sc.TaskState(cycle=sc.Cycle(slot=SLOT, phase="waiting", waiting_for=other))
              for name, other in (("a", "b"), ("b", "a"))}
    assert sc.root_cause(config, states, "a", SLOT) == ("a", SLOT)


@pytest.mark.parametrize("target, messages, at", [
    ({"enable_notifications": True, "notification_webhook": "https://example.org/x"}, 1, SLOT + 60),
    ({}, 0, 0.0)])
def test_without_a_target_a_root_cause_is_not_taken_as_told(target, messages, at):
    config = sc.build_config([("c.json", {"settings": dict(target, timezone="UTC"), "tasks": [
        task("a", "0 4 * * *"), task("b", "0 4 * * *", dependencies=["a"])]})])
    tasks = {"a": sc.TaskState(schedule_key=config.tasks["a"].schedule_key, cursor=SLOT,
                               failing_since=SLOT, notified_at=SLOT,
                               last={"status": "failed", "scheduled_for": sc.iso(SLOT)}),
             "b": sc.TaskState(schedule_key=config.tasks["b"].schedule_key, cursor=SLOT,
                               cycle=sc.Cycle(slot=SLOT, phase="waiting", waiting_for="a"))}
    decision = sc.decide(config, sc.State(tasks=tasks, last_now=SLOT), SLOT + 60, sc.Facts(
        boot_id="b", boot_at=SLOT - 900, zone_stamp="z"), SLOT)
    assert [message["event"] for message in decision.messages] == ["blocked"] * messages
    assert decision.state.tasks["a"].blocking_at == at


# -- what is said


@pytest.mark.parametrize("cycle, text", [
    (None, ""),
    (sc.Cycle(slot=SLOT, phase="running"), ""),  # its run has ended, and no tick has seen it
])
def test_nothing_holds_up_what_is_not_open(cycle, text):
    config = built(task("a", "0 4 * * *"))
    state = sc.State(tasks={"a": sc.TaskState(cycle=cycle)})
    assert sc._open_reason(config, state, config.tasks["a"], SLOT) == text


@pytest.mark.parametrize("reason, text", [("", "failed; "), ("no such file", "failed: no such file; ")])
def test_a_retry_that_waits_says_why_the_attempt_before_failed(reason, text):
    config = built(task("a", "0 4 * * *", retry_count=1))
    attempt = {"status": "failed", "exit_code": 1, "attempt": 1, "reason": reason or None}
    state = sc.State(tasks={"a": sc.TaskState(cycle=sc.Cycle(
        slot=SLOT, phase="retrying", attempt=2, retry_at=SLOT + 600, attempts=[attempt]))})
    said = sc._open_reason(config, state, config.tasks["a"], SLOT)
    assert said.startswith(sc.outcome_text(attempt) + text[len("failed"):])


@pytest.mark.parametrize("count", [1, sc.FINDINGS_SHOWN, sc.FINDINGS_SHOWN + 3])
def test_an_audit_shows_the_first_of_many_findings_and_counts_the_others(count):
    found = [{"task": "a", "scheduled_for": "slot-%d" % number, "reason": "no result"}
             for number in range(count)]
    text = sc.audit_text({
        "findings": found, "slots": 99, "unexplained": count, "since": "S", "until": "U", "fates": {},
        "while_no_tick_ran": 0, "shifted_by_daylight_saving": 0, "lost_pauses": [], "gaps": [],
        "zone_changes": []})
    assert text.startswith("99 slots, %d unexplained, S to U\n" % count)
    assert text.count("  ! a: slot slot-") == min(count, sc.FINDINGS_SHOWN)
    assert ("! and 3 more" in text) == (count > sc.FINDINGS_SHOWN)


def test_a_task_that_was_removed_before_it_ran_has_no_results_to_show():
    text = sc.removed_text("old", None, SLOT)
    assert "no longer in the configuration" in text
    assert "history" not in text


def test_a_success_whose_record_is_gone_is_not_called_late():
    slot = sc.Slot(task="a", at=SLOT, fate="success")
    late = {"status": "success", "started_at": sc.iso(SLOT + 600), "scheduled_for": sc.iso(SLOT)}
    assert sc._fate_text(slot, None) == sc.FATES["success"]
    assert sc._fate_text(slot, late) != sc.FATES["success"]


def test_the_last_slots_of_the_calendar_are_the_last_that_are_shown():
    config = built(task("a", "0 0 1 1 *", timezone="UTC"))
    key = config.tasks["a"].schedule_key
    state = sc.State(tasks={"a": sc.TaskState(schedule_key=key, next_slot=utc(9997, 1, 1))})
    slots = sc.coming_slots(config, state, utc(9996, 1, 2), utc(9996, 1, 2), 50)
    assert slots[0] == (utc(9997, 1, 1), "a")
    assert len(slots) < 5


@pytest.mark.parametrize("phase, opens_in, expected", [
    ("queued", 3600, 1), ("queued", 0, 0), ("retrying", 3600, 0), ("waiting", 3600, 0)])
def test_only_what_is_queued_waits_for_its_window(phase, opens_in, expected):
    begin = sc.iso(SLOT + opens_in)[11:16]
    config = built(task("a", "0 4 * * *", timezone="UTC", only_between="%s-23:00" % begin))
    state = sc.State(tasks={"a": sc.TaskState(cycle=sc.Cycle(slot=SLOT, phase=phase))})
    starts = sc.waiting_starts(config, state, SLOT)
    assert starts == [(SLOT + opens_in, "a", SLOT)] * expected
    assert sc.waiting_starts(config, state, SLOT, "b") == []


@pytest.mark.parametrize("not_on, lines", [
    ("2025-06-03", ["a: 2025-06-03 (not_on)"]),
    (["2025-06-03", "2025-06-04"], ["a: 2025-06-03 (not_on) (and 1 more day)"]),
    ("2025-12-25", [])])
def test_the_days_that_are_left_out_are_named_and_counted(not_on, lines):
    config = built(task("a", "0 4 * * *", timezone="UTC", not_on=not_on))
    said = sc.skipped_days(config, [(utc(2025, 6, 6, 4), "a")], SLOT + 60)
    assert len(said) == len(lines)
    for text, line in zip(said, lines):
        assert text.startswith("a: ") and ("(and 1 more day)" in text) == ("more" in line)


@pytest.mark.parametrize("script, is_imported", [
    ("/srv/x/symphony_conductor.py", True), ("/srv/x/conductor", False), ("/srv/x/my-copy.py", False)])
def test_a_file_that_no_import_could_name_is_run_as_it_is(script, is_imported):
    words = sc.program_arguments(script)
    assert words == ([script] if not is_imported else [
        "-c", sc.BOOT_CODE % ("'/srv/x'", "symphony_conductor")])
