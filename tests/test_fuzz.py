"""Everything that is parsed: the inputs that were kept, and new ones. `fuzz.py` makes more of them for longer."""

import os
import random
import signal

import fuzz
import parsers
import pytest
from support import REPOSITORY

try:
    import hypothesis
    from hypothesis import strategies
except ImportError:
    hypothesis = None

NEW_INPUTS = 120
NEW_INPUTS_OF_SLOW = 10  # those that decide, or answer every question
SLOW = {"config", "drop-in", "state", "run", "heartbeat", "history", "events", "spool", "small-file", "log", "registry",
        "inventory", "actions", "manifest", "quarantine-format", "cleanup-report", "disk-series", "report-actions",
        "clock", "reference-cache", "crontab", "airflow", "answers-option", "command-line", "zone", "zone-file",
        "last-good", "proc-stat", "cgroup", "uptime", "command"}

needs_hypothesis = pytest.mark.skipif(hypothesis is None, reason="there is no hypothesis (tests/run installs it)")


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    if hypothesis is not None:  # else it would write beside the tests
        from hypothesis.configuration import set_hypothesis_home_dir
        set_hypothesis_home_dir(str(tmp_path_factory.mktemp("hypothesis")))
    return parsers.Box(tmp_path_factory.mktemp("fuzz"))


def test_every_kind_has_kept_inputs_and_every_kept_input_is_of_a_kind():
    kept = {path.name for path in fuzz.CORPUS.iterdir()}
    assert kept == set(parsers.KINDS)
    assert SLOW <= kept
    assert all(fuzz.kept_inputs(name) for name in kept)


@pytest.mark.parametrize("name", list(parsers.KINDS))
def test_what_was_kept(name, box):
    troubles = {path.name: fuzz.failure_of(parsers.KINDS[name], data, box)[0] for path, data in fuzz.kept_inputs(name)}
    assert {file: trouble for file, trouble in troubles.items() if trouble} == {}


def json_values(words):
    """JSON of the keys that a kind has, and values of every type."""
    keys = strategies.sampled_from([word.decode("utf-8").strip('": {[') or "a" for word in words] or ["a"])
    leaves = strategies.sampled_from(fuzz.VALUES) | strategies.text(max_size=4) | strategies.integers()
    return strategies.recursive(leaves, lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(
        keys, inner, max_size=5), max_leaves=12)


def inputs(kind):
    """Words of the grammar in any order, and what was kept with changes."""
    kept = [data for _, data in fuzz.kept_inputs(kind.name)]

    def mutated(data, seed):
        return fuzz.mutated(data, random.Random(seed), kind, kept)

    changed = strategies.builds(mutated, strategies.sampled_from(kept), strategies.integers(0, 2 ** 32))
    if kind.is_json:
        made = json_values(kind.words).map(lambda value: fuzz.dumped(value, True))
    else:
        pieces = strategies.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass"))
        if kind.words:
            pieces |= strategies.sampled_from(kind.words)
        made = strategies.lists(pieces, max_size=12).map(b"".join)
    return changed | made


@needs_hypothesis
@pytest.mark.parametrize("name", list(parsers.KINDS))
def test_new_inputs(name, box):
    kind = parsers.KINDS[name]

    @hypothesis.settings(max_examples=NEW_INPUTS_OF_SLOW if name in SLOW else NEW_INPUTS, deadline=None, database=None,
                         derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(inputs(kind))
    def holds(data):
        trouble = fuzz.failure_of(kind, data, box)[0]
        assert not trouble, (trouble, data)

    holds()


# -- the fuzzer itself

def test_a_fault_is_found_cut_down_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "CORPUS", tmp_path)

    def check(data, box):
        parsers.hold(b"[[" not in data, "two brackets", data)

    turn = fuzz.Turn(parsers.Kind("brackets", check, [b"["], False))
    turn.inputs = [b"some text (and more) of some length"]
    chance, said = random.Random(1), []
    reached = fuzz.line_watcher()
    try:
        while not turn.found and turn.runs < 20000:
            data = fuzz.mutated(turn.pick(chance), chance, turn.kind, turn.inputs)
            fuzz.run_one(turn, data, None, reached, said.append)
    finally:
        reached.close()
    (trouble, path), = turn.found
    assert trouble.startswith("Broken: two brackets: ")
    assert path.read_bytes() == b"[["
    assert "two brackets" in said[0]


def test_an_input_that_ends_the_process_is_kept(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(fuzz, "CORPUS", tmp_path)

    def work(note):
        note.write("zone-file", b"damaged")
        os.kill(os.getpid(), signal.SIGKILL)

    assert fuzz.run_apart(work, fuzz.Note(str(tmp_path / "input"))) == 1
    (path,) = (tmp_path / "zone-file").iterdir()
    assert path.read_bytes() == b"damaged"
    assert capfd.readouterr().out.startswith("zone-file: the process was ended by signal 9\n")


def test_an_input_that_takes_too_long_is_a_failure_that_nothing_catches():
    def check(data, box):
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass

    assert fuzz.failure_of(parsers.Kind("endless", check, [], False), b"", None, 0.05) == ("Hang", False)


def test_an_input_that_reaches_new_lines_is_mutated_in_its_turn(box):
    turn = fuzz.Turn(parsers.KINDS["window"])
    reached = fuzz.line_watcher()
    try:
        fuzz.run_one(turn, b"no window", box, reached, print)
        first = len(reached.lines)
        fuzz.run_one(turn, b"again none", box, reached, print)
        assert len(reached.lines) == first > 0
        fuzz.run_one(turn, b"22:00-06:00", box, reached, print)
        assert len(reached.lines) > first
    finally:
        reached.close()
    assert turn.added == [b"no window", b"22:00-06:00"]
    assert all(path.startswith(str(REPOSITORY)) for path, _ in reached.lines)


@pytest.mark.parametrize("value", [1, "a", [1, {"a": None}], {"a": [True], "b": {}}])
def test_a_mutated_json_text_is_json_mostly(value):
    chance = random.Random(7)
    data = fuzz.dumped(value, True)
    changed = [fuzz.mutate_json(data, chance, [b'"key":']) for _ in range(50)]
    assert len(set(changed)) > 5
    assert all(isinstance(text, bytes) for text in changed)
