"""What each line of a crontab is. Text in, values out: nothing here reads a file or runs a program.

The rules are those of crontab(5) of Debian, cronie, OpenBSD, FreeBSD and busybox. Where anacron,
dcron, fcron or supercronic have rules of their own, such a line is recognized and left out with the
line that would do the same.
"""

import os
import re
import sys
from typing import Callable, Dict, FrozenSet, List, Tuple

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402


class Machine(sc.Value):
    """What the meaning of a table depends on: whose it is, and what a word may name here."""

    user: str = ""
    home: str = ""
    accounts: "FrozenSet[str]" = frozenset()
    is_program: "Callable[[str], bool]" = bool
    is_folder: "Callable[[str], bool]" = bool


class CrontabEntry(sc.Value):
    """A line of a crontab that runs a command, and what the lines above it say about it.

    `number` counts from 1. `schedule` is as five fields or a nickname, `zone` its time zone, if it
    has one of its own. `set_below` has the variables that only lines below it set: for cron
    they are none of its, but the conductor's line stands below them. `is_random`: the schedule had
    a ~, which is an H now; its time depends on the name of the task.
    """

    number: int = 0
    line: str = ""
    schedule: str = ""
    command: str = ""
    user: str = ""
    comment: str = ""
    zone: str = ""
    variables: "Dict[str, str]" = {}
    set_below: "Tuple[str, ...]" = ()
    is_random: bool = False


class Table(sc.Value):
    """A table as it was read. Each line has one kind, and stands in one list at most.

    `kinds` has the kind of each line in its order; `left_out` is (number, line, reason), and
    `notes` (number, text) is what to know about lines that were converted; number 0 is the table.
    """

    kinds: "List[str]" = []
    entries: "List[CrontabEntry]" = []
    left_out: "List[Tuple[int, str, str]]" = []
    notes: "List[Tuple[int, str]]" = []
    has_users: bool = False


# The kinds of lines, and the words for one and for several. Entries are tasks or left out.
KINDS = (("task", "task", "tasks"), ("left out", "left out", "left out"),
         ("variable", "variable", "variables"), ("comment", "comment", "comments"),
         ("blank", "blank", "blank"), ("header", "header line", "header lines"),
         ("own", "of the conductor", "of the conductor"))

# -- lines

TIMES = r"(?:@\S+|\S+(?:[ \t]+\S+){4})"
ENTRY = r"[ \t]*(-?)(%s)[ \t]+(\S.*)" % TIMES
VARIABLE = r"""[ \t]*("[^"]*"|'[^']*'|[^\s=#"']+)[ \t]*=[ \t]*(.*)\Z"""
# As Kubernetes, robfig/cron and supercronic have it: the zone in front of the fields.
WITH_ZONE = r"[ \t]*(?:CRON_TZ|TZ)=(\S+)[ \t]+(%s[ \t]+\S.*)" % TIMES
OWN_BLOCK = r"(?ms)^%s([^\n]*)$.*?^%s\1$" % (sc.BLOCK_BEGIN, sc.BLOCK_END)

# Comments that describe no entry.
NO_DESCRIPTION = "|".join((
    r"@\w+[ \t]+\S",                                     # an entry that is switched off
    r"(?:[\d*][\d*,/-]*[ \t]+){2}\S",
    r"[A-Za-z_]\w*=",                                    # a variable that is
    r"(?:m|min\w*)\W+(?:h|hours?)\b",                    # headings of the columns
    r"(?:min\w*|hours?|dom|mon|month|dow|day\w*|[mh])\W+\(?\d+ ?- ?\d",
    r"[|.\u2500-\u257f]",                                # drawings of them
    r"(?:BEGIN|END)\b", r"vim?:", r"-\*-", r"!/"))
RULER = r"[ \t]*#+[ \t]*(?:[=*~+]{2}|[-_]{3}|(?<=#)#{3})"  # of a section, maybe with its title


# What other programs than cron read, and what to write instead; it could be mistaken for an entry.
OTHER_LINES = (
    (r"[ \t]*export[ \t]+(?P<set>\w+=)",
     "cron does not know 'export'; write %(set)s..."),
    (r"[ \t]*&[ \t]+(?P<line>%s[ \t]+\S.*)" % TIMES,
     "fcron syntax; for cron, write '%(line)s'"),
    (r"[ \t]*&\S+[ \t]+(?P<line>%s[ \t]+\S.*)" % TIMES,
     "fcron syntax; for cron, write '%(line)s'"),
    (r"[ \t]*%\w+", "fcron: once in a period; choose a time, such as '0 3 * * *'"),
    (r"[ \t]*![a-z]\w*", "an fcron option"),
    (r"[ \t]*@(?:\S*\(\S*)?[ \t]+\d+\w*[ \t]",
     "fcron: an interval since the last run; choose times, such as '*/30 * * * *'"),
    (r"[ \t]*@noauto\b", "dcron: never started by itself; use \"schedule\": null for a task "
                         "that runs by hand"),
    (r"[ \t]*%s[ \t]+(?=(?:[A-Z]+=\S+[ \t]+)*ID=)(?:[A-Z]+=\S+[ \t]+)*(?:FREQ|AFTER|WAIT)=" % TIMES,
     "FREQ, AFTER and WAIT are dcron's; use dependencies instead of AFTER and WAIT"),
)
NO_ENTRY = "neither a variable nor a schedule with a command"

# Variables that mean something to cron, or that it does not take from a table, and why they are
# no part of a task.
_OF_MAIL = "it only affects mail, and the conductor does not mail output"
_SET_BY_CRON = "cron sets it itself and ignores the crontab's value"
CRON_VARIABLES = {
    "MAILTO": "the conductor does not mail output; to have failures mailed, add to \"settings\": "
              '"enable_notifications": true, "notification_email": "me@example.org"',
    "MAILFROM": _OF_MAIL, "CONTENT_TYPE": _OF_MAIL, "CONTENT_TRANSFER_ENCODING": _OF_MAIL,
    "RANDOM_DELAY": "there is no random delay; to spread tasks evenly, use H as the minute",
    "START_HOURS_RANGE": "only anacron uses it; start_deadline limits how late a task may start",
    "LOGNAME": _SET_BY_CRON, "USER": _SET_BY_CRON,
}
# What a command depends on without naming it.
NEEDED_VARIABLES = ("HOME", "PATH", "SHELL")
CRON_PATH = "/usr/bin:/bin"
# What no task gets from the lines above the conductor's: its block sets SHELL.
NOT_INHERITED = frozenset(CRON_VARIABLES) | {"SHELL", "CRON_TZ"}

# -- schedules

NAMES = r"(?:%s)" % "|".join(sc.WEEKDAYS + sc.MONTHS + sc.DAY_NAMES + sc.MONTH_NAMES)
VALUE = r"(?:\d{1,4}|%s)" % NAMES
ITEM = r"(?:[*?]|%s(?:[-~]%s)?|\d{0,2}L|L-\d{1,2}|\d{1,2}W|LW|\d#\d)(?:/\d+)?" % (VALUE, VALUE)
FIELD = r"(?i)%s(?:,%s)*\Z" % (ITEM, ITEM)
ANY = ("*", "?")
YEAR = r"(?:[*?](?:/\d+)?|(?:19|20)\d\d(?:[-,/]\d+)*)\Z"

NICKNAMES = {
    "@every_minute": "* * * * *", "@minutely": "* * * * *", "@quarterly": "0 0 1 1,4,7,10 *",
    "@semi-annually": "0 0 1 1,7 *", "@semiannually": "0 0 1 1,7 *",
    "@bi-annually": "0 0 1 1,7 *", "@biannually": "0 0 1 1,7 *",
}
EVERY = r"((?:\d+(?:\.\d+)?[dhms])+)[ \t]+(\S.*)"
UNITS = {"d": sc.DAY, "h": sc.HOUR, "m": sc.MINUTE, "s": 1}
# What OpenBSD and FreeBSD take in front of a command, and what a task does.
FLAGS = {
    "n": "-n (no mail after a success) dropped: output is not mailed",
    "q": "-q (no syslog entry) dropped: every run is logged",
    "s": "-s (single instance) dropped: runs of a task never overlap",
}
FLAG_WORDS = r"((?:-[nqs]+[ \t]+)+)(\S.*)"
ANACRON = (r"[ \t]*(?P<period>\d+|@\w+)[ \t]+(?P<delay>\d+)[ \t]+(?P<job>[A-Za-z_][\w.-]*)[ \t]+"
           r"(?P<command>\S.*)")
ANACRON_DAYS = {"1": "* * *", "@daily": "* * *", "7": "* * 0", "@weekly": "* * 0",
                "30": "1 * *", "31": "1 * *", "@monthly": "1 * *", "@yearly": "1 1 *",
                "@annually": "1 1 *"}


def is_schedule(text: str) -> bool:
    """Whether these are five fields with slots."""
    try:
        sc.CronSchedule(text)
    except sc.CronSyntaxError:
        return False
    return True


def schedule_of_interval(seconds: float) -> str:
    """The five fields that come in this interval all day long; '' when none do."""
    minutes, rest = divmod(seconds, sc.MINUTE)
    if rest or not minutes:
        return ""
    hours, rest = divmod(minutes, 60)
    if minutes == 1:
        return "* * * * *"
    if minutes < 60 and 60 % minutes == 0:
        return "*/%d * * * *" % minutes
    if rest or not hours or 24 % hours:
        return ""
    if hours == 1:
        return "0 * * * *"
    if hours == 24:
        return "0 0 * * *"
    return "0 */%d * * *" % hours


def spread_field(text: str, field: sc.CronField) -> str:
    """A field with the H that stands for a random value, which cronie and OpenBSD write with ~."""
    items = []
    for item in text.split(","):
        match = re.match(r"(\w*)~(\w*)((?:/\d+)?)\Z", item)
        if match is None:
            items.append(item)
            continue
        low, high, step = match.groups()
        if low or high:
            top = 6 if field.name == "day-of-week" else field.high
            items.append("H(%s-%s)%s" % (low or field.low, high or top, step))
        else:
            items.append("H" + step)
    return ",".join(items)


def _has_a_field(schedule: str) -> bool:
    """Whether this may be a schedule at all, and no line of prose."""
    return schedule.startswith("@") or any(re.match(FIELD, word) for word in schedule.split())


def looks_like_field(word: str, machine: Machine) -> bool:
    """Whether a word behind five fields is a sixth one, and no program."""
    if re.match(r"[*?](?:/\d+)?\Z", word):
        return True
    return re.match(FIELD, word) is not None and not machine.is_program(word)


def why_too_many_fields(fields: "List[str]", command: str) -> str:
    """What is wrong with a line of six or seven fields, with the line to write where there is one.

    Six are read in two ways: Quartz, Spring and robfig put seconds first, supercronic a year last.
    """
    if not command:
        return "%d fields where cron has 5, and no command" % len(fields)
    years = fields[6:] or ["*"]
    readings = [("if seconds come first (Quartz, Spring)", fields[0], fields[1:6], years[0])]
    if len(fields) == 6 and re.match(YEAR, fields[5]):
        readings.append(("if the year comes last (supercronic)", "0", fields[:5], fields[5]))
    offers = []
    for reading, second, five, year in readings:
        schedule = " ".join(field.replace("?", "*") for field in five)
        if not is_schedule(schedule):
            continue
        if not re.match(r"0+\Z", second):
            offer = "there is no equivalent: schedules have no seconds"
        elif year not in ANY:
            offer = "there is no equivalent: schedules have no year (%s)" % year
        else:
            offer = "write '%s %s'" % (schedule, command)
            if len(fields) == 7 or "?" in fields:
                offer += _quartz_days(five[4])
        offers.append("%s, %s" % (reading, offer))
    return "; ".join(["%d fields where cron has 5" % len(fields)] + offers)


def _quartz_days(day_of_week: str) -> str:
    if re.search(r"(?<![#/\d])[1-7](?!\d)", day_of_week):
        return " (Sunday is 1 in Quartz and 0 in cron)"
    return ""


# -- the table

def read_table(text: str, machine: Machine, has_users: "bool | None" = False) -> Table:
    """What each line of a table is.

    `has_users`: it is a system table, whose lines name a user before the command; None lets its
    commands tell.
    """
    reader = _Reader(text, machine, bool(has_users))
    if has_users is None and names_users(text, machine):
        reader.has_users = True
        reader.note("every command starts with a user name, so this is read as a system table "
                    "(--no-system: as a personal one)", 0)
    return reader.read()


def names_users(text: str, machine: Machine) -> bool:
    """Whether a table is a system table by its commands: they begin with users, not programs."""
    words = _first_words(text, machine)
    users = [word for word in words if _is_only_a_user(word, machine)]
    others = [word for word in words if word not in users]
    return bool(users) and all(_may_be_a_user(word, machine) for word in others)


def _first_words(text: str, machine: Machine) -> "List[str]":
    """The first word behind the schedule of each entry; '' when no command would follow a user."""
    words = []
    for line in sc.crontab_lines(_without_own_blocks(text)):
        line = line.rstrip("\r\n")
        entry = re.match(ENTRY, line)
        if entry and not line.lstrip().startswith("#") and not re.match(VARIABLE, line):
            rest = entry.group(3).split()
            while len(rest) > 1 and looks_like_field(rest[0], machine):
                del rest[0]
            if len(rest) < 2:
                words.append("")
            elif not rest[1].startswith("-"):  # that may be a program that is not installed
                words.append(rest[0])
    return words


def _is_only_a_user(word: str, machine: Machine) -> bool:
    # FreeBSD takes a group and a login class as well: root:wheel, root/daemon.
    name = re.split("[:/]", word)[0]
    return name in machine.accounts and not machine.is_program(word)


def _may_be_a_user(word: str, machine: Machine) -> bool:
    """Whether a word is the name of a user, here or on the machine that a table came from."""
    if word in machine.accounts:
        return True
    return re.match(r"[a-z_][a-z0-9_-]*\Z", word) is not None and not machine.is_program(word)


def _without_own_blocks(text: str) -> str:
    """The table with its own blocks emptied; the numbers of the other lines stay."""
    return re.sub(OWN_BLOCK, lambda block: "\n" * block.group().count("\n"), text)


def _own_lines(text: str) -> "FrozenSet[int]":
    """The numbers of the lines within blocks of the conductor."""
    numbers: "List[int]" = []
    for block in re.finditer(OWN_BLOCK, text):
        first = text.count("\n", 0, block.start()) + 1
        numbers += range(first, first + block.group().count("\n") + 1)
    return frozenset(numbers)


def as_latin_1(text: str) -> str:
    """Text whose bytes were not UTF-8, read as Latin-1, in which every byte is a letter."""
    if not re.search("[\ud800-\udfff]", text):
        return text
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def expanded_value(value: str, variables: "Dict[str, str]", machine: Machine) -> str:
    """The value of a variable as a shell would expand it; '' when that cannot be told."""
    values = {"HOME": machine.home, "USER": machine.user, "LOGNAME": machine.user,
              "PATH": CRON_PATH, "SHELL": "/bin/sh"}
    values.update(variables)
    reference = r"\$(?:\{(\w+)\}|(\w+))"
    names = [braced or plain for braced, plain in re.findall(reference, value)]
    if "`" in value or "$(" in value or not set(names) <= set(values):
        return ""
    text = re.sub(reference, lambda match: values[match.group(1) or match.group(2)], value)
    return re.sub(r"(^|:)~(?=/|:|\Z)", lambda match: match.group(1) + values["HOME"], text)


class _Reader:
    """Goes through a table line by line. Each line gets one kind, and a reason if it is left out.

    Handlers are tried in their order, and return the kind, or '' for a line that is not theirs.
    """

    def __init__(self, text: str, machine: Machine, has_users: bool) -> None:
        self.machine = machine
        self.has_users = has_users
        self.kinds: "List[str]" = []
        self.entries: "List[CrontabEntry]" = []
        self.left_out: "List[Tuple[int, str, str]]" = []
        self.notes: "List[Tuple[int, str]]" = []
        if text.startswith("\ufeff"):
            text = text[1:]
            self.note("byte order mark ignored; cron reads it as part of the line", 1)
        self.own = _own_lines(text)
        lines = [line.rstrip("\n") for line in sc.crontab_lines(text)]
        if any(line.strip() and line.endswith("\r") and number not in self.own
               for number, line in enumerate(lines, 1)):
            self.note("DOS line endings ignored; cron reads the carriage return as part of each "
                      "command and value", 0)
        self.lines = [line.rstrip("\r") for line in lines]
        self.number = 0
        self.continued: "Dict[int, int]" = {}  # line -> the one that it continues
        self.comment: "List[str]" = []
        self.variables: "Dict[str, str]" = {}
        self.unreadable: "Dict[str, str]" = {}  # variable -> why its value is no text

    def note(self, text: str, number: int) -> None:
        self.notes.append((number, text))

    def leave_out(self, line: str, reason: str) -> str:
        self.left_out.append((self.number, line, reason))
        self.comment = []
        return "left out"

    def read(self) -> Table:
        handlers = (self._own, self._continuation, self._header, self._blank, self._comment,
                    self._entry_with_zone, self._variable, self._other_program, self._anacron,
                    self._entry, self._unknown)
        for number, line in enumerate(self.lines, 1):
            self.number = number
            self.kinds.append(next(filter(None, (handler(line) for handler in handlers))))
        entries = [entry.replace(set_below=tuple(sorted(set(self.variables)
                                                        - set(entry.variables))))
                   for entry in self.entries]
        return Table(kinds=self.kinds, entries=entries, left_out=self.left_out,
                     notes=self.notes, has_users=self.has_users)

    # -- what runs nothing

    def _own(self, line: str) -> str:
        if self.number not in self.own:
            return ""
        self.comment = []
        return "own"

    def _continuation(self, line: str) -> str:
        if self.number not in self.continued:
            return ""
        return self.leave_out(line, "continues line %d" % self.continued[self.number])

    def _header(self, line: str) -> str:
        is_on_top = self.kinds == ["header"] * len(self.kinds)
        return "header" if is_on_top and re.match(sc.TABLE_HEADER, line + "\n") else ""

    def _blank(self, line: str) -> str:
        if line.strip():
            return ""
        self.comment = []
        return "blank"

    def _comment(self, line: str) -> str:
        if not line.lstrip().startswith("#"):
            return ""
        words = as_latin_1(line).replace("\0", "").lstrip("# \t").rstrip()
        is_description = words and not re.match(NO_DESCRIPTION, words, re.I)
        if is_description and not re.match(RULER, line) and not sc.marked_roots(line):
            self.comment = self.comment + [words]
        else:
            self.comment = []
        return "comment"

    def _variable(self, line: str) -> str:
        match = re.match(VARIABLE, line)
        if match is None:
            return ""
        name, value = match.group(1).strip("\"'"), variable_value(match.group(2).rstrip(" \t\r"))
        if not sc.is_text(value):
            self.unreadable[name] = _flaw_of(value)
            return self.leave_out(line, "the value %s; lines that use %s are left out as well"
                                  % (_flaw_of(value), as_latin_1(name)))
        if not re.match(r"[A-Za-z_]\w*\Z", name, re.A):
            return self.leave_out(line, "variables of tasks have only letters, digits and _ in "
                                        "their names")
        self.unreadable.pop(name, None)
        if sc.unexpanded(value):
            text = "%s='%s' is not expanded, neither by cron nor in a task" % (name, value)
            expanded = expanded_value(value, self.variables, self.machine)
            if expanded:
                text += "; expanded, it is '%s'" % expanded
            self.note(text, self.number)
        self.variables = dict(self.variables, **{name: value})  # the entries above keep theirs
        if name == "CRON_TZ" and value:
            self.note("used as the timezone of the tasks below, as cronie does; Debian's cron and "
                      "busybox ignore it", self.number)
        if value and name in CRON_VARIABLES:
            return self.leave_out(line, CRON_VARIABLES[name])
        return "variable"

    # -- what runs a command

    def _other_program(self, line: str) -> str:
        for pattern, reason in OTHER_LINES:
            match = re.match(pattern, line)
            if match:
                return self.leave_out(line, reason % match.groupdict())
        return ""

    def _unknown(self, line: str) -> str:
        return self.leave_out(line, NO_ENTRY)

    def _anacron(self, line: str) -> str:
        match = re.match(ANACRON, line)
        if match is None or looks_like_field(match.group("job"), self.machine):
            return ""
        period, command = match.group("period"), match.group("command")
        if period.startswith("@") and period not in ANACRON_DAYS:
            return ""
        hours, minute = divmod(int(match.group("delay")[:4]), 60)
        start = re.match(r"\d+", self.variables.get("START_HOURS_RANGE", ""))
        hour = (hours + int(start.group() if start else 0)) % 24
        if period not in ANACRON_DAYS:
            return self.leave_out(line, "anacron runs it every %s days; no schedule has that "
                                        "interval" % period)
        schedule = "%d %d %s" % (minute, hour, ANACRON_DAYS[period])
        return self.leave_out(line, "anacron runs it; as a task it would be '%s %s' (tasks make up "
                                    "missed runs as well)" % (schedule, command))

    def _entry_with_zone(self, line: str) -> str:
        match = re.match(WITH_ZONE, line)
        if match is None:
            return ""
        self.note("the prefix becomes the task's timezone, as in supercronic; cron reads the "
                  "whole line as a variable", self.number)
        return self._entry(line, match.group(2), match.group(1).strip("\"'"))

    def _entry(self, line: str, text: str = "", zone: str = "") -> str:
        match = re.match(ENTRY, text or line)
        if match is None or not _has_a_field(match.group(2)):
            return ""
        dash, schedule, command = match.groups()
        comment, self.comment = " ".join(self.comment), []
        is_random = "~" in schedule
        schedule, command, reason = self._schedule_of(" ".join(schedule.split()), command)
        user = ""
        if not reason:
            user, command, reason = self._user_of(command)
        reason = reason or self._why_unusable(line, command)
        if reason:
            return self.leave_out(line, reason)
        if dash:
            self.note("'-' (no syslog entry) dropped: every run is logged", self.number)
        self.entries.append(CrontabEntry(
            number=self.number, line=line, schedule=schedule, user=user, comment=comment,
            command=self._without_flags(command), zone=zone, variables=self.variables,
            is_random=is_random))
        return "task"

    def _user_of(self, command: str) -> "Tuple[str, str, str]":
        """The user of a line, the command behind it, and what is wrong with them."""
        word, rest = re.match(r"(\S+)[ \t]*(.*)", command).groups()  # type: ignore[union-attr]
        if self.has_users:
            return word, rest, "" if rest else NO_ENTRY
        if rest and not rest.startswith("-") and _is_only_a_user(word, self.machine):
            return "", command, ("'%s' is a user on this machine, not a program; only system "
                                 "tables name one (for a file: --system)" % word)
        return "", command, ""

    def _without_flags(self, command: str) -> str:
        """The command less the flags that OpenBSD and FreeBSD take in front of it."""
        flags = re.match(FLAG_WORDS, command)
        if flags:
            for flag in sorted(set(flags.group(1)) & set(FLAGS)):
                self.note(FLAGS[flag], self.number)
            command = flags.group(2)
        if re.match(r"(?:[A-Z_]+=\S*[ \t]+)*CRON_TZ=", command):
            self.note("CRON_TZ inside a command does not change its schedule; set timezone",
                      self.number)
        return command

    def _schedule_of(self, schedule: str, command: str) -> "Tuple[str, str, str]":
        """The schedule in the conductor's words, the command behind it, and why it has none."""
        if schedule.startswith("@"):
            return self._interval_of(schedule.lower(), command)
        words = command.split()
        extra: "List[str]" = []
        while len(extra) < min(2, len(words)) and looks_like_field(words[len(extra)], self.machine):
            extra.append(words[len(extra)])
        if extra and all(re.match(FIELD, field) for field in schedule.split()):
            rest = re.sub(r"\A(?:\S+[ \t]*){%d}" % len(extra), "", command)
            return "", "", why_too_many_fields(schedule.split() + extra, rest)
        fields = [spread_field(text, field) for text, field in zip(schedule.split(), sc.FIELDS)]
        return " ".join(fields), command, ""

    def _interval_of(self, nickname: str, command: str) -> "Tuple[str, str, str]":
        """The same for what begins with @."""
        if nickname in NICKNAMES:
            return NICKNAMES[nickname], command, ""
        length = nickname[1:]
        seconds = float(length) if re.match(r"\d{1,8}\Z", length) else None
        every = re.match(EVERY, command)
        if nickname == "@every" and every:
            length, command = every.groups()
            nickname = "@every " + length
            seconds = sum(float(number) * UNITS[unit]
                          for number, unit in re.findall(r"([\d.]+)([dhms])", length))
        if seconds is None:
            return nickname, command, ""
        schedule = schedule_of_interval(seconds)
        if not schedule:
            return "", "", ("%s has no equivalent: schedules repeat in minutes that divide the "
                            "hour, or in hours that divide the day" % nickname)
        self.note("%s becomes '%s': by the clock, not from the last run" % (nickname, schedule),
                  self.number)
        return schedule, command, ""

    def _why_unusable(self, line: str, command: str) -> str:
        """Why a command cannot be carried over as it stands; '' if it can."""
        numbers = self._lines_behind_backslash(line)
        if numbers:
            self.continued.update(dict.fromkeys(numbers, self.number))
            parts = [line] + [self.lines[number - 1] for number in numbers]
            whole = " ".join(part.rstrip("\\").strip() for part in parts)
            return ("cron does not join lines (fcron and micron do), so the command ends at the "
                    "backslash; write one line: %s" % whole)
        if not sc.is_text(command):
            return ("the command %s, which a configuration cannot hold; put it into a script and "
                    "run that" % _flaw_of(command))
        for name, flaw in self.unreadable.items():
            if name in NEEDED_VARIABLES or re.search(r"\$\{?%s\b" % re.escape(name), command):
                return "it uses %s, whose value %s" % (as_latin_1(name), flaw)
        return ""

    def _lines_behind_backslash(self, line: str) -> "List[int]":
        """The numbers of the lines that were meant to continue this one."""
        numbers: "List[int]" = []
        while re.search(r"(?<!\\)(?:\\\\)*\\\Z", line):
            number = self.number + len(numbers) + 1
            if number > len(self.lines) or number in self.own:
                break
            line = self.lines[number - 1]
            is_indented = line[:1] in (" ", "\t")
            stands_alone = (line.startswith("#") or re.match(VARIABLE, line)
                            or re.match(ENTRY, line) and self._is_scheduled(line))
            if not line.strip() or stands_alone and not is_indented:
                break
            numbers.append(number)
        return numbers

    def _is_scheduled(self, line: str) -> bool:
        match = re.match(ENTRY, line)
        return match is not None and is_schedule(match.group(2))


def _flaw_of(text: str) -> str:
    return "has a NUL byte" if "\0" in text else "is not UTF-8"


def variable_value(text: str) -> str:
    """The value of a variable, without the quotes around it."""
    quoted = re.match(r"""(["'])(.*)\1\Z""", text)
    if quoted:
        text = quoted.group(2)
    return text.rstrip(" \t")  # Debian's cron drops blanks at the end even within quotes
