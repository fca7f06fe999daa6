"""The rules of `config/cleanup_rules.json`: which files can be removed, how old, and which never.

A rule matches files by pattern; a protected pattern overrides every rule. A pattern without a slash
is matched against the file name, one with a slash against the path from the root: `*` and `?` match
within a folder, `**` matches any number of folders, and a trailing slash matches everything below a
folder of that name, wherever it is.
"""

import os
import re
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from common import is_age, read_regular, sc, seconds_of

RULES_NAME = "config/cleanup_rules.json"
CLASSES = ("ignored", "untracked", "no-git")


def _patterns(value: "Any") -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_pattern, value))


def _is_pattern(text: "Any") -> bool:
    try:
        if not sc.is_filled(text) or text.startswith("/") or not text.strip("*?/"):
            return False
        re.compile(pattern_expression(text))
        return True
    except re.error:
        return False  # a set such as [z-a]


def _classes(value: "Any") -> bool:
    return isinstance(value, list) and bool(value) and all(name in CLASSES for name in value)


_REASON = sc.Rule(
    key="reason", required=True, check=sc.is_filled,
    allowed="a text that says why")
_PATTERNS = sc.Rule(
    key="patterns", required=True, check=_patterns,
    allowed="a list of patterns such as \"*.tmp\" or \"logs/**/*.log\"; none may match everything "
            "or start with /")

RULE_KEYS = {rule.key: rule for rule in (
    sc.Rule(key="name", allowed="letters, digits, '_', '.', '-'", check=sc.is_name, required=True),
    _PATTERNS,
    sc.Rule(key="older_than", allowed="an age such as \"14d\" or \"36h\"", check=is_age,
            required=True),
    sc.Rule(key="classes", allowed="a list of %s" % ", ".join(CLASSES), check=_classes),
    _REASON,
)}
PROTECTED_KEYS = {rule.key: rule for rule in (_PATTERNS, _REASON)}
DOCUMENT_KEYS = {rule.key: rule for rule in (
    sc.Rule(key="rules", allowed="a list of rules, safest first, at least one", required=True,
            check=lambda value: isinstance(value, list) and bool(value)),
    sc.Rule(key="protected", allowed="a list of objects with patterns and a reason", required=True,
            check=lambda value: isinstance(value, list)),
)}


class CleanupRule(sc.Value):
    """Files that can be removed once they are old enough.

    `rank` is the rule's place in the file, where the safest come first.
    """

    name: str = ""
    patterns: "Tuple[str, ...]" = ()
    age_s: float = 0.0
    classes: "Tuple[str, ...]" = CLASSES
    reason: str = ""
    rank: int = 0


class Matcher:
    """Patterns compiled together.

    Those without a slash look at the name alone, which is most of the work.
    """

    def __init__(self, patterns: "Sequence[str]", flags: int = 0) -> None:
        names = [text for text in patterns if "/" not in text]
        paths = [text for text in patterns if "/" in text]
        self._names = re.compile("|".join(map(pattern_expression, names)) or NOTHING, flags)
        self._paths = re.compile("|".join(map(pattern_expression, paths)) or NOTHING, flags)

    def __call__(self, path: str) -> bool:
        return bool(self._names.match(path, path.rfind("/") + 1) or self._paths.match(path))


class Rules:
    """All rules of a file, ready to be asked."""

    def __init__(self, rules: "Sequence[CleanupRule]",
                 protected: "Sequence[Tuple[str, str]]" = ()) -> None:
        self.rules = tuple(rules)
        self.protected = tuple(protected)  # (pattern, reason)
        # Asked first, because no rule matches most paths.
        self.names_some = Matcher([text for rule in rules for text in rule.patterns])
        self._matchers = [(rule, Matcher(rule.patterns)) for rule in rules]
        # A README is one in any spelling.
        self._protects_some = Matcher([pattern for pattern, _ in protected], re.IGNORECASE)
        self._guards = [(Matcher([pattern], re.IGNORECASE), pattern, reason)
                        for pattern, reason in protected]

    def rule_for(self, path: str) -> "CleanupRule | None":
        """The first rule that matches the path."""
        return next((rule for rule, matches in self._matchers if matches(path)), None)

    def protection(self, path: str) -> str:
        """Why the path is protected, '' when it is not. Case is ignored."""
        for original in originals(path):
            if not self._protects_some(original):
                continue
            for matches, pattern, reason in self._guards:
                if matches(original):
                    return "protected by '%s': %s" % (pattern, reason)
        return ""


NOTHING = r"(?!)"
# What editors, people and merges put behind a file's name, or around it, for a copy.
COPY_NAME = re.compile(
    r"(?is)(.+?)(?:~|\.(?:bak|old|orig|rej|save|backup|tmp|temp|copy|sw[a-p]|un~|[0-9]+))\Z")
WORD_EDGE = re.compile(r"[.\-_~#( ]")


def originals(path: str) -> "Iterator[str]":
    """The path, and those of the files that it may be a copy of.

    `.server.key.swp` may be one of `server.key`, and so may `server.key.2024-06-01.bak`: behind a
    name, people write dates, numbers and words, so every shorter beginning counts.
    """
    yield path
    folder, slash, name = path.rpartition("/")
    match = COPY_NAME.match(name)
    if not match:
        return
    names = [match.group(1), match.group(1).lstrip(".#")]
    for beginning in names:
        edges = [edge.start() for edge in WORD_EDGE.finditer(beginning)]
        for length in [len(beginning)] + edges:
            if length:
                yield folder + slash + beginning[:length]


_WILDCARDS = {"*": "[^/]*", "?": "[^/]", "**": ".*"}
_PIECE = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^\]/]+\]|[^*?\[]+|\[")


def pattern_expression(pattern: str) -> str:
    """The regular expression of a pattern: for the name if it has no slash, else for the path."""
    below = pattern.endswith("/")
    body = pattern.rstrip("/")
    anchored = "/" in body and not below
    if body.startswith("**/"):
        body, anchored = body[3:], False
    text = ""
    for piece in _PIECE.findall(body):
        if piece == "**/":
            text += "(?:[^/]+/)*"
        elif piece in _WILDCARDS:
            text += _WILDCARDS[piece]
        elif len(piece) > 2 and piece[0] == "[":
            negation = "^/" if piece[1] == "!" else ""
            members = re.escape(piece[1:-1].lstrip("!")).replace("\\-", "-")
            text += "[%s%s]" % (negation, members)
        else:
            text += re.escape(piece)
    anywhere = "" if anchored or "/" not in pattern else "(?:.*/)?"
    return "(?s:%s%s%s)" % (anywhere, text, "/.*" if below else r"\Z")


def read_rules(path: str, shown: str) -> Rules:
    """The rules of a file.

    Raises ConfigError with every problem in it: a doubtful rule is never dropped silently.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise sc.ConfigError([sc.Problem(place=shown, text="cannot be read: %s" % error.strerror)])
    except UnicodeDecodeError as error:
        raise sc.ConfigError([sc.Problem(place=shown, text="byte %d is not UTF-8" % error.start,
                                         hint="save it as UTF-8")])
    problems = sc.Store(os.path.dirname(path)).insecure(path)
    document = sc.parse_document(text, shown)
    if problems:
        raise sc.ConfigError(problems)
    return build_rules(document, shown)


def build_rules(document: "Any", place: str) -> Rules:
    """Rules from a parsed document. Raises ConfigError with every problem in it."""
    if not isinstance(document, dict):
        raise sc.ConfigError([sc.Problem(place=place, text="the document is not an object",
                                         hint="use {\"rules\": [...], ...}")])
    problems: "List[Any]" = sc.check_fields(document, DOCUMENT_KEYS, place, "")
    if problems:
        raise sc.ConfigError(problems)
    for key, fields in (("rules", RULE_KEYS), ("protected", PROTECTED_KEYS)):
        problems += _entry_problems(document[key], fields, "%s: %s" % (place, key))
    names = [rule.get("name") for rule in document["rules"] if isinstance(rule, dict)]
    repeated = {name for name in names if isinstance(name, str) and names.count(name) > 1}
    for name in sorted(repeated):
        problems.append(sc.Problem(place=place, text="rules: name '%s' is used twice" % name,
                                   hint="names must be unique"))
    if problems:
        raise sc.ConfigError(problems)
    protected = [(text, raw["reason"]) for raw in document["protected"] for text in raw["patterns"]]
    return Rules([_rule(raw, rank) for rank, raw in enumerate(document["rules"])], protected)


def _entry_problems(entries: "Sequence[Any]", fields: "Dict[str, Any]", place: str) -> "List[Any]":
    problems: "List[Any]" = []
    for number, raw in enumerate(entries):
        here = "%s[%d]" % (place, number)
        if isinstance(raw, dict):
            problems += sc.check_fields(raw, fields, here, "")
        else:
            problems.append(sc.Problem(
                place=here, text="an entry cannot be of type %s" % type(raw).__name__,
                hint="use an object with %s" % ", ".join(sorted(fields))))
    return problems


def _rule(raw: "Dict[str, Any]", rank: int) -> CleanupRule:
    return CleanupRule(
        name=raw["name"], patterns=tuple(raw["patterns"]), age_s=seconds_of(raw["older_than"]),
        classes=tuple(raw.get("classes", CLASSES)), reason=raw["reason"], rank=rank)
