# -*- test-case-name: tests.imap.test_messages -*-
"""STORE and UID STORE (RFC 9051 §6.4.6, §6.4.9), conditional too (RFC 7162 §3.1.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from twisted_mailstack.errors import ConnectionClosed, MessageExpunged, SessionEnded, SyntaxProblem
from twisted_mailstack.imap.commands.append import requireRoom
from twisted_mailstack.imap.extension import (
    ONLY_SELECTED,
    Command,
    StoreItem,
    Storing,
    readModifiers,
)
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import uidsOf
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.flags import NO_FLAGS, FlagOperation, Flags, KeywordSpelling
from twisted_mailstack.model.records import StoreResult
from twisted_mailstack.model.sequence import NumberSet, SequenceSet

_OPERATIONS = {
    b"FLAGS": FlagOperation.REPLACE,
    b"+FLAGS": FlagOperation.ADD,
    b"-FLAGS": FlagOperation.REMOVE,
}


#: FETCH responses that are written in one go.
SLICE = 1000
#: Messages whose flags are changed, or compared, in one go.
MANY = 10_000


class StoreOutcome:
    """
    What a STORE command has done so far.

    @ivar done: how many messages have now what they were to have.
    @ivar modified: UIDs of messages that failed UNCHANGEDSINCE.
    @ivar withFlags: indexes of messages whose flags are to be told; C{withoutFlags}: of those whose
        modSeq is.
    """

    def __init__(self, session: IMAPSession, byUID: bool, unchangedSince: int | None) -> None:
        self.session = session
        self.selected = session.theSelected()
        self.byUID = byUID
        self.unchangedSince = unchangedSince
        self.done = 0
        self.modified: list[int] = []
        self.withFlags: set[int] = set()
        self.withoutFlags: set[int] = set()

    async def take(
        self, result: StoreResult, expected: Callable[[Flags], Flags], silent: bool
    ) -> None:
        """
        Take over what the storage says.

        @param expected: given the flags that the client knew, those that it takes a message to have
            now.
        @param silent: whether it needn't be told if it is right.
        """
        selected = self.selected
        view = selected.view
        for found, hasChanged in ((result.changed, True), (result.unchanged, False)):
            for number, (uid, after, modSeq) in enumerate(found):
                if number % MANY == MANY - 1:
                    await self.session.stream.breathe()
                self.done += 1
                at = view.index(uid)
                if at is None:
                    continue
                known = expected(view.flags[at])
                view.update(uid, after, modSeq)
                # What another session changed meanwhile is told although this STORE is silent.
                if not silent or known != after:
                    self.withFlags.add(at)
                elif self.unchangedSince is not None or (hasChanged and selected.tellsModSeqs):
                    # "An untagged FETCH response MUST be sent, even if the .SILENT suffix is
                    # specified, and the response MUST include the MODSEQ" (RFC 7162 §3.1.3).
                    self.withoutFlags.add(at)

    async def tell(self) -> None:
        """
        Write the FETCH responses, at the pace of the peer.
        """
        selected = self.selected
        stream = self.session.stream
        indexes = sorted(self.withFlags | self.withoutFlags)
        for start in range(0, len(indexes), SLICE):
            if start:
                await stream.breathe()
            some = indexes[start : start + SLICE]
            for withFlags, group in groupby(some, self.withFlags.__contains__):
                stream.write(b"".join(selected.flagResponses(list(group), self.byUID, withFlags)))
            await stream.drain()


class _Store(StoreOutcome):
    """
    One STORE of flags under way.
    """

    def __init__(
        self,
        session: IMAPSession,
        operation: FlagOperation,
        flags: Flags,
        silent: bool,
        byUID: bool,
        unchangedSince: int | None,
    ) -> None:
        super().__init__(session, byUID, unchangedSince)
        self.operation = operation
        self.flags = flags
        self.silent = silent

    async def run(self, indexes: Sequence[int]) -> None:
        """
        Change the flags of these messages.
        """
        uids = uidsOf(self.selected.view, indexes)
        # In steps: who delivers a message meanwhile waits for one of them.
        for start in range(0, len(uids), MANY):
            try:
                self.modified += await self._change(uids[start : start + MANY], self.unchangedSince)
            except Exception:
                # The client takes NO for "nothing changed": it is told what did.
                self.withFlags.update(indexes[:start])
                raise
        if self.modified:
            await self._tryAgain()

    async def _change(self, uids: Sequence[int], unchangedSince: int | None) -> list[int]:
        result = await self.selected.mailbox.storeFlags(
            NumberSet.of(uids), self.operation, self.flags, unchangedSince
        )
        await self.take(
            result, lambda before: self.operation.apply(before, self.flags), self.silent
        )
        return list(result.modified)

    async def _tryAgain(self) -> None:
        # A message has one modSeq for all of its flags, so it fails for flags that nobody touched:
        # those are found out here, and tried again unless somebody touches them meanwhile (RFC 7162
        # §3.1.12).
        view = self.selected.view
        known = {
            uid: (view.flags[at], view.modSeqs[at])
            for uid in self.modified
            if (at := view.index(uid)) is not None
        }
        await self.session.tellNews(mayExpunge=False)
        # As the mailbox spells them by now.
        self.flags, _ = KeywordSpelling(view.keywords).apply(self.flags)
        again: list[int] = []
        for number, (uid, (flags, modSeq)) in enumerate(known.items()):
            if number % MANY == MANY - 1:
                await self.session.stream.breathe()
            at = view.index(uid)
            if at is not None and self._spurious(flags, modSeq, view.flags[at]):
                again.append(uid)
        if again:
            left = await self._change(again, view.highestModSeq)
            self.modified = sorted(set(self.modified).difference(again).union(left))
        # A client that didn't know why it failed needn't ask.
        for uid in self.modified:
            at = view.index(uid)
            if at is not None and uid in known and view.modSeqs[at] == known[uid][1]:
                self.withFlags.add(at)

    def _spurious(self, before: Flags, modSeq: int, after: Flags) -> bool:
        """
        @param before: the flags and the modSeq that the client was told of last.
        @param after: the flags as they are.
        @return: whether none of the flags in question changed since the client's UNCHANGEDSINCE.
        """
        assert self.unchangedSince is not None
        if self.operation is FlagOperation.REPLACE:
            return False
        if not self.unchangedSince:
            # "0 always fails if the metadata item exists", as system flags always do.
            return not any(flag[0] == "\\" or flag in after for flag in self.flags)
        return self.unchangedSince >= modSeq and before & self.flags == after & self.flags


async def _literal(session: IMAPSession, cursor: Cursor, size: int) -> None:
    """
    What is bound to fail is refused before the client sends it.
    """
    item = _parse(session, cursor)[3]
    if item is not None:
        item.checkLiteral(size)


def _parse(
    session: IMAPSession, cursor: Cursor
) -> tuple[SequenceSet, dict[bytes, Any], bytes, StoreItem | None]:
    """
    store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags, up to the value.

    @return: numbers, modifiers, the name of what is to be changed, and what is registered under it.
    """
    cursor.space()
    numbers = cursor.sequenceSet()
    cursor.space()
    modifiers: dict[bytes, Any] = {}
    if cursor.peek() == b"(":
        modifiers = readModifiers(session, cursor, session.registry.storeModifiers)
        cursor.space()
    name = cursor.atom().upper()
    return numbers, modifiers, name, session.registry.storeItems.get(name)


async def _store(session: IMAPSession, cursor: Cursor, byUID: bool) -> bytes | None:
    numbers, modifiers, given, item = _parse(session, cursor)
    name, dot, suffix = given.partition(b".")
    operation = _OPERATIONS.get(name)
    silent = bool(dot)
    flags: Flags = NO_FLAGS
    value: Any = None
    if item is not None:
        cursor.space()
        value = item.parse(session, cursor)
    elif operation is None or (dot and suffix != b"SILENT"):
        raise SyntaxProblem("FLAGS, +FLAGS or -FLAGS expected")
    else:
        cursor.space()
        flags = cursor.storeFlags()
    cursor.end()
    selected = session.theSelected()
    view = selected.view
    indexes = session.atMost(view.resolve(numbers, byUID))
    unchangedSince: int | None = modifiers.get(b"UNCHANGEDSINCE")
    if unchangedSince is not None:
        session.enable(b"CONDSTORE")
    selected.requireWritable()
    new: Sequence[str] = ()
    store: Storing
    if item is not None:
        store = item.begin(session, value, byUID, unchangedSince)
    else:
        assert operation is not None
        # As the mailbox spells its keywords.
        flags, new = KeywordSpelling(view.keywords).apply(flags)
        if operation is not FlagOperation.REMOVE:
            requireRoom(view.keywords, new)
        store = _Store(session, operation, flags, silent, byUID, unchangedSince)
    if not indexes:
        return None
    try:
        await store.run(indexes)
    except (ConnectionClosed, SessionEnded):
        raise
    except Exception:
        await store.tell()
        raise
    if new:
        # FLAGS names a new keyword before it is used.
        await session.tellNews(mayExpunge=False)
    await store.tell()
    failed = (
        store.modified
        if byUID
        else [at + 1 for uid in store.modified if (at := view.index(uid)) is not None]
    )
    code = b"MODIFIED " + NumberSet.of(failed).render() if failed else b""
    if len(indexes) > store.done + len(failed) and not byUID and not silent:
        # RFC 2180 §4.2.2, §4.2.3; with UIDs, those that nobody has are ignored.
        raise MessageExpunged(imapCode=code.decode("ascii") or None)
    return b"[%b] Conditional STORE failed" % code if code else None


async def store(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 9051 §6.4.6."""
    return await _store(session, cursor, False)


async def uidStore(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 9051 §6.4.9."""
    return await _store(session, cursor, True)


COMMANDS = (
    Command(
        b"STORE",
        ONLY_SELECTED,
        store,
        mayExpunge=False,
        usesSequenceNumbers=True,
        literalSink=_literal,
    ),
    Command(b"UID STORE", ONLY_SELECTED, uidStore, literalSink=_literal),
)
