# -*- test-case-name: tests.imap.test_fetch -*-
"""
FETCH (RFC 9051 §6.4.5): its items, and sending what they ask for.

Items are a table; an item names the columns it needs and renders its value from them. What a client
asks for is compiled once (L{compileItems}) to one format for a row, into which columns are put that
were rendered as a whole. Work goes in slices: everyone else has a turn between them, and the peer
sets the pace.
"""

from __future__ import annotations

import re
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twisted_mailstack.errors import (
    AccessDenied,
    ConnectionClosed,
    MailError,
    MessageExpunged,
    SessionEnded,
    StoreDamaged,
    SyntaxProblem,
)
from twisted_mailstack.imap.encode import astring
from twisted_mailstack.imap.selected import Selected, uidsOf
from twisted_mailstack.model.dates import formatDateTime
from twisted_mailstack.model.flags import SEEN, FlagOperation
from twisted_mailstack.model.header import selectFields
from twisted_mailstack.model.mime import Part, findPart, sectionRange, unpackStructure
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.transfer import TransferDecoder, transferDecoder

if TYPE_CHECKING:
    from twisted_mailstack.imap.grammar import Cursor
    from twisted_mailstack.imap.session import IMAPSession
    from twisted_mailstack.interfaces import IMessageContent
    from twisted_mailstack.wire.stream import Stream

#: Rows of a slice: of metadata, of headers, and of whole messages (of at most 256 KiB each).
METADATA_SLICE = 500
HEADER_SLICE = 100
CONTENT_SLICE = 16
#: Octets of a large message held in memory while it is sent.
WINDOW = 128 * 1024
#: Octets of small messages' sections that are gathered before the peer has to take them.
BATCH = 1024 * 1024
#: Octets of a header out of which fields are selected.
MAX_HEADER = 1024 * 1024


@dataclass(frozen=True)
class FetchItem:
    """
    @ivar label: what precedes the value in the response.
    @ivar attributes: the columns it needs.
    @ivar render: makes the value of those columns; C{None}: the one column is the value.
    @ivar form: how the value is written: C{%b} for octets, C{%d} for a number.
    @ivar parse: given the cursor, which stands behind the name, reads what follows and gives what
        was asked for; C{None} if nothing may follow.
    @ivar known: C{known(selected, indexes)}: the values, where the session knows them and no column
        is needed.
    @ivar enables: what asking for it enables.
    @ivar query: C{await query(selected, indexes)}: the values, if it takes more than columns to
        know them; empty where there is none to tell, C{None} where there can be none, so that the
        command is told to be BAD. Then C{attributes} are only those by which
        messages that are gone are found out. A value may be large, so it is asked for a few
        messages at a time.
    """

    label: bytes
    attributes: tuple[Attribute, ...]
    render: Callable[..., bytes] | None = None
    form: bytes = b"%b"
    parse: Callable[[Cursor], FetchItem | Section] | None = None
    known: Callable[[Selected, Sequence[int]], Iterable[Any]] | None = None
    enables: bytes = b""
    query: Callable[[Selected, Sequence[int]], Awaitable[Sequence[bytes | None]]] | None = None


@dataclass(frozen=True)
class Section:
    """
    One C{BODY[section]<partial>} (RFC 9051 §6.4.5.1).

    @ivar label: as the response names it.
    @ivar path: part numbers.
    @ivar kind: C{""}, C{HEADER}, C{TEXT} or C{MIME}.
    @ivar fields: of HEADER.FIELDS; C{None} for all. C{exclude}: HEADER.FIELDS.NOT.
    @ivar partial: first octet and count.
    @ivar peek: doesn't set C{\\Seen}.
    @ivar decode: without its transfer encoding (RFC 3516). C{sizeOnly}: only how large that is.
    """

    label: bytes
    path: tuple[int, ...]
    kind: str
    fields: tuple[bytes, ...] | None = None
    exclude: bool = False
    partial: tuple[int, int] | None = None
    peek: bool = True
    decode: bool = False
    sizeOnly: bool = False

    @property
    def headerOnly(self) -> bool:
        """Whether the message's own header is enough."""
        return not self.path and self.kind == "HEADER"


#: The items of RFC 3501 that are columns. FLAGS and UID come from the session's view.
ITEMS: dict[bytes, FetchItem] = {
    b"ENVELOPE": FetchItem(b"ENVELOPE", (Attribute.ENVELOPE,)),
    b"BODYSTRUCTURE": FetchItem(b"BODYSTRUCTURE", (Attribute.BODY_STRUCTURE,)),
    b"BODY": FetchItem(b"BODY", (Attribute.BODY,)),
    b"RFC822.SIZE": FetchItem(b"RFC822.SIZE", (Attribute.OCTETS,), form=b"%d"),
    b"INTERNALDATE": FetchItem(
        b"INTERNALDATE", (Attribute.INTERNAL_DATE, Attribute.ZONE), formatDateTime, b'"%b"'
    ),
}

_MACROS = {
    b"ALL": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"),
    b"FAST": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"),
    b"FULL": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY"),
}
_OLD_SECTIONS = {
    b"RFC822": Section(b"RFC822", (), "", peek=False),
    b"RFC822.HEADER": Section(b"RFC822.HEADER", (), "HEADER"),
    b"RFC822.TEXT": Section(b"RFC822.TEXT", (), "TEXT", peek=False),
}

#   section-spec = section-msgtext / (section-part ["." section-text])
_PART = re.compile(rb"((?:[1-9]\d{0,9}\.)*[1-9]\d{0,9})?\.?")
_NAME = re.compile(rb"[A-Z0-9][A-Z0-9.\-]*", re.IGNORECASE)
#   partial = "<" number64 "." nz-number64 ">"
_PARTIAL = re.compile(rb"<(\d{1,19})\.([1-9]\d{0,18})>")
_KIND = re.compile(
    rb"(HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME)?(?=[\] ])", re.IGNORECASE
)

Item = FetchItem | Section | bytes


def parseItems(cursor: Cursor, known: Mapping[bytes, FetchItem]) -> tuple[Item, ...]:
    """
    Read FETCH's items: a macro, an item, or a list of items.

    @return: items without repetitions; C{b"UID"} and C{b"FLAGS"} stand for themselves.
    """
    if cursor.skip(b"("):
        items = [_parseItem(cursor, known)]
        while not cursor.skip(b")"):
            cursor.space()
            items.append(_parseItem(cursor, known))
    else:
        for macro, names in _MACROS.items():
            if cursor.skipWord(macro):
                return tuple(name if name == b"FLAGS" else known[name] for name in names)
        items = [_parseItem(cursor, known)]
    return combineItems(items)


def combineItems(items: Iterable[Item]) -> tuple[Item, ...]:
    """
    @return: these without repetitions.
    """
    once: dict[object, Item] = {}
    for item in items:
        # BODY[] and BODY.PEEK[] are one thing in the response.
        key = (item.label, item.partial) if isinstance(item, Section) else item
        if key not in once or (isinstance(item, Section) and not item.peek):
            once[key] = item
    return tuple(once.values())


def _parseItem(cursor: Cursor, known: Mapping[bytes, FetchItem]) -> Item:
    match = _NAME.match(cursor.text, cursor.at)
    if match is None:
        raise SyntaxProblem("FETCH item expected")
    cursor.at = match.end()
    name = match.group().upper()
    if name in (b"BODY", b"BODY.PEEK") and cursor.skip(b"["):
        return _parseSection(cursor, name == b"BODY.PEEK")
    if name in (b"UID", b"FLAGS"):
        return name
    item: Item | None = known.get(name) or _OLD_SECTIONS.get(name)
    if item is None:
        raise SyntaxProblem("Unknown FETCH item")
    if isinstance(item, FetchItem) and item.parse is not None:
        return item.parse(cursor)
    return item


#   section-binary = "[" [section-part] "]"
_SECTION_BINARY = re.compile(rb"\[((?:[1-9]\d{0,9}\.)*[1-9]\d{0,9})?\]")


def parseBinary(cursor: Cursor, label: bytes, peek: bool, sizeOnly: bool) -> Section:
    """
    section-binary [partial] (RFC 3516 §7)

    @param label: of the response.
    @param sizeOnly: there is no partial, and only the size is told.
    """
    match = _SECTION_BINARY.match(cursor.text, cursor.at)
    if match is None:
        raise SyntaxProblem("Section expected")
    cursor.at = match.end()
    path = tuple(map(int, match.group(1).split(b"."))) if match.group(1) else ()
    if len(path) > 200:
        raise SyntaxProblem("Section too deep")
    label += match.group()
    partial = None
    match = None if sizeOnly else _PARTIAL.match(cursor.text, cursor.at)
    if match is not None:
        cursor.at = match.end()
        partial = int(match.group(1)), int(match.group(2))
        label += b"<%d>" % partial[0]
    return Section(label, path, "", None, False, partial, peek, True, sizeOnly)


class UnknownEncoding(MailError):
    """
    A part is in a transfer encoding that nobody here can undo (RFC 3516 §4.3).
    """

    imapCode = "UNKNOWN-CTE"
    text = "A part's transfer encoding is not known"


def requireDecodable(sections: Collection[Section], root: Part | None) -> None:
    """
    @raise UnknownEncoding: if one of the sections can't be decoded.
    """
    for section in sections:
        if section.decode and root is not None:
            part = findPart(root, section.path)
            if part is not None and _decoder(section, part) is None:
                raise UnknownEncoding()


def _decoder(section: Section, part: Part) -> TransferDecoder | None:
    # RFC 2045 §6.4: multiparts aren't encoded, whatever they say; nor is a message as a whole.
    if part.isMultipart or not section.path:
        return TransferDecoder()
    return transferDecoder(part.encoding)


def _literal(label: bytes, size: int, section: Section, hasNUL: bool) -> bytes:
    """
    @return: what precedes a section's octets. Only BINARY may have NULs (RFC 3516 §4.3).
    """
    tilde = b"~" if section.decode and hasNUL else b""
    return b"%b %b{%d}\r\n" % (label, tilde, size)


def _withoutNUL(section: Section, data: bytes) -> bytes:
    # "Unencoded binary strings are not permitted, unless returned in a <literal8>" (RFC 9051
    # §4.3.1): what gives each octet is BINARY.
    return data if section.decode else data.replace(b"\0", b"\x80")


def _parseSection(cursor: Cursor, peek: bool) -> Section:
    text = cursor.text
    start = cursor.at
    path: tuple[int, ...] = ()
    match = _PART.match(text, start)
    if match is not None and match.group(1):
        path = tuple(map(int, match.group(1).split(b".")))
        cursor.at = match.end()
        if len(path) > 200:
            raise SyntaxProblem("Section too deep")
    kindMatch = _KIND.match(text, cursor.at)
    if kindMatch is None:
        raise SyntaxProblem("Invalid section")
    word = (kindMatch.group(1) or b"").upper().decode("ascii")
    if path and text[cursor.at - 1 : cursor.at] == b"." and not word:
        raise SyntaxProblem("Invalid section")
    if path and word and text[cursor.at - 1 : cursor.at] != b".":
        raise SyntaxProblem("Invalid section")
    if word == "MIME" and not path:
        raise SyntaxProblem("MIME needs a part number")
    cursor.at = kindMatch.end()
    fields: tuple[bytes, ...] | None = None
    label = text[start : cursor.at].upper()
    if word.startswith("HEADER.FIELDS"):
        cursor.space()
        cursor.expect(b"(")
        names = [cursor.astring()]
        while not cursor.skip(b")"):
            cursor.space()
            names.append(cursor.astring())
        fields = tuple(names)
        label += b" (%b)" % b" ".join(astring(name.upper()) for name in names)
    cursor.expect(b"]")
    partial = None
    match = _PARTIAL.match(text, cursor.at)
    shown = b"BODY[%b]" % label
    if match is not None:
        cursor.at = match.end()
        partial = int(match.group(1)), int(match.group(2))
        shown += b"<%d>" % partial[0]
    return Section(
        shown,
        path,
        "HEADER" if fields is not None else word,
        fields,
        word == "HEADER.FIELDS.NOT",
        partial,
        peek,
    )


class Plan:
    """
    What a tuple of items asks for.

    @ivar attributes: columns of the store, UID not counted; none: the view knows it all.
    @ivar sections: the sections.
    @ivar flags: whether FLAGS is told.
    @ivar bare: whether nothing precedes the sections.
    @ivar setsSeen: whether any of them sets C{\\Seen}.
    @ivar decodes: whether any of them is decoded.
    @ivar slice: rows at a time.
    @ivar headersOnly: the sections need the message's header only.
    @ivar sectionColumn: where in a row the header or the message is.
    @ivar queries: the items whose values are asked for.
    """

    def __init__(self, items: tuple[Item, ...], uidOnly: bool = False) -> None:
        """
        @param uidOnly: responses are UIDFETCH (RFC 9586 §3).
        """
        attributes: list[Attribute] = []
        # Where each column comes from, and out of which columns of a row.
        self._columns: list[tuple[FetchItem, tuple[int, ...]]] = []
        self._uidOnly = uidOnly
        self.queries = [item for item in items if isinstance(item, FetchItem) and item.query]
        # What may be missing can't stand alone.
        alone = bool(self.queries) and all(item in self.queries for item in items)
        self._uid = b"UID" in items or (alone and not uidOnly)
        self.flags = b"FLAGS" in items or (alone and uidOnly)
        forms = [b"UID %d"] * self._uid + [b"FLAGS %b"] * self.flags
        for item in items:
            if isinstance(item, FetchItem):
                for attribute in item.attributes:
                    if attribute not in attributes:
                        attributes.append(attribute)
                if item.query is not None:
                    continue
                where = tuple(attributes.index(each) + 1 for each in item.attributes)
                self._columns.append((item, where))
                forms.append(item.label + b" " + item.form)
        self._form = b"* %d UIDFETCH (" if uidOnly else b"* %d FETCH ("
        self._form += b" ".join(forms) + b"%b" * len(self.queries)
        self.bare = not forms
        self.sections = [item for item in items if isinstance(item, Section)]
        if not self.sections:
            self._form += b")\r\n"
        self.setsSeen = any(not section.peek for section in self.sections)
        self.decodes = any(section.decode for section in self.sections)
        self.slice = CONTENT_SLICE if self.queries else METADATA_SLICE
        self.headersOnly = bool(self.sections) and all(each.headerOnly for each in self.sections)
        self.sectionColumn = len(attributes) + 1
        if self.headersOnly:
            attributes.append(Attribute.HEADER)
            self.slice = min(self.slice, HEADER_SLICE)
        elif self.sections:
            attributes.append(Attribute.CONTENT)
            self.slice = CONTENT_SLICE
            if any(each.path or each.kind for each in self.sections):
                attributes += (Attribute.STRUCTURE, Attribute.PREFIX_SIZE)
        self._hasStructure = Attribute.STRUCTURE in attributes
        self.attributes = tuple(attributes)

    def structure(self, row: tuple[Any, ...]) -> Part | None:
        """
        @return: the root part of a message that is in memory; C{None} if no section needs it.
        """
        if not self._hasStructure:
            return None
        root = unpackStructure(row[self.sectionColumn + 1])
        root.shift(row[self.sectionColumn + 2])
        return root

    async def ask(
        self, selected: Selected, indexes: Sequence[int]
    ) -> tuple[list[list[bytes]], SyntaxProblem | None]:
        """
        @return: of each of C{queries}, what there is to write of these messages; and what is wrong
            with the command.
        """
        asked: list[list[bytes]] = []
        problem: SyntaxProblem | None = None
        for item in self.queries:
            assert item.query is not None
            values = await item.query(selected, indexes)
            if None in values:
                problem = SyntaxProblem("Some messages have no such part")
            asked.append([b" %b %b" % (item.label, value) if value else b"" for value in values])
        return asked, problem

    def render(
        self,
        selected: Selected,
        indexes: Sequence[int],
        rows: Sequence[tuple[Any, ...]],
        asked: Sequence[Sequence[bytes]] = (),
    ) -> Iterator[bytes]:
        """
        @param rows: of the messages with these indexes, in their order; none are needed without
            C{attributes}.
        @param asked: what L{ask} gave for them.
        @return: the response of each message, up to its sections if it has any.
        """
        uids = uidsOf(selected.view, indexes)
        columns: list[Iterable[Any]] = [uids if self._uidOnly else [at + 1 for at in indexes]]
        if self._uid:
            columns.append(uids)
        if self.flags:
            columns.append(selected.flagLists(indexes))
        cells = list(zip(*rows, strict=True)) if self._columns else []
        for item, where in self._columns:
            if item.known is not None:
                columns.append(item.known(selected, indexes))
            elif cells:
                given = [cells[column] for column in where]
                columns.append(given[0] if item.render is None else map(item.render, *given))
        columns.extend(asked)
        return map(self._form.__mod__, zip(*columns, strict=True))


@lru_cache(maxsize=512)
def compileItems(items: tuple[Item, ...], uidOnly: bool = False) -> Plan:
    """
    @return: the plan for these items.
    """
    return Plan(items, uidOnly)


async def fetch(
    session: IMAPSession, indexes: Sequence[int], items: tuple[Item, ...], byUID: bool
) -> None:
    """
    Send the FETCH responses for these messages.

    @param byUID: for UID FETCH: the UID is always told, and messages that are gone are ignored.
    @raise MessageExpunged: at the end, if some of them are gone (RFC 2180 §4.1.2).
    @raise StoreDamaged: likewise, if some can't be read: they don't hide the others.
    @raise SyntaxProblem: likewise, if some don't have what is asked for.
    """
    selected = session.theSelected()
    stream = session.stream
    view = selected.view
    setsSeen = any(isinstance(item, Section) and not item.peek for item in items)
    # Who wants modSeqs is told that of flags that change (RFC 7162 §3.2.4).
    withModSeq = setsSeen and selected.tellsModSeqs and not selected.readOnly
    # A UIDFETCH response begins with it.
    if (byUID or withModSeq) and b"UID" not in items and not selected.uidOnly:
        items = (b"UID", *items)
    if withModSeq:
        modSeq = session.registry.fetchItems[b"MODSEQ"]
        items = (*(item for item in items if item != modSeq), modSeq)
    plan = compileItems(items, selected.uidOnly)
    problem: MailError | None = None
    for start in range(0, len(indexes), plan.slice):
        some = indexes[start : start + plan.slice]
        if start:
            await stream.breathe()
        rows: Sequence[tuple[Any, ...]] = ()
        if plan.attributes:
            rows = await selected.mailbox.fetch(NumberSet.of(uidsOf(view, some)), plan.attributes)
            if len(rows) < len(some):
                problem = problem or MessageExpunged()
                there = {row[0] for row in rows}
                some = [at for at in some if view.uids[at] in there]
        asked: Sequence[Sequence[bytes]] = ()
        if plan.queries:
            asked, wrong = await plan.ask(selected, some)
            problem = problem or wrong
        if not plan.sections:
            stream.write(b"".join(plan.render(selected, some, rows, asked)))
        else:
            seen = await _setSeen(selected, some) if plan.setsSeen else set()
            rendered = plan.render(selected, some, rows, asked)
            found = await _sendRows(session, plan, some, rows, rendered, byUID, seen)
            if not isinstance(problem, StoreDamaged):
                problem = found or problem
        await stream.drain()
    if problem is not None and not (byUID and isinstance(problem, MessageExpunged)):
        raise problem


async def fetchUnasked(
    session: IMAPSession, indexes: Sequence[int], items: tuple[Item, ...]
) -> None:
    """
    Send FETCH responses that no command asks for, of new messages (RFC 5465 §5.2, §7). Those that
    are gone, or don't have what is asked for, are left out.
    """
    selected = session.theSelected()
    if selected.tellsModSeqs:
        # "In all subsequent untagged FETCH responses" but those that are asked for (RFC 7162
        # §3.2.4).
        modSeq = session.registry.fetchItems[b"MODSEQ"]
        items = (*(item for item in items if item != modSeq), modSeq)
    # RFC 9051 §7.5.2: unsolicited ones have the UID; RFC 7162 §3.2.4 asks for it likewise.
    withUID = selected.tellsModSeqs or selected.isRev2
    try:
        await fetch(session, indexes, items, withUID)
    except (MessageExpunged, SyntaxProblem, UnknownEncoding):
        # That is told, too; or it is without a part that is asked for (RFC 5257 §3.2.1), or that
        # part can't be decoded (RFC 3516 §4.3).
        pass


async def _setSeen(selected: Selected, indexes: Sequence[int]) -> set[int]:
    # UIDs that got \Seen by this: their flags are told with the text (RFC 9051 §6.4.5).
    if selected.readOnly:
        return set()
    view = selected.view
    # Another session may have taken away what the view still shows.
    trusted = not selected.stale
    unseen = [view.uids[at] for at in indexes if not (trusted and SEEN in view.flags[at])]
    if not unseen:
        return set()
    try:
        result = await selected.mailbox.storeFlags(
            NumberSet.of(unseen), FlagOperation.ADD, frozenset((SEEN,))
        )
    except AccessDenied:
        # RFC 4314 §4: a FETCH "MUST NOT set it, if the current user doesn't have the s right".
        return set()
    for uid, flags, modSeq in result.changed:
        view.update(uid, flags, modSeq)
    return {uid for uid, _, _ in result.changed}


async def _sendRows(
    session: IMAPSession,
    plan: Plan,
    indexes: Sequence[int],
    rows: Sequence[tuple[Any, ...]],
    rendered: Iterable[bytes],
    byUID: bool,
    seen: set[int],
) -> MailError | None:
    # Index and row belong together. Returns why some of them, if any, couldn't be sent.
    selected = session.theSelected()
    stream = session.stream
    output: list[bytes] = []
    size = 0
    problem: MailError | None = None

    def finish() -> None:
        # Flags that were set are told, text or no text: the client must not come to differ.
        untold = [at for at in indexes if selected.view.uids[at] in seen]
        if output or untold:
            stream.write(b"".join(output + selected.flagResponses(untold, byUID)))

    try:
        for at, row, parts in zip(indexes, rows, rendered, strict=True):
            uid = row[0]
            bare = plan.bare
            if uid in seen and not plan.flags:
                parts += (b"" if bare else b" ") + b"FLAGS " + selected.flagLists([at])[0]
                bare = False
            if not bare:
                parts += b" "
            if row[plan.sectionColumn] is not None:
                # What can fail, if stored data is damaged, comes before anything is said.
                root = plan.structure(row)
                try:
                    if plan.decodes:
                        requireDecodable(plan.sections, root)
                except UnknownEncoding as error:
                    problem = problem or error
                    continue
                output.append(parts)
                for section in _cut(plan.sections, row[plan.sectionColumn], root):
                    output.append(section)
                    size += len(section)
                    if size > BATCH:
                        # One message, asked for in thousands of ways, is no reason to hold them.
                        await _send(session, output)
                        size = 0
                output.append(b")\r\n")
            else:
                # Too large to hold: straight from the store.
                try:
                    content = await selected.mailbox.openMessage(uid)
                    if plan.decodes:
                        requireDecodable(plan.sections, content.structure)
                    pieces = _pieces(plan.sections, content, stream)
                    # Nothing is said of a message before something of it could be read.
                    output += (parts, await anext(pieces))
                except MessageExpunged as error:
                    problem = problem or error
                    seen.discard(uid)
                    continue
                except UnknownEncoding as error:
                    problem = problem or error
                    continue
                except StoreDamaged as error:
                    problem = error
                    _logUnreadable(session, uid, error)
                    continue
                await _sendPieces(session, uid, output, pieces)
                size = 0
            seen.discard(uid)
    except (ConnectionClosed, SessionEnded):
        raise
    except Exception:
        finish()
        raise
    finish()
    return problem


def _logUnreadable(session: IMAPSession, uid: int, error: Exception) -> None:
    session.log.error(
        "imap: {user}: UID {uid} of {mailbox} can't be read: {error}; run: mailstack check",
        user=str(session.theAccount().address),
        uid=uid,
        mailbox=session.theSelected().name,
        error=error,
    )


async def _send(session: IMAPSession, output: list[bytes]) -> None:
    # In the midst of a response, at the pace of the peer.
    session.stream.write(b"".join(output))
    output.clear()
    await session.drainAmid()


def _cut(sections: Sequence[Section], whole: bytes, root: Part | None) -> Iterator[bytes]:
    # The sections of a message that is in memory, or without a root of its header.
    separator = b""
    for section in sections:
        data = whole
        label = separator + section.label
        separator = b" "
        if root is not None and (section.path or section.kind):
            where = sectionRange(root, section.path, section.kind)
            if where is None:
                yield label + (b" 0" if section.sizeOnly else b" NIL")
                continue
            data = whole[where[0] : where[1]]
            if section.decode:
                part = findPart(root, section.path)
                decoder = None if part is None else _decoder(section, part)
                assert decoder is not None
                data = decoder.feed(data) + decoder.finish()
        if section.sizeOnly:
            yield b"%b %d" % (label, len(data))
            continue
        if section.fields is not None:
            data = selectFields(data, section.fields, section.exclude)
        if section.partial is not None:
            first, count = section.partial
            data = data[first : first + count]
        yield _literal(label, len(data), section, b"\0" in data) + _withoutNUL(section, data)


async def _sendPieces(
    session: IMAPSession, uid: int, output: list[bytes], pieces: AsyncIterator[bytes]
) -> None:
    # What was said before, and the rest of a FETCH response that was begun.
    try:
        await _send(session, output)
        async for piece in pieces:
            await _send(session, [piece])
    except ConnectionClosed:
        raise
    except Exception as error:
        # Octets of a literal were promised: whatever came next would be taken for them. Only
        # closing says that they can't be had.
        if isinstance(error, MailError):
            _logUnreadable(session, uid, error)
        else:
            session.log.failure("a message can't be read to its end")
        session.stream.close()
        raise ConnectionClosed() from None


async def _pieces(
    sections: Sequence[Section], content: IMessageContent, stream: Stream
) -> AsyncIterator[bytes]:
    # The sections of a large message and the end of its response, in windows.
    separator = b""
    for section in sections:
        made = _decodedPieces if section.decode else _sectionPieces
        async for piece in made(section, content, stream):
            yield separator + piece
            separator = b""
        separator = b" "
    yield b")\r\n"


async def _decodedPieces(
    section: Section, content: IMessageContent, stream: Stream
) -> AsyncIterator[bytes]:
    part = findPart(content.structure, section.path)
    if part is None:
        yield section.label + (b" 0" if section.sizeOnly else b" NIL")
        return
    start, end = (part.bodyOffset, part.endOffset) if section.path else (0, content.size)
    first, most = section.partial or (0, 1 << 64)

    async def decoded() -> AsyncIterator[bytes]:
        # What is asked for of the decoded octets.
        decoder = _decoder(section, part)
        assert decoder is not None
        at, offset = start, 0
        while at <= end and offset < first + most:
            if at == end:
                data = decoder.finish()
                at += 1
            else:
                data = await content.read(at, min(WINDOW, end - at))
                if not data:
                    raise MessageExpunged()
                at += len(data)
                data = decoder.feed(data)
            wanted = data[max(first - offset, 0) : max(first + most - offset, 0)]
            offset += len(data)
            yield wanted

    # Twice: how many there are, and whether some are NULs, is said before them.
    size = 0
    hasNUL = False
    async for data in decoded():
        size += len(data)
        hasNUL = hasNUL or b"\0" in data
        await stream.breathe()
    if section.sizeOnly:
        yield b"%b %d" % (section.label, size)
        return
    yield _literal(section.label, size, section, hasNUL)
    async for data in decoded():
        yield data


async def _sectionPieces(
    section: Section, content: IMessageContent, stream: Stream
) -> AsyncIterator[bytes]:
    where: tuple[int, int] | None = (0, content.size)
    if section.path or section.kind:
        where = sectionRange(content.structure, section.path, section.kind)
    if where is None:
        yield section.label + b" NIL"
        return
    start, end = where
    if section.fields is not None:
        data = await content.read(start, min(end - start, MAX_HEADER))
        data = selectFields(data, section.fields, section.exclude)
        if section.partial is not None:
            data = data[section.partial[0] : sum(section.partial)]
        yield _literal(section.label, len(data), section, False) + _withoutNUL(section, data)
        return
    if section.partial is not None:
        start = min(start + section.partial[0], end)
        end = min(start + section.partial[1], end)
    label = b"%b {%d}\r\n" % (section.label, end - start)
    if start == end:
        yield label
    while start < end:
        data = await content.read(start, min(WINDOW, end - start))
        if not data:
            raise MessageExpunged()
        start += len(data)
        yield label + _withoutNUL(section, data)
        label = b""
