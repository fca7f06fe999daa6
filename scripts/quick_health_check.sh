#!/bin/sh
# Prints the health of a conductor's project in one line, then one line per finding and check. The findings are those of
# the conductor beside it, the same that its `status` shows. Where Python or the conductor does not work, it goes by
# checks of its own. It writes nothing, reads no input and does not use the network.
#
# No -e: a check that fails must not stop those after it.
set -u

usage() {
    cat <<'USAGE'
usage: quick_health_check.sh [--root DIR] [--strict] [--disk-warning PERCENT] [--disk-critical PERCENT]
       [--inode-warning PERCENT] [--inode-critical PERCENT] [--heartbeat-warning SECONDS]
       [--heartbeat-critical SECONDS] [--temp-age DAYS] [--temp-warning COUNT] [--help]
USAGE
}

help_text() {
    usage
    cat <<HELP

The first line is a verdict of less than 80 characters: OK, WARNING, CRITICAL or UNKNOWN, and the worst
findings. Then follows one line per finding of the conductor, with the command to type next, and one line
per check, each with its own state.

  --root DIR             the root folder (default: \$SYMPHONY_ROOT or the parent of scripts/)
  --strict               exit with 1 on WARNING
  --disk-warning $disk_warning       WARNING if less than this percentage of the disk is free
  --disk-critical $disk_critical      the same for CRITICAL
  --inode-warning $inode_warning      WARNING if less than this percentage of the inodes is free
  --inode-critical $inode_critical     the same for CRITICAL
  --heartbeat-warning $heartbeat_warning    WARNING if the last tick is more than this many seconds ago
  --heartbeat-critical $heartbeat_critical   the same for CRITICAL
  --temp-age $temp_age           count temporary and backup files older than this many days
  --temp-warning $temp_warning     WARNING if there are more of them than this

Checks:
  temp files     *.tmp *.temp *.swp *.swo *~ *.bak under the root, except in .git, nested repositories,
                 .cleanup_quarantine and node_modules, on other devices, and the conductor's own state
  automation     status/automation_health/*.health, except that of \$SYMPHONY_TASK (default: health_check).
                 CRITICAL if a result is failed, timeout or interrupted, and WARNING while it is retried;
                 of those that the conductor remembers, it tells itself. WARNING if a result is unknown:
                 malformed, empty, unreadable, dated more than $clock_tolerance seconds ahead, or contradicting
                 its exit code
  heartbeat      the time of status/heartbeat. CRITICAL if it is missing or more than $clock_tolerance seconds ahead
  cron           a cron daemon, or the systemd timer symphony-conductor.timer. CRITICAL if neither runs and
                 the heartbeat is stale or missing. OK if the heartbeat is fresh
  disk, inodes   of the file system of the root
  configuration  CRITICAL if config/conductor_config.json does not exist, or the Python of the crontab line
                 does not work; without a line, WARNING if the python3 on PATH does not. WARNING if the
                 conductor does not answer

Run as a task of the conductor, it shows the tasks that failed and does not fail for them: the conductor
reports those itself, and two checks would otherwise fail for each other for ever.

Exit codes, as monitoring plugins use them:
  0  OK or WARNING
  1  WARNING, with --strict
  2  CRITICAL
  3  UNKNOWN: a check could not be made and none is CRITICAL; also for an invalid option
HELP
}

refuse() {
    usage >&2
    printf 'quick_health_check.sh: %s\n' "$*" >&2
    exit 3
}

# For what prevents all checks: a verdict without the lines below it.
unknown() {
    printf 'UNKNOWN - %s\n' "$*"
    exit 3
}

# -- the limits, those of the section Health of symphony_conductor.py; a test compares the two

heartbeat_warning=180   # TICK_STALE_S
heartbeat_critical=600  # TICK_DEAD_S
clock_tolerance=180     # TICK_STALE_S
disk_warning=5          # FREE_WARNING_PERCENT
disk_critical=2         # FREE_PROBLEM_PERCENT
inode_warning=5         # FREE_WARNING_PERCENT
inode_critical=2        # FREE_PROBLEM_PERCENT

# -- options

root=${SYMPHONY_ROOT:-}
strict=no
temp_age=7
temp_warning=100

# Sets $number. Leading zeros go, because $(( )) would read 010 as eight.
take_number() {
    number=$2
    case $number in
        '' | *[!0-9]*) refuse "$1: '$2' is not a whole number" ;;
    esac
    while [ "${number#0}" != "$number" ] && [ -n "${number#0}" ]; do
        number=${number#0}
    done
    [ "${#number}" -le 6 ] || refuse "$1: '$2' is more than 999999"
}

take_percent() {
    take_number "$1" "$2"
    [ "$number" -le 100 ] || refuse "$1: '$2' is more than 100 percent"
}

take_option() {
    case $1 in
        --root)
            [ -n "$2" ] || refuse "--root: the folder name is empty"
            root=$2 ;;
        --disk-warning) take_percent "$1" "$2"; disk_warning=$number ;;
        --disk-critical) take_percent "$1" "$2"; disk_critical=$number ;;
        --inode-warning) take_percent "$1" "$2"; inode_warning=$number ;;
        --inode-critical) take_percent "$1" "$2"; inode_critical=$number ;;
        --heartbeat-warning) take_number "$1" "$2"; heartbeat_warning=$number ;;
        --heartbeat-critical) take_number "$1" "$2"; heartbeat_critical=$number ;;
        --temp-age) take_number "$1" "$2"; temp_age=$number ;;
        --temp-warning) take_number "$1" "$2"; temp_warning=$number ;;
    esac
}

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) help_text; exit 0 ;;
        --strict) strict=yes ;;
        --root=* | --disk-warning=* | --disk-critical=* | --inode-warning=* | --inode-critical=* | \
            --heartbeat-warning=* | --heartbeat-critical=* | --temp-age=* | --temp-warning=*)
            take_option "${1%%=*}" "${1#*=}" ;;
        --root | --disk-warning | --disk-critical | --inode-warning | --inode-critical | \
            --heartbeat-warning | --heartbeat-critical | --temp-age | --temp-warning)
            [ $# -gt 1 ] || refuse "$1 requires a value"
            take_option "$1" "$2"
            shift ;;
        *) refuse "unknown option '$1'" ;;
    esac
    shift
done
[ "$disk_warning" -ge "$disk_critical" ] ||
    refuse "--disk-warning $disk_warning is below --disk-critical $disk_critical"
[ "$inode_warning" -ge "$inode_critical" ] ||
    refuse "--inode-warning $inode_warning is below --inode-critical $inode_critical"
[ "$heartbeat_warning" -le "$heartbeat_critical" ] ||
    refuse "--heartbeat-warning $heartbeat_warning is above --heartbeat-critical $heartbeat_critical"

# -- the surroundings

exec </dev/null
LC_ALL=C
export LC_ALL
# Each of these changes what ls, df or ps print.
unset CDPATH QUOTING_STYLE BLOCK_SIZE LS_BLOCK_SIZE DF_BLOCK_SIZE BLOCKSIZE TIME_STYLE PS_FORMAT PS_PERSONALITY \
    COLUMNS POSIXLY_CORRECT

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command for at most so many seconds, if timeout(1) exists. Only SIGKILL ends a process that waits for a dead
# network file system.
bounded() {
    seconds=$1
    shift
    if have timeout; then
        timeout -s KILL "$seconds" "$@"
    else
        "$@"
    fi
}

# Sets $home, where the conductor of this script's version is, and goes to the root. A conductor that lies in the root
# alone is not run: a monitor may be another user than its owner.
enter_root() {
    case $0 in
        */*) home=${0%/*}/.. ;;
        *) home=.. ;;
    esac
    [ -n "$root" ] || root=$home
    case $home in
        /*) ;;
        *) home=./$home ;;
    esac
    home=$(cd -P "$home" 2>/dev/null && pwd) || home=
    case $root in
        /*) ;;
        *) root=./$root ;;  # `cd -` means something else, with or without --
    esac
    [ -d "$root" ] || unknown "the root is missing or not a folder"
    if ! { [ -r "$root" ] && [ -x "$root" ] && cd -P "$root" 2>/dev/null; }; then
        unknown "the root is not readable"
    fi
    here=$(pwd -P)
    own_task=
    [ "${SYMPHONY_ROOT:-$here}" != "$here" ] || own_task=${SYMPHONY_TASK:-}
}

# awk makes the verdict itself.
need_awk() {
    have awk || unknown "awk not found on PATH"
    [ "$(awk 'BEGIN { print "works" }' 2>/dev/null)" = works ] || unknown "awk does not work"
}

# Functions that several awk programs share. Whatever comes from a file or its name goes through clean(): a tab or
# newline in it would forge a field or a line of the report.
# shellcheck disable=SC2016  # the $ are awk's
library='
function clean(text) {
    gsub(/[^ -~]/, "?", text)
    return text
}
# A tab ends a field and a newline the line, so neither may be in a text.
function finding(state, name, short, long) {
    printf "%s\t%s\t%s\t%s\n", state, name, clean(short), clean(long)
}
function span_text(seconds) {
    if (seconds < 0) seconds = -seconds
    if (seconds < 120) return sprintf("%.0fs", seconds)
    if (seconds < 7200) return sprintf("%dm", seconds / 60)
    if (seconds < 172800) return sprintf("%dh", seconds / 3600)
    return sprintf("%dd", seconds / 86400)
}
function size_text(bytes) {
    if (bytes >= 1099511627776) return sprintf("%.1f TiB", bytes / 1099511627776)
    if (bytes >= 1073741824) return sprintf("%.1f GiB", bytes / 1073741824)
    if (bytes >= 1048576) return sprintf("%.1f MiB", bytes / 1048576)
    if (bytes >= 1024) return sprintf("%.1f KiB", bytes / 1024)
    return sprintf("%.0f B", bytes)
}
function plural(number, noun) {
    return number " " noun (number == 1 ? "" : "s")
}
# Epoch seconds of YYYY-MM-DDTHH:MM:SSZ, or "" for anything else. Years begin in March here, so that a leap day is the
# last day of one.
function epoch_of(stamp,    year, month, day, hour, minute, second, days_in_month, era_day) {
    if (stamp !~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z$/) return ""
    year = substr(stamp, 1, 4) + 0; month = substr(stamp, 6, 2) + 0; day = substr(stamp, 9, 2) + 0
    hour = substr(stamp, 12, 2) + 0; minute = substr(stamp, 15, 2) + 0; second = substr(stamp, 18, 2) + 0
    if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60) return ""
    days_in_month = 30 + (month + int(month / 8)) % 2
    if (month == 2) days_in_month = 28 + (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
    if (day < 1 || day > days_in_month) return ""
    if (month <= 2) { year--; month += 12 }
    era_day = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * (month - 3) + 2) / 5) + day
    return (era_day - 719469) * 86400 + hour * 3600 + minute * 60 + second
}
'

# A finding whose text needs no awk: state, name, text in the verdict, text in the line of the check.
finding() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4"; }

read_clock() {
    stamp=$(date -u +%Y-%m-%dT%H:%M:%SZ 2>/dev/null) || stamp=
    now=$(awk "$library"' BEGIN { print epoch_of(ARGV[1]) }' "$stamp")
}

# -- the checks, each of which prints findings

# No file name contains a slash, and no path that find prints contains two in a row, except the `//` it was given. So
# a line with `//` begins an entry, and a line without one continues a name that contains a newline. ls -L, because
# the target of a link may contain anything.
list_temp_files() {
    bounded 60 find .//. -xdev \( -name .cleanup_quarantine -o -name node_modules \) -prune -o \
        \( -name . -o -name .git -prune -o -type f -mmin "+$((temp_age * 1440))" \
        \( -name '*.tmp' -o -name '*.temp' -o -name '*.swp' -o -name '*.swo' -o -name '*~' -o -name '*.bak' \) \) \
        -exec ls -dlnL {} + 2>/dev/null
    printf '//end %s\n' "$?"
}

check_temp_files() {
    if ! have find || ! have ls; then
        finding UNKNOWN "temp files" "temp files unknown" "find or ls not found on PATH"
        return
    fi
    list_temp_files | awk -v days="$temp_age" -v limit="$temp_warning" "$library"'
        # A folder with a .git in it is a separate repository, which is not ours to judge. It is recognized here,
        # because in find that would cost a process for every folder.
        function note_entry() {
            if (path == "") return
            if (path ~ /\/\.git$/) nested[substr(path, 1, length(path) - 5)] = 1
            else if (path != ".git" && path != "conductor_state.json.bak") {
                files[++listed] = path
                sizes[listed] = size
            }
            path = ""
        }
        function is_nested(name,    at) {
            for (at = 1; at <= length(name); at++)
                if (substr(name, at, 1) == "/" && (substr(name, 1, at - 1) in nested)) return 1
            return 0
        }
        /^\/\/end / { note_entry(); status = $2; next }
        !/\/\// { path = path "\n" $0; next }
        {
            note_entry()
            if ($0 ~ /\.\/\/\.$/) { seen_root = 1; next }
            path = substr($0, index($0, ".//") + 5); size = $5
        }
        END {
            if (status == 137 || !seen_root) {
                finding("UNKNOWN", "temp files", "temp files unknown",
                        status == 137 ? "find timed out after 60s" : "find does not work")
                exit
            }
            for (i = 1; i <= listed; i++) if (!is_nested(files[i])) { count++; bytes += sizes[i] }
            note = status + 0 ? " (some folders could not be read)" : ""
            finding(count > limit ? "WARNING" : "OK", "temp files", plural(count + 0, "old temp file"),
                    plural(count + 0, "file") ", " size_text(bytes) ", older than " plural(days, "day") note)
        }'
}

# Type, size and name from one process for all: a FIFO must not be opened, and a huge file not be read. For a link
# only the name, because its target may contain anything. The folder itself is listed too, which shows that find works.
# One -exec per find, and not in parentheses: busybox ignores others.
list_health_files() {
    find status/automation_health//. ! -name . -prune -type l -name '*.health' ! -name '.*' -print 2>/dev/null
    find status/automation_health//. \( -name . -o -prune ! -type l -name '*.health' ! -name '.*' \) \
        -exec ls -dln {} + 2>/dev/null
}

# Whether `status` or a folder in it exists but cannot be read.
unreadable_folder() {
    for folder in status "$@"; do
        if [ -d "$folder" ] && ! { [ -r "$folder" ] && [ -x "$folder" ]; }; then
            return 0
        fi
    done
    return 1
}

check_automation() {
    if ! have find || ! have ls || [ -z "$now" ]; then
        finding UNKNOWN automation "automation unknown" "find, ls or date is missing or does not work"
        return
    fi
    if unreadable_folder status/automation_health; then
        finding UNKNOWN automation "automation unknown" "no permission to read status/automation_health"
        return
    fi
    if ! [ -d status/automation_health ]; then
        finding OK automation "" "no automation has run yet"
        return
    fi
    state_file=
    if [ -f conductor_state.json ] && [ ! -h conductor_state.json ] && [ -r conductor_state.json ]; then
        state_file=conductor_state.json
    fi
    list_health_files | own="${SYMPHONY_TASK:-health_check}" awk -v now="$now" -v state_file="$state_file" \
        -v has_answer="${answer:+yes}" -v tolerance="$clock_tolerance" "$library"'
        BEGIN {
            own = ENVIRON["own"] ".health"
            if (state_file) read_state()
        }
        # Each task has a line of its own. In a JSON string every quote has a backslash before it, so no output of a
        # task can look like a key.
        function read_state(    line, name) {
            while ((getline line < state_file) > 0) {
                if (line !~ /^"[A-Za-z0-9][A-Za-z0-9_.-]*":[{]/) continue
                name = substr(line, 2, index(line, ":") - 3)
                if (line ~ /"last":[{]/) remembered[name] = 1
                # A slot that failed before fails still while the next one is retried.
                if (line ~ /"attempts":[[][{]/ && line !~ /"consecutive_failures":/) retried[name] = 1
            }
            close(state_file)
        }
        function unknown(reason) {
            unsure++
            if (unsure == 1) first_unsure = task
            if (unsure <= 10) unsure_list = unsure_list (unsure > 1 ? ", " : "") task " (" reason ")"
        }
        function judge(name, mode, size,    file, line, more, result, rest, status, code, at) {
            if (name == own) return
            total++
            task = substr(name, 1, length(name) - 7)
            if (name !~ /^[A-Za-z0-9][A-Za-z0-9_.-]*$/) { unknown("not a task name"); return }
            if (mode !~ /^-/) { unknown("not a regular file"); return }
            if (size == 0) { unknown("empty"); return }
            if (size > 200) { unknown("malformed: too long"); return }
            file = "status/automation_health/" name
            result = (getline line < file)
            if (result > 0) more = (getline rest < file)
            close(file)
            if (result < 0) { unknown("unreadable"); return }
            if (result == 0) { unknown("empty"); return }
            status = substr(line, 1, index(line, ":") - 1)
            rest = substr(line, length(status) + 2)
            at = epoch_of(substr(rest, 1, 20))
            code = substr(rest, 22)
            if (more != 0 || at == "" || substr(rest, 21, 1) != ":" || code !~ /^[0-9]+$/ || code + 0 > 255 ||
                status !~ /^(success|failed|timeout|interrupted|stopped|skipped)$/) {
                unknown("malformed: " substr(line, 1, 40))
                return
            }
            if (at - now > tolerance) { unknown("dated " span_text(at - now) " in the future"); return }
            if (status == "success" && code + 0 != 0 || status ~ /^(failed|timeout|interrupted)$/ && code + 0 == 0) {
                unknown("says " status ", but exit code " code + 0)
                return
            }
            ended++
            if (status == "skipped") {
                skipped++
                if (skipped <= 10) skipped_list = skipped_list (skipped > 1 ? ", " : "") task
            } else if (status == "stopped") {
                stopped++
                if (stopped <= 10) stopped_list = stopped_list (stopped > 1 ? ", " : "") task
            } else if (status != "success" && has_answer && (task in remembered)) {
                judged++
            } else if (status != "success") {
                bad++
                if (!(task in retried)) lasting++
                if (bad == 1) first_bad = task " " ((task in retried) ? "retrying" : status)
                if (bad <= 10) bad_list = bad_list (bad > 1 ? ", " : "") \
                    task " (" status ", exit code " code + 0 ", " span_text(now - at) " ago" \
                    ((task in retried) ? ", retrying)" : ")")
            }
        }
        function note_entry() {
            if (name != "") judge(name, mode, size)
            name = ""
        }
        function others(number) {
            return number > 1 ? " and " number - 1 " more" : ""
        }
        function more_than_ten(number) {
            return number > 10 ? " and " number - 10 " more" : ""
        }
        !/\/\// { name = name "\n" $0; next }
        /\/\/\.$/ { note_entry(); seen_folder = 1; next }
        { note_entry(); name = substr($0, index($0, "//./") + 4); mode = $1; size = $5 }
        END {
            note_entry()
            if (!seen_folder) { finding("UNKNOWN", "automation", "automation unknown", "find does not work"); exit }
            if (!total) { finding("OK", "automation", "", "no automation has run yet"); exit }
            state = bad || unsure ? "WARNING" : "OK"
            if (lasting) state = "CRITICAL"
            short = first_bad others(bad) (bad && unsure ? ", " : "")
            if (unsure) short = short first_unsure others(unsure) " unknown"
            long = plural(total, "task") ", " ended - bad - judged - skipped - stopped " succeeded"
            if (judged) long = long "; " judged " failed, judged by the conductor"
            if (bad) long = long "; " bad " failed: " bad_list more_than_ten(bad)
            if (unsure) long = long "; " unsure " unknown: " unsure_list more_than_ten(unsure)
            if (skipped) long = long "; " skipped " skipped: " skipped_list more_than_ten(skipped)
            if (stopped) long = long "; " stopped " stopped by hand: " stopped_list more_than_ten(stopped)
            finding(state, "automation", short, long)
        }'
}

# The time of a file in epoch seconds: GNU and busybox, then BSD and macOS, then systems without stat.
time_of() {
    for try in 'stat -L -c %Y' 'stat -L -f %m' 'date -r'; do
        case $try in
            date*) at=$(date -u -r "$1" +%s 2>/dev/null) ;;
            *) at=$($try "$1" 2>/dev/null) ;;
        esac
        case ${at#-} in
            '' | *[!0-9]*) ;;
            *) printf '%s\n' "$at"; return 0 ;;
        esac
    done
    return 1
}

# Sets $heartbeat to fresh, stale, missing or unknown, for check_cron.
check_heartbeat() {
    heartbeat=unknown
    if unreadable_folder; then
        finding UNKNOWN heartbeat "heartbeat unknown" "no permission to read status"
    elif ! [ -e status/heartbeat ]; then
        heartbeat=missing
        finding CRITICAL heartbeat "no tick yet" "no tick yet: status/heartbeat does not exist"
    elif [ -z "$now" ] || ! at=$(time_of status/heartbeat); then
        finding UNKNOWN heartbeat "heartbeat unknown" "cannot get the time of status/heartbeat from stat or date"
    else
        judge_heartbeat $((now - at))
    fi
}

judge_heartbeat() {
    if [ "$1" -gt "$heartbeat_warning" ]; then
        heartbeat=stale
    elif [ "$1" -ge "-$clock_tolerance" ]; then
        heartbeat=fresh
    fi
    awk -v age="$1" -v warning="$heartbeat_warning" -v critical="$heartbeat_critical" \
        -v tolerance="$clock_tolerance" "$library"'
        BEGIN {
            if (age < -tolerance) {
                finding("CRITICAL", "heartbeat", "heartbeat in the future",
                        "the last tick is dated " span_text(age) " in the future: was the clock set back?")
                exit
            }
            state = age > critical ? "CRITICAL" : age > warning ? "WARNING" : "OK"
            text = "last tick " span_text(age < 0 ? 0 : age) " ago"
            finding(state, "heartbeat", text, text)
        }'
}

# One line per process: its pid and its command line, or as much of them as this system shows.
list_processes() {
    ps -A -o pid,args 2>/dev/null || ps -o pid,args 2>/dev/null || {
        [ ! -r /proc/1/comm ] || printf '1 -\n'
        # Some end meanwhile; cat carries on without them.
        cat /proc/[0-9]*/comm 2>/dev/null | awk '{ print "0 " $1 }'
    }
}

# The name of the cron daemon; "none"; or "hidden" if other users' processes, such as pid 1, are not visible.
find_cron() {
    list_processes | awk '
        function last_part(word) {
            sub(/.*\//, "", word)
            return word
        }
        $1 !~ /^[0-9]+$/ { next }
        $1 == 1 { seen_first = 1 }
        {
            program = last_part($2)
            if (program == "busybox") { if (NF == 2) unsure = 1; program = last_part($3) }
            if (program ~ /^(cron|crond|cronie|dcron|fcron|bcron-sched)$/) found = program
        }
        END { print found != "" ? found : seen_first && !unsure ? "none" : "hidden" }'
}

# Asked only if cron is missing: a failing systemd answers slowly.
timer_is_active() {
    have systemctl || return 1
    bounded 5 systemctl is-active --quiet symphony-conductor.timer >/dev/null 2>&1 ||
        bounded 5 systemctl --user is-active --quiet symphony-conductor.timer >/dev/null 2>&1
}

check_cron() {
    cron=$(find_cron)
    case $cron in
        none | hidden) ;;
        *) finding OK cron "" "$cron is running"; return ;;
    esac
    if timer_is_active; then
        finding OK cron "" "symphony-conductor.timer is active"
        return
    fi
    case $cron.$heartbeat in
        hidden.fresh) finding OK cron "" "hidden from this user, but the heartbeat is fresh" ;;
        hidden.*) finding WARNING cron "cron unknown" "cannot tell whether cron is running: processes are hidden" ;;
        none.fresh) finding OK cron "" "no cron daemon is running, but the heartbeat is fresh" ;;
        none.stale | none.missing)
            finding CRITICAL cron "cron is not running" "no cron daemon is running, and the heartbeat is $heartbeat" ;;
        *) finding WARNING cron "cron is not running" "no cron daemon is running" ;;
    esac
}

# The two tables of df, with a line before each and the exit status after it.
list_disk() {
    printf '//disk\n'
    bounded 10 df -P -k . 2>/dev/null
    printf '\n//end %s\n//inodes\n' "$?"
    bounded 10 df -P -i . 2>/dev/null
    printf '\n//end %s\n' "$?"
}

check_disk_and_inodes() {
    if ! have df; then
        finding UNKNOWN disk "disk unknown" "df not found on PATH"
        finding UNKNOWN inodes "inodes unknown" "df not found on PATH"
        return
    fi
    list_disk | awk -v disk_warning="$disk_warning" -v disk_critical="$disk_critical" \
        -v inodes_warning="$inode_warning" -v inodes_critical="$inode_critical" "$library"'
        function is_number(text) { return text ~ /^-?[0-9]+$/ || text == "-" }
        # Sets used and free. Names of devices and mount points may contain spaces and figures, and run over several
        # lines. So what counts is where three figures and a percentage follow each other and, of several such places,
        # the one where they agree.
        function read_figures(text, header,    words, n, i, at, share) {
            n = split(text, words, /[ \t]+/)
            at = 0
            for (i = 4; i <= n; i++) {
                if (words[i] !~ /^[0-9]+%$/ && words[i] != "-") continue
                if (!is_number(words[i - 1]) || !is_number(words[i - 2]) || !is_number(words[i - 3])) continue
                if (!at) at = i
                if (words[i] == "-" || words[i - 3] + 0 < words[i - 2] + 0) continue
                share = words[i - 2] + words[i - 1] > 0 ? 100 * words[i - 2] / (words[i - 2] + words[i - 1]) : 0
                if (share - words[i] <= 2 && words[i] - share <= 2) { at = i; break }
            }
            if (!at) return 0
            used = words[at - 2]; free = words[at - 1]
            if (header ~ /%iused/) {  # BSD and macOS append the inodes to the blocks
                if (!is_number(words[at + 1]) || !is_number(words[at + 2])) return 0
                used = words[at + 1]; free = words[at + 2]
            }
            used += 0; free += 0
            if (free < 0) free = 0  # what only root may still use
            return 1
        }
        function judge(name, status,    percent, state, text, figures) {
            if (body == "") {
                if (name == "inodes" && status + 0 && status + 0 < 124)
                    finding("OK", name, "", "not reported by this system\047s df")
                else
                    finding("UNKNOWN", name, name " unknown", "df did not answer")
                return
            }
            if (!read_figures(body, header)) {
                finding("UNKNOWN", name, name " unknown", "cannot parse the output of df")
                return
            }
            if (used + free == 0) { finding("OK", name, "", "not applicable to this file system"); return }
            percent = 100 * free / (used + free)
            state = percent < critical[name] ? "CRITICAL" : percent < warning[name] ? "WARNING" : "OK"
            text = sprintf("%.1f%% free", int(percent * 10) / 10)
            figures = name == "disk" ? size_text(free * 1024) : sprintf("%.0f", free)
            finding(state, name, name " " text, text " (" figures ")")
        }
        BEGIN {
            warning["disk"] = disk_warning; critical["disk"] = disk_critical
            warning["inodes"] = inodes_warning; critical["inodes"] = inodes_critical
        }
        /^\/\/(disk|inodes)$/ { table = substr($0, 3); header = body = ""; next }
        /^\/\/end [0-9]+$/ { judge(table, $2); next }
        header == "" { header = $0; next }
        $0 != "" { body = body " " $0 }'
}

# The Python of this root's crontab line, because that is the one cron runs. A quoted word that only a shell could
# read is ignored.
crontab_python() {
    have crontab || return 0
    bounded 10 crontab -l 2>/dev/null | begin="# BEGIN symphony-conductor $(pwd -P)" awk '
        inside && match($0, /.*&& exec /) {
            word = substr($0, RSTART + RLENGTH)
            quote = sprintf("%c", 39)
            if (substr(word, 1, 1) == quote) { word = substr(word, 2); end = index(word, quote " ") }
            else end = index(word, " ")
            word = substr(word, 1, end - 1)
            if (word !~ quote && word !~ /^"/) print word
            exit
        }
        /^# (BEGIN|END) symphony-conductor / { inside = ($0 == ENVIRON["begin"]) }'
}

python_runs() {
    bounded 10 "$1" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1
}

# Sets $answer to the findings of the conductor, which end in a line "end". Without them, it is empty, and $no_answer
# says why, or is empty too where no conductor is beside this script.
ask_conductor() {
    no_answer=
    answer=
    if [ -z "$home" ] || [ ! -f "$home/symphony_conductor.py" ]; then
        return 0
    fi
    # As the crontab line calls it, and -B: no compiled files in what may be another user's folder.
    answer=$(bounded 20 "$1" -I -S -B -c '
import sys
sys.path.append(sys.argv.pop(1))
import symphony_conductor as c
c.command_line()' "$home" --root "$here" findings 2>&1)
    code=$?
    case $code.$answer in
        0.end | 0.*"
end") return 0 ;;
        137.*) no_answer="it did not answer within 20s" ;;
        *) no_answer=${answer##*"
"}
           no_answer=${no_answer:-exit status $code} ;;
    esac
    answer=
}

# Sets $python_note, or where Python does not work, $python_trouble and its $python_state; and what ask_conductor sets.
look_for_python() {
    answer=
    no_answer=
    python_trouble=
    python_state=WARNING
    python=$(crontab_python)
    if [ -n "$python" ]; then
        python_note="the Python in the crontab line works"
        python_trouble="the Python in the crontab line does not work ($python)"
        [ -e "$python" ] || python_trouble="the Python in the crontab line does not exist ($python)"
    elif ! have python3; then
        python_trouble="python3 not found"
        return
    else
        python=python3
        python_note="python3 works"
        python_trouble="python3 does not work, or is older than 3.6"
    fi
    ask_conductor "$python"
    if [ -n "$answer" ]; then
        python_trouble=
    elif python_runs "$python"; then
        python_trouble=${no_answer:+the conductor does not answer: $no_answer}
    elif [ "$python" != python3 ]; then
        python_state=CRITICAL  # no tick can run
    fi
}

check_configuration() {
    config=config/conductor_config.json
    state=OK
    trouble=
    if ! [ -f "$config" ]; then
        state=CRITICAL
        trouble="$config not found"
    elif ! [ -r "$config" ]; then
        state=UNKNOWN
        trouble="no permission to read $config"
    fi
    if [ -n "$python_trouble" ]; then
        case $state.$python_state in OK.* | *.CRITICAL) state=$python_state ;; esac
        trouble=${trouble:+$trouble; }$python_trouble
    fi
    if [ "$state" = OK ]; then
        finding OK configuration "" "$config exists; $python_note"
        return
    fi
    # The path of the Python comes from the crontab, and the complaint from anywhere; clean() makes them printable.
    state=$state text=$trouble awk "$library"'
        BEGIN { finding(ENVIRON["state"], "configuration", ENVIRON["text"], ENVIRON["text"]) }'
}

# The findings of the conductor, each after a field that tells it from those of this script: severity, code, task,
# text, command, topic.
print_answer() {
    printf '%s\n' "$answer" | awk -F '\t' '/^(problem|warning|notice)\t/ && NF == 6 { print "conductor\t" $0 }'
}

# -- the report

# Findings to text: the state that decides the exit code, the verdict, the findings of the conductor, then the checks in
# their order. Where both say the same, it is said once.
render() {
    own_task=$own_task awk -F '\t' "$library"'
        BEGIN {
            own_task = ENVIRON["own_task"]
            rank["NOTICE"] = rank["OK"] = 0; rank["WARNING"] = 1; rank["UNKNOWN"] = 2; rank["CRITICAL"] = 3
            state_of["problem"] = "CRITICAL"; state_of["warning"] = "WARNING"; state_of["notice"] = "NOTICE"
            worst = exit_state = "OK"
            # The check of this script that goes by the same limit, which an option can change.
            measured["disk-full"] = measured["disk-low"] = "disk"
            measured["inodes-full"] = measured["inodes-low"] = "inodes"
            measured["not-called"] = measured["ticks-late"] = "heartbeat"
            # The checks that need not report what the finding explains.
            explained["no-cron-daemon"] = "heartbeat cron"
            explained["ticks-fail"] = explained["clock-behind"] = "heartbeat"
            explained["line-missing"] = explained["line-broken"] = "heartbeat"
            explained["no-configuration"] = explained["configuration-broken"] = "configuration"
            explained["unreadable"] = "heartbeat automation configuration"
        }
        $1 == "conductor" { answers[++answered] = $0; if ($3 == "unreadable") unreadable = 1; next }
        { checks[++checked] = $0; state[$2] = $1 }
        function add(state, name, brief, text, is_result) {
            lines[++count] = state " " name ": " text
            if (state != "NOTICE") passed++
            if (rank[state] > rank[worst]) { worst = state; named = 0 }
            if (state == worst) short[++named] = brief
            # As a task it does not fail for tasks: another check would fail for that, and this one for the other.
            if (rank[state] > rank[exit_state] && !(is_result && own_task != "")) exit_state = state
        }
        function add_answer(line,    field, level, topic, check, others, number, i) {
            split(line, field, "\t")
            level = field[3] == "unreadable" ? "UNKNOWN" : state_of[field[2]]
            topic = field[7]
            if (topic == "tasks" && own_task != "" && field[4] == own_task) return
            if (field[3] in measured) {
                check = measured[field[3]]
                # The heartbeat that cannot be read is not one that is missing.
                if (state[check] == "OK" || check == "heartbeat" && unreadable) return
                if (state[check] != "UNKNOWN") level = state[check]
                topic = check
                said[check] = 1
            }
            number = split(explained[field[3]], others, " ")
            for (i = 1; i <= number; i++)
                if (state[others[i]] == "UNKNOWN" || state[others[i]] != "OK" && field[3] != "unreadable")
                    said[others[i]] = 1
            add(level, topic, clean(field[5]), clean(field[5] (field[6] != "" ? "; try: " field[6] : "")),
                topic == "tasks")
        }
        function tail(shown) { return named > shown ? " (+" named - shown " more)" : "" }
        function verdict(    head, text, longer, shown) {
            head = worst " - "
            if (worst == "OK") return head passed " checks passed"
            for (shown = 0; shown < named; shown++) {
                longer = text (shown ? "; " : "") short[shown + 1]
                if (length(head longer tail(shown + 1)) > 79) break
                text = longer
            }
            if (!shown) {
                shown = 1
                text = substr(short[1], 1, 79 - length(head tail(1)) - 3) "..."
            }
            return head text tail(shown)
        }
        END {
            for (i = 1; i <= answered; i++) add_answer(answers[i])
            for (i = 1; i <= checked; i++) {
                split(checks[i], field, "\t")
                if (!(field[2] in said)) add(field[1], field[2], field[3], field[4], field[2] == "automation")
            }
            print exit_state
            print verdict()
            for (i = 1; i <= count; i++) print lines[i]
            if (exit_state != worst)
                print "NOTICE exit: as for " exit_state ", because the conductor itself reports failed tasks"
        }'
}

enter_root
need_awk
read_clock
# The report is collected first: neither a failure of awk nor a full disk under the output may pass for a verdict.
report=$({
    look_for_python
    print_answer
    check_temp_files
    check_automation
    check_heartbeat
    check_cron
    check_disk_and_inodes
    check_configuration
} | render)
report=${report:-UNKNOWN
UNKNOWN - awk does not work}
state=${report%%"
"*}
printf '%s\n' "${report#*"
"}" || exit 3
case $state in
    OK) exit 0 ;;
    WARNING) [ "$strict" = no ] || exit 1; exit 0 ;;
    CRITICAL) exit 2 ;;
    *) exit 3 ;;
esac
