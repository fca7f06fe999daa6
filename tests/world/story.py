"""Stories: what a box is, and what happens to it. A seed tells one; a failing one is shrunk."""

import random

from .times import DAY, HOUR, MINUTE

FIRST_DAY = 1735689600  # 2025-01-01
ZONES = ("UTC", "Europe/Paris", "America/New_York")

# Kinds of boxes: how often tasks are due, and how many days a life has.
# A crowded one has commands whose children are other users', and supervisors that are killed; on a
# worn one, the disk and its files suffer.
KINDS = {
    "crowded": {"days": (1, 2), "faults_a_day": 40.0},
    "busy": {"days": (1, 2), "faults_a_day": 14.0},
    "daily": {"days": (8, 25), "faults_a_day": 1.5},
    "worn": {"days": (8, 25), "faults_a_day": 4.0},
    "slow": {"days": (5000, 10000), "faults_a_day": 0.012},
}


def schedule_of(rng, kind):
    """A schedule that such a box may have."""
    minute, hour = rng.randrange(60), rng.choice((0, 1, 2, 2, 3, 3, 4, 6, 12, 23))
    if kind in ("busy", "crowded"):
        return rng.choice((
            "*/%d * * * *" % rng.choice((10, 20, 30)), "%d * * * *" % minute,
            "%d-59/%d * * * *" % (minute % 10, rng.choice((17, 25))), "%d */2 * * *" % minute,
            "%d %d * * *" % (minute, hour), "*/20 %d-%d * * *" % (hour % 12, hour % 12 + 6)))
    if kind in ("daily", "worn"):
        return rng.choice((
            "%d %d * * *" % (minute, hour), "%d %d * * *" % (minute % 3 * 15, hour),
            "%d %d,%d * * *" % (minute, hour % 12, hour % 12 + 9), "%d %d * * 1-5" % (minute, hour),
            "%d */6 * * *" % minute, "30 2 * * *", "%d 2 * * 0" % minute))
    return rng.choice((
        "%d %d 1 1 *" % (minute % 3 * 20, hour), "0 %d 1 4 *" % hour, "30 2 1 1,7 *",
        "0 3 15 6 *", "0 4 31 1 *", "%d %d 29 2 *" % (minute, hour), "30 2 30 3 *", "15 1 1 7 *",
        "30 1 31 10 *", "0 0 13 1 5" if rng.random() < 0.2 else "0 5 1 10 *",
        "%d %d 1 4 *" % (minute, hour)))


def tell(seed, kind=None):
    """The story of a seed."""
    rng = random.Random("story %s" % seed)
    kind = kind or rng.choice(("busy", "busy", "daily", "slow"))
    shape = KINDS[kind]
    days = rng.randrange(*shape["days"])
    start = FIRST_DAY + rng.randrange(3 * 365) * DAY + rng.randrange(DAY // MINUTE) * MINUTE
    tasks = [task_of(rng, kind, number) for number in range(20)]
    connect(rng, tasks)
    settings = {
        "timezone": rng.choice(ZONES), "max_concurrent_tasks": rng.choice((2, 4, 20)),
        "task_history_retention_days": 3650, "enable_notifications": True,
        "notification_webhook": "http://receiver/"}
    story = {"seed": seed, "kind": kind, "start": start, "days": days, "settings": settings,
             "tasks": tasks, "steps": []}
    count = int(days * shape["faults_a_day"] * rng.choice((0.3, 1, 1, 2)))
    story["steps"] = sorted((step_of(rng, kind, days, tasks) for _ in range(count)),
                            key=lambda step: step["at"])
    return story


def task_of(rng, kind, number):
    task = {"name": "t%02d" % number, "command": "work", "schedule": schedule_of(rng, kind),
            "retry_count": rng.choice((0, 0, 1, 2)), "retry_delay": rng.choice((30, 300, 1200)),
            "retry_backoff": rng.choice((1, 1, 2)), "timeout": rng.choice((60, 600, 7200)),
            "kill_grace": rng.choice((1, 10, 30))}
    if rng.random() < 0.3:
        task["timezone"] = rng.choice(ZONES)
    if rng.random() < 0.3:
        task["overlap"] = "queue"
    if rng.random() < 0.2:
        task["start_deadline"] = rng.choice((60, 600, 7200))
    if rng.random() < 0.3:
        task["locks"] = rng.sample(["disk", "db", "net"], rng.choice((1, 1, 2)))
    if rng.random() < 0.15:
        task["schedule"] = [task["schedule"], schedule_of(rng, kind)]
    if rng.random() < 0.15:
        task["condition"] = "condition"
    rare = kind == "slow"             # years of it have to pass quickly
    task["fate"] = {"lasts": rng.choice(((1, 20), (1, 100), (30, 900), (300, 3000))),
                    "fails": rng.choice((0.0, 0.05, 0.1 if rare else 0.3)),
                    "stubborn": rng.choice((0, 0, 0.1 if rare else 0.3)),
                    "children": rng.choice((0, 0, 0.1 if rare else 0.3))}
    if kind == "crowded":
        task["fate"].update(children=0.7, foreign=0.9, leaves=0.1)
    return task


def connect(rng, tasks):
    """Give some tasks dependencies, on earlier ones."""
    for number, task in enumerate(tasks):
        if number and rng.random() < 0.3:
            task["dependencies"] = sorted({
                tasks[rng.randrange(number)]["name"] for _ in range(rng.choice((1, 1, 2)))})


def step_of(rng, kind, days, tasks):
    """Something that happens to a box."""
    near = rng.random() < 0.5 and kind != "busy"
    at = rng.randrange(days * DAY // MINUTE) * MINUTE
    if near:                          # at night, when there is something to disturb
        at = at // DAY * DAY + rng.choice((0, 1, 2, 3)) * HOUR + rng.randrange(HOUR)
    else:
        at += rng.choice((0, 0, 0, 1, 30, 59))
    step = {"at": at, "kind": rng.choice(STEPS_OF.get(kind) or tuple(STEPS))}
    step.update(STEPS[step["kind"]](rng, tasks))
    return step


# The kinds of boxes to which only some things happen.
STEPS_OF = {
    "crowded": ("hide", "kill_supervisor", "kill_supervisor", "kill", "reuse_pid"),
    "worn": ("full", "read_only", "error", "remove_files", "remove_files", "kill_supervisor"),
}


def within(rng):
    """How many calls from now on something happens: at the next of the conductor's processes."""
    return rng.choice((rng.randrange(60), rng.randrange(400), rng.randrange(3000)))


def seconds(rng):
    return rng.choice((1, 5, 30, 90, 300, 1000, 4000, 9000, 40000, 200000))


def pause_words(rng, tasks):
    scope = rng.choice((rng.choice(tasks)["name"], rng.choice(tasks)["name"], "--all"))
    if rng.random() < 0.3:
        return ["resume", scope]
    return ["pause", scope] + rng.choice(([], ["--for", "%ds" % (seconds(rng) + 60)]))


STEPS = {
    "kill": lambda rng, tasks: {"after": within(rng)},
    "error": lambda rng, tasks: {"after": within(rng), "choice": rng.randrange(60)},
    "hold": lambda rng, tasks: {"after": within(rng), "seconds": rng.choice((0.01, 1, 5, 70, 300))},
    "power": lambda rng, tasks: {"after": within(rng), "seconds": seconds(rng)},
    "reboot": lambda rng, tasks: {"seconds": seconds(rng)},
    "suspend": lambda rng, tasks: {"seconds": seconds(rng)},
    "cron_off": lambda rng, tasks: {"seconds": seconds(rng)},
    "burst": lambda rng, tasks: {"count": rng.choice((1, 2, 5))},
    "full": lambda rng, tasks: {"seconds": seconds(rng) % 10000},
    "read_only": lambda rng, tasks: {"seconds": seconds(rng) % 10000},
    "slow": lambda rng, tasks: {"seconds": 1000, "latency": rng.choice((0.05, 1.0, 20.0))},
    "unreadable": lambda rng, tasks: {
        "seconds": seconds(rng) % 5000, "part": rng.choice((
            "conductor_state.json", "status/runs", "status/history", "config", "status/locks",
            "status/heartbeat", "status/spool", "events"))},
    "hide": lambda rng, tasks: {"is_on": rng.random() < 0.6},
    "receiver": lambda rng, tasks: {"seconds": seconds(rng)},
    "kill_supervisor": lambda rng, tasks: {"choice": rng.randrange(20)},
    "kill_command": lambda rng, tasks: {"choice": rng.randrange(20)},
    "clock": lambda rng, tasks: {"seconds": rng.choice((
        1, -1, 40, -40, 3000, -3000, 9000, -9000, 20000, -20000, 100000, -100000))},
    "edit": lambda rng, tasks: {
        "how": rng.choice(("touch", "broken", "partial", "remove", "disable", "enable", "enable",
                           "reschedule")),
        "task": rng.choice(tasks)["name"], "schedule": rng.choice(tasks)["schedule"],
        "seconds": rng.choice((1, 100, 5000))},
    "remove_files": lambda rng, tasks: {"names": rng.choice((
        ["conductor_state.json"], ["conductor_state.json", "conductor_state.json.bak"],
        ["conductor.pid"], ["status/heartbeat"], ["status/last_good_config.json"],
        ["logs/symphony_conductor.log"], ["conductor_state.json", "conductor.pid"],
        ["status/runs"], ["status/locks"], ["status/runs", "status/locks"]))},
    "command": lambda rng, tasks: dict(rng.choice((
        {"words": ["run", "--task", rng.choice(tasks)["name"], "--ignore-dependencies"]},
        {"words": ["run", "--task", rng.choice(tasks)["name"]]},
        {"words": ["run", "--task", rng.choice(tasks)["name"]], "as_root": True},
        {"words": ["tick"], "as_root": True},
        {"words": ["stop", rng.choice(tasks)["name"]]},
        {"words": ["skip", rng.choice(tasks)["name"]]},
        {"words": ["status", "--json"]}, {"words": ["status", "--json"]},
        {"words": ["audit"]}, {"words": ["why", rng.choice(tasks)["name"]]}))),
    "clean_up": lambda rng, tasks: {"how": rng.choice(("remove", "move"))},
    "pause": lambda rng, tasks: {"words": pause_words(rng, tasks)},
    "reuse_pid": lambda rng, tasks: {"choice": rng.randrange(20)},
}
