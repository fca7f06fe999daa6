"""The crontab line: as text, against a crontab(1) that misbehaves, and with a real cron daemon."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ODD_NAME, SCRIPT, Project, every_minute

import symphony_conductor as sc

NEIGHBOURS = "# mine\nMAILTO=me\n\n\t5 4 * * *  other %job\n# BEGIN other-tool\n1 2 3 4 5 x\n# END other-tool\n"


# -- as text

def test_installing_twice_changes_nothing():
    once = sc.with_block(NEIGHBOURS, "/srv/a", ["LINE"])
    assert once == NEIGHBOURS + "# BEGIN symphony-conductor /srv/a\nLINE\n# END symphony-conductor /srv/a\n"
    assert sc.with_block(once, "/srv/a", ["LINE"]) == once


def test_uninstalling_leaves_the_neighbours_byte_for_byte():
    for neighbours in ("", NEIGHBOURS, NEIGHBOURS + "\r\nodd\x0b\udcff\n"):
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


# -- against a crontab(1) of the test's own

FAKE = """#!/bin/sh
table="$(dirname "$0")/table"
case "$1" in
  -l) [ ! -e "$(dirname "$0")/broken" ] || { cat "$(dirname "$0")/broken" >&2; exit 1; }
      [ -e "$table" ] || { echo "no crontab for you" >&2; exit 1; }
      cat "$table" ;;
  -) [ ! -e "$(dirname "$0")/full" ] || { echo "no space" >&2; exit 1; }
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
    assert project.call("install", env=env)[1].startswith("the crontab line is installed already:\n")
    assert (fake / "table").read_text() == table
    assert project.call("uninstall", env=env)[1].startswith("removed the crontab line for ")
    assert (fake / "table").read_text() == NEIGHBOURS
    assert project.call("uninstall", env=env)[1] == (
        "there is no crontab line for %s\nconfiguration, state and logs stay\n" % project.root)
    assert (fake / "table").read_text() == NEIGHBOURS


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


# -- with a real daemon; conftest started it ahead of the other tests, and this one comes last

def test_a_real_cron_daemon_drives_tasks_dependents_and_retries(cron_daemon):
    if cron_daemon.reason:
        pytest.skip(cron_daemon.reason)
    project = cron_daemon.project

    def first_full_minute():
        done = {(record["task"], record["scheduled_for"]): record for record in cron_daemon.history()}
        tasks = ("first", "second", "failing")
        slots = sorted(slot for task, slot in done if all((each, slot) in done for each in tasks))
        return {task: done[task, slots[0]] for task in tasks} if slots else None

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
