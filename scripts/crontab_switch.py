"""Hand the lines of a crontab over to the conductor, and back. Text in, text out.

A line that was handed over stays where it is as a comment: a mark that names the root, and behind
it every byte of the line. So each line comes back by itself, whatever else changed meanwhile.
"""

import hashlib
import json
import os
import re
import sys
from typing import Any, Collection, Dict, List, Tuple

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402

# Cron reads its tables when a minute begins, some a moment later. A switch at that time could be
# read by cron before the conductor's slots count, or after: a run would come twice, or never.
SAFE_FROM_S = 5
# The write must be over before the minute is: crontab(1) may take SYSTEM_PROGRAM_S.
SAFE_UNTIL_S = 35


def wait_s(now: float) -> float:
    """Seconds until cron is surely not reading its tables."""
    second = now % sc.MINUTE
    if second > SAFE_UNTIL_S:
        return sc.MINUTE - second + SAFE_FROM_S
    return max(0.0, SAFE_FROM_S - second)


def with_switched_lines(crontab: str, numbers: "Collection[int]", root: str) -> str:
    """The table with these lines handed over; numbers count from 1."""
    lines = sc.crontab_lines(crontab)
    for number in numbers:
        lines[number - 1] = sc.handed_over_mark(root) + lines[number - 1]
    return "".join(lines)


def with_restored_lines(crontab: str, *roots: str) -> "Tuple[str, List[int]]":
    """The table with every line of these roots given back to cron, and their numbers."""
    lines, numbers = sc.crontab_lines(crontab), []
    for index, line in enumerate(lines):
        for root in roots:
            mark = re.match(sc.handed_over_pattern(root), line)
            if mark:
                lines[index] = line[mark.end():]
                numbers.append(index + 1)
                break
    return "".join(lines), numbers


def digest_of(task: "Dict[str, Any]") -> str:
    """Tells what a line did when it was imported: what runs when, where and in which environment.

    A digest, because an environment may hold secrets.
    """
    facts = [task.get(key) for key in ("command", "schedule", "timezone", "cwd", "env")]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
