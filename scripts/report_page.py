"""The page of a report: its document and its timeline to one self-contained HTML file.

The page loads no script, font or picture, and its own policy forbids whatever a forgotten escape
could request. Everything from data goes through `h`. Shapes and words show what colour shows.
"""

import base64
import hashlib
import html
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from cleanup_report import plain
from common import plural, sc, size_text
from tree import ACTIONS_NAME, REPORT_NAME

ROW_MARKS = 400    # on one row: a screen has no room for more
PAGE_MARKS = 6000  # on the whole page: 50 tasks over 30 days stay under 1 MiB
LEAST_MARKS = 24   # on one row, however many tasks there are
ROWS_SHOWN = 50    # of a table of single cases
PATHS_SHOWN = 8    # of one clean-up
LABELS = 9         # on the axis, at most
WIDTH = 1000.0     # of the time axis, in units of the drawing
LEAST_WIDTH = 2.0  # of a bar: about two pixels on a desktop

# Round lengths, for buckets of runs and steps of the axis.
STEPS_S = tuple([minutes * sc.MINUTE for minutes in (1, 2, 5, 10, 15, 30)]
                + [hours * sc.HOUR for hours in (1, 2, 3, 4, 6, 8, 12)]
                + [days * sc.DAY for days in (1, 2, 5, 7, 14, 30, 60, 120, 365)])


class Kind(NamedTuple):
    """How a run or a skip is drawn: its class, word, and its bar's top and height in a row of 20.
    """

    letter: str
    word: str
    top: int
    height: int


RETRIED = "retried"  # an attempt that another one followed: it is no verdict, and never counts

# From best to worst, which is also the order of drawing. Each differs in height or place, so that
# colour is not needed to tell them apart; skips have the strip below the runs.
KINDS = {
    RETRIED: Kind("a", "retried", 6, 4),
    "skipped": Kind("k", "skipped", 17, 3),
    "success": Kind("s", "success", 4, 8),
    "stopped": Kind("o", "stopped", 8, 4),
    "running": Kind("r", "running", 4, 8),
    "interrupted": Kind("i", "interrupted", 8, 8),
    "timeout": Kind("t", "timeout", 0, 8),
    "failed": Kind("f", "failed", 0, 16),
}
WHOLE_ROW = Kind("", "no tick", -2, 24)


class Mark(NamedTuple):
    """A run or a skip on the time axis, in epoch seconds.

    `verdict` is that of its slot; `run` is that verdict or one of its earlier attempts.
    """

    start: float
    end: float
    kind: str
    run: "Dict[str, Any]"
    verdict: "Dict[str, Any]"


def h(text: str) -> str:
    """Text from data, escaped for any place in the page, within quotes too."""
    return html.escape(plain(text))


# -- numbers and times

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
    """A share of one as per cent. Only all is 100 %, and only nothing is 0 %."""
    if share is None:
        return "-"
    if 0 < share < 1:
        return "%.1f %%" % min(99.9, max(0.1, 100 * share))
    return "%d %%" % (100 * share)


def day_text(at: float) -> str:
    """'Jun 2', in UTC."""
    date = sc.iso(at)
    return "%s %d" % (sc.MONTHS[int(date[5:7]) - 1][:3], int(date[8:10]))


def clock_text(at: float, seconds: bool = False) -> str:
    """'02:00' or '02:00:04', in UTC."""
    return sc.iso(at)[11:19 if seconds else 16]


def time_tag(text: "str | None") -> str:
    """A stored time, to the minute."""
    if not text:
        return "-"
    return '<time datetime="%s">%s</time>' % (h(text), h(text[:16].replace("T", "\u00a0")))


def trend_text(change: "float | None", differs_s: float) -> "Tuple[str, str]":
    """(class, words) for a change of durations; one that nobody would notice is steady."""
    if change is None:
        return "", ""
    if abs(change) < 0.1 or abs(differs_s) < 1:
        return "mute", "\u2192 steady"
    if change > 0:
        return "slow", "\u25b2 %.0f %% slower" % (100 * change)
    return "mute", "\u25bc %.0f %% faster" % (-100 * change)


def number(value: float) -> str:
    """A coordinate with one decimal, or none if that is 0."""
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
        """A path over this time, less `gap` units at its right, and never too narrow to see."""
        _, _, top, height = KINDS.get(kind, WHOLE_ROW)
        x = min(self.x(start), WIDTH - LEAST_WIDTH)
        width = max(LEAST_WIDTH, self.x(end) - x - gap)
        return "M%s %dh%sv%dH%sz" % (number(x), top, number(width), height, number(x))

    def labels(self) -> "List[Tuple[float, str]]":
        """(time, text) of at most LABELS labels, at round times of UTC."""
        step_s = first_step(self.length_s / LABELS)
        at = self.since - self.since % step_s + step_s
        labels = []
        while at < self.until:
            is_day = step_s >= sc.DAY or at % sc.DAY == 0
            labels.append((at, day_text(at) if is_day else clock_text(at)))
            at += step_s
        return labels


def first_step(least_s: float) -> float:
    """The shortest round length that is at least this."""
    return next((step for step in STEPS_S if step >= least_s), least_s)


def mark_limit(tasks: int) -> int:
    """How many marks a row may have."""
    return max(LEAST_MARKS, min(ROW_MARKS, PAGE_MARKS // max(tasks, 1)))


def mark_title(mark: Mark) -> str:
    """The tooltip of one run or skip."""
    slot, run = mark.verdict["slot"], mark.run
    parts, day = [], ""
    if slot is not None:
        day = day_text(slot)
        parts.append("slot %s %s" % (day, clock_text(slot)))
    elif mark.kind != "skipped":
        parts.append("by hand")
    if mark.kind != "skipped":
        started = clock_text(mark.start, True)
        if day_text(mark.start) != day:
            started = "%s %s" % (day_text(mark.start), started)
        parts.append("started " + started)
        took = length_text(mark.end - mark.start)
        parts.append("%s %s" % ("for" if mark.kind == "running" else "took", took))
    parts.append(run["status"].replace("_", ": "))
    if run["exit_code"] is not None:
        parts.append("exit %d" % run["exit_code"])
    if mark.verdict["attempt"] > 1:
        parts.append("attempt %d of %d" % (run["attempt"], mark.verdict["attempt"]))
    if mark.kind == RETRIED:
        parts.append(RETRIED)
    return ", ".join(parts)


def counts_of(marks: "Sequence[Mark]") -> "List[Tuple[str, int]]":
    """The number of slots of each kind, without zeros, the worst first."""
    counts = dict.fromkeys(KINDS, 0)
    for mark in marks:
        if mark.kind != RETRIED:
            counts[mark.kind] += 1
    return [(name, count) for name, count in reversed(list(counts.items())) if count]


def bucket_title(start: float, end: float, marks: "Sequence[Mark]") -> str:
    """The tooltip of the slots in a bucket."""
    until = clock_text(end)
    if start // sc.DAY != (end - 1) // sc.DAY:
        until = "%s %s" % (day_text(end), until)
    return "%s %s to %s: %s, %s" % (day_text(start), clock_text(start), until,
                                    plural(len(marks), "slot"), counts_text(marks))


def counts_text(marks: "Sequence[Mark]") -> str:
    return ", ".join("%d %s" % (count, KINDS[name].word) for name, count in counts_of(marks))


def row_paths(marks: "Sequence[Mark]", axis: Axis, limit: int) -> "List[Tuple[str, str, str]]":
    """(kind, path, title) of each bar in a row: of each run and skip or, if too many, of buckets.

    A bucket shows the worst of its verdicts, and whether there are skips.
    """
    if len(marks) <= limit:
        return [(mark.kind, axis.bar(mark.kind, mark.start, mark.end), mark_title(mark))
                for mark in marks]
    step_s = first_step(axis.length_s / limit)
    buckets: "Dict[float, List[Mark]]" = {}
    for mark in marks:
        if mark.kind != RETRIED:
            buckets.setdefault(mark.start - mark.start % step_s, []).append(mark)
    paths = []
    for start, inside in sorted(buckets.items()):
        kinds = [kind for kind, _ in counts_of(inside)]
        title = bucket_title(start, start + step_s, inside)
        paths.append((kinds[0], axis.bar(kinds[0], start, start + step_s, 1.0), title))
        if "skipped" in kinds[1:]:
            paths.append(("skipped", axis.bar("skipped", start, start + step_s, 1.0), ""))
    return paths


def row_drawing(marks: "Sequence[Mark]", axis: Axis, limit: int) -> str:
    """One row of the timeline as SVG; the bars of a kind are in one group with its class."""
    groups: "Dict[str, List[str]]" = {}
    for kind, path, title in row_paths(marks, axis, limit):
        element = '<path d="%s"/>' % path
        if title:
            element = '<path d="%s"><title>%s</title></path>' % (path, h(title))
        groups.setdefault(kind, []).append(element)
    return drawing(counts_text(marks) or "nothing", "".join(
        '<g class="%s">%s</g>' % (KINDS[name].letter, "".join(groups[name]))
        for name in KINDS if name in groups))


def drawing(label: str, inside: str) -> str:
    """A row's SVG, as wide as its cell; grid and gaps are drawn once for all rows."""
    return ('<svg viewBox="0 -2 %d 24" preserveAspectRatio="none" role="img" aria-label="%s">'
            '<use href="#back"/>%s</svg>' % (WIDTH, h(label), inside))


def timeline(document: "Dict[str, Any]", rows: "Dict[str, List[Mark]]") -> str:
    """Runs per task over the time of the report."""
    axis = Axis(sc.from_iso(document["began"]) or 0, sc.from_iso(document["at"]) or 0)
    limit = mark_limit(len(rows))
    lines = [timeline_row('<a href="#%s">%s</a>' % (h(task_id(name)), h(name)),
                          row_drawing(marks, axis, limit)) for name, marks in rows.items()]
    gap_paths = [axis.bar("gap", sc.from_iso(gap["since"]) or 0, sc.from_iso(gap["until"]) or 0)
                 for gap in document["gaps"]]
    if gap_paths:
        bars = "".join('<path class="off" d="%s"><title>%s</title></path>' % (
            path, h(gap_title(gap))) for path, gap in zip(gap_paths, document["gaps"]))
        lines.insert(0, timeline_row("no tick", drawing(plural(len(gap_paths), "gap"), bars)))
    is_bucketed = any(len(marks) > limit for marks in rows.values())
    return ('%s%s<div class="scroll" role="region" aria-labelledby="timeline" tabindex="0">'
            '<table class="line"><caption class="hide">Runs of each task</caption><thead><tr>'
            '<th scope="col">Task</th><th scope="col">'
            '<span class="hide">Runs over time, UTC</span>%s</th></tr></thead>'
            '<tbody>%s</tbody></table></div>' % (
                background(axis, gap_paths), legend(is_bucketed, bool(gap_paths)),
                axis_drawing(axis), "".join(lines)))


def timeline_row(head: str, cell: str) -> str:
    return '<tr><th scope="row">%s</th><td>%s</td></tr>' % (head, cell)


def background(axis: Axis, gaps: "Sequence[str]") -> str:
    """What all rows share, drawn once: the grid, and the periods without a tick."""
    grid = "".join("M%s -2v24" % number(axis.x(at)) for at, _ in axis.labels())
    return ('<svg class="defs" aria-hidden="true"><defs><pattern id="hatch" width="6" height="6" '
            'patternUnits="userSpaceOnUse"><path class="hatch" d="M0 6L6 0"/></pattern>'
            '<g id="back"><path class="grid" d="%s"/>%s</g></defs></svg>' % (
                grid, "".join('<path class="gap" d="%s"/>' % path for path in gaps)))


def gap_title(gap: "Dict[str, Any]") -> str:
    start = sc.from_iso(gap["since"]) or 0
    return "no tick for %s, from %s %s: %s" % (
        sc.duration_text(gap["length_s"]), day_text(start), clock_text(start), gap["words"])


def axis_drawing(axis: Axis) -> str:
    texts = [(100 * axis.x(at) / WIDTH, text) for at, text in axis.labels()]
    # A label closer to an end would be cut off there.
    return '<svg class="axis" aria-hidden="true">%s</svg>' % "".join(
        '<text x="%s%%" y="13">%s</text>' % (number(x), h(text)) for x, text in texts if 3 < x < 97)


def legend(is_bucketed: bool, has_gaps: bool) -> str:
    """What the shapes mean."""
    keys = [legend_key(kind.letter, "M1 %dh10v%dH1z" % (kind.top, kind.height), kind.word)
            for kind in reversed(list(KINDS.values()))]
    if has_gaps:
        keys.append(legend_key("gap", "M0 0h12v20H0z", "no tick"))
    if is_bucketed:
        keys.append("<li>if there are many, a bar stands for several slots and shows the worst "
                    "verdict</li>")
    return '<ul class="legend">%s</ul>' % "".join(keys)


def legend_key(letter: str, path: str, word: str) -> str:
    return ('<li><svg class="key" viewBox="0 0 12 20" aria-hidden="true"><path class="%s" d="%s"/>'
            '</svg>%s</li>' % (letter, path, word))


def task_id(name: str) -> str:
    return "task-" + "".join(char if char.isalnum() else "_%x_" % ord(char) for char in name)


# -- line charts

def sparkline(values: "Sequence[float]", label: str, width: int = 96, height: int = 24) -> str:
    """A line from zero up, with a dot on its newest value; '' for fewer than two values."""
    if len(values) < 2:
        return ""
    top, step = max(values) or 1.0, (width - 6.0) / (len(values) - 1)
    points = [(number(3 + step * place), number(height - 1 - (height - 4.0) * value / top))
              for place, value in enumerate(values)]
    return ('<svg class="spark" viewBox="0 0 %d %d" width="%d" height="%d" role="img" '
            'aria-label="%s"><title>%s</title><path class="grid" d="M0 %dh%d"/>'
            '<polyline points="%s"/><circle cx="%s" cy="%s" r="2.2"/></svg>' % (
                width, height, width, height, h(label), h(label), height - 1, width,
                " ".join(map(",".join, points)), points[-1][0], points[-1][1]))


def area(samples: "Sequence[Dict[str, Any]]", label: str) -> str:
    """Free bytes over time, from zero up, as wide as the page."""
    times = [sc.from_iso(sample["at"]) or 0 for sample in samples]
    axis = Axis(times[0], times[-1])
    top = max(sample["free_bytes"] for sample in samples) or 1.0
    points = [(axis.x(at), 100 - 94 * sample["free_bytes"] / top)
              for at, sample in zip(times, samples)]
    line = "L".join("%s %s" % (number(x), number(y)) for x, y in points)
    return ('<svg class="area" viewBox="0 0 %d 100" preserveAspectRatio="none" role="img" '
            'aria-label="%s"><title>%s</title><path class="fill" d="M0 100L%sL%d 100z"/>'
            '<path class="edge" d="M%s"/></svg>' % (WIDTH, h(label), h(label), line, WIDTH, line))


# -- tables

NONE = "-"  # in a cell without a value
Cell = str  # HTML, already escaped
Column = Tuple[str, str]  # its heading, its class


def table(caption: str, columns: "Sequence[Column]", rows: "Sequence[Sequence[Cell]]",
          ids: "Sequence[str]" = ()) -> str:
    """A table whose first column names the row.

    On a phone each row is a card, each cell shows its heading, and empty cells are hidden.
    """
    head = "".join('<th scope="col"%s>%s</th>' % (class_of(kind), name) for name, kind in columns)
    body = []
    for place, row in enumerate(rows):
        anchor = ' id="%s"' % h(ids[place]) if ids else ""
        cells = "".join(table_cell(column, cell) for column, cell in zip(columns[1:], row[1:]))
        body.append('<tr%s><th scope="row">%s</th>%s</tr>' % (anchor, row[0], cells))
    return ('<table class="rows"><caption class="hide">%s</caption><thead><tr>%s</tr></thead>'
            '<tbody>%s</tbody></table>' % (h(caption), head, "".join(body)))


def table_cell(column: Column, cell: Cell) -> str:
    name, kind = column
    hidden = "none" if cell == NONE else ""
    return '<td%s data-l="%s">%s</td>' % (class_of(kind, hidden), name, cell)


def class_of(*names: str) -> str:
    joined = " ".join(name for name in names if name)
    return ' class="%s"' % joined if joined else ""


def muted(text: str) -> str:
    return '<span class="mute">%s</span>' % text if text else ""


def stacked(*lines: str) -> Cell:
    """A cell with these lines, without the empty ones."""
    filled = [line for line in lines if line]
    return "<span>%s</span>" % "<br>".join(filled) if filled else NONE


def more(total: int, noun: str) -> str:
    hidden = total - ROWS_SHOWN
    return "<p>%s</p>" % muted("and %s more" % plural(hidden, noun)) if hidden > 0 else ""


# -- the sections, in the order of the page

def head_section(document: "Dict[str, Any]") -> str:
    """The verdict, with the findings."""
    kind, sign = ("good", "\u2713") if document["healthy"] else ("bad", "!")
    verdict = h(document["verdict"]).replace(" %", "\u00a0%")
    return ('<header><h1>Symphony Conductor</h1><p class="mute">%s on %s, %s to %s UTC</p></header>'
            '<section class="verdict %s" aria-label="Verdict"><p class="say">'
            '<span class="sign" aria-hidden="true">%s</span>%s</p>%s%s</section>%s' % (
                h(document["root"]), h(document["host"]), time_tag(document["began"]),
                time_tag(document["at"]), kind, sign, verdict,
                findings_list(document["findings"]), more(len(document["findings"]), "finding"),
                bullets(document["notes"], "mute")))


def findings_list(findings: "Sequence[Dict[str, Any]]") -> str:
    items = "".join(map(finding_item, findings[:ROWS_SHOWN]))
    return '<ul class="findings">%s</ul>' % items if items else ""


def finding_item(finding: "Dict[str, Any]") -> str:
    """A finding, with the last line of output and the next command on lines of their own."""
    since = ""
    if finding["since"]:
        since = muted("since %s" % time_tag(finding["since"]))
    lines = ["<b>%s</b> %s %s" % (
        h(finding["severity"]), h(finding_text(finding)), since)]
    if finding["output"]:
        lines.append("%s <code>%s</code>" % (muted("output"), h(finding["output"])))
    if finding["command"]:
        lines.append("%s %s" % (muted("next"), command_code(finding["command"])))
    return "<li%s>%s</li>" % (class_of(finding["severity"]), "".join(
        "<p>%s</p>" % line.rstrip() for line in lines))


def command_code(command: str) -> Cell:
    """A command, which breaks between its words and not behind the hyphens of an option."""
    return "<code>%s</code>" % " ".join(
        '<span class="word">%s</span>' % h(word) for word in command.split(" "))


def finding_text(finding: "Dict[str, Any]") -> str:
    """The sentence of a finding, with its task or place unless the sentence has that."""
    about = str(finding["task"] or finding["place"])
    if about and about not in finding["text"]:
        return "%s: %s" % (about, finding["text"])
    return str(finding["text"])


def bullets(texts: "Sequence[str]", kind: str = "") -> str:
    """A list of texts from data, '' without any."""
    if not texts:
        return ""
    items = "".join("<li>%s</li>" % h(text) for text in texts)
    return "<ul%s>%s</ul>" % (class_of(kind), items)


def audit_section(document: "Dict[str, Any]") -> str:
    audit = document["audit"]
    noun = "slot" if audit["slots"] == 1 else "slots"
    text = '<p class="sum"><b>{:,} {}, {} unexplained</b></p>'.format(
        audit["slots"], noun, audit["unexplained"])
    if audit["fates"]:
        fates = ["<li><b>{:,}</b> {}</li>".format(count, h(sc.FATES.get(fate, fate)))
                 for fate, count in audit["fates"].items()]
        text += '<ul class="fates">%s</ul>' % "".join(fates)
    rows = [(h(finding["task"]), time_tag(finding["scheduled_for"]), h(finding["fate"]),
             h(finding["reason"])) for finding in audit["findings"][:ROWS_SHOWN]]
    if rows:
        columns = (("Task", ""), ("Slot", ""), ("Fate", ""), ("Reason", "wide"))
        text += table("Unexplained slots", columns, rows)
        text += more(len(audit["findings"]), "slot")
    return section("audit", "Audit", "Every slot that was due, compared with the history.", text)


def section(name: str, title: str, words: str, text: str) -> str:
    intro = '<p class="mute">%s</p>' % words if words else ""
    return '<section aria-labelledby="%s"><h2 id="%s">%s</h2>%s%s</section>' % (
        name, name, title, intro, text)


def timeline_section(document: "Dict[str, Any]", rows: "Dict[str, List[Mark]]") -> str:
    if not rows:
        return section("timeline", "Timeline", "", "<p>No tasks.</p>")
    return section("timeline", "Timeline",
                   "One row per task; times are UTC. Point at a bar for details.",
                   timeline(document, rows))


TASK_COLUMNS = (("Task", ""), ("Success", "num"), ("Runs", "num"), ("Duration", "num"),
                ("Trend", "trend"), ("Queue", "num"), ("Dependencies", "num"), ("Skipped", "num"))


def task_row(task: "Dict[str, Any]") -> "Sequence[Cell]":
    name, success, wrong = "<b>%s</b>" % h(task["name"]), "", ""
    if task["state"] not in ("idle", "running"):
        name += ' <span class="state">%s</span>' % h(task["state"])
    if task["ran"]:
        success = "<b>%s</b>" % percent_text(task["success_rate"])
    bad = ["%d\u00a0%s" % (count, h(status)) for status, count in task["verdicts"].items()
           if sc.is_failure(status)]
    if bad:
        wrong = '<span class="wrong">%s</span>' % ", ".join(bad)
    queue, waits = task["queue"], task["waits"]
    retries = plural(task["retries"], "retry", "retries") if task["retries"] else ""
    caught_up = "caught up" if queue["longest_caught_up"] else ""
    given_up = "%d gave up" % waits["given_up"] if waits["given_up"] else ""
    reason = ""
    if task["reason"]:
        reason = '<span class="why">%s</span>' % h(task["reason"])
    return (stacked(name, reason, muted(h(task["words"])), muted(h(task["description"]))),
            stacked(success, wrong),
            stacked("{:,}".format(task["runs"]), muted(retries)),
            length_text(task["duration"]["median_s"]),
            trend_cell(task["duration"]),
            wait_cell(queue, caught_up),
            wait_cell(waits, given_up),
            "{:,}".format(task["skipped"]) if task["skipped"] else NONE)


def trend_cell(took: "Dict[str, Any]") -> Cell:
    """The line of durations, and how the newer half compares with the older."""
    series, trend = took["series"], ""
    if not series:
        return NONE
    label = "durations from %s to %s" % (length_text(min(series)), length_text(max(series)))
    differs_s = (took["newer_median_s"] or 0) - (took["older_median_s"] or 0)
    kind, words = trend_text(took["change"], differs_s)
    if words:
        trend = '<span class="%s">%s</span>' % (kind, words)
    return "<span>%s%s</span>" % (sparkline(series, label), trend)


def wait_cell(waits: "Dict[str, Any]", note: str) -> Cell:
    """Median and longest of waits."""
    if not waits["count"]:
        return note or NONE
    longest = ""
    if waits["count"] > 1:
        longest = muted("longest %s" % length_text(waits["longest_s"]))
    return stacked(length_text(waits["median_s"]), longest, muted(note))


def tasks_section(document: "Dict[str, Any]") -> str:
    tasks = document["tasks"]
    if not tasks:
        return ""
    return section(
        "tasks", "Tasks",
        "Those in trouble first. Duration: median of the successful runs. Trend: their durations, "
        "and how the newer half compares with the older. "
        "Queue: from slot to start, median and longest. Dependencies: the same for runs that had "
        "to wait for one.",
        table("Figures of each task", TASK_COLUMNS, list(map(task_row, tasks)),
              [task_id(task["name"]) for task in tasks]))


def failures_section(document: "Dict[str, Any]") -> str:
    failures = document["failures"]
    rows = []
    for failure in failures[:ROWS_SHOWN]:
        output = "<code>%s</code>" % h(failure["said"]) if failure["said"] else ""
        slot = time_tag(failure["scheduled_for"] or failure["started_at"])
        rows.append((h(failure["task"]), slot, outcome_cell(failure),
                     stacked(h(failure["reason"]), output)))
    columns = (("Task", ""), ("Slot", ""), ("Verdict", ""),
               ("Reason, and last line of output", "wide"))
    text = "<p>None.</p>"
    if rows:
        text = table("Slots that did not succeed", columns, rows) + more(len(failures), "slot")
    return section("failures", "Failures",
                   "Slots whose last attempt did not succeed, newest first.", text)


def outcome_cell(failure: "Dict[str, Any]") -> Cell:
    if not failure["attempts"]:
        return h(failure["status"].replace("_", ": "))
    outcome = h(failure["status"])
    if failure["exit_code"] is not None:
        outcome += ", exit %d" % failure["exit_code"]
    return stacked(outcome, muted("%s, took %s" % (
        plural(failure["attempts"], "attempt"), length_text(failure["duration_s"]))))


def gaps_section(document: "Dict[str, Any]") -> str:
    gaps = document["gaps"]
    rows = [(time_tag(gap["since"]), "now" if gap["ongoing"] else time_tag(gap["until"]),
             sc.duration_text(gap["length_s"]), h(gap["words"]))
            for gap in reversed(gaps[-ROWS_SHOWN:])]
    columns = (("From", ""), ("To", ""), ("Length", "num"), ("Cause", "wide"))
    text = "<p>None.</p>"
    if rows:
        text = table("Periods without a tick", columns, rows) + more(len(gaps), "gap")
    return section("gaps", "Periods without a tick",
                   "Runs that were due in them were caught up as configured for each task.", text)


def removed_section(document: "Dict[str, Any]") -> str:
    columns = (("When", ""), ("Files", "num"), ("Size", "num"), ("Paths", "wide"),
               ("To restore", "wide"))
    text = "<p>Nothing.</p>"
    if ACTIONS_NAME in document["unread"]:
        text = "<p>Unknown.</p>"
    rows = list(map(removed_row, document["removed"][:ROWS_SHOWN]))
    if rows:
        text = table("Files that clean-up removed", columns, rows)
        text += more(len(document["removed"]), "run")
    purged = document["purged"]
    if purged["runs"]:
        text += "<p>Deleted permanently: %s of %s, %s.</p>" % (
            plural(purged["files"], "file"), plural(purged["runs"], "earlier run"),
            size_text(purged["bytes"]))
    return section("removed", "Removed by clean-up", "By run, newest first.", text)


def removed_row(run: "Dict[str, Any]") -> "Sequence[Cell]":
    paths = ["<code>%s</code>" % h(path) for path in run["paths"][:PATHS_SHOWN]]
    if len(run["paths"]) > PATHS_SHOWN:
        paths.append(muted("and %d more" % (len(run["paths"]) - PATHS_SHOWN)))
    restore = stacked(h(run["gone"]))
    if run["restore"]:
        restore = stacked(command_code(run["restore"]),
                          muted("until %s" % time_tag(run["purge_after"])))
    restored = "%d restored" % run["restored"] if run["restored"] else ""
    return (time_tag(run["at"]), stacked("{:,}".format(run["files"]), muted(restored)),
            size_text(run["bytes"]), stacked(*paths), restore)


def coming_section(document: "Dict[str, Any]") -> str:
    analysis = document["next_removals"]
    if analysis is None:
        text = "<p>No clean-up analysis.</p>"
        if REPORT_NAME in document["unread"]:
            text = "<p>Unknown.</p>"
        return section("coming", "To be removed next", "", text)
    text = "<p>%s</p>" % h(analysis["verdict"])
    rows = [("<code>%s</code>" % h(item["path"]), size_text(item["size"]), h(item["rule"]),
             h(item["reason"])) for item in analysis["candidates"][:ROWS_SHOWN]]
    if rows:
        columns = (("File", "path"), ("Size", "num"), ("Rule", ""), ("Reason", "wide"))
        text += table("Files that clean-up will remove next", columns, rows)
        text += more(len(analysis["candidates"]), "file")
    if analysis["later"]:
        text += "<p>%s</p>" % muted("%s in a later run." % plural(
            analysis["later"], "more file", "more files"))
    return section("coming", "To be removed next", "According to the analysis of %s, %s old." % (
        time_tag(analysis["at"]), sc.duration_text(analysis["age_s"])), text)


def disk_section(document: "Dict[str, Any]") -> str:
    disk = document["disk"]
    if disk["free_bytes"] is None:
        return section("disk", "Disk", "", "<p>Unknown.</p>")
    inodes = ""
    if disk["free_inodes"] is not None:
        inodes = " and {:,} inodes".format(disk["free_inodes"])
    text = '<p class="sum"><b>%s</b> of %s (%s)%s free</p>' % (
        size_text(disk["free_bytes"]), size_text(disk["total_bytes"]),
        percent_text(disk["free_share"]), inodes)
    series = disk["series"]
    if len(series) < 2:
        text += "<p>%s</p>" % muted("One value is recorded per day.")
        return section("disk", "Disk", "", text)
    values = [sample["free_bytes"] for sample in series]
    label = "free space, lowest %s, highest %s" % (size_text(min(values)), size_text(max(values)))
    text += '%s<p class="ends mute"><span>%s</span><span>%s</span><span>%s</span></p>' % (
        area(series, label), time_tag(series[0]["at"][:10]), h(label),
        time_tag(series[-1]["at"][:10]))
    change = disk["change_bytes"]
    text += "<p>%s%s since the first of these days.</p>" % (
        "+" if change >= 0 else "\u2212", size_text(abs(change)))
    return section("disk", "Disk", "", text)


# -- the page

def page(document: "Dict[str, Any]", rows: "Dict[str, List[Mark]]") -> str:
    """The whole page. `rows` are the marks of each task, in the order of the rows."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
    parts = [head_section(document), audit_section(document), timeline_section(document, rows),
             tasks_section(document), failures_section(document), gaps_section(document),
             removed_section(document), coming_section(document), disk_section(document)]
    state = "Healthy" if document["healthy"] else "Not healthy"
    title = "%s: Symphony Conductor on %s" % (state, document["host"])
    body = "\n".join(part for part in parts if part)
    return HEAD % (digest, h(title), STYLE) + body + FOOT % time_tag(document["at"])


HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-%s'; \
base-uri 'none'; form-action 'none'">
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
<footer class="mute">Created %s UTC from the history, events and clean-up log of this root.</footer>
</body>
</html>
"""

# The colours of each scheme are in one place. Text has a contrast of at least 4.5, and bars one of
# at least 3 against their ground (WCAG 2.1, 1.4.3 and 1.4.11).
STYLE = """
:root{--ground:#f6f7f8;--card:#ffffff;--text:#1b2026;--mute:#59626d;--rule:#dde1e6;--grid:#e6e9ed;
--gap:#8a939e;--good:#1d7a48;--goodback:#e8f5ed;--bad:#b3261e;--badback:#fdeceb;
--s:#3d9a68;--f:#c5221f;--t:#b55d00;--i:#7a4fb5;--k:#6b7580;--r:#1a6fc4;
--line:#2c6aa8;--fill:#d7e6f5}
@media (prefers-color-scheme:dark){
:root{--ground:#121518;--card:#1a1e23;--text:#e5e8eb;--mute:#a2abb5;--rule:#30363d;--grid:#272d33;
--gap:#7d8791;--good:#6fd19b;--goodback:#16291f;--bad:#ff9d94;--badback:#351b1a;
--s:#4cab7a;--f:#ff7166;--t:#f2a449;--i:#c3a0f2;--k:#98a2ad;--r:#69b1ff;
--line:#7db8f0;--fill:#22384d}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main,footer{max-width:1200px;margin:0 auto;padding:0 24px}
header{padding:28px 0 16px}
h1{font-size:22px;line-height:1.3;margin:0}
header p{margin:2px 0 0;overflow-wrap:anywhere}
h2{font-size:17px;line-height:1.3;margin:0 0 2px}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:18px 20px;
margin:0 0 16px}
section>p{margin:0 0 12px}
section>:last-child{margin-bottom:0}
p,ul{margin-top:0}
a{color:inherit;text-decoration:none}
a:hover,a:focus{text-decoration:underline}
code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
overflow-wrap:anywhere}
.word{display:inline-block;max-width:100%}
time{white-space:nowrap}
.mute{color:var(--mute)}
.hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
white-space:nowrap}
.verdict{border-left-width:6px}
.verdict.good{border-color:var(--good);background:var(--goodback)}
.verdict.bad{border-color:var(--bad);background:var(--badback)}
.verdict .say{font-size:19px;font-weight:600;line-height:1.35;margin:0}
.good .say{color:var(--good)}
.bad .say{color:var(--bad)}
.sign{display:inline-block;width:1.3em}
.findings{margin:10px 0 0;padding:0;list-style:none;overflow-wrap:anywhere}
.findings li{margin-top:8px}
.findings p{margin:0}
.findings b{margin-right:.3em}
.problem b{color:var(--bad)}
main>ul.mute{margin:0 0 16px;padding-left:1.5em}
.sum{font-size:16px}
.fates{display:flex;flex-wrap:wrap;gap:2px 20px;list-style:none;margin:0;padding:0}
.fates+table{margin-top:14px}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;margin:0 0 10px;padding:0;
font-size:13px;
color:var(--mute)}
.key{width:12px;height:20px;vertical-align:-5px;margin-right:6px}
.defs{position:absolute;width:0;height:0}
/* A box that runs from right to left shows its right end first: the present. */
.scroll{overflow-x:auto;border-radius:4px;direction:rtl}
.scroll table{direction:ltr}
.scroll:focus-visible{outline:2px solid var(--line);outline-offset:2px}
table{border-collapse:collapse;width:100%}
.line th{position:sticky;left:0;z-index:1;background:var(--card);text-align:left;font-weight:400;
font-size:13px;
line-height:24px;padding:0 14px 0 0;max-width:190px;overflow:hidden;text-overflow:ellipsis;
white-space:nowrap}
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
.a,.o{fill:var(--k)}
.s{fill:var(--s)}.f{fill:var(--f)}.t{fill:var(--t)}.i{fill:var(--i)}.k{fill:var(--k)}
.r{fill:var(--r)}
.line path:hover{opacity:.6}
.rows{font-size:14px}
.rows th,.rows td{text-align:left;vertical-align:top;padding:8px 14px 8px 0;
border-top:1px solid var(--rule);
font-weight:400}
.rows thead th{border-top:0;color:var(--mute);font-size:13px;padding-top:0;white-space:nowrap}
.rows th:last-child,.rows td:last-child{padding-right:0}
.rows .num{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.rows .wide{overflow-wrap:anywhere;min-width:14em}
.rows .path{overflow-wrap:anywhere}
.rows tr:target{background:var(--fill)}
.wrong,.slow{color:var(--bad)}
.wrong{display:inline-block;max-width:11em;white-space:normal}
.state{border:1px solid currentColor;border-radius:4px;padding:0 5px;font-size:12px;
color:var(--mute)}
.rows .trend{white-space:nowrap}
.spark{display:block}
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
.rows th .mute,.rows th .state,.rows th .why{font-weight:400}
.rows td{display:flex;justify-content:space-between;gap:16px;text-align:right;padding-top:4px}
.rows td::before{content:attr(data-l);color:var(--mute);text-align:left;flex:none}
.rows .num{white-space:normal}
.rows .wide{min-width:0}
.rows td.wide{display:block;text-align:left}
.rows td.wide::before{display:block}
.rows td.none{display:none}
.ends{flex-wrap:wrap}
}
@media print{
:root{--ground:#fff;--card:#fff;--text:#000;--mute:#444b53;--rule:#c8cdd3;--grid:#dde1e6;
--gap:#8a939e;--good:#1d7a48;--goodback:#fff;--bad:#b3261e;--badback:#fff;
--s:#3d9a68;--f:#c5221f;--t:#b55d00;--i:#7a4fb5;--k:#6b7580;--r:#1a6fc4;
--line:#2c6aa8;--fill:#d7e6f5}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{font-size:9.5pt}
main,footer{max-width:none;padding:0}
section{border:0;border-radius:0;padding:0;margin:0 0 16pt}
.verdict{border:1px solid;border-left-width:6px;padding:8pt 10pt}
.scroll{overflow:visible;direction:ltr}
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
