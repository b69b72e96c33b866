# -*- test-case-name: tests.imap.test_annotate -*-
"""
ANNOTATE-EXPERIMENT-1 (RFC 5257): what clients note about messages, each for himself or all for one
another, where the storage keeps it (L{IAnnotatedMailbox}).

Entries that are registered nowhere (RFC 5257 §3.2.1) can't be set. In entry names, C{*} and C{%}
match as in LIST, nothing at all included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.logger import Logger

from twisted_mailstack.errors import CannotDoThat, ConnectionClosed, MailError, SyntaxProblem
from twisted_mailstack.imap.commands.append import MessageReader
from twisted_mailstack.imap.commands.store import StoreOutcome
from twisted_mailstack.imap.encode import astring, string
from twisted_mailstack.imap.extension import Extension, SelectParameter, StoreItem
from twisted_mailstack.imap.fetch import FetchItem
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.search import Context, Node, Parser
from twisted_mailstack.imap.selected import Selected, uidsOf
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.sort import ComputedKey, Criterion
from twisted_mailstack.interfaces import (
    IAnnotatedAccount,
    IAnnotatedMailbox,
    IMailbox,
    IStagedContent,
)
from twisted_mailstack.model.mailboxname import compilePattern
from twisted_mailstack.model.mime import findPart, unpackStructure
from twisted_mailstack.model.records import Annotation, AnnotationKey, Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.sorting import collate
from twisted_mailstack.model.text import fold

#: Octets of a value; RFC 5257 §4.1: at least 1,024.
MAX_VALUE = 16 * 1024
#: Annotations of a message, the shared ones and one reader's; at least 10.
MAX_ENTRIES = 50
#: Octets of an entry's name.
MAX_NAME = 255
#: Entries, and values, that a command may name.
MAX_NAMED = 100
#: Characters of a value by which it is sorted.
MAX_KEY = 1000
#: Messages whose values are held at a time: of all entries, and of one.
SLICE = 16
SLICE_OF_ONE = 100
STRUCTURES = 500
#: Under which news are among those of the selected mailbox. No tag has a parenthesis.
KEY = b"(ANNOTATE)"

#   entry = astring: slash-separated path to entry, MUST NOT contain "*" or "%"
#   "MUST NOT contain two consecutive "/" characters and MUST NOT end with a "/" character ... MUST
#   NOT contain non-ASCII characters or the NULL octet"
_ENTRY = re.compile(r"(?:/[\x20-$&-)+-.0-~]+)+\Z")
_PATTERN = re.compile(r"(?:[*%][\x20-.0-~]*)?(?:/[\x20-.0-~]+)*\Z")
#   "All entries that start with a numeric character ("0" - "9") refer to an annotation on a
#   specific body part."
_SECTION = re.compile(r"/([1-9]\d{0,9}(?:\.[1-9]\d{0,9})*)/")
#: RFC 5257 §3.2.1. C{/flags} of the message "MUST NOT be used by clients or servers".
_REGISTERED = re.compile(r"/(?:comment|altsubject|vendor/[^/]+(?:/[^/]+)*)\Z")
_REGISTERED_OF_PART = re.compile(
    r"/(?:comment|flags/(?:seen|answered|flagged|forwarded)|vendor/[^/]+(?:/[^/]+)*)\Z"
)
_FLAGS = re.compile(r"/[\d.]+/flags/")

#: The attributes, whether each is the value (or else the size), and private or shared.
_ATTRIBUTES: dict[bytes, tuple[tuple[bool, bool], ...]] = {
    b"value": ((True, True), (True, False)),
    b"value.priv": ((True, True),),
    b"value.shared": ((True, False),),
    b"size": ((False, True), (False, False)),
    b"size.priv": ((False, True),),
    b"size.shared": ((False, False),),
}

T = TypeVar("T")


# --- names -------------------------------------------------------------------------------------


def _path(name: str) -> tuple[int, ...] | None:
    """
    @return: the part that an entry is about; C{None}: the message.
    @raise SyntaxProblem: if that can't be a part.
    """
    if not name[1:2].isdigit():
        return None
    match = _SECTION.match(name)
    # More than any message has; and int() would take its time.
    if match is None or match.group(1).count(".") > 200:
        raise SyntaxProblem("Invalid part specifier")
    return tuple(map(int, match.group(1).split(".")))


def _name(value: bytes, form: re.Pattern[str]) -> str:
    name = value.decode("latin-1")
    if not name or len(name) > MAX_NAME or not form.match(name):
        raise SyntaxProblem("Invalid entry name")
    if form is _ENTRY:
        _path(name)
    return name


def _paths(names: Iterable[str]) -> set[tuple[int, ...]]:
    """
    @return: the parts that entries are about.
    """
    return {path for name in names if not _isPattern(name) and (path := _path(name)) is not None}


def _hasParts(structure: bytes, paths: Collection[tuple[int, ...]]) -> bool:
    root = unpackStructure(structure)
    return all(findPart(root, path) is not None for path in paths)


async def _without(
    mailbox: IMailbox, uids: Sequence[int], paths: Collection[tuple[int, ...]]
) -> set[int]:
    """
    @return: the UIDs of those of these messages that don't have all these parts: "The server MUST
        return a BAD response if the client uses an incorrect part specifier (either incorrect
        syntax or a specifier referring to a non-existent part)" (§3.2.1).
    """
    rows = await mailbox.fetch(NumberSet.of(uids), (Attribute.STRUCTURE,))
    return {uid for uid, structure in rows if not _hasParts(structure, paths)}


def _isPattern(name: str) -> bool:
    return "*" in name or "%" in name


def _pattern(cursor: Cursor) -> str:
    """entry-match = list-mailbox"""
    name = _name(cursor.pattern(), _PATTERN)
    return name if _isPattern(name) else _name(name.encode("latin-1"), _ENTRY)


def _entry(cursor: Cursor) -> str:
    """entry = astring"""
    return _name(cursor.astring(), _ENTRY)


def _attribute(cursor: Cursor) -> bytes:
    """attrib = astring, of which there are no others yet"""
    name = cursor.astring()
    if name not in _ATTRIBUTES:
        raise SyntaxProblem("Unknown attribute")
    return name


def _oneOrMore(cursor: Cursor, read: Callable[[Cursor], T]) -> tuple[T, ...]:
    """
    thing / "(" thing *(SP thing) ")"
    """
    if not cursor.skip(b"("):
        return (read(cursor),)
    found = [read(cursor)]
    while not cursor.skip(b")"):
        cursor.space()
        found.append(read(cursor))
        if len(found) > MAX_NAMED:
            raise SyntaxProblem("Too many entries")
    return tuple(dict.fromkeys(found))


# --- FETCH -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """
    What a FETCH asks for: entries or patterns of them, and attributes.
    """

    entries: tuple[str, ...]
    attributes: tuple[bytes, ...]

    async def __call__(self, selected: Selected, indexes: Sequence[int]) -> Sequence[bytes | None]:
        """
        See C{query} of L{FetchItem}. Messages without a part that is asked for are no reason not to
        tell of the others.
        """
        uids = uidsOf(selected.view, indexes)
        paths = _paths(self.entries)
        without = await _without(selected.mailbox, uids, paths) if paths else ()
        names = None if any(map(_isPattern, self.entries)) else self.entries
        found: dict[int, dict[str, dict[bool, bytes]]] = {uid: {} for uid in uids}
        if IAnnotatedMailbox.providedBy(selected.mailbox):
            mailbox: Any = selected.mailbox
            rows: Sequence[Annotation] = await mailbox.annotations(NumberSet.of(uids), names)
            for uid, entry, private, value in rows:
                if uid in found:
                    found[uid].setdefault(entry, {})[private] = value
        return [None if uid in without else self._render(found[uid]) for uid in uids]

    def _render(self, there: Mapping[str, Mapping[bool, bytes]]) -> bytes:
        #   "(" entry-att *(SP entry-att) ")"
        shown = dict.fromkeys(
            (isValue, private) for name in self.attributes for isValue, private in _ATTRIBUTES[name]
        )
        wanted: dict[str, None] = {}
        for entry in self.entries:
            if not _isPattern(entry):
                wanted[entry] = None
                continue
            matches = compilePattern(entry)
            for name, values in there.items():
                # One that has nothing of what is asked for is not there.
                if matches(name) and any(private in values for _, private in shown):
                    wanted[name] = None
        parts = []
        for name in wanted:
            values = there.get(name, {})
            pairs = [
                b"%b.%b %b"
                % (
                    b"value" if isValue else b"size",
                    b"priv" if private else b"shared",
                    _written(values.get(private)) if isValue else _size(values.get(private)),
                )
                for isValue, private in shown
            ]
            parts.append(b"%b (%b)" % (astring(name.encode("ascii")), b" ".join(pairs)))
        return b"(%b)" % b" ".join(parts) if parts else b""


def _written(value: bytes | None) -> bytes:
    """value = nstring / literal8"""
    if value is not None and b"\0" in value:
        return b"~{%d}\r\n%b" % (len(value), value)
    return string(value)


def _size(value: bytes | None) -> bytes:
    return b'"%d"' % len(value or b"")


def _readFetch(cursor: Cursor) -> FetchItem:
    """
    fetch-att =/ "ANNOTATION" SP "(" entries SP attribs ")"
    """
    cursor.space()
    cursor.expect(b"(")
    entries = _oneOrMore(cursor, _pattern)
    cursor.space()
    attributes = _oneOrMore(cursor, _attribute)
    cursor.expect(b")")
    # The UID finds out messages that are gone.
    return FetchItem(b"ANNOTATION", (Attribute.UID,), query=Asked(entries, attributes))


# --- STORE and APPEND --------------------------------------------------------------------------


def _nothing() -> None:
    # Nothing has to be known before a string is read.
    return None


def _readValue(cursor: Cursor, before: Callable[[], None]) -> bytes | None:
    if cursor.peek() == b"~":
        if cursor.at + 1 == len(cursor.text):
            cursor.expect(b"~")
            before()
            raise SyntaxProblem("Literal expected")
        return cursor.literal8()
    before()
    return cursor.nstring()


def _readValues(
    cursor: Cursor, before: Callable[[], None] = _nothing
) -> dict[AnnotationKey, bytes | None]:
    """
    att-annotate = "ANNOTATION" SP "(" entry-att *(SP entry-att) ")", behind the space::

        entry-att = entry SP "(" att-value *(SP att-value) ")"
        att-value = attrib SP value

    @param before: called before each string is read.
    @raise MailError: if one of these can't be set.
    """
    values: dict[AnnotationKey, bytes | None] = {}
    readOnly = False
    cursor.expect(b"(")
    while True:
        before()
        entry = _entry(cursor)
        cursor.space()
        cursor.expect(b"(")
        while True:
            before()
            kinds = _ATTRIBUTES[_attribute(cursor)]
            if len(kinds) != 1:
                # §3.2.2: "The client MUST specify either a ".priv" or ".shared" suffix".
                raise SyntaxProblem("Private or shared?")
            ((isValue, private),) = kinds
            readOnly = readOnly or not isValue
            cursor.space()
            value = _readValue(cursor, before)
            if (entry, private) in values or len(values) >= MAX_NAMED:
                raise SyntaxProblem("A value is given twice, or there are too many")
            if isValue:
                values[entry, private] = value
            if cursor.skip(b")"):
                break
            cursor.space()
        if cursor.skip(b")"):
            break
        cursor.space()
    if readOnly:
        raise CannotDoThat("Sizes are the server's to set")
    return values


def _requireSettable(values: Mapping[AnnotationKey, bytes | None]) -> None:
    """
    @raise MailError: if one of these can't be set.
    """
    for (entry, _), value in values.items():
        match = _SECTION.match(entry)
        if match is None:
            registered = _REGISTERED.match(entry)
        else:
            registered = _REGISTERED_OF_PART.match(entry, match.end() - 1)
        if registered is None:
            raise CannotDoThat("There is no such entry")
        if _FLAGS.match(entry) and value not in (b"0", b"1", None):
            raise CannotDoThat("Flags are 0, 1 or NIL")
        if len(value or b"") > MAX_VALUE:
            raise _tooBig()


def _tooBig() -> MailError:
    return CannotDoThat("The annotation is too large", imapCode="ANNOTATE TOOBIG")


def _checkLiteral(size: int) -> None:
    if size > MAX_VALUE:
        raise _tooBig()


def _noPart() -> SyntaxProblem:
    return SyntaxProblem("There is no such part")


def _parseStore(session: IMAPSession, cursor: Cursor) -> dict[AnnotationKey, bytes | None]:
    return _readValues(cursor)


class StoreAnnotations(StoreOutcome):
    """
    One STORE of annotations under way (§4.5), which is silent.
    """

    def __init__(
        self,
        session: IMAPSession,
        values: Mapping[AnnotationKey, bytes | None],
        byUID: bool,
        unchangedSince: int | None,
    ) -> None:
        super().__init__(session, byUID, unchangedSince)
        _requireSettable(values)
        self._values = values

    async def run(self, indexes: Sequence[int]) -> None:
        """
        Set them, in all these messages or in none.
        """
        selected = self.selected
        if not IAnnotatedMailbox.providedBy(selected.mailbox):
            raise CannotDoThat("Messages of this mailbox have no annotations")
        mailbox: Any = selected.mailbox
        uids = uidsOf(selected.view, indexes)
        paths = _paths(entry for entry, _ in self._values)
        for start in range(0, len(uids) if paths else 0, STRUCTURES):
            if start:
                await self.session.stream.breathe()
            if await _without(mailbox, uids[start : start + STRUCTURES], paths):
                raise _noPart()
        result = await mailbox.storeAnnotations(
            NumberSet.of(uids), self._values, MAX_ENTRIES, self.unchangedSince
        )
        news = selected.updates.get(KEY)
        if isinstance(news, AnnotationNews):
            news.own.update(modSeq for _, _, modSeq in result.changed[:1])
        await self.take(result, lambda before: before, True)
        self.modified = list(result.modified)


def append(reader: MessageReader) -> None:
    """§4.7"""
    values = _readValues(reader.cursor, lambda: reader.mayBeLiteral(_checkLiteral))
    message = reader.messages[-1]
    if message.annotations:
        raise SyntaxProblem("ANNOTATION is given twice")
    _requireSettable(values)
    given = {key: value for key, value in values.items() if value is not None}
    if len(given) > MAX_ENTRIES:
        raise CannotDoThat("Too many annotations", imapCode="ANNOTATE TOOMANY")
    message.annotations = given
    paths = _paths(entry for entry, _ in given)

    def check(content: IStagedContent) -> None:
        if not _hasParts(content.summary.structure, paths):
            raise _noPart()

    if paths:
        message.checks.append(check)


# --- SEARCH and SORT ---------------------------------------------------------------------------


async def _look(
    context: Context, candidates: Sequence[int], entries: Sequence[str] | None
) -> dict[int, list[Annotation]]:
    """
    @param entries: names; C{None} for all.
    @return: the annotations of a few of these messages, by index.
    """
    mailbox: Any = context.mailbox
    where = {context.view.uids[at]: at for at in candidates}
    found: dict[int, list[Annotation]] = {}
    for each in await mailbox.annotations(NumberSet.of(where), entries):
        found.setdefault(where[each.uid], []).append(each)
    return found


async def _annotated(context: Context, candidates: Sequence[int]) -> list[int]:
    """
    @return: those of the messages that have annotations.
    """
    if not candidates or not IAnnotatedMailbox.providedBy(context.mailbox):
        return []
    mailbox: Any = context.mailbox
    uids = context.view.uids
    within = NumberSet([(uids[candidates[0]], uids[candidates[-1]])])
    annotated = set(await mailbox.annotatedMessages(within))
    return [at for at in candidates if uids[at] in annotated]


def _text(value: bytes) -> str:
    # "Text values SHOULD use the utf-8 character set" (§3.2.2).
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


class Noted(Node):
    """A substring of an annotation."""

    cost = 1

    def __init__(self, entry: str, attribute: bytes, text: str | None) -> None:
        """
        @param text: C{None} is in none.
        """
        self._entry = entry
        self._private = {private for _, private in _ATTRIBUTES[attribute]}
        self._wanted = None if text is None else fold(text)

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        wanted = self._wanted
        if wanted is None:
            return []
        matches = compilePattern(self._entry)
        names = None if _isPattern(self._entry) else [self._entry]
        size = SLICE if names is None else SLICE_OF_ONE
        annotated = await _annotated(context, candidates)
        found: list[int] = []
        for start in range(0, len(annotated), size):
            if start:
                await context.breathe()
            there = await _look(context, annotated[start : start + size], names)
            found += [
                at
                for at in sorted(there)
                if any(
                    each.private in self._private
                    and matches(each.entry)
                    and wanted in fold(_text(each.value))
                    for each in there[at]
                )
            ]
        return found


def _search(parser: Parser) -> Node:
    """
    search-key =/ "ANNOTATION" SP entry-match SP att-search SP value
    """
    cursor = parser.cursor
    cursor.space()
    entry = _pattern(cursor)
    cursor.space()
    attribute = _attribute(cursor)
    if not attribute.startswith(b"value"):
        raise SyntaxProblem("Only values can be searched")
    cursor.space()
    # Deviation: an astring, too, as all other keys take one.
    value: bytes | None
    if cursor.peek() == b"~":
        value = cursor.literal8()
    else:
        value = None if cursor.skipWord(b"NIL") else cursor.astring()
    try:
        text = None if value is None else value.decode(parser.charset)
    except (UnicodeDecodeError, LookupError):
        raise SyntaxProblem("The text is not in the charset") from None
    return Noted(entry, attribute, text)


@dataclass(frozen=True)
class SortKey(ComputedKey):
    """
    §4.9: the value of an entry; without one, nothing.
    """

    entry: str
    private: bool

    async def values(self, context: Context, found: Sequence[int]) -> Mapping[int, str]:
        """See L{ComputedKey}."""
        keys: dict[int, str] = {}
        annotated = await _annotated(context, found)
        for start in range(0, len(annotated), SLICE_OF_ONE):
            if start:
                await context.breathe()
            there = await _look(context, annotated[start : start + SLICE_OF_ONE], [self.entry])
            for at, some in there.items():
                for each in some:
                    if each.private is self.private:
                        keys[at] = collate(_text(each.value)[:MAX_KEY])[:MAX_KEY]
        return keys


def _readSort(cursor: Cursor) -> Criterion:
    """
    sort-key =/ "ANNOTATION" SP entry SP att-sort
    """
    cursor.space()
    entry = _entry(cursor)
    cursor.space()
    kinds = _ATTRIBUTES[_attribute(cursor)]
    if len(kinds) != 1 or not kinds[0][0]:
        raise SyntaxProblem("value.priv or value.shared expected")
    return SortKey(entry, kinds[0][1])


# --- news --------------------------------------------------------------------------------------


class AnnotationNews:
    """
    Tells which entries others changed (§4.4), among the news of the selected mailbox.

    @ivar own: modSeqs of the session's own changes.
    """

    log = Logger()

    def __init__(self, selected: Selected) -> None:
        self.own: set[int] = set()
        self._selected = selected
        self._wanted = False
        self._modSeq = 0
        self._lastUid = 0

    def want(self, wanted: bool) -> None:
        """
        From now on, whether they are told.
        """
        if wanted and not self._wanted:
            view = self._selected.view
            self._modSeq = view.highestModSeq
            self._lastUid = view.uids[-1] if view.uids else 0
        self._wanted = wanted

    async def __call__(self, touched: Collection[int]) -> bytes:
        """See C{updates} of L{Selected}."""
        selected = self._selected
        view, mailbox = selected.view, selected.mailbox
        if not self._wanted:
            return b""
        # A new message has no annotations that the client could have known.
        known, self._lastUid = self._lastUid, view.uids[-1] if view.uids else 0
        try:
            changes = await IAnnotatedMailbox(mailbox).annotationChangesSince(self._modSeq)
        except ConnectionClosed:
            raise
        except Exception:
            # It is told with the next change; what else is news must not be lost.
            self.log.failure("changes of annotations can't be told")
            return b""
        entries: dict[int, list[bytes]] = {}
        for modSeq, uid, entry in changes:
            at = view.index(uid)
            if modSeq not in self.own and uid <= known and at is not None:
                entries.setdefault(at, []).append(astring(entry.encode("ascii")))
        self._modSeq = max([view.highestModSeq, *(change.modSeq for change in changes)])
        self.own = {modSeq for modSeq in self.own if modSeq > self._modSeq}
        return b"".join(self._response(at, entries[at]) for at in sorted(entries))

    def _response(self, at: int, entries: Sequence[bytes]) -> bytes:
        # "Unsolicited ANNOTATION responses MUST NOT include ANNOTATION data values".
        selected = self._selected
        uid = selected.view.uids[at]
        head = b"* %d FETCH (" % (at + 1)
        if selected.uidOnly:
            head = b"* %d UIDFETCH (" % uid
        elif selected.withUIDs or selected.tellsModSeqs or selected.isRev2:
            head += b"UID %d " % uid
        if selected.tellsModSeqs:
            head += b"MODSEQ (%d) " % selected.modSeqs([at])[0]
        return b"%bANNOTATION (%b))\r\n" % (head, b" ".join(dict.fromkeys(entries)))


def tellAnnotations(selected: Selected, wanted: bool) -> None:
    """
    From now on, whether the client is told which annotations others change in a mailbox.
    """
    news = selected.updates.get(KEY)
    if news is None:
        if not wanted or not IAnnotatedMailbox.providedBy(selected.mailbox):
            return
        news = AnnotationNews(selected)
        # Before ESEARCH (RFC 5465 §5.1).
        selected.updates = {KEY: news, **selected.updates}
    if selected.view.touched is None:
        selected.view.touched = set()
    assert isinstance(news, AnnotationNews)
    news.want(wanted)


def _parseSelect(session: IMAPSession, cursor: Cursor) -> None:
    # A parameter without a value.
    return None


async def _selected(session: IMAPSession, value: object) -> None:
    """§4.2"""
    tellAnnotations(session.theSelected(), True)


def _level(session: IMAPSession, selected: Selected) -> bytes:
    """
    §4.1: "Servers MUST return an ANNOTATIONS response code during the SELECT or EXAMINE command".
    """
    if not _capability(session):
        return b""
    level = b"%d" % MAX_VALUE
    if not IAnnotatedMailbox.providedBy(selected.mailbox):
        level = b"NONE"
    elif selected.readOnly:
        level = b"READ-ONLY"
    return b"* OK [ANNOTATIONS %b] Annotations of messages\r\n" % level


def _capability(session: IMAPSession) -> bytes | None:
    # Before login nobody knows what the storage of the account can do.
    return b"ANNOTATE-EXPERIMENT-1" if IAnnotatedAccount.providedBy(session.account) else None


EXTENSION = Extension(
    _capability,
    5257,
    fetchItems={b"ANNOTATION": FetchItem(b"ANNOTATION", (), parse=_readFetch)},
    storeItems={b"ANNOTATION": StoreItem(_parseStore, StoreAnnotations, _checkLiteral)},
    appendOptions={b"ANNOTATION": append},
    searchKeys={b"ANNOTATION": _search},
    sortKeys={b"ANNOTATION": _readSort},
    selectParameters={b"ANNOTATE": SelectParameter(_parseSelect, _selected)},
    selectResponse=_level,
)
