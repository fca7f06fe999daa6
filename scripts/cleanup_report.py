"""The report of a clean-up analysis: a document, and the same as Markdown and as a table for a terminal."""

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
MARKER = "<!-- symphony-conductor: clean-up report -->"  # by which the one comment of a pull request is found again
EXPIRING_WITHIN_S = 14 * sc.DAY
ROWS_SHOWN = 50


# -- the document

def restore_command(root: str, run_id: str) -> str:
    """The command that puts a run back, as it can be typed in the root or, for another root, anywhere."""
    if root == os.path.realpath(HOME):
        return "python3 scripts/cleanup_engine.py restore %s" % run_id
    engine = os.path.join(HOME, "scripts", "cleanup_engine.py")
    return "python3 %s --root %s restore %s" % (shlex.quote(engine), shlex.quote(root), run_id)


def change_since(previous: "Dict[str, Any] | None", candidates: "List[Dict[str, Any]]") -> "Dict[str, Any] | None":
    """What is new and what is gone since the last report; None without one, or where that had no plan to show."""
    try:
        if previous is None or previous.get("refused") or sc.from_iso(previous["at"]) is None:
            return None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not isinstance(previous.get("candidates"), list):
        return None
    before = {str(item.get("path")): item for item in previous["candidates"] if isinstance(item, dict)}
    now = {item["path"] for item in candidates}
    return {"since": previous.get("at"), "new": sorted(now - set(before)), "gone": sorted(set(before) - now),
            "bytes": sum(item["size"] for item in candidates) - sum(
                item.get("size") or 0 for item in before.values() if isinstance(item.get("size"), int))}


def kept_runs(root: Root, runs: "Sequence[HeldRun]") -> "List[Dict[str, Any]]":
    """What was removed and can still be restored, the newest run first."""
    return [{"run": run.run_id, "at": sc.iso(run.at), "files": run.files, "bytes": run.size,
             "restore": stored_path(restore_command(root.path, run.run_id)),
             "purge_after": sc.iso(run.at + PURGE_AGE_S)} for run in reversed(runs)]


def expiring(root: Root, now: float) -> "List[Dict[str, Any]]":
    """Registered files that expire within 14 days, or have, the first to go first."""
    entries = [entry for entry in Registry(root).read().values() if entry.expires <= now + EXPIRING_WITHIN_S]
    return [{"path": entry.path, "expires": sc.iso(entry.expires), "reason": entry.reason}
            for entry in sorted(entries, key=lambda entry: (entry.expires, entry.path))]


def automations(root: Root, now: float) -> "Dict[str, Any]":
    """The verdict of `automation_manager.py health`, and whoever is not well."""
    store = sc.Store(root.path)
    if not os.path.exists(store.config_path):
        return {"verdict": "no configuration of the conductor here", "unwell": []}
    try:
        found, _ = automation_manager.judge_all(store, automation_manager.own_task(store), now)
    except sc.ConductorError as error:
        return {"verdict": "UNKNOWN - %s" % str(error).splitlines()[0], "unwell": []}
    return {"verdict": automation_manager.verdict(found),
            "unwell": [{"name": each.name, "state": each.state, "reason": each.reason} for each in found
                       if each.state in ("down", "late", "unknown")]}


def disk(root: Root) -> "Dict[str, Any]":
    """Free space and free inodes of the root's device; percentages are of what this user can have."""
    found = os.fstatvfs(root.fd)
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    return {"free_bytes": found.f_bavail * found.f_frsize,
            "free_percent": round(100.0 * found.f_bavail / usable, 1) if usable else None,
            "free_inodes_percent": round(100.0 * found.f_favail / found.f_files, 1) if found.f_files else None}


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
    for char in "\\`*_[]<>|#":
        text = text.replace(char, "\\" + char if char not in "<>" else {"<": "&lt;", ">": "&gt;"}[char])
    return " ".join(text.split())


def plain(text: str) -> str:
    """Text on one line, what cannot be printed as escapes; backslashes stay."""
    if text.isprintable() and "  " not in text:
        return text.strip()  # nearly all of it, and a report has many thousands
    return "".join(char if char.isprintable() else printable(char) for char in " ".join(text.split()))


Row = Tuple[str, ...]
Section = Tuple[str, Row, "List[Row]", int, str]  # title, column names, the first rows, all, words for none


def sections(report: "Dict[str, Any]", path: "Callable[[str], str]", words: "Callable[[str], str]") -> "List[Section]":
    """The tables of the report; `path` and `words` make texts fit for where they will stand."""
    def section(title: str, names: Row, found: "List[Dict[str, Any]]", none: str,
                *columns: "Callable[[Dict[str, Any]], str]") -> Section:
        shown = [tuple(column(item) for column in columns) for item in found[:ROWS_SHOWN]]
        return title, names, shown, len(found), none

    def at(key: str) -> "Callable[[Dict[str, Any]], str]":
        return lambda item: words(str(item[key]))

    def path_of(item: "Dict[str, Any]") -> str:
        return path(item["path"])

    return [
        section("Removed, and still to be had back", ("when", "files", "size", "restore with", "purged after"),
                report["removed"], "nothing is in quarantine", at("at"), at("files"),
                lambda item: size_text(item["bytes"]), lambda item: path(item["restore"]), at("purge_after")),
        section("Candidates", ("path", "size", "age", "rule", "reason", "saved by"), report["candidates"], "none",
                path_of, lambda item: size_text(item["size"]), lambda item: sc.duration_text(item["age_s"]), at("rule"),
                at("reason"), at("saved_by")),
        section("Named by a rule, and kept", ("path", "rule", "why"), report["skipped"], "none", path_of, at("rule"),
                at("reason")),
        section("Registered files that expire within 14 days", ("path", "expires", "reason"), report["expiring"],
                "none", path_of, at("expires"), at("reason")),
        section("Automations: " + words(report["automations"]["verdict"]), ("name", "state", "why"),
                report["automations"]["unwell"], "all well", at("name"), at("state"), at("reason")),
    ]


def change_line(report: "Dict[str, Any]") -> str:
    change = report["change"]
    if change is None:
        return "There is nothing to compare with." if report["refused"] else "This is the first report."
    if not change["new"] and not change["gone"]:
        return "No change since %s." % change["since"]
    return "Since %s: %d new, %d gone, %s%s." % (change["since"], len(change["new"]), len(change["gone"]),
                                                 "+" if change["bytes"] >= 0 else "-", size_text(abs(change["bytes"])))


def disk_line(report: "Dict[str, Any]") -> str:
    found = report["disk"]
    inodes = found["free_inodes_percent"]
    return "Disk: %s free (%s %%), inodes: %s" % (size_text(found["free_bytes"]), found["free_percent"],
                                                  "not counted here" if inodes is None else "%s %% free" % inodes)


def details(report: "Dict[str, Any]") -> "List[Row]":
    limits, inventory = report["thresholds"], report["inventory"]
    age = "unknown" if inventory["age_s"] is None else sc.duration_text(inventory["age_s"])
    return [("root", plain(report["root"])), ("host", plain(report["host"])), ("HEAD", report["head"] or "none"),
            ("inventory", "%s old, %s, %s" % (age, plural(inventory["files"], "file"), size_text(inventory["bytes"]))),
            ("deletions a run, at most", str(limits["max_deletions"])),
            ("part of the tree, at most", "%g %% of files or bytes" % (100 * limits["max_fraction"])),
            ("age of the inventory, at most", sc.duration_text(limits["max_age_s"]))]


# -- the two forms

def markdown(report: "Dict[str, Any]") -> str:
    """The report as one comment or job summary; the hidden marker is its last line."""
    lines = ["**%s**" % prose(report["verdict"]), "", prose(change_line(report)), ""]
    lines += ["- " + prose(note) for note in report["notes"]] + [""] * bool(report["notes"])
    for title, columns, rows, total, none in sections(report, code, prose):
        lines += ["### " + title, ""]
        if not rows:
            lines += [none, ""]
            continue
        lines += ["| %s |" % " | ".join(columns), "|%s" % ("---|" * len(columns))]
        lines += ["| %s |" % " | ".join(row) for row in rows]
        if total > len(rows):
            lines += ["", "and %d more" % (total - len(rows))]
        lines.append("")
    lines += [disk_line(report), "", "<details><summary>Thresholds and origin</summary>", ""]
    lines += ["- %s: %s" % (name, prose(value)) for name, value in details(report)]
    return "\n".join(lines + ["", "</details>", "", MARKER])


def table(report: "Dict[str, Any]") -> str:
    """The report for a terminal."""
    lines = [plain(report["verdict"]), plain(change_line(report))]
    lines += ["note: " + plain(note) for note in report["notes"]]
    for title, columns, rows, total, none in sections(report, printable, plain):
        lines += ["", title + ("" if rows else ": " + none)]
        shown = [columns] + rows if rows else []
        widths = [max(len(row[place]) for row in shown) for place in range(len(columns))] if rows else []
        lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in shown]
        if total > len(rows):
            lines.append("  and %d more" % (total - len(rows)))
    lines += ["", disk_line(report)]
    return "\n".join(lines + ["  %s: %s" % row for row in details(report)])


def restore_hint(root: Root, run_id: str, at: float) -> str:
    """How to get a run back, and until when."""
    return "to undo: %s (until it is purged, after %s)" % (
        restore_command(root.path, run_id), time.strftime("%Y-%m-%d", time.gmtime(at + PURGE_AGE_S)))
