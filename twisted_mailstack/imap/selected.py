# -*- test-case-name: tests.imap.test_selected -*-
"""
The selected mailbox of a session: its view, and what is to be told to the client about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

    view: View

    def __init__(
        self, name: str, mailbox: IMailbox, readOnly: bool, news: Callable[[], None]
    ) -> None:
        """
        For L{open}, which gives it its view.
        """
        self.name = name
        self.mailbox = mailbox
        self.readOnly = readOnly
        self._news = news
        self._stale = False
        self._toldKeywords: tuple[str, ...] = ()
        self._stop = mailbox.watch(self._changed)

    @classmethod
    async def open(
        cls, name: str, mailbox: IMailbox, readOnly: bool, news: Callable[[], None]
    ) -> Selected:
        """
        Select a mailbox.

        @param news: called when there may be something to tell.
        @raise NoSuchMailbox: if it was deleted.
        """
        selected = cls(name, mailbox, readOnly, news)
        try:
            # Watched already: what happens after the question makes it stale.
            selected.view = view = View(await mailbox.changesSince(0))
            if readOnly:
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
        return selected

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
                if changes.uidNext > view.uidNext:
                    if self.readOnly:
                        # Recent for all that we know; the next session that selects takes them.
                        view.claim(view.uidNext, changes.uidNext - 1)
                    else:
                        view.claim(*await self.mailbox.claimRecent())
            except BaseException:
                self._stale = True
                raise
            new, changed = view.apply(changes)
            if view.keywords != self._toldKeywords:
                self._toldKeywords = view.keywords
                parts.append(self.flagsResponse())
            parts += self.flagResponses(changed)
        if mayExpunge and view.hasGone:
            parts += [b"* %d EXPUNGE\r\n" % number for number in view.expunge()]
        if new:
            parts.append(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view.uids), view.recent))
        return b"".join(parts)

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

    def flagResponses(self, indexes: Sequence[int], withUID: bool = False) -> list[bytes]:
        """
        @return: FETCH responses with the flags of these messages.
        """
        flags = self.flagLists(indexes)
        if not withUID:
            return [
                b"* %d FETCH (FLAGS %b)\r\n" % (at + 1, each)
                for at, each in zip(indexes, flags, strict=True)
            ]
        return [
            b"* %d FETCH (UID %d FLAGS %b)\r\n" % (at + 1, self.view.uids[at], each)
            for at, each in zip(indexes, flags, strict=True)
        ]

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
