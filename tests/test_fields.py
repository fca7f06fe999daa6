"""Defaults for the fields of every task."""

import json

import pytest

from world import World, at

import symphony_conductor as sc

FILE = "conf.json"


def build(*tasks, changed_at=None, **settings):
    document = {"tasks": list(tasks), "settings": settings}
    return sc.build_config([(FILE, json.loads(json.dumps(document)))], changed_at)


def refused(*tasks, **settings):
    with pytest.raises(sc.ConfigError) as caught:
        build(*tasks, **settings)
    return caught.value.problems


def job(**fields):
    return dict({"name": "job", "command": "true", "schedule": "0 2 * * *"}, **fields)


# -- defaults

def test_a_default_is_for_tasks_that_have_no_value_of_their_own():
    config = build(job(), job(name="own", timeout=5, nice=1, env={"B": "own"}, retry_count=0),
                   timezone="UTC", task_timeout_default=100,
                   defaults={"timeout": 60, "nice": 7, "env": {"A": "default", "B": "default"},
                             "timezone": "Europe/Paris", "tags": ["x"], "env_file": "a.env"})
    assert config.problems == []
    common, own = config.tasks["job"], config.tasks["own"]
    assert (common.timeout, common.nice, common.timezone) == (60, 7, "Europe/Paris")
    assert (common.tags, common.env_file) == (("x",), ("a.env",))
    assert common.env == {"A": "default", "B": "default"}
    assert (own.timeout, own.nice, own.env) == (5, 1, {"A": "default", "B": "own"})
    assert common.written == ("name", "command", "schedule")


def test_null_is_the_field_without_a_default():
    config = build(job(start_deadline=None, timezone=None, schedule=None), timezone="UTC", defaults={
        "start_deadline": 5, "timezone": "Europe/Paris", "schedule": "@daily"})
    task = config.tasks["job"]
    assert (task.start_deadline, task.timezone, task.schedule) == (None, "UTC", None)


def test_a_command_may_be_a_default():
    assert build({"name": "job"}, defaults={"command": "true"}).tasks["job"].command == "true"


@pytest.mark.parametrize("defaults, text, hint", [
    ({"timeout": 0}, "timeout: 0 is not allowed", "a number of seconds from 1 to 10 years"),
    ({"name": "x"}, "unknown key 'name'", "each task has its own"),
    ({"tiemout": 1}, "unknown key 'tiemout'", "did you mean 'timeout'?"),
    ({"max_concurrent_tasks": 1}, "unknown key 'max_concurrent_tasks'", "it belongs in settings"),
    ({"schedule": "61 * * * *"}, "schedule: minute '61' is outside 0-59", ""),
    ({"timezone": "Nowhere/None"}, "timezone: ", ""),
    ({"env": {"A": 1}}, "env: the value is not allowed", "an object of strings"),
])
def test_what_is_wrong_with_a_default_is_said_once(defaults, text, hint):
    problem, = refused(job(), job(name="other"), defaults=defaults)
    assert problem.place == FILE + ": settings: defaults"
    assert problem.text.startswith(text) and hint in problem.hint


def test_what_is_suspicious_about_a_default_is_said_once():
    config = build({"name": "a", "command": "true"}, {"name": "b", "command": "true", "cwd": "~/b"},
                   defaults={"schedule": "* 3 * * *", "env": {"A": "$HOME/a"}, "cwd": "~/x", "timeout": 3600})
    warnings = [(warning.place, warning.field) for warning in sc.suspicions(config, 1700000000)]
    assert sorted(warnings) == [
        (FILE + ": tasks[1] 'b'", "cwd"), ("settings: defaults", "cwd"), ("settings: defaults", "env"),
        ("settings: defaults", "schedule"), ("settings: defaults", "timeout")]


def test_a_task_that_depends_on_itself_by_a_default_is_told_what_to_write():
    config = build(job(), job(name="mount"), defaults={"dependencies": ["mount"]})
    assert list(config.tasks) == ["job"]
    problem, = config.problems
    assert problem.text == "dependencies: the task depends on itself"
    assert problem.hint == 'they are those of "defaults"; give the task its own, such as []'
    assert not build(job(), job(name="mount", dependencies=[]), defaults={"dependencies": ["mount"]}).problems


def test_a_schedule_of_the_settings_changes_with_their_file():
    """A task of a drop-in whose schedule is a default: an edit of the main file makes no old slot due."""
    def configured(schedule, changed_at):
        documents = [("c.json", {"tasks": [], "settings": {"timezone": "UTC", "defaults": {"schedule": schedule}}}),
                     ("d.json", {"name": "job", "command": "true"})]
        times = {"c.json": at(changed_at), "d.json": at("2025-06-01T00:00:00Z")}
        return sc.build_config(documents, times)

    world = World()
    world.config = configured("0 2 * * *", "2025-06-01T00:00:00Z")
    world.tick("2025-06-02T12:00:00Z")
    world.config = configured("10 12 * * *", "2025-06-02T12:15:00Z")
    assert world.tick("2025-06-02T12:20:00Z") == []
    assert world.tick("2025-06-03T12:10:00Z") == ["job@2025-06-03T12:10:00Z"]
