"""The review of a clean-up on a terminal: shows every rule's candidates and asks what may go.

No slip deletes: an answer is taken only as a whole word or its first letter, anything else is asked
again, and quitting keeps everything, what was already chosen included.
"""

import os
import stat
import sys
from typing import Dict, List, Sequence, Tuple

from cleanup_report import LINES_OF_A_RULE, by_rule, grouped, plain, rule_lines
from common import plural, sc, size_text
from quarantine import Candidate, counted
from tree import OPEN_FOLDER, Root, native_path, printable, stored_path

VIEW_BYTES = 2048
BINARY_BYTES = 1024  # a NUL in so many of the first bytes tells a binary file
LINES_SHOWN = 20
QUIT = ("q", "quit", "remove nothing at all, whatever was answered before")
# By letter: (letter, word, what it does), in the order of the question.
OF_A_RULE = (
    ("y", "yes", "remove all of them"),
    ("n", "no", "keep all of them"),
    ("l", "list", "list all of them"),
    ("o", "one by one", "ask for each"),
    QUIT)
OF_A_CANDIDATE = (
    ("y", "yes", "remove it"),
    ("n", "no", "keep it"),
    ("v", "view", "show what is in it"),
    ("a", "all the rest", "remove it and the rest of this rule"),
    ("s", "skip the rest", "keep it and the rest of this rule"),
    QUIT)
OLD_WORDS = {"d": "y", "delete": "y", "k": "n", "keep": "n"}  # of one candidate

Answers = Sequence[Tuple[str, str, str]]


class Quit(Exception):
    """The review ends without a choice: everything is kept."""


def review(root: Root, items: "Sequence[Candidate]", now: float,
           limit: int) -> "List[Candidate]":
    """Ask for each rule, or for each of its candidates; returns those to be removed. Raises Quit.

    `limit` is what one run removes at most.
    """
    kinds, contents = counted(items)
    sc.print_line("%s can be removed (%s):" % (kinds, contents))
    for line in rule_lines(by_rule(items, now)):
        sc.print_line(line)
    if len(items) > limit:
        sc.print_line("this run removes the first %d that you choose (--max-deletions)" % limit)
    chosen: "List[Candidate]" = []
    for rule, members in grouped(items, lambda item: item.rule).items():
        chosen += _ask_for_rule(root, rule, members, now)
    return chosen


def _ask_for_rule(root: Root, rule: str, members: "List[Candidate]",
                  now: float) -> "List[Candidate]":
    """The candidates of one rule that may go. Raises Quit."""
    sc.print_line("\n%s: %s" % (plain(rule), plain(members[0].reason)))
    if len(members) == 1:
        return _ask_for_each(root, members, now)
    for item in members[:LINES_OF_A_RULE]:
        sc.print_line("  " + _line(item))
    if len(members) > LINES_OF_A_RULE:
        sc.print_line("  and %d more" % (len(members) - LINES_OF_A_RULE))
    question = "remove all %d of %s (%s)?" % (len(members), plain(rule), counted(members)[1])
    answer = _ask(question, OF_A_RULE)
    while answer == "l":
        for item in members:
            sc.print_line("  " + _line(item))
        answer = _ask(question, OF_A_RULE)
    if answer == "y":
        return members
    if answer == "o":
        return _ask_for_each(root, members, now)
    return []


def _ask_for_each(root: Root, members: "List[Candidate]", now: float) -> "List[Candidate]":
    """Those of the candidates that may go. Raises Quit."""
    chosen: "List[Candidate]" = []
    for number, item in enumerate(members, 1):
        question = "remove %d of %d: %s?" % (number, len(members), _line(item))
        answer = _ask(question, OF_A_CANDIDATE)
        while answer == "v":
            sc.print_line("\n".join(_view(root, item, now)))
            answer = _ask(question, OF_A_CANDIDATE)
        if answer == "a":
            return chosen + members[number - 1:]
        if answer == "s":
            break
        if answer == "y":
            chosen.append(item)
    return chosen


def _line(item: Candidate) -> str:
    path = item.path + "/" if item.files else item.path
    return "%s  (%s)" % (printable(path), counted([item])[1])


def _ask(question: str, answers: Answers) -> str:
    """The letter of an answer. Raises Quit, also at the end of input."""
    letters: "Dict[str, str]" = {}
    if answers is OF_A_CANDIDATE:
        letters.update(OLD_WORDS)
    for letter, word, _ in answers:
        letters[word] = letters[letter] = letter
    choices = ", ".join("[%s]%s" % (word[0], word[1:]) for _, word, _ in answers)
    sc.print_line(question)
    while True:
        sc.print_line(choices + ", keep all? ", end="")
        sys.stdout.flush()
        line = sys.stdin.readline()
        text = line.strip().lower()
        if not line or letters.get(text) == "q":
            raise Quit
        if text in letters:
            return letters[text]
        if text != "?":
            sc.print_line("'%s' is not one of the answers:" % printable(line.strip()))
        for letter, word, meaning in answers:
            sc.print_line("  %s  %s: %s" % (letter, word, meaning))


# -- what is in a candidate

def _view(root: Root, item: Candidate, now: float) -> "List[str]":
    """The start of a file, or the first files of a folder, made harmless for a terminal."""
    age = sc.duration_text(now - max(item.mtime_ns, item.ctime_ns) / 1e9)
    try:
        if item.files:
            return ["  %s, the newest changed %s ago" % (counted([item])[1], age)] + _first_files(
                root, item)
        return ["  %s, changed %s ago, mode %03o" % (
            size_text(item.size), age, stat.S_IMODE(item.mode))] + _first_lines(root, item.path)
    except OSError as error:
        return ["  cannot be read: %s" % error.strerror]


def _first_lines(root: Root, path: str) -> "List[str]":
    """Raises OSError."""
    folder, _, name = path.rpartition("/")
    parent = root.open_folder(folder)
    try:
        fd = os.open(native_path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        data = os.read(fd, VIEW_BYTES)
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    if b"\0" in data[:BINARY_BYTES]:
        return ["  | binary, %s" % size_text(size)]
    width = sc.terminal_size().columns - len("  | ")
    lines = []
    for line in data.decode("utf-8", "surrogateescape").split("\n")[:LINES_SHOWN]:
        text = ""
        if line.strip():
            text = printable(line.rstrip("\r"))
        if len(text) > width:
            text = text[:width - 3] + "..."
        lines.append("  | " + text)
    return lines


def _first_files(root: Root, item: Candidate) -> "List[str]":
    """The first files of a folder by their names, with sizes. Raises OSError."""
    fd = root.open_folder(item.path)
    try:
        files = list(_files_below(fd, "", LINES_SHOWN))
    finally:
        os.close(fd)
    lines = ["  | %9s  %s" % (size, printable(path)) for path, size in files]
    if item.files > len(files):
        lines.append("  and %s" % plural(item.files - len(files), "more file", "more files"))
    return lines


def _files_below(fd: int, folder: str, most: int) -> "List[Tuple[str, str]]":
    """(path, size) of the first files below a folder. Links are not followed. Raises OSError."""
    files: "List[Tuple[str, str]]" = []
    for name in sorted(os.listdir(fd)):
        if len(files) >= most:
            break
        path = folder + stored_path(name)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            files.append((path, size_text(status.st_size)))
            continue
        try:
            below = os.open(name, OPEN_FOLDER, dir_fd=fd)
        except OSError as error:
            files.append((path + "/", error.strerror or "closed"))
            continue
        try:
            files += _files_below(below, path + "/", most - len(files))
        finally:
            os.close(below)
    return files
