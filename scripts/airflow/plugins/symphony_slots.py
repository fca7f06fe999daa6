"""What a run on Airflow has to decide: the conductor's own planning, for one task at a time.

Each DAG run of a task is one look at it, as a tick is one look at all tasks. What the task
remembers from one to the next (`Memory`) is kept by whoever calls; nothing here reads a clock or
knows Airflow.
"""

import json
import os
import re
import sys
from typing import Any, Dict, List, Optional

sys.path.append(os.environ.get("SYMPHONY_HOME") or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))

import symphony_conductor as sc  # noqa: E402

MEMORY_VERSION = 1
SURPRISE_S = 10 * sc.MINUTE  # a task that is new here starts no slot that is older than this
MOVE_S = sc.DAY              # but so long after SYMPHONY_SINCE, every one since then
REPLAYED_MOST = 2000         # slots that are looked at one by one; the older ones merge
NO_LIMIT = 1 << 30
COUNTED_FROM = 1735689600    # 2025-01-01: by hundredths of a second from then, numbers stay small
WAITING = "waiting"          # the status of a look after which a slot is still open
SHARED = ("satisfied_until", "success_seq", "cursor", "last_success")  # what a dependent asks
LOST = "its process is gone (a worker was killed or lost, or Airflow gave the run up)"
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
CLOSED = "Airflow ended its run %s before its own end was recorded"


class Memory(sc.Value):
    """What a task remembers from one look to the next."""

    state: "sc.TaskState" = sc.TaskState()
    last_now: float = 0.0           # when it was last looked at
    runs_started: int = 0
    holder: str = ""                # the DAG run that the open attempt belongs to
    clears: int = 0                 # how often a person had had that run run again
    is_handed_on: bool = False      # whether the next DAG run takes the open slot over
    ended: "Dict[str, Any]" = {}    # the DAG run that ended last, its status, reason and verdicts
    pending: "List[Any]" = []       # verdicts that are perhaps not published yet
    seen: "Dict[str, Any]" = {}     # what the dependencies had done at the last look

    @property
    def is_open(self) -> bool:
        """Whether an attempt is not at its end, or another one is to follow."""
        cycle = self.state.cycle
        return self.state.run is not None or (cycle is not None and cycle.phase == "retrying")

    def document(self) -> "Dict[str, Any]":
        """The memory as JSON."""
        fields = dict(self.stored(), version=MEMORY_VERSION, by=sc.__version__)
        fields["state"] = json.loads(json.dumps(self.state, default=sc.dump_value))
        return fields


def memory_of(document: "Any", place: str) -> Memory:
    """The memory that a document holds; a new one from None.

    Raises ConductorError for what cannot be read: that a slot is decided would be forgotten.
    """
    if document is None:
        return Memory()
    sc.check_version(document, MEMORY_VERSION, place)
    try:
        fields = {key: value for key, value in document.items() if key not in ("version", "by")}
        fields["state"] = sc.load_value(sc.TaskState, fields.get("state", {}))
        for key, value in fields.items():
            kinds = type(getattr(Memory, key))  # type: Any
            if kinds is float:
                kinds = (int, float)
            if not isinstance(value, kinds):
                raise TypeError("%s is of another type" % key)
    except (AttributeError, TypeError, ValueError) as error:
        raise sc.ConductorError(
            "%s: what the task remembers cannot be read: %s" % (place, error),
            "delete it in Airflow's asset store to let the task count its slots from now")
    return Memory(**fields)


def storable(value: "Any") -> "Any":
    """A value in whose texts there is nothing that a database refuses, as the output of a command
    may have it: NUL, and half of a surrogate pair."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {key: storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return value


def needed_tasks(config: "sc.Config", name: str) -> "List[str]":
    """The tasks whose successes the dependencies of a task are judged by.

    A task without a schedule answers for its own dependencies as well.
    """
    needed = []  # type: List[str]
    stack = list(config.tasks[name].dependencies)
    while stack:
        current = stack.pop()
        if current in needed or current == name:
            continue
        needed.append(current)
        task = config.tasks.get(current)
        if task is not None and task.schedule is None:
            stack.extend(task.dependencies)
    return sorted(needed)


class Look:
    """One look at a task: what became of its slots, and whether its command is to start.

    `others` are the memories of the tasks in `needed_tasks`; None for one that was never looked at.
    """

    def __init__(self, config: "sc.Config", name: str, memory: Memory,
                 others: "Dict[str, Optional[Memory]]", holder: str, clears: int = 0) -> None:
        task = config.tasks[name].replace(enabled=True, locks=())  # pausing and pools are Airflow's
        self.config = config.replace(
            tasks=dict(config.tasks, **{name: task}), enable_notifications=False,
            max_concurrent_tasks=NO_LIMIT)
        self.name, self.task, self.holder, self.clears = name, task, holder, clears
        self.memory = memory
        self.others = {key: value.state for key, value in others.items() if value is not None}
        self.own = memory.state if memory.last_now else None  # type: Optional[sc.TaskState]
        self.last_now = memory.last_now
        self.runs_started = memory.runs_started
        self.rows = list(memory.pending)  # type: List[Any]
        self.run = None  # type: Optional[sc.Run]
        self.is_handed_on = False
        self.ended = memory.ended

    # -- what there is to decide

    def look(self, now: float, opened_at: float, since: float = 0.0,
             is_same_run: bool = False) -> "Optional[sc.Run]":
        """Decide at `now`: the run to start, or None.

        `opened_at` is when the DAG run began: what was due by then was missed, and merges. Later
        slots came while it waited, as behind a run that is still going. `since`: no older slot of
        a task that is new here is started.
        """
        self._begin(now, opened_at, since)
        is_busy = self.own is not None and (
            self.own.run is not None or self._phase() == "retrying")
        self._replay(self.last_now if is_busy else opened_at, now)
        self._settle_lost(now, is_same_run)
        decision = self._decide(now, 1)
        for _task, run in decision.starts:
            self.run = run
        return self.run

    def begin_by_hand(self, now: float, since: float = 0.0,
                      slot: "Optional[int]" = None) -> "sc.Run":
        """Start at once, whatever the schedule and the dependencies say."""
        self._begin(now, now, since)
        self._settle_lost(now, False)
        self._replay(now, now)
        state, run = sc.begin_manual(self._state(now), self.task, now, slot)
        self._take(state)
        self.run = run
        return run

    def give_up(self, now: float) -> None:
        """Record the loss of a run by hand, which no second attempt follows."""
        self._settle_lost(now, False)

    def end(self, result: "Any", now: float) -> "Optional[float]":
        """Record how the run ended: the seconds until the next attempt, or None without one."""
        assert self.own is not None and self.own.run is not None
        ended_at = min(float(result["ended_at"]), now)
        self._replay(self.last_now, ended_at)
        self._settle(max(ended_at, self.last_now), "ended", dict(result, ended_at=ended_at))
        cycle = self.own.cycle
        if cycle is None or cycle.phase != "retrying":
            return None
        start = sc.start_time(self.task, max(cycle.retry_at, now))
        if start > max(cycle.retry_at, now):  # the window closes: its opening is another run
            self.is_handed_on = True
        return max(0.0, start - now)

    # -- the steps

    def _begin(self, now: float, opened_at: float, since: float) -> None:
        """Let the slots of a task that is new here count, and none that were somebody else's."""
        schedule, zone = self.task.schedule, self.task.timezone
        if self.own is None:
            changed_at = self.task.changed_at or now
            # Whoever moves over may take longer than SURPRISE_S, and no slot is to be lost by that.
            oldest = since if opened_at - since <= MOVE_S else opened_at - SURPRISE_S
            self.last_now = min(now, max(since, changed_at, oldest))
            self.task = self.task.replace(changed_at=self.last_now)
            self.config.tasks[self.name] = self.task
            self._decide(self.last_now, 0)
        elif schedule is not None and self.own.cursor < since:
            # As when the task moved away, and back.
            self.own = self.own.replace(cursor=int(since), next_slot=schedule.next(since, zone))

    def _phase(self) -> str:
        if self.own is None or self.own.cycle is None:
            return ""
        return self.own.cycle.phase

    def _replay(self, since: float, until: float) -> None:
        """Look at the moments from `since` on at which a tick would have found something new."""
        since = max(since, self.last_now)
        self._end_late_wait(until)
        moments = self._slots_between(since, until)
        if since > self.last_now:
            moments.append(since)
        for moment in sorted(moments):
            if self.last_now <= moment < until:
                self._end_late_wait(moment)
                self._decide(moment, 0)

    def _end_late_wait(self, until: float) -> None:
        """Give up a wait whose start_deadline passed before `until`, as the tick at that time."""
        cycle = self.own.cycle if self.own is not None else None
        if cycle is None or self.task.start_deadline is None:
            return
        if cycle.phase not in ("waiting", "queued"):
            return
        moment = sc.first_tick_after(cycle.slot + self.task.start_deadline + 1)
        if self.last_now <= moment < until:
            own = self.own
            assert own is not None
            self.own = own.replace(next_slot=None)  # whether a newer one was looked at is not known
            self._decide(moment, 0)
            self.own = self.own.replace(next_slot=own.next_slot)

    def _slots_between(self, since: float, until: float) -> "List[float]":
        """The undecided slots from `since` to before `until`, those on days off as well."""
        schedule, zone = self.task.schedule, self.task.timezone
        found = []  # type: List[float]
        if schedule is None:
            return found
        cursor = self.own.cursor if self.own is not None else since
        slot = schedule.previous(until - 1, zone)
        while slot is not None and slot >= since and slot > cursor and len(found) < REPLAYED_MOST:
            found.append(float(slot))
            slot = schedule.previous(slot - 1, zone)
        return found

    def _settle_lost(self, now: float, is_same_run: bool) -> None:
        """Give up what an earlier DAG run, or an earlier try of this one, left open."""
        if self.own is None:
            return
        if self.own.run is not None:
            result = {"status": "interrupted", "exit_code": None, "ended_at": now, "reason": LOST}
            if not is_same_run:  # Airflow will not come back to it
                result["reason"] = CLOSED % self.memory.holder
            self._settle(now, "ended", result, retries=is_same_run)
        cycle = self.own.cycle
        if cycle is None or cycle.phase != "retrying":
            return
        if is_same_run:
            # Airflow has waited: it counts from the end of the try, which it may know better.
            self.own = self.own.replace(cycle=cycle.replace(retry_at=min(cycle.retry_at, now)))
        elif not self.memory.is_handed_on:
            decision = sc.stop_waiting(self.config, self._state(now), self.name, now,
                                       CLOSED % self.memory.holder)
            self._take(decision.state)
            self._note(decision.records)

    def _settle(self, now: float, kind: str, result: "Any", retries: bool = True) -> None:
        config = self.config
        if not retries:
            task = self.task.replace(retry_count=0)
            config = config.replace(tasks=dict(config.tasks, **{self.name: task}))
        self._decide(now, 0, sc.RunFact(kind=kind, result=result), config, settle_only=True)

    def _decide(self, now: float, room: int, fact: "Optional[sc.RunFact]" = None,
                config: "Optional[sc.Config]" = None, settle_only: bool = False) -> "sc.Decision":
        config = (config or self.config).replace(max_concurrent_tasks=room and NO_LIMIT)
        state = self._state(now)
        runs = {}
        if self.own is not None and self.own.run is not None:
            runs[self.name] = fact or sc.RunFact(kind="held")
        is_active = self.own is not None and (self.own.run is not None or
                                              self.own.cycle is not None)
        one = frozenset((self.name,))
        # The agenda names this task alone: the others are decided by their own looks.
        agenda = sc.Agenda(config=config, tasks=state.tasks, pauses=state.pauses, made_at=now,
                           active=tuple(one) if is_active else (), due=one, unchecked=one,
                           dependents={})
        decision = sc.decide(config, state, now, sc.Facts(runs=runs), settle_only=settle_only,
                             agenda=agenda)
        self._take(decision.state)
        self._note(decision.records)
        self.last_now = max(self.last_now, now)
        return decision

    def _state(self, now: float) -> "sc.State":
        """The conductor's state, as far as this task has to do with it."""
        tasks = {name: self._seen(name, state, now) for name, state in self.others.items()}
        if self.own is not None:
            tasks[self.name] = self.own
        # Successes are numbered by their time: no two machines count together.
        return sc.State(tasks=tasks, last_now=self.last_now, runs_started=self.runs_started,
                        seq=max(0, int((now - COUNTED_FROM) * 100) - 1))

    def _seen(self, name: str, state: "sc.TaskState", now: float) -> "sc.TaskState":
        """A dependency as it was at `now`: a success that came later does not count yet."""
        if state.last_success <= now:
            return state
        return state.replace(**dict({"satisfied_until": None, "success_seq": 0, "cursor": 0},
                                    **self.memory.seen.get(name, {})))

    def _take(self, state: "sc.State") -> None:
        self.own = state.tasks[self.name]
        self.runs_started = state.runs_started

    def _note(self, records: "List[Any]") -> None:
        for record in records:
            if record["task"] == self.name and not record.get("interim"):
                record = dict(record)
                if record.get("run_id"):
                    record["run_id"] = self.holder_of(record)
                self.rows.append(record)

    def holder_of(self, record: "Any") -> str:
        """The DAG run that a verdict's run belongs to."""
        return self.holder if self.run is not None else self.memory.holder or self.holder

    # -- what comes of it

    def remembered(self) -> Memory:
        """The memory after this look."""
        seen = {}
        for name, state in self.others.items():
            seen[name] = {field: getattr(state, field) for field in SHARED}
        assert self.own is not None
        return Memory(state=self.own, last_now=self.last_now, runs_started=self.runs_started,
                      holder=self.holder, clears=self.clears, is_handed_on=self.is_handed_on,
                      ended=self.ended, pending=list(self.rows), seen=seen)

    def success(self) -> "Dict[str, Any]":
        """What the event of a success tells."""
        assert self.own is not None
        return {"satisfied_until": self.own.satisfied_until,
                "ended_at": self.own.last.get("ended_at")}

    def standing(self, now: float) -> "Dict[str, Any]":
        """The row of a look that started nothing and leaves a slot open, or found none."""
        cycle = self.own.cycle if self.own is not None else None
        slot, reason = None, "no slot is due"
        if cycle is not None:
            slot = cycle.slot
            if cycle.waiting_for:
                tasks = self._state(now).tasks
                reason = "waits for '%s': %s" % (cycle.waiting_for, sc.explain_unmet(
                    self.config, tasks, cycle.waiting_for, cycle.slot))
            elif sc.start_time(self.task, now) > now:
                reason = "waits for %s%s" % (sc.iso(sc.start_time(self.task, now)),
                                             sc.window_words(self.task, now))
        return {"task": self.name, "status": WAITING, "scheduled_for": sc.iso(slot),
                "started_at": None, "ended_at": sc.iso(now), "duration_s": 0, "exit_code": None,
                "attempt": 0, "trigger": "schedule", "run_id": self.holder, "log": None,
                "output_tail": "", "reason": reason}


def next_slot(schedule: "Optional[sc.CronSchedule]", zone: "Optional[str]", cursor: float,
              now: float, is_queued: bool = False) -> "Optional[int]":
    """The slot that runs next after `cursor`: of those that are due the newest.

    With `is_queued` (overlap "queue") the one before it: two may be left, one to run and one
    behind it, and each needs a DAG run.
    """
    slot = None
    if schedule is not None:
        slot = schedule.next(cursor, zone)
    if schedule is None or slot is None or slot > now:
        return slot
    newest = schedule.previous(now, zone) or slot
    if is_queued:
        newest = schedule.previous(newest - 1, zone) or slot
    return max(slot, newest)


def next_look(window: "Optional[sc.Window]", slot: "Optional[int]",
              cursor: float) -> "Optional[int]":
    """When the next run by time is due: at `slot`, or when the window opens for what waits."""
    if window is None:
        return slot
    was_open = window.is_open(cursor)
    last = int(cursor) + 2 * sc.DAY  # what has not opened by then is never closed
    if slot is not None:
        last = min(slot, last)
    for at in range(int(cursor) // sc.MINUTE * sc.MINUTE + sc.MINUTE, last, sc.MINUTE):
        is_open = window.is_open(at)
        if is_open and not was_open:
            return at
        was_open = is_open
    return slot


def zone_of(task: "sc.Task") -> "Optional[str]":
    """The zone of a task: every machine of the cluster has to have the same."""
    return task.timezone or os.environ.get("SYMPHONY_ZONE") or None


def taken_over_at() -> float:
    """SYMPHONY_SINCE: slots up to then are somebody else's; 0 if it is not set.

    Raises ConductorError.
    """
    text = os.environ.get("SYMPHONY_SINCE", "")
    since = None  # type: Optional[int]
    try:
        if text and (text.endswith("Z") or text[-6:-5] in "+-"):
            since = sc.from_iso(text)
    except ValueError:
        pass
    if text and since is None:
        raise sc.ConductorError("SYMPHONY_SINCE: '%s' is no time with a zone" % text,
                                "write it as 2025-06-02T10:00:00Z")
    return float(since or 0)


def read_config(root: str) -> "sc.Config":
    """The configuration of a project, each task with its zone; it has the problems of single tasks.

    Raises ConfigError where it cannot be used as a whole: what could be made of it all the same
    lacks tasks that nobody removed.
    """
    config = sc.Store(root).read_config()
    tasks = {name: task.replace(timezone=zone_of(task)) for name, task in config.tasks.items()}
    return config.replace(tasks=tasks)


def root_of_project() -> str:
    """The root of the project whose tasks become DAGs. Raises ConductorError."""
    root = os.environ.get("SYMPHONY_ROOT", "")
    if not root:
        raise sc.ConductorError("SYMPHONY_ROOT is not set",
                                "set it to the folder that holds config/conductor_config.json")
    return os.path.abspath(root)
