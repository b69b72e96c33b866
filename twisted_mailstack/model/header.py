# -*- test-case-name: tests.model.test_header -*-
"""
Header fields at bytes level: RFC 5322 §2.2 and §3.6, RFC 2047, RFC 2231; in the spirit of RFC 7103.

Whatever the input, nothing here raises: what can't be understood is given as it stands. Work is
linear in the size of the input, and results that a client sees are bounded by L{MAX_VALUE}.
"""

from __future__ import annotations

import binascii
import codecs
import encodings
import encodings.aliases
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from pkgutil import iter_modules
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

#: The most octets of one field's value that are looked at. Real fields are far shorter; a field of
#: megabytes must not cost a structure of megabytes.
MAX_VALUE = 64 * 1024
#: The most addresses taken from one field.
MAX_ADDRESSES = 2000

_END = re.compile(rb"\A\r?\n|\n\r?\n")
#   field-name = 1*ftext, ftext = %d33-57 / %d59-126. Space before the colon is obsolete syntax
#   (RFC 5322 §4.5.8) that still occurs.
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:[^\n]*)(?:\n[ \t][^\n]*)*)\n?", re.MULTILINE)
#: The blank line at the end of a header.
_BLANK = re.compile(rb"(?:\A|(?<=\n))\r?\n\Z")
_FOLD = re.compile(rb"\r?\n(?=[ \t])|[\r\n]+")


def headerEnd(data: bytes) -> int:
    """
    @return: the offset behind the blank line that ends the header, C{len(data)} if there is none.
    """
    match = _END.search(data)
    return match.end() if match else len(data)


def unfold(value: bytes) -> bytes:
    """
    @return: the value on one line, without white space around it (RFC 5322 §2.2.3).
    """
    # The line's own end goes first: only few fields have folds inside.
    value = value.strip(b" \t\r\n")
    if b"\n" in value or b"\r" in value:
        value = _FOLD.sub(b"", value)
    return value


class Header:
    """
    The fields of one header.
    """

    def __init__(self, data: bytes) -> None:
        """
        @param data: the header's octets, the blank line at the end included or not.
        """
        self.data = data
        self._index: dict[bytes, list[bytes]] | None = None

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """
        @return: each field's name as written and its value as written, folds included, the line
            end not. Lines that are no field are passed over.
        """
        for match in _FIELD.finditer(self.data):
            yield match.group(1), match.group(2).removesuffix(b"\r")

    def _values(self, name: bytes) -> list[bytes]:
        index = self._index
        if index is None:
            self._index = index = {}
            for match in _FIELD.finditer(self.data):
                index.setdefault(match.group(1).lower(), []).append(match.group(2))
        return index.get(name.lower(), _NONE)

    def get(self, name: bytes) -> bytes | None:
        """
        @param name: in any case.
        @return: the first such field's value, unfolded; C{None} if there is no such field.
        """
        found = self._values(name)
        return unfold(found[0][:MAX_VALUE]) if found else None

    def getAll(self, name: bytes) -> list[bytes]:
        """
        @return: the unfolded values of all fields of that name, in order.
        """
        return [unfold(value[:MAX_VALUE]) for value in self._values(name)]


_NONE: list[bytes] = []


def selectFields(header: bytes, names: Collection[bytes], exclude: bool = False) -> bytes:
    """
    HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 §6.4.5.1).

    @param header: with its blank line.
    @param names: in any case.
    @return: the lines of these (or of all other) fields, exactly as stored, and the blank line.
    """
    wanted = {name.lower() for name in names}
    blank = _BLANK.search(header)
    lines = header[: blank.start()] if blank else header
    parts = []
    position = 0
    for match in _FIELD.finditer(lines):
        if exclude and match.start() > position:
            parts.append(lines[position : match.start()])
        if (match.group(1).lower() in wanted) != exclude:
            parts.append(match.group())
        position = match.end()
    if exclude:
        parts.append(lines[position:])
    selected = b"".join(parts)
    # "Subsetting does not exclude the [RFC5322] delimiting blank line"; one is always given, also
    # behind a last line that has no end.
    if blank:
        return selected + blank.group()
    return selected + (b"\r\n" if not selected or selected.endswith(b"\n") else b"\r\n\r\n")


# --- encoded words -----------------------------------------------------------------------------

#   encoded-word = "=?" charset "?" encoding "?" encoded-text "?="       (RFC 2047 §2)
_WORD = re.compile(rb"=\?([^?\s]{1,100})\?([bBqQ])\?([^?\r\n]*)\?=")
_BETWEEN = re.compile(rb"[ \t\r\n]*\Z")


@lru_cache(maxsize=256)
def findCodec(charset: str) -> codecs.CodecInfo | None:
    """
    @return: Python's codec for a charset's name, C{None} if it has none (or one that isn't text).
    """
    name = charset.strip().strip("\"'").lower()
    name = _CHARSETS.get(name, name)
    # Python keeps every name that it ever looked for in vain, so it must not see what senders make
    # up.
    normalised = encodings.normalize_encoding(name)
    if normalised not in _CODECS and normalised.replace(".", "_") not in _CODECS:
        return None
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError, UnicodeError):
        return None
    # base64, zip and the like are codecs too, and "unicode_escape", "idna", "punycode" no charsets.
    if not getattr(found, "_is_text_encoding", True):
        return None
    return None if found.name in _NOT_CHARSETS else found


_CODECS = frozenset(
    (*encodings.aliases.aliases, *(found.name for found in iter_modules(encodings.__path__)))
)
_NOT_CHARSETS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs"}
#: Names that occur in mail and that Python doesn't know, or takes too literally.
_CHARSETS = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "cp-850": "cp850",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-unknown": "utf-8",
    "unknown-8bit": "utf-8",
    "utf-8-mac": "utf-8",
    "utf8mb4": "utf-8",
    "tis-620": "cp874",
    "windows-874": "cp874",
}


#: No charset has a longer name; such names aren't kept.
_MAX_CHARSET = 100
_SURROGATE = re.compile("[\ud800-\udfff]")


def decodeCharset(data: bytes, charset: bytes | str) -> str:
    """
    @param charset: as named in the message; unknown ones are guessed.
    @return: the text; octets that are wrong in it become U+FFFD. Never raises.
    """
    name = charset.decode("latin-1") if isinstance(charset, bytes) else charset
    found = findCodec(name) if len(name) <= _MAX_CHARSET else None
    if found is None or found.name == "cp1252":
        # Declared ASCII or Latin-1, or unknown: what is valid UTF-8 is nearly always that.
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return _cp1252(data) if found is not None else data.decode("latin-1")
    try:
        # UTF-7 can name half a surrogate pair, which is no text: nobody could store or send it.
        return _SURROGATE.sub("\ufffd", found.decode(data, "replace")[0])
    except (UnicodeError, ValueError, AssertionError, LookupError):
        return data.decode("latin-1")


def _cp1252(data: bytes) -> str:
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decodeText(value: bytes) -> str:
    """
    A field's value as text: folds undone, encoded words decoded (RFC 2047 §6), octets outside
    ASCII taken for UTF-8, or else Latin-1 (RFC 6532, RFC 7103 §7.6).
    """
    value = unfold(value)
    if b"=?" not in value:
        return _raw(value)
    result: list[str] = []
    # Adjacent words of one charset are decoded together: mailers cut inside characters.
    pending = b""
    pendingCharset = ""
    position = 0
    for match in _WORD.finditer(value):
        between = value[position : match.start()]
        charset = match.group(1).partition(b"*")[0].decode("latin-1").lower()
        octets = _decodeWord(match.group(2), match.group(3))
        adjacent = position > 0 and _BETWEEN.match(between) is not None
        if not (adjacent and charset == pendingCharset):
            if pendingCharset:
                result.append(decodeCharset(pending, pendingCharset))
            pending = b""
            # White space between two encoded words isn't shown.
            if not adjacent:
                result.append(_raw(between))
        pending += octets
        pendingCharset = charset
        position = match.end()
    if pendingCharset:
        result.append(decodeCharset(pending, pendingCharset))
    result.append(_raw(value[position:]))
    return "".join(result)


def _raw(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _decodeWord(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(text, header=True)
    return decodeBase64(text)


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
#: Pieces that are looked at one by one; a body of nothing but padding has millions.
_MAX_PIECES = 10_000
#: Nothing behind the padding.
_ONE_BASE64 = re.compile(rb"[^=]*+(?:=[^A-Za-z0-9+/]*+)?\Z")


def decodeBase64(data: bytes) -> bytes:
    """
    Base64 as it comes: junk between, padding missing or in the middle. Never raises.
    """
    if _ONE_BASE64.match(data):
        try:
            return binascii.a2b_base64(data)
        except binascii.Error:
            pass
    result = []
    for run in data.split(b"=", _MAX_PIECES):
        run = run.translate(None, _NOT_BASE64)
        if len(run) % 4 == 1:
            run = run[:-1]
        if run:
            result.append(binascii.a2b_base64(run + b"=" * (-len(run) % 4)))
    return b"".join(result)


# --- addresses ---------------------------------------------------------------------------------


class HeaderAddress(NamedTuple):
    """
    One address as ENVELOPE shows it (RFC 9051 §7.5.2).

    A group begins with one whose C{domain} is C{None} and whose C{localPart} is the group's name,
    and ends with one of which everything is C{None}.

    @ivar name: the display name, encoded words left as they are.
    @ivar route: the obsolete source route.
    """

    name: bytes | None
    route: bytes | None
    localPart: bytes | None
    domain: bytes | None


_ADDRESS_TOKEN = re.compile(
    rb"""
    (?P<space>[ \t\r\n\x00]++)
    | (?P<quote>")
    | (?P<comment>\()
    | (?P<literal>\[[^\]\[\\]*+\]?)
    | (?P<special>[<>,;:@])
    | (?P<word>[^\s"()\[<>,;:@\x00]++)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED_REST = re.compile(rb'((?:[^"\\]|\\.)*+)"', re.DOTALL)
_COMMENT_TOKEN = re.compile(rb"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ATEXT = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.]"
_WORD_TEXT = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.\x80-\xff]"
#: What nearly all addresses look like, so most of a field is read by one match each. Nothing in it
#: can match in two ways, or a field of spaces would take hours.
_SIMPLE = re.compile(
    rb'[ \t]*+(?:(?:"([^"\\]*+)"|(%b++(?:[ \t]++%b++)*+))?[ \t]*+<(%b++)@([A-Za-z0-9.\-]++)>'
    rb"|(%b++)@([A-Za-z0-9.\-]++))[ \t]*+(?:,|\Z)" % (_WORD_TEXT, _WORD_TEXT, _ATEXT, _ATEXT)
)
_SPACES = re.compile(rb"[ \t\r\n]+")


def parseAddressList(value: bytes) -> list[HeaderAddress]:
    """
    Read an address-list (RFC 5322 §3.4, obsolete forms of §4.4 included), taking what can be
    taken from a malformed one (RFC 7103 §7.1).
    """
    value = unfold(value[:MAX_VALUE])
    result: list[HeaderAddress] = []
    at = 0
    while at < len(value) and len(result) < MAX_ADDRESSES:
        match = _SIMPLE.match(value, at)
        if match is None:
            _AddressReader(result).read(value, at)
            break
        result.append(_simpleAddress(match))
        at = match.end()
    return result


def firstAddress(value: bytes) -> HeaderAddress | None:
    """
    @param value: unfolded.
    @return: the first of L{parseAddressList}'s addresses, C{None} if there is none.
    """
    match = _SIMPLE.match(value)
    if match is None:
        return next(iter(parseAddressList(value)), None)
    return _simpleAddress(match)


def _simpleAddress(match: re.Match[bytes]) -> HeaderAddress:
    quoted, phrase, local, domain, bareLocal, bareDomain = match.groups()
    if bareLocal is not None:
        return HeaderAddress(None, None, bareLocal, bareDomain)
    name = phrase and _SPACES.sub(b" ", phrase) if quoted is None else quoted
    return HeaderAddress(name or None, None, local, domain)


class _AddressReader:
    """
    Any address list, in one pass over its tokens.

    Words gather until C{,}, C{;}, C{:}, C{<} or the end shows what they were: an address without
    brackets, a group's name, a display name.
    """

    def __init__(self, result: list[HeaderAddress]) -> None:
        self.result = result
        self.words: list[bytes] = []
        # Whether there was space before that word.
        self.spaced: list[bool] = []
        self.comments: list[bytes] = []
        self.name: bytes | None = None
        self.route: bytes | None = None
        self.inAngle = False
        # Whether the words are an address and no source route.
        self.addressed = False
        # Whether an address in brackets came since the last comma.
        self.complete = False
        self.inGroup = False

    def read(self, value: bytes, at: int) -> None:
        """
        Add to the result what stands in C{value} from there on.
        """
        result = self.result
        space = False
        # One that isn't closed is an ordinary character, and so are all that follow.
        quotes = comments = True
        while at < len(value) and len(result) < MAX_ADDRESSES:
            match = _ADDRESS_TOKEN.match(value, at)
            assert match is not None
            kind, token, at = match.lastgroup, match.group(), match.end()
            if kind == "space":
                space = True
                continue
            if kind == "special":
                self._special(token)
            elif kind == "comment" and comments:
                end = _commentEnd(value, at)
                if end is None:
                    comments = False
                else:
                    self.comments.append(_ESCAPED.sub(rb"\1", value[at : end - 1]))
                    at = end
                    space = True
                continue
            elif kind == "quote":
                quoted = _QUOTED_REST.match(value, at) if quotes else None
                if quoted is None:
                    quotes = False
                    continue
                self._word(_ESCAPED.sub(rb"\1", quoted.group(1)), space)
                at = quoted.end()
            else:
                self._word(token, space)
            space = False
        if len(result) < MAX_ADDRESSES:
            self._finish()
        if self.inGroup:
            result.append(HeaderAddress(None, None, None, None))

    def _special(self, token: bytes) -> None:
        if token == b"<":
            # Another one is one too many (RFC 7103 §7.1.2).
            if not self.inAngle:
                self.name = self._takePhrase() or None
                self.inAngle = True
        elif token == b">":
            if self.inAngle:
                self._finish()
                self.complete = True
        elif token == b"@":
            self.addressed = self.addressed or self.words[:1] not in ([], [b"@"])
            self._word(token, False)
        elif token == b":" and self.inAngle and self.words[:1] == [b"@"]:
            # obs-route: <@a,@b:user@c>
            self.route = self._takePhrase()
        elif self.inAngle and (token == b":" or not self.addressed):
            self._word(token, False)
        elif token == b":" and self.inGroup:
            self._word(token, False)
        elif token == b":":
            self.result.append(HeaderAddress(None, None, self._takePhrase(), None))
            self.inGroup = True
        else:
            # Brackets that are still open were never closed (RFC 7103 §7.1.5).
            self._finish()
            self.complete = False
            if token == b";" and self.inGroup:
                self.result.append(HeaderAddress(None, None, None, None))
                self.inGroup = False

    def _word(self, word: bytes, space: bool) -> None:
        self.words.append(word)
        self.spaced.append(space)

    def _takePhrase(self) -> bytes:
        phrase = _joinWords(self.words, self.spaced)
        self.words, self.spaced = [], []
        self.addressed = False
        return phrase

    def _finish(self) -> None:
        # What was gathered is an address, if it is anything.
        words, spaced = self.words, self.spaced
        comment = b" ".join(self.comments) or None
        if self.inAngle:
            local, domain = _splitAddress(words)
            self.result.append(HeaderAddress(self.name or comment, self.route, local, domain))
        elif b"@" in words:
            self.result.append(_bareAddress(words, spaced, comment))
        elif words and not self.complete:
            # No address at all: shown as a local-part, so that a person sees what stood there.
            self.result.append(HeaderAddress(comment, None, _joinWords(words, spaced), b""))
        self.words, self.spaced, self.comments = [], [], []
        self.name = self.route = None
        self.inAngle = self.addressed = False


def _commentEnd(value: bytes, at: int) -> int | None:
    # Behind the comment that begins before C{at}; C{None} if it isn't closed.
    depth = 1
    for match in _COMMENT_TOKEN.finditer(value, at):
        token = match.group()
        if token == b"(":
            depth += 1
        elif token == b")":
            depth -= 1
            if depth == 0:
                return match.end()
    return None


def _joinWords(words: list[bytes], spaced: list[bool]) -> bytes:
    parts = []
    for position, word in enumerate(words):
        if position and spaced[position]:
            parts.append(b" ")
        parts.append(word)
    return b"".join(parts)


def _bareAddress(words: list[bytes], spaced: list[bool], comment: bytes | None) -> HeaderAddress:
    # The address is what stands around the last @ up to a space, unless that is beside a dot; what
    # else there is was meant as a name.
    def together(at: int) -> bool:
        dotted = words[at - 1].endswith(b".") or words[at].startswith(b".")
        return not spaced[at] or dotted or b"@" in (words[at - 1], words[at])

    start = end = len(words) - 1 - words[::-1].index(b"@")
    while start > 0 and together(start):
        start -= 1
    while end + 1 < len(words) and together(end + 1):
        end += 1
    local, domain = _splitAddress(words[start : end + 1])
    name = [*words[:start], *words[end + 1 :]]
    return HeaderAddress(comment or b" ".join(name) or None, None, local, domain)


def _splitAddress(words: list[bytes]) -> tuple[bytes, bytes]:
    if b"@" not in words:
        return b"".join(words), b""
    last = len(words) - 1 - words[::-1].index(b"@")
    return b"".join(words[:last]), b"".join(words[last + 1 :])


# --- parameters --------------------------------------------------------------------------------

Parameters = list[tuple[bytes, bytes]]

#   parameter = attribute "=" value (RFC 2045 §5.1). Values with spaces but no quotes occur, and
#   quotes that are never closed.
_PARAMETER = re.compile(rb'([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.DOTALL)
_BETWEEN_PARAMETERS = re.compile(rb"[;\s]*+")
_MAX_PARAMETERS = 200


def parseParameters(value: bytes) -> tuple[bytes, Parameters]:
    """
    Read the value of Content-Type or Content-Disposition.

    @return: what stands before the first C{;}, and the parameters as written, quotes undone.
    """
    value = unfold(value[:MAX_VALUE])
    if b"(" in value:
        value = withoutComments(value)
    main, _, rest = value.partition(b";")
    parameters: Parameters = []
    at = 0
    while 0 <= at < len(rest) and len(parameters) < _MAX_PARAMETERS:
        between = _BETWEEN_PARAMETERS.match(rest, at)
        assert between is not None
        match = _PARAMETER.match(rest, between.end())
        if match is None:
            at = rest.find(b";", between.end())
            continue
        name, quoted, plain = match.groups()
        if quoted is None:
            parameters.append((name, plain.strip().removeprefix(b'"')))
        else:
            parameters.append((name, _ESCAPED.sub(rb"\1", quoted)))
        at = match.end()
    return main.partition(b"(")[0].strip(), parameters


_COMMENT_OR_QUOTED = re.compile(rb'["(]')


def withoutComments(value: bytes) -> bytes:
    """
    @return: a structured field's value with a space for each comment (RFC 5322 §3.2.2). One that
        isn't closed is none: what stands behind the bracket is worth more.
    """
    parts = []
    at = start = 0
    while match := _COMMENT_OR_QUOTED.search(value, at):
        at = match.end()
        if match.group() == b'"':
            quoted = _QUOTED_REST.match(value, at)
            if quoted is None:
                break
            at = quoted.end()
            continue
        end = _commentEnd(value, at)
        if end is None:
            break
        parts += [value[start : match.start()], b" "]
        at = start = end
    parts.append(value[start:])
    return b"".join(parts)


#   sections of a parameter: name*0, name*1*, ... (RFC 2231 §3, §4.1)
_SECTION = re.compile(rb"([^*]+)\*(\d{1,4})(\*?)\Z")


def joinSections(parameters: Parameters) -> Parameters:
    """
    @return: the parameters, those that came in sections as one: C{name} if no section was encoded,
        else C{name*} with the value encoded (RFC 2231 §4).
    """
    if not any(b"*" in name for name, _ in parameters):
        return parameters
    result: Parameters = []
    sections: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    places: dict[bytes, int] = {}
    for name, value in parameters:
        match = _SECTION.match(name)
        if match is None:
            result.append((name, value))
            continue
        base, number, encoded = match.groups()
        key = base.lower()
        if key not in sections:
            places[key] = len(result)
            result.append((base, b""))
        sections.setdefault(key, {}).setdefault(int(number), (value, encoded != b""))
    for key, found in sections.items():
        base = result[places[key]][0]
        inOrder = [found[number] for number in sorted(found)]
        if not any(encoded for _, encoded in inOrder):
            result[places[key]] = base, b"".join(value for value, _ in inOrder)
            continue
        joined = b"" if inOrder[0][1] else b"''"
        for value, encoded in inOrder:
            joined += value if encoded else quote_from_bytes(value, "").encode("ascii")
        result[places[key]] = base + b"*", joined
    return result


def decodeParameters(parameters: Parameters) -> dict[str, str]:
    """
    @return: the parameters as text by their lower-case names: RFC 2231's continuations joined and
        charsets decoded, and RFC 2047's words too, which mailers wrongly put there.
    """
    plain: dict[str, str] = {}
    encoded: dict[str, str] = {}
    for name, value in joinSections(parameters):
        key, star, rest = name.decode("latin-1").lower().partition("*")
        if rest or not key:
            continue
        if star:
            charset = b""
            if value.count(b"'") >= 2:
                charset, _, value = value.split(b"'", 2)
            octets = unquote_to_bytes(value)
            encoded.setdefault(key, decodeCharset(octets, charset or b"us-ascii"))
        else:
            plain.setdefault(key, decodeText(value))
    # Who writes both means the plain one for those who can't read the other.
    return plain | encoded


#   msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]; obsolete ones have CFWS inside, too
_MESSAGE_ID = re.compile(rb"<([^<>]++)>")


def parseMessageIds(value: bytes) -> list[bytes]:
    """
    @return: the message ids of References or In-Reply-To, brackets included, without spaces and
        comments in them.
    """
    value = unfold(value[:MAX_VALUE])
    if b"(" in value:
        value = withoutComments(value)
    found = (_SPACES.sub(b"", inside) for inside in _MESSAGE_ID.findall(value))
    return [b"<%b>" % inside for inside in found if inside]
