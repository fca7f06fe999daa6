#!/usr/bin/env python3
"""Use a systemd timer instead of the crontab line.

Example: symphony_conductor.py timer install --dry-run

`install --timer` and `uninstall --timer` do the same. Root gets system units, which can run as
another user; everybody else gets units of their own.
"""

import argparse
import os
import re
import sys
from typing import Any, Callable, Dict

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402

SERVICE, TIMER = sc.UNIT + ".service", sc.UNIT + ".timer"

SERVICE_UNIT = """\
[Unit]
Description=Symphony Conductor: start the tasks of @ROOT@ that are due

[Service]
Type=oneshot
@USER@@ENVIRONMENT@ExecStart=@COMMAND@
# A tick is gone within milliseconds; the tasks it started go on, each in a scope of its own where
# systemd gives it one.
KillMode=process
# One task out of memory is one failed task, not the end of all of them.
OOMPolicy=continue
# A tick that hangs, on a dead file server perhaps, gives way to the next one.
TimeoutStartSec=600
# What the conductor did goes to the journal, but not that a tick began and ended each minute.
SyslogIdentifier=symphony-conductor
SyslogLevel=notice
LogLevelMax=notice
# The tasks inherit whatever stands here. NoNewPrivileges would break sudo and crontab,
# ProtectSystem an upgrade of packages, PrivateTmp a clean-up of /tmp; so only what no task can miss
# is taken away.
StandardInput=null
KeyringMode=private
"""

TIMER_UNIT = """\
[Unit]
Description=Symphony Conductor: a tick every minute

[Timer]
OnCalendar=*-*-* *:*:00
AccuracySec=1s
# The conductor catches up what was missed while the machine was off, by the rules of each task.
Persistent=false

[Install]
WantedBy=timers.target
"""


def unit_word(text: str) -> str:
    """One word of an ExecStart line (systemd.service(5)): quotes and escapes as in C, %% and $$."""
    special = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\t": "\\t", "\r": "\\r"}
    return '"%s"' % "".join(special.get(letter, letter) for letter in text)


def unit_texts(root: str, python: str, script: str, user: str = "",
               allows_insecure: bool = False) -> "Dict[str, str]":
    """The service and timer files, by their names. `user`: whom a system unit runs as.

    `allows_insecure`: with the variable without which a tick would refuse this root.
    """
    words = ["-I", "-S"] + sc.program_arguments(script) + ["--root=" + root, "tick"]
    program = unit_word(python).replace("$$", "$")  # the first word is no place for variables
    parts = {
        "ROOT": root.replace("%", "%%"),
        "COMMAND": " ".join([program] + [unit_word(word) for word in words]),
        "USER": "User=%s\n" % user if user else "",
        "ENVIRONMENT": "Environment=%s=1\n" % sc.OVERRIDE if allows_insecure else "",
    }
    service = re.sub("@([A-Z]+)@", lambda match: parts[match.group(1)], SERVICE_UNIT)
    return {name: "%s%s\n%s" % (sc.UNIT_OWNER, root, text)
            for name, text in ((SERVICE, service), (TIMER, TIMER_UNIT))}


class Timer:
    """The systemd service and timer of a root: system units for root, their own for anybody else.

    System units may run as another user. They start at boot, as a user's own do with lingering on.
    """

    def __init__(self, root: str, user: str) -> None:
        self.root = root
        self.folder = sc.unit_folder()
        self.is_system = os.geteuid() == 0
        self.user = ""
        if self.is_system:
            # Root is named too: without User= systemd sets no HOME, LOGNAME and SHELL; cron does.
            self.user = user or sc.current_user()[0]
        elif user:
            sc.switch_user(user)  # says who may

    def _systemctl(self, *arguments: str, check: bool = True) -> int:
        argv = ["systemctl"]
        if not self.is_system:
            argv.append("--user")
            runtime = "/run/user/%d" % os.geteuid()
            if os.path.isdir(runtime):  # su and cron leave it unset, and systemctl needs it
                os.environ.setdefault("XDG_RUNTIME_DIR", runtime)
        argv += arguments
        code, _, complaint = sc.output_of(argv, "this machine has no systemd; use the crontab")
        if code and check:
            raise sc.ConductorError("%s failed (exit %d): %s" % (" ".join(argv), code, complaint))
        return code

    def is_running(self) -> bool:
        """Whether it runs now, and will after the next boot."""
        return (self._systemctl("is-enabled", TIMER, check=False) == 0
                and self._systemctl("is-active", TIMER, check=False) == 0)

    def enable_linger(self) -> str:
        """Let a user's own timer run without a login; a note when that is for root to do."""
        if self.is_system:
            return ""
        try:
            code, _, complaint = sc.output_of(("loginctl", "enable-linger"), "")
        except sc.UnavailableError as error:
            code, complaint = 1, str(error)
        if code == 0:
            return ""
        return ("note: it runs only while you are logged in (%s); "
                "to fix: sudo loginctl enable-linger %s" % (complaint, sc.current_user()[0]))

    def files(self) -> "Dict[str, str]":
        """The texts of the unit files that are there, by path. Raises when they are another's."""
        texts = {}
        for name in (SERVICE, TIMER):
            path = os.path.join(self.folder, name)
            try:
                text = os.fsdecode(sc.read_bytes(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise sc.StorageError.of("read", path, error)
            if not text.startswith(sc.UNIT_OWNER):
                raise sc.ConductorError("%s was not created by this program" % path, sc.DAEMON_HINT)
            if text.partition("\n")[0] != sc.UNIT_OWNER + self.root:
                raise sc.ConductorError(
                    "%s is for another folder" % path,
                    "a user can have one such timer; use the crontab for further projects")
            texts[path] = text
        return texts

    def wanted(self, store: sc.Store) -> "Dict[str, str]":
        """The unit files as they should be, by their paths."""
        allows_insecure = store.allows_insecure and store.needs_override()
        texts = unit_texts(self.root, sc.interpreter(), store.script, self.user, allows_insecure)
        return {os.path.join(self.folder, name): text for name, text in texts.items()}

    def install(self, files: "Dict[str, str]") -> None:
        """Write the units and start the timer; where systemd refuses, nothing is left behind."""
        before = self.files()
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        for path, text in files.items():
            sc.write_atomic(path, os.fsencode(text))
            os.chmod(path, 0o644)
        is_enabled = False
        try:
            self._systemctl("daemon-reload")
            is_enabled = True  # or in part: the link is made before the start that fails
            self._systemctl("enable", "--now", TIMER)
        except sc.ConductorError:
            if not before and is_enabled:
                self._stop(check=False)
            for path in set(files) - set(before):
                os.unlink(path)
            if not before and is_enabled:
                self._systemctl("daemon-reload", check=False)
            raise

    def _stop(self, check: bool = True) -> None:
        """Stop the timer, and a tick under way; not the tasks that a tick has started.

        The tick is ended while its unit still says KillMode=process: once the unit is gone, its end
        goes by the default, which ends every process it started (systemd.kill(5)).
        """
        self._systemctl("disable", "--now", TIMER, check=check)
        self._systemctl("stop", SERVICE, check=check)
        self._systemctl("reset-failed", SERVICE, check=False)  # it fails where nothing had failed

    def uninstall(self) -> None:
        """Stop the timer and remove the units; running tasks go on."""
        files = self.files()
        self._stop()
        for path in files:
            os.unlink(path)
        self._systemctl("daemon-reload")

    def as_its_user(self, command: "Callable[[], Any]") -> int:
        """Carry out a command as the user whom the unit runs as: its exit code.

        For this very user an error is raised, for another one it is printed.
        """
        if self.user in ("", sc.current_user()[0]):
            command()
            return sc.EXIT_OK
        return _as_user(self.user, command)


def _as_user(name: str, command: "Callable[[], Any]") -> int:
    """Carry out a command as another user, in a process of its own: its exit code."""
    def carry_out() -> int:
        sc.switch_user(name)
        command()
        return sc.EXIT_OK

    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = sc.EXIT_SOFTWARE
        try:
            code = sc.exit_code_of(carry_out)
            sys.stderr.flush()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else sc.EXIT_SOFTWARE


def _install(store: sc.Store, timer: Timer, dry_run: bool) -> int:
    try:
        os.fsencode(store.root + store.script + sc.interpreter()).decode("utf-8")
    except UnicodeDecodeError:
        raise sc.UsageError("a unit can only name files whose names are UTF-8", "use the crontab")
    is_for_another = timer.user not in ("", sc.current_user()[0])
    code = timer.as_its_user(lambda: sc.check_installable(store, is_for_another))
    if code:
        return code
    code = timer.as_its_user(lambda: _refuse_to_double(store))
    if code:
        return code
    files, present = timer.wanted(store), timer.files()
    if dry_run:
        for path, text in files.items():
            sc.print_line("would write %s" % path)
            sc.print_line(text, end="")
    elif present == files and timer.is_running():
        sc.print_line("the timer is already installed: %s" % ", ".join(files))
        timer.as_its_user(lambda: sc.tick_first(store))
        return sc.EXIT_OK
    else:
        _start(store, timer, files)
    if sc.installed_block(store):
        sc.print_line("note: the crontab line is installed as well; that does no harm, and "
                      "`uninstall` removes it")
    return sc.EXIT_OK


def _start(store: sc.Store, timer: Timer, files: "Dict[str, str]") -> None:
    for path in files:
        sc.print_line("writing %s" % path)
    timer.install(files)
    scope = "" if timer.is_system else "--user "
    sc.print_line("the timer runs:     systemctl %sstatus %s" % (scope, TIMER))
    sc.print_line("what it did is in:  journalctl %s-t %s" % (scope, sc.UNIT))
    note = timer.enable_linger()
    if note:
        sc.print_line(note)
    timer.as_its_user(lambda: sc.tick_first(store))


def _uninstall(store: sc.Store, timer: Timer, dry_run: bool) -> None:
    files = timer.files()
    if files and timer.user in ("", sc.current_user()[0]):
        _warn_of_stranded_lines(store)
    if not files:
        sc.print_line("there is no timer for %s" % timer.root)
    elif dry_run:
        sc.print_line("would stop the timer and remove %s" % ", ".join(files))
    else:
        timer.uninstall()
        sc.forget_ticks(store)
        sc.print_line("removed %s" % ", ".join(files))
        if not timer.is_system:
            sc.print_line("note: lingering is still enabled; if nothing else of yours needs it: "
                          "loginctl disable-linger")


def _refuse_to_double(store: sc.Store) -> None:
    if not sc.digests_at_risk(store):
        return  # whoever may not use crontab(1) can still have a timer
    try:
        sc.refuse_to_double(store, sc.read_crontab())
    except sc.UnavailableError:
        pass  # without cron, nothing runs twice


def _warn_of_stranded_lines(store: sc.Store) -> None:
    """`--switch-back` waits for the end of the timer, so the timer does not wait for that."""
    try:
        text, hint = sc.stranded_lines(sc.read_crontab(), store.root)
    except sc.ConductorError:
        return  # no crontab, no lines; one that cannot be read says so at the switch back
    if text:
        sc.print_line("WARNING: %s once the timer is gone; %s" % (text, hint))


def cmd_timer(store: sc.Store, args: "argparse.Namespace") -> int:
    if args.purge and args.action != "uninstall":
        raise sc.UsageError("--purge requires uninstall")
    timer = Timer(store.root, args.user or "")
    if args.action == "install":
        return _install(store, timer, args.dry_run)
    _uninstall(store, timer, args.dry_run)
    if args.user:
        sc.switch_user(args.user)
    return sc.finish_uninstall(store, args.purge, args.dry_run)


OPTIONS = (
    sc.option("action", choices=("install", "uninstall"), metavar="install|uninstall",
              help="what to do with the units"),
    sc.option("--user", metavar="NAME",
              help="for this user (default: yourself); another user requires root"),
    sc.option("--dry-run", action="store_true", help="only show what would be done"),
    sc.option("--purge", action="store_true",
              help="with uninstall: remove state and logs as well, after asking"))

if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_timer)
