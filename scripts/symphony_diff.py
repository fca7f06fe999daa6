#!/usr/bin/env python3
"""Compare a task's last successful output with its latest failed one.

    symphony_conductor.py diff TASK

Times, process numbers, durations and addresses are evened out, so that what is left is the difference. What changed in
the task's definition between the two runs comes first.
"""

import argparse
import difflib
import json
import os
import re
import sys
from typing import Any, Dict, List, Sequence, Tuple

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402

# What differs from run to run without meaning anything.
NORMAL_FORMS = (
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?", "<time>"),
    (r"\b\d{8}T\d{6}Z(-\d+)?", "<time>"),
    (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [A-Za-z0-9 ]{5,12} \d\d:\d\d:\d\d( [A-Z]{2,5})?( \d{4})?", "<time>"),
    (r"\b\d{1,2}:\d\d:\d\d([.,]\d+)?\b", "<time>"),
    (r"(?i)\b(pid|process)([ =:#]*)\d+", r"\1\2<pid>"),
    (r"\[\d{2,7}\]", "[<pid>]"),
    (r"\b\d+([.,]\d+)? ?(ns|us|ms|s|sec|secs|seconds?|min|minutes?|h|hours?)\b", "<duration>"),
    (r"\b0x[0-9a-f]{4,16}\b", "<address>"),
    (r"/tmp/[^\s'\":]+", "<temporary>"),
)


def normalised(output: str) -> "List[str]":
    """The lines of a run's output as far as they can be compared with those of another run."""
    own = re.search(r"(?m)^--- \S+ start run=.* pid=(\d+)$", output)
    lines = [line for line in output.splitlines() if not re.match(r"--- \S+ (start|end|adopted) run=", line)]
    for pattern, form in (((r"\b%s\b" % own.group(1), "<pid>"),) if own else ()) + NORMAL_FORMS:
        lines = [re.sub(pattern, form, line) for line in lines]
    return lines


def definition_changes(before: "Dict[str, Any]", after: "Dict[str, Any]") -> "List[str]":
    """What changed in a task from one run to another, a line a field; values of env are never shown."""
    changes = []
    for field in sorted(set(before) | set(after)):
        old, new = before.get(field), after.get(field)
        if old == new:
            continue
        if field == "env":
            old, new = old or {}, new or {}
            names = sorted(name for name in set(old) | set(new) if old.get(name) != new.get(name))
            changes.append("env: %s changed" % ", ".join(names))
        else:
            changes.append("%s: %s -> %s" % (field, json.dumps(old, ensure_ascii=False),
                                             json.dumps(new, ensure_ascii=False)))
    return changes


def diff_text(good: "Tuple[Dict[str, Any], str]", bad: "Tuple[Dict[str, Any], str]",
              changes: "Sequence[str]") -> str:
    """The last good output of a task against a failing one, and what changed in its definition; (verdict, output)."""
    labels = ["%s run %s, ended %s" % (verdict["status"], verdict["run_id"], verdict["ended_at"])
              for verdict, _ in (good, bad)]
    lines = ["definition: %s" % change for change in changes] or ["definition: unchanged"]
    lines += list(difflib.unified_diff(normalised(good[1]), normalised(bad[1]), labels[0], labels[1], lineterm="")) or [
        "output: the same, but for times, process numbers and durations"]
    return "\n".join(lines)


def cmd_diff(store: sc.Store, args: "argparse.Namespace") -> int:
    sc.check_task_known(store, args.task)
    verdicts = [verdict for verdict in store.verdicts(0, args.task) if verdict.get("run_id")]
    bad = next((verdict for verdict in reversed(verdicts) if verdict["status"] != "success"), None)
    if bad is None:
        sc.print_line("no run of '%s' that is remembered has failed" % args.task)
        return sc.EXIT_OK
    before = verdicts[:verdicts.index(bad)]
    good = next((verdict for verdict in reversed(before) if verdict["status"] == "success"), None)
    if good is None:
        raise sc.UsageError("no run of '%s' before %s that is remembered has succeeded" % (args.task, bad["run_id"]))
    outputs = [_output_text(store, args.task, verdict["run_id"]) for verdict in (good, bad)]
    definitions = [store.definition(verdict.get("definition")) for verdict in (good, bad)]
    changes = definition_changes(*definitions) if all(definitions) else ["not known any more"]
    sc.print_line(diff_text((good, outputs[0]), (bad, outputs[1]), changes))
    return sc.EXIT_OK


def _output_text(store: sc.Store, name: str, run_id: str) -> str:
    text = store.run_output(name, run_id)
    if text is None:
        raise sc.UsageError("the log of run %s is gone" % run_id, "logs are kept up to %d files of %d MiB a task" % (
            sc.LOG_GENERATIONS + 1, sc.TASK_LOG_ROTATE_BYTES >> 20))
    return text.decode("utf-8", "replace")


if __name__ == "__main__":
    sc.command_beside(__doc__, (sc.option("task", metavar="TASK"),), cmd_diff)
