"""A real Airflow of one machine for tests/on_airflow.py: its services and their memory."""

import collections
import contextlib
import ctypes
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

from support import REPOSITORY, SCRIPTS, Project, wait_until

import symphony_conductor as sc

sys.path.append(str(SCRIPTS / "airflow"))

import engine  # noqa: E402

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
NEEDED_MODULES = ("airflow", "airflow.providers.celery", "airflow.providers.postgres",
                  "psycopg2", "asyncpg", "redis")

# What is not Airflow's default; the reasons are in scripts/airflow/README.md.
SETTINGS = {
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__EXECUTOR": "CeleryExecutor",
    "CORE__PARALLELISM": "64",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "CORE__FERNET_KEY": "",
    "API__WORKERS": "1",
    "API__HOST": "127.0.0.1",
    "API__SECRET_KEY": "of-a-trial-that-ends-with-its-folder-0123456789",
    "API_AUTH__JWT_SECRET": "of-a-trial-that-ends-with-its-folder-of-64-bytes-or-more-0123456789abcdef",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    "SCHEDULER__MAX_DAGRUNS_TO_CREATE_PER_LOOP": "50",
    "SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "100",
    # A worker that reaches no API server has given its run up after 65 s (6 calls of 5 s, 5 waits
    # of at most 6 s, one interval of 5 s) and ended it after a few more: the scheduler takes it
    # for lost only then, so that the next attempt never runs beside it.
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",
    # Not in Airflow's documentation; 2 by default: then it fails what no worker has taken.
    "SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "100000",
    "WORKERS__EXECUTION_API_TIMEOUT": "5",
    "WORKERS__EXECUTION_API_RETRIES": "6",
    "WORKERS__EXECUTION_API_RETRY_WAIT_MIN": "4",  # in all at least 20 s: a restart takes less
    "WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "6",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "WORKERS__MAX_FAILED_HEARTBEATS": "1",
    "CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
    "CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
    "CELERY__SYNC_PARALLELISM": "1",
    "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "2592000",
}


class Missing(Exception):
    """A program or module that the trial needs is not here."""


class Trouble(Exception):
    """The cluster did not do what it was told."""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def program(name):
    """The path of a program, also where Debian keeps those of PostgreSQL."""
    places = [shutil.which(name)] + sorted(glob.glob("/usr/lib/postgresql/*/bin/" + name))[::-1]
    # initdb looks for its files beside itself: rather the folder that has them all.
    places.sort(key=lambda place: "/postgresql/" not in (place or ""))
    for place in places:
        if place:
            return place
    raise Missing("%s: not found; as root: apt-get install %s" % (
        name, {"redis-server": "redis-server"}.get(name, "postgresql")))


def look_for_what_is_needed(python):
    """Raises Missing with the one thing that is to be done."""
    for name in ("initdb", "postgres", "redis-server"):
        program(name)
    if not os.access(str(python), os.X_OK):
        raise Missing("%s: no Airflow there; name the Python of its virtual environment: --python"
                      % python)
    code = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if not u.find_spec(m)])"
    done = subprocess.run([str(python), "-c", code] + list(NEEDED_MODULES), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    missing = done.stdout.decode().split()
    if done.returncode != 0 or missing:
        raise Missing("%s: %s not importable; install scripts/airflow/requirements.lock into it" % (
            python, " ".join(missing) or "airflow"))


# -- processes

def parents():
    """The parent of each process."""
    above = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            words = pathlib.Path(path).read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended
        if words[0] != "Z":
            above[int(path.split("/")[2])] = int(words[1])
    return above


def descendants(root, above=None):
    """The processes below one, itself first."""
    children = collections.defaultdict(list)
    for pid, parent in (above or parents()).items():
        children[parent].append(pid)
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def pss_bytes(pid):
    """The proportional share of memory; 0 of a process that has ended."""
    try:
        for line in pathlib.Path("/proc/%d/smaps_rollup" % pid).read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def kill(pids, number=signal.SIGKILL):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def as_postgres():
    """What goes before a command that must not be root's: PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return ["setpriv", "--reuid=%d" % user.pw_uid, "--regid=%d" % user.pw_gid,
                    "--clear-groups"]
    raise Missing("PostgreSQL does not run as root, and there is no user postgres or nobody")


class Cluster:
    """PostgreSQL, Redis, Airflow's API server, scheduler and DAG processor, two Celery workers."""

    def __init__(self, python, root, folder, workers=2, concurrency=6):
        self.python, self.root, self.folder = str(python), root, folder
        self.workers = ["worker%d" % number for number in range(1, workers + 1)]
        self.running = {}
        database, broker, self.port, *self.log_ports = free_ports(3 + workers)
        self.database, self.broker = database, broker
        self.url = "http://127.0.0.1:%d" % self.port
        self.env = self.environment(concurrency)
        self.api = engine.Airflow(self.url)

    def environment(self, concurrency):
        sql = "postgresql%s://airflow@127.0.0.1:" + "%d/airflow" % self.database
        settings = dict(
            SETTINGS,
            CORE__DAGS_FOLDER=str(REPOSITORY / "scripts/airflow/dags"),
            CORE__PLUGINS_FOLDER=str(REPOSITORY / "scripts/airflow/plugins"),
            CORE__EXECUTION_API_SERVER_URL=self.url + "/execution/",
            API__PORT=str(self.port),
            API__BASE_URL=self.url,
            DATABASE__SQL_ALCHEMY_CONN=sql % "+psycopg2",
            CELERY__BROKER_URL="redis://127.0.0.1:%d/0" % self.broker,
            CELERY__RESULT_BACKEND="db+" + sql % "",
            CELERY__WORKER_CONCURRENCY=str(concurrency))
        env = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
        env.update({"AIRFLOW__" + name: value for name, value in settings.items()})
        env.update(AIRFLOW_HOME=str(self.folder / "home"), SYMPHONY_ROOT=str(self.root),
                   SYMPHONY_HOME=str(REPOSITORY), PYTHONDONTWRITEBYTECODE="1")
        for name, value in os.environ.items():
            if name.startswith("AIRFLOW__"):
                env[name] = value  # to try another value of a setting
        return env

    def __enter__(self):
        # What a killed worker leaves behind comes to this process, and ends with it.
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        for name in ("home", "log", "postgres"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        try:
            self.start_stores()
            self.must("db", "migrate")
            self.make_pools()
            self.start("api-server")
            if not wait_until(self.is_healthy, 120):
                raise Trouble("the API server does not answer: %s" % self.tail("api-server"))
            self.api.log_in("", "")
            for name in ["dag-processor", "scheduler"] + self.workers:
                self.start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start_stores(self):
        data, prefix = self.folder / "postgres", as_postgres()
        if prefix:
            shutil.chown(str(data), int(prefix[1].split("=")[1]), int(prefix[2].split("=")[1]))
        here = {"cwd": str(data), "env": {"PATH": self.env["PATH"], "LC_ALL": "C"}}
        done = subprocess.run(
            prefix + [program("initdb"), "-D", str(data / "data"), "-U", "airflow", "-A", "trust",
                      "-E", "UTF8", "--no-sync"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, **here)
        if done.returncode != 0:
            raise Trouble("initdb: " + done.stdout.decode("utf-8", "replace"))
        self.launch("postgresql", prefix + [
            program("postgres"), "-D", str(data / "data"), "-p", str(self.database), "-h",
            "127.0.0.1", "-k", str(data), "-c", "fsync=off", "-c", "max_connections=200"], **here)
        self.launch("redis", [
            program("redis-server"), "--port", str(self.broker), "--bind", "127.0.0.1", "--save",
            "", "--dir", str(self.folder / "home")])
        code = ("import psycopg2, sys\nc = psycopg2.connect(host='127.0.0.1', port=%d,"
                " user='airflow', dbname='postgres')\nc.autocommit = True\n"
                "c.cursor().execute('create database airflow')" % self.database)

        def created():
            return subprocess.run([self.python, "-c", code], stderr=subprocess.DEVNULL).returncode == 0
        if not wait_until(created, 60):
            raise Trouble("PostgreSQL does not answer: %s" % self.tail("postgresql"))

    def make_pools(self):
        code, out, err = Project(self.root).call("check", "--engine", "airflow", "--pools")
        if code != 0:
            raise Trouble("check --engine airflow --pools: exit %d: %s" % (code, err))
        (self.folder / "pools.json").write_text(out)
        self.must("pools", "import", str(self.folder / "pools.json"))

    def must(self, *arguments):
        """An Airflow command that has to succeed: its output."""
        done = subprocess.run([self.python, "-m", "airflow"] + list(arguments), env=self.env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              cwd=str(self.folder), timeout=300)
        if done.returncode != 0:
            raise Trouble("airflow %s: %s" % (" ".join(arguments), done.stderr.decode()[-2000:]))
        return done.stdout.decode()

    def start(self, name):
        env, arguments = self.env, [name]
        if name in self.workers:
            arguments = ["celery", "worker", "--celery-hostname", name + "@trial"]
            env = dict(env, AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(
                self.log_ports[self.workers.index(name)]))
        self.launch(name, [self.python, "-m", "airflow"] + arguments, env=env,
                    cwd=str(self.folder))

    def launch(self, name, command, **more):
        with (self.folder / "log" / name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **more)

    def kill(self, name, spare=()):
        """kill -9 of a service and all its processes, but not of `spare` and what is below it."""
        above = parents()
        spared = {pid for one in spare for pid in descendants(one, above)}
        kill([pid for pid in descendants(self.running[name].pid, above) if pid not in spared])
        self.running.pop(name).wait()

    def worker_above(self, pid):
        """The name of the worker that a process runs under."""
        above, pids = parents(), {self.running[name].pid: name for name in self.workers
                                  if name in self.running}
        while pid in above:
            if pid in pids:
                return pids[pid]
            pid = above[pid]
        return None

    def memory(self):
        """PSS by service, with all that runs below it."""
        above = parents()
        return {name: sum(map(pss_bytes, descendants(process.pid, above)))
                for name, process in self.running.items()}

    def dead(self):
        """The services that ended by themselves."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def tail(self, name):
        return (self.folder / "log" / name).read_text(errors="replace")[-1500:]

    def stop(self):
        """End all that was started, whatever it has become a child of."""
        number = signal.SIGTERM
        for _ in range(100):
            left = descendants(os.getpid())[1:]
            if not left:
                break
            kill(left, number)
            time.sleep(0.1)
            number = signal.SIGKILL
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        self.running.clear()

    def is_healthy(self):
        try:
            return self.api.get("monitor/health")["metadatabase"]["status"] == "healthy"
        except (sc.ConductorError, KeyError):
            return False

    def trigger(self, task):
        """Run a task by hand."""
        self.api.ask("/api/v2/dags/%s/dagRuns" % task, {"logical_date": None})

    def task_instances(self):
        return list(self.api.pages("dags/~/dagRuns/~/taskInstances", "task_instances",
                                   task_id=engine.TASK_ID, order_by="id"))
