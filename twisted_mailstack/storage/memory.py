# -*- test-case-name: tests.storage.test_memory -*-
"""
A store in memory: the reference that says in few lines what each call means, and a test double.

Nothing is durable and messages are held in memory whole, so it is for tests and experiments. It is
not fast: it walks lists where that is clearer. Each call first finds out whether it can be done,
then does it, then tells those who watch.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import time
from typing import Any, cast

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.errors import (
    AlreadyExists,
    CannotDoThat,
    HasChildren,
    MailboxNotSelectable,
    MaildropLocked,
    MailError,
    MessageExpunged,
    NoSuchAccount,
    NoSuchDomain,
    NoSuchMailbox,
    OverQuota,
)
from twisted_mailstack.interfaces import (
    IAnnotatedAccount,
    IAnnotatedMailbox,
    IContentWriter,
    ICredentialSurvey,
    IDirectoryAdmin,
    IIdentifiedMailbox,
    IKeyedMemory,
    ILimitedAccount,
    ILoginRecordingAccount,
    ILoginRecordingStore,
    IMailbox,
    IMaildropAccount,
    IMaildropSurvey,
    IMessageContent,
    IMetadataAccount,
    IMovableMailbox,
    IReceivingMailbox,
    IRememberingStore,
    IReplacingMailbox,
    ISharingStore,
    ISpecialUseAccount,
    ISpoolingStore,
    IStagedContent,
    ISurveyableAccount,
    IURLKeyStore,
)
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.flags import (
    DELETED,
    SEEN,
    FlagOperation,
    Flags,
    FlagScope,
    KeywordSpelling,
)
from twisted_mailstack.model.mailboxname import DELIMITER, INBOX, normaliseName, parents
from twisted_mailstack.model.message import Summariser, Summary
from twisted_mailstack.model.mime import Part, unpackStructure
from twisted_mailstack.model.records import (
    DEFAULT_MAILBOXES,
    SMALL_MESSAGE,
    AccountRecord,
    AliasRecord,
    Annotation,
    AnnotationChange,
    AnnotationKey,
    AnnotationScope,
    AppendResult,
    Attribute,
    Changes,
    CopyResult,
    Damage,
    DomainRecord,
    LoginRecord,
    MailboxInfo,
    MailboxStatus,
    MaildropSettings,
    MaildropSurvey,
    MetadataChange,
    Placement,
    Quota,
    StoreResult,
)
from twisted_mailstack.model.rights import Rights
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet
from twisted_mailstack.storage.memoryannotations import Annotations
from twisted_mailstack.storage.memorycredentials import MemoryCredentials
from twisted_mailstack.storage.memorylogins import MemoryLoginHistory
from twisted_mailstack.storage.memorymaildrop import MemoryMaildrop, survey
from twisted_mailstack.storage.memorymetadata import MemoryMetadata
from twisted_mailstack.storage.memorysharing import MemoryAccessControl
from twisted_mailstack.storage.memoryspool import MemorySpool
from twisted_mailstack.storage.memoryurlkeys import MemoryURLKeys


@implementer(IContentWriter)
class MemoryWriter:
    """See L{IContentWriter}."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """See L{IContentWriter}."""
        self.size += len(data)
        self._parts.append(data)

    async def finish(self) -> MemoryStaged:
        """See L{IContentWriter}."""
        return MemoryStaged(b"".join(self._parts))

    def abort(self) -> None:
        """See L{IContentWriter}."""
        self._parts = []


@implementer(IStagedContent)
class MemoryStaged:
    """See L{IStagedContent}."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        summariser = Summariser()
        summariser.feed(data)
        self.summary: Summary = summariser.finish()

    async def read(self, offset: int, length: int) -> bytes:
        """See L{IStagedContent}."""
        return self.data[offset : offset + length]

    def discard(self) -> None:
        """See L{IStagedContent}."""


@dataclass
class Message:
    """A message of an account."""

    messageId: str
    threadId: str
    prefix: bytes
    data: bytes
    summary: Summary

    @property
    def octets(self) -> int:
        """RFC822.SIZE."""
        return len(self.prefix) + len(self.data)


@dataclass
class Entry:
    """A message in a mailbox."""

    uid: int
    message: Message
    flags: Flags
    modSeq: int
    date: int
    zone: int
    saved: int
    annotations: Annotations = field(default_factory=Annotations)


@dataclass
class Box:
    """What is stored of a mailbox."""

    name: str
    mailboxId: str
    uidValidity: int
    modSeq: int
    selectable: bool = True
    specialUse: str | None = None
    uidNext: int = 1
    recentUid: int = 1
    entries: list[Entry] = field(default_factory=list)
    vanished: list[tuple[int, int]] = field(default_factory=list)
    spelling: KeywordSpelling = field(default_factory=KeywordSpelling)
    watchers: dict[object, Callable[[], None]] = field(default_factory=dict)
    deleted: bool = False
    access: dict[str, Rights] = field(default_factory=dict)


@implementer(IMessageContent)
class MemoryContent:
    """See L{IMessageContent}."""

    def __init__(self, message: Message) -> None:
        self.size = message.octets
        self._data = message.prefix + message.data
        self.structure: Part = unpackStructure(message.summary.structure)
        self.structure.shift(len(message.prefix))

    async def read(self, offset: int, length: int) -> bytes:
        """See L{IMessageContent}."""
        return self._data[offset : offset + length]


def _octets(annotations: Sequence[Mapping[AnnotationKey, bytes]]) -> int:
    return sum(len(value) for values in annotations for value in values.values())


def _small(value: bytes) -> bytes | None:
    return value if len(value) <= SMALL_MESSAGE else None


_ATTRIBUTES: dict[Attribute, Callable[[Entry], Any]] = {
    Attribute.UID: lambda e: e.uid,
    Attribute.FLAGS: lambda e: e.flags,
    Attribute.MODSEQ: lambda e: e.modSeq,
    Attribute.INTERNAL_DATE: lambda e: e.date,
    Attribute.ZONE: lambda e: e.zone,
    Attribute.SAVE_DATE: lambda e: e.saved,
    Attribute.OCTETS: lambda e: e.message.octets,
    Attribute.MESSAGE_ID: lambda e: e.message.messageId,
    Attribute.THREAD_ID: lambda e: e.message.threadId,
    Attribute.ENVELOPE: lambda e: e.message.summary.envelope,
    Attribute.BODY_STRUCTURE: lambda e: e.message.summary.bodyStructure,
    Attribute.BODY: lambda e: e.message.summary.body,
    Attribute.PREVIEW: lambda e: e.message.summary.preview,
    Attribute.STRUCTURE: lambda e: e.message.summary.structure,
    Attribute.PREFIX_SIZE: lambda e: len(e.message.prefix),
    Attribute.HEADER: lambda e: _small(
        e.message.prefix + e.message.data[: e.message.summary.headerSize]
    ),
    Attribute.CONTENT: lambda e: _small(e.message.prefix + e.message.data),
    Attribute.SENT_DATE: lambda e: e.message.summary.sentDate,
    Attribute.SUBJECT: lambda e: e.message.summary.subject,
    Attribute.BASE_SUBJECT: lambda e: e.message.summary.baseSubject,
}


@implementer(IAnnotatedMailbox, IIdentifiedMailbox, IMovableMailbox, IReplacingMailbox)
class MemoryMailbox:
    """See L{IMailbox}."""

    def __init__(self, account: MemoryAccount, box: Box) -> None:
        self.account = account
        self.mailboxId = box.mailboxId
        self.identity = account.store, box.mailboxId
        self._stored = box

    @property
    def _box(self) -> Box:
        if self._stored.deleted:
            raise NoSuchMailbox()
        return self._stored

    @property
    def isThere(self) -> bool:
        """Whether the mailbox wasn't deleted."""
        return not self._stored.deleted

    def select(self, uids: NumberSet | None) -> list[Entry]:
        """
        @return: entries; C{None} for all.
        """
        return [e for e in self._box.entries if uids is None or e.uid in uids]

    async def status(self) -> MailboxStatus:
        """See L{IMailbox}."""
        box = self._box
        flags = [entry.flags for entry in box.entries]
        return MailboxStatus(
            box.uidValidity,
            box.uidNext,
            box.modSeq,
            len(box.entries),
            sum(SEEN not in each for each in flags),
            sum(DELETED in each for each in flags),
            sum(entry.uid >= box.recentUid for entry in box.entries),
            sum(entry.message.octets for entry in box.entries),
            box.spelling.keywords(),
        )

    async def changesSince(self, modSeq: int) -> Changes:
        """See L{IMailbox}."""
        box = self._box
        entries = [entry for entry in box.entries if entry.modSeq > modSeq]
        gone = NumberSet.of(uid for at, uid in box.vanished if modSeq and at > modSeq)
        return Changes(
            array("I", [entry.uid for entry in entries]),
            [entry.flags for entry in entries],
            array("Q", [entry.modSeq for entry in entries]),
            gone,
            box.modSeq,
            box.uidNext,
            box.spelling.keywords(),
        )

    async def claimRecent(self) -> tuple[int, int]:
        """See L{IMailbox}."""
        box = self._box
        first, box.recentUid = box.recentUid, box.uidNext
        return first, box.uidNext - 1

    async def fetch(
        self, uids: NumberSet, attributes: Sequence[Attribute]
    ) -> Sequence[tuple[Any, ...]]:
        """See L{IMailbox}."""
        return [
            (entry.uid, *(_ATTRIBUTES[attribute](entry) for attribute in attributes))
            for entry in self.select(uids)
        ]

    async def openMessage(self, uid: int) -> MemoryContent:
        """See L{IMailbox}."""
        for entry in self._box.entries:
            if entry.uid == uid:
                return MemoryContent(entry.message)
        raise MessageExpunged()

    async def storeFlags(
        self,
        uids: NumberSet,
        operation: FlagOperation,
        flags: Flags,
        unchangedSince: int | None = None,
        scope: FlagScope | None = None,
    ) -> StoreResult:
        """See L{IMailbox}."""
        box = self._box
        entries = self.select(uids)
        spelling = KeywordSpelling(box.spelling.keywords())
        flags, _ = spelling.apply(flags)
        changed, unchanged, modified = [], [], []
        modSeq = 0
        for entry in entries:
            if unchangedSince is not None and entry.modSeq > unchangedSince:
                modified.append(entry.uid)
                continue
            new = operation.apply(entry.flags, flags)
            if scope is not None:
                new = scope.merge(entry.flags, new)
            if new == entry.flags:
                unchanged.append((entry.uid, entry.flags, entry.modSeq))
                continue
            modSeq = modSeq or self.account.nextModSeq()
            entry.flags, entry.modSeq = new, modSeq
            changed.append((entry.uid, new, modSeq))
        if modSeq:
            if operation is not FlagOperation.REMOVE:
                box.spelling = spelling
            self.account.changed(box, modSeq)
            self.account.store.tell()
        return StoreResult(changed, unchanged, modified)

    async def expunge(self, uids: NumberSet | None, onlyDeleted: bool = True) -> Sequence[int]:
        """See L{IMailbox}."""
        gone = [e for e in self.select(uids) if not onlyDeleted or DELETED in e.flags]
        if gone:
            self._remove(gone, self.account.nextModSeq())
            self.account.store.tell()
        return [entry.uid for entry in gone]

    def _remove(self, gone: Sequence[Entry], modSeq: int) -> None:
        box = self._box
        uids = {entry.uid for entry in gone}
        box.entries = [entry for entry in box.entries if entry.uid not in uids]
        box.vanished += [(modSeq, uid) for uid in sorted(uids)]
        self.account.changed(box, modSeq)

    def requireUids(self, count: int) -> None:
        """
        @raise CannotDoThat: if the mailbox has not so many UIDs left.
        """
        if self._box.uidNext + count > MAX_NUMBER:
            raise CannotDoThat("The mailbox has no UIDs left: use another", imapCode="LIMIT")

    def add(
        self,
        message: Message,
        flags: Flags,
        date: int,
        zone: int,
        modSeq: int,
        annotations: Annotations | None = None,
    ) -> int:
        """
        Enter a message.

        @return: its UID.
        """
        box = self._box
        uid, box.uidNext = box.uidNext, box.uidNext + 1
        spelled, _ = box.spelling.apply(flags)
        saved = int(self.account.store.now())
        entry = Entry(uid, message, spelled, modSeq, date, zone, saved)
        entry.annotations = annotations or Annotations()
        box.entries.append(entry)
        return uid

    def deliver(self, content: IStagedContent, placement: Placement, date: int) -> None:
        """
        Enter a message that arrived.
        """
        modSeq = self.account.nextModSeq()
        message = self.account.makeMessage(content, placement.prefix)
        self.add(message, placement.flags, date, 0, modSeq)
        self.account.changed(self._box, modSeq)

    # --- annotations ---------------------------------------------------------------------------

    def _reader(self, reader: str | None) -> str:
        return self.account.accountId if reader is None else reader

    async def annotations(
        self, uids: NumberSet, entries: Collection[str] | None = None, reader: str | None = None
    ) -> Sequence[Annotation]:
        """See L{IAnnotatedMailbox}."""
        return [
            Annotation(entry.uid, name, bool(whose), value)
            for entry in self.select(uids)
            for (name, whose), value in entry.annotations.visible(self._reader(reader)).items()
            if entries is None or name in entries
        ]

    async def annotatedMessages(self, uids: NumberSet, reader: str | None = None) -> Sequence[int]:
        """See L{IAnnotatedMailbox}."""
        whose = self._reader(reader)
        return [entry.uid for entry in self.select(uids) if entry.annotations.visible(whose)]

    async def annotationChangesSince(
        self, modSeq: int, reader: str | None = None
    ) -> Sequence[AnnotationChange]:
        """See L{IAnnotatedMailbox}."""
        return sorted(
            AnnotationChange(at, entry.uid, name)
            for entry in self._box.entries
            for (name, whose), (_, at) in entry.annotations.values.items()
            if at > modSeq and whose in ("", self._reader(reader))
        )

    async def storeAnnotations(
        self,
        uids: NumberSet,
        values: Mapping[AnnotationKey, bytes | None],
        limit: int,
        unchangedSince: int | None = None,
        reader: str | None = None,
    ) -> StoreResult:
        """See L{IAnnotatedMailbox}."""
        box, whose = self._box, self._reader(reader)
        changes, unchanged, modified = [], [], []
        for entry in self.select(uids):
            noted = entry.annotations
            if unchangedSince is not None and noted.youngest(values, whose) > unchangedSince:
                modified.append(entry.uid)
                continue
            change = noted.compare(values, whose, limit)
            if change:
                changes.append((entry, change))
            else:
                unchanged.append((entry.uid, entry.flags, entry.modSeq))
        self.account.checkAnnotations(
            sum(len(value or b"") for _, change in changes for value in change.values())
            - sum(entry.annotations.octets(change) for entry, change in changes)
        )
        if changes:
            modSeq = self.account.nextModSeq()
            for entry, change in changes:
                entry.annotations.set(change, modSeq)
                entry.modSeq = modSeq
            self.account.changed(box, modSeq)
            self.account.store.tell()
        changed = [(entry.uid, entry.flags, entry.modSeq) for entry, _ in changes]
        return StoreResult(changed, unchanged, modified)

    def _noted(
        self,
        number: int,
        annotations: Sequence[Mapping[AnnotationKey, bytes]],
        reader: str | None,
        modSeq: int,
    ) -> Annotations:
        noted = Annotations()
        if annotations:
            noted.add(annotations[number], self._reader(reader), modSeq)
        return noted

    async def append(
        self,
        messages: Sequence[tuple[IStagedContent, Flags, int, int]],
        annotations: Sequence[Mapping[AnnotationKey, bytes]] = (),
        reader: str | None = None,
    ) -> AppendResult:
        """See L{IAnnotatedMailbox}."""
        box = self._box
        self.account.checkRoom(len(messages), sum(each[0].summary.size for each in messages))
        self.account.checkAnnotations(_octets(annotations))
        self.requireUids(len(messages))
        if not messages:
            return AppendResult(box.uidValidity, [])
        modSeq = self.account.nextModSeq()
        uids = [
            self.add(
                *(self.account.makeMessage(staged, b""), flags, date, zone, modSeq),
                self._noted(number, annotations, reader, modSeq),
            )
            for number, (staged, flags, date, zone) in enumerate(messages)
        ]
        self.account.changed(box, modSeq)
        self.account.store.tell()
        return AppendResult(box.uidValidity, uids)

    async def copyMessages(
        self,
        uids: NumberSet,
        destination: IMailbox,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> CopyResult:
        """See L{IAnnotatedMailbox}."""
        return await self._transfer(uids, destination, False, scope, along)

    async def moveMessages(
        self,
        uids: NumberSet,
        destination: IMailbox,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> CopyResult:
        """See L{IAnnotatedMailbox}."""
        return await self._transfer(uids, destination, True, scope, along)

    async def _transfer(
        self,
        uids: NumberSet,
        destination: IMailbox,
        move: bool,
        scope: FlagScope | None,
        along: AnnotationScope | None,
    ) -> CopyResult:
        along = along or AnnotationScope()
        if IReceivingMailbox.providedBy(destination):
            receiving: Any = destination
            received: CopyResult = await receiving.receive(self, uids, move, along.reader)
            return received
        return self.transfer(uids, destination, move, scope, along)

    async def replaceMessage(
        self,
        uid: int,
        destination: IMailbox,
        message: tuple[IStagedContent, Flags, int, int],
        annotations: Sequence[Mapping[AnnotationKey, bytes]] = (),
        reader: str | None = None,
    ) -> AppendResult:
        """See L{IReplacingMailbox}."""
        if not isinstance(destination, MemoryMailbox):
            raise CannotDoThat("The mailboxes are not in the same store")
        target: MemoryMailbox = destination
        gone = self.select(NumberSet.of([uid]))
        staged, flags, date, zone = message
        box = target._box
        if not gone:
            raise MessageExpunged()
        within = target.account is self.account
        size = staged.summary.size
        growth = size - gone[0].message.octets
        if not within:
            target.account.checkRoom(1, size)
        elif growth > 0:
            quota = await self.account.quota()
            if quota.octetLimit is not None and quota.octets + growth > quota.octetLimit:
                raise OverQuota()
        old = gone[0].annotations.octets() if within else 0
        target.account.checkAnnotations(_octets(annotations) - old)
        target.requireUids(1)
        modSeq = target.account.nextModSeq()
        made = target.add(
            *(target.account.makeMessage(staged, b""), flags, date, zone, modSeq),
            self._noted(0, annotations, reader, modSeq),
        )
        target.account.changed(box, modSeq)
        self._remove(gone, modSeq if within else self.account.nextModSeq())
        self.account.store.tell()
        return AppendResult(box.uidValidity, [made])

    def transfer(
        self,
        uids: NumberSet,
        destination: IMailbox,
        move: bool,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> CopyResult:
        """
        Copy or move.

        @param along: C{None}: all annotations, whosever they are.
        """
        if not isinstance(destination, MemoryMailbox):
            raise CannotDoThat("The mailboxes are not in the same store")
        target: MemoryMailbox = destination
        entries, box = self.select(uids), target._box
        if not entries:
            return CopyResult(box.uidValidity, [], [])
        within = target.account is self.account
        if not (move and within):
            target.account.checkRoom(len(entries), sum(e.message.octets for e in entries))
        target.requireUids(len(entries))

        def copied(entry: Entry, modSeq: int) -> Annotations:
            if along is None:
                return entry.annotations.copy(None, True, True, modSeq)
            whose = self._reader(along.reader)
            return entry.annotations.copy(whose, along.private, along.shared, modSeq)

        if not (move and within):
            target.account.checkAnnotations(sum(copied(entry, 0).octets() for entry in entries))
        modSeq = target.account.nextModSeq()
        made = []
        for entry in entries:
            message = entry.message
            if not within:
                identity, thread = target.account.newId("E"), target.account.newId("T")
                message = Message(identity, thread, message.prefix, message.data, message.summary)
            flags = entry.flags if scope is None else scope.within(entry.flags)
            noted = copied(entry, modSeq)
            made.append(target.add(message, flags, entry.date, entry.zone, modSeq, noted))
        target.account.changed(box, modSeq)
        if move:
            self._remove(entries, modSeq if within else self.account.nextModSeq())
        self.account.store.tell()
        return CopyResult(box.uidValidity, [entry.uid for entry in entries], made)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See L{IMailbox}."""
        token = object()
        watchers = self._stored.watchers
        watchers[token] = changed
        return lambda: cast(None, watchers.pop(token, None))


@implementer(
    IAnnotatedAccount,
    ILimitedAccount,
    ILoginRecordingAccount,
    IMaildropAccount,
    IMetadataAccount,
    ISpecialUseAccount,
    ISurveyableAccount,
)
class MemoryAccount:
    """See L{IAccount}."""

    log = Logger()

    def __init__(self, store: MemoryMailStore, accountId: str, address: Address) -> None:
        self.store = store
        self.accountId = accountId
        self.address = address
        self.boxes: dict[str, Box] = {}
        self.subscribed: set[str] = set()
        self.limits: tuple[int | None, int | None] = store.quotaDefaults
        self.mailboxLimit: int | None = None
        self.annotationLimit: int | None = None
        self.removed = False
        self._ids = count(1)
        # Who had the address before may have had mailboxes of the same names.
        self.uidValidity = max(int(store.now()), store.formerAccounts.get(_key(address), 0))
        # The highest uidValidity of those that lost a name.
        self._formerNames: dict[str, int] = {}
        self._modSeq = 1
        self._threads: dict[bytes, str] = {}
        self._locked = False
        self._maildrop = MemoryMaildrop()
        self._watchers: dict[object, Callable[[str], None]] = {}
        self._metadata = MemoryMetadata(accountId, self._idOf, self.nextModSeq)
        for name, specialUse in ((INBOX, None), *DEFAULT_MAILBOXES):
            self._make(name, specialUse)
            self.subscribed.add(name)

    # --- what mailboxes use --------------------------------------------------------------------

    def nextModSeq(self) -> int:
        """Take the next modSeq."""
        self._modSeq += 1
        return self._modSeq

    def newId(self, kind: str) -> str:
        """A fresh id."""
        return f"{kind}{self.accountId[1:]}-{next(self._ids)}"

    def changed(self, box: Box, modSeq: int) -> None:
        """A mailbox changed."""
        box.modSeq = modSeq
        self.store.changed(self, box)

    def tell(self, box: Box | None) -> None:
        """
        Tell those who watch.

        @param box: the mailbox that changed; C{None} if the list of them did.
        """
        for each in list(box.watchers.values()) if box is not None else ():
            self._call(each)
        for other in list(self._watchers.values()):
            self._call(other, box.mailboxId if box is not None else "")

    def _call(self, changed: Callable[..., None], *arguments: str) -> None:
        try:
            changed(*arguments)
        except Exception:
            self.log.failure("a watcher failed")

    def _listChanged(self) -> None:
        self.store.changed(self, None)
        self.store.tell()

    def _require(self) -> None:
        if self.removed:
            raise NoSuchAccount()

    def makeMessage(self, staged: IStagedContent, prefix: bytes) -> Message:
        """A message of this account."""
        summary = staged.summary
        identities = [each for each in (*summary.references, *summary.inReplyTo) if each]
        identities += [summary.messageId] if summary.messageId else []
        known = [self._threads[each] for each in reversed(identities) if each in self._threads]
        thread = known[0] if known else self.newId("T")
        for each in identities:
            self._threads.setdefault(each, thread)
        data = cast(MemoryStaged, staged).data
        return Message(self.newId("E"), thread, prefix, data, summary)

    def checkRoom(self, messages: int, octets: int) -> None:
        """
        @raise OverQuota: if so much more doesn't fit. Nothing always fits.
        """
        if not messages:
            return
        used = self._quota()
        if used.octetLimit is not None and used.octets + octets > used.octetLimit:
            raise OverQuota()
        if used.messageLimit is not None and used.messages + messages > used.messageLimit:
            raise OverQuota()

    def checkAnnotations(self, growth: int) -> None:
        """
        @raise OverQuota: if the annotations may not become so much larger.
        """
        limit = self.annotationLimit
        if growth > 0 and limit is not None and self._annotationOctets() + growth > limit:
            raise OverQuota("The account's annotations are over its quota")

    def _annotationOctets(self) -> int:
        return sum(
            entry.annotations.octets() for box in self.boxes.values() for entry in box.entries
        )

    def _quota(self) -> Quota:
        entries = [entry for box in self.boxes.values() for entry in box.entries]
        octets = sum(entry.message.octets for entry in entries)
        return Quota(octets, self.limits[0], len(entries), self.limits[1])

    def _make(self, name: str, specialUse: str | None = None) -> Box:
        self.uidValidity += 1
        box = Box(
            name,
            self.newId("M"),
            self.uidValidity,
            self.nextModSeq(),
            specialUse=specialUse,
        )
        superior = [self.boxes[each] for each in parents(name) if each in self.boxes]
        for each in reversed(superior):
            if each.selectable:
                # RFC 4314 §4: it inherits from the nearest.
                box.access = dict(each.access)
                break
        self.boxes[name] = box
        return box

    def forgetReader(self, reader: str) -> None:
        """Another account is gone, and what it noted here."""
        for box in self.boxes.values():
            for entry in box.entries:
                values = entry.annotations.values
                for key in [key for key in values if key[1] == reader]:
                    del values[key]

    def _below(self, name: str) -> list[str]:
        return sorted(each for each in self.boxes if each.startswith(name + DELIMITER))

    # --- IAccount ------------------------------------------------------------------------------

    async def listMailboxes(self) -> Sequence[MailboxInfo]:
        """See L{IAccount}."""
        self._require()
        infos = [self.info(box) for box in self.boxes.values()]
        infos += [
            MailboxInfo(name, "", False, True) for name in self.subscribed - self.boxes.keys()
        ]
        return sorted(infos, key=lambda info: (info.name != INBOX, info.name))

    def info(self, box: Box) -> MailboxInfo:
        """The line of a mailbox in the list."""
        subscribed = box.name in self.subscribed
        return MailboxInfo(box.name, box.mailboxId, box.selectable, subscribed, box.specialUse)

    def _open(self, name: str) -> MemoryMailbox:
        box = self.boxes.get(name)
        if box is None:
            raise NoSuchMailbox()
        if not box.selectable:
            raise MailboxNotSelectable()
        return MemoryMailbox(self, box)

    async def openMailbox(self, name: str) -> MemoryMailbox:
        """See L{IAccount}."""
        self._require()
        return self._open(name)

    async def createMailbox(self, name: str, specialUse: str | None = None) -> MailboxInfo:
        """See L{IAccount}."""
        self._require()
        name = normaliseName(name)
        if name in self.boxes and self.boxes[name].selectable:
            raise AlreadyExists("That mailbox exists already")
        if self._others(specialUse):
            raise AlreadyExists("Another mailbox has that special use", imapCode="USEATTR")
        made = {*parents(name), name} - self.boxes.keys()
        if self.mailboxLimit is not None and len(self.boxes) + len(made) > self.mailboxLimit:
            raise OverQuota("The account has too many mailboxes")
        for parent in parents(name):
            if parent not in self.boxes:
                self._make(parent)
        if name in self.boxes:
            self._metadata.forget(self.boxes[name].mailboxId)
        box = self._make(name, specialUse)
        self._listChanged()
        return self.info(box)

    def _others(self, specialUse: str | None, name: str = "") -> list[Box]:
        wanted = set((specialUse or "").split())
        return [
            box
            for box in self.boxes.values()
            if box.name != name and wanted.intersection((box.specialUse or "").split())
        ]

    async def setSpecialUse(self, name: str, specialUse: str | None) -> Sequence[str]:
        """See L{ISpecialUseAccount}."""
        self._require()
        self._open(name)
        others = self._others(specialUse, name)
        taken = (specialUse or "").split()
        for other in others:
            uses = (other.specialUse or "").split()
            other.specialUse = " ".join(use for use in uses if use not in taken) or None
        self.boxes[name].specialUse = specialUse
        self.nextModSeq()
        self._listChanged()
        return sorted(other.name for other in others)

    async def recentLogins(self, limit: int) -> Sequence[LoginRecord]:
        """See L{ILoginRecordingAccount}."""
        self._require()
        return await self.store.logins.recent(self.accountId, limit)

    async def statuses(self) -> Mapping[str, MailboxStatus]:
        """See L{ISurveyableAccount}."""
        self._require()
        boxes = [box for box in self.boxes.values() if box.selectable]
        return {box.mailboxId: await MemoryMailbox(self, box).status() for box in boxes}

    def _idOf(self, name: str) -> str:
        box = self.boxes.get(name)
        if box is None:
            raise NoSuchMailbox()
        return box.mailboxId

    async def metadataSizes(self, mailboxName: str, reader: str | None = None) -> Mapping[str, int]:
        """See L{IMetadataAccount}."""
        self._require()
        return self._metadata.sizes(mailboxName, reader)

    async def getMetadata(
        self, mailboxName: str, names: Collection[str], reader: str | None = None
    ) -> Mapping[str, bytes]:
        """See L{IMetadataAccount}."""
        self._require()
        return self._metadata.get(mailboxName, names, reader)

    async def setMetadata(
        self,
        mailboxName: str,
        values: Mapping[str, bytes | None],
        limit: int,
        reader: str | None = None,
    ) -> int:
        """See L{IMetadataAccount}."""
        self._require()
        modSeq = self._metadata.set(mailboxName, values, limit, reader)
        if mailboxName:
            self.changed(self.boxes[mailboxName], modSeq)
        self._listChanged()
        return modSeq

    async def metadataChangesSince(
        self, modSeq: int, reader: str | None = None
    ) -> tuple[int, Sequence[MetadataChange]]:
        """See L{IMetadataAccount}."""
        self._require()
        names = {box.mailboxId: box.name for box in self.boxes.values()}
        return self._modSeq, self._metadata.changesSince(modSeq, reader, names.__getitem__)

    async def deleteMailbox(self, name: str) -> None:
        """See L{IAccount}."""
        self._require()
        if name == INBOX:
            raise CannotDoThat("INBOX can't be deleted")
        box = self.boxes.get(name)
        if box is None:
            raise NoSuchMailbox()
        if not box.selectable and self._below(name):
            raise HasChildren()
        self._noteFormer(self.boxes.pop(name))
        box.deleted = True
        self._metadata.forget(box.mailboxId)
        if self._below(name):
            placeholder = self._make(name)
            placeholder.selectable, placeholder.access = False, {}
        self.changed(box, self.nextModSeq())
        self._listChanged()

    def _noteFormer(self, box: Box) -> None:
        if box.selectable:
            self._formerNames[box.name] = box.uidValidity

    async def renameMailbox(self, old: str, new: str) -> None:
        """See L{IAccount}."""
        self._require()
        new = normaliseName(new)
        if old not in self.boxes:
            raise NoSuchMailbox()
        if new in self.boxes:
            raise AlreadyExists("That mailbox exists already")
        if old != INBOX and new.startswith(old + DELIMITER):
            raise CannotDoThat("A mailbox can't be moved below itself")
        moved = [] if old == INBOX else [old, *self._below(old)]
        targets = {name: new + name[len(old) :] for name in moved}
        if any(normaliseName(each) != each or each in self.boxes for each in targets.values()):
            raise AlreadyExists("That mailbox exists already")
        for parent in parents(new):
            if parent not in self.boxes:
                self._make(parent)
        if old == INBOX:
            self._make(new)
            everything = NumberSet([(1, MAX_NUMBER)])
            self._open(INBOX).transfer(everything, self._open(new), True)
            inbox, made = self.boxes[INBOX], self.boxes[new]
            self._metadata.copy(inbox.mailboxId, made.mailboxId, self.nextModSeq())
        for name, target in targets.items():
            box = self.boxes.pop(name)
            self._noteFormer(box)
            box.name = target
            self.boxes[target] = box
            if box.uidValidity < self._formerNames.get(target, 0):
                # RFC 9051 §2.3.1.1: under one name the uidValidity only grows.
                self.uidValidity += 1
                box.uidValidity = self.uidValidity
        self._listChanged()

    async def setSubscribed(self, name: str, subscribed: bool) -> None:
        """See L{IAccount}."""
        self._require()
        (self.subscribed.add if subscribed else self.subscribed.discard)(name)
        self._listChanged()

    def newContent(self, sizeHint: int | None = None) -> MemoryWriter:
        """See L{IAccount}."""
        return MemoryWriter()

    async def quota(self) -> Quota:
        """See L{IAccount}."""
        self._require()
        return self._quota()

    async def mailboxQuota(self) -> tuple[int, int | None]:
        """See L{ILimitedAccount}."""
        self._require()
        return len(self.boxes), self.mailboxLimit

    async def annotationQuota(self) -> tuple[int, int | None]:
        """See L{IAnnotatedAccount}."""
        self._require()
        return self._annotationOctets(), self.annotationLimit

    async def maildropSettings(self) -> MaildropSettings:
        """See L{IMaildropAccount}."""
        self._require()
        return self._maildrop.settings

    async def setMaildropSettings(self, settings: MaildropSettings) -> None:
        """See L{IMaildropAccount}."""
        self._require()
        self._maildrop.settings = settings

    async def uniqueIds(self, messageIds: Collection[str]) -> Mapping[str, str]:
        """See L{IMaildropAccount}."""
        self._require()
        return self._maildrop.uniqueIds(messageIds)

    def _messageIds(self) -> set[str]:
        return {e.message.messageId for box in self.boxes.values() for e in box.entries}

    async def assignUniqueIds(self, values: Mapping[str, str]) -> Collection[str]:
        """See L{IMaildropAccount}."""
        self._require()
        there = self._messageIds()
        return self._maildrop.assign({each: values[each] for each in values if each in there})

    async def knownUniqueIds(self, values: Collection[str]) -> Collection[str]:
        """See L{IMaildropAccount}."""
        self._require()
        return self._maildrop.known(values)

    async def removeMessages(
        self, messages: Sequence[tuple[IMailbox, NumberSet]], destination: IMailbox | None
    ) -> int:
        """See L{IMaildropAccount}."""
        self._require()
        target = None if destination is None else cast(MemoryMailbox, destination)
        given = [(cast(MemoryMailbox, each), uids) for each, uids in messages]
        there = [(each, uids) for each, uids in given if each.isThere]
        if target is not None:
            others = [each for each in there if each[0].mailboxId != target.mailboxId]
            target.requireUids(sum(len(mailbox.select(uids)) for mailbox, uids in others))
        removed = 0
        for mailbox, uids in there:
            if target is None or mailbox.mailboxId == target.mailboxId:
                removed += len(await mailbox.expunge(uids, onlyDeleted=False))
            else:
                removed += len(mailbox.transfer(uids, target, True).sources)
        return removed

    async def noteRetrieved(self, messageIds: Collection[str], at: int) -> None:
        """See L{IMaildropAccount}."""
        self._require()
        self._maildrop.noteRetrieved(self._messageIds().intersection(messageIds), at)

    async def retrievedUntil(self, at: int) -> Collection[str]:
        """See L{IMaildropAccount}."""
        self._require()
        return self._maildrop.retrievedUntil(at) & self._messageIds()

    async def lockMaildrop(self) -> Callable[[], None]:
        """See L{IAccount}."""
        self._require()
        if self._locked:
            raise MaildropLocked()
        self._locked = True
        held = [True]

        def release() -> None:
            if held:
                held.pop()
                self._locked = False

        return release

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """See L{IAccount}."""
        token = object()
        self._watchers[token] = changed
        return lambda: cast(None, self._watchers.pop(token, None))


def _key(address: Address) -> tuple[str, str]:
    return address.domain, foldLocalPart(address.localPart)


@implementer(IDirectoryAdmin, ICredentialSurvey, IMaildropSurvey)
class MemoryDirectory(MemoryCredentials):
    """See L{IDirectoryAdmin}."""

    def __init__(self, store: MemoryMailStore) -> None:
        super().__init__(store.now)
        self._store = store
        self._domains: set[str] = set()
        self._accounts: dict[tuple[str, str], AccountRecord] = {}
        self._aliases: dict[tuple[str, str], AliasRecord] = {}
        self._ids = count(1)

    async def surveyMaildrops(self) -> MaildropSurvey:
        """See L{IMaildropSurvey}."""
        return survey(each._maildrop.settings for each in self._store.accounts.values())

    async def findDomain(self, name: str) -> DomainRecord | None:
        """See L{IDirectory}."""
        return DomainRecord(name) if name in self._domains else None

    async def findAccount(self, address: Address) -> AccountRecord | None:
        """See L{IDirectory}."""
        return self._accounts.get(_key(address))

    async def findAccountById(self, accountId: str) -> AccountRecord | None:
        """See L{IDirectory}."""
        return next((r for r in self._accounts.values() if r.accountId == accountId), None)

    async def findAlias(self, address: Address) -> AliasRecord | None:
        """See L{IDirectory}."""
        return self._aliases.get(_key(address))

    async def listDomains(self) -> Sequence[DomainRecord]:
        """See L{IDirectoryAdmin}."""
        return [DomainRecord(name) for name in sorted(self._domains)]

    async def addDomain(self, name: str) -> DomainRecord:
        """See L{IDirectoryAdmin}."""
        if name in self._domains:
            raise AlreadyExists(f"The domain {name} exists already")
        self._domains.add(name)
        return DomainRecord(name)

    async def removeDomain(self, name: str) -> None:
        """See L{IDirectoryAdmin}."""
        self._require(name)
        if any(key[0] == name for key in (*self._accounts, *self._aliases)):
            raise CannotDoThat(f"The domain {name} is in use")
        self._domains.remove(name)

    def _require(self, domain: str) -> None:
        if domain not in self._domains:
            raise NoSuchDomain(f"There is no domain {domain} here")

    async def listAccounts(self, domain: str | None = None) -> Sequence[AccountRecord]:
        """See L{IDirectoryAdmin}."""
        return [r for k, r in sorted(self._accounts.items()) if domain in (None, k[0])]

    async def addAccount(
        self, address: Address, secrets: Mapping[str, str] | str | None
    ) -> AccountRecord:
        """See L{IDirectoryAdmin}."""
        self._require(address.domain)
        key = _key(address)
        if key in self._accounts or key in self._aliases:
            raise AlreadyExists(f"{address} exists already")
        record = AccountRecord(f"A{next(self._ids)}", address)
        self._accounts[key] = record
        self.setMainPassword(record.accountId, secrets)
        accounts = self._store.accounts
        accounts[record.accountId] = MemoryAccount(self._store, record.accountId, address)
        return record

    def _replace(self, address: Address, **values: Any) -> AccountRecord:
        record = self._accounts.get(_key(address))
        if record is None:
            raise NoSuchAccount(f"There is no account {address}")
        self._accounts[_key(address)] = record._replace(**values)
        return record

    def _existing(self, address: Address) -> AccountRecord:
        return self._replace(address)

    async def setEnabled(self, address: Address, enabled: bool) -> None:
        """See L{IDirectoryAdmin}."""
        self._replace(address, enabled=enabled)

    async def setQuota(
        self,
        address: Address,
        octetLimit: int | None,
        messageLimit: int | None,
        mailboxLimit: int | None = None,
        annotationLimit: int | None = None,
    ) -> None:
        """See L{IDirectoryAdmin}."""
        account = self._store.accounts[self._replace(address).accountId]
        account.limits = octetLimit, messageLimit
        account.mailboxLimit = mailboxLimit
        account.annotationLimit = annotationLimit

    async def removeAccount(self, address: Address) -> None:
        """See L{IDirectoryAdmin}."""
        record = self._replace(address)
        del self._accounts[_key(address)]
        account = self._store.accounts.pop(record.accountId)
        account.removed = True
        self._store.sharing.forget(account)
        self.forgetCredentials(record.accountId)
        for other in self._store.accounts.values():
            other.forgetReader(record.accountId)
        self._store.formerAccounts[_key(address)] = account.uidValidity
        for box in account.boxes.values():
            box.deleted = True
            account.changed(box, account.nextModSeq())
        self._store.changed(account, None)
        self._store.tell()

    async def listAliases(self, domain: str | None = None) -> Sequence[AliasRecord]:
        """See L{IDirectoryAdmin}."""
        return [r for k, r in sorted(self._aliases.items()) if domain in (None, k[0])]

    async def setAlias(self, address: Address, targets: Sequence[Address]) -> AliasRecord:
        """See L{IDirectoryAdmin}."""
        self._require(address.domain)
        if _key(address) in self._accounts:
            raise AlreadyExists(f"{address} is an account")
        record = self._aliases[_key(address)] = AliasRecord(address, tuple(targets))
        return record

    async def removeAlias(self, address: Address) -> None:
        """See L{IDirectoryAdmin}."""
        if self._aliases.pop(_key(address), None) is None:
            raise NoSuchAccount(f"There is no alias {address}")


@implementer(IKeyedMemory)
class KeyedMemory:
    """See L{IKeyedMemory}."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._now = now
        self._entries: dict[str, tuple[int, int]] = {}

    def _remembered(self) -> dict[str, tuple[int, int]]:
        now = int(self._now())
        self._entries = {key: entry for key, entry in self._entries.items() if entry[1] > now}
        return self._entries

    async def recall(self, keys: Collection[str]) -> Mapping[str, int]:
        """See L{IKeyedMemory}."""
        entries = self._remembered()
        return {key: entries[key][0] for key in keys if key in entries}

    async def remember(self, entries: Sequence[tuple[str, int, int]]) -> None:
        """See L{IKeyedMemory}."""
        self._entries.update((key, (number, expires)) for key, number, expires in entries)

    async def introduce(self, entries: Sequence[tuple[str, int, int]]) -> Mapping[str, int]:
        """See L{IKeyedMemory}."""
        remembered = self._remembered()
        return {
            key: remembered.setdefault(key, (number, expires))[0]
            for key, number, expires in entries
        }

    async def add(self, entries: Sequence[tuple[str, int, int]]) -> Mapping[str, int]:
        """See L{IKeyedMemory}."""
        remembered = self._remembered()
        for key, number, expires in entries:
            before, until = remembered.get(key, (0, 0))
            remembered[key] = before + number, max(until, expires)
        return {key: remembered[key][0] for key, _, _ in entries}


@implementer(ISpoolingStore, IRememberingStore, ILoginRecordingStore, ISharingStore, IURLKeyStore)
class MemoryMailStore:
    """
    See L{IMailStore}, and the module.
    """

    def __init__(
        self,
        now: Callable[[], float] = time,
        quotaDefaults: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """
        @param now: seconds since 1970, for save dates.
        """
        self.now = now
        self.quotaDefaults = quotaDefaults
        self.accounts: dict[str, MemoryAccount] = {}
        self.formerAccounts: dict[tuple[str, str], int] = {}
        self._changed: dict[tuple[MemoryAccount, str], Box | None] = {}
        self.directory = MemoryDirectory(self)
        self.spool = MemorySpool(self)
        self.memory = KeyedMemory(now)
        self.logins = MemoryLoginHistory(self.accounts.__contains__)
        self.sharing = MemoryAccessControl(self)
        self.urlKeys = MemoryURLKeys(self)

    def openStaged(self, staged: IStagedContent, prefix: bytes) -> MemoryContent:
        """
        @return: a content that the spool holds, to be read.
        """
        data = cast(MemoryStaged, staged).data
        return MemoryContent(Message("", "", prefix, data, staged.summary))

    def changed(self, account: MemoryAccount, box: Box | None) -> None:
        """
        Note a change for L{tell}.

        @param box: C{None} if the list of mailboxes changed.
        """
        self._changed[account, box.mailboxId if box is not None else ""] = box

    def tell(self) -> None:
        """
        A call is done: tell those who watch.
        """
        changed, self._changed = self._changed, {}
        for (account, _), box in changed.items():
            account.tell(box)

    async def start(self) -> None:
        """See L{IMailStore}."""

    async def stop(self) -> None:
        """See L{IMailStore}."""

    async def openAccount(self, accountId: str) -> MemoryAccount:
        """See L{IMailStore}."""
        if accountId not in self.accounts:
            raise NoSuchAccount()
        return self.accounts[accountId]

    def newContent(self, sizeHint: int | None = None) -> MemoryWriter:
        """See L{IMailStore}."""
        return MemoryWriter()

    async def deliver(
        self,
        content: IStagedContent,
        placements: Sequence[Placement],
        internalDate: int,
        partial: bool = False,
    ) -> Sequence[Exception | None]:
        """See L{IMailStore}."""
        results: list[Exception | None] = []
        planned: list[tuple[Placement, MemoryMailbox]] = []
        for placement in placements:
            size = content.summary.size + len(placement.prefix)
            try:
                account = await self.openAccount(placement.accountId)
                own = [p for p, mailbox in planned if mailbox.account is account]
                octets = sum(content.summary.size + len(each.prefix) for each in own)
                account.checkRoom(len(own) + 1, octets + size)
                box = account.boxes.get(placement.mailbox)
                name = placement.mailbox if box is not None and box.selectable else INBOX
                mailbox = await account.openMailbox(name)
                mailbox.requireUids(len(own) + 1)
            except MailError as error:
                if not partial:
                    raise
                results.append(error)
            else:
                planned.append((placement, mailbox))
                results.append(None)
        for placement, mailbox in planned:
            mailbox.deliver(content, placement, internalDate)
        self.tell()
        return results

    async def check(self, progress: Callable[[int, int], None] | None = None) -> Sequence[Damage]:
        """See L{IMailStore}."""
        # Nothing is kept twice, so nothing can differ.
        if progress is not None:
            progress(len(self.accounts), len(self.accounts))
        return []
