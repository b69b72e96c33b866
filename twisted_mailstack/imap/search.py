# -*- test-case-name: tests.imap.test_search -*-
"""
SEARCH (RFC 9051 §6.4.4): its keys, and finding what matches.

A query is a tree of L{Node}s, each of which narrows a list of candidates. The cheap ones go first:
flags and numbers from the session's view, then columns of the store, texts last and in slices, so
that others are served meanwhile. Texts are compared as Unicode, whatever charset and transfer
encoding they are in, as substrings without regard to case.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from twisted_mailstack.errors import (
    MailError,
    MessageExpunged,
    StoreDamaged,
    SyntaxProblem,
    UnsupportedCharset,
)
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
from twisted_mailstack.model.mime import Part, unpackStructure
from twisted_mailstack.model.records import Attribute, MailboxStatus
from twisted_mailstack.model.searchtext import MAX_HEADER, MAX_TEXT, headerTexts, pieces
from twisted_mailstack.model.sequence import LAST_RESULT, MAX_NUMBER, NumberSet, SequenceSet
from twisted_mailstack.model.text import fold, partText
from twisted_mailstack.wire.stream import Stream

if TYPE_CHECKING:
    from twisted_mailstack.imap.grammar import Cursor
    from twisted_mailstack.imap.session import IMAPSession

#: Keys within keys; clients chain OR for each of many names.
MAX_DEPTH = 100
#: Keys of one command.
MAX_KEYS = 1000
#: Messages after which others have a turn, even if nothing but numbers is compared.
SLICE = 10_000
ROWS = 500
HEADERS = 100
TEXTS = 16
#: Messages that are looked at sooner than an index.
FEW = 10
#: Octets of a message above which it is a turn of its own.
BREATHE = 32 * 1024


class Context:
    """
    What a search looks at.

    @ivar index: what is asked for a first answer about texts, C{None} if there is nothing.
    @ivar gone: indexes of messages that turned out to be gone, or can't be read: they are found by
        nothing, and don't keep the others from being found.
    @ivar expunged: whether one of these was expunged.
    @ivar now: when the search began, in seconds since 1970.
    @ivar looked: how many rows of the store were looked at.
    @ivar scores: of what was searched for with FUZZY, by index: how much of it each message has, 1
        to 100 (RFC 6203 §4).
    @ivar asked: what the keys ask to be told beside the messages.
    """

    def __init__(
        self,
        view: View,
        mailbox: IMailbox,
        stream: Stream,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """
        @param progress: called now and then with C{looked}.
        """
        self.view = view
        self.mailbox = mailbox
        self.stream = stream
        # zope's provider is the proof that mypy can't see.
        self.index: Any = mailbox if ISearchableMailbox.providedBy(mailbox) else None
        self.gone: set[int] = set()
        self.expunged = False
        self.scores: dict[int, int] = {}
        self.asked: set[bytes] = set()
        # What an index said, by the node that asked.
        self.possible: dict[Node, NumberSet | None] = {}
        self.now = int(stream.clock.seconds())
        self.looked = 0
        self._progress = progress
        self._begun = False

    async def breathe(self) -> None:
        """
        Let everyone else have a turn.

        @raise ConnectionClosed: if nobody waits for what is found any more.
        """
        if self._progress is not None:
            self._progress(self.looked)
        await self.stream.breathe()

    async def rows(
        self, candidates: Sequence[int], attributes: tuple[Attribute, ...], size: int
    ) -> AsyncIterator[tuple[int, tuple[Any, ...]]]:
        """
        In slices of C{size}, with a turn for everyone else between them.

        @return: each message's index and its row, C{(uid, *attributes)}; those that are gone are
            missing.
        """
        for start in range(0, len(candidates), size):
            # Also between keys: there may be hundreds over a few messages.
            if self._begun:
                await self.breathe()
            self._begun = True
            some = candidates[start : start + size]
            where = {self.view.uids[at]: at for at in some}
            rows = await self.mailbox.fetch(NumberSet.of(where), attributes)
            self.looked += len(some)
            for row in rows:
                yield where.pop(row[0]), row
            if where:
                self.expunged = True
                self.gone.update(where.values())

    async def headers(
        self,
        candidates: Sequence[int],
        attributes: tuple[Attribute, ...] = (),
        most: int = MAX_HEADER,
    ) -> AsyncIterator[tuple[int, tuple[Any, ...], Header]]:
        """
        @param most: octets of a header that are looked at.
        @return: of each message that can be read its index, its row, C{(uid, *attributes, ...)},
            and its header.
        """
        async for at, row in self.rows(candidates, (*attributes, Attribute.HEADER), HEADERS):
            data = row[-1]
            if data is None:
                try:
                    content = await self.mailbox.openMessage(row[0])
                    data = await content.read(0, min(content.structure.bodyOffset, most))
                except (MessageExpunged, StoreDamaged) as error:
                    self.lose(at, error)
                    continue
            yield at, row, Header(data)

    async def numbersOf(self, indexes: Sequence[int]) -> NumberSet:
        """
        @param indexes: of messages, ascending.
        @return: their UIDs; if they are many, others have turns.
        """
        uids = self.view.uids
        ranges: list[tuple[int, int]] = []
        for start in range(0, len(indexes), SLICE):
            if start:
                await self.breathe()
            ranges += NumberSet.of([uids[at] for at in indexes[start : start + SLICE]]).ranges
        return NumberSet(ranges)

    async def found(self, asked: Sequence[int], uids: Iterable[int]) -> array[int]:
        """
        Take what the storage found; messages that it doesn't have any more are gone.

        @param asked: indexes of the messages it was asked about.
        @param uids: of those it has.
        @return: their indexes, in the same order; if they are many, others have turns.
        """
        index = self.view.index
        found = array("I")
        rest = iter(uids)
        while some := list(islice(rest, SLICE)):
            found.extend([at for uid in some if (at := index(uid)) is not None])
            if len(some) == SLICE:
                await self.breathe()
        if len(found) < len(asked):
            self.expunged = True
            self.gone.update(asked)
            self.gone.difference_update(found)
        return found

    def lose(self, at: int, error: MessageExpunged | StoreDamaged) -> None:
        """
        A message can't be read.
        """
        self.gone.add(at)
        self.expunged = self.expunged or isinstance(error, MessageExpunged)


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

    async def possible(self, context: Context) -> NumberSet | None:
        """
        @return: UIDs among which are those of all that match, as an index knows them; C{None} if
            it doesn't.
        """
        return None

    async def excludes(self, context: Context, status: MailboxStatus | None) -> bool:
        """
        @param context: of a mailbox that needn't be open; nobody asks for anything but its index.
        @param status: of the mailbox, if it is known.
        @return: whether it is known that none of the mailbox's messages matches.
        """
        possible = await self.possible(context)
        return possible is not None and not possible


async def _candidates(context: Context, candidates: list[int], nodes: Sequence[Node]) -> list[int]:
    # Few are looked at sooner than an index.
    for node in nodes if len(candidates) > FEW else ():
        possible = await node.possible(context)
        if possible is not None:
            uids = context.view.uids
            among = set(possible.select([uids[at] for at in candidates]))
            candidates = [at for at in candidates if uids[at] in among]
    return candidates


class And(Node):
    """All of them, the cheapest asked first."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = sorted(nodes, key=lambda node: node.cost)
        self.cost = max((node.cost for node in nodes), default=0)

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        for number, node in enumerate(self.nodes):
            if node.cost > 1:
                # Before the first text is read, the index is asked for all of them.
                if not number or self.nodes[number - 1].cost <= 1:
                    candidates = await _candidates(context, candidates, self.nodes[number:])
            if not candidates:
                break
            candidates = await node.narrow(context, candidates)
        return candidates

    async def possible(self, context: Context) -> NumberSet | None:
        """See L{Node}."""
        for node in self.nodes:
            possible = await node.possible(context)
            if possible is not None:
                return possible
        return None

    async def excludes(self, context: Context, status: MailboxStatus | None) -> bool:
        """See L{Node}."""
        for node in self.nodes:
            if await node.excludes(context, status):
                return True
        return False


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

    async def possible(self, context: Context) -> NumberSet | None:
        """See L{Node}."""
        one = await self.one.possible(context)
        other = None if one is None else await self.other.possible(context)
        return None if one is None or other is None else NumberSet([*one.ranges, *other.ranges])

    async def excludes(self, context: Context, status: MailboxStatus | None) -> bool:
        """See L{Node}."""
        return await self.one.excludes(context, status) and (
            await self.other.excludes(context, status)
        )


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

    def __init__(
        self,
        test: Callable[[View, int], bool],
        none: Callable[[MailboxStatus], bool] | None = None,
    ) -> None:
        """
        @param none: whether no message of a mailbox matches, as its numbers tell.
        """
        self.test = test
        self.none = none

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        view, test = context.view, self.test
        return [at for at in candidates if test(view, at)]

    async def excludes(self, context: Context, status: MailboxStatus | None) -> bool:
        """See L{Node}."""
        return status is not None and self.none is not None and self.none(status)


def _within(view: View, candidates: list[int], uids: NumberSet) -> list[int]:
    # The cost is that of the ranges among the candidates and of the result.
    found: list[int] = []
    if not candidates:
        return found
    lowest, highest = view.uids[candidates[0]], view.uids[candidates[-1]]
    start = max(0, bisect_right(uids.ranges, (lowest, MAX_NUMBER)) - 1)
    for at in range(start, len(uids.ranges)):
        first, last = uids.ranges[at]
        if first > highest:
            break
        low = bisect_left(candidates, bisect_left(view.uids, first))
        found += candidates[low : bisect_left(candidates, bisect_right(view.uids, last), low)]
    return found


class UIDs(Node):
    """A set of UIDs, in which C{*} is the last message, whenever that came."""

    def __init__(self, numbers: SequenceSet) -> None:
        self.numbers = numbers
        # As they were last resolved, with what * was.
        self._resolved = 0, numbers.resolve(0)

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        uids = context.view.uids
        largest = uids[-1] if uids else 0
        if largest != self._resolved[0]:
            self._resolved = largest, self.numbers.resolve(largest)
        return _within(context.view, candidates, self._resolved[1])


class Saved(Node):
    """What C{$} was when the command came (RFC 5182)."""

    def __init__(self, uids: array[int]) -> None:
        """
        @param uids: ascending; they don't change any more.
        """
        self.uids = uids

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        if not candidates:
            return candidates
        uids, saved = context.view.uids, self.uids
        start = bisect_left(saved, uids[candidates[0]])
        wanted = set(saved[start : bisect_right(saved, uids[candidates[-1]], start)])
        return [at for at in candidates if uids[at] in wanted]


class Numbers(Node):
    """
    What sequence numbers meant when the command came, whatever becomes of the numbers (RFC 5267
    §4.3).
    """

    def __init__(self, uids: NumberSet) -> None:
        self.uids = uids

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        return _within(context.view, candidates, self.uids)


class Columns(Node):
    """Decided by columns of the store."""

    cost = 1

    def __init__(self, attributes: tuple[Attribute, ...], test: Callable[..., bool]) -> None:
        self.attributes = attributes
        self.test = test

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        rows = context.rows(candidates, self.attributes, ROWS)
        return [at async for at, row in rows if self.test(*row[1:])]


class InHeader(Node):
    """Decided by the message's header."""

    cost = 2

    def __init__(self, test: Callable[[Header], bool]) -> None:
        self.test = test

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        test = self.test
        return [at async for at, _, header in context.headers(candidates) if test(header)]


class Indexed(Node):
    """
    A substring of texts, which an index may know.

    @ivar text: folded.
    """

    def __init__(self, text: str, inHeader: bool, inBody: bool) -> None:
        self.text = fold(text)
        self._where = inHeader, inBody

    async def possible(self, context: Context) -> NumberSet | None:
        """See L{Node}."""
        if not self.text or context.index is None:
            return None
        if self not in context.possible:
            context.possible[self] = await context.index.candidates([self.text], *self._where)
        return context.possible[self]

    async def among(self, context: Context, candidates: list[int]) -> list[int]:
        """
        @return: those of the candidates that have to be looked at.
        """
        return await _candidates(context, candidates, [self])


class InField(Indexed):
    """A substring of a header field; of any that has the name, if it is empty."""

    cost = 2

    def __init__(self, name: bytes, text: str) -> None:
        super().__init__(text, True, False)
        self.name = name

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        wanted = self.text
        return await InHeader(
            lambda header: any(
                wanted in fold(decodeText(value)) for value in header.getAll(self.name)
            )
        ).narrow(context, await self.among(context, candidates))


class InText(Indexed):
    """A substring of the text: BODY, or TEXT with the header."""

    cost = 3

    def __init__(self, text: str, withHeader: bool) -> None:
        super().__init__(text, withHeader, True)
        self.withHeader = withHeader

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        if not self.text:
            return candidates
        candidates = await self.among(context, candidates)
        found: list[int] = []
        attributes = (Attribute.CONTENT, Attribute.STRUCTURE, Attribute.PREFIX_SIZE)
        async for at, (uid, data, structure, prefix) in context.rows(candidates, attributes, TEXTS):
            if data is not None:
                if len(data) > BREATHE:
                    await context.breathe()
                root = unpackStructure(structure)
                root.shift(prefix)
                matches = self._inSmall(data, root)
            else:
                try:
                    matches = await self._inLarge(context, uid)
                except (MessageExpunged, StoreDamaged) as error:
                    context.lose(at, error)
                    continue
            if matches:
                found.append(at)
        return found

    def _inSmall(self, data: bytes, root: Part) -> bool:
        return any(
            (
                self._looksAtHeader(part, root)
                and self._inHeader(data[part.headerOffset : part.bodyOffset], part)
            )
            or (part.isText and self._in(partText(data[part.bodyOffset : part.endOffset], part)))
            for part in root.walk()
        )

    async def _inLarge(self, context: Context, uid: int) -> bool:
        content = await context.mailbox.openMessage(uid)
        root = content.structure
        for part in root.walk():
            if self._looksAtHeader(part, root):
                size = min(part.bodyOffset - part.headerOffset, MAX_HEADER)
                if self._inHeader(await content.read(part.headerOffset, size), part):
                    return True
            if part.isText:
                octets = await content.read(part.bodyOffset, min(part.size, MAX_TEXT))
                await context.breathe()
                text = partText(octets, part)
                # In pieces that overlap, as folding takes its time.
                for number, piece in enumerate(pieces(text, len(self.text))):
                    if number:
                        await context.breathe()
                    if self._in(piece):
                        return True
        return False

    def _looksAtHeader(self, part: Part, root: Part) -> bool:
        # Headers of parts belong to the body: names of attachments, enclosed messages.
        return self.withHeader or part is not root

    def _in(self, text: str) -> bool:
        return self.text in fold(text)

    def _inHeader(self, data: bytes, part: Part) -> bool:
        return any(map(self._in, headerTexts(data, part)))


# --- keys --------------------------------------------------------------------------------------

#: Reads a key's arguments from the cursor (a space precedes each) and gives its node.
SearchKey = Callable[["Parser"], Node]


class Parser:
    """
    Reads search keys.

    @ivar cursor: where the arguments are.
    @ivar view: what numbers of messages refer to.
    @ivar charset: the codec of the strings, as Python names it.
    @ivar asked: what the keys ask to be told beside the messages: C{MODSEQ} (RFC 7162 §3.1.5).
    @ivar fleeting: whether what matches changes with time alone.
    @ivar chain: names of what is read in the place of keys, each within the one before.
    @ivar pending: what is to be awaited before the search, given the session and this parser, the
        keys that it adds included (RFC 5466: C{FILTER}).
    """

    def __init__(
        self, cursor: Cursor, known: Mapping[bytes, SearchKey], view: View, charset: str
    ) -> None:
        self.cursor = cursor
        self.view = view
        self.charset = charset
        self.asked: set[bytes] = set()
        self.fleeting = False
        self.chain: tuple[str, ...] = ()
        self.pending: list[Callable[[IMAPSession, Parser], Awaitable[None]]] = []
        self._known = known
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
            raise MailError("The search is too complicated", imapCode="LIMIT")
        try:
            if cursor.skip(b"("):
                nodes = [self.key()]
                while not cursor.skip(b")"):
                    cursor.space()
                    nodes.append(self.key())
                return And(nodes)
            following = cursor.peek()
            if following and following in b"0123456789*$":
                return self.messages(byUID=False)
            name = cursor.atom().upper()
            found = self._known.get(name)
            if found is None:
                raise SyntaxProblem("Unknown search key")
            return found(self)
        finally:
            self._depth -= 1

    def messages(self, byUID: bool) -> Node:
        """sequence-set, of sequence numbers or of UIDs"""
        numbers = self.cursor.sequenceSet()
        view = self.view
        if numbers is LAST_RESULT:
            return Saved(view.saved)
        if byUID:
            return UIDs(numbers)
        if view.uidOnly:
            raise SyntaxProblem("UIDONLY is enabled", imapCode="UIDREQUIRED")
        view.numbersUsed = True
        uids = view.uids
        # "It MUST NOT be considered an error if the search terms include a range of message numbers
        # that extends (or, in fact, starts) beyond the end of the mailbox" (RFC 7377 §2).
        return Numbers(
            NumberSet(
                (uids[first - 1], uids[min(last, len(uids)) - 1])
                for first, last in numbers.resolve(len(uids)).ranges
                if first <= len(uids)
            )
        )

    def string(self) -> str:
        """SP astring, decoded from the command's charset."""
        self.cursor.space()
        value = self.cursor.astring()
        try:
            return value.decode(self.charset)
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


def readCharset(cursor: Cursor) -> str:
    """
    charset = atom / quoted

    @return: the name of Python's codec.
    @raise UnsupportedCharset: if Python doesn't know it.
    """
    name = cursor.astring().decode("latin-1")
    codec = findCodec(name)
    if codec is None:
        raise UnsupportedCharset()
    if codec.name not in ("cp1252", "ascii"):
        return codec.name
    return "utf-8" if name.lower() in ("us-ascii", "ascii") else "cp1252"


@dataclass
class Query:
    """
    What is searched for.

    @ivar node: all keys.
    @ivar asked: what they ask to be told beside the messages: L{Parser.asked}.
    @ivar fleeting: whether what matches changes with time alone.
    """

    node: Node
    asked: set[bytes]
    fleeting: bool


async def readQuery(session: IMAPSession, cursor: Cursor, view: View, charset: str) -> Query:
    """
    search-key *(SP search-key), to the end of the command.

    @param charset: the codec of its strings.
    @raise SyntaxProblem: if it isn't that.
    """
    parser = Parser(cursor, session.registry.searchKeys, view, charset)
    node = parser.keys()
    while parser.pending:
        await parser.pending.pop(0)(session, parser)
    return Query(node, parser.asked, parser.fleeting)


def readSearchCharset(session: IMAPSession, cursor: Cursor) -> str:
    """
    search-program = ["CHARSET" SP charset SP] search-key *(SP search-key): what is before the keys.

    @return: the name of Python's codec.
    @raise UnsupportedCharset: if Python doesn't know it.
    @raise SyntaxProblem: for any, once UTF-8 is all that there is (RFC 6855 §3).
    """
    if not cursor.skipWord(b"CHARSET"):
        return "utf-8"
    if b"UTF8=ACCEPT" in session.enabled:
        raise SyntaxProblem("No CHARSET, as UTF8=ACCEPT is enabled")
    cursor.space()
    charset = readCharset(cursor)
    cursor.space()
    return charset


def _flag(
    flag: str, wanted: bool, none: Callable[[MailboxStatus], bool] | None = None
) -> SearchKey:
    def test(view: View, at: int) -> bool:
        return (flag in view.flags[at]) is wanted

    return lambda parser: InView(test, none)


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

        if not wanted:
            return InView(test)
        return InView(test, lambda status: name not in map(str.lower, status.keywords))

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
    # RFC 9051 §6.4.4: an empty string matches every message that has the field.
    return InField(name, text)


def _uid(parser: Parser) -> Node:
    parser.cursor.space()
    return parser.messages(byUID=True)


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
    b"DELETED": _flag(DELETED, True, lambda status: not status.deleted),
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
    b"SEEN": _flag(SEEN, True, lambda status: status.unseen == status.messages),
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
    b"UNDELETED": _flag(DELETED, False, lambda status: status.deleted == status.messages),
    b"UNDRAFT": _flag(DRAFT, False),
    b"UNFLAGGED": _flag(FLAGGED, False),
    b"UNKEYWORD": _keyword(False),
    b"UNSEEN": _flag(SEEN, False, lambda status: not status.unseen),
}


async def find(
    node: Node, context: Context, first: int | None = None, last: int | None = None
) -> Sequence[int]:
    """
    Look at a mailbox, slice by slice, so that others are served meanwhile, and what is held is a
    few octets for each message found.

    @param first: that many from the beginning are enough, beside C{last} from the end. C{None}
        for both: all.
    @return: the indexes of the messages that match, ascending; none that is gone, so far as that
        is known (RFC 2180 §4.3).
    """
    start, count = 0, len(context.view.uids)
    found = array("I")
    while start < count and (first is None or len(found) < first):
        found.extend(await _inSlice(node, context, start, min(start + SLICE, count)))
        start += SLICE
    # The other end, as far as it wasn't looked at.
    ending: list[list[int]] = []
    missing = last or 0
    while start < count and missing > 0:
        low = max(start, count - SLICE)
        ending.append(await _inSlice(node, context, low, count))
        missing -= len(ending[-1])
        count = low
    for each in reversed(ending):
        found.extend(each)
    return found


async def _inSlice(node: Node, context: Context, start: int, end: int) -> list[int]:
    if start:
        await context.breathe()
    view = context.view
    candidates = list(range(start, end))
    if view.hasGone:
        candidates = [at for at in candidates if not view.isGone(view.uids[at])]
    found = await node.narrow(context, candidates)
    return [at for at in found if at not in context.gone] if context.gone else found
