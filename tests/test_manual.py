"""The manual page: made from what is there, current, and read by man(1) without a complaint."""

import os
import re
import shutil
import subprocess

import pytest
from conftest import REPOSITORY

import man_page
import symphony_completion
import symphony_conductor as sc

PAGE = REPOSITORY / "scripts" / "symphony_conductor.1"


def output_of(*command, **more):
    if not shutil.which(command[0]):
        pytest.skip("%s is not installed" % command[0])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          env=dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="80", MANPAGER="cat", **more))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == man_page.page(), "python3 scripts/man_page.py > %s" % PAGE


def test_man_shows_it_in_eighty_columns_without_a_warning():
    out, err = output_of("man", "--warnings", "-l", str(PAGE))
    assert err == ""
    lines = re.sub(".\b", "", re.sub("\x1b\\[[0-9;]*m", "", out)).splitlines()
    assert max(map(len, lines)) <= 80
    headings = [line for line in lines if re.match("[A-Z]", line)]
    assert headings[1:-1] == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT",
                              "FILES", "EXAMPLES", "SEE ALSO"]
    text = " ".join(" ".join(lines).split())
    for words in ("run [OPTION]... TASK Run a task now", "--status STATUS Only this status",
                  "timer [OPTION]... install|uninstall", "75 Temporary failure: the task is already",
                  "config/tasks.d/*.json More tasks", "SYMPHONY_RUN_ID Identifier of the run"):
        assert words in text


@pytest.mark.parametrize("command", [("groff", "-ww", "-man", "-Tutf8", "-z"), ("mandoc", "-T", "lint"),
                                     ("lexgrog",)])
def test_no_formatter_complains(command):
    out, err = output_of(*command, str(PAGE))
    assert err == ""
    if command[0] == "lexgrog":
        assert out.strip().endswith('"symphony_conductor - maintenance tasks on cron schedules, driven by one '
                                    'crontab line"')
    else:
        assert out == ""


def test_it_has_every_command_and_option():
    text = PAGE.read_text(encoding="utf-8").replace("\\-", "-")
    for command in symphony_completion.all_commands():
        assert "\n\\fB%s\\fR" % command.name in text
        for action in man_page._options_of(command):
            assert "\\fB%s\\fR" % action.option_strings[-1] in text
    for setting in (sc.__version__, sc.CONFIG_NAME, "SYMPHONY_ROOT"):
        assert setting in text


@pytest.mark.parametrize("markdown, roff", [
    ("plain", "plain"), ("`a-b`", "\\fBa\\-b\\fR"), ("see [x y](../z.md#w)", "see x y"), ("*X*", "\\fIX\\fR"),
    ("a\\b", "a\\eb"), ("\u2026", "\\[u2026]"), ("`*/5 * * * *`", "\\fB*/5 * * * *\\fR"), ("two\nlines", "two lines")])
def test_markdown_becomes_roff(markdown, roff):
    assert man_page.roff(markdown) == roff


def test_no_line_of_a_text_is_taken_for_a_request():
    assert man_page.prose(".bak and 'x") == ["\\&.bak and 'x"]
    assert all(not line.startswith((".", "'")) for line in man_page.prose("word " * 14 + " .x 'y" * 40))


def test_a_manual_without_the_table_is_an_error():
    with pytest.raises(sc.ConductorError, match="no table of 'nothing'"):
        man_page.table("| x | y |\n|---|---|\n| 1 | 2 |\n", "nothing")
    assert man_page.table("| x | y |\n|---|---|\n| 1 | 2 |\n", "x") == [("1", "2")]
    with pytest.raises(sc.ConductorError, match="no paragraph 'nothing'"):
        man_page.paragraph("x\n\n", "nothing")
