"""What a configuration becomes on Apache Airflow, and what Airflow says of its runs.

Standard library only: neither the checks nor the audit need an installation of Airflow.
"""

import json
import os
import re
import sys
from http.client import HTTPException
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple
from urllib import error, request
from urllib.parse import quote, urlencode, urlsplit

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import symphony_conductor as sc  # noqa: E402

# -- pools

POOL = "symphony"             # of the tasks without a lock
LOCK_POOL = "symphony_lock_"  # and the name of a lock: of the tasks that have it


def is_hosted(task: "sc.Task") -> bool:
    """Whether the task becomes a DAG: a cluster has no boot that `@reboot` could mean."""
    return task.schedule is None or not task.schedule.reboot


def _lock_groups(config: "sc.Config") -> "Dict[str, str]":
    """By lock: the first in sorted order of those that tasks connect with it, itself included.

    A task instance has one pool: two locks of one task need to be the same pool.
    """
    first: "Dict[str, str]" = {}
    for task in config.tasks.values():
        if not is_hosted(task):
            continue
        joined = set(task.locks) | {first[lock] for lock in task.locks if lock in first}
        if joined:
            name = min(joined)
            for lock in [lock for lock in first if first[lock] in joined] + list(task.locks):
                first[lock] = name
    return first


def pool_of(config: "sc.Config", task: "sc.Task") -> str:
    """The name of the pool that the task runs in."""
    if not task.locks:
        return POOL
    return LOCK_POOL + _lock_groups(config)[task.locks[0]]


def pools(config: "sc.Config") -> "Dict[str, int]":
    """The slots of each pool that the tasks need, by its name."""
    slots = {POOL: config.max_concurrent_tasks}
    for name in sorted(set(_lock_groups(config).values())):
        slots[LOCK_POOL + name] = 1
    return slots


def tasks_in(config: "sc.Config", pool: str) -> "List[str]":
    """The tasks that run in a pool, in the order of the configuration."""
    return [task.name for task in config.tasks.values()
            if is_hosted(task) and pool_of(config, task) == pool]


def pools_document(config: "sc.Config") -> "Dict[str, Dict[str, Any]]":
    """What `airflow pools import` takes."""
    document = {}
    for name, slots in pools(config).items():
        text = "max_concurrent_tasks"
        if name != POOL:
            locks = {lock for task in tasks_in(config, name) for lock in config.tasks[task].locks}
            text = sc.plural(len(locks), "lock") + ": " + ", ".join(sorted(locks))
        document[name] = {"slots": slots, "description": text[:256], "include_deferred": False}
    return document


# -- what has no home

# What becomes of a field or a setting there. A test fails when the core has one that is missing.
HOLDS = "holds"      # as here
DIFFERS = "differs"  # in a way that is told by the manual only
WARNED = "warned"    # `check --engine airflow` warns of it where it is set
REFUSED = "refused"  # and this it refuses

FIELDS: "Dict[str, Tuple[str, str]]" = {
    "name": (HOLDS, "the DAG's name"),
    "command": (HOLDS, "run by runner.py on the worker"),
    "schedule": (REFUSED, "@reboot is refused: a cluster does not boot; all others hold"),
    "dependencies": (HOLDS, "a success is an asset event, and starts what waits for it"),
    "timeout": (HOLDS, "TERM, kill_grace, KILL, to the whole tree"),
    "retry_count": (HOLDS, "the retries of the task instance"),
    "retry_delay": (HOLDS, "the retry_delay of the task instance"),
    "retry_backoff": (HOLDS, "the delay of each retry as here"),
    "enabled": (WARNED, "false only pauses the DAG when it is new; later,"
                " its switch in Airflow decides"),
    "description": (HOLDS, "the DAG's description"),
    "owner": (HOLDS, "the task's owner"),
    "review_by": (WARNED, "nothing tells that the day has come"),
    "env": (HOLDS, "set by runner.py"),
    "cwd": (HOLDS, "relative to SYMPHONY_ROOT on the worker"),
    "timezone": (WARNED, "a task without one has the zone in SYMPHONY_ZONE,"
                 " else that of each machine"),
    "start_deadline": (HOLDS, "decided when the task instance starts"),
    "overlap": (HOLDS, "max_active_runs is 1; the next run decides about its slot"),
    "kill_grace": (HOLDS, "as timeout"),
    "nice": (HOLDS, "set by runner.py"),
    "max_output_bytes": (HOLDS, "the cut is made by runner.py; what is kept goes to the log"),
    "ping_url": (WARNED, "nothing is sent"),
    "success_exit_codes": (HOLDS, "judged by runner.py"),
    "skip_exit_codes": (HOLDS, "judged by runner.py; the task instance is skipped"),
    "locks": (WARNED, "a pool of one slot; its tasks do not count for max_concurrent_tasks"),
    "condition": (HOLDS, "asked by runner.py"),
    "condition_timeout": (HOLDS, "as condition"),
    "not_on": (HOLDS, "decided when the task instance starts"),
    "only_between": (HOLDS, "decided when the task instance starts"),
    "env_file": (HOLDS, "read by runner.py on the worker"),
    "tags": (HOLDS, "the DAG's tags"),
    "umask": (HOLDS, "set by runner.py"),
    "ionice": (HOLDS, "set by runner.py"),
    "memory_limit": (HOLDS, "set by runner.py"),
    "launcher": (HOLDS, "put before the command by runner.py"),
    "cancel_command": (WARNED, "it is not run for a worker that was lost: its next attempt may meet"
                       " what the launcher started"),
}
SETTINGS: "Dict[str, Tuple[str, str]]" = {
    "max_concurrent_tasks": (DIFFERS, "the slots of the pool symphony: import the pools again"
                             " after a change"),
    "task_timeout_default": (HOLDS, "as timeout"),
    "task_history_retention_days": (WARNED, "runs are kept until `airflow db clean`"),
    "notification_webhook": (WARNED, "nothing is sent"),
    "notification_command": (WARNED, "it is not run"),
    "notification_email": (WARNED, "nothing is sent"),
    "enable_notifications": (DIFFERS, "nothing is sent: see the three settings above"),
    "renotify_hours": (WARNED, "nothing is sent"),
    "timezone": (HOLDS, "as the field"),
    "env": (HOLDS, "as the field"),
    "env_file": (HOLDS, "as the field"),
    "defaults": (HOLDS, "as each field"),
    "log_to": (WARNED, "nothing is written there: Airflow has logs of its own"),
    "metrics_file": (WARNED, "it is not written"),
    "report_file": (WARNED, "it is not written"),
    "launcher": (HOLDS, "as the field"),
    "cancel_command": (HOLDS, "as the field, of which each task that has it is warned"),
}
# What to do instead.
INSTEAD = {
    "schedule": "leave it to systemd or cron of the machine, and remove the task here",
    "enabled": "airflow dags unpause NAME when it is enabled",
    "review_by": "keep it in mind elsewhere",
    "cancel_command": "have the launcher end what lost its client, or set retry_count to 0",
    "ping_url": "let the command call it, or use a callback of Airflow",
    "notification_webhook": "use a callback or an alert of Airflow",
    "notification_command": "use a callback or an alert of Airflow",
    "notification_email": "use a callback or an alert of Airflow",
    "renotify_hours": "use an alert of Airflow",
    "task_history_retention_days": "run `airflow db clean` from time to time",
    "metrics_file": "Airflow has StatsD and OpenTelemetry",
    "report_file": "use Airflow's own pages",
    "log_to": "set [logging] in Airflow",
    "timezone": "set timezone in the settings",
}
NOTIFICATIONS = tuple(sc.NOTIFICATION_TARGETS) + ("renotify_hours",)


def problems(config: "sc.Config") -> "List[sc.Problem]":
    """What of this configuration has no home in Airflow, or another than here."""
    found: "List[sc.Problem]" = []
    for task in config.tasks.values():
        found += _problems_of(task)
    for key, (kind, text) in SETTINGS.items():
        if kind == WARNED and _is_set(config, key) and (
                key not in NOTIFICATIONS or config.enable_notifications):
            found.append(_warning("settings", key, text))
    if any(task.schedule and not task.timezone for task in config.tasks.values()):
        found.append(_warning("settings", "timezone", FIELDS["timezone"][1]))
    return found + list(_pool_warnings(config))


def _is_set(value: "Any", key: str) -> bool:
    """Whether a task or the settings have another value than the default."""
    return bool(getattr(value, key) != getattr(type(value), key))


def _warning(place: str, key: str, text: str, task: str = "", hint: str = "") -> "sc.Problem":
    return sc.Problem(place=place, text="%s: on Airflow, %s" % (key, text), task=task, field=key,
                      hint=hint or INSTEAD.get(key, ""), warning=True)


def _problems_of(task: "sc.Task") -> "Iterator[sc.Problem]":
    if not is_hosted(task):
        yield sc.Problem(place=task.place, task=task.name, field="schedule",
                         text="schedule: @reboot has no meaning on Airflow: a cluster does not"
                         " boot", hint=INSTEAD["schedule"])
        return
    for key, (kind, text) in FIELDS.items():
        if kind == WARNED and key not in ("timezone", "locks") and _is_set(task, key):
            yield _warning(task.place, key, text, task.name)


def _pool_warnings(config: "sc.Config") -> "Iterator[sc.Problem]":
    """What pools do otherwise than locks and the limit of tasks at a time."""
    if len(pools(config)) > 1:
        yield _warning("settings", "max_concurrent_tasks", "tasks with locks do not count for it",
                       hint="each pool of locks runs one of them at a time, beside the others")
    for pool in pools(config):
        names = tasks_in(config, pool)
        if pool == POOL:
            continue
        for name in names[1:]:
            first = config.tasks[names[0]]
            if not set(first.locks) & set(config.tasks[name].locks):
                yield _warning(
                    config.tasks[name].place, "locks", "it never runs beside %s, though they have"
                    " no lock in common: another task joins their locks" % names[0], name,
                    "give each task one lock, or accept it")


# -- the REST API

URL, TOKEN, USER, PASSWORD = ("SYMPHONY_AIRFLOW_URL", "SYMPHONY_AIRFLOW_TOKEN",
                              "SYMPHONY_AIRFLOW_USER", "SYMPHONY_AIRFLOW_PASSWORD")
ZONE = "SYMPHONY_ZONE"  # of the tasks without one, on every machine of Airflow
LOG_IN = "set %s, or %s and %s" % (TOKEN, USER, PASSWORD)
REQUEST_S = 30.0
PAGE = 100  # more, Airflow gives only if [api] maximum_page_limit says so


class Gone(sc.StorageError):
    """What was asked for is not there."""


KEYS = {  # of the entries of each list: those that none lacks
    "dags": ("dag_id",), "dag_runs": ("dag_id", "dag_run_id"), "jobs": (),
    "task_instances": ("dag_id", "dag_run_id"), "xcom_entries": ("dag_id", "run_id")}


def _is_text(value: "Any") -> bool:
    """Whether this is text that an address can hold; JSON can have half a character."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _is_entry(entry: "Any", keys: "Sequence[str]") -> bool:
    """Whether an entry of a list is an object, and what it is sought and judged by is text."""
    if not isinstance(entry, dict) or not isinstance(entry.get("try_number") or 0, int):
        return False
    return all(_is_text(entry.get(key)) for key in keys) and all(
        isinstance(entry.get(key), (str, type(None))) for key in ("run_type", "state"))


class Airflow:
    """What is asked of an Airflow, by its REST API (v2). Raises ConductorError."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.has_own_token = False  # one that the environment gave, which may have expired

    @classmethod
    def of_environment(cls, env: "Mapping[str, str]") -> "Airflow":
        """The one that the environment names, logged in."""
        url = env.get(URL, "")
        if not sc.is_web_address(url):
            wrong = "is not set" if not url else "is not an http or https address"
            raise sc.UsageError("%s %s" % (URL, wrong), "set it to the address of Airflow's API"
                                " server, such as http://127.0.0.1:8080")
        token = env.get(TOKEN, "").strip()
        if not re.match(r"[\x21-\x7e]*\Z", token):
            raise sc.UsageError("%s is not a token: it has a blank, or what is not ASCII" % TOKEN,
                                "set it to the access_token that /auth/token answers with")
        airflow = cls(url, token)
        airflow.has_own_token = bool(token)
        if not airflow.token:
            airflow.log_in(env.get(USER, ""), env.get(PASSWORD, ""))
        return airflow

    def log_in(self, user: str, password: str) -> None:
        """Get a token; one without a user is given where everybody is an admin."""
        body = None
        if user:
            body = {"username": user, "password": password}
        token = self.ask("/auth/token", body).get("access_token")
        if not isinstance(token, str):
            raise self.unfit("/auth/token")
        self.token = token

    def get(self, path: str, **query: "Any") -> "sc.Document":
        """What is at this path below /api/v2/."""
        text = urlencode({key: value for key, value in query.items() if value is not None})
        return self.ask("/api/v2/" + path + ("?" + text if text else ""))

    def pages(self, path: str, key: str, **query: "Any") -> "Iterator[sc.Document]":
        """All entries of a list, page by page."""
        offset = 0
        while True:
            page = self.get(path, limit=PAGE, offset=offset, **query)
            entries = page.get(key)
            if not isinstance(entries, list) or not isinstance(page.get("total_entries"), int):
                raise self.unfit("/api/v2/" + path)
            for entry in entries:
                if not _is_entry(entry, KEYS[key]):
                    raise self.unfit("/api/v2/" + path)
                yield entry
            offset += len(entries)
            if not entries or offset >= page["total_entries"]:
                return

    def ask(self, path: str, body: "sc.Document | None" = None) -> "sc.Document":
        """One request, by POST if it has a body: the answer's JSON object."""
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        try:
            question = request.Request(self.url + path, data, headers)
            if self.token:
                # Not for the host that a redirect may lead to.
                question.add_unredirected_header("Authorization", "Bearer " + self.token)
            # The timeout is that of one read: a server that sends a byte a second never meets it.
            with sc.time_limit(REQUEST_S + 1):
                with sc.web_opener().open(question, timeout=REQUEST_S) as answer:
                    document = json.loads(answer.read().decode("utf-8"))
        except error.HTTPError as problem:
            raise self.refusal(path, problem.code)
        except sc.TimeIsUp:
            raise self.silence("no answer within %d s" % REQUEST_S)
        except error.URLError as problem:
            raise self.silence(str(getattr(problem.reason, "strerror", "") or problem.reason))
        except (OSError, HTTPException) as problem:
            raise self.silence(getattr(problem, "strerror", "") or type(problem).__name__)
        except (ValueError, RecursionError):
            raise self.unfit(path)
        if not isinstance(document, dict):
            raise self.unfit(path)
        return document

    def silence(self, reason: str) -> "sc.ConductorError":
        hint = "is it running? see %s" % URL
        address = urlsplit(self.url)
        if address.scheme in request.getproxies() and not request.proxy_bypass(address.netloc):
            hint = "by the proxy in %s_proxy: is that right? see no_proxy" % address.scheme
        return sc.UnavailableError("Airflow's API server at %s cannot be reached: %s" % (
            self.url, reason), hint)

    def refusal(self, path: str, status: int) -> "sc.ConductorError":
        text, hint = "Airflow's API server refused %s: HTTP status %d", ""
        if status == 401 and self.has_own_token:
            hint = "%s is wrong or has expired: set it to a new one" % TOKEN
        elif status in (401, 403) and not self.has_own_token:
            hint = LOG_IN
        elif status == 403:
            hint = "the user of %s needs to read DAGs, their runs and XComs, and jobs" % TOKEN
        elif status == 404:
            hint = "is this Airflow 3, and %s its base address?" % URL
        elif 300 <= status < 400:
            text = "Airflow's API server redirects %s elsewhere: HTTP status %d"
            hint = "set %s to the address that it leads to, such as one with https" % URL
        kind = Gone if status == 404 else sc.StorageError
        return kind(text % (path.partition("?")[0], status), hint)

    def unfit(self, path: str) -> "sc.ConductorError":
        return sc.StorageError("what Airflow's API server answered to %s is not what Airflow 3"
                               " answers" % path.partition("?")[0], "is %s right?" % URL)


# -- runs to rows of a history

TASK_ID = "run"      # of the one task instance of each DAG run
ROWS_REPEATED = 100  # among so many rows of one task, a row may be there twice
VERDICT = "verdict"  # the XCom with its row, or rows
WAITING = "waiting"  # of a run that only looked: a later one decides about the slot

# What a run stands for that has no verdict, by the state of its task instance. A state that is not
# here can be that of a run which somebody marked by hand: what became of its slot is not known.
ENDED = {"failed": "it never started, or its worker was lost", "removed": "its task was removed",
         "upstream_failed": "it never started"}
MISSING = "missing"  # of a run that Airflow made without a task instance
OPEN = {None: "not scheduled yet", "scheduled": "waits for its pool", "queued": "queued",
        "running": "running", "restarting": "running", "up_for_retry": "waits for its retry",
        "up_for_reschedule": "waits", "deferred": "waits"}


class EngineRun(sc.Value):
    """A DAG run, its task instance, and the rows of its verdict."""

    task: str = ""
    run_id: str = ""
    slot: "int | None" = None      # of a scheduled one
    state: "str | None" = None     # of the task instance
    started_at: "str | None" = None
    ended_at: "str | None" = None
    attempt: int = 0
    is_damaged: bool = False       # it has a verdict that is none
    rows: "Tuple[sc.Verdict, ...]" = ()


def read_runs(airflow: Airflow, since: float, names: "Sequence[str]") -> "List[EngineRun]":
    """The runs of slots from `since` on, of these tasks; Airflow may have DAGs of others."""
    dag, first = quote(names[0]) if len(names) == 1 else "~", sc.iso(since)
    dag_runs = list(airflow.pages("dags/%s/dagRuns" % dag, "dag_runs", run_after_gte=first,
                                  order_by="id"))
    of_runs = "dags/%s/dagRuns/~/taskInstances" % dag
    # Read after the runs: each of them can then have ended meanwhile, and none be missing.
    instances = {(entry["dag_id"], entry["dag_run_id"]): entry
                 for entry in airflow.pages(of_runs, "task_instances", task_id=TASK_ID,
                                            run_after_gte=first, order_by="id")}
    judged = {(entry["dag_id"], entry["run_id"])
              for entry in airflow.pages(of_runs + "/~/xcomEntries", "xcom_entries",
                                         xcom_key=VERDICT, run_after_gte=first)}
    runs = []
    for entry in dag_runs:
        key = entry["dag_id"], entry["dag_run_id"]
        if key[0] not in names:
            continue
        instance, value = instances.get(key, {"state": MISSING}), None
        is_judged = key in judged
        if is_judged:
            try:
                value = read_verdict(airflow, *key)
            except Gone:
                is_judged = False
        if not is_judged and instance.get("state") not in list(ENDED) + list(OPEN):
            # Somebody may have had it run again since, and Airflow drops the verdict then.
            instance = read_instance(airflow, *key)
        runs.append(_run_of(entry, instance, value))
    return runs


def read_instance(airflow: Airflow, dag_id: str, run_id: str) -> "sc.Document":
    """The task instance of a run, as it is by now."""
    path = "dags/%s/dagRuns/%s/taskInstances/%s" % (
        quote(dag_id, ""), quote(run_id, ""), TASK_ID)
    try:
        instance = airflow.get(path)
    except Gone:
        return {"state": MISSING}
    if not _is_entry(instance, KEYS["task_instances"]) or "state" not in instance:
        raise airflow.unfit("/api/v2/" + path)
    return instance


def read_verdict(airflow: Airflow, dag_id: str, run_id: str) -> "Any":
    """The XCom with the verdict of a run."""
    value = airflow.get("dags/%s/dagRuns/%s/taskInstances/%s/xcomEntries/%s" % (
        quote(dag_id, ""), quote(run_id, ""), TASK_ID, VERDICT)).get("value")
    if isinstance(value, str):  # as it is stored
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _run_of(dag_run: "sc.Document", instance: "sc.Document", value: "Any") -> EngineRun:
    slot = None
    if dag_run.get("run_type") == "scheduled":
        slot = _epoch(dag_run.get("logical_date"))
    values = value if isinstance(value, list) else [value]
    if value is None:
        values = []
    rows = [sc.verdict_of(json.dumps(row).encode()) for row in values]
    sound = [row for row in rows if row is not None and row["task"] == dag_run["dag_id"]]
    started_at, ended_at = [_epoch(instance.get(key)) for key in ("start_date", "end_date")]
    return EngineRun(task=dag_run["dag_id"], run_id=dag_run["dag_run_id"], slot=slot,
                     state=instance.get("state"), started_at=sc.iso(started_at),
                     ended_at=sc.iso(ended_at), attempt=instance.get("try_number") or 0,
                     rows=tuple(sound), is_damaged=len(sound) < len(values))


def _epoch(text: "Any") -> "int | None":
    """The epoch second of a time as Airflow writes it, with a fraction."""
    if not isinstance(text, str):
        return None
    try:
        return sc.from_iso(re.sub(r"\.\d+", "", text).replace("+00:00", "Z"))
    except ValueError:
        raise sc.StorageError("what Airflow answers as a time is none: %s" % sc.cut_text(text, 60))


def rows_of(runs: "Iterable[EngineRun]") -> "List[sc.Verdict]":
    """What runs say of their slots, as lines of a history: also that of those without a verdict."""
    rows: "List[sc.Verdict]" = []
    for run in runs:
        for row in run.rows:
            # A run that was cut short repeats what the one before it may not have published.
            if row["status"] != WAITING and row not in rows[-ROWS_REPEATED:]:
                rows.append(row)
    decided = {(row["task"], row.get("scheduled_for")) for row in rows}
    for run in runs:
        slot = sc.iso(run.slot)
        if run.rows or run.state not in ENDED or slot is None or (run.task, slot) in decided:
            continue
        if run.is_damaged:
            continue  # what it had to say is not known
        rows.append({
            "task": run.task, "status": "interrupted", "scheduled_for": slot,
            "started_at": run.started_at, "ended_at": run.ended_at or slot, "run_id": run.run_id,
            "attempt": run.attempt, "trigger": "schedule",
            "reason": "no verdict, and Airflow has it as %s: %s" % (run.state, ENDED[run.state])})
    return rows


def open_slots(runs: "Sequence[EngineRun]") -> "Dict[int, str]":
    """The slots of one task that a run has to decide about yet, and what they wait for."""
    waiting = {sc.from_iso(row.get("scheduled_for")): row.get("reason") or WAITING
               for run in runs for row in run.rows if row["status"] == WAITING}
    decided = [sc.from_iso(row.get("scheduled_for")) or 0 for run in runs for row in run.rows]
    newest = max(decided, default=0)
    # What waited is decided when a later slot is looked at.
    slots = {slot: reason for slot, reason in waiting.items() if slot and slot >= newest}
    for run in runs:
        if run.slot is not None and not run.rows and run.state in OPEN:
            slots[run.slot] = OPEN[run.state]
    return slots


# -- the audit

class Witness(sc.Value):
    """What Airflow says of itself: which DAGs it runs, and when no scheduler did."""

    paused: "Dict[str, bool]" = {}               # by DAG
    gaps: "Tuple[Tuple[float, float], ...]" = ()
    heartbeat: "int | None" = None               # of the scheduler, the newest

    def gaps_until(self, now: float) -> "List[Tuple[float, float]]":
        """The gaps, with the one that goes on: what is due in it is not decided, and never late."""
        gaps = list(self.gaps)
        if self.heartbeat is not None and now - self.heartbeat > sc.TICK_STALE_S:
            gaps.append((float(self.heartbeat), now))
        return gaps

    @property
    def undecided(self) -> str:
        """Why slots after the newest heartbeat have no verdict."""
        if self.heartbeat is None:
            return "no scheduler of Airflow has run yet"
        return "no scheduler of Airflow since %s" % sc.iso(self.heartbeat)


def read_witness(airflow: Airflow, since: float) -> Witness:
    """What Airflow says of itself."""
    # A DAG that the DAG processor has not seen for a while is stale, and still answers for its
    # runs.
    paused = {dag["dag_id"]: dag.get("is_paused") is True
              for dag in airflow.pages("dags", "dags", exclude_stale="false")}
    spans = []
    for job in airflow.pages("jobs", "jobs", job_type="SchedulerJob"):
        start = _epoch(job.get("start_date"))
        end = _epoch(job.get("end_date")) or _epoch(job.get("latest_heartbeat"))
        if start and end:
            spans.append((start, end))
    return Witness(paused=paused, gaps=tuple(gaps_between(spans, since)),
                   heartbeat=max((end for _, end in spans), default=None))


def gaps_between(spans: "Iterable[Tuple[int, int]]",
                 since: float) -> "Iterator[Tuple[float, float]]":
    """The times from `since` on in which none of these was, if longer than a minute."""
    reach = None
    for start, end in sorted(spans):
        if reach is not None and start > reach + sc.MINUTE and start > since:
            yield float(max(reach, int(since))), float(start)
        reach = max(reach or end, end)


def audited_slots(snapshot: "sc.Snapshot", since: float, now: float,
                  only: str = "") -> "Tuple[List[sc.Slot], List[sc.Event]]":
    """The slots from `since` on, by the histories here and in Airflow, and Airflow's gaps."""
    airflow = Airflow.of_environment(os.environ)
    witness = read_witness(airflow, since)
    runs_of: "Dict[str, List[EngineRun]]" = {}
    names = [name for name in snapshot.config.tasks
             if only in ("", name) and name in witness.paused]
    for run in read_runs(airflow, since, names) if names else ():
        runs_of.setdefault(run.task, []).append(run)
    here = LocalHistory(snapshot, since, now, only)
    slots: "List[sc.Slot]" = []
    # A task that is no longer in the configuration has slots here to answer for.
    for name in dict.fromkeys([*snapshot.config.tasks, *here.state.tasks, *here.events]):
        if only in ("", name):
            task = snapshot.config.tasks.get(name) or sc.Task(name=name)
            task = task.replace(timezone=task.timezone or os.environ.get(ZONE) or None)
            runs, paused = runs_of.get(name, []), witness.paused.get(name, True)
            was_there = bool(runs) and ran_before(airflow, name, since)
            stretch = stretch_of(task, runs, paused, since if was_there else None, now)
            slots += audited(task, runs, stretch, witness, here, since)
    gaps: "List[sc.Event]" = [
        {"event": "gap", "since": sc.iso(start), "at": sc.iso(end), "cause": "engine"}
        for start, end in witness.gaps_until(now)]
    return slots, gaps


def ran_before(airflow: Airflow, name: str, since: float) -> bool:
    """Whether Airflow ran a slot of this task before that time."""
    return bool(airflow.get("dags/%s/dagRuns" % quote(name), limit=1, run_type="scheduled",
                            run_after_lt=sc.iso(since)).get("total_entries"))


class LocalHistory:
    """What the history of this root says of the slots of each task."""

    def __init__(self, snapshot: "sc.Snapshot", since: float, now: float, only: str) -> None:
        self.state, self.now = snapshot.state, now
        self.gaps: "List[Tuple[float, float]]" = []
        self.zone_changed_at = 0.0
        self.decided_until = (snapshot.last_tick or 0) - sc.TICK_STALE_S
        self.verdicts: "Dict[str, List[sc.Verdict]]" = {}
        for verdict in snapshot.verdicts(since, only):
            self.verdicts.setdefault(verdict["task"], []).append(verdict)
        self.events: "Dict[str, List[Tuple[str, float, sc.ScheduleChange]]]" = {}
        for event in snapshot.events:
            kind, at = event["event"], float(sc.from_iso(event["at"]) or 0)
            if kind == "gap":
                self.gaps.append((float(sc.from_iso(event["since"]) or 0), at))
            elif kind == "rezoned":
                self.zone_changed_at = max(self.zone_changed_at, at)
            for name, facts in event.get("tasks", {}).items():
                self.events.setdefault(name, []).append((kind, at, facts))

    def state_of(self, name: str) -> "sc.TaskState":
        return self.state.tasks.get(name, sc.TaskState())

    def periods(self, name: str) -> "List[sc.Period]":
        """The stretches in which this root ran the task."""
        return sc.periods_of(self.events.get(name, ()), self.state_of(name), self.now)

    def rests(self, name: str) -> "Iterator[sc.Period]":
        """Those in which it did not, because somebody paused it here."""
        periods = self.periods(name)
        starts = [period.start for period in periods[1:]] + [self.now]
        for period, start in zip(periods, starts):
            if period.ended_by == "paused":
                yield period.replace(start=period.end, end=start, is_open=False)

    def jumps(self, name: str) -> "List[Tuple[int, int]]":
        return [(sc.from_iso(facts["since"]) or 0, sc.from_iso(facts["was"]) or 0)
                for kind, _, facts in self.events.get(name, ()) if kind == "clock"]


def stretch_of(task: "sc.Task", runs: "Sequence[EngineRun]", paused: bool,
               begun: "float | None", now: float) -> "sc.Period | None":
    """The stretch in which Airflow ran the task by its present schedule.

    It begins with the first slot of a run, or at `begun`, and ends with the last one if the DAG is
    paused.
    """
    slots = sorted(run.slot for run in runs if run.slot is not None)
    if task.schedule is None or not slots:
        return None
    start = slots[0] - 1.0 if begun is None else begun
    for row in rows_of(runs):
        slot = sc.from_iso(row.get("scheduled_for"))
        if slot is not None and task.schedule.previous(slot, task.timezone) != slot:
            start = max(start, float(slot))  # it is one of an earlier schedule
    return sc.Period(start=start, end=float(slots[-1]) if paused else now, key=task.schedule_key,
                     is_open=not paused)


def audited(task: "sc.Task", runs: "Sequence[EngineRun]", stretch: "sc.Period | None",
            witness: Witness, here: LocalHistory, since: float) -> "Iterator[sc.Slot]":
    """The slots of one task, each once: first those that are this root's to answer for."""
    name, merges, pending = task.name, merges_of(task, runs, witness), open_slots(runs)
    local, remote = here.verdicts.get(name, []), rows_of(runs)
    for row in remote:
        first = merges.get(sc.from_iso(row.get("scheduled_for")) or 0)
        if first is not None and not row.get("merged_since"):
            row["merged_since"] = sc.iso(first)
    state = sc.TaskState()
    for slot_at in pending:
        if slot_at in merges:
            state = state.replace(cycle=sc.Cycle(slot=slot_at, merged_since=merges[slot_at]))
    ours = sc.Ledger(local + remote, here.state_of(name), here.jumps(name), here.decided_until,
                     "no tick of this root since then")
    theirs = sc.Ledger(local + remote, state, here.jumps(name),
                       (witness.heartbeat or 0) - sc.TICK_STALE_S,
                       witness.undecided)
    theirs.open.update(pending)
    ours.open.update(pending)
    seen = set()
    for slot in _candidates(name, ours, theirs, stretch, witness, here, since):
        if slot.at in seen:
            continue
        seen.add(slot.at)
        if slot.fate == "double":
            count = sum(row.get("scheduled_for") == sc.iso(slot.at) for row in local)
            slot = slot.replace(reason="%s recorded here, and %d by Airflow" % (
                sc.plural(count, "result"), len(ours.by_slot[slot.at]) - count))
        elif slot.fate == "unexplained" and sc.start_time(task, slot.at) > theirs.decided_until:
            slot = slot.replace(fate="open", reason="waits for its window")
        elif slot.fate == "unexplained":
            slot = slot.replace(reason=_trace(slot, runs) or slot.reason)
        yield slot


def _candidates(name: str, ours: "sc.Ledger", theirs: "sc.Ledger",
                stretch: "sc.Period | None", witness: Witness, here: LocalHistory,
                since: float) -> "Iterator[sc.Slot]":
    yield from sc.audit(name, here.periods(name), ours, here.gaps, since, here.zone_changed_at)
    if stretch is not None:
        yield from sc.audit(name, [stretch], theirs, witness.gaps, since, 0.0)
    # What is left came while the task was paused here, and Airflow ran it not yet, or no more.
    for slot in sc.audit(name, here.rests(name), theirs, (), since, here.zone_changed_at):
        if slot.fate in ("unexplained", "due"):
            slot = slot.replace(fate="skipped_paused",
                                reason="paused here, and not run by Airflow")
        yield slot


def merges_of(task: "sc.Task", runs: "Sequence[EngineRun]",
              witness: Witness) -> "Dict[int, int]":
    """The first slot after each gap, and the first of those that came in the gap."""
    merges = {}
    for start, _ in witness.gaps:
        later = [run.slot for run in runs if run.slot is not None and run.slot > start]
        first = task.schedule.next(start, task.timezone) if task.schedule else None
        if later and first is not None and first < min(later):
            merges[min(later)] = first
    return merges


def _trace(slot: "sc.Slot", runs: "Sequence[EngineRun]") -> str:
    """What there is of a slot that nothing explains."""
    for run in runs:
        if run.is_damaged and run.slot == slot.at:
            return "the verdict of the run %s is damaged" % run.run_id
        if run.slot == slot.at and not run.rows:
            if run.state == MISSING:
                return "Airflow made the run %s without a task instance" % run.run_id
            return "the run %s has no verdict, and Airflow has it as %s: marked by hand?" % (
                run.run_id, run.state)
        for row in run.rows:
            if row["status"] == WAITING and row.get("scheduled_for") == sc.iso(slot.at):
                return "the run %s left it waiting, and no later one decided" % run.run_id
    return ""
