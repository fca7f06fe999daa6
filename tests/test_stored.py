"""What is written to disk comes back as it was: every field of every stored class.

The fields are read from the annotations of the classes, so a new one needs no new test.
"""

import json
import re

import pytest

import symphony_conductor as sc

# Records are checked for what they hold, so they need an example each.
RESULT = {"status": "failed", "exit_code": 3, "ended_at": "2025-06-02T02:00:05Z", "duration_s": 5.0,
          "started_at": "2025-06-02T02:00:00Z", "attempt": 1, "run_id": "20250602T020000Z-1",
          "log": "logs/automation/a.log", "output_bytes": 5, "output_tail": "caf\u00e9\n",
          "reason": None, "definition": "0123456789abcdef"}
VERDICT = dict(RESULT, task="a", scheduled_for="2025-06-02T02:00:00Z", trigger="catchup",
               merged_since="2025-06-01T02:00:00Z", attempts=[RESULT])
SKIP = {"status": "skipped_overlap", "scheduled_for": "2025-06-02T03:00:00Z", "reason": "busy"}
PAUSE = {"since": 1748829600.0, "until": 1748833200.0, "reason": "the disk is being replaced"}
EVENT = {"event": "paused", "at": "2025-06-02T02:00:00Z", "pauses": {"a": PAUSE}}
MESSAGE = dict.fromkeys(sc.MESSAGE_KEYS)
MESSAGE.update(id="20250602T020005Z-1", channel="notification", event="failed", task="a",
               at="2025-06-02T02:00:05Z", attempts=2, dependents=["b"], output_tail="caf\u00e9\n")
EXAMPLES = {
    "pending": [VERDICT, EVENT, MESSAGE],
    "attempts": [RESULT, dict(RESULT, attempt=2)],
    "last": RESULT,
    "skipped": SKIP,
    "pauses": {"a": PAUSE, "*": dict(PAUSE, until=None)},
}
NUMBERS = {"int", "float"}


def annotation_of(cls, field):
    """The type of a field as text: int, "Dict[str, int]", "Run | None"."""
    annotation = cls.__annotations__[field]
    return annotation if isinstance(annotation, str) else annotation.__name__


def fields_of(cls):
    """The fields that a stored class has; the version is written by dump_state itself."""
    return [field for field in cls.__annotations__
            if field != "version" and "ClassVar" not in annotation_of(cls, field)]


def is_stored_class(name):
    cls = getattr(sc, name, None)
    return isinstance(cls, type) and issubclass(cls, sc.Value)


def holders():
    """Each stored class, and the class and the field that hold it; nothing holds the state."""
    reached = {sc.State: (None, "")}
    classes = [sc.State]
    for owner in classes:
        for field in fields_of(owner):
            for name in filter(is_stored_class, re.findall(r"\w+", annotation_of(owner, field))):
                cls = getattr(sc, name)
                if cls not in reached:
                    reached[cls] = (owner, field)
                    classes.append(cls)
    return reached


HOLDERS = holders()
FIELDS = [(cls, field) for cls in HOLDERS for field in fields_of(cls)]
NUMBER_FIELDS = [(cls, field) for cls, field in FIELDS
                 if NUMBERS & set(annotation_of(cls, field).split(" | "))]


def field_id(value):
    return getattr(value, "__name__", value)


class Example:
    """What an annotation becomes when it is evaluated: something that makes a value of its type."""

    def __init__(self, make):
        self.make = make

    def __or__(self, other):
        return self


class DictExample:
    def __getitem__(self, kinds):
        return Example(lambda: {"a": kinds[1].make()})


class ListExample:
    def __getitem__(self, kind):
        return Example(lambda: [kind.make()])


TYPES = {"int": Example(lambda: 7), "float": Example(lambda: 7.5), "bool": Example(lambda: True),
         "str": Example(lambda: "caf\u00e9"), "Dict": DictExample(), "List": ListExample()}


def example(cls, field):
    """A value that the field may have, and that is not its default."""
    value = EXAMPLES.get(field)
    if value is None:
        names = dict(TYPES)
        for stored in HOLDERS:
            names[stored.__name__] = Example(lambda stored=stored: filled(stored))
        try:
            value = eval(annotation_of(cls, field), {}, names).make()
        except NameError as error:
            pytest.fail("%s.%s needs an entry in EXAMPLES: %s" % (cls.__name__, field, error))
    assert value != getattr(cls, field), "the example of %s is its default" % field
    return value


def filled(cls):
    """An object of the class with every field set."""
    return cls(**{field: example(cls, field) for field in fields_of(cls)})


def held(cls, content):
    """The class that holds an object of the class, and the field of it with that content."""
    owner, field = HOLDERS[cls]
    if annotation_of(owner, field).startswith("Dict"):
        content = {"a": content}
    return owner, {field: content}


def state_with(value):
    """A state that holds the value."""
    while type(value) is not sc.State:
        owner, fields = held(type(value), value)
        value = owner(**fields)
    return value


def load_with(cls, content):
    """The state from a file that holds an object of the class with this content, by field."""
    content = {cls.STORED_AS.get(field, field): value for field, value in content.items()}
    while cls is not sc.State:
        cls, content = held(cls, content)
    return sc.load_state(json.dumps(content))


def test_the_classes_that_are_stored_are_found():
    assert {cls.__name__ for cls in HOLDERS} >= {"State", "TaskState", "Run", "Cycle"}


def test_a_state_with_every_field_set_survives_a_dump_and_load():
    state = filled(sc.State)
    text = sc.dump_state(state).decode("ascii")
    loaded = sc.load_state(text)
    assert loaded == state
    assert set(json.loads(text)) == {
        sc.State.STORED_AS.get(field, field) for field in fields_of(sc.State)} | {"version", "by"}
    assert json.loads(sc.dump_state(loaded).decode("ascii")) == json.loads(text)


def test_each_task_has_a_line_of_its_own():
    tasks = {"a": sc.TaskState(cursor=1), "b\u00e9": sc.TaskState(run=sc.Run(slot=2))}
    text = sc.dump_state(sc.State(seq=3, tasks=tasks, last_now=4.5)).decode("ascii")
    assert text == (
        '{"seq":3,"tasks":{\n"a":{"cursor":1},\n"b\\u00e9":{"run":{"slot":2}}\n},'
        '"last_now":4.5,"version":1,"by":"%s"}\n' % sc.__version__)


def test_only_tasks_that_changed_are_dumped_again(monkeypatch):
    dumped = []

    def dump_value(value):
        dumped.append(value)
        return dump(value)

    dump = sc.dump_value
    monkeypatch.setattr(sc, "dump_value", dump_value)
    dumper = sc.StateDumper()
    names = ["t%d" % number for number in range(5)]
    state = sc.State(seq=1, tasks={name: sc.TaskState(cursor=7) for name in names})
    assert dumper.dump(state) == sc.dump_state(state)

    changed = sc.TaskState(cursor=8)
    tasks = dict(state.tasks, t3=changed, new=sc.TaskState())
    del tasks["t1"]
    state = state.replace(tasks=tasks)
    del dumped[:]
    text = dumper.dump(state)
    assert [value for value in dumped if type(value) is sc.TaskState] == [changed, sc.TaskState()]
    assert text == sc.dump_state(state)
    emptied = state.replace(tasks={})
    assert dumper.dump(emptied) == sc.dump_state(emptied)
    assert dumper.dump(state) == text


@pytest.mark.parametrize("cls, field", FIELDS, ids=field_id)
def test_each_field_survives_a_dump_and_load_alone(cls, field):
    state = state_with(cls(**{field: example(cls, field)}))
    assert sc.load_state(sc.dump_state(state).decode("ascii")) == state


@pytest.mark.parametrize("cls", list(HOLDERS), ids=field_id)
def test_what_a_later_version_stored_beside_the_fields_is_kept(cls):
    state = load_with(cls, {"later": {"x": [1]}})
    text = sc.dump_state(state).decode("ascii")
    assert '"later":{"x":[1]}' in text
    assert sc.load_state(text) == state


@pytest.mark.parametrize("cls, field", FIELDS, ids=field_id)
def test_a_field_of_another_type_is_refused(cls, field):
    wrong = {"wrong": [1]} if isinstance(example(cls, field), list) else [{"wrong": 1}]
    with pytest.raises(ValueError):
        load_with(cls, {field: wrong})


@pytest.mark.parametrize("number", [10 ** 12, float("inf"), float("nan")])
@pytest.mark.parametrize("cls, field", NUMBER_FIELDS, ids=field_id)
def test_a_number_out_of_all_bounds_is_refused(cls, field, number):
    with pytest.raises(ValueError):
        load_with(cls, {field: number})


# -- beside the state

@pytest.fixture
def store(project):
    for folder in ("runs", "spool", "history"):
        (project.root / "status" / folder).mkdir(mode=0o700, parents=True)
    return sc.Store(str(project.root))


def run_record():
    """The record of a run as its supervisor writes it."""
    document = {"name": "a", "command": ["true", "caf\u00e9"], "schedule": "0 2 * * *",
                "env": {"A": "b"}, "cwd": "sub", "nice": 5, "timeout": 60, "kill_grace": 1.5,
                "max_output_bytes": 4096, "retry_count": 2, "start_deadline": 90}
    config = sc.build_config([("c.json", {"tasks": [document], "settings": {"timezone": "UTC"}})])
    assert config.problems == []
    record = sc.spec_of(config, config.tasks["a"], filled(sc.Run))
    return dict(record, pid=4242, pid_start="99", boot_id="b", supervisor=4241, started_mono=7.5,
                command_started_at=7.5, root="/r", mark="1-2-x", unended="",
                result={"status": "success", "ended_at": 9.5, "exit_code": 0})


def test_the_record_of_a_run_survives(store):
    record = run_record()
    store.write_run("a", record)
    assert store.read_run("a") == json.loads(json.dumps(record))


@pytest.mark.parametrize("field", [
    "run_id", "trigger", "attempt", "slot", "started_at", "pid", "pid_start", "boot_id",
    "supervisor", "started_mono"])
def test_the_record_of_a_run_without_a_needed_field_counts_as_damaged(store, field):
    record = run_record()
    store.write_run("a", dict(record, **{field: [1]}))
    assert store.read_run("a") == {}
    if field != "slot":  # a run by hand has none
        del record[field]
        store.write_run("a", record)
        assert store.read_run("a") == {}


def test_a_message_survives(store):
    store.enqueue(MESSAGE)
    (_, stored), = store.spooled()
    assert {key: stored[key] for key in MESSAGE} == MESSAGE
    assert set(stored) - set(MESSAGE) == {"tries", "next_try_at", "version", "by"}


def test_a_verdict_and_an_event_survive(store):
    store.record([VERDICT, EVENT], 30)
    assert list(store.verdicts(0)) == [VERDICT]
    assert store.events() == [EVENT]


@pytest.mark.parametrize("pause, is_sound", [
    ({"since": 1, "until": None, "reason": ""}, True), ({"since": 1, "until": 2.5, "reason": "x"}, True),
    ({"since": 1, "reason": ""}, False), ({"until": None, "reason": ""}, False),
    ({"since": 1, "until": -1, "reason": ""}, False), ({"since": 1, "until": None}, False), ([], False)])
def test_a_pause_is_whole_or_refused(pause, is_sound):
    text = json.dumps({"pauses": {"a": pause}})
    if is_sound:
        assert sc.load_state(text).pauses == {"a": pause}
    else:
        with pytest.raises(ValueError):
            sc.load_state(text)


@pytest.mark.parametrize("key", ["scheduled_for", "started_at", "merged_since"])
@pytest.mark.parametrize("value", [{}, [], 5, True, "noon"])
def test_a_verdict_whose_time_is_none_is_damaged(key, value):
    sc.from_iso(VERDICT["ended_at"])  # whose day is remembered: a slice of {} is a KeyError since 3.12
    assert sc.verdict_of(json.dumps(dict(VERDICT, **{key: value})).encode()) is None


@pytest.mark.parametrize("field, value", [
    ("duration_s", "x"), ("duration_s", None), ("reason", 5), ("output_tail", {}),
    ("attempts", "none")])
@pytest.mark.parametrize("status", ["success", "failed"])
def test_a_result_with_a_damaged_field_makes_a_state_that_can_be_read(field, value, status):
    raw = {"status": status, "ended_at": 1748829605.5, "exit_code": 1, field: value}
    run = sc.Run(run_id="20250602T020000Z-1", slot=1748829600, started_at=1748829600.0)
    state = sc.State(last_now=1748829600.0, tasks={"a": sc.TaskState(run=run)})
    facts = sc.Facts(runs={"a": sc.RunFact(kind="ended", result=sc.sound_result(raw))})
    config = sc.build_config([("c.json", {"tasks": [{"name": "a", "command": "true"}]})])
    decision = sc.decide(config, state, 1748829660.0, facts)
    assert [record["status"] for record in decision.records] == [status]
    assert sc.load_state(sc.dump_state(decision.state).decode()) == decision.state
