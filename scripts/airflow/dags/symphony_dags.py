"""One DAG for each task of conductor_config.json, with the slots and the rules of the conductor."""

from __future__ import annotations

import datetime
import functools
import importlib.util
import operator
import os
import sys
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, get_parsing_context

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(HERE, "plugins"))

import symphony_slots as slots  # noqa: E402
from symphony_operator import SPARE_TRIES, SymphonyOperator, SymphonyRetries, asset_of  # noqa: E402
from symphony_timetable import SymphonyTimetable  # noqa: E402

import symphony_conductor as sc  # noqa: E402

HIGHEST_PRIORITY = 10000
# Before any slot: Airflow makes a DAG run without its task for a slot before it, and the slot would
# be lost. Since when slots count is for the timetable to say, and for the operator.
START_DATE = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


def load_engine() -> Any:
    """engine.py, under a name that no other module has."""
    spec = importlib.util.spec_from_file_location(
        "symphony_engine", os.path.join(HERE, "engine.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def schedule_of(task: sc.Task) -> Any:
    """What starts the DAG: the slots of the task, and each success of a dependency."""
    timetable = None
    if task.schedule is not None or task.only_between:
        text = task.schedule.text if task.schedule else ""
        timetable = SymphonyTimetable(
            text, task.name, task.timezone, task.only_between or "", task.overlap == "queue",
            slots.taken_over_at(), task.changed_at or 0.0)
    if not task.dependencies:
        return timetable
    assets = functools.reduce(operator.or_, [asset_of(name) for name in task.dependencies])
    if timetable is None:
        return assets
    return AssetOrTimeSchedule(timetable=timetable, assets=assets)


def dag_of(config: sc.Config, task: sc.Task, root: str, pool: str) -> DAG:
    """The DAG of a task: one run at a time, and in it one task instance that never waits."""
    dag = DAG(
        dag_id=task.name, schedule=schedule_of(task), start_date=START_DATE, catchup=False,
        max_active_runs=1, description=task.description or None,
        tags=sorted({"symphony", *task.tags}),
        # Else as [core] dags_are_paused_at_creation says, which a move over needs.
        is_paused_upon_creation=None if task.enabled else True)
    SymphonyOperator(
        task_id="run", dag=dag, root=root, task_name=task.name, pool=pool,
        owner=task.owner or "symphony", retries=task.retry_count + SPARE_TRIES,
        # Of a try that Airflow itself ends, as when its worker was lost; else see SymphonyRetries.
        retry_delay=datetime.timedelta(seconds=task.retry_delay if task.retry_count else 10),
        retry_policy=SymphonyRetries(), weight_rule="absolute",
        max_active_tis_per_dag=1,  # a backfill does not count as an active run
        priority_weight=max(1, HIGHEST_PRIORITY - task.order),
        # Its own too: what a task remembers is kept by its asset, and Airflow deletes that with an
        # asset that nothing refers to. A DAG that is not there for a while, as when its folder
        # was away, loses its outlets and its schedule, but not its inlets.
        inlets=[asset_of(name) for name in [task.name, *slots.needed_tasks(config, task.name)]],
        outlets=[asset_of(task.name)])
    return dag


def make_dags() -> dict[str, DAG]:
    """The DAGs by their names; what is wrong with single tasks is printed, and those are left out.

    Raises ConductorError, which Airflow shows as an import error.
    """
    engine, root = load_engine(), slots.root_of_project()
    config = slots.read_config(root)
    for problem in config.problems:
        print("symphony: %s" % problem, file=sys.stderr)
    # A process that runs one task needs its DAG alone.
    wanted = get_parsing_context().dag_id
    return {task.name: dag_of(config, task, root, engine.pool_of(config, task))
            for task in config.tasks.values()
            if engine.is_hosted(task) and wanted in (None, task.name)}


for name, dag in make_dags().items():
    globals()["dag_" + name] = dag
