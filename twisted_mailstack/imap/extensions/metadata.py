# -*- test-case-name: tests.imap.test_metadata -*-
"""
METADATA (RFC 5464): entries of mailboxes and of the server, where the storage keeps them
(L{IMetadataAccount}); RETURN (METADATA) of LIST (RFC 9590).

Shared entries of the server come from its settings and are read-only; its private ones are the
account's. C{/private/specialuse} of a mailbox is its special use (RFC 6154 §4). Who enables
METADATA is told which entries others changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from twisted_mailstack.errors import (
    AccessDenied,
    CannotDoThat,
    MailError,
    SyntaxProblem,
)
from twisted_mailstack.imap.encode import astring, mailbox, string
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension, Listed, ListReturn
from twisted_mailstack.imap.extensions.createspecialuse import assignable
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.sources import foreignPrefixes
from twisted_mailstack.interfaces import IMetadataAccount, ISpecialUseAccount
from twisted_mailstack.model.mailboxname import decodeName, normaliseName
from twisted_mailstack.model.records import MailboxInfo

#: Octets of a value; RFC 5464 §4.1: at least 1,024.
MAX_VALUE = 16 * 1024
#: Entries of a mailbox, and of the server for one account; at least 10.
MAX_ENTRIES = 100
#: Octets of an entry's name.
MAX_NAME = 255
#: Entries that a command may name.
MAX_NAMED = 1000

#: RFC 6154 §4.
SPECIAL_USE = "/private/specialuse"
_PRIVATE = "/private/"

#   entry = astring: slash-separated path to entry, MUST NOT contain "*" or "%"
#   "MUST NOT contain two consecutive "/" characters and MUST NOT end with a "/" character", "MUST
#   NOT contain non-ASCII characters or characters with octet values in the range 0x00 to 0x19"
_ENTRY = re.compile(rb"/(?:private|shared)(?:/[^/*%\x00-\x1f\x7f-\xff]+)*\Z")
#   "Entry names can have any number of components starting at 2, unless they fall under the vendor
#   namespaces, ... in which case they have at least 4 components."
_SETTABLE = re.compile(r"/[^/]+/(?!vendor(?:/|\Z))[^/]|/[^/]+/vendor/[^/]+/[^/]")


def _account(session: IMAPSession) -> Any:
    account = session.theAccount()
    if not IMetadataAccount.providedBy(account):
        raise CannotDoThat("There is no metadata")
    return account


def _mailbox(cursor: Cursor) -> str:
    """
    @return: the mailbox's name; empty for the server.
    """
    name = decodeName(cursor.astring(), cursor.utf8)
    return normaliseName(name) if name else ""


def _entry(cursor: Cursor) -> str:
    """
    @return: an entry's name, which is case-insensitive, in lower case.
    """
    name = cursor.astring().lower()
    if len(name) > MAX_NAME or not _ENTRY.match(name):
        raise SyntaxProblem("Invalid entry name")
    return name.decode("ascii")


def parseEntries(cursor: Cursor, inParentheses: bool) -> list[str]:
    """
    entries = entry / "(" entry *(SP entry) ")"

    @param inParentheses: the parenthesis was read.
    """
    names = [_entry(cursor)]
    while not cursor.skip(b")") if inParentheses else not cursor.atEnd:
        # Deviation: without parentheses several, too, as in RFC 5464's examples in §4.4.1.
        cursor.space()
        names.append(_entry(cursor))
        if len(names) > MAX_NAMED:
            raise SyntaxProblem("Too many entries")
    return list(dict.fromkeys(names))


def _options(cursor: Cursor) -> tuple[int | None, str]:
    """
    getmetadata-option *(SP getmetadata-option) ")", behind the parenthesis

    @return: MAXSIZE and DEPTH.
    """
    maxSize: int | None = None
    depth: str | None = None
    while True:
        name = cursor.atom().upper()
        cursor.space()
        if name == b"MAXSIZE" and maxSize is None:
            maxSize = cursor.number()
        elif name == b"DEPTH" and depth is None:
            depth = cursor.atom().decode("ascii").lower()
            if depth not in ("0", "1", "infinity"):
                raise SyntaxProblem("DEPTH is 0, 1 or infinity")
        else:
            raise SyntaxProblem("Unknown or repeated GETMETADATA option")
        if cursor.skip(b")"):
            return maxSize, depth or "0"
        cursor.space()


def _value(value: bytes | None) -> bytes:
    """value = nstring / literal8"""
    if value is not None and b"\0" in value:
        return b"~{%d}\r\n%b" % (len(value), value)
    return string(value)


def _response(name: str, values: Mapping[str, bytes | None], utf8: bool) -> bytes:
    """METADATA SP mailbox SP entry-values"""
    pairs = (b"%b %b" % (_told(entry), _value(value)) for entry, value in values.items())
    return b"* METADATA %b (%b)\r\n" % (_toldMailbox(name, utf8), b" ".join(pairs))


def _told(entry: str) -> bytes:
    return astring(entry.encode("ascii"))


def _toldMailbox(name: str, utf8: bool) -> bytes:
    return mailbox(name, utf8) if name else b'""'


async def _specialUse(session: IMAPSession, name: str) -> bytes | None:
    for info in await session.theAccount().listMailboxes():
        if info.name == name and info.specialUse:
            return info.specialUse.encode("ascii")
    return None


def _hasSpecialUse(session: IMAPSession, name: str) -> bool:
    return bool(name) and ISpecialUseAccount.providedBy(session.account)


def _below(name: str, entry: str, depth: str) -> bool:
    """
    @return: whether an entry is told when C{name} is asked for.
    """
    if entry == name:
        return True
    if depth == "0" or not entry.startswith(name + "/"):
        return False
    return depth == "infinity" or "/" not in entry[len(name) + 1 :]


def _ours(session: IMAPSession, name: str) -> Collection[str]:
    """
    @return: entries that are never stored.
    """
    return () if name else session.registry.serverMetadata


async def _computed(
    session: IMAPSession, name: str, wanted: Callable[[str], bool]
) -> dict[str, bytes]:
    """
    @return: those of the entries that aren't stored as such.
    """
    if name:
        use = None
        if wanted(SPECIAL_USE) and _hasSpecialUse(session, name):
            use = await _specialUse(session, name)
        return {} if use is None else {SPECIAL_USE: use}
    values = {e: value for e, value in session.settings.serverEntries.items() if wanted(e)}
    for entry, compute in session.registry.serverMetadata.items():
        value = await compute(session) if wanted(entry) else None
        if value is not None:
            values[entry] = value
    return values


async def getMetadata(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """
    RFC 5464 §4.2::

        getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries
    """
    cursor.space()
    maxSize: int | None = None
    depth = "0"
    given = cursor.skip(b"(")
    if given:
        maxSize, depth = _options(cursor)
        cursor.space()
    name = _mailbox(cursor)
    cursor.space()
    inParentheses = cursor.skip(b"(")
    if inParentheses and not given and cursor.peek() not in (b"/", b'"', b"{"):
        # Deviation: the options behind the mailbox, too, where RFC 5464's examples have them.
        maxSize, depth = _options(cursor)
        cursor.space()
        inParentheses = cursor.skip(b"(")
    asked = parseEntries(cursor, inParentheses)
    cursor.end()
    computed = await _computed(
        session, name, lambda entry: any(_below(each, entry, depth) for each in asked)
    )
    stored = await _account(session).metadataSizes(name)
    ours = _ours(session, name)
    sizes = {entry: size for entry, size in stored.items() if entry not in ours}
    sizes.update({entry: len(value) for entry, value in computed.items()})
    wanted = asked
    if depth != "0":
        wanted = [
            entry for entry in sorted(sizes) if any(_below(each, entry, depth) for each in asked)
        ]
    tooLong = [
        sizes[each] for each in wanted if maxSize is not None and sizes.get(each, 0) > maxSize
    ]
    if maxSize is not None:
        wanted = [each for each in wanted if sizes.get(each, 0) <= maxSize]
    there = [each for each in wanted if each in sizes and each not in computed]
    values = {**await _account(session).getMetadata(name, there), **computed}
    # An entry that was asked for by its name and isn't there is NIL.
    if wanted:
        told = {each: values.get(each) for each in wanted}
        session.stream.write(_response(name, told, cursor.utf8))
    if tooLong:
        return b"[METADATA LONGENTRIES %d] GETMETADATA completed" % max(tooLong)
    return None


async def setMetadata(session: IMAPSession, cursor: Cursor) -> None:
    """
    RFC 5464 §4.3::

        setmetadata = "SETMETADATA" SP mailbox SP entry-values
        entry-values = "(" entry-value *(SP entry-value) ")"
    """
    cursor.space()
    name = _mailbox(cursor)
    cursor.space()
    cursor.expect(b"(")
    values: dict[str, bytes | None] = {}
    while True:
        entry = _entry(cursor)
        if not _SETTABLE.match(entry):
            raise SyntaxProblem("Invalid entry name")
        cursor.space()
        values[entry] = _parseValue(cursor)
        if len(values) > MAX_NAMED:
            raise SyntaxProblem("Too many entries")
        if cursor.skip(b")"):
            break
        cursor.space()
    cursor.end()
    account = _account(session)
    if any(value is not None and len(value) > MAX_VALUE for value in values.values()):
        raise CannotDoThat("The value is too long", imapCode=f"METADATA MAXSIZE {MAX_VALUE}")
    if not name and any(not entry.startswith(_PRIVATE) for entry in values):
        raise AccessDenied("Shared entries of the server are read-only")
    for entry in values:
        if entry in _ours(session, name):
            raise AccessDenied(f"The entry {entry} is read-only")
    for check in session.registry.metadataChecks:
        for entry, value in values.items():
            if value is not None:
                check(session, name, entry, value)
    lost: Sequence[str] = ()
    if SPECIAL_USE in values and name:
        lost = await _setSpecialUse(session, name, values)
    listeners = [each for each in session.listeners if isinstance(each, MetadataListener)]
    if values:
        modSeq = await account.setMetadata(name, values, MAX_ENTRIES)
        # Those of others' mailboxes are modSeqs of other accounts.
        for listener in () if name.startswith(foreignPrefixes(account)) else listeners:
            listener.own.add(modSeq)
    else:
        for listener in listeners:
            await listener.learnUses()
    for other in lost:
        use = await _specialUse(session, other)
        session.stream.write(_response(other, {SPECIAL_USE: use}, cursor.utf8))


def _parseValue(cursor: Cursor) -> bytes | None:
    """value = nstring / literal8"""
    if cursor.peek() == b"~":
        return cursor.literal8()
    return cursor.nstring()


async def _setSpecialUse(
    session: IMAPSession, name: str, values: dict[str, bytes | None]
) -> Sequence[str]:
    """
    Set the special use that stands among these entries, which it leaves.

    @return: the names of the mailboxes that lost one.
    """
    account: Any = session.theAccount()
    if not _hasSpecialUse(session, name):
        raise CannotDoThat("Special uses can't be changed", imapCode="USEATTR")
    use = assignable((values[SPECIAL_USE] or b"").decode("latin-1").split())
    others = {entry: value for entry, value in values.items() if entry != SPECIAL_USE}
    if others:
        # "The server MUST NOT change the values for other annotations" if one of them fails.
        raise CannotDoThat("The special use is to be set alone")
    del values[SPECIAL_USE]
    lost: Sequence[str] = await account.setSpecialUse(name, use)
    return lost


class MetadataListener:
    """
    Tells which entries others changed (RFC 5464 §4.4.2).

    @ivar own: the modSeqs of the session's own changes.
    """

    def __init__(self, session: IMAPSession) -> None:
        self.own: set[int] = set()
        self._session = session
        self._account = _account(session)
        self._modSeq: int | None = None
        self._infos: dict[str, MailboxInfo] = {}
        self._stale = True
        self._stop = self._account.watch(self._changed)

    def _changed(self, mailboxId: str) -> None:
        if not mailboxId:
            self._stale = True
            self._session.stream.wake()

    async def news(self) -> bytes:
        """See L{Listener<twisted_mailstack.imap.session.Listener>}."""
        if not self._stale:
            return b""
        self._stale = False
        try:
            since = (1 << 62) if self._modSeq is None else self._modSeq
            modSeq, changes = await self._account.metadataChangesSince(since)
            others = await self.learnUses()
        except BaseException:
            self._stale = True
            raise
        self._modSeq = modSeq
        entries: dict[str, list[str]] = {} if since >> 62 else {n: [SPECIAL_USE] for n in others}
        for change in changes:
            if change.modSeq not in self.own:
                entries.setdefault(change.mailboxName, []).append(change.entry)
        self.own = {each for each in self.own if each > modSeq}
        if not entries:
            return b""
        utf8 = self._session.utf8
        infos = {info.name: info for info in self._infos.values()}
        parts = []
        for name, names in entries.items():
            info = infos.get(name) or MailboxInfo(name, "", True, False)
            if self.wants(info if name else None):
                told = b" ".join(_told(entry) for entry in dict.fromkeys(names))
                parts.append(b"* METADATA %b %b\r\n" % (_toldMailbox(name, utf8), told))
        return b"".join(parts)

    def wants(self, info: MailboxInfo | None) -> bool:
        """
        @param info: of a mailbox; C{None} for the server.
        @return: whether its entries are told.
        """
        return True

    async def learnUses(self) -> list[str]:
        """
        @return: the names of mailboxes that have another special use than when this was called
            the last time.
        """
        infos = await self._account.listMailboxes()
        before, self._infos = self._infos, {info.mailboxId: info for info in infos}
        return [
            info.name
            for info in infos
            if before.get(info.mailboxId, info).specialUse != info.specialUse
        ]

    def close(self) -> None:
        """See L{Listener<twisted_mailstack.imap.session.Listener>}."""
        self._stop()


def listen(session: IMAPSession) -> None:
    """METADATA was enabled."""
    if not any(isinstance(each, MetadataListener) for each in session.listeners):
        session.listeners.append(MetadataListener(session))


def _capability(session: IMAPSession) -> bytes | None:
    # Before login nobody knows what the storage of the account can do.
    return b"METADATA" if IMetadataAccount.providedBy(session.account) else None


EXTENSION = Extension(
    _capability,
    5464,
    (
        Command(b"GETMETADATA", LOGGED_IN, getMetadata),
        Command(b"SETMETADATA", LOGGED_IN, setMetadata),
    ),
    enables=(b"METADATA", b"METADATA-SERVER"),
    whenEnabled=listen,
)


def _parseReturn(session: IMAPSession, cursor: Cursor) -> tuple[list[str], bool]:
    """
    return-option =/ "METADATA" SP "(" entry *(SP entry) ")"     (RFC 9590 §3)
    """
    cursor.space()
    cursor.expect(b"(")
    return parseEntries(cursor, True), cursor.utf8


async def tellMetadata(
    session: IMAPSession, value: tuple[list[str], bool], listed: Sequence[Listed]
) -> None:
    """
    A METADATA response behind each LIST response, C{NIL} for what isn't there. For names that
    don't exist, or may not be looked into, there is none.
    """
    entries, utf8 = value
    account = _account(session)
    stored = [entry for entry in entries if entry != SPECIAL_USE]
    for each in listed:
        name = each.info.name
        if not each.selected or not each.info.mailboxId:
            continue
        try:
            values: dict[str, bytes | None] = dict(await account.getMetadata(name, stored))
        except MailError:
            continue
        if each.info.specialUse:
            values[SPECIAL_USE] = each.info.specialUse.encode("ascii")
        told = {entry: values.get(entry) for entry in entries}
        each.responses.append(_response(name, told, utf8))


LIST_METADATA = Extension(
    lambda session: b"LIST-METADATA" if _capability(session) else None,
    9590,
    listReturns={b"METADATA": ListReturn(_parseReturn, tellMetadata)},
)
