# -*- test-case-name: tests.imap.test_selected -*-
"""
The selected mailbox of a session: its view, and what is to be told to the client about it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.encode import flagList
from twisted_mailstack.imap.view import View
from twisted_mailstack.imap.views import Views
from twisted_mailstack.interfaces import IMailbox, IRestrictedMailbox
from twisted_mailstack.model.flags import SYSTEM_FLAGS
from twisted_mailstack.model.records import Changes
from twisted_mailstack.model.rights import Rights
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet
from twisted_mailstack.sharing.mailbox import scopeOf

#: Ranges of UIDs in one VANISHED response.
MAX_RANGES = 1000

#: Messages that are told of in one turn, or expunged in one step.
SLICE = 5000

Breathe = Callable[[], Awaitable[None]]

#: One of these rights, and SELECT says READ-WRITE (RFC 4314 §5.2, RFC 5257 §3.4).
WRITING: Rights = frozenset("ieswtn")


class Selected:
    """
    @ivar name: under which it was selected; C{given}: as the client wrote it.
    @ivar mailbox: the mailbox.
    @ivar view: what the client knows.
    @ivar readOnly: by EXAMINE.
    @ivar rights: what may be done in it; C{None} for a mailbox of one's own: everything.
    @ivar uidValidity: of the mailbox.
    @ivar updates: who tells more of what changed, by tags of commands (RFC 5267), or what can't be
        a tag: each is given the UIDs of L{View.touched}, and gives untagged responses.
    @ivar fetchNew: sends the responses that it is given, and FETCH responses with what C{updates}
        want of new messages (RFC 5465 §7); C{None}: they want nothing.
    @ivar newItems: items that are fetched of each new message besides, by whoever sets them (RFC
        5465 §5.2); C{fetchedNew}: UIDs of messages of which C{fetchNew} sent them already.
    @ivar tellsFlags: whether flags that others changed are told; C{withUIDs}: with UIDs.
    @ivar toldModSeq: up to where the client was told everything: below the modSeq of any EXPUNGE
        that is held back, and of flags that it didn't want to be told (RFC 5465 §5.1).
    """

    view: View
    uidValidity: int
    toldModSeq: int

    def __init__(
        self,
        name: str,
        mailbox: IMailbox,
        readOnly: bool,
        news: Callable[[], None],
        enabled: Collection[bytes] = (),
        breathe: Breathe | None = None,
    ) -> None:
        """
        For L{open}, which gives it its view.
        """
        self.name = self.given = name
        self.mailbox = mailbox
        self.readOnly = readOnly
        self.rights: Rights | None = None
        self.updates: dict[bytes, Callable[[Collection[int]], Awaitable[bytes]]] = {}
        self.fetchNew: Callable[[bytes], Awaitable[None]] | None = None
        self.newItems: tuple[Any, ...] = ()
        self.fetchedNew: Collection[int] = ()
        self.tellsFlags = True
        self.withUIDs = False
        self._news = news
        self._enabled = enabled
        # What the client takes for the mailbox's highest modSeq, the highest that it saw in FETCH
        # responses since, and whether it has to be told whatever it believes.
        self._believedModSeq = 0
        self._shownModSeq = 0
        self._modSeqWanted = False
        # UIDs of messages whose flags changed while nobody wanted to be told.
        self._untold: set[int] = set()
        self._stale = False
        # Whether flags may have changed since L{observe}, and up to where it looked.
        self._unobserved = False
        self._observedModSeq = 0
        self._toldKeywords: tuple[str, ...] = ()
        self._breathe = breathe
        self._forget: Callable[[], None] | None = None
        self._stop = mailbox.watch(self._changed)

    @classmethod
    async def open(
        cls,
        name: str,
        mailbox: IMailbox,
        readOnly: bool,
        news: Callable[[], None],
        enabled: Collection[bytes] = (),
        views: Views | None = None,
        breathe: Breathe | None = None,
    ) -> Selected:
        """
        Select a mailbox.

        @param news: called when there may be something to tell.
        @param enabled: what the session enabled, at any time: it decides how things are told.
        @param views: of all sessions.
        @param breathe: gives everyone else a turn.
        @raise NoSuchMailbox: if it was deleted.
        """
        views = views or Views()
        selected = cls(name, mailbox, readOnly, news, enabled, breathe)
        try:
            selected.uidValidity = (await mailbox.status()).uidValidity
            await selected._learnRights()
            # Watched already: what happens after the question makes it stale.
            selected.view = view = await views.open(mailbox)
            selected._forget = views.keep(mailbox, view)
            if selected.isRev2:
                # There is no \\Recent any more: it is left to those who know it.
                pass
            elif readOnly:
                # EXAMINE sees what is recent and takes none of it (RFC 3501 §6.3.2).
                recent = min((await mailbox.status()).recent, len(view.uids))
                if recent:
                    view.claim(view.uids[-recent], view.uidNext - 1)
            else:
                view.claim(*await mailbox.claimRecent())
        except BaseException:
            selected.close()
            raise
        selected._toldKeywords = view.keywords
        selected.toldModSeq = selected._believedModSeq = view.highestModSeq
        view.uidOnly = selected.uidOnly
        return selected

    async def _learnRights(self) -> bool:
        """
        @return: whether other flags than before may be changed.
        """
        if not IRestrictedMailbox.providedBy(self.mailbox):
            return False
        restricted: Any = self.mailbox
        before, self.rights = self.rights, await restricted.rights()
        return before is None or scopeOf(before) != scopeOf(self.rights or frozenset())

    @property
    def maySaveChanges(self) -> bool:
        """Whether it is READ-WRITE (RFC 4314 §5.2): something in it may be changed."""
        return not self.readOnly and (self.rights is None or bool(self.rights & WRITING))

    def _changed(self) -> None:
        self._stale = self._unobserved = True
        self._news()

    @property
    def uidOnly(self) -> bool:
        """Whether messages are named by their UIDs alone (RFC 9586)."""
        return b"UIDONLY" in self._enabled

    @property
    def isRev2(self) -> bool:
        """Whether the client speaks IMAP4rev2 (RFC 9051)."""
        return b"IMAP4REV2" in self._enabled

    @property
    def tellsModSeqs(self) -> bool:
        """Whether the client wants modSeqs (RFC 7162 §3.1)."""
        return b"CONDSTORE" in self._enabled

    @property
    def tellsVanished(self) -> bool:
        """Whether VANISHED stands in for EXPUNGE (RFC 7162 §3.2.10, RFC 9586 §3)."""
        return b"QRESYNC" in self._enabled or self.uidOnly

    @property
    def stale(self) -> bool:
        """Whether there may be something to tell."""
        return self._stale

    def close(self) -> None:
        """
        No longer selected.
        """
        self._stop()
        if self._forget is not None:
            self._forget()

    async def synchronise(self, mayExpunge: bool) -> bytes:
        """
        Catch up with the mailbox.

        @param mayExpunge: whether EXPUNGE may be told now.
        @return: the untagged responses that tell of it; those before FETCH responses of new
            messages are written already.
        @raise NoSuchMailbox: if it was deleted.
        @raise MailError: if it couldn't be found out. The next call tells it.
        """
        view = self.view
        parts: list[bytes] = []
        new = 0
        if self._stale:
            # Before the question: what happens after it makes it stale again.
            self._stale = False
            try:
                changes = await self.mailbox.changesSince(view.highestModSeq)
                otherRights = await self._learnRights()
                if changes.uidNext > view.uidNext and not self.isRev2:
                    if self.readOnly:
                        # Recent for all that we know; the next session that selects takes them.
                        view.claim(view.uidNext, changes.uidNext - 1)
                    else:
                        view.claim(*await self.mailbox.claimRecent())
            except BaseException:
                self._stale = True
                raise
            new = await self._apply(changes)
            # "It SHOULD send FLAGS and PERMANENTFLAGS responses if they have changed" (RFC 4314
            # §5.1.1).
            if otherRights or view.keywords != self._toldKeywords:
                self._toldKeywords = view.keywords
                parts.append(self.flagsResponse())
        if self._untold and self.tellsFlags:
            untold = sorted(self._untold)
            self._untold.clear()
            async for some in self._slices(untold):
                found = [at for uid in some if (at := view.index(uid)) is not None]
                parts.append(b"".join(self.flagResponses(found, self.withUIDs)))
        if self.updates and (view.touched or view.hasGone):
            if new:
                # Before their numbers are used (RFC 5267 §4.3.3).
                parts.append(self.existsResponses())
                new = 0
            touched, view.touched = view.touched or (), set()
            # Before the numbers of those that are gone go (§4.3.4).
            told = [await update(touched) for update in self.updates.values()]
            if self.fetchNew is not None:
                # EXISTS, FETCH, ESEARCH (RFC 5465 §7).
                await self.fetchNew(b"".join(parts))
                parts.clear()
            parts += told
        if mayExpunge and view.hasGone:
            if self.tellsVanished:
                parts.append(vanished(view.gone))
                view.expunge()
            else:
                async for some in self._slices(view.expunge()):
                    parts.append(b"".join([b"* %d EXPUNGE\r\n" % number for number in some]))
        if not (view.hasGone or self._untold):
            self.toldModSeq = view.highestModSeq
        if new:
            parts.append(self.existsResponses())
        return b"".join(parts)

    async def _apply(self, changes: Changes) -> int:
        # Returns how many messages are new. In pieces, as another session may have changed a
        # million; up to where it is, and what is gone, comes with the last one.
        view = self.view
        new = 0
        count = len(changes.uids)
        for start in range(0, count, SLICE):
            end = start + SLICE
            piece = changes._replace(
                uids=changes.uids[start:end],
                flags=changes.flags[start:end],
                modSeqs=changes.modSeqs[start:end],
            )
            if end < count:
                known = view.highestModSeq, view.uidNext, view.keywords
                piece = Changes(*piece[:3], NumberSet(), *known)
            more, changed = view.apply(piece, self.tellsModSeqs)
            new += more
            self._untold.update(uidsOf(view, changed))
            if end < count:
                await self._turn()
        if not count:
            view.apply(changes)
        return new

    async def _turn(self) -> None:
        if self._breathe is not None:
            await self._breathe()

    async def _slices(self, messages: Sequence[int]) -> AsyncIterator[Sequence[int]]:
        # With a turn for everyone else between them.
        for start in range(0, len(messages), SLICE):
            if start:
                await self._turn()
            yield messages[start : start + SLICE]

    async def expunge(self) -> bool:
        r"""
        Remove all messages that are C{\Deleted}; many in steps, so that nobody who delivers a
        message waits for all of them.

        @return: whether there were any.
        @raise MailError: if they can't be removed; some may be.
        """
        mailbox, uids = self.mailbox, self.view.uids
        if len(uids) <= SLICE or (await mailbox.status()).deleted <= SLICE:
            return bool(await mailbox.expunge(None))
        ends = [uid - 1 for uid in uids[SLICE::SLICE]]
        found = False
        for before, last in zip([0, *ends], [*ends, MAX_NUMBER], strict=True):
            if await mailbox.expunge(NumberSet([(before + 1, last)])):
                found = True
        return found

    async def observe(self) -> None:
        """
        Learn flags that others changed, for when the client asks for them. It is told unasked when
        L{synchronise} is called next.

        @raise MailError: if it couldn't be found out.
        """
        view = self.view
        if self._unobserved:
            self._unobserved = False
            try:
                since = max(self._observedModSeq, view.highestModSeq)
                changes = await self.mailbox.changesSince(since)
            except BaseException:
                self._unobserved = True
                raise
            self._observedModSeq = changes.highestModSeq
            self._untold.update(view.observe(changes))

    def existsResponses(self) -> bytes:
        """
        @return: how many messages there are, and how many of them are recent (RFC 3501 §7.3.2).
        """
        view = self.view
        if self.isRev2:
            return b"* %d EXISTS\r\n" % len(view.uids)
        return b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view.uids), view.recent)

    def flagLists(self, indexes: Sequence[int]) -> list[bytes]:
        r"""
        @return: the flags of these messages as FETCH shows them, C{\Recent} among them.
        """
        view = self.view
        flags = view.flags
        if not view.hasRecent:
            return [flagList(flags[at]) for at in indexes]
        uids, isRecent = view.uids, view.isRecent
        return [flagList(flags[at], isRecent(uids[at])) for at in indexes]

    def modSeqs(self, indexes: Sequence[int]) -> list[int]:
        """
        @return: the modSeqs of these messages, which are about to be told.
        """
        found = [self.view.modSeqs[at] for at in indexes]
        self._shownModSeq = max(self._shownModSeq, max(found, default=0))
        return found

    def flagResponses(
        self, indexes: Sequence[int], withUID: bool = False, withFlags: bool = True
    ) -> list[bytes]:
        """
        Tell of messages unasked: FETCH responses, with the modSeq and the UID if the client is
        aware of them (RFC 7162 §3.2.4), or UIDFETCH responses (RFC 9586 §3).

        @param withUID: for UID commands.
        @param withFlags: C{False} if the modSeq is all that there is to tell.
        """
        view = self.view
        uids = [view.uids[at] for at in indexes]
        form = b"* %d UIDFETCH (" if self.uidOnly else b"* %d FETCH ("
        columns: list[Sequence[Any]] = [uids if self.uidOnly else [at + 1 for at in indexes]]
        items: list[bytes] = []
        # RFC 9051 §7.5.2: unsolicited ones have the UID.
        if (withUID or self.tellsModSeqs or self.isRev2) and not self.uidOnly:
            items.append(b"UID %d")
            columns.append(uids)
        if withFlags:
            items.append(b"FLAGS %b")
            columns.append(self.flagLists(indexes))
        if self.tellsModSeqs:
            items.append(b"MODSEQ (%d)")
            columns.append(self.modSeqs(indexes))
        form += b" ".join(items) + b")\r\n"
        return list(map(form.__mod__, zip(*columns, strict=True)))

    # --- HIGHESTMODSEQ -------------------------------------------------------------------------

    def wantModSeq(self) -> None:
        """
        The client has to be told the highest modSeq with this command (RFC 7162 §3.2.7).
        """
        self._modSeqWanted = True

    def announceModSeq(self) -> bytes:
        """
        @return: HIGHESTMODSEQ, as SELECT and a first CONDSTORE enabling command have it
            (RFC 7162 §3.1).
        """
        self._believedModSeq = self.toldModSeq
        return b"* OK [HIGHESTMODSEQ %d] Highest mailbox mod-sequence\r\n" % self.toldModSeq

    def modSeqNews(self) -> bytes:
        """
        At the end of a command the client reckons from the modSeqs it saw up to where it knows the
        mailbox (RFC 7162 §6). Too high, as an EXPUNGE below is held back, would make it miss that
        if the connection broke (§3.2); too low costs it a question.

        @return: the HIGHESTMODSEQ response code that puts it right, empty if none is needed.
        """
        if not self.tellsModSeqs:
            return b""
        believed = max(self._believedModSeq, self._shownModSeq)
        wanted = self._modSeqWanted or believed != self.toldModSeq
        self._believedModSeq = self.toldModSeq
        self._shownModSeq = 0
        self._modSeqWanted = False
        return b"[HIGHESTMODSEQ %d] " % self.toldModSeq if wanted else b""

    def flagsResponse(self) -> bytes:
        """
        @return: the FLAGS and PERMANENTFLAGS responses (RFC 9051 §7.1, §7.3.5).
        """
        known = [*SYSTEM_FLAGS, *sorted(self.view.keywords)]
        listed = " ".join(known).encode("ascii")
        permanent = b"" if self.readOnly else listed + b" \\*"
        if self.rights is not None and not self.readOnly:
            scope = scopeOf(self.rights)
            mine = scope.within(frozenset(known))
            kept = [flag for flag in known if flag in mine] + ["\\*"] * scope.others
            permanent = " ".join(kept).encode("ascii")
        return b"* FLAGS (%b)\r\n* OK [PERMANENTFLAGS (%b)] Flags that are kept\r\n" % (
            listed,
            permanent,
        )

    def requireWritable(self) -> None:
        """
        @raise MailError: if it was selected by EXAMINE.
        """
        if self.readOnly:
            raise MailError("The mailbox is selected read-only", imapCode="READ-ONLY")


def vanished(uids: NumberSet, earlier: bool = False) -> bytes:
    """
    @param earlier: of messages that the client isn't told to be there now (RFC 7162 §3.2.10.1).
    @return: VANISHED responses, none for no UIDs. A long set is cut, so that no client has to read
        a line of megabytes.
    """
    form = b"* VANISHED (EARLIER) %b\r\n" if earlier else b"* VANISHED %b\r\n"
    ranges = uids.ranges
    return b"".join(
        form % NumberSet(ranges[at : at + MAX_RANGES]).render()
        for at in range(0, len(ranges), MAX_RANGES)
    )


def uidsOf(view: View, indexes: Sequence[int]) -> list[int]:
    """
    @return: the UIDs of these messages.
    """
    uids = view.uids
    return [uids[at] for at in indexes]
