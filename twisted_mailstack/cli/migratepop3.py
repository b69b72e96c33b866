# -*- test-case-name: tests.cli.test_migratepop3 -*-
"""
Reading mail from another server into an account, by POP3 (RFC 1939).

Messages keep the unique-ids that they have there, so that who fetched them there doesn't fetch them
here again. By these it is known what was read before, so that an import can be repeated, even if it
was moved or deleted meanwhile. What came by other ways, with the same Message-ID and size, is given
its unique-id and isn't read again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import sha256
from time import time

from twisted_mailstack.imap.responses import parseValues
from twisted_mailstack.interfaces import IContentWriter, IMailbox, IMaildropAccount, IStagedContent
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.model.header import Header, headerEnd
from twisted_mailstack.model.message import parseFieldDate
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.pop3.client import ListedMessage, POP3Client
from twisted_mailstack.pop3.clientsession import Refused

#: Messages of one durable step, and their octets.
BATCH = 100
BATCH_OCTETS = 8 * 1024 * 1024
#: Headers that are asked for at once.
HEADERS = 200
#: Rows of the account that are looked at at a time.
ROWS = 1000
#: Octets in which the header's fields are looked for.
MAX_HEADER = 256 * 1024

#   unique-id: 1 to 70 characters (RFC 1939 §7)
_UNIQUE_ID = re.compile(r"[!-~]{1,70}\Z")


class _Hashed:
    """
    A writer that also makes a name of what it gets, for servers that have none.
    """

    def __init__(self, writer: IContentWriter) -> None:
        self.writer = writer
        self._hash = sha256()

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See L{IContentWriter}."""
        self._hash.update(data)
        return self.writer.write(data)

    @property
    def name(self) -> str:
        """Of all that was written."""
        return f"sha256-{self._hash.hexdigest()[:48]}"


class MaildropMigration:
    """
    One run.

    @ivar imported: messages that were read; C{present}: that were there already; C{failed}: that
        could not be read.
    """

    def __init__(
        self,
        client: POP3Client,
        account: IMaildropAccount,
        target: IMailbox,
        *,
        tell: Callable[[str], None],
        show: Callable[[int], None] = lambda done: None,
        now: Callable[[], float] = time,
    ) -> None:
        """
        @param client: logged in to the other server.
        @param target: where messages go.
        @param tell: told of what can't be read, for people.
        @param show: told how many messages were looked at.
        """
        self.imported = self.present = self.failed = 0
        self._client = client
        self._account = account
        self._target = target
        self._tell = tell
        self._show = show
        self._now = now
        self._waiting: list[tuple[str, IStagedContent]] = []

    async def run(self) -> None:
        """
        Read everything.

        @raise DestinationUnavailable: if the connection breaks. What was read until then is there.
        @raise OverQuota: if the account is full; likewise.
        """
        listed = await self._client.listMessages()
        if listed and not any(each.uniqueId for each in listed):
            self._tell("the server has no unique-ids: everything is read to see whether it is new")
        names = {each.number: _name(each) for each in listed}
        known = await self._account.knownUniqueIds([each for each in names.values() if each])
        wanted = [each for each in listed if names[each.number] not in known]
        self.present += len(listed) - len(wanted)
        wanted = await self._recognise(wanted, names)
        self._progress()
        if wanted:
            await self._read(wanted, names)

    def _progress(self) -> None:
        self._show(self.imported + self.present + self.failed)

    # --- what is there already -----------------------------------------------------------------

    async def _recognise(
        self, wanted: Sequence[ListedMessage], names: dict[int, str]
    ) -> list[ListedMessage]:
        """
        Give unique-ids to what came another way.

        @return: what is left.
        """
        there = await self._there() if "TOP" in self._client.capabilities else {}
        if not there:
            return list(wanted)
        left: list[ListedMessage] = []
        for at in range(0, len(wanted), HEADERS):
            some = wanted[at : at + HEADERS]
            headers = await self._client.top([each.number for each in some if names[each.number]])
            candidates = {
                each.number: there.get((_messageId(headers.get(each.number, b"")), each.octets), [])
                for each in some
            }
            while True:
                proposed: dict[str, int] = {}
                for each in some:
                    if candidates[each.number] and each.number not in proposed.values():
                        proposed.setdefault(candidates[each.number].pop(0), each.number)
                if not proposed:
                    break
                taken = await self._account.assignUniqueIds(
                    {messageId: names[number] for messageId, number in proposed.items()}
                )
                done = {proposed[messageId] for messageId in taken}
                self.present += len(done)
                some = [each for each in some if each.number not in done]
            left += some
        return left

    async def _there(self) -> dict[tuple[bytes, int], list[str]]:
        found: dict[tuple[bytes, int], list[str]] = defaultdict(list)
        uids = (await self._target.changesSince(0)).uids
        columns = (Attribute.OCTETS, Attribute.ENVELOPE, Attribute.MESSAGE_ID)
        for some in NumberSet.slices(uids, ROWS):
            for _, octets, envelope, identity in await self._target.fetch(some, columns):
                ((*_, messageId),) = parseValues(envelope)
                if messageId:
                    found[b"".join(messageId.split()), octets].append(identity)
        return found

    # --- what is new ---------------------------------------------------------------------------

    async def _read(self, wanted: Sequence[ListedMessage], names: dict[int, str]) -> None:
        writers: dict[int, _Hashed] = {}
        octets = {each.number: each.octets for each in wanted}

        def sinkFor(number: int) -> _Hashed:
            return writers.setdefault(
                number, _Hashed(self._account.newContent(octets[number] or None))
            )

        async def done(number: int, refused: Refused | None) -> None:
            if refused is not None:
                self.failed += 1
                self._tell(f"message {number}: {refused}")
                return
            # One without an octet has none yet.
            made = sinkFor(number)
            staged = await made.writer.finish()
            del writers[number]
            self._waiting.append((names[number] or made.name, staged))
            size = sum(content.summary.size for _, content in self._waiting)
            if len(self._waiting) >= BATCH or size >= BATCH_OCTETS:
                await self._append()

        try:
            await self._client.retrieveAll([each.number for each in wanted], sinkFor, done)
        finally:
            for hashed in writers.values():
                hashed.writer.abort()
            try:
                # Also what was there before the connection broke.
                await self._append()
            finally:
                for _, staged in self._waiting:
                    staged.discard()

    async def _append(self) -> None:
        waiting = self._waiting
        known = await self._account.knownUniqueIds([name for name, _ in waiting])
        new = [(name, staged) for name, staged in waiting if name not in known]
        if new:
            result = await self._target.append(
                [(staged, NO_FLAGS, await self._date(staged), 0) for _, staged in new]
            )
            rows = await self._target.fetch(NumberSet.of(result.uids), (Attribute.MESSAGE_ID,))
            identities = dict(rows)
            await self._account.assignUniqueIds(
                {
                    identities[uid]: name
                    for uid, (name, _) in zip(result.uids, new, strict=True)
                    if uid in identities
                }
            )
        self._waiting = []
        for _, staged in waiting:
            staged.discard()
        self.imported += len(new)
        self.present += len(waiting) - len(new)
        self._progress()

    async def _date(self, staged: IStagedContent) -> int:
        # POP3 tells nothing of when a message arrived. The last server did.
        octets = await staged.read(0, MAX_HEADER)
        header = Header(octets[: headerEnd(octets)])
        for value in _dates(header):
            seconds = parseFieldDate(value)
            if seconds is not None:
                return seconds
        return int(self._now())


def _dates(header: Header) -> Iterator[bytes]:
    received = header.get(b"received")
    if received is not None:
        yield received.rpartition(b";")[2].strip()
    date = header.get(b"date")
    if date is not None:
        yield date


def _name(message: ListedMessage) -> str:
    name = message.uniqueId.decode("latin-1")
    return name if _UNIQUE_ID.match(name) else ""


def _messageId(header: bytes) -> bytes:
    return b"".join((Header(header).get(b"message-id") or b"").split())
