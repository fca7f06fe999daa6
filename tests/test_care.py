"""What the clean-up takes care of where a name, a mode or a silence could mislead it."""

import os
import stat
import subprocess
import time

import pytest
from support import REPOSITORY, SCRIPTS, git, run_script, wait_until

import cleanup_rules
import file_lifecycle
import symphony_conductor as sc
from clock_witness import boot_now
from quarantine import Quarantine
from tree import Git, GitError, Root

RULES = """{"rules": [{"name": "any", "patterns": ["*.tmp"], "older_than": "1s", "reason": "for a test"}],
            "protected": []}"""
DAY = 86400


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "root"
    (made / "config").mkdir(mode=0o700, parents=True)
    (made / "config" / "cleanup_rules.json").write_text(RULES)
    (made / "config" / "conductor_config.json").write_text("{}")
    (made / "config" / "cleanup_rules.json").chmod(0o600)
    git(made, "init", "-q")
    for number in range(20):
        (made / ("file%d.py" % number)).write_text("x")
    git(made, "add", "-A")
    git(made, "commit", "-q", "-m", "start")
    return made


def put(path, text="content"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def grown_old(path):
    """Wait until the newest rule of the test takes the file."""
    assert wait_until(lambda: time.time() > os.lstat(str(path)).st_ctime + 1.1)


def clean(root):
    assert run_script("inventory.py", root)[0] == 0
    return run_script("cleanup_engine.py", root, str(root / "cleanup_inventory.json"), "--execute", "--non-interactive",
                      "--max-fraction", "0.9")


def take(root, *paths):
    """Register, and take what expired a month later; path to outcome and reason."""
    root = Root(str(root))
    for path in paths:
        file_lifecycle.register(path, 600, root=root)
    now = time.time() + 30 * DAY
    due = file_lifecycle.expired(file_lifecycle.Registry(root).read(), now)
    return {removal.path: (removal.outcome, removal.reason)
            for removal in file_lifecycle.take_expired(root, due, now, True, 50)}


@pytest.mark.parametrize("mark", [".hg", ".svn", ".jj", "CVS", "_darcs", ".fslckout"])
def test_a_folder_under_another_version_control_is_left_alone(folder, mark):
    put(folder / "vendor" / mark / "x")
    grown_old(put(folder / "vendor" / "sample.tmp"))
    assert clean(folder)[1].startswith("OK - 0 files to remove")
    assert (folder / "vendor" / "sample.tmp").exists()


def test_a_root_under_another_version_control_has_no_candidates(folder):
    grown_old(put(folder / "a.tmp"))
    (folder / ".hg").mkdir()
    code, out, _ = clean(folder)
    assert code == 3 and "only git can be asked what it tracks" in out and (folder / "a.tmp").exists()


def test_a_registered_bare_repository_is_left_whole(folder):
    git(folder, "clone", "-q", "--bare", ".", "mirror.git")
    before = sorted(path for path in (folder / "mirror.git").rglob("*"))
    assert take(folder, folder / "mirror.git") == {"mirror.git": ("skipped", "it is a repository of its own")}
    assert sorted(path for path in (folder / "mirror.git").rglob("*")) == before


def test_a_bare_repository_is_no_root(folder):
    git(folder, "clone", "-q", "--bare", ".", "mirror.git")
    put(folder / "mirror.git" / "symphony_conductor.py")
    code, _, err = run_script("inventory.py", folder / "mirror.git")
    assert code == 3 and "is a bare repository" in err


def test_a_new_file_of_a_registered_name_is_nobodys_to_take(folder):
    put(folder / "report.html", "old")
    with open(str(folder / "report.html")):  # held, so that its inode number is not used again
        file_lifecycle.register(folder / "report.html", 600, root=Root(str(folder)))
        (folder / "report.html").unlink()
        put(folder / "report.html", "new work")
        now = time.time() + 30 * DAY
        root = Root(str(folder))
        due = file_lifecycle.expired(file_lifecycle.Registry(root).read(), now)
        removal, = file_lifecycle.take_expired(root, due, now, True, 50)
    assert removal.reason == "another file has taken its place since it was registered"
    assert (folder / "report.html").read_text() == "new work"


def test_what_was_registered_in_a_repository_stays_when_the_repository_is_gone(folder):
    put(folder / "a.txt")
    root = Root(str(folder))
    file_lifecycle.register(folder / "a.txt", 600, root=root)
    (folder / ".git").rename(folder / "git.away")
    with pytest.raises(sc.ConductorError, match="was a git repository when files were registered"):
        take(folder)
    assert (folder / "a.txt").exists()


def test_a_file_of_ones_own_cannot_be_opened_as_a_managed_one(folder, monkeypatch):
    monkeypatch.setenv("SYMPHONY_ROOT", str(folder))
    put(folder / "notes.txt", "mine")
    with pytest.raises(sc.UsageError, match="exists and is not registered"):
        with file_lifecycle.managed_file(str(folder / "notes.txt"), "a"):
            pass
    assert file_lifecycle.Registry(Root(str(folder))).read() == {}


def test_a_restored_folder_has_its_mode_again(folder):
    put(folder / "private" / "secret.txt")
    os.chmod(str(folder / "private"), 0o700)
    put(folder / "public" / "page.txt")
    os.chmod(str(folder / "public"), 0o755)
    take(folder, folder / "private", folder / "public")
    assert not (folder / "private").exists() and not (folder / "public").exists()
    with Quarantine(Root(str(folder)), time.time()) as quarantine:
        for path in ("private/secret.txt", "public/page.txt"):
            assert [one.outcome for one in quarantine.restore(path)] == ["restored"]
    assert stat.S_IMODE((folder / "private").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "public").stat().st_mode) == 0o755


@pytest.mark.parametrize("still_open", [False, True])
def test_who_was_opening_a_file_when_it_was_moved_loses_nothing(folder, monkeypatch, still_open):
    """The lookup was done before the rename, so the write comes after it, and every check so far saw nothing."""
    put(folder / "a.txt", "old")
    handles = []

    def meanwhile(seconds):
        for found in () if handles else (folder / ".cleanup_quarantine").glob("20*/a.txt"):
            handles.append(open(str(found), "a"))
            if not still_open:
                handles[0].write(", and new work")
                handles[0].close()

    monkeypatch.setattr("quarantine.time.sleep", meanwhile)
    outcome, reason = take(folder, folder / "a.txt")["a.txt"]
    assert outcome == "failed" and reason == (
        "a process holds it open; it was put back" if still_open else "its size has changed; it was put back")
    assert (folder / "a.txt").read_text() == ("old" if still_open else "old, and new work")
    handles[0].close()


def test_a_damaged_part_of_a_split_index_is_noticed(folder):
    put(folder / "new.tmp")
    git(folder, "add", "new.tmp")
    git(folder, "update-index", "--split-index")
    shared, = (folder / ".git").glob("sharedindex.*")
    shared.chmod(0o600)
    shared.write_bytes(shared.read_bytes().replace(b"new.tmp", b"nex.tmp"))
    with pytest.raises(GitError, match="index is damaged"):
        Git(Root(str(folder))).listing()


@pytest.mark.parametrize("name", [".cleanup_registry.json", "cleanup_inventory.json", "config/cleanup_rules.json",
                                  "cleanup_actions.log", ".cleanup_cache"])
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(folder, name):
    assert run_script("inventory.py", folder)[0] == 0
    if (folder / name).exists():
        (folder / name).unlink()
    os.mkfifo(str(folder / name), 0o600)
    arguments = ("--execute", "--non-interactive")
    began = time.monotonic()
    codes = [run_script("cleanup_engine.py", folder, str(folder / "cleanup_inventory.json"), *arguments)[0],
             run_script("file_lifecycle.py", folder, "list")[0], run_script("inventory.py", folder)[0]]
    assert set(codes) <= {0, 3, 78} and time.monotonic() - began < 20


@pytest.mark.parametrize("name", [
    "customers.db.2024-06-01.bak", "server.key.2024-06-01.bak", "prod.env.2024-06-01.old", "customers.db.gz.bak",
    "server.key-old.bak", "customers.db_old.bak", "customers.db.prod.bak", "server.key (1).bak", "#server.key#.bak",
    "server.pem.bak~", "server.key.bak1.old", ".server.key.swp", "my-credentials.json.bak", "app.tfstate.1.bak"])
def test_a_dated_or_numbered_copy_of_a_key_or_a_database_is_protected(name):
    rules = cleanup_rules.read_rules(str(REPOSITORY / "config" / "cleanup_rules.json"), "shipped")
    assert rules.protection("some/" + name).startswith("protected by '")
    assert rules.protection("some/notes-of-mine.txt.bak") == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters every folder")
def test_a_closed_folder_in_quarantine_does_not_lock_the_others_in(folder):
    put(folder / "a.txt")
    take(folder, folder / "a.txt")
    kept = folder / ".cleanup_quarantine" / "20200101T000000Z-1" / "locked"
    kept.mkdir(parents=True)
    kept.chmod(0)
    with Quarantine(Root(str(folder)), time.time()) as quarantine:
        assert [one.outcome for one in quarantine.restore("a.txt")] == ["restored"]
        assert [(item.path, item.problem) for item in quarantine.held("20200101T000000Z-1")] == [
            ("locked", "cannot be opened in quarantine: Permission denied")]
    kept.chmod(0o700)


def test_a_full_disk_stops_no_purge_and_no_restore(folder, monkeypatch):
    put(folder / "a.txt")
    put(folder / "b.txt")
    take(folder, folder / "a.txt", folder / "b.txt")

    def full(self, entries, at, durable=False):
        raise sc.StorageError("cannot append to cleanup_actions.log: No space left on device")

    monkeypatch.setattr("quarantine.ActionLog.write", full)
    boot_id, uptime = boot_now()
    later = (boot_id, uptime + 60 * DAY)
    with Quarantine(Root(str(folder)), time.time() + 60 * DAY, boot=later) as quarantine:
        assert [one.outcome for one in quarantine.restore("a.txt")] == ["restored"]
        assert [run.files for run in quarantine.purge(14 * DAY)] == [1]
        assert quarantine.runs() == [] and quarantine.notes == [
            "cannot append to cleanup_actions.log: No space left on device"]


def test_a_full_disk_stops_no_purge_after_a_crash_but_every_removal(folder, monkeypatch):
    """The answers to what the crash left open cannot be written, and an end would hide that."""
    put(folder / "a.txt")
    take(folder, folder / "a.txt")
    log = folder / "cleanup_actions.log"
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines() if '"intent"' in line))

    def full(self, entries, at, durable=False):
        raise sc.StorageError("cannot append to cleanup_actions.log: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("quarantine.ActionLog.write", full)
        boot_id, uptime = boot_now()
        with Quarantine(Root(str(folder)), time.time() + 60 * DAY, boot=(boot_id, uptime + 60 * DAY)) as quarantine:
            with pytest.raises(sc.StorageError, match="No space left"):
                list(quarantine.remove([], [], 1))
            assert [run.files for run in quarantine.purge(14 * DAY)] == [1]
    with Quarantine(Root(str(folder)), time.time()) as quarantine:
        assert "had not been moved" in " ".join(quarantine.notes)
    assert '"end"' in log.read_text()


def test_a_file_in_a_folder_that_is_read_only_is_kept_and_fails_nothing(folder):
    grown_old(put(folder / "closed" / "a.tmp"))
    (folder / "closed").chmod(0o555)
    if os.access(str(folder / "closed"), os.W_OK):
        pytest.skip("root may write everywhere")
    code, out, _ = clean(folder)
    (folder / "closed").chmod(0o755)
    assert code == 0 and "no permission to write to its folder" in out


def test_a_path_with_a_link_before_two_dots_means_what_the_system_means(folder):
    put(folder / "deep" / "er" / "y")
    put(folder / "deep" / "x.txt")
    (folder / "ln").symlink_to("deep/er")
    assert Root(str(folder)).relative(str(folder / "ln" / ".." / "x.txt")) == "deep/x.txt"


def test_scripts_run_by_a_link_from_elsewhere_find_their_modules(folder, tmp_path):
    link = tmp_path / "engine"
    link.symlink_to(SCRIPTS / "file_lifecycle.py")
    done = subprocess.run([str(link), "--root", str(folder), "list"], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"0 files registered, 0 expired\n")
