"""The rules of `config/cleanup_rules.json`: what can be removed, how old, and what never.

A rule names files by `patterns`, or folders that go as one by `folders`. A protected pattern
overrides every rule. `*` and `?` match within a folder, `**` matches any number of folders.

In a rule, a pattern without a slash is matched against the file name, one with a slash against the
path from the root, and a trailing slash matches everything below a folder of that name, wherever it
is. A rule takes no more than it says. A protected pattern covers what a person can mean by it: the
file or folder of that name and all that is below it, in any spelling.
"""

import itertools
import os
import re
import struct
from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from common import is_age, read_regular, sc, seconds_of
from tree import folded

RULES_NAME = "config/cleanup_rules.json"
CLASSES = ("ignored", "untracked", "no-git")
ORIGINALS = ("there", "newer")
ANY_FOLDER = "*"  # in `folders`, of a rule that tells them by content


# -- content

HEAD_BYTES = 8192  # of a file, are enough for each check

ELF = b"\x7fELF"
MACH_O = {b"\xfe\xed\xfa\xce": ">I", b"\xfe\xed\xfa\xcf": ">I",  # magic number: byte order
          b"\xce\xfa\xed\xfe": "<I", b"\xcf\xfa\xed\xfe": "<I"}
ELF_CORE, MACH_O_CORE = 4, 4  # ET_CORE of elf(5), MH_CORE of <mach-o/loader.h>
TAG_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
TAG_TOOL = re.compile(
    br"(?m)^# This file is a cache directory tag (?:automatically )?created by (?!\(application)\w")
RESOURCE_FORK = 2
EMPTY_FORK = 286  # bytes of a resource fork without any resource

# The beginnings of CMakeCache.txt, of a Makefile and of cmake_install.cmake.
CMAKE_FILE = (br"# (?:This is the CMakeCache file\."
              br"|CMAKE generated file: DO NOT EDIT!|Install script for directory: )")


def is_core_dump(head: bytes) -> bool:
    """The memory of a process: an ELF or Mach-O file of type core."""
    if head[:4] == ELF and len(head) >= 18:
        order = "<H"
        if head[5] == 2:  # ELFDATA2MSB
            order = ">H"
        return struct.unpack_from(order, head, 16) == (ELF_CORE,)
    if head[:4] in MACH_O and len(head) >= 16:
        return struct.unpack_from(MACH_O[head[:4]], head, 12) == (MACH_O_CORE,)
    return False


def is_go_program(head: bytes) -> bool:
    """A program with the build ID that Go's linker puts at its beginning."""
    is_program = head[:4] == ELF or head[:4] in MACH_O
    return is_program and (b"\0Go\0\0" in head or b"Go build ID: " in head)


def is_cache_tag(head: bytes) -> bool:
    """CACHEDIR.TAG of a cache; an empty one, or one of something else, says nothing."""
    return head.startswith(TAG_SIGNATURE)


def is_tool_cache_tag(head: bytes) -> bool:
    """One that a tool wrote, as its second line says.

    People put the signature alone into any folder that they want left out of a backup.
    """
    return is_cache_tag(head) and bool(TAG_TOOL.search(head))


def is_apple_double(head: bytes) -> bool:
    """What macOS stores beside a file (RFC 1740), without a resource fork, which holds data."""
    if not head.startswith(b"\0\x05\x16\x07") or len(head) < 26:
        return False
    number = struct.unpack_from(">H", head, 24)[0]
    if len(head) < 26 + 12 * number:
        return False
    entries = [struct.unpack_from(">III", head, 26 + 12 * place) for place in range(number)]
    return all(kind != RESOURCE_FORK or size <= EMPTY_FORK for kind, _, size in entries)


CONTENTS: "Dict[str, Callable[[bytes], bool]]" = {
    "core-dump": is_core_dump,
    "go-program": is_go_program,
    "cachedir-tag": is_cache_tag,
    "cachedir-tag-of-a-tool": is_tool_cache_tag,
    "appledouble": is_apple_double,
    "cmake-cache": lambda head: head.startswith(b"# This is the CMakeCache file."),
    "cmake-file": lambda head: bool(re.match(CMAKE_FILE, head)),
    "java-heap-dump": lambda head: head.startswith(b"JAVA PROFILE 1.0"),
    "sqlite": lambda head: head.startswith(b"SQLite format 3\0"),
}


# -- patterns

NOTHING = r"(?!)"
_SET = r"\[(?:![^\]/]+|[^!\]/][^\]/]*)\]"  # [] and [!] are none: nothing is in them
# Repeated wildcards are one piece. "**/" stands for folders where a name could begin: in "a**/b",
# "**" is what it is in "a**b".
_PIECE = re.compile(r"(?:\A|(?<=/))(?:\*\*/)+|\*{2,}|\*|\?|%s|[^*?\[]+|\[" % _SET)
_SPECIAL = re.compile(r"[*?\[]")


def pattern_expression(pattern: str, anywhere: bool = False, below: bool = False) -> str:
    """The regular expression of a pattern: for the name if it has no slash, else for the path.

    `anywhere`: at any depth, unless it begins with "./". `below`: and what is below a folder that
    it matches.
    """
    only_below = pattern.endswith("/") and not below
    body = pattern.rstrip("/")
    at_root = body.startswith("./")
    body = body[2:] if at_root else body
    if not at_root and not anywhere:
        anywhere = "/" in pattern and pattern.endswith("/")
    if body.startswith("**/"):
        body, anywhere, at_root = body[3:], True, False
    text = _joined_expression(_PIECE.findall(body))
    if anywhere and not at_root:
        text = "(?:.*/)?" + text
    end = r"\Z"
    if only_below:
        end = "/.*"
    elif below:
        end = r"(?:/.*)?\Z"
    return "(?s:%s%s)" % (text, end)


_NAME_PART, _ANYTHING, _SUBFOLDERS = "[^/]*?", ".*?", "(?:[^/]+/)*?"
_WILDCARDS = {"*": _NAME_PART, "?": "[^/]"}
_GROUPS = itertools.count()  # expressions are joined, and no two groups may have the same name


def _joined_expression(pieces: "Sequence[str]") -> str:
    """The expression of a pattern's pieces.

    What stands between two wildcards is sought up to the first place, for good, where the second
    takes whatever there may be: an expression that came back to it would try all ways to share out
    a path among several wildcards, for minutes. A "**" takes anything, and a "**/" any folders
    behind the slash that is ahead of it.
    """
    sections = _split_before(pieces, lambda piece: piece[:2] == "**")
    expressions = list(map(_section_expression, sections))
    return "".join(map(_found_once, expressions[:-1])) + expressions[-1]


def _section_expression(pieces: "Sequence[str]") -> str:
    """Of pieces among which "**" or "**/" can only be the first.

    Between two "*" there is one place that leads on, or the second takes the rest of the name.
    """
    parts = ["".join(map(_piece_expression, part))
             for part in _split_before(pieces, lambda piece: piece == "*")]
    return parts[0] + "".join(map(_found_once, parts[1:-1])) + "".join(parts[1:][-1:])


def _split_before(pieces: "Iterable[str]", is_first: "Callable[[str], bool]") -> "List[List[str]]":
    """The pieces in parts, of which each but the first begins with one that `is_first`."""
    parts: "List[List[str]]" = [[]]
    for piece in pieces:
        if is_first(piece):
            parts.append([])
        parts[-1].append(piece)
    return parts


def _found_once(expression: str) -> str:
    """An atomic group; text without a wildcard needs none."""
    if "*" not in expression:
        return expression
    name = "w%d" % next(_GROUPS)
    return "(?=(?P<%s>%s))(?P=%s)" % (name, expression, name)


def _piece_expression(piece: str) -> str:
    if piece in _WILDCARDS:
        return _WILDCARDS[piece]
    if piece[:2] == "**":
        return _SUBFOLDERS if piece[-1] == "/" else _ANYTHING
    if len(piece) > 2 and piece[0] == "[":
        negation, members = "", piece[1:-1]
        if members[0] == "!":
            negation, members = "^", members[1:]
        # What is not in a set, and a range such as [+-9], have the slash in them.
        return "(?!/)[%s%s]" % (negation, _members_expression(members))
    return re.escape(piece)


def _members_expression(members: str) -> str:
    """The characters of a set; a '-' between two makes a range, and is itself everywhere else."""
    pieces = re.findall("(?s)(.)-(.)|(.)", members)
    return "".join("%s-%s" % (re.escape(low), re.escape(high)) if low else re.escape(single)
                   for low, high, single in pieces)


def _union(expressions: "Iterable[str]") -> "Any":
    return re.compile("|".join(expressions) or NOTHING)


class Matcher:
    """Patterns compiled together; case counts.

    Most names are told by how they begin or end, without a regular expression.
    """

    def __init__(self, patterns: "Iterable[str]") -> None:
        exact, starts, ends, paths = set(), set(), set(), set()
        others: "Set[str]" = set()
        for pattern in patterns:
            if "/" in pattern:
                paths.add(pattern)
            elif not _SPECIAL.search(pattern):
                exact.add(pattern)
            elif not _SPECIAL.search(pattern[1:]) and pattern[0] == "*":
                ends.add(pattern[1:])
            elif not _SPECIAL.search(pattern[:-1]) and pattern[-1] == "*":
                starts.add(pattern[:-1])
            else:
                others.add(pattern)
        self._exact, self._starts, self._ends = exact, tuple(starts), tuple(ends)
        self._is_other = self.other_names(others)
        self._is_path = _union(map(pattern_expression, paths)).match

    def other_names(self, patterns: "Iterable[str]") -> "Callable[[str], Any]":
        match: "Callable[[str], Any]" = _union(map(pattern_expression, patterns)).match
        return match

    def __call__(self, path: str) -> bool:
        name = path[path.rfind("/") + 1:]
        return bool(name in self._exact or name.endswith(self._ends)
                    or name.startswith(self._starts) or self._is_other(name)
                    or self._is_path(path))


class NameFilter(Matcher):
    """A faster matcher, of all paths that the patterns match and some more.

    Of `**/__pycache__/*.pyc` it looks at `*.pyc` alone, of `*.log.[0-9]` at `.log.`. No rule
    matches most paths, so this is asked first.
    """

    def __init__(self, patterns: "Iterable[str]") -> None:
        names = set()
        for pattern in patterns:
            last = pattern.rpartition("/")[2]
            names.add(last if last.strip("*") and "**" not in last else pattern)
        super().__init__(names)

    def other_names(self, patterns: "Iterable[str]") -> "Callable[[str], Any]":
        expressions = []
        for pattern in patterns:
            literals = [piece for piece in _PIECE.findall(pattern) if not _SPECIAL.match(piece)]
            if not literals:
                return super().other_names(patterns)
            expressions.append(re.escape(max(literals, key=len)))
        search: "Callable[[str], Any]" = _union(sorted(expressions)).search
        return search


# -- patterns that cannot be meant

# Names that have nothing in common. What matches two of them matches nearly everything.
_ARBITRARY = ("qzkvbj", "Wxpfmd", "7391", "hgtrwc.txt", "Plmokn.JPEG", "8264.csv", ".vbnmzx",
              ".fjdksl.yml", "tyghvn bxcmzq.odt", "über-ßß.md", "q-w_k.tar.gz")
_SHAPES: "Tuple[str, ...]" = ("%s", "lkjhgf/%s", "mnbvcx/Poiuyt/%s")


def pattern_fault(pattern: "Any", root: str = "") -> "Tuple[str, str] | None":
    """(what is wrong with a pattern, what to write instead); None for one that can be meant.

    `root` is the folder from which paths are meant, '' where that is unknown.
    """
    if not sc.is_filled(pattern):
        return "a pattern is a text that is not blank", ""
    if pattern.startswith(("/", "~/")):
        return _absolute_fault(pattern, root)
    problem, meant = _spelling_fault(pattern)
    if problem:
        if meant and pattern_fault(meant, root):
            meant = ""  # that would be refused as well
        return problem, meant and "write '%s'" % meant
    if pattern.startswith("!"):
        return "there is no negation", "list what is meant; '?' matches a '!' too"
    if re.search(r"\{[^{}]*,[^{}]*\}", pattern):
        return "braces are not expanded", "write one pattern for each"
    try:
        expressions = [re.compile(pattern_expression(text)) for text in (pattern, folded(pattern))]
    except re.error:
        return "the order of a set is wrong", "write [a-z], not [z-a]"
    if _matches_anything(expressions[0], "/" in pattern):
        return "it matches nearly everything", "write what the names have in common"
    return None


def _spelling_fault(pattern: str) -> "Tuple[str, str]":
    """(why no path below the root is spelled like that, or '', how it is spelled)."""
    parts = pattern.rstrip("/").split("/")
    if parts[0] == "." and len(parts) > 1:
        del parts[0]  # "./" stands for the root
    if "\\" in re.sub(_SET, "", pattern):
        return "a backslash separates no folders", pattern.replace("\\", "/")
    meant = os.path.normpath(pattern)
    if meant == ".." or meant.startswith("../"):
        return "it leads out of the root", ""
    if ".." in parts or "" in parts or "." in parts:
        return "no path is spelled like that", "" if meant == "." else meant
    return "", ""


def _absolute_fault(pattern: str, root: str) -> "Tuple[str, str]":
    """Of a pattern that begins at the top of the file system, or in a home."""
    problem, end = "paths are relative to the root", ""
    if not root:
        return problem, "write its path from the root"
    if pattern.endswith("/"):
        end = "/"
    path = os.path.normpath(os.path.expanduser(pattern))
    for place in (path, os.path.realpath(path)):
        for top in (os.path.abspath(root), os.path.realpath(root)):
            if place == top:
                return "it is the root itself", "write what in it is meant"
            if place.startswith(top.rstrip("/") + "/"):
                return problem, "write '%s'" % (os.path.relpath(place, top) + end)
    return "%s, and it is outside of the root" % problem, ""


def _matches_anything(expression: "Any", is_path: bool) -> bool:
    shapes = _SHAPES
    if not is_path:
        shapes = ("%s",)
    return any(sum(bool(expression.match(shape % name)) for name in _ARBITRARY) > 1
               for shape in shapes)


def _folder_fault(pattern: "Any", root: str = "") -> "Tuple[str, str] | None":
    if pattern == ANY_FOLDER:
        return None
    return pattern_fault(pattern, root)


# -- the keys of a rule

def _texts(value: "Any") -> bool:
    return isinstance(value, list) and bool(value) and all(map(sc.is_filled, value))


def _classes(value: "Any") -> bool:
    return isinstance(value, list) and bool(value) and all(name in CLASSES for name in value)


def _is_one_of(names: "Iterable[str]") -> "Callable[[Any], bool]":
    return lambda value: isinstance(value, str) and value in names


def _names(value: "Any") -> bool:
    return _texts(value) and not any(
        _SPECIAL.search(name) or name.startswith("/") or "//" in name or name.endswith("/")
        for name in value)


NAMES_ALLOWED = "a list of names or of paths from the %s, such as %s, without wildcards"
PATTERNS_ALLOWED = "a list of patterns such as \"*.tmp\" or \"logs/**/*.log\""

_REASON = sc.Rule(
    key="reason", required=True, check=sc.is_filled,
    allowed="a text that says why")
_GENERATED = sc.Rule(key="generated", allowed="true or false", check=sc.is_flag)

RULE_KEYS = {rule.key: rule for rule in (
    sc.Rule(key="name", allowed="letters, digits, '_', '.', '-'", check=sc.is_name, required=True),
    sc.Rule(key="patterns", allowed=PATTERNS_ALLOWED, check=_texts),
    sc.Rule(key="folders", allowed="a list of folders such as \"__pycache__\" or \"target/debug\"",
            check=_texts),
    sc.Rule(key="older_than", allowed="an age such as \"14d\" or \"36h\"", check=is_age,
            required=True),
    sc.Rule(key="classes", allowed="a list of %s" % ", ".join(CLASSES), check=_classes),
    sc.Rule(key="marker", allowed=NAMES_ALLOWED % ("folder", "\"PKG-INFO\""), check=_names),
    sc.Rule(key="beside", allowed=NAMES_ALLOWED % ("folder that holds it", "\"../Cargo.toml\""),
            check=_names),
    sc.Rule(key="unless", allowed=NAMES_ALLOWED % ("folder that holds it", "\".env\""),
            check=_names),
    sc.Rule(key="only", allowed="a list of patterns such as \"*.pyc\", relative to the folder",
            check=_texts),
    sc.Rule(key="holds", allowed="a list of patterns such as \"*.txt\", relative to the folder",
            check=_texts),
    sc.Rule(key="original", allowed=" or ".join("\"%s\"" % text for text in ORIGINALS),
            check=_is_one_of(ORIGINALS)),
    sc.Rule(key="stale", allowed="true or false", check=sc.is_flag),
    sc.Rule(key="content", allowed="one of %s" % ", ".join(sorted(CONTENTS)),
            check=_is_one_of(CONTENTS)),
    _GENERATED,
    sc.Rule(key="references", allowed="true or false", check=sc.is_flag),
    sc.Rule(key="source", allowed="a text that says where the convention is from",
            check=sc.is_filled),
    sc.Rule(key="enabled", allowed="true or false", check=sc.is_flag),
    _REASON,
)}
PROTECTED_KEYS = {rule.key: rule for rule in (
    sc.Rule(key="patterns", allowed=PATTERNS_ALLOWED, check=_texts, required=True),
    _GENERATED,
    sc.Rule(key="members", allowed="true or false", check=sc.is_flag),
    _REASON,
)}
DOCUMENT_KEYS = {rule.key: rule for rule in (
    sc.Rule(key="rules", allowed="a list of rules, safest first, at least one", required=True,
            check=lambda value: isinstance(value, list) and bool(value)),
    sc.Rule(key="protected", allowed="a list of objects with patterns and a reason", required=True,
            check=lambda value: isinstance(value, list)),
)}
# Keys of patterns, and what says what is wrong with one.
PATTERN_KEYS = (
    ("patterns", pattern_fault), ("folders", _folder_fault), ("only", pattern_fault),
    ("holds", _folder_fault))
FOLDER_KEYS = ("marker", "only", "holds", "stale")  # they say nothing of a file


class CleanupRule(sc.Value):
    """Files, or folders that go as one, that can be removed once they are old enough.

    `marker`, `beside`, `unless` and `content` tell what the rule is about: without them, a name is
    only a name. `only`, `holds`, `original` and `stale` keep what may be more than it seems. `rank`
    is the rule's place in the file, where the safest come first.
    """

    name: str = ""
    patterns: "Tuple[str, ...]" = ()
    folders: "Tuple[str, ...]" = ()
    age_s: float = 0.0
    classes: "Tuple[str, ...]" = CLASSES
    marker: "Tuple[str, ...]" = ()  # one of these is in the folder
    beside: "Tuple[str, ...]" = ()  # one of these lies beside it; {name} and {stem} are its own
    unless: "Tuple[str, ...]" = ()  # none of these does
    only: "Tuple[str, ...]" = ()    # patterns of all that a tool puts into the folder
    holds: "Tuple[str, ...]" = ()   # of what looks like a person's, these are the tool's
    original: str = ""              # 'there' or 'newer': what a copy's original must be
    stale: bool = False             # nothing else in the folder that holds it changed either
    content: str = ""               # a check of CONTENTS
    generated: bool = False         # a tool made it, and makes it again when it is needed
    references: bool = False        # what mentions it keeps it, although it is generated
    source: str = ""
    enabled: bool = True
    reason: str = ""
    rank: int = 0

    @property
    def by_name(self) -> bool:
        """Whether a name alone tells what the rule is about."""
        return not (self.marker or self.beside or self.content)

    def names_folder(self, path: str) -> bool:
        """Whether it names the folder by a name without wildcards."""
        names = [text for text in self.folders if not _SPECIAL.search(text)]
        return bool(folder_expression(names).match(path))


class Protected(sc.Value):
    """A pattern of what no rule can remove.

    `generated`: also what a rule of generated things finds. A compiled migration is no migration.
    `members`: also what goes with the folder that it is in. What a package manager installed is
    left alone, but a test environment of which it is a part can go.
    """

    pattern: str = ""
    reason: str = ""
    generated: bool = True
    members: bool = True


# -- protection

def spellings(text: str) -> "Set[str]":
    """A path or pattern as a file system may hold it that ignores case and composition.

    Two, where folding changes the length of a text, for the sake of '?'.
    """
    if len(text.encode("utf-8", "surrogatepass")) == len(text):  # ASCII, as most paths are
        return {text.lower()}
    import unicodedata
    return {folded(text), unicodedata.normalize("NFC", text).lower()}


class Guards:
    """Protected patterns compiled together."""

    def __init__(self, entries: "Sequence[Protected]") -> None:
        self._entries = entries
        self._names, self._paths = self._compiled(entry.pattern for entry in entries)
        self._folders: "Dict[str, bool]" = {"": False}  # name of a folder -> whether one matches

    @staticmethod
    def _compiled(patterns: "Iterable[str]") -> "Tuple[Matcher, Any]":
        """(a matcher of any component of a path, an expression for whole paths)."""
        names, paths = set(), set()
        for pattern in patterns:
            for text in spellings(pattern.rstrip("/")):
                if "/" in text:
                    anywhere = pattern.endswith("/")
                    paths.add(pattern_expression(text, anywhere=anywhere, below=True))
                else:
                    names.add(text)
        return Matcher(names), _union(paths)

    def entry_for(self, path: str) -> "Protected | None":
        """The first entry that covers the path. A folder's path ends with a slash."""
        for text in spellings(path):
            folder, _, name = text.rpartition("/")
            parts = folder.split("/")
            if self._names(name) or self._paths.match(text) or any(map(self._is_protected, parts)):
                return next(entry for entry in self._entries
                            if self._covers(entry, text, parts + [name]))
        return None

    def _covers(self, entry: Protected, text: str, parts: "Sequence[str]") -> bool:
        names, paths = self._compiled([entry.pattern])
        return bool(paths.match(text)) or any(map(names, parts))

    def _is_protected(self, name: str) -> bool:
        # Folders are few, and asked for once for each file in them.
        if name not in self._folders:
            self._folders[name] = self._names(name)
        return self._folders[name]


# -- what people put into folders

# Documents, data, pictures and keys: in a folder that goes as one, they keep it, unless the rule
# says by a full name that the tool writes such a file.
PERSONAL_ENDINGS = frozenset("""
    csv tsv xls xlsx ods doc docx odt odp ppt pptx rtf pdf txt md rst org tex bib epub ipynb rmd
    eml mbox jsonl dat
    sql db sqlite sqlite3 mdb accdb dump dmp rdb parquet feather h5 hdf5 npy npz pkl joblib ckpt pt
    pth safetensors onnx gguf rdata rds mat
    pem key kdbx p12 pfx jks keystore gpg asc ppk ovpn env
    jpg jpeg png gif svg tif tiff heic psd xcf webp raw mp3 wav flac m4a mp4 mov avi mkv
""".split())
PERSONAL_NAMES = re.compile(
    r"(?:password|passwd|credential|secret)s?(?:\.[^.]*)?\Z|notes\b|todo\b")


def is_personal(path: str) -> bool:
    """Whether by its name, a file is rather a person's than a tool's, or a copy of such a file."""
    for original in originals(path.lower()):
        name = original.rpartition("/")[2]
        ending = name.rpartition(".")[2]
        if ending in PERSONAL_ENDINGS and ending != name or PERSONAL_NAMES.match(name):
            return True
    return False


# -- copies

# What editors, people and merges put behind a file's name, or around it, for a copy.
COPY_NAME = re.compile(
    r"(?is)(.+?)(?:~|#|\.(?:bak|old|orig|rej|save|backup|tmp|temp|copy|sw[a-p]|un~|[0-9]+))\Z")
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


# How programs name a copy; the groups together are the name of what it is a copy of.
_COPIES = tuple(re.compile("(?s)" + pattern + r"\Z") for pattern in (
    r"#(.+)#",                                     # Emacs: auto-save
    r"\.#(.+?)(?:\.[0-9][0-9.]*)?",                # CVS
    r"(.+)[-.]20[0-9]{2}-?[0-9]{2}-?[0-9]{2}(\.log)",  # logs by day
    r"(.+\.log)(?:[-.][0-9][-0-9]*)?(?:\.(?:gz|xz|zst|bz2))",  # logrotate, compressed
    r"(.+\.log)[-.][0-9][-0-9]*",                    # and not
    r"(.+)\.~[0-9]+~",                             # Emacs, cp --backup=numbered
    r"\.(.+)\.(?:sw[a-p]|un~)",                    # Vim
    r"(.+)\.(?:sw[a-p]|orig|rej|bak|old)",         # patch, git mergetool, people
    r"(.+)~",                                      # Emacs, gedit, nano
    r"(.+)_(?:BACKUP|BASE|LOCAL|REMOTE)_[0-9]+(\.[^.]*)?",  # git mergetool
))
_CHECKPOINT = re.compile(r"(?s)((?:.*/)?)\.ipynb_checkpoints/([^/]+)-checkpoint(\.[^/.]+)\Z")
_BUILT = re.compile(r"(?s)((?:.*/)?)build/lib(?:\.[^/]+)?/(.+(?:\.pyi?|/py\.typed))\Z")
_BUILT_SCRIPT = re.compile(r"(?s)((?:.*/)?)build/scripts-[^/]+/([^/]+)\Z")
_BYTECODE = re.compile(r"(?s)((?:.*/)?)__pycache__/([^/]+?)(?:\.[a-z]+-?[0-9][^/]*)?\.py[co]\Z")
_RESOURCE = re.compile(
    r"(?s)((?:.*/)?)(?:target/(test-)?classes|build/resources/(main|test))/(.+)\Z")
_MADE_RESOURCE = re.compile(
    r"(?s)META-INF/(?:maven/.*|MANIFEST\.MF|.*\.kotlin_module)\Z|.*\.class\Z")
_MERGETOOL = re.compile(r"(?s)(.+)_(BACKUP|BASE|LOCAL|REMOTE)_([0-9]+(?:\.[^./]*)?)\Z")
# Bytecode and logs: an original that is empty now says nothing of what they hold.
_NO_TEXT_OF_ITS_ORIGINAL = re.compile(r"(?s).*(?:\.py[co]|\.log(?:[-.][^/]*)?)\Z")


def copied_from(path: str) -> "Tuple[str, ...]":
    """The paths of which this one is a copy by its name and place: one, if any, is the original."""
    built = _BUILT.match(path)
    if built:  # setuptools, by both layouts of a project
        return built.group(1) + built.group(2), built.group(1) + "src/" + built.group(2)
    script = _BUILT_SCRIPT.match(path)
    if script:
        base, name = script.groups()
        return tuple(base + folder + name for folder in ("", "bin/", "scripts/"))
    bytecode = _BYTECODE.match(path)
    if bytecode:
        base = "".join(bytecode.groups())
        return base + ".py", base + ".pyw"
    resource = _RESOURCE.match(path)
    if resource:  # Maven, Gradle
        return _resource_from(resource)
    checkpoint = _CHECKPOINT.match(path)
    if checkpoint:  # Jupyter
        return ("".join(checkpoint.groups()),)
    folder, slash, name = path.rpartition("/")
    for expression in _COPIES:
        match = expression.match(name)
        if match:
            text = "".join(part or "" for part in match.groups())
            return (folder + slash + text,)
    return ()


def _resource_from(match: "Any") -> "Tuple[str, ...]":
    """Where a resource that Maven or Gradle copied is from; nothing for what they make."""
    base, of_tests, source_set, name = match.groups()
    if _MADE_RESOURCE.match(name):
        return ()
    if of_tests:
        source_set = "test"
    return ("%ssrc/%s/resources/%s" % (base, source_set or "main", name),)


def merged_with(path: str) -> "Tuple[str, ...]":
    """The other files that git mergetool leaves beside one of its own, () for any other file.

    A number alone does not tell: sales_BASE_2023.txt is no part of a merge.
    """
    match = _MERGETOOL.match(path)
    if not match:
        return ()
    return tuple("%s_%s_%s" % (match.group(1), part, match.group(3))
                 for part in ("BACKUP", "BASE", "LOCAL", "REMOTE") if part != match.group(2))


def repeats_its_original(path: str) -> bool:
    """Whether a copy holds the text of its original, so that an empty original has lost some."""
    return not _NO_TEXT_OF_ITS_ORIGINAL.match(path)


# -- all rules

class Rules:
    """All rules of a file, ready to be asked."""

    def __init__(self, rules: "Sequence[CleanupRule]",
                 protected: "Sequence[Protected]" = ()) -> None:
        self.rules = tuple(rules)
        self.protected = tuple(protected)
        on = [rule for rule in rules if rule.enabled]
        files = [rule for rule in on if rule.patterns]
        # Asked first, because no rule matches most paths.
        self.names_some = NameFilter(text for rule in files for text in rule.patterns)
        self._matchers = [(rule, Matcher(rule.patterns)) for rule in files]
        self._folders = [(rule, folder_expression(rule.folders)) for rule in on
                         if rule.folders and ANY_FOLDER not in rule.folders]
        self._some_folders = NameFilter(
            pattern.rstrip("/") for rule, _ in self._folders for pattern in rule.folders)
        # Rules of any folder that holds a marker.
        self._marked = [rule for rule in on if ANY_FOLDER in rule.folders]
        self.markers = frozenset(name for rule in self._marked for name in rule.marker)
        self._only = {rule.name: Matcher(rule.only) for rule in on if rule.only}
        self._holds = {rule.name: Matcher(
            rule.holds + tuple(text for text in rule.only if not text.endswith(("/", "*"))))
            for rule in on if rule.folders}
        self._guards: "Dict[Tuple[bool, bool], Guards]" = {}
        self._named: "List[Tuple[CleanupRule, str, Any, Any]]" = []

    def rules_for(self, path: str) -> "Iterator[CleanupRule]":
        """The rules whose patterns match the path of a file, first things first."""
        return (rule for rule, matches in self._matchers if matches(path))

    def rule_for(self, path: str) -> "CleanupRule | None":
        """The first rule whose patterns match the path of a file."""
        return next(self.rules_for(path), None)

    def folder_rules(self, path: str, marked: bool) -> "Sequence[CleanupRule]":
        """The rules that name a folder, first things first; `marked`: it holds one of `markers`."""
        named: "Sequence[CleanupRule]" = ()
        if self._some_folders(path):
            named = [rule for rule, expression in self._folders if expression.match(path)]
        if marked:
            named = sorted(list(named) + self._marked, key=lambda rule: rule.rank)
        return named

    def belongs(self, rule: CleanupRule, member: str) -> bool:
        """Whether a tool puts such a file there; its path is relative to the folder."""
        if rule.name in self._only and not self._only[rule.name](member):
            return False
        return self._holds[rule.name](member) or not is_personal(member)

    def naming(self, path: str) -> "Tuple[CleanupRule, str] | None":
        """The first rule that a path alone is enough for, and its pattern; None for a path that no
        such rule names, or that is protected from it."""
        folders = list(above(path))
        for rule, pattern, names_file, names_folder in self._by_name():
            if names_file(path) or any(map(names_folder, folders)):
                if self.protection(path, rule.generated, bool(rule.folders)):
                    return None
                return rule, pattern
        return None

    def _by_name(self) -> "List[Tuple[CleanupRule, str, Any, Any]]":
        """(rule, pattern, what matches a file, what matches a folder) of the rules by name."""
        if not self._named:
            nothing = _union(()).match
            for rule in self.rules:
                if rule.enabled and rule.by_name:
                    self._named += [(rule, text, Matcher([text]), nothing)
                                    for text in rule.patterns]
                    self._named += [(rule, text, nothing, folder_expression([text]).match)
                                    for text in rule.folders]
        return self._named

    def protection(self, path: str, generated: bool = False, member: bool = False) -> str:
        """Why the path is protected, '' when it is not. Case and composition are ignored.

        `generated`: whether a rule of generated things asks; `member`: of a file that goes with its
        folder. A folder's path ends with a slash.
        """
        guards = self._guards_for(generated, member)
        for original in originals(path):
            entry = guards.entry_for(original)
            if entry is not None:
                return "protected by '%s': %s" % (entry.pattern, entry.reason)
        return ""

    def _guards_for(self, generated: bool, member: bool) -> Guards:
        """What holds for generated things or not, and for members of a folder or not."""
        key = (generated, member)
        if key not in self._guards:
            self._guards[key] = Guards([
                entry for entry in self.protected
                if entry.generated >= generated and entry.members >= member])
        return self._guards[key]

    def coverage(self, paths: "Sequence[str]") -> "List[Tuple[str, str, int]]":
        """(what it is of, pattern, the number of the paths that it matches), in their order.

        What it is of is 'rule NAME' or 'protected'. Patterns of `folders` are counted by folder.
        """
        rows: "List[Tuple[str, str, int]]" = []
        named = [path for path in paths if self.names_some(path)]
        folders = {folder for path in paths for folder in above(path)}
        for rule in self.rules:
            for pattern in rule.patterns:
                matches = Matcher([pattern])
                among = named if rule.enabled else paths
                rows.append(("rule " + rule.name, pattern, sum(map(matches, among))))
            for pattern in rule.folders:
                expression = folder_expression([pattern])
                number = sum(bool(expression.match(folder)) for folder in folders)
                rows.append(("rule " + rule.name, pattern, number))
        guards = self._guards_for(False, False)
        covered = [path for path in paths if guards.entry_for(path)]
        for entry in self.protected:
            guards = Guards([entry])
            number = sum(guards.entry_for(path) is not None for path in covered)
            rows.append(("protected", entry.pattern, number))
        return rows


def folder_expression(patterns: "Iterable[str]") -> "Any":
    """The expression for the paths of folders, without a slash at the end, at any depth."""
    return _union(pattern_expression(pattern.rstrip("/"), anywhere=True) for pattern in patterns)


def above(path: str) -> "Iterator[str]":
    """The folders that a path lies in, the next one first."""
    while "/" in path:
        path = path[:path.rindex("/")]
        yield path


# -- documents

def read_rules(path: str, shown: str, root: str = "") -> Rules:
    """The rules of a file. Without a root, it is the folder above that of the file.

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
    return build_rules(document, shown, root or os.path.dirname(os.path.dirname(path)))


def build_rules(document: "Any", place: str, root: str = "") -> Rules:
    """Rules from a parsed document. Raises ConfigError with every problem in it."""
    if not isinstance(document, dict):
        raise sc.ConfigError([sc.Problem(place=place, text="the document is not an object",
                                         hint="use {\"rules\": [...], ...}")])
    problems: "List[Any]" = sc.check_fields(document, DOCUMENT_KEYS, place, "")
    if problems:
        raise sc.ConfigError(problems)
    for key, fields in (("rules", RULE_KEYS), ("protected", PROTECTED_KEYS)):
        problems += _entry_problems(document[key], fields, "%s: %s" % (place, key), root)
    names = [rule.get("name") for rule in document["rules"] if isinstance(rule, dict)]
    repeated = {name for name in names if isinstance(name, str) and names.count(name) > 1}
    for name in sorted(repeated):
        problems.append(sc.Problem(place=place, text="rules: name '%s' is used twice" % name,
                                   hint="names must be unique"))
    if problems:
        raise sc.ConfigError(problems)
    protected = [
        Protected(pattern=text, reason=raw["reason"], generated=raw.get("generated", True),
                  members=raw.get("members", True))
        for raw in document["protected"] for text in raw["patterns"]]
    return Rules([_rule(raw, rank) for rank, raw in enumerate(document["rules"])], protected)


def _entry_problems(entries: "Sequence[Any]", fields: "Dict[str, Any]", place: str,
                    root: str) -> "List[Any]":
    problems: "List[Any]" = []
    for number, raw in enumerate(entries):
        here = "%s[%d]" % (place, number)
        if not isinstance(raw, dict):
            problems.append(sc.Problem(
                place=here, text="an entry cannot be of type %s" % type(raw).__name__,
                hint="use an object with %s" % ", ".join(sorted(fields))))
            continue
        wrong = sc.check_fields(raw, fields, here, "")
        problems += wrong or _pattern_problems(raw, here, root)
        if fields is RULE_KEYS and not wrong:
            problems += _rule_problems(raw, here)
    return problems


def _pattern_problems(raw: "Dict[str, Any]", place: str, root: str) -> "Iterator[Any]":
    """Patterns that cannot be meant: one that silently matches nothing protects nothing."""
    for key, fault_of in PATTERN_KEYS:
        for pattern in raw.get(key, ()):
            fault = fault_of(pattern, root)
            if fault:
                problem, advice = fault
                yield sc.Problem(place=place, text="%s: '%s': %s" % (key, pattern, problem),
                                 hint=advice)


def _rule_problems(raw: "Dict[str, Any]", place: str) -> "Iterator[Any]":
    """Keys that do not go together."""
    def problem(text: str, hint: str) -> "Any":
        return sc.Problem(place=place, text=text, hint=hint)

    if ("patterns" in raw) == ("folders" in raw):
        yield problem("a rule is either about files or about folders",
                      "use one of patterns and folders")
        return
    for key in FOLDER_KEYS:
        if key in raw and "folders" not in raw:
            yield problem("%s says nothing of a file" % key, "use it with folders")
    if "folders" in raw and "content" in raw and "marker" not in raw:
        yield problem("content: a folder has none", "use marker for the file to look at")
    if ANY_FOLDER in raw.get("folders", ()):
        if not ("marker" in raw and "content" in raw):
            yield problem("folders: '*' matches nearly everything",
                          "tell such folders by marker and content")
        elif any("/" in name for name in raw["marker"]):
            yield problem("marker: of any folder, it must lie in the folder itself", "use a name")


def _rule(raw: "Dict[str, Any]", rank: int) -> CleanupRule:
    facts: "Dict[str, Any]" = {}
    for key, value in raw.items():
        facts[key] = value
        if isinstance(value, list):
            facts[key] = tuple(value)
    facts["age_s"] = seconds_of(facts.pop("older_than"))
    return CleanupRule(rank=rank, **facts)
