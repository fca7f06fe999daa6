"""Rules of the configuration at their edges, and what check warns of: launchers, defaults, windows."""

import json

import pytest

import symphony_conductor as sc


@pytest.mark.parametrize("limit, number", [
    (1000, 1000), ("1M", 1048576), ("512M", 536870912), ("2G", 2147483648), ("1T", 1099511627776)])
def test_an_amount_of_memory_is_bytes_or_a_number_and_a_unit(limit, number):
    assert sc.bytes_of(limit) == number


def test_the_shortest_interval_is_that_of_the_next_eight():
    """They are two days apart, and the ninth is one."""
    task = sc.Task(name="job", timezone="UTC",
                   schedule=sc.CronSchedule("0 0 1,3,5,7,9,11,13,15,17,18 * *"))
    assert sc.shortest_interval(task, 1698753600) == 2 * 86400  # noon of October 31st
    assert sc.shortest_interval(task, 1698753600, slots=9) == 86400


def test_each_exit_code_that_is_both_a_success_and_a_skip_is_told_once():
    found = sc._exit_code_problems({"success_exit_codes": [0, 3, 4], "skip_exit_codes": [3, 5, 4, 3]},
                                   "config.json: tasks[0] 'job'", "job")
    assert [str(problem) for problem in found] == [
        "config.json: tasks[0] 'job': skip_exit_codes: %d is also a success "
        "(remove it here or from success_exit_codes)" % code for code in (3, 4)]
    for problem in found:
        assert (problem.task, problem.field, problem.hint, problem.warning) == (
            "job", "skip_exit_codes", "remove it here or from success_exit_codes", False)
    assert [problem.text for problem in sc._exit_code_problems({"skip_exit_codes": [0]}, "", "")] == [
        "skip_exit_codes: 0 is also a success"]
    assert sc._exit_code_problems({}, "", "") == []


# -- a launcher and its cancel_command

def built(settings, **fields):
    task = dict({"name": "a", "command": "true", "schedule": "0 2 * * *"}, **fields)
    return sc.build_config([("c.json", {"tasks": [task], "settings": settings})])


BAD = (
    ({"launcher": "srun"}, 'launcher: "srun" is not allowed'),
    ({"launcher": []}, "launcher: [] is not allowed"),
    ({"launcher": [" "]}, 'launcher: [" "] is not allowed'),
    ({"launcher": ["srun", "{jobid}"]}, 'launcher: ["srun", "{jobid}"] is not allowed'),
    ({"launcher": ["srun", "{"]}, 'launcher: ["srun", "{"] is not allowed'),
    ({"launcher": ["srun", "}"]}, 'launcher: ["srun", "}"] is not allowed'),
    ({"launcher": ["srun", "{task.name}"]}, 'launcher: ["srun", "{task.name}"] is not allowed'),
    ({"launcher": ["{command}"]}, 'launcher: ["{command}"] is not allowed'),
    ({"cancel_command": "scancel {command}"}, 'cancel_command: "scancel {command}" is not allowed'),
    ({"cancel_command": ["scancel", "{0}"]}, 'cancel_command: ["scancel", "{0}"] is not allowed'),
    ({"cancel_command": " "}, 'cancel_command: " " is not allowed'),
)


@pytest.mark.parametrize("fields, text", BAD)
def test_a_word_that_cannot_be_filled_in_is_an_error_that_says_what_is_allowed(fields, text):
    key = list(fields)[0]
    problem, = built({}, **fields).problems
    assert problem.text == text and "{run_id}" in problem.hint and "{{ and }}" in problem.hint
    with pytest.raises(sc.ConfigError) as caught:
        built(fields)
    assert [problem.text for problem in caught.value.problems] == [text], key


@pytest.mark.parametrize("value", [["srun", "x{{y}}", ""], ["srun", "{task}{run_id}{timeout}", "{command}"], None])
def test_what_a_launcher_may_be(value):
    assert not built({"launcher": value}).problems


SRUN, SCANCEL = ["srun", "-J{run_id}"], ["scancel", "-n{run_id}"]


@pytest.mark.parametrize("settings, fields, launcher, cancel", [
    ({"launcher": SRUN, "cancel_command": SCANCEL}, {}, SRUN, SCANCEL),
    ({"launcher": SRUN, "cancel_command": SCANCEL}, {"launcher": None}, None, None),
    ({"launcher": SRUN, "cancel_command": SCANCEL}, {"launcher": ["ssh", "far"]}, ["ssh", "far"], None),
    ({"launcher": SRUN, "cancel_command": SCANCEL}, {"cancel_command": "x"}, SRUN, "x"),
    ({"launcher": SRUN, "cancel_command": SCANCEL}, {"cancel_command": None}, SRUN, None),
    ({"launcher": SRUN, "defaults": {"cancel_command": SCANCEL}}, {}, SRUN, SCANCEL),
    ({"defaults": {"launcher": SRUN, "cancel_command": SCANCEL}}, {}, SRUN, SCANCEL),
    ({"defaults": {"launcher": SRUN, "cancel_command": SCANCEL}}, {"launcher": None}, None, None),
    ({"defaults": {"launcher": SRUN, "cancel_command": SCANCEL}}, {"launcher": ["x"]}, ["x"], None),
    ({"launcher": ["x"], "cancel_command": "y", "defaults": {"launcher": SRUN}}, {}, SRUN, None),
    ({}, {"launcher": SRUN, "cancel_command": SCANCEL}, SRUN, SCANCEL),
])
def test_who_brings_the_launcher_brings_its_cancel_command(settings, fields, launcher, cancel):
    task = built(settings, **fields).tasks["a"]
    assert json.loads(json.dumps([task.launcher, task.cancel_command])) == [launcher, cancel]


@pytest.mark.parametrize("settings, fields, said", [
    ({}, {"launcher": ["srun"]}, ["launcher: what srun started may outlive it, and there is no cancel_command"]),
    ({}, {"launcher": ["sudo", "-u", "x", "/usr/bin/srun"]},
     ["launcher: what srun started may outlive it, and there is no cancel_command"]),
    ({"launcher": ["srun"]}, {}, ["launcher: what srun started may outlive it, and there is no cancel_command"]),
    ({}, {"launcher": ["nice"]}, []),
    ({}, {"launcher": ["ssh", "far"], "cancel_command": "x"},
     ["launcher: a shell at the other end reads the command once more"]),
    ({}, {"launcher": ["ssh", "far", "{command}"], "cancel_command": "x"}, []),
    ({}, {"cancel_command": "x"}, ["cancel_command: there is no launcher"]),
    ({"cancel_command": "x"}, {}, ["cancel_command: there is no launcher"]),
    ({}, {"launcher": ["nice"], "success_exit_codes": [0, 255]},
     ["success_exit_codes: 255 is also what a launcher says when its connection breaks"]),
    ({}, {"launcher": ["nice"], "skip_exit_codes": [255]},
     ["skip_exit_codes: 255 is also what a launcher says when its connection breaks"]),
    ({}, {"skip_exit_codes": [255]}, []),
    ({}, {"launcher": ["nice", "$HOME/x"]},
     ["launcher: no shell runs a list, so $VARIABLE is passed on as it is"]),
    ({}, {"launcher": ["nice"], "cancel_command": "x"}, []),
    ({}, {"launcher": ["ssh", "far", "srun"]},
     ["launcher: what ssh started may outlive it, and there is no cancel_command",
      "launcher: a shell at the other end reads the command once more"]),
    ({}, {"launcher": ["srun", "{command}"], "cancel_command": "x"}, []),
    ({}, {"launcher": ["ssh", "far", "{{command}}"], "cancel_command": "x"},
     ["launcher: a shell at the other end reads the command once more"]),
    # a list replaces the default, unlike systemd's SuccessExitStatus, which adds to 0
    ({}, {"success_exit_codes": [1]}, ["success_exit_codes: without 0 in it, exit code 0 is a failure"]),
    ({}, {"success_exit_codes": [0, 1]}, []),
    ({}, {"success_exit_codes": [1], "skip_exit_codes": [0]}, []),
])
def test_what_check_warns_of(settings, fields, said):
    assert [problem.text for problem in sc.suspicions(built(settings, **fields), 0)] == said


MAY_OUTLIVE = {
    "field": "launcher", "text": "launcher: what srun started may outlive it, and there is no cancel_command",
    "hint": "add a cancel_command; config/README.md has one"}
NO_LAUNCHER = {
    "field": "cancel_command", "text": "cancel_command: there is no launcher",
    "hint": "it ends what a launcher started; remove it, or add launcher"}


@pytest.mark.parametrize("settings, place, said", [
    ({"launcher": ["srun"]}, "settings", MAY_OUTLIVE),
    ({"defaults": {"launcher": ["srun"]}}, "settings: defaults", MAY_OUTLIVE),
    ({"cancel_command": "x"}, "settings", NO_LAUNCHER),
    ({"defaults": {"cancel_command": "x"}}, "settings: defaults", NO_LAUNCHER),
])
def test_what_is_odd_about_a_launcher_of_all_tasks_is_said_once_where_it_stands(settings, place, said):
    tasks = [{"name": name, "command": "true", "schedule": "0 2 * * *"} for name in "ab"]
    config = sc.build_config([("c.json", {"tasks": tasks, "settings": settings})])
    assert sc.suspicions(config, 0) == [sc.Problem(place=place, warning=True, **said)]


def test_a_launcher_of_the_settings_may_have_its_cancel_command_from_defaults():
    settings = {"launcher": ["srun"], "defaults": {"cancel_command": "x"}}
    assert sc.suspicions(built(settings), 0) == []
    warning, = sc.suspicions(built(settings, cancel_command=None), 0)
    assert (warning.task, warning.field) == ("a", "launcher")


def test_the_definition_of_a_run_names_its_launcher_where_there_is_one():
    def definition(**fields):
        config = built({}, **fields)
        return json.loads(json.dumps(sc.definition_of(config, config.tasks["a"])))

    assert not {"launcher", "cancel_command"} & set(definition())
    found = definition(launcher=SRUN, cancel_command=SCANCEL)
    assert (found["launcher"], found["cancel_command"]) == (SRUN, SCANCEL)


# -- what a task has from elsewhere

@pytest.mark.parametrize("fields, defaults, since", [
    ({"schedule": "0 2 * * *"}, {}, (100, 200)),  # of the zone of the settings
    ({"schedule": "0 2 * * *", "timezone": "UTC"}, {}, (100, 100)),
    ({"schedule": "0 2 * * *", "timezone": "UTC"}, {"schedule": "0 3 * * *"}, (100, 100)),
    ({}, {"schedule": "0 3 * * *"}, (200, 200)),
    ({"timezone": "UTC"}, {}, (100, 100)),
    ({"schedule": "0 2 * * *", "timezone": None}, {"timezone": "UTC"}, (100, 200)),
])
def test_a_schedule_and_a_zone_have_changed_with_the_file_that_they_stand_in(fields, defaults, since):
    config = sc.build_config([("c.json", {"settings": {"defaults": defaults}}),
                              ("d.json", dict({"name": "a", "command": "true"}, **fields))],
                             {"c.json": 200, "d.json": 100})
    task = config.tasks["a"]
    assert (task.changed_at, task.zone_changed_at) == since


def test_defaults_are_kept_as_they_are_written_but_for_null():
    config = built({"task_timeout_default": 600, "timezone": "UTC", "env_file": "all.env",
                    "defaults": {"retry_count": 2.0, "start_deadline": None}})
    assert config.defaults == {"retry_count": 2} and type(config.defaults["retry_count"]) is int
    assert config.env_file == ("all.env",)


def test_what_the_settings_give_to_all_tasks_is_not_suspicious_in_defaults():
    config = built({"task_timeout_default": 3600, "defaults": {"schedule": "*/5 * * * *"}})
    assert sc.suspicions(config, 0) == []


def test_a_variable_of_defaults_is_not_warned_of_in_a_task_with_variables_of_its_own():
    config = built({"defaults": {"env": {"A": "$HOME/a", "B": "$HOME/b"}}}, env={"B": "$HOME/x", "C": "c"})
    assert [(problem.place, problem.text) for problem in sc.suspicions(config, 0)] == [
        ("c.json: tasks[0] 'a'", "env: $VARIABLE in B is not expanded"),
        ("settings: defaults", "env: $VARIABLE in A is not expanded"),
        ("settings: defaults", "env: $VARIABLE in B is not expanded")]


def test_waiting_for_a_disabled_task_by_a_default_is_warned_of_in_each_task_that_waits():
    tasks = [{"name": "off", "command": "true", "enabled": False, "dependencies": []},
             {"name": "a", "command": "true"}, {"name": "b", "command": "true", "enabled": False}]
    config = sc.build_config([("c.json", {"tasks": tasks, "settings": {
        "defaults": {"dependencies": ["off"]}}})])
    assert [(problem.place, problem.text) for problem in sc.suspicions(config, 0)] == [
        ("c.json: tasks[1] 'a'", "dependencies: 'off' is disabled")]


@pytest.mark.parametrize("key, is_missing", [
    ("cron", False), ("depends_on", False), ("Schedule", False), ("retries", True), ("xyzzy", True)])
def test_a_schedule_under_another_name_is_not_missing_as_well(key, is_missing):
    """As check has it, which warns of invalid tasks too."""
    config = built({}, schedule=None)
    draft = config.tasks["a"].replace(written=("name", "command", key))
    found = [problem.field for problem in sc.suspicions(config.replace(tasks={"a": draft}), 0)]
    assert found == ["schedule"] * is_missing


# -- days off and windows

@pytest.mark.parametrize("fields", [
    {"schedule": "0 0,14 * * *"},
    {"schedule": ["0 0,14 * * *", "0 12 17 6 *"]},  # noon of the ninth day
    {"schedule": "0 0 1 * *"},
    {"schedule": ["0 0 1 * *", "0 12 15 4 *"]},  # the eleventh, in 2026
    {"schedule": "0 0 * * *", "not_on": "2025-06-09..2099-12-31"},  # one slot is left
])
def test_a_window_that_opens_too_late_for_the_slots_of_eight_days_and_ten_at_least_is_warned_of(fields):
    assert [problem.text for problem in sc.suspicions(behind_window(fields), JUNE_7TH)] == [
        "only_between: no slot starts within its start_deadline of 60 s"]


@pytest.mark.parametrize("fields", [
    {"schedule": ["0 0,14 * * *", "0 12 16 6 *"]},  # comes after just eight days
    {"schedule": ["0 0 1 * *", "0 12 15 3 *"]},  # the tenth, in 2026
    {"schedule": ["0 0 * * *", "0 12 9 6 *"]},
    {"schedule": "@reboot"},
    {"schedule": None},
])
def test_a_window_that_opens_in_time_for_one_of_them_is_not(fields):
    assert sc.suspicions(behind_window(fields), JUNE_7TH) == []


JUNE_7TH = 1749340740  # 2025-06-07T23:59:00Z, a Saturday


def behind_window(fields):
    return built({"timezone": "UTC"}, **dict(fields, only_between="12:00-13:00", start_deadline=60))


def test_days_off_are_passed_over_as_far_as_a_slot_is_looked_for():
    """Of a yearly slot, each of 21 years is a day off; the last is just as far as the search goes."""
    far = sc.SEARCH_DAYS * 86400
    task = built({"timezone": "UTC"}, schedule="0 0 1 1 *", not_on=[
        "%d-01-01" % year for year in range(2025, 2046)]).tasks["a"]
    before, first, last, after = [
        sc.day_number(year, 1, 1) * 86400 for year in (2024, 2025, 2045, 2046)]
    assert sc.slot_after(task, last - far) == after
    assert sc.slot_after(task, last - far - 1) is None
    assert sc.slot_until(task, first + far) == before
    assert sc.slot_until(task, first + far + 1) is None


def test_a_day_off_that_comes_back_when_clocks_are_set_back_over_midnight_is_off_again():
    """In Newfoundland, 2010-11-07 00:01 was followed by 23:01 of the day before."""
    task = built({"timezone": "America/St_Johns"}, schedule="*/30 * * * *", not_on="2010-11-06").tasks["a"]
    at, found = 1289007000, []  # 23:00 on November 5th
    for _ in range(4):
        at = sc.slot_after(task, at)
        found.append(sc.iso(at))
    assert found == ["2010-11-06T02:00:00Z", "2010-11-07T02:30:00Z", "2010-11-07T03:30:00Z", "2010-11-07T04:00:00Z"]
