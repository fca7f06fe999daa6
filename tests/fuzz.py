"""Fuzz everything that is parsed, guided by the lines that an input reaches.

    python3 tests/fuzz.py 600                 # for ten minutes, all kinds of input in turn
    python3 tests/fuzz.py 60 state history    # these kinds
    python3 tests/fuzz.py --list

What is parsed, and what must hold of it, is in `parsers.py`. Inputs are made from those kept in
`corpus/KIND/` by mutation; an input that reaches a line which none reached before is mutated in its
turn. One for which a property does not hold is cut down and saved in `corpus/KIND/`, where the tests
(`test_fuzz.py`) find it. Python 3.12 and later are much faster at it: sys.monitoring.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

FOLDER = pathlib.Path(__file__).resolve().parent
CORPUS = FOLDER / "corpus"
LARGEST_INPUT = 1 << 16
LIMIT_S = 5.0      # of processor time for one input
TRACED_LIMIT_S = 30.0
SLICE_S = 1.0      # so long the inputs are of one kind
CUTS_S = 20.0      # to cut a failing input down
NEVER_AT_ONCE = 200  # inputs mutated in turn, of one kind

VALUES = (None, True, False, 0, 1, -1, 2 ** 31, 2 ** 63, 10 ** 20, -10 ** 20, 10 ** 400, 0.5, 1e308, -1e308,
          float("nan"), float("inf"), "", " ", "a", "0", "\0", "\n", "\ud800", "\udc80", "\u202e", "\u0663", "x" * 5000,
          [], {}, [[]], [None], [0], ["a"], {"a": None}, {"a": {}}, {"": ""}, "2025-06-02T10:00:00Z",
          "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2025-06-02T10:00:00+99:99")
PIECES = (b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\x1b[31m", b"\xed\xa0\x80", b"\xd9\xa3", b"9" * 5000,
          b"[" * 5000, b'{"a":' * 3000, b"-", b"1e999", b"NaN", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\x85",
          b"\xc2\x85", b" " * 3000, b"a" * 3000)
NUMBERS = (b"0", b"-1", b"1", b"2147483648", b"9223372036854775808", b"18446744073709551616", b"1e400", b"-0", b"00",
           b"1" * 400, b"1" * 5000, b"NaN", b"Infinity", b"-Infinity", b"0.1", b"1e-400", b"99999999999")


class Hang(BaseException):
    """An input took too long. No `except Exception` of the product may catch it."""


# -- mutations

def _json_nodes(value, found, place=None):
    found.append(place)
    if isinstance(value, dict):
        for key in value:
            _json_nodes(value[key], found, (value, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            _json_nodes(value[index], found, (value, index))


def dumped(value, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii)
    return text.encode("utf-8", "surrogatepass")


def mutate_json(data, chance, words):
    """A JSON text, or a line of JSON, with one of its values swapped for one of another type; or the data."""
    lines = data.split(b"\n")
    number = None
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        number = chance.randrange(len(lines))
        try:
            document = json.loads(lines[number].decode("utf-8"))
        except (ValueError, RecursionError):
            return data
    try:
        nodes = []
        _json_nodes(document, nodes)
        place = chance.choice(nodes)
        value = chance.choice(VALUES)
        what = chance.randrange(6)
        if place is None:
            document = value if what == 0 else [document] if what == 1 else document
        elif what == 0:
            del place[0][place[1]]
        elif what == 1:
            holder = place[0]
            key = re.sub(r'[":\s]', "", chance.choice(words).decode("utf-8", "replace")) if words else "a"
            if isinstance(holder, dict):
                holder[key] = holder[place[1]]
            else:
                holder.append(holder[place[1]])
        elif what == 2 and len(nodes) > 2:
            other = chance.choice(nodes[1:])
            place[0][place[1]], other[0][other[1]] = other[0][other[1]], place[0][place[1]]
            dumped(document, chance.random() < 0.8)  # a value within itself cannot be written
        else:
            place[0][place[1]] = value
        text = dumped(document, chance.random() < 0.8)
    except (ValueError, RecursionError, KeyError, IndexError, UnicodeError):
        return data
    if number is None:
        return text
    lines[number] = text
    return b"\n".join(lines)


def _slice_of(data, chance, longest=64):
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.randrange(1, longest))


def mutate_bytes(data, chance, words, others):
    """The data with one small change."""
    start, end = _slice_of(data, chance)
    what = chance.randrange(12)
    if what == 0 and data:
        at = chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1:]
    if what == 1:
        return data[:start] + bytes([chance.randrange(256)]) + data[start:]
    if what == 2:
        return data[:start] + data[end:]
    if what == 3:
        return data[:end] + data[start:end] + data[end:]
    if what == 4 and chance.random() < 0.3:
        piece = data[start:end] or b"a"
        return data[:start] + piece * min(chance.choice((10, 300, 5000)), LARGEST_INPUT // len(piece)) + data[end:]
    if what == 5:
        return data[:start]
    if what == 6 and others:
        other = chance.choice(others)
        begin, finish = _slice_of(other, chance, 300)
        return data[:start] + other[begin:finish] + data[chance.choice((start, end)):]
    if what == 7 and re.search(br"[0-9]+", data):
        match = chance.choice(list(re.finditer(br"-?[0-9]+", data))[:200])
        number = chance.choice(NUMBERS)
        if chance.random() < 0.4:
            number = b"%d" % (int(match.group()[:15].strip(b"-") or 0) + chance.choice((-1, 1, 7, 60, 1000)))
        return data[:match.start()] + number + data[match.end():]
    if what == 8:
        return data[:start] + chance.choice(PIECES) + data[start:]
    if what == 9:
        lines = data.split(b"\n")
        chance.shuffle(lines)
        return chance.choice((b"\n", b"\r\n")).join(lines)
    if words:
        return data[:start] + chance.choice(words) + data[chance.choice((start, start, end)):]
    return data[:start] + bytes([chance.randrange(32, 127)]) + data[start:]


def mutated(data, chance, kind, others):
    """A new input from a kept one."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        before = data
        if kind.is_json and chance.random() < 0.6:
            data = mutate_json(data, chance, kind.words)
        if data is before:
            data = mutate_bytes(data, chance, kind.words, others)
    return data[:LARGEST_INPUT]


# -- which lines an input reaches

def _is_product(path):
    root = str(FOLDER.parent) + os.sep
    return path.startswith(root) and not path.startswith(str(FOLDER) + os.sep)


class Monitored:
    """Each line is told once (Python 3.12 and later): it costs next to nothing."""

    limit_s = LIMIT_S
    TOOL = 4  # a number that no debugger, profiler or coverage takes

    def __init__(self):
        self.lines, self.fresh, self.note = set(), 0, None
        sys.monitoring.use_tool_id(self.TOOL, "fuzz")
        sys.monitoring.register_callback(self.TOOL, sys.monitoring.events.LINE, self._line)
        sys.monitoring.set_events(self.TOOL, sys.monitoring.events.LINE)
        sys.monitoring.restart_events()

    def _line(self, code, number):
        if _is_product(code.co_filename):
            self.lines.add((code.co_filename, number))
            self.fresh += 1
        return sys.monitoring.DISABLE

    @contextlib.contextmanager
    def watching(self):
        yield

    def close(self):
        sys.monitoring.set_events(self.TOOL, 0)
        sys.monitoring.register_callback(self.TOOL, sys.monitoring.events.LINE, None)
        sys.monitoring.free_tool_id(self.TOOL)


class Traced:
    """sys.settrace, for the Pythons before."""

    limit_s = TRACED_LIMIT_S

    def __init__(self):
        self.lines, self.fresh, self.note = set(), 0, None
        self._ours = {}

    def _call(self, frame, event, arg):
        path = frame.f_code.co_filename
        if path not in self._ours:
            self._ours[path] = _is_product(path)
        return self._local if self._ours[path] else None

    def _local(self, frame, event, arg):
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            if line not in self.lines:
                self.lines.add(line)
                self.fresh += 1
        return self._local

    @contextlib.contextmanager
    def watching(self):
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def close(self):
        """Nothing stays behind between inputs."""


def line_watcher():
    """What tells which lines of the product an input reaches."""
    return Monitored() if hasattr(sys, "monitoring") else Traced()


# -- one input

def _too_long(number, frame):
    raise Hang("more than %g s of processor time" % (LIMIT_S,))


def place_of(error):
    """The innermost place in the product, or else in the checks, that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _is_product(frame[0])] or [
        frame for frame in frames if frame[0].endswith("parsers.py")] or frames
    return "%s %s" % (os.path.basename(ours[-1][0]), ours[-1][2])


def failure_of(kind, data, box, limit_s=LIMIT_S):
    """(what went wrong in one line, whether the input was accepted); '' if all held."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    began, accepted, trouble = time.process_time(), False, ""
    try:
        accepted = kind.check(data, box)
    except (Exception, Hang) as error:
        if isinstance(error, Hang):
            trouble = "Hang"  # where it was caught is chance
        else:
            name = type(error).__name__
            if name != "Broken":
                name += " in " + place_of(error)
            trouble = "%s: %s" % (name, " ".join(str(error)[:400].split()))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if not trouble and time.process_time() - began > limit_s:
        trouble = "Hang"
    return trouble, bool(accepted)


def same_failure(one, other):
    """Whether two failures are one: the same exception at the same place, or the same property."""
    number = 2 if one.startswith("Broken") else 1
    return bool(one) and one.split(": ")[:number] == other.split(": ")[:number]


def cut_down(kind, data, box, trouble):
    """A smaller input that fails in the same way, as far as time allows."""
    until = time.monotonic() + CUTS_S
    size = max(1, len(data) // 2)
    while size and time.monotonic() < until:
        at, has_shrunk = 0, False
        while at < len(data) and time.monotonic() < until:
            smaller = data[:at] + data[at + size:]
            if same_failure(trouble, failure_of(kind, smaller, box)[0]):
                data, has_shrunk = smaller, True
            else:
                at += size
        if not has_shrunk or size > len(data):
            size //= 2
    return data


def kept_inputs(name):
    """(path, content) of the corpus of a kind."""
    folder = CORPUS / name
    return [(path, path.read_bytes()) for path in sorted(folder.iterdir())] if folder.is_dir() else []


# -- many inputs

class Turn:
    """What is known of one kind: its inputs, and what came of them."""

    def __init__(self, kind):
        self.kind = kind
        self.inputs = [data for _, data in kept_inputs(kind.name)] or [b""]
        self.added = []
        self.runs = self.accepted = 0
        self.took_s = 0.0
        self.found = []

    def pick(self, chance):
        """An input to be mutated: the newest discoveries as often as all that were kept."""
        if self.added and chance.random() < 0.5:
            return chance.choice(self.added[-NEVER_AT_ONCE:])
        return chance.choice(self.inputs)


def keep(name, data):
    """Save a failing input; where."""
    path = CORPUS / name / ("found-" + hashlib.sha1(data).hexdigest()[:10])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class Note:
    """A file with the input that is being run: what is left of it when an input ends the process."""

    def __init__(self, path):
        self.path = path

    def write(self, name, data):
        with open(self.path, "wb") as handle:
            handle.write(name.encode() + b"\n" + data)

    def read(self):
        with open(self.path, "rb") as handle:
            name, _, data = handle.read().partition(b"\n")
        return name.decode(), data


def fuzz(kinds, seconds, seed, box, say, note=None):
    """Run fresh inputs for so long; the turns, and the lines that were reached."""
    chance = random.Random(seed)
    reached = line_watcher()
    reached.note = note
    turns = [Turn(kind) for kind in kinds]
    for turn in turns:
        for data in turn.inputs:
            run_one(turn, data, box, reached, say, is_kept=True)
    say("kept inputs: %d, lines reached: %d" % (sum(turn.runs for turn in turns), len(reached.lines)))
    until, slice_s = time.monotonic() + seconds, min(SLICE_S, float(seconds) / len(turns))
    while time.monotonic() < until:
        for turn in turns:
            end = min(until, time.monotonic() + slice_s)
            while time.monotonic() < end:
                data = mutated(turn.pick(chance), chance, turn.kind, turn.inputs)
                run_one(turn, data, box, reached, say)
    reached.close()
    return turns, reached.lines


def run_one(turn, data, box, reached, say, is_kept=False):
    """Run an input, and note what came of it."""
    reached.fresh = 0
    if reached.note is not None:
        reached.note.write(turn.kind.name, data)
    began = time.monotonic()
    with reached.watching():
        trouble, accepted = failure_of(turn.kind, data, box, reached.limit_s)
    turn.took_s += time.monotonic() - began
    turn.runs += 1
    turn.accepted += accepted
    if trouble:
        if not any(same_failure(trouble, known) for known, _ in turn.found):
            small, place = data, "kept"
            if not is_kept:
                small = cut_down(turn.kind, data, box, trouble)
                place = keep(turn.kind.name, small)
            turn.found.append((trouble, place))
            say("%s: %s\n    %r\n    %s" % (turn.kind.name, trouble, small[:200], place))
    elif reached.fresh and not is_kept:
        turn.added.append(data)


def table(turns):
    rows = [("kind", "inputs", "accepted", "a second", "new", "failures")]
    for turn in turns:
        rows.append((turn.kind.name, str(turn.runs), str(turn.accepted), "%.0f" % (turn.runs / max(turn.took_s, 1e-9)),
                     str(len(turn.added)), str(len(turn.found))))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def lines_by_file(lines):
    by_file = {}
    for path, number in lines:
        by_file.setdefault(os.path.relpath(path, str(FOLDER.parent)), set()).add(number)
    return ", ".join("%s %d" % (name, len(numbers)) for name, numbers in sorted(by_file.items()))


def main():
    import parsers
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=float, default=60.0, help="for how long (default: 60)")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="kinds of input (default: all)")
    parser.add_argument("--seed", type=int, help="to make the same inputs again (default: a fresh one)")
    parser.add_argument("--list", action="store_true", help="list the kinds, with what they are")
    parse = getattr(parser, "parse_intermixed_args", parser.parse_args)  # not in Python 3.6
    args = parse()
    if args.list:
        for kind in parsers.KINDS.values():
            print("%-18s %s" % (kind.name, (kind.check.__doc__ or "").split("\n")[0]))
        return 0
    unknown = [name for name in args.kinds if name not in parsers.KINDS]
    if unknown:
        parser.error("no such kind: %s; --list lists them" % ", ".join(unknown))
    kinds = [parsers.KINDS[name] for name in args.kinds or parsers.KINDS]
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), "big")
    print("seed %d, Python %s" % (seed, sys.version.split()[0]), flush=True)
    memory = "/dev/shm"  # each input of many kinds is a file or more
    folder = tempfile.mkdtemp(prefix="symphony-fuzz.", dir=memory if os.access(memory, os.W_OK) else None)
    try:
        return run_apart(lambda note: run(kinds, args.seconds, seed, parsers.Box(folder), note),
                         Note(os.path.join(folder, "input")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_apart(work, note):
    """Carry out the work in a process of its own: its exit code. An input that ends the process is kept."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = work(note)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    name, data = note.read()
    print("%s: the process was ended by signal %d\n    %r\n    %s" % (
        name, os.WTERMSIG(status), data[:200], keep(name, data)), flush=True)
    return 1


def run(kinds, seconds, seed, box, note):
    """Run the inputs and print what came of it: the exit code."""
    began = time.monotonic()
    turns, lines = fuzz(kinds, seconds, seed, box, lambda text: print(text, flush=True), note)
    runs = sum(turn.runs for turn in turns)
    print(table(turns))
    print("lines reached: %d (%s)" % (len(lines), lines_by_file(lines)))
    found = sum(len(turn.found) for turn in turns)
    print("%d inputs in %.0f s, %.0f a second; %d failures; seed %d" % (
        runs, time.monotonic() - began, runs / (time.monotonic() - began), found, seed))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
