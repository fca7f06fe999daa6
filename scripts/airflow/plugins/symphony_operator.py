"""The operator of a task on Airflow: its decision, its command, its verdict."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk.log import mask_secret

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import symphony_slots as slots  # noqa: E402

import symphony_conductor as sc  # noqa: E402

RUNNER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runner.py")
KEY = "symphony"     # in the store of the task's asset: what it remembers
SPARE_TRIES = 10     # beside those of the command: for a lost worker, a store that cannot be read
TROUBLE_WAIT_S = 15  # before such another try, twice that before the one after it
LONGEST_WAIT_S = 300
READ_BYTES = 65536
BY_SCHEDULE = ("scheduled", "asset_triggered")
# Not for commands: they hold the passwords of Airflow's own database and broker.
KEPT_BACK = ("AIRFLOW", "_AIRFLOW", "__AIRFLOW", "CELERY")


def asset_of(name: str) -> Asset:
    """The asset whose events are the successes of a task."""
    return Asset(name="symphony_" + name, uri="symphony://task/" + name)


class AttemptFailed(AirflowException):
    """An attempt that another one follows, after `wait_s` seconds."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class SymphonyRetries(RetryPolicy):
    """When the next try starts: as the decision says, or soon after a trouble of Airflow."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int,
                 context: Any = None) -> RetryDecision:
        wait_s = getattr(exception, "wait_s", None)
        if wait_s is None:
            wait_s = min(LONGEST_WAIT_S, TROUBLE_WAIT_S * 2 ** min(try_number - 1, 10))
        return RetryDecision.retry(delay=timedelta(seconds=wait_s), reason=str(exception))


class Attempt:
    """One attempt of a command, in a process of its own (runner.py)."""

    def __init__(self, root: str, spec: dict[str, Any], secrets: list[str]) -> None:
        self.spec, self.secrets = spec, secrets
        self.order: dict[str, Any] = {"root": root, "scratch": scratch_of(root), "spec": spec}
        self.shown = 0
        self.line = b""  # the beginning of one
        self.is_stopped = False
        self.parent = os.getppid()
        self.child: subprocess.Popen[bytes] | None = None

    def run(self, log: Any) -> dict[str, Any]:
        """The result, once the command and all that came of it has ended."""
        result = self._run_once(log)
        if result is None:
            # The runner was killed, maybe by a stop before it could take one, and the command may
            # live on. The next try may be on another machine: so what is left is ended here.
            self.order["is_over"], self.is_stopped = True, False
            result = self._run_once(log)
            if result is None:
                raise AirflowException(
                    "%s: its runner was killed, and so was the next one, which was to end what is"
                    " left: processes of it may be left on this machine" % self.spec["task"])
        return result

    def _run_once(self, log: Any) -> dict[str, Any] | None:
        """What a runner says at its end; None if it was killed."""
        result_fd, write_fd = os.pipe()
        env = {name: value for name, value in os.environ.items()
               if not name.startswith(KEPT_BACK)}
        # A session of its own: Airflow kills the group of this process five seconds after a TERM,
        # which is less than a command may need.
        self.child = subprocess.Popen(
            [sys.executable, "-I", RUNNER, "--result=%d" % write_fd], env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(write_fd,),
            start_new_session=True)
        os.close(write_fd)
        if self.is_stopped:
            self.stop()  # it came while there was nobody to tell yet
        assert self.child.stdin is not None and self.child.stdout is not None
        with suppress(BrokenPipeError):  # where it ended already
            self.child.stdin.write(json.dumps(self.order).encode() + b"\n")
            self.child.stdin.flush()
        answer = self._watch(result_fd, log)
        self.child.wait()
        with suppress(BrokenPipeError):
            self.child.stdin.close()
        self.child.stdout.close()
        try:
            result: dict[str, Any] = json.loads(answer)
        except ValueError:
            return None
        return result

    def stop(self) -> None:
        """Have the command ended: TERM, the grace, KILL."""
        self.is_stopped = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)

    def _watch(self, result_fd: int, log: Any) -> bytes:
        """Show the output in the task's log until the runner ends; what it says at the end."""
        assert self.child is not None and self.child.stdout is not None
        output, answer = self.child.stdout.fileno(), b""
        open_fds = {output, result_fd}
        while result_fd in open_fds:
            ready, _, _ = select.select(list(open_fds), [], [], 1.0)
            if os.getppid() != self.parent:
                self.stop()  # Airflow's supervisor was killed: nobody watches this task any more
            for fd in ready:
                data = os.read(fd, READ_BYTES)
                if not data:
                    open_fds.discard(fd)
                elif fd == result_fd:
                    answer += data
                else:
                    self._take(data, log)
        while output in open_fds and select.select([output], [], [], 0.0)[0]:
            data = os.read(output, READ_BYTES)
            if not data:
                break
            self._take(data, log)
        self._take(b"\n" if self.line else b"", log)
        os.close(result_fd)
        return answer

    def _take(self, data: bytes, log: Any) -> None:
        """Show the lines of this piece of output; one that has no end is shown in pieces."""
        *lines, self.line = (self.line + data).split(b"\n")
        if len(self.line) > READ_BYTES:
            lines, self.line = [*lines, self.line], b""
        limit = self.spec["max_output_bytes"]
        for line in lines:
            if self.shown > limit:
                continue
            self.shown += len(line) + 1
            if self.shown > limit:
                log.warning("the rest of the output is left out: max_output_bytes is %d", limit)
            else:
                log.info("%s", self._without_secrets(line.decode("utf-8", "replace")))

    def _without_secrets(self, text: str) -> str:
        for value in self.secrets:
            text = text.replace(value, "***")
        return text


def scratch_of(root: str) -> str:
    """The folder on this machine for the records and logs of runs."""
    home = os.environ.get("AIRFLOW_HOME") or os.path.expanduser("~/airflow")
    folder = os.environ.get("SYMPHONY_SCRATCH") or os.path.join(home, "symphony")
    return os.path.join(os.path.abspath(folder), "%08x" % sc.stable_hash(root))


def id_on_worker(name: str, run: sc.Run) -> str:
    """The id of an attempt on the machine that runs it: no two of them have the same."""
    return "%s-%s" % (run.run_id, name)


def result_here(root: str, name: str, run: sc.Run | None) -> dict[str, Any] | None:
    """How an open attempt ended, where this machine ran it; None where that is not known.

    A try that could not tell Airflow so has left it here: what has succeeded does not run again.
    """
    if run is None:
        return None
    try:
        record: Any = sc.Store(scratch_of(root)).read_run(name) or {}
    except sc.ConductorError:
        return None
    if record.get("run_id") != id_on_worker(name, run):
        return None
    result: dict[str, Any] | None = record.get("result")
    return result


class SymphonyOperator(BaseOperator):
    """Decides which slot of a task is open, runs the command for it, and keeps the verdict."""

    template_fields = ()
    ui_color = "#e8f0ff"

    def __init__(self, *, root: str, task_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.task_name = task_name
        self._attempt: Attempt | None = None
        self._is_stopped = False

    # -- what Airflow calls

    def execute(self, context: Any) -> None:
        config = slots.read_config(self.root)
        task = config.tasks.get(self.task_name)
        if task is None and self.task_name in config.invalid:  # another try may find it mended
            raise AirflowException("%s: %s" % (self.task_name, config.invalid[self.task_name]))
        if task is None:
            raise AirflowFailException("%s: not a task of %s: it was removed" % (
                self.task_name, self.root))
        run = context["dag_run"]
        memory = self._remembered(context, self.task_name) or slots.Memory()
        others = {name: self._remembered(context, name)
                  for name in slots.needed_tasks(config, task.name)}
        # Whether a person had this run run again since it was last looked at.
        clears = run.clear_number or 0
        is_cleared = clears > (memory.clears if memory.holder == run.run_id else 0)
        look = slots.Look(config, task.name, memory, others, run.run_id, clears)
        if memory.ended.get("run") == run.run_id and not is_cleared:
            look.rows = memory.ended["rows"]  # the try that ended it could not tell Airflow
            self._leave(context, look, memory.ended["status"], memory.ended["reason"])
            return
        result = None
        if memory.holder == run.run_id and not is_cleared:
            result = result_here(self.root, task.name, memory.state.run)
        if result is not None:
            look.run = memory.state.run
            self._conclude(context, look, result)
        elif self._begin(context, look, is_cleared):
            self._keep(context, look)  # on record before it runs: no slot starts twice
            self._carry_out(context, look)
        else:
            self._looked(context, look)

    def on_kill(self) -> None:
        self._is_stopped = True
        if self._attempt is not None:
            self._attempt.stop()

    # -- the steps

    def _begin(self, context: Any, look: slots.Look, is_cleared: bool) -> bool:
        """Whether the command is to start."""
        run, now = context["dag_run"], time.time()
        is_same_run = look.memory.holder == run.run_id and look.memory.is_open
        if run.run_type in BY_SCHEDULE and not is_cleared:
            opened_at = min((run.start_date or run.run_after).timestamp(), now)
            return look.look(now, opened_at, slots.taken_over_at(), is_same_run) is not None
        if is_same_run and not is_cleared:
            look.give_up(now)  # a run by hand has one attempt
            return False
        if is_cleared and look.memory.ended.get("run") == run.run_id:
            look.rows += look.memory.ended["rows"]  # Airflow drops those of the try before
        look.begin_by_hand(now, slots.taken_over_at(), slot_of(run, look.task))
        return True

    def _looked(self, context: Any, look: slots.Look) -> None:
        """End a run that starts no command."""
        if look.rows and sc.is_failure(look.rows[-1]["status"]):
            self._finish(context, look, look.rows[-1]["status"], str(look.rows[-1]["reason"]))
            return
        standing = look.standing(time.time())
        self._finish(context, look, slots.WAITING, standing["reason"], standing)

    def _carry_out(self, context: Any, look: slots.Look) -> None:
        """Run the command, and record what became of it."""
        assert look.run is not None
        result = self._result_of(look)
        if result.get("is_untried"):
            # Nothing was started, for a lock or a full disk of this machine. It is no failure of
            # the task: as if nobody had looked.
            self._shelf(context, look.name).set(KEY, look.memory.document())
            raise AirflowException(result["reason"])
        self._conclude(context, look, result)

    def _conclude(self, context: Any, look: slots.Look, result: dict[str, Any]) -> None:
        """Record how the attempt ended, and end as that asks for."""
        assert look.run is not None
        result = slots.storable(result)
        wait_s = look.end(result, time.time())
        if wait_s is not None and not look.is_handed_on:
            self._keep(context, look)
            raise AttemptFailed("attempt %d: %s; the next one follows in %s" % (
                look.run.attempt, words_of(result), sc.duration_text(wait_s)), wait_s)
        if look.is_handed_on:
            standing = look.standing(time.time())
            self._finish(context, look, slots.WAITING, standing["reason"], standing)
            return
        self._finish(context, look, result["status"], words_of(result))

    def _result_of(self, look: slots.Look) -> dict[str, Any]:
        assert look.run is not None
        spec = sc.spec_of(look.config, look.task, look.run)
        spec["run_id"] = id_on_worker(look.name, look.run)
        self._attempt = Attempt(self.root, dict(spec), self._secrets(look))
        if self._is_stopped:
            return lost("stopped before the command was started")
        self.log.info("%s: attempt %d of %d, slot %s, %s", look.name, look.run.attempt,
                      look.task.retry_count + 1, sc.iso(look.run.slot), look.run.trigger)
        return self._attempt.run(self.log)

    def _finish(self, context: Any, look: slots.Look, status: str, reason: str,
                standing: dict[str, Any] | None = None) -> None:
        """Keep what was decided, publish the verdicts, and end as Airflow has it."""
        look.ended = {"run": look.holder, "status": status, "reason": reason, "rows": look.rows}
        self._keep(context, look)
        self._publish(context, look, standing)
        self._leave(context, look, status, reason)

    def _publish(self, context: Any, look: slots.Look, standing: dict[str, Any] | None) -> None:
        rows = look.rows + ([standing] if standing else [])
        context["ti"].xcom_push(key="verdict", value=rows[0] if len(rows) == 1 else rows)
        if look.rows:
            look.rows = []
            self._keep(context, look)

    def _leave(self, context: Any, look: slots.Look, status: str, reason: str) -> None:
        if look.rows:
            self._publish(context, look, None)
        if status == "success":
            context["outlet_events"][asset_of(look.name)].extra = look.success()
            return
        if sc.is_failure(status) and status != slots.WAITING:
            raise AirflowFailException("%s: %s" % (status, reason))
        raise AirflowSkipException("%s: %s" % (status, reason))

    # -- what is kept in Airflow

    def _shelf(self, context: Any, name: str) -> Any:
        """Where Airflow keeps what a task remembers."""
        return context["asset_state_store"][asset_of(name)]

    def _remembered(self, context: Any, name: str) -> slots.Memory | None:
        """What a task remembers; None if it was never looked at."""
        document = self._shelf(context, name).get(KEY)
        if document is None:
            return None
        return slots.memory_of(document, "what '%s' remembers" % name)

    def _keep(self, context: Any, look: slots.Look) -> None:
        self._shelf(context, look.name).set(KEY, look.remembered().document())

    def _secrets(self, look: slots.Look) -> list[str]:
        """The values of env_file: more people see the log here than the files of a machine."""
        values: list[str] = []
        try:
            store = sc.Store(self.root)
            for paths in (look.config.env_file, look.task.env_file):
                values += store.variables(paths).values()
        except sc.ConductorError:
            pass  # the runner says what is wrong with the file
        for value in values:
            mask_secret(value)  # in what Airflow itself logs, such as an exception
        lines = [line.strip() for value in values for line in value.splitlines()]
        return sorted((line for line in lines if len(line) >= sc.LEAST_SECRET),
                      key=len, reverse=True)


def slot_of(run: Any, task: sc.Task) -> int | None:
    """The slot that a backfill is for, or a run that a person has cleared; None for any other."""
    if run.run_type not in ("backfill", "scheduled") or run.logical_date is None:
        return None
    slot = int(run.logical_date.timestamp())
    if sc.slot_until(task, slot) != slot:
        return None  # the window opened then
    return slot


def lost(reason: str) -> dict[str, Any]:
    """The result of an attempt whose end nobody saw."""
    return {"status": "interrupted", "exit_code": None, "ended_at": round(time.time(), 3),
            "output_tail": "", "output_bytes": 0, "reason": reason}


def words_of(result: dict[str, Any]) -> str:
    """A result in words."""
    text = sc.outcome_text(result)  # type: ignore[arg-type]  # it has the fields that are asked
    return "%s: %s" % (text, result["reason"]) if result.get("reason") else text
