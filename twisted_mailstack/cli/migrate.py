# -*- test-case-name: tests.cli.test_migrate -*-
"""
Reading mail from another server into an account, by IMAP (RFC 3501).

What is there already isn't read again, so that an import can be repeated: the last time after mail
comes here. A message is the same if it has the same internal date and Message-ID, or the same size
where there is no Message-ID. Where several are the same, as many are read as there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.client import FetchedMessage, IMAPClient, ListedMailbox
from twisted_mailstack.imap.responses import MalformedResponse, parseValues
from twisted_mailstack.interfaces import IAccount, IMailbox, IStagedContent
from twisted_mailstack.model.flags import Flags, canonicalFlag, internFlags
from twisted_mailstack.model.header import Header
from twisted_mailstack.model.mailboxname import DELIMITER, INBOX, normaliseName
from twisted_mailstack.model.records import SPECIAL_USES, Attribute
from twisted_mailstack.model.sequence import NumberSet

#: Messages of one command and one durable step, and their octets; a larger one goes alone and is
#: never held in memory.
BATCH = 100
BATCH_OCTETS = 1024 * 1024
#: Rows of the account that are looked at at a time.
ROWS = 1000

_MESSAGE_ID = "BODY[HEADER.FIELDS (MESSAGE-ID)]"
#: Internal date in seconds, and the Message-ID or the size.
Key = tuple[int, bytes]


class Wanted(NamedTuple):
    """A message that is to be read."""

    uid: int
    octets: int
    flags: Flags
    date: tuple[int, int]


class Migration:
    """
    One run.

    @ivar imported: messages that were read; C{present}: that were there already; C{failed}: what
        could not be read, messages or mailboxes.
    """

    def __init__(
        self,
        client: IMAPClient,
        account: IAccount,
        below: str = "",
        *,
        tell: Callable[[str], None],
        show: Callable[[int], None] = lambda done: None,
    ) -> None:
        """
        @param client: logged in to the other server.
        @param below: a mailbox below which all of it goes; empty: each mailbox to the one of the
            same name, or of the same special use.
        @param tell: told of what can't be read, for people.
        @param show: told how many messages were looked at.
        """
        self.imported = self.present = self.failed = 0
        self._client = client
        self._account = account
        self._below = below
        self._tell = tell
        self._show = show

    async def run(self) -> None:
        """
        Read everything.

        @raise DestinationUnavailable: if the connection breaks. What was read until then is there.
        @raise OverQuota: if the account is full; likewise.
        """
        returns = "SPECIAL-USE" if "SPECIAL-USE" in self._client.capabilities else ""
        if not self._client.capabilities & {"LIST-EXTENDED", "IMAP4REV2"}:
            returns = ""
        listed = await self._client.listMailboxes(returns=returns)
        for each in sorted(listed, key=lambda each: (each.name.upper() != INBOX, each.name)):
            if not each.selectable:
                continue
            try:
                await self._mailbox(each)
            except (MailError, MalformedResponse) as error:
                if self._client.session is None or not self._client.session.usable:
                    raise
                self._fail(each.name, error)

    def _fail(self, where: str, error: Exception) -> None:
        if isinstance(error, MailError) and error.imapCode == "OVERQUOTA":
            raise error
        self.failed += 1
        self._tell(f"{where}: {error}")

    async def _target(self, listed: ListedMailbox) -> IMailbox:
        infos = await self._account.listMailboxes()
        name = listed.name
        if listed.delimiter and listed.delimiter != DELIMITER:
            # What separates nothing there would here.
            name = name.replace(DELIMITER, "_").replace(listed.delimiter, DELIMITER)
        if name.upper() == INBOX:
            name = INBOX
        if self._below:
            name = self._below + DELIMITER + name
        else:
            for info in infos:
                if info.specialUse in SPECIAL_USES and listed.has(info.specialUse):
                    name = info.name
        name = normaliseName(name)
        if not any(info.name == name and info.selectable for info in infos):
            await self._account.createMailbox(name)
            await self._account.setSubscribed(name, True)
        return await self._account.openMailbox(name)

    async def _mailbox(self, listed: ListedMailbox) -> None:
        selected = await self._client.select(listed.name, readOnly=True)
        target = await self._target(listed)
        if not selected.messages:
            return
        there = await _present(target)
        wanted: list[Wanted] = []

        def each(message: FetchedMessage) -> None:
            date = message.internalDate or (0, 0)
            key = _key(date[0], _messageId(message), message.octets)
            if there[key] > 0:
                there[key] -= 1
                self.present += 1
            else:
                flags = _flags(message.flags or ())
                wanted.append(Wanted(message.uid, message.octets, flags, date))

        items = ["UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", f"BODY.PEEK{_MESSAGE_ID[4:]}"]
        await self._client.fetch("1:*", items, each=each)
        self._show(self.imported + self.present + self.failed)
        for some in _batches(wanted):
            try:
                await self._read(some, target)
            except (MailError, MalformedResponse) as error:
                if self._client.session is None or not self._client.session.usable:
                    raise
                await self._oneByOne(listed.name, some, target, error)
            self._show(self.imported + self.present + self.failed)

    async def _oneByOne(
        self, name: str, some: Sequence[Wanted], target: IMailbox, error: Exception
    ) -> None:
        # One that the other server can't give, or that isn't taken here, keeps no other back.
        if len(some) == 1:
            self._fail(f"{name}, UID {some[0].uid}", error)
            return
        for each in some:
            try:
                await self._read([each], target)
            except (MailError, MalformedResponse) as single:
                if self._client.session is None or not self._client.session.usable:
                    raise
                self._fail(f"{name}, UID {each.uid}", single)

    async def _read(self, some: Sequence[Wanted], target: IMailbox) -> None:
        staged: dict[int, IStagedContent] = {}
        try:
            if len(some) == 1:
                (only,) = some
                writer = self._account.newContent(only.octets)
                try:
                    if await self._client.fetchTo(only.uid, writer) is not None:
                        staged[only.uid] = await writer.finish()
                finally:
                    writer.abort()
            else:
                for message in await self._client.fetch(
                    [each.uid for each in some], ["UID", "BODY.PEEK[]"]
                ):
                    octets = message.section()
                    if octets and message.uid not in staged:
                        staged[message.uid] = await self._stage(octets)
            # What is missing was removed there meanwhile.
            await target.append(
                [(staged[each.uid], each.flags, *each.date) for each in some if each.uid in staged]
            )
        finally:
            for content in staged.values():
                content.discard()
        self.imported += len(staged)

    async def _stage(self, octets: bytes) -> IStagedContent:
        writer = self._account.newContent(len(octets))
        try:
            waiting = writer.write(octets)
            if waiting is not None:
                await waiting
            return await writer.finish()
        finally:
            writer.abort()


async def _present(mailbox: IMailbox) -> Counter[Key]:
    uids = (await mailbox.changesSince(0)).uids
    columns = (Attribute.INTERNAL_DATE, Attribute.OCTETS, Attribute.ENVELOPE)
    found: Counter[Key] = Counter()
    for some in NumberSet.slices(uids, ROWS):
        for _, seconds, octets, envelope in await mailbox.fetch(some, columns):
            ((*_, messageId),) = parseValues(envelope)
            found[_key(seconds, messageId, octets)] += 1
    return found


def _key(seconds: int, messageId: bytes | None, octets: int) -> Key:
    return seconds, b"".join((messageId or b"").split()) or b"%d" % octets


def _messageId(message: FetchedMessage) -> bytes | None:
    field = message.items.get(_MESSAGE_ID)
    return Header(field).get(b"message-id") if isinstance(field, bytes) else None


def _flags(given: Iterable[str]) -> Flags:
    # Without \Recent, and what can't be one here.
    return internFlags([flag for flag in map(canonicalFlag, given) if flag is not None])


def _batches(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    some: list[Wanted] = []
    octets = 0
    for each in wanted:
        if some and (len(some) >= BATCH or octets + each.octets > BATCH_OCTETS):
            yield some
            some, octets = [], 0
        some.append(each)
        octets += each.octets
    if some:
        yield some
