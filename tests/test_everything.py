"""All that a task may ask for, together: no slot stays unexplained, and no lock is held twice."""

import pytest
import stories
from stories import Busy, task

import symphony_conductor as sc

DEFAULTS = {"retry_count": 1, "retry_delay": 240, "tags": ["nightly"], "skip_exit_codes": [75],
            "success_exit_codes": [0, 1], "condition": "test -e mounted", "umask": "027",
            "not_on": ["12-24..12-26", "2025-03-20"]}
TASKS = {document["name"]: document for document in (
    task("every5", ["*/5 * * * *", "0 3 * * *"], not_on=["sunday"], locks=["disk"]),
    task("hourly", "7 * * * *", only_between="22:00-06:00", retry_count=2, locks=["db"]),
    task("gap", ["30 2 * * *", "30 14 * * *"], timezone="Europe/Paris", not_on="wednesday"),
    task("slow", "*/10 * * * *", only_between="08:00-12:00,13:00-18:00", overlap="queue",
         locks=["disk", "db"]),
    task("queued", "*/15 * * * *", overlap="queue", not_on=["friday", "sat"],
         only_between="20:00-09:00", start_deadline=7200, locks=["db"]),
    task("hasty", "*/10 * * * *", overlap="queue", start_deadline=1500, not_on="monday"),
    task("prompt", "*/30 * * * *", start_deadline=120, only_between="00:15-23:45"),
    task("scan", "0 2 * * *", not_on="sunday", locks=["disk"]),
    task("analyse", ["30 2 * * *", "45 2 1 * *"], dependencies=["scan"], only_between="03:00-05:00"),
    task("joined", dependencies=["scan", "hourly"], not_on="thursday", locks=["db"]),
    task("spread", "H H(0-5) * * *", not_on="tuesday"),
    task("boot", "@reboot", locks=["disk"]),
)}


class Everything(Busy):
    """A month with all of it; it looks at the locks after each decision."""

    def configure(self, *tasks, **settings):
        super().configure(*tasks, defaults=DEFAULTS, **settings)

    def decide(self):
        started = super().decide()
        held = [lock for state in self.state.tasks.values() if state.run for lock in state.run.locks]
        by_hand = [state for state in self.state.tasks.values()
                   if state.run and state.run.trigger == "manual"]
        assert by_hand or len(held) == len(set(held)), (self.now, held)
        return started

    def tick(self, when):
        """The due slot that was promised for each task is the one that this decision takes."""
        before, promised = self.state, {}
        if 0 < before.last_now <= when and when % 300 == 0 and not before.pauses:
            promised = {name: sc.coming_slot(each, before, self.last_seen, when)
                        for name, each in self.config.tasks.items()}
        started = super().tick(when)
        due = {name: slot for name, slot in promised.items() if slot is not None and slot <= when}
        for name, slot in due.items():
            state = self.state.tasks[name]
            taken = {state.queued_slot, state.cycle.slot if state.cycle else None}
            taken |= {sc.from_iso(record["scheduled_for"]) for record in self.decision.records
                      if record["task"] == name}
            assert slot in taken, (name, when)
        return started


@pytest.mark.parametrize("seed", range(2))
def test_a_month_of_everything_leaves_no_slot_unexplained(monkeypatch, seed):
    monkeypatch.setattr(stories, "original_tasks", lambda: dict(TASKS))
    month = Everything(seed, "2025-03-10T00:00:00Z").live(31)
    slots = list(month.audit())
    assert [slot for slot in slots if slot.fate in sc.UNEXPLAINED] == []
    assert {slot.fate for slot in slots} >= {
        "success", "failed", "timeout", "interrupted", "stopped", "merged", "skipped_exit",
        "skipped_condition", "skipped_manual", "skipped_not_on", "skipped_overlap", "skipped_late"}
    assert month.gaps > 5 and len(slots) > 10000
    totals = {}
    for verdict in month.verdicts:
        key = verdict["task"], verdict["status"]
        totals[key] = totals.get(key, 0) + 1
    for name in ("scan", "boot"):  # never removed by an edit, so all that they ever had
        assert month.state.tasks[name].totals == {
            status: count for (task_name, status), count in totals.items() if task_name == name}
