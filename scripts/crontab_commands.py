"""The command of a crontab line as a task has it: for the shell, and the name of the task."""

import re
import shlex
from typing import Iterable, List, Tuple

# -- what the shell is given

_QUOTED = r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\""""
# What shows that a % stands for itself: formats of date and others, and escapes in an address.
_LITERAL_PERCENT = (
    r"[+=]['\"]?%[A-Za-z]", r"%-?[A-Za-z][-_:./T]?%-?[A-Za-z]\b", r"-c[ \t]+['\"]?%[A-Za-z]",
    r"://[^\s%]*%[0-9A-Fa-f]{2}")


def split_at_percent(command: str) -> "Tuple[str, str]":
    """The command that cron runs, and what it feeds it: the part behind the first unescaped %."""
    match = re.match(r"((?:\\.|[^%\\])*\\?)(%?)(.*)", command)
    assert match  # it fits any text of one line
    return match.group(1), match.group(3)


def is_complete(command: str) -> bool:
    """Whether a shell command ends outside of quotes, backquotes and parentheses."""
    rest = re.sub(_QUOTED, "", command)
    if re.search(r"['\"]", rest) or rest.count("`") % 2:
        return False
    # Only what opens counts: the ')' of a case pattern has no partner.
    return rest.count("(") <= rest.count(")")


def _may_be_enclosed(command: str) -> bool:
    """Whether lines around a command leave it as it is: nothing in it reaches beyond its end."""
    rest = re.sub(_QUOTED, "", command)
    return is_complete(command) and "<<" not in rest and not rest.endswith("\\")


def escaped_command(command: str) -> str:
    """The command with its % escaped, when an unescaped one shows that it never worked; else ''."""
    words, fed = split_at_percent(command)
    if not fed:
        return ""
    is_literal = any(re.search(pattern, command) for pattern in _LITERAL_PERCENT)
    if is_complete(words) and not is_literal:
        return ""
    return re.sub(r"(\\.)|%", lambda match: match.group(1) or "\\%", command)


def shell_command(command: str, shell: str) -> "str | List[str]":
    """The command of a crontab line as a task has it.

    An unescaped % ends the command, and what follows is its standard input, where further ones are
    line breaks; in the command, a backslash before a % or a backslash goes (Debian crontab(5), and
    what its cron does).
    """
    words, fed = split_at_percent(command)
    words = re.sub(r"\\([%\\])", r"\1", words)
    bare = words.rstrip(" \t")
    if not bare.endswith("\\"):
        words = bare
    fed = re.sub(r"\\%|%", lambda mark: "\n" if mark.group() == "%" else "%", fed)
    is_default_shell = shell == "/bin/sh"
    if not fed:
        return words if is_default_shell else [shell, "-c", words]
    if fed.endswith("\n"):
        fed = fed[:-1]  # cron ends the last line only where the table did not
    end = "END_OF_INPUT"
    while end in fed.split("\n"):
        end += "_"
    reader = "exec %s -c %s" % (shlex.quote(shell), shlex.quote(words))
    if is_default_shell and _may_be_enclosed(words):
        reader = "{\n%s\n}" % words
    return "%s <<'%s'\n%s\n%s" % (reader, end, fed, end)


# -- the name of the task

_TOKEN = re.compile(r"""
    (?P<operator> && | \|\|? | ;;? | &(?!>) | \((?!\() | [(){}](?=\s|\)|\Z) )
    | (?P<redirection> \d* (?: &>>? | [<>][<>&|]* ) \s* [^\s;&|()]* )
    | (?P<word> (?: \$\(\( [^)]* \)\) | \$\( (?: [^()] | \([^()]*\) )* \) | \$\{[^}]*\} | `[^`]*`
                  | \\. | '[^']*' | "(?: \\. | [^"\\] )*" | [^\s;&|()<>] )+ )
    | (?P<other> \S )""", re.VERBOSE)

# Commands that prepare for the one a line is about, or only guard it.
_PREPARING = frozenset((
    "cd pushd popd test [ [[ export . source set unset umask ulimit : sleep mkdir exit true false "
    "return wait trap logger").split())
# They write what the next command of the pipe is about.
_FEEDING = frozenset(("echo", "printf", "cat", "yes"))
_KEYWORDS = frozenset("if then elif else fi while until do done esac ! { } time".split())
_HEADS = frozenset(("for", "select", "case"))  # what they go through names no program
# Commands that run another one.
_WRAPPING = frozenset((
    "sudo doas su runuser gosu nice ionice chrt env nohup exec command timeout flock setsid "
    "chronic cronic systemd-cat run-one run-parts stdbuf torsocks proxychains xvfb-run bundle sh "
    "bash dash ash ksh zsh perl ruby php node java Rscript").split())
_INTERPRETER = r"(python|pypy|perl|ruby|php|node|lua)[0-9.]*\Z"
# Their options in front of code, in which no file is named.
_CODE_OPTIONS = {"python": ("-c",), "pypy": ("-c",), "perl": ("-e", "-E", "-ne", "-pe"),
                 "ruby": ("-e",), "php": ("-r",), "node": ("-e", "-p"), "lua": ("-e",)}
_SHELLS = frozenset("sh bash dash ash ksh zsh su runuser flock".split())
_NESTING = 4  # of commands within commands that are looked into
# Words that name no program: options, assignments, numbers and durations.
_NO_NAME = r"-|[A-Za-z_]\w*\+?=|[0-9.]+[smhd]?\Z|\Z"
# Options of wrappers whose next word is a user, a group or a shell.
_WITH_USER = {"sudo": ("-u", "-g", "-iu", "-Hu", "-nu"), "doas": ("-u",),
              "runuser": ("-u", "-g", "-s"), "su": ("-s", "-g", "-G"), "nice": ("-n",)}
_SUFFIX = r"\.(sh|py|pl|rb|php|js|bash|cgi|jar|R)\Z"


def task_name_for(command: str, taken: "Iterable[str]") -> str:
    """A name for a task: that of the program, or of the script that an interpreter runs."""
    command = escaped_command(command) or command
    words = split_at_percent(command)[0]  # the rest is its standard input
    base = re.sub(_SUFFIX, "", _program_of(re.sub(r"\\%", "%", words)))
    base = re.sub(r"[^A-Za-z0-9_.-]+", "_", base).strip("_.-")[:60] or "task"
    name, number = base, 1
    while name in taken:
        number += 1
        name = "%s-%d" % (base, number)
    return name


def _simple_commands(command: str) -> "Iterable[Tuple[List[str], str]]":
    """The words of each simple command, and the operator behind it."""
    words: "List[str]" = []
    for token in _TOKEN.finditer(command):
        if token.lastgroup == "operator":
            yield words, token.group()
            words = []
        elif token.lastgroup == "word":
            words.append(token.group())
    yield words, ""


def _program_of(command: str, depth: int = 0) -> str:
    """The file name of the program that a shell command is about; '' when there is none."""
    fallback = ""
    for words, operator in _simple_commands(command):
        while words and words[0] in _KEYWORDS:
            words = words[1:]
        if words and words[0] in _HEADS:
            continue
        name = _program_among(words, depth)
        first = words[0].rpartition("/")[2] if words else ""
        is_lookup = first == "command" and "-v" in words or first in ("which", "type", "hash")
        is_aside = first in _PREPARING or is_lookup or not name
        if not is_aside and not (first in _FEEDING and operator == "|"):
            return name
        fallback = fallback or name
    return fallback


def _unquoted(word: str) -> str:
    if word[:1] in ("'", '"') and word[-1:] == word[:1]:
        return word[1:-1]
    return word.strip("\"'`")


def _takes_code(wrapper: str, option: str) -> bool:
    """Whether the word behind this option of an interpreter is code."""
    match = re.match(_INTERPRETER, wrapper)
    return match is not None and option in _CODE_OPTIONS[match.group(1)]


def _program_among(words: "List[str]", depth: int) -> str:
    """The program among the words of one simple command, behind those that only run it."""
    before = wrapper = ""
    for position, word in enumerate(words):
        text = _unquoted(word)
        name = text.rstrip("/").rpartition("/")[2].strip("{}$()`")
        if wrapper in _SHELLS and re.match(r"-\w*c\Z", before) and depth < _NESTING:
            return _program_of(text, depth + 1)
        if _takes_code(wrapper, before):
            return wrapper
        if before in _WITH_USER.get(wrapper, ()):
            if wrapper == "runuser" and before == "-u":
                wrapper = "env"  # what follows is the command, and not the user
        elif re.match(_NO_NAME, text) or wrapper in ("su", "runuser"):
            pass
        elif wrapper in ("flock", "gosu"):  # this word is the file that is locked, or the user
            wrapper = "env"
            if "-c" in words[position:]:
                wrapper = "sh"
        elif name in _WRAPPING or re.match(_INTERPRETER, name):
            wrapper = name
        else:
            return name
        before = word
    return wrapper
