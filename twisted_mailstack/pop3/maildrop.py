# -*- test-case-name: tests.pop3.test_maildrop -*-
"""
A maildrop: POP3's view of INBOX as it was at login (RFC 1939 §5), under an exclusive lock.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from twisted_mailstack.errors import MailError, MessageExpunged, SyntaxProblem
from twisted_mailstack.interfaces import IAccount, IMailbox, IMessageContent
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet

#: Messages asked for at a time.
SLICE = 1000


class Maildrop:
    """
    @ivar uids: of the messages, ascending; message number n is C{uids[n - 1]}.
    @ivar octets: of each.
    @ivar deleted: numbers that DELE marked.
    """

    def __init__(
        self,
        mailbox: IMailbox,
        uidValidity: int,
        uids: array[int],
        octets: array[int],
        release: Callable[[], None],
    ) -> None:
        self._mailbox = mailbox
        self._uidValidity = uidValidity
        self.uids = uids
        self.octets = octets
        self.deleted: set[int] = set()
        self.release = release

    @classmethod
    async def open(cls, account: IAccount) -> Maildrop:
        """
        Lock the maildrop and take its snapshot.

        @raise MaildropLocked: if another session has it.
        """
        release = await account.lockMaildrop()
        try:
            mailbox = await account.openMailbox(INBOX)
            status = await mailbox.status()
            changes = await mailbox.changesSince(0)
            uids: array[int] = array("I")
            octets: array[int] = array("Q")
            for uidSlice in NumberSet.slices(changes.uids, SLICE):
                # A message that IMAP expunges meanwhile is in no row, and so not in the snapshot.
                for uid, size in await mailbox.fetch(uidSlice, (Attribute.OCTETS,)):
                    uids.append(uid)
                    octets.append(size)
        except BaseException:
            release()
            raise
        return cls(mailbox, status.uidValidity, uids, octets, release)

    @property
    def count(self) -> int:
        """Messages that aren't marked as deleted."""
        return len(self.uids) - len(self.deleted)

    @property
    def size(self) -> int:
        """Their octets."""
        return sum(self.octets) - sum(self.octets[number - 1] for number in self.deleted)

    def numbers(self) -> list[int]:
        """
        @return: the numbers of the messages that aren't marked as deleted.
        """
        return [n for n in range(1, len(self.uids) + 1) if n not in self.deleted]

    def number(self, argument: bytes) -> int:
        """
        @return: the message number that a client wrote, in decimal.
        @raise SyntaxProblem: if it is no number.
        @raise MailError: if no such message is there (any more).
        """
        if not argument.isdigit():
            raise SyntaxProblem("A message number is needed")
        number = int(argument)
        if not 1 <= number <= len(self.uids):
            raise MailError("No such message")
        if number in self.deleted:
            raise MailError("That message is deleted")
        return number

    def uniqueId(self, number: int) -> bytes:
        """
        @return: the message's unique-id (RFC 1939 §7): INBOX's uidValidity and the UID never name
            another message.
        """
        return b"%d.%d" % (self._uidValidity, self.uids[number - 1])

    async def openMessage(self, number: int) -> IMessageContent:
        """
        @raise MessageExpunged: if an IMAP session removed it.
        """
        try:
            return await self._mailbox.openMessage(self.uids[number - 1])
        except MessageExpunged:
            raise MessageExpunged("That message was removed by another session") from None

    async def update(self) -> int:
        """
        Delete what is marked, in one step: all or nothing (RFC 1939 §6).

        @return: how many messages are gone by it; those that an IMAP session removed before are
            not among them.
        """
        if not self.deleted:
            return 0
        uids = NumberSet.of(self.uids[number - 1] for number in self.deleted)
        return len(await self._mailbox.expunge(uids, onlyDeleted=False))
