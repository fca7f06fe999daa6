"""What the tests that look into a running program share: strace, put on it at one moment and not before."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

STRACE = shutil.which("strace")
# Where a program waits for strace to look on: to watch Python start would take ten times as long as all else.
PAUSE = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)\n"
if os.path.exists("/proc/sys/kernel/yama/ptrace_scope"):  # some systems let parents alone look on, unless they are told
    PAUSE = "import ctypes; ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)\n" + PAUSE


def look_on(options, pid):
    """Put strace on a program that stands still at PAUSE, and let the program go on; strace's process."""
    tracer = subprocess.Popen([STRACE] + options + ["-p", str(pid)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = pathlib.Path("/proc/%d/stat" % pid)
    while tracer.poll() is None and ") t " not in status.read_text():
        time.sleep(0.001)
    os.kill(pid, signal.SIGCONT)
    return tracer


def looked_on(options, command, **more):
    """Run a program that begins with PAUSE, and let strace look on from there; its exit code."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, **more)
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    tracer = look_on(["-qq"] + options, program.pid)
    code = program.wait()
    tracer.wait()
    return code


def calls_in(text):
    """(system call, how many-eth of its kind, the line) for each call of one process that strace wrote down."""
    calls, seen = [], {}
    for line in text.splitlines():
        match = re.match(r"(\w+)\(", line)
        if match:
            name = match.group(1)
            seen[name] = seen.get(name, 0) + 1
            calls.append((name, seen[name], line))
    return calls


def was_killed(point, command, **more):
    """Kill a program at the point, if it gets there; whether it did."""
    return looked_on(["-o", os.devnull, "-e", "trace=" + point[0], "-e", "inject=%s:signal=KILL:when=%d" % point],
                     command, **more) == -signal.SIGKILL


def strace_works():
    """Whether strace is here, may look on, and can interfere."""
    return bool(STRACE) and was_killed(("write", 2), [sys.executable, "-I", "-S", "-c", PAUSE + "\n".join(
        ["import time", "os.write(1, b'x')"] * 2)])
