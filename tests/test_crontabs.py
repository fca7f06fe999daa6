"""Whole tables after what real ones look like, each with its whole import.

crontabs/NAME.crontab is the table, in bytes, and NAME.json what must become of it, worked out by
hand: how many lines there are of each kind, every task, every line that is left out and every
warning, in their order. A text that ends in "..." stands for any that begins so: the words on
schedules are the core's own.
"""

import json
import random
import re

import pytest
from support import REPOSITORY

import symphony_conductor as sc
import symphony_import_crontab
from crontab_tables import KINDS, Machine

FOLDER = REPOSITORY / "tests" / "crontabs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.crontab"))
ACCOUNTS = frozenset("root me www-data postgres backup operator man sync deploy".split())
PROGRAMS = frozenset("man sync date 7z 2048 mail".split())
ME = Machine(user="me", home="/home/me", accounts=ACCOUNTS, is_program=PROGRAMS.__contains__)


def imported_of(name):
    data = (FOLDER / (name + ".crontab")).read_bytes()
    text = symphony_import_crontab.decoded_table(data, name)
    expected = json.loads((FOLDER / (name + ".json")).read_text(encoding="utf-8"))
    return symphony_import_crontab.import_tasks(text, ME, expected["system"]), expected


def shortened(texts, expected):
    """The texts, cut to what is expected of those that it leaves open."""
    texts = [list(text) for text in texts]
    for text, wanted in zip(texts, expected):
        if wanted[-1].endswith("...") and text[-1].startswith(wanted[-1][:-3]):
            text[-1] = wanted[-1]
    return texts


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_import_of_a_table(name):
    imported, expected = imported_of(name)
    assert [dict(task, line=line) for line, task in imported.tasks] == expected["tasks"]
    left_out = [(number, reason) for number, _, reason in imported.left_out]
    assert shortened(left_out, expected["left_out"]) == expected["left_out"]
    assert shortened(imported.notes, expected["warnings"]) == expected["warnings"]
    kinds = {kind: imported.kinds.count(kind) for kind, _, _ in KINDS if kind in imported.kinds}
    assert kinds == expected["lines"]


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_table_is_accounted_for_once(name):
    imported, _ = imported_of(name)
    data = (FOLDER / (name + ".crontab")).read_bytes()
    assert len(imported.kinds) == len(re.findall(b"[^\n]*\n|[^\n]+\\Z", data))
    kinds = dict(enumerate(imported.kinds, 1))
    tasks = [line for line, _ in imported.tasks]
    left_out = [line for line, _, _ in imported.left_out]
    assert sorted(tasks + left_out) == [
        line for line, kind in sorted(kinds.items()) if kind in ("task", "left out")]
    assert all(kinds[line] == "task" for line in tasks)
    assert all(reason.strip() for _, _, reason in imported.left_out)
    assert sum(map(int, re.findall(r"\d+", imported.tally().partition(": ")[2]))) == len(kinds)


@pytest.mark.parametrize("name", NAMES)
def test_the_tasks_of_a_table_are_a_configuration_without_doubts_about_timeouts(name):
    imported, _ = imported_of(name)
    tasks = [task for _, task in imported.tasks]
    config = sc.build_config([("crontab", {"tasks": tasks})])
    assert config.problems == [] and list(config.tasks) == [task["name"] for task in tasks]
    doubts = [problem.task for problem in sc.suspicions(config, 1735689600)
              if problem.field == "timeout"]
    # What sees to it itself that it does not overlap may run for long.
    assert [task for task in doubts if "flock" not in config.tasks[task].command] == []


@pytest.mark.parametrize("name", NAMES)
def test_importing_a_table_again_adds_no_task(name):
    imported, expected = imported_of(name)
    config = sc.build_config([("crontab", {"tasks": [task for _, task in imported.tasks]})])
    data = (FOLDER / (name + ".crontab")).read_bytes()
    text = symphony_import_crontab.decoded_table(data, name)
    again = symphony_import_crontab.import_tasks(text, ME, expected["system"], config)
    assert again.tasks == []
    assert len(again.kinds) == len(imported.kinds)


PIECES = (["0 5 * * * ", "*/5 9-17 * * mon-fri\t", "@daily ", "@every 5m ", "0 0 2 * * * ", "-1 2 3 4 5 ",
           "~ 3 * * * ", "1 5 cron.daily ", "& ", "TZ=UTC ", "CRON_TZ=Mars/Base ", "A=", "PATH=$HOME/bin",
           "root ", "me ", "/opt/x ", "run.sh ", "$(date +%F) ", "'", "\"", "\\", "%", "\\%", "#", "# ", "\r",
           "\t", " ", "\ufeff", "\xe9", "\udce9", "\x00", "-n ", "ID=x ", "FREQ=1d ", "if ", "for i in ", "( ",
           "`", "sh -c ", "SHELL=/bin/bash", sc.BLOCK_BEGIN + "/a", sc.BLOCK_END + "/a"] + ["\n"] * 12)


def test_no_table_is_too_odd_to_be_accounted_for():
    chance = random.Random(15)
    for _ in range(1500):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 60)))
        has_users = chance.choice((None, True, False))
        imported = symphony_import_crontab.import_tasks(text, ME, has_users)
        assert len(imported.kinds) == len(sc.crontab_lines(text)), repr(text)
        tasks = [task for _, task in imported.tasks]
        assert sc.build_config([("crontab", {"tasks": tasks})]).problems == [], repr(text)
        numbers = sorted([number for number, _ in imported.tasks]
                         + [number for number, _, _ in imported.left_out])
        assert numbers == [number for number, kind in enumerate(imported.kinds, 1)
                           if kind in ("task", "left out")], repr(text)


def test_there_are_enough_tables_and_each_has_its_expectation():
    assert len(NAMES) >= 60
    assert NAMES == sorted(path.stem for path in FOLDER.glob("*.json"))


def test_a_table_in_utf_16_is_refused():
    with pytest.raises(sc.UsageError) as caught:
        symphony_import_crontab.decoded_table("0 1 * * * x\n".encode("utf-16"), "table")
    assert "iconv" in caught.value.hint
