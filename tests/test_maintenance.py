"""The whole chain by the conductor: a real repository with everything in it that a clean-up could get wrong."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import time

import pytest
from support import REPOSITORY, SCRIPT, SCRIPTS, Project, git

import symphony_conductor as sc

RULES = {
    "rules": [
        {"name": "temporary", "patterns": ["*.tmp", "*~"], "older_than": "1s", "reason": "no test waits for weeks"},
        {"name": "unpacked", "patterns": ["*.orig"], "older_than": "12h", "reason": "old by mtime, new by ctime"},
    ],
    "protected": [{"patterns": [".env*", "deploy*"], "reason": "what the test wants to find again"}],
}
# What the plan has to name, and nothing else.
CANDIDATES = {"scratch.tmp", "build/cache.tmp", "build/deep/er/still.tmp", "notes.txt~", "two words.tmp",
              "quo'te\".tmp", "line\nbreak.tmp", "b\udcffte.tmp"}
LEFT_EMPTY = {"build", "build/deep", "build/deep/er"}
TASKS = ("inventory_scan", "cleanup_analysis", "cleanup_execution", "quarantine_purge", "health_check",
         "automation_health", "expired_files_cleanup", "git_maintenance")
# What the tasks themselves write.
WRITTEN = ("logs", "status", "conductor_state.json", "conductor_state.json.bak", "conductor.pid", "__pycache__",
           "cleanup_inventory.json", "cleanup_report.json", "cleanup_actions.log", ".cleanup_cache",
           ".cleanup_cache.lock", ".cleanup_quarantine", ".cleanup_registry.json", ".cleanup_registry.json.lock")


class Checkout(Project):
    """A clone with the shipped configuration, in which everything lies about that must stay."""

    def __init__(self, root, outside):
        super().__init__(root)
        self.outside = outside
        self.programs = outside / "programs"
        self.programs.mkdir(parents=True)
        (self.programs / "python3").symlink_to(os.path.realpath(sys.executable))
        shutil.copy(str(SCRIPT), str(self.root))
        shutil.copytree(str(SCRIPTS), str(self.root / "scripts"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(str(REPOSITORY / "config" / "conductor_config.json"), str(self.root / "config"))
        shutil.copy(str(REPOSITORY / ".gitignore"), str(self.root))
        with open(str(self.root / ".gitignore"), "a") as handle:
            handle.write("/build/\n")
        self.put("config/cleanup_rules.json", json.dumps(RULES))
        for path in [self.root] + sorted(self.root.rglob("*")):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o022)
        self.fill()

    def put(self, name, text="content of %s\n", days_old=40.0):
        path = self.root / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text.replace("%s", ascii(name)))
        path.chmod(0o644)
        at = time.time() - days_old * 86400
        os.utime(str(path), (at, at))
        return path

    def fill(self):
        for number in range(60):
            self.put("src/module%d.py" % number)
        self.put("src/main.py", "open('named.tmp')\n")
        self.put("tracked.tmp")
        git(self.root, "init", "-q")
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", "everything")
        self.put("only_in_head.tmp")
        git(self.root, "add", "only_in_head.tmp")
        git(self.root, "commit", "-q", "-m", "one more")
        git(self.root, "rm", "-q", "--cached", "only_in_head.tmp")
        self.put("staged.tmp")
        git(self.root, "add", "staged.tmp")
        for name in CANDIDATES:
            self.put(name).chmod(0o640)
        for name in ("draft.txt", "named.tmp", "deploy.tmp", ".env.tmp", "server.lock", "hard.tmp", "held.tmp",
                     "future.tmp"):
            self.put(name)
        self.put("future.tmp", days_old=-3)
        os.link(str(self.root / "hard.tmp"), str(self.root / "second.tmp"))
        self.add_links()
        self.add_repositories()
        self.unpack_an_archive()

    def add_links(self):
        folder = self.outside / "folder"
        folder.mkdir()
        for name in ("precious.tmp", "scratch.tmp"):
            (folder / name).write_text("not yours")
            os.utime(str(folder / name), (1, 1))
        (self.root / "out.tmp").symlink_to(folder / "precious.tmp")
        (self.root / "linked").symlink_to(folder)
        (self.root / "dangling.tmp").symlink_to("nowhere")

    def add_repositories(self):
        upstream = self.outside / "upstream"
        upstream.mkdir()
        git(upstream, "init", "-q")
        (upstream / "file").write_text("x")
        git(upstream, "add", "file")
        git(upstream, "commit", "-q", "-m", "upstream")
        git(self.root, "submodule", "--quiet", "add", str(upstream), "sub")
        git(self.root, "worktree", "add", "-q", "tree_of_work", "-b", "other")
        git(self.root, "clone", "-q", str(upstream), "vendor/nested")
        git(self.root, "clone", "-q", "--bare", str(upstream), "vendor/bare")
        for name in ("sub", "tree_of_work", "vendor/nested", "vendor/bare"):
            self.put(name + "/inside.tmp")

    def unpack_an_archive(self):
        archive = self.outside / "old.tar"
        with tarfile.open(str(archive), "w") as handle:
            handle.add(str(self.put("unpacked/from_2020.orig", days_old=2000)), "unpacked/from_2020.orig")
        (self.root / "unpacked" / "from_2020.orig").unlink()
        subprocess.run(["tar", "-xf", str(archive), "-C", str(self.root)], check=True)

    def environment(self):
        path = "%s:%s" % (self.programs, os.environ["PATH"])
        return dict(os.environ, PATH=path, PYTHON=str(self.programs / "python3"))

    def run_task(self, name, *options):
        done = subprocess.run([sys.executable, str(self.root / "symphony_conductor.py"), "run", "--task", name]
                              + list(options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=self.environment(), timeout=120)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def engine(self, *arguments):
        done = subprocess.run([sys.executable, str(self.root / "scripts" / "cleanup_engine.py")] + list(arguments),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd=str(self.root), env=self.environment(), timeout=60)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def let_the_candidates_age(self):
        newest = max(os.lstat(str(self.root / name)).st_ctime for name in CANDIDATES)
        assert self.wait_until(lambda: time.time() > newest + 1.1)


def snapshot(*roots):
    """Path to all that a user could miss: kind, mode, mtime, inode, content or target. Links are not followed."""
    found = {}
    for root in map(os.fsencode, map(str, roots)):
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if os.fsdecode(name) not in WRITTEN]
            for name in folders + files:
                path = os.path.join(folder, name)
                if os.fsdecode(name) in WRITTEN:
                    continue
                seen = os.lstat(path)
                if stat.S_ISLNK(seen.st_mode):
                    content = os.readlink(path)
                elif stat.S_ISREG(seen.st_mode):
                    with open(path, "rb") as handle:
                        content = hashlib.sha256(handle.read()).digest()
                else:
                    content = b""
                time_of = 0 if stat.S_ISDIR(seen.st_mode) else seen.st_mtime_ns
                found[path] = (seen.st_mode, time_of, seen.st_ino, content)
    return found


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path / "checkout", tmp_path / "outside")
    made.let_the_candidates_age()
    return made


def lines_of(checkout, event):
    entries = [json.loads(line) for line in checkout.lines("cleanup_actions.log")]
    return {entry["path"] for entry in entries if entry["event"] == event}


def test_a_cleanup_by_the_conductor_takes_the_planned_files_and_restores_every_byte(checkout):
    before = snapshot(checkout.root, checkout.outside)
    with open(str(checkout.root / "held.tmp")):
        code, said = checkout.run_task("cleanup_execution", "--with-dependencies")
    assert code == 0, said
    after = snapshot(checkout.root, checkout.outside)
    planned = {os.path.join(os.fsencode(str(checkout.root)), os.fsencode(name)) for name in CANDIDATES | LEFT_EMPTY}
    assert set(before) - set(after) == planned
    assert {path: facts for path, facts in before.items() if path not in planned} == after

    report = json.loads(checkout.read("cleanup_report.json"))
    assert {item["path"] for item in report["candidates"]} == CANDIDATES
    kept = {item["path"]: item["reason"] for item in report["skipped"]}
    assert {name: kept[name] for name in sorted(kept)} == {
        ".env.tmp": "protected by '.env*': what the test wants to find again",
        "dangling.tmp": "it is not a regular file",
        "deploy.tmp": "protected by 'deploy*': what the test wants to find again",
        "future.tmp": "its time is in the future",
        "hard.tmp": "it has 2 hard links",
        "held.tmp": "a process holds it open",
        "named.tmp": "1 file mentions it",
        "only_in_head.tmp": "git tracks it",
        "out.tmp": "it is not a regular file",
        "second.tmp": "it has 2 hard links",
        "staged.tmp": "git tracks it",
        "tracked.tmp": "git tracks it",
        "unpacked/from_2020.orig": kept["unpacked/from_2020.orig"],
    }
    assert kept["unpacked/from_2020.orig"].startswith("it changed ")  # unpacked today, whatever its mtime says
    inventory = json.loads(checkout.read("cleanup_inventory.json"))
    assert {item["path"] for item in inventory["not_entered"]} == {
        "sub", "tree_of_work", "vendor/nested", "vendor/bare"}
    assert lines_of(checkout, "intent") == lines_of(checkout, "done") == CANDIDATES

    run_id, = {name for name in os.listdir(str(checkout.root / ".cleanup_quarantine"))
               if name[:2] == "20" and "." not in name}
    assert "restore %s" % run_id in said
    assert checkout.engine("restore", run_id)[0] == 0
    after = snapshot(checkout.root, checkout.outside)
    for folder in LEFT_EMPTY:  # made again as they were
        path = os.path.join(os.fsencode(str(checkout.root)), os.fsencode(folder))
        assert after.pop(path)[:2] == before.pop(path)[:2]
    assert after == before


def test_every_shipped_task_succeeds_on_a_checkout_and_changes_no_file_of_the_user(checkout):
    before = snapshot(checkout.root, checkout.outside)
    (checkout.root / "status").mkdir(mode=0o700)
    (checkout.root / "status" / "heartbeat").write_text("")  # without a tick, the checks would fail
    for name in TASKS:
        code, said = checkout.run_task(name)
        assert code == 0, (name, said)
        assert checkout.health(name).startswith("success:"), name
    planned = {os.path.join(os.fsencode(str(checkout.root)), os.fsencode(name))
               for name in CANDIDATES | LEFT_EMPTY | {"held.tmp"}}
    inside = os.path.join(os.fsencode(str(checkout.root)), b".git", b"")  # git_maintenance packs it
    after = snapshot(checkout.root, checkout.outside)
    assert {path: facts for path, facts in after.items() if not path.startswith(inside)} == {
        path: facts for path, facts in before.items() if not path.startswith(inside) and path not in planned}


def test_the_dependencies_of_the_weekly_cleanup_are_the_scan_and_the_analysis_of_the_same_night():
    text = (REPOSITORY / "config" / "conductor_config.json").read_text()
    tasks = {task["name"]: task for task in sc.parse_document(text, "shipped")["tasks"]}
    assert {name: (task["schedule"], task.get("dependencies", []), task["timeout"])
            for name, task in tasks.items()} == {
        "inventory_scan": ("0 2 * * *", [], 1800),
        "cleanup_analysis": ("30 2 * * *", ["inventory_scan"], 1800),
        "cleanup_execution": ("0 3 * * 0", ["cleanup_analysis"], 3600),
        "quarantine_purge": ("30 3 * * 0", ["cleanup_execution"], 1800),
        "health_check": ("*/30 * * * *", [], 300),
        "automation_health": ("0 * * * *", [], 300),
        "expired_files_cleanup": ("0 4 * * *", [], 1800),
        "git_maintenance": ("0 5 1 * *", [], 3600),
    }
    assert tasks["cleanup_execution"]["command"] == (
        "python3 scripts/cleanup_engine.py cleanup_inventory.json --execute --non-interactive --max-deletions 50")
    assert tasks["cleanup_execution"]["retry_count"] == 1


@pytest.mark.parametrize("task", ["inventory_scan", "cleanup_analysis", "cleanup_execution"])
def test_with_a_broken_git_no_task_of_the_chain_removes_anything(checkout, task):
    assert checkout.run_task("cleanup_analysis", "--with-dependencies")[0] == 0
    before = snapshot(checkout.root, checkout.outside)
    old_inventory = checkout.read("cleanup_inventory.json")
    broken = checkout.programs / "git"
    broken.write_text("#!/bin/sh\nexit 0\n")  # the worst kind: nothing listed, and no error
    broken.chmod(0o755)
    before[os.fsencode(str(broken))] = snapshot(checkout.programs)[os.fsencode(str(broken))]
    code, said = checkout.run_task(task, "--ignore-dependencies")
    assert code == 3
    assert "git does not recognize" in said
    assert snapshot(checkout.root, checkout.outside) == before
    assert checkout.read("cleanup_inventory.json") == old_inventory
