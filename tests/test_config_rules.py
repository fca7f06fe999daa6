"""The rules of the configuration: what is taken, what is refused, and what the message says."""

import json
import sys

import pytest

import symphony_conductor as sc

FILE = "conf.json"


def task_json(label="job", **raw):
    """A task as JSON text; the keywords are JSON texts too."""
    fields = {"name": json.dumps(label), "command": '"true"'}
    fields.update(raw)
    return "{%s}" % ", ".join("%s: %s" % (json.dumps(key), text) for key, text in fields.items())


def build(*tasks, **settings):
    """The configuration of tasks and settings that are JSON texts."""
    settings_text = ", ".join("%s: %s" % (json.dumps(key), text) for key, text in settings.items())
    text = '{"tasks": [%s], "settings": {%s}}' % (", ".join(tasks), settings_text)
    return sc.build_config([(FILE, sc.parse_document(text, FILE))])


def refusal(*tasks, **settings):
    with pytest.raises(sc.ConfigError) as caught:
        build(*tasks, **settings)
    return caught.value


def messages(config):
    return [str(problem) for problem in config.problems]


# Every field with every type.

VALUES = {
    "text": '"text"', "blank": '" "', "empty": '""', "int": "3", "float": "2.5", "negative": "-100", "zero": "0",
    "true": "true", "false": "false", "null": "null", "list": "[]", "list of numbers": "[1, 2]",
    "list of lists": "[[]]", "list of text": '["other"]', "object": "{}", "object of numbers": '{"A": 1}',
    "object of text": '{"A": "x"}', "huge": "1e999", "negative huge": "-1e999", "long": "1" + "0" * 400,
    "nul": '"a\\u0000b"', "date": '"2026-12-31"',
}

TASK_FIELDS = {
    "name": ("text, date", "letters, digits, '_', '.', '-'"),
    "command": ("text, date, list of text", "a string for /bin/sh, or a list of strings"),
    "schedule": ("null", None),
    "dependencies": ("list, list of text", "a list of task names"),
    "timeout": ("int, float", "a number of seconds from 1 to 10 years"),
    "retry_count": ("int, zero", "a whole number from 0 to 1000"),
    "retry_delay": ("int, float, zero", "a number of seconds from 0 to 10 years"),
    "retry_backoff": ("int, float", "a number from 1 to 100"),
    "enabled": ("true, false", "true or false"),
    "description": ("text, date, blank, empty", "a string"),
    "owner": ("text, date, blank, empty", "a string"),
    "review_by": ("date, null", 'a date such as "2026-12-31"'),
    "env": ("object, object of text", "an object of strings"),
    "cwd": ("text, date, null", "a folder, relative to the root or absolute"),
    "timezone": ("null", None),
    "start_deadline": ("int, float, null", "a number of seconds from 1 to 10 years, or null"),
    "overlap": ("", '"skip" or "queue"'),
    "kill_grace": ("int, float, zero", "a number of seconds from 0 to 10 years"),
    "nice": ("int, zero", "a whole number from -20 to 19"),
    "max_output_bytes": ("int, zero", "a whole number from 0 to 1099511627776"),
    "ping_url": ("null", "an http or https address, or null"),
    "success_exit_codes": ("list of numbers", "a list of exit codes from 0 to 255, such as [0, 1]"),
    "skip_exit_codes": ("list, list of numbers", "a list of exit codes from 0 to 255, such as [75]"),
    "locks": ("list, list of text", 'a list of names of letters, digits and _ . -, such as ["database"]'),
    "condition": ("text, date, list of text, null", "a string for /bin/sh, a list of strings, or null"),
    "condition_timeout": ("int, float", "a number of seconds from 1 to 3600"),
    "launcher": ("list of text, null", "a list of strings, in which {task}, {run_id}"),
    "cancel_command": ("text, date, list of text, null", "a string for /bin/sh or a list of strings, in"),
    "not_on": ("date", None),
    "only_between": ("null", None),
    "env_file": ("text, date, list of text", "a file of NAME=VALUE lines, or a list of them"),
    "tags": ("list, list of text", 'a list of names of letters, digits and _ . -, such as ["nightly"]'),
    "umask": ("null", 'an octal number in quotes such as "027", or null'),
    "ionice": ("null", '"idle", "best-effort", "realtime"'),
    "memory_limit": ("null", 'a number of bytes from 1048576, or a string such as "512M" or "2G"'),
}

SETTING_FIELDS = {
    "max_concurrent_tasks": ("int", "a whole number from 1 to 1000"),
    "task_timeout_default": ("int, float", "a number of seconds from 1 to 10 years"),
    "task_history_retention_days": ("int, float", "a number of days from 1 to 36500"),
    "notification_webhook": ("null", "an http or https address, or null"),
    "notification_command": ("text, date, list of text, null", "a string for /bin/sh, a list of strings, or null"),
    "enable_notifications": ("true, false", "true or false"),
    "renotify_hours": ("int, float", "a number of hours from 0.1 to 8760"),
    "timezone": ("null", None),
    "env": ("object, object of text", "an object of strings"),
    "env_file": ("text, date, list of text", "a file of NAME=VALUE lines, or a list of them"),
    "launcher": ("list of text, null", "a list of strings, in which {task}, {run_id}"),
    "cancel_command": ("text, date, list of text, null", "a string for /bin/sh or a list of strings, in"),
    "defaults": ("object", "an object of fields"),
    "notification_email": ("text, date, list of text, null", 'an address such as "ops@example.org"'),
    "log_to": ("", '"file", "syslog" or "journal"'),
    "metrics_file": ("null", "a file that ends in .prom, relative to the root or absolute, or null"),
    "report_file": ("null", "a file that ends in .html, relative to the root or absolute, or null"),
}


def accepted(fields, field):
    return [kind for kind in fields[field][0].split(", ") if kind]


def cases(fields, taken):
    return [(field, kind) for field in fields for kind in VALUES if (kind in accepted(fields, field)) == taken
            and not (field == "defaults" and kind.startswith("object "))]  # test_fields.py has these


def test_tables_of_this_file_name_every_rule():
    assert set(TASK_FIELDS) == set(sc.TASK_RULES)
    assert set(SETTING_FIELDS) == set(sc.SETTING_RULES)


@pytest.mark.parametrize("field, kind", cases(TASK_FIELDS, True))
def test_task_takes_a_value_of_the_right_type(field, kind):
    config = build(task_json("other"), task_json(**{field: VALUES[kind]}))
    assert config.problems == []
    assert len(config.tasks) == 2


@pytest.mark.parametrize("field, kind", cases(TASK_FIELDS, False))
def test_task_with_a_value_of_the_wrong_type_is_set_aside_and_leaves_the_others(field, kind):
    config = build(task_json("other"), task_json(**{field: VALUES[kind]}), task_json("third"))
    assert sorted(config.tasks) == ["other", "third"]
    name = "" if field == "name" else "job"
    assert sorted(config.invalid) == ([name] if name else [])
    problem, = config.problems
    assert problem.place == (FILE + ": tasks[1] 'job'" if name else FILE + ": tasks[1]")
    assert (problem.task, problem.field, problem.warning) == (name, field, False)
    assert problem.text.startswith(field + ": ")
    assert str(problem).startswith(problem.place + ": " + field + ": ")
    allowed = TASK_FIELDS[field][1]
    if allowed:
        assert allowed in problem.hint
    if name:
        assert config.invalid["job"] == problem.text


@pytest.mark.parametrize("field, kind", cases(SETTING_FIELDS, True))
def test_setting_takes_a_value_of_the_right_type(field, kind):
    config = build(task_json(), **{field: VALUES[kind]})
    assert config.problems == []
    assert list(config.tasks) == ["job"]


@pytest.mark.parametrize("field, kind", cases(SETTING_FIELDS, False))
def test_setting_with_a_value_of_the_wrong_type_refuses_the_whole(field, kind):
    error = refusal(task_json(), **{field: VALUES[kind]})
    problem, = error.problems
    assert problem.place == FILE + ": settings"
    assert (problem.task, problem.field) == ("", field)
    assert problem.text.startswith(field + ": ")
    assert str(problem) in str(error)
    assert error.exit_code == 78
    allowed = SETTING_FIELDS[field][1]
    if allowed:
        assert allowed in problem.hint


@pytest.mark.parametrize("field, text", [
    ("timeout", "1"), ("timeout", "316224000"), ("retry_count", "0"), ("retry_count", "1000"), ("retry_delay", "0"),
    ("retry_delay", "316224000"), ("retry_backoff", "1"), ("retry_backoff", "100"), ("start_deadline", "1"),
    ("kill_grace", "0"), ("nice", "-20"), ("nice", "19"), ("max_output_bytes", "1099511627776"),
    ("overlap", '"skip"'), ("overlap", '"queue"'), ("timezone", '"Europe/Paris"'), ("schedule", '"0 2 * * *"'),
    ("command", '["ls", "", "-l"]'), ("env", '{"_a1": ""}'), ("name", '"0.a-b_C"'), ("name", '"%s"' % ("x" * 100)),
])
def test_value_at_the_edge_of_a_rule_is_taken(field, text):
    assert build(task_json(**{field: text})).problems == []


@pytest.mark.parametrize("field, text", [
    ("timeout", "0"), ("timeout", "0.99"), ("timeout", "316224001"), ("retry_count", "-1"), ("retry_count", "1001"),
    ("retry_count", "2.5"), ("retry_delay", "-0.1"), ("retry_delay", "316224001"), ("retry_backoff", "0.9"),
    ("retry_backoff", "100.1"), ("start_deadline", "0"), ("kill_grace", "-1"), ("nice", "-21"), ("nice", "20"),
    ("max_output_bytes", "-1"), ("max_output_bytes", "1099511627777"), ("overlap", '"Skip"'), ("overlap", '["skip"]'),
    ("timezone", '"Nowhere/Town"'), ("timezone", '"../etc/passwd"'), ("schedule", '"0 2 * *"'),
    ("schedule", '"0 0 30 2 *"'), ("schedule", '"0 0 * * 7-8"'), ("command", "[]"), ("command", '[""]'),
    ("command", '["ls", 5]'), ("command", '["ls", "\\u0000"]'), ("env", '{"1A": "x"}'), ("env", '{"A B": "x"}'),
    ("env", '{"A=B": "x"}'), ("env", '{"": "x"}'), ("env", '{"A\\n": "x"}'), ("env", '{"A": null}'),
    ("env", '{"A": "\\u0000"}'), ("dependencies", '"other"'), ("name", '".hidden"'), ("name", '"-x"'),
    ("name", '"a/b"'), ("name", '"a b"'), ("name", '"a\\n"'), ("name", '"%s"' % ("x" * 101)), ("name", u'"\u00e9"'),
])
def test_value_past_the_edge_of_a_rule_is_refused(field, text):
    config = build(task_json(**{field: text}))
    assert config.tasks == {}
    assert [problem.field for problem in config.problems] == [field]


@pytest.mark.parametrize("field, text", [
    ("max_concurrent_tasks", "1"), ("max_concurrent_tasks", "1000"), ("task_timeout_default", "1"),
    ("task_history_retention_days", "1"), ("task_history_retention_days", "36500"), ("timezone", '"UTC"'),
    ("notification_webhook", '"http://x"'), ("notification_webhook", '"https://example.org/a?b=c#d"'),
    ("notification_webhook", '"http://127.0.0.1:8080"'), ("notification_webhook", '"https://[::1]:8443/x?y=a@b"'),
])
def test_setting_at_the_edge_of_a_rule_is_taken(field, text):
    assert getattr(build(**{field: text}), field) == json.loads(text)


@pytest.mark.parametrize("field, text", [
    ("max_concurrent_tasks", "0"), ("max_concurrent_tasks", "1001"), ("max_concurrent_tasks", "1.5"),
    ("task_timeout_default", "0"), ("task_timeout_default", "316224001"), ("task_history_retention_days", "0"),
    ("task_history_retention_days", "36501"), ("timezone", '":UTC"'), ("timezone", '"Nowhere/Town"'),
    ("notification_webhook", '"ftp://example.org"'), ("notification_webhook", '"https://"'),
    ("notification_webhook", '"file:///etc/passwd"'), ("notification_webhook", '" https://example.org"'),
    ("notification_webhook", '"https://example.org/a b"'), ("notification_webhook", '"https://example.org/\\n"'),
    ("notification_webhook", '"http://me:pw@example.org/"'), ("notification_webhook", '"http://example.org:abc/"'),
])
def test_setting_past_the_edge_of_a_rule_is_refused(field, text):
    assert [problem.field for problem in refusal(**{field: text}).problems] == [field]


@pytest.mark.parametrize("field, text, hint", [
    ("timeout", '"3600"', "write 3600 without quotes"),
    ("enabled", '"true"', "write true without quotes"),
    ("timeout", '"1h"', "use a number of seconds from 1 to 10 years: 3600"),
    ("start_deadline", '"1.5m"', "use a number of seconds from 1 to 10 years, or null: 90"),
    ("retry_count", '"3x"', "use a whole number from 0 to 1000"),
    ("retry_count", '"3.5"', "use a whole number from 0 to 1000"),
    ("dependencies", '"other"', 'use a list of task names: ["other"]'),
    ("env", '"{}"', "use an object of strings, each key a variable's name"),
])
def test_value_of_the_wrong_form_comes_with_the_right_one(field, text, hint):
    assert build(task_json(**{field: text})).problems[0].hint == hint


def test_long_value_is_cut_in_the_message():
    message, = messages(build(task_json(timeout='"%s"' % ("9" * 5000))))
    assert len(message) < 250
    assert "..." in message


@pytest.mark.parametrize("digits, shown", [("9" * 58, '"%s"' % ("9" * 58)), ("9" * 59, '"' + "9" * 56 + "...")],
                         ids=["60", "61"])
def test_value_of_sixty_letters_is_shown_whole(digits, shown):
    problem, = build(task_json(timeout='"%s"' % digits)).problems
    assert problem.text == "timeout: %s is not allowed" % shown


@pytest.mark.parametrize("depth", [50, 900, 990])
def test_deeply_nested_value_is_a_problem_and_no_crash(depth):
    try:
        config = build(task_json(timeout="[" * depth + "]" * depth))
    except sc.ConfigError as error:
        assert "nested too deeply" in str(error)
    else:
        assert config.invalid["job"].startswith("timeout: [[[[")


# Keys.

@pytest.mark.parametrize("key, hint", [
    ("dependancies", "did you mean 'dependencies'?"),
    ("depends", "did you mean 'dependencies'?"),
    ("Schedule", "did you mean 'schedule'?"),
    ("retries_count", "did you mean 'retry_count'?"),
    ("timeOut", "did you mean 'timeout'?"),
    ("TIMEOUT", "did you mean 'timeout'?"),
    ("xyzzy", "allowed are cancel_command, command, condition, condition_timeout, cwd, dependencies, description, "),
])
def test_unknown_key_of_a_task_sets_it_aside_with_a_suggestion(key, hint):
    config = build(task_json(**{key: '["other"]'}), task_json("other"))
    assert list(config.tasks) == ["other"]
    problem, = config.problems
    assert problem.text == "unknown key '%s'" % key
    assert hint in problem.hint
    assert (problem.task, problem.field) == ("job", key)
    assert config.invalid == {"job": "unknown key '%s'" % key}


OTHER_NAMES = {
    "command": "cmd script exec", "schedule": "cron cron_expression when timespec cronExpression",
    "retry_count": "retries max_retries retry maxRetries retry-count", "name": "id title job",
    "dependencies": "depends_on depends requires after needs upstream dependsOn",
    "enabled": "active", "env": "environment env_vars", "timezone": "tz time_zone",
    "cwd": "working_dir cwd_dir workdir directory", "start_deadline": "startDeadline start-deadline",
}


@pytest.mark.parametrize("name, other", [
    (name, other) for name, others in sorted(OTHER_NAMES.items()) for other in others.split()])
def test_key_of_another_tool_gets_the_name_it_has_here(name, other):
    assert sc.key_advice(other, sc.TASK_RULES) == (name, "did you mean '%s'?" % name)


@pytest.mark.parametrize("keys, others, hint", [
    ("TASK_RULES", "attempts maxAttempts", "use 'retry_count': the attempts less 1"),
    ("TASK_RULES", "interval every", "use 'schedule', as in cron: \"*/5 * * * *\" is every 5 minutes"),
    ("TASK_RULES", "retry_interval retry_delay_seconds", "use 'retry_delay', in seconds"),
    ("TASK_RULES", "timeout_seconds max_runtime execution_timeout", "use 'timeout', in seconds"),
    ("TASK_RULES", "disabled paused suspend", "use 'enabled', its opposite"),
    ("TASK_RULES", "concurrency concurrencyPolicy singleton max_instances",
     'use "overlap": "skip" or "queue"; a task never runs twice at a time'),
    ("TASK_RULES", "catchup misfire_grace_time startingDeadlineSeconds",
     "use 'start_deadline': how late a run may start, in seconds"),
    ("TASK_RULES", "user run_as", "tasks run as the user who runs the tick"),
    ("TASK_RULES", "max_concurrent_tasks", "it belongs in settings"),
    ("SETTING_RULES", "retry_count schedule", "it belongs in each task"),
    ("SETTING_RULES", "max_parallel concurrency", "did you mean 'max_concurrent_tasks'?"),
    ("SETTING_RULES", "webhook slack_webhook", "did you mean 'notification_webhook'?"),
    ("SETTING_RULES", "timeout", "did you mean 'task_timeout_default'?"),
    ("DOCUMENT_KEYS", "jobs Tasks", "did you mean 'tasks'?"),
    ("DOCUMENT_KEYS", "timezone", "it belongs in settings"),
    ("DOCUMENT_KEYS", "command", 'it belongs in a task: {"tasks": [{...}]}'),
])
def test_key_that_differs_by_more_than_its_name_says_how(keys, others, hint):
    for other in others.split():
        assert sc.key_advice(other, getattr(sc, keys))[1] == hint, other


def test_other_names_are_given_once_for_each_object_and_name_what_there_is():
    for keys in (sc.TASK_RULES, sc.SETTING_RULES, sc.DOCUMENT_KEYS):
        others = [other for name, words, _ in sc._OTHER_NAMES if name in keys for other in words.split()]
        assert len(others) == len(set(others))
        assert not set(others) & {sc._bare(key) for key in keys}
        assert all(other == sc._bare(other) for other in others)


def test_a_whole_number_may_be_written_with_a_point():
    config = build(task_json(retry_count="2.0", skip_exit_codes="[75.0]"), max_concurrent_tasks="5.0")
    task = config.tasks["job"]
    values = [task.retry_count, task.skip_exit_codes[0], config.max_concurrent_tasks]
    assert values == [2, 75, 5] and {type(value) for value in values} == {int}


def test_misnamed_key_is_not_missing_as_well():
    config = build('{"id": "a", "cmd": "true"}')
    assert [problem.text for problem in config.problems] == ["unknown key 'id'", "unknown key 'cmd'"]


def test_drop_in_of_the_main_files_form_is_one_problem():
    config = sc.build_config([(FILE, {}), ("config/tasks.d/1.json", {"tasks": [{"name": "a", "command": "true"}]})])
    assert config.tasks == {}
    assert [problem.field for problem in config.problems] == ["tasks"]
    assert messages(config) == ["config/tasks.d/1.json: unknown key 'tasks' (a file of config/tasks.d is one task, "
                                "or a list of tasks: [{...}, {...}])"]


@pytest.mark.parametrize("key, hint", [
    ("max_concurent_tasks", "did you mean 'max_concurrent_tasks'?"),
    ("time_zone", "did you mean 'timezone'?"),
    ("xyzzy", "allowed are cancel_command, defaults, enable_notifications, env, env_file, launcher, log_to, "),
])
def test_unknown_setting_refuses_the_whole_with_a_suggestion(key, hint):
    problem, = refusal(**{key: "1"}).problems
    assert (problem.place, problem.text, problem.field) == (FILE + ": settings", "unknown key '%s'" % key, key)
    assert hint in problem.hint


@pytest.mark.parametrize("document, field, text, hint", [
    ({"task": []}, "task", "unknown key 'task'", "did you mean 'tasks'?"),
    ({"setings": {}}, "setings", "unknown key 'setings'", "did you mean 'settings'?"),
    ({"xyzzy": 1}, "xyzzy", "unknown key 'xyzzy'", "allowed are tasks and settings"),
    ({"tasks": {}}, "tasks", "tasks is not a list", "use [{...}, {...}]"),
    ({"tasks": None}, "tasks", "tasks is not a list", "use [{...}, {...}]"),
    ({"settings": []}, "settings", "settings is not an object", "use {...}"),
    ({"settings": None}, "settings", "settings is not an object", "use {...}"),
    ({"$schema": 5}, "$schema", "$schema is not a string", 'use a path such as "%s"' % sc.SCHEMA_FILE),
    ([], "", "the document is not an object", '"tasks"'),
    (None, "", "the document is not an object", '"tasks"'),
    ("text", "", "the document is not an object", '"tasks"'),
    (1e999, "", "the document is not an object", '"tasks"'),
])
def test_document_of_the_wrong_form_is_refused(document, field, text, hint):
    with pytest.raises(sc.ConfigError) as caught:
        sc.build_config([(FILE, document)])
    problem, = caught.value.problems
    assert (problem.place, problem.field, problem.text) == (FILE, field, text)
    assert hint in problem.hint


def test_every_problem_is_reported_together():
    error = refusal(task_json(timeout='"x"', nice="99", bogus="1"), task_json("two", schedule='"61 * * * *"'), "7",
                    max_concurrent_tasks="0", bogus="1")
    assert [(problem.place, problem.field) for problem in error.problems] == [
        (FILE + ": settings", "max_concurrent_tasks"), (FILE + ": settings", "bogus"),
        (FILE + ": tasks[0] 'job'", "timeout"), (FILE + ": tasks[0] 'job'", "nice"),
        (FILE + ": tasks[0] 'job'", "bogus"), (FILE + ": tasks[1] 'two'", "schedule"), (FILE + ": tasks[2]", "")]
    assert len(str(error).splitlines()) == 7


@pytest.mark.parametrize("fields, expected", [
    ({"name": '"bad name"', "schedule": '"61 * * * *"'}, ["name", "schedule"]),
    ({"timeout": "0", "schedule": '"61 * * * *"', "timezone": '"Mars/Olympus"'},
     ["timeout", "timezone", "schedule"]),
    ({"timezone": '"Mars/Olympus"', "not_on": '["sunday", "12-25"]', "only_between": '"22:00-06:00"'}, ["timezone"]),
    ({"schedule": '"61 * * * *"', "dependencies": '["nobody", "job"]'},
     ["schedule", "dependencies", "dependencies"]),
    ({"name": '"bad name"', "dependencies": '["nobody"]'}, ["name", "dependencies"]),
    ({"bogus": "1", "dependencies": '["nobody", "nobody"]'}, ["bogus", "dependencies"]),
    ({"name": '"other"', "timeout": "0", "schedule": '"61 * * * *"', "dependencies": '["nobody"]'},
     ["timeout", "name", "schedule", "dependencies"]),
])
def test_every_problem_of_a_task_is_reported_at_once(fields, expected):
    config = build(task_json("other"), task_json(**fields))
    assert [problem.field for problem in config.problems] == expected
    assert {problem.place for problem in config.problems} == {config.problems[0].place}
    assert "job" not in config.tasks


def test_problems_stand_in_the_order_of_the_tasks():
    config = build(task_json("a", dependencies='["nobody"]'), task_json("b", nice="99"))
    assert [problem.task for problem in config.problems] == ["a", "b"]


def test_cycle_is_reported_though_a_task_on_it_has_other_problems():
    config = build(task_json("a", schedule='"61 * * * *"', dependencies='["b"]'),
                   task_json("b", dependencies='["a", "nobody"]'))
    assert [(problem.task, problem.text.partition(":")[0]) for problem in config.problems] == [
        ("a", "schedule"), ("a", "dependencies"), ("b", "dependencies"), ("b", "dependencies")]
    assert config.tasks == {} and set(config.invalid) == {"a", "b"}


def test_dependency_on_a_name_that_is_not_allowed_says_so():
    config = build(task_json("bad name"), task_json(dependencies='["bad name"]'))
    assert list(config.invalid) == ["job"]
    assert messages(config)[1] == (
        "conf.json: tasks[1] 'job': dependencies: unknown task 'bad name' "
        "(a name takes letters, digits, '_', '.', '-', at most 100, a letter or digit first)")


def test_main_document_of_the_wrong_form_does_not_hide_the_problems_of_a_drop_in():
    with pytest.raises(sc.ConfigError) as caught:
        sc.build_config([(FILE, []), ("tasks.d/1.json", {"name": "a", "command": 5})])
    assert [problem.place for problem in caught.value.problems] == [FILE, "tasks.d/1.json 'a'"]


def test_dependency_may_stand_in_a_file_that_could_not_be_read():
    document = {"tasks": [{"name": "a", "command": "true", "dependencies": ["b"], "nice": 99}]}
    config = sc.build_config([(FILE, document)], is_complete=False)
    assert [problem.field for problem in config.problems] == ["nice"]


def test_missing_name_and_command_are_both_reported():
    config = build('{"schedule": "0 2 * * *"}', '{"name": "job"}')
    assert [(problem.place, problem.task, problem.field, problem.text) for problem in config.problems] == [
        (FILE + ": tasks[0]", "", "name", "name is missing"),
        (FILE + ": tasks[0]", "", "command", "command is missing"),
        (FILE + ": tasks[1] 'job'", "job", "command", "command is missing")]
    assert config.invalid == {"job": "command is missing"}


@pytest.mark.parametrize("raw", ["7", '"text"', "null", "true", "[]", "1e999", "2.5"])
def test_entry_that_is_no_task_leaves_the_others(raw):
    config = build(raw, task_json())
    assert list(config.tasks) == ["job"]
    problem, = config.problems
    assert problem.place == FILE + ": tasks[0]"
    assert "a task cannot be of type" in problem.text
    assert problem.hint == "use an object with name, command and schedule"


def test_bad_schedule_is_shown_with_field_value_and_fix():
    config = build(task_json("backup", schedule='"61 * * * *"'), task_json(schedule='"0 0 * * *5"'))
    assert messages(config) == [
        "conf.json: tasks[0] 'backup': schedule: minute '61' is outside 0-59",
        "conf.json: tasks[1] 'job': schedule: day-of-week '*5' is not understood; allowed are "
        "0-7, SUN-SAT, *, lists, ranges, steps, 5L, 1#2, ? (did you mean '0 0 * * */5'?)"]


# What a task becomes.

def test_task_without_optional_keys_has_the_documented_defaults():
    task = build(task_json()).tasks["job"]
    assert (task.command, task.schedule, task.dependencies, task.timeout) == ("true", None, (), 3600)
    assert (task.retry_count, task.retry_delay, task.retry_backoff, task.enabled) == (3, 300, 1, True)
    assert (task.timezone, task.start_deadline, task.overlap, task.kill_grace) == (None, None, "skip", 10)
    assert (task.env, task.cwd, task.nice, task.max_output_bytes) == ({}, "", 0, 10485760)
    assert task.place == "conf.json: tasks[0] 'job'"


def test_configuration_without_settings_has_the_documented_defaults():
    config = sc.build_config([(FILE, {})])
    assert (config.tasks, config.invalid, config.problems) == ({}, {}, [])
    assert (config.max_concurrent_tasks, config.task_timeout_default) == (3, 3600)
    assert (config.task_history_retention_days, config.notification_webhook) == (30, None)
    assert (config.enable_notifications, config.timezone, config.env) == (False, None, {})


def test_lists_become_tuples_and_null_the_default():
    task = build(task_json(command='["ls", "-l"]', dependencies='["other"]', schedule="null", cwd="null",
                           start_deadline="null", timezone="null"), task_json("other")).tasks["job"]
    assert task.command == ("ls", "-l")
    assert task.dependencies == ("other",)
    assert (task.schedule, task.cwd, task.start_deadline, task.timezone) == (None, "", None, None)


def test_task_takes_timeout_and_zone_of_the_settings_unless_it_has_its_own():
    config = build(task_json("plain"), task_json("own", timeout="7", timezone='"Asia/Kolkata"'),
                   task_timeout_default="60", timezone='"Europe/Paris"')
    assert [(task.timeout, task.timezone) for task in config.tasks.values()] == [
        (60, "Europe/Paris"), (7, "Asia/Kolkata")]
    assert config.timezone == "Europe/Paris"


def test_tasks_keep_their_order_over_all_files():
    config = sc.build_config([
        (FILE, {"tasks": [{"name": "z", "command": "true"}, {"name": "y", "command": "true"}]}),
        ("tasks.d/1.json", {"name": "x", "command": "true"}),
        ("tasks.d/2.json", [{"name": "b", "command": "true"}, {"name": "a", "command": "true"}])])
    assert list(config.tasks) == ["z", "y", "x", "b", "a"]
    orders = [task.order for task in config.tasks.values()]
    assert orders == sorted(set(orders))
    assert [task.place for task in config.tasks.values()] == [
        "conf.json: tasks[0] 'z'", "conf.json: tasks[1] 'y'", "tasks.d/1.json 'x'", "tasks.d/2.json: [0] 'b'",
        "tasks.d/2.json: [1] 'a'"]


def test_problem_of_a_drop_in_names_its_file():
    config = sc.build_config([
        (FILE, {"tasks": [{"name": "a", "command": "true"}]}),
        ("tasks.d/1.json", {"name": "b", "command": 5}), ("tasks.d/2.json", [3]), ("tasks.d/3.json", None)])
    assert list(config.tasks) == ["a"]
    assert [problem.place for problem in config.problems] == [
        "tasks.d/1.json 'b'", "tasks.d/2.json: [0]", "tasks.d/3.json"]


def test_same_schedule_text_with_h_differs_between_tasks():
    config = build(task_json("backup", schedule='"H H * * *"'), task_json("cleanup", schedule='"H H * * *"'))
    assert [task.schedule.next(0, "UTC") for task in config.tasks.values()] == [37320, 69300]


# Names.

def test_name_used_twice_sets_both_tasks_aside():
    config = build(task_json(), task_json("other"), task_json(command='"false"'))
    assert list(config.tasks) == ["other"]
    assert messages(config) == [
        "conf.json: tasks[2] 'job': name 'job' is already used by conf.json: tasks[0] 'job' "
        "(names are unique over all files)"]
    assert list(config.invalid) == ["job"]
    assert (config.problems[0].task, config.problems[0].field) == ("job", "name")


def test_name_used_in_two_files_names_both_files():
    config = sc.build_config([(FILE, {"tasks": [{"name": "a", "command": "true"}]}),
                              ("tasks.d/1.json", {"name": "a", "command": "true"})])
    assert config.tasks == {}
    assert messages(config) == ["tasks.d/1.json 'a': name 'a' is already used by conf.json: tasks[0] 'a' "
                                "(names are unique over all files)"]


def test_name_used_three_times_is_reported_twice():
    config = build(task_json(), task_json(), task_json())
    assert config.tasks == {}
    assert [problem.place for problem in config.problems] == [FILE + ": tasks[1] 'job'", FILE + ": tasks[2] 'job'"]


def test_name_of_a_bad_task_is_taken_all_the_same():
    config = build(task_json(timeout='"x"'), task_json())
    assert config.tasks == {}
    assert [problem.field for problem in config.problems] == ["timeout", "name"]


# Dependencies.

def chain(**graph):
    return build(*[task_json(name, dependencies=json.dumps(names.split())) for name, names in graph.items()])


def test_unknown_dependency_sets_the_task_aside_with_a_suggestion():
    config = chain(backup="", report="bakup", other="")
    assert list(config.tasks) == ["backup", "other"]
    assert messages(config) == ["conf.json: tasks[1] 'report': dependencies: unknown task 'bakup' "
                                "(did you mean 'backup'?)"]
    assert (config.problems[0].task, config.problems[0].field) == ("report", "dependencies")
    assert config.invalid == {"report": "dependencies: unknown task 'bakup'"}


def test_unknown_dependency_that_resembles_nothing_has_no_suggestion():
    assert messages(chain(a="qqqqqqqq")) == ["conf.json: tasks[0] 'a': dependencies: unknown task 'qqqqqqqq'"]
    assert sc.did_you_mean("qqqqqqqq", ["a"]) == ""


def test_unknown_dependency_never_means_the_task_itself():
    assert [problem.hint for problem in chain(backup="bakup").problems] == [""]


def test_task_without_a_name_that_waits_for_an_unknown_one_has_its_problems_and_no_entry():
    config = build('{"command": "true", "dependencies": ["nobody"]}')
    assert [problem.field for problem in config.problems] == ["name", "dependencies"]
    assert config.invalid == {}


def test_task_is_set_aside_for_the_first_of_its_problems():
    assert build(task_json(timeout="0", bogus="1")).invalid == {"job": "timeout: 0 is not allowed"}


def test_what_a_task_lacks_and_defaults_lack_too_is_missing():
    config = build('{"name": "a"}', defaults='{"timeout": 5}')
    assert messages(config) == ["conf.json: tasks[0] 'a': command is missing "
                                "(use a string for /bin/sh, or a list of strings)"]


def test_task_that_depends_on_itself_is_set_aside():
    config = chain(a="", b="a b")
    assert list(config.tasks) == ["a"]
    assert messages(config) == ["conf.json: tasks[1] 'b': dependencies: the task depends on itself "
                                "(remove 'b' from its dependencies)"]


def test_dependency_on_a_bad_task_is_no_problem_of_its_own():
    config = build(task_json("a", timeout='"x"'), task_json("b", dependencies='["a"]'))
    assert list(config.tasks) == ["b"]
    assert list(config.invalid) == ["a"]
    assert len(config.problems) == 1


def test_dependency_may_come_later_and_from_another_file():
    config = sc.build_config([
        (FILE, {"tasks": [{"name": "a", "command": "true", "dependencies": ["b", "c"]},
                          {"name": "b", "command": "true", "dependencies": ["c"]}]}),
        ("tasks.d/1.json", {"name": "c", "command": "true"})])
    assert config.problems == []
    assert list(config.tasks) == ["a", "b", "c"]


@pytest.mark.parametrize("graph, left, path", [
    ({"a": "b", "b": "a"}, [], "a -> b -> a"),
    ({"a": "b", "b": "c", "c": "a", "d": ""}, ["d"], "a -> b -> c -> a"),
    ({"start": "a", "a": "b", "b": "a"}, ["start"], "a -> b -> a"),
    ({"a": "b d", "b": "c", "c": "b", "d": ""}, ["a", "d"], "b -> c -> b"),
    ({"a": "", "b": "a c", "c": "a b"}, ["a"], "b -> c -> b"),
])
def test_tasks_that_wait_for_each_other_are_set_aside_with_the_path(graph, left, path):
    config = chain(**graph)
    assert list(config.tasks) == left
    assert {problem.text for problem in config.problems} == {"dependencies: the tasks wait for each other: " + path}
    assert sorted(problem.task for problem in config.problems) == sorted(set(path.split(" -> ")))
    assert sorted(config.invalid) == sorted(set(path.split(" -> ")))


def test_two_separate_cycles_are_both_reported():
    config = chain(a="b", b="a", c="d", d="c", e="a")
    assert list(config.tasks) == ["e"]
    assert {problem.text.split(": ")[-1] for problem in config.problems} == {"a -> b -> a", "c -> d -> c"}


@pytest.mark.parametrize("graph", [
    {"a": "b c", "b": "d", "c": "d", "d": ""},
    {"a": "b b", "b": ""},
    {"a": "b c d", "b": "c d", "c": "d", "d": ""},
])
def test_tasks_that_share_a_dependency_are_no_cycle(graph):
    config = chain(**graph)
    assert config.problems == []
    assert list(config.tasks) == list(graph)


def test_long_chain_of_dependencies_is_followed_to_its_end():
    names = ["t%d" % number for number in range(3000)]
    graph = {name: (following,) for name, following in zip(names, names[1:] + names[:1])}
    assert sc.dependency_cycles(graph) == [names + ["t0"]]
    graph["t2999"] = ()
    assert sc.dependency_cycles(graph) == []


def test_cycle_is_found_once():
    assert sc.dependency_cycles({"a": ("b",), "b": ("b",)}) == [["b", "b"]]


# Secrets.

SECRET = "hunter2-s3cret"


@pytest.mark.parametrize("text", [
    '{"tasks": [{"name": "a", "command": "true", "env": {"TOKEN": ["%s"]}}]}',
    '{"tasks": [{"name": "a", "command": "true", "env": {"BAD KEY": "%s"}}]}',
    '{"tasks": [{"name": "a", "command": "true", "env": {"TOKEN": "%s\\u0000"}}]}',
    '{"tasks": [{"name": "a", "command": "true", "env": ["TOKEN=%s"]}]}',
    '{"tasks": [{"name": "a", "command": "true", "env": "TOKEN=%s"}]}',
    '{"tasks": [{"name": "a", "command": 5, "env": {"TOKEN": "%s"}, "bogus": 1}]}',
    '{"tasks": [{"name": "a", "command": "true", "enviroment": {"TOKEN": "%s"}}]}',
    '{"tasks": [[{"name": "a", "env": {"TOKEN": "%s"}}]]}',
    '{"settings": {"env": {"TOKEN": {"x": "%s"}}}}',
    '{"settings": {"env": {"TOKEN": "%s"}, "bogus": 1}}',
    '{"settings": {"notification_webhook": "ftp://example.org/%s"}}',
    '{"settings": {"notification_webhook": ["https://example.org/%s"]}}',
    '{"settings": {"notification_webhok": "https://example.org/%s"}}',
    '{"settings": [{"notification_webhook": "https://example.org/%s"}]}',
    '{"settings": {"notification_webhook": "https://example.org/%s" "env": {}}}',
    '{"settings": {"notification_webhook": "https://example.org/%s", "notification_webhook": null}}',
])
def test_secret_never_comes_up_in_a_message(text):
    try:
        config = sc.build_config([(FILE, sc.parse_document(text % SECRET, FILE))])
    except sc.ConfigError as error:
        said, problems = str(error), error.problems
    else:
        said, problems = "\n".join(config.invalid.values()), config.problems
    assert problems
    assert SECRET not in said
    assert all(SECRET not in str(problem) and SECRET not in repr(problem) for problem in problems)


def test_secret_does_not_come_up_in_a_suspicion():
    config = build(task_json(env='{"TOKEN": "%s"}' % SECRET, schedule='"* * * * *"'), task_json("other"),
                   env='{"TOKEN": "%s"}' % SECRET, notification_webhook='"https://example.org/%s"' % SECRET)
    found = sc.suspicions(config, 1700000000)
    assert len(found) == 1
    assert all(SECRET not in repr(problem) for problem in found)


# Suspicions.

@pytest.mark.parametrize("fields, field, text, hint", [
    ({"schedule": '"*/5 * * * *"', "timeout": "3600"}, "timeout",
     "timeout: 3600 s is longer than the schedule's interval of 300 s", "the next one is skipped"),
    ({"schedule": '"*/5 * * * *"', "overlap": '"queue"', "timeout": "300.5"}, "timeout",
     "timeout: 300.5 s is longer than the schedule's interval of 300 s", "the next one is queued"),
    ({"schedule": '"0,1 2 * * *"', "timeout": "61"}, "timeout",
     "timeout: 61 s is longer than the schedule's interval of 60 s", "the next one is skipped"),
    ({}, "schedule", "schedule: missing, and there are no dependencies", "it runs only by hand"),
    ({"schedule": '"*/60 * * * *"'}, "schedule",
     "schedule: minute '*/60' steps past the end of the field; as cron reads it, the task runs "
     "every hour on the hour",
     "write '0 * * * *'"),
    ({"schedule": '"0 0 */100,1-7 * MON"'}, "schedule",
     "schedule: day-of-month '*/100' steps past the end of the field; as cron reads it, the task "
     "runs at 00:00 on Mondays that fall on the 1st to 7th of the month", "write '0 0 * * MON#1'"),
    ({"schedule": '"0 2 1-7 * 1"'}, "schedule",
     "schedule: cron reads day-of-month '1-7' and day-of-week '1' as 'or': the task runs at 02:00 on "
     "the 1st to 7th of the month and on Mondays",
     "for the 1st Monday of the month only: '0 2 * * 1#1'"),
    ({"schedule": "null", "cwd": '"~/work"'}, "cwd", "cwd: ~ is not expanded", "write the whole path"),
    ({"schedule": "null", "cwd": '"$HOME"'}, "cwd", "cwd: $VARIABLE is not expanded", "the whole path"),
    ({"schedule": "null", "condition_timeout": "5"}, "condition_timeout",
     "condition_timeout: there is no condition", "use timeout"),
    ({"schedule": "null", "env": '{"PATH": "$HOME/bin:/bin"}'}, "env",
     "env: $VARIABLE in PATH is not expanded", "write what it stands for"),
    ({"schedule": "null", "env": '{"A": "x${HOME}"}'}, "env", "env: $VARIABLE in A is not expanded", ""),
    ({"schedule": "null", "env": '{"A": "/bin:~/bin"}'}, "env", "env: ~ in A is not expanded", ""),
    ({"schedule": "null", "env": '{"A": "`hostname`"}'}, "env", "env: $(COMMAND) in A is not expanded", ""),
    ({"schedule": "null", "command": '["ls", "$HOME/x"]'}, "command",
     "command: no shell runs a list, so $VARIABLE is passed on as it is", "the command as one string"),
    ({"schedule": "null", "command": '["~/bin/tool"]'}, "command",
     "command: no shell runs a list, so ~ is passed on as it is", "the command as one string"),
    ({"schedule": "null", "command": '["ls", "|", "wc"]'}, "command",
     "command: no shell runs a list, so | is passed on as it is", "the command as one string"),
    ({"schedule": "null", "command": '"date +\\\\%F"'}, "command",
     "command: the backslash in '\\%' is needed in a crontab only", "write %"),
])
def test_legal_but_odd_task_is_warned_of(fields, field, text, hint):
    config = build(task_json(**fields))
    assert config.problems == []
    problem, = sc.suspicions(config, 1700000000)
    assert (problem.place, problem.task, problem.field) == ("conf.json: tasks[0] 'job'", "job", field)
    assert problem.text == text
    assert hint in problem.hint
    assert problem.warning
    assert str(problem).startswith("warning: conf.json: tasks[0] 'job': ")


@pytest.mark.parametrize("fields", [
    {"schedule": '"*/5 * * * *"', "timeout": "300"},
    {"schedule": '"* * * * *"'},
    {"schedule": "null"},
    {"dependencies": "[]"},
    {"schedule": "null", "condition": '"true"', "condition_timeout": "5"},
    {"schedule": "null", "command": '"echo $HOME ~ `date` | wc"'},
    {"schedule": "null", "command": '["sh", "-c", "echo $HOME | wc"]'},
    {"schedule": "null", "command": '["ssh", "host", "echo $HOME"]'},
    {"schedule": "null", "command": '["awk", "{print $NF}"]'},
    {"schedule": "null", "env": '{"TOKEN": "pa$$WORD$x~y`", "COST": "$5", "A": "a~b"}'},
    {"schedule": '"0 * * * *"'},
    {"schedule": '"@reboot"'},
    {"schedule": '"0 0 29 2 *"', "timeout": "86400"},
])
def test_sensible_task_is_not_warned_of(fields):
    assert sc.suspicions(build(task_json(**fields)), 1700000000) == []


@pytest.mark.parametrize("text, expansion", [
    ("$HOME/x", "$VARIABLE"), ("x${a}", "$VARIABLE"), ("$(date)", "$(COMMAND)"), ("a:~/b", "~"), ("a~b", ""), ("", "")])
def test_what_only_a_shell_would_expand(text, expansion):
    assert sc.unexpanded(text) == expansion


def test_waiting_for_a_disabled_task_is_warned_of():
    config = build(task_json("a", schedule='"0 0 * * *"', enabled="false"),
                   task_json("b", dependencies='["a"]'),
                   task_json("c", dependencies='["a"]', enabled="false"))
    assert [str(problem) for problem in sc.suspicions(config, 1700000000)] == [
        "warning: conf.json: tasks[1] 'b': dependencies: 'a' is disabled ('b' waits until 'a' succeeds by hand)"]


@pytest.mark.parametrize("schedule, interval", [
    ("*/5 * * * *", 300), ("*/25 * * * *", 600), ("0 0 * * 1,2", 86400), ("0 0 1 1 *", 31536000), ("@reboot", None),
])
def test_shortest_interval_is_that_of_the_coming_slots(schedule, interval):
    task = sc.Task(name="job", schedule=sc.CronSchedule(schedule), timezone="UTC")
    assert sc.shortest_interval(task, 1700000000) == interval


def test_shortest_interval_without_a_schedule_is_unknown():
    assert sc.shortest_interval(sc.Task(name="job"), 1700000000) is None


# The text of a document.

def parse_refusal(text):
    with pytest.raises(sc.ConfigError) as caught:
        sc.parse_document(text, FILE)
    problem, = caught.value.problems
    return problem


@pytest.mark.parametrize("text, value", [
    ('{"a": 1} // end', {"a": 1}),
    ('// start\n{"a": 1}\n// end\n', {"a": 1}),
    ('{"a": "http://x"}', {"a": "http://x"}),
    ('{"a": "http://x"} // "y" // z', {"a": "http://x"}),
    ('{"a": "\\"//b", // c\n "d": "//"}', {"a": '"//b', "d": "//"}),
    ('{"a": "\\\\"} // "', {"a": "\\"}),
    ('{"a": 1, // it\'s "odd\n "b": 2}', {"a": 1, "b": 2}),
    ('{"a": //\n 1}', {"a": 1}),
    ('[1, //////\r\n 2]', [1, 2]),
    ('"//"', "//"),
    ('{"a": 1}', {"a": 1}),
    ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
])
def test_comments_are_left_out_and_strings_are_kept(text, value):
    assert sc.parse_document(text, FILE) == value


@pytest.mark.parametrize("text, place", [
    ('{\n  "a": 1,\n  "b": oops\n}', "conf.json: line 3 column 8"),
    ('// one\n// two\n{\n  "a": 1, // three\n  "b": oops\n}', "conf.json: line 5 column 8"),
    ('{"a": "http://x", "b": oops} // c', "conf.json: line 1 column 24"),
    ('{"a": "//", // "x": 1\n "b" oops}', "conf.json: line 2 column 6"),
    ('{"a": 1}\n// c\n}', "conf.json: line 3 column 1"),
])
def test_mistake_is_placed_by_line_and_column_in_the_file_with_its_comments(text, place):
    assert parse_refusal(text).place == place


@pytest.mark.parametrize("text, message", [
    ("", "1 1: the file is empty (write {} at least)"),
    (" \n\t\n", "3 1: the file is empty (write {} at least)"),
    ("// nothing\n", "2 1: the file is empty (write {} at least)"),
    ('{"a": 1,}', "1 8: a comma after the last entry (remove the comma)"),
    ("[1,]", "1 3: a comma after the last entry (remove the comma)"),
    ('{\n  "a": 1, // last\n}', "2 9: a comma after the last entry (remove the comma)"),
    ("[\n  1,\n  2,\n]", "3 4: a comma after the last entry (remove the comma)"),
    ("[1,, 2]", "1 4: a comma with no entry before it (remove the comma)"),
    ('{"a": "b"\n "c": 1}', "1 10: no comma between two entries (add one here)"),
    ("[{} {}]", "1 4: no comma between two entries (add one here)"),
    ("{'a': 1}", "1 2: single quotes (use double quotes)"),
    ('{"a": \'b\'}', "1 7: single quotes (use double quotes)"),
    (u'{\u201ca\u201d: 1}', '1 2: typographic quotes (use straight ones: ")'),
    ('# c\n{}', "1 1: # begins no comment (use // for comments)"),
    ('{"a": 1 # c\n}', "1 9: # begins no comment (use // for comments)"),
    ("/* c */ {}", "1 1: / begins no comment (use // for comments, to the end of the line)"),
    ('{"a" 1}', "1 6: no ':' between key and value"),
    ('{"a" = 1}', "1 6: an equals sign (use ':' between key and value)"),
    ('{a: 1}', '1 2: a key needs double quotes (write "a")'),
    ('{"a": tru}', '1 7: text needs double quotes (write "...")'),
    ('{"a": True}', "1 7: True is not a JSON value (write true)"),
    ('{"a": None}', "1 7: None is not a JSON value (write null)"),
    ('{"a": "NaN", "b": NaN}', "1 19: NaN is not a JSON value (write null)"),
    ('{"a": -Infinity}', "1 7: -Infinity is not a JSON value (write null)"),
    ('{"a": .5}', "1 7: a number begins with a digit or '-' (write 0.5 for .5)"),
    ('{"a": 010}', "1 8: a number begins with 0 (remove the 0)"),
    ('{"a": 5m}', "1 8: a unit after a number (write the number alone: times are in seconds)"),
    ('{"a": "b\nc"}', "1 9: a string has no closing quote on its line "
                     '(end it with ", or write \\n for a line break)'),
    ('{"a": "b\tc"}', "1 9: a tab in a string (write \\t)"),
    ('{"a": "b', '1 7: a string has no closing quote (end it with ")'),
    ('{"a": "say "hi""}',
     '1 13: text after the end of a string (write \\" for a quote within a string)'),
    ("{}}", "1 3: text after the end of the document (remove the extra '}')"),
    ("{} {}", "1 4: text after the end of the document (put several entries in a list: [{...}, {...}])"),
    ('"tasks": []', "1 8: text after the end of the document (begin the file with { and end it with })"),
    ("{\n[1, 2}", '2 1: a key needs double quotes'),
    ('{"a":\n[1, 2}', "2 6: '}' does not close the '[' of line 2 (write ']' first)"),
    ('{"a": [\n1, 2', "2 5: the '[' of line 1 is never closed (add ']')"),
    ('{"a": }', "1 7: a value is missing "
                '(a value is "text", a number, true, false, null, [...] or {...})'),
    ("name: backup", "1 1: the text begins with neither { nor [ (JSON begins with one of them)"),
])
def test_mistake_is_said_in_plain_words_with_its_place_and_a_fix(text, message):
    line, column, _ = message.replace(":", " ", 1).split(" ", 2)
    said = message.partition(": ")[2]
    assert str(parse_refusal(text)) == "conf.json: line %s column %s: not valid JSON: %s" % (
        line, column, said)


def test_backslash_that_escapes_nothing_is_placed_on_its_line():
    problem = parse_refusal('{\n"a": "C:\\dir"}')
    assert problem.place.startswith("conf.json: line 2 column ")
    assert (problem.text, problem.hint) == (
        "not valid JSON: a backslash in a string escapes nothing", "write two for one: \\\\")


def test_every_key_used_twice_is_reported_with_both_lines_and_the_rest_is_still_read():
    text = '{"a": 1,\n "b": [{"c": "a", "c": "}"}],\n "a": 3}'
    with pytest.raises(sc.ConfigError) as caught:
        sc.parse_document(text, FILE)
    assert [str(problem) for problem in caught.value.problems] == [
        "conf.json: line 2 column 19: key 'c' is used twice in one object "
        "(keep one of them; the first is on line 2)",
        "conf.json: line 3 column 2: key 'a' is used twice in one object "
        "(keep one of them; the first is on line 1)"]
    assert [problem.field for problem in caught.value.problems] == ["c", "a"]
    assert caught.value.partial == {"a": 3, "b": [{"c": "}"}]}


@pytest.mark.parametrize("text", ["[" * 100000, '{"a":' * 100000, "[" * 100000 + "]" * 100000])
def test_endless_nesting_is_refused_in_a_few_words(text):
    assert str(parse_refusal(text)) == "conf.json: not valid JSON: nested too deeply"


@pytest.mark.parametrize("text", ["{", "[1, 2", '{"a', '{"a": "b\nc"}', "{} {}", "/* c */ {}", "# c\n{}", "'a'", "\0"])
def test_text_that_is_no_json_is_refused_in_one_line(text):
    message = str(parse_refusal(text))
    assert message.startswith("conf.json: line ")
    assert "not valid JSON" in message
    assert "\n" not in message


# What a task costs to read: a tick reads ten thousand of them anew after each edit.

def calls_to_build(count):
    """How many functions written in Python are called for so many plain tasks."""
    tasks = [{"name": "t%d" % number, "schedule": "%d * * * *" % (number % 60), "command": ["true"]}
             for number in range(count)]
    calls = []

    def note(frame, event, _):
        if event == "call":
            calls.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        sc.build_config([(FILE, {"tasks": tasks})])
    finally:
        sys.setprofile(before)
    return calls


def test_a_plain_task_is_read_in_few_calls():
    calls_to_build(100)  # each pattern is compiled now
    assert (len(calls_to_build(300)) - len(calls_to_build(100))) / 200 <= 34


def test_a_pattern_is_compiled_when_a_value_first_meets_it_and_then_kept(monkeypatch):
    compiled = []
    compile_pattern = sc.re.compile
    monkeypatch.setattr(sc, "_MATCHERS", {})
    monkeypatch.setattr(sc.re, "compile", lambda *args: compiled.append(args[0]) or compile_pattern(*args))
    for value in ("backup", "restore", "-"):
        sc.is_name(value)
    assert compiled == [sc.NAME["pattern"]]


@pytest.mark.parametrize("key, value, text", [
    ("timeout", "drei\xdfig", 'timeout: "drei\xdfig" is not allowed'),  # as it is written
    ("env", "s3cret", "env: the value is not allowed"),
])
def test_a_value_that_is_not_allowed_is_shown_unless_it_may_be_secret(key, value, text):
    config = sc.build_config([("c.json", {"tasks": [
        {"name": "a", "command": "true", "schedule": "0 2 * * *", key: value}]})])
    assert text in [problem.text for problem in config.problems]


@pytest.mark.parametrize("defaults, texts", [
    ({"command": "true"}, []), ({"timeout": 60}, ["command is missing"]), ({}, ["command is missing"])])
def test_a_default_for_a_key_that_a_task_must_have_stands_for_it(defaults, texts):
    config = sc.build_config([("c.json", {
        "settings": {"defaults": defaults}, "tasks": [{"name": "a", "schedule": "0 2 * * *"}]})])
    assert [problem.text for problem in config.problems] == texts
    assert list(config.tasks) == ([] if texts else ["a"])
