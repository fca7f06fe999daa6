#!/usr/bin/env python3
"""How fast the inventory and what follows it are: python3 tests/bench_inventory.py [--files N] [--runs N] [--python PY]

A tree of 200,000 files in a git repository is made in a temporary folder (a minute, 1.5 GB with git and folders) and
removed at the end. Every figure is the median of paired runs of whole processes (floor, ours, floor, ours ...), every
ratio the median of the pairs' ratios, with all files in the page cache. The floors are below: the same work in as
few lines as it can be done, with nothing checked and nothing kept for a second run. The peers are left out where they
are not installed (rdfind, fdupes).
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bench  # noqa: E402
from bench import MIB, PYTHON, REPOSITORY, Row  # noqa: E402

SCRIPTS = os.path.join(REPOSITORY, "scripts")
INVENTORY_NAME = "cleanup_inventory.json"
CACHE_NAME = ".cleanup_cache"
REMOVALS = 10000
MIN_DUPLICATE = 1024
CLOCK_AHEAD_S = 100 * 86400  # by then everything in the tree is old enough for every rule


# == The tree ==

SUFFIXES = (".py", ".js", ".md", ".json", ".txt", ".c", ".html", ".css", ".log", ".tmp", ".bak", ".pyc", ".png")
COMMON_NAMES = ("README.md", "__init__.py", "Makefile", "index.html")
IGNORED = "*.log\n*.pyc\n/build/\n"
PER_FOLDER = 25


def folder_of(number):
    """Of each fifty folders 40 are tracked but for what is ignored, and every fifth lies in the ignored `build`."""
    if number % 5 == 4:
        return "build/x%d" % number
    if number % 3:
        return "d%02d/e%03d/f%d" % (number % 50, number // 50 % 20, number)
    return "d%02d/g%d" % (number % 50, number)


def make_lines(rng, words):
    lines = []
    for _ in range(3000):
        some = [rng.choice(words) for _ in range(8)]
        lines.append("%s %s %s %s.%s(%s, '%s') # %s\n" % tuple(some))
    return lines


def make_tree(root, files, seed=1):
    """Text of 0.3 to 2.5 KB with about 60 tokens a file, of which the last names a file; 2 in 13 files are binary."""
    rng = random.Random(seed)
    words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 10))) for _ in range(20000)]
    lines, names, data = make_lines(rng, words), [], b""
    for number in range(files // PER_FOLDER):
        folder = os.path.join(root, folder_of(number))
        os.makedirs(folder)
        for count in range(number * PER_FOLDER, (number + 1) * PER_FOLDER):
            suffix = SUFFIXES[count % len(SUFFIXES)]
            name = "%s_%d%s" % (words[count % len(words)], count, suffix)
            if count % PER_FOLDER == 0:
                name = COMMON_NAMES[number % len(COMMON_NAMES)]
            names.append(name)
            if suffix in (".png", ".pyc"):
                data = os.urandom(1450)
            elif count % 40 or suffix == ".bak":  # now and then a file is equal to the one before
                size, start = rng.randint(5, 45), rng.randrange(2900)
                data = ("".join(lines[start:start + size]) + "see %s\n" % rng.choice(names)).encode("ascii")
            with open(os.path.join(folder, name), "wb") as handle:
                handle.write(data)


def make_repository(root, files):
    make_tree(root, files)
    for name, text in ((".gitignore", IGNORED), ("config/conductor_config.json", "{}\n")):
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "w", encoding="ascii") as handle:
            handle.write(text)
    shutil.copy(os.path.join(REPOSITORY, "config", "cleanup_rules.json"), os.path.join(root, "config"))
    tracked = [name for name in sorted(os.listdir(root)) if name not in ("build", ".git") and not name.startswith("d4")]
    for arguments in (["init", "-q"], ["add"] + tracked,
                      ["-c", "user.name=b", "-c", "user.email=b@example.invalid", "commit", "-q", "-m", "all"]):
        subprocess.check_call(["git", "-c", "gc.auto=0"] + arguments, cwd=root,
                              env=dict(bench.CRON_ENVIRONMENT, GIT_CONFIG_NOSYSTEM="1"))


# == The floors ==

# Walk, stat, three listings of git beside it, one json.dumps. With "references": one pass over the files that the
# inventory reads too, and nothing kept. Rows have the columns of the inventory's.
FLOOR = r"""
import gc, json, os, subprocess, sys, tempfile
gc.disable()
root, out, references = sys.argv[1], sys.argv[2], sys.argv[3] == "references"
os.chdir(root)
running = []
for options in (["--with-tree=HEAD"], ["-o", "--exclude-standard"], ["-o", "-i", "--exclude-standard"]):
    listing = tempfile.TemporaryFile()
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "ls-files", "-z"] + options
    running.append((listing, subprocess.Popen(command, stdout=listing)))
found, folders = [], [""]
while folders:
    prefix = folders.pop()
    with os.scandir(prefix or ".") as entries:
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if name != ".git":
                    folders.append(prefix + name + "/")
            else:
                found.append((prefix + name, name, entry.stat(follow_symlinks=False)))
sets = []
for listing, process in running:
    process.wait()
    listing.seek(0)
    sets.append(set(listing.read().decode("utf-8", "surrogateescape").split("\0")))
tracked, others, ignored = sets
counts, counted = {}, {}
if references:
    keep = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~-"
    table = bytes(code if code in keep else 32 for code in range(256))
    counts = dict.fromkeys((os.fsencode(name) for path, name, seen in found), 0)
    names = frozenset(counts)
    litter = (".log", ".pyc", ".tmp", ".bak")
    for path, name, seen in found:
        if name.endswith(".png") or name.endswith(litter) and path not in tracked:
            continue
        fd = os.open(path, os.O_RDONLY)
        data = os.read(fd, seen.st_size + 1)
        os.close(fd)
        if b"\0" not in data:
            for hit in names.intersection(data.translate(table).split()):
                counts[hit] += 1
    counted = {os.fsdecode(name): number for name, number in counts.items()}
rows = [[path, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_dev, seen.st_mode, seen.st_nlink,
         "tracked" if path in tracked else "ignored" if path in ignored else "untracked", counted.get(name), "other",
         None, None] for path, name, seen in found]
with open(out, "w") as handle:
    handle.write(json.dumps(rows))
os._exit(0)
"""

# The clean-up's planning, with a clock that is ahead, so that the files are old enough to be candidates.
PLAN = r"""
import sys, time
sys.path.insert(0, sys.argv.pop(1))
ahead, real = float(sys.argv.pop(1)), time.time
time.time = lambda: real() + ahead
sys.argv[0] = "cleanup_engine.py"
import cleanup_engine
cleanup_engine.finish(cleanup_engine.main)
"""

# Quarantine.remove and restore over real files that git ignores; against as many bare renames there and back.
REMOVE = r"""
import gc, json, os, sys, time
scripts, root, out, number = sys.argv[1:]
sys.path.insert(0, scripts)
import file_lifecycle, quarantine, tree
gc.disable()
number, owner = int(number), tree.Root(root)
candidates = []
for path in sorted(tree.Git(owner).listing().ignored):
    if len(candidates) < number and path.startswith("build/"):
        seen = os.lstat(os.path.join(root, path))
        candidates.append(quarantine.Candidate(path=path, size=seen.st_size, mtime_ns=seen.st_mtime_ns,
                          ctime_ns=seen.st_ctime_ns, dev=seen.st_dev, ino=seen.st_ino, mode=seen.st_mode, rule="bench",
                          reason="measured"))
aside, start = os.path.join(root, ".aside"), time.perf_counter()
os.mkdir(aside)
for count, item in enumerate(candidates):
    os.rename(os.path.join(root, item.path), "%s/%d" % (aside, count))
floor_there = time.perf_counter()
for count, item in enumerate(candidates):
    os.rename("%s/%d" % (aside, count), os.path.join(root, item.path))
floor_back = time.perf_counter()
os.rmdir(aside)
candidates = [item.replace(ctime_ns=os.lstat(os.path.join(root, item.path)).st_ctime_ns) for item in candidates]
guards = [tree.GitGuard(tree.Git(owner)), file_lifecycle.Registry(owner).guard]
with quarantine.Quarantine(owner, time.time()) as held:
    begin = time.perf_counter()
    removed = [one.outcome if one.outcome == "removed" else one.reason
               for one in held.remove(candidates, guards, len(candidates))]
    there = time.perf_counter()
    restored = [one.outcome for one in held.restore(held.run_id)]
    back = time.perf_counter()
assert removed == ["removed"] * len(candidates), set(removed)
assert restored == ["restored"] * len(candidates), set(restored)
with open(out, "w") as handle:
    json.dump({"number": len(candidates), "remove": there - begin, "restore": back - there,
               "floor_remove": floor_there - start, "floor_restore": floor_back - floor_there}, handle)
"""

# What git ignores, by way of the module that the inventory asks.
IGNORED_BY_US = r"""
import sys
sys.path.insert(0, sys.argv[1])
import tree
sys.stdout.write("\n".join(tree.Git(tree.Root(sys.argv[2])).listing().ignored))
"""


# == Measuring ==

def run(argv, out=os.devnull):
    """One run of a command, its output in a file."""
    return bench.measure(["/bin/sh", "-c", 'out=$1; shift; exec "$@" > "$out"', "sh", out] + argv)


def in_session(work, *arguments):
    """Do something in a child that ends with this process, whatever it has started."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            work(*arguments)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    try:
        status = os.waitpid(pid, 0)[1]
    except KeyboardInterrupt:
        os.killpg(pid, signal.SIGKILL)
        raise
    if status:
        raise SystemExit("the tree could not be made")


def wait_for_all():
    """Until the last child is gone, which might write to the tree again."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass


class Tree:
    """The tree that everything is measured on, with the commands for it."""

    def __init__(self, folder, files):
        self.folder = folder
        self.root = os.path.join(folder, "tree")
        self.removals = min(REMOVALS, files // 10)
        in_session(make_repository, self.root, files)

    def path(self, name):
        return os.path.join(self.folder, name)

    def floor(self, what):
        return lambda: run([PYTHON, "-c", FLOOR, self.root, self.path("floor.json"), what])

    def ours(self, *options):
        return lambda: run([PYTHON, os.path.join(SCRIPTS, "inventory.py"), "--root", self.root] + list(options),
                           self.path("said"))

    def first(self):
        """With references, and no cache yet."""
        self.forget()
        return self.ours()()

    def forget(self):
        if os.path.exists(os.path.join(self.root, CACHE_NAME)):
            os.unlink(os.path.join(self.root, CACHE_NAME))

    def inventory(self):
        with open(os.path.join(self.root, INVENTORY_NAME), encoding="ascii") as handle:
            return json.load(handle)

    def without_git(self):
        """Until the end of a `with`; the inventory that knows of git would refuse."""
        if os.path.exists(os.path.join(self.root, INVENTORY_NAME)):
            os.unlink(os.path.join(self.root, INVENTORY_NAME))
        return Aside(os.path.join(self.root, ".git"), self.path("git-aside"))


class Aside:
    """Something that is not in its place for a while."""

    def __init__(self, path, aside):
        self.path = path
        self.aside = aside

    def __enter__(self):
        os.rename(self.path, self.aside)

    def __exit__(self, *_):
        os.rename(self.aside, self.path)


def seconds(value):
    return "%.2f s" % value


def mebibytes(value):
    return "%.0f MiB" % (value / MIB)


def wall(samples):
    return bench.median_of(samples, "wall")


def ratio_row(what, ours, floor, name, limit=None):
    ratio = bench.ratio_of(ours, floor, "wall")
    return Row(what, seconds(wall(ours)), "%s: %s" % (name, seconds(wall(floor))), "%.2fx" % ratio,
               "%gx" % limit if limit else "-", bench.answer(ratio <= limit) if limit else "-")


def peak_row(what, samples, floor):
    peak, against = bench.median_of(samples, "peak"), bench.median_of(floor, "peak")
    return Row(what + ": peak memory", mebibytes(peak), "floor: %s" % mebibytes(against), "%.2fx" % (peak / against),
               "400 MiB", bench.answer(peak <= 400 * MIB))


# == Rows ==

def row_walk(tree, rounds):
    """(a) and its memory: without references, against the walk, git and JSON alone."""
    tree.floor("walk")()
    tree.ours("--no-references", "--no-cache")()
    floor, ours = bench.paired(rounds, tree.floor("walk"), tree.ours("--no-references", "--no-cache"))
    return [ratio_row("inventory without references", ours, floor, "floor", 1.5),
            peak_row("inventory without references", ours, floor)], []


def row_references(tree, rounds):
    """(b), (c), (d): with references, the cache removed before, and once more with nothing changed."""
    samples = [[], [], []]
    tree.floor("references")()
    for _ in range(rounds):
        for kept, subject in zip(samples, (tree.floor("references"), tree.first, tree.ours())):
            kept.append(subject())
    floor, first, second = samples
    return [ratio_row("inventory with references, first run", first, floor, "floor, one pass", 1.4),
            ratio_row("the same once more, nothing changed", second, first, "first run", 0.2),
            peak_row("inventory with references, first run", first, floor),
            peak_row("the same once more", second, floor)], [agreement(tree)]


def agreement(tree):
    """What the floor and the inventory found, which shows that both did the work."""
    document = tree.inventory()
    with open(tree.path("floor.json"), encoding="ascii") as handle:
        floor = {row[0]: row for row in json.load(handle)}
    place = {name: number for number, name in enumerate(document["fields"])}
    ours = {row[0]: row for row in document["files"]}
    floor = {path: row for path, row in floor.items() if path in ours}  # without what the clean-up keeps for itself
    same = sum(row[place["class"]] == floor[path][place["class"]] for path, row in ours.items() if path in floor)
    mentions = [sum(row[place["references"]] or 0 for row in rows.values()) for rows in (ours, floor)]
    return ("%d files, %s; %d of them in the floor's list too, %d with the same class; mentions by name: ours %d, the "
            "floor's %d (which counts a file that names itself)" % (
                len(document["files"]), ", ".join("%d %s" % (number, name) for name, number in sorted(
                    document["counts"]["class"].items())), len(floor), same, mentions[0], mentions[1]))


def row_plan(tree, rounds):
    """(e) Planning over the inventory, as a whole process that changes nothing."""
    if not os.path.exists(os.path.join(SCRIPTS, "cleanup_engine.py")):
        return [], ["plan: left out, there is no scripts/cleanup_engine.py"]
    tree.ours()()
    inventory = os.path.join(tree.root, INVENTORY_NAME)
    plan = [PYTHON, "-c", PLAN, SCRIPTS, str(CLOCK_AHEAD_S), inventory, "--root", tree.root, "--max-age", "200d",
            "--max-fraction", "1"]
    load = [PYTHON, "-c", "import json, sys; kept = json.load(open(sys.argv[1]))", inventory]
    run(plan, tree.path("said"))
    with open(tree.path("said"), encoding="utf-8", errors="replace") as handle:
        said = handle.readline().strip()
    floor, ours = bench.paired(rounds, lambda: run(load), lambda: run(plan))
    row = ratio_row("planning over that inventory", ours, floor, "its JSON alone")
    return [row._replace(target="3 s", met=bench.answer(wall(ours) <= 3)),
            peak_row("planning", ours, floor)], ["plan, 100 days ahead: %s" % said]


def row_removal(tree, rounds):
    """(e) Removals and restores, timed inside one process."""
    found = collections.defaultdict(list)
    for _ in range(rounds):
        run([PYTHON, "-c", REMOVE, SCRIPTS, tree.root, tree.path("removal.json"), str(tree.removals)])
        with open(tree.path("removal.json"), encoding="ascii") as handle:
            for key, value in json.load(handle).items():
                found[key].append(value)
    number = found["number"][0]
    rows = []
    for key, what in (("remove", "%d removals, both guards in place"), ("restore", "%d restores")):
        taken = statistics.median(found[key])
        ratio = statistics.median(a / b for a, b in zip(found[key], found["floor_" + key]))
        rows.append(Row(what % number, seconds(taken), "bare renames: %s" % seconds(statistics.median(
            found["floor_" + key])), "%.1fx" % ratio, "2 s", bench.answer(taken <= 2 * number / REMOVALS)))
    return rows, []


def row_peers(tree, rounds):
    """(f) Who does a part of the same: find, git clean, rdfind, fdupes."""
    rows, notes = [], []
    found, ignored = tree.path("found"), tree.path("ignored")
    tree.forget()
    find = ["find", tree.root, "-type", "f", "-printf", "%P\\t%i\\t%s\\t%T@\\t%C@\\t%D\\t%m\\t%n\\n"]
    with tree.without_git():
        theirs, ours = bench.paired(rounds, lambda: run(find, found), tree.ours("--no-references", "--no-cache"))
        rows.append(ratio_row("walk, no repository, no references", ours, theirs, "find -printf", 1.5))
        more, remarks = duplicate_rows(tree, rounds)
    clean = ["git", "-C", tree.root, "clean", "-nX"]
    listing = [PYTHON, "-c", IGNORED_BY_US, SCRIPTS, tree.root]
    theirs, ours = bench.paired(rounds, lambda: run(clean, found), lambda: run(listing, ignored))
    rows.append(ratio_row("git's three listings, as the inventory asks", ours, theirs, "git clean -nX"))
    lengths = []
    for path in (ignored, found):
        with open(path, "rb") as handle:
            lengths.append(handle.read().count(b"\n"))
    notes.append("ignored: ours lists %d files, git clean -nX %d lines (it does not look into folders that hold "
                 "nothing tracked)" % (lengths[0] + 1, lengths[1]))
    return rows + more, notes + remarks


def duplicate_rows(tree, rounds):
    rows, notes = [], []
    ours = tree.ours("--no-references", "--no-cache", "--min-duplicate", str(MIN_DUPLICATE))
    said = tree.path("peer")
    for name, options in (("rdfind", ["-dryrun", "true", "-makeresultsfile", "false", "-minsize", str(MIN_DUPLICATE)]),
                          ("fdupes", ["-r", "-q", "-G", str(MIN_DUPLICATE)])):
        program = shutil.which(name)
        if not program:
            notes.append("duplicates: %s is missing, left out (apt-get install %s)" % (name, name))
            continue
        command = [program] + options + [tree.root]
        theirs, mine = bench.paired(rounds, lambda command=command: run(command, said), ours)
        limit = 2 if name == "fdupes" else None
        rows.append(ratio_row("duplicates from %d bytes, with the whole inventory" % MIN_DUPLICATE, mine, theirs, name,
                              limit))
        notes.append("duplicates: %s: %s" % (name, peer_verdict(name, said)))
    notes.append("duplicates: ours: %d files are equal to another one" % sum(
        row[-1] is not None for row in tree.inventory()["files"]))
    return rows, notes


def peer_verdict(name, said):
    with open(said, encoding="utf-8", errors="replace") as handle:
        lines = handle.read().splitlines()
    if name == "fdupes":
        return "%d files are equal to another one" % sum(map(bool, lines))
    return next((line.strip() for line in lines if "not unique" in line), "said nothing")


ROWS = collections.OrderedDict((("walk", row_walk), ("references", row_references), ("plan", row_plan),
                                ("removal", row_removal), ("peers", row_peers)))


def measured(tree, names, rounds):
    """All rows and notes, as far as they came."""
    rows, notes = [], []
    try:
        for name in names:
            sys.stderr.write("%s ...\n" % name)
            try:
                found, remarks = ROWS[name](tree, rounds if name != "removal" else min(rounds, 5))
            except (SystemExit, OSError, ValueError, LookupError) as error:
                found, remarks = [], ["%s: left out: %s" % (name, str(error).splitlines()[0])]
            rows += found
            notes += remarks
    except KeyboardInterrupt:
        notes.append("interrupted; what is missing was not measured")
    return rows, notes


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200000, metavar="N", help="size of the tree (default 200000)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="pairs (default 5)")
    parser.add_argument("--only", choices=list(ROWS), metavar="NAME", help="one of %s" % ", ".join(ROWS))
    parser.add_argument("--python", metavar="PY", help="the interpreter to measure (default: this one)")
    args = parser.parse_args()
    if args.python and os.path.realpath(shutil.which(args.python) or args.python) != PYTHON:
        rest = [word for pair in (("--files", args.files), ("--runs", args.runs), ("--only", args.only))
                for word in map(str, pair) if pair[1]]
        os.execvp(args.python, [args.python, os.path.abspath(__file__)] + rest)
    signal.signal(signal.SIGTERM, interrupted)
    os.umask(0o077)
    folder = os.path.realpath(tempfile.mkdtemp(prefix="inventory-bench-"))
    rows, notes = [], []
    about = bench.machine()
    try:
        sys.stderr.write("making the tree ...\n")
        tree = Tree(folder, args.files)
        rows, notes = measured(tree, [args.only] if args.only else list(ROWS), args.runs)
    except KeyboardInterrupt:
        notes.append("interrupted before anything was measured")
    finally:
        sys.stderr.write("removing the tree ...\n")
        wait_for_all()
        shutil.rmtree(folder, ignore_errors=True)
    print("%s\n\n%s\n" % (about, bench.table(rows, True)))
    for note in notes:
        print("- " + note)


if __name__ == "__main__":
    main()
