"""The report of a clean-up analysis: a document, and its forms for Markdown and for a terminal."""

import os
import shlex
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

import automation_manager
from common import HOME, plural, sc, size_text
from file_lifecycle import Registry
from quarantine import PURGE_AGE_S, HeldRun
from tree import Root, printable, stored_path

FORMAT = 1
# By this the one comment of a pull request is found again.
MARKER = "<!-- symphony-conductor: clean-up report -->"
EXPIRING_WITHIN_S = 14 * sc.DAY
ROWS_SHOWN = 50


# -- the document

def restore_command(root: str, run_id: str) -> str:
    """The command that restores a run: to be typed in the root or, for another root, anywhere."""
    if root == os.path.realpath(HOME):
        return "python3 scripts/cleanup_engine.py restore %s" % run_id
    engine = os.path.join(HOME, "scripts", "cleanup_engine.py")
    return "python3 %s --root %s restore %s" % (shlex.quote(engine), shlex.quote(root), run_id)


def change_since(previous: "Dict[str, Any] | None",
                 candidates: "List[Dict[str, Any]]") -> "Dict[str, Any] | None":
    """What is new and gone since the last report; None if it had no plan, or there is none."""
    try:
        if previous is None or previous.get("refused") or sc.from_iso(previous["at"]) is None:
            return None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not isinstance(previous.get("candidates"), list):
        return None
    before = {str(item.get("path")): item.get("size") for item in previous["candidates"]
              if isinstance(item, dict)}
    bytes_before = sum(size for size in before.values() if isinstance(size, int))
    now = {item["path"] for item in candidates}
    bytes_now = sum(item["size"] for item in candidates)
    return {"since": previous.get("at"), "new": sorted(now - set(before)),
            "gone": sorted(set(before) - now), "bytes": bytes_now - bytes_before}


def kept_runs(root: Root, runs: "Sequence[HeldRun]") -> "List[Dict[str, Any]]":
    """The runs whose files can still be restored, the newest first."""
    return [{"run": run.run_id, "at": sc.iso(run.at), "files": run.files, "bytes": run.size,
             "restore": stored_path(restore_command(root.path, run.run_id)),
             "purge_after": sc.iso(run.at + PURGE_AGE_S)} for run in reversed(runs)]


def expiring(root: Root, now: float) -> "List[Dict[str, Any]]":
    """Registered files that have expired or will within 14 days, by their time."""
    entries = [entry for entry in Registry(root).read().values()
               if entry.expires <= now + EXPIRING_WITHIN_S]
    entries.sort(key=lambda entry: (entry.expires, entry.path))
    return [{"path": entry.path, "expires": sc.iso(entry.expires), "reason": entry.reason}
            for entry in entries]


def automations(root: Root) -> "Dict[str, Any]":
    """The verdict of `automation_manager.py health` on the tasks, and those that have a problem.

    Not on cron and the disk: a checkout that is only looked at, as in CI, has no crontab line.
    """
    store = sc.Store(root.path)
    if not os.path.exists(store.config_path):
        return {"verdict": "no conductor configuration", "unwell": []}
    try:
        table, findings = automation_manager.judge_all(store)
    except sc.ConductorError as error:
        return {"verdict": "UNKNOWN - %s" % str(error).splitlines()[0], "unwell": []}
    unwell = [health for health in table if health.state in ("down", "late", "unknown")]
    findings = [finding for finding in findings
                if automation_manager.topic_of(finding) in ("configuration", "files", "tasks")]
    return {"verdict": automation_manager.verdict(table, findings),
            "unwell": [{"name": health.name, "state": health.state, "reason": health.reason}
                       for health in unwell]}


def disk(root: Root) -> "Dict[str, Any]":
    """Free space and free inodes of the root's device.

    Percentages are of what this user can have, None where the file system does not count them.
    """
    device = os.fstatvfs(root.fd)
    usable = device.f_blocks - device.f_bfree + device.f_bavail
    return {"free_bytes": device.f_bavail * device.f_frsize,
            "free_percent": percent(device.f_bavail, usable),
            "free_inodes_percent": percent(device.f_favail, device.f_files)}


def percent(part: int, whole: int) -> "float | None":
    """Rounded to a tenth; None of nothing."""
    return round(100.0 * part / whole, 1) if whole else None


# -- words

def code(text: str) -> str:
    """Text as Markdown code, whatever backquotes and bars it holds, also within a table."""
    text = printable(text).replace("|", "\\|")
    fence = "`"
    while fence in text:
        fence += "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return fence + pad + text + pad + fence


def prose(text: str) -> str:
    """Text in which nothing is Markdown or HTML, and nothing moves a cursor."""
    text = plain(text)
    for char in "\\`*_[]|#":  # the backslash first, or it would double those of the others
        text = text.replace(char, "\\" + char)
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.split())


def plain(text: str) -> str:
    """Text on one line, with escapes for what cannot be printed; backslashes stay."""
    if text.isprintable() and "  " not in text:
        return text.strip()  # nearly all of it, and a report has many thousands
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else printable(char) for char in line)


Row = Tuple[str, ...]


class Section(sc.Value):
    """One table of the report: its first rows, the number of all, and the text for none."""

    title: str = ""
    columns: Row = ()
    rows: "List[Row]" = []
    total: int = 0
    none: str = ""


def sections(report: "Dict[str, Any]", path: "Callable[[str], str]",
             words: "Callable[[str], str]") -> "List[Section]":
    """The tables of the report; `path` and `words` escape texts for where they will stand."""
    def section(title: str, columns: Row, items: "List[Dict[str, Any]]", none: str,
                *cells: "Callable[[Dict[str, Any]], str]") -> Section:
        rows = [tuple(cell(item) for cell in cells) for item in items[:ROWS_SHOWN]]
        return Section(title=title, columns=columns, rows=rows, total=len(items), none=none)

    def at(key: str) -> "Callable[[Dict[str, Any]], str]":
        return lambda item: words(str(item[key]))

    def path_of(item: "Dict[str, Any]") -> str:
        return path(item["path"])

    return [
        section("Removed files that can be restored",
                ("when", "files", "size", "restore with", "purged after"),
                report["removed"], "nothing is in quarantine",
                at("at"), at("files"), lambda item: size_text(item["bytes"]),
                lambda item: path(item["restore"]), at("purge_after")),
        section("Candidates", ("path", "size", "age", "rule", "reason", "to keep it"),
                report["candidates"], "none",
                path_of, lambda item: size_text(item["size"]),
                lambda item: sc.duration_text(item["age_s"]), at("rule"), at("reason"),
                at("saved_by")),
        section("Matched by a rule, but kept", ("path", "rule", "why"), report["skipped"], "none",
                path_of, at("rule"), at("reason")),
        section("Registered files that expire within 14 days", ("path", "expires", "reason"),
                report["expiring"], "none",
                path_of, at("expires"), at("reason")),
        section("Automations: " + words(report["automations"]["verdict"]),
                ("name", "state", "why"), report["automations"]["unwell"], "no problems",
                at("name"), at("state"), at("reason")),
    ]


def change_line(report: "Dict[str, Any]") -> str:
    change = report["change"]
    if change is None and report["refused"]:
        return "Not compared with an earlier report."
    if change is None:
        return "This is the first report."
    if not change["new"] and not change["gone"]:
        return "No change since %s." % change["since"]
    sign = "+" if change["bytes"] >= 0 else "-"
    return "Since %s: %d new, %d gone, %s%s." % (
        change["since"], len(change["new"]), len(change["gone"]), sign,
        size_text(abs(change["bytes"])))


def disk_line(report: "Dict[str, Any]") -> str:
    free = report["disk"]
    inodes = "not counted by this file system"
    if free["free_inodes_percent"] is not None:
        inodes = "%s %% free" % free["free_inodes_percent"]
    return "Disk: %s free (%s %%), inodes: %s" % (
        size_text(free["free_bytes"]), free["free_percent"], inodes)


def details(report: "Dict[str, Any]") -> "List[Row]":
    """What the analysis went by: (name, value) pairs."""
    limits, inventory = report["thresholds"], report["inventory"]
    age = "age unknown"
    if inventory["age_s"] is not None:
        age = "%s old" % sc.duration_text(inventory["age_s"])
    return [
        ("root", plain(report["root"])),
        ("host", plain(report["host"])),
        ("HEAD", report["head"] or "none"),
        ("inventory", "%s, %s, %s" % (
            age, plural(inventory["files"], "file"), size_text(inventory["bytes"]))),
        ("max. deletions per run", str(limits["max_deletions"])),
        ("max. part of the tree", "%g %% of files or bytes" % (100 * limits["max_fraction"])),
        ("max. age of the inventory", sc.duration_text(limits["max_age_s"])),
    ]


# -- the two forms

def markdown(report: "Dict[str, Any]") -> str:
    """The report as one comment or job summary; the hidden marker is its last line."""
    lines = ["**%s**" % prose(report["verdict"]), "", prose(change_line(report)), ""]
    lines += ["- " + prose(note) for note in report["notes"]] + [""] * bool(report["notes"])
    for section in sections(report, code, prose):
        lines += ["### " + section.title, ""]
        if not section.rows:
            lines += [section.none, ""]
            continue
        lines += ["| %s |" % " | ".join(section.columns), "|%s" % ("---|" * len(section.columns))]
        lines += ["| %s |" % " | ".join(row) for row in section.rows]
        if section.total > len(section.rows):
            lines += ["", "and %d more" % (section.total - len(section.rows))]
        lines.append("")
    lines += [disk_line(report), "", "<details><summary>Thresholds and origin</summary>", ""]
    lines += ["- %s: %s" % (name, prose(value)) for name, value in details(report)]
    return "\n".join(lines + ["", "</details>", "", MARKER])


def table(report: "Dict[str, Any]") -> str:
    """The report for a terminal."""
    lines = [plain(report["verdict"]), plain(change_line(report))]
    lines += ["note: " + plain(note) for note in report["notes"]]
    for section in sections(report, printable, plain):
        if not section.rows:
            lines += ["", "%s: %s" % (section.title, section.none)]
            continue
        rows = [section.columns] + section.rows
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines += ["", section.title]
        for row in rows:
            cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
            lines.append("  " + cells.rstrip())
        if section.total > len(section.rows):
            lines.append("  and %d more" % (section.total - len(section.rows)))
    lines += ["", disk_line(report)]
    return "\n".join(lines + ["  %s: %s" % row for row in details(report)])


def restore_hint(root: Root, run_id: str, at: float) -> str:
    """The command that restores a run, and until when that is possible."""
    last_day = time.strftime("%Y-%m-%d", time.gmtime(at + PURGE_AGE_S))
    return "to undo: %s (until it is purged, after %s)" % (
        restore_command(root.path, run_id), last_day)
