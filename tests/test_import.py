"""`import-crontab`: what the lines of a crontab are as tasks, and that real cron and those tasks do the same."""

import argparse
import json
import os
import subprocess
import sys
import time

import pytest
from support import NAMESPACE, SCRIPT, CronDaemon, Project, every_minute

import crontab_commands
import crontab_tables
import symphony_conductor as sc
import symphony_import_crontab

ME = crontab_tables.Machine(user="me", home="/home/me", accounts=frozenset(("me", "root", "www-data")),
                            is_program=lambda word: False)

# -- names

NAMES = [
    ("/usr/bin/backup.sh --all", "backup"),
    ("cd /srv && ./run.py", "run"),
    ("cd /srv; ./run.py", "run"),
    (". /etc/profile; sync-all x", "sync-all"),
    ("test -x /a/b || exit 0; /a/b c", "b"),
    ("[ -x /usr/sbin/anacron ] || ( cd / && run-parts --report /etc/cron.daily )", "cron.daily"),
    ("test -e /run/x || SERVICE_MODE=1 /usr/lib/x/scrub_all", "scrub_all"),
    ("command -v sa1 > /dev/null && sa1 1 1", "sa1"),
    ("sleep $((RANDOM \\% 60)); certbot -q renew", "certbot"),
    ("sudo -u www php -f /x/cron.php", "cron"),
    ("sudo -g www -u www /x/y", "y"),
    ("FOO=1 BAR='2' /x/y.sh", "y"),
    ("env -i A=b /x/zed", "zed"),
    ("timeout 30s curl -s http://x/y", "curl"),
    ("nice -n 10 ionice -c2 -n7 /x/y.rb", "y"),
    ("nohup /x/y &", "y"),
    ("/bin/sh -c \"/x/y z\"", "y"),
    ("python3 /x/y.py --fast", "y"),
    ("python3.11 -m http.server", "http.server"),
    ("python3 -u /x/y.py", "y"),
    ("flock -n /tmp/l nice -n 10 /opt/a b", "a"),
    ("flock -w 10 /tmp/lock /opt/a b", "a"),
    ("flock /tmp/lock -c /opt/a", "a"),
    ("node /a/b.js", "b"),
    ("$HOME/bin/x > /dev/null 2>&1", "x"),
    ("~/bin/y.sh", "y"),
    ("(cd /a; b)", "b"),
    ("a|b", "a"),
    ("x.tar.gz", "x.tar.gz"),
    ("\"/My Dir/run me.sh\" x", "run_me"),
    ("1password", "1password"),
    ("./start%first%second", "start"),
    ("///", "task"), ("\u00e9", "task"), ("!", "task"), ("-", "task"), ("cd /", "cd"), ("", "task"), ("&& ||", "task"),
    ("x" * 100, "x" * 60),
    ("if [ -x /a/b ]; then /a/b --x; fi", "b"),
    ("for f in a b; do gzip $f; done", "gzip"),
    ("while true; do poll; done", "poll"),
    ("su - user -c 'cmd args'", "cmd"),
    ("su www -s /bin/sh -c \"php artisan x\"", "artisan"),
    ("runuser -u www -- /x/y", "y"),
    ("perl -e 'print 1'", "perl"),
    ("python3 -c 'import x; print(1)'", "python3"),
    ("echo hi | mail -s x root", "mail"),
    ("bash -lc 'cd /srv && ./run.sh'", "run"),
    ("sudo -u www -H bash -c \"cd /x; ./go.sh a\"", "go"),
    ("java -Xmx1g -jar /x/app.jar", "app"),
    ("command -v certbot >/dev/null || exit 0; certbot renew", "certbot"),
    ("[ \"$(date +\\%d)\" -le 7 ] && /x/first.sh", "first"),
    ("find /tmp -name 'a;b' -delete", "find"),
    ("php -d memory_limit=1G /x/y.php", "y"),
    ("php -r 'echo 1;'", "php"),
    ("/usr/bin/env python3 x.py", "x"),
    ("( sleep 30 ; curl http://x )", "curl"),
    ("cd /x && if [ -f a ]; then ./b.sh; fi", "b"),
    ("cd /srv/app && flock -n /tmp/l.lock -c 'php artisan schedule:run' >> /dev/null", "artisan"),
    ("{ a; b; }", "a"),
    ("! pgrep x && y", "pgrep"),
    ("echo \"one $(date)\" >> /tmp/tz.txt", "echo"),
    ("su postgres -c pg_dumpall", "pg_dumpall"),
    ("su -l x", "su"),
    ("nice -n 19 ionice -c3 /opt/a.sh", "a"),
    ("/bin/sh /x/y.sh", "y"),
    ("docker exec app php artisan x", "docker"),
    ("gosu www /x/z", "z"),
    ("case $(date +\\%u) in 1) a;; esac", "a"),
    ("root", "root"),
    (">/var/log/x", "task"),
    ("test -x /usr/sbin/anacron || run-parts --report /etc/cron.daily", "cron.daily"),
    ("sh -c 'a' &", "a"),
    ("awk '{print $1}' x", "awk"),
    ("VAR=$(cat x) /x/y", "y"),
    ("time /x/y", "y"),
    ("/usr/local/bin/backup.sh >/dev/null 2>&1", "backup"),
    ("cd /x && ./y 2>&1 | logger -t z", "y"),
    ("chronic /x/y", "y"),
]


@pytest.mark.parametrize("command, name", NAMES)
def test_a_task_is_named_after_the_program_or_the_script(command, name):
    assert crontab_commands.task_name_for(command, ()) == name
    assert sc.is_name(name)


def test_a_name_that_is_taken_gets_a_number():
    assert crontab_commands.task_name_for("/x/backup.sh", {"backup"}) == "backup-2"
    assert crontab_commands.task_name_for("/x/backup.sh", {"backup", "backup-2", "backup-4"}) == "backup-3"
    assert sc.is_name(crontab_commands.task_name_for("x" * 99, {"x" * 60}))


# -- commands

SH, BASH = "/bin/sh", "/bin/bash"
COMMANDS = [
    ("date", SH, "date"),
    ("date", BASH, ["/bin/bash", "-c", "date"]),
    (r"date +\%s", SH, "date +%s"),
    (r"a \\ \\\% \n b", SH, "a \\ \\% \\n b"),
    ("x   \t", SH, "x"),
    ("printf x\\ ", SH, "printf x\\ "),
    ("x\\", SH, "x\\"),
    ("cat%", SH, "cat"),
    ("cat%%", SH, "{\ncat\n} <<'END_OF_INPUT'\n\nEND_OF_INPUT"),
    ("cat%a", SH, "{\ncat\n} <<'END_OF_INPUT'\na\nEND_OF_INPUT"),
    ("cat%a%", SH, "{\ncat\n} <<'END_OF_INPUT'\na\nEND_OF_INPUT"),
    ("cat%a%%", SH, "{\ncat\n} <<'END_OF_INPUT'\na\n\nEND_OF_INPUT"),
    ("cat%%a%b", SH, "{\ncat\n} <<'END_OF_INPUT'\n\na\nb\nEND_OF_INPUT"),
    (r"cat%a\%b\\%c\\\d", SH, "{\ncat\n} <<'END_OF_INPUT'\na%b\\%c\\\\\\d\nEND_OF_INPUT"),
    ("cat%END_OF_INPUT", SH, "{\ncat\n} <<'END_OF_INPUT_'\nEND_OF_INPUT\nEND_OF_INPUT_"),
    ("cat%END_OF_INPUT_%END_OF_INPUT", SH,
     "{\ncat\n} <<'END_OF_INPUT__'\nEND_OF_INPUT_\nEND_OF_INPUT\nEND_OF_INPUT__"),
    ("cat # why%a", SH, "{\ncat # why\n} <<'END_OF_INPUT'\na\nEND_OF_INPUT"),
    ("read -r 'x y'%a", BASH, "exec /bin/bash -c 'read -r '\"'\"'x y'\"'\"'' <<'END_OF_INPUT'\na\nEND_OF_INPUT"),
    ("cat <<E%a%E", SH, "exec /bin/sh -c 'cat <<E' <<'END_OF_INPUT'\na\nE\nEND_OF_INPUT"),
    (r"echo foo \\%x", SH, "exec /bin/sh -c 'echo foo \\' <<'END_OF_INPUT'\nx\nEND_OF_INPUT"),
    ("echo '<<'%x", SH, "{\necho '<<'\n} <<'END_OF_INPUT'\nx\nEND_OF_INPUT"),
    ("cat%a", "/opt/my shell", "exec '/opt/my shell' -c cat <<'END_OF_INPUT'\na\nEND_OF_INPUT"),
]


@pytest.mark.parametrize("command, shell, wanted", COMMANDS)
def test_a_command_with_its_percent_signs_becomes_what_the_shell_is_to_see(command, shell, wanted):
    assert crontab_commands.shell_command(command, shell) == wanted


# -- lines

def entries(text, has_users=False):
    table = crontab_tables.read_table(text, ME, has_users)
    return [(entry.number, entry.schedule, entry.user, entry.command, entry.comment)
            for entry in table.entries], table.left_out


@pytest.mark.parametrize("text, wanted", [
    ("", []),
    ("5 4 * * * x", [(1, "5 4 * * *", "", "x", "")]),
    ("\t5  4\t*  * *  \t x  y \n", [(1, "5 4 * * *", "", "x  y ", "")]),
    ("5 4 * * * x\r\n6 4 * * * y\r\n", [(1, "5 4 * * *", "", "x", ""), (2, "6 4 * * *", "", "y", "")]),
    ("-5 4 * * * x\n", [(1, "5 4 * * *", "", "x", "")]),
    ("@reboot x\n@daily\ty z\n", [(1, "@reboot", "", "x", ""), (2, "@daily", "", "y z", "")]),
    ("*/5 0-6/2 1,15 jan mon x\n", [(1, "*/5 0-6/2 1,15 jan mon", "", "x", "")]),
    ("# what it is\n5 4 * * * x\n6 4 * * * y\n",
     [(2, "5 4 * * *", "", "x", "what it is"), (3, "6 4 * * *", "", "y", "")]),
    ("#one,\n  ##  two\n5 4 * * * x\n", [(3, "5 4 * * *", "", "x", "one, two")]),
    ("# far away\n\n5 4 * * * x\n", [(3, "5 4 * * *", "", "x", "")]),
    ("# far away\n  \t\n5 4 * * * x\n", [(3, "5 4 * * *", "", "x", "")]),
    ("# of both\nA=b\n5 4 * * * x\n", [(3, "5 4 * * *", "", "x", "of both")]),
    ("# 5 4 * * * old\n5 4 * * * x\n", [(2, "5 4 * * *", "", "x", "")]),
    ("# why\n#@daily old\n5 4 * * * x\n", [(3, "5 4 * * *", "", "x", "")]),
    ("# why\n# m h  dom mon dow   command\n5 4 * * * x\n", [(3, "5 4 * * *", "", "x", "")]),
    ("# why\n#\n# really\n5 4 * * * x\n", [(4, "5 4 * * *", "", "x", "really")]),
    ("# a nightly copy of the whole database to the tape\n5 4 * * * x\n",
     [(2, "5 4 * * *", "", "x", "a nightly copy of the whole database to the tape")]),
    ("# 3 times a day is enough for it\n5 4 * * * x\n", [(2, "5 4 * * *", "", "x", "3 times a day is enough for it")]),
    ("5 4 * * * x # y\n", [(1, "5 4 * * *", "", "x # y", "")]),
    ("5 4 * * * a=b c\n@daily A = b\n", [(1, "5 4 * * *", "", "a=b c", ""), (2, "@daily", "", "A = b", "")]),
    ("5 4 * * * a\x0cb\x85c\u2028d\n", [(1, "5 4 * * *", "", "a\x0cb\x85c\u2028d", "")]),
])
def test_the_entries_of_a_crontab(text, wanted):
    assert entries(text) == (wanted, [])


def test_a_system_table_names_a_user_before_the_command():
    text = "# of the hour\n17 *\t* * *\troot    cd / && x\n@daily www  y z\n"
    assert entries(text, has_users=True)[0] == [
        (2, "17 * * * *", "root", "cd / && x", "of the hour"), (3, "@daily", "www", "y z", "")]
    assert entries("@daily x\n", has_users=True) == (
        [], [(1, "@daily x", "neither a variable nor a schedule with a command")])


def test_what_is_neither_a_variable_nor_an_entry_is_left_out_with_the_reason():
    garbage = ["hello", "5 4 * *", "5 4 * * *", "@daily", "=x", "5 4 * * * ", "A B=c", "\x00\udcff\x1b[0m"]
    found, left_out = entries("\n".join(garbage) + "\n7 7 * * * x\n")
    assert [entry[0] for entry in found] == [9]
    assert [number for number, _, _ in left_out] == list(range(1, 9))
    assert {reason for _, _, reason in left_out} == {"neither a variable nor a schedule with a command"}


@pytest.mark.parametrize("line, wanted", [
    ("A=b", {"A": "b"}),
    (" \tA \t= \t b c  \t", {"A": "b c"}),
    ("A=\"  b c \"", {"A": "  b c"}),  # Debian's cron drops the blanks at the end, whatever its manual says
    ("A=' \"b\" '  ", {"A": " \"b\""}),
    ("\"A\"='b'\r", {"A": "b"}),
    ("A=\"\"", {"A": ""}),
    ("A=b=c", {"A": "b=c"}),
    ("A=$HOME/x # no comment", {"A": "$HOME/x # no comment"}),
    ("A=50%\\", {"A": "50%\\"}),
    ("A=\"", {"A": "\""}),
    ("A=it's", {"A": "it's"}),
])
def test_the_variables_of_a_crontab(line, wanted):
    table = crontab_tables.read_table(line + "\n5 4 * * * x\n", ME)
    assert table.left_out == [] and table.entries[0].variables == wanted


def test_a_variable_holds_for_the_lines_below_it_until_it_is_set_again():
    table = crontab_tables.read_table("1 1 * * * a\nX=1\n2 2 * * * b\nY=2\nX=3\n3 3 * * * c\n", ME)
    assert [entry.variables for entry in table.entries] == [{}, {"X": "1"}, {"X": "3", "Y": "2"}]


def test_the_blocks_of_the_conductor_are_passed_over_and_those_of_others_are_not():
    own = sc.with_block("1 1 * * * before\n", "/srv/a", ["MAILTO=a", "* * * * * cd /srv/a && exec x tick", "MAILTO=b"])
    own = sc.with_block(own + "# BEGIN other\n2 2 * * * other\n# END other\n", "/srv/a b", ["* * * * * own"])
    found, left_out = entries(own.replace("\n# END symphony-conductor /srv/a b\n",
                                          "\r\n# END symphony-conductor /srv/a b\n") + "3 3 * * * after\n")
    assert [entry[3] for entry in found] == ["before", "other", "after"]
    assert left_out == []


def test_a_line_that_calls_the_conductor_is_no_task_of_the_conductor():
    own = ["* * * * * cd /a && exec python3 -I -S -c 'import symphony_conductor as c; c.command_line()' tick >>x 2>&1",
           "* * * * * /srv/a/symphony_conductor.py tick >> x 2>&1",
           "* * * * * python3 /a/symphony_conductor.py --root /b tick"]
    text = "\n".join(own) + "\n5 4 * * * /srv/a/symphony_conductor.py check\n"
    found = symphony_import_crontab.import_tasks(text, ME)
    assert [(number, reason) for number, _, reason in found.left_out] == [
        (number, "it runs the conductor itself") for number in (1, 2, 3)]
    assert [number for number, _ in found.tasks] == [4]


# -- tasks

def tasks_of(text, known=None, has_users=False):
    config = sc.Config(tasks=known or {})
    found = symphony_import_crontab.import_tasks(text, ME, has_users, config)
    return [task for _, task in found.tasks], [(number, reason) for number, _, reason in found.left_out]


MAIL_USER = ME.replace(accounts=frozenset(("me", "root", "mail")),
                       is_program=lambda word: word == "echo")
NOT_CARRIED_OVER = [
    ("0 1 * * * echo a\0b\n", [], "the command has a NUL byte, "),
    ("0 1 * * * echo a\udce9b\n", [], "the command is not UTF-8, "),
    ("A=\0\n1 1 * * * d $A\n", [], "the value has a NUL byte; lines that use A are"),
    ("# x\0y\n0 1 * * * good\n", ["good"], ""),
    ("0 0 * * * sun\n", [], "6 fields where cron has 5, and no command"),
    ("-q 0 2 * * * c\n", [], "schedule: minute 'q'"),
    ("15 14 1 * * mail -s \"It's 10pm\" joe%Joe,%%Where are your kids?%\n", ["mail"], ""),
    ("15 14 1 * * mail joe\n15 14 1 * * echo a\n", ["echo"], "'mail' is a user on this machine"),
    ("15 14 1 * * root /x\n", [], "it runs as root"),
]


@pytest.mark.parametrize("text, names, reason", NOT_CARRIED_OVER)
def test_what_is_not_carried_over_says_so_once_and_for_the_true_reason(text, names, reason):
    found = symphony_import_crontab.import_tasks(text, MAIL_USER, None)
    assert [task["name"] for _, task in found.tasks] == names
    assert [first for _, _, first in found.left_out[:1] if first.startswith(reason)] or not reason
    assert len(found.left_out) == bool(reason) or "A=" in text
    lost = [number for number, _, _ in found.left_out]
    assert [note for number, note in found.notes if number in lost] == []


@pytest.mark.parametrize("text", [
    "X=a%sb\n", "X=%sa\n", "* * * * * a%sb\n", "#%sa\n", "X%s\n", "*%s* * * * a\n", "%s= b\n", "1%s2 a b\n"])
@pytest.mark.parametrize("filler", [" ", "\t", "a ", "\\", "'", "%%"])
def test_a_long_line_takes_no_longer_than_its_length(text, filler):
    started = time.process_time()
    symphony_import_crontab.import_tasks(text % (filler * 40000), ME, None)
    assert time.process_time() - started < 1


def test_a_task_runs_as_cron_ran_its_line():
    tasks, left_out = tasks_of("# nightly\n5 4 * * * /x/backup.sh\n")
    assert left_out == []
    assert tasks == [{"name": "backup", "description": "nightly", "command": "/x/backup.sh", "schedule": "5 4 * * *",
                      "cwd": "/home/me", "timeout": 82800, "retry_count": 0}]


def test_the_variables_of_the_table_go_along():
    tasks, left_out = tasks_of(
        "PATH=/opt/bin:/bin\nHOME=/srv/h\nCRON_TZ=Europe/Paris\nA=\"b c\"\nTZ=UTC\n5 4 * * * x\n")
    assert left_out == []
    assert (tasks[0]["cwd"], tasks[0]["timezone"]) == ("/srv/h", "Europe/Paris")
    assert tasks[0]["env"] == {"PATH": "/opt/bin:/bin", "HOME": "/srv/h", "A": "b c", "TZ": "UTC"}


def test_the_shell_of_the_table_runs_the_command_and_stands_in_its_environment():
    (task,), left_out = tasks_of("SHELL=/bin/bash\n5 4 * * * x y\n")
    assert left_out == [] and task["command"] == ["/bin/bash", "-c", "x y"]
    assert task["env"] == {"SHELL": "/bin/bash"}, "flock -c, script and others ask for it"


def test_the_settings_to_have_failures_mailed_can_be_pasted():
    words = crontab_tables.CRON_VARIABLES["MAILTO"]
    settings = json.loads("{%s}" % words.partition('"settings": ')[2])
    assert settings["notification_email"] == "me@example.org"
    config = sc.build_config([("table", {"tasks": [], "settings": settings})])
    assert config.problems == [] and config.enable_notifications is True


@pytest.mark.parametrize("line, reason", [
    ("MAILTO=ops@x", crontab_tables.CRON_VARIABLES["MAILTO"]),
    ("RANDOM_DELAY=5", "there is no random delay; to spread tasks evenly, use H as the minute"),
    ("START_HOURS_RANGE=3-22", "only anacron uses it; start_deadline limits how late a task may start"),
    ("MAILFROM=x", "it only affects mail, and the conductor does not mail output"),
    ("CONTENT_TYPE=text/plain", "it only affects mail, and the conductor does not mail output"),
    ("LOGNAME=x", "cron sets it itself and ignores the crontab's value"),
    ("USER=x", "cron sets it itself and ignores the crontab's value"),
])
def test_a_variable_that_only_cron_understands_is_left_out_with_the_reason(line, reason):
    tasks, left_out = tasks_of(line + "\n5 4 * * * x\n")
    assert left_out == [(1, reason)] and "env" not in tasks[0]


def test_an_empty_mailto_takes_no_words():
    assert tasks_of("MAILTO=\"\"\n5 4 * * * x\n")[1] == []


@pytest.mark.parametrize("line, reason", [
    ("61 4 * * * x", "minute '61' is outside 0-59"),
    ("5 4 30 feb * x", "schedule: "),
    ("@annualy x", "schedule: "),
    ("*/0 * * * * x", "schedule: "),
])
def test_a_schedule_that_cron_takes_or_not_but_nobody_means_is_left_out_with_the_reason(line, reason):
    tasks, left_out = tasks_of(line + "\n5 4 * * * fine\n")
    assert [task["name"] for task in tasks] == ["fine"]
    assert left_out[0][0] == 1 and reason in left_out[0][1]
    assert "tasks[0]" not in left_out[0][1] and len(left_out) == 1


def test_the_lines_of_other_users_in_a_system_table_are_left_out():
    tasks, left_out = tasks_of("5 4 * * * me x\n5 4 * * * www y\n", has_users=True)
    assert [task["name"] for task in tasks] == ["x"]
    assert left_out == [(2, "it runs as www; tasks run as the user who runs the tick: import it as www, into a folder "
                            "of that user")]


def test_names_are_unique_among_the_imported_and_the_known():
    known = {"backup": sc.Task(name="backup")}
    tasks, _ = tasks_of("5 4 * * * /x/backup.sh\n6 4 * * * /y/backup.sh\n7 4 * * * x\n", known)
    assert [task["name"] for task in tasks] == ["backup-2", "backup-3", "x"]


def test_what_is_a_task_already_is_not_imported_again_whatever_its_name():
    text = "A=b\n5 4 * * * x\nHOME=/srv\n5 4 * * * x\n"
    tasks, _ = tasks_of(text)
    assert len(tasks) == 2
    config = sc.build_config([("f", {"tasks": [dict(task, name="n%d" % at) for at, task in enumerate(tasks)]})])
    assert config.problems == []
    assert tasks_of(text, config.tasks) == (
        [], [(2, "already defined as task 'n0'"), (4, "already defined as task 'n1'")])
    assert len(tasks_of(text.replace("5 4", "5 5"), config.tasks)[0]) == 2
    assert len(tasks_of(text.replace("A=b", "A=c"), config.tasks)[0]) == 2


# -- the command

FAKE = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$1" in
  -l) [ -e "$here/table" ] || { echo "no crontab for you" >&2; exit 1; }
      cat "$here/table" ;;
  *) exit 9 ;;
esac
"""
TABLE = """MAILTO=ops@x
# saves it all
5 4 * * * /x/backup.sh --all
# BEGIN symphony-conductor /elsewhere
* * * * * cd /elsewhere && exec python3 symphony_conductor.py tick
# END symphony-conductor /elsewhere
61 * * * * broken
@reboot cd /srv && ./start --now%first%second
"""
COMPLAINTS = [
    "symphony_conductor: %s: line 1: MAILTO=ops@x",
    "symphony_conductor:     " + crontab_tables.CRON_VARIABLES["MAILTO"],
    "symphony_conductor: %s: line 7: 61 * * * * broken",
    "symphony_conductor:     schedule: minute '61' is outside 0-59",
    "symphony_conductor: %s: 8 lines: 2 tasks, 2 left out, 1 comment, 3 of the conductor"]


def complaints_on(place):
    return [line.replace("%s", str(place)) for line in COMPLAINTS]


@pytest.fixture
def env(tmp_path):
    """An environment whose crontab(1) can list, and nothing else."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "crontab").write_text(FAKE)
    (tools / "crontab").chmod(0o755)
    (tools / "table").write_text(TABLE)
    yield dict(os.environ, PATH="%s:%s" % (tools, os.environ["PATH"]), LC_ALL="C.UTF-8")
    calls = (tools / "calls").read_text().splitlines() if (tools / "calls").exists() else []
    assert set(calls) <= {"-l"}, "whatever happens, nothing is written to the crontab"
    assert not (tools / "table").exists() or (tools / "table").read_text() == TABLE


def drop_ins(project):
    folder = project.root / "config" / "tasks.d"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def normal(err):
    return [line.replace("schedule: schedule: ", "schedule: ") for line in err.splitlines()]


def test_import_prints_a_configuration_that_check_accepts(project, env, tmp_path):
    project.configure(every_minute("here"))
    code, out, err = project.call("import-crontab", env=env)
    assert code == 0
    assert normal(err) == complaints_on("crontab")
    tasks = json.loads(out)["tasks"]
    assert [(task["name"], task["schedule"], task["cwd"]) for task in tasks] == [
        ("backup", "5 4 * * *", sc.current_user()[1]), ("start", "@reboot", sc.current_user()[1])]
    other = tmp_path / "imported.json"
    other.write_text(out)
    other.chmod(0o600)
    code, out, err = project.call("check", "--config", str(other))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("%s: 2 tasks, 0 problems, " % other)
    assert drop_ins(project) == []


def test_a_table_comes_from_a_file_or_from_stdin_as_well(project, env, tmp_path):
    wanted = project.call("import-crontab", env=env)[1]
    path = tmp_path / "some table"
    path.write_text(TABLE)
    code, out, err = project.call("import-crontab", str(path), env=env)
    assert (code, out) == (0, wanted)
    assert normal(err) == complaints_on(path)
    done = subprocess.run(project.command("import-crontab", "-"), input=TABLE.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=env, timeout=60)
    assert (done.returncode, done.stdout.decode()) == (0, wanted)
    assert normal(done.stderr.decode()) == complaints_on("stdin")


@pytest.mark.parametrize("content, tally", [
    (b"", "0 lines"), (b"\n\n# nothing\n", "3 lines: 1 comment, 2 blank"), (b"A=b\n", "1 line: 1 variable")])
def test_a_table_without_entries_is_no_tasks(project, tmp_path, content, tally):
    path = tmp_path / "table"
    path.write_bytes(content)
    tally = "symphony_conductor: %s: %s\n" % (path, tally)
    assert project.call("import-crontab", str(path)) == (0, "{\n  \"tasks\": []\n}\n", tally)
    assert project.call("import-crontab", "--write", str(path)) == (0, "nothing was written\n", tally)
    assert list((project.root / "config").iterdir()) == [], "no tasks, no configuration for them"


def test_a_line_that_is_legal_but_seldom_meant_is_converted_with_a_warning(project, tmp_path):
    path = tmp_path / "table"
    path.write_text("0 2 1-7 * 1 first\n0 3 * * 1 second\n")
    code, out, err = project.call("import-crontab", str(path))
    assert code == 0 and [task["name"] for task in json.loads(out)["tasks"]] == ["first", "second"]
    warning, tally = err.splitlines()
    assert tally == "symphony_conductor: %s: 2 lines: 2 tasks" % path
    assert warning.startswith("symphony_conductor: %s: line 1: warning: cron reads day-of-month '1-7' and " % path)
    assert warning.endswith("(for the 1st Monday of the month only: '0 2 * * 1#1')")


def test_no_crontab_at_all_is_no_tasks(project, env, tmp_path):
    (tmp_path / "tools" / "table").unlink()
    assert project.call("import-crontab", env=env) == (
        0, "{\n  \"tasks\": []\n}\n", "symphony_conductor: crontab: 0 lines\n")


def test_a_file_that_cannot_be_read_is_said(project, tmp_path):
    path = tmp_path / "gone"
    assert project.call("import-crontab", str(path)) == (
        74, "", "symphony_conductor: cannot read %s: No such file or directory\n" % path)
    assert project.call("import-crontab", str(tmp_path)) == (
        74, "", "symphony_conductor: cannot read %s: Is a directory\n" % tmp_path)


def test_a_file_that_is_no_crontab_yields_no_task_and_no_control_character(project, tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(bytes(range(256)) * 3 + b"\x1b]0;title\x07\n5 4 * * * caf\xe9 \x1b[31m\n6 4 * * * fine\n")
    code, out, err = project.call("import-crontab", str(path))
    assert code == 0 and "Traceback" not in err
    assert [task["command"] for task in json.loads(out)["tasks"]] == ["fine"]
    assert all(line.startswith("symphony_conductor: ") for line in err.splitlines())
    assert not set(err) & {"\x1b", "\x07", "\x00", "\r"}, "a terminal would obey them"


def test_write_makes_a_private_file_for_each_line_and_says_what_to_remove(project, env):
    project.configure(every_minute("here"))
    code, out, err = project.call("import-crontab", "--write", env=env)
    assert code == 0
    assert normal(err) == complaints_on("crontab")
    assert out == ("wrote config/tasks.d/backup.json\nwrote config/tasks.d/start.json\n"
                   "Cron still runs these lines. To hand them over to the conductor:\n"
                   "  %s import-crontab --switch\n" % sc.own_command(str(project.root), is_short=True))
    assert drop_ins(project) == ["backup.json", "start.json"]
    folder = project.root / "config" / "tasks.d"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert project.call("check")[1].splitlines()[-1].startswith("config/conductor_config.json: 3 tasks, 0 problems, ")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    code, out, err = project.call("import-crontab", "--write", env=env)
    assert (code, out) == (0, "nothing was written\n")
    assert "line 3: 5 4 * * * /x/backup.sh --all\nsymphony_conductor:     already defined as task 'backup'" in err
    assert "symphony_conductor:     already defined as task 'start'" in err
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_write_names_the_file_when_the_lines_came_from_one(project, tmp_path):
    project.configure()
    path = tmp_path / "table"
    path.write_bytes(b"5 4 * * * x\r\n")
    assert project.call("import-crontab", "--write", str(path))[1] == (
        "wrote config/tasks.d/x.json\nThese lines run twice until you remove them from %s:\n"
        "    1  5 4 * * * x\n" % path)


def test_write_overwrites_nothing(project, env):
    project.configure()
    folder = project.root / "config" / "tasks.d"
    folder.mkdir(mode=0o700)
    (folder / "start.json").write_text(json.dumps(every_minute("another")))
    (folder / "start.json").chmod(0o600)
    code, out, err = project.call("import-crontab", "--write", env=env)
    assert json.loads((folder / "start.json").read_text())["name"] == "another"
    assert code == 0 and "wrote config/tasks.d/start-2.json\n" in out, err


def test_write_follows_no_link(project, tmp_path):
    project.configure()
    folder = project.root / "config" / "tasks.d"
    folder.mkdir(mode=0o700)
    (folder / "x.json").symlink_to(tmp_path / "victim")
    (tmp_path / "table").write_text("5 4 * * * x\n")
    project.call("import-crontab", "--write", str(tmp_path / "table"))
    assert not (tmp_path / "victim").exists() and (folder / "x.json").is_symlink()


def test_write_beside_a_configuration_that_cannot_be_read_writes_nothing(project, env):
    project.write_config("{")
    code, out, err = project.call("import-crontab", "--write", env=env)
    assert (code, out) == (78, "") and "line 1" in err
    assert drop_ins(project) == []
    assert project.call("import-crontab", env=env)[0] == 0, "to look at it is no harm"


def test_the_name_of_a_task_that_is_wrong_is_taken_all_the_same(project, env):
    project.configure(dict(every_minute("backup"), schedule="61 * * * *"))
    assert project.call("import-crontab", "--write", env=env)[0] == 0
    assert drop_ins(project) == ["backup-2.json", "start.json"]


def test_a_system_table_is_known_by_its_place(project):
    for path in ("/etc/crontab", "/etc/cron.d/none"):
        if os.path.exists(path):
            code, out, _ = project.call("import-crontab", path)
            assert code == 0
            assert not any(task["name"] == "root" for task in json.loads(out)["tasks"])
    args = argparse.Namespace(file="/etc/hostname", system=None)
    assert symphony_import_crontab.table_to_import(args)[2] is None, "its content tells"


def test_the_imported_tasks_run_where_cron_ran_them(project, tmp_path):
    home = tmp_path / "a home"
    home.mkdir()
    (tmp_path / "table").write_text("HOME=%s\nA='b  c'\n5 4 * * * pwd; echo \"$A\"; cat%%one%%two\n" % home)
    project.configure()
    assert project.call("import-crontab", "--write", str(tmp_path / "table"))[0] == 0
    assert project.call("run", "--task", "pwd")[:2] == (0, "%s\nb  c\none\ntwo\n" % home)


def test_a_home_that_is_no_folder_is_replaced_by_the_root_as_cron_does(tmp_path):
    machine = ME.replace(home="/nonexistent", is_folder=lambda path: path == "/srv")
    table = "5 4 * * * a\n6 4 * * * b\nHOME=/srv\n7 4 * * * c\nHOME=$HOME/x\n8 4 * * * d\n"
    imported = symphony_import_crontab.import_tasks(table, machine)
    assert [task["cwd"] for _, task in imported.tasks] == ["/", "/", "/srv", "/"]
    notes = [note for number, note in imported.notes if number == 0]
    assert notes == ["the home %s is no folder, so the tasks run in /, as with cron" % home
                     for home in ("$HOME/x", "/nonexistent")]
    here = symphony_import_crontab.this_machine("")
    assert here.is_folder(str(tmp_path)) and not here.is_folder(str(tmp_path / "no"))
    assert not here.is_folder("."), "relative to what?"


# -- with a real cron daemon: one minute of a table, and then the same lines as tasks

# @ is the file of the line, ~ a blank.
TRICKY = r"""MAILTO=""
* * * * * env > @
* * * * * date +\%Y > @
* * * * * echo "100\%" '50\%' > @
* * * * * printf "[\%s]\n" "a b" > @
* * * * * echo \\\\ "\\\\" '\\\\' > @
* * * * * printf "\%s\n" "a\\b" 'a\b' a\\b \\\% '\\\%' > @
* * * * * printf '\%s|' 'it'\''s' "\"x\"" > @
* * * * * cat > @%one line
* * * * * cat > @%first%second%third
* * * * * cat > @%a \% sign, two \\ and one \x \\\% % and a blank %
* * * * * cat > @%%leading and%%in the middle%
* * * * * cat > @%at the end%%%
* * * * * cat > @%%
* * * * * (cat; echo end) > @%
* * * * * cat > @%END_OF_INPUT%$HOME `id` "q" 'r'
* * * * * wc -c > @ # a comment% not seen  by  the shell
* * * * * echo blanks > @ ~~ ~
* * * * * > @ printf '[\%s]' a\~
* * * * * echo "# no comment" > @ # a comment > /dev/null
* * * * * echo a > @; echo b | tr b c >> @
* * * * * { sleep 0.3; echo background >> @; } & echo front > @
* * * * * exec > @; echo exec; exit 3
* * * * * pwd > @; umask >> @; echo "$0 $# $-" >> @
* * * * * trap "echo trapped > @" EXIT; true
* * * * * if read -r x; then echo "<$x>"; else echo none; fi > @
* * * * * if read -r x; then read -r y; echo "<$x><$y>"; cat; fi > @%one%two \\ three%four
* * * * *	echo	tab	here é > @
FOO=bar  baz
 QUOTED = "  a 'b' "
SINGLE='x "y"'
BLANKS="  in quotes  "
EMPTY=""
DOLLAR=$HOME/bin
HASH= value # hash
PERCENT=50%\%\\
EQUAL=a=b
LOGNAME=other
* * * * * env | sort > @
* * * * * printf '\%s|' "$FOO" "$QUOTED" "$SINGLE" "$PERCENT" > @
PATH=/usr/local/bin:/usr/bin:/bin
TZ=America/New_York
* * * * * echo $PATH > @; date +\%Z >> @
SHELL=/bin/bash
* * * * * a=(1 2 3); echo ${a[1]} "$0" "$-" ${BASH_VERSION:+bash} $SHELL > @
* * * * * while read -r x; do echo "<$x>"; done > @%one%two \\ "three"%
* * * * * cat <<< "here 100\%" > @
HOME=/srv/home
* * * * * pwd > @; echo $HOME >> @; cd; pwd >> @
SHELL=/bin/sh
* * * * * pwd > @; echo ${BASH_VERSION-none} >> @; env | sort >> @
"""
DIFFERENTIAL = """
set -e
out=$1
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mkdir "$out/empty" && mount --bind "$out/empty" /etc/cron.d
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /srv/home /srv/out
mount --bind "$out" /srv/out
crontab "$out/table"
cron
while ! test -e "$out/stop"; do sleep 0.2; done
kill "$(cat /run/crond.pid)"
idle() { set -- /proc/[0-9]*; [ $# -eq 1 ]; }
while ! idle; do sleep 0.1; done
mv "$out/now" "$out/cron"
mkdir "$out/now"
"$2" "$out/project/symphony_conductor.py" import-crontab --write > "$out/said" 2> "$out/left_out"
set --  "$2"
while IFS= read -r line; do
    case $line in PWD=*|MAILTO=*|_=*|SHLVL=*|OLDPWD=*) ;; *) set -- "$line" "$@" ;; esac
done < "$out/cron/2"
cd /
for file in "$out"/project/config/tasks.d/*.json; do
    name=${file##*/}
    env -i "$@" -I -S "$out/project/symphony_conductor.py" run --task "${name%.json}" >> "$out/ran" 2>&1 || true
    while ! idle; do sleep 0.1; done
done
mv "$out/now" "$out/task"
crontab -l | cmp - "$out/table"
touch "$out/stopped"
"""


class Differential:
    """The table run by cron(8) in a namespace, then imported and run task by task."""

    def __init__(self, folder):
        self.folder = folder
        self.lines = TRICKY.replace("~", " ").replace("@", "/srv/out/now/@").split("\n")[:-1]
        self.lines = [line.replace("@", str(number)) for number, line in enumerate(self.lines, 1)]
        self.numbers = [number for number, line in enumerate(self.lines, 1) if "/srv/out/now/" in line]
        (folder / "table").write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        (folder / "now").mkdir()
        self.project = Project(folder / "project")
        (self.project.root / "symphony_conductor.py").write_bytes(SCRIPT.read_bytes())
        beside = self.project.root / "scripts" / "symphony_import_crontab.py"
        beside.parent.mkdir(mode=0o755)
        for name in (beside.name, "crontab_commands.py", "crontab_switch.py", "crontab_tables.py"):
            (beside.parent / name).write_bytes((SCRIPT.parent / "scripts" / name).read_bytes())
        self.project.configure()
        self.process = subprocess.Popen(
            NAMESPACE + ["/bin/sh", "-c", DIFFERENTIAL, "sh", str(folder), sys.executable],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def wait_until(self, condition, timeout_s):
        return self.project.wait_until(lambda: condition() or self.process.poll() is not None, timeout_s)

    def has_run(self):
        return all((self.folder / "now" / str(number)).exists() for number in self.numbers)

    def outputs(self, which):
        """What each line has written, less what only one of the two is meant to set."""
        found = {}
        for number in self.numbers:
            path = self.folder / which / str(number)
            text = path.read_bytes().decode("utf-8", "replace") if path.exists() else "(nothing)"
            kept = [line for line in text.splitlines(True)
                    if not line.startswith(("SYMPHONY_", "MAILTO=", "_=", "SHLVL=", "OLDPWD="))]
            if "env" in self.lines[number - 1]:
                kept.sort()
            found[self.lines[number - 1]] = "".join(kept)
        return found

    def stop(self):
        (self.folder / "stop").write_text("")
        self.wait_until((self.folder / "stopped").exists, 60)
        self.process.kill()
        return self.process.communicate()[0].decode("utf-8", "replace")


@pytest.fixture(scope="module", autouse=True)
def differential(tmp_path_factory):
    if CronDaemon._why_not():
        yield None
        return
    made = Differential(tmp_path_factory.mktemp("differential"))
    yield made
    made.process.kill()


def test_a_real_cron_daemon_and_the_imported_tasks_do_the_same(differential):
    if differential is None:
        pytest.skip(CronDaemon._why_not())
    differential.wait_until(differential.has_run, 130)
    assert differential.stop() == ""
    left_out = (differential.folder / "left_out").read_text().splitlines()
    left_out = [line for line in left_out if ": warning: " not in line]
    assert left_out[0].endswith(": LOGNAME=other") and len(left_out) == 3, "with the reason, and the tally"
    by_cron, by_task = differential.outputs("cron"), differential.outputs("task")
    assert len(by_cron) >= 35 and "(nothing)" not in by_cron.values()
    differing = {line: (text, by_task[line]) for line, text in by_cron.items() if by_task[line] != text}
    assert differing == {}
