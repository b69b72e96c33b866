# -*- test-case-name: tests.storage.test_sql -*-
"""
A mailbox of the SQL store: entries, flags and the change log.

Reads are short and indexed, and run where they are asked for; a long C{changesSince} runs in the
store's reader thread. L{Box} keeps what STATUS shows in step with every change, in the same
transaction.

What vanished is kept as ranges of UIDs. Those that touch become one, with the modSeq of the newest:
so there is at most one range more than there are messages, however many were ever expunged.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import count
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

from zope.interface import implementer

from twisted_mailstack.errors import (
    CannotDoThat,
    MessageExpunged,
    NoSuchMailbox,
    OverQuota,
)
from twisted_mailstack.interfaces import (
    IAnnotatedMailbox,
    IIdentifiedMailbox,
    IMailbox,
    IMovableMailbox,
    IReceivingMailbox,
    IReplacingMailbox,
    ISearchableMailbox,
    ISortingMailbox,
    IStagedContent,
)
from twisted_mailstack.model.flags import (
    DELETED,
    SEEN,
    FlagOperation,
    Flags,
    FlagScope,
    KeywordSpelling,
    flagsFromText,
    flagsToText,
)
from twisted_mailstack.model.records import (
    SMALL_MESSAGE,
    Annotation,
    AnnotationChange,
    AnnotationKey,
    AnnotationScope,
    AppendResult,
    Attribute,
    Changes,
    CopyResult,
    MailboxStatus,
    StoreResult,
)
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet
from twisted_mailstack.model.sorting import SortCriterion, ThreadRow
from twisted_mailstack.model.text import fold
from twisted_mailstack.storage.sql import annotations as noted
from twisted_mailstack.storage.sql import sorting
from twisted_mailstack.storage.sql.annotations import (
    Setting,
    addAnnotations,
    annotationOctets,
    copyAnnotations,
    forgetAnnotations,
    readerNumber,
)
from twisted_mailstack.storage.sql.content import MessageContent, StagedContent
from twisted_mailstack.storage.sql.index import candidates
from twisted_mailstack.storage.sql.schema import PIECES
from twisted_mailstack.storage.sql.thread import threadOf
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.account import SQLAccount

#: Changed entries from which on reading the change log leaves the reactor's thread.
MANY = 5000
# No other system flag ends so; keywords have no backslash.
_DELETED = " AND instr(e.flags, '\\Deleted')"
#: Entries from which on a change runs in the writer's thread.
LONG = 200

_COLUMNS = {
    Attribute.UID: "e.uid",
    Attribute.FLAGS: "e.flags",
    Attribute.MODSEQ: "e.mod_seq",
    Attribute.INTERNAL_DATE: "e.internal_date",
    Attribute.ZONE: "e.zone",
    Attribute.SAVE_DATE: "e.save_date",
    Attribute.OCTETS: "m.octets",
    Attribute.MESSAGE_ID: "'E' || m.account || '-' || m.message",
    Attribute.THREAD_ID: "'T' || m.account || '-' || m.thread",
    Attribute.ENVELOPE: "c.envelope",
    Attribute.BODY_STRUCTURE: "c.body_structure",
    Attribute.BODY: "c.body",
    Attribute.PREVIEW: "c.preview",
    Attribute.STRUCTURE: "c.structure",
    Attribute.PREFIX_SIZE: "length(m.prefix)",
    Attribute.SENT_DATE: "c.sent_date",
    Attribute.SUBJECT: "c.subject",
    Attribute.BASE_SUBJECT: "c.base_subject",
    # Cut and joined with the prefix below.
    Attribute.HEADER: (
        "CASE WHEN c.header_octets + length(m.prefix) <= {small}"
        " THEN substr(k.data, 1, c.header_octets) END"
    ),
    Attribute.CONTENT: "CASE WHEN m.octets <= {small} THEN k.data END",
}
_PREFIXED = (Attribute.HEADER, Attribute.CONTENT)


@lru_cache(maxsize=256)
def _select(attributes: tuple[Attribute, ...]) -> tuple[str, tuple[tuple[int, bool], ...]]:
    """
    @return: the statement for one range of UIDs, and the columns that aren't passed on as they are:
        their index and whether they are flags (or else need the prefix).
    """
    columns = ["e.uid"]
    special = []
    for attribute in attributes:
        if attribute is Attribute.FLAGS:
            special.append((len(columns), True))
        elif attribute in _PREFIXED:
            special.append((len(columns), False))
        columns.append(_COLUMNS[attribute].replace("{small}", str(SMALL_MESSAGE)))
    text = ", ".join(columns)
    tables = "entry e"
    if "m." in text or "c." in text:
        tables += " JOIN message m ON m.account = e.account AND m.message = e.message"
    if any(not isFlags for _, isFlags in special):
        columns.append("m.prefix")
    if "c." in text:
        tables += " JOIN content c ON c.content = m.content"
    if "k." in text:
        # An outer join: octets that are missing are None, so that reading them tells of the damage.
        tables += f" LEFT JOIN chunk k ON k.piece = m.content * {PIECES}"
    return (
        f"SELECT {', '.join(columns)} FROM {tables} WHERE e.account = ? AND e.mailbox = ?"
        " AND e.uid BETWEEN ? AND ? ORDER BY e.uid",
        tuple(special),
    )


def _finishRow(row: tuple[Any, ...], special: Sequence[tuple[int, bool]]) -> tuple[Any, ...]:
    cells = list(row)
    for index, isFlags in special:
        if isFlags:
            cells[index] = flagsFromText(cells[index])
        elif cells[index] is not None:
            cells[index] = row[-1] + cells[index]
    if any(not isFlags for _, isFlags in special):
        cells.pop()
    return tuple(cells)


class Box:
    """
    A mailbox's row inside a transaction, and the changes to it that are yet to be written.

    @ivar modSeq: the account's next modSeq, taken for this change.
    @ivar annotated: whether messages may have annotations.
    """

    def __init__(self, transaction: Transaction, account: int, which: int | str) -> None:
        """
        @param which: the mailbox, or its name.
        @raise NoSuchMailbox: if there is none.
        """
        row = transaction.execute(
            "SELECT mailbox, uid_validity, uid_next, keywords, recent_uid, annotated FROM mailbox"
            f" WHERE account = ? AND {'name' if isinstance(which, str) else 'mailbox'} = ?"
            " AND selectable",
            (account, which),
        ).fetchone()
        if row is None:
            raise NoSuchMailbox()
        self.transaction = transaction
        self.account = account
        self.mailbox, self.uidValidity, self.uidNext, keywords, self._recentUid = row[:5]
        self.annotated = bool(row[5])
        self.spelling = KeywordSpelling(keywords.split())
        self._newKeywords = False
        self.modSeq = 0
        self.messages = self.unseen = self.deleted = self.recent = self.octets = 0
        # What the account counts already.
        self._admitted = (0, 0)
        # Known with the modSeq.
        self._annotationLimit: int | None = None

    def admit(self, messages: int, octets: int) -> int:
        """
        Take what so many new messages need, at least one: room, two ids each, and the modSeq of
        this change. To be called once, before anything else of this change is written.

        @return: the first of the ids.
        @raise OverQuota: if they don't fit, and nothing was written.
        @raise CannotDoThat: if there are not so many UIDs left; likewise.
        @raise NoSuchMailbox: if the account was removed; likewise.
        """
        self.requireUids(messages)
        row = self.transaction.execute(
            "UPDATE account SET mod_seq = mod_seq + 1, next_id = next_id + ?,"
            " messages = messages + ?, octets = octets + ? WHERE account = ?"
            " AND (octet_limit IS NULL OR octets + ? <= octet_limit)"
            " AND (message_limit IS NULL OR messages + ? <= message_limit)"
            " RETURNING mod_seq, next_id, annotation_limit",
            (2 * messages, messages, octets, self.account, octets, messages),
        ).fetchone()
        if row is None:
            requireAccount(self.transaction, self.account)
            raise OverQuota()
        self.modSeq, nextId, self._annotationLimit = row
        self._admitted = (messages, octets)
        return cast(int, nextId) - 2 * messages

    def takeModSeq(self) -> int:
        """
        @return: the modSeq of this change.
        """
        if not self.modSeq:
            self.modSeq, self._annotationLimit = _nextModSeq(self.transaction, self.account)
        return self.modSeq

    @contextmanager
    def annotating(self, annotates: bool = True) -> Iterator[None]:
        """
        What is written within may add annotations to the account's. It has its modSeq.

        @param annotates: whether it does so at all.
        @raise OverQuota: if there is now more than there may be, and than there was.
        """
        limit = self._annotationLimit
        if limit is None or not annotates:
            yield
            return
        before = annotationOctets(self.transaction, self.account)
        yield
        if annotationOctets(self.transaction, self.account) > max(before, limit):
            raise OverQuota("The account's annotations are over its quota")

    def spell(self, flags: Flags) -> Flags:
        """
        @return: the flags in this mailbox's spelling, new keywords noted.
        """
        flags, new = self.spelling.apply(flags)
        if new:
            self._newKeywords = True
        return flags

    def _count(self, uid: int, flags: Flags, octets: int, by: int) -> None:
        self.messages += by
        self.recent += by * (uid >= self._recentUid)
        self.octets += by * octets
        if SEEN not in flags:
            self.unseen += by
        if DELETED in flags:
            self.deleted += by

    def changedFlags(self, old: Flags, new: Flags) -> None:
        """Count a change of flags."""
        self.unseen += (SEEN in old) - (SEEN in new)
        self.deleted += (DELETED in new) - (DELETED in old)

    def requireUids(self, messages: int) -> None:
        """
        @raise CannotDoThat: if there are not so many left.
        """
        # UIDNEXT has 32 bits as well (RFC 9051 §9).
        if self.uidNext + messages > MAX_NUMBER:
            raise CannotDoThat("The mailbox has no UIDs left: use another", imapCode="LIMIT")

    def insert(
        self, message: int, flags: Flags, octets: int, date: int, zone: int, now: int
    ) -> int:
        """
        Add an entry.

        @return: its UID.
        """
        uid: int = self.uidNext
        self.uidNext += 1
        self.transaction.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.account, self.mailbox, uid, message, flagsToText(flags)),
                *(self.takeModSeq(), date, zone, now),
            ),
        )
        self._count(uid, flags, octets, 1)
        return uid

    def remove(self, rows: Sequence[tuple[int, int, str, int]]) -> None:
        """
        Remove entries: C{(uid, message, flags, octets)}. The messages' copies are counted down by
        the caller.
        """
        for first, last in NumberSet.of([row[0] for row in rows]).ranges:
            self._vanish(first, last)
        self.transaction.executemany(
            "DELETE FROM entry WHERE account = ? AND mailbox = ? AND uid = ?",
            [(self.account, self.mailbox, row[0]) for row in rows],
        )
        if self.annotated:
            forgetAnnotations(
                self.transaction, (self.account, self.mailbox), [row[0] for row in rows]
            )
        for uid, _, flags, octets in rows:
            self._count(uid, flagsFromText(flags), octets, -1)

    def _vanish(self, first: int, last: int) -> None:
        execute = self.transaction.execute
        key = (self.account, self.mailbox)
        before = execute(
            "SELECT first, last FROM vanished WHERE account = ? AND mailbox = ? AND first < ?"
            " ORDER BY first DESC LIMIT 1",
            (*key, first),
        ).fetchone()
        if before is not None and before[1] == first - 1:
            first = before[0]
        behind = execute(
            "DELETE FROM vanished WHERE account = ? AND mailbox = ? AND first = ? RETURNING last",
            (*key, last + 1),
        ).fetchone()
        if behind is not None:
            last = behind[0]
        execute(
            "INSERT OR REPLACE INTO vanished VALUES (?, ?, ?, ?, ?)",
            (*key, first, last, self.takeModSeq()),
        )

    def write(self) -> None:
        """
        Write the row, if anything changed.
        """
        if not self.modSeq:
            return
        if self._newKeywords:
            self.transaction.execute(
                "UPDATE mailbox SET keywords = ? WHERE account = ? AND mailbox = ?",
                (" ".join(self.spelling.keywords()), self.account, self.mailbox),
            )
        self.transaction.execute(
            "UPDATE mailbox SET uid_next = ?, mod_seq = ?, messages = messages + ?,"
            " unseen = unseen + ?, deleted = deleted + ?, recent = recent + ?,"
            " octets = octets + ? WHERE account = ? AND mailbox = ?",
            (
                *(self.uidNext, self.modSeq, self.messages, self.unseen, self.deleted),
                *(self.recent, self.octets, self.account, self.mailbox),
            ),
        )
        if (self.messages, self.octets) != self._admitted:
            messages, octets = self._admitted
            self.transaction.execute(
                "UPDATE account SET messages = messages + ?, octets = octets + ? WHERE account = ?",
                (self.messages - messages, self.octets - octets, self.account),
            )
        self.transaction.changed.add((self.account, self.mailbox))


def nextModSeq(transaction: Transaction, account: int) -> int:
    """
    @return: the account's next modSeq, which is now taken.
    """
    return _nextModSeq(transaction, account)[0]


def _nextModSeq(transaction: Transaction, account: int) -> tuple[int, int | None]:
    """
    @return: the modSeq, and the limit of annotations.
    """
    row = transaction.execute(
        "UPDATE account SET mod_seq = mod_seq + 1 WHERE account = ?"
        " RETURNING mod_seq, annotation_limit",
        (account,),
    ).fetchone()
    if row is None:
        raise NoSuchMailbox("The account was removed")
    return cast("tuple[int, int | None]", row)


def takeIds(transaction: Transaction, account: int, count: int = 1) -> int:
    """
    @return: the first of so many ids of this account that were never used.
    """
    row = transaction.execute(
        "UPDATE account SET next_id = next_id + ? WHERE account = ? RETURNING next_id",
        (count, account),
    ).fetchone()
    if row is None:
        raise NoSuchMailbox("The account was removed")
    return cast(int, row[0]) - count


def requireAccount(transaction: Transaction, account: int) -> None:
    """
    @raise NoSuchMailbox: if the account was removed.
    """
    if not transaction.execute("SELECT 1 FROM account WHERE account = ?", (account,)).fetchone():
        raise NoSuchMailbox("The account was removed")


def checkQuota(transaction: Transaction, account: int, messages: int, octets: int) -> None:
    """
    @raise OverQuota: if so much more doesn't fit. Nothing always fits.
    @raise NoSuchMailbox: if the account was removed.
    """
    row = transaction.execute(
        "SELECT octets, octet_limit, messages, message_limit FROM account WHERE account = ?",
        (account,),
    ).fetchone()
    if row is None:
        raise NoSuchMailbox("The account was removed")
    if not messages:
        return
    used, octetLimit, count, messageLimit = row
    if octetLimit is not None and used + octets > octetLimit:
        raise OverQuota()
    if messageLimit is not None and count + messages > messageLimit:
        raise OverQuota()


def checkGrowth(transaction: Transaction, account: int, octets: int) -> None:
    """
    @raise OverQuota: if a message can't be so much larger than the one that it replaces.
    """
    if transaction.execute(
        "SELECT 1 FROM account WHERE account = ? AND octets + ? > octet_limit", (account, octets)
    ).fetchone():
        raise OverQuota()


def dropCopies(transaction: Transaction, account: int, messages: Iterable[int]) -> None:
    """
    Count down the copies of messages, once for each time that one is named; a message without a
    copy goes, and a content without a message is left to the reaper.
    """
    for message in messages:
        row = transaction.execute(
            "UPDATE message SET copies = copies - 1 WHERE account = ? AND message = ?"
            " RETURNING copies, content",
            (account, message),
        ).fetchone()
        if row is not None and row[0] <= 0:
            transaction.execute(
                "DELETE FROM message WHERE account = ? AND message = ?", (account, message)
            )
            transaction.execute(
                "UPDATE content SET copies = copies - 1 WHERE content = ?", (row[1],)
            )
            transaction.unplaced = True


@implementer(
    IAnnotatedMailbox,
    IIdentifiedMailbox,
    IMovableMailbox,
    IReplacingMailbox,
    ISearchableMailbox,
    ISortingMailbox,
)
class SQLMailbox:
    """
    See L{IMailbox}.
    """

    def __init__(self, account: SQLAccount, mailbox: int) -> None:
        self.account = account
        self._store = account.store
        self._account = account.number
        self._mailbox = mailbox
        self.mailboxId = f"M{account.number}-{mailbox}"
        self.identity = account.store, account.number, mailbox

    # --- reading -------------------------------------------------------------------------------

    async def status(self) -> MailboxStatus:
        """See L{IMailbox}."""
        row = self._store.reader.execute(
            "SELECT uid_validity, uid_next, mod_seq, messages, unseen, deleted, recent, octets,"
            " keywords FROM mailbox WHERE account = ? AND mailbox = ? AND selectable",
            (self._account, self._mailbox),
        ).fetchone()
        if row is None:
            raise NoSuchMailbox()
        uidValidity, uidNext, modSeq, messages, unseen, deleted, recent = row[:7]
        return MailboxStatus(
            *(uidValidity, uidNext, modSeq, messages, unseen, deleted, recent),
            *(row[7], tuple(row[8].split())),
        )

    def requireMailbox(self, connection: Any) -> None:
        """
        @raise NoSuchMailbox: if it isn't there any more.
        """
        if not connection.execute(
            "SELECT 1 FROM mailbox WHERE account = ? AND mailbox = ? AND selectable",
            (self._account, self._mailbox),
        ).fetchone():
            raise NoSuchMailbox()

    async def changesSince(self, modSeq: int) -> Changes:
        """See L{IMailbox}."""
        # Whether there are that many is seen by walking as many keys of the index, not by counting.
        many = self._store.reader.execute(
            "SELECT 1 FROM entry WHERE account = ? AND mailbox = ? AND mod_seq > ?"
            " ORDER BY mod_seq LIMIT 1 OFFSET ?",
            (self._account, self._mailbox, modSeq, MANY),
        ).fetchone()
        if many is not None:
            changes: Changes = await self._store.readInThread(
                lambda connection: self._changesSince(connection, modSeq)
            )
            return changes
        return self._changesSince(self._store.reader, modSeq)

    def _changesSince(self, connection: Any, modSeq: int) -> Changes:
        key = (self._account, self._mailbox)
        connection.execute("BEGIN")
        try:
            row = connection.execute(
                "SELECT mod_seq, uid_next, keywords FROM mailbox"
                " WHERE account = ? AND mailbox = ? AND selectable",
                key,
            ).fetchone()
            if row is None:
                raise NoSuchMailbox()
            uids, flags, modSeqs = array("I"), list[Flags](), array("Q")
            gone: list[tuple[int, int]] = []
            if row[0] > modSeq:
                # Without the unary plus, SQLite would walk the table to have the order for free.
                entries = connection.execute(
                    "SELECT uid, flags, mod_seq FROM entry WHERE account = ? AND mailbox = ?"
                    + (" AND mod_seq > ? ORDER BY +uid" if modSeq else " ORDER BY uid"),
                    (*key, modSeq) if modSeq else key,
                )
                # A million rows at once would be 150 MB, and a second of collecting garbage.
                while some := entries.fetchmany(MANY):
                    columns = list(zip(*some, strict=True))
                    uids.extend(columns[0])
                    flags.extend(map(flagsFromText, columns[1]))
                    modSeqs.extend(columns[2])
                if modSeq:
                    gone = connection.execute(
                        "SELECT first, last FROM vanished WHERE account = ? AND mailbox = ?"
                        " AND mod_seq > ?",
                        (*key, modSeq),
                    ).fetchall()
        finally:
            connection.execute("COMMIT")
        return Changes(
            uids,
            flags,
            modSeqs,
            NumberSet(gone),
            row[0],
            row[1],
            tuple(row[2].split()),
        )

    async def fetch(
        self, uids: NumberSet, attributes: Sequence[Attribute]
    ) -> Sequence[tuple[Any, ...]]:
        """See L{IMailbox}."""
        statement, special = _select(tuple(attributes))
        connection = self._store.reader
        ranges = uids.ranges
        rows: list[tuple[Any, ...]] = []
        # One statement for each range: joined by OR, SQLite would walk the whole mailbox for them.
        # All of them see one instant.
        several = len(ranges) > 1
        if several:
            connection.execute("BEGIN")
        try:
            for first, last in ranges:
                rows += connection.execute(
                    statement, (self._account, self._mailbox, first, last)
                ).fetchall()
            if not rows:
                self.requireMailbox(connection)
        finally:
            if several:
                connection.execute("COMMIT")
        if special:
            return [_finishRow(row, special) for row in rows]
        return rows

    async def openMessage(self, uid: int) -> MessageContent:
        """See L{IMailbox}."""
        connection = self._store.reader
        row = connection.execute(
            "SELECT m.content, m.prefix, m.octets, c.structure FROM entry e"
            " JOIN message m ON m.account = e.account AND m.message = e.message"
            " JOIN content c ON c.content = m.content"
            " WHERE e.account = ? AND e.mailbox = ? AND e.uid = ?",
            (self._account, self._mailbox, uid),
        ).fetchone()
        if row is None:
            self.requireMailbox(connection)
            raise MessageExpunged()
        return MessageContent(connection, row)

    async def candidates(
        self, texts: Sequence[str], inHeader: bool = True, inBody: bool = True
    ) -> NumberSet | None:
        """See L{ISearchableMailbox}."""
        self.requireMailbox(self._store.reader)
        folded = [fold(text) for text in texts]
        result = await self._store.readIndex(
            self._account,
            lambda index, connection: candidates(
                index, connection, self._mailbox, folded, inHeader, inBody
            ),
        )
        return None if result is None else NumberSet.of(result)

    async def sortMessages(
        self, uids: NumberSet, criteria: Sequence[SortCriterion]
    ) -> Sequence[int]:
        """See L{ISortingMailbox}."""
        key = (self._account, self._mailbox)
        found: list[int] = await self._sorting(
            uids,
            partial(sorting.sortedUids, key=key, uids=uids, criteria=criteria),
        )
        return found

    async def threadRows(self, uids: NumberSet) -> Sequence[ThreadRow]:
        """See L{ISortingMailbox}."""
        key = (self._account, self._mailbox)
        found: list[ThreadRow] = await self._sorting(
            uids, partial(sorting.threadRows, key=key, uids=uids)
        )
        return found

    async def _sorting(self, uids: NumberSet, read: Callable[..., Any]) -> Any:
        if not uids:
            self.requireMailbox(self._store.reader)
            return []
        for known in (True, False):
            if len(uids) <= sorting.FEW:
                found = read(self._store.reader, known=known)
            else:
                found = await self._store.readInThread(partial(read, known=known))
            if found is not None:
                break
            # The second time there are no rows for contents that aren't there, or are damaged.
            await self._fillSorting()
        if not found:
            self.requireMailbox(self._store.reader)
        return found

    async def _fillSorting(self) -> None:
        # An older release stored them.
        store = self._store
        missing = await store.readInThread(
            lambda connection: sorting.missingContents(connection, (self._account, self._mailbox))
        )
        for start in range(0, len(missing), sorting.SLICE):
            some = missing[start : start + sorting.SLICE]
            found = await store.readInThread(partial(sorting.findValues, contents=some))

            def change(transaction: Transaction, found: Any = found) -> None:
                for content, values in found:
                    # It may have gone meanwhile.
                    if transaction.execute(
                        "SELECT 1 FROM content WHERE content = ?", (content,)
                    ).fetchone():
                        sorting.storeValues(transaction, content, values)

            await store.writer.submit(change, long=True)

    # --- changing ------------------------------------------------------------------------------

    async def _change(self, change: Callable[[Transaction], Any], size: int) -> Any:
        return await self._store.writer.submit(change, long=size > LONG)

    async def claimRecent(self) -> tuple[int, int]:
        """See L{IMailbox}."""
        key = (self._account, self._mailbox)
        statement = (
            "SELECT recent_uid, uid_next - 1 FROM mailbox"
            " WHERE account = ? AND mailbox = ? AND selectable"
        )

        def change(transaction: Transaction) -> tuple[int, int]:
            row = transaction.execute(statement, key).fetchone()
            if row is None:
                raise NoSuchMailbox()
            transaction.execute(
                "UPDATE mailbox SET recent_uid = uid_next, recent = 0"
                " WHERE account = ? AND mailbox = ?",
                key,
            )
            return cast("tuple[int, int]", row)

        row = self._store.reader.execute(statement, key).fetchone()
        if row is None:
            raise NoSuchMailbox()
        # Nothing to claim: no write.
        if row[0] > row[1]:
            return cast("tuple[int, int]", row)
        return cast("tuple[int, int]", await self._change(change, 0))

    def _rows(
        self, transaction: Transaction, uids: NumberSet | None, columns: str, wanted: str = ""
    ) -> list[tuple[Any, ...]]:
        # Entries by UID with columns of entry (e) and message (m); of those for which a condition
        # holds.
        statement = (
            f"SELECT e.uid, {columns} FROM entry e"
            " JOIN message m ON m.account = e.account AND m.message = e.message"
            f" WHERE e.account = ? AND e.mailbox = ?{wanted}"
        )
        key = (self._account, self._mailbox)
        if uids is None:
            return transaction.execute(statement + " ORDER BY e.uid", key).fetchall()
        rows: list[tuple[Any, ...]] = []
        for first, last in uids.ranges:
            rows += transaction.execute(
                statement + " AND e.uid BETWEEN ? AND ? ORDER BY e.uid", (*key, first, last)
            ).fetchall()
        return rows

    async def storeFlags(
        self,
        uids: NumberSet,
        operation: FlagOperation,
        flags: Flags,
        unchangedSince: int | None = None,
        scope: FlagScope | None = None,
    ) -> StoreResult:
        """See L{IMailbox}."""

        def change(transaction: Transaction) -> StoreResult:
            box = Box(transaction, self._account, self._mailbox)
            rows = []
            for first, last in uids.ranges:
                rows += transaction.execute(
                    "SELECT uid, flags, mod_seq FROM entry WHERE account = ? AND mailbox = ?"
                    " AND uid BETWEEN ? AND ? ORDER BY uid",
                    (self._account, self._mailbox, first, last),
                ).fetchall()
            # Removing a keyword that the mailbox has never seen must not make it known.
            if operation is FlagOperation.REMOVE:
                given, _ = KeywordSpelling(box.spelling.keywords()).apply(flags)
            elif rows:
                given = box.spell(flags)
            else:
                given = flags
            changed: list[tuple[int, Flags, int]] = []
            unchanged: list[tuple[int, Flags, int]] = []
            modified: list[int] = []
            updates = []
            results: dict[str, tuple[Flags, Flags, str]] = {}
            for uid, text, modSeq in rows:
                if unchangedSince is not None and modSeq > unchangedSince:
                    modified.append(uid)
                    continue
                known = results.get(text)
                if known is None:
                    old = flagsFromText(text)
                    new = operation.apply(old, given)
                    if scope is not None:
                        new = scope.merge(old, new)
                    known = results[text] = (old, new, flagsToText(new))
                old, new, newText = known
                if old == new:
                    unchanged.append((uid, old, modSeq))
                    continue
                now = box.takeModSeq()
                updates.append((newText, now, self._account, self._mailbox, uid))
                box.changedFlags(old, new)
                changed.append((uid, new, now))
            transaction.executemany(
                "UPDATE entry SET flags = ?, mod_seq = ?"
                " WHERE account = ? AND mailbox = ? AND uid = ?",
                updates,
            )
            box.write()
            return StoreResult(changed, unchanged, modified)

        return cast(StoreResult, await self._change(change, _size(uids)))

    # --- annotations ---------------------------------------------------------------------------

    async def annotations(
        self, uids: NumberSet, entries: Collection[str] | None = None, reader: str | None = None
    ) -> Sequence[Annotation]:
        """See L{IAnnotatedMailbox}."""
        connection, place = self._store.reader, (self._account, self._mailbox)
        connection.execute("BEGIN")
        try:
            self.requireMailbox(connection)
            return noted.readAnnotations(
                connection, place, uids, entries, readerNumber(self._account, reader)
            )
        finally:
            connection.execute("COMMIT")

    async def annotatedMessages(self, uids: NumberSet, reader: str | None = None) -> Sequence[int]:
        """See L{IAnnotatedMailbox}."""
        connection = self._store.reader
        self.requireMailbox(connection)
        read = partial(
            noted.annotatedMessages,
            place=(self._account, self._mailbox),
            uids=uids,
            whose=readerNumber(self._account, reader),
        )
        if len(uids) <= MANY:
            return read(connection)
        found: Sequence[int] = await self._store.readInThread(read)
        return found

    async def annotationChangesSince(
        self, modSeq: int, reader: str | None = None
    ) -> Sequence[AnnotationChange]:
        """See L{IAnnotatedMailbox}."""
        connection = self._store.reader
        self.requireMailbox(connection)
        read = partial(
            noted.changesSince,
            place=(self._account, self._mailbox),
            modSeq=modSeq,
            whose=readerNumber(self._account, reader),
        )
        # As of L{changesSince}.
        if not noted.hasMoreChanges(connection, (self._account, self._mailbox), modSeq, MANY):
            return read(connection)
        changes: Sequence[AnnotationChange] = await self._store.readInThread(read)
        return changes

    async def storeAnnotations(
        self,
        uids: NumberSet,
        values: Mapping[AnnotationKey, bytes | None],
        limit: int,
        unchangedSince: int | None = None,
        reader: str | None = None,
    ) -> StoreResult:
        """See L{IAnnotatedMailbox}."""

        def change(transaction: Transaction) -> StoreResult:
            box = Box(transaction, self._account, self._mailbox)
            place = (self._account, self._mailbox)
            setting = Setting(transaction, place, values, readerNumber(self._account, reader))
            setting.compare(uids, limit, unchangedSince)
            if not setting.result.changed:
                return setting.result
            modSeq = box.takeModSeq()
            with box.annotating():
                result = setting.write(modSeq)
            box.write()
            return result

        return cast(StoreResult, await self._change(change, _size(uids)))

    async def expunge(self, uids: NumberSet | None, onlyDeleted: bool = True) -> Sequence[int]:
        """See L{IMailbox}."""

        wanted = _DELETED if onlyDeleted else ""

        def change(transaction: Transaction) -> list[int]:
            return self.expungeWithin(transaction, uids, wanted)

        if uids is not None:
            return cast("list[int]", await self._change(change, _size(uids)))
        status = await self.status()
        if onlyDeleted and not status.deleted:
            # As with nearly every CLOSE: nobody has to look through the mailbox for it.
            return []
        return cast("list[int]", await self._change(change, status.messages))

    def expungeWithin(
        self, transaction: Transaction, uids: NumberSet | None, wanted: str = ""
    ) -> list[int]:
        """
        Remove entries, as part of a change.

        @param wanted: a condition for them.
        @return: the UIDs that are gone.
        """
        box = Box(transaction, self._account, self._mailbox)
        rows = self._rows(transaction, uids, "e.message, e.flags, m.octets", wanted)
        if rows:
            box.remove(cast("list[tuple[int, int, str, int]]", rows))
            dropCopies(transaction, self._account, [row[1] for row in rows])
        box.write()
        return [row[0] for row in rows]

    async def append(
        self,
        messages: Sequence[tuple[IStagedContent, Flags, int, int]],
        annotations: Sequence[Mapping[AnnotationKey, bytes]] = (),
        reader: str | None = None,
    ) -> AppendResult:
        """See L{IAnnotatedMailbox}."""
        now = int(self._store.now())

        def change(transaction: Transaction) -> AppendResult:
            box = Box(transaction, self._account, self._mailbox)
            uids: list[int] = []
            if not messages:
                return AppendResult(box.uidValidity, uids)
            octets = sum(each[0].summary.size for each in messages)
            ids = count(box.admit(len(messages), octets), 2)
            for message, (content, flags, date, zone) in zip(ids, messages, strict=False):
                staged = cast(StagedContent, content)
                placed = staged.place(transaction, 1)
                storeMessage(transaction, self._account, message, staged, placed, b"")
                uids.append(
                    box.insert(message, box.spell(flags), staged.summary.size, date, zone, now)
                )
            if annotations:
                with box.annotating():
                    self._annotate(transaction, box, uids, annotations, reader)
            box.write()
            return AppendResult(box.uidValidity, uids)

        return cast(AppendResult, await self._change(change, len(messages)))

    def _annotate(
        self,
        transaction: Transaction,
        box: Box,
        uids: Sequence[int],
        annotations: Sequence[Mapping[AnnotationKey, bytes]],
        reader: str | None,
    ) -> None:
        # New messages.
        addAnnotations(
            *(transaction, (box.account, box.mailbox), zip(uids, annotations, strict=True)),
            *(readerNumber(self._account, reader), box.takeModSeq()),
        )

    async def copyMessages(
        self,
        uids: NumberSet,
        destination: IMailbox,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> CopyResult:
        """See L{IAnnotatedMailbox}."""
        return await self._copy(uids, destination, False, scope, along)

    async def moveMessages(
        self,
        uids: NumberSet,
        destination: IMailbox,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> CopyResult:
        """See L{IAnnotatedMailbox}."""
        return await self._copy(uids, destination, True, scope, along)

    async def _copy(
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
        if not isinstance(destination, SQLMailbox) or destination._store is not self._store:
            raise CannotDoThat("The mailboxes are not in the same store")
        target: SQLMailbox = destination
        now = int(self._store.now())

        def change(transaction: Transaction) -> CopyResult:
            return self.copyWithin(transaction, uids, target, move, now, scope, along)

        return cast(CopyResult, await self._change(change, _size(uids)))

    def copyWithin(
        self,
        transaction: Transaction,
        uids: NumberSet,
        target: SQLMailbox,
        move: bool,
        now: int,
        scope: FlagScope | None,
        along: AnnotationScope,
    ) -> CopyResult:
        """
        Copy or move entries to a mailbox of this store, as part of a change.

        @param now: the save date.
        """
        same = target._mailbox == self._mailbox and target._account == self._account
        source = Box(transaction, self._account, self._mailbox)
        box = source if same else Box(transaction, target._account, target._mailbox)
        rows = self._rows(
            transaction,
            uids,
            "e.message, e.flags, m.octets, e.internal_date, e.zone, m.content, m.prefix",
        )
        if not move or target._account != self._account:
            checkQuota(transaction, target._account, len(rows), sum(row[3] for row in rows))
        box.requireUids(len(rows))
        made: list[int] = []
        if rows:
            box.takeModSeq()
            if move and target._account == self._account:
                source.modSeq = box.modSeq
        spelled: dict[str, Flags] = {}
        for _, message, text, octets, date, zone, content, prefix in rows:
            flags = spelled.get(text)
            if flags is None:
                flags = flagsFromText(text)
                if scope is not None:
                    flags = scope.within(flags)
                flags = spelled[text] = box.spell(flags)
            if target._account == self._account:
                transaction.execute(
                    "UPDATE message SET copies = copies + 1 WHERE account = ? AND message = ?",
                    (self._account, message),
                )
            else:
                size = octets - len(prefix)
                message = shareMessage(transaction, target._account, content, prefix, size)
            made.append(box.insert(message, flags, octets, date, zone, now))
        annotates = source.annotated and bool(rows)
        with box.annotating(annotates):
            if annotates:
                copyAnnotations(
                    *(transaction, (self._account, self._mailbox), (box.account, box.mailbox)),
                    *([(row[0], new) for row, new in zip(rows, made, strict=True)], along),
                    box.modSeq,
                )
            if move and rows:
                source.remove([(row[0], row[1], row[2], row[3]) for row in rows])
        if move and rows:
            dropCopies(transaction, self._account, [row[1] for row in rows])
        box.write()
        if move and not same:
            source.write()
        return CopyResult(box.uidValidity, [row[0] for row in rows], made)

    async def replaceMessage(
        self,
        uid: int,
        destination: IMailbox,
        message: tuple[IStagedContent, Flags, int, int],
        annotations: Sequence[Mapping[AnnotationKey, bytes]] = (),
        reader: str | None = None,
    ) -> AppendResult:
        """See L{IReplacingMailbox}."""
        if not isinstance(destination, SQLMailbox) or destination._store is not self._store:
            raise CannotDoThat("The mailboxes are not in the same store")
        target: SQLMailbox = destination
        same = target._mailbox == self._mailbox and target._account == self._account
        within = target._account == self._account
        content, flags, date, zone = message
        staged = cast(StagedContent, content)
        size = staged.summary.size
        now = int(self._store.now())

        def change(transaction: Transaction) -> AppendResult:
            source = Box(transaction, self._account, self._mailbox)
            box = source if same else Box(transaction, target._account, target._mailbox)
            old = self._rows(transaction, NumberSet.of([uid]), "e.message, e.flags, m.octets")
            if not old:
                raise MessageExpunged()
            if not within:
                checkQuota(transaction, target._account, 1, size)
            elif size > old[0][3]:
                checkGrowth(transaction, target._account, size - old[0][3])
            box.requireUids(1)
            box.takeModSeq()
            if within:
                source.modSeq = box.modSeq
            number = takeIds(transaction, target._account, 2)
            placed = staged.place(transaction, 1)
            storeMessage(transaction, target._account, number, staged, placed, b"")
            made = box.insert(number, box.spell(flags), size, date, zone, now)
            with box.annotating(bool(annotations)):
                if annotations:
                    self._annotate(transaction, box, [made], annotations, reader)
                source.remove([(old[0][0], old[0][1], old[0][2], old[0][3])])
            dropCopies(transaction, self._account, [old[0][1]])
            box.write()
            if not same:
                source.write()
            return AppendResult(box.uidValidity, [made])

        return cast(AppendResult, await self._change(change, 1))

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See L{IMailbox}."""
        return self._store.watchers.add((self._account, self._mailbox), changed)


def storeMessage(
    transaction: Transaction,
    account: int,
    message: int,
    staged: StagedContent,
    content: int,
    prefix: bytes,
) -> None:
    """
    Make a message of an account, with one copy yet to be entered.

    @param message: its id. The next one is its thread's, if that begins with it.
    @param content: where the content is placed, with this message counted.
    """
    summary = staged.summary
    thread = threadOf(
        transaction,
        account,
        [*summary.references, *summary.inReplyTo, summary.messageId],
        message + 1,
    )
    insertMessage(transaction, account, message, content, prefix, summary.size, thread)


def insertMessage(
    transaction: Transaction,
    account: int,
    message: int,
    content: int,
    prefix: bytes,
    octets: int,
    thread: int,
) -> None:
    """
    Write a message's row, with one copy yet to be entered. The content counts it already.

    @param octets: of the content.
    """
    transaction.execute(
        "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, 1, NULL)",
        (account, message, content, prefix, crc32(prefix), octets + len(prefix), thread),
    )


def shareMessage(
    transaction: Transaction, account: int, content: int, prefix: bytes, octets: int
) -> int:
    """
    Make a message of an account from content that another account has.

    @param octets: of the content.
    """
    transaction.execute("UPDATE content SET copies = copies + 1 WHERE content = ?", (content,))
    message = takeIds(transaction, account, 2)
    insertMessage(transaction, account, message, content, prefix, octets, message + 1)
    return message


def _size(uids: NumberSet) -> int:
    # How much work it may be; UIDs in no range of use cost nothing, so this errs on the safe side.
    return len(uids)
