"""What crosses versions on disk: what a later version wrote is refused, and left as it is.

And what the scripts wrote for themselves is read as it was written: no link, no pipe, no size that
cannot be.
"""

import json
import os
import stat

import pytest
from support import Project, run_script

import common
import file_lifecycle as fl
import symphony_conductor as sc

REGISTRY, INVENTORY, REPORT = (
    ".cleanup_registry.json",
    "cleanup_inventory.json",
    "cleanup_report.json",
)
LOG, QUARANTINE, DISK = "cleanup_actions.log", ".cleanup_quarantine", "status/disk.jsonl"
RULES = {
    "rules": [
        {"name": "temporary", "patterns": ["*.tmp"], "older_than": "1s", "reason": "made anew"}
    ],
    "protected": [],
}
FACTS = {"expires": "2001-01-01T00:00:00Z", "registered_at": "2000-12-31T00:00:00Z"}


class Root(Project):
    """A root that belongs to no repository, with rules and an inventory."""

    def __init__(self, root):
        super().__init__(root)
        self.configure()
        self.write("config/cleanup_rules.json", RULES)
        assert self.script("inventory.py")[0] == 0

    def write(self, name, data):
        path = self.root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        path.chmod(0o600)

    def change(self, name, **fields):
        """Put fields into a JSON document."""
        self.write(name, dict(json.loads(self.read(name)), **fields))

    def script(self, name, *arguments):
        return run_script(name, self.root, *arguments)

    def image(self):
        """What must not change: every file but locks and what can be had anew, with its content."""
        return {
            str(path): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and not path.name.endswith(("lock", "_cache"))
        }


@pytest.fixture
def place(tmp_path):
    return Root(tmp_path / "place")


def refused(place, file, found, known, *command):
    """Run a command that meets a file of a later version: one line, exit 78, nothing changed."""
    before = place.image()
    code, out, err = place.script(*command)
    line = "%s was written by a later version (format %d; this is %d)\n" % (file, found, known)
    assert (code, out) == (78, ""), (command, code, out, err)
    assert err.endswith(line) and err.count("\n") == 1, (command, err)
    assert place.image() == before, command


CLEAN = ("cleanup_engine.py", INVENTORY, "--execute", "--non-interactive")


def test_a_registry_of_a_later_version_is_refused_by_every_command(place):
    place.write("a.tmp", "x")
    place.write(REGISTRY, {"format": 3, "files": {"a.tmp": FACTS}, "more": 1})
    for command in (
        ("list",),
        ("register", place.root / "a.tmp"),
        ("unregister", place.root / "a.tmp"),
        ("cleanup",),
        ("cleanup", "--execute"),
    ):
        refused(place, REGISTRY, 3, 2, "file_lifecycle.py", *command)
    refused(place, REGISTRY, 3, 2, "inventory.py")


def test_a_clean_up_takes_nothing_when_a_later_version_keeps_the_registry(place):
    place.write("old.tmp", "x")
    os.utime(str(place.root / "old.tmp"), (1, 1))
    assert place.wait_until(
        lambda: (
            place.script("inventory.py")[0] == 0
            and "1 file would"
            in place.script("cleanup_engine.py", place.root / INVENTORY, "--max-fraction", "1")[1]
        )
    )
    place.write(REGISTRY, {"format": 3, "files": {}})
    code, _, err = place.script(CLEAN[0], place.root / INVENTORY, "--max-fraction", "1", *CLEAN[2:])
    assert (code, err) == (
        78,
        "cleanup_engine: %s was written by a later version (format 3; this is 2)\n" % REGISTRY,
    )
    assert (place.root / "old.tmp").exists()


def test_a_registry_keeps_what_a_later_version_of_the_same_format_put_into_it(place):
    place.write(
        REGISTRY,
        {"format": 2, "files": {"a": dict(FACTS, colour="red", stored=[1])}, "written_by": "1.9"},
    )
    place.write("b", "x")
    assert place.script("file_lifecycle.py", "register", place.root / "b")[0] == 0
    document = json.loads(place.read(REGISTRY))
    assert (document["format"], document["written_by"], sorted(document["files"])) == (
        2,
        "1.9",
        ["a", "b"],
    )
    assert document["files"]["a"] == dict(FACTS, colour="red", stored=[1])


def test_a_registry_without_a_format_is_the_first_one_and_gets_its_defaults(place):
    place.write(REGISTRY, {"format": FACTS, "a": FACTS})  # a file may have any name
    entries = fl.Registry(fl.Root(str(place.root))).read()
    assert sorted(entries) == ["a", "format"]
    assert (entries["a"].owner, entries["a"].metadata, entries["a"].git) == ("", {}, False)
    assert place.script("file_lifecycle.py", "unregister", place.root / "a")[0] == 0
    assert json.loads(place.read(REGISTRY)) == {"format": 2, "files": {"format": FACTS}}


def test_an_inventory_of_a_later_version_is_not_used_and_not_replaced(place):
    place.change(INVENTORY, format=2, fields=["path"])
    refused(
        place,
        "the inventory %s" % (place.root / INVENTORY),
        2,
        1,
        "cleanup_engine.py",
        place.root / INVENTORY,
    )
    refused(place, INVENTORY, 2, 1, "inventory.py")


def test_a_report_of_a_later_version_is_not_replaced_and_not_shown(place):
    place.write("status/heartbeat", "")
    assert place.script("cleanup_engine.py", place.root / INVENTORY, "--report-only")[0] == 0
    place.change(REPORT, format=2)
    refused(place, REPORT, 2, 1, "cleanup_engine.py", place.root / INVENTORY, "--report-only")
    (place.root / DISK).write_text("")  # so that the report writes nothing
    before = place.read(REPORT)
    code, _, err = place.script("symphony_report.py", "--format", "json")
    assert code == 78 and err.endswith(
        "%s was written by a later version (format 2; this is 1)\n" % REPORT
    )
    assert place.read(REPORT) == before


@pytest.mark.parametrize(
    "file, text",
    [
        (LOG, '{"event": "end", "at": "2035-01-01T00:00:00Z", "format": 3}\n'),
        (QUARANTINE + "/format", "3\n"),
    ],
    ids=["the log", "the folder"],
)
def test_a_quarantine_of_a_later_version_is_neither_filled_nor_emptied(place, file, text):
    assert place.script("cleanup_engine.py", "purge", "--older-than", "1d")[0] == 0
    (place.root / file).write_text(text)
    name = QUARANTINE if file != LOG else LOG
    for command in (
        CLEAN[:1] + (place.root / INVENTORY,) + CLEAN[2:],
        ("cleanup_engine.py", "restore", "a.tmp"),
        ("cleanup_engine.py", "purge", "--older-than", "1d"),
    ):
        refused(place, name, 3, 2, *command)


def test_every_line_of_the_log_and_the_folder_carry_their_format(place):
    place.write("a.tmp", "x")
    os.utime(str(place.root / "a.tmp"), (1, 1))
    assert (
        place.script("file_lifecycle.py", "register", place.root / "a.tmp", "--expires", "1s")[0]
        == 0
    )
    assert place.wait_until(
        lambda: place.script("file_lifecycle.py", "cleanup", "--execute")[1].startswith("1 entry")
    )
    lines = [json.loads(line) for line in place.read(LOG).splitlines()]
    assert [line["event"] for line in lines][0] == "intent" and {
        line["format"] for line in lines
    } == {2}
    assert place.read(QUARANTINE + "/format") == "2\n"


@pytest.mark.parametrize("text", ["", "1\n"])
def test_a_log_and_a_folder_of_an_earlier_format_are_used_and_become_the_second(place, text):
    assert place.script("cleanup_engine.py", "purge", "--older-than", "1d")[0] == 0
    (place.root / QUARANTINE / "format").unlink()
    if text:
        place.write(QUARANTINE + "/format", text)
    (place.root / LOG).write_text('{"event": "end", "at": "2025-01-01T00:00:00Z"}\n')
    assert place.script("cleanup_engine.py", "purge", "--older-than", "1d")[0] == 0
    assert place.read(QUARANTINE + "/format") == "2\n"


def test_a_series_of_free_space_of_a_later_version_is_not_replaced(place):
    line = {"at": "2025-01-01T00:00:00Z", "free_bytes": 1, "total_bytes": 2}
    place.write(DISK, json.dumps(dict(line, format=2)) + "\n")
    refused(place, DISK, 2, 1, "symphony_report.py", "--format", "json")


def test_a_series_of_free_space_keeps_fields_that_only_a_later_version_knows(place):
    line = {"at": "2025-01-01T00:00:00Z", "free_bytes": 1, "total_bytes": 2, "device": "sda1"}
    place.write(DISK, json.dumps(line) + "\n")
    assert place.script("symphony_report.py", "--format", "json")[0] == 0
    assert json.loads(place.read(DISK).splitlines()[0]) == line


# -- files read as they were written


def make(path, kind):
    if kind == "a link":
        (path.parent / "target").write_text("{}")
        path.symlink_to("target")
    elif kind == "a link to what never ends":
        path.symlink_to("/dev/zero")
    elif kind == "a pipe":
        os.mkfifo(str(path), 0o600)
    elif kind == "a folder":
        path.mkdir()
    else:
        with open(str(path), "wb") as handle:
            os.truncate(handle.fileno(), 1 << 40)


KINDS = (
    ("a link", "Is a symbolic link"),
    ("a link to what never ends", "Is a symbolic link"),
    ("a pipe", "Not a regular file"),
    ("a folder", "Is a directory"),
    ("a terabyte", "File too large"),
)


@pytest.mark.parametrize("kind, why", KINDS)
def test_an_own_file_is_a_regular_one_of_a_size_that_can_be(tmp_path, kind, why):
    try:
        make(tmp_path / "own", kind)
    except OSError:
        pytest.skip("this file system has no files of that size")
    with pytest.raises(OSError) as caught:
        common.read_own(str(tmp_path / "own"))
    assert caught.value.strerror == why


def test_a_file_that_a_person_wrote_may_be_a_link(tmp_path):
    make(tmp_path / "own", "a link")
    assert common.read_regular(str(tmp_path / "own")) == b"{}"


@pytest.mark.parametrize("kind, why", KINDS[:4])
@pytest.mark.parametrize(
    "file, command, code",
    [
        (REGISTRY, ("file_lifecycle.py", "list"), 3),
        (INVENTORY, ("cleanup_engine.py", INVENTORY), 3),
        ("status/automation_health/a.health", ("automation_manager.py", "health"), 2),
        (LOG, ("symphony_report.py", "--format", "json"), 74),
    ],
)
def test_no_script_follows_waits_or_reads_for_ever(place, file, command, code, kind, why):
    place.configure({"name": "a", "command": "true", "schedule": "0 3 * * *"})
    path = place.root / file
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        path.unlink()
    make(path, kind)
    found = place.script(*[place.root / word if word == INVENTORY else word for word in command])
    assert found[0] == code, found
    assert any(text in found[1] + found[2] for text in (why, "others can write to it")), found
    assert stat.S_IFMT(os.lstat(str(path)).st_mode) != stat.S_IFREG, "and it is what it was"


def test_a_health_file_that_is_too_long_is_no_health_file(place):
    place.configure({"name": "a", "command": "true", "schedule": "0 3 * * *"})
    place.write("status/automation_health/a.health", "success:2025-06-02T10:00:00Z:0\n" * 1000)
    assert "File too large" in place.script("automation_manager.py", "health")[1]


def test_the_format_of_a_document_is_found_without_reading_it_whole(tmp_path):
    path = tmp_path / "document"
    for text in ('{"format": 7, "x": ', '{\n "format": 7,\n "x": ['):
        path.write_text(text)
        with pytest.raises(
            common.LaterVersionError,
            match="^document was written by a later version .format 7; this",
        ):
            common.check_replaced(str(path), 6)
        common.check_replaced(str(path), 7)
    for text in ("", "[]", '{"format": "7"}', '{"other": 1}'):
        path.write_text(text)
        common.check_replaced(str(path), 1)
    assert sc.exit_code_of(lambda: common.check_format("x", 2, 1), "test") == 78
