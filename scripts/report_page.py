"""The page of a report: its document and its timeline to one HTML file that needs nothing else.

No script, font or picture comes from anywhere, and the page's own policy forbids whatever a forgotten escape could ask
for. What came from data goes through `h`. What colour says, a shape or a word says as well.
"""

import base64
import hashlib
import html
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from cleanup_report import plain
from common import plural, sc, size_text

ROW_MARKS = 400    # more on one row than a screen has room for are put together
PAGE_MARKS = 6000  # on the whole page: 50 tasks over 30 days stay under 1 MiB
LEAST_MARKS = 24   # however many tasks there are
ROWS_SHOWN = 50    # of a table that is about single cases
PATHS_SHOWN = 8    # of one clean-up
LABELS = 9         # on the axis, at most
WIDTH = 1000.0     # of the time axis, in units of the drawing
LEAST_WIDTH = 2.0  # of a bar: about two pixels on a desktop

# Lengths that people count in: buckets of runs, and steps of the axis.
STEPS_S = tuple([minutes * sc.MINUTE for minutes in (1, 2, 5, 10, 15, 30)]
                + [hours * sc.HOUR for hours in (1, 2, 3, 4, 6, 8, 12)]
                + [days * sc.DAY for days in (1, 2, 5, 7, 14, 30, 60, 120, 365)])


class Kind(NamedTuple):
    """How a verdict is drawn: its class, its word, and the top and height of its bar in a row of 20."""

    letter: str
    word: str
    top: int
    height: int


# From the best to the worst, which is also the order of drawing. Each has a height or a place of its own, so that they
# differ without colour as well; skips have the strip below the runs.
KINDS = {
    "skipped": Kind("k", "skipped", 17, 3),
    "success": Kind("s", "success", 4, 8),
    "running": Kind("r", "running", 4, 8),
    "interrupted": Kind("i", "interrupted", 8, 8),
    "timeout": Kind("t", "timeout", 0, 8),
    "failed": Kind("f", "failed", 0, 16),
}
WHOLE_ROW = Kind("", "no tick", -2, 24)


class Mark(NamedTuple):
    """A run or a skip on the time axis, in epoch seconds; `verdict` is that of its slot, which `run` is a part of."""

    start: float
    end: float
    kind: str
    run: "Dict[str, Any]"
    verdict: "Dict[str, Any]"


def h(text: str) -> str:
    """Text from data as it may stand anywhere in the page, within quotes too."""
    return html.escape(plain(text))


# -- numbers and times as people read them

def length_text(seconds: "float | None") -> str:
    """How long something took: 0.25s, 3.4s, 41s, 5m 20s, 3h 2m."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return "%.3gs" % round(seconds, 2 if seconds < 1 else 1)
    if seconds < sc.MINUTE or seconds >= sc.HOUR:
        return sc.duration_text(seconds)
    minutes, rest = divmod(int(seconds), sc.MINUTE)
    return "%dm %ds" % (minutes, rest) if rest else "%dm" % minutes


def percent_text(share: "float | None") -> str:
    """A share of one as per cent. Only all of it is 100 %, and only nothing is 0 %."""
    if share is None:
        return "-"
    if 0 < share < 1:
        return "%.1f %%" % min(99.9, max(0.1, 100 * share))
    return "%d %%" % (100 * share)


def day_text(at: float) -> str:
    """'Jun 2', in UTC."""
    date = sc.iso(at) or ""
    return "%s %d" % (sc.MONTHS[int(date[5:7]) - 1][:3], int(date[8:10]))


def clock_text(at: float, seconds: bool = False) -> str:
    """'02:00' or '02:00:04', in UTC."""
    return (sc.iso(at) or "")[11:19 if seconds else 16]


def time_tag(text: "str | None") -> str:
    """A stored time, to the minute."""
    if not text:
        return "-"
    return '<time datetime="%s">%s</time>' % (h(text), h(text[:16].replace("T", "\u00a0")))


def trend_text(change: "float | None", differs_s: float) -> "Tuple[str, str]":
    """(class, words) for how durations changed; what nobody would notice is steady."""
    if change is None:
        return "", ""
    if abs(change) < 0.1 or abs(differs_s) < 1:
        return "mute", "\u2192 steady"
    if change > 0:
        return "slow", "\u25b2 %.0f %% slower" % (100 * change)
    return "mute", "\u25bc %.0f %% faster" % (-100 * change)


def number(value: float) -> str:
    """A coordinate with one digit behind the point, and none where it is 0."""
    return ("%.1f" % value).replace(".0", "")


# -- the timeline

class Axis:
    """Where a time lies on the drawing, which is WIDTH units wide."""

    def __init__(self, since: float, until: float) -> None:
        self.since = since
        self.until = max(until, since + 1)
        self.length_s = self.until - since

    def x(self, at: float) -> float:
        return WIDTH * (min(max(at, self.since), self.until) - self.since) / self.length_s

    def bar(self, kind: str, start: float, end: float, gap: float = 0.0) -> str:
        """A path that covers this time, less `gap` units at its right, and never too narrow to see."""
        _, _, top, height = KINDS.get(kind, WHOLE_ROW)
        x = min(self.x(start), WIDTH - LEAST_WIDTH)
        width = max(LEAST_WIDTH, self.x(end) - x - gap)
        return "M%s %dh%sv%dH%sz" % (number(x), top, number(width), height, number(x))

    def labels(self) -> "List[Tuple[float, str]]":
        """(time, text) of what stands on the axis, at most LABELS of them, at even times of UTC."""
        step_s = first_step(self.length_s / LABELS)
        at = self.since - self.since % step_s + step_s
        found = []
        while at < self.until:
            is_day = step_s >= sc.DAY or at % sc.DAY == 0
            found.append((at, day_text(at) if is_day else clock_text(at)))
            at += step_s
        return found


def first_step(least_s: float) -> float:
    """The shortest of the lengths that people count in which is not shorter than this."""
    return next((step for step in STEPS_S if step >= least_s), least_s)


def mark_limit(tasks: int) -> int:
    """How many marks a row may have."""
    return max(LEAST_MARKS, min(ROW_MARKS, PAGE_MARKS // max(tasks, 1)))


def mark_title(mark: Mark) -> str:
    """What the hover tells of one run or skip."""
    slot, run = mark.verdict["slot"], mark.run
    day = "" if slot is None else day_text(slot)
    said = ["slot %s %s" % (day, clock_text(slot))] if day else [] if mark.kind == "skipped" else ["by hand"]
    if mark.kind != "skipped":
        of_day = "" if day == day_text(mark.start) else day_text(mark.start) + " "
        said.append("started %s%s" % (of_day, clock_text(mark.start, True)))
        said.append("%s %s" % ("for" if mark.kind == "running" else "took", length_text(mark.end - mark.start)))
    said.append(run["status"].replace("_", ": "))
    if run["exit_code"] is not None:
        said.append("exit %d" % run["exit_code"])
    if mark.verdict["attempt"] > 1:
        said.append("attempt %d of %d" % (run["attempt"], mark.verdict["attempt"]))
    return ", ".join(said)


def counts_of(marks: "Sequence[Mark]") -> "List[Tuple[str, int]]":
    """How many there are of each kind that there is, the worst first."""
    counts = dict.fromkeys(KINDS, 0)
    for mark in marks:
        counts[mark.kind] += 1
    return [(name, count) for name, count in reversed(list(counts.items())) if count]


def bucket_title(start: float, end: float, marks: "Sequence[Mark]") -> str:
    """What the hover tells of slots that were put together."""
    same_day = start // sc.DAY == (end - 1) // sc.DAY
    until = clock_text(end) if same_day else "%s %s" % (day_text(end), clock_text(end))
    return "%s %s to %s: %s, %s" % (day_text(start), clock_text(start), until, plural(len(marks), "slot"),
                                    counts_text(marks))


def counts_text(marks: "Sequence[Mark]") -> str:
    return ", ".join("%d %s" % (count, KINDS[name].word) for name, count in counts_of(marks))


def row_paths(marks: "Sequence[Mark]", axis: Axis, limit: int) -> "List[Tuple[str, str, str]]":
    """(kind, path, title) of what is drawn on a row: each run and skip or, where those are too many, stretches of time.

    A stretch shows the worst of its verdicts, and whether there are skips; an attempt that a later one made good is no
    verdict.
    """
    if len(marks) <= limit:
        return [(mark.kind, axis.bar(mark.kind, mark.start, mark.end), mark_title(mark)) for mark in marks]
    step_s = first_step(axis.length_s / limit)
    buckets: "Dict[float, List[Mark]]" = {}
    for mark in marks:
        if mark.run is mark.verdict:
            buckets.setdefault(mark.start - mark.start % step_s, []).append(mark)
    drawn = []
    for start, inside in sorted(buckets.items()):
        counts = counts_of(inside)
        title = bucket_title(start, start + step_s, inside)
        drawn += [(kind, axis.bar(kind, start, start + step_s, 1.0), "" if number else title)
                  for number, (kind, _) in enumerate(counts) if not number or kind == "skipped"]
    return drawn


def row_drawing(marks: "Sequence[Mark]", axis: Axis, limit: int) -> str:
    """One row of the timeline as SVG; the elements of one verdict share its class."""
    groups: "Dict[str, List[str]]" = {}
    for kind, path, title in row_paths(marks, axis, limit):
        groups.setdefault(kind, []).append(
            '<path d="%s"><title>%s</title></path>' % (path, h(title)) if title else '<path d="%s"/>' % path)
    return drawing(counts_text(marks) or "nothing", "".join(
        '<g class="%s">%s</g>' % (KINDS[name].letter, "".join(groups[name])) for name in KINDS if name in groups))


def drawing(label: str, inside: str) -> str:
    """A row's SVG, as wide as its cell whatever that is; grid and gaps are drawn once for all rows."""
    return ('<svg viewBox="0 -2 %d 24" preserveAspectRatio="none" role="img" aria-label="%s"><use href="#back"/>%s'
            '</svg>' % (WIDTH, h(label), inside))


def timeline(document: "Dict[str, Any]", rows: "Dict[str, List[Mark]]") -> str:
    """Runs per task over the time of the report."""
    axis = Axis(sc.from_iso(document["since"]) or 0, sc.from_iso(document["at"]) or 0)
    gaps = [(gap, axis.bar("gap", sc.from_iso(gap["since"]) or 0, sc.from_iso(gap["until"]) or 0))
            for gap in document["gaps"]]
    limit = mark_limit(len(rows))
    lines = [timeline_row('<a href="#%s">%s</a>' % (h(task_id(name)), h(name)), row_drawing(marks, axis, limit))
             for name, marks in rows.items()]
    if gaps:
        lines.insert(0, timeline_row("no tick", drawing(plural(len(gaps), "gap"), "".join(
            '<path class="off" d="%s"><title>%s</title></path>' % (path, h(gap_title(gap))) for gap, path in gaps))))
    return ('%s%s<div class="scroll" role="region" aria-labelledby="timeline" tabindex="0"><table class="line"><thead>'
            '<tr><th scope="col">Task</th><th scope="col"><span class="hide">Runs over time, UTC</span>%s</th></tr>'
            '</thead><tbody>%s</tbody></table></div>' % (
                background(axis, [path for _, path in gaps]),
                legend(any(len(marks) > limit for marks in rows.values()), bool(gaps)), axis_drawing(axis),
                "".join(lines)))


def timeline_row(head: str, cell: str) -> str:
    return '<tr><th scope="row">%s</th><td>%s</td></tr>' % (head, cell)


def background(axis: Axis, gaps: "Sequence[str]") -> str:
    """What all rows share, drawn once: the grid, and the times without a tick."""
    grid = "".join("M%s -2v24" % number(axis.x(at)) for at, _ in axis.labels())
    return ('<svg class="defs" aria-hidden="true"><defs><pattern id="hatch" width="6" height="6" '
            'patternUnits="userSpaceOnUse"><path class="hatch" d="M0 6L6 0"/></pattern><g id="back">'
            '<path class="grid" d="%s"/>%s</g></defs></svg>' % (
                grid, "".join('<path class="gap" d="%s"/>' % path for path in gaps)))


def gap_title(gap: "Dict[str, Any]") -> str:
    start = sc.from_iso(gap["since"]) or 0
    return "no tick for %s, from %s %s: %s" % (
        sc.duration_text(gap["length_s"]), day_text(start), clock_text(start), gap["words"])


def axis_drawing(axis: Axis) -> str:
    texts = [(100 * axis.x(at) / WIDTH, text) for at, text in axis.labels()]
    # What stands closer to an end would be cut off there.
    return '<svg class="axis" aria-hidden="true">%s</svg>' % "".join(
        '<text x="%s%%" y="13">%s</text>' % (number(x), h(text)) for x, text in texts if 3 < x < 97)


def legend(is_bucketed: bool, has_gaps: bool) -> str:
    """What the shapes mean."""
    keys = ['<li><svg class="key" viewBox="0 0 12 20" aria-hidden="true"><path class="%s" d="M1 %dh10v%dH1z"/></svg>%s'
            '</li>' % (kind.letter, kind.top, kind.height, kind.word) for kind in reversed(list(KINDS.values()))]
    if has_gaps:
        keys.append('<li><svg class="key" viewBox="0 0 12 20" aria-hidden="true"><path class="gap" d="M0 0h12v20H0z"/>'
                    '</svg>no tick</li>')
    if is_bucketed:
        keys.append("<li>where there are many, a bar stands for several slots and shows the worst verdict</li>")
    return '<ul class="legend">%s</ul>' % "".join(keys)


def task_id(name: str) -> str:
    return "task-" + "".join(char if char.isalnum() else "_%x_" % ord(char) for char in name)


# -- lines

def sparkline(values: "Sequence[float]", label: str, width: int = 96, height: int = 24) -> str:
    """A line from zero up, with a dot on its newest value; nothing for fewer than two values."""
    if len(values) < 2:
        return ""
    top = max(values) or 1.0
    points = [(3 + (width - 6.0) * place / (len(values) - 1), height - 1 - (height - 4.0) * value / top)
              for place, value in enumerate(values)]
    return ('<svg class="spark" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s"><title>%s</title>'
            '<path class="grid" d="M0 %dh%d"/><polyline points="%s"/><circle cx="%s" cy="%s" r="2.2"/></svg>' % (
                width, height, width, height, h(label), h(label), height - 1, width,
                " ".join("%s,%s" % (number(x), number(y)) for x, y in points), number(points[-1][0]),
                number(points[-1][1])))


def area(samples: "Sequence[Dict[str, Any]]", label: str) -> str:
    """Free bytes over time, from zero up, as wide as the page."""
    times = [sc.from_iso(sample["at"]) or 0 for sample in samples]
    axis = Axis(times[0], times[-1])
    top = max(sample["free_bytes"] for sample in samples) or 1.0
    points = [(axis.x(at), 100 - 94 * sample["free_bytes"] / top) for at, sample in zip(times, samples)]
    line = "L".join("%s %s" % (number(x), number(y)) for x, y in points)
    return ('<svg class="area" viewBox="0 0 %d 100" preserveAspectRatio="none" role="img" aria-label="%s"><title>%s'
            '</title><path class="fill" d="M0 100L%sL%d 100z"/><path class="edge" d="M%s"/></svg>' % (
                WIDTH, h(label), h(label), line, WIDTH, line))


# -- tables

NONE = "-"  # in a cell without a value
Cell = str  # HTML that is safe already
Column = Tuple[str, str]  # its heading, its class


def table(caption: str, columns: "Sequence[Column]", rows: "Sequence[Sequence[Cell]]",
          ids: "Sequence[str]" = ()) -> str:
    """A table whose first column names the row.

    On a phone each row is a card, each cell has its heading with it, and those without a value are left out.
    """
    head = "".join('<th scope="col"%s>%s</th>' % (class_of(kind), name) for name, kind in columns)
    body = []
    for place, row in enumerate(rows):
        cells = "".join('<td%s data-l="%s">%s</td>' % (class_of(kind, "none" if cell == NONE else ""), name, cell)
                        for (name, kind), cell in zip(columns[1:], row[1:]))
        body.append('<tr%s><th scope="row">%s</th>%s</tr>' % (' id="%s"' % h(ids[place]) if ids else "", row[0], cells))
    return ('<table class="rows"><caption class="hide">%s</caption><thead><tr>%s</tr></thead><tbody>%s</tbody>'
            '</table>' % (h(caption), head, "".join(body)))


def class_of(*names: str) -> str:
    found = " ".join(name for name in names if name)
    return ' class="%s"' % found if found else ""


def muted(text: str) -> str:
    return '<span class="mute">%s</span>' % text if text else ""


def stacked(*lines: str) -> Cell:
    """What stands in one cell, line below line."""
    found = [line for line in lines if line]
    return "<span>%s</span>" % "<br>".join(found) if found else NONE


def more(total: int, noun: str, many: str = "") -> str:
    hidden = total - ROWS_SHOWN
    return "<p>%s</p>" % muted("and %s more" % plural(hidden, noun, many)) if hidden > 0 else ""


# -- the sections, in the order of the page

def head_section(document: "Dict[str, Any]") -> str:
    """The verdict, with everything that is wrong."""
    healthy = document["healthy"]
    problems = "".join("<li>%s</li>" % h(problem) for problem in document["problems"][:ROWS_SHOWN])
    notes = "".join("<li>%s</li>" % h(note) for note in document["notes"])
    return ('<header><h1>Symphony Conductor</h1><p class="mute">%s on %s, %s to %s UTC</p></header>'
            '<section class="verdict %s" aria-label="Verdict"><p class="say"><span class="sign" aria-hidden="true">%s'
            '</span>%s</p>%s%s</section>%s' % (
                h(document["root"]), h(document["host"]), time_tag(document["since"]), time_tag(document["at"]),
                "good" if healthy else "bad", "\u2713" if healthy else "!",
                h(document["verdict"]).replace(" %", "\u00a0%"),
                "<ul>%s</ul>" % problems if problems else "",
                more(len(document["problems"]), "problem"), '<ul class="mute">%s</ul>' % notes if notes else ""))


def audit_section(document: "Dict[str, Any]") -> str:
    found = document["audit"]
    fates = "".join("<li><b>%s</b> %s</li>" % ("{:,}".format(count), h(sc.FATES.get(fate, fate)))
                    for fate, count in found["fates"].items())
    text = '<p class="sum"><b>%s, %d unexplained</b></p>' % (
        "{:,} slot{}".format(found["slots"], "" if found["slots"] == 1 else "s"), found["unexplained"])
    text += '<ul class="fates">%s</ul>' % fates if fates else ""
    rows = [(h(each["task"]), time_tag(each["scheduled_for"]), h(each["fate"]), h(each["reason"]))
            for each in found["findings"][:ROWS_SHOWN]]
    if rows:
        text += table("Slots that nothing explains", (("Task", ""), ("Slot", ""), ("Fate", ""), ("Why", "wide")), rows)
        text += more(len(found["findings"]), "slot")
    return section("audit", "Audit", "Every slot that was due, held against the history.", text)


def section(name: str, title: str, words: str, text: str) -> str:
    return '<section aria-labelledby="%s"><h2 id="%s">%s</h2>%s%s</section>' % (
        name, name, title, '<p class="mute">%s</p>' % words if words else "", text)


def timeline_section(document: "Dict[str, Any]", rows: "Dict[str, List[Mark]]") -> str:
    if not rows:
        return section("timeline", "Timeline", "", "<p>There is no task, and none in the history.</p>")
    return section("timeline", "Timeline", "One row a task; times are UTC. The pointer on a bar shows what it was.",
                   timeline(document, rows))


TASK_COLUMNS = (("Task", ""), ("Success", "num"), ("Runs", "num"), ("Duration", "num"), ("Queue", "num"),
                ("Dependencies", "num"), ("Skipped", "num"))


def task_row(task: "Dict[str, Any]") -> "Sequence[Cell]":
    state = "" if task["state"] in ("idle", "running") else ' <span class="state">%s</span>' % h(task["state"])
    bad = ["%d\u00a0%s" % (count, h(status)) for status, count in task["verdicts"].items()
           if status != "success" and not status.startswith("skipped")]
    retries = plural(task["retries"], "retry", "retries") if task["retries"] else ""
    waits = task["waits"]
    return (stacked("<b>%s</b>%s" % (h(task["name"]), state), muted(h(task["words"])), muted(h(task["description"]))),
            stacked("<b>%s</b>" % percent_text(task["success_rate"]) if task["ran"] else "",
                    '<span class="wrong">%s</span>' % ", ".join(bad) if bad else ""),
            stacked("{:,}".format(task["runs"]), muted(retries)),
            duration_cell(task["duration"]),
            figures(task["queue"], "caught up" if task["queue"]["longest_caught_up"] else ""),
            figures(waits, "%d gave up" % waits["given_up"] if waits["given_up"] else ""),
            "{:,}".format(task["skipped"]) if task["skipped"] else NONE)


def duration_cell(took: "Dict[str, Any]") -> Cell:
    """The line of durations, their median, and where it is going."""
    if not took["series"]:
        return NONE
    label = "durations from %s to %s" % (length_text(min(took["series"])), length_text(max(took["series"])))
    kind, words = trend_text(took["change"], (took["newer_median_s"] or 0) - (took["older_median_s"] or 0))
    return '<span class="pair">%s%s</span>' % (sparkline(took["series"], label), stacked(
        length_text(took["median_s"]), '<span class="%s">%s</span>' % (kind, words) if words else ""))


def figures(found: "Dict[str, Any]", note: str) -> Cell:
    """Median and longest of a wait."""
    if not found["count"]:
        return note or NONE
    return stacked(length_text(found["median_s"]), muted("longest %s" % length_text(found["longest_s"])) if (
        found["count"] > 1) else "", muted(note))


def tasks_section(document: "Dict[str, Any]") -> str:
    if not document["tasks"]:
        return ""
    tasks = document["tasks"]
    return section("tasks", "Tasks", "Duration: median of the successes, the newer half against the older. Queue: from "
                   "slot to start, median and longest. Dependencies: the same, for runs that had to wait for one.",
                   table("Figures of each task", TASK_COLUMNS, list(map(task_row, tasks)),
                         [task_id(task["name"]) for task in tasks]))


def failures_section(document: "Dict[str, Any]") -> str:
    failures = document["failures"]
    rows = [(h(each["task"]), time_tag(each["scheduled_for"] or each["started_at"]), outcome_cell(each),
             stacked(h(each["reason"]), "<code>%s</code>" % h(each["said"]) if each["said"] else ""))
            for each in failures[:ROWS_SHOWN]]
    columns = (("Task", ""), ("Slot", ""), ("Verdict", ""), ("Why, and the last it printed", "wide"))
    text = table("Slots that did not succeed", columns, rows) + more(len(failures), "slot") if rows else "<p>None.</p>"
    return section("failures", "Failures", "Slots whose last attempt did not succeed, the newest first.", text)


def outcome_cell(failure: "Dict[str, Any]") -> Cell:
    code = "" if failure["exit_code"] is None else ", exit %d" % failure["exit_code"]
    if not failure["attempts"]:
        return h(failure["status"].replace("_", ": "))
    return stacked(h(failure["status"]) + code, muted("%s, took %s" % (
        plural(failure["attempts"], "attempt"), length_text(failure["duration_s"]))))


def gaps_section(document: "Dict[str, Any]") -> str:
    gaps = document["gaps"]
    rows = [(time_tag(gap["since"]), "now" if gap["ongoing"] else time_tag(gap["until"]),
             sc.duration_text(gap["length_s"]), h(gap["words"])) for gap in reversed(gaps[-ROWS_SHOWN:])]
    columns = (("From", ""), ("To", ""), ("Length", "num"), ("Cause", "wide"))
    text = table("Times without a tick", columns, rows) + more(len(gaps), "gap") if rows else "<p>None.</p>"
    return section("gaps", "Times without a tick", "What fell due in them was caught up, by the rules of each task.",
                   text)


def removed_section(document: "Dict[str, Any]") -> str:
    rows = []
    for run in document["removed"][:ROWS_SHOWN]:
        paths = ["<code>%s</code>" % h(path) for path in run["paths"][:PATHS_SHOWN]]
        if len(run["paths"]) > PATHS_SHOWN:
            paths.append(muted("and %d more" % (len(run["paths"]) - PATHS_SHOWN)))
        back = "<code>%s</code>" % h(run["restore"]) if run["restore"] else h(run["gone"])
        rows.append((time_tag(run["at"]), stacked("{:,}".format(run["files"]), muted(
            "%d put back" % run["restored"] if run["restored"] else "")), size_text(run["bytes"]),
            stacked(*paths), stacked(back, muted("until %s" % time_tag(run["purge_after"])) if run["restore"] else "")))
    columns = (("When", ""), ("Files", "num"), ("Size", "num"), ("Which", "wide"), ("To get them back", "wide"))
    text = table("What clean-up removed", columns, rows) + more(len(document["removed"]), "run") if rows else (
        "<p>Nothing.</p>")
    purged = document["purged"]
    if purged["runs"]:
        text += "<p>Deleted for good: %s of %s, %s.</p>" % (
            plural(purged["files"], "file"), plural(purged["runs"], "earlier run"), size_text(purged["bytes"]))
    return section("removed", "Removed by clean-up", "By run, the newest first.", text)


def coming_section(document: "Dict[str, Any]") -> str:
    found = document["next_removals"]
    if found is None:
        return section("coming", "To be removed next", "", "<p>No analysis is on file.</p>")
    text = "<p>%s</p>" % h(found["verdict"])
    rows = [("<code>%s</code>" % h(each["path"]), size_text(each["size"]), h(each["rule"]), h(each["reason"]))
            for each in found["candidates"][:ROWS_SHOWN]]
    if rows:
        columns = (("File", "path"), ("Size", "num"), ("Rule", ""), ("Reason", "wide"))
        text += table("What clean-up will remove next", columns, rows) + more(len(found["candidates"]), "file")
    if found["later"]:
        text += "<p>%s</p>" % muted("%s for the run after that." % plural(found["later"], "more file", "more files"))
    return section("coming", "To be removed next", "By the analysis of %s, %s old." % (
        time_tag(found["at"]), sc.duration_text(found["age_s"])), text)


def disk_section(document: "Dict[str, Any]") -> str:
    found = document["disk"]
    if found["free_bytes"] is None:
        return section("disk", "Disk", "", "<p>The device does not tell.</p>")
    inodes = "" if found["free_inodes"] is None else " and {:,} inodes".format(found["free_inodes"])
    text = '<p class="sum"><b>%s</b> of %s (%s)%s free</p>' % (
        size_text(found["free_bytes"]), size_text(found["total_bytes"]), percent_text(found["free_share"]), inodes)
    series = found["series"]
    if len(series) > 1:
        values = [sample["free_bytes"] for sample in series]
        label = "free space, lowest %s, highest %s" % (size_text(min(values)), size_text(max(values)))
        text += '%s<p class="ends mute"><span>%s</span><span>%s</span><span>%s</span></p>' % (
            area(series, label), time_tag(series[0]["at"][:10]), h(label), time_tag(series[-1]["at"][:10]))
        change = found["change_bytes"]
        text += "<p>%s%s since the first of these days.</p>" % (
            "+" if change >= 0 else "\u2212", size_text(abs(change)))
    else:
        text += "<p>%s</p>" % muted("The series begins with this report; each day adds one figure.")
    return section("disk", "Disk", "", text)


# -- the page

def page(document: "Dict[str, Any]", rows: "Dict[str, List[Mark]]") -> str:
    """The whole page. `rows` are the marks of each task, in the order of the rows."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
    parts = [head_section(document), audit_section(document), timeline_section(document, rows),
             tasks_section(document), failures_section(document), gaps_section(document), removed_section(document),
             coming_section(document), disk_section(document)]
    title = "%s: Symphony Conductor on %s" % ("Healthy" if document["healthy"] else "Not healthy", document["host"])
    return HEAD % (digest, h(title), STYLE) + "\n".join(part for part in parts if part) + FOOT % (
        time_tag(document["at"]))


HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; \
form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>%s</title>
<style>%s</style>
</head>
<body>
<main>
"""

FOOT = """
</main>
<footer class="mute">Made %s UTC from the history, the events and the clean-up's log of this root.</footer>
</body>
</html>
"""

# Colours are for both schemes in one place each; every pair that carries a text has a contrast of 4.5 or more, every
# bar one of 3 or more against its ground (WCAG 2.1, 1.4.3 and 1.4.11).
STYLE = """
:root{--ground:#f6f7f8;--card:#ffffff;--text:#1b2026;--mute:#59626d;--rule:#dde1e6;--grid:#e6e9ed;--gap:#8a939e;
--good:#1d7a48;--goodback:#e8f5ed;--bad:#b3261e;--badback:#fdeceb;
--s:#3d9a68;--f:#c5221f;--t:#b55d00;--i:#7a4fb5;--k:#6b7580;--r:#1a6fc4;--line:#2c6aa8;--fill:#d7e6f5}
@media (prefers-color-scheme:dark){:root{--ground:#121518;--card:#1a1e23;--text:#e5e8eb;--mute:#a2abb5;--rule:#30363d;
--grid:#272d33;--gap:#7d8791;--good:#6fd19b;--goodback:#16291f;--bad:#ff9d94;--badback:#351b1a;
--s:#4cab7a;--f:#ff7166;--t:#f2a449;--i:#c3a0f2;--k:#98a2ad;--r:#69b1ff;--line:#7db8f0;--fill:#22384d}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main,footer{max-width:1200px;margin:0 auto;padding:0 24px}
header{padding:28px 0 16px}
h1{font-size:22px;line-height:1.3;margin:0}
header p{margin:2px 0 0;overflow-wrap:anywhere}
h2{font-size:17px;line-height:1.3;margin:0 0 2px}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:18px 20px;margin:0 0 16px}
section>p{margin:0 0 12px}
section>:last-child{margin-bottom:0}
p,ul{margin-top:0}
a{color:inherit;text-decoration:none}
a:hover,a:focus{text-decoration:underline}
code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;overflow-wrap:anywhere}
.mute{color:var(--mute)}
.hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.verdict{border-left-width:6px}
.verdict.good{border-color:var(--good);background:var(--goodback)}
.verdict.bad{border-color:var(--bad);background:var(--badback)}
.verdict .say{font-size:19px;font-weight:600;line-height:1.35;margin:0}
.good .say{color:var(--good)}
.bad .say{color:var(--bad)}
.sign{display:inline-block;width:1.3em}
.verdict ul{margin:10px 0 0;padding-left:1.5em;overflow-wrap:anywhere}
main>ul.mute{margin:0 0 16px;padding-left:1.5em}
.sum{font-size:16px}
.fates{display:flex;flex-wrap:wrap;gap:2px 20px;list-style:none;margin:0;padding:0}
.fates+table{margin-top:14px}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;margin:0 0 10px;padding:0;font-size:13px;
color:var(--mute)}
.key{width:12px;height:20px;vertical-align:-5px;margin-right:6px}
.defs{position:absolute;width:0;height:0}
.scroll{overflow-x:auto;border-radius:4px}
.scroll:focus-visible{outline:2px solid var(--line);outline-offset:2px}
table{border-collapse:collapse;width:100%}
.line th{position:sticky;left:0;z-index:1;background:var(--card);text-align:left;font-weight:400;font-size:13px;
line-height:24px;padding:0 14px 0 0;max-width:190px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.line thead th+th{position:static;max-width:none;padding:0}
.line td{width:100%;padding:0;border-top:1px solid var(--grid)}
.line tbody th{border-top:1px solid var(--grid)}
.line td svg{display:block;width:100%;height:24px;min-width:640px}
.axis{display:block;width:100%;height:20px}
.axis text{font-size:12px;fill:var(--mute);text-anchor:middle}
.grid{stroke:var(--grid);stroke-width:1;vector-effect:non-scaling-stroke;fill:none}
.hatch{stroke:var(--gap);stroke-width:1.2;fill:none}
.gap{fill:url(#hatch)}
.off{fill:var(--gap)}
.s{fill:var(--s)}.f{fill:var(--f)}.t{fill:var(--t)}.i{fill:var(--i)}.k{fill:var(--k)}.r{fill:var(--r)}
.line path:hover{opacity:.6}
.rows{font-size:14px}
.rows th,.rows td{text-align:left;vertical-align:top;padding:8px 14px 8px 0;border-top:1px solid var(--rule);
font-weight:400}
.rows thead th{border-top:0;color:var(--mute);font-size:13px;padding-top:0;white-space:nowrap}
.rows th:last-child,.rows td:last-child{padding-right:0}
.rows .num{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.rows .wide{overflow-wrap:anywhere;min-width:14em}
.rows .path{overflow-wrap:anywhere}
.rows time{white-space:nowrap}
.rows tr:target{background:var(--fill)}
.wrong,.slow{color:var(--bad)}
.wrong{display:inline-block;max-width:11em;white-space:normal}
.state{border:1px solid currentColor;border-radius:4px;padding:0 5px;font-size:12px;color:var(--mute)}
.pair{display:inline-flex;gap:12px;align-items:flex-start;justify-content:flex-end}
.pair>span{min-width:7.2em}
.spark{flex:none}
.spark polyline{fill:none;stroke:var(--line);stroke-width:1.4;stroke-linejoin:round}
.spark circle{fill:var(--line)}
.area{display:block;width:100%;height:90px;border-bottom:1px solid var(--rule)}
.fill{fill:var(--fill)}
.edge{fill:none;stroke:var(--line);stroke-width:1.6;vector-effect:non-scaling-stroke}
.ends{display:flex;justify-content:space-between;gap:12px;font-size:13px;margin:6px 0 8px}
footer{padding-top:6px;padding-bottom:32px;font-size:13px}
@media screen and (max-width:760px){
main,footer{padding-left:12px;padding-right:12px}
header{padding-top:18px}
section{padding:14px 14px}
.verdict .say{font-size:17px}
.line th{max-width:118px;padding-right:8px;font-size:12px}
.rows,.rows tbody,.rows tr,.rows th,.rows td{display:block;width:auto}
.rows thead{display:none}
.rows tr{border-top:1px solid var(--rule);padding:10px 0}
.rows tr:first-child{border-top:0;padding-top:0}
.rows tr:last-child{padding-bottom:0}
.rows th,.rows td{border:0;padding:0}
.rows th{font-weight:600}
.rows th .mute{font-weight:400}
.rows td.none{display:none}
.rows td{display:flex;justify-content:space-between;gap:16px;text-align:right;padding-top:4px}
.rows td::before{content:attr(data-l);color:var(--mute);text-align:left;flex:none}
.rows .num{white-space:normal}
.pair>span{min-width:0}
.rows .wide{min-width:0}
.rows td.wide{display:block;text-align:left}
.rows td.wide::before{display:block}
.ends{flex-wrap:wrap}
}
@media print{
:root{--ground:#fff;--card:#fff;--text:#000;--mute:#444b53;--rule:#c8cdd3;--grid:#dde1e6;--gap:#8a939e;--good:#1d7a48;
--goodback:#fff;--bad:#b3261e;--badback:#fff;--s:#3d9a68;--f:#c5221f;--t:#b55d00;--i:#7a4fb5;--k:#6b7580;--r:#1a6fc4;
--line:#2c6aa8;--fill:#d7e6f5}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{font-size:9.5pt}
main,footer{max-width:none;padding:0}
section{border:0;border-radius:0;padding:0;margin:0 0 16pt}
.verdict{border:1px solid;border-left-width:6px;padding:8pt 10pt}
.scroll{overflow:visible}
.line td svg{min-width:0}
.line th{font-size:8pt;max-width:110pt}
.rows,.rows thead th{font-size:8pt}
.rows th,.rows td{padding:4pt 8pt 4pt 0}
.rows .wide{min-width:10em}
code{font-size:7.5pt}
tr,p,.verdict{break-inside:avoid}
h2,.legend,section>p{break-after:avoid}
.spark{width:64px;height:16px}
}
"""
