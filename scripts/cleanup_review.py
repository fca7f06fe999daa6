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
LINES_SHOWN = 20
OF_A_RULE = "[y]es, [n]o, [l]ist, [o]ne by one, [q]uit? "
OF_A_CANDIDATE = "[d]elete, [k]eep, [v]iew, [q]uit? "
WORDS = {OF_A_RULE: ("yes", "no", "list", "one by one", "quit"),
         OF_A_CANDIDATE: ("delete", "keep", "view", "quit")}


class Quit(Exception):
    """The review ends without a choice."""


def review(root: Root, items: "Sequence[Candidate]", now: float,
           limit: int) -> "List[Candidate]":
    """Ask for each rule, or for each of its candidates; returns those to be removed.

    `limit` is what one run removes at most.
    """
    kinds, contents = counted(items)
    sc.print_line("%s can be removed (%s):" % (kinds, contents))
    for line in rule_lines(by_rule(items, now)):
        sc.print_line(line)
    if len(items) > limit:
        sc.print_line("this run removes the first %d that you choose (--max-deletions)" % limit)
    chosen: "List[Candidate]" = []
    try:
        for rule, members in grouped(items, lambda item: item.rule).items():
            chosen += _ask_for_rule(root, rule, members, now)
    except Quit:
        sc.print_line("nothing was removed")
        return []
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
    question = "all %d of %s (%s)? %s" % (
        len(members), plain(rule), counted(members)[1], OF_A_RULE)
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
    chosen = []
    for number, item in enumerate(members, 1):
        sc.print_line("%d of %d: %s" % (number, len(members), _line(item)))
        answer = _ask(OF_A_CANDIDATE, OF_A_CANDIDATE)
        while answer == "v":
            sc.print_line("\n".join(_view(root, item, now)))
            answer = _ask(OF_A_CANDIDATE, OF_A_CANDIDATE)
        if answer == "d":
            chosen.append(item)
    return chosen


def _line(item: Candidate) -> str:
    path = item.path + "/" if item.files else item.path
    return "%s  (%s)" % (printable(path), counted([item])[1])


def _ask(question: str, kind: str) -> str:
    """The first letter of one of the kind's words. Raises Quit, also at the end of input."""
    answers: "Dict[str, str]" = {}
    for word in WORDS[kind]:
        answers[word] = answers[word[0]] = word[0]
    while True:
        sc.print_line(question, end="")
        sys.stdout.flush()
        line = sys.stdin.readline()
        answer = answers.get(line.strip().lower(), "")
        if not line or answer == "q":
            raise Quit
        if answer:
            return answer


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
    finally:
        os.close(fd)
    lines = []
    for line in data.decode("utf-8", "surrogateescape").split("\n")[:LINES_SHOWN]:
        lines.append("  | " + (printable(line.rstrip("\r")) if line.strip() else ""))
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
