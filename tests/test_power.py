"""After a power cut: what was committed is there, and nothing that had begun begins again."""

import os

import power
import pytest
from support import HandClock, every_minute

import symphony_conductor as sc

needs_strace = pytest.mark.skipif(not power.strace_works(), reason="strace is not here")
NOON = sc.from_iso("2025-06-02T12:00:00Z")


@needs_strace
@pytest.mark.parametrize("scenario, part", [("chain", 1), ("crowd", 3), ("by hand", 3)])
def test_a_power_cut_at_any_call_loses_no_verdict_and_runs_nothing_twice(tmp_path, scenario, part):
    """A part of what `python tests/power.py` does."""
    calls, checked, failures = power.cut_at_each(tmp_path, scenario, part)
    assert failures == []
    assert calls > 150 and checked > 100 // part


@pytest.fixture
def flushed(monkeypatch):
    """What is flushed to disk, and when a file gets its name, in their order."""
    story = []
    sync_file, sync_folder, rename = sc.sync_file, sc.sync_folder, os.rename

    def tell(function, *paths):
        story.append(os.path.basename(paths[-1]))
        function(*paths)

    monkeypatch.setattr(sc, "sync_file", lambda path: tell(sync_file, path))
    monkeypatch.setattr(sc, "sync_folder", lambda path: tell(sync_folder, path))
    monkeypatch.setattr(os, "rename", lambda *paths: tell(rename, *paths))
    return story


def ended(store, spec, clock):
    """The record of a run that succeeded, as its supervisor leaves it."""
    store.write_run(spec["task"], dict(
        spec, env={}, pid=power.NOBODY, pid_start="", boot_id="", supervisor=1, started_mono=0.0,
        result={"status": "success", "exit_code": 0, "ended_at": clock.now()}))


def test_what_the_next_state_forgets_is_flushed_once_and_ahead_of_it(project, flushed):
    clock = HandClock(NOON)
    specs = []

    def tick():
        del flushed[:]
        sc.Conductor(sc.Store(str(project.root)), clock, launch=launch).tick()
        clock.advance(sc.MINUTE)
        return list(flushed)

    def launch(store, verb, spec, lock):
        specs.append(spec)
        lock.release()
        ended(store, spec, clock)

    project.configure(every_minute("a"))
    tick()
    tick()
    assert len(specs) == 1, "it began"
    assert "2025-06-02.jsonl" not in tick(), "the end of the run is committed, and is pending"
    story = tick()
    flushes = ["2025-06-02.jsonl", "a.health", "automation_health", "history"]
    place = story.index("conductor_state.json")
    assert sorted(set(story[:place]) & set(flushes)) == flushes, "now it is pending no more"
    assert [story.count(name) for name in flushes[::3]] == [1, 1]


def test_a_tick_that_commits_nothing_flushes_nothing(project, flushed):
    clock = HandClock(NOON)
    project.configure(every_minute("a", schedule="0 3 * * *"))
    for _ in range(3):
        del flushed[:]
        sc.Conductor(sc.Store(str(project.root)), clock).tick()
        clock.advance(sc.MINUTE)
    assert "events.jsonl" not in flushed and "conductor_state.json" not in flushed


def test_a_record_that_cannot_be_flushed_stays_in_the_state(project, monkeypatch):
    """So that nothing is lost, and the operator hears of it."""
    project.configure(every_minute("a", schedule="0 3 * * *"))
    clock = HandClock(NOON)
    sc.Conductor(sc.Store(str(project.root)), clock).tick()
    before = project.state()
    assert [event["event"] for event in before["pending"]] == ["begun", "anchored"]
    fsync = os.fsync

    def fails(fd):
        if os.path.samestat(os.fstat(fd), os.stat(str(project.root / "status" / "events.jsonl"))):
            raise OSError(5, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fails)
    project.configure(every_minute("a", schedule="0 4 * * *"))
    clock.advance(sc.MINUTE)
    with pytest.raises(sc.StorageError, match="cannot sync .*events.jsonl: Input/output"):
        sc.Conductor(sc.Store(str(project.root)), clock).tick()
    assert project.state() == before
    monkeypatch.setattr(os, "fsync", fsync)
    sc.Conductor(sc.Store(str(project.root)), clock).tick()
    events = [event["event"] for event in sc.Store(str(project.root)).events()]
    assert events == ["begun", "anchored", "anchored"]


def test_a_new_folder_is_flushed_with_the_one_that_it_is_in(tmp_path, flushed):
    sc.make_folder(str(tmp_path / "status" / "runs"))
    assert flushed == [tmp_path.name, "status"]
