#!/usr/bin/env python3
"""Convert the lines of a crontab to tasks.

Example: crontab -u www-data -l | symphony_conductor.py import-crontab -

The tasks are printed; lines that cannot be converted go to stderr with the reason. The crontab
itself is never changed.
"""

import argparse
import json
import os
import re
import shlex
import sys
from typing import Any, Dict, Iterable, List, Set, Tuple

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402


class CrontabEntry(sc.Value):
    """A line of a crontab that runs a command, and what the lines above it say about it.

    `number` counts from 1.
    """

    number: int = 0
    line: str = ""
    schedule: str = ""
    command: str = ""
    user: str = ""
    comment: str = ""
    variables: "Dict[str, str]" = {}


class Imported(sc.Value):
    """What became of a crontab.

    `tasks` have the numbers of their lines; `left_out` is (number, line, reason).
    """

    tasks: "List[Tuple[int, Dict[str, Any]]]" = []
    left_out: "List[Tuple[int, str, str]]" = []


TABLE_TIMES = r"(?:@\S+|\S+(?:[ \t]+\S+){4})"
TABLE_VARIABLE = r"""[ \t]*("[^"]*"|'[^']*'|[^\s=#"']+)[ \t]*=[ \t]*(.*?)[ \t\r]*\Z"""
# Comments that describe no entry: one that is switched off, or the heading of the columns.
COMMENTED_OUT = (r"@(?:reboot|hourly|daily|midnight|weekly|monthly|yearly|annually)\b|"
                 r"(?:[\d*][\d*,/-]*[ \t]+){2}\S|m\w*[ \t]+h\w*[ \t]+d")
CALLS_THE_TICK = r"symphony_conductor\b.*\btick\b"
OWN_BLOCK = r"(?ms)^%s([^\n]*)$.*?^%s\1$"
MISSING_TIMEOUT_S = sc.DAY
# Variables that mean something to cron, or that it does not take from a table, and why they are
# no part of a task.
CRON_VARIABLES = {
    "MAILTO": "the conductor does not mail output; to be notified of failures, set "
              "notification_webhook or notification_command",
    "RANDOM_DELAY": "there is no random delay; to spread tasks evenly, use H as the minute",
    "START_HOURS_RANGE": "only anacron uses it; start_deadline limits how late a task may start",
    "LOGNAME": "cron sets it itself and ignores the crontab's value",
    "USER": "cron sets it itself and ignores the crontab's value",
}
SILENT_VARIABLES = ("CRON_TZ", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING")


def crontab_entries(
        text: str, has_users: bool) -> "Tuple[List[CrontabEntry], List[Tuple[int, str, str]]]":
    """The entries of a crontab by the rules of Debian's crontab(5), and the lines left out.

    `has_users`: a system table, whose lines name a user before the command. Blocks of the conductor
    are passed over.
    """
    user = r"(\S+)[ \t]+" if has_users else "()"
    entry_pattern = r"[ \t]*-?(%s)[ \t]+%s(\S.*)" % (TABLE_TIMES, user)
    entries, left_out = [], []
    comment: "List[str]" = []
    variables: "Dict[str, str]" = {}
    for number, line in enumerate(sc.crontab_lines(_without_own_blocks(text)), 1):
        line = line.rstrip("\r\n")
        variable, entry = re.match(TABLE_VARIABLE, line), re.match(entry_pattern, line)
        if not line.strip():
            comment = []
        elif line.lstrip().startswith("#"):
            words = line.lstrip("# \t").rstrip()
            if words and not re.match(COMMENTED_OUT, words):
                comment = comment + [words]
            else:
                comment = []
        elif variable:
            name, value = variable.group(1).strip("\"'"), _variable_value(variable.group(2))
            variables = dict(variables, **{name: value})  # the entries above keep theirs
            if value and name in CRON_VARIABLES:
                left_out.append((number, line, CRON_VARIABLES[name]))
        elif entry:
            entries.append(CrontabEntry(
                number=number, line=line, schedule=entry.group(1), user=entry.group(2),
                command=entry.group(3), comment=" ".join(comment), variables=variables))
            comment = []
        else:
            left_out.append((number, line, "neither a variable nor a schedule with a command"))
    return entries, left_out


def _without_own_blocks(text: str) -> str:
    """The table with its own blocks emptied; the numbers of the other lines stay."""
    return re.sub(OWN_BLOCK % (sc.BLOCK_BEGIN, sc.BLOCK_END),
                  lambda block: "\n" * block.group().count("\n"), text)


def _variable_value(text: str) -> str:
    quoted = re.match(r"""(["'])(.*)\1\Z""", text)
    if quoted:
        text = quoted.group(2)
    return text.rstrip(" \t")  # Debian's cron drops blanks at the end even within quotes


def shell_command(command: str, shell: str) -> "str | List[str]":
    """The command of a crontab line as a task has it.

    An unescaped % ends the command, and what follows is its standard input, where further ones are
    line breaks; in the command, a backslash before a % or a backslash goes (Debian crontab(5), and
    what its cron does).
    """
    match = re.match(r"((?:\\.|[^%\\])*\\?)(%?)(.*)", command)
    assert match  # it fits any text of one line
    words = re.sub(r"\\([%\\])", r"\1", match.group(1))
    words = re.sub(r"(?<!\\)[ \t]+\Z", "", words)
    fed = re.sub(r"\\%|%", lambda mark: "\n" if mark.group() == "%" else "%", match.group(3))
    is_default_shell = shell == "/bin/sh"
    if not fed:
        return words if is_default_shell else [shell, "-c", words]
    if fed.endswith("\n"):
        fed = fed[:-1]  # cron ends the last line only where the table did not
    end = "END_OF_INPUT"
    while end in fed.split("\n"):
        end += "_"
    reader = "exec %s -c %s" % (shlex.quote(shell), shlex.quote(words))
    if is_default_shell:
        reader = "{\n%s\n}" % words
    return "%s <<'%s'\n%s\n%s" % (reader, end, fed, end)


# Commands that prepare for the one a line is about, and those that run another one.
PREPARING = ("cd", "test", "[", "[[", "export", ".", "source", "set", "umask", "ulimit", ":",
             "sleep", "mkdir", "")
WRAPPING = ("sudo nice ionice chrt env nohup exec command time timeout flock setsid chronic cronic "
            "systemd-cat run-one run-parts sh bash dash ksh zsh perl ruby php node").split()
# Words that name no program: options, assignments, numbers and durations, redirections.
NO_NAME = r"-|[A-Za-z_]\w*=|[0-9.]+[smhd]?\Z|[<>!|&*]|\Z"


def task_name_for(command: str, taken: "Iterable[str]") -> str:
    """A name for a task: that of the program, or of the script that an interpreter runs."""
    base = re.sub(r"\.(sh|py|pl|rb|php|js|bash)\Z", "", _program_of(command))
    base = re.sub(r"[^A-Za-z0-9_.-]+", "_", base).strip("_.-")[:60] or "task"
    name, number = base, 1
    while name in taken:
        number += 1
        name = "%s-%d" % (base, number)
    return name


def _program_of(command: str) -> str:
    """The file name of the program that a shell command is about; '' when there is none."""
    command = re.sub(r"(?<!\\)%.*", "", command)  # the rest is its standard input
    parts = [[word.strip("\"'`(){}$") for word in part.split()]
             for part in re.split(r"&&|\|\|?|;", command)]
    words = next((part for part in parts if (part + [""])[0] not in PREPARING), parts[0])
    before = wrapper = ""
    for word in words:
        name = word.rstrip("/").rpartition("/")[2]
        is_user_of_sudo = wrapper == "sudo" and before in ("-u", "-g")
        if is_user_of_sudo or re.match(NO_NAME, word):
            pass
        elif wrapper == "flock":
            wrapper = ""  # this word is the file that it locks
        elif name in WRAPPING or re.match(r"python[0-9.]*\Z", name):
            wrapper = name
        else:
            return name
        before = word
    return ""


def import_tasks(text: str, user: str, home: str, has_users: bool,
                 existing: "Dict[str, sc.Task]") -> Imported:
    """The tasks that do what the lines of a crontab do for `user`, whose home is `home`.

    Cron starts a command once, in the home, for as long as it takes: so no retries, that folder,
    and a day. Lines that are `existing` tasks already, or cannot be converted, are left out.
    """
    entries, left_out = crontab_entries(text, has_users)
    tasks: "List[Tuple[int, Dict[str, Any]]]" = []
    taken = set(existing)
    for entry in entries:
        task = _imported_task(entry, home, taken)
        if re.search(CALLS_THE_TICK, entry.command):
            reason = "it runs the conductor itself"
        elif has_users and entry.user != user:
            reason = "it runs as %s; tasks run as the user who runs the tick" % entry.user
        else:
            reason = _why_not_added(task, existing)
        if reason:
            left_out.append((entry.number, entry.line, reason))
        else:
            taken.add(task["name"])
            tasks.append((entry.number, task))
    return Imported(tasks=tasks, left_out=sorted(left_out))


def _why_not_added(task: "Dict[str, Any]", existing: "Dict[str, sc.Task]") -> str:
    """What is wrong with a new task, or which one it repeats; '' for nothing."""
    config = sc.build_config([("crontab", {"tasks": [task]})])
    if config.problems:
        return str(config.problems[0]).partition("': ")[2]  # without the place in the crontab
    for name, other in existing.items():
        if _does_the_same(config.tasks[task["name"]], other):
            return "already defined as task '%s'" % name
    return ""


def _imported_task(entry: CrontabEntry, home: str, taken: "Set[str]") -> "Dict[str, Any]":
    variables = entry.variables
    task: "Dict[str, Any]" = {"name": task_name_for(entry.command, taken)}
    if entry.comment:
        task["description"] = entry.comment
    command = shell_command(entry.command, variables.get("SHELL") or "/bin/sh")
    task.update(command=command, schedule=entry.schedule, cwd=variables.get("HOME") or home,
                timeout=MISSING_TIMEOUT_S, retry_count=0)
    if variables.get("CRON_TZ"):
        task["timezone"] = variables["CRON_TZ"]
    env = {name: value for name, value in variables.items()
           if name not in CRON_VARIABLES and name not in SILENT_VARIABLES}
    if env.get("SHELL") == "/bin/sh":
        del env["SHELL"]  # as cron sets it
    if env:
        task["env"] = env
    return task


def _does_the_same(task: sc.Task, other: sc.Task) -> bool:
    return all(getattr(task, field) == getattr(other, field)
               for field in ("command", "schedule_key", "cwd", "env"))


def cmd_import_crontab(store: sc.Store, args: "argparse.Namespace") -> int:
    text, place, is_system = _table_to_import(args.file)
    user, home = sc.current_user()
    imported = import_tasks(text, user, home, is_system, _existing_tasks(store, strict=args.write))
    for number, line, reason in imported.left_out:
        sc.warn("%s: line %d: %s: %s" % (place, number, reason, _printable(line)))
    for number, task in imported.tasks:
        schedule = sc.CronSchedule(task["schedule"], task["name"])
        for advice in sc.schedule_advice(schedule, task["name"]):
            sc.warn("%s: line %d: warning: %s (%s)" % ((place, number) + advice))
    if not args.write:
        sc.print_json({"tasks": [task for _, task in imported.tasks]})
        return sc.EXIT_OK
    if not imported.tasks:
        sc.print_line("nothing was written")
        return sc.EXIT_OK
    for _, task in imported.tasks:
        _write_drop_in(store, task)
    table = place
    if args.file is None:
        table = "your crontab (crontab -e)"
    sc.print_line("These lines run twice until you remove them from %s:" % table)
    lines = sc.crontab_lines(text)
    for number, _ in imported.tasks:
        sc.print_line("%5d  %s" % (number, lines[number - 1].rstrip("\r\n")))
    return sc.EXIT_OK


def _printable(line: str) -> str:
    """The line with escapes for what a terminal would obey."""
    return re.sub("[\x00-\x08\x0a-\x1f\x7f-\x9f]",
                  lambda control: ascii(control.group())[1:-1], line)


def _write_drop_in(store: sc.Store, task: "Dict[str, Any]") -> None:
    path = store.path("%s/%s.json" % (sc.DROP_IN_DIR, task["name"]))
    if os.path.lexists(path):
        raise sc.UsageError("%s already exists" % store.shown(path),
                            "move it away; the files already written stay")
    sc.write_atomic(path, (json.dumps(task, indent=2) + "\n").encode())
    sc.print_line("wrote %s" % store.shown(path))


def _table_to_import(name: "str | None") -> "Tuple[str, str, bool]":
    """The text of a crontab, what messages call it, and whether its lines name a user."""
    if name is None:
        text = os.fsencode(sc.read_crontab()).decode("utf-8", "surrogateescape")
        return text, "crontab", False
    if name == "-":
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape"), "stdin", False
    try:
        text = sc.read_bytes(name, follow=True).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise sc.StorageError.of("read", name, error)
    path = os.path.realpath(name)
    is_system = path == "/etc/crontab" or os.path.dirname(path) == "/etc/cron.d"
    return text, name, is_system


def _existing_tasks(store: sc.Store, strict: bool) -> "Dict[str, sc.Task]":
    """The tasks of the configuration by name, and empty ones for other names that are taken.

    `strict`: a configuration that cannot be read is an error.
    """
    tasks: "Dict[str, sc.Task]" = {}
    try:
        config = store.read_config()
        tasks = dict({name: sc.Task(name=name) for name in config.invalid}, **config.tasks)
    except sc.ConfigError:
        if strict:
            raise
    for path in store.config_files()[1:]:  # a file may hold a task of another name
        tasks.setdefault(os.path.basename(path)[:-len(".json")], sc.Task())
    return tasks


OPTIONS = (
    sc.option("file", nargs="?", metavar="FILE", help="a crontab, - for stdin (default: your own)"),
    sc.option("--write", action="store_true",
              help="write a file for each task into %s, and print the lines to remove from the "
                   "crontab" % sc.DROP_IN_DIR))

if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_import_crontab)
