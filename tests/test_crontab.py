"""The crontab line: as text, against a crontab(1) that misbehaves, and with a real cron daemon."""

import grp
import json
import os
import pathlib
import pwd
import random
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from support import NAMESPACE, ODD_NAME, REPOSITORY, SCRIPT, CronDaemon, Project, every_minute

import symphony_conductor as sc

NEIGHBOURS = "# mine\nMAILTO=me\n\n\t5 4 * * *  other %job\n# BEGIN other-tool\n1 2 3 4 5 x\n# END other-tool\n"


# -- the template

def test_the_template_ends_with_the_very_line_of_the_program_and_explains_each_word_of_it():
    lines = (REPOSITORY / "cron" / "symphony.crontab").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [sc.CRONTAB_LINE]
    assert lines[-1] == sc.CRONTAB_LINE
    explained = "\n".join(lines[:-1])
    words = re.findall("@[A-Z]+@", sc.CRONTAB_LINE)
    assert words == ["@ROOT@", "@PYTHON@", "@PROGRAM@", "@OUTPUT@"]
    for word in words:
        assert re.search(r"(?m)^#   .*%s .*[a-z]" % word, explained), word
    for part in ("* * * * *", "-I -S", "{ [ -d logs ] || ", "exec ", "tick ", sc.OUTPUT_LOGGED, "--mailto"):
        assert part in explained, part


def test_the_template_filled_in_by_hand_is_the_line_that_install_writes():
    by_hand = sc.CRONTAB_LINE
    for word, text in (("@ROOT@", "/srv/a"), ("@PYTHON@", "/usr/bin/python3"), ("@OUTPUT@", sc.OUTPUT_LOGGED)):
        by_hand = by_hand.replace(word, text)
    before, after = by_hand.split("@PROGRAM@")
    line = sc.crontab_line("/srv/a", "/usr/bin/python3", "/srv/a/symphony_conductor.py")
    assert line.startswith(before) and line.endswith(after)


# -- as text

def test_installing_twice_changes_nothing():
    once = sc.with_block(NEIGHBOURS, "/srv/a", ["LINE"])
    assert once == NEIGHBOURS + "# BEGIN symphony-conductor /srv/a\nLINE\n# END symphony-conductor /srv/a\n"
    assert sc.with_block(once, "/srv/a", ["LINE"]) == once


def test_uninstalling_leaves_the_neighbours_byte_for_byte():
    odd = "\r\nodd\x0b\udcff\n1 2 3 4 5 a\x0cb\n6 7 8 9 1 c\x85d\u2028e\x1c\rf\n# crlf\r\n"
    for neighbours in ("", NEIGHBOURS, NEIGHBOURS + odd, odd + NEIGHBOURS):
        assert sc.without_block(sc.with_block(neighbours, "/srv/a", ["LINE"]), "/srv/a") == neighbours


def test_projects_share_a_crontab_even_when_one_name_begins_the_other():
    table = sc.with_block(sc.with_block(NEIGHBOURS, "/srv/ab", ["AB"]), "/srv/a", ["A"])
    assert sc.without_block(table, "/srv/a") == sc.with_block(NEIGHBOURS, "/srv/ab", ["AB"])
    assert sc.without_block(table, "/srv/ab") == sc.with_block(NEIGHBOURS, "/srv/a", ["A"])


def test_a_new_line_takes_the_place_of_the_old_one():
    table = sc.with_block(NEIGHBOURS, "/srv/a", ["OLD"]) + "7 7 * * * later\n"
    assert sc.with_block(table, "/srv/a", ["NEW"]) == table.replace("OLD", "NEW")


def test_a_table_without_a_final_newline_keeps_its_last_line():
    table = sc.with_block("5 4 * * * other", "/srv/a", ["LINE"])
    assert table.startswith("5 4 * * * other\n# BEGIN")


@pytest.mark.parametrize("table", [
    "# BEGIN symphony-conductor /srv/a\nLINE\n5 4 * * * precious\n",
    "# BEGIN symphony-conductor /srv/a\nLINE\n# BEGIN symphony-conductor /srv/b\nX\n# END symphony-conductor /srv/b\n",
    "# BEGIN symphony-conductor /srv/a\nLINE\n# END symphony-conductor /srv/b\n",
])
def test_a_block_without_its_end_is_refused(table):
    for change in (lambda: sc.without_block(table, "/srv/a"), lambda: sc.with_block(table, "/srv/a", ["NEW"])):
        with pytest.raises(sc.ConfigError) as caught:
            change()
        assert "has no END line" in str(caught.value)


def test_the_line_goes_by_way_of_the_bytecode_cache_and_escapes_what_cron_would_eat():
    line = sc.crontab_line("/srv/1 00%", "/usr/bin/python3", "/srv/1 00%/symphony_conductor.py")
    assert line == (
        "* * * * * cd \"$(printf '/srv/1 00\\045')\" && { [ -d logs ] || mkdir -m 700 logs; } && "
        "exec /usr/bin/python3 -I -S -c "
        "'import sys; sys.path.append(\".\"); import symphony_conductor as c; c.command_line()' tick "
        ">>logs/conductor_cron.log 2>&1")


@pytest.mark.parametrize("lines, addresses", [
    ("", []),
    ("MAILTO=a@b\n", ["a@b"]),
    ("MAILTO=a@b\r\n", ["a@b"]),
    (" \tMAILTO\t = \t a@b  \n", ["a@b"]),
    ("MAILTO=\"a@b\"\nMAILTO='c'\n", ["a@b", "c"]),
    ("\"MAILTO\"=a\n'MAILTO' = b", ["a", "b"]),
    ("MAILTO=\"\"\nMAILTO=''\n", ["", ""]),
    ("MAILTO=a b\n", ["a b"]),
    ("# MAILTO=a\nXMAILTO=b\nMAILTOX=c\n* * * * * MAILTO=d\nmailto=e\n", []),
    ("\x0cMAILTO=a\n", []),
])
def test_the_addresses_of_a_table_are_read_as_cron_reads_them(lines, addresses):
    assert sc.variable_values(lines, "MAILTO") == addresses


@pytest.mark.parametrize("above, mailto, before, after", [
    ("", "", [], []),
    ("SHELL=/bin/sh\n", "", [], []),
    ("SHELL=/usr/bin/fish\n", "", ["SHELL=/bin/sh"], ["SHELL=/usr/bin/fish"]),
    ("SHELL=/bin/bash\n0 5 * * * x\n SHELL = '/bin/csh' \n", "", ["SHELL=/bin/sh"], ["SHELL=/bin/csh"]),
    ("#SHELL=/bin/csh\nXSHELL=/bin/csh\n", "", [], []),
    ("SHELL=/bin/csh\nSHELL=/bin/sh\n", "", [], []),
    ("SHELL=/bin/csh\nMAILTO=boss@x\n", "ops@x",
     ["SHELL=/bin/sh", "MAILTO=ops@x"], ["SHELL=/bin/csh", "MAILTO=boss@x"]),
    ("SHELL=/bin/csh\n", "ops@x", ["SHELL=/bin/sh", "MAILTO=ops@x"], ["SHELL=/bin/csh", "MAILTO=me"]),
    ("MAILTO=''\n", "ops@x", ["MAILTO=ops@x"], ['MAILTO=""']),
    ("RANDOM_DELAY=45\n", "", ["RANDOM_DELAY=0"], ["RANDOM_DELAY=45"]),
    ("RANDOM_DELAY=45\nRANDOM_DELAY=0\n", "", [], []),
])
def test_a_block_sets_what_its_line_needs_and_gives_back_what_was_in_force(above, mailto, before, after):
    assert sc.block_lines("LINE", above, mailto, "me") == before + ["LINE"] + after


HEADER = ("# DO NOT EDIT THIS FILE - edit the master and reinstall.\n"
          "# (/tmp/crontab.Xa1 installed on Mon Jun  2 10:00:00 2025)\n"
          "# (Cron version V5.0 -- $Id: crontab.c,v 1.12 2004/01/23 18:56:42 vixie Exp $)\n")


@pytest.mark.parametrize("header, rest", [
    (HEADER, "1 2 3 4 5 x\n"), (HEADER * 3, "1 2 3 4 5 x\n"), (HEADER, ""), (HEADER[:57], "# mine\n"),
    (HEADER.replace("V5.0 -- $Id: crontab.c,v 1.12 2004/01/23 18:56:42 vixie Exp $", "4.2"), ""),
    (HEADER.replace("# (Cron ", "# (Cronie "), "# mine\n" + HEADER),
    ("", "# DO NOT EDIT THIS FILE\n"), ("", "# (mine) installed on\n"), ("", "\n" + HEADER), ("", "")])
def test_the_header_that_crontab_writes_itself_is_no_part_of_a_table(header, rest):
    assert sc.without_header(header + rest) == rest


def run_as_cron(line):
    """What cron(8) does with the sixth field."""
    command = line.split(None, 5)[5]
    assert "%" not in command and "\\\\" not in command  # what crons take for something else, each in its way
    return subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          env={"PATH": "/usr/bin:/bin", "HOME": "/", "LOGNAME": "x", "SHELL": "/bin/sh"})


@pytest.mark.parametrize("name", [
    "plain", "with space", ODD_NAME, "back\\slash $HOME `id`", "two\\\\ \\%d", "-dash", "#hash"])
def test_the_line_works_in_folders_with_odd_names(tmp_path, name):
    project = Project(tmp_path / name)
    shutil.copy(str(SCRIPT), str(project.root))
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    line = sc.crontab_line(str(project.root), sys.executable, str(project.root / "symphony_conductor.py"))
    for _ in range(2):
        done = run_as_cron(line)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert project.read("logs/conductor_cron.log") == ""
        assert (project.root / "status" / "heartbeat").exists()


def test_the_line_for_a_root_elsewhere_names_the_folder_of_the_file(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    line = sc.crontab_line(str(project.root), sys.executable, str(SCRIPT))
    assert run_as_cron(line).returncode == 0
    assert (project.root / "status" / "heartbeat").exists()


def test_the_line_survives_an_edit_of_the_file_and_a_folder_without_a_cache(tmp_path):
    project = Project(tmp_path / "p")
    copy = project.root / "symphony_conductor.py"
    shutil.copy(str(SCRIPT), str(copy))
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    line = sc.crontab_line(str(project.root), sys.executable, str(project.root / "symphony_conductor.py"))
    assert run_as_cron(line).returncode == 0
    copy.write_text(copy.read_text().replace("def command_line() -> None:\n",
                                             "def command_line() -> None:\n    posix.write(1, b'edited\\n')\n"))
    assert run_as_cron(line).returncode == 0
    assert project.read("logs/conductor_cron.log") == "edited\n"
    shutil.rmtree(str(project.root / "__pycache__"))
    (project.root / "__pycache__").write_text("in the way, as in a folder that cannot be written to")
    assert run_as_cron(line).returncode == 0
    assert project.read("logs/conductor_cron.log") == "edited\nedited\n"


def test_a_folder_that_is_gone_says_so_and_nothing_else_happens(tmp_path):
    line = sc.crontab_line(str(tmp_path / "gone"), sys.executable, str(SCRIPT))
    done = run_as_cron(line)
    assert done.returncode != 0 and done.stdout == b""
    assert len(done.stderr.splitlines()) == 1, "what cron mails, once a minute"
    assert list(tmp_path.iterdir()) == []


def test_the_line_brings_back_a_folder_for_its_log_that_is_for_the_owner_alone(project):
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    line = sc.crontab_line(str(project.root), sys.executable, str(SCRIPT))
    assert run_as_cron(line).returncode == 0
    shutil.rmtree(str(project.root / "logs"))
    assert run_as_cron(line).returncode == 0
    assert (project.root / "logs").stat().st_mode & 0o777 == 0o700
    assert project.read("logs/conductor_cron.log") == ""


def test_the_mailed_line_prints_what_a_tick_says_and_logs_it_as_well(project):
    project.write_config("{")
    line = sc.crontab_line(str(project.root), sys.executable, str(SCRIPT), mailed=True)
    done = run_as_cron(line)
    said = done.stdout.decode()
    assert "config/conductor_config.json" in said and done.stderr == b""
    assert project.read("logs/conductor_cron.log") == said
    assert run_as_cron(line).stdout == b"", "the same once more is no news, and no mail"


# -- what the crons make of a line, and the shell of the folder's name

def as_vixie_reads(command):
    """(command, input): an unescaped % ends the command; a backslash before one, or before another backslash, goes."""
    words, rest = "", iter(command)
    for letter in rest:
        if letter == "%":
            return words, "".join(rest)
        if letter == "\\":
            following = next(rest, "")
            letter = following if following in ("%", "\\") else letter + following
        words += letter
    return words, ""


def test_the_rule_that_the_names_are_held_against_is_vixies():
    assert as_vixie_reads("date +\\%s \\\\ \\n%in%put") == ("date +%s \\ \\n", "in%put")


def nasty_names(count):
    pieces = ["'", '"', "%", "\\", "\\\\", "\\%", "$", "$HOME", "${x}", "$(id)", "`", "`id`", " ", "  ", "#", " # ",
              "\u00e9", "-", "--", "a", "n", "0", "134", "\t", ";", "&", "|", "*", "?", "~", "!", "(", ")", "<", ">",
              "{", "\x0c", "\x85", "\x7f", "\udcff", "@ROOT@", "exec"]
    choose = random.Random(20)
    return ["".join(choose.choice(pieces) for _ in range(choose.randint(1, 7))) for _ in range(count)]


def test_every_cron_hands_the_shell_the_line_as_it_stands_and_it_enters_that_very_folder(tmp_path):
    for number, name in enumerate(nasty_names(150)):
        folder = tmp_path / str(number) / (name + ("" if name.strip(".") else "x"))
        folder.mkdir(parents=True)
        line = sc.crontab_line(str(folder), "/usr/bin/python3", str(folder / "symphony_conductor.py"))
        assert line.startswith("* * * * * cd ")
        command = line[len("* * * * * "):]
        assert as_vixie_reads(command) == (command, ""), name
        enters = command.partition(" && { ")[0] if name.count(" && { ") == 0 else ""
        done = subprocess.run(["/bin/sh", "-c", os.fsencode(enters) + b" && pwd -P && : > here"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              env={"PATH": "/usr/bin:/bin", "HOME": "/", "x": "y"})
        assert done.stdout == os.fsencode(str(folder)) + b"\n", (name, line, done.stderr)
        assert (folder / "here").exists(), name


def test_the_interpreter_of_a_line_is_read_back_from_any_path_that_needs_no_shell():
    for python in ("/usr/bin/python3", "/opt/my python/bin/python3", "/o'p\"t/$x/`y`/python3", "/exec/exec"):
        for root in ("/srv/a", "/srv/it's exec", "/srv/100%"):
            line = sc.crontab_line(root, python, root + "/symphony_conductor.py")
            block = sc.with_block("", root, sc.block_lines(line, "", "a@b", "c"))
            assert sc.python_of_block(block) == python
    for name in nasty_names(300):  # where it takes a shell, nothing is said; never a wrong one
        line = sc.crontab_line("/srv/" + name, "/usr/bin/python3", "/srv/%s/symphony_conductor.py" % name)
        assert sc.python_of_block(line) in ("", "/usr/bin/python3"), name
    line = sc.crontab_line("/srv/a", "/opt/100%/python3", "/srv/a/symphony_conductor.py")
    assert sc.python_of_block(line) == "", "that takes a shell to tell"
    assert sc.python_of_block("") == sc.python_of_block("it's exec\nexec\n") == ""


# -- against a crontab(1) of the test's own

FAKE = """#!/bin/sh
table="$(dirname "$0")/table"
[ ! -e "$(dirname "$0")/chatty" ] || echo "warning: the spool is nearly full" >&2
case "$1" in
  -l) [ ! -e "$(dirname "$0")/broken" ] || { cat "$(dirname "$0")/broken" >&2; exit 1; }
      [ -e "$table" ] || { echo "no crontab for you" >&2; exit 1; }
      cat "$table" ;;
  -) [ ! -e "$(dirname "$0")/full" ] || { echo "no space" >&2; exit 1; }
     [ ! -e "$(dirname "$0")/forgetful" ] || { sed '$d' > "$table"; exit 0; }
     echo write >> "$(dirname "$0")/writes"
     cat > "$table" ;;
esac
"""


@pytest.fixture
def fake(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "crontab").write_text(FAKE)
    (tools / "crontab").chmod(0o755)
    return tools


def with_tools(fake):
    return dict(os.environ, PATH="%s:%s" % (fake, os.environ["PATH"]))


def test_install_and_uninstall_say_what_they_did_and_are_idempotent(project, fake):
    (fake / "table").write_text(NEIGHBOURS)
    env = with_tools(fake)
    code, out, err = project.call("install", env=env)
    assert (code, err) == (0, "")
    assert out.startswith("installed the crontab line:\n* * * * * cd ")
    table = (fake / "table").read_text()
    assert project.call("install", env=env)[1].startswith("the crontab line is already installed:\n")
    assert (fake / "table").read_text() == table
    assert project.call("uninstall", env=env)[1].startswith("removed the crontab line for ")
    assert (fake / "table").read_text() == NEIGHBOURS
    assert project.call("uninstall", env=env)[1] == (
        "there is no crontab line for %s\nconfiguration, state and logs stay\n" % project.root)
    assert (fake / "table").read_text() == NEIGHBOURS


@pytest.mark.parametrize("daemon, command, options, end", [
    ("", "sudo service cron start", [],
     "WARNING: no cron daemon is running, so nothing calls the line yet; to start one: sudo service cron start\n"),
    ("", "", [], "WARNING: no cron daemon is running, so nothing calls the line yet\n"),
    ("", "", ["--daemon-checked"], " 2>&1\n"),
    ("cron", "", [], " 2>&1\n"),
    (None, "", [], " 2>&1\n"),  # the processes of others are hidden
])
def test_install_says_when_no_daemon_will_call_the_line(project, fake, monkeypatch, capsys, daemon, command, options,
                                                        end):
    project.configure()
    monkeypatch.setenv("PATH", with_tools(fake)["PATH"])
    monkeypatch.setattr(sc, "cron_daemon", lambda: daemon)
    monkeypatch.setattr(sc, "daemon_command", lambda: command)
    assert sc.main(["--root", str(project.root), "install"] + options) == 0
    assert capsys.readouterr().out.endswith(end)


def test_install_lets_slots_count_from_now_on_and_proves_nothing_about_cron(project, fake):
    project.configure(every_minute("a", "echo ran >> out"))
    env = with_tools(fake)
    assert project.call("install", "--dry-run", env=env)[0] == 0
    assert not (project.root / "conductor_state.json").exists()
    assert project.call("install", env=env)[0] == 0
    anchored = [event["tasks"]["a"]["since"] for event in sc.Store(str(project.root)).events()
                if event["event"] == "anchored"]
    assert len(anchored) == 1
    assert project.state()["tasks"]["a"]["next_slot"] > sc.from_iso(anchored[0])
    assert not (project.root / "out").exists()
    for name in (sc.HEARTBEAT_NAME, sc.ENVIRONMENT_NAME):
        assert not (project.root / name).exists(), name
    assert "no tick has run yet" in project.call("status")[1]
    before = project.read("conductor_state.json")
    assert project.call("install", env=env)[0] == 0
    assert project.read("conductor_state.json") == before


@pytest.mark.parametrize("text, said", [
    (None, "config/conductor_config.json: no such file (to create one: "),
    ("{", "config/conductor_config.json: line 1 column 2: not valid JSON: "),
    ('{"tasks": [{"name": "a", "command": "true", "schedule": "61 * * * *"}]}',
     "config/conductor_config.json: tasks[0] 'a': schedule: minute '61' is outside 0-59")])
def test_install_says_in_a_line_what_the_first_tick_said(project, fake, text, said):
    if text is not None:
        project.write_config(text)
    code, out, err = project.call("install", env=with_tools(fake))
    assert (code, err) == (0, "") and out.startswith("installed the crontab line:\n")
    notes = [line for line in out.splitlines() if line.startswith("note: the first tick")]
    assert len(notes) == 1 and notes[0].startswith("note: the first tick reported: " + said)


def test_install_starts_a_table_where_there_is_none(project, fake):
    assert project.call("install", env=with_tools(fake))[0] == 0
    assert (fake / "table").read_text().startswith("# BEGIN symphony-conductor ")


@pytest.mark.parametrize("complaint", ["crontab: cannot open spool: Permission denied\n", ""])
def test_a_listing_that_fails_is_not_taken_for_an_empty_table(project, fake, complaint):
    (fake / "table").write_text(NEIGHBOURS)
    (fake / "broken").write_text(complaint)
    for command in ("install", "uninstall"):
        code, out, err = project.call(command, env=with_tools(fake))
        assert code == 1 and out == ""
        assert err.startswith("symphony_conductor: crontab -l failed (exit 1): ")
        assert err.endswith("; nothing was changed\n") and len(err.splitlines()) == 1
    assert (fake / "table").read_text() == NEIGHBOURS


def test_a_table_that_cannot_be_written_is_said(project, fake):
    (fake / "table").write_text(NEIGHBOURS)
    (fake / "full").write_text("")
    code, _, err = project.call("install", env=with_tools(fake))
    assert (code, err) == (1, "symphony_conductor: crontab refused the new table (exit 1): no space\n")
    assert (fake / "table").read_text() == NEIGHBOURS


def test_a_box_without_crontab_is_told_what_to_install(project, tmp_path):
    code, _, err = project.call("install", env={"PATH": str(tmp_path)})
    assert code == 69
    assert err.startswith("symphony_conductor: cannot run crontab: No such file or directory; install cron")

def test_a_crontab_that_prints_although_it_succeeds_is_believed(project, fake):
    (fake / "table").write_text(NEIGHBOURS)
    (fake / "chatty").write_text("")
    env = with_tools(fake)
    assert project.call("install", env=env)[::2] == (0, "")
    assert (fake / "table").read_text().startswith(NEIGHBOURS + "# BEGIN symphony-conductor ")
    assert project.call("uninstall", env=env)[::2] == (0, "")
    assert (fake / "table").read_text() == NEIGHBOURS


def test_where_crontab_lists_another_table_than_it_was_given_the_one_before_is_kept(project, fake):
    (fake / "table").write_text(NEIGHBOURS)
    (fake / "forgetful").write_text("")
    kept = project.root / "status" / "crontab.before"
    assert project.call("install", env=with_tools(fake)) == (
        1, "", "symphony_conductor: crontab accepted the new table but lists a different one; compare "
        "crontab -l with the previous one, saved as %s\n" % kept)
    assert kept.read_text() == NEIGHBOURS and kept.stat().st_mode & 0o777 == 0o600


def test_every_byte_of_a_foreign_line_goes_through_install_and_uninstall(project, fake):
    foreign = (b"# \xff\xfe\x85\n1 2 3 4 5 a\x0cb\x0b\xc2\x85\xe2\x80\xa8c\rd\r\n\n# END symphony-conductor\n\t\n"
               b"6 7 8 9 1 last")
    (fake / "table").write_bytes(foreign)
    assert project.call("install", env=with_tools(fake))[0] == 0
    assert (fake / "table").read_bytes().startswith(foreign + b"\n# BEGIN symphony-conductor ")
    assert project.call("uninstall", env=with_tools(fake))[0] == 0
    assert (fake / "table").read_bytes() == foreign + b"\n"


def test_the_blocks_of_two_projects_come_and_go_apart(project, fake, tmp_path):
    other = Project(tmp_path / "project2")
    (fake / "table").write_text(NEIGHBOURS)
    env = with_tools(fake)
    assert project.call("install", env=env)[0] == 0
    only_first = (fake / "table").read_text()
    assert other.call("install", "--mailto", "ops@x", env=env)[0] == 0
    assert (fake / "table").read_text().startswith(only_first)
    assert project.call("uninstall", env=env)[0] == 0
    assert (fake / "table").read_text().startswith(NEIGHBOURS + "# BEGIN symphony-conductor %s\n" % other.root)
    assert other.call("uninstall", env=env)[0] == 0
    assert (fake / "table").read_text() == NEIGHBOURS


def test_a_block_whose_end_is_missing_is_a_person_s_to_mend(project, fake):
    table = "# BEGIN symphony-conductor %s\nLINE\n5 4 * * * precious\n" % project.root
    (fake / "table").write_text(table)
    for command in ("install", "uninstall"):
        code, out, err = project.call(command, env=with_tools(fake))
        assert (code, out) == (78, "")
        assert "has no END line" in err and "crontab -e" in err
    assert (fake / "table").read_text() == table and not (fake / "writes").exists()


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(project, fake):
    (fake / "table").write_text(NEIGHBOURS)
    env = with_tools(fake)
    before = sorted(str(path) for path in project.root.rglob("*"))
    code, out, err = project.call("install", "--dry-run", "--mailto", "ops@x", env=env)
    assert (code, err) == (0, "")
    assert re.match(r"would install the crontab line:\nMAILTO=ops@x\n\* \* \* \* \* cd .*\nMAILTO=me\n\Z", out)
    assert sorted(str(path) for path in project.root.rglob("*")) == before
    assert project.call("install", env=env)[0] == 0
    table = (fake / "table").read_text()
    code, out, err = project.call("uninstall", "--dry-run", env=env)
    assert (code, err) == (0, "")
    block = table[len(NEIGHBOURS):]
    assert out == "would remove from the crontab:\n%sconfiguration, state and logs stay\n" % block
    assert (fake / "table").read_text() == table
    assert (fake / "writes").read_text() == "write\n"


def test_a_crontab_that_shows_its_own_header_is_left_with_one(project, fake):
    program = fake / "crontab"
    program.rename(fake / "plain")
    program.write_text("#!/bin/sh\n[ \"$1\" = - ] || exec \"${0%%/*}/plain\" \"$@\"\n"
                       "{ printf '%%s' '%s'; cat; } | \"${0%%/*}/plain\" -\n" % HEADER)
    program.chmod(0o755)
    (fake / "table").write_text(HEADER + NEIGHBOURS)
    env = with_tools(fake)
    for words, said in ((["install"], "installed the crontab line:"), (["install"], "the crontab line is already"),
                        (["install", "--mailto", "ops@x"], "installed the crontab line:"),
                        (["uninstall"], "removed the crontab line")):
        code, out, err = project.call(*words, env=env)
        assert (code, err) == (0, "") and out.startswith(said)
        assert (fake / "table").read_text().startswith(HEADER + NEIGHBOURS)
    assert (fake / "table").read_text() == HEADER + NEIGHBOURS


def test_a_shell_that_changed_above_the_block_comes_back_with_the_next_install(project, fake):
    project.configure()
    env = with_tools(fake)
    (fake / "table").write_text("SHELL=/bin/csh\n")
    assert project.call("install", env=env)[0] == 0
    assert block_of(fake, project)[::2] == ["SHELL=/bin/sh", "SHELL=/bin/csh"]
    text = (fake / "table").read_text()
    (fake / "table").write_text(text.replace("SHELL=/bin/csh\n#", "SHELL=/bin/zsh\n#", 1))
    assert "differs from the one install would write" in project.call("doctor", env=env)[1]
    assert project.call("install", env=env)[0] == 0
    assert block_of(fake, project)[::2] == ["SHELL=/bin/sh", "SHELL=/bin/zsh"]
    assert "differs from the one" not in project.call("doctor", env=env)[1]


def test_what_cron_runs_as_well_is_not_installed_beside_it(project, fake, monkeypatch):
    """`status` advises `install` after an import: followed to the letter, each line would run twice."""
    project.configure(every_minute("a"), every_minute("b", enabled=False), every_minute("c"))
    env, lines = with_tools(fake), ["* * * * * a", "5 5 * * * b", "6 6 * * * c", "7 7 * * * d"]
    (fake / "table").write_text("\n".join(lines[:2]) + "\r\n" + lines[3] + "\n")
    digests = {name: sc.digest_of_line(line) for name, line in zip("abcd", lines)}
    (project.root / "status").mkdir(mode=0o700, exist_ok=True)
    record = project.root / sc.IMPORTED_NAME
    record.write_text(json.dumps({"lines": digests}))
    code, out, err = project.call("install", env=env)
    assert (code, out) == (1, "")
    assert "not installed: 1 line of the crontab is also a task here, so it would run twice" in err
    assert "import-crontab --switch" in err and not (fake / "writes").exists()
    assert "import-crontab --switch" in project.call("status", "--table", env=env)[1]
    (fake / "table").write_text(lines[3] + "\n")
    assert project.call("install", env=env)[0] == 0
    record.write_text(json.dumps({"lines": dict.fromkeys("abc", digests["a"])}))
    for count in (1, 2, 3):  # equal lines; of their three tasks, one is disabled
        table = (lines[0] + "\n") * count
        assert sc.doubled_lines(sc.Reader(str(project.root)), table) == min(count, 2)
    record.write_text(json.dumps({"lines": digests}))
    with open(str(fake / "table"), "a") as handle:
        handle.write(lines[0] + "\n" + lines[2] + "\n")
    said = project.call("doctor", env=env)[1]
    assert "2 lines of the crontab are also tasks here, so each runs twice" in " ".join(said.split())
    for damaged in ("", "{", "[]", '{"lines": 3}', '{"lines": {"a": [1]}}'):
        record.write_text(damaged)
        code, _, err = project.call("install", env=env)
        assert code == 74 and "crontab.imported is damaged" in err, damaged
    record.unlink()
    record.mkdir()
    code, _, err = project.call("install", env=env)
    assert code == 74 and "crontab.imported" in err


def test_a_line_separator_in_the_name_of_the_folder_ends_no_line(tmp_path):
    root = str(tmp_path / "a\u2028b\x85c")
    os.mkdir(root, 0o700)
    store = sc.Store(root)
    store.script = os.path.abspath(sc.__file__)
    table = sc.table_with_line(store, "")
    assert sc._block_finding(store, "", table, "install") is None
    assert sc.python_of_block(table) == sc.interpreter()


def test_two_blocks_for_one_folder_are_told_and_become_one(project, fake):
    project.configure()
    env = with_tools(fake)
    assert project.call("install", env=env)[0] == 0
    once = (fake / "table").read_text()
    (fake / "table").write_text(once + "1 2 3 4 5 x\n" + once)
    assert "crontab has two lines for this folder" in project.call("doctor", env=env)[1]
    assert project.call("install", env=env)[0] == 0
    assert (fake / "table").read_text() == once + "1 2 3 4 5 x\n"
    assert "two lines" not in project.call("doctor", env=env)[1]


def test_what_allows_an_open_folder_here_is_in_the_line_too(project, fake):
    project.configure()
    env = dict(with_tools(fake), SYMPHONY_ALLOW_INSECURE="1")
    assert project.call("install", env=env)[0] == 0
    (line,) = block_of(fake, project)
    assert "INSECURE" not in line, "nobody else can write to this folder"
    project.root.chmod(0o777)
    assert project.call("install", env=with_tools(fake))[0] == 78
    assert "does not set SYMPHONY_ALLOW_INSECURE" in project.call("doctor", env=env)[1]
    assert "does not set" not in project.call("doctor", env=with_tools(fake))[1], "install would refuse"
    assert project.call("install", env=env)[0] == 0
    (line,) = block_of(fake, project)
    done = run_as_cron(line)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    assert (project.root / "status/heartbeat").exists()
    assert sc.python_of_block(line) == sc.interpreter()
    said = project.call("doctor", env=env)[1]
    assert "does not set" not in said and "differs from the one" not in said


# -- mail

def block_of(fake, project):
    text = (fake / "table").read_text()
    return sc.split_at_block(text, str(project.root))[1].splitlines()[1:-1]


@pytest.mark.parametrize("above, restored", [
    ("", None),
    ("MAILTO=boss@x\n", "MAILTO=boss@x"),
    ("MAILTO=first@x\n1 2 3 4 5 x\nMAILTO = \"second@x\"\n", "MAILTO=second@x"),
    ("MAILTO=\"\"\n", "MAILTO=\"\""),
    ("MAILTO=''\n", "MAILTO=\"\""),
    ("# MAILTO=nobody@x\n", None),
])
def test_mailto_holds_within_the_block_and_what_held_before_holds_again_after_it(project, fake, above, restored):
    (fake / "table").write_text(above + "5 4 * * * x\n")
    assert project.call("install", "--mailto", "ops@x,dev@x", env=with_tools(fake))[::2] == (0, "")
    lines = block_of(fake, project)
    assert lines[0] == "MAILTO=ops@x,dev@x" and len(lines) == 3
    assert lines[1].endswith(" --root=. tick 2>&1 | PATH=/usr/bin:/bin tee -a logs/conductor_cron.log")
    assert lines[2] == (restored or "MAILTO=" + sc.current_user()[0])
    assert project.call("uninstall", env=with_tools(fake))[0] == 0
    assert (fake / "table").read_text() == above + "5 4 * * * x\n"


def test_mailto_stays_until_it_is_changed_or_ended(project, fake):
    (fake / "table").write_text("MAILTO=boss@x\n")
    env = with_tools(fake)
    assert project.call("install", "--mailto", "ops@x", env=env)[0] == 0
    first = block_of(fake, project)
    assert project.call("install", env=env)[1].startswith("the crontab line is already installed:\nMAILTO=ops@x\n")
    assert block_of(fake, project) == first
    assert project.call("install", "--mailto", "dev@x", env=env)[1].startswith("installed the crontab line:\n")
    assert block_of(fake, project) == ["MAILTO=dev@x"] + first[1:]
    assert project.call("install", "--mailto", "", env=env)[0] == 0
    (line,) = block_of(fake, project)
    assert line.endswith(" >>logs/conductor_cron.log 2>&1")
    assert project.call("install", env=env)[1].startswith("the crontab line is already installed:\n* * * * * ")


def test_a_mailto_that_changed_above_the_block_is_the_one_that_comes_back_with_the_next_install(project, fake):
    (fake / "table").write_text("MAILTO=old@x\n")
    env = with_tools(fake)
    assert project.call("install", "--mailto", "ops@x", env=env)[0] == 0
    text = (fake / "table").read_text()
    (fake / "table").write_text(text.replace("MAILTO=old@x\n#", "MAILTO=new@x\n#", 1))
    assert "differs from the one install would write" in project.call("doctor", env=env)[1]
    assert project.call("install", env=env)[0] == 0
    assert "differs from the one" not in project.call("doctor", env=env)[1]
    assert block_of(fake, project)[2] == "MAILTO=new@x"
    with open(str(fake / "table"), "a") as handle:
        handle.write("MAILTO=later@x\n7 7 * * * y\n")
    assert project.call("install", env=env)[1].startswith("the crontab line is already installed:\n")


@pytest.mark.parametrize("address", ["a b@x", " a@x", "a@x ", "-oops@x", "a@x\nb", "a@x\n", "a@x\r", "a@x;id", "\"a\"",
                                     "a@x\t", "$HOME", "a#b", "<a@x>", "\u00e9@x"])
def test_what_is_no_mail_address_is_refused_before_anything_is_done(project, fake, address):
    (fake / "table").write_text(NEIGHBOURS)
    env = dict(with_tools(fake), PYTHONIOENCODING="utf-8", LC_ALL="C.UTF-8")
    code, out, err = project.call("install", "--mailto=" + address, env=env)
    assert (code, out) == (2, "") and "is not a mail address" in err
    assert (fake / "table").read_text() == NEIGHBOURS and not (fake / "writes").exists()


# -- the interpreter

def line_from(python, project, fake):
    """The crontab line that `install` writes when this interpreter runs it."""
    done = subprocess.run([str(python), str(SCRIPT), "--root", str(project.root), "install"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=with_tools(fake), timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return (fake / "table").read_text()


def test_within_a_virtual_environment_the_line_names_the_python_that_outlives_it(project, fake, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True, timeout=120)
    python = sc.python_of_block(line_from(tmp_path / "venv" / "bin" / "python", project, fake))
    shutil.rmtree(str(tmp_path / "venv"))
    ask = "import sys; print(sys.prefix == sys.base_prefix, sys.version_info[:2])"
    told = subprocess.run([python, "-I", "-c", ask],
                          stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()
    assert told == "True %s\n" % (sys.version_info[:2],)
    assert not python.startswith(str(tmp_path))


@pytest.mark.plain
def test_a_python_that_is_called_by_a_link_is_named_by_that_link(project, fake, tmp_path):
    link = tmp_path / "a link" / "python3"
    link.parent.mkdir()
    link.symlink_to(sc.interpreter())
    assert sc.python_of_block(line_from(link, project, fake)) == str(link)


def test_check_warns_when_the_python_of_the_line_is_gone(project, fake):
    project.configure(every_minute("a", schedule="0 0 1 1 *", timeout=60))
    env = with_tools(fake)
    clean = "config/conductor_config.json: 1 task, 0 problems, 0 warnings\n"
    assert project.call("check", env=env) == (0, clean, ""), "there is no crontab"
    table = line_from(sys.executable, project, fake)
    assert project.call("check", env=env) == (0, clean, "")
    (fake / "table").write_text(table.replace(" exec %s " % shlex.quote(sc.interpreter()), " exec /opt/gone/python3 "))
    code, out, err = project.call("check", env=env)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == (
        "warning: crontab: the Python of the line, /opt/gone/python3, is gone, so nothing runs (run install again)")
    (fake / "broken").write_text("permission denied\n")
    assert project.call("check", env=env) == (0, clean, ""), "a crontab that cannot be read is nothing to warn of"
    assert project.call("check", env=dict(env, PATH="/nonexistent"))[0] == 0, "no crontab(1) at all"


# -- what is refused

def test_a_folder_with_a_line_break_in_its_name_is_refused(tmp_path, fake):
    for name in ("a\nb", "a\rb", "a\n"):
        project = Project(tmp_path / name)
        code, out, err = project.call("install", env=with_tools(fake))
        assert (code, out) == (2, "") and "line break" in err
    assert not (fake / "writes").exists()


def test_another_configuration_than_the_one_a_tick_reads_is_refused(project, fake, tmp_path):
    code, out, err = project.call("--config", str(tmp_path / "other.json"), "install", env=with_tools(fake))
    assert (code, out) == (2, "") and "a tick reads config/conductor_config.json" in err
    assert not (fake / "writes").exists()


def test_an_account_that_is_not_there_is_refused(project, fake):
    for command in ("install", "uninstall"):
        for name in ("no-such-account", "0", "a b", "-x"):
            assert project.call(command, "--user=" + name, env=with_tools(fake)) == (
                2, "", "symphony_conductor: --user: there is no user '%s' here\n" % name)
    assert not (fake / "writes").exists()


def test_ones_own_account_may_be_named(project, fake):
    assert project.call("install", "--user", sc.current_user()[0], env=with_tools(fake))[0] == 0
    assert (fake / "table").read_text().startswith("# BEGIN symphony-conductor %s\n" % project.root)


# -- with Debian's crontab(1), for other accounts too, in a namespace where they reach the interpreter

STAGE = """
set -e
out=$1 home=$2 closed=$3
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mkdir "$out/empty" && mount --bind "$out/empty" /etc/cron.d
mount -t tmpfs -o mode=755 tmpfs /srv
chmod 711 "$out"
mkdir -m 1777 "$out/results"
mkdir /srv/out /srv/python
cp "$4" /srv/symphony_conductor.py
mount --bind "$out" /srv/out
mount --bind "$home" /srv/python
if [ -n "$closed" ]; then
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$home"
    mount --bind /srv/python "$home"
fi
out=/srv/out python=$home/bin/$5
cd /srv
make_project() {  # the folder, its owner, the configuration
    mkdir -p "$1/config"
    cp /srv/symphony_conductor.py "$1"
    printf '%s\\n' "$3" > "$1/config/conductor_config.json"
    chmod -R go-rwx "$1"
    chown -R "$2" "$1"
}
conduct() {  # by an import, so that Python compiles it once: the folder, the arguments
    "$python" -I -S -c "import sys; sys.path.insert(0, sys.argv.pop(1))
import symphony_conductor as c; c.command_line()" "$@"
}
as() { who=$1; shift; setpriv --reuid="$who" --regid="$(id -g "$who")" --clear-groups "$@"; }
"""


def stage(folder, script):
    """The command line that carries out a script in there; $out is the folder as seen from inside."""
    home = getattr(sys, "real_prefix", sys.base_prefix)
    parents = [str(path) for path in reversed(pathlib.Path(home).parents)] + [home]
    closed = [path for path in parents if not os.stat(path).st_mode & 0o001]
    return NAMESPACE + ["/bin/sh", "-c", STAGE + script, "sh", str(folder), home, (closed + [""])[0], str(SCRIPT),
                        "python%d.%d" % sys.version_info[:2]]


@pytest.fixture
def box(tmp_path):
    """Carry out a script in there: what it printed."""
    reason = CronDaemon._why_not() or ("" if shutil.which("setpriv") else "there is no setpriv")
    if reason:
        pytest.skip(reason)

    def carry_out(script):
        done = subprocess.run(stage(tmp_path, script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        said = done.stdout.decode("utf-8", "replace")
        assert done.returncode == 0, said
        return said
    return carry_out


def test_the_real_crontab_takes_every_table_that_install_makes(box, tmp_path):
    names = [name for name in nasty_names(60) if "/" not in name][:5] + [ODD_NAME, "x" * 200]
    for number, name in enumerate(names):
        (tmp_path / "names").mkdir(exist_ok=True)
        (tmp_path / "names" / str(number)).write_bytes(os.fsencode(name))
    (tmp_path / "before").write_bytes(b"# caf\xe9\nMAILTO=\"\"\n1 2 3 4 5 a\x0cb\x85 \\% c\n")
    said = box("""
crontab "$out/before"
for file in "$out"/names/*; do
    root=/srv/$(cat "$file")
    make_project "$root" root '{"tasks": []}'
    for mail in '' ops@x; do
        conduct "$root" install --mailto "$mail" > "$out/said" || cat "$out/said"
        conduct "$root" install | head -n 1
        crontab -l | grep -c '^# BEGIN symphony-conductor /srv/' || true
        conduct "$root" uninstall > "$out/said" || cat "$out/said"
        crontab -l > "$out/after"
        cmp "$out/before" "$out/after"
    done
done
""")
    assert said == "the crontab line is already installed:\n1\n" * 2 * len(names)


@pytest.mark.plain
def test_root_installs_and_uninstalls_for_another_account(box, tmp_path):
    said = box("""
make_project /srv/p daemon '{"tasks": []}'
echo '5 4 * * * theirs' | crontab -u daemon -
echo '6 5 * * * mine' | crontab -
"$python" /srv/p/symphony_conductor.py install --user daemon --dry-run | head -n 1
"$python" /srv/p/symphony_conductor.py install --user daemon --mailto ops@x | head -n 2
"$python" /srv/p/symphony_conductor.py install --user daemon | head -n 1
crontab -u daemon -l > "$out/theirs"
crontab -l
stat -c '%U %a %n' /srv/p/logs /srv/p/logs/automation /srv/p/status /srv/p/status/history
as daemon "$python" /srv/p/symphony_conductor.py check
"$python" /srv/p/symphony_conductor.py uninstall | head -n 1
"$python" /srv/p/symphony_conductor.py uninstall --user daemon | head -n 1
crontab -u daemon -l
crontab -l
""")
    assert said == (
        "would install the crontab line:\ninstalled the crontab line:\nMAILTO=ops@x\n"
        "the crontab line is already installed:\n6 5 * * * mine\n"
        "daemon 700 /srv/p/logs\ndaemon 700 /srv/p/logs/automation\n"
        "daemon 700 /srv/p/status\ndaemon 700 /srv/p/status/history\n"
        "config/conductor_config.json: 0 tasks, 0 problems, 0 warnings\n"
        "there is no crontab line for /srv/p\nremoved the crontab line for /srv/p\n5 4 * * * theirs\n6 5 * * * mine\n")
    lines = (tmp_path / "theirs").read_text().splitlines()
    assert lines[:3] == ["5 4 * * * theirs", "# BEGIN symphony-conductor /srv/p", "MAILTO=ops@x"]
    assert lines[4:] == ["MAILTO=daemon", "# END symphony-conductor /srv/p"]


@pytest.mark.plain
def test_crontab_is_called_with_the_identity_of_the_other_account(box):
    said = box("""
make_project /srv/p games '{"tasks": []}'
mkdir /srv/tools
printf '#!/bin/sh\\nexec >&2; id -un; id -gn; id -Gn; echo "$HOME $LOGNAME $USER"; exit 7\\n' > /srv/tools/crontab
chmod 755 /srv/tools/crontab
export XDG_RUNTIME_DIR=/of/root HOME=/of/root
PATH=/srv/tools:$PATH "$python" /srv/p/symphony_conductor.py install --user games || true
""")
    games = pwd.getpwnam("games")
    group = grp.getgrgid(games.pw_gid).gr_name
    assert said == ("symphony_conductor: crontab -l failed (exit 7): games / %s / %s / %s games games; nothing was "
                    "changed\n" % (group, group, games.pw_dir))


@pytest.mark.plain
def test_what_another_account_could_not_use_is_refused_in_one_line(box):
    said = box("""
try() { code=0; "$@" || code=$?; echo "exit $code"; }
make_project /srv/p root '{"tasks": []}'
chmod 755 /srv/p
try "$python" /srv/p/symphony_conductor.py install --user daemon
chown -R daemon /srv/p
try as daemon "$python" /srv/p/symphony_conductor.py install --user bin
try as daemon "$python" /srv/p/symphony_conductor.py uninstall --user root
mkdir -m 700 /srv/closed
make_project /srv/closed/p daemon '{"tasks": []}'
try "$python" /srv/closed/p/symphony_conductor.py install --user daemon
chmod 777 /srv/p/config
try "$python" /srv/p/symphony_conductor.py install --user daemon
mount --bind /srv/p /srv/p
mount -o remount,bind,ro /srv/p
try "$python" /srv/p/symphony_conductor.py install
crontab -u daemon -l || true
""")
    complaints, code = said.split("exit 2\n"), "symphony_conductor: "
    assert complaints[0] == code + (
        "daemon cannot write to /srv/p (to install it for root: --user root; "
        "to give it away: chown -R daemon /srv/p)\n")
    assert complaints[1] == code + "--user: only root can do this for 'bin' (use sudo)\n"
    assert complaints[2] == code + "--user: only root can do this for 'root' (use sudo)\n"
    assert complaints[3] == code + (
        "daemon cannot write to /srv/closed/p (move the project to a folder that this user can read)\n")
    assert complaints[4:] == [code + "config: others can write to it (chmod go-w /srv/p/config)\nexit 78\n" +
                              code + "cannot write to /srv/p: Read-only file system "
                              "(move the project to a file system that can be written to)\nexit 74\n"
                              "no crontab for daemon\n"]


def test_a_file_or_a_python_that_another_account_cannot_reach_is_refused(box):
    said = box("""
try() { code=0; "$@" || code=$?; echo "exit $code"; }
make_project /srv/p daemon '{"tasks": []}'
mkdir -m 700 /srv/of_root
ln -s "$python" /srv/of_root/python
try /srv/of_root/python /srv/p/symphony_conductor.py install --user daemon
cp /srv/symphony_conductor.py /srv/of_root
try "$python" /srv/of_root/symphony_conductor.py --root /srv/p install --user daemon
crontab -u daemon -l || true
""")
    assert said == (
        "symphony_conductor: daemon cannot execute /srv/of_root/python (use a Python that it can execute)\nexit 69\n"
        "symphony_conductor: daemon cannot read /srv/of_root/symphony_conductor.py (copy it into /srv/p)\nexit 2\n"
        "no crontab for daemon\n")


# -- with a real daemon, which is started ahead of the other tests; this one comes last

@pytest.fixture(scope="module", autouse=True)
def cron_daemon(tmp_path_factory):
    daemon = CronDaemon(tmp_path_factory.mktemp("cron"))
    yield daemon
    daemon.stop()


def test_a_real_cron_daemon_drives_tasks_dependents_and_retries(cron_daemon):
    if cron_daemon.reason:
        pytest.skip(cron_daemon.reason)
    project = cron_daemon.project

    def first_full_minute():
        done = {(record["task"], record["scheduled_for"]): record for record in cron_daemon.history()}
        tasks = ("first", "second", "failing")
        slots = sorted(slot for task, slot in done if all((each, slot) in done for each in tasks))
        # The end of a run decides too, and may have done so ahead of cron's first call.
        has_called = (project.root / "logs" / "conductor_cron.log").exists()
        return {task: done[task, slots[0]] for task in tasks} if slots and has_called else None

    by_task = project.wait_until(first_full_minute, 130)
    assert by_task, (project.lines("logs/conductor_cron.log"), project.lines("logs/symphony_conductor.log"))
    document = json.loads(project.call("status")[1])
    assert cron_daemon.stop() == ""
    assert by_task["first"]["status"] == by_task["second"]["status"] == "success"
    assert by_task["second"]["trigger"] == "dependency"
    assert by_task["second"]["started_at"][:16] == by_task["second"]["scheduled_for"][:16], "within the same minute"
    assert (by_task["failing"]["status"], by_task["failing"]["attempt"], by_task["failing"]["exit_code"]) == (
        "failed", 2, 3)
    assert [past["attempt"] for past in by_task["failing"]["attempts"]] == [1]
    assert project.lines("failing.out")[:2] == ["1", "2"]
    assert project.health("first").startswith("success:20") and project.health("failing").endswith(":3\n")
    assert document["recent_results"] and time.time() - (sc.from_iso(document["last_tick"]) or 0) < 150
    assert project.read("logs/conductor_cron.log") == ""
    assert project.read("before") == project.read("after") == "5 4 * * * neighbour\n"
    assert "# BEGIN symphony-conductor %s\n" % project.root in project.read("during")


# What stands above and below the block, and what the command of a line below finds in MAILTO.
# The shell of one of them runs no such line as the conductor's.
MAIL_CASES = {"daemon": ("", "unset", "daemon"),
              "news": ("SHELL=/srv/out/no_shell\n", "no shell", "no shell"),
              "bin": ("MAILTO=else@x\n", "else@x", "else@x"),
              "sys": ("MAILTO=\"\"\n", "", ""),
              "games": ("MAILTO='quoted@x'\n", "quoted@x", "quoted@x")}
TELL = "* * * * * echo \"${MAILTO-unset}\" > /srv/out/results/%s.%s\n"
MAIL = """
mkdir /srv/up /srv/work
if mount -t overlay -o lowerdir=/usr/sbin,upperdir=/srv/up,workdir=/srv/work overlay /usr/sbin; then
    rm -f /usr/sbin/sendmail
    printf '#!/bin/sh\\ncat > /srv/out/results/mail.$$\\n' > /usr/sbin/sendmail
    chmod 755 /usr/sbin/sendmail
    touch "$out/mails"
fi
printf '%s\\n' '#!/bin/sh' 'case $2 in *" exec "*) exit 9 ;; esac' 'MAILTO="no shell"; eval "$2"' > "$out/no_shell"
chmod 755 "$out/no_shell"
for who in daemon bin sys games news; do
    crontab -u $who "$out/$who.before"
    make_project /srv/$who $who '{"tasks": [{"name": "seen", "schedule": "* * * * *",
        "command": "echo $MAILTO > /srv/out/results/'$who'.task"}]}'
    "$python" /srv/$who/symphony_conductor.py install --user $who --mailto ops@x > "$out/said"
    { crontab -u $who -l; cat "$out/$who.below"; } | crontab -u $who -
    as $who "$python" -I -S /srv/$who/symphony_conductor.py tick
done
# The tick will say so, and cron mail it. In a project without runs: the end of one looks at the configuration as well,
# and what it has said no tick says again.
make_project /srv/broken games '{"tasks": [{"name": "yearly", "schedule": "0 0 1 1 *", "command": "true"}]}'
"$python" /srv/broken/symphony_conductor.py install --user games --mailto ops@x > "$out/said"
as games "$python" -I -S /srv/broken/symphony_conductor.py tick
printf '{' > /srv/broken/config/conductor_config.json
cron
while ! test -e "$out/stop"; do sleep 0.2; done
"$python" /srv/broken/symphony_conductor.py uninstall --user games > "$out/said"
for who in daemon bin sys games news; do
    "$python" /srv/$who/symphony_conductor.py uninstall --user $who > "$out/said"
    crontab -u $who -l > "$out/$who.after"
done
cat /srv/broken/logs/conductor_cron.log > "$out/broken.log"
touch "$out/stopped"
"""


class Background:
    """A script in the namespace that goes on until it is told to stop."""

    def __init__(self, folder, script):
        self.folder = folder
        self.process = subprocess.Popen(stage(folder, script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)

    def wait_for(self, condition, timeout_s=130):
        return Project(self.folder).wait_until(lambda: condition() or self.process.poll() is not None, timeout_s)

    def stop(self):
        (self.folder / "stop").write_text("")
        self.wait_for((self.folder / "stopped").exists, 20)
        self.process.kill()
        return self.process.communicate()[0].decode("utf-8", "replace")


@pytest.fixture(scope="module", autouse=True)
def mail_daemon(tmp_path_factory):
    """cron(8) with blocks that have a MAILTO, in the tables of four accounts; its minute passes meanwhile."""
    if CronDaemon._why_not() or not shutil.which("setpriv"):
        yield None
        return
    folder = tmp_path_factory.mktemp("mail")
    for who, (above, _, _) in MAIL_CASES.items():
        (folder / (who + ".before")).write_text(above + TELL % (who, "above"))
        (folder / (who + ".below")).write_text(TELL % (who, "below"))
    made = Background(folder, MAIL)
    yield made
    if made.process.poll() is None:
        made.stop()


def busybox_with_crond():
    for name in ("busybox", "busybox-static"):
        found = shutil.which(name, path=os.environ["PATH"] + ":/usr/bin:/bin")
        if found and "crond" in subprocess.check_output([found, "--list"]).decode().split():
            return found
    return ""


@pytest.fixture(scope="module", autouse=True)
def busybox_crond(tmp_path_factory):
    """busybox's crond with the line of a project in a folder with an odd name."""
    busybox = busybox_with_crond()
    if CronDaemon._why_not() or not busybox:
        yield None
        return
    folder = tmp_path_factory.mktemp("busybox")
    project = Project(folder / (ODD_NAME + " \\\\ \\% \\"))
    shutil.copy(str(SCRIPT), str(project.root))
    project.configure(every_minute("a", schedule="0 0 1 1 *"))
    (folder / "tables").mkdir()
    line = sc.crontab_line(str(project.root), sys.executable, str(project.root / "symphony_conductor.py"))
    (folder / "tables" / "root").write_text(line + "\n")
    process = subprocess.Popen(NAMESPACE + [busybox, "crond", "-f", "-c", str(folder / "tables")],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    yield project
    process.kill()
    process.communicate()


def test_a_real_cron_daemon_of_busybox_runs_the_line_too(busybox_crond):
    if busybox_crond is None:
        pytest.skip(CronDaemon._why_not() or "there is no busybox with a crond")
    assert busybox_crond.wait_until((busybox_crond.root / "status" / "heartbeat").exists, 130)
    assert busybox_crond.read("logs/conductor_cron.log") == ""


@pytest.mark.plain
def test_a_real_cron_daemon_gives_every_line_the_mailto_that_was_in_force(mail_daemon):
    if mail_daemon is None:
        pytest.skip(CronDaemon._why_not() or "there is no setpriv")
    results = mail_daemon.folder / "results"
    wanted = {}
    for who, (_, above, below) in MAIL_CASES.items():
        wanted.update({who + ".above": above, who + ".below": below, who + ".task": "ops@x"})
    with_mail = (mail_daemon.folder / "mails").exists()

    def found():
        return {path.name: path.read_text()[:-1] for path in results.glob("*.*") if path.stat().st_size}
    mail_daemon.wait_for(lambda: set(found()) >= set(wanted) and (not with_mail or list(results.glob("mail.*"))))
    mails = {name: text for name, text in found().items() if name.startswith("mail.")}
    assert {name: text for name, text in found().items() if name not in mails} == wanted
    assert mail_daemon.stop() == ""
    if with_mail:
        (mail,) = mails.values()
        assert re.search("(?m)^To: ops@x$", mail) and "config/conductor_config.json" in mail
        assert mail.rstrip("\n").endswith((mail_daemon.folder / "broken.log").read_text().rstrip("\n"))
    for who in MAIL_CASES:
        before, below, after = [(mail_daemon.folder / (who + end)).read_text() for end in (
            ".before", ".below", ".after")]
        assert after == before + below
