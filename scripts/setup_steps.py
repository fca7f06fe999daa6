#!/usr/bin/env python3
"""What setup.sh leaves to Python: checks that write nothing, and writes that follow no link.

Usage: setup_steps.py STEP [--dry-run] [--called-by-root] [--timer] [--uninstall]

check       fail if the user cannot set up this folder; prints nothing
check-owner fail if root would do in the folder of another user what is that user's to do
prepare     create the folders, and give scripts back their x bit
first-task  print the name of an enabled task that changes nothing, if there is one

It runs as the user whose tasks these are. `--called-by-root`: root asked for it, and became them.
"""

import os
import shlex
import stat
import sys
from shutil import which
from typing import List

os.umask(os.umask(0o077) | 0o022)  # a compiled file that others can write to would be refused
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(ROOT)

import symphony_conductor as sc  # noqa: E402

FOLDERS = ("config/tasks.d", "logs/automation", "status/automation_health", "status/history")
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
CALL = ("--uninstall", "--timer")  # the options of setup.sh that a hint repeats
# Commands of the configuration that comes with this and of the one that `init` writes.
CHANGES_NOTHING = ("./scripts/quick_health_check.sh", "echo it works: $(date)")


def parts_of(folder: str) -> "List[str]":
    """The folder and those above it below the root, the outermost first."""
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def check_owner(options: "List[str]") -> None:
    """Raises UsageError where root would act for itself in a folder that another user owns."""
    owner = os.stat(ROOT).st_uid
    is_foreign = os.geteuid() == 0 and owner != 0
    if not is_foreign or os.environ.get("SYMPHONY_ALLOW_INSECURE") == "1":
        return
    name = sc.user_name(owner)
    command = " ".join(["./setup.sh"] + [word for word in CALL if word in options])
    hint = "for its owner: %s --user %s" % (command, name)
    if "--uninstall" not in options:
        hint = "set it up " + hint
    if name == str(owner):  # --user takes no number
        name = "user ID %d, which has no name here" % owner
        hint = "to give it one: useradd -u %d NAME; to make it yours: chown -R root %s" % (
            owner, shlex.quote(ROOT))
    raise sc.UsageError("you are root, and %s belongs to %s" % (ROOT, name), hint)


def check(store: sc.Store, called_by_root: bool, by_timer: bool) -> None:
    """Raises ConductorError for whatever would stop a later step, before anything is written."""
    try:
        sc.check_installable(store, called_by_root)
    except sc.ConfigError:
        if not os.path.exists(store.config_path):
            raise
        # Otherwise `check` reports it, together with all that is wrong in the configuration.
    for folder in FOLDERS:
        check_folder(folder, called_by_root)
    paths = [os.path.join(ROOT, part) for folder in FOLDERS for part in parts_of(folder)]
    problems = store.insecure_among(sorted(set(paths)))
    if problems:
        raise sc.ConfigError(problems)
    if not by_timer and which("crontab"):
        # Not every user may have a crontab: see cron.allow in crontab(1).
        try:
            table = sc.read_crontab()
            sc.split_at_block(table, store.root)
            sc.refuse_to_double(store, table)
        except sc.ConductorError as error:
            if error.exit_code != sc.EXIT_FAILED:
                raise
            raise sc.UnavailableError(error.message, error.hint)  # nothing will be run


def check_folder(folder: str, called_by_root: bool) -> None:
    """Raises ConductorError unless the folder exists or `make_folder` could make it."""
    if os.path.isdir(os.path.join(ROOT, folder)):
        return
    above = ROOT
    prefix = ""
    if called_by_root:
        prefix = "sudo -u %s " % sc.current_user()[0]
    for part in parts_of(folder):
        path = os.path.join(ROOT, part)
        if os.path.islink(path):
            raise sc.UsageError("%s is a link, and nothing is created through one" % path,
                                "%smkdir -p %s" % (prefix, shlex.quote(os.path.join(ROOT, folder))))
        if not os.path.lexists(path):
            break
        if not os.path.isdir(path):
            raise sc.UsageError("%s is in the way: it has to be a folder" % path, "move it away")
        above = path
    if not os.access(above, os.W_OK | os.X_OK):
        raise sc.UsageError("%s cannot write to %s" % (sc.current_user()[0], above),
                            "chmod u+rwx %s" % shlex.quote(above))


def make_folder(folder: str) -> None:
    """Make a folder and those above it, for the owner alone, by descriptor. Raises OSError.

    Somebody who may write in one of them could put a link in its place at any moment.
    """
    fd = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in folder.split("/"):
            is_new = True
            try:
                os.mkdir(name, 0o700, dir_fd=fd)
            except FileExistsError:
                is_new = False
            inner = os.open(name, FOLDER_FLAGS, dir_fd=fd)
            os.close(fd)
            fd = inner
            if is_new:
                os.fchmod(fd, 0o700)  # whatever the umask is
    finally:
        os.close(fd)


def prepare(dry_run: bool) -> None:
    """Create the folders, and let the owner execute what begins with #!."""
    for folder in FOLDERS:
        if os.path.isdir(os.path.join(ROOT, folder)):
            print("folder %s: exists" % folder)
        elif dry_run:
            print("would create the folder %s" % folder)
        else:
            make_folder(folder)
            print("folder %s: created" % folder)
    scripts = sorted(os.listdir(os.path.join(ROOT, "scripts")))
    for name in ["symphony_conductor.py"] + ["scripts/" + script for script in scripts]:
        if name.endswith((".py", ".sh")):
            make_executable(name, dry_run)


def make_executable(name: str, dry_run: bool) -> None:
    """Give the owner the x bit of a script that lost it. Another's file, and a link, stay."""
    try:
        fd = os.open(os.path.join(ROOT, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        info = os.fstat(fd)
        is_mine = stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid()
        if not is_mine or info.st_mode & stat.S_IXUSR or os.read(fd, 2) != b"#!":
            return
        if dry_run:
            print("would make executable: %s" % name)
        else:
            os.fchmod(fd, stat.S_IMODE(info.st_mode) | stat.S_IXUSR)
            print("made executable: %s" % name)
    finally:
        os.close(fd)


def first_task(store: sc.Store) -> str:
    """The name of a task that is known to change nothing, '' if none is enabled."""
    if not os.path.exists(store.config_path):
        return "hello"  # `init` writes it; this is a dry run
    for task in store.read_config().tasks.values():
        if task.enabled and task.command in CHANGES_NOTHING:
            return task.name
    return ""


def main() -> int:
    step, options = sys.argv[1], sys.argv[2:]
    store = sc.Store(ROOT)
    if step in ("check", "check-owner"):
        check_owner(options)
    if step == "check":
        check(store, "--called-by-root" in options, "--timer" in options)
    elif step == "prepare":
        prepare("--dry-run" in options)
    elif step == "first-task":
        print(first_task(store))
    return 0


if __name__ == "__main__":
    sys.exit(sc.exit_code_of(main, "setup.sh"))
