#!/bin/sh
# Sets Symphony Conductor up for the calling user: looks for what it needs, makes its folders, checks the
# configuration, installs the crontab line, and shows how things stand. Running it again changes nothing.
set -eu

say() { printf '%s\n' "$*"; }
fail() { code=$1; shift; printf 'setup.sh: %s\n' "$*" >&2; exit "$code"; }

usage() {
    cat <<'USAGE'
usage: ./setup.sh [--dry-run | --uninstall]

  --dry-run    say what would be done, and do nothing
  --uninstall  take the crontab line out again; configuration, state and logs stay
USAGE
}

dry_run=no
uninstall=no
for option in "$@"; do
    case $option in
        --dry-run) dry_run=yes ;;
        --uninstall) uninstall=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail 2 "unknown option '$option'" ;;
    esac
done

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
conductor=$root/symphony_conductor.py
[ -f "$conductor" ] || fail 2 "symphony_conductor.py is not beside setup.sh in $root"

# A Python counts when it runs and is 3.6 or newer.
usable() {
    "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1
}

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3.7 \
        python3.6 /usr/libexec/platform-python python; do
        found=$(command -v "$name" 2>/dev/null) || continue
        if usable "$found"; then
            printf '%s\n' "$found"
            return 0
        fi
    done
    return 1
}

package_hint() {
    for pair in apt-get:cron dnf:cronie yum:cronie zypper:cron apk:dcron pacman:cronie; do
        if command -v "${pair%%:*}" >/dev/null 2>&1; then
            case ${pair%%:*} in
                apk) say "apk add ${pair#*:}" ;;
                pacman) say "pacman -S ${pair#*:}" ;;
                *) say "${pair%%:*} install ${pair#*:}" ;;
            esac
            return
        fi
    done
    say "install cron with your package manager"
}

python=$(find_python) || fail 69 "Python 3.6 or newer is needed and none was found on PATH; install python3 and run this again"
say "Python: $python ($("$python" -I -c 'import sys; print(sys.version.split()[0])'))"

if ! command -v crontab >/dev/null 2>&1; then
    fail 69 "crontab is not here; run: $(package_hint)"
fi
say "crontab: $(command -v crontab)"

run() {
    if [ "$dry_run" = yes ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

if [ "$uninstall" = yes ]; then
    run "$python" "$conductor" uninstall
    exit 0
fi

[ "$(id -u)" -ne 0 ] || say "note: you are root, so the tasks will run as root"

for folder in logs status; do
    if [ -d "$root/$folder" ]; then
        say "folder: $folder is there"
    else
        run mkdir -m 700 "$root/$folder"
        [ "$dry_run" = yes ] || say "folder: $folder made"
    fi
done

"$python" "$conductor" check || fail $? "mend the configuration, then run this again"
run "$python" "$conductor" install
run "$python" "$conductor" tick
if [ "$dry_run" = no ]; then
    say ""
    "$python" "$conductor" status --table
    say ""
    say "cron calls the conductor every minute from now on."
    say "  what comes next:   $conductor next"
    say "  how things stand:  $conductor status"
    say "  take it out again: ./setup.sh --uninstall"
fi
