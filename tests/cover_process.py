"""Measures the branches of one process; the virtual environment of `tests/run --coverage` starts it.

The C tracer of coverage.py without the rest of it, which takes longer to import than a tick takes:
7 ms instead of 80 for a process, and no threading module where the product has none. It notes the
same arcs; cover.py hands them to coverage.py.
"""

import _thread
import atexit
import os
import posix

_originals = {}  # name of a file: the paths and sizes of the originals that have it
_data = {}
_tracers = []
_cache = {}


def _disposition(original, _frame):
    """Whether a file is measured: one of the product, or a copy of it, as tests make them."""
    found = _tracer_module.CFileDisposition()
    found.original_filename = found.canonical_filename = original
    found.source_filename = found.file_tracer = None
    found.has_dynamic_filename = found.trace = False
    found.reason = ""
    for path, size in _originals.get(original[original.rfind("/") + 1:], ()):
        if original == path or _size(original) == size:
            found.trace = True
            found.source_filename = path
            break
    return found


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _trace():
    """Trace the calling thread."""
    tracer = _tracer_module.CTracer()
    tracer.data = _data
    tracer.trace_arcs = True
    tracer.lock_data = tracer.unlock_data = lambda: None
    tracer.should_trace = _disposition
    tracer.should_trace_cache = _cache
    tracer.warn = tracer.concur_id_func = tracer.should_start_context = None
    tracer.switch_context = tracer.disable_plugin = tracer.check_include = None
    tracer.file_tracers = {}
    tracer.start()
    _tracers.append(tracer)


def _traced(function):
    def run(*args, **kwargs):
        _trace()
        return function(*args, **kwargs)
    return run


def _save():
    """Append what was seen to the file that all processes share, in one write(2)."""
    lines = []
    for path, arcs in _data.items():
        seen = arcs.copy()
        if seen:
            lines.append("%s %s" % (path, " ".join(map(str, seen))))
            arcs.difference_update(seen)  # the set itself stays: frames that run add to it
    if not lines:
        return
    try:
        fd = posix.open(_OUTPUT, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # in a chroot, or with no descriptor left
        return
    try:
        posix.write(fd, ("\n%s\n" % "\n".join(lines)).encode())
    except OSError:
        pass
    posix.close(fd)


def _forget():
    for arcs in _data.values():
        arcs.clear()


def _saved_first(function):
    def call(*args, **kwargs):
        _save()
        return function(*args, **kwargs)
    return call


def start(tracer_file, output, measured):
    """Begin. The arguments: the tracer's shared object, where to append, the original files."""
    global _tracer_module, _OUTPUT
    if _tracers:  # site reads the .pth files of a virtual environment twice
        return
    import _imp
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    spec = ModuleSpec("coverage.tracer", ExtensionFileLoader("coverage.tracer", tracer_file),
                      origin=tracer_file)
    _tracer_module = _imp.create_dynamic(spec)
    _imp.exec_dynamic(_tracer_module)
    _OUTPUT = output
    for path in measured:
        name = path[path.rfind("/") + 1:]
        _originals.setdefault(name, []).append((path, _size(path)))
    atexit.register(_save)
    os.register_at_fork(after_in_child=_forget)
    for name in ("_exit", "execv", "execve"):
        patched = _saved_first(getattr(posix, name))
        setattr(posix, name, patched)
        setattr(os, name, patched)
    for name in ("start_new_thread", "start_joinable_thread"):
        begin = getattr(_thread, name, None)
        if begin:
            setattr(_thread, name, _in_new_thread(begin))
    _trace()


def _in_new_thread(begin):
    def call(function, *args, **kwargs):
        return begin(_traced(function), *args, **kwargs)
    return call
