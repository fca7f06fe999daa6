"""The recorded cases of schedules in tests/vectors, and the times in them."""

import datetime
import json
import pathlib
import time

VECTORS = pathlib.Path(__file__).resolve().parent / "vectors"
EPOCH = datetime.datetime(1970, 1, 1)


def at(text):
    """UTC epoch seconds of '2024-03-31 03:00 +0200', also with T, seconds and a colon in the offset."""
    text = text.replace("T", " ").replace("Z", "+00:00").replace(" +", "+").replace(" -", "-")
    wall, offset = text[:-6], text[-6:]
    if ":" not in offset:
        wall, offset = text[:-5], text[-5:]
    layout = "%Y-%m-%d %H:%M:%S" if wall.count(":") == 2 else "%Y-%m-%d %H:%M"
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    seconds = int((datetime.datetime.strptime(wall, layout) - EPOCH).total_seconds())
    return seconds - (-60 if offset[0] == "-" else 60) * minutes


def utc(slots):
    """Slots in a form that reads well when an assertion fails."""
    return [slot and time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(slot)) for slot in slots]


def recorded(name):
    lines = (VECTORS / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ids_of(cases):
    return ["%d: %s %s" % (number, case["expression"], case["zone"])
            for number, case in enumerate(cases)]


CASES = recorded("cron_next.jsonl")
CASE_IDS = ids_of(CASES)
DEBIAN_CASES = recorded("cron_debian.jsonl")
