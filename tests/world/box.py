"""A box that lives: a configuration, cron, commands with a fate, people, and what goes wrong.

All of it follows from a story (see story.py), which is a plain value; the same story is the same
life to the last call.
"""

import errno
import heapq
import json
import os
import random
import signal

from . import disk, kernel, seams
from .oracle import Oracle
from .times import DAY, HOUR, MINUTE

CONFIG = "config/conductor_config.json"
CONDITION = "condition"               # the command of every task's condition
ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/home/u", "LOGNAME": "u", "SHELL": "/bin/sh"}
# A call -> the errors that it may meet (their manual pages).
PLAUSIBLE = {
    "open": (errno.EIO, errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.EACCES),
    "read": (errno.EIO,), "write": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "fsync": (errno.EIO, errno.ENOSPC), "rename": (errno.EIO, errno.ENOSPC),
    "link": (errno.EIO, errno.EMLINK, errno.EPERM), "unlink": (errno.EIO,),
    "stat": (errno.EIO, errno.EACCES), "fstat": (errno.EIO,), "listdir": (errno.EIO, errno.EACCES),
    "mkdir": (errno.ENOSPC,), "mkfifo": (errno.EPERM, errno.ENOSPC),
    "utime": (errno.EIO, errno.EPERM), "ftruncate": (errno.EIO,), "flock": (errno.ENOLCK,),
    "fork": (errno.EAGAIN, errno.ENOMEM), "spawn": (errno.EAGAIN, errno.ENOMEM),
    "pipe": (errno.EMFILE, errno.ENFILE), "poll": (errno.ENOMEM,), "kill": (errno.EPERM,),
    "dup": (errno.EMFILE,), "exec": (errno.ENOMEM, errno.EACCES), "prctl": (),
}


class Run:
    """What truly became of one start of a command."""

    def __init__(self, number, task, at, environ, pid):
        self.number, self.task, self.at, self.pid = number, task, at, pid
        self.run_id = environ["SYMPHONY_RUN_ID"]
        self.scheduled_for = environ["SYMPHONY_SCHEDULED_FOR"]
        self.attempt = int(environ["SYMPHONY_ATTEMPT"])
        self.trigger = ""            # of its record
        self.slot = self.wall = self.wall_end = 0
        self.ended_at = None
        self.status = None           # as waitpid(2) has it; None while it lives or if nobody knows
        self.disturbed = ""          # by what it was hit besides its own fate
        self.tree = []               # every process of it

    def is_alive(self):
        return any(not each.is_zombie for each in self.tree)

    def main_is_alive(self):
        return bool(self.tree) and not self.tree[0].is_zombie


class Box:
    """One life of a box. `live` ends with the promises checked, or raises Broken."""

    def __init__(self, story, source=None, tell=None):
        self.story = story
        self.tell = tell             # hears each line of what happens
        self.kernel = kernel.Kernel(story["start"], random.Random("urandom%s" % story["seed"]))
        self.kernel.programs = {seams.SHELL: self._command, "/bin/sh": self._command,
                                "/usr/bin/python3": self._program}
        self.sc = seams.load(self.kernel, self._receive, source)
        self.onlooker = kernel.Process(2, None, kernel.USER, 0)
        self.kernel.current = self.onlooker
        self.tasks = {task["name"]: task for task in story["tasks"]}
        self.removed = {}            # tasks that somebody took out of the configuration
        self.runs = []               # Run, in the order of their starts
        self.by_run_id = {}
        self.received = []           # (stamp, body) of messages that were accepted
        self.is_receiver_down = self.log_was_lost = False
        self.cron_off_until = 0.0
        self.cron_number = 0         # of the life of the cron daemon
        self.starting = set()        # processes of ticks
        self.steps_left = len(story["steps"])
        self.power_seed = 0
        self.ticks = 0
        self.skipped_minutes = 0
        self.armed = []              # (number of the call, step)
        self.kernel.alert = self._alert
        self.oracle = Oracle(self)

    # -- its life

    def live(self):
        """From the installation to the last judgement. Raises Broken."""
        try:
            return self._live()
        finally:
            self.kernel.shut_down()

    def _live(self):
        story = self.story
        self._install()
        self.kernel.boot()
        self.tick()                   # as `install` does
        self.kernel.at(story["start"], self._start_cron)
        for step in story["steps"]:
            self.kernel.at(story["start"] + step["at"], self._take, step)
        self._go_on_until(story["start"] + story["days"] * DAY)
        quiet_until = self.kernel.stamp + story.get("peace_days", 3) * DAY
        self.kernel.at(quiet_until, int)
        self._make_peace()
        self._go_on_until(quiet_until)
        self.oracle.judge_the_end(self.kernel.stamp)
        return self

    def _go_on_until(self, stamp):
        step, queue = self.kernel.step, self.kernel.queue
        self.kernel.at(stamp, int)    # something that idle minutes do not go beyond
        oracle = self.oracle
        while queue and queue[0][0] <= stamp:
            step()
            if oracle.broken is not None:
                raise oracle.broken
        self.kernel.stamp = stamp

    def say(self, text, *values):
        if self.tell is not None:
            self.tell("%s %s" % (self.time_text(), text % values))

    def time_text(self):
        return self.sc.iso(self.kernel.stamp)

    def _install(self):
        """The files of a new installation."""
        for folder in ("/srv", seams.ROOT, seams.ROOT + "/config", "/etc", "/usr", "/usr/bin"):
            self.sc.os.mkdir(folder, 0o755)
        for path in (seams.SCRIPT, "/etc/localtime"):
            self.write(path, b"")
        self.write_config(self.document())
        self._sync_all(self.kernel.disk.root)

    def _sync_all(self, inode):
        disk.Disk.sync(inode)
        for child in (inode.entries or {}).values():
            self._sync_all(child)

    def write(self, path, data):
        """Replace a file as an editor does; a person's editor flushes it."""
        files, cwd = self.kernel.disk, self.kernel.disk.root
        folder, name = files.folder_of(path, cwd)
        inode = files.make(disk.FILE, 0o644, kernel.USER)
        inode.links = 0
        inode.data = bytearray(data)
        files.sync(inode)
        files.change_names(folder, {name: inode})
        files.sync(folder)

    def path(self, name):
        return "%s/%s" % (seams.ROOT, name)

    def read(self, name):
        """The content of a file of the box; None when there is none."""
        try:
            return bytes(self.kernel.disk.find(self.path(name), self.kernel.disk.root).data)
        except OSError:
            return None

    def safe(self, name):
        """What a power cut would leave of a file at the worst: what was flushed to disk."""
        try:
            folder = self.kernel.disk.find(self.path(os.path.dirname(name)), self.kernel.disk.root)
        except OSError:
            return b""
        inode = folder.synced.get(os.path.basename(name))
        return b"" if inode is None else bytes(inode.synced)

    def names(self, folder):
        try:
            return list(self.kernel.disk.find(self.path(folder), self.kernel.disk.root).entries)
        except OSError:
            return []

    # -- the configuration

    def document(self):
        tasks = [{key: value for key, value in task.items() if key != "fate"}
                 for task in self.tasks.values()]
        return {"settings": self.story["settings"], "tasks": tasks}

    def write_config(self, document):
        if callable(document):        # as it is by now
            document = document()
        self.write(self.path(CONFIG), json.dumps(document).encode())

    # -- processes

    def start(self, arguments, what, uid=kernel.USER, on_end=None):
        """Have somebody start the program."""
        process = self.kernel.new_process(None, uid)
        process.environ = dict(ENVIRON)
        process.cwd = self.kernel.disk.root
        process.fds = {0: kernel.OpenFile(text=b"", reads=True),
                       1: kernel.OpenFile(writes=True), 2: kernel.OpenFile(writes=True)}
        process.inheritable = {0, 1, 2}
        process.arguments = ["symphony_conductor.py"] + arguments
        process.what = what
        process.on_end = on_end or self.oracle.process_ended
        self.kernel.start(process, lambda: self._main(["--root=" + seams.ROOT] + arguments))
        return process

    def _main(self, arguments):
        sc = self.sc
        if arguments[1:] == ["tick"]:
            heartbeat = (seams.ROOT + "/" + sc.HEARTBEAT_NAME).encode()
            if sc.nothing_to_do(heartbeat, sc.time.time(), sc.time.monotonic()):
                sc.os._exit(0)
        try:
            code = sc.main(arguments)
        except Exception as error:
            self.kernel.current.trouble = error
            code = sc.EXIT_SOFTWARE
        sc.os._exit(code)

    def _program(self, machine, process):
        """The conductor's program, executed by a process of its own."""
        arguments = process.arguments
        first = [number for number, word in enumerate(arguments) if "--root=" in word][0]
        process.what = " ".join(arguments[first + 1:])
        process.on_end = self.oracle.process_ended
        machine.start(process, lambda: self._main(arguments[first:]))

    def _command(self, machine, process):
        """The command of a task, which has a fate."""
        task = process.environ.get("SYMPHONY_TASK", "")
        if process.arguments[-1] == CONDITION:
            self._condition(machine, process, task)
            return
        process.what = "command of " + task
        run = Run(len(self.runs), task, machine.stamp, process.environ, process.pid)
        run.tree.append(process)
        fate = self.fate_of(task, run)
        process.fate = self._on_signal
        process.plan = fate
        process.run = run
        process.on_end = self._command_ended
        self.say("%s: command starts, slot %s attempt %d (%s), for %g s, then %s", task,
                 run.scheduled_for, run.attempt, run.run_id, fate["lasts"], fate["ends"])
        self.runs.append(run)
        self.oracle.command_starts(run)
        self.by_run_id[run.run_id] = run
        stdout = process.fds.get(1)
        if stdout is not None and stdout.pipe is not None:
            stdout.pipe.data += b"hello\n"
            machine.wake_all(stdout.pipe.waiters)
        machine.after(fate["lasts"], self._end_command, process, fate["ends"])
        if fate["child"]:
            machine.after(fate["lasts"] * fate["child"]["after"], self._have_child, process)

    def _condition(self, machine, process, task):
        """A condition, which is met or not, or gives no answer."""
        process.what = "condition of " + task
        process.run_id = process.environ["SYMPHONY_RUN_ID"]
        rng = random.Random("%s condition %s" % (self.story["seed"], process.run_id))
        lasts, ends = rng.choice((0.1, 1.0, 10.0, 1000.0)), rng.choice((0, 0, 0, 256, signal.SIGSEGV))
        process.plan = {"term": rng.choice(("dies", "dies", "ignores")), "stuck": 0.0}
        process.fate = self._on_signal
        process.on_end = self._condition_ended
        self.say("%s: condition starts (%s), for %g s, then %s", task, process.run_id, lasts, ends)
        self.oracle.condition_starts(process, task)
        machine.after(lasts, self._end_command, process, ends)

    def _condition_ended(self, process):
        self.say("%s, of %s: ends, status %d", process.what, process.run_id, process.status)

    def fate_of(self, task, run):
        """What a command does, by the story and its own name: not by what else happens."""
        rng = random.Random("%s %s %s %s" % (
            self.story["seed"], task, run.scheduled_for, run.attempt))
        likely = self.tasks.get(task, {}).get("fate") or {}
        shortest, longest = likely.get("lasts", (1, 60))
        fate = {"lasts": round(shortest * (longest / shortest) ** rng.random(), 1), "child": None,
                "ends": 0, "term": "dies", "stuck": 0.0}
        if rng.random() < likely.get("fails", 0.1):
            fate["ends"] = rng.choice((256, 256, 2 * 256, signal.SIGSEGV))
        if rng.random() < likely.get("stubborn", 0.0):
            fate["term"] = rng.choice(("ignores", 3.0, 30.0))
            fate["stuck"] = rng.choice((0.0, 0.0, 20.0, 300.0))
        if rng.random() < likely.get("children", 0.0):
            fate["child"] = {
                "after": rng.random(), "lasts": rng.choice((1.0, 100.0, 5000.0)),
                "leaves": rng.random() < likely.get("leaves", 0.6),
                "foreign": rng.random() < likely.get("foreign", 0.3),
                "closes": rng.random() < 0.5, "term": rng.choice(("dies", "ignores"))}
        return fate

    def _have_child(self, process):
        if process.is_zombie:
            return
        plan = process.plan["child"]
        machine = self.kernel
        child = machine.new_process(process, process.uid)
        child.what = "child of " + process.what
        child.run = process.run
        if plan["leaves"]:
            child.group = child.session = child.pid
        if plan["foreign"]:
            child.uid = kernel.OTHER_USER
        if plan["closes"]:
            for fd in list(child.fds):
                machine.close_file(child.fds.pop(fd))
        child.plan = {"term": plan["term"], "stuck": 0.0}
        child.fate = self._on_signal
        process.run.tree.append(child)
        machine.after(plan["lasts"], self._end_command, child, 0)

    def _on_signal(self, process, number):
        plan = process.plan
        if number == signal.SIGKILL:
            if plan["stuck"]:
                self.kernel.after(plan["stuck"], self._end_command, process, int(number))
            else:
                self._end_command(process, int(number))
        elif plan["term"] == "dies":
            self._end_command(process, int(number))
        elif plan["term"] != "ignores":
            self.kernel.after(plan["term"], self._end_command, process, int(number))

    def _end_command(self, process, status):
        if self.kernel.processes.get(process.pid) is process and not process.is_zombie:
            process.status = status
            self.kernel.end(process)

    def _command_ended(self, process):
        run = process.run
        run.ended_at, run.status = self.kernel.stamp, process.status
        run.wall_end = self.kernel.now()
        self.say("%s: command ends, status %d", run.task, run.status)
        self.oracle.command_ended(run, process)

    def disturb(self, what):
        """Note what hit every run that has no verdict yet."""
        self.oracle.disturbed(what)

    # -- cron

    def _start_cron(self):
        self.cron_number += 1
        self._plan_tick(self.cron_number)

    def _plan_tick(self, number):
        """Wait for the next minute of the wall clock; over minutes in which nothing can happen."""
        machine = self.kernel
        now = machine.now()
        minute = now // MINUTE * MINUTE + MINUTE
        skip_to = self._idle_until(minute)
        if skip_to > minute:
            machine.at(machine.stamp + skip_to - now, self._after_idle, number, minute, skip_to)
        else:
            machine.at(machine.stamp + minute - now, self._call, number)

    def _idle_until(self, minute):
        """The last minute up to which ticks find nothing to do, and nothing else happens."""
        machine = self.kernel
        if machine.processes and any(each.coroutine is not None and not each.is_blocked
                                     for each in machine.processes.values()):
            return minute
        text = self.read(self.sc.HEARTBEAT_NAME)
        if not text:
            return minute
        try:
            wake_at = float(text.split(b" ", 2)[1])
        except (IndexError, ValueError):
            return minute
        next_at = min(wake_at, machine.next_event_at() + machine.offset, minute + 30 * DAY)
        return minute + max(0, (next_at - minute - 1) // MINUTE) * MINUTE

    def _after_idle(self, number, first, last):
        """The minutes are over: `nothing_to_do` says of the first and the last that they were idle.

        In between it only compares the time with limits that both keep.
        """
        if number != self.cron_number:
            return
        machine, sc = self.kernel, self.sc
        heartbeat = (seams.ROOT + "/" + sc.HEARTBEAT_NAME).encode()
        now, mono = machine.now(), machine.monotonic()
        behind = last - first
        is_idle = abs(now - last) < 1 and sc.nothing_to_do(heartbeat, first, mono - behind)
        if is_idle and behind:
            inode = machine.disk.find(heartbeat, machine.disk.root)
            inode.mtime_ns = int((last - MINUTE) * 1e9)
            is_idle = sc.nothing_to_do(heartbeat, last, mono)
        if not is_idle:
            self._call(number)
            return
        self.oracle.tick_ended()
        self.skipped_minutes += int(behind) // MINUTE + 1
        self._plan_tick(number)

    def _call(self, number):
        """cron(8) wakes for a minute."""
        if number != self.cron_number:
            return
        if self.kernel.is_up and self.kernel.stamp >= self.cron_off_until:
            self.tick()
        # The next one is planned when this one has done what it does at once.
        self.kernel.after(1.0, self._plan_tick, number)

    def tick(self):
        self.ticks += 1
        return self.start(["tick"], "tick")

    # -- messages

    def _receive(self, url, body):
        self.kernel.enter("web")
        self.oracle.sent(body, not self.is_receiver_down)
        if self.is_receiver_down:
            return "HTTP status 503"
        self.received.append((self.kernel.stamp, url, body))
        return ""

    # -- what happens to it

    def _take(self, step):
        """A step of the story."""
        self.steps_left -= 1
        after = step.get("after")
        if after is not None:
            self.armed.append((self.kernel.calls + after, step))
            self._set_alert()
            return
        self.say("STEP %s", step_text(step))
        getattr(self, "do_" + step["kind"])(step)

    def _set_alert(self):
        self.kernel.alert_at = min([number for number, _ in self.armed], default=float("inf"))

    def _alert(self, process, call, path):
        """The call has come at which steps of the story are to happen."""
        due = [(number, step) for number, step in self.armed if number <= self.kernel.calls]
        for entry in due:
            step = entry[1]
            if entry not in self.armed:
                continue              # while this process was held up, it happened to another
            if step["kind"] == "error" and not PLAUSIBLE.get(call):
                continue              # at the next call that may fail
            self.armed.remove(entry)
            self._set_alert()
            self.say("STEP %s, in %s (pid %d) at %s %s", step_text(step), process.what, process.pid,
                     call, path or "")
            if step["kind"] == "error":
                errors = PLAUSIBLE[call]
                self.disturb("error")
                self.oracle.met_error(process)
                raise kernel.error(errors[step["choice"] % len(errors)], path)
            if step["kind"] == "kill":
                self.disturb("kill")
                self.kernel.destroy(process, signal.SIGKILL)
                return
            if step["kind"] == "hold":
                self.oracle.is_slow = True
                until = self.kernel.stamp + step["seconds"]
                while self.kernel.stamp < until:
                    self.kernel.block(process, until)
            else:
                getattr(self, "do_" + step["kind"])(step)
                if process.is_doomed:
                    return
        self._set_alert()

    def do_power(self, step):
        """The power fails, and comes back."""
        self.disturb("power")
        self.cron_number += 1
        self.kernel.power_cut(random.Random("%s power %s" % (self.story["seed"], step["at"])))
        self.kernel.after(step["seconds"], self._come_back)

    def _come_back(self):
        if not self.kernel.is_up:
            self.say("the box is up again")
            self.kernel.boot()
            self._start_cron()

    def do_reboot(self, step):
        """The machine goes down in order: SIGTERM, then SIGKILL, then everything on disk."""
        self.disturb("reboot")
        self.cron_number += 1
        for process in list(self.kernel.processes.values()):
            self.kernel.send(process, signal.SIGTERM)
        self.kernel.after(10, self._halt, step)

    def _halt(self, step):
        if self.kernel.is_up:
            self._sync_all(self.kernel.disk.root)
            self.kernel.power_cut(random.Random(0))
            self.kernel.after(step["seconds"], self._come_back)

    def do_clock(self, step):
        """The wall clock leaps."""
        self.oracle.clock_leaps(step["seconds"])
        self.kernel.offset += step["seconds"]
        self.cron_number += 1
        self._start_cron()

    def do_suspend(self, step):
        """Everything stands still for a while, and then it is later."""
        self.disturb("suspend")
        seconds = step["seconds"]
        self.oracle.box_was_off(self.kernel.stamp, self.kernel.stamp + seconds)
        self.kernel.queue[:] = [(stamp if action in (self._take, int) else stamp + seconds, number,
                                 action, arguments)
                                for stamp, number, action, arguments in self.kernel.queue]
        heapq.heapify(self.kernel.queue)
        self.kernel.stamp += seconds
        self.kernel.suspended_s += seconds
        self.cron_number += 1
        self._start_cron()

    def do_cron_off(self, step):
        self.cron_off_until = self.kernel.stamp + step["seconds"]
        self.cron_number += 1
        self._start_cron()

    def do_burst(self, step):
        for _ in range(step["count"]):
            self.tick()

    def do_full(self, step):
        self.kernel.disk.is_full = True
        self.kernel.after(step["seconds"], self._mend_disk)

    def do_read_only(self, step):
        self.kernel.disk.is_read_only = True
        self.kernel.after(step["seconds"], self._mend_disk)

    def do_slow(self, step):
        self.oracle.is_slow = True
        self.kernel.slowness_s = step["latency"]
        self.kernel.after(step["seconds"], self._mend_disk)

    def do_unreadable(self, step):
        self.disturb("unreadable")
        self.kernel.dead_paths = (step["part"],)
        self.kernel.after(step["seconds"], self._mend_disk)

    def _mend_disk(self):
        self.kernel.disk.is_full = self.kernel.disk.is_read_only = False
        self.kernel.slowness_s, self.kernel.dead_paths = 0.0, ()

    def do_hide(self, step):
        """Other users' processes can no longer be seen."""
        self.kernel.hidden = step["is_on"]

    def do_receiver(self, step):
        self.is_receiver_down = True
        self.kernel.after(step["seconds"], self._mend_receiver)

    def _mend_receiver(self):
        self.is_receiver_down = False

    def do_kill_supervisor(self, step):
        victims = [each for each in self.kernel.processes.values()
                   if each.coroutine is not None and each.parent == 1 and not each.is_zombie
                   and "tick" not in each.arguments]
        if victims:
            victim = victims[step["choice"] % len(victims)]
            self.disturb("kill")
            self.kernel.destroy(victim, signal.SIGKILL)

    def do_kill_command(self, step):
        victims = [each for each in self.kernel.processes.values() if each.fate is not None]
        if victims:
            self.kernel.send(victims[step["choice"] % len(victims)], signal.SIGKILL)

    def do_reuse_pid(self, step):
        """The next process gets the number of a command that has ended."""
        ended = [run for run in self.runs[-20:] if not run.is_alive()]
        if ended:
            self.kernel.next_pid = ended[step["choice"] % len(ended)].pid

    # -- people

    def do_edit(self, step):
        """Somebody changes the configuration, in one of the ways in which people do."""
        name, how = step["task"], step["how"]
        oracle = self.oracle
        if how in ("touch", "broken", "partial"):
            text = json.dumps(self.document()).encode()
            if how == "broken":
                self.write(self.path(CONFIG), text[:-2] + b"x]")
            elif how == "partial":
                self.write(self.path(CONFIG), text[:len(text) // 2])
            if how != "touch":
                self.kernel.after(step["seconds"], self.write_config, self.document)
            else:
                self.write(self.path(CONFIG), text)
            oracle.edited(())
            return
        task = self.tasks.get(name) or self.removed.get(name)
        if how == "remove":
            if name not in self.tasks or any(name in each.get("dependencies", ())
                                             for each in self.tasks.values()):
                return
            self.removed[name] = self.tasks.pop(name)
        elif how == "reschedule":
            if name not in self.tasks:
                return
            self.tasks[name] = dict(task, schedule=step["schedule"])
        else:
            self.removed.pop(name, None)
            self.tasks[name] = dict(task, enabled=how != "disable")
        self.write_config(self.document())
        oracle.edited((name,))

    def do_remove_files(self, step):
        """Somebody removes files that the manual calls safe to remove."""
        for name in step["names"]:
            try:
                folder, last = self.kernel.disk.folder_of(self.path(name), self.kernel.disk.root)
                if last in folder.entries:
                    self.kernel.disk.change_names(folder, {last: None})
            except OSError:
                continue
        self.log_was_lost = self.log_was_lost or "logs/symphony_conductor.log" in step["names"]
        if self.sc.STATE_NAME in step["names"]:
            self.oracle.state_is_lost()

    def do_clean_up(self, step):
        """A clean-up beside the conductor removes the logs, or moves them as logrotate does."""
        for name in ("logs", "logs/automation"):
            try:
                folder = self.kernel.disk.find(self.path(name), self.kernel.disk.root)
            except OSError:
                continue
            for log, inode in list(folder.entries.items()):
                if inode.kind == disk.FILE:
                    moved = {log + ".old": inode} if step["how"] == "move" else {}
                    self.kernel.disk.change_names(folder, dict({log: None}, **moved))
        self.log_was_lost = True

    def do_command(self, step):
        """Somebody types a command."""
        if not self.kernel.is_up:
            return
        words = step["words"]
        process = self.start(words, " ".join(words), kernel.ROOT_USER if step.get("as_root") else
                             kernel.USER)
        if words[0] == "status":
            process.on_end = self.oracle.saw_status
        self.oracle.typed(words, process)

    do_pause = do_command

    def _make_peace(self):
        """What went wrong is put right, as somebody would have to do in the end."""
        self.say("PEACE")
        self.armed = []
        self._set_alert()
        self._mend_disk()
        self._mend_receiver()
        if self.read(CONFIG) != json.dumps(self.document()).encode():
            self.write_config(self.document())
        self.kernel.hidden = False
        self.cron_off_until = 0.0
        if not self.kernel.is_up:
            self._come_back()
        for number, scope in enumerate(sorted(self.oracle.pauses)):
            words = ["resume", "--all" if scope == "*" else scope]
            self.kernel.after(1 + number, self.do_command, {"words": words})
        self.cron_number += 1
        self._start_cron()


def step_text(step):
    return " ".join([step["kind"]] + ["%s=%s" % (key, value) for key, value in sorted(step.items())
                                      if key not in ("kind", "at")])


assert HOUR
