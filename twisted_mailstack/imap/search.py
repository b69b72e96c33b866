# -*- test-case-name: tests.imap.test_search -*-
"""
SEARCH (RFC 9051 §6.4.4): its keys, and finding what matches.

A query is a tree of L{Node}s, each of which narrows a list of candidates. The cheap ones go first:
flags and numbers from the session's view, then columns of the store, texts last and in slices, so
that others are served meanwhile. Texts are compared as Unicode, whatever charset and transfer
encoding they are in, as substrings without regard to case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted_mailstack.errors import SyntaxProblem, UnsupportedCharset
from twisted_mailstack.imap.view import View
from twisted_mailstack.interfaces import IMailbox, ISearchableMailbox
from twisted_mailstack.model.dates import dayOf
from twisted_mailstack.model.flags import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    SEEN,
    Flags,
)
from twisted_mailstack.model.header import Header, decodeText, findCodec
from twisted_mailstack.model.message import parseFieldDateZone
from twisted_mailstack.model.mime import unpackStructure
from twisted_mailstack.model.records import SMALL_MESSAGE, Attribute
from twisted_mailstack.model.sequence import NumberSet, SequenceSet
from twisted_mailstack.model.text import fold, partText, textParts
from twisted_mailstack.wire.stream import Stream

if TYPE_CHECKING:
    from twisted_mailstack.imap.grammar import Cursor

#: Keys within keys.
MAX_DEPTH = 50
#: Keys of one command.
MAX_KEYS = 1000
ROWS = 500
HEADERS = 100
TEXTS = 16
#: Octets of one text part of a large message that are searched.
MAX_TEXT = 16 * 1024 * 1024


class Context:
    """
    What a search looks at.
    """

    def __init__(self, view: View, mailbox: IMailbox, stream: Stream) -> None:
        self.view = view
        self.mailbox = mailbox
        self.stream = stream

    async def rows(
        self, indexes: Sequence[int], attributes: tuple[Attribute, ...], size: int
    ) -> list[tuple[int, tuple[Any, ...]]]:
        """
        @return: each message's index and its row, C{(uid, *attributes)}; those that are gone are
            missing.
        """
        uids = [self.view.uids[at] for at in indexes]
        rows = await self.mailbox.fetch(NumberSet.of(uids), attributes)
        where = dict(zip(uids, indexes, strict=True))
        return [(where[row[0]], row) for row in rows]


class Node:
    """
    @cvar cost: what it takes to decide about one message: 0 nothing, 1 a column, 2 a header, 3 its
        text.
    """

    cost = 0

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """
        @param candidates: indexes into the view, ascending.
        @return: those that match.
        """
        raise NotImplementedError


class And(Node):
    """All of them, the cheapest asked first."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = sorted(nodes, key=lambda node: node.cost)
        self.cost = max((node.cost for node in nodes), default=0)

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        for node in self.nodes:
            if not candidates:
                break
            candidates = await node.narrow(context, candidates)
        return candidates


class Or(Node):
    """One or the other."""

    def __init__(self, one: Node, other: Node) -> None:
        self.one, self.other = sorted((one, other), key=lambda node: node.cost)
        self.cost = self.other.cost

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        first = await self.one.narrow(context, candidates)
        found = set(first)
        rest = [at for at in candidates if at not in found]
        return sorted(first + await self.other.narrow(context, rest))


class Not(Node):
    """None of these."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cost = node.cost

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        found = set(await self.node.narrow(context, candidates))
        return [at for at in candidates if at not in found]


class InView(Node):
    """Decided by what the session's view knows."""

    def __init__(self, test: Callable[[View, int], bool]) -> None:
        self.test = test

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        view, test = context.view, self.test
        return [at for at in candidates if test(view, at)]


class Numbers(Node):
    """A set of sequence numbers or UIDs."""

    def __init__(self, numbers: SequenceSet, byUID: bool) -> None:
        self.numbers = numbers
        self.byUID = byUID

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        found = set(context.view.resolve(self.numbers, self.byUID))
        return [at for at in candidates if at in found]


class Columns(Node):
    """Decided by columns of the store."""

    cost = 1

    def __init__(self, attributes: tuple[Attribute, ...], test: Callable[..., bool]) -> None:
        self.attributes = attributes
        self.test = test

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        found: list[int] = []
        for start in range(0, len(candidates), ROWS):
            if start:
                await context.stream.breathe()
            some = candidates[start : start + ROWS]
            for at, row in await context.rows(some, self.attributes, ROWS):
                if self.test(*row[1:]):
                    found.append(at)
        return found


class InHeader(Node):
    """Decided by the message's header."""

    cost = 2

    def __init__(self, test: Callable[[Header], bool]) -> None:
        self.test = test

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        found: list[int] = []
        for start in range(0, len(candidates), HEADERS):
            if start:
                await context.stream.breathe()
            some = candidates[start : start + HEADERS]
            for at, row in await context.rows(some, (Attribute.HEADER,), HEADERS):
                data = row[1]
                if data is None:
                    data = await _largeHeader(context.mailbox, row[0])
                if self.test(Header(data)):
                    found.append(at)
        return found


class InText(Node):
    """A substring of the text: BODY, or TEXT with the header."""

    cost = 3

    def __init__(self, text: str, withHeader: bool) -> None:
        self.text = fold(text)
        self.withHeader = withHeader

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        if not self.text:
            return candidates
        if ISearchableMailbox.providedBy(context.mailbox):
            # zope's provider is the proof that mypy can't see.
            mailbox: Any = context.mailbox
            possible: NumberSet | None = await mailbox.candidates([self.text])
            if possible is not None:
                candidates = [at for at in candidates if context.view.uids[at] in possible]
        found: list[int] = []
        attributes = (Attribute.CONTENT, Attribute.STRUCTURE, Attribute.PREFIX_SIZE)
        for start in range(0, len(candidates), TEXTS):
            if start:
                await context.stream.breathe()
            some = candidates[start : start + TEXTS]
            for at, (uid, data, structure, prefix) in await context.rows(some, attributes, TEXTS):
                if data is None:
                    matches = await self._inLarge(context, uid)
                else:
                    matches = self._inSmall(data, structure, prefix)
                if matches:
                    found.append(at)
        return found

    def _inSmall(self, data: bytes, structure: bytes, prefix: int) -> bool:
        root = unpackStructure(structure)
        root.shift(prefix)
        if self.withHeader and self._inFields(data[: root.bodyOffset]):
            return True
        for part in root.walk():
            if part is not root and self.text in fold(_partHeader(data, part)):
                return True
            if part.isText:
                text = partText(data[part.bodyOffset : part.endOffset], part)
                if self.text in fold(text):
                    return True
        return False

    def _inFields(self, header: bytes) -> bool:
        # Each field on one line, words decoded, its name with it.
        return any(
            self.text in fold(f"{name.decode('latin-1')}: {decodeText(value)}")
            for name, value in Header(header).fields()
        )

    async def _inLarge(self, context: Context, uid: int) -> bool:
        content = await context.mailbox.openMessage(uid)
        root = content.structure
        if self.withHeader:
            if self._inFields(await content.read(0, min(root.bodyOffset, SMALL_MESSAGE))):
                return True
        for part in textParts(root):
            size = min(part.size, MAX_TEXT)
            text = partText(await content.read(part.bodyOffset, size), part)
            await context.stream.breathe()
            if self.text in fold(text):
                return True
        return False


def _partHeader(data: bytes, part: Any) -> str:
    # The fields of parts are part of the body (names of attachments among them).
    return "\n".join(
        decodeText(value) for _, value in Header(data[part.headerOffset : part.bodyOffset]).fields()
    )


async def _largeHeader(mailbox: IMailbox, uid: int) -> bytes:
    content = await mailbox.openMessage(uid)
    return await content.read(0, min(content.structure.bodyOffset, 4 * SMALL_MESSAGE))


# --- keys --------------------------------------------------------------------------------------

#: Reads a key's arguments from the cursor (a space precedes each) and gives its node.
SearchKey = Callable[["Parser"], Node]


class Parser:
    """
    Reads search keys.

    @ivar cursor: where the arguments are.
    """

    def __init__(self, cursor: Cursor, known: Mapping[bytes, SearchKey], charset: str) -> None:
        self.cursor = cursor
        self._known = known
        self._charset = charset
        self._depth = 0
        self._keys = 0

    def keys(self) -> Node:
        """search-key *(SP search-key), to the end of the command."""
        nodes = [self.key()]
        while not self.cursor.atEnd:
            self.cursor.space()
            nodes.append(self.key())
        return And(nodes)

    def key(self) -> Node:
        """search-key"""
        cursor = self.cursor
        self._keys += 1
        self._depth += 1
        if self._depth > MAX_DEPTH or self._keys > MAX_KEYS:
            raise SyntaxProblem("The search is too complicated")
        try:
            if cursor.skip(b"("):
                nodes = [self.key()]
                while not cursor.skip(b")"):
                    cursor.space()
                    nodes.append(self.key())
                return And(nodes)
            following = cursor.peek()
            if following.isdigit() or following == b"*":
                return Numbers(cursor.sequenceSet(), False)
            name = cursor.atom().upper()
            found = self._known.get(name)
            if found is None:
                raise SyntaxProblem("Unknown search key")
            return found(self)
        finally:
            self._depth -= 1

    def string(self) -> str:
        """SP astring, decoded from the command's charset."""
        self.cursor.space()
        value = self.cursor.text_()
        try:
            return value.decode(self._charset)
        except (UnicodeDecodeError, LookupError):
            raise SyntaxProblem("The text is not in the charset") from None

    def date(self) -> int:
        """SP date"""
        self.cursor.space()
        return self.cursor.date()

    def number(self) -> int:
        """SP number"""
        self.cursor.space()
        return self.cursor.number()


def parseSearch(cursor: Cursor, known: Mapping[bytes, SearchKey]) -> Node:
    """
    search = "SEARCH" [SP "CHARSET" SP charset] 1*(SP search-key): what follows the name.

    @raise UnsupportedCharset: if Python doesn't know it.
    """
    charset = "utf-8"
    if cursor.skipWord(b"CHARSET"):
        cursor.space()
        name = cursor.astring().decode("latin-1")
        cursor.space()
        codec = findCodec(name)
        if codec is None:
            raise UnsupportedCharset()
        if codec.name not in ("cp1252", "ascii"):
            charset = codec.name
        elif name.lower() not in ("us-ascii", "ascii"):
            charset = "cp1252"
    return Parser(cursor, known, charset).keys()


def _flag(flag: str, wanted: bool) -> SearchKey:
    def test(view: View, at: int) -> bool:
        return (flag in view.flags[at]) is wanted

    return lambda parser: InView(test)


def _keyword(wanted: bool) -> SearchKey:
    def key(parser: Parser) -> Node:
        parser.cursor.space()
        name = parser.cursor.atom().decode("ascii").lower()
        known: dict[Flags, bool] = {}

        def test(view: View, at: int) -> bool:
            flags = view.flags[at]
            has = known.get(flags)
            if has is None:
                has = known[flags] = any(flag.lower() == name for flag in flags)
            return has is wanted

        return InView(test)

    return key


def _recent(wanted: bool) -> SearchKey:
    return lambda parser: InView(lambda view, at: view.isRecent(view.uids[at]) is wanted)


def _new(parser: Parser) -> Node:
    return InView(lambda view, at: SEEN not in view.flags[at] and view.isRecent(view.uids[at]))


def _internal(compare: Callable[[int, int], bool]) -> SearchKey:
    def key(parser: Parser) -> Node:
        day = parser.date()
        return Columns(
            (Attribute.INTERNAL_DATE, Attribute.ZONE),
            lambda seconds, zone: compare(dayOf(seconds, zone), day),
        )

    return key


def _sent(compare: Callable[[int, int], bool]) -> SearchKey:
    def key(parser: Parser) -> Node:
        day = parser.date()

        def test(header: Header) -> bool:
            sent = parseFieldDateZone(header.get(b"date") or b"")
            # "Disregarding time and timezone": the date as it was written.
            return sent is not None and compare(dayOf(*sent), day)

        return InHeader(test)

    return key


def _octets(compare: Callable[[int, int], bool]) -> SearchKey:
    def key(parser: Parser) -> Node:
        number = parser.number()
        return Columns((Attribute.OCTETS,), lambda octets: compare(octets, number))

    return key


def _field(name: bytes) -> SearchKey:
    return lambda parser: _inField(name, parser.string())


def _header(parser: Parser) -> Node:
    parser.cursor.space()
    name = parser.cursor.astring()
    return _inField(name, parser.string())


def _inField(name: bytes, text: str) -> Node:
    wanted = fold(text)
    # RFC 9051 §6.4.4: an empty string matches every message that has the field.
    return InHeader(
        lambda header: any(wanted in fold(decodeText(value)) for value in header.getAll(name))
    )


def _uid(parser: Parser) -> Node:
    parser.cursor.space()
    return Numbers(parser.cursor.sequenceSet(), True)


def _not(parser: Parser) -> Node:
    parser.cursor.space()
    return Not(parser.key())


def _or(parser: Parser) -> Node:
    parser.cursor.space()
    one = parser.key()
    parser.cursor.space()
    return Or(one, parser.key())


#: The keys of RFC 3501 §6.4.4.
KEYS: dict[bytes, SearchKey] = {
    b"ALL": lambda parser: InView(lambda view, at: True),
    b"ANSWERED": _flag(ANSWERED, True),
    b"BCC": _field(b"bcc"),
    b"BEFORE": _internal(lambda day, given: day < given),
    b"BODY": lambda parser: InText(parser.string(), False),
    b"CC": _field(b"cc"),
    b"DELETED": _flag(DELETED, True),
    b"DRAFT": _flag(DRAFT, True),
    b"FLAGGED": _flag(FLAGGED, True),
    b"FROM": _field(b"from"),
    b"HEADER": _header,
    b"KEYWORD": _keyword(True),
    b"LARGER": _octets(lambda octets, given: octets > given),
    b"NEW": _new,
    b"NOT": _not,
    b"OLD": _recent(False),
    b"ON": _internal(lambda day, given: day == given),
    b"OR": _or,
    b"RECENT": _recent(True),
    b"SEEN": _flag(SEEN, True),
    b"SENTBEFORE": _sent(lambda day, given: day < given),
    b"SENTON": _sent(lambda day, given: day == given),
    b"SENTSINCE": _sent(lambda day, given: day >= given),
    b"SINCE": _internal(lambda day, given: day >= given),
    b"SMALLER": _octets(lambda octets, given: octets < given),
    b"SUBJECT": _field(b"subject"),
    b"TEXT": lambda parser: InText(parser.string(), True),
    b"TO": _field(b"to"),
    b"UID": _uid,
    b"UNANSWERED": _flag(ANSWERED, False),
    b"UNDELETED": _flag(DELETED, False),
    b"UNDRAFT": _flag(DRAFT, False),
    b"UNFLAGGED": _flag(FLAGGED, False),
    b"UNKEYWORD": _keyword(False),
    b"UNSEEN": _flag(SEEN, False),
}


async def search(node: Node, view: View, mailbox: IMailbox, stream: Stream) -> list[int]:
    """
    @return: the indexes of the messages that match, ascending.
    """
    return await node.narrow(Context(view, mailbox, stream), list(range(len(view.uids))))
