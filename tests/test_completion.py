"""Completion in the real shells: what they offer for a command line, for each way to call the tool."""

import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY, SCRIPTS, every_minute

import symphony_completion
import symphony_conductor as sc

TOOL = "symphony_conductor.py"
COMMANDS = {command.name: command for command in symphony_completion.all_commands()}
# Where the manual puts the scripts.
INSTALLED = {"bash": ".symphony_completion.bash", "zsh": ".zfunc/_symphony_conductor",
             "fish": ".config/fish/conf.d/symphony_conductor.fish"}
TRAP = """#!/bin/sh
touch "$0.was-run"
"""


class Place:
    """Two roots with tasks, and the tool's name in the first of them, which nothing may run."""

    def __init__(self, folder):
        self.root, self.other = folder / "my root", folder / "other"
        self.tool = self.root / TOOL
        for root, tasks in ((self.root, [
                every_minute("backup", description="copies: all of $(it)", tags=["nightly", "big"]),
                every_minute("alpha.1-x_y"), every_minute("beta", tags=["big"])]),
                            (self.other, [every_minute("elsewhere")])):
            (root / "config" / "tasks.d").mkdir(parents=True)
            (root / "config" / "conductor_config.json").write_text(json.dumps(
                {"tasks": tasks, "settings": {"defaults": {"tags": ["every"]}}}))
        (self.root / "config" / "tasks.d" / "one.json").write_text(
            '{"name": "dropped-in", "command": "true"} // with a comment')
        (self.root / "config" / "tasks.d" / "bad.json").write_text('[{"name": "$(touch x)"}, {"name": 5}, 6]')
        (self.root / "config" / "tasks.d" / "broken.json").write_text('{"name": ')
        self.tool.write_text(TRAP)
        self.tool.chmod(0o755)
        (folder / "home").mkdir()
        (folder / "home" / ".bashrc").write_text(". ~/.symphony_completion.bash\n")
        (folder / "home" / "link").symlink_to(self.root)
        self.env = {"HOME": str(folder / "home"), "PATH": "%s:/usr/bin:/bin" % self.root, "LC_ALL": "C.UTF-8",
                    "TERM": "dumb"}
        self.scripts = {}
        for shell, name in INSTALLED.items():
            self.scripts[shell] = folder / "home" / name
            self.scripts[shell].parent.mkdir(parents=True, exist_ok=True)
            self.scripts[shell].write_text(symphony_completion.MAKERS[shell](list(COMMANDS.values())))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("completion"))


# -- the shells, each of which lives for all the lines of this file

class Bash:
    """The function as bash calls it: COMP_WORDS is split at '=' and whitespace, as readline does."""

    def __init__(self, place):
        self.place = place

    def offers(self, line):
        words = re.findall(r"(?:\\.|[^\s=\\])+|=", line)
        if line[-1] in " =":
            words.append("")
        code = "source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _symphony_conductor; printf '%%s\\n' \"${COMPREPLY[@]}\"" % (
            shlex.quote(str(self.place.scripts["bash"])), " ".join(map(shlex.quote, words)), len(words) - 1)
        done = subprocess.run(["bash", "--norc", "-c", code], cwd=str(self.place.root), env=self.place.env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.stderr == b""
        return {line for line in done.stdout.decode().splitlines() if line}

    def close(self):
        pass


class Fish:
    def __init__(self, place):
        self.place = place

    def described(self, line):
        env = self.place.env
        if "/" in line.split()[0]:  # fish's folder of completions is only for tools that are in PATH
            env = dict(env, PATH="/usr/bin:/bin")
        done = subprocess.run(["fish", "-c", "complete -C " + shlex.quote(line)], cwd=str(self.place.root),
                              env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.stderr == b""
        return dict((line + "\t").split("\t")[:2] for line in done.stdout.decode().splitlines())

    def offers(self, line):
        return set(self.described(line))

    def close(self):
        pass


ZSH_SETUP = """
PROMPT= ; unsetopt zle_bracketed_paste 2> /dev/null; fpath+=~/.zfunc; autoload -U compinit; compinit -u -D
compadd() {
    local -a hits
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)* ]]; then builtin compadd "$@"; return; fi
    builtin compadd -O hits "$@"
    print -rl -- $hits >> %(out)s
    builtin compadd "$@"
}
symphony_end() { print END >> %(out)s }
comppostfuncs=(symphony_end)
symphony_complete() { comppostfuncs=(symphony_end); zle complete-word }
zle -N symphony_complete
bindkey '^I' symphony_complete
print READY >> %(out)s
"""


class Zsh:
    """An interactive zsh on a terminal, whose compadd writes down what it is given."""

    def __init__(self, place):
        self.out = place.root / "zsh.out"
        setup = place.root / "zsh.setup"
        setup.write_text(ZSH_SETUP % {"out": shlex.quote(str(self.out))})
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(str(place.root))
            os.execvpe("zsh", ["zsh", "-f", "-i"], place.env)
        self.send("source %s\n" % shlex.quote(str(setup)))
        self.await_line("READY")

    def send(self, text):
        os.write(self.terminal, text.encode())

    def await_line(self, line):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if select.select([self.terminal], [], [], 0.01)[0]:
                os.read(self.terminal, 4096)
            if self.out.exists() and line in self.out.read_text().splitlines():
                lines = self.out.read_text().splitlines()
                self.out.unlink()
                return lines
        raise AssertionError("zsh is silent")

    def offers(self, line):
        self.send("\x15" + line + "\t")
        offered = self.await_line("END")
        return {name.rstrip("=") if name.startswith("-") else name for name in offered if name not in ("END", "")}

    def close(self):
        os.close(self.terminal)  # which hangs it up
        os.waitpid(self.pid, 0)


SHELLS = {"bash": Bash, "zsh": Zsh, "fish": Fish}


@pytest.fixture(scope="module")
def shells(place):
    started = {}

    def shell(name):
        if name not in started:
            started[name] = SHELLS[name](place)
        return started[name]

    yield shell
    for each in started.values():
        each.close()


@pytest.fixture(params=sorted(SHELLS))
def shell(request, shells):
    if not shutil.which(request.param):
        pytest.skip("%s is not installed" % request.param)
    return shells(request.param)


TASKS = {"backup", "alpha.1-x_y", "beta", "dropped-in"}


# -- what is offered

@pytest.mark.parametrize("line, offered", [
    ("sta", {"status"}), ("run ", TASKS), ("run ba", {"backup"}), ("why b", {"backup", "beta"}),
    ("run --task al", {"alpha.1-x_y"}), ("diff ", TASKS), ("why backup ", set()), ("tick ", set()),
    ("run --w", {"--with-dependencies"}), ("run backup --as", {"--as-cron"}), ("--ro", {"--root"}),
    ("history --status fa", {"failed"}), ("history --status skipped_l", {"skipped_late"}),
    ("completion ", {"bash", "zsh", "fish"}), ("timer ", {"install", "uninstall"}),
    ("report --format m", {"markdown"}), ("simulate --da", {"--days"}), ("help stat", {"status"}),
    ("history --limit ", set()), ("--version sta", {"status"}), ("no-such-command ", set()),
    ("--root ../other run ", {"elsewhere"}), ("--root=../other why ", {"elsewhere"}),
    ("--root ~/link run ba", {"backup"}), ("--root /no/such/folder run ", set()),
    ("--config ../other/config/conductor_config.json run els", {"elsewhere"})])
def test_it_completes(shell, line, offered):
    got = shell.offers("./%s %s" % (TOOL, line))
    if not offered:  # zsh goes on to options, and any shell may offer those of no command
        got = {word for word in got if not word.startswith("-")}
    assert got == offered


def test_every_command_and_every_option_is_offered(shell):
    assert shell.offers("./%s " % TOOL) - {"help"} >= set(COMMANDS)
    for name in ("run", "pause", "import-crontab"):
        options = {option for action in COMMANDS[name].options for option in action.option_strings
                   if option.startswith("--")}
        assert shell.offers("./%s %s --" % (TOOL, name)) - {"--no-system"} >= options - {"--task", "--no-system"}


@pytest.mark.parametrize("program", [TOOL, "./" + TOOL, "{root}/" + TOOL, "~/link/" + TOOL])
def test_however_the_tool_is_called(place, shell, program):
    program = program.replace("{root}", str(place.root).replace(" ", "\\ "))
    assert shell.offers(program + " run ") == TASKS
    assert not (place.root / (TOOL + ".was-run")).exists(), "what lies in a folder is not run by looking"


def test_after_an_option_for_a_folder_or_a_file_the_shell_names_its_own(shell):
    assert any("config" in word for word in shell.offers("./%s --root con" % TOOL))
    assert any("config" in word for word in shell.offers("./%s check --config con" % TOOL))


# -- one shell's own

@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_describes_commands_options_and_tasks(shells):
    fish = shells("fish")
    assert fish.described("./%s noti" % TOOL) == {"notify-test": "send a test notification"}
    assert fish.described("./%s run --as" % TOOL) == {
        "--as-cron": "run it in the environment that cron provides"}
    assert fish.described("./%s run ba" % TOOL) == {"backup": "copies: all of $(it)"}


def test_zsh_describes_commands_and_options():
    script = symphony_completion.zsh_script(list(COMMANDS.values()))
    assert "'notify-test:send a test notification'" in script
    assert "'(--as-cron)--as-cron[run it in the environment that cron provides]'" in script


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_on_a_terminal_completes_by_the_tab_key(place):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(str(place.root))
        os.execvpe("bash", ["bash", "-i"], place.env)
    os.write(terminal, b"./%s --root=../other wh\tels\t\x01echo got: \nexit\n" % TOOL.encode())  # ^A: to the front
    screen = b""
    try:
        while True:
            screen += os.read(terminal, 4096)
    except OSError:
        pass
    os.close(terminal)
    os.waitpid(pid, 0)
    assert b"\ngot: ./%s --root=../other why elsewhere" % TOOL.encode() in screen.replace(b"\r", b"")


# -- the names, and the time that they take

def names(root, *words, kind="task", **more):
    done = subprocess.run([sys.executable, "-E", "-S", str(SCRIPTS / "symphony_completion.py"), "--names", kind]
                          + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **more)
    assert (done.returncode, done.stderr) == (0, b"")
    return dict(line.split("\t") for line in done.stdout.decode().splitlines())


def test_names_come_with_descriptions_and_nothing_a_shell_would_act_on(place):
    found = names(place.root, str(place.tool))
    assert set(found) == TASKS and found["backup"] == "copies: all of $(it)"
    assert names(place.root, str(place.tool), kind="tag") == {"nightly": "", "big": "", "every": ""}


@pytest.mark.parametrize("words", [
    ["/no/such/" + TOOL], [""], ["x", "--root"], ["x", "--root", "'"], ["x", "--config", "/etc/shadow"], ["x", "="]])
def test_what_cannot_be_read_has_no_names(words, tmp_path):
    assert names(None, *words, cwd=str(tmp_path), env={}) in ({}, names(None, str(REPOSITORY / TOOL)))


def test_the_environment_names_the_root_as_for_the_tool(place):
    assert set(names(None, TOOL, env={"SYMPHONY_ROOT": str(place.other)})) == {"elsewhere"}
    env = {"SYMPHONY_ROOT": str(place.root), "OTHER": str(place.other)}
    assert set(names(None, TOOL, "--root", "$OTHER", env=env)) == {"elsewhere"}
    assert set(names(None, TOOL, "--root", "$(touch x)" + str(place.other), env=env)) == set()


def test_names_load_little(place):
    done = subprocess.run([sys.executable, "-X", "importtime", "-E", "-S", str(SCRIPTS / "symphony_completion.py"),
                           "--names", "task", str(place.tool)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    if "json" not in loaded:
        pytest.skip("this Python does not say what it imports")
    assert not loaded & {"argparse", "typing", "subprocess", "runpy", "inspect", "tempfile", "datetime", "shutil"}


def test_a_command_that_is_somebodys_own_is_offered_and_not_run(monkeypatch):
    monkeypatch.setattr(sc, "commands_beside", lambda: {"mine": "Do it."})
    monkeypatch.setattr(symphony_completion, "parser_beside", lambda path: pytest.fail("run"))
    command, = [command for command in symphony_completion.all_commands() if command.group == "Other"]
    assert (command.name, command.text, command.options) == ("mine", "do it", [])


def test_a_command_whose_modules_are_missing_is_left_out(tmp_path):
    shutil.copy(str(REPOSITORY / TOOL), str(tmp_path))
    (tmp_path / "scripts").mkdir()
    for path in SCRIPTS.glob("symphony_*.py"):
        shutil.copy(str(path), str(tmp_path / "scripts"))
    done = subprocess.run([sys.executable, str(tmp_path / TOOL), "completion", "fish"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    offered = set(re.findall(r"at ''\" -a (\S+)", done.stdout.decode()))
    assert offered == set(COMMANDS) - {"report", "import-crontab"} | {"help"}


def test_the_command_prints_the_script(project):
    for shell in symphony_completion.MAKERS:
        code, out, err = project.call("completion", shell)
        assert (code, err) == (0, "") and "%s completion" % shell in out.splitlines()[0] + out.splitlines()[1]
    code, out, err = project.call("completion", "tcsh")
    assert code == 2 and re.search("invalid choice: 'tcsh'", err)
