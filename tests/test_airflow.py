"""The plugin and the DAGs on Apache Airflow itself: its timetable, its DAGs, one run; no services."""

import datetime
import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from recorded import CASE_IDS, CASES, DEBIAN_CASES, at, utc
from support import REPOSITORY, wait_until

# Not by importing it: that reads the settings below. And scripts/airflow is an "airflow" as well.
if importlib.util.find_spec("pendulum") is None:
    pytest.skip("Apache Airflow is not installed", allow_module_level=True)

FOLDER = REPOSITORY / "scripts" / "airflow"
HOME = tempfile.mkdtemp(prefix="symphony-airflow-")
SETTINGS = {
    "AIRFLOW_HOME": HOME,
    "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(FOLDER / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__API_AUTH__JWT_SECRET": "for-tests-only-for-tests-only-for-tests-only-01"}
os.environ.update(SETTINGS)

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException  # noqa: E402
from airflow.serialization.decoders import decode_timetable  # noqa: E402
from airflow.serialization.encoders import encode_timetable  # noqa: E402
from airflow.timetables.base import DataInterval, TimeRestriction  # noqa: E402

sys.path.append(str(FOLDER / "plugins"))

import symphony_operator  # noqa: E402
import symphony_timetable  # noqa: E402

import symphony_conductor as sc  # noqa: E402

NOON = at("2025-06-02 12:00 +0000")


@pytest.fixture(autouse=True, scope="module")
def _no_home_is_left():
    yield
    shutil.rmtree(HOME, ignore_errors=True)


def read_back(timetable):
    """The timetable as the scheduler has it, from what the DAG processor has written."""
    return decode_timetable(json.loads(json.dumps(encode_timetable(timetable))))


def walk(monkeypatch, timetable, after, count, now=None):
    """The runs that Airflow makes after `after`; the clock stands there or at `now`."""
    monkeypatch.setattr(symphony_timetable.time, "time", lambda: now or after)
    restriction = TimeRestriction(symphony_timetable.moment(after), None, catchup=False)
    runs, last = [], None
    while len(runs) < count:
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=restriction)
        if info is None:
            break
        assert info.run_after == info.data_interval.start == info.data_interval.end
        runs.append(int(info.run_after.timestamp()))
        last = info.data_interval
    return runs


# -- the timetable

@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_the_timetable_gives_the_recorded_slots(monkeypatch, case):
    timetable = read_back(symphony_timetable.SymphonyTimetable(
        case["expression"], "job", case["zone"]))
    expected = [at(text) for text in case["next"]]
    assert utc(walk(monkeypatch, timetable, at(case["after"]), len(expected))) == utc(expected)


def test_the_timetable_gives_the_slots_at_which_debian_started(monkeypatch):
    for case in DEBIAN_CASES:
        timetable = symphony_timetable.SymphonyTimetable(case["expression"], "job", case["zone"])
        slots = walk(monkeypatch, timetable, case["after"], len(case["slots"]))
        assert utc(slots) == utc(case["slots"]), case


def test_several_expressions_are_one_timetable(monkeypatch):
    schedule = sc.ScheduleList([sc.CronSchedule("0 12 * * *"), sc.CronSchedule("30 */6 * * *")])
    timetable = read_back(symphony_timetable.SymphonyTimetable(schedule.text, "job", "UTC"))
    assert utc(walk(monkeypatch, timetable, NOON - 1, 3)) == [
        "2025-06-02 12:00:00Z", "2025-06-02 12:30:00Z", "2025-06-02 18:30:00Z"]


def test_a_hash_is_spread_by_the_name_of_the_task(monkeypatch):
    for name in ("backup", "report"):
        timetable = read_back(symphony_timetable.SymphonyTimetable("H H * * *", name, "UTC"))
        expected = sc.CronSchedule("H H * * *", name).next(NOON, "UTC")
        assert walk(monkeypatch, timetable, NOON, 1) == [expected]


def test_missed_slots_merge_into_the_newest(monkeypatch):
    timetable = read_back(symphony_timetable.SymphonyTimetable("*/5 * * * *", "job", "UTC"))
    runs = walk(monkeypatch, timetable, NOON, 2, now=NOON + 1815)
    assert utc(runs) == ["2025-06-02 12:30:00Z", "2025-06-02 12:35:00Z"]


def test_what_may_queue_behind_a_run_gets_a_run_of_its_own(monkeypatch):
    timetable = read_back(symphony_timetable.SymphonyTimetable(
        "*/5 * * * *", "job", "UTC", is_queued=True))
    runs = walk(monkeypatch, timetable, NOON, 3, now=NOON + 1815)
    assert utc(runs) == ["2025-06-02 12:25:00Z", "2025-06-02 12:30:00Z", "2025-06-02 12:35:00Z"]


def test_a_window_has_a_run_when_it_opens(monkeypatch):
    timetable = read_back(symphony_timetable.SymphonyTimetable(
        "0 20 * * *", "job", "UTC", "22:00-06:00"))
    assert utc(walk(monkeypatch, timetable, NOON, 3)) == [
        "2025-06-02 20:00:00Z", "2025-06-02 22:00:00Z", "2025-06-03 20:00:00Z"]
    assert utc(walk(monkeypatch, symphony_timetable.SymphonyTimetable(
        "", "job", "UTC", "22:00-06:00"), NOON, 2)) == [
            "2025-06-02 22:00:00Z", "2025-06-03 22:00:00Z"]


def test_a_change_of_the_configuration_takes_no_slot_away(monkeypatch):
    timetable = read_back(symphony_timetable.SymphonyTimetable(
        "0 * * * *", "job", "UTC", since=NOON - 86400, changed_at=NOON + 60))
    monkeypatch.setattr(symphony_timetable.time, "time", lambda: NOON + 120)
    restriction = TimeRestriction(symphony_timetable.moment(0), None, catchup=False)
    last = DataInterval.exact(symphony_timetable.moment(NOON - 3600))
    info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
    assert info.run_after.timestamp() == NOON
    info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info.run_after.timestamp() == NOON + 3600


def test_slots_before_the_takeover_are_never_given(monkeypatch):
    timetable = read_back(symphony_timetable.SymphonyTimetable(
        "0 * * * *", "job", "UTC", since=NOON + 60))
    monkeypatch.setattr(symphony_timetable.time, "time", lambda: NOON + 120)
    restriction = TimeRestriction(symphony_timetable.moment(0), None, catchup=False)
    for last in (None, DataInterval.exact(symphony_timetable.moment(NOON - 36000))):
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=restriction)
        assert info.run_after.timestamp() == NOON + 3600


@pytest.mark.parametrize("window", ["", "12:07-12:08"])
def test_a_backfill_asks_for_every_slot_of_its_span(window):
    """Also for those before the last change of the configuration, and for its first moment."""
    timetable = symphony_timetable.SymphonyTimetable(
        "*/5 * * * *", "job", "UTC", window, changed_at=NOON + 86400)
    restriction = TimeRestriction(symphony_timetable.moment(NOON),
                                  symphony_timetable.moment(NOON + 600), catchup=True)
    runs, last = [], None
    while True:
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=restriction)
        if info is None:
            break
        runs.append(int(info.run_after.timestamp()))
        last = info.data_interval
    assert utc(runs) == ["2025-06-02 12:00:00Z", "2025-06-02 12:05:00Z", "2025-06-02 12:10:00Z"]


# -- the DAGs

def dags_of(root, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag
    monkeypatch.setenv("SYMPHONY_ROOT", str(root))
    bag = DagBag(SETTINGS["AIRFLOW__CORE__DAGS_FOLDER"])
    assert bag.import_errors == {}
    return bag.dags


def project(folder, *tasks, **settings):
    (folder / "config").mkdir()
    path = folder / "config" / "conductor_config.json"
    path.write_text(json.dumps({"tasks": tasks, "settings": dict({"timezone": "UTC"}, **settings)}))
    return folder


def test_each_task_of_the_default_configuration_is_a_dag(monkeypatch):
    config = sc.Store(str(REPOSITORY)).read_config()
    dags = dags_of(REPOSITORY, monkeypatch)
    assert sorted(dags) == sorted(config.tasks)
    for name, dag in dags.items():
        task, one = config.tasks[name], dag.get_task("run")
        assert dag.max_active_runs == 1
        assert not dag.catchup
        assert bool(dag.is_paused_upon_creation) == (not task.enabled)
        assert one.retries >= task.retry_count
        assert [asset.uri for asset in one.outlets] == ["symphony://task/" + name]


def test_a_dag_has_what_its_task_says(tmp_path, monkeypatch):
    project(tmp_path,
            {"name": "a", "command": "true", "schedule": "0 3 * * *", "locks": ["tape"]},
            {"name": "b", "command": "true", "schedule": "0 4 * * *", "dependencies": ["a"],
             "owner": "ops", "tags": ["night"], "enabled": False},
            {"name": "c", "command": "true", "dependencies": ["a", "b"]},
            {"name": "boot", "command": "true", "schedule": "@reboot"})
    dags = dags_of(tmp_path, monkeypatch)
    assert sorted(dags) == ["a", "b", "c"]
    assert dags["a"].get_task("run").pool == "symphony_lock_tape"
    assert dags["b"].get_task("run").owner == "ops"
    assert dags["b"].tags == {"night", "symphony"}
    assert dags["b"].is_paused_upon_creation
    weights = [dags[name].get_task("run").priority_weight for name in "abc"]
    assert weights == sorted(weights, reverse=True)
    # A task without a schedule answers for its own dependencies, so it asks for all of them.
    assert sorted(asset.name for asset in dags["c"].get_task("run").inlets) == [
        "symphony_a", "symphony_b", "symphony_c"]


@pytest.mark.parametrize(("name", "value"), [("SYMPHONY_ROOT", ""), ("SYMPHONY_SINCE", "monday"),
                                              ("SYMPHONY_SINCE", "2025-06-02T10:00")])
def test_a_wrong_environment_is_an_import_error_that_says_so(monkeypatch, name, value):
    from airflow.dag_processing.dagbag import DagBag
    monkeypatch.setenv("SYMPHONY_ROOT", str(REPOSITORY))
    monkeypatch.setenv(name, value)
    bag = DagBag(SETTINGS["AIRFLOW__CORE__DAGS_FOLDER"])
    assert name in str(bag.import_errors)


def test_a_broken_configuration_is_an_import_error_that_names_the_place(tmp_path, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag
    (tmp_path / "config").mkdir()
    (tmp_path / "config/conductor_config.json").write_text('{"tasks": [{')
    monkeypatch.setenv("SYMPHONY_ROOT", str(tmp_path))
    bag = DagBag(SETTINGS["AIRFLOW__CORE__DAGS_FOLDER"])
    assert "conductor_config.json: line 1" in str(bag.import_errors)


# -- the operator

class Shelf:
    """Airflow's store of one asset."""

    def __init__(self):
        self.text = None
        self.is_broken = False

    def get(self, key, default=None):
        if self.is_broken:
            raise RuntimeError("the API server does not answer")
        return default if self.text is None else json.loads(self.text)

    def set(self, key, value):
        if self.is_broken:
            raise RuntimeError("the API server does not answer")
        self.text = json.dumps(value)


class Shelves(dict):
    def __getitem__(self, asset):
        return self.setdefault(asset.name, Shelf())

    def __missing__(self, name):
        raise KeyError(name)


class Given:
    """What Airflow gives to a try of a task, and what came of it."""

    def __init__(self, shelves, run_id, run_type, started, clears):
        self.rows, self.extras = [], {}
        self.run_type, self.run_id = run_type, run_id
        self.start_date = datetime.datetime.fromtimestamp(started, datetime.timezone.utc)
        self.run_after, self.logical_date = self.start_date, self.start_date
        self.clear_number = clears
        self.context = {"dag_run": self, "ti": self, "asset_state_store": shelves,
                        "outlet_events": self}

    def __getitem__(self, asset):
        return self

    def __setattr__(self, name, value):
        if name == "extra":
            self.extras.update(value)
        object.__setattr__(self, name, value)

    def xcom_push(self, key, value):
        assert key == "verdict"
        self.rows = value if isinstance(value, list) else [value]


class Cluster:
    """The tasks of a project, tried as Airflow tries them, with real commands."""

    def __init__(self, root):
        self.root, self.shelves = root, Shelves()

    def attempt(self, name, run_id, run_type="scheduled", started=None, clears=0):
        given = Given(self.shelves, run_id, run_type, started or time.time(), clears)
        operator = symphony_operator.SymphonyOperator(
            task_id="run", root=str(self.root), task_name=name, retries=10)
        given.error = None
        try:
            type(operator).execute.__wrapped__(operator, given.context)
        except Exception as error:
            given.error = error
        return given

    def starts(self):
        path = self.root / "starts"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("SYMPHONY_SCRATCH", str(tmp_path / "scratch"))
    (tmp_path / "root").mkdir()
    # The newest slots are this minute's and the two before it, and no other comes meanwhile.
    minutes = {int(time.time()) // 60 % 60 - age for age in range(3)}
    schedule = "%s * * * *" % ",".join(str(minute % 60) for minute in sorted(minutes))
    root = project(
        tmp_path / "root",
        {"name": "a", "command": "echo a >> starts", "schedule": schedule},
        {"name": "b", "command": "echo b >> starts; exit 3", "schedule": schedule,
         "dependencies": ["a"], "retry_count": 1, "retry_delay": 90},
        {"name": "c", "command": "echo c >> starts", "dependencies": ["a"]})
    long_ago = time.time() - 300
    os.utime(str(root / "config/conductor_config.json"), (long_ago, long_ago))
    found = Cluster(root)
    # The file's ctime is now, and its slots count from then; so say that each was looked at before.
    for name in ("a", "b", "c"):
        config = symphony_operator.slots.read_config(str(root))
        task = config.tasks[name]
        state = sc.TaskState(schedule_key=task.schedule_key, cursor=int(long_ago))
        if task.schedule is not None:
            state = state.replace(next_slot=task.schedule.next(long_ago, task.timezone))
        memory = symphony_operator.slots.Memory(state=state, last_now=long_ago)
        found.shelves[symphony_operator.asset_of(name)].set("symphony", memory.document())
    return found


def test_a_success_has_a_verdict_and_tells_the_dependents(cluster):
    given = cluster.attempt("a", "run-1")
    assert given.error is None
    [row] = given.rows
    assert (row["status"], row["run_id"]) == ("success", "run-1")
    assert row["trigger"] in ("catch_up", "schedule")  # by the second of the minute
    assert row["merged_since"] < row["scheduled_for"]
    assert given.extras["satisfied_until"] >= sc.from_iso(row["scheduled_for"])
    assert cluster.starts() == ["a"]


def test_a_dependent_looks_ends_as_skipped_and_runs_at_the_event(cluster):
    given = cluster.attempt("b", "run-1")
    assert isinstance(given.error, AirflowSkipException)
    assert [row["status"] for row in given.rows] == ["waiting"]
    assert cluster.starts() == []
    cluster.attempt("a", "run-2", "manual")
    given = cluster.attempt("b", "run-3", "asset_triggered")
    assert isinstance(given.error, symphony_operator.AttemptFailed)
    assert 80 < given.error.wait_s <= 90
    assert given.rows == []
    given = cluster.attempt("b", "run-3", "asset_triggered")
    assert isinstance(given.error, AirflowFailException)
    assert [(row["status"], row["exit_code"], row["attempt"]) for row in given.rows] == [
        ("failed", 3, 2)]
    assert cluster.starts() == ["a", "b", "b"]


def test_a_slot_is_decided_once(cluster):
    cluster.attempt("a", "run-1")
    slot = sc.TaskState.cursor
    given = cluster.attempt("a", "run-2", "asset_triggered", started=slot + 1)
    if cluster.starts() != ["a"]:  # a minute has passed meanwhile: then it is another slot
        assert given.rows[0]["merged_since"] is None
    else:
        assert isinstance(given.error, AirflowSkipException)


def test_a_change_of_the_configuration_decides_no_slot(cluster):
    """Its file is newer than the slots that are due, which were not looked at yet."""
    os.utime(str(cluster.root / "config/conductor_config.json"))
    assert cluster.attempt("a", "run-1").rows[0]["status"] == "success"


def test_no_slot_from_before_the_takeover_is_started(cluster, monkeypatch):
    monkeypatch.setenv("SYMPHONY_SINCE", sc.iso(time.time()))
    given = cluster.attempt("a", "run-1")
    assert isinstance(given.error, AirflowSkipException)
    assert cluster.starts() == []


def test_a_run_by_hand_asks_for_nothing_and_tells_the_dependents(cluster):
    given = cluster.attempt("c", "by-hand", "manual")
    assert given.error is None
    assert [(row["status"], row["trigger"], row["scheduled_for"]) for row in given.rows] == [
        ("success", "manual", None)]
    assert given.extras["ended_at"]


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_store_that_cannot_be_read_starts_nothing(cluster, name):
    cluster.shelves[symphony_operator.asset_of("a")].is_broken = True
    given = cluster.attempt(name, "run-1")
    assert "does not answer" in str(given.error)
    assert not isinstance(given.error, (AirflowSkipException, AirflowFailException))
    assert cluster.starts() == []


def test_what_is_remembered_and_cannot_be_read_starts_nothing(cluster):
    for text in ('{"state": 1}', '"x"', '{"version": 99}'):
        cluster.shelves[symphony_operator.asset_of("a")].text = text
        given = cluster.attempt("a", "run-1")
        assert isinstance(given.error, sc.ConductorError), given.error
    assert cluster.starts() == []


@pytest.mark.parametrize("text", ['{"tasks": [{', '{"tasks": [{"name": "a", "command": 1}]}'])
def test_a_configuration_that_is_broken_for_a_while_fails_no_run(cluster, text):
    path = cluster.root / "config" / "conductor_config.json"
    sound = path.read_text()
    path.write_text(text)
    given = cluster.attempt("a", "run-1")
    assert given.error is not None
    assert not isinstance(given.error, (AirflowSkipException, AirflowFailException))
    path.write_text(sound)
    assert cluster.attempt("a", "run-1").rows[0]["status"] == "success"
    path.write_text('{"tasks": [{"name": "b", "command": "true", "schedule": "* * * * *"}]}')
    assert isinstance(cluster.attempt("a", "run-2").error, AirflowFailException)


def add_task(cluster, document):
    path = cluster.root / "config" / "conductor_config.json"
    configuration = json.loads(path.read_text())
    configuration["tasks"].append(document)
    path.write_text(json.dumps(configuration))


def begun(cluster, name, run_id, run_type):
    """A try whose process was killed while its command ran."""
    real = symphony_operator.SymphonyOperator._carry_out
    symphony_operator.SymphonyOperator._carry_out = lambda self, context, look: 1 / 0
    try:
        return cluster.attempt(name, run_id, run_type)
    finally:
        symphony_operator.SymphonyOperator._carry_out = real


def test_a_try_that_was_killed_is_an_interrupted_attempt(cluster):
    cluster.attempt("a", "run-1", "manual")
    begun(cluster, "b", "run-2", "scheduled")
    given = cluster.attempt("b", "run-2", "scheduled")
    assert isinstance(given.error, AirflowFailException)
    [row] = given.rows
    assert [each["status"] for each in row["attempts"]] == ["interrupted"]
    assert (row["status"], row["attempt"]) == ("failed", 2)


def test_a_run_that_airflow_gave_up_is_not_taken_up_by_the_next(cluster):
    cluster.attempt("a", "run-1", "manual")
    begun(cluster, "b", "run-2", "scheduled")
    given = cluster.attempt("b", "run-3", "asset_triggered")
    rows = [(row["status"], row["run_id"]) for row in given.rows if row["status"] != "waiting"]
    assert rows[:1] == [("interrupted", "run-2")]
    assert "b" not in cluster.starts() or given.rows[0]["scheduled_for"] is not None


def test_a_run_by_hand_that_was_killed_has_no_second_attempt(cluster):
    begun(cluster, "c", "by-hand", "manual")
    given = cluster.attempt("c", "by-hand", "manual")
    assert isinstance(given.error, AirflowFailException)
    assert [row["status"] for row in given.rows] == ["interrupted"]
    assert cluster.starts() == []


def test_a_success_whose_report_was_lost_is_told_and_not_repeated(cluster, monkeypatch):
    real = Given.xcom_push
    monkeypatch.setattr(Given, "xcom_push", lambda self, key, value: 1 / 0)
    cluster.attempt("a", "run-1")
    monkeypatch.setattr(Given, "xcom_push", real)
    for _ in range(2):  # the second time it had pushed it: Airflow drops that ahead of a try
        given = cluster.attempt("a", "run-1")
        assert given.error is None
        assert [row["status"] for row in given.rows] == ["success"]
        assert given.extras["satisfied_until"]
    assert cluster.starts() == ["a"]


@pytest.mark.parametrize("is_done", [False, True])
def test_a_command_runs_once_whichever_call_of_airflow_fails(cluster, monkeypatch, is_done):
    """`is_done`: the call was carried out, and only its answer was lost."""
    calls = []

    def failing(kind, name):
        real = getattr(kind, name)

        def call(*arguments, **more):
            calls.append(name)
            if len(calls) != breaks_at:
                return real(*arguments, **more)
            if is_done:
                real(*arguments, **more)
            raise RuntimeError("the API server does not answer")
        monkeypatch.setattr(kind, name, call)

    failing(Shelf, "set")
    failing(Given, "xcom_push")
    shelf = cluster.shelves[symphony_operator.asset_of("a")]
    fresh = shelf.text
    for breaks_at in range(1, 10):
        del calls[:]
        shelf.text = fresh
        (cluster.root / "starts").unlink(missing_ok=True)
        given = cluster.attempt("a", "run-%d" % breaks_at)
        if given.error is None:
            break
        given = cluster.attempt("a", "run-%d" % breaks_at)
        assert given.error is None, (breaks_at, given.error)
        assert [row["status"] for row in given.rows] == ["success"], breaks_at
        assert given.extras["satisfied_until"]
        assert cluster.starts() == ["a"], breaks_at
    assert breaks_at > 4


def test_a_run_by_hand_whose_end_could_not_be_kept_is_told_as_it_ended(cluster, monkeypatch):
    real, calls = Shelf.set, []

    def call(self, key, value):
        calls.append(key)
        if len(calls) == 2:
            raise RuntimeError("the API server does not answer")
        real(self, key, value)

    monkeypatch.setattr(Shelf, "set", call)
    assert "does not answer" in str(cluster.attempt("c", "by-hand", "manual").error)
    given = cluster.attempt("c", "by-hand", "manual")
    assert given.error is None
    assert [row["status"] for row in given.rows] == ["success"]
    assert cluster.starts() == ["c"]


def test_a_run_that_a_person_clears_runs_again_and_keeps_its_verdict(cluster):
    first = cluster.attempt("a", "run-1")
    given = cluster.attempt("a", "run-1", clears=1)
    assert [(row["status"], row["trigger"]) for row in given.rows] == [
        ("success", first.rows[0]["trigger"]), ("success", "manual")]
    assert given.rows[0] == first.rows[0]
    assert cluster.starts() == ["a", "a"]


def test_a_cleared_run_and_a_backfill_are_for_their_slot(cluster):
    cluster.attempt("a", "run-1")
    slot = int(time.time()) // 60 * 60 - 120
    for run_id, run_type in (("older", "scheduled"), ("back", "backfill")):
        given = cluster.attempt("a", run_id, run_type, started=slot, clears=1)
        assert [(row["trigger"], row["scheduled_for"], row["backfill"]) for row in given.rows] == [
            ("manual", sc.iso(slot), True)]


def test_a_retry_that_airflow_gave_up_is_told_by_the_next_run(cluster):
    cluster.attempt("a", "run-1", "manual")
    assert isinstance(cluster.attempt("b", "run-2").error, symphony_operator.AttemptFailed)
    given = cluster.attempt("b", "run-3", "asset_triggered")
    assert given.rows[0]["status"] == "stopped"
    assert "run-2" in given.rows[0]["reason"]


def test_a_killed_runner_is_an_interrupted_attempt_and_leaves_nothing(cluster):
    """The runner is the parent of its command, which here kills it and would live on."""
    add_task(cluster, {"name": "d", "command": "echo $$ > pid; kill -9 $PPID; sleep 60",
                       "kill_grace": 1})
    began = time.monotonic()
    given = cluster.attempt("d", "by-hand", "manual")
    assert time.monotonic() - began < 45
    assert isinstance(given.error, AirflowFailException)
    assert [(row["status"], row["exit_code"]) for row in given.rows] == [("interrupted", None)]
    process = sc.process_of(int((cluster.root / "pid").read_text()))
    assert process is None or process.is_dead


def test_a_killed_runner_whose_command_cannot_be_looked_for_has_run(cluster):
    add_task(cluster, {"name": "d", "command": "echo d >> starts; kill -9 $PPID;"
                       " rm -rf $SYMPHONY_SCRATCH; : > $SYMPHONY_SCRATCH", "retry_count": 2})
    given = cluster.attempt("d", "by-hand", "manual")
    assert isinstance(given.error, AirflowFailException) and "may still run" in str(given.error)
    assert [(row["status"], row["abandoned"]) for row in given.rows] == [("interrupted", True)]
    os.remove(os.environ["SYMPHONY_SCRATCH"])
    assert cluster.starts() == ["d"]


def test_a_run_on_this_machine_that_goes_on_holds_the_next_and_costs_no_attempt(cluster):
    cluster.attempt("a", "run-1", "manual")
    folder = symphony_operator.scratch_of(str(cluster.root))
    lock = sc.Store(folder).task_lock("b")
    assert lock.acquire(1)
    given = cluster.attempt("b", "run-2")
    assert "another run" in str(given.error)
    assert not isinstance(given.error, (AirflowFailException, symphony_operator.AttemptFailed))
    assert cluster.starts() == ["a"]
    lock.release()
    given = cluster.attempt("b", "run-2")
    assert isinstance(given.error, symphony_operator.AttemptFailed)  # the first of its two
    assert cluster.starts() == ["a", "b"]


def test_a_trouble_of_airflow_may_last_half_an_hour():
    policy, waits = symphony_operator.SymphonyRetries(), []
    for number in range(1, symphony_operator.SPARE_TRIES + 1):
        decision = policy.evaluate(RuntimeError("no answer"), number, 10)
        waits.append(decision.retry_delay.total_seconds())
    assert waits[:6] == [15, 30, 60, 120, 240, 300]
    assert sum(waits) > 1800
    failed = symphony_operator.AttemptFailed("attempt 1: exit code 3", 90.0)
    assert policy.evaluate(failed, 7, 10).retry_delay.total_seconds() == 90


def test_a_worker_that_cannot_keep_records_costs_no_attempt(cluster, monkeypatch):
    scratch = os.environ["SYMPHONY_SCRATCH"]
    monkeypatch.setenv("SYMPHONY_SCRATCH", str(cluster.root / "config/conductor_config.json"))
    given = cluster.attempt("a", "run-1")
    assert "cannot create the folder" in str(given.error)
    assert not isinstance(given.error, (AirflowFailException, symphony_operator.AttemptFailed))
    assert cluster.starts() == []
    monkeypatch.setenv("SYMPHONY_SCRATCH", scratch)  # as on another one
    [row] = cluster.attempt("a", "run-1").rows
    assert (row["status"], row["attempt"]) == ("success", 1)


class Log:
    def __init__(self):
        self.lines = []

    def info(self, form, *values):
        self.lines.append(form % values)

    warning = info


def attempt_of(cluster, command, **fields):
    config = sc.build_config([("c.json", {"tasks": [dict(
        {"name": "job", "command": command}, **fields)]})])
    run = sc.Run(run_id="run", slot=int(NOON), started_at=float(NOON))
    spec = sc.spec_of(config, config.tasks["job"], run)
    return symphony_operator.Attempt(str(cluster.root), dict(spec), ["sesame-open"])


def test_the_log_has_the_whole_output_without_secrets(cluster):
    log = Log()
    result = attempt_of(cluster, "seq 20000; echo pass sesame-open; printf end").run(log)
    assert result["status"] == "success"
    assert log.lines == ["%d" % number for number in range(1, 20001)] + ["pass ***", "end"]


def test_the_log_has_no_more_output_than_the_task_may_keep(cluster):
    log = Log()
    attempt_of(cluster, "seq 20000", max_output_bytes=2000).run(log)
    assert 100 < len(log.lines) < 1000
    assert "max_output_bytes is 2000" in log.lines[-1]


def test_a_stop_ahead_of_the_start_ends_the_attempt(cluster):
    attempt = attempt_of(cluster, "sleep 60", kill_grace=1)
    attempt.stop()
    began = time.monotonic()
    assert attempt.run(Log())["status"] == "interrupted"
    assert time.monotonic() - began < 45


def test_output_that_no_database_takes_is_told_without_what_it_refuses(cluster):
    add_task(cluster, {"name": "n", "command": r"printf 'a\0b\355\240\200\n'"})
    [row] = cluster.attempt("n", "by-hand", "manual").rows
    assert row["output_tail"].startswith("a\ufffdb")
    assert "\\u0000" not in cluster.shelves[symphony_operator.asset_of("n")].text
    assert symphony_operator.slots.storable({"reason": ["caf\udce9\0"]}) == {
        "reason": ["caf\ufffd\ufffd"]}


def test_what_airflow_ends_is_ended_and_told(cluster, monkeypatch):
    add_task(cluster, {"name": "e", "command": "echo $$ > pid; sleep 60; true", "kill_grace": 1})
    operators = []
    real = symphony_operator.Attempt.run

    def run(attempt, log):
        operators.append(threading.Timer(0.1, stop, [attempt]))
        operators[0].start()
        return real(attempt, log)

    def stop(attempt):
        assert wait_until((cluster.root / "pid").exists)
        attempt.stop()  # as on_kill does

    monkeypatch.setattr(symphony_operator.Attempt, "run", run)
    given = cluster.attempt("e", "by-hand", "manual")
    operators[0].join()
    assert isinstance(given.error, AirflowFailException)
    assert [row["status"] for row in given.rows] == ["interrupted"]


# -- by Airflow's own commands

class Database:
    """The database of Airflow that the tests of this module have together."""

    def __init__(self, root):
        self.env = dict(os.environ, SYMPHONY_ROOT=str(root))

    def python(self, *words):
        done = subprocess.run([sys.executable, *words], env=self.env, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout.decode()

    def airflow(self, *words):
        return self.python("-m", "airflow", *words)

    def ask(self, query):
        with sqlite3.connect(os.path.join(HOME, "airflow.db")) as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def _migrated():
    Database("").airflow("db", "migrate")


@pytest.fixture
def database(tmp_path, _migrated):
    return Database(tmp_path)


def test_a_task_runs_by_the_command_of_airflow(tmp_path, database):
    root = project(tmp_path, {"name": "job", "command": "echo said $TOKEN; exit 4",
                              "env_file": "job.env", "success_exit_codes": [4]})
    (root / "job.env").write_text("TOKEN=0123456789abcdef\n")
    os.chmod(str(root / "job.env"), 0o600)
    database.airflow("pools", "set", "symphony", "1", "the tasks of the conductor")
    output = database.airflow("dags", "test", "job")
    assert "said ***" in output
    assert "0123456789abcdef" not in output
    [(text,)] = database.ask("select value from xcom where key = 'verdict'")
    [(state,)] = database.ask("select state from dag_run")
    row = json.loads(text)
    assert state == "success"
    assert (row["status"], row["exit_code"], row["trigger"]) == ("success", 4, "manual")


# What the DAG processor and the scheduler do while the folder of the DAGs is away, as behind a
# mount, and another minute later. What a task remembers must not go with it.
FOLDER_IS_AWAY = """
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.asset import AssetModel, remove_references_to_deleted_dags
from airflow.models.asset_state_store import AssetStateStoreModel
from airflow.models.dag import DagModel
from airflow.utils.session import create_session

with create_session() as session:
    for asset in session.query(AssetModel):
        session.merge(AssetStateStoreModel(asset_id=asset.id, key="symphony", value="{}"))
with create_session() as session:
    for dag in session.query(DagModel):
        dag.is_stale = True
    session.flush()
    remove_references_to_deleted_dags(session=session)
with create_session() as session:
    SchedulerJobRunner._update_asset_orphanage(SchedulerJobRunner, session=session)
print("done")
"""


def test_what_tasks_remember_outlives_a_time_without_their_dags(tmp_path, database):
    project(tmp_path, {"name": "first", "command": "true", "schedule": "0 3 * * *"},
            {"name": "alone", "command": "true", "schedule": "0 3 * * *"},
            {"name": "last", "command": "true", "dependencies": ["first"]})
    database.airflow("dags", "reserialize")
    told = database.python("-c", FOLDER_IS_AWAY)
    assert told.endswith("done\n"), told
    rows = database.ask("select asset.name from asset_state_store join asset"
                        " on asset.id = asset_id where asset.name != 'symphony_job'")
    assert sorted(rows) == [("symphony_alone",), ("symphony_first",), ("symphony_last",)], told
