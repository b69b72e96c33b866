# -*- test-case-name: tests.storage.test_sql -*-
"""
Domains, accounts and aliases of the SQL store. Every question is an indexed read of a few
microseconds, so there is no cache that could be older than the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import AlreadyExists, CannotDoThat, NoSuchAccount, NoSuchDomain
from twisted_mailstack.interfaces import ICredentialSurvey, IDirectoryAdmin, IMaildropSurvey
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.records import (
    AccountRecord,
    AliasRecord,
    DomainRecord,
    MaildropSurvey,
)
from twisted_mailstack.storage.sql import maildrop
from twisted_mailstack.storage.sql.account import newAccountMailboxes
from twisted_mailstack.storage.sql.annotations import forgetReader
from twisted_mailstack.storage.sql.credentials import (
    SQLCredentials,
    forgetCredentials,
    setMainPassword,
)
from twisted_mailstack.storage.sql.sharing import forgetAccount
from twisted_mailstack.storage.sql.writer import Transaction

_ACCOUNT = (
    "SELECT account, local_part, domain, enabled,"
    " octet_limit IS NOT NULL OR message_limit IS NOT NULL FROM account "
)
_ALIAS = "SELECT local_part, domain, targets FROM alias "


def _account(row: Sequence[Any]) -> AccountRecord:
    return AccountRecord(f"A{row[0]}", Address(row[1], row[2]), bool(row[3]), bool(row[4]))


def _alias(row: Sequence[Any]) -> AliasRecord:
    targets = tuple(Address(*pair) for pair in json.loads(row[2]))
    return AliasRecord(Address(row[0], row[1]), targets)


def _key(address: Address) -> tuple[str, str]:
    return address.domain, foldLocalPart(address.localPart)


@implementer(IDirectoryAdmin, ICredentialSurvey, IMaildropSurvey)
class SQLDirectory(SQLCredentials):
    """
    See L{IDirectoryAdmin}.
    """

    def _one(self, statement: str, parameters: Sequence[Any]) -> Any:
        return self._store.reader.execute(statement, parameters).fetchone()

    async def surveyMaildrops(self) -> MaildropSurvey:
        """See L{IMaildropSurvey}."""
        return maildrop.survey(self._store.reader)

    async def findDomain(self, name: str) -> DomainRecord | None:
        """See L{IDirectory}."""
        row = self._one("SELECT name FROM domain WHERE name = ?", (name,))
        return None if row is None else DomainRecord(row[0])

    async def findAccount(self, address: Address) -> AccountRecord | None:
        """See L{IDirectory}."""
        row = self._one(_ACCOUNT + "WHERE domain = ? AND folded = ?", _key(address))
        return None if row is None else _account(row)

    async def findAccountById(self, accountId: str) -> AccountRecord | None:
        """See L{IDirectory}."""
        row = self._one(_ACCOUNT + "WHERE account = ?", (accountNumber(accountId),))
        return None if row is None else _account(row)

    async def findAlias(self, address: Address) -> AliasRecord | None:
        """See L{IDirectory}."""
        row = self._one(_ALIAS + "WHERE domain = ? AND folded = ?", _key(address))
        return None if row is None else _alias(row)

    async def listDomains(self) -> Sequence[DomainRecord]:
        """See L{IDirectoryAdmin}."""
        rows = self._store.reader.execute("SELECT name FROM domain ORDER BY name").fetchall()
        return [DomainRecord(row[0]) for row in rows]

    async def listAccounts(self, domain: str | None = None) -> Sequence[AccountRecord]:
        """See L{IDirectoryAdmin}."""
        return [_account(row) for row in self._list(_ACCOUNT, domain)]

    def _list(self, statement: str, domain: str | None) -> list[Any]:
        # Not "? IS NULL OR domain = ?": that would walk all domains for one.
        if domain is None:
            return self._store.reader.execute(statement + "ORDER BY domain, folded").fetchall()
        return self._store.reader.execute(
            statement + "WHERE domain = ? ORDER BY folded", (domain,)
        ).fetchall()

    async def listAliases(self, domain: str | None = None) -> Sequence[AliasRecord]:
        """See L{IDirectoryAdmin}."""
        return [_alias(row) for row in self._list(_ALIAS, domain)]

    async def _change(self, change: Callable[[Transaction], Any], long: bool = False) -> Any:
        return await self._store.writer.submit(change, long)

    async def addDomain(self, name: str) -> DomainRecord:
        """See L{IDirectoryAdmin}."""

        def change(transaction: Transaction) -> None:
            if _hasDomain(transaction, name):
                raise AlreadyExists(f"The domain {name} exists already")
            transaction.execute("INSERT INTO domain VALUES (?)", (name,))

        await self._change(change)
        return DomainRecord(name)

    async def removeDomain(self, name: str) -> None:
        """See L{IDirectoryAdmin}."""

        def change(transaction: Transaction) -> None:
            _requireDomain(transaction, name)
            for table, plural in (("account", "accounts"), ("alias", "aliases")):
                (count,) = transaction.execute(
                    f"SELECT count(*) FROM {table} WHERE domain = ?", (name,)
                ).fetchone()
                if count:
                    raise CannotDoThat(f"The domain {name} still has {plural}: {count}")
            transaction.execute("DELETE FROM domain WHERE name = ?", (name,))

        await self._change(change)

    async def addAccount(
        self, address: Address, secrets: Mapping[str, str] | str | None
    ) -> AccountRecord:
        """See L{IDirectoryAdmin}."""
        octetLimit, messageLimit = self._store.quotaDefaults

        def change(transaction: Transaction) -> AccountRecord:
            _requireDomain(transaction, address.domain)
            for table in ("account", "alias"):
                if transaction.execute(
                    f"SELECT 1 FROM {table} WHERE domain = ? AND folded = ?", _key(address)
                ).fetchone():
                    raise AlreadyExists(f"{address} exists already")
            # Who had the address before may have had mailboxes of the same names.
            former = transaction.execute(
                "SELECT uid_validity FROM former_account WHERE domain = ? AND folded = ?",
                _key(address),
            ).fetchone()
            uidValidity = max(int(self._store.now()), *(former or (0,)))
            number = transaction.execute(
                "INSERT INTO account (domain, folded, local_part, uid_validity,"
                " octet_limit, message_limit) VALUES (?, ?, ?, ?, ?, ?)",
                (*_key(address), address.localPart, uidValidity, octetLimit, messageLimit),
            ).lastrowid
            assert number is not None
            newAccountMailboxes(transaction, number)
            setMainPassword(transaction, number, secrets, int(self._store.now()))
            limited = octetLimit is not None or messageLimit is not None
            return AccountRecord(f"A{number}", address, limited=limited)

        record: AccountRecord = await self._change(change)
        return record

    async def _update(self, address: Address, assignment: str, *values: Any) -> None:
        def change(transaction: Transaction) -> None:
            changed = transaction.execute(
                f"UPDATE account SET {assignment} WHERE domain = ? AND folded = ?",
                (*values, *_key(address)),
            ).rowcount
            if not changed:
                raise NoSuchAccount(f"There is no account {address}")

        await self._change(change)

    async def setEnabled(self, address: Address, enabled: bool) -> None:
        """See L{IDirectoryAdmin}."""
        await self._update(address, "enabled = ?", int(enabled))

    async def setQuota(
        self,
        address: Address,
        octetLimit: int | None,
        messageLimit: int | None,
        mailboxLimit: int | None = None,
        annotationLimit: int | None = None,
    ) -> None:
        """See L{IDirectoryAdmin}."""
        await self._update(
            address,
            "octet_limit = ?, message_limit = ?, mailbox_limit = ?, annotation_limit = ?",
            octetLimit,
            messageLimit,
            mailboxLimit,
            annotationLimit,
        )

    async def removeAccount(self, address: Address) -> None:
        """See L{IDirectoryAdmin}."""

        def change(transaction: Transaction) -> None:
            row = transaction.execute(
                "SELECT account FROM account WHERE domain = ? AND folded = ?", _key(address)
            ).fetchone()
            if row is None:
                raise NoSuchAccount(f"There is no account {address}")
            transaction.execute(
                "INSERT OR REPLACE INTO former_account SELECT domain, folded, uid_validity"
                " FROM account WHERE account = ?",
                row,
            )
            transaction.changed.add((row[0], 0))
            transaction.changed |= {
                (row[0], each[0])
                for each in transaction.execute(
                    "SELECT mailbox FROM mailbox WHERE account = ?", row
                )
            }
            counts = transaction.execute(
                "SELECT count(*), content FROM message WHERE account = ? GROUP BY content", row
            ).fetchall()
            transaction.executemany(
                "UPDATE content SET copies = copies - ? WHERE content = ?", counts
            )
            transaction.unplaced = True
            forgetAccount(transaction, row[0])
            forgetReader(transaction, row[0])
            forgetCredentials(transaction, row[0])
            # Its private entries of others' mailboxes; those of its own go with them below.
            transaction.execute(
                "DELETE FROM metadata WHERE reader = ? AND reader <> account AND reader <> 0", row
            )
            for table in (
                *("entry", "vanished", "message", "reference"),
                *("mailbox", "former_name", "subscription", "metadata", "access", "published"),
                *("url_key", "annotation", "maildrop", "unique_id", "account"),
            ):
                transaction.execute(f"DELETE FROM {table} WHERE account = ?", row)

        await self._change(change, long=True)

    async def setAlias(self, address: Address, targets: Sequence[Address]) -> AliasRecord:
        """See L{IDirectoryAdmin}."""

        def change(transaction: Transaction) -> None:
            _requireDomain(transaction, address.domain)
            if transaction.execute(
                "SELECT 1 FROM account WHERE domain = ? AND folded = ?", _key(address)
            ).fetchone():
                raise AlreadyExists(f"{address} is an account")
            transaction.execute(
                "INSERT OR REPLACE INTO alias VALUES (?, ?, ?, ?)",
                (*_key(address), address.localPart, json.dumps([list(each) for each in targets])),
            )

        await self._change(change)
        return AliasRecord(address, tuple(targets))

    async def removeAlias(self, address: Address) -> None:
        """See L{IDirectoryAdmin}."""

        def change(transaction: Transaction) -> None:
            changed = transaction.execute(
                "DELETE FROM alias WHERE domain = ? AND folded = ?", _key(address)
            ).rowcount
            if not changed:
                raise NoSuchAccount(f"There is no alias {address}")

        await self._change(change)


#: One spelling for each, and no number that SQLite has not.
_ID = re.compile(r"A[1-9][0-9]{0,17}\Z")


def accountNumber(accountId: str) -> int:
    """
    @return: the account's key, or one that no account has.
    """
    return int(accountId[1:]) if _ID.match(accountId) else -1


def _hasDomain(transaction: Transaction, name: str) -> bool:
    found = transaction.execute("SELECT 1 FROM domain WHERE name = ?", (name,)).fetchone()
    return found is not None


def _requireDomain(transaction: Transaction, name: str) -> None:
    if not _hasDomain(transaction, name):
        raise NoSuchDomain(f"There is no domain {name} here")
