#!/usr/bin/env python3
"""Tests of the tests: change one thing in the product at a time, and see whether a test notices.

    python3 tests/mutate.py [--section NAME] [--function NAME] [--sample N [--seed S]] [--again]
                            [--jobs N] [--list]

A mutant is a function with one change: `<` for `<=`, `or` for `and`, a dropped `not`, `+` for `-`,
another number, a condition that always or never holds, a statement or an argument left out. The
tests that execute the changed line run against it, in this process' children: those that noticed
the last changes to the function first, then the quickest. A mutant is killed once one of them
fails, or hangs. It has survived when none does within five seconds.

Changed are the sections of symphony_conductor.py that decide (Heartbeat, and Errors to Rendering)
and what the clean-up decides by. Texts, annotations and tables are not, nor are functions that run
only while a module is imported.

A first run takes minutes to note which test executes which line; it is kept in tests/.mutate.json
until the test file or the product changes. What killed a mutant is kept too, and is tried first the
next time; --again tries only those that survived, and takes the others for killed as before.

Mutants that no test can tell from the original are listed in tests/mutants.txt, one a line, with
the reason: ID<TAB>why it is equivalent.

The exit code is 1 when a mutant survives that is not listed there, or when less than 90 % of a
section are killed. It takes Python 3.9 or newer, with pytest, on Linux.
"""

import argparse
import ast
import collections
import copy
import functools
import gc
import hashlib
import importlib
import json
import os
import pathlib
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import types

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TESTS = REPOSITORY / "tests"
KNOWN = TESTS / "mutants.txt"
KEPT = TESTS / ".mutate.json"
RESULTS = TESTS / ".mutate.last.json"
FORMAT = 1  # of what is kept, and of the way in which it is found

CORE = "symphony_conductor.py"
FIRST, LAST = "Errors", "Rendering"
ALSO = ("Heartbeat",)
# The scripts that decide what the clean-up takes: whole, or these functions of them.
SCRIPTS = collections.OrderedDict([
    ("scripts/cleanup_plan.py", None),
    ("scripts/cleanup_rules.py", None),
    ("scripts/references.py", None),
    ("scripts/file_lifecycle.py", (
        "Registry._entry", "Registry.nearest", "Registry.guard", "Registry.guard_of", "expiry_text",
        "stored_entry", "expired", "candidates_of", "_candidate", "_unfit")),
    ("scripts/tree.py", (
        "stored_path", "native_path", "printable", "_escaped", "relative_path", "is_repository",
        "Root.join", "Root.relative", "vouched", "GitGuard", "folded")),
    ("scripts/quarantine.py", (
        "difference", "contents_digest", "run_time", "counted", "outcome_line", "_commonest",
        "_removal", "_restored", "_intent", "Quarantine._objection", "Quarantine._unlike",
        "Quarantine._difference", "Quarantine._is_restored", "Quarantine._is_on_purpose")),
])
# What these test is other processes, which never see a mutant, or not what is changed here.
LEFT_OUT = """
    airflow airflow_slots ansible cannot_tell completion containers crash crontab crontabs engine
    errors exits files forks health_check import invocations launcher locks log_to mail maintenance manual
    peers power readme run runner scopes setup single_file stop switch timer types upgrade workflows
    world fuzz""".split()

REQUIRED = 90  # percent of a section's mutants
TESTS_S = 5.0  # of CPU time that the tests of one mutant may take
PATIENCE_S = 60.0  # after which one that only waits is taken for hung
SLOWEST_S = 2.0  # a test that takes longer is left out
HANG_S = 1.0  # CPU time beyond what a test takes otherwise
FILE_S = 900  # how long it may take to see what one file of tests executes
MEMORY = 4 << 30
CALLS_TRACED = 100  # of one function in one test, and lines of one call: then all of it counts
LINES_TRACED = 2000
LAST_KILLERS = 8

KILLED, SURVIVED, EQUAL = "killed", "survived", "equal"

# -- the changes

COMPARISONS = {
    ast.Lt: ("<", ast.LtE, "<="), ast.LtE: ("<=", ast.Lt, "<"), ast.Gt: (">", ast.GtE, ">="),
    ast.GtE: (">=", ast.Gt, ">"), ast.Eq: ("==", ast.NotEq, "!="),
    ast.NotEq: ("!=", ast.Eq, "=="), ast.In: ("in", ast.NotIn, "not in"),
    ast.NotIn: ("not in", ast.In, "in"), ast.Is: ("is", ast.IsNot, "is not"),
    ast.IsNot: ("is not", ast.Is, "is")}
ARITHMETIC = {
    ast.Add: ("+", ast.Sub, "-"), ast.Sub: ("-", ast.Add, "+"),
    ast.Mult: ("*", ast.FloorDiv, "//"), ast.FloorDiv: ("//", ast.Mult, "*"),
    ast.Div: ("/", ast.Mult, "*"), ast.Mod: ("%", ast.FloorDiv, "//"),
    ast.BitAnd: ("&", ast.BitOr, "|"), ast.BitOr: ("|", ast.BitAnd, "&"),
    ast.LShift: ("<<", ast.RShift, ">>"), ast.RShift: (">>", ast.LShift, "<<")}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
LOGS = ("log", "_log", "debug")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
UNTOUCHED = ("annotation", "returns", "decorator_list", "args", "type_comment")

# One change: its label; the field of which node to set, at which index or None, to what.
Change = collections.namedtuple("Change", "label parent field index old new lines")


def is_text(node):
    """Whether an expression is certainly a text: what is added to it or put into it is one."""
    if isinstance(node, ast.BinOp):
        return is_text(node.left) or is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)))


def is_log_line(call):
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in LOGS


def like(node, **fields):
    """A copy of a node with other fields, its parts shared."""
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def at(place, node):
    return ast.fix_missing_locations(ast.copy_location(node, place))


def lines_of(statement):
    """The lines of a statement, without those of the statements in it."""
    parts = [part for name in ("body", "orelse", "finalbody", "handlers")
             for part in getattr(statement, name, []) if isinstance(statement, ast.stmt)]
    last = min([part.lineno - 1 for part in parts] + [statement.end_lineno])
    return range(statement.lineno, max(last, statement.lineno) + 1)


def replacements(node):
    """(label, what it becomes) for each change to one expression or statement."""
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            old, new, sign = COMPARISONS[type(operator)]
            yield old + ">" + sign, like(
                node, ops=node.ops[:number] + [new()] + node.ops[number + 1:])
    elif isinstance(node, ast.BoolOp):
        is_and = isinstance(node.op, ast.And)
        yield ("and>or", like(node, op=ast.Or())) if is_and else ("or>and", like(node, op=ast.And()))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in ARITHMETIC:
        if not (isinstance(node, ast.BinOp) and is_text(node)):
            old, new, sign = ARITHMETIC[type(node.op)]
            yield old + ">" + sign, like(node, op=new())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "%s>%s" % (node.value, not node.value), like(node, value=not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        for label, value in (("n+1", node.value + 1), ("n-1", node.value - 1), ("n>0", 0)):
            if value != node.value and (label != "n>0" or node.value not in (-1, 1)):
                yield label, like(node, value=value)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in NAMES:
            name = NAMES[node.func.id]
            yield node.func.id + ">" + name, like(node, func=like(node.func, id=name))
        for number, keyword in enumerate(node.keywords):
            if keyword.arg:
                yield "keyword", like(
                    node, keywords=node.keywords[:number] + node.keywords[number + 1:])
    elif isinstance(node, ast.Slice):
        for bound in ("lower", "upper"):
            if getattr(node, bound) is not None:
                yield bound, like(node, **{bound: None})
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value in (None, True, False)):
            yield "return", like(node, value=at(node.value, ast.Constant(None)))
    if is_removable(node):
        yield "drop", at(node, ast.Pass())


def is_removable(node):
    """Whether a statement is one that is left out to see whether somebody misses it."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and not is_log_line(node.value)
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets)
    return isinstance(node, (ast.Continue, ast.Break, ast.Raise, ast.Delete))


def conditions(parent, field, node):
    """(label, what it becomes) for a condition that always holds, or never does."""
    is_condition = field == "test" and isinstance(parent, (ast.If, ast.While, ast.IfExp)) or (
        field == "ifs" and isinstance(parent, ast.comprehension))
    if is_condition and not isinstance(node, ast.Constant):
        if not isinstance(parent, ast.While):  # which would only hang
            yield "always", at(node, ast.Constant(True))
        yield "never", at(node, ast.Constant(False))


def changes(node, lines=()):
    """Every change to what is below a node of the syntax tree."""
    for field, value in ast.iter_fields(node):
        if field in UNTOUCHED and isinstance(node, FUNCTIONS + (ast.AnnAssign, ast.arg)):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST):
                continue
            place = lines_of(child) if isinstance(child, (ast.stmt, ast.ExceptHandler)) else lines
            position = index if isinstance(value, list) else None
            for label, new in replacements(child):
                yield Change(label, node, field, position, child, new, place)
            for label, new in conditions(node, field, child):
                yield Change(label, node, field, position, child, new, place)
            for change in changes(child, place):
                yield change


def put(change, node):
    if change.index is None:
        setattr(change.parent, change.field, node)
    else:
        getattr(change.parent, change.field)[change.index] = node


# -- the functions and their mutants

class Function:
    """A function of the product, or a method, with what is defined in it."""

    def __init__(self, path, section, classes, node):
        self.path, self.section, self.classes, self.node = path, section, classes, node
        self.qualname = ".".join(list(classes) + [node.name])
        module = "" if path == CORE else pathlib.Path(path).stem + "."
        self.name = module + self.qualname
        self.first_line = min([node.lineno] + [part.lineno for part in node.decorator_list])
        self.live = []
        self.killers = collections.deque(maxlen=LAST_KILLERS)

    def compiled(self):
        """Its code, as it stands in the syntax tree now."""
        body = self.node
        for name in reversed(self.classes):
            body = ast.ClassDef(name=name, bases=[], keywords=[], body=[body], decorator_list=[],
                                lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
        module = ast.Module(body=[body], type_ignores=[])
        code = compile(module, str(REPOSITORY / self.path), "exec", dont_inherit=True)
        for name in list(self.classes) + [self.node.name]:
            code = next(part for part in code.co_consts
                        if isinstance(part, types.CodeType) and part.co_name == name)
        return code

    @functools.lru_cache(maxsize=None)  # noqa: B019  there are a thousand, for as long as this runs
    def original(self):
        return self.compiled()


class Mutant:
    """One change to one function."""

    def __init__(self, function, change, number):
        self.function, self.change = function, change
        self.id = "%s:%s:%d" % (function.name, change.label, number)
        self.line = getattr(change.old, "lineno", change.lines[0])

    def code(self):
        """The changed code; None where it is the same, or none that can stand in its place."""
        put(self.change, self.change.new)
        try:
            code = self.function.compiled()
        finally:
            put(self.change, self.change.old)
        original = self.function.original()
        return None if is_same(code, original) or code.co_freevars != original.co_freevars else code

    def text(self):
        """The change as one line."""
        def part(node):
            return ast.unparse(node).split("\n")[0]
        return "%s  =>  %s" % (part(self.change.old), part(self.change.new))


def is_same(one, other):
    """Whether two pieces of code do the same, byte for byte; where their lines are is no matter."""
    def parts(code):
        return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars,
                code.co_flags, getattr(code, "co_exceptiontable", b""), len(code.co_consts))

    if isinstance(one, types.CodeType) and isinstance(other, types.CodeType):
        return parts(one) == parts(other) and all(map(is_same, one.co_consts, other.co_consts))
    return type(one) is type(other) and repr(one) == repr(other)


def functions_of(path):
    """The functions of a file that are changed."""
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    headings = [(number, match.group(1)) for number, match in enumerate(
        (re.match(r"# == (.+) ==$", line) for line in text.split("\n")), 1) if match]
    names = [name for _, name in headings]
    wanted = names[names.index(FIRST):names.index(LAST) + 1] + list(ALSO) if path == CORE else []

    def below(body, classes):
        for node in body:
            if isinstance(node, FUNCTIONS):
                yield classes, node
            elif isinstance(node, ast.ClassDef):
                for found in below(node.body, classes + (node.name,)):
                    yield found
            elif isinstance(node, (ast.If, ast.Try)):
                for found in below(node.body + node.orelse, classes):
                    yield found

    for classes, node in below(ast.parse(text).body, ()):
        if path == CORE:
            section = ([""] + [name for number, name in headings if number < node.lineno])[-1]
            if section in wanted:
                yield Function(path, section, classes, node)
        else:
            function = Function(path, pathlib.Path(path).stem, classes, node)
            only = SCRIPTS[path]
            if only is None or function.qualname in only or (classes and classes[0] in only):
                yield function


def mutants_of(functions):
    counts = collections.Counter()
    for function in functions:
        # A docstring is no change's matter, being a text.
        for change in changes(function.node, lines_of(function.node)):
            counts[function.name, change.label] += 1
            yield Mutant(function, change, counts[function.name, change.label])


def find_live(functions):
    """Find the function objects of the process, wherever they are bound: the decorated ones too."""
    live = collections.defaultdict(list)
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType):
            code = thing.__code__
            live[code.co_filename, code.co_firstlineno, code.co_name].append(thing)
    for function in functions:
        key = (str(REPOSITORY / function.path), function.first_line, function.node.name)
        function.live = live[key]


# -- the tests, in this process

def run_test(item):
    """Run one test without a report: True when it passed, None when it was skipped."""
    from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks
    from _pytest.tmpdir import tmppath_result_key

    state = item.session._setupstate
    item.stash[tmppath_result_key] = {}
    if evaluate_skip_marks(item) or evaluate_xfail_marks(item):
        return None
    if hasattr(item, "_request") and not item._request:
        item._initrequest()
    passed = True
    try:
        state.setup(item)
        item.runtest()
    except pytest.skip.Exception:
        passed = None
    except BaseException:  # whatever it is, SystemExit too
        passed = False
    try:
        state.teardown_exact(None)
    except BaseException:
        passed = False
    if hasattr(item, "_request"):
        item._request = False
        item.funcargs = None
    return passed


class Trace:
    """Notes which lines of the product are executed."""

    def __init__(self, paths):
        self.paths = {str(REPOSITORY / path): path for path in paths}
        self.lines = {}
        self.calls = collections.Counter()

    def __enter__(self):
        self.lines = {path: set() for path in self.paths}
        self.calls.clear()
        sys.settrace(self.called)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def called(self, frame, event, _):
        code = frame.f_code
        lines = self.lines.get(code.co_filename)
        if lines is None:
            frame.f_trace_lines = False
            return None
        calls = self.calls
        calls[code] += 1
        if calls[code] > CALLS_TRACED:
            frame.f_trace_lines = False
            return None
        if calls[code] == CALLS_TRACED:
            return self.all_of(frame)
        lines.add(frame.f_lineno)
        count = 0

        def line(frame, event, _):
            nonlocal count
            lines.add(frame.f_lineno)
            count += 1
            if count == LINES_TRACED:
                self.all_of(frame)
            return line
        return line

    def all_of(self, frame):
        """Take all lines of a function for executed: to look on would take too long."""
        lines = self.lines[frame.f_code.co_filename]
        lines.update(line for _, _, line in frame.f_code.co_lines() if line)
        frame.f_trace_lines = False
        self.calls[frame.f_code] = CALLS_TRACED + 1

    def seen(self):
        return {self.paths[name]: sorted(lines) for name, lines in self.lines.items() if lines}


def watch(items, paths):
    """What each test executes, and how long it takes: {its id: [seconds, {path: lines}]}.

    The tests run twice, the second time quickest first: one that passes only in its own order, or
    only once, could not tell why it fails.
    """
    trace, seen = Trace(paths), []
    for item in items:
        began = time.perf_counter()
        with trace:
            passed = run_test(item)
        if passed and trace.seen():
            seen.append((time.perf_counter() - began, item, trace.seen()))
    found = {}
    for _, item, lines in sorted(seen, key=lambda test: test[0]):
        began = time.perf_counter()
        passed = run_test(item)
        took = time.perf_counter() - began
        if passed and took < SLOWEST_S:
            found[item.nodeid] = [round(took, 4), lines]
    return found


# -- children

class Children:
    """Forked processes, some at a time, of which each hands back one value."""

    def __init__(self, jobs, config):
        self.jobs, self.config = jobs, config
        self.running = {}  # the end of a pipe: (pid, what it is about, when it has to be over, folder)

    def start(self, about, function, seconds):
        folder = tempfile.mkdtemp(prefix="mutate-")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._be_child(function, writing, folder)
        os.close(writing)
        self.running[reading] = (pid, about, time.monotonic() + seconds, folder)

    def _be_child(self, function, writing, folder):
        code = 1
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            self.config._tmp_path_factory._basetemp = pathlib.Path(folder)
            answer = json.dumps(function()).encode()
            while answer:
                answer = answer[os.write(writing, answer):]
            code = 0
        finally:
            os._exit(code)

    def ended(self):
        """(what it was about, its answer or None) of those that have ended; waits for one."""
        answers = []
        while not answers and self.running:
            for fd in select.select(list(self.running), [], [], 0.5)[0]:
                text = b""
                while True:
                    piece = os.read(fd, 1 << 16)
                    if not piece:
                        break
                    text += piece
                answers.append(self._over(fd, text))
            for fd, (_, _, end, _) in list(self.running.items()):
                if time.monotonic() > end:
                    answers.append(self._over(fd, b""))
        return answers

    def _over(self, fd, text):
        pid, about, _, folder = self.running.pop(fd)
        try:
            os.killpg(pid, signal.SIGKILL)  # what a test left behind as well
        except OSError:
            pass
        os.close(fd)
        os.waitpid(pid, 0)
        shutil.rmtree(folder, ignore_errors=True)
        return about, json.loads(text.decode()) if text else None

    def all(self, work):
        """Run all of it: (what it was about, its answer) for each (about, function, seconds)."""
        work = iter(work)
        try:
            while True:
                while len(self.running) < self.jobs:
                    task = next(work, None)
                    if task is None:
                        break
                    self.start(*task)
                if not self.running:
                    return
                for answer in self.ended():
                    yield answer
        finally:
            for fd in list(self.running):
                self._over(fd, b"")


class Driver:
    """The plugin of pytest that has the tests collected, and then runs them in its own way."""

    def __init__(self, arguments, functions, mutants):
        self.arguments, self.functions, self.mutants = arguments, functions, mutants
        self.problems = []
        self.results = None
        self.last = last_results()
        self.imported, self.memos = memos()

    def pytest_collectreport(self, report):
        if report.failed:
            self.problems.append(str(report.longrepr))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if not self.problems:
            for memo, before in self.memos:
                memo.clear()
                memo.update(before)
            find_live(self.functions)
            self.children = Children(self.arguments.jobs, session.config)
            self.index(session)
            self.caches = [thing for thing in gc.get_objects()
                           if isinstance(thing, functools._lru_cache_wrapper)
                           and is_of_product(getattr(thing, "__wrapped__", None))]
            gc.collect()
            gc.freeze()  # the children share the memory
            self.results = self.try_all()
        return True

    # -- which test executes which line

    def index(self, session):
        items = collections.OrderedDict()
        for item in session.items:
            items.setdefault(pathlib.Path(str(item.fspath)), []).append(item)
        paths = [CORE] + list(SCRIPTS)
        shared = [REPOSITORY / path for path in paths] + [
            TESTS / name for name in ("conftest.py", "support.py", "stories.py")]
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        keys = {path: digest(shared + [path]) for path in items}
        stale = [path for path in items if kept.get(path.name, {}).get("key") != keys[path]]
        stale.sort(key=lambda path: -path.stat().st_size)
        work = ((path, functools.partial(watch, items[path], paths), FILE_S) for path in stale)
        for path, found in self.children.all(work):
            if found is None:
                say("%s: took too long, or died; its tests are left out" % path.name)
            kept[path.name] = {"key": keys[path], "tests": found or {}}
            say("%s: %d of %d tests execute what is changed" % (
                path.name, len(found or {}), len(items[path])))
            KEPT.write_text(json.dumps(kept))
        self.items = [item for path in items for item in items[path]]
        self.number_of = {item.nodeid: number for number, item in enumerate(self.items)}
        self.seconds, self.by_line = {}, collections.defaultdict(set)
        for number, item in enumerate(self.items):
            test = kept[pathlib.Path(str(item.fspath)).name]["tests"].get(item.nodeid)
            if test:
                self.seconds[number] = test[0]
                for path, lines in test[1].items():
                    for line in lines:
                        self.by_line[path, line].add(number)

    # -- one mutant after the other

    def try_all(self):
        began, done, results, fresh = time.monotonic(), 0, {}, {}
        by_id = {mutant.id: mutant for mutant in self.mutants}
        if self.arguments.again:
            results = {mutant.id: KILLED for mutant in self.mutants
                       if self.last.get(mutant.id) is not None}
        work = ((mutant.id, functools.partial(self.try_one, mutant, self.tests_of(mutant)),
                 PATIENCE_S) for mutant in self.mutants
                if self.is_reached(mutant.function) and mutant.id not in results)
        for identity, answer in self.children.all(work):
            outcome, test = answer or (KILLED, None)  # it hung, or brought the process down
            results[identity] = outcome
            if outcome == KILLED:
                fresh[identity] = "" if test is None else self.items[test].nodeid
            elif outcome == SURVIVED:
                fresh[identity] = None
            if outcome == KILLED and test is not None:
                killers = by_id[identity].function.killers
                if test in killers:
                    killers.remove(test)
                killers.appendleft(test)
            done += 1
            if done % 50 == 0:
                keep(fresh)
            if done % 200 == 0:
                seconds = time.monotonic() - began
                say("%d of %d, %.1f a second, %d survived" % (
                    done, len(self.mutants), done / seconds,
                    sum(result == SURVIVED for result in results.values())))
        seconds = time.monotonic() - began
        say("%d mutants in %d s, %.1f a second" % (done, seconds, done / max(seconds, 0.001)))
        keep(fresh)
        return results

    @functools.lru_cache(maxsize=None)  # noqa: B019
    def is_reached(self, function):
        """Whether a change to a function counts: not if it runs while its module is imported only."""
        inner = range(function.node.body[0].lineno, function.node.end_lineno + 1)
        tested = any((function.path, line) in self.by_line for line in inner)
        imported = self.imported[str(REPOSITORY / function.path)]
        return function.live and (tested or not imported.intersection(inner))

    def tests_of(self, mutant):
        """The tests that execute its lines: those that killed its like first, then the quickest."""
        tests = set()
        for line in mutant.change.lines:
            tests |= self.by_line.get((mutant.function.path, line), set())
        before = self.number_of.get(self.last.get(mutant.id))
        killers = [test for test in [before] + list(mutant.function.killers) if test in tests]
        rest = sorted(tests.difference(killers), key=lambda test: (self.seconds[test], test))
        return killers + rest

    def try_one(self, mutant, tests):
        """In a child: put the changed code in its place, and see whether a test fails."""
        code = mutant.code()
        if code is None:
            return EQUAL, None
        for function in mutant.function.live:
            function.__code__ = code
        for cache in self.caches:
            cache.cache_clear()
        end = time.monotonic() + PATIENCE_S / 2
        for test in tests:
            # CPU time, of which a busy machine leaves as much as an idle one.
            if time.process_time() > TESTS_S or time.monotonic() > end:
                break
            # Of CPU time: a loop without an end is ended, a slow machine is not taken for one.
            signal.setitimer(signal.ITIMER_PROF, HANG_S + 10 * self.seconds[test])
            if run_test(self.items[test]) is False:
                return KILLED, test
        return SURVIVED, None


def memos():
    """Import the product: the lines executed for it, and the modules' tables before any test.

    A mutant must not be answered from what the collection of the tests, their parameters, left
    there.
    """
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "scripts")]
    paths = [CORE] + list(SCRIPTS)
    with Trace(paths) as trace:
        modules = [importlib.import_module(pathlib.Path(path).stem) for path in paths]
    return trace.lines, [(value, value.copy()) for module in modules for value in vars(module).values()
            if type(value) in (dict, set) and value is not vars(module)["__builtins__"]]


def is_of_product(function):
    code = getattr(function, "__code__", None)
    return code is not None and str(REPOSITORY) in code.co_filename


def digest(paths):
    made = hashlib.sha256(("%s %s" % (FORMAT, sys.version)).encode())
    for path in paths:
        made.update(path.read_bytes())
    return made.hexdigest()


def last_results():
    """{id: the test that killed it, "" where no test did it alone, None where it survived}."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(fresh):
    """Keep results for the next run, beside those of other sections."""
    results = dict(last_results(), **fresh)
    made = RESULTS.with_suffix(".%d" % os.getpid())
    made.write_text(json.dumps(results, indent=0, sort_keys=True))
    made.replace(RESULTS)


def say(text):
    print("mutate: " + text, file=sys.stderr, flush=True)


# -- the report

def known_mutants():
    """{id: why it is equivalent} as tests/mutants.txt has it."""
    known = collections.OrderedDict()
    for line in KNOWN.read_text(encoding="utf-8").splitlines() if KNOWN.exists() else []:
        if line and not line.startswith("#"):
            identity, _, why = line.partition("\t")
            known[identity] = why
    return known


def report(mutants, results, known, every):
    """Print what survived and the table; whether all is as it should be."""
    survivors = [mutant for mutant in mutants if results.get(mutant.id) == SURVIVED]
    fresh = [mutant for mutant in survivors if mutant.id not in known]
    for mutant in fresh:
        path = mutant.function.path
        line = (REPOSITORY / path).read_text(encoding="utf-8").split("\n")[mutant.line - 1]
        print("%s:%d: %s\n    %s\n    %s" % (path, mutant.line, mutant.id, line.strip(), mutant.text()))
    print("%-22s %8s %8s %9s %17s %8s" % (
        "section", "mutants", "killed", "survived", "known equivalent", "killed"))
    good = not fresh
    sections = list(collections.OrderedDict.fromkeys(mutant.function.section for mutant in mutants))
    for section in sections + ["all"]:
        of = [mutant for mutant in mutants if section in (mutant.function.section, "all")
              and results.get(mutant.id) in (KILLED, SURVIVED)]
        killed = sum(results[mutant.id] == KILLED for mutant in of)
        equivalent = sum(mutant.id in known for mutant in of if results[mutant.id] == SURVIVED)
        counted = len(of) - equivalent
        percent = 100.0 * killed / counted if counted else 100.0
        print("%-22s %8d %8d %9d %17d %7.1f%%" % (
            section, len(of), killed, len(of) - killed - equivalent, equivalent, percent))
        good = good and percent >= REQUIRED
    for identity in known:
        if results.get(identity) == KILLED:
            print("mutants.txt: %s is killed" % identity)
        elif identity not in every or results.get(identity) == EQUAL:
            print("mutants.txt: %s is no mutant any more" % identity)
            good = False
    return good


def arguments_of(words):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog="Needs pytest. See the head of this file.")
    parser.add_argument("--section", action="append", metavar="NAME",
                        help="a section, or a script of the clean-up; may be repeated")
    parser.add_argument("--function", action="append", metavar="NAME",
                        help="a function, class or method; may be repeated")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of them only")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which these are")
    parser.add_argument("--again", action="store_true",
                        help="only those that survived the last time")
    parser.add_argument("--jobs", type=int, default=2, metavar="N",
                        help="so many at a time (2)")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    return parser.parse_args(words)


def is_named(function, names):
    return any(function.name == name or function.name.startswith(name + ".") for name in names)


def main(words):
    arguments = arguments_of(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the children end too
    every = list(mutants_of([function for path in [CORE] + list(SCRIPTS)
                             for function in functions_of(path)]))
    mutants = [mutant for mutant in every
               if (not arguments.section or mutant.function.section in arguments.section)
               and (not arguments.function or is_named(mutant.function, arguments.function))]
    if not mutants:
        sections = sorted({mutant.function.section for mutant in every})
        say("there is nothing of that name; the sections are: " + ", ".join(sections))
        return 2
    if arguments.sample and arguments.sample < len(mutants):
        chosen = set(random.Random(arguments.seed).sample(range(len(mutants)), arguments.sample))
        mutants = [mutant for number, mutant in enumerate(mutants) if number in chosen]
    if arguments.again:
        last = last_results()
        mutants = [mutant for mutant in mutants if mutant.id in last]
    if arguments.list:
        for mutant in mutants:
            if mutant.code() is not None:
                print("%s\t%s:%d\t%s" % (mutant.id, mutant.function.path, mutant.line, mutant.text()))
        return 0
    functions = list(collections.OrderedDict.fromkeys(mutant.function for mutant in mutants))
    driver = Driver(arguments, functions, mutants)
    files = [str(path) for path in sorted(TESTS.glob("test_*.py"))
             if path.stem[len("test_"):] not in LEFT_OUT]
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:xdist", "-s",
                 "--rootdir", str(REPOSITORY)] + files, plugins=[driver])
    if driver.results is None:
        say("the tests cannot be collected\n" + "\n".join(driver.problems))
        return 2
    known = known_mutants()
    return 0 if report(mutants, driver.results, known, {mutant.id for mutant in every}) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
