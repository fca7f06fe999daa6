"""Runs one attempt of a task in a process of its own, as the conductor does.

The operator starts it, and passes on standard input one line of JSON: `root` (the project),
`scratch` (a folder of this machine), `spec` (what the core's `spec_of` says) and maybe `is_over`:
to start nothing, only to end what an earlier runner left behind. Standard output is that of the
command; the result is one line of JSON on the descriptor in `--result=FD`. When standard input
ends, whoever started it is gone, and it ends the command: TERM, the grace, KILL.
"""

import json
import os
import signal
import sys
import threading
import time
from typing import Any, Dict, Optional

sys.path.append(os.environ.get("SYMPHONY_HOME") or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__)))))

import symphony_conductor as sc  # noqa: E402

ORDER_BYTES = 16 << 20
LOCK_WAIT_S = 5.0
LOST = "its runner was killed; exit status unknown"


class ScratchStore(sc.Store):
    """A project whose runs are kept elsewhere: on a worker, its own folder may be read-only."""

    def __init__(self, root: str, scratch: str) -> None:
        self.scratch = scratch
        super().__init__(root)

    def path(self, name: str) -> str:
        if name.startswith(("status/", "logs/")):
            return os.path.join(self.scratch, name)
        return super().path(name)


def read_order() -> "Dict[str, Any]":
    """The line on standard input; what follows it is awaited by `end_with`."""
    data = b""
    while not data.endswith(b"\n") and len(data) < ORDER_BYTES:
        part = os.read(0, 65536)
        if not part:
            break
        data += part
    order = json.loads(data.decode())
    if not isinstance(order, dict):
        raise ValueError("the order is not a JSON object")
    return order


def end_with(fd: int) -> None:
    """Ask this process to end once `fd` does: its other end is held by whoever started it."""
    def wait() -> None:
        try:
            while os.read(fd, 4096):
                pass
        except OSError:
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def left_behind(store: "sc.Store", name: str) -> "Optional[sc.RunRecord]":
    """The record of an earlier attempt whose command may still be alive here, or None.

    What its launcher started elsewhere may be alive whatever is seen here, also after a reboot,
    until its cancel_command has run. Raises ConductorError where it cannot be told.
    """
    record = store.read_run(name)
    if not record or record.get("result") or not record.get("boot_id"):
        return None
    if record.get("launcher") and record.get("cancel_command"):
        return record
    if record["boot_id"] != sc.current_boot_id():
        return None
    with sc.doing("read", "the process table"):
        table = sc.process_table()
    if table is None:
        raise sc.StorageError("cannot read the process table: whether the last run of %s "
                              "has ended cannot be told" % name)
    return record if sc.processes_of_run(record, store.root, table) else None


def attempt(order: "Dict[str, Any]", echo_fd: int) -> "sc.Result":
    """Run the attempt to its end. Raises ConductorError where this machine cannot begin it."""
    spec = order["spec"]
    store = ScratchStore(order["root"], order["scratch"])
    sc.make_folder(store.path("status/locks"))
    lock = store.task_lock(spec["task"])
    if not lock.acquire(LOCK_WAIT_S):
        raise sc.BusyError("%s: another run of it is going on on this machine" % spec["task"])
    earlier, trouble = left_behind(store, spec["task"]), ""
    if earlier is not None:
        # Its cancel_command needs the variables of the task, which no record has.
        trouble = end_earlier(store, {**earlier, "env": spec["env"]})
    if order.get("is_over"):
        return interrupted(LOST, trouble)
    if trouble:
        raise sc.ConductorError("%s: its last run may still go on: %s" % (spec["task"], trouble))
    supervisor = sc.Supervisor(store, sc.Clock(), spec, echo_fd)
    try:
        result = supervisor.run()
    except sc.StorageError as error:
        # It was to end a second time while its cancel_command fails. Without a result on record,
        # the next attempt on this machine runs that again.
        return interrupted("its runner was ended", sc.error_text(error))
    try:
        store.write_run(spec["task"], {**supervisor.record, "result": result})
    except sc.StorageError:
        pass  # it has run: to say that it was not started would start it again
    supervisor.close()
    lock.release()
    if supervisor.echo is not None:
        supervisor.echo.finish()  # the result comes after all of the output
    return result


def interrupted(reason: str, trouble: str) -> "sc.Result":
    """The result of a run whose end nobody saw; with `trouble`, it may still go on."""
    result = {"status": "interrupted", "exit_code": None, "ended_at": round(time.time(), 3),
              "output_tail": "", "output_bytes": 0, "reason": reason}  # type: sc.Result
    if trouble:
        result["abandoned"] = True  # so no retry follows
        result["reason"] = "%s; what it started may still run (%s)" % (reason, trouble)
    return result


def end_earlier(store: "sc.Store", record: "sc.RunRecord") -> str:
    """End what an attempt left behind whose runner was killed: no second copy starts beside it.

    '' once it has ended, or why it may still go on elsewhere.
    """
    name = record["task"]
    store.request_stop(name, record["run_id"], "its runner was killed, and the next attempt is due")
    supervisor = sc.Supervisor(store, sc.Clock(), record)
    try:
        result = supervisor.adopt()
    except sc.StorageError as error:  # as in `attempt`
        return sc.error_text(error)
    store.write_run(name, {**supervisor.record, "result": result})
    supervisor.close()
    if result.get("abandoned"):
        return str(result.get("reason"))
    return ""


def main() -> int:
    result_fd = int(sys.argv[1].partition("=")[2])
    # A command that had it too would hide the end of this process from whoever reads it.
    os.set_inheritable(result_fd, False)
    order = read_order()
    end_with(0)
    try:
        result = attempt(order, 1)  # type: Any
    except sc.ConductorError as error:
        result = refused(order, error)
    os.write(result_fd, (json.dumps(result) + "\n").encode())
    return 0


def refused(order: "Dict[str, Any]", error: "sc.ConductorError") -> "Dict[str, Any]":
    """The result where nothing could be started, or what is to end could not be looked at."""
    text = sc.error_text(error)
    if order.get("is_over"):
        return dict(interrupted(LOST, text))
    return {"status": "failed", "exit_code": error.exit_code, "ended_at": round(time.time(), 3),
            "duration_s": 0.0, "output_tail": "", "output_bytes": 0,
            "reason": "not started: %s" % text, "is_untried": True}


if __name__ == "__main__":
    sys.exit(main())
