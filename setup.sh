#!/bin/sh
# Sets Symphony Conductor up: finds a Python, sees that there is a cron, makes the folders, checks the configuration,
# installs the crontab line, and shows how things stand. Each step says what it did or found; running it again
# changes nothing.
set -eu

say() { printf '%s\n' "$*"; }
warn() { printf 'setup.sh: %s\n' "$*" >&2; }
fail() { code=$1; shift; warn "$*"; exit "$code"; }
have() { command -v "$1" >/dev/null 2>&1; }

# What is set up is the folder of this file, whichever project the caller's shell speaks of.
unset SYMPHONY_ROOT

usage() {
    cat <<'USAGE'
usage: ./setup.sh [--user NAME] [--timer] [--dry-run]
       ./setup.sh --uninstall [--purge] [--user NAME] [--timer] [--dry-run]

  --user NAME  for this user (takes root; default: who called sudo, otherwise yourself)
  --timer      a systemd timer in place of the crontab line
  --dry-run    say what would be done, and do nothing
  --uninstall  take the crontab line, or with --timer the timer, out again; configuration, state and logs stay
  --purge      with --uninstall: remove state and logs as well, after asking

PYTHON names the interpreter to use; without it the newest usable one is taken.
USAGE
}

# -- the command line

dry_run=no
uninstall=no
purge=no
timer=no
user=
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry_run=yes ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        --timer) timer=yes ;;
        --user) [ $# -gt 1 ] || fail 2 "--user takes a name"; user=$2; shift ;;
        --user=*) user=${1#--user=} ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail 2 "unknown option '$1'" ;;
    esac
    shift
done
[ "$purge.$uninstall" != yes.no ] || fail 2 "--purge goes with --uninstall"

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
conductor=$root/symphony_conductor.py
[ -f "$conductor" ] || fail 2 "symphony_conductor.py is not beside setup.sh in $root"

# The conductor as the crontab line calls it: by an import, so that Python compiles it once for all steps. With -B it
# leaves no compiled files: of root in somebody else's folder, of a dry run, and of what takes everything out.
conduct() {
    cache=
    [ "$dry_run" = no ] || cache=-B
    [ "$1" != -B ] || { cache=-B; shift; }
    "$python" -I $cache -c '
import sys
sys.path.append(sys.argv.pop(1))
import symphony_conductor as c
c.command_line()' "$root" "$@"
}

# Carries out a step, or says it.
run() {
    if [ "$dry_run" = yes ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

# -- Python

# Prints a Python's version as a number that can be compared, such as 3011002, when it is one that can be used, and
# what is missing where that is all that is wrong with it. Whatever else is called python3 may say or want anything.
version_of() {
    "$1" -I -S -c '
import sys
if sys.version_info < (3, 6):
    sys.exit(1)
try:
    import argparse, bisect, datetime, difflib, errno, fcntl, json, re, select, shlex, shutil, signal, subprocess
except ImportError as error:
    print("lacks the module %s" % error.name)
    sys.exit(1)
print("%d%03d%03d" % sys.version_info[:3])' 2>/dev/null </dev/null
}

# Every name a Python may have, in every folder of PATH; the system's own of Red Hat stands in a folder of its own.
candidates() {
    (
        set +f
        IFS=:
        for folder in $PATH; do
            for file in "$folder"/python3 "$folder"/python3.[0-9] "$folder"/python3.[0-9][0-9] "$folder"/python; do
                [ ! -x "$file" ] || printf '%s\n' "$file"
            done
        done
        [ ! -x /usr/libexec/platform-python ] || printf '%s\n' /usr/libexec/platform-python
    )
}

find_python() {
    best=
    newest=0
    lacking=
    while IFS= read -r file; do
        version=$(version_of "$file") || {
            case $version in "lacks the module "*) lacking=${lacking:-$file $version} ;; esac
            continue
        }
        case $version in '' | *[!0-9]*) continue ;; esac
        if [ "$version" -gt "$newest" ]; then
            newest=$version
            best=$file
        fi
    done <<LIST
$(candidates)
LIST
    [ -n "$best" ]
}

if [ -n "${PYTHON:-}" ]; then
    best=$(command -v "$PYTHON") || fail 69 "PYTHON names $PYTHON, which is not here"
    version_of "$best" >/dev/null || fail 69 "PYTHON names $best, which is no Python 3.6 or newer"
elif ! find_python; then
    [ -z "$lacking" ] || fail 69 "a whole Python 3.6 or newer is needed, and $lacking; install python3 and run this again"
    older=$({ python3 -V || python -V || python2 -V; } 2>&1 | grep '^Python' | head -n 1) || older=
    fail 69 "Python 3.6 or newer is needed, and here is ${older:-no Python at all}; install python3 and run this again"
fi
# The real one, where that is a virtual environment's or a version manager's.
python=$("$best" -I -B -c '
import sys
sys.path.append(sys.argv[1])
import symphony_conductor as c
print(c.interpreter())' "$root")

# -- whom it is for

me=$(id -un)
if [ -z "$user" ] && [ "$me" = root ]; then
    user=${SUDO_USER:-}
fi
user=${user:-$me}
[ "$user" = "$me" ] || [ "$me" = root ] || fail 2 "--user: only root can do this for '$user' (use sudo)"

# Carries out steps of this script as the user it is for, who then finds the Python and the crontab that are hers.
as_user() {
    set -- "$user" "$root/setup.sh" "$*" "--user=$user"
    [ "$timer" = no ] || set -- "$@" --timer
    [ "$dry_run" = no ] || set -- "$@" --dry-run
    [ "$uninstall" = no ] || set -- "$@" --uninstall
    [ "$purge" = no ] || set -- "$@" --purge
    # -B: root leaves no compiled files in somebody else's folder.
    "$python" -I -S -B -c '
import os, sys
sys.path.append(os.path.dirname(sys.argv[2]))
import symphony_conductor as c
def go():
    c.switch_user(sys.argv[1])
    if not os.access(sys.argv[2], os.R_OK):
        raise c.UsageError("%s may not read %s" % (sys.argv[1], sys.argv[2]), "move the folder, or let it be read")
    os.environ["SYMPHONY_SETUP_STEPS"] = sys.argv[3]
    os.chdir("/")
    sys.stdout.flush()
    os.execv("/bin/sh", ["sh", sys.argv[2]] + sys.argv[4:])
sys.exit(c.exit_code_of(go, "setup.sh"))' "$@" || exit $?
}

# -- cron

# package manager, package, how to install it
# Without what apt recommends along with cron, which is a mail server.
MANAGERS='apt-get cron apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends
dnf cronie dnf install -y
yum cronie yum install -y
zypper cronie zypper --non-interactive install
apk cronie apk add
pacman cronie pacman -S --noconfirm'

# Prints the command that installs cron here.
install_command() {
    while read -r manager package command; do
        if have "$manager"; then
            printf '%s %s\n' "$command" "$package"
            return 0
        fi
    done <<LIST
$MANAGERS
LIST
    return 1
}

# Whether a cron daemon is seen; where the processes of others are hidden, none is.
cron_runs() {
    # shellcheck disable=SC2009  # pgrep is not everywhere
    case $(uname -s) in
        Darwin) return 0 ;;  # launchd starts it as soon as there is a crontab
        Linux)
            for process in /proc/[0-9]*; do
                { read -r line <"$process/stat"; } 2>/dev/null || continue
                case ${line##*) } in Z* | X*) continue ;; esac  # dead, and only not yet buried
                name=${line#*(}
                case ${name%)*} in cron | crond | cronie | dcron | fcron | bcron-sched | busybox-crond) return 0 ;; esac
            done
            return 1 ;;
        *) ps -axo comm= | grep -Eq '(^|/)(cron|crond|fcron)$' ;;
    esac
}

# Prints the command that starts cron here.
start_command() {
    daemon=crond
    ! have apt-get || daemon=cron  # as Debian's is called, where none is there yet
    for name in cron crond; do
        if [ -x "/usr/sbin/$name" ] || [ -x "/usr/bin/$name" ] || [ -x "/sbin/$name" ]; then
            daemon=$name
            break
        fi
    done
    if [ -d /run/systemd/system ]; then
        service=$daemon
        systemctl cat cronie.service >/dev/null 2>&1 && service=cronie
        say "systemctl enable --now $service"
    elif have rc-service; then
        [ ! -e /etc/init.d/cronie ] || daemon=cronie
        say "rc-service $daemon start && rc-update add $daemon"
    elif have service && [ -e "/etc/init.d/$daemon" ]; then
        say "service $daemon start"
    else
        say "$daemon"
    fi
}

# $1: what is wrong, $2: the command that mends it. Root does, and others are told how.
mend() {
    if [ "$dry_run.$me" = yes.root ]; then
        say "would run: $2"
        return 0
    fi
    [ "$me" = root ] || return 1
    say "$1; running: $2"
    output=$(sh -c "$2" 2>&1 </dev/null) || { printf '%s\n' "$output" | tail -n 5 >&2; return 1; }
}

ensure_cron() {
    if have crontab; then
        say "crontab: $(command -v crontab)"
    elif ! command=$(install_command); then
        fail 69 "crontab is not here; install cron with your package manager, or use --timer"
    else
        if ! mend "crontab is not here" "$command"; then
            [ "$dry_run" = yes ] || fail 69 "crontab is not here; run: sudo sh -c '$command'"
            say "would stop here: crontab is not here; run: sudo sh -c '$command'"
        fi
        if [ "$dry_run" = no ]; then
            have crontab || fail 69 "crontab is still not here, after: $command"
            say "crontab: $(command -v crontab)"
        fi
    fi
    if cron_runs; then
        say "cron: it runs"
        return 0
    fi
    command=$(start_command)
    if mend "no cron daemon runs" "$command"; then
        [ "$dry_run" = yes ] || say "cron: started"
    else
        warn "no cron daemon is to be seen; unless one runs, start it with: sudo sh -c '$command'"
    fi
}

ensure_systemd() {
    [ -d /run/systemd/system ] || fail 69 "systemd does not run here; leave --timer away and use cron"
    say "systemd: it runs"
}

# -- the steps

quoted() { printf '%s' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }

make_folders() {
    for folder in config/tasks.d logs/automation status/automation_health status/history; do
        if [ -d "$root/$folder" ]; then
            say "folder: $folder is there"
        elif [ "$dry_run" = yes ]; then
            say "would make the folder $folder"
        else
            (umask 077 && mkdir -p "$root/$folder")
            say "folder: $folder made"
        fi
    done
}

make_executable() {
    for file in "$root"/symphony_conductor.py "$root"/scripts/*.sh "$root"/scripts/*.py; do
        if [ -f "$file" ] && [ ! -x "$file" ] && [ "$(head -c 2 "$file")" = "#!" ]; then
            run chmod u+x "$file"
            [ "$dry_run" = yes ] || say "executable: ${file#"$root"/}"
        fi
    done
}

# That the user is there, may read this file and has a Python was seen on the way.
step_nothing() { :; }

step_prepare() {
    say "Python: $python ($("$python" -I -S -c 'import sys; print(sys.version.split()[0])'))"
    [ "$(id -u)" -ne 0 ] || say "note: you are root, so the tasks will run as root"
    make_folders
    make_executable
    if [ ! -e "$root/config/conductor_config.json" ]; then
        if [ "$dry_run" = yes ]; then
            say "would write a configuration to start from"
            return 0
        fi
        (umask go-w && conduct init)
    fi
    # The umask is for the compiled file that comes of it: one that others can write to would be refused.
    (umask go-w && conduct check) || fail $? "mend that, then run this again"
}

step_line() {
    set -- install
    [ "$timer" = no ] || set -- "$@" --timer
    if [ "$dry_run" = yes ]; then
        set -- "$@" --dry-run
        if [ "$timer" = no ] && ! have crontab; then
            say "would install the crontab line"
            return 0
        fi
    fi
    conduct "$@"
}

step_show() {
    if [ "$dry_run" = yes ]; then
        say "would run a first tick"
        return 0
    fi
    conduct tick
    say ""
    conduct status --table
    name=$conductor
    case $name in *[!A-Za-z0-9_./-]*) name=$(quoted "$name") ;; esac
    by=cron
    [ "$timer" = no ] || by=systemd
    say ""
    say "$by calls the conductor every minute from now on."
    say "  what comes next:   $name next"
    say "  how things stand:  $name status"
    say "  take it out again: ./setup.sh --uninstall$([ "$timer" = no ] || printf ' --timer')"
}

step_remove() {
    set -- uninstall
    [ "$timer" = no ] || set -- "$@" --timer
    [ "$dry_run" = no ] || set -- "$@" --dry-run
    [ "$purge" = no ] || set -- "$@" --purge
    conduct -B "$@"
}

steps=${SYMPHONY_SETUP_STEPS:-}
unset SYMPHONY_SETUP_STEPS  # what this starts has no use for it
if [ -n "$steps" ]; then  # the caller, who is root, does the rest
    for step in $steps; do "step_$step"; done
    exit 0
fi

if [ "$uninstall" = no ]; then
    [ "$user" = "$me" ] || as_user nothing
    if [ "$timer" = yes ]; then ensure_systemd; else ensure_cron; fi
fi
case $uninstall.$timer.$([ "$user" = "$me" ] && echo self || echo other) in
    no.*.self) step_prepare; step_line; step_show ;;
    yes.*.self) step_remove ;;
    no.no.other) as_user prepare line show ;;
    yes.no.other) as_user remove ;;
    # A timer for somebody else is a unit of the system, which only root can write.
    no.yes.other)
        as_user prepare
        set -- install --timer "--user=$user"
        [ "$dry_run" = no ] || set -- "$@" --dry-run
        conduct -B "$@"
        as_user show ;;
    yes.yes.other)
        set -- uninstall --timer "--user=$user"
        [ "$dry_run" = no ] || set -- "$@" --dry-run
        [ "$purge" = no ] || set -- "$@" --purge
        conduct -B "$@" ;;
esac
