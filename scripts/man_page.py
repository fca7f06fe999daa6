#!/usr/bin/env python3
"""Print the manual page, symphony_conductor(1), made from the parsers and the manuals.

Example: python3 scripts/man_page.py > scripts/symphony_conductor.1

A test compares that file with what this prints.
"""

import argparse
import os
import re
import sys
import textwrap
from typing import Callable, Iterable, List, Tuple

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_completion  # noqa: E402
import symphony_conductor as sc  # noqa: E402
from common import HOME, finish  # noqa: E402
from symphony_completion import Command  # noqa: E402

BEFORE_RELEASES = "2026-11-26"  # the date of a page while the changelog has no release with one
WIDTH = 78  # of the source: some readers complain of longer lines


# -- markdown to roff

def manual(name: str) -> str:
    """The text of a manual of the checkout."""
    return sc.read_bytes(os.path.join(HOME, name)).decode("utf-8")


def table(text: str, first: str) -> "List[Tuple[str, str]]":
    """The first two columns of the table whose head begins with this word."""
    body = re.search(r"(?m)^\| %s[^\n]*\n\|[-| ]+\|\n((?:\|[^\n]*\n)+)" % re.escape(first), text)
    if body is None:
        raise sc.ConductorError("the manual has no table of '%s'" % first)
    rows = [line.strip("|").split(" | ") for line in body.group(1).splitlines()]
    return [(row[0].strip(), row[1].strip()) for row in rows]


def paragraph(text: str, start: str) -> str:
    """The paragraph that begins with these words."""
    found = re.search(r"(?ms)^%s.*?(?=\n\n)" % re.escape(start), text)
    if found is None:
        raise sc.ConductorError("the manual has no paragraph '%s'" % start)
    return found.group()


def escaped(text: str) -> str:
    """A text that roff prints as it is, with a hyphen where one may be typed off the page."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "".join(letter if ord(letter) < 127 else "\\[u%04X]" % ord(letter) for letter in text)


def roff(text: str) -> str:
    """A line of markdown: code is bold, emphasis italic, and of a link its text stays."""
    text = re.sub(r"\[([^][]*)\]\([^()]*\)", r"\1", " ".join(text.split()))
    pieces = []
    for piece in re.split(r"(`[^`]*`|\*[^*]+\*)", text):
        if piece.startswith("`"):
            pieces.append("\\fB%s\\fR" % escaped(piece[1:-1]))
        elif piece.startswith("*") and len(piece) > 2:
            pieces.append("\\fI%s\\fR" % escaped(piece[1:-1]))
        else:
            pieces.append(escaped(piece))
    return "".join(pieces)


def prose(text: str) -> "List[str]":
    """The source lines of a text that roff has, none of which is taken for a request."""
    lines = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return ["\\&" + line if line[:1] in (".", "'") else line for line in lines]


def items(pairs: "Iterable[Tuple[str, str]]") -> "List[str]":
    """A list of terms, each with its text as a sentence."""
    lines = []
    for term, text in pairs:
        lines += [".TP", term] + prose(text[:1].upper() + text[1:].rstrip(".") + ".")
    return lines


# -- the sections

def _term(action: argparse.Action) -> str:
    """An option or argument with its value, as a reader would type it."""
    value = ""
    if symphony_completion.takes_value(action):
        value = "\\fI%s\\fR" % escaped(str(action.metavar or action.dest.upper()))
        if action.choices:
            value = "|".join("\\fB%s\\fR" % escaped(str(choice)) for choice in action.choices)
    names = ", ".join("\\fB%s\\fR" % escaped(name) for name in action.option_strings)
    return " ".join(part for part in (names, value) if part)


def _help_of(action: argparse.Action) -> str:
    return roff((action.help or "").replace("%%", "%"))


def _options_of(command: Command) -> "List[argparse.Action]":
    """Its own options: not those that go before a command, nor what all commands have."""
    general = {action.help for action in symphony_completion.root_options()}
    return [action for action in command.options if action.help not in general
            and not {"--help", "--task"} & set(action.option_strings)]


def _usage(command: Command) -> str:
    words = ["\\fB%s\\fR" % escaped(command.name)]
    if _options_of(command):
        words.append("[\\fIOPTION\\fR]...")
    for action in command.arguments:
        word = _term(action)
        is_needed = action.nargs not in ("?", "*")
        if action.dest == "task":
            is_needed = command.is_task_needed
        if action.nargs in ("+", "*"):
            word += "..."
        words.append(word if is_needed else "[%s]" % word)
    return " ".join(words)


def commands_section(commands: "List[Command]") -> "List[str]":
    lines = []
    group = ""
    for command in commands:
        if command.group != group:
            group = command.group
            lines.append(".SS " + group)
        lines += items([(_usage(command), roff(command.text))])
        options = _options_of(command)
        if options:
            lines += [".RS"] + items((_term(action), _help_of(action)) for action in options)
            lines.append(".RE")
    return lines


def exit_section(_: "List[Command]") -> "List[str]":
    text = manual("README.md")
    return (items((escaped(code), roff(meaning)) for code, meaning in table(text, "status"))
            + [".PP"] + prose(roff(paragraph(text, "`run` exits with the command's own"))))


ENVIRONMENT = (
    ("`SYMPHONY_ROOT`", "the root folder, unless `--root` names one"),
    ("`SYMPHONY_ALLOW_INSECURE`",
     "if 1, configurations and folders that other users can write to are accepted"),
)


def environment_section(_: "List[Command]") -> "List[str]":
    own = [(roff(name), roff(text)) for name, text in ENVIRONMENT]
    of_tasks = [(roff(name), roff(text)) for name, text in
                table(manual("config/README.md"), "variable")]
    return items(own) + [".PP", "The command of a task has these as well:"] + items(of_tasks)


def files_section(_: "List[Command]") -> "List[str]":
    rows = [("`%s`" % sc.CONFIG_NAME, "the tasks and the settings"),
            ("`%s/*.json`" % sc.DROP_IN_DIR, "more tasks, in the order of their names")]
    rows += table(manual("cron/README.md"), "path under the root")
    return prose("All paths are relative to the root folder.") + items(
        (roff(name), roff(text)) for name, text in rows)


def examples_section(commands: "List[Command]") -> "List[str]":
    pairs = [(command.example, command.text) for command in commands
             if " " in command.example]
    return items(("\\fB%s %s\\fR" % (escaped(sc.PROGRAM), escaped(example)),
                  roff(text)) for example, text in pairs)


def description_section(_: "List[Command]") -> "List[str]":
    text = manual("README.md")
    about = (sc.__doc__ or "").split("\n\n")[1]
    paragraphs = [about, paragraph(text, "Edits take effect").replace(
        "[config/](config/README.md)\ndescribes every field", "`config/README.md` describes every"
        " field and setting"), paragraph(text, "A task is named alone")]
    lines: "List[str]" = []
    for text in paragraphs:
        lines += ([".PP"] if lines else []) + prose(roff(text))
    return lines


def options_section(_: "List[Command]") -> "List[str]":
    return items((_term(action), _help_of(action))
                 for action in symphony_completion.root_options())


SECTIONS: "Tuple[Tuple[str, Callable[[List[Command]], List[str]]], ...]" = (
    ("DESCRIPTION", description_section), ("OPTIONS", options_section),
    ("COMMANDS", commands_section), ("EXIT STATUS", exit_section),
    ("ENVIRONMENT", environment_section), ("FILES", files_section),
    ("EXAMPLES", examples_section),
)
SYNOPSIS = (r"\fBsymphony_conductor.py\fR [\fB\-\-root\fR \fIDIR\fR]"
            r" [\fB\-\-config\fR \fIFILE\fR] \fICOMMAND\fR [\fIARGUMENT\fR]...")
SEE_ALSO = (r"\fBcrontab\fR(1), \fBcrontab\fR(5), \fBcron\fR(8), \fBjournalctl\fR(1),"
            r" \fBsystemd.timer\fR(5)")


def page() -> str:
    """The source of the manual page."""
    commands = symphony_completion.all_commands()
    commands = [command for command in commands if command.group != "Other"]
    released = re.search(r"(?m)^## \[[0-9.]+\] - (\S+)$", manual("CHANGELOG.md"))
    date = released.group(1) if released else BEFORE_RELEASES
    summary = (sc.__doc__ or "").partition("\n")[0].partition(": ")[2].rstrip(".")
    lines = [
        ".\\\" Made by scripts/man_page.py: change the parsers and the manuals instead.",
        '.TH SYMPHONY_CONDUCTOR 1 "%s" "Symphony Conductor %s" "User Commands"' % (
            date, sc.__version__),
        ".\\\" Names of files and options are not to be broken.", ".nh", ".ad l", ".SH NAME"]
    lines += prose("symphony_conductor \\- " + escaped(summary))
    lines += [".SH SYNOPSIS"] + prose(SYNOPSIS)
    for title, section in SECTIONS:
        lines += [".SH " + title] + section(commands)
    lines += [".SH SEE ALSO"] + prose(SEE_ALSO) + [".PP"]
    lines += prose(roff("The README.md of each folder of the distribution is its manual."))
    return "\n".join(lines) + "\n"


def main() -> int:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    sc.print_line(page(), end="")
    return sc.EXIT_OK


if __name__ == "__main__":
    finish(main)
