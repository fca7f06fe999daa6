"""Faults put into the product by hand, each of which the world has to find.

(what it is, the code, the code with the fault, the kind of box to look in)
"""

FAULTS = (
    ("a lost fsync: a file is renamed before its content is on disk",
     "            if durable:\n                os.fsync(fd)\n        except OSError:\n",
     "        except OSError:\n", "daily"),
    ("a start ahead of the commit of its decision",
     "            if decision.changed:\n                self._commit(decision.state, aside)\n"
     "            if config is not None:\n                self._start(config, before, decision, locks)\n",
     "            if config is not None:\n                self._start(config, before, decision, locks)\n"
     "            if decision.changed:\n                self._commit(decision.state, aside)\n", "daily"),
    ("a success for the slot before counts: `<` of the needed slot is a day off",
     "state.satisfied_until is None or state.satisfied_until < needed:",
     "state.satisfied_until is None or state.satisfied_until < needed - DAY:", "daily"),
    ("`<` to `<=` in is_met",
     "state.satisfied_until is None or state.satisfied_until < needed:",
     "state.satisfied_until is None or state.satisfied_until <= needed:", "daily"),
    ("EPERM as gone: a group of another user's processes counts as ended",
     "    except PermissionError:\n        pass  # another user's\n    return True",
     "    except PermissionError:\n        return False\n    return True", "crowded"),
    ("a retry that is not counted",
     "phase=\"retrying\", attempt=cycle.attempt + 1, since=",
     "phase=\"retrying\", attempt=cycle.attempt, since=", "daily"),
    ("a retry that does not wait",
     "lost_starts=0, retry_at=ended_at + wait_s,", "lost_starts=0, retry_at=ended_at,", "daily"),
    ("only the command itself is looked for, and not its tree",
     "    return [process for process in members.values() if not process.is_dead]",
     "    return [process for process in members.values()\n"
     "            if not process.is_dead and process.pid == job.pid]", "crowded"),
    ("a verdict is put on file without a look whether it is there",
     "    missing = [line for line in lines if line.encode(\"ascii\") not in on_file]",
     "    missing = list(lines)", "daily"),
    ("locks that exclude nobody",
     "        if holders.get(lock, task.name) != task.name:\n            return lock\n",
     "        if holders.get(lock, task.name) != task.name:\n            return \"\"\n", "busy"),
    ("one task more than max_concurrent_tasks",
     "    free = config.max_concurrent_tasks\n", "    free = config.max_concurrent_tasks + 1\n",
     "busy"),
    ("a message that is not accepted is dropped",
     "    wait_s = RETRY_SEND_S[min(tries, len(RETRY_SEND_S)) - 1]\n",
     "    store.mark_sent(path)\n    return True\n", "daily"),
    ("a pause that is not heeded",
     "            elif pause is not None:\n                self._suspend(name, \"paused\"",
     "            elif False:\n                self._suspend(name, \"paused\"", "daily"),
    ("a condition that is not asked",
     "\"condition\": None if run.trigger == \"manual\" else task.condition,",
     "\"condition\": None,", "daily"),
    ("a run whose record was removed is taken for never started",
     "        if run.run_id and self._is_alive_without_record(name, run.run_id):\n"
     "            return RunFact(kind=\"held\")\n", "", "worn"),
    ("the end of a run is given up where the disk is full",
     "                supervisor.wait_for_room()  #", "                return False  #", "worn"),
)


def with_fault(source, fault):
    """The product with a fault. Raises ValueError where its code is another by now."""
    what, code, faulty, _ = fault
    if source.count(code) != 1:
        raise ValueError("the code of this fault is not there once: %s" % what)
    return source.replace(code, faulty)
