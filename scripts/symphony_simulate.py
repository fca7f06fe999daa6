#!/usr/bin/env python3
"""Forecast the schedules: delays, overlaps, skipped runs.

Example: symphony_conductor.py simulate --days 30 --config draft.json

The decisions of the coming days are made as the ticks will make them. Every run is taken to
succeed, after as long as the task's runs of the last week took on average, failed ones included; a
task that never ran is taken to use up its timeout. Nothing is started or written.
"""

import argparse
import os
import sys
from typing import Dict, List, Sequence, Tuple

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402


class Forecast(sc.Value):
    """What a simulation saw of one task. Delays are seconds from a slot to its start."""

    task: str = ""
    runs: int = 0
    delays: "List[float]" = []
    overlaps: int = 0
    late: int = 0
    stranded: int = 0       # slots that waited for a dependency until the next one came
    days_off: int = 0       # slots on days off (not_on), which are meant to be skipped
    duration_s: float = 0.0
    is_guess: bool = False  # it never ran: its timeout is used as its duration


def simulate(config: sc.Config, durations: "Dict[str, float]", now: float,
             days: float) -> "List[Forecast]":
    """Replay the schedules from now on, every run a success that takes its duration in seconds.

    The decisions are those of `decide`, with a tick a minute and one at each end; a task without a
    duration takes as long as its timeout allows. Returns a forecast a task.
    """
    forecasts = {name: Forecast(task=name, delays=[], is_guess=name not in durations,
                                duration_s=durations.get(name, task.timeout))
                 for name, task in config.tasks.items()}
    state, agenda = sc.State(), None
    facts = sc.Facts(boot_id="simulated")
    ends: "Dict[str, float]" = {}  # task -> when its run ends
    at = float(int(now))
    while at <= now + days * sc.DAY:
        decision = sc.decide(config, state, at, facts.replace(runs=_run_facts(ends, at)), at,
                             agenda=agenda)
        ends = {name: end for name, end in ends.items() if end > at}
        is_first = not state.tasks
        state, agenda = decision.state.replace(pending=[]), decision.agenda
        if is_first:
            # What was due before counts as done, or a daily task would wait a week for a weekly
            # dependency that ran long ago.
            state = state.replace(tasks={name: task_state.replace(satisfied_until=int(at))
                                         for name, task_state in state.tasks.items()})
        for task, run in decision.starts:
            forecast = forecasts[task.name]
            forecast.delays.append(at - (run.slot or at))
            forecasts[task.name] = forecast.replace(runs=forecast.runs + 1)
            ends[task.name] = at + max(forecast.duration_s, 0.001)
        for verdict in decision.records:
            _count_skip(forecasts, verdict)
        at = _next_moment(config, state, ends, at)
    return list(forecasts.values())


def _run_facts(ends: "Dict[str, float]", at: float) -> "Dict[str, sc.RunFact]":
    facts = {}
    for name, end in ends.items():
        kind = "ended" if end <= at else "held"
        result: "sc.Result" = {"status": "success", "ended_at": end, "exit_code": 0}
        facts[name] = sc.RunFact(kind=kind, result=result)
    return facts


SKIP_FIELDS = {"skipped_overlap": "overlaps", "skipped_late": "late",
               "skipped_dependency": "stranded", "skipped_not_on": "days_off"}


def _count_skip(forecasts: "Dict[str, Forecast]", verdict: "sc.Verdict") -> None:
    field = SKIP_FIELDS.get(verdict["status"])
    if field:
        forecast = forecasts[verdict["task"]]
        forecasts[verdict["task"]] = forecast.replace(**{field: getattr(forecast, field) + 1})


def _next_moment(config: sc.Config, state: sc.State, ends: "Dict[str, float]", at: float) -> float:
    """When something happens next: a run ends, or a tick sees the next slot or deadline."""
    seen_by_ticks = []
    for name, task_state in state.tasks.items():
        task = config.tasks[name]
        deadline = task.start_deadline
        if task_state.next_slot is not None:
            seen_by_ticks.append(task_state.next_slot)
        if task_state.cycle is None or task_state.run is not None:
            continue
        if deadline is not None:
            seen_by_ticks.append(int(task_state.cycle.slot + deadline + 1))
        if sc.start_time(task, at) > at:
            seen_by_ticks.append(int(sc.start_time(task, at)))
    moments = list(ends.values())
    if seen_by_ticks:
        moments.append(float(sc.first_tick_after(min(seen_by_ticks))))
    return max(min(moments, default=float("inf")), at + 0.001)


SKIP_TEXTS = (
    ("overlaps", "previous run still going"),
    ("late", "start_deadline would pass in the queue"),
    ("stranded", "dependency not met before the next slot"),
)


def simulation_text(forecasts: "Sequence[Forecast]", days: float) -> str:
    """A simulation for people, the tasks that would have trouble first."""
    troubled = [forecast for forecast in forecasts
                if forecast.overlaps or forecast.late or forecast.stranded]
    verdict = "no run would be skipped"
    if troubled:
        verdict = "%s would skip runs" % sc.plural(len(troubled), "task")
    runs = sum(forecast.runs for forecast in forecasts)
    lines = ["%s in %s; %s" % (sc.plural(runs, "run"), sc.plural(int(days), "day"), verdict), ""]

    heads = ("TASK", "RUNS", "TAKES", "DELAY", "LONGEST", "OVERLAPS", "LATE", "STRANDED")
    rows: "List[Tuple[str, ...]]" = [heads]
    rows += [_forecast_row(forecast) for forecast in troubled]
    rows += [_forecast_row(forecast) for forecast in forecasts if forecast not in troubled]
    lines.append(sc.columns(rows))
    if any(forecast.is_guess for forecast in forecasts):
        lines += ["", "?: a guess: it never ran, so its timeout is used as its duration"]
    for forecast in troubled:
        for field, reason in SKIP_TEXTS:
            count = getattr(forecast, field)
            if count:
                lines.append("  ! %s: %s skipped: %s" % (
                    forecast.task, sc.plural(count, "run"), reason))
    lines += ["  - %s: %s on days off (not_on)" % (
        forecast.task, sc.plural(forecast.days_off, "slot"))
        for forecast in forecasts if forecast.days_off]
    return "\n".join(lines)


def _forecast_row(forecast: Forecast) -> "Tuple[str, ...]":
    takes = sc.duration_text(forecast.duration_s)
    if forecast.is_guess:
        takes += "?"
    delays = sorted(forecast.delays) or [0.0]
    median_s, longest_s = delays[len(delays) // 2], delays[-1]
    return (forecast.task, str(forecast.runs), takes, sc.duration_text(median_s),
            sc.duration_text(longest_s), str(forecast.overlaps), str(forecast.late),
            str(forecast.stranded))


RECENT_DAYS = 7
RECENT_RUNS = 20  # of each task, the newest count


def usual_durations(store: sc.Store, state: sc.State, now: float) -> "Dict[str, float]":
    """How long a run of each task takes, in seconds, by all the runs that came to an end.

    A task without a run in the last days takes what the state has of it. Raises StorageError.
    """
    taken: "Dict[str, List[float]]" = {}
    for verdict in store.verdicts(now - RECENT_DAYS * sc.DAY, newest_first=True):
        runs = taken.setdefault(verdict["task"], [])
        attempts = [verdict] + list(reversed(verdict.get("attempts") or []))
        runs += [attempt.get("duration_s") or 0.0 for attempt in attempts
                 if attempt["status"] in ("success", "failed", "timeout")]
        del runs[RECENT_RUNS:]
    durations = {}
    for name in {*taken, *state.tasks}:
        runs, task_state = taken.get(name, []), state.tasks.get(name, sc.TaskState())
        if runs:
            durations[name] = sum(runs) / len(runs)
        elif task_state.usual_s:
            durations[name] = task_state.usual_s
        elif task_state.last:
            durations[name] = task_state.last.get("duration_s") or 0.0
    return durations


FORECAST_KEYS = ("task", "runs", "delays", "overlaps", "late", "stranded", "days_off", "duration_s",
                 "is_guess")


def cmd_simulate(store: sc.Store, args: "argparse.Namespace") -> int:
    config = store.read_config()
    state = store.read_state()[0]
    now = sc.Clock().now()
    forecasts = simulate(config, usual_durations(store, state, now), now, args.days)
    if args.json:
        sc.print_json([{key: getattr(forecast, key) for key in FORECAST_KEYS}
                       for forecast in forecasts])
    else:
        sc.print_line(simulation_text(forecasts, args.days))
    for problem in config.problems:
        sc.warn(str(problem))
    return sc.EXIT_CONFIG if config.problems else sc.EXIT_OK


OPTIONS = (
    sc.option("--days", type=sc.count_option, default=7, metavar="N",
              help="how far ahead to look (default: 7)"),
    sc.JSON_OPTION)

if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_simulate)
