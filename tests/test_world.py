"""The simulated world: the conductor's real code, and promises judged by what truly happened.

`tests/run --world HOURS` lives new lives; here are the kept stories, and whether the world itself
does as a kernel and a disk do.
"""

import json
import random
import sys

import pytest
from support import REPOSITORY, finished
from world import coroutine, disk, faults, kernel, shrink, story
from world.times import DAY, Schedule

import symphony_conductor as sc

STORIES = sorted((REPOSITORY / "tests" / "world" / "stories").glob("*.json"))
SOURCE = (REPOSITORY / "symphony_conductor.py").read_text(encoding="utf-8")
SHORT = {"start": 1743120000, "seed": 7, "days": 2, "peace_days": 1}


def told(path):
    return json.loads(path.read_text(encoding="utf-8"))


WITH_FAULT = [path for path in STORIES if "fault" in told(path)]


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_no_kept_story_breaks_a_promise(path):
    assert shrink.verdict_of(told(path))[:2] == (None, "")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an older Python orders sets in another way")
@pytest.mark.parametrize("path", WITH_FAULT, ids=[path.stem for path in WITH_FAULT])
def test_a_fault_put_in_by_hand_is_found(path):
    code, said, _ = finished([sys.executable, str(REPOSITORY / "tests" / "simulate.py"),
                              "--story", str(path), "--with-fault"], timeout=120)
    assert (code, said.split(":")[0]) == (1, told(path)["promise"])


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault[0][:30])
def test_each_fault_can_still_be_put_in(fault):
    assert faults.with_fault(SOURCE, fault) != SOURCE


def short_story(steps=(), **more):
    tasks = [{"name": "scan", "command": "work", "schedule": "*/30 * * * *", "retry_count": 1,
              "retry_delay": 60, "timeout": 600, "fate": {"lasts": (1, 100), "fails": 0.3}},
             dict({"name": "clean", "command": "work", "schedule": "40 2 * * *",
                   "dependencies": ["scan"], "retry_count": 0, "timeout": 600,
                   "fate": {"lasts": (1, 5)}}, **more)]
    settings = {"timezone": "Europe/Paris", "enable_notifications": True,
                "notification_webhook": "http://receiver/"}
    return dict(SHORT, kind="daily", settings=settings, tasks=tasks, steps=list(steps))


def test_a_life_without_faults():
    promise, text, box = shrink.verdict_of(short_story())
    assert (promise, text) == (None, "")
    assert len(box.runs) > 140 and box.received
    assert {verdict["status"] for verdicts in box.oracle.verdicts.values()
            for verdict in verdicts} == {"success", "failed"}


def test_a_life_with_all_that_can_happen():
    rng = random.Random(3)
    tasks = short_story()["tasks"]
    steps = []
    for number, (kind, make) in enumerate(sorted(story.STEPS.items())):
        step = dict({"at": 3600 * (number + 1), "kind": kind}, **make(rng, tasks))
        if "seconds" in step and kind != "clock":
            step["seconds"] = min(step["seconds"], 1000)
        steps.append(step)
    promise, text, box = shrink.verdict_of(short_story(steps))
    assert (promise, text) == (None, "")
    assert box.steps_left == 0


def test_the_same_story_is_the_same_life():
    steps = [{"at": 5400, "kind": "power", "after": 30, "seconds": 90},
             {"at": 9000, "kind": "error", "after": 12, "choice": 1}]
    lives = []
    for _ in range(2):
        lines = []
        box = shrink.verdict_of(dict(short_story(steps), days=1), tell=lines.append)[2]
        lives.append((box.kernel.calls, len(box.runs), lines))
    assert lives[0] == lives[1]


@pytest.mark.skipif(coroutine.greenlet is None, reason="greenlet is not installed")
def test_a_life_by_threads_is_the_same(monkeypatch):
    calls = []
    for way in (coroutine.ByGreenlet, coroutine.ByThread):
        monkeypatch.setattr(kernel, "Coroutine", way)
        box = shrink.verdict_of(dict(short_story(), days=1))[2]
        calls.append((box.kernel.calls, len(box.runs)))
    assert calls[0] == calls[1]


def test_a_story_is_shrunk_to_what_breaks_it():
    fault = [each for each in faults.FAULTS if "retry that is not counted" in each[0]][0]
    source = faults.with_fault(SOURCE, fault)
    steps = [{"at": 7000 + number, "kind": "burst", "count": 1} for number in range(6)]
    before = short_story(steps)
    promise = shrink.verdict_of(before, source)[0]
    assert promise
    after = shrink.shrink(before, promise, source)
    assert after["steps"] == [] and len(after["tasks"]) == 1
    assert shrink.verdict_of(after, source)[0] == promise


# -- the matcher that is not the conductor's

@pytest.mark.parametrize("zone", story.ZONES)
@pytest.mark.parametrize("text", [
    "*/20 * * * *", "30 2 * * *", "0 */3 * * *", "15 1-3 * * *", "5 4 31 * *", "0 0 13 * 5",
    "10 2 */10 * 0", "59 23 29 2 *", "30 1 25-31 10 0", "0 12 * 6-8 1-5"])
@pytest.mark.skipif(not sc.has_zone_data(), reason="there is no zone data (install tzdata)")
def test_two_matchers_that_share_nothing_agree(text, zone):
    since = sc.from_iso("2027-01-01T00:00:00Z")
    until = since + 700 * DAY if not text.startswith("*/20") else since + 90 * DAY
    slots, at = [], since
    config = sc.build_config([("c", {"tasks": [
        {"name": "t", "command": "x", "schedule": text, "timezone": zone}]})])
    schedule = config.tasks["t"].schedule
    while True:
        at = schedule.next(at, zone)
        if at is None or at > until:
            break
        slots.append(at)
    assert Schedule(text, zone).slots(since, until) == slots


# -- the disk

def files_after_a_cut(write, seed):
    """What is on a disk after a power cut: {name: content}."""
    now = [1000.0]
    files = disk.Disk(lambda: int(now[0] * 1e9), lambda: now[0])
    write(files, now)
    files.cut(random.Random(seed))
    return {name: bytes(inode.data) for name, inode in files.root.entries.items()}


def test_what_was_flushed_survives_a_power_cut():
    def write(files, now):
        inode = files.create(files.root, "a", disk.FILE, 0o600, 0)
        files.write(inode, 0, b"first")
        files.sync(inode)
        files.sync(files.root)
        files.write(inode, 5, b" second")

    left = [files_after_a_cut(write, seed) for seed in range(60)]
    assert {each["a"][:5] for each in left} == {b"first"}
    assert {each["a"] for each in left} > {b"first", b"first second"}  # and torn ones


def test_what_was_not_flushed_may_be_lost_and_reordered():
    def write(files, now):
        inode = files.create(files.root, "a.tmp", disk.FILE, 0o600, 0)
        files.write(inode, 0, b"content")
        files.change_names(files.root, {"a.tmp": None, "a": inode})  # a rename, without an fsync

    left = [files_after_a_cut(write, seed) for seed in range(200)]
    assert {} in left and {"a": b"content"} in left
    assert {"a": b""} in left  # the name arrived, and what it stands for did not


def test_a_kernel_writes_by_itself_after_a_while():
    def write(files, now):
        inode = files.create(files.root, "a", disk.FILE, 0o600, 0)
        files.write(inode, 0, b"content")
        now[0] += disk.WRITTEN_AFTER_S + 1

    assert all(files_after_a_cut(write, seed) == {"a": b"content"} for seed in range(60))
