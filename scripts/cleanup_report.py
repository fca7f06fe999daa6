"""The report of a clean-up analysis: a document, and its forms for Markdown and for a terminal."""

import os
import re
import shlex
import textwrap
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

import automation_manager
from common import HOME, plural, sc, size_text
from file_lifecycle import Registry
from quarantine import PURGE_AGE_S, Candidate, HeldRun
from tree import Root, printable, stored_path

FORMAT = 1
# By this the one comment of a pull request is found again.
MARKER = "<!-- symphony-conductor: clean-up report -->"
EXPIRING_WITHIN_S = 14 * sc.DAY
ROWS_SHOWN = 50      # of a table in Markdown
LINES_SHOWN = 20     # of a list on a terminal
LINES_OF_A_RULE = 5  # of each rule, where all candidates are more than that
WIDTH = 80           # columns of a terminal


# -- the document

def engine_command(root: str, *words: str) -> str:
    """A command of the clean-up: to be typed in the root or, for another root, anywhere."""
    program = "python3 scripts/cleanup_engine.py"
    if root != os.path.realpath(HOME):
        engine = os.path.join(HOME, "scripts", "cleanup_engine.py")
        program = "python3 %s --root %s" % (shlex.quote(engine), shlex.quote(root))
    return " ".join((program,) + words)


def restore_command(root: str, run_id: str) -> str:
    """The command that restores a run."""
    return engine_command(root, "restore", run_id)


WAY_ON = ("To go on, look through the candidates, protect what must stay, and remove the rest by "
          "hand with this command, which asks rule by rule")


def clean_command(root: str, inventory: str, options: "Sequence[str]") -> str:
    """The command of a clean-up by an inventory, as it must be typed."""
    path = os.path.abspath(inventory)
    if root == os.path.realpath(HOME) and path.startswith(root + "/"):
        path = os.path.relpath(path, root)
    words = [shlex.quote(word) for word in [path] + list(options)]
    return stored_path(engine_command(root, *words))


def grouped(items: "Sequence[Any]", key: "Callable[[Any], str]") -> "Dict[str, List[Any]]":
    """Items by a key, the keys in the order in which they come first."""
    groups: "Dict[str, List[Any]]" = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def by_rule(items: "Sequence[Candidate]", now: float) -> "List[Dict[str, Any]]":
    """What each rule takes, in the order of the plan: the safest first."""
    rows = []
    for rule, members in grouped(items, lambda item: item.rule).items():
        ages = [int(now - max(item.mtime_ns, item.ctime_ns) / 1e9) for item in members]
        rows.append({
            "rule": rule, "reason": members[0].reason, "candidates": len(members),
            "files": sum(item.files or 1 for item in members),
            "bytes": sum(item.size for item in members),
            "youngest_s": min(ages), "oldest_s": max(ages)})
    return rows


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
    try:
        os.stat(store.config_path)
    except FileNotFoundError:
        return {"verdict": "no conductor configuration", "unwell": []}
    except OSError as error:
        return {"verdict": "UNKNOWN - cannot open the configuration: %s" % error.strerror,
                "unwell": []}
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
             words: "Callable[[str], str]", rows_shown: int) -> "Dict[str, Section]":
    """The tables of the report; `path` and `words` escape texts for where they will stand."""
    def section(title: str, columns: Row, items: "List[Dict[str, Any]]", none: str,
                *cells: "Callable[[Dict[str, Any]], str]") -> Section:
        rows = [tuple(cell(item) for cell in cells) for item in items[:rows_shown]]
        return Section(title=title, columns=columns, rows=rows, total=len(items), none=none)

    def at(key: str) -> "Callable[[Dict[str, Any]], str]":
        return lambda item: words(str(item[key]))

    def path_of(item: "Dict[str, Any]") -> str:
        return path(item["path"])

    def size_of(item: "Dict[str, Any]") -> str:
        return size_text(item["bytes"])

    return {
        "rules": section(
            "Candidates by rule", ("rule", "candidates", "files", "size", "age", "reason"),
            report["rules"], "none",
            at("rule"), at("candidates"), at("files"), size_of, age_range, at("reason")),
        "candidates": section(
            "Candidates", ("path", "size", "age", "rule", "reason", "to keep it"),
            report["candidates"], "none",
            lambda item: path(candidate_name(item)) + files_note(item),
            lambda item: size_text(item["size"]),
            lambda item: sc.duration_text(item["age_s"]), at("rule"), at("reason"),
            at("saved_by")),
        "skipped": section(
            "Matched by a rule, but kept", ("path", "rule", "why"), report["skipped"], "none",
            path_of, at("rule"), at("reason")),
        "removed": section(
            "Removed files that can be restored",
            ("when", "files", "size", "restore with", "purged after"),
            report["removed"], "nothing is in quarantine",
            at("at"), at("files"), size_of, lambda item: path(item["restore"]), at("purge_after")),
        "expiring": section(
            "Registered files that expire within 14 days", ("path", "expires", "reason"),
            report["expiring"], "none",
            path_of, at("expires"), at("reason")),
        "automations": section(
            "Automations: " + words(report["automations"]["verdict"]),
            ("name", "state", "why"), report["automations"]["unwell"], "no problems",
            at("name"), at("state"), at("reason")),
    }


def candidate_name(item: "Dict[str, Any]") -> str:
    """The path of a candidate, with a slash behind that of a folder."""
    return item["path"] + "/" if item["files"] else str(item["path"])


def files_note(item: "Dict[str, Any]") -> str:
    return " (%s)" % plural(item["files"], "file") if item["files"] else ""


def age_range(item: "Dict[str, Any]") -> str:
    """'31d to 400d': of the youngest and the oldest, each in its larger unit."""
    youngest = sc.duration_text(item["youngest_s"]).split()[0]
    oldest = sc.duration_text(item["oldest_s"]).split()[0]
    return youngest if youngest == oldest else "%s to %s" % (youngest, oldest)


def change_line(report: "Dict[str, Any]") -> str:
    change = report["change"]
    if change is None and report["refused"]:
        return "Not compared with an earlier report: the plan was refused."
    if change is None and report["not_compared"]:
        return "Not compared with the last report: %s." % report["not_compared"]
    if change is None:
        return "There is no earlier report to compare with."
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
        ("max. part of the tree", "%g %% of files or bytes, without what tools make again"
         % (100 * limits["max_fraction"])),
        ("max. age of the inventory", sc.duration_text(limits["max_age_s"])),
    ]


# -- Markdown

def markdown(report: "Dict[str, Any]", rows_shown: int = ROWS_SHOWN) -> str:
    """The report as one comment or job summary; the hidden marker is its last line."""
    cut = False
    lines = ["**%s**" % prose(report["verdict"]), "", prose(change_line(report)), ""]
    if report["to_go_on"]:
        lines += [prose(report["to_go_on"]["text"]) + ": " + code(report["to_go_on"]["command"]),
                  ""]
    lines += ["- " + prose(note) for note in report["notes"]] + [""] * bool(report["notes"])
    for section in sections(report, code, prose, rows_shown).values():
        lines += ["### " + section.title, ""]
        if not section.rows:
            lines += [section.none, ""]
            continue
        lines += ["| %s |" % " | ".join(section.columns), "|%s" % ("---|" * len(section.columns))]
        lines += ["| %s |" % " | ".join(row) for row in section.rows]
        if section.total > len(section.rows):
            lines += ["", "and %d more" % (section.total - len(section.rows))]
            cut = True
        lines.append("")
    if cut:
        lines += ["To list all: " + code(report["to_list_all"]), ""]
    lines += [disk_line(report), "", "<details><summary>Thresholds and origin</summary>", ""]
    lines += ["- %s: %s" % (name, prose(value)) for name, value in details(report)]
    return "\n".join(lines + ["", "</details>", "", MARKER])


# -- a terminal

def table(report: "Dict[str, Any]", lines_shown: int = LINES_SHOWN) -> str:
    """The report for a terminal of 80 columns: only paths and reasons can be longer."""
    lines = [plain(report["verdict"]), plain(change_line(report))]
    lines += ["note: " + plain(note) for note in report["notes"]]
    tables = sections(report, printable, plain, lines_shown)
    lines += [""] + rule_lines(report["rules"])
    if report["to_go_on"]:
        lines += [""] + way_on_lines(report["to_go_on"])
    lines += [""] + candidate_lines(report["candidates"], lines_shown)
    lines += [""] + kept_lines(report["skipped"], lines_shown)
    lines += [""] + removed_lines(report["removed"], lines_shown)
    for name in ("expiring", "automations"):
        lines += [""] + _section_lines(tables[name])
    lines += list_all_lines(report, lines_shown)
    lines += ["", disk_line(report)]
    return "\n".join(lines + ["  %s: %s" % row for row in details(report)])


def refusal_lines(report: "Dict[str, Any]") -> "List[str]":
    """What a plan that is too large would have removed, and how to go on."""
    return ([""] + rule_lines(report["rules"]) + [""] + way_on_lines(report["to_go_on"])
            + [""] + candidate_lines(report["candidates"], LINES_SHOWN)
            + list_all_lines(report, LINES_SHOWN))


def list_all_lines(report: "Dict[str, Any]", lines_shown: int) -> "List[str]":
    """The command that lists what this report leaves out, if it leaves out anything."""
    lists = [report["candidates"], report["skipped"], report["removed"], report["expiring"],
             report["automations"]["unwell"]]
    if max(map(len, lists)) <= lines_shown:
        return []
    return ["", "To list all:", "  " + plain(report["to_list_all"])]


def rule_lines(rules: "List[Dict[str, Any]]") -> "List[str]":
    """What each rule takes, with the rule's reason on a line of its own, and the sum."""
    if not rules:
        return ["Candidates by rule: none"]
    rows = [("rule", "candidates", "files", "size", "age")]
    for row in rules:
        rows.append((plain(row["rule"]), str(row["candidates"]), str(row["files"]),
                     size_text(row["bytes"]), age_range(row)))
    if len(rules) > 1:
        rows.append(("all", str(sum(row["candidates"] for row in rules)),
                     str(sum(row["files"] for row in rules)),
                     size_text(sum(row["bytes"] for row in rules)), ""))
    reasons: "List[List[str]]" = [[]] + [_wrapped(row["reason"]) for row in rules] + [[]]
    lines = ["Candidates by rule"]
    for line, reason in zip(aligned(rows, right=(1, 2, 3)), reasons):
        lines += [line] + reason
    return lines


def way_on_lines(way: "Dict[str, str]") -> "List[str]":
    """What to do, and below it the command, which is never broken into lines."""
    return textwrap.wrap(way["text"] + ":", WIDTH) + ["  " + plain(way["command"])]


def _wrapped(text: str) -> "List[str]":
    indent = " " * 6
    return textwrap.wrap(plain(text), WIDTH, initial_indent=indent, subsequent_indent=indent)


def candidate_lines(items: "List[Dict[str, Any]]", lines_shown: int) -> "List[str]":
    """The candidates below the names of their rules; of many, the first few of each rule."""
    if not items:
        return ["Candidates: none"]
    each = len(items) if len(items) <= lines_shown else LINES_OF_A_RULE
    lines = ["Candidates"]
    for rule, members in grouped(items, lambda item: str(item["rule"])).items():
        rows = [(size_text(item["size"]), sc.duration_text(item["age_s"]),
                 printable(candidate_name(item)) + files_note(item)) for item in members[:each]]
        lines += ["  %s" % plain(rule)] + ["  " + line for line in aligned(rows, right=(0,))]
        if len(members) > each:
            lines.append("    and %d more" % (len(members) - each))
    way = max((str(item["saved_by"]) for item in items), key=len)
    return lines + ["  to keep one: %s" % way] * bool(way)


# Reasons that differ from file to file, and what they have in common.
COMMON_REASONS = (
    (re.compile(r"it changed .* ago, and the rule requires (.*)"), r"it changed less than \1 ago"),
    (re.compile(r"\d+ files? mentions? it\Z"), "other files mention it"),
    (re.compile(r"registered to expire at .*"), "registered to expire later"),
)


def common_reason(reason: str) -> str:
    for pattern, text in COMMON_REASONS:
        reason = pattern.sub(text, reason)
    return reason


def kept_lines(items: "List[Dict[str, Any]]", lines_shown: int) -> "List[str]":
    """What is kept and why; of many, the number for each reason, the most frequent first."""
    if not items:
        return ["Matched by a rule, but kept: none"]
    if len(items) <= lines_shown:
        return ["Matched by a rule, but kept"] + [
            "  %s (%s: %s)" % (
                printable(item["path"]), plain(item["rule"]), plain(item["reason"]))
            for item in items]
    groups = grouped(items, lambda item: common_reason(item["reason"]))
    counts = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = ["Matched by a rule, but kept: %d" % len(items)]
    lines += ["  %5d  %s" % (len(members), plain(reason))
              for reason, members in counts[:lines_shown]]
    return lines


def removed_lines(runs: "List[Dict[str, Any]]", lines_shown: int) -> "List[str]":
    if not runs:
        return ["Removed files that can be restored: nothing is in quarantine"]
    rows = [("run", "files", "size", "purged after")]
    rows += [(run["run"], str(run["files"]), size_text(run["bytes"]), run["purge_after"])
             for run in runs[:lines_shown]]
    lines = ["Removed files that can be restored"] + aligned(rows, right=(1, 2))
    if len(runs) > lines_shown:
        lines.append("  and %d more" % (len(runs) - lines_shown))
    return lines + ["  to restore the latest: " + plain(runs[0]["restore"])]


def aligned(rows: "Sequence[Row]", right: "Sequence[int]" = ()) -> "List[str]":
    """Rows as lines with columns of equal width; `right` are those of numbers."""
    columns = []
    for place, cells in enumerate(zip(*rows)):
        width = max(map(len, cells))
        pad = str.rjust if place in right else str.ljust
        columns.append([pad(cell, width) for cell in cells])
    return [("  " + "  ".join(cells)).rstrip() for cells in zip(*columns)]


def _section_lines(section: Section) -> "List[str]":
    if not section.rows:
        return ["%s: %s" % (section.title, section.none)]
    lines = [section.title]
    lines += aligned([section.columns] + section.rows)
    if section.total > len(section.rows):
        lines.append("  and %d more" % (section.total - len(section.rows)))
    return lines


def restore_hint(root: Root, run_id: str, at: float) -> str:
    """The command that restores a run, and until when that is possible."""
    last_day = time.strftime("%Y-%m-%d", time.gmtime(at + PURGE_AGE_S))
    return "to undo: %s (until it is purged, after %s)" % (
        restore_command(root.path, run_id), last_day)
