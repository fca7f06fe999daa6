"""The systemd scope of a run: cgroups and a busctl of the tests' own. on_systemd has real ones."""

import errno
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from support import every_minute

import symphony_conductor as sc

HYBRID = "9:name=systemd:%s\n8:pids:%s\n0::%s\n"
SERVICE = "/system.slice/symphony-conductor.service"
SCOPE = "/system.slice/symphony-backup-20250602T020000Z-1-0123abcd.scope"
USER = "/user.slice/user-1000.slice/user@1000.service/app.slice/symphony-conductor.service"

BUSCTL = """#!/bin/sh
echo "$@" >> {folder}/asked
{body}
"""
# Moves the process that is named after 'PIDs au 1' into the scope.
MOVES = """
while [ "$1" != "ssa(sv)a(sa(sv))" ]; do shift; done
name=$2; pid=$8
mkdir -p {folder}/cgroup/system.slice/$name
echo $pid > {folder}/cgroup/system.slice/$name/cgroup.procs
echo "0::/system.slice/$name" > {folder}/self
"""


class Systemd:
    """A systemd that can be asked: its cgroups are a folder, its busctl is a script."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.cgroups = folder / "cgroup"
        self.cgroups.mkdir()
        self.moves = []
        self.stand_in("0::%s\n" % SERVICE)
        real = sc.proc_text
        monkeypatch.setattr(sc, "proc_text", lambda name: (
            (folder / "self").read_text() if name == "self/cgroup" else real(name)))
        monkeypatch.setattr(sc, "CGROUPS", str(self.cgroups))
        monkeypatch.setattr(sc, "BUSCTL", str(folder / "busctl"))
        monkeypatch.setattr(sc, "SCOPE_WAIT_S", 0.3)
        monkeypatch.setattr(sc, "join_cgroup", self.moves.append)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setenv("INVOCATION_ID", "1")
        self.answer(MOVES)

    def stand_in(self, text):
        """What /proc/self/cgroup says."""
        (self.folder / "self").write_text(text)

    def answer(self, body):
        path = self.folder / "busctl"
        path.write_text(BUSCTL.replace("{body}", body).replace("{folder}", str(self.folder)))
        path.chmod(0o755)

    def asked(self):
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def cgroup(self, name, *pids):
        """A cgroup with these processes: its folder."""
        path = self.cgroups / name.lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").write_text("".join("%d\n" % pid for pid in pids))
        return str(path)


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    folder = tmp_path / "systemd"
    folder.mkdir()
    return Systemd(folder, monkeypatch)


@pytest.fixture
def stray(tmp_path):
    """A process that is no descendant of ours, in a session of its own, without an environment."""
    path = tmp_path / "pid"
    code = "import os, sys, time; os.setsid()\nif os.fork(): os._exit(0)\n" + (
        "os.setsid(); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)")
    subprocess.check_call([sys.executable, "-I", "-S", "-c", code, str(path)], env={})
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        sc.sleep(0.01)
    pid = int(path.read_text())
    yield pid
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# -- in which unit is this process?

@pytest.mark.parametrize("text, unit", [
    ("0::" + SERVICE, ("system.slice", SERVICE)),
    (HYBRID % (SERVICE, "/", SERVICE), ("system.slice", SERVICE)),
    ("1:name=systemd:" + SERVICE, ("system.slice", SERVICE)),
    ("0::" + USER, ("app.slice", USER)),
    ("0::" + SCOPE, ("system.slice", SCOPE)),
    ("0::" + SCOPE + "/command", ("system.slice", SCOPE)),
    ("0::/a.slice/a-b.slice/symphony-conductor.service", (
        "a-b.slice", "/a.slice/a-b.slice/symphony-conductor.service")),
    ("0::/system.slice/cron.service", ("", "")),
    ("0::/system.slice/symphony-web.service", ("", "")),
    ("0::/user.slice/user-0.slice/session-1.scope", ("", "")),
    ("0::/", ("", "")), ("", ("", ""))])
def test_the_unit_of_a_tick_is_read_from_its_cgroup(systemd, text, unit):
    systemd.stand_in(text + "\n")
    assert sc.own_unit() == unit


def test_what_systemd_did_not_start_does_not_even_look(systemd, monkeypatch):
    monkeypatch.delenv("INVOCATION_ID")
    monkeypatch.setattr(sc, "proc_text", None)
    assert sc.own_unit() == ("", "")


def test_the_name_of_a_scope_is_that_of_one_run_of_one_root():
    name = sc.scope_name("a.B_c-d", "20250602T020000Z-1", "/srv/a")
    assert re.match(r"symphony-a\.B_c-d-20250602T020000Z-1-[0-9a-f]{8}\.scope$", name)
    assert re.search(sc.OWN_UNIT, "/system.slice/" + name)
    assert name != sc.scope_name("a.B_c-d", "20250602T020000Z-1", "/srv/b")
    assert len(sc.scope_name("x" * 255, "20250602T020000Z-123456789", "/srv/a")) < 256


# -- the start

def test_systemd_is_asked_for_a_scope_beside_the_service(systemd):
    folder = sc.enter_scope("symphony-a-1-0123abcd.scope", "A b", 40)
    assert folder == str(systemd.cgroups / "system.slice/symphony-a-1-0123abcd.scope")
    assert systemd.asked() == [
        "--quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
        "org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) "
        "symphony-a-1-0123abcd.scope fail 6 PIDs au 1 %d DelegateControllers as 0 "
        "CollectMode s inactive-or-failed Description s A b TimeoutStopUSec t 40000000 "
        "Slice s system.slice 0" % os.getpid()]


@pytest.mark.parametrize("unit, has_bus, lingers, words", [
    (USER, True, False, "Slice s app.slice 0"),
    (SERVICE, True, True, "TimeoutStopUSec t 40000000 0"),
    (SERVICE, True, False, None),  # the end of a login would be that of the task
    (USER, False, True, None), (SERVICE, False, True, None)])
def test_a_user_asks_the_manager_of_their_own(systemd, monkeypatch, unit, has_bus, lingers, words):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(sc, "LINGER", str(systemd.folder))
    if lingers:
        (systemd.folder / "nobody").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(systemd.folder))
    systemd.stand_in("0::%s\n" % unit)
    if has_bus:
        (systemd.folder / "bus").touch()
    assert bool(sc.enter_scope("symphony-a-1-0123abcd.scope", "A", 40)) is (words is not None)
    if words:
        (asked,) = systemd.asked()
        assert asked.startswith("--quiet --user call ") and asked.endswith(words)
    else:
        assert systemd.asked() == []


def test_what_is_not_printable_is_not_handed_to_systemd(systemd):
    assert sc.enter_scope("symphony-a-1-0123abcd.scope", "a\nExecStart=/\udce9\t\u00e9", 40)
    assert "Description s a?ExecStart=/??\u00e9 " in (systemd.folder / "asked").read_text("utf-8")


@pytest.mark.parametrize("body, longest_s", [
    ("exit 1", 0.29), ("exec sleep 60", 5), ("exit 0", 5), (None, 0.29)])
def test_without_an_answer_there_is_no_scope_and_nothing_waits_for_long(
        systemd, monkeypatch, body, longest_s):
    pids = []
    spawn = os.spawnvpe
    monkeypatch.setattr(os, "spawnvpe", lambda *words: pids.append(spawn(*words)) or pids[0])
    if body is None:
        (systemd.folder / "busctl").unlink()
    else:
        systemd.answer(body)
    started = time.monotonic()
    assert sc.enter_scope("symphony-a-1-0123abcd.scope", "A", 40) == ""
    assert time.monotonic() - started < longest_s
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], os.WNOHANG)


def test_busctl_does_not_outlive_a_cgroup_that_cannot_be_read(systemd, monkeypatch):
    pids = []
    spawn = os.spawnvpe
    monkeypatch.setattr(os, "spawnvpe", lambda *words: pids.append(spawn(*words)) or pids[0])
    monkeypatch.setattr(sc, "own_cgroup", refuse(PermissionError(13, "Permission denied")))
    systemd.answer("exec sleep 60")
    with pytest.raises(PermissionError):
        sc.enter_scope("symphony-a-1-0123abcd.scope", "A", 40)
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], os.WNOHANG)


def test_the_folder_of_a_scope_is_one_that_lists_this_process(systemd):
    name = SCOPE.rpartition("/")[2]
    systemd.stand_in(HYBRID % (SCOPE, "/", SCOPE))
    assert sc.own_cgroup(name) == ""
    old = systemd.cgroup("systemd" + SCOPE, os.getpid())
    assert sc.own_cgroup(name) == old
    new = systemd.cgroup("unified" + SCOPE, os.getpid())
    assert sc.own_cgroup(name) == new
    systemd.cgroup(SCOPE, 1)  # another machine's, or another hierarchy's
    assert sc.own_cgroup(name) == new
    assert sc.own_cgroup("another.scope") == ""


# -- a run

def supervisor_of(project, command, **fields):
    project.configure(every_minute("job", command, **fields))
    store = sc.Store(str(project.root))
    config = store.read_config()
    run = sc.Run(run_id="20250602T020000Z-1", trigger="manual", started_at=time.time())
    return sc.Supervisor(store, sc.Clock(), sc.spec_of(config, config.tasks["job"], run))


def test_a_command_starts_in_a_cgroup_of_its_own_that_is_on_record(project, systemd):
    supervisor = supervisor_of(project, "true")
    supervisor.enter_scope()
    result = supervisor.run()
    supervisor.close()
    (folder,) = (systemd.cgroups / "system.slice").glob("symphony-job-20250602T020000Z-1-*.scope")
    assert result["status"] == "success"
    assert supervisor.record["cgroup"] == str(folder / "command") and (folder / "command").is_dir()
    assert systemd.moves == [str(folder / "command"), str(folder)], "a command is born where we are"
    assert sc.Store(str(project.root)).read_run("job")["cgroup"] == str(folder / "command")


@pytest.mark.parametrize("spoil", ["no unit", "no answer", "no folder", "no bus"])
def test_a_command_runs_without_a_scope_as_ever(project, systemd, monkeypatch, spoil):
    if spoil == "no unit":
        systemd.stand_in("0::/system.slice/cron.service\n")
    elif spoil == "no answer":
        systemd.answer("exit 1")
    elif spoil == "no folder":
        monkeypatch.setattr(os, "mkdir", refuse(PermissionError(13, "Permission denied")))
    else:
        monkeypatch.setattr(os, "spawnvpe", refuse(BlockingIOError(11, "No more processes")))
    supervisor = supervisor_of(project, "true")
    supervisor.enter_scope()
    monkeypatch.undo()
    result = supervisor.run()
    supervisor.close()
    assert (result["status"], "cgroup" in supervisor.record, systemd.moves) == ("success", False, [])
    assert bool(systemd.asked()) is (spoil in ("no answer", "no folder"))


def test_an_adopting_supervisor_joins_the_scope_of_its_command(project, systemd):
    folder = systemd.cgroup(SCOPE)
    supervisor = supervisor_of(project, "true")
    supervisor.fields["cgroup"] = folder + "/command"
    supervisor.enter_scope()
    assert (systemd.moves, systemd.asked()) == ([folder], [])


def test_an_adopting_supervisor_that_may_not_join_gets_a_scope(project, systemd, monkeypatch):
    monkeypatch.setattr(sc, "join_cgroup", refuse(PermissionError(13, "Permission denied")))
    supervisor = supervisor_of(project, "true")
    supervisor.fields["cgroup"] = systemd.cgroup(SCOPE) + "/command"
    supervisor.enter_scope()
    (asked,) = systemd.asked()
    assert "symphony-job-20250602T020000Z-1-%d-" % os.getpid() in asked


def test_an_adopted_command_keeps_its_cgroup_on_record(project, systemd):
    supervisor = supervisor_of(project, "true")
    supervisor.fields["cgroup"] = "/x"
    assert dict(supervisor.fields)["cgroup"] == "/x"
    assert sc.job_of(dict(supervisor.fields, pid=4711, pid_start="1"), "/", "").cgroup == "/x"


def test_a_stop_that_hits_command_and_supervisor_at_once_is_an_interruption(project):
    # As `systemctl stop` of a scope does, and a machine that shuts down.
    for _ in range(5):
        supervisor = supervisor_of(project, "kill -TERM $PPID $$", kill_grace=1)
        result = supervisor.run()
        supervisor.close()
        assert (result["status"], result["exit_code"]) == ("interrupted", 143)


# -- what lives

def refuse(error):
    def fail(*_, **__):
        raise error
    return fail


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_cgroup_that_cannot_be_read_is_not_an_empty_one(systemd, monkeypatch, number):
    folder = systemd.cgroup(SCOPE)
    real = sc.read_bytes

    def read(path, *arguments, **more):
        if str(path).startswith(folder):
            raise OSError(number, os.strerror(number), path)
        return real(path, *arguments, **more)
    assert sc.cgroup_pids(folder) == set() and not sc.may_live(JOB.replace(cgroup=folder))
    monkeypatch.setattr(sc, "read_bytes", read)
    for ask in (lambda: sc.cgroup_pids(folder), lambda: sc.may_live(JOB.replace(cgroup=folder))):
        with pytest.raises(OSError) as caught:
            ask()
        assert caught.value.errno == number


JOB = sc.Job(pid=sc.NO_PID, run_id="20250602T020000Z-1", root="/nowhere", mark="a" * 16)


def test_what_is_in_the_cgroup_lives_whatever_it_has_left(systemd, stray):
    assert not sc.may_live(JOB)
    job = JOB.replace(cgroup=systemd.cgroup("a", stray))
    assert [process.pid for process in sc.job_members(job, sc.process_table())] == [stray]
    assert sc.may_live(job)
    os.kill(stray, signal.SIGKILL)
    assert eventually(lambda: not sc.may_live(job.replace(cgroup=systemd.cgroup("a"))))


def is_gone(pid):
    process = sc.process_of(pid)
    return process is None or process.is_dead  # not every PID 1 reaps


def eventually(question):
    deadline = time.monotonic() + 20
    while not question() and time.monotonic() < deadline:
        sc.sleep(0.01)
    return question()


def test_a_cgroup_counts_with_those_below_it(systemd, stray):
    systemd.cgroup("a")
    systemd.cgroup("a/b", 4711)
    systemd.cgroup("a/b/c", 4712, 4713)
    assert sc.cgroup_pids(str(systemd.cgroups / "a")) == {4711, 4712, 4713}


def test_a_process_that_the_table_hides_counts(systemd):
    job = JOB.replace(cgroup=systemd.cgroup("a", 4711))
    assert [process.pid for process in sc.job_members(job, [])] == [4711]


def test_a_process_with_the_mark_of_another_run_does_not(systemd, monkeypatch, stray):
    job = JOB.replace(cgroup=systemd.cgroup("a", stray))
    monkeypatch.setattr(sc, "mark_of", lambda process: "b" * 16)
    assert sc.job_members(job, sc.process_table()) == []


def test_a_supervisor_in_the_cgroup_of_its_command_is_not_of_it(systemd):
    job = JOB.replace(cgroup=systemd.cgroup("a", os.getpid()))
    assert sc.job_members(job, sc.process_table()) == []


@pytest.mark.parametrize("number", [2, 19, 95])  # ENOENT, ENODEV, EOPNOTSUPP
def test_a_cgroup_that_is_gone_is_empty(systemd, monkeypatch, number):
    path = systemd.cgroup("a", 4711)
    monkeypatch.setattr(sc, "read_bytes", refuse(OSError(number, "gone", path)))
    assert sc.cgroup_pids(path) == set()


def test_a_cgroup_that_cannot_be_read_proves_nothing(project, systemd, monkeypatch):
    job = JOB.replace(cgroup=systemd.cgroup("a"))
    assert not sc.may_live(job)
    monkeypatch.setattr(sc, "cgroup_pids", refuse(PermissionError(13, "Permission denied")))
    with pytest.raises(OSError):
        sc.may_live(job)


def test_a_run_whose_cgroup_cannot_be_read_is_left_alone(project, systemd, monkeypatch):
    supervisor = supervisor_of(project, "true")
    supervisor.enter_scope()
    supervisor.run()
    supervisor.close()
    record = dict(supervisor.record, boot_id=sc.current_boot_id(), supervisor_start="1")  # it is gone
    store = sc.Store(str(project.root))
    store.write_run("job", record)
    run = sc.Run(run_id=record["run_id"], trigger="manual", started_at=record["started_at"])
    conductor = sc.Conductor(store)
    assert conductor._fact("job", run).kind == "vanished"
    monkeypatch.setattr(sc, "cgroup_pids", refuse(PermissionError(13, "Permission denied")))
    assert conductor._fact("job", run).kind == "unknown"
    assert "cannot determine the state of run" in conductor.troubles[0]


def test_a_record_without_a_cgroup_is_read(project, systemd):
    record = {"pid": 4711, "pid_start": "1", "run_id": "1"}
    for more in ({}, {"cgroup": None}, {"cgroup": ""}):
        assert sc.job_of(dict(record, **more), "/", "").cgroup == ""


# -- signals

class Watched(sc.Watch):
    def __init__(self, job):
        self.job = job


def test_sigkill_goes_to_the_cgroup_as_a_whole(systemd, stray):
    path = systemd.cgroup("a", stray)
    kill = pathlib.Path(path) / "cgroup.kill"
    kill.touch()
    watch = Watched(JOB.replace(cgroup=path))
    watch._signal_tree(signal.SIGCONT)
    assert kill.read_text() == ""
    watch._signal_tree(signal.SIGKILL)
    assert kill.read_text() == "1"
    assert eventually(lambda: is_gone(stray)), "and to each that is in it"


def test_a_cgroup_that_another_run_is_in_is_not_killed_as_a_whole(systemd, monkeypatch, stray):
    """A command called the conductor, which got no scope for the run that it started."""
    path = systemd.cgroup("a", stray)
    below = systemd.cgroup("a/b", sc.NO_PID)
    kill = pathlib.Path(path) / "cgroup.kill"
    kill.touch()
    marks = {sc.NO_PID: "b" * 16}
    monkeypatch.setattr(sc, "mark_of", lambda process: marks.get(process.pid, JOB.mark))
    watch = Watched(JOB.replace(cgroup=path, pid=sc.NO_PID - 1))
    watch._signal_tree(signal.SIGKILL)
    assert kill.read_text() == ""
    assert eventually(lambda: is_gone(stray)), "what is the run's own gets its signal"
    systemd.cgroup("a")
    os.remove(below + "/cgroup.procs")
    watch._signal_tree(signal.SIGKILL)
    assert kill.read_text() == "1"


def test_without_cgroup_kill_each_process_gets_its_signal(systemd, stray):
    path = systemd.cgroup("a", stray)
    Watched(JOB.replace(cgroup=path))._signal_tree(signal.SIGKILL)
    assert eventually(lambda: is_gone(stray))
    assert sorted(os.listdir(path)) == ["cgroup.procs"]


def test_a_supervisor_does_not_kill_itself(systemd):
    path = systemd.cgroup("a", os.getpid())
    kill = pathlib.Path(path) / "cgroup.kill"
    kill.touch()
    Watched(JOB.replace(cgroup=path))._signal_tree(signal.SIGKILL)
    assert kill.read_text() == ""
