"""The example playbook, against this machine in a temporary root, with a crontab of its own. Needs ansible-core."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support import FAKE_CRONTAB, REPOSITORY, SCRIPT, SCRIPTS

FOLDER = REPOSITORY / "config" / "ansible"
TASK = {"name": "a", "command": "true", "schedule": "0 5 * * *"}


PLAYBOOK = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")

pytestmark = pytest.mark.skipif(not os.path.exists(PLAYBOOK),
                                reason="ansible-core is not installed; tests/run_airflow installs it")


class Play:
    """The playbook against localhost: root, home, crontab and configuration are in a folder."""

    def __init__(self, folder):
        self.root, self.tools = folder / "root", folder / "tools"
        self.source = folder / "source"  # with one script only: Ansible copies one by one
        (self.source / "scripts").mkdir(parents=True)
        shutil.copy(str(SCRIPT), str(self.source))
        shutil.copy(str(SCRIPTS / "symphony_simulate.py"), str(self.source / "scripts"))
        self.config = folder / "conductor_config.json"
        self.tools.mkdir(mode=0o700)
        (self.tools / "crontab").write_text(FAKE_CRONTAB)
        (self.tools / "crontab").chmod(0o755)
        self.env = {"PATH": "%s:/usr/sbin:/usr/bin:/sbin:/bin" % self.tools, "HOME": str(folder), "TZ": "UTC",
                    "LC_ALL": "C.UTF-8", "ANSIBLE_HOME": str(folder / "ansible"), "ANSIBLE_NOCOLOR": "1",
                    "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_DEPRECATION_WARNINGS": "false"}

    def configure(self, *tasks):
        self.config.write_text(json.dumps({"tasks": tasks}))

    def run(self, *words):
        """(exit code, how many tasks changed something, output)"""
        done = subprocess.run(
            [PLAYBOOK, "-i", "localhost,", "-c", "local", str(FOLDER / "symphony.yml"),
             "-e", json.dumps({"symphony_root": str(self.root), "symphony_config": str(self.config),
                               "symphony_source": str(self.source), "symphony_python": sys.executable,
                               "ansible_python_interpreter": sys.executable, "ansible_pipelining": True})]
            + list(words), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300)
        output = done.stdout.decode("utf-8", "replace")
        changed = re.findall(r"(?m)^localhost .* changed=(\d+) ", output)
        return done.returncode, int(changed[0]) if changed else None, output

    def installed(self):
        return json.loads((self.root / "config/conductor_config.json").read_text())["tasks"]


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    made = Play(tmp_path_factory.mktemp("ansible"))
    made.configure(TASK)
    code, changed, output = made.run()
    assert code == 0 and changed > 3, output
    return made


def test_a_first_run_puts_all_in_place(play):
    assert play.installed() == [TASK]
    table = (play.tools / "table").read_text()
    assert "cd %s && " % play.root in table and " tick >>" in table
    for name, mode in (("", 0o700), ("config", 0o700), ("config/conductor_config.json", 0o600),
                       ("symphony_conductor.py", 0o755), ("scripts", 0o755)):
        assert (play.root / name).stat().st_mode & 0o777 == mode, name
    done = subprocess.run([sys.executable, str(play.root / "symphony_conductor.py"), "next", "--count", "1"],
                          env=play.env, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0 and b" 05:00 +0000  a\n" in done.stdout
    assert subprocess.call([sys.executable, str(play.root / "symphony_conductor.py"), "simulate"], env=play.env,
                           stdout=subprocess.DEVNULL, timeout=60) == 0


def test_a_second_run_changes_nothing(play):
    table = (play.tools / "table").read_text()
    code, changed, output = play.run()
    assert (code, changed) == (0, 0), output
    assert (play.tools / "table").read_text() == table


def test_a_dry_run_changes_nothing(play):
    code, changed, output = play.run("--check")
    assert (code, changed) == (0, 0), output


def test_an_edit_changes_the_configuration_and_nothing_else(play):
    play.configure(dict(TASK, schedule="0 6 * * *"))
    assert play.run()[:2] == (0, 1)
    assert play.installed()[0]["schedule"] == "0 6 * * *"


def test_a_configuration_with_a_problem_does_not_take_the_place_of_the_one_in_force(play):
    before = play.installed()
    play.configure(dict(TASK, schedule="61 * * * *"))
    code, changed, output = play.run()
    assert code != 0 and changed == 0 and "minute '61' is outside 0-59" in output
    assert play.installed() == before


def test_what_the_manual_says_of_ci_works(play, tmp_path):
    """Each line in a checkout: the schema, check and the syntax of the playbook; and with a mistake."""
    for name in ("symphony_conductor.py", "config"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(str(REPOSITORY / name), str(tmp_path / name))
    (tmp_path / "files").mkdir()
    config = tmp_path / "files" / "conductor_config.json"
    (block,) = re.findall(r"(?ms)^## In CI$.*?^```sh\n(.*?)^```$", (FOLDER / "README.md").read_text())
    install, schema, check, syntax = block.splitlines()
    assert install == "pip install ansible-core check-jsonschema" and syntax.startswith("ansible-playbook ")
    env = dict(play.env, PATH="%s:%s" % (os.path.dirname(sys.executable), play.env["PATH"]))

    def codes():
        return [subprocess.call(line, shell=True, cwd=str(tmp_path), env=env, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, timeout=120) for line in (schema, check, syntax)]

    config.write_text(json.dumps({"tasks": [TASK]}))
    assert codes() == [0, 0, 0]
    config.write_text(json.dumps({"tasks": [dict(TASK, retry_count="3")]}))
    assert codes() == [1, 78, 0]
    config.write_text(json.dumps({"tasks": [dict(TASK, schedule="61 * * * *")]}))
    assert codes() == [0, 78, 0]
