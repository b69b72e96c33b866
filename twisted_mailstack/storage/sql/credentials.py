# -*- test-case-name: tests.storage.test_sql -*-
"""
Credentials of accounts in the SQL store, and who may log in to them: one row each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted_mailstack.errors import AlreadyExists, NoSuchAccount
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.records import APP_PASSWORD, PASSWORD, AccountPolicy, Credential
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.store import SQLMailStore

Secrets = Mapping[str, str]

_ACCOUNT_ID = re.compile(r"A([1-9][0-9]{0,17})\Z")
_CREDENTIAL_ID = re.compile(r"C([1-9][0-9]{0,17})-([1-9][0-9]{0,17})\Z")
_ONE = " WHERE account = ? AND credential = ?"


class SQLCredentials:
    """
    The part of L{IDirectoryAdmin} that is about logging in.
    """

    def __init__(self, store: SQLMailStore) -> None:
        self._store = store

    async def findCredentials(self, accountId: str) -> Sequence[Credential]:
        """See L{IDirectory}."""
        rows = self._store.reader.execute(
            "SELECT account, credential, kind, name, secrets, services, created, expires, last_used"
            " FROM credential WHERE account = ? ORDER BY kind <> ?, credential",
            (_account(accountId), PASSWORD),
        ).fetchall()
        return [
            Credential(
                f"C{account}-{number}",
                accountId,
                kind,
                name,
                json.loads(secrets),
                _set(services),
                *it,
            )
            for account, number, kind, name, secrets, services, *it in rows
        ]

    async def isMissing(self, scheme: str) -> bool:
        """See L{ICredentialSurvey<twisted_mailstack.interfaces.ICredentialSurvey>}."""

        def look(connection: Any) -> bool:
            return (
                connection.execute(
                    "SELECT 1 FROM credential WHERE kind = ? AND secrets <> '{}'"
                    " AND instr(secrets, ?) = 0 LIMIT 1",
                    (PASSWORD, f'"{scheme}":'),
                ).fetchone()
                is not None
            )

        # All passwords may have to be looked at.
        return bool(await self._store.readInThread(look))

    async def findPolicy(self, accountId: str) -> AccountPolicy:
        """See L{IDirectory}."""
        row = self._store.reader.execute(
            "SELECT expires, networks, services, master, totp FROM account_policy"
            " WHERE account = ?",
            (_account(accountId),),
        ).fetchone()
        if row is None:
            return AccountPolicy()
        expires, networks, services, master, totp = row
        return AccountPolicy(expires, tuple(networks.split()), _set(services), bool(master), totp)

    async def setPassword(self, address: Address, secrets: Secrets | str | None) -> None:
        """See L{IDirectoryAdmin}."""
        now = int(self._store.now())

        def change(transaction: Transaction) -> None:
            setMainPassword(transaction, _require(transaction, address), secrets, now)

        await self._store.writer.submit(change)

    async def addAppPassword(
        self,
        address: Address,
        name: str,
        secrets: Secrets,
        services: frozenset[str] | None = None,
        expires: int | None = None,
    ) -> Credential:
        """See L{IDirectoryAdmin}."""
        now = int(self._store.now())

        def change(transaction: Transaction) -> Credential:
            account = _require(transaction, address)
            if transaction.execute(
                "SELECT 1 FROM credential WHERE account = ? AND kind = ? AND name = ?",
                (account, APP_PASSWORD, name),
            ).fetchone():
                raise AlreadyExists(f"{address} has an app password {name} already")
            number = _insert(
                transaction, account, APP_PASSWORD, name, secrets, services, now, expires
            )
            return Credential(
                *(f"C{account}-{number}", f"A{account}", APP_PASSWORD, name, dict(secrets)),
                services,
                now,
                expires,
            )

        made: Credential = await self._store.writer.submit(change)
        return made

    async def removeCredential(self, credentialId: str) -> None:
        """See L{IDirectoryAdmin}."""
        await self._changeOne("DELETE FROM credential", credentialId)

    async def touchCredential(self, credentialId: str, when: int) -> None:
        """See L{IDirectoryAdmin}."""
        await self._changeOne(
            "UPDATE credential SET last_used = max(coalesce(last_used, 0), ?)", credentialId, when
        )

    async def changeSecrets(self, credentialId: str, secrets: Secrets) -> None:
        """See L{IDirectoryAdmin}."""
        await self._changeOne(
            "UPDATE credential SET secrets = ?", credentialId, json.dumps(dict(secrets))
        )

    async def _changeOne(self, statement: str, credentialId: str, *values: Any) -> None:
        match = _CREDENTIAL_ID.match(credentialId)
        if match:
            numbers = int(match[1]), int(match[2])

            def change(transaction: Transaction) -> None:
                transaction.execute(statement + _ONE, (*values, *numbers))

            await self._store.writer.submit(change)

    async def setPolicy(self, address: Address, policy: AccountPolicy) -> None:
        """See L{IDirectoryAdmin}."""
        values = (
            *(policy.expires, " ".join(policy.networks), _text(policy.services)),
            *(int(policy.master), policy.totp),
        )

        def change(transaction: Transaction) -> None:
            transaction.execute(
                "INSERT OR REPLACE INTO account_policy VALUES (?, ?, ?, ?, ?, ?)",
                (_require(transaction, address), *values),
            )

        await self._store.writer.submit(change)


def setMainPassword(
    transaction: Transaction, account: int, secrets: Secrets | str | None, now: int
) -> None:
    """
    @param secrets: as L{IDirectoryAdmin.setPassword}.
    @param now: seconds since 1970.
    """
    transaction.execute(
        "DELETE FROM credential WHERE account = ? AND kind = ?", (account, PASSWORD)
    )
    if isinstance(secrets, str):
        secrets = {"argon2id": secrets}
    if secrets:
        _insert(transaction, account, PASSWORD, "", secrets, None, now, None)


def forgetCredentials(transaction: Transaction, account: int) -> None:
    """
    An account is removed.
    """
    for table in ("credential", "account_policy", "login"):
        transaction.execute(f"DELETE FROM {table} WHERE account = ?", (account,))


def _insert(
    transaction: Transaction,
    account: int,
    kind: str,
    name: str,
    secrets: Secrets,
    services: Collection[str] | None,
    created: int,
    expires: int | None,
) -> int:
    number: int = transaction.execute(
        "UPDATE account SET credentials = credentials + 1 WHERE account = ? RETURNING credentials",
        (account,),
    ).fetchone()[0]
    transaction.execute(
        "INSERT INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            *(account, number, kind, name, json.dumps(dict(secrets)), _text(services)),
            *(created, expires),
        ),
    )
    return number


def _require(transaction: Transaction, address: Address) -> int:
    row = transaction.execute(
        "SELECT account FROM account WHERE domain = ? AND folded = ?",
        (address.domain, foldLocalPart(address.localPart)),
    ).fetchone()
    if row is None:
        raise NoSuchAccount(f"There is no account {address}")
    number: int = row[0]
    return number


def _account(accountId: str) -> int:
    match = _ACCOUNT_ID.match(accountId)
    return int(match[1]) if match else -1


def _set(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(text.split())


def _text(services: Collection[str] | None) -> str | None:
    return None if services is None else " ".join(sorted(services))
