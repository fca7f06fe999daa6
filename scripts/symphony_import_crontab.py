#!/usr/bin/env python3
"""Convert the lines of a crontab to tasks.

    symphony_conductor.py import-crontab [--write] [FILE]

What the tasks would be is printed, what cannot be said as a task goes to stderr with its line and the reason. The
crontab itself is never changed.
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
    """A line of a crontab that starts something, with what the lines above it say of it. `number` counts from 1."""

    number: int = 0
    line: str = ""
    schedule: str = ""
    command: str = ""
    user: str = ""
    comment: str = ""
    variables: "Dict[str, str]" = {}


class Imported(sc.Value):
    """What became of a crontab: tasks with the numbers of their lines; (number, line, reason) for what is left out."""

    tasks: "List[Tuple[int, Dict[str, Any]]]" = []
    left_out: "List[Tuple[int, str, str]]" = []


TABLE_TIMES = r"(?:@\S+|\S+(?:[ \t]+\S+){4})"
TABLE_VARIABLE = r"""[ \t]*("[^"]*"|'[^']*'|[^\s=#"']+)[ \t]*=[ \t]*(.*?)[ \t\r]*\Z"""
# An entry that is switched off, or the heading of the columns: no description of what follows.
COMMENTED_OUT = (r"@(?:reboot|hourly|daily|midnight|weekly|monthly|yearly|annually)\b|"
                 r"(?:[\d*][\d*,/-]*[ \t]+){2}\S|m\w*[ \t]+h\w*[ \t]+d")
CALLS_THE_TICK = r"symphony_conductor\b.*\btick\b"
OWN_BLOCK = r"(?ms)^%s([^\n]*)$.*?^%s\1$"
MISSING_TIMEOUT_S = sc.DAY
# Variables that mean something to cron, or that it does not take from a table: why they are no part of a task.
CRON_VARIABLES = {
    "MAILTO": "the conductor sends no mail by itself; notification_webhook tells of failures",
    "RANDOM_DELAY": "there is no random delay; H in place of a minute spreads tasks evenly",
    "START_HOURS_RANGE": "that is for anacron; start_deadline bounds how late a task may start",
    "LOGNAME": "cron sets it, whatever a table says", "USER": "cron sets it, whatever a table says",
}
SILENT_VARIABLES = ("CRON_TZ", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING")


def crontab_entries(text: str, has_users: bool) -> "Tuple[List[CrontabEntry], List[Tuple[int, str, str]]]":
    """The entries of a crontab, by the rules of Debian's crontab(5), and what its other lines cannot mean here.

    `has_users`: a system table, whose lines name a user before the command. Blocks of the conductor are passed over.
    """
    own = [match.span() for match in re.finditer(OWN_BLOCK % (sc.BLOCK_BEGIN, sc.BLOCK_END), text)]
    pattern = r"[ \t]*-?(%s)[ \t]+%s(\S.*)" % (TABLE_TIMES, r"(\S+)[ \t]+" if has_users else "()")
    entries, left_out = [], []
    comment: "List[str]" = []
    variables: "Dict[str, str]" = {}
    at = 0
    for number, line in enumerate(sc.crontab_lines(text), 1):
        start, at, line = at, at + len(line), line.rstrip("\r\n")
        variable, entry = re.match(TABLE_VARIABLE, line), re.match(pattern, line)
        if any(low <= start < high for low, high in own) or not line.strip():
            comment = []
        elif line.lstrip().startswith("#"):
            words = line.lstrip("# \t").rstrip()
            comment = comment + [words] if words and not re.match(COMMENTED_OUT, words) else []
        elif variable:
            name, value = variable.group(1).strip("\"'"), variable.group(2)
            variables = dict(variables)
            # Debian's cron drops blanks at the end even within quotes.
            variables[name] = (value[1:-1] if re.match(r"""(["']).*\1\Z""", value) else value).rstrip(" \t")
            if variables[name] and name in CRON_VARIABLES:
                left_out.append((number, line, CRON_VARIABLES[name]))
        elif entry:
            entries.append(CrontabEntry(number=number, line=line, schedule=entry.group(1), user=entry.group(2),
                                 command=entry.group(3), comment=" ".join(comment), variables=variables))
            comment = []
        else:
            left_out.append((number, line, "this is neither a variable nor a schedule with a command"))
    return entries, left_out


def shell_command(command: str, shell: str) -> "str | List[str]":
    """The command of a crontab line as a task has it.

    An unescaped % ends the command, and what follows is its standard input, where further ones are line breaks;
    in the command, a backslash before a % or a backslash goes (Debian crontab(5), and what its cron does).
    """
    match = re.match(r"((?:\\.|[^%\\])*\\?)(%?)(.*)", command)
    assert match  # it fits any text of one line
    words = re.sub(r"\\([%\\])", r"\1", match.group(1))
    words = re.sub(r"(?<!\\)[ \t]+\Z", "", words)
    fed = re.sub(r"\\%|%", lambda mark: "%" if mark.group() != "%" else "\n", match.group(3))
    if not fed:
        return words if shell == "/bin/sh" else [shell, "-c", words]
    fed = fed[:-1] if fed.endswith("\n") else fed  # cron ends the last line, where that is not done yet
    end = "END_OF_INPUT"
    while end in fed.split("\n"):
        end += "_"
    group = "{\n%s\n}" % words if shell == "/bin/sh" else "exec %s -c %s" % (shlex.quote(shell), shlex.quote(words))
    return "%s <<'%s'\n%s\n%s" % (group, end, fed, end)


PREPARING = ("cd", "test", "[", "[[", "export", ".", "source", "set", "umask", "ulimit", ":", "sleep", "mkdir", "")
WRAPPING = ("sudo nice ionice chrt env nohup exec command time timeout flock setsid chronic cronic systemd-cat run-one "
            "run-parts sh bash dash ksh zsh perl ruby php node").split()
NO_NAME = r"-|[A-Za-z_]\w*=|[0-9.]+[smhd]?\Z|[<>!|&*]|\Z"


def task_name_for(command: str, taken: "Iterable[str]") -> str:
    """A name for a task made from its command: that of the program, or of the script that an interpreter runs."""
    command = re.sub(r"(?<!\\)%.*", "", command)  # the rest is its standard input
    parts = [[word.strip("\"'`(){}$") for word in part.split()] for part in re.split(r"&&|\|\|?|;", command)]
    words = next((part for part in parts if (part + [""])[0] not in PREPARING), parts[0])
    found, before, wrapper = "", "", ""
    for word in words:
        last = word.rstrip("/").rpartition("/")[2]
        if wrapper == "sudo" and before in ("-u", "-g") or re.match(NO_NAME, word):
            pass  # whom sudo asks to be
        elif wrapper == "flock":
            wrapper = ""  # what it locks
        elif last in WRAPPING or re.match(r"python[0-9.]*\Z", last):
            wrapper = last
        else:
            found = last
            break
        before = word
    base = re.sub(r"\.(sh|py|pl|rb|php|js|bash)\Z", "", found)
    base = re.sub(r"[^A-Za-z0-9_.-]+", "_", base).strip("_.-")[:60] or "task"
    name, number = base, 1
    while name in taken:
        number += 1
        name = "%s-%d" % (base, number)
    return name


def import_tasks(text: str, user: str, home: str, has_users: bool, known: "Dict[str, sc.Task]") -> Imported:
    """The tasks that do what the lines of a crontab do for `user`, whose home is `home`.

    Cron starts a command once, in the home, for as long as it takes: so no retries, that folder, and a day. A line
    that is one of the `known` tasks already is left out, as is what cannot be said as a task.
    """
    entries, left_out = crontab_entries(text, has_users)
    tasks: "List[Tuple[int, Dict[str, Any]]]" = []
    taken = set(known)
    for entry in entries:
        task = _imported_task(entry, home, taken)
        config = sc.build_config([("crontab", {"tasks": [task]})])
        same = [name for name, other in known.items()
                if config.tasks and _does_the_same(config.tasks[task["name"]], other)]
        reason = ("it calls the conductor itself" if re.search(CALLS_THE_TICK, entry.command) else
                  "it runs as %s, and a task as whoever calls the tick" % entry.user
                  if has_users and entry.user != user else
                  str(config.problems[0]).partition("': ")[2] if config.problems else
                  "the task '%s' is just that" % same[0] if same else "")
        if reason:
            left_out.append((entry.number, entry.line, reason))
        else:
            taken.add(task["name"])
            tasks.append((entry.number, task))
    return Imported(tasks=tasks, left_out=sorted(left_out))


def _imported_task(entry: CrontabEntry, home: str, taken: "Set[str]") -> "Dict[str, Any]":
    variables = entry.variables
    task: "Dict[str, Any]" = {"name": task_name_for(entry.command, taken)}
    if entry.comment:
        task["description"] = entry.comment
    task.update(command=shell_command(entry.command, variables.get("SHELL") or "/bin/sh"), schedule=entry.schedule,
                cwd=variables.get("HOME") or home, timeout=MISSING_TIMEOUT_S, retry_count=0)
    if variables.get("CRON_TZ"):
        task["timezone"] = variables["CRON_TZ"]
    env = {name: value for name, value in variables.items()
           if name not in CRON_VARIABLES and name not in SILENT_VARIABLES}
    if env.get("SHELL") == "/bin/sh":
        del env["SHELL"]  # as cron sets it
    if env:
        task["env"] = env
    return task


def _does_the_same(one: sc.Task, other: sc.Task) -> bool:
    return all(getattr(one, field) == getattr(other, field) for field in ("command", "schedule_key", "cwd", "env"))


def cmd_import_crontab(store: sc.Store, args: "argparse.Namespace") -> int:
    text, place, is_system = _table_to_import(args.file)
    known = _known_tasks(store, strict=args.write)
    user, home = sc.current_user()
    for path in store.config_files()[1:]:  # a file may hold a task of another name
        known.setdefault(os.path.basename(path)[:-len(".json")], sc.Task())
    found = import_tasks(text, user, home, is_system, known)
    for number, line, reason in found.left_out:
        sc.warn("%s: line %d: %s: %s" % (place, number, reason, re.sub(
            "[\x00-\x08\x0a-\x1f\x7f-\x9f]", lambda found: ascii(found.group())[1:-1], line)))
    if not args.write:
        sc.print_json({"tasks": [task for _, task in found.tasks]})
        return sc.EXIT_OK
    for _, task in found.tasks:
        path = store.path("%s/%s.json" % (sc.DROP_IN_DIR, task["name"]))
        if os.path.lexists(path):
            raise sc.UsageError("%s is there already" % store.shown(path), "move it away; what was written so far stays")
        sc.write_atomic(path, (json.dumps(task, indent=2) + "\n").encode())
        sc.print_line("wrote %s" % store.shown(path))
    if found.tasks:
        sc.print_line("These lines run twice until you remove them from %s:" % (
            "your crontab (crontab -e)" if args.file is None else place))
        lines = sc.crontab_lines(text)
        for number, _ in found.tasks:
            sc.print_line("%5d  %s" % (number, lines[number - 1].rstrip("\r\n")))
    else:
        sc.print_line("nothing was written")
    return sc.EXIT_OK


def _table_to_import(name: "str | None") -> "Tuple[str, str, bool]":
    """The text of a crontab, how messages call it, and whether its lines name a user, as the system's do."""
    if name is None:
        return os.fsencode(sc.read_crontab()).decode("utf-8", "surrogateescape"), "crontab", False
    if name == "-":
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape"), "stdin", False
    try:
        text = sc.read_bytes(name, follow=True).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise sc.StorageError.of("read", name, error)
    path = os.path.realpath(name)
    return text, name, path == "/etc/crontab" or os.path.dirname(path) == "/etc/cron.d"


def _known_tasks(store: sc.Store, strict: bool) -> "Dict[str, sc.Task]":
    """The tasks that are there, by name, those that are wrong among them; their names are taken."""
    try:
        config = store.read_config()
    except sc.ConfigError:
        if strict:
            raise
        return {}
    return dict({name: sc.Task(name=name) for name in config.invalid}, **config.tasks)


OPTIONS = (
    sc.option("file", nargs="?", metavar="FILE", help="a crontab, - for stdin (default: your own)"),
    sc.option("--write", action="store_true", help="write a file for each task into %s, and print the lines to remove "
              "from the crontab" % sc.DROP_IN_DIR))

if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_import_crontab)
