"""The timetable of a task on Airflow: the slots of the conductor's own schedules."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

import pendulum
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import symphony_slots as slots  # noqa: E402

import symphony_conductor as sc  # noqa: E402


def moment(at: float) -> pendulum.DateTime:
    """An instant as Airflow has it."""
    return pendulum.from_timestamp(at, tz="UTC")


class SymphonyTimetable(Timetable):
    """Runs of a task at the slots of its schedule; those that were missed merge into the newest.

    They count from `changed_at` on, when the file that holds the task changed, and never up to
    `since`. Where the task has a window, each opening of it has a run too, for what waits for that.
    """

    def __init__(self, schedule: str, task: str, zone: str | None, window: str = "",
                 is_queued: bool = False, since: float = 0.0, changed_at: float = 0.0) -> None:
        self.written, self.task, self.zone = schedule, task, zone
        self.is_queued, self.since, self.changed_at = is_queued, since, changed_at
        self.schedule = sc.schedule_of(schedule, task) if schedule else None
        self.window = sc.Window(window, zone) if window else None
        self.description = "when its window opens"
        if self.schedule is not None:
            self.description = sc.describe(self.schedule.written, task)

    @property
    def summary(self) -> str:
        return self.written or self.description

    def serialize(self) -> dict[str, Any]:
        return {"schedule": self.written, "task": self.task, "zone": self.zone,
                "window": self.window.text if self.window else "", "is_queued": self.is_queued,
                "since": self.since, "changed_at": self.changed_at}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> SymphonyTimetable:
        return cls(data["schedule"], data["task"], data["zone"], data.get("window", ""),
                   data.get("is_queued", False), data.get("since", 0.0),
                   data.get("changed_at", 0.0))

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        return DataInterval.exact(run_after)

    def next_dagrun_info(self, *, last_automated_data_interval: DataInterval | None,
                         restriction: TimeRestriction) -> DagRunInfo | None:
        last, earliest = None, 0.0
        if last_automated_data_interval is not None:
            last = last_automated_data_interval.start.timestamp()
        if restriction.earliest:
            earliest = restriction.earliest.timestamp()
        if restriction.catchup:
            at = self._backfilled(last, earliest)
        else:
            at = self._next(last, earliest, time.time())
        if at is None or (restriction.latest and restriction.latest.timestamp() < at):
            return None
        return DagRunInfo.exact(moment(at))

    def _next(self, last: float | None, earliest: float, now: float) -> int | None:
        """When the run after that at `last` is due."""
        cursor = max(self.changed_at, earliest) or now
        if last is not None:
            cursor = last  # a change of the configuration takes no slot away that is due by now
        cursor = max(cursor, self.since)
        slot = slots.next_slot(self.schedule, self.zone, cursor, now, self.is_queued)
        return slots.next_look(self.window, slot, cursor)

    def _backfilled(self, last: float | None, earliest: float) -> int | None:
        """The next slot that a person wants to have run again, of those since `earliest`."""
        cursor = math.ceil(earliest) - 1.0
        if last is not None:
            cursor = last
        if self.schedule is None:
            return None
        return self.schedule.next(max(cursor, self.since), self.zone)


class SymphonyPlugin(AirflowPlugin):
    """What Airflow has to know to read the schedules of the DAGs."""

    name = "symphony"
    timetables = [SymphonyTimetable]
