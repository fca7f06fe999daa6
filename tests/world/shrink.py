"""Makes a story that breaks a promise as short as it still breaks it."""

import time

from .box import Box
from .oracle import Broken
from .times import DAY


def verdict_of(story, source=None, tell=None):
    """(promise, text, box) of the promise that a story breaks; of an error, its kind; or None."""
    box = Box(story, source, tell)
    try:
        box.live()
        return None, "", box
    except Broken as broken:
        return broken.promise, str(broken), box
    except RecursionError:
        raise
    except Exception as trouble:  # the world itself, or what it stands on
        return type(trouble).__name__, "%s: %s" % (type(trouble).__name__, trouble), box


def shrink(story, promise, source=None, seconds=120.0):
    """The shortest story found in that time which breaks the same promise."""
    deadline = time.monotonic() + seconds

    def breaks(candidate):
        return time.monotonic() < deadline and verdict_of(candidate, source)[0] == promise

    story = _cut_short(story, promise, source, breaks)
    size = max(1, len(story["steps"]) // 2)
    while size and time.monotonic() < deadline:
        story = _without_some(story, "steps", size, breaks)
        size = size // 2 if size > 1 else 0
    size = 8
    while size and time.monotonic() < deadline:
        story = _without_some(story, "tasks", size, breaks)
        size //= 2
    for number, task in enumerate(story["tasks"]):
        for key in sorted(set(task) - {"name", "command", "schedule", "fate"}):
            plain = {name: value for name, value in task.items() if name != key}
            tasks = story["tasks"][:number] + [plain] + story["tasks"][number + 1:]
            if breaks(dict(story, tasks=tasks)):
                story, task = dict(story, tasks=tasks), plain
    return _without_some(story, "steps", 1, breaks)


def _cut_short(story, promise, source, breaks):
    """The story up to the day on which the promise is broken."""
    _, _, box = verdict_of(story, source)
    days = int((box.kernel.stamp - story["start"]) // DAY) + 1
    for shorter in (dict(story, days=days), dict(story, days=days, peace_days=1)):
        if shorter["days"] < story["days"] and breaks(shorter):
            story = shorter
    steps = [step for step in story["steps"] if step["at"] <= story["days"] * DAY]
    return dict(story, steps=steps)


def _without_some(story, part, size, breaks):
    """The story without any `size` neighbours of its steps or tasks that it can do without."""
    at = 0
    while at < len(story[part]) and len(story[part]) > (part == "tasks"):
        candidate = dict(story, **{part: story[part][:at] + story[part][at + size:]})
        if part == "tasks":
            candidate["tasks"] = _without_dangling(candidate["tasks"])
        if candidate[part] and breaks(candidate) or part == "steps" and breaks(candidate):
            story = candidate
        else:
            at += size
    return story


def _without_dangling(tasks):
    """The tasks without dependencies on those that are gone."""
    names = {task["name"] for task in tasks}
    tasks = [dict(task) for task in tasks]
    for task in tasks:
        kept = [name for name in task.get("dependencies", ()) if name in names]
        task.pop("dependencies", None)
        if kept:
            task["dependencies"] = kept
    return tasks
