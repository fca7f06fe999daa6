"""Every command of the README, run as it stands there, in a checkout of its own; and what it prints."""

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY, git

import symphony_conductor as sc

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?ms)^```console\n(.*?)^```$", README)

CRONTAB = """#!/bin/sh
table=$HOME/.crontab
case $1 in
  -l) [ -e "$table" ] || { echo "no crontab for me" >&2; exit 1; }; cat "$table" ;;
  -) cat > "$table" ;;
esac
"""
JQ = """import json, sys
assert sys.argv[1] == ".recent_results[0].status" or sys.argv[1] == ".recent_results"
found = json.load(sys.stdin)["recent_results"]
print(json.dumps(found[0]["status"] if "[0]" in sys.argv[1] else found))
"""

# What is another one on every box and at every hour, in the order of replacement.
VOLATILE = (
    (r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}", "TIME"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\d{8}T\d{6}Z-\d+", "RUN"),
    (r"\d{4}-\d\d-\d\d", "DAY"),
    (r"[^ :]*/python[0-9.]*", "PYTHON"),
    (r"/\S*/crontab", "CRONTAB"),
    (r"next: \w+ in", "next: TASK in"),
    (r"\b(?:\d+[dhms] ?)+", "AGE "),
    (r"[\d.]+ [KMG]?i?B", "SIZE"),
    (r"\d[\d.,]*", "N"),
    (r"[ \t]+", " "),
)


def normal(text):
    for pattern, name in VOLATILE:
        text = re.sub(pattern, name, text)
    return text.strip()


def commands_of(block):
    """[(command, the lines it prints)] of a console block."""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def agrees(expected, actual):
    """Whether the lines fit, where '...' stands for any number of them."""
    if not expected:
        return not actual
    if expected[0] == "...":
        return any(agrees(expected[1:], actual[start:]) for start in range(len(actual) + 1))
    return bool(actual) and expected[0] == actual[0] and agrees(expected[1:], actual[1:])


def on_a_terminal(script, typed, **where):
    """(exit code, output) of a shell script whose questions somebody answers."""
    master, slave = pty.openpty()
    os.write(master, typed)
    process = subprocess.Popen(["sh", "-c", script], stdin=slave, stdout=slave, stderr=slave, **where)
    os.close(slave)
    said = b""
    try:
        while True:
            said += os.read(master, 4096)
    except OSError:
        pass  # the last one who had the terminal open is gone
    os.close(master)
    return process.wait(60), said


class Home:
    """The home of somebody who follows the README, with a checkout and a crontab of its own."""

    def __init__(self, folder):
        self.home = folder / "home" / "me"
        self.root = self.home / "symphony"
        tools = folder / "tools"
        for made in (self.root, tools):
            made.mkdir(mode=0o700, parents=True)
        self._copy_checkout()
        (tools / "crontab").write_text(CRONTAB)
        (tools / "jq").write_text("#!%s\n%s" % (sys.executable, JQ))
        (tools / "python3").symlink_to(sc.interpreter())
        for name in ("crontab", "jq"):
            (tools / name).chmod(0o755)
        # Whatever the box has, the set-up sees a daemon here, and starts none.
        shutil.copy(shutil.which("sleep"), str(tools / "cron"))
        self.daemon = subprocess.Popen([str(tools / "cron"), "600"])
        self.env = {"HOME": str(self.home), "PATH": "%s:/usr/bin:/bin" % tools, "PYTHON": str(tools / "python3"),
                    "LC_ALL": "C.UTF-8", "COLUMNS": "120", "TZ": "UTC"}

    def _copy_checkout(self):
        listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=str(REPOSITORY))
        for name in listed.decode("utf-8").split("\0"):
            # The README names files as examples, and what something names is kept.
            if name and not name.startswith("tests/") and name != "README.md" and (REPOSITORY / name).exists():
                (self.root / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copy(str(REPOSITORY / name), str(self.root / name))
        rules = self.root / "config" / "cleanup_rules.json"
        rules.write_text(re.sub(r'(?s)("temporary".*?"older_than": )"\w+"', r'\1"0.001s"', rules.read_text(), count=1))
        git(self.root, "init", "-q")
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", "as it came")
        (self.root / "logs").mkdir(mode=0o700)
        (self.root / "logs" / "conductor_cron.log").write_text("")  # as cron's first call leaves it
        (self.root / "build").mkdir()
        for name in ("old.tmp", "older.tmp", "report.html"):
            (self.root / "build" / name).write_text("x\n")

    def run(self, command, folder):
        """(exit code, output, the folder it leaves the shell in) of one command."""
        script = "%s\ncode=$?; pwd > %s; exit $code" % (command, shlex.quote(str(self.home / ".pwd")))
        where = {"cwd": folder, "env": self.env}
        if command.split("#")[0].rstrip().endswith("--execute"):
            code, said = on_a_terminal(script, b"q\n", **where)
        else:
            done = subprocess.run(["sh", "-c", script], timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, **where)
            code, said = done.returncode, done.stdout
        output = said.decode("utf-8").replace(str(self.home), "/home/me")
        output = output.replace('"cwd": "%s"' % sc.current_user()[1], '"cwd": "/home/me"')  # the home that cron would use
        lines = [line for line in output.splitlines() if not line.startswith("note: you are root")]
        return code, lines, (self.home / ".pwd").read_text().rstrip("\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    made = Home(tmp_path_factory.mktemp("readme"))
    yield made
    made.daemon.kill()
    made.daemon.wait()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_commands_of_a_block_do_what_it_shows(home, number):
    commands = commands_of(BLOCKS[number])
    folder = str(home.root)
    for command, shown in commands:
        code, lines, folder = home.run(command, folder)
        assert code == 0, (command, lines)
        if any(shown for _, shown in commands):
            assert agrees(list(map(normal, shown)), list(map(normal, lines))), (command, shown, lines)


def test_the_blocks_hold_what_people_come_for():
    commands = [command for block in BLOCKS for command, _ in commands_of(block)]
    for start in ("./setup.sh", "./setup.sh --uninstall", "python3 symphony_conductor.py init",
                  "python3 symphony_conductor.py install", "./symphony_conductor.py run --task",
                  "./symphony_conductor.py status", "./symphony_conductor.py import-crontab"):
        assert any(command.startswith(start) for command in commands), start


EXAMPLES = {"NAME": "health_check", "ADDRESS": "me@example.org", "ZONE": "Europe/Paris", "TIME": "2025-03-28",
            "N": "3", "WHEN": "1d", "STATUS": "success", "FILE": "config/conductor_config.json",
            '"EXPRESSION"': "'0 2 * * *'"}
# tests/test_timer.py and tests/test_setup.py have the first two; the others do not come to an end, or name a run.
OF_ANOTHER_TEST = ("--timer", "--user", "--watch", "--follow", "--run", "--at")


def test_every_row_of_the_table_of_commands_is_a_command_that_works(home):
    table = README[README.index("## Commands"):README.index("`--root DIR` and")]
    for row in re.findall(r"(?m)^\| `(.*?)` \| (.*) \|$", table):
        usage, options = row[0].replace("`, `", "; ./symphony_conductor.py "), re.findall(r"`(--[^`]*)`", row[1])
        if usage == "notify-test":
            continue  # there is nobody to tell; tests/test_messages.py has it
        for option in [""] + [option for option in options if not option.startswith(OF_ANOTHER_TEST)]:
            words = ["./symphony_conductor.py", usage, option]
            command = " ".join(re.sub(r'"EXPRESSION"|\b[A-Z]+\b', lambda match: EXAMPLES[match.group()], word)
                               for word in words)
            code, lines, _ = home.run(command, str(home.root))
            assert code == 0 or usage == "doctor" and code == 1, (command, lines)  # by then it is uninstalled
    for option in OF_ANOTHER_TEST:
        assert option in table


def test_every_command_within_a_sentence_works(home):
    spans = set(re.findall(r"`((?:\./|python3 )?(?:symphony_conductor\.py|setup\.sh|scripts/[a-z_]+\.(?:sh|py)|"
                           r"tests/[a-z]+(?:\.py)?)(?: [^`]*)?)`", README))
    ran = 0
    for span in sorted(spans):
        # What names a folder or a file, runs another suite of its own, or needs another box.
        if re.search(r"\b[A-Z]{2,}\b|tests/|--timer", span) or span in ("symphony_conductor.py", "setup.sh"):
            continue
        command = span if span.startswith(("./", "python3")) else "./" + span
        code, lines, _ = home.run(command, str(home.root))
        assert code == 0, (command, lines)
        ran += 1
    assert ran >= 6


def test_every_field_and_setting_stands_in_the_tables_with_its_default():
    fields = README[README.index("| field of a task |"):README.index("| setting |")]
    settings = README[README.index("| setting |"):README.index("Commands see `SYMPHONY_TASK`")]
    for rules, table, defaults in ((sc.TASK_RULES, fields, sc.Task), (sc.SETTING_RULES, settings, sc.Config)):
        rows = {}
        for names, values in re.findall(r"(?m)^\| (`.*?`) \| (.*?) \|", table):
            split = re.findall(r"`(\w+)`", names)
            shown = [value.strip(" `") for value in values.split(",")]
            rows.update(zip(split, shown if len(shown) == len(split) else [values.strip("`")] * len(split)))
        assert set(rows) == set(rules)
        for name, shown in rows.items():
            if shown[0].isdigit():
                assert float(shown) == getattr(defaults, name), name


def test_every_file_that_the_table_names_is_one_that_is_written_or_ignored():
    table = README[README.index("| path under the root |"):README.index("## My task did not run")]
    names = re.findall(r"(?m)^\| `([^`]*)`", table)
    assert len(names) >= 12
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    for name in names:
        top = "/" + name.split("/")[0]
        assert name.startswith("config/") or any(line.rstrip("/*").startswith(top) for line in ignored), name
