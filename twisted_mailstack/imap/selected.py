# -*- test-case-name: tests.imap.test_selected -*-
"""
The selected mailbox of a session: its view, and what is to be told to the client about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.encode import flagList
from twisted_mailstack.imap.view import View
from twisted_mailstack.interfaces import IMailbox
from twisted_mailstack.model.flags import SYSTEM_FLAGS


class Selected:
    """
    @ivar name: under which it was selected.
    @ivar mailbox: the mailbox.
    @ivar view: what the client knows.
    @ivar readOnly: by EXAMINE.
    """

    def __init__(
        self, name: str, mailbox: IMailbox, view: View, readOnly: bool, news: Callable[[], None]
    ) -> None:
        """
        @param news: called when there may be something to tell.
        """
        self.name = name
        self.mailbox = mailbox
        self.view = view
        self.readOnly = readOnly
        self._news = news
        self._stale = False
        self._toldKeywords = view.keywords
        self._stop = mailbox.watch(self._changed)

    @classmethod
    async def open(
        cls, name: str, mailbox: IMailbox, readOnly: bool, news: Callable[[], None]
    ) -> Selected:
        """
        Select a mailbox.
        """
        if readOnly:
            # EXAMINE sees what is recent and takes none of it (RFC 3501 §6.3.2).
            recent = (await mailbox.status()).recent
            first = 0
        else:
            first, recent = await mailbox.claimRecent(), 0
        view = View(await mailbox.changesSince(0))
        if recent:
            view.claim(view.uids[-min(recent, len(view.uids))] if view.uids else view.uidNext)
        elif first:
            view.claim(first)
        return cls(name, mailbox, view, readOnly, news)

    def _changed(self) -> None:
        self._stale = True
        self._news()

    @property
    def stale(self) -> bool:
        """Whether there may be something to tell."""
        return self._stale

    def close(self) -> None:
        """
        No longer selected.
        """
        self._stop()

    async def synchronise(self, mayExpunge: bool) -> bytes:
        """
        Catch up with the mailbox.

        @param mayExpunge: whether EXPUNGE may be told now.
        @return: the untagged responses that tell of it.
        @raise NoSuchMailbox: if it was deleted.
        """
        if not self._stale and not (mayExpunge and self.view.hasGone):
            return b""
        view = self.view
        parts: list[bytes] = []
        new = 0
        changed: list[int] = []
        if self._stale:
            # Before the question: what happens after it makes it stale again.
            self._stale = False
            changes = await self.mailbox.changesSince(view.highestModSeq)
            before = view.uidNext
            new, changed = view.apply(changes)
            if view.uidNext > before and not self.readOnly:
                view.claim(max(before, await self.mailbox.claimRecent()))
        parts += self.flagResponses(changed)
        if mayExpunge:
            parts += [b"* %d EXPUNGE\r\n" % number for number in view.expunge()]
        if new:
            parts.append(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view.uids), view.recent))
        if view.keywords != self._toldKeywords:
            self._toldKeywords = view.keywords
            parts.insert(0, self.flagsResponse())
        return b"".join(parts)

    def flagResponses(self, indexes: Iterable[int], withUID: bool = False) -> list[bytes]:
        """
        @return: FETCH responses with the flags of these messages.
        """
        view = self.view
        responses = []
        for at in indexes:
            uid = view.uids[at]
            flags = flagList(view.flags[at], view.hasRecent and view.isRecent(uid))
            if withUID:
                responses.append(b"* %d FETCH (UID %d FLAGS %b)\r\n" % (at + 1, uid, flags))
            else:
                responses.append(b"* %d FETCH (FLAGS %b)\r\n" % (at + 1, flags))
        return responses

    def flagsResponse(self) -> bytes:
        """
        @return: the FLAGS and PERMANENTFLAGS responses (RFC 9051 §7.1, §7.3.5).
        """
        known = [*SYSTEM_FLAGS, *sorted(self.view.keywords)]
        listed = " ".join(known).encode("ascii")
        permanent = b"" if self.readOnly else listed + b" \\*"
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


def uidsOf(view: View, indexes: Sequence[int]) -> list[int]:
    """
    @return: the UIDs of these messages.
    """
    uids = view.uids
    return [uids[at] for at in indexes]
