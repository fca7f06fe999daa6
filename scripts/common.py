"""What the maintenance scripts share: the conductor's module, command lines, files and sizes."""

import argparse
import errno
import os
import re
import stat
import sys
from typing import Any, BinaryIO, Callable

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if HOME not in sys.path:
    sys.path.append(HOME)

import symphony_conductor  # noqa: E402

sc = symphony_conductor  # assigned, because mypy lets no module pass on what it imports

seconds_of, age_option, plural = sc.seconds_of, sc.duration_option, sc.plural

EXIT_REFUSED = 3  # nothing was changed, and the message says why

LARGEST_OWN = 1 << 30  # bytes; no file that the scripts write for themselves comes near it

SIZES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


class RefusedError(sc.ConductorError):
    """The request is not safe here. Nothing was changed."""

    exit_code = EXIT_REFUSED


class LaterVersionError(sc.ConductorError):
    """A file of a later version, in a format that this one could misread. It is left as it is."""

    exit_code = sc.EXIT_CONFIG


def check_format(name: str, version: "Any", newest: int) -> None:
    """Raises LaterVersionError for a format above `newest`. A file without a format is the first.

    `version` is whatever the file holds in its place.
    """
    if type(version) is int and version > newest:
        raise LaterVersionError("%s was written by a later version (format %d; this is %d)" % (
            name, version, newest))


def check_replaced(path: str, newest: int) -> None:
    """The same for a document that is about to be replaced: all of ours begin with their format."""
    try:
        with open_own(path) as handle:
            head = handle.read(64)
    except OSError:
        return  # there is none, or it is not one of ours
    match = re.match(br'\{\s*"format": ([0-9]{1,9})\b', head)
    if match:
        check_format(os.path.basename(path), int(match.group(1).decode("ascii")), newest)


def command_parser(documentation: "str | None") -> argparse.ArgumentParser:
    """A parser with the module's docstring as its help, and the option that every script has."""
    summary, _, rest = (documentation or "").partition("\n\n")
    program = os.path.basename(sys.argv[0])
    if program.startswith("symphony_"):
        program = sc.program_beside(program)
    parser = argparse.ArgumentParser(prog=program, description=summary, epilog=rest,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", metavar="DIR", default=os.environ.get("SYMPHONY_ROOT") or HOME,
                        help="the root folder (default: $SYMPHONY_ROOT or the parent of scripts/)")
    return parser


def subcommands(parser: argparse.ArgumentParser) -> "Callable[..., argparse.ArgumentParser]":
    """A function that adds a command, bound to its function.

    --root may stand before the command's name and behind it.
    """
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, func: "Callable[..., int]", text: str,
                *positionals: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--root", metavar="DIR", default=argparse.SUPPRESS,
                           help="the root folder")
        for positional in positionals:
            added.add_argument(positional, metavar=positional.upper())
        added.set_defaults(func=func)
        return added

    return command


def finish(command: "Callable[[], int]") -> None:
    """Run a script's command and exit with its code; every error is one line."""
    sc.open_standard_streams()
    code = sc.exit_code_of(command, os.path.splitext(os.path.basename(sys.argv[0]))[0])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue  # nobody reads it any more
    os._exit(code)  # a normal exit would first free hundreds of thousands of objects one by one


def open_regular(path: str, flags: int = 0) -> "BinaryIO":
    """A file, open for reading. Raises OSError, also for a pipe, which would keep us waiting."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return open(fd, "rb")
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "Not a regular file", path)


def read_regular(path: str) -> bytes:
    """The content of a file that a person wrote: it may be a link. Raises OSError."""
    with open_regular(path) as handle:
        return handle.read()


def open_own(path: str, most: int = LARGEST_OWN) -> "BinaryIO":
    """A file that we wrote, open for reading as it was written.

    Raises OSError, also for a link and for a size that we never write.
    """
    try:
        handle = open_regular(path, os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # FreeBSD has the latter
            raise OSError(error.errno, "Is a symbolic link", path)
        raise
    if os.fstat(handle.fileno()).st_size > most:
        handle.close()
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return handle


def read_own(path: str, most: int = LARGEST_OWN) -> bytes:
    """The content of a file that we wrote. Raises OSError as `open_own` does."""
    with open_own(path, most) as handle:
        return handle.read()


def bytes_option(text: str) -> int:
    """A number of bytes, at least one, for argparse."""
    if not re.match(r"[0-9]{1,15}\Z", text) or not int(text):
        raise argparse.ArgumentTypeError("%r is not a number of bytes, such as 1048576" % text)
    return int(text)


def size_text(size: float) -> str:
    """Bytes for people: '512 B', '3.4 MiB'."""
    for unit, factor in SIZES:
        if size >= factor:
            return "%.1f %s" % (size / factor, unit)
    return "%d B" % size


def is_age(value: "Any") -> bool:
    """Whether a value of a configuration file is an age such as '14d'."""
    try:
        return isinstance(value, str) and seconds_of(value) > 0
    except ValueError:
        return False
