#!/usr/bin/env python3
"""How fast the conductor is, against a floor or a peer: python3 tests/bench.py [--runs N] [--only NAME] [--markdown]

Every figure is the median of paired runs (A B A B ...), and every ratio the median of the pairs' ratios. The
interpreter that runs this file is the one that is measured. Only temporary folders are written. The peers come
from tests/requirements-bench.txt; those that are missing are left out. Debian's cron, the peer of the row `run`,
is started in a mount namespace of its own with a crontab of its own, which takes root.
"""

import argparse
import collections
import datetime
import importlib.util
import itertools
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, REPOSITORY)

import symphony_conductor as sc  # noqa: E402

PYTHON = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
SCRIPT = "symphony_conductor.py"
OURS = os.path.join(REPOSITORY, SCRIPT)
BARE = [PYTHON, "-I", "-S", "-c", "pass"]
BARE_NAME = "PY -I -S -c pass"
MANY = 10000
MIB = 1 << 20
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
QUIET_BEFORE_S, QUIET_AFTER_S = 15 * 60, 35 * 60  # around the present, nothing of a quiet configuration is due
RECENTLY_S = 14 * 60  # an anchor before the slot of task_due_now, for as long as a row takes
JUST_BEFORE_S = 150   # the same, for a new configuration: no gap between ticks that the next one would report
ALL_DUE_AFTER_S = 100 * sc.DAY                    # the rarest schedule below is quarterly
WIND_DOWN_S = 60.0

# What cron hands to the line it runs, so that the measured start-up is that of a locale-less cron job.
CRON_ENVIRONMENT = {"HOME": "/", "LOGNAME": "bench", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}

Sample = collections.namedtuple("Sample", "wall cpu peak")
Row = collections.namedtuple("Row", "what measured against ratio target met")
HEADINGS = Row("what", "measured", "floor or peer", "ratio", "target", "met")


# == Measuring ==

def spawn(argv, bound=False):
    """Start a process as cron would, with as little of this one's own work as the platform allows.

    `bound`: the kernel kills it when this process ends (Linux).
    """
    if hasattr(os, "posix_spawn") and not bound:
        return os.posix_spawn(argv[0], argv, CRON_ENVIRONMENT,
                              file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)])
    pid = os.fork()
    if pid == 0:
        try:
            if bound:
                libc().prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.execve(argv[0], argv, CRON_ENVIRONMENT)
        finally:
            os._exit(127)
    return pid


def measure(argv):
    """One run of a command from start to end."""
    start = time.perf_counter()
    _, status, usage = os.wait4(spawn(argv), 0)
    wall = time.perf_counter() - start
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    if code:
        raise SystemExit("exit %d of %s" % (code, " ".join(map(shlex.quote, argv))))
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MAXRSS_UNIT)


def paired(rounds, *subjects):
    """The samples of each subject. Who begins changes from round to round, so that drift favours nobody."""
    samples = [[] for _ in subjects]
    for number in range(rounds):
        for step in range(len(subjects)):
            index = (number + step) % len(subjects)
            samples[index].append(subjects[index]())
    return samples


def median_of(samples, field):
    return statistics.median(getattr(sample, field) for sample in samples)


def ratio_of(samples, floor, field):
    return statistics.median(getattr(a, field) / getattr(b, field) for a, b in zip(samples, floor))


def wait_for(condition, what, timeout_s=WIND_DOWN_S):
    """Poll until the condition holds; `what` says what it is that did not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("timed out after %.0f s: %s" % (timeout_s, what))
        time.sleep(0.02)


ENDING = []  # not empty: this process is about to end


def interrupt(*_):
    """Handle a signal: end this process. A second one must not keep it from what it does at its end."""
    if not ENDING:
        ENDING.append(True)
        sys.exit("interrupted")


def in_child(work, *arguments):
    """Do something in a child. The kernel counts the size of this process, from which they are forked, into the
    peak memory of the measured ones, so it has to stay small."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        status = os.waitpid(pid, 0)[1]
    except BaseException:  # interrupted: what the child started still writes to the folder
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    if status:
        raise SystemExit("a child of the benchmark failed")


def milliseconds(seconds):
    return "%.1f ms" % (seconds * 1e3) if seconds < 0.1 else "%.0f ms" % (seconds * 1e3)


def microseconds(seconds):
    return "%.2f us" % (seconds * 1e6)


def answer(met):
    return "yes" if met else "NO"


def ratio_row(what, samples, floor, floor_name, field, limit=None):
    ratio = ratio_of(samples, floor, field)
    return Row("%s: %s" % (what, {"cpu": "CPU", "wall": "wall"}[field]), milliseconds(median_of(samples, field)),
               "%s: %s" % (floor_name, milliseconds(median_of(floor, field))), "%.2fx" % ratio,
               "<= %gx" % limit if limit else "-", answer(ratio <= limit) if limit else "-")


# == Accounts: the CPU and the memory of all that something starts (Linux) ==

SET_DEATH_SIGNAL = 1      # prctl(2)
NEW_MOUNTS = 0x00020000   # unshare(2)
CORES = 2
QUIET_S, QUIET_CPU_S = 0.5, 0.001


def libc():
    import ctypes  # here, so that this process stays small
    return ctypes.CDLL(None, use_errno=True)


def accounted(work, *arguments):
    """What `work` returns, called on two cores in a child that adopts what the processes below it leave behind.

    The child reaps every one of them, so the kernel adds the CPU of all to that of its children.
    """
    reader, writer = os.pipe()

    def account():
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
        if not sc.become_subreaper():
            raise SystemExit("the kernel allows no subreaper here")
        # However the benchmark ends, nothing that it started stays.
        libc().prctl(SET_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        try:
            result = work(*arguments)
        finally:
            kill_descendants()
        os.write(writer, json.dumps(result).encode("ascii"))
    try:
        in_child(account)
        return json.loads(os.read(reader, 1 << 16).decode("ascii"))
    finally:
        os.close(reader)
        os.close(writer)


def descendants():
    """The pids of all processes below this one."""
    rows, family, size = sc.process_table() or [], {os.getpid()}, 0
    while size < len(family):
        size = len(family)
        family.update(row.pid for row in rows if row.parent in family)
    return family - {os.getpid()}


def kill_descendants():
    ENDING.append(True)
    while True:
        for pid in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def no_child_is_left():
    """Reap the children that have ended; whether none is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def reap_all():
    wait_for(no_child_is_left, "the end of all processes", 5 * WIND_DOWN_S)


def cpu_of_the_reaped():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_of(pid):
    """CPU seconds of a process, without its children; none of one that has ended."""
    import ctypes
    clock = ctypes.c_int()
    error = libc().clock_getcpuclockid(pid, ctypes.byref(clock))
    return 0.0 if error else time.clock_gettime(clock.value)


def cpu_so_far():
    """CPU seconds of all that this process started, whether it still lives or not."""
    return cpu_of_the_reaped() + sum(map(cpu_of, descendants()))


def wait_for_quiet():
    """Wait until the processes below this one only wait; none of them may end meanwhile."""
    before = None

    def is_quiet():
        nonlocal before
        last, before = before, cpu_so_far()
        if last is not None and before - last < QUIET_CPU_S:
            return True
        time.sleep(QUIET_S)
        return False
    wait_for(is_quiet, "processes that only wait")


# == Projects ==

# A tick some seconds ago, by the project's own file: a version may not read what another wrote.
PAST_TICK = """
import sys, time
sys.path.insert(0, sys.argv[1])
import symphony_conductor as sc

class PastClock(sc.Clock):
    def now(self):
        return time.time() - float(sys.argv[2])

sc.Conductor(sc.Store(sys.argv[1]), PastClock()).tick()
"""
NUMBERS = itertools.count(1)


def new_path(folder, name):
    """A path that nothing else takes: children count on from the same number, so it has their pid as well."""
    return os.path.join(folder, name % ("%d-%d" % (os.getpid(), next(NUMBERS))))


class Project:
    """An installed conductor in a temporary folder, with a configuration that `configuration` wrote."""

    def __init__(self, folder, config, script=OURS):
        self.root = new_path(folder, "project-%s")
        shutil.copytree(compiled_copy(folder, script), self.root)
        for name in ("config", "logs"):
            os.mkdir(os.path.join(self.root, name), 0o700)
        shutil.copy2(config, self.path(sc.CONFIG_NAME))
        line = sc.crontab_line(self.root, PYTHON, self.root + "/symphony_conductor.py")
        self.command = ["/bin/sh", "-c", line.replace("* * * * * ", "", 1).replace("\\%", "%")]

    def path(self, name):
        return os.path.join(self.root, name)

    def edit(self):
        """Change a word of the configuration, as a person would."""
        with open(self.path(sc.CONFIG_NAME), encoding="utf-8") as handle:
            text = handle.read()
        with open(self.path(sc.CONFIG_NAME), "w", encoding="utf-8") as handle:
            handle.write(text.replace("kept for", "wanted for", 1))

    def add_drop_ins(self, count):
        """Tasks in files of their own, written a moment ago: the newest changes are looked at twice."""
        folder = self.path(sc.DROP_IN_DIR)
        os.mkdir(folder, 0o700)
        for task in realistic_tasks(count, True):
            task = dict(task, name="own-" + task["name"], dependencies=[])
            with open(os.path.join(folder, task["name"] + ".json"), "w") as handle:
                json.dump(task, handle)
            os.chmod(handle.name, 0o600)
        for path in [folder] + [os.path.join(folder, name) for name in os.listdir(folder)]:
            os.utime(path, (time.time() - 5, time.time() - 5))

    def anchor(self, ago=0.0):
        """A first tick, some time ago: what has come due since then is due now."""
        measure([PYTHON, "-I", "-S", "-c", PAST_TICK, self.root, str(ago)])

    def tick(self):
        return measure(self.command)

    def decisions(self):
        """Changes with every tick that had to decide."""
        return os.stat(self.path(sc.LOCK_NAME)).st_mtime_ns

    def results(self):
        """The status of each run that the history holds."""
        folder, statuses = self.path("status/history"), []
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            with open(os.path.join(folder, name), encoding="utf-8") as handle:
                statuses += [json.loads(line)["status"] for line in handle]
        return statuses

    def expect_successes(self, count):
        if self.results() != ["success"] * count:
            raise SystemExit("%s: not %d successes: %s" % (self.root, count, self.results()))

    def last_recorded_at(self):
        """When the history was last written."""
        folder = self.path("status/history")
        return max(os.stat(os.path.join(folder, name)).st_mtime for name in os.listdir(folder))

    def supervisors(self):
        """What the state holds for running, and the supervisors that live."""
        with open(self.path(sc.STATE_NAME), encoding="ascii") as handle:
            found = [name for name, task in json.load(handle)["tasks"].items() if "run" in task]
        for name in os.listdir(self.path("status/runs")) if os.path.isdir(self.path("status/runs")) else ():
            if name.endswith(".json"):
                with open(self.path("status/runs/" + name), encoding="utf-8") as handle:
                    process = sc.process_of(json.load(handle)["supervisor"])
                found += [name] if process is not None and process.state not in "ZX" else []
        return found

    def wind_down(self):
        """Wait for what still runs. Without a heartbeat the supervisors record their ends and start nothing new."""
        deadline = time.monotonic() + WIND_DOWN_S
        while True:
            if os.path.exists(self.path(sc.HEARTBEAT_NAME)):
                os.unlink(self.path(sc.HEARTBEAT_NAME))
            running = self.supervisors()
            if not running:
                return
            if time.monotonic() > deadline:
                raise SystemExit("%s: still running: %s" % (self.root, ", ".join(running)))
            time.sleep(0.05)

    def remove(self):
        in_child(self.wind_down)
        shutil.rmtree(self.root)


def compiled_copy(folder, script):
    """The conductor with its bytecode cache, as a project has it from the second tick on."""
    copy = os.path.join(folder, "compiled-%08x" % sc.stable_hash(script))
    if not os.path.isdir(copy):
        os.mkdir(copy, 0o700)
        shutil.copy2(script, os.path.join(copy, SCRIPT))
        os.chmod(os.path.join(copy, SCRIPT), 0o700)
        measure([PYTHON, "-I", "-S", "-c", "import sys; sys.path.append(%r); import symphony_conductor" % copy])
    return copy


KINDS = ("backup", "rotate-logs", "sync-mirror", "vacuum-db", "report", "check-links", "expire-cache", "renew-certs")
SHAPES = ("H H * * *", "{m} {h} * * *", "H H(0-5) * * 1-5", "{m} {h} * * {w}", "{m} {h} 1 * *", "H H L * *",
          "{m} */2 * * *", "{m} * * * *", "H/30 * * * *", "{m} {h} 1 */3 *")
NOISY_SHAPES = ("H/30 * * * *",)  # never silent for long enough to be part of a quiet configuration


def realistic_task(number, attempt, shape):
    name = "%s-%d" % (KINDS[number % len(KINDS)], number + attempt * MANY)
    schedule = shape.format(m=(number * 7 + attempt * 13) % 60, h=(number * 5 + attempt) % 24, w=number % 7)
    task = {"name": name, "command": "true", "schedule": schedule, "timeout": 60 + number % 3600,
            "retry_count": number % 4, "retry_delay": 300, "description": "%s of unit %d, kept for the audit" % (
                KINDS[number % len(KINDS)].replace("-", " ").capitalize(), number)}
    if number % 20 == 7:
        task["timezone"] = "Europe/Paris"
    return task


def is_quiet(task, now):
    upcoming = sc.CronSchedule(task["schedule"], task["name"]).next(now - QUIET_BEFORE_S, task.get("timezone"))
    return upcoming is None or upcoming > now + QUIET_AFTER_S


def realistic_tasks(count, quiet):
    """Tasks of many shapes; every tenth depends on the two before it. Quiet ones have no slot around the present."""
    now, tasks = time.time(), []
    shapes = [shape for shape in SHAPES if not (quiet and shape in NOISY_SHAPES)]
    for number in range(count):
        attempt, task = 0, realistic_task(number, 0, shapes[number % len(shapes)])
        while quiet and not is_quiet(task, now):
            attempt += 1
            task = realistic_task(number, attempt, shapes[number % len(shapes)])
        if number % 10 == 9:
            task["dependencies"] = [before["name"] for before in tasks[-2:]]
        tasks.append(task)
    return tasks


def configuration(folder, make_tasks, *arguments, **settings):
    """A configuration file with what `make_tasks` returns."""
    path = new_path(folder, "config-%s.json")
    settings.setdefault("max_concurrent_tasks", 3)

    def write():
        with open(path, "w", encoding="utf-8") as handle:
            json.dump({"tasks": make_tasks(*arguments), "settings": settings}, handle, indent=2)
    in_child(write)
    return path


def quiet_and_one_due():
    return realistic_tasks(MANY - 1, quiet=True) + [task_due_now("due")]


def quiet_and_one_held(count):
    return realistic_tasks(count - 1, quiet=True) + held_tasks(1)


def tasks_due_now(count, command):
    return [task_due_now("job-%d" % number, command) for number in range(count)]


GATE = "gate"  # a FIFO in the project: whoever opens it to read waits until somebody opens it to write


def held_tasks(count):
    """Tasks whose commands run, at no cost, until the gate is opened."""
    return tasks_due_now(count, ": <" + GATE)


def dependent_pair():
    return [task_due_now("first", "sleep 0.3; date +%s.%N >ended"),
            task_due_now("second", "date +%s.%N >started", dependencies=["first"])]


def task_due_now(name, command="true", **more):
    """A task with one slot a day, the last one a minute ago."""
    slot = time.gmtime(time.time() - 60)
    return dict({"name": name, "command": command, "timezone": "UTC", "retry_count": 0,
                 "schedule": "%d %d * * *" % (slot.tm_min, slot.tm_hour)}, **more)


# == Rows ==

def idle_samples(rounds, projects, *subjects):
    """Paired samples of ticks that had nothing to do, and the proof that they did nothing."""
    for project in projects:
        project.anchor()
    for subject in subjects:
        subject()
    before = [project.decisions() for project in projects]
    samples = paired(rounds, *subjects)
    if before != [project.decisions() for project in projects]:
        raise SystemExit("a tick that should have been idle had to decide; run it again")
    return samples


def row_idle(folder, rounds):
    """1: a tick with nothing due, as the installed crontab line calls it."""
    project = Project(folder, configuration(folder, realistic_tasks, 10, True))
    shell = ["/bin/sh", "-c", "exec %s -I -S -c pass" % shlex.quote(PYTHON)]
    line, bare, by_shell = idle_samples(rounds, [project], project.tick, lambda: measure(BARE), lambda: measure(shell))
    rows = [ratio_row("idle tick, crontab line", line, floor, name, field, 1.5)
            for floor, name in ((bare, BARE_NAME), (by_shell, "sh -c 'exec PY ...'")) for field in ("cpu", "wall")]
    if os.geteuid() == 0:
        notes = ["idle: root ignores modes, so the run without a writable bytecode cache was left out"]
    else:
        notes = []
        shutil.rmtree(project.path("__pycache__"))
        os.chmod(project.root, 0o500)
        line, bare = paired(max(3, rounds // 6), project.tick, lambda: measure(BARE))
        os.chmod(project.root, 0o700)
        rows.append(ratio_row("the same, no bytecode cache, folder read-only", line, bare, BARE_NAME, "wall"))
    project.remove()
    return rows, notes


def row_against(folder, rounds, other):
    """The same against another version of the file, `other`."""
    config = configuration(folder, realistic_tasks, 10, True)
    ours, theirs = Project(folder, config), Project(folder, config, other)
    samples = idle_samples(rounds, [ours, theirs], ours.tick, theirs.tick)
    for project in (ours, theirs):
        shutil.rmtree(project.root)
    return [ratio_row("idle tick, crontab line", samples[0], samples[1], "the other file", field)
            for field in ("cpu", "wall")], []


def row_script(folder, rounds):
    """2: the same by `PY symphony_conductor.py tick`."""
    project = Project(folder, configuration(folder, realistic_tasks, 10, True))
    argv = [PYTHON, project.path(SCRIPT), "tick"]
    script, bare = idle_samples(rounds, [project], lambda: measure(argv), lambda: measure(BARE))
    project.remove()
    return [ratio_row("idle tick, PY %s tick" % SCRIPT, script, bare, BARE_NAME, field, 3)
            for field in ("cpu", "wall")], []


def row_growth(folder, rounds):
    """3: an idle tick with 10,000 tasks against one with 10."""
    few = Project(folder, configuration(folder, realistic_tasks, 10, True))
    many = Project(folder, configuration(folder, realistic_tasks, MANY, True))
    large, small = idle_samples(rounds, [many, few], many.tick, few.tick)
    few.remove()
    many.remove()
    return [ratio_row("idle tick, 10,000 tasks", large, small, "10 tasks", field, 1.2) for field in ("cpu", "wall")], []


DROP_INS = 100


def row_drop_ins(folder, rounds):
    """3b: an idle tick with a hundred automations, each in a file of its own, against one without any."""
    config = configuration(folder, realistic_tasks, 10, True)
    without, with_files = Project(folder, config), Project(folder, config)
    in_child(with_files.add_drop_ins, DROP_INS)
    many, none = idle_samples(rounds, [with_files, without], with_files.tick, without.tick)
    without.remove()
    with_files.remove()
    return [ratio_row("idle tick, %d drop-ins" % DROP_INS, many, none, "none", field, 1.2)
            for field in ("cpu", "wall")], []


JSON_ALONE = "import json, sys; kept = [json.load(open(path)) for path in sys.argv[1:]]"


def decided_tick(folder, config, prepare, floors):
    """A subject: one tick in a new project. `floors` collects what parsing the same JSON takes."""
    def run():
        project = Project(folder, config)
        prepare(project)
        files = [path for path in map(project.path, (sc.CONFIG_NAME, sc.STATE_NAME)) if os.path.exists(path)]
        floors.append(measure([PYTHON, "-I", "-S", "-c", JSON_ALONE] + files))
        sample = project.tick()
        project.remove()
        return sample
    return run


def edit_configuration(project):
    project.anchor()
    in_child(project.edit)


def drop_cache(project):
    shutil.rmtree(project.path("__pycache__"))


def decided_rows(what, samples, floors, limited):
    wall, peak = median_of(samples, "wall"), median_of(samples, "peak")
    wall_row = Row(what + ": wall (CPU)", "%s (%s)" % (milliseconds(wall), milliseconds(median_of(samples, "cpu"))),
                   "its JSON alone: %s" % milliseconds(median_of(floors, "wall")),
                   "%.2fx" % ratio_of(samples, floors, "wall"), "<= 0.5 s", answer(wall <= 0.5))
    peak_row = Row(what + ": peak memory", "%.1f MiB" % (peak / MIB),
                   "its JSON alone: %.1f MiB" % (median_of(floors, "peak") / MIB),
                   "%.2fx" % ratio_of(samples, floors, "peak"), "<= 60 MiB", answer(peak <= 60 * MIB))
    rows = [wall_row, peak_row]
    return rows if limited else [row._replace(target="-", met="-") for row in rows]


def row_decide(folder, rounds):
    """4: a tick that has to decide over 10,000 tasks."""
    quiet = configuration(folder, realistic_tasks, MANY, True)
    all_shapes = configuration(folder, realistic_tasks, MANY, False)
    one_due = configuration(folder, quiet_and_one_due)
    cases = (("one task due", one_due, lambda project: project.anchor(RECENTLY_S), True),
             ("first tick, anchors all", quiet, lambda project: None, True),
             ("configuration edited, nothing due", quiet, edit_configuration, True),
             ("all due, three may run", all_shapes, lambda project: project.anchor(ALL_DUE_AFTER_S), True),
             ("first tick, no bytecode cache yet", quiet, drop_cache, False))
    rows = []
    for what, config, prepare, limited in cases:
        floors = []
        samples, = paired(max(3, rounds // 6), decided_tick(folder, config, prepare, floors))
        rows += decided_rows("10,000 tasks, %s" % what, samples, floors, limited)
    return rows, ["decide: a peak below %.1f MiB, that of this process, shows as that" % (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT / MIB)]


def hand_over(folder):
    """Seconds from the end of a dependency to the start of its dependent, as the two commands see it."""
    project = Project(folder, configuration(folder, dependent_pair))
    project.anchor(RECENTLY_S)
    project.tick()
    started = project.path("started")
    wait_for(lambda: os.path.exists(started) and os.path.getsize(started), "the start of the dependent")
    times = []
    for name in ("ended", "started"):
        with open(project.path(name), encoding="ascii") as handle:
            times.append(handle.read())
    project.remove()
    return float(times[1]) - float(times[0])


def row_dependent(folder, rounds):
    """5: from the end of a dependency to the start of its dependent."""
    try:
        gaps = [hand_over(folder) for _ in range(max(10, rounds // 3))]
    except ValueError:
        return [], ["dependent: left out, date(1) knows no %N here"]
    gap = statistics.median(gaps)
    return [Row("end of a dependency to start of its dependent", milliseconds(gap), "slowest of %d: %s" % (
        len(gaps), milliseconds(max(gaps))), "-", "<= 20 ms", answer(gap <= 0.02))], []


# == Rows of whole runs: all that a run starts counts ==

JOBS = 50  # of each daemon
AT_ONCE = 20
ALL_AT_ONCE = 200
RUNS_PER_S = 100
CRON, CRONSTABLE, SHELL = "Debian's cron, 50 lines", "cronstable, 50 jobs", "sh -c true"
TEN, FIFTY, MANY_DUE = "10 tasks due", "50 tasks due", "200 due, 20 at a time"
LIMITS = {CRON: 2.0}
Runs = collections.namedtuple("Runs", "cpu rate")  # CPU seconds of each, and how many a second


def our_runs(folder, count, limit):
    """Runs of tasks that all have come due, from the tick to the end of everything."""
    config = configuration(folder, tasks_due_now, count, "echo", max_concurrent_tasks=limit)
    project = Project(folder, config)
    project.anchor(JUST_BEFORE_S)
    before, start = cpu_so_far(), time.time()
    project.tick()
    reap_all()
    cpu, wall = cpu_so_far() - before, project.last_recorded_at() - start
    project.expect_successes(count)
    shutil.rmtree(project.root)
    return cpu / count, count / wall


def shell_runs():
    return statistics.mean(measure(["/bin/sh", "-c", "true"]).cpu for _ in range(JOBS)), None


PREPARED_S = 15.0  # before the minute: a daemon has read its table by then
MINUTE_S = 5.0     # of the minute: all jobs have ended by then, if they are quick


def daemon_runs(argv, marker):
    """Runs of a daemon with JOBS commands a minute, the last of which writes the file `marker`.

    What it spent before the minute is subtracted, and it is killed so that it spends nothing at its end.
    """
    while time.time() % 60 > 60 - PREPARED_S:
        time.sleep(0.5)
    minute = time.time() // 60 * 60 + 60
    before = cpu_so_far()
    daemon = spawn(["/bin/sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh"] + argv, bound=True)
    time.sleep(minute - 1 - time.time())
    if os.path.exists(marker):
        raise SystemExit("%s did not wait for the minute" % argv[0])
    before += cpu_of(daemon)
    time.sleep(minute + MINUTE_S - time.time())
    wait_for(lambda: os.path.exists(marker) and descendants() == {daemon}, "the last job of %s" % argv[0])
    os.kill(daemon, signal.SIGKILL)
    reap_all()
    return (cpu_so_far() - before) / JOBS, None


def job_lines(form, marker):
    """A table of JOBS commands, each line by a form that takes its number and command."""
    commands = ["echo"] * (JOBS - 1) + ["echo >%s" % marker]
    return "".join(form.format(number=number, command=command) for number, command in enumerate(commands))


# $1: a folder. Hides the crontabs of the system, and the folders that the daemon writes to.
PRIVATE_CRON = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
install -m 600 "$1/table" /var/spool/cron/crontabs/root
mount -t tmpfs tmpfs /run
mkdir "$1/empty"
touch "$1/none"
test ! -d /etc/cron.d || mount --bind "$1/empty" /etc/cron.d
test ! -f /etc/crontab || mount --bind "$1/none" /etc/crontab
"""


def private_mounts():
    """Give this process mounts of its own (unshare(2)); whether that is allowed."""
    return libc().unshare(NEW_MOUNTS) == 0


def cron_runs(folder):
    folder = tempfile.mkdtemp(dir=folder)
    marker = os.path.join(folder, "marker")
    with open(os.path.join(folder, "table"), "w") as handle:
        handle.write('MAILTO=""\n' + job_lines("* * * * * {command}\n", marker))
    if not private_mounts():
        raise SystemExit("no mount namespace")
    measure(["/bin/sh", "-c", PRIVATE_CRON, "sh", folder])
    return daemon_runs([cron_program(), "-f"], marker)


def cron_program():
    return shutil.which("cron", path="/usr/sbin:/usr/bin:/sbin:/bin")


CRONSTABLE_JOB = """\
  - name: job-{number}
    command: {command}
    schedule: "* * * * *"
    captureStdout: true
"""


def cronstable_runs(folder):
    folder = tempfile.mkdtemp(dir=folder)
    marker = os.path.join(folder, "marker")
    with open(os.path.join(folder, "jobs.yaml"), "w") as handle:
        handle.write("jobs:\n" + job_lines(CRONSTABLE_JOB, marker))
    return daemon_runs([sys.executable, "-m", "cronstable", "-c", handle.name], marker)


def available_daemons():
    """({name: function of a folder}, notes on those that are not here)"""
    daemons, notes = collections.OrderedDict(), []
    if os.geteuid() != 0:
        notes.append("run: cron is left out: a crontab of the benchmark's own takes root")
    elif not cron_program():
        notes.append("run: cron is left out: there is none here (apt-get install cron)")
    elif not accounted(private_mounts):
        notes.append("run: cron is left out: mount namespaces are not allowed here")
    else:
        daemons[CRON] = cron_runs
    if importlib.util.find_spec("cronstable"):
        daemons[CRONSTABLE] = cronstable_runs
    else:
        notes.append("run: cronstable is left out: it is not installed "
                     "(Python 3.10 or newer: pip install -r tests/requirements-bench.txt)")
    return daemons, notes


def row_run(folder, rounds):
    """6: the CPU of a run, against one of cron and one of an asyncio daemon. Each daemon takes a minute."""
    daemons, notes = available_daemons()
    subjects = collections.OrderedDict((name, (work, folder)) for name, work in daemons.items())
    subjects[SHELL] = (shell_runs,)
    subjects[TEN] = (our_runs, folder, 10, JOBS)
    subjects[FIFTY] = (our_runs, folder, JOBS, JOBS)
    subjects[MANY_DUE] = (our_runs, folder, ALL_AT_ONCE, AT_ONCE)
    samples = paired(max(1, rounds // 20), *[
        lambda work=work: Runs(*accounted(*work)) for work in subjects.values()])
    runs = dict(zip(subjects, samples))
    rows = [ratio_row("a run, " + name, runs[name], runs[peer], peer, "cpu", LIMITS.get(peer))
            for name in (TEN, FIFTY) for peer in list(daemons) + [SHELL]]
    rows.append(ratio_row("a run, " + MANY_DUE, runs[MANY_DUE], runs[TEN], TEN, "cpu", 1.3))
    rate = median_of(runs[MANY_DUE], "rate")
    return rows + [Row("runs a second, " + MANY_DUE, "%.0f" % rate, "-", "-", ">= %d" % RUNS_PER_S,
                       answer(rate >= RUNS_PER_S))], notes


def held_project(folder, config, count, script=OURS):
    """A project with so many runs that wait for its gate to be opened."""
    project = Project(folder, config, script)
    os.mkfifo(project.path(GATE))
    project.anchor(JUST_BEFORE_S)
    project.tick()
    wait_for(lambda: len(descendants()) - len(conductors()) >= count, "%d commands" % count)
    wait_for_quiet()
    return project


def let_go(project, count):
    """Open the gate, and wait for the end of everything."""
    gate = os.open(project.path(GATE), os.O_RDWR)  # as a reader too, because opening waits for one
    reap_all()
    os.close(gate)
    project.expect_successes(count)
    shutil.rmtree(project.root)


def conductors():
    """The pids of the processes below this one that are the conductor's, not a command's: they run Python."""
    return [pid for pid in descendants() if program_of(pid) == PYTHON]


def program_of(pid):
    try:
        return os.readlink("/proc/%d/exe" % pid)
    except OSError:
        return ""


def end_of_run(folder, config, script):
    """The CPU of everything from the moment that a command ends, in a Sample."""
    def account():
        project = held_project(folder, config, 1, script)
        before = cpu_so_far()
        let_go(project, 1)
        return cpu_so_far() - before
    return Sample(None, accounted(account), None)


def row_end(folder, rounds, other=None):
    """7: the end of a run, with 10,000 tasks configured: with 10, or by another version of the file, `other`."""
    rounds = max(5, rounds // 10)
    what = "end of a run, 10,000 tasks"

    def subject(count, script=OURS):
        return lambda: end_of_run(folder, configuration(folder, quiet_and_one_held, count), script)
    if other is None:
        many, few = paired(rounds, subject(MANY), subject(10))
        return [ratio_row(what, many, few, "10 tasks", "cpu")], []
    ours, theirs = paired(rounds, subject(MANY), subject(MANY, other))
    return [ratio_row(what, ours, theirs, "the other file", "cpu", 0.25)], []


MEMORY_FIELDS = ("Pss", "Private_Clean", "Private_Dirty")
Memory = collections.namedtuple("Memory", "share own")  # bytes for each running task


def memory_of_runs(folder, count):
    """What the conductor's processes hold, for each task that runs.

    The two Python processes of the benchmark share the program's file with them, and thereby count
    as two of those among whom the kernel divides a shared page.
    """
    config = configuration(folder, held_tasks, count, max_concurrent_tasks=count)
    project = held_project(folder, config, count)
    kib = collections.Counter()
    supervisors = conductors()
    if not supervisors:
        raise SystemExit("memory: no process of the conductor was found")
    for pid in supervisors:
        with open("/proc/%d/smaps_rollup" % pid) as handle:
            for name, _, value in (line.partition(":") for line in handle):
                if name in MEMORY_FIELDS:
                    kib[name] += int(value.split()[0])
    let_go(project, count)
    pss, clean, dirty = [kib[name] * 1024 / count for name in MEMORY_FIELDS]
    return pss, clean + dirty


def memory_row(what, sizes, limit=None):
    size = statistics.median(sizes)
    row = Row("memory, " + what, "%.1f MB" % (size / 1e6),
              "largest of %d: %.1f MB" % (len(sizes), max(sizes) / 1e6), "-", "-", "-")
    if limit is None:
        return row
    return row._replace(target="<= %g MB" % (limit / 1e6), met=answer(size <= limit))


def row_memory(folder, rounds):
    """8: the memory of the conductor for each task that runs."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        return [], ["memory: left out, there is no /proc/PID/smaps_rollup here"]
    many, single = paired(max(3, rounds // 10), *[
        lambda count=count: Memory(*accounted(memory_of_runs, folder, count)) for count in (AT_ONCE, 1)])
    return [memory_row("a running task, PSS, %d at once" % AT_ONCE, [memory.share for memory in many], 2.5e6),
            memory_row("a running task, PSS, alone", [memory.share for memory in single]),
            memory_row("a running task, shared with nobody, alone", [memory.own for memory in single], 7e6)], []


OUTPUT_BYTES = 10 ** 9
PRINTING = "head -c %d /dev/zero" % OUTPUT_BYTES
ALL_KEPT = 2 * OUTPUT_BYTES  # a max_output_bytes that drops nothing


def output_of_run(folder, kept, limits):
    """The CPU of a run that prints much: the tick that starts it counts as well."""
    config = configuration(folder, lambda: [task_due_now("job", PRINTING, **limits)])
    project = Project(folder, config)
    project.anchor(JUST_BEFORE_S)
    before = cpu_so_far()
    project.tick()
    reap_all()
    cpu = cpu_so_far() - before
    project.expect_successes(1)
    size = os.stat(project.path("logs/automation/job.log")).st_size
    if not kept <= size < kept + MIB:
        raise SystemExit("the log holds %d bytes, and not %d and little more" % (size, kept))
    shutil.rmtree(project.root)
    return cpu


def output_to_file(folder):
    path = os.path.join(folder, "output")
    cpu = measure(["/bin/sh", "-c", "%s >%s" % (PRINTING, shlex.quote(path))]).cpu
    os.unlink(path)
    return cpu


def row_output(folder, rounds):
    """9: 1 GB of output through a run."""
    subjects = ((output_of_run, folder, sc.Task.max_output_bytes, {}),
                (output_of_run, folder, OUTPUT_BYTES, {"max_output_bytes": ALL_KEPT}),
                (output_to_file, folder))
    capped, whole, plain = paired(max(3, rounds // 20), *[
        lambda work=work: Sample(None, accounted(*work), None) for work in subjects])
    return [ratio_row("1 GB of output, max_output_bytes " + what, samples, plain, "cmd >file", "cpu", 2)
            for what, samples in (("by default", capped), ("of 2 GB", whole))], []


# == The row against the peers ==

SLOTS = 200
START = 1743206400  # 2025-03-29T00:00:00Z: the next night Europe/Paris skips an hour
ZONES = ("UTC", "Europe/Paris")
EXPRESSIONS = ("0 2 * * *", "30 2 * * *", "0 3 * * 0", "*/30 * * * *", "0 * * * *", "0 4 * * *", "0 5 1 * *",
               "0 0 29 2 *", "15 10 13 * 5", "*/7 3-19/4 * 1,6 1-5")
# APScheduler counts weekdays from Monday = 0, and lets both day fields count where cron takes either.
APSCHEDULER_DIALECT = {"0 3 * * 0": ("0 3 * * sun",), "15 10 13 * 5": ("15 10 13 * *", "15 10 * * fri"),
                       "*/7 3-19/4 * 1,6 1-5": ("*/7 3-19/4 * 1,6 mon-fri",)}


def conductor_chain(expression, zone):
    """A function that returns the coming slots; what it needs is built beforehand."""
    schedule = sc.CronSchedule(expression)

    def chain():
        at, slots = START, []
        for _ in range(SLOTS):
            at = schedule.next(at, zone)
            slots.append(at)
        return slots
    return chain


def start_in(zone):
    import zoneinfo
    return datetime.datetime.fromtimestamp(START, zoneinfo.ZoneInfo(zone))


def cronsim_chain(expression, zone):
    from cronsim import CronSim
    slots = CronSim(expression, start_in(zone))
    return lambda: [next(slots) for _ in range(SLOTS)]


def croniter_chain(expression, zone):
    from croniter import croniter
    slots = croniter(expression, start_in(zone))
    return lambda: [slots.get_next() for _ in range(SLOTS)]


def apscheduler_chain(expression, zone):
    from apscheduler.triggers.combining import OrTrigger
    from apscheduler.triggers.cron import CronTrigger
    at = start_in(zone)
    parts = APSCHEDULER_DIALECT.get(expression, (expression,))
    triggers = [CronTrigger.from_crontab(part, at.tzinfo) for part in parts]
    trigger = triggers[0] if len(triggers) == 1 else OrTrigger(triggers)

    def chain():
        slot, slots = at, []
        for _ in range(SLOTS):
            slot = trigger.get_next_fire_time(slot, slot)
            slots.append(slot)
        return slots
    return chain


PEERS = collections.OrderedDict((("cronsim", cronsim_chain), ("croniter", croniter_chain),
                                 ("APScheduler", apscheduler_chain)))


def epochs(slots):
    return [slot.timestamp() if isinstance(slot, datetime.datetime) else slot for slot in slots]


def timed(make, expression, zone):
    """(CPU seconds to build, CPU seconds per slot)"""
    start = time.process_time()
    chain = make(expression, zone)
    built = time.process_time()
    chain()
    return built - start, (time.process_time() - built) / SLOTS


def disagreement(name, expression, zone, slots, ours):
    """A line that says where a peer's slots differ, or ''."""
    theirs = epochs(slots)
    different = [(a, b) for a, b in zip(ours, theirs) if a != b]
    if not different:
        return ""
    a, b = different[0]
    return "next: '%s' in %s: %s differs in %d of %d slots, first %s where ours is %s" % (
        expression, zone, name, len(different), SLOTS, sc.local_text(b, zone), sc.local_text(a, zone))


def available_peers():
    """The peers that are installed, and a line for each that is not."""
    peers, notes = [], []
    for name, make in PEERS.items():
        try:
            make(EXPRESSIONS[0], "UTC")
            peers.append((name, make))
        except ImportError as error:
            notes.append("next: %s is skipped (%s); pip install -r tests/requirements-bench.txt" % (name, error))
    return peers, notes


def time_everyone(subjects, rounds):
    """{(subject, expression, zone): [(built, per slot), ...]}, and the disagreements."""
    times, notes = collections.defaultdict(list), []
    for zone in ZONES:
        for expression in EXPRESSIONS:
            ours = subjects[0][1](expression, zone)()  # the first chain also reads the zone's data
            for name, make in subjects[1:]:
                notes.append(disagreement(name, expression, zone, make(expression, zone)(), ours))
            for number in range(rounds):
                for step in range(len(subjects)):
                    name, make = subjects[(number + step) % len(subjects)]
                    times[name, expression, zone].append(timed(make, expression, zone))
    return times, [note for note in notes if note]


def row_next(folder, rounds):
    """10: CronSchedule.next against the peers."""
    peers, notes = available_peers()
    subjects = [("ours", conductor_chain)] + peers
    times, disagreements = time_everyone(subjects, max(5, rounds // 6))
    names = [name for name, _ in subjects]
    built, per_slot = [{key: statistics.median(pair[index] for pair in pairs) for key, pairs in times.items()}
                       for index in (0, 1)]
    rows = []
    for zone in ZONES:
        totals = [sum(per_slot[name, each, zone] for each in EXPRESSIONS) / len(EXPRESSIONS) for name in names]
        rows.append(faster_row("next slot, %s, mean of all" % zone, names, totals))
        for each in EXPRESSIONS:
            rows.append(faster_row("next slot, %s, '%s'" % (zone, each), names,
                                   [per_slot[name, each, zone] for name in names]))
    totals = [sum(built[name, each, "UTC"] for each in EXPRESSIONS) / len(EXPRESSIONS) for name in names]
    rows.append(faster_row("building a schedule, mean of all", names, totals, limit=None))
    return rows, notes + disagreements


def faster_row(what, names, seconds, limit=5):
    """The first against the fastest of the others."""
    if len(names) == 1:
        return Row(what, microseconds(seconds[0]), "no peer installed", "-", "-", "-")
    ratio = min(seconds[1:]) / seconds[0]
    others = ", ".join("%s %s" % (name, microseconds(each)) for each, name in sorted(zip(seconds[1:], names[1:])))
    return Row(what, microseconds(seconds[0]), others, "%.1fx" % ratio, ">= %gx" % limit if limit else "-",
               answer(ratio >= limit) if limit else "-")


# == The table ==

ROWS = collections.OrderedDict((("idle", row_idle), ("script", row_script), ("growth", row_growth),
                                ("drop-ins", row_drop_ins), ("decide", row_decide), ("dependent", row_dependent),
                                ("run", row_run), ("end", row_end), ("memory", row_memory), ("output", row_output),
                                ("next", row_next)))
ACCOUNTED = ("run", "end", "memory", "output")  # these take Linux
AGAINST = collections.OrderedDict((("idle", row_against), ("end", row_end)))


def machine():
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as handle:
            names = [line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return "%s, %d cores, %s %s, Python %s, load %.2f" % (model, os.cpu_count() or 0, platform.system(),
                                                          platform.release(), platform.python_version(),
                                                          os.getloadavg()[0])


def table(rows, markdown):
    rows = [HEADINGS] + rows
    if markdown:
        lines = ["| %s |" % " | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
        return "\n".join(lines[:1] + ["|%s" % ("---|" * len(HEADINGS))] + lines[1:])
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, metavar="N",
                        help="pairs of the quick rows (default 60); the slow ones take a sixth of it")
    parser.add_argument("--only", choices=list(ROWS), metavar="NAME", help="one of %s" % ", ".join(ROWS))
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--against", metavar="FILE", help="only the rows %s, against that version of %s, "
                        "such as git show COMMIT:%s gives" % (" and ".join(AGAINST), SCRIPT, SCRIPT))
    args = parser.parse_args()
    table_of_rows = AGAINST if args.against else ROWS
    if args.only and args.only not in table_of_rows:
        parser.error("--against: the row is one of %s" % ", ".join(AGAINST))
    for name in ("SYMPHONY_ROOT", "SYMPHONY_ALLOW_INSECURE", "TZ"):
        os.environ.pop(name, None)
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    rows, notes = [], []
    other = [os.path.abspath(args.against)] if args.against else []
    folder = os.path.realpath(tempfile.mkdtemp(prefix="conductor-bench-"))
    about = machine()
    try:
        for name in [args.only] if args.only else table_of_rows:
            if name in ACCOUNTED and not sys.platform.startswith("linux"):
                notes.append("%s: left out, it takes Linux" % name)
                continue
            sys.stderr.write("%s ...\n" % name)
            more, remarks = table_of_rows[name](folder, args.runs, *other)
            rows += more
            notes += remarks
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%s\n\n%s\n" % (about, table(rows, args.markdown)))
    for note in notes:
        print(("- " if args.markdown else "") + note)


if __name__ == "__main__":
    main()
