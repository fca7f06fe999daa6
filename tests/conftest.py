"""What pytest asks for: the fixtures that many files use, and the order of the tests."""

import json
import os
import sys

import pytest

# Compiled files are kept, also where the environment says otherwise: to compile the tests and
# what they start takes a third of the time. It has to be ahead of the imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from stories import Hand  # noqa: E402
from support import (  # noqa: E402, F401
    REPOSITORY,
    SCRIPT,
    SCRIPTS,
    Project,
    due_once,
    every_minute,
    git,
)

import symphony_conductor as sc  # noqa: E402

# What a test puts into a module has to be seen by the product: no module is imported only later.
for _late in [each for each in vars(sc).values() if isinstance(each, sc._Late)]:
    _late.__name__  # noqa: B018


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("SYMPHONY_ROOT", "SYMPHONY_ALLOW_INSECURE", "TZ"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_subreaper():
    """A supervisor that ran in this very process must not leave it with orphans that nobody reaps."""
    yield
    for prctl in sc._PRCTL:
        prctl(sc.SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "project")
    yield made
    for path in (made.root / "status" / "runs").glob("*.json"):
        try:
            record = json.loads(path.read_text())
            if record["pid"] > 1:  # kill(2): to group 1 means to everybody, and to 0 to the tests
                os.killpg(record["pid"], 9)
        except (ValueError, KeyError, TypeError, OSError, RecursionError):
            pass


@pytest.fixture
def hand(tmp_path, capfd, monkeypatch):
    made = Hand(tmp_path / "project", capfd, monkeypatch)
    yield made
    for lock_fd, _ in made.locks.values():
        os.close(lock_fd)


# -- the order of the tests: what waits for cron begins first and is looked at last, then come the
# files that wait for processes, then those that take long, and what is short fills up the end

WAITING = ("test_a_real_cron_daemon", "test_a_bare_root")
AHEAD = ["test_%s.py" % name for name in (
    "cannot_tell", "tick", "quarantine", "lifecycle", "workflows", "cleanup_engine", "errors",
    "crash", "readme", "inventory", "maintenance", "automation", "pauses", "audit", "cron", "care",
    "runner", "answers", "files")]


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):
        # pytest-xdist from 3.7 on would begin with the files of many tests.
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    waiting = {item.fspath for item in items if item.name.startswith(WAITING)}

    def place(item):
        name = item.fspath.basename
        ahead = AHEAD.index(name) if name in AHEAD else len(AHEAD)
        return item.fspath not in waiting, ahead, str(item.fspath), item.name.startswith(WAITING)

    items.sort(key=place)
