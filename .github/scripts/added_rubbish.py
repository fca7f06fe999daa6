#!/usr/bin/env python3
"""Lists, as Markdown, the files that HEAD adds to a base and that a rule of config/cleanup_rules.json names.

    added_rubbish.py BASE

No clean-up touches what git tracks, so rubbish that was committed stays. Before it is merged is the time to see it.
Only names count here: a file that was just added has no age. A protected pattern beats every rule, as it always does.
A file that was renamed counts as added. Nothing is printed when there is nothing to tell.

Exit codes: 0 ok; 2 usage; 3 git failed; 78 the rules cannot be used.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from cleanup_report import ROWS_SHOWN, code  # noqa: E402
from cleanup_rules import RULES_NAME, Matcher, read_rules  # noqa: E402
from common import RefusedError, command_parser, finish, sc  # noqa: E402


def added_paths(root, base):
    """The paths that are in HEAD and not where it left the base. Raises RefusedError when git does not tell."""
    try:
        done = subprocess.run(
            ["git", "-C", root, "diff", "--name-only", "-z", "--diff-filter=A", "--no-renames", "--no-ext-diff",
             "--end-of-options", base + "...HEAD"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise RefusedError("git cannot be run: %s" % error.strerror)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RefusedError("git failed: %s" % (said[0] if said else "exit status %d" % done.returncode))
    return [path.decode("utf-8", "surrogateescape") for path in done.stdout.split(b"\0") if path]


def bullets(rules, paths):
    """One line for each path that a rule names."""
    for path in paths:
        rule = rules.rule_for(path)
        if rule is None or rules.protection(path):
            continue
        pattern = next(text for text in rule.patterns if Matcher([text])(path))
        yield "- %s: rule %s, pattern %s" % tuple(map(outside_tables, (path, rule.name, pattern)))


def outside_tables(text):
    """Text as Markdown code. Where there is no table, a backslash before a bar would be shown."""
    return code(text).replace("\\|", "|")


def main():
    parser = command_parser(__doc__)
    parser.add_argument("base", metavar="BASE", help="a commit")
    args = parser.parse_args()
    rules = read_rules(os.path.join(args.root, RULES_NAME), RULES_NAME)
    lines = list(bullets(rules, added_paths(args.root, args.base)))
    for line in lines[:ROWS_SHOWN]:
        sc.say(line)
    if len(lines) > ROWS_SHOWN:
        sc.say("- and %d more" % (len(lines) - ROWS_SHOWN))
    return sc.EXIT_OK


if __name__ == "__main__":
    finish(main)
