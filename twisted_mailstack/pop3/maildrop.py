# -*- test-case-name: tests.pop3.test_maildrop -*-
"""
A maildrop: POP3's view of an account as it was at login (RFC 1939 §5), under an exclusive lock. Of
INBOX, unless the account's settings say more or less.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from twisted_mailstack.errors import (
    AlreadyExists,
    MailboxNotSelectable,
    MailError,
    MessageExpunged,
    NoSuchMailbox,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import (
    IAccount,
    IMailbox,
    IMaildropAccount,
    IMessageContent,
    IRestrictedMailbox,
)
from twisted_mailstack.model.flags import SEEN
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.records import NEVER, Attribute, MaildropSettings
from twisted_mailstack.model.sequence import NumberSet

#: Messages asked for at a time.
SLICE = 1000
#: Seconds.
DAY = 24 * 3600
#: Where what is deleted goes, in an account without a mailbox for that.
TRASH = "Trash"


class Maildrop:
    """
    @ivar settings: the account's.
    @ivar octets: of each message; that of number n is C{octets[n - 1]}.
    @ivar deleted: numbers that DELE marked.
    @ivar retrieved: numbers that RETR sent whole.
    @ivar release: gives the lock back.
    """

    def __init__(
        self, account: IAccount, settings: MaildropSettings, release: Callable[[], None]
    ) -> None:
        self._account = account
        self.settings = settings
        self.release = release
        self.octets: array[int] = array("Q")
        self.deleted: set[int] = set()
        self.retrieved: set[int] = set()
        self._mailboxes: list[IMailbox] = []
        # Of each mailbox the number of its first message, less one.
        self._firsts: list[int] = []
        self._uids: array[int] = array("I")
        self._messageIds: list[str] = []
        self._uniqueIds: list[bytes] | None = None

    @classmethod
    async def open(cls, account: IAccount) -> Maildrop:
        """
        Lock the maildrop and take its snapshot.

        @raise MaildropLocked: if another session has it.
        """
        release = await account.lockMaildrop()
        try:
            settings = MaildropSettings()
            if IMaildropAccount.providedBy(account):
                settings = await IMaildropAccount(account).maildropSettings()
            maildrop = cls(account, settings, release)
            await maildrop._add(await account.openMailbox(INBOX))
            for name in settings.mailboxes:
                try:
                    mailbox = await account.openMailbox(name)
                    # What others share isn't ours to remove, whatever its name once stood for.
                    if name != INBOX and not IRestrictedMailbox.providedBy(mailbox):
                        await maildrop._add(mailbox)
                except (NoSuchMailbox, MailboxNotSelectable):
                    continue
        except BaseException:
            release()
            raise
        return maildrop

    async def _add(self, mailbox: IMailbox) -> None:
        changes = await mailbox.changesSince(0)
        uids: Sequence[int] = changes.uids
        if self.settings.unseenOnly:
            pairs = zip(changes.uids, changes.flags, strict=True)
            uids = [uid for uid, flags in pairs if SEEN not in flags]
        self._mailboxes.append(mailbox)
        self._firsts.append(len(self._uids))
        for uidSlice in NumberSet.slices(uids, SLICE):
            # A message that IMAP expunges meanwhile is in no row, and so not in the snapshot.
            for uid, size, messageId in await mailbox.fetch(
                uidSlice, (Attribute.OCTETS, Attribute.MESSAGE_ID)
            ):
                self._uids.append(uid)
                self.octets.append(size)
                self._messageIds.append(messageId)

    @property
    def remembers(self) -> bool:
        """Whether the account knows what was retrieved, so that it can expire."""
        return bool(IMaildropAccount.providedBy(self._account))

    @property
    def count(self) -> int:
        """Messages that aren't marked as deleted."""
        return len(self._uids) - len(self.deleted)

    @property
    def size(self) -> int:
        """Their octets."""
        return sum(self.octets) - sum(self.octets[number - 1] for number in self.deleted)

    def numbers(self) -> list[int]:
        """
        @return: the numbers of the messages that aren't marked as deleted.
        """
        return [n for n in range(1, len(self._uids) + 1) if n not in self.deleted]

    def number(self, argument: bytes) -> int:
        """
        @return: the message number that a client wrote, in decimal.
        @raise SyntaxProblem: if it is no number.
        @raise MailError: if no such message is there (any more).
        """
        if not argument.isdigit():
            raise SyntaxProblem("A message number is needed")
        number = int(argument)
        if not 1 <= number <= len(self._uids):
            raise MailError("No such message")
        if number in self.deleted:
            raise MailError("That message is deleted")
        return number

    async def uniqueIds(self) -> list[bytes]:
        """
        @return: of each message its unique-id (RFC 1939 §7), those that are marked included. They
            are the storage's, for ever; copies of one message have the same.
        """
        if self._uniqueIds is None:
            found: dict[str, str] = {}
            if IMaildropAccount.providedBy(self._account):
                found = dict(await IMaildropAccount(self._account).uniqueIds(self._messageIds))
            self._uniqueIds = [found.get(each, each).encode("ascii") for each in self._messageIds]
        return self._uniqueIds

    def _mailboxOf(self, number: int) -> int:
        # Mailboxes are few.
        return max(at for at, first in enumerate(self._firsts) if first < number)

    async def openMessage(self, number: int) -> IMessageContent:
        """
        @raise MessageExpunged: if an IMAP session removed it.
        """
        mailbox = self._mailboxes[self._mailboxOf(number)]
        try:
            return await mailbox.openMessage(self._uids[number - 1])
        except (MessageExpunged, NoSuchMailbox):
            raise MessageExpunged("That message was removed by another session") from None

    async def update(self, expireDays: int = NEVER, now: int = 0) -> int:
        """
        Delete what is marked, and what has expired, in one step: all or nothing (RFC 1939 §6).

        @param expireDays: the days after which what a client has fetched is removed (RFC 2449
            §6.7); C{0}: what this session has fetched.
        @param now: seconds since 1970.
        @return: how many messages are gone by it; those that an IMAP session removed before are
            not among them.
        """
        gone = self.deleted | await self._expired(expireDays, now)
        if not gone:
            return 0
        uids: list[list[int]] = [[] for _ in self._mailboxes]
        for number in gone:
            uids[self._mailboxOf(number)].append(self._uids[number - 1])
        if not IMaildropAccount.providedBy(self._account):
            return len(await self._mailboxes[0].expunge(NumberSet.of(uids[0]), onlyDeleted=False))
        account = IMaildropAccount(self._account)
        trash = await self._trash() if self.settings.toTrash else None
        marked = [
            (mailbox, NumberSet.of(each))
            for mailbox, each in zip(self._mailboxes, uids, strict=True)
            if each
        ]
        return await account.removeMessages(marked, trash)

    async def _expired(self, expireDays: int, now: int) -> set[int]:
        # A client that got QUIT's response has what it fetched before; of another that isn't known.
        if expireDays == NEVER or not self.remembers:
            return set()
        if not expireDays:
            return self.retrieved
        account = IMaildropAccount(self._account)
        fetched = self.retrieved - self.deleted
        if fetched:
            await account.noteRetrieved([self._messageIds[n - 1] for n in sorted(fetched)], now)
        old = set(await account.retrievedUntil(now - expireDays * DAY))
        return {n for n, each in enumerate(self._messageIds, 1) if each in old} if old else set()

    async def _trash(self) -> IMailbox:
        for info in await self._account.listMailboxes():
            if info.selectable and "\\Trash" in (info.specialUse or "").split():
                mailbox = await self._account.openMailbox(info.name)
                if not IRestrictedMailbox.providedBy(mailbox):
                    return mailbox
        try:
            await self._account.createMailbox(TRASH, "\\Trash")
        except AlreadyExists:
            # Then it is one without that special use.
            pass
        return await self._account.openMailbox(TRASH)
