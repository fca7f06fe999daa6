"""Another engine: what check says of Airflow, its pools, and the audit over its REST API. No Airflow is needed."""

import contextlib
import http.server
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest
from support import REPOSITORY, SCRIPT, SCRIPTS

import symphony_conductor as sc

FOLDER = SCRIPTS / "airflow"
MINUTE = 60


def load():
    spec = importlib.util.spec_from_file_location("engine_of_airflow", str(FOLDER / "engine.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


engine = load()


def at(text):
    return sc.from_iso(text)


def configured(*tasks, **settings):
    settings.setdefault("timezone", "UTC")
    tasks = [dict({"command": "true"}, **task) for task in tasks]
    config = sc.build_config([("c.json", {"tasks": tasks, "settings": settings})], {})
    assert not config.problems
    return config


# -- pools

LOCKS = {"alone": [], "first": ["x", "y"], "other": ["z"], "joining": ["y", "z"], "own": ["q"]}


def test_locks_that_a_task_joins_are_one_pool_and_other_tasks_share_the_limit():
    config = configured(*[{"name": name, "locks": locks} for name, locks in LOCKS.items()],
                        max_concurrent_tasks=4)
    assert engine.pools(config) == {"symphony": 4, "symphony_lock_q": 1, "symphony_lock_x": 1}
    assert {name: engine.pool_of(config, task) for name, task in config.tasks.items()} == {
        "alone": "symphony", "first": "symphony_lock_x", "other": "symphony_lock_x",
        "joining": "symphony_lock_x", "own": "symphony_lock_q"}


@pytest.mark.parametrize("order", [list(LOCKS), sorted(LOCKS), sorted(LOCKS, reverse=True)])
def test_the_order_of_tasks_names_no_other_pools(order):
    config = configured(*[{"name": name, "locks": LOCKS[name]} for name in order])
    assert engine.pool_of(config, config.tasks["other"]) == "symphony_lock_x"


def test_a_description_of_many_locks_fits_into_airflows_column():
    config = configured({"name": "a", "locks": ["lock-number-%d" % number for number in range(40)]})
    assert [len(pool["description"]) <= 256 for pool in engine.pools_document(config).values()] == [True, True]


def test_a_run_without_a_verdict_says_nothing_of_a_slot_that_another_one_decided():
    row = {"task": "a", "status": "success", "scheduled_for": "2025-06-02T10:00:00Z"}
    slot = sc.from_iso(row["scheduled_for"])
    runs = [engine.EngineRun(task="a", run_id="r1", slot=slot, state="failed"),
            engine.EngineRun(task="a", run_id="r2", state="success", rows=(row,))]
    assert engine.rows_of(runs) == [row]
    assert [row["status"] for row in engine.rows_of(runs[:1])] == ["interrupted"]


def test_a_task_that_has_no_home_there_joins_no_locks():
    config = configured({"name": "a", "locks": ["x"]}, {"name": "b", "locks": ["y"]},
                        {"name": "c", "locks": ["x", "y"], "schedule": "@reboot"})
    assert set(engine.pools(config)) == {"symphony", "symphony_lock_x", "symphony_lock_y"}


# -- what has no home

def test_every_field_and_setting_of_the_core_has_a_home_or_a_word():
    assert set(sc.TASK_RULES) == set(engine.FIELDS)
    assert set(sc.SETTING_RULES) == set(engine.SETTINGS)


def test_the_manual_names_every_field_that_does_not_hold():
    manual = (FOLDER / "README.md").read_text(encoding="utf-8")
    for table in (engine.FIELDS, engine.SETTINGS):
        for key, (kind, _) in table.items():
            if kind != engine.HOLDS:
                assert "`%s`" % key in manual, key


def told(*tasks, **settings):
    return [(problem.task, problem.field, problem.warning)
            for problem in engine.problems(configured(*tasks, **settings))]


@pytest.mark.parametrize("field, value", [
    ("ping_url", "https://ping.example.org/"), ("enabled", False), ("review_by", "2030-01-01")])
def test_a_field_without_a_home_is_warned_of(field, value):
    assert told({"name": "a", field: value}) == [("a", field, True)]


@pytest.mark.parametrize("field, value", [
    ("nice", 5), ("umask", "027"), ("ionice", "idle"), ("memory_limit", "1G"), ("timeout", 60),
    ("skip_exit_codes", [75]), ("condition", "true"), ("env", {"A": "1"}), ("overlap", "queue"),
    ("max_output_bytes", 100), ("start_deadline", 60), ("only_between", "22:00-06:00")])
def test_a_field_that_holds_is_not(field, value):
    assert told({"name": "a", field: value}) == []


def test_a_cancel_command_is_warned_of_also_as_that_of_the_settings():
    launched = {"launcher": ["srun"], "cancel_command": "scancel {run_id}"}
    assert told(dict({"name": "a"}, **launched)) == [("a", "cancel_command", True)]
    assert told({"name": "a"}, **launched) == [("a", "cancel_command", True)]
    assert told({"name": "a", "launcher": ["nice"]}) == []


def test_a_task_of_the_boot_is_refused():
    assert told({"name": "a", "schedule": "@reboot"}) == [("a", "schedule", False)]


@pytest.mark.parametrize("settings, field", [
    ({"log_to": "syslog"}, "log_to"), ({"metrics_file": "m.prom"}, "metrics_file"),
    ({"report_file": "r.html"}, "report_file"),
    ({"task_history_retention_days": 5}, "task_history_retention_days"),
    ({"enable_notifications": True, "notification_command": "cat"}, "notification_command")])
def test_a_setting_without_a_home_is_warned_of(settings, field):
    assert told({"name": "a"}, **settings) == [("", field, True)]


def test_a_target_that_is_not_used_is_not():
    assert told({"name": "a"}, notification_command="cat") == []


def test_what_pools_do_otherwise_is_warned_of():
    assert told({"name": "a", "locks": ["x"]}, {"name": "b", "locks": ["y"]},
                {"name": "c", "locks": ["x", "y"]}) == [
        ("", "max_concurrent_tasks", True), ("b", "locks", True)]


def test_a_task_without_a_zone_is_warned_of_once():
    config = sc.build_config([("c.json", {"tasks": [
        {"name": name, "command": "true", "schedule": "@daily"} for name in "ab"]})], {})
    assert [problem.field for problem in engine.problems(config)] == ["timezone"]


# -- check

def test_check_refuses_and_warns(hand):
    hand.configure({"name": "a", "command": "true", "schedule": "@reboot"},
                   {"name": "b", "command": "/no/such/program", "schedule": "@daily",
                    "ping_url": "https://ping.example.org/"})
    code, out, err = hand.call("check", "--engine", "airflow")
    assert code == 78
    assert re.match(r"config/conductor_config.json: tasks\[0\] 'a': schedule: @reboot has no meaning on "
                    r"Airflow: .*\(.*\)\n\Z", err)
    assert "tasks[1] 'b': ping_url: on Airflow, nothing is sent (" in out
    assert "/no/such/program" not in out  # whether it is there, each worker has to be asked
    assert out.endswith("config/conductor_config.json: 2 tasks, 1 problem, 1 warning\n")
    assert hand.call("check")[0] == 0


def test_check_prints_the_pools_to_import_and_nothing_else(hand):
    hand.configure({"name": "a", "command": "true", "locks": ["x"]}, max_concurrent_tasks=7)
    code, out, err = hand.call("check", "--engine", "airflow", "--pools")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "symphony": {"slots": 7, "description": "max_concurrent_tasks", "include_deferred": False},
        "symphony_lock_x": {"slots": 1, "description": "1 lock: x", "include_deferred": False}}
    hand.configure({"name": "a", "command": "true", "schedule": "@reboot"})
    code, out, err = hand.call("check", "--engine", "airflow", "--pools")
    assert (code, out, err.count("\n")) == (78, "", 1)
    code, out, err = hand.call("check", "--pools")
    assert (code, out, err.count("\n")) == (2, "", 1) and "--pools needs --engine" in err


@pytest.mark.parametrize("command", ["check", "audit"])
def test_a_copy_without_the_engine_says_what_to_fetch(tmp_path, command):
    shutil.copy(str(SCRIPT), str(tmp_path))
    (tmp_path / "config").mkdir(mode=0o700)
    (tmp_path / "config/conductor_config.json").write_text('{"tasks": []}')
    (tmp_path / "config/conductor_config.json").chmod(0o600)
    done = subprocess.run([sys.executable, str(tmp_path / "symphony_conductor.py"), command, "--engine", "airflow"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (69, b"", 1)
    assert b"put scripts/airflow of version %s into" % sc.__version__.encode() in done.stderr


def test_an_engine_that_others_can_write_to_is_refused(tmp_path):
    shutil.copy(str(SCRIPT), str(tmp_path))
    (tmp_path / "config").mkdir(mode=0o700)
    (tmp_path / "config/conductor_config.json").write_text('{"tasks": []}')
    (tmp_path / "scripts").mkdir(mode=0o755)
    (tmp_path / "scripts/airflow").mkdir(mode=0o755)
    shutil.copy(str(FOLDER / "engine.py"), str(tmp_path / "scripts/airflow"))
    (tmp_path / "scripts/airflow/engine.py").chmod(0o666)
    done = subprocess.run([sys.executable, str(tmp_path / "symphony_conductor.py"), "check", "--engine", "airflow"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (78, b"") and b"chmod" in done.stderr


def test_no_file_of_the_core_imports_anything_of_another_engine():
    for path in [SCRIPT] + sorted(SCRIPTS.glob("*.py")) + [REPOSITORY / "setup.sh"]:
        text = path.read_text(encoding="utf-8")
        imported = re.findall(r"(?m)^\s*(?:from|import) +(airflow|engine|runner|symphony_(?:slots|operator))\b", text)
        assert imported == [], path
    code = ("import sys; sys.path[:0] = [%r]; import symphony_conductor as sc; sc.main(['explain', '@daily'])\n"
            "print([name for name in sys.modules if 'engine' in name or 'airflow' in name])" % str(REPOSITORY))
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout.decode().splitlines()[-1] == "[]"


# -- an Airflow that answers what it is told to

class FakeAirflow:
    """The parts of Airflow's REST API that the audit asks, over runs that a test adds."""

    def __init__(self):
        self.runs, self.paused, self.jobs = [], {}, []
        self.stale = set()   # DAGs that the DAG processor has not seen for a while
        self.cleared = []    # runs that are run again as soon as the lists were read
        self.page, self.asked, self.answer = 100, [], None
        self.token, self.location = "secret", ""
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, text = fake.reply(self.path, self.headers)
                if fake.location and not self.path.startswith("/auth/"):
                    status = 307
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", fake.location)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(text.encode())

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])).decode())
                good = body == {"username": "ann", "password": "pass"}
                self.send_response(201 if good else 401)
                self.end_headers()
                self.wfile.write(json.dumps({"access_token": fake.token}).encode())

            def log_message(self, *args):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)

    def reply(self, path, headers):
        self.asked.append(path)
        if self.answer is not None:
            return self.answer
        if path == "/auth/token":
            return 201, json.dumps({"access_token": self.token})
        if headers.get("Authorization") != "Bearer " + self.token:
            return 401, "{}"
        url = urllib.parse.urlsplit(path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        document = self.document(urllib.parse.unquote(url.path), query)
        return (404, "{}") if document is None else (200, json.dumps(document))

    def document(self, path, query):
        value = re.match(r"/api/v2/dags/([^/~]+)/dagRuns/(.+)/taskInstances/run/xcomEntries/verdict\Z", path)
        if value:
            runs = [run for run in self.runs if (run["dag_id"], run["dag_run_id"]) == value.groups()]
            return None if runs[0] in self.cleared else {"value": runs[0]["verdict"]}
        single = re.match(r"/api/v2/dags/([^/~]+)/dagRuns/(.+)/taskInstances/run\Z", path)
        if single:
            runs = [run for run in self.runs if (run["dag_id"], run["dag_run_id"]) == single.groups()]
            if runs[0]["task_state"] == "missing":
                return None
            return dict(runs[0], state="running" if runs[0] in self.cleared else runs[0]["task_state"])
        if path == "/api/v2/jobs":
            assert query["job_type"] == "SchedulerJob"
            return self.paged("jobs", self.jobs, query)
        if path == "/api/v2/dags":
            dags = [{"dag_id": name, "is_paused": paused} for name, paused in self.paused.items()
                    if query.get("exclude_stale") == "false" or name not in self.stale]
            return self.paged("dags", dags, query)
        kind = re.match(r"/api/v2/dags/([^/]+)/dagRuns(/~/taskInstances(/~/xcomEntries)?)?\Z", path)
        if not kind:
            return None
        runs = [run for run in self.runs if kind.group(1) in ("~", run["dag_id"])
                and query.get("run_after_gte", "") <= run["run_after"] < query.get("run_after_lt", "9")]
        if kind.group(3):
            assert query["xcom_key"] == "verdict"
            entries = [{"dag_id": run["dag_id"], "run_id": run["dag_run_id"]} for run in runs
                       if run["verdict"] is not None]
            return self.paged("xcom_entries", entries, query)
        if kind.group(2):
            entries = [dict(run, state=run["task_state"]) for run in runs if run["task_state"] != "missing"]
            return self.paged("task_instances", entries, query)
        return self.paged("dag_runs", runs, query)

    def paged(self, key, entries, query):
        offset = int(query.get("offset", 0))
        return {key: entries[offset:offset + min(self.page, int(query["limit"]))], "total_entries": len(entries)}

    def schedules(self, start, end=None, beat=None):
        """A scheduler that ran from `start` on."""
        self.jobs.append({"job_type": "SchedulerJob", "start_date": start, "end_date": end,
                          "latest_heartbeat": end or beat})

    def ran(self, name, slot, status="success", state="success", kind="scheduled", verdict=True, **row):
        """A run of a task, and its verdict."""
        run_id = "%s__%s+00:00" % (kind, slot[:-1])
        value = None
        if verdict:
            value = dict({"task": name, "status": status, "scheduled_for": slot, "started_at": slot,
                          "ended_at": slot, "exit_code": 0, "attempt": 1, "trigger": "schedule",
                          "run_id": run_id, "duration_s": 0.5, "merged_since": None}, **row)
        self.paused.setdefault(name, False)
        self.runs.append({
            "dag_id": name, "dag_run_id": run_id, "run_type": kind, "logical_date": slot, "run_after": slot,
            "task_state": state, "start_date": slot[:-1] + ".123456Z", "end_date": slot[:-1] + ".9Z",
            "try_number": 1, "verdict": value})
        return self.runs[-1]


@pytest.fixture
def airflow(monkeypatch):
    fake = FakeAirflow()
    monkeypatch.setenv("SYMPHONY_AIRFLOW_URL", fake.url + "/")
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv("SYMPHONY_AIRFLOW_" + name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "SYMPHONY_ZONE"):
        monkeypatch.delenv(name, raising=False)
    yield fake
    fake.close()


EVERY = {"name": "a", "command": "true", "schedule": "*/5 * * * *"}
START = "2025-06-02T09:50:00Z"


def clock(text):
    return "2025-06-02T%s:00Z" % text


def findings(hand, *args):
    """(exit code, fates, what is unexplained as (time, reason)) of an audit with the engine."""
    code, out, err = hand.call("audit", "--engine", "airflow", "--since", "2h", "--json", *args)
    assert err == "", err
    document = json.loads(out)
    return code, document["fates"], [
        (finding["scheduled_for"][11:16], finding["reason"]) for finding in document["findings"]]


def moved(hand, airflow, *slots):
    """A root that never ticked, and an Airflow whose scheduler runs and ran these slots."""
    hand.configure(EVERY)
    airflow.schedules(START, beat=clock("10:22"))
    for slot in slots:
        airflow.ran("a", clock(slot))
    hand.move(clock("10:22"))


def test_a_sound_run_leaves_nothing_unexplained(hand, airflow):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:15", "10:20")
    assert findings(hand) == (0, {"success": 5}, [])
    assert findings(hand, "a") == (0, {"success": 5}, [])
    assert hand.call("audit", "--engine", "airflow", "--since", "2h")[1].startswith("5 slots, 0 unexplained, ")


def test_the_dags_of_others_are_left_alone(hand, airflow):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:15", "10:20")
    airflow.ran("theirs", clock("10:20"))
    assert findings(hand) == (0, {"success": 5}, [])
    assert not [path for path in airflow.asked if "theirs" in path]


def test_an_airflow_that_does_not_have_the_task_says_nothing_of_it(hand, airflow):
    moved(hand, airflow)
    assert findings(hand) == (0, {}, [])
    assert findings(hand, "a") == (0, {}, [])


def test_a_slot_that_was_not_run_is_named(hand, airflow):
    moved(hand, airflow, "10:00", "10:05", "10:15")
    code, fates, unexplained = findings(hand)
    # The last one is due: the scheduler has three minutes, as a tick has.
    assert (code, fates) == (1, {"success": 3, "due": 1, "unexplained": 1})
    assert unexplained == [("10:10", "no result was recorded")]


def test_what_was_missed_by_a_dead_scheduler_is_merged_into_the_first_slot_after_it(hand, airflow):
    moved(hand, airflow, "10:00", "10:15", "10:20")
    assert findings(hand)[:2] == (1, {"success": 3, "unexplained": 2})
    airflow.jobs.clear()
    airflow.schedules(START, beat=clock("10:02"))
    airflow.schedules(clock("10:16"), beat=clock("10:22"))
    assert findings(hand) == (0, {"success": 3, "merged": 2}, [])
    out = " ".join(hand.call("audit", "--engine", "airflow", "--since", "2h")[1].split())
    assert "no tick from 2025-06-02T10:02:00Z to 2025-06-02T10:16:00Z: the scheduler of the engine did not run" in out


def test_a_scheduler_that_is_dead_since_is_told(hand, airflow):
    moved(hand, airflow, "10:00", "10:05")
    airflow.jobs[0]["latest_heartbeat"] = clock("10:06")
    assert findings(hand) == (0, {"success": 2, "due": 3}, [])
    out = " ".join(hand.call("audit", "--engine", "airflow", "--since", "2h")[1].split())
    assert "no tick from 2025-06-02T10:06:00Z to 2025-06-02T10:22:00Z: the scheduler of the engine did not run" in out
    airflow.jobs[0]["latest_heartbeat"] = clock("10:21")
    assert "no tick" not in hand.call("audit", "--engine", "airflow", "--since", "2h")[1]


def test_what_was_missed_is_merged_into_a_run_that_goes_on(hand, airflow):
    moved(hand, airflow, "10:00")
    airflow.jobs.clear()
    airflow.schedules(START, beat=clock("10:02"))
    airflow.schedules(clock("10:21"), beat=clock("10:22"))
    airflow.ran("a", clock("10:20"), state="running", verdict=False)
    assert findings(hand) == (0, {"success": 1, "merged": 3, "open": 1}, [])


def test_a_verdict_says_itself_what_it_merged(hand, airflow):
    moved(hand, airflow, "10:00")
    airflow.ran("a", clock("10:20"), merged_since=clock("10:05"))
    assert findings(hand) == (0, {"success": 2, "merged": 3}, [])


def test_a_run_that_looked_leaves_its_slot_open_until_a_later_one_decides(hand, airflow):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:15")
    airflow.ran("a", clock("10:20"), status="waiting", state="skipped", reason="b")
    assert findings(hand) == (0, {"success": 4, "open": 1}, [])
    run = airflow.ran("a", clock("10:21"), kind="asset_triggered")
    run["verdict"] = [dict(run["verdict"], scheduled_for=clock("10:20"))]
    assert findings(hand) == (0, {"success": 5}, [])


def test_a_slot_that_waited_and_was_forgotten_is_named(hand, airflow):
    moved(hand, airflow, "10:00", "10:05")
    airflow.ran("a", clock("10:10"), status="waiting", state="skipped")
    airflow.ran("a", clock("10:15"))
    airflow.ran("a", clock("10:20"))
    assert findings(hand)[2] == [
        ("10:10", "the run scheduled__2025-06-02T10:10:00+00:00 left it waiting, and no later one decided")]


def test_a_run_may_have_verdicts_on_several_slots_and_repeat_what_is_published(hand, airflow):
    moved(hand, airflow, "10:00", "10:05")
    airflow.ran("a", clock("10:10"), status="waiting", state="skipped")
    run = airflow.ran("a", clock("10:15"))
    skip = dict(run["verdict"], status="skipped_dependency", scheduled_for=clock("10:10"))
    run["verdict"] = [skip, run["verdict"]]
    last = airflow.ran("a", clock("10:20"))
    last["verdict"] = run["verdict"] + [last["verdict"]]
    assert findings(hand) == (0, {"success": 4, "skipped_dependency": 1}, [])


@pytest.mark.parametrize("state, fate", [
    ("failed", "interrupted"), ("upstream_failed", "interrupted"), ("removed", "interrupted"),
    ("running", "open"), ("queued", "open"), ("up_for_retry", "open"), (None, "open"),
    ("success", "unexplained"), ("skipped", "unexplained")])
def test_a_run_without_a_verdict_counts_as_its_state_says(hand, airflow, state, fate):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:15")
    airflow.ran("a", clock("10:20"), state=state, verdict=False)
    hand.move(clock("10:28"))
    airflow.ran("a", clock("10:25"))
    airflow.jobs[0]["latest_heartbeat"] = clock("10:28")
    code, fates, unexplained = findings(hand)
    assert (code, fates) == (int(fate == "unexplained"), {"success": 5, fate: 1})
    if fate == "unexplained":
        assert unexplained[0][1].endswith("has no verdict, and Airflow has it as %s: marked by hand?" % state)


def test_a_run_without_a_task_instance_is_named(hand, airflow):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:20")
    airflow.ran("a", clock("10:15"), state="missing", verdict=False)
    assert findings(hand)[::2] == (1, [
        ("10:15", "Airflow made the run scheduled__2025-06-02T10:15:00+00:00 without a task instance")])


@pytest.mark.parametrize("value", [3, "text", {}, {"task": "a"}, {"task": "b", "status": "success"}, [None]])
def test_a_verdict_that_is_none_explains_nothing(hand, airflow, value):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:20")
    airflow.ran("a", clock("10:15"))["verdict"] = value
    assert findings(hand)[2] == [
        ("10:15", "the verdict of the run scheduled__2025-06-02T10:15:00+00:00 is damaged")]


def test_a_failed_run_whose_verdict_is_damaged_is_not_taken_for_one_that_never_started(hand, airflow):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:20")
    airflow.ran("a", clock("10:15"), state="failed")["verdict"] = "text"
    assert findings(hand)[::2] == (1, [
        ("10:15", "the verdict of the run scheduled__2025-06-02T10:15:00+00:00 is damaged")])


@pytest.mark.parametrize("is_judged", [True, False])
def test_a_run_that_is_had_run_again_during_the_audit_is_open(hand, airflow, is_judged):
    moved(hand, airflow, "10:00", "10:05", "10:10", "10:15")
    airflow.cleared.append(airflow.ran("a", clock("10:20"), verdict=is_judged))
    assert findings(hand) == (0, {"success": 4, "open": 1}, [])


def test_a_dag_that_is_stale_still_answers_for_its_slots(hand, airflow):
    moved(hand, airflow, "10:00", "10:05", "10:15")
    airflow.stale.add("a")
    assert findings(hand)[::2] == (1, [("10:10", "no result was recorded")])


def test_a_paused_dag_answers_for_its_slots_until_the_last_one(hand, airflow):
    moved(hand, airflow, "10:00", "10:05")
    airflow.paused["a"] = True
    assert findings(hand) == (0, {"success": 2}, [])


def test_a_schedule_that_was_changed_is_asked_from_then_on(hand, airflow):
    moved(hand, airflow, "10:01", "10:03", "10:05", "10:10", "10:15", "10:20")
    assert findings(hand) == (0, {"success": 4}, [])


def test_a_slot_whose_window_is_closed_is_open_until_then(hand, airflow):
    moved(hand, airflow, "10:00", "10:05")
    hand.configure(dict(EVERY, only_between="09:00-10:08"))
    assert findings(hand) == (0, {"success": 2, "open": 2, "due": 1}, [])


def test_a_task_without_a_zone_has_that_of_airflow(hand, airflow, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    hand.configure({"name": "a", "command": "true", "schedule": "0 12 * * *"}, timezone=None)
    airflow.schedules(START, beat=clock("10:22"))
    airflow.ran("a", clock("10:00"))
    hand.move(clock("10:22"))
    monkeypatch.setenv("SYMPHONY_ZONE", "Europe/Paris")
    assert findings(hand) == (0, {"success": 1}, [])
    monkeypatch.setenv("SYMPHONY_ZONE", "UTC")
    assert findings(hand) == (0, {}, [])


@pytest.mark.parametrize("spans, gaps", [
    ([], []), ([(0, 100)], []), ([(0, 100), (150, 300)], []), ([(0, 100), (200, 300)], [(100, 200)]),
    ([(0, 500), (50, 100), (700, 800)], [(500, 700)]), ([(200, 300), (0, 100)], [(100, 200)]),
    ([(0, 10), (100, 120), (200, 300)], [(50, 100), (120, 200)]), ([(-100, -50), (20, 300)], [])])
def test_the_times_without_a_scheduler(spans, gaps):
    assert list(engine.gaps_between(spans, 50)) == gaps


def test_a_scheduler_that_ended_ran_until_its_end_and_one_that_was_killed_until_its_last_beat():
    class Said:
        @staticmethod
        def pages(path, key, **_query):
            day = "2025-06-02T%s:00.123456Z"
            return {"dags": [{"dag_id": "a", "is_paused": False}], "jobs": [
                {"start_date": day % "10:00", "latest_heartbeat": day % "10:20", "end_date": day % "10:30"},
                {"start_date": day % "11:00", "latest_heartbeat": day % "11:10", "end_date": None},
                {"start_date": day % "11:30", "latest_heartbeat": day % "11:40", "end_date": None}]}[path]

    witness = engine.read_witness(Said(), 0)
    assert [[sc.iso(moment)[11:16] for moment in gap] for gap in witness.gaps] == [
        ["10:30", "11:00"], ["11:10", "11:30"]]
    assert (sc.iso(witness.heartbeat), witness.paused) == ("2025-06-02T11:40:00Z", {"a": False})


def test_many_runs_are_read_page_by_page(hand, airflow):
    hand.configure(dict(EVERY, schedule="* * * * *"))
    airflow.schedules(START, beat=clock("11:40"))
    airflow.page = 7
    for minute in range(100):
        airflow.ran("a", clock("%02d:%02d" % (10 + minute // 60, minute % 60)))
    hand.move(clock("11:40"))
    assert findings(hand) == (0, {"success": 100, "due": 1}, [])


# -- moving over and back

def history_here(hand, *minutes):
    """The root runs the task at these slots."""
    for minute in minutes:
        hand.tick("2025-06-02T%s:01Z" % minute)
        hand.tick("2025-06-02T%s:30Z" % minute)


@pytest.fixture
def over_and_back(hand, airflow):
    hand.move("2025-06-02T09:56:00Z")
    hand.configure(EVERY)
    hand.tick()
    history_here(hand, "10:00", "10:05")
    hand.move("2025-06-02T10:06:00Z")
    assert hand.call("pause", "--all", "--reason", "moved to Airflow")[0] == 0
    hand.tick("2025-06-02T10:06:30Z")
    airflow.schedules(clock("10:06"), beat=clock("10:32"))
    for slot in ("10:10", "10:15", "10:20"):
        airflow.ran("a", clock(slot))
        hand.tick("2025-06-02T%s:30Z" % slot)
    airflow.paused["a"] = True
    hand.move("2025-06-02T10:22:00Z")
    assert hand.call("resume", "--all")[0] == 0
    history_here(hand, "10:25", "10:30")
    hand.move(clock("10:32"))
    return hand


def test_moving_over_and_back_shows_each_slot_once(over_and_back):
    assert over_and_back.started == ["a@2025-06-02T%s:00Z" % slot for slot in ("10:00", "10:05", "10:25", "10:30")]
    assert findings(over_and_back) == (0, {"success": 7}, [])


def test_a_slot_that_both_ran_is_an_error(over_and_back, airflow):
    airflow.ran("a", clock("10:25"))
    assert findings(over_and_back) == (1, {"success": 6, "double": 1}, [
        ("10:25", "1 result recorded here, and 1 by Airflow")])


def test_a_slot_between_the_two_is_named_as_what_nobody_ran(over_and_back, airflow):
    del airflow.runs[0]
    assert findings(over_and_back) == (0, {"success": 6, "skipped_paused": 1}, [])
    del airflow.runs[-1]
    assert findings(over_and_back) == (0, {"success": 5, "skipped_paused": 2}, [])


def test_a_slot_in_the_midst_of_airflows_time_is_not_taken_for_paused(over_and_back, airflow):
    del airflow.runs[1]
    assert findings(over_and_back) == (1, {"success": 6, "unexplained": 1}, [("10:15", "no result was recorded")])


def test_a_slot_that_this_root_lost_is_not_taken_for_airflows(over_and_back):
    for path in (over_and_back.root / "status/history").glob("*.jsonl"):
        lines = path.read_text().splitlines(True)
        path.write_text("".join(line for line in lines if '"scheduled_for": "%s"' % clock("10:05") not in line))
    assert findings(over_and_back)[::2] == (1, [("10:05", "no result was recorded")])


def test_a_task_that_was_removed_since_answers_for_its_slots_here(over_and_back):
    here = json.loads(over_and_back.call("audit", "--json")[1])["fates"]
    over_and_back.configure({"name": "b", "command": "true"})
    over_and_back.tick()
    code, fates, unexplained = findings(over_and_back)
    assert (code, unexplained) == (0, []) and fates["success"] == here["success"] == 4


# -- troubles

def refused(hand, *args):
    code, out, err = hand.call("audit", "--engine", "airflow", *args)
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err, err
    return code, err


def test_a_token_is_sent_or_got_by_user_and_password(hand, airflow, monkeypatch):
    moved(hand, airflow, "10:20")
    monkeypatch.setenv("SYMPHONY_AIRFLOW_USER", "ann")
    monkeypatch.setenv("SYMPHONY_AIRFLOW_PASSWORD", "pass")
    assert findings(hand)[0] == 0
    monkeypatch.setenv("SYMPHONY_AIRFLOW_PASSWORD", "wrong")
    code, err = refused(hand)
    assert code == 74 and "HTTP status 401 (set SYMPHONY_AIRFLOW_TOKEN, or " in err and "wrong" not in err
    monkeypatch.setenv("SYMPHONY_AIRFLOW_TOKEN", "secret")
    assert findings(hand)[0] == 0
    monkeypatch.setenv("SYMPHONY_AIRFLOW_TOKEN", "secret\r\n")  # as read from a file
    assert findings(hand)[0] == 0
    monkeypatch.setenv("SYMPHONY_AIRFLOW_TOKEN", "hidden")
    code, err = refused(hand)
    assert code == 74 and "hidden" not in err
    assert "HTTP status 401 (SYMPHONY_AIRFLOW_TOKEN is wrong or has expired: set it to a new one)" in err


@pytest.mark.parametrize("token", ["hidden token", "hidden\ntoken", "hidden\u00e9"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(hand, airflow, monkeypatch, token):
    hand.configure(EVERY)
    monkeypatch.setenv("SYMPHONY_AIRFLOW_TOKEN", token)
    code, err = refused(hand)
    assert code == 2 and "SYMPHONY_AIRFLOW_TOKEN is not a token" in err and "hidden" not in err
    assert airflow.asked == []


def test_a_redirect_takes_the_token_to_no_other_host(hand, airflow, monkeypatch):
    hand.configure(EVERY)
    heads = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heads.append(self.headers.get("Authorization"))
            self.send_response(401)
            self.end_headers()

        def log_message(self, *args):
            pass

    with contextlib.closing(http.server.HTTPServer(("127.0.0.1", 0), Elsewhere)) as other:
        other.close = other.server_close
        thread = threading.Thread(target=other.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        airflow.location = "http://127.0.0.1:%d/api/v2/dags" % other.server_port
        monkeypatch.setenv("SYMPHONY_AIRFLOW_TOKEN", "secret")
        assert refused(hand)[0] == 74
        other.shutdown()
        thread.join(10)
    assert heads == [None]
    airflow.location = "https://127.0.0.1/"
    assert "redirects /api/v2/dags elsewhere: HTTP status 307 (set SYMPHONY_AIRFLOW_URL to the" in refused(hand)[1]


@pytest.mark.parametrize("url, code, words", [
    (None, 2, "SYMPHONY_AIRFLOW_URL is not set (set it to the address"),
    ("ftp://x", 2, "is not an http or https address"),
    ("http://127.0.0.1:9/", 69, "cannot be reached: Connection refused")])
def test_an_address_that_is_none_or_where_nobody_answers(hand, airflow, monkeypatch, url, code, words):
    hand.configure(EVERY)
    monkeypatch.delenv("SYMPHONY_AIRFLOW_URL")
    if url:
        monkeypatch.setenv("SYMPHONY_AIRFLOW_URL", url)
    assert refused(hand)[0] == code and words in refused(hand)[1]


def test_a_proxy_that_does_not_answer_is_named(hand, airflow, monkeypatch):
    moved(hand, airflow, "10:20")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    code, err = refused(hand)
    assert code == 69 and "Connection refused (by the proxy in http_proxy: is that right? see no_proxy)" in err
    assert airflow.asked == []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert findings(hand)[0] == 0


def test_an_address_with_a_path_is_asked_below_it(hand, airflow, monkeypatch):
    moved(hand, airflow, "10:20")
    reply = airflow.reply

    def below(path, headers):
        assert path.startswith("/team/airflow/")
        return reply(path[len("/team/airflow"):], headers)

    monkeypatch.setattr(airflow, "reply", below)
    monkeypatch.setenv("SYMPHONY_AIRFLOW_URL", airflow.url + "/team/airflow/")
    assert findings(hand)[0] == 0


@pytest.mark.parametrize("answer, words", [
    ((500, "oops"), "HTTP status 500"), ((404, "{}"), "HTTP status 404 (is this Airflow 3, and"),
    ((200, "<html>"), "is not what Airflow 3 answers"), ((200, "[]"), "is not what Airflow 3 answers"),
    ((200, "{}"), "is not what Airflow 3 answers"), ((200, '{"access_token": 3}'), "is not what Airflow 3 answers"),
    ((200, "[" * 100000), "is not what Airflow 3 answers")])
def test_an_answer_that_is_not_airflows_is_an_error_and_no_audit(hand, airflow, answer, words):
    hand.configure(EVERY)
    airflow.answer = answer
    code, err = refused(hand)
    assert code == 74 and words in err


@pytest.mark.parametrize("path, entry", [
    ("dags", 3), ("dags", {}), ("dagRuns", None), ("dagRuns", {"dag_id": "a"}), ("taskInstances", {"dag_id": 3}),
    ("taskInstances", {"dag_id": "a", "dag_run_id": "x", "state": []}), ("xcomEntries", []), ("jobs", "x"),
    ("taskInstances", {"dag_id": "a", "dag_run_id": "x", "try_number": "x"})])
def test_an_entry_that_is_not_airflows_is_an_error_and_no_audit(hand, airflow, monkeypatch, path, entry):
    moved(hand, airflow, "10:20")
    document = airflow.document

    def damaged(asked, query):
        answer = document(asked, query)
        if asked.endswith("/" + path):
            (key,) = set(answer) - {"total_entries"}
            answer[key] = [entry]
        return answer

    monkeypatch.setattr(airflow, "document", damaged)
    code, err = refused(hand)
    assert code == 74 and "is not what Airflow 3 answers" in err


def test_a_server_that_does_not_answer_in_time_is_one_that_cannot_be_reached(airflow, monkeypatch):
    monkeypatch.setattr(engine, "REQUEST_S", 0.2)
    reply = airflow.reply
    waits = threading.Event()
    monkeypatch.setattr(airflow, "reply", lambda *args: waits.wait(10) and reply(*args))
    with pytest.raises(sc.UnavailableError) as caught:
        engine.Airflow.of_environment({"SYMPHONY_AIRFLOW_URL": airflow.url})
    waits.set()
    assert "cannot be reached" in str(caught.value)


def test_a_server_that_answers_byte_by_byte_is_not_waited_for_without_an_end(monkeypatch):
    monkeypatch.setattr(engine, "REQUEST_S", 1.0)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    is_over = threading.Event()

    def dribble():
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        try:
            while not is_over.wait(0.1):
                connection.sendall(b" ")
        except OSError:
            pass
        connection.close()

    server = threading.Thread(target=dribble)
    server.start()
    last = threading.Timer(15, is_over.set)  # one that is waited for ends all the same
    last.start()
    began = time.monotonic()
    try:
        with pytest.raises(sc.UnavailableError, match="no answer within 1 s"):
            engine.Airflow("http://127.0.0.1:%d" % listener.getsockname()[1], "x").get("dags")
    finally:
        last.cancel()
        is_over.set()
        server.join()
        listener.close()
    assert time.monotonic() - began < 14
