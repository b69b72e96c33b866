# -*- test-case-name: tests.storage.test_sql -*-
"""
Access control lists of the SQL store: a row for each entry, found by the mailbox, or by whom it is
about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from twisted_mailstack.errors import AlreadyExists, CannotDoThat, NoSuchAccount, NoSuchMailbox
from twisted_mailstack.interfaces import IAccessControl
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.mailboxname import parents
from twisted_mailstack.model.records import MailboxInfo
from twisted_mailstack.model.rights import (
    MAX_ENTRIES,
    ORDER,
    Rights,
    SharedMailbox,
    withNegative,
)
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.store import SQLMailStore

#: What changes with each change of any list: no account has that number.
ANY_LIST = (-1, 0)
#: One spelling for each, and no number that SQLite has not.
_MAILBOX_ID = re.compile(r"M([1-9][0-9]{0,17})-([1-9][0-9]{0,17})\Z")
_ACCOUNT_ID = re.compile(r"A([1-9][0-9]{0,17})\Z")


def _mailboxKey(mailboxId: str) -> tuple[int, int]:
    # Or one that no mailbox has.
    match = _MAILBOX_ID.match(mailboxId)
    return (int(match.group(1)), int(match.group(2))) if match else (-1, -1)


def _toText(rights: Rights) -> str:
    return "".join(letter for letter in ORDER if letter in rights)


@implementer(IAccessControl)
class SQLAccessControl:
    """
    See L{IAccessControl}.
    """

    def __init__(self, store: SQLMailStore) -> None:
        self._store = store

    async def entries(
        self, mailboxId: str, identifiers: Collection[str] | None = None
    ) -> Mapping[str, Rights]:
        """See L{IAccessControl}."""
        statement = "SELECT identifier, rights FROM access WHERE account = ? AND mailbox = ?"
        values: tuple[Any, ...] = _mailboxKey(mailboxId)
        if identifiers is not None:
            statement += f" AND identifier IN ({', '.join('?' * len(identifiers))})"
            values += tuple(identifiers)
        rows = self._store.reader.execute(statement + " ORDER BY identifier", values).fetchall()
        return {identifier: frozenset(rights) for identifier, rights in rows}

    async def change(
        self, mailboxId: str, identifier: str, operation: FlagOperation, rights: Rights
    ) -> None:
        """See L{IAccessControl}."""
        key = _mailboxKey(mailboxId)

        def change(transaction: Transaction) -> None:
            _requireMailbox(transaction, key)
            row = transaction.execute(
                "SELECT rights FROM access WHERE account = ? AND mailbox = ? AND identifier = ?",
                (*key, identifier),
            ).fetchone()
            new = operation.apply(frozenset(row[0] if row is not None else ""), rights)
            if not new:
                transaction.execute(
                    "DELETE FROM access WHERE account = ? AND mailbox = ? AND identifier = ?",
                    (*key, identifier),
                )
            else:
                if row is None:
                    _requireRoom(transaction, key)
                _insert(transaction, key, {identifier: new})
            transaction.changed |= {key, ANY_LIST}

        await self._store.writer.submit(change)

    async def replace(self, mailboxId: str, entries: Mapping[str, Rights]) -> None:
        """See L{IAccessControl}."""
        key = _mailboxKey(mailboxId)
        kept = {identifier: rights for identifier, rights in entries.items() if rights}
        if len(kept) > MAX_ENTRIES:
            raise _tooLong()

        def change(transaction: Transaction) -> None:
            _requireMailbox(transaction, key)
            dropAccess(transaction, *key)
            _insert(transaction, key, kept)
            transaction.changed |= {key, ANY_LIST}

        await self._store.writer.submit(change)

    async def shared(self, identifiers: Collection[str]) -> Sequence[SharedMailbox]:
        """See L{IAccessControl}."""
        rows = self._store.reader.execute(
            "SELECT x.account, x.mailbox, x.identifier, x.rights, b.name, a.local_part, a.domain,"
            " p.name FROM access x"
            " JOIN mailbox b ON b.account = x.account AND b.mailbox = x.mailbox"
            " JOIN account a ON a.account = x.account"
            " LEFT JOIN published p ON p.account = x.account"
            f" WHERE x.identifier IN ({', '.join('?' * len(identifiers))})",
            tuple(identifiers),
        ).fetchall()
        found: dict[tuple[int, int], SharedMailbox] = {}
        entries: dict[tuple[int, int], dict[str, Rights]] = {}
        for account, mailbox, identifier, rights, name, localPart, domain, publicName in rows:
            key = account, mailbox
            if key not in found:
                info = MailboxInfo(name, f"M{account}-{mailbox}", True, False)
                entries[key] = {}
                found[key] = SharedMailbox(
                    f"A{account}", Address(localPart, domain), publicName, info, entries[key]
                )
            entries[key][identifier] = frozenset(rights)
        return list(found.values())

    async def publish(self, accountId: str, name: str | None) -> None:
        """See L{IAccessControl}."""
        match = _ACCOUNT_ID.match(accountId)
        account = int(match.group(1)) if match else -1

        def change(transaction: Transaction) -> None:
            if not transaction.execute(
                "SELECT 1 FROM account WHERE account = ?", (account,)
            ).fetchone():
                raise NoSuchAccount()
            transaction.changed.add(ANY_LIST)
            transaction.execute("DELETE FROM published WHERE account = ?", (account,))
            if name is None:
                return
            if transaction.execute("SELECT 1 FROM published WHERE name = ?", (name,)).fetchone():
                raise AlreadyExists(f"Another account is public under the name {name}")
            transaction.execute("INSERT INTO published VALUES (?, ?)", (account, name))

        await self._store.writer.submit(change)

    async def published(self, name: str) -> str | None:
        """See L{IAccessControl}."""
        row = self._store.reader.execute(
            "SELECT account FROM published WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else f"A{row[0]}"

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See L{IAccessControl}."""
        return self._store.watchers.add(ANY_LIST, changed)


def _requireMailbox(transaction: Transaction, key: tuple[int, int]) -> None:
    if not transaction.execute(
        "SELECT 1 FROM mailbox WHERE account = ? AND mailbox = ? AND selectable", key
    ).fetchone():
        raise NoSuchMailbox()


def _requireRoom(transaction: Transaction, key: tuple[int, int]) -> None:
    (count,) = transaction.execute(
        "SELECT count(*) FROM access WHERE account = ? AND mailbox = ?", key
    ).fetchone()
    if count >= MAX_ENTRIES:
        raise _tooLong()


def _tooLong() -> CannotDoThat:
    return CannotDoThat("The access control list is too long", imapCode="LIMIT")


def _insert(transaction: Transaction, key: tuple[int, int], entries: Mapping[str, Rights]) -> None:
    transaction.executemany(
        "INSERT OR REPLACE INTO access VALUES (?, ?, ?, ?)",
        [(*key, identifier, _toText(rights)) for identifier, rights in entries.items()],
    )


def inheritAccess(transaction: Transaction, account: int, mailbox: int, name: str) -> None:
    """
    Give a new mailbox the list of the nearest superior one (RFC 4314 §4).
    """
    for parent in reversed(tuple(parents(name))):
        row = transaction.execute(
            "SELECT mailbox FROM mailbox WHERE account = ? AND name = ? AND selectable",
            (account, parent),
        ).fetchone()
        if row is not None:
            transaction.execute(
                "INSERT INTO access SELECT account, ?, identifier, rights FROM access"
                " WHERE account = ? AND mailbox = ?",
                (mailbox, account, row[0]),
            )
            return


def dropAccess(transaction: Transaction, account: int, mailbox: int) -> None:
    """
    Delete a mailbox's list.
    """
    transaction.execute("DELETE FROM access WHERE account = ? AND mailbox = ?", (account, mailbox))


def forgetAccount(transaction: Transaction, account: int) -> None:
    """
    Delete what the lists of others say of an account that is removed: whoever gets the address
    later is somebody else.
    """
    row = transaction.execute(
        "SELECT local_part, domain FROM account WHERE account = ?", (account,)
    ).fetchone()
    transaction.changed.add(ANY_LIST)
    for identifier in withNegative((str(Address(*row)),)):
        rows: list[tuple[int, int]] = transaction.execute(
            "DELETE FROM access WHERE identifier = ? RETURNING account, mailbox", (identifier,)
        ).fetchall()
        transaction.changed |= set(rows)
