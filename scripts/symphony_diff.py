#!/usr/bin/env python3
"""Compare a task's last successful output with its latest failed one.

Example: symphony_conductor.py diff backup

Times, process IDs, durations and addresses are replaced by placeholders, so that only real
differences are shown. Changes of the task's definition between the two runs come first.
"""

import argparse
import difflib
import json
import os
import re
import sys
from typing import Any, Dict, List, Sequence

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402

# What differs from run to run without meaning anything, and its placeholder.
NORMAL_FORMS = (
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?", "<time>"),
    (r"\b\d{8}T\d{6}Z(-\d+)?", "<time>"),
    (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [A-Za-z0-9 ]{5,12} \d\d:\d\d:\d\d( [A-Z]{2,5})?( \d{4})?",
     "<time>"),
    (r"\b\d{1,2}:\d\d:\d\d([.,]\d+)?\b", "<time>"),
    (r"(?i)\b(pid|process)([ =:#]*)\d+", r"\1\2<pid>"),
    (r"\[\d{2,7}\]", "[<pid>]"),
    (r"\b\d+([.,]\d+)? ?(ns|us|ms|s|sec|secs|seconds?|min|minutes?|h|hours?)\b", "<duration>"),
    (r"\b0x[0-9a-f]{4,16}\b", "<address>"),
    (r"/tmp/[^\s'\":]+", "<temporary>"),
)


def normalised(output: str) -> "List[str]":
    """The lines of a run's output as far as they can be compared with those of another run."""
    forms = list(NORMAL_FORMS)
    frame = ""
    header = re.match(r"--- \S+ start run=.* pid=(\d+)( frame=\w+)?\n", output)
    if header:  # the command's own process ID, wherever it was printed
        forms.insert(0, (r"\b%s\b" % header.group(1), "<pid>"))
        frame = header.group(2) or ""
    lines = [line for line in output.splitlines()
             if not re.match(r"--- \S+ (start|end|adopted) run=.*%s$" % frame, line)]
    for pattern, placeholder in forms:
        lines = [re.sub(pattern, placeholder, line) for line in lines]
    return lines


def definition_changes(before: "Dict[str, Any]", after: "Dict[str, Any]") -> "List[str]":
    """What changed in a task from one run to another, a line a field.

    Values of env are never shown: they may be secrets.
    """
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
            texts = [json.dumps(value, ensure_ascii=False) for value in (old, new)]
            changes.append("%s: %s -> %s" % (field, texts[0], texts[1]))
    return changes


def output_diff(labels: "Sequence[str]", outputs: "Sequence[str]") -> "List[str]":
    """The lines in which the output of two runs differs, as diff -u writes them."""
    before, after = map(normalised, outputs)
    lines = list(difflib.unified_diff(before, after, labels[0], labels[1], lineterm=""))
    return lines or ["output: the same, apart from times, process IDs and durations"]


def cmd_diff(store: sc.Store, args: "argparse.Namespace") -> int:
    sc.check_task_known(sc.Snapshot(store), args.task)
    verdicts = store.verdicts(only=args.task, newest_first=True)
    runs = (verdict for verdict in verdicts if verdict.get("run_id"))
    bad = next((run for run in runs if sc.is_failure(run["status"])), None)
    if bad is None:
        sc.print_line("no failed run of '%s' on record" % args.task)
        return sc.EXIT_OK
    good = next((run for run in runs if run["status"] == "success"), None)  # older than the bad one
    if good is None:
        raise sc.ConductorError("no successful run of '%s' on record before %s" % (
            args.task, bad["run_id"]))
    pair = (good, bad)
    outputs = [_output_text(store, args.task, run["run_id"] or "") for run in pair]
    definitions = [store.definition(run.get("definition")) for run in pair]
    if all(definitions):
        changes = definition_changes(*definitions) or ["unchanged"]
    else:
        changes = ["no longer on record"]
    labels = ["%s run %s, ended %s" % (run["status"], run["run_id"], run["ended_at"])
              for run in pair]
    lines = ["definition: %s" % change for change in changes] + output_diff(labels, outputs)
    sc.print_line("\n".join(lines))
    return sc.EXIT_OK


def _output_text(store: sc.Store, name: str, run_id: str) -> str:
    output = store.run_output(name, run_id)
    if output is None:
        raise sc.ConductorError(
            "the output of run %s is no longer in the log" % run_id,
            "%d files of %d MiB are kept for each task" % (
                sc.LOG_GENERATIONS + 1, sc.TASK_LOG_ROTATE_BYTES >> 20))
    return output.decode("utf-8", "replace")


if __name__ == "__main__":
    sc.command_beside(__doc__, (), cmd_diff, task="the task to compare")
