#!/usr/bin/env python3
"""Lists, as Markdown, the files that HEAD adds to a base and that a clean-up rule matches.

    added_rubbish.py BASE

The rules are those of config/cleanup_rules.json. No clean-up touches what git tracks, so rubbish
that was committed stays; the time to see it is before it is merged. Only names count here: a file
that was just added has no age, and rules that look at more than a name are left out. A protected
pattern overrides every rule, as always. A renamed file counts as added. Prints nothing if there is
no such file.

Exit codes: 0 ok; 2 usage; 3 git failed; 78 the rules cannot be used.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from cleanup_report import ROWS_SHOWN, code  # noqa: E402
from cleanup_rules import RULES_NAME, read_rules  # noqa: E402
from common import RefusedError, command_parser, finish, sc  # noqa: E402


def added_paths(root, base):
    """The paths in HEAD that were not there where it left the base. Raises RefusedError."""
    try:
        done = subprocess.run(
            ["git", "-C", root, "diff", "--name-only", "-z", "--diff-filter=A", "--no-renames",
             "--no-ext-diff", "--end-of-options", base + "...HEAD"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise RefusedError("cannot run git: %s" % error.strerror)
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        lines.append("exit status %d" % done.returncode)
        raise RefusedError("git failed: %s" % lines[0])
    return [path.decode("utf-8", "surrogateescape") for path in done.stdout.split(b"\0") if path]


def bullets(rules, paths):
    """One line for each path that a rule matches and no pattern protects."""
    for path in paths:
        named = rules.naming(path)
        if named is not None:
            rule, pattern = named
            yield "- %s: rule %s, pattern %s" % (
                outside_tables(path), outside_tables(rule.name), outside_tables(pattern))


def outside_tables(text):
    """Text as Markdown code. Outside of a table, a backslash before a bar would be shown."""
    return code(text).replace("\\|", "|")


def main():
    parser = command_parser(__doc__)
    parser.add_argument("base", metavar="BASE", help="the commit to compare with")
    args = parser.parse_args()
    rules = read_rules(os.path.join(args.root, RULES_NAME), RULES_NAME)
    lines = list(bullets(rules, added_paths(args.root, args.base)))
    for line in lines[:ROWS_SHOWN]:
        sc.print_line(line)
    if len(lines) > ROWS_SHOWN:
        sc.print_line("- and %d more" % (len(lines) - ROWS_SHOWN))
    return sc.EXIT_OK


if __name__ == "__main__":
    finish(main)
