#!/bin/sh
# Sets up Symphony Conductor: picks a Python, checks the user, the folder and the configuration, makes sure cron is
# installed and running, creates the folders, installs the crontab line, runs a first task and shows the status. Each
# step prints what it did, and nothing is written before all checks have passed. Running it again changes nothing that
# is in place.
# shellcheck disable=SC2329  # steps are called by their names
set -eu

say() { printf '%s\n' "$*"; }
warn() { printf 'setup.sh: %s\n' "$*" >&2; }
fail() { code=$1; shift; warn "$*"; exit "$code"; }
have() { command -v "$1" >/dev/null 2>&1; }

# The project is the folder of this file, even if the caller's shell has SYMPHONY_ROOT set to another one.
unset SYMPHONY_ROOT

usage() {
    cat <<'USAGE'
usage: ./setup.sh [--user NAME] [--timer] [--dry-run]
       ./setup.sh --uninstall [--purge] [--user NAME] [--timer] [--dry-run]

  --user NAME  set up for this user; requires root (default: the user who called sudo, or yourself)
  --timer      use a systemd timer instead of the crontab line
  --dry-run    print what would be done, without doing it
  --uninstall  remove the crontab line, or with --timer the timer; keep configuration, state and logs
  --purge      with --uninstall: also remove state and logs, after asking

Environment:
  PYTHON       the interpreter to use (default: the newest usable one on PATH)

Exit status:
  0            cron runs the conductor
  1            cron runs the conductor, but the first task or a later step failed; a first tick that fails exits
               with its own status
  2            usage error
  69           no usable Python, no cron or one that refuses, or no cron daemon is running: nothing will be run
  74           a file could not be read or written
  78           the configuration is invalid, or others could change it
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
        --user) [ -n "${2:-}" ] || fail 2 "--user requires a name"; user=$2; shift ;;
        --user=?*) user=${1#--user=} ;;
        --user=) fail 2 "--user requires a name" ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail 2 "unknown option '$1'" ;;
    esac
    shift
done
[ "$purge.$uninstall" != yes.no ] || fail 2 "--purge requires --uninstall"

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
conductor=$root/symphony_conductor.py
for file in symphony_conductor.py scripts/setup_steps.py; do
    [ -f "$root/$file" ] || fail 2 "$file not found beside setup.sh in $root"
    [ -r "$root/$file" ] || fail 2 "cannot read $root/$file; run setup.sh as its owner"
done

# The conductor as the crontab line calls it: imported, so that Python compiles it once for all steps. -B leaves no
# compiled files: for a dry run, for root in another user's folder, and for an uninstall that removes everything.
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

# -- Python

# Prints the version of a usable Python as a number that can be compared, such as 3011002. If all that is wrong with
# one is a missing module, prints that and fails. Other programs called python3 may print anything, or read stdin.
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

# Every name of a Python, in every folder of PATH. Red Hat keeps the system's own outside PATH.
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
    best=$(command -v "$PYTHON") || fail 69 "PYTHON: $PYTHON not found"
    version=$(version_of "$best") || version=
    case $version in '' | *[!0-9]*) fail 69 "PYTHON: $best is not a usable Python 3.6 or newer" ;; esac
elif ! find_python; then
    again="install python3, then run setup.sh again"
    [ -z "$lacking" ] || fail 69 "Python 3.6 or newer with its whole library is required, but $lacking; $again"
    older=$({ python3 -V || python -V || python2 -V; } 2>&1 | grep '^Python' | head -n 1) || older=
    fail 69 "Python 3.6 or newer is required, but ${older:-no Python} was found; $again"
fi
# The interpreter behind that of a virtual environment or a version manager.
python=$("$best" -I -B -c '
import sys
sys.path.append(sys.argv[1])
import symphony_conductor as c
print(c.interpreter())' "$root")

# -- the user

# Cron reads the table of a user by name, and so does systemd.
me=$(id -un 2>/dev/null) || fail 69 "user ID $(id -u) has no name here (no entry in /etc/passwd), so cron cannot run \
its tasks; add the user (useradd -u $(id -u) NAME), or run the tick by other means: cron/README.md, Containers"
if [ -z "$user" ] && [ "$me" = root ]; then
    user=${SUDO_USER:-}
fi
user=${user:-$me}
[ "$user" = "$me" ] || [ "$me" = root ] || fail 2 "--user: only root can do this for '$user' (use sudo)"

# Runs steps of this script as $user, with that user's Python and crontab.
as_user() {
    set -- "$user" "$root/setup.sh" "$*" "--user=$user"
    [ "$timer" = no ] || set -- "$@" --timer
    [ "$dry_run" = no ] || set -- "$@" --dry-run
    [ "$uninstall" = no ] || set -- "$@" --uninstall
    [ "$purge" = no ] || set -- "$@" --purge
    # -B: root leaves no compiled files in another user's folder.
    "$python" -I -S -B -c '
import os, sys
sys.path.append(os.path.dirname(sys.argv[2]))
import symphony_conductor as c
def go():
    c.switch_user(sys.argv[1])
    if not os.access(sys.argv[2], os.R_OK):
        raise c.UsageError("%s cannot read %s" % (sys.argv[1], sys.argv[2]),
                           "move the project to a folder this user can read")
    os.environ["SYMPHONY_SETUP_STEPS"] = sys.argv[3]
    os.chdir("/")
    sys.stdout.flush()
    os.execv("/bin/sh", ["sh", sys.argv[2]] + sys.argv[4:])
sys.exit(c.exit_code_of(go, "setup.sh"))' "$@"
}

# -- cron

# package manager, package, how to install it
# apt recommends a mail server along with cron; that is left out.
MANAGERS='apt-get cron apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends
dnf cronie dnf install -y
yum cronie yum install -y
zypper cronie zypper --non-interactive install
apk cronie apk add
pacman cronie pacman -S --noconfirm'

# Prints the command that installs cron on this machine.
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

# A command that takes root, as this user types it. What keeps apt from asking is for scripts.
as_typed() {
    sudo=
    [ "$me" = root ] || sudo='sudo '
    printf '%s%s\n' "$sudo" "$1" | sed "s/ && / \&\& $sudo/g; s/DEBIAN_FRONTEND=noninteractive //"
}

# Without a crontab program nothing is set up: what to type, and what comes after it.
how_to_install() {
    hint="then run ./setup.sh again"
    [ ! -d /run/systemd/system ] || hint="$hint; or use systemd: ./setup.sh --timer"
    printf '%s\n%s\n' "crontab not found; nothing was changed; to install it: $(as_typed "$1")" "$hint"
}

# Sets $cron to running, stopped, or hidden where the processes of other users are not visible.
look_for_cron() {
    cron=hidden
    # shellcheck disable=SC2009  # pgrep is not everywhere
    case $(uname -s) in
        Darwin) cron=running ;;  # launchd starts it as soon as there is a crontab
        Linux)
            for process in /proc/[0-9]*; do
                { read -r line <"$process/stat"; } 2>/dev/null || continue
                [ "$process" != /proc/1 ] || [ "$cron" = running ] || cron=stopped
                case ${line##*) } in Z* | X* | T*) continue ;; esac  # ended, but not reaped yet, or stopped
                name=${line#*(}
                case ${name%)*} in
                    cron | crond | cronie | dcron | fcron | bcron-sched | busybox-crond) cron=running ;;
                    busybox) ! grep -q crond "$process/cmdline" 2>/dev/null || cron=running ;;
                esac
            done
            for folder in /etc/systemd/system /lib/systemd/system /usr/lib/systemd/system; do
                # systemd-cron runs crontabs by timers, and has no daemon.
                [ "$cron" != stopped ] || [ ! -e "$folder/cron.target" ] || cron=hidden
            done ;;
        *)
            processes=$(ps -axo comm=)
            if printf '%s\n' "$processes" | grep -Eq '(^|/)(cron|crond|fcron)$'; then
                cron=running
            elif printf '%s\n' "$processes" | grep -Eq '(^|/)(init|launchd)$'; then
                cron=stopped
            fi ;;
    esac
}

# Prints the command that starts cron on this machine, the same as `status` does. Debian gives users a PATH without
# the folders in which rc-service and service are.
start_command() (
    PATH=$PATH:/usr/sbin:/sbin
    daemon=crond
    ! have apt-get || daemon=cron  # Debian's name, for when none is installed yet
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
)

# $1: the problem, $2: the command that fixes it. Only root can run that; callers tell other users how.
fix() {
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
        hint="install cron with your package manager, then run ./setup.sh again"
        [ ! -d /run/systemd/system ] || hint="$hint; or use systemd: ./setup.sh --timer"
        fail 69 "crontab not found; nothing was changed; $hint"
    else
        if ! fix "crontab not found" "$command"; then
            [ "$dry_run" = yes ] || fail 69 "$(how_to_install "$command")"
            say "would stop here: crontab not found; to install it: $(as_typed "$command")"
            exit 0
        fi
        if [ "$dry_run" = no ]; then
            have crontab || fail 69 "crontab still not found after: $command"
            say "crontab: $(command -v crontab)"
        fi
    fi
    look_for_cron
    if [ "$cron" = running ]; then
        say "cron: running"
        return 0
    fi
    start=$(start_command)
    if fix "cron is not running" "$start"; then
        if [ "$dry_run" = yes ]; then
            cron=running
            return 0
        fi
        look_for_cron  # a command may succeed without a daemon to show for it
        if [ "$cron" = running ]; then
            say "cron: started"
            return 0
        fi
    fi
    if [ "$cron" = stopped ]; then
        say "cron: not running"
    else
        say "cron: cannot tell whether it is running (other users' processes are hidden)"
    fi
}

ensure_systemd() {
    [ -d /run/systemd/system ] || fail 69 "systemd is not running; use cron instead: run setup.sh without --timer"
    say "systemd: running"
}

# -- the steps

quoted() { printf '%s' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }

# What takes more than a shell: see the file. `check` leaves no compiled files, because nothing is checked yet.
helper() {
    what=$1
    [ "$dry_run" = no ] || set -- "$@" --dry-run
    [ "$called_by_root" = no ] || set -- "$@" --called-by-root
    [ "$timer" = no ] || set -- "$@" --timer
    set -- "$root/scripts/setup_steps.py" "$@"
    [ "$dry_run.$what" = no.prepare ] || set -- -B "$@"
    "$python" -I "$@"
}

has_configuration() { [ -e "$root/config/conductor_config.json" ]; }

step_python() { say "$python"; }

# Writes nothing: whatever is wrong has to be said before the first change.
step_check() {
    helper check
    say "Python: $python ($("$python" -I -S -c 'import sys; print(sys.version.split()[0])'))"
    [ "$(id -u)" -ne 0 ] || say "note: you are root; the tasks will run as root"
    if has_configuration; then check_configuration; fi
}

check_configuration() {
    conduct -B check || fail $? "fix the configuration, then run setup.sh again"
}

step_prepare() {
    helper prepare
    if has_configuration; then
        return 0
    elif [ "$dry_run" = yes ]; then
        say "would write a starting configuration"
    else
        (umask go-w && conduct init)
        check_configuration
    fi
}

step_line() {
    set -- install --daemon-checked
    [ "$timer" = no ] || set -- install --timer
    if [ "$dry_run" = yes ]; then
        set -- "$@" --dry-run
        if [ "$timer" = no ] && ! have crontab; then
            say "would install the crontab line"
            return 0
        fi
    fi
    conduct "$@" || {
        code=$?
        [ "$code" -ne 1 ] || code=69  # the crontab was refused, so that nothing will be run
        exit "$code"
    }
}

step_tick() {
    if [ "$dry_run" = yes ]; then
        say "would run a first tick"
        return 0
    fi
    conduct tick
}

# Runs one task that changes nothing, so that there is a result to look at.
step_result() {
    task=$(helper first-task)
    [ -n "$task" ] || return 0
    if [ "$dry_run" = yes ]; then
        say "would run the task $task"
        return 0
    fi
    say ""
    say "running the task $task:"
    conduct run --task "$task" || {
        code=$?
        [ "$code" -ne 75 ] || return 0  # cron has started it this very moment
        warn "the task $task failed (exit $code)"
        result_code=1
    }
}

step_status() {
    [ "$dry_run" = no ] || return 0
    say ""
    # A terminal wraps; a table that is cut tells less.
    (COLUMNS=200; export COLUMNS; conduct status --table) || result_code=1
}

# Whether the timer runs without a login: system units do, others with lingering.
lingers() {
    [ "$me" != root ] || return 0
    [ "$(loginctl show-user "$me" --property=Linger 2>/dev/null)" = Linger=yes ]
}

# Whether anything runs from now on, and what to type next. Ends the script.
conclude() {
    done="$by now runs the conductor every minute."
    [ "$timer" = no ] || lingers || done="systemd now runs the conductor every minute while you are logged in; to change that: sudo loginctl enable-linger $user"
    case $by.$cron in
        cron.stopped) done="The crontab line is installed. Nothing runs until a cron daemon does." ;;
        cron.hidden) done="The crontab line is installed. It runs every minute, if cron is running." ;;
    esac
    if [ "$tick_code" -ne 0 ]; then
        done="The crontab line is installed, but its first tick failed (exit $tick_code): see above."
        [ "$timer" = no ] || done="The timer is installed, but its first tick failed (exit $tick_code): see above."
    fi
    if [ "$dry_run" = no ]; then
        name=$conductor
        setup=$root/setup.sh
        case $root in *[!A-Za-z0-9_./-]*) name=$(quoted "$name"); setup=$(quoted "$setup") ;; esac
        say ""
        say "$done"
        say "  run a task:    $name run NAME"
        say "  upcoming runs: $name next"
        say "  status:        $name status"
        say "  uninstall:     $setup --uninstall$([ "$timer" = no ] || printf ' --timer')"
    fi
    case $by.$cron in
        cron.stopped)
            warn "no cron daemon is running; to start it: $(as_typed "$start")"
            [ "$dry_run" = yes ] || exit 69 ;;
        cron.hidden)
            warn "no cron daemon found; if none is running, start it: $(as_typed "$start")" ;;
    esac
    [ "$tick_code" -eq 0 ] || exit "$tick_code"
    [ "$result_code" -eq 0 ] || warn "installed, but not all is well: see above"
    exit "$result_code"
}

step_remove() {
    helper check-owner --uninstall
    set -- uninstall
    [ "$timer" = no ] || set -- "$@" --timer
    [ "$dry_run" = no ] || set -- "$@" --dry-run
    [ "$purge" = no ] || set -- "$@" --purge
    conduct -B "$@"
}

# Runs steps as the user they are for.
run_steps() {
    if [ "$user" = "$me" ]; then
        for step in "$@"; do "step_$step"; done
    else
        as_user "$@" || exit $?
    fi
}

# A timer for another user is a system unit, which only root can write.
for_another_by_timer() {
    set -- "$@" --timer "--user=$user"
    [ "$dry_run" = no ] || set -- "$@" --dry-run
    [ "$uninstall.$purge" != yes.yes ] || set -- "$@" --purge
    conduct -B "$@"
}

# What there is to see, as far as it can be true: without a daemon, nothing runs.
show() {
    case $by.$cron in
        cron.stopped) return 0 ;;
        cron.hidden) set -- result ;;
        *) set -- result status ;;
    esac
    if [ "$user" = "$me" ]; then
        step_tick || { tick_code=$?; return 0; }
        run_steps "$@"
    else
        as_user tick || { tick_code=$?; return 0; }
        as_user "$@" || result_code=$?
    fi
}

tick_code=0
result_code=0  # 1 once the first task has failed
called_by_root=no
steps=${SYMPHONY_SETUP_STEPS:-}
unset SYMPHONY_SETUP_STEPS  # for this run only, not for what it starts
if [ -n "$steps" ]; then  # root called this, and does the rest
    called_by_root=yes
    for step in $steps; do "step_$step"; done
    exit "$result_code"
fi

by=cron
[ "$timer" = no ] || by=systemd
cron=
is_unit_of_root=no
[ "$timer" = no ] || [ "$user" = "$me" ] || is_unit_of_root=yes
case $uninstall.$is_unit_of_root in
    yes.no) run_steps remove; exit 0 ;;
    yes.yes) for_another_by_timer uninstall; exit 0 ;;
esac
# Root writes the unit, but what it names is for the user to execute.
[ "$is_unit_of_root" = no ] || python=$(as_user python) || exit $?
run_steps check
if [ "$timer" = yes ]; then ensure_systemd; else ensure_cron; fi
run_steps prepare
if [ "$is_unit_of_root" = yes ]; then for_another_by_timer install; else run_steps line; fi
show
conclude
