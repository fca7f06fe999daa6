#!/usr/bin/env python3
"""Forecast the schedules: delays, overlaps, skipped runs.

    symphony_conductor.py simulate [--days N] [--config FILE] [--json]

The decisions of the coming days are made as the ticks will make them, with every run a success that takes as long as
it usually does. Nothing is started or written.
"""

import argparse
import os
import sys
from typing import Any, Dict, List, Sequence

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402


class Forecast(sc.Value):
    """What a simulation saw of one task. Delays are seconds from a slot to its start."""

    task: str = ""
    runs: int = 0
    delays: "List[float]" = []
    overlaps: int = 0
    late: int = 0
    stranded: int = 0     # slots that waited for a dependency until the next one came
    duration_s: float = 0.0
    is_guess: bool = False  # no run of it is known: its timeout stands for the duration


def simulate(config: sc.Config, durations: "Dict[str, float]", now: float, days: float) -> "List[Forecast]":
    """Replay the schedules from now on, with these durations and every run a success: a forecast a task.

    The decisions are those of `decide`, with a tick a minute and one at each end; a task without a duration takes
    as long as its timeout lets it.
    """
    seen = {name: Forecast(task=name, delays=[], duration_s=durations.get(name, task.timeout),
                           is_guess=name not in durations) for name, task in config.tasks.items()}
    state, ends = sc.State(), {}  # type: sc.State, Dict[str, float]
    facts = sc.Facts(boot_id="simulated")
    at, end = float(int(now)), now + days * sc.DAY
    while at <= end:
        over = {name for name, when in ends.items() if when <= at}
        runs = {name: sc.RunFact(kind="ended" if name in over else "held",
                              result={"status": "success", "ended_at": ends[name], "exit_code": 0}) for name in ends}
        for name in over:
            del ends[name]
        decision = sc.decide(config, state, at, facts.replace(runs=runs), at)
        first, state = not state.tasks, decision.state.replace(pending=[])
        if first:  # what was due before counts as done: a weekly dependency is not waited for until its next week
            state = state.replace(tasks={name: known.replace(satisfied_until=int(at))
                                         for name, known in state.tasks.items()})
        for task, run in decision.starts:
            ends[task.name] = at + max(seen[task.name].duration_s, 0.001)
            seen[task.name] = _seen_start(seen[task.name], at - (run.slot or at))
        for record in decision.records:
            _count_skip(seen, record)
        at = _next_moment(config, state, ends, at)
    return list(seen.values())


def _seen_start(forecast: Forecast, delay_s: float) -> Forecast:
    forecast.delays.append(delay_s)
    changed: Forecast = forecast.replace(runs=forecast.runs + 1)
    return changed


SKIPS_COUNTED = {"skipped_overlap": "overlaps", "skipped_late": "late", "skipped_dependency": "stranded"}


def _count_skip(seen: "Dict[str, Forecast]", record: "Dict[str, Any]") -> None:
    field = SKIPS_COUNTED.get(record["status"])
    if field:
        forecast = seen[record["task"]]
        seen[record["task"]] = forecast.replace(**{field: getattr(forecast, field) + 1})


def _next_moment(config: sc.Config, state: sc.State, ends: "Dict[str, float]", at: float) -> float:
    """When something happens next: a run ends, or the tick comes that sees the next slot or deadline."""
    moments = [known.next_slot for known in state.tasks.values() if known.next_slot is not None]
    for name, known in state.tasks.items():
        deadline = config.tasks[name].start_deadline
        if known.cycle is not None and known.run is None and deadline is not None:
            moments.append(int(known.cycle.slot + deadline + 1))
    ticks = [moment + -moment % sc.MINUTE for moment in moments]
    return max(min(list(ends.values()) + [float(tick) for tick in ticks] + [float("inf")]), at + 0.001)


def simulation_text(forecasts: "Sequence[Forecast]", days: float) -> str:
    """What a simulation found, the tasks that would have trouble first."""
    rows = [("TASK", "RUNS", "TAKES", "DELAY", "LONGEST", "OVERLAPS", "LATE", "STRANDED")]
    troubled = [each for each in forecasts if each.overlaps or each.late or each.stranded]
    for each in troubled + [each for each in forecasts if each not in troubled]:
        delays = sorted(each.delays) or [0.0]
        rows.append((each.task, str(each.runs), sc.duration_text(each.duration_s) + ("?" if each.is_guess else ""),
                     sc.duration_text(delays[len(delays) // 2]), sc.duration_text(delays[-1]), str(each.overlaps), str(each.late),
                     str(each.stranded)))
    lines = ["%s in %s; %s" % (sc.plural(sum(each.runs for each in forecasts), "run"), sc.plural(int(days), "day"),
                                    "no slot would be lost" if not troubled else
                                    "%s would lose slots" % sc.plural(len(troubled), "task")), "", sc.columns(rows)]
    if any(each.is_guess for each in forecasts):
        lines += ["", "?: no run is known; its timeout stands for what it takes"]
    for each in troubled:
        for count, text in ((each.overlaps, "%s: %s skipped, because the run before would still be going"),
                            (each.late, "%s: %s skipped, because the start_deadline would pass in the queue"),
                            (each.stranded, "%s: %s skipped, because a dependency would not be done by its next slot")):
            if count:
                lines.append("  ! " + text % (each.task, sc.plural(count, "slot")))
    return "\n".join(lines)


def cmd_simulate(store: sc.Store, args: "argparse.Namespace") -> int:
    config = store.read_config()
    known = {name: state.usual_s for name, state in store.read_state()[0].tasks.items() if state.usual_s}
    forecasts = simulate(config, known, sc.Clock().now(), args.days)
    if args.json:
        sc.print_json([{field: getattr(forecast, field) for field in (
            "task", "runs", "delays", "overlaps", "late", "stranded", "duration_s", "is_guess")}
                  for forecast in forecasts])
    else:
        sc.print_line(simulation_text(forecasts, args.days))
    for problem in config.problems:
        sc.warn(str(problem))
    return sc.EXIT_CONFIG if config.problems else sc.EXIT_OK


OPTIONS = (
    sc.option("--days", type=sc.count_option, default=7, metavar="N", help="how far ahead to look (default: 7)"),
    sc.option("--json", action="store_true"))

if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_simulate)
