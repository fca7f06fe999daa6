#!/usr/bin/env python3
"""A power cut at every system call: what the last fsync had not covered is thrown away.

    python tests/power.py            every scenario, cut at every point; prints what was counted

A scenario runs under strace. Its trace is replayed into a model of the file system, and after each
call the tree is built as a power cut would leave it, under two models:

    unsynced    nothing is left but what an fsync of the file, and for its name an fsync of the
                folder, had covered
    names       names and renames are kept at once; the content of a file is that of its last
                fsync, and nothing when there was none

From each tree the conductor ticks on, with a clock that is moved. It must lose no verdict that was
committed, start nothing again that had begun, and leave no slot unexplained.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from unittest import mock

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import symphony_conductor as sc  # noqa: E402

STRACE = shutil.which("strace")
MODELS = ("unsynced", "names")
STATE = "conductor_state.json"
CALLS = ("open,openat,creat,write,pwrite64,writev,fsync,fdatasync,ftruncate,rename,renameat,"
         "renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,utimensat")
RECOVERY_TICKS = 12
NOBODY = 2 ** 30  # a pid that no process can have: a signal to group 1 would go to everybody

# What each task does: say outside of the root that it ran, then end as the scenario wants it.
SAY = ('echo "$SYMPHONY_TASK $SYMPHONY_SCHEDULED_FOR $SYMPHONY_ATTEMPT $SYMPHONY_RUN_ID" '
       '>> "$SYMPHONY_ROOT.world"; ')

DRIVER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import symphony_conductor as sc
store = sc.Store(sys.argv[2])

class Earlier(sc.Clock):
    def now(self):
        return time.time() - 150

def held():
    root = sc.Store(store.root)
    root.hold()  # as the commands do: else no supervisor is forked
    return root

def idle():
    state = store.read_state()[0]
    if any(known.run or known.cycle and known.cycle.phase != "waiting"
           for known in state.tasks.values()):
        return False
    if not store.lock.acquire(10):
        return False
    store.lock.release()
    return True

for step in sys.argv[3:]:
    verb, _, name = step.partition(" ")
    conductor = sc.Conductor(held(), Earlier() if verb == "anchor" else None)
    if verb in ("anchor", "tick"):
        conductor.tick()
        deadline = time.monotonic() + 30
        while verb == "tick" and not idle() and time.monotonic() < deadline:
            time.sleep(0.02)
    elif verb == "run":
        conductor.run(name, "ignore")
    elif verb == "pause":
        conductor.pause(name, None, "")
    elif verb == "resume":
        conductor.resume(name)
    elif verb == "edit":
        path = store.config_path
        with open(path) as handle:
            text = handle.read()
        with open(path, "w") as handle:
            handle.write(text.replace(*name.split(" ")))
"""


def due_once(name, ending="true", **more):
    """A task with one slot, a minute ago; no new minute brings another."""
    minute = time.gmtime(time.time() - 60)
    return dict({"name": name, "command": SAY + ending, "timezone": "UTC", "retry_count": 0,
                 "schedule": "%d %d * * *" % (minute.tm_min, minute.tm_hour)}, **more)


def scenarios():
    """Name -> (tasks, settings, steps)."""
    chain = [due_once("first"), due_once("second", dependencies=["first"]),
             due_once("failing", "test $SYMPHONY_ATTEMPT -gt 1", retry_count=1, retry_delay=0),
             due_once("third", "exit 3", dependencies=["second", "failing"])]
    crowd = [due_once("t%d" % number, "exit %d" % (number == 3)) for number in range(5)]
    crowd.append(due_once("last", dependencies=["t0", "t4"]))
    crowd.append(due_once("slow", "sleep 9", timeout=0.2, kill_grace=1, retry_count=1,
                          retry_delay=0))
    by_hand = [due_once("a"), due_once("b", dependencies=["a"])]
    edit = 'edit "retry_count": "retry_delay":0,"retry_count":'
    return {
        "chain": (chain, {}, ["anchor", "tick"]),
        "crowd": (crowd, {"max_concurrent_tasks": 2}, ["anchor", "tick", "tick"]),
        "by hand": (by_hand, {}, ["anchor", "pause b", "tick", "run b", "run a", "resume b", "tick",
                                  edit, "tick", "run b", "tick"]),
    }


def strace_works():
    """Whether programs can be looked at here."""
    return bool(STRACE) and subprocess.call(
        [STRACE, "-f", "-y", "-qq", "-xx", "-o", os.devnull, sys.executable, "-I", "-S", "-c", ""],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


# -- the trace

class Node:
    """A file, a folder or a pipe: as it is, and as the last fsync left it."""

    def __init__(self, entries=None, data=b"", is_pipe=False):
        self.entries, self.data, self.is_pipe = entries, data, is_pipe
        self.synced = b"" if entries is None else {}
        self.mtime = None

    def sync(self):
        self.synced = self.data if self.entries is None else dict(self.entries)

    def seen(self, model):
        """What a power cut leaves of it: bytes, or the entries of a folder."""
        if self.entries is not None and model == "names":
            return self.entries
        return self.synced


class Disk:
    """The file system below one folder, changed by the calls of a trace."""

    def __init__(self, root):
        self.root = root
        self.top = Node({})
        self.world = []  # what the tasks said outside of it
        self._load(self.top, root)

    def _load(self, node, path):
        for name in os.listdir(path):
            below = os.path.join(path, name)
            if os.path.isdir(below):
                node.entries[name] = Node({})
                self._load(node.entries[name], below)
            else:
                node.entries[name] = Node(data=pathlib.Path(below).read_bytes())
                node.entries[name].mtime = os.stat(below).st_mtime
                node.entries[name].sync()
        node.sync()

    def find(self, path):
        """(folder, name) of a path below the root, or None."""
        if path.startswith("./"):
            path = self.root + path[1:]  # ticks and supervisors stand in it
        if path != self.root and not path.startswith(self.root + "/"):
            return None
        folder, parts = self.top, path[len(self.root) + 1:].split("/")
        for part in parts[:-1]:
            folder = folder.entries[part]
        return folder, parts[-1]

    def node(self, path):
        place = self.find(path)
        if place is None:
            return None
        folder, name = place
        return folder.entries.get(name) if name else folder

    def apply(self, call, fds, texts, line):
        """Carry out one call that succeeded; whether it changed anything here."""
        if call in ("write", "writev", "pwrite64") and fds[0] == self.root + ".world":
            self.world += texts[0].decode().splitlines()
            return True
        if call in ("open", "openat", "creat"):
            return self._open(fds[-1], line)
        paths = [os.fsdecode(text) for text in texts]
        if call in ("write", "writev", "pwrite64", "ftruncate", "fsync", "fdatasync"):
            return self._descriptor(call, fds[0], texts, line)
        if call == "utimensat":
            node = self.node(paths[0] if paths else fds[0])
            times = re.findall(r"tv_sec=(\d+), tv_nsec=(\d+)", line)
            if node is not None and times:
                node.mtime = int(times[1][0]) + int(times[1][1]) / 1e9
            return False
        places = [self.find(path) for path in paths[:2]]
        if not places or None in places:
            return False
        return self._name(call, places, line)

    def _open(self, path, line):
        place = self.find(path)
        if place is None or "O_CREAT" not in line and "O_TRUNC" not in line:
            return False
        folder, name = place
        known = folder.entries.get(name)
        if known is None:
            folder.entries[name] = Node()
        elif "O_TRUNC" in line and known.data:
            known.data = b""
        else:
            return False
        return True

    def _descriptor(self, call, path, texts, line):
        node = self.node(path)
        if node is None or node.is_pipe:
            return False
        if call in ("fsync", "fdatasync"):
            node.sync()
        elif call == "ftruncate":
            node.data = node.data[:int(re.search(r">, (\d+)", line).group(1))]
        elif call == "pwrite64":
            node.data = texts[0] + node.data[len(texts[0]):]  # of the conductor's files, at 0 alone
        else:
            node.data += b"".join(texts)  # they are all appended to, or written from their start
        return True

    def _name(self, call, places, line):
        (folder, name), (target, new_name) = places[0], places[-1]
        if call.startswith("rename"):
            target.entries[new_name] = folder.entries.pop(name)
        elif call.startswith("link"):
            target.entries[new_name] = folder.entries[name]
        elif call in ("unlink", "unlinkat", "rmdir"):
            del folder.entries[name]
        elif call.startswith("mkdir"):
            folder.entries[name] = Node({})
        else:
            folder.entries[name] = Node(is_pipe=True)
        return True

    def image(self, model):
        """The tree that a power cut leaves: path -> bytes, None for a folder, '|' for a pipe."""
        found = {}

        def walk(node, path):
            for name, below in node.seen(model).items():
                if below.entries is None:
                    found[path + name] = "|" if below.is_pipe else (below.seen(model), below.mtime)
                else:
                    found[path + name] = None
                    walk(below, path + name + "/")

        walk(self.top, "")
        return found


def unescaped(text):
    return bytes(bytearray(int(pair, 16) for pair in text.split("\\x")[1:]))


def calls_of(trace):
    """(call, its descriptors' paths, its texts, line) of each one that succeeded, as they ended."""
    begun = {}
    for line in trace.splitlines():
        pid, _, text = line.partition(" ")
        text = text.lstrip()
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if resumed:
            text = begun.pop(pid, "") + resumed.group(1)
        if text.endswith("<unfinished ...>"):
            begun[pid] = text[:-len("<unfinished ...>")]
            continue
        call = re.match(r"(\w+)\(", text)
        if call and not re.search(r"\)\s+= -1 |\)\s+= \?", text):
            fds = [os.fsdecode(unescaped(path)) for path in re.findall(r"<((?:\\x..)+)>", text)]
            texts = [unescaped(part) for part in re.findall(r'"((?:\\x..)*)"', text)]
            yield call.group(1), fds, texts, text


def record(root, trace, tasks, settings, steps):
    """Run a scenario under strace; the disk as it was before."""
    (root / "config").mkdir(mode=0o700, parents=True)
    root.chmod(0o700)
    path = root / "config" / "conductor_config.json"
    path.write_text(json.dumps({"tasks": tasks, "settings": settings}))
    path.chmod(0o600)
    os.utime(str(path), (time.time() - 200, time.time() - 200))
    disk = Disk(str(root))
    command = [STRACE, "-f", "-y", "-qq", "-xx", "-s", "1000000", "-e", "trace=" + CALLS, "-e",
               "signal=none", "-o", str(trace), sys.executable, "-I", "-S", "-c", DRIVER,
               str(REPOSITORY), str(root)] + steps
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")
    return disk


# -- what has to survive

class Promises:
    """What was committed, and what had begun, up to a point of the trace."""

    def __init__(self, disk):
        self.disk = disk
        self.verdicts, self.events = set(), set()  # their lines
        self.runs = set()       # run ids that said outside that they had begun
        self.begun = set()      # (task, scheduled_for, attempt) of these
        self.succeeded = set()  # the same, of results that are on disk
        self._state = None

    def note(self):
        """Look at the disk after a call."""
        for line in self.disk.world:
            self.begun.add(tuple(line.split()[:3]))
            self.runs.add(line.split()[3])
        on_disk = self.disk.top.synced.get(STATE)
        if on_disk is not None and on_disk.synced != self._state:
            self._state = on_disk.synced
            for entry in json.loads(self._state.decode()).get("pending", ()):
                text = json.dumps(entry, sort_keys=True)
                if "event" not in entry and not entry.get("interim"):
                    self.verdicts.add(text)
                elif "event" in entry and "channel" not in entry:
                    self.events.add(text)
        runs = self.disk.top.synced.get("status")
        runs = runs and runs.synced.get("runs")
        for name, node in (runs.synced if runs else {}).items():
            if name.endswith(".json") and node.synced:
                run = json.loads(node.synced.decode())
                if run.get("result", {}).get("status") == "success":
                    self.succeeded.add((run["task"], run["scheduled_for"], str(run["attempt"])))

    def copy(self):
        """(verdicts, events, runs, what must not be started again), as they are now."""
        return (set(self.verdicts), set(self.events), set(self.runs), self.begun | self.succeeded)


def cuts(disk, trace):
    """(number of calls so far, model, image, promises) of each cut that differs from the next.

    Of points that leave the same tree the last one counts: it has promised the most.
    """
    promises = Promises(disk)
    number, before = 0, {}
    for call, fds, texts, line in calls_of(trace):
        if not disk.apply(call, fds, texts, line):
            continue
        for model in MODELS:
            image = disk.image(model)
            if model in before and image != before[model][2]:
                yield before[model]
            before[model] = (number, model, image, None)
        promises.note()
        number += 1
        kept = promises.copy()
        for model in MODELS:
            before[model] = (number, model, before[model][2], kept)
    for model in MODELS:
        yield before[model]


# -- after the power cut

class HandClock(sc.Clock):
    """A clock that stands still until it is moved; the machine was started anew."""

    def __init__(self, now):
        self.at, self.mono = now, 50.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.mono

    def suspended(self):
        return 0.0

    def advance(self, seconds):
        self.at += seconds
        self.mono += seconds


def build(root, image):
    """The tree of an image, for the owner alone."""
    shutil.rmtree(root, ignore_errors=True)
    os.mkdir(root, 0o700)
    for path in sorted(image):
        what, full = image[path], os.path.join(root, path)
        if what is None:
            os.mkdir(full, 0o700)
        elif what == "|":
            os.mkfifo(full, 0o600)
        else:
            with open(os.open(full, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as handle:
                handle.write(what[0])
            if what[1] is not None:
                os.utime(full, (what[1], what[1]))


def recover(root, now):
    """Tick until nothing is left to do: (what was started, notes on the state, the clock).

    What waits for a dependency that failed for good goes on waiting.
    """
    starts, clock = [], HandClock(now)
    notes = sc.Store(root).read_state()[1]

    def launch(store, verb, spec, lock):
        assert verb == "start", "nothing outlives a power cut"
        starts.append((spec["task"], spec["scheduled_for"], str(spec["attempt"])))
        result = {"status": "success", "exit_code": 0, "ended_at": clock.now(), "duration_s": 0.0,
                  "output_tail": "", "output_bytes": 0}
        store.write_run(spec["task"], dict(
            spec, env={}, pid=NOBODY, pid_start="", boot_id=sc.current_boot_id(), supervisor=os.getpid(),
            started_mono=clock.monotonic(), result=result))
        lock.release()

    for _ in range(RECOVERY_TICKS):
        clock.advance(sc.MINUTE)
        sc.Conductor(sc.Store(root), clock, launch, lambda store: None).tick()
        state = sc.Store(root).read_state()[0]
        open_ones = [name for name, known in state.tasks.items() if known.run is not None or (
            known.cycle is not None and known.cycle.phase != "waiting")]
        if state.tasks and not open_ones:
            break
    else:
        raise AssertionError("they never come to an end: %s" % open_ones)
    return starts, notes, clock


def check(root, image, kept, now):
    """Hold the promises against what is left. Raises AssertionError."""
    verdicts, events, runs, done = kept
    build(root, image)
    starts, notes, clock = recover(root, now)
    assert notes == [], "the state is whole"
    assert not set(starts) & done, ("started again", set(starts) & done)
    assert len(set(starts)) == len(starts), ("started twice", starts)
    store = sc.Store(root)
    history = list(store.verdicts(0))
    lost = verdicts - {json.dumps(each, sort_keys=True) for each in history}
    assert not lost, ("verdicts that were committed", lost)
    lost = events - {json.dumps(each, sort_keys=True) for each in store.events()}
    assert not lost, ("events that were committed", lost)
    told = [(each["task"], each["scheduled_for"] or each["run_id"]) for each in history]
    assert len(set(told)) == len(told), ("two verdicts on one slot", told)
    known = {one["run_id"] for each in history for one in [each] + each.get("attempts", [])}
    assert runs <= known, ("ran, and no verdict tells", runs - known)
    health(store, history)
    state, config = store.read_state()[0], store.read_config()
    since = now - sc.DAY
    snapshot = sc.Snapshot(store)
    slots = list(sc.audit_all(config, state, snapshot.verdicts(since), snapshot.events, since, clock.now(),
                              store.last_tick(), ""))
    document = sc.audit_document(slots, snapshot.events, since, clock.now())
    assert not document["unexplained"], document


def health(store, history):
    """Each health file says what the newest verdict of its task does."""
    newest = {}
    for verdict in history:
        if sc.health_line(verdict):
            newest[verdict["task"]] = verdict
    for task, verdict in newest.items():
        path = store.path("status/automation_health/%s.health" % task)
        line = pathlib.Path(path).read_text() if os.path.exists(path) else ""
        assert line == sc.health_line(verdict), ("health", task, line, verdict)


@contextlib.contextmanager
def after_a_boot():
    """Another boot; and nothing has to be flushed to disk, which takes most of the time."""
    with mock.patch.object(sc, "current_boot_id", lambda: "after-the-power-cut"), \
            mock.patch.object(os, "fsync", lambda fd: None), \
            mock.patch.object(sc, "run_in_process_table", lambda *run: False):
        yield


def cut_at_each(folder, name, part=1):
    """Record a scenario, cut at each point or at every `part`-th: (calls, cuts, failures)."""
    root, trace = folder / "root", folder / "trace"
    disk = record(root, trace, *scenarios()[name])
    number, checked, failures = 0, 0, []
    with after_a_boot():
        for count, (number, model, image, kept) in enumerate(
                cuts(disk, trace.read_text(errors="replace"))):
            if count % part:
                continue
            checked += 1
            try:
                check(str(root), image, kept, time.time())
            except (AssertionError, sc.ConductorError, OSError) as error:
                failures.append("%s, cut after call %d, %s: %s" % (name, number, model, error))
    return number, checked, failures


def main():
    """Every scenario, every point."""
    if not strace_works():
        print("strace is not here, or must not look at programs")
        return 1
    failed = False
    for name in scenarios():
        with tempfile.TemporaryDirectory() as folder:
            calls, checked, failures = cut_at_each(pathlib.Path(folder), name)
        print("%s: %d calls, %d different trees after a cut, %d failures" % (
            name, calls, checked, len(failures)))
        for failure in failures[:5]:
            print("  " + failure[:1500])
        failed = failed or bool(failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
