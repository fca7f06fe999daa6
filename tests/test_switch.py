"""`import-crontab --switch`: lines go over to the conductor and back, and none is lost."""

import argparse
import io
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from support import NAMESPACE, SCRIPT, SCRIPTS, CronDaemon, Project, every_minute

import crontab_switch
import symphony_conductor as sc
import symphony_import_crontab

BESIDE = ("symphony_import_crontab.py", "crontab_commands.py", "crontab_switch.py",
          "crontab_tables.py")

# -- as text

ROOT = "/srv/a"
TABLE = "# mine\nMAILTO=me\n0 2 * * * /x/one\n\n\t*/5 * * * *  /x/two\r\n@reboot /x/three"


@pytest.mark.parametrize("second, seconds", [
    (0, 5), (0.5, 4.5), (4, 1), (5, 0), (30, 0), (35, 0), (36, 29), (59.5, 5.5)])
def test_a_switch_waits_until_cron_has_read_its_tables(second, seconds):
    assert crontab_switch.wait_s(1750000020 - 1750000020 % 60 + second) == seconds


def test_a_line_that_was_handed_over_is_a_comment_with_all_of_its_bytes():
    assert crontab_switch.with_switched_lines(TABLE, [3, 5, 6], ROOT) == (
        '# mine\nMAILTO=me\n# run by symphony-conductor "/srv/a": 0 2 * * * /x/one\n\n'
        '# run by symphony-conductor "/srv/a": \t*/5 * * * *  /x/two\r\n'
        '# run by symphony-conductor "/srv/a": @reboot /x/three')


def test_lines_come_back_byte_for_byte_whatever_else_changed():
    switched = crontab_switch.with_switched_lines(TABLE, [3, 5, 6], ROOT)
    changed = "9 9 * * * new\n" + switched.replace("# mine\n", "") + "\n# more\n"
    assert crontab_switch.with_restored_lines(changed, ROOT) == (
        "9 9 * * * new\n" + TABLE.replace("# mine\n", "") + "\n# more\n", [3, 5, 6])


@pytest.mark.parametrize("mark", [
    '#run by symphony-conductor "/srv/a": ', ' \t# run by symphony-conductor "/srv/a": ',
    '#  run by symphony-conductor "/srv/a":'])
def test_a_mark_that_an_editor_changed_is_still_one(mark):
    table = "# mine\n%s0 2 * * * /x/one\n" % mark
    assert crontab_switch.with_restored_lines(table, ROOT) == (
        "# mine\n0 2 * * * /x/one\n", [2])
    assert sc.marked_roots(table) == [ROOT]
    assert "nothing will run 1 line of" in sc.stranded_lines(table, ROOT)[0]


def test_any_lines_of_any_table_come_back():
    chance = random.Random(7)
    pieces = ["a", " ", "\t", "#", "*", "%", "\\", "\r", "é", "\udce9", "# run by ", '"/srv/a": ',
              "\x0c", "\u2028", "\n", "\n"]
    for _ in range(500):
        table = "".join(chance.choice(pieces) for _ in range(chance.randrange(60)))
        count = len(sc.crontab_lines(table))
        numbers = sorted(chance.sample(range(1, count + 1), chance.randrange(count + 1)))
        for root in (ROOT, '/srv/a": ', "/srv/\udce9", "/"):
            switched = crontab_switch.with_switched_lines(table, numbers, root)
            assert crontab_switch.with_restored_lines(switched, root) == (table, numbers)


def test_each_root_has_its_own_mark_even_where_one_name_begins_the_other():
    roots = ["/srv/a", "/srv/ab", '/srv/a": x', "/srv/a: ", "/srv/A", "/srv/a\u00e9"]
    marks = [sc.handed_over_mark(root) for root in roots]
    for mark in marks:
        assert [other for other in marks if other.startswith(mark)] == [mark]
    both = crontab_switch.with_switched_lines(TABLE, [3], "/srv/a")
    both = crontab_switch.with_switched_lines(both, [5], "/srv/ab")
    restored, numbers = crontab_switch.with_restored_lines(both, "/srv/a")
    assert restored == crontab_switch.with_switched_lines(TABLE, [5], "/srv/ab") and numbers == [3]


# -- with a crontab(1)

FAKE = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$1" in
  -l) [ ! -e "$here/unreadable" ] || { echo "cannot read it" >&2; exit 1; }
      [ -e "$here/table" ] || { echo "no crontab for you" >&2; exit 1; }
      cat "$here/table" ;;
  -) [ ! -e "$here/readonly" ] || { echo "errors in crontab file" >&2; exit 1; }
     ls "$here/../project" > "$here/there-at-the-write"
     [ -e "$here/stuck" ] || { cat > "$here/new" && mv "$here/new" "$here/table"; }
     [ ! -e "$here/mute" ] || touch "$here/unreadable"
     [ ! -e "$here/stuck" ] && [ ! -e "$here/slow" ] || exec sleep 60
     [ ! -e "$here/sulky" ] || { echo "cannot tell the daemon" >&2; exit 1; } ;;
esac
"""
LINES = b"""# nightly
0 2 * * * /x/backup.sh --all
MAILTO=ops
*/5 * * * * /x/poll\tnow
61 * * * * broken
@reboot cd /srv && ./start
"""


WAIT_S = crontab_switch.wait_s


class Box:
    """A project and a crontab; commands run in this process, at a time that cron leaves alone."""

    def __init__(self, folder):
        self.project = Project(folder / "project")
        self.tools = folder / "tools"
        self.tools.mkdir()
        (self.tools / "crontab").write_text(FAKE)
        (self.tools / "crontab").chmod(0o755)
        self.table = LINES

    @property
    def table(self):
        return (self.tools / "table").read_bytes()

    @table.setter
    def table(self, content):
        (self.tools / "table").write_bytes(content)

    def call(self, *words, **more):
        """Run import-crontab with these words; its exit code."""
        options = {"file": None, "system": None, "write": False, "switch": False,
                   "switch_back": False, "dry_run": False, "former": None}
        options.update({word.strip("-").replace("-", "_"): True for word in words}, **more)
        store = sc.Store(str(self.project.root))
        return symphony_import_crontab.cmd_import_crontab(store, argparse.Namespace(**options))

    def mark(self):
        return sc.handed_over_mark(str(self.project.root)).encode()

    def writes(self):
        return (self.tools / "calls").read_text().splitlines().count("-")

    def drop_in(self, name):
        return self.project.root / "config" / "tasks.d" / (name + ".json")

    def change_task(self, name, **changes):
        task = dict(json.loads(self.drop_in(name).read_text()), **changes)
        self.drop_in(name).write_text(json.dumps(task))


@pytest.fixture
def box(tmp_path, monkeypatch):
    box = Box(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "%s:%s" % (box.tools, os.environ["PATH"]))
    monkeypatch.setattr(crontab_switch, "wait_s", lambda now: 0)
    return box


def reasons_of(err):
    """Line -> why it stays with cron."""
    found = re.findall(r"line (\d+) stays with cron: .*\n\S+:     (.*)", err)
    return {int(number): reason for number, reason in found}


def lines_of(table):
    return table.splitlines(True)


def test_imported_lines_are_handed_over_in_one_write_and_come_back(box, capfd):
    assert box.call("--write") == 0 and box.table == LINES
    assert "import-crontab --switch\n" in capfd.readouterr().out
    assert box.call("--switch") == 0
    out, err = capfd.readouterr()
    assert box.writes() == 1
    before = lines_of(LINES)
    for number in (2, 4, 6):
        before[number - 1] = box.mark() + before[number - 1]
    assert box.table.startswith(b"".join(before) + b"# BEGIN symphony-conductor ")
    assert out.startswith("Handed over to the conductor:\n"
                          "    2  0 2 * * * /x/backup.sh --all\n    4  */5 * * * * /x/poll\tnow\n"
                          "    6  @reboot cd /srv && ./start\n")
    caller, undo = out.splitlines()[-2:]
    assert caller.endswith(". 3 lines were handed over, 1 stays with cron (line 5).")
    assert "the conductor's line is installed" in caller.lower()
    assert undo.startswith("To undo this: ") and undo.endswith(" import-crontab --switch-back")
    assert ("line 5 stays with cron: 61 * * * * broken\n"
            "symphony_conductor:     it cannot be a task\n" in err)
    block = sc.split_at_block(box.table.decode(), str(box.project.root))[1]
    assert block and " tick >>logs/conductor_cron.log" in block

    assert box.call("--switch-back") == 0
    assert box.table == LINES and box.writes() == 2
    out = capfd.readouterr().out
    assert out.startswith("3 lines were given back to cron:\n    2  0 2 ")
    files = [shlex.quote(str(box.drop_in(name))) for name in ("backup", "poll", "start")]
    assert out.endswith("\nTo remove their files: rm %s\n" % " ".join(files))


def test_a_switch_names_the_tasks_that_start_with_it(box, capfd):
    box.project.configure(every_minute("here"), dict(every_minute("off"), enabled=False),
                          every_minute("there"))
    others = ('The conductor will also run 2 other tasks of this folder: here, there (to leave one '
              'out: "enabled": false)\n')
    box.call("--write")
    box.call("--switch", "--dry-run")
    assert capfd.readouterr().out.endswith(others)
    box.call("--switch")
    assert others in capfd.readouterr().out
    box.table += b"9 9 * * * /x/later\n"
    box.call("--write", "--switch")
    assert "other tasks" not in capfd.readouterr().out, "they ran already"


def test_a_switch_back_from_the_folder_names_files_below_it(box, capfd, monkeypatch):
    box.call("--write", "--switch")
    box.drop_in("poll").unlink()
    monkeypatch.chdir(str(box.project.root))
    box.call("--switch-back")
    assert capfd.readouterr().out.endswith(
        "rm config/tasks.d/backup.json config/tasks.d/start.json\n")


def test_lines_go_back_even_if_the_configuration_cannot_be_read(box, capfd):
    box.call("--write", "--switch")
    box.project.write_config("{")
    assert box.call("--switch-back") == 0 and box.table == LINES
    out = capfd.readouterr().out
    assert "To remove their files: rm " in out and str(box.drop_in("poll")) in out


def test_no_line_runs_beside_its_task_whatever_is_typed_after_the_import(box, capfd):
    def install():
        return sc.main(["--root", str(box.project.root), "install", "--daemon-checked"])

    box.call("--write")
    assert install() == 1 and box.table == LINES
    assert "3 lines of the crontab are also tasks here, so each would run twice" in capfd.readouterr().err
    box.call("--switch")
    assert install() == 0
    box.call("--switch-back")
    assert install() == 1 and box.table == LINES
    for name in ("backup", "poll", "start"):
        box.drop_in(name).unlink()
    assert install() == 0


def test_what_changed_in_the_table_between_the_switch_and_its_undoing_stays(box):
    box.call("--write")
    box.call("--switch")
    lines = lines_of(box.table)
    box.table = b"7 7 * * * new\n" + b"".join(lines[1:]) + b"MAILTO=other\n8 8 * * * last\n"
    box.call("--switch-back")
    assert box.table == (b"7 7 * * * new\n" + b"".join(lines_of(LINES)[1:])
                         + b"MAILTO=other\n8 8 * * * last\n")


def test_the_slots_count_before_the_crontab_is_written(box):
    box.call("--write")
    box.call("--switch")
    assert "conductor_state.json" in (box.tools / "there-at-the-write").read_text().split()
    tasks = box.project.state()["tasks"]
    assert sorted(tasks) == ["backup", "poll", "start"]
    assert all(task["cursor"] <= time.time() for task in tasks.values())


def test_a_second_switch_changes_nothing(box, capfd):
    box.call("--write")
    box.call("--switch")
    table = box.table
    capfd.readouterr()
    assert box.call("--switch") == 0
    assert box.table == table and box.writes() == 1
    assert capfd.readouterr().out == "nothing to switch: no line of the crontab has a task here\n"
    box.call("--switch-back")
    assert box.table == LINES
    assert box.call("--switch-back") == 0
    assert box.table == LINES and "no line of the crontab" in capfd.readouterr().out


@pytest.mark.parametrize("later", [b"", b"9 9 * * * /x/later\n"])
def test_a_switch_puts_the_line_back_that_somebody_took_out(box, capfd, later):
    box.call("--write", "--switch")
    switched = box.table
    root = str(box.project.root)
    box.table = sc.without_block(box.table.decode(), root).encode() + later
    box.call("--write")
    capfd.readouterr()
    assert box.call("--switch") == 0
    assert sc.split_at_block(box.table.decode(), root)[1]
    out = capfd.readouterr().out
    if later:
        assert box.table.count(box.mark()) == 4
        assert ". 1 line was handed over, 3 lines that were handed over before run again, " in out
    else:
        assert box.table == switched
        assert "3 lines that were handed over before run again" in out
    box.call("--switch-back")
    assert box.table == LINES + later


def test_a_line_that_is_added_later_is_switched_beside_the_others(box):
    box.call("--write")
    box.call("--switch")
    box.table = box.table + b"9 9 * * * /x/later\n"
    assert box.call("--write") == 0
    assert box.call("--switch") == 0
    assert box.table.count(box.mark()) == 4
    assert box.table.count(b"# BEGIN symphony-conductor ") == 1
    box.call("--switch-back")
    assert box.table == LINES + b"9 9 * * * /x/later\n"


def test_write_and_switch_are_one_command_too(box):
    assert box.call("--write", "--switch") == 0
    assert box.table.count(box.mark()) == 3
    assert box.drop_in("poll").exists()


def test_a_dry_run_shows_the_difference_and_changes_nothing(box, capfd):
    box.call("--write")
    capfd.readouterr()
    assert box.call("--switch", "--dry-run") == 0
    out = capfd.readouterr().out
    assert box.table == LINES and "-" not in (box.tools / "calls").read_text().split("\n")
    assert not (box.project.root / "conductor_state.json").exists()
    assert out.startswith("--- crontab now\n+++ crontab then\n")
    assert "\n-0 2 * * * /x/backup.sh --all\n" in out
    assert '\n+%s0 2 * * * /x/backup.sh --all\n' % box.mark().decode() in out
    box.call("--switch")
    capfd.readouterr()
    table = box.table
    assert box.call("--switch-back", "--dry-run") == 0 and box.table == table
    assert "\n+0 2 * * * /x/backup.sh --all\n" in capfd.readouterr().out


# -- which lines

def test_a_line_that_changed_since_the_import_stays_with_cron(box, capfd):
    box.call("--write")
    box.change_task("backup", enabled=False)
    box.change_task("poll", enabled=False)
    box.table = (LINES.replace(b"0 2 * * *", b"0 3 * * *").replace(b"/x/poll", b"/y/poll")
                 + b"0 0 2 * * * /x/six\n")
    capfd.readouterr()
    box.call("--switch")
    assert box.mark() + b"0 3" not in box.table and b"\n0 3 * * * /x/backup.sh" in box.table
    assert b"\n*/5 * * * * /y/poll\tnow\n" in box.table
    assert box.mark() + b"@reboot" in box.table
    err = capfd.readouterr().err
    reasons = reasons_of(err)
    assert reasons[2].startswith("no task does the same; to import it: import-crontab")
    assert reasons[7].startswith("6 fields where cron has 5; ")
    assert "line 3" not in err, "a variable is no line that runs"


def test_a_line_below_a_variable_that_changed_stays_with_cron(box):
    box.call("--write")
    box.table = b"PATH=/other\n" + LINES
    box.call("--switch")
    assert box.mark() not in box.table


def test_a_task_that_was_adjusted_answers_for_its_line(box, capfd):
    box.call("--write")
    box.change_task("backup", schedule="0 4 * * *", env={"PATH": "/opt/bin:/bin"}, timeout=60)
    box.change_task("poll", command="/x/poll later")
    box.call("--switch")
    assert box.mark() + b"0 2 * * *" in box.table
    assert box.mark() + b"*/5" in box.table
    err = capfd.readouterr().err
    assert ("warning: line 4 goes over to its task 'poll', whose command was edited since the "
            "import\n" in err)
    assert "'backup'" not in err
    assert sc.main(["--root", str(box.project.root), "install", "--daemon-checked"]) == 0


def test_of_two_lines_alike_the_one_goes_to_the_task_that_was_edited(box, capfd):
    box.table = b"* * * * * /x/worker\n* * * * * /x/worker\n"
    box.call("--write")
    box.change_task("worker", command="/x/worker --new")
    box.call("--switch")
    assert box.table.count(box.mark()) == 2
    assert "line 2 goes over to its task 'worker', whose command" in capfd.readouterr().err


def test_without_the_record_only_tasks_that_do_the_same_answer_for_a_line(box):
    box.call("--write")
    box.change_task("backup", schedule="0 4 * * *")
    (box.project.root / "status" / "crontab.imported").unlink()
    box.call("--switch")
    assert box.mark() + b"0 2 * * *" not in box.table and box.mark() + b"*/5" in box.table


@pytest.mark.parametrize("words", [("--write",), ("--switch",)])
@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"tasks": 3}', b"\xff"])
def test_a_damaged_record_is_an_error_and_stays_as_it_is(box, record, words):
    box.call("--write")
    path = box.project.root / "status" / "crontab.imported"
    path.write_bytes(record)
    with pytest.raises(sc.StorageError, match="crontab.imported is damaged") as caught:
        box.call(*words)
    assert caught.value.exit_code == sc.EXIT_IOERR
    assert path.read_bytes() == record and box.table == LINES


def test_a_line_of_the_conductor_stays_where_the_record_is_gone(box, capfd):
    """Nobody can tell whether it was there before the switch: other tasks may need it."""
    box.call("--write", "--switch")
    (box.project.root / "status" / "crontab.imported").unlink()
    box.call("--switch-back")
    assert b"# BEGIN symphony-conductor " in box.table and box.mark() not in box.table
    assert sorted(box.project.state()["pauses"]) == ["backup", "poll", "start"]
    out = capfd.readouterr().out
    assert out.endswith("The conductor's line stays; the tasks of the lines above are paused.\n")


def test_each_task_answers_for_one_line(box):
    box.table = b"* * * * * /x/worker\n* * * * * /x/worker\n"
    box.call("--write")
    box.drop_in("worker-2").unlink()
    box.call("--switch")
    assert box.table.startswith(box.mark() + b"* * * * * /x/worker\n* * * * * /x/worker\n# BEGIN")


def test_a_task_that_would_not_run_takes_no_line_over(box, capfd):
    box.call("--write")
    box.change_task("backup", enabled=False)
    box.change_task("start", schedule=None)
    box.project.tick()
    sc.Conductor(sc.Store(str(box.project.root))).pause("poll", None, "")
    capfd.readouterr()
    box.call("--switch")
    assert b"\n0 2 * * *" in box.table and b"\n*/5" in box.table
    err = capfd.readouterr().err
    reasons = reasons_of(err)
    assert reasons[2] == "its task 'backup' is disabled"
    assert reasons[4].startswith("its task 'poll' is paused")
    assert reasons[6] == "its task 'start' has no schedule"


@pytest.mark.parametrize("old, new", [
    (b"0 2 * * *", b"0 3 * * *"), (b"0 2 * * * /x/backup.sh --all\n", b"")])
def test_no_task_runs_beside_a_line_that_was_edited_since_its_import(box, old, new):
    box.call("--write")
    box.table = table = LINES.replace(old, new)
    with pytest.raises(sc.UsageError, match="the conductor would also run backup, whose") as caught:
        box.call("--switch")
    assert "install" not in str(caught.value), "it refuses as long as cron has a line of a task"
    assert box.table == table
    box.change_task("backup", enabled=False)
    assert box.call("--switch") == 0


def test_a_task_whose_line_is_gone_goes_on_where_the_conductor_ran_it_anyway(box, capfd):
    box.call("--write", "--switch")
    box.table = box.table.replace(box.mark() + b"0 2 * * * /x/backup.sh --all\n", b"")
    box.table += b"9 9 * * * /x/later\n"
    capfd.readouterr()
    assert box.call("--write", "--switch") == 0
    assert box.mark() + b"9 9" in box.table
    assert "no line of the crontab is that of task 'backup' any more" in capfd.readouterr().err


def test_a_task_imported_from_a_file_needs_no_line_in_the_own_crontab(box, tmp_path):
    box.call("--write")
    (tmp_path / "other").write_text("1 1 * * * /x/other\n")
    store = sc.Store(str(box.project.root))
    arguments = argparse.Namespace(file=str(tmp_path / "other"), system=None, write=True,
                                   switch=False, switch_back=False, dry_run=False, former=None)
    symphony_import_crontab.cmd_import_crontab(store, arguments)
    assert box.drop_in("other").exists()
    assert box.call("--switch") == 0


def test_a_second_line_of_the_same_words_gets_a_task_of_its_own(box, capfd):
    """Cron runs both; and so it is whether the first one was handed over or not."""
    line = b"1 1 * * * /x/worker\n"
    box.table = line
    box.call("--write", "--switch")
    box.table += line
    capfd.readouterr()
    box.call("--switch")
    assert box.table.count(box.mark()) == 1
    assert "no task does the same; to import it" in capfd.readouterr().err
    box.call("--write", "--switch")
    assert box.table.count(box.mark()) == 2 and box.drop_in("worker-2").exists()
    box.call("--switch-back")
    box.table = line * 3
    box.call("--write")
    assert box.drop_in("worker-3").exists() and not box.drop_in("worker-4").exists()


def test_a_pause_that_is_over_keeps_no_line_with_cron(box):
    box.call("--write")
    box.project.tick()
    conductor = sc.Conductor(sc.Store(str(box.project.root)))
    conductor.pause("poll", time.time() - 1, "")
    (box.tools / "readonly").write_text("")
    for _ in range(2):  # the first one pauses 'start' for a second, and no tick ends that
        with pytest.raises(sc.ConductorError, match="refused"):
            box.call("--switch")
    (box.tools / "readonly").unlink()
    box.call("--switch")
    assert box.table.count(box.mark()) == 3


@pytest.mark.parametrize("word", ["--switch", "--switch-back"])
def test_a_timer_that_cannot_be_read_may_call_the_tick(box, monkeypatch, word):
    box.call("--write")
    if word == "--switch-back":
        box.call("--switch")
    table = box.table
    monkeypatch.setattr(sc, "has_timer", lambda root: None)
    with pytest.raises(sc.ConductorError, match="cannot read .*symphony-conductor.timer"):
        box.call(word)
    assert box.table == table


def test_variables_stay_even_if_no_line_uses_them_any_more(box):
    box.table = b"A=b\n0 2 * * * /x/one\n"
    box.call("--write", "--switch")
    assert box.table.startswith(b"A=b\n" + box.mark())


def test_the_last_line_of_a_table_may_lack_its_newline(box):
    box.table = b"0 2 * * * /x/one"
    box.call("--write", "--switch")
    assert box.table.startswith(box.mark() + b"0 2 * * * /x/one\n# BEGIN symphony-conductor ")
    box.call("--switch-back")
    assert box.table == b"0 2 * * * /x/one\n"


def test_bytes_of_another_encoding_and_line_ends_of_dos_come_back(box):
    table = (b"# caf\xe9\r\n0 2 * * * /x/one\r\n0 3 * * * /x/caf\xe9\r\n"
             b"A=\xff\n5 5 * * * /x/two \\\n")
    box.table = table
    box.call("--write", "--switch")
    assert box.mark() + b"0 2 * * * /x/one\r\n" in box.table and b"\n0 3" in box.table
    box.call("--switch-back")
    assert box.table == table


# -- slots that cron had

def tick_at(box, ago):
    return box.project.tick(time.time() + ago)


def started(box):
    """The tasks whose runs were started by schedule."""
    state = box.project.state()["tasks"]
    running = [name for name, task in state.items() if "run" in task]
    return sorted(running + [result["task"] for result in box.project.history()])


def test_slots_between_the_import_and_the_switch_were_those_of_cron(box):
    """An older root, whose conductor has not ticked for an hour."""
    box.table = b"*/5 * * * * true\n@reboot true reboot\n"
    box.project.configure()
    box.project.anchor(ago=7200)
    box.call("--write")
    tick_at(box, -3600)  # the tasks are known since then
    box.call("--switch")
    tick_at(box, 61)
    box.project.wait_for_idle()
    assert started(box) in ([], ["true"]), "at most the slot of this very minute"
    state = box.project.state()["tasks"]["true"]
    assert state["next_slot"] > time.time()
    assert not [result for result in box.project.history()
                if sc.from_iso(result["scheduled_for"]) < time.time() - 60]


def test_a_switch_that_failed_at_the_crontab_leaves_all_with_cron_and_can_be_repeated(box):
    box.table = b"*/5 * * * * true\n"
    box.call("--write")
    (box.tools / "readonly").write_text("")
    with pytest.raises(sc.ConductorError) as caught:
        box.call("--switch")
    assert "crontab refused the new table" in str(caught.value)
    assert box.table == b"*/5 * * * * true\n"
    (box.tools / "readonly").unlink()
    state = json.loads(box.project.read("conductor_state.json"))
    state["tasks"]["true"]["next_slot"] -= 86400  # a day has gone by, and cron ran the line
    state["tasks"]["true"]["cursor"] -= 86400
    (box.project.root / "conductor_state.json").write_text(json.dumps(state))
    assert box.call("--switch") == 0
    tick_at(box, 61)
    box.project.wait_for_idle()
    assert not [result for result in box.project.history()
                if sc.from_iso(result["scheduled_for"]) < time.time() - 60]


class MovedClock(sc.Clock):
    """Stands at a second of a minute until it is moved."""

    def __init__(self, second):
        self.time = time.time() // 60 * 60 + second

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


@pytest.fixture
def clock(box, monkeypatch):
    """What the switch takes for the time, with the true rule on when to wait."""
    clock = MovedClock(20)
    monkeypatch.setattr(sc, "Clock", lambda: clock)
    monkeypatch.setattr(symphony_import_crontab, "time", clock)
    monkeypatch.setattr(crontab_switch, "wait_s", WAIT_S)
    return clock


def slowly(clock, function, seconds):
    def slow(*arguments):
        result = function(*arguments)
        clock.time += seconds
        return result
    return slow


def test_a_crontab_that_is_slow_to_list_makes_the_switch_wait_again(box, clock, monkeypatch):
    box.call("--write")
    times = []

    def written(*arguments):
        times.append(clock.time % 60)

    monkeypatch.setattr(sc, "read_crontab", slowly(clock, sc.read_crontab, 19))
    monkeypatch.setattr(sc, "write_crontab", written)
    assert box.call("--switch") == 0
    assert [5 <= second <= 60 - sc.SYSTEM_PROGRAM_S for second in times] == [True]


def test_a_wait_of_less_than_a_second_is_one(box, clock, capfd):
    box.call("--write")
    clock.time += -20 + crontab_switch.SAFE_FROM_S - 0.25
    box.call("--switch")
    assert "waiting 1 s, so as not to change" in capfd.readouterr().out


def test_lines_from_stdin_are_to_be_removed_where_they_came_from(box, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINES)))
    box.call("--write", file="-")
    assert ("These lines run twice until you remove them from the crontab they came from:\n"
            "    2  0 2" in capfd.readouterr().out)


def test_a_minute_that_begins_during_the_write_was_that_of_cron(box, clock, monkeypatch):
    minute = clock.time // 60 * 60 + 60
    box.table = time.strftime("%M %H * * * true\n", time.localtime(minute)).encode()
    box.call("--write")
    monkeypatch.setattr(sc, "write_crontab", slowly(clock, sc.write_crontab, 45))
    assert box.call("--switch") == 0
    assert clock.time >= minute + 5
    box.project.tick(minute + 62)
    box.project.wait_for_idle()
    assert box.project.history() == []


@pytest.mark.parametrize("is_listed", [True, False])
def test_no_run_that_still_goes_starts_slots_after_the_lines_went_back(box, monkeypatch, is_listed):
    box.call("--write", "--switch")
    box.project.tick()
    assert os.path.exists(str(box.project.root / sc.HEARTBEAT_NAME))
    if is_listed:
        box.call("--switch-back")
    else:
        def fail(*arguments):
            raise sc.ConductorError("written, and not listed")

        monkeypatch.setattr(sc, "write_crontab", fail)
        with pytest.raises(sc.ConductorError):
            box.call("--switch-back")
    assert not os.path.exists(str(box.project.root / sc.HEARTBEAT_NAME))


def test_a_task_that_ticks_already_know_keeps_its_slots(box):
    box.call("--write")
    box.project.tick()
    before = box.project.state()["tasks"]
    box.call("--switch")
    after = box.project.state()["tasks"]
    assert after["backup"] == before["backup"] and after["poll"] == before["poll"]


# -- what is refused

def test_a_table_that_somebody_changes_meanwhile_is_left_alone(box, monkeypatch):
    box.call("--write")

    def edit(now):
        box.table = LINES + b"# edited\n"
        return 0

    monkeypatch.setattr(crontab_switch, "wait_s", edit)
    with pytest.raises(sc.ConductorError, match="the crontab was changed meanwhile"):
        box.call("--switch")
    assert box.table == LINES + b"# edited\n"


KEPT = "compare crontab -l with the previous one, saved as "


@pytest.mark.parametrize("flaws, words", [
    ("sulky", ()),  # it has written the table, which is what counts
    ("slow", ()),
    ("stuck", ("crontab did not answer for 1 s",)),
    ("mute", ("crontab accepted the new table but the table cannot be listed now: crontab -l "
              "failed (exit 1): cannot read it; " + KEPT,)),
    ("mute slow", ("crontab did not answer for 1 s but the table cannot be listed now", KEPT)),
    ("mute sulky", ("exit 1): cannot tell the daemon but the table cannot be listed now", KEPT)),
])
def test_what_is_said_after_a_write_is_what_the_crontab_lists(box, monkeypatch, flaws, words):
    box.call("--write")
    for flaw in flaws.split():
        (box.tools / flaw).write_text("")
    # So long that what does answer has the time for it.
    monkeypatch.setattr(sc, "SYSTEM_PROGRAM_S", 1)
    kept = box.project.root / "status" / "crontab.before"
    if not words:
        assert box.call("--switch") == 0
    else:
        with pytest.raises(sc.ConductorError) as caught:
            box.call("--switch")
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert "nothing was changed" not in str(caught.value)
    assert (box.mark() in box.table) == ("stuck" not in flaws)
    assert kept.exists() == ("mute" in flaws)
    if kept.exists():
        assert kept.read_bytes() == LINES


@pytest.mark.parametrize("word", ["--switch", "--switch-back"])
def test_a_table_that_cannot_be_read_is_not_written(box, word):
    box.call("--write")
    (box.tools / "unreadable").write_text("")
    with pytest.raises(sc.ConductorError, match="nothing was changed"):
        box.call(word)
    assert box.table == LINES and box.writes() == 0


def test_a_configuration_that_cannot_be_read_is_not_switched_to(box):
    box.call("--write")
    box.project.write_config("{")
    with pytest.raises(sc.ConfigError):
        box.call("--switch")
    assert box.table == LINES


@pytest.mark.parametrize("words, hint", [
    (("--switch", "/etc/crontab"), "--write prints the lines to comment out"),
    (("--switch-back", "-"), "--write prints the lines to comment out"),
    (("--dry-run",), "nothing is written"),
    (("--system",), "such as /etc/crontab"),
    (("--switch", "--system"), "such as /etc/crontab"),
    (("--switch", "--no-system"), "such as /etc/crontab"),
    (("--write", "--switch", "--dry-run"), "the tasks are only printed"),
    (("--write", "--switch-back"), "leave out --write"),
    (("--switch", "--former", "/x"), "--former goes with --switch-back"),
])
def test_what_cannot_be_switched_says_what_to_do(box, words, hint):
    code, out, err = box.project.call("import-crontab", *words)
    assert (code, out) == (2, "") and hint in err


def test_the_line_of_a_timer_is_not_needed(box, monkeypatch):
    box.call("--write")
    monkeypatch.setattr(sc, "has_timer", lambda root: True)
    box.call("--switch")
    assert box.table.count(box.mark()) == 3 and b"# BEGIN" not in box.table


def test_lines_do_not_go_back_to_cron_while_a_timer_ticks(box, monkeypatch):
    box.call("--write", "--switch")
    table = box.table
    monkeypatch.setattr(sc, "has_timer", lambda root: True)
    with pytest.raises(sc.UsageError, match="would run twice"):
        box.call("--switch-back")
    assert box.table == table


def test_lines_of_a_folder_that_was_renamed_are_named(box, capfd):
    box.table = sc.handed_over_mark('/srv/the "old" one').encode() + b"0 2 * * * /x/one\n"
    assert box.call("--switch-back") == 0
    assert ("lines were handed over to /srv/the \"old\" one; to give them back: import-crontab "
            "--switch-back --former '/srv/the \"old\" one'\n" in capfd.readouterr().out)


def test_lines_of_a_folder_that_was_renamed_come_back(box):
    old = str(box.project.root.parent / "old")
    box.call("--write", "--switch")
    box.table = box.table.replace(str(box.project.root).encode(), old.encode())
    renamed = box.table
    sc.write_crontab(sc.table_with_line(sc.Store(str(box.project.root)), renamed.decode()),
                     renamed.decode(), sc.Store(str(box.project.root)))
    with pytest.raises(sc.ConductorError) as caught:
        sc._uninstall_line(sc.Store(str(box.project.root)), False)
    assert "handed over to %s " % old in str(caught.value)
    assert str(caught.value).endswith("import-crontab --switch-back --former %s)" % old)
    os.mkdir(old)
    with pytest.raises(sc.UsageError, match="still exists"):
        box.call("--switch-back", former=old)
    os.rmdir(old)
    box.call("--switch-back", former=old)
    assert box.table == LINES


def test_what_cannot_be_looked_at_is_not_gone(monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    assert sc.is_gone(str(tmp_path / "x")) and not sc.is_gone(str(tmp_path))
    monkeypatch.setattr(sc.os, "lstat", refuse)
    assert not sc.is_gone(str(tmp_path / "x"))


def test_a_line_that_was_there_before_the_switch_stays_and_its_tasks_pause(box, capfd):
    box.table = b"* * * * * true\n"
    box.project.configure(every_minute("other"))
    store = sc.Store(str(box.project.root))
    sc.write_crontab(sc.table_with_line(store, box.table.decode()), box.table.decode(), store)
    installed = box.table
    box.project.anchor()
    box.call("--write", "--switch")
    box.change_task("true", command="true edited")  # it is the task of that line all the same
    (box.project.root / "config" / "conductor_config.json").rename(box.tools / "config")
    box.call("--switch-back")
    assert box.table == installed
    (box.tools / "config").rename(box.project.root / "config" / "conductor_config.json")
    assert "The conductor's line stays; the tasks of" in capfd.readouterr().out
    tick_at(box, 120)
    box.project.wait_for_idle()
    assert "other" in started(box) and "true" not in started(box)
    box.change_task("true", command="true")
    box.call("--switch")
    assert box.mark() + b"* * * * * true" in box.table
    tick_at(box, 240)
    box.project.wait_for_idle()
    assert started(box).count("true") == 1


@pytest.fixture
def ticking(box):
    """A conductor's line of its own, that stays, and one line that was handed over beside it."""
    box.table = b"* * * * * true\n"
    box.project.configure(every_minute("other"))
    store = sc.Store(str(box.project.root))
    sc.write_crontab(sc.table_with_line(store, box.table.decode()), box.table.decode(), store)
    box.project.anchor()
    box.call("--write", "--switch")
    return box


def is_paused(box):
    pause = box.project.state().get("pauses", {}).get("true")
    return pause is not None and pause["until"] is None


@pytest.mark.parametrize("error", [sc.ConductorError("cannot be listed"), KeyboardInterrupt()])
def test_no_line_runs_beside_its_task_if_the_switch_back_ends_behind_the_write(
        ticking, monkeypatch, error):
    write_crontab = sc.write_crontab

    def end(*arguments):
        assert is_paused(ticking), "ahead of the write"
        write_crontab(*arguments)
        raise error

    monkeypatch.setattr(sc, "write_crontab", end)
    with pytest.raises(type(error)):
        ticking.call("--switch-back")
    assert ticking.mark() not in ticking.table and is_paused(ticking)


def test_tasks_stay_paused_where_the_table_cannot_be_listed(ticking, capfd):
    (ticking.tools / "mute").write_text("")
    with pytest.raises(sc.ConductorError, match="the table cannot be listed now"):
        ticking.call("--switch-back")
    assert ticking.mark() not in ticking.table and is_paused(ticking)
    assert "if cron does not run their lines: resume NAME, for true" in capfd.readouterr().err


@pytest.mark.parametrize("has_last_good", [True, False])
@pytest.mark.parametrize(
    "name", ["conductor_config.json", "tasks.d/other.json", "tasks.d/true.json"])
def test_lines_go_back_and_their_tasks_pause_whatever_the_configuration_is(
        ticking, name, has_last_good):
    (ticking.project.root / "config" / name).write_text("{")
    last_good = sc.Store(str(ticking.project.root)).last_good_path
    if not has_last_good and os.path.exists(last_good):
        os.unlink(last_good)
    assert ticking.call("--switch-back") == 0
    assert ticking.mark() not in ticking.table and is_paused(ticking)


def test_lines_go_back_though_the_last_good_configuration_cannot_be_read(ticking, monkeypatch):
    ticking.project.write_config("{")

    def fail(store):
        raise sc.StorageError("cannot read it")

    monkeypatch.setattr(symphony_import_crontab, "_write_and_pause",
                        lambda *arguments: names.extend(arguments[4]))
    names = []
    monkeypatch.setattr(sc.Store, "read_last_good", fail)
    assert ticking.call("--switch-back") == 0
    assert names == ["true"]


def test_a_switch_back_that_wrote_nothing_leaves_the_tasks_as_they_were(ticking):
    table = ticking.table
    (ticking.tools / "readonly").write_text("")
    with pytest.raises(sc.ConductorError, match="refused"):
        ticking.call("--switch-back")
    assert ticking.table == table and not is_paused(ticking)
    sc.Conductor(sc.Store(str(ticking.project.root))).pause("true", None, "mine")
    with pytest.raises(sc.ConductorError, match="refused"):
        ticking.call("--switch-back")
    assert ticking.project.state()["pauses"]["true"]["reason"] == "mine"


def test_an_import_beside_a_tick_says_that_both_run_the_lines(box, capfd):
    box.table = sc.with_block(LINES.decode(), str(box.project.root), ["* * * * * tick"]).encode()
    box.call("--write")
    assert "Cron and the conductor both run these lines by now. To hand" in capfd.readouterr().out


# -- a fresh folder, and the crontab of this machine

@pytest.fixture
def fresh(tmp_path):
    """A folder with nothing but the program and its scripts."""
    root = tmp_path / "fresh"
    (root / "scripts").mkdir(mode=0o700, parents=True)
    root.chmod(0o700)
    shutil.copy(str(SCRIPT), str(root))
    for name in BESIDE:
        shutil.copy(str(SCRIPTS / name), str(root / "scripts"))
    return root


def conductor(root, *words, **more):
    done = subprocess.run([sys.executable, str(root / "symphony_conductor.py")] + list(words),
                          cwd=str(root), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, **more)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_an_import_into_a_fresh_folder_makes_what_is_missing(fresh, tmp_path):
    (tmp_path / "table").write_text("# all night\n0 2 * * * true\n*/5 * * * * true often\n"
                                    "0 * * * * true hourly\n@reboot true\n")
    code, out, err = conductor(fresh, "import-crontab", "--write", str(tmp_path / "table"))
    assert code == 0 and out.startswith("wrote config/conductor_config.json\nwrote config/tasks.d/")
    assert err == "symphony_conductor: %s: 5 lines: 4 tasks, 1 comment\n" % (tmp_path / "table")
    code, out, err = conductor(fresh, "check")
    assert (code, err) == (0, "")
    assert out.startswith("config/conductor_config.json: 4 tasks, 0 problems, 0 warnings")
    config = sc.Store(str(fresh)).read_config()
    assert sorted(config.tasks) == ["true", "true-2", "true-3", "true-4"], "and no examples"
    assert config.max_concurrent_tasks == 4
    for path in (fresh / "config", fresh / "config" / "tasks.d"):
        assert path.stat().st_mode & 0o777 == 0o700
    assert (fresh / "config" / "conductor_config.json").stat().st_mode & 0o777 == 0o600


def test_an_import_that_was_cut_short_is_taken_up_again(box):
    box.call("--write")
    (box.project.root / "config" / "conductor_config.json").unlink()
    box.drop_in("poll").unlink()
    assert box.call("--write") == 0
    names = sorted(path.name for path in box.drop_in("x").parent.iterdir())
    assert names == ["backup.json", "poll.json", "start.json"]
    assert (box.project.root / "config" / "conductor_config.json").exists()


def test_an_existing_configuration_stays_as_it_is(box, capfd):
    box.project.configure(every_minute("here"), max_concurrent_tasks=2)
    before = box.project.read("config/conductor_config.json")
    assert box.call("--write") == 0
    assert box.project.read("config/conductor_config.json") == before
    assert ("Up to 2 tasks run at the same time (max_concurrent_tasks); cron has no limit.\n"
            in capfd.readouterr().out)


REAL = """
set -e
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
crontab "$1/table"
run() { "$2" -I -S -c 'import sys; sys.path[:0] = [sys.argv.pop(1)] * 2
sys.path[0] += "/scripts"
import crontab_switch
crontab_switch.wait_s = lambda now: 0
import symphony_import_crontab as i
import symphony_conductor as sc
sys.argv[0] = i.__file__
sc.command_beside(i.__doc__, i.OPTIONS, i.cmd_import_crontab)' "$1" --root "$1" "$3" >> "$1/said"; }
run "$1" "$2" --write
run "$1" "$2" --switch
crontab -l > "$1/switched"
run "$1" "$2" --switch-back
crontab -l | cmp - "$1/table"
"""


def test_uninstall_refuses_while_nothing_would_run_the_lines(tmp_path, monkeypatch):
    table = "0 5 * * * mine\n%s0 6 * * * /x/two\n%s7 7 * * * other\n" % (
        sc.handed_over_mark(str(tmp_path)), sc.handed_over_mark(str(tmp_path) + "2"))
    monkeypatch.setattr(sc, "read_crontab", lambda: table)
    monkeypatch.setattr(sc, "write_crontab", lambda *arguments: pytest.fail("written"))
    with pytest.raises(sc.ConductorError) as caught:
        sc._uninstall_line(sc.Store(str(tmp_path)), False)
    assert "nothing will run 1 line of the crontab handed over to %s" % tmp_path in str(caught.value)
    assert "import-crontab --switch-back" in str(caught.value)


@pytest.mark.skipif(bool(CronDaemon._why_not()), reason="needs root, namespaces and crontab(1)")
def test_the_real_crontab_takes_the_switch_and_its_undoing(fresh):
    (fresh / "table").write_bytes(LINES.replace(b"61", b"51") + b"# caf\xe9\n")
    done = subprocess.run(NAMESPACE + ["sh", "-c", REAL, "sh", str(fresh), sys.executable],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    switched = (fresh / "switched").read_bytes()
    assert switched.count(sc.handed_over_mark(str(fresh)).encode()) == 4
    assert switched.count(b" tick >>") == 1
