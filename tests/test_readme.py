"""Every command of the manuals, run as it stands there in a checkout of its own, and its output."""

import datetime
import os
import pty
import pwd
import re
import shlex
import shutil
import subprocess
import time

import pytest
from conftest import REPOSITORY, Project, due_once, git

import symphony_conductor as sc

# The commands of a manual are run one after the other, in a home of that manual's own.
FOLLOWED = ("README.md", "config/README.md", "cron/README.md", "scripts/README.md",
            "CONTRIBUTING.md")
MANUALS = FOLLOWED + ("config/ansible/README.md", "config/prometheus/README.md", "scripts/airflow/README.md",
                      "tests/README.md", ".github/SECURITY.md", "CHANGELOG.md")
TEXTS = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in MANUALS}
BLOCKS = [(name, block) for name in MANUALS
          for block in re.findall(r"(?ms)^```console\n(.*?)^```$", TEXTS[name])]
FIRST_SCREEN = 0  # the block of README.md that shows a failing job
# These run the tests themselves, or leave this machine: only what they name is checked.
NOT_RUN = re.compile(r"(?:PYTHON=\S+ )?(?:tests/run|\.ci/run|python3 tests/|git push)")

CRONTAB = """#!/bin/sh
table=$HOME/.crontab
case $1 in
  -l) [ -e "$table" ] || { echo "no crontab for me" >&2; exit 1; }; cat "$table" ;;
  -) cat > "$table" ;;
esac
"""
BACKUP = """#!/bin/sh
echo 'app.sql: 412 MB'
echo 'cp: cannot create /mnt/nas/app.sql: No space left on device'
exit 1
"""

# Texts of the program that the manuals show in their next wording: both count as the same.
REWORDED = (
    ("What comes next:", "Next steps:"),
)
# What differs between machines and hours, in the order of replacement.
VOLATILE = (
    (r"\bframe=[0-9a-f]{8}", "frame=FRAME"),
    (r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}", "TIME"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\d{8}T\d{6}Z-\d+", "RUN"),
    (r"\d{4}-\d\d-\d\d", "DAY"),
    (r"[^ :]*/python[0-9.]*", "PYTHON"),
    (r"/\S*/crontab", "CRONTAB"),
    (r"next: \w+ in", "next: TASK in"),
    (r"\b(?:\d+[dhms] ?)+", "AGE "),
    (r"\bran AGE late\b", "ran"),  # the slot of a test is one in the past
    (r"[\d.]+ [KMG]?i?B", "SIZE"),
    (r"\d[\d.,]*", "N"),
    (r"[ \t]+", " "),
)


def normal(text):
    for before, after in REWORDED:
        text = text.replace(before, after)
    for pattern, name in VOLATILE:
        text = re.sub(pattern, name, text)
    return text.strip()


def commands_of(block):
    """[(command, the lines it prints)] of a console block."""
    commands = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return commands


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
    process = subprocess.Popen(["sh", "-c", script], stdin=slave, stdout=slave, stderr=slave,
                               **where)
    os.close(slave)
    output = b""
    try:
        while True:
            output += os.read(master, 4096)
    except OSError:
        pass  # the last process that had the terminal open has ended
    os.close(master)
    return process.wait(60), output


# -- the home of somebody who follows a manual

class Home:
    """A home folder with a checkout, a crontab and a cron daemon of its own."""

    def __init__(self, folder):
        self.home = folder / "home" / "me"
        self.root = self.home / "symphony"
        tools = folder / "tools"
        for path in (self.root, tools):
            path.mkdir(mode=0o700, parents=True)
        self._copy_checkout()
        (tools / "crontab").write_text(CRONTAB)
        (tools / "python3").symlink_to(sc.interpreter())
        (tools / "crontab").chmod(0o755)
        # The set-up must find a running daemon, whatever the machine has, and start none.
        shutil.copy(shutil.which("sleep"), str(tools / "cron"))
        self.daemon = subprocess.Popen([str(tools / "cron"), "600"])
        self.env = {"HOME": str(self.home), "PATH": "%s:/usr/bin:/bin" % tools,
                    "PYTHON": str(tools / "python3"), "LC_ALL": "C.UTF-8", "COLUMNS": "120",
                    "TZ": "UTC"}

    def _copy_checkout(self):
        listing = subprocess.check_output(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=str(REPOSITORY))
        for name in listing.decode("utf-8").split("\0"):
            # Clean-up keeps a file that another one names, and manuals name files as examples.
            if not name or name.startswith("tests/") or name.endswith("README.md"):
                continue
            if (REPOSITORY / name).exists():
                (self.root / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copy(str(REPOSITORY / name), str(self.root / name))
        rules = self.root / "config" / "cleanup_rules.json"
        rules.write_text(re.sub(r'(?s)("temporary".*?"older_than": )"\w+"', r'\1"0.001s"',
                                rules.read_text(), count=1))
        git(self.root, "init", "-q")
        git(self.root, "config", "user.name", "Me")
        git(self.root, "config", "user.email", "me@example.invalid")
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", "Import")
        (self.root / "logs").mkdir(mode=0o700)
        (self.root / "logs" / "conductor_cron.log").write_text("")  # as cron's first call leaves it
        (self.root / "build").mkdir()
        for name in ("old.tmp", "older.tmp", "report.html"):
            (self.root / "build" / name).write_text("x\n")

    def add_manuals(self):
        """Have them in the checkout too: a release is made from them."""
        for name in FOLLOWED:
            shutil.copy(str(REPOSITORY / name), str(self.root / name))
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", "Add the manuals")

    def run(self, command, folder):
        """(exit code, output, the folder it leaves the shell in) of one command."""
        script = "%s\ncode=$?; pwd > %s; exit $code" % (
            command, shlex.quote(str(self.home / ".pwd")))
        where = {"cwd": folder, "env": self.env}
        if command.split("#")[0].rstrip().endswith("--execute"):
            code, output = on_a_terminal(script, b"q\n", **where)
        else:
            done = subprocess.run(["sh", "-c", script], timeout=60, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **where)
            code, output = done.returncode, done.stdout
        text = output.decode("utf-8").replace(str(self.home), "/home/me")
        # A command imported from a crontab runs in the home that cron would use.
        cron_home = pwd.getpwuid(os.geteuid()).pw_dir
        text = text.replace('"cwd": "%s"' % cron_home, '"cwd": "/home/me"')
        lines = [line for line in text.splitlines() if not line.startswith("note: you are root")]
        return code, lines, (self.home / ".pwd").read_text().rstrip("\n")


@pytest.fixture(scope="module")
def home_of(tmp_path_factory):
    """The home in which a manual is followed; it is made when it is first asked for."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    homes = {}

    def get(name):
        if name not in homes:
            homes[name] = Home(tmp_path_factory.mktemp("manual"))
            if name == "CONTRIBUTING.md":
                homes[name].add_manuals()
            if name in ("config/README.md", "scripts/README.md"):
                homes[name].run("./symphony_conductor.py install", str(homes[name].root))
            if name == "scripts/README.md":  # as cron would have by now
                homes[name].run("./symphony_conductor.py tick", str(homes[name].root))
        return homes[name]

    yield get
    for home in homes.values():
        home.daemon.kill()
        home.daemon.wait()


def make_failing_project(root):
    """The project of the first screen: a failed backup, a task waiting for it, and a third one."""
    project = Project(root)
    shutil.copy(str(REPOSITORY / "symphony_conductor.py"), str(root))
    (root / "backup.sh").write_text(BACKUP)
    (root / "backup.sh").chmod(0o700)
    project.configure(due_once("backup", "./backup.sh", retry_count=1, retry_delay=0),
                      due_once("verify", dependencies=["backup"]),
                      {"name": "report", "command": "true", "schedule": "30 7 * * *"},
                      timezone="UTC")
    project.anchor()

    def has_failed():
        project.tick()
        results = [result for result in project.history() if result["task"] == "backup"]
        return [result["status"] for result in results] == ["failed"]

    assert project.wait_until(has_failed), project.state()


# -- the console blocks

def follow(home, folder, commands):
    """Run the commands of a block in a shell that starts in this folder, and compare the output."""
    shows_output = any(shown for _, shown in commands)
    for command, shown in commands:
        if NOT_RUN.match(command):
            continue
        code, lines, folder = home.run(command, folder)
        assert code == 0, (command, lines)
        if shows_output:
            if " why " in command:  # where it wraps follows from the length of its times
                shown, lines = [[" ".join(" ".join(text).split())] for text in (shown, lines)]
            expected, actual = list(map(normal, shown)), list(map(normal, lines))
            assert agrees(expected, actual), (command, shown, lines)


def test_the_first_screen_is_that_of_a_failing_job(home_of):
    home = home_of("README.md")
    root = home.home / "failing"
    make_failing_project(root)
    assert home.run("./symphony_conductor.py install", str(root))[0] == 0
    follow(home, str(root), commands_of(BLOCKS[FIRST_SCREEN][1]))


@pytest.mark.parametrize("number", [
    number for number, (name, _) in enumerate(BLOCKS)
    if name in FOLLOWED and number != FIRST_SCREEN])
def test_the_commands_of_a_block_do_what_it_shows(home_of, number):
    name, block = BLOCKS[number]
    home = home_of(name)
    follow(home, str(home.root), commands_of(block))


def test_commands_that_are_not_run_here_name_files_and_options_that_exist():
    commands = [command.split("#")[0] for _, block in BLOCKS for command, _ in commands_of(block)]
    commands = [command for command in commands if re.match(r"\S*=|tests/|\.ci/|python3 tests/",
                                                            command)]
    assert len(commands) >= 10
    for command in commands:
        words = shlex.split(command)
        files = [word for word in words if "/" in word]
        for name in files:
            assert (REPOSITORY / name).is_file(), command
        program = (REPOSITORY / files[0]).read_text(encoding="utf-8")
        for option in re.findall(r"(?<=\s)--[a-z-]+", command):
            assert option in program, command
        if "-k" in words:
            tests = (REPOSITORY / files[-1]).read_text(encoding="utf-8")
            assert re.search(r"(?m)^def test\w*" + words[words.index("-k") + 1], tests), command


def test_the_benchmarks_of_the_table_and_their_options_exist():
    rows = re.findall(r"(?m)^\| `python3 (tests/\w+\.py)` \|(.*)\|$", TEXTS["tests/README.md"])
    assert len(rows) >= 4
    for name, text in rows:
        program = (REPOSITORY / name).read_text(encoding="utf-8")
        for option in re.findall(r"`(--[a-z]+)", text):
            assert '"%s"' % option in program, (name, option)


def test_the_blocks_hold_what_people_come_for():
    commands = [command for _, block in BLOCKS for command, _ in commands_of(block)]
    for start in ("./setup.sh", "./setup.sh --uninstall", "./symphony_conductor.py init",
                  "./symphony_conductor.py install", "./symphony_conductor.py run --task",
                  "./symphony_conductor.py status", "./symphony_conductor.py import-crontab",
                  "./symphony_conductor.py simulate", "python3 scripts/symphony_report.py"):
        assert any(command.startswith(start) for command in commands), start


# -- the dates of the samples

MINUTES = {"d": 1440, "h": 60, "m": 1, "s": 0}


def moment(day, clock):
    return datetime.datetime.strptime(day + " " + clock, "%Y-%m-%d %H:%M")


def minutes(span):
    return sum(int(count) * MINUTES[unit] for count, unit in re.findall(r"(\d+)([dhms])", span))


def stale_times(block):
    """What a sample announces for a time before its own, which is that of "TIME (in SPAN)".

    Raises AssertionError when it contradicts itself about its own time.
    """
    own = [moment(day, clock) - datetime.timedelta(minutes=minutes(span))
           for day, clock, span in re.findall(
               r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d) \+0000 \(in ([^)]*)\)", block)]
    if not own:
        return []
    assert max(own) - min(own) < datetime.timedelta(hours=1), own
    ends = re.findall(r"until (?:\w{3} )?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)", block)
    return [end for end in ends if moment(*end) <= max(own)]


def test_no_sample_announces_something_for_a_time_before_its_own():
    for name, block in BLOCKS:
        assert stale_times(block) == [], name


def test_a_sample_that_is_stale_is_noticed():
    pause = "paused a until Mon 2025-06-02 12:51 +0000\nIt starts next at %s +0000 (in 8d 17h).\n"
    assert stale_times(pause % "Sun 2025-06-15 05:00") == [("2025-06-02", "12:51")]
    assert stale_times(pause % "Wed 2025-06-11 05:00") == []


def test_every_date_in_a_sample_has_its_own_weekday():
    for name, block in BLOCKS:
        for weekday, day in re.findall(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\d{4}-\d\d-\d\d)", block):
            assert moment(day, "00:00").strftime("%a") == weekday, (name, day)


# -- the tables and the sentences

EXAMPLES = {"SHELL": "bash", "NAME": "health_check", "ADDRESS": "me@example.org", "ZONE": "Europe/Paris",
            "TIME": "2025-03-28", "N": "3", "WHEN": "1d", "STATUS": "success",
            "A": "A", "B": "B", "FILE": "config/conductor_config.json", '"EXPRESSION"': "'0 2 * * *'"}
# These are in tests/test_timer.py, tests/test_setup.py and tests/test_engine.py; or they do not end
# by themselves, or name a tag, a run or a slot.
OF_OTHER_TESTS = ("--tag", "--timer", "--user", "--engine", "--watch", "--follow", "--run", "--at", "--slot",
                  "--from")


def rows_of(name, start, end):
    """[(usage, options)] of a table of commands in a manual."""
    table = TEXTS[name][TEXTS[name].index(start):TEXTS[name].index(end)]
    rows = re.findall(r"(?m)^\| `(.*?)` \| (.*) \|$", table)
    return [(usage, re.findall(r"`(--[^`]*)`", text)) for usage, text in rows]


COMMANDS = rows_of("README.md", "## Commands", "`--root DIR` and") + rows_of(
    "scripts/README.md", "## Commands beside the core", "`simulate` replays")


def test_the_tables_have_every_command_that_help_lists():
    commands = set(re.findall(r"(?m)^  ([a-z][a-z-]+) ", sc.commands_text()))
    in_tables = {words.split()[0] for usage, _ in COMMANDS for words in usage.split("`, `")}
    assert {"tick", "status", "uninstall"} <= commands <= in_tables


def test_the_tables_say_what_help_says():
    texts = {name: command.text for name, command in sc.command_table().items()}
    for name, text in sc.commands_beside().items():
        texts[name] = text[:1].lower() + text[1:].rstrip(".")
    for name in ("README.md", "scripts/README.md"):
        for usage, text in re.findall(r"(?m)^\| `([a-z-]+)(?: [^`]*)?`(?:, `[^`]*`)? \| (.*) \|$",
                                      TEXTS[name]):
            if usage in texts:
                assert text.startswith(re.split("[;:]", texts.pop(usage))[0]), usage
    # The row of pause has resume, that of stop has skip.
    assert set(texts) == {"resume", "skip", "findings", "deliver", "supervise"}


@pytest.mark.parametrize("usage, options", COMMANDS)
def test_every_row_of_the_tables_is_a_command_that_works(home_of, usage, options):
    home = home_of("config/README.md")
    if usage == "notify-test":
        pytest.skip("no notification target is configured; tests/test_messages.py has it")
    if usage.startswith("timer"):
        pytest.skip("that needs systemd; tests/test_timer.py has it")
    usage = usage.replace("`, `", "; ./symphony_conductor.py ")
    for option in [""] + options:
        if option.startswith(OF_OTHER_TESTS):
            continue
        command = re.sub(r'"EXPRESSION"|\b[A-Z]+\b', lambda match: EXAMPLES[match.group()],
                         "./symphony_conductor.py %s %s" % (usage, option))
        code, lines, _ = home.run(command, str(home.root))
        deadline = time.monotonic() + 20
        while code == sc.EXIT_TEMPFAIL and time.monotonic() < deadline:
            time.sleep(0.1)  # the row of `tick` may have started the task, at its slot
            code, lines, _ = home.run(command, str(home.root))
        assert code == 0 or usage == "doctor" and code == 1, (command, lines)


def test_the_options_that_other_tests_have_are_in_the_tables():
    options = " ".join(option for _, options in COMMANDS for option in options)
    for option in OF_OTHER_TESTS:
        assert option in options, option


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_command_within_a_sentence_works(home_of, name):
    programs = r"symphony_conductor\.py|setup\.sh|scripts/[a-z_]+\.(?:sh|py)"
    home = home_of(name)
    spans = re.findall(r"`((?:\./|python3 )?(?:%s)(?: [^`]*)?)`" % programs, TEXTS[name])
    for span in sorted(set(spans)):
        # A mere name of a file, a placeholder, or what needs another machine.
        if re.match(r"(?:%s)$" % programs, span) or re.search(r"\b[A-Z]{2,}\b|--timer", span):
            continue
        code, lines, _ = home.run(span if span[0] in ".p" else "./" + span, str(home.root))
        assert code == 0, (span, lines)


def test_every_field_and_setting_stands_in_the_tables_with_its_default():
    manual = TEXTS["config/README.md"]
    settings_at = manual.index("| setting |")
    fields = manual[manual.index("| field |"):settings_at]
    settings = manual[settings_at:manual.index("## Environment of a command")]
    for rules, table, defaults in ((sc.TASK_RULES, fields, sc.Task),
                                   (sc.SETTING_RULES, settings, sc.Config)):
        rows = dict(re.findall(r"(?m)^\| `(\w+)` \| (.*?) \|", table))
        assert set(rows) == set(rules)
        for name, default in rows.items():
            if default[0].isdigit():
                assert float(default) == getattr(defaults, name), name


def test_every_environment_variable_of_the_program_stands_in_the_manual():
    source = (REPOSITORY / "symphony_conductor.py").read_text(encoding="utf-8")
    in_manual = set(re.findall(r"`(SYMPHONY_\w+)", TEXTS["config/README.md"]))
    assert set(re.findall(r"\bSYMPHONY_[A-Z_]+\b", source)) <= in_manual


def test_every_file_that_the_tables_name_is_one_that_is_written_or_ignored():
    names = []
    for manual in ("cron/README.md", "scripts/README.md"):
        table = TEXTS[manual][TEXTS[manual].index("| path under the root |"):]
        names += re.findall(r"(?m)^\| `([^`]*)`", table)
    assert len(names) >= 18
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    for name in names:
        top = "/" + name.split("/")[0]
        is_ignored = any(line.rstrip("/*").startswith(top) for line in ignored)
        assert is_ignored or name.startswith("config/"), name


def test_the_loop_for_a_container_is_a_shell_script():
    (loop,) = re.findall(r"(?ms)^```sh\n(.*?)^```$", TEXTS["cron/README.md"])
    assert "/symphony_conductor.py tick" in loop
    assert subprocess.call(["sh", "-n", "-c", loop]) == 0


# -- the manuals as a whole

def anchors_of(path):
    """The names under which the headings of a file can be linked to."""
    headings = re.findall(r"(?m)^#+ (.*)$", path.read_text(encoding="utf-8"))
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", MANUALS)
def test_every_link_leads_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        if target.startswith("https:"):
            continue
        place, _, anchor = target.partition("#")
        path = (REPOSITORY / name).parent / place if place else REPOSITORY / name
        assert path.exists(), target
        assert not anchor or anchor in anchors_of(path), target


def test_the_readme_is_short():
    # The comparison is to be looked up, not to be read.
    before, _, after = TEXTS["README.md"].partition("## How it compares\n")
    read = before + after[after.index("## "):]
    assert len(read.splitlines()) <= 200


def test_the_changelog_has_the_headings_of_keep_a_changelog():
    headings = set(re.findall(r"(?m)^### (.*)$", TEXTS["CHANGELOG.md"]))
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_pre_commit_has_the_linters_of_ci_in_the_versions_of_the_requirements():
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    linters = re.findall(r'(?m)^"\$venv/bin/([\w-]+)"', (REPOSITORY / ".ci" / "run").read_text())
    assert sorted(re.findall(r"(?m)^ +entry: (\S+)", hooks)) == sorted(set(linters) - {"python"})
    requirements = (REPOSITORY / "tests" / "requirements-dev.txt").read_text().splitlines()
    pins = re.findall(r'additional_dependencies: \["([^"]+)"\]', hooks)
    assert len(pins) == hooks.count("language: python") == len(set(linters) - {"python"})
    assert set(pins) <= {line.split(";")[0].strip() for line in requirements}
    assert re.findall("repo: (.*)", hooks) == ["local"]
