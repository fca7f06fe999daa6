#!/usr/bin/env python3
"""Print a script that completes commands, options and task names in bash, zsh or fish.

Example: symphony_conductor.py completion bash

To install it in bash, zsh and fish:

  symphony_conductor.py completion bash > ~/.symphony_completion.bash
  echo '. ~/.symphony_completion.bash' >> ~/.bashrc

  symphony_conductor.py completion zsh > ~/.zfunc/_symphony_conductor
  and in ~/.zshrc, before compinit: fpath+=~/.zfunc

  symphony_conductor.py completion fish > ~/.config/fish/conf.d/symphony_conductor.fish
"""

# Completing a task runs this file, so what only the making of a script needs is imported there.
import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any, Dict, List, NoReturn, Sequence, Tuple

TOOL = sc.PROGRAM


# -- the names of tasks and tags, which a shell asks for at each completion

def _plain(word: str) -> str:
    """A word of a command line as the shell would hand it on, as far as that runs nothing.

    bash and zsh leave its quotes in place; fish has taken them away.
    """
    if set(word) & set("\\'\""):
        import shlex
        try:
            word = "".join(shlex.split(word))
        except ValueError:
            pass  # a quote that is still open
    return os.path.expanduser(os.path.expandvars(word))


def _program_path(program: str) -> str:
    """The file that a shell runs for this first word."""
    if "/" in program:
        return program
    for folder in os.environ.get("PATH", "").split(":"):
        path = os.path.join(folder, program)
        if os.access(path, os.X_OK):
            return path
    return os.path.abspath(sc.__file__)


def root_and_config(words: "Sequence[str]") -> "Tuple[str, str]":
    """What a command line says of both, by the same rules as the command itself.

    bash splits --root=DIR into three words.
    """
    given = {"--root": "", "--config": ""}
    rest = [word for word in words[1:] if word != "="]
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name in given:
            if not equals and rest:
                value = rest.pop(0)
            given[name] = _plain(value)
    folder = os.path.dirname(os.path.abspath(_program_path(_plain(words[0]))))
    root = given["--root"] or os.environ.get("SYMPHONY_ROOT") or folder
    return root, given["--config"] and os.path.abspath(given["--config"])


def names_in(root: str, config: str, kind: str) -> "Dict[str, str]":
    """The names of all tasks with their descriptions, or all tags; what is invalid is left out.

    The files are only parsed, not checked: that would take longer than a person waits.
    """
    reader = sc.Reader(root, config)
    names: "Dict[str, str]" = {}
    for path in reader.config_files():
        try:
            text = sc.read_bytes(path, follow=True).decode("utf-8-sig")
            document = sc.parse_document(text, path)
        except (OSError, ValueError, sc.ConductorError):
            continue
        for fields in _objects_of(document):
            if kind == "task":
                pairs = [(fields.get("name"), fields.get("description"))]
            else:
                tags = fields.get("tags")
                pairs = [(tag, "") for tag in (tags if isinstance(tags, list) else [tags])]
            for name, description in pairs:
                # A name is put on a command line: nothing but what a name may hold.
                if isinstance(name, str) and sc.is_name(name):
                    names[name] = sc.plain_line(str(description or ""), 60)
    return names


def _objects_of(document: "Any") -> "List[Dict[str, Any]]":
    """The tasks of a file and, for their tags, the defaults of all tasks."""
    objects = document if isinstance(document, list) else [document]
    if isinstance(document, dict) and ("tasks" in document or "settings" in document):
        tasks, settings = document.get("tasks"), document.get("settings")
        objects = list(tasks) if isinstance(tasks, list) else []
        if isinstance(settings, dict):
            objects.append(settings.get("defaults"))
    return [fields for fields in objects if isinstance(fields, dict)]


def print_names(kind: str, words: "Sequence[str]") -> None:
    """Print a line for each name, with a tab and the description. Never fails."""
    try:
        names = names_in(*root_and_config(words), kind=kind)
        text = "".join("%s\t%s\n" % (name, names[name]) for name in sorted(names))
        sc.write_all(1, text.encode("utf-8", "replace"))
    except Exception:  # a person is typing: there is nothing to complete
        pass


# -- the parsers of all commands

class Command(sc.Value):
    """A command for a shell: its text, its group in help, and what it takes."""

    name: str
    text: str
    group: str
    example: str = ""
    options: "List[argparse.Action]" = []
    arguments: "List[argparse.Action]" = []
    rivals: "List[List[argparse.Action]]" = []  # of each list only one may be given
    is_task_needed: bool = False


class _Stop(BaseException):
    """Carries the parser of a command out of it, past all that handles exceptions."""

    def __init__(self, parser: "Any") -> None:
        super().__init__()
        self.parser = parser


class recording:
    """While it is entered, each parser has what it takes in `taken`, and in `rivals` the lists of
    which one may be given. Parsing stops the command.
    """

    def __enter__(self) -> None:
        import argparse
        parser_class: "Any" = argparse.ArgumentParser
        names = ("__init__", "add_argument", "add_mutually_exclusive_group", "parse_known_args")
        self.parser_class = parser_class
        self.originals = {name: getattr(parser_class, name) for name in names}
        originals = self.originals

        def init(parser: "Any", *given: "Any", **how: "Any") -> None:
            parser.taken, parser.rivals = [], []
            originals["__init__"](parser, *given, **how)

        def add_argument(parser: "Any", *given: "Any", **how: "Any") -> "argparse.Action":
            action: "argparse.Action" = originals["add_argument"](parser, *given, **how)
            parser.taken.append(action)
            return action

        def add_group(parser: "Any", **how: "Any") -> "Any":
            group = originals["add_mutually_exclusive_group"](parser, **how)
            add = group.add_argument
            rivals: "List[argparse.Action]" = []
            parser.rivals.append(rivals)

            def add_rival(*given: "Any", **how: "Any") -> "argparse.Action":
                action: "argparse.Action" = add(*given, **how)
                parser.taken.append(action)
                rivals.append(action)
                return action

            group.add_argument = add_rival
            return group

        def stop(parser: "Any", *_: "Any", **__: "Any") -> "NoReturn":
            raise _Stop(parser)

        for name, function in zip(names, (init, add_argument, add_group, stop)):
            setattr(parser_class, name, function)

    def __exit__(self, *_: "Any") -> None:
        for name, function in self.originals.items():
            setattr(self.parser_class, name, function)


def parser_beside(path: str) -> "Any":
    """The parser that a command of this folder makes; the command goes no further than that."""
    import runpy
    search, arguments = list(sys.path), sys.argv
    sys.argv = [path]
    try:
        runpy.run_path(path, run_name="__main__")
    except _Stop as stopped:
        return stopped.parser
    finally:
        sys.path[:], sys.argv = search, arguments
    raise AssertionError("%s parses nothing" % path)


def _parser_of(entry: sc.CommandEntry) -> "Any":
    """The parser of a command of the core, as far as its arguments go."""
    import argparse
    parser: "Any" = argparse.ArgumentParser()
    if entry.task:
        parser.add_argument("task", nargs="?", metavar="TASK", help=entry.task)
        parser.add_argument("--task", metavar="TASK", help=entry.task)
    for item in entry.options:
        group: "Any" = parser
        alternatives = [item]
        if isinstance(item, list):
            group = parser.add_mutually_exclusive_group()
            alternatives = item
        for names, how in alternatives:
            group.add_argument(*names, **how)
    return parser


def _described(command: Command, parser: "Any") -> Command:
    """A command with what its parser takes, in the order of help."""
    import argparse
    # --root goes before a command; whoever types --task has typed it already, but it is a task.
    shown = [action for action in parser.taken if "--root" not in action.option_strings
             and (action.help != argparse.SUPPRESS or "--task" in action.option_strings)]
    return command.replace(
        options=[action for action in shown if action.option_strings],
        arguments=[action for action in shown if not action.option_strings],
        rivals=parser.rivals)


def all_commands() -> "List[Command]":
    """Every command that help lists, those of this folder included, in its order."""
    commands = []
    beside = sc.commands_beside()
    with recording():
        for group, table in sc.COMMAND_GROUPS.items():
            for name, entry in table().items():
                command = Command(name=name, text=entry.text, group=group, example=entry.example,
                                  is_task_needed=entry.needs_task)
                commands.append(_described(command, _parser_of(entry)))
            commands += [_command_beside(name, beside[name], group) for name in beside
                         if sc.BESIDE.get(name) == group and _can_run(name)]
    for name in beside:
        if name not in sc.BESIDE:  # somebody's own: who knows what running it would do
            commands.append(Command(name=name, text=_lower(beside[name]), group="Other"))
    return commands


def _can_run(name: str) -> bool:
    """Whether all that a command of this folder imports is there; without, it is refused."""
    folder, file_name = os.path.split(sc.path_beside(name))
    try:
        return not sc.missing_modules(folder, file_name)
    except OSError:
        return False  # running it reports why it cannot be read


def _command_beside(name: str, text: str, group: str) -> Command:
    parser = parser_beside(sc.path_beside(name))
    first = (parser.epilog or "").partition("\n")[0]
    example = first.partition("Example: %s " % TOOL)[2]
    command = Command(name=name, text=_lower(text), group=group, example=example,
                      is_task_needed=bool(parser.get_default("needs_task")))
    return _described(command, parser)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def root_options() -> "List[argparse.Action]":
    """What goes before a command."""
    import argparse
    try:
        with recording():
            sc.main([])
    except _Stop as stopped:
        return [action for action in stopped.parser.taken if action.help != argparse.SUPPRESS]
    raise AssertionError("nothing was parsed")


# What the value of an option is, by its name or by the name of its value.
KINDS = {"--task": "task", "--name": "task", "--tag": "tag", "--user": "user",
         "TASK": "task", "TAG": "tag", "DIR": "directory", "FILE": "file", "PATH": "file"}


def kind_of(action: "argparse.Action") -> "str | Tuple[str, ...]":
    """What completes the value of an option or an argument: words, a kind, or '' for anything."""
    if action.choices:
        return tuple(str(choice) for choice in action.choices)
    if action.type is sc.status_option:
        return tuple(sc.statuses())
    names = list(action.option_strings) + [str(action.metavar or action.dest.upper())]
    return next((KINDS[name] for name in names if name in KINDS), "")


def takes_value(action: "argparse.Action") -> bool:
    return action.nargs != 0


def short_help(action: "argparse.Action") -> str:
    """The help of an option without its default: for a list beside a command line."""
    import re
    text = (action.help or "").replace("%%", "%").partition("; also as --task")[0]
    return re.sub(r" *\(default:[^()]*(\([^()]*\)[^()]*)*\)\Z", "", text)


# -- bash

BASH = r"""# bash completion of @TOOL@, made by `@TOOL@ completion bash`

_symphony_conductor_takes() {
    # What a command takes: its arguments and options, each "NAME=KIND OF VALUE".
    case $1 in
@TABLE@
    *) takes='--help' ;;
    esac
}

_symphony_conductor_names() {
    local name rest
    while IFS=$'\t' read -r name rest; do
        echo "$name"
    done < <(@NAMES@ "$1" "${COMP_WORDS[@]}" 2> /dev/null)
}

_symphony_conductor_kind() {
    # The kind of value that an option takes; "-" if it takes none.
    local word
    kind=-
    for word in $takes; do
        case $word in "$1="*) kind=${word#*=} ;; esac
    done
}

_symphony_conductor() {
    local IFS=$' \t\n' cur=${COMP_WORDS[COMP_CWORD]} command= kind=- takes= word words= index
    local -i place=0
    COMPREPLY=()
    _symphony_conductor_takes ''
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ $word == = ]]; then
            continue  # bash takes --root=DIR for three words
        elif [[ $kind != - ]]; then
            kind=-
        elif [[ $word == -* ]]; then
            _symphony_conductor_kind "$word"
        elif [[ -n $command ]]; then
            place+=1
        elif [[ $word != help ]]; then
            command=$word
            _symphony_conductor_takes "$command"
        fi
    done
    [[ $cur == = ]] && cur=
    if [[ $kind == - && $cur == -* ]]; then
        for word in $takes; do
            case $word in -*) words+=" ${word%%=*}" ;; esac
        done
    elif [[ $kind == - ]]; then
        kind=
        for word in $takes; do
            case $word in
            -*) ;;
            *) ((place-- == 0)) && kind=${word#*=} ;;
            esac
        done
    fi
    case $kind in
    *'|'*) words=${kind//|/ } ;;
    command) words='@COMMANDS@' ;;
    task | tag) words=$(_symphony_conductor_names "$kind") ;;
    user) COMPREPLY=($(compgen -u -- "$cur")) ;;
    file) compopt -o default 2> /dev/null || COMPREPLY=($(compgen -f -- "$cur")) ;;
    directory) compopt -o dirnames 2> /dev/null || COMPREPLY=($(compgen -d -- "$cur")) ;;
    esac
    [[ -z $words ]] || COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

complete -F _symphony_conductor @TOOL@
"""


def _bash_word(action: "argparse.Action", name: str) -> str:
    if not takes_value(action):
        return name
    kind = kind_of(action)
    # The bar at the end tells a single word from a kind.
    return "%s=%s" % (name, kind if isinstance(kind, str) else "|".join(kind) + "|")


def _bash_words(command: Command) -> str:
    words = [_bash_word(action, action.dest) for action in command.arguments]
    for action in command.options:
        words += [_bash_word(action, name) for name in action.option_strings]
    return " ".join(words)


def bash_script(commands: "Sequence[Command]") -> str:
    table = ["    '') takes='command=command %s' ;;" % _bash_words(
        Command(name="", text="", group="", options=root_options()))]
    table += ["    %s) takes='%s' ;;" % (command.name, _bash_words(command))
              for command in commands]
    names = " ".join(["help"] + [command.name for command in commands])
    return _filled(BASH, TABLE="\n".join(table), COMMANDS=names)


# -- zsh

ZSH = r"""#compdef @TOOL@
# zsh completion of @TOOL@, made by `@TOOL@ completion zsh`

_symphony_conductor_names() {
    local -a names
    names=("${(@f)$(@NAMES@ "$1" "${symphony_words[@]}" 2> /dev/null)}")
    names=("${(@)names:#}")
    names=("${(@)names/$'\t'/:}")
    _describe -t "$1s" "$1" names
}

_symphony_conductor_commands() {
    local -a commands
    commands=(
@COMMANDS@
    )
    _describe -t commands command commands
}

_symphony_conductor() {
    local curcontext=$curcontext state line ret=1
    local -a symphony_words
    local -A opt_args
    symphony_words=("${words[@]}")
    _arguments -C \
@ROOT@
        '1:command:_symphony_conductor_commands' \
        '*::argument:->command' && ret=0
    [[ $state == command ]] || return ret
    [[ $words[1] != help ]] || { shift words; ((CURRENT--)); }
    if ((CURRENT == 1)); then
        _symphony_conductor_commands
        return
    fi
    curcontext=${curcontext%:*:*}:symphony_conductor-$words[1]:
    case $words[1] in
@TABLE@
    esac
}

if [[ $funcstack[1] == _symphony_conductor ]]; then
    _symphony_conductor "$@"
else
    compdef _symphony_conductor @TOOL@
fi
"""
# A blank keeps _arguments from adding arguments of its own.
ZSH_KINDS = {"task": " _symphony_conductor_names task", "tag": " _symphony_conductor_names tag",
             "directory": "_files -/", "file": "_files", "user": "_users", "": " "}


def _quoted(text: str) -> str:
    """A text between quotes, for bash and zsh."""
    return "'%s'" % text.replace("'", "'\\''")


def _escaped(text: str, letters: str) -> str:
    return "".join("\\" + letter if letter in letters + "\\" else letter for letter in text)


def _zsh_value(action: "argparse.Action") -> str:
    kind = kind_of(action)
    does = ZSH_KINDS[kind] if isinstance(kind, str) else "(%s)" % " ".join(kind)
    return "%s:%s" % (_escaped(str(action.metavar or action.dest).lower(), ":[]"), does)


def _zsh_options(command: Command) -> "List[str]":
    """The arguments of _arguments for a command, quoted."""
    words = []
    for action in command.options:
        rivals = [name for group in command.rivals if action in group for rival in group
                  for name in rival.option_strings]
        excluded = " ".join(dict.fromkeys(rivals + list(action.option_strings)))
        for name in action.option_strings:
            word = "(%s)%s" % (excluded, name)
            if takes_value(action) and name.startswith("--"):
                word += "="
            word += "[%s]" % _escaped(short_help(action), ":[]")
            words.append(_quoted(word + (":" + _zsh_value(action) if takes_value(action) else "")))
    for place, action in enumerate(command.arguments, 1):
        where = "*" if action.nargs in ("+", "*") else str(place)
        words.append(_quoted("%s:%s" % (where, _zsh_value(action))))
    return words


def zsh_script(commands: "Sequence[Command]") -> str:
    root = _zsh_options(Command(name="", text="", group="", options=root_options()))
    names = ["        " + _quoted("%s:%s" % (command.name, _escaped(command.text, ":")))
             for command in commands]
    table = []
    for command in commands:
        lines = ["    %s)" % command.name, "        _arguments -s \\"]
        lines.append(" \\\n".join("            " + word for word in _zsh_options(command)))
        table += lines + ["        ;;"] if command.options else []
    return _filled(ZSH, TABLE="\n".join(table), COMMANDS="\n".join(names),
                   ROOT="\n".join("        %s \\" % word for word in root))


# -- fish

FISH = r"""# fish completion of @TOOL@, made by `@TOOL@ completion fish`

function __symphony_conductor_at
    # Whether the command is $argv[1] ('' is none yet), of which $argv[2] arguments are given.
    set -l command ''
    set -l given 0
    set -l takes no
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $takes = yes
            set takes no
        else if contains -- "$command $word" @TAKES@
            set takes yes
        else if string match -q -- '-*' $word
        else if test -n "$command"
            set given (math $given + 1)
        else if test $word != help
            set command $word
        end
    end
    test "$command" = "$argv[1]"; and test -z "$argv[2]" -o "$argv[2]" = $given
end

function __symphony_conductor_names
    set -l words (commandline -opc)
    @NAMES@ $argv[1] $words 2>/dev/null
end

complete -c @TOOL@ -e
complete -c @TOOL@ -f
@TABLE@
"""
FISH_KINDS = {"task": "-xa '(__symphony_conductor_names task)'", "": "-x", "file": "-rF",
              "tag": "-xa '(__symphony_conductor_names tag)'",
              "directory": "-xa '(__fish_complete_directories)'",
              "user": "-xa '(__fish_complete_users)'"}


def _fish_quoted(text: str) -> str:
    return "'%s'" % text.replace("\\", "\\\\").replace("'", "\\'")


def _fish_value(action: "argparse.Action") -> str:
    kind = kind_of(action)
    if isinstance(kind, str):
        return FISH_KINDS[kind]
    return "-xa %s" % _fish_quoted(" ".join(kind))


def _fish_lines(command: Command) -> "List[str]":
    lines = []
    start = "complete -c %s -n \"__symphony_conductor_at '%s'" % (TOOL, command.name)
    for action in command.options:
        names = " ".join("-l " + name[2:] if name.startswith("--") else "-s " + name[1:]
                         for name in action.option_strings)
        value = " " + _fish_value(action) if takes_value(action) else ""
        lines.append('%s" %s%s -d %s' % (start, names, value, _fish_quoted(short_help(action))))
    for place, action in enumerate(command.arguments):
        number = "" if action.nargs in ("+", "*") else " %d" % place
        value = _fish_value(action).replace("-xa", "-a")
        if value != "-x":
            lines.append('%s%s" %s' % (start, number, value))
    return lines


def fish_script(commands: "Sequence[Command]") -> str:
    root = Command(name="", text="", group="", options=root_options())
    lines = _fish_lines(root)
    for command in commands:
        lines.append("complete -c %s -n \"__symphony_conductor_at ''\" -a %s -d %s" % (
            TOOL, command.name, _fish_quoted(command.text)))
    lines.append("complete -c %s -n \"__symphony_conductor_at ''\" -a help -d %s" % (
        TOOL, _fish_quoted("describe a command")))
    takes = []
    for command in [root] + list(commands):
        lines += _fish_lines(command)
        takes += [_fish_quoted("%s %s" % (command.name, name)) for action in command.options
                  if takes_value(action) for name in action.option_strings]
    return _filled(FISH, TABLE="\n".join(dict.fromkeys(lines)), TAKES=" ".join(takes))


# -- the command

MAKERS = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}


def _filled(template: str, **parts: str) -> str:
    """A template with its parts, and with the command that prints names."""
    import shlex
    # Without the site packages, which take longer to find than all the rest.
    parts["NAMES"] = " ".join(map(shlex.quote, [
        sc.interpreter(), "-E", "-S", os.path.abspath(__file__), "--names"]))
    for name, text in parts.items():
        template = template.replace("@%s@" % name, text)
    return template.replace("@TOOL@", TOOL)


def cmd_completion(store: sc.Store, args: "argparse.Namespace") -> int:
    sc.print_line(MAKERS[args.shell](all_commands()), end="")
    return sc.EXIT_OK


OPTIONS = (sc.option("shell", choices=tuple(sorted(MAKERS)), metavar="bash|zsh|fish",
                     help="the shell to complete in"),)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--names"]:
        print_names(sys.argv[2], sys.argv[3:])
    else:
        sc.command_beside(__doc__, OPTIONS, cmd_completion)
