#!/usr/bin/env python3
"""Print metrics in the Prometheus text format.

Example: symphony_conductor.py metrics --output /var/lib/node_exporter/symphony.prom

node_exporter's textfile collector reads such files. With "metrics_file" in the settings, the
conductor keeps one current by itself. Alert rules and a dashboard are in config/prometheus/.

Each series has the label root, the folder of the conductor, so that several of them on one machine
do not collide, and those of a task have the label task. A series is missing where there is no
value: a task that never succeeded has no last success.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # ticks load this file, and typing takes longer than all the rest
    from typing import Any, Dict, List

if "symphony_conductor" not in sys.modules:  # it is there when the conductor loads this file
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402

# Metric -> type and help text. The help of a metric must not change from one version to the next:
# node_exporter refuses files that differ in it, and a machine may have two versions.
METRICS = {
    "symphony_build_info": (
        "gauge", "The conductor's version, as a label; always 1."),
    "symphony_last_tick_timestamp_seconds": (
        "gauge", "When the last tick was."),
    "symphony_config_valid": (
        "gauge", "Whether the configuration has no problem."),
    "symphony_task_enabled": (
        "gauge", "Whether the task is enabled in the configuration."),
    "symphony_task_paused": (
        "gauge", "Whether the task is paused, by itself or with all others."),
    "symphony_task_running": (
        "gauge", "Whether a run of the task is going on."),
    "symphony_task_unkillable": (
        "gauge", "Whether processes of the task's run should have ended and cannot be killed."),
    "symphony_task_overdue": (
        "gauge", "Whether the task should have started and nothing else explains why it has not."),
    "symphony_task_last_success_timestamp_seconds": (
        "gauge", "When the newest successful run ended."),
    "symphony_task_last_start_timestamp_seconds": (
        "gauge", "When the newest run started."),
    "symphony_task_last_end_timestamp_seconds": (
        "gauge", "When the newest run that ended did so."),
    "symphony_task_last_duration_seconds": (
        "gauge", "How long the newest run that ended took."),
    "symphony_task_last_exit_code": (
        "gauge", "The exit code of the newest run that ended."),
    "symphony_task_next_slot_timestamp_seconds": (
        "gauge", "The first slot of the task that no tick has decided yet."),
    "symphony_task_interval_seconds": (
        "gauge", "The longer one of the two periods between slots that are current."),
    "symphony_task_grace_seconds": (
        "gauge", "How long after a slot a success may come: a full timeout and all retry delays."),
    "symphony_task_consecutive_failures": (
        "gauge", "How many slots in a row failed, up to now."),
    "symphony_task_verdicts_total": (
        "counter", "What became of the task's slots and runs, by verdict."),
}
ALWAYS_COUNTED = ("success", "failed")  # from 0 on, so that the first one is an increase

ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"))  # the backslash first


def label_value(text: str) -> str:
    """A label's value as the exposition format has it, in quotes.

    It is UTF-8 there: what no encoding has decoded, of a folder's name, is shown as \\udcXX.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    for character, escape in ESCAPES:
        text = text.replace(character, escape)
    return '"%s"' % text


def render(config: "sc.Config", state: "sc.State", now: float, last_tick: "float | None",
           is_valid: bool, root: str) -> str:
    """The metrics of a root. Times are epoch seconds; `is_valid`: the configuration is."""
    common = "{root=" + label_value(root)
    samples: "Dict[str, List[str]]" = {name: [] for name in METRICS}
    samples["symphony_build_info"].append(
        "%s,version=%s} 1" % (common, label_value(sc.__version__)))
    samples["symphony_config_valid"].append("%s} %d" % (common, is_valid))
    if last_tick is not None:
        samples["symphony_last_tick_timestamp_seconds"].append(
            "%s} %s" % (common, number(last_tick)))
    overdue = overdue_tasks(config, state, now, last_tick, root)
    names = list(config.tasks) + [name for name in config.invalid if name not in config.tasks]
    for name in names:
        task_state = state.tasks.get(name, sc.TaskState())
        labels = "%s,task=%s" % (common, label_value(name))
        values = state_values(task_state)
        if name in config.tasks:
            values.update(task_values(config.tasks[name], state, now, last_tick))
            values["overdue"] = int(name in overdue)
        end = labels + "} "
        for key, value in values.items():
            if value is not None:
                samples["symphony_task_" + key].append(end + number(value))
        totals = {**dict.fromkeys(ALWAYS_COUNTED, 0), **task_state.totals}
        samples["symphony_task_verdicts_total"] += [
            "%s,verdict=%s} %d" % (labels, label_value(verdict), count)
            for verdict, count in totals.items()]
    lines = []
    for name, (kind, text) in METRICS.items():
        if samples[name]:
            lines += ["# HELP %s %s" % (name, text), "# TYPE %s %s" % (name, kind)]
            lines += [name + sample for sample in samples[name]]
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """A value of a sample; a count or a whole number of seconds without a point."""
    if value == int(value):
        value = int(value)
    return repr(value)


def state_values(state: "sc.TaskState") -> "Dict[str, Any]":
    """What the state knows of a task, by the metric's name without its beginning; None: nothing."""
    run, last = state.run, state.last
    started_at: "float | None" = sc.from_iso(last.get("started_at"))
    if run is not None:
        started_at = run.started_at
    return {
        "running": int(run is not None),
        "unkillable": int(run is not None and bool(run.unended)),
        "consecutive_failures": state.consecutive_failures,
        "last_success_timestamp_seconds": last_success(state),
        "last_start_timestamp_seconds": started_at,
        "last_end_timestamp_seconds": sc.from_iso(last.get("ended_at")),
        "last_duration_seconds": last.get("duration_s"),
        "last_exit_code": last.get("exit_code")}


def last_success(state: "sc.TaskState") -> "float | None":
    """When the newest successful run ended; of a state by an older version, if it was the last."""
    if state.last_success:
        return state.last_success
    if state.last.get("status") == "success":
        return sc.from_iso(state.last.get("ended_at"))
    return None


def task_values(task: "sc.Task", state: "sc.State", now: float,
                last_tick: "float | None") -> "Dict[str, Any]":
    """The same of what follows from the configuration."""
    return {
        "enabled": int(task.enabled),
        "paused": int(sc.pause_document(state, task) is not None),
        "next_slot_timestamp_seconds": sc.undecided_slot(task, state, last_tick, now),
        "interval_seconds": interval_of(task, now),
        "grace_seconds": sc.grace_of(task)}


def interval_of(task: "sc.Task", now: float) -> "int | None":
    """The longer one of the period that `now` lies in and of the one before it, in seconds.

    Of a schedule on weekdays, that is three days on a Monday, and one day on a Wednesday. Slots on
    days off are none: after a week of holidays, no success is a week late.
    """
    following, newest = sc.slot_after(task, now), sc.slot_until(task, now)
    if following is None or newest is None:
        return None
    earlier = sc.slot_until(task, newest - 1)
    if earlier is None:
        return following - newest
    return max(following - newest, newest - earlier)


def overdue_tasks(config: "sc.Config", state: "sc.State", now: float, last_tick: "float | None",
                  root: str) -> "frozenset[str]":
    """The tasks that health calls overdue, as `status` does."""
    machine = sc.Machine(now=now, last_tick=last_tick, root=root)
    return frozenset(finding.task for finding in sc.examine(config, state, machine)
                     if finding.code == "overdue")


def cmd_metrics(store: "sc.Store", args: "Any") -> int:
    config, broken = store.config_in_force()
    if config is None:
        raise sc.ConfigError(broken)
    state, notes, _ = store.read_state()
    is_valid = not broken and all(problem.warning for problem in config.problems)
    text = render(config, state, sc.Clock().now(), store.last_tick(), is_valid, store.root)
    data = text.encode("utf-8", "replace")
    if args.output:
        sc.write_public(args.output, data)
    else:
        sys.stdout.flush()
        sc.write_all(1, data)
    for note in notes:
        sc.warn(note)
    return sc.EXIT_IOERR if notes else sc.EXIT_OK


OPTIONS = (
    sc.option("--output", metavar="FILE",
              help="write to FILE, which is replaced as a whole (default: stdout)"),)

if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_metrics)
