"""
A storage of one's own: a board whose topics are mailboxes, next to a user's ordinary ones.

Each topic is a mailbox C{Board/...}, each post a message in it. What a reader marks (C{\\Seen},
keywords) is the reader's own. Posts are written on the web, not by APPEND; moderators may delete.
L{BoardStore} goes around any other store, which keeps everything else: INBOX, delivery, passwords.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from functools import lru_cache
from typing import Any, NamedTuple

from twisted.python.components import proxyForInterface
from zope.interface import implementer

from docs.examples.board import Board, Post, Topic
from twisted_mailstack.errors import (
    AccessDenied,
    MailboxNotSelectable,
    MessageExpunged,
    NoSuchAccount,
    NoSuchMailbox,
)
from twisted_mailstack.interfaces import (
    IAccount,
    IMailbox,
    IMailStore,
    IMessageContent,
    IMovableMailbox,
    IStagedContent,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import (
    DELETED,
    NO_FLAGS,
    SEEN,
    FlagOperation,
    Flags,
    FlagScope,
    KeywordSpelling,
)
from twisted_mailstack.model.message import Summary, summarise
from twisted_mailstack.model.mime import Part, unpackStructure
from twisted_mailstack.model.records import (
    SMALL_MESSAGE,
    AppendResult,
    Attribute,
    Changes,
    CopyResult,
    MailboxInfo,
    MailboxStatus,
    StoreResult,
)
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet

ROOT = "Board"
EVERYTHING = NumberSet([(1, MAX_NUMBER)])

# --- a topic as a mailbox ----------------------------------------------------------------------


@lru_cache(maxsize=10_000)
def messageOf(post: Post) -> tuple[bytes, Summary]:
    """
    @return: the message that a post is, for ever the same octets, and what is found in it.
    """
    domain = post.topic.board.domain
    message = EmailMessage(policy=SMTP)
    message["From"] = f"{post.author} <{post.author}@{domain}>"
    message["Subject"] = post.topic.name
    message["Date"] = formatdate(post.posted)
    message["Message-ID"] = f"<{post.topic.number}.{post.number}@{domain}>"
    message.set_content(post.text)
    octets = message.as_bytes()
    return octets, summarise(octets)


@dataclass
class Reading:
    """
    What one reader has done in one topic.

    @ivar claimed: up to which post sessions were told that it is recent.
    @ivar marks: by post: its flags, and the change that made them so.
    """

    claimed: int = 0
    spelling: KeywordSpelling = field(default_factory=KeywordSpelling)
    marks: dict[int, tuple[Flags, int]] = field(default_factory=dict)


class Entry(NamedTuple):
    """A post as one reader has it."""

    post: Post
    flags: Flags
    modSeq: int

    @property
    def octets(self) -> bytes:
        """The whole message."""
        return messageOf(self.post)[0]

    @property
    def summary(self) -> Summary:
        """What is found in it."""
        return messageOf(self.post)[1]


def _small(octets: bytes) -> bytes | None:
    return octets if len(octets) <= SMALL_MESSAGE else None


#: Each column that L{IMailbox.fetch} can be asked for.
COLUMNS: dict[Attribute, Callable[[Entry], Any]] = {
    Attribute.UID: lambda e: e.post.number,
    Attribute.FLAGS: lambda e: e.flags,
    Attribute.MODSEQ: lambda e: e.modSeq,
    Attribute.INTERNAL_DATE: lambda e: e.post.posted,
    Attribute.ZONE: lambda e: 0,
    Attribute.SAVE_DATE: lambda e: e.post.posted,
    Attribute.OCTETS: lambda e: len(e.octets),
    Attribute.MESSAGE_ID: lambda e: f"P{e.post.topic.number}-{e.post.number}",
    Attribute.THREAD_ID: lambda e: f"T{e.post.topic.number}",
    Attribute.ENVELOPE: lambda e: e.summary.envelope,
    Attribute.BODY_STRUCTURE: lambda e: e.summary.bodyStructure,
    Attribute.BODY: lambda e: e.summary.body,
    Attribute.PREVIEW: lambda e: e.summary.preview,
    Attribute.STRUCTURE: lambda e: e.summary.structure,
    Attribute.PREFIX_SIZE: lambda e: 0,
    Attribute.HEADER: lambda e: _small(e.octets[: e.summary.headerSize]),
    Attribute.CONTENT: lambda e: _small(e.octets),
    Attribute.SENT_DATE: lambda e: e.summary.sentDate,
    Attribute.SUBJECT: lambda e: e.summary.subject,
    Attribute.BASE_SUBJECT: lambda e: e.summary.baseSubject,
}


@implementer(IMessageContent)
class PostContent:
    """See L{IMessageContent}."""

    def __init__(self, post: Post) -> None:
        self._octets, summary = messageOf(post)
        self.size = len(self._octets)
        self.structure: Part = unpackStructure(summary.structure)

    async def read(self, offset: int, length: int) -> bytes:
        """See L{IMessageContent}."""
        return self._octets[offset : offset + length]


@implementer(IMailbox, IMovableMailbox)
class TopicMailbox:
    """
    A topic as its reader sees it. See L{IMailbox}.
    """

    def __init__(
        self, topic: Topic, account: IAccount, reading: Reading, isModerator: bool
    ) -> None:
        self.account = account
        self.mailboxId = f"B{topic.number}"
        self._topic = topic
        self._reading = reading
        self._isModerator = isModerator

    async def _entries(self, uids: NumberSet = EVERYTHING, modSeq: int = 0) -> list[Entry]:
        try:
            await self.account.quota()
        except NoSuchAccount:
            # "After DELETE of the mailbox, or of its account".
            raise NoSuchMailbox() from None
        entries = []
        # Ascending, since posts are numbered as they come.
        for post in self._topic.posts.values():
            flags, marked = self._reading.marks.get(post.number, (NO_FLAGS, 0))
            entry = Entry(post, flags, max(post.change, marked))
            if post.number in uids and entry.modSeq > modSeq:
                entries.append(entry)
        return entries

    async def _highest(self) -> int:
        # The youngest change that this reader can see.
        gone = [change for change, _ in self._topic.gone]
        return max([self._topic.made, *gone, *(each.modSeq for each in await self._entries())])

    async def status(self) -> MailboxStatus:
        """See L{IMailbox}. Here the cost grows with the topic: a database keeps counts."""
        entries = await self._entries()
        return MailboxStatus(
            uidValidity=self._topic.made,
            uidNext=self._topic.following,
            highestModSeq=await self._highest(),
            messages=len(entries),
            unseen=sum(SEEN not in entry.flags for entry in entries),
            deleted=sum(DELETED in entry.flags for entry in entries),
            recent=sum(entry.post.number > self._reading.claimed for entry in entries),
            octets=sum(len(entry.octets) for entry in entries),
            keywords=self._reading.spelling.keywords(),
        )

    async def changesSince(self, modSeq: int) -> Changes:
        """See L{IMailbox}."""
        entries = await self._entries(modSeq=modSeq)
        gone = [number for change, number in self._topic.gone if 0 < modSeq < change]
        return Changes(
            uids=array("I", [entry.post.number for entry in entries]),
            flags=[entry.flags for entry in entries],
            modSeqs=array("Q", [entry.modSeq for entry in entries]),
            vanished=NumberSet.of(gone),
            highestModSeq=await self._highest(),
            uidNext=self._topic.following,
            keywords=self._reading.spelling.keywords(),
        )

    async def claimRecent(self) -> tuple[int, int]:
        """See L{IMailbox}."""
        await self._entries()
        first = self._reading.claimed + 1
        self._reading.claimed = self._topic.following - 1
        return first, self._reading.claimed

    async def fetch(
        self, uids: NumberSet, attributes: Sequence[Attribute]
    ) -> Sequence[tuple[Any, ...]]:
        """See L{IMailbox}."""
        columns = [COLUMNS[attribute] for attribute in attributes]
        return [
            (entry.post.number, *(column(entry) for column in columns))
            for entry in await self._entries(uids)
        ]

    async def openMessage(self, uid: int) -> PostContent:
        """See L{IMailbox}."""
        for entry in await self._entries(NumberSet.of([uid])):
            return PostContent(entry.post)
        raise MessageExpunged()

    async def storeFlags(
        self,
        uids: NumberSet,
        operation: FlagOperation,
        flags: Flags,
        unchangedSince: int | None = None,
        scope: FlagScope | None = None,
    ) -> StoreResult:
        """
        See L{IMailbox}.

        @raise AccessDenied: for C{\\Deleted}, unless by a moderator.
        """
        adds = operation is not FlagOperation.REMOVE
        if DELETED in flags and adds:
            self._requireModerator()
        # Keywords keep the spelling in which they are known; new ones are known once they are set.
        spelling = KeywordSpelling(self._reading.spelling.keywords())
        flags, _ = spelling.apply(flags)
        changed, unchanged, modified = [], [], []
        modSeq = 0
        for post, before, last in await self._entries(uids):
            after = operation.apply(before, flags)
            if scope is not None:
                after = scope.merge(before, after)
            if unchangedSince is not None and last > unchangedSince:
                modified.append(post.number)
            elif after == before:
                unchanged.append((post.number, after, last))
            else:
                # One call, one change.
                modSeq = modSeq or self._topic.board.nextChange()
                self._reading.marks[post.number] = after, modSeq
                changed.append((post.number, after, modSeq))
        if changed:
            if adds:
                self._reading.spelling = spelling
            self._topic.board.tell(self._topic)
        return StoreResult(changed, unchanged, modified)

    def _requireModerator(self) -> None:
        if not self._isModerator:
            raise AccessDenied("Only moderators delete posts")

    async def expunge(self, uids: NumberSet | None, onlyDeleted: bool = True) -> Sequence[int]:
        """See L{IMailbox}."""
        entries = await self._entries(EVERYTHING if uids is None else uids)
        gone = [each.post for each in entries if not onlyDeleted or DELETED in each.flags]
        if gone:
            self._requireModerator()
            self._topic.board.remove(self._topic, gone)
        return [post.number for post in gone]

    async def append(
        self, messages: Sequence[tuple[IStagedContent, Flags, int, int]]
    ) -> AppendResult:
        """See L{IMailbox}."""
        await self._entries()
        raise AccessDenied("Posts are written on the web")

    async def copyMessages(
        self, uids: NumberSet, destination: IMailbox, scope: FlagScope | None = None
    ) -> CopyResult:
        """See L{IMailbox}: into an ordinary mailbox, all of them or none."""
        entries = await self._entries(uids)
        contents: list[IStagedContent] = []
        try:
            for entry in entries:
                writer = self.account.newContent(len(entry.octets))
                if (waiting := writer.write(entry.octets)) is not None:
                    await waiting
                contents.append(await writer.finish())
            result = await destination.append(
                [
                    (content, flags if scope is None else scope.within(flags), post.posted, 0)
                    for content, (post, flags, _) in zip(contents, entries, strict=True)
                ]
            )
        finally:
            for content in contents:
                content.discard()
        return CopyResult(result.uidValidity, [e.post.number for e in entries], result.uids)

    async def moveMessages(
        self, uids: NumberSet, destination: IMailbox, scope: FlagScope | None = None
    ) -> CopyResult:
        """See L{IMovableMailbox}. The check comes first, so that nothing is left half done."""
        self._requireModerator()
        result = await self.copyMessages(uids, destination, scope)
        await self.expunge(NumberSet.of(result.sources), onlyDeleted=False)
        return result

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See L{IMailbox}."""
        return self._topic.board.watch(lambda topic: changed() if topic is self._topic else None)


# --- next to the ordinary mailboxes ------------------------------------------------------------


class BoardAccount(proxyForInterface(IAccount, "_inner")):  # type: ignore[misc]
    """
    An account with the board in it. What isn't here is the inner account's.
    """

    def __init__(
        self, inner: IAccount, board: Board, readings: dict[str, Reading], isModerator: bool
    ) -> None:
        super().__init__(inner)
        self._inner = inner
        self._board = board
        self._readings = readings
        self._isModerator = isModerator

    async def listMailboxes(self) -> Sequence[MailboxInfo]:
        """See L{IAccount}. The inner account keeps subscriptions, also of names it has not."""
        infos = {info.name: info for info in await self._inner.listMailboxes()}
        ours = [
            MailboxInfo(f"{ROOT}/{topic.name}", f"B{topic.number}", True, False)
            for topic in self._board.topics.values()
        ]
        if ours:
            ours.append(MailboxInfo(ROOT, "B", False, False))
        for info in ours:
            known = infos.get(info.name)
            infos[info.name] = info._replace(subscribed=known is not None and known.subscribed)
        return sorted(infos.values(), key=lambda info: (info.name != "INBOX", info.name))

    async def openMailbox(self, name: str) -> IMailbox:
        """See L{IAccount}."""
        if not _isOurs(name):
            return await self._inner.openMailbox(name)
        # Raises if the account is gone.
        await self._inner.quota()
        if name == ROOT and self._board.topics:
            raise MailboxNotSelectable()
        topic = self._board.topics.get(name.removeprefix(f"{ROOT}/"))
        if topic is None:
            raise NoSuchMailbox()
        return TopicMailbox(topic, self._inner, self._readings[topic.name], self._isModerator)

    async def createMailbox(self, name: str, specialUse: str | None = None) -> MailboxInfo:
        """See L{IAccount}."""
        _refuse(name)
        return await self._inner.createMailbox(name, specialUse)

    async def deleteMailbox(self, name: str) -> None:
        """See L{IAccount}."""
        _refuse(name)
        await self._inner.deleteMailbox(name)

    async def renameMailbox(self, old: str, new: str) -> None:
        """See L{IAccount}."""
        _refuse(old, new)
        await self._inner.renameMailbox(old, new)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """See L{IAccount}."""
        stopInner = self._inner.watch(changed)
        stopOurs = self._board.watch(
            lambda topic: changed("" if topic is None else f"B{topic.number}")
        )

        def stop() -> None:
            stopInner()
            stopOurs()

        return stop


def _isOurs(name: str) -> bool:
    return name == ROOT or name.startswith(f"{ROOT}/")


def _refuse(*names: str) -> None:
    if any(_isOurs(name) for name in names):
        raise AccessDenied("Topics are made on the web")


class BoardStore(proxyForInterface(IMailStore, "_inner")):  # type: ignore[misc]
    """
    A store whose accounts have the board in them. What isn't here is the inner store's.
    """

    def __init__(
        self, inner: IMailStore, board: Board, moderators: Collection[Address] = ()
    ) -> None:
        """
        @param moderators: who may delete posts.
        """
        super().__init__(inner)
        self._inner = inner
        self._board = board
        self._moderators = frozenset(moderators)
        # By accountId and topic; an application keeps them in a table.
        self._readings: dict[str, dict[str, Reading]] = defaultdict(lambda: defaultdict(Reading))

    async def openAccount(self, accountId: str) -> BoardAccount:
        """See L{IMailStore}."""
        account = await self._inner.openAccount(accountId)
        isModerator = account.address in self._moderators
        return BoardAccount(account, self._board, self._readings[accountId], isModerator)
