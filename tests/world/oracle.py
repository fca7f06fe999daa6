"""The promises, judged by what truly happened. Nothing here asks the conductor's planner.

Due slots come from times.py, runs from the kernel, and what the conductor says of both from its
files. A broken promise raises Broken, at the step that broke it.
"""

import calendar
import json
import os
import signal
import time

from . import seams
from .times import DAY, HOUR, MINUTE, Schedule

LONG_LEAP_S = 3 * HOUR        # Debian cron(8): from here on, a change of the clock is a correction
# Of these ends, the conductor says that nothing of the command is left.
FINAL = ("timeout", "stopped", "interrupted")


class Broken(AssertionError):
    """A promise was broken: which one, and how."""

    def __init__(self, promise, text):
        super().__init__("%s: %s" % (promise, text))
        self.promise = promise


def at_of(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


class Span:
    """A stretch in which a task had a schedule; `lost` holds slots that nobody has to answer."""

    def __init__(self, schedules, since):
        self.schedules, self.since, self.until = schedules, since, float("inf")


class Pause:
    """A pause that somebody typed: it may last from `since` to `until`, and does where it is sure."""

    def __init__(self, since, until):
        self.since, self.until = since, until
        self.sure_since, self.sure_until = float("inf"), until

    def is_sure(self, at):
        return self.sure_since < at < self.sure_until


class Oracle:
    def __init__(self, box):
        self.box = box
        self.verdicts = {}            # (task, slot text) -> its verdicts
        self.of_run = {}              # run id -> its verdict
        self.touched = []             # files of the history, by their last change
        self.touched_at = {}          # the true time of that
        self.sizes = {}               # file of the history -> how much of it was read
        self.unsettled = []           # runs without a verdict
        self.keys = {}                # (task, slot, attempt) -> run
        self.is_forgetful = self.is_slow = False  # the state was lost; the disk was slow
        self.lost_at = float("-inf")  # true time of the last loss of the state
        self.last_of = {}             # task -> its newest run
        self.unseen_edits = set()     # tasks that were changed since the last tick
        self.pauses = {}              # task, or * -> [Pause]
        self.conditions = {}          # run id -> the process of its condition
        self.condition_of = {}        # task -> the newest of them
        self.leaps = []               # (wall time before, after)
        self.spans = {}               # task -> [Span]
        self.lost = {}                # task -> slots that nobody has to answer
        self.amnesty_since = None     # what lies between this wall time and the next tick is lost
        self.messages = set()
        self.refused = set()          # what the receiver was sent and did not take
        self.last_tick_at = None      # true time of the last tick that succeeded
        self.last_tick_wall = box.kernel.now()
        self.errors = 0
        self.looks = self.slots_seen = 0
        self.broken = None
        self.newest_end = ""
        for task in box.tasks.values():
            self.begin_span(task, box.kernel.now())

    def fail(self, promise, text, *values):
        broken = Broken(promise, "%s: %s" % (self.box.time_text(), text % values))
        self.broken = self.broken or broken  # the conductor's own code may catch what is raised
        raise self.broken

    # -- what the tasks are

    def begin_span(self, task, since):
        schedules = []
        if task.get("schedule") and task.get("enabled", True):
            zone = task.get("timezone") or self.box.story["settings"].get("timezone", "UTC")
            texts = task["schedule"]
            schedules = [Schedule(text, zone)
                         for text in ([texts] if isinstance(texts, str) else texts)]
        self.spans.setdefault(task["name"], []).append(Span(schedules, since))

    def end_span(self, name, until):
        for span in self.spans.get(name, ()):
            span.until = min(span.until, until)

    def slots(self, name, since, until):
        """The true slots of a task in (since, until]."""
        found = set()
        for span in self.spans.get(name, ()):
            for schedule in span.schedules:
                found.update(schedule.slots(max(since, span.since), min(until, span.until)))
        found -= self.lost.get(name, set())
        return sorted(slot for slot in found if not self.may_be_paused(name, slot))

    def pauses_of(self, name):
        return self.pauses.get(name, []) + self.pauses.get("*", [])

    def may_be_paused(self, name, at):
        return any(pause.since <= at <= pause.until for pause in self.pauses_of(name))

    def is_in_doubt(self, name, at):
        """Whether a task may have been paused then, or not."""
        return self.may_be_paused(name, at) and not any(
            pause.is_sure(at) for pause in self.pauses_of(name))

    def is_true_slot(self, name, slot):
        """Whether any schedule that a task ever had is due then."""
        return any(slot in schedule.slots(slot - MINUTE, slot)
                   for span in self.spans.get(name, ()) for schedule in span.schedules)

    def newest_slot(self, name, at):
        """The newest true slot of a task at or before a time; None without one."""
        for days in (2, 35, 400):
            found = self.slots(name, at - days * DAY, at)
            if found:
                return found[-1]
        return None

    # -- what happens

    def clock_leaps(self, seconds):
        now = self.box.kernel.now()
        self.leaps.append((now, now + seconds))
        self._doubt_pauses()
        for spans in self.spans.values():
            for span in spans:
                span.since = min(span.since, max(now + seconds, 0))

    def may_repeat(self, name, slot):
        """Whether the clock was set back so that this slot comes again.

        Debian cron(8): a change of less than three hours repeats only what follows the time that
        passes; a larger one is a correction, and all counts anew.
        """
        is_wild = any(schedule.is_wild for span in self.spans.get(name, ())
                      for schedule in span.schedules)
        return any(after - MINUTE <= slot <= before + MINUTE for before, after in self.leaps
                   if before - after > (0 if is_wild else LONG_LEAP_S))

    def box_was_off(self, since, until):
        pass

    def disturbed(self, what):
        for run in self.unsettled:
            run.disturbed = run.disturbed or what
        if what == "power":
            self._forget_unsynced()

    def _forget_unsynced(self):
        """What the power cut may have taken from the newest files is read again."""
        days = [day for day in self.touched[-3:]
                if self.box.kernel.stamp - self.touched_at[day] < DAY]
        for run_id in self.of_run:
            run = self.box.by_run_id[run_id]
            if run.ended_at is not None and self.box.kernel.stamp - run.ended_at < HOUR:
                run.disturbed = run.disturbed or "power"
        for day in days:
            self.sizes.pop(day, None)
        for key, verdicts in list(self.verdicts.items()):
            kept = [verdict for verdict in verdicts
                    if verdict["ended_at"][:10] + ".jsonl" not in days]
            if kept:
                self.verdicts[key] = kept
            else:
                del self.verdicts[key]

    def met_error(self, process):
        self.errors += 1

    def state_is_lost(self):
        """Somebody removed the state: what waited, and what no tick has seen, is lost with it."""
        now = self.box.kernel.now()
        self.amnesty_since = min(self.last_tick_wall, now)
        for name in self.spans:
            self._forgive(name, now - 3000 * DAY, now)
        self.is_forgetful = True
        self.lost_at = self.box.kernel.stamp
        self._doubt_pauses()
        self.disturbed("state lost")

    def edited(self, names):
        """Somebody changed the configuration: of these tasks, as it is now, the slots count anew.

        What no tick had seen of them before is decided by nobody, and the audit says so.
        """
        now = self.box.kernel.now()
        for name in list(self.unseen_edits) + list(names):
            self._forgive(name, self.last_tick_wall - MINUTE, now)
        for name in names:
            self.end_span(name, now)
            if name in self.box.tasks:
                self.begin_span(self.box.tasks[name], now)
            for run in self.unsettled:
                if run.task == name:
                    run.disturbed = run.disturbed or "edit"
            self.forgive_open(name)
        self.unseen_edits.update(names)

    def forgive_open(self, name):
        """What waits of a task may end with its definition."""
        newest = self.newest_slot(name, self.box.kernel.now())
        if newest is not None and not self.is_answered(name, newest):
            self.lost.setdefault(name, set()).add(newest)

    def typed(self, words, process):
        """Somebody typed a command: what it is about may end in other ways."""
        if words[0] in ("pause", "resume"):
            self._pause_typed(words, process)
        if words[0] == "stop":
            for run in self.unsettled:
                if run.task == words[1]:
                    run.disturbed = run.disturbed or "stop"

    def _pause_typed(self, words, process):
        """Somebody pauses or resumes: what was due and no tick has seen is decided by nobody."""
        scope = "*" if words[1] == "--all" else words[1]
        now = self.box.kernel.now()
        for name in self.spans if scope == "*" else [scope]:
            self._forgive(name, self.last_tick_wall - MINUTE, now)
        pauses = self.pauses.setdefault(scope, [])
        process.pause, process.pauses = None, list(pauses)
        process.sure_until = max([pause.sure_until for pause in pauses if pause.is_sure(now)] + [0])
        for pause in pauses:
            pause.sure_until = min(pause.sure_until, now)
        if words[0] == "pause":
            lasts = float(words[3].rstrip("s")) if "--for" in words else float("inf")
            process.pause = Pause(now, now + lasts)
            pauses.append(process.pause)
        process.on_end = lambda ended: self.pause_ended(ended, process)

    def pause_ended(self, ended, process):
        """`pause` or `resume` has ended; one that was killed may have done it or not."""
        self.process_ended(ended)
        if ended is not process:      # what it has forked ends in the same way
            return
        now = self.box.kernel.now()
        text = b"".join(process.printed)
        is_none = b"is not paused" in text or b"there is no pause of all tasks" in text
        if is_none and now < process.sure_until:
            self.fail("paused until resumed", "%s finds no pause", process.what)
        if process.status and not is_none:
            return
        for pause in process.pauses:
            pause.until = min(pause.until, now)
        if process.pause is not None:
            process.pause.until += now - process.pause.since + 1
            process.pause.sure_since = now

    def _doubt_pauses(self):
        """From now on, nobody knows what is paused."""
        for pauses in self.pauses.values():
            for pause in pauses:
                pause.sure_until = 0

    def _forgive(self, name, since, until):
        for slot in self.slots(name, since, until):
            if not self.is_answered(name, slot):
                self.lost.setdefault(name, set()).add(slot)

    # -- a command starts

    def command_starts(self, run):
        box = self.box
        task = box.tasks.get(run.task, {})
        if run.run_id in box.by_run_id:
            self.fail("no double run", "run %s of %s starts again", run.run_id, run.task)
        record = self._record(run)
        run.trigger = record.get("trigger")
        run.slot = at_of(run.scheduled_for)
        run.wall = box.kernel.now()
        before = self.last_of.get(run.task)
        if before is not None and before.main_is_alive():
            self.fail("no double run", "%s starts while its run %s lives", run.task, before.run_id)
        self._check_condition(run, task)
        if run.trigger != "manual":
            self._scheduled_start(run, task, before)
        self._check_locks(run, task)
        self.last_of[run.task] = run
        self.unsettled.append(run)

    def condition_starts(self, process, task):
        """A task's condition starts: neither its last one nor its command still runs."""
        before = self.last_of.get(task)
        if before is not None and before.main_is_alive():
            self.fail("no double run", "the condition of %s starts while its run %s lives", task,
                      before.run_id)
        self._no_condition_lives(task, "the condition of " + task)
        self.conditions[process.run_id] = self.condition_of[task] = process

    def _no_condition_lives(self, task, what):
        process = self.condition_of.get(task)
        if process is not None and not process.is_zombie:
            self.fail("no double run", "%s starts while the condition of run %s lives", what,
                      process.run_id)

    def _check_condition(self, run, task):
        """A command starts once its condition was met; a run by hand has none."""
        self._no_condition_lives(run.task, run.task)
        process = self.conditions.get(run.run_id)
        if run.trigger != "manual" and task.get("condition") and (
                process is None or process.status != 0):
            self.fail("only if its condition is met", "%s starts, run %s", run.task, run.run_id)

    def _record(self, run):
        """The record of a run: it is on disk before the command starts."""
        data = self.box.read("status/runs/%s.json" % run.task)
        try:
            record = json.loads((data or b"{}").decode())
        except ValueError:
            record = {}
        if record.get("run_id") != run.run_id:
            self.fail("on record first", "the command of run %s starts, and is not on record",
                      run.run_id)
        return record

    def _scheduled_start(self, run, task, before):
        key = run.task, run.slot, run.attempt
        if key in self.keys and not self.may_repeat(run.task, run.slot):
            self.fail("no double run", "slot %s of %s starts attempt %d twice: runs %s and %s",
                      run.scheduled_for, run.task, run.attempt, self.keys[key].run_id, run.run_id)
        self.keys[key] = run
        self._check_decision(run)
        if task.get("schedule") and not self.is_true_slot(run.task, run.slot):
            self.fail("only true slots", "%s runs for %s, which is no slot of '%s'", run.task,
                      run.scheduled_for, task["schedule"])
        is_set_back = any(after <= run.slot <= before for before, after in self.leaps)
        if run.slot > run.wall + 1 and not is_set_back:
            self.fail("never early", "%s runs at %s for slot %s", run.task, run.wall,
                      run.scheduled_for)
        verdicts = self.verdicts.get((run.task, run.scheduled_for))
        if verdicts and not self.may_repeat(run.task, run.slot):
            self.fail("no double run", "slot %s of %s has a verdict (%s) and starts again",
                      run.scheduled_for, run.task, verdicts[0]["status"])
        if run.attempt > 1:
            self._retry(run, task, before)
        if run.attempt > task.get("retry_count", 3) + 1:
            self.fail("retries as told", "%s has attempt %d", run.task, run.attempt)
        self._check_pauses(run)
        self._check_dependencies(run, task)
        self._check_concurrency()

    def _check_pauses(self, run):
        """What was decided before the pause may start in it."""
        decided_at = calendar.timegm(time.strptime(run.run_id[:16], "%Y%m%dT%H%M%SZ"))
        if any(pause.is_sure(decided_at - 1) for pause in self.pauses_of(run.task)):
            self.fail("paused until resumed", "%s starts by a decision of %s", run.task,
                      self.box.sc.iso(decided_at))

    def _check_decision(self, run):
        """The decision to start a run is on disk, where no power cut takes it back."""
        state = self.box.safe("conductor_state.json")
        if run.run_id.encode() not in state and self.box.kernel.stamp - self.lost_at > HOUR:
            self.fail("decided first", "the command of run %s starts, and a power cut now would"
                      " leave a state without it", run.run_id)

    def _retry(self, run, task, before):
        if before is None or before.trigger == "manual" or before.slot != run.slot:
            return
        alive = [each for each in before.tree if not each.is_zombie]
        if alive and not (before.disturbed and all(map(is_unknowable, alive))):
            self.fail("nothing lives at a retry", "attempt %d of %s starts while pid %d of run %s"
                      " lives", run.attempt, run.task, alive[0].pid, before.run_id)
        if before.attempt == run.attempt - 1 and before.ended_at:
            wait_s = task.get("retry_delay", 300) * task.get("retry_backoff", 1) ** (before.attempt - 1)
            since = self.box.kernel.stamp - before.ended_at
            if since < wait_s - 2 and not before.disturbed and not self.leaps:
                self.fail("retries as told", "attempt %d of %s comes %d s after the end of the one"
                          " before, not %d", run.attempt, run.task, since, wait_s)

    def _check_dependencies(self, run, task):
        if not task.get("schedule") or self.leaps:
            return
        for name in task.get("dependencies", ()):
            newest = self.newest_slot(name, run.slot)
            if newest is None:
                continue
            successes = [each for each in self.box.runs if each.task == name and each.status == 0
                         and (each.slot >= newest or each.wall_end >= newest)]
            if not successes:
                self.fail("never ahead of a dependency", "%s runs for slot %s, and %s has no"
                          " success for its slot %d or later", run.task, run.scheduled_for, name,
                          newest)

    def _check_concurrency(self):
        limit = self.box.story["settings"].get("max_concurrent_tasks")
        running = [each for each in self.last_of.values()
                   if each.trigger != "manual" and each.main_is_alive()]
        if limit and len(running) + 1 > limit:
            self.fail("concurrency as told", "%d commands run, and %d may", len(running) + 1, limit)

    def _check_locks(self, run, task):
        for lock in task.get("locks", ()):
            for other in self.last_of.values():
                if other.task != run.task and other.main_is_alive() and lock in (
                        self.box.tasks.get(other.task, {}).get("locks", ())):
                    self.fail("locks exclude", "%s starts while %s has the lock %s", run.task,
                              other.task, lock)

    # -- a process of the conductor ends

    def process_ended(self, process):
        text = b"".join(process.printed).decode("utf-8", "replace")
        if "Traceback" in text or "internal error" in text:
            self.fail("never a traceback", "%s printed: %s", process.what, text)
        if process.status == 70 << 8:
            log = self.box.read("logs/symphony_conductor.log") or b""
            self.fail("never a traceback", "%s: %s", process.what,
                      process.trouble or text or log[-2000:].decode("utf-8", "replace"))
        if text:
            self.box.say("%s (exit %d) printed: %s", process.what, process.status >> 8,
                         text.strip().replace("\n", " | ")[:400])
        elif process.status:
            self.box.say("%s (pid %d): status %d", process.what, process.pid, process.status)
        if process.what == "tick" and process.status in (0, 78 << 8):
            self.tick_ended()
        self.read_history()
        self._note_messages()

    def tick_ended(self):
        kernel = self.box.kernel
        if self.amnesty_since is not None:
            for name in self.spans:
                self._forgive(name, self.amnesty_since - MINUTE, kernel.now())
            self.amnesty_since = None
        self.unseen_edits.clear()
        self.last_tick_at, self.last_tick_wall = kernel.stamp, kernel.now()

    def read_history(self, is_whole=False):
        box = self.box
        try:
            folder = box.kernel.disk.find(box.path("status/history"), box.kernel.disk.root)
        except OSError:
            return
        today = box.kernel.now() // DAY
        days = [box.sc.iso((today + ahead) * DAY)[:10] + ".jsonl" for ahead in (-1, 0, 1)]
        names = self.touched[-3:] + [day for day in days if day not in self.touched[-3:]]
        # What was decided before the box went down is filed under its own day once it is up.
        if is_whole or box.kernel.since_boot() < HOUR:
            names = sorted(folder.entries)
        for name in names:
            if name not in folder.entries:
                continue
            data = folder.entries[name].data
            begin = self.sizes.get(name, 0)
            if len(data) <= begin:
                continue
            end = data.rfind(b"\n") + 1
            self.sizes[name] = max(begin, end)
            if name in self.touched:
                self.touched.remove(name)
            self.touched.append(name)
            self.touched_at[name] = box.kernel.stamp
            for line in bytes(data[begin:end]).splitlines():
                try:
                    verdict = json.loads(line.decode())
                except ValueError:
                    continue          # a line that a power cut had torn
                self.verdict(verdict)

    def verdict(self, verdict):
        key = verdict["task"], verdict["scheduled_for"]
        run = self.box.by_run_id.get(verdict.get("run_id"))
        if verdict["trigger"] != "manual":
            earlier = self.verdicts.setdefault(key, [])
            if earlier and not self.may_repeat(key[0], at_of(key[1])):
                self.fail("one verdict a slot", "slot %s of %s has two: %s and %s", key[1], key[0],
                          earlier[0]["status"], verdict["status"])
            earlier.append(verdict)
        if verdict["ended_at"] >= self.newest_end:  # else it is read again, after a power cut
            self.newest_end = verdict["ended_at"]
            self.box.say("VERDICT %s %s: %s (%s)", key[0], key[1], verdict["status"],
                         verdict.get("reason"))
        if verdict["status"] == "skipped_condition":
            process = self.conditions.get(verdict["run_id"])
            if process is None or process.status in (0, signal.SIGSEGV):
                self.fail("only if its condition is met", "slot %s of %s is skipped for it, and its"
                          " status was %s", key[1], key[0], process and process.status)
        if verdict["status"] == "skipped_dependency":
            self._skipped_for_dependency(verdict)
        if verdict["status"] == "skipped_overlap":
            self._skipped_for_overlap(verdict)
        if run is None:
            if verdict["status"] == "success":
                self.fail("no success made up", "slot %s of %s, run %s, never started", key[1],
                          key[0], verdict.get("run_id"))
            return
        self.of_run[run.run_id] = verdict
        if run in self.unsettled:
            self.unsettled.remove(run)
        for attempt in verdict.get("attempts") or ():
            other = self.box.by_run_id.get(attempt.get("run_id"))
            if other in self.unsettled:
                self.unsettled.remove(other)
        self._compare(run, verdict)

    def _skipped_for_dependency(self, verdict):
        """A slot was given up for a dependency: that has no success on file which would do."""
        name, slot = verdict.get("dependency"), at_of(verdict["scheduled_for"])
        if self.leaps or self.is_forgetful or name not in self.spans or len(self.spans[name]) > 1 or (
                self.pauses_of(name)):
            return
        newest = self.newest_slot(name, slot)
        if newest is None:
            return
        for other in self.verdicts.get((name, self.box.sc.iso(newest)), ()):
            if other["status"] == "success" and other["ended_at"] < verdict["ended_at"]:
                self.fail("no wait for what is met", "slot %s of %s is given up for %s, whose slot"
                          " %s succeeded at %s", verdict["scheduled_for"], verdict["task"], name,
                          other["scheduled_for"], other["ended_at"])

    def _skipped_for_overlap(self, verdict):
        """A slot was skipped as an earlier one was not over: one was not."""
        name, slot = verdict["task"], at_of(verdict["scheduled_for"])
        if self.leaps or self.is_forgetful or len(self.spans.get(name, ())) > 1:
            return
        for earlier in reversed(self.slots(name, slot - 3 * DAY, slot - 1)):
            verdicts = self.verdicts.get((name, self.box.sc.iso(earlier)))
            if not verdicts or at_of(verdicts[-1]["ended_at"]) >= slot - 2 * MINUTE:
                return                # it is open, or was when this one came
            if not verdicts[-1]["status"].startswith("skipped_"):
                self.fail("overlap as told", "slot %s of %s is skipped, and slot %s was over at"
                          " %s", verdict["scheduled_for"], name, self.box.sc.iso(earlier),
                          verdicts[-1]["ended_at"])

    def command_ended(self, run, process):
        """The command itself is over: it has not outlived its timeout."""
        task = self.box.tasks.get(run.task, {})
        limit_s = (task.get("timeout", 3600) + task.get("kill_grace", 10) + process.plan["stuck"]
                   + MINUTE)
        lasted_s = run.ended_at - run.at
        if lasted_s > limit_s and not run.disturbed and not self.is_slow and (
                isinstance(process.plan["term"], str) or process.plan["term"] < MINUTE):
            self.fail("timeout as told", "the command of %s has run for %d s", run.task, lasted_s)

    def _compare(self, run, verdict):
        """What is said of a run, and what truly became of it."""
        status = verdict["status"]
        if status == "success" and run.status != 0:
            self.fail("no success made up", "run %s of %s, whose status was %s", run.run_id,
                      run.task, run.status)
        if run.status == 0 and status != "success" and not run.disturbed and (
                status not in ("timeout", "stopped")):
            self.fail("no success discarded", "run %s of %s succeeded, and is called %s (%s)",
                      run.run_id, run.task, status, verdict.get("reason"))
        if run.status is not None and run.status != 0 and not run.disturbed:
            if status not in ("failed", "timeout", "stopped", "skipped_exit"):
                self.fail("the true end", "run %s of %s ended with status %d, and is called %s (%s)",
                          run.run_id, run.task, run.status, status, verdict.get("reason"))
        alive = [each for each in run.tree if not each.is_zombie]
        if run.disturbed:
            alive = [each for each in alive if not is_unknowable(each)]
        if alive and (status in FINAL or run.main_is_alive()):
            self.fail("alive is not gone", "run %s of %s is called %s (%s), and pid %d (%s) of it"
                      " lives", run.run_id, run.task, status, verdict.get("reason"), alive[0].pid,
                      alive[0].what)

    def _note_messages(self):
        self.messages.update(name for name in self.box.names("status/spool")
                             if name.endswith(".json"))

    def sent(self, body, is_taken):
        """The receiver was sent a message: one that it does not take is sent again."""
        what = json.dumps([body.get(key) for key in ("event", "task", "at", "run_id")])
        if is_taken:
            self.refused.discard(what)
        else:
            self.refused.add(what)

    # -- what people see

    def saw_status(self, process):
        """Somebody looked at `status --json`."""
        text = b"".join(process.printed).decode("utf-8", "replace")
        self.looks += 1
        self.process_ended_quietly(process, text)
        if process.status & 127 or not text.startswith("{"):
            return
        document = json.JSONDecoder().raw_decode(text)[0]
        silent_s = self.box.kernel.stamp - (self.last_tick_at or self.box.story["start"])
        if document["healthy"] and silent_s > 15 * MINUTE and not self.leaps:
            self.fail("never healthy in silence", "status says healthy, and the last tick that"
                      " succeeded was %d s ago", silent_s)

    def process_ended_quietly(self, process, text):
        if "Traceback" in text or "internal error" in text:
            self.fail("never a traceback", "%s printed: %s", process.what, text)

    # -- the end

    def is_answered(self, name, slot):
        if (name, self.box.sc.iso(slot)) in self.verdicts:
            return True
        return any(first <= slot <= last for first, last in self.merged(name))

    def merged(self, name):
        return [(at_of(verdict["merged_since"]), at_of(verdict["scheduled_for"]))
                for (task, _), verdicts in self.verdicts.items() if task == name
                for verdict in verdicts if verdict.get("merged_since")]

    def judge_the_end(self, stamp):
        box, sc = self.box, self.box.sc
        kernel = box.kernel
        now = kernel.now()
        self.read_history(is_whole=True)
        if self.last_tick_at is None or stamp - self.last_tick_at > 5 * MINUTE:
            text = self.box.read("status/heartbeat")
            beat = kernel.disk.find(box.path("status/heartbeat"), kernel.disk.root)
            if text is None or now - beat.mtime_ns / 1e9 > 5 * MINUTE:
                self.fail("ticks go on", "no tick has succeeded since %s", self.last_tick_at)
        kernel.current = box.onlooker
        box.onlooker.cwd = kernel.disk.root
        store = sc.Store(seams.ROOT)
        snapshot = sc.Snapshot(sc.for_reading(store))
        state = snapshot.state
        horizon = max([before for before, _ in self.leaps] + [0])
        for name in self.spans:
            if name not in box.tasks:
                continue
            task_state = state.tasks.get(name, sc.TaskState())
            waiting = {task_state.queued_slot}
            if task_state.cycle is not None:
                waiting.add(task_state.cycle.slot)
                since = task_state.cycle.merged_since or task_state.cycle.slot
            merged = self.merged(name)
            slots = self.slots(name, box.story["start"] - DAY, now - 5 * MINUTE)
            self.slots_seen += len(slots)
            for slot in slots:
                if (name, sc.iso(slot)) in self.verdicts or slot in waiting:
                    continue
                if any(first <= slot <= last for first, last in merged):
                    continue
                if task_state.cycle is not None and since <= slot <= task_state.cycle.slot:
                    continue
                if task_state.queued_since and task_state.queued_since <= slot <= (
                        task_state.queued_slot or 0):
                    continue
                if slot > now or self.may_repeat(name, slot) or slot <= horizon - 0 and self.leaps and (
                        self.is_about_a_leap(slot)):
                    continue
                self.fail("no slot without a verdict", "slot %s of %s", sc.iso(slot), name)
        self._judge_the_audit(store, snapshot, now)
        self._judge_messages()
        for run in self.unsettled:
            if run.ended_at is not None and stamp - run.ended_at > DAY and not run.disturbed and (
                    run.trigger != "manual") and run.attempt > self.box.tasks.get(
                        run.task, {}).get("retry_count", 3):
                self.fail("every end is recorded", "run %s of %s", run.run_id, run.task)

    def is_about_a_leap(self, slot):
        return any(min(pair) - HOUR <= slot <= max(pair) + HOUR for pair in self.leaps)

    def _judge_the_audit(self, store, snapshot, now):
        box, sc = self.box, self.box.sc
        since = max(box.story["start"], now - 300 * DAY)
        audited = {}
        for slot in sc._audited_slots(snapshot, since, now, ""):
            audited.setdefault(slot.task, {})[slot.at] = slot
            if slot.fate in sc.UNEXPLAINED and not self.may_repeat(slot.task, slot.at) and (
                    slot.at not in self.lost.get(slot.task, ())) and not (
                        self.is_about_a_leap(slot.at) or self.is_in_doubt(slot.task, slot.at)):
                self.fail("audit = oracle", "the audit calls slot %s of %s %s (%s)",
                          sc.iso(slot.at), slot.task, slot.fate, slot.reason)
        if self.leaps:
            return
        for name in box.tasks:
            true = set(self.slots(name, since, now))
            said = {slot for slot in set(audited.get(name, ())) - self.lost.get(name, set())
                    if not self.may_be_paused(name, slot)}
            if true != said:
                missing, more = sorted(true - said), sorted(said - true)
                self.fail("audit = oracle", "of %s, the audit lacks %s, and has besides %s", name,
                          [sc.iso(at) for at in missing[:3]], [sc.iso(at) for at in more[:3]])

    def _judge_messages(self):
        box = self.box
        waiting = [name for name in box.names("status/spool") if name.endswith(".json")]
        if waiting:
            self.fail("every message ends", "%s is neither sent nor given up", waiting[0])
        log = b"".join(box.read("logs/symphony_conductor.log" + suffix) or b""
                       for suffix in [""] + [".%d" % number for number in range(1, 6)])
        given_up = log.count(b"giving up on message")
        if len(self.refused) > given_up and not box.log_was_lost:
            self.fail("every message ends", "%d were refused and not sent again, as %s, and %d were"
                      " given up", len(self.refused), sorted(self.refused)[0], given_up)
        if len(self.messages) > len(box.received) + given_up and not box.log_was_lost:
            self.fail("every message ends", "%d were made, %d were sent and %d given up",
                      len(self.messages), len(box.received), given_up)


def is_unknowable(process):
    """Whether nothing shows whose child a process was, once all above it were gone."""
    return process.fate is not None and process.parent == 1 and (
        "child" in process.what and process.uid == 1001 and not process.fds
        and process.group == process.pid)


assert os
