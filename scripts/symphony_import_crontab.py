#!/usr/bin/env python3
"""Convert the lines of a crontab to tasks.

Example: symphony_conductor.py import-crontab --write

Without an option the tasks are printed and nothing is changed. Lines that cannot be converted go to
stderr with the reason, and then the number of lines of each kind. Nothing but --switch and
--switch-back changes the crontab.
"""

import argparse
import difflib
import functools
import json
import math
import os
import pwd
import re
import shlex
import sys
import time
from shutil import which
from typing import Any, Callable, Collection, Dict, FrozenSet, Iterable, List, Tuple

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import crontab_switch  # noqa: E402
import crontab_tables  # noqa: E402
import symphony_conductor as sc  # noqa: E402
from crontab_commands import escaped_command, shell_command, task_name_for  # noqa: E402
from crontab_tables import CrontabEntry, Machine, read_table  # noqa: E402


class Imported(sc.Value):
    """What became of a crontab.

    `tasks` have the numbers of their lines; `left_out` is (number, line, reason), `notes` is
    (number, text), and `kinds` has the kind of each line in its order.
    """

    tasks: "List[Tuple[int, Dict[str, Any]]]" = []
    left_out: "List[Tuple[int, str, str]]" = []
    notes: "List[Tuple[int, str]]" = []
    kinds: "List[str]" = []

    def tally(self) -> str:
        """How many lines there are of each kind."""
        text = sc.plural(len(self.kinds), "line")
        if self.kinds:
            text += ": " + ", ".join(
                sc.plural(self.kinds.count(kind), one, many)
                for kind, one, many in crontab_tables.KINDS if kind in self.kinds)
        return text


# -- from lines to tasks

CALLS_THE_TICK = r"symphony_conductor\b.*\btick\b"
# A day has no more when the clocks go forward: so a daily task never meets its next run.
LONGEST_RUN_S = 23 * sc.HOUR
# These see to it themselves that they do not overlap, and may well run for long.
GUARDED = r"\b(?:flock|lockfile|lockrun|lckdo|setlock|solo|run-one|pgrep|pidof)\b"


def import_tasks(text: str, machine: Machine, has_users: "bool | None" = False,
                 config: "sc.Config | None" = None, answering: "Collection[str]" = ()
                 ) -> Imported:
    """The tasks that do what the lines of a crontab do for the user of this machine.

    Cron starts a command once, in the home: so no retries, and that folder. Lines that are tasks of
    the configuration already, or cannot be converted, are left out; a task is that of one line, and
    those in `answering` are of others.
    """
    config = config or sc.Config()
    table = read_table(text, machine, has_users)
    kinds, left_out, notes = list(table.kinds), list(table.left_out), list(table.notes)
    tasks: "List[Tuple[int, Dict[str, Any]]]" = []
    lines_of: "Dict[str, int]" = {}  # the digest of a task -> its line
    taken = set(config.tasks) | set(config.invalid)
    used = set(answering)
    for entry in table.entries:
        task = task_of(entry, machine, taken)
        reason = _why_not_run(entry, machine, table.has_users) or _why_invalid(task)
        if not reason:
            existing = _task_like(task, config, used)
            if existing:
                used.add(existing)
                reason = "already defined as task '%s'" % existing
        if reason:
            left_out.append((entry.number, entry.line, reason))
            kinds[entry.number - 1] = "left out"
            continue
        _set_timeout(task, entry.command, config)
        notes += [(entry.number, text) for text in _notes_on(entry, task)]
        twin = lines_of.setdefault(crontab_switch.digest_of(task), entry.number)
        if twin != entry.number:
            notes.append((entry.number, "same as line %d; cron runs both, so there are two tasks"
                          % twin))
        taken.add(task["name"])
        tasks.append((entry.number, task))
    notes += [(0, note) for note in _notes_on_homes(table.entries, tasks, machine)]
    lost = {number for number, _, _ in left_out}
    notes = [(number, note) for number, note in notes if number not in lost]
    return Imported(tasks=tasks, left_out=sorted(left_out), kinds=kinds, notes=sorted(notes))


def _why_not_run(entry: CrontabEntry, machine: Machine, has_users: bool) -> str:
    if re.search(CALLS_THE_TICK, entry.command):
        return "it runs the conductor itself"
    user = re.split("[:/]", entry.user)[0]
    if has_users and user != machine.user:
        return ("it runs as %s; tasks run as the user who runs the tick: import it as %s, into a "
                "folder of that user" % (user, user))
    return ""


def _why_invalid(task: "Dict[str, Any]") -> str:
    problems = sc.build_config([("crontab", {"tasks": [task]})]).problems
    if problems:
        return str(problems[0]).partition("': ")[2]  # without the place in the crontab
    return ""


def _task_like(task: "Dict[str, Any]", config: sc.Config, used: "Collection[str]") -> str:
    """The task of the configuration that does the same as a new one; '' for none."""
    built = sc.build_config([("crontab", {"tasks": [task]})]).tasks[task["name"]]
    for name, other in config.tasks.items():
        if name not in used and _does_the_same(built, other):
            return name
    return ""


def task_of(entry: CrontabEntry, machine: Machine, taken: "Iterable[str]") -> "Dict[str, Any]":
    """The task that does what an entry does."""
    variables = entry.variables
    task: "Dict[str, Any]" = {"name": task_name_for(entry.command, taken)}
    if entry.comment:
        task["description"] = entry.comment
    command = shell_command(entry.command, variables.get("SHELL") or "/bin/sh")
    cwd = _home_of(entry, machine)
    if not machine.is_folder(cwd):
        cwd = "/"  # where cron runs a line whose home it cannot enter
    task.update(command=command, schedule=entry.schedule, retry_count=0, cwd=cwd)
    zone = entry.zone or variables.get("CRON_TZ")
    if zone:
        task["timezone"] = zone
    env = {name: value for name, value in variables.items()
           if name not in crontab_tables.CRON_VARIABLES and name != "CRON_TZ"}
    for name, value in (("HOME", machine.home), ("PATH", crontab_tables.CRON_PATH)):
        if name in entry.set_below:
            env[name] = value
    if env.get("SHELL") == "/bin/sh":
        del env["SHELL"]  # as cron sets it
    if env:
        task["env"] = env
    return task


def _home_of(entry: CrontabEntry, machine: Machine) -> str:
    return entry.variables.get("HOME") or machine.home


def _set_timeout(task: "Dict[str, Any]", command: str, config: sc.Config) -> None:
    """Give a task the time that cron, which knows no limit, would have let it take.

    That is until its next run is due, which would be skipped, but at least what the configuration
    gives any task, and no more than a day: a run that hangs must not stop those behind it for good.
    What starts with the machine may be a service, and has no end.
    """
    built = sc.build_config([("crontab", {"tasks": [task]})]).tasks[task["name"]]
    interval = sc.shortest_interval(built.replace(timezone="UTC"), 0)
    if interval is None:
        task["timeout"] = sc.LONGEST_S
    elif re.search(GUARDED, command):
        task["timeout"] = LONGEST_RUN_S
    elif interval > config.task_timeout_default:
        task["timeout"] = min(interval, LONGEST_RUN_S)


def _notes_on(entry: CrontabEntry, task: "Dict[str, Any]") -> "List[str]":
    """What to know about a line that became a task."""
    notes = []
    escaped = escaped_command(entry.command)
    if escaped:
        notes.append("cron ends the command at the first unescaped %%, so this line can hardly "
                     "have worked; in a crontab, write: %s" % escaped)
    if entry.line.endswith("\\"):
        notes.append("the backslash at its end does not join it to the next line")
    reaching = [name for name in entry.set_below if name not in task.get("env", ())
                and name not in crontab_tables.NOT_INHERITED]
    if reaching:
        notes.append("%s, set further down, is not for this line; in your own crontab it reaches "
                     "the conductor and so this task: set it in the env of the tasks that need it"
                     % ", ".join(reaching))
    if entry.is_random:
        notes.append("with ~ cron picks another time at each start; the task gets a fixed one: %s"
                     % sc.describe(task["schedule"], task["name"]))
    schedule = sc.CronSchedule(task["schedule"], task["name"])
    notes += ["%s (%s)" % advice for advice in sc.schedule_advice(schedule, task["name"])]
    return notes


def _notes_on_homes(entries: "List[CrontabEntry]", tasks: "List[Tuple[int, Dict[str, Any]]]",
                    machine: Machine) -> "List[str]":
    """What to know about homes that are no folder: once for each."""
    converted = {number for number, _ in tasks}
    homes = {_home_of(entry, machine) for entry in entries if entry.number in converted}
    return ["the home %s is no folder, so the tasks run in /, as with cron" % home
            for home in sorted(homes) if not machine.is_folder(home)]


def _does_the_same(task: sc.Task, other: sc.Task) -> bool:
    return all(getattr(task, field) == getattr(other, field)
               for field in ("command", "schedule_key", "cwd", "env"))


# -- this machine

# Where cron's programs are, and those that only root's PATH has.
PROGRAM_FOLDERS = crontab_tables.CRON_PATH + ":/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin"


def this_machine(text: str) -> Machine:
    """The user, the accounts and the programs here; the table's own PATH counts as well."""
    user, home = sc.current_user()
    paths = re.findall(r"(?m)^[ \t]*[\"\']?PATH[\"\']?[ \t]*=[ \t]*[\"\']?([^\"\'\r\n]*)", text)
    path = ":".join(paths + [os.environ.get("PATH", ""), PROGRAM_FOLDERS])

    @functools.lru_cache(maxsize=None)
    def is_program(word: str) -> bool:
        # What a shell has built in begins a command as well.
        return word in SHELL_WORDS or which(word, path=path) is not None

    return Machine(user=user, home=home, accounts=_accounts(), is_program=is_program,
                   is_folder=_is_folder)


SHELL_WORDS = frozenset(
    "cd test echo printf exec export set eval if for while until case true false . :".split())


def _is_folder(path: str) -> bool:
    return os.path.isabs(path) and os.path.isdir(path)


def _accounts() -> "FrozenSet[str]":
    return frozenset(account.pw_name for account in pwd.getpwall())


def decoded_table(data: bytes, place: str) -> str:
    """The text of a table; bytes that are not UTF-8 become surrogates. Raises UsageError."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise sc.UsageError("%s is UTF-16, which no cron reads" % place,
                            "iconv -f UTF-16 -t UTF-8 converts it")
    return data.decode("utf-8", "surrogateescape")


def table_to_import(args: "argparse.Namespace") -> "Tuple[str, str, bool | None]":
    """The text of a crontab, what messages call it, and whether its lines name a user.

    Without an option, the place of a file says so, or else, by None, its content.
    """
    name, has_users = args.file, args.system
    if name is None:
        return decoded_table(os.fsencode(sc.read_crontab()), "crontab"), "crontab", False
    if name == "-":
        return decoded_table(sys.stdin.buffer.read(), "stdin"), "stdin", has_users
    try:
        data = sc.read_bytes(name, follow=True)
    except OSError as error:
        raise sc.StorageError.of("read", name, error)
    path = os.path.realpath(name)
    if has_users is None and (path == "/etc/crontab" or os.path.dirname(path) == "/etc/cron.d"):
        has_users = True
    return decoded_table(data, name), name, has_users


# -- the command

LINE_SHOWN = 200


def cmd_import_crontab(store: sc.Store, args: "argparse.Namespace") -> int:
    """Print the tasks of a table, write them, or hand the lines over."""
    is_own = args.file is None
    if (args.switch or args.switch_back) and not is_own:
        raise sc.UsageError(
            "--switch changes your own crontab, and not %s" % args.file,
            "--write prints the lines to comment out in it; an administrator edits system tables")
    if args.dry_run and not (args.switch or args.switch_back):
        raise sc.UsageError("--dry-run goes with --switch or --switch-back",
                            "without --write, nothing is written")
    if args.dry_run and args.write:
        raise sc.UsageError("--dry-run and --write contradict each other",
                            "without --write, the tasks are only printed")
    if args.switch_back and args.write:
        raise sc.UsageError("--switch-back imports nothing", "leave out --write")
    if args.system is not None and is_own:
        raise sc.UsageError("--system and --no-system are for a file", "such as /etc/crontab")
    if args.former and not args.switch_back:
        raise sc.UsageError("--former goes with --switch-back")
    if args.switch_back:
        return _switch_back(store, args.former, args.dry_run, sc.Clock())
    if args.write or not args.switch:
        _import(store, args)
    if args.switch:
        return _switch(store, args.dry_run, sc.Clock())
    return sc.EXIT_OK


def _import(store: sc.Store, args: "argparse.Namespace") -> None:
    text, place, has_users = table_to_import(args)
    is_missing = not os.path.lexists(store.config_path)
    config = _existing_config(store, is_missing, strict=args.write)
    machine, answering = this_machine(text), []
    if args.file is None:
        answering = tasks_of_marked_lines(text, machine, config, _read_record(store),
                                          store.root)
    imported = import_tasks(text, machine, has_users, config, answering)
    for number, line, reason in imported.left_out:
        sc.warn("%s: line %d: %s\n    %s" % (place, number, _shown(line), reason))
    for number, note in imported.notes:
        where = "%s: line %d" % (place, number) if number else place
        sc.warn(_printable("%s: warning: %s" % (where, note)))
    if not args.write:
        sc.print_json({"tasks": [task for _, task in imported.tasks]})
    elif not imported.tasks:
        sc.print_line("nothing was written")
    else:
        _write(store, imported, text, is_missing, is_own=args.file is None)
        if not args.switch:
            _show_the_way_on(store, args.file, text, imported)
    sys.stdout.flush()  # what counts the lines comes last, also in a file
    sc.warn("%s: %s" % (place, imported.tally()))


def _existing_config(store: sc.Store, is_missing: bool, strict: bool) -> sc.Config:
    """The configuration that the tasks are added to; `invalid` has all other names that are taken.

    `strict`: one that cannot be read is an error; where there is none, it is only made.
    """
    try:
        config = store.read_config()
    except sc.ConfigError as error:
        if strict and not is_missing:
            raise
        config = error.partial if isinstance(error.partial, sc.Config) else sc.Config()
    taken = dict(config.invalid)
    for path in store.config_files()[1:]:  # a file may hold a task of another name
        taken.setdefault(os.path.basename(path)[:-len(".json")], "the name of a file")
    return config.replace(invalid=taken)


# What `init` writes, without examples. Cron has no limit on what runs at once, so nothing waits.
NEW_CONFIG = """\
{
  // The tasks of your crontab are in tasks.d, one file each. Further ones may stand here.
  "tasks": [],
  "settings": {
    "max_concurrent_tasks": %d
  }
}
"""


def _write(store: sc.Store, imported: Imported, text: str, is_missing: bool,
           is_own: bool) -> None:
    """Write the tasks, and the configuration if there is none. They are valid, or it raises."""
    store.check_root()
    if is_missing:
        places = max(sc.Config.max_concurrent_tasks, len(imported.tasks))
        sc.write_atomic(store.config_path, (NEW_CONFIG % min(places, 1000)).encode())
        sc.print_line("wrote %s" % store.shown(store.config_path))
    record = _read_record(store)
    digests = {task["name"]: crontab_switch.digest_of(task) for _, task in imported.tasks}
    own = set(record.own) - set(digests)
    if is_own:
        own |= set(digests)
    table = sc.crontab_lines(text)
    lines = {task["name"]: sc.digest_of_line(table[number - 1]) for number, task in imported.tasks}
    # Ahead of the tasks, so that `install` knows of each that cron runs as well.
    _write_record(store, record.replace(
        digests={**record.digests, **digests}, lines={**record.lines, **lines}, own=sorted(own)))
    for _, task in imported.tasks:
        _write_drop_in(store, task)
    config = store.read_config()
    names = {task["name"] for _, task in imported.tasks}
    problems = [problem for problem in config.problems if problem.task in names]
    if problems:
        raise sc.ConfigError(problems)
    if len(names) > config.max_concurrent_tasks:
        sc.print_line("Up to %d tasks run at the same time (max_concurrent_tasks); cron has no "
                      "limit." % config.max_concurrent_tasks)


def _write_drop_in(store: sc.Store, task: "Dict[str, Any]") -> None:
    path = store.path("%s/%s.json" % (sc.DROP_IN_DIR, task["name"]))
    if os.path.lexists(path):
        raise sc.UsageError("%s already exists" % store.shown(path),
                            "move it away; the files already written stay")
    sc.write_atomic(path, (json.dumps(task, indent=2) + "\n").encode())
    sc.print_line("wrote %s" % store.shown(path))


def _show_the_way_on(store: sc.Store, name: "str | None", text: str, imported: Imported) -> None:
    if name is None:
        who = "Cron still runs these lines."
        if sc.installed_block(store) or sc.has_timer(store.root):
            who = "Cron and the conductor both run these lines by now."
        sc.print_line("%s To hand them over to the conductor:" % who)
        sc.print_line("  %s import-crontab --switch" % sc.own_command(store.root, is_short=True))
        return
    if name == "-":
        name = "the crontab they came from"
    sc.print_line("These lines run twice until you remove them from %s:" % name)
    lines = sc.crontab_lines(text)
    for number, _ in imported.tasks:
        _print_numbered(number, lines[number - 1])


def _print_numbered(number: int, line: str) -> None:
    sc.print_line("%5d  %s" % (number, _printable(line.rstrip("\r\n"))))


def _shown(line: str) -> str:
    """The line as a message repeats it: its number says which it is, so the beginning will do."""
    if len(line) > LINE_SHOWN:
        line = line[:LINE_SHOWN] + "..."
    return _printable(line)


def _printable(line: str) -> str:
    """The line with escapes for what a terminal would obey."""
    return re.sub("[\x00-\x08\x0a-\x1f\x7f-\x9f]",
                  lambda control: ascii(control.group())[1:-1], line)


# -- the record of what was imported

class Record(sc.Value):
    """What was imported: task -> what its line did, as a digest, and that of the line itself.

    `own` are the tasks that came from the own crontab.
    """

    digests: "Dict[str, str]" = {}
    lines: "Dict[str, str]" = {}
    own: "List[str]" = []
    had_line: "bool | None" = None  # the conductor's, before the first line; None: unknown


def _read_record(store: sc.Store) -> Record:
    """Without the record, tasks are compared as they are. Raises StorageError if it is damaged."""
    document = sc.read_imported(store)
    return Record(digests=document.get("tasks", {}), lines=document.get("lines", {}),
                  own=document.get("own", []), had_line=document.get("had_line"))


def _write_record(store: sc.Store, record: Record) -> None:
    document = {"tasks": record.digests, "lines": record.lines, "own": record.own,
                "had_line": record.had_line}
    sc.write_atomic(store.path(sc.IMPORTED_NAME), json.dumps(document, indent=1).encode())


# -- the switch

class Handover(sc.Conductor):
    """A conductor that takes over lines which cron has run up to now."""

    def count_from_now(self, names: "List[str]",
                       former: "Dict[str, sc.Pause] | None" = None) -> None:
        """Let the slots of these tasks count from the next second on; earlier ones were cron's.

        A task that has a pause in `former` gets that one back.
        """
        def change(pauses: "Dict[str, sc.Pause]", now: float) -> str:
            for name in names:
                pauses[name] = {"since": now, "until": now + 1, "by": sc.IMPORTER,
                                "reason": "its crontab line is being switched"}
                if former and name in former:
                    pauses[name] = former[name]
            return "%s: slots count from now on, cron had them before" % ", ".join(names)

        self._change_pauses(sc.ALL_TASKS, change)

    def pause_for_cron(self, names: "List[str]") -> None:
        """Pause these tasks, whose lines cron has again, until the next switch or `resume`."""
        def change(pauses: "Dict[str, sc.Pause]", now: float) -> str:
            for name in names:
                pauses[name] = {"since": now, "until": None, "by": sc.IMPORTER,
                                "reason": "its crontab line is back with cron"}
            return "%s: paused, cron has their lines again" % ", ".join(names)

        # Of all, as names may be missing from the configuration in force.
        self._change_pauses(sc.ALL_TASKS, change)


class Switch(sc.Value):
    """What a switch does: line -> task; those of them whose task runs another command by now; the
    lines that stay, with the reason; tasks that were imported from lines that are gone, or are
    others by now; and all others that would run.
    """

    switched: "Dict[int, str]" = {}
    edited: "List[Tuple[int, str]]" = []
    staying: "List[Tuple[int, str, str]]" = []
    strays: "List[str]" = []
    others: "List[str]" = []


def planned_switch(text: str, machine: Machine, store: sc.Store, config: sc.Config,
                   now: float) -> Switch:
    """Which lines of a table have a task that answers for them, and can take them over.

    A task answers for one line: for the one that it was imported from, as far as the record tells,
    whatever became of the task since, or for one that does the same. Lines handed over before have
    theirs. A line that changed since has no task, and stays with cron.
    """
    state, record = store.read_state()[0], _read_record(store)
    restored, marked = crontab_switch.with_restored_lines(text, store.root)
    table = read_table(restored, machine)
    tasks = _tasks_of_lines(table.entries, marked, machine, config, record)
    switched: "Dict[int, str]" = {}
    edited: "List[Tuple[int, str]]" = []
    staying = [(number, line, reason) for number, line, reason in table.left_out
               if number not in marked and not re.match(crontab_tables.VARIABLE, line)]
    for entry in table.entries:
        if entry.number in marked:
            continue
        name, task = tasks.get(entry.number, ""), _as_task(entry, machine)
        reason = "no task does the same; to import it: import-crontab --write"
        if name:
            reason = _why_idle(config.tasks[name], state, now)
        elif re.search(CALLS_THE_TICK, entry.command):
            reason = "it runs the conductor itself"
        elif task is None:
            reason = "it cannot be a task"
        if reason:
            staying.append((entry.number, entry.line, reason))
        else:
            switched[entry.number] = name
            if task is not None and config.tasks[name].command != task.command:
                edited.append((entry.number, name))
    strays = [name for name in record.own if name in config.tasks
              and name not in tasks.values() and not _why_idle(config.tasks[name], state, now)]
    others = [name for name in config.tasks if name not in tasks.values() and name not in strays
              and not _why_idle(config.tasks[name], state, now)]
    return Switch(switched=switched, edited=edited, staying=sorted(staying), strays=strays,
                  others=others)


def _as_task(entry: CrontabEntry, machine: Machine) -> "sc.Task | None":
    task = task_of(entry, machine, ())
    return sc.build_config([("crontab", {"tasks": [task]})]).tasks.get(task["name"])


def _tasks_of_lines(entries: "List[CrontabEntry]", marked: "Collection[int]", machine: Machine,
                    config: sc.Config, record: Record) -> "Dict[int, str]":
    """Line -> the task that answers for it. Those that were handed over come first."""
    tasks: "Dict[int, str]" = {}
    for entry in sorted(entries, key=lambda entry: (entry.number not in marked, entry.number)):
        task = _as_task(entry, machine)
        if task is None or re.search(CALLS_THE_TICK, entry.command):
            continue
        digest = crontab_switch.digest_of(task_of(entry, machine, ()))
        name = _task_for(task, digest, config, record, tasks.values())
        if name:
            tasks[entry.number] = name
    return tasks


def tasks_of_marked_lines(text: str, machine: Machine, config: sc.Config, record: Record,
                          *roots: str, also_gone: bool = False) -> "List[str]":
    """The tasks for the lines of a table that were handed over, edited since or not.

    `also_gone`: those of the record as well that the configuration does not have.
    """
    restored, marked = crontab_switch.with_restored_lines(text, *roots)
    entries = [entry for entry in read_table(restored, machine).entries if entry.number in marked]
    digests = {crontab_switch.digest_of(task_of(entry, machine, ())) for entry in entries}
    names = {name for name, digest in record.digests.items()
             if digest in digests and (also_gone or name in config.tasks)}
    return sorted(names.union(_tasks_of_lines(entries, marked, machine, config, record).values()))


def _task_for(task: sc.Task, digest: str, config: sc.Config, record: Record,
              used: "Collection[str]") -> str:
    """The name of the task that answers for a line; '' for none.

    Of the tasks that were imported from such a line, those that still run its command come first.
    """
    free = [name for name in config.tasks if name not in used]
    imported = [name for name in free if record.digests.get(name) == digest]
    imported.sort(key=lambda name: config.tasks[name].command != task.command)
    alike = [name for name in free if _does_the_same(task, config.tasks[name])]
    return (imported + alike + [""])[0]


def _why_idle(task: sc.Task, state: sc.State, now: float) -> str:
    """Why a task would not run now; '' if it would."""
    if not task.enabled:
        return "its task '%s' is disabled" % task.name
    if task.schedule is None:
        return "its task '%s' has no schedule" % task.name
    pauses = [state.pauses[name] for name in (task.name, sc.ALL_TASKS) if name in state.pauses]
    # One that is over stays in the state until the next tick, and so does the switch's own.
    if any(pause["until"] is None or pause["until"] > now for pause in pauses
           if pause.get("by") != sc.IMPORTER):
        return ("its task '%s' is paused, and would run beside it once that is over; disable or "
                "resume it" % task.name)
    return ""


def _switch(store: sc.Store, is_dry_run: bool, clock: sc.Clock) -> int:
    """Comment the imported lines out and install the tick, in one write of the crontab.

    Before it, the slots of their tasks count from now; behind it, cron runs nothing but the tick.
    Whatever fails or is killed in between leaves cron's lines as they are.
    """
    sc.check_installable(store)
    before = sc.read_crontab()
    text = decoded_table(os.fsencode(before), "crontab")
    config = store.read_config()
    plan = planned_switch(text, this_machine(text), store, config, clock.now())
    for number, line, reason in plan.staying:
        sc.warn("crontab: line %d stays with cron: %s\n    %s" % (number, _shown(line), reason))
    for number, name in plan.edited:
        sc.warn("warning: line %d goes over to its task '%s', whose command was edited since the "
                "import" % (number, name))
    marked = crontab_switch.with_restored_lines(before, store.root)[1]
    has_timer = _has_timer(store)
    had_line = bool(sc.split_at_block(before, store.root)[1])
    is_called = has_timer or had_line
    # Lines that were handed over, and that nothing runs any more, need the conductor's line again.
    if not plan.switched and (is_called or not marked):
        sc.print_line("nothing to switch: no line of the crontab has a task here")
        return sc.EXIT_OK
    after = crontab_switch.with_switched_lines(before, plan.switched, store.root)
    if not has_timer:
        after = sc.table_with_line(store, after)
    _check_strays(plan.strays, is_called)
    if is_dry_run:
        _print_difference(before, after)
        _show_others(plan.others, is_called)
        return sc.EXIT_OK
    names = sorted(plan.switched.values())
    if not marked:
        _write_record(store, _read_record(store).replace(had_line=had_line))
    _write_between_minutes(store, clock, before, after,
                           lambda: _take_over(store, clock, config, names))
    if plan.switched:
        sc.print_line("Handed over to the conductor:")
    lines = sc.crontab_lines(text)
    for number in sorted(plan.switched):
        _print_numbered(number, lines[number - 1])
    _show_others(plan.others, is_called)
    stranded = 0 if is_called else len(marked)
    _show_switched(store, plan, has_timer, stranded)
    return sc.EXIT_OK


def _show_others(names: "List[str]", is_called: bool) -> None:
    """Name the tasks that start with the conductor's line, and were in no crontab."""
    if names and not is_called:
        sc.print_line("The conductor will also run %s of this folder: %s "
                      "(to leave one out: \"enabled\": false)"
                      % (sc.plural(len(names), "other task", "other tasks"), ", ".join(names)))


def _show_switched(store: sc.Store, plan: Switch, has_timer: bool, stranded: int) -> None:
    """Say who runs what from now on; nothing ran `stranded` lines that were handed over before."""
    caller = "The conductor's line is installed: cron now calls it every minute."
    if has_timer:
        caller = "The systemd timer calls the conductor."
    elif sc.cron_daemon() == "":  # None proves nothing
        caller = ("WARNING: the conductor's line is installed, but no cron daemon is running, so "
                  "nothing calls it yet.")
    counts = []
    if plan.switched:
        counts.append(sc.plural(len(plan.switched), "line was handed over",
                                "lines were handed over"))
    if stranded:
        counts.append(sc.plural(stranded, "line that was handed over before runs again",
                                "lines that were handed over before run again"))
    if plan.staying:
        numbers = [str(number) for number, _, _ in plan.staying]
        counts.append("%s with cron (%s %s)" % (
            sc.plural(len(numbers), "stays", "stay"), "line" if len(numbers) == 1 else "lines",
            sc.join_words(numbers)))
    sc.print_line("%s %s." % (caller, ", ".join(counts)))
    sc.print_line("To undo this: %s import-crontab --switch-back"
                  % sc.own_command(store.root, is_short=True))


def _has_timer(store: sc.Store) -> bool:
    """Whether a systemd timer calls the tick. Raises where that cannot be told."""
    timer = sc.has_timer(store.root)
    if timer is None:
        folders = sorted({sc.unit_folder(), sc.SYSTEM_UNITS})
        raise sc.ConductorError(
            "cannot read %s, so a timer may call the tick; nothing was changed"
            % " or ".join("%s/%s.timer" % (folder, sc.UNIT) for folder in folders))
    return timer


def _check_strays(names: "List[str]", is_called: bool) -> None:
    """What runs by the new line alone must not run beside a line that was edited since."""
    if names and not is_called:
        raise sc.UsageError(
            "nothing was switched: the conductor would also run %s, whose crontab lines were "
            "edited or removed since the import" % ", ".join(names),
            "disable them or remove their files in %s, and import the lines anew if they are to "
            "run here" % sc.DROP_IN_DIR)
    for name in names:
        sc.warn("warning: no line of the crontab is that of task '%s' any more; the conductor "
                "runs it all the same" % name)


def _take_over(store: sc.Store, clock: sc.Clock, config: sc.Config, names: "List[str]") -> None:
    """See to it that the slots of these tasks count from now, as cron had those before."""
    if not os.path.exists(store.state_path):
        sc.tick_first(store)
        if not os.path.exists(store.state_path):
            raise sc.ConductorError("the first tick did not succeed, so nothing was switched")
        return
    now, whole = clock.now(), store.read_state()[0]
    states, pauses = whole.tasks, whole.pauses
    stale = []
    for name in names:
        task, state = config.tasks[name], states.get(name, sc.TaskState())
        is_overdue = state.next_slot is not None and state.next_slot <= now
        is_reboot = task.schedule is not None and task.schedule.reboot
        is_new = state.schedule_key != task.schedule_key
        if is_new or is_overdue or is_reboot or name in pauses:
            stale.append(name)
    if stale:
        store.hold()
        Handover(store, clock).count_from_now(stale)


def _write_between_minutes(store: sc.Store, clock: sc.Clock, before: str, after: str,
                           take_over: "Callable[[], None]" = lambda: None) -> None:
    """Write the table while cron is surely not reading it.

    `take_over` comes before it, and again if a minute began meanwhile, as on a machine that was
    suspended: cron ran the slots of that minute, or its tick did by then.
    """
    is_ready = False
    while not is_ready:
        _wait_for_cron(clock)
        take_over()
        if sc.read_crontab() != before:
            raise sc.ConductorError("the crontab was changed meanwhile; nothing was written, run "
                                    "it again")
        is_ready = not crontab_switch.wait_s(clock.now())  # all of that may have taken its time
    minute = clock.now() // sc.MINUTE
    sc.write_crontab(after, before, store)
    if clock.now() // sc.MINUTE != minute:
        _wait_for_cron(clock)
        take_over()


def _wait_for_cron(clock: sc.Clock) -> None:
    seconds = crontab_switch.wait_s(clock.now())
    if seconds:
        sc.print_line("waiting %d s, so as not to change the crontab while cron reads it"
                      % math.ceil(seconds))
        sys.stdout.flush()
        time.sleep(seconds)


def _switch_back(store: sc.Store, former: "str | None", is_dry_run: bool,
                 clock: sc.Clock) -> int:
    """Give the lines back to cron and remove the tick, in one write of the crontab.

    A tick that was there before the switch stays, and the tasks of the lines are paused. `former`:
    the path that this folder had when it took lines over.
    """
    before = sc.read_crontab()
    roots = [store.root]
    if former:
        _check_former(store, former)
        roots.append(former)
    after, numbers = crontab_switch.with_restored_lines(before, *roots)
    if not numbers:
        sc.print_line("no line of the crontab was handed over to %s" % roots[-1])
        _show_other_marks(before, roots)
        return sc.EXIT_OK
    if _has_timer(store):
        raise sc.UsageError("a systemd timer calls the tick, so the lines would run twice",
                            "remove it first: uninstall --timer")
    lines = sc.crontab_lines(after)
    has_line = bool(sc.split_at_block(before, store.root)[1])
    stays = has_line and _read_record(store).had_line is not False
    if stays:
        names = _tasks_given_back(store, before, roots)
    else:
        names = _files_given_back(store, before, roots)
        after = sc.without_block(after, store.root)
    if former:
        after = sc.without_block(after, former)
    if is_dry_run:
        _print_difference(before, after)
        return sc.EXIT_OK
    try:
        if stays and names:
            _write_and_pause(store, clock, before, after, names, roots)
        else:
            _write_between_minutes(store, clock, before, after)
    finally:  # cron may have the lines, even if the new table cannot be listed
        sc.forget_ticks(store)
    sc.print_line("%s back to cron:" % sc.plural(len(numbers), "line was given",
                                                 "lines were given"))
    for number in numbers:
        _print_numbered(number, lines[number - 1])
    if stays:
        sc.print_line("The conductor's line stays; the tasks of the lines above are paused.")
    else:
        sc.print_line("The conductor's line is removed, so no task runs. Before you run install, "
                      "remove the tasks of")
        sc.print_line("the lines above, or they run twice.")
        if names:
            sc.print_line("To remove their files: rm %s" % " ".join(map(shlex.quote, names)))
    return sc.EXIT_OK


def _write_and_pause(store: sc.Store, clock: sc.Clock, before: str, after: str,
                     names: "List[str]", roots: "List[str]") -> None:
    """Write a table in which cron has the lines of these tasks again, while the tick goes on.

    The tasks are paused ahead of it: nothing is due between the minutes, and whatever fails or is
    killed behind it, no line runs twice. If the lines did not go back, their tasks go on.
    """
    store.hold()
    handover = Handover(store, clock)
    former = store.read_state()[0].pauses
    try:
        _write_between_minutes(store, clock, before, after,
                               lambda: handover.pause_for_cron(names))
    except (sc.ConductorError, OSError, KeyboardInterrupt):
        try:
            is_paused = store.read_state()[0].pauses != former
            if is_paused and crontab_switch.with_restored_lines(sc.read_crontab(), *roots)[1]:
                handover.count_from_now(names, former)
        except (sc.ConductorError, OSError):
            sc.warn("the tasks may stay paused; if cron does not run their lines: resume NAME, for "
                    + ", ".join(names))
        raise


def _tasks_given_back(store: sc.Store, crontab: str, roots: "List[str]") -> "List[str]":
    """The tasks of the lines that go back.

    Lines go back whatever the configuration is: they are needed most where nothing runs them. While
    it cannot be used, any task of the record may be in it.
    """
    text = decoded_table(os.fsencode(crontab), "crontab")
    record = _read_record(store)
    try:
        config, problems = store.config_in_force()
    except sc.StorageError:
        config, problems = None, []
    is_valid = config is not None and not problems
    return tasks_of_marked_lines(text, this_machine(text), config or sc.Config(), record,
                                 *roots, also_gone=not is_valid)


def _files_given_back(store: sc.Store, crontab: str, roots: "List[str]") -> "List[str]":
    """The files of the tasks whose lines go back, as seen from here."""
    paths = [store.path("%s/%s.json" % (sc.DROP_IN_DIR, name))
             for name in _tasks_given_back(store, crontab, roots)]
    paths = [path for path in paths if os.path.lexists(path)]
    if os.path.realpath(os.curdir) == store.root:
        paths = [os.path.relpath(path, store.root) for path in paths]
    return paths


def _check_former(store: sc.Store, former: str) -> None:
    """A folder that is still there has tasks of its own, unless it is this one by another name."""
    if not sc.is_gone(former) and os.path.realpath(former) != store.root:
        raise sc.UsageError("%s still exists" % former,
                            "--root %s names it; --former is for a folder that was renamed"
                            % shlex.quote(former))


def _show_other_marks(crontab: str, roots: "List[str]") -> None:
    """Name the roots that have lines here, such as the former name of a folder."""
    for root in sc.marked_roots(crontab):
        if root not in roots:
            option = "--former" if sc.is_gone(root) else "--root"
            sc.print_line("lines were handed over to %s; to give them back: import-crontab "
                          "--switch-back %s %s" % (root, option, shlex.quote(root)))


def _print_difference(before: str, after: str) -> None:
    tables = [[line.rstrip("\r\n") for line in sc.crontab_lines(table)]
              for table in (before, after)]
    for line in difflib.unified_diff(tables[0], tables[1], "crontab now", "crontab then",
                                     lineterm=""):
        sc.print_line(_printable(line))


OPTIONS = (
    sc.option("file", nargs="?", metavar="FILE", help="a crontab, - for stdin (default: your own)"),
    [sc.option("--system", action="store_true", default=None,
               help="a system table, whose lines name a user before the command (default: "
                    "told by its place or its content)"),
     sc.option("--no-system", dest="system", action="store_false", default=None,
               help="a personal table, whose lines name no user")],
    sc.option("--write", action="store_true",
              help="write a file for each task into %s; without a configuration, make one"
                   % sc.DROP_IN_DIR),
    [sc.option("--switch", action="store_true",
               help="comment the imported lines out in your crontab and install the conductor's "
                    "line, at once"),
     sc.option("--switch-back", action="store_true",
               help="undo that: cron runs the lines again, and no longer the conductor")],
    sc.option("--former", metavar="ROOT",
              help="with --switch-back: the name that this folder had when the lines were handed "
                   "over (default: the one that it has)"),
    sc.option("--dry-run", action="store_true",
              help="show what --switch or --switch-back would change in the crontab"))

if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_import_crontab)
