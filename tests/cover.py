"""Runs the tests once and says which branches of the product they took; `tests/run --coverage` calls it.

The processes that tests start are measured as well, whatever their environment and flags: the
interpreter of the virtual environment tests/.venv-cover measures itself (cover_process.py). Judges
the sections of symphony_conductor.py and the files of scripts/, but those for Airflow, whose tests
have a run of their own. Exits with 1 if a test fails or a file is under its gate, and with 0 where
coverage.py cannot be installed: then the tests run without it.

A line is excused by `# pragma: no cover - REASON`, and by nothing without a reason.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent
CORE = REPOSITORY / "symphony_conductor.py"
ENVIRONMENT = HERE / ".venv-cover"
ARCS = ENVIRONMENT / "arcs"
# The tracer is spoken to without the rest of coverage.py, so it is this version of it.
REQUIREMENTS = ["coverage==7.17.5", "pytest>=7.0.1", "pytest-xdist"]
LAST_PURE = "Rendering"
PURE_TOO = ("Heartbeat",)
GATE = 92.0
FILE_GATE = 85.0  # of each script alone; what only root or only an ordinary user can do is missing
EXCUSED = [r"#\s*pragma: no cover - \S", r"if TYPE_CHECKING:"]

# Takes -S out, which would keep the measuring away, and -I and -E stay what they are. Named by its
# own path: a Python finds its virtual environment by the name that it is called by.
INTERPRETER = """#!/bin/sh
for word; do
    shift
    case $ended$word in
        -S) continue ;;
        -c | -m | [!-]*) ended=yes ;;
    esac
    set -- "$@" "$word"
done
exec "%(real)s" "$@"
"""
# The crontab line names the interpreter that a virtual environment was made with: this one says that
# it is no virtual environment, so that what the line starts is measured too.
STARTED = ("import sys; sys.executable = %(shell)r; sys.base_prefix = sys.prefix; import cover_process; "
           "cover_process.start(%(tracer)r, %(arcs)r, %(files)r)\n")


def say(text):
    print("tests/cover.py: " + text, flush=True)


def measured_files():
    return [CORE] + sorted((REPOSITORY / "scripts").glob("*.py"))


# -- the environment


def prepare():
    """Create the virtual environment. Raises OSError, CalledProcessError."""
    made_of = "\n".join(REQUIREMENTS + [sys.version, str(HERE)])
    stamp = ENVIRONMENT / "made-of"
    real = ENVIRONMENT / "bin" / ("python%d.%d" % sys.version_info[:2])
    if not stamp.is_file() or stamp.read_text() != made_of:
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(str(ENVIRONMENT))
        origin = real.resolve()
        for path in (ENVIRONMENT / "bin").glob("python*"):  # links to one another
            path.unlink()
        real.symlink_to(origin)
        subprocess.run([str(real), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                       + REQUIREMENTS, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        stamp.write_text(made_of)
    (packages,) = ENVIRONMENT.glob("lib/python3*/site-packages")
    (tracer,) = packages.glob("coverage/tracer.*.so")
    shell = ENVIRONMENT / "bin" / "python"
    for name in ("python", "python3"):
        path = ENVIRONMENT / "bin" / name
        path.write_text(INTERPRETER % {"real": real})
        path.chmod(0o755)
    (packages / "cover_process.py").write_text((HERE / "cover_process.py").read_text())
    (packages / "cover.pth").write_text(STARTED % {
        "shell": str(shell), "tracer": str(tracer), "arcs": str(ARCS),
        "files": [str(path) for path in measured_files()]})
    return real


def reason_of(error):
    """The last line that a failed command printed, or the error itself."""
    said = (getattr(error, "output", None) or b"").decode("utf-8", "replace").split("\n")
    said = [line for line in said if line.strip() and not line.startswith("WARNING")]
    return said[-1] if said else str(error)


def forget():
    """Begin without what was measured before. Processes of all users append to the file."""
    ARCS.write_text("")
    ARCS.chmod(0o666)


# -- what was measured


def measured_arcs():
    """The arcs of each file, as pairs of lines, unpacked as coverage.py does."""
    packed = {}
    with ARCS.open("rb") as stream:
        for line in stream:
            words = line.split()
            if words and line.endswith(b"\n"):
                packed.setdefault(words[0].decode(), set()).update(map(int, words[1:]))
    mask = (1 << 28) - 1
    return {path: [((-1) ** (arc >> 56 & 1) * (arc & mask), (-1) ** (arc >> 57 & 1) * (arc >> 28 & mask))
                   for arc in arcs] for path, arcs in packed.items()}


def analysed():
    """What coverage.py makes of the arcs: its report as a document, by path."""
    import coverage
    measuring = coverage.Coverage(data_file=None, branch=True, config_file=False)
    measuring.set_option("report:exclude_lines", EXCUSED)
    measuring.set_option("report:partial_branches", [r"if not TYPE_CHECKING:"])
    measuring.get_data().add_arcs(measured_arcs())
    with tempfile.NamedTemporaryFile(suffix=".json") as stream:
        measuring.json_report(morfs=[str(path) for path in measured_files()], outfile=stream.name)
        files = json.load(stream)["files"]
    return {str(pathlib.Path(path).resolve()): found for path, found in files.items()}


class Part:
    """A section or a file: what was to be taken and what was not."""

    def __init__(self, name, gate):
        self.name, self.gate = name, gate
        self.lines = self.branches = 0
        self.missing_lines, self.missing_branches = [], []

    def is_met(self):
        return min(self.line_share(), self.branch_share()) >= self.gate

    def line_share(self):
        return 100.0 * (1 - len(self.missing_lines) / max(1, self.lines))

    def branch_share(self):
        return 100.0 * (1 - len(self.missing_branches) / max(1, self.branches))

    def add(self, found, begin, end):
        def within(lines):
            return [line for line in lines if begin <= line < end]

        def from_within(branches):
            return [branch for branch in branches if begin <= branch[0] < end]

        self.missing_lines = within(found["missing_lines"])
        self.lines = len(within(found["executed_lines"])) + len(self.missing_lines)
        self.missing_branches = from_within(found["missing_branches"])
        self.branches = len(from_within(found["executed_branches"])) + len(self.missing_branches)
        return self


def sections():
    """The sections of the core: (name, first line, line after it)."""
    lines = CORE.read_text().splitlines()
    begins = [(number, match.group(1)) for number, match in
              ((number, re.match(r"# == (.*) ==$", line)) for number, line in enumerate(lines, 1)) if match]
    ends = [number for number, _ in begins[1:]] + [len(lines) + 1]
    return [(name, begin, end) for (begin, name), end in zip(begins, ends)]


def parts():
    files = analysed()
    core = files[str(CORE)]
    named = sections()
    names = [name for name, _, _ in named]
    pure = names[names.index("Errors"):names.index(LAST_PURE) + 1] + list(PURE_TOO)
    found = [Part(name, 100.0 if name in pure else 0.0).add(core, begin, end)
             for name, begin, end in named]
    rest = [part for part in found if part.name not in pure]
    for path in measured_files()[1:]:
        found.append(Part("scripts/" + path.name, FILE_GATE).add(files[str(path)], 0, 1 << 30))
    scripts = found[len(named):]
    return found, [whole("the rest of " + CORE.name, rest), whole("scripts together", scripts)]


def whole(name, members):
    """The sum of parts, with the gate that is set to all of them together."""
    made = Part(name, GATE)
    for part in members:
        made.lines += part.lines
        made.branches += part.branches
        made.missing_lines += part.missing_lines
        made.missing_branches += part.missing_branches
    return made


def spans(numbers):
    """`3-5, 9` for 3, 4, 5, 9."""
    found = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join("%d" % a if a == b else "%d-%d" % (a, b) for a, b in found)


def judge(is_told_all):
    """Print the table and what is missing; whether every gate is met."""
    found, sums = parts()
    print("%-38s %7s %7s %8s %7s %7s  %s" % (
        "", "lines", "missed", "branches", "missed", "taken", "gate"))
    for part in found + sums:
        gate = "" if not part.gate else "%g %%%s" % (part.gate, "" if part.is_met() else "  UNDER IT")
        print("%-38s %7d %7d %8d %7d %6.1f%%  %s" % (
            part.name, part.lines, len(part.missing_lines), part.branches,
            len(part.missing_branches), part.branch_share(), gate))
    for part in found:
        if is_told_all or not part.is_met():
            tell(part)
    unmet = [part.name for part in found + sums if not part.is_met()]
    if unmet:
        say("under the gate: " + ", ".join(unmet))
    return not unmet


def tell(part):
    if part.missing_lines:
        print("%s: lines %s" % (part.name, spans(part.missing_lines)))
    branches = [(a, b) for a, b in part.missing_branches if a not in part.missing_lines]
    if branches:
        print("%s: branches %s" % (part.name, ", ".join(
            "%d to %s" % (a, b if b > 0 else "the end") for a, b in branches)))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], usage="%(prog)s [options] [arguments of pytest]")
    parser.add_argument("--report", action="store_true", help="only judge what was measured before")
    parser.add_argument("--more", action="store_true", help="add to what was measured before")
    parser.add_argument("--gates", action="store_true",
                        help="judge the branches alone, where the tests have passed unmeasured")
    parser.add_argument("--all", action="store_true", help="name what is missing over the gates too")
    options, rest = parser.parse_known_args()
    if sys.version_info < (3, 11):
        parser.error("coverage.py needs Python 3.11 or newer")
    if sys.prefix != str(ENVIRONMENT):
        return from_outside(rest, options)
    return 0 if judge(options.all) else 1


def from_outside(rest, options):
    """Prepare the environment, run the tests in it, and let it judge."""
    try:
        real = prepare()
    except (OSError, subprocess.CalledProcessError) as error:
        say("branches are not measured: " + reason_of(error))
        return run_tests(sys.executable, rest)
    code = 0
    if not options.report:
        if not options.more:
            forget()
        code = run_tests(ENVIRONMENT / "bin" / "python", ["-m", "not plain"] + rest)
        if not rest:
            code = run_tests(sys.executable, ["-m", "plain"]) or code
        if code and options.gates:
            say("what failed is not judged here, but by the runs that nothing is measured in")
            code = 0
    told = ["--all"] if options.all else []
    return subprocess.call([str(real), str(HERE / "cover.py")] + told) or code


def run_tests(python, arguments):
    """`tests/run` under this Python."""
    return subprocess.call([str(HERE / "run")] + arguments, env=dict(os.environ, PYTHON=str(python)))


if __name__ == "__main__":
    sys.exit(main())
