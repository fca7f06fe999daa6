"""Which files mention which names: the inventory's reference counts, and the cache behind them.

A text is cut into tokens, and each token looked up in the set of all names. A name that is no token
(`a b.txt`, `été.md`) has one inside, as a rule: where that occurs, the text is searched for the
whole name, as it is and in the spellings that shells, URLs, JSON, HTML and C have for it. A mention
that is none keeps a file; one that is overlooked could cost it. So in doubt it counts. The target
of a symlink is a text as well.

Not found: a name that YAML folds over two lines, one with a character written as \\N{...}, and one
that is put together when a program runs.
"""

import hashlib
import itertools
import json
import os
import re
import stat
import sys
import unicodedata
import zlib
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple

from common import open_own, read_regular, sc
from tree import CACHE_NAME, Root, native_path

READ_BYTES = 4 << 20
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
PLAIN_WORDS = 200000  # remembered, at most


class Seen(NamedTuple):
    """A file as the walk saw it."""

    path: str
    name: str
    version: str  # see version_of
    size: int
    mode: int
    nlink: int
    purpose: str


def version_of(seen: "os.stat_result") -> str:
    """What tells versions of a file apart, as the inventory's rows have it.

    Inode, size, mtime, ctime, device, mode and number of links.
    """
    return "%d,%d,%d,%d,%d,%d,%d" % (
        seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_dev, seen.st_mode,
        seen.st_nlink)


class Progress:
    """A count on the terminal that is overwritten as it grows; silent without a terminal."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.active = sys.stderr.isatty()
        self._shown = 0

    def show(self, number: int) -> None:
        if self.active and number - self._shown >= 5000:
            self._shown = number
            sys.stderr.write("\r%d %s " % (number, self.what))
            sys.stderr.flush()

    def end(self) -> None:
        if self.active and self._shown:
            sys.stderr.write("\r%s\r" % (" " * (len(self.what) + 12)))


# -- tokens

# A token is a run of these; everything else, in a text, stands between names. A name with any other
# character, a dash in front or a dot behind is no token.
TOKEN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~-"
TOKEN_NAME = re.compile(r"[A-Za-z0-9_.~][A-Za-z0-9_.~-]*(?<!\.)\Z")
EDGES = b"_.~-"
DOT, BACKSLASH, PERCENT = b".\\%"  # numbers: `46 in word` takes a tenth of what `b"." in word` does
LONGEST_NAME = 4096  # bytes, however it is spelled
_SEPARATED = bytes(code if code in TOKEN_BYTES else 32 for code in range(256))

# What stands for another character by its number, in JSON, C, Python, shells and git, and in URLs.
_CODE = (br"(?:\\u[0-9A-Fa-f]{4})+|\\U[0-9A-Fa-f]{8}|\\[ux]\{[0-9A-Fa-f]{1,6}\}|\\x[0-9A-Fa-f]{2}|"
         br"\\[0-3][0-7]{2}|%(?:25)*[0-9A-Fa-f]{2}")
CODE = re.compile(_CODE)
# The token behind such characters, which sticks to their last digits: the b of `a%20b`, `a\nb`.
BEHIND_CODE = re.compile(br"(?:%s|\\[abefnrtv])+([A-Za-z0-9_.~-]+)" % _CODE)

ESCAPED = re.compile(br"\\([_.~-])")  # of Markdown and regular expressions: `foo\_bar\.py`

# The same for what a token is made of, and HTML's for it: `my%2Dfile`, `my&lowbar;file`.
_TOKEN_HEX = br"(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|5[0-9AaFf]|7[0-9AaEe])"
CODED_TOKEN = re.compile(
    br"\\u00%s|\\U000000%s|\\[ux]\{0*%s\}|\\x%s|\\[01][0-7]{2}|%%(?:25)*%s" % ((_TOKEN_HEX,) * 5))
ENTITY = re.compile(br"&(?:amp;)*(?:#[0-9xX]|lowbar|UnderBar|period)")

# A quote inside of a word, which a shell leaves out: `'a b'.tmp`. One expression for each, because
# the search for a literal beginning takes less than half of what that for a set takes.
QUOTES = b"'\"`"
QUOTED = [re.compile(br"%c(?<=[A-Za-z0-9_.~-].)['\"`]*[A-Za-z0-9_.~-]" % quote)
          for quote in QUOTES]

# What is behind the letter of an option, or behind one of several: `-ofoo.tmp`, `tar -cfdata.tmp`.
OPTION = re.compile(br"-(?<![A-Za-z0-9_.~-]-)([A-Za-z][A-Za-z0-9]*)([A-Za-z0-9_.~-]*)")


def tokens_of(data: bytes) -> "List[bytes]":
    """The tokens of a text, repeated ones too, with the punctuation that sticks to them."""
    tokens = data.translate(_SEPARATED).split()
    if BACKSLASH in data or PERCENT in data:
        tokens += BEHIND_CODE.findall(data)
        if CODED_TOKEN.search(data):
            data = CODE.sub(_character, data)
            tokens += data.translate(_SEPARATED).split()
        if ESCAPED.search(data):
            data = ESCAPED.sub(br"\1", data)
            tokens += data.translate(_SEPARATED).split()
    if ENTITY.search(data):
        data = _without_entities(data)
        tokens += data.translate(_SEPARATED).split()
    if any(quoted.search(data) for quoted in QUOTED):
        data = data.translate(None, QUOTES)
        tokens += data.translate(_SEPARATED).split()
    for letters, rest in set(OPTION.findall(data)):
        tokens += [letters[start:] + rest for start in range(1, len(letters) + 1)]
    return tokens


def _without_entities(data: bytes) -> bytes:
    import html  # it takes longer to load than all of the rest
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(3):  # `&amp;lowbar;` is HTML in HTML
        text = html.unescape(text)
    return text.encode("utf-8", "surrogateescape")


# -- names that are no tokens

# Encodings of older systems. What is not UTF-8 in a text is read as cp1252, so that is covered.
LEGACY = ("cp1250", "cp1251", "koi8_r", "cp850", "cp932", "euc_jp", "gbk", "big5", "cp949")
_CP1252 = {0xDC00 + code: bytes([code]).decode("cp1252", "replace").replace("\ufffd", chr(code))
           for code in range(128, 256)}
# What shells and programming languages put before a character or around a name is left out. Control
# characters become the letters that are written for them. A URL's plus is a space.
_BARE = dict.fromkeys(map(ord, "\\'\"`"))
_BARE.update({ord(char): char.encode("unicode_escape").decode("ascii")[1:] for char in "\t\n\r"})
_BARE.update(dict.fromkeys(map(ord, "+\u00a0\u202f"), " "))


def readable(data: bytes) -> str:
    """The characters of a text, or of a name, in composed form."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape").translate(_CP1252)
    return unicodedata.normalize("NFC", text)


def unescaped(data: bytes) -> str:
    """A text, or a name, without any way of writing its characters differently."""
    if BACKSLASH in data or PERCENT in data:
        data = CODE.sub(_character, data)
    text = readable(data)
    if "&" in text:
        import html  # it takes longer to load than all of the rest
        text = unicodedata.normalize("NFC", html.unescape(text))
    return text.translate(_BARE).replace("$$", "$")


def _character(match: "Any") -> bytes:
    """The UTF-8 that a code stands for, or the byte."""
    code = match.group()
    if code.startswith(b"\\u") and b"{" not in code:  # two of them can be halves of a character
        units = bytes.fromhex(code.replace(b"\\u", b"").decode("ascii"))
        return _encoded(units.decode("utf-16-be", "surrogatepass"))
    if code.startswith((b"\\U", b"\\u{", b"\\x{")):
        number = int(code[2:].strip(b"{}"), 16)
        return _encoded(chr(min(number, 0x10FFFF)))
    if code.startswith((b"%", b"\\x")):
        return bytes([int(code[-2:], 16)])
    return bytes([int(code[1:], 8)])


def _encoded(text: str) -> bytes:
    """UTF-8, with the bytes that Python has surrogates for: `\\udcff` is the byte 255."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _cores(text: str) -> "Set[bytes]":
    """The tokens of a text without what sticks to them."""
    tokens = text.encode("utf-8").translate(_SEPARATED).split()
    return {token.strip(EDGES) for token in tokens} - {b""}


class Names:
    """Names to look for.

    `words` are the tokens that lead to them: those that are tokens themselves, and of each spelling
    of another name one that is inside of it, its anchor. A spelling without any is looked for in
    every text.
    """

    def __init__(self, names: "Set[str]") -> None:
        others = list(itertools.filterfalse(TOKEN_NAME.match, names))
        tokens = set(names).difference(others)
        self.tokens = frozenset(" ".join(tokens).encode("ascii").split())
        self.others = frozenset(others)
        self.spelled: "Dict[bytes, Dict[str, Set[str]]]" = {}  # anchor -> spelling -> names
        inside = {name: list(_spellings(name)) for name in others}
        often: "Dict[bytes, int]" = {}
        for spellings in inside.values():
            for anchor in {core for _, cores in spellings for core in cores}:
                often[anchor] = often.get(anchor, 0) + 1
        for name, spellings in inside.items():
            for spelling, cores in spellings:
                # A dotted one, for the cache to find it in old files; then the rarest.
                anchor = min(cores, default=b"",
                             key=lambda core: (b"." not in core, often[core], -len(core), core))
                self.spelled.setdefault(anchor, {}).setdefault(spelling, set()).add(name)
        self.anchors = frozenset(self.spelled)
        self.anywhere = self.spelled.get(b"", {})  # those without an anchor
        self.words = self.anchors.union(self.tokens)

    def mentioned(self, data: bytes, words: "Iterable[bytes]") -> "List[str]":
        """Which of them a text mentions that has these of the words."""
        if not self.anchors:
            return [word.decode("ascii") for word in words]
        names = {word.decode("ascii") for word in self.tokens.intersection(words)}
        candidates = [self.spelled[anchor] for anchor in self.anchors.intersection(words) if anchor]
        if candidates or self.anywhere:
            text = "%s\0%s" % (readable(data), unescaped(data))
            for spellings in candidates + [self.anywhere]:
                for spelling, spelled in spellings.items():
                    if spelling in text:
                        names.update(spelled)
        return sorted(names)


def _spellings(name: str) -> "Iterator[Tuple[str, Set[bytes]]]":
    """Each spelling of a name in `readable` or `unescaped` text, with the tokens that it brings.

    Tokens that composition changes (the t and the te of `été`) do not count.
    """
    data = name.encode("utf-8", "surrogateescape")
    plain = readable(data)
    cores = _cores(unicodedata.normalize("NFD", plain)).intersection(_cores(plain))
    if CODE.search(data):  # in other spellings, its digits do not stick to what is behind
        cores &= _cores(readable(CODE.sub(b" ", data)))
    bare = unescaped(data)
    for spelling in {plain, bare} - {""}:
        yield spelling, cores
    unquoted = data.translate(None, QUOTES)
    if bare and unquoted != data:  # of `"it's".txt`, tokens_of makes `its.txt`
        yield bare, _cores(bare).intersection(_cores(readable(unquoted)))
    for encoding in LEGACY:
        try:
            legacy = plain.encode(encoding)
        except UnicodeEncodeError:
            continue
        spelling = readable(legacy)
        if spelling != plain:
            # The second byte of a character can be a letter, which sticks to the token behind it.
            tokens = legacy.translate(_SEPARATED).split()
            yield spelling, {token.strip(EDGES) for token in tokens} - {b""}


# -- one pass over the texts

BINARY: "List[str]" = ["\0"]  # instead of names: the file is not text


CONTROL = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f]")


def _utf_16_of(start: bytes) -> str:
    """The UTF-16 that a text begins with, '' if it is none.

    Without a byte order mark, the NULs of its ASCII characters tell: every other byte, mostly.
    """
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" not in start:
        return ""
    big, little = start[::2].count(0), start[1::2].count(0)
    encoding = "utf-16-le"
    if big > little:
        encoding = "utf-16-be"
    most, least = max(big, little), min(big, little)
    if most < 4 or most * 16 < len(start) or least * 4 >= most:
        return ""
    if CONTROL.search(start.decode(encoding, "replace")):
        return ""
    return encoding


class Reader:
    """Reads files, and says which names each of them mentions."""

    def __init__(self, root: Root, names: Names) -> None:
        self.root = root
        self.names = names
        # Words without a dot that lead to no name: most of any text, and sorted out once.
        self._plain: "Set[bytes]" = set()

    def read(self, seen: Seen) -> "Tuple[List[str], bytes, str]":
        """(names, tokens with a dot, version) of a file. Raises OSError."""
        if stat.S_ISLNK(seen.mode):
            return self._read_link(seen)
        fd = os.open(native_path(seen.path), OPEN_FILE, dir_fd=self.root.fd)
        try:
            version = version_of(os.fstat(fd))
            data = os.read(fd, min(seen.size, READ_BYTES))
            encoding = _utf_16_of(data[:8192])
            if encoding:
                rest = os.read(fd, seen.size) if len(data) == READ_BYTES else b""
                data = (data + rest).decode(encoding, "replace").encode("utf-8", "replace")
            elif b"\0" in data[:8192]:
                return BINARY, b"", version
            if len(data) < READ_BYTES:
                names, dotted = self._names_in(data)
                return names, b" ".join(dotted), version
            all_names, all_dotted = self._names_in_pieces(fd, data)
            return all_names, b" ".join(all_dotted), version
        finally:
            os.close(fd)

    def _read_link(self, seen: Seen) -> "Tuple[List[str], bytes, str]":
        """The same of a symlink, which mentions each part of its target's path."""
        path, fd = native_path(seen.path), self.root.fd
        version = version_of(os.stat(path, dir_fd=fd, follow_symlinks=False))
        names, dotted = self._names_in(os.fsencode(os.readlink(path, dir_fd=fd)))
        return names, b" ".join(dotted), version

    def _names_in(self, data: bytes) -> "Tuple[List[str], List[bytes]]":
        """(names, tokens with a dot) of a text.

        The sentence "See _foo.tmp_." mentions foo.tmp: each token counts as it is, and without what
        sticks to its edges.
        """
        words = set(itertools.filterfalse(self._plain.__contains__, tokens_of(data)))
        words.update([word.strip(EDGES) for word in words])
        names: "List[str]" = []
        leading = self.names.words.intersection(words)
        if leading or self.names.anywhere:
            names = self.names.mentioned(data, leading)
        dotted = [word for word in words if DOT in word]
        if len(dotted) != len(words) and len(self._plain) < PLAIN_WORDS:
            bare = words.difference(dotted, leading)
            if leading:  # those with something beside a name are to be seen again
                bare = {word for word in bare if word.strip(EDGES) not in leading}
            self._plain |= bare
        return names, dotted

    def _names_in_pieces(self, fd: int, data: bytes) -> "Tuple[List[str], Set[bytes]]":
        """The same for a large file, in pieces that are cut between two tokens.

        Each piece is searched together with the end of the one before it.
        """
        names: "Set[str]" = set()
        dotted: "Set[bytes]" = set()
        before = b""
        while data:
            more = os.read(fd, READ_BYTES)
            text = data.translate(_SEPARATED)
            cut = text.rfind(b" ") if more else len(text)
            cut = max(cut, len(text) - LONGEST_NAME)  # a longer token is no name
            piece, data = data[:cut], data[cut:] + more
            pieces = [piece]
            if before:
                pieces.append(before[-LONGEST_NAME:] + piece[:LONGEST_NAME])
            for part in pieces:
                in_part, dotted_in_part = self._names_in(part)
                names.update(in_part)
                dotted.update(dotted_in_part)
            before = piece
        return sorted(names), dotted


class References:
    """The number of files that mention each name."""

    def __init__(self, root: Root, cache: "Cache") -> None:
        self.root = root
        self.cache = cache
        self.counts: "Dict[str, int]" = {}
        self.binary: "Set[str]" = set()  # paths

    def count(self, sources: "List[Seen]", names: "Set[str]",
              fail: "Callable[[str, OSError], None]") -> None:
        """Count the mentions in these files; `fail` gets what cannot be read."""
        self.fail = fail
        key = key_of(sources)
        counts = self.cache.counts(key, names)
        if counts is None:
            counts = self._count(sources, names)
            self.cache.put_counts(key, counts)
        self.counts = counts
        binary = self.cache.binary
        if binary:
            self.binary = {seen.path for seen in sources if seen.version in binary}

    def _count(self, sources: "List[Seen]", names: "Set[str]") -> "Dict[str, int]":
        self.counts = counts = dict.fromkeys(names, 0)
        wanted = Names(names)
        reader = Reader(self.root, wanted)
        self.cache.begin(wanted, names)
        names_in = self.cache.names_in
        progress, number = Progress("files read"), 0
        for seen in sources:
            mentioned = names_in(seen.version)
            if mentioned is None:
                mentioned = self._read(reader, seen)
                number += 1
                progress.show(number)
            own = seen.name
            for name in mentioned:
                # That a file mentions itself says nothing. A symlink's target is another file.
                if name in counts and (name != own or stat.S_ISLNK(seen.mode)):
                    counts[name] += 1
        progress.end()
        return counts

    def _read(self, reader: Reader, seen: Seen) -> "List[str]":
        """The names in a file that is not in the cache, to which they are added."""
        try:
            names, dotted, version = reader.read(seen)
        except OSError as error:
            self.cache.whole = False
            if not isinstance(error, FileNotFoundError):
                self.fail(seen.path, error)
            return []
        if version == seen.version:
            self.cache.put(version, names, dotted)
        else:  # it changed meanwhile, and is read again next time
            self.cache.whole = False
        return names


def key_of(sources: "List[Seen]") -> str:
    """What changes with any of the files that count, or with the name of one."""
    digest = hashlib.blake2b(digest_size=16)
    for block in in_blocks(sources):
        lines = "\n".join(["%s %s" % (seen.version, seen.name) for seen in block])
        digest.update(lines.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


# -- the cache

CACHE_HEAD = b"symphony tokens 2"
TRAILER_BYTES = 200
PARTS = 4


class Cache:
    """`.cleanup_cache`: what the last inventory read in the files, by version.

    Behind a line for the format, the device and the code that counts come four parts:

    0. the result: what the inventory wants to know the next time, in JSON, the key of the files
       that count, the names, their counts, and the versions of binary files, a line each;
    1. `version SPACE digest` of each file that was compared with others, see Comparison;
    2. `version TAB names` of each file that was read; NUL instead of names for what is not text;
    3. the tokens with a dot of each of these, a line each.

    The last line has the lengths of the parts, and their checksums. While no file that counts has
    changed, the first two are enough. With the fourth, a name that is new in the tree is found in
    old files without reading them, as long as it has a dot. A name that is no token is written as
    `%` and the hexadecimal digits of its bytes.
    """

    def __init__(self, root: Root, enabled: bool = True) -> None:
        self.path = os.path.join(root.path, CACHE_NAME)
        self.enabled = enabled
        self.whole = True  # whether all files that count could be read
        self.binary: "Set[str]" = set()  # versions
        self.result: "Dict[str, Any]" = {}  # what `save` was told in the last inventory
        self._head = b"%s %d %08x\n" % (CACHE_HEAD, root.dev, _code_checksum())
        self._places: "List[Tuple[int, int, int]]" = []  # of the parts: offset, length, checksum
        self._key = ""
        self._counts: "Dict[str, int]" = {}
        self._digests: "Dict[str, str]" = {}
        self._old: "Dict[str, str]" = {}  # version -> names
        self._tokens: "List[bytes]" = []  # of the old, in their order
        self._again: "Set[str]" = set()   # of the old, those to be read again
        self._new: "Dict[str, Tuple[List[str], bytes]]" = {}
        self._marked: "Dict[str, str]" = {}  # name -> how it is written, if not as it is
        self._begun = self._changed = False
        if enabled and not sc.Store(root.path).insecure(self.path):
            try:
                self._open()
            except (OSError, ValueError, IndexError, RecursionError):
                self._places = []  # there is none, or not a whole one of ours: all files are read
                self._key, self._counts, self._digests, self.result = "", {}, {}, {}

    def _open(self) -> None:
        with open_own(self.path) as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, end - TRAILER_BYTES))
            trailer = handle.read().rpartition(b"\n")[2]
            numbers = list(map(int, trailer.split()))
            handle.seek(0)
            if handle.read(len(self._head)) != self._head:
                raise ValueError("of another format or device")
        offset = len(self._head)
        for length, checksum in zip(numbers[:PARTS], numbers[PARTS:]):
            self._places.append((offset, length, checksum))
            offset += length
        if len(numbers) != 2 * PARTS or end != offset + 1 + len(trailer):
            raise ValueError("truncated")
        result, key, names, counts, binary = self._part(0).decode("ascii").split("\n")
        self.result = json.loads(result)
        words = names.split()
        if "%" in names:
            self._marked = {_unmarked(word): word for word in words if word[0] == "%"}
            words = list(map(_unmarked, words))
        self._digests = dict(line.split(" ") for line in self._lines(1))
        self._counts = dict(zip(words, map(int, counts.split())))
        self._key = key
        self.binary = set(binary.split())

    def _part(self, number: int) -> bytes:
        """A part of the file. Raises OSError, and ValueError when it is damaged."""
        offset, length, checksum = self._places[number]
        with open_own(self.path) as handle:
            handle.seek(offset)
            data = handle.read(length)
        if zlib.crc32(data) != checksum:
            raise ValueError("damaged")
        return data

    def _lines(self, number: int) -> "List[str]":
        data = self._part(number)
        return data.decode("ascii").split("\n") if data else []

    def counts(self, key: str, names: "Set[str]") -> "Dict[str, int] | None":
        """The counts of the last inventory; None if a file or a name has come or changed since."""
        if key == self._key and self._counts.keys() >= names:
            return self._counts
        return None

    def put_counts(self, key: str, counts: "Dict[str, int]") -> None:
        """Keep the counts of this inventory."""
        self._key = key if self.whole else ""
        self._counts = counts
        self._changed = True

    def begin(self, wanted: Names, names: "Set[str]") -> None:
        """Set the names that count in this inventory, before files are looked up."""
        self._begun = True
        self.binary = set()
        self._marked = {name: _marked(name) for name in wanted.others}
        fresh = names.difference(self._counts)
        try:
            if self._places:
                self._old = dict(line.split("\t") for line in self._lines(2))
            if fresh and self._old:
                self._find(Names(fresh))
        except (OSError, ValueError):
            self._old, self._again = {}, set()

    def _find(self, fresh: Names) -> None:
        """Look for new names among the tokens of old files."""
        if not all(b"." in word for word in fresh.words):
            self._old = {}
            return
        self._tokens = self._part(3).split(b"\n")
        if len(self._tokens) != len(self._old):
            raise ValueError("damaged")
        for version, tokens in zip(list(self._old), self._tokens):
            words = fresh.words.intersection(tokens.split(b" "))
            if not words:
                continue
            if not words.isdisjoint(fresh.anchors):
                self._again.add(version)
            line = self._old[version]
            names = {word.decode("ascii") for word in words.intersection(fresh.tokens)}
            self._old[version] = " ".join(names.union(line.split(" ")) - {""})

    def names_in(self, version: str) -> "List[str] | None":
        """The names in this version of a file; None if it has to be read."""
        line = self._old.get(version)
        if line is None or version in self._again:
            return None
        if line == "\0":
            self.binary.add(version)
            return BINARY
        if "%" in line:
            return list(map(_unmarked, line.split()))
        return line.split()

    def put(self, version: str, names: "List[str]", dotted: bytes) -> None:
        """Keep the names and tokens of a file that was read."""
        if names is BINARY:
            self.binary.add(version)
        if self.enabled:
            self._new[version] = (names, dotted)

    def digest(self, version: str) -> str:
        """The digest of a file's content, '' if none was taken."""
        return self._digests.get(version, "")

    def put_digest(self, version: str, digest: str) -> None:
        """Keep the digest of a file's content, if one could be taken."""
        if digest:
            self._digests[version] = digest
            self._changed = True

    def save(self, files: "List[Seen]", result: "Dict[str, Any]") -> None:
        """Write the cache if it has changed, without files that are gone. Raises StorageError."""
        if not self.enabled or not self._changed and result == self.result:
            return
        self.result = result
        there = {seen.version for seen in files}
        try:
            parts = self._parts(there)
        except (OSError, ValueError):  # it was damaged meanwhile
            return
        sc.write_atomic(self.path, self._text(parts), durable=False)

    def _parts(self, there: "Set[str]") -> "List[Iterable[bytes]]":
        """The four parts of the new file, in pieces. Raises OSError and ValueError."""
        marked = self._marked.get
        names = [marked(name, name) for name in self._counts]
        numbers = map(str, self._counts.values())
        front = (json.dumps(self.result), self._key, " ".join(names), " ".join(numbers),
                 " ".join(self.binary))
        digests = ["%s %s" % item for item in self._digests.items() if item[0] in there]
        parts = [joined([front]), joined([digests])]
        if self._begun:
            return parts + list(self._kept(there))
        return parts + [[self._part(2)], [self._part(3)]]

    def _kept(self, there: "Set[str]") -> "Iterator[Iterable[bytes]]":
        """The names, then the tokens, of all files that were looked up and are still there."""
        tokens = self._tokens
        if self._old and not tokens:
            tokens = self._part(3).split(b"\n")
        stale = self._again.union(self._new)
        old = [(version, names, dotted)
               for (version, names), dotted in zip(self._old.items(), tokens)
               if version in there and version not in stale]
        marked = self._marked.get
        new = self._new.items()

        def names_of(names: "List[str]") -> str:
            if self._marked:
                names = [marked(name, name) for name in names]
            return " ".join(names)

        lines = ["%s\t%s" % item[:2] for item in old]
        lines += ["%s\t%s" % (version, names_of(names)) for version, (names, _) in new]
        yield joined(in_blocks(lines))
        dotted_lines = [dotted for _, _, dotted in old] + [dotted for _, (_, dotted) in new]
        yield in_pieces(b"\n".join(block) for block in in_blocks(dotted_lines))

    def _text(self, parts: "List[Iterable[bytes]]") -> "Iterator[bytes]":
        yield self._head
        lengths, checksums = [0] * PARTS, [0] * PARTS
        for number, part in enumerate(parts):
            for piece in part:
                lengths[number] += len(piece)
                checksums[number] = zlib.crc32(piece, checksums[number])
                yield piece
        yield ("\n" + " ".join(map(str, lengths + checksums))).encode("ascii")


def _code_checksum() -> int:
    """What another version of the tool has different: it may count other mentions."""
    here = os.path.dirname(os.path.abspath(__file__))
    checksum = 0
    for name in ("inventory.py", "references.py"):
        checksum = zlib.crc32(read_regular(os.path.join(here, name)), checksum)
    return checksum


def _marked(name: str) -> str:
    return "%" + name.encode("utf-8", "surrogateescape").hex()


def _unmarked(text: str) -> str:
    if text.startswith("%"):
        return bytes.fromhex(text[1:]).decode("utf-8", "surrogateescape")
    return text


def joined(blocks: "Iterable[Iterable[str]]", between: str = "\n") -> "Iterator[bytes]":
    """Lines in blocks as the bytes of a file, with something between each two."""
    return in_pieces((between.join(block).encode("ascii") for block in blocks),
                     between.encode("ascii"))


def in_pieces(blocks: "Iterable[bytes]", between: bytes = b"\n") -> "Iterator[bytes]":
    """The blocks with something between each two."""
    before = b""
    for block in blocks:
        yield before + block
        before = between


def in_blocks(items: "List[Any]", size: int = 5000) -> "Iterator[List[Any]]":
    """The list in pieces, so that nothing large is put together as a whole."""
    for start in range(0, len(items), size):
        yield items[start:start + size]
