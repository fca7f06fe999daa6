#!/usr/bin/env python3
"""The conductor in a simulated world: see tests/world.

    python3 tests/simulate.py [HOURS] [--jobs N] [--kind KIND] [--first SEED | --of-commit]
                              [--years N]
    python3 tests/simulate.py --seed SEED [--kind KIND] [--tell]
    python3 tests/simulate.py --story FILE [--with-fault] [--tell]
    python3 tests/simulate.py --faults [--minutes N] [--keep]

The first form lives the lives of fresh seeds for so many hours, or years of box time, and prints
the rate. A life that breaks a promise is shrunk, and told; its story is written into
tests/world/stories, where the tests live it from then on.

With --seed or --story, one life; --tell prints what happens in it. With --faults, the faults of
tests/world/faults.py are put into the product one at a time, and each has to be found within ten
minutes.

Kinds of boxes: busy (a day, every few minutes something is due), crowded (the same, among processes of
other users), daily (weeks), worn (the same, on a bad disk), slow (years).
The exit code is 1 when a promise was broken, or a fault was not found. With greenlet installed, a
life takes a third of the time.
"""

import argparse
import collections
import json
import multiprocessing
import os
import pathlib
import random
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS)]

from world import coroutine, faults, shrink, story  # noqa: E402
from world.seams import REPOSITORY  # noqa: E402
from world.times import DAY  # noqa: E402

SOURCE = REPOSITORY / "symphony_conductor.py"
STORIES = TESTS / "world" / "stories"
YEAR = 365.25 * DAY
FAULT_MINUTES = 10
LINES_TOLD = 40


def live(task):
    """One life: (seed, kind, days, slots, runs, calls, seconds of the processor, promise, text)."""
    seed, kind = task
    begun = time.process_time()
    told = story.tell(seed, kind)
    promise, text, box = shrink.verdict_of(told)
    return (seed, told["kind"], (box.kernel.stamp - told["start"]) / DAY, box.oracle.slots_seen,
            len(box.runs), box.kernel.calls, time.process_time() - begun, promise, text)


def seeds_of(first, kind):
    seed = first
    while True:
        yield seed, kind
        seed += 1


def live_on(args):
    """Lives of fresh seeds until the time is over."""
    until = time.monotonic() + args.hours * 3600 if args.years is None else float("inf")
    total = collections.Counter()
    broken = []
    print("seeds from %d on, %d at a time, by %s" % (
        args.first, args.jobs, coroutine.Coroutine.__name__), flush=True)
    said_at = time.monotonic()
    with multiprocessing.Pool(args.jobs) as pool:
        for seed, kind, days, slots, runs, calls, took_s, promise, text in pool.imap_unordered(
                live, seeds_of(args.first, args.kind)):
            total.update({"lives": 1, "days": days, "slots": slots, "runs": runs, "calls": calls,
                          "seconds": took_s, kind + " years": days * DAY / YEAR})
            if promise:
                print("seed %d (%s) broke: %s" % (seed, kind, text), flush=True)
                broken.append((seed, kind, promise))
            if time.monotonic() - said_at > 60:
                said_at = time.monotonic()
                print(summary(total), flush=True)
            years = total["days"] * DAY / YEAR
            if time.monotonic() > until or (args.years and years >= args.years) or len(broken) >= 5:
                break
    print(summary(total))
    for seed, kind, promise in broken[:3]:
        show(shrink.shrink(story.tell(seed, kind), promise, seconds=args.shrink), promise,
             "seed-%s-%d" % (kind, seed))
    return 1 if broken else 0


def summary(total):
    years = total["days"] * DAY / YEAR
    kinds = ", ".join("%s %.2f" % (kind, total[kind + " years"]) for kind in story.KINDS)
    return ("%d lives, %.1f years of box time (%s), %d slots, %d starts of commands, %.1f million"
            " calls of the kernel; %.0f s of the processor, %.2f years a second" % (
                total["lives"], years, kinds, total["slots"], total["runs"],
                total["calls"] / 1e6, total["seconds"], years / max(total["seconds"], 1e-9)))


def show(told, promise, name=""):
    """Print a story and its end, and keep it for the tests."""
    lines = collections.deque(maxlen=LINES_TOLD)
    _, text, _ = shrink.verdict_of(told, tell=lines.append)
    print("\nBroken: %s\nThe story (%d tasks, %d steps):" % (
        text, len(told["tasks"]), len(told["steps"])))
    print(json.dumps(told, sort_keys=True))
    print("Its end:")
    for line in lines:
        print("  " + line[:200])
    if name:
        print("kept as %s" % keep(dict(told, promise=promise), name))


def keep(told, name):
    """Write a story down for the tests; returns the path."""
    STORIES.mkdir(exist_ok=True)
    path = STORIES / (name + ".json")
    path.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return os.path.relpath(str(path))


def live_one(args):
    if args.story:
        told = json.loads(pathlib.Path(args.story).read_text(encoding="utf-8"))
    else:
        told = story.tell(args.seed, args.kind)
    source = None
    if args.with_fault:
        fault = [each for each in faults.FAULTS if each[0] == told["fault"]][0]
        source = faults.with_fault(SOURCE.read_text(encoding="utf-8"), fault)
    promise, text, box = shrink.verdict_of(told, source, print if args.tell else None)
    print(text or "no promise was broken: %d runs, %d calls" % (len(box.runs), box.kernel.calls))
    return 1 if promise else 0


def find(task):
    """Look for a fault: (number, seconds, seed, promise, text)."""
    number, first, minutes = task
    fault = faults.FAULTS[number]
    source = faults.with_fault(SOURCE.read_text(encoding="utf-8"), fault)
    begun = time.monotonic()
    seed = first
    while time.monotonic() - begun < minutes * 60:
        promise, text, _ = shrink.verdict_of(story.tell(seed, fault[3]), source)
        if promise:
            took_s = time.monotonic() - begun
            told = shrink.shrink(story.tell(seed, fault[3]), promise, source, seconds=45)
            return number, took_s, seed, promise, text, told
        seed += 1
    return number, time.monotonic() - begun, seed, None, "", None


def find_faults(args):
    missed = 0
    with multiprocessing.Pool(args.jobs) as pool:
        tasks = [(number, args.first, args.minutes) for number in range(len(faults.FAULTS))]
        for number, took_s, seed, promise, text, told in pool.imap(find, tasks):
            print("\n%d. %s" % (number + 1, faults.FAULTS[number][0]))
            if promise is None:
                missed += 1
                print("   NOT FOUND within %d minutes, by seed %d" % (args.minutes, seed))
                continue
            print("   found in %.1f s, seed %d (%s): %s" % (
                took_s, seed, faults.FAULTS[number][3], text[:300]))
            print("   the story: %d tasks, %d days, steps: %s" % (
                len(told["tasks"]), told["days"], "; ".join(
                    "%(kind)s at %(at)d s" % step for step in told["steps"]) or "none"), flush=True)
            if args.keep:
                keep(dict(told, fault=faults.FAULTS[number][0], promise=promise),
                     "fault-%02d" % (number + 1))
    return 1 if missed else 0


def seed_of_commit():
    """A seed that every commit has for itself; 1 where git cannot tell."""
    try:
        name = subprocess.check_output(["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"],
                                       stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return 1
    return int(name[:8], 16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("hours", nargs="?", type=float, default=0.05)
    parser.add_argument("--years", type=float)
    parser.add_argument("--jobs", type=int, default=max(1, min(os.cpu_count() or 1, 8)))
    parser.add_argument("--kind", choices=sorted(story.KINDS))
    parser.add_argument("--first", type=int, default=random.SystemRandom().randrange(10 ** 9))
    parser.add_argument("--of-commit", action="store_true",
                        help="the first seed is that of the commit that is checked out")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--story")
    parser.add_argument("--with-fault", action="store_true", help="the one that the story is of")
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the stories of the faults")
    parser.add_argument("--minutes", type=float, default=FAULT_MINUTES)
    parser.add_argument("--shrink", type=float, default=120.0, help="seconds for each story")
    args = parser.parse_args()
    if args.of_commit:
        args.first = seed_of_commit()
    if args.faults:
        return find_faults(args)
    if args.seed is not None or args.story:
        return live_one(args)
    return live_on(args)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of a set is the same in each life, too
        os.execve(sys.executable, [sys.executable] + sys.argv, dict(os.environ, PYTHONHASHSEED="0"))
    sys.exit(main())
