#!/usr/bin/env python3
"""How dense Python files are, as a table: python3 tests/house.py [--against REVISION] FILE...

The figures of each file, to compare it with others or with itself at an earlier git revision:

lines           all lines
functions       every `def`, methods and nested functions among them
median/longest  their lines, from `def` to the last line of the body
over 100        the share of code lines of more than 100 columns; a code line is neither blank
                nor only a comment
conditionals    `a if b else c`, for each 1,000 code lines
nested          how many of these hold another one
multi-line      how many of these run over more than one line
comments        lines that are only a comment, for each 100 code lines; docstrings count as code
used once       the share of functions whose name is used exactly once in the file beside its `def`
bytes           the size of the file

With several files the last row is their total. Python before 3.8 does not say where a statement
ends: there, the last line on which a part of it begins is taken.
"""

import argparse
import ast
import collections
import io
import os
import statistics
import subprocess
import sys
import tokenize

LONGEST_LINE = 100
HEADINGS = ("file", "lines", "functions", "median/longest", "over 100", "conditionals", "nested",
            "multi-line", "comments", "used once", "bytes")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def last_line(node):
    """The number of the last line of a part of the tree."""
    parts = [part for part in ast.walk(node) if hasattr(part, "lineno")]
    return max(getattr(part, "end_lineno", None) or part.lineno for part in parts)


def conditionals(tree):
    """The conditional expressions in a tree."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.IfExp)]


def is_nested(conditional):
    """Whether a conditional expression holds another one."""
    return len(conditionals(conditional)) > 1


def is_multi_line(conditional):
    """Whether a conditional expression runs over more than one line."""
    return last_line(conditional) > conditional.lineno


def long_lines(lines):
    """The numbers of the lines that are too long."""
    return [number for number, line in enumerate(lines, 1) if len(line) > LONGEST_LINE]


def comment_lines(text):
    """The numbers of the lines that are only a comment: a # within a string begins none."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.start[0] for token in tokens
            if token.type == tokenize.COMMENT and not token.line[:token.start[1]].strip()]


def uses(tree):
    """How often each name is used: as a variable, an attribute or an import."""
    names = collections.Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names[node.id] += 1
        elif isinstance(node, ast.Attribute):
            names[node.attr] += 1
        elif isinstance(node, ast.alias):
            names[node.name] += 1
    return names


class Figures:
    """What is counted in one file, or in several together."""

    def __init__(self):
        self.lengths = []  # of the functions, in lines
        self.lines = self.code_lines = self.long_lines = self.comment_lines = 0
        self.conditionals = self.nested = self.multi_line = 0
        self.used_once = self.bytes = 0

    def add(self, content):
        """Count the content of a file. Raises SyntaxError for what is no Python."""
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = io.StringIO(content.decode(encoding), newline=None).read()
        tree = ast.parse(text)
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        comments = set(comment_lines(text))
        code = [line for number, line in enumerate(lines, 1)
                if line.strip() and number not in comments]
        functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
        expressions = conditionals(tree)
        names = uses(tree)
        self.lengths += [last_line(function) - function.lineno + 1 for function in functions]
        self.lines += len(lines)
        self.code_lines += len(code)
        self.long_lines += len(long_lines(code))
        self.comment_lines += len(comments)
        self.conditionals += len(expressions)
        self.nested += sum(map(is_nested, expressions))
        self.multi_line += sum(map(is_multi_line, expressions))
        self.used_once += sum(names[function.name] == 1 for function in functions)
        self.bytes += len(content)

    def row(self, name):
        """The cells of a row of the table."""
        code_lines, functions = self.code_lines or 1, len(self.lengths) or 1
        lengths = self.lengths or [0]
        return (name, "%d" % self.lines, "%d" % len(self.lengths),
                "%d/%d" % (statistics.median(lengths), max(lengths)),
                "%.1f %%" % (100 * self.long_lines / code_lines),
                "%.1f" % (1000 * self.conditionals / code_lines),
                "%d" % self.nested, "%d" % self.multi_line,
                "%.1f %%" % (100 * self.comment_lines / code_lines),
                "%.0f %%" % (100 * self.used_once / functions),
                "%d" % self.bytes)


def content_now(path):
    """The bytes of a file. Raises OSError."""
    with open(path, "rb") as handle:
        return handle.read()


def git(path, *arguments):
    """Run git in the folder of a file: (exit code, output)."""
    folder = os.path.dirname(os.path.abspath(path))
    done = subprocess.run(("git", "-C", folder) + arguments, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.returncode, done.stdout


def content_at(revision, path):
    """The bytes of a file at a revision; None when the revision does not have it."""
    code, content = git(path, "show", "%s:./%s" % (revision, os.path.basename(path)))
    if code != 0:
        return None
    return content


def has_revision(revision, path):
    """Whether the repository of a file has this revision."""
    return git(path, "rev-parse", "--quiet", "--verify", revision + "^{commit}")[0] == 0


def versions(path, revision):
    """(label, content) of a file: at the revision, if one is asked for, and now."""
    if not revision:
        return [("%s", content_now(path))]
    return [("%s at " + revision, content_at(revision, path)), ("%s now", content_now(path))]


def rows(paths, revision):
    """The rows of the table: the files, then their total. Raises OSError and SystemExit."""
    totals = collections.OrderedDict()
    for path in paths:
        for label, content in versions(path, revision):
            total = totals.setdefault(label, Figures())
            if content is None:
                yield (label % path,) + ("-",) * (len(HEADINGS) - 1)
                continue
            figures = Figures()
            try:
                figures.add(content)
            except (SyntaxError, UnicodeDecodeError) as error:
                raise SystemExit("house.py: %s: not Python: %s" % (label % path, error))
            total.add(content)
            yield figures.row(label % path)
    if len(paths) > 1:
        for label, total in totals.items():
            yield total.row(label % "total")


def print_table(table):
    """Print rows as Markdown has tables, with the columns aligned."""
    widths = [max(map(len, column)) for column in zip(*table)]
    ruler = ["-" * width for width in widths]
    for cells in [table[0], ruler] + table[1:]:
        figures = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        print("| %s |" % " | ".join([cells[0].ljust(widths[0])] + figures))


def main():
    parser = argparse.ArgumentParser(description="Print how dense Python files are, as a table.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a Python file")
    parser.add_argument("--against", metavar="REVISION",
                        help="compare each file with itself at a git revision")
    args = parser.parse_args()
    if args.against and not has_revision(args.against, args.files[0]):
        parser.error("--against: %s has no revision %r" % (args.files[0], args.against))
    try:
        print_table([HEADINGS] + list(rows(args.files, args.against)))
    except OSError as error:
        sys.exit("house.py: cannot read %s: %s" % (error.filename, error.strerror))


if __name__ == "__main__":
    main()
