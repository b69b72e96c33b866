# -*- test-case-name: tests.storage.test_sql -*-
"""
An account of the SQL store: its list of mailboxes.
"""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from zope.interface import implementer

from twisted_mailstack.errors import (
    AlreadyExists,
    CannotDoThat,
    HasChildren,
    MailboxNotSelectable,
    MaildropLocked,
    NoSuchAccount,
    NoSuchMailbox,
    OverQuota,
)
from twisted_mailstack.interfaces import (
    IAnnotatedAccount,
    IContentWriter,
    ILimitedAccount,
    ILoginRecordingAccount,
    IMailbox,
    IMaildropAccount,
    IMetadataAccount,
    ISearchableAccount,
    ISpecialUseAccount,
    ISurveyableAccount,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.mailboxname import DELIMITER, INBOX, normaliseName, parents
from twisted_mailstack.model.records import (
    DEFAULT_MAILBOXES,
    LoginRecord,
    MailboxInfo,
    MailboxStatus,
    MaildropSettings,
    MetadataChange,
    Quota,
)
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.text import fold
from twisted_mailstack.storage.sql import maildrop
from twisted_mailstack.storage.sql.annotations import annotationOctets, copyAnnotations
from twisted_mailstack.storage.sql.index import accountCandidates
from twisted_mailstack.storage.sql.mailbox import (
    Box,
    SQLMailbox,
    dropCopies,
    nextModSeq,
    takeIds,
)
from twisted_mailstack.storage.sql.metadata import Metadata
from twisted_mailstack.storage.sql.sharing import dropAccess, inheritAccess
from twisted_mailstack.storage.sql.urlkeys import forgetURLKey
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.store import SQLMailStore

T = TypeVar("T")

#: Mailboxes of one account. Bounds what a client can make the server list.
MAX_MAILBOXES = 20_000


def newMailbox(
    transaction: Transaction, account: int, name: str, specialUse: str | None = None
) -> MailboxInfo:
    """
    Make a selectable mailbox; the caller has checked that there is none.
    """
    mailbox = takeIds(transaction, account)
    modSeq = nextModSeq(transaction, account)
    uidValidity = nextUidValidity(transaction, account)
    transaction.execute(
        "INSERT INTO mailbox (account, mailbox, name, selectable, special_use, uid_validity,"
        " mod_seq) VALUES (?, ?, ?, 1, ?, ?, ?)",
        (account, mailbox, name, specialUse, uidValidity, modSeq),
    )
    inheritAccess(transaction, account, mailbox, name)
    transaction.changed.add((account, 0))
    return MailboxInfo(name, f"M{account}-{mailbox}", True, False, specialUse)


def nextUidValidity(transaction: Transaction, account: int) -> int:
    """
    @return: a uidValidity that is higher than any this account ever had.
    """
    (uidValidity,) = transaction.execute(
        "UPDATE account SET uid_validity = uid_validity + 1 WHERE account = ?"
        " RETURNING uid_validity",
        (account,),
    ).fetchone()
    return cast(int, uidValidity)


def newPlaceholder(transaction: Transaction, account: int, name: str) -> None:
    """
    Make a name that only holds children.
    """
    transaction.execute(
        "INSERT INTO mailbox (account, mailbox, name, selectable, uid_validity)"
        " VALUES (?, ?, ?, 0, 0)",
        (account, takeIds(transaction, account), name),
    )


def newAccountMailboxes(transaction: Transaction, account: int) -> None:
    """
    INBOX and the mailboxes that each account is made with, subscribed.
    """
    for name, specialUse in ((INBOX, None), *DEFAULT_MAILBOXES):
        newMailbox(transaction, account, name, specialUse)
        transaction.execute("INSERT OR IGNORE INTO subscription VALUES (?, ?)", (account, name))


@implementer(
    IAnnotatedAccount,
    ILimitedAccount,
    ILoginRecordingAccount,
    IMaildropAccount,
    IMetadataAccount,
    ISearchableAccount,
    ISpecialUseAccount,
    ISurveyableAccount,
)
class SQLAccount:
    """
    See L{IAccount}.
    """

    def __init__(self, store: SQLMailStore, number: int, address: Address) -> None:
        self.store = store
        self.number = number
        self.accountId = f"A{number}"
        self.address = address
        self._metadata = Metadata(number)

    def _require(self, connection: Any) -> None:
        if not connection.execute(
            "SELECT 1 FROM account WHERE account = ?", (self.number,)
        ).fetchone():
            raise NoSuchAccount()

    async def _change(self, change: Callable[[Transaction], T], long: bool = False) -> T:
        def guarded(transaction: Transaction) -> T:
            self._require(transaction)
            return change(transaction)

        return await self.store.writer.submit(guarded, long)

    async def listMailboxes(self) -> Sequence[MailboxInfo]:
        """See L{IAccount}."""
        read = self.store.reader.execute
        # Both tables at one instant.
        read("BEGIN")
        try:
            rows = read(
                "SELECT name, mailbox, selectable, special_use FROM mailbox WHERE account = ?",
                (self.number,),
            ).fetchall()
            subscribed = {
                row[0]
                for row in read(
                    "SELECT name FROM subscription WHERE account = ?", (self.number,)
                ).fetchall()
            }
        finally:
            read("COMMIT")
        if not rows:
            raise NoSuchAccount()
        infos = [
            MailboxInfo(
                name,
                f"M{self.number}-{mailbox}",
                bool(selectable),
                name in subscribed,
                specialUse,
            )
            for name, mailbox, selectable, specialUse in rows
        ]
        gone = subscribed.difference(info.name for info in infos)
        infos += [MailboxInfo(name, "", False, True) for name in gone]
        # By name, which no two share: without a key, which would be asked for ten thousand times.
        infos.sort()
        inbox = bisect_left(infos, (INBOX,))
        infos.insert(0, infos.pop(inbox))
        return infos

    def _find(self, connection: Any, name: str) -> tuple[int, bool] | None:
        row = connection.execute(
            "SELECT mailbox, selectable FROM mailbox WHERE account = ? AND name = ?",
            (self.number, name),
        ).fetchone()
        return None if row is None else (row[0], bool(row[1]))

    async def openMailbox(self, name: str) -> SQLMailbox:
        """See L{IAccount}."""
        found = self._find(self.store.reader, name)
        if found is None:
            self._require(self.store.reader)
            raise NoSuchMailbox()
        if not found[1]:
            raise MailboxNotSelectable()
        return SQLMailbox(self, found[0])

    async def createMailbox(self, name: str, specialUse: str | None = None) -> MailboxInfo:
        """See L{IAccount}."""
        name = normaliseName(name)

        def change(transaction: Transaction) -> MailboxInfo:
            found = self._find(transaction, name)
            if found is not None and found[1]:
                raise AlreadyExists("That mailbox exists already")
            if specialUse is not None:
                if self._others(transaction, specialUse):
                    raise AlreadyExists("Another mailbox has that special use", imapCode="USEATTR")
            self._makeParents(transaction, name)
            if found is not None:
                transaction.execute(
                    "DELETE FROM mailbox WHERE account = ? AND mailbox = ?",
                    (self.number, found[0]),
                )
                self._metadata.forget(transaction, found[0])
            (count,) = transaction.execute(
                "SELECT count(*) FROM mailbox WHERE account = ?", (self.number,)
            ).fetchone()
            if count >= MAX_MAILBOXES:
                raise CannotDoThat("Too many mailboxes", imapCode="LIMIT")
            (limit,) = transaction.execute(
                "SELECT mailbox_limit FROM account WHERE account = ?", (self.number,)
            ).fetchone()
            if limit is not None and count >= limit:
                raise OverQuota("The account has too many mailboxes")
            return newMailbox(transaction, self.number, name, specialUse)

        return await self._change(change)

    def _others(
        self, transaction: Transaction, specialUse: str, mailbox: int = 0
    ) -> list[tuple[int, str, str]]:
        """
        @return: the other mailboxes that have one of these special uses.
        """
        wanted = set(specialUse.split())
        return [
            row
            for row in transaction.execute(
                "SELECT mailbox, name, special_use FROM mailbox"
                " WHERE account = ? AND special_use IS NOT NULL AND mailbox <> ?",
                (self.number, mailbox),
            )
            if not wanted.isdisjoint(row[2].split())
        ]

    async def setSpecialUse(self, name: str, specialUse: str | None) -> Sequence[str]:
        """See L{ISpecialUseAccount}."""

        def change(transaction: Transaction) -> Sequence[str]:
            found = self._find(transaction, name)
            if found is None:
                raise NoSuchMailbox()
            if not found[1]:
                raise MailboxNotSelectable()
            others = self._others(transaction, specialUse, found[0]) if specialUse else []
            taken = set((specialUse or "").split())
            changes: list[tuple[int, str | None]] = [(found[0], specialUse)]
            for mailbox, _, uses in others:
                left = " ".join(use for use in uses.split() if use not in taken)
                changes.append((mailbox, left or None))
            transaction.executemany(
                "UPDATE mailbox SET special_use = ? WHERE account = ? AND mailbox = ?",
                [(uses, self.number, mailbox) for mailbox, uses in changes],
            )
            nextModSeq(transaction, self.number)
            transaction.changed.add((self.number, 0))
            return sorted(other for _, other, _ in others)

        return await self._change(change)

    def _makeParents(self, transaction: Transaction, name: str) -> None:
        for parent in parents(name):
            if self._find(transaction, parent) is None:
                newMailbox(transaction, self.number, parent)

    def _hasChildren(self, transaction: Transaction, name: str) -> bool:
        return bool(self._below(transaction, name, limit=1))

    def _below(self, transaction: Transaction, name: str, limit: int = -1) -> list[tuple[int, str]]:
        # "0" is the character behind "/".
        return transaction.execute(
            "SELECT mailbox, name FROM mailbox WHERE account = ? AND name > ? AND name < ?"
            " ORDER BY name LIMIT ?",
            (self.number, name + DELIMITER, name + chr(ord(DELIMITER) + 1), limit),
        ).fetchall()

    async def deleteMailbox(self, name: str) -> None:
        """See L{IAccount}."""
        if name == INBOX:
            raise CannotDoThat("INBOX can't be deleted")

        def change(transaction: Transaction) -> None:
            found = self._find(transaction, name)
            if found is None:
                raise NoSuchMailbox()
            mailbox, selectable = found
            hasChildren = self._hasChildren(transaction, name)
            if not selectable and hasChildren:
                raise HasChildren()
            if selectable:
                dropAccess(transaction, self.number, mailbox)
                forgetURLKey(transaction, self.number, mailbox)
                self._empty(transaction, mailbox)
                self._noteFormer(transaction, mailbox)
            transaction.execute(
                "DELETE FROM mailbox WHERE account = ? AND mailbox = ?", (self.number, mailbox)
            )
            self._metadata.forget(transaction, mailbox)
            if hasChildren:
                newPlaceholder(transaction, self.number, name)
            transaction.changed |= {(self.number, mailbox), (self.number, 0)}

        await self._change(change, long=True)

    def _empty(self, transaction: Transaction, mailbox: int) -> None:
        key = (self.number, mailbox)
        messages = transaction.execute(
            "SELECT message FROM entry WHERE account = ? AND mailbox = ?", key
        ).fetchall()
        transaction.execute("DELETE FROM entry WHERE account = ? AND mailbox = ?", key)
        transaction.execute("DELETE FROM vanished WHERE account = ? AND mailbox = ?", key)
        transaction.execute("DELETE FROM annotation WHERE account = ? AND mailbox = ?", key)
        dropCopies(transaction, self.number, [row[0] for row in messages])
        transaction.execute(
            "UPDATE account SET messages = account.messages - m.messages,"
            " octets = account.octets - m.octets"
            " FROM (SELECT messages, octets FROM mailbox WHERE account = ? AND mailbox = ?) m"
            " WHERE account = ?",
            (*key, self.number),
        )
        nextModSeq(transaction, self.number)

    async def renameMailbox(self, old: str, new: str) -> None:
        """See L{IAccount}."""
        new = normaliseName(new)

        def change(transaction: Transaction) -> None:
            found = self._find(transaction, old)
            if found is None:
                raise NoSuchMailbox()
            if self._find(transaction, new) is not None:
                raise AlreadyExists("That mailbox exists already")
            if new.startswith(old + DELIMITER) and old != INBOX:
                raise CannotDoThat("A mailbox can't be moved below itself")
            if old == INBOX:
                self._renameInbox(transaction, found[0], new)
                return
            self._makeParents(transaction, new)
            moved = [(found[0], old), *self._below(transaction, old)]
            for mailbox, name in moved:
                target = new + name[len(old) :]
                # Raises InvalidMailboxName if it gets too long.
                if normaliseName(target) != target or self._find(transaction, target) is not None:
                    raise AlreadyExists("That mailbox exists already")
                self._noteFormer(transaction, mailbox)
                transaction.execute(
                    "UPDATE mailbox SET name = ? WHERE account = ? AND mailbox = ?",
                    (target, self.number, mailbox),
                )
                self._outdoFormer(transaction, mailbox, target)
            nextModSeq(transaction, self.number)
            transaction.changed.add((self.number, 0))

        await self._change(change, long=True)

    def _noteFormer(self, transaction: Transaction, mailbox: int) -> None:
        # A mailbox is about to lose its name. Only RENAME has to know: CREATE takes a uidValidity
        # that is higher than any.
        transaction.execute(
            "INSERT OR REPLACE INTO former_name SELECT account, name, uid_validity FROM mailbox"
            " WHERE account = ? AND mailbox = ? AND selectable",
            (self.number, mailbox),
        )

    def _outdoFormer(self, transaction: Transaction, mailbox: int, name: str) -> None:
        # RFC 9051 §2.3.1.1: under one name the uidValidity only grows.
        outdone = transaction.execute(
            "SELECT 1 FROM former_name f JOIN mailbox b ON b.account = f.account AND b.mailbox = ?"
            " WHERE f.account = ? AND f.name = ? AND f.uid_validity > b.uid_validity"
            " AND b.selectable",
            (mailbox, self.number, name),
        ).fetchone()
        if outdone is not None:
            transaction.execute(
                "UPDATE mailbox SET uid_validity = ? WHERE account = ? AND mailbox = ?",
                (nextUidValidity(transaction, self.number), self.number, mailbox),
            )

    def _renameInbox(self, transaction: Transaction, inbox: int, new: str) -> None:
        # RFC 9051 §6.3.6: the messages go to the new mailbox, INBOX stays and is empty.
        self._makeParents(transaction, new)
        info = newMailbox(transaction, self.number, new)
        target = int(info.mailboxId.rpartition("-")[2])
        source = Box(transaction, self.number, inbox)
        box = Box(transaction, self.number, target)
        source.modSeq = box.modSeq = nextModSeq(transaction, self.number)
        rows = transaction.execute(
            "SELECT e.uid, e.message, e.flags, m.octets, e.internal_date, e.zone, e.save_date"
            " FROM entry e JOIN message m ON m.account = e.account AND m.message = e.message"
            " WHERE e.account = ? AND e.mailbox = ? ORDER BY e.uid",
            (self.number, inbox),
        ).fetchall()
        pairs: list[tuple[int, int]] = []
        for uid, message, text, octets, date, zone, saved in rows:
            flags = box.spell(frozenset(text.split()))
            pairs.append((uid, box.insert(message, flags, octets, date, zone, saved)))
        if source.annotated:
            copyAnnotations(
                transaction, (self.number, inbox), (self.number, target), pairs, None, box.modSeq
            )
        source.remove([(row[0], row[1], row[2], row[3]) for row in rows])
        box.write()
        source.write()
        # RFC 5464 §4.1: INBOX keeps its annotations, the new mailbox has them too.
        self._metadata.copy(transaction, inbox, target, box.modSeq)

    async def setSubscribed(self, name: str, subscribed: bool) -> None:
        """See L{IAccount}."""

        def change(transaction: Transaction) -> None:
            if subscribed:
                transaction.execute(
                    "INSERT OR IGNORE INTO subscription VALUES (?, ?)", (self.number, name)
                )
            else:
                transaction.execute(
                    "DELETE FROM subscription WHERE account = ? AND name = ?", (self.number, name)
                )
            transaction.changed.add((self.number, 0))

        await self._change(change)

    def newContent(self, sizeHint: int | None = None) -> IContentWriter:
        """See L{IAccount}."""
        return self.store.newContent(sizeHint)

    async def quota(self) -> Quota:
        """See L{IAccount}."""
        row = self.store.reader.execute(
            "SELECT octets, octet_limit, messages, message_limit FROM account WHERE account = ?",
            (self.number,),
        ).fetchone()
        if row is None:
            raise NoSuchAccount()
        return Quota(*row)

    async def mailboxQuota(self) -> tuple[int, int | None]:
        """See L{ILimitedAccount}."""
        row = self.store.reader.execute(
            "SELECT (SELECT count(*) FROM mailbox WHERE account = a.account), mailbox_limit"
            " FROM account a WHERE account = ?",
            (self.number,),
        ).fetchone()
        if row is None:
            raise NoSuchAccount()
        return row[0], MAX_MAILBOXES if row[1] is None else min(row[1], MAX_MAILBOXES)

    async def annotationQuota(self) -> tuple[int, int | None]:
        """See L{IAnnotatedAccount}."""

        def read(connection: Any) -> tuple[int, int | None]:
            row = connection.execute(
                "SELECT annotation_limit FROM account WHERE account = ?", (self.number,)
            ).fetchone()
            if row is None:
                raise NoSuchAccount()
            return annotationOctets(connection, self.number), row[0]

        return cast("tuple[int, int | None]", await self.store.readInThread(read))

    async def recentLogins(self, limit: int) -> Sequence[LoginRecord]:
        """See L{ILoginRecordingAccount}."""
        self._require(self.store.reader)
        return await self.store.logins.recent(self.accountId, limit)

    async def statuses(self) -> Mapping[str, MailboxStatus]:
        """See L{ISurveyableAccount}."""
        rows = self.store.reader.execute(
            "SELECT mailbox, uid_validity, uid_next, mod_seq, messages, unseen, deleted, recent,"
            " octets, keywords FROM mailbox WHERE account = ? AND selectable",
            (self.number,),
        ).fetchall()
        if not rows:
            raise NoSuchAccount()
        prefix = f"M{self.number}-"
        return {
            f"{prefix}{row[0]}": MailboxStatus._make((*row[1:9], tuple(row[9].split())))
            for row in rows
        }

    async def candidates(
        self, texts: Sequence[str], inHeader: bool = True, inBody: bool = True
    ) -> Mapping[str, NumberSet] | None:
        """See L{ISearchableAccount}."""
        self._require(self.store.reader)
        folded = [fold(text) for text in texts]
        found = await self.store.readIndex(
            self.number,
            lambda index, connection: accountCandidates(
                index, connection, folded, inHeader, inBody
            ),
        )
        if found is None:
            return None
        prefix = f"M{self.number}-"
        return {f"{prefix}{mailbox}": NumberSet.of(uids) for mailbox, uids in found.items()}

    def _metadataOf(self, connection: Any, mailboxName: str) -> int:
        if not mailboxName:
            self._require(connection)
            return 0
        found = self._find(connection, mailboxName)
        if found is None:
            self._require(connection)
            raise NoSuchMailbox()
        return found[0]

    async def metadataSizes(self, mailboxName: str, reader: str | None = None) -> Mapping[str, int]:
        """See L{IMetadataAccount}."""
        read = self.store.reader
        return self._metadata.sizes(read, self._metadataOf(read, mailboxName), reader)

    async def getMetadata(
        self, mailboxName: str, names: Collection[str], reader: str | None = None
    ) -> Mapping[str, bytes]:
        """See L{IMetadataAccount}."""
        read = self.store.reader
        return self._metadata.get(read, self._metadataOf(read, mailboxName), names, reader)

    async def setMetadata(
        self,
        mailboxName: str,
        values: Mapping[str, bytes | None],
        limit: int,
        reader: str | None = None,
    ) -> int:
        """See L{IMetadataAccount}."""

        def change(transaction: Transaction) -> int:
            mailbox = self._metadataOf(transaction, mailboxName)
            return self._metadata.set(transaction, mailbox, values, limit, reader)

        return await self._change(change)

    async def metadataChangesSince(
        self, modSeq: int, reader: str | None = None
    ) -> tuple[int, Sequence[MetadataChange]]:
        """See L{IMetadataAccount}."""
        read = self.store.reader
        # The modSeq first: what is committed in between is told again with the next call.
        row = read.execute(
            "SELECT mod_seq FROM account WHERE account = ?", (self.number,)
        ).fetchone()
        if row is None:
            raise NoSuchAccount()
        return row[0], self._metadata.changesSince(read, modSeq, reader)

    async def maildropSettings(self) -> MaildropSettings:
        """See L{IMaildropAccount}."""
        self._require(self.store.reader)
        return maildrop.settings(self.store.reader, self.number)

    async def setMaildropSettings(self, settings: MaildropSettings) -> None:
        """See L{IMaildropAccount}."""
        await self._change(lambda each: maildrop.setSettings(each, self.number, settings))

    async def uniqueIds(self, messageIds: Collection[str]) -> Mapping[str, str]:
        """See L{IMaildropAccount}."""
        self._require(self.store.reader)
        token = maildrop.token(self.store.reader, self.number)
        if token is None:
            token = await self._change(lambda each: maildrop.makeToken(each, self.number))
        return maildrop.uniqueIds(self.store.reader, self.number, token, messageIds)

    async def assignUniqueIds(self, values: Mapping[str, str]) -> Collection[str]:
        """See L{IMaildropAccount}."""
        return await self._change(lambda each: maildrop.assign(each, self.number, values))

    async def knownUniqueIds(self, values: Collection[str]) -> Collection[str]:
        """See L{IMaildropAccount}."""
        self._require(self.store.reader)
        return maildrop.known(self.store.reader, self.number, values)

    async def removeMessages(
        self, messages: Sequence[tuple[IMailbox, NumberSet]], destination: IMailbox | None
    ) -> int:
        """See L{IMaildropAccount}."""
        now = int(self.store.now())
        target = None if destination is None else cast(SQLMailbox, destination)
        return await self._change(
            lambda each: maildrop.removeMessages(
                each, [(cast(SQLMailbox, box), uids) for box, uids in messages], target, now
            ),
            long=True,
        )

    async def noteRetrieved(self, messageIds: Collection[str], at: int) -> None:
        """See L{IMaildropAccount}."""
        await self._change(
            lambda each: maildrop.noteRetrieved(each, self.number, messageIds, at), long=True
        )

    async def retrievedUntil(self, at: int) -> Collection[str]:
        """See L{IMaildropAccount}."""
        self._require(self.store.reader)
        return maildrop.retrievedUntil(self.store.reader, self.number, at)

    async def lockMaildrop(self) -> Callable[[], None]:
        """See L{IAccount}."""
        self._require(self.store.reader)
        # A lock of the file system: it ends with the process, however that ends.
        path = self.store.locks / f"maildrop-{self.number}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise MaildropLocked() from None
        except OSError:
            os.close(descriptor)
            raise
        held = [descriptor]

        def release() -> None:
            if held:
                os.close(held.pop())

        return release

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """See L{IAccount}."""
        number = self.number

        def mailboxChanged(mailbox: int) -> None:
            changed(f"M{number}-{mailbox}" if mailbox else "")

        return self.store.watchers.addAccount(number, mailboxChanged)
